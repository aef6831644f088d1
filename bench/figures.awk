# SPDX-License-Identifier: MIT
# figures.awk: what table.awk and moved.awk share: reading figures, and order statistics of small sets.

# Sorts a[1..n] upwards.
function sort(a, n,    i, j, t)
{
	for (i = 2; i <= n; i++) {
		t = a[i]
		for (j = i - 1; j > 0 && a[j] > t; j--)
			a[j + 1] = a[j]
		a[j + 1] = t
	}
}

# Of a list of numbers separated by blanks: the median into middle, what the rest spans into low and high; from five on the lowest
# and the highest do not count for that. Returns how many there are.
function spread(list,    a, n, i)
{
	n = split(list, a, " ")
	for (i = 1; i <= n; i++)
		a[i] += 0
	sort(a, n)
	middle = n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
	low = n < 5 ? a[1] : a[2]
	high = n < 5 ? a[n] : a[n - 1]
	return n
}

function median(list)
{
	spread(list)
	return middle
}

# Three digits.
function short(v,    a)
{
	a = v < 0 ? -v : v
	if (a >= 100 || v == int(v))
		return sprintf("%.0f", v)
	return sprintf(a >= 10 ? "%.1f" : a >= 0.1 ? "%.2f" : "%.3f", v)
}

function is_ours(runtime)
{
	return runtime == "libweakref" || runtime == "ours"
}

BEGIN {
	FS = "\t"
}

# SPDX-License-Identifier: MIT
# moved.awk OLD NEW (after figures.awk): what moved by more than the noise; see `compare --help`. Exit status 1 where something of
# libweakref's is slower, larger or missing.
# Variables: noise, in percent; relative, compare what figures are to libgc's of the same pass.

FNR == 1 {
	file++
}

/^[a-z0-9_]+\t/ && NF == 6 {
	key = $1 "." $4 FS $2 FS $3
	if (!(key in unit))
		keys[++count] = key
	unit[key] = $6
	list[file, key] = list[file, key] " " $5
	runs[file]++
}

# The figures of a key in a file; with `relative` each divided by libgc's of the same pass, "" where there is none.
function figures_of(file, key,    part, mine, theirs, n, i, out)
{
	if (!relative)
		return list[file, key]
	split(key, part, FS)
	n = split(list[file, key], mine, " ")
	if (split(list[file, part[1] FS "libgc" FS part[3]], theirs, " ") != n)
		return ""
	for (i = 1; i <= n; i++)
		if (theirs[i] + 0 > 0)
			out = out " " mine[i] / theirs[i]
	return out
}

# spread, and the range of fewer than five widened by half on either side: they have not shown all of the noise.
function span(list,    half)
{
	if (spread(list) >= 5)
		return
	half = (high - low) / 2
	low -= half
	high += half
}

# Whether a higher figure is the better one.
function rises(key)
{
	return unit[key] == "x" && key ~ /\.speedup/
}

function percent(old, new)
{
	return old == 0 ? "" : sprintf(", %+.0f%%", 100 * (new - old) / (old < 0 ? -old : old))
}

function tell(word, key, what,    part)
{
	split(key, part, FS)
	printf "%-8s %s %s N=%s: %s\n", word, part[1], part[2], part[3], what
}

function compare_key(key,    part, old_low, old_high, old, change, far, worse, of)
{
	split(key, part, FS)
	if (relative && part[2] == "libgc")
		return
	if (list[2, key] == "") {
		tell("missing", key, "is in the saved run only")
		bad += is_ours(part[2])
		return
	}
	if (list[1, key] == "" || unit[key] == "gcs" || key ~ /\.(base|overhead)\t/)
		return
	if (figures_of(1, key) == "" || figures_of(2, key) == "")
		return
	compared++
	span(figures_of(1, key))
	old_low = low; old_high = high; old = middle
	span(figures_of(2, key))
	change = middle - old
	if (unit[key] == "entries" || unit[key] == "objects")
		far = 16 # what a conservative collector may leave
	else
		far = noise / 100 * (old < 0 ? -old : old)
	if ((change < 0 ? -change : change) <= far || (low <= old_high && old_low <= high))
		return
	worse = (change > 0) != rises(key)
	of = relative ? "of libgc's" : unit[key]
	tell(worse ? "worse" : "better", key, short(old) " -> " short(middle) " " of percent(old, middle) \
		" (" short(old_low) ".." short(old_high) " -> " short(low) ".." short(high) ")")
	if (is_ours(part[2]))
		bad += worse
	else
		others++
	moved++
}

END {
	if (!runs[1] || !runs[2]) {
		print "compare: there are no figures to compare" > "/dev/stderr"
		exit 3
	}
	for (i = 1; i <= count; i++)
		compare_key(keys[i])
	if (!compared) {
		print "compare: the two runs have no figure in common" > "/dev/stderr"
		exit 3
	}
	printf "%d figures compared, %d moved by more than the noise (%s%%)\n", compared, moved, noise
	if (others)
		printf "%d of them are not libweakref's: the machine is not as it was, or has other work; --relative may help\n", others
	exit bad > 0
}

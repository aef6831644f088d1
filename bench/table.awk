# SPDX-License-Identifier: MIT
# table.awk FIGURES (after figures.awk): workloads by runtimes, the median of the passes; beside each peer's figure how many times
# libweakref's it is. Fastest is who has the least at the same N and does the whole job: who leaks what an ephemeron should let go, or
# leaves finalizers unrun, is marked with ! and does not count.
# Variable: format, "text" or "markdown".

/^# / {
	print substr($0, 3)
}

/^[a-z0-9_]+\t/ && NF == 6 {
	row = $1 FS $4
	if (!(row in unit)) {
		rows[++row_count] = row
		unit[row] = $6
	}
	if (!($2 in known)) {
		known[$2] = 1
		if (is_ours($2))
			ours = $2
		else
			peers[++peer_count] = $2
	}
	# A runtime that ran out of time was run with fewer: the most counts.
	if (!((row, $2) in size) || $3 + 0 > size[row, $2]) {
		size[row, $2] = $3 + 0
		list[row, $2] = ""
	}
	if ($3 + 0 == size[row, $2])
		list[row, $2] = list[row, $2] " " $5
}

/^#status/ {
	failed[++failed_count] = $0
}

# Bookkeeping, not speed.
function is_shown(row,    part)
{
	split(row, part, FS)
	return unit[row] !~ /^(gcs|entries|objects|MiB)$/ && part[2] !~ /^(base|live|overhead|rss_per_entry)$/
}

function is_wrong(workload, runtime)
{
	if (workload == "eph_self" || workload == "eph_chain")
		return median(list["eph_self" FS "leaked", runtime]) > 16 || median(list["eph_chain" FS "leaked", runtime]) > 16
	if (workload == "fin_run")
		return median(list[workload FS "not_run", runtime]) > 16
	return 0
}

function human(n)
{
	return n % 1000000 == 0 ? n / 1000000 "M" : n % 1000 == 0 ? n / 1000 "k" : n
}

# One row of the table into cells[0..].
function fill(row,    part, i, mine, value, best, name, cell)
{
	split(row, part, FS)
	mine = ours != "" && ((row, ours) in size) ? median(list[row, ours]) : ""
	best = ""
	for (i = 1; i <= peer_count; i++) {
		cell = "-"
		if ((row, peers[i]) in size) {
			value = median(list[row, peers[i]])
			cell = short(value)
			if (mine != "" && size[row, peers[i]] != size[row, ours])
				cell = cell "@" human(size[row, peers[i]])
			else if (is_wrong(part[1], peers[i]))
				cell = cell "!"
			else {
				if (unit[row] != "x" && mine != "" && mine > 0 && value > 0)
					cell = cell " (" short(value / mine) "x)"
				if (unit[row] != "x" && value > 0 && (best == "" || value < best)) {
					best = value
					name = peers[i]
				}
			}
		}
		cells[4 + i] = cell
	}
	cells[0] = part[1] "." part[2] " (" unit[row] ")"
	cells[1] = ours == "" || !((row, ours) in size) ? "-" : human(size[row, ours])
	cells[2] = mine == "" ? "-" : short(mine)
	cells[3] = best == "" ? "-" : name
	cells[4] = best == "" || mine == "" || mine <= 0 ? "-" : short(mine / best)
}

function keep(line,    i)
{
	for (i = 0; i <= 4 + peer_count; i++) {
		grid[line, i] = cells[i]
		if (length(cells[i]) > width[i])
			width[i] = length(cells[i])
	}
}

END {
	if (!row_count) {
		print "compare: there are no figures" > "/dev/stderr"
		exit 3
	}
	cells[0] = "workload.metric (unit)"; cells[1] = "N"; cells[2] = ours == "" ? "libweakref" : ours
	cells[3] = "fastest peer"; cells[4] = "ours / it"
	for (i = 1; i <= peer_count; i++)
		cells[4 + i] = peers[i]
	keep(lines = 0)
	for (r = 1; r <= row_count; r++)
		if (is_shown(rows[r])) {
			fill(rows[r])
			keep(++lines)
		}
	for (l = 0; l <= lines; l++) {
		out = ""
		for (i = 0; i <= 4 + peer_count; i++) {
			if (format == "markdown")
				out = out "| " grid[l, i] " "
			else
				out = out sprintf("%s%" (i == 0 ? "-" : "") (width[i]) "s", i == 0 ? "" : "  ", grid[l, i])
		}
		print out (format == "markdown" ? "|" : "")
		if (l == 0 && format == "markdown") {
			out = ""
			for (i = 0; i <= 4 + peer_count; i++)
				out = out (i == 0 ? "|---" : "|---:")
			print out "|"
		}
	}
	for (i = 1; i <= failed_count; i++)
		print "failed: " failed[i]
}

# SPDX-License-Identifier: MIT
# document.awk OWN PEERS CHAIN PAUSE GROWTH (after figures.awk): the tables of doc/performance.md; see `figures --help`.
# Variable: table, which of them: machine, goals, own, pause, growth.

FNR == 1 {
	split("own peers chain pause growth", names, " ")
	file = names[++files]
}

/^# / && (file == "own" || file == "peers") {
	notes[file] = notes[file] "    " file ": " substr($0, 3) "\n"
}

/^[a-z0-9_]+\t/ && NF == 6 {
	key = file FS $2 FS $1 "." $4
	# Of the chain and of what ran out of time there are smaller ones; those at the size asked for come first.
	if (file != "growth") {
		if (!(key in size))
			size[key] = $3
		if (size[key] == $3)
			list[key] = list[key] " " $5
	}
	sized = key FS $3
	list[sized] = list[sized] " " $5
	unit[file, $1 "." $4] = $6
	if (!((file, $2) in seen)) {
		seen[file, $2] = 1
		runtimes[file] = runtimes[file] " " $2
	}
	if (!((file, $1 "." $4) in met)) {
		met[file, $1 "." $4] = 1
		metrics[file, ++metric_count[file]] = $1 "." $4
	}
	if (!((file, $3) in sizes_seen)) {
		sizes_seen[file, $3] = 1
		sizes[file] = sizes[file] " " $3
	}
}

function has(file, runtime, metric)
{
	return (file FS runtime FS metric) in list
}

function value(file, runtime, metric)
{
	return median(list[file FS runtime FS metric])
}

# ---- goals ----

# The least of all others at the same size who do the whole job: into best and best_name.
function find_best(metric,    part, n, names_, i, leaks, leak, l, bad)
{
	best = ""
	split(metric, part, ".")
	leak = split(part[1] == "fin_run" ? "fin_run.not_run" : part[1] ~ /^eph_/ ? "eph_self.leaked eph_chain.leaked" : "", leaks, " ")
	n = split(runtimes["peers"], names_, " ")
	for (i = 1; i <= n; i++) {
		if (names_[i] == "libweakref" || !has("peers", names_[i], metric))
			continue
		if (size["peers" FS names_[i] FS metric] != size["peers" FS "libweakref" FS metric])
			continue
		bad = 0
		for (l = 1; l <= leak; l++)
			bad += has("peers", names_[i], leaks[l]) && value("peers", names_[i], leaks[l]) > 16
		if (bad)
			continue
		if (value("peers", names_[i], metric) > 0 && (best == "" || value("peers", names_[i], metric) < best)) {
			best = value("peers", names_[i], metric)
			best_name = names_[i]
		}
	}
}

# One line: what is wanted, what is, the bound, and how far. `least`: the bound is one from below.
function goal(what, is, of, bound, why, least,    far)
{
	if (is == "" || bound == "") {
		printf "| %s | %s | %s | not taken |\n", what, is == "" ? "-" : short(is) " " of, why
		return
	}
	far = least ? is >= bound : is <= bound
	printf "| %s | %s %s | %s | %s |\n", what, short(is), of, (why == "" ? (least ? "at least " : "at most ") short(bound) " " of : why), \
		far ? "met" : "missed, " short(least ? bound / is : is / bound) "x"
}

# What both runs have was taken in both.
function own(metric,    all)
{
	all = list["own" FS "libweakref" FS metric] list["peers" FS "libweakref" FS metric]
	return all == "" ? "" : median(all)
}

function ours(metric)
{
	return has("peers", "libweakref", metric) ? value("peers", "libweakref", metric) : ""
}

# Against the fastest peer, or a part of it.
function goal_best(what, metric, of, part, text)
{
	find_best(metric)
	goal(what, ours(metric), of, best == "" ? "" : best * part, best == "" ? "no peer" : text best_name "'s " short(best))
}

function goal_peer(what, metric, of, peer)
{
	goal(what, ours(metric), of, has("peers", peer, metric) ? value("peers", peer, metric) : "", \
		has("peers", peer, metric) ? "ahead of " peer "'s " short(value("peers", peer, metric)) : "no " peer)
}

function goals()
{
	print "| goal | is | wanted | |"
	print "|---|---:|---|---|"
	goal("weak-value dictionary, collection, all live, an entry", own("wvd_gc_live.overhead_per_entry"), "ns", 9)
	goal("... beside a bare scan in the same order", own("limit_live.ratio"), "x", 2)
	goal_best("... half dead, until the length is right", "wvd_gc_dead.time", "ms", 0.2, "a fifth of ")
	goal_best("... look-up", "wvd_get_hit.time", "ns", 1, "ahead of ")
	goal("... look-up by two threads", own("threads_wvd_get.speedup_2"), "x", 1.9, "", 1)
	goal("... look-up beside the same table with strong values", own("limit_hit.ratio"), "x", 1.3)
	goal_best("... insert", "wvd_insert.time", "ns", 1, "ahead of ")
	goal("... worst insert", own("worst_insert.least"), "us", 1000)
	goal("... bytes an entry beside the key's, on average", own("memory_wvd.mean"), "B", 28)
	goal_peer("weak-key dictionary, insert", "wkd_insert.time", "ns", "lua5.4")
	goal_peer("... look-up", "wkd_get_hit.time", "ns", "libgc")
	goal("... collection, all live, an entry", own("wkd_gc_live.overhead_per_entry"), "ns", 9)
	goal_peer("... half dead", "wkd_gc_dead.time", "ms", "sbcl")
	goal("... bytes an entry, on average", own("memory_wkd.mean"), "B", 28)
	goal("ephemerons that lead to their own keys: left", own("eph_self.leaked"), "entries", 0)
	goal_best("chain of 100,000", "eph_chain.collect", "ms", 0.1, "a tenth of ")
	goal("chain of " group_digits(size["chain" FS "libweakref" FS "limit_chain.ratio"]) " beside the same objects linked strongly", \
		has("chain", "libweakref", "limit_chain.ratio") ? value("chain", "libweakref", "limit_chain.ratio") : "", "x", 2)
	goal("reference, read, beside a plain dependent load", own("limit_ref_dependent.ratio"), "x", 1.3)
	goal("... where reads do not wait for each other", own("limit_ref.ratio"), "x", 1.3)
	goal("... read by two threads", own("threads_ref_get.speedup_2"), "x", 1.9, "", 1)
	goal("... made", own("ref_new.time"), "ns", 40)
	goal("... in a collection", own("limit_gc.per_ref"), "ns", 15)
	goal("finalizer, registered", own("fin_register.time"), "ns", 40)
	goal("... run", own("fin_run.time"), "ns", 100)
	goal("destructor that sees its object, beyond the object", own("mortal_new.beyond_object"), "ns", \
		has("own", "libgc", "mortal_new.beyond_object") ? value("own", "libgc", "mortal_new.beyond_object") : "", \
		"ahead of libgc's " (has("own", "libgc", "mortal_new.beyond_object") ? short(value("own", "libgc", "mortal_new.beyond_object")) : "-"))
}

# ---- the others ----

function group_digits(n,    out)
{
	out = n ""
	while (match(out, /[0-9][0-9][0-9][0-9]/) && sub(/[0-9][0-9][0-9](,|$)/, ",&", out))
		;
	return out
}

# Everything of the own run that has no peer, or libgc alone.
function own_table(    i, metric)
{
	print "| figure | libweakref | libgc by hand |"
	print "|---|---:|---:|"
	for (i = 1; i <= metric_count["own"]; i++) {
		metric = metrics["own", i]
		if (metric !~ /^(churn|threads|memory|mortal|again|alloc|single|many|worst|pause|limit)/ || metric ~ /\.(base|rounds|leaked|remain|not_run)$/)
			continue
		printf "| %s (%s) | %s | %s |\n", metric, unit["own", metric], \
			has("own", "libweakref", metric) ? short(value("own", "libweakref", metric)) : "-", \
			has("own", "libgc", metric) ? short(value("own", "libgc", metric)) : "-"
	}
}

function pause_table(    i, kinds, n, kind)
{
	n = split("wvd wkd ref", kinds, " ")
	print "| " group_digits(size["pause" FS "libweakref" FS "pause_wvd.hook_live"]) \
		" entries | stopped without them, ms | stopped, all live | of that the hook | an entry, ns | stopped, half dead | of that the hook |"
	print "|---|---:|---:|---:|---:|---:|---:|"
	for (i = 1; i <= n; i++) {
		kind = "pause_" kinds[i] "."
		if (!has("pause", "libweakref", kind "hook_dead"))
			continue
		printf "| %s | %s | %s | %s | %s | %s | %s |\n", kinds[i], \
			short(value("pause", "libweakref", kind "stop_base")), short(value("pause", "libweakref", kind "stop_live")), \
			short(value("pause", "libweakref", kind "hook_live")), short(value("pause", "libweakref", kind "hook_live_per_entry")), \
			short(value("pause", "libweakref", kind "stop_dead")), short(value("pause", "libweakref", kind "hook_dead"))
	}
}

function growth_table(    shown, n, i, j, count, at, ours_, theirs, line)
{
	n = split("wvd_insert.time wvd_get_hit.time wvd_gc_live.overhead_per_entry wkd_insert.time wkd_get_hit.time " \
		"wkd_gc_live.overhead_per_entry ref_new.time ref_get.time fin_register.time fin_run.time", shown, " ")
	count = split(sizes["growth"], at, " ")
	line = "| ns, libweakref / libgc |"
	for (j = 1; j <= count; j++)
		line = line " " group_digits(at[j]) " |"
	print line
	line = "|---|"
	for (j = 1; j <= count; j++)
		line = line "---:|"
	print line
	for (i = 1; i <= n; i++) {
		sub(/\.time$/, "", shown[i])
		metric = shown[i] ~ /\./ ? shown[i] : shown[i] ".time"
		line = "| " shown[i] " |"
		for (j = 1; j <= count; j++) {
			ours_ = list["growth" FS "libweakref" FS metric FS at[j]]
			theirs = list["growth" FS "libgc" FS metric FS at[j]]
			line = line " " (ours_ == "" ? "-" : short(median(ours_))) " / " (theirs == "" ? "-" : short(median(theirs))) " |"
		}
		print line
	}
}

END {
	if (files < 5) {
		print "document.awk: a file of figures is empty" > "/dev/stderr"
		exit 3
	}
	if (table == "machine")
		printf "%s%s", notes["own"], notes["peers"]
	else if (table == "goals")
		goals()
	else if (table == "own")
		own_table()
	else if (table == "pause")
		pause_table()
	else
		growth_table()
}

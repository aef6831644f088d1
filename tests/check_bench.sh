#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_bench: every group of weakbench runs and prints what its readers expect, at sizes that take no time; compare tells of made-up runs
# what moved, and nothing else; plot draws a picture. No speed is tested here.
set -u
export LC_ALL=C
unset MAKEFLAGS MFLAGS MAKELEVEL CHAIN PEERS
build=${abs_top_builddir:-$PWD}
bench=$(cd "${srcdir:-$(dirname "$0")/..}/bench" && pwd) || exit 1
export WEAKREF_BUILD=$build
failures=0
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT

fail() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

# ---- weakbench -------------------------------------------------------------------------------------------------------------

# What each group prints, in order: workload.metric. The first five are what the peers of other languages print as well.
declare -A printed
printed[wvd]='wvd_insert.time wvd_mem.peak_rss wvd_mem.rss_per_entry wvd_get_hit.time wvd_gc_live.base wvd_gc_live.live
	wvd_gc_live.overhead wvd_gc_live.overhead_per_entry wvd_mem.heap_per_entry wvd_gc_dead.time wvd_gc_dead.residual'
printed[wkd]='wkd_insert.time wkd_get_hit.time wkd_gc_live.base wkd_gc_live.live wkd_gc_live.overhead
	wkd_gc_live.overhead_per_entry wkd_mem.heap_per_entry wkd_gc_dead.time wkd_gc_dead.residual'
printed[eph]='eph_self.leaked eph_self.time eph_self.rounds eph_chain.collect eph_chain.remain eph_chain.leaked'
printed[ref]='ref_new.time ref_get.time ref_get_mt.time'
printed[fin]='fin_register.time fin_run.time fin_run.not_run'
printed[churn]='churn.time churn.insert churn.collect churn.growth'
printed[memory]='memory_wvd.mean memory_wvd.worst memory_wkd.mean memory_wkd.worst'
printed[again]='again_obj.time again_ref.time again_fin.time again_wvd.time again_wkd.time'
printed[mortal]='mortal_new.time mortal_new.beyond_object mortal_run.time mortal_run.not_run'
same='wvd wkd eph ref fin'
work='churn threads memory mortal again'
own='alloc single many worst pause limit_ref limit_hit limit_get limit_live limit_wkd limit_chain limit_gc'

words() {
	# shellcheck disable=SC2086 # blanks are to be made one
	echo $1
}

# group PROGRAM NAME: runs, and every line is a figure.
group() {
	local out got figure=$'^[a-z0-9_]+\tsomebody\t(300|70)\t[a-z0-9_]+\t-?[0-9]+\\.[0-9]{3}\t[a-zA-Z/]+$'
	out=$(CHAIN=70 "$build/bench/$1" -r somebody 300 "$2" 2>&1) || fail "$1 $2: exit status $?: $(echo "$out" | tail -n 1)"
	echo "$out" | grep -Evq "$figure" && fail "$1 $2: not a figure: $(echo "$out" | grep -Ev "$figure" | head -n 3)"
	got=$(echo "$out" | awk -F '\t' '{ printf "%s%s.%s", (NR > 1 ? " " : ""), $1, $4 }')
	[ -z "${printed[$2]:-}" ] || [ "$(words "${printed[$2]}")" = "$got" ] || fail "$1 $2 prints $got"
	echo "$out" >>"$here/$1.tsv"
}

# value PROGRAM WORKLOAD METRIC N: the figure, without what follows the point.
value() {
	awk -F '\t' -v w="$2" -v m="$3" -v n="$4" '$1 == w && $4 == m && $3 == n { print int($5) }' "$here/$1.tsv"
}

mkdir "$here/peers"
for name in $same $work $own; do group weakbench "$name"; done
for name in $same $work; do group peers/libgc "$name"; done
[ "$(value weakbench eph_self leaked 300)" -le 16 ] || fail "ephemerons leak"
[ "$(value weakbench eph_chain remain 70)" -eq 70 ] || fail "CHAIN=70 is not a chain of 70"
[ "$(value peers/libgc eph_self leaked 300)" -eq 300 ] || fail "by hand on libgc nothing of eph_self can be collected"
[ "$(value weakbench fin_run not_run 300)" -le 16 ] || fail "finalizers did not run"
CHAIN=1 "$build/bench/weakbench" 300 eph | grep -q '^eph_chain' && fail "CHAIN=1 has a chain"
"$build/bench/weakbench" 300 eph | grep -q $'^eph_self\tlibweakref\t' || fail "without -r it is not called libweakref"
for arguments in "" "300" "1 wvd" "300 nosuch" "-x 300 wvd" "-r libgc 300 wvd"; do
	# shellcheck disable=SC2086 # they are words
	"$build/bench/weakbench" $arguments >/dev/null 2>&1
	[ $? -eq 2 ] || fail "weakbench $arguments is not refused"
done

# ---- compare ---------------------------------------------------------------------------------------------------------------

# figures FILE RUNTIME WORKLOAD METRIC UNIT VALUE...: one for each pass.
figures() {
	local file=$here/$1 runtime=$2 workload=$3 metric=$4 unit=$5 value
	shift 5
	for value; do printf '%s\t%s\t1000\t%s\t%s\t%s\n' "$workload" "$runtime" "$metric" "$value" "$unit" >>"$file"; done
}

# moved STATUS OPTIONS WANTED: what compare says of `new` against `old`: the first three words of each line but the sum.
moved() {
	local got status
	# shellcheck disable=SC2086 # options are words
	got=$("$bench/compare" --read "$here/new" --against "$here/old" $2 2>&1)
	status=$?
	[ $status -eq "$1" ] || fail "compare $2: exit status $status, not $1: $got"
	got=$(echo "$got" | grep -E '^(worse|better|missing) ' | awk '{ print $1, $2, $3 }')
	[ "$got" = "$3" ] || fail "compare $2: '$got' instead of '$3'"
}

# Within the noise: a change of less than 10%; ranges that overlap; a leak of a few.
figures old libweakref wvd_insert time ns/op 100 101 102
figures new libweakref wvd_insert time ns/op 107 108 109
figures old libweakref wvd_get_hit time ns/op 100 150 200
figures new libweakref wvd_get_hit time ns/op 190 220 260
figures old libweakref eph_self leaked entries 0 0 0
figures new libweakref eph_self leaked entries 3 2 12
figures old libgc wvd_insert time ns/op 500 505 510
figures new libgc wvd_insert time ns/op 500 505 510
moved 0 '' ''
moved 1 '--noise 5' 'worse wvd_insert.time libweakref'

# Faster is no fault; nor is it one of ours where another moved.
figures old libweakref ref_new time ns/op 100 102 104
figures new libweakref ref_new time ns/op 60 61 62
figures old libgc ref_new time ns/op 200 202 204
figures new libgc ref_new time ns/op 300 302 304
moved 0 '' 'better ref_new.time libweakref
worse ref_new.time libgc'

# One pass in five that something else disturbed does not count, in neither direction.
figures old libweakref ref_get time ns/op 50 51 52 53 400
figures new libweakref ref_get time ns/op 80 81 82 83 51
moved 1 '' 'better ref_new.time libweakref
worse ref_new.time libgc
worse ref_get.time libweakref'

# A leak; a speed-up that is less; what is not there any more.
figures old libweakref eph_chain leaked entries 0 0 0
figures new libweakref eph_chain leaked entries 900 900 900
figures old libweakref threads_ref_get speedup_2 x 1.9 1.9 1.9
figures new libweakref threads_ref_get speedup_2 x 1.1 1.1 1.1
figures old libweakref fin_run time ns/op 9 9 9
moved 1 '' 'better ref_new.time libweakref
worse ref_new.time libgc
worse ref_get.time libweakref
worse eph_chain.leaked libweakref
worse threads_ref_get.speedup_2 libweakref
missing fin_run.time libweakref'

# Beside libgc: both became slower at once, so did the machine; where only libgc did, we are better.
rm "$here/old" "$here/new"
figures old libweakref wvd_insert time ns/op 100 200 150
figures old libgc wvd_insert time ns/op 200 400 300
figures new libweakref wvd_insert time ns/op 900 750 1050
figures new libgc wvd_insert time ns/op 1800 1500 2100
figures old libweakref ref_new time ns/op 100 100 100
figures old libgc ref_new time ns/op 100 100 100
figures new libweakref ref_new time ns/op 100 100 100
figures new libgc ref_new time ns/op 200 200 200
moved 0 --relative 'better ref_new.time libweakref'
moved 1 '' 'worse wvd_insert.time libweakref
worse wvd_insert.time libgc
worse ref_new.time libgc'

# Nothing in common, nothing at all, and wrong calls.
sed 's/1000/2000/' "$here/old" >"$here/other"
: >"$here/empty"
for wrong in "3 --read $here/other --against $here/old" "3 --read $here/empty --against $here/old" "3 --read $here/empty" \
	"3 --read $here/nosuch" "2 --nosuch" "2 -n" "2 -n many" "2 -p 0" "2 -n 1"; do
	# shellcheck disable=SC2086 # they are words
	"$bench/compare" ${wrong#* } >/dev/null 2>&1
	status=$?
	[ $status -eq "${wrong%% *}" ] || fail "compare ${wrong#* }: exit status $status"
done

# The table: medians, the fastest of those who do the whole job at the same size, and how many times ours they are.
rm "$here/old"
figures old libweakref eph_self time ms 10 30 20
figures old libweakref eph_self leaked entries 0 0 0
figures old lua5.4 eph_self time ms 50
figures old lua5.4 eph_self leaked entries 0
figures old cpython eph_self time ms 2
figures old cpython eph_self leaked entries 1000
figures old sbcl eph_self time ms 40
sed -i '/sbcl/s/1000/500/' "$here/old"
got=$("$bench/compare" --read "$here/old" --markdown | tail -n 1)
[ "$got" = '| eph_self.time (ms) | 1k | 20 | lua5.4 | 0.40 | 50 (2.50x) | 2! | 40@500 |' ] || fail "the table's row is $got"

# A run of its own, saved, and compared with itself.
"$bench/compare" -n 300 -p 1 -g 'ref fin' --save "$here/saved" >"$here/out" 2>&1 || fail "compare -n 300: $(tail -n 1 "$here/out")"
grep -q '^ref_get.time (ns/op) ' "$here/out" || fail "compare's table has no ref_get.time"
grep -q '^# machine: ' "$here/saved" || fail "compare does not save what machine it was"
"$bench/compare" --read "$here/saved" --against "$here/saved" >"$here/out" 2>&1 || fail "a run moved against itself: $(cat "$here/out")"

# A collection of peers is copied, built and run; ours is not in it.
mkdir "$here/others" "$here/others/glib"
cat >"$here/others/build.sh" <<'END'
#!/bin/sh
touch glib/bench
END
cat >"$here/others/run.sh" <<'END'
#!/bin/sh
printf 'ref_new\t%s\t%s\ttime\t7.5\tns/op\n' "$2" "$1" >>"$OUT"
printf 'groups: %s\n' "$GROUPS_" >>"$OUT"
END
chmod +x "$here/others/build.sh" "$here/others/run.sh"
"$bench/compare" -n 300 -p 1 -g 'ref churn' --peers "$here/others" >"$here/out" 2>"$here/err" || fail "compare --peers: $(tail -n 1 "$here/err")"
grep -Eq '^ref_new.time \(ns/op\) .* 7\.50( |$)' "$here/out" || fail "the peer is not in the table: $(cat "$here/out" "$here/err")"
[ ! -e "$here/others/glib/bench" ] || fail "compare writes to the peers' folder"

# ---- plot ------------------------------------------------------------------------------------------------------------------

if [ -x "$build/bench/draw" ]; then
	"$bench/plot" -o "$here/a.png" -n '200 2000' --save "$here/grown" >"$here/out" 2>&1 || fail "plot: $(tail -n 1 "$here/out")"
	"$bench/plot" -o "$here/b.png" --read "$here/grown" >"$here/out" 2>&1 || fail "plot --read: $(tail -n 1 "$here/out")"
	[ "$(head -c 8 "$here/a.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "plot draws no PNG"
	cmp -s "$here/a.png" "$here/b.png" || fail "the same figures make another picture"
	"$build/bench/draw" "$here/c.png" "$here/empty" >/dev/null 2>&1 && fail "a picture of nothing was drawn"
else
	echo "draw was not built: cairo was not found"
fi

[ $failures -eq 0 ]

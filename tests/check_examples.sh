#!/bin/sh
# SPDX-License-Identifier: MIT
# check_examples: the small examples do what they are there to show (D61: server_registry). imagecache has check_imagecache.sh. What was
# not built is passed by.
set -u
build=${abs_top_builddir:-.}
failures=0 ran=0

fail() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

# A stray word on the conservative heap may keep a server: of three runs one must show none.
program=$build/examples/server_registry
if [ -x "$program" ]; then
	ran=1 good=0
	for i in 1 2 3; do
		out=$("$program") && good=1
		echo "$out" | grep -q '^inside the function: 12 servers are registered$' || fail "server_registry does not count 12"
		# Each of the twelve roles once, each with a random UUID of its own, of version 4.
		for app in yelp pinterest uber twitter; do
			for component in db web cache; do
				n=$(echo "$out" | grep -cE "^    ${app}_$component +[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}  aws$")
				[ "$n" -ge 1 ] || fail "server_registry: $n lines for ${app}_$component"
			done
		done
		[ "$(echo "$out" | awk '/  aws$/ { print $2 }' | sort -u | wc -l)" = 12 ] || fail "server_registry: not 12 different UUIDs"
	done
	[ $good = 1 ] || fail "server_registry: servers are left in each of three runs"
fi

program=$build/examples/annotate
if [ -x "$program" ]; then
	ran=1 good=0
	for i in 1 2 3; do
		out=$("$program") && good=1
		echo "$out" | grep -q '^while the document is in use: 521 elements, 521 notes$' || fail "annotate does not find its 521 notes"
	done
	[ $good = 1 ] || { fail "annotate: notes are left in each of three runs"; echo "$out"; }
	"$program" /nonexistent.xml >/dev/null 2>&1 && fail "annotate reads what is not there"
fi

# Every file once, and what is asked for again not at all; an unknown path and an option that is none are told of.
program=$build/examples/file_cache
if [ -x "$program" ]; then
	ran=1
	work=$(mktemp -d) || exit 99
	printf 'one\ntwo\n' >"$work/a"
	printf 'three' >"$work/b"
	out=$(printf '%s\n' "$work/a" "$work/b" "$work/a" "$work/a" | "$program" 2>"$work/err") || fail "file_cache: status $?"
	[ "$out" = "$(printf '%s\n' "2 8 $work/a" "0 5 $work/b" "2 8 $work/a" "2 8 $work/a")" ] || fail "file_cache counts: $out"
	grep -q ': 2 files, 4 requests, hit rate 0.50, 2 loads' "$work/err" || fail "file_cache's figures: $(cat "$work/err")"
	printf '%s\n' "$work/a" "$work/b" "$work/a" | FILE_CACHE=maximumWeight=8 "$program" >/dev/null 2>"$work/err"
	grep -q ': 1 files, 3 requests' "$work/err" || fail "file_cache's bound: $(cat "$work/err")"
	echo "$work/none" | "$program" 2>/dev/null && fail "file_cache reads what is not there"
	FILE_CACHE=maximumWait=8 "$program" </dev/null 2>&1 | grep -q 'maximumWait: no such option' || fail "file_cache takes any option"
	rm -rf "$work"
fi

# Workers that allocate so much collect by themselves, and the loop gives back what died; of the last ones a few may stay.
program=$build/examples/event_loop
if [ -x "$program" ]; then
	ran=1
	out=$("$program" 3 2000) || fail "event_loop: $out"
	echo "$out" | grep -q '^6000 textures made by 3 workers' || fail "event_loop does not make 6000"
	n=$(echo "$out" | sed -n 's/^given back: .* \([0-9]*\) in all, 0 by another thread.*/\1/p')
	[ "${n:-0}" -ge 5900 ] || fail "event_loop gives ${n:-nothing} back of 6000"
	"$program" 0 >/dev/null 2>&1 && fail "event_loop works without workers"
fi

[ $ran = 1 ] || exit 77
[ $failures = 0 ]

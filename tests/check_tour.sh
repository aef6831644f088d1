#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_tour: each section of weakref_tour prints what the notebook's program prints, five times in a row; all together they do, in
# order; and nothing but the debugging output goes to stderr.
#
# Addresses are replaced by @1, @2 … in the order of their appearance, so that the same object has to be the same throughout.
# Destructors run in no order: their lines are sorted where they follow each other.
set -u
export LC_ALL=C
program=${abs_top_builddir:-.}/examples/weakref_tour
errors=$(mktemp) || exit 1
trap 'rm -f "$errors"' EXIT
failures=0

[ -x "$program" ] || { echo "weakref_tour was not built"; exit 1; }

fail() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

masked() {
	awk '
	function flush_deleted(   i, j, t) {
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && deleted[j] < deleted[j - 1]; j--) {
				t = deleted[j]; deleted[j] = deleted[j - 1]; deleted[j - 1] = t
			}
		for (i = 1; i <= n; i++)
			print deleted[i]
		n = 0
	}
	{
		line = ""
		while (match($0, /0x[0-9a-f]+/)) {
			address = substr($0, RSTART, RLENGTH)
			if (!(address in number))
				number[address] = ++addresses
			line = line substr($0, 1, RSTART - 1) "@" number[address]
			$0 = substr($0, RSTART + RLENGTH)
		}
		line = line $0
		if (line ~ /^    \(Deleting /) {
			deleted[++n] = line
			next
		}
		flush_deleted()
		print line
	}
	END { flush_deleted() }'
}

# The sections in order: the heading, and what follows it.
sections='ref callback finalize atexit uncollected method proxy dictionary'
declare -A expected
expected[ref]="1. weakref.ref

obj: <ExpensiveObject object at @1>
ref: <weakref at @2; to 'ExpensiveObject' at @1>
r(): <ExpensiveObject object at @1>
deleting obj
(Deleting <ExpensiveObject object at @1>)
r(): None"
expected[callback]="2. weakref.ref with a callback

obj: <ExpensiveObject object at @1>
ref: <weakref at @2; to 'ExpensiveObject' at @1>
r(): <ExpensiveObject object at @1>
deleting obj
callback(<weakref at @2; dead>)
(Deleting <ExpensiveObject object at @1>)
r(): None"
expected[finalize]="3. weakref.finalize

on_finalize(('extra argument',))
(Deleting <ExpensiveObject object at @1>)"
expected[atexit]="4. weakref.finalize: atexit

with the argument 1:
on_finalize(('extra argument',))
(Deleting <ExpensiveObject object at @>)
with the argument 0:
(Deleting <ExpensiveObject object at @>)"
expected[uncollected]="5. weakref.finalize: its object among the arguments

found uncollected object in gc
(Deleting <ExpensiveObject object at @1>)"
expected[method]="6. weakref.finalize: a bound method of its object

finalize(obj, obj.release):
found uncollected object in gc
(Deleting <ExpensiveObject object at @>)
finalize(obj, WeakMethod(obj.release)):
on_finalize: the method's object is dead: -WEAKREF_ESTALE
(Deleting <ExpensiveObject object at @>)"
expected[proxy]="7. weakref.proxy

via obj: My Object
via ref: My Object
via proxy: My Object
(Deleting <ExpensiveObject object at @1>)
via proxy: ReferenceError: -WEAKREF_ESTALE (the referent is dead)"
expected[dictionary]="8. weakref.WeakValueDictionary

CACHE TYPE: dict
  all_refs = {'one': ExpensiveObject(one),
 'three': ExpensiveObject(three),
 'two': ExpensiveObject(two)}

  Before, cache contains: ['one', 'three', 'two']
    one = ExpensiveObject(one)
    three = ExpensiveObject(three)
    two = ExpensiveObject(two)

  Cleanup:

  After, cache contains: ['one', 'three', 'two']
    one = ExpensiveObject(one)
    three = ExpensiveObject(three)
    two = ExpensiveObject(two)
  demo returning
    (Deleting ExpensiveObject(one))
    (Deleting ExpensiveObject(three))
    (Deleting ExpensiveObject(two))

CACHE TYPE: WeakValueDictionary
  all_refs = {'one': ExpensiveObject(one),
 'three': ExpensiveObject(three),
 'two': ExpensiveObject(two)}

  Before, cache contains: ['one', 'three', 'two']
    one = ExpensiveObject(one)
    three = ExpensiveObject(three)
    two = ExpensiveObject(two)

  Cleanup:
    (Deleting ExpensiveObject(one))
    (Deleting ExpensiveObject(three))
    (Deleting ExpensiveObject(two))

  After, cache contains: []
  demo returning"

# same WHAT WANTED GOT
same() {
	[ "$2" = "$3" ] && return
	fail "$1:"
	diff <(echo "$2") <(echo "$3")
}

# Where one object comes after another's death: whether their addresses are equal says nothing.
unnumbered() {
	sed 's/@[0-9]*/@/g'
}

# The debugging output: of each dictionary three objects found dead, and a line for each collection.
check_errors() {
	n=$(grep -c '^libweakref: gc: collectable <ExpensiveObject 0x[0-9a-f]*>$' "$errors")
	[ "$n" -eq 6 ] || fail "$1: $n collectable objects, not 6"
	n=$(grep -c '^libweakref: gc: generation [012]: [0-9]* dead, 0 uncollectable, world stopped for [0-9.]* ms$' "$errors")
	[ "$n" -ge 4 ] || fail "$1: statistics of $n collections, not of 4 at least"
	other=$(grep -v '^libweakref: gc: ' "$errors") && fail "$1: on stderr: $other"
}

for round in 1 2 3 4 5; do
	all=
	for section in $sections; do
		out=$("$program" "$section" 2>"$errors") || fail "$section, round $round: exit status $?"
		got=$(echo "$out" | masked)
		case $section in atexit | method) got=$(echo "$got" | unnumbered) ;; esac
		same "$section, round $round" "${expected[$section]}" "$got"
		if [ $section = dictionary ]; then
			check_errors "$section, round $round"
		elif [ -s "$errors" ]; then
			fail "$section, round $round: on stderr: $(cat "$errors")"
		fi
		all=$all${all:+$'\n\n\n'}${expected[$section]}
	done
	out=$("$program" 2>"$errors") || fail "all, round $round: exit status $?"
	same "all, round $round" "$(echo "$all" | unnumbered)" "$(echo "$out" | masked | unnumbered)"
	check_errors "all, round $round"
done

"$program" nosuch >/dev/null 2>&1
[ $? -eq 2 ] || fail "an unknown section is not refused"

[ $failures -eq 0 ]

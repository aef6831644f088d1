#!/bin/sh
# SPDX-License-Identifier: MIT
# check_pool_examples: the examples of ya.resourcepool's README print what its README says, and the pool of SQLite connections does its
# work, where SQLite is found.
set -u
build=${abs_top_builddir:-.}
failures=0

# example NAME SECONDS OUTPUT: the lines of OUTPUT are separated by "; ".
example() {
	wanted=$(printf '%s\n' "$3" | sed 's/; /\n/g')
	got=$("$build/examples/pool_readme" "$1" "$2" 2>&1)
	status=$?
	[ $status -eq 0 ] && [ "$got" = "$wanted" ] && return
	printf 'FAIL: pool_readme %s: status %d, and this instead of "%s":\n%s\n' "$1" $status "$3" "$got"
	failures=$((failures + 1))
}

example basic 0 'Using resource 1'
example pop-push 0 'Using resource 1; 1 idle'
example foreign 0 'Using resource 1'
example limited 0 'Using resource 1; Using resource 1'
example empty 0 'No resource: absent'
example timeout 0.3 'No resource: timed out; after the timeout'
example init-alloc 0 'Using resource 1; Using resource 2'
example dealloc 0 'Using resource 1; Closing resource 1'
example maxsize 0 '1 idle; 2 idle; 3 idle; Closing resource 1; 3 idle; Closing resource 2; 3 idle; Closing resource 3; Closing resource 4; Closing resource 5'
example minsize 0 '1 idle; 2 idle; 3 idle; 4 idle; Closing resource 1; Closing resource 2; Closing resource 3; 2 idle; Closing resource 4; Closing resource 5'
example maxage 0.2 'Using resource 1; Closing resource 1; 1 too old; Using resource 2; Closing resource 2'
example check 0 'Using resource 1; Closing resource 1; Using resource 2'
example foot 0.2 'Using resource 1'

if [ -x "$build/examples/pool_sqlite" ]; then
	wanted='recovered a connection that was leased in pool_sqlite.c
rows 800, failed 0, recovered 1, refused 1, reused more than opened, at most 3 open
all connections are closed'
	got=$("$build/examples/pool_sqlite" 8 50 2>&1) && [ "$got" = "$wanted" ] || {
		printf 'FAIL: pool_sqlite:\n%s\n' "$got"
		failures=$((failures + 1))
	}
else
	echo "pool_sqlite was not built: SQLite was not found"
fi
[ $failures -eq 0 ]

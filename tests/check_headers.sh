#!/bin/sh
# SPDX-License-Identifier: MIT
# check_headers: each public header compiles alone, included twice, as C11, C17 and C++17 without a warning, and defines no macro but
# WEAKREF_*; so does a program that uses the macros with parameters, in C++ without casts of C's. Without a C++ compiler the test ends as
# skipped, once the rest has passed.
# shellcheck disable=SC2086 # CC and CXX may hold options; macros are names
set -u
top=${srcdir:-$(dirname "$0")/..}
build=${abs_top_builddir:-.}
status=0

# compiles LANGUAGE STANDARD COMPILER...: what is read from standard input.
compiles()
{
	language=$1 standard=$2
	shift 2
	"$@" -x "$language" -std="$standard" -Wall -Wextra -Werror -pedantic -fsyntax-only -I "$build/include" -I "$top/include" -
}

# try LANGUAGE STANDARD HEADER COMPILER...
try()
{
	language=$1 standard=$2 header=$3
	shift 3
	# ISO C wants at least one declaration in what it compiles; version.h has none.
	printf '#include "weakref/%s"\n#include "weakref/%s"\nstruct something;\n' "$header" "$header" |
		compiles "$language" "$standard" "$@" && return
	echo "weakref/$header: does not compile alone as $standard"
	status=1
}

# try_macros LANGUAGE STANDARD COMPILER...
try_macros()
{
	compiles "$@" <<-'END' && return
		#include "weakref/weakref.h"
		#ifdef __cplusplus
		#pragma GCC diagnostic error "-Wold-style-cast"
		#endif
		int use_macros(weakref_pool *pool, weakref_valuedict *dict, int (*fn)(void *, void *), int seconds, double precise);
		int use_macros(weakref_pool *pool, weakref_valuedict *dict, int (*fn)(void *, void *), int seconds, double precise)
		{
			WEAKREF_POOL_SCOPED(first) = WEAKREF_POOL_LEASE(pool);
			WEAKREF_POOL_SCOPED(second) = WEAKREF_POOL_LEASE_WAIT(pool, seconds);
			WEAKREF_POOL_SCOPED(third) = WEAKREF_POOL_LEASE_WAIT(pool, precise / 2);
			WEAKREF_KEEP(pool);
			return weakref_valuedict_contains(dict, WEAKREF_INT(seconds)) + (WEAKREF_INT_VALUE(WEAKREF_INT(-1)) == -1) +
			       WEAKREF_POOL_WITH(pool, fn, NULL) + WEAKREF_POOL_WITH_WAIT(pool, 0.5, fn, NULL) +
			       (first == second && second == third);
		}
	END
	echo "a program that uses the macros does not compile as $2"
	status=1
}

for path in "$top"/include/weakref/*.h "$build/include/weakref/version.h"; do
	header=${path##*/}
	[ -e "$path" ] || { echo "$path is missing"; exit 99; }
	try c c11 "$header" ${CC:-cc}
	try c c17 "$header" ${CC:-cc}
	[ -z "${CXX-}" ] || try c++ c++17 "$header" $CXX
	# -dD keeps the definitions beside the marks that tell which file they stand in.
	macros=$(printf '#include "weakref/%s"\n' "$header" |
		${CC:-cc} -E -dD -x c -I "$build/include" -I "$top/include" - | awk '
			/^# [0-9]+ "/ { ours = /\/weakref\/[a-z_]+\.h"/ }
			/^#define / && ours { count++; name = $2; sub(/\(.*/, "", name); if (name !~ /^WEAKREF_/) print name }
			END { if (count == 0) print "(none at all: not even its own guard was found)" }')
	[ -z "$macros" ] || { printf "weakref/$header: defines the macro %s\n" $macros; status=1; }
done

try_macros c c11 ${CC:-cc}
[ -z "${CXX-}" ] || try_macros c++ c++17 $CXX

[ $status -eq 0 ] && [ -z "${CXX-}" ] && { echo "no C++ compiler: not tried as C++"; exit 77; }
exit $status

#!/bin/sh
# SPDX-License-Identifier: MIT
# check_symbols: each shared library exports gc_* and weakref_* and nothing else, and each function that its public headers declare.
# libweakref-memcached has one header, and libweakref all others.
set -u
top=${srcdir:-$(dirname "$0")/..}
build=${abs_top_builddir:-.}
[ -e "$build/.libs/libweakref.so" ] || { echo "no shared library was built"; exit 77; }

# check LIBRARY HEADER...
check()
{
	library=$build/.libs/$1
	shift
	# A symbol may carry its version (@...). _end and its like are the linker's.
	exported=$(${NM:-nm} -D --defined-only "$library" | awk '{sub(/@.*/, "", $NF); print $NF}' | sort)
	[ -n "$exported" ] || { echo "$library exports nothing"; status=1; return; }
	foreign=$(printf '%s\n' "$exported" | grep -Ev '^(gc|weakref)_|^(_end|_init|_fini|__bss_start|_edata)$')

	# What a header includes is declared elsewhere: the marks tell which file the lines are of.
	declared=$(for header; do
		printf '#include "weakref/%s"\n' "${header##*/}" | ${CC:-cc} -E -I "$build/include" -I "$top/include" -x c - |
			awk -v file="/weakref/${header##*/}\"" '/^# [0-9]+ "/ { own = index($0, file); next } own'
	done | tr '\n;' ' \n' | sed -n 's/.*visibility("default").*[ *]\(\(gc\|weakref\)_[a-z0-9_]*\) *(.*/\1/p' | sort -u)
	[ -n "$declared" ] || { echo "no declarations were found for $library"; exit 99; }
	missing=$(for name in $declared; do printf '%s\n' "$exported" | grep -qx "$name" || echo "$name"; done)

	[ -z "$foreign$missing" ] && return
	status=1
	# shellcheck disable=SC2086 # one line for each name
	[ -z "$foreign" ] || printf "${library##*/}: exported, but not ours: %s\\n" $foreign
	# shellcheck disable=SC2086
	[ -z "$missing" ] || printf "${library##*/}: declared, but not exported: %s\\n" $missing
}

status=0
apart=$top/include/weakref/cache_memcached.h
set --
for header in "$top"/include/weakref/*.h; do
	[ "$header" = "$apart" ] || set -- "$@" "$header"
done
check libweakref.so "$@"
[ ! -e "$build/.libs/libweakref-memcached.so" ] || check libweakref-memcached.so "$apart"
exit $status

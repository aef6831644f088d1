#!/bin/sh
# SPDX-License-Identifier: MIT
# check_symbols: the shared library exports gc_* and weakref_* and nothing else, and each function that a public header declares.
set -u
top=${srcdir:-$(dirname "$0")/..}
build=${abs_top_builddir:-.}
library=$build/.libs/libweakref.so
[ -e "$library" ] || { echo "no shared library was built"; exit 77; }

# A symbol may carry its version (@...). _end and its like are the linker's.
exported=$(${NM:-nm} -D --defined-only "$library" | awk '{sub(/@.*/, "", $NF); print $NF}' | sort)
[ -n "$exported" ] || { echo "$library exports nothing"; exit 1; }
foreign=$(printf '%s\n' "$exported" | grep -Ev '^(gc|weakref)_|^(_end|_init|_fini|__bss_start|_edata)$')

declared=$(for header in "$top"/include/weakref/*.h; do echo "#include \"weakref/${header##*/}\""; done |
	${CC:-cc} -E -P -I "$build/include" -I "$top/include" -x c - | tr '\n;' ' \n' |
	sed -n 's/.*visibility("default").*[ *]\(\(gc\|weakref\)_[a-z0-9_]*\) *(.*/\1/p' | sort -u)
[ -n "$declared" ] || { echo "no declarations were found in $top/include"; exit 99; }
missing=$(for name in $declared; do printf '%s\n' "$exported" | grep -qx "$name" || echo "$name"; done)

[ -z "$foreign$missing" ] && exit 0
# shellcheck disable=SC2086 # one line for each name
[ -z "$foreign" ] || printf 'exported, but not ours: %s\n' $foreign
# shellcheck disable=SC2086
[ -z "$missing" ] || printf 'declared, but not exported: %s\n' $missing
exit 1

#!/bin/sh
# SPDX-License-Identifier: MIT
# check_install: README's program compiles with README's line against what was installed, and runs; so does one with libweakref-memcached,
# where that was installed. Not a test of `make check`: it is what `make installcheck` does, which sets PKG_CONFIG_PATH and LD_LIBRARY_PATH to
# the place of installation.
set -u
top=${srcdir:-$(dirname "$0")/..}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

awk '/^    #include/ { on = 1 } on && /^[^ ]/ { exit } on { sub(/^    /, ""); print }' "$top/README" >"$work/program.c"
line=$(sed -n 's/^    cc program.c/'"${CC:-cc}"' program.c/p' "$top/README")
if [ ! -s "$work/program.c" ] || [ -z "$line" ]; then
	echo "README has no program, or no line that compiles it"
	exit 1
fi

cd "$work" || exit 99
echo "$line"
eval "$line ${SANITIZER_CFLAGS-}" || { echo "README's program does not compile"; exit 1; }
./program >output || { echo "README's program ended with status $?"; exit 1; }
grep -q 'died' output || { cat output; echo "README's program did not see its object die"; exit 1; }

pkg-config --exists libweakref-memcached || exit 0
cat >far.c <<'END'
#include <weakref/cache_memcached.h>
#include <weakref/weakref.h>
int main(void)
{
	return gc_init() == 0 && weakref_cache_memcached_clear(NULL) == -WEAKREF_EINVAL ? 0 : 1;
}
END
line="${CC:-cc} far.c -o far \$(pkg-config --cflags --libs libweakref-memcached)"
echo "$line"
eval "$line ${SANITIZER_CFLAGS-}" || { echo "a program with libweakref-memcached does not compile"; exit 1; }
./far || { echo "a program with libweakref-memcached ended with status $?"; exit 1; }

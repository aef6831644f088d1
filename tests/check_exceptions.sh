#!/bin/sh
# SPDX-License-Identifier: MIT
# check_exceptions: a program in C++ uses the library that was built, and throws in its callbacks (exceptions.cc).
# shellcheck disable=SC2086 # CXX may hold options
set -u
top=${srcdir:-$(dirname "$0")/..}
build=${abs_top_builddir:-.}
[ -n "${CXX-}" ] || { echo "no C++ compiler"; exit 77; }
[ -e "$build/.libs/libweakref.so" ] || { echo "no shared library was built"; exit 77; }
${NM:-nm} -D "$build/.libs/libweakref.so" | grep -q ' U __\(asan\|ubsan\|tsan\)_' && { echo "not with a sanitizer"; exit 77; }
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

for optimisation in -O0 -O2; do
	$CXX -std=c++17 -Wall -Wextra -Werror -pedantic $optimisation -I "$build/include" -I "$top/include" "$top/tests/exceptions.cc" \
		-o "$work/exceptions" -L "$build/.libs" -lweakref -Wl,-rpath,"$build/.libs" || exit 1
	"$work/exceptions" || { echo "exceptions.cc with $optimisation: status $?"; exit 1; }
done

#!/bin/sh
# SPDX-License-Identifier: MIT
# check_fuzz: the models of the containers build as libFuzzer targets and survive a few hundred inputs, beginning with none. Skipped where
# there is no clang with libFuzzer, and under sanitizers, which the fuzzer brings itself. To fuzz for longer: tests/model_containers.c.
set -u
unset WEAKREF_COLLECT_EVERY WEAKREF_TEST_INCREMENTAL # an input is small: nothing would be left of it but collections
top=${srcdir:-$(dirname "$0")/..}
build=${abs_top_builddir:-.}
top=$(cd "$top" && pwd) && build=$(cd "$build" && pwd) || exit 99
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
status=0

command -v clang >/dev/null || { echo "there is no clang"; exit 77; }
case $(grep -o 'fsanitize=[a-z,]*' "$build/Makefile" | head -n 1) in ?*) echo "the library has sanitizers of its own"; exit 77 ;; esac
printf 'int LLVMFuzzerTestOneInput(const char *p, long n) { (void)p; return (int)(n - n); }\n' >"$work/probe.c"
clang -fsanitize=fuzzer "$work/probe.c" -o "$work/probe" 2>/dev/null || { echo "this clang has no libFuzzer"; exit 77; }

# The build's own flags of pkg-config.
flag() {
	sed -n "s/^$1 = //p" "$build/Makefile" | head -n 1
}

for model in model_containers model_valuedict; do
	# shellcheck disable=SC2046 # flags are words
	if ! clang -std=gnu11 -O1 -g -fsanitize=fuzzer -DMODEL_FUZZER -I "$build/include" -I "$top/include" -I "$top/tests" \
		$(flag BDW_GC_CFLAGS) $(flag CHECK_CFLAGS) "$top/tests/$model.c" "$top/tests/support.c" "$top/tests/rawthread.c" -o "$work/$model" \
		-L "$build/.libs" -Wl,-rpath,"$build/.libs" -lweakref $(flag CHECK_LIBS) $(flag BDW_GC_LIBS) -lpthread; then
		echo "FAIL: $model does not build as a fuzz target"
		status=1
		continue
	fi
	(cd "$work" && "./$model" -runs=200 -max_len=2000 -len_control=0 -seed=1) >"$work/log" 2>&1 && continue
	echo "FAIL: $model"
	grep -v '^#[0-9]' "$work/log" | head -n 20
	status=1
done
exit $status

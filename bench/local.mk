# SPDX-License-Identifier: MIT
# Benchmarks: made by `make bench`, never by `make` or `make check`. To add one: its name into
# bench_programs, and its _LDADD.

bench_programs = bench/weakbench
bench_weakbench_LDADD = libweakref.la $(BDW_GC_LIBS) -lm
EXTRA_PROGRAMS += $(bench_programs)
CLEANFILES += $(bench_programs)

.PHONY: bench
bench: $(bench_programs)

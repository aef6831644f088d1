# SPDX-License-Identifier: MIT
# Benchmarks: made by `make bench`, never by `make` or `make check`. To add one: its name into
# bench_programs, and its _LDADD.

bench_programs = bench/weakbench
bench_weakbench_LDADD = libweakref.la $(BDW_GC_LIBS) -lm
# Where libaprutil and GLib are found.
if HAVE_RIVAL_POOLS
bench_programs += bench/poolbench bench/cachebench
endif
bench_poolbench_CPPFLAGS = $(AM_CPPFLAGS) $(RIVAL_POOLS_CFLAGS)
bench_poolbench_LDADD = libweakref.la $(RIVAL_POOLS_LIBS) $(BDW_GC_LIBS)
bench_cachebench_CPPFLAGS = $(AM_CPPFLAGS) $(RIVAL_POOLS_CFLAGS)
bench_cachebench_LDADD = libweakref.la $(RIVAL_POOLS_LIBS) $(BDW_GC_LIBS)
EXTRA_PROGRAMS += $(bench_programs)
CLEANFILES += $(bench_programs)

.PHONY: bench
bench: $(bench_programs)

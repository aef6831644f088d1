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
# Where cairo and zlib are found.
if HAVE_HITRATIO
bench_programs += bench/hitratio
endif
bench_hitratio_SOURCES = \
	bench/chart.c \
	bench/chart.h \
	bench/hitratio.c \
	bench/ours.c \
	bench/ours.h \
	bench/rivals.c \
	bench/rivals.h \
	bench/trace.c \
	bench/trace.h
bench_hitratio_CPPFLAGS = $(AM_CPPFLAGS) $(HITRATIO_CFLAGS)
bench_hitratio_LDADD = libweakref.la $(HITRATIO_LIBS) $(BDW_GC_LIBS) -lm
EXTRA_PROGRAMS += $(bench_programs)
CLEANFILES += $(bench_programs)

.PHONY: bench
bench: $(bench_programs)

# SPDX-License-Identifier: MIT
# Benchmarks: never made by `make`. `make bench` makes all and runs a small comparison, of under a minute; `make check` makes those that
# tests/check_bench.sh tries. To add one: its name into bench_programs, and its _LDADD.

bench_tested = bench/weakbench bench/peers/libgc
bench_programs =

# The workloads are compiled for each subject: see bench/weak.h.
weak_common = \
	bench/weak.c \
	bench/weak.h \
	bench/weak_same.c \
	bench/weak_work.c \
	bench/weakbench.c
bench_weakbench_SOURCES = $(weak_common) \
	bench/bare.h \
	bench/ours.h \
	bench/strong.h \
	bench/weak_limits.c \
	bench/weak_own.c \
	bench/weak_own.h
bench_weakbench_LDADD = bench/libstrong.la libweakref.la $(BDW_GC_LIBS) $(XXHASH_LIBS)
bench_peers_libgc_SOURCES = $(weak_common) \
	bench/peers/libgc.h
bench_peers_libgc_CPPFLAGS = $(BDW_GC_CFLAGS) -DSUBJECT_LIBGC
bench_peers_libgc_LDADD = $(BDW_GC_LIBS)

# The library's table with strong values: see bench/strong.h. All files of the table stand here again.
EXTRA_LTLIBRARIES += bench/libstrong.la
bench_libstrong_la_CPPFLAGS = $(core_cppflags) -D_GNU_SOURCE -include $(top_srcdir)/bench/strong_load.h
bench_libstrong_la_SOURCES = \
	bench/strong.c \
	bench/strong.h \
	bench/strong_load.h \
	src/base.c \
	src/checks.c \
	src/epoch.c \
	src/lock.c \
	src/slots.c \
	src/table.c \
	src/table_iter.c \
	src/table_resize.c \
	src/table_self.c

# compare, plot, figures, and what they consist of.
EXTRA_DIST += \
	bench/compare \
	bench/document.awk \
	bench/figures \
	bench/figures.awk \
	bench/heldout \
	bench/moved.awk \
	bench/plot \
	bench/table.awk
if HAVE_IMAGES
bench_tested += bench/draw
endif
bench_draw_CPPFLAGS = $(AM_CPPFLAGS) $(IMAGES_CFLAGS)
bench_draw_LDADD = $(IMAGES_LIBS) -lm

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
	bench/generate.c \
	bench/generate.h \
	bench/hit_ours.c \
	bench/hit_ours.h \
	bench/hitratio.c \
	bench/rivals.c \
	bench/rivals.h \
	bench/trace.c \
	bench/trace.h
bench_hitratio_CPPFLAGS = $(AM_CPPFLAGS) $(HITRATIO_CFLAGS)
bench_hitratio_LDADD = libweakref.la $(HITRATIO_LIBS) $(BDW_GC_LIBS) -lm
check_PROGRAMS += $(bench_tested)
EXTRA_PROGRAMS += $(bench_programs)
CLEANFILES += $(bench_programs) bench/libstrong.la

.PHONY: bench
bench: $(bench_tested) $(bench_programs)
	WEAKREF_BUILD='$(abs_top_builddir)' bash $(srcdir)/bench/compare -n 100000 -p 3 -g all

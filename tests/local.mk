# SPDX-License-Identifier: MIT
# The tests. `make check` builds and runs them; each is one program or script with one .log.
#
# To add one:
#   contract test   of the public interface: its name into contract_tests; nothing else, where it is one file
#   unit test       of internals: its name into unit_tests, and two lines for it: _CPPFLAGS = $(core_cppflags), _LDADD = $(unit_ldadd)
#   script          its name into script_tests; exit status 77 means skipped. It finds srcdir, abs_top_builddir, CC, CXX and NM set.

contract_tests = \
	tests/check_cache \
	tests/check_cache_builder \
	tests/check_cache_inspect \
	tests/check_cache_left \
	tests/check_cache_load \
	tests/check_cache_map \
	tests/check_cache_reads \
	tests/check_cache_refresh \
	tests/check_cache_threads \
	tests/check_cache_wait \
	tests/check_cache_weak \
	tests/check_delivery \
	tests/check_ephemeron \
	tests/check_error \
	tests/check_executor \
	tests/check_executor_wait \
	tests/check_exit \
	tests/check_failures \
	tests/check_finalize \
	tests/check_fork \
	tests/check_garbage \
	tests/check_gc \
	tests/check_gcmodule \
	tests/check_hostile \
	tests/check_interner \
	tests/check_keydict \
	tests/check_keydict_chains \
	tests/check_method \
	tests/check_many \
	tests/check_mortal \
	tests/check_module \
	tests/check_object \
	tests/check_pairdict \
	tests/check_pool \
	tests/check_pool_lease \
	tests/check_pool_retain \
	tests/check_pool_wait \
	tests/check_proxy \
	tests/check_ref \
	tests/check_refcmp \
	tests/check_saveall \
	tests/check_set \
	tests/check_threads \
	tests/check_tls \
	tests/check_valuedict \
	tests/model_cache \
	tests/model_valuedict \
	tests/model_containers \
	tests/stress

# Those that also run with a collection at every call of the library, which only --enable-checks can (make short-check).
short_tests = \
	tests/check_cache \
	tests/check_cache_builder \
	tests/check_cache_inspect \
	tests/check_cache_left \
	tests/check_cache_load \
	tests/check_cache_map \
	tests/check_cache_reads \
	tests/check_cache_refresh \
	tests/check_cache_threads \
	tests/check_cache_wait \
	tests/check_cache_weak \
	tests/check_ephemeron \
	tests/check_error \
	tests/check_executor \
	tests/check_executor_wait \
	tests/check_failures \
	tests/check_fork \
	tests/check_gc \
	tests/check_hostile \
	tests/check_interner \
	tests/check_method \
	tests/check_many \
	tests/check_mortal \
	tests/check_object \
	tests/check_pairdict \
	tests/check_pool \
	tests/check_pool_lease \
	tests/check_pool_retain \
	tests/check_pool_wait \
	tests/check_proxy \
	tests/check_ref \
	tests/check_refcmp \
	tests/check_saveall \
	tests/check_set \
	tests/check_threads \
	tests/check_tls \
	tests/check_weakarray

unit_tests = \
	tests/check_cache_eviction \
	tests/check_cache_policy \
	tests/check_crew \
	tests/check_cycle \
	tests/check_marking \
	tests/check_purge \
	tests/check_table \
	tests/check_validate \
	tests/check_weakarray \
	tests/check_wheel
tests_check_cache_eviction_CPPFLAGS = $(core_cppflags)
tests_check_cache_eviction_LDADD = $(unit_ldadd)
tests_check_cache_policy_CPPFLAGS = $(core_cppflags)
tests_check_cache_policy_LDADD = $(unit_ldadd)
tests_check_crew_CPPFLAGS = $(core_cppflags)
tests_check_crew_LDADD = $(unit_ldadd)
tests_check_cycle_CPPFLAGS = $(core_cppflags)
tests_check_cycle_LDADD = $(unit_ldadd)
tests_check_marking_CPPFLAGS = $(core_cppflags)
tests_check_marking_LDADD = $(unit_ldadd)
tests_check_purge_CPPFLAGS = $(core_cppflags)
tests_check_purge_LDADD = $(unit_ldadd)
tests_check_table_CPPFLAGS = $(core_cppflags)
tests_check_table_LDADD = $(unit_ldadd)
tests_check_validate_CPPFLAGS = $(core_cppflags)
tests_check_validate_LDADD = $(unit_ldadd)
tests_check_weakarray_CPPFLAGS = $(core_cppflags)
tests_check_weakarray_LDADD = $(unit_ldadd)
tests_check_wheel_CPPFLAGS = $(core_cppflags)
tests_check_wheel_LDADD = $(unit_ldadd)

# In programs that run libgc their own way. Each is built where its host is found.
host_tests =
if HAVE_GUILE
host_tests += tests/host_guile tests/host_guile_ephemeron tests/host_guile_keydict
endif
tests_host_guile_CPPFLAGS = $(AM_CPPFLAGS) $(GUILE_CFLAGS)
tests_host_guile_LDADD = $(LDADD) $(GUILE_LIBS)
tests_host_guile_ephemeron_CPPFLAGS = $(AM_CPPFLAGS) $(GUILE_CFLAGS)
tests_host_guile_ephemeron_LDADD = $(LDADD) $(GUILE_LIBS)
tests_host_guile_keydict_CPPFLAGS = $(AM_CPPFLAGS) $(GUILE_CFLAGS)
tests_host_guile_keydict_LDADD = $(LDADD) $(GUILE_LIBS)

script_tests = \
	tests/check_bench.sh \
	tests/check_examples.sh \
	tests/check_exceptions.sh \
	tests/check_fuzz.sh \
	tests/check_fetch.sh \
	tests/check_headers.sh \
	tests/check_imagecache.sh \
	tests/check_layers.sh \
	tests/check_pool_examples.sh \
	tests/check_symbols.sh \
	tests/check_tour.sh

LDADD = tests/libsupport.la libweakref.la $(CHECK_LIBS) $(BDW_GC_LIBS)
unit_ldadd = tests/libsupport.la libweakref-core.la $(core_libs) $(CHECK_LIBS)

if HAVE_CHECK
check_LTLIBRARIES += tests/libsupport.la
check_PROGRAMS += $(contract_tests) $(unit_tests) $(host_tests) $(memcached_tests)
TESTS += $(contract_tests) $(unit_tests) $(host_tests) $(memcached_tests)
else
check-local:
	@echo "make check needs the library check (Debian: apt-get install check), then configure anew" >&2; exit 1
endif
# A module that a test loads and unloads; -rpath makes it a shared one though it is not installed.
if HAVE_CHECK
check_LTLIBRARIES += tests/typemodule.la
endif
tests_typemodule_la_SOURCES = tests/typemodule.c
tests_typemodule_la_LIBADD = libweakref.la
tests_typemodule_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

# Of libweakref-memcached.
memcached_tests =
if HAVE_MEMCACHED
memcached_tests += \
	tests/check_cache_memcached \
	tests/check_cache_memcached_failures \
	tests/check_cache_memcached_level
endif
far_sources = tests/far.c tests/far.h tests/memcached.c tests/memcached.h
far_ldadd = libweakref-memcached.la $(LDADD)
tests_check_cache_memcached_CPPFLAGS = $(AM_CPPFLAGS) $(MEMCACHED_CFLAGS)
tests_check_cache_memcached_LDADD = $(far_ldadd) $(MEMCACHED_LIBS)
tests_check_cache_memcached_SOURCES = tests/check_cache_memcached.c $(far_sources)
tests_check_cache_memcached_failures_LDADD = $(far_ldadd)
tests_check_cache_memcached_failures_SOURCES = tests/check_cache_memcached_failures.c $(far_sources)
tests_check_cache_memcached_level_LDADD = $(far_ldadd)
tests_check_cache_memcached_level_SOURCES = tests/check_cache_memcached_level.c $(far_sources)

# The HTTP server for tests/check_fetch.sh.
if HAVE_MICROHTTPD
check_PROGRAMS += tests/httpd
endif
tests_httpd_CPPFLAGS = $(AM_CPPFLAGS) $(MICROHTTPD_CFLAGS)
tests_httpd_LDADD = $(MICROHTTPD_LIBS)

tests_libsupport_la_SOURCES = \
	tests/cache_fixture.h \
	tests/elements.h \
	tests/loader.h \
	tests/model_valuedict.h \
	tests/pool_resources.c \
	tests/pool_resources.h \
	tests/rawthread.c \
	tests/rawthread.h \
	tests/support.c \
	tests/support.h

dist_check_SCRIPTS += $(script_tests)
TESTS += $(script_tests)
TEST_EXTENSIONS = .sh
# A test that hangs fails; support.c's own limit, which says more, comes first. --foreground: an interrupt from the keyboard gets through.
LOG_COMPILER = timeout
AM_LOG_FLAGS = --foreground -k 10 $$(($${WEAKREF_TEST_TIMEOUT:-240} + 60))
SH_LOG_COMPILER = $(LOG_COMPILER)
AM_SH_LOG_FLAGS = $(AM_LOG_FLAGS) bash
AM_TESTS_ENVIRONMENT = \
	CC='$(CC)'; CXX='$(CXX)'; NM='$(NM)'; abs_top_builddir='$(abs_top_builddir)'; export CC CXX NM abs_top_builddir; \
	$(SANITIZER_ENV)

.PHONY: short-check
short-check:
	WEAKREF_COLLECT_EVERY=1 $(MAKE) $(AM_MAKEFLAGS) check TESTS='$(short_tests)'

EXTRA_DIST += tests/check_install.sh tests/exceptions.cc
installcheck-local:
	$(AM_TESTS_ENVIRONMENT) srcdir='$(srcdir)' SANITIZER_CFLAGS='$(SANITIZER_CFLAGS)' \
	PKG_CONFIG_PATH="$(pkgconfigdir):$$PKG_CONFIG_PATH" LD_LIBRARY_PATH="$(libdir):$$LD_LIBRARY_PATH" \
	bash $(srcdir)/tests/check_install.sh

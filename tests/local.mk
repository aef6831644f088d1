# SPDX-License-Identifier: MIT
# The tests. `make check` builds and runs them; each is one program or script with one .log.
#
# To add one:
#   contract test   of the public interface: its name into contract_tests; nothing else, where it is one file
#   unit test       of internals: its name into unit_tests, and two lines for it: _CPPFLAGS = $(core_cppflags), _LDADD = $(unit_ldadd)
#   script          its name into script_tests; exit status 77 means skipped. It finds srcdir, abs_top_builddir, CC, CXX and NM set.

contract_tests = \
	tests/check_delivery \
	tests/check_error \
	tests/check_failures \
	tests/check_fork \
	tests/check_gc \
	tests/check_object \
	tests/check_pool \
	tests/check_ref \
	tests/check_threads \
	tests/check_valuedict \
	tests/stress

unit_tests = \
	tests/check_cycle \
	tests/check_table \
	tests/check_weakarray
tests_check_cycle_CPPFLAGS = $(core_cppflags)
tests_check_cycle_LDADD = $(unit_ldadd)
tests_check_table_CPPFLAGS = $(core_cppflags)
tests_check_table_LDADD = $(unit_ldadd)
tests_check_weakarray_CPPFLAGS = $(core_cppflags)
tests_check_weakarray_LDADD = $(unit_ldadd)

# In programs that run libgc their own way. Each is built where its host is found.
host_tests =
if HAVE_GUILE
host_tests += tests/host_guile
endif
tests_host_guile_CPPFLAGS = $(AM_CPPFLAGS) $(GUILE_CFLAGS)
tests_host_guile_LDADD = $(LDADD) $(GUILE_LIBS)

script_tests = \
	tests/check_headers.sh \
	tests/check_imagecache.sh \
	tests/check_layers.sh \
	tests/check_pool_examples.sh \
	tests/check_symbols.sh

LDADD = tests/libsupport.la libweakref.la $(CHECK_LIBS) $(BDW_GC_LIBS)
unit_ldadd = tests/libsupport.la libweakref-core.la $(core_libs) $(CHECK_LIBS)

if HAVE_CHECK
check_LTLIBRARIES += tests/libsupport.la
check_PROGRAMS += $(contract_tests) $(unit_tests) $(host_tests)
TESTS += $(contract_tests) $(unit_tests) $(host_tests)
else
check-local:
	@echo "make check needs the library check (Debian: apt-get install check), then configure anew" >&2; exit 1
endif
tests_libsupport_la_SOURCES = \
	tests/model_valuedict.c \
	tests/model_valuedict.h \
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

EXTRA_DIST += tests/check_install.sh
installcheck-local:
	$(AM_TESTS_ENVIRONMENT) srcdir='$(srcdir)' SANITIZER_CFLAGS='$(SANITIZER_CFLAGS)' \
	PKG_CONFIG_PATH="$(pkgconfigdir):$$PKG_CONFIG_PATH" LD_LIBRARY_PATH="$(libdir):$$LD_LIBRARY_PATH" \
	bash $(srcdir)/tests/check_install.sh

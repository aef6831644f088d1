# SPDX-License-Identifier: MIT
# The public headers. version.h is made by configure.

weakrefincludedir = $(includedir)/weakref
dist_weakrefinclude_HEADERS = \
	include/weakref/cache.h \
	include/weakref/cache_builder.h \
	include/weakref/cache_inspect.h \
	include/weakref/cache_stats.h \
	include/weakref/cache_types.h \
	include/weakref/cache_view.h \
	include/weakref/checks.h \
	include/weakref/ephemeron.h \
	include/weakref/epoch.h \
	include/weakref/error.h \
	include/weakref/executor.h \
	include/weakref/finalize.h \
	include/weakref/gc.h \
	include/weakref/interner.h \
	include/weakref/key.h \
	include/weakref/keydict.h \
	include/weakref/method.h \
	include/weakref/object.h \
	include/weakref/pool.h \
	include/weakref/proxy.h \
	include/weakref/ref.h \
	include/weakref/set.h \
	include/weakref/tls.h \
	include/weakref/valuedict.h \
	include/weakref/weakref.h
nodist_weakrefinclude_HEADERS = include/weakref/version.h
# Not in weakref/weakref.h: it is of a library of its own.
if HAVE_MEMCACHED
dist_weakrefinclude_HEADERS += include/weakref/cache_memcached.h
endif

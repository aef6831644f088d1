# SPDX-License-Identifier: MIT
# The public headers. version.h is made by configure.

weakrefincludedir = $(includedir)/weakref
dist_weakrefinclude_HEADERS = \
	include/weakref/checks.h \
	include/weakref/error.h \
	include/weakref/gc.h \
	include/weakref/object.h \
	include/weakref/pool.h \
	include/weakref/proxy.h \
	include/weakref/ref.h \
	include/weakref/valuedict.h \
	include/weakref/weakref.h
nodist_weakrefinclude_HEADERS = include/weakref/version.h

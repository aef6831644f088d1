# SPDX-License-Identifier: MIT
# The examples: built by `make` where what they need is found; not installed. They see the public headers alone.

if HAVE_IMAGES
noinst_PROGRAMS += examples/imagecache
endif
examples_imagecache_CPPFLAGS = $(AM_CPPFLAGS) $(IMAGES_CFLAGS)
examples_imagecache_LDADD = libweakref.la $(IMAGES_LIBS) $(BDW_GC_LIBS) -lm
examples_imagecache_SOURCES = \
	examples/demo/cache.c \
	examples/demo/cache.h \
	examples/demo/chart.c \
	examples/demo/chart.h \
	examples/demo/files.c \
	examples/demo/files.h \
	examples/demo/image.c \
	examples/demo/image.h \
	examples/demo/main.c \
	examples/demo/pictures.c \
	examples/demo/pictures.h \
	examples/demo/replay.c \
	examples/demo/replay.h \
	examples/demo/say.c \
	examples/demo/say.h \
	examples/demo/stop.c \
	examples/demo/stop.h \
	examples/demo/table.c \
	examples/demo/table.h \
	examples/demo/trace.c \
	examples/demo/trace.h

noinst_PROGRAMS += examples/server_registry
examples_server_registry_LDADD = libweakref.la $(BDW_GC_LIBS)

noinst_PROGRAMS += examples/file_cache
examples_file_cache_LDADD = libweakref.la $(BDW_GC_LIBS)

noinst_PROGRAMS += examples/event_loop
examples_event_loop_LDADD = libweakref.la $(BDW_GC_LIBS)

if HAVE_XML
noinst_PROGRAMS += examples/annotate
endif
examples_annotate_CPPFLAGS = $(AM_CPPFLAGS) $(XML_CFLAGS)
examples_annotate_LDADD = libweakref.la $(XML_LIBS) $(BDW_GC_LIBS)

noinst_PROGRAMS += examples/weakref_tour
examples_weakref_tour_LDADD = libweakref.la $(BDW_GC_LIBS)
examples_weakref_tour_SOURCES = \
	examples/tour/dictionaries.c \
	examples/tour/finalizers.c \
	examples/tour/main.c \
	examples/tour/object.c \
	examples/tour/references.c \
	examples/tour/tour.h

noinst_PROGRAMS += examples/pool_readme
examples_pool_readme_LDADD = libweakref.la $(BDW_GC_LIBS)
if HAVE_SQLITE
noinst_PROGRAMS += examples/pool_sqlite
endif
examples_pool_sqlite_CPPFLAGS = $(AM_CPPFLAGS) $(SQLITE_CFLAGS)
examples_pool_sqlite_LDADD = libweakref.la $(SQLITE_LIBS) $(BDW_GC_LIBS)

if HAVE_CURL
noinst_PROGRAMS += examples/fetch
endif
examples_fetch_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS)
examples_fetch_LDADD = libweakref.la $(CURL_LIBS) $(BDW_GC_LIBS)
examples_fetch_SOURCES = \
	examples/demo/stop.c \
	examples/demo/stop.h \
	examples/http/main.c \
	examples/http/report.c \
	examples/http/report.h \
	examples/http/session.c \
	examples/http/session.h \
	examples/http/transport.c \
	examples/http/transport.h
EXTRA_DIST += examples/README

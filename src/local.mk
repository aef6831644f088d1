# SPDX-License-Identifier: MIT
# The library. libweakref-core.la is all of its objects with the internals in reach, for unit tests; libweakref.la is what is installed.
# A new file goes here and, by its stem, into src/LAYERS.

# -iquote, not -I: no <header> of the system or of libgc is ever found in src.
core_cppflags = $(AM_CPPFLAGS) -iquote $(top_srcdir)/src $(XXHASH_CFLAGS)
core_libs = $(BDW_GC_LIBS) $(XXHASH_LIBS)

noinst_LTLIBRARIES += libweakref-core.la
libweakref_core_la_CPPFLAGS = $(core_cppflags)
libweakref_core_la_SOURCES = \
	src/anchor.c \
	src/anchor.h \
	src/anchor_impl.h \
	src/anchor_scan.c \
	src/base.c \
	src/base.h \
	src/bytes.h \
	src/cache.c \
	src/cache.h \
	src/cache_builder.c \
	src/cache_bulk.c \
	src/cache_cell.c \
	src/cache_inside.c \
	src/cache_inspect.c \
	src/cache_level.c \
	src/cache_load.c \
	src/cache_maintain.c \
	src/cache_map.c \
	src/cache_policy.c \
	src/cache_policy.h \
	src/cache_quick.h \
	src/cache_shadow.c \
	src/cache_shadow.h \
	src/cache_sketch.c \
	src/cache_sketch.h \
	src/cache_soft.c \
	src/cache_stats.c \
	src/cache_view.c \
	src/checks.c \
	src/checks.h \
	src/collector.c \
	src/collector.h \
	src/container.c \
	src/container.h \
	src/crew.c \
	src/crew.h \
	src/cycle.c \
	src/cycle.h \
	src/deaths.c \
	src/deaths.h \
	src/deliver.c \
	src/deliver.h \
	src/element.c \
	src/element.h \
	src/ephemeron.c \
	src/epoch.c \
	src/epoch.h \
	src/error.c \
	src/executor.c \
	src/executor.h \
	src/finalize.c \
	src/finalize.h \
	src/finalize_exit.c \
	src/finalize_ordered.c \
	src/finals.c \
	src/finals.h \
	src/garbage.c \
	src/garbage.h \
	src/gc.c \
	src/heap.c \
	src/heap.h \
	src/interner.c \
	src/key.c \
	src/keydict.c \
	src/keys.h \
	src/lock.c \
	src/lock.h \
	src/marking.c \
	src/marking.h \
	src/method.c \
	src/mortal.c \
	src/mortal.h \
	src/object.c \
	src/object.h \
	src/operation.c \
	src/pool.c \
	src/pool.h \
	src/pool_alloc.c \
	src/pool_books.c \
	src/pool_books.h \
	src/pool_entry.c \
	src/pool_lease.c \
	src/pool_life.c \
	src/pool_list.c \
	src/pool_owners.c \
	src/pool_queue.c \
	src/pool_retain.c \
	src/pool_stock.c \
	src/pool_trim.c \
	src/pool_wait.c \
	src/proxy.c \
	src/proxy.h \
	src/ref.c \
	src/ref.h \
	src/set.c \
	src/set.h \
	src/sidetable.c \
	src/sidetable.h \
	src/slots.c \
	src/slots.h \
	src/table.c \
	src/table.h \
	src/table_group.h \
	src/table_impl.h \
	src/table_iter.c \
	src/table_quick.h \
	src/table_resize.c \
	src/table_self.c \
	src/tls.c \
	src/tracking.c \
	src/tracking.h \
	src/valuedict.c \
	src/weakarray.c \
	src/weakarray.h \
	src/weakarray_impl.h \
	src/weakarray_pairs.c \
	src/wheel.c \
	src/wheel.h
EXTRA_DIST += src/LAYERS

lib_LTLIBRARIES += libweakref.la
libweakref_la_SOURCES =
libweakref_la_LIBADD = libweakref-core.la $(core_libs)
libweakref_la_LDFLAGS = $(AM_LDFLAGS) -version-info $(WEAKREF_LIBTOOL_VERSION) -no-undefined

# Of its own, so that the library needs no libmemcached. It sees the public headers alone.
if HAVE_MEMCACHED
lib_LTLIBRARIES += libweakref-memcached.la
endif
libweakref_memcached_la_CPPFLAGS = $(AM_CPPFLAGS) -iquote $(top_srcdir)/src $(XXHASH_CFLAGS) $(MEMCACHED_CFLAGS)
libweakref_memcached_la_SOURCES = \
	src/cache_memcached.c \
	src/cache_memcached.h \
	src/cache_memcached_connections.c \
	src/cache_memcached_item.c
libweakref_memcached_la_LIBADD = libweakref.la $(MEMCACHED_LIBS) $(XXHASH_LIBS) -lm
libweakref_memcached_la_LDFLAGS = $(AM_LDFLAGS) -version-info $(WEAKREF_LIBTOOL_VERSION) -no-undefined

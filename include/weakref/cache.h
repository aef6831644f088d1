/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache.h
 * @brief Caches: bounded, expiring, loading maps with weak or soft entries, made by a builder.
 *
 * What Guava and Caffeine give Java programs. A cache maps keys to values until something takes an entry away: its size, its age, the
 * collector, or the program. It is an object of the collected heap: dropped, it goes with all that it holds; no thread keeps it.
 *
 * Keys are of the kinds of weakref/valuedict.h: strings and bytes are copied; integers stand in the pointer's place; pointers are compared
 * by identity and kept alive; custom ones are compared by functions and kept alive. *Weak keys* are blocks of the collected heap, compared by
 * identity and not kept alive; their entries are ephemerons: a value that leads to its key keeps neither. Values are any pointers but NULL,
 * kept alive if they are on the heap; *weak values* are pointers of even address to or into its blocks, which are not. *Soft values* are
 * kept alive until the heap nears the limit of gc_set_heap_limit: then the least recently used go first, of all caches of the process, and all
 * of them before an allocation fails under it.
 *
 * Reads take no lock and never wait for writers, but for a load. Writers of one cache wait for each other, unless they only put another value
 * where one is and nobody is told, asked or weighs. User functions (loader, weigher, listener, expiry, hash, equal, functions of
 * compute) run with no lock held and may use any cache, this one included. They must return, be cancelled, or end their thread; not
 * leave by longjmp.
 *
 * Maintenance (evicting, expiring, taking out what the collector found dead, telling the listener) is done by whoever writes, now and then by
 * whoever reads, by gc_collect for the dead, and by weakref_cache_cleanup. No thread is started. A listener is called in the thread that
 * does it.
 *
 * Loads, and functions of compute, have a key for themselves: others that want to load or compute it wait, and share a load's result or error.
 * Readers of the value that is there do not wait. weakref_cache_put, and every invalidation, overtake what is under way for their key: it is as if
 * it had been completed just before, and its result replaced or removed at once; a load that began before an invalidation
 * never becomes visible after it. doc/semantics.md has the rules.
 */
#ifndef WEAKREF_CACHE_H
#define WEAKREF_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"
#include "weakref/key.h"
#include "weakref/valuedict.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_cache weakref_cache;
typedef struct weakref_cache_builder weakref_cache_builder;
typedef struct weakref_cache_iter weakref_cache_iter;
typedef struct weakref_cache_bulk weakref_cache_bulk;

/* ---- user functions ------------------------------------------------------------------------------------------------------ */

/** Why an entry is no longer there. */
enum weakref_cause {
	/** The program removed it. */
	WEAKREF_CAUSE_EXPLICIT = 0,
	/** The program stored another value. The entry is there yet. */
	WEAKREF_CAUSE_REPLACED = 1,
	/** The collector found a weak key or value dead, or a soft value was dropped. */
	WEAKREF_CAUSE_COLLECTED = 2,
	/** Its time was over. */
	WEAKREF_CAUSE_EXPIRED = 3,
	/** It was evicted because of the bound on size or weight. */
	WEAKREF_CAUSE_SIZE = 4,
};

/** Makes the value of a key: stores it and returns 0, or returns a negative error. Nothing stored is ENOENT. */
typedef int (*weakref_cache_load_fn)(const void *key, void **value, void *user);

/** Makes the values of n keys: calls weakref_cache_bulk_give for each value, of keys that were asked for and of others. Returns 0
 * or a negative error. */
typedef int (*weakref_cache_load_all_fn)(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user);

/** How a cache loads. Zero what is not wanted; load must be given. */
typedef struct weakref_cache_loader {
	weakref_cache_load_fn load;
	/** For a refresh: makes the new value, knowing the old. NULL: load does. */
	int (*reload)(const void *key, void *old, void **value, void *user);
	/** For weakref_cache_get_all. NULL: load is called for each key. */
	weakref_cache_load_all_fn load_all;
	void *user;
} weakref_cache_loader;

/** The weight of an entry, asked when it is stored and when its value is replaced: 0 to UINT32_MAX. 0 is never evicted for size. A
 * negative one is refused: the write fails with it. */
typedef int64_t (*weakref_cache_weigher_fn)(const void *key, void *value, void *user);

/**
 * Told once of each entry that went and of each value that was replaced, after the fact, in the thread whose operation took it out or in one
 * that works on the cache at the same time. Key or value are NULL where the collector took them (an integer key is as it was). A
 * negative result goes to the unraisable handler.
 */
typedef int (*weakref_cache_listener_fn)(const void *key, void *value, enum weakref_cause cause, void *user);

/** How long each entry lives, in seconds from now. Negative or NaN from create or update is EINVAL, and the write fails; from read it is
 * ignored. Infinite is for ever. */
typedef struct weakref_cache_expiry {
	double (*create)(const void *key, void *value, void *user);
	/** After its value was replaced. NULL: create. `remaining` is what it had left. */
	double (*update)(const void *key, void *value, double remaining, void *user);
	/** After it was read. NULL: no change. */
	double (*read)(const void *key, void *value, double remaining, void *user);
	void *user;
} weakref_cache_expiry;

/** Runs task(arg) somewhere, once: now or later, in a thread known to the collector. arg is a block of the collected heap, to be kept
 * where the collector looks. One that is kept nowhere and was not run counts as a reload that failed, once the collector has found it.
 * Returns 0, or a negative error: then the caller runs it itself. */
typedef int (*weakref_cache_executor_fn)(void (*task)(void *arg), void *arg, void *user);

/** Nanoseconds of some clock. It may stand still or go back: then nothing expires meanwhile. */
typedef uint64_t (*weakref_cache_ticker_fn)(void *user);

/**
 * A second level behind the cache: what is not here is asked for there before the loader runs, and what was loaded is written through.
 * What the program puts, replaces or removes is removed there, before the call returns and after no later load can see it. Called in
 * place of, and under the rules of, the loader: one call a key at a time, but remove, which may come in between from others.
 *
 * Errors of these functions are counted (weakref_cache_stats: level_errors), and the cache goes on without the second level.
 */
typedef struct weakref_cache_second_level {
	/** 0 and the value; -WEAKREF_ENOENT where it has none; another negative error. */
	int (*get)(const void *key, void **value, void *user);
	/** Stores. 0 or a negative error. May be NULL: nothing is written through. */
	int (*put)(const void *key, void *value, void *user);
	/** Forgets a key, whether it is there or not. 0 or a negative error. May be NULL, where the level is never written otherwise. */
	int (*remove)(const void *key, void *user);
	/** Forgets everything, for weakref_cache_invalidate_all. NULL: remove is called for each key that the cache has at that moment. */
	int (*clear)(void *user);
	void *user;
} weakref_cache_second_level;

/* ---- the builder --------------------------------------------------------------------------------------------------------- */

/**
 * @brief A builder, for a cache without bounds, expiry, loader or listener. Each option may be set once.
 * @param kind what the cache's keys are; not WEAKREF_KEY_CUSTOM.
 * @return the builder, a block of the collected heap; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: an allocation.
 * Thread: any thread known to the collector; a builder is for one thread at a time.
 * GC: may collect, and may run callbacks.
 * Source: CacheBuilder.newBuilder(), Caffeine.newBuilder().
 */
WEAKREF_API weakref_cache_builder *weakref_cache_builder_new(enum weakref_key_kind kind);

/**
 * @brief A builder for a cache whose keys are compared by the caller's functions.
 * @param hash hashes a key.
 * @param equal compares two keys.
 * @param user passed to both, kept alive by the cache.
 * @return the builder; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: an allocation.
 * Thread: as weakref_cache_builder_new.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_cache_builder *weakref_cache_builder_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user);

/**
 * @brief Weak keys: blocks of the collected heap, compared by identity. The builder's kind must be WEAKREF_KEY_POINTER.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: EINVAL: set twice, or against what was set before (weakref_cache_builder_error tells); nothing is changed.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.weakKeys().
 */
WEAKREF_API int weakref_cache_builder_weak_keys(weakref_cache_builder *builder);

/**
 * @brief Weak values. Not together with soft ones.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.weakValues().
 */
WEAKREF_API int weakref_cache_builder_weak_values(weakref_cache_builder *builder);

/**
 * @brief Soft values. Not together with weak ones.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.softValues().
 */
WEAKREF_API int weakref_cache_builder_soft_values(weakref_cache_builder *builder);

/**
 * @brief How many entries there may be. 0: what is stored goes at once. Not together with a maximum weight or a weigher.
 * @param builder the builder.
 * @param size the bound.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys; EINVAL for a negative size.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.maximumSize(long).
 */
WEAKREF_API int weakref_cache_builder_maximum_size(weakref_cache_builder *builder, int64_t size);

/**
 * @brief What all entries together may weigh. Needs a weigher.
 * @param builder the builder.
 * @param weight the bound.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_maximum_size.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.maximumWeight(long).
 */
WEAKREF_API int weakref_cache_builder_maximum_weight(weakref_cache_builder *builder, int64_t weight);

/**
 * @brief What an entry weighs. Needs a maximum weight.
 * @param builder the builder.
 * @param weigher not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.weigher(Weigher).
 */
WEAKREF_API int weakref_cache_builder_weigher(weakref_cache_builder *builder, weakref_cache_weigher_fn weigher, void *user);

/**
 * @brief How many entries to have room for from the start.
 * @param builder the builder.
 * @param n a hint.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_maximum_size.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.initialCapacity(int).
 */
WEAKREF_API int weakref_cache_builder_initial_capacity(weakref_cache_builder *builder, int64_t n);

/**
 * @brief An entry goes so long after it was stored or its value replaced. 0: at once.
 * @param builder the builder.
 * @param seconds fractions included; infinite for never.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys; EINVAL for a negative time or NaN, and together with weakref_cache_builder_expire_after.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.expireAfterWrite(Duration).
 */
WEAKREF_API int weakref_cache_builder_expire_after_write(weakref_cache_builder *builder, double seconds);

/**
 * @brief An entry goes so long after it was last read or written. Looking at it by an iterator, and the inspections below, are no reads.
 * With times of a second and more, and without a clock of the program's, a read counts from the system's last tick, 1 to 10 ms before.
 * @param builder the builder.
 * @param seconds as for weakref_cache_builder_expire_after_write.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_expire_after_write.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.expireAfterAccess(Duration).
 */
WEAKREF_API int weakref_cache_builder_expire_after_access(weakref_cache_builder *builder, double seconds);

/**
 * @brief Each entry has a time of its own. Not together with the two above.
 * @param builder the builder.
 * @param expiry copied; user is kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: Caffeine.expireAfter(Expiry).
 */
WEAKREF_API int weakref_cache_builder_expire_after(weakref_cache_builder *builder, const weakref_cache_expiry *expiry);

/**
 * @brief The first read of an entry so long after it was written reloads it: the reader gets the old value, and later ones the new. The
 * reading thread reloads, before it returns, unless there is an executor. Needs a loader.
 * @param builder the builder.
 * @param seconds more than 0.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_expire_after_write.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.refreshAfterWrite(Duration).
 */
WEAKREF_API int weakref_cache_builder_refresh_after_write(weakref_cache_builder *builder, double seconds);

/**
 * @brief How values are loaded by weakref_cache_get and its like.
 * @param builder the builder.
 * @param loader copied; user is kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.build(CacheLoader).
 */
WEAKREF_API int weakref_cache_builder_loader(weakref_cache_builder *builder, const weakref_cache_loader *loader);

/**
 * @brief Who runs reloads by age.
 * @param builder the builder.
 * @param executor not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: Caffeine.executor(Executor).
 */
WEAKREF_API int weakref_cache_builder_executor(weakref_cache_builder *builder, weakref_cache_executor_fn executor, void *user);

/**
 * @brief Who is told of entries that went.
 * @param builder the builder.
 * @param listener not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.removalListener(RemovalListener).
 */
WEAKREF_API int weakref_cache_builder_removal_listener(weakref_cache_builder *builder, weakref_cache_listener_fn listener, void *user);

/**
 * @brief Statistics are kept. Without it they are all zero.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.recordStats().
 */
WEAKREF_API int weakref_cache_builder_record_stats(weakref_cache_builder *builder);

/**
 * @brief Another clock than the monotonic one.
 * @param builder the builder.
 * @param ticker not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.ticker(Ticker).
 */
WEAKREF_API int weakref_cache_builder_ticker(weakref_cache_builder *builder, weakref_cache_ticker_fn ticker, void *user);

/**
 * @brief A second level behind the cache. Needs a loader. Not together with weak keys.
 * @param builder the builder.
 * @param level copied; user is kept alive by the cache. get must be given, and remove where put is.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 */
WEAKREF_API int weakref_cache_builder_second_level(weakref_cache_builder *builder, const weakref_cache_second_level *level);

/**
 * @brief Sets options by a string: `maximumSize=1000,weakValues,expireAfterWrite=10m`.
 *
 * Options are separated by commas, with blanks and ends of lines around them and around `=` ignored: `maximumSize=N`,
 * `maximumWeight=N`, `initialCapacity=N`, `expireAfterWrite=T`, `expireAfterAccess=T`, `refreshAfterWrite=T`, `weakKeys`,
 * `weakValues`, `softValues`, `recordStats`. T is a number with one of the units `ns`, `us`, `ms`, `s`, `m`, `h`, `d`.
 * @param builder the builder.
 * @param spec the options; "" for none.
 * @return 0, or a negative error, and then none of them was set.
 * Errors: EINVAL (weakref_cache_builder_error tells).
 * Cost: linear in the string.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilderSpec.parse(String), CaffeineSpec.
 */
WEAKREF_API int weakref_cache_builder_spec(weakref_cache_builder *builder, const char *spec);

/**
 * @brief What was wrong with the last option that was refused, or with the last build.
 * @param builder the builder.
 * @return a sentence, good until the next call with this builder; "" where nothing was refused yet. Never NULL.
 * Errors: none.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 */
WEAKREF_API const char *weakref_cache_builder_error(const weakref_cache_builder *builder);

/**
 * @brief Makes a cache. The builder may be used again, and makes another of the same kind.
 * @param builder the builder.
 * @return the cache; NULL with errno set.
 * Errors: EINVAL (options that lack others: weakref_cache_builder_error tells), ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: some allocations.
 * Thread: as weakref_cache_builder_new.
 * GC: may collect, and may run callbacks.
 * Source: CacheBuilder.build().
 */
WEAKREF_API weakref_cache *weakref_cache_builder_build(weakref_cache_builder *builder);

/* ---- the cache ----------------------------------------------------------------------------------------------------------- */

/**
 * @brief The value under a key, if there is one. Never loads; but where there is one that is old enough for a refresh, it is reloaded
 * as by weakref_cache_get.
 * @param cache the cache.
 * @param key the key.
 * @return the value; NULL where there is none, or on an error (which weakref_cache_lookup tells).
 * Errors: none told.
 * Cost: constant; no lock. Now and then maintenance.
 * Thread: any thread known to the collector.
 * GC: collects only if a user function does, or maintenance.
 * Source: Cache.getIfPresent(key).
 */
WEAKREF_API void *weakref_cache_get_if_present(weakref_cache *cache, const void *key);

/**
 * @brief As weakref_cache_get_if_present, with the reason when there is none.
 * @param cache the cache.
 * @param key the key.
 * @param value receives the value, or NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT, EINVAL, EPERM, and what hash or equal returned.
 * Cost: as weakref_cache_get_if_present.
 * Thread: any thread known to the collector.
 * GC: as weakref_cache_get_if_present.
 */
WEAKREF_API int weakref_cache_lookup(weakref_cache *cache, const void *key, void **value);

/**
 * @brief The value under a key; where there is none, loads it by the cache's loader. Of several at once for one key, one loads and the
 * others wait for its result or error. What failed is not cached.
 * @param cache the cache.
 * @param key the key.
 * @param value receives the value, or NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT (the loader gave none), EDEADLK (this thread, or one that waits for it, is loading this key), ENOTSUP (no loader), EINVAL
 * (also a value that is not on the heap, where values are weak), ENOMEM, EPERM, and what the loader, hash, equal, weigher or expiry
 * returned.
 * Cost: as weakref_cache_get_if_present; with a load two locks, and the loader's.
 * Thread: any thread known to the collector. Waiting is a cancellation point; a cancelled waiter or loader leaves no trace.
 * GC: may collect, and may run callbacks.
 * Source: LoadingCache.get(key).
 */
WEAKREF_API int weakref_cache_get(weakref_cache *cache, const void *key, void **value);

/**
 * @brief As weakref_cache_get, with a loader for this call. Needs none in the cache.
 * @param cache the cache.
 * @param key the key.
 * @param load not NULL.
 * @param user passed to it.
 * @param value receives the value, or NULL.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_get.
 * Cost: as weakref_cache_get.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Cache.get(key, Callable).
 */
WEAKREF_API int weakref_cache_get_with(weakref_cache *cache, const void *key, weakref_cache_load_fn load, void *user, void **value);

/**
 * @brief Stores a value, in place of the one that was there.
 * @param cache the cache.
 * @param key the key; copied or held as its kind says.
 * @param value not NULL.
 * @return 0, or a negative error, and then nothing was stored.
 * Errors: EINVAL, ENOMEM, EPERM, and what hash, equal, weigher or expiry returned.
 * Cost: an allocation for a new entry; a lock; maintenance.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: Cache.put(key, value).
 */
WEAKREF_API int weakref_cache_put(weakref_cache *cache, const void *key, void *value);

/**
 * @brief Stores several values, one after the other.
 * @param cache the cache.
 * @param pairs n of them, each as for weakref_cache_put.
 * @param n how many.
 * @return 0, or the first error, after which the rest was not stored.
 * Errors: as weakref_cache_put.
 * Cost: that of the writes.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: Cache.putAll(map).
 */
WEAKREF_API int weakref_cache_put_all(weakref_cache *cache, const weakref_pair *pairs, size_t n);

/**
 * @brief Removes an entry, if there is one. A load of it that is under way will not be stored.
 * @param cache the cache.
 * @param key the key.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM, and what hash or equal returned.
 * Cost: a lock; maintenance.
 * Thread: any thread known to the collector.
 * GC: collects only if a user function does, or maintenance.
 * Source: Cache.invalidate(key).
 */
WEAKREF_API int weakref_cache_invalidate(weakref_cache *cache, const void *key);

/**
 * @brief Removes all entries at one moment. Loads that are under way will not be stored.
 * @param cache the cache.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM, ENOMEM (only with a second level that has no clear: nothing was removed).
 * Cost: a lock, linear in the entries.
 * Thread: any thread known to the collector.
 * GC: collects only if a user function does, or maintenance.
 * Source: Cache.invalidateAll().
 */
WEAKREF_API int weakref_cache_invalidate_all(weakref_cache *cache);

/**
 * @brief Removes the entries of several keys.
 * @param cache the cache.
 * @param keys n of them.
 * @param n how many.
 * @return 0, or the first error, after which the rest was not looked at.
 * Errors: as weakref_cache_invalidate.
 * Cost: that of the removals.
 * Thread: any thread known to the collector.
 * GC: as weakref_cache_invalidate.
 * Source: Cache.invalidateAll(keys).
 */
WEAKREF_API int weakref_cache_invalidate_keys(weakref_cache *cache, const void *const *keys, size_t n);

/**
 * @brief The values of several keys; those that are missing are loaded, by one call of load_all where there is one, else one by one.
 * @param cache the cache.
 * @param keys n of them.
 * @param n how many.
 * @param values receives n values, NULL for those that could not be had; it must lie where the collector looks.
 * @return 0 when all are there, or a negative error. What was loaded is cached all the same.
 * Errors: ENOENT (load_all gave no value for a key), and as weakref_cache_get.
 * Cost: that of the look-ups and loads.
 * Thread: as weakref_cache_get. load_all does not make others wait: they may load the same keys meanwhile, and the values that are
 * stored first stay.
 * GC: may collect, and may run callbacks.
 * Source: LoadingCache.getAll(keys).
 */
WEAKREF_API int weakref_cache_get_all(weakref_cache *cache, const void *const *keys, size_t n, void **values);

/**
 * @brief As weakref_cache_get_all, with a load_all for this call. Needs no loader in the cache.
 * @param cache the cache.
 * @param keys n of them.
 * @param n how many.
 * @param load_all not NULL; called once for the keys that are missing, if there are any, and once more for those that another
 * thread had, where nothing came of it.
 * @param user passed to it.
 * @param values as for weakref_cache_get_all.
 * @return as weakref_cache_get_all.
 * Errors: as weakref_cache_get_all.
 * Cost: as weakref_cache_get_all.
 * Thread: as weakref_cache_get_all.
 * GC: may collect, and may run callbacks.
 * Source: Cache.getAll(keys, function).
 */
WEAKREF_API int weakref_cache_get_all_with(weakref_cache *cache, const void *const *keys, size_t n, weakref_cache_load_all_fn load_all,
					   void *user, void **values);

/**
 * @brief For load_all: gives the value of a key.
 * @param bulk what load_all was given.
 * @param key a key that was asked for, or any other; copied or held as its kind says.
 * @param value not NULL.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_put.
 * Cost: as weakref_cache_put.
 * Thread: the one that load_all was called in, until it returns.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API int weakref_cache_bulk_give(weakref_cache_bulk *bulk, const void *key, void *value);

/**
 * @brief The values of several keys, as far as they are there. Loads nothing.
 * @param cache the cache.
 * @param keys n of them.
 * @param n how many.
 * @param values receives n values, NULL for those that are not there; it must lie where the collector looks.
 * @return how many there are, or a negative error.
 * Errors: EINVAL, EPERM, and what hash or equal returned.
 * Cost: that of the look-ups.
 * Thread: any thread known to the collector.
 * GC: as weakref_cache_get_if_present.
 * Source: Cache.getAllPresent(keys).
 */
WEAKREF_API long weakref_cache_get_all_present(weakref_cache *cache, const void *const *keys, size_t n, void **values);

/**
 * @brief Loads a key anew, here and now. Until it is done the old value is read; if it fails, that stays.
 * @param cache the cache.
 * @param key the key; where it is not there, it is loaded as by weakref_cache_get.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_get.
 * Cost: the loader's.
 * Thread: as weakref_cache_get. Of several at once for one key one reloads, and the others wait for its result.
 * GC: may collect, and may run callbacks.
 * Source: LoadingCache.refresh(key).
 */
WEAKREF_API int weakref_cache_refresh(weakref_cache *cache, const void *key);

/**
 * @brief Does all maintenance that is due: evictions, expiries, entries that the collector took, notices.
 * @param cache the cache.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: that of the work.
 * Thread: any thread known to the collector.
 * GC: collects only if the listener does.
 * Source: Cache.cleanUp().
 */
WEAKREF_API int weakref_cache_cleanup(weakref_cache *cache);

/**
 * @brief How many entries there are. Those that are expired, and not yet taken out, count; those that the collector took do not.
 * @param cache the cache; NULL has none.
 * @return the number.
 * Errors: none.
 * Cost: a lock; with weak keys or values one load for each 2048 entries.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: Cache.size().
 */
WEAKREF_API size_t weakref_cache_len(weakref_cache *cache);

/* ---- statistics ---------------------------------------------------------------------------------------------------------- */

/** What a cache did since it was made. */
typedef struct weakref_cache_stats {
	uint64_t hits, misses;
	/** Loads and reloads: how many gave a value, how many failed, how long they took in all. A call of load_all is one,
	 * however many values it gave. */
	uint64_t load_successes, load_failures, load_time_ns;
	/** Entries that went for size, age, or to the collector, and what they weighed. What the program removed is no eviction. */
	uint64_t evictions, eviction_weight;
	/** The second level: values found there, and its failures. */
	uint64_t level_hits, level_errors;
} weakref_cache_stats;

/**
 * @brief The statistics; all zero without weakref_cache_builder_record_stats.
 * @param cache the cache.
 * @param out receives them. They need not be of one moment while others use the cache.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: some loads.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: Cache.stats().
 */
WEAKREF_API int weakref_cache_get_stats(weakref_cache *cache, weakref_cache_stats *out);

/**
 * @brief Hits among the requests.
 * @param stats statistics.
 * @return hits / requests; 1.0 when nothing was asked.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.hitRate().
 */
WEAKREF_API double weakref_cache_stats_hit_rate(const weakref_cache_stats *stats);

/**
 * @brief Misses among the requests.
 * @param stats statistics.
 * @return misses / requests; 0.0 when nothing was asked.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.missRate().
 */
WEAKREF_API double weakref_cache_stats_miss_rate(const weakref_cache_stats *stats);

/**
 * @brief Look-ups that were counted: hits and misses.
 * @param stats statistics.
 * @return their number, at most UINT64_MAX.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.requestCount().
 */
WEAKREF_API uint64_t weakref_cache_stats_requests(const weakref_cache_stats *stats);

/**
 * @brief Loads and reloads, those that failed as well.
 * @param stats statistics.
 * @return their number, at most UINT64_MAX.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.loadCount().
 */
WEAKREF_API uint64_t weakref_cache_stats_loads(const weakref_cache_stats *stats);

/**
 * @brief Those of the loads that failed.
 * @param stats statistics.
 * @return failures / loads; 0.0 when nothing was loaded.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.loadExceptionRate(), loadFailureRate().
 */
WEAKREF_API double weakref_cache_stats_failure_rate(const weakref_cache_stats *stats);

/**
 * @brief How long a load takes.
 * @param stats statistics.
 * @return nanoseconds, in the mean of all loads; 0.0 when nothing was loaded.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.averageLoadPenalty().
 */
WEAKREF_API double weakref_cache_stats_load_penalty(const weakref_cache_stats *stats);

/**
 * @brief The difference of two, each figure at least 0.
 * @param a the later ones.
 * @param b the earlier ones.
 * @return the difference.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.minus(other).
 */
WEAKREF_API weakref_cache_stats weakref_cache_stats_minus(const weakref_cache_stats *a, const weakref_cache_stats *b);

/**
 * @brief The sum of two; what would overflow stays at the largest number.
 * @param a one.
 * @param b another.
 * @return the sum.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.plus(other).
 */
WEAKREF_API weakref_cache_stats weakref_cache_stats_plus(const weakref_cache_stats *a, const weakref_cache_stats *b);

/* ---- as a map ------------------------------------------------------------------------------------------------------------ */

/*
 * These are for programs that use the cache as a map. They count neither hits nor misses, and none but compute_if_absent, compute and
 * merge extends the time of expiry after access (which those do where a value is there). Those that depend on what is there wait for loads and
 * functions of their key that are under way.
 */

/** Makes the new value of a key from the old (NULL: there is none): stores it and returns 0; stored NULL removes the entry. Or returns a
 * negative error, and nothing changes. Called once. */
typedef int (*weakref_cache_compute_fn)(const void *key, void *old, void **value, void *user);
/** Makes one value of two, for weakref_cache_merge; as weakref_cache_compute_fn. */
typedef int (*weakref_cache_merge_fn)(const void *key, void *old, void *given, void **value, void *user);

/**
 * @brief Whether a key has a value.
 * @param cache the cache.
 * @param key the key.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: Cache.asMap().containsKey(key).
 */
WEAKREF_API int weakref_cache_contains(weakref_cache *cache, const void *key);

/**
 * @brief Whether some entry has this value, by identity.
 * @param cache the cache.
 * @param value the value.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: Cache.asMap().containsValue(value).
 */
WEAKREF_API int weakref_cache_contains_value(weakref_cache *cache, const void *value);

/**
 * @brief Stores a value where there is none.
 * @param cache the cache.
 * @param key the key.
 * @param value not NULL.
 * @return the value now under the key: the old one, or `value`; NULL with errno set.
 * Errors: as weakref_cache_put; EDEADLK.
 * Cost: as weakref_cache_put.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Cache.asMap().putIfAbsent(key, value).
 */
WEAKREF_API void *weakref_cache_put_if_absent(weakref_cache *cache, const void *key, void *value);

/**
 * @brief Replaces the value of a key.
 * @param cache the cache.
 * @param key the key.
 * @param expected NULL, or the value that it must have, by identity.
 * @param value not NULL.
 * @return 1 when it was replaced, 0 when there was no value, or another one; or a negative error.
 * Errors: as weakref_cache_put; EDEADLK.
 * Cost: as weakref_cache_put.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Cache.asMap().replace(key, value), replace(key, old, value).
 */
WEAKREF_API int weakref_cache_replace(weakref_cache *cache, const void *key, void *expected, void *value);

/**
 * @brief Removes an entry and gives its value.
 * @param cache the cache.
 * @param key the key.
 * @param expected NULL, or the value that it must have, by identity.
 * @param value receives the value; may be NULL.
 * @return 1 when it was removed, 0 when there was no value, or another one; or a negative error.
 * Errors: EINVAL, EPERM, EDEADLK, ENOMEM, and what hash or equal returned.
 * Cost: a lock; maintenance.
 * Thread: as weakref_cache_get.
 * GC: as weakref_cache_invalidate.
 * Source: Cache.asMap().remove(key), remove(key, value).
 */
WEAKREF_API int weakref_cache_remove(weakref_cache *cache, const void *key, void *expected, void **value);

/**
 * @brief The value under a key, or else what a function makes; weakref_cache_get_with that counts no hit or miss.
 * @param cache the cache.
 * @param key the key.
 * @param load called where there is no value, once. No value from it is no error here.
 * @param user passed to it.
 * @param value receives the value, or NULL.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_get, but for ENOENT.
 * Cost: as weakref_cache_get.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Cache.asMap().computeIfAbsent(key, function).
 */
WEAKREF_API int weakref_cache_compute_if_absent(weakref_cache *cache, const void *key, weakref_cache_load_fn load, void *user, void **value);

/**
 * @brief Makes a new value from the old, where there is one.
 * @param cache the cache.
 * @param key the key.
 * @param compute called where there is a value, once.
 * @param user passed to it.
 * @param value receives the new value, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_compute.
 * Cost: as weakref_cache_compute.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Cache.asMap().computeIfPresent(key, function).
 */
WEAKREF_API int weakref_cache_compute_if_present(weakref_cache *cache, const void *key, weakref_cache_compute_fn compute, void *user, void **value);

/**
 * @brief Makes a new value from the old, or from nothing, or removes the entry.
 * @param cache the cache.
 * @param key the key.
 * @param compute called once.
 * @param user passed to it.
 * @param value receives the new value, or NULL; may be NULL.
 * @return 0, or a negative error, and then nothing was changed.
 * Errors: EDEADLK, EINVAL, ENOMEM, EPERM, and what compute, hash, equal, weigher or expiry returned.
 * Cost: two locks, an allocation or two, and compute's.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Cache.asMap().compute(key, function).
 */
WEAKREF_API int weakref_cache_compute(weakref_cache *cache, const void *key, weakref_cache_compute_fn compute, void *user, void **value);

/**
 * @brief Stores a value where there is none; else what a function makes of the old one and it, or removes the entry.
 * @param cache the cache.
 * @param key the key.
 * @param given not NULL.
 * @param merge called where there is a value, once.
 * @param user passed to it.
 * @param value receives the new value, or NULL; may be NULL.
 * @return 0, or a negative error, and then nothing was changed.
 * Errors: as weakref_cache_compute.
 * Cost: as weakref_cache_compute.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Cache.asMap().merge(key, value, function).
 */
WEAKREF_API int weakref_cache_merge(weakref_cache *cache, const void *key, void *given, weakref_cache_merge_fn merge, void *user, void **value);

/**
 * @brief Opens an iterator. It visits each entry at most once; every entry that is there all the time is visited; of those that come or go
 * meanwhile any may be. Visiting is no read.
 * @param cache the cache; kept alive by the iterator.
 * @return the iterator, a block of the collected heap, needing no close; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: an allocation.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: may collect, and may run callbacks.
 * Source: Cache.asMap().entrySet().iterator().
 */
WEAKREF_API weakref_cache_iter *weakref_cache_iter_new(weakref_cache *cache);

/**
 * @brief Steps to the next entry that has a value and is not expired.
 * @param iter the iterator.
 * @param key receives the key, which for strings and bytes is good as long as the iterator is held and until the next step; may be NULL.
 * @param value receives the value; may be NULL.
 * @return 1 with an entry, 0 at the end, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: amortised constant; no lock.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: never collects.
 */
WEAKREF_API int weakref_cache_iter_next(weakref_cache_iter *iter, const void **key, void **value);

/* ---- inspection ---------------------------------------------------------------------------------------------------------- */

/** The rules that look at a clock. */
enum weakref_cache_rule { WEAKREF_CACHE_AFTER_WRITE, WEAKREF_CACHE_AFTER_ACCESS, WEAKREF_CACHE_REFRESH };

/** What a cache's policy is and does now. */
typedef struct weakref_cache_policy {
	/** Keys and values as the builder said. */
	bool weak_keys, weak_values, soft_values, records_stats, loading;
	/** Whether there is a bound, and whether it is one of weight; the bound; what all entries weigh (without weigher: their number). */
	bool bounded, weighted;
	uint64_t maximum, weight;
	/** Seconds; infinite where there is no such rule. */
	double expire_after_write, expire_after_access, refresh_after_write;
	/** Each entry has its own time. */
	bool expires_variably;
} weakref_cache_policy;

/**
 * @brief What the cache's policy is.
 * @param cache the cache.
 * @param out receives it.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: a lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: Cache.policy().
 */
WEAKREF_API int weakref_cache_policy_get(weakref_cache *cache, weakref_cache_policy *out);

/**
 * @brief The value under a key, if there is one, without using it: nothing is counted, recorded, extended or refreshed.
 * @param cache the cache.
 * @param key the key.
 * @param value receives the value, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT, EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: Policy.getIfPresentQuietly(key).
 */
WEAKREF_API int weakref_cache_policy_peek(weakref_cache *cache, const void *key, void **value);

/**
 * @brief What an entry weighs, as the weigher said when it was written.
 * @param cache a cache with a weigher.
 * @param key the key.
 * @param weight receives it.
 * @return 0, or a negative error.
 * Errors: ENOENT, ENOTSUP (no weigher), EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: Policy.Eviction.weightOf(key).
 */
WEAKREF_API int weakref_cache_policy_weight(weakref_cache *cache, const void *key, uint32_t *weight);

/**
 * @brief Sets another bound on size or weight; what is too much goes.
 * @param cache a cache that has such a bound.
 * @param maximum the new one.
 * @return 0, or a negative error.
 * Errors: ENOTSUP (it has no bound), EINVAL (also negative), EPERM.
 * Cost: a lock; the evictions.
 * Thread: any thread known to the collector.
 * GC: collects only if the listener does.
 * Source: Policy.Eviction.setMaximum(long).
 */
WEAKREF_API int weakref_cache_policy_set_maximum(weakref_cache *cache, int64_t maximum);

/**
 * @brief Sets another time of the three: expiry after write, after access, refresh. Entries that are there are judged by it from now on.
 * @param cache a cache that has such a rule.
 * @param rule which.
 * @param seconds as for the builder.
 * @return 0, or a negative error.
 * Errors: ENOTSUP (the cache was built without such a rule), EINVAL, EPERM.
 * Cost: a lock, linear in the entries.
 * Thread: any thread known to the collector.
 * GC: collects only if the listener does.
 * Source: Policy.FixedExpiration.setExpiresAfter(Duration).
 */
WEAKREF_API int weakref_cache_policy_set_time(weakref_cache *cache, enum weakref_cache_rule rule, double seconds);

/**
 * @brief How long ago an entry was written (AFTER_WRITE, REFRESH) or used (AFTER_ACCESS).
 * @param cache a cache that has such a rule.
 * @param rule which.
 * @param key the key.
 * @param seconds receives the age.
 * @return 0, or a negative error.
 * Errors: ENOENT, ENOTSUP, EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: Policy.FixedExpiration.ageOf(key).
 */
WEAKREF_API int weakref_cache_policy_age(weakref_cache *cache, enum weakref_cache_rule rule, const void *key, double *seconds);

/**
 * @brief How long an entry has to live yet, by all rules.
 * @param cache a cache whose entries expire.
 * @param key the key.
 * @param seconds receives the time; infinite for ever.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_policy_age.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: Policy.VarExpiration.getExpiresAfter(key).
 */
WEAKREF_API int weakref_cache_policy_remaining(weakref_cache *cache, const void *key, double *seconds);

/**
 * @brief Sets how long an entry has to live from now.
 * @param cache a cache built with weakref_cache_builder_expire_after.
 * @param key the key.
 * @param seconds as for the builder.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_policy_age.
 * Cost: a lock.
 * Thread: any thread known to the collector.
 * GC: collects only if a user function does.
 * Source: Policy.VarExpiration.setExpiresAfter(key, Duration).
 */
WEAKREF_API int weakref_cache_policy_set_remaining(weakref_cache *cache, const void *key, double seconds);

/**
 * @brief weakref_cache_put with a time to live for this value; expiry is not asked for it.
 * @param cache a cache built with weakref_cache_builder_expire_after.
 * @param key the key; copied or held as its kind says.
 * @param value not NULL.
 * @param seconds as for the builder; 0: it goes at once.
 * @return 0, or a negative error, and then nothing was stored.
 * Errors: ENOTSUP (no such rule), and as weakref_cache_put.
 * Cost: as weakref_cache_put.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: Policy.VarExpiration.put(key, value, Duration).
 */
WEAKREF_API int weakref_cache_policy_put(weakref_cache *cache, const void *key, void *value, double seconds);

/**
 * @brief weakref_cache_put_if_absent with a time to live for this value. One that is there keeps its own.
 * @param cache a cache built with weakref_cache_builder_expire_after.
 * @param key the key; copied or held as its kind says.
 * @param value not NULL.
 * @param seconds as for weakref_cache_policy_put.
 * @return the value now under the key: the old one, or `value`; NULL with errno set.
 * Errors: ENOTSUP (no such rule), and as weakref_cache_put_if_absent.
 * Cost: as weakref_cache_put.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 * Source: Policy.VarExpiration.putIfAbsent(key, value, Duration).
 */
WEAKREF_API void *weakref_cache_policy_put_if_absent(weakref_cache *cache, const void *key, void *value, double seconds);

/**
 * @brief Entries in the order in which they would be evicted if nothing more was read, or the other way round.
 * @param cache a cache with a bound or soft values.
 * @param hottest the other way round.
 * @param out receives at most n pairs, with keys that are copies of their own (strings, bytes); it must lie where the collector looks.
 * @param n how many fit.
 * @return how many were stored, or a negative error.
 * Errors: ENOTSUP (no such order), EINVAL, ENOMEM, EPERM.
 * Cost: linear in n; a lock.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: Policy.Eviction.coldest(limit), hottest(limit).
 */
WEAKREF_API long weakref_cache_policy_order(weakref_cache *cache, bool hottest, weakref_pair *out, size_t n);

/**
 * @brief Entries in the order in which their time will be over if nothing more is read, or the other way round. With one time for
 * all that is the oldest first, or the youngest.
 * @param cache a cache whose entries expire.
 * @param last the other way round.
 * @param out as for weakref_cache_policy_order.
 * @param n how many fit.
 * @return how many were stored, or a negative error.
 * Errors: ENOTSUP (no such order), EINVAL, ENOMEM, EPERM.
 * Cost: that of sorting all entries; a lock, linear in them.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: Policy.FixedExpiration.oldest(limit), youngest(limit), Policy.VarExpiration.oldest(limit), youngest(limit).
 */
WEAKREF_API long weakref_cache_policy_expiring(weakref_cache *cache, bool last, weakref_pair *out, size_t n);

#ifdef __cplusplus
}
#endif

#endif

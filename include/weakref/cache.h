/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache.h
 * @brief Caches: bounded, expiring, loading maps with weak or soft entries, made by a builder.
 *
 * What Guava and Caffeine give Java programs. A cache maps keys to values until something takes an entry away: its size, its age, the
 * collector, or the program. It is an object of the collected heap: dropped, it goes with all that it holds; no thread keeps it. Of the
 * generic operations (weakref/object.h) it has gc_len, gc_truth and gc_repr.
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
 * compute) run with no lock held and may use any cache, this one included. They return, are cancelled, end their thread, or leave by longjmp,
 * which for a load or function of compute is noticed later (R270): its key is free again when the thread next loads, computes or writes on a
 * condition, in whatever cache, or ends.
 *
 * Maintenance (evicting, expiring, taking out what the collector found dead, telling the listener) is done by whoever writes, now and then by
 * whoever reads, by gc_collect for the dead, and by weakref_cache_cleanup. No thread is started. A listener is called in the thread that
 * does it.
 *
 * Loads, and functions of compute, have a key for themselves: others that want to load or compute it wait, and share a load's result or
 * error. They wait as long as it takes, but for weakref_cache_get_wait. Readers of the value that is there do not wait. weakref_cache_put,
 * and every invalidation, overtake what is under way for their key: it is as if it had been completed just before, and its result replaced
 * or removed at once; a load that began before an invalidation never becomes visible after it. doc/semantics.md has the rules.
 *
 * Here are look-ups, loads, writes and removals. This header includes the others of caches:
 *
 *     weakref/cache_types.h      the functions of the program's that a cache calls
 *     weakref/cache_builder.h    how caches are made
 *     weakref/cache_view.h       the cache as a map: conditional writes, iterators
 *     weakref/cache_inspect.h    looking at a cache without using it, and at its policy, which may be changed
 *     weakref/cache_stats.h      what it did
 */
#ifndef WEAKREF_CACHE_H
#define WEAKREF_CACHE_H

#include <stddef.h>

#include "weakref/cache_builder.h"
#include "weakref/cache_inspect.h"
#include "weakref/cache_stats.h"
#include "weakref/cache_types.h"
#include "weakref/cache_view.h"
#include "weakref/error.h"
#include "weakref/key.h"

#ifdef __cplusplus
extern "C" {
#endif

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
 * (also a value that is not on the heap, where values are weak, and such a key, where keys are: it is not loaded), ENOMEM, EPERM, and
 * what the loader, hash, equal, weigher or expiry returned.
 * Cost: as weakref_cache_get_if_present; with a load two locks, and the loader's.
 * Thread: any thread known to the collector. Waiting is a cancellation point; a cancelled waiter or loader leaves no trace.
 * GC: may collect, and may run callbacks.
 * Source: LoadingCache.get(key).
 */
WEAKREF_API int weakref_cache_get(weakref_cache *cache, const void *key, void **value);

/**
 * @brief As weakref_cache_get, but waits only so long for a load of the key, or a function of compute, that another thread has begun.
 *
 * What it waited for goes on, and is stored for those who come later. What this call loads itself, as it does where nobody else is about to, or
 * where nothing came of what it waited for, is not cut short; nor is a reload. The time is the system's, whatever clock the cache has.
 *
 * Nothing else that waits for a key has a time limit: get_with, get_all, refresh, the conditional writes and the functions of compute wait as
 * long as it takes. Where that may be too long for several keys, they are got one by one.
 * @param cache the cache.
 * @param key the key.
 * @param seconds how long at most, fractions included: with 0 it does not wait (unlike weakref_pool_pop_wait), negative or infinite is for ever,
 * as with weakref_cache_get.
 * @param value receives the value, or NULL.
 * @return 0, or a negative error.
 * Errors: ETIMEDOUT (no load failed: to the figures it is the miss that it began with, and no more), EINVAL (also where seconds is NaN), and as
 * weakref_cache_get. EDEADLK comes at once, whatever the time.
 * Cost: as weakref_cache_get; a miss looks at the clock.
 * Thread: as weakref_cache_get.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API int weakref_cache_get_wait(weakref_cache *cache, const void *key, double seconds, void **value);

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
 * Thread: as weakref_cache_get. Of several at once for one key one reloads, and the others wait for its result. A function of compute is
 * waited for before.
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

#ifdef __cplusplus
}
#endif

#endif

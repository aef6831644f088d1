/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache_view.h
 * @brief The cache as a map: conditional writes, functions of the old value, iterators. weakref/cache.h is all of caches.
 *
 * These are for programs that use the cache as a map. They count neither hits nor misses, and none but compute_if_absent, compute and
 * merge extends the time of expiry after access (which those do where a value is there). Those that depend on what is there wait for loads and
 * functions of their key that are under way.
 */
#ifndef WEAKREF_CACHE_VIEW_H
#define WEAKREF_CACHE_VIEW_H

#include "weakref/cache_types.h"
#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_cache_iter weakref_cache_iter;

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

#ifdef __cplusplus
}
#endif

#endif

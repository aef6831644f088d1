/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache_inspect.h
 * @brief Looking at a cache without using it: its policy, which may be changed, ages, weights, the order in which entries would
 * go. weakref/cache.h is all of caches.
 */
#ifndef WEAKREF_CACHE_INSPECT_H
#define WEAKREF_CACHE_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/cache_types.h"
#include "weakref/error.h"
#include "weakref/key.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The rules that look at a clock. */
enum weakref_cache_rule { WEAKREF_CACHE_AFTER_WRITE, WEAKREF_CACHE_AFTER_ACCESS, WEAKREF_CACHE_REFRESH };

/** What a cache's policy is and does now. */
typedef struct weakref_cache_policy {
	/** Keys and values as the builder said. */
	bool weak_keys, weak_values, soft_values, records_stats, loading;
	/** Whether there is a bound, and whether it is one of weight; the bound; what all entries weigh (without weigher: their number), those
	 * that weakref_cache_len counts, but for one that a function of compute has, where there is a bound. */
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
 * Cost: a lock; linear in the entries where the collector took some since the last maintenance.
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
 * @brief Sets another time of the three: expiry after write, after access, refresh. Entries that are there are judged by it from now on;
 * what has expired before does not come back.
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

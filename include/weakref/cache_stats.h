/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache_stats.h
 * @brief What a cache did: hits, misses, loads, evictions, and arithmetic with them. weakref/cache.h is all of caches.
 */
#ifndef WEAKREF_CACHE_STATS_H
#define WEAKREF_CACHE_STATS_H

#include <stdint.h>

#include "weakref/cache_types.h"
#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

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
 * @param stats statistics; NULL has none.
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
 * @param stats statistics; NULL has none.
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
 * @param stats statistics; NULL has none.
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
 * @param stats statistics; NULL has none.
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
 * @param stats statistics; NULL has none.
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
 * @param stats statistics; NULL has none.
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
 * @param a the later ones; NULL has none.
 * @param b the earlier ones; likewise.
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
 * @param a one; NULL has none.
 * @param b another; likewise.
 * @return the sum.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: CacheStats.plus(other).
 */
WEAKREF_API weakref_cache_stats weakref_cache_stats_plus(const weakref_cache_stats *a, const weakref_cache_stats *b);

#ifdef __cplusplus
}
#endif

#endif

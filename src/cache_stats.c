/* SPDX-License-Identifier: MIT */
/*
 * cache_stats: a cache's figures, added up from its stripes, and what is computed from them. No locks: each figure is of its own moment.
 */
#include "cache.h"

int weakref_cache_get_stats(weakref_cache *cache, weakref_cache_stats *out)
{
	int error = cache_check(cache);

	if (error < 0 || out == NULL)
		return error < 0 ? error : -WEAKREF_EINVAL;
	const struct cache_counts *counts = &cache->counts;
	*out = (weakref_cache_stats){
		.load_successes = counts->load_successes,
		.load_failures = counts->load_failures,
		.load_time_ns = counts->load_time_ns,
		.evictions = counts->evictions,
		.eviction_weight = counts->eviction_weight,
		.level_hits = counts->level_hits,
		.level_errors = counts->level_errors,
	};
	for (uint32_t i = 0; cache->stripes != NULL && i <= cache->stripe_mask; i++) {
		out->hits += cache->stripes[i].hits;
		out->misses += cache->stripes[i].misses;
	}
	return 0;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static double ratio(uint64_t some, uint64_t all, double of_none)
{
	return all > 0 ? (double)some / (double)all : of_none;
}

uint64_t weakref_cache_stats_requests(const weakref_cache_stats *stats)
{
	return stats == NULL ? 0 : sum(stats->hits, stats->misses);
}

uint64_t weakref_cache_stats_loads(const weakref_cache_stats *stats)
{
	return stats == NULL ? 0 : sum(stats->load_successes, stats->load_failures);
}

double weakref_cache_stats_hit_rate(const weakref_cache_stats *stats)
{
	return ratio(stats == NULL ? 0 : stats->hits, weakref_cache_stats_requests(stats), 1.0);
}

double weakref_cache_stats_miss_rate(const weakref_cache_stats *stats)
{
	return ratio(stats == NULL ? 0 : stats->misses, weakref_cache_stats_requests(stats), 0.0);
}

double weakref_cache_stats_failure_rate(const weakref_cache_stats *stats)
{
	return ratio(stats == NULL ? 0 : stats->load_failures, weakref_cache_stats_loads(stats), 0.0);
}

double weakref_cache_stats_load_penalty(const weakref_cache_stats *stats)
{
	return ratio(stats == NULL ? 0 : stats->load_time_ns, weakref_cache_stats_loads(stats), 0.0);
}

#define FIGURES (sizeof(weakref_cache_stats) / sizeof(uint64_t))

/* All figures are of one type; they are added as an array. */
union figures {
	weakref_cache_stats stats;
	uint64_t at[FIGURES];
};

_Static_assert(sizeof(weakref_cache_stats) == FIGURES * sizeof(uint64_t), "nothing but numbers of 64 bits");

/* As everywhere here, NULL is no figures. */
static union figures figures_of(const weakref_cache_stats *stats)
{
	return stats == NULL ? (union figures){0} : (union figures){.stats = *stats};
}

weakref_cache_stats weakref_cache_stats_minus(const weakref_cache_stats *a, const weakref_cache_stats *b)
{
	union figures x = figures_of(a), y = figures_of(b);

	for (size_t i = 0; i < FIGURES; i++)
		x.at[i] = x.at[i] > y.at[i] ? x.at[i] - y.at[i] : 0;
	return x.stats;
}

weakref_cache_stats weakref_cache_stats_plus(const weakref_cache_stats *a, const weakref_cache_stats *b)
{
	union figures x = figures_of(a), y = figures_of(b);

	for (size_t i = 0; i < FIGURES; i++)
		x.at[i] = sum(x.at[i], y.at[i]);
	return x.stats;
}

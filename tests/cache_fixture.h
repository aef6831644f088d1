/* SPDX-License-Identifier: MIT */
/*
 * cache_fixture: what programs that test caches share: keys that are numbers, values that are places in an array and no blocks of the heap, a
 * clock that stands until the test sets it, and a listener that counts by cause. One cache at a time.
 */
#ifndef TESTS_CACHE_FIXTURE_H
#define TESTS_CACHE_FIXTURE_H

#include "support.h"
#include "weakref/cache.h"

#define SECOND UINT64_C(1000000000)
#define KEY(n) WEAKREF_INT(n)

static uint64_t now_ns;
static char things[4096];
static weakref_cache *cache;

static inline uint64_t tick(void *user)
{
	(void)user;
	return now_ns;
}

static inline void *thing(size_t i)
{
	return &things[i];
}

/* How many entries went, by cause. */
static unsigned told_by_cause[WEAKREF_CAUSE_SIZE + 1];

static inline int listen_by_cause(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	told_by_cause[cause]++;
	return 0;
}

#endif

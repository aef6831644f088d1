/* SPDX-License-Identifier: MIT */
/*
 * hit_ours: the public interface: weakref_cache_get_if_present for each access, and weakref_cache_put where it found nothing. One thread, so
 * that what the buffers of reads lose is what they lose by themselves.
 */
#include "hit_ours.h"

#include <stdio.h>
#include <stdlib.h>

#include "weakref/cache.h"
#include "weakref/gc.h"

static weakref_cache *make(size_t capacity)
{
	weakref_cache_builder *builder = weakref_cache_builder_new(WEAKREF_KEY_INT);

	if (builder == NULL || weakref_cache_builder_maximum_size(builder, (int64_t)capacity) != 0)
		return NULL;
	return weakref_cache_builder_build(builder);
}

bool ours_init(void)
{
	return gc_init() == 0;
}

size_t ours_hits(const struct trace *trace, size_t capacity)
{
	static char value;
	weakref_cache *cache = make(capacity);
	size_t hits = 0;
	int error = cache == NULL;

	for (size_t i = 0; i < trace->n && error == 0; i++) {
		const void *key = WEAKREF_INT(trace->keys[i]);

		if (weakref_cache_get_if_present(cache, key) != NULL)
			hits++;
		else
			error = weakref_cache_put(cache, key, &value);
	}
	if (error != 0) {
		fprintf(stderr, "hitratio: the cache failed: %d\n", error);
		exit(3);
	}
	return hits;
}

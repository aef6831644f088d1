/* SPDX-License-Identifier: MIT */
/*
 * pool_entry: what a pool notes of a resource, from when it becomes known until it is lost.
 *
 * A resource that is a block of the collected heap is watched: an entry that is LEASED without being held is stale once the block
 * is dead, and is taken out by the reference's callback, or by whoever looks for a new resource at the same address before that
 * ran. Either counts it as lost, and leaves room for another.
 *
 * States, invariants and locks: pool.h.
 */
#include <errno.h>

#include "pool_books.h"

/* When a resource's lifetime is over that begins now; each has a spread of its own. */
static uint64_t end_of_life(const weakref_pool *pool, const struct pool_entry *entry)
{
	if (pool->lifetime == UINT64_MAX)
		return UINT64_MAX;
	uint64_t now = base_now(), dice = base_mix(now ^ (uintptr_t)entry);
	return now + pool->lifetime - (pool->spread != 0 ? dice % pool->spread : 0);
}

struct pool_entry *pool_entry_new(weakref_pool *pool)
{
	struct pool_entry *entry = heap_alloc(sizeof *entry + (pool->wheel != NULL ? sizeof entry->waiting[0] : 0));

	if (entry != NULL) {
		entry->pool = pool;
		entry->ends = end_of_life(pool, entry);
	}
	return entry;
}

static void lose_locked(weakref_pool *pool, struct pool_entry *entry)
{
	pool_forget_leased_locked(pool, entry);
	pool->stats.lost++;
	pool_serve_locked(pool);
}

/* A plainly leased block died. */
static int watch_fired(weakref_ref *ref, void *data)
{
	struct pool_entry *entry = data;

	(void)ref;
	pool_lock(entry->pool);
	if (entry->state == POOL_LEASED && entry->hold == NULL)
		lose_locked(entry->pool, entry);
	pool_unlock(entry->pool);
	return 0;
}

int pool_entry_name(struct pool_entry *entry, void *resource)
{
	entry->hidden = ~(uintptr_t)resource;
	entry->hold = resource;
	if (heap_base(resource) == NULL)
		return 0;
	entry->watch = weakref_ref_new(resource, watch_fired, entry);
	return entry->watch != NULL ? 0 : -errno;
}

void pool_entry_unwatch(struct pool_entry *entry)
{
	if (entry->watch != NULL)
		weakref_ref_clear(entry->watch);
}

static bool stale_locked(const struct pool_entry *entry)
{
	return entry->watch != NULL && entry->state == POOL_LEASED && entry->hold == NULL && weakref_ref_get(entry->watch) == NULL;
}

struct pool_entry *pool_find_locked(weakref_pool *pool, const void *resource)
{
	struct pool_entry *entry = pool_known_locked(pool, resource);

	if (unlikely(entry != NULL && stale_locked(entry))) {
		lose_locked(pool, entry);
		return NULL;
	}
	return entry;
}

/* SPDX-License-Identifier: MIT */
/*
 * cache_level: the second level: asked before the loader, written to after it, forgetting what the program changes.
 *
 * What the second level has must never be older than what a reader was told. A load asks it and writes to it only if nobody is about
 * to change the key (the list `aside`). Who changes a key stands in that list from before the change in the cache until the second
 * level has forgotten the key, which it need not where nothing was changed after all. A load that is overtaken by a change enters
 * the list in the same moment; if it wrote to the second level, it has the key forgotten there, and only then leaves the list. Keys
 * are told apart by their hashes: where two share one, a load does without. Who stands there is a block that his thread's chain
 * (cache_inside.c) keeps; where he never comes back to step down, and something may be wrong in the second level, that key stays closed.
 *
 * Locks: the cache's for the list. Failures are counted, and no more.
 */
#include <pthread.h>

#include "cache.h"

/* ---- the list ---- */

/* In a child after fork those who stand there are gone, or are not there any more as far as the list is concerned. */
static void forget_parent_locked(weakref_cache *cache)
{
	if (likely(cache->aside_forks == lock_forks))
		return;
	cache->aside_forks = lock_forks;
	cache->aside = NULL;
}

bool cache_level_open_locked(weakref_cache *cache, uint32_t hash)
{
	if (cache->config.level.get == NULL)
		return false;
	forget_parent_locked(cache);
	for (struct cache_aside *aside = cache->aside, *next; aside != NULL; aside = next) {
		next = aside->next;
		if (aside->gone)
			cache_aside_remove_locked(cache, aside);
		else if (aside->all || aside->hash == hash)
			return false;
	}
	return true;
}

void cache_aside_add_locked(weakref_cache *cache, struct cache_aside *aside, uint32_t hash, bool all)
{
	forget_parent_locked(cache);
	/* Its thread may have gone this very moment. */
	aside->next = cache->aside;
	aside->prev = NULL;
	aside->hash = hash;
	aside->all = all;
	aside->forks = lock_forks;
	if (aside->next != NULL)
		aside->next->prev = aside;
	cache->aside = aside;
}

void cache_aside_remove_locked(weakref_cache *cache, struct cache_aside *aside)
{
	if (unlikely(aside->forks != lock_forks))
		return;
	if (aside->next != NULL)
		aside->next->prev = aside->prev;
	*(aside->prev != NULL ? &aside->prev->next : &cache->aside) = aside->next;
}

/* ---- the level's functions ---- */

static int counted(weakref_cache *cache, int error)
{
	if (error < 0 && error != -WEAKREF_ENOENT && cache->config.records)
		atomic_fetch_add_explicit(&cache->counts.level_errors, 1, memory_order_relaxed);
	return error;
}

int cache_level_get(weakref_cache *cache, const void *key, void **value)
{
	const weakref_cache_second_level *level = &cache->config.level;

	*value = NULL;
	int error = counted(cache, level->get(key, value, level->user));
	if (error < 0 || *value == NULL)
		return -WEAKREF_ENOENT;
	if (cache->config.records)
		atomic_fetch_add_explicit(&cache->counts.level_hits, 1, memory_order_relaxed);
	return 0;
}

void cache_level_expect(weakref_cache *cache, const void *key)
{
	const weakref_cache_second_level *level = &cache->config.level;

	if (level->expect != NULL)
		counted(cache, level->expect(key, level->user));
}

void cache_level_put(weakref_cache *cache, const void *key, void *value)
{
	const weakref_cache_second_level *level = &cache->config.level;

	if (level->put != NULL)
		counted(cache, level->put(key, value, level->user));
}

void cache_level_remove(weakref_cache *cache, const void *key)
{
	const weakref_cache_second_level *level = &cache->config.level;

	if (level->remove != NULL)
		counted(cache, level->remove(key, level->user));
}

/* ---- changes ---- */

/* All entries that the cache has now, for a level that cannot forget all keys at once. 0 or -ENOMEM. */
static int list_entries(struct cache_change *c)
{
	const struct cache_map *map = atomic_load_explicit(&c->cache->map, memory_order_acquire);

	c->entries = heap_alloc(map->limit * sizeof *c->entries);
	if (c->entries == NULL)
		return -WEAKREF_ENOMEM;
	for (size_t i = 0; i < map->n && c->n < map->limit; i++) {
		struct cache_entry *entry = atomic_load_explicit(&map->at[i].entry, memory_order_acquire);
		if (entry != NULL && entry != CACHE_GONE)
			c->entries[c->n++] = entry;
	}
	return 0;
}

static void forget(struct cache_change *c)
{
	const weakref_cache_second_level *level = &c->cache->config.level;

	if (!c->all)
		cache_level_remove(c->cache, c->key);
	else if (level->clear != NULL)
		counted(c->cache, level->clear(level->user));
	for (size_t i = 0; i < c->n; i++) {
		weakref_bytes bytes;
		cache_level_remove(c->cache, cache_key(c->cache, c->entries[i], &bytes));
	}
}

/* Who stands aside for a change. */
struct standing {
	struct cache_inside inside; /* first */
	weakref_cache *cache;
	bool changes; /* something may have been changed that the second level is to forget */
};

static void step_down(void *data)
{
	struct standing *s = data;

	cache_inside_end(&s->inside);
	cache_lock(s->cache);
	cache_aside_remove_locked(s->cache, &s->inside.aside);
	cache_unlock(s->cache);
}

static void standing_left(struct cache_inside *inside, bool ended)
{
	struct standing *s = (struct standing *)inside;

	if (s->changes)
		return;
	if (ended)
		inside->aside.gone = true;
	else
		step_down(s);
}

int cache_change_level(struct cache_change *c)
{
	struct cache_frame frame;
	struct standing here = {0}, *s = heap_alloc(sizeof *s);
	int result;

	if (c->all && c->cache->config.level.clear == NULL && list_entries(c) < 0)
		return -WEAKREF_ENOMEM;
	/* Without memory, nobody may leave. */
	if (s == NULL)
		s = &here;
	else
		cache_inside_ready();
	s->cache = c->cache;
	cache_frame_mark(&frame);
	cache_lock(c->cache);
	cache_aside_add_locked(c->cache, &s->inside.aside, c->ready.hash, c->all);
	cache_unlock(c->cache);
	pthread_cleanup_push(step_down, s);
	if (s != &here)
		cache_inside_begin(&s->inside, &frame, standing_left);
	result = c->fn(c);
	if (result >= 0 && !c->unchanged) {
		s->changes = true;
		forget(c);
	}
	pthread_cleanup_pop(1);
	return result;
}

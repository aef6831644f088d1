/* SPDX-License-Identifier: MIT */
/*
 * cache_soft: caches with soft values, and who gives way when the heap is near its limit.
 *
 * All such caches stand in one weak table. When an allocation is about to fail, the heap asks for relief in rounds, each followed by a
 * collection: a quarter of each cache's entries go, then half of the rest, then all. Apart from that a cache that finds, at its maintenance after
 * a collection, that seven eighths of the limit are in use, gives an eighth of its entries up. Always the least recently used first.
 *
 * Relief runs in the thread that allocates, maybe in the middle of a host's own work: it takes caches' locks, allocates nothing, and tells no
 * listener; the notices wait for the cache's next operation. Nobody allocates with such a lock held, so it is not taken already.
 *
 * Deliberately not here: an order of use among several caches.
 */
#include "cache.h"
#include "cycle.h"
#include "element.h"
#include "weakarray.h"
#include "weakref/gc.h"

#define ROUNDS 3

static _Atomic(struct table *) caches;

static size_t give_up_locked(weakref_cache *cache, size_t n)
{
	struct policy_node *node;
	size_t done = 0;

	for (; done < n && (node = policy_coldest(&cache->policy)) != NULL; done++)
		cache_remove_locked(cache, CACHE_OF(policy, node), WEAKREF_CAUSE_COLLECTED);
	return done;
}

/* Whether anything went. */
static bool relieve(unsigned round)
{
	struct table *table = atomic_load_explicit(&caches, memory_order_acquire);
	struct table_entry found;
	struct table_iter iter;
	size_t done = 0;

	if (round >= ROUNDS)
		return false;
	table_iter_init(&iter, table);
	while (table_iter_next(&iter, true, &found) > 0) {
		weakref_cache *cache = found.value;
		cache_lock(cache);
		size_t n = round == 0 ? cache->live / 4 + 1 : round == 1 ? cache->live / 2 + 1 : cache->live;
		done += give_up_locked(cache, n);
		cache_unlock(cache);
	}
	return done != 0;
}

void cache_soft_trim_locked(weakref_cache *cache)
{
	size_t limit = gc_get_heap_limit(), used;
	unsigned long collections = heap_collections();

	if (limit == 0 || collections == cache->trimmed)
		return;
	cache->trimmed = collections;
	used = heap_in_use();
	if (used > limit - limit / 8)
		give_up_locked(cache, cache->live / 8 + 1);
}

/* The table of all caches, made by the first. */
static struct table *table_of_all(void)
{
	struct table *table = atomic_load_explicit(&caches, memory_order_acquire), *none = NULL;

	if (table != NULL)
		return table;
	table = cycle_roots_new(sizeof *table);
	if (table == NULL || table_init(table, &element_ops, TABLE_SELF, false, NULL, NULL) < 0)
		return NULL;
	if (!atomic_compare_exchange_strong(&caches, &none, table))
		return none;
	heap_set_relief(relieve);
	return table;
}

int cache_soft_add(weakref_cache *cache)
{
	struct table *table = table_of_all();
	struct table_key key;
	void *now;

	if (table == NULL)
		return -WEAKREF_ENOMEM;
	table_key_self(&key, cache, weakarray_encode(cache), (uintptr_t)cache);
	int result = table_put(table, &key, 0, TABLE_KEEP, &now);
	BASE_KEEP(cache);
	return result < 0 ? result : 0;
}

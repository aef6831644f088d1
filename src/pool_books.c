/* SPDX-License-Identifier: MIT */
/*
 * pool_books: what of a pool's books is out of line: how they begin and grow, what a fork does to them, and whether they are
 * right. States, invariants and locks: pool.h.
 *
 * Buckets. As many as there are entries or more, but for the moment between an insertion and pool_grow, which is best effort: no
 * memory makes look-ups slower, nothing else. They are allocated with the lock free, so two may do so at once; the second is too
 * late.
 */
#include "pool_books.h"

#define BUCKETS_BITS 4
#define BUCKETS_FIRST (1 << BUCKETS_BITS)

NOINLINE void pool_after_fork_locked(weakref_pool *pool)
{
	pool->forks = lock_forks;
	pool->first = pool->last = NULL;
	pool->waiting = pool->moving = 0;
}

/* ---- buckets ---- */

bool pool_begin(weakref_pool *pool)
{
	pool->buckets = heap_alloc(BUCKETS_FIRST * sizeof *pool->buckets);
	pool->nbuckets = BUCKETS_FIRST;
	pool->shift = 64 - BUCKETS_BITS;
	return pool->buckets != NULL;
}

void pool_grow(weakref_pool *pool)
{
	pool_lock(pool);
	size_t n = pool->nbuckets;
	bool full = pool->idle + pool->leased > n;
	pool_unlock(pool);
	if (likely(!full))
		return;
	struct pool_entry **more = heap_alloc(2 * n * sizeof *more);
	if (more == NULL)
		return;
	pool_lock(pool);
	if (pool->nbuckets == n) {
		struct pool_entry **old = pool->buckets;
		pool->buckets = more;
		pool->nbuckets = 2 * n;
		pool->shift--;
		for (size_t i = 0; i < n; i++)
			for (struct pool_entry *entry = old[i], *next; entry != NULL; entry = next) {
				next = entry->chain;
				pool_hash_locked(pool, entry);
			}
	}
	pool_unlock(pool);
}

/* ---- invariants ---- */

void pool_check_locked(const weakref_pool *pool)
{
	const struct pool_entry *newest = pool_newest_locked(pool);

	ASSERT((pool->idle == 0) == (newest == NULL) && (newest == NULL) == (pool->oldest == NULL));
	ASSERT(newest == NULL || (newest->newer == NULL && newest->hold == pool_resource(newest)));
	ASSERT(pool->over || pool->closed || pool->idle + pool->leased + pool->moving <= pool->hardmax);
	ASSERT((pool->waiting == 0) == (pool->first == NULL));
	ASSERT(pool->first == NULL || (pool->idle == 0 && pool->first->for_end == pool->closed));
	ASSERT(pool->first == NULL || pool->closed || pool->options.alloc == NULL || !pool_room_locked(pool));
	ASSERT(pool->first == NULL || !pool->closed || !pool_is_gone_locked(pool));
	ASSERT(!pool->closed || pool->idle == 0);
}

/* The whole of it, of a listed pool: what is idle is in the list, in order and in the hash, and the hash has no more and no less than
 * is counted. */
void pool_validate_locked(const weakref_pool *pool)
{
	size_t idle = 0, known = 0, waiting = 0;
	const struct pool_entry *newer = NULL;

	for (const struct pool_entry *entry = pool_newest_locked(pool); entry != NULL; newer = entry, entry = entry->older, idle++)
		ASSERT(entry->state == POOL_IDLE && entry->newer == newer && entry->hold == pool_resource(entry) && entry->ends != 0 &&
		       idle < pool->idle);
	ASSERT(idle == pool->idle && pool->oldest == newer);
	for (size_t i = 0; i < pool->nbuckets; i++)
		for (const struct pool_entry *entry = pool->buckets[i]; entry != NULL; entry = entry->chain, known++) {
			pool_owners_validate_locked(entry);
			ASSERT(entry->pool == pool && entry->state != POOL_GONE && entry->state != POOL_FRESH &&
			       (pool->wheel == NULL || entry->waiting->deadline_ns == entry->ends));
		}
	ASSERT(known == pool->idle + pool->leased);
	for (const struct pool_waiter *w = pool->first; w != NULL; w = w->next, waiting++)
		ASSERT(w->next == NULL || w->ticket < w->next->ticket);
	ASSERT(waiting == pool->waiting);
	if (pool->wheel != NULL)
		wheel_check(pool->wheel);
	pool_check_locked(pool);
}

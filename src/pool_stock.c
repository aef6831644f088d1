/* SPDX-License-Identifier: MIT */
/*
 * pool_stock: what a pool has idle but for pops and pushes: what it begins with, what is made beforehand, what is trimmed or
 * cleared on demand; and its figures. States, invariants and locks: pool.h.
 *
 * Invariants
 *  1. init's resources are lent in their order, and before those that alloc made at the beginning.
 *  2. A closed pool has no idle resource, ever.
 */
#include "pool_books.h"

/* ---- to begin with ---- */

/* A resource that nobody sees yet, to be popped after those that are there. EEXIST where it is there itself. */
static int stock(weakref_pool *pool, void *resource)
{
	struct pool_entry *entry = pool_entry_new(pool);
	int error = entry != NULL ? pool_entry_name(entry, resource) : -WEAKREF_ENOMEM;
	uint64_t now = pool_time(pool);

	if (error != 0)
		return error;
	pool_lock(pool);
	if (pool_find_locked(pool, resource) != NULL) {
		error = -WEAKREF_EEXIST;
	} else {
		pool_insert_locked(pool, entry);
		pool_idle_last_locked(pool, entry, now);
	}
	pool_unlock(pool);
	pool_grow(pool);
	return error;
}

int pool_stock_init(weakref_pool *pool, void *const *init, size_t n)
{
	int error = 0;

	for (size_t i = 0; i < n && error == 0; i++)
		error = init[i] != NULL ? stock(pool, init[i]) : -WEAKREF_EINVAL;
	pool->stats.adopted = n;
	return error == -WEAKREF_EEXIST ? -WEAKREF_EINVAL : error;
}

/* Makes one that may be idle, where fewer than n are: it is lent to us. 1, 0 where that is not so, or a negative error. */
static int make_one(weakref_pool *pool, size_t n, struct pool_entry **entry)
{
	pool_lock(pool);
	int error = pool->closed ? -WEAKREF_ECANCELED : 0;
	bool wanted = error == 0 && pool->idle < n && pool_room_locked(pool);
	pool->moving += wanted;
	pool_unlock(pool);
	if (!wanted)
		return error;
	error = pool_alloc(pool, entry);
	return error < 0 ? error : 1;
}

int pool_stock_alloc(weakref_pool *pool)
{
	struct pool_entry *entry;
	int result = 0;

	while (pool->options.alloc != NULL && (result = make_one(pool, pool->floor_age, &entry)) > 0) {
		uint64_t now = pool_time(pool);
		pool_lock(pool);
		pool->leased--;
		pool_idle_last_locked(pool, entry, now);
		pool_unlock(pool);
	}
	return result;
}

void pool_stock_abandoned(void *data)
{
	weakref_pool *pool = data;
	struct pool_entry *out = NULL;

	pool_lock(pool);
	while (pool->idle > pool->options.ninit)
		pool_evict_locked(pool, pool_last_locked(pool), &out);
	pool_unlock(pool);
	pool_dispose(pool, out);
}

/* ---- beforehand ---- */

static int fill_one(weakref_pool *pool, size_t n)
{
	struct pool_entry *entry, *out = NULL;
	int result = make_one(pool, n, &entry);

	if (result <= 0)
		return result;
	uint64_t now = pool_time(pool);
	pool_lock(pool);
	pool_put_locked(pool, entry, now, &out);
	pool_unlock(pool);
	pool_dispose(pool, out);
	return 1;
}

long weakref_pool_fill(weakref_pool *pool, size_t n)
{
	int result = pool_check(pool);
	long made = 0;

	if (result == 0 && pool->options.alloc == NULL)
		result = -WEAKREF_ENOTSUP;
	if (result < 0)
		return result;
	n = pool_size_or(n, pool->floor_age);
	/* More would be trimmed as soon as they are there. */
	if (n > pool->maxsize)
		n = pool->maxsize;
	do {
		result = fill_one(pool, n);
		made += result > 0;
	} while (result > 0 && (size_t)made < n);
	return result < 0 ? result : made;
}

/* ---- until they are trimmed or cleared ---- */

static void evict_idle_locked(weakref_pool *pool, struct pool_entry **out)
{
	while (pool->oldest != NULL)
		pool_evict_locked(pool, pool->oldest, out);
}

long pool_empty(weakref_pool *pool, bool closes)
{
	struct pool_entry *out = NULL;

	pool_lock(pool);
	pool->closed = pool->closed || closes;
	evict_idle_locked(pool, &out);
	pool_serve_locked(pool);
	pool_unlock(pool);
	return pool_dispose(pool, out);
}

long weakref_pool_clear(weakref_pool *pool)
{
	int error = pool_check(pool);

	return error != 0 ? error : pool_empty(pool, false);
}

/* All that the pool knows are no more, or go when they come back. */
static void doom_leased_locked(weakref_pool *pool)
{
	for (size_t i = 0; i < pool->nbuckets; i++)
		for (struct pool_entry *entry = pool->buckets[i]; entry != NULL; entry = entry->chain)
			pool_doom_locked(pool, entry);
}

long weakref_pool_invalidate_all(weakref_pool *pool)
{
	struct pool_entry *out = NULL;
	int error = pool_check(pool);

	if (error != 0)
		return error;
	pool_lock(pool);
	atomic_fetch_add_explicit(&pool->invalidations, 1, memory_order_release);
	evict_idle_locked(pool, &out);
	doom_leased_locked(pool);
	pool_serve_locked(pool);
	pool_unlock(pool);
	return pool_dispose(pool, out);
}

long weakref_pool_maintain(weakref_pool *pool)
{
	struct pool_entry *out = NULL;
	int error = pool_check(pool);

	if (error != 0)
		return error;
	pool_lock(pool);
	pool_expire_all_locked(pool, &out);
	pool_unlock(pool);
	return pool_dispose(pool, out);
}

/* ---- figures ---- */

size_t weakref_pool_len(weakref_pool *pool)
{
	if (!pool_is(pool))
		return 0;
	pool_lock(pool);
	size_t n = pool_kept_locked(pool);
	pool_unlock(pool);
	return n;
}

int weakref_pool_get_stats(weakref_pool *pool, weakref_pool_stats *out)
{
	int error = pool_check(pool);

	if (error != 0 || out == NULL)
		return error != 0 ? error : -WEAKREF_EINVAL;
	pool_lock(pool);
	*out = pool->stats;
	out->idle = pool->idle;
	out->leased = pool->leased;
	out->waiting = pool->waiting;
	out->moving = pool->moving;
	out->reuses = pool->reuses;
	out->returns = pool->returns;
	pool_unlock(pool);
	return 0;
}

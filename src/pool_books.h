/* SPDX-License-Identifier: MIT */
/*
 * pool_books: the books of a pool, with its lock held: the hash of what it knows, the list of what is idle, and how many there
 * are of each. What is here takes an entry from one state to the next (pool.h); whether it is its turn, and what follows, others
 * decide. In line, since it is most of what a pop and a push do.
 */
#ifndef POOL_BOOKS_H
#define POOL_BOOKS_H

#include "pool.h"

/* ---- the hash ---- */

static inline struct pool_entry **pool_bucket_locked(const weakref_pool *pool, uintptr_t hidden)
{
	return &pool->buckets[hidden * UINT64_C(0x9e3779b97f4a7c15) >> pool->shift];
}

static inline void pool_hash_locked(weakref_pool *pool, struct pool_entry *entry)
{
	struct pool_entry **bucket = pool_bucket_locked(pool, entry->hidden);

	entry->chain = *bucket;
	*bucket = entry;
}

/* A fresh entry enters the pool, to be leased or idle. */
static inline void pool_insert_locked(weakref_pool *pool, struct pool_entry *entry)
{
	pool_hash_locked(pool, entry);
	if (pool->listed)
		pool_owners_add_locked(entry);
	if (pool->wheel != NULL)
		wheel_schedule(pool->wheel, entry->waiting, entry->ends);
}

/* The entry of a resource, be it stale or not (pool_find_locked). */
static inline struct pool_entry *pool_known_locked(const weakref_pool *pool, const void *resource)
{
	uintptr_t hidden = ~(uintptr_t)resource;
	struct pool_entry *entry = *pool_bucket_locked(pool, hidden);

	while (entry != NULL && entry->hidden != hidden)
		entry = entry->chain;
	return entry;
}

/* An entry leaves the pool. */
static inline void pool_drop_locked(weakref_pool *pool, struct pool_entry *entry)
{
	struct pool_entry **at = pool_bucket_locked(pool, entry->hidden);

	while (*at != entry)
		at = &(*at)->chain;
	*at = entry->chain;
	entry->chain = NULL;
	entry->state = POOL_GONE;
	if (pool->listed)
		pool_owners_remove_locked(entry);
	if (pool->wheel != NULL)
		wheel_cancel(pool->wheel, entry->waiting);
}

/* One that is not idle: it goes when it comes back. */
static inline void pool_doom_locked(weakref_pool *pool, struct pool_entry *entry)
{
	entry->ends = 0;
	if (pool->wheel != NULL)
		wheel_cancel(pool->wheel, entry->waiting);
}

/* A leased entry whose resource the pool has not got back leaves it. */
static inline void pool_forget_leased_locked(weakref_pool *pool, struct pool_entry *entry)
{
	pool_drop_locked(pool, entry);
	pool->leased--;
}

/* ---- the idle ones ---- */

static inline struct pool_entry *pool_newest_locked(const weakref_pool *pool)
{
	return atomic_load_explicit(&pool->newest, memory_order_relaxed);
}

static inline void pool_set_newest_locked(weakref_pool *pool, struct pool_entry *entry)
{
	atomic_store_explicit(&pool->newest, entry, memory_order_relaxed);
}

/* Who is lent next: the newest, or the oldest where that is asked for; and last. NULL: none is idle. */
static inline struct pool_entry *pool_next_locked(const weakref_pool *pool)
{
	return likely(!pool->fifo) ? pool_newest_locked(pool) : pool->oldest;
}

static inline struct pool_entry *pool_last_locked(const weakref_pool *pool)
{
	return likely(!pool->fifo) ? pool->oldest : pool_newest_locked(pool);
}

static inline void pool_idle_begin_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now)
{
	entry->state = POOL_IDLE;
	entry->hold = pool_resource(entry);
	entry->since = now;
	pool->idle++;
}

static inline void pool_idle_newest_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now)
{
	struct pool_entry *older = pool_newest_locked(pool);

	pool_idle_begin_locked(pool, entry, now);
	entry->newer = NULL;
	entry->older = older;
	*(older != NULL ? &older->newer : &pool->oldest) = entry;
	pool_set_newest_locked(pool, entry);
}

/* As the next newer of an idle one; behind none as the oldest. */
static inline void pool_idle_behind_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry *older, uint64_t now)
{
	struct pool_entry *newer = older != NULL ? older->newer : pool->oldest;

	pool_idle_begin_locked(pool, entry, now);
	entry->older = older;
	entry->newer = newer;
	*(older != NULL ? &older->newer : &pool->oldest) = entry;
	if (newer != NULL)
		newer->older = entry;
	else
		pool_set_newest_locked(pool, entry);
}

static inline void pool_idle_oldest_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now)
{
	pool_idle_behind_locked(pool, entry, NULL, now);
}

/* As the last to be lent. */
static inline void pool_idle_last_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now)
{
	(pool->fifo ? pool_idle_newest_locked : pool_idle_oldest_locked)(pool, entry, now);
}

static inline void pool_idle_end_locked(weakref_pool *pool, struct pool_entry *entry)
{
	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		pool_set_newest_locked(pool, entry->older);
	*(entry->older != NULL ? &entry->older->newer : &pool->oldest) = entry->newer;
	entry->newer = entry->older = NULL;
	pool->idle--;
}

/* An idle one is in nobody's reach, but still held. */
static inline void pool_withdraw_locked(weakref_pool *pool, struct pool_entry *entry)
{
	pool_idle_end_locked(pool, entry);
	entry->state = POOL_CHECKING;
	pool->leased++;
}

/* The next goes to somebody; it stays held until pool_take knows for whom. */
static inline struct pool_entry *pool_lend_locked(weakref_pool *pool)
{
	struct pool_entry *entry = pool_next_locked(pool);

	pool_withdraw_locked(pool, entry);
	return entry;
}

/* ---- what is with alloc or dealloc ---- */

/* Whether one more is allowed by the hard maximum. */
static inline bool pool_room_locked(const weakref_pool *pool)
{
	return pool->idle + pool->leased + pool->moving < pool->hardmax;
}

/* Whether something is to go, since there is more than a hard maximum allows that was lowered. */
static inline bool pool_surplus_locked(weakref_pool *pool)
{
	if (likely(!pool->over))
		return false;
	pool->over = pool->idle + pool->leased + pool->moving > pool->hardmax;
	return pool->over;
}

/* Whether nothing is in anybody's hand: of a closed pool, which has no idle ones. */
static inline bool pool_is_gone_locked(const weakref_pool *pool)
{
	return pool->leased + pool->moving == 0;
}

/* One less. A thread that forks within a user function finds `moving` reset. */
static inline void pool_moved_locked(weakref_pool *pool)
{
	pool->moving -= pool->moving > 0;
}

#endif

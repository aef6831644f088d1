/* SPDX-License-Identifier: MIT */
/*
 * pool_queue: who waits for a resource, in order, and what they are given. There is nothing to race for: whoever brings a
 * resource, or room for one, hands it to the first waiter (invariant 2 of pool.h). How a waiter passes its time is pool_wait.c's
 * affair.
 *
 *   a waiter's answer   WAITS ◀──▶ SLEEPS          WAITS, SLEEPS ──a resource, a slot, the pool's end──▶ GIVEN, SLOT, CLOSED
 *                                                  WAITS, SLEEPS ──in a closed pool, the last resource is gone──▶ EMPTY
 *
 * Invariants
 *  1. Those in the queue are WAITS or SLEEPS, in the order of their tickets. Whoever answers takes the waiter out, with the lock held.
 *  2. In a closed pool's queue are those alone that wait for the last resource to be gone (for_end); in an open one's there is none such.
 *  3. An answer to one that SLEEPS is followed by one post, after the lock was dropped. The waiter does not leave before it has come.
 *
 * Locks: the pool's.
 */
#include "pool_books.h"

void pool_enqueue_locked(weakref_pool *pool, struct pool_waiter *w)
{
	struct pool_waiter *after = pool->last;

	while (after != NULL && after->ticket > w->ticket)
		after = after->prev;
	w->answer = POOL_WAITS;
	w->prev = after;
	w->next = after != NULL ? after->next : pool->first;
	*(after != NULL ? &after->next : &pool->first) = w;
	*(w->next != NULL ? &w->next->prev : &pool->last) = w;
	pool->waiting++;
}

void pool_dequeue_locked(weakref_pool *pool, struct pool_waiter *w)
{
	*(w->prev != NULL ? &w->prev->next : &pool->first) = w->next;
	*(w->next != NULL ? &w->next->prev : &pool->last) = w->prev;
	pool->waiting--;
}

/* Only one can be woken by whoever drops the lock; of several, the others are woken here. */
static void answer_locked(weakref_pool *pool, struct pool_waiter *w, enum pool_answer answer)
{
	pool_dequeue_locked(pool, w);
	if (atomic_exchange(&w->answer, answer) != POOL_SLEEPS)
		return;
	if (pool->wake != NULL)
		sem_post(pool->wake);
	pool->wake = &w->woken;
}

int pool_take_now_locked(weakref_pool *pool, struct pool_entry **entry)
{
	*entry = NULL;
	if (unlikely(pool->closed))
		return -WEAKREF_ECANCELED;
	if (likely(pool_newest_locked(pool) != NULL)) {
		*entry = pool_lend_locked(pool);
		return 0;
	}
	if (pool->options.alloc == NULL || !pool_room_locked(pool))
		return -WEAKREF_ENOENT;
	pool->moving++;
	return 0;
}

/* A waiter gets what it would get if it came now. */
NOINLINE void pool_serve_waiters_locked(weakref_pool *pool)
{
	struct pool_waiter *w;

	while ((w = pool->first) != NULL) {
		if (w->for_end) {
			if (!pool_is_gone_locked(pool))
				return;
			answer_locked(pool, w, POOL_EMPTY);
			continue;
		}
		int error = pool_take_now_locked(pool, &w->entry);
		if (error == -WEAKREF_ENOENT)
			return;
		answer_locked(pool, w, error != 0 ? POOL_CLOSED : w->entry != NULL ? POOL_GIVEN : POOL_SLOT);
	}
}

/* As the next, or behind what has become idle since, where the pool looks at the time: the oldest is to be the one that goes by its age. */
static void put_back_locked(weakref_pool *pool, struct pool_entry *entry)
{
	struct pool_entry *older = pool->fifo ? NULL : pool_newest_locked(pool);

	while (older != NULL && older->since > entry->since)
		older = older->older;
	pool_idle_behind_locked(pool, entry, older, entry->since);
}

void pool_hand_on_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out)
{
	pool->leased--;
	put_back_locked(pool, entry);
	if (pool->closed || entry->ends == 0 || pool_surplus_locked(pool))
		pool_evict_locked(pool, entry, out);
	pool_serve_locked(pool);
}

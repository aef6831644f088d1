/* SPDX-License-Identifier: MIT */
/*
 * pool_retain: the program is asked about each idle resource of a pool whether it stays. States, invariants and locks: pool.h.
 *
 * What is idle at one moment is listed, in memory that nobody else sees, and asked about one by one, the oldest first. Whatever was leased
 * meanwhile is passed over, be it idle again: its serial tells. While the program is asked the lock is free and the entry is CHECKING, in
 * nobody's reach; then it is idle again where it was among those that are, or is deallocated before the next is looked at: whoever leaves
 * by longjmp loses one and no others.
 *
 * Invariant. The first `kept` of the list are those that were asked about and stayed, the oldest first, as far as they have been idle since
 * whenever that was looked at: the last of them that still is stands before the next that stays. What another retain had at the beginning is not
 * listed: where the pool looks at the time, that tells who is older.
 *
 * Deliberately not here: the lock held meanwhile, as deadpool does; and one moment for all, which would keep pops from what is not asked
 * about yet.
 */
#include <pthread.h>

#include "pool_books.h"

struct listed {
	struct pool_entry *entry;
	uint32_t serial;
};

struct retain {
	weakref_pool *pool;
	struct listed *list;
	size_t n, kept;
	struct listed asked; /* the one that is asked about */
	long gone;
};

/* ---- the list ---- */

static bool still_idle_locked(const struct listed *listed)
{
	return listed->entry->state == POOL_IDLE && listed->entry->serial == listed->serial;
}

static void list_locked(struct retain *r)
{
	for (struct pool_entry *entry = r->pool->oldest; entry != NULL; entry = entry->newer)
		r->list[r->n++] = (struct listed){entry, entry->serial};
}

/* What is too old goes, and the rest is listed. False: no memory, and then nothing has happened. GC: may collect. */
static bool begin(struct retain *r)
{
	weakref_pool *pool = r->pool;
	struct pool_entry *out = NULL;
	size_t room = 0;

	pool_lock(pool);
	while (pool->idle > room) {
		room = pool->idle;
		pool_unlock(pool);
		r->list = heap_alloc(room * sizeof *r->list);
		if (r->list == NULL)
			return false;
		pool_lock(pool);
	}
	pool_expire_all_locked(pool, &out);
	list_locked(r);
	pool_unlock(pool);
	r->gone = pool_dispose(pool, out);
	return true;
}

/* ---- one after the other ---- */

/* Behind whom the one that was asked about stands; NULL: it is the oldest. */
static struct pool_entry *place_locked(struct retain *r)
{
	while (r->kept > 0 && !still_idle_locked(&r->list[r->kept - 1]))
		r->kept--;
	struct pool_entry *older = r->kept > 0 ? r->list[r->kept - 1].entry : NULL;
	struct pool_entry *newer = older != NULL ? older->newer : r->pool->oldest;
	/* Another retain, or check, had some that are older when ours were listed, and they are back. */
	for (; newer != NULL && newer->since < r->asked.entry->since; newer = newer->newer)
		older = newer;
	return older;
}

/* It was asked about: it stays where it was, unless the pool does not keep it any more, or goes. */
static void settle(struct retain *r, bool stays)
{
	weakref_pool *pool = r->pool;
	struct pool_entry *entry = r->asked.entry, *out = NULL;
	uint64_t now = pool_time(pool);

	pool_lock(pool);
	pool->leased--;
	pool_idle_behind_locked(pool, entry, place_locked(r), entry->since);
	if (!stays || pool->closed || now >= entry->ends || pool_surplus_locked(pool))
		pool_evict_locked(pool, entry, &out);
	else
		r->list[r->kept++] = r->asked;
	pool_trim_locked(pool, now, &out);
	pool_serve_locked(pool);
	pool_unlock(pool);
	r->gone += pool_dispose(pool, out);
}

/* The thread ended in the program's function, which has not said that it goes. */
static void asking_abandoned(void *data)
{
	settle(data, true);
}

/* It is out of reach, and how things stand with it. False: it was leased or went meanwhile. */
static bool take_aside(struct retain *r, const struct listed *listed, weakref_pool_idle *idle)
{
	weakref_pool *pool = r->pool;
	uint64_t now = pool_time(pool);

	pool_lock(pool);
	bool found = still_idle_locked(listed);
	if (found) {
		r->asked = *listed;
		pool_withdraw_locked(pool, listed->entry);
		*idle = (weakref_pool_idle){.leases = listed->serial};
		if (now > listed->entry->since)
			idle->seconds = (double)(now - listed->entry->since) / 1e9;
	}
	pool_unlock(pool);
	return found;
}

/* 0, or the function's error. */
static int ask(struct retain *r, const struct listed *listed, int (*keep)(void *, const weakref_pool_idle *, void *), void *user)
{
	weakref_pool_idle idle;
	int verdict;

	if (!take_aside(r, listed, &idle))
		return 0;
	pthread_cleanup_push(asking_abandoned, r);
	verdict = keep(pool_resource(listed->entry), &idle, user);
	pthread_cleanup_pop(0);
	settle(r, verdict != 0);
	return verdict < 0 ? verdict : 0;
}

long weakref_pool_retain(weakref_pool *pool, int (*keep)(void *resource, const weakref_pool_idle *idle, void *user), void *user)
{
	struct retain r = {.pool = pool};
	int error = pool_check(pool);

	if (error != 0 || keep == NULL)
		return error != 0 ? error : -WEAKREF_EINVAL;
	if (!begin(&r))
		return -WEAKREF_ENOMEM;
	for (size_t i = 0; i < r.n && error == 0; i++)
		error = ask(&r, &r.list[i], keep, user);
	BASE_KEEP(pool);
	return error != 0 ? error : r.gone;
}

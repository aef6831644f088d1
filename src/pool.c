/* SPDX-License-Identifier: MIT */
/*
 * pool: lending resources and taking them back. States, invariants and locks: pool.h.
 *
 * Each operation does its book-keeping under the lock, collects what has to be deallocated in a chain, drops the lock, and
 * deallocates. Where a user function runs, a cleanup handler stands by: a thread that is cancelled there leaves the books as if
 * it had failed.
 *
 * Deliberately not here: a thread that trims, an order among pools, and any use of a resource but passing it on.
 */
#include "pool.h"

#include <math.h>
#include <pthread.h>

#include "pool_books.h"

/* ---- pop ---- */

static void check_abandoned(void *data)
{
	struct pool_entry *entry = data, *out = NULL;

	pool_lock(entry->pool);
	pool_hand_on_locked(entry->pool, entry, &out);
	pool_unlock(entry->pool);
	pool_dispose(entry->pool, out);
}

/* Asks check about a lent entry, and takes the lock again. 1, 0 when it is dead and forgotten, or check's error. */
static int examine(weakref_pool *pool, struct pool_entry *entry)
{
	int alive;

	pool_unlock(pool);
	pthread_cleanup_push(check_abandoned, entry);
	alive = pool->options.check(entry->hold, pool->options.check_user);
	pthread_cleanup_pop(alive < 0);
	pool_lock(pool);
	if (alive != 0)
		return alive < 0 ? alive : 1;
	pool_forget_leased_locked(pool, entry);
	pool->stats.dead++;
	return 0;
}

static int deadline_from(const double *seconds, uint64_t *deadline)
{
	if (seconds != NULL && isnan(*seconds))
		return -WEAKREF_EINVAL;
	*deadline = base_deadline(seconds == NULL ? 0 : *seconds);
	return 0;
}

/* What is too old goes before anything is lent. The lock is held before and after, but not within where something goes: then something was
 * idle, and nobody waits. */
static NOINLINE void expire_locked(weakref_pool *pool)
{
	struct pool_entry *out = NULL;

	pool_expire_locked(pool, base_now(), &out);
	if (out == NULL)
		return;
	pool_unlock(pool);
	pool_dispose(pool, out);
	pool_lock(pool);
}

/* With the lock held, before and after: an entry that may be used, or NULL for the right to make one. */
static int take_locked(weakref_pool *pool, const double *seconds, uint64_t deadline, struct pool_entry **entry)
{
	uint64_t ticket = 0;

	for (;;) {
		int error = pool_take_now_locked(pool, entry);
		if (error == -WEAKREF_ENOENT && seconds != NULL)
			error = pool_come_back_locked(pool, &ticket, deadline, entry);
		if (error != 0 || *entry == NULL)
			return error;
		int alive = pool->options.check != NULL ? examine(pool, *entry) : 1;
		if (alive > 0)
			pool->reuses++;
		if (alive != 0)
			return alive < 0 ? alive : 0;
		/* What stood behind the dead one was not looked at. */
		if (unlikely(pool->aged))
			expire_locked(pool);
	}
}

/* Out of the books, into the caller's hand. The resource is in sight of the collector before the pool lets go of it. */
static void lease_locked(struct pool_entry *entry, bool strong, struct pool_taken *out)
{
	*out = (struct pool_taken){.resource = entry->hold, .entry = entry, .serial = ++entry->serial};
	entry->state = POOL_LEASED;
	if (!strong)
		entry->hold = NULL;
}

int pool_take(weakref_pool *pool, const double *seconds, bool strong, struct pool_taken *out)
{
	struct pool_entry *entry;
	uint64_t deadline;
	int error = deadline_from(seconds, &deadline);

	if (unlikely(error != 0))
		return error;
	pool_lock(pool);
	if (unlikely(pool->aged))
		expire_locked(pool);
	error = take_locked(pool, seconds, deadline, &entry);
	if (error == 0 && unlikely(entry == NULL)) {
		pool_unlock(pool);
		error = pool_alloc(pool, &entry);
		pool_lock(pool);
	}
	if (likely(error == 0))
		lease_locked(entry, strong, out);
	else
		pool_serve_locked(pool);
	pool_unlock(pool);
	BASE_KEEP(pool);
	return error;
}

static inline int pop(weakref_pool *pool, const double *seconds, void **out)
{
	struct pool_taken taken;
	int error = pool_check(pool);

	if (unlikely(out == NULL))
		return error != 0 ? error : -WEAKREF_EINVAL;
	if (likely(error == 0))
		error = pool_take(pool, seconds, false, &taken);
	*out = likely(error == 0) ? taken.resource : NULL;
	return error;
}

int weakref_pool_pop(weakref_pool *pool, void **out)
{
	return pop(pool, NULL, out);
}

int weakref_pool_pop_wait(weakref_pool *pool, double seconds, void **out)
{
	return pop(pool, &seconds, out);
}

/* ---- push ---- */

int pool_put_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now, struct pool_entry **out)
{
	pool->leased--;
	pool_idle_newest_locked(pool, entry, now);
	if (unlikely(pool->closed)) {
		pool_evict_locked(pool, entry, out);
		return 1;
	}
	if (unlikely(now >= entry->ends || pool_surplus_locked(pool)))
		pool_evict_locked(pool, entry, out);
	pool_serve_locked(pool);
	pool_trim_locked(pool, now, out);
	return 0;
}

/* A leased entry goes to be deallocated instead. */
static void scrap_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out)
{
	pool->leased--;
	pool_idle_newest_locked(pool, entry, 0);
	pool_evict_locked(pool, entry, out);
}

static void destroy_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out)
{
	scrap_locked(pool, entry, out);
	pool->stats.invalidated++;
}

/* The thread ended in reset: nobody vouches for the resource. */
static void reset_abandoned(void *data)
{
	struct pool_entry *entry = data, *out = NULL;

	pool_lock(entry->pool);
	scrap_locked(entry->pool, entry, &out);
	pool_unlock(entry->pool);
	pool_dispose(entry->pool, out);
}

/* Asks reset about an entry that comes back; the lock is held before and after, but not within. Whether it is to be kept. */
static NOINLINE bool reset_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t *now)
{
	const weakref_pool_options *options = &pool->options;
	int verdict;

	entry->state = POOL_CHECKING;
	pool_unlock(pool);
	pthread_cleanup_push(reset_abandoned, entry);
	verdict = options->reset(pool_resource(entry), options->reset_user);
	pthread_cleanup_pop(0);
	*now = pool_time(pool);
	pool_lock(pool);
	pool->stats.dead += verdict != 0;
	return verdict == 0;
}

/* A leased entry comes back, if reset keeps it. As pool_put_locked. */
static inline int return_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now, struct pool_entry **out)
{
	if (unlikely(pool->resets && !pool->closed && entry->ends != 0) && !reset_locked(pool, entry, &now)) {
		scrap_locked(pool, entry, out);
		return 1;
	}
	return pool_put_locked(pool, entry, now, out);
}

/* The holder keeps it. A lease of it has had the pool hold it. */
static void detach_locked(weakref_pool *pool, struct pool_entry *entry)
{
	pool_forget_leased_locked(pool, entry);
	entry->hold = NULL;
	pool->stats.detached++;
	pool_serve_locked(pool);
}

bool pool_still_leased(weakref_pool *pool, const struct pool_entry *entry, uint32_t serial)
{
	pool_lock(pool);
	bool leased = entry->state == POOL_LEASED && entry->serial == serial;
	pool_unlock(pool);
	return leased;
}

int pool_give_back(weakref_pool *pool, struct pool_entry *entry, uint32_t serial, enum pool_fate fate)
{
	struct pool_entry *out = NULL;
	uint64_t now = pool_time(pool);
	int result = 0;

	pool_lock(pool);
	if (entry->state != POOL_LEASED || entry->serial != serial)
		result = -WEAKREF_ESTALE;
	else if (fate == POOL_DESTROYED)
		destroy_locked(pool, entry, &out);
	else if (fate == POOL_DETACHED)
		detach_locked(pool, entry);
	else
		result = return_locked(pool, entry, now, &out);
	pool->returns += result >= 0 && fate == POOL_BACK;
	pool_unlock(pool);
	if (result == 0 && fate == POOL_DETACHED)
		pool_entry_unwatch(entry);
	pool_dispose(pool, out);
	return result;
}

/* With lock_pools held: a foreign resource, named in its entry, becomes ours. */
static int adopt_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out)
{
	uint64_t now = pool_time(pool);
	int result = 0;

	if (pool_elsewhere(pool, pool_resource(entry)))
		return -WEAKREF_EEXIST;
	pool_lock(pool);
	if (pool_find_locked(pool, pool_resource(entry)) != NULL)
		result = -WEAKREF_EEXIST;
	else if (!pool_room_locked(pool) && !pool->closed)
		result = -WEAKREF_ENOSPC;
	if (result == 0) {
		pool_insert_locked(pool, entry);
		pool->leased++;
		pool->stats.adopted++;
		result = pool_put_locked(pool, entry, now, out);
	}
	pool_unlock(pool);
	return result;
}

static NOINLINE int adopt(weakref_pool *pool, void *resource)
{
	struct pool_entry *entry = pool_entry_new(pool), *out = NULL;
	int result = entry != NULL ? pool_entry_name(entry, resource) : -WEAKREF_ENOMEM;

	if (result != 0)
		return result;
	lock_take(&lock_pools);
	result = adopt_locked(pool, entry, &out);
	lock_drop(&lock_pools);
	pool_dispose(pool, out);
	pool_grow(pool);
	return result;
}

int weakref_pool_push(weakref_pool *pool, void *resource)
{
	struct pool_entry *out = NULL;
	int result = pool_check(pool);

	if (unlikely(result != 0 || resource == NULL))
		return result != 0 ? result : -WEAKREF_EINVAL;
	uint64_t now = pool_time(pool);
	pool_lock(pool);
	struct pool_entry *entry = pool_find_locked(pool, resource);
	if (unlikely(entry == NULL)) {
		pool_unlock(pool);
		return adopt(pool, resource);
	}
	result = likely(entry->state == POOL_LEASED) ? return_locked(pool, entry, now, &out) : -WEAKREF_EEXIST;
	pool->returns += result >= 0;
	pool_unlock(pool);
	if (unlikely(out != NULL))
		pool_dispose(pool, out);
	BASE_KEEP(resource);
	BASE_KEEP(pool);
	return result;
}

/* The end of what is leased under a resource's name, but for going back. */
static int take_out(weakref_pool *pool, void *resource, enum pool_fate fate)
{
	struct pool_entry *out = NULL;
	int error = pool_check(pool);

	if (error != 0 || resource == NULL)
		return error != 0 ? error : -WEAKREF_EINVAL;
	pool_lock(pool);
	struct pool_entry *entry = pool_find_locked(pool, resource);
	if (entry == NULL || entry->state != POOL_LEASED)
		error = -WEAKREF_ENOENT;
	else if (fate == POOL_DESTROYED)
		destroy_locked(pool, entry, &out);
	else
		detach_locked(pool, entry);
	pool_unlock(pool);
	if (error == 0 && fate == POOL_DETACHED)
		pool_entry_unwatch(entry);
	pool_dispose(pool, out);
	BASE_KEEP(resource);
	return error;
}

int weakref_pool_invalidate(weakref_pool *pool, void *resource)
{
	return take_out(pool, resource, POOL_DESTROYED);
}

int weakref_pool_detach(weakref_pool *pool, void *resource)
{
	return take_out(pool, resource, POOL_DETACHED);
}

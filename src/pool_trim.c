/* SPDX-License-Identifier: MIT */
/*
 * pool_trim: how many resources a pool may have, and which of the idle ones go, because they are too many or too old. Two things
 * age: how long an entry is idle (`since`; looked at from the oldest on, as far as it is too old), and how long the pool has known
 * it (`ends`, in no order; the wheel tells whose time has come). States, invariants and locks: pool.h.
 *
 * Deliberately not here: a thread that trims. What is too old goes at the next pop or push, or at weakref_pool_maintain.
 */
#include "pool_books.h"

void pool_evict_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out)
{
	pool_idle_end_locked(pool, entry);
	pool_drop_locked(pool, entry);
	pool->moving++;
	entry->older = *out;
	*out = entry;
}

static bool older_than(const struct pool_entry *entry, uint64_t now, uint64_t age)
{
	return now > entry->since && now - entry->since > age;
}

/* Whether the oldest of so many is idle for too long. */
static bool too_old(const weakref_pool *pool, size_t idle, const struct pool_entry *oldest, uint64_t now)
{
	size_t soft = pool->softmax > pool->floor_age ? pool->softmax : pool->floor_age;

	return (idle > pool->floor_age && older_than(oldest, now, pool->maxage)) || (idle > soft && older_than(oldest, now, pool->ttl));
}

void pool_expire_locked(weakref_pool *pool, uint64_t now, struct pool_entry **out)
{
	while (pool->idle > 0 && now >= pool_next_locked(pool)->ends)
		pool_evict_locked(pool, pool_next_locked(pool), out);
	while (pool->idle > 0 && too_old(pool, pool->idle, pool->oldest, now))
		pool_evict_locked(pool, pool->oldest, out);
}

static struct pool_entry *waiting_of(struct wheel_node *node)
{
	return (struct pool_entry *)((char *)node - offsetof(struct pool_entry, waiting));
}

/* The clock is looked at under the lock: the wheel's time is never ahead of it. */
void pool_expire_all_locked(weakref_pool *pool, struct pool_entry **out)
{
	uint64_t now = pool_time(pool);
	struct wheel_node *node;

	while (pool->wheel != NULL && (node = wheel_expired(pool->wheel, now)) != NULL) {
		struct pool_entry *entry = waiting_of(node);
		if (entry->state == POOL_IDLE)
			pool_evict_locked(pool, entry, out);
		else
			pool_doom_locked(pool, entry); /* whatever the time is that it comes back with */
	}
	pool_expire_locked(pool, now, out);
}

/* How many idle ones' lifetimes are over. */
static size_t over_locked(const weakref_pool *pool, uint64_t now)
{
	size_t over = 0;

	if (pool->wheel == NULL)
		return 0;
	wheel_advance(pool->wheel, now);
	for (struct wheel_node *node = pool->wheel->due; node != NULL; node = node->next)
		over += waiting_of(node)->state == POOL_IDLE;
	return over;
}

size_t pool_kept_locked(const weakref_pool *pool)
{
	uint64_t now = pool_time(pool);

	if (likely(!pool->aged))
		return pool->idle;
	size_t kept = pool->idle - over_locked(pool, now);
	for (const struct pool_entry *entry = pool->oldest; entry != NULL; entry = entry->newer) {
		if (now >= entry->ends)
			continue;
		if (!too_old(pool, kept, entry, now))
			break;
		kept--;
	}
	return kept;
}

void pool_shrink_locked(weakref_pool *pool, struct pool_entry **out)
{
	while (pool->idle > pool->floor_size)
		pool_evict_locked(pool, pool->oldest, out);
}

/* ---- sizes ---- */

int pool_set_sizes(weakref_pool *pool)
{
	const weakref_pool_options *given = &pool->options;
	size_t minsize = pool_size_or(given->minsize, 0), maxsize = pool_size_or(given->maxsize, SIZE_MAX);
	size_t hardmax = pool_size_or(given->hardmax, SIZE_MAX);

	if (minsize > maxsize || minsize > hardmax)
		return -WEAKREF_EINVAL;
	pool->maxsize = maxsize;
	pool->softmax = pool_size_or(given->softmax, 0);
	pool->hardmax = hardmax;
	pool->floor_size = pool_size_or(given->minsize, maxsize);
	pool->floor_age = minsize;
	return 0;
}

static size_t *size_of_options(weakref_pool_options *options, enum weakref_pool_size which)
{
	switch (which) {
	case WEAKREF_POOL_MINSIZE:
		return &options->minsize;
	case WEAKREF_POOL_MAXSIZE:
		return &options->maxsize;
	case WEAKREF_POOL_SOFTMAX:
		return &options->softmax;
	case WEAKREF_POOL_HARDMAX:
		return &options->hardmax;
	}
	return NULL;
}

/* After the sizes were changed: what is idle goes as far as they say, and who waits may have room now. */
static void fit_locked(weakref_pool *pool, uint64_t now, struct pool_entry **out)
{
	while (pool->idle > 0 && pool->idle + pool->leased > pool->hardmax)
		pool_evict_locked(pool, pool->oldest, out);
	pool_trim_locked(pool, now, out);
	pool->over = pool->idle + pool->leased + pool->moving > pool->hardmax;
	pool_serve_locked(pool);
}

long weakref_pool_set_size(weakref_pool *pool, enum weakref_pool_size which, size_t n)
{
	struct pool_entry *out = NULL;
	int error = pool_check(pool);
	size_t *size = error == 0 ? size_of_options(&pool->options, which) : NULL;

	if (size == NULL)
		return error != 0 ? error : -WEAKREF_EINVAL;
	uint64_t now = pool_time(pool);
	pool_lock(pool);
	size_t before = *size;
	*size = n;
	error = pool_set_sizes(pool);
	if (error == 0)
		fit_locked(pool, now, &out);
	else
		*size = before;
	pool_unlock(pool);
	return error != 0 ? error : pool_dispose(pool, out);
}

/* SPDX-License-Identifier: MIT */
/*
 * pool_life: how pools begin and end. States and invariants of a pool: pool.h.
 *
 *   pool states   made (no signature) ──▶ open, in the list ──▶ closed ──▶ dead, out of the list
 *
 * Invariants
 *  1. What can fail is over when the pool joins the list (pool_list.c): until then nobody sees it, and what alloc made goes
 *     again.
 *  2. The destructor of a pool without signature, which weakref_pool_new gave up, does nothing.
 *
 * Locks: none of its own.
 *
 * Deliberately not here: a run at exit of the pools' own. Each open pool has a finalizer (finalize.h), so that pools and finalizers
 * have one order then; where the pool dies, it closes the pool a moment before the destructor would.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "pool.h"
#include "weakref/object.h"

/* ---- the end ---- */

/* There is nothing left to do at exit, or at the pool's death. */
static void forget_end(weakref_pool *pool)
{
	weakref_finalize_detach(pool->finalizer, NULL, NULL, NULL);
}

long weakref_pool_close(weakref_pool *pool)
{
	int error = pool_check(pool);

	if (error != 0)
		return error;
	long n = pool_empty(pool, true);
	forget_end(pool);
	return n;
}

long weakref_pool_close_wait(weakref_pool *pool, double seconds)
{
	if (isnan(seconds))
		return -WEAKREF_EINVAL;
	uint64_t deadline = base_deadline(seconds);
	long n = weakref_pool_close(pool);
	int error = n >= 0 ? pool_await_end(pool, deadline) : 0;
	BASE_KEEP(pool);
	return error < 0 ? error : n;
}

/* By the exit, in the process that made the pool; or by its death. */
static int end_pool(void *arg)
{
	weakref_pool *pool = pool_of_end(arg);

	if (pool != NULL)
		pool_empty(pool, true);
	BASE_KEEP(pool);
	return 0;
}

static int pool_destroy(void *obj)
{
	weakref_pool *pool = obj;

	if (pool->signature != POOL_SIGNATURE)
		return 0;
	pool_leave(pool);
	pool_empty(pool, true);
	return 0;
}

/* ---- the beginning ---- */

static int pool_repr(void *obj, char *buf, size_t size)
{
	weakref_pool_stats stats;

	if (weakref_pool_get_stats(obj, &stats) != 0)
		return snprintf(buf, size, "<pool at %p>", obj);
	return snprintf(buf, size, "<pool at %p; %zu idle, %zu leased>", obj, stats.idle, stats.leased);
}

static int pool_len(void *obj, size_t *out)
{
	*out = weakref_pool_len(obj);
	return 0;
}

static const gc_type pool_type = {
	.name = "pool",
	.size = sizeof(struct weakref_pool),
	.destroy = pool_destroy,
	.repr = pool_repr,
	.len = pool_len,
};

/* Seconds to nanoseconds; more than 30 years, like 0, is never. */
static int age(double seconds, uint64_t *ns)
{
	if (isnan(seconds) || seconds < 0)
		return -WEAKREF_EINVAL;
	*ns = seconds > 0 && seconds < 1e9 ? (uint64_t)(seconds * 1e9) : UINT64_MAX;
	return 0;
}

static int configure(weakref_pool *pool, const weakref_pool_options *options)
{
	weakref_pool_options *o = &pool->options;

	if (options != NULL)
		*o = *options;
	o->init = NULL; /* the caller's */
	pool->fifo = o->fifo;
	pool->resets = o->reset != NULL;
	if (options != NULL && o->ninit > 0 && options->init == NULL)
		return -WEAKREF_EINVAL;
	if (pool_set_sizes(pool) != 0 || o->ninit > pool->hardmax)
		return -WEAKREF_EINVAL;
	if (age(o->maxage, &pool->maxage) != 0 || age(o->ttl, &pool->ttl) != 0 || age(o->lifetime, &pool->lifetime) != 0)
		return -WEAKREF_EINVAL;
	if (isnan(o->spread) || o->spread < 0 || o->spread > o->lifetime)
		return -WEAKREF_EINVAL;
	pool->spread = pool->lifetime != UINT64_MAX ? (uint64_t)(o->spread * 1e9) : 0;
	pool->aged = pool->maxage != UINT64_MAX || pool->ttl != UINT64_MAX || pool->lifetime != UINT64_MAX;
	pool->forks = lock_forks;
	pool->lock = lock_word(base_mix((uintptr_t)pool));
	return 0;
}

/* False: no memory. */
static bool make_wheel(weakref_pool *pool)
{
	if (pool->lifetime == UINT64_MAX)
		return true;
	pool->wheel = heap_alloc_leaf(sizeof *pool->wheel);
	if (pool->wheel != NULL)
		wheel_init(pool->wheel, base_now());
	return pool->wheel != NULL;
}

/* The finalizer is made before the pool can be seen, and does nothing until then. */
static int publish(weakref_pool *pool)
{
	pool->end = heap_alloc(sizeof *pool->end);
	pool->finalizer = pool->end != NULL ? weakref_finalize_new(pool, end_pool, pool->end) : NULL;
	if (pool->finalizer == NULL)
		return -errno;
	int error = pool_join(pool);
	if (error != 0)
		forget_end(pool);
	return error;
}

static int fill_and_publish(weakref_pool *pool)
{
	int error;

	pthread_cleanup_push(pool_stock_abandoned, pool);
	error = pool_stock_alloc(pool);
	if (error == 0)
		error = publish(pool);
	pthread_cleanup_pop(error < 0);
	return error;
}

weakref_pool *weakref_pool_new(const weakref_pool_options *options)
{
	weakref_pool *pool = gc_new(&pool_type);

	if (pool == NULL)
		return NULL;
	int error = configure(pool, options);
	if (error == 0 && (!pool_begin(pool) || !make_wheel(pool)))
		error = -WEAKREF_ENOMEM;
	if (error == 0 && options != NULL)
		error = pool_stock_init(pool, options->init, options->ninit);
	if (error == 0)
		error = fill_and_publish(pool);
	return error == 0 ? pool : base_null((enum weakref_error) - error);
}

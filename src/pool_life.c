/* SPDX-License-Identifier: MIT */
/*
 * pool_life: how pools begin and end, and which there are. States and invariants of a pool: pool.h.
 *
 *   pool states   made (no signature) ──▶ open, in the list ──▶ closed ──▶ dead, out of the list
 *
 * Invariants
 *  1. A pool is in the list from its last step in weakref_pool_new until its destructor runs. The memory of what has a
 *     destructor stays until then, so whatever the list names, though hidden, is there. The same holds for what its finalizer names.
 *  2. A closed pool has no idle resource, ever.
 *  3. The destructor of a pool without signature, which weakref_pool_new gave up, does nothing.
 *
 * Locks: lock_pools for the list and for what finalizers name; a pool's own is taken within it.
 *
 * Deliberately not here: a run at exit of the pools' own. Each open pool has a finalizer (finalize.h), so that pools and finalizers
 * have one order then; where the pool dies, it closes the pool a moment before the destructor would.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "checks.h"
#include "heap.h"
#include "pool.h"
#include "weakref/object.h"

#define BUCKETS_BITS 4
#define BUCKETS_FIRST (1 << BUCKETS_BITS)
#define SIZE_NONE ((size_t)-1)

static uintptr_t pools; /* the newest, hidden; 0 for none */

/* What a pool's finalizer is told: the pool, hidden, while it is in the list; 0 before and after. */
struct pool_end {
	uintptr_t pool;
};

/* ---- the list ---- */

static uintptr_t hide(const weakref_pool *pool)
{
	return pool == NULL ? 0 : ~(uintptr_t)pool;
}

static weakref_pool *unhide(uintptr_t hidden)
{
	return hidden == 0 ? NULL : (weakref_pool *)~hidden;
}

static void link_pools_locked(weakref_pool *pool)
{
	weakref_pool *next = unhide(pools);

	pool->next_pool = pools;
	pool->prev_pool = 0;
	if (next != NULL)
		next->prev_pool = hide(pool);
	pools = hide(pool);
}

static void unlink_pools_locked(weakref_pool *pool)
{
	weakref_pool *next = unhide(pool->next_pool), *prev = unhide(pool->prev_pool);

	if (next != NULL)
		next->prev_pool = pool->prev_pool;
	*(prev != NULL ? &prev->next_pool : &pools) = pool->next_pool;
}

bool pool_elsewhere(const weakref_pool *pool, const void *resource)
{
	bool found = false;

	for (weakref_pool *other = unhide(pools); other != NULL && !found; other = unhide(other->next_pool)) {
		if (other == pool)
			continue;
		pool_lock(other);
		found = pool_find_locked(other, resource) != NULL;
		pool_unlock(other);
	}
	return found;
}

static size_t validate_pools(void)
{
	size_t n = 0;

	lock_take(&lock_pools);
	for (weakref_pool *pool = unhide(pools); pool != NULL; pool = unhide(pool->next_pool), n++) {
		pool_lock(pool);
		pool_validate_locked(pool);
		pool_unlock(pool);
	}
	lock_drop(&lock_pools);
	return n;
}

static void validate_from_now_on(void)
{
	static struct checks_validator validator = {.validate = validate_pools};
	static _Atomic bool added;

	if (CHECKS && !atomic_exchange(&added, true))
		checks_add_validator(&validator);
}

/* ---- the end ---- */

/* Deallocates what is idle, and closes the pool or not. How many. */
static long empty(weakref_pool *pool, bool closes)
{
	struct pool_entry *out = NULL;

	pool_lock(pool);
	pool->closed = pool->closed || closes;
	while (pool->oldest != NULL)
		pool_evict_locked(pool, pool->oldest, &out);
	pool_serve_locked(pool);
	pool_unlock(pool);
	return pool_dispose(pool, out);
}

long weakref_pool_clear(weakref_pool *pool)
{
	int error = pool_check(pool);

	return error != 0 ? error : empty(pool, false);
}

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
	long n = empty(pool, true);
	forget_end(pool);
	return n;
}

/* By the exit, in the process that made the pool; or by its death. */
static int end_pool(void *arg)
{
	const struct pool_end *end = arg;

	lock_take(&lock_pools);
	weakref_pool *pool = unhide(end->pool);
	lock_drop(&lock_pools);
	if (pool != NULL)
		empty(pool, true);
	BASE_KEEP(pool);
	return 0;
}

static int pool_destroy(void *obj)
{
	weakref_pool *pool = obj;

	if (pool->signature != POOL_SIGNATURE)
		return 0;
	lock_take(&lock_pools);
	unlink_pools_locked(pool);
	pool->end->pool = 0;
	lock_drop(&lock_pools);
	empty(pool, true);
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

/* A size as it was given: `none` for 0, 0 for WEAKREF_POOL_ZERO. */
static size_t size_or(size_t given, size_t none)
{
	return given == 0 ? none : given == WEAKREF_POOL_ZERO ? 0 : given;
}

static int configure(weakref_pool *pool, const weakref_pool_options *options)
{
	weakref_pool_options *o = &pool->options;

	if (options != NULL)
		*o = *options;
	o->init = NULL; /* the caller's */
	pool->fifo = o->fifo;
	pool->resets = o->reset != NULL;
	o->maxsize = size_or(o->maxsize, SIZE_NONE);
	pool->floor_size = size_or(o->minsize, o->maxsize);
	o->minsize = pool->floor_age = size_or(o->minsize, 0);
	o->softmax = size_or(o->softmax, 0);
	o->hardmax = size_or(o->hardmax, 0);
	size_t max = o->hardmax != 0 ? o->hardmax : SIZE_NONE;
	if (options != NULL && o->ninit > 0 && options->init == NULL)
		return -WEAKREF_EINVAL;
	if (o->minsize > o->maxsize || o->minsize > max || o->ninit > max)
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
		(pool->fifo ? pool_idle_newest_locked : pool_idle_oldest_locked)(pool, entry, now);
	}
	pool_unlock(pool);
	pool_grow(pool);
	return error;
}

static int stock_init(weakref_pool *pool, void *const *init, size_t n)
{
	int error = 0;

	for (size_t i = 0; i < n && error == 0; i++)
		error = init[i] != NULL ? stock(pool, init[i]) : -WEAKREF_EINVAL;
	pool->stats.adopted = n;
	return error == -WEAKREF_EEXIST ? -WEAKREF_EINVAL : error;
}

/* ---- prefilling ---- */

struct filling {
	weakref_pool *pool;
	void *resource; /* what alloc made, not in the pool yet */
};

/* What alloc made goes; what init gave stays the caller's. */
static void filling_abandoned(void *data)
{
	struct filling *f = data;
	struct pool_entry *out = NULL;
	weakref_pool *pool = f->pool;

	pool_lock(pool);
	while (pool->idle > pool->options.ninit)
		pool_evict_locked(pool, pool->fifo ? pool_newest_locked(pool) : pool->oldest, &out);
	pool_unlock(pool);
	if (f->resource != NULL && pool->options.dealloc != NULL)
		pool->options.dealloc(f->resource, pool->options.dealloc_user);
	pool_dispose(pool, out);
}

static int fill_one(struct filling *f)
{
	weakref_pool *pool = f->pool;
	int error = pool->options.alloc(&f->resource, pool->options.alloc_user);

	if (error < 0) {
		f->resource = NULL;
		return error;
	}
	if (f->resource == NULL)
		return -WEAKREF_ENOMEM;
	error = stock(pool, f->resource);
	if (error == 0 || error == -WEAKREF_EEXIST)
		f->resource = NULL;
	pool->stats.allocs += error == 0;
	return error;
}

/* With lock_pools held: the pool becomes one of them, if what init gave is in no other. */
static int publish_locked(weakref_pool *pool)
{
	struct pool_entry *entry = pool_next_locked(pool);

	for (size_t i = 0; i < pool->options.ninit; i++, entry = pool->fifo ? entry->newer : entry->older)
		if (pool_elsewhere(pool, pool_resource(entry)))
			return -WEAKREF_EEXIST;
	pool->signature = POOL_SIGNATURE;
	pool->end->pool = hide(pool);
	link_pools_locked(pool);
	return 0;
}

/* The finalizer is made before the pool can be seen, and does nothing until then. */
static int publish(weakref_pool *pool)
{
	pool->end = heap_alloc(sizeof *pool->end);
	pool->finalizer = pool->end != NULL ? weakref_finalize_new(pool, end_pool, pool->end) : NULL;
	if (pool->finalizer == NULL)
		return -errno;
	validate_from_now_on();
	lock_take(&lock_pools);
	int error = publish_locked(pool);
	lock_drop(&lock_pools);
	if (error != 0)
		forget_end(pool);
	return error;
}

static int fill_and_publish(weakref_pool *pool)
{
	struct filling f = {.pool = pool};
	int error = 0;

	pthread_cleanup_push(filling_abandoned, &f);
	while (error == 0 && pool->options.alloc != NULL && pool->idle < pool->options.minsize)
		error = fill_one(&f);
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
	pool->nbuckets = BUCKETS_FIRST;
	pool->shift = 64 - BUCKETS_BITS;
	pool->buckets = error == 0 ? heap_alloc(BUCKETS_FIRST * sizeof *pool->buckets) : NULL;
	if (error == 0 && pool->buckets == NULL)
		error = -WEAKREF_ENOMEM;
	if (error == 0 && options != NULL)
		error = stock_init(pool, options->init, options->ninit);
	if (error == 0)
		error = fill_and_publish(pool);
	return error == 0 ? pool : base_null((enum weakref_error) - error);
}

/* ---- the rest of the interface ---- */

size_t weakref_pool_len(weakref_pool *pool)
{
	if (!pool_is(pool))
		return 0;
	uint64_t now = pool_time(pool);
	pool_lock(pool);
	size_t n = pool_kept_locked(pool, now);
	pool_unlock(pool);
	return n;
}

long weakref_pool_maintain(weakref_pool *pool)
{
	struct pool_entry *out = NULL;
	int error = pool_check(pool);

	if (error != 0)
		return error;
	uint64_t now = pool_time(pool);
	pool_lock(pool);
	pool_expire_all_locked(pool, now, &out);
	pool_unlock(pool);
	return pool_dispose(pool, out);
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

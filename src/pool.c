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

#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "deliver.h"
#include "heap.h"

/* ---- small things ---- */

int pool_check(const weakref_pool *pool)
{
	int error = heap_thread_check();

	if (unlikely(error < 0))
		return error;
	return likely(pool_is(pool)) ? 0 : -WEAKREF_EINVAL;
}

NOINLINE void pool_after_fork_locked(weakref_pool *pool)
{
	pool->forks = lock_forks;
	pool->first = pool->last = NULL;
	pool->waiting = pool->moving = 0;
}

/* A thread that forks within a user function finds `moving` reset. */
void pool_moved_locked(weakref_pool *pool)
{
	pool->moving -= pool->moving > 0;
}

bool pool_room_locked(const weakref_pool *pool)
{
	size_t max = pool->options.hardmax;

	return max == 0 || pool->idle + pool->leased + pool->moving < max;
}

void pool_check_locked(const weakref_pool *pool)
{
	const struct pool_entry *newest = pool_newest_locked(pool);

	ASSERT((pool->idle == 0) == (newest == NULL) && (newest == NULL) == (pool->oldest == NULL));
	ASSERT(newest == NULL || (newest->newer == NULL && newest->hold == pool_resource(newest)));
	ASSERT(pool->options.hardmax == 0 || pool->idle + pool->leased + pool->moving <= pool->options.hardmax);
	ASSERT((pool->waiting == 0) == (pool->first == NULL));
	ASSERT(pool->first == NULL || (pool->idle == 0 && !pool->closed && (pool->options.alloc == NULL || !pool_room_locked(pool))));
	ASSERT(!pool->closed || pool->idle == 0);
}

/* The whole of it: what is idle is in the list, in order and in the hash, and the hash has no more and no less than is counted. */
void pool_validate_locked(const weakref_pool *pool)
{
	size_t idle = 0, known = 0, waiting = 0;
	const struct pool_entry *newer = NULL;

	for (const struct pool_entry *entry = pool_newest_locked(pool); entry != NULL; newer = entry, entry = entry->older, idle++)
		ASSERT(entry->state == POOL_IDLE && entry->newer == newer && entry->hold == pool_resource(entry) && idle < pool->idle);
	ASSERT(idle == pool->idle && pool->oldest == newer);
	for (size_t i = 0; i < pool->nbuckets; i++)
		for (const struct pool_entry *entry = pool->buckets[i]; entry != NULL; entry = entry->chain, known++)
			ASSERT(entry->pool == pool && entry->state != POOL_GONE && entry->state != POOL_FRESH);
	ASSERT(known == pool->idle + pool->leased);
	for (const struct pool_waiter *w = pool->first; w != NULL; w = w->next, waiting++)
		ASSERT(w->next == NULL || w->ticket < w->next->ticket);
	ASSERT(waiting == pool->waiting);
	pool_check_locked(pool);
}

/* ---- the hash ---- */

static struct pool_entry **bucket_locked(const weakref_pool *pool, uintptr_t hidden)
{
	return &pool->buckets[hidden * UINT64_C(0x9e3779b97f4a7c15) >> pool->shift];
}

void pool_insert_locked(weakref_pool *pool, struct pool_entry *entry)
{
	struct pool_entry **bucket = bucket_locked(pool, entry->hidden);

	entry->chain = *bucket;
	*bucket = entry;
}

static void unhash_locked(weakref_pool *pool, struct pool_entry *entry)
{
	struct pool_entry **at = bucket_locked(pool, entry->hidden);

	while (*at != entry)
		at = &(*at)->chain;
	*at = entry->chain;
	entry->chain = NULL;
	entry->state = POOL_GONE;
}

/* A leased entry whose resource the pool has not got back leaves it. */
static void forget_leased_locked(weakref_pool *pool, struct pool_entry *entry)
{
	unhash_locked(pool, entry);
	pool->leased--;
}

static void lose_locked(weakref_pool *pool, struct pool_entry *entry)
{
	forget_leased_locked(pool, entry);
	pool->stats.lost++;
	pool_serve_locked(pool);
}

static bool stale_locked(const struct pool_entry *entry)
{
	return entry->watch != NULL && entry->state == POOL_LEASED && entry->hold == NULL && weakref_ref_get(entry->watch) == NULL;
}

struct pool_entry *pool_find_locked(weakref_pool *pool, const void *resource)
{
	uintptr_t hidden = ~(uintptr_t)resource;
	struct pool_entry *entry = *bucket_locked(pool, hidden);

	while (entry != NULL && entry->hidden != hidden)
		entry = entry->chain;
	if (unlikely(entry != NULL && stale_locked(entry))) {
		lose_locked(pool, entry);
		return NULL;
	}
	return entry;
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
				pool_insert_locked(pool, entry);
			}
	}
	pool_unlock(pool);
}

/* ---- entries ---- */

/* When a resource's lifetime is over that begins now; each has a spread of its own. */
static uint64_t end_of_life(const weakref_pool *pool, const struct pool_entry *entry)
{
	if (pool->lifetime == UINT64_MAX)
		return UINT64_MAX;
	uint64_t now = base_now(), dice = base_mix(now ^ (uintptr_t)entry);
	return now + pool->lifetime - (pool->spread != 0 ? dice % pool->spread : 0);
}

struct pool_entry *pool_entry_new(weakref_pool *pool)
{
	struct pool_entry *entry = heap_alloc(sizeof *entry);

	if (entry != NULL) {
		entry->pool = pool;
		entry->ends = end_of_life(pool, entry);
	}
	return entry;
}

/* A plainly leased block died. */
static int watch_fired(weakref_ref *ref, void *data)
{
	struct pool_entry *entry = data;

	(void)ref;
	pool_lock(entry->pool);
	if (entry->state == POOL_LEASED && entry->hold == NULL)
		lose_locked(entry->pool, entry);
	pool_unlock(entry->pool);
	return 0;
}

int pool_entry_name(struct pool_entry *entry, void *resource)
{
	entry->hidden = ~(uintptr_t)resource;
	entry->hold = resource;
	if (heap_base(resource) == NULL)
		return 0;
	entry->watch = weakref_ref_new(resource, watch_fired, entry);
	return entry->watch != NULL ? 0 : -errno;
}

/* ---- the idle ones ---- */

static void newest_set_locked(weakref_pool *pool, struct pool_entry *entry)
{
	atomic_store_explicit(&pool->newest, entry, memory_order_relaxed);
}

static void idle_begin_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now)
{
	entry->state = POOL_IDLE;
	entry->hold = pool_resource(entry);
	entry->since = now;
	pool->idle++;
}

void pool_idle_newest_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now)
{
	struct pool_entry *older = pool_newest_locked(pool);

	idle_begin_locked(pool, entry, now);
	entry->newer = NULL;
	entry->older = older;
	*(older != NULL ? &older->newer : &pool->oldest) = entry;
	newest_set_locked(pool, entry);
}

void pool_idle_oldest_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now)
{
	struct pool_entry *newer = pool->oldest;

	idle_begin_locked(pool, entry, now);
	entry->older = NULL;
	entry->newer = newer;
	pool->oldest = entry;
	if (newer != NULL)
		newer->older = entry;
	else
		newest_set_locked(pool, entry);
}

static void idle_remove_locked(weakref_pool *pool, struct pool_entry *entry)
{
	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		newest_set_locked(pool, entry->older);
	*(entry->older != NULL ? &entry->older->newer : &pool->oldest) = entry->newer;
	entry->newer = entry->older = NULL;
	pool->idle--;
}

/* The next goes to somebody; it stays held until pool_take knows for whom. */
struct pool_entry *pool_lend_locked(weakref_pool *pool)
{
	struct pool_entry *entry = pool_next_locked(pool);

	idle_remove_locked(pool, entry);
	entry->state = POOL_CHECKING;
	entry->serial++;
	pool->leased++;
	return entry;
}

void pool_evict_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out)
{
	idle_remove_locked(pool, entry);
	unhash_locked(pool, entry);
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
	size_t soft = pool->options.softmax > pool->floor_age ? pool->options.softmax : pool->floor_age;

	return (idle > pool->floor_age && older_than(oldest, now, pool->maxage)) || (idle > soft && older_than(oldest, now, pool->ttl));
}

void pool_expire_locked(weakref_pool *pool, uint64_t now, struct pool_entry **out)
{
	if (likely(!pool->aged))
		return;
	while (pool->idle > 0 && now >= pool_next_locked(pool)->ends)
		pool_evict_locked(pool, pool_next_locked(pool), out);
	while (pool->idle > 0 && too_old(pool, pool->idle, pool->oldest, now))
		pool_evict_locked(pool, pool->oldest, out);
}

size_t pool_kept_locked(const weakref_pool *pool, uint64_t now)
{
	const struct pool_entry *entry;
	size_t kept = pool->idle;

	if (likely(!pool->aged))
		return kept;
	for (entry = pool->lifetime != UINT64_MAX ? pool->oldest : NULL; entry != NULL; entry = entry->newer)
		kept -= now >= entry->ends;
	for (entry = pool->oldest; entry != NULL; entry = entry->newer) {
		if (now >= entry->ends)
			continue;
		if (!too_old(pool, kept, entry, now))
			break;
		kept--;
	}
	return kept;
}

void pool_expire_all_locked(weakref_pool *pool, uint64_t now, struct pool_entry **out)
{
	struct pool_entry *newer;

	for (struct pool_entry *entry = pool->lifetime != UINT64_MAX ? pool->oldest : NULL; entry != NULL; entry = newer) {
		newer = entry->newer;
		if (now >= entry->ends)
			pool_evict_locked(pool, entry, out);
	}
	pool_expire_locked(pool, now, out);
}

/* After a push: maxsize, then ages. */
static void trim_locked(weakref_pool *pool, uint64_t now, struct pool_entry **out)
{
	if (unlikely(pool->idle > pool->options.maxsize))
		while (pool->idle > pool->floor_size)
			pool_evict_locked(pool, pool->oldest, out);
	pool_expire_locked(pool, now, out);
}

/* ---- deallocation ---- */

struct disposal {
	weakref_pool *pool;
	struct pool_entry *next;
	long done;
};

static void disposed(struct disposal *d)
{
	pool_lock(d->pool);
	pool_moved_locked(d->pool);
	d->pool->stats.deallocs++;
	pool_serve_locked(d->pool);
	pool_unlock(d->pool);
	d->done++;
}

/* The next one is off the chain before dealloc sees it: whatever happens there, it is not seen twice. */
static void dispose_all(struct disposal *d)
{
	const weakref_pool_options *options = &d->pool->options;

	while (d->next != NULL) {
		struct pool_entry *entry = d->next;
		d->next = entry->older;
		entry->older = NULL;
		int result = options->dealloc != NULL ? options->dealloc(entry->hold, options->dealloc_user) : 0;
		if (result < 0)
			deliver_failed(result, "dealloc of a pool", d->pool);
		disposed(d);
	}
}

/* The thread was cancelled in dealloc: the rest is deallocated all the same. */
static void disposal_abandoned(void *data)
{
	struct disposal *d = data;

	disposed(d);
	pool_dispose(d->pool, d->next);
}

/* What was taken out first is deallocated first. */
static struct pool_entry *reversed(struct pool_entry *chain)
{
	struct pool_entry *head = NULL;

	while (chain != NULL) {
		struct pool_entry *next = chain->older;
		chain->older = head;
		head = chain;
		chain = next;
	}
	return head;
}

long pool_dispose(weakref_pool *pool, struct pool_entry *chain)
{
	struct disposal d = {.pool = pool, .next = reversed(chain)};

	if (likely(chain == NULL))
		return 0;
	pthread_cleanup_push(disposal_abandoned, &d);
	dispose_all(&d);
	pthread_cleanup_pop(0);
	return d.done;
}

/* ---- pop ---- */

/* What somebody was given who cannot use it goes to the next, or back where it was. */
void pool_hand_on_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out)
{
	pool->leased--;
	(pool->fifo ? pool_idle_oldest_locked : pool_idle_newest_locked)(pool, entry, entry->since);
	if (pool->closed)
		pool_evict_locked(pool, entry, out);
	pool_serve_locked(pool);
}

/* What can be had at once: an entry, or NULL for the right to make one. */
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

struct making {
	weakref_pool *pool;
	struct pool_entry *entry;
	void *resource; /* what alloc made, as long as it is in nobody's hand */
};

/* Nobody will get what alloc was to make, or made. */
static void making_abandoned(void *data)
{
	struct making *m = data;
	const weakref_pool_options *options = &m->pool->options;
	int result = m->resource != NULL && options->dealloc != NULL ? options->dealloc(m->resource, options->dealloc_user) : 0;

	if (result < 0)
		deliver_failed(result, "dealloc of a pool", m->pool);
	pool_lock(m->pool);
	pool_moved_locked(m->pool);
	m->pool->stats.alloc_errors++;
	pool_serve_locked(m->pool);
	pool_unlock(m->pool);
}

/* The new resource, named in its entry, enters the pool as leased, unless the pool was closed or has it. */
static int enter(weakref_pool *pool, struct pool_entry *entry)
{
	int error = 0;

	pool_lock(pool);
	if (pool_find_locked(pool, pool_resource(entry)) != NULL)
		error = -WEAKREF_EEXIST;
	else if (pool->closed)
		error = -WEAKREF_ECANCELED;
	if (error == 0) {
		pool_insert_locked(pool, entry);
		entry->state = POOL_CHECKING;
		entry->serial++;
		pool_moved_locked(pool);
		pool->leased++;
		pool->stats.allocs++;
	}
	pool_unlock(pool);
	return error;
}

/* Calls alloc, which may return with nothing in its hands. */
static int call_alloc(struct making *m)
{
	int error = m->pool->options.alloc(&m->resource, m->pool->options.alloc_user);

	if (error < 0)
		m->resource = NULL;
	else if (m->resource == NULL)
		error = -WEAKREF_ENOMEM;
	return error < 0 ? error : 0;
}

/* Makes a resource, in a slot that is ours. All that may fail or be cancelled is over when the resource is in the pool. */
static int make(weakref_pool *pool, struct pool_entry **out)
{
	struct making m = {.pool = pool};
	int error = -WEAKREF_ENOMEM;

	pthread_cleanup_push(making_abandoned, &m);
	pool_grow(pool);
	m.entry = pool_entry_new(pool);
	if (m.entry != NULL)
		error = call_alloc(&m);
	if (error == 0)
		error = pool_entry_name(m.entry, m.resource);
	if (error == 0)
		error = enter(pool, m.entry);
	if (error == -WEAKREF_EEXIST)
		m.resource = NULL; /* it is in a hand */
	pthread_cleanup_pop(error < 0);
	*out = m.entry;
	return error;
}

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
	forget_leased_locked(pool, entry);
	pool->stats.dead++;
	return 0;
}

static int deadline_from(const double *seconds, uint64_t *deadline)
{
	*deadline = POOL_FOREVER;
	if (seconds == NULL)
		return 0;
	if (isnan(*seconds))
		return -WEAKREF_EINVAL;
	if (*seconds > 0 && *seconds < 1e9)
		*deadline = base_now() + (uint64_t)(*seconds * 1e9);
	return 0;
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
	}
}

/* Takes the lock; what is too old goes before anything is lent. */
static NOINLINE void lock_and_expire(weakref_pool *pool)
{
	struct pool_entry *out = NULL;
	uint64_t now = base_now();

	pool_lock(pool);
	pool_expire_locked(pool, now, &out);
	if (out == NULL)
		return;
	pool_unlock(pool);
	pool_dispose(pool, out);
	pool_lock(pool);
}

/* Out of the books, into the caller's hand. The resource is in sight of the collector before the pool lets go of it. */
static void lease_locked(struct pool_entry *entry, bool strong, struct pool_taken *out)
{
	*out = (struct pool_taken){.resource = entry->hold, .entry = entry, .serial = entry->serial};
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
	if (unlikely(pool->aged))
		lock_and_expire(pool);
	else
		pool_lock(pool);
	error = take_locked(pool, seconds, deadline, &entry);
	if (error == 0 && unlikely(entry == NULL)) {
		pool_unlock(pool);
		error = make(pool, &entry);
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

/* A leased entry comes back. 1 when it is to be deallocated because the pool is closed. */
static int put_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now, struct pool_entry **out)
{
	pool->leased--;
	pool_idle_newest_locked(pool, entry, now);
	if (unlikely(pool->closed)) {
		pool_evict_locked(pool, entry, out);
		return 1;
	}
	if (unlikely(now >= entry->ends))
		pool_evict_locked(pool, entry, out);
	pool_serve_locked(pool);
	trim_locked(pool, now, out);
	return 0;
}

/* Makes one more for the idle ones, where there are fewer than n. 1, 0 where that is not so, or a negative error. */
static int fill_one(weakref_pool *pool, size_t n)
{
	struct pool_entry *entry, *out = NULL;

	pool_lock(pool);
	int error = pool->closed ? -WEAKREF_ECANCELED : 0;
	bool wanted = error == 0 && pool->idle < n && pool_room_locked(pool);
	pool->moving += wanted;
	pool_unlock(pool);
	if (!wanted)
		return error;
	error = make(pool, &entry);
	if (error < 0)
		return error;
	uint64_t now = pool_time(pool);
	pool_lock(pool);
	put_locked(pool, entry, now, &out);
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
	if (n == 0)
		n = pool->options.minsize;
	/* More would be trimmed as soon as they are there. */
	if (n > pool->options.maxsize)
		n = pool->options.maxsize;
	do {
		result = fill_one(pool, n);
		made += result > 0;
	} while (result > 0 && (size_t)made < n);
	return result < 0 ? result : made;
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

/* A leased entry comes back, if reset keeps it. As put_locked. */
static inline int return_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now, struct pool_entry **out)
{
	if (unlikely(pool->resets && !pool->closed) && !reset_locked(pool, entry, &now)) {
		scrap_locked(pool, entry, out);
		return 1;
	}
	return put_locked(pool, entry, now, out);
}

/* The holder keeps it. A lease of it has had the pool hold it. */
static void detach_locked(weakref_pool *pool, struct pool_entry *entry)
{
	forget_leased_locked(pool, entry);
	entry->hold = NULL;
	pool->stats.detached++;
	pool_serve_locked(pool);
}

/* After that, without the lock: nothing of the pool's stays with the resource. */
static void unwatch(struct pool_entry *entry)
{
	if (entry->watch != NULL)
		weakref_ref_clear(entry->watch);
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
		unwatch(entry);
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
		result = put_locked(pool, entry, now, out);
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
		unwatch(entry);
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

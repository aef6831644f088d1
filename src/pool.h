/* SPDX-License-Identifier: MIT */
/*
 * pool: resource pools, as their files see them. Each calls those above it alone.
 *
 *   pool_owners.c     which pools know a resource
 *   pool_books.[ch]   what a pool knows, what of it is idle and in which order, how many there are; most of it in line
 *   pool_trim.c       which of the idle ones are too many or too old
 *   pool_queue.c      who waits, and what they are given
 *   pool_entry.c      a resource becomes known, is found, is lost
 *   pool_list.c       which pools there are
 *   pool_alloc.c      alloc and dealloc
 *   pool_wait.c       what a pop does that finds nothing
 *   pool.c            pop and push: lending resources and taking them back
 *   pool_lease.c      scoped use
 *   pool_stock.c      what a pool has idle: to begin with, beforehand, until it is trimmed or cleared; figures
 *   pool_retain.c     which of the idle ones the program keeps
 *   pool_life.c       making, closing and ending pools
 *
 * Each resource that a pool knows has an entry, which is in the pool's hash of resources for as long as the pool knows it.
 *
 *   entry states   FRESH ──▶ IDLE ──pop──▶ CHECKING ──▶ LEASED ──push──▶ (CHECKING ──▶) IDLE
 *                    └────── LEASED            │           └─ invalidated, detached, lost ──▶ GONE
 *                                              └─ dead ──▶ GONE        IDLE ── trimmed, closed ──▶ GONE
 *
 * Invariants, whenever the pool's lock is free
 *  1. `idle` and `leased` are the numbers of entries in the hash that are IDLE, and CHECKING or LEASED. `moving` counts resources
 *     that are with alloc or dealloc. The three together do not exceed the hard maximum, unless it was lowered (`over`): then
 *     nothing is made or adopted, and what comes back goes, until they do not any more. A closed pool deallocates what anybody
 *     pushes, however many there are.
 *  2. While somebody waits, no resource is idle, and none could be made: whoever brings either about hands it to the first waiter.
 *  3. `hold` of an idle entry is its resource: the collector sees it. A leased one is kept alive by its holder alone, unless it
 *     was leased by a lease: then the pool has to have it when the lease dies.
 *  4. An entry is GONE once and for all; `serial` tells one lease of an entry from the next.
 *  5. A resource is in the hash of one pool only, but for those that alloc took from another pool.
 *  6. Where there is a wheel, all entries in the hash are in it, but those whose `ends` is 0. An entry whose lifetime was found over while it
 *     was leased is such a one, and what was leased or made while all were invalidated. They go when they come back, so no idle one is
 *     among them.
 *
 * Locks: one of the pools' stripes for everything in a pool; lock_pools for the list of pools, and while a foreign resource is
 * adopted; lock_owners for which pools know a resource. alloc, dealloc, check, reset, recovered and what retain asks run without. Waiters sleep on
 * semaphores of their own, which stand on their stacks: one that has gone to sleep stays there until the post that follows its answer,
 * or until it has taken its sleep back.
 */
#ifndef POOL_H
#define POOL_H

#include <semaphore.h>

#include "base.h"
#include "heap.h"
#include "lock.h"
#include "weakref/finalize.h"
#include "weakref/pool.h"
#include "weakref/ref.h"
#include "wheel.h"

#define POOL_SIGNATURE UINT64_C(0x6c6f6f702d736572) /* "res-pool" */

enum pool_state { POOL_FRESH, POOL_IDLE, POOL_CHECKING, POOL_LEASED, POOL_GONE };

struct pool_entry {
	struct pool_entry *chain;         /* in the bucket */
	struct pool_entry *older, *newer; /* of the idle ones; `older` also links what is about to be deallocated */
	void *hold;
	uintptr_t hidden;   /* the resource, inverted */
	uintptr_t next_owner, prev_owner; /* hidden: among the entries of all pools */
	weakref_ref *watch; /* where the resource is a block of the collected heap: tells that it died while leased */
	weakref_pool *pool;
	uint64_t since; /* idle since; 0 where the pool does not look at ages */
	uint64_t ends;  /* from then on it is not kept; UINT64_MAX where resources have no lifetime; 0: it goes when it comes back */
	uint32_t serial; /* how often it was leased */
	enum pool_state state;
	struct wheel_node waiting[]; /* one, in a pool whose resources have a lifetime: until `ends` */
};

enum pool_answer { POOL_WAITS, POOL_SLEEPS, POOL_GIVEN, POOL_SLOT, POOL_CLOSED, POOL_EMPTY };

struct pool_waiter {
	struct pool_waiter *next, *prev;
	sem_t woken; /* posted once, after the answer, where the answer found it asleep */
	uint64_t ticket;
	struct pool_entry *entry;        /* GIVEN */
	_Atomic enum pool_answer answer; /* SLOT: it may call alloc; `moving` counts it already */
	bool for_end; /* in a closed pool: it waits for the last resource to be gone, which is answered by EMPTY */
};

/* What each pop and each push touches comes first, in as few lines as may be: with several threads, lines are what counts. */
struct weakref_pool {
	uint64_t signature; /* written last */
	struct lock_word *lock;
	struct pool_entry **buckets;
	unsigned shift; /* of a hash, to the bucket's number */
	unsigned forks; /* lock_forks when it was last locked */
	bool closed, aged, fifo, resets, over, listed;
	struct pool_waiter *first;
	sem_t *wake;                         /* to be posted by whoever drops the lock */
	_Atomic(struct pool_entry *) newest; /* written with the lock held, and read without by those who look whether there is one */
	struct pool_entry *oldest;
	size_t idle, leased;
	uint64_t reuses, returns; /* of the figures */
	size_t moving, nbuckets;
	struct pool_waiter *last;
	size_t waiting;
	uint64_t tickets;
	uint64_t patience;    /* nanoseconds for which a pop looks on before it queues; 0 until one had to */
	uint64_t maxage, ttl; /* nanoseconds; UINT64_MAX for never */
	uint64_t lifetime, spread;
	_Atomic unsigned invalidations; /* how often all resources were invalidated; written with the lock held */
	size_t maxsize, softmax, hardmax; /* what the sizes among the options mean: SIZE_MAX for no bound */
	size_t floor_size;                /* what trimming by size leaves */
	size_t floor_age;                 /* what trimming by age leaves */
	uintptr_t next_pool, prev_pool; /* hidden: the list keeps no pool alive */
	struct pool_end *end;
	weakref_finalize *finalizer;
	struct wheel *wheel; /* where resources have a lifetime, else NULL; not scanned, for the hash has all that is in it */
	weakref_pool_options options;
	weakref_pool_stats stats; /* what is a field of the pool is filled in when asked for */
};

/* What a pool's finalizer is told: the pool, hidden, while it is in the list; 0 before and after. */
struct pool_end {
	uintptr_t pool;
};

/* A lease: the resource, and what ends it. */
struct pool_taken {
	void *resource;
	struct pool_entry *entry;
	uint32_t serial;
};

static inline bool pool_is(const weakref_pool *pool)
{
	return pool != NULL && (uintptr_t)pool % _Alignof(weakref_pool) == 0 && pool->signature == POOL_SIGNATURE;
}

/* 0, -WEAKREF_EPERM or -WEAKREF_EINVAL. */
static inline int pool_check(const weakref_pool *pool)
{
	int error = heap_thread_check();

	if (unlikely(error < 0))
		return error;
	return likely(pool_is(pool)) ? 0 : -WEAKREF_EINVAL;
}

static inline void *pool_resource(const struct pool_entry *entry)
{
	return (void *)~entry->hidden;
}

/* The time where ages matter, else 0. */
static inline uint64_t pool_time(const weakref_pool *pool)
{
	return unlikely(pool->aged) ? base_now() : 0;
}

/* ---- pool_owners.c ---- */

/* With lock_pools held, before a pool is listed. False: no memory. */
bool pool_owners_begin(void);
/* An entry of a listed pool comes into the pool's hash, or leaves it. The pool's lock. */
void pool_owners_add_locked(struct pool_entry *entry);
void pool_owners_remove_locked(struct pool_entry *entry);
/* With lock_pools held: another pool that knows the resource, be it stale there or not; NULL for none. */
weakref_pool *pool_owner_but(const weakref_pool *pool, const void *resource);
/* Invariants, in the checking build: the entry is in it. */
void pool_owners_validate_locked(const struct pool_entry *entry);

/* ---- pool_books.c: the lock, and what is out of line of pool_books.h ---- */

/* In a child after fork: the threads that waited or were in a user function are not here. */
void pool_after_fork_locked(weakref_pool *pool);

static inline void pool_lock(weakref_pool *pool)
{
	lock_word_take(pool->lock);
	if (unlikely(pool->forks != lock_forks))
		pool_after_fork_locked(pool);
}

/* Invariants 1 and 2 as far as a look tells, in the checking build; and all of it, which takes a walk. */
void pool_check_locked(const weakref_pool *pool);
void pool_validate_locked(const weakref_pool *pool);

/* Whoever was woken under the lock would run into it. */
static inline void pool_unlock(weakref_pool *pool)
{
	sem_t *wake = pool->wake;

	if (CHECKS)
		pool_check_locked(pool);
	if (unlikely(wake != NULL))
		pool->wake = NULL;
	lock_word_drop(pool->lock);
	if (unlikely(wake != NULL))
		sem_post(wake);
}

/* The first buckets. False: no memory. GC: may collect. */
bool pool_begin(weakref_pool *pool);
/* Best effort: more buckets where they are needed. GC: may collect. */
void pool_grow(weakref_pool *pool);

/* ---- pool_trim.c ---- */

/* A size as it was given: `none` for 0, 0 for WEAKREF_POOL_ZERO. */
static inline size_t pool_size_or(size_t given, size_t none)
{
	return given == 0 ? none : given == WEAKREF_POOL_ZERO ? 0 : given;
}

/* Takes over what the sizes among the options mean. 0; or -EINVAL, and then nothing has changed. */
int pool_set_sizes(weakref_pool *pool);
/* Takes an idle entry out for deallocation, in front of the chain `out`. */
void pool_evict_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out);
/* What is too old; whose lifetime is over, as far as a pop would meet it, or, by the time now, all of it. */
void pool_expire_locked(weakref_pool *pool, uint64_t now, struct pool_entry **out);
void pool_expire_all_locked(weakref_pool *pool, struct pool_entry **out);
/* How many pool_expire_all_locked would leave. */
size_t pool_kept_locked(const weakref_pool *pool);
/* There are more than maxsize: until as few are left as were asked for. */
void pool_shrink_locked(weakref_pool *pool, struct pool_entry **out);
/* After a push: maxsize, then ages. */
static inline void pool_trim_locked(weakref_pool *pool, uint64_t now, struct pool_entry **out)
{
	if (unlikely(pool->idle > pool->maxsize))
		pool_shrink_locked(pool, out);
	if (unlikely(pool->aged))
		pool_expire_locked(pool, now, out);
}

/* ---- pool_queue.c ---- */

/* What can be had at once: an entry, or NULL for the right to make one; -WEAKREF_ENOENT, -WEAKREF_ECANCELED. */
int pool_take_now_locked(weakref_pool *pool, struct pool_entry **entry);
/* Gives what there is to those who wait. */
void pool_serve_waiters_locked(weakref_pool *pool);
static inline void pool_serve_locked(weakref_pool *pool)
{
	if (unlikely(pool->first != NULL))
		pool_serve_waiters_locked(pool);
}
/* What somebody was given who cannot use it goes to the next, or back where it was. */
void pool_hand_on_locked(weakref_pool *pool, struct pool_entry *entry, struct pool_entry **out);
/* Whoever waits takes a place by the ticket, and leaves it, unless an answer took it out. */
void pool_enqueue_locked(weakref_pool *pool, struct pool_waiter *w);
void pool_dequeue_locked(weakref_pool *pool, struct pool_waiter *w);

/* ---- pool_entry.c ---- */

/* An entry for a resource, in no pool's hash yet, or one without a resource to be named later. NULL with errno. GC: may collect. */
struct pool_entry *pool_entry_new(weakref_pool *pool);
/* Names its resource. 0, or a negative error. GC: may collect. */
int pool_entry_name(struct pool_entry *entry, void *resource);
/* The pool lets go of a resource for good, which is not in its hash any more. Without the lock. */
void pool_entry_unwatch(struct pool_entry *entry);
/* The live entry of a resource; what is stale is forgotten on the way. */
struct pool_entry *pool_find_locked(weakref_pool *pool, const void *resource);

/* ---- pool_list.c ---- */

/* A whole pool becomes one of those there are, if what init gave is in no other. 0, -WEAKREF_EEXIST or -WEAKREF_ENOMEM. */
int pool_join(weakref_pool *pool);
void pool_leave(weakref_pool *pool);
/* The pool that a finalizer names; NULL before and after. */
weakref_pool *pool_of_end(const struct pool_end *end);
/* With lock_pools held: whether another pool has the resource. */
bool pool_elsewhere(const weakref_pool *pool, const void *resource);

/* ---- pool_alloc.c. No lock held ---- */

/* Makes a resource, in a slot that is ours: one of `moving`. Its entry is lent, as by pool_take_now_locked. */
int pool_alloc(weakref_pool *pool, struct pool_entry **out);
/* Deallocates a chain. How many. */
long pool_dispose(weakref_pool *pool, struct pool_entry *chain);

/* ---- pool_wait.c ---- */

/* Looks on, and waits, until there is what pool_take_now_locked gives, or the deadline (BASE_FOREVER). The lock is held before and
 * after, but not within. `ticket` is 0 for a pop that has no place yet. */
int pool_come_back_locked(weakref_pool *pool, uint64_t *ticket, uint64_t deadline, struct pool_entry **entry);
/* Waits until a closed pool has no resource any more, or the deadline. 0, or -WEAKREF_ETIMEDOUT. */
int pool_await_end(weakref_pool *pool, uint64_t deadline);

/* ---- pool.c ---- */

/* A resource by pop's rules; seconds NULL never waits. `strong`: invariant 3's exception. 0, or a negative error. */
int pool_take(weakref_pool *pool, const double *seconds, bool strong, struct pool_taken *out);
/* A lent entry becomes idle, as the newest. 1 when it is to be deallocated because the pool is closed, else 0. */
int pool_put_locked(weakref_pool *pool, struct pool_entry *entry, uint64_t now, struct pool_entry **out);
/* Whether the lease `serial` of an entry is not over. */
bool pool_still_leased(weakref_pool *pool, const struct pool_entry *entry, uint32_t serial);
/* What becomes of a resource at the end of a lease: it goes back to the pool, is destroyed, or its holder's for good. */
enum pool_fate { POOL_BACK, POOL_DESTROYED, POOL_DETACHED };
/* The end of the lease `serial` of an entry. As weakref_pool_push; -WEAKREF_ESTALE. */
int pool_give_back(weakref_pool *pool, struct pool_entry *entry, uint32_t serial, enum pool_fate fate);

/* ---- pool_stock.c ---- */

/* What a pool that nobody sees yet begins with: init's, and alloc's behind them up to minsize. */
int pool_stock_init(weakref_pool *pool, void *const *init, size_t n);
int pool_stock_alloc(weakref_pool *pool);
/* It failed: what alloc made goes; what init gave stays the caller's. */
void pool_stock_abandoned(void *pool);
/* Deallocates what is idle, and closes the pool or not. How many. */
long pool_empty(weakref_pool *pool, bool closes);

#endif

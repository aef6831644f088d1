/* SPDX-License-Identifier: MIT */
/*
 * lock: mutexes with a rank. A thread takes locks in rising order of rank only; --enable-checks aborts on any other order.
 *
 * The order is the enum below. libgc's allocation lock comes after all of them: it may be taken with any of these held, and none of
 * these may be taken with it held. No lock is held across user code, nor across an allocation from the collected heap (which may
 * run a host's finalizers, and those may call us).
 *
 * Tables do not own mutexes: they share the stripes, so that fork can take every lock there is (lock_fork_*), and the child finds
 * none that is held by a thread that it does not have.
 */
#ifndef LOCK_H
#define LOCK_H

#include <pthread.h>
#include <stdint.h>

#include "base.h"

enum lock_rank {
	LOCK_RANK_INIT = 1,  /* gc_init, policy changes: rarely taken, outermost */
	LOCK_RANK_POOLS,     /* which resource pools there are; adopting a resource that no pool knows */
	LOCK_RANK_EVICTION,  /* which entry of a cache goes */
	LOCK_RANK_POOL,      /* a resource pool, the entries of a cache, who waits for whose load */
	LOCK_RANK_OWNERS,    /* which resource pools have a resource */
	LOCK_RANK_STRIPE,    /* writers of a part of a table, or of an entry of a cache */
	LOCK_RANK_DIRECTORY, /* which parts a table has */
	LOCK_RANK_HANDLER,   /* who is told of failed callbacks */
	LOCK_RANK_DELIVER,   /* the delivery queue */
	LOCK_RANK_THREADS,   /* the list of thread records */
	LOCK_RANK_ALLOC,     /* libgc's; not ours to take by lock_take */
};

struct lock {
	pthread_mutex_t mutex;
	enum lock_rank rank;
};

#define LOCK_INIT(r) {PTHREAD_MUTEX_INITIALIZER, (r)}

/* Takes the lock. Errors: none; aborts on a broken order in the checking build. */
void lock_take(struct lock *lock);
void lock_drop(struct lock *lock);

/* The locks of the library. */
extern struct lock lock_init;
extern struct lock lock_pools;
extern struct lock lock_owners;
extern struct lock lock_handler;
extern struct lock lock_deliver;
extern struct lock lock_threads;

/*
 * Locks of what there are many of: tables, resource pools and caches, whose operations are shorter than a call of pthread_mutex_lock and its
 * undoing: a word, taken in line, for which a thread spins a while before it sleeps. It has no owner and no fairness.
 */
struct lock_word {
	_Atomic uint32_t state; /* 0 free, 1 held, 2 held and perhaps somebody sleeps */
};

/* That of a cache's eviction, of rank LOCK_RANK_EVICTION; that of a pool or of a cache's entries, of rank LOCK_RANK_POOL; that of a part of a
 * table, or of an entry, of rank LOCK_RANK_STRIPE; and that of a table's directory, of rank LOCK_RANK_DIRECTORY: any hash of its identity picks
 * one, for its whole life. A thread holds one of a rank at a time. */
#define LOCK_STRIPES 64
struct lock_word *lock_eviction(uint64_t hash);
struct lock_word *lock_word(uint64_t hash);
struct lock_word *lock_stripe(uint64_t hash);
struct lock_word *lock_directory(uint64_t hash);
void lock_word_take_slow(struct lock_word *lock);
void lock_word_wake(struct lock_word *lock);
/* Of the checking build: the rank is taken down. */
void lock_word_held(enum lock_rank rank, bool held);

/* Without a word of it to the checking build. */
static inline void lock_word_get(struct lock_word *lock)
{
	uint32_t none = 0;

	if (unlikely(!atomic_compare_exchange_strong_explicit(&lock->state, &none, 1, memory_order_acquire, memory_order_relaxed)))
		lock_word_take_slow(lock);
}

static inline void lock_word_give(struct lock_word *lock)
{
	if (unlikely(atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2))
		lock_word_wake(lock);
}

static inline void lock_word_take(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_POOL, true);
	lock_word_get(lock);
}

static inline void lock_word_drop(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_POOL, false);
	lock_word_give(lock);
}

static inline void lock_eviction_take(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_EVICTION, true);
	lock_word_get(lock);
}

/* Takes it if it is free. Who fails has before it, for who holds it, all that he wrote before a fence of sequential consistency. */
static inline bool lock_eviction_try(struct lock_word *lock)
{
	uint32_t none = 0;

	if (!atomic_compare_exchange_strong_explicit(&lock->state, &none, 1, memory_order_seq_cst, memory_order_seq_cst))
		return false;
	if (CHECKS)
		lock_word_held(LOCK_RANK_EVICTION, true);
	return true;
}

/* What is loaded after it, with sequential consistency, is what was written before a try that failed. */
static inline void lock_eviction_drop(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_EVICTION, false);
	if (unlikely(atomic_exchange_explicit(&lock->state, 0, memory_order_seq_cst) == 2))
		lock_word_wake(lock);
}

static inline void lock_stripe_take(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_STRIPE, true);
	lock_word_get(lock);
}

static inline void lock_stripe_drop(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_STRIPE, false);
	lock_word_give(lock);
}

static inline void lock_directory_take(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_DIRECTORY, true);
	lock_word_get(lock);
}

static inline void lock_directory_drop(struct lock_word *lock)
{
	if (CHECKS)
		lock_word_held(LOCK_RANK_DIRECTORY, false);
	lock_word_give(lock);
}

/* How many forks lie between this process and the one that started: what threads that are not here left behind is recognised by it. */
extern unsigned lock_forks;

/* In the checking build, aborts unless this thread holds a lock of a table's part / holds no lock at all. Otherwise nothing. */
void lock_check_held_stripe(void);
void lock_check_none(const char *where);

/* pthread_atfork's three, for all locks above. */
void lock_fork_prepare(void);
void lock_fork_parent(void);
void lock_fork_child(void);

#endif

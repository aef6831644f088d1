/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base.h"

struct lock lock_init = LOCK_INIT(LOCK_RANK_INIT);
struct lock lock_pools = LOCK_INIT(LOCK_RANK_POOLS);
struct lock lock_owners = LOCK_INIT(LOCK_RANK_OWNERS);
struct lock lock_handler = LOCK_INIT(LOCK_RANK_HANDLER);
struct lock lock_deliver = LOCK_INIT(LOCK_RANK_DELIVER);
struct lock lock_threads = LOCK_INIT(LOCK_RANK_THREADS);

/* Each in a line, so that the writers of two do not share one. */
static struct {
	_Alignas(64) struct lock_word lock;
} evictions[LOCK_STRIPES], words[LOCK_STRIPES], stripes[LOCK_STRIPES], directories[LOCK_STRIPES];

unsigned lock_forks;

/* What this thread holds, for the checking build: a bit a rank. */
static _Thread_local unsigned held;

static void held_add(const struct lock *lock)
{
	if (!CHECKS)
		return;
	if ((held >> lock->rank) != 0)
		base_fatal("lock of rank %d taken while holding ranks %#x", (int)lock->rank, held);
	held |= 1U << lock->rank;
}

static void held_remove(const struct lock *lock)
{
	if (CHECKS)
		held &= ~(1U << lock->rank);
}

void lock_take(struct lock *lock)
{
	held_add(lock);
	int error = pthread_mutex_lock(&lock->mutex);
	if (unlikely(error != 0))
		base_fatal("cannot take a lock of rank %d: %s", (int)lock->rank, strerror(error));
}

void lock_drop(struct lock *lock)
{
	held_remove(lock);
	int error = pthread_mutex_unlock(&lock->mutex);
	if (unlikely(error != 0))
		base_fatal("cannot drop a lock of rank %d: %s", (int)lock->rank, strerror(error));
}

void lock_check_held_stripe(void)
{
	ASSERT((held >> LOCK_RANK_STRIPE & 1U) != 0);
}

void lock_check_none(const char *where)
{
	if (CHECKS && held != 0)
		base_fatal("%s with locks held: ranks %#x", where, held);
}

/* ---- words ---- */

struct lock_word *lock_eviction(uint64_t hash)
{
	return &evictions[hash % LOCK_STRIPES].lock;
}

struct lock_word *lock_word(uint64_t hash)
{
	return &words[hash % LOCK_STRIPES].lock;
}

struct lock_word *lock_stripe(uint64_t hash)
{
	return &stripes[hash % LOCK_STRIPES].lock;
}

struct lock_word *lock_directory(uint64_t hash)
{
	return &directories[hash % LOCK_STRIPES].lock;
}

void lock_word_held(enum lock_rank rank, bool taken)
{
	const struct lock ranked = {.rank = rank};

	if (taken)
		held_add(&ranked);
	else
		held_remove(&ranked);
}

/* The most pauses between two looks at a lock that is held. */
#define WAIT_MOST 256

/* Looks at the lock less and less often, so that who holds it can do some more with it before its line is taken away; after some 10 us it
 * sleeps. errno is kept. */
NOINLINE void lock_word_take_slow(struct lock_word *lock)
{
	int saved = errno;

	for (unsigned wait = 1; wait <= WAIT_MOST; wait *= 2) {
		for (unsigned i = 0; i < wait; i++)
			base_pause();
		uint32_t none = 0;
		if (atomic_load_explicit(&lock->state, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_weak_explicit(&lock->state, &none, 1, memory_order_acquire, memory_order_relaxed))
			return;
	}
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
		syscall(SYS_futex, &lock->state, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	errno = saved;
}

NOINLINE void lock_word_wake(struct lock_word *lock)
{
	int saved = errno;

	syscall(SYS_futex, &lock->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	errno = saved;
}

/* ---- fork ---- */

/* Of the words all of a rank are taken: that is not taken down. */
void lock_fork_prepare(void)
{
	pthread_mutex_lock(&lock_init.mutex);
	pthread_mutex_lock(&lock_pools.mutex);
	for (int i = 0; i < LOCK_STRIPES; i++)
		lock_word_get(&evictions[i].lock);
	for (int i = 0; i < LOCK_STRIPES; i++)
		lock_word_get(&words[i].lock);
	pthread_mutex_lock(&lock_owners.mutex);
	for (int i = 0; i < LOCK_STRIPES; i++)
		lock_word_get(&stripes[i].lock);
	for (int i = 0; i < LOCK_STRIPES; i++)
		lock_word_get(&directories[i].lock);
	pthread_mutex_lock(&lock_handler.mutex);
	pthread_mutex_lock(&lock_deliver.mutex);
	pthread_mutex_lock(&lock_threads.mutex);
}

static void fork_release(void)
{
	pthread_mutex_unlock(&lock_threads.mutex);
	pthread_mutex_unlock(&lock_deliver.mutex);
	pthread_mutex_unlock(&lock_handler.mutex);
	for (int i = LOCK_STRIPES; i-- > 0;)
		lock_word_give(&directories[i].lock);
	for (int i = LOCK_STRIPES; i-- > 0;)
		lock_word_give(&stripes[i].lock);
	pthread_mutex_unlock(&lock_owners.mutex);
	for (int i = LOCK_STRIPES; i-- > 0;)
		lock_word_give(&words[i].lock);
	for (int i = LOCK_STRIPES; i-- > 0;)
		lock_word_give(&evictions[i].lock);
	pthread_mutex_unlock(&lock_pools.mutex);
	pthread_mutex_unlock(&lock_init.mutex);
}

void lock_fork_parent(void)
{
	fork_release();
}

void lock_fork_child(void)
{
	lock_forks++;
	fork_release();
}

/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <string.h>

#include "base.h"

struct lock lock_init = LOCK_INIT(LOCK_RANK_INIT);
struct lock lock_pools = LOCK_INIT(LOCK_RANK_POOLS);
struct lock lock_handler = LOCK_INIT(LOCK_RANK_HANDLER);
struct lock lock_deliver = LOCK_INIT(LOCK_RANK_DELIVER);
struct lock lock_threads = LOCK_INIT(LOCK_RANK_THREADS);

/* A stripe a line, so that writers of two tables do not share one. */
static struct {
	_Alignas(64) struct lock lock;
} stripes[LOCK_STRIPES] = {[0 ... LOCK_STRIPES - 1] = {LOCK_INIT(LOCK_RANK_STRIPE)}};

static struct {
	_Alignas(64) struct lock lock;
} pools[LOCK_STRIPES] = {[0 ... LOCK_STRIPES - 1] = {LOCK_INIT(LOCK_RANK_POOL)}};

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

struct lock *lock_stripe(uint64_t hash)
{
	return &stripes[hash % LOCK_STRIPES].lock;
}

struct lock *lock_pool(uint64_t hash)
{
	return &pools[hash % LOCK_STRIPES].lock;
}

void lock_check_held(const struct lock *lock)
{
	ASSERT((held >> lock->rank & 1U) != 0);
}

void lock_check_none(const char *where)
{
	if (CHECKS && held != 0)
		base_fatal("%s with locks held: ranks %#x", where, held);
}

void lock_fork_prepare(void)
{
	pthread_mutex_lock(&lock_init.mutex);
	pthread_mutex_lock(&lock_pools.mutex);
	for (int i = 0; i < LOCK_STRIPES; i++)
		pthread_mutex_lock(&pools[i].lock.mutex);
	for (int i = 0; i < LOCK_STRIPES; i++)
		pthread_mutex_lock(&stripes[i].lock.mutex);
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
		pthread_mutex_unlock(&stripes[i].lock.mutex);
	for (int i = LOCK_STRIPES; i-- > 0;)
		pthread_mutex_unlock(&pools[i].lock.mutex);
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

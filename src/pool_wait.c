/* SPDX-License-Identifier: MIT */
/*
 * pool_wait: what a pop does that finds nothing. It looks on for a moment, and then takes its place among those who wait. And what a closing
 * does that waits for the pool's last resource to be gone: it takes such a place at once.
 *
 * Invariants (those of a waiter's answer: pool_queue.c)
 *  1. A pop gets its ticket when it has looked on in vain, and keeps it until it returns.
 *  2. A waiter does not leave while a post to it is under way.
 *
 * Looking on. Until it has a ticket a pop has no place: who comes later may be luckier. So a thread that pushes and pops again does
 * so undisturbed while nobody waits, and a queue that has come about where there is more work than resources empties itself; in
 * arrival order alone each push would cost a change of threads. The moment is between PATIENCE_MIN and PATIENCE_MAX: longer where it
 * was rewarded, shorter where the wait was long.
 *
 * Locks: the pool's.
 */
#include "pool_books.h"

#include <pthread.h>
#include <sched.h>

#define PATIENCE_MIN 2000
#define PATIENCE_MAX 50000
#define LOOKS 6    /* after so many, each twice as long as the one before, other threads are let run */
#define ROUNDS 200 /* where the clock stands still */
#define SPINS 100  /* looks for an answer before a sleep */

/* ---- waiting ---- */

struct wait {
	weakref_pool *pool;
	struct pool_waiter waiter;
	uint64_t began;
	bool asleep; /* it went to sleep: a post follows the answer */
};

static void waited_locked(weakref_pool *pool, uint64_t began)
{
	weakref_pool_stats *stats = &pool->stats;
	uint64_t ns = base_now() - began, us = ns / 1000;
	unsigned class = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);

	stats->wait_histogram[class < WEAKREF_POOL_WAITS ? class : WEAKREF_POOL_WAITS - 1]++;
	stats->wait_total_ns += ns;
	if (ns > stats->wait_max_ns)
		stats->wait_max_ns = ns;
	stats->waits++;
}

/* Awake, and no post is under way: either nobody has answered, or the post that follows the answer has come. */
static void wake_up(struct wait *wait)
{
	enum pool_answer sleeps = POOL_SLEEPS;
	int state;

	if (!wait->asleep || atomic_compare_exchange_strong(&wait->waiter.answer, &sleeps, POOL_WAITS))
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	while (sem_wait(&wait->waiter.woken) != 0)
		;
	pthread_setcancelstate(state, NULL);
}

/* Out of the queue, or off with what was given. */
static void wait_abandoned(void *data)
{
	struct wait *wait = data;
	struct pool_entry *out = NULL;

	wake_up(wait);
	pool_lock(wait->pool);
	if (wait->waiter.answer == POOL_WAITS)
		pool_dequeue_locked(wait->pool, &wait->waiter);
	else if (wait->waiter.answer == POOL_GIVEN)
		pool_hand_on_locked(wait->pool, wait->waiter.entry, &out);
	else if (wait->waiter.answer == POOL_SLOT)
		pool_moved_locked(wait->pool);
	pool_serve_locked(wait->pool);
	if (!wait->waiter.for_end)
		waited_locked(wait->pool, wait->began);
	pool_unlock(wait->pool);
	sem_destroy(&wait->waiter.woken);
	pool_dispose(wait->pool, out);
}

/* Until the answer or the deadline. A resource is often back before a sleep has begun. */
static void await(struct wait *wait, uint64_t deadline)
{
	struct pool_waiter *w = &wait->waiter;
	enum pool_answer waits = POOL_WAITS;

	for (int i = 0; i < SPINS && atomic_load_explicit(&w->answer, memory_order_acquire) == POOL_WAITS; i++)
		base_pause();
	if (!atomic_compare_exchange_strong(&w->answer, &waits, POOL_SLEEPS))
		return;
	wait->asleep = true;
	while (wait->asleep && (deadline == BASE_FOREVER || base_now() < deadline))
		wait->asleep = !base_sleep(&w->woken, deadline);
}

/* What the waiter was given; the lock is held. */
static int answer_locked(struct wait *wait, struct pool_entry **entry)
{
	struct pool_waiter *w = &wait->waiter;
	enum pool_answer answer = w->answer;

	waited_locked(wait->pool, wait->began);
	*entry = answer == POOL_GIVEN ? w->entry : NULL;
	switch (answer) {
	case POOL_GIVEN:
	case POOL_SLOT: return 0;
	case POOL_CLOSED: return -WEAKREF_ECANCELED;
	default: break;
	}
	pool_dequeue_locked(wait->pool, w);
	wait->pool->stats.timeouts++;
	return -WEAKREF_ETIMEDOUT;
}

/* With the lock held, before and after, but not within: in the queue until it is answered, or the deadline. */
static void queue_locked(struct wait *wait, uint64_t deadline)
{
	sem_init(&wait->waiter.woken, 0, 0);
	pool_enqueue_locked(wait->pool, &wait->waiter);
	pool_unlock(wait->pool);
	pthread_cleanup_push(wait_abandoned, wait);
	await(wait, deadline);
	pthread_cleanup_pop(0);
	wake_up(wait);
	pool_lock(wait->pool);
	sem_destroy(&wait->waiter.woken);
}

/* The lock as above: until somebody gives us something, or the deadline. */
static NOINLINE int wait_locked(weakref_pool *pool, uint64_t ticket, uint64_t began, uint64_t deadline, struct pool_entry **entry)
{
	struct wait wait = {.pool = pool, .waiter = {.ticket = ticket}, .began = began};

	queue_locked(&wait, deadline);
	return answer_locked(&wait, entry);
}

int pool_await_end(weakref_pool *pool, uint64_t deadline)
{
	struct wait wait = {.pool = pool, .waiter = {.for_end = true}};
	int error = 0;

	pool_lock(pool);
	if (!pool_is_gone_locked(pool)) {
		wait.waiter.ticket = ++pool->tickets;
		queue_locked(&wait, deadline);
		if (wait.waiter.answer != POOL_EMPTY) {
			pool_dequeue_locked(pool, &wait.waiter);
			error = -WEAKREF_ETIMEDOUT;
		}
	}
	pool_unlock(pool);
	return error;
}

/* ---- looking on ---- */

static bool look(const weakref_pool *pool, unsigned round)
{
	unsigned pauses = 1U << (round < LOOKS ? round : LOOKS);

	if (round >= LOOKS)
		sched_yield();
	while (pauses-- > 0)
		base_pause();
	return atomic_load_explicit(&pool->newest, memory_order_relaxed) != NULL;
}

/* With the lock held, before and after, but not within. ENOENT where it was in vain. */
static int look_on_locked(weakref_pool *pool, uint64_t began, uint64_t deadline, struct pool_entry **entry)
{
	uint64_t end = began + pool->patience < deadline ? began + pool->patience : deadline;
	int error = -WEAKREF_ENOENT;

	pool_unlock(pool);
	for (unsigned round = 0; round < ROUNDS && base_now() < end; round++) {
		if (!look(pool, round))
			continue;
		pool_lock(pool);
		error = pool_take_now_locked(pool, entry);
		if (error != -WEAKREF_ENOENT)
			return error;
		pool_unlock(pool);
	}
	pool_lock(pool);
	return pool_take_now_locked(pool, entry);
}

static void learn_locked(weakref_pool *pool, bool rewarded)
{
	uint64_t patience = rewarded ? pool->patience * 2 : pool->patience / 2;

	pool->patience = patience > PATIENCE_MAX ? PATIENCE_MAX : patience < PATIENCE_MIN ? PATIENCE_MIN : patience;
}

/* Looks on, then waits; the lock as above. */
NOINLINE int pool_come_back_locked(weakref_pool *pool, uint64_t *ticket, uint64_t deadline, struct pool_entry **entry)
{
	uint64_t began = base_now();
	int error = -WEAKREF_ENOENT;

	if (*ticket == 0)
		error = look_on_locked(pool, began, deadline, entry);
	if (error != -WEAKREF_ENOENT) {
		waited_locked(pool, began);
		learn_locked(pool, true);
		return error;
	}
	if (*ticket == 0)
		*ticket = ++pool->tickets;
	error = wait_locked(pool, *ticket, began, deadline, entry);
	learn_locked(pool, base_now() - began < PATIENCE_MAX);
	return error;
}


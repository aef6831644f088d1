/* SPDX-License-Identifier: MIT */
/*
 * executor: see executor.h. A scanned block with a queue of nodes as deliver.c has one. No root holds it: what waits is alive as long as
 * somebody holds the executor.
 *
 * Threads are told apart by numbers that are never given twice: a thread that has ended is nobody else's namesake.
 *
 * Who is told that something waits: threads that sleep in weakref_executor_wait, each on a semaphore in its frame, which may be posted with
 * the world stopped; and event loops, by an eventfd. The latter is in an object of its own, whose destructor closes it: executors that nobody
 * polls need none. There is no function of the program's to be called: it could run only after the stop, by the rule of delivery, which is
 * when some thread allocates.
 *
 * Invariants
 *  1. first == NULL if and only if last is stale.
 *  2. The executor's descriptor is readable if and only if first != NULL.
 *  3. Who is on the list of sleepers has found the queue empty, and nobody has queued anything since.
 *  2 and 3 hold for the process that made the descriptor, or put the first on the list. In a child after fork the descriptor is the parent's,
 *  and left alone; the list is of threads that are not there, and empty.
 *
 * Locks: libgc's, for the queue, the list and the descriptor.
 */
#include "executor.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checks.h"
#include "heap.h"
#include "lock.h"
#include "weakref/object.h"

#define EXECUTOR_SIGNATURE UINT64_C(0x6f74756365786577)

/* In a frame of weakref_executor_wait. */
struct sleeper {
	struct sleeper *next;
	weakref_executor *executor;
	sem_t woken;
	bool listed;
};

struct descriptor {
	bool there; /* not yet, or no more: the destructor has closed it, and somebody revived the executor */
	int fd;
	unsigned forks; /* lock_forks when it was made */
};

struct weakref_executor {
	uint64_t signature;
	struct deliver_node *first, *last;
	struct sleeper *sleepers;
	unsigned forks; /* lock_forks when the first of them was put there */
	struct descriptor *descriptor;
	_Atomic uint64_t thread;
	char name[];
};

struct task {
	struct deliver_node node;
	weakref_executor_task fn;
	void *arg;
	weakref_executor *executor; /* until it is queued */
};

static uint64_t this_thread(void)
{
	static _Atomic uint64_t given;
	static _Thread_local uint64_t number;

	if (number == 0)
		number = atomic_fetch_add(&given, 1) + 1;
	return number;
}

bool executor_is(const weakref_executor *executor)
{
	return executor != NULL && executor->signature == EXECUTOR_SIGNATURE;
}

/* ---- who is told ---- */

static bool descriptor_is_ours(const struct descriptor *descriptor)
{
	return descriptor != NULL && descriptor->there && descriptor->forks == lock_forks;
}

/* Readable, or not. Also with the world stopped. No points of cancellation, as read and write would be. */
static void descriptor_set_locked(const weakref_executor *executor, bool readable)
{
	int saved = errno;
	uint64_t n = 1;

	if (!descriptor_is_ours(executor->descriptor))
		return;
	if (syscall(readable ? SYS_write : SYS_read, executor->descriptor->fd, &n, sizeof n) < 0 && errno != EAGAIN)
		base_fatal("an executor's descriptor was closed, or is another file's: %s", strerror(errno));
	errno = saved;
}

static struct sleeper **sleepers_locked(weakref_executor *executor)
{
	if (executor->forks != lock_forks)
		executor->sleepers = NULL;
	executor->forks = lock_forks;
	return &executor->sleepers;
}

/* All: they look again. None of them leaves its frame before the lock is free. */
static void wake_locked(weakref_executor *executor)
{
	struct sleeper **list = sleepers_locked(executor);

	while (*list != NULL) {
		struct sleeper *sleeper = *list;
		*list = sleeper->next;
		sleeper->listed = false;
		sem_post(&sleeper->woken);
	}
}

void executor_queue_stw(weakref_executor *executor, struct deliver_node *node)
{
	bool first = executor->first == NULL;

	node->next = NULL;
	if (first)
		executor->first = node;
	else
		executor->last->next = node;
	executor->last = node;
	if (!first)
		return;
	descriptor_set_locked(executor, true);
	wake_locked(executor);
}

/* ---- tasks ---- */

static void task_run(struct deliver_node *node)
{
	struct task *task = (struct task *)node;

	task->fn(task->arg);
}

static void *submit_locked(void *arg)
{
	struct task *task = arg;
	weakref_executor *executor = task->executor;

	task->executor = NULL;
	executor_queue_stw(executor, &task->node);
	return NULL;
}

/* ---- making, and whose it is ---- */

weakref_executor *weakref_executor_new(const char *name)
{
	size_t size = name == NULL ? 0 : strlen(name) + 1;
	int error = heap_thread_check();

	if (error != 0 || name == NULL)
		return base_null(error != 0 ? (enum weakref_error) - error : WEAKREF_EINVAL);
	weakref_executor *executor = heap_alloc(sizeof *executor + size);
	if (executor == NULL)
		return NULL;
	memcpy(executor->name, name, size);
	atomic_store(&executor->thread, this_thread());
	executor->signature = EXECUTOR_SIGNATURE;
	return executor;
}

const char *weakref_executor_name(const weakref_executor *executor)
{
	return executor_is(executor) ? executor->name : NULL;
}

static bool is_own(const weakref_executor *executor)
{
	return atomic_load(&executor->thread) == this_thread();
}

static void *adopt_locked(void *arg)
{
	weakref_executor *executor = arg;

	atomic_store(&executor->thread, this_thread());
	wake_locked(executor);
	return NULL;
}

int weakref_executor_adopt(weakref_executor *executor)
{
	int error = heap_thread_check();

	if (!executor_is(executor))
		return -WEAKREF_EINVAL;
	if (error == 0)
		heap_with_lock(adopt_locked, executor);
	return error;
}

/* ---- running ---- */

int weakref_executor_submit(weakref_executor *executor, weakref_executor_task task, void *arg)
{
	int error = heap_thread_check();

	if (!executor_is(executor) || task == NULL)
		return -WEAKREF_EINVAL;
	if (error != 0)
		return error;
	struct task *waits = heap_alloc(sizeof *waits);
	if (waits == NULL)
		return -errno;
	*waits = (struct task){.node.run = task_run, .fn = task, .arg = arg, .executor = executor};
	heap_with_lock(submit_locked, waits);
	BASE_KEEP(executor);
	return 0;
}

/* Another thread may have adopted the executor since the last one: what waits is that one's. */
static void *pop_locked(void *arg)
{
	weakref_executor *executor = arg;
	struct deliver_node *node = executor->first;

	if (node == NULL || !is_own(executor))
		return NULL;
	executor->first = node->next;
	if (executor->first == NULL) {
		executor->last = NULL;
		descriptor_set_locked(executor, false);
	}
	node->next = NULL;
	return node;
}

long weakref_executor_run(weakref_executor *executor)
{
	int error = heap_thread_check();

	if (!executor_is(executor))
		return -WEAKREF_EINVAL;
	if (error != 0 || !is_own(executor))
		return -WEAKREF_EPERM;
	long n = deliver_run_from(pop_locked, executor);
	BASE_KEEP(executor);
	return n;
}

static void *pending_locked(void *executor)
{
	return ((weakref_executor *)executor)->first;
}

bool weakref_executor_pending(const weakref_executor *executor)
{
	return executor_is(executor) && heap_thread_check() == 0 && heap_with_lock(pending_locked, (void *)executor) != NULL;
}

/* ---- waiting ---- */

/* NULL where there is nothing to wait for; else the sleeper, on the list. */
static void *sleep_locked(void *arg)
{
	struct sleeper *sleeper = arg;
	weakref_executor *executor = sleeper->executor;

	if (executor->first != NULL || !is_own(executor))
		return NULL;
	if (!sleeper->listed) {
		struct sleeper **list = sleepers_locked(executor);
		sleeper->next = *list;
		*list = sleeper;
		sleeper->listed = true;
	}
	return sleeper;
}

static void *awake_locked(void *arg)
{
	struct sleeper *sleeper = arg, **at = sleepers_locked(sleeper->executor);

	if (!sleeper->listed)
		return NULL;
	while (*at != sleeper)
		at = &(*at)->next;
	*at = sleeper->next;
	return NULL;
}

/* However the wait ends. With the lock: whoever posts has it. */
static void awake(void *sleeper)
{
	heap_with_lock(awake_locked, sleeper);
	sem_destroy(&((struct sleeper *)sleeper)->woken);
}

/* Until something waits, the thread is not the executor's, or the deadline. */
static NOINLINE void sleep_until(weakref_executor *executor, uint64_t deadline)
{
	struct sleeper sleeper = {.executor = executor};

	/* What the last task left behind would lie under the frames of a wait that may be long. */
	base_clear_stack_top();
	base_clear_registers();
	sem_init(&sleeper.woken, 0, 0);
	pthread_cleanup_push(awake, &sleeper);
	while (heap_with_lock(sleep_locked, &sleeper) != NULL && (deadline == BASE_FOREVER || base_now() < deadline))
		base_sleep(&sleeper.woken, deadline);
	pthread_cleanup_pop(1);
}

int weakref_executor_wait(weakref_executor *executor, double seconds)
{
	int error = heap_thread_check();

	if (!executor_is(executor) || isnan(seconds))
		return -WEAKREF_EINVAL;
	if (error != 0 || !is_own(executor))
		return -WEAKREF_EPERM;
	if (deliver_running())
		return -WEAKREF_EDEADLK;
	heap_attend();
	if (seconds != 0 && !weakref_executor_pending(executor))
		sleep_until(executor, base_deadline(seconds));
	/* In this order: what waits is this thread's as long as the executor is. */
	bool found = weakref_executor_pending(executor);
	error = !is_own(executor) ? -WEAKREF_EPERM : found ? 0 : -WEAKREF_ETIMEDOUT;
	BASE_KEEP(executor);
	return error;
}

/* ---- the descriptor ---- */

static void *give_up_locked(void *arg)
{
	struct descriptor *descriptor = arg;
	intptr_t fd = descriptor->fd;

	descriptor->there = false;
	return (void *)fd;
}

static int descriptor_destroy(void *obj)
{
	struct descriptor *descriptor = obj;

	if (descriptor->there)
		close((int)(intptr_t)heap_with_lock(give_up_locked, descriptor));
	return 0;
}

static const gc_type descriptor_type = {
	.name = "ExecutorDescriptor", .size = sizeof(struct descriptor), .flags = WEAKREF_TYPE_LEAF, .destroy = descriptor_destroy};

/* NULL with errno set. */
static struct descriptor *descriptor_new(void)
{
	struct descriptor *descriptor = gc_new(&descriptor_type);

	if (descriptor == NULL)
		return NULL;
	descriptor->fd = checks_allocation_fails() ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (descriptor->fd < 0)
		return base_null(WEAKREF_ENOMEM);
	descriptor->forks = lock_forks;
	descriptor->there = true;
	return descriptor;
}

struct offer {
	weakref_executor *executor;
	struct descriptor *descriptor;
};

/* Of several that come at once the first is taken. */
static void *take_locked(void *arg)
{
	struct offer *offer = arg;
	weakref_executor *executor = offer->executor;

	if (!descriptor_is_ours(executor->descriptor) && offer->descriptor != NULL) {
		executor->descriptor = offer->descriptor;
		if (executor->first != NULL)
			descriptor_set_locked(executor, true);
	}
	return descriptor_is_ours(executor->descriptor) ? executor->descriptor : NULL;
}

int weakref_executor_fd(weakref_executor *executor)
{
	int error = heap_thread_check();
	struct offer offer = {.executor = executor};

	if (!executor_is(executor))
		return -WEAKREF_EINVAL;
	if (error != 0)
		return error;
	struct descriptor *descriptor = heap_with_lock(take_locked, &offer);
	if (descriptor == NULL) {
		offer.descriptor = descriptor_new();
		if (offer.descriptor == NULL)
			return -errno;
		descriptor = heap_with_lock(take_locked, &offer);
		if (descriptor != offer.descriptor)
			descriptor_destroy(offer.descriptor);
	}
	int fd = descriptor->fd;
	BASE_KEEP(executor);
	BASE_KEEP(descriptor);
	return fd;
}

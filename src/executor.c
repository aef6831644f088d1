/* SPDX-License-Identifier: MIT */
/*
 * executor: see executor.h. A scanned block with a queue of nodes as deliver.c has one. No root holds it: what waits is alive as long as
 * somebody holds the executor.
 *
 * Threads are told apart by numbers that are never given twice: a thread that has ended is nobody else's namesake.
 *
 * Invariant: first == NULL if and only if last is stale.
 *
 * Locks: libgc's, for the queue.
 */
#include "executor.h"

#include <errno.h>
#include <string.h>

#include "heap.h"

#define EXECUTOR_SIGNATURE UINT64_C(0x6f74756365786577)

struct weakref_executor {
	uint64_t signature;
	struct deliver_node *first, *last;
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

void executor_queue_stw(weakref_executor *executor, struct deliver_node *node)
{
	node->next = NULL;
	if (executor->first == NULL)
		executor->first = node;
	else
		executor->last->next = node;
	executor->last = node;
}

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

static void *pop_locked(void *arg)
{
	weakref_executor *executor = arg;
	struct deliver_node *node = executor->first;

	if (node == NULL)
		return NULL;
	executor->first = node->next;
	if (executor->first == NULL)
		executor->last = NULL;
	node->next = NULL;
	return node;
}

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

int weakref_executor_adopt(weakref_executor *executor)
{
	int error = heap_thread_check();

	if (!executor_is(executor))
		return -WEAKREF_EINVAL;
	if (error == 0)
		atomic_store(&executor->thread, this_thread());
	return error;
}

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

long weakref_executor_run(weakref_executor *executor)
{
	int error = heap_thread_check();

	if (!executor_is(executor))
		return -WEAKREF_EINVAL;
	if (error != 0 || atomic_load(&executor->thread) != this_thread())
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

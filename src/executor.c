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

#include <string.h>

#include "heap.h"

#define EXECUTOR_SIGNATURE UINT64_C(0x6f74756365786577)

struct weakref_executor {
	uint64_t signature;
	struct deliver_node *first, *last;
	_Atomic uint64_t thread;
	char name[];
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

/* SPDX-License-Identifier: MIT */
/*
 * gc: the public face of the runtime: weakref/gc.h, and the order in which the layers below start.
 */
#include "weakref/gc.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "anchor.h"
#include "checks.h"
#include "collector.h"
#include "crew.h"
#include "cycle.h"
#include "deliver.h"
#include "finals.h"
#include "garbage.h"
#include "heap.h"
#include "lock.h"
#include "marking.h"
#include "object.h"
#include "tracking.h"
#include "weakarray.h"
#include "weakref/checks.h"

/* Before anything is cleared: what ephemerons keep alive. */
static struct cycle_scanner ephemerons = {
	.prepare_locked = weakarray_prepare_locked,
	.scan_stw = weakarray_close_stw,
};

static struct cycle_scanner weakarrays = {
	.scan_stw = weakarray_scan_stw,
	.settle_locked = weakarray_settle_locked,
	.check_locked = weakarray_check_locked,
};

static _Atomic size_t heap_limit;
static _Atomic unsigned debug_flags;

/* ---- start ---- */

static void fork_prepare(void)
{
	heap_fork_wait();
	lock_fork_prepare();
	heap_fork_prepare();
}

static void fork_parent(void)
{
	heap_fork_parent();
	lock_fork_parent();
}

static void fork_child(void)
{
	heap_fork_child();
	lock_fork_child();
	crew_fork_child();
	deliver_fork_child();
	finals_fork_child();
}

/* libgc's own fork handlers are there already, so ours run first: our locks are taken before libgc's. */
static int fork_handle(void)
{
	return pthread_atfork(fork_prepare, fork_parent, fork_child) == 0 ? 0 : -WEAKREF_ENOMEM;
}

/* Scanners run in this order. Delivery settles last: it announces what the others queued. */
static int scanners_add(void)
{
	int error = marking_init();

	if (error != 0)
		return error;
	cycle_add(&ephemerons);
	cycle_add(&weakarrays);
	anchor_init();
	finals_init();
	return 0;
}

int gc_init(void)
{
	static int (*const steps[])(void) = {heap_init,	 cycle_init,	scanners_add, object_init,
					     collector_init, tracking_init, deliver_init, fork_handle};
	static size_t done;
	static bool begun;
	const size_t n = sizeof steps / sizeof *steps;
	int error = 0;

	lock_take(&lock_init);
	if (!begun)
		checks_init();
	begun = true;
	while (error == 0 && done < n) {
		error = steps[done]();
		done += error == 0;
	}
	if (error == 0)
		heap_set_ready();
	lock_drop(&lock_init);
	return error;
}

/* ---- automatic collection ---- */

void gc_enable(void)
{
	heap_set_automatic(true);
}

void gc_disable(void)
{
	heap_set_automatic(false);
}

bool gc_isenabled(void)
{
	return heap_is_automatic();
}

/* ---- threads ---- */

int gc_thread_register(void)
{
	return heap_thread_register();
}

int gc_thread_unregister(void)
{
	return heap_thread_unregister();
}

bool gc_thread_is_registered(void)
{
	return heap_thread_check() == 0;
}

/* ---- kinds of hosts ---- */

int gc_set_kind_tracer(int kind, gc_tracer_fn fn)
{
	int error = heap_thread_check();

	return error != 0 ? error : marking_set_tracer(kind, fn);
}

/* ---- heap limit ---- */

int gc_set_heap_limit(size_t bytes)
{
	int error = heap_thread_check();

	if (error == -WEAKREF_EINVAL)
		return error;
	heap_set_limit(bytes);
	atomic_store(&heap_limit, bytes);
	return 0;
}

size_t gc_get_heap_limit(void)
{
	return atomic_load(&heap_limit);
}

/* ---- delivery ---- */

int gc_set_delivery(enum weakref_delivery delivery)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if (delivery > WEAKREF_DELIVER_MANUAL)
		return -WEAKREF_EINVAL;
	return deliver_set_policy(delivery);
}

enum weakref_delivery gc_get_delivery(void)
{
	return deliver_policy();
}

long gc_run_callbacks(void)
{
	int error = heap_thread_check();

	return error != 0 ? error : deliver_run();
}

bool gc_callbacks_pending(void)
{
	return heap_thread_check() != -WEAKREF_EINVAL && deliver_pending();
}

int gc_callbacks_fd(void)
{
	return heap_thread_check() == -WEAKREF_EINVAL ? -WEAKREF_EINVAL : deliver_fd();
}

int gc_set_unraisable_handler(gc_unraisable_fn handler, void *user)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	deliver_set_handler(handler, user);
	return 0;
}

/* ---- figures and debugging ---- */

int gc_set_debug(unsigned flags)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if ((flags & ~(unsigned)(WEAKREF_DEBUG_COUNT_ALL | WEAKREF_DEBUG_STATS | WEAKREF_DEBUG_LEAK)) != 0)
		return -WEAKREF_EINVAL;
	error = collector_set_debug(flags);
	if (error != 0)
		return error;
	unsigned before = atomic_exchange(&debug_flags, flags);
	garbage_set_saving((flags & WEAKREF_DEBUG_SAVEALL) != 0);
	cycle_set_count_all((flags & WEAKREF_DEBUG_COUNT_ALL) != 0);
	if ((flags & ~before & WEAKREF_DEBUG_COUNT_ALL) != 0)
		heap_collect();
	return 0;
}

unsigned gc_get_debug(void)
{
	return atomic_load(&debug_flags);
}

int gc_get_cycle_stats(gc_cycle_stats *out)
{
	if (out == NULL || heap_thread_check() == -WEAKREF_EINVAL)
		return -WEAKREF_EINVAL;
	cycle_stats(out);
	return 0;
}

static void *heap_stats_locked(void *arg)
{
	gc_heap_stats *out = arg;
	struct heap_figures figures = heap_figures_locked();

	*out = (gc_heap_stats){
		.heap = figures.heap,
		.free = figures.free,
		.unmapped = figures.unmapped,
		.allocated = figures.allocated,
		.allocated_since = figures.allocated_since,
		.objects = heap_objects_allocated_locked(),
	};
	return NULL;
}

int gc_get_heap_stats(gc_heap_stats *out)
{
	if (out == NULL || heap_thread_check() == -WEAKREF_EINVAL)
		return -WEAKREF_EINVAL;
	heap_with_lock(heap_stats_locked, out);
	return 0;
}

long weakref_checks_validate(void)
{
	int error = heap_thread_check();

	if (!CHECKS)
		return -WEAKREF_ENOTSUP;
	return error != 0 ? error : (long)(cycle_check() + weakarray_check_all() + checks_validate());
}

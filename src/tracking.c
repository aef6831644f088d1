/* SPDX-License-Identifier: MIT */
/*
 * tracking: see tracking.h and weakref/gc.h.
 *
 * libgc can enumerate the marked blocks only, and what is marked is what is alive at one moment: when a collection's reclaim has
 * ended, and libgc's lock is held yet. So whoever wants to know makes an array, and a collection; at its end, in the same thread, the array is filled. When it
 * turns out too small, all is done again. Pointers that are written there are to marked blocks, from a block that is marked itself: none
 * is lost.
 *
 * Frozen objects are those in an array that a root holds.
 *
 * Invariant: frozen_count is the number of objects in roots->frozen.
 *
 * Locks: libgc's.
 */
#include "tracking.h"

#include "collector.h"
#include "cycle.h"
#include "heap.h"
#include "weakref/gc.h"

/* A root: allocated uncollectable, scanned. */
struct roots {
	void **frozen;
};

struct request {
	bool leaves;
	void **out;
	size_t n;     /* how many fit */
	size_t found; /* how many there are */
};

static struct roots *roots;
static size_t frozen_count;
static _Thread_local struct request *request __attribute__((tls_model("initial-exec")));

static void take(void *obj, bool leaf, void *arg)
{
	struct request *r = arg;

	if (leaf && !r->leaves)
		return;
	if (r->found < r->n)
		r->out[r->found] = obj;
	r->found++;
}

static void settle_locked(void)
{
	if (request == NULL)
		return;
	struct request *r = request;

	/* What runs from here on may leave by longjmp. */
	request = NULL;
	r->found = 0;
	heap_objects_walk_locked(take, r);
}

static struct cycle_scanner scanner = {.settle_locked = settle_locked};

/* All objects that a collection leaves. Errors: -WEAKREF_ENOMEM, -WEAKREF_EBUSY, -WEAKREF_EPERM, -WEAKREF_EINVAL. */
static int list_all(struct request *r)
{
	int error = heap_thread_check();

	while (error == 0) {
		r->out = heap_alloc((r->n + 1) * sizeof *r->out);
		if (r->out == NULL)
			return -WEAKREF_ENOMEM;
		r->found = 0;
		request = r;
		bool done = collector_collect(COLLECTOR_TRIES);
		request = NULL;
		if (!done)
			return -WEAKREF_EBUSY;
		if (r->found <= r->n)
			return 0;
		r->n = r->found + r->found / 8;
	}
	return error;
}

void **gc_get_objects(int generation, size_t *n)
{
	struct request r = {.n = 64};

	if (n == NULL || generation < WEAKREF_ALL_GENERATIONS || generation >= WEAKREF_GENERATIONS)
		return base_null(WEAKREF_EINVAL);
	if (generation == 0 || generation == 1) {
		r.out = heap_alloc(sizeof *r.out);
		*n = r.out != NULL ? 0 : *n;
		return r.out;
	}
	int error = list_all(&r);
	if (error != 0)
		return base_null((enum weakref_error) - error);
	*n = r.found;
	return r.out;
}

bool gc_is_tracked(const void *obj)
{
	const struct heap_header *header = obj == NULL ? NULL : heap_object(obj);

	return header != NULL && heap_kind_of(header) == HEAP_OBJECT;
}

bool gc_is_finalized(const void *obj)
{
	const struct heap_header *header = obj == NULL ? NULL : heap_object(obj);

	return header != NULL && heap_is_finalized(header);
}

/* ---- freezing ---- */

static void *freeze_locked(void *arg)
{
	struct request *r = arg;

	roots->frozen = r->out;
	frozen_count = r->found;
	return NULL;
}

int gc_freeze(void)
{
	struct request r = {.leaves = true, .n = 64};
	int error = list_all(&r);

	if (error == 0)
		heap_with_lock(freeze_locked, &r);
	return error;
}

int gc_unfreeze(void)
{
	int error = heap_thread_check();

	if (error == 0)
		heap_with_lock(freeze_locked, &(struct request){0});
	return error;
}

static void *count_locked(void *out)
{
	*(size_t *)out = frozen_count;
	return NULL;
}

size_t gc_get_freeze_count(void)
{
	size_t n = 0;

	if (heap_thread_check() != -WEAKREF_EINVAL)
		heap_with_lock(count_locked, &n);
	return n;
}

int tracking_init(void)
{
	roots = cycle_roots_new(sizeof *roots);
	if (roots == NULL)
		return -WEAKREF_ENOMEM;
	roots->frozen = NULL;
	cycle_add(&scanner);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * object: see weakref/object.h. An object is a block of kind OBJECT or LEAF: header, then payload.
 *
 * An object whose type has a destructor has a `struct ending`, made with it and held by libgc's finalizer table as that finalizer's
 * data. libgc's finalizer only puts it into the delivery queue, with the object, which the queue then keeps alive until the destructor
 * has run. The registry of such objects serves one purpose: that a collection counts their deaths exactly.
 *
 * Invariants
 *  1. header->type is set last: an object is whole, or it is none.
 *  2. The registry holds every object whose destructor has not been due yet.
 *
 * Locks: libgc's, for the registry. The generic operations are in operation.c.
 */
#include "weakref/object.h"

#include <string.h>

#include "cycle.h"
#include "deliver.h"
#include "garbage.h"
#include "heap.h"
#include "object.h"

struct ending {
	struct deliver_node node;
	void *obj; /* from the moment that it was found dead */
};

static struct heap_header **registry;
static size_t count, capacity;

/* ---- the registry ---- */

static void *register_locked(void *header)
{
	if (count == capacity) {
		size_t more = capacity == 0 ? 4096 : capacity * 2;
		void *grown = heap_registry_grow(registry, capacity * sizeof *registry, more * sizeof *registry);
		if (grown == NULL)
			return NULL;
		registry = grown;
		capacity = more;
	}
	cycle_words_add_locked(1);
	return registry[count++] = header;
}

/* Of an object that was registered a moment ago. */
static void *unregister_locked(void *header)
{
	size_t i = count;

	while (registry[--i] != header)
		;
	memmove(&registry[i], &registry[i + 1], (--count - i) * sizeof *registry);
	cycle_words_remove_locked(1);
	return NULL;
}

static void scan_stw(void)
{
	struct cycle_tally tally = {0};
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		bool alive = cycle_alive_stw(registry[i]);
		if (!alive)
			cycle_dead_stw(registry[i], &tally);
		if (alive || garbage_saving)
			registry[kept++] = registry[i];
	}
	cycle_tally_stw(&tally);
	cycle_words_remove_locked(count - kept);
	deliver_expect_stw(count - kept);
	count = kept;
}

static size_t check_locked(void)
{
	for (size_t i = 0; i < count; i++)
		ASSERT(heap_base(registry[i]) == registry[i]);
	return count;
}

static struct cycle_scanner scanner = {.scan_stw = scan_stw, .check_locked = check_locked};

void object_init(void)
{
	cycle_add(&scanner);
}

/* ---- destructors ---- */

static const gc_type *type_of_header(const struct heap_header *header)
{
	return heap_type(header);
}

static void destructor_run(struct deliver_node *node)
{
	struct ending *ending = (struct ending *)node;
	void *obj = ending->obj;
	const gc_type *type = type_of_header((struct heap_header *)obj - 1);

	ending->obj = NULL;
	heap_set_finalized((struct heap_header *)obj - 1);
	int result = type->destroy(obj);
	if (result < 0)
		deliver_failed(result, "destructor", obj);
}

/* Called by libgc, in any thread, at any allocation: queues only. */
static void found_dead(void *header, void *data)
{
	struct ending *ending = data;

	ending->obj = (struct heap_header *)header + 1;
	deliver_queue(&ending->node);
}

static int destructor_set(struct heap_header *header)
{
	struct ending *ending = heap_alloc(sizeof *ending);

	if (ending == NULL)
		return -WEAKREF_ENOMEM;
	ending->node.run = destructor_run;
	if (heap_with_lock(register_locked, header) == NULL)
		return -WEAKREF_ENOMEM;
	int error = heap_finalizer_set(header, found_dead, ending);
	if (error != 0)
		heap_with_lock(unregister_locked, header);
	return error;
}

/* ---- making ---- */

static inline void *object_new(const gc_type *type, size_t size)
{
	bool leaf = (type->flags & WEAKREF_TYPE_LEAF) != 0;
	/* At least a byte of payload: else its address would be the next block's. */
	struct heap_header *header = heap_alloc_kind(leaf ? HEAP_LEAF : HEAP_OBJECT, HEAP_HEADER + size + (size == 0));

	if (unlikely(header == NULL))
		return NULL;
	if (unlikely(type->destroy != NULL) && destructor_set(header) != 0)
		return base_null(WEAKREF_ENOMEM);
	header->type = type;
	return header + 1;
}

void *gc_new(const gc_type *type)
{
	if (unlikely(type == NULL || type->size > PTRDIFF_MAX / 2))
		return base_null(WEAKREF_EINVAL);
	return object_new(type, type->size);
}

void *gc_new_extra(const gc_type *type, size_t extra)
{
	size_t size;

	if (type == NULL || __builtin_add_overflow(type->size, extra, &size) || size > PTRDIFF_MAX / 2)
		return base_null(WEAKREF_EINVAL);
	return object_new(type, size);
}

void *gc_alloc(size_t size)
{
	return heap_alloc(size);
}

void *gc_alloc_leaf(size_t size)
{
	return heap_alloc_leaf(size);
}

const gc_type *gc_type_of(const void *obj)
{
	const struct heap_header *header = obj == NULL ? NULL : heap_object(obj);

	return header == NULL ? NULL : heap_type(header);
}

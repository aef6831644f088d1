/* SPDX-License-Identifier: MIT */
/*
 * object: see weakref/object.h. An object is a block of kind OBJECT or LEAF: header, then payload.
 *
 * One whose type has a destructor is a mortal (mortal.h), from before it is whole.
 *
 * Invariant: header->type is set last: an object is whole, or it is none.
 *
 * The generic operations are in operation.c.
 */
#include "weakref/object.h"

#include "deliver.h"
#include "heap.h"
#include "mortal.h"
#include "object.h"

/* ---- destructors ---- */

static void destructor_run(void *base)
{
	struct heap_header *header = base;
	const gc_type *type = heap_type(header);

	/* Its thread is not in this process, and had not made it whole before the fork. */
	if (unlikely(type == NULL))
		return;
	heap_set_finalized(header);
	int result = type->destroy(header + 1);
	if (result < 0)
		deliver_failed(result, "destructor", header + 1);
}

int object_init(void)
{
	return mortal_init(destructor_run);
}

/* ---- making ---- */

static inline void *object_new(const gc_type *type, size_t size)
{
	bool leaf = (type->flags & WEAKREF_TYPE_LEAF) != 0;
	/* At least a byte of payload: else its address would be the next block's. */
	struct heap_header *header = heap_alloc_kind(leaf ? HEAP_LEAF : HEAP_OBJECT, HEAP_HEADER + size + (size == 0));

	if (unlikely(header == NULL))
		return NULL;
	if (unlikely(type->destroy != NULL) && mortal_add(header) != 0)
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

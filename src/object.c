/* SPDX-License-Identifier: MIT */
/*
 * object: see weakref/object.h. An object is a block of kind OBJECT or LEAF: header, then payload.
 *
 * One whose type has a destructor is a mortal (mortal.h), from before it is whole.
 *
 * In the --enable-checks build a guard stands behind the payload, up to the block's end: bytes of a pattern, and in the last word the
 * payload's size, twice. Each collection looks whether it is whole, of all objects that it left alive.
 *
 * Invariant: header->type is set last: an object is whole, or it is none.
 *
 * The generic operations are in operation.c.
 */
#include "weakref/object.h"

#include <string.h>

#include "cycle.h"
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
	/* Spared while it waited: it is no mortal any more, and that is all. */
	if (heap_type_bits_set(header, HEAP_FINALIZED) != 0)
		return;
	int result = type->destroy(header + 1);
	if (result < 0)
		deliver_failed(result, "destructor", header + 1);
}

static bool destructor_spared_stw(void *base)
{
	return heap_type_bits_change(base, HEAP_FINALIZED | HEAP_SPARED, HEAP_FINALIZED);
}

/* ---- guards ---- */

#define GUARD_BYTE 0xb5
#define GUARD_KEY UINT64_C(0xb5c3b5a7b59bb5d1) /* no address, whatever the size */
#define GUARD_MAX UINT32_MAX

static unsigned char *guard_word(const struct heap_header *header)
{
	return (unsigned char *)header + heap_size(header) - sizeof(uint64_t);
}

static uint64_t guard_of(size_t size)
{
	return GUARD_KEY ^ ((uint64_t)size << 32 | size);
}

static void guard(struct heap_header *header, size_t size)
{
	unsigned char *end = guard_word(header), *at = (unsigned char *)(header + 1) + size;

	if (size <= GUARD_MAX) {
		memset(at, GUARD_BYTE, (size_t)(end - at));
		memcpy(end, &(uint64_t){guard_of(size)}, sizeof(uint64_t));
	}
}

static void guard_check(void *obj, bool leaf, void *unused)
{
	const struct heap_header *header = (struct heap_header *)obj - 1;
	const unsigned char *at = obj, *end = guard_word(header);
	uint64_t word, size;

	(void)leaf;
	(void)unused;
	memcpy(&word, end, sizeof word);
	size = (word ^ GUARD_KEY) & GUARD_MAX;
	if ((size_t)(end - at) > GUARD_MAX)
		return;
	bool whole = word == guard_of(size) && size <= (size_t)(end - at);
	for (at += whole ? size : 0; whole && at < end; at++)
		whole = *at == GUARD_BYTE;
	if (!whole) {
		const gc_type *type = heap_type(header);
		base_fatal("<%s %p>: somebody wrote behind its end", type->name == NULL ? "object" : type->name, obj);
	}
}

static void guards_check_locked(void)
{
	heap_objects_walk_locked(guard_check, NULL);
}

static struct cycle_scanner guards = {.settle_locked = guards_check_locked};

int object_init(void)
{
	if (CHECKS)
		cycle_add(&guards);
	return mortal_init(destructor_run, destructor_spared_stw);
}

/* ---- making ---- */

static inline void *object_new(const gc_type *type, size_t size)
{
	bool leaf = (type->flags & WEAKREF_TYPE_LEAF) != 0;
	/* At least a byte of payload: else its address would be the next block's. */
	size_t behind = CHECKS ? sizeof(uint64_t) : size == 0;
	struct heap_header *header = heap_alloc_kind(leaf ? HEAP_LEAF : HEAP_OBJECT, HEAP_HEADER + size + behind);

	if (unlikely(header == NULL))
		return NULL;
	if (CHECKS)
		guard(header, size);
	if (unlikely(type->destroy != NULL) && mortal_add(header) != 0)
		return base_null(WEAKREF_ENOMEM);
	__atomic_store_n(&header->type, type, __ATOMIC_RELEASE);
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

/* ---- destructors that are called, or not, because the program says so ---- */

/* Errors: those of a thread, and -WEAKREF_EINVAL for what has no destructor. */
static int mortal_header(const void *obj, struct heap_header **header)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	*header = obj == NULL ? NULL : heap_object(obj);
	return *header == NULL || ((const gc_type *)heap_type(*header))->destroy == NULL ? -WEAKREF_EINVAL : 0;
}

/* Of several who ask one gets it. */
static bool spare(struct heap_header *header)
{
	return heap_type_bits_change(header, 0, HEAP_FINALIZED | HEAP_SPARED);
}

int gc_destroy_again(void *obj)
{
	struct heap_header *header;
	int error = mortal_header(obj, &header);

	if (error != 0)
		return error;
	if (heap_type_bits_change(header, HEAP_FINALIZED | HEAP_SPARED, 0))
		return 1;
	/* Of several who ask one adds it. */
	if (!heap_type_bits_change(header, HEAP_FINALIZED, 0))
		return 0;
	error = mortal_add(header);
	if (error != 0)
		heap_type_bits_set(header, HEAP_FINALIZED);
	BASE_KEEP(obj);
	return error != 0 ? error : 1;
}

int gc_destroy_now(void *obj, int *result)
{
	struct heap_header *header;
	int error = mortal_header(obj, &header);

	if (error != 0)
		return error;
	if (!spare(header))
		return 0;
	int got = ((const gc_type *)heap_type(header))->destroy(obj);
	if (result != NULL)
		*result = got;
	BASE_KEEP(obj);
	return 1;
}

int gc_destroy_cancel(void *obj)
{
	struct heap_header *header;
	int error = mortal_header(obj, &header);

	return error != 0 ? error : spare(header);
}

const gc_type *gc_type_of(const void *obj)
{
	const struct heap_header *header = obj == NULL ? NULL : heap_object(obj);

	return header == NULL ? NULL : heap_type(header);
}

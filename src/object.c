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
 * Locks: libgc's, for the registry.
 */
#include "weakref/object.h"

#include <stdio.h>
#include <string.h>

#include "cycle.h"
#include "deliver.h"
#include "heap.h"
#include "object.h"
#include "proxy.h"

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
	if (!cycle_words_add_locked(1))
		return NULL;
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
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (cycle_alive_stw(registry[i]))
			registry[kept++] = registry[i];
		else
			cycle_dead_stw(registry[i]);
	}
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
	return header->type;
}

static void destructor_run(struct deliver_node *node)
{
	struct ending *ending = (struct ending *)node;
	void *obj = ending->obj;
	const gc_type *type = type_of_header((struct heap_header *)obj - 1);

	ending->obj = NULL;
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

	return header == NULL ? NULL : header->type;
}

/* ---- generic operations ---- */

/* Puts the object in a proxy's place, and gives its type; where it has none (foreign blocks), one with empty slots. */
static int resolve(void **obj, const gc_type **type)
{
	static const gc_type block = {.name = "block"};
	int error = proxy_resolve(obj);

	if (error != 0)
		return error;
	*type = gc_type_of(*obj);
	if (*type != NULL)
		return 0;
	*type = &block;
	return heap_base(*obj) != NULL ? 0 : -WEAKREF_EINVAL;
}

int gc_repr(void *obj, char *buf, size_t size)
{
	const gc_type *type;
	int error = buf == NULL && size != 0 ? -WEAKREF_EINVAL : resolve(&obj, &type);

	if (error != 0)
		return error;
	if (type->repr != NULL)
		return type->repr(obj, buf, size);
	return snprintf(buf, size, "<%s at %p>", type->name != NULL ? type->name : "object", obj);
}

int gc_hash(void *obj, uint64_t *out)
{
	const gc_type *type;
	void *resolved = obj;
	int error = out == NULL ? -WEAKREF_EINVAL : resolve(&resolved, &type);

	if (resolved != obj || error == -WEAKREF_ESTALE)
		return -WEAKREF_ENOTSUP;
	if (error != 0)
		return error;
	if (type->hash != NULL)
		return type->hash(obj, out);
	*out = base_mix((uintptr_t)obj);
	return 0;
}

int gc_equal(void *a, void *b)
{
	const gc_type *type_a, *type_b;
	int error = resolve(&a, &type_a);

	if (error == 0)
		error = resolve(&b, &type_b);
	if (error != 0)
		return error;
	if (a == b)
		return 1;
	if (type_a->equal != NULL)
		return type_a->equal(a, b);
	return type_b->equal != NULL ? type_b->equal(b, a) : 0;
}

int gc_getattr(void *obj, const char *name, void **value)
{
	const gc_type *type;
	int error = name == NULL || value == NULL ? -WEAKREF_EINVAL : resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->getattr != NULL ? type->getattr(obj, name, value) : -WEAKREF_ENOTSUP;
}

int gc_setattr(void *obj, const char *name, void *value)
{
	const gc_type *type;
	int error = name == NULL ? -WEAKREF_EINVAL : resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->setattr != NULL ? type->setattr(obj, name, value) : -WEAKREF_ENOTSUP;
}

int gc_delattr(void *obj, const char *name)
{
	const gc_type *type;
	int error = name == NULL ? -WEAKREF_EINVAL : resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->delattr != NULL ? type->delattr(obj, name) : -WEAKREF_ENOTSUP;
}

int gc_call(void *obj, size_t argc, void **argv, void **result)
{
	const gc_type *type;
	void *unwanted;
	int error = argv == NULL && argc != 0 ? -WEAKREF_EINVAL : resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->call != NULL ? type->call(obj, argc, argv, result != NULL ? result : &unwanted) : -WEAKREF_ENOTSUP;
}

int gc_len(void *obj, size_t *out)
{
	const gc_type *type;
	int error = out == NULL ? -WEAKREF_EINVAL : resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->len != NULL ? type->len(obj, out) : -WEAKREF_ENOTSUP;
}

int gc_truth(void *obj)
{
	const gc_type *type;
	size_t len = 0;
	int error = resolve(&obj, &type);

	if (error != 0)
		return error;
	if (type->truth != NULL)
		return type->truth(obj);
	if (type->len == NULL)
		return 1;
	error = type->len(obj, &len);
	return error < 0 ? error : len != 0;
}

int gc_iterate(void *obj, gc_visit_fn visit, void *user)
{
	const gc_type *type;
	int error = visit == NULL ? -WEAKREF_EINVAL : resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->iterate != NULL ? type->iterate(obj, visit, user) : -WEAKREF_ENOTSUP;
}

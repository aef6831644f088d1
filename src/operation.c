/* SPDX-License-Identifier: MIT */
/*
 * operation: the generic operations of weakref/object.h: on an object through its type's slots, on a proxy through the object that it
 * stands for. No state but the text of a thread's last missing operation; no locks: slots are user code.
 *
 * An object that came out of a proxy is held by the frame that calls the slot.
 *
 * A slot that gets two objects says ENOTSUP where it does not know the other one, or the operator: it is as good as none then.
 *
 * Deliberately not here: conversions between operations, such as an order made from an equality; only where the header names a
 * substitute (str by repr, truth by len, inplace by operate) is there one.
 */
#include <stdio.h>

#include "heap.h"
#include "proxy.h"
#include "weakref/object.h"

#define DETAIL_SIZE 160

static _Thread_local char detail[DETAIL_SIZE];

const char *gc_error_detail(void)
{
	return detail;
}

static const char *name_of(const gc_type *type)
{
	return type->name != NULL ? type->name : "object";
}

static NOINLINE int missing(const gc_type *type, const char *operation)
{
	snprintf(detail, sizeof detail, "type '%.100s' has no operation '%s'", name_of(type), operation);
	return -WEAKREF_ENOTSUP;
}

/* The type of what cannot be told at once: what a proxy stands for, when the proxies are through, is told as cheaply as what was none. */
static NOINLINE int resolve_slowly(void **obj, const gc_type **type)
{
	static const gc_type block = {.name = "block"};
	const struct heap_header *known = NULL;
	int result;

	while (known == NULL && (result = proxy_step(obj)) > 0)
		known = heap_object_known(*obj);
	if (likely(known != NULL)) {
		*type = heap_type(known);
		return 0;
	}
	if (result < 0)
		return result;
	*type = gc_type_of(*obj);
	if (*type != NULL)
		return 0;
	*type = &block;
	return heap_base(*obj) != NULL ? 0 : -WEAKREF_EINVAL;
}

/* Puts the object in a proxy's place, and gives its type; where it has none (foreign blocks), one with empty slots. */
static int resolve(void **obj, const gc_type **type)
{
	const struct heap_header *known = heap_object_known(*obj);

	if (unlikely(known == NULL))
		return resolve_slowly(obj, type);
	*type = heap_type(known);
	return 0;
}

/* The same where the arguments are known to be fine or not. */
static int resolve_if(bool fine, void **obj, const gc_type **type)
{
	return fine ? resolve(obj, type) : -WEAKREF_EINVAL;
}

/* What a slot says to a question: 1 for any yes, since in C a yes is any number but 0. */
static int answer(int result)
{
	return result > 0 ? 1 : result;
}

/* ---- what every object has ---- */

int gc_repr(void *obj, char *buf, size_t size)
{
	const gc_type *type;
	int error = resolve_if(buf != NULL || size == 0, &obj, &type);

	if (error != 0)
		return error;
	return type->repr != NULL ? type->repr(obj, buf, size) : snprintf(buf, size, "<%s at %p>", name_of(type), obj);
}

int gc_str(void *obj, char *buf, size_t size)
{
	const gc_type *type;
	int error = resolve_if(buf != NULL || size == 0, &obj, &type);

	if (error != 0)
		return error;
	return type->str != NULL ? type->str(obj, buf, size) : gc_repr(obj, buf, size);
}

int gc_hash(void *obj, uint64_t *out)
{
	const gc_type *type;
	void *resolved = obj;
	int error = resolve_if(out != NULL, &resolved, &type);

	if (resolved != obj || error == -WEAKREF_ESTALE)
		return missing(&(gc_type){.name = "weakproxy"}, "hash");
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
	error = type_a->equal != NULL ? type_a->equal(a, b) : -WEAKREF_ENOTSUP;
	if (error == -WEAKREF_ENOTSUP && type_b != type_a && type_b->equal != NULL)
		error = type_b->equal(b, a);
	return error != -WEAKREF_ENOTSUP ? answer(error) : 0;
}

int gc_truth(void *obj)
{
	const gc_type *type;
	size_t len = 0;
	int error = resolve(&obj, &type);

	if (error != 0)
		return error;
	if (type->truth != NULL)
		return answer(type->truth(obj));
	if (type->len == NULL)
		return 1;
	error = type->len(obj, &len);
	return error < 0 ? error : len != 0;
}

int gc_compare(void *a, void *b, int *order)
{
	const gc_type *type_a, *type_b;
	int error = resolve_if(order != NULL, &a, &type_a);

	if (error == 0)
		error = resolve(&b, &type_b);
	if (error != 0)
		return error;
	error = type_a->compare != NULL ? type_a->compare(a, b, order) : -WEAKREF_ENOTSUP;
	if (error != -WEAKREF_ENOTSUP)
		return error;
	int turned = 0;
	if (type_b != type_a && type_b->compare != NULL)
		error = type_b->compare(b, a, &turned);
	if (error == 0)
		*order = (turned < 0) - (turned > 0);
	return error != -WEAKREF_ENOTSUP ? error : missing(type_a, "compare");
}

/* ---- attributes ---- */

int gc_getattr(void *obj, const char *name, void **value)
{
	const gc_type *type;
	int error = resolve_if(name != NULL && value != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->getattr != NULL ? type->getattr(obj, name, value) : missing(type, "getattr");
}

int gc_setattr(void *obj, const char *name, void *value)
{
	const gc_type *type;
	int error = resolve_if(name != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->setattr != NULL ? type->setattr(obj, name, value) : missing(type, "setattr");
}

int gc_delattr(void *obj, const char *name)
{
	const gc_type *type;
	int error = resolve_if(name != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->delattr != NULL ? type->delattr(obj, name) : missing(type, "delattr");
}

/* ---- calls and operators ---- */

int gc_call(void *obj, size_t argc, void **argv, void **result)
{
	const gc_type *type;
	void *unwanted;
	int error = resolve_if(argv != NULL || argc == 0, &obj, &type);

	if (error != 0)
		return error;
	return type->call != NULL ? type->call(obj, argc, argv, result != NULL ? result : &unwanted) : missing(type, "call");
}

/* What both kinds of operation begin with. An operand need not be on the heap. */
static int resolve_operands(void **obj, const gc_type **type, enum weakref_operator op, void **operand, void **result)
{
	bool fine = result != NULL && op <= WEAKREF_OP_INDEX && (op < WEAKREF_OP_NEGATIVE || *operand == NULL);
	int error = resolve_if(fine, obj, type);

	if (error != 0 || *operand == NULL)
		return error;
	return proxy_resolve(operand);
}

/* By the type of the left one, else of the right one, which may be no object. */
static int operate(const gc_type *type, void *obj, enum weakref_operator op, void *operand, void **result, const char *operation)
{
	int error = type->operate != NULL ? type->operate(obj, op, operand, result) : -WEAKREF_ENOTSUP;

	if (error != -WEAKREF_ENOTSUP)
		return error;
	const gc_type *other = gc_type_of(operand);
	if (other != NULL && other != type && other->operate_right != NULL)
		error = other->operate_right(operand, op, obj, result);
	return error != -WEAKREF_ENOTSUP ? error : missing(type, operation);
}

int gc_operate(void *obj, enum weakref_operator op, void *operand, void **result)
{
	const gc_type *type;
	int error = resolve_operands(&obj, &type, op, &operand, result);

	return error == 0 ? operate(type, obj, op, operand, result, "operate") : error;
}

int gc_inplace(void *obj, enum weakref_operator op, void *operand, void **result)
{
	const gc_type *type;
	int error = op < WEAKREF_OP_NEGATIVE ? resolve_operands(&obj, &type, op, &operand, result) : -WEAKREF_EINVAL;

	if (error != 0)
		return error;
	error = type->inplace != NULL ? type->inplace(obj, op, operand, result) : -WEAKREF_ENOTSUP;
	return error == -WEAKREF_ENOTSUP ? operate(type, obj, op, operand, result, "inplace") : error;
}

/* ---- containers ---- */

int gc_len(void *obj, size_t *out)
{
	const gc_type *type;
	int error = resolve_if(out != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->len != NULL ? type->len(obj, out) : missing(type, "len");
}

int gc_iterate(void *obj, gc_visit_fn visit, void *user)
{
	const gc_type *type;
	int error = resolve_if(visit != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->iterate != NULL ? type->iterate(obj, visit, user) : missing(type, "iterate");
}

int gc_iterate_reverse(void *obj, gc_visit_fn visit, void *user)
{
	const gc_type *type;
	int error = resolve_if(visit != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->iterate_reverse != NULL ? type->iterate_reverse(obj, visit, user) : missing(type, "iterate_reverse");
}

int gc_getitem(void *obj, void *key, void **value)
{
	const gc_type *type;
	int error = resolve_if(value != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->getitem != NULL ? type->getitem(obj, key, value) : missing(type, "getitem");
}

int gc_setitem(void *obj, void *key, void *value)
{
	const gc_type *type;
	int error = resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->setitem != NULL ? type->setitem(obj, key, value) : missing(type, "setitem");
}

int gc_delitem(void *obj, void *key)
{
	const gc_type *type;
	int error = resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->delitem != NULL ? type->delitem(obj, key) : missing(type, "delitem");
}

int gc_contains(void *obj, void *item)
{
	const gc_type *type;
	int error = resolve(&obj, &type);

	if (error != 0)
		return error;
	return type->contains != NULL ? answer(type->contains(obj, item)) : missing(type, "contains");
}

int gc_bytes(void *obj, const void **data, size_t *size)
{
	const gc_type *type;
	int error = resolve_if(data != NULL && size != NULL, &obj, &type);

	if (error != 0)
		return error;
	return type->bytes != NULL ? type->bytes(obj, data, size) : missing(type, "bytes");
}

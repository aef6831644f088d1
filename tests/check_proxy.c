/* SPDX-License-Identifier: MIT */
/*
 * check_proxy: weakref/proxy.h with the generic operations of weakref/object.h: each of them on an object and on a proxy alike, through
 * a dead proxy, and where the type does not have it.
 */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "weakref/proxy.h"

/* ---- a type that has everything: a vector of numbers --------------------------------------------------------------------- */

#define VEC_MAX 8

struct vec {
	size_t n;
	uintptr_t at[VEC_MAX];
	void *x;
};

/* Keys below 64 are indices; a slice is a pointer to one of these. */
struct slice {
	size_t from, to;
};

static void *number(uintptr_t n)
{
	return (void *)n;
}

static const gc_type vec_type;

static struct vec *vec_new(size_t n)
{
	struct vec *vec = gc_new(&vec_type);

	for (size_t i = 0; vec != NULL && i < n; i++)
		vec->at[vec->n++] = i + 1;
	return vec;
}

static int vec_str(void *obj, char *buf, size_t size)
{
	return snprintf(buf, size, "vector of %zu", ((struct vec *)obj)->n);
}

static int vec_hash(void *obj, uint64_t *out)
{
	*out = ((struct vec *)obj)->n;
	return 0;
}

static int vec_equal(void *a, void *b)
{
	struct vec *x = a, *y = b;

	return x->n == y->n && memcmp(x->at, y->at, x->n * sizeof x->at[0]) == 0;
}

static int vec_compare(void *a, void *b, int *order)
{
	struct vec *x = a, *y = b;

	*order = x->n < y->n ? -5 : x->n > y->n;
	return 0;
}

static int vec_getattr(void *obj, const char *name, void **value)
{
	*value = ((struct vec *)obj)->x;
	return strcmp(name, "x") == 0 && *value != NULL ? 0 : -WEAKREF_ENOENT;
}

static int vec_setattr(void *obj, const char *name, void *value)
{
	((struct vec *)obj)->x = value;
	return strcmp(name, "x") == 0 ? 0 : -WEAKREF_ENOENT;
}

static int vec_delattr(void *obj, const char *name)
{
	return vec_setattr(obj, name, NULL);
}

/* Adds its arguments; takes two of them. */
static int vec_call(void *obj, size_t argc, void **argv, void **result)
{
	(void)obj;
	if (argc != 2)
		return -E2BIG;
	*result = number((uintptr_t)argv[0] + (uintptr_t)argv[1]);
	return 0;
}

static int vec_len(void *obj, size_t *out)
{
	*out = ((struct vec *)obj)->n;
	return 0;
}

static int vec_iterate(void *obj, gc_visit_fn visit, void *user)
{
	struct vec *vec = obj;
	int stop = 0;

	for (size_t i = 0; i < vec->n && stop == 0; i++)
		stop = visit(number(vec->at[i]), user);
	return stop;
}

static int vec_iterate_reverse(void *obj, gc_visit_fn visit, void *user)
{
	struct vec *vec = obj;
	int stop = 0;

	for (size_t i = vec->n; i-- > 0 && stop == 0;)
		stop = visit(number(vec->at[i]), user);
	return stop;
}

static int vec_slice(struct vec *vec, const struct slice *slice, void **value)
{
	struct vec *part = slice->to > vec->n || slice->from > slice->to ? NULL : vec_new(0);

	for (size_t i = slice->from; part != NULL && i < slice->to; i++)
		part->at[part->n++] = vec->at[i];
	*value = part;
	return part != NULL ? 0 : -ERANGE;
}

static int vec_getitem(void *obj, void *key, void **value)
{
	struct vec *vec = obj;

	if ((uintptr_t)key >= 64)
		return vec_slice(vec, key, value);
	if ((uintptr_t)key >= vec->n)
		return -ERANGE;
	*value = number(vec->at[(uintptr_t)key]);
	return 0;
}

static int vec_setitem(void *obj, void *key, void *value)
{
	struct vec *vec = obj;

	if ((uintptr_t)key >= vec->n)
		return -ERANGE;
	vec->at[(uintptr_t)key] = (uintptr_t)value;
	return 0;
}

static int vec_delitem(void *obj, void *key)
{
	struct vec *vec = obj;
	size_t i = (uintptr_t)key;

	if (i >= vec->n)
		return -ERANGE;
	memmove(&vec->at[i], &vec->at[i + 1], (--vec->n - i) * sizeof vec->at[0]);
	return 0;
}

static int vec_contains(void *obj, void *item)
{
	struct vec *vec = obj;
	int found = 0;

	for (size_t i = 0; i < vec->n; i++)
		found |= vec->at[i] == (uintptr_t)item;
	return found;
}

static int vec_bytes(void *obj, const void **data, size_t *size)
{
	struct vec *vec = obj;

	*data = vec->at;
	*size = vec->n * sizeof vec->at[0];
	return 0;
}

/* The sum is a new vector; no other operator is known. */
static int vec_operate(void *obj, enum weakref_operator op, void *operand, void **result)
{
	struct vec *vec = obj, *other = operand, *sum = op == WEAKREF_OP_ADD ? vec_new(0) : NULL;

	if (sum == NULL)
		return op == WEAKREF_OP_ADD ? -WEAKREF_ENOMEM : -WEAKREF_ENOTSUP;
	for (size_t i = 0; i < vec->n && i < other->n; i++)
		sum->at[sum->n++] = vec->at[i] + other->at[i];
	*result = sum;
	return 0;
}

/* A quotient is a new object, as that of a Python class may be; a sum is the object itself, changed. */
static int vec_inplace(void *obj, enum weakref_operator op, void *operand, void **result)
{
	struct vec *vec = obj;

	if (op == WEAKREF_OP_DIVIDE || op == WEAKREF_OP_MATMUL)
		return (*result = vec_new(3)) != NULL ? 0 : -WEAKREF_ENOMEM;
	if (op != WEAKREF_OP_ADD)
		return -WEAKREF_ENOTSUP;
	for (size_t i = 0; i < vec->n; i++)
		vec->at[i] += ((struct vec *)operand)->at[i];
	*result = vec;
	return 0;
}

static const gc_type vec_type = {
	.name = "vec",
	.size = sizeof(struct vec),
	.str = vec_str,
	.hash = vec_hash,
	.equal = vec_equal,
	.compare = vec_compare,
	.getattr = vec_getattr,
	.setattr = vec_setattr,
	.delattr = vec_delattr,
	.call = vec_call,
	.len = vec_len,
	.iterate = vec_iterate,
	.iterate_reverse = vec_iterate_reverse,
	.getitem = vec_getitem,
	.setitem = vec_setitem,
	.delitem = vec_delitem,
	.contains = vec_contains,
	.bytes = vec_bytes,
	.operate = vec_operate,
	.inplace = vec_inplace,
};

/* The same operations are asked of an object (_i == 0) and of its proxy (_i == 1). */
static void *face(struct vec *vec, int which)
{
	return which == 0 ? (void *)vec : (void *)weakref_proxy_new(vec, NULL, NULL);
}

static int make_dead(void *arg)
{
	struct vec *vec = vec_new(2);

	*(weakref_ref **)arg = vec == NULL ? NULL : weakref_proxy_new(vec, NULL, NULL);
	return vec == NULL;
}

static weakref_ref *dead_proxy(void)
{
	weakref_ref *proxy = NULL;

	/* A stale word may keep one: another is made then. */
	for (int i = 0; i < 8 && (proxy == NULL || weakref_ref_get(proxy) != NULL); i++) {
		ck_assert_int_eq(support_on_thread(make_dead, &proxy), 0);
		support_collect();
	}
	ck_assert_ptr_null(weakref_ref_get(proxy));
	return proxy;
}

/* ---- forwarding ---------------------------------------------------------------------------------------------------------- */

/* C46: attributes are read, written and removed both ways while the object lives. */
START_TEST(test_C46_attributes)
{
	struct vec *vec = vec_new(1);
	weakref_ref *proxy = weakref_proxy_new(vec, NULL, NULL);
	void *value = NULL;

	ck_assert_int_eq(gc_setattr(proxy, "x", vec), 0);
	ck_assert_ptr_eq(vec->x, vec);
	vec->x = proxy;
	ck_assert_int_eq(gc_getattr(proxy, "x", &value), 0);
	ck_assert_ptr_eq(value, proxy);
	ck_assert_int_eq(gc_delattr(proxy, "x"), 0);
	ck_assert_ptr_null(vec->x);
	ck_assert_int_eq(gc_getattr(proxy, "x", &value), -WEAKREF_ENOENT);
	SUPPORT_KEEP(vec);
}
END_TEST

/* C50: items are read, written and removed, by index and by slice; a failure of the type's is passed on. */
START_TEST(test_C50_items)
{
	struct vec *vec = vec_new(4);
	void *obj = face(vec, _i), *value = NULL;
	struct slice middle = {1, 3}, too_far = {1, 9};

	ck_assert_int_eq(gc_getitem(obj, number(2), &value), 0);
	ck_assert_ptr_eq(value, number(3));
	ck_assert_int_eq(gc_getitem(obj, number(5), &value), -ERANGE);
	ck_assert_int_eq(gc_setitem(obj, number(2), number(30)), 0);
	ck_assert_uint_eq(vec->at[2], 30);
	ck_assert_int_eq(gc_getitem(obj, &middle, &value), 0);
	ck_assert_uint_eq(((struct vec *)value)->n, 2);
	ck_assert_uint_eq(((struct vec *)value)->at[1], 30);
	ck_assert_int_eq(gc_getitem(obj, &too_far, &value), -ERANGE);
	ck_assert_int_eq(gc_delitem(obj, number(0)), 0);
	ck_assert_uint_eq(vec->n, 3);
	ck_assert_uint_eq(vec->at[0], 2);
	ck_assert_int_eq(gc_delitem(obj, number(7)), -ERANGE);
	SUPPORT_KEEP(vec);
}
END_TEST

/* C50: contains and length. */
START_TEST(test_C50_contains_and_length)
{
	struct vec *vec = vec_new(4);
	void *obj = face(vec, _i);
	size_t n = 0;

	ck_assert_int_eq(gc_contains(obj, number(4)), 1);
	ck_assert_int_eq(gc_contains(obj, number(9)), 0);
	ck_assert_int_eq(gc_len(obj, &n), 0);
	ck_assert_uint_eq(n, 4);
	SUPPORT_KEEP(vec);
}
END_TEST

/* C50: order, by the type of either side, whichever of them is a proxy. */
START_TEST(test_C50_compare)
{
	struct vec *small = vec_new(1), *big = vec_new(3);
	struct support_node *node = support_node_new(1);
	void *a = face(small, _i & 1), *b = face(big, _i >> 1);
	int order = 0;

	ck_assert_int_eq(gc_compare(a, b, &order), 0);
	ck_assert_int_lt(order, 0);
	ck_assert_int_eq(gc_compare(b, a, &order), 0);
	ck_assert_int_gt(order, 0);
	ck_assert_int_eq(gc_compare(a, small, &order), 0);
	ck_assert_int_eq(order, 0);
	ck_assert_int_eq(gc_compare(node, node, &order), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_equal(a, small), 1);
	ck_assert_int_eq(gc_equal(a, b), 0);
	SUPPORT_KEEP(small);
	SUPPORT_KEEP(big);
}
END_TEST

/* A type whose order exists only from its own side: the other side's question is turned round. */
START_TEST(test_compare_turned_round)
{
	struct vec *vec = vec_new(0);
	struct support_node *node = support_node_new(1);
	int order = 0;

	/* A node's first word, its signature, is read as a length greater than 0. */
	ck_assert_int_eq(gc_compare(vec, node, &order), 0);
	ck_assert_int_lt(order, 0);
	ck_assert_int_eq(gc_compare(node, vec, &order), 0);
	ck_assert_int_eq(order, 1);
	SUPPORT_KEEP(vec);
}
END_TEST

struct visited {
	uintptr_t at[VEC_MAX];
	size_t n, stop_after;
};

static int visit(void *item, void *user)
{
	struct visited *v = user;

	v->at[v->n++] = (uintptr_t)item;
	return v->n == v->stop_after ? 7 : 0;
}

/* C50: iteration, forward and in reverse; what stops it is the result. */
START_TEST(test_C50_iterate)
{
	struct vec *vec = vec_new(3);
	void *obj = face(vec, _i);
	struct visited there = {0}, back = {0}, part = {.stop_after = 2};

	ck_assert_int_eq(gc_iterate(obj, visit, &there), 0);
	ck_assert_int_eq(gc_iterate_reverse(obj, visit, &back), 0);
	ck_assert_uint_eq(there.n, 3);
	ck_assert_uint_eq(back.n, 3);
	for (size_t i = 0; i < 3; i++)
		ck_assert_uint_eq(there.at[i], back.at[2 - i]);
	ck_assert_int_eq(gc_iterate_reverse(obj, visit, &part), 7);
	ck_assert_uint_eq(part.n, 2);
	ck_assert_uint_eq(part.at[1], 2);
	SUPPORT_KEEP(vec);
}
END_TEST

/* C50: conversion to text and bytes; without a text of its own an object has its repr. */
START_TEST(test_C50_text_and_bytes)
{
	struct vec *vec = vec_new(2);
	struct support_node *node = support_node_new(1);
	void *obj = face(vec, _i);
	const void *data = NULL;
	char buf[64], repr[64];
	size_t size = 0;

	ck_assert_int_eq(gc_str(obj, buf, sizeof buf), (int)strlen("vector of 2"));
	ck_assert_str_eq(buf, "vector of 2");
	ck_assert_int_gt(gc_repr(obj, repr, sizeof repr), 0);
	ck_assert_ptr_nonnull(strstr(repr, "<vec at "));
	ck_assert_int_eq(gc_bytes(obj, &data, &size), 0);
	ck_assert_uint_eq(size, 2 * sizeof(uintptr_t));
	ck_assert_ptr_eq(data, vec->at);
	ck_assert_int_gt(gc_str(node, buf, sizeof buf), 0);
	ck_assert_int_gt(gc_repr(node, repr, sizeof repr), 0);
	ck_assert_str_eq(buf, repr);
	SUPPORT_KEEP(vec);
}
END_TEST

/* C49: a proxy is as true as its object is: an empty container is false. */
START_TEST(test_C49_truth)
{
	struct vec *empty = vec_new(0), *full = vec_new(1);

	ck_assert_int_eq(gc_truth(face(empty, _i)), 0);
	ck_assert_int_eq(gc_truth(face(full, _i)), 1);
	SUPPORT_KEEP(empty);
	SUPPORT_KEEP(full);
}
END_TEST

/* C51: an operation in place gives the operation's result: the object itself, or a new one, never the proxy. */
START_TEST(test_C51_in_place)
{
	struct vec *vec = vec_new(3), *other = vec_new(3);
	void *obj = face(vec, _i), *operand = face(other, _i), *result = NULL;

	ck_assert_int_eq(gc_inplace(obj, WEAKREF_OP_ADD, operand, &result), 0);
	ck_assert_ptr_eq(result, vec);
	ck_assert_uint_eq(vec->at[2], 6);
	ck_assert_int_eq(gc_inplace(obj, WEAKREF_OP_MATMUL, operand, &result), 0);
	ck_assert_ptr_ne(result, vec);
	ck_assert(!weakref_is_proxy(result) && gc_type_of(result) == &vec_type);
	ck_assert_int_eq(gc_inplace(obj, WEAKREF_OP_XOR, operand, &result), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_ADD, operand, &result), 0);
	ck_assert_uint_eq(((struct vec *)result)->at[2], 9);
	ck_assert_int_eq(gc_operate(obj, (enum weakref_operator)(WEAKREF_OP_INDEX + 1), NULL, &result), -WEAKREF_EINVAL);
	SUPPORT_KEEP(vec);
	SUPPORT_KEEP(other);
}
END_TEST

/* C51: a type without inplace has its plain operation used instead. */
START_TEST(test_C51_in_place_by_operate)
{
	static const gc_type plain = {.name = "plain", .size = sizeof(struct vec), .operate = vec_operate};
	struct vec *vec = gc_new(&plain), *other = vec_new(1);
	void *result = NULL;

	vec->n = 1;
	ck_assert_int_eq(gc_inplace(weakref_proxy_new(vec, NULL, NULL), WEAKREF_OP_ADD, other, &result), 0);
	ck_assert_ptr_ne(result, vec);
	ck_assert_uint_eq(((struct vec *)result)->n, 1);
	SUPPORT_KEEP(vec);
}
END_TEST

/* ---- a type that knows its own kind alone, on the left, and all others on the right ---- */

struct num {
	intptr_t n;
};

static size_t asked_right;

static const gc_type num_type;

static struct num *num_new(intptr_t n)
{
	struct num *num = gc_new(&num_type);

	ck_assert_ptr_nonnull(num);
	num->n = n;
	return num;
}

/* Results are numbers in a pointer's place. */
static int num_operate(void *obj, enum weakref_operator op, void *operand, void **result)
{
	intptr_t n = ((struct num *)obj)->n;

	switch (op) {
	case WEAKREF_OP_NEGATIVE: return (*result = (void *)-n, 0);
	case WEAKREF_OP_ABSOLUTE: return (*result = (void *)(n < 0 ? -n : n), 0);
	case WEAKREF_OP_INVERT: return (*result = (void *)~n, 0);
	case WEAKREF_OP_POSITIVE:
	case WEAKREF_OP_INT:
	case WEAKREF_OP_INDEX: return (*result = (void *)n, 0);
	case WEAKREF_OP_FLOAT: return -EDOM;
	case WEAKREF_OP_DIVMOD:
	case WEAKREF_OP_ADD: break;
	default: return -WEAKREF_ENOTSUP;
	}
	if (gc_type_of(operand) != &num_type)
		return -WEAKREF_ENOTSUP;
	intptr_t other = ((struct num *)operand)->n;
	*result = (void *)(op == WEAKREF_OP_ADD ? n + other : n / other * 100 + n % other);
	return 0;
}

/* What is on the left has its length, or nothing. */
static int num_operate_right(void *obj, enum weakref_operator op, void *left, void **result)
{
	asked_right++;
	if (op == WEAKREF_OP_MATMUL)
		return -ERANGE;
	if (op != WEAKREF_OP_SUBTRACT)
		return -WEAKREF_ENOTSUP;
	*result = (void *)((gc_type_of(left) == &vec_type ? (intptr_t)((struct vec *)left)->n : 100) - ((struct num *)obj)->n);
	return 0;
}

/* A sum in place is known of numbers alone. */
static int num_inplace(void *obj, enum weakref_operator op, void *operand, void **result)
{
	if (op != WEAKREF_OP_ADD || gc_type_of(operand) != &num_type)
		return -WEAKREF_ENOTSUP;
	((struct num *)obj)->n += ((struct num *)operand)->n;
	*result = obj;
	return 0;
}

static int knows_nobody(void *a, void *b)
{
	(void)a;
	(void)b;
	return -WEAKREF_ENOTSUP;
}

static int orders_nobody(void *a, void *b, int *order)
{
	*order = 77;
	return knows_nobody(a, b);
}

/* A number, too, but one that knows of no other. */
static const gc_type shy_type = {.name = "shy", .size = sizeof(struct num), .equal = knows_nobody, .compare = orders_nobody};

/* Among its own kind, and shy ones. */
static int num_compare(void *a, void *b, int *order)
{
	const gc_type *type = gc_type_of(b);
	intptr_t mine = ((struct num *)a)->n;

	if (type != &num_type && type != &shy_type)
		return -WEAKREF_ENOTSUP;
	*order = mine < ((struct num *)b)->n ? -1 : mine > ((struct num *)b)->n;
	return 0;
}

static int num_equal(void *a, void *b)
{
	int order = 0, error = num_compare(a, b, &order);

	return error != 0 ? error : order == 0;
}

static const gc_type num_type = {
	.name = "num",
	.size = sizeof(struct num),
	.flags = WEAKREF_TYPE_LEAF,
	.equal = num_equal,
	.compare = num_compare,
	.operate = num_operate,
	.inplace = num_inplace,
	.operate_right = num_operate_right,
};

static void *num_face(struct num *num, int which)
{
	return which == 0 ? (void *)num : (void *)weakref_proxy_new(num, NULL, NULL);
}

/* C50, R232: operators with one operand, conversions to numbers among them, and the quotient with its rest. (CPython: test_proxy_index,
 * test_newstyle_number_ops.) */
START_TEST(test_R232_one_operand)
{
	static const struct {
		enum weakref_operator op;
		intptr_t result;
	} ops[] = {
		{WEAKREF_OP_NEGATIVE, 7}, {WEAKREF_OP_POSITIVE, -7}, {WEAKREF_OP_ABSOLUTE, 7},
		{WEAKREF_OP_INVERT, 6},	  {WEAKREF_OP_INT, -7},	     {WEAKREF_OP_INDEX, -7},
	};
	struct num *num = num_new(-7), *big = num_new(45), *small = num_new(7);
	void *obj = num_face(num, _i), *result = NULL;

	for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
		ck_assert_int_eq(gc_operate(obj, ops[i].op, NULL, &result), 0);
		ck_assert_int_eq((intptr_t)result, ops[i].result);
		ck_assert_int_eq(gc_operate(obj, ops[i].op, num, &result), -WEAKREF_EINVAL);
		ck_assert_int_eq(gc_inplace(obj, ops[i].op, NULL, &result), -WEAKREF_EINVAL);
	}
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_FLOAT, NULL, &result), -EDOM);
	ck_assert_int_eq(gc_operate(num_face(big, _i), WEAKREF_OP_DIVMOD, num_face(small, _i), &result), 0);
	ck_assert_int_eq((intptr_t)result, 603);
	ck_assert_int_eq(gc_inplace(num_face(big, _i), WEAKREF_OP_DIVMOD, num_face(small, _i), &result), 0);
	ck_assert_int_eq((intptr_t)result, 603);
	ck_assert_int_eq(big->n, 45);
	SUPPORT_KEEP(num);
	SUPPORT_KEEP(small);
}
END_TEST

/* R232: what the left one's type does not know the right one's is asked, each once, whichever is a proxy; not where they are of one type. What
 * neither knows is named by the left one's. (CPython: 5 @ p in test_proxy_matmul; PyPy: test_reverse_add.) */
START_TEST(test_R232_right_operand)
{
	struct num *num = num_new(1), *same = num_new(2);
	struct vec *vec = vec_new(3);
	struct support_node *node = support_node_new(1);
	void *right = num_face(num, _i >> 1), *knows_not = face(vec, _i & 1), *result = NULL;
	void *has_none = _i & 1 ? (void *)weakref_proxy_new(node, NULL, NULL) : (void *)node;

	asked_right = 0;
	ck_assert_int_eq(gc_operate(knows_not, WEAKREF_OP_SUBTRACT, right, &result), 0);
	ck_assert_int_eq((intptr_t)result, 2);
	ck_assert_int_eq(gc_inplace(knows_not, WEAKREF_OP_SUBTRACT, right, &result), 0);
	ck_assert_int_eq((intptr_t)result, 2);
	ck_assert_int_eq(gc_operate(has_none, WEAKREF_OP_SUBTRACT, right, &result), 0);
	ck_assert_int_eq((intptr_t)result, 99);
	ck_assert_int_eq(gc_operate(gc_alloc(16), WEAKREF_OP_SUBTRACT, right, &result), 0);
	ck_assert_int_eq((intptr_t)result, 99);
	ck_assert_int_eq(gc_operate(has_none, WEAKREF_OP_MATMUL, right, &result), -ERANGE);
	ck_assert_uint_eq(asked_right, 5);
	ck_assert_int_eq(gc_operate(has_none, WEAKREF_OP_AND, right, &result), -WEAKREF_ENOTSUP);
	ck_assert_str_eq(gc_error_detail(), "type 'node' has no operation 'operate'");
	ck_assert_int_eq(gc_inplace(knows_not, WEAKREF_OP_AND, right, &result), -WEAKREF_ENOTSUP);
	ck_assert_str_eq(gc_error_detail(), "type 'vec' has no operation 'inplace'");
	ck_assert_uint_eq(asked_right, 7);
	ck_assert_int_eq(gc_operate(right, WEAKREF_OP_SUBTRACT, same, &result), -WEAKREF_ENOTSUP);
	ck_assert_str_eq(gc_error_detail(), "type 'num' has no operation 'operate'");
	ck_assert_int_eq(gc_operate(right, WEAKREF_OP_ADD, number(3), &result), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_operate(right, WEAKREF_OP_ADD, NULL, &result), -WEAKREF_ENOTSUP);
	ck_assert_uint_eq(asked_right, 7);
	SUPPORT_KEEP(num);
	SUPPORT_KEEP(vec);
	SUPPORT_KEEP(node);
}
END_TEST

/* R232: an operator that `inplace` does not know `operate` may know. */
START_TEST(test_R232_in_place_unknown)
{
	static const gc_type some = {.name = "some", .size = sizeof(struct num), .operate = num_operate, .inplace = num_operate_right};
	struct num *num = gc_new(&some), *other = num_new(5);
	void *result = NULL;

	num->n = 2;
	asked_right = 0;
	ck_assert_int_eq(gc_inplace(weakref_proxy_new(num, NULL, NULL), WEAKREF_OP_ADD, other, &result), 0);
	ck_assert_int_eq((intptr_t)result, 7);
	ck_assert_int_eq(num->n, 2);
	ck_assert_uint_eq(asked_right, 1);
	ck_assert_int_eq(gc_inplace(other, WEAKREF_OP_ADD, num_new(1), &result), 0);
	ck_assert_ptr_eq(result, other);
	ck_assert_int_eq(other->n, 6);
	SUPPORT_KEEP(num);
}
END_TEST

/* R232: equality and order: where the first one's type does not know the second, that one's is asked; where neither does there is no order,
 * and they are unequal. (CPython: __eq__ and __lt__ that return NotImplemented.) */
START_TEST(test_R232_equal_and_compare)
{
	struct num *three = num_new(3), *four = num_new(4), *shy = gc_new(&shy_type), *other = gc_new(&shy_type);
	struct support_node *node = support_node_new(1);
	void *obj = num_face(three, _i);
	int order = 0;

	shy->n = other->n = 3;
	ck_assert_int_eq(gc_equal(obj, shy), 1);
	ck_assert_int_eq(gc_equal(shy, obj), 1);
	ck_assert_int_eq(gc_equal(shy, four), 0);
	ck_assert_int_eq(gc_equal(shy, other), 0);
	ck_assert_int_eq(gc_equal(obj, node), 0);
	ck_assert_int_eq(gc_equal(node, obj), 0);
	ck_assert_int_eq(gc_compare(four, shy, &order), 0);
	ck_assert_int_gt(order, 0);
	ck_assert_int_eq(gc_compare(shy, four, &order), 0);
	ck_assert_int_lt(order, 0);
	ck_assert_int_eq(gc_compare(shy, obj, &order), 0);
	ck_assert_int_eq(order, 0);
	ck_assert_int_eq(gc_compare(obj, node, &order), -WEAKREF_ENOTSUP);
	ck_assert_str_eq(gc_error_detail(), "type 'num' has no operation 'compare'");
	ck_assert_int_eq(gc_compare(shy, other, &order), -WEAKREF_ENOTSUP);
	ck_assert_str_eq(gc_error_detail(), "type 'shy' has no operation 'compare'");
	ck_assert_int_eq(gc_compare(node, obj, &order), -WEAKREF_ENOTSUP);
	ck_assert_str_eq(gc_error_detail(), "type 'node' has no operation 'compare'");
	SUPPORT_KEEP(three);
}
END_TEST

/* C55: a call through a proxy passes arguments and result; the callee's error for the wrong number of them passes through. */
START_TEST(test_C55_call)
{
	struct vec *vec = vec_new(1);
	void *argv[] = {number(40), number(2)}, *result = NULL;

	ck_assert_int_eq(gc_call(face(vec, _i), 2, argv, &result), 0);
	ck_assert_ptr_eq(result, number(42));
	ck_assert_int_eq(gc_call(face(vec, _i), 1, argv, &result), -E2BIG);
	ck_assert_int_eq(gc_call(face(vec, _i), 2, argv, NULL), 0);
	SUPPORT_KEEP(vec);
}
END_TEST

/* C54: a proxy does not hash, though its object does, alive or dead. */
START_TEST(test_C54_no_hash)
{
	struct vec *vec = vec_new(5);
	uint64_t hash = 0;

	ck_assert_int_eq(gc_hash(vec, &hash), 0);
	ck_assert_uint_eq(hash, 5);
	ck_assert_int_eq(gc_hash(weakref_proxy_new(vec, NULL, NULL), &hash), -WEAKREF_ENOTSUP);
	ck_assert_ptr_nonnull(strstr(gc_error_detail(), "'hash'"));
	ck_assert_int_eq(gc_hash(dead_proxy(), &hash), -WEAKREF_ENOTSUP);
	SUPPORT_KEEP(vec);
}
END_TEST

/* ---- what there is not --------------------------------------------------------------------------------------------------- */

#define OPERATIONS 17

/* One of the operations that need a slot, or proxy's object, by number. */
static int operation(int which, void *obj, const char **name)
{
	static const char *const names[OPERATIONS] = {"getattr", "setattr",	    "delattr",	"call",	     "len",	 "iterate",
						      "iterate_reverse", "getitem", "setitem",	"delitem",   "contains", "compare",
						      "bytes",	 "operate", "inplace", "truth", "str"};
	struct visited v = {0};
	void *value;
	const void *data;
	size_t size;
	int order;
	char buf[8];

	*name = names[which];
	switch (which) {
	case 0: return gc_getattr(obj, "x", &value);
	case 1: return gc_setattr(obj, "x", NULL);
	case 2: return gc_delattr(obj, "x");
	case 3: return gc_call(obj, 0, NULL, NULL);
	case 4: return gc_len(obj, &size);
	case 5: return gc_iterate(obj, visit, &v);
	case 6: return gc_iterate_reverse(obj, visit, &v);
	case 7: return gc_getitem(obj, NULL, &value);
	case 8: return gc_setitem(obj, NULL, NULL);
	case 9: return gc_delitem(obj, NULL);
	case 10: return gc_contains(obj, NULL);
	case 11: return gc_compare(obj, obj, &order);
	case 12: return gc_bytes(obj, &data, &size);
	case 13: return gc_operate(obj, WEAKREF_OP_ADD, NULL, &value);
	case 14: return gc_inplace(obj, WEAKREF_OP_ADD, NULL, &value);
	case 15: return gc_truth(obj);
	default: return gc_str(obj, buf, sizeof buf);
	}
}

/* C47: every operation through a dead proxy says that the object is dead, the question for its truth included. */
START_TEST(test_C47_dead_proxy)
{
	weakref_ref *proxy = dead_proxy();
	const char *name;

	ck_assert_int_eq(operation(_i, proxy, &name), -WEAKREF_ESTALE);
}
END_TEST

/* C47: a dead proxy as the other side of an operation. */
START_TEST(test_C47_dead_operand)
{
	struct vec *vec = vec_new(1);
	weakref_ref *dead = dead_proxy();
	void *result = NULL;
	int order = 0;

	ck_assert_int_eq(gc_equal(vec, dead), -WEAKREF_ESTALE);
	ck_assert_int_eq(gc_compare(vec, dead, &order), -WEAKREF_ESTALE);
	ck_assert_int_eq(gc_operate(vec, WEAKREF_OP_ADD, dead, &result), -WEAKREF_ESTALE);
	ck_assert_int_eq(gc_inplace(vec, WEAKREF_OP_ADD, dead, &result), -WEAKREF_ESTALE);
	ck_assert_uint_eq(vec->at[0], 1);
	SUPPORT_KEEP(vec);
}
END_TEST

/* C52: an operation that the type does not have is refused, on the object and through the proxy, and the refusal names both. */
START_TEST(test_C52_missing_operation)
{
	struct support_node *node = support_node_new(1);
	void *faces[] = {node, weakref_proxy_new(node, NULL, NULL)};
	char wanted[64];
	const char *name;

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(operation(_i, faces[i], &name), -WEAKREF_ENOTSUP);
		snprintf(wanted, sizeof wanted, "type 'node' has no operation '%s'", name);
		ck_assert_str_eq(gc_error_detail(), wanted);
	}
	SUPPORT_KEEP(node);
}
END_TEST

static int own_detail(void *unused)
{
	(void)unused;
	return gc_error_detail()[0] != '\0';
}

/* C52: the text is the thread's own. */
START_TEST(test_C52_detail_is_the_threads)
{
	size_t n;

	ck_assert_int_eq(gc_len(support_node_new(1), &n), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(support_on_thread(own_detail, NULL), 0);
}
END_TEST

/* Where a result has to go somewhere, NULL is refused; so is what is not on the heap. */
START_TEST(test_wrong_arguments)
{
	struct vec *vec = vec_new(2);
	const void *data;
	int on_stack = 0, order;
	void *value;

	ck_assert_int_eq(gc_getitem(vec, NULL, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_getitem(NULL, NULL, &value), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_setitem(&on_stack, NULL, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_delitem(NULL, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_contains(NULL, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_compare(vec, vec, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_compare(vec, NULL, &order), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_bytes(vec, &data, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_str(vec, NULL, 1), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_operate(vec, WEAKREF_OP_ADD, vec, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_inplace(vec, WEAKREF_OP_ADD, vec, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_iterate_reverse(vec, NULL, NULL), -WEAKREF_EINVAL);
}
END_TEST

static int tell(weakref_ref *ref, void *data);

static int make_chain(void *arg)
{
	weakref_ref **proxies = arg;
	struct vec *vec = vec_new(1);

	for (int i = 0; i < 3; i++)
		proxies[i] = weakref_proxy_new(i == 0 ? (void *)vec : (void *)proxies[i - 1], NULL, NULL);
	return proxies[2] == NULL;
}

/* R235: a proxy of a proxy of a proxy stands for the object, as long as that lives and the proxies between are there. */
START_TEST(test_R235_proxy_of_a_proxy)
{
	weakref_ref **proxies = gc_alloc(3 * sizeof *proxies);
	struct vec *vec = vec_new(2);
	size_t n = 0;
	uint64_t hash;
	void *result = NULL;

	for (int i = 0; i < 3; i++)
		proxies[i] = weakref_proxy_new(i == 0 ? (void *)vec : (void *)proxies[i - 1], NULL, NULL);
	ck_assert_ptr_eq(weakref_ref_get(proxies[2]), proxies[1]);
	ck_assert(gc_len(proxies[2], &n) == 0 && n == 2);
	ck_assert_int_eq(gc_equal(proxies[2], proxies[0]), 1);
	ck_assert_int_eq(gc_equal(vec, proxies[1]), 1);
	ck_assert_int_eq(gc_inplace(proxies[1], WEAKREF_OP_ADD, proxies[2], &result), 0);
	ck_assert(result == vec && vec->at[1] == 4);
	ck_assert_int_eq(gc_hash(proxies[2], &hash), -WEAKREF_ENOTSUP);
	SUPPORT_KEEP(vec);
	for (int i = 0; i < 8 && (i == 0 || weakref_ref_get(proxies[0]) != NULL); i++) {
		ck_assert_int_eq(support_on_thread(make_chain, proxies), 0);
		support_collect();
	}
	ck_assert_ptr_eq(weakref_ref_get(proxies[2]), proxies[1]);
	ck_assert_int_eq(gc_len(proxies[2], &n), -WEAKREF_ESTALE);
	ck_assert_int_eq(gc_truth(proxies[1]), -WEAKREF_ESTALE);
}
END_TEST

/* R235: no proxy comes to stand for itself; a reference may be pointed at a proxy. */
START_TEST(test_R235_no_rings)
{
	struct vec *vec = vec_new(2), *other = vec_new(3);
	weakref_ref *plain = weakref_proxy_new(vec, NULL, NULL), *first = weakref_proxy_new(vec, tell, NULL);
	weakref_ref *second = weakref_proxy_new(first, tell, NULL), *ref = weakref_ref_new(vec, tell, NULL);
	size_t n = 0;

	ck_assert_int_eq(weakref_ref_retarget(first, first), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_ref_retarget(first, second), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_ref_retarget(second, plain), -WEAKREF_EINVAL);
	ck_assert(gc_len(second, &n) == 0 && n == 2);
	ck_assert_int_eq(weakref_ref_retarget(first, other), 0);
	ck_assert(gc_len(second, &n) == 0 && n == 3);
	ck_assert_int_eq(weakref_ref_retarget(ref, plain), 0);
	ck_assert_ptr_eq(weakref_ref_get(ref), plain);
	SUPPORT_KEEP(vec);
	SUPPORT_KEEP(other);
	SUPPORT_KEEP(first);
}
END_TEST

/* ---- callbacks ----------------------------------------------------------------------------------------------------------- */

static size_t told;

static int tell(weakref_ref *ref, void *data)
{
	(void)data;
	told += weakref_is_proxy(ref) && weakref_ref_get(ref) == NULL;
	return 0;
}

static int make_many(void *arg)
{
	weakref_ref **proxies = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct vec *vec = vec_new(1);
		SUPPORT_REQUIRE(vec != NULL);
		proxies[i] = weakref_proxy_new(vec, tell, NULL);
		SUPPORT_REQUIRE(proxies[i] != NULL && gc_truth(proxies[i]) == 1);
	}
	return 0;
}

/* C48: a proxy's callback runs once, when its object died. */
START_TEST(test_C48_callback)
{
	weakref_ref **proxies = gc_alloc(SUPPORT_N * sizeof *proxies);

	told = 0;
	ck_assert_int_eq(support_on_thread(make_many, proxies), 0);
	support_collect();
	ck_assert_uint_ge(told, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(told, support_dead(proxies, SUPPORT_N));
	support_collect();
	ck_assert_uint_le(told, SUPPORT_N);
	SUPPORT_KEEP(proxies);
}
END_TEST

/* ---- the object is held ---------------------------------------------------------------------------------------------------- */

static void *volatile only_holder;
static weakref_ref *watch_dropped;
static size_t lost;

/* An operation that drops the object it was asked of. */
static int drop_and_collect(void *obj)
{
	only_holder = NULL;
	support_collect();
	lost += weakref_ref_get(watch_dropped) != obj;
	return ((struct vec *)obj)->at[0];
}

static int dropping_len(void *obj, size_t *out)
{
	*out = (size_t)drop_and_collect(obj);
	return 0;
}

static int dropping_truth(void *obj)
{
	return drop_and_collect(obj) == 1;
}

static int dropping_call(void *obj, size_t argc, void **argv, void **result)
{
	(void)argc;
	(void)argv;
	*result = NULL;
	return drop_and_collect(obj);
}

static int dropping_iterate(void *obj, gc_visit_fn fn, void *user)
{
	return fn(obj, user) != 0 ? -WEAKREF_EINVAL : drop_and_collect(obj);
}

static int visit_nothing(void *item, void *user)
{
	(void)item;
	(void)user;
	return 0;
}

static const gc_type dropping_type = {
	.name = "dropping",
	.size = sizeof(struct vec),
	.len = dropping_len,
	.truth = dropping_truth,
	.call = dropping_call,
	.iterate = dropping_iterate,
};

static int make_dropping(void *arg)
{
	struct vec *vec = gc_new(&dropping_type);

	SUPPORT_REQUIRE(vec != NULL);
	vec->at[0] = 1;
	only_holder = vec;
	watch_dropped = weakref_ref_new(vec, NULL, NULL);
	*(weakref_ref **)arg = weakref_proxy_new(vec, NULL, NULL);
	return *(weakref_ref **)arg == NULL;
}

/* R90: an operation holds the object whose proxy was asked, though the operation itself drops and collects it; afterwards it dies. (CPython:
 * test_proxy_iter.) */
START_TEST(test_operation_holds_its_object)
{
	size_t n = 0, stayed = 0;
	void *result;

	lost = 0;
	for (int i = 0; i < 16; i++) {
		weakref_ref *proxy = NULL;

		ck_assert_int_eq(support_on_thread(make_dropping, &proxy), 0);
		if (i % 4 == 0)
			ck_assert(gc_len(proxy, &n) == 0 && n == 1);
		else if (i % 4 == 1)
			ck_assert_int_eq(gc_truth(proxy), 1);
		else if (i % 4 == 2)
			ck_assert_int_eq(gc_call(proxy, 0, NULL, &result), 1);
		else
			ck_assert_int_eq(gc_iterate(proxy, visit_nothing, NULL), 1);
		support_collect();
		stayed += weakref_ref_get(proxy) != NULL;
	}
	ck_assert_uint_eq(lost, 0);
	ck_assert_uint_le(stayed, SUPPORT_SLACK);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("proxy");
	TCase *both = support_tcase("on objects and proxies"), *none = support_tcase("missing and dead");

	tcase_add_test(both, test_C46_attributes);
	tcase_add_loop_test(both, test_C50_items, 0, 2);
	tcase_add_loop_test(both, test_C50_contains_and_length, 0, 2);
	tcase_add_loop_test(both, test_C50_compare, 0, 4);
	tcase_add_test(both, test_compare_turned_round);
	tcase_add_loop_test(both, test_C50_iterate, 0, 2);
	tcase_add_loop_test(both, test_C50_text_and_bytes, 0, 2);
	tcase_add_loop_test(both, test_C49_truth, 0, 2);
	tcase_add_loop_test(both, test_C51_in_place, 0, 2);
	tcase_add_test(both, test_C51_in_place_by_operate);
	tcase_add_loop_test(both, test_R232_one_operand, 0, 2);
	tcase_add_loop_test(both, test_R232_right_operand, 0, 4);
	tcase_add_test(both, test_R232_in_place_unknown);
	tcase_add_loop_test(both, test_R232_equal_and_compare, 0, 2);
	tcase_add_loop_test(both, test_C55_call, 0, 2);
	tcase_add_test(both, test_C54_no_hash);
	tcase_add_test(both, test_R235_proxy_of_a_proxy);
	tcase_add_test(both, test_R235_no_rings);
	tcase_add_test(both, test_C48_callback);
	tcase_add_test(both, test_operation_holds_its_object);
	suite_add_tcase(suite, both);

	tcase_add_loop_test(none, test_C47_dead_proxy, 0, OPERATIONS);
	tcase_add_test(none, test_C47_dead_operand);
	tcase_add_loop_test(none, test_C52_missing_operation, 0, OPERATIONS - 2);
	tcase_add_test(none, test_C52_detail_is_the_threads);
	tcase_add_test(none, test_wrong_arguments);
	suite_add_tcase(suite, none);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

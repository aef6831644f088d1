/* SPDX-License-Identifier: MIT */
/*
 * check_set: the contract of weakref/set.h, by public headers alone. Names of tests carry the behaviour's id in the
 * conformance list.
 *
 * Elements are made on a thread whose stack goes away; what is to live stands in an array of the heap that the test holds.
 * Most tests run for both comparisons (_i is the enumerator).
 *
 * Absent: threads at work on one set (stress.c), long random sequences (model_containers.c).
 */
#include "elements.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/proxy.h"
#include "weakref/set.h"

#define N ((size_t)128)

struct fixture {
	weakref_set *set, *other;
	struct element **strong; /* [n] */
	size_t from, n, keep;    /* keep: hold every element whose number is a multiple; 0 for none */
	size_t found;
};

static int fill(void *arg)
{
	struct fixture *f = arg;

	for (size_t i = f->from; i < f->n; i++) {
		struct element *e = element_new(i);

		SUPPORT_REQUIRE(e != NULL && weakref_set_add(f->set, e) == 1);
		f->strong[i] = f->keep != 0 && i % f->keep == 0 ? e : NULL;
	}
	return 0;
}

/* Goes through the set: each element intact, none twice, each held one there. */
static int look(void *arg)
{
	struct fixture *f = arg;
	weakref_set_iter *iter = weakref_set_iter_new(f->set);
	uint8_t *seen = calloc(f->n, 1);
	void *p;
	int rc;

	SUPPORT_REQUIRE(iter != NULL && seen != NULL);
	f->found = 0;
	while ((rc = weakref_set_iter_next(iter, &p)) == 1) {
		struct element *e = p;

		SUPPORT_REQUIRE(element_intact(e) && e->id < f->n && !seen[e->id]);
		SUPPORT_REQUIRE(weakref_set_contains(f->set, e) == 1 && weakref_set_find(f->set, e) == e);
		seen[e->id] = 1;
		f->found++;
	}
	SUPPORT_REQUIRE(rc == 0);
	for (size_t i = 0; i < f->n; i++)
		SUPPORT_REQUIRE(f->strong[i] == NULL || seen[i]);
	free(seen);
	return 0;
}

static struct fixture fixture_new(int compare, size_t n, size_t keep)
{
	struct fixture f = {.n = n, .keep = keep};

	f.set = weakref_set_new((enum weakref_compare)compare);
	f.strong = gc_alloc(n * sizeof(*f.strong));
	ck_assert_ptr_nonnull(f.set);
	ck_assert_ptr_nonnull(f.strong);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	return f;
}

static void expect(struct fixture *f, size_t live)
{
	ck_assert_int_eq(support_on_thread(look, f), 0);
	ck_assert_uint_ge(f->found, live);
	ck_assert_uint_le(f->found, live + SUPPORT_SLACK);
	ck_assert_uint_eq(weakref_set_len(f->set), f->found);
}

/* Add, contains, len; a dead element is not in the set. */
START_TEST(test_D49_elements_die)
{
	struct fixture f = fixture_new(_i, N, 2);

	ck_assert_int_ge(support_collect(), 0);
	expect(&f, N / 2);
	memset(f.strong, 0, N * sizeof(*f.strong));
	ck_assert_int_ge(support_collect(), 0);
	expect(&f, 0);
	SUPPORT_KEEP(f.set);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* What cannot be an element is not in a set. */
START_TEST(test_D49_contains_anything)
{
	weakref_set *set = weakref_set_new((enum weakref_compare)_i);
	static int here;

	ck_assert_int_eq(weakref_set_contains(set, NULL), 0);
	ck_assert_int_eq(weakref_set_contains(set, &here), 0);
	ck_assert_int_eq(weakref_set_contains(NULL, &here), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_set_len(NULL), 0);
}
END_TEST

/* An equal element is not added: the first stays. By identity it is another one. */
START_TEST(test_D50_first_is_kept)
{
	weakref_set *set = weakref_set_new((enum weakref_compare)_i);
	struct element *a = element_new(7), *b = element_new(7);

	ck_assert_int_eq(weakref_set_add(set, a), 1);
	ck_assert_int_eq(weakref_set_add(set, a), 0);
	if (_i == WEAKREF_BY_EQUALITY) {
		ck_assert_int_eq(weakref_set_add(set, b), 0);
		ck_assert_ptr_eq(weakref_set_find(set, b), a);
		ck_assert_uint_eq(weakref_set_len(set), 1);
	} else {
		ck_assert_int_eq(weakref_set_add(set, b), 1);
		ck_assert_ptr_eq(weakref_set_find(set, b), b);
		ck_assert_uint_eq(weakref_set_len(set), 2);
	}
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
}
END_TEST

/* remove of an absent element says ENOENT, discard does not mind; neither takes what cannot be an element. */
START_TEST(test_D51_remove_discard)
{
	weakref_set *set = weakref_set_new((enum weakref_compare)_i);
	struct element *a = element_new(1), *absent = element_new(2);
	static int here;

	ck_assert_int_eq(weakref_set_remove(set, a), -WEAKREF_ENOENT);
	ck_assert_int_eq(weakref_set_discard(set, a), 0);
	ck_assert_int_eq(weakref_set_add(set, a), 1);
	ck_assert_int_eq(weakref_set_remove(set, absent), -WEAKREF_ENOENT);
	ck_assert_int_eq(weakref_set_remove(set, a), 0);
	ck_assert_int_eq(weakref_set_add(set, a), 1);
	ck_assert_int_eq(weakref_set_discard(set, a), 1);
	ck_assert_uint_eq(weakref_set_len(set), 0);
	ck_assert_int_eq(weakref_set_remove(set, &here), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_set_discard(set, &here), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_set_remove(set, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_set_add(set, &here), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_set_add(set, NULL), -WEAKREF_EINVAL);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(absent);
}
END_TEST

/* pop gives each element once, then ENOENT. */
START_TEST(test_D52_pop)
{
	struct fixture f = fixture_new(_i, N, 1);
	uint8_t seen[128] = {0};
	void *p;

	for (size_t i = 0; i < N; i++) {
		ck_assert_int_eq(weakref_set_pop(f.set, &p), 0);
		struct element *e = p;
		ck_assert(element_intact(e) && e->id < N && !seen[e->id]);
		seen[e->id] = 1;
		ck_assert_uint_eq(weakref_set_len(f.set), N - 1 - i);
	}
	ck_assert_int_eq(weakref_set_pop(f.set, &p), -WEAKREF_ENOENT);
	ck_assert_ptr_null(p);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* ---- operations ---------------------------------------------------------------------------------------------------------- */

/* Elements 0 … 29: set a has 0 … 19, b (and an array) 10 … 29. */
struct operands {
	struct element *all[30];
	weakref_set *a, *b;
	void **items;
	int compare;
};

static int operands_fill(void *arg)
{
	struct operands *o = arg;

	o->a = weakref_set_new((enum weakref_compare)o->compare);
	o->b = weakref_set_new((enum weakref_compare)o->compare);
	o->items = gc_alloc(20 * sizeof(*o->items));
	for (uint64_t i = 0; i < 30; i++) {
		o->all[i] = element_new(i);
		SUPPORT_REQUIRE(o->all[i] != NULL);
		if (i < 20)
			SUPPORT_REQUIRE(weakref_set_add(o->a, o->all[i]) == 1);
		if (i >= 10)
			SUPPORT_REQUIRE(weakref_set_add(o->b, o->all[i]) == 1);
		if (i >= 10)
			o->items[i - 10] = o->all[i];
	}
	return 0;
}

static void operands_new(struct operands *o, int compare)
{
	*o = (struct operands){.compare = compare};
	ck_assert_int_eq(support_on_thread(operands_fill, o), 0);
}

/* Element i is in the set where its thirds are: bit 0 for 0 … 9, 1 for 10 … 19, 2 for 20 … 29. */
static void expect_thirds(const weakref_set *set, const struct operands *o, unsigned thirds)
{
	ck_assert_ptr_nonnull(set);
	for (size_t i = 0; i < 30; i++)
		if (o->all[i] != NULL)
			ck_assert_int_eq(weakref_set_contains(set, o->all[i]), (int)(thirds >> (i / 10) & 1));
	ck_assert_uint_eq(weakref_set_len(set), 10U * (unsigned)__builtin_popcount(thirds));
}

typedef weakref_set *(*binary_fn)(const weakref_set *, const weakref_set *);
typedef weakref_set *(*binary_items_fn)(const weakref_set *, void *const *, size_t);
typedef int (*update_fn)(weakref_set *, const weakref_set *);
typedef int (*update_items_fn)(weakref_set *, void *const *, size_t);

static const struct operation {
	binary_fn make;
	binary_items_fn make_items;
	update_fn update;
	update_items_fn update_items;
	unsigned thirds;
	bool keeps_itself;
} operations[] = {
	{weakref_set_union, weakref_set_union_items, weakref_set_update, weakref_set_update_items, 7, true},
	{weakref_set_intersection, weakref_set_intersection_items, weakref_set_intersection_update,
	 weakref_set_intersection_update_items, 2, true},
	{weakref_set_difference, weakref_set_difference_items, weakref_set_difference_update, weakref_set_difference_update_items, 1,
	 false},
	{weakref_set_symmetric_difference, weakref_set_symmetric_difference_items, weakref_set_symmetric_difference_update,
	 weakref_set_symmetric_difference_update_items, 5, false},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* The four operations against a weak set and against an array: a new set, the operands as they were. */
START_TEST(test_D53_operations)
{
	struct operands o;
	operands_new(&o, _i);

	for (size_t k = 0; k < OPERATIONS; k++) {
		expect_thirds(operations[k].make(o.a, o.b), &o, operations[k].thirds);
		expect_thirds(operations[k].make_items(o.a, o.items, 20), &o, operations[k].thirds);
		expect_thirds(o.a, &o, 3);
		expect_thirds(o.b, &o, 6);
		ck_assert_ptr_nonnull(operations[k].make_items(o.a, NULL, 0));
	}
	SUPPORT_KEEP(o.all[0]);
}
END_TEST

static const struct operation *judged;
static weakref_set *result;

static int make_result(void *arg)
{
	struct operands *o = arg;

	result = judged->make(o->a, o->b);
	SUPPORT_REQUIRE(result != NULL);
	return 0;
}

/* Results hold their elements weakly. */
START_TEST(test_D54_results_are_weak)
{
	for (size_t k = 0; k < OPERATIONS; k++) {
		struct operands *o = gc_alloc(sizeof(*o));
		operands_new(o, _i);
		judged = &operations[k];
		ck_assert_int_eq(support_on_thread(make_result, o), 0);
		size_t before = weakref_set_len(result);
		ck_assert_uint_gt(before, 9);
		memset(o->all, 0, sizeof(o->all));
		o->items = NULL;
		ck_assert_int_ge(support_collect(), 0);
		ck_assert_uint_le(weakref_set_len(result), SUPPORT_SLACK);
		SUPPORT_KEEP(o);
	}
	result = NULL;
}
END_TEST

/* In place, against a set, an array, and the set itself. */
START_TEST(test_D55_in_place)
{
	for (size_t k = 0; k < OPERATIONS; k++) {
		struct operands o;
		operands_new(&o, _i);
		weakref_set *copy = weakref_set_copy(o.a);

		ck_assert_int_eq(operations[k].update(o.a, o.b), 0);
		expect_thirds(o.a, &o, operations[k].thirds);
		expect_thirds(o.b, &o, 6);
		ck_assert_int_eq(operations[k].update_items(copy, o.items, 20), 0);
		expect_thirds(copy, &o, operations[k].thirds);
		ck_assert_int_eq(operations[k].update(o.b, o.b), 0);
		expect_thirds(o.b, &o, operations[k].keeps_itself ? 6 : 0);
		SUPPORT_KEEP(o.all[0]);
	}
}
END_TEST

#define LARGE ((size_t)20000)
#define OFTEN 200000

/* A few elements against many: it is the few that are gone through, else this would take minutes. Of equal ones the first set's are taken. */
START_TEST(test_D55_few_against_many)
{
	struct element **all = gc_alloc(LARGE * sizeof(*all)), *few[3] = {element_new(7), element_new(LARGE + 7), NULL};
	weakref_set *large = weakref_set_new(_i), *small = weakref_set_new(_i), *both;
	bool equal = _i == WEAKREF_BY_EQUALITY;
	size_t shared = equal ? 2 : 1;

	for (size_t i = 0; i < LARGE; i++) {
		all[i] = element_new(i);
		ck_assert_int_eq(weakref_set_add(large, all[i]), 1);
	}
	few[2] = all[9];
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(weakref_set_add(small, few[i]), 1);
	both = weakref_set_intersection(large, small);
	ck_assert_uint_eq(weakref_set_len(both), shared);
	ck_assert_ptr_eq(weakref_set_find(both, all[9]), all[9]);
	ck_assert_ptr_eq(weakref_set_find(both, all[7]), equal ? all[7] : NULL);
	both = weakref_set_intersection(small, large);
	ck_assert_uint_eq(weakref_set_len(both), shared);
	ck_assert_ptr_eq(weakref_set_find(both, few[0]), equal ? few[0] : NULL);
	ck_assert_int_eq(weakref_set_isdisjoint(large, small), 0);
	ck_assert_int_eq(weakref_set_difference_update(large, small), 0);
	for (size_t i = 0; i < OFTEN; i++)
		if (weakref_set_isdisjoint(large, small) != 1 || weakref_set_difference_update(large, small) != 0)
			ck_abort();
	ck_assert_uint_eq(weakref_set_len(large), LARGE - shared);
	SUPPORT_KEEP(all);
	SUPPORT_KEEP(few[0]);
	SUPPORT_KEEP(few[1]);
}
END_TEST

/* Subset, superset, strict, disjoint. */
START_TEST(test_D56_comparisons)
{
	struct operands o;
	operands_new(&o, _i);
	weakref_set *low = weakref_set_difference(o.a, o.b), *copy = weakref_set_copy(o.a), *none = weakref_set_new(_i);

	ck_assert_int_eq(weakref_set_issubset(low, o.a), 1);
	ck_assert_int_eq(weakref_set_issubset(o.a, low), 0);
	ck_assert_int_eq(weakref_set_issubset(o.a, o.a), 1);
	ck_assert_int_eq(weakref_set_issuperset(o.a, low), 1);
	ck_assert_int_eq(weakref_set_issuperset(low, o.a), 0);
	ck_assert_int_eq(weakref_set_is_proper_subset(low, o.a), 1);
	ck_assert_int_eq(weakref_set_is_proper_subset(copy, o.a), 0);
	ck_assert_int_eq(weakref_set_is_proper_superset(o.a, low), 1);
	ck_assert_int_eq(weakref_set_is_proper_superset(o.a, copy), 0);
	ck_assert_int_eq(weakref_set_isdisjoint(low, o.b), 1);
	ck_assert_int_eq(weakref_set_isdisjoint(o.a, o.b), 0);
	ck_assert_int_eq(weakref_set_issubset(none, low), 1);
	ck_assert_int_eq(weakref_set_isdisjoint(none, none), 1);
	ck_assert_int_eq(weakref_set_issubset_items(o.b, o.items, 20), 1);
	ck_assert_int_eq(weakref_set_issubset_items(o.a, o.items, 20), 0);
	ck_assert_int_eq(weakref_set_issuperset_items(o.b, o.items, 20), 1);
	ck_assert_int_eq(weakref_set_issuperset_items(o.a, o.items, 20), 0);
	ck_assert_int_eq(weakref_set_isdisjoint_items(low, o.items, 20), 1);
	ck_assert_int_eq(weakref_set_isdisjoint_items(o.a, o.items, 20), 0);
	ck_assert_int_eq(weakref_set_issubset(o.a, NULL), -WEAKREF_EINVAL);
	SUPPORT_KEEP(o.all[0]);
}
END_TEST

/* Says of any set that it is equal. */
static int like_a_set(void *obj, void *other)
{
	(void)obj;
	return weakref_set_len(other) > 0;
}

/* R232: what is no weak set decides itself whether it is equal to one, on whichever side it is; a set knows other sets alone. */
START_TEST(test_R232_equal_to_another_type)
{
	static const gc_type likeness_type = {.name = "likeness", .size = 16, .equal = like_a_set}, stranger_type = {.size = 16};
	weakref_set *set = weakref_set_new(_i), *empty = weakref_set_new(_i);
	void *likeness = gc_new(&likeness_type), *stranger = gc_new(&stranger_type);

	ck_assert_int_eq(weakref_set_add(set, stranger), 1);
	ck_assert_int_eq(gc_equal(likeness, set), 1);
	ck_assert_int_eq(gc_equal(set, likeness), 1);
	ck_assert_int_eq(gc_equal(likeness, empty), 0);
	ck_assert_int_eq(gc_equal(empty, likeness), 0);
	ck_assert_int_eq(gc_equal(set, stranger), 0);
	ck_assert_int_eq(gc_equal(stranger, set), 0);
	SUPPORT_KEEP(stranger);
	SUPPORT_KEEP(likeness);
}
END_TEST

/* Equal only to a weak set with equal elements; not hashable. */
START_TEST(test_D57_equality)
{
	struct operands o;
	operands_new(&o, _i);
	weakref_set *copy = weakref_set_copy(o.a), *fresh = weakref_set_new(_i);
	weakref_set *differing = weakref_set_new(_i == WEAKREF_BY_IDENTITY ? WEAKREF_BY_EQUALITY : WEAKREF_BY_IDENTITY);
	struct element *twins[20];
	uint64_t hash;

	for (uint64_t i = 0; i < 20; i++)
		ck_assert_int_eq(weakref_set_add(fresh, twins[i] = element_new(i)), 1);
	ck_assert_int_eq(weakref_set_equal(o.a, copy), 1);
	ck_assert_int_eq(weakref_set_equal(o.a, o.b), 0);
	ck_assert_int_eq(weakref_set_equal(o.a, fresh), _i == WEAKREF_BY_EQUALITY);
	ck_assert_int_eq(gc_equal(o.a, copy), 1);
	ck_assert_int_eq(gc_equal(o.a, o.all[0]), 0);
	ck_assert_int_eq(gc_equal(o.a, differing), 0);
	ck_assert_int_eq(weakref_set_equal(o.a, differing), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_set_equal(o.a, (weakref_set *)(void *)o.all[0]), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_hash(o.a, &hash), -WEAKREF_ENOTSUP);
	SUPPORT_KEEP(o.all[0]);
	SUPPORT_KEEP(twins[0]);
}
END_TEST

/* R234: a set, and its proxy, answer to the generic operations: what is in it, and the operators of two sets. */
START_TEST(test_R234_generic_operations)
{
	static const enum weakref_operator ops[OPERATIONS] = {WEAKREF_OP_OR, WEAKREF_OP_AND, WEAKREF_OP_SUBTRACT, WEAKREF_OP_XOR};
	int compare = _i % 2;
	struct operands o;
	operands_new(&o, compare);
	void *a = _i < 2 ? (void *)o.a : (void *)weakref_proxy_new(o.a, NULL, NULL);
	void *b = _i < 2 ? (void *)o.b : (void *)weakref_proxy_new(o.b, NULL, NULL), *got = NULL;
	weakref_set *differing = weakref_set_new(compare == WEAKREF_BY_IDENTITY ? WEAKREF_BY_EQUALITY : WEAKREF_BY_IDENTITY);
	static int here;

	ck_assert_int_eq(gc_contains(a, o.all[0]), 1);
	ck_assert_int_eq(gc_contains(a, element_new(1000)), 0);
	ck_assert_int_eq(gc_contains(a, &here), 0);
	for (size_t i = 0; i < OPERATIONS; i++) {
		weakref_set *wanted = operations[i].make(o.a, o.b), *changed = weakref_set_copy(o.a);

		ck_assert_int_eq(gc_operate(a, ops[i], b, &got), 0);
		ck_assert(got != o.a && got != o.b && gc_type_of(got) == gc_type_of(o.a));
		ck_assert_int_eq(weakref_set_equal(got, wanted), 1);
		ck_assert_int_eq(gc_inplace(_i < 2 ? (void *)changed : (void *)weakref_proxy_new(changed, NULL, NULL), ops[i], b, &got), 0);
		ck_assert_ptr_eq(got, changed);
		ck_assert_int_eq(weakref_set_equal(changed, wanted), 1);
		ck_assert_int_eq(gc_operate(a, ops[i], o.all[0], &got), -WEAKREF_ENOTSUP);
		ck_assert_int_eq(gc_inplace(a, ops[i], &here, &got), -WEAKREF_ENOTSUP);
		ck_assert_int_eq(gc_operate(a, ops[i], differing, &got), -WEAKREF_EINVAL);
		got = &here;
		ck_assert_int_eq(gc_inplace(a, ops[i], differing, &got), -WEAKREF_EINVAL);
		ck_assert_ptr_eq(got, &here);
	}
	ck_assert_int_eq(gc_operate(a, WEAKREF_OP_ADD, b, &got), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_inplace(a, WEAKREF_OP_ADD, b, &got), -WEAKREF_ENOTSUP);
	SUPPORT_KEEP(o.all[0]);
	SUPPORT_KEEP(o.a);
	SUPPORT_KEEP(o.b);
}
END_TEST

/* The constructor from an array; copies are distinct; clear and update replace the contents. */
START_TEST(test_D58_construct_copy)
{
	struct operands o;
	operands_new(&o, _i);
	static int here;
	void *bad[2] = {o.all[0], &here};
	weakref_set *set = weakref_set_from_items(_i, o.items, 20), *copy = weakref_set_copy(set);

	expect_thirds(set, &o, 6);
	ck_assert_ptr_ne(set, copy);
	ck_assert_int_eq(weakref_set_remove(copy, o.all[10]), 0);
	ck_assert_int_eq(weakref_set_contains(set, o.all[10]), 1);
	ck_assert_int_eq(weakref_set_clear(set), 0);
	ck_assert_uint_eq(weakref_set_len(set), 0);
	ck_assert_int_eq(weakref_set_update(set, o.a), 0);
	expect_thirds(set, &o, 3);
	errno = 0;
	ck_assert_ptr_null(weakref_set_from_items(_i, bad, 2));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_set_update_items(copy, bad, 2), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_set_contains(copy, o.all[0]), 0);
	ck_assert_ptr_null(weakref_set_new((enum weakref_compare)9));
	ck_assert_ptr_null(weakref_set_new_custom(NULL, NULL, NULL));
	SUPPORT_KEEP(o.all[0]);
}
END_TEST

static int make_nest(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < 1000; i++) {
		struct element *e = element_new(i);
		weakref_set *set = weakref_set_new(WEAKREF_BY_IDENTITY);
		void **holds = gc_alloc(3 * sizeof(*holds));

		SUPPORT_REQUIRE(e != NULL && set != NULL && holds != NULL);
		e->other = holds;
		holds[0] = e;
		holds[1] = set;
		SUPPORT_REQUIRE(weakref_set_add(set, e) == 1 && weakref_set_add(set, set) == 1);
		refs[i] = weakref_ref_new(e, NULL, NULL);
		SUPPORT_REQUIRE(refs[i] != NULL);
	}
	return 0;
}

/* A thousand elements that hold the set, themselves, and a set that has itself: all are collected. */
START_TEST(test_D60_nest)
{
	weakref_ref **refs = gc_alloc(1000 * sizeof(*refs));

	ck_assert_int_eq(support_on_thread(make_nest, refs), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_ge(support_dead(refs, 1000), 1000 - SUPPORT_SLACK);
}
END_TEST

/* ---- iteration ----------------------------------------------------------------------------------------------------------- */

static weakref_set_iter *open_iter;

static int open_and_step(void *arg)
{
	struct fixture *f = arg;
	void *p;

	open_iter = weakref_set_iter_new(f->set);
	SUPPORT_REQUIRE(open_iter != NULL && weakref_set_iter_next(open_iter, &p) == 1);
	return 0;
}

static int step_to_end(void *arg)
{
	size_t *count = arg;
	void *p;
	int rc;

	while ((rc = weakref_set_iter_next(open_iter, &p)) == 1) {
		SUPPORT_REQUIRE(element_intact(p));
		++*count;
	}
	SUPPORT_REQUIRE(rc == 0);
	return 0;
}

/* Elements die while an iterator is open. */
START_TEST(test_D10_die_while_iterating)
{
	struct fixture f = fixture_new(_i, N, 2);
	size_t count = 1;

	ck_assert_int_eq(support_on_thread(open_and_step, &f), 0);
	memset(f.strong, 0, N / 2 * sizeof(*f.strong));
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_int_eq(support_on_thread(step_to_end, &count), 0);
	ck_assert_uint_ge(count, N / 4);
	ck_assert_uint_le(count, N / 4 + 1 + SUPPORT_SLACK);
	SUPPORT_CLEAR(open_iter);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* update from a copy, and clear, while an iterator is open and deaths are not purged; what died is not there, and may come anew. */
START_TEST(test_D13_change_while_iterating)
{
	struct fixture f = fixture_new(_i, N, 2);
	weakref_set *copy = weakref_set_copy(f.set);
	struct element *again = element_new(N + 1);
	size_t count = 0;

	ck_assert_int_eq(support_on_thread(open_and_step, &f), 0);
	support_scrub();
	GC_gcollect();
	ck_assert_int_eq(weakref_set_contains(f.set, again), 0);
	ck_assert_int_eq(weakref_set_remove(f.set, again), -WEAKREF_ENOENT);
	ck_assert_int_eq(weakref_set_add(f.set, again), 1);
	ck_assert_int_eq(weakref_set_contains(f.set, again), 1);
	ck_assert_int_eq(weakref_set_remove(f.set, again), 0);
	ck_assert_int_eq(weakref_set_update(f.set, copy), 0);
	ck_assert_uint_ge(weakref_set_len(f.set), N / 2);
	ck_assert_int_eq(weakref_set_clear(f.set), 0);
	ck_assert_uint_eq(weakref_set_len(f.set), 0);
	ck_assert_int_eq(support_on_thread(step_to_end, &count), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(weakref_set_update(f.set, copy), 0);
	ck_assert_int_ge(support_collect(), 0);
	expect(&f, N / 2);
	SUPPORT_CLEAR(open_iter);
	SUPPORT_KEEP(f.strong);
	SUPPORT_KEEP(copy);
}
END_TEST

static int fill_cycles(void *arg)
{
	struct fixture *f = arg;

	for (size_t i = 0; i < f->n; i++) {
		struct element *e = element_new(i);
		SUPPORT_REQUIRE(e != NULL && weakref_set_add(f->set, e) == 1);
		e->other = e;
	}
	return 0;
}

/* Twenty elements in cycles with themselves, with an iterator open and without. */
START_TEST(test_D15_len_of_cycles)
{
	struct fixture f = {.n = 20};

	f.set = weakref_set_new((enum weakref_compare)_i);
	ck_assert_int_eq(support_on_thread(fill_cycles, &f), 0);
	open_iter = weakref_set_iter_new(f.set);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(weakref_set_len(f.set), SUPPORT_SLACK);
	SUPPORT_CLEAR(open_iter);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(weakref_set_len(f.set), SUPPORT_SLACK);
	SUPPORT_KEEP(f.set);
}
END_TEST

/* len never grows nor wraps while elements die at different paces. */
START_TEST(test_D16_len_never_wrong)
{
	size_t paces = support_scaled(100, 10);

	for (size_t pace = 0; pace < paces; pace++) {
		struct fixture f = {.n = 50};
		f.set = weakref_set_new((enum weakref_compare)_i);
		ck_assert_int_eq(support_on_thread(fill_cycles, &f), 0);
		size_t one = weakref_set_len(f.set);
		support_churn(pace % 2, (pace + 1) << 12);
		size_t two = weakref_set_len(f.set);
		ck_assert(two <= one && one <= 50);
	}
}
END_TEST

static int grow(void *arg)
{
	struct fixture *f = arg;

	f->from = f->n / 16;
	return fill(f);
}

/* The set grows under an iterator, and is dropped: each element of before is visited once. */
START_TEST(test_R40_grow_and_drop_while_iterating)
{
	size_t n = 4096, count = 1;
	struct fixture f = {.n = n / 16, .keep = 1};
	uint8_t *seen = calloc(n, 1);
	void *p;

	f.set = weakref_set_new((enum weakref_compare)_i);
	f.strong = gc_alloc(n * sizeof(*f.strong));
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	open_iter = weakref_set_iter_new(f.set);
	ck_assert_int_eq(weakref_set_iter_next(open_iter, &p), 1);
	seen[((struct element *)p)->id] = 1;
	f.n = n;
	ck_assert_int_eq(support_on_thread(grow, &f), 0);
	SUPPORT_CLEAR(f.set);
	ck_assert_int_ge(support_collect(), 0);
	while (weakref_set_iter_next(open_iter, &p) == 1) {
		struct element *e = p;
		ck_assert(element_intact(e) && e->id < n && !seen[e->id]);
		seen[e->id] = 1;
		count++;
	}
	ck_assert_uint_ge(count, n / 16);
	for (size_t i = 0; i < n / 16; i++)
		ck_assert(seen[i]);
	free(seen);
	SUPPORT_CLEAR(open_iter);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* Many come and nearly all go: the table gives its memory back, and goes on working. */
START_TEST(test_R35_growth_and_mass_death)
{
	size_t n = support_scaled(100000, 3000);
	struct fixture f = fixture_new(_i, n, 100);

	ck_assert_int_ge(support_collect(), 0);
	expect(&f, (n + 99) / 100);
	if (weakref_checks_enabled())
		ck_assert_int_ge(weakref_checks_validate(), 0);
	ck_assert_int_eq(weakref_set_clear(f.set), 0);
	ck_assert_uint_eq(weakref_set_len(f.set), 0);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* items and repr. */
START_TEST(test_D38_items_repr)
{
	struct fixture f = fixture_new(_i, N, 1);
	char text[64], want[64];
	size_t n = 0, len;
	void **items = weakref_set_items(f.set, &n);

	ck_assert_ptr_nonnull(items);
	ck_assert_uint_eq(n, N);
	for (size_t i = 0; i < n; i++)
		ck_assert_ptr_eq(items[i], f.strong[((struct element *)items[i])->id]);
	snprintf(want, sizeof(want), "<WeakSet at %p>", (void *)f.set);
	ck_assert_int_eq(weakref_set_repr(f.set, text, sizeof(text)), (int)strlen(want));
	ck_assert_str_eq(text, want);
	ck_assert_int_eq(gc_repr(f.set, text, sizeof(text)), (int)strlen(want));
	ck_assert_int_eq(gc_len(f.set, &len), 0);
	ck_assert_uint_eq(len, N);
	ck_assert_int_eq(gc_truth(f.set), 1);
	ck_assert_int_eq(weakref_set_repr(f.set, NULL, 9), -WEAKREF_EINVAL);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* ---- functions of the caller's ------------------------------------------------------------------------------------------- */

enum mischief { HARMLESS, FAIL_HASH, FAIL_EQUAL, REMOVE, COLLECT };

static enum mischief mischief;
static weakref_set *victim;

/* All collide. */
static int odd_hash(const void *p, uint64_t *out, void *user)
{
	(void)user;
	*out = 1;
	return mischief == FAIL_HASH ? -WEAKREF_ETIMEDOUT : element_intact(p) ? 0 : -WEAKREF_EINVAL;
}

static int odd_equal(const void *a, const void *b, void *user)
{
	const struct element *x = a, *y = b;
	enum mischief now = mischief;

	(void)user;
	if (!element_intact(x) || !element_intact(y))
		return -WEAKREF_EINVAL;
	if (now == FAIL_EQUAL)
		return -WEAKREF_ECANCELED;
	mischief = HARMLESS;
	if (now == REMOVE)
		weakref_set_discard(victim, x);
	if (now == COLLECT)
		gc_collect();
	return x->id == y->id;
}

/* hash and equal that fail, change the very set, or collect; and an element that is looked for without being on the heap. */
START_TEST(test_R45_functions)
{
	struct element *all[16], probe = {.signature = ELEMENT_SIGNATURE ^ 5, .id = 5};
	weakref_set *set = victim = weakref_set_new_custom(odd_hash, odd_equal, NULL);

	for (uint64_t i = 0; i < 16; i++)
		ck_assert_int_eq(weakref_set_add(set, all[i] = element_new(i)), 1);
	ck_assert_ptr_eq(weakref_set_find(set, &probe), all[5]);
	ck_assert_int_eq(weakref_set_contains(set, &probe), 1);
	for (int k = 0; k < 2; k++) {
		int error = k == 0 ? -WEAKREF_ETIMEDOUT : -WEAKREF_ECANCELED;
		mischief = k == 0 ? FAIL_HASH : FAIL_EQUAL;
		ck_assert_int_eq(weakref_set_add(set, element_new(99)), error);
		ck_assert_int_eq(weakref_set_contains(set, &probe), error);
		ck_assert_int_eq(weakref_set_discard(set, &probe), error);
		ck_assert_int_eq(weakref_set_remove(set, &probe), error);
		ck_assert_uint_eq(weakref_set_len(set), 16);
	}
	for (int k = 0; k < 2; k++) {
		size_t before = weakref_set_len(set);
		mischief = k == 0 ? REMOVE : COLLECT;
		ck_assert_int_eq(weakref_set_add(set, all[15]), 0);
		ck_assert_uint_eq(weakref_set_len(set), before - (k == 0));
		mischief = HARMLESS;
	}
	SUPPORT_KEEP(all[15]);
	victim = NULL;
}
END_TEST

/* ---- no memory ----------------------------------------------------------------------------------------------------------- */

enum swept { NEW, ADD, FROM_ITEMS, COPY, UNION, INTERSECTION, DIFFERENCE, SYMMETRIC, UPDATE, DISJOINT, CLEAR, ITER, ITEMS, SWEPT };

static int swept_call(enum swept what, struct operands *o, struct element *fresh, long *added)
{
	void *made = NULL;
	size_t n;

	*added = 0;
	switch (what) {
	case NEW:
		made = weakref_set_new(WEAKREF_BY_EQUALITY);
		break;
	case ADD:
		*added = 1;
		n = (size_t)weakref_set_add(o->a, fresh);
		return n == 1 ? 0 : (int)n;
	case FROM_ITEMS:
		made = weakref_set_from_items(WEAKREF_BY_IDENTITY, o->items, 20);
		break;
	case COPY:
		made = weakref_set_copy(o->a);
		break;
	case UNION:
		made = weakref_set_union(o->a, o->b);
		break;
	case INTERSECTION:
		made = weakref_set_intersection_items(o->a, o->items, 20);
		break;
	case DIFFERENCE:
		made = weakref_set_difference(o->a, o->b);
		break;
	case SYMMETRIC:
		made = weakref_set_symmetric_difference(o->a, o->b);
		break;
	case UPDATE:
		*added = 10;
		return weakref_set_update(o->a, o->b);
	case DISJOINT:
		return weakref_set_isdisjoint_items(o->a, o->items, 20) < 0 ? -WEAKREF_ENOMEM : 0;
	case CLEAR:
		*added = -20;
		return weakref_set_clear(o->a);
	case ITER:
		made = weakref_set_iter_new(o->a);
		break;
	default:
		made = weakref_set_items(o->a, &n);
		break;
	}
	return made != NULL ? 0 : -errno;
}

/* With each allocation of a call failing in turn it says ENOMEM and has changed nothing; update may have added some. */
START_TEST(test_R44_allocation_fails)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	for (unsigned long nth = 1, left = 0; left == 0; nth++) {
		struct operands o;
		long added;

		operands_new(&o, WEAKREF_BY_EQUALITY);
		struct element *fresh = element_new(77);
		weakref_checks_fail_allocation(nth);
		int rc = swept_call((enum swept)_i, &o, fresh, &added);
		left = (unsigned long)weakref_checks_fail_allocation(0);
		ck_assert_msg(rc == 0 || rc == -WEAKREF_ENOMEM, "call %d: %d", _i, rc);
		ck_assert(rc == 0 || left == 0);
		if (rc == 0)
			ck_assert_uint_eq(weakref_set_len(o.a), (size_t)(20 + added));
		else if (_i != UPDATE)
			expect_thirds(o.a, &o, 3);
		expect_thirds(o.b, &o, 6);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("set");
	TCase *tc = support_tcase("set");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, test_D49_elements_die, 0, 2);
	tcase_add_loop_test(tc, test_D49_contains_anything, 0, 2);
	tcase_add_loop_test(tc, test_D50_first_is_kept, 0, 2);
	tcase_add_loop_test(tc, test_D51_remove_discard, 0, 2);
	tcase_add_loop_test(tc, test_D52_pop, 0, 2);
	tcase_add_loop_test(tc, test_D53_operations, 0, 2);
	tcase_add_loop_test(tc, test_D54_results_are_weak, 0, 2);
	tcase_add_loop_test(tc, test_D55_in_place, 0, 2);
	tcase_add_loop_test(tc, test_D55_few_against_many, 0, 2);
	tcase_add_loop_test(tc, test_D56_comparisons, 0, 2);
	tcase_add_loop_test(tc, test_D57_equality, 0, 2);
	tcase_add_loop_test(tc, test_R232_equal_to_another_type, 0, 2);
	tcase_add_loop_test(tc, test_R234_generic_operations, 0, 4);
	tcase_add_loop_test(tc, test_D58_construct_copy, 0, 2);
	tcase_add_test(tc, test_D60_nest);
	tcase_add_loop_test(tc, test_D10_die_while_iterating, 0, 2);
	tcase_add_loop_test(tc, test_D13_change_while_iterating, 0, 2);
	tcase_add_loop_test(tc, test_D15_len_of_cycles, 0, 2);
	tcase_add_loop_test(tc, test_D16_len_never_wrong, 0, 2);
	tcase_add_loop_test(tc, test_R40_grow_and_drop_while_iterating, 0, 2);
	tcase_add_loop_test(tc, test_R35_growth_and_mass_death, 0, 2);
	tcase_add_loop_test(tc, test_D38_items_repr, 0, 2);
	tcase_add_test(tc, test_R45_functions);
	tcase_add_loop_test(tc, test_R44_allocation_fails, 0, SWEPT);
	return s;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_method: weakref/method.h.
 */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "weakref/checks.h"
#include "weakref/method.h"

struct num {
	uint64_t n;
};

static int num_hash(void *obj, uint64_t *out)
{
	*out = ((struct num *)obj)->n;
	return 0;
}

static int num_equal(void *a, void *b)
{
	return ((struct num *)a)->n == ((struct num *)b)->n;
}

static const gc_type num_type = {.name = "num", .size = sizeof(struct num), .hash = num_hash, .equal = num_equal};

static struct num *num_new(uint64_t n)
{
	struct num *num = gc_new(&num_type);

	if (num != NULL)
		num->n = n;
	return num;
}

/* The object's number, the closure's where there is one, and its one argument, in all. */
static int add(void *obj, void *closure, size_t argc, void **argv, void **result)
{
	struct num *self = obj, *more = closure;

	if (argc != 1)
		return -E2BIG;
	*result = (void *)(uintptr_t)(self->n + (more != NULL ? more->n : 0) + (uintptr_t)argv[0]);
	return 0;
}

static int other(void *obj, void *closure, size_t argc, void **argv, void **result)
{
	return add(obj, closure, argc, argv, result) == 0 ? -EDOM : -E2BIG;
}

static size_t told;

static int tell(weakref_method *method, void *data)
{
	told += weakref_method_get(method, NULL, NULL, NULL) == -WEAKREF_ESTALE && data == &told;
	return 0;
}

/* C56: while both parts live a method gives them, and can be called. */
START_TEST(test_C56_alive)
{
	struct num *obj = num_new(30), *closure = _i == 0 ? NULL : num_new(10);
	weakref_method *method = weakref_method_new(obj, add, closure, NULL, NULL);
	void *argv[] = {(void *)2}, *result = NULL, *got_obj = NULL, *got_closure = NULL;
	weakref_method_fn fn = NULL;

	ck_assert_ptr_nonnull(method);
	support_collect();
	ck_assert_int_eq(weakref_method_get(method, &got_obj, &fn, &got_closure), 0);
	ck_assert_ptr_eq(got_obj, obj);
	ck_assert(fn == add);
	ck_assert_ptr_eq(got_closure, closure);
	ck_assert_int_eq(weakref_method_call(method, 1, argv, &result), 0);
	ck_assert_uint_eq((uintptr_t)result, _i == 0 ? 32 : 42);
	ck_assert_int_eq(weakref_method_call(method, 0, NULL, NULL), -E2BIG);
	SUPPORT_KEEP(obj);
	SUPPORT_KEEP(closure);
}
END_TEST

enum { DIES_OBJECT, DIES_CLOSURE, DIES_BOTH, DIES };

struct batch {
	int dies;
	bool callback, hash;
	struct num *kept;
	weakref_method *methods[SUPPORT_N];
	weakref_ref *watch[SUPPORT_N]; /* the methods themselves, or what died */
	uint64_t hashes[SUPPORT_N];
};

static int make_batch(void *arg)
{
	struct batch *b = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct num *obj = b->dies == DIES_CLOSURE ? b->kept : num_new(i);
		struct num *closure = b->dies == DIES_OBJECT ? b->kept : num_new(i);
		SUPPORT_REQUIRE(obj != NULL && closure != NULL);
		b->methods[i] = weakref_method_new(obj, add, closure, b->callback ? tell : NULL, b->callback ? &told : NULL);
		b->watch[i] = weakref_ref_new(obj == b->kept ? closure : obj, NULL, NULL);
		SUPPORT_REQUIRE(b->methods[i] != NULL && b->watch[i] != NULL);
		if (b->hash)
			SUPPORT_REQUIRE(weakref_method_hash(b->methods[i], &b->hashes[i]) == 0);
		SUPPORT_KEEP(obj);
		SUPPORT_KEEP(closure);
	}
	return 0;
}

static struct batch *batch_new(int dies, bool callback, bool hash)
{
	struct batch *b = gc_alloc(sizeof *b);

	*b = (struct batch){.dies = dies, .callback = callback, .hash = hash, .kept = num_new(1000)};
	told = 0;
	ck_assert_int_eq(support_on_thread(make_batch, b), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(b->watch, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	return b;
}

/* C57: the object is dead; C58: the function's closure is dead; or both: the method gives nothing and calls nothing. */
START_TEST(test_C57_C58_a_part_is_dead)
{
	struct batch *b = batch_new(_i, false, false);
	weakref_method_fn fn;
	void *obj, *closure, *argv[] = {NULL};

	for (size_t i = 0; i < SUPPORT_N; i++) {
		int wanted = weakref_ref_get(b->watch[i]) == NULL ? -WEAKREF_ESTALE : 0;
		int got = weakref_method_get(b->methods[i], &obj, &fn, &closure);

		if (_i == DIES_BOTH && wanted == 0)
			continue;
		ck_assert_int_eq(got, wanted);
		ck_assert_int_eq(weakref_method_call(b->methods[i], 1, argv, NULL), wanted);
		ck_assert((obj == NULL && fn == NULL && closure == NULL) == (wanted != 0));
	}
	SUPPORT_KEEP(b->kept);
}
END_TEST

/* The callback runs once, whether the object dies, the closure, or both in one collection. */
START_TEST(test_callback_once)
{
	struct batch *b = batch_new(_i, true, false);

	support_collect();
	ck_assert_uint_ge(told, SUPPORT_N - SUPPORT_SLACK);
	b->kept = NULL;
	support_collect();
	support_collect();
	ck_assert_uint_le(told, SUPPORT_N);
	SUPPORT_KEEP(b);
}
END_TEST

static int make_dropped(void *arg)
{
	struct batch *b = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_method *method = weakref_method_new(b->kept, add, b->kept, tell, &told);
		SUPPORT_REQUIRE(method != NULL);
		b->watch[i] = weakref_ref_new(method, NULL, NULL);
		SUPPORT_REQUIRE(b->watch[i] != NULL);
	}
	return 0;
}

/* C60: a method does not keep itself alive, though it has a callback, and dropped first it takes the callback with it. */
START_TEST(test_C60_no_cycle)
{
	struct batch *b = gc_alloc(sizeof *b);

	*b = (struct batch){.kept = num_new(1)};
	told = 0;
	ck_assert_int_eq(support_on_thread(make_dropped, b), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(b->watch, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_le(weakref_getweakrefcount(b->kept), 2 * SUPPORT_SLACK);
	ck_assert_uint_eq(told, 0);
	SUPPORT_KEEP(b);
}
END_TEST

/* C61: equal are methods with the same function and closure of equal objects. */
START_TEST(test_C61_equality_alive)
{
	struct num *a = num_new(1), *b = num_new(1), *c = num_new(2), *closure = num_new(3);
	weakref_method *of_a = weakref_method_new(a, add, NULL, NULL, NULL);

	ck_assert_int_eq(weakref_method_equal(of_a, of_a), 1);
	ck_assert_int_eq(weakref_method_equal(of_a, weakref_method_new(a, add, NULL, tell, &told)), 1);
	ck_assert_int_eq(weakref_method_equal(of_a, weakref_method_new(b, add, NULL, NULL, NULL)), 1);
	ck_assert_int_eq(weakref_method_equal(of_a, weakref_method_new(c, add, NULL, NULL, NULL)), 0);
	ck_assert_int_eq(weakref_method_equal(of_a, weakref_method_new(a, other, NULL, NULL, NULL)), 0);
	ck_assert_int_eq(weakref_method_equal(of_a, weakref_method_new(a, add, closure, NULL, NULL)), 0);
	ck_assert_int_eq(weakref_method_equal(of_a, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_method_equal(of_a, (weakref_method *)a), -WEAKREF_EINVAL);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
	SUPPORT_KEEP(c);
	SUPPORT_KEEP(closure);
}
END_TEST

/* C61: dead ones are equal to themselves alone. */
START_TEST(test_C61_equality_dead)
{
	struct batch *b = batch_new(DIES_OBJECT, false, true);
	weakref_method *live = weakref_method_new(b->kept, add, b->kept, NULL, NULL);

	for (size_t i = 1; i < SUPPORT_N; i++) {
		if (weakref_ref_get(b->watch[i]) != NULL)
			continue;
		ck_assert_int_eq(weakref_method_equal(b->methods[i], b->methods[i]), 1);
		ck_assert_int_eq(weakref_method_equal(b->methods[i], b->methods[i - 1]), 0);
		ck_assert_int_eq(weakref_method_equal(b->methods[i], live), 0);
	}
	SUPPORT_KEEP(b);
}
END_TEST

/* C62: equal methods hash alike; what was hashed alive tells its hash when it is dead; what never was refuses. */
START_TEST(test_C62_hash)
{
	struct batch *b = batch_new(DIES_OBJECT, false, true), *never = batch_new(DIES_OBJECT, false, false);
	struct num *x = num_new(7), *y = num_new(7);
	uint64_t of_x = 0, of_y = 1, of_other = 0, hash;

	ck_assert_int_eq(weakref_method_hash(weakref_method_new(x, add, NULL, NULL, NULL), &of_x), 0);
	ck_assert_int_eq(weakref_method_hash(weakref_method_new(y, add, NULL, NULL, NULL), &of_y), 0);
	ck_assert_int_eq(weakref_method_hash(weakref_method_new(x, other, NULL, NULL, NULL), &of_other), 0);
	ck_assert_uint_eq(of_x, of_y);
	ck_assert_uint_ne(of_x, of_other);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_int_eq(weakref_method_hash(b->methods[i], &hash), 0);
		ck_assert_uint_eq(hash, b->hashes[i]);
		if (weakref_ref_get(never->watch[i]) == NULL)
			ck_assert_int_eq(weakref_method_hash(never->methods[i], &hash), -WEAKREF_ESTALE);
	}
	ck_assert_int_eq(weakref_method_hash(b->methods[0], NULL), -WEAKREF_EINVAL);
	SUPPORT_KEEP(x);
	SUPPORT_KEEP(y);
}
END_TEST

/* C41, of methods: printing never fails: its object's type and address while both parts live, dead afterwards; cut to the buffer. */
START_TEST(test_C41_repr)
{
	static const gc_type nameless = {.size = 16};
	void *objs[] = {num_new(1), gc_new(&nameless), gc_alloc(16)};
	const char *const names[] = {"num", "object", "block"};
	struct batch *b = batch_new(_i, false, false);
	char text[128], wanted[128], cut[12];

	for (size_t i = 0; i < 3; i++) {
		weakref_method *method = weakref_method_new(objs[i], add, objs[0], NULL, NULL);

		snprintf(wanted, sizeof wanted, "<weakmethod at %p; to '%s' at %p>", (void *)method, names[i], objs[i]);
		ck_assert_int_eq(weakref_method_repr(method, text, sizeof text), (int)strlen(wanted));
		ck_assert_str_eq(text, wanted);
		ck_assert_int_eq(weakref_method_repr(method, cut, sizeof cut), (int)strlen(wanted));
		ck_assert_int_eq(strncmp(cut, wanted, sizeof cut - 1), 0);
		ck_assert_int_eq(weakref_method_repr(method, NULL, 0), (int)strlen(wanted));
		ck_assert_int_eq(weakref_method_repr(method, NULL, 1), -WEAKREF_EINVAL);
	}
	for (size_t i = 0; i < SUPPORT_N; i++) {
		if (weakref_method_get(b->methods[i], NULL, NULL, NULL) == 0)
			continue;
		snprintf(wanted, sizeof wanted, "<weakmethod at %p; dead>", (void *)b->methods[i]);
		ck_assert_int_eq(weakref_method_repr(b->methods[i], text, sizeof text), (int)strlen(wanted));
		ck_assert_str_eq(text, wanted);
	}
	ck_assert_int_eq(weakref_method_repr(NULL, text, sizeof text), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_method_repr((weakref_method *)objs[0], text, sizeof text), -WEAKREF_EINVAL);
	SUPPORT_KEEP(objs);
	SUPPORT_KEEP(b);
}
END_TEST

/* What weakref_ref_new does not take makes no method, as object or as closure; nor is there one without function, or data without callback. */
START_TEST(test_refused)
{
	struct num *obj = num_new(1);
	int on_stack = 0;

	errno = 0;
	ck_assert_ptr_null(weakref_method_new(&on_stack, add, NULL, NULL, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_method_new(obj, add, &on_stack, NULL, NULL));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weakref_method_new(obj, NULL, NULL, NULL, NULL));
	ck_assert_ptr_null(weakref_method_new(obj, add, NULL, NULL, &told));
	ck_assert_ptr_null(weakref_method_new(NULL, add, NULL, NULL, NULL));
	ck_assert_int_eq(weakref_method_get(NULL, NULL, NULL, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_method_call(NULL, 0, NULL, NULL), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 0);
	SUPPORT_KEEP(obj);
}
END_TEST

/* Each allocation of the constructor failing in turn: ENOMEM, and no reference is left on the object. */
START_TEST(test_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	struct num *obj = num_new(1), *closure = num_new(2);
	weakref_method *method = NULL;
	unsigned failed = 0;

	for (unsigned long nth = 1; method == NULL && nth < 50; nth++) {
		weakref_checks_fail_allocation(nth);
		method = weakref_method_new(obj, add, closure, tell, &told);
		int error = errno;
		weakref_checks_fail_allocation(0);
		if (method != NULL)
			break;
		failed++;
		ck_assert_int_eq(error, ENOMEM);
		ck_assert_uint_eq(weakref_getweakrefcount(obj), 0);
		ck_assert_uint_eq(weakref_getweakrefcount(closure), 0);
	}
	ck_assert_ptr_nonnull(method);
	ck_assert_uint_ge(failed, 3);
	SUPPORT_KEEP(closure);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("method");
	TCase *tcase = support_tcase("method");

	tcase_add_loop_test(tcase, test_C56_alive, 0, 2);
	tcase_add_loop_test(tcase, test_C57_C58_a_part_is_dead, 0, DIES);
	tcase_add_loop_test(tcase, test_callback_once, 0, DIES);
	tcase_add_test(tcase, test_C60_no_cycle);
	tcase_add_test(tcase, test_C61_equality_alive);
	tcase_add_test(tcase, test_C61_equality_dead);
	tcase_add_test(tcase, test_C62_hash);
	tcase_add_loop_test(tcase, test_C41_repr, 0, DIES);
	tcase_add_test(tcase, test_refused);
	tcase_add_test(tcase, test_without_memory);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

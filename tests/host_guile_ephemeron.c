/* SPDX-License-Identifier: MIT */
/*
 * host_guile_ephemeron: ephemerons inside Guile 3.0, over Guile's own pairs, strings and vectors. Where a value leads back to its key
 * Guile's own weak tables leak, which is shown beside; ephemerons must not.
 *
 * Built where libguile is there.
 */
#define GC_THREADS
#include "support.h"

#include <stdlib.h>

#include <libguile.h>

#include <gc/gc.h>

#include "weakref/ephemeron.h"

#define CHAIN 1000

/* ---- ours ---- */

struct work {
	weakref_ephemeron **ephemerons;
	void **keys;
	int shape; /* 0 the value leads to its key, 1 is it, 2 is a vector that holds it, 3 an object of ours that does */
	size_t n;
};

static SCM key_of(size_t i)
{
	return scm_cons(scm_from_size_t(i), SCM_EOL);
}

static void *value_of(int shape, SCM key)
{
	struct support_node *node;

	switch (shape) {
	case 0: return SCM_UNPACK_POINTER(scm_cons(key, SCM_EOL));
	case 1: return SCM_UNPACK_POINTER(key);
	case 2: return SCM_UNPACK_POINTER(scm_c_make_vector(10, key));
	default:
		node = support_node_new(0);
		node->other = SCM_UNPACK_POINTER(key);
		return node;
	}
}

static int make(void *arg)
{
	struct work *work = arg;

	for (size_t i = 0; i < work->n; i++) {
		SCM key = key_of(i);
		work->keys[i] = SCM_UNPACK_POINTER(key);
		work->ephemerons[i] = weakref_ephemeron_new(SCM_UNPACK_POINTER(key), value_of(work->shape, key));
		SUPPORT_REQUIRE(work->ephemerons[i] != NULL);
	}
	return 0;
}

static struct work *work_new(size_t n, int shape)
{
	struct work *work = GC_MALLOC(sizeof *work);

	*work = (struct work){.shape = shape, .n = n};
	work->ephemerons = GC_MALLOC(n * sizeof(void *));
	work->keys = GC_MALLOC(n * sizeof(void *));
	return work;
}

static void forget(struct work *work, size_t from)
{
	for (size_t i = from; i < work->n; i++)
		SUPPORT_CLEAR(work->keys[i]);
}

static size_t dead(const struct work *work)
{
	size_t n = 0;

	for (size_t i = 0; i < work->n; i++)
		n += weakref_ephemeron_is_dead(work->ephemerons[i]);
	return n;
}

/* Guile's configuration is in force: interior pointers off. */
START_TEST(test_configuration_is_guiles)
{
	ck_assert_int_eq(GC_get_all_interior_pointers(), 0);
}
END_TEST

/* Guile's pairs as keys whose values lead back to them: all there while the keys are held, gone when they are not. */
START_TEST(test_value_leads_to_key)
{
	struct work *work = work_new(SUPPORT_N, _i);

	ck_assert_int_eq(support_in_frame(make, work), 0);
	support_collect();
	ck_assert_uint_eq(dead(work), 0);
	for (size_t i = 0; i < work->n; i++) {
		void *key, *value;
		ck_assert_int_eq(weakref_ephemeron_get(work->ephemerons[i], &key, &value), 0);
		ck_assert_ptr_eq(key, work->keys[i]);
		ck_assert_uint_eq(scm_to_size_t(SCM_CAR(SCM_PACK_POINTER(key))), i);
		if (_i == 0)
			ck_assert_ptr_eq(SCM_UNPACK_POINTER(SCM_CAR(SCM_PACK_POINTER(value))), key);
	}
	forget(work, 0);
	support_collect();
	ck_assert_uint_ge(dead(work), work->n - SUPPORT_SLACK);
	SUPPORT_KEEP(work);
}
END_TEST

/* Each value is a list that ends in the next key. */
static int make_chain(void *arg)
{
	struct work *work = arg;
	SCM key = key_of(0);

	for (size_t i = 0; i < work->n; i++) {
		SCM next = key_of(i + 1);
		work->keys[i] = SCM_UNPACK_POINTER(key);
		work->ephemerons[i] = weakref_ephemeron_new(SCM_UNPACK_POINTER(key), SCM_UNPACK_POINTER(scm_list_2(SCM_BOOL_T, next)));
		SUPPORT_REQUIRE(work->ephemerons[i] != NULL);
		key = next;
	}
	return 0;
}

/* D43: a chain of Guile's pairs is kept whole by its first key, by one of Guile's collections as well, and goes when that goes. */
START_TEST(test_D43_chain)
{
	struct work *work = work_new(CHAIN, 0);

	ck_assert_int_eq(support_in_frame(make_chain, work), 0);
	forget(work, 1);
	support_scrub();
	scm_gc();
	ck_assert_uint_eq(dead(work), 0);
	support_collect();
	ck_assert_uint_eq(dead(work), 0);
	for (size_t i = 0; i < CHAIN; i++) {
		SCM value = SCM_PACK_POINTER(weakref_ephemeron_value(work->ephemerons[i]));
		ck_assert_int_eq(scm_to_int(scm_length(value)), 2);
		ck_assert_uint_eq(scm_to_size_t(SCM_CAR(SCM_CADR(value))), i + 1);
	}
	forget(work, 0);
	support_collect();
	/* A single stray pointer keeps all that is behind it. */
	ck_assert_uint_gt(dead(work), 0);
	SUPPORT_KEEP(work);
}
END_TEST

/* Keys that Guile's variable holds live, and their values with them; Guile lets go of them, and they go. */
START_TEST(test_guile_variable_holds_keys)
{
	weakref_ephemeron *ephemerons[SUPPORT_N];
	size_t gone = 0;
	SCM list;

	scm_c_eval_string("(define held (map (lambda (i) (cons i i)) (iota 64)))");
	list = scm_variable_ref(scm_c_lookup("held"));
	for (size_t i = 0; i < SUPPORT_N; i++, list = SCM_CDR(list)) {
		SCM value = scm_cons(SCM_CAR(list), SCM_EOL);
		ephemerons[i] = weakref_ephemeron_new(SCM_UNPACK_POINTER(SCM_CAR(list)), SCM_UNPACK_POINTER(value));
		value = SCM_EOL;
	}
	list = SCM_EOL;
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert(!weakref_ephemeron_is_dead(ephemerons[i]));
	scm_c_eval_string("(set! held #f)");
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		gone += weakref_ephemeron_is_dead(ephemerons[i]);
	ck_assert_uint_ge(gone, SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

/* ---- Guile's ---- */

static int guile_count(const char *value)
{
	char program[512];

	snprintf(program, sizeof program,
		 "(let ((t (make-weak-key-hash-table)))"
		 "  (for-each (lambda (i) (let ((k (list i))) (hashq-set! t k %s))) (iota 1000))"
		 "  (let loop ((n 0)) (if (< n 6) (begin (gc) (loop (+ n 1)))))"
		 "  (hash-fold (lambda (k v n) (+ n 1)) 0 t))",
		 value);
	return scm_to_int(scm_c_eval_string(program));
}

/* Why ephemerons: Guile's weak-key table lets an entry go whose value is a number, and keeps for ever one whose value leads to its key. */
START_TEST(test_guiles_weak_table_leaks)
{
	ck_assert_int_lt(guile_count("i"), 500);
	ck_assert_int_eq(guile_count("(list k)"), 1000);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("host guile ephemeron");
	TCase *t = support_tcase("guile");

	tcase_add_test(t, test_configuration_is_guiles);
	tcase_add_loop_test(t, test_value_leads_to_key, 0, 4);
	tcase_add_test(t, test_D43_chain);
	tcase_add_test(t, test_guile_variable_holds_keys);
	tcase_add_test(t, test_guiles_weak_table_leaks);
	suite_add_tcase(s, t);
	return s;
}

static void *in_guile(void *result)
{
	*(int *)result = support_main(suite);
	return NULL;
}

int main(void)
{
	int result = 1;

	/* Here Guile starts libgc: see gc_init. */
	setenv("GC_RETRY_SIGNALS", "0", 0);
	scm_with_guile(in_guile, &result);
	return result;
}

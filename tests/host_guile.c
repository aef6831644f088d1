/* SPDX-License-Identifier: MIT */
/*
 * host_guile: the library inside Guile 3.0, which starts libgc first and its own way: no interior pointers, finalize on demand,
 * Java finalization. References, callbacks, destructors and dictionaries work on our objects and on Guile's values, and Guile
 * works on.
 *
 * Built where libguile is there.
 */
#define GC_THREADS
#include "support.h"

#include <stdlib.h>

#include <libguile.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/valuedict.h"

static _Atomic unsigned ran, wrong, destroyed;

static int callback(weakref_ref *ref, void *data)
{
	(void)data;
	ran++;
	wrong += weakref_ref_get(ref) != NULL;
	return 0;
}

struct mortal {
	struct support_node *neighbour;
	weakref_ref *self;
};

static int destroy(void *obj)
{
	struct mortal *mortal = obj;

	destroyed++;
	wrong += !support_node_intact(mortal->neighbour) || weakref_ref_get(mortal->self) != NULL;
	return 0;
}

static const gc_type mortal_type = {.name = "mortal", .size = sizeof(struct mortal), .destroy = destroy};

/* Guile's configuration of libgc is in force before and after the library started. */
START_TEST(test_configuration_is_guiles)
{
	ck_assert_int_eq(GC_get_all_interior_pointers(), 0);
	ck_assert_int_ne(GC_get_finalize_on_demand(), 0);
	ck_assert_int_ne(GC_get_java_finalization(), 0);
}
END_TEST

/* 1000 objects of ours, held by their payload pointer alone, survive collections by us and by Guile. */
START_TEST(test_payload_pointer_holds)
{
	struct support_node **held = GC_MALLOC(1000 * sizeof(*held));
	weakref_ref **refs = GC_MALLOC(1000 * sizeof(*refs));

	for (size_t i = 0; i < 1000; i++) {
		held[i] = support_node_new(i);
		refs[i] = weakref_ref_new(held[i], NULL, NULL);
		ck_assert_ptr_nonnull(refs[i]);
	}
	support_collect();
	scm_gc();
	support_churn(2, 64 << 20);
	for (size_t i = 0; i < 1000; i++) {
		ck_assert(support_node_intact(held[i]));
		ck_assert_uint_eq(held[i]->id, i);
		ck_assert_ptr_eq(weakref_ref_get(refs[i]), held[i]);
		ck_assert_ptr_eq(gc_type_of(held[i]), &support_node_type);
	}
	SUPPORT_KEEP(held);
}
END_TEST

struct work {
	weakref_ref **refs;
	int what; /* 0 our objects, 1 Guile's pairs, 2 Guile's strings */
};

static void *value_new(int what, size_t i)
{
	switch (what) {
	case 0: return support_node_new(i);
	case 1: return SCM_UNPACK_POINTER(scm_cons(scm_from_size_t(i), SCM_EOL));
	default: return SCM_UNPACK_POINTER(scm_from_latin1_string("a string of Guile's that is long enough to be a block"));
	}
}

static int make(void *arg)
{
	struct work *work = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *value = value_new(work->what, i);

		SUPPORT_REQUIRE(value != NULL);
		work->refs[i] = weakref_ref_new(value, callback, NULL);
		SUPPORT_REQUIRE(work->refs[i] != NULL);
		SUPPORT_REQUIRE(weakref_ref_get(work->refs[i]) == value);
		SUPPORT_KEEP(value);
	}
	return 0;
}

/* In Guile mode, in a frame further down: Guile's values are made by threads that Guile knows only. */
static struct work *work_new(int what)
{
	struct work *work = GC_MALLOC(sizeof(*work));

	work->refs = GC_MALLOC(SUPPORT_N * sizeof(*work->refs));
	work->what = what;
	ran = wrong = destroyed = 0;
	ck_assert_int_eq(support_in_frame(make, work), 0);
	return work;
}

/* Dropped objects and values of Guile's die, their references read NULL, their callbacks run in gc_collect. */
START_TEST(test_references_die)
{
	struct work *work = work_new(_i);

	support_collect();
	ck_assert_uint_ge(support_dead(work->refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(wrong, 0);
	SUPPORT_KEEP(work);
}
END_TEST

/* A collection that Guile starts clears references as well; the callbacks come with the next call that delivers. */
START_TEST(test_guile_collects)
{
	struct work *work = work_new(_i);

	for (int i = 0; i < 3; i++) {
		support_scrub();
		scm_gc();
	}
	ck_assert_uint_ge(support_dead(work->refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	gc_run_callbacks();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(work);
}
END_TEST

/* A pair that Guile's own variable holds lives, and its reference reads it; once the variable is changed it dies. */
START_TEST(test_guile_variable_holds)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));
	SCM list;

	scm_c_eval_string("(define held (map (lambda (i) (cons i i)) (iota 64)))");
	list = scm_variable_ref(scm_c_lookup("held"));
	for (size_t i = 0; i < SUPPORT_N; i++, list = SCM_CDR(list)) {
		refs[i] = weakref_ref_new(SCM_UNPACK_POINTER(SCM_CAR(list)), NULL, NULL);
		ck_assert_ptr_nonnull(refs[i]);
	}
	list = SCM_EOL;
	support_collect();
	ck_assert_uint_eq(support_dead(refs, SUPPORT_N), 0);
	scm_c_eval_string("(set! held #f)");
	support_collect();
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

static int make_mortals(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct mortal *mortal = gc_new(&mortal_type);

		SUPPORT_REQUIRE(mortal != NULL);
		mortal->neighbour = support_node_new(i);
		mortal->self = weakref_ref_new(mortal, NULL, NULL);
		SUPPORT_REQUIRE(mortal->neighbour != NULL && mortal->self != NULL);
	}
	return 0;
}

/* Destructors run when gc_run_callbacks is called, or when Guile pumps libgc, each once. */
START_TEST(test_destructors)
{
	support_collect();
	gc_run_callbacks();
	ran = wrong = destroyed = 0;
	ck_assert_int_eq(support_in_frame(make_mortals, NULL), 0);
	support_collect();
	/* Guile's finalization thread may be taking them out of libgc's queue at the same moment: they reach ours one by one. */
	if (_i == 0)
		for (int i = 0; i < 2000 && destroyed < SUPPORT_N - SUPPORT_SLACK; i++) {
			ck_assert_int_ge(gc_run_callbacks(), 0);
			usleep(1000);
		}
	else
		for (int i = 0; i < 200 && destroyed < SUPPORT_N - SUPPORT_SLACK; i++) {
			scm_c_eval_string("(begin (gc) (usleep 1000))");
			gc_run_callbacks();
		}
	ck_assert_uint_ge(destroyed, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_le(destroyed, SUPPORT_N);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* A dictionary over Guile's values: entries live as long as Guile holds the values. */
START_TEST(test_dictionary_of_guiles_values)
{
	weakref_valuedict *dict = weakref_valuedict_new(WEAKREF_KEY_INT);
	SCM list;

	scm_c_eval_string("(define held (map (lambda (i) (cons i i)) (iota 64)))");
	list = scm_variable_ref(scm_c_lookup("held"));
	for (size_t i = 0; i < SUPPORT_N; i++, list = SCM_CDR(list))
		ck_assert_int_eq(weakref_valuedict_set(dict, WEAKREF_INT(i), SCM_UNPACK_POINTER(SCM_CAR(list))), 0);
	list = SCM_EOL;
	support_collect();
	ck_assert_uint_eq(weakref_valuedict_len(dict), SUPPORT_N);
	scm_c_eval_string("(set! held #f)");
	support_collect();
	ck_assert_uint_le(weakref_valuedict_len(dict), SUPPORT_SLACK);
}
END_TEST

/* Guile's own weak table and guardian go on working beside us. */
START_TEST(test_guiles_own_weakness_goes_on)
{
	SCM left = scm_c_eval_string("(let ((t (make-weak-key-hash-table)) (g (make-guardian)))"
				     "  (for-each (lambda (i) (let ((k (list i))) (hashq-set! t k i) (g k))) (iota 100))"
				     "  (let loop ((n 0)) (if (< n 5) (begin (gc) (loop (+ n 1)))))"
				     "  (let loop ((n 0)) (if (g) (loop (+ n 1)) n)))");

	ck_assert_int_ge(scm_to_int(left), 0);
	ck_assert_int_eq(scm_to_int(scm_c_eval_string("(apply + (iota 101))")), 5050);
	support_collect();
	ck_assert_int_eq(scm_to_int(scm_c_eval_string("(vector-length (make-vector 1000 #f))")), 1000);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("host guile");
	TCase *t = support_tcase("guile");

	tcase_add_test(t, test_configuration_is_guiles);
	tcase_add_test(t, test_payload_pointer_holds);
	tcase_add_loop_test(t, test_references_die, 0, 3);
	tcase_add_loop_test(t, test_guile_collects, 0, 3);
	tcase_add_test(t, test_guile_variable_holds);
	tcase_add_loop_test(t, test_destructors, 0, 2);
	tcase_add_test(t, test_dictionary_of_guiles_values);
	tcase_add_test(t, test_guiles_own_weakness_goes_on);
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

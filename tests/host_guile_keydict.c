/* SPDX-License-Identifier: MIT */
/*
 * host_guile_keydict: weak-key dictionaries inside Guile 3.0, with Guile's own pairs as keys. Where a value leads back to its key,
 * to its table, or on to the next key, Guile's own weak-key hash tables keep every entry for ever, which is shown beside; a
 * weakref_keydict with the same entries must be empty after one collection.
 *
 * Keys that are to live stand in an array of the heap; all are made in a frame that is gone, or overwritten, when they are counted.
 *
 * Built where libguile is there.
 */
#define GC_THREADS
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include <libguile.h>

#include <gc/gc.h>

#include "weakref/keydict.h"

#define N ((size_t)1000)
#define CHAINS SUPPORT_N
#define LINKS ((size_t)50)

enum shape { TO_KEY, IS_KEY, VECTOR_WITH_KEY, NODE_WITH_KEY, TO_TABLE, IS_TABLE, SHAPES };

struct work {
	weakref_keydict *dict;
	void **keys; /* those that are held */
	enum shape shape;
	size_t n;
};

static SCM key_of(size_t i)
{
	return scm_cons(scm_from_size_t(i), SCM_EOL);
}

static void *value_of(const struct work *work, SCM key)
{
	struct support_node *node;

	switch (work->shape) {
	case TO_KEY: return SCM_UNPACK_POINTER(scm_cons(key, SCM_EOL));
	case IS_KEY: return SCM_UNPACK_POINTER(key);
	case VECTOR_WITH_KEY: return SCM_UNPACK_POINTER(scm_c_make_vector(10, key));
	case NODE_WITH_KEY:
		node = support_node_new(0);
		node->other = SCM_UNPACK_POINTER(key);
		return node;
	case TO_TABLE: return SCM_UNPACK_POINTER(scm_cons(SCM_PACK_POINTER(work->dict), key));
	default: return work->dict;
	}
}

static struct work *work_new(size_t n, enum shape shape)
{
	struct work *work = GC_MALLOC(sizeof *work);

	*work = (struct work){.dict = weakref_keydict_new(WEAKREF_BY_IDENTITY), .shape = shape, .n = n};
	work->keys = GC_MALLOC(n * sizeof(void *));
	return work;
}

static int make(void *arg)
{
	struct work *work = arg;

	for (size_t i = 0; i < work->n; i++) {
		SCM key = key_of(i);
		work->keys[i] = SCM_UNPACK_POINTER(key);
		SUPPORT_REQUIRE(weakref_keydict_set(work->dict, SCM_UNPACK_POINTER(key), value_of(work, key)) == 0);
	}
	return 0;
}

/* Each held key has its value, which leads where it was made to lead. */
static int look(void *arg)
{
	struct work *work = arg;

	for (size_t i = 0; i < work->n; i++) {
		void *value = weakref_keydict_get(work->dict, work->keys[i]);
		SUPPORT_REQUIRE(value != NULL);
		SUPPORT_REQUIRE(scm_to_size_t(SCM_CAR(SCM_PACK_POINTER(work->keys[i]))) == i);
		if (work->shape == TO_KEY)
			SUPPORT_REQUIRE(SCM_UNPACK_POINTER(SCM_CAR(SCM_PACK_POINTER(value))) == work->keys[i]);
		if (work->shape == VECTOR_WITH_KEY)
			SUPPORT_REQUIRE(SCM_UNPACK_POINTER(scm_c_vector_ref(SCM_PACK_POINTER(value), 9)) == work->keys[i]);
		if (work->shape == NODE_WITH_KEY)
			SUPPORT_REQUIRE(support_node_intact(value) && ((struct support_node *)value)->other == work->keys[i]);
		if (work->shape == TO_TABLE)
			SUPPORT_REQUIRE(SCM_UNPACK_POINTER(SCM_CAR(SCM_PACK_POINTER(value))) == (void *)work->dict);
		if (work->shape == IS_TABLE)
			SUPPORT_REQUIRE(value == work->dict);
	}
	return 0;
}

/* A thread that collects leaves what it marked last on its stack, in 64 KiB of it where libgc marks in parallel. */
static __attribute__((noinline)) void scrub_deep(void)
{
	volatile char dead[256 << 10];

	memset((char *)dead, 0, sizeof dead);
	SUPPORT_KEEP(dead);
}

static void forget(struct work *work)
{
	for (size_t i = 0; i < work->n; i++)
		SUPPORT_CLEAR(work->keys[i]);
	scrub_deep();
}

/* Guile's pairs as keys, values that lead to them or to the table: all there while the keys are held, gone in one collection after. */
START_TEST(test_values_that_lead_back)
{
	struct work *work = work_new(N, (enum shape)_i);

	ck_assert_int_eq(support_in_frame(make, work), 0);
	support_collect();
	ck_assert_uint_eq(weakref_keydict_len(work->dict), N);
	ck_assert_int_eq(support_in_frame(look, work), 0);
	/* By one of Guile's own collections too. */
	scm_gc();
	ck_assert_uint_eq(weakref_keydict_len(work->dict), N);
	forget(work);
	GC_gcollect();
	ck_assert_uint_le(weakref_keydict_len(work->dict), SUPPORT_SLACK);
	SUPPORT_KEEP(work);
}
END_TEST

/* Each value is a list that ends in the next key; the first keys of all chains are held. */
static int make_chains(void *arg)
{
	struct work *work = arg;

	for (size_t c = 0; c < work->n; c++) {
		SCM key = key_of(0);
		work->keys[c] = SCM_UNPACK_POINTER(key);
		for (size_t i = 0; i < LINKS; i++) {
			SCM next = key_of(i + 1);
			SUPPORT_REQUIRE(weakref_keydict_set(work->dict, SCM_UNPACK_POINTER(key),
							    SCM_UNPACK_POINTER(scm_list_2(SCM_BOOL_T, next))) == 0);
			key = next;
		}
	}
	return 0;
}

static int follow_chains(void *arg)
{
	struct work *work = arg;

	for (size_t c = 0; c < work->n; c++) {
		void *key = work->keys[c];
		for (size_t i = 0; key != NULL && i < LINKS; i++) {
			void *value = weakref_keydict_get(work->dict, key);
			SUPPORT_REQUIRE(value != NULL && scm_to_int(scm_length(SCM_PACK_POINTER(value))) == 2);
			SCM next = SCM_CADR(SCM_PACK_POINTER(value));
			SUPPORT_REQUIRE(scm_to_size_t(SCM_CAR(next)) == i + 1);
			key = SCM_UNPACK_POINTER(next);
		}
	}
	return 0;
}

/* D43: chains through one dictionary are kept whole by their first keys, and go whole, in one collection. */
START_TEST(test_D43_chains)
{
	struct work *work = work_new(CHAINS, TO_KEY);

	ck_assert_int_eq(support_in_frame(make_chains, work), 0);
	scrub_deep();
	scm_gc();
	ck_assert_uint_eq(weakref_keydict_len(work->dict), CHAINS * LINKS);
	ck_assert_int_eq(support_in_frame(follow_chains, work), 0);
	for (size_t c = 1; c < CHAINS; c += 2)
		SUPPORT_CLEAR(work->keys[c]);
	scrub_deep();
	GC_gcollect();
	ck_assert_uint_ge(weakref_keydict_len(work->dict), CHAINS / 2 * LINKS);
	ck_assert_uint_le(weakref_keydict_len(work->dict), (CHAINS / 2 + SUPPORT_SLACK) * LINKS);
	ck_assert_int_eq(support_in_frame(follow_chains, work), 0);
	forget(work);
	GC_gcollect();
	ck_assert_uint_le(weakref_keydict_len(work->dict), SUPPORT_SLACK * LINKS);
	SUPPORT_KEEP(work);
}
END_TEST

/* Keys that a variable of Guile holds; Guile lets go of them. */
static int make_from_variable(void *arg)
{
	struct work *work = arg;
	SCM list = scm_variable_ref(scm_c_lookup("held"));

	for (size_t i = 0; i < work->n; i++, list = SCM_CDR(list))
		SUPPORT_REQUIRE(weakref_keydict_set(work->dict, SCM_UNPACK_POINTER(SCM_CAR(list)), value_of(work, SCM_CAR(list))) == 0);
	return 0;
}

START_TEST(test_guile_variable_holds_keys)
{
	struct work *work = work_new(N, TO_KEY);

	scm_c_eval_string("(define held (map (lambda (i) (cons i i)) (iota 1000)))");
	ck_assert_int_eq(support_in_frame(make_from_variable, work), 0);
	support_collect();
	ck_assert_uint_eq(weakref_keydict_len(work->dict), N);
	scm_c_eval_string("(set! held #f)");
	support_collect();
	ck_assert_uint_le(weakref_keydict_len(work->dict), SUPPORT_SLACK);
	SUPPORT_KEEP(work);
}
END_TEST

/* ---- Guile's own ---- */

/* How many of 1000 entries Guile's table has after six collections; `k` is the key, `t` the table, `n` the key made next. */
static int guile_count(const char *value)
{
	char program[640];

	snprintf(program, sizeof program,
		 "(let ((t (make-weak-key-hash-table)))"
		 "  (let make ((i 0) (k (list 0)))"
		 "    (if (< i 1000) (let ((n (list i))) (hashq-set! t k %s) (make (+ i 1) n))))"
		 "  (let loop ((n 0)) (if (< n 6) (begin (gc) (loop (+ n 1)))))"
		 "  (hash-fold (lambda (k v n) (+ n 1)) 0 t))",
		 value);
	return scm_to_int(scm_c_eval_string(program));
}

/* What the tests above are about: Guile lets go of an entry with a number, and never of one whose value leads back to its key. */
START_TEST(test_guiles_weak_tables_leak)
{
	int number = guile_count("i"), self = guile_count("(list k)"), chain = guile_count("(list n)");

	printf("Guile's weak-key table, of 1000: %d with numbers, %d whose values hold their keys, %d in a chain\n", number, self, chain);
	ck_assert_int_lt(number, 500);
	ck_assert_int_eq(self, 1000);
	ck_assert_int_ge(chain, 990);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("host guile keydict");
	TCase *t = support_tcase("guile");

	tcase_add_loop_test(t, test_values_that_lead_back, 0, SHAPES);
	tcase_add_test(t, test_D43_chains);
	tcase_add_test(t, test_guile_variable_holds_keys);
	tcase_add_test(t, test_guiles_weak_tables_leak);
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

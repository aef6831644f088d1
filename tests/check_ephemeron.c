/* SPDX-License-Identifier: MIT */
/*
 * check_ephemeron: weakref/ephemeron.h: reading, death, what a value leads to, chains and rings, breaking, finalizers, threads, failing
 * allocations, wrong arguments.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/ephemeron.h"
#include "weakref/valuedict.h"

typedef struct support_node node;

/* ---- many at once ---- */

struct many {
	size_t n;
	weakref_ephemeron **ephemerons;
	node **keys;
	weakref_ref **key_refs, **value_refs;
	node *(*value)(node *key, size_t i, size_t n, node *const *all);
};

static struct many *many_new(size_t n, node *(*value)(node *, size_t, size_t, node *const *))
{
	struct many *many = gc_alloc(sizeof *many);

	*many = (struct many){.n = n, .value = value};
	many->ephemerons = gc_alloc(n * sizeof(void *));
	many->keys = gc_alloc(n * sizeof(void *));
	many->key_refs = gc_alloc(n * sizeof(void *));
	many->value_refs = gc_alloc(n * sizeof(void *));
	return many;
}

static int make(void *arg)
{
	struct many *many = arg;

	for (size_t i = 0; i < many->n; i++)
		SUPPORT_REQUIRE((many->keys[i] = support_node_new(i)) != NULL);
	for (size_t i = 0; i < many->n; i++) {
		node *value = many->value(many->keys[i], i, many->n, many->keys);
		SUPPORT_REQUIRE(value != NULL);
		many->ephemerons[i] = weakref_ephemeron_new(many->keys[i], value);
		many->key_refs[i] = weakref_ref_new(many->keys[i], NULL, NULL);
		many->value_refs[i] = weakref_ref_new(value, NULL, NULL);
		SUPPORT_REQUIRE(many->ephemerons[i] != NULL && many->key_refs[i] != NULL && many->value_refs[i] != NULL);
	}
	return 0;
}

static struct many *many_made(size_t n, node *(*value)(node *, size_t, size_t, node *const *))
{
	struct many *many = many_new(n, value);

	ck_assert_int_eq(support_on_thread(make, many), 0);
	return many;
}

static void drop_keys(struct many *many, size_t from)
{
	for (size_t i = from; i < many->n; i++)
		SUPPORT_CLEAR(many->keys[i]);
}

static size_t dead(const struct many *many)
{
	size_t n = 0, wrong = 0;

	for (size_t i = 0; i < many->n; i++) {
		bool is_dead = weakref_ephemeron_is_dead(many->ephemerons[i]);
		wrong += is_dead != (weakref_ephemeron_key(many->ephemerons[i]) == NULL);
		wrong += is_dead != (weakref_ephemeron_value(many->ephemerons[i]) == NULL);
		n += is_dead;
	}
	ck_assert_uint_eq(wrong, 0);
	return n;
}

static node *value_plain(node *key, size_t i, size_t n, node *const *all)
{
	(void)key, (void)n, (void)all;
	return support_node_new(i);
}

static node *value_to_key(node *key, size_t i, size_t n, node *const *all)
{
	node *value = support_node_new(i);

	(void)n, (void)all;
	value->next = key;
	return value;
}

static node *value_is_key(node *key, size_t i, size_t n, node *const *all)
{
	(void)i, (void)n, (void)all;
	return key;
}

static node *value_to_next(node *key, size_t i, size_t n, node *const *all)
{
	node *value = support_node_new(i);

	(void)key;
	value->next = i + 1 < n ? all[i + 1] : NULL;
	return value;
}

static node *value_in_ring(node *key, size_t i, size_t n, node *const *all)
{
	node *value = support_node_new(i);

	(void)key;
	value->next = all[(i + n - 1) % n];
	return value;
}

/* What was put in is read, through collections, for as long as the key is held; the value is held by nothing else. */
START_TEST(test_value_lives_with_key)
{
	struct many *many = many_made(SUPPORT_N, value_plain);

	support_collect();
	ck_assert_uint_eq(dead(many), 0);
	for (size_t i = 0; i < many->n; i++) {
		void *key, *value;
		ck_assert_int_eq(weakref_ephemeron_get(many->ephemerons[i], &key, &value), 0);
		ck_assert_ptr_eq(key, many->keys[i]);
		ck_assert(support_node_intact(value));
		ck_assert_uint_eq(((node *)value)->id, i);
		ck_assert_ptr_eq(weakref_ref_get(many->value_refs[i]), value);
	}
	SUPPORT_KEEP(many);
}
END_TEST

static void check_all_die(struct many *many)
{
	drop_keys(many, 0);
	support_collect();
	ck_assert_uint_ge(dead(many), many->n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(many->key_refs, many->n), many->n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(many->value_refs, many->n), many->n - SUPPORT_SLACK);
	SUPPORT_KEEP(many);
}

/* A dead key takes the value along, though the ephemeron is held. */
START_TEST(test_dead_key_frees_value)
{
	check_all_die(many_made(SUPPORT_N, value_plain));
}
END_TEST

/* A value that leads to its own key, or is it, does not keep it. */
START_TEST(test_value_leads_to_key)
{
	check_all_die(many_made(SUPPORT_N, _i == 0 ? value_to_key : value_is_key));
}
END_TEST

/* D43: a chain of ephemerons, each one's value leading to the next one's key, lives by its first key, in one collection. */
START_TEST(test_D43_chain)
{
	struct many *many = many_made(support_scaled(20000, SUPPORT_N), value_to_next);

	drop_keys(many, 1);
	support_scrub();
	gc_collect();
	ck_assert_uint_eq(dead(many), 0);
	ck_assert_uint_eq(support_dead(many->value_refs, many->n), 0);
	drop_keys(many, 0);
	support_collect();
	/* A single stray pointer keeps all that is behind it. */
	ck_assert_uint_gt(dead(many), 0);
	SUPPORT_KEEP(many);
}
END_TEST

/* D43: a ring of ephemerons lives by any key of it, and goes whole. */
START_TEST(test_D43_ring)
{
	enum { RINGS = 64 };
	struct many *rings[RINGS];
	size_t left = 0;

	for (size_t i = 0; i < RINGS; i++) {
		rings[i] = many_made(20, value_in_ring);
		drop_keys(rings[i], 1);
	}
	support_collect();
	for (size_t i = 0; i < RINGS; i++) {
		ck_assert_uint_eq(dead(rings[i]), 0);
		drop_keys(rings[i], 0);
	}
	support_collect();
	for (size_t i = 0; i < RINGS; i++) {
		size_t gone = dead(rings[i]);
		ck_assert(gone == 0 || gone == 20);
		left += gone == 0;
	}
	ck_assert_uint_le(left, SUPPORT_SLACK);
}
END_TEST

static int make_and_drop(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		static node *key;
		node *value = support_node_new(i);
		if (key == NULL)
			key = support_node_new(0);
		SUPPORT_REQUIRE(weakref_ephemeron_new(key, value) != NULL);
		refs[i] = weakref_ref_new(value, NULL, NULL);
	}
	return 0;
}

/* An ephemeron that nobody holds keeps nothing, though its key lives. */
START_TEST(test_dropped_ephemeron_keeps_nothing)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);

	ck_assert_int_eq(support_on_thread(make_and_drop, refs), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

/* The value leads to the ephemeron: that does not keep it. */
static int make_selfish(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		node *key = support_node_new(i), *value = support_node_new(i);
		weakref_ephemeron *ephemeron = weakref_ephemeron_new(key, value);
		SUPPORT_REQUIRE(ephemeron != NULL);
		value->other = ephemeron;
		value->next = key;
		refs[i] = weakref_ref_new(ephemeron, NULL, NULL);
	}
	return 0;
}

START_TEST(test_value_does_not_keep_ephemeron)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);

	ck_assert_int_eq(support_on_thread(make_selfish, refs), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

/* Values may be anything of 64 bits, and come back bit for bit. */
START_TEST(test_any_value)
{
	static int fixed;
	node *key = support_node_new(0);
	void *values[] = {NULL, &fixed, (void *)1, (void *)UINTPTR_MAX, (void *)((uintptr_t)1 << 63), malloc(8), (char *)GC_MALLOC(40) + 3};

	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		weakref_ephemeron *ephemeron = weakref_ephemeron_new(key, values[i]);
		void *got_key, *value;
		ck_assert_ptr_nonnull(ephemeron);
		support_collect();
		ck_assert_int_eq(weakref_ephemeron_get(ephemeron, &got_key, &value), 0);
		ck_assert_ptr_eq(got_key, key);
		ck_assert_ptr_eq(value, values[i]);
		ck_assert(!weakref_ephemeron_is_dead(ephemeron));
	}
	free(values[5]);
	SUPPORT_KEEP(key);
}
END_TEST

static int make_foreign(void *arg)
{
	struct many *many = arg;

	for (size_t i = 0; i < many->n; i++) {
		/* Where the pointers are: into the blocks. */
		char **key = GC_MALLOC(48), **value = GC_MALLOC(48);
		SUPPORT_REQUIRE(key != NULL && value != NULL);
		value[0] = (char *)key;
		value[5] = (char *)support_node_new(i);
		many->keys[i] = (node *)key;
		many->value_refs[i] = weakref_ref_new(value[5], NULL, NULL);
		many->ephemerons[i] = weakref_ephemeron_new(key + i % 4, value + i % 3);
		SUPPORT_REQUIRE(many->ephemerons[i] != NULL);
	}
	return 0;
}

/* Blocks of GC_MALLOC are keys and values as well, by any address in them, the value leading to its key. */
START_TEST(test_foreign_keys_and_values)
{
	struct many *many = many_new(SUPPORT_N, NULL);

	ck_assert_int_eq(support_on_thread(make_foreign, many), 0);
	support_collect();
	ck_assert_uint_eq(dead(many), 0);
	for (size_t i = 0; i < many->n; i++) {
		ck_assert_ptr_eq(weakref_ephemeron_key(many->ephemerons[i]), (char **)many->keys[i] + i % 4);
		ck_assert(support_node_intact(weakref_ref_get(many->value_refs[i])));
	}
	drop_keys(many, 0);
	support_collect();
	ck_assert_uint_ge(dead(many), many->n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(many->value_refs, many->n), many->n - SUPPORT_SLACK);
	SUPPORT_KEEP(many);
}
END_TEST

/* A broken ephemeron reads NULL and holds nothing, though its key lives; the second time there is nothing to break. */
START_TEST(test_break)
{
	struct many *many = many_made(SUPPORT_N, value_plain);

	for (size_t i = 0; i < many->n; i++) {
		void *key = many, *value = many;
		ck_assert_int_eq(weakref_ephemeron_break(many->ephemerons[i]), 0);
		ck_assert_int_eq(weakref_ephemeron_break(many->ephemerons[i]), -WEAKREF_ESTALE);
		ck_assert_int_eq(weakref_ephemeron_get(many->ephemerons[i], &key, &value), -WEAKREF_ESTALE);
		ck_assert(key == many && value == many);
	}
	ck_assert_uint_eq(dead(many), many->n);
	support_collect();
	ck_assert_uint_eq(support_dead(many->key_refs, many->n), 0);
	ck_assert_uint_ge(support_dead(many->value_refs, many->n), many->n - SUPPORT_SLACK);
	SUPPORT_KEEP(many);
}
END_TEST

START_TEST(test_wrong_arguments)
{
	static int fixed;
	node *key = support_node_new(0);
	char *odd = (char *)key + 1;
	void *wrong[] = {NULL, &fixed, odd, &key};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		errno = 0;
		ck_assert_ptr_null(weakref_ephemeron_new(wrong[i], key));
		ck_assert_int_eq(errno, EINVAL);
	}
	weakref_ephemeron *others[] = {NULL, (weakref_ephemeron *)weakref_valuedict_new(WEAKREF_KEY_INT), (weakref_ephemeron *)odd};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		ck_assert_int_eq(weakref_ephemeron_get(others[i], NULL, NULL), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_ephemeron_break(others[i]), -WEAKREF_EINVAL);
		ck_assert_ptr_null(weakref_ephemeron_key(others[i]));
		ck_assert_ptr_null(weakref_ephemeron_value(others[i]));
		ck_assert(weakref_ephemeron_is_dead(others[i]));
	}
	SUPPORT_KEEP(key);
}
END_TEST

/* ---- finalizers ---- */

static unsigned finalized, shown, intact;

static int destroy(void *obj)
{
	weakref_ephemeron *ephemeron = *(weakref_ephemeron **)obj;
	void *key, *value;

	finalized++;
	if (weakref_ephemeron_get(ephemeron, &key, &value) == 0) {
		shown++;
		intact += support_node_intact(key) && support_node_intact(value);
	}
	return 0;
}

static const gc_type holder_type = {.name = "holder", .size = sizeof(weakref_ephemeron *), .destroy = destroy};

static int make_holders(void *arg)
{
	node *key = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_ephemeron **holder = gc_new(&holder_type);
		SUPPORT_REQUIRE(holder != NULL);
		*holder = weakref_ephemeron_new(i % 2 == 0 ? key : support_node_new(i), i % 4 < 2 ? key : support_node_new(i));
		SUPPORT_REQUIRE(*holder != NULL);
	}
	return 0;
}

/* An ephemeron that only a dying object holds shows its destructor what lives otherwise, and no dead pointer. */
START_TEST(test_in_a_destructor)
{
	node *key = support_node_new(0);

	finalized = shown = intact = 0;
	ck_assert_int_eq(support_on_thread(make_holders, key), 0);
	support_collect();
	gc_run_callbacks();
	ck_assert_uint_ge(finalized, SUPPORT_N - SUPPORT_SLACK);
	/* Those whose key and value are both alive. */
	ck_assert_uint_ge(shown, SUPPORT_N / 4 - SUPPORT_SLACK);
	ck_assert_uint_le(shown, SUPPORT_N / 4 + SUPPORT_SLACK);
	ck_assert_uint_eq(shown, intact);
	SUPPORT_KEEP(key);
}
END_TEST

/* ---- threads ---- */

struct traffic {
	struct many *many;
	unsigned role;
	_Atomic unsigned *wrong;
	_Atomic bool *stop;
};

static int traffic_run(void *arg)
{
	struct traffic *t = arg;
	uint64_t seed = support_seed() + t->role;

	if (t->role == 0) {
		for (int i = 0; i < 30; i++)
			gc_collect();
		*t->stop = true;
		return 0;
	}
	while (!*t->stop) {
		size_t i = support_random(&seed) % t->many->n;
		void *key, *value;
		int result = weakref_ephemeron_get(((weakref_ephemeron *volatile *)t->many->ephemerons)[i], &key, &value);
		if (result == 0 && (!support_node_intact(key) || !support_node_intact(value) || ((node *)value)->next != key))
			++*t->wrong;
		if (t->role == 1 && support_random(&seed) % 2 == 0) {
			node *fresh = support_node_new(i), *of = support_node_new(i);
			of->next = fresh;
			((weakref_ephemeron *volatile *)t->many->ephemerons)[i] = weakref_ephemeron_new(fresh, of);
			((node *volatile *)t->many->keys)[i] = support_random(&seed) % 2 == 0 ? fresh : NULL;
		}
	}
	return 0;
}

/* Read by two threads, made and dropped by one, while another collects: never a dead pointer, never half a pair. */
START_TEST(test_threads)
{
	struct many *many = many_made(200, value_to_key);
	struct traffic *traffic = gc_alloc(4 * sizeof *traffic);
	static _Atomic unsigned wrong;
	static _Atomic bool stop;

	wrong = 0;
	stop = false;
	for (unsigned i = 0; i < 4; i++)
		traffic[i] = (struct traffic){many, i, &wrong, &stop};
	ck_assert_uint_eq(support_threads(4, traffic_run, traffic, sizeof *traffic), 0);
	ck_assert_uint_eq(wrong, 0);
	SUPPORT_KEEP(many);
}
END_TEST

/* ---- failing allocations ---- */

/* The 1st, 2nd, 3rd … allocation of the constructor fails: NULL and ENOMEM, or a whole ephemeron. */
START_TEST(test_allocation_failures)
{
	node *key = support_node_new(1), *value = support_node_new(2);
	weakref_ephemeron *ephemeron = NULL;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	for (unsigned long nth = 1; ephemeron == NULL; nth++) {
		ck_assert_uint_lt(nth, 20);
		weakref_checks_fail_allocation(nth);
		errno = 0;
		ephemeron = weakref_ephemeron_new(key, value);
		weakref_checks_fail_allocation(0);
		if (ephemeron == NULL)
			ck_assert_int_eq(errno, ENOMEM);
	}
	ck_assert_ptr_eq(weakref_ephemeron_value(ephemeron), value);
	ck_assert_int_ge(weakref_checks_validate(), 0);
	SUPPORT_KEEP(key);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("ephemeron");
	TCase *t = support_tcase("ephemeron");

	tcase_add_test(t, test_value_lives_with_key);
	tcase_add_test(t, test_dead_key_frees_value);
	tcase_add_loop_test(t, test_value_leads_to_key, 0, 2);
	tcase_add_test(t, test_D43_chain);
	tcase_add_test(t, test_D43_ring);
	tcase_add_test(t, test_dropped_ephemeron_keeps_nothing);
	tcase_add_test(t, test_value_does_not_keep_ephemeron);
	tcase_add_test(t, test_any_value);
	tcase_add_test(t, test_foreign_keys_and_values);
	tcase_add_test(t, test_break);
	tcase_add_test(t, test_wrong_arguments);
	tcase_add_test(t, test_in_a_destructor);
	tcase_add_test(t, test_threads);
	tcase_add_test(t, test_allocation_failures);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

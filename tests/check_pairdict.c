/* SPDX-License-Identifier: MIT */
/*
 * check_pairdict: the weaknesses of weakref/keydict.h other than that of keys: both sides weak, and either side weak. What
 * does not depend on the weakness is check_keydict.c's.
 *
 * Keys and values are held by two arrays of the heap: of N entries a quarter each has both held, the key alone, the value
 * alone, none.
 */
#define GC_THREADS
#include "elements.h"

#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/keydict.h"

#define N ((size_t)256)

struct fixture {
	weakref_keydict *dict;
	struct element **keys, **values; /* [N]; NULL where not held */
	bool tied; /* each refers to the other */
	uint8_t seen[N];
};

static bool key_held(size_t i)
{
	return (i & 1) == 0;
}

static bool value_held(size_t i)
{
	return (i & 2) == 0;
}

static int fill(void *arg)
{
	struct fixture *f = arg;

	for (size_t i = 0; i < N; i++) {
		struct element *key = element_new(i), *value = element_new(i);

		SUPPORT_REQUIRE(key != NULL && value != NULL);
		if (f->tied)
			value->other = key, key->other = value;
		SUPPORT_REQUIRE(weakref_keydict_set(f->dict, key, value) == 0);
		f->keys[i] = key_held(i) ? key : NULL;
		f->values[i] = value_held(i) ? value : NULL;
	}
	return 0;
}

static int look(void *arg)
{
	struct fixture *f = arg;
	weakref_keydict_iter *iter = weakref_keydict_iter_new(f->dict);
	void *k, *v;
	int rc;

	SUPPORT_REQUIRE(iter != NULL);
	memset(f->seen, 0, sizeof(f->seen));
	while ((rc = weakref_keydict_iter_next(iter, &k, &v)) == 1) {
		struct element *key = k, *value = v;

		SUPPORT_REQUIRE(element_intact(key) && element_intact(value) && key->id == value->id && key->id < N);
		SUPPORT_REQUIRE(!f->seen[key->id]);
		SUPPORT_REQUIRE(weakref_keydict_get(f->dict, key) == value);
		f->seen[key->id] = 1;
	}
	SUPPORT_REQUIRE(rc == 0);
	return 0;
}

static struct fixture *fixture_new(enum weakref_weakness weakness, bool tied)
{
	struct fixture *f = gc_alloc(sizeof(*f));

	f->dict = weakref_keydict_new_with(&(weakref_keydict_options){.weakness = weakness});
	f->keys = gc_alloc(N * sizeof(*f->keys));
	f->values = gc_alloc(N * sizeof(*f->values));
	f->tied = tied;
	ck_assert_ptr_nonnull(f->dict);
	ck_assert_int_eq(support_on_thread(fill, f), 0);
	return f;
}

/* Entries that must be there are; of those that must not, at most the slack is. */
static void expect(struct fixture *f, bool (*lives)(size_t i))
{
	size_t wrong = 0, there = 0;

	ck_assert_int_ge(support_collect(), 0);
	ck_assert_int_eq(support_on_thread(look, f), 0);
	for (size_t i = 0; i < N; i++) {
		ck_assert_msg(f->seen[i] || !lives(i), "entry %zu is gone", i);
		wrong += f->seen[i] && !lives(i);
		there += f->seen[i];
	}
	ck_assert_uint_le(wrong, SUPPORT_SLACK);
	ck_assert_uint_eq(weakref_keydict_len(f->dict), there);
	if (weakref_checks_enabled())
		ck_assert_int_ge(weakref_checks_validate(), 0);
}

static bool both_held(size_t i)
{
	return key_held(i) && value_held(i);
}

static bool either_held(size_t i)
{
	return key_held(i) || value_held(i);
}

static bool none(size_t i)
{
	(void)i;
	return false;
}

/* Both weak: the entry goes as soon as either side dies. */
START_TEST(test_D46_both)
{
	struct fixture *f = fixture_new(WEAKREF_WEAK_BOTH, false);

	expect(f, both_held);
	memset(f->values, 0, N * sizeof(*f->values));
	expect(f, none);
	SUPPORT_KEEP(f->keys);
}
END_TEST

/* Both weak, and each refers to the other: then who holds one holds both. */
START_TEST(test_D46_both_tied)
{
	struct fixture *f = fixture_new(WEAKREF_WEAK_BOTH, true);

	expect(f, either_held);
	memset(f->values, 0, N * sizeof(*f->values));
	expect(f, key_held);
	memset(f->keys, 0, N * sizeof(*f->keys));
	expect(f, none);
}
END_TEST

/* Either: one side that is held keeps the other; the entry goes when both are dead. */
START_TEST(test_D47_either)
{
	for (int tied = 0; tied < 2; tied++) {
		struct fixture *f = fixture_new(WEAKREF_WEAK_EITHER, tied);

		expect(f, either_held);
		memset(f->values, 0, N * sizeof(*f->values));
		expect(f, key_held);
		memset(f->keys, 0, N * sizeof(*f->keys));
		expect(f, none);
	}
}
END_TEST

/* Values that are no pointers: both weak, they never die; either, the key alone counts. */
START_TEST(test_D46_D47_numbers)
{
	weakref_keydict *dict = weakref_keydict_new_with(&(weakref_keydict_options){.weakness = (enum weakref_weakness)_i});
	struct element *key = element_new(1);
	void *value;

	ck_assert_int_eq(weakref_keydict_set(dict, key, (void *)7), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_int_eq(weakref_keydict_lookup(dict, key, &value), 0);
	ck_assert_ptr_eq(value, (void *)7);
	ck_assert_int_eq(weakref_keydict_set(dict, key, key), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_ptr_eq(weakref_keydict_get(dict, key), key);
	SUPPORT_KEEP(key);
}
END_TEST

static weakref_keydict *shared;
static struct element *shared_keys[64];

static int write_pairs(void *arg)
{
	uint64_t state = support_seed() + *(uint64_t *)arg;

	for (size_t i = 0; i < support_scaled(40000, 500); i++) {
		size_t k = support_random(&state) % 64;
		void *value;
		int rc;

		switch (support_random(&state) % 4) {
		case 0:
			SUPPORT_REQUIRE(weakref_keydict_set(shared, shared_keys[k], element_new(k)) == 0);
			break;
		case 1:
			value = weakref_keydict_setdefault(shared, shared_keys[k], element_new(k));
			SUPPORT_REQUIRE(value != NULL && element_intact(value) && ((struct element *)value)->id == k);
			break;
		case 2:
			value = weakref_keydict_get(shared, shared_keys[k]);
			SUPPORT_REQUIRE(value == NULL || (element_intact(value) && ((struct element *)value)->id == k));
			break;
		default:
			rc = weakref_keydict_pop(shared, shared_keys[k], &value);
			SUPPORT_REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
			SUPPORT_REQUIRE(rc != 0 || (element_intact(value) && ((struct element *)value)->id == k));
			break;
		}
		if (i % 2000 == 0)
			GC_gcollect();
	}
	return 0;
}

/* Threads replace, read and pop values of few keys while collections take values away. */
START_TEST(test_T08_threads)
{
	uint64_t numbers[3] = {1, 2, 3};

	shared = weakref_keydict_new_with(&(weakref_keydict_options){.weakness = (enum weakref_weakness)_i});
	for (size_t i = 0; i < 64; i++)
		shared_keys[i] = element_new(i);
	ck_assert_int_eq(support_threads(3, write_pairs, numbers, sizeof(numbers[0])), 0);
	if (weakref_checks_enabled())
		ck_assert_int_ge(weakref_checks_validate(), 0);
	memset(shared_keys, 0, sizeof(shared_keys));
	shared = NULL;
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pairdict");
	TCase *tc = support_tcase("pairdict");

	suite_add_tcase(s, tc);
	tcase_add_test(tc, test_D46_both);
	tcase_add_test(tc, test_D46_both_tied);
	tcase_add_test(tc, test_D47_either);
	tcase_add_loop_test(tc, test_D46_D47_numbers, 0, 3);
	tcase_add_loop_test(tc, test_T08_threads, 0, 3);
	return s;
}

int main(void)
{
	return support_main(suite);
}

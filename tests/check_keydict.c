/* SPDX-License-Identifier: MIT */
/*
 * check_keydict: the contract of weakref/keydict.h with weak keys, by public headers alone. Names of tests carry the
 * behaviour's id in the conformance list.
 *
 * Keys and values are made on a thread whose stack goes away; keys that are to live stand in an array of the heap that the
 * test holds, values nowhere but in the dictionary. Most tests run for both comparisons (_i is the enumerator).
 *
 * Absent: the other weaknesses (check_pairdict.c), threads that write (stress.c), long random sequences (model_containers.c), the
 * collector's part under pressure (check_ephemeron.c).
 */
#define GC_THREADS
#include "elements.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/keydict.h"
#include "weakref/proxy.h"

#define N ((size_t)128)

struct fixture {
	weakref_keydict *dict;
	struct element **strong; /* [n] */
	weakref_ref **values;    /* a reference to each value */
	size_t from, n, keep;
	size_t found;
	/* What becomes of value i before it is stored. */
	void (*tie)(struct fixture *f, size_t i, struct element *key, struct element *value);
	void *user;
};

static int fill(void *arg)
{
	struct fixture *f = arg;

	for (size_t i = f->from; i < f->n; i++) {
		struct element *key = element_new(i), *value = element_new(i);

		SUPPORT_REQUIRE(key != NULL && value != NULL);
		if (f->tie != NULL)
			f->tie(f, i, key, value);
		SUPPORT_REQUIRE(weakref_keydict_set(f->dict, key, value) == 0);
		f->values[i] = weakref_ref_new(value, NULL, NULL);
		SUPPORT_REQUIRE(f->values[i] != NULL);
		f->strong[i] = f->keep != 0 && i % f->keep == 0 ? key : NULL;
	}
	return 0;
}

/* Goes through the dictionary: each key once, intact, with its own value; each held one there. */
static int look(void *arg)
{
	struct fixture *f = arg;
	weakref_keydict_iter *iter = weakref_keydict_iter_new(f->dict);
	uint8_t *seen = calloc(f->n, 1);
	void *k, *v, *again;
	int rc;

	SUPPORT_REQUIRE(iter != NULL && seen != NULL);
	f->found = 0;
	while ((rc = weakref_keydict_iter_next(iter, &k, &v)) == 1) {
		struct element *key = k, *value = v;

		SUPPORT_REQUIRE(element_intact(key) && key->id < f->n && !seen[key->id]);
		SUPPORT_REQUIRE(element_intact(value) && value->id == key->id);
		SUPPORT_REQUIRE(weakref_keydict_get(f->dict, key) == value);
		SUPPORT_REQUIRE(weakref_keydict_lookup(f->dict, key, &again) == 0 && again == value);
		SUPPORT_REQUIRE(weakref_keydict_contains(f->dict, key) == 1);
		seen[key->id] = 1;
		f->found++;
	}
	SUPPORT_REQUIRE(rc == 0);
	for (size_t i = 0; i < f->n; i++)
		SUPPORT_REQUIRE(f->strong[i] == NULL || seen[i]);
	free(seen);
	return 0;
}

static void fixture_room(struct fixture *f, int compare)
{
	f->dict = weakref_keydict_new((enum weakref_compare)compare);
	f->strong = gc_alloc(f->n * sizeof(*f->strong));
	f->values = gc_alloc(f->n * sizeof(*f->values));
	ck_assert_ptr_nonnull(f->dict);
	ck_assert_ptr_nonnull(f->strong);
	ck_assert_ptr_nonnull(f->values);
}

static struct fixture fixture_new(int compare, size_t n, size_t keep)
{
	struct fixture f = {.n = n, .keep = keep};

	fixture_room(&f, compare);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	return f;
}

static void expect(struct fixture *f, size_t live)
{
	ck_assert_int_eq(support_on_thread(look, f), 0);
	ck_assert_uint_ge(f->found, live);
	ck_assert_uint_le(f->found, live + SUPPORT_SLACK);
	ck_assert_uint_eq(weakref_keydict_len(f->dict), f->found);
}

/* A key dies: its entry is gone, and the value with it. A key that lives keeps its value, which nobody else holds. */
START_TEST(test_D03_keys_die)
{
	struct fixture f = fixture_new(_i, N, 2);

	ck_assert_int_ge(support_collect(), 0);
	expect(&f, N / 2);
	ck_assert_uint_ge(support_dead(f.values, N), N / 2 - SUPPORT_SLACK);
	ck_assert_uint_le(support_dead(f.values, N), N / 2);
	memset(f.strong, 0, N * sizeof(*f.strong));
	ck_assert_int_ge(support_collect(), 0);
	expect(&f, 0);
	ck_assert_uint_ge(support_dead(f.values, N), N - SUPPORT_SLACK);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* Values that are no pointers into the heap are given back as they are, NULL included, and keep nothing. */
START_TEST(test_D03_any_value)
{
	weakref_keydict *dict = weakref_keydict_new((enum weakref_compare)_i);
	struct element *key = element_new(1), *other = element_new(2);
	static int here;
	void *words[] = {NULL, &here, (void *)(intptr_t)-1, (void *)1, key, &key->id, other}, *value;

	for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
		for (size_t l = 0; l < sizeof(words) / sizeof(words[0]); l++) {
			ck_assert_int_eq(weakref_keydict_set(dict, key, words[k]), 0);
			ck_assert_int_eq(weakref_keydict_set(dict, key, words[l]), 0);
			if (l == 0)
				gc_collect();
			ck_assert_int_eq(weakref_keydict_lookup(dict, key, &value), 0);
			ck_assert_ptr_eq(value, words[l]);
		}
	errno = 0;
	ck_assert_int_eq(weakref_keydict_set(dict, key, NULL), 0);
	ck_assert_ptr_null(weakref_keydict_setdefault(dict, key, other));
	ck_assert_int_eq(errno, 0);
	ck_assert_ptr_null(weakref_keydict_get_or(dict, key, &here));
	SUPPORT_KEEP(key);
	SUPPORT_KEEP(other);
}
END_TEST

/* What cannot be a key: contains says 0; lookup, set and delete say EINVAL. */
START_TEST(test_D04_unsuitable_keys)
{
	weakref_keydict *dict = weakref_keydict_new((enum weakref_compare)_i);
	struct element *key = element_new(1);
	static int here;
	void *bad[] = {NULL, &here, (char *)key + 1, &dict}, *value;

	ck_assert_int_eq(weakref_keydict_set(dict, key, key), 0);
	for (size_t k = 0; k < 4; k++) {
		ck_assert_int_eq(weakref_keydict_contains(dict, bad[k]), 0);
		ck_assert_int_eq(weakref_keydict_set(dict, bad[k], key), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_keydict_lookup(dict, bad[k], &value), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_keydict_delete(dict, bad[k]), -WEAKREF_EINVAL);
		ck_assert_ptr_null(weakref_keydict_get(dict, bad[k]));
		errno = 0;
		ck_assert_ptr_null(weakref_keydict_setdefault(dict, bad[k], key));
		ck_assert_int_eq(errno, WEAKREF_EINVAL);
	}
	ck_assert_uint_eq(weakref_keydict_len(dict), 1);
	ck_assert_int_eq(weakref_keydict_lookup(NULL, key, &value), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_keydict_set((weakref_keydict *)(void *)key, key, key), -WEAKREF_EINVAL);
	SUPPORT_KEEP(key);
}
END_TEST

/* delete of an absent key, and delete that takes that entry alone. */
START_TEST(test_D05_D06_delete)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct element *absent = element_new(N + 1);
	void *value = &f;

	ck_assert_int_eq(weakref_keydict_delete(f.dict, absent), -WEAKREF_ENOENT);
	ck_assert_int_eq(weakref_keydict_lookup(f.dict, absent, &value), -WEAKREF_ENOENT);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(weakref_keydict_pop(f.dict, absent, &value), -WEAKREF_ENOENT);
	for (size_t i = 0; i < N; i += 2) {
		ck_assert_int_eq(weakref_keydict_delete(f.dict, f.strong[i]), 0);
		ck_assert_int_eq(weakref_keydict_delete(f.dict, f.strong[i]), -WEAKREF_ENOENT);
		f.strong[i] = NULL;
	}
	expect(&f, N / 2);
	SUPPORT_KEEP(absent);
}
END_TEST

/* A removed entry's value is released though the key lives. */
START_TEST(test_D06_value_released)
{
	struct fixture f = fixture_new(_i, N, 1);

	for (size_t i = 0; i < N; i++) {
		if (i % 2)
			ck_assert_int_eq(weakref_keydict_delete(f.dict, f.strong[i]), 0);
		else
			ck_assert_int_eq(weakref_keydict_set(f.dict, f.strong[i], NULL), 0);
	}
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_ge(support_dead(f.values, N), N - SUPPORT_SLACK);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* items, keys, values, keyrefs: each entry once. */
START_TEST(test_D07_D08_arrays)
{
	struct fixture f = fixture_new(_i, N, 1);
	size_t n[4] = {0};
	weakref_pair *items = weakref_keydict_items(f.dict, &n[0]);
	void **keys = weakref_keydict_keys(f.dict, &n[1]), **values = weakref_keydict_values(f.dict, &n[2]);
	weakref_ref **refs = weakref_keydict_keyrefs(f.dict, &n[3]);
	uint64_t sum = 0;

	ck_assert(items != NULL && keys != NULL && values != NULL && refs != NULL);
	for (int k = 0; k < 4; k++)
		ck_assert_uint_eq(n[k], N);
	for (size_t i = 0; i < N; i++) {
		const struct element *key = items[i].key;
		ck_assert_ptr_eq(key, f.strong[key->id]);
		ck_assert_ptr_eq(items[i].value, weakref_keydict_get(f.dict, key));
		ck_assert_ptr_eq(keys[i], key);
		ck_assert_ptr_eq(values[i], items[i].value);
		ck_assert_ptr_eq(weakref_ref_get(refs[i]), key);
		ck_assert_ptr_eq(refs[i], weakref_ref_new((void *)key, NULL, NULL));
		sum += key->id;
	}
	ck_assert_uint_eq(sum, N * (N - 1) / 2);
	SUPPORT_KEEP(f.strong);
}
END_TEST

static weakref_keydict_iter *open_iter;
static bool step_values;

static int open_and_step(void *arg)
{
	struct fixture *f = arg;
	void *k, *v;

	open_iter = weakref_keydict_iter_new(f->dict);
	SUPPORT_REQUIRE(open_iter != NULL && weakref_keydict_iter_next(open_iter, &k, step_values ? &v : NULL) == 1);
	return 0;
}

static int step_to_end(void *arg)
{
	size_t *count = arg;
	void *k, *v;
	int rc;

	while ((rc = weakref_keydict_iter_next(open_iter, &k, step_values ? &v : NULL)) == 1) {
		SUPPORT_REQUIRE(element_intact(k));
		SUPPORT_REQUIRE(!step_values || (element_intact(v) && ((struct element *)v)->id == ((struct element *)k)->id));
		++*count;
	}
	SUPPORT_REQUIRE(rc == 0);
	return 0;
}

/* Keys die while an iterator is open, which goes on and holds none of them. */
START_TEST(test_D10_D18_die_while_iterating)
{
	for (int k = 0; k < 2; k++) {
		struct fixture f = fixture_new(_i, N, 2);
		size_t count = 1;

		step_values = k;
		ck_assert_int_eq(support_on_thread(open_and_step, &f), 0);
		memset(f.strong, 0, N / 2 * sizeof(*f.strong));
		ck_assert_int_ge(support_collect(), 0);
		ck_assert_uint_le(weakref_keydict_len(f.dict), N / 4 + SUPPORT_SLACK);
		ck_assert_int_eq(support_on_thread(step_to_end, &count), 0);
		ck_assert_uint_ge(count, N / 4);
		ck_assert_uint_le(count, N / 4 + 1 + SUPPORT_SLACK);
		SUPPORT_CLEAR(open_iter);
		SUPPORT_KEEP(f.strong);
	}
}
END_TEST

/* update from a copy, and clear, while an iterator is open and deaths are not purged. */
START_TEST(test_D13_change_while_iterating)
{
	struct fixture f = fixture_new(_i, N, 2);
	weakref_keydict *copy = weakref_keydict_copy(f.dict);
	size_t count = 0;

	step_values = true;
	ck_assert_int_eq(support_on_thread(open_and_step, &f), 0);
	support_scrub();
	GC_gcollect();
	ck_assert_int_eq(weakref_keydict_update(f.dict, copy), 0);
	ck_assert_uint_ge(weakref_keydict_len(f.dict), N / 2);
	ck_assert_int_eq(weakref_keydict_clear(f.dict), 0);
	ck_assert_uint_eq(weakref_keydict_len(f.dict), 0);
	ck_assert_int_eq(support_on_thread(step_to_end, &count), 0);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(weakref_keydict_update(f.dict, copy), 0);
	ck_assert_int_ge(support_collect(), 0);
	expect(&f, N / 2);
	SUPPORT_CLEAR(open_iter);
	SUPPORT_KEEP(copy);
}
END_TEST

/* Key i is dropped, by keys that are equal to it asked for or put anew, one way after the other, while an iterator is open and nothing was
 * purged: it is not there, and what is put stays. */
START_TEST(test_D12_dead_keys_while_iterating)
{
	static int fallback;
	struct fixture f = fixture_new(WEAKREF_BY_EQUALITY, N, 2);
	struct element **fresh = gc_alloc(N * sizeof *fresh);
	size_t dead = 0, len, count = 0;
	void *value;

	step_values = true;
	ck_assert_int_eq(support_on_thread(open_and_step, &f), 0);
	support_scrub();
	GC_gcollect();
	len = weakref_keydict_len(f.dict);
	ck_assert_uint_le(len, N / 2 + SUPPORT_SLACK);
	for (size_t i = 1; i < N; i += 2) {
		struct element *again = element_new(i);
		if (weakref_keydict_contains(f.dict, again) != 0)
			continue;
		dead++;
		switch (i / 2 % 5) {
		case 0:
			ck_assert_int_eq(weakref_keydict_delete(f.dict, again), -WEAKREF_ENOENT);
			continue;
		case 1:
			ck_assert_int_eq(weakref_keydict_pop(f.dict, again, &value), -WEAKREF_ENOENT);
			continue;
		case 2:
			ck_assert_ptr_eq(weakref_keydict_pop_or(f.dict, again, &fallback), &fallback);
			continue;
		case 3:
			ck_assert_int_eq(weakref_keydict_set(f.dict, again, again), 0);
			break;
		default:
			ck_assert_ptr_eq(weakref_keydict_setdefault(f.dict, again, again), again);
		}
		fresh[count++] = again;
		ck_assert_ptr_eq(weakref_keydict_get(f.dict, again), again);
	}
	ck_assert_uint_ge(dead, N / 2 - SUPPORT_SLACK);
	/* One that a word held may have gone since. */
	ck_assert_uint_ge(weakref_keydict_len(f.dict), N / 2 + count);
	ck_assert_uint_le(weakref_keydict_len(f.dict), len + count);
	size_t steps = 0;
	ck_assert_int_eq(support_on_thread(step_to_end, &steps), 0);
	ck_assert_uint_le(steps, len + count);
	ck_assert_int_ge(support_collect(), 0);
	for (size_t i = 0; i < count; i++)
		ck_assert_ptr_eq(weakref_keydict_get(f.dict, fresh[i]), fresh[i]);
	SUPPORT_CLEAR(open_iter);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* What the comparison drops, and collects, each time that it is asked. */
static struct {
	struct element **keys;
	size_t n;
	bool mutates;
} cascade;

static int cascading_hash(const void *key, uint64_t *out, void *user)
{
	(void)key;
	(void)user;
	*out = 1;
	return 0;
}

static int cascading_equal(const void *a, const void *b, void *user)
{
	const struct element *x = a, *y = b;

	(void)user;
	if (cascade.mutates && cascade.n > 0) {
		cascade.keys[--cascade.n] = NULL;
		support_scrub();
		gc_collect();
	}
	return element_intact(x) && element_intact(y) ? x->id == y->id : -WEAKREF_EINVAL;
}

static int fill_cascade(void *dict)
{
	for (size_t i = 0; i < SUPPORT_N; i++) {
		SUPPORT_REQUIRE((cascade.keys[i] = element_new(i)) != NULL);
		SUPPORT_REQUIRE(weakref_keydict_set(dict, cascade.keys[i], cascade.keys[i]) == 0);
	}
	cascade.n = SUPPORT_N;
	return 0;
}

/* Keys that all share a hash are deleted, and each comparison lets the last key that is held go: each that is held yet is found, whatever
 * vanishes beside it, and in the end the dictionary is empty. (CPython: test_weak_keyed_cascading_deletes.) */
START_TEST(test_D35_cascading_deletes)
{
	weakref_keydict *dict = weakref_keydict_new_custom(cascading_hash, cascading_equal, NULL);
	size_t deleted = 0;

	cascade.keys = gc_alloc(SUPPORT_N * sizeof *cascade.keys);
	cascade.mutates = false;
	ck_assert_int_eq(support_on_thread(fill_cascade, dict), 0);
	ck_assert_uint_eq(weakref_keydict_len(dict), SUPPORT_N);
	cascade.mutates = true;
	for (size_t i = 0; i < cascade.n; i++) {
		struct element *key = cascade.keys[i], *probe = element_new(i);
		ck_assert_int_eq(weakref_keydict_delete(dict, probe), 0);
		ck_assert_ptr_nonnull(key);
		deleted++;
		SUPPORT_KEEP(key);
	}
	cascade.mutates = false;
	ck_assert_uint_lt(deleted, SUPPORT_N);
	memset(cascade.keys, 0, SUPPORT_N * sizeof *cascade.keys);
	support_collect();
	ck_assert_uint_le(weakref_keydict_len(dict), SUPPORT_SLACK);
}
END_TEST

static void tie_self(struct fixture *f, size_t i, struct element *key, struct element *value)
{
	(void)f;
	(void)i;
	key->other = key;
	value->other = key;
}

/* Twenty keys in cycles with themselves and their values; len with an iterator open. */
START_TEST(test_D15_len_of_cycles)
{
	struct fixture f = {.n = 20, .tie = tie_self};

	fixture_room(&f, _i);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	open_iter = weakref_keydict_iter_new(f.dict);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(weakref_keydict_len(f.dict), SUPPORT_SLACK);
	SUPPORT_CLEAR(open_iter);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(weakref_keydict_len(f.dict), SUPPORT_SLACK);
}
END_TEST

/* len never grows nor wraps while entries die at different paces. */
START_TEST(test_D16_len_never_wrong)
{
	size_t paces = support_scaled(100, 10);

	for (size_t pace = 0; pace < paces; pace++) {
		struct fixture f = {.n = 50, .tie = tie_self};
		fixture_room(&f, _i);
		ck_assert_int_eq(support_on_thread(fill, &f), 0);
		size_t one = weakref_keydict_len(f.dict);
		support_churn(pace % 2, (pace + 1) << 12);
		size_t two = weakref_keydict_len(f.dict);
		ck_assert(two <= one && one <= 50);
	}
}
END_TEST

/* Construction from pairs and from another; a bad pair leaves no map, and changes none. */
START_TEST(test_D20_D22_construct)
{
	struct fixture f = fixture_new(_i, N, 1);
	size_t n;
	weakref_pair *items = weakref_keydict_items(f.dict, &n);
	static int here;
	weakref_pair bad[2] = {items[0], {&here, NULL}};
	weakref_keydict *made = weakref_keydict_from_pairs((enum weakref_compare)_i, items, n), *empty = weakref_keydict_new(_i);

	ck_assert_ptr_nonnull(made);
	f.dict = made;
	expect(&f, N);
	errno = 0;
	ck_assert_ptr_null(weakref_keydict_from_pairs((enum weakref_compare)_i, bad, 2));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_keydict_update_pairs(empty, bad, 2), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_keydict_update_pairs(empty, NULL, 2), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_keydict_len(empty), 0);
	ck_assert_ptr_null(weakref_keydict_new((enum weakref_compare)7));
	ck_assert_ptr_null(weakref_keydict_new_custom(NULL, NULL, NULL));
	ck_assert_ptr_null(weakref_keydict_new_with(&(weakref_keydict_options){.weakness = (enum weakref_weakness)3}));
	ck_assert_ptr_nonnull(weakref_keydict_new_with(NULL));
}
END_TEST

/* popitem gives each pair once, then ENOENT; len counts down. */
START_TEST(test_D23_popitem)
{
	struct fixture f = fixture_new(_i, N, 1);
	uint8_t seen[128] = {0};
	void *k, *v;

	for (size_t i = 0; i < N; i++) {
		ck_assert_int_eq(weakref_keydict_popitem(f.dict, &k, &v), 0);
		struct element *key = k, *value = v;
		ck_assert(element_intact(key) && element_intact(value) && key->id == value->id && !seen[key->id]++);
		ck_assert_uint_eq(weakref_keydict_len(f.dict), N - 1 - i);
	}
	ck_assert_int_eq(weakref_keydict_popitem(f.dict, &k, &v), -WEAKREF_ENOENT);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* setdefault stores where there is nothing, and keeps what is there. */
START_TEST(test_D25_setdefault)
{
	weakref_keydict *dict = weakref_keydict_new((enum weakref_compare)_i);
	struct element *key = element_new(1), *twin = element_new(1), *a = element_new(2), *b = element_new(3);

	ck_assert_ptr_eq(weakref_keydict_setdefault(dict, key, a), a);
	ck_assert_ptr_eq(weakref_keydict_setdefault(dict, key, b), a);
	ck_assert_ptr_eq(weakref_keydict_setdefault(dict, twin, b), _i == WEAKREF_BY_EQUALITY ? a : b);
	SUPPORT_KEEP(key);
	SUPPORT_KEEP(twin);
}
END_TEST

static weakref_keydict *small;

static int put_dead(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_keydict_set(small, element_new(i), element_new(i)) == 0);
	return 0;
}

/* pop and get with a default, on live and dead entries. (By identity nobody can name a dead key: an equal one stands for it.) */
START_TEST(test_D27_D28_defaults)
{
	static int fallback;
	void *value;
	struct element *key = element_new(SUPPORT_N), *held = element_new(4);
	size_t missing = 0;

	small = weakref_keydict_new((enum weakref_compare)_i);
	ck_assert_int_eq(support_on_thread(put_dead, NULL), 0);
	ck_assert_int_eq(weakref_keydict_set(small, key, held), 0);
	ck_assert_int_ge(support_collect(), 0);
	for (uint64_t i = 0; i < SUPPORT_N; i++) {
		struct element *probe = element_new(i);
		missing += weakref_keydict_get_or(small, probe, &fallback) == &fallback &&
			   weakref_keydict_pop_or(small, probe, &fallback) == &fallback &&
			   weakref_keydict_pop(small, probe, &value) == -WEAKREF_ENOENT;
	}
	ck_assert_uint_ge(missing, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_ptr_eq(weakref_keydict_get_or(small, key, &fallback), held);
	ck_assert_ptr_eq(weakref_keydict_pop_or(small, key, &fallback), held);
	ck_assert_ptr_eq(weakref_keydict_pop_or(small, key, &fallback), &fallback);
	ck_assert_uint_le(weakref_keydict_len(small), SUPPORT_SLACK);
	small = NULL;
}
END_TEST

/* update, union, copy: who wins, and that results live on their own and are weak. */
START_TEST(test_D29_D30_D31_D32_merge)
{
	struct fixture f = fixture_new(_i, N, 1);
	weakref_keydict *other = weakref_keydict_new((enum weakref_compare)_i), *both, *copy;
	weakref_keydict *strange = weakref_keydict_new(_i == WEAKREF_BY_IDENTITY ? WEAKREF_BY_EQUALITY : WEAKREF_BY_IDENTITY);
	struct element *marker = element_new(1000), *extra = element_new(N + 5);

	ck_assert_int_eq(weakref_keydict_set(other, f.strong[0], marker), 0);
	ck_assert_int_eq(weakref_keydict_set(other, extra, marker), 0);
	both = weakref_keydict_union(f.dict, other);
	ck_assert_ptr_nonnull(both);
	ck_assert_uint_eq(weakref_keydict_len(both), N + 1);
	ck_assert_ptr_eq(weakref_keydict_get(both, f.strong[0]), marker);
	ck_assert_ptr_ne(weakref_keydict_get(f.dict, f.strong[0]), marker);
	copy = weakref_keydict_copy(f.dict);
	ck_assert_int_eq(weakref_keydict_delete(copy, f.strong[1]), 0);
	ck_assert_int_eq(weakref_keydict_contains(f.dict, f.strong[1]), 1);
	ck_assert_int_eq(weakref_keydict_update(copy, other), 0);
	ck_assert_ptr_eq(weakref_keydict_get(copy, f.strong[0]), marker);
	ck_assert_int_eq(weakref_keydict_update(f.dict, f.dict), 0);
	ck_assert_int_eq(weakref_keydict_update(f.dict, strange), -WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_keydict_union(f.dict, strange));
	expect(&f, N);
	memset(f.strong, 0, N * sizeof(*f.strong));
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(weakref_keydict_len(both), 1 + SUPPORT_SLACK);
	ck_assert_uint_le(weakref_keydict_len(copy), 1 + SUPPORT_SLACK);
	SUPPORT_KEEP(extra);
	SUPPORT_KEEP(marker);
}
END_TEST

static void *copy_element(const void *value, void *user)
{
	const struct element *e = value;
	size_t *left = user;

	if (left != NULL && (*left)-- == 0) {
		errno = WEAKREF_ECANCELED;
		return NULL;
	}
	return element_new(e->id);
}

/* A deep copy shares keys and has values of its own. */
START_TEST(test_D33_deepcopy)
{
	struct fixture f = fixture_new(_i, N, 1);
	weakref_keydict *copy = weakref_keydict_deepcopy(f.dict, copy_element, NULL);
	size_t left = 3;

	ck_assert_ptr_nonnull(copy);
	for (size_t i = 0; i < N; i++) {
		struct element *a = weakref_keydict_get(f.dict, f.strong[i]), *b = weakref_keydict_get(copy, f.strong[i]);
		ck_assert(a != b && a != NULL && b != NULL && a->id == b->id);
	}
	errno = 0;
	ck_assert_ptr_null(weakref_keydict_deepcopy(f.dict, copy_element, &left));
	ck_assert_int_eq(errno, WEAKREF_ECANCELED);
	SUPPORT_KEEP(f.strong);
}
END_TEST

struct mischief {
	struct fixture *f;
	size_t copies;
	bool clear;
};

/* Lets go of the key, finds out whether it died, and puts others. */
static void *copy_with_mischief(const void *value, void *user)
{
	struct mischief *m = user;
	uint64_t id = ((const struct element *)value)->id;

	m->f->strong[id % N] = NULL;
	if (m->copies++ % 16 == 0)
		support_collect();
	if (m->clear && weakref_keydict_clear(m->f->dict) != 0)
		return NULL;
	for (size_t i = 0; i < 4; i++) {
		struct element *key = element_new(N + m->copies * 4 + i), *its = element_new(N + m->copies * 4 + i);
		if (weakref_keydict_set(m->f->dict, key, its) != 0)
			return NULL;
	}
	return element_new(id);
}

static int deepcopy_with_mischief(void *arg)
{
	struct mischief *m = arg;
	weakref_keydict *copy = weakref_keydict_deepcopy(m->f->dict, copy_with_mischief, m);
	size_t n = 0;
	weakref_pair *items = copy == NULL ? NULL : weakref_keydict_items(copy, &n);

	SUPPORT_REQUIRE(items != NULL && n <= m->copies && m->copies <= 16 * N);
	for (size_t i = 0; i < n; i++) {
		const struct element *key = items[i].key, *value = items[i].value;
		SUPPORT_REQUIRE(element_intact(key) && element_intact(value) && key->id == value->id);
	}
	m->f->dict = copy;
	return 0;
}

/* A copy of values lets go of the very key, collects, clears the dictionary and stores others meanwhile: the deep copy ends, and its entries
 * are whole. */
START_TEST(test_D33_deepcopy_with_mischief)
{
	struct fixture f = fixture_new(_i % 2, N, 1);
	struct mischief m = {.f = &f, .clear = _i / 2 == 1};

	ck_assert_int_eq(support_on_thread(deepcopy_with_mischief, &m), 0);
	ck_assert_uint_ge(m.copies, 1);
	memset(f.strong, 0, N * sizeof *f.strong);
	support_collect();
	ck_assert_uint_le(weakref_keydict_len(f.dict), SUPPORT_SLACK);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* By identity, equal keys are two entries; by equality one, under the key that was first. */
START_TEST(test_D36_identity)
{
	weakref_keydict *dict = weakref_keydict_new((enum weakref_compare)_i);
	struct element *a = element_new(1), *b = element_new(1), *x = element_new(2), *y = element_new(3);
	void *key, *value;

	ck_assert_int_eq(weakref_keydict_set(dict, a, x), 0);
	ck_assert_int_eq(weakref_keydict_set(dict, b, y), 0);
	if (_i == WEAKREF_BY_IDENTITY) {
		ck_assert_uint_eq(weakref_keydict_len(dict), 2);
		ck_assert_ptr_eq(weakref_keydict_get(dict, a), x);
	} else {
		ck_assert_uint_eq(weakref_keydict_len(dict), 1);
		ck_assert_int_eq(weakref_keydict_popitem(dict, &key, &value), 0);
		ck_assert(key == a && value == y);
	}
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
}
END_TEST

static int probe_hash(const void *key, uint64_t *out, void *user)
{
	(void)user;
	*out = ((const struct element *)key)->id;
	return *out == UINT64_MAX ? -WEAKREF_ETIMEDOUT : 0;
}

static int probe_equal(const void *a, const void *b, void *user)
{
	(void)user;
	return ((const struct element *)a)->id == ((const struct element *)b)->id;
}

/* getkey gives the key that stands in the dictionary, as long as it does, whatever its value. (Ruby: test_getkey of WeakKeyMap.) */
START_TEST(test_R81_getkey)
{
	weakref_keydict *dict = weakref_keydict_new((enum weakref_compare)_i);
	struct element *a = element_new(1), *b = element_new(1), *c = element_new(2);
	static int unsuitable;

	ck_assert_ptr_null(weakref_keydict_getkey(dict, a));
	ck_assert_int_eq(weakref_keydict_set(dict, a, NULL), 0);
	ck_assert_ptr_eq(weakref_keydict_getkey(dict, a), a);
	ck_assert_ptr_eq(weakref_keydict_getkey(dict, b), _i == WEAKREF_BY_IDENTITY ? NULL : a);
	ck_assert_ptr_null(weakref_keydict_getkey(dict, c));
	ck_assert_int_eq(weakref_keydict_set(dict, b, b), 0);
	ck_assert_ptr_eq(weakref_keydict_getkey(dict, b), _i == WEAKREF_BY_IDENTITY ? b : a);
	ck_assert_ptr_null(weakref_keydict_getkey(dict, NULL));
	ck_assert_ptr_null(weakref_keydict_getkey(dict, &unsuitable));
	ck_assert_ptr_null(weakref_keydict_getkey(NULL, a));
	ck_assert_ptr_null(weakref_keydict_getkey((weakref_keydict *)(void *)a, a));
	ck_assert_int_eq(weakref_keydict_delete(dict, a), 0);
	ck_assert_ptr_null(weakref_keydict_getkey(dict, a));
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
}
END_TEST

/* By functions of the program's, getkey is asked with what need not be on the heap; an error of theirs is no key. */
START_TEST(test_R81_getkey_of_a_probe)
{
	weakref_keydict *dict = weakref_keydict_new_custom(probe_hash, probe_equal, NULL);
	struct element *key = element_new(7), probe = {.id = 7}, other = {.id = 8}, failing = {.id = UINT64_MAX};

	ck_assert_int_eq(weakref_keydict_set(dict, key, key), 0);
	ck_assert_ptr_eq(weakref_keydict_getkey(dict, &probe), key);
	ck_assert_ptr_null(weakref_keydict_getkey(dict, &other));
	ck_assert_ptr_null(weakref_keydict_getkey(dict, &failing));
	ck_assert_int_eq(weakref_keydict_contains(dict, &failing), -WEAKREF_ETIMEDOUT);
	SUPPORT_KEEP(key);
}
END_TEST

static int get_keys(void *arg)
{
	struct fixture *f = arg;

	f->found = 0;
	for (size_t i = 0; i < f->n; i++) {
		struct element probe = {.id = i}, *key = weakref_keydict_getkey(f->dict, &probe);

		SUPPORT_REQUIRE(key == NULL || (element_intact(key) && key->id == i));
		SUPPORT_REQUIRE(f->strong[i] == NULL || f->strong[i] == key);
		f->found += key != NULL;
	}
	return 0;
}

/* A key that died is given no more. */
START_TEST(test_R81_getkey_of_the_dead)
{
	struct fixture f = {.n = N, .keep = 2};

	fixture_room(&f, WEAKREF_BY_IDENTITY);
	f.dict = weakref_keydict_new_custom(probe_hash, probe_equal, NULL);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_int_eq(support_on_thread(get_keys, &f), 0);
	ck_assert_uint_ge(f.found, N / 2);
	ck_assert_uint_le(f.found, N / 2 + SUPPORT_SLACK);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* repr gives type and address. */
START_TEST(test_D38_repr)
{
	weakref_keydict *dict = weakref_keydict_new((enum weakref_compare)_i);
	char text[64], want[64];

	snprintf(want, sizeof(want), "<WeakKeyDictionary at %p>", (void *)dict);
	ck_assert_int_eq(weakref_keydict_repr(dict, text, sizeof(text)), (int)strlen(want));
	ck_assert_str_eq(text, want);
	ck_assert_int_eq(gc_repr(dict, text, sizeof(text)), (int)strlen(want));
	ck_assert_int_eq(gc_truth(dict), 0);
	ck_assert_int_eq(weakref_keydict_repr(NULL, text, sizeof(text)), -WEAKREF_EINVAL);
}
END_TEST

/* R234: a dictionary, and its proxy, answer to the generic operations as to its own functions. */
START_TEST(test_R234_generic_operations)
{
	enum weakref_compare compare = (enum weakref_compare)(_i % 2);
	weakref_keydict *dict = weakref_keydict_new(compare), *other = weakref_keydict_new(compare);
	struct element *a = element_new(1), *b = element_new(2), *v = element_new(3), *w = element_new(4);
	void *obj = _i < 2 ? (void *)dict : (void *)weakref_proxy_new(dict, NULL, NULL), *value = NULL, *result = NULL;
	static int here;

	ck_assert_int_eq(gc_getitem(obj, a, &value), -WEAKREF_ENOENT);
	ck_assert_int_eq(gc_setitem(obj, a, v), 0);
	ck_assert_int_eq(gc_setitem(obj, &here, v), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_getitem(obj, a, &value), 0);
	ck_assert_ptr_eq(value, v);
	ck_assert_int_eq(gc_contains(obj, a), 1);
	ck_assert_int_eq(gc_contains(obj, b), 0);
	ck_assert_int_eq(weakref_keydict_set(other, a, w), 0);
	ck_assert_int_eq(weakref_keydict_set(other, b, w), 0);
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_OR, other, &result), 0);
	ck_assert_uint_eq(weakref_keydict_len(dict), 1);
	ck_assert(weakref_keydict_len(result) == 2 && weakref_keydict_get(result, a) == w);
	ck_assert_int_eq(gc_inplace(obj, WEAKREF_OP_OR, other, &result), 0);
	ck_assert_ptr_eq(result, dict);
	ck_assert(weakref_keydict_len(dict) == 2 && weakref_keydict_get(dict, a) == w);
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_AND, other, &result), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_OR, a, &result), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_inplace(obj, WEAKREF_OP_OR, &here, &result), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_OR, weakref_keydict_new((enum weakref_compare)(1 - compare)), &result), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_delitem(obj, a), 0);
	ck_assert_int_eq(gc_delitem(obj, a), -WEAKREF_ENOENT);
	ck_assert_uint_eq(weakref_keydict_len(dict), 1);
	SUPPORT_KEEP(dict);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
}
END_TEST

/* ---- dictionaries that are dropped, and what refers to what -------------------------------------------------------------- */

static void tie_dict(struct fixture *f, size_t i, struct element *key, struct element *value)
{
	(void)i;
	value->other = f->dict;
	(void)key;
}

/* A dropped dictionary is garbage though its keys live and its values refer to it; the values go with it. */
START_TEST(test_D39_D40_dropped)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof(*refs));
	struct fixture f = {.n = SUPPORT_N, .keep = 1, .tie = tie_dict};

	fixture_room(&f, _i);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	SUPPORT_CLEAR(f.dict);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_ge(support_dead(f.values, f.n), f.n - SUPPORT_SLACK);
	ck_assert_int_eq(weakref_getweakrefcount(f.strong[0]), 0);
	SUPPORT_KEEP(f.strong);
	SUPPORT_KEEP(refs);
}
END_TEST

static void tie_chain(struct fixture *f, size_t i, struct element *key, struct element *value)
{
	struct element **previous = f->user;

	(void)i;
	if (previous[0] != NULL)
		previous[0]->other = key;
	previous[0] = value;
}

/* What is left of a chain whose head was dropped. All of it stood before. */
static size_t chain_remains(int kind)
{
	struct fixture f = {.n = 1000, .keep = 1000, .tie = tie_chain};

	fixture_room(&f, kind);
	f.user = gc_alloc(sizeof(void *));
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	*(void **)f.user = NULL;
	ck_assert_int_ge(support_collect(), 0);
	expect(&f, 1000);
	f.strong[0] = NULL;
	ck_assert_int_ge(support_collect(), 0);
	SUPPORT_KEEP(f.strong);
	return weakref_keydict_len(f.dict);
}

/* Key i + 1 is held by value i alone: all stay as long as the first key does, and go with it. A stray word that points into a chain keeps
 * all that comes after: so some chains, of which one must go. */
START_TEST(test_D43_chain)
{
	size_t least = SIZE_MAX;

	for (int i = 0; i < 8 && least > SUPPORT_SLACK; i++) {
		size_t left = chain_remains(_i);
		least = left < least ? left : least;
	}
	ck_assert_uint_le(least, SUPPORT_SLACK);
}
END_TEST

/* A value that leads to its own key keeps neither. */
START_TEST(test_D43_value_holds_key)
{
	struct fixture f = {.n = N, .keep = 2, .tie = tie_self};

	fixture_room(&f, _i);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	ck_assert_int_ge(support_collect(), 0);
	expect(&f, N / 2);
	memset(f.strong, 0, N * sizeof(*f.strong));
	ck_assert_int_ge(support_collect(), 0);
	expect(&f, 0);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* Many come and nearly all go; then the table works on, and keeps no memory that it does not need. */
START_TEST(test_R35_growth_and_mass_death)
{
	size_t n = support_scaled(60000, 2000);
	struct fixture f = fixture_new(_i, n, 100);

	ck_assert_int_ge(support_collect(), 0);
	expect(&f, (n + 99) / 100);
	if (weakref_checks_enabled())
		ck_assert_int_ge(weakref_checks_validate(), 0);
	SUPPORT_KEEP(f.strong);
}
END_TEST

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* After many deaths that nothing has purged no single write takes long: none moves more than its segment. */
START_TEST(test_R35_write_after_deaths_is_bounded)
{
	size_t n = support_scaled(300000, 2000);
	struct fixture f = fixture_new(_i, n, 0);
	struct element *keys[200];
	double worst = 0;

	for (uint64_t i = 0; i < 200; i++)
		keys[i] = element_new(n + i);
	support_scrub();
	GC_gcollect();
	ck_assert_uint_le(weakref_keydict_len(f.dict), SUPPORT_SLACK);
	for (size_t i = 0; i < 200; i++) {
		double before = now();
		ck_assert_int_eq(weakref_keydict_set(f.dict, keys[i], NULL), 0);
		double took = now() - before;
		worst = took > worst ? took : worst;
	}
	/* Purging all at once would take as long as the dictionary is large; the bound leaves room for a collection and a busy machine. */
	ck_assert_double_lt(worst, 2.0);
	SUPPORT_KEEP(keys[199]);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

struct dropper {
	struct element **strong;
	size_t n;
	uint64_t state;
	_Atomic bool *stop;
};

static int drop_keys(void *arg)
{
	struct dropper *d = arg;

	for (size_t i = 0; i < d->n && !*d->stop; i++) {
		d->strong[support_random(&d->state) % d->n] = NULL;
		if (i % (d->n / 4 + 1) == 0)
			gc_collect();
	}
	return 0;
}

struct copier {
	struct fixture *f;
	_Atomic bool *stop;
	bool deep;
};

static int copy_often(void *arg)
{
	struct copier *c = arg;

	for (int round = 0; round < 4; round++) {
		weakref_keydict *copy = c->deep ? weakref_keydict_deepcopy(c->f->dict, copy_element, NULL) : weakref_keydict_copy(c->f->dict);
		weakref_keydict_iter *iter;
		void *k, *v;

		SUPPORT_REQUIRE(copy != NULL);
		iter = weakref_keydict_iter_new(copy);
		SUPPORT_REQUIRE(iter != NULL);
		while (weakref_keydict_iter_next(iter, &k, &v) == 1)
			SUPPORT_REQUIRE(element_intact(k) && element_intact(v) && ((struct element *)k)->id == ((struct element *)v)->id);
	}
	*c->stop = true;
	return 0;
}

struct job {
	support_fn fn;
	void *arg;
};

static int run_job(void *arg)
{
	struct job *job = arg;

	return job->fn(job->arg);
}

/* Copies, deep ones too, while another thread drops keys at random. */
START_TEST(test_T04_T06_copy_while_keys_die)
{
	size_t n = support_scaled(70000, 1000);

	for (int deep = 0; deep < 2; deep++) {
		struct fixture f = fixture_new(_i, n, 1);
		_Atomic bool stop = false;
		struct dropper d = {.strong = f.strong, .n = n, .state = support_seed(), .stop = &stop};
		struct copier c = {.f = &f, .stop = &stop, .deep = deep};
		struct job jobs[2] = {{drop_keys, &d}, {copy_often, &c}};

		ck_assert_int_eq(support_threads(2, run_job, jobs, sizeof(jobs[0])), 0);
	}
}
END_TEST

/* ---- no memory ----------------------------------------------------------------------------------------------------------- */

enum swept { NEW, SET, SETDEFAULT, PAIRS, COPY, DEEPCOPY, UNION, UPDATE, CLEAR, POPITEM, ITER, ITEMS, KEYS, VALUES, KEYREFS, SWEPT };

static int swept_call(enum swept what, struct fixture *f, weakref_keydict *empty, struct element *fresh, weakref_pair *pairs, long *added)
{
	void *made = NULL;
	size_t n;

	*added = 0;
	switch (what) {
	case NEW:
		made = weakref_keydict_new(WEAKREF_BY_EQUALITY);
		break;
	case SET:
		*added = 1;
		return weakref_keydict_set(f->dict, fresh, fresh);
	case SETDEFAULT:
		*added = 1;
		made = weakref_keydict_setdefault(f->dict, fresh, fresh);
		break;
	case PAIRS:
		made = weakref_keydict_from_pairs(WEAKREF_BY_IDENTITY, pairs, 1);
		break;
	case COPY:
		made = weakref_keydict_copy(f->dict);
		break;
	case DEEPCOPY:
		made = weakref_keydict_deepcopy(f->dict, copy_element, NULL);
		break;
	case UNION:
		made = weakref_keydict_union(f->dict, f->dict);
		break;
	case UPDATE:
		return weakref_keydict_update(empty, f->dict);
	case CLEAR:
		*added = -(long)f->n;
		return weakref_keydict_clear(f->dict);
	case POPITEM:
		*added = -1;
		return weakref_keydict_popitem(f->dict, NULL, NULL);
	case ITER:
		made = weakref_keydict_iter_new(f->dict);
		break;
	case ITEMS:
		made = weakref_keydict_items(f->dict, &n);
		break;
	case KEYS:
		made = weakref_keydict_keys(f->dict, &n);
		break;
	case VALUES:
		made = weakref_keydict_values(f->dict, &n);
		break;
	default:
		made = weakref_keydict_keyrefs(f->dict, &n);
		break;
	}
	return made != NULL ? 0 : -errno;
}

/* With each allocation of a call failing in turn it says ENOMEM and has changed nothing. */
START_TEST(test_R44_allocation_fails)
{
	static const size_t sizes[] = {1, 4, 5, 16, 60};

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (unsigned long nth = 1, left = 0; left == 0; nth++) {
			struct fixture f = fixture_new(_i % 2, sizes[s], 1);
			weakref_keydict *empty = weakref_keydict_new(_i % 2);
			struct element *fresh = element_new(777);
			weakref_pair pair = {fresh, fresh};
			long added;

			weakref_checks_fail_allocation(nth);
			int rc = swept_call((enum swept)(_i / 2), &f, empty, fresh, &pair, &added);
			left = (unsigned long)weakref_checks_fail_allocation(0);
			ck_assert_msg(rc == 0 || rc == -WEAKREF_ENOMEM, "call %d: %d", _i, rc);
			ck_assert(rc == 0 || left == 0);
			ck_assert_uint_eq(weakref_keydict_len(f.dict), (size_t)((long)f.n + (rc == 0 ? added : 0)));
			if (rc != 0)
				expect(&f, f.n);
		}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("keydict");
	TCase *tc = support_tcase("keydict");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, test_D03_keys_die, 0, 2);
	tcase_add_loop_test(tc, test_D03_any_value, 0, 2);
	tcase_add_loop_test(tc, test_D04_unsuitable_keys, 0, 2);
	tcase_add_loop_test(tc, test_D05_D06_delete, 0, 2);
	tcase_add_loop_test(tc, test_D06_value_released, 0, 2);
	tcase_add_loop_test(tc, test_D07_D08_arrays, 0, 2);
	tcase_add_loop_test(tc, test_D10_D18_die_while_iterating, 0, 2);
	tcase_add_loop_test(tc, test_D13_change_while_iterating, 0, 2);
	tcase_add_test(tc, test_D12_dead_keys_while_iterating);
	tcase_add_test(tc, test_D35_cascading_deletes);
	tcase_add_loop_test(tc, test_D15_len_of_cycles, 0, 2);
	tcase_add_loop_test(tc, test_D16_len_never_wrong, 0, 2);
	tcase_add_loop_test(tc, test_D20_D22_construct, 0, 2);
	tcase_add_loop_test(tc, test_D23_popitem, 0, 2);
	tcase_add_loop_test(tc, test_D25_setdefault, 0, 2);
	tcase_add_loop_test(tc, test_D27_D28_defaults, 0, 2);
	tcase_add_loop_test(tc, test_D29_D30_D31_D32_merge, 0, 2);
	tcase_add_loop_test(tc, test_D33_deepcopy, 0, 2);
	tcase_add_loop_test(tc, test_D33_deepcopy_with_mischief, 0, 4);
	tcase_add_loop_test(tc, test_D36_identity, 0, 2);
	tcase_add_loop_test(tc, test_R81_getkey, 0, 2);
	tcase_add_test(tc, test_R81_getkey_of_a_probe);
	tcase_add_test(tc, test_R81_getkey_of_the_dead);
	tcase_add_loop_test(tc, test_D38_repr, 0, 2);
	tcase_add_loop_test(tc, test_R234_generic_operations, 0, 4);
	tcase_add_loop_test(tc, test_D39_D40_dropped, 0, 2);
	tcase_add_loop_test(tc, test_D43_chain, 0, 2);
	tcase_add_loop_test(tc, test_D43_value_holds_key, 0, 2);
	tcase_add_loop_test(tc, test_R35_growth_and_mass_death, 0, 2);
	tcase_add_loop_test(tc, test_R35_write_after_deaths_is_bounded, 0, 2);
	tcase_add_loop_test(tc, test_T04_T06_copy_while_keys_die, 0, 2);
	tcase_add_loop_test(tc, test_R44_allocation_fails, 0, 2 * SWEPT);
	return s;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_cache_weak: caches with weak keys, weak values, soft values; what the collector takes; caches that are dropped. Tests named
 * h23 and so on are the lines of the conformance list.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support.h"
#include "weakref/cache.h"
#include "weakref/checks.h"

#define N SUPPORT_N
#define SLACK SUPPORT_SLACK
#define KEY(n) WEAKREF_INT(n)

static _Atomic size_t told, told_collected, told_with_key, told_with_value;
/* Of which cache: those of earlier tests may be there yet, and have their say. */
static char generations[256];
static _Atomic size_t generation;

static int listen(const void *key, void *value, enum weakref_cause cause, void *user)
{
	if (user != &generations[generation])
		return 0;
	told++;
	told_collected += cause == WEAKREF_CAUSE_COLLECTED;
	told_with_key += key != NULL;
	told_with_value += value != NULL;
	return 0;
}

/* What the listener of the next cache gets. */
static void *count_anew(void)
{
	generation = (generation + 1) % sizeof generations;
	told = told_collected = told_with_key = told_with_value = 0;
	return &generations[generation];
}

static weakref_cache *cache;
static void *kept[256];

static int make_cache(enum weakref_key_kind kind, const char *spec)
{
	weakref_cache_builder *b = weakref_cache_builder_new(kind);

	void *user = count_anew();
	memset(kept, 0, sizeof kept);
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen, user), 0);
	cache = weakref_cache_builder_build(b);
	return cache != NULL;
}

static void drop_cache(void)
{
	cache = NULL;
	memset(kept, 0, sizeof kept);
}

/* Fills the cache; every fourth key or value is kept. */
static int fill_weak_values(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		struct support_node *value = support_node_new(i);
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY((intptr_t)i), value) == 0);
		if (i % 4 == 0)
			kept[i / 4] = value;
	}
	SUPPORT_REQUIRE(weakref_cache_len(cache) == N || support_collect_every() != 0);
	return 0;
}

/* The first collection of the library purges at once; so that "before maintenance" can be seen, none of the library's is used. */
static void collect_until_len(size_t len)
{
	for (int i = 0; i < 10 && weakref_cache_len(cache) > len; i++)
		support_churn(1, (size_t)256 << 20);
}

/* H27: a weak value dies: a miss, len says so at once, a notice with cause COLLECTED, counted as eviction. */
START_TEST(test_h27_weak_value_dies)
{
	weakref_cache_stats stats;
	size_t found = 0;

	ck_assert(make_cache(WEAKREF_KEY_INT, "weakValues,recordStats"));
	ck_assert_int_eq(support_on_thread(fill_weak_values, NULL), 0);
	collect_until_len(N / 4 + SLACK);
	ck_assert_uint_le(weakref_cache_len(cache), N / 4 + SLACK);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_ge(told, N - N / 4 - SLACK);
	ck_assert_uint_eq(told, told_collected);
	ck_assert_uint_eq(told_with_value, 0);
	for (size_t i = 0; i < N; i++) {
		struct support_node *value = weakref_cache_get_if_present(cache, KEY((intptr_t)i));
		ck_assert(value == NULL || (support_node_intact(value) && value->id == i));
		ck_assert(i % 4 != 0 || value == kept[i / 4]);
		found += value != NULL;
	}
	ck_assert_uint_eq(found + told, N);
	weakref_cache_get_stats(cache, &stats);
	ck_assert_uint_eq(stats.evictions, told);
	size_t before = told;
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), kept[0]), 0);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), kept[0]);
	ck_assert_uint_le(told - before, 1);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), &stats), -EINVAL);
	drop_cache();
}
END_TEST

static unsigned olds;

static int give_kept(const void *key, void *old, void **value, void *user)
{
	(void)key;
	olds += old != NULL;
	*value = user;
	return 0;
}

static int load_kept(const void *key, void **value, void *user)
{
	return give_kept(key, NULL, value, user);
}

static int merge_kept(const void *key, void *old, void *given, void **value, void *user)
{
	(void)given;
	return give_kept(key, old, value, user);
}

#define WAYS 9

/* What one of the operations makes of an entry that the collector took: as if there was none. Whether there is one then; -1: it went wrong. */
static int use_collected(const void *key, size_t way, void *value)
{
	double seconds;
	void *got = value;
	int error = 0;

	switch (way % WAYS) {
	case 0: return weakref_cache_put_if_absent(cache, key, value) == value ? 1 : -1;
	case 1: return weakref_cache_replace(cache, key, NULL, value) == 0 ? 0 : -1;
	case 2: return weakref_cache_remove(cache, key, NULL, &got) == 0 && got == NULL ? 0 : -1;
	case 3: return weakref_cache_compute(cache, key, give_kept, value, &got) == 0 && got == value ? 1 : -1;
	case 4: return weakref_cache_compute_if_present(cache, key, give_kept, value, &got) == 0 && got == NULL ? 0 : -1;
	case 5: return weakref_cache_merge(cache, key, value, merge_kept, NULL, &got) == 0 && got == value ? 1 : -1;
	case 6: return weakref_cache_get_with(cache, key, load_kept, value, &got) == 0 && got == value ? 1 : -1;
	case 7: return weakref_cache_put(cache, key, value) == 0 ? 1 : -1;
	default:
		error = weakref_cache_policy_peek(cache, key, &got);
		if (error == -ENOENT)
			error = weakref_cache_policy_age(cache, WEAKREF_CACHE_AFTER_WRITE, key, &seconds);
		return error == -ENOENT && got == NULL && weakref_cache_contains(cache, key) == 0 ? 0 : -1;
	}
}

/* Every operation, each as the first, on entries that a collection took before anybody did maintenance: there is none, and each is told of once. */
START_TEST(test_operations_on_collected)
{
	size_t there = 0, used = 0;
	weakref_cache_stats stats;

	ck_assert(make_cache(WEAKREF_KEY_INT, "weakValues,recordStats,maximumSize=1000,expireAfterWrite=1h"));
	ck_assert_int_eq(support_on_thread(fill_weak_values, NULL), 0);
	collect_until_len(N / 4 + SLACK);
	ck_assert(told == 0 || support_collect_every() != 0);
	olds = 0;
	for (size_t i = 0; i < N; i++) {
		const void *key = KEY((intptr_t)i);
		if (weakref_cache_contains(cache, key) == 1)
			continue;
		int result = use_collected(key, (size_t)_i + used++, kept[0]);
		ck_assert_int_ge(result, 0);
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, key), result ? kept[0] : NULL);
		there += (size_t)result;
	}
	ck_assert_uint_ge(used, N - N / 4 - SLACK);
	ck_assert_uint_eq(olds, 0);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(told, used);
	ck_assert_uint_eq(told_collected, used);
	ck_assert_uint_eq(told_with_value, 0);
	ck_assert_uint_eq(weakref_cache_len(cache), N - used + there);
	weakref_cache_get_stats(cache, &stats);
	ck_assert_uint_eq(stats.evictions, used);
	ck_assert_uint_eq(stats.eviction_weight, used);
	drop_cache();
}
END_TEST

/* gc_collect takes the dead entries out and tells of them by itself. */
START_TEST(test_gc_collect_maintains)
{
	ck_assert(make_cache(WEAKREF_KEY_INT, "weakValues"));
	ck_assert_int_eq(support_on_thread(fill_weak_values, NULL), 0);
	support_collect();
	ck_assert_uint_ge(told, N - N / 4 - SLACK);
	ck_assert_uint_eq(told, told_collected);
	ck_assert_uint_eq(weakref_cache_len(cache), N - told);
	drop_cache();
}
END_TEST

static int fill_weak_keys(void *arg)
{
	bool to_itself = *(bool *)arg;

	for (size_t i = 0; i < N; i++) {
		struct support_node *key = support_node_new(i), *value = support_node_new(1000 + i);
		value->next = to_itself ? key : NULL;
		SUPPORT_REQUIRE(weakref_cache_put(cache, key, value) == 0);
		SUPPORT_REQUIRE(weakref_cache_get_if_present(cache, key) == value);
		if (i % 4 == 0)
			kept[i / 4] = key;
	}
	return 0;
}

/* H26: a weak key dies: its entry is gone after maintenance, cause COLLECTED, the notice has no key. A value that leads to its key keeps
 * neither. */
START_TEST(test_h26_weak_key_dies)
{
	bool to_itself = _i != 0;

	ck_assert(make_cache(WEAKREF_KEY_POINTER, "weakKeys"));
	ck_assert_int_eq(support_on_thread(fill_weak_keys, &to_itself), 0);
	support_collect();
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_ge(told, N - N / 4 - SLACK);
	ck_assert_uint_eq(told, told_collected);
	ck_assert_uint_eq(told_with_key, 0);
	ck_assert_uint_eq(weakref_cache_len(cache), N - told);
	for (size_t i = 0; i < N / 4; i++) {
		struct support_node *value = weakref_cache_get_if_present(cache, kept[i]);
		ck_assert(support_node_intact(value));
		ck_assert_uint_eq(value->id, 1000 + 4 * i);
	}
	drop_cache();
}
END_TEST

static int fill_both(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		struct support_node *key = support_node_new(i), *value = support_node_new(1000 + i);
		SUPPORT_REQUIRE(weakref_cache_put(cache, key, value) == 0);
		/* A quarter keeps the key, a quarter the value, a quarter both. */
		if (i % 4 == 0 || i % 4 == 2)
			kept[i] = key;
		if (i % 4 >= 1)
			kept[N + i] = i % 4 == 3 ? NULL : value;
	}
	return 0;
}

/* Weak keys and weak values: an entry goes with either. */
START_TEST(test_both_weak)
{
	ck_assert(make_cache(WEAKREF_KEY_POINTER, "weakKeys,weakValues"));
	ck_assert_int_eq(support_on_thread(fill_both, NULL), 0);
	support_collect();
	ck_assert_uint_le(weakref_cache_len(cache), N / 4 + SLACK);
	for (size_t i = 2; i < N; i += 4)
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, kept[i]), kept[N + i]);
	drop_cache();
}
END_TEST

static int same_hash(void *obj, uint64_t *out)
{
	(void)obj;
	*out = 7;
	return 0;
}

static int always_equal(void *a, void *b)
{
	(void)a;
	(void)b;
	return 1;
}

static const gc_type equal_type = {.name = "equal", .size = 16, .hash = same_hash, .equal = always_equal};

/* H23: weak keys compare by identity: an equal, distinct one misses. */
START_TEST(test_h23_identity)
{
	void *a = gc_new(&equal_type), *b = gc_new(&equal_type);

	ck_assert(make_cache(WEAKREF_KEY_POINTER, "weakKeys"));
	ck_assert_int_eq(gc_equal(a, b), 1);
	ck_assert_int_eq(weakref_cache_put(cache, a, kept), 0);
	ck_assert_ptr_null(weakref_cache_get_if_present(cache, b));
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, a), kept);
	ck_assert_int_eq(weakref_cache_put(cache, b, &kept[1]), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 2);
	ck_assert_int_eq(weakref_cache_put(cache, kept, kept), -EINVAL);
	ck_assert_int_eq(weakref_cache_invalidate(cache, a), 0);
	ck_assert_uint_eq(told_with_key, 1);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
	drop_cache();
}
END_TEST

/* H25: contains-value, replace and remove compare weak values by identity. */
START_TEST(test_h25_values_by_identity)
{
	void *a = gc_new(&equal_type), *b = gc_new(&equal_type);

	ck_assert(make_cache(WEAKREF_KEY_INT, "weakValues"));
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), a), 0);
	ck_assert_int_eq(weakref_cache_contains_value(cache, b), 0);
	ck_assert_int_eq(weakref_cache_contains_value(cache, a), 1);
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), b, b), 0);
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), a, b), 1);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), a, NULL), 0);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), b, NULL), 1);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
	drop_cache();
}
END_TEST

/* Cells are used again: entries come and go, and each key has its own value or none. */
static int churn_cells(void *arg)
{
	uint64_t state = support_seed();
	void **recent = gc_alloc(32 * sizeof *recent);
	size_t rounds = support_scaled(20000, 500);

	(void)arg;
	for (size_t i = 0; i < rounds; i++) {
		uint64_t r = support_random(&state);
		intptr_t key = (intptr_t)(r % 500);
		struct support_node *value = support_node_new((uint64_t)key);
		recent[i % 32] = value;
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(key), value) == 0);
		struct support_node *other = weakref_cache_get_if_present(cache, KEY((intptr_t)(r >> 20) % 500));
		SUPPORT_REQUIRE(other == NULL || (support_node_intact(other) && other->id == (r >> 20) % 500));
		if (r % 7 == 0)
			weakref_cache_invalidate(cache, KEY((intptr_t)(r >> 30) % 500));
		if (i % 4000 == 3999)
			gc_collect();
	}
	return 0;
}

START_TEST(test_cells_are_used_again)
{
	ck_assert(make_cache(WEAKREF_KEY_INT, _i == 0 ? "weakValues" : "weakValues,maximumSize=100"));
	ck_assert_int_eq(support_on_thread(churn_cells, NULL), 0);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	drop_cache();
}
END_TEST

/* More entries than a bank has cells: half of the values die, all over the banks, and what comes after that takes their cells. */
static int fill_banks(void *arg)
{
	size_t n = support_scaled(40000, 2000), left = 0;
	void **held = gc_alloc(n * sizeof *held);

	(void)arg;
	for (size_t i = 0; i < n; i++) {
		held[i] = support_node_new(i);
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY((intptr_t)i), held[i]) == 0);
	}
	SUPPORT_REQUIRE(weakref_cache_len(cache) == n);
	for (size_t i = 0; i < n; i += 2)
		held[i] = NULL;
	gc_collect();
	for (size_t i = 0; i < n; i++) {
		struct support_node *value = weakref_cache_get_if_present(cache, KEY((intptr_t)i));
		SUPPORT_REQUIRE(value == held[i] || (held[i] == NULL && support_node_intact(value) && value->id == i));
		left += value != NULL;
	}
	SUPPORT_REQUIRE(left <= n / 2 + SUPPORT_SLACK);
	for (size_t i = 0; i < n; i += 2) {
		held[i] = support_node_new(n + i);
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY((intptr_t)i), held[i]) == 0);
	}
	for (size_t i = 0; i < n; i++)
		SUPPORT_REQUIRE(weakref_cache_get_if_present(cache, KEY((intptr_t)i)) == held[i]);
	SUPPORT_REQUIRE(weakref_cache_len(cache) == n);
	SUPPORT_KEEP(held);
	return 0;
}

START_TEST(test_cells_of_many_banks)
{
	ck_assert(make_cache(WEAKREF_KEY_INT, "weakValues"));
	ck_assert_int_eq(support_on_thread(fill_banks, NULL), 0);
	drop_cache();
}
END_TEST

static weakref_ref *watches[SUPPORT_N + 1];
static size_t told_before;

static int fill_and_drop(void *arg)
{
	make_cache(WEAKREF_KEY_INT, arg);
	for (size_t i = 0; i < N; i++) {
		struct support_node *value = support_node_new(i);
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY((intptr_t)i), value) == 0);
		SUPPORT_REQUIRE(weakref_cache_get_if_present(cache, KEY((intptr_t)i)) == value);
		watches[i] = weakref_ref_new(value, NULL, NULL);
	}
	watches[N] = weakref_ref_new(cache, NULL, NULL);
	told_before = told;
	cache = NULL;
	return 0;
}

/* H43: a cache that is dropped goes with all its entries; nothing keeps it. Its listener is not told. */
START_TEST(test_h43_dropped)
{
	static const char *const specs[] = {"", "maximumSize=1000,expireAfterAccess=1h", "softValues", "weakValues,maximumSize=100"};

	ck_assert_int_eq(support_on_thread(fill_and_drop, (void *)(uintptr_t)specs[_i]), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(watches, N + 1), N + 1 - SLACK);
	ck_assert_uint_eq(told, told_before);
	memset(watches, 0, sizeof watches);
}
END_TEST

/* An entry that was removed or replaced keeps nothing, though reads of it are in the buffers. */
static int read_and_remove(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		struct support_node *value = support_node_new(i);
		weakref_cache_put(cache, KEY(1), value);
		weakref_cache_get_if_present(cache, KEY(1));
		watches[i] = weakref_ref_new(value, NULL, NULL);
	}
	weakref_cache_invalidate(cache, KEY(1));
	return 0;
}

START_TEST(test_removed_keeps_nothing)
{
	ck_assert(make_cache(WEAKREF_KEY_INT, "maximumSize=100"));
	ck_assert_int_eq(support_on_thread(read_and_remove, NULL), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(watches, N), N - SLACK);
	ck_assert_uint_eq(told, N);
	memset(watches, 0, sizeof watches);
	drop_cache();
}
END_TEST

/* ---- what somebody knows yet ---- */

/* Threads share the records of reads, and who reads or writes looks after those of his share: more threads than there are shares. The record is
 * looked at after 32 reads, or so many: some of these are left. */
enum { READERS = 8, READS = 21 };

static pthread_t readers[READERS];
static sem_t has_read, may_end;

static __attribute__((noinline)) void read_kept(size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		if (kept[i] != NULL)
			weakref_cache_get_if_present(cache, kept[i]);
}

/* Each reads others, and so few that nobody looks at the record. */
static bool read_apart;

/* Reads what is kept, and stays, with what is noted of that. */
static void *read_and_stay(void *arg)
{
	if (read_apart)
		read_kept((size_t)((pthread_t *)arg - readers) * READS / 3, READS / 3);
	else
		read_kept(0, READS);
	support_scrub();
	sem_post(&has_read);
	while (sem_wait(&may_end) != 0)
		;
	return NULL;
}

static void start_readers(void)
{
	ck_assert_int_eq(sem_init(&has_read, 0, 0), 0);
	ck_assert_int_eq(sem_init(&may_end, 0, 0), 0);
	for (size_t i = 0; i < READERS; i++)
		ck_assert_int_eq(pthread_create(&readers[i], NULL, read_and_stay, &readers[i]), 0);
	for (size_t i = 0; i < READERS; i++)
		while (sem_wait(&has_read) != 0)
			;
}

static void end_readers(void)
{
	for (size_t i = 0; i < READERS; i++)
		sem_post(&may_end);
	for (size_t i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
}

#define REPLACED 1000

static int replace_often(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < REPLACED; i++)
		SUPPORT_REQUIRE(weakref_cache_put(cache, kept[0], support_node_new(i)) == 0);
	return 0;
}

/* R265: an entry that was replaced keeps none of those that came after it, though threads that have slept since were the last to read it, or an
 * iterator stands on it: it may be replaced without end. Each of them would hold the key. */
START_TEST(test_R265_replaced_keeps_no_successor)
{
	weakref_cache_iter *iter = NULL;
	const void *key = NULL;
	size_t n = 0;

	ck_assert(make_cache(WEAKREF_KEY_POINTER, "maximumSize=100"));
	kept[0] = support_node_new(0);
	ck_assert_int_eq(weakref_cache_put(cache, kept[0], kept[0]), 0);
	if (_i == 0) {
		start_readers();
	} else {
		iter = weakref_cache_iter_new(cache);
		ck_assert_int_eq(weakref_cache_iter_next(iter, &key, NULL), 1);
		ck_assert_ptr_eq(key, kept[0]);
	}
	ck_assert_int_eq(support_on_thread(replace_often, NULL), 0);
	ck_assert_ptr_nonnull(gc_get_referrers(kept[0], &n));
	ck_assert_uint_lt(n, REPLACED / 10);
	ck_assert_uint_eq(told, REPLACED);
	if (_i == 0)
		end_readers();
	SUPPORT_KEEP(iter);
	drop_cache();
}
END_TEST

static int fill_kept(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		kept[i] = support_node_new(i);
		watches[i] = weakref_ref_new(kept[i], NULL, NULL);
		SUPPORT_REQUIRE(weakref_cache_put(cache, kept[i], support_node_new(i)) == 0);
	}
	return 0;
}

static int end_kept(void *remove)
{
	for (size_t i = 0; i < N; i++) {
		int error = remove != NULL ? weakref_cache_invalidate(cache, kept[i]) : weakref_cache_put(cache, kept[i], support_node_new(i));
		SUPPORT_REQUIRE(error == 0);
		kept[i] = NULL;
	}
	return 0;
}

/* R265: nor does what was replaced or removed, and told of, keep a weak key. */
START_TEST(test_R265_told_of_keeps_no_weak_key)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_POINTER);
	bool removes = _i != 0;
	void *user = count_anew();

	memset(kept, 0, sizeof kept);
	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumSize=1000"), 0);
	ck_assert_int_eq(weakref_cache_builder_weak_keys(b), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen, user), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(support_on_thread(fill_kept, NULL), 0);
	start_readers();
	ck_assert_int_eq(support_on_thread(end_kept, removes ? &removes : NULL), 0);
	ck_assert_uint_eq(told_with_key, N);
	support_collect();
	/* Each of those that wait may have one on its stack yet. */
	ck_assert_uint_ge(support_dead(watches, N), N - SLACK - READERS);
	ck_assert_uint_le(weakref_cache_len(cache), SLACK + READERS);
	end_readers();
	memset(watches, 0, sizeof watches);
	drop_cache();
}
END_TEST

static int fill_with_strong_keys(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		kept[i] = support_node_new(i);
		watches[i] = weakref_ref_new(kept[i], NULL, NULL);
		SUPPORT_REQUIRE(weakref_cache_put(cache, kept[i], &kept[i]) == 0);
	}
	return 0;
}

static int end_all(void *removes)
{
	for (size_t i = 0; i < N && removes == NULL; i++)
		SUPPORT_REQUIRE(weakref_cache_invalidate(cache, kept[i]) == 0);
	memset(kept, 0, sizeof kept);
	return removes != NULL ? weakref_cache_invalidate_all(cache) : weakref_cache_cleanup(cache);
}

/* R273: what threads that sleep were the last to read keeps no key that is not weak when all entries are removed, or after a cleanup. */
START_TEST(test_R273_records_are_forgotten)
{
	bool removes = _i != 0;

	ck_assert(make_cache(WEAKREF_KEY_POINTER, "maximumSize=1000"));
	ck_assert_int_eq(support_on_thread(fill_with_strong_keys, NULL), 0);
	read_apart = true;
	start_readers();
	read_apart = false;
	ck_assert_int_eq(support_on_thread(end_all, removes ? &removes : NULL), 0);
	ck_assert_uint_eq(told, N);
	support_collect();
	/* Each of those that wait may have some on its stack yet, and had seven noted. */
	ck_assert_uint_ge(support_dead(watches, N), N - SLACK - 2 * READERS);
	end_readers();
	memset(watches, 0, sizeof watches);
	drop_cache();
}
END_TEST

static int64_t weigh_seven(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return 7;
}

/* R272: what was taken weighs nothing, though nobody has looked after it yet: the collection is none that the library began. */
START_TEST(test_R272_what_was_taken_weighs_nothing)
{
	static const char *const specs[] = {"", "maximumSize=100000", "maximumWeight=1000000"};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	size_t each = _i == 2 ? 7 : 1;
	weakref_cache_policy policy;

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "some would be taken at once");
	ck_assert_int_eq(weakref_cache_builder_spec(b, specs[_i]), 0);
	ck_assert_int_eq(weakref_cache_builder_weak_values(b), 0);
	if (_i == 2)
		ck_assert_int_eq(weakref_cache_builder_weigher(b, weigh_seven, NULL), 0);
	cache = weakref_cache_builder_build(b);
	memset(kept, 0, sizeof kept);
	ck_assert_int_eq(support_on_thread(fill_weak_values, NULL), 0);
	ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
	ck_assert_uint_eq(policy.weight, weakref_cache_len(cache) * each);
	support_scrub();
	GC_gcollect();
	size_t len = weakref_cache_len(cache);
	ck_assert_uint_lt(len, N / 4 + SLACK + 1);
	ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
	ck_assert_uint_eq(policy.weight, len * each);
	weakref_cache_cleanup(cache);
	ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
	ck_assert_uint_eq(policy.weight, weakref_cache_len(cache) * each);
	drop_cache();
}
END_TEST

/* ---- weak keys in every operation ---- */

static uint64_t now_ns;

static uint64_t tick(void *user)
{
	(void)user;
	return now_ns;
}

static int load_for_node(const void *key, void **value, void *user)
{
	(void)user;
	*value = support_node_new(((const struct support_node *)key)->id + 1);
	return 0;
}

static int reload_for_node(const void *key, void *old, void **value, void *user)
{
	(void)key;
	(void)user;
	*value = support_node_new(((struct support_node *)old)->id + 100);
	return 0;
}

static int add_ids(const void *key, void *old, void *given, void **value, void *user)
{
	(void)key;
	(void)user;
	*value = support_node_new(((struct support_node *)old)->id + ((struct support_node *)given)->id);
	return 0;
}

static uint64_t id_of(void *key)
{
	struct support_node *node = weakref_cache_get_if_present(cache, key);

	return node == NULL ? 0 : node->id;
}

/* Loading, reloading, merging, iterating, replacing, removing and expiring entries of weak keys, with strong and with weak values. */
START_TEST(test_operations_on_weak_keys)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_POINTER);
	weakref_cache_loader loader = {.load = load_for_node, .reload = reload_for_node};
	struct support_node *key = support_node_new(1), *other = support_node_new(5);
	const void *found_key = NULL;
	void *value, *held;

	now_ns = UINT64_C(1000000000000);
	ck_assert_int_eq(weakref_cache_builder_weak_keys(b), 0);
	if (_i != 0)
		ck_assert_int_eq(weakref_cache_builder_weak_values(b), 0);
	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumSize=100,refreshAfterWrite=10s,expireAfterWrite=1h"), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen, count_anew()), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(weakref_cache_get(cache, key, &held), 0);
	ck_assert_uint_eq(id_of(key), 2);
	now_ns += UINT64_C(10000000000);
	ck_assert_uint_eq(id_of(key), 2);
	/* With weak values nobody holds what was reloaded; where it is gone, it is loaded anew. */
	ck_assert_int_eq(weakref_cache_get(cache, key, &value), 0);
	ck_assert(((struct support_node *)value)->id == 102 || support_collect_every() != 0);
	struct support_node *given = support_node_new(7);
	ck_assert_int_eq(weakref_cache_put(cache, key, given), 0);
	ck_assert_int_eq(weakref_cache_merge(cache, key, given, add_ids, NULL, &held), 0);
	ck_assert_uint_eq(id_of(key), 14);
	ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, other, given), given);
	ck_assert_int_eq(weakref_cache_replace(cache, other, given, held), 1);
	ck_assert_int_eq(weakref_cache_contains_value(cache, given), 0);
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(weakref_cache_iter_next(iter, &found_key, &value), 1);
		ck_assert(found_key == key || found_key == other);
		ck_assert_ptr_eq(value, held);
	}
	ck_assert_int_eq(weakref_cache_iter_next(iter, &found_key, &value), 0);
	ck_assert_int_eq(weakref_cache_remove(cache, other, held, NULL), 1);
	now_ns += UINT64_C(3600000000000);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_ge(told_with_key, 4);
	SUPPORT_KEEP(key);
	SUPPORT_KEEP(other);
	SUPPORT_KEEP(given);
	SUPPORT_KEEP(held);
	drop_cache();
}
END_TEST

static unsigned asked;

static int load_asked(const void *key, void **value, void *user)
{
	(void)key;
	asked++;
	*value = user;
	return 0;
}

static int compute_asked(const void *key, void *old, void **value, void *user)
{
	(void)old;
	return load_asked(key, value, user);
}

static int load_all_asked(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	(void)keys;
	(void)n;
	(void)bulk;
	(void)user;
	asked++;
	return 0;
}

/* What cannot be a weak key is refused before anything is made for it. There is nothing under it to be found. */
START_TEST(test_no_weak_keys)
{
	static char word[16];
	struct support_node *node = support_node_new(1);
	void *const bad[] = {word, (char *)node + 1};
	weakref_cache_loader loader = {.load = load_asked};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_POINTER);
	void *value = NULL;

	loader.user = node;
	ck_assert_int_eq(weakref_cache_builder_weak_keys(b), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
	asked = 0;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const void *keys[] = {node, bad[i]};
		void *values[2];
		ck_assert_int_eq(weakref_cache_get(cache, bad[i], &value), -EINVAL);
		ck_assert_int_eq(weakref_cache_get_with(cache, bad[i], load_asked, node, &value), -EINVAL);
		ck_assert_int_eq(weakref_cache_refresh(cache, bad[i]), -EINVAL);
		ck_assert_int_eq(weakref_cache_compute(cache, bad[i], compute_asked, node, &value), -EINVAL);
		ck_assert_int_eq(weakref_cache_compute_if_absent(cache, bad[i], load_asked, node, &value), -EINVAL);
		ck_assert_int_eq(weakref_cache_merge(cache, bad[i], node, add_ids, NULL, &value), -EINVAL);
		ck_assert_ptr_null(value);
		ck_assert_int_eq(weakref_cache_compute_if_present(cache, bad[i], compute_asked, node, &value), 0);
		ck_assert_int_eq(weakref_cache_get_all_with(cache, keys, 2, load_all_asked, NULL, values), -EINVAL);
		ck_assert_int_eq(weakref_cache_lookup(cache, bad[i], &value), -ENOENT);
		ck_assert_int_eq(weakref_cache_contains(cache, bad[i]), 0);
		ck_assert_int_eq(weakref_cache_invalidate(cache, bad[i]), 0);
	}
	ck_assert_uint_eq(asked, 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	SUPPORT_KEEP(node);
}
END_TEST

/* ---- soft values ---- */

#define SOFT ((size_t)64)
#define PIECE ((size_t)256 << 10)

/* Fills a soft cache beyond what the limit allows; every allocation succeeds. */
static int fill_soft(void *arg)
{
	size_t n = *(size_t *)arg;

	for (size_t i = 0; i < n; i++) {
		void *value = gc_alloc_leaf(PIECE);
		SUPPORT_REQUIRE(value != NULL);
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY((intptr_t)i), value) == 0);
		SUPPORT_REQUIRE(weakref_cache_get_if_present(cache, KEY(0)) != NULL || i > SOFT);
	}
	return 0;
}

/* H30: soft values survive collections, and go before an allocation fails under the limit, the least recently used first. */
START_TEST(test_h30_soft)
{
	size_t n = SOFT / 4;

	ck_assert(make_cache(WEAKREF_KEY_INT, "softValues"));
	ck_assert_int_eq(support_on_thread(fill_soft, &n), 0);
	support_collect();
	ck_assert_uint_eq(weakref_cache_len(cache), n);
	ck_assert_int_eq(gc_set_heap_limit(GC_get_heap_size() + SOFT / 2 * PIECE), 0);
	n = SOFT * 4;
	ck_assert_int_eq(support_on_thread(fill_soft, &n), 0);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_gt(told, 0);
	ck_assert_uint_eq(told - told_collected, SOFT / 4); /* those that were stored twice */
	ck_assert_uint_lt(weakref_cache_len(cache), n);
	ck_assert_ptr_nonnull(weakref_cache_get_if_present(cache, KEY((intptr_t)n - 1)));
	/* Without a cache to give way a large one fails; with it, all of it goes first. */
	size_t before = weakref_cache_len(cache);
	void *large = gc_alloc_leaf(gc_get_heap_limit() * 2);
	ck_assert_ptr_null(large);
	ck_assert_uint_lt(weakref_cache_len(cache), before);
	gc_set_heap_limit(0);
	drop_cache();
}
END_TEST

/* Entries of weak keys and soft values, in two caches: keys are kept in `kept`. */
static weakref_cache *second;

static int fill_soft_weak_keys(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		void *key = support_node_new(i), *value = gc_alloc_leaf(PIECE / 4);
		SUPPORT_REQUIRE(key != NULL && value != NULL);
		SUPPORT_REQUIRE(weakref_cache_put(cache, key, value) == 0);
		kept[i] = key;
	}
	return 0;
}

/* Allocates under the limit until values had to go. */
static int press(void *arg)
{
	size_t most = *(size_t *)arg, before = weakref_cache_len(cache) + (second == NULL ? 0 : weakref_cache_len(second));
	void **chain = NULL;

	for (size_t i = 0; i < most; i++) {
		void **more = gc_alloc(PIECE / 4);
		SUPPORT_REQUIRE(more != NULL);
		*more = chain;
		chain = more;
		if (weakref_cache_len(cache) + (second == NULL ? 0 : weakref_cache_len(second)) < before)
			return 0;
	}
	return 1;
}

/* Soft values of weak keys: they live as long as their keys, and no longer than the heap has room; a notice of one has neither side. */
START_TEST(test_soft_values_of_weak_keys)
{
	size_t most = 4096;

	ck_assert(make_cache(WEAKREF_KEY_POINTER, "weakKeys,softValues"));
	second = NULL;
	ck_assert_int_eq(support_on_thread(fill_soft_weak_keys, NULL), 0);
	support_collect();
	ck_assert_uint_eq(weakref_cache_len(cache), N);
	for (size_t i = 0; i < N / 2; i++)
		kept[i] = NULL;
	support_collect();
	ck_assert_uint_le(weakref_cache_len(cache), N / 2 + SLACK);
	ck_assert_uint_ge(weakref_cache_len(cache), N / 2);
	for (size_t i = N / 2; i < N; i++)
		ck_assert_ptr_nonnull(weakref_cache_get_if_present(cache, kept[i]));
	ck_assert_int_eq(gc_set_heap_limit(GC_get_heap_size() + 8 * PIECE), 0);
	ck_assert_int_eq(support_on_thread(press, &most), 0);
	gc_set_heap_limit(0);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_lt(weakref_cache_len(cache), N / 2);
	ck_assert_uint_eq(told, N - weakref_cache_len(cache));
	ck_assert_uint_eq(told_collected, told);
	ck_assert_uint_eq(told_with_key + told_with_value, 0);
	for (size_t i = N / 2; i < N; i++)
		ck_assert_uint_eq(((struct support_node *)kept[i])->id, i);
	drop_cache();
}
END_TEST

static int fill_pieces(void *arg)
{
	weakref_cache *which = arg;

	for (size_t i = 0; i < N; i++) {
		void *value = gc_alloc_leaf(PIECE / 4);
		SUPPORT_REQUIRE(value != NULL && weakref_cache_put(which, KEY((intptr_t)i), value) == 0);
	}
	return 0;
}

static int read_pieces(void *arg)
{
	weakref_cache *which = arg;

	for (size_t i = 0; i < N; i++)
		SUPPORT_REQUIRE(weakref_cache_get_if_present(which, KEY((intptr_t)i)) != NULL);
	return 0;
}

/* H30: of several caches, what was used least recently goes first, whichever it is in: _i says which is read last. */
START_TEST(test_h30_soft_order_among_caches)
{
	static const struct timespec pause = {.tv_nsec = 60000000};
	size_t most = 4096;

	ck_assert(make_cache(WEAKREF_KEY_INT, "softValues"));
	second = cache;
	ck_assert(make_cache(WEAKREF_KEY_INT, "softValues,maximumSize=1000"));
	weakref_cache *fresh = _i == 0 ? cache : second, *stale = _i == 0 ? second : cache;
	ck_assert_int_eq(support_on_thread(fill_pieces, fresh), 0);
	nanosleep(&pause, NULL);
	ck_assert_int_eq(support_on_thread(fill_pieces, stale), 0);
	nanosleep(&pause, NULL);
	ck_assert_int_eq(support_on_thread(read_pieces, fresh), 0);
	nanosleep(&pause, NULL);
	ck_assert_int_eq(gc_set_heap_limit(GC_get_heap_size() + 8 * PIECE), 0);
	ck_assert_int_eq(support_on_thread(press, &most), 0);
	gc_set_heap_limit(0);
	/* One round takes a quarter of all, caches of other tests included that are not collected yet. */
	ck_assert_uint_eq(weakref_cache_len(fresh), N);
	ck_assert_uint_lt(weakref_cache_len(stale), N);
	second = NULL;
	drop_cache();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_weak");
	TCase *tc = support_tcase("cache_weak");

	tcase_add_test(tc, test_h27_weak_value_dies);
	tcase_add_loop_test(tc, test_operations_on_collected, 0, WAYS);
	tcase_add_test(tc, test_gc_collect_maintains);
	tcase_add_loop_test(tc, test_h26_weak_key_dies, 0, 2);
	tcase_add_test(tc, test_both_weak);
	tcase_add_test(tc, test_h23_identity);
	tcase_add_test(tc, test_h25_values_by_identity);
	tcase_add_loop_test(tc, test_cells_are_used_again, 0, 2);
	tcase_add_test(tc, test_cells_of_many_banks);
	tcase_add_loop_test(tc, test_operations_on_weak_keys, 0, 2);
	tcase_add_test(tc, test_no_weak_keys);
	tcase_add_loop_test(tc, test_h43_dropped, 0, 4);
	tcase_add_test(tc, test_removed_keeps_nothing);
	tcase_add_loop_test(tc, test_R265_replaced_keeps_no_successor, 0, 2);
	tcase_add_loop_test(tc, test_R265_told_of_keeps_no_weak_key, 0, 2);
	tcase_add_loop_test(tc, test_R273_records_are_forgotten, 0, 2);
	tcase_add_loop_test(tc, test_R272_what_was_taken_weighs_nothing, 0, 3);
	tcase_add_test(tc, test_h30_soft);
	tcase_add_test(tc, test_soft_values_of_weak_keys);
	tcase_add_loop_test(tc, test_h30_soft_order_among_caches, 0, 2);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_cache_reads: weakref/cache.h: what is done in a hurry is right all the same: look-ups of strings that are there, absent or expired; the
 * rough clock of readers; values that are replaced where they stand; records of reads that threads write over each other.
 */
#define GC_THREADS
#include <errno.h>
#include <gc/gc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "support.h"
#include "weakref/cache.h"
#include "weakref/checks.h"

#define KEY(n) WEAKREF_INT(n)
#define SECOND 1000000000
#define THREADS 12

static char things[4096];

static weakref_cache *cache_of(enum weakref_key_kind kind, const char *spec)
{
	weakref_cache_builder *b = weakref_cache_builder_new(kind);

	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	weakref_cache *cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
	return cache;
}

static int64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static void sleep_ms(long ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&left, &left) != 0)
		;
}

/* ---- rewriting ---- */

static const char *const specs[] = {"", "maximumSize=10", "maximumSize=10,recordStats,expireAfterWrite=1h", "softValues", "weakValues,maximumSize=10"};
#define SPECS (int)(sizeof specs / sizeof *specs)

/* A value that was replaced is the only one that anybody sees. */
START_TEST(test_rewritten)
{
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, specs[_i]);
	void *values[4], *value;
	const void *key;

	for (int i = 0; i < 4; i++)
		values[i] = gc_alloc(16);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(weakref_cache_put(cache, "key", values[i]), 0);
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, "key"), values[i]);
		ck_assert_uint_eq(weakref_cache_len(cache), 1);
	}
	ck_assert_int_eq(weakref_cache_replace(cache, "key", values[1], values[3]), 0);
	ck_assert_int_eq(weakref_cache_replace(cache, "key", values[2], values[3]), 1);
	ck_assert_int_eq(weakref_cache_put(cache, "key", values[0]), 0);
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	ck_assert_int_eq(weakref_cache_iter_next(iter, &key, &value), 1);
	ck_assert_ptr_eq(value, values[0]);
	ck_assert_int_eq(weakref_cache_put(cache, "key", NULL), -EINVAL);
	ck_assert_int_eq(weakref_cache_remove(cache, "key", values[2], NULL), 0);
	ck_assert_int_eq(weakref_cache_remove(cache, "key", values[0], NULL), 1);
	ck_assert_int_eq(weakref_cache_put(cache, "key", values[1]), 0);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, "key"), values[1]);
	for (int i = 0; i < 4; i++)
		SUPPORT_KEEP(values[i]);
}
END_TEST

/* Where nobody has a say in it, storing another value needs no memory. */
START_TEST(test_rewriting_needs_no_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, specs[_i]);
	void *values[2] = {gc_alloc(16), gc_alloc(16)};
	ck_assert_int_eq(weakref_cache_put(cache, "key", values[0]), 0);
	weakref_checks_fail_allocation(1);
	ck_assert_int_eq(weakref_cache_put(cache, "key", values[1]), 0);
	ck_assert_int_eq(weakref_checks_fail_allocation(0), 1);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, "key"), values[1]);
	SUPPORT_KEEP(values[0]);
	SUPPORT_KEEP(values[1]);
}
END_TEST

static int64_t now_ns;

static uint64_t ticker(void *user)
{
	(void)user;
	return (uint64_t)now_ns;
}

/* A value that is replaced lives its own time from then on, also where the clock goes back; one that was expired by then went for that. */
START_TEST(test_rewritten_lives_anew)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	weakref_cache_stats stats;

	ck_assert_int_eq(weakref_cache_builder_spec(b, _i == 0 ? "expireAfterWrite=10s,recordStats" : "expireAfterAccess=10s,recordStats"), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, ticker, NULL), 0);
	now_ns = (int64_t)100 * SECOND;
	weakref_cache *cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(weakref_cache_put(cache, "key", things), 0);
	now_ns += (int64_t)9 * SECOND;
	ck_assert_int_eq(weakref_cache_put(cache, "key", things + 1), 0);
	now_ns += (int64_t)10 * SECOND - 1;
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_int_eq(weakref_cache_contains(cache, "key"), 1);
	now_ns += 1;
	ck_assert_int_eq(weakref_cache_contains(cache, "key"), 0);
	ck_assert_int_eq(weakref_cache_put(cache, "key", things + 2), 0);
	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	ck_assert_uint_eq(stats.evictions, 1);
	now_ns -= (int64_t)5 * SECOND;
	ck_assert_int_eq(weakref_cache_put(cache, "key", things + 3), 0);
	now_ns += (int64_t)10 * SECOND;
	ck_assert_int_eq(weakref_cache_put(cache, "another", things), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	ck_assert_uint_eq(stats.evictions, 2);
}
END_TEST

static void *kept;

/* "key" has a value that is kept after one that is not; "other" the one that is not. */
static int rewrite_weakly(void *cache)
{
	void *value = gc_alloc(16);

	kept = gc_alloc(16);
	SUPPORT_REQUIRE(weakref_cache_put(cache, "key", value) == 0 && weakref_cache_put(cache, "key", kept) == 0);
	SUPPORT_REQUIRE(weakref_cache_put(cache, "other", kept) == 0 && weakref_cache_put(cache, "other", value) == 0);
	SUPPORT_KEEP(value);
	return 0;
}

/* A weak value that takes another's place is watched in its place; where the collector took one before, that went for that. */
START_TEST(test_rewritten_dies)
{
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, "weakValues,maximumSize=10,recordStats");
	weakref_cache_stats stats;

	ck_assert_int_eq(support_in_frame(rewrite_weakly, cache), 0);
	support_collect();
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, "key"), kept);
	ck_assert_ptr_null(weakref_cache_get_if_present(cache, "other"));
	ck_assert_int_eq(weakref_cache_put(cache, "other", kept), 0);
	kept = NULL;
	support_collect();
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	ck_assert_uint_eq(stats.evictions, 3);
}
END_TEST

/* What is rewritten counts as used, so that it is in the hotter half of the ten that were read, and takes no other's place. */
START_TEST(test_rewritten_is_used)
{
	enum { HALF = 5 };
	weakref_cache *cache = cache_of(WEAKREF_KEY_INT, _i == 0 ? "maximumSize=100" : "maximumSize=100,expireAfterWrite=1h");
	weakref_pair hottest[HALF];

	for (intptr_t i = 0; i < 100; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), things + i), 0);
	for (intptr_t i = 0; i < 30; i++)
		ck_assert_ptr_nonnull(weakref_cache_get_if_present(cache, KEY(i % 10)));
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	for (intptr_t i = 9; i >= 0; i--) {
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), things + 200 + i), 0);
		ck_assert_int_eq(weakref_cache_policy_order(cache, true, hottest, HALF), HALF);
		bool found = false;
		for (int k = 0; k < HALF; k++)
			found |= WEAKREF_INT_VALUE(hottest[k].key) == i;
		ck_assert(found);
		ck_assert_uint_eq(weakref_cache_len(cache), 100);
	}
	for (intptr_t i = 100; i < 1000; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), things + i), 0);
	for (intptr_t i = 0; i < 10; i++)
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(i)), things + 200 + i);
	ck_assert_uint_le(weakref_cache_len(cache), 100);
}
END_TEST

/* ---- look-ups of strings ---- */

/* Strings that are there, absent, removed, expired, and no strings at all, with figures. */
START_TEST(test_strings)
{
	static const char *const by_turn[] = {"recordStats", "recordStats,expireAfterWrite=30ms", "recordStats,maximumSize=500,expireAfterAccess=1h"};
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, by_turn[_i]);
	weakref_cache_stats stats;
	char key[32];
	void *value;

	for (size_t i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "key %zu", i);
		ck_assert_int_eq(weakref_cache_lookup(cache, key, &value), -ENOENT);
		ck_assert_ptr_null(value);
		ck_assert_int_eq(weakref_cache_put(cache, key, things + i), 0);
		int error = weakref_cache_lookup(cache, key, &value);
		ck_assert(error == 0 ? value == things + i : _i == 1 && value == NULL);
		if (i % 3 == 0)
			ck_assert_int_eq(weakref_cache_invalidate(cache, key), 0);
	}
	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	ck_assert_uint_eq(stats.hits + stats.misses, 600);
	if (_i == 1)
		sleep_ms(31);
	for (size_t i = 0; i < 300; i++) {
		snprintf(key, sizeof key, "key %zu", i);
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, key), i % 3 == 0 || _i == 1 ? NULL : things + i);
	}
	ck_assert_int_eq(weakref_cache_lookup(cache, NULL, &value), -EINVAL);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), _i == 1 ? 0 : 200);
}
END_TEST

/* ---- time ---- */

/* By whatever clock the readers go: an entry is found until its time is over, and never after that. */
START_TEST(test_exact_deadline)
{
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, "expireAfterWrite=1s");
	int64_t before = clock_ns(), last = before;
	unsigned found = 0;

	ck_assert_int_eq(weakref_cache_put(cache, "key", things), 0);
	int64_t after = clock_ns();
	while (last < after + SECOND + SECOND / 20) {
		int64_t begun = clock_ns();
		void *value = weakref_cache_get_if_present(cache, "key");
		last = clock_ns();
		ck_assert(value == NULL || begun < after + SECOND);
		ck_assert(value != NULL || last >= before + SECOND);
		found += value != NULL;
		if (begun < before + SECOND - SECOND / 50)
			sleep_ms(5);
	}
	ck_assert_uint_gt(found, 10);
}
END_TEST

/* What is read lives on; what is not, goes. Figures of age come from readers' clock, too. */
START_TEST(test_access_by_the_rough_clock)
{
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, "expireAfterAccess=1s");
	int64_t begun = clock_ns(), last;
	double age;

	ck_assert_int_eq(weakref_cache_put(cache, "read", things), 0);
	ck_assert_int_eq(weakref_cache_put(cache, "other", things), 0);
	do {
		last = clock_ns();
		void *value = weakref_cache_get_if_present(cache, "read");
		ck_assert(value != NULL || clock_ns() - last > SECOND / 2);
		sleep_ms(10);
	} while (last < begun + SECOND + SECOND / 10);
	ck_assert_ptr_null(weakref_cache_get_if_present(cache, "other"));
	ck_assert_int_eq(weakref_cache_policy_age(cache, WEAKREF_CACHE_AFTER_ACCESS, "read", &age), 0);
	ck_assert_double_ge(age, 0.009);
	sleep_ms(1001);
	ck_assert_ptr_null(weakref_cache_get_if_present(cache, "read"));
}
END_TEST

/* A time that becomes short is told exactly from then on. */
START_TEST(test_time_becomes_short)
{
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, "expireAfterWrite=1h");

	ck_assert_int_eq(weakref_cache_put(cache, "key", things), 0);
	ck_assert_ptr_nonnull(weakref_cache_get_if_present(cache, "key"));
	ck_assert_int_eq(weakref_cache_policy_set_time(cache, WEAKREF_CACHE_AFTER_WRITE, 0.5), 0);
	ck_assert_int_eq(weakref_cache_put(cache, "key", things), 0);
	int64_t last = clock_ns() + SECOND / 2;
	while (clock_ns() < last)
		;
	ck_assert_ptr_null(weakref_cache_get_if_present(cache, "key"));
}
END_TEST

/* The library's clock, moved on by hand, is the readers' as well. */
START_TEST(test_virtual_clock)
{
	const uint64_t minute = UINT64_C(60) * SECOND;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	ck_assert_int_eq(weakref_checks_clock_advance(0), 0);
	weakref_cache *cache = cache_of(WEAKREF_KEY_STRING, "expireAfterAccess=1h");
	ck_assert_int_eq(weakref_cache_put(cache, "key", things), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(weakref_checks_clock_advance(60 * minute - 1), 0);
		ck_assert_ptr_nonnull(weakref_cache_get_if_present(cache, "key"));
	}
	ck_assert_int_eq(weakref_checks_clock_advance(60 * minute), 0);
	ck_assert_ptr_null(weakref_cache_get_if_present(cache, "key"));
}
END_TEST

/* ---- threads ---- */

static weakref_cache *shared;

static void *read_and_write(void *number)
{
	uintptr_t at = (uintptr_t)number, wrong = 0;

	for (size_t i = support_scaled(20000, 500); i > 0; i--) {
		at = at * 1103515245 + 12345;
		intptr_t key = (intptr_t)(at >> 16 & 127);
		void *value = weakref_cache_get_if_present(shared, KEY(key));
		if (value == NULL)
			wrong += weakref_cache_put(shared, KEY(key), things + key) != 0;
		else
			wrong += value != things + key;
	}
	return (void *)wrong;
}

static void *rewrite(void *number)
{
	uintptr_t at = (uintptr_t)number, wrong = 0;

	for (size_t i = support_scaled(20000, 200); i > 0; i--) {
		at = at * 1103515245 + 12345;
		intptr_t key = (intptr_t)(at >> 16 & 7);
		char *value = gc_alloc(16);
		*value = (char)('a' + key);
		wrong += weakref_cache_put(shared, KEY(key), value) != 0;
		SUPPORT_KEEP(value);
		value = weakref_cache_get_if_present(shared, KEY((key + 1) & 7));
		wrong += value != NULL && *value != 'a' + ((key + 1) & 7);
		if ((at >> 20 & 63) == 0)
			wrong += weakref_cache_invalidate(shared, KEY(key)) != 0;
		if ((at >> 20 & 1023) == 1)
			gc_collect();
	}
	return (void *)wrong;
}

/* Values that threads put in each other's place are never another key's, or dead: whatever is removed, evicted and collected meanwhile. */
START_TEST(test_threads_rewrite)
{
	static const char *const of[] = {"weakValues,maximumSize=6", "weakValues,expireAfterWrite=1h", "maximumSize=6,expireAfterAccess=1h"};
	pthread_t threads[THREADS / 3];
	void *wrong;

	shared = cache_of(WEAKREF_KEY_INT, of[_i]);
	for (uintptr_t i = 0; i < THREADS / 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, rewrite, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS / 3; i++) {
		pthread_join(threads[i], &wrong);
		ck_assert_ptr_null(wrong);
	}
	if (weakref_checks_enabled())
		ck_assert_int_gt(weakref_checks_validate(), -1);
	shared = NULL;
}
END_TEST

/* More threads than there are buffers: what they lose of each other's reads harms nothing. */
START_TEST(test_threads_share_buffers)
{
	pthread_t threads[THREADS];
	void *wrong;

	shared = cache_of(WEAKREF_KEY_INT, _i == 0 ? "maximumSize=100" : "maximumSize=200");
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, read_and_write, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &wrong);
		ck_assert_ptr_null(wrong);
	}
	ck_assert_uint_eq(weakref_cache_len(shared), _i == 0 ? 100 : 128);
	if (weakref_checks_enabled())
		ck_assert_int_gt(weakref_checks_validate(), -1);
	shared = NULL;
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_reads");
	TCase *tc = support_tcase("cache_reads");

	tcase_add_loop_test(tc, test_rewritten, 0, SPECS);
	tcase_add_loop_test(tc, test_rewriting_needs_no_memory, 0, SPECS);
	tcase_add_loop_test(tc, test_rewritten_lives_anew, 0, 2);
	tcase_add_test(tc, test_rewritten_dies);
	tcase_add_loop_test(tc, test_rewritten_is_used, 0, 2);
	tcase_add_loop_test(tc, test_strings, 0, 3);
	tcase_add_test(tc, test_exact_deadline);
	tcase_add_test(tc, test_access_by_the_rough_clock);
	tcase_add_test(tc, test_time_becomes_short);
	tcase_add_loop_test(tc, test_threads_share_buffers, 0, 2);
	tcase_add_loop_test(tc, test_threads_rewrite, 0, 3);
	tcase_add_test(tc, test_virtual_clock);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_cache_builder: weakref/cache_builder.h: the builder and its spec string, the kinds of key, and arithmetic with figures.
 * Tests named h15 and h40 are the lines of the conformance list.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "support.h"
#include "weakref/cache.h"

static char things[512];

static void *thing(size_t i)
{
	return &things[i];
}

static weakref_cache_builder *builder_of(const char *spec)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	return b;
}

/* ---- the builder ---- */

static int level_get(const void *key, void **value, void *user)
{
	(void)key, (void)value, (void)user;
	return -WEAKREF_ENOENT;
}

static int level_put(const void *key, void *value, void *user)
{
	(void)key, (void)value, (void)user;
	return 0;
}

/* H15: options that are repeated, out of range, or against one another are refused with a reason. */
START_TEST(test_h15_builder_refuses)
{
	weakref_cache_builder *b = builder_of("");

	ck_assert_str_eq(weakref_cache_builder_error(b), "");
	ck_assert_int_eq(weakref_cache_builder_maximum_size(b, -1), -EINVAL);
	ck_assert_str_eq(weakref_cache_builder_error(b), "maximumSize wants 0 or more");
	ck_assert_int_eq(weakref_cache_builder_maximum_size(b, 10), 0);
	ck_assert_int_eq(weakref_cache_builder_maximum_size(b, 10), -EINVAL);
	ck_assert_ptr_nonnull(strstr(weakref_cache_builder_error(b), "already"));
	ck_assert_int_eq(weakref_cache_builder_maximum_weight(b, 10), -EINVAL);
	ck_assert_ptr_nonnull(strstr(weakref_cache_builder_error(b), "exclude"));
	ck_assert_int_eq(weakref_cache_builder_expire_after_write(b, -1), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_expire_after_write(b, NAN), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_expire_after_access(b, -0.5), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_initial_capacity(b, -3), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_refresh_after_write(b, 0), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_weak_keys(b), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_weak_values(b), 0);
	ck_assert_ptr_nonnull(strstr(weakref_cache_builder_error(b), "weakKeys"));
	ck_assert_int_eq(weakref_cache_builder_soft_values(b), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &(weakref_cache_loader){0}), -EINVAL);
	ck_assert_str_eq(weakref_cache_builder_error(b), "loader wants its function load");
	ck_assert_int_eq(weakref_cache_builder_second_level(b, &(weakref_cache_second_level){.get = level_get, .put = level_put}), -EINVAL);
	ck_assert_str_eq(weakref_cache_builder_error(b), "secondLevel wants its function get, and remove where there is put");
	ck_assert_ptr_nonnull(weakref_cache_builder_build(b));
	ck_assert_int_eq(weakref_cache_builder_refresh_after_write(b, 1), 0);
	ck_assert_ptr_null(weakref_cache_builder_build(b));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_str_eq(weakref_cache_builder_error(b), "refreshAfterWrite needs loader");
	b = builder_of("maximumWeight=5");
	ck_assert_ptr_null(weakref_cache_builder_build(b));
	ck_assert_str_eq(weakref_cache_builder_error(b), "maximumWeight needs weigher");
	ck_assert_ptr_null(weakref_cache_builder_new(WEAKREF_KEY_CUSTOM));
	ck_assert_ptr_null(weakref_cache_builder_build(NULL));
	ck_assert_int_eq(weakref_cache_builder_weak_values(NULL), -EINVAL);
	ck_assert_str_ne(weakref_cache_builder_error(NULL), "");
}
END_TEST

/* H15: a spec string sets the same options, and one that is bad sets none. */
START_TEST(test_h15_spec)
{
	static const char *const bad[] = {"maximumSize",	 "maximumSize=",	 "maximumSize=-1",  "maximumSize=1,maximumSize=2",
					  "maximumSize=1x",	 "weakValues=1",	 "nonsense",	    "expireAfterWrite=10",
					  "expireAfterWrite=m", "expireAfterWrite=1y", ",",		    "weakValues,,recordStats",
					  "weakValues,softValues", "maximumSize=99999999999999999999", "weakKeys", "initialCapacity=1,",
					  "maximumSize=1=2",	 "=",			 "=1",		    "recordStats,recordStats",
					  "weakValues=",	 "maximumSize 1",	 "expireAfterWrite=-1s", "refreshAfterWrite=0s",
					  "maximumSize=1,maximumWeight=2", "concurrencyLevel=4"};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	weakref_cache_policy policy;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		ck_assert_msg(weakref_cache_builder_spec(b, bad[i]) == -EINVAL, "taken: %s", bad[i]);
		ck_assert_str_ne(weakref_cache_builder_error(b), "");
	}
	ck_assert_int_eq(weakref_cache_builder_spec(b, "expireAfterWrite = ,recordStats"), -EINVAL);
	ck_assert_str_eq(weakref_cache_builder_error(b), "expireAfterWrite wants a value");
	ck_assert_int_eq(weakref_cache_builder_spec(b, NULL), -EINVAL);
	ck_assert_int_eq(weakref_cache_builder_spec(b, " \r\n\t"), 0);
	ck_assert_int_eq(weakref_cache_builder_spec(b, " maximumSize=1000,\n\tweakValues \t ,\r  expireAfterWrite \t =  10m\r\n"), 0);
	ck_assert_int_eq(weakref_cache_builder_spec(b, "expireAfterAccess=1500ms,recordStats,initialCapacity=100"), 0);
	weakref_cache *cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
	ck_assert(policy.bounded && !policy.weighted && policy.weak_values && policy.records_stats && !policy.loading);
	ck_assert_uint_eq(policy.maximum, 1000);
	ck_assert_double_eq(policy.expire_after_write, 600);
	ck_assert_double_eq(policy.expire_after_access, 1.5);
	ck_assert(isinf(policy.refresh_after_write));
}
END_TEST

/* ---- keys ---- */

static int hash_text(const void *key, uint64_t *out, void *user)
{
	*out = (uint64_t)(unsigned char)*(const char *)key & 3;
	return *(const char *)key == '!' ? *(int *)user : 0;
}

static int equal_text(const void *a, const void *b, void *user)
{
	(void)user;
	return strcmp(a, b) == 0;
}

/* Strings, bytes, pointers and custom keys; the cache keeps copies of what is copied. */
START_TEST(test_kinds_of_key)
{
	int failure = -ENOTSUP, places[2];
	char text[16], data[] = "a\0b";
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	weakref_cache *cache = weakref_cache_builder_build(b);

	for (int i = 0; i < 300; i++) {
		snprintf(text, sizeof text, "key %d", i);
		ck_assert_int_eq(weakref_cache_put(cache, text, thing((size_t)i)), 0);
	}
	for (int i = 0; i < 300; i++) {
		snprintf(text, sizeof text, "key %d", i);
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, text), thing((size_t)i));
	}
	ck_assert_int_eq(weakref_cache_put(cache, NULL, thing(0)), -EINVAL);
	cache = weakref_cache_builder_build(weakref_cache_builder_new(WEAKREF_KEY_BYTES));
	ck_assert_int_eq(weakref_cache_put(cache, &(weakref_bytes){data, 3}, thing(1)), 0);
	ck_assert_int_eq(weakref_cache_put(cache, &(weakref_bytes){data, 1}, thing(2)), 0);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, &(weakref_bytes){"a\0b", 3}), thing(1));
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, &(weakref_bytes){"a", 1}), thing(2));
	cache = weakref_cache_builder_build(weakref_cache_builder_new(WEAKREF_KEY_POINTER));
	ck_assert_int_eq(weakref_cache_put(cache, &places[0], thing(1)), 0);
	ck_assert_ptr_null(weakref_cache_get_if_present(cache, &places[1]));
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, &places[0]), thing(1));
	cache = weakref_cache_builder_build(weakref_cache_builder_new_custom(hash_text, equal_text, &failure));
	for (size_t i = 0; i < 26; i++) {
		static const char letters[26][2] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m",
						    "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z"};
		ck_assert_int_eq(weakref_cache_put(cache, letters[i], thing(i)), 0);
	}
	snprintf(text, sizeof text, "k");
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, text), thing(10));
	ck_assert_int_eq(weakref_cache_put(cache, "!", thing(1)), -ENOTSUP);
	ck_assert_int_eq(weakref_cache_lookup(cache, "!", NULL), -ENOTSUP);
	ck_assert_int_eq(weakref_cache_invalidate(cache, text), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 25);
}
END_TEST

static unsigned hashed, compared;

static int hash_counting(const void *key, uint64_t *out, void *user)
{
	hashed++;
	return hash_text(key, out, user);
}

static int equal_counting(const void *a, const void *b, void *user)
{
	compared++;
	return equal_text(a, b, user);
}

static void *loaded; /* NULL: something that depends on the key */

static int load_thing(const void *key, void **value, void *user)
{
	(void)user;
	*value = loaded != NULL ? loaded : thing((size_t)*(const char *)key);
	return 0;
}

static int compute_thing(const void *key, void *old, void **value, void *user)
{
	(void)old;
	return load_thing(key, value, user);
}

static int merge_thing(const void *key, void *old, void *given, void **value, void *user)
{
	(void)given;
	return compute_thing(key, old, value, user);
}

static uint64_t now_ns = 1;

static uint64_t tick(void *user)
{
	(void)user;
	return now_ns;
}

static const void *only_key(weakref_cache *cache)
{
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	const void *key, *another;

	ck_assert_int_eq(weakref_cache_iter_next(iter, &key, NULL), 1);
	ck_assert_int_eq(weakref_cache_iter_next(iter, &another, NULL), 0);
	return key;
}

enum { PUTS, REPLACES, COMPUTES, MERGES, REFRESHES, PUTS_IF_ABSENT, WAYS };

/* R242: a value that takes another's place leaves the key that is there, whatever way it comes and whatever the cache keeps books of; where it takes
 * the place of nothing, or of what is expired, its own key is there. */
START_TEST(test_R242_of_equal_keys_the_first_stays)
{
	static const char *const specs[] = {"", "maximumSize=10", "expireAfterWrite=10s", "weakValues,maximumSize=10"};
	static const weakref_cache_loader loader = {.load = load_thing};
	char first[] = "a", second[] = "a";
	int failure = -ENOTSUP;

	for (int way = 0; way < WAYS; way++) {
		weakref_cache_builder *b = weakref_cache_builder_new_custom(hash_text, equal_text, &failure);
		void *value = gc_alloc(16), *another = gc_alloc(16);
		ck_assert_int_eq(weakref_cache_builder_spec(b, specs[_i]), 0);
		ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
		ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
		weakref_cache *cache = weakref_cache_builder_build(b);
		ck_assert_int_eq(weakref_cache_put(cache, first, value), 0);
		loaded = another;
		ck_assert_int_eq(way == PUTS	   ? weakref_cache_put(cache, second, another)
				 : way == REPLACES ? weakref_cache_replace(cache, second, value, another) - 1
				 : way == COMPUTES ? weakref_cache_compute(cache, second, compute_thing, NULL, NULL)
				 : way == MERGES   ? weakref_cache_merge(cache, second, value, merge_thing, NULL, NULL)
				 : way == REFRESHES
					 ? weakref_cache_refresh(cache, second)
					 : weakref_cache_put_if_absent(cache, second, another) != value,
				 0);
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, second), way == PUTS_IF_ABSENT ? value : another);
		ck_assert_ptr_eq(only_key(cache), first);
		if (_i == 2)
			now_ns += UINT64_C(10000000000);
		else
			ck_assert_int_eq(weakref_cache_invalidate(cache, second), 0);
		ck_assert_int_eq(weakref_cache_put(cache, second, value), 0);
		ck_assert_ptr_eq(only_key(cache), second);
		SUPPORT_KEEP(value);
		SUPPORT_KEEP(another);
	}
	loaded = NULL;
}
END_TEST

/* A program's hash is asked once in each call, whether it finds, loads, stores or removes. */
START_TEST(test_hashed_once)
{
	int failure = -ENOTSUP;
	weakref_cache_builder *b = weakref_cache_builder_new_custom(hash_counting, equal_counting, &failure);
	const weakref_cache_loader loader = {.load = load_thing};
	const void *keys[] = {"a", "b", "c"};
	char text[] = "a";
	void *values[3], *value;

	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumSize=100,expireAfterWrite=1h"), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	weakref_cache *cache = weakref_cache_builder_build(b);
	for (int turn = 0; turn < 2; turn++) {
		hashed = 0;
		ck_assert_int_eq(weakref_cache_get(cache, text, &value), 0);
		ck_assert_uint_eq(hashed, 1);
		ck_assert_ptr_eq(value, thing('a'));
		ck_assert_int_eq(weakref_cache_get_with(cache, "b", load_thing, NULL, &value), 0);
		ck_assert_uint_eq(hashed, 2);
		ck_assert_int_eq(weakref_cache_compute_if_absent(cache, "c", load_thing, NULL, &value), 0);
		ck_assert_uint_eq(hashed, 3);
		ck_assert_int_eq(weakref_cache_compute(cache, "d", compute_thing, NULL, &value), 0);
		ck_assert_uint_eq(hashed, 4);
		ck_assert_int_eq(weakref_cache_put(cache, "e", thing(1)), 0);
		ck_assert_uint_eq(hashed, 5);
		ck_assert_ptr_nonnull(weakref_cache_put_if_absent(cache, "f", thing(1)));
		ck_assert_uint_eq(hashed, 6);
		ck_assert_int_eq(weakref_cache_replace(cache, "f", NULL, thing(2)), 1);
		ck_assert_uint_eq(hashed, 7);
		ck_assert_int_eq(weakref_cache_refresh(cache, "g"), 0);
		ck_assert_uint_eq(hashed, 8);
		ck_assert_int_eq(weakref_cache_get_all(cache, keys, 3, values), 0);
		ck_assert_uint_eq(hashed, 11);
		ck_assert_int_eq(weakref_cache_contains(cache, "a"), 1);
		ck_assert_uint_eq(hashed, 12);
	}
	ck_assert_int_eq(weakref_cache_remove(cache, "e", NULL, NULL), 1);
	ck_assert_int_eq(weakref_cache_invalidate(cache, "f"), 0);
	ck_assert_uint_eq(hashed, 14);
	/* The cache knows what it has: nothing is hashed anew when it grows or is emptied. */
	weakref_cache_invalidate_all(cache);
	weakref_cache_cleanup(cache);
	ck_assert_uint_eq(hashed, 14);
	/* The same key is not compared, and errors of hash come before any load. */
	compared = 0;
	ck_assert_int_eq(weakref_cache_get(cache, text, &value), 0);
	ck_assert_int_eq(weakref_cache_get(cache, text, &value), 0);
	ck_assert_uint_eq(compared, 0);
	failure = -ENOENT;
	ck_assert_int_eq(weakref_cache_get(cache, "!", &value), -ENOENT);
	ck_assert_ptr_null(value);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
}
END_TEST

/* ---- odd specs ---- */

/* What reports of CacheBuilderSpec and CaffeineSpec ask for: no unit, ISO 8601, signs and fractions, case, blanks, repeats, commas too many. */
START_TEST(test_h15_odd_specs)
{
	static const char *const good[] = {"   ", "\n", "maximumSize=0", " maximumSize = 9223372036854775807 ", "expireAfterWrite=0ns",
					   "maximumSize=1\n,\n recordStats", "initialCapacity=0", "expireAfterAccess=9223372036854775807d",
					   "refreshAfterWrite=1ns", "maximumSize=0010", "\tweakValues\t"};
	static const char *const bad[] = {
		",", "=", "=1", "foo", "foo=1", "maximumSize", "maximumSize=", "maximumSize= ", "maximumSize=-1", "maximumSize=+1",
		"maximumSize=1.5", "maximumSize=0x10", "maximumSize=9223372036854775808", "maximumSize=1e3", "maximumSize=1_000",
		"MaximumSize=1", "maximumsize=1", "maximumSize=1,maximumSize=1", "maximumSize=1,", ",maximumSize=1",
		"maximumSize=1,,recordStats", "maximumSize=1=2", "maximumSize==1", "maximumSize=1 2", "maximumSize=1;recordStats",
		"maximumSize=1,maximumWeight=1", "recordStats=true", "recordStats=", "weakValues,weakValues", "weakValues,softValues",
		"weakKeys", "expireAfterWrite=10", "expireAfterWrite=10S", "expireAfterWrite=10 s", "expireAfterWrite=-1s",
		"expireAfterWrite=1.5s", "expireAfterWrite=s", "expireAfterWrite=", "expireAfterWrite=PT10S", "expireAfterWrite=1s1s",
		"expireAfterWrite=inf", "expireAfterWrite=nan", "expireAfterWrite=99999999999999999999s", "refreshAfterWrite=0s",
		"initialCapacity=-1", "concurrencyLevel=4"};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		builder_of(good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		weakref_cache_builder *b = builder_of("");
		ck_assert_msg(weakref_cache_builder_spec(b, bad[i]) == -EINVAL, "taken: %s", bad[i]);
		ck_assert_str_ne(weakref_cache_builder_error(b), "");
		ck_assert_ptr_nonnull(weakref_cache_builder_build(b));
	}
}
END_TEST

/* ---- figures ---- */

/* H40: rates of nothing; minus stops at 0; plus adds. */
START_TEST(test_h40_arithmetic)
{
	weakref_cache_stats none = {0}, a = {.hits = 5, .misses = 3, .load_time_ns = UINT64_MAX}, b = {.hits = 2, .misses = 9, .load_time_ns = 5};

	ck_assert_double_eq(weakref_cache_stats_hit_rate(&none), 1.0);
	ck_assert_double_eq(weakref_cache_stats_miss_rate(&none), 0.0);
	weakref_cache_stats minus = weakref_cache_stats_minus(&a, &b), plus = weakref_cache_stats_plus(&a, &b);
	ck_assert_uint_eq(minus.hits, 3);
	ck_assert_uint_eq(minus.misses, 0);
	ck_assert_uint_eq(plus.hits, 7);
	ck_assert_uint_eq(plus.misses, 12);
	ck_assert_uint_eq(plus.load_time_ns, UINT64_MAX);
	ck_assert_double_eq(weakref_cache_stats_failure_rate(&none), 0.0);
	ck_assert_double_eq(weakref_cache_stats_load_penalty(&none), 0.0);
	ck_assert_uint_eq(weakref_cache_stats_requests(&none) + weakref_cache_stats_loads(&none), 0);
	weakref_cache_stats c = {.hits = 11, .misses = 13, .load_successes = 17, .load_failures = 19, .load_time_ns = 23, .evictions = 27};
	ck_assert_uint_eq(weakref_cache_stats_requests(&c), 24);
	ck_assert_double_eq(weakref_cache_stats_hit_rate(&c), 11.0 / 24);
	ck_assert_double_eq(weakref_cache_stats_miss_rate(&c), 13.0 / 24);
	ck_assert_uint_eq(weakref_cache_stats_loads(&c), 36);
	ck_assert_double_eq(weakref_cache_stats_failure_rate(&c), 19.0 / 36);
	ck_assert_double_eq(weakref_cache_stats_load_penalty(&c), 23.0 / 36);
	c.misses = c.load_failures = UINT64_MAX;
	ck_assert_uint_eq(weakref_cache_stats_requests(&c), UINT64_MAX);
	ck_assert_uint_eq(weakref_cache_stats_loads(&c), UINT64_MAX);
	ck_assert_double_eq(weakref_cache_stats_miss_rate(&c), 1.0);
	ck_assert_double_eq(weakref_cache_stats_hit_rate(NULL), 1.0);
	ck_assert_uint_eq(weakref_cache_stats_requests(NULL), 0);
	ck_assert_uint_eq(weakref_cache_stats_minus(&a, NULL).hits, 5);
	ck_assert_uint_eq(weakref_cache_stats_minus(NULL, &a).hits, 0);
	ck_assert_uint_eq(weakref_cache_stats_plus(NULL, &b).hits, 2);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_builder");
	TCase *tc = support_tcase("cache_builder");

	tcase_add_test(tc, test_h15_builder_refuses);
	tcase_add_test(tc, test_h15_spec);
	tcase_add_test(tc, test_h15_odd_specs);
	tcase_add_test(tc, test_kinds_of_key);
	tcase_add_loop_test(tc, test_R242_of_equal_keys_the_first_stays, 0, 4);
	tcase_add_test(tc, test_hashed_once);
	tcase_add_test(tc, test_h40_arithmetic);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

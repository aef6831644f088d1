/* SPDX-License-Identifier: MIT */
/*
 * check_cache_map: weakref/cache_view.h: the cache as a map where things are in the way: entries that are expired or collected,
 * user functions that refuse, or are not to be asked at all, functions that use the cache they are called for. The clock is the
 * tests' own.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "cache_fixture.h"

#define GET(cache, n) weakref_cache_get_if_present(cache, KEY(n))
#define PUT(cache, n, value) ck_assert_int_eq(weakref_cache_put(cache, KEY(n), value), 0)

static unsigned told_in_all(void)
{
	unsigned n = 0;

	for (size_t i = 0; i <= WEAKREF_CAUSE_SIZE; i++)
		n += told_by_cause[i];
	return n;
}

static unsigned weighed;
static int64_t weight;

static int64_t weigh(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	weighed++;
	return weight;
}

static unsigned creates, updates;
static double lives;

static double on_create(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	creates++;
	return lives;
}

static double on_update(const void *key, void *value, double remaining, void *user)
{
	(void)key;
	(void)value;
	(void)remaining;
	(void)user;
	updates++;
	return lives;
}

/* A cache that listens, by the tests' clock, with figures; `weighs`: and weights up to 1000; `varies`: and each entry with its own time. */
static void make(const char *spec, bool weighs, bool varies)
{
	const weakref_cache_expiry expiry = {.create = on_create, .update = on_update};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	memset(told_by_cause, 0, sizeof told_by_cause);
	weighed = creates = updates = 0;
	weight = 1;
	lives = 10;
	now_ns = 1000 * SECOND;
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	ck_assert_int_eq(weakref_cache_builder_record_stats(b), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_by_cause, NULL), 0);
	if (weighs) {
		ck_assert_int_eq(weakref_cache_builder_maximum_weight(b, 1000), 0);
		ck_assert_int_eq(weakref_cache_builder_weigher(b, weigh, NULL), 0);
	}
	if (varies)
		ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
}

static weakref_cache_stats stats(void)
{
	weakref_cache_stats out = {0};

	weakref_cache_get_stats(cache, &out);
	return out;
}

/* ---- functions of compute ---- */

static unsigned calls;
static void *made, *seen;
static int failure;

static int compute(const void *key, void *old, void **value, void *user)
{
	(void)key;
	(void)user;
	calls++;
	seen = old;
	*value = made;
	return failure;
}

static int merge(const void *key, void *old, void *given, void **value, void *user)
{
	(void)given;
	return compute(key, old, value, user);
}

static int load(const void *key, void **value, void *user)
{
	return compute(key, NULL, value, user);
}

static void computes(void *value, int error)
{
	calls = 0;
	seen = NULL;
	made = value;
	failure = error;
}

/* ---- what is not asked ---- */

/* R141: a write that changes nothing asks neither weigher nor expiry, and is no error because they would refuse. */
START_TEST(test_nothing_asked_in_vain)
{
	for (int varies = 0; varies < 2; varies++) {
		make("", true, varies != 0);
		PUT(cache, 1, thing(1));
		weighed = creates = updates = 0;
		weight = -1;
		lives = -1;
		ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(2)), thing(1));
		ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), thing(2), thing(3)), 0);
		ck_assert_int_eq(weakref_cache_replace(cache, KEY(2), NULL, thing(3)), 0);
		ck_assert_int_eq(weakref_cache_replace(cache, KEY(2), thing(1), thing(3)), 0);
		ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), thing(3), NULL), 0);
		ck_assert_uint_eq(weighed + creates + updates, 0);
		ck_assert_ptr_null(weakref_cache_put_if_absent(cache, KEY(1), NULL));
		ck_assert_int_eq(errno, EINVAL);
		ck_assert_int_eq(weakref_cache_replace(cache, KEY(2), NULL, NULL), -EINVAL);
		/* What would change something is refused, and changes nothing. */
		ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), thing(1), thing(3)), -1);
		ck_assert_ptr_null(weakref_cache_put_if_absent(cache, KEY(2), thing(2)));
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		ck_assert_ptr_null(GET(cache, 2));
		ck_assert_uint_eq(told_in_all(), 0);
	}
}
END_TEST

/* A weigher or expiry that refuses what a function made: the entry that was there stays, with its weight and its time. */
START_TEST(test_refused_results)
{
	weakref_cache_policy policy;
	double seconds;
	void *value;

	for (int by_weight = 0; by_weight < 2; by_weight++) {
		make("", true, true);
		weight = 7;
		PUT(cache, 1, thing(1));
		now_ns += 4 * SECOND;
		if (by_weight)
			weight = -EBUSY;
		else
			lives = NAN;
		int refusal = by_weight ? -EBUSY : -EINVAL;
		computes(thing(2), 0);
		ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), compute, NULL, &value), refusal);
		ck_assert_ptr_null(value);
		ck_assert_int_eq(weakref_cache_compute_if_present(cache, KEY(1), compute, NULL, NULL), refusal);
		ck_assert_int_eq(weakref_cache_merge(cache, KEY(1), thing(3), merge, NULL, NULL), refusal);
		ck_assert_int_eq(weakref_cache_merge(cache, KEY(2), thing(3), merge, NULL, NULL), refusal);
		ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(2), load, NULL, &value), refusal);
		ck_assert_int_eq(weakref_cache_get_with(cache, KEY(2), load, NULL, &value), refusal);
		ck_assert_ptr_null(value);
		ck_assert_uint_eq(calls, 5);
		ck_assert_uint_eq(weakref_cache_len(cache), 1);
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
		ck_assert_uint_eq(policy.weight, 7);
		ck_assert_int_eq(weakref_cache_policy_remaining(cache, KEY(1), &seconds), 0);
		ck_assert_double_eq(seconds, 6);
		ck_assert_uint_eq(stats().load_failures, 1);
		ck_assert_uint_eq(told_in_all(), 0);
	}
}
END_TEST

/* A weigher that puts, once: another key; the same one; so many that the map is another one. */
static size_t puts_first, puts_last;

static int64_t weigh_and_put(const void *key, void *value, void *user)
{
	size_t first = puts_first, last = puts_last;

	(void)key;
	(void)value;
	(void)user;
	puts_first = puts_last = 0;
	for (size_t i = first; i < last; i++)
		PUT(cache, (intptr_t)i, thing(1000 + i));
	return 1;
}

/* Between a writer's search and his lock others may come: he puts beside them, and over his own key's. */
START_TEST(test_others_come_meanwhile)
{
	static const size_t puts[][2] = {{2, 3}, {1, 2}, {1, 2000}, {2, 2000}};

	for (size_t i = 0; i < sizeof puts / sizeof *puts; i++) {
		bool same = puts[i][0] == 1;
		weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
		ck_assert_int_eq(weakref_cache_builder_maximum_weight(b, 3000), 0);
		ck_assert_int_eq(weakref_cache_builder_weigher(b, weigh_and_put, NULL), 0);
		ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_by_cause, NULL), 0);
		cache = weakref_cache_builder_build(b);
		ck_assert_ptr_nonnull(cache);
		memset(told_by_cause, 0, sizeof told_by_cause);
		puts_first = puts[i][0];
		puts_last = puts[i][1];
		PUT(cache, 1, thing(1));
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		ck_assert_uint_eq(weakref_cache_len(cache), puts[i][1] - puts[i][0] + !same);
		for (size_t k = 2; k < puts[i][1]; k++)
			ck_assert_ptr_eq(GET(cache, (intptr_t)k), thing(1000 + k));
		ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_REPLACED], same);
		ck_assert_uint_eq(told_in_all(), same);
	}
}
END_TEST

/* A value is weighed anew where it is replaced by itself, and its time begins anew; nobody is told. */
START_TEST(test_the_same_value)
{
	weakref_cache_policy policy;
	void *value;

	for (int way = 0; way < 4; way++) {
		make("expireAfterWrite=60s", true, false);
		PUT(cache, 1, thing(1));
		now_ns += 30 * SECOND;
		weight = 100 + way;
		computes(thing(1), 0);
		int result = way == 0 ? weakref_cache_compute(cache, KEY(1), compute, NULL, &value)
			     : way == 1 ? weakref_cache_merge(cache, KEY(1), thing(9), merge, NULL, &value)
			     : way == 2 ? weakref_cache_put(cache, KEY(1), thing(1))
					: weakref_cache_replace(cache, KEY(1), thing(1), thing(1)) - 1;
		ck_assert_int_eq(result, 0);
		now_ns += 45 * SECOND;
		ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 1);
		weakref_cache_policy_get(cache, &policy);
		ck_assert_uint_eq(policy.weight, (uint64_t)(100 + way));
		ck_assert_uint_eq(told_in_all(), 0);
	}
}
END_TEST

/* ---- entries whose time is over ---- */

/* To the map's operations an expired entry is none: it is told of as EXPIRED, once, and counted, whatever they do then. */
START_TEST(test_expired_entries)
{
	void *value = thing(9);

	for (int way = 0; way < 12; way++) {
		make("expireAfterWrite=10s", false, false);
		PUT(cache, 1, thing(1));
		now_ns += 10 * SECOND;
		computes(thing(2), way % 2 == 0 ? 0 : -EBUSY);
		int expected = way % 2 == 0 ? 0 : -EBUSY;
		bool there = way % 2 == 0;
		switch (way) {
		case 0:
		case 1: ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), compute, NULL, &value), expected); break;
		case 2:
		case 3: ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(1), load, NULL, &value), expected); break;
		case 4:
		case 5: ck_assert_int_eq(weakref_cache_get_with(cache, KEY(1), load, NULL, &value), expected); break;
		case 6:
			ck_assert_int_eq(weakref_cache_merge(cache, KEY(1), thing(2), merge, NULL, &value), 0);
			ck_assert_uint_eq(calls, 0);
			break;
		case 7:
			ck_assert_int_eq(weakref_cache_compute_if_present(cache, KEY(1), compute, NULL, &value), 0);
			ck_assert_uint_eq(calls, 0);
			ck_assert_ptr_null(value);
			break;
		case 8: ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(2)), thing(2)); break;
		case 9: ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), thing(1), thing(2)), 0); break;
		case 10: PUT(cache, 1, thing(2)); break;
		default: ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), NULL, &value), 0); break;
		}
		ck_assert_ptr_null(seen);
		ck_assert_ptr_eq(GET(cache, 1), there ? thing(2) : NULL);
		ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), there);
		ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 1);
		ck_assert_uint_eq(told_in_all(), 1);
		ck_assert_uint_eq(stats().evictions, 1);
	}
}
END_TEST

/* Views do not show what is expired and not taken out yet; len does. */
START_TEST(test_views_of_expired_entries)
{
	size_t visited = 0;
	double seconds;
	const void *key;

	make("expireAfterWrite=10s", false, false);
	for (intptr_t i = 0; i < 20; i++) {
		PUT(cache, i, thing((size_t)i));
		now_ns += i == 9 ? 5 * SECOND : 0;
	}
	now_ns += 5 * SECOND;
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	while (weakref_cache_iter_next(iter, &key, NULL) > 0) {
		ck_assert_int_ge(WEAKREF_INT_VALUE(key), 10);
		visited++;
	}
	ck_assert_uint_eq(visited, 10);
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(3)), 0);
	ck_assert_int_eq(weakref_cache_contains_value(cache, thing(3)), 0);
	ck_assert_int_eq(weakref_cache_contains_value(cache, thing(13)), 1);
	ck_assert_int_eq(weakref_cache_policy_remaining(cache, KEY(3), &seconds), -ENOENT);
	ck_assert_int_eq(weakref_cache_policy_age(cache, WEAKREF_CACHE_AFTER_WRITE, KEY(3), &seconds), -ENOENT);
	ck_assert_uint_eq(weakref_cache_len(cache), 20);
	ck_assert_uint_eq(told_in_all(), 0);
	/* An iterator that stands on an entry goes on when that one's time is over. */
	iter = weakref_cache_iter_new(cache);
	ck_assert_int_eq(weakref_cache_iter_next(iter, NULL, NULL), 1);
	now_ns += 5 * SECOND;
	ck_assert_int_eq(weakref_cache_iter_next(iter, NULL, NULL), 0);
	ck_assert_int_eq(weakref_cache_iter_next(iter, NULL, NULL), 0);
}
END_TEST

/* The time is over while a function runs: what it makes is stored, and its time begins then. */
static int compute_long(const void *key, void *old, void **value, void *user)
{
	now_ns += 30 * SECOND;
	return compute(key, old, value, user);
}

static int load_long(const void *key, void **value, void *user)
{
	now_ns += 30 * SECOND;
	return load(key, value, user);
}

static int expires_and_clears(const void *key, void *old, void **value, void *user)
{
	int result = compute_long(key, old, value, user);

	return weakref_cache_invalidate_all(cache) < 0 ? -EPROTO : result;
}

START_TEST(test_expires_in_the_function)
{
	double seconds;
	void *value;

	make("expireAfterWrite=10s", false, false);
	PUT(cache, 1, thing(1));
	computes(thing(2), 0);
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), compute_long, NULL, &value), 0);
	ck_assert_ptr_eq(seen, thing(1));
	ck_assert_ptr_eq(GET(cache, 1), thing(2));
	ck_assert_int_eq(weakref_cache_policy_remaining(cache, KEY(1), &seconds), 0);
	ck_assert_double_eq(seconds, 10);
	ck_assert_uint_eq(told_in_all(), 1);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(2), load_long, NULL, &value), 0);
	ck_assert_int_eq(weakref_cache_policy_remaining(cache, KEY(2), &seconds), 0);
	ck_assert_double_eq(seconds, 10);
	/* The function fails, or says that the value stays: an entry whose time is over goes all the same. */
	PUT(cache, 3, thing(3));
	computes(thing(3), -EBUSY);
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(3), compute_long, NULL, &value), -EBUSY);
	ck_assert_ptr_null(GET(cache, 3));
	weakref_cache_cleanup(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	/* R146: it went for its age, also where the function, or what it calls, takes it out. */
	static int (*const takes_out[])(const void *, void *, void **, void *) = {compute_long, expires_and_clears};
	for (size_t i = 0; i < 2; i++) {
		make("expireAfterWrite=10s", false, false);
		PUT(cache, 4, thing(4));
		computes(NULL, 0);
		ck_assert_int_eq(weakref_cache_compute(cache, KEY(4), takes_out[i], NULL, NULL), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
		ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 1);
		ck_assert_uint_eq(told_in_all(), 1);
		ck_assert_uint_eq(stats().evictions, 1);
	}
}
END_TEST

/* ---- functions that remove or fail ---- */

/* What a function says of an entry that is there: a failure keeps it, no value removes it, and merge as compute. */
START_TEST(test_failing_functions)
{
	void *value = thing(9);

	make("", false, false);
	PUT(cache, 1, thing(1));
	computes(thing(2), -EBUSY);
	ck_assert_int_eq(weakref_cache_merge(cache, KEY(1), thing(3), merge, NULL, &value), -EBUSY);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(weakref_cache_compute_if_present(cache, KEY(1), compute, NULL, &value), -EBUSY);
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(2), load, NULL, &value), -EBUSY);
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(2)), 0);
	ck_assert_uint_eq(told_in_all(), 0);
	computes(NULL, 0);
	ck_assert_int_eq(weakref_cache_merge(cache, KEY(1), thing(3), merge, NULL, &value), 0);
	ck_assert_ptr_null(value);
	ck_assert_ptr_eq(seen, thing(1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPLICIT], 1);
	ck_assert_uint_eq(told_in_all(), 1);
}
END_TEST

/* ---- functions that use their cache ---- */

static int inner_error;
static int (*inner)(intptr_t key);

static int by_compute(intptr_t key);
static int by_merge(intptr_t key);
static int by_absent(intptr_t key);
static int by_present(intptr_t key);

/* Key 1 asks for key 2 and that for key 1. */
static int pingpong(const void *key, void *old, void **value, void *user)
{
	(void)old;
	(void)user;
	int error = inner(3 - WEAKREF_INT_VALUE(key));
	if (error != 0)
		inner_error = error;
	*value = thing(5);
	return 0;
}

static int pingpong_load(const void *key, void **value, void *user)
{
	return pingpong(key, NULL, value, user);
}

static int pingpong_merge(const void *key, void *old, void *given, void **value, void *user)
{
	(void)given;
	return pingpong(key, old, value, user);
}

static int by_compute(intptr_t key)
{
	return weakref_cache_compute(cache, KEY(key), pingpong, NULL, NULL);
}

static int by_present(intptr_t key)
{
	return weakref_cache_compute_if_present(cache, KEY(key), pingpong, NULL, NULL);
}

static int by_merge(intptr_t key)
{
	return weakref_cache_merge(cache, KEY(key), thing(7), pingpong_merge, NULL, NULL);
}

static int by_absent(intptr_t key)
{
	void *value;

	return weakref_cache_compute_if_absent(cache, KEY(key), pingpong_load, NULL, &value);
}

/* R149: functions that ask for each other's keys in turn get EDEADLK where the circle closes, and end. */
START_TEST(test_pingpong)
{
	int (*const ways[])(intptr_t) = {by_compute, by_present, by_merge, by_absent};

	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		make("maximumSize=10", false, false);
		if (i < 3) {
			PUT(cache, 1, thing(1));
			PUT(cache, 2, thing(1));
		}
		inner = ways[i];
		inner_error = 0;
		ck_assert_int_eq(inner(1), 0);
		ck_assert_int_eq(inner_error, -EDEADLK);
		ck_assert_ptr_eq(GET(cache, 1), thing(5));
		ck_assert_ptr_eq(GET(cache, 2), thing(5));
	}
}
END_TEST

static int writes_own_key(const void *key, void *old, void **value, void *user)
{
	(void)old;
	*value = thing(2);
	return user != NULL ? weakref_cache_put(cache, key, thing(3)) : weakref_cache_invalidate(cache, key);
}

static int loads_own_key(const void *key, void **value, void *user)
{
	return writes_own_key(key, NULL, value, user);
}

/* R151: a function that writes or removes its own key overtakes itself: its caller gets its value, the cache has what it wrote. */
START_TEST(test_overtakes_itself)
{
	for (int puts = 0; puts < 2; puts++)
		for (int loads = 0; loads < 2; loads++) {
			void *value, *user = puts ? things : NULL;
			make("maximumSize=10,expireAfterWrite=10s", false, false);
			if (!loads)
				PUT(cache, 1, thing(1));
			int error = loads ? weakref_cache_get_with(cache, KEY(1), loads_own_key, user, &value)
					  : weakref_cache_compute(cache, KEY(1), writes_own_key, user, &value);
			ck_assert_int_eq(error, 0);
			ck_assert_ptr_eq(value, thing(2));
			ck_assert_ptr_eq(GET(cache, 1), puts ? thing(3) : NULL);
			ck_assert_uint_eq(weakref_cache_len(cache), (size_t)puts);
			now_ns += 10 * SECOND;
			weakref_cache_cleanup(cache);
			ck_assert_uint_eq(weakref_cache_len(cache), 0);
		}
}
END_TEST

static int write_back(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)user;
	told_by_cause[cause]++;
	return cause == WEAKREF_CAUSE_EXPLICIT ? weakref_cache_put(cache, key, (char *)value + 1) : 0;
}

/* A listener that stores again what was removed: invalidate_all comes to an end, with the new values. */
START_TEST(test_listener_writes_back)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	make("", false, false);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, write_back, NULL), 0);
	cache = weakref_cache_builder_build(b);
	for (intptr_t i = 0; i < 100; i++)
		PUT(cache, i, thing((size_t)i * 10));
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPLICIT], 100);
	ck_assert_uint_eq(told_in_all(), 100);
	for (intptr_t i = 0; i < 100; i++)
		ck_assert_ptr_eq(GET(cache, i), thing((size_t)i * 10 + 1));
}
END_TEST

/* R146: a reload that brings another value replaces one, which is told of, with the old value; one that brings the same, fails, or
 * has nothing, is not; and a load that was never stored is not either. */
START_TEST(test_notices_of_loads)
{
	const weakref_cache_loader loader = {.load = load};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	void *value;

	make("", false, false);
	ck_assert_int_eq(weakref_cache_builder_spec(b, "refreshAfterWrite=10s,expireAfterWrite=60s,recordStats"), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_by_cause, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
	computes(thing(1), 0);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), 0);
	now_ns += 10 * SECOND;
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	ck_assert_uint_eq(calls, 3);
	computes(thing(2), -EBUSY);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), -EBUSY);
	computes(NULL, 0);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), -ENOENT);
	ck_assert_uint_eq(told_in_all(), 0);
	computes(thing(2), 0);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_REPLACED], 1);
	computes(thing(3), 0);
	now_ns += 10 * SECOND;
	ck_assert_ptr_eq(GET(cache, 1), thing(2));
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_REPLACED], 2);
	now_ns += 60 * SECOND;
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 1);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(2), loads_own_key, NULL, &value), 0);
	ck_assert_ptr_null(GET(cache, 2));
	ck_assert_uint_eq(told_in_all(), 3);
	ck_assert_uint_eq(stats().evictions, 1);
	ck_assert_uint_eq(stats().load_successes, 7);
	ck_assert_uint_eq(stats().load_failures, 2);
}
END_TEST

/* ---- while it is iterated ---- */

/* Entries may be removed and replaced by whoever iterates: each one that is there is visited once. */
START_TEST(test_iterate_and_remove)
{
	size_t visited = 0;
	const void *key;
	void *value;

	make("", false, false);
	for (intptr_t i = 0; i < 1000; i++)
		PUT(cache, i, thing((size_t)i));
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	while (weakref_cache_iter_next(iter, &key, &value) > 0) {
		visited++;
		ck_assert_ptr_eq(value, thing((size_t)WEAKREF_INT_VALUE(key)));
		if (WEAKREF_INT_VALUE(key) % 2 == 0)
			ck_assert_int_eq(weakref_cache_remove(cache, key, value, NULL), 1);
		else
			ck_assert_int_eq(weakref_cache_replace(cache, key, value, thing(2000)), 1);
	}
	ck_assert_uint_eq(visited, 1000);
	ck_assert_uint_eq(weakref_cache_len(cache), 500);
	ck_assert_int_eq(weakref_cache_contains_value(cache, thing(2000)), 1);
	/* One that was begun before all went finds nothing. */
	iter = weakref_cache_iter_new(cache);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_int_eq(weakref_cache_iter_next(iter, &key, &value), 0);
}
END_TEST

/* The keys of an iteration: of every kind, the program's own compared by a function that is not to be asked, and weak ones. */
enum { OLDER = 100, NEWER = 1000, KEYED = OLDER + NEWER };

static const enum weakref_key_kind kinds[] = {WEAKREF_KEY_STRING,  WEAKREF_KEY_BYTES,  WEAKREF_KEY_INT,
					      WEAKREF_KEY_POINTER, WEAKREF_KEY_CUSTOM, WEAKREF_KEY_POINTER};
#define KINDS (sizeof kinds / sizeof *kinds)

static unsigned compared;

static int hash_name(const void *key, uint64_t *out, void *user)
{
	(void)user;
	*out = (uint64_t)strlen(key);
	return 0;
}

static int equal_names(const void *a, const void *b, void *user)
{
	(void)user;
	compared++;
	return strcmp(a, b) == 0;
}

static const void **keys_of(enum weakref_key_kind kind)
{
	const void **keys = gc_alloc(KEYED * sizeof *keys);

	for (size_t i = 0; i < KEYED; i++) {
		struct {
			weakref_bytes bytes;
			char name[16];
		} *key = gc_alloc(sizeof *key);
		int n = snprintf(key->name, sizeof key->name, "key %zu", i);
		key->bytes = (weakref_bytes){.data = key->name, .size = (size_t)n};
		keys[i] = kind == WEAKREF_KEY_INT     ? KEY((intptr_t)i)
			  : kind == WEAKREF_KEY_BYTES ? (const void *)&key->bytes
						      : (const void *)key->name;
		if (kind == WEAKREF_KEY_POINTER)
			keys[i] = key;
	}
	return keys;
}

/* R157: an iterator goes on in the map that it began with: what was replaced, twice, in a larger one that came meanwhile is visited once, and with
 * its value of today; what was removed there is not. */
START_TEST(test_R157_replaced_in_a_larger_map)
{
	const void **keys = keys_of(kinds[_i]);
	weakref_cache_builder *b = kinds[_i] == WEAKREF_KEY_CUSTOM ? weakref_cache_builder_new_custom(hash_name, equal_names, NULL)
								     : weakref_cache_builder_new(kinds[_i]);
	unsigned visits[KEYED] = {0};
	const void *key;
	void *value;

	if ((size_t)_i + 1 == KINDS)
		ck_assert_int_eq(weakref_cache_builder_weak_keys(b), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_by_cause, NULL), 0);
	cache = weakref_cache_builder_build(b);
	for (size_t i = 0; i < OLDER; i++)
		ck_assert_int_eq(weakref_cache_put(cache, keys[i], thing(i)), 0);
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	for (size_t i = 0; i < OLDER / 10; i++) {
		ck_assert_int_eq(weakref_cache_iter_next(iter, &key, &value), 1);
		visits[(char *)value - things]++;
	}
	for (size_t i = OLDER; i < KEYED; i++)
		ck_assert_int_eq(weakref_cache_put(cache, keys[i], thing(i)), 0);
	for (size_t turn = 1; turn <= 2; turn++)
		for (size_t i = 0; i < OLDER; i++)
			ck_assert_int_eq(weakref_cache_put(cache, keys[i], thing(turn * KEYED + i)), 0);
	for (size_t i = 0; i < OLDER; i += 4)
		ck_assert_int_eq(weakref_cache_invalidate(cache, keys[i]), 0);
	compared = 0;
	while (weakref_cache_iter_next(iter, &key, &value) > 0) {
		size_t i = (size_t)((char *)value - things);
		ck_assert(i >= OLDER && (i < KEYED || (i >= (size_t)2 * KEYED && i % KEYED % 4 != 0)));
		visits[i % KEYED]++;
		ck_assert(i < KEYED || kinds[_i] < WEAKREF_KEY_INT || key == keys[i % KEYED]);
	}
	ck_assert_uint_eq(compared, 0);
	for (size_t i = 0; i < KEYED; i++)
		ck_assert_uint_le(visits[i], 1);
	for (size_t i = 0; i < OLDER; i++)
		ck_assert(visits[i] == 1 || i % 4 == 0);
	SUPPORT_KEEP(keys);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_map");
	TCase *tc = support_tcase("cache_map");

	tcase_add_test(tc, test_nothing_asked_in_vain);
	tcase_add_test(tc, test_refused_results);
	tcase_add_test(tc, test_others_come_meanwhile);
	tcase_add_test(tc, test_the_same_value);
	tcase_add_test(tc, test_expired_entries);
	tcase_add_test(tc, test_views_of_expired_entries);
	tcase_add_test(tc, test_expires_in_the_function);
	tcase_add_test(tc, test_failing_functions);
	tcase_add_test(tc, test_pingpong);
	tcase_add_test(tc, test_overtakes_itself);
	tcase_add_test(tc, test_listener_writes_back);
	tcase_add_test(tc, test_notices_of_loads);
	tcase_add_test(tc, test_iterate_and_remove);
	tcase_add_loop_test(tc, test_R157_replaced_in_a_larger_map, 0, KINDS);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

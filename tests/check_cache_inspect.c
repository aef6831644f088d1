/* SPDX-License-Identifier: MIT */
/*
 * check_cache_inspect: weakref/cache_inspect.h: looking at a cache without using it, its bounds and times when they are changed,
 * entries that get a time of their own from who stores them, and the orders in which entries go. The clock is the tests' own.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_fixture.h"
#include "weakref/checks.h"

#define GET(cache, n) weakref_cache_get_if_present(cache, KEY(n))
#define PUT(cache, n, value) ck_assert_int_eq(weakref_cache_put(cache, KEY(n), value), 0)

/* The place of a value among the things. */
static int64_t weigh(const void *key, void *value, void *user)
{
	(void)key;
	(void)user;
	return (char *)value - things;
}

static unsigned asked;

static double on_create(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	asked++;
	return user == NULL ? INFINITY : 10;
}

static double on_update(const void *key, void *value, double remaining, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	asked++;
	return remaining;
}

static unsigned loads;

static int load(const void *key, void **value, void *user)
{
	(void)user;
	loads++;
	*value = thing((size_t)WEAKREF_INT_VALUE(key));
	return 0;
}

static weakref_cache_builder *builder(const char *spec)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	memset(told_by_cause, 0, sizeof told_by_cause);
	asked = loads = 0;
	now_ns = 1000 * SECOND;
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_by_cause, NULL), 0);
	return b;
}

static void build(weakref_cache_builder *b)
{
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
}

/* Each entry has its own time: 10 s, or none that ends, if nobody says another. */
static void build_varying(const char *spec, bool for_ever)
{
	const weakref_cache_expiry expiry = {.create = on_create, .update = on_update, .user = for_ever ? NULL : things};
	weakref_cache_builder *b = builder(spec);

	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	build(b);
}

static double remaining(intptr_t key)
{
	double seconds = -1;

	return weakref_cache_policy_remaining(cache, KEY(key), &seconds) == 0 ? seconds : -1;
}

/* ---- looking without using ---- */

/* Peeking counts nothing, extends nothing, reloads nothing, and leaves the order of eviction alone. */
START_TEST(test_peek)
{
	const weakref_cache_loader loader = {.load = load};
	weakref_cache_stats stats, zero = {0};
	weakref_pair before[20], after[20];
	void *value = thing(1);
	weakref_cache_builder *b = builder("maximumSize=20,expireAfterAccess=100s,refreshAfterWrite=10s,recordStats");

	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	build(b);
	for (intptr_t i = 0; i < 20; i++)
		PUT(cache, i, thing((size_t)i));
	weakref_cache_cleanup(cache);
	ck_assert_int_eq(weakref_cache_policy_order(cache, false, before, 20), 20);
	now_ns += 50 * SECOND;
	for (int turn = 0; turn < 50; turn++) {
		intptr_t coldest = WEAKREF_INT_VALUE(before[0].key);
		ck_assert_int_eq(weakref_cache_policy_peek(cache, KEY(coldest), &value), 0);
		ck_assert_ptr_eq(value, thing((size_t)coldest));
	}
	ck_assert_int_eq(weakref_cache_policy_peek(cache, KEY(77), &value), -ENOENT);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(weakref_cache_policy_peek(cache, KEY(1), NULL), 0);
	ck_assert_uint_eq(loads, 0);
	ck_assert_double_eq(remaining(WEAKREF_INT_VALUE(before[0].key)), 50);
	ck_assert_int_eq(weakref_cache_policy_order(cache, false, after, 20), 20);
	for (size_t i = 0; i < 20; i++)
		ck_assert_ptr_eq(before[i].key, after[i].key);
	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	ck_assert_mem_eq(&stats, &zero, sizeof stats);
	now_ns += 50 * SECOND;
	ck_assert_int_eq(weakref_cache_policy_peek(cache, KEY(1), &value), -ENOENT);
	ck_assert_int_eq(weakref_cache_policy_peek(NULL, KEY(1), &value), -EINVAL);
}
END_TEST

/* What an entry weighs, and all together, as they are written, replaced and removed. */
START_TEST(test_weights)
{
	weakref_cache_policy policy;
	uint32_t weight = 0;
	weakref_cache_builder *b = builder("maximumWeight=100,expireAfterWrite=10s");

	ck_assert_int_eq(weakref_cache_builder_weigher(b, weigh, NULL), 0);
	build(b);
	PUT(cache, 1, thing(30));
	PUT(cache, 2, thing(0));
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(1), &weight), 0);
	ck_assert_uint_eq(weight, 30);
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(2), &weight), 0);
	ck_assert_uint_eq(weight, 0);
	PUT(cache, 1, thing(50));
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(2), thing(0), thing(20)), 1);
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(1), &weight), 0);
	ck_assert_uint_eq(weight, 50);
	ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
	ck_assert_uint_eq(policy.weight, 70);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(2), NULL, NULL), 1);
	weakref_cache_policy_get(cache, &policy);
	ck_assert_uint_eq(policy.weight, 50);
	/* One that is too heavy now goes at once, and takes nothing with it. */
	PUT(cache, 3, thing(10));
	PUT(cache, 1, thing(101));
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(1), &weight), -ENOENT);
	ck_assert_ptr_eq(GET(cache, 3), thing(10));
	weakref_cache_policy_get(cache, &policy);
	ck_assert_uint_eq(policy.weight, 10);
	now_ns += 10 * SECOND;
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(3), &weight), -ENOENT);
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(3), NULL), -EINVAL);
	weakref_cache_cleanup(cache);
	weakref_cache_policy_get(cache, &policy);
	ck_assert_uint_eq(policy.weight, 0);
	build(builder("maximumSize=5"));
	PUT(cache, 1, thing(1));
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(1), &weight), -ENOTSUP);
}
END_TEST

/* ---- bounds and times that are changed ---- */

/* A lower bound takes effect at once, 0 empties the cache, and a higher one lets it grow. */
START_TEST(test_another_maximum)
{
	weakref_cache_policy policy;

	build(builder("maximumSize=100,recordStats"));
	for (intptr_t i = 0; i < 100; i++)
		PUT(cache, i, thing(1));
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, 40), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 40);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_SIZE], 60);
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, -1), -EINVAL);
	ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
	ck_assert_uint_eq(policy.maximum, 40);
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, 0), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_SIZE], 100);
	PUT(cache, 1, thing(1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, INT64_MAX), 0);
	for (intptr_t i = 0; i < 1000; i++)
		PUT(cache, i, thing(1));
	ck_assert_uint_eq(weakref_cache_len(cache), 1000);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_SIZE], 101);
	build(builder(""));
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, 10), -ENOTSUP);
}
END_TEST

/* Another time holds for the entries that are there: a shorter one ends them, a longer one keeps them, none keeps them for ever. */
START_TEST(test_another_time)
{
	double seconds;

	for (int rule = WEAKREF_CACHE_AFTER_WRITE; rule <= WEAKREF_CACHE_AFTER_ACCESS; rule++) {
		build(builder(rule == WEAKREF_CACHE_AFTER_WRITE ? "expireAfterWrite=60s" : "expireAfterAccess=60s"));
		PUT(cache, 1, thing(1));
		now_ns += 30 * SECOND;
		PUT(cache, 2, thing(2));
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, 20), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), 1);
		ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 1);
		ck_assert_double_eq(remaining(2), 20);
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, 300), 0);
		now_ns += 299 * SECOND;
		ck_assert_int_eq(weakref_cache_contains(cache, KEY(2)), 1);
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, INFINITY), 0);
		now_ns += 100000 * SECOND;
		ck_assert_int_eq(weakref_cache_contains(cache, KEY(2)), 1);
		ck_assert(isinf(remaining(2)));
		ck_assert_int_eq(weakref_cache_policy_age(cache, rule, KEY(2), &seconds), 0);
		ck_assert_double_eq(seconds, 100299);
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, -1), -EINVAL);
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, NAN), -EINVAL);
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, 0), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
		PUT(cache, 3, thing(3));
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
	}
}
END_TEST

/* R271: a rule that was for ever at first can get a time, and be for ever meanwhile: uses count all the time. */
START_TEST(test_R271_for_ever_at_first)
{
	static const double times[] = {INFINITY, 1e9, 1e300};
	enum weakref_cache_rule rule = (enum weakref_cache_rule)_i;
	weakref_cache_policy policy;
	double seconds;

	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		weakref_cache_builder *b = builder("");
		const weakref_cache_loader loader = {.load = load};
		ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
		ck_assert_int_eq(rule == WEAKREF_CACHE_AFTER_WRITE    ? weakref_cache_builder_expire_after_write(b, times[i])
				 : rule == WEAKREF_CACHE_AFTER_ACCESS ? weakref_cache_builder_expire_after_access(b, times[i])
								      : weakref_cache_builder_refresh_after_write(b, times[i]),
				 0);
		build(b);
		PUT(cache, 1, thing(7));
		PUT(cache, 2, thing(8));
		now_ns += 1000 * SECOND;
		ck_assert_ptr_eq(GET(cache, 1), thing(7));
		ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
		ck_assert(isinf(rule == WEAKREF_CACHE_AFTER_WRITE    ? policy.expire_after_write
				: rule == WEAKREF_CACHE_AFTER_ACCESS ? policy.expire_after_access
								     : policy.refresh_after_write));
		ck_assert_int_eq(weakref_cache_policy_age(cache, rule, KEY(1), &seconds), 0);
		ck_assert_double_eq(seconds, rule == WEAKREF_CACHE_AFTER_ACCESS ? 0 : 1000);
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, 10), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), rule == WEAKREF_CACHE_REFRESH ? 2 : rule == WEAKREF_CACHE_AFTER_ACCESS ? 1 : 0);
		ck_assert_uint_eq(loads, 0);
		ck_assert_ptr_eq(GET(cache, 1), rule == WEAKREF_CACHE_AFTER_WRITE ? NULL : thing(7));
		ck_assert_uint_eq(loads, rule == WEAKREF_CACHE_REFRESH);
		for (int rule_too = WEAKREF_CACHE_AFTER_WRITE; rule_too <= WEAKREF_CACHE_REFRESH; rule_too++)
			if (rule_too != (int)rule)
				ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule_too, 10), -ENOTSUP);
	}
}
END_TEST

static int sets_time(const void *key, void *old, void **value, void *user)
{
	(void)key;
	*value = old;
	now_ns += 30 * SECOND;
	return weakref_cache_policy_set_time(user, WEAKREF_CACHE_AFTER_WRITE, 100);
}

/* What is over is not there again because of a longer time, though nobody has taken it out yet. What a function of compute has is its. */
START_TEST(test_over_stays_over)
{
	void *value;

	for (int rule = WEAKREF_CACHE_AFTER_WRITE; rule <= WEAKREF_CACHE_AFTER_ACCESS; rule++) {
		build(builder(rule == WEAKREF_CACHE_AFTER_WRITE ? "expireAfterWrite=10s" : "expireAfterAccess=10s"));
		PUT(cache, 1, thing(1));
		now_ns += 5 * SECOND;
		PUT(cache, 2, thing(2));
		now_ns += 5 * SECOND;
		ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 0);
		ck_assert_int_eq(weakref_cache_policy_set_time(cache, rule, 100), 0);
		ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 0);
		ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 1);
		now_ns += 90 * SECOND;
		ck_assert_ptr_eq(GET(cache, 2), thing(2));
		ck_assert_uint_eq(weakref_cache_len(cache), 1);
	}
	build(builder("expireAfterWrite=10s"));
	PUT(cache, 1, thing(1));
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), sets_time, cache, &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 0);
}
END_TEST

/* Times of any length: what is longer than a clock can tell is for ever. */
START_TEST(test_long_times)
{
	static const double times[] = {1e9, 1e10, 1e100, INFINITY};

	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		weakref_cache_builder *b = builder("");
		ck_assert_int_eq(weakref_cache_builder_expire_after_write(b, times[i]), 0);
		ck_assert_int_eq(weakref_cache_builder_expire_after_access(b, times[i]), 0);
		build(b);
		PUT(cache, 1, thing(1));
		now_ns += UINT64_C(800000000) * SECOND;
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		build_varying("", true);
		ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(1), thing(1), times[i]), 0);
		now_ns += UINT64_C(800000000) * SECOND;
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 0);
	}
	/* A clock that jumps ends all that had a time. */
	build(builder("expireAfterWrite=60s"));
	for (intptr_t i = 0; i < 100; i++)
		PUT(cache, i, thing(1));
	now_ns = UINT64_MAX / 2;
	weakref_cache_cleanup(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	PUT(cache, 1, thing(1));
	now_ns += 59 * SECOND;
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	now_ns += SECOND;
	ck_assert_ptr_null(GET(cache, 1));
}
END_TEST

/* ---- a time for one value ---- */

/* R210: who stores a value may say how long it lives: expiry is not asked then, and is for the next write. */
START_TEST(test_put_for_a_time)
{
	build_varying("", false);
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(1), thing(1), 2.5), 0);
	ck_assert_double_eq(remaining(1), 2.5);
	PUT(cache, 2, thing(2));
	ck_assert_uint_eq(asked, 1);
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(2), thing(3), 100), 0);
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_REPLACED], 1);
	ck_assert_double_eq(remaining(2), 100);
	ck_assert_ptr_eq(GET(cache, 2), thing(3));
	now_ns += SECOND * 5 / 2;
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_ptr_eq(weakref_cache_policy_put_if_absent(cache, KEY(1), thing(4), 7), thing(4));
	ck_assert_double_eq(remaining(1), 7);
	ck_assert_ptr_eq(weakref_cache_policy_put_if_absent(cache, KEY(1), thing(5), 70), thing(4));
	ck_assert_double_eq(remaining(1), 7);
	ck_assert_uint_eq(asked, 1);
	PUT(cache, 1, thing(6));
	ck_assert_uint_eq(asked, 2);
	ck_assert_double_eq(remaining(1), 7);
	/* At once, for ever, and not at all. */
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(1), thing(7), 0), 0);
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(2), thing(8), INFINITY), 0);
	now_ns += 1000000 * SECOND;
	ck_assert_ptr_eq(GET(cache, 2), thing(8));
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(2), thing(9), -1), -EINVAL);
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(2), thing(9), NAN), -EINVAL);
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(2), NULL, 1), -EINVAL);
	ck_assert_ptr_null(weakref_cache_policy_put_if_absent(cache, KEY(3), thing(9), -1));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_eq(GET(cache, 2), thing(8));
	build(builder("expireAfterWrite=10s"));
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(1), thing(1), 1), -ENOTSUP);
	ck_assert_ptr_null(weakref_cache_policy_put_if_absent(cache, KEY(1), thing(1), 1));
	ck_assert_int_eq(errno, ENOTSUP);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
}
END_TEST

static double at_read;

static double on_read(const void *key, void *value, double remaining, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	asked++;
	return isinf(at_read) && at_read < 0 ? remaining + 1 : at_read;
}

/* What a read says of an entry's time: nonsense is ignored and the read succeeds; 0 ends the entry after it; each is asked once. */
START_TEST(test_times_by_reads)
{
	static const double nonsense[] = {-1, NAN, -0.001};
	const weakref_cache_expiry expiry = {.create = on_create, .read = on_read, .user = things};
	weakref_cache_builder *b = builder("");
	void *value;

	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	build(b);
	PUT(cache, 1, thing(1));
	for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
		at_read = nonsense[i];
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		ck_assert_double_eq(remaining(1), 10);
	}
	at_read = -INFINITY;
	asked = 0;
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(1), load, NULL, &value), 0);
	ck_assert_int_eq(weakref_cache_get_all_present(cache, (const void *[]){KEY(1), KEY(2)}, 2, (void *[2]){NULL}), 1);
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(1), load, NULL, &value), 0);
	ck_assert_uint_eq(asked, 3);
	ck_assert_double_eq(remaining(1), 13);
	/* The map's other operations, and inspection, are no reads. */
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 1);
	ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(2)), thing(1));
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), thing(2), thing(3)), 0);
	ck_assert_int_eq(weakref_cache_policy_peek(cache, KEY(1), &value), 0);
	ck_assert_int_eq(weakref_cache_iter_next(weakref_cache_iter_new(cache), NULL, &value), 1);
	ck_assert_uint_eq(asked, 3);
	ck_assert_double_eq(remaining(1), 13);
	/* A write without update asks create. */
	PUT(cache, 1, thing(4));
	ck_assert_double_eq(remaining(1), 10);
	at_read = INFINITY;
	ck_assert_ptr_eq(GET(cache, 1), thing(4));
	now_ns += 1000000 * SECOND;
	at_read = 0;
	ck_assert_ptr_eq(GET(cache, 1), thing(4));
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 1);
}
END_TEST

static int never_runs(void (*task)(void *arg), void *arg, void *user)
{
	(void)task;
	*(void **)user = arg;
	return 0;
}

/* A function of compute that gives the value another time, and then says what `user` points to. */
static int sets_the_time(const void *key, void *old, void **value, void *user)
{
	*value = old;
	return weakref_cache_policy_set_remaining(cache, key, 50) < 0 ? -EPROTO : *(const int *)user;
}

/* R211: an entry that is being reloaded or computed is there like any other: its time can be set, or ended by a read, and maintenance takes it
 * out when that is over. */
START_TEST(test_times_while_it_is_busy)
{
	const weakref_cache_expiry expiry = {.create = on_create, .update = on_update, .read = on_read};
	const weakref_cache_loader loader = {.load = load};
	void **task = gc_alloc(sizeof *task);
	weakref_cache_builder *b = builder("refreshAfterWrite=10s");

	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	ck_assert_int_eq(weakref_cache_builder_executor(b, never_runs, task), 0);
	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	for (int by_read = 0; by_read < 2; by_read++) {
		build(b);
		at_read = INFINITY;
		PUT(cache, 1, thing(1));
		now_ns += 10 * SECOND;
		*task = NULL;
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		ck_assert_ptr_nonnull(*task);
		at_read = 5;
		if (by_read)
			ck_assert_ptr_eq(GET(cache, 1), thing(1));
		else
			ck_assert_int_eq(weakref_cache_policy_set_remaining(cache, KEY(1), 5), 0);
		ck_assert_double_eq(remaining(1), 5);
		now_ns += 5 * SECOND;
		ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
	}
	SUPPORT_KEEP(task);
	for (int result = -EBUSY; result <= 0; result += EBUSY) {
		build_varying("", false);
		PUT(cache, 1, thing(1));
		now_ns += 5 * SECOND;
		ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), sets_the_time, &result, NULL), result);
		ck_assert_double_eq(remaining(1), 50);
		now_ns += 50 * SECOND;
		ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
	}
}
END_TEST

/* ---- orders ---- */

/* Who expires first, by each rule, and the other way round; what is expired is not in it. */
START_TEST(test_expiring)
{
	weakref_pair pairs[30];

	build(builder("expireAfterWrite=1000s"));
	for (intptr_t i = 0; i < 20; i++) {
		PUT(cache, i * 7 % 20, thing((size_t)(i * 7 % 20)));
		now_ns += SECOND;
	}
	PUT(cache, 7, thing(100));
	now_ns += SECOND;
	for (int last = 0; last < 2; last++) {
		ck_assert_int_eq(weakref_cache_policy_expiring(cache, last != 0, pairs, 30), 20);
		ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[last ? 0 : 19].key), 7);
		ck_assert_ptr_eq(pairs[last ? 0 : 19].value, thing(100));
		for (size_t i = 0; i < 19; i++) {
			double a = remaining(WEAKREF_INT_VALUE(pairs[i].key)), b = remaining(WEAKREF_INT_VALUE(pairs[i + 1].key));
			ck_assert(last ? a > b : a < b);
		}
	}
	ck_assert_int_eq(weakref_cache_policy_expiring(cache, false, pairs, 3), 3);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[0].key), 0);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[1].key), 14);
	ck_assert_int_eq(weakref_cache_policy_expiring(cache, false, NULL, 0), 0);
	ck_assert_int_eq(weakref_cache_policy_expiring(cache, false, NULL, 1), -EINVAL);
	now_ns += 984 * SECOND;
	ck_assert_int_eq(weakref_cache_policy_expiring(cache, false, pairs, 30), 15);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[0].key), 2);
	build(builder("expireAfterAccess=1000s"));
	for (intptr_t i = 0; i < 5; i++)
		PUT(cache, i, thing(1));
	now_ns += SECOND;
	GET(cache, 0);
	ck_assert_int_eq(weakref_cache_policy_expiring(cache, true, pairs, 1), 1);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[0].key), 0);
	build_varying("", true);
	PUT(cache, 1, thing(1));
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(2), thing(2), 50), 0);
	ck_assert_int_eq(weakref_cache_policy_put(cache, KEY(3), thing(3), 5), 0);
	ck_assert_int_eq(weakref_cache_policy_expiring(cache, false, pairs, 30), 3);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[0].key), 3);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[1].key), 2);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[2].key), 1);
	build(builder("maximumSize=10"));
	ck_assert_int_eq(weakref_cache_policy_expiring(cache, false, pairs, 30), -ENOTSUP);
}
END_TEST

/* Keys that are copied outlive their entries, in either order. */
START_TEST(test_orders_of_strings)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	weakref_pair pairs[64];
	char text[32];

	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumSize=100,expireAfterWrite=1h"), 0);
	build(b);
	for (int by_time = 0; by_time < 2; by_time++) {
		for (int i = 0; i < 64; i++) {
			snprintf(text, sizeof text, "the key number %d", i);
			ck_assert_int_eq(weakref_cache_put(cache, text, thing((size_t)i)), 0);
		}
		long n = by_time ? weakref_cache_policy_expiring(cache, false, pairs, 64) : weakref_cache_policy_order(cache, false, pairs, 64);
		ck_assert_int_eq(n, 64);
		weakref_cache_invalidate_all(cache);
		support_collect();
		for (long i = 0; i < n; i++) {
			snprintf(text, sizeof text, "the key number %d", (int)((char *)pairs[i].value - things));
			ck_assert_str_eq(pairs[i].key, text);
		}
	}
}
END_TEST

static _Atomic uint64_t shared_ns;

static uint64_t shared_tick(void *user)
{
	(void)user;
	return shared_ns;
}

enum { KEYS = 500 };

/* The first lists and peeks, the others write, remove, and move the clock. */
static int use_at_once(void *arg)
{
	unsigned role = *(unsigned *)arg;
	uint64_t state = support_seed() + role;
	weakref_pair pairs[64];
	void *value;

	for (size_t i = support_scaled(20000, 200); i > 0; i--) {
		intptr_t key = (intptr_t)(support_random(&state) % KEYS);
		char text[32];
		snprintf(text, sizeof text, "key %d", (int)key);
		if (role == 0) {
			long n = i % 16 == 0 ? weakref_cache_policy_expiring(cache, i % 32 == 0, pairs, 64) : 0;
			SUPPORT_REQUIRE(n >= 0);
			for (long k = 0; k < n; k++) {
				snprintf(text, sizeof text, "key %d", (int)((char *)pairs[k].value - things));
				SUPPORT_REQUIRE(strcmp(pairs[k].key, text) == 0);
			}
			int error = weakref_cache_policy_peek(cache, text, &value);
			SUPPORT_REQUIRE(error == -ENOENT || (error == 0 && strtol(text + 4, NULL, 10) == (char *)value - things));
		} else if (i % 8 == 0) {
			SUPPORT_REQUIRE(weakref_cache_invalidate(cache, text) == 0);
		} else if (i % 2 == 0) {
			SUPPORT_REQUIRE(weakref_cache_policy_put(cache, text, thing((size_t)key), (double)(i % 7)) == 0);
		} else {
			SUPPORT_REQUIRE(weakref_cache_policy_put_if_absent(cache, text, thing((size_t)key), 3) == thing((size_t)key));
			shared_ns += SECOND / 16;
		}
	}
	return 0;
}

/* Lists are of what was there, whatever others do meanwhile. */
START_TEST(test_lists_of_a_busy_cache)
{
	const weakref_cache_expiry expiry = {.create = on_create, .user = things};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	unsigned roles[3] = {0, 1, 2};

	shared_ns = 1000 * SECOND;
	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumSize=400"), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, shared_tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	build(b);
	ck_assert_int_eq(support_threads(3, use_at_once, roles, sizeof *roles), 0);
	ck_assert_uint_le(weakref_cache_len(cache), 400);
}
END_TEST

/* Each allocation of a list fails once: it is refused, and the cache is as it was. */
START_TEST(test_no_memory)
{
	weakref_pair pairs[20];

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	build_varying("", false);
	for (intptr_t i = 0; i < 20; i++)
		PUT(cache, i, thing((size_t)i));
	for (unsigned long n = 1;; n++) {
		weakref_checks_fail_allocation(n);
		long listed = weakref_cache_policy_expiring(cache, false, pairs, 20);
		int error = weakref_cache_policy_put(cache, KEY(1), thing(5), 3);
		bool over = weakref_checks_fail_allocation(0) != 0;
		ck_assert(listed == 20 || listed == -ENOMEM);
		ck_assert(error == 0 || error == -ENOMEM);
		ck_assert_uint_eq(weakref_cache_len(cache), 20);
		if (over)
			break;
		PUT(cache, 1, thing(1));
	}
	ck_assert_double_eq(remaining(1), 3);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_inspect");
	TCase *tc = support_tcase("cache_inspect");

	tcase_add_test(tc, test_peek);
	tcase_add_test(tc, test_weights);
	tcase_add_test(tc, test_another_maximum);
	tcase_add_test(tc, test_another_time);
	tcase_add_loop_test(tc, test_R271_for_ever_at_first, 0, 3);
	tcase_add_test(tc, test_over_stays_over);
	tcase_add_test(tc, test_long_times);
	tcase_add_test(tc, test_put_for_a_time);
	tcase_add_test(tc, test_times_by_reads);
	tcase_add_test(tc, test_times_while_it_is_busy);
	tcase_add_test(tc, test_expiring);
	tcase_add_test(tc, test_orders_of_strings);
	tcase_add_test(tc, test_lists_of_a_busy_cache);
	tcase_add_test(tc, test_no_memory);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

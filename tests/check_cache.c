/* SPDX-License-Identifier: MIT */
/*
 * check_cache: weakref/cache.h without loads: storing and removing, bounds, expiry, notices, figures, the cache as a map, inspection. Tests named h01 and so on are the lines of the conformance list. The clock is the tests' own.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "weakref/cache.h"
#include "weakref/checks.h"

#define SECOND UINT64_C(1000000000)

static uint64_t now_ns;

static uint64_t tick(void *user)
{
	(void)user;
	return now_ns;
}

/* ---- who listens ---- */

#define NOTICES 4096

static struct notice {
	intptr_t key;
	const void *value;
	enum weakref_cause cause;
} notices[NOTICES];
static size_t told;
static int listener_result;

static int listen(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)user;
	if (told < NOTICES)
		notices[told] = (struct notice){.key = WEAKREF_INT_VALUE(key), .value = value, .cause = cause};
	told++;
	return listener_result;
}

static void start(void)
{
	told = 0;
	listener_result = 0;
	now_ns = 1000 * SECOND;
}

static size_t told_of(enum weakref_cause cause)
{
	size_t n = 0;

	for (size_t i = 0; i < told && i < NOTICES; i++)
		n += notices[i].cause == cause;
	return n;
}

/* ---- caches ---- */

static char things[NOTICES];

static void *thing(size_t i)
{
	return &things[i];
}

static weakref_cache_builder *builder(const char *spec)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen, NULL), 0);
	return b;
}

static weakref_cache *cache_of(const char *spec)
{
	start();
	weakref_cache *cache = weakref_cache_builder_build(builder(spec));

	ck_assert_ptr_nonnull(cache);
	return cache;
}

#define KEY(n) WEAKREF_INT(n)
#define PUT(cache, n, value) ck_assert_int_eq(weakref_cache_put(cache, KEY(n), value), 0)
#define GET(cache, n) weakref_cache_get_if_present(cache, KEY(n))
#define CLEAN(cache) ck_assert_int_eq(weakref_cache_cleanup(cache), 0)

/* ---- storing ---- */

/* H01: put, get, invalidate and len; what is absent is no value, and nothing is loaded. */
START_TEST(test_h01_basics)
{
	weakref_cache *cache = cache_of("");
	void *value = thing(0);

	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_int_eq(weakref_cache_lookup(cache, KEY(1), &value), -ENOENT);
	ck_assert_ptr_null(value);
	PUT(cache, 1, thing(1));
	PUT(cache, 2, thing(2));
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	ck_assert_int_eq(weakref_cache_lookup(cache, KEY(2), &value), 0);
	ck_assert_ptr_eq(value, thing(2));
	ck_assert_uint_eq(weakref_cache_len(cache), 2);
	PUT(cache, 1, thing(3));
	ck_assert_ptr_eq(GET(cache, 1), thing(3));
	ck_assert_uint_eq(weakref_cache_len(cache), 2);
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	for (intptr_t i = 10; i < 2000; i++)
		PUT(cache, i, thing((size_t)i));
	for (intptr_t i = 10; i < 2000; i++)
		ck_assert_ptr_eq(GET(cache, i), thing((size_t)i));
	const weakref_pair pairs[] = {{KEY(2), thing(5)}, {KEY(3000), thing(6)}, {KEY(3001), NULL}, {KEY(3002), thing(7)}};
	ck_assert_int_eq(weakref_cache_put_all(cache, pairs, 0), 0);
	ck_assert_int_eq(weakref_cache_put_all(cache, NULL, 1), -EINVAL);
	ck_assert_int_eq(weakref_cache_put_all(cache, pairs, 2), 0);
	ck_assert_ptr_eq(GET(cache, 2), thing(5));
	ck_assert_ptr_eq(GET(cache, 3000), thing(6));
	ck_assert_int_eq(weakref_cache_put_all(cache, &pairs[2], 2), -EINVAL);
	ck_assert_ptr_null(GET(cache, 3002));
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(3000)), 0);
	const void *some[] = {KEY(10), KEY(11), KEY(5)};
	ck_assert_int_eq(weakref_cache_invalidate_keys(cache, some, 3), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 1989);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_ptr_null(GET(cache, 12));
	PUT(cache, 12, thing(1));
	ck_assert_ptr_eq(GET(cache, 12), thing(1));
	ck_assert_int_eq(weakref_cache_get(cache, KEY(99), &value), -ENOTSUP);
}
END_TEST

/* Bad arguments are refused, and change nothing. */
START_TEST(test_bad_arguments)
{
	weakref_cache *cache = cache_of("");
	void *value;
	char buf[64];

	ck_assert_int_eq(weakref_cache_put(NULL, KEY(1), thing(1)), -EINVAL);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), NULL), -EINVAL);
	ck_assert_int_eq(weakref_cache_put((void *)buf, KEY(1), thing(1)), -EINVAL);
	ck_assert_int_eq(weakref_cache_lookup(NULL, KEY(1), &value), -EINVAL);
	ck_assert_ptr_null(weakref_cache_get_if_present(NULL, KEY(1)));
	ck_assert_int_eq(weakref_cache_invalidate(NULL, KEY(1)), -EINVAL);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(1), NULL, NULL, &value), -EINVAL);
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(weakref_cache_get_stats(cache, NULL), -EINVAL);
	ck_assert_int_eq(weakref_cache_contains_value(cache, NULL), -EINVAL);
	ck_assert_uint_eq(weakref_cache_len(NULL), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_ptr_null(weakref_cache_iter_new(NULL));
	ck_assert_int_gt(gc_repr(cache, buf, sizeof buf), 0);
	ck_assert_ptr_nonnull(strstr(buf, "cache"));
}
END_TEST

/* ---- bounds ---- */

/* H10: with a bound of N, N + k puts leave at most N entries, and k evictions are counted. */
START_TEST(test_h10_size_bound)
{
	weakref_cache *cache = cache_of("maximumSize=100,recordStats");
	weakref_cache_stats stats;

	for (intptr_t i = 0; i < 1000; i++)
		PUT(cache, i, thing((size_t)i));
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 100);
	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	ck_assert_uint_eq(stats.evictions, 900);
	ck_assert_uint_eq(stats.eviction_weight, 900);
	ck_assert_uint_eq(told, 900);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_SIZE), 900);
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, 10), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 10);
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, -1), -EINVAL);
	ck_assert_int_eq(weakref_cache_policy_set_maximum(cache_of(""), 5), -ENOTSUP);
}
END_TEST

/* H11: entries that are read often survive inserts that evict. */
START_TEST(test_h11_recently_read_survives)
{
	weakref_cache *cache = cache_of("maximumSize=100");

	for (intptr_t i = 0; i < 100; i++)
		PUT(cache, i, thing((size_t)i));
	for (int round = 0; round < 5; round++)
		for (intptr_t i = 0; i < 50; i++)
			GET(cache, i);
	CLEAN(cache);
	for (intptr_t i = 1000; i < 1100; i++) {
		PUT(cache, i, thing(1));
		ck_assert_ptr_eq(GET(cache, i % 50), thing((size_t)(i % 50)));
	}
	size_t kept = 0;
	for (intptr_t i = 0; i < 50; i++)
		kept += GET(cache, i) != NULL;
	ck_assert_uint_ge(kept, 45);
}
END_TEST

/* H12: with a bound of 0 an entry is gone at once. */
START_TEST(test_h12_bound_of_nothing)
{
	weakref_cache *cache = cache_of("maximumSize=0");

	PUT(cache, 1, thing(1));
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_SIZE), 1);
	ck_assert_ptr_eq(notices[0].value, thing(1));
}
END_TEST

static unsigned weighed;
static bool weighs_negative;

static int64_t weigh(const void *key, void *value, void *user)
{
	(void)value;
	(void)user;
	weighed++;
	if (weighs_negative)
		return -ENOTSUP;
	return WEAKREF_INT_VALUE(key) % 10 == 9 ? -1 : WEAKREF_INT_VALUE(key) % 10;
}

static weakref_cache *weighted(const char *spec)
{
	weakref_cache_builder *b = (start(), builder(spec));

	weighed = 0;
	ck_assert_int_eq(weakref_cache_builder_weigher(b, weigh, NULL), 0);
	return weakref_cache_builder_build(b);
}

/* H13: the total weight stays within the bound; an entry is weighed when it is stored, and never else. */
START_TEST(test_h13_weight_bound)
{
	weakref_cache *cache = weighted("maximumWeight=50,recordStats");
	weakref_cache_policy policy;

	for (intptr_t i = 0; i < 80; i++) {
		PUT(cache, i * 10 + 5, thing(1));
		GET(cache, i * 10 + 5);
		ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
		ck_assert_uint_le(policy.weight, 50);
	}
	CLEAN(cache);
	ck_assert_uint_eq(weighed, 80);
	ck_assert_uint_eq(weakref_cache_len(cache), 10);
	weakref_cache_stats stats;
	weakref_cache_get_stats(cache, &stats);
	ck_assert_uint_eq(stats.eviction_weight, 70 * 5);
}
END_TEST

/* H14: what weighs nothing is never evicted for size; a negative weight is refused, and the entry that was there stays. */
START_TEST(test_h14_weightless_and_negative)
{
	weakref_cache *cache = weighted("maximumWeight=20");

	for (intptr_t i = 1; i <= 50; i++)
		PUT(cache, i * 10, thing(1));
	for (intptr_t i = 1; i <= 50; i++)
		PUT(cache, i * 10 + 4, thing(2));
	ck_assert_uint_eq(weakref_cache_len(cache), 55);
	for (intptr_t i = 1; i <= 50; i++)
		ck_assert_ptr_eq(GET(cache, i * 10), thing(1));
	ck_assert_int_eq(weakref_cache_put(cache, KEY(9), thing(1)), -1);
	ck_assert_ptr_null(GET(cache, 9));
	weighs_negative = true;
	ck_assert_int_eq(weakref_cache_put(cache, KEY(10), thing(3)), -ENOTSUP);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1000), thing(3)), -ENOTSUP);
	weighs_negative = false;
	ck_assert_ptr_eq(GET(cache, 10), thing(1));
	ck_assert_ptr_null(GET(cache, 1000));
	ck_assert_uint_eq(weakref_cache_len(cache), 55);
}
END_TEST

/* ---- expiry ---- */

/* H16: after write: not readable after the time, reads do not extend it, a write does. */
START_TEST(test_h16_expire_after_write)
{
	weakref_cache *cache = cache_of("expireAfterWrite=10s");
	double seconds;

	PUT(cache, 1, thing(1));
	PUT(cache, 2, thing(2));
	now_ns += 9 * SECOND;
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	ck_assert_int_eq(weakref_cache_policy_remaining(cache, KEY(1), &seconds), 0);
	ck_assert_double_eq(seconds, 1);
	PUT(cache, 2, thing(3));
	now_ns += SECOND;
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_ptr_eq(GET(cache, 2), thing(3));
	now_ns += 9 * SECOND - 1;
	ck_assert_ptr_eq(GET(cache, 2), thing(3));
	now_ns += 1;
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(2)), 0);
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPIRED), 2);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_REPLACED), 1);
	ck_assert_uint_eq(told, 3);
}
END_TEST

/* H17: after access: reads and writes extend it, iterating does not. */
START_TEST(test_h17_expire_after_access)
{
	weakref_cache *cache = cache_of("expireAfterAccess=10s");

	PUT(cache, 1, thing(1));
	PUT(cache, 2, thing(2));
	PUT(cache, 3, thing(3));
	for (int i = 0; i < 5; i++) {
		now_ns += 6 * SECOND;
		if (i == 1)
			CLEAN(cache);
		weakref_cache_iter *iter = weakref_cache_iter_new(cache);
		while (weakref_cache_iter_next(iter, NULL, NULL) > 0)
			;
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
		PUT(cache, 2, thing(2));
		weakref_cache_contains(cache, KEY(3));
	}
	ck_assert_ptr_null(GET(cache, 3));
	ck_assert_uint_eq(weakref_cache_len(cache), 2);
	now_ns += 10 * SECOND;
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPIRED), 3);
}
END_TEST

/* H18: a time of 0: the entry is gone at once. */
START_TEST(test_h18_expire_at_once)
{
	weakref_cache *cache = cache_of("expireAfterWrite=0s");

	PUT(cache, 1, thing(1));
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPIRED), 1);
	cache = cache_of("expireAfterAccess=0s");
	PUT(cache, 1, thing(1));
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPIRED), 1);
}
END_TEST

static double created, updated, at_read;

static double on_create(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return created;
}

static double on_update(const void *key, void *value, double remaining, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return updated < 0 ? remaining : updated;
}

static double on_read(const void *key, void *value, double remaining, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return at_read < 0 ? remaining : at_read;
}

/* Per entry: create, update and read each set the time; it can be set from outside; nonsense is refused. */
START_TEST(test_expiry_of_each_entry)
{
	weakref_cache_expiry expiry = {.create = on_create, .update = on_update, .read = on_read};
	weakref_cache_builder *b = (start(), builder(""));
	double seconds;

	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	ck_assert_int_eq(weakref_cache_builder_expire_after_write(b, 1), -EINVAL);
	weakref_cache *cache = weakref_cache_builder_build(b);
	created = 10;
	updated = at_read = -1;
	PUT(cache, 1, thing(1));
	created = INFINITY;
	PUT(cache, 2, thing(2));
	created = NAN;
	ck_assert_int_eq(weakref_cache_put(cache, KEY(3), thing(3)), -EINVAL);
	now_ns += 4 * SECOND;
	ck_assert_int_eq(weakref_cache_policy_remaining(cache, KEY(1), &seconds), 0);
	ck_assert_double_eq(seconds, 6);
	PUT(cache, 1, thing(4));
	weakref_cache_policy_remaining(cache, KEY(1), &seconds);
	ck_assert_double_eq(seconds, 6);
	updated = 100;
	PUT(cache, 1, thing(5));
	at_read = 3;
	ck_assert_ptr_eq(GET(cache, 1), thing(5));
	weakref_cache_policy_remaining(cache, KEY(1), &seconds);
	ck_assert_double_eq(seconds, 3);
	now_ns += 3 * SECOND;
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	weakref_cache_policy_remaining(cache, KEY(2), &seconds);
	ck_assert(isinf(seconds));
	ck_assert_int_eq(weakref_cache_policy_set_remaining(cache, KEY(2), 5), 0);
	ck_assert_int_eq(weakref_cache_policy_set_remaining(cache, KEY(1), 5), -ENOENT);
	now_ns += 5 * SECOND;
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPIRED), 2);
}
END_TEST

static double left_as_it_was(const void *key, void *value, double remaining, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return remaining;
}

/* What `update` and `read` were told to be left, and give back, changes nothing: Expiry.expireAfterRead(key, value, now, currentDuration) of
 * Caffeine, which returns currentDuration for that. Nor is any time cut off that a program gives. */
START_TEST(test_time_given_back)
{
	static const struct {
		double seconds;
		uint64_t ns;
	} times[] = {{0.57, 570000000}, {0.29, 290000000}, {1.1, 1100000000}, {9e-9, 9}, {86400.000000001, 86400000000001}};
	weakref_cache_expiry expiry = {.create = on_create, .update = left_as_it_was, .read = left_as_it_was};

	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		weakref_cache_builder *b = (start(), builder(""));
		now_ns = 123456789;
		ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
		weakref_cache *cache = weakref_cache_builder_build(b);
		created = times[i].seconds;
		PUT(cache, 1, thing(1));
		for (int turn = 0; turn < 300; turn++) {
			now_ns += times[i].ns / 300;
			if (turn == 299)
				now_ns = 123456789 + times[i].ns - 1;
			ck_assert_ptr_eq(GET(cache, 1), thing(1));
			PUT(cache, 1, thing(1));
		}
		now_ns++;
		ck_assert_ptr_null(GET(cache, 1));
	}
}
END_TEST

/* A clock that is at its end is one like others: what is to live on lives on. Overflow of now + duration: Caffeine's Expiry with
 * Long.MAX_VALUE, ExpiringMap with long times. */
START_TEST(test_clock_at_its_end)
{
	static const double never[] = {INFINITY, 1e9, 9.3e9, 1e18, 1e300};

	for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
		weakref_cache_builder *b = (start(), builder(""));
		ck_assert_int_eq(weakref_cache_builder_expire_after(b, &(weakref_cache_expiry){.create = on_create}), 0);
		weakref_cache *cache = weakref_cache_builder_build(b);
		created = never[i];
		PUT(cache, 1, thing(1));
		/* It keeps no shorter time of another entry from being over. */
		created = 1;
		PUT(cache, 2, thing(2));
		now_ns += SECOND;
		CLEAN(cache);
		ck_assert_uint_eq(weakref_cache_len(cache), 1);
		now_ns = UINT64_MAX;
		CLEAN(cache);
		ck_assert_ptr_eq(GET(cache, 1), thing(1));
	}
	weakref_cache *cache = cache_of("expireAfterWrite=10s");
	now_ns = UINT64_MAX - 5 * SECOND;
	PUT(cache, 1, thing(1));
	now_ns = UINT64_MAX;
	PUT(cache, 2, thing(2));
	CLEAN(cache);
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	ck_assert_ptr_eq(GET(cache, 2), thing(2));
}
END_TEST

/* A clock that goes back expires nothing, and breaks nothing. */
START_TEST(test_clock_going_back)
{
	weakref_cache *cache = cache_of("expireAfterWrite=10s,expireAfterAccess=10s");

	PUT(cache, 1, thing(1));
	now_ns -= 500 * SECOND;
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	PUT(cache, 2, thing(2));
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 2);
	now_ns += 10 * SECOND;
	ck_assert_ptr_null(GET(cache, 2));
	now_ns += 1000 * SECOND;
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPIRED), 2);
}
END_TEST

/* The library's own clock, moved by --enable-checks. */
START_TEST(test_virtual_clock)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	weakref_checks_clock_advance(0);
	ck_assert_int_eq(weakref_cache_builder_spec(b, "expireAfterWrite=1h"), 0);
	weakref_cache *cache = weakref_cache_builder_build(b);
	PUT(cache, 1, thing(1));
	weakref_checks_clock_advance(3599 * SECOND);
	ck_assert_ptr_eq(GET(cache, 1), thing(1));
	weakref_checks_clock_advance(SECOND);
	ck_assert_ptr_null(GET(cache, 1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
}
END_TEST

/* H21: the clean-up call does all that is due. H22: without it writes do it, and reads that meet something dead. */
START_TEST(test_h21_h22_maintenance)
{
	weakref_cache *cache = cache_of("expireAfterWrite=10s,maximumSize=1000");

	for (intptr_t i = 0; i < 500; i++)
		PUT(cache, i, thing(1));
	now_ns += 10 * SECOND;
	ck_assert_uint_eq(weakref_cache_len(cache), 500);
	CLEAN(cache);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told, 500);
	for (intptr_t i = 0; i < 500; i++)
		PUT(cache, i, thing(1));
	now_ns += 10 * SECOND;
	PUT(cache, 1000, thing(1));
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	ck_assert_uint_eq(told, 1000);
	now_ns += 10 * SECOND;
	ck_assert_ptr_null(GET(cache, 1000));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told, 1001);
}
END_TEST

/* ---- notices ---- */

/* H31: each cause from its trigger, one notice for each entry (COLLECTED: check_cache_weak). */
START_TEST(test_h31_causes)
{
	weakref_cache *cache = cache_of("maximumSize=2,expireAfterWrite=10s");

	PUT(cache, 1, thing(1));
	PUT(cache, 1, thing(2));
	ck_assert_uint_eq(told, 1);
	ck_assert_int_eq(notices[0].cause, WEAKREF_CAUSE_REPLACED);
	ck_assert_ptr_eq(notices[0].value, thing(1));
	ck_assert_int_eq(notices[0].key, 1);
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	ck_assert_uint_eq(told, 2);
	ck_assert_int_eq(notices[1].cause, WEAKREF_CAUSE_EXPLICIT);
	ck_assert_ptr_eq(notices[1].value, thing(2));
	PUT(cache, 2, thing(1));
	PUT(cache, 3, thing(1));
	PUT(cache, 4, thing(1));
	ck_assert_uint_eq(told, 3);
	ck_assert_int_eq(notices[2].cause, WEAKREF_CAUSE_SIZE);
	now_ns += 10 * SECOND;
	/* What is expired goes for that, whatever the program says about it. */
	for (intptr_t i = 2; i <= 4; i++)
		ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(i)), 0);
	ck_assert_uint_eq(told, 5);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPIRED), 2);
	PUT(cache, 5, thing(7));
	PUT(cache, 5, thing(7));
	ck_assert_uint_eq(told, 5);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(told, 6);
	ck_assert_int_eq(notices[5].cause, WEAKREF_CAUSE_EXPLICIT);
}
END_TEST

static unsigned unraised;
static int unraised_error;

static void unraisable(const gc_unraisable *info, void *user)
{
	(void)user;
	unraised++;
	unraised_error = info->error;
}

/* H32: a listener that fails is reported, and the operation goes on. */
START_TEST(test_h32_failing_listener)
{
	weakref_cache *cache = cache_of("");

	unraised = 0;
	gc_set_unraisable_handler(unraisable, NULL);
	listener_result = -EBUSY;
	PUT(cache, 1, thing(1));
	PUT(cache, 1, thing(2));
	ck_assert_uint_eq(unraised, 1);
	ck_assert_int_eq(unraised_error, -EBUSY);
	ck_assert_ptr_eq(GET(cache, 1), thing(2));
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	ck_assert_uint_eq(unraised, 2);
	gc_set_unraisable_handler(NULL, NULL);
}
END_TEST

static weakref_cache *nested;
static unsigned nesting, deepest;

static int listen_and_use(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)value;
	(void)cause;
	(void)user;
	nesting++;
	told++;
	if (nesting > deepest)
		deepest = nesting;
	if (told < 100)
		weakref_cache_put(nested, KEY(1000 + (intptr_t)told), thing(1));
	weakref_cache_get_if_present(nested, key);
	weakref_cache_cleanup(nested);
	nesting--;
	return 0;
}

/* A listener may use its cache: what it causes is told of afterwards, not within. */
START_TEST(test_listener_uses_the_cache)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	start();
	nesting = deepest = 0;
	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumSize=1"), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_and_use, NULL), 0);
	nested = weakref_cache_builder_build(b);
	PUT(nested, 1, thing(1));
	PUT(nested, 2, thing(1));
	ck_assert_uint_ge(told, 100);
	ck_assert_uint_eq(deepest, 1);
	ck_assert_uint_eq(weakref_cache_len(nested), 1);
	nested = NULL;
}
END_TEST

/* ---- figures ---- */

/* H39: figures are zero where they are off; where they are on, they are what was done. Removing is no eviction. */
START_TEST(test_h39_figures)
{
	weakref_cache *off = cache_of("maximumSize=10"), *on = cache_of("maximumSize=10,recordStats");
	weakref_cache_stats stats, zero = {0};

	for (int turn = 0; turn < 2; turn++) {
		weakref_cache *cache = turn == 0 ? off : on;
		for (intptr_t i = 0; i < 15; i++)
			PUT(cache, i, thing(1));
		for (intptr_t i = 100; i < 107; i++)
			GET(cache, i);
		for (int i = 0; i < 9; i++) {
			PUT(cache, 50, thing(1));
			GET(cache, 50);
		}
		weakref_cache_invalidate(cache, KEY(50));
	}
	ck_assert_int_eq(weakref_cache_get_stats(off, &stats), 0);
	ck_assert_mem_eq(&stats, &zero, sizeof stats);
	ck_assert_int_eq(weakref_cache_get_stats(on, &stats), 0);
	ck_assert_uint_eq(stats.misses, 7);
	ck_assert_uint_eq(stats.hits, 9);
	ck_assert_uint_eq(stats.evictions, 6);
	ck_assert_double_eq(weakref_cache_stats_hit_rate(&stats), 9.0 / 16);
	ck_assert_double_eq(weakref_cache_stats_miss_rate(&stats), 7.0 / 16);
}
END_TEST

/* ---- as a map ---- */

/* H41: the map's operations count nothing, and iterating goes on while the cache changes. */
START_TEST(test_h41_view)
{
	weakref_cache *cache = cache_of("recordStats");
	weakref_cache_stats stats, zero = {0};
	unsigned char seen[1000] = {0};
	const void *key;
	void *value;

	for (intptr_t i = 0; i < 300; i++)
		PUT(cache, i, thing((size_t)i));
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	for (intptr_t step = 0; weakref_cache_iter_next(iter, &key, &value) > 0; step++) {
		intptr_t i = WEAKREF_INT_VALUE(key);
		ck_assert(i >= 0 && i < 1000);
		ck_assert_uint_eq(seen[i]++, 0);
		ck_assert_ptr_eq(value, thing((size_t)i));
		PUT(cache, 300 + step % 700, thing((size_t)(300 + step % 700)));
		if (i >= 200)
			ck_assert_int_eq(weakref_cache_remove(cache, KEY(i), NULL, NULL), 1);
		PUT(cache, i / 2, thing((size_t)i / 2));
	}
	for (size_t i = 0; i < 100; i++)
		ck_assert_uint_eq(seen[i], 1);
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 1);
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(5000)), 0);
	ck_assert_int_eq(weakref_cache_contains_value(cache, thing(1)), 1);
	ck_assert_int_eq(weakref_cache_contains_value(cache, thing(4000)), 0);
	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	ck_assert_mem_eq(&stats, &zero, sizeof stats);
	ck_assert_int_eq(weakref_cache_iter_next(NULL, NULL, NULL), -EINVAL);
}
END_TEST

/* H25: replace and remove of an expected value compare by identity, as contains-value does. */
START_TEST(test_h25_conditional_writes)
{
	weakref_cache *cache = cache_of("");
	void *value;

	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), NULL, thing(1)), 0);
	ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(1)), thing(1));
	ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(2)), thing(1));
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), thing(2), thing(3)), 0);
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), thing(1), thing(3)), 1);
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), NULL, thing(4)), 1);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), thing(3), &value), 0);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), thing(4), &value), 1);
	ck_assert_ptr_eq(value, thing(4));
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), NULL, &value), 0);
	ck_assert_ptr_null(weakref_cache_put_if_absent(cache, KEY(1), NULL));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_REPLACED), 2);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPLICIT), 1);
}
END_TEST

static unsigned calls;
static int compute_error;
static void *compute_value;
static void *old_seen;

static int compute(const void *key, void *old, void **value, void *user)
{
	(void)key;
	(void)user;
	calls++;
	old_seen = old;
	*value = compute_value;
	return compute_error;
}

static int load_thing(const void *key, void **value, void *user)
{
	(void)key;
	(void)user;
	calls++;
	*value = compute_value;
	return compute_error;
}

static int merge(const void *key, void *old, void *given, void **value, void *user)
{
	(void)key;
	(void)user;
	calls++;
	*value = thing((size_t)((char *)old - things) + (size_t)((char *)given - things));
	return 0;
}

/* H42: compute and its kin: what they store, keep and remove. Their atomicity: check_cache_threads. */
START_TEST(test_h42_compute)
{
	weakref_cache *cache = cache_of("maximumSize=100");
	void *value;

	calls = 0;
	compute_error = 0;
	compute_value = thing(5);
	ck_assert_int_eq(weakref_cache_compute_if_present(cache, KEY(1), compute, NULL, &value), 0);
	ck_assert_ptr_null(value);
	ck_assert_uint_eq(calls, 0);
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(1), load_thing, NULL, &value), 0);
	ck_assert_ptr_eq(value, thing(5));
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(1), load_thing, NULL, &value), 0);
	ck_assert_uint_eq(calls, 1);
	compute_value = thing(6);
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), compute, NULL, &value), 0);
	ck_assert_ptr_eq(old_seen, thing(5));
	ck_assert_ptr_eq(GET(cache, 1), thing(6));
	compute_error = -EBUSY;
	compute_value = thing(7);
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), compute, NULL, &value), -EBUSY);
	ck_assert_ptr_null(value);
	ck_assert_ptr_eq(GET(cache, 1), thing(6));
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(2), compute, NULL, &value), -EBUSY);
	ck_assert_ptr_null(GET(cache, 2));
	compute_error = 0;
	compute_value = NULL;
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(2), compute, NULL, &value), 0);
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(2), load_thing, NULL, &value), 0);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(weakref_cache_compute_if_present(cache, KEY(1), compute, NULL, &value), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_int_eq(weakref_cache_merge(cache, KEY(3), thing(10), merge, NULL, &value), 0);
	ck_assert_ptr_eq(value, thing(10));
	ck_assert_int_eq(weakref_cache_merge(cache, KEY(3), thing(11), merge, NULL, &value), 0);
	ck_assert_ptr_eq(value, thing(21));
	ck_assert_ptr_eq(GET(cache, 3), thing(21));
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_REPLACED), 2);
	ck_assert_uint_eq(told_of(WEAKREF_CAUSE_EXPLICIT), 1);
}
END_TEST

/* ---- inspection ---- */

/* Ages, times that are changed later, and the order of eviction. */
START_TEST(test_inspection)
{
	weakref_cache *cache = cache_of("maximumSize=50,expireAfterWrite=100s,expireAfterAccess=50s");
	weakref_pair pairs[60];
	double seconds;

	for (intptr_t i = 0; i < 20; i++)
		PUT(cache, i, thing((size_t)i));
	now_ns += 30 * SECOND;
	GET(cache, 3);
	now_ns += 10 * SECOND;
	ck_assert_int_eq(weakref_cache_policy_age(cache, WEAKREF_CACHE_AFTER_WRITE, KEY(3), &seconds), 0);
	ck_assert_double_eq(seconds, 40);
	ck_assert_int_eq(weakref_cache_policy_age(cache, WEAKREF_CACHE_AFTER_ACCESS, KEY(3), &seconds), 0);
	ck_assert_double_eq(seconds, 10);
	ck_assert_int_eq(weakref_cache_policy_age(cache, WEAKREF_CACHE_REFRESH, KEY(3), &seconds), -ENOTSUP);
	ck_assert_int_eq(weakref_cache_policy_age(cache, WEAKREF_CACHE_AFTER_WRITE, KEY(77), &seconds), -ENOENT);
	ck_assert_int_eq(weakref_cache_policy_remaining(cache, KEY(4), &seconds), 0);
	ck_assert_double_eq(seconds, 10);
	long cold = weakref_cache_policy_order(cache, false, pairs, 60);
	ck_assert_int_eq(cold, 20);
	ck_assert_int_eq(weakref_cache_policy_order(cache, true, pairs, 1), 1);
	ck_assert_int_eq(WEAKREF_INT_VALUE(pairs[0].key), 3);
	ck_assert_int_eq(weakref_cache_policy_order(cache_of(""), true, pairs, 1), -ENOTSUP);
	ck_assert_int_eq(weakref_cache_policy_set_time(cache, WEAKREF_CACHE_AFTER_ACCESS, 20), 0);
	ck_assert_int_eq(weakref_cache_policy_set_time(cache, WEAKREF_CACHE_REFRESH, 20), -ENOTSUP);
}
END_TEST

/* ---- no memory ---- */

/* Each allocation of a write fails once: it is refused, nothing is changed, and it works the next time. */
START_TEST(test_no_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	weakref_cache *cache = cache_of("maximumSize=100,expireAfterWrite=1h,recordStats");
	void *value;

	for (intptr_t i = 0; i < 40; i++)
		for (unsigned long n = 1;; n++) {
			weakref_checks_fail_allocation(n);
			int error = weakref_cache_put(cache, KEY(i), thing((size_t)i));
			bool over = weakref_checks_fail_allocation(0) != 0;
			ck_assert(error == 0 || error == -ENOMEM);
			if (error != 0)
				ck_assert_ptr_null(GET(cache, i));
			if (over) {
				ck_assert_ptr_eq(GET(cache, i), thing((size_t)i));
				break;
			}
			weakref_cache_invalidate(cache, KEY(i));
		}
	compute_error = 0;
	compute_value = thing(9);
	for (unsigned long n = 1;; n++) {
		weakref_checks_fail_allocation(n);
		int error = weakref_cache_compute(cache, KEY(1), compute, NULL, &value);
		bool over = weakref_checks_fail_allocation(0) != 0;
		ck_assert(error == 0 || error == -ENOMEM);
		if (error != 0)
			ck_assert_ptr_eq(GET(cache, 1), thing(1));
		if (over)
			break;
	}
	for (unsigned long n = 1;; n++) {
		weakref_checks_fail_allocation(n);
		weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
		weakref_cache *made = NULL;
		if (b != NULL && weakref_cache_builder_spec(b, "softValues,expireAfterWrite=1s") == 0)
			made = weakref_cache_builder_build(b);
		bool over = weakref_checks_fail_allocation(0) != 0;
		if (made == NULL)
			ck_assert_int_eq(errno, ENOMEM);
		if (over)
			break;
	}
	ck_assert_int_gt(weakref_checks_validate(), -1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache");
	TCase *tc = support_tcase("cache");

	tcase_add_test(tc, test_h01_basics);
	tcase_add_test(tc, test_bad_arguments);
	tcase_add_test(tc, test_h10_size_bound);
	tcase_add_test(tc, test_h11_recently_read_survives);
	tcase_add_test(tc, test_h12_bound_of_nothing);
	tcase_add_test(tc, test_h13_weight_bound);
	tcase_add_test(tc, test_h14_weightless_and_negative);
	tcase_add_test(tc, test_h16_expire_after_write);
	tcase_add_test(tc, test_h17_expire_after_access);
	tcase_add_test(tc, test_h18_expire_at_once);
	tcase_add_test(tc, test_expiry_of_each_entry);
	tcase_add_test(tc, test_time_given_back);
	tcase_add_test(tc, test_clock_at_its_end);
	tcase_add_test(tc, test_clock_going_back);
	tcase_add_test(tc, test_virtual_clock);
	tcase_add_test(tc, test_h21_h22_maintenance);
	tcase_add_test(tc, test_h31_causes);
	tcase_add_test(tc, test_h32_failing_listener);
	tcase_add_test(tc, test_listener_uses_the_cache);
	tcase_add_test(tc, test_h39_figures);
	tcase_add_test(tc, test_h41_view);
	tcase_add_test(tc, test_h25_conditional_writes);
	tcase_add_test(tc, test_h42_compute);
	tcase_add_test(tc, test_inspection);
	tcase_add_test(tc, test_no_memory);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_cache_load: weakref/cache.h: loading, single flight, invalidation during loads, several keys at once, loaders that fail, recurse, are
 * cancelled; the second level. Tests named h02 and so on are the lines of the conformance list. The clock is the tests' own.
 */
#define GC_THREADS
#include <errno.h>
#include <gc/gc.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loader.h"
#include "weakref/checks.h"

#define THREADS 16

/* ---- loading ---- */

/* H02: the first get loads, the second hits. H44: get-if-present never loads. */
START_TEST(test_h02_h44_load_once)
{
	void *value;

	make_cache("recordStats");
	ck_assert_ptr_null(GET(1));
	ck_assert_uint_eq(loads, 0);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_uint_eq(loads, 1);
	weakref_cache_stats s = stats();
	ck_assert_uint_eq(s.hits, 2);
	ck_assert_uint_eq(s.misses, 2);
	ck_assert_uint_eq(s.load_successes, 1);
	ck_assert_uint_eq(s.load_failures, 0);
}
END_TEST

static int get_five(void *arg)
{
	struct getter *g = arg;

	g->result = weakref_cache_get(cache, KEY(5), &g->value);
	return 0;
}

/* Lets those go who load, when all have missed. */
static void *release_later(void *none)
{
	(void)none;
	until_missed(THREADS);
	hold = false;
	return NULL;
}

/* H03: sixteen threads get one absent key: it is loaded once, and all have the value. H05: or all the error, which is not cached. */
START_TEST(test_h03_h05_single_flight)
{
	struct getter getters[THREADS];
	pthread_t releaser;
	int error = _i == 0 ? 0 : -EBUSY;

	make_cache("recordStats,maximumSize=100");
	memset(getters, 0, sizeof getters);
	load_error = error;
	hold = true;
	pthread_create(&releaser, NULL, release_later, NULL);
	ck_assert_int_eq(support_threads(THREADS, get_five, getters, sizeof *getters), 0);
	pthread_join(releaser, NULL);
	unsigned ran = loads;
	/* One that came when the load had failed has loaded again: a failure is not cached. */
	ck_assert(error != 0 ? ran >= 1 && ran < THREADS / 2 : ran == 1);
	for (size_t i = 0; i < THREADS; i++) {
		ck_assert_int_eq(getters[i].result, error);
		ck_assert_ptr_eq(getters[i].value, error == 0 ? thing(5) : NULL);
	}
	ck_assert_uint_eq(stats().load_failures, error == 0 ? 0 : ran);
	ck_assert_uint_eq(weakref_cache_len(cache), error == 0);
	load_error = 0;
	ck_assert_int_eq(weakref_cache_get(cache, KEY(5), &getters[0].value), 0);
	ck_assert_uint_eq(loads, error == 0 ? ran : ran + 1);
}
END_TEST

/* H05: a failed load is counted and not cached; the next get loads again. H06: no value is an error, and is not cached. */
START_TEST(test_h05_h06_failures)
{
	void *value = thing(0);

	make_cache("recordStats");
	load_error = -EBUSY;
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), -EBUSY);
	ck_assert_ptr_null(value);
	load_error = 0;
	load_none = true;
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), -ENOENT);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	load_none = false;
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_uint_eq(loads, 3);
	ck_assert_uint_eq(stats().load_failures, 2);
	ck_assert_uint_eq(stats().load_successes, 1);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), NULL), -EINVAL);
}
END_TEST

/* H12: with a bound of 0 the loader's value is returned, and gone. */
START_TEST(test_h12_bound_of_nothing)
{
	void *value;

	make_cache("maximumSize=0");
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_uint_eq(loads, 2);
}
END_TEST

static int inner_result;

static int load_recursing(const void *key, void **value, void *user)
{
	void *inner = NULL;

	(void)user;
	if (WEAKREF_INT_VALUE(key) == 0) {
		*value = thing(100);
		return 0;
	}
	inner_result = weakref_cache_get_with(cache, KEY(WEAKREF_INT_VALUE(key) == 7 ? 7 : WEAKREF_INT_VALUE(key) - 1), load_recursing, NULL, &inner);
	*value = inner == NULL ? thing(7) : (char *)inner + 1;
	return 0;
}

static int compute_recursing(const void *key, void *old, void **value, void *user)
{
	(void)old;
	(void)user;
	inner_result = weakref_cache_compute(cache, key, compute_recursing, NULL, NULL);
	*value = thing(1);
	return 0;
}

/* A loader that wants its own key gets EDEADLK; one that wants another gets it. */
START_TEST(test_recursion)
{
	void *value;

	make_cache("maximumSize=100");
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(5), load_recursing, NULL, &value), 0);
	ck_assert_ptr_eq(value, thing(105));
	ck_assert_uint_eq(weakref_cache_len(cache), 6);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(7), load_recursing, NULL, &value), 0);
	ck_assert_int_eq(inner_result, -EDEADLK);
	ck_assert_ptr_eq(value, thing(7));
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(8), compute_recursing, NULL, &value), 0);
	ck_assert_int_eq(inner_result, -EDEADLK);
	ck_assert_ptr_eq(GET(8), thing(1));
}
END_TEST

static _Atomic int deadlocks;
static _Atomic int arrived;

static int load_crosswise(const void *key, void **value, void *user)
{
	void *inner;

	(void)user;
	arrived++;
	while (arrived < 2)
		usleep(100);
	intptr_t other = WEAKREF_INT_VALUE(key) == 1 ? 2 : 1;
	deadlocks += weakref_cache_get_with(cache, KEY(other), load_crosswise, NULL, &inner) == -EDEADLK;
	*value = thing((size_t)WEAKREF_INT_VALUE(key));
	return 0;
}

static int get_crosswise(void *arg)
{
	struct getter *g = arg;

	g->result = weakref_cache_get_with(cache, KEY(g->key), load_crosswise, NULL, &g->value);
	return 0;
}

/* Two loaders that want each other's key: one is told, nobody sleeps for ever. */
START_TEST(test_crosswise)
{
	struct getter getters[2] = {{.key = 1}, {.key = 2}};

	make_cache("");
	deadlocks = arrived = 0;
	ck_assert_int_eq(support_threads(2, get_crosswise, getters, sizeof *getters), 0);
	ck_assert_int_eq(getters[0].result, 0);
	ck_assert_int_eq(getters[1].result, 0);
	ck_assert_int_eq(deadlocks, 1);
	ck_assert_uint_eq(weakref_cache_len(cache), 2);
}
END_TEST

/* What comes while a key is loaded overtakes it: who began before gets the value, and nobody sees it afterwards. */
START_TEST(test_overtaken_loads)
{
	struct getter first, second, third;

	make_cache("maximumSize=100,recordStats");
	hold = true;
	getter_start(&first, 1);
	ck_assert(until_held(1));
	getter_start(&second, 1);
	until_missed(2);
	load_base = 50;
	if (_i == 0)
		ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	else if (_i == 1)
		ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	else
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(99)), 0);
	if (_i < 2) {
		getter_start(&third, 1);
		ck_assert(until_held(2));
	}
	hold = false;
	getter_join(&first);
	getter_join(&second);
	ck_assert_int_eq(first.result, 0);
	ck_assert_ptr_eq(first.value, thing(1));
	ck_assert_ptr_eq(second.value, thing(1));
	if (_i < 2) {
		getter_join(&third);
		ck_assert_ptr_eq(third.value, thing(51));
		ck_assert_ptr_eq(GET(1), thing(51));
	} else {
		ck_assert_ptr_eq(GET(1), thing(99));
	}
	ck_assert_uint_eq(loads, _i < 2 ? 2 : 1);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
}
END_TEST

static int load_for_ever(const void *key, void **value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	held++;
	for (;;)
		pause();
	return 0;
}

static void *get_for_ever(void *none)
{
	void *value;

	weakref_cache_get_with(cache, KEY(1), load_for_ever, NULL, &value);
	return none;
}

/* A loader's thread that is cancelled leaves nothing: a waiter loads in its place. A waiter that is cancelled loses no other. */
START_TEST(test_cancelled)
{
	struct getter second, third;
	pthread_t loader;

	make_cache("recordStats");
	held = 0;
	ck_assert_int_eq(pthread_create(&loader, NULL, get_for_ever, NULL), 0);
	ck_assert(until_held(1));
	getter_start(&second, 1);
	getter_start(&third, 1);
	until_missed(3);
	pthread_cancel(second.thread);
	getter_join(&second);
	pthread_cancel(loader);
	pthread_join(loader, NULL);
	getter_join(&third);
	ck_assert_int_eq(third.result, 0);
	ck_assert_ptr_eq(third.value, thing(1));
	ck_assert_uint_eq(loads, 1);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
	held = 0;
}
END_TEST

static _Atomic unsigned told;

static int listen_and_leave(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)key;
	(void)value;
	(void)cause;
	(void)user;
	if (++told == 1)
		pthread_exit(NULL);
	return 0;
}

static void *invalidate_run(void *none)
{
	weakref_cache_invalidate_all(cache);
	return none;
}

/* A thread that ends in the listener loses no other notice: whoever comes next tells of them. */
START_TEST(test_thread_ends_in_the_listener)
{
	weakref_cache_builder *b = builder("", false, false);
	pthread_t thread;

	told = 0;
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_and_leave, NULL), 0);
	cache = weakref_cache_builder_build(b);
	for (intptr_t i = 0; i < 10; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), thing(1)), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, invalidate_run, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(told, 1);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(told, 10);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
	ck_assert_ptr_eq(GET(1), thing(1));
}
END_TEST

static int listen_and_load(const void *key, void *value, enum weakref_cause cause, void *user)
{
	int *error = user;

	(void)value;
	if (cause != WEAKREF_CAUSE_EXPIRED)
		return 0;
	if (++told == 1)
		pthread_exit(NULL);
	*error = weakref_cache_get(cache, key, &value);
	return 0;
}

static int compute_thing(const void *key, void *old, void **value, void *user)
{
	(void)old;
	return load(key, value, user);
}

static void *look_up_run(void *which)
{
	const void *key = KEY(1);
	void *value;

	switch (*(const int *)which) {
	case 0:
		weakref_cache_get(cache, KEY(1), &value);
		break;
	case 1:
		weakref_cache_refresh(cache, KEY(1));
		break;
	case 2:
		weakref_cache_compute(cache, KEY(1), compute_thing, NULL, &value);
		break;
	default:
		weakref_cache_get_all(cache, &key, 1, &value);
		break;
	}
	return NULL;
}

/* A load that finds the key's old entry expired: the listener that is told of it ends the thread, and the key is there for others; or wants the
 * key, and has it. */
START_TEST(test_expired_entry_is_told_of)
{
	weakref_cache_builder *b = builder("expireAfterWrite=10s", true, true);
	int which = _i, error = 1;
	struct getter second;
	pthread_t thread;

	told = 0;
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_and_load, &error), 0);
	cache = weakref_cache_builder_build(b);
	for (unsigned round = 1; round <= 2; round++) {
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(7)), 0);
		now_ns += 20 * SECOND;
		ck_assert_int_eq(pthread_create(&thread, NULL, look_up_run, &which), 0);
		pthread_join(thread, NULL);
		ck_assert_uint_ge(told, round);
		getter_start(&second, 1);
		getter_join(&second);
		ck_assert_int_eq(second.result, 0);
		ck_assert_ptr_eq(second.value, thing(1));
	}
	ck_assert_int_eq(error, 0);
}
END_TEST

static int fork_child(void *none)
{
	void *value;

	(void)none;
	hold = false;
	/* The parent's thread that loads key 1 is not here. */
	SUPPORT_REQUIRE(weakref_cache_get(cache, KEY(1), &value) == 0);
	SUPPORT_REQUIRE(value == thing(1));
	SUPPORT_REQUIRE(weakref_cache_get(cache, KEY(2), &value) == 0);
	SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(3), thing(3)) == 0);
	return 0;
}

/* A child after fork loads what a thread of its parent was loading. */
START_TEST(test_fork_during_a_load)
{
	struct getter getter;

	make_cache("maximumSize=100");
	hold = true;
	getter_start(&getter, 1);
	ck_assert(until_held(1));
	int result = support_in_child(fork_child, NULL);
	hold = false;
	getter_join(&getter);
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(getter.result, 0);
}
END_TEST

/* ---- several keys ---- */

/* H37: only what is missing is loaded, by one call where there is load_all; extra ones are cached; one that is missing is an error. */
START_TEST(test_h37_get_all)
{
	const void *keys[] = {KEY(1), KEY(2), KEY(3), KEY(2), KEY(4)};
	void *values[5];

	cache = weakref_cache_builder_build(builder("recordStats", false, true));
	ck_assert_int_eq(weakref_cache_put(cache, KEY(2), thing(22)), 0);
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 5, values), 0);
	ck_assert_uint_eq(bulk_calls, 1);
	ck_assert_uint_eq(bulk_keys, 3);
	ck_assert_uint_eq(loads, 0);
	ck_assert_ptr_eq(values[0], thing(1));
	ck_assert_ptr_eq(values[1], thing(22));
	ck_assert_ptr_eq(values[3], thing(22));
	ck_assert_ptr_eq(values[4], thing(4));
	ck_assert_ptr_eq(GET(900), thing(900));
	ck_assert_uint_eq(weakref_cache_len(cache), 5);
	const void *more[] = {KEY(5), KEY(6), KEY(6), KEY(1)};
	bulk_skip = 5;
	ck_assert_int_eq(weakref_cache_get_all(cache, more, 4, values), -ENOENT);
	ck_assert_ptr_null(values[0]);
	ck_assert_ptr_eq(values[1], thing(6));
	ck_assert_ptr_eq(values[2], thing(6));
	ck_assert_ptr_eq(values[3], thing(1));
	ck_assert_ptr_null(GET(5));
	load_error = -EBUSY;
	const void *last[] = {KEY(7), KEY(1)};
	ck_assert_int_eq(weakref_cache_get_all(cache, last, 2, values), -EBUSY);
	ck_assert_ptr_eq(values[1], thing(1));
	ck_assert_int_eq(weakref_cache_get_all(cache, NULL, 2, values), -EINVAL);
	/* Without load_all, one by one. */
	make_cache("");
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 5, values), 0);
	ck_assert_uint_eq(loads, 4);
	ck_assert_ptr_eq(values[3], thing(2));
}
END_TEST

static uint64_t nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static int load_all_slowly(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	usleep(20000);
	return load_all(keys, n, bulk, user);
}

/* R158: one call of load_all is one load, whose time counts once; it failed where load_all did, not where it left a key out. */
START_TEST(test_figures_of_bulk_loads)
{
	const void *keys[] = {KEY(1), KEY(2), KEY(3), KEY(4)};
	const weakref_cache_loader slow = {.load = load, .load_all = load_all_slowly};
	void *values[4];

	cache = weakref_cache_builder_build(builder("recordStats", false, true));
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 0, values), 0);
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 1, values), 0);
	ck_assert_uint_eq(stats().load_successes, 1);
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 4, values), 0);
	ck_assert_uint_eq(stats().load_successes, 2);
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 3, values), 0);
	ck_assert_uint_eq(stats().load_successes, 2);
	ck_assert_uint_eq(stats().hits, 4);
	ck_assert_uint_eq(stats().misses, 4);
	weakref_cache_invalidate_all(cache);
	bulk_skip = 3;
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 4, values), -ENOENT);
	ck_assert_uint_eq(stats().load_successes, 3);
	weakref_cache_invalidate_all(cache);
	load_error = -EBUSY;
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 4, values), -EBUSY);
	ck_assert_uint_eq(stats().load_successes, 3);
	ck_assert_uint_eq(stats().load_failures, 1);
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	ck_assert_int_eq(weakref_cache_builder_record_stats(b), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &slow), 0);
	cache = weakref_cache_builder_build(b);
	load_error = 0;
	bulk_skip = -1;
	uint64_t began = nanoseconds();
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 4, values), 0);
	uint64_t took = nanoseconds() - began;
	ck_assert_uint_ge(stats().load_time_ns, 19000000);
	ck_assert_uint_le(stats().load_time_ns, took);
}
END_TEST

static void *get_all_run(void *arg)
{
	const void *keys[] = {KEY(1), KEY(2)};

	weakref_cache_get_all(cache, keys, 2, arg);
	return NULL;
}

/* A load_all for one call: the cache has no loader, and the rules are those of get_all. */
START_TEST(test_get_all_with)
{
	const void *keys[] = {KEY(1), KEY(2), KEY(3), KEY(2)};
	weakref_cache_builder *b = (builder("", false, false), weakref_cache_builder_new(WEAKREF_KEY_INT));
	void *values[4];

	ck_assert_int_eq(weakref_cache_builder_record_stats(b), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(2), thing(22)), 0);
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 4, values), -ENOTSUP);
	ck_assert_int_eq(weakref_cache_get_all_with(cache, keys, 4, NULL, NULL, values), -EINVAL);
	ck_assert_int_eq(weakref_cache_get_all_with(cache, NULL, 4, load_all, NULL, values), -EINVAL);
	ck_assert_int_eq(weakref_cache_get_all_with(cache, keys, 0, load_all, NULL, NULL), 0);
	ck_assert_uint_eq(bulk_calls, 0);
	ck_assert_int_eq(weakref_cache_get_all_with(cache, keys, 4, load_all, NULL, values), 0);
	ck_assert_uint_eq(bulk_calls, 1);
	ck_assert_uint_eq(bulk_keys, 2);
	ck_assert_ptr_eq(values[0], thing(1));
	ck_assert_ptr_eq(values[1], thing(22));
	ck_assert_ptr_eq(values[2], thing(3));
	ck_assert_ptr_eq(values[3], thing(22));
	ck_assert_ptr_eq(GET(900), thing(900));
	ck_assert_int_eq(weakref_cache_get_all_with(cache, keys, 4, load_all, NULL, values), 0);
	ck_assert_uint_eq(bulk_calls, 1);
	weakref_cache_invalidate_all(cache);
	load_error = -EBUSY;
	ck_assert_int_eq(weakref_cache_get_all_with(cache, keys, 4, load_all, NULL, values), -EBUSY);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(stats().load_failures, 1);
	ck_assert_uint_eq(stats().load_successes, 1);
}
END_TEST

static int compute_held(const void *key, void *old, void **value, void *user)
{
	(void)old;
	return load(key, value, user) < 0 || user != NULL ? -EBUSY : 0;
}

/* Computes key 1, or, with an argument, fails in it. */
static void *compute_run(void *arg)
{
	weakref_cache_compute(cache, KEY(1), compute_held, arg, NULL);
	return NULL;
}

/* R143: a value that expires while a function of compute has the key is not found by who would load, either: he waits for the function. */
START_TEST(test_R143_expired_while_computed)
{
	struct getter getter;
	pthread_t thread;
	void *value, *values[2];

	cache = weakref_cache_builder_build(builder("expireAfterWrite=10s,recordStats", false, _i == 1));
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(7)), 0);
	hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, compute_run, NULL), 0);
	ck_assert(until_held(1));
	ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), 0, &value), 0);
	ck_assert_ptr_eq(value, thing(7));
	now_ns += 20 * SECOND;
	ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), 0, &value), -ETIMEDOUT);
	ck_assert_ptr_null(value);
	if (_i == 0)
		getter_start(&getter, 1);
	else
		ck_assert_int_eq(pthread_create(&getter.thread, NULL, get_all_run, values), 0);
	until_missed(_i == 0 ? 2 : 3);
	hold = false;
	pthread_join(thread, NULL);
	getter_join(&getter);
	ck_assert_ptr_eq(_i == 0 ? getter.value : values[0], thing(1));
	ck_assert_ptr_eq(GET(1), thing(1));
}
END_TEST

struct change {
	int which;
	int result;
	void *value;
};

static void *change_run(void *arg)
{
	struct change *c = arg;

	if (c->which == 0)
		c->value = weakref_cache_put_if_absent(cache, KEY(1), thing(5));
	else if (c->which == 1)
		c->result = weakref_cache_replace(cache, KEY(1), NULL, thing(5));
	else
		c->result = weakref_cache_remove(cache, KEY(1), NULL, &c->value);
	return NULL;
}

/* R143: a conditional write that waits for a function of compute is one of when it has waited: what it stores lives from then on, and what it takes
 * out may have expired. */
START_TEST(test_R143_time_of_who_waited)
{
	weakref_cache_builder *b = builder("expireAfterWrite=10s", false, false);
	struct change change = {.which = _i};
	pthread_t thread, changing;

	memset(told_by_cause, 0, sizeof told_by_cause);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_by_cause, NULL), 0);
	cache = weakref_cache_builder_build(b);
	if (_i != 0)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(7)), 0);
	hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, compute_run, _i == 1 ? NULL : things), 0);
	ck_assert(until_held(1));
	ck_assert_int_eq(pthread_create(&changing, NULL, change_run, &change), 0);
	/* It looks at the clock and waits. */
	until_missed(0);
	now_ns += 20 * SECOND;
	hold = false;
	pthread_join(thread, NULL);
	pthread_join(changing, NULL);
	ck_assert_ptr_eq(change.value, _i == 0 ? thing(5) : NULL);
	ck_assert_int_eq(change.result, _i == 1);
	now_ns += 10 * SECOND - 1;
	ck_assert_ptr_eq(GET(1), _i == 2 ? NULL : thing(5));
	now_ns += 1;
	ck_assert_ptr_null(GET(1));
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], _i == 1 ? 2 : 1);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPLICIT], 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_REPLACED], _i == 1);
}
END_TEST

static int load_held(const void *key, void **value, void *user)
{
	return load(key, value, user);
}

/* Gets key 1, until it is cancelled. */
static void *get_with_run(void *arg)
{
	weakref_cache_get_with(cache, KEY(1), load_held, NULL, arg);
	return NULL;
}

/* Has key 1 loaded in bulk while another thread has it: it waits for that one, and loads itself where nothing came of it. */
START_TEST(test_bulk_waits_for_others)
{
	enum { COMPUTED, FAILED, CANCELLED, CASES };
	void *values[2], *unused;
	pthread_t other, thread;

	for (int i = 0; i < CASES; i++) {
		cache = weakref_cache_builder_build(builder("recordStats", false, true));
		hold = true;
		load_base = 100;
		ck_assert_int_eq(i == CANCELLED ? pthread_create(&other, NULL, get_with_run, &unused)
						: pthread_create(&other, NULL, compute_run, i == FAILED ? things : NULL),
				 0);
		ck_assert(until_held(1));
		ck_assert_int_eq(pthread_create(&thread, NULL, get_all_run, values), 0);
		/* Its own key 2 is loaded while it has yet to wait for key 1. */
		ck_assert(until_held(2));
		/* It is held until it is cancelled. */
		if (i == CANCELLED) {
			pthread_cancel(other);
			pthread_join(other, NULL);
		}
		hold = false;
		if (i != CANCELLED)
			pthread_join(other, NULL);
		pthread_join(thread, NULL);
		held = 0; /* one was cancelled while it was */
		ck_assert_ptr_eq(values[0], i == COMPUTED ? thing(101) : thing(1));
		ck_assert_ptr_eq(values[1], thing(2));
		ck_assert_ptr_eq(GET(1), values[0]);
		ck_assert_uint_eq(bulk_calls, i == COMPUTED ? 1 : 2);
		ck_assert_uint_eq(bulk_keys, i == COMPUTED ? 1 : 2);
		ck_assert_uint_eq(stats().misses, i == CANCELLED ? 3 : 2);
	}
}
END_TEST

/* A bulk load is overtaken like others; its extra values are not stored when keys were changed meanwhile. */
START_TEST(test_bulk_is_overtaken)
{
	static void *values[2];
	pthread_t thread;

	cache = weakref_cache_builder_build(builder("", false, true));
	hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, get_all_run, values), 0);
	ck_assert(until_held(1));
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	hold = false;
	pthread_join(thread, NULL);
	ck_assert_ptr_eq(values[0], thing(1));
	ck_assert_ptr_eq(values[1], thing(2));
	ck_assert_ptr_null(GET(1));
	ck_assert_ptr_eq(GET(2), thing(2));
	ck_assert_ptr_null(GET(900));
}
END_TEST

/* Replaces a value often: where it is done in place nothing is allocated. */
static int puts_are_in_place(void)
{
	enum { PUTS = 4000 };
	gc_heap_stats before, after;

	SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(3), thing(3)) == 0);
	SUPPORT_REQUIRE(gc_get_heap_stats(&before) == 0);
	for (size_t i = 0; i < PUTS; i++)
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(3), thing(i % 10)) == 0);
	SUPPORT_REQUIRE(gc_get_heap_stats(&after) == 0);
	SUPPORT_REQUIRE(after.allocated - before.allocated < PUTS * sizeof(void *));
	return 0;
}

/* Changes a key that was there, in the middle. */
static int load_all_and_put(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(3), thing(30)) == 0);
	return load_all(keys, n, bulk, user);
}

static int fork_child_bulk(void *none)
{
	const void *keys[] = {KEY(1), KEY(5)};
	void *values[2];

	(void)none;
	hold = false;
	SUPPORT_REQUIRE(puts_are_in_place() == 0);
	/* And those of its own are told of changes. */
	SUPPORT_REQUIRE(weakref_cache_get_all_with(cache, keys, 2, load_all_and_put, NULL, values) == 0);
	SUPPORT_REQUIRE(values[0] == thing(1) && values[1] == thing(5));
	SUPPORT_REQUIRE(weakref_cache_get_if_present(cache, KEY(900)) == NULL);
	return puts_are_in_place();
}

/* A child after fork does not go on with bulk loads of its parent's threads: its values are replaced in place. */
START_TEST(test_fork_during_a_bulk_load)
{
	static void *values[2];
	pthread_t thread;

	cache = weakref_cache_builder_build(builder("", false, true));
	hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, get_all_run, values), 0);
	ck_assert(until_held(1));
	int result = support_in_child(fork_child_bulk, NULL);
	hold = false;
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, 0);
	ck_assert_ptr_eq(values[0], thing(1));
	ck_assert_ptr_eq(GET(900), thing(900));
	ck_assert_int_eq(puts_are_in_place(), 0);
}
END_TEST

/* The child's process ends with it. */
static int load_all_in_child_too(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	pid_t *child = user;

	*child = fork();
	return load_all(keys, n, bulk, NULL);
}

/* The bulk load of the thread that forks goes on in the child as well, but for what it was not asked for. */
START_TEST(test_fork_in_a_bulk_load)
{
	const void *keys[] = {KEY(1), KEY(2)};
	void *values[2];
	pid_t child;
	int status;

	cache = weakref_cache_builder_build(builder("", false, true));
	int result = weakref_cache_get_all_with(cache, keys, 2, load_all_in_child_too, &child, values);
	if (child == 0)
		_exit(result != 0 || values[0] != thing(1) || values[1] != thing(2) ||
		      weakref_cache_get_if_present(cache, KEY(900)) != NULL || puts_are_in_place() != 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(result, 0);
	ck_assert_ptr_eq(GET(900), thing(900));
	ck_assert_int_eq(puts_are_in_place(), 0);
}
END_TEST

/* H38: get-all-present gives what is there and loads nothing. */
START_TEST(test_h38_get_all_present)
{
	const void *keys[] = {KEY(1), KEY(2), KEY(3)};
	void *values[3];

	make_cache("recordStats,expireAfterWrite=10s");
	weakref_cache_put(cache, KEY(3), thing(3));
	now_ns += 10 * SECOND;
	weakref_cache_put(cache, KEY(2), thing(2));
	ck_assert_int_eq(weakref_cache_get_all_present(cache, keys, 3, values), 1);
	ck_assert_ptr_null(values[0]);
	ck_assert_ptr_eq(values[1], thing(2));
	ck_assert_ptr_null(values[2]);
	ck_assert_uint_eq(loads, 0);
	ck_assert_uint_eq(stats().hits, 1);
	ck_assert_uint_eq(stats().misses, 2);
}
END_TEST

/* Values that could not be looked at any more are not those that stood in the array before. */
START_TEST(test_get_all_present_fails)
{
	const void *keys[] = {"a", NULL, "b"};
	void *values[] = {thing(9), thing(9), thing(9)};

	cache = weakref_cache_builder_build(weakref_cache_builder_new(WEAKREF_KEY_STRING));
	ck_assert_int_eq(weakref_cache_put(cache, "a", thing(1)), 0);
	ck_assert_int_eq(weakref_cache_put(cache, "b", thing(2)), 0);
	ck_assert_int_eq(weakref_cache_get_all_present(cache, keys, 3, values), -EINVAL);
	ck_assert_ptr_eq(values[0], thing(1));
	ck_assert_ptr_null(values[1]);
	ck_assert_ptr_null(values[2]);
}
END_TEST

/* ---- the second level ---- */

static void *level_has[16];
static unsigned level_gets, level_expects, level_puts, level_removes, level_clears;
static int level_error;

static int level_get(const void *key, void **value, void *user)
{
	(void)user;
	level_gets++;
	if (level_error != 0)
		return level_error;
	*value = level_has[WEAKREF_INT_VALUE(key)];
	return *value != NULL ? 0 : -ENOENT;
}

/* The reload has not begun. */
static int level_expect(const void *key, void *user)
{
	(void)key;
	(void)user;
	level_expects++;
	return level_expects == reloads + 1 ? level_error : -EPROTO;
}

static int level_put(const void *key, void *value, void *user)
{
	(void)user;
	level_puts++;
	if (level_error == 0)
		level_has[WEAKREF_INT_VALUE(key)] = value;
	return level_error;
}

static int level_remove(const void *key, void *user)
{
	(void)user;
	level_removes++;
	if (level_error == 0)
		level_has[WEAKREF_INT_VALUE(key)] = NULL;
	return level_error;
}

static int level_clear(void *user)
{
	(void)user;
	level_clears++;
	memset(level_has, 0, sizeof level_has);
	return 0;
}

static void make_two_levels(bool with_clear)
{
	/* One with clear loads in bulk as well. */
	weakref_cache_second_level level = {
		.get = level_get, .expect = level_expect, .put = level_put, .remove = level_remove, .clear = with_clear ? level_clear : NULL};
	weakref_cache_builder *b = builder("recordStats,maximumSize=100", true, with_clear);

	memset(level_has, 0, sizeof level_has);
	level_gets = level_expects = level_puts = level_removes = level_clears = 0;
	level_error = 0;
	ck_assert_int_eq(weakref_cache_builder_second_level(b, &level), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
}

/* Misses ask the second level before the loader; loads are written through; what the program changes is forgotten there. */
START_TEST(test_second_level)
{
	void *value;

	make_two_levels(_i == 0);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_uint_eq(loads, 1);
	ck_assert_ptr_eq(level_has[1], thing(1));
	level_has[2] = thing(22);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(2), &value), 0);
	ck_assert_ptr_eq(value, thing(22));
	ck_assert_uint_eq(loads, 1);
	ck_assert_uint_eq(level_puts, 1);
	ck_assert_uint_eq(stats().level_hits, 1);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(9)), 0);
	ck_assert_ptr_null(level_has[1]);
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(2)), 0);
	ck_assert_ptr_null(level_has[2]);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(3), &value), 0);
	ck_assert_ptr_nonnull(level_has[3]);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_ptr_null(level_has[3]);
	ck_assert_uint_eq(level_clears, _i == 0);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(4)), 0);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(4)), 0);
	ck_assert_ptr_eq(level_has[4], thing(1004));
	/* So does a refresh of what is not here; of what is, it asks the loader. */
	level_has[8] = thing(88);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(8)), 0);
	ck_assert_ptr_eq(GET(8), thing(88));
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(8)), 0);
	ck_assert_ptr_eq(level_has[8], thing(1088));
	ck_assert_uint_eq(level_expects, 2);
	ck_assert_uint_eq(reloads, 2);
	ck_assert_uint_eq(stats().level_errors, 0);
	/* Loads by a call's own loader, and in bulk, ask it and write to it too. */
	level_has[5] = thing(55);
	level_has[6] = thing(66);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(5), load, NULL, &value), 0);
	ck_assert_ptr_eq(value, thing(55));
	const void *keys[] = {KEY(6), KEY(7), KEY(5)};
	void *values[3];
	ck_assert_int_eq(weakref_cache_get_all(cache, keys, 3, values), 0);
	ck_assert_ptr_eq(values[0], thing(66));
	ck_assert_ptr_eq(values[1], thing(7));
	ck_assert_ptr_eq(level_has[7], thing(7));
	ck_assert_uint_eq(bulk_keys, _i == 0 ? 1 : 0);
}
END_TEST

static int to_nine(const void *key, void *old, void **value, void *user)
{
	(void)key;
	(void)old;
	(void)user;
	*value = thing(9);
	return level_error;
}

/* R160: what changes nothing leaves the second level alone, be it the map's way to read; what changes something has it forget. */
START_TEST(test_second_level_unchanged)
{
	void *value;

	make_two_levels(true);
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(1), load, NULL, &value), 0);
	ck_assert_ptr_eq(level_has[1], thing(1));
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(1), load, NULL, &value), 0);
	ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(5)), thing(1));
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), thing(5), thing(6)), 0);
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(2), NULL, thing(6)), 0);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), thing(5), NULL), 0);
	ck_assert_int_eq(weakref_cache_compute_if_present(cache, KEY(2), to_nine, NULL, NULL), 0);
	level_error = -EBUSY;
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(1), to_nine, NULL, NULL), -EBUSY);
	level_error = 0;
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), NULL), -EINVAL);
	ck_assert_uint_eq(level_removes, 0);
	/* What is not there it is asked for. */
	level_has[3] = thing(33);
	ck_assert_int_eq(weakref_cache_compute_if_absent(cache, KEY(3), load, NULL, &value), 0);
	ck_assert_ptr_eq(value, thing(33));
	ck_assert_uint_eq(loads, 1);
	/* A key that only the second level has is removed as well, whatever its value is. */
	level_has[4] = thing(44);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(4), NULL, NULL), 0);
	ck_assert_ptr_null(level_has[4]);
	level_has[5] = thing(55);
	ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(5), thing(5)), thing(5));
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(5), thing(5), thing(6)), 1);
	ck_assert_int_eq(weakref_cache_compute(cache, KEY(5), to_nine, NULL, NULL), 0);
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(5), thing(9), NULL), 1);
	ck_assert_uint_eq(level_removes, 5);
	ck_assert_ptr_null(level_has[5]);
}
END_TEST

/* A second level that fails is counted, and the loader serves. */
START_TEST(test_second_level_fails)
{
	void *value;

	make_two_levels(true);
	level_error = -EBUSY;
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_uint_eq(stats().level_errors, 2);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(2)), 0);
	ck_assert_uint_eq(stats().level_errors, 3);
	ck_assert_ptr_eq(GET(1), thing(2));
}
END_TEST

/* A load that is overtaken leaves nothing in the second level, and loads that begin meanwhile do not ask it. */
START_TEST(test_second_level_overtaken)
{
	struct getter first, second;

	make_two_levels(true);
	hold = true;
	getter_start(&first, 1);
	ck_assert(until_held(1));
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	level_has[1] = thing(77);
	getter_start(&second, 1);
	ck_assert(until_held(2));
	hold = false;
	getter_join(&first);
	getter_join(&second);
	ck_assert_ptr_eq(second.value, thing(1));
	ck_assert_uint_eq(level_gets, 1);
}
END_TEST

/* ---- no memory ---- */

/* Each allocation of a load fails once: it is an error, nothing is cached half, and the next get loads. */
START_TEST(test_no_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	static const char *const specs[] = {"maximumSize=100", "expireAfterWrite=1h,refreshAfterWrite=1m"};
	const void *keys[] = {KEY(1), KEY(2)};
	void *value, *values[2];

	cache = weakref_cache_builder_build(builder(specs[_i], true, true));
	for (unsigned long n = 1;; n++) {
		weakref_checks_fail_allocation(n);
		int error = weakref_cache_get(cache, KEY(1), &value);
		bool over = weakref_checks_fail_allocation(0) != 0;
		ck_assert(error == 0 || error == -ENOMEM);
		ck_assert_uint_eq(weakref_cache_len(cache), error == 0);
		weakref_cache_invalidate(cache, KEY(1));
		if (over)
			break;
	}
	for (unsigned long n = 1;; n++) {
		weakref_checks_fail_allocation(n);
		int error = weakref_cache_get_all(cache, keys, 2, values);
		bool over = weakref_checks_fail_allocation(0) != 0;
		ck_assert(error == 0 || error == -ENOMEM || error == -ENOENT);
		weakref_cache_invalidate_all(cache);
		if (over)
			break;
	}
	for (unsigned long n = 1;; n++) {
		ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
		now_ns += 100 * SECOND;
		weakref_checks_fail_allocation(n);
		ck_assert_ptr_nonnull(GET(1));
		if (weakref_checks_fail_allocation(0) != 0)
			break;
	}
	ck_assert_int_gt(weakref_checks_validate(), -1);
}
END_TEST

/* ---- a callback of a reference that leaves by longjmp ---- */

static jmp_buf way_out;
static bool may_leave;
static unsigned left, hashed;

static int leave_call(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	left++;
	if (may_leave)
		longjmp(way_out, 1);
	return 0;
}

static int watch_dropped(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++)
		refs[i] = weakref_ref_new(support_node_new(i), leave_call, NULL);
	return 0;
}

/* Where the second key is hashed callbacks become due, which the next allocation delivers. */
static int hash_and_drop(const void *key, uint64_t *out, void *refs)
{
	*out = *(const int *)key;
	if (++hashed == 2) {
		gc_set_delivery(WEAKREF_DELIVER_MANUAL);
		support_on_thread(watch_dropped, refs);
		support_collect();
		gc_set_delivery(WEAKREF_DELIVER_AT_ALLOCATION);
		may_leave = true;
	}
	return 0;
}

static int equal_numbers(const void *a, const void *b, void *refs)
{
	(void)refs;
	return *(const int *)a == *(const int *)b;
}

static int give_nothing(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	(void)keys;
	(void)n;
	(void)bulk;
	(void)user;
	may_leave = false;
	return 0;
}

static int load_number(const void *key, void **value, void *user)
{
	(void)user;
	*value = (void *)key;
	return 0;
}

/* R27: it leaves no key of a bulk load behind that nobody loads. */
START_TEST(test_R27_callback_leaves_a_bulk_load)
{
	static const int numbers[] = {1, 2, 3};
	const void *const keys[] = {&numbers[0], &numbers[1], &numbers[2]};
	void *values[3], *value;
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);
	weakref_cache *numbered = weakref_cache_builder_build(weakref_cache_builder_new_custom(hash_and_drop, equal_numbers, refs));

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "what is dropped would be collected, and told of, elsewhere");
	left = hashed = 0;
	if (setjmp(way_out) == 0)
		weakref_cache_get_all_with(numbered, keys, 3, give_nothing, NULL, values);
	may_leave = false;
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(weakref_cache_get_with(numbered, keys[i], load_number, NULL, &value), 0);
		ck_assert_ptr_eq(value, keys[i]);
	}
	gc_run_callbacks();
	ck_assert_uint_ge(left, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

/* ---- a bulk load that fails before it begins ---- */

/* There is no 2. */
static int hash_held(const void *key, uint64_t *out, void *user)
{
	(void)user;
	*out = *(const int *)key;
	if (*out != 2)
		return 0;
	wait_while_held();
	return -EDOM;
}

static void *get_number(void *arg)
{
	static const int one = 1;
	struct getter *g = arg;

	g->result = weakref_cache_get(cache, &one, &g->value);
	return NULL;
}

static void *get_numbers(void *arg)
{
	static const int numbers[] = {1, 2, 3};
	const void *const keys[] = {&numbers[0], &numbers[1], &numbers[2]};
	struct getter *g = arg;
	void *values[] = {things, things, things};

	g->result = weakref_cache_get_all(cache, keys, 3, values);
	g->value = values[0] != NULL ? values[0] : values[1] != NULL ? values[1] : values[2];
	return NULL;
}

/* R156: one of its keys cannot be looked up: nothing is loaded, and who waits for another one loads that, and has no error of this one's. */
START_TEST(test_R156_bulk_fails_before_it_begins)
{
	weakref_cache_loader loader = {.load = load_number, .load_all = give_nothing};
	weakref_cache_builder *b = (builder("", false, false), weakref_cache_builder_new_custom(hash_held, equal_numbers, NULL));
	struct getter all = {0}, one = {0};

	ck_assert_int_eq(weakref_cache_builder_record_stats(b), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
	hold = true;
	ck_assert_int_eq(pthread_create(&all.thread, NULL, get_numbers, &all), 0);
	ck_assert(until_held(1));
	ck_assert_int_eq(pthread_create(&one.thread, NULL, get_number, &one), 0);
	until_missed(2);
	hold = false;
	getter_join(&all);
	getter_join(&one);
	ck_assert_int_eq(all.result, -EDOM);
	ck_assert_ptr_null(all.value);
	ck_assert_int_eq(one.result, 0);
	ck_assert_int_eq(*(int *)one.value, 1);
	ck_assert_uint_eq(stats().load_successes, 1);
	ck_assert_uint_eq(stats().load_failures, 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
}
END_TEST

/* ---- a callback that waits for a key, in the delivery thread ---- */

static _Atomic unsigned asked;
static _Atomic bool collects;

static int ask_for_key(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	weakref_cache_refresh(cache, KEY(1));
	asked++;
	return 0;
}

static int watch_asking(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++)
		refs[i] = weakref_ref_new(support_node_new(i), ask_for_key, NULL);
	return 0;
}

/* The first that comes has objects die whose callbacks want the key that it works on, and collects. */
static void collect_once(void *refs)
{
	if (!atomic_exchange(&collects, false))
		return;
	support_on_thread(watch_asking, refs);
	gc_collect();
}

static int load_collecting(const void *key, void **value, void *refs)
{
	collect_once(refs);
	*value = thing((size_t)WEAKREF_INT_VALUE(key));
	return 0;
}

static int compute_collecting(const void *key, void *old, void **value, void *refs)
{
	(void)old;
	return load_collecting(key, value, refs);
}

static int load_all_collecting(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *refs)
{
	collect_once(refs);
	for (size_t i = 0; i < n; i++)
		weakref_cache_bulk_give(bulk, keys[i], thing((size_t)WEAKREF_INT_VALUE(keys[i])));
	return 0;
}

/* R24: who has a key does not wait for callbacks that the delivery thread runs, and they may wait for the key: by a load, a reload, a function
 * of compute, and a bulk load. */
START_TEST(test_R24_callbacks_wait_for_the_key)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);
	weakref_cache_loader loader = {.load = load_collecting, .load_all = load_all_collecting, .user = refs};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	const void *const keys[] = {KEY(2), KEY(1)};
	void *values[2] = {NULL, NULL};
	int error;

	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_THREAD), 0);
	collects = false;
	if (_i == 1 || _i == 2)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(7)), 0);
	asked = 0;
	collects = true;
	switch (_i) {
	case 0:
		error = weakref_cache_get(cache, KEY(1), &values[1]);
		break;
	case 1:
		error = weakref_cache_refresh(cache, KEY(1));
		values[1] = GET(1);
		break;
	case 2:
		error = weakref_cache_compute(cache, KEY(1), compute_collecting, refs, &values[1]);
		break;
	default:
		error = weakref_cache_get_all(cache, keys, 2, values);
		break;
	}
	ck_assert_int_eq(error, 0);
	ck_assert_ptr_eq(values[1], thing(1));
	ck_assert(!collects);
	/* Nobody waits for this one: when it has returned, they have run. */
	gc_collect();
	ck_assert_uint_ge(asked, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_load");
	TCase *tc = support_tcase("cache_load");

	tcase_add_test(tc, test_h02_h44_load_once);
	tcase_add_loop_test(tc, test_h03_h05_single_flight, 0, 2);
	tcase_add_test(tc, test_h05_h06_failures);
	tcase_add_test(tc, test_h12_bound_of_nothing);
	tcase_add_test(tc, test_recursion);
	tcase_add_test(tc, test_crosswise);
	tcase_add_loop_test(tc, test_overtaken_loads, 0, 3);
	tcase_add_test(tc, test_cancelled);
	tcase_add_test(tc, test_thread_ends_in_the_listener);
	tcase_add_loop_test(tc, test_expired_entry_is_told_of, 0, 4);
	tcase_add_test(tc, test_fork_during_a_load);
	tcase_add_test(tc, test_h37_get_all);
	tcase_add_test(tc, test_figures_of_bulk_loads);
	tcase_add_test(tc, test_get_all_with);
	tcase_add_loop_test(tc, test_R143_expired_while_computed, 0, 2);
	tcase_add_loop_test(tc, test_R143_time_of_who_waited, 0, 3);
	tcase_add_test(tc, test_bulk_waits_for_others);
	tcase_add_test(tc, test_bulk_is_overtaken);
	tcase_add_test(tc, test_fork_during_a_bulk_load);
	tcase_add_test(tc, test_fork_in_a_bulk_load);
	tcase_add_test(tc, test_h38_get_all_present);
	tcase_add_test(tc, test_get_all_present_fails);
	tcase_add_loop_test(tc, test_second_level, 0, 2);
	tcase_add_test(tc, test_second_level_unchanged);
	tcase_add_test(tc, test_second_level_fails);
	tcase_add_test(tc, test_second_level_overtaken);
	tcase_add_loop_test(tc, test_no_memory, 0, 2);
	tcase_add_test(tc, test_R27_callback_leaves_a_bulk_load);
	tcase_add_test(tc, test_R156_bulk_fails_before_it_begins);
	tcase_add_loop_test(tc, test_R24_callbacks_wait_for_the_key, 0, 4);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

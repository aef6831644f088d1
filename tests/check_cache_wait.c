/* SPDX-License-Identifier: MIT */
/*
 * check_cache_wait: weakref/cache.h: waits with a time limit for a key that another thread has (weakref_cache_get_wait): whose key is waited for,
 * what becomes of what was waited for, and that no waiter is left asleep. The cache's clock is the tests' own; the waits go by the library's.
 */
#define GC_THREADS
#include <errno.h>
#include <gc/gc.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "loader.h"
#include "rawthread.h"
#include "weakref/checks.h"

/* A thread that gets a key. */
struct waiter {
	pthread_t thread;
	intptr_t key;
	double seconds;
	int result;
	void *value;
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;

	w->result = weakref_cache_get_wait(cache, KEY(w->key), w->seconds, &w->value);
	return NULL;
}

static void waiter_start(struct waiter *w, intptr_t key, double seconds)
{
	*w = (struct waiter){.key = key, .seconds = seconds, .value = things};
	ck_assert_int_eq(pthread_create(&w->thread, NULL, waiter_run, w), 0);
}

/* What it gets; its error is 0. */
static void *waiter_join(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	ck_assert_int_eq(w->result, 0);
	return w->value;
}

/* Without waiting. */
static int get_now(intptr_t key, void **value)
{
	*value = things;
	return weakref_cache_get_wait(cache, KEY(key), 0, value);
}

#define ck_assert_busy(key)                                              \
	do {                                                             \
		void *nothing;                                           \
		ck_assert_int_eq(get_now((key), &nothing), -ETIMEDOUT);  \
		ck_assert_ptr_null(nothing);                             \
	} while (0)

/* ---- what needs no wait -------------------------------------------------------------------------------------------------- */

/* R240: what is there, and what nobody loads, whatever the time is. */
START_TEST(test_R240_nobody_else)
{
	static const double times[] = {0, -0.0, 1e-300, 0.001, 1e300, -1, INFINITY, -INFINITY};
	void *value;

	make_cache("recordStats");
	for (intptr_t i = 0; i < (intptr_t)(sizeof times / sizeof *times); i++)
		for (int again = 0; again < 2; again++) {
			value = NULL;
			ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(i), times[i], &value), 0);
			ck_assert_ptr_eq(value, thing((size_t)i));
		}
	ck_assert_uint_eq(loads, sizeof times / sizeof *times);
	ck_assert_uint_eq(stats().hits, loads);
	ck_assert_uint_eq(stats().misses, loads);
	ck_assert_uint_eq(stats().load_successes, loads);
	load_error = -EBUSY;
	ck_assert_int_eq(get_now(100, &value), -EBUSY);
	ck_assert_ptr_null(value);
	load_error = 0;
	load_none = true;
	ck_assert_int_eq(get_now(100, &value), -ENOENT);
	ck_assert_ptr_null(value);
}
END_TEST

static int get_unknown(void *unused)
{
	void *value = things;

	(void)unused;
	SUPPORT_REQUIRE(weakref_cache_get_wait(cache, KEY(1), 0, &value) == -EPERM);
	return value != NULL;
}

/* NaN, no cache, no place for the value, no loader, a thread that the collector does not know. */
START_TEST(test_R240_refused)
{
	void *value = things;

	make_cache("recordStats");
	ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), NAN, &value), -EINVAL);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), NAN, NULL), -EINVAL);
	ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), 0, NULL), -EINVAL);
	value = things;
	ck_assert_int_eq(weakref_cache_get_wait(NULL, KEY(1), 0, &value), -EINVAL);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(rawthread_run(get_unknown, NULL), 0);
	ck_assert_uint_eq(loads, 0);
	ck_assert_uint_eq(stats().misses, 0);
	cache = weakref_cache_builder_build(weakref_cache_builder_new(WEAKREF_KEY_INT));
	value = things;
	ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), 0, &value), -ENOTSUP);
	ck_assert_ptr_null(value);
}
END_TEST

static int load_length(const void *key, void **value, void *user)
{
	(void)user;
	loads++;
	*value = thing(strlen(key));
	return 0;
}

/* The same for strings, which are looked up another way. */
START_TEST(test_R240_strings)
{
	weakref_cache_loader loader = {.load = load_length};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	void *value;

	loads = 0;
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
	for (int again = 0; again < 2; again++) {
		ck_assert_int_eq(weakref_cache_get_wait(cache, "four", 0, &value), 0);
		ck_assert_ptr_eq(value, thing(4));
	}
	ck_assert_uint_eq(loads, 1);
	ck_assert_int_eq(weakref_cache_get_wait(cache, NULL, 0, &value), -EINVAL);
	ck_assert_ptr_null(value);
}
END_TEST

/* ---- the time is over ---------------------------------------------------------------------------------------------------- */

/* R240: the load goes on, and is stored. To the figures who gave up has missed. */
START_TEST(test_R240_load_goes_on)
{
	static const double times[] = {0, -0.0, 1e-300, 1e-9, 0.003};
	enum { TIMES = sizeof times / sizeof *times };
	struct getter getter;
	void *value;

	make_cache("recordStats,maximumSize=100");
	hold = true;
	getter_start(&getter, 1);
	ck_assert(until_held(1));
	for (int i = 0; i < TIMES; i++) {
		value = things;
		ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), times[i], &value), -ETIMEDOUT);
		ck_assert_ptr_null(value);
	}
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	hold = false;
	getter_join(&getter);
	ck_assert_ptr_eq(getter.value, thing(1));
	ck_assert_int_eq(get_now(1, &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_uint_eq(loads, 1);
	ck_assert_uint_eq(stats().hits, 1);
	ck_assert_uint_eq(stats().misses, 1 + TIMES);
	ck_assert_uint_eq(stats().load_successes, 1);
	ck_assert_uint_eq(stats().load_failures, 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
}
END_TEST

/* One of several waiters gives up, and one is cancelled: the others get the value, however long they would wait. */
START_TEST(test_R240_others_go_on_waiting)
{
	static const double times[] = {-1, 1e6, INFINITY, 1e300, -0.5, 1e6};
	enum { TIMES = sizeof times / sizeof *times };
	struct waiter waiters[TIMES], late, cancelled;
	struct getter getter, second;

	make_cache("recordStats");
	hold = true;
	getter_start(&getter, 1);
	ck_assert(until_held(1));
	for (int i = 0; i < TIMES / 2; i++)
		waiter_start(&waiters[i], 1, times[i]);
	waiter_start(&cancelled, 1, 1e6);
	waiter_start(&late, 1, 0.010);
	getter_start(&second, 1);
	for (int i = TIMES / 2; i < TIMES; i++)
		waiter_start(&waiters[i], 1, times[i]);
	pthread_join(late.thread, NULL);
	ck_assert_int_eq(late.result, -ETIMEDOUT);
	ck_assert_ptr_null(late.value);
	until_missed(4 + TIMES);
	pthread_cancel(cancelled.thread);
	void *ended = NULL;
	pthread_join(cancelled.thread, &ended);
	ck_assert_ptr_eq(ended, PTHREAD_CANCELED);
	hold = false;
	getter_join(&getter);
	getter_join(&second);
	ck_assert_int_eq(second.result, 0);
	ck_assert_ptr_eq(second.value, thing(1));
	for (int i = 0; i < TIMES; i++)
		ck_assert_ptr_eq(waiter_join(&waiters[i]), thing(1));
	ck_assert_uint_eq(loads, 1);
	ck_assert_uint_eq(stats().load_successes, 1);
}
END_TEST

/* ---- whose key ----------------------------------------------------------------------------------------------------------- */

static void *level_value;

static int level_get(const void *key, void **value, void *user)
{
	(void)key;
	(void)user;
	wait_while_held();
	*value = level_value;
	return level_value != NULL ? 0 : -ENOENT;
}

static void *get_all_run(void *arg)
{
	const void *keys[] = {KEY(1), KEY(2)};

	weakref_cache_get_all(cache, keys, 2, arg);
	return NULL;
}

static void *refresh_run(void *none)
{
	weakref_cache_refresh(cache, KEY(1));
	return none;
}

static int compute_held(const void *key, void *old, void **value, void *error)
{
	(void)key;
	wait_while_held();
	*value = old == NULL ? thing(5) : (char *)old + 1;
	return error != NULL ? *(int *)error : 0;
}

/* With an error, it fails. */
static void *compute_run(void *error)
{
	weakref_cache_compute(cache, KEY(1), compute_held, error, NULL);
	return NULL;
}

enum { BULK, LEVEL, LEVEL_HAS, REFRESH_ABSENT, COMPUTE_ABSENT, HOLDERS };

/* What another thread has: a bulk load, a load that asks the second level, a refresh of what is absent, a function of compute. */
START_TEST(test_R240_whose_key)
{
	weakref_cache_second_level level = {.get = level_get};
	weakref_cache_builder *b = builder("recordStats", true, true);
	struct waiter waiter;
	pthread_t thread;
	void *values[2], *value;

	level_value = _i == LEVEL_HAS ? thing(77) : NULL;
	if (_i == LEVEL || _i == LEVEL_HAS)
		ck_assert_int_eq(weakref_cache_builder_second_level(b, &level), 0);
	cache = weakref_cache_builder_build(b);
	hold = true;
	void *(*run)(void *) = _i == BULK ? get_all_run : _i == COMPUTE_ABSENT ? compute_run : refresh_run;
	ck_assert_int_eq(pthread_create(&thread, NULL, run, _i == BULK ? values : NULL), 0);
	ck_assert(until_held(1));
	ck_assert_busy(1);
	waiter_start(&waiter, 1, 1e6);
	until_missed(_i == BULK ? 4 : 2);
	hold = false;
	pthread_join(thread, NULL);
	size_t expected = _i == LEVEL_HAS ? 77 : _i == COMPUTE_ABSENT ? 5 : 1;
	ck_assert_ptr_eq(waiter_join(&waiter), thing(expected));
	ck_assert_int_eq(get_now(1, &value), 0);
	ck_assert_ptr_eq(value, thing(expected));
	ck_assert_uint_eq(stats().load_failures, 0);
	ck_assert_uint_eq(stats().load_successes, _i == COMPUTE_ABSENT ? 0 : 1);
}
END_TEST

/* A value that is there is read while it is reloaded or computed, and nobody waits. */
START_TEST(test_R240_reads_the_old_value)
{
	pthread_t thread;
	void *value;

	make_cache("recordStats,refreshAfterWrite=10s");
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
	hold = true;
	now_ns += _i == 0 ? 20 * SECOND : 0;
	ck_assert_int_eq(pthread_create(&thread, NULL, _i == 0 ? refresh_run : compute_run, NULL), 0);
	ck_assert(until_held(1));
	ck_assert_int_eq(get_now(1, &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	hold = false;
	pthread_join(thread, NULL);
	ck_assert_int_eq(get_now(1, &value), 0);
	ck_assert_ptr_eq(value, thing(_i == 0 ? 1001 : 2));
	ck_assert_uint_eq(loads, 0);
}
END_TEST

static void *get_until_cancelled(void *none)
{
	void *value;

	weakref_cache_get(cache, KEY(1), &value);
	return none;
}

/* Where nothing came of what it waited for, it loads the key; that is not cut short. */
START_TEST(test_R240_loads_itself)
{
	enum { FAILS, CANCELLED, OVERTAKEN };
	static int error = -EIO;
	struct waiter waiter, second;
	pthread_t thread;

	make_cache("recordStats");
	hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, _i == FAILS ? compute_run : get_until_cancelled, _i == FAILS ? &error : NULL), 0);
	ck_assert(until_held(1));
	load_base = 10;
	waiter_start(&waiter, 1, 1e6);
	until_missed(_i == FAILS ? 1 : 2);
	if (_i == CANCELLED) {
		pthread_cancel(thread);
		pthread_join(thread, NULL);
		held--; /* it was held to its end */
		ck_assert(until_held(1));
		/* Without waiting for that one in turn. */
		ck_assert_busy(1);
	} else if (_i == OVERTAKEN) {
		ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
		/* Of the load that will not be stored it is not told any more. */
		waiter_start(&second, 1, 0);
		ck_assert(until_held(2));
		ck_assert_busy(1);
	}
	hold = false;
	if (_i != CANCELLED)
		pthread_join(thread, NULL);
	ck_assert_ptr_eq(waiter_join(&waiter), thing(_i == OVERTAKEN ? 1 : 11));
	if (_i == OVERTAKEN)
		ck_assert_ptr_eq(waiter_join(&second), thing(11));
	ck_assert_ptr_eq(GET(1), thing(11));
	ck_assert_uint_eq(loads, _i == FAILS ? 1 : 2);
}
END_TEST

static struct waiter hasty;

static void *get_and_cancel(void *none)
{
	void *value;

	weakref_cache_get(cache, KEY(1), &value);
	pthread_cancel(hasty.thread);
	return none;
}

static void until_asleep(unsigned misses)
{
	while (stats().misses < misses)
		sched_yield();
	usleep(300);
}

/* R150: a waiter that is cancelled in the moment in which the load ends, and who is the first to be woken, takes nothing from the others. */
START_TEST(test_R150_cancelled_when_woken)
{
	struct waiter waiter;
	pthread_t thread;

	for (size_t i = 0; i < support_scaled(400, 20); i++) {
		make_cache("recordStats");
		hold = true;
		ck_assert_int_eq(pthread_create(&thread, NULL, get_and_cancel, NULL), 0);
		ck_assert(until_held(1));
		waiter_start(&hasty, 1, i % 2 == 0 ? -1 : 1e6);
		until_asleep(2);
		waiter_start(&waiter, 1, i % 4 < 2 ? -1 : 1e6);
		until_asleep(3);
		hold = false;
		pthread_join(thread, NULL);
		pthread_join(hasty.thread, NULL);
		ck_assert_ptr_eq(waiter_join(&waiter), thing(1));
	}
}
END_TEST

/* ---- waiting for oneself ------------------------------------------------------------------------------------------------- */

static double limit;
static int inner_result;
static _Atomic unsigned arrived, deadlocks;
static unsigned delay;

static int load_recursing(const void *key, void **value, void *user)
{
	(void)user;
	inner_result = weakref_cache_get_wait(cache, key, limit, value);
	*value = thing(3);
	return 0;
}

static int load_crosswise(const void *key, void **value, void *user)
{
	(void)user;
	arrived++;
	while (arrived < 2)
		usleep(100);
	usleep(delay);
	intptr_t other = WEAKREF_INT_VALUE(key) == 1 ? 2 : 1;
	int result = weakref_cache_get_wait(cache, KEY(other), limit, value);
	deadlocks += result == -EDEADLK;
	*value = thing((size_t)WEAKREF_INT_VALUE(key));
	return result == 0 || result == -EDEADLK ? 0 : result;
}

/* Begins both loads, and answers the key that is asked for only when it would be waited for. */
static int load_polling(const void *key, void **value, void *user)
{
	int result = -ETIMEDOUT;

	(void)user;
	if (WEAKREF_INT_VALUE(key) == 2)
		return load_crosswise(key, value, user);
	arrived++;
	while (arrived < 2 || result == -ETIMEDOUT)
		result = arrived < 2 ? -ETIMEDOUT : weakref_cache_get_wait(cache, KEY(2), 0, value);
	*value = thing(1);
	return result == -EDEADLK ? 0 : result;
}

static void make_cache_loading(weakref_cache_load_fn load_fn)
{
	weakref_cache_loader loader = {.load = load_fn};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	hold = false;
	arrived = deadlocks = 0;
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
}

/* R241: who would wait for himself is told, and at once: also where he would not wait long. */
START_TEST(test_R241_deadlock)
{
	static const double limits[] = {0, 1e6, -1};
	struct waiter waiters[2];
	void *value;

	for (int i = 0; i < 3; i++) {
		make_cache_loading(load_recursing);
		limit = limits[i];
		ck_assert_int_eq(weakref_cache_get_wait(cache, KEY(1), limit, &value), 0);
		ck_assert_int_eq(inner_result, -EDEADLK);
		ck_assert_ptr_eq(value, thing(3));
	}
	for (int i = 1; i < 3; i++) {
		make_cache_loading(load_crosswise);
		limit = limits[i];
		waiter_start(&waiters[0], 1, limit);
		waiter_start(&waiters[1], 2, limit);
		ck_assert_ptr_eq(waiter_join(&waiters[0]), thing(1));
		ck_assert_ptr_eq(waiter_join(&waiters[1]), thing(2));
		ck_assert_uint_eq(deadlocks, 1);
	}
}
END_TEST

/* R241: who may not wait waits for nobody: the other one is not told of a deadlock with him. */
START_TEST(test_R241_no_wait_is_no_deadlock)
{
	struct waiter waiters[2];

	for (size_t i = 0; i < support_scaled(300, 10); i++) {
		make_cache_loading(load_polling);
		limit = -1;
		delay = (unsigned)i % 64;
		waiter_start(&waiters[0], 1, -1);
		waiter_start(&waiters[1], 2, -1);
		ck_assert_ptr_eq(waiter_join(&waiters[0]), thing(1));
		ck_assert_ptr_eq(waiter_join(&waiters[1]), thing(2));
		ck_assert_uint_eq(deadlocks, 0);
	}
	delay = 0;
}
END_TEST

/* ---- at the deadline ----------------------------------------------------------------------------------------------------- */

struct hurried {
	uint64_t seed;
	size_t n;
	bool collects;
	size_t values, late; /* what came of it */
};

static int load_node(const void *key, void **value, void *user)
{
	(void)user;
	unsigned n = ++loads;
	usleep(n * 37 % 200);
	*value = support_node_new((uint64_t)WEAKREF_INT_VALUE(key));
	return *value == NULL ? -ENOMEM : 0;
}

static int hurry(void *arg)
{
	struct hurried *h = arg;

	for (size_t i = 0; i < h->n; i++) {
		uint64_t r = support_random(&h->seed);
		intptr_t key = (intptr_t)(r >> 8) % 3;
		double seconds = r % 8 == 0 ? -1 : r % 8 == 1 ? 0 : (double)(r >> 16 & 255) * 1e-6;
		void *value = things;
		int result = weakref_cache_get_wait(cache, KEY(key), seconds, &value);
		SUPPORT_REQUIRE(result == 0 || (result == -ETIMEDOUT && seconds >= 0));
		SUPPORT_REQUIRE(result < 0 ? value == NULL : support_node_intact(value) && ((struct support_node *)value)->id == (uint64_t)key);
		*(result < 0 ? &h->late : &h->values) += 1;
		if (r >> 32 & 1)
			SUPPORT_REQUIRE(weakref_cache_invalidate(cache, KEY(key)) == 0);
		if (h->collects && i % 100 == 0)
			gc_collect();
	}
	return 0;
}

/* R240: loads that end when the time does, overtaken or not, and their values weak or not: whoever is told of one has it, alive, and nobody sleeps
 * for ever. */
START_TEST(test_R240_at_the_deadline)
{
	static const char *const specs[] = {"recordStats", "recordStats,weakValues,maximumSize=2"};
	weakref_cache_loader loader = {.load = load_node};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	struct hurried hurried[4];
	size_t values = 0, late = 0;

	loads = 0;
	ck_assert_int_eq(weakref_cache_builder_spec(b, specs[_i]), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
	for (size_t i = 0; i < 4; i++)
		hurried[i] = (struct hurried){.seed = support_seed() + i, .n = support_scaled(2000, 50), .collects = i == 0};
	ck_assert_int_eq(support_threads(4, hurry, hurried, sizeof *hurried), 0);
	for (size_t i = 0; i < 4; i++) {
		values += hurried[i].values;
		late += hurried[i].late;
	}
	ck_assert_uint_eq(stats().hits + stats().misses, values + late);
	ck_assert_uint_ge(stats().misses, late + loads);
	ck_assert_uint_eq(stats().load_successes, loads);
	ck_assert_uint_eq(stats().load_failures, 0);
	if (weakref_checks_enabled())
		ck_assert_int_gt(weakref_checks_validate(), -1);
}
END_TEST

/* ---- no memory ----------------------------------------------------------------------------------------------------------- */

/* Each allocation of a wait fails once: it leaves nothing, and what it waited for is stored all the same. */
START_TEST(test_no_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	struct getter getter;
	bool failed = false;
	void *value;

	make_cache("maximumSize=100,recordStats");
	hold = true;
	getter_start(&getter, 1);
	ck_assert(until_held(1));
	for (unsigned long n = 1, over = 0; over == 0; n++) {
		value = things;
		weakref_checks_fail_allocation(n);
		int result = weakref_cache_get_wait(cache, KEY(1), n % 2 == 0 ? 0 : 0.001, &value);
		over = weakref_checks_fail_allocation(0) != 0;
		ck_assert_int_eq(result, over ? -ETIMEDOUT : -ENOMEM);
		ck_assert_ptr_null(value);
		failed = failed || !over;
	}
	ck_assert(failed);
	hold = false;
	getter_join(&getter);
	ck_assert_int_eq(getter.result, 0);
	ck_assert_int_eq(get_now(1, &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_uint_eq(loads, 1);
	ck_assert_int_gt(weakref_checks_validate(), -1);
}
END_TEST

/* ---- the clock ----------------------------------------------------------------------------------------------------------- */

static void *move_the_clock(void *done)
{
	while (!*(_Atomic bool *)done) {
		weakref_checks_clock_advance(SECOND);
		sched_yield();
	}
	return NULL;
}

/* The time is the library's clock, not the cache's: moved on, it ends a wait. */
START_TEST(test_R240_clock)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	_Atomic bool done = false;
	struct getter getter;
	pthread_t thread;
	void *value;

	make_cache("");
	hold = true;
	getter_start(&getter, 1);
	ck_assert(until_held(1));
	ck_assert_int_eq(pthread_create(&thread, NULL, move_the_clock, &done), 0);
	int result = weakref_cache_get_wait(cache, KEY(1), 100000, &value);
	done = true;
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, -ETIMEDOUT);
	hold = false;
	getter_join(&getter);
	ck_assert_int_eq(getter.result, 0);
	/* One of a load that ends before the time, which stands still. */
	struct waiter waiter;
	hold = true;
	getter_start(&getter, 2);
	ck_assert(until_held(1));
	waiter_start(&waiter, 2, 1);
	now_ns += 1000 * SECOND;
	hold = false;
	getter_join(&getter);
	ck_assert_ptr_eq(waiter_join(&waiter), thing(2));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_wait");
	TCase *tc = support_tcase("cache_wait");

	tcase_add_test(tc, test_R240_nobody_else);
	tcase_add_test(tc, test_R240_refused);
	tcase_add_test(tc, test_R240_strings);
	tcase_add_test(tc, test_R240_load_goes_on);
	tcase_add_test(tc, test_R240_others_go_on_waiting);
	tcase_add_loop_test(tc, test_R240_whose_key, 0, HOLDERS);
	tcase_add_loop_test(tc, test_R240_reads_the_old_value, 0, 2);
	tcase_add_loop_test(tc, test_R240_loads_itself, 0, 3);
	tcase_add_test(tc, test_R150_cancelled_when_woken);
	tcase_add_test(tc, test_R241_deadlock);
	tcase_add_test(tc, test_R241_no_wait_is_no_deadlock);
	tcase_add_loop_test(tc, test_R240_at_the_deadline, 0, 2);
	tcase_add_test(tc, test_no_memory);
	/* The last one: from then on the clock stands still. */
	tcase_add_test(tc, test_R240_clock);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

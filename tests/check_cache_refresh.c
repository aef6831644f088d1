/* SPDX-License-Identifier: MIT */
/*
 * check_cache_refresh: weakref/cache.h: refreshing, by age and when asked, and executors, which may refuse, be late, or drop what they get.
 * Tests named h34 and so on are the lines of the conformance list. The clock is the tests' own.
 */
#define GC_THREADS
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include <gc/gc.h>

#include "loader.h"
#include "weakref/checks.h"

#define N SUPPORT_N

/* H34: the first read past the time returns the old value and reloads; later ones see the new. H44: get-if-present does so too. */
START_TEST(test_h34_h44_refresh)
{
	void *value;

	make_cache("refreshAfterWrite=10s,recordStats");
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	now_ns += 10 * SECOND - 1;
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_uint_eq(reloads, 0);
	now_ns += 1;
	if (_i == 0) {
		ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
		ck_assert_ptr_eq(value, thing(1));
	} else {
		ck_assert_ptr_eq(GET(1), thing(1));
	}
	ck_assert_uint_eq(reloads, 1);
	ck_assert_ptr_eq(GET(1), thing(1001));
	ck_assert_uint_eq(reloads, 1);
	now_ns += 10 * SECOND;
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 1);
	ck_assert_uint_eq(reloads, 1);
	ck_assert_uint_eq(stats().load_successes, 2);
}
END_TEST

static int put_five(weakref_ref *ref, void *unused)
{
	(void)ref;
	(void)unused;
	return weakref_cache_put(cache, KEY(1), thing(5));
}

static int make_dying(void *refs)
{
	for (size_t i = 0; i < N; i++)
		if ((((weakref_ref **)refs)[i] = weakref_ref_new(support_node_new(i), put_five, NULL)) == NULL)
			return 1;
	return 0;
}

/* R154: a value that was written after a look-up found the entry old, and before that began a reload, is not reloaded. */
START_TEST(test_written_before_the_reload)
{
	weakref_ref **refs = gc_alloc(N * sizeof *refs);

	make_cache("refreshAfterWrite=10s");
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
	gc_set_delivery(WEAKREF_DELIVER_MANUAL);
	ck_assert_int_eq(support_on_thread(make_dying, refs), 0);
	support_collect();
	ck_assert(gc_callbacks_pending());
	now_ns += 10 * SECOND;
	/* The next allocation runs them: the reload's. */
	gc_set_delivery(WEAKREF_DELIVER_AT_ALLOCATION);
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_ptr_eq(GET(1), thing(5));
	ck_assert_uint_eq(reloads, 0);
	SUPPORT_KEEP(refs);
}
END_TEST

/* H35: a reload that fails keeps the old value, is counted, and is tried again by the next read. */
START_TEST(test_h35_failed_reload)
{
	void *value;

	make_cache("refreshAfterWrite=10s,recordStats");
	weakref_cache_get(cache, KEY(1), &value);
	now_ns += 10 * SECOND;
	load_error = -EBUSY;
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_ptr_eq(GET(1), thing(1));
	load_error = 0;
	load_none = true;
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_uint_eq(reloads, 3);
	ck_assert_uint_eq(stats().load_failures, 3);
	load_none = false;
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_ptr_eq(GET(1), thing(1001));
}
END_TEST

/* weakref_cache_refresh loads what is absent and reloads what is there; the old value stays where it fails. */
START_TEST(test_explicit_refresh)
{
	make_cache("");
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), 0);
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), 0);
	ck_assert_ptr_eq(GET(1), thing(1001));
	load_error = -EBUSY;
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), -EBUSY);
	ck_assert_ptr_eq(GET(1), thing(1001));
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(2)), -EBUSY);
	ck_assert_ptr_null(GET(2));
	ck_assert_uint_eq(loads, 2);
	ck_assert_uint_eq(reloads, 2);
}
END_TEST

/* ---- what happens while a reload runs ---- */

static void *refresh_run(void *result)
{
	*(int *)result = weakref_cache_refresh(cache, KEY(1));
	return NULL;
}

static void *put_five_if_absent(void *none)
{
	(void)none;
	return weakref_cache_put_if_absent(cache, KEY(1), thing(5));
}

static int to_five(const void *key, void *old, void **value, void *user)
{
	(void)key;
	(void)old;
	(void)user;
	*value = thing(5);
	return 0;
}

static int remove_it(const void *key, void *old, void **value, void *user)
{
	(void)key;
	(void)old;
	(void)user;
	*value = NULL;
	return 0;
}

/* Those from CHANGES_NOTHING on leave the entry as it is. */
enum meanwhile { PUT, PUT_SAME, REPLACE, COMPUTE, INVALIDATE, INVALIDATE_ALL, REMOVE, COMPUTE_NONE, CHANGES_NOTHING,
		 PUT_IF_ABSENT = CHANGES_NOTHING, REPLACE_OTHER, REMOVE_OTHER, ABSENT_LOAD, READ, PEEK, MEANWHILES };

static int load_never(const void *key, void **value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return -EIO;
}

/* Whether it did what it was to do. */
static bool happens(enum meanwhile what)
{
	void *value;

	switch (what) {
	case PUT: return weakref_cache_put(cache, KEY(1), thing(5)) == 0;
	case PUT_SAME: return weakref_cache_put(cache, KEY(1), thing(1)) == 0;
	case REPLACE: return weakref_cache_replace(cache, KEY(1), thing(1), thing(5)) == 1;
	case COMPUTE: return weakref_cache_compute(cache, KEY(1), to_five, NULL, NULL) == 0;
	case INVALIDATE: return weakref_cache_invalidate(cache, KEY(1)) == 0;
	case INVALIDATE_ALL: return weakref_cache_invalidate_all(cache) == 0;
	case REMOVE: return weakref_cache_remove(cache, KEY(1), NULL, NULL) == 1;
	case COMPUTE_NONE: return weakref_cache_compute_if_present(cache, KEY(1), remove_it, NULL, NULL) == 0;
	case PUT_IF_ABSENT: return weakref_cache_put_if_absent(cache, KEY(1), thing(5)) == thing(1);
	case REPLACE_OTHER: return weakref_cache_replace(cache, KEY(1), thing(9), thing(5)) == 0;
	case REMOVE_OTHER: return weakref_cache_remove(cache, KEY(1), thing(9), NULL) == 0;
	case ABSENT_LOAD: return weakref_cache_compute_if_absent(cache, KEY(1), load_never, NULL, &value) == 0 && value == thing(1);
	case READ: return GET(1) == thing(1);
	default: return weakref_cache_policy_peek(cache, KEY(1), &value) == 0 && value == thing(1);
	}
}

/* R154: writes overtake a reload, one of the same value too: it changes neither value nor age. What changes nothing does not overtake it, and
 * does not wait for it. */
START_TEST(test_while_reloading)
{
	static const double age = 3;

	for (enum meanwhile what = PUT; what < MEANWHILES; what++) {
		int result = 1;
		double seconds = -1;
		pthread_t thread;
		void *value;
		make_cache("refreshAfterWrite=10s,expireAfterWrite=100s,recordStats,maximumSize=10");
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
		hold = true;
		ck_assert_int_eq(pthread_create(&thread, NULL, refresh_run, &result), 0);
		ck_assert(until_held(1));
		ck_assert_msg(happens(what), "%d", (int)what);
		ck_assert_uint_eq(held, 1);
		now_ns += 3 * SECOND;
		hold = false;
		pthread_join(thread, NULL);
		ck_assert_int_eq(result, 0);
		void *expected = what >= CHANGES_NOTHING ? thing(1001) : what == PUT_SAME ? thing(1) : what >= INVALIDATE ? NULL : thing(5);
		ck_assert_int_eq(weakref_cache_policy_peek(cache, KEY(1), &value), expected != NULL ? 0 : -ENOENT);
		ck_assert_ptr_eq(value, expected);
		int error = weakref_cache_policy_age(cache, WEAKREF_CACHE_AFTER_WRITE, KEY(1), &seconds);
		ck_assert_int_eq(error, expected != NULL ? 0 : -ENOENT);
		if (error == 0)
			ck_assert_double_eq(seconds, what >= CHANGES_NOTHING ? 0 : age);
		ck_assert_uint_eq(stats().load_successes, 1);
		ck_assert_uint_eq(weakref_cache_len(cache), expected != NULL);
		/* The next one is not kept from reloading. */
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(7)), 0);
		now_ns += 10 * SECOND;
		ck_assert_ptr_eq(GET(1), thing(7));
		ck_assert_ptr_eq(GET(1), thing(1007));
	}
}
END_TEST

/* The entry goes for its age, or for size, while it is reloaded: the new value is the caller's, and it does not bring the entry back. */
START_TEST(test_gone_while_reloading)
{
	for (int by_size = 0; by_size < 2; by_size++) {
		int result = 1;
		pthread_t thread;
		make_cache(by_size ? "maximumSize=10" : "expireAfterWrite=10s");
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
		hold = true;
		ck_assert_int_eq(pthread_create(&thread, NULL, refresh_run, &result), 0);
		ck_assert(until_held(1));
		now_ns += 10 * SECOND;
		if (by_size)
			ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, 0), 0);
		ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
		if (by_size)
			ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, 10), 0);
		hold = false;
		pthread_join(thread, NULL);
		ck_assert_int_eq(result, 0);
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
		ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 0);
	}
}
END_TEST

/* A key that is absent, and is invalidated while a refresh loads it, stays absent. */
START_TEST(test_refresh_of_what_is_absent)
{
	int result = 1;
	pthread_t thread;

	make_cache("recordStats");
	hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, refresh_run, &result), 0);
	ck_assert(until_held(1));
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	hold = false;
	pthread_join(thread, NULL);
	ck_assert_int_eq(result, 0);
	ck_assert_uint_eq(loads, 1);
	ck_assert_ptr_null(GET(1));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
}
END_TEST

/* R148, R152: a refresh of what is absent is a load: who gets the key meanwhile, or would put a value where there is none, shares it. */
START_TEST(test_refresh_of_what_is_absent_is_shared)
{
	int result = 1;
	pthread_t thread, putter;
	struct getter getter;
	void *put = NULL;

	make_cache("recordStats");
	hold = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, refresh_run, &result), 0);
	ck_assert(until_held(1));
	getter_start(&getter, 1);
	ck_assert_int_eq(pthread_create(&putter, NULL, put_five_if_absent, NULL), 0);
	until_missed(1);
	hold = false;
	pthread_join(thread, NULL);
	getter_join(&getter);
	pthread_join(putter, &put);
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(getter.result, 0);
	ck_assert_ptr_eq(getter.value, thing(1));
	ck_assert_ptr_eq(put, thing(1));
	ck_assert_uint_eq(loads, 1);
	ck_assert_ptr_eq(GET(1), thing(1));
}
END_TEST

/* What another thread does with the key when a refresh is asked for: a function of compute, which fails or not, and a load that its thread
 * ends in. */
enum { FAILS, SUCCEEDS, ENDS, BEFORE };

static int held_compute(const void *key, void *old, void **value, void *what)
{
	(void)key;
	(void)old;
	wait_while_held();
	*value = thing(5);
	return *(int *)what == FAILS ? -EIO : 0;
}

static int held_end(const void *key, void **value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	wait_while_held();
	pthread_exit(NULL);
}

static void *before_run(void *what)
{
	void *value;

	if (*(int *)what == ENDS)
		weakref_cache_get_with(cache, KEY(1), held_end, NULL, &value);
	else
		weakref_cache_compute(cache, KEY(1), held_compute, what, &value);
	return NULL;
}

/* R154, R150: a refresh has nothing of these: it waits, and then loads. */
START_TEST(test_refresh_after_others)
{
	for (int what = FAILS; what < BEFORE; what++) {
		int result = 1;
		pthread_t before, thread;
		make_cache("recordStats");
		if (what != ENDS)
			ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
		hold = true;
		ck_assert_int_eq(pthread_create(&before, NULL, before_run, &what), 0);
		ck_assert(until_held(1));
		ck_assert_int_eq(pthread_create(&thread, NULL, refresh_run, &result), 0);
		until_missed(0);
		ck_assert_uint_eq(loads + reloads, 0);
		hold = false;
		pthread_join(before, NULL);
		pthread_join(thread, NULL);
		ck_assert_int_eq(result, 0);
		ck_assert_uint_eq(loads + reloads, 1);
		ck_assert_ptr_eq(GET(1), what == FAILS ? thing(1001) : what == SUCCEEDS ? thing(1005) : thing(1));
	}
}
END_TEST

/* Of several refreshes of one key at once one loads. A thread that comes too late for that is no fault, but not every time. */
START_TEST(test_refreshes_at_once)
{
	unsigned least = UINT_MAX;

	for (int turn = 0; turn < 20 && least > 1; turn++) {
		int results[4] = {1, 1, 1, 1};
		pthread_t threads[4];
		make_cache("recordStats");
		hold = true;
		for (size_t i = 0; i < 4; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, refresh_run, &results[i]), 0);
		ck_assert(until_held(1));
		until_missed(0);
		hold = false;
		for (size_t i = 0; i < 4; i++) {
			pthread_join(threads[i], NULL);
			ck_assert_int_eq(results[i], 0);
		}
		unsigned n = loads + reloads;
		ck_assert_uint_eq(stats().load_successes, n);
		least = n < least ? n : least;
	}
	ck_assert_uint_eq(least, 1);
}
END_TEST

static int64_t weight_now;

static int64_t weigh(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return weight_now;
}

/* A reload whose value is refused has failed: the old one stays, with its weight, and the next read tries again. */
START_TEST(test_refused_reload)
{
	weakref_cache_builder *b = builder("refreshAfterWrite=10s,maximumWeight=100,recordStats", true, false);
	uint32_t weight = 0;

	weight_now = 7;
	ck_assert_int_eq(weakref_cache_builder_weigher(b, weigh, NULL), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
	now_ns += 10 * SECOND;
	weight_now = -EBUSY;
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), -EBUSY);
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(2)), -EBUSY);
	ck_assert_uint_eq(stats().load_failures, 3);
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(1), &weight), 0);
	ck_assert_uint_eq(weight, 7);
	weight_now = 9;
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_ptr_eq(GET(1), thing(1001));
	ck_assert_int_eq(weakref_cache_policy_weight(cache, KEY(1), &weight), 0);
	ck_assert_uint_eq(weight, 9);
	ck_assert_uint_eq(stats().load_successes, 1);
	ck_assert_uint_eq(weakref_cache_len(cache), 1);
}
END_TEST

/* A refresh begins both times anew; one read of several that is due reloads, whatever reads there are. */
START_TEST(test_refresh_and_expiry)
{
	const void *keys[] = {KEY(1), KEY(2), KEY(3)};
	void *values[3];

	make_cache("refreshAfterWrite=10s,expireAfterWrite=25s,recordStats");
	for (intptr_t i = 1; i <= 3; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), thing((size_t)i)), 0);
	for (size_t turn = 0; turn < 3; turn++) {
		now_ns += 10 * SECOND;
		ck_assert_int_eq(turn == 0 ? (long)weakref_cache_get_all(cache, keys, 2, values)
					   : weakref_cache_get_all_present(cache, keys, 2, values) - 2,
				 0);
		ck_assert_ptr_eq(values[0], thing(1 + turn * 1000));
		ck_assert_uint_eq(reloads, 2 * (turn + 1));
	}
	/* Nobody read the third in time. */
	ck_assert_ptr_eq(GET(1), thing(3001));
	ck_assert_ptr_null(GET(3));
	now_ns += 25 * SECOND;
	ck_assert_ptr_null(GET(1));
	ck_assert_uint_eq(reloads, 6);
	ck_assert_uint_eq(loads, 0);
}
END_TEST

/* ---- executors ---- */

static void (*task_given)(void *arg);
static void *task_arg;
static int executor_result;

static int execute(void (*task)(void *arg), void *arg, void *user)
{
	(void)user;
	if (executor_result < 0)
		return executor_result;
	task_given = task;
	task_arg = arg;
	return 0;
}

/* A cache whose executor has been given the reload of key 1, which is there and old. */
static void begin_reload(const char *spec)
{
	weakref_cache_builder *b = builder(spec, true, false);
	void *value;

	ck_assert_int_eq(weakref_cache_builder_executor(b, execute, NULL), 0);
	cache = weakref_cache_builder_build(b);
	executor_result = 0;
	weakref_cache_get(cache, KEY(1), &value);
	now_ns += 10 * SECOND;
	ck_assert_ptr_eq(GET(1), thing(1));
}

/* An executor reloads: until it does, everybody reads the old value, and none reloads once more. One that refuses leaves it to the reader. */
START_TEST(test_executor)
{
	begin_reload("refreshAfterWrite=10s");
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_uint_eq(reloads, 0);
	task_given(task_arg);
	ck_assert_uint_eq(reloads, 1);
	ck_assert_ptr_eq(GET(1), thing(1001));
	/* What is stored meanwhile is newer than what is loaded. */
	now_ns += 10 * SECOND;
	GET(1);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(3)), 0);
	task_given(task_arg);
	ck_assert_ptr_eq(GET(1), thing(3));
	executor_result = -EBUSY;
	now_ns += 10 * SECOND;
	ck_assert_ptr_eq(GET(1), thing(3));
	ck_assert_ptr_eq(GET(1), thing(1003));
	task_arg = NULL;
}
END_TEST

/* Reads N keys that are due, which gives N tasks to the executor. */
static int read_all(void *none)
{
	(void)none;
	for (size_t i = 0; i < N; i++)
		SUPPORT_REQUIRE(GET((intptr_t)i) == thing(i));
	return 0;
}

static unsigned given;

static int drop_task(void (*task)(void *arg), void *arg, void *user)
{
	(void)arg;
	(void)user;
	task_given = task;
	given++;
	return 0;
}

static int keep_task(void (*task)(void *arg), void *arg, void *user)
{
	((void **)user)[given++] = arg;
	task_given = task;
	return 0;
}

/* N keys that are due, in a cache with an executor. */
static void make_due(weakref_cache_executor_fn executor, void *user)
{
	weakref_cache_builder *b = builder("refreshAfterWrite=10s,recordStats", true, false);
	void *value;

	ck_assert_int_eq(weakref_cache_builder_executor(b, executor, user), 0);
	cache = weakref_cache_builder_build(b);
	for (size_t i = 0; i < N; i++)
		ck_assert_int_eq(weakref_cache_get(cache, KEY((intptr_t)i), &value), 0);
	now_ns += 10 * SECOND;
	given = 0;
}

/* A task that the executor forgot has failed when the collector has found it: the next look-up gives another. */
START_TEST(test_executor_drops)
{
	void **tasks;

	make_due(drop_task, NULL);
	ck_assert_int_eq(support_on_thread(read_all, NULL), 0);
	ck_assert_uint_eq(given, N);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_ge(stats().load_failures, N - SUPPORT_SLACK);
	unsigned before = given;
	ck_assert_int_eq(support_on_thread(read_all, NULL), 0);
	ck_assert_uint_ge(given - before, N - SUPPORT_SLACK);
	ck_assert_uint_eq(reloads, 0);
	/* Tasks that are kept are never taken for dropped ones. */
	tasks = gc_alloc(N * sizeof *tasks);
	make_due(keep_task, tasks);
	ck_assert_int_eq(support_on_thread(read_all, NULL), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_int_eq(support_on_thread(read_all, NULL), 0);
	ck_assert_uint_eq(given, N);
	ck_assert_uint_eq(stats().load_failures, 0);
	for (size_t i = 0; i < N; i++)
		task_given(tasks[i]);
	ck_assert_uint_eq(reloads, N);
	ck_assert_ptr_eq(GET(5), thing(1005));
	SUPPORT_KEEP(tasks);
}
END_TEST

static double forever(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return HUGE_VAL;
}

/* The entry that is being read goes. */
static double invalidate_it(const void *key, void *value, double left, void *user)
{
	(void)value;
	(void)user;
	ck_assert_int_eq(weakref_cache_invalidate(cache, key), 0);
	return left;
}

static int read_what_goes(void *none)
{
	SUPPORT_REQUIRE(none == NULL);
	for (size_t i = 0; i < N; i++) {
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(1), thing(1)) == 0);
		now_ns += 10 * SECOND;
		SUPPORT_REQUIRE(GET(1) == thing(1));
		/* A collection between finds the task, but not the work that the stack still shows. */
		if (i % 10 == 9)
			SUPPORT_REQUIRE(gc_collect() >= 0);
	}
	return 0;
}

/* A task for an entry that went before the reload could begin is given to nobody, and is nothing to whoever finds that it died. */
START_TEST(test_gone_before_the_reload)
{
	weakref_cache_builder *b = builder("refreshAfterWrite=10s", true, false);

	ck_assert_int_eq(weakref_cache_builder_executor(b, drop_task, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &(weakref_cache_expiry){.create = forever, .read = invalidate_it}), 0);
	cache = weakref_cache_builder_build(b);
	given = 0;
	ck_assert_int_eq(read_what_goes(NULL), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_eq(given, 0);
	ck_assert_uint_eq(reloads, 0);
}
END_TEST

/* Another takes its place. */
static double put_over_it(const void *key, void *value, double left, void *user)
{
	(void)value;
	(void)user;
	ck_assert_int_eq(weakref_cache_put(cache, key, thing(2)), 0);
	return left;
}

/* What was replaced while it was being read is not reloaded. */
START_TEST(test_replaced_before_the_reload)
{
	weakref_cache_builder *b = builder("refreshAfterWrite=10s", true, false);

	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &(weakref_cache_expiry){.create = forever, .read = put_over_it}), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(1)), 0);
	now_ns += 10 * SECOND;
	ck_assert_ptr_eq(GET(1), thing(1));
	ck_assert_uint_eq(reloads, 0);
	ck_assert_int_eq(weakref_cache_contains(cache, KEY(1)), 1);
}
END_TEST

/* Nobody waits for a task that has not begun: a refresh that is asked for overtakes it, and so does a write; it then does nothing. */
START_TEST(test_executor_is_late)
{
	begin_reload("refreshAfterWrite=10s,recordStats");
	ck_assert_int_eq(weakref_cache_refresh(cache, KEY(1)), 0);
	ck_assert_ptr_eq(GET(1), thing(1001));
	task_given(task_arg);
	ck_assert_uint_eq(reloads, 1);
	now_ns += 10 * SECOND;
	GET(1);
	task_given(task_arg);
	task_given(task_arg);
	ck_assert_uint_eq(reloads, 2);
	now_ns += 10 * SECOND;
	GET(1);
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	task_given(task_arg);
	ck_assert_uint_eq(reloads, 2);
	ck_assert_ptr_null(GET(1));
	ck_assert_uint_eq(stats().load_failures, 0);
	task_arg = NULL;
}
END_TEST

static int read_in_child(void *none)
{
	(void)none;
	GET(1);
	SUPPORT_REQUIRE(given == N + 1);
	return 0;
}

/* In a child after fork a reload that the parent's executor has is not waited for. */
START_TEST(test_executor_of_the_parent)
{
	void **tasks = gc_alloc((N + 1) * sizeof *tasks);

	make_due(keep_task, tasks);
	ck_assert_int_eq(support_on_thread(read_all, NULL), 0);
	ck_assert_uint_eq(given, N);
	ck_assert_int_eq(support_in_child(read_in_child, NULL), 0);
	GET(1);
	ck_assert_uint_eq(given, N);
	SUPPORT_KEEP(tasks);
}
END_TEST

/* A read that begins a reload never fails for lack of memory, and leaves nothing half begun: the next one reloads. */
START_TEST(test_executor_no_memory)
{
	void **tasks = gc_alloc(N * sizeof *tasks);

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "only with --enable-checks");
	make_due(keep_task, tasks);
	for (unsigned long n = 1;; n++) {
		weakref_checks_fail_allocation(n);
		void *value = GET(2);
		bool over = weakref_checks_fail_allocation(0) != 0;
		ck_assert_ptr_eq(value, thing(2));
		if (over)
			break;
	}
	ck_assert_uint_eq(given, 1);
	task_given(tasks[0]);
	ck_assert_ptr_eq(GET(2), thing(1002));
	ck_assert_int_gt(weakref_checks_validate(), -1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_refresh");
	TCase *tc = support_tcase("cache_refresh");

	tcase_add_loop_test(tc, test_h34_h44_refresh, 0, 2);
	tcase_add_test(tc, test_written_before_the_reload);
	tcase_add_test(tc, test_h35_failed_reload);
	tcase_add_test(tc, test_explicit_refresh);
	tcase_add_test(tc, test_while_reloading);
	tcase_add_test(tc, test_gone_while_reloading);
	tcase_add_test(tc, test_refresh_of_what_is_absent);
	tcase_add_test(tc, test_refresh_of_what_is_absent_is_shared);
	tcase_add_test(tc, test_refresh_after_others);
	tcase_add_test(tc, test_refreshes_at_once);
	tcase_add_test(tc, test_refused_reload);
	tcase_add_test(tc, test_refresh_and_expiry);
	tcase_add_test(tc, test_executor);
	tcase_add_test(tc, test_executor_drops);
	tcase_add_test(tc, test_gone_before_the_reload);
	tcase_add_test(tc, test_replaced_before_the_reload);
	tcase_add_test(tc, test_executor_is_late);
	tcase_add_test(tc, test_executor_of_the_parent);
	tcase_add_test(tc, test_executor_no_memory);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

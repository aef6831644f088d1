/* SPDX-License-Identifier: MIT */
/*
 * check_cache_refresh: weakref/cache.h: refreshing, by age and when asked, and executors, which may refuse, be late, or drop what they get.
 * Tests named h34 and so on are the lines of the conformance list. The clock is the tests' own.
 */
#include <errno.h>
#include <stdlib.h>

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
	tcase_add_test(tc, test_executor);
	tcase_add_test(tc, test_executor_drops);
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

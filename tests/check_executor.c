/* SPDX-License-Identifier: MIT */
/*
 * check_executor: weakref/executor.h.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/executor.h"
#include "weakref/finalize.h"

static pthread_t ran_in[2 * SUPPORT_N];
static uintptr_t ran_what[2 * SUPPORT_N];
static size_t ran;

static int note(weakref_ref *ref, void *data)
{
	if (weakref_ref_get(ref) != NULL || ran == 2 * SUPPORT_N)
		return -EDOM;
	ran_in[ran] = pthread_self();
	ran_what[ran++] = (uintptr_t)data;
	return 0;
}

struct batch {
	weakref_executor *executor;
	weakref_ref *refs[SUPPORT_N];
	bool is_long;
	bool finalized; /* finalizers are due as well, and callbacks are put in their order */
};

static int nothing(void *args)
{
	(void)args;
	return 0;
}

/* Every second one is for the executor, the oldest among them. */
static int make(void *arg)
{
	struct batch *b = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *node = support_node_new(i);
		weakref_ref_options options = {.callback = note, .data = (void *)(i + 1), .is_long = b->is_long};
		SUPPORT_REQUIRE(node != NULL);
		SUPPORT_REQUIRE(!b->finalized || weakref_finalize_new(node, nothing, NULL) != NULL);
		if (i % 2 == 0)
			options.executor = b->executor;
		b->refs[i] = weakref_ref_new_with(node, &options);
		void *data = NULL;
		SUPPORT_REQUIRE(b->refs[i] != NULL && weakref_ref_callback(b->refs[i], &data) == note);
		SUPPORT_REQUIRE(data == (void *)(i + 1));
	}
	return 0;
}

struct worker {
	struct batch *batch;
	sem_t ready, go;
	long found, again;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	w->batch->executor = weakref_executor_new("worker");
	sem_post(&w->ready);
	while (sem_wait(&w->go) != 0)
		;
	w->found = weakref_executor_run(w->batch->executor);
	w->again = weakref_executor_run(w->batch->executor);
	return NULL;
}

/* T14: callbacks for an executor run in its thread alone, when it asks for them; the others where the rule says; newest first. */
START_TEST(test_T14_affinity)
{
	struct worker *w = gc_alloc(sizeof *w);

	w->batch = gc_alloc(sizeof *w->batch);
	w->batch->is_long = _i % 2 == 1;
	w->batch->finalized = _i / 2 == 1;
	sem_init(&w->ready, 0, 0);
	sem_init(&w->go, 0, 0);
	ran = 0;
	ck_assert_int_eq(pthread_create(&w->thread, NULL, work, w), 0);
	while (sem_wait(&w->ready) != 0)
		;
	ck_assert_str_eq(weakref_executor_name(w->batch->executor), "worker");
	ck_assert_int_eq(support_on_thread(make, w->batch), 0);
	support_collect();
	gc_run_callbacks();
	size_t here = ran;
	ck_assert_uint_ge(here, SUPPORT_N / 2 - SUPPORT_SLACK);
	for (size_t i = 0; i < here; i++)
		ck_assert_uint_eq(ran_what[i] % 2, 0);
	ck_assert(weakref_executor_pending(w->batch->executor));
	ck_assert_int_eq(weakref_executor_run(w->batch->executor), -WEAKREF_EPERM);
	ck_assert_uint_eq(ran, here);
	sem_post(&w->go);
	pthread_join(w->thread, NULL);
	ck_assert_int_ge(w->found, (long)(SUPPORT_N / 2 - SUPPORT_SLACK));
	ck_assert_int_eq(w->again, 0);
	ck_assert_uint_eq(ran - here, (size_t)w->found);
	for (size_t i = here; i < ran; i++) {
		ck_assert(pthread_equal(ran_in[i], w->thread));
		ck_assert_uint_eq(ran_what[i] % 2, 1);
		if (i > here && support_collect_every() == 0 && !GC_is_incremental_mode())
			ck_assert_uint_lt(ran_what[i], ran_what[i - 1]);
	}
	ck_assert(!weakref_executor_pending(w->batch->executor));
	SUPPORT_KEEP(w);
}
END_TEST

static int make_executor(void *arg)
{
	struct batch *b = arg;

	b->executor = weakref_executor_new("short-lived");
	SUPPORT_REQUIRE(b->executor != NULL);
	return make(b);
}

/* T15: what waits survives the end of the executor's thread, and collections; the thread that takes its place runs it. */
START_TEST(test_T15_adopt)
{
	struct batch *b = gc_alloc(sizeof *b);

	gc_set_delivery((enum weakref_delivery)_i);
	ran = 0;
	ck_assert_int_eq(support_on_thread(make_executor, b), 0);
	support_collect();
	support_collect();
	size_t others = ran;
	ck_assert_int_eq(weakref_executor_run(b->executor), -WEAKREF_EPERM);
	ck_assert_int_eq(weakref_executor_adopt(b->executor), 0);
	long found = weakref_executor_run(b->executor);
	ck_assert_int_ge(found, (long)(SUPPORT_N / 2 - SUPPORT_SLACK));
	ck_assert_uint_eq(ran, others + (size_t)found);
	SUPPORT_KEEP(b);
}
END_TEST

static int drop_executor(void *arg)
{
	struct batch *b = arg;

	b->executor = NULL;
	memset(b->refs, 0, sizeof b->refs);
	return 0;
}

/* References dropped while their callbacks wait: the executor holds them, with their data, until they have run. */
START_TEST(test_waiting_is_held)
{
	struct batch *b = gc_alloc(sizeof *b);

	b->executor = weakref_executor_new("main");
	ran = 0;
	ck_assert_int_eq(support_on_thread(make, b), 0);
	support_collect();
	memset(b->refs, 0, sizeof b->refs);
	support_collect();
	support_churn(2, (size_t)64 << 20);
	ran = 0;
	ck_assert_int_ge(weakref_executor_run(b->executor), (long)(SUPPORT_N / 2 - SUPPORT_SLACK));
	for (size_t i = 0; i < ran; i++)
		ck_assert_uint_eq(ran_what[i] % 2, 1);
	SUPPORT_KEEP(b);
}
END_TEST

/* An executor that nobody holds goes with what waits in it. */
START_TEST(test_dropped_executor)
{
	struct batch *b = gc_alloc(sizeof *b);
	weakref_ref **watch = gc_alloc(SUPPORT_N * sizeof *watch);
	size_t dead = 0;

	for (size_t round = 0; round < 8; round++) {
		ran = 0;
		ck_assert_int_eq(support_on_thread(make_executor, b), 0);
		watch[round] = weakref_ref_new(b->executor, NULL, NULL);
		support_collect();
		ck_assert_int_eq(support_in_frame(drop_executor, b), 0);
		support_collect();
		dead += weakref_ref_get(watch[round]) == NULL;
	}
	ck_assert_uint_ge(dead, 8 - SUPPORT_SLACK);
	SUPPORT_KEEP(b);
}
END_TEST

/* ---- tasks ---- */

struct tasks {
	weakref_executor *executor;
	size_t made, ran, wrong;
	pthread_t thread;
	bool again;
};

static struct tasks *tasks;

/* Each has a block that nothing but its waiting holds; they come in order. */
static void task(void *arg)
{
	struct support_node *node = arg;

	tasks->wrong += !support_node_intact(node) || node->id != tasks->ran || !pthread_equal(pthread_self(), tasks->thread);
	tasks->ran++;
	if (!tasks->again)
		return;
	tasks->again = false;
	tasks->wrong += weakref_executor_submit(tasks->executor, task, support_node_new(tasks->made++)) != 0;
	tasks->wrong += weakref_executor_run(tasks->executor) != 0;
}

static int submit_all(void *arg)
{
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_executor_submit(tasks->executor, task, support_node_new(tasks->made++)) == 0);
	return arg != NULL;
}

static void tasks_begin(void)
{
	tasks = gc_alloc(sizeof *tasks);
	tasks->executor = weakref_executor_new("main");
	tasks->thread = pthread_self();
}

/* R225: tasks of another thread wait, with what they are for, until the executor's thread runs them, in order; one that a task submits
 * is run with them. */
START_TEST(test_R225_tasks)
{
	tasks_begin();
	ck_assert_int_eq(support_on_thread(submit_all, NULL), 0);
	support_collect();
	support_churn(2, (size_t)64 << 20);
	gc_run_callbacks();
	ck_assert_uint_eq(tasks->ran, 0);
	ck_assert(weakref_executor_pending(tasks->executor));
	tasks->again = true;
	ck_assert_int_eq(weakref_executor_run(tasks->executor), SUPPORT_N + 1);
	ck_assert_uint_eq(tasks->ran, SUPPORT_N + 1);
	ck_assert_uint_eq(tasks->wrong, 0);
	ck_assert(!weakref_executor_pending(tasks->executor));
	tasks = NULL;
}
END_TEST

static void count(void *arg)
{
	tasks->wrong += !support_node_intact(arg) || !pthread_equal(pthread_self(), tasks->thread);
	tasks->ran++;
}

/* What a finalizer has to do in a certain thread. */
static int give_back(void *arg)
{
	return weakref_executor_submit(tasks->executor, count, arg);
}

static int make_finalized(void *arg)
{
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_finalize_new(support_node_new(i), give_back, support_node_new(i)) != NULL);
	return arg != NULL;
}

/* R225: finalizers that hand over what they have to do. */
START_TEST(test_R225_finalizers)
{
	tasks_begin();
	ck_assert_int_eq(support_on_thread(make_finalized, NULL), 0);
	support_collect();
	gc_run_callbacks();
	ck_assert_uint_eq(tasks->ran, 0);
	long found = weakref_executor_run(tasks->executor);
	ck_assert_int_ge(found, (long)(SUPPORT_N - SUPPORT_SLACK));
	ck_assert_uint_eq(tasks->ran, (size_t)found);
	ck_assert_uint_eq(tasks->wrong, 0);
	tasks = NULL;
}
END_TEST

/* ---- adoption while it runs ---- */

static struct {
	weakref_executor *executor;
	sem_t begun, adopted;
	size_t before, after; /* tasks that ran in the thread from whom it was taken, and in the other */
	long found, again;
	bool taken;
} change;

/* The third one waits in the middle of its run. */
static void ask(void *arg)
{
	(void)arg;
	*(change.taken ? &change.after : &change.before) += 1;
	if (change.before != 3 || change.taken)
		return;
	sem_post(&change.begun);
	while (sem_wait(&change.adopted) != 0)
		;
}

static void *own_and_lose(void *arg)
{
	if (weakref_executor_adopt(change.executor) != 0)
		return NULL;
	for (size_t i = 0; i < SUPPORT_N; i++)
		weakref_executor_submit(change.executor, ask, NULL);
	change.found = weakref_executor_run(change.executor);
	change.again = weakref_executor_run(change.executor);
	return arg;
}

/* R280: who adopts an executor while its thread is in a task has all that did not begin; the other runs no more. */
START_TEST(test_R280_adopted_while_it_runs)
{
	pthread_t thread;

	memset(&change, 0, sizeof change);
	change.executor = weakref_executor_new("main");
	sem_init(&change.begun, 0, 0);
	sem_init(&change.adopted, 0, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, own_and_lose, NULL), 0);
	while (sem_wait(&change.begun) != 0)
		;
	ck_assert_int_eq(weakref_executor_adopt(change.executor), 0);
	sem_post(&change.adopted);
	pthread_join(thread, NULL);
	ck_assert_int_eq(change.found, 3);
	ck_assert_int_eq(change.again, -WEAKREF_EPERM);
	ck_assert_uint_eq(change.before, 3);
	ck_assert(weakref_executor_pending(change.executor));
	change.taken = true;
	ck_assert_int_eq(weakref_executor_run(change.executor), SUPPORT_N - 3);
	ck_assert_uint_eq(change.after, SUPPORT_N - 3);
	ck_assert(!weakref_executor_pending(change.executor));
	change.executor = NULL;
}
END_TEST

/* What is no executor is refused, and so is one without callback. */
START_TEST(test_refused)
{
	struct support_node *node = support_node_new(1);
	weakref_executor *executor = weakref_executor_new("main"), *none = gc_alloc(64);

	errno = 0;
	ck_assert_ptr_null(weakref_executor_new(NULL));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weakref_ref_new_with(node, &(weakref_ref_options){.executor = executor}));
	ck_assert_ptr_null(weakref_ref_new_with(node, &(weakref_ref_options){.callback = note, .executor = none}));
	ck_assert_int_eq(weakref_executor_run(none), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_executor_adopt(NULL), -WEAKREF_EINVAL);
	ck_assert(!weakref_executor_pending(NULL));
	ck_assert_int_eq(weakref_executor_submit(none, count, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_executor_submit(NULL, count, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_executor_submit(executor, NULL, NULL), -WEAKREF_EINVAL);
	ck_assert(!weakref_executor_pending(executor));
	ck_assert_ptr_null(weakref_executor_name(none));
	ck_assert_uint_eq(weakref_getweakrefcount(node), 0);
	SUPPORT_KEEP(node);
}
END_TEST

/* Each allocation of a reference with an executor failing in turn: ENOMEM, and no reference is left. */
START_TEST(test_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	struct support_node *node = support_node_new(1);
	weakref_executor *executor = weakref_executor_new("main");
	weakref_ref_options options = {.callback = note, .executor = executor};
	weakref_ref *ref = NULL;
	unsigned failed = 0;

	weakref_checks_fail_allocation(1);
	ck_assert_ptr_null(weakref_executor_new("x"));
	weakref_checks_fail_allocation(1);
	ck_assert_int_eq(weakref_executor_submit(executor, count, NULL), -WEAKREF_ENOMEM);
	weakref_checks_fail_allocation(0);
	ck_assert(!weakref_executor_pending(executor));
	for (unsigned long nth = 1; ref == NULL && nth < 20; nth++) {
		weakref_checks_fail_allocation(nth);
		ref = weakref_ref_new_with(node, &options);
		int error = errno;
		weakref_checks_fail_allocation(0);
		failed += ref == NULL;
		if (ref == NULL) {
			ck_assert_int_eq(error, ENOMEM);
			ck_assert_uint_eq(weakref_getweakrefcount(node), 0);
		}
	}
	ck_assert_ptr_nonnull(ref);
	ck_assert_uint_ge(failed, 2);
	SUPPORT_KEEP(node);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("executor");
	TCase *tcase = support_tcase("executor");

	tcase_add_loop_test(tcase, test_T14_affinity, 0, 4);
	tcase_add_loop_test(tcase, test_T15_adopt, 0, 3);
	tcase_add_test(tcase, test_waiting_is_held);
	tcase_add_test(tcase, test_dropped_executor);
	tcase_add_test(tcase, test_R225_tasks);
	tcase_add_test(tcase, test_R225_finalizers);
	tcase_add_test(tcase, test_R280_adopted_while_it_runs);
	tcase_add_test(tcase, test_refused);
	tcase_add_test(tcase, test_without_memory);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_executor_wait: how an executor's thread learns that something waits (weakref/executor.h): weakref_executor_wait and
 * weakref_executor_fd; fork, cancellation, and stress tests in which no wake-up is lost. What an executor runs: check_executor.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* gettid */
#endif
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <gc/gc.h>

#include "rawthread.h"
#include "weakref/checks.h"
#include "weakref/executor.h"
#include "weakref/finalize.h"

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

static _Atomic size_t ran;

static void task(void *arg)
{
	(void)arg;
	ran++;
}

/* ---- what it answers ----------------------------------------------------------------------------------------------------- */

/* R226: what waits is found at once, whatever the time; where nothing does, only time ends it. Looking takes nothing. */
START_TEST(test_R226_answers)
{
	static const double times[] = {0, -0.0, 1e-9, 1, 1e300, -1, INFINITY, -INFINITY};
	weakref_executor *executor = weakref_executor_new("main");

	ck_assert_int_eq(weakref_executor_wait(executor, 0), -WEAKREF_ETIMEDOUT);
	ck_assert_int_eq(weakref_executor_wait(executor, -0.0), -WEAKREF_ETIMEDOUT);
	ck_assert_int_eq(weakref_executor_wait(executor, 1e-9), -WEAKREF_ETIMEDOUT);
	ck_assert_int_eq(weakref_executor_wait(executor, 0.001), -WEAKREF_ETIMEDOUT);
	ran = 0;
	ck_assert_int_eq(weakref_executor_submit(executor, task, NULL), 0);
	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		ck_assert_int_eq(weakref_executor_wait(executor, times[i]), 0);
	ck_assert_uint_eq(ran, 0);
	ck_assert_int_eq(weakref_executor_run(executor), 1);
	ck_assert_int_eq(weakref_executor_wait(executor, 0), -WEAKREF_ETIMEDOUT);
	SUPPORT_KEEP(executor);
}
END_TEST

static int wait_elsewhere(void *executor)
{
	SUPPORT_REQUIRE(weakref_executor_wait(executor, -1) == -WEAKREF_EPERM);
	return 0;
}

/* R226: NaN, what is no executor, and threads that are not its own, or nobody's. */
START_TEST(test_R226_refused)
{
	weakref_executor *executor = weakref_executor_new("main"), *none = gc_alloc(64);

	ck_assert_int_eq(weakref_executor_wait(executor, NAN), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_executor_wait(NULL, 0), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_executor_wait(none, 0), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_executor_fd(NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_executor_fd(none), -WEAKREF_EINVAL);
	ck_assert_int_eq(support_on_thread(wait_elsewhere, executor), 0);
	ck_assert_int_eq(weakref_executor_submit(executor, task, NULL), 0);
	ck_assert_int_eq(support_on_thread(wait_elsewhere, executor), 0);
	ck_assert_int_eq(weakref_executor_run(executor), 1);
	SUPPORT_KEEP(executor);
}
END_TEST

static int ask_unknown(void *executor)
{
	SUPPORT_REQUIRE(weakref_executor_wait(executor, 0) == -WEAKREF_EPERM);
	SUPPORT_REQUIRE(weakref_executor_fd(executor) == -WEAKREF_EPERM);
	return 0;
}

/* A thread that the collector does not know. */
START_TEST(test_unknown_thread)
{
	weakref_executor *executor = weakref_executor_new("main");

	ck_assert_int_eq(rawthread_run(ask_unknown, executor), 0);
	SUPPORT_KEEP(executor);
}
END_TEST

static weakref_executor *nested;
static int answers[2];

static void task_waits(void *arg)
{
	(void)arg;
	answers[0] = weakref_executor_wait(nested, -1);
	weakref_executor_submit(nested, task, NULL);
	answers[1] = weakref_executor_wait(nested, 0);
}

static int finalizer_waits(void *arg)
{
	task_waits(arg);
	return 0;
}

static int make_waiting(void *arg)
{
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_finalize_new(support_node_new(i), finalizer_waits, NULL) != NULL);
	return arg != NULL;
}

/* R226: from within a task, and a callback, where nothing would run, it neither waits nor says that something is there to be run. */
START_TEST(test_R226_within_a_callback)
{
	nested = weakref_executor_new("main");
	weakref_executor_submit(nested, task_waits, NULL);
	ck_assert_int_eq(weakref_executor_run(nested), 2);
	ck_assert_int_eq(answers[0], -WEAKREF_EDEADLK);
	ck_assert_int_eq(answers[1], -WEAKREF_EDEADLK);
	answers[0] = answers[1] = 0;
	ck_assert_int_eq(support_on_thread(make_waiting, NULL), 0);
	support_collect();
	ck_assert_int_eq(answers[0], -WEAKREF_EDEADLK);
	ck_assert_int_eq(answers[1], -WEAKREF_EDEADLK);
	nested = NULL;
}
END_TEST

/* The time is the library's clock: moved on, it ends a wait. */
static void *move_the_clock(void *done)
{
	while (!*(_Atomic bool *)done) {
		weakref_checks_clock_advance(UINT64_C(1000000000));
		sched_yield();
	}
	return NULL;
}

START_TEST(test_R226_timeout)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	weakref_executor *executor = weakref_executor_new("main");
	_Atomic bool done = false;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, move_the_clock, &done), 0);
	int answer = weakref_executor_wait(executor, 100000);
	done = true;
	pthread_join(thread, NULL);
	ck_assert_int_eq(answer, -WEAKREF_ETIMEDOUT);
	SUPPORT_KEEP(executor);
}
END_TEST

/* ---- what ends it -------------------------------------------------------------------------------------------------------- */

struct waiter {
	weakref_executor *executor;
	pthread_t thread;
	_Atomic pid_t id;
	void *frame; /* its first */
	int answer;
	long found;
};

static void *wait_and_run(void *arg)
{
	struct waiter *w = arg;

	w->answer = weakref_executor_adopt(w->executor);
	w->frame = __builtin_frame_address(0);
	w->id = gettid();
	if (w->answer == 0)
		w->answer = weakref_executor_wait(w->executor, -1);
	if (w->answer == 0)
		w->found = weakref_executor_run(w->executor);
	return NULL;
}

/* Returns when the thread sleeps, which it does nowhere else while nobody holds what it takes; or when it has ended. */
static int wait_until_asleep(struct waiter *w)
{
	char path[64], line[512], *state;

	while (w->id == 0)
		sched_yield();
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)w->id);
	do {
		sched_yield();
		FILE *file = fopen(path, "r");
		state = file == NULL || fgets(line, sizeof line, file) == NULL ? NULL : strrchr(line, ')');
		if (file != NULL)
			fclose(file);
	} while (state != NULL && state[2] != 'S');
	return 0;
}

/* It sleeps, unless something waited already. */
static struct waiter *waiter_start(weakref_executor *executor)
{
	struct waiter *w = gc_alloc(sizeof *w);

	w->executor = executor;
	ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_and_run, w), 0);
	ck_assert_int_eq(wait_until_asleep(w), 0);
	return w;
}

/* R226: a thread that sleeps is woken by a task of another one. */
START_TEST(test_R226_woken_by_a_task)
{
	struct waiter *w = waiter_start(weakref_executor_new("worker"));

	ran = 0;
	ck_assert_int_eq(weakref_executor_submit(w->executor, task, NULL), 0);
	pthread_join(w->thread, NULL);
	ck_assert_int_eq(w->answer, 0);
	ck_assert_int_eq(w->found, 1);
	ck_assert_uint_eq(ran, 1);
	SUPPORT_KEEP(w);
}
END_TEST

static int count(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	ran++;
	return 0;
}

struct batch {
	weakref_executor *executor;
	weakref_ref *refs[SUPPORT_N];
};

static int make(void *arg)
{
	struct batch *b = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_ref_options options = {.callback = count, .executor = b->executor};
		b->refs[i] = weakref_ref_new_with(support_node_new(i), &options);
		SUPPORT_REQUIRE(b->refs[i] != NULL);
	}
	return 0;
}

/* R226: by a collection, of the library's or of libgc's, that finds a referent dead; under every rule of delivery. */
START_TEST(test_R226_woken_by_a_death)
{
	struct batch *b = gc_alloc(sizeof *b);

	gc_set_delivery((enum weakref_delivery)(_i % 3));
	b->executor = weakref_executor_new("worker");
	ck_assert_int_eq(support_on_thread(make, b), 0);
	ran = 0;
	struct waiter *w = waiter_start(b->executor);
	support_scrub();
	if (_i < 3)
		gc_collect();
	else
		GC_gcollect();
	pthread_join(w->thread, NULL);
	ck_assert_int_eq(w->answer, 0);
	ck_assert_int_ge(w->found, 1);
	ck_assert_uint_eq(ran, (size_t)w->found);
	SUPPORT_KEEP(b);
	SUPPORT_KEEP(w);
}
END_TEST

static int submit_counted(void *executor)
{
	return weakref_executor_submit(executor, task, NULL);
}

static int make_finalized(void *executor)
{
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_finalize_new(support_node_new(i), submit_counted, executor) != NULL);
	return 0;
}

/* R226: finalizers that are ready at allocation run before the thread sleeps, which allocates nothing any more. */
START_TEST(test_R226_runs_what_is_ready)
{
	weakref_executor *executor = weakref_executor_new("main");

	gc_set_delivery(WEAKREF_DELIVER_MANUAL);
	ck_assert_int_eq(support_on_thread(make_finalized, executor), 0);
	support_collect();
	ck_assert(gc_callbacks_pending());
	ck_assert_int_eq(weakref_executor_wait(executor, 0), -WEAKREF_ETIMEDOUT);
	gc_set_delivery(WEAKREF_DELIVER_AT_ALLOCATION);
	ck_assert_int_eq(weakref_executor_wait(executor, -1), 0);
	ck_assert_int_ge(weakref_executor_run(executor), (long)(SUPPORT_N - SUPPORT_SLACK));
	SUPPORT_KEEP(executor);
}
END_TEST

/* R226: who adopts an executor ends the wait of the thread before, and waits itself. */
START_TEST(test_R226_adopted_meanwhile)
{
	struct waiter *w = waiter_start(weakref_executor_new("worker"));

	ran = 0;
	ck_assert_int_eq(weakref_executor_adopt(w->executor), 0);
	ck_assert_int_eq(weakref_executor_wait(w->executor, 0), -WEAKREF_ETIMEDOUT);
	pthread_join(w->thread, NULL);
	ck_assert_int_eq(w->answer, -WEAKREF_EPERM);
	ck_assert_int_eq(weakref_executor_submit(w->executor, task, NULL), 0);
	ck_assert_int_eq(weakref_executor_wait(w->executor, -1), 0);
	ck_assert_int_eq(weakref_executor_run(w->executor), 1);
	SUPPORT_KEEP(w);
}
END_TEST

static _Atomic int handled;

static void handle(int signal)
{
	(void)signal;
	handled++;
}

/* R226: a signal is handled by a thread that sleeps, and does not end its wait. */
START_TEST(test_R226_signals)
{
	struct sigaction action = {.sa_handler = handle}, before;
	struct waiter *w = waiter_start(weakref_executor_new("worker"));

	ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
	handled = 0;
	for (int i = 1; i <= 10; i++) {
		ck_assert_int_eq(pthread_kill(w->thread, SIGUSR1), 0);
		while (handled < i)
			sched_yield();
		ck_assert_int_eq(wait_until_asleep(w), 0);
	}
	ck_assert_int_eq(weakref_executor_submit(w->executor, task, NULL), 0);
	pthread_join(w->thread, NULL);
	ck_assert_int_eq(w->answer, 0);
	ck_assert_int_eq(w->found, 1);
	sigaction(SIGUSR1, &before, NULL);
	SUPPORT_KEEP(w);
}
END_TEST

/* R226: a thread that is cancelled while it sleeps leaves nothing behind; who adopts the executor goes on. */
START_TEST(test_R226_cancelled)
{
	for (int i = 0; i < 20; i++) {
		struct waiter *w = waiter_start(weakref_executor_new("worker"));
		void *result;

		pthread_cancel(w->thread);
		if (i % 2 == 1)
			ck_assert_int_eq(weakref_executor_submit(w->executor, task, NULL), 0);
		pthread_join(w->thread, &result);
		ck_assert(result == PTHREAD_CANCELED || (i % 2 == 1 && w->answer == 0));
		ck_assert_int_eq(weakref_executor_submit(w->executor, task, NULL), 0);
		ck_assert_int_eq(weakref_executor_adopt(w->executor), 0);
		ck_assert_int_eq(weakref_executor_wait(w->executor, -1), 0);
		ck_assert_int_ge(weakref_executor_run(w->executor), 1);
		SUPPORT_KEEP(w);
	}
}
END_TEST

/* ---- the descriptor ------------------------------------------------------------------------------------------------------ */

static weakref_executor *polled;
static int polled_fd;
static jmp_buf out_of_task;
static size_t wrong;

static void task_submits(void *arg)
{
	(void)arg;
	wrong += readable(polled_fd);
	weakref_executor_submit(polled, task, NULL);
	wrong += !readable(polled_fd);
}

static void task_leaves(void *arg)
{
	(void)arg;
	longjmp(out_of_task, 1);
}

/* R227: readable while something waits, and at no other time, whatever made it wait and however its run ends. */
START_TEST(test_R227_readable)
{
	wrong = 0;
	polled = weakref_executor_new("main");
	/* What waits already when it is asked for. */
	weakref_executor_submit(polled, task, NULL);
	polled_fd = weakref_executor_fd(polled);
	ck_assert_int_ge(polled_fd, 0);
	ck_assert_int_eq(weakref_executor_fd(polled), polled_fd);
	ck_assert(readable(polled_fd));
	ck_assert_int_eq(weakref_executor_wait(polled, -1), 0);
	ck_assert(readable(polled_fd));
	weakref_executor_run(polled);
	ck_assert(!readable(polled_fd));
	weakref_executor_submit(polled, task_submits, NULL);
	ck_assert(readable(polled_fd));
	ck_assert_int_eq(weakref_executor_run(polled), 2);
	ck_assert(!readable(polled_fd));
	ck_assert_uint_eq(wrong, 0);
	/* One that leaves the run, with and without others behind it. */
	for (int others = 1; others >= 0; others--) {
		weakref_executor_submit(polled, task_leaves, NULL);
		if (others != 0)
			weakref_executor_submit(polled, task, NULL);
		if (setjmp(out_of_task) == 0)
			weakref_executor_run(polled);
		ck_assert_int_eq(readable(polled_fd), others);
		ck_assert_int_eq(support_in_frame(submit_counted, polled), 0);
		ck_assert(readable(polled_fd));
		ck_assert_int_eq(weakref_executor_run(polled), others + 1);
		ck_assert(!readable(polled_fd));
	}
	ck_assert((fcntl(polled_fd, F_GETFD) & FD_CLOEXEC) != 0);
	polled = NULL;
}
END_TEST

/* R227: by a collection. */
START_TEST(test_R227_deaths)
{
	struct batch *b = gc_alloc(sizeof *b);

	gc_set_delivery((enum weakref_delivery)_i);
	b->executor = weakref_executor_new("main");
	int fd = weakref_executor_fd(b->executor);
	ck_assert_int_eq(support_on_thread(make, b), 0);
	ck_assert(readable(fd) == weakref_executor_pending(b->executor));
	support_collect();
	ck_assert(readable(fd));
	ck_assert_int_ge(weakref_executor_run(b->executor), (long)(SUPPORT_N - SUPPORT_SLACK));
	ck_assert(!readable(fd));
	SUPPORT_KEEP(b);
}
END_TEST

struct asker {
	weakref_executor *executor;
	int fd;
};

static int ask(void *arg)
{
	struct asker *asker = arg;

	asker->fd = weakref_executor_fd(asker->executor);
	SUPPORT_REQUIRE(asker->fd >= 0);
	return 0;
}

static int descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1000; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Several threads that ask at once get the same, and no other is left open. */
START_TEST(test_R227_one_descriptor)
{
	enum { THREADS = 4 };
	struct asker *askers = gc_alloc(THREADS * sizeof *askers);

	for (int round = 0; round < 50; round++) {
		weakref_executor *executor = weakref_executor_new("main");
		for (int i = 0; i < THREADS; i++)
			askers[i].executor = executor;
		int before = descriptors();
		ck_assert_uint_eq(support_threads(THREADS, ask, askers, sizeof *askers), 0);
		for (int i = 1; i < THREADS; i++)
			ck_assert_int_eq(askers[i].fd, askers[0].fd);
		/* One that came from the executor of a round before may have been closed meanwhile. */
		ck_assert_int_le(descriptors(), before + 1);
		SUPPORT_KEEP(executor);
	}
	SUPPORT_KEEP(askers);
}
END_TEST

static int make_polled(void *arg)
{
	int *fds = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_executor *executor = weakref_executor_new("dropped");
		SUPPORT_REQUIRE(executor != NULL);
		SUPPORT_REQUIRE(weakref_executor_submit(executor, task, support_node_new(i)) == 0);
		fds[i] = weakref_executor_fd(executor);
		SUPPORT_REQUIRE(fds[i] >= 0);
	}
	return 0;
}

/* R227: an executor that nobody holds has its descriptor closed. */
START_TEST(test_R227_closed)
{
	int fds[SUPPORT_N];
	size_t closed = 0;

	ck_assert_int_eq(support_on_thread(make_polled, fds), 0);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		closed += fcntl(fds[i], F_GETFD) < 0 && errno == EBADF;
	ck_assert_uint_ge(closed, SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

static weakref_executor *revived[SUPPORT_N];
static size_t revivals;

static int revive(void *obj)
{
	revived[revivals++] = ((struct batch *)obj)->executor;
	return 0;
}

static const gc_type reviver_type = {.name = "reviver", .size = sizeof(struct batch), .destroy = revive};

static int make_revivers(void *arg)
{
	int *fds = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct batch *b = gc_new(&reviver_type);
		SUPPORT_REQUIRE(b != NULL);
		b->executor = weakref_executor_new("revived");
		SUPPORT_REQUIRE(b->executor != NULL);
		fds[i] = weakref_executor_fd(b->executor);
		SUPPORT_REQUIRE(fds[i] >= 0);
	}
	return 0;
}

/* R227: one that a destructor brings back has none any more, writes to nobody's, and gets another one. */
START_TEST(test_R227_revived)
{
	int fds[SUPPORT_N];
	size_t closed = 0;

	revivals = 0;
	ck_assert_int_eq(support_on_thread(make_revivers, fds), 0);
	support_collect();
	ck_assert_uint_ge(revivals, SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++)
		closed += fcntl(fds[i], F_GETFD) < 0;
	ck_assert_uint_ge(closed, SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < revivals; i++) {
		ck_assert_int_eq(weakref_executor_submit(revived[i], task, NULL), 0);
		int fd = weakref_executor_fd(revived[i]);
		ck_assert_int_ge(fd, 0);
		ck_assert(readable(fd));
		ck_assert_int_eq(weakref_executor_adopt(revived[i]), 0);
		ck_assert_int_eq(weakref_executor_run(revived[i]), 1);
		ck_assert(!readable(fd));
	}
	for (size_t i = 0; i < revivals; i++)
		SUPPORT_CLEAR(revived[i]);
}
END_TEST

/* Each allocation failing in turn, the descriptor among them: ENOMEM, nothing is left open, and the executor works. */
START_TEST(test_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	weakref_executor *executor = weakref_executor_new("main");
	int fd = -WEAKREF_ENOMEM, before = descriptors();
	unsigned failed = 0;

	for (unsigned long nth = 1; fd < 0 && nth < 20; nth++) {
		weakref_checks_fail_allocation(nth);
		fd = weakref_executor_fd(executor);
		weakref_checks_fail_allocation(0);
		failed += fd < 0;
		ck_assert(fd >= 0 || fd == -WEAKREF_ENOMEM);
		ck_assert_int_le(descriptors(), before + (fd >= 0));
		ck_assert_int_eq(weakref_executor_submit(executor, task, NULL), 0);
		ck_assert(fd < 0 || readable(fd));
		ck_assert_int_eq(weakref_executor_run(executor), 1);
	}
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_ge(failed, 2);
	SUPPORT_KEEP(executor);
}
END_TEST

/* ---- fork ---------------------------------------------------------------------------------------------------------------- */

/* The stack of the parent's thread below its first frame is free in the child, and soon another thread's. */
__attribute__((no_sanitize("address"))) static size_t sweep_stack(const struct waiter *w)
{
	volatile unsigned char *end = w->frame, *at = end - 4096;
	size_t swept = 0;

	for (; at < end; at++) {
		swept += *at != 0;
		*at = 0;
	}
	return swept;
}

/* The parent's descriptor tells nothing of the child, and the child has one of its own. The parent's thread sleeps only there. */
static int child(void *arg)
{
	struct waiter *w = arg;

	SUPPORT_REQUIRE(sweep_stack(w) > 0);
	SUPPORT_REQUIRE(weakref_executor_wait(w->executor, 0) == -WEAKREF_EPERM);
	SUPPORT_REQUIRE(weakref_executor_adopt(w->executor) == 0);
	SUPPORT_REQUIRE(weakref_executor_wait(w->executor, 0) == -WEAKREF_ETIMEDOUT);
	SUPPORT_REQUIRE(weakref_executor_submit(w->executor, task, NULL) == 0);
	SUPPORT_REQUIRE(!readable(polled_fd));
	SUPPORT_REQUIRE(weakref_executor_wait(w->executor, -1) == 0);
	int fd = weakref_executor_fd(w->executor);
	SUPPORT_REQUIRE(fd >= 0 && fd != polled_fd && fd == weakref_executor_fd(w->executor));
	SUPPORT_REQUIRE(readable(fd) && !readable(polled_fd));
	SUPPORT_REQUIRE(weakref_executor_run(w->executor) == 1);
	SUPPORT_REQUIRE(!readable(fd));
	SUPPORT_REQUIRE(sweep_stack(w) == 0);
	struct waiter *here = gc_alloc(sizeof *here);
	here->executor = w->executor;
	SUPPORT_REQUIRE(pthread_create(&here->thread, NULL, wait_and_run, here) == 0);
	SUPPORT_REQUIRE(wait_until_asleep(here) == 0);
	SUPPORT_REQUIRE(weakref_executor_submit(w->executor, task, NULL) == 0);
	pthread_join(here->thread, NULL);
	SUPPORT_REQUIRE(here->answer == 0 && here->found == 1);
	SUPPORT_KEEP(here);
	return 0;
}

/* R228: a fork while the executor's thread sleeps. */
START_TEST(test_R228_fork)
{
	weakref_executor *executor = weakref_executor_new("worker");

	polled_fd = weakref_executor_fd(executor);
	struct waiter *w = waiter_start(executor);
	ck_assert_int_eq(support_in_child(child, w), 0);
	ck_assert(!readable(polled_fd));
	ck_assert_int_eq(wait_until_asleep(w), 0);
	ck_assert_int_eq(weakref_executor_submit(executor, task, NULL), 0);
	pthread_join(w->thread, NULL);
	ck_assert_int_eq(w->answer, 0);
	ck_assert_int_eq(w->found, 1);
	SUPPORT_KEEP(w);
}
END_TEST

static int child_runs(void *executor)
{
	SUPPORT_REQUIRE(readable(polled_fd));
	SUPPORT_REQUIRE(weakref_executor_run(executor) == 1);
	SUPPORT_REQUIRE(readable(polled_fd));
	int fd = weakref_executor_fd(executor);
	SUPPORT_REQUIRE(fd >= 0 && !readable(fd));
	return 0;
}

/* R228: what waited at the fork waits in both; who runs it in the child leaves the parent's descriptor as it is. */
START_TEST(test_R228_waiting_at_the_fork)
{
	weakref_executor *executor = weakref_executor_new("main");

	polled_fd = weakref_executor_fd(executor);
	ck_assert_int_eq(weakref_executor_submit(executor, task, NULL), 0);
	ck_assert_int_eq(support_in_child(child_runs, executor), 0);
	ck_assert(readable(polled_fd));
	ck_assert_int_eq(weakref_executor_run(executor), 1);
	ck_assert(!readable(polled_fd));
	SUPPORT_KEEP(executor);
}
END_TEST

/* ---- no wake-up is lost -------------------------------------------------------------------------------------------------- */

struct side {
	weakref_executor *own;
	struct side *other;
	size_t hits, rally;
	bool by_descriptor;
};

/* The ball goes over to the other side, while one of both has not had it so often. */
static void hit(void *arg)
{
	struct side *side = arg;

	side->hits++;
	if (side->other->hits < side->rally && weakref_executor_submit(side->other->own, hit, side->other) != 0)
		side->hits = SIZE_MAX;
}

static int queue_of(struct side *side)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int queue = epoll_create1(EPOLL_CLOEXEC), fd = weakref_executor_fd(side->own);

	return queue >= 0 && fd >= 0 && epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event) == 0 ? queue : -1;
}

static int play(void *arg)
{
	struct side *side = arg;
	struct epoll_event event;
	int queue = side->by_descriptor ? queue_of(side) : -1;

	SUPPORT_REQUIRE(queue >= 0 || !side->by_descriptor);
	SUPPORT_REQUIRE(weakref_executor_adopt(side->own) == 0);
	while (side->hits < side->rally) {
		if (!side->by_descriptor)
			SUPPORT_REQUIRE(weakref_executor_wait(side->own, -1) == 0);
		else
			SUPPORT_REQUIRE(epoll_wait(queue, &event, 1, -1) == 1 || errno == EINTR);
		SUPPORT_REQUIRE(weakref_executor_run(side->own) >= 0);
	}
	SUPPORT_REQUIRE(side->hits == side->rally);
	if (queue >= 0)
		close(queue);
	return 0;
}

/* R226, R227: two threads that send each other one task to and fro: a wake-up that is lost stops both. They wait, or are told of each edge. */
START_TEST(test_R226_rally)
{
	struct side *sides = gc_alloc(2 * sizeof *sides);

	for (int i = 0; i < 2; i++) {
		sides[i] = (struct side){.own = weakref_executor_new("side"), .other = &sides[1 - i], .rally = support_scaled(20000, 100)};
		sides[i].by_descriptor = (_i >> i & 1) != 0;
	}
	ck_assert_int_eq(weakref_executor_submit(sides[0].own, hit, &sides[0]), 0);
	ck_assert_uint_eq(support_threads(2, play, sides, sizeof *sides), 0);
	ck_assert_uint_eq(sides[0].hits, sides[1].hits);
	SUPPORT_KEEP(sides);
}
END_TEST

struct role {
	weakref_executor *executor;
	size_t tasks;
	bool consumes;
};

static void *last_arg;

static void keep_last(void *arg)
{
	last_arg = arg;
	ran++;
}

static int act(void *arg)
{
	struct role *role = arg;

	if (!role->consumes) {
		for (size_t i = 0; i < role->tasks; i++)
			SUPPORT_REQUIRE(weakref_executor_submit(role->executor, keep_last, support_node_new(i)) == 0);
		return 0;
	}
	SUPPORT_REQUIRE(weakref_executor_adopt(role->executor) == 0);
	while (ran < role->tasks) {
		SUPPORT_REQUIRE(weakref_executor_wait(role->executor, -1) == 0);
		SUPPORT_REQUIRE(weakref_executor_pending(role->executor));
		SUPPORT_REQUIRE(weakref_executor_run(role->executor) > 0);
	}
	return 0;
}

/* R226: several threads submit, and collect meanwhile; one waits and runs. None is woken in vain. */
START_TEST(test_R226_producers)
{
	enum { PRODUCERS = 3 };
	struct role *roles = gc_alloc((PRODUCERS + 1) * sizeof *roles);
	weakref_executor *executor = weakref_executor_new("consumer");
	size_t each = support_scaled(10000, 50);

	ran = 0;
	for (int i = 0; i < PRODUCERS; i++)
		roles[i] = (struct role){.executor = executor, .tasks = each};
	roles[PRODUCERS] = (struct role){.executor = executor, .tasks = PRODUCERS * each, .consumes = true};
	ck_assert_uint_eq(support_threads(PRODUCERS + 1, act, roles, sizeof *roles), 0);
	ck_assert_uint_eq(ran, PRODUCERS * each);
	ck_assert(support_node_intact(last_arg));
	last_arg = NULL;
	SUPPORT_KEEP(roles);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("executor_wait");
	TCase *tcase = support_tcase("executor_wait");

	tcase_add_test(tcase, test_R226_answers);
	tcase_add_test(tcase, test_R226_refused);
	tcase_add_test(tcase, test_unknown_thread);
	tcase_add_test(tcase, test_R226_within_a_callback);
	tcase_add_test(tcase, test_R226_woken_by_a_task);
	tcase_add_loop_test(tcase, test_R226_woken_by_a_death, 0, 6);
	tcase_add_test(tcase, test_R226_runs_what_is_ready);
	tcase_add_test(tcase, test_R226_adopted_meanwhile);
	tcase_add_test(tcase, test_R226_signals);
	tcase_add_test(tcase, test_R226_cancelled);
	tcase_add_test(tcase, test_R227_readable);
	tcase_add_loop_test(tcase, test_R227_deaths, 0, 3);
	tcase_add_test(tcase, test_R227_one_descriptor);
	tcase_add_test(tcase, test_R227_closed);
	tcase_add_test(tcase, test_R227_revived);
	tcase_add_test(tcase, test_without_memory);
	tcase_add_test(tcase, test_R228_fork);
	tcase_add_test(tcase, test_R228_waiting_at_the_fork);
	tcase_add_loop_test(tcase, test_R226_rally, 0, 4);
	tcase_add_test(tcase, test_R226_producers);
	/* Last: the clock stands still from then on. */
	tcase_add_test(tcase, test_R226_timeout);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_delivery: who runs callbacks and destructors, when, and what they may do: under the three rules of gc_set_delivery.
 * Loop tests run once for each rule.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gc/gc.h>
#include <gc/javaxfc.h>

#include "weakref/proxy.h"

#define RULES 3

/* ---- callbacks ----------------------------------------------------------------------------------------------------------- */

enum act {
	ACT_NOTHING,
	ACT_ALLOCATE,     /* a lot, so that collections come */
	ACT_COLLECT,      /* gc_collect */
	ACT_RUN,          /* gc_run_callbacks */
	ACT_MAKE_REFS,    /* to new objects, dropped at once, with callbacks */
	ACT_CLEAR_OWN,    /* clears the reference that it is called for, and reads it */
	ACT_CLEAR_OTHERS, /* clears a live object's reference, whose callback must then never run */
	ACT_ERRNO,        /* leaves another errno */
	ACTS
};

static _Atomic unsigned ran, wrong, nested;
static _Atomic unsigned within; /* callbacks that began while another one of the same thread was not over */
static _Thread_local bool inside;
static _Atomic bool never_ran_wrongly;
static pthread_t ran_in;
static uintptr_t counted; /* the job whose callbacks count, hidden: one that a stray word delayed belongs to an earlier one */

static int callback_nested(weakref_ref *ref, void *data)
{
	(void)data;
	nested++;
	wrong += weakref_ref_get(ref) != NULL;
	return 0;
}

static int callback_never(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	never_ran_wrongly = true;
	return 0;
}

static __attribute__((noinline)) int make_refs(void)
{
	for (int i = 0; i < 4; i++) {
		struct support_node *node = support_node_new(1), *lives = support_node_new(2);
		weakref_ref **held = GC_MALLOC(2 * sizeof(*held));

		if (node == NULL || lives == NULL)
			return -ENOMEM;
		held[0] = weakref_ref_new(node, callback_nested, held);
		held[1] = weakref_ref_new(lives, callback_never, NULL);
		if (held[0] == NULL || held[1] == NULL || weakref_ref_get(held[1]) != lives)
			return -EDOM;
		SUPPORT_KEEP(lives);
		if (weakref_ref_clear(held[1]) != 0)
			return -EDOM;
	}
	return 0;
}

static int act(weakref_ref *ref, enum act what)
{
	void *volatile garbage;
	void *out;

	switch (what) {
	case ACT_ALLOCATE:
		for (int i = 0; i < 100; i++) {
			garbage = gc_new(&support_node_type);
			if (garbage == NULL)
				return -ENOMEM;
		}
		return 0;
	case ACT_COLLECT: return gc_collect() >= 0 ? 0 : -EDOM;
	case ACT_RUN: return gc_run_callbacks() == 0 ? 0 : -EDOM;
	case ACT_MAKE_REFS: return make_refs();
	case ACT_CLEAR_OWN: return weakref_ref_clear(ref) == -ESTALE && weakref_ref_read(ref, &out) == -ESTALE ? 0 : -EDOM;
	case ACT_CLEAR_OTHERS: {
		struct support_node *lives = support_node_new(3);
		weakref_ref *other = weakref_ref_new(lives, callback_never, NULL);

		return lives != NULL && other != NULL && weakref_ref_clear(other) == 0 && weakref_ref_get(other) == NULL ? 0 : -EDOM;
	}
	case ACT_ERRNO: errno = EXDEV; return 0;
	default: return 0;
	}
}

struct job {
	enum act act;
	weakref_ref **refs;
	weakref_callback callback;
	size_t n;
	_Atomic unsigned *times; /* how often each callback ran */
	struct job **cells;      /* cell i, which leads to the job, is the data of reference i */
};

static int callback(weakref_ref *ref, void *data)
{
	struct job **cell = data;
	struct job *job = *cell;
	int r;

	if (!support_hides(counted, job))
		return 0;
	ran++;
	job->times[cell - job->cells]++;
	ran_in = pthread_self();
	wrong += weakref_ref_get(ref) != NULL;
	within += inside;
	inside = true;
	r = act(ref, job->act);
	inside = false;
	wrong += r != 0;
	return r;
}

static int make_watched(void *arg)
{
	struct job *job = arg;
	void **all = GC_MALLOC(job->n * sizeof(*all));

	for (size_t i = 0; i < job->n; i++)
		SUPPORT_REQUIRE((all[i] = support_node_new(i)) != NULL);
	for (size_t i = 0; i < job->n; i++) {
		job->cells[i] = job;
		job->refs[i] = weakref_ref_new(all[i], job->callback, &job->cells[i]);
		SUPPORT_REQUIRE(job->refs[i] != NULL);
	}
	SUPPORT_KEEP(all);
	return 0;
}

/* A job with n objects that are garbage, and their references held. */
static struct job *job_new(size_t n, enum act what, weakref_callback fn)
{
	struct job *job = GC_MALLOC(sizeof(*job));

	*job = (struct job){.act = what, .callback = fn, .n = n};
	job->refs = GC_MALLOC(n * sizeof(*job->refs));
	job->times = GC_MALLOC(n * sizeof(*job->times));
	job->cells = GC_MALLOC(n * sizeof(struct job *));
	ran = wrong = nested = within = 0;
	never_ran_wrongly = false;
	counted = support_hide(job);
	ck_assert_int_eq(support_on_thread(make_watched, job), 0);
	return job;
}

/* Collects, and sees to it that what is ready has run, by whichever rule. */
static long deliver(void)
{
	long n = 0;

	for (int i = 0; i < 3; i++) {
		long r;

		support_scrub();
		r = gc_collect();
		/* libgc disables collection from pthread_exit to the thread's end. */
		for (int k = 0; r == -EBUSY && k < 1000; k++) {
			usleep(1000);
			r = gc_collect();
		}
		ck_assert_int_ge(r, 0);
		if (gc_get_delivery() != WEAKREF_DELIVER_MANUAL)
			continue;
		r = gc_run_callbacks();
		ck_assert_int_ge(r, 0);
		n += r;
	}
	return n;
}

static void rule(int which)
{
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)which), 0);
	ck_assert_int_eq(gc_get_delivery(), which);
}

static bool each_at_most_once(const struct job *job)
{
	for (size_t i = 0; i < job->n; i++)
		if (job->times[i] > 1 || (job->times[i] == 1) != (weakref_ref_get(job->refs[i]) == NULL))
			return false;
	return true;
}

/* ---- what callbacks may do ----------------------------------------------------------------------------------------------- */

/* C13 and more: a callback may allocate, collect, run callbacks, make and drop references, clear its own and others: under
 * each rule every callback runs exactly once, and none is lost. */
START_TEST(test_C13_callbacks_may_do_anything)
{
	struct job *job;

	rule(_i % RULES);
	job = job_new(SUPPORT_N, (enum act)(_i / RULES), callback);
	deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(wrong, 0);
	ck_assert(each_at_most_once(job));
	ck_assert(!never_ran_wrongly);
	SUPPORT_KEEP(job);
}
END_TEST

/* The caller's errno survives the callbacks that run meanwhile (C42). */
START_TEST(test_C42_errno_is_preserved)
{
	struct job *job;

	rule(_i);
	job = job_new(SUPPORT_N, ACT_ERRNO, callback);
	for (int i = 0; i < 3; i++) {
		support_scrub();
		errno = ENOTTY;
		ck_assert_int_ge(gc_collect(), 0);
		ck_assert_int_eq(errno, ENOTTY);
		ck_assert_int_ge(gc_run_callbacks(), 0);
		ck_assert_int_eq(errno, ENOTTY);
	}
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(job);
}
END_TEST

/* C42 at allocation: callbacks run by gc_new leave errno as it was. */
START_TEST(test_C42_errno_across_allocation)
{
	struct job *job = job_new(SUPPORT_N, ACT_ERRNO, callback);
	size_t i;

	support_scrub();
	GC_gcollect();
	for (i = 0; i < 100000 && ran < SUPPORT_N - SUPPORT_SLACK; i++) {
		errno = ENOTTY;
		ck_assert_ptr_nonnull(support_node_new(i));
		ck_assert_int_eq(errno, ENOTTY);
	}
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(job);
}
END_TEST

/* T12: gc_collect runs all callbacks that are ready before it returns, without any later allocation: at allocation and by
 * thread. */
START_TEST(test_T12_collect_drains)
{
	struct job *job;
	size_t late = 0;

	rule(_i);
	for (int round = 0; round < 10; round++) {
		size_t dead;

		job = job_new(SUPPORT_N, ACT_NOTHING, callback);
		support_scrub();
		ck_assert_int_ge(gc_collect(), 0);
		dead = support_dead(job->refs, job->n);
		/* What a stale word kept in an earlier round may come now. */
		ck_assert_uint_ge(ran, dead);
		ck_assert_uint_le(ran, dead + late);
		late += job->n - dead;
		ck_assert_uint_ge(dead, SUPPORT_N - SUPPORT_SLACK);
		ck_assert(!gc_callbacks_pending());
		SUPPORT_KEEP(job);
	}
}
END_TEST

static int collect_and_leave(void *arg)
{
	(void)arg;
	GC_gcollect();
	return 0;
}

/* T15: what a thread's collection made ready is delivered, though the thread ends without delivering. */
START_TEST(test_T15_callbacks_survive_their_thread)
{
	struct job *job;

	rule(_i);
	job = job_new(SUPPORT_N, ACT_NOTHING, callback);
	ck_assert_int_eq(support_on_thread(collect_and_leave, NULL), 0);
	deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
}
END_TEST

/* ---- rules --------------------------------------------------------------------------------------------------------------- */

/* At allocation: callbacks run in the thread that collects. */
START_TEST(test_at_allocation_runs_in_the_collecting_thread)
{
	struct job *job = job_new(SUPPORT_N, ACT_NOTHING, callback);

	deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(pthread_equal(ran_in, pthread_self()));
	SUPPORT_KEEP(job);
}
END_TEST

/* At allocation: callbacks that a host's collection made ready run with one of the next calls that allocate. */
START_TEST(test_at_allocation_runs_at_allocations)
{
	struct job *job = job_new(SUPPORT_N, ACT_NOTHING, callback);

	support_scrub();
	GC_gcollect();
	for (size_t i = 0; i < 100000 && ran < SUPPORT_N - SUPPORT_SLACK; i++)
		ck_assert_ptr_nonnull(support_node_new(i));
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(job);
}
END_TEST

/* R60: after GC_finalize_all callbacks run at allocations of libgc's alone, as before, once the library was called: to make what
 * is to be watched, or just any block; also where it was taken twice without a collection between. */
START_TEST(test_R60_host_finalizes_all)
{
	struct job *job = _i == 0 ? job_new(SUPPORT_N, ACT_NOTHING, callback) : NULL;

	GC_finalize_all();
	if (_i == 0)
		ck_assert_ptr_nonnull(gc_alloc(16));
	if (_i == 2) {
		ck_assert_ptr_nonnull(gc_alloc(16));
		GC_finalize_all();
		GC_gcollect();
	}
	if (_i != 0)
		job = job_new(SUPPORT_N, ACT_NOTHING, callback);
	for (int i = 0; i < 3; i++) {
		support_scrub();
		GC_gcollect();
		ck_assert_ptr_nonnull(GC_MALLOC(16));
	}
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
}
END_TEST

struct finalizing {
	_Atomic bool *over;
	bool finalizes;
};

static int finalize_or_allocate(void *arg)
{
	struct finalizing *f = arg;

	for (int i = 0; f->finalizes && i < 1000; i++)
		GC_finalize_all();
	*f->over |= f->finalizes;
	while (!*f->over)
		SUPPORT_REQUIRE(gc_alloc(16) != NULL);
	return 0;
}

/* R60: allocations of other threads, which put things back, do not keep GC_finalize_all going. */
START_TEST(test_R60_finalizing_all_ends)
{
	static _Atomic bool over;
	struct finalizing all[] = {{&over, true}, {&over, false}, {&over, false}};

	over = false;
	ck_assert_uint_eq(support_threads(3, finalize_or_allocate, all, sizeof *all), 0);
}
END_TEST

/* By thread: callbacks run in another thread, and without any call of the program's. */
START_TEST(test_thread_runs_elsewhere_and_by_itself)
{
	struct job *job;
	size_t dead = 0;

	rule(WEAKREF_DELIVER_THREAD);
	job = job_new(SUPPORT_N, ACT_NOTHING, callback);
	/* A collection more only where one left some alive: after each, the thread runs what that one found. */
	for (int round = 0; round < 3 && dead < SUPPORT_N - SUPPORT_SLACK; round++) {
		support_scrub();
		GC_gcollect();
		dead = support_dead(job->refs, job->n);
		for (int i = 0; i < 10000 && ran < dead; i++)
			usleep(1000);
		ck_assert_uint_eq(ran, dead);
	}
	ck_assert_uint_ge(dead, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(!pthread_equal(ran_in, pthread_self()));
	SUPPORT_KEEP(job);
}
END_TEST

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

/* F36: manual: nothing runs until the pump is called, which says how many ran; pending and the descriptor tell the truth
 * before, between and after. */
START_TEST(test_F36_manual)
{
	struct job *job;
	int fd;
	long n;

	rule(WEAKREF_DELIVER_MANUAL);
	fd = gc_callbacks_fd();
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(gc_callbacks_fd(), fd);
	for (int round = 0; round < 4; round++) {
		ck_assert_int_eq(gc_run_callbacks(), 0);
		ck_assert(!gc_callbacks_pending());
		ck_assert(!readable(fd));
		job = job_new(SUPPORT_N, ACT_NOTHING, callback);
		ck_assert(!gc_callbacks_pending());
		ck_assert(!readable(fd));
		support_collect();
		for (size_t i = 0; i < 1000; i++)
			ck_assert_ptr_nonnull(support_node_new(i));
		ck_assert_uint_eq(ran, 0);
		ck_assert(gc_callbacks_pending());
		ck_assert(readable(fd));
		n = gc_run_callbacks();
		ck_assert_int_eq(n, (long)ran);
		ck_assert_int_ge(n, (long)(SUPPORT_N - SUPPORT_SLACK));
		ck_assert(!gc_callbacks_pending());
		ck_assert(!readable(fd));
		ck_assert_int_eq(gc_run_callbacks(), 0);
		SUPPORT_KEEP(job);
	}
}
END_TEST

/* Manual: a collection that makes nothing ready leaves nothing pending and the descriptor unreadable, also after allocations. */
START_TEST(test_F36_nothing_ready_nothing_pending)
{
	int fd;

	rule(WEAKREF_DELIVER_MANUAL);
	fd = gc_callbacks_fd();
	gc_run_callbacks();
	for (int round = 0; round < 4; round++) {
		support_collect();
		ck_assert_int_eq(gc_callbacks_pending(), 0);
		ck_assert_int_eq(readable(fd), 0);
		ck_assert(support_churn(1, (size_t)256 << 20));
		ck_assert_int_eq(gc_callbacks_pending(), 0);
		ck_assert_int_eq(readable(fd), 0);
		ck_assert_int_eq(gc_run_callbacks(), 0);
	}
}
END_TEST

/* The descriptor wakes a thread that waits for it. */
static int wait_readable(void *arg)
{
	struct pollfd p = {.fd = *(int *)arg, .events = POLLIN};
	int r;

	/* libgc's signals interrupt poll. */
	while ((r = poll(&p, 1, 60000)) < 0 && errno == EINTR)
		;
	SUPPORT_REQUIRE(r == 1);
	SUPPORT_REQUIRE(gc_callbacks_pending());
	return 0;
}

static int wait_or_collect(void *arg)
{
	int *fd = arg;

	if (*fd >= 0)
		return wait_readable(fd);
	usleep(20000);
	return support_collect() >= 0 ? 0 : 1;
}

START_TEST(test_descriptor_wakes)
{
	struct job *job;
	int fds[2] = {-1, -1};

	rule(WEAKREF_DELIVER_MANUAL);
	fds[0] = gc_callbacks_fd();
	job = job_new(SUPPORT_N, ACT_NOTHING, callback);
	ck_assert_int_eq(support_threads(2, wait_or_collect, fds, sizeof(fds[0])), 0);
	ck_assert_uint_eq(ran, 0);
	ck_assert_int_ge(gc_run_callbacks(), (long)(SUPPORT_N - SUPPORT_SLACK));
	SUPPORT_KEEP(job);
}
END_TEST

/* gc_run_callbacks within a callback returns 0, and the run in progress delivers the rest. */
START_TEST(test_run_within_a_callback)
{
	struct job *job;
	long n;

	rule(WEAKREF_DELIVER_MANUAL);
	job = job_new(SUPPORT_N, ACT_RUN, callback);
	support_collect();
	n = gc_run_callbacks();
	ck_assert_int_eq(n, (long)ran);
	ck_assert_int_ge(n, (long)(SUPPORT_N - SUPPORT_SLACK));
	ck_assert_uint_eq(wrong, 0);
	SUPPORT_KEEP(job);
}
END_TEST

/* gc_collect within a callback leaves the callbacks to the run in progress: none begins before the one that collects has
 * returned. */
START_TEST(test_collect_within_a_callback_does_not_nest)
{
	struct job *job;

	rule(_i);
	job = job_new(SUPPORT_N, ACT_COLLECT, callback);
	deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(within, 0);
	SUPPORT_KEEP(job);
}
END_TEST

/* The pump works under each rule, and takes in what becomes ready meanwhile. */
START_TEST(test_pump_under_each_rule)
{
	struct job *job;

	rule(_i);
	job = job_new(SUPPORT_N, ACT_COLLECT, callback);
	support_scrub();
	GC_gcollect();
	for (int i = 0; i < 10000 && ran < SUPPORT_N - SUPPORT_SLACK; i++) {
		ck_assert_int_ge(gc_run_callbacks(), 0);
		if (ran < SUPPORT_N - SUPPORT_SLACK)
			usleep(1000);
	}
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(wrong, 0);
	SUPPORT_KEEP(job);
}
END_TEST

/* What is queued already is delivered by the new rule: from manual to each of the others, and back. */
START_TEST(test_change_of_rule_delivers)
{
	struct job *job;

	rule(WEAKREF_DELIVER_MANUAL);
	job = job_new(SUPPORT_N, ACT_NOTHING, callback);
	support_collect();
	ck_assert_uint_eq(ran, 0);
	rule(_i);
	for (int i = 0; i < 10000 && ran < SUPPORT_N - SUPPORT_SLACK; i++) {
		ck_assert_ptr_nonnull(support_node_new(1));
		if (_i == WEAKREF_DELIVER_THREAD)
			usleep(1000);
	}
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
}
END_TEST

static int callback_to_manual(weakref_ref *ref, void *data)
{
	callback(ref, data);
	return gc_set_delivery(WEAKREF_DELIVER_MANUAL);
}

/* R24: a callback that gc_collect runs changes the rule: the others are the new rule's. */
START_TEST(test_change_of_rule_within_a_collection)
{
	struct job *job;

	rule(WEAKREF_DELIVER_AT_ALLOCATION);
	job = job_new(SUPPORT_N, ACT_NOTHING, callback_to_manual);
	support_collect();
	ck_assert_uint_eq(ran, 1);
	ck_assert(gc_callbacks_pending());
	ck_assert_int_ge(gc_run_callbacks(), (long)(SUPPORT_N - SUPPORT_SLACK - 1));
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
}
END_TEST

/* Rules change often while callbacks come: none is lost, none runs twice. */
static _Atomic bool changing;

static int change_or_collect(void *arg)
{
	unsigned *which = arg;
	uint64_t state = support_seed();

	if (*which == 1) {
		while (changing)
			SUPPORT_REQUIRE(gc_collect() >= 0);
		return 0;
	}
	for (size_t i = 0; i < support_scaled(200, 20); i++) {
		SUPPORT_REQUIRE(gc_set_delivery((enum weakref_delivery)(support_random(&state) % RULES)) == 0);
		SUPPORT_REQUIRE(gc_run_callbacks() >= 0);
		usleep(200);
	}
	changing = false;
	return 0;
}

START_TEST(test_rules_change_while_callbacks_come)
{
	unsigned which[2] = {0, 1};
	struct job *job = job_new(2000, ACT_ALLOCATE, callback);

	changing = true;
	ck_assert_int_eq(support_threads(2, change_or_collect, which, sizeof(which[0])), 0);
	rule(WEAKREF_DELIVER_AT_ALLOCATION);
	deliver();
	ck_assert_uint_ge(ran, job->n - SUPPORT_SLACK);
	ck_assert_uint_eq(wrong, 0);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
}
END_TEST

static sem_t gate;
static _Atomic bool entered, returned;

static int callback_waits(weakref_ref *ref, void *data)
{
	callback(ref, data);
	entered = true;
	while (sem_wait(&gate) != 0)
		continue;
	return 0;
}

static uint64_t collections(void)
{
	gc_cycle_stats stats;

	return gc_get_cycle_stats(&stats) == 0 ? stats.collections : 0;
}

static uint64_t collections_before;

static int collect_and_wait(void *arg)
{
	struct job *job = *(struct job **)arg;

	if (job != NULL) {
		SUPPORT_REQUIRE(gc_collect() >= 0);
		returned = true;
		return 0;
	}
	/* Its collection is over. If it is not in its wait soon, this test shows less. */
	for (int i = 0; i < 20000 && collections() == collections_before; i++)
		usleep(1000);
	usleep(100000);
	SUPPORT_REQUIRE(gc_set_delivery(WEAKREF_DELIVER_MANUAL) == 0);
	SUPPORT_REQUIRE(sem_post(&gate) == 0);
	for (int i = 0; i < 20000 && !returned; i++)
		usleep(1000);
	bool in_time = returned;
	for (size_t i = 0; i < SUPPORT_N && !returned; i++)
		sem_post(&gate);
	while (!returned)
		gc_run_callbacks();
	SUPPORT_REQUIRE(in_time);
	return 0;
}

/* Whoever waits for the delivery thread does not wait for what that will not run, because the rule became another one. */
START_TEST(test_wait_ends_with_the_rule)
{
	struct job *job, **jobs = GC_MALLOC(2 * sizeof(struct job *));

	ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
	entered = returned = false;
	rule(WEAKREF_DELIVER_MANUAL);
	jobs[0] = job = job_new(SUPPORT_N, ACT_NOTHING, callback_waits);
	support_collect();
	rule(WEAKREF_DELIVER_THREAD);
	for (int i = 0; i < 20000 && !entered; i++)
		usleep(1000);
	ck_assert(entered);
	collections_before = collections();
	int failed = support_threads(2, collect_and_wait, jobs, sizeof(jobs[0]));
	ck_assert_uint_eq(ran, 1);
	for (size_t i = 0; i < job->n; i++)
		sem_post(&gate);
	deliver();
	ck_assert_int_eq(failed, 0);
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(jobs);
}
END_TEST

/* Another value than the three is refused, and the rule stays. */
START_TEST(test_unknown_rule)
{
	static const int unknown[] = {-1, 3, 4, 100, INT_MAX, INT_MIN};

	rule(WEAKREF_DELIVER_MANUAL);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)unknown[i]), -EINVAL);
		ck_assert_int_eq(gc_get_delivery(), WEAKREF_DELIVER_MANUAL);
	}
}
END_TEST

/* ---- failures ------------------------------------------------------------------------------------------------------------ */

static _Atomic unsigned told, told_wrong;

static void handler(const gc_unraisable *info, void *user)
{
	told++;
	if (info->error != -ENOTTY || user != &told || info->where == NULL || strstr(info->where, "callback") == NULL || info->subject == NULL)
		told_wrong++;
	else if (weakref_ref_get(info->subject) != NULL)
		told_wrong++;
	/* It may call the library. */
	if (support_node_new(1) == NULL || gc_collect() < 0)
		told_wrong++;
}

static int callback_fails(weakref_ref *ref, void *data)
{
	callback(ref, data);
	return -ENOTTY;
}

/* A failing callback is told to the handler, once each, with its reference; it disturbs none of the others. */
START_TEST(test_failing_callback_is_told)
{
	struct job *job;

	told = told_wrong = 0;
	rule(_i);
	ck_assert_int_eq(gc_set_unraisable_handler(handler, (void *)(uintptr_t)&told), 0);
	job = job_new(SUPPORT_N, ACT_NOTHING, callback_fails);
	deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(told, ran);
	ck_assert_uint_eq(told_wrong, 0);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
}
END_TEST

static int make_user(void *arg)
{
	weakref_ref **ref = arg;
	struct support_node *node = support_node_new(1);

	SUPPORT_REQUIRE(node != NULL);
	*ref = weakref_ref_new(node, NULL, NULL);
	SUPPORT_REQUIRE(*ref != NULL);
	SUPPORT_REQUIRE(gc_set_unraisable_handler(handler, node) == 0);
	return 0;
}

/* The library keeps the handler's user data alive. */
START_TEST(test_handler_keeps_its_user)
{
	weakref_ref *ref = NULL;

	ck_assert_int_eq(support_on_thread(make_user, &ref), 0);
	support_collect();
	ck_assert(support_node_intact(weakref_ref_get(ref)));
}
END_TEST

/* One failing callback in a process of its own, with the default handler. */
static int child_default_handler(void)
{
	struct job *job;
	int r;

	SUPPORT_REQUIRE(gc_init() == 0);
	job = GC_MALLOC(sizeof(*job));
	*job = (struct job){.callback = callback_fails, .n = 1};
	job->refs = GC_MALLOC(sizeof(*job->refs));
	job->times = GC_MALLOC(sizeof(*job->times));
	job->cells = GC_MALLOC(sizeof(struct job *));
	counted = support_hide(job);
	r = support_on_thread(make_watched, job);
	SUPPORT_REQUIRE(r == 0);
	support_collect();
	SUPPORT_REQUIRE(ran == 1);
	SUPPORT_KEEP(job);
	return 0;
}

/* The default handler writes one line to stderr that names the library, what failed and the error. */
START_TEST(test_default_handler_writes_one_line)
{
	char err[4096];
	size_t lines = 0;

	ck_assert_msg(support_respawn("default-handler", NULL, err, sizeof(err)) == 0, "%s", err);
	for (const char *p = err; *p != '\0'; p++)
		lines += *p == '\n';
	ck_assert_msg(lines == 1, "%zu lines: %s", lines, err);
	ck_assert_ptr_nonnull(strstr(err, "weakref"));
	ck_assert_ptr_nonnull(strstr(err, "callback"));
}
END_TEST

/* ---- callbacks that do not return ---------------------------------------------------------------------------------------- */

static sigjmp_buf out_of_callback;
static _Atomic bool jump_armed;
static pthread_t jumper;

static int callback_jumps(weakref_ref *ref, void *data)
{
	callback(ref, data);
	if (jump_armed && pthread_equal(pthread_self(), jumper))
		siglongjmp(out_of_callback, 1);
	return 0;
}

/* A callback that leaves by longjmp: no lock stays held, the queue goes on, each callback runs once. In the rules where the
 * program's own thread runs them. */
START_TEST(test_longjmp_out)
{
	struct job *job;
	volatile unsigned jumps = 0;

	rule(_i == 0 ? WEAKREF_DELIVER_AT_ALLOCATION : WEAKREF_DELIVER_MANUAL);
	jumper = pthread_self();
	job = job_new(SUPPORT_N, ACT_NOTHING, callback_jumps);
	jump_armed = true;
	for (volatile int round = 0; round < (int)SUPPORT_N + 8; round++)
		if (sigsetjmp(out_of_callback, 1) == 0)
			deliver();
		else
			jumps++;
	jump_armed = false;
	deliver();
	ck_assert_uint_eq(jumps, ran);
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(wrong, 0);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
	/* All is as usual afterwards. */
	job = job_new(SUPPORT_N, ACT_MAKE_REFS, callback);
	deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
}
END_TEST

static _Atomic unsigned destroyed;

static int destroy_jumps(void *obj)
{
	(void)obj;
	destroyed++;
	if (jump_armed && pthread_equal(pthread_self(), jumper))
		siglongjmp(out_of_callback, 1);
	return 0;
}

static const gc_type jumping_type = {.name = "jumping", .size = 24, .destroy = destroy_jumps};

static int make_jumping(void *arg)
{
	void **all = GC_MALLOC(SUPPORT_N * sizeof(*all));

	(void)arg;
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE((all[i] = gc_new(&jumping_type)) != NULL);
	SUPPORT_KEEP(all);
	return 0;
}

/* A destructor that leaves by longjmp: likewise; the others run. */
START_TEST(test_longjmp_out_of_destructor)
{
	volatile unsigned jumps = 0;

	rule(_i == 0 ? WEAKREF_DELIVER_AT_ALLOCATION : WEAKREF_DELIVER_MANUAL);
	jumper = pthread_self();
	destroyed = 0;
	ck_assert_int_eq(support_on_thread(make_jumping, NULL), 0);
	jump_armed = true;
	for (volatile int round = 0; round < (int)SUPPORT_N + 8; round++)
		if (sigsetjmp(out_of_callback, 1) == 0)
			deliver();
		else
			jumps++;
	jump_armed = false;
	deliver();
	ck_assert_uint_eq(jumps, destroyed);
	ck_assert_uint_ge(destroyed, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_le(destroyed, SUPPORT_N);
}
END_TEST

static _Atomic bool exit_armed;
static pthread_t not_to_exit;

static int callback_exits(weakref_ref *ref, void *data)
{
	callback(ref, data);
	if (exit_armed && !pthread_equal(pthread_self(), not_to_exit))
		pthread_exit(NULL);
	return 0;
}

static void *deliver_on_thread(void *arg)
{
	(void)arg;
	support_scrub();
	gc_collect();
	gc_run_callbacks();
	return NULL;
}

/* A callback that leaves by pthread_exit, from a thread of the program's or from the delivery thread: the others still run,
 * once each. */
START_TEST(test_pthread_exit_out)
{
	struct job *job;

	rule(_i);
	not_to_exit = pthread_self();
	job = job_new(SUPPORT_N, ACT_NOTHING, callback_exits);
	exit_armed = true;
	for (int round = 0; round < 8; round++) {
		pthread_t thread;

		ck_assert_int_eq(pthread_create(&thread, NULL, deliver_on_thread, NULL), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
	exit_armed = false;
	for (int i = 0; i < 100 && ran < SUPPORT_N - SUPPORT_SLACK; i++)
		deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(wrong, 0);
	ck_assert(each_at_most_once(job));
	SUPPORT_KEEP(job);
	job = job_new(SUPPORT_N, ACT_NOTHING, callback);
	deliver();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(job);
}
END_TEST

/* ---- many threads -------------------------------------------------------------------------------------------------------- */

static _Atomic unsigned busy_ran;

static int busy_callback(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	busy_ran++;
	return 0;
}

struct busy {
	weakref_ref **refs;
	size_t n;
};

static int busy_thread(void *arg)
{
	struct busy *busy = arg;

	for (size_t i = 0; i < busy->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		busy->refs[i] = weakref_ref_new(node, busy_callback, NULL);
		SUPPORT_REQUIRE(busy->refs[i] != NULL);
		SUPPORT_KEEP(node);
		if (i % 32 == 0)
			SUPPORT_REQUIRE(gc_collect() >= 0);
		if (i % 16 == 0)
			SUPPORT_REQUIRE(gc_run_callbacks() >= 0);
	}
	return 0;
}

/* Four threads make objects, collect and pump at once, under each rule: callbacks equal deaths exactly. */
START_TEST(test_many_threads_deliver)
{
	struct busy *busy = GC_MALLOC(4 * sizeof(*busy));
	size_t n = support_scaled(400, 64), dead = 0;

	rule(_i);
	busy_ran = 0;
	for (int i = 0; i < 4; i++)
		busy[i] = (struct busy){GC_MALLOC(n * sizeof(weakref_ref *)), n};
	ck_assert_int_eq(support_threads(4, busy_thread, busy, sizeof(*busy)), 0);
	deliver();
	for (int i = 0; i < 4; i++)
		dead += support_dead(busy[i].refs, n);
	ck_assert_uint_eq(busy_ran, dead);
	ck_assert_uint_ge(dead, 4 * n - 8);
	SUPPORT_KEEP(busy);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("delivery");
	TCase *t = support_tcase("callbacks");

	tcase_add_loop_test(t, test_C13_callbacks_may_do_anything, 0, ACTS * RULES);
	tcase_add_loop_test(t, test_C42_errno_is_preserved, 0, RULES);
	tcase_add_test(t, test_C42_errno_across_allocation);
	tcase_add_loop_test(t, test_T12_collect_drains, 0, 2);
	tcase_add_loop_test(t, test_T15_callbacks_survive_their_thread, 0, RULES);
	suite_add_tcase(s, t);

	t = support_tcase("rules");
	tcase_add_test(t, test_at_allocation_runs_in_the_collecting_thread);
	tcase_add_test(t, test_at_allocation_runs_at_allocations);
	tcase_add_loop_test(t, test_R60_host_finalizes_all, 0, 3);
	tcase_add_test(t, test_R60_finalizing_all_ends);
	tcase_add_test(t, test_thread_runs_elsewhere_and_by_itself);
	tcase_add_test(t, test_F36_manual);
	tcase_add_test(t, test_F36_nothing_ready_nothing_pending);
	tcase_add_test(t, test_descriptor_wakes);
	tcase_add_test(t, test_run_within_a_callback);
	tcase_add_loop_test(t, test_collect_within_a_callback_does_not_nest, 0, RULES);
	tcase_add_loop_test(t, test_pump_under_each_rule, 0, RULES);
	tcase_add_loop_test(t, test_change_of_rule_delivers, 0, 2);
	tcase_add_test(t, test_change_of_rule_within_a_collection);
	tcase_add_test(t, test_rules_change_while_callbacks_come);
	tcase_add_test(t, test_wait_ends_with_the_rule);
	tcase_add_test(t, test_unknown_rule);
	suite_add_tcase(s, t);

	t = support_tcase("failures");
	tcase_add_loop_test(t, test_failing_callback_is_told, 0, RULES);
	tcase_add_test(t, test_handler_keeps_its_user);
	tcase_add_test(t, test_default_handler_writes_one_line);
	suite_add_tcase(s, t);

	t = support_tcase("not returning");
	tcase_add_loop_test(t, test_longjmp_out, 0, 2);
	tcase_add_loop_test(t, test_longjmp_out_of_destructor, 0, 2);
	tcase_add_loop_test(t, test_pthread_exit_out, 0, RULES);
	suite_add_tcase(s, t);

	t = support_tcase("many threads");
	tcase_add_loop_test(t, test_many_threads_deliver, 0, RULES);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	(void)argv;
	return argc > 1 ? child_default_handler() : support_main(suite);
}

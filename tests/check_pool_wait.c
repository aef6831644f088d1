/* SPDX-License-Identifier: MIT */
/*
 * check_pool_wait: weakref/pool.h: threads that wait for a resource, in what order they get it, and how long they wait; close,
 * cancellation, fork; and a stress test in which every resource is in one hand.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "pool_resources.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/checks.h"

/* ---- the lines of the seed ----------------------------------------------------------------------------------------------- */

/* P01: nothing to give and no way to make any: empty at once. */
START_TEST(test_p01_empty_at_once)
{
	weakref_pool *pool = POOL(0);
	void *out = &out;
	double before = seconds();

	ck_assert_ptr_nonnull(pool);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ENOENT);
	ck_assert_ptr_null(out);
	ck_assert(seconds() - before < 0.5);
}
END_TEST

/* P02: the same with a time limit of 1 s: after 1 s, to 10 ms or what the machine's load makes of them. */
START_TEST(test_p02_empty_after_timeout)
{
	weakref_pool *pool = POOL(0);
	double best = 1e9;
	void *out;

	for (int i = 0; i < 3 && best > 0.010; i++) {
		double before = seconds();
		ck_assert_int_eq(weakref_pool_pop_wait(pool, 1, &out), -ETIMEDOUT);
		double late = seconds() - before - 1;
		ck_assert(late >= -0.0001);
		best = late < best ? late : best;
	}
	ck_assert(best <= 0.010);
	ck_assert_uint_ge(stats_of(pool).timeouts, 1);
}
END_TEST

static const double for_ever[] = {0, -1, -1e300, INFINITY, -INFINITY};

/* P03: 0, negative and infinite wait until another thread pushes. */
START_TEST(test_p03_waits_for_ever)
{
	weakref_pool *pool = POOL(0);
	struct popper p = {0};
	struct res *r = res_new();

	ck_assert(popper_start(&p, pool, for_ever[_i], 1));
	usleep(20000);
	ck_assert_uint_eq(stats_of(pool).waiting, 1);
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, 0);
	ck_assert_ptr_eq(p.got, r);
}
END_TEST

/* P04: fractions of seconds count. */
START_TEST(test_p04_fractional_timeout)
{
	weakref_pool *pool = POOL(0);
	void *out;
	double before = seconds();

	ck_assert_int_eq(weakref_pool_pop_wait(pool, 0.125, &out), -ETIMEDOUT);
	ck_assert(seconds() - before >= 0.1249);
	ck_assert(seconds() - before < 1);
}
END_TEST

static int ten_tasks(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;

	for (int i = 0; i < 10; i++) {
		WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE_WAIT(pool, 2);
		struct res *r = weakref_pool_lease_get(lease);
		SUPPORT_REQUIRE(r != NULL);
		SUPPORT_REQUIRE(atomic_exchange(&r->hand, HAND_USER) == HAND_POOL);
		usleep(100);
		r->hand = HAND_POOL;
	}
	return 0;
}

/* P12: one resource, 20 threads of 10 tasks, 2 s: all are served. */
START_TEST(test_p12_limited_resources)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1);
	weakref_pool *args[20];

	for (int i = 0; i < 20; i++)
		args[i] = pool;
	ck_assert_int_eq(support_threads(20, ten_tasks, args, sizeof(*args)), 0);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_uint_eq(stats_of(pool).waiting, 0);
}
END_TEST

/* P13: ten waiters, a dead and a live resource pushed: the dead one is passed over, and all get the live one within 2 s. */
START_TEST(test_p13_waiters_skip_the_dead)
{
	enum { N = 10 };
	weakref_pool *pool = POOL(.check = res_check, .dealloc = res_dealloc);
	struct res *dead = res_new(), *live = res_new();
	struct popper p[N] = {0};

	dead->dead = true;
	for (size_t i = 0; i < N; i++) {
		p[i].gives_back = true;
		ck_assert(popper_start(&p[i], pool, 20, i + 1));
	}
	double before = seconds();
	ck_assert_int_eq(weakref_pool_push(pool, dead), 0);
	for (int i = 0; i < 10000 && stats_of(pool).dead == 0; i++)
		usleep(1000);
	ck_assert_uint_eq(stats_of(pool).dead, 1);
	ck_assert_uint_eq(stats_of(pool).waiting, N);
	ck_assert_int_eq(weakref_pool_push(pool, live), 0);
	for (int i = 0; i < N; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert_ptr_eq(p[i].got, live);
	}
	ck_assert(seconds() - before < 2);
	ck_assert_uint_eq(gone + wrong, 0);
}
END_TEST

/* P13, the other test of ya.resourcepool: where only a dead one comes, the time limit counts from the beginning. */
START_TEST(test_p13_dead_ones_do_not_prolong)
{
	weakref_pool *pool = POOL(.check = res_check);
	struct popper p = {0};
	double before = seconds();

	ck_assert(popper_start(&p, pool, 0.3, 1));
	for (int i = 0; i < 3; i++) {
		struct res *dead = res_new();
		dead->dead = true;
		usleep(50000);
		ck_assert_int_eq(weakref_pool_push(pool, dead), 0);
	}
	pthread_join(p.thread, NULL);
	double took = seconds() - before;
	ck_assert_int_eq(p.result, -ETIMEDOUT);
	ck_assert(took >= 0.2999 && took < 0.45 + 2);
	ck_assert_uint_ge(stats_of(pool).dead, 1);
}
END_TEST

/* P33: leased and idle together never exceed the hard maximum. */
START_TEST(test_p33_hard_maximum)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .hardmax = 2);
	struct res *a = pop(pool), *b = pop(pool);
	struct popper p = {0};
	void *out;

	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ENOENT);
	ck_assert_int_eq(weakref_pool_pop_wait(pool, 0.02, &out), -ETIMEDOUT);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), -ENOSPC);
	ck_assert(popper_start(&p, pool, 0, 1));
	weakref_pool_push(pool, b);
	pthread_join(p.thread, NULL);
	ck_assert_ptr_eq(p.got, b);
	ck_assert_uint_eq(stats_of(pool).leased, 2);
	ck_assert_uint_eq(stats_of(pool).allocs, 2);
	SUPPORT_KEEP(a);
}
END_TEST

/* P34: invalidate destroys a leased resource and lets a waiter make one. */
START_TEST(test_p34_invalidate)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 1);
	struct res *a = pop(pool);
	struct popper p = {0};

	ck_assert(popper_start(&p, pool, 0, 1));
	ck_assert_int_eq(weakref_pool_invalidate(pool, a), 0);
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, 0);
	ck_assert_ptr_eq(p.got, &all[1]);
	ck_assert_int_eq(a->deallocs, 1);
	ck_assert_int_eq(weakref_pool_invalidate(pool, a), -ENOENT);
	weakref_pool_push(pool, p.got);
	ck_assert_int_eq(weakref_pool_invalidate(pool, p.got), -ENOENT);
	ck_assert_uint_eq(stats_of(pool).invalidated, 1);
}
END_TEST

/* R208, R209: a waiter makes a resource where another is detached; clearing gives it nothing, and what comes back is given to it. */
START_TEST(test_detach_and_clear_with_waiters)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 1);
	struct res *a = pop(pool);
	struct popper p[2] = {0};

	ck_assert(popper_start(&p[0], pool, 0, 1));
	ck_assert_int_eq(weakref_pool_clear(pool), 0);
	ck_assert_uint_eq(stats_of(pool).waiting, 1);
	ck_assert_int_eq(weakref_pool_detach(pool, a), 0);
	pthread_join(p[0].thread, NULL);
	ck_assert_int_eq(p[0].result, 0);
	ck_assert_ptr_eq(p[0].got, &all[1]);
	ck_assert(popper_start(&p[1], pool, 0, 1));
	ck_assert_int_eq(weakref_pool_clear(pool), 0);
	ck_assert_int_eq(weakref_pool_push(pool, p[0].got), 0);
	pthread_join(p[1].thread, NULL);
	ck_assert_ptr_eq(p[1].got, p[0].got);
	ck_assert_uint_eq(gone, 0);
}
END_TEST

static int reset_dead(void *resource, void *user)
{
	(void)user;
	return ((struct res *)resource)->dead;
}

/* R212: a waiter is given what was reset, or makes another where it was not kept. */
START_TEST(test_reset_and_waiters)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .reset = reset_dead, .hardmax = 1);
	struct res *a = pop(pool);
	struct popper p[2] = {0};

	ck_assert(popper_start(&p[0], pool, 0, 1));
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	pthread_join(p[0].thread, NULL);
	ck_assert_ptr_eq(p[0].got, a);
	ck_assert(popper_start(&p[1], pool, 0, 1));
	a->dead = true;
	ck_assert_int_eq(weakref_pool_push(pool, a), 1);
	pthread_join(p[1].thread, NULL);
	ck_assert_ptr_eq(p[1].got, &all[1]);
	ck_assert_int_eq(a->deallocs, 1);
}
END_TEST

/* R213: who waits makes one where the hard maximum is raised; where it was lowered, what comes back goes first, until there are not
 * too many. */
START_TEST(test_set_size_and_waiters)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 2);
	struct res *a = pop(pool), *b = pop(pool);
	struct popper p[3] = {0};

	ck_assert(popper_start(&p[0], pool, 0, 1));
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, 3), 0);
	pthread_join(p[0].thread, NULL);
	ck_assert_ptr_eq(p[0].got, &all[2]);
	ck_assert(popper_start(&p[1], pool, 0, 1));
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, 1), 0);
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	ck_assert_int_eq(weakref_pool_push(pool, b), 0);
	ck_assert_int_eq(a->deallocs + b->deallocs, 2);
	ck_assert_uint_eq(stats_of(pool).waiting, 1);
	ck_assert_int_eq(weakref_pool_push(pool, p[0].got), 0);
	pthread_join(p[1].thread, NULL);
	ck_assert_ptr_eq(p[1].got, p[0].got);
	/* One who waits on a pool that has none to give is served when it has. */
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, WEAKREF_POOL_ZERO), 0);
	ck_assert_int_eq(weakref_pool_push(pool, p[1].got), 0);
	ck_assert(popper_start(&p[2], pool, 0, 1));
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, 1), 0);
	pthread_join(p[2].thread, NULL);
	ck_assert_ptr_eq(p[2].got, &all[3]);
	ck_assert_uint_eq(gone, 3);
}
END_TEST

/* A thread that closes a pool and waits for its end. */
struct closer {
	pthread_t thread;
	weakref_pool *pool;
	double limit;
	long result;
};

static void *closer_run(void *arg)
{
	struct closer *c = arg;

	c->result = weakref_pool_close_wait(c->pool, c->limit);
	return NULL;
}

static void closer_start(struct closer *c, weakref_pool *pool, double limit, size_t nth)
{
	c->pool = pool;
	c->limit = limit;
	c->result = -1;
	ck_assert_int_eq(pthread_create(&c->thread, NULL, closer_run, c), 0);
	ck_assert(until_waiting(pool, nth));
}

/* R231: whoever waits for the end of a pool sleeps until the last resource is back and deallocated; who waits for a resource, not at all. */
START_TEST(test_R231_close_wait)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new(), res_new(), res_new()}, .ninit = 3, .hardmax = 3, .dealloc = res_dealloc);
	struct res *a = pop(pool), *b = pop(pool);
	struct closer c[2];
	void *out;

	closer_start(&c[0], pool, for_ever[_i], 1);
	ck_assert_uint_eq(gone, 1);
	closer_start(&c[1], pool, 30, 2);
	ck_assert_int_eq(weakref_pool_pop_wait(pool, 0, &out), -ECANCELED);
	ck_assert_int_eq(weakref_pool_push(pool, a), 1);
	usleep(2000);
	ck_assert_uint_eq(stats_of(pool).waiting, 2);
	ck_assert_int_eq(_i % 2 == 0 ? weakref_pool_push(pool, b) : weakref_pool_detach(pool, b), _i % 2 == 0);
	for (int i = 0; i < 2; i++)
		pthread_join(c[i].thread, NULL);
	ck_assert_int_eq(c[0].result, 1);
	ck_assert_int_eq(c[1].result, 0);
	ck_assert_uint_eq(gone, _i % 2 == 0 ? 3 : 2);
	ck_assert_int_eq(weakref_pool_close_wait(pool, 0), 0);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.waiting + s.leased + s.moving + s.idle, 0);
	ck_assert_uint_eq(s.waits, 0);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
}
END_TEST

/* R231: what is not back in time is an error, and the pool is closed all the same; bad arguments do nothing. */
START_TEST(test_R231_in_vain)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1, .dealloc = res_dealloc);
	struct popper p = {0};
	struct res *a;
	void *out;

	ck_assert_int_eq(weakref_pool_close_wait(pool, NAN), -EINVAL);
	ck_assert_int_eq(weakref_pool_close_wait(NULL, 1), -EINVAL);
	ck_assert_ptr_nonnull(a = pop(pool));
	ck_assert(popper_start(&p, pool, 0, 1));
	ck_assert_int_eq(weakref_pool_close_wait(pool, 0.01), -ETIMEDOUT);
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, -ECANCELED);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ECANCELED);
	ck_assert_uint_eq(stats_of(pool).waiting, 0);
	ck_assert_uint_eq(stats_of(pool).leased, 1);
	ck_assert_int_eq(weakref_pool_push(pool, a), 1);
	ck_assert_int_eq(weakref_pool_close_wait(pool, 0.01), 0);
	ck_assert_uint_eq(gone, 1);
}
END_TEST

static atomic_bool dealloc_goes_on;

static int slow_dealloc(void *resource, void *user)
{
	while (!dealloc_goes_on)
		usleep(500);
	return res_dealloc(resource, user);
}

static void *push_run(void *arg)
{
	void **pair = arg;

	return weakref_pool_push(pair[0], pair[1]) == 1 ? arg : NULL;
}

/* R231: a resource that is with dealloc yet is waited for. */
START_TEST(test_R231_dealloc)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1, .dealloc = slow_dealloc);
	void *pair[] = {pool, pop(pool)}, *end;
	struct closer c;
	pthread_t pusher;

	dealloc_goes_on = false;
	closer_start(&c, pool, 0, 1);
	ck_assert_int_eq(pthread_create(&pusher, NULL, push_run, pair), 0);
	for (int i = 0; i < 10000 && stats_of(pool).moving == 0; i++)
		usleep(1000);
	ck_assert_uint_eq(stats_of(pool).moving, 1);
	ck_assert_uint_eq(stats_of(pool).waiting, 1);
	dealloc_goes_on = true;
	pthread_join(c.thread, NULL);
	ck_assert_int_eq(c.result, 0);
	ck_assert_uint_eq(gone, 1);
	pthread_join(pusher, &end);
	ck_assert_ptr_eq(end, pair);
}
END_TEST

/* R231: a thread that is cancelled meanwhile leaves no trace. */
START_TEST(test_R231_cancelled)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1, .dealloc = res_dealloc);
	struct res *a = pop(pool);
	struct closer c[2];
	void *end;

	closer_start(&c[0], pool, 0, 1);
	closer_start(&c[1], pool, 0, 2);
	pthread_cancel(c[0].thread);
	pthread_join(c[0].thread, &end);
	ck_assert_ptr_eq(end, PTHREAD_CANCELED);
	ck_assert_uint_eq(stats_of(pool).waiting, 1);
	ck_assert_uint_eq(stats_of(pool).waits, 0);
	ck_assert_int_eq(weakref_pool_push(pool, a), 1);
	pthread_join(c[1].thread, NULL);
	ck_assert_int_eq(c[1].result, 0);
}
END_TEST

static int lend_until_closed(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	void *r;
	int error;

	while ((error = weakref_pool_pop_wait(pool, 0, &r)) == 0) {
		SUPPORT_REQUIRE(atomic_exchange(&((struct res *)r)->hand, HAND_USER) != HAND_USER);
		if (rand() % 8 == 0)
			sched_yield();
		if (rand() % 64 == 0)
			SUPPORT_REQUIRE(weakref_pool_invalidate_all(pool) >= 0);
		((struct res *)r)->hand = HAND_POOL;
		SUPPORT_REQUIRE(weakref_pool_push(pool, r) >= 0);
	}
	return error == -ECANCELED ? 0 : error;
}

static int close_soon(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;

	usleep((unsigned)rand() % 3000);
	long n = weakref_pool_close_wait(pool, 0);
	weakref_pool_stats s = stats_of(pool);
	return n >= 0 && s.idle + s.leased + s.moving == 0 ? 0 : 1;
}

static int lend_or_close(void *arg)
{
	return ((weakref_pool **)arg)[1] != NULL ? close_soon(arg) : lend_until_closed(arg);
}

/* R230, R231: threads lend and give back, one of them has all renewed now and then, two close: behind these nothing is left. */
START_TEST(test_R231_stress)
{
	for (int round = 0; round < 60; round++) {
		weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = (size_t)round % 3 + 1);
		weakref_pool *args[5][2];
		for (int i = 0; i < 5; i++) {
			args[i][0] = pool;
			args[i][1] = i < 2 ? pool : NULL;
		}
		ck_assert_int_eq(support_threads(5, lend_or_close, args, sizeof(*args)), 0);
		ck_assert_uint_eq(gone, made);
	}
}
END_TEST

/* P40: close deallocates the idle, wakes waiters with an error, and later pushes deallocate at once. */
START_TEST(test_p40_close)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new(), res_new(), res_new()}, .ninit = 3, .dealloc = res_dealloc);
	weakref_pool *dry = POOL(.dealloc = res_dealloc);
	struct popper p[3] = {0};
	struct res *a = pop(pool);
	void *out;

	for (size_t i = 0; i < 3; i++)
		ck_assert(popper_start(&p[i], dry, i, i + 1));
	ck_assert_int_eq(weakref_pool_close(dry), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert_int_eq(p[i].result, -ECANCELED);
	}
	ck_assert_int_eq(weakref_pool_close(pool), 2);
	ck_assert_int_eq(weakref_pool_close(pool), 0);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ECANCELED);
	ck_assert_int_eq(weakref_pool_pop_wait(pool, 0, &out), -ECANCELED);
	ck_assert_int_eq(weakref_pool_push(pool, a), 1);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), 1);
	ck_assert_uint_eq(gone, 4);
	ck_assert_uint_eq(stats_of(pool).leased, 0);
}
END_TEST

/* A closed pool still knows what is leased from it, until each of them came back or ended in another way. testClosedPoolBehavior of Apache
 * Commons Pool. */
START_TEST(test_closed_with_leases)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc);
	void *a = pop(pool), *b = pop(pool), *c = pop(pool), *d;
	weakref_pool_lease *one = WEAKREF_POOL_LEASE(pool), *two = WEAKREF_POOL_LEASE(pool);

	ck_assert_int_eq(weakref_pool_close(pool), 0);
	ck_assert_uint_eq(stats_of(pool).leased, 5);
	ck_assert_int_eq(weakref_pool_invalidate(pool, a), 0);
	ck_assert_int_eq(weakref_pool_invalidate(pool, a), -ENOENT);
	ck_assert_uint_eq(gone, 1);
	ck_assert_int_eq(weakref_pool_detach(pool, b), 0);
	ck_assert_int_eq(weakref_pool_detach(pool, b), -ENOENT);
	ck_assert_uint_eq(stats_of(pool).leased, 3);
	ck_assert_int_eq(weakref_pool_push(pool, c), 1);
	ck_assert_int_eq(weakref_pool_lease_return(one), 1);
	ck_assert_int_eq(weakref_pool_lease_detach(two, &d), 0);
	ck_assert_ptr_eq(d, &all[4]);
	ck_assert_int_eq(weakref_pool_maintain(pool) + weakref_pool_clear(pool) + weakref_pool_close(pool), 0);
	ck_assert_uint_eq(gone, 3);
	ck_assert_int_eq(((struct res *)b)->deallocs + ((struct res *)d)->deallocs, 0);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.leased + s.moving + s.idle, 0);
	ck_assert_uint_eq(s.invalidated, 1);
	ck_assert_uint_eq(s.detached, 2);
	ck_assert_uint_eq(s.returns, 2);
}
END_TEST

/* P41: waiters are served in the order of their arrival, and nobody overtakes them. */
START_TEST(test_p41_fair)
{
	enum { N = 8 };
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1);
	struct popper p[N] = {0};
	struct res *r = pop(pool);

	turns = 0;
	for (size_t i = 0; i < N; i++) {
		p[i].gives_back = true;
		ck_assert(popper_start(&p[i], pool, 0, i + 1));
	}
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	for (int i = 0; i < N; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert_int_eq(p[i].result, 0);
		ck_assert_int_eq(p[i].turn, i);
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(stats_of(pool).waits, N);
}
END_TEST

/* P41: a thread that pushes while somebody waits, and pops again at once, gets nothing: it goes behind. */
START_TEST(test_p41_pusher_goes_behind)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1);
	struct res *r = pop(pool);
	void *out;

	for (int i = 0; i < 50; i++) {
		struct popper p = {0};
		ck_assert(popper_start(&p, pool, 0, 1));
		if (i % 2 == 0)
			usleep(2000); /* asleep for certain */
		ck_assert_int_eq(weakref_pool_push(pool, r), 0);
		ck_assert_int_eq(weakref_pool_pop(pool, &out), -ENOENT);
		pthread_join(p.thread, NULL);
		ck_assert_ptr_eq(p.got, r);
	}
	ck_assert_uint_eq(stats_of(pool).leased, 1);
}
END_TEST

struct hammer {
	weakref_pool *pool;
	_Atomic bool stop;
	_Atomic size_t pairs;
};

static int hammer_run(void *arg)
{
	struct hammer *h = arg;
	void *r;

	while (!h->stop) {
		SUPPORT_REQUIRE(weakref_pool_pop_wait(h->pool, 0, &r) == 0);
		SUPPORT_REQUIRE(weakref_pool_push(h->pool, r) == 0);
		h->pairs++;
	}
	return 0;
}

static void *hammer_thread(void *arg)
{
	wrong += hammer_run(arg);
	return NULL;
}

/* Threads that push and pop without pause do not shut out another one: it queues after a moment, and is next. */
START_TEST(test_nobody_starves)
{
	static struct hammer h;
	pthread_t threads[3];
	void *r;

	h.pool = POOL(.init = (void *[]){res_new()}, .ninit = 1);
	h.stop = false;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer_thread, &h), 0);
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(weakref_pool_pop_wait(h.pool, 20, &r), 0);
		ck_assert_int_eq(weakref_pool_push(h.pool, r), 0);
	}
	h.stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(h.pairs, 0);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_int_eq(LEN(h.pool), 1);
	SUPPORT_CLEAR(h.pool);
}
END_TEST

/* A waiter whose time is over leaves the queue, from its middle too; the others keep their places. */
START_TEST(test_timeout_within_the_queue)
{
	weakref_pool *pool = POOL(0);
	struct popper p[3] = {0};
	struct res *a = res_new(), *b = res_new();

	for (size_t i = 0; i < 3; i++)
		ck_assert(popper_start(&p[i], pool, i == 1 ? 0.2 : 0, i + 1));
	pthread_join(p[1].thread, NULL);
	ck_assert_int_eq(p[1].result, -ETIMEDOUT);
	ck_assert_ptr_null(p[1].got);
	ck_assert_uint_eq(stats_of(pool).waiting, 2);
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	pthread_join(p[0].thread, NULL);
	ck_assert_int_eq(weakref_pool_push(pool, b), 0);
	pthread_join(p[2].thread, NULL);
	ck_assert_ptr_eq(p[0].got, a);
	ck_assert_ptr_eq(p[2].got, b);
}
END_TEST

static _Atomic bool alloc_works;

static int moody_alloc(void **out, void *user)
{
	return alloc_works ? res_alloc(out, user) : -EIO;
}

/* alloc fails in a waiter that was given room: the next one is given it, and nobody is forgotten. */
START_TEST(test_alloc_fails_in_waiters)
{
	weakref_pool *pool = POOL(.alloc = moody_alloc, .hardmax = 1);
	struct popper p[3] = {0};

	alloc_works = true;
	struct res *r = pop(pool);
	ck_assert_ptr_nonnull(r);
	alloc_works = false;
	for (size_t i = 0; i < 3; i++)
		ck_assert(popper_start(&p[i], pool, 0, i + 1));
	ck_assert_int_eq(weakref_pool_invalidate(pool, r), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert_int_eq(p[i].result, -EIO);
	}
	ck_assert_uint_eq(stats_of(pool).alloc_errors, 3);
	ck_assert_uint_eq(stats_of(pool).moving + stats_of(pool).waiting, 0);
}
END_TEST

/* A waiter is given a dead resource at the hard maximum: there is room now, and it makes one. */
START_TEST(test_dead_resource_makes_room)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .check = res_check, .hardmax = 1);
	struct popper p[2] = {0};
	struct res *r = pop(pool);

	for (size_t i = 0; i < 2; i++)
		ck_assert(popper_start(&p[i], pool, 0, i + 1));
	r->dead = true;
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	pthread_join(p[0].thread, NULL);
	ck_assert_ptr_eq(p[0].got, &all[1]);
	ck_assert_int_eq(weakref_pool_push(pool, p[0].got), 0);
	pthread_join(p[1].thread, NULL);
	ck_assert_ptr_eq(p[1].got, &all[1]);
	ck_assert_uint_eq(stats_of(pool).dead, 1);
}
END_TEST

/* A resource whose lifetime is over is not handed to who waits: there is room now, and he makes one. */
START_TEST(test_lifetime_and_waiters)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 1, .lifetime = 0.02);
	struct popper p = {0};
	struct res *r = pop(pool);

	ck_assert(popper_start(&p, pool, 0, 1));
	usleep(30000);
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(r->deallocs, 1);
	ck_assert_ptr_eq(p.got, &all[1]);
}
END_TEST

static int waiting_check(void *resource, void *user)
{
	weakref_pool *pool = *(weakref_pool **)user;
	void *other;

	(void)resource;
	wrong += weakref_pool_pop_wait(pool, 0.001, &other) != -ETIMEDOUT;
	return 1;
}

/* check that waits on its own pool, which has nothing else, waits for as long as it said. */
START_TEST(test_check_waits_on_its_pool)
{
	static weakref_pool *pool;
	void *r = res_new(), *out;

	pool = POOL(.init = &r, .ninit = 1, .check = waiting_check, .check_user = &pool);
	ck_assert_int_eq(weakref_pool_pop_wait(pool, 0, &out), 0);
	ck_assert_ptr_eq(out, r);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(stats_of(pool).timeouts, 1);
	SUPPORT_CLEAR(pool);
}
END_TEST

static _Atomic int signals;

static void count_signal(int number)
{
	(void)number;
	signals++;
}

/* Signals that come during a wait, for a resource or for the pool's end, do not end it. ConcurrentPoolTest of Vibur: testInterrupted. */
START_TEST(test_signals_do_not_end_a_wait)
{
	struct sigaction action = {.sa_handler = count_signal}, before;
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1, .dealloc = res_dealloc);
	struct popper p = {0};
	struct closer c;
	void *r = pop(pool);

	signals = 0;
	ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
	ck_assert(popper_start(&p, pool, for_ever[_i], 1));
	for (int i = 1; i <= 20; i++) {
		ck_assert_int_eq(pthread_kill(p.thread, SIGUSR1), 0);
		while (signals < i)
			usleep(100);
	}
	ck_assert_uint_eq(stats_of(pool).waiting, 1);
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	pthread_join(p.thread, NULL);
	ck_assert_ptr_eq(p.got, r);
	ck_assert_uint_eq(stats_of(pool).waits, 1);
	closer_start(&c, pool, for_ever[_i], 1);
	for (int i = 21; i <= 40; i++) {
		ck_assert_int_eq(pthread_kill(c.thread, SIGUSR1), 0);
		while (signals < i)
			usleep(100);
	}
	ck_assert_uint_eq(stats_of(pool).waiting, 1);
	ck_assert_int_eq(weakref_pool_push(pool, r), 1);
	pthread_join(c.thread, NULL);
	ck_assert_int_eq(c.result, 0);
	sigaction(SIGUSR1, &before, NULL);
}
END_TEST

static _Atomic int in_alloc, may_return;

/* The first that calls it stays in it. */
static int slow_alloc(void **out, void *user)
{
	if (in_alloc++ == 0)
		while (!may_return)
			usleep(100);
	return *(int *)user != 0 ? *(int *)user : res_alloc(out, NULL);
}

/* An alloc that takes its time keeps nobody else: others make theirs, and are given what comes back, as far as there is room. It counts as
 * one, whatever becomes of it. test_hanging_connect_within_overflow of SQLAlchemy, TestPoolStatResources of puddle. */
START_TEST(test_slow_alloc)
{
	int error = 0;
	weakref_pool *pool = POOL(.alloc = slow_alloc, .alloc_user = &error, .hardmax = 2);
	struct popper p = {.pool = pool, .limit = 30}, q = {0};
	void *out;

	in_alloc = may_return = 0;
	ck_assert_int_eq(pthread_create(&p.thread, NULL, popper_run, &p), 0);
	while (in_alloc == 0)
		usleep(100);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.moving, 1);
	ck_assert_uint_eq(s.leased + s.idle + s.waiting, 0);
	void *a = pop(pool);
	ck_assert_ptr_eq(a, &all[0]);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ENOENT);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), -ENOSPC);
	ck_assert(popper_start(&q, pool, 30, 1));
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	pthread_join(q.thread, NULL);
	ck_assert_ptr_eq(q.got, a);
	error = _i == 0 ? 0 : -EIO;
	ck_assert(_i == 0 || popper_start(&q, pool, 30, 1));
	may_return = 1;
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, error);
	if (_i != 0) {
		/* The room that it leaves is for the waiter, whose alloc fails as well. */
		pthread_join(q.thread, NULL);
		ck_assert_int_eq(q.result, -EIO);
		ck_assert_uint_eq(stats_of(pool).alloc_errors, 2);
	}
	ck_assert_uint_eq(stats_of(pool).leased, _i == 0 ? 2 : 1);
	ck_assert_uint_eq(stats_of(pool).moving + stats_of(pool).waiting, 0);
}
END_TEST

/* ---- cancellation and fork ----------------------------------------------------------------------------------------------- */

/* A thread cancelled while it waits leaves no trace, and those behind it are served. */
START_TEST(test_cancelled_waiter)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1);
	struct popper p[3] = {0};
	void *r = pop(pool);

	for (size_t i = 0; i < 3; i++)
		ck_assert(popper_start(&p[i], pool, 0, i + 1));
	pthread_cancel(p[0].thread);
	pthread_join(p[0].thread, NULL);
	ck_assert_uint_eq(stats_of(pool).waiting, 2);
	p[1].gives_back = p[2].gives_back = true;
	/* Given and cancelled at once: whoever wins, the resource is not lost. */
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	pthread_cancel(p[1].thread);
	pthread_join(p[2].thread, NULL);
	pthread_join(p[1].thread, NULL);
	ck_assert_int_eq(p[2].result, 0);
	ck_assert_ptr_eq(p[2].got, r);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_uint_eq(stats_of(pool).waiting + stats_of(pool).leased + stats_of(pool).moving, 0);
}
END_TEST

/* A waiter is given a resource and cancelled at the same time: whoever wins, the resource is in one hand. */
START_TEST(test_given_and_cancelled)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1);
	size_t got = 0;

	for (int i = 0; i < 100; i++) {
		struct popper p = {.gives_back = true};
		void *r = pop(pool), *end;
		ck_assert_ptr_nonnull(r);
		ck_assert(popper_start(&p, pool, i % 2 ? 0 : 30, 1));
		if (i % 4 < 2)
			usleep(500);
		ck_assert_int_eq(weakref_pool_push(pool, r), 0);
		pthread_cancel(p.thread);
		ck_assert_int_eq(pthread_join(p.thread, &end), 0);
		got += end != PTHREAD_CANCELED;
		ck_assert_int_eq(LEN(pool), 1);
		ck_assert_uint_eq(stats_of(pool).leased + stats_of(pool).waiting, 0);
	}
	ck_assert_uint_le(got, 100);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* Waits that end at about the moment at which a resource comes: it is given, or it stays. */
START_TEST(test_given_and_timed_out)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1);

	for (int i = 0; i < 100; i++) {
		struct popper p = {.pool = pool, .limit = 0.001, .gives_back = true};
		void *r = pop(pool);
		ck_assert_ptr_nonnull(r);
		ck_assert_int_eq(pthread_create(&p.thread, NULL, popper_run, &p), 0);
		usleep(900 + 10 * (unsigned)i % 400);
		ck_assert_int_eq(weakref_pool_push(pool, r), 0);
		pthread_join(p.thread, NULL);
		ck_assert(p.result == 0 || p.result == -ETIMEDOUT);
		ck_assert_int_eq(LEN(pool), 1);
		ck_assert_uint_eq(stats_of(pool).leased + stats_of(pool).waiting, 0);
	}
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

static _Atomic bool stop_now;

static int push_and_pop(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	void *r;

	while (!stop_now) {
		SUPPORT_REQUIRE(weakref_pool_pop(pool, &r) == 0);
		SUPPORT_REQUIRE(weakref_pool_push(pool, r) == 0);
	}
	return 0;
}

static void *push_and_pop_thread(void *arg)
{
	wrong += push_and_pop(arg);
	return NULL;
}

static int use_pool_in_child(void *arg)
{
	weakref_pool *pool = ((weakref_pool **)arg)[0], *dry = ((weakref_pool **)arg)[1], *own;
	void *r[3];

	void *fresh = res_new();
	SUPPORT_REQUIRE(weakref_pool_push(dry, fresh) == 0 && weakref_pool_len(dry) == 1); /* its waiter is not here */
	SUPPORT_REQUIRE(weakref_pool_pop_wait(dry, 1, &r[0]) == 0 && r[0] == fresh);
	SUPPORT_REQUIRE(weakref_pool_pop_wait(dry, 0.001, &r[0]) == -ETIMEDOUT);
	for (int i = 0; i < 3; i++)
		SUPPORT_REQUIRE(weakref_pool_pop(pool, &r[i]) == 0);
	for (int i = 0; i < 3; i++)
		SUPPORT_REQUIRE(weakref_pool_push(pool, r[i]) == 0);
	own = POOL(.alloc = res_alloc, .minsize = 2);
	SUPPORT_REQUIRE(own != NULL && weakref_pool_len(own) == 2);
	SUPPORT_REQUIRE(stats_of(pool).waiting == 0 && stats_of(pool).moving == 0);
	SUPPORT_REQUIRE(weakref_pool_close(pool) >= 3);
	return 0;
}

/* A child forked while other threads are at it, and one waits, can use the pool; the waiter is not there. */
START_TEST(test_fork)
{
	weakref_pool *pool = POOL(.alloc = res_alloc), *dry = POOL(0);
	struct popper p = {0};
	pthread_t threads[2];
	int result = 0;

	stop_now = false;
	ck_assert(popper_start(&p, dry, 0, 1));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, push_and_pop_thread, &pool), 0);
	for (int i = 0; i < 10 && result == 0; i++)
		result = support_in_child(use_pool_in_child, (weakref_pool *[]){pool, dry});
	stop_now = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(stats_of(dry).waiting, 1);
	weakref_pool_close(dry);
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, -ECANCELED);
	ck_assert_int_eq(result, 0);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* Waits are counted by their length. */
START_TEST(test_statistics_of_waits)
{
	weakref_pool *pool = POOL(0);
	uint64_t sum = 0;
	void *out;

	for (int i = 0; i < 3; i++)
		weakref_pool_pop_wait(pool, 0.002, &out);
	weakref_pool_stats s = stats_of(pool);
	for (int i = 0; i < WEAKREF_POOL_WAITS; i++)
		sum += s.wait_histogram[i];
	ck_assert_uint_eq(sum, 3);
	ck_assert_uint_eq(s.waits, 3);
	ck_assert_uint_eq(s.timeouts, 3);
	for (int i = 0; i < 11; i++)
		ck_assert_uint_eq(s.wait_histogram[i], 0);
	ck_assert_uint_ge(s.wait_max_ns, 2000000);
	ck_assert_uint_ge(s.wait_total_ns, 6000000);
}
END_TEST

/* ---- stress -------------------------------------------------------------------------------------------------------------- */

struct worker {
	weakref_pool *pool;
	uint64_t random;
	size_t rounds;
};

static int hand_alloc(void **out, void *user)
{
	struct worker *w = user;

	if (support_random(&w->random) % 16 == 0)
		return -EIO;
	return res_alloc(out, NULL);
}

/* Idle and leaving: nobody may have it. */
static int hand_dealloc(void *resource, void *user)
{
	struct res *r = resource;

	wrong += atomic_exchange(&r->hand, HAND_GONE) != HAND_POOL;
	return res_dealloc(resource, user);
}

static int hand_check(void *resource, void *user)
{
	struct res *r = resource;

	(void)user;
	wrong += r->hand != HAND_POOL;
	if (!r->dead)
		return 1;
	wrong += atomic_exchange(&r->hand, HAND_GONE) != HAND_POOL;
	return 0;
}

static void take(struct res *r)
{
	wrong += atomic_exchange(&r->hand, HAND_USER) != HAND_POOL;
}

static void let_go(struct res *r)
{
	wrong += atomic_exchange(&r->hand, HAND_POOL) != HAND_USER;
}

static void give(weakref_pool *pool, struct res *r, uint64_t how)
{
	r->dead = how % 32 == 1;
	let_go(r);
	wrong += how % 8 == 0 ? weakref_pool_invalidate(pool, r) != 0 : weakref_pool_push(pool, r) < 0;
}

static int work(void *arg)
{
	struct worker *w = arg;
	void *got;

	for (size_t i = 0; i < w->rounds; i++) {
		uint64_t dice = support_random(&w->random), what = dice % 8;
		dice >>= 8;
		if (what == 0) {
			struct res *r = res_new();
			if (weakref_pool_push(w->pool, r) < 0)
				r->hand = HAND_GONE;
		} else if (what == 1) {
			WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE_WAIT(w->pool, 0.001);
			struct res *r = weakref_pool_lease_get(lease);
			if (r != NULL) {
				take(r);
				let_go(r);
			}
		} else if ((what < 5 ? weakref_pool_pop(w->pool, &got) : weakref_pool_pop_wait(w->pool, 0.001, &got)) == 0) {
			take(got);
			if (dice % 16 == 5)
				usleep(100);
			give(w->pool, got, dice >> 8);
		}
	}
	return 0;
}

/* Threads pop, wait, lease, push, adopt, invalidate, with deaths, failures and trimming: every resource is in one hand at any
 * time, and at the end each is idle, deallocated or dead. */
START_TEST(test_stress_one_hand)
{
	enum { N = 6 };
	static struct worker workers[N + 1];
	weakref_pool_options o = {.alloc = hand_alloc, .alloc_user = &workers[N], .dealloc = hand_dealloc, .check = hand_check};
	size_t idle = 0;

	o.hardmax = _i == 0 ? 4 : 0;
	o.maxsize = _i == 1 ? 3 : 0;
	o.maxage = _i == 2 ? 0.0005 : 0;
	workers[N].random = support_seed();
	weakref_pool *pool = weakref_pool_new(&o);
	for (int i = 0; i < N; i++)
		workers[i] = (struct worker){pool, support_seed() + (uint64_t)i, support_scaled(2500, 50)};
	ck_assert_int_eq(support_threads(N, work, workers, sizeof(*workers)), 0);
	ck_assert_uint_le(made, 100000);
	ck_assert_uint_eq(wrong, 0);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.leased + s.waiting + s.moving, 0);
	for (size_t i = 0; i < made; i++)
		idle += all[i].hand == HAND_POOL;
	ck_assert_uint_eq(idle, s.idle);
	ck_assert_int_eq(weakref_pool_close(pool), (long)idle);
	for (size_t i = 0; i < made; i++)
		ck_assert_int_eq(all[i].hand, HAND_GONE);
	ck_assert_uint_eq(wrong, 0);
	memset(workers, 0, sizeof(workers));
}
END_TEST

/* What comes back is touched by nobody else. */
static int hand_reset(void *resource, void *user)
{
	struct res *r = resource;

	(void)user;
	wrong += r->hand != HAND_POOL;
	return r->dead;
}

static int hand_keep(void *resource, const weakref_pool_idle *idle, void *user)
{
	struct res *r = resource;
	struct worker *w = user;

	wrong += idle->seconds < 0 || r->hand != HAND_POOL;
	return support_random(&w->random) % 3 != 0;
}

static void hold_for_a_while(struct worker *w, struct res *r, uint64_t dice)
{
	take(r);
	if (dice % 16 == 5)
		usleep(50);
	if (dice % 8 != 1) {
		give(w->pool, r, dice >> 8);
		return;
	}
	wrong += weakref_pool_detach(w->pool, r) != 0;
	let_go(r);
	/* Foreign: taken, or refused where it is full. */
	if (weakref_pool_push(w->pool, r) < 0)
		r->hand = HAND_GONE;
}

/* One of the calls that look after the pool. */
static long look_after(struct worker *w, uint64_t dice)
{
	switch (dice % 8) {
	case 0: return weakref_pool_maintain(w->pool);
	case 1: return weakref_pool_clear(w->pool);
	case 2: return weakref_pool_invalidate_all(w->pool);
	case 3: return weakref_pool_retain(w->pool, hand_keep, w);
	case 4: return weakref_pool_set_size(w->pool, WEAKREF_POOL_HARDMAX, 2 + (dice >> 8) % 4);
	case 5: return weakref_pool_set_size(w->pool, WEAKREF_POOL_MAXSIZE, 1 + (dice >> 8) % 4);
	case 6: return weakref_pool_fill(w->pool, 1 + (dice >> 8) % 3);
	default: return (long)weakref_pool_len(w->pool);
	}
}

static int work_at_all(void *arg)
{
	struct worker *w = arg;
	void *got;

	for (size_t i = 0; i < w->rounds; i++) {
		uint64_t dice = support_random(&w->random);
		if (dice % 4 == 0) {
			long result = look_after(w, dice >> 4);
			SUPPORT_REQUIRE(result >= 0 || result == -EIO || result == -ECANCELED || result == -ENOMEM);
			continue;
		}
		int error = dice % 4 == 1 ? weakref_pool_pop(w->pool, &got) : weakref_pool_pop_wait(w->pool, 0.001, &got);
		if (error == -ECANCELED)
			return 0;
		if (error == 0)
			hold_for_a_while(w, got, dice >> 4);
		else
			SUPPORT_REQUIRE(error == -EIO || error == (dice % 4 == 1 ? -ENOENT : -ETIMEDOUT));
	}
	return weakref_pool_close_wait(w->pool, 0) < 0;
}

/* All that a pool can do is done to one at once, until the first is done, closes it and waits for its end: every resource is in one hand at any
 * time, and none is left. TestConcurrentBorrowAndEvict, TestConcurrentCloseAndEvict of go-commons-pool; ObjectPoolIssue326. */
START_TEST(test_stress_all_calls)
{
	enum { N = 6 };
	static struct worker workers[N + 1];
	weakref_pool_options o = {.alloc = hand_alloc, .alloc_user = &workers[N], .dealloc = hand_dealloc, .check = hand_check, .hardmax = 4};

	o.fifo = _i % 2;
	o.lifetime = _i == 1 ? 0.001 : 0;
	o.maxage = _i == 2 ? 0.0005 : 0;
	o.reset = _i >= 2 ? hand_reset : NULL;
	workers[N].random = support_seed();
	weakref_pool *pool = weakref_pool_new(&o);
	for (size_t i = 0; i < N; i++)
		workers[i] = (struct worker){pool, support_seed() + i, support_scaled(2500, 50)};
	ck_assert_int_eq(support_threads(N, work_at_all, workers, sizeof(*workers)), 0);
	ck_assert_uint_le(made, 100000);
	ck_assert_uint_eq(wrong, 0);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.idle + s.leased + s.waiting + s.moving, 0);
	for (size_t i = 0; i < made; i++)
		ck_assert_int_eq(all[i].hand, HAND_GONE);
	memset(workers, 0, sizeof(workers));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pool_wait");
	TCase *t = pool_tcase(s, "pool_wait");

	tcase_add_test(t, test_p01_empty_at_once);
	tcase_add_test(t, test_p02_empty_after_timeout);
	tcase_add_loop_test(t, test_p03_waits_for_ever, 0, 5);
	tcase_add_test(t, test_p04_fractional_timeout);
	tcase_add_test(t, test_p12_limited_resources);
	tcase_add_test(t, test_p13_waiters_skip_the_dead);
	tcase_add_test(t, test_p13_dead_ones_do_not_prolong);
	tcase_add_test(t, test_p33_hard_maximum);
	tcase_add_test(t, test_p34_invalidate);
	tcase_add_test(t, test_detach_and_clear_with_waiters);
	tcase_add_test(t, test_reset_and_waiters);
	tcase_add_test(t, test_set_size_and_waiters);
	tcase_add_test(t, test_p40_close);
	tcase_add_test(t, test_closed_with_leases);
	tcase_add_loop_test(t, test_R231_close_wait, 0, (int)(sizeof(for_ever) / sizeof(*for_ever)));
	tcase_add_test(t, test_R231_in_vain);
	tcase_add_test(t, test_R231_dealloc);
	tcase_add_test(t, test_R231_cancelled);
	tcase_add_test(t, test_R231_stress);
	tcase_add_test(t, test_p41_fair);
	tcase_add_test(t, test_p41_pusher_goes_behind);
	tcase_add_test(t, test_nobody_starves);
	tcase_add_test(t, test_timeout_within_the_queue);
	tcase_add_test(t, test_alloc_fails_in_waiters);
	tcase_add_test(t, test_dead_resource_makes_room);
	tcase_add_test(t, test_lifetime_and_waiters);
	tcase_add_test(t, test_check_waits_on_its_pool);
	tcase_add_loop_test(t, test_signals_do_not_end_a_wait, 0, 2);
	tcase_add_loop_test(t, test_slow_alloc, 0, 2);
	tcase_add_test(t, test_cancelled_waiter);
	tcase_add_test(t, test_given_and_cancelled);
	tcase_add_test(t, test_given_and_timed_out);
	tcase_add_test(t, test_fork);
	tcase_add_test(t, test_statistics_of_waits);
	tcase_add_loop_test(t, test_stress_one_hand, 0, 4);
	tcase_add_loop_test(t, test_stress_all_calls, 0, 4);
	return s;
}

int main(void)
{
	return pool_main(suite);
}

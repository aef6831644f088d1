/* SPDX-License-Identifier: MIT */
/*
 * check_pool: weakref/pool.h. The tests named p01 and so on are those of ya.resourcepool, its README and of other pools; then bad
 * input, user functions that fail or use the pool, leases, death of pools, of leases and of leased blocks, cancellation, fork,
 * exit, a stress test in which every resource is in one hand, and, where the library was built for it, failing allocations and a
 * clock that is moved by hand.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gc/gc.h>

#include "rawthread.h"
#include "weakref/checks.h"
#include "weakref/pool.h"

/* ---- resources ----------------------------------------------------------------------------------------------------------- */

enum hand { HAND_POOL, HAND_USER, HAND_GONE };

struct res {
	_Atomic int hand;
	_Atomic int deallocs;
	_Atomic bool dead;
};

/* A test's resources are no other test's: a pool of a test before, which is garbage that nobody collected yet, still has its own. */
#define RESOURCES ((size_t)1 << 19)
static struct res *every; /* from malloc: no root */
static struct res *all;   /* this test's */
static _Atomic size_t made;
static _Atomic size_t gone;
static struct res **gone_order;
static _Atomic unsigned wrong;

static struct res *res_new(void)
{
	struct res *r = &all[made++];

	r->hand = HAND_POOL;
	r->deallocs = 0;
	r->dead = false;
	return r;
}

static int res_alloc(void **out, void *user)
{
	(void)user;
	*out = res_new();
	return 0;
}

static int res_dealloc(void *resource, void *user)
{
	struct res *r = resource;

	(void)user;
	r->deallocs++;
	if (r >= all)
		gone_order[gone++] = r;
	return 0;
}

static int res_check(void *resource, void *user)
{
	(void)user;
	return !((struct res *)resource)->dead;
}

static void start_over(void)
{
	all += made + 2000;
	made = gone = 0;
	wrong = 0;
	ck_assert_uint_lt((size_t)(all - every), RESOURCES - 100000);
}

#define POOL(...) weakref_pool_new(&(weakref_pool_options){__VA_ARGS__})
#define LEN(pool) ((int)weakref_pool_len(pool))

static struct res *pop(weakref_pool *pool)
{
	void *out;

	return weakref_pool_pop(pool, &out) == 0 ? out : NULL;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static weakref_pool_stats stats_of(weakref_pool *pool)
{
	weakref_pool_stats stats = {0};

	weakref_pool_get_stats(pool, &stats);
	return stats;
}

/* Until so many wait, for at most 10 s. */
static bool until_waiting(weakref_pool *pool, size_t n)
{
	for (int i = 0; i < 10000 && stats_of(pool).waiting != n; i++)
		usleep(1000);
	return stats_of(pool).waiting == n;
}

/* A thread that pops with a time limit, and perhaps gives back. */
struct popper {
	pthread_t thread;
	weakref_pool *pool;
	double limit;
	bool gives_back;
	void *got;
	int result;
	int turn; /* how many were served before */
};

static _Atomic int turns;

static void *popper_run(void *arg)
{
	struct popper *p = arg;

	p->result = weakref_pool_pop_wait(p->pool, p->limit, &p->got);
	p->turn = turns++;
	if (p->result == 0 && p->gives_back)
		wrong += weakref_pool_push(p->pool, p->got) != 0;
	return NULL;
}

/* Starts it and waits until it waits as the nth. */
static bool popper_start(struct popper *p, weakref_pool *pool, double limit, size_t nth)
{
	p->pool = pool;
	p->limit = limit;
	return pthread_create(&p->thread, NULL, popper_run, p) == 0 && until_waiting(pool, nth);
}

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

/* P05: with an init list only, pops give those resources and no others. */
START_TEST(test_p05_init_only)
{
	struct res *a = res_new(), *b = res_new();
	weakref_pool *pool = POOL(.init = (void *[]){a, b}, .ninit = 2);

	ck_assert_ptr_eq(pop(pool), a);
	ck_assert_ptr_eq(pop(pool), b);
	ck_assert_ptr_null(pop(pool));
	ck_assert_uint_eq(stats_of(pool).allocs, 0);
}
END_TEST

static int note_resource(void *resource, void *user)
{
	*(void **)user = resource;
	return 7;
}

/* P06: scoped use, 100 times in a row, gives the first one each time. */
START_TEST(test_p06_scoped_use_is_lifo)
{
	struct res *list[] = {res_new(), res_new(), res_new()};
	weakref_pool *pool = POOL(.init = (void *[]){list[0], list[1], list[2]}, .ninit = 3);

	for (int i = 0; i < 100; i++) {
		void *got = NULL;
		if (i % 2 == 0) {
			ck_assert_int_eq(WEAKREF_POOL_WITH(pool, note_resource, &got), 7);
		} else {
			WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);
			got = weakref_pool_lease_get(lease);
		}
		ck_assert_ptr_eq(got, list[0]);
		ck_assert_int_eq(LEN(pool), 3);
	}
}
END_TEST

/* P07: alloc is called when nothing is idle, and not otherwise. */
START_TEST(test_p07_alloc_when_needed)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);
	struct res *a = pop(pool);

	ck_assert_uint_eq(made, 1);
	weakref_pool_push(pool, a);
	ck_assert_ptr_eq(pop(pool), a);
	ck_assert_uint_eq(made, 1);
	ck_assert_ptr_ne(pop(pool), a);
	ck_assert_uint_eq(made, 2);
}
END_TEST

/* P08: init and alloc: what init gave comes first. */
START_TEST(test_p08_init_then_alloc)
{
	struct res *a = res_new();
	weakref_pool *pool = POOL(.init = (void *[]){a}, .ninit = 1, .alloc = res_alloc);

	ck_assert_ptr_eq(pop(pool), a);
	ck_assert_uint_eq(stats_of(pool).allocs, 0);
	ck_assert_ptr_eq(pop(pool), &all[1]);
	ck_assert_uint_eq(stats_of(pool).allocs, 1);
}
END_TEST

/* P09: a pushed foreign resource is next, then alloc goes on. */
START_TEST(test_p09_foreign_resource)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);
	struct res *a = pop(pool), *foreign = res_new();

	ck_assert_ptr_eq(a, &all[0]);
	ck_assert_int_eq(weakref_pool_push(pool, foreign), 0);
	ck_assert_ptr_eq(pop(pool), foreign);
	ck_assert_ptr_eq(pop(pool), &all[2]);
	ck_assert_uint_eq(stats_of(pool).adopted, 1);
}
END_TEST

/* P10: three scoped uses in a row need one alloc. */
START_TEST(test_p10_reuse)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);

	for (int i = 0; i < 3; i++) {
		void *got = NULL;
		ck_assert_int_eq(WEAKREF_POOL_WITH(pool, note_resource, &got), 7);
	}
	ck_assert_uint_eq(made, 1);
	ck_assert_uint_eq(stats_of(pool).reuses, 2);
}
END_TEST

static int failing_body(weakref_pool *pool, int how)
{
	WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);

	if (lease == NULL)
		return -errno;
	if (how == 0)
		return -EIO;
	if (how == 1)
		goto out;
	for (;;)
		break;
out:
	return 0;
}

static void *leave_thread(void *pool)
{
	WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);

	wrong += lease == NULL;
	if (lease != NULL)
		pthread_exit(NULL);
	return NULL;
}

static int cancelled_body(void *resource, void *user)
{
	(void)resource;
	*(_Atomic bool *)user = true;
	while (user != NULL)
		pause();
	return 0;
}

static _Atomic bool in_body;

static void *cancelled_thread(void *pool)
{
	WEAKREF_POOL_WITH(pool, cancelled_body, &in_body);
	return NULL;
}

/* P11: the scope gives back when its body fails, jumps out, ends the thread, or is cancelled. */
START_TEST(test_p11_scope_returns_always)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);
	pthread_t thread;

	ck_assert_int_eq(failing_body(pool, 0), -EIO);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_int_eq(failing_body(pool, 1), 0);
	ck_assert_int_eq(failing_body(pool, 2), 0);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, leave_thread, pool), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(LEN(pool), 1);
	in_body = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_thread, pool), 0);
	while (!in_body)
		usleep(100);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_uint_eq(made, 1);
	ck_assert_uint_eq(wrong, 0);
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

/* P13: waiters pass over a dead resource and get the live one. */
START_TEST(test_p13_waiters_skip_the_dead)
{
	weakref_pool *pool = POOL(.check = res_check);
	struct res *dead = res_new(), *live = res_new();
	struct popper p = {0};

	dead->dead = true;
	ck_assert(popper_start(&p, pool, 10, 1));
	ck_assert_int_eq(weakref_pool_push(pool, dead), 0);
	for (int i = 0; i < 10000 && stats_of(pool).dead == 0; i++)
		usleep(1000);
	ck_assert_uint_eq(stats_of(pool).dead, 1);
	ck_assert_int_eq(weakref_pool_push(pool, live), 0);
	pthread_join(p.thread, NULL);
	ck_assert_ptr_eq(p.got, live);
}
END_TEST

/* P15: what fails check is dropped without dealloc; then the next, then alloc. */
START_TEST(test_p15_failed_check)
{
	struct res *list[] = {res_new(), res_new(), res_new()};
	weakref_pool *pool = POOL(.init = (void *[]){list[0], list[1], list[2]}, .ninit = 3, .alloc = res_alloc, .dealloc = res_dealloc,
				  .check = res_check);

	list[0]->dead = list[2]->dead = true;
	ck_assert_ptr_eq(pop(pool), list[1]);
	ck_assert_ptr_eq(pop(pool), &all[3]);
	ck_assert_uint_eq(gone, 0);
	ck_assert_uint_eq(stats_of(pool).dead, 2);
	ck_assert_uint_eq(stats_of(pool).leased, 2);
}
END_TEST

/* P17: minsize and alloc fill the pool at the start; the caller's list stays as it was. */
START_TEST(test_p17_prefill)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .minsize = 5);
	void *list[] = {&all[100], &all[101], &all[102]};

	ck_assert_int_eq(LEN(pool), 5);
	ck_assert_uint_eq(made, 5);
	pool = POOL(.init = list, .ninit = 3, .alloc = res_alloc, .minsize = 6);
	ck_assert_int_eq(LEN(pool), 6);
	ck_assert_uint_eq(made, 8);
	for (int i = 0; i < 3; i++) {
		ck_assert_ptr_eq(list[i], &all[100 + i]);
		ck_assert_ptr_eq(pop(pool), &all[100 + i]);
	}
}
END_TEST

/* P18: without alloc nothing is filled. */
START_TEST(test_p18_no_prefill_without_alloc)
{
	ck_assert_int_eq(LEN(POOL(.minsize = 5)), 0);
}
END_TEST

/* P19, P20, P22: at maxsize nothing goes; above it the oldest, down to maxsize, which stands for a minsize that is not given. */
START_TEST(test_p19_p20_p22_maxsize)
{
	weakref_pool *pool = POOL(.maxsize = 1, .dealloc = res_dealloc);
	struct res *a = res_new(), *b = res_new();

	weakref_pool_push(pool, a);
	ck_assert_uint_eq(gone, 0);
	weakref_pool_push(pool, b);
	ck_assert_uint_eq(gone, 1);
	ck_assert_ptr_eq(gone_order[0], a);
	ck_assert_ptr_eq(pop(pool), b);

	pool = POOL(.maxsize = 3, .dealloc = res_dealloc);
	for (int i = 0; i < 5; i++)
		weakref_pool_push(pool, res_new());
	ck_assert_int_eq(LEN(pool), 3);
	ck_assert_uint_eq(gone, 3);
}
END_TEST

/* P21: minsize 1, maxsize 2: the third push leaves the third alone. */
START_TEST(test_p21_minsize_and_maxsize)
{
	weakref_pool *pool = POOL(.minsize = 1, .maxsize = 2, .dealloc = res_dealloc);
	struct res *abc[] = {res_new(), res_new(), res_new()};

	for (int i = 0; i < 3; i++)
		weakref_pool_push(pool, abc[i]);
	ck_assert_uint_eq(gone, 2);
	ck_assert_ptr_eq(gone_order[0], abc[0]);
	ck_assert_ptr_eq(gone_order[1], abc[1]);
	ck_assert_ptr_eq(pop(pool), abc[2]);
	/* WEAKREF_POOL_ZERO: nothing stays at all. */
	pool = POOL(.maxsize = WEAKREF_POOL_ZERO, .dealloc = res_dealloc);
	weakref_pool_push(pool, res_new());
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(gone, 3);
}
END_TEST

static weakref_pool *five_idle(size_t minsize, double maxage)
{
	weakref_pool *pool = POOL(.minsize = minsize, .maxage = maxage, .dealloc = res_dealloc);

	for (int i = 0; i < 5; i++)
		weakref_pool_push(pool, res_new());
	return pool;
}

/* P23: five that are idle for longer than maxage go. */
START_TEST(test_p23_maxage)
{
	weakref_pool *pool = five_idle(0, 0.2);

	ck_assert_int_eq(LEN(pool), 5);
	usleep(250000);
	ck_assert_int_eq(weakref_pool_maintain(pool), 5);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(gone, 5);
	/* A pop, too, never gives what is too old. */
	weakref_pool_push(pool, res_new());
	usleep(250000);
	ck_assert_ptr_null(pop(pool));
	ck_assert_uint_eq(gone, 6);
}
END_TEST

/* P24: with minsize 1 the youngest stays. */
START_TEST(test_p24_maxage_and_minsize)
{
	weakref_pool *pool = five_idle(1, 0.02);

	usleep(60000);
	weakref_pool_maintain(pool);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_uint_eq(gone, 4);
	ck_assert_ptr_eq(pop(pool), &all[4]);
}
END_TEST

static int make_dead_pools(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_pool *pool = POOL(.alloc = res_alloc, .minsize = 3, .dealloc = res_dealloc, .maxage = 1000);
		SUPPORT_REQUIRE(pool != NULL);
		struct res *r = pop(pool);
		SUPPORT_REQUIRE(r != NULL);
		r->hand = HAND_USER;
	}
	return 0;
}

/* P27: when a pool dies, dealloc runs once for each idle resource, and not for leased ones; maxage keeps no pool. */
START_TEST(test_p27_death_of_a_pool)
{
	ck_assert_int_eq(support_on_thread(make_dead_pools, NULL), 0);
	support_collect();
	ck_assert_uint_ge(gone, 2 * (SUPPORT_N - SUPPORT_SLACK));
	ck_assert_uint_le(gone, 2 * SUPPORT_N);
	support_collect();
	for (size_t i = 0; i < made; i++)
		ck_assert_int_le(all[i].deallocs, all[i].hand == HAND_USER ? 0 : 1);
}
END_TEST

static int say_dealloc(void *resource, void *user)
{
	fprintf(stderr, "%s%s ", (const char *)resource, (const char *)user);
	return 0;
}

static weakref_pool *at_exit[2];

static int exit_mode(void)
{
	static char user[] = "!", a[] = "a", b[] = "b", c[] = "c";

	if (gc_init() != 0)
		return 1;
	at_exit[0] = POOL(.init = (void *[]){a, b}, .ninit = 2, .dealloc = say_dealloc, .dealloc_user = user);
	at_exit[1] = POOL(.init = (void *[]){c}, .ninit = 1, .dealloc = say_dealloc, .dealloc_user = user);
	int failed = pop(at_exit[0]) == NULL, status = 0;
	pid_t child = fork();
	if (child == 0)
		exit(failed);
	failed |= child < 0 || waitpid(child, &status, 0) != child || status != 0;
	fprintf(stderr, "parent: ");
	exit(failed);
}

/* P29: at exit dealloc runs for idle resources, once each, the newest pool's first; a child leaves its parent's alone. */
START_TEST(test_p29_exit)
{
	char err[256];

	ck_assert_int_eq(support_respawn("exit", NULL, err, sizeof(err)), 0);
	ck_assert_str_eq(err, "parent: c! b! ");
}
END_TEST

/* P32: len counts the idle ones. */
START_TEST(test_p32_len)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);
	struct res *a = pop(pool), *b = pop(pool);
	size_t n;
	char text[80];

	ck_assert_int_eq(LEN(pool), 0);
	weakref_pool_push(pool, a);
	ck_assert_int_eq(LEN(pool), 1);
	weakref_pool_push(pool, b);
	ck_assert_int_eq(gc_len(pool, &n), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_gt(gc_repr(pool, text, sizeof(text)), 0);
	ck_assert_ptr_nonnull(strstr(text, "2 idle, 0 leased"));
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

/* P35: idle ones above the soft maximum that are older than ttl go on maintenance, never below the minimum. */
START_TEST(test_p35_soft_maximum)
{
	weakref_pool *pool = POOL(.softmax = 3, .ttl = 0.02, .dealloc = res_dealloc);

	for (int i = 0; i < 5; i++)
		weakref_pool_push(pool, res_new());
	usleep(60000);
	ck_assert_int_eq(weakref_pool_maintain(pool), 2);
	ck_assert_int_eq(LEN(pool), 3);
	pool = POOL(.softmax = 1, .minsize = 4, .ttl = 0.02, .dealloc = res_dealloc);
	for (int i = 0; i < 5; i++)
		weakref_pool_push(pool, res_new());
	usleep(60000);
	ck_assert_int_eq(weakref_pool_maintain(pool), 1);
	ck_assert_int_eq(LEN(pool), 4);
}
END_TEST

/* P37: a resource that another pool leased, or has, is refused. */
START_TEST(test_p37_leased_from_another_pool)
{
	weakref_pool *one = POOL(.alloc = res_alloc), *two = POOL(.dealloc = res_dealloc);
	void *a = pop(one);

	ck_assert_int_eq(weakref_pool_push(two, a), -EEXIST);
	ck_assert_ptr_null(POOL(.init = &a, .ninit = 1));
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_int_eq(weakref_pool_push(one, a), 0);
	ck_assert_int_eq(weakref_pool_push(two, a), -EEXIST);
	ck_assert_int_eq(LEN(two), 0);
	ck_assert_int_eq(weakref_pool_invalidate(one, pop(one)), 0);
	ck_assert_int_eq(weakref_pool_push(two, a), 0);
	SUPPORT_KEEP(one);
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

/* ---- bad input ----------------------------------------------------------------------------------------------------------- */

/* What is no pool, no lease, no resource, no time. */
START_TEST(test_bad_arguments)
{
	_Alignas(16) static char stranger[256];
	weakref_pool *pool = POOL(0), *none = (weakref_pool *)(void *)stranger;
	weakref_pool_stats stats;
	void *out;

	for (int i = 0; i < 2; i++, none = NULL) {
		ck_assert_int_eq(weakref_pool_pop(none, &out), -EINVAL);
		ck_assert_int_eq(weakref_pool_pop_wait(none, 1, &out), -EINVAL);
		ck_assert_int_eq(weakref_pool_push(none, stranger), -EINVAL);
		ck_assert_int_eq(weakref_pool_invalidate(none, stranger), -EINVAL);
		ck_assert_int_eq(weakref_pool_maintain(none), -EINVAL);
		ck_assert_int_eq(weakref_pool_close(none), -EINVAL);
		ck_assert_int_eq(weakref_pool_get_stats(none, &stats), -EINVAL);
		ck_assert_uint_eq(weakref_pool_len(none), 0);
		ck_assert_ptr_null(WEAKREF_POOL_LEASE(none));
		ck_assert_int_eq(weakref_pool_lease_return((weakref_pool_lease *)(void *)none), -EINVAL);
		ck_assert_ptr_null(weakref_pool_lease_get((weakref_pool_lease *)(void *)none));
	}
	ck_assert_int_eq(weakref_pool_pop(pool, NULL), -EINVAL);
	ck_assert_int_eq(weakref_pool_pop_wait(pool, NAN, &out), -EINVAL);
	ck_assert_ptr_null(WEAKREF_POOL_LEASE_WAIT(pool, NAN));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(weakref_pool_push(pool, NULL), -EINVAL);
	ck_assert_int_eq(weakref_pool_invalidate(pool, NULL), -EINVAL);
	ck_assert_int_eq(weakref_pool_get_stats(pool, NULL), -EINVAL);
	ck_assert_int_eq(WEAKREF_POOL_WITH(pool, NULL, NULL), -EINVAL);
}
END_TEST

/* Options that contradict each other. */
START_TEST(test_bad_options)
{
	struct res *a = res_new();
	weakref_pool_options bad[] = {
		{.minsize = 2, .maxsize = 1}, {.minsize = 2, .maxsize = WEAKREF_POOL_ZERO}, {.minsize = 3, .hardmax = 2},
		{.maxage = NAN}, {.maxage = -1}, {.ttl = NAN}, {.ttl = -0.5}, {.ninit = 1},
		{.init = (void *[]){a, NULL}, .ninit = 2}, {.init = (void *[]){a, a}, .ninit = 2},
		{.init = (void *[]){a, res_new()}, .ninit = 2, .hardmax = 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bad[i].dealloc = res_dealloc;
		errno = 0;
		ck_assert_ptr_null(weakref_pool_new(&bad[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
	support_collect();
	ck_assert_uint_eq(gone, 0);
	ck_assert_ptr_nonnull(weakref_pool_new(NULL));
	ck_assert_ptr_nonnull(POOL(.maxage = INFINITY, .ttl = 1e300));
}
END_TEST

static int on_stranger(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	weakref_pool_stats stats;
	void *out = &out;

	errno = 0;
	wrong += weakref_pool_new(NULL) != NULL || errno != EPERM;
	wrong += weakref_pool_pop(pool, &out) != -EPERM || out != NULL;
	wrong += weakref_pool_pop_wait(pool, 1, &out) != -EPERM;
	wrong += weakref_pool_push(pool, &all[0]) != -EPERM;
	wrong += weakref_pool_invalidate(pool, &all[0]) != -EPERM;
	wrong += weakref_pool_maintain(pool) != -EPERM;
	wrong += weakref_pool_close(pool) != -EPERM;
	wrong += weakref_pool_get_stats(pool, &stats) != -EPERM;
	wrong += WEAKREF_POOL_LEASE(pool) != NULL || errno != EPERM;
	return 0;
}

/* A thread that the collector does not know is refused, and changes nothing. */
START_TEST(test_unknown_thread)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new(), res_new()}, .ninit = 2);

	ck_assert_int_eq(rawthread_run(on_stranger, &pool), 0);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_int_eq(LEN(pool), 2);
}
END_TEST

/* Pushing what is idle is refused, and so is pushing it twice. */
START_TEST(test_double_push)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);
	struct res *a = pop(pool);

	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	ck_assert_int_eq(weakref_pool_push(pool, a), -EEXIST);
	ck_assert_int_eq(LEN(pool), 1);
}
END_TEST

/* ---- user functions that fail, or use the pool --------------------------------------------------------------------------- */

static int how_alloc_fails;

static int bad_alloc(void **out, void *user)
{
	size_t *left = user;

	if (left != NULL && *left > 0) {
		--*left;
		return res_alloc(out, NULL);
	}
	*out = how_alloc_fails == 1 ? NULL : *out;
	return how_alloc_fails == 0 ? -EIO : 0;
}

/* alloc that fails or gives nothing: its error, and the slot is free again. */
START_TEST(test_alloc_fails)
{
	weakref_pool *pool = POOL(.alloc = bad_alloc, .hardmax = 1);
	void *out = &out;

	how_alloc_fails = 0;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weakref_pool_pop(pool, &out), -EIO);
	how_alloc_fails = 1;
	ck_assert_int_eq(weakref_pool_pop_wait(pool, 1, &out), -ENOMEM);
	ck_assert_ptr_null(out);
	ck_assert_uint_eq(stats_of(pool).moving, 0);
	ck_assert_uint_eq(stats_of(pool).alloc_errors, 4);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), 0);
	ck_assert_ptr_nonnull(pop(pool));
}
END_TEST

/* alloc that fails while the pool is filled: what it made goes, what init gave does not. */
START_TEST(test_alloc_fails_in_prefill)
{
	size_t left = 2;
	struct res *a = &all[1000];

	how_alloc_fails = 0;
	a->deallocs = 0;
	ck_assert_ptr_null(POOL(.init = (void *[]){a}, .ninit = 1, .alloc = bad_alloc, .alloc_user = &left, .dealloc = res_dealloc, .minsize = 5));
	ck_assert_int_eq(errno, EIO);
	ck_assert_uint_eq(gone, 2);
	ck_assert_int_eq(a->deallocs, 0);
	support_collect();
	ck_assert_uint_eq(gone, 2);
}
END_TEST

static int same_alloc(void **out, void *user)
{
	*out = user;
	return 0;
}

/* alloc that gives what the pool has already is refused, and nothing is deallocated. */
START_TEST(test_alloc_gives_the_same)
{
	weakref_pool *pool = POOL(.alloc = same_alloc, .alloc_user = &all[5], .dealloc = res_dealloc);
	void *a = pop(pool), *out;

	ck_assert_ptr_eq(a, &all[5]);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -EEXIST);
	ck_assert_uint_eq(gone, 0);
	ck_assert_uint_eq(stats_of(pool).leased, 1);
}
END_TEST

static int bad_function(void *resource, void *user)
{
	gone++;
	(void)resource;
	return *(int *)user;
}

static int unraisable_error;

static void note_unraisable(const gc_unraisable *info, void *user)
{
	(void)user;
	unraisable_error = info->error;
}

/* dealloc that fails is reported; check that fails leaves the resource where it was. */
START_TEST(test_dealloc_and_check_fail)
{
	int error = -EIO, verdict = -EDOM;
	weakref_pool *pool = POOL(.check = bad_function, .check_user = &verdict, .dealloc = bad_function, .dealloc_user = &error);
	void *out, *a = res_new();

	unraisable_error = 0;
	gc_set_unraisable_handler(note_unraisable, NULL);
	weakref_pool_push(pool, a);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -EDOM);
	ck_assert_int_eq(LEN(pool), 1);
	verdict = 1;
	ck_assert_int_eq(weakref_pool_pop(pool, &out), 0);
	ck_assert_ptr_eq(out, a);
	ck_assert_int_eq(weakref_pool_invalidate(pool, out), 0);
	ck_assert_int_eq(unraisable_error, -EIO);
	ck_assert_uint_eq(stats_of(pool).leased + stats_of(pool).idle + stats_of(pool).moving, 0);
}
END_TEST

static weakref_pool *user_pool;

/* Pops another resource and pushes it, pushes what it is asked about (refused), reads, maintains. */
static int busy_check(void *resource, void *user)
{
	static bool inside;
	void *other;

	if (inside)
		return 1;
	inside = true;
	wrong += weakref_pool_push(user_pool, resource) != -EEXIST;
	wrong += weakref_pool_invalidate(user_pool, resource) != -ENOENT;
	wrong += weakref_pool_pop(user_pool, &other) != 0 || other == resource;
	wrong += weakref_pool_push(user_pool, other) != 0;
	wrong += weakref_pool_maintain(user_pool) < 0;
	wrong += gc_collect() < 0;
	inside = false;
	return user != NULL;
}

/* check that uses the pool: no deadlock, nothing lost, nothing twice. */
START_TEST(test_check_uses_the_pool)
{
	struct res *a = res_new(), *b = res_new();
	weakref_pool *pool = POOL(.init = (void *[]){a, b}, .ninit = 2, .check = busy_check, .check_user = all);

	user_pool = pool;
	ck_assert_ptr_eq(pop(pool), a);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_int_eq(LEN(pool), 1);
	SUPPORT_CLEAR(user_pool);
}
END_TEST

static int nested_alloc(void **out, void *user)
{
	return weakref_pool_pop(user, out);
}

/* A pool whose alloc pops from another one: the resource goes back to each by push. */
START_TEST(test_pool_of_pools)
{
	weakref_pool *outer = POOL(.init = (void *[]){res_new()}, .ninit = 1), *inner = POOL(.alloc = nested_alloc, .alloc_user = outer);
	void *a = pop(inner), *out;

	ck_assert_ptr_nonnull(a);
	ck_assert_int_eq(weakref_pool_pop(inner, &out), -ENOENT);
	ck_assert_int_eq(weakref_pool_push(inner, a), 0);
	ck_assert_ptr_eq(pop(inner), a);
	ck_assert_int_eq(weakref_pool_invalidate(inner, a), 0);
	ck_assert_int_eq(weakref_pool_push(outer, a), 0);
}
END_TEST

/* ---- leases and death ---------------------------------------------------------------------------------------------------- */

/* A lease ends once, however it ends. */
START_TEST(test_lease_ends_once)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc);
	weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
	void *r = weakref_pool_lease_get(lease);

	ck_assert_ptr_nonnull(r);
	ck_assert_int_eq(gc_truth(lease), 1);
	ck_assert_int_eq(weakref_pool_lease_return(lease), 0);
	ck_assert_ptr_null(weakref_pool_lease_get(lease));
	ck_assert_int_eq(gc_truth(lease), 0);
	ck_assert_int_eq(weakref_pool_lease_return(lease), -ESTALE);
	ck_assert_int_eq(weakref_pool_lease_invalidate(lease), -ESTALE);
	/* Its resource, pushed by hand and leased to somebody else, is not taken from there. */
	lease = WEAKREF_POOL_LEASE(pool);
	ck_assert_int_eq(weakref_pool_push(pool, weakref_pool_lease_get(lease)), 0);
	ck_assert_ptr_eq(pop(pool), r);
	ck_assert_int_eq(weakref_pool_lease_return(lease), -ESTALE);
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	lease = WEAKREF_POOL_LEASE(pool);
	ck_assert_int_eq(weakref_pool_lease_invalidate(lease), 0);
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(stats_of(pool).leased, 0);
}
END_TEST

static _Atomic unsigned reports;
static const char *reported_file;
static _Atomic int reported_line;
static int lease_line;

static int note_recovery(void *resource, const char *file, int line, void *user)
{
	wrong += resource == NULL;
	reported_file = file;
	reported_line = line;
	reports++;
	return user != NULL;
}

static int drop_leases(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		lease_line = __LINE__ + 1;
		weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
		SUPPORT_REQUIRE(weakref_pool_lease_get(lease) != NULL);
	}
	return 0;
}

static bool recovered_all_but_few(weakref_pool *pool)
{
	for (int i = 0; i < 5 && stats_of(pool).recovered < SUPPORT_N; i++)
		support_collect();
	return stats_of(pool).recovered >= SUPPORT_N - SUPPORT_SLACK;
}

/* Leases that were dropped: the resources come back, counted and reported, whatever they are; or are destroyed, if the report says so. */
START_TEST(test_dropped_leases_are_recovered)
{
	weakref_pool *pool =
		POOL(.alloc = res_alloc, .dealloc = res_dealloc, .recovered = note_recovery, .recovered_user = _i ? all : NULL);

	reports = 0;
	ck_assert_int_eq(support_on_thread(drop_leases, &pool), 0);
	ck_assert(recovered_all_but_few(pool));
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.recovered, reports);
	ck_assert_uint_eq(s.leased, SUPPORT_N - reports);
	ck_assert_uint_eq(s.idle + s.leased + gone, s.allocs);
	ck_assert_uint_eq(gone, _i ? reports : 0);
	ck_assert_int_eq(reported_line, lease_line);
	ck_assert_int_eq(s.recovered_line, lease_line);
	ck_assert_ptr_nonnull(strstr(s.recovered_file, "check_pool.c"));
	ck_assert_ptr_eq(s.recovered_file, reported_file);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

static int heap_alloc_node(void **out, void *user)
{
	(void)user;
	*out = support_node_new(77);
	return *out != NULL ? 0 : -ENOMEM;
}

/* The same where the resources are blocks of the collected heap themselves: intact when they come back. */
START_TEST(test_heap_resources_are_recovered)
{
	weakref_pool *pool = POOL(.alloc = heap_alloc_node);
	void *r;

	ck_assert_int_eq(support_on_thread(drop_leases, &pool), 0);
	ck_assert(recovered_all_but_few(pool));
	ck_assert_uint_eq(stats_of(pool).lost, 0);
	for (size_t n = weakref_pool_len(pool); n > 0; n--) {
		ck_assert_int_eq(weakref_pool_pop(pool, &r), 0);
		ck_assert(support_node_intact(r));
	}
}
END_TEST

static int drop_popped(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	void *r;

	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_pool_pop(pool, &r) == 0);
	return 0;
}

/* Blocks of the heap that were popped plainly and dropped: lost, counted, and there is room again, for a waiter too. */
START_TEST(test_popped_blocks_are_lost)
{
	weakref_pool *pool = POOL(.alloc = heap_alloc_node, .hardmax = SUPPORT_N);
	struct popper p = {0};

	ck_assert_int_eq(support_on_thread(drop_popped, &pool), 0);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.leased + s.lost, SUPPORT_N);
	ck_assert_int_eq(pthread_create(&p.thread, NULL, popper_run, (p.pool = pool, &p)), 0);
	ck_assert(until_waiting(pool, 1) || stats_of(pool).lost > 0);
	for (int i = 0; i < 5 && stats_of(pool).lost < SUPPORT_N; i++)
		support_collect();
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, 0);
	ck_assert(support_node_intact(p.got));
	ck_assert_uint_ge(stats_of(pool).lost, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(stats_of(pool).leased, SUPPORT_N + 1 - stats_of(pool).lost);
	/* Idle blocks are the pool's: they stay. */
	ck_assert_int_eq(weakref_pool_push(pool, p.got), 0);
	SUPPORT_CLEAR(p.got);
	support_collect();
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert(support_node_intact((void *)pop(pool)));
}
END_TEST

static int drop_pools_with_leases(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .minsize = 2);
		SUPPORT_REQUIRE(pool != NULL && WEAKREF_POOL_LEASE(pool) != NULL);
	}
	return 0;
}

/* Pool and lease die together: every resource is deallocated once, the leased one too, since its lease came back. */
START_TEST(test_pool_and_lease_die_together)
{
	ck_assert_int_eq(support_on_thread(drop_pools_with_leases, NULL), 0);
	for (int i = 0; i < 3; i++)
		support_collect();
	ck_assert_uint_ge(gone, 2 * (SUPPORT_N - SUPPORT_SLACK));
	ck_assert_uint_le(gone, 2 * SUPPORT_N);
	for (size_t i = 0; i < made; i++)
		ck_assert_int_le(all[i].deallocs, 1);
}
END_TEST

static jmp_buf out_of_body;

static int jumping_body(void *resource, void *user)
{
	(void)resource;
	(void)user;
	longjmp(out_of_body, 1);
}

static int jump_out(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	volatile size_t i;

	for (i = 0; i < SUPPORT_N; i++)
		if (setjmp(out_of_body) == 0)
			WEAKREF_POOL_WITH(pool, jumping_body, NULL);
	return 0;
}

/* A body that leaves by longjmp: the collector brings its resource back. */
START_TEST(test_longjmp_out_of_scope)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);

	ck_assert_int_eq(support_on_thread(jump_out, &pool), 0);
	ck_assert(recovered_all_but_few(pool));
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

static _Atomic bool stuck;

static int stick(void)
{
	stuck = true;
	for (;;)
		pause();
	return 0;
}

static int stuck_alloc(void **out, void *user)
{
	*out = user;
	return user != NULL ? 0 : stick();
}

static int stuck_function(void *resource, void *user)
{
	if (user == NULL)
		res_dealloc(resource, NULL);
	return stuck ? 1 : stick();
}

static void *pop_once(void *pool)
{
	void *out;

	wrong += weakref_pool_pop(pool, &out) != 0;
	return NULL;
}

static void *close_it(void *pool)
{
	weakref_pool_close(pool);
	return NULL;
}

static void cancel_stuck(void *(*run)(void *), weakref_pool *pool)
{
	pthread_t thread;

	stuck = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, run, pool), 0);
	while (!stuck)
		usleep(100);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(stats_of(pool).moving + stats_of(pool).leased, 0);
}

/* A thread cancelled in alloc, in check, in dealloc: the books are right, and the rest is deallocated. */
START_TEST(test_cancelled_in_user_functions)
{
	weakref_pool *pool = POOL(.alloc = stuck_alloc, .hardmax = 1);

	cancel_stuck(pop_once, pool);
	pool = POOL(.init = (void *[]){res_new()}, .ninit = 1, .check = stuck_function, .check_user = all);
	cancel_stuck(pop_once, pool);
	ck_assert_int_eq(LEN(pool), 1);
	pool = POOL(.init = (void *[]){res_new(), res_new(), res_new()}, .ninit = 3, .dealloc = stuck_function);
	cancel_stuck(close_it, pool);
	ck_assert_uint_eq(gone, 3);
	for (int i = 1; i < 4; i++)
		ck_assert_int_eq(all[i].deallocs, 1);
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
	weakref_pool *pool = *(weakref_pool **)arg, *own;
	weakref_pool_stats s = stats_of(pool);
	void *r[3];

	SUPPORT_REQUIRE(s.waiting == 0 && s.moving == 0);
	for (int i = 0; i < 3; i++)
		SUPPORT_REQUIRE(weakref_pool_pop(pool, &r[i]) == 0);
	for (int i = 0; i < 3; i++)
		SUPPORT_REQUIRE(weakref_pool_push(pool, r[i]) == 0);
	own = POOL(.alloc = res_alloc, .minsize = 2);
	SUPPORT_REQUIRE(own != NULL && weakref_pool_len(own) == 2);
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
		result = support_in_child(use_pool_in_child, &pool);
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

/* ---- the checking build -------------------------------------------------------------------------------------------------- */

/* Everything that allocates, from new to close. -ENOMEM when something failed. */
static int whole_life(void)
{
	struct support_node *node = support_node_new(3);
	weakref_pool *pool = POOL(.init = (void *[]){res_new()}, .ninit = 1, .alloc = res_alloc, .dealloc = res_dealloc, .minsize = 20);
	int failed = node == NULL || pool == NULL;
	void *r;

	if (failed)
		return errno == ENOMEM ? -ENOMEM : -EDOM;
	failed |= weakref_pool_push(pool, node) != 0;
	if ((LEN(pool) != 21 || failed) && LEN(pool) != 20)
		return -EDOM;
	for (int i = 0; i < 30; i++) {
		int error = weakref_pool_pop(pool, &r);
		if (error != 0 && error != -ENOMEM)
			return error;
		failed |= error != 0;
	}
	weakref_pool_stats s = stats_of(pool);
	if (s.moving != 0 || s.leased + s.lost + (size_t)failed < 30 || s.idle != 0)
		return -EDOM;
	weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
	failed |= lease == NULL;
	if (lease != NULL && weakref_pool_lease_return(lease) != 0)
		return -EDOM;
	failed |= weakref_pool_pop_wait(pool, 1, &r) == -ENOMEM;
	weakref_pool_close(pool);
	return failed ? -ENOMEM : 0;
}

/* Each allocation fails in turn: ENOMEM, and nothing is lost. */
START_TEST(test_allocation_failures)
{
	unsigned long k = 1;
	bool reached = true;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	gc_disable();
	for (; reached && k < 2000; k++) {
		weakref_checks_fail_allocation(k);
		int result = whole_life();
		reached = weakref_checks_fail_allocation(0) == 0;
		ck_assert_msg(result == 0 || (reached && result == -ENOMEM), "allocation %lu: %d", k, result);
	}
	gc_enable();
	ck_assert_uint_gt(k, 40);
	ck_assert_uint_lt(k, 2000);
}
END_TEST

/* With a clock that is moved by hand: ages and time limits to the nanosecond. */
START_TEST(test_virtual_clock)
{
	const uint64_t second = 1000000000;
	struct popper p = {0};

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	weakref_checks_clock_advance(0);
	weakref_pool *pool = five_idle(0, 3600), *dry = POOL(0);
	weakref_checks_clock_advance(3600 * second);
	ck_assert_int_eq(weakref_pool_maintain(pool), 0);
	weakref_pool_push(pool, res_new());
	weakref_checks_clock_advance(1);
	ck_assert_int_eq(weakref_pool_maintain(pool), 5);
	ck_assert_ptr_eq(pop(pool), &all[5]);
	/* A wait of a day. */
	ck_assert(popper_start(&p, dry, 86400, 1));
	weakref_checks_clock_advance(86399 * second);
	usleep(20000);
	ck_assert_uint_eq(stats_of(dry).waiting, 1);
	weakref_checks_clock_advance(second);
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, -ETIMEDOUT);
	ck_assert_uint_eq(stats_of(dry).wait_max_ns, 86400 * second);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pool");
	TCase *seed = support_tcase("seed"), *more = support_tcase("more"), *clock = support_tcase("clock");

	for (TCase **t = (TCase *[]){seed, more, clock, NULL}; *t != NULL; t++) {
		tcase_add_checked_fixture(*t, start_over, NULL);
		suite_add_tcase(s, *t);
	}
	tcase_add_test(seed, test_p01_empty_at_once);
	tcase_add_test(seed, test_p02_empty_after_timeout);
	tcase_add_loop_test(seed, test_p03_waits_for_ever, 0, 5);
	tcase_add_test(seed, test_p04_fractional_timeout);
	tcase_add_test(seed, test_p05_init_only);
	tcase_add_test(seed, test_p06_scoped_use_is_lifo);
	tcase_add_test(seed, test_p07_alloc_when_needed);
	tcase_add_test(seed, test_p08_init_then_alloc);
	tcase_add_test(seed, test_p09_foreign_resource);
	tcase_add_test(seed, test_p10_reuse);
	tcase_add_test(seed, test_p11_scope_returns_always);
	tcase_add_test(seed, test_p12_limited_resources);
	tcase_add_test(seed, test_p13_waiters_skip_the_dead);
	tcase_add_test(seed, test_p15_failed_check);
	tcase_add_test(seed, test_p17_prefill);
	tcase_add_test(seed, test_p18_no_prefill_without_alloc);
	tcase_add_test(seed, test_p19_p20_p22_maxsize);
	tcase_add_test(seed, test_p21_minsize_and_maxsize);
	tcase_add_test(seed, test_p23_maxage);
	tcase_add_test(seed, test_p24_maxage_and_minsize);
	tcase_add_test(seed, test_p27_death_of_a_pool);
	tcase_add_test(seed, test_p29_exit);
	tcase_add_test(seed, test_p32_len);
	tcase_add_test(seed, test_p33_hard_maximum);
	tcase_add_test(seed, test_p34_invalidate);
	tcase_add_test(seed, test_p35_soft_maximum);
	tcase_add_test(seed, test_p37_leased_from_another_pool);
	tcase_add_test(seed, test_p40_close);
	tcase_add_test(seed, test_p41_fair);
	tcase_add_test(more, test_bad_arguments);
	tcase_add_test(more, test_bad_options);
	tcase_add_test(more, test_unknown_thread);
	tcase_add_test(more, test_double_push);
	tcase_add_test(more, test_alloc_fails);
	tcase_add_test(more, test_alloc_fails_in_prefill);
	tcase_add_test(more, test_alloc_gives_the_same);
	tcase_add_test(more, test_dealloc_and_check_fail);
	tcase_add_test(more, test_check_uses_the_pool);
	tcase_add_test(more, test_pool_of_pools);
	tcase_add_test(more, test_lease_ends_once);
	tcase_add_loop_test(more, test_dropped_leases_are_recovered, 0, 2);
	tcase_add_test(more, test_heap_resources_are_recovered);
	tcase_add_test(more, test_popped_blocks_are_lost);
	tcase_add_test(more, test_pool_and_lease_die_together);
	tcase_add_test(more, test_longjmp_out_of_scope);
	tcase_add_test(more, test_cancelled_waiter);
	tcase_add_test(more, test_cancelled_in_user_functions);
	tcase_add_test(more, test_fork);
	tcase_add_test(more, test_statistics_of_waits);
	tcase_add_loop_test(more, test_stress_one_hand, 0, 4);
	tcase_add_test(more, test_allocation_failures);
	/* Last: the clock stands still from then on. */
	tcase_add_test(clock, test_virtual_clock);
	return s;
}

int main(int argc, char **argv)
{
	all = every = calloc(RESOURCES, sizeof(*every));
	gone_order = calloc(RESOURCES, sizeof(struct res *));
	if (every == NULL || gone_order == NULL)
		return EXIT_FAILURE;
	if (argc > 1 && strcmp(argv[1], "exit") == 0)
		return exit_mode();
	return support_main(suite);
}

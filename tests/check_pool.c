/* SPDX-License-Identifier: MIT */
/*
 * check_pool: weakref/pool.h: what pools keep, make and give up, and how they end. The tests named p05 and so on are those of
 * ya.resourcepool, its README and of other pools; then bad options, user functions that fail, use the pool or are cancelled, and, where
 * the library was built for it, failing allocations and a clock that is moved by hand. Waiting is check_pool_wait's, scoped use
 * check_pool_lease's.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "pool_resources.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/finalize.h"

/* ---- the lines of the seed ----------------------------------------------------------------------------------------------- */

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

/* P19: maxsize 1, a pushed, then b: a, the oldest, is deallocated, and b stays. */
START_TEST(test_p19_maxsize)
{
	weakref_pool *pool = POOL(.maxsize = 1, .dealloc = res_dealloc);
	struct res *a = res_new(), *b = res_new();

	weakref_pool_push(pool, a);
	weakref_pool_push(pool, b);
	ck_assert_uint_eq(gone, 1);
	ck_assert_ptr_eq(gone_order[0], a);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_ptr_eq(pop(pool), b);
}
END_TEST

/* P20: at exactly maxsize nothing is deallocated, whatever minsize is. */
START_TEST(test_p20_at_maxsize)
{
	weakref_pool *pool = POOL(.minsize = WEAKREF_POOL_ZERO, .maxsize = 2, .alloc = res_alloc, .dealloc = res_dealloc);
	struct res *a = pop(pool), *b = pop(pool);

	weakref_pool_push(pool, a);
	weakref_pool_push(pool, b);
	ck_assert_uint_eq(gone, 0);
	ck_assert_int_eq(LEN(pool), 2);
}
END_TEST

/* P22: where only maxsize is given, minsize is the same: what is trimmed is the surplus. It does not fill the pool (P17). */
START_TEST(test_p22_minsize_is_maxsize)
{
	weakref_pool *pool = POOL(.maxsize = 3, .alloc = res_alloc, .dealloc = res_dealloc);

	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(made, 0);
	for (int i = 0; i < 5; i++)
		weakref_pool_push(pool, res_new());
	ck_assert_int_eq(LEN(pool), 3);
	ck_assert_uint_eq(gone, 2);
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
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(stats_of(pool).idle, 5);
	ck_assert_int_eq(weakref_pool_maintain(pool), 5);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(stats_of(pool).idle, 0);
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
	ck_assert_int_eq(LEN(pool), 1);
	weakref_pool_maintain(pool);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_uint_eq(gone, 4);
	ck_assert_ptr_eq(pop(pool), &all[4]);
}
END_TEST

/* lifetime: a resource that is used all the time goes all the same, below minsize too; its successor is made when needed. */
START_TEST(test_lifetime)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .lifetime = 0.05, .minsize = 1, .hardmax = 1);
	double begin = seconds();
	void *r;

	/* However seldom this thread is let run. */
	while (seconds() < begin + 0.3 || gone < 2) {
		ck_assert_int_eq(weakref_pool_pop(pool, &r), 0);
		ck_assert(!((struct res *)r)->deallocs);
		ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	}
	ck_assert_uint_le(gone, (size_t)((seconds() - begin) / 0.05) + 1);
	size_t idle = stats_of(pool).idle;
	ck_assert_uint_eq(made - gone, idle);
	usleep(60000);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_int_eq(weakref_pool_maintain(pool), (long)idle);
	ck_assert_int_eq(LEN(pool), 0);
}
END_TEST

/* R123, R204: a pop looks at the age of what it would give, be it behind others that are dead. */
START_TEST(test_lifetime_behind_the_dead)
{
	weakref_pool *pool = POOL(.check = res_check, .dealloc = res_dealloc, .lifetime = 0.05);
	struct res *old = res_new(), *dead = res_new();

	ck_assert_int_eq(weakref_pool_push(pool, old), 0);
	usleep(60000);
	dead->dead = true;
	ck_assert_int_eq(weakref_pool_push(pool, dead), 0);
	ck_assert_ptr_null(pop(pool));
	ck_assert_int_eq(old->deallocs, 1);
	ck_assert_int_eq(LEN(pool), 0);
}
END_TEST

/* spread: those made together do not all go together. */
START_TEST(test_lifetimes_are_spread)
{
	enum { N = 50 };
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .lifetime = 3600, .spread = 3600, .minsize = N);
	uint64_t step = 0;
	long least = N;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	for (int quarter = 0; quarter < 4; quarter++, step = 900 * UINT64_C(1000000000)) {
		weakref_checks_clock_advance(step);
		long n = weakref_pool_maintain(pool);
		if (quarter > 0)
			least = n < least ? n : least;
	}
	ck_assert_int_gt(least, 0);
	ck_assert_int_lt(least, N / 3 + 1);
	ck_assert_int_gt(LEN(pool), 0);
	weakref_checks_clock_advance(step);
	weakref_pool_maintain(pool);
	ck_assert_int_eq(LEN(pool), 0);
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

static int say_finalizer(void *text)
{
	fputs(text, stderr);
	return 0;
}

/* Two pools and a closed one, a finalizer made between them; dealloc collects and makes a pool. */
static int collecting_dealloc(void *resource, void *user)
{
	static char late[] = "late";

	if (user != NULL)
		at_exit[1] = POOL(.init = (void *[]){late}, .ninit = 1, .dealloc = collecting_dealloc);
	fprintf(stderr, "%s%s ", (const char *)resource, gc_isenabled() || gc_collect() < 0 ? " with automatic collection" : "");
	return 0;
}

static int order_mode(void)
{
	static char older[] = "older", newer[] = "newer", closed[] = "closed", between[] = "between ";
	static weakref_pool *newest;

	if (gc_init() != 0)
		return 1;
	at_exit[0] = POOL(.init = (void *[]){older}, .ninit = 1, .dealloc = collecting_dealloc);
	if (weakref_finalize_new(at_exit[0], say_finalizer, between) == NULL)
		return 1;
	newest = POOL(.init = (void *[]){newer}, .ninit = 1, .dealloc = collecting_dealloc, .dealloc_user = newer);
	at_exit[1] = POOL(.init = (void *[]){closed}, .ninit = 1, .dealloc = collecting_dealloc);
	weakref_pool_close(at_exit[1]);
	fprintf(stderr, "exit: ");
	exit(newest == NULL);
}

/* P29: pools and finalizers have one order at exit, the newest first, what is made meanwhile included; collection is off. */
START_TEST(test_p29_order_at_exit)
{
	char err[256];

	ck_assert_int_eq(support_respawn("order", NULL, err, sizeof(err)), 0);
	ck_assert_str_eq(err, "closed with automatic collection exit: newer late between older ");
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

/* Another one comes back while check is asked, which fails. */
static int push_and_fail(void *resource, void *user)
{
	struct res **other = user;
	weakref_pool *pool = ((void **)user)[1];

	if (*other == NULL)
		return res_check(resource, NULL);
	weakref_checks_clock_advance(50 * UINT64_C(1000000000));
	wrong += weakref_pool_push(pool, *other) != 0;
	*other = NULL;
	return -EBUSY;
}

/* R123, R261: what check failed for goes back behind what was pushed meanwhile, and is the first to be too old. */
START_TEST(test_R261_back_where_it_was)
{
	static void *meanwhile[2];

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	weakref_checks_clock_advance(0);
	meanwhile[1] = POOL(.init = (void *[]){res_new(), res_new()}, .ninit = 2, .check = push_and_fail, .check_user = meanwhile,
			    .dealloc = res_dealloc, .maxage = 100, .fifo = _i);
	weakref_pool *pool = meanwhile[1];
	struct res *first = pop(pool);
	void *out;
	meanwhile[0] = first;
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -EBUSY);
	ck_assert_uint_eq(wrong, 0);
	weakref_checks_clock_advance(51 * UINT64_C(1000000000));
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_ptr_eq(pop(pool), first);
	ck_assert_ptr_null(pop(pool));
	ck_assert_uint_eq(gone, 1);
	SUPPORT_CLEAR(meanwhile[1]);
}
END_TEST

/* R123: len is what pop_wait, maintain and the like would leave, by all rules at once. */
START_TEST(test_len_is_what_is_kept)
{
	const uint64_t second = 1000000000;
	weakref_pool *pool = POOL(.maxage = 100, .ttl = 10, .softmax = 4, .minsize = 2, .lifetime = 1000, .dealloc = res_dealloc);
	static const struct {
		uint64_t after;
		int len;
	} steps[] = {{0, 6}, {9, 6}, {2, 4}, {80, 4}, {11, 2}, {800, 2}, {100, 0}};

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	for (int turn = 0; turn < 2; turn++) {
		weakref_checks_clock_advance(0);
		for (int i = 0; i < 6; i++)
			weakref_pool_push(pool, res_new());
		for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
			weakref_checks_clock_advance(steps[i].after * second);
			ck_assert_int_eq(LEN(pool), steps[i].len);
			if (turn == 0)
				continue;
			weakref_pool_maintain(pool);
			ck_assert_int_eq(LEN(pool), steps[i].len);
			ck_assert_uint_eq(stats_of(pool).idle, (size_t)steps[i].len);
		}
		ck_assert_int_eq(weakref_pool_maintain(pool), turn == 0 ? 6 : 0);
	}
}
END_TEST

/* fifo: resources are used in turn, init's first, then those made beforehand; what was not good enough keeps its place. */
START_TEST(test_fifo)
{
	struct res *list[] = {res_new(), res_new(), res_new()};
	weakref_pool *pool = POOL(.init = (void *[]){list[0], list[1], list[2]}, .ninit = 3, .alloc = res_alloc, .dealloc = res_dealloc,
				  .check = res_check, .minsize = 5, .maxsize = 6, .fifo = true);

	ck_assert_int_eq(LEN(pool), 5);
	for (int turn = 0; turn < 3; turn++)
		for (int i = 0; i < 5; i++) {
			struct res *r = pop(pool);
			ck_assert_ptr_eq(r, &all[i]);
			ck_assert_int_eq(weakref_pool_push(pool, r), 0);
		}
	list[0]->dead = true;
	ck_assert_ptr_eq(pop(pool), list[1]);
	ck_assert_int_eq(LEN(pool), 3);
	/* The oldest are trimmed in this order as well. */
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(weakref_pool_push(pool, res_new()), 0);
	ck_assert_uint_eq(gone, 2);
	ck_assert_ptr_eq(gone_order[0], list[2]);
	ck_assert_ptr_eq(gone_order[1], &all[3]);
	ck_assert_ptr_eq(pop(pool), &all[4]);
	/* Where another pool has one of init, that is noticed as well. */
	weakref_pool *other = POOL(.init = (void *[]){res_new(), &all[5]}, .ninit = 2, .fifo = true);
	ck_assert_ptr_null(other);
	ck_assert_int_eq(errno, EEXIST);
}
END_TEST

static int check_fails;

static int failing_check(void *resource, void *user)
{
	return check_fails-- > 0 ? -EBUSY : res_check(resource, user);
}

static weakref_pool *slow_pool;

/* Meanwhile all lifetimes end, and maintain sees it. */
static int check_that_takes_long(void *resource, void *user)
{
	(void)resource;
	(void)user;
	weakref_checks_clock_advance(101 * UINT64_C(1000000000));
	return weakref_pool_maintain(slow_pool) == 1 ? -EBUSY : 1;
}

/* fifo: where check fails itself the resource is next again. */
START_TEST(test_fifo_and_failing_check)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new(), res_new()}, .ninit = 2, .check = failing_check, .fifo = true);
	void *out;

	check_fails = 1;
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -EBUSY);
	ck_assert_ptr_eq(pop(pool), &all[0]);
	ck_assert_ptr_eq(pop(pool), &all[1]);
}
END_TEST

/* Of the resources, those that are idle by the model, and whose time is not over: what len is to say. What was deallocated was over. */
static int model_kept(const uint64_t *ends, uint64_t now)
{
	int kept = 0;

	for (size_t i = 0; i < made; i++) {
		ck_assert(all[i].deallocs == 0 || (all[i].deallocs == 1 && ends[i] <= now && all[i].hand != HAND_USER));
		if (all[i].deallocs == 1)
			all[i].hand = HAND_GONE;
		kept += all[i].hand == HAND_POOL && ends[i] > now;
	}
	return kept;
}

/* Many lifetimes, of resources that are lent, given back, and handed on where check fails, against an array of their ends. */
START_TEST(test_lifetimes_against_a_model)
{
	const uint64_t second = 1000000000, lifetime = 100 * second;
	enum { STEPS = 3000 };
	static uint64_t ends[STEPS];
	weakref_pool *pool = POOL(.dealloc = res_dealloc, .check = failing_check, .lifetime = 100, .fifo = _i);
	uint64_t state = support_seed(), now = 0;
	struct res *r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	weakref_checks_clock_advance(0);
	check_fails = 0;
	for (int step = 0; step < STEPS; step++) {
		uint64_t dice = support_random(&state), span = dice >> 32 & 15;
		switch (dice % 8) {
		case 0:
			weakref_checks_clock_advance(span * second);
			now += span * second;
			break;
		case 1:
			if (span % 4 != 0)
				break;
			ck_assert_int_ge(weakref_pool_maintain(pool), 0);
			ck_assert_uint_eq(stats_of(pool).idle, (size_t)model_kept(ends, now));
			break;
		case 2:
			check_fails = 1;
			ck_assert_ptr_null(pop(pool));
			check_fails = 0;
			break;
		case 3:
		case 4:
			r = pop(pool);
			ck_assert(r == NULL || (r->hand == HAND_POOL && ends[r - all] > now));
			if (r != NULL)
				r->hand = HAND_USER;
			break;
		case 5:
		case 6:
			r = made == 0 ? NULL : &all[(dice >> 32) % made];
			if (r == NULL || r->hand != HAND_USER)
				break;
			r->hand = HAND_POOL;
			ck_assert_int_eq(weakref_pool_push(pool, r), 0);
			ck_assert_int_eq(r->deallocs, ends[r - all] <= now);
			break;
		default:
			r = res_new();
			ends[r - all] = now + lifetime;
			ck_assert_int_eq(weakref_pool_push(pool, r), 0);
		}
		ck_assert_int_eq(LEN(pool), model_kept(ends, now));
		if (step % 100 == 0)
			ck_assert_int_gt(weakref_checks_validate(), 0);
	}
	ck_assert_uint_gt(gone, STEPS / 20);
}
END_TEST

/* What was over while it was asked about, as the pool has noticed, does not stay where check itself fails. */
START_TEST(test_over_while_it_is_checked)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new(), res_new()}, .ninit = 2, .dealloc = res_dealloc, .lifetime = 100,
				  .check = check_that_takes_long);
	void *out;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	slow_pool = pool;
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -EBUSY);
	ck_assert_uint_eq(gone, 2);
	ck_assert_int_eq(all[0].deallocs + all[1].deallocs, 2);
	ck_assert_uint_eq(stats_of(pool).idle, 0);
}
END_TEST

static int alloc_three(void **out, void *user)
{
	return made < 3 ? res_alloc(out, user) : -EBUSY;
}

/* fill: makes what is missing, within maxsize and the hard maximum, and tells what went wrong. */
START_TEST(test_fill)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .minsize = 3, .maxsize = 6, .hardmax = 8);
	struct res *a = pop(pool), *b = pop(pool);

	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_int_eq(weakref_pool_invalidate(pool, a), 0);
	ck_assert_int_eq(weakref_pool_fill(pool, 0), 2);
	ck_assert_int_eq(LEN(pool), 3);
	ck_assert_int_eq(weakref_pool_fill(pool, 0), 0);
	ck_assert_int_eq(weakref_pool_fill(pool, 2), 0);
	ck_assert_int_eq(weakref_pool_fill(pool, 5), 2);
	ck_assert_int_eq(weakref_pool_fill(pool, 100), 1);
	ck_assert_int_eq(LEN(pool), 6);
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(stats_of(pool).allocs, 8);
	ck_assert_uint_eq(stats_of(pool).reuses, 2);
	void *out[7];
	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(weakref_pool_pop(pool, &out[i]), 0);
	ck_assert_int_eq(weakref_pool_fill(pool, 6), 0);
	ck_assert_int_eq(weakref_pool_push(pool, b), 0);
	ck_assert_int_eq(weakref_pool_close(pool), 1);
	ck_assert_int_eq(weakref_pool_fill(pool, 1), -ECANCELED);
	ck_assert_int_eq(weakref_pool_fill(POOL(.dealloc = res_dealloc), 1), -ENOTSUP);
	ck_assert_int_eq(weakref_pool_fill(NULL, 1), -EINVAL);
	made = 0;
	pool = POOL(.alloc = alloc_three);
	ck_assert_int_eq(weakref_pool_fill(pool, 2), 2);
	ck_assert_int_eq(weakref_pool_fill(pool, 5), -EBUSY);
	ck_assert_int_eq(LEN(pool), 3);
	ck_assert_uint_eq(stats_of(pool).alloc_errors, 1);
	ck_assert_uint_eq(stats_of(pool).moving, 0);
}
END_TEST

/* R209: clear deallocates what is idle, the newest last, below minsize too; what is leased comes back, and the pool makes others. */
START_TEST(test_clear)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .minsize = 3, .maxsize = 4, .hardmax = 4);
	struct res *a = pop(pool);

	ck_assert_int_eq(weakref_pool_clear(pool), 2);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(gone, 2);
	ck_assert_int_eq(a->deallocs, 0);
	ck_assert_int_eq(weakref_pool_clear(pool), 0);
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	ck_assert_ptr_eq(pop(pool), a);
	struct res *b = pop(pool);
	ck_assert_ptr_eq(b, &all[3]);
	ck_assert_uint_eq(stats_of(pool).deallocs, 2);
	ck_assert_int_eq(weakref_pool_close(pool), 0);
	ck_assert_int_eq(weakref_pool_clear(pool), 0);
	ck_assert_int_eq(weakref_pool_push(pool, b), 1);
	ck_assert_int_eq(weakref_pool_clear(NULL), -EINVAL);
}
END_TEST

static weakref_pool *renewed; /* by these functions of its own, where that is asked for */
static bool renews;
static unsigned renewed_resets;

static int alloc_and_renew(void **out, void *user)
{
	int error = res_alloc(out, user);

	if (renews)
		ck_assert_int_ge(weakref_pool_invalidate_all(renewed), 0);
	return error;
}

static int check_and_renew(void *resource, void *user)
{
	if (renews)
		ck_assert_int_ge(weakref_pool_invalidate_all(renewed), 0);
	return res_check(resource, user);
}

static int count_reset(void *resource, void *user)
{
	(void)resource, (void)user;
	renewed_resets++;
	return 0;
}

/* R230: what is idle goes at once, what is leased when it comes back, however it was leased and comes; then the pool is as ever. */
START_TEST(test_R230_invalidate_all)
{
	double lifetime = _i == 0 ? 0 : 3600;
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .reset = count_reset, .minsize = 3, .lifetime = lifetime);
	struct res *a = pop(pool);
	weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
	struct res *b = weakref_pool_lease_get(lease), *kept;

	renewed_resets = 0;
	ck_assert_int_eq(weakref_pool_invalidate_all(pool), 1);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(stats_of(pool).leased, 2);
	ck_assert_ptr_eq(weakref_pool_lease_get(lease), b);
	ck_assert_int_eq(weakref_pool_invalidate_all(pool), 0);
	/* What came after it stays. */
	struct res *foreign = res_new(), *c = pop(pool);
	ck_assert_int_eq(weakref_pool_push(pool, foreign), 0);
	ck_assert_int_eq(weakref_pool_push(pool, c), 0);
	ck_assert_int_eq(LEN(pool), 2);
	ck_assert_uint_eq(renewed_resets, 1);
	/* What was there before goes, without a reset. */
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	ck_assert_int_eq(weakref_pool_lease_return(lease), 0);
	ck_assert_int_eq(a->deallocs, 1);
	ck_assert_int_eq(b->deallocs, 1);
	ck_assert_int_eq(LEN(pool), 2);
	ck_assert_uint_eq(renewed_resets, 1);
	ck_assert_ptr_eq(pop(pool), c);
	ck_assert_ptr_eq(pop(pool), foreign);
	/* One that is detached is its holder's, and new to the pool when it is pushed. */
	ck_assert_int_eq(weakref_pool_invalidate_all(pool), 0);
	ck_assert_int_eq(weakref_pool_detach(pool, c), 0);
	ck_assert_int_eq(weakref_pool_push(pool, c), 0);
	ck_assert_int_eq(weakref_pool_maintain(pool), 0);
	ck_assert_ptr_eq(kept = pop(pool), c);
	ck_assert_int_eq(weakref_pool_push(pool, kept), 0);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_int_eq(weakref_pool_push(pool, foreign), 0);
	ck_assert_int_eq(foreign->deallocs, 1);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.idle, 1);
	ck_assert_uint_eq(s.leased + s.moving + s.invalidated, 0);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	ck_assert_int_eq(weakref_pool_close(pool), 1);
	ck_assert_int_eq(weakref_pool_invalidate_all(pool), 0);
	ck_assert_int_eq(weakref_pool_invalidate_all(NULL), -EINVAL);
}
END_TEST

/* R230: what alloc makes, or check looks at, meanwhile is lent, and goes when it comes back. */
START_TEST(test_R230_within_its_functions)
{
	weakref_pool *pool = POOL(.alloc = alloc_and_renew, .dealloc = res_dealloc, .check = check_and_renew, .lifetime = _i == 0 ? 0 : 3600);

	renewed = pool;
	renews = true;
	struct res *a = pop(pool);
	ck_assert_ptr_nonnull(a);
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	ck_assert_int_eq(a->deallocs, 1);
	ck_assert_int_eq(weakref_pool_fill(pool, 2), 2);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(gone, 3);
	renews = false;
	struct res *b = pop(pool);
	ck_assert_int_eq(weakref_pool_push(pool, b), 0);
	renews = true;
	ck_assert_ptr_eq(pop(pool), b);
	renews = false;
	ck_assert_int_eq(weakref_pool_push(pool, b), 0);
	ck_assert_int_eq(b->deallocs, 1);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	renewed = NULL;
}
END_TEST

/* WEAKREF_POOL_ZERO is 0 of each size: a pool that has nothing to give, none to be made beforehand, none to be kept. Zero maxima that turn
 * into no bound: HikariCP's maximumPoolSize, lru-rs' capacity. */
START_TEST(test_sizes_of_zero)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = WEAKREF_POOL_ZERO);
	void *out;

	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ENOENT);
	ck_assert_int_eq(weakref_pool_fill(pool, 3), 0);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), -ENOSPC);
	ck_assert_ptr_null(POOL(.alloc = res_alloc, .hardmax = WEAKREF_POOL_ZERO, .minsize = 1));
	ck_assert_int_eq(errno, EINVAL);
	pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 8, .maxsize = 4, .minsize = 2);
	ck_assert_int_eq(weakref_pool_clear(pool), 2);
	ck_assert_int_eq(weakref_pool_fill(pool, WEAKREF_POOL_ZERO), 0);
	ck_assert_int_eq(weakref_pool_fill(pool, 0), 2);
	pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .maxsize = WEAKREF_POOL_ZERO);
	ck_assert_int_eq(weakref_pool_fill(pool, 3), 0);
	ck_assert_int_eq(weakref_pool_push(pool, pop(pool)), 0);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(stats_of(pool).deallocs, 1);
}
END_TEST

/* R128: what is pushed to a closed pool goes, however many of its own are leased. */
START_TEST(test_closed_and_full)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 1);
	struct res *a = pop(pool);

	ck_assert_int_eq(weakref_pool_close(pool), 0);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), 1);
	ck_assert_int_eq(weakref_pool_push(pool, a), 1);
	ck_assert_uint_eq(gone, 2);
}
END_TEST

/* R213: each size may be set anew: what is idle goes at once, what is leased when it comes back. setMaxTotal, setMaxIdle,
 * setMinIdle of Apache Commons Pool; resize of deadpool. */
START_TEST(test_set_size)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 6, .minsize = 2);
	struct res *r[6];
	void *out;

	for (int i = 0; i < 6; i++)
		ck_assert_ptr_nonnull(r[i] = pop(pool));
	/* Against another size: nothing has changed. */
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, 1), -EINVAL);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_MAXSIZE, 1), -EINVAL);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_MINSIZE, 7), -EINVAL);
	ck_assert_int_eq(weakref_pool_set_size(pool, (enum weakref_pool_size)4, 1), -EINVAL);
	ck_assert_int_eq(weakref_pool_set_size(NULL, WEAKREF_POOL_MINSIZE, 1), -EINVAL);
	ck_assert_int_eq(weakref_pool_push(pool, r[5]), 0);
	ck_assert_int_eq(LEN(pool), 1);
	/* The idle one goes, three are leased too many. */
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, 2), 1);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ENOENT);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), -ENOSPC);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weakref_pool_push(pool, r[i]), 0);
	ck_assert_uint_eq(gone, 4);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_int_eq(weakref_pool_push(pool, r[3]), 0);
	ck_assert_int_eq(weakref_pool_push(pool, r[4]), 0);
	ck_assert_int_eq(LEN(pool), 2);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_MINSIZE, WEAKREF_POOL_ZERO), 0);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, WEAKREF_POOL_ZERO), 2);
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -ENOENT);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, 0), 0);
	/* None is bound: those made now are kept, until fewer are to be. */
	for (int i = 0; i < 6; i++)
		ck_assert_ptr_nonnull(r[i] = pop(pool));
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(weakref_pool_push(pool, r[i]), 0);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_MINSIZE, 3), 0);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_MAXSIZE, 5), 3);
	ck_assert_ptr_eq(pop(pool), r[5]);
	ck_assert_int_eq(weakref_pool_fill(pool, 0), 1);
	ck_assert_int_eq(weakref_pool_close(pool), 3);
	ck_assert_int_eq(weakref_pool_set_size(pool, WEAKREF_POOL_HARDMAX, 3), 0);
	ck_assert_int_eq(weakref_pool_push(pool, r[5]), 1);
}
END_TEST

/* R208: what is detached is not the pool's: no dealloc, room for another, foreign when it is pushed again, as often as one likes. */
START_TEST(test_detach)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 1), *other = POOL(.dealloc = res_dealloc);
	struct res *a = pop(pool);

	ck_assert_int_eq(weakref_pool_detach(other, a), -ENOENT);
	ck_assert_ptr_null(pop(pool));
	ck_assert_int_eq(weakref_pool_detach(pool, a), 0);
	ck_assert_int_eq(weakref_pool_detach(pool, a), -ENOENT);
	ck_assert_int_eq(weakref_pool_invalidate(pool, a), -ENOENT);
	ck_assert_uint_eq(stats_of(pool).detached, 1);
	ck_assert_uint_eq(stats_of(pool).leased, 0);
	struct res *b = pop(pool);
	ck_assert_ptr_eq(b, &all[1]);
	ck_assert_int_eq(weakref_pool_push(other, a), 0);
	ck_assert_int_eq(weakref_pool_push(pool, b), 0);
	ck_assert_int_eq(weakref_pool_detach(pool, b), -ENOENT);
	ck_assert_int_eq(weakref_pool_detach(pool, NULL), -EINVAL);
	weakref_pool_close(pool);
	weakref_pool_close(other);
	ck_assert_uint_eq(gone, 2);
	ck_assert_int_eq(a->deallocs, 1);
	/* A block of the heap goes from pool to pool, and nothing stays with it. */
	struct support_node *node = support_node_new(1);
	pool = POOL(.hardmax = 1);
	for (int i = 0; i < 10; i++) {
		void *out;
		ck_assert_int_eq(weakref_pool_push(pool, node), 0);
		ck_assert_int_eq(weakref_pool_pop(pool, &out), 0);
		ck_assert_int_eq(weakref_pool_detach(pool, node), 0);
	}
	ck_assert_uint_eq(weakref_getweakrefcount(node), 0);
	ck_assert_uint_eq(stats_of(pool).lost, 0);
	ck_assert(support_node_intact(node));
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

enum { MANY = 150, EACH = 10 };
static weakref_pool *many[MANY];
static size_t next_number;

/* The same few numbers for each pool. */
static int alloc_number(void **out, void *user)
{
	(void)user;
	*out = (void *)(next_number++ % EACH + 1);
	return 0;
}

static bool is_taken(void *resource)
{
	weakref_pool *other = weakref_pool_new(NULL);
	int pushed = weakref_pool_push(other, resource);

	ck_assert(pushed == 0 || pushed == -EEXIST);
	/* Now it is in any case. */
	ck_assert_ptr_null(POOL(.init = (void *[]){res_new(), resource}, .ninit = 2));
	ck_assert_int_eq(errno, EEXIST);
	if (pushed == 0)
		ck_assert_int_eq(weakref_pool_detach(other, pop(other)), 0);
	return pushed != 0;
}

/* R120: whatever any of many pools knows is refused by every other, and what they let go of is not. */
START_TEST(test_many_pools)
{
	void *init[EACH];
	uint64_t state = support_seed();

	for (int i = 0; i < MANY; i++) {
		for (int k = 0; k < EACH; k++)
			init[k] = res_new();
		many[i] = POOL(.init = init, .ninit = EACH);
		ck_assert_ptr_nonnull(many[i]);
	}
	for (int i = 0; i < MANY * EACH; i += 1 + (int)(support_random(&state) % 40)) {
		weakref_pool *pool = many[i / EACH], *other = many[(i / EACH + 1) % MANY];
		struct res *r = pop(pool);
		ck_assert(is_taken(r));
		ck_assert_int_eq(weakref_pool_push(other, r), -EEXIST);
		ck_assert_int_eq(weakref_pool_detach(pool, r), 0);
		ck_assert(!is_taken(r));
		ck_assert_int_eq(weakref_pool_push(other, r), 0);
		ck_assert(is_taken(r));
	}
	if (weakref_checks_enabled())
		ck_assert_int_gt(weakref_checks_validate(), 0);
	memset(many, 0, sizeof many);
}
END_TEST

/* What alloc gave may be in many pools: it is taken until all of them have let go of it, in whatever order. */
START_TEST(test_many_have_the_same)
{
	uint64_t state = support_seed();
	static struct {
		weakref_pool *pool;
		void *number;
	} has[MANY * EACH];
	size_t left[EACH + 1];

	next_number = 0;
	for (size_t i = 0; i < MANY * EACH; i++) {
		has[i].pool = i % EACH == 0 ? POOL(.alloc = alloc_number) : has[i - 1].pool;
		has[i].number = pop(has[i].pool);
		left[(size_t)has[i].number] = MANY;
	}
	for (size_t n = MANY * EACH; n > 0; n--) {
		size_t i = support_random(&state) % n, number = (size_t)has[i].number;
		ck_assert_int_eq(weakref_pool_invalidate(has[i].pool, has[i].number), 0);
		if (--left[number] == 0 || n % 100 == 0)
			ck_assert_int_eq(is_taken((void *)number), left[number] != 0);
		has[i] = has[n - 1];
	}
	memset(has, 0, sizeof has);
}
END_TEST

static int make_dead_lenders(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < SUPPORT_N; i++) {
		weakref_pool *pool = POOL(.alloc = res_alloc);
		SUPPORT_REQUIRE(pool != NULL && pop(pool) != NULL);
	}
	return 0;
}

/* R127: what was leased from a dead pool is nobody's, once its destructor has run. */
START_TEST(test_leased_from_dead_pools)
{
	size_t free_now = 0;

	ck_assert_int_eq(support_on_thread(make_dead_lenders, NULL), 0);
	size_t n = made;
	support_collect();
	for (size_t i = 0; i < n; i++)
		free_now += !is_taken(&all[i]);
	ck_assert_uint_ge(free_now, SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

/* ---- bad input ----------------------------------------------------------------------------------------------------------- */

/* Options that contradict each other. */
START_TEST(test_bad_options)
{
	struct res *a = res_new();
	weakref_pool_options bad[] = {
		{.minsize = 2, .maxsize = 1}, {.minsize = 2, .maxsize = WEAKREF_POOL_ZERO}, {.minsize = 3, .hardmax = 2},
		{.maxage = NAN}, {.maxage = -1}, {.lifetime = NAN}, {.lifetime = -1}, {.lifetime = 1, .spread = 2}, {.spread = NAN},
		{.ttl = NAN}, {.ttl = -0.5}, {.ninit = 1},
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
	ck_assert_ptr_null(POOL(.init = (void *[]){a}, .ninit = 1, .alloc = bad_alloc, .alloc_user = &left, .dealloc = res_dealloc,
				.minsize = 5));
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

static _Atomic unsigned reported;

static void count_unraisable(const gc_unraisable *info, void *user)
{
	(void)user;
	reported += info->error == -EIO;
}

/* dealloc that fails in trimming, at close, and after the close: each is reported, and the others are deallocated all the same. */
START_TEST(test_dealloc_fails_everywhere)
{
	int error = -EIO;
	weakref_pool *pool = POOL(.maxsize = 3, .minsize = 1, .dealloc = bad_function, .dealloc_user = &error);

	reported = 0;
	gc_set_unraisable_handler(count_unraisable, NULL);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(weakref_pool_push(pool, res_new()), 0);
	ck_assert_uint_eq(reported, 3);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), 0);
	ck_assert_int_eq(weakref_pool_close(pool), 2);
	ck_assert_uint_eq(reported, 5);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), 1);
	ck_assert_uint_eq(reported, 6);
	ck_assert_uint_eq(gone, 6);
	ck_assert_uint_eq(stats_of(pool).moving + stats_of(pool).idle, 0);
}
END_TEST

/* reset that does not keep a resource, and dealloc that fails then: it is gone, once, and leaves room. testPOFReturnObjectUsages of Apache
 * Commons Pool. */
START_TEST(test_reset_and_dealloc_fail)
{
	int error = -EIO;
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = bad_function, .dealloc_user = &error, .reset = bad_function, .reset_user = &error,
				  .hardmax = 1);

	reported = 0;
	gc_set_unraisable_handler(count_unraisable, NULL);
	for (unsigned i = 1; i <= 3; i++) {
		struct res *r = pop(pool);
		ck_assert_ptr_eq(r, &all[i - 1]);
		ck_assert_int_eq(weakref_pool_push(pool, r), 1);
		ck_assert_uint_eq(gone, 2 * i);
		ck_assert_uint_eq(reported, i);
		ck_assert_uint_eq(stats_of(pool).dead, i);
		ck_assert_uint_eq(stats_of(pool).deallocs, i);
	}
	ck_assert_uint_eq(stats_of(pool).moving + stats_of(pool).leased + stats_of(pool).idle, 0);
}
END_TEST

/* Gives a block of the collected heap that nothing can be noted of: the next allocation fails. */
static int alloc_before_failure(void **out, void *user)
{
	(void)user;
	*out = support_node_new(1);
	weakref_checks_fail_allocation(1);
	return 0;
}

/* A pool that cannot be made, and whose dealloc fails: what alloc had made is deallocated once, and that is reported. */
START_TEST(test_dealloc_fails_in_new)
{
	int error = -EIO;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	reported = 0;
	gc_set_unraisable_handler(count_unraisable, NULL);
	errno = 0;
	ck_assert_ptr_null(POOL(.alloc = alloc_before_failure, .dealloc = bad_function, .dealloc_user = &error, .minsize = 1));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(reported, 1);
}
END_TEST

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

static int closing_alloc(void **out, void *user)
{
	weakref_pool_close(*(weakref_pool **)user);
	return res_alloc(out, NULL);
}

/* The pool is closed while alloc is at work: what it made is deallocated, once. */
START_TEST(test_closed_in_alloc)
{
	static weakref_pool *pool;
	void *out;

	pool = POOL(.alloc = closing_alloc, .alloc_user = &pool, .dealloc = res_dealloc);
	ck_assert_int_eq(weakref_pool_pop_wait(pool, 0, &out), -ECANCELED);
	ck_assert_uint_eq(made, 1);
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(stats_of(pool).moving, 0);
	SUPPORT_CLEAR(pool);
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

static void *use_once(void *pool)
{
	void *out;

	wrong += weakref_pool_pop(pool, &out) != 0 || weakref_pool_push(pool, out) != 0;
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
	pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .reset = stuck_function, .reset_user = all, .hardmax = 1);
	cancel_stuck(use_once, pool);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_int_eq(all[4].deallocs, 1);
	ck_assert_ptr_eq(pop(pool), &all[5]);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

static unsigned resets;
static int reset_result;
static weakref_pool *reset_pool;

static int reset(void *resource, void *user)
{
	void *out;

	resets++;
	/* It is in nobody's hand meanwhile. */
	wrong += user != all || weakref_pool_pop(reset_pool, &out) != -ENOENT || weakref_pool_push(reset_pool, resource) != -EEXIST ||
		 weakref_pool_invalidate(reset_pool, resource) != -ENOENT || stats_of(reset_pool).leased != 1;
	return reset_result;
}

/* R212: what comes back is reset before anybody gets it, however it comes; what reset does not keep is deallocated. */
START_TEST(test_reset)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .reset = reset, .reset_user = all, .hardmax = 1, .maxage = 1000);
	struct res *a = pop(pool);
	weakref_pool_lease *lease;

	resets = 0;
	reset_result = 0;
	reset_pool = pool;
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	ck_assert_uint_eq(resets, 1);
	lease = WEAKREF_POOL_LEASE(pool);
	ck_assert_ptr_eq(weakref_pool_lease_get(lease), a);
	ck_assert_int_eq(weakref_pool_lease_return(lease), 0);
	ck_assert_uint_eq(resets, 2);
	reset_result = -EIO;
	ck_assert_ptr_eq(pop(pool), a);
	ck_assert_int_eq(weakref_pool_push(pool, a), 1);
	ck_assert_int_eq(a->deallocs, 1);
	ck_assert_int_eq(LEN(pool), 0);
	lease = WEAKREF_POOL_LEASE(pool);
	ck_assert_ptr_eq(weakref_pool_lease_get(lease), &all[1]);
	ck_assert_int_eq(weakref_pool_lease_return(lease), 1);
	ck_assert_int_eq(all[1].deallocs, 1);
	ck_assert_uint_eq(resets, 4);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.dead, 2);
	ck_assert_uint_eq(s.invalidated, 0);
	ck_assert_uint_eq(s.returns, 4);
	ck_assert_uint_eq(s.leased + s.moving + s.idle, 0);
	/* Foreign ones, those that are invalidated or detached, and those of a closed pool are not asked about. */
	struct res *foreign = res_new(), *b;
	ck_assert_int_eq(weakref_pool_push(pool, foreign), 0);
	ck_assert_ptr_eq(pop(pool), foreign);
	ck_assert_int_eq(weakref_pool_detach(pool, foreign), 0);
	b = pop(pool);
	ck_assert_int_eq(weakref_pool_invalidate(pool, b), 0);
	b = pop(pool);
	weakref_pool_close(pool);
	ck_assert_int_eq(weakref_pool_push(pool, b), 1);
	ck_assert_uint_eq(resets, 4);
	ck_assert_uint_eq(wrong, 0);
	reset_pool = NULL;
}
END_TEST

static int close_in_reset(void *resource, void *user)
{
	(void)resource;
	return weakref_pool_close(*(weakref_pool **)user) < 0;
}

/* A pool that is closed while a resource is reset deallocates it. */
START_TEST(test_closed_in_reset)
{
	weakref_pool **slot = gc_alloc(sizeof *slot), *pool;

	pool = *slot = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .reset = close_in_reset, .reset_user = slot);
	ck_assert_int_eq(weakref_pool_push(pool, pop(pool)), 1);
	ck_assert_int_eq(all[0].deallocs, 1);
	ck_assert_uint_eq(stats_of(pool).leased + stats_of(pool).moving, 0);
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
	ck_assert_int_gt(weakref_checks_validate(), 0);
	ck_assert_uint_gt(k, 20);
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
	TCase *t = pool_tcase(s, "pool");

	tcase_add_test(t, test_p05_init_only);
	tcase_add_test(t, test_p07_alloc_when_needed);
	tcase_add_test(t, test_p08_init_then_alloc);
	tcase_add_test(t, test_p09_foreign_resource);
	tcase_add_test(t, test_p15_failed_check);
	tcase_add_test(t, test_p17_prefill);
	tcase_add_test(t, test_p18_no_prefill_without_alloc);
	tcase_add_test(t, test_p19_maxsize);
	tcase_add_test(t, test_p20_at_maxsize);
	tcase_add_test(t, test_p21_minsize_and_maxsize);
	tcase_add_test(t, test_p22_minsize_is_maxsize);
	tcase_add_test(t, test_p23_maxage);
	tcase_add_test(t, test_p24_maxage_and_minsize);
	tcase_add_test(t, test_lifetime);
	tcase_add_test(t, test_lifetime_behind_the_dead);
	tcase_add_test(t, test_p27_death_of_a_pool);
	tcase_add_test(t, test_p29_exit);
	tcase_add_test(t, test_p29_order_at_exit);
	tcase_add_test(t, test_p32_len);
	tcase_add_test(t, test_p35_soft_maximum);
	tcase_add_test(t, test_p37_leased_from_another_pool);
	tcase_add_test(t, test_many_pools);
	tcase_add_test(t, test_many_have_the_same);
	tcase_add_test(t, test_leased_from_dead_pools);
	tcase_add_test(t, test_len_is_what_is_kept);
	tcase_add_test(t, test_fifo);
	tcase_add_test(t, test_fifo_and_failing_check);
	tcase_add_loop_test(t, test_R261_back_where_it_was, 0, 2);
	tcase_add_test(t, test_fill);
	tcase_add_test(t, test_clear);
	tcase_add_loop_test(t, test_R230_invalidate_all, 0, 2);
	tcase_add_loop_test(t, test_R230_within_its_functions, 0, 2);
	tcase_add_test(t, test_sizes_of_zero);
	tcase_add_test(t, test_closed_and_full);
	tcase_add_test(t, test_set_size);
	tcase_add_test(t, test_detach);
	tcase_add_test(t, test_bad_options);
	tcase_add_test(t, test_double_push);
	tcase_add_test(t, test_alloc_fails);
	tcase_add_test(t, test_alloc_fails_in_prefill);
	tcase_add_test(t, test_alloc_gives_the_same);
	tcase_add_test(t, test_dealloc_and_check_fail);
	tcase_add_test(t, test_dealloc_fails_everywhere);
	tcase_add_test(t, test_dealloc_fails_in_new);
	tcase_add_test(t, test_reset_and_dealloc_fail);
	tcase_add_test(t, test_check_uses_the_pool);
	tcase_add_test(t, test_closed_in_alloc);
	tcase_add_test(t, test_pool_of_pools);
	tcase_add_test(t, test_cancelled_in_user_functions);
	tcase_add_test(t, test_reset);
	tcase_add_test(t, test_closed_in_reset);
	tcase_add_test(t, test_allocation_failures);
	/* The last ones: the clock stands still from then on. */
	tcase_add_test(t, test_virtual_clock);
	tcase_add_test(t, test_lifetimes_are_spread);
	tcase_add_loop_test(t, test_lifetimes_against_a_model, 0, 2);
	tcase_add_test(t, test_over_while_it_is_checked);
	return s;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exit") == 0)
		return exit_mode();
	if (argc > 1 && strcmp(argv[1], "order") == 0)
		return order_mode();
	return pool_main(suite);
}

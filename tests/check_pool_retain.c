/* SPDX-License-Identifier: MIT */
/*
 * check_pool_retain: weakref/pool.h: the program is asked which of the idle resources stay (R250 to R252, R260): who is asked about, in which
 * order, what becomes of them; functions that use the pool, leave, fail; waiters; a stress test. Failing allocations and a clock that is
 * moved by hand where the library was built for it.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "pool_resources.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/checks.h"

/* ---- which stay ---------------------------------------------------------------------------------------------------------- */

/* What was asked about, in order, and what was told of it. */
static void *asked[100];
static weakref_pool_idle told[100];
static size_t nasked;

static int note(void *resource, const weakref_pool_idle *idle)
{
	wrong += nasked == 100;
	told[nasked % 100] = *idle;
	asked[nasked++ % 100] = resource;
	return 1;
}

/* What is dead goes. */
static int keep_living(void *resource, const weakref_pool_idle *idle, void *user)
{
	(void)user;
	note(resource, idle);
	return !((struct res *)resource)->dead;
}

static int keep_all(void *resource, const weakref_pool_idle *idle, void *user)
{
	(void)user;
	return note(resource, idle);
}

static int keep_none(void *resource, const weakref_pool_idle *idle, void *user)
{
	(void)user;
	note(resource, idle);
	return 0;
}

/* A pool of so many, &all[0] being the oldest. */
static weakref_pool *pool_of(size_t n, weakref_pool_options options)
{
	options.dealloc = res_dealloc;
	weakref_pool *pool = weakref_pool_new(&options);

	nasked = 0;
	ck_assert_ptr_nonnull(pool);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(weakref_pool_push(pool, res_new()), 0);
	return pool;
}

#define POOL_OF(n, ...) pool_of((n), (weakref_pool_options){__VA_ARGS__})

/* Those that are popped are these, by their numbers, and no more. */
static void expect(weakref_pool *pool, size_t n, const size_t numbers[])
{
	for (size_t i = 0; i < n; i++)
		ck_assert_ptr_eq(pop(pool), &all[numbers[i]]);
	ck_assert_ptr_null(pop(pool));
}

#define EXPECT(pool, ...) \
	expect((pool), sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), (const size_t[]){__VA_ARGS__})

/* R250: each idle one is asked about once, the oldest first; those that do not stay are deallocated in that order, and the others are popped
 * as before. deadpool's retain, and its example. */
START_TEST(test_R250_retain)
{
	weakref_pool *pool = POOL_OF(6, .fifo = _i == 1);

	all[0].dead = all[3].dead = all[5].dead = true;
	ck_assert_int_eq(weakref_pool_retain(pool, keep_living, NULL), 3);
	ck_assert_uint_eq(nasked, 6);
	for (size_t i = 0; i < 6; i++)
		ck_assert_ptr_eq(asked[i], &all[i]);
	ck_assert_uint_eq(gone, 3);
	ck_assert_ptr_eq(gone_order[0], &all[0]);
	ck_assert_ptr_eq(gone_order[1], &all[3]);
	ck_assert_ptr_eq(gone_order[2], &all[5]);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.idle, 3);
	ck_assert_uint_eq(s.deallocs, 3);
	ck_assert_uint_eq(s.leased + s.moving + s.dead + s.invalidated + s.reuses + s.returns + s.waits, 0);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	if (_i == 1)
		EXPECT(pool, 1, 2, 4);
	else
		EXPECT(pool, 4, 2, 1);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* R250: below minsize too, to the last; what is leased is not asked about, and comes back as ever. None is made before it is asked for. */
START_TEST(test_R250_below_minsize)
{
	weakref_pool *pool = POOL_OF(0, .alloc = res_alloc, .minsize = 3, .hardmax = 4);
	struct res *a = pop(pool);

	ck_assert_int_eq(weakref_pool_retain(pool, keep_none, NULL), 2);
	ck_assert_uint_eq(nasked, 2);
	ck_assert_int_eq(LEN(pool), 0);
	ck_assert_uint_eq(made, 3);
	ck_assert_int_eq(weakref_pool_push(pool, a), 0);
	ck_assert_ptr_eq(pop(pool), a);
	ck_assert_ptr_eq(pop(pool), &all[3]);
	ck_assert_int_eq(weakref_pool_retain(pool, keep_none, NULL), 0);
	ck_assert_uint_eq(nasked, 2);
}
END_TEST

/* Nothing to ask about, nobody to ask, no pool, a closed one. */
START_TEST(test_R250_bad_arguments)
{
	weakref_pool *pool = POOL_OF(0);

	ck_assert_int_eq(weakref_pool_retain(pool, keep_none, NULL), 0);
	ck_assert_int_eq(weakref_pool_retain(NULL, keep_none, NULL), -EINVAL);
	ck_assert_int_eq(weakref_pool_retain(pool, NULL, NULL), -EINVAL);
	pool = POOL_OF(2);
	ck_assert_int_eq(weakref_pool_retain(pool, NULL, NULL), -EINVAL);
	ck_assert_int_eq(LEN(pool), 2);
	weakref_pool_close(pool);
	ck_assert_int_eq(weakref_pool_retain(pool, keep_none, NULL), 0);
	ck_assert_uint_eq(nasked, 0);
}
END_TEST

static int check_error;

static int failing_check(void *resource, void *user)
{
	(void)resource, (void)user;
	return check_error;
}

/* How often each was leased: not by being made, adopted, given to alloc's pool beforehand, asked about, or looked at by a check that failed.
 * Where no age counts, the time is not looked at. */
START_TEST(test_R250_leases)
{
	weakref_pool *pool = POOL_OF(0, .alloc = res_alloc, .check = failing_check, .minsize = 1);
	void *out;

	ck_assert_int_eq(weakref_pool_fill(pool, 2), 1);
	ck_assert_int_eq(weakref_pool_push(pool, res_new()), 0);
	check_error = -EIO;
	ck_assert_int_eq(weakref_pool_pop(pool, &out), -EIO);
	ck_assert_int_eq(weakref_pool_retain(pool, keep_all, NULL), 0);
	check_error = 1;
	for (int i = 0; i < 5; i++) {
		weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
		struct res *r = weakref_pool_lease_get(lease), *s = i < 2 ? pop(pool) : NULL;
		ck_assert_ptr_eq(r, &all[2]);
		ck_assert(s == NULL || weakref_pool_push(pool, s) == 0);
		ck_assert_int_eq(weakref_pool_lease_return(lease), 0);
	}
	ck_assert_int_eq(weakref_pool_retain(pool, keep_all, NULL), 0);
	ck_assert_uint_eq(nasked, 6);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(told[i].leases, 0);
		ck_assert(told[i].seconds == 0 && told[i + 3].seconds == 0);
	}
	for (size_t i = 3; i < 6; i++)
		ck_assert_uint_eq(told[i].leases, asked[i] == &all[2] ? 5 : asked[i] == &all[1] ? 2 : 0);
	/* One that alloc made for whoever leased it. */
	pool = POOL_OF(0, .alloc = res_alloc);
	ck_assert_int_eq(weakref_pool_push(pool, pop(pool)), 0);
	ck_assert_int_eq(weakref_pool_retain(pool, keep_all, NULL), 0);
	ck_assert_uint_eq(told[0].leases, 1);
}
END_TEST

/* ---- functions that use the pool, or leave ------------------------------------------------------------------------------- */

static weakref_pool *used;
static void *held;

static int use_pool(void *resource, const weakref_pool_idle *idle, void *user)
{
	static bool inside;
	void *other;

	if (inside)
		return 1;
	inside = true;
	note(resource, idle);
	wrong += weakref_pool_push(used, resource) != -EEXIST;
	wrong += weakref_pool_invalidate(used, resource) != -ENOENT;
	wrong += weakref_pool_detach(used, resource) != -ENOENT;
	wrong += weakref_pool_maintain(used) != 0;
	wrong += weakref_pool_retain(used, use_pool, user) != 0;
	wrong += stats_of(used).leased != 1 + (nasked > 3);
	if (nasked == 2) /* the newest is back before it is its turn */
		wrong += weakref_pool_pop(used, &other) != 0 || other != &all[5] || weakref_pool_push(used, other) != 0;
	if (nasked == 3) /* and the next one is not */
		wrong += weakref_pool_pop(used, &other) != 0 || weakref_pool_pop(used, &held) != 0 || held != &all[4] ||
			 weakref_pool_push(used, other) != 0 || weakref_pool_push(used, res_new()) != 0;
	if (nasked == 4)
		wrong += gc_collect() < 0;
	inside = false;
	return nasked != 1;
}

/* A function that uses the pool: what it pops is not asked about, be it back or not, nor what it pushes; what it is asked about is out of
 * reach. No deadlock, nothing lost, nothing twice. */
START_TEST(test_R250_uses_the_pool)
{
	weakref_pool *pool = POOL_OF(6, .maxage = 1000);

	used = pool;
	ck_assert_int_eq(weakref_pool_retain(pool, use_pool, NULL), 1);
	ck_assert_uint_eq(nasked, 4);
	for (size_t i = 0; i < 4; i++)
		ck_assert_ptr_eq(asked[i], &all[i]);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_ptr_eq(held, &all[4]);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	EXPECT(pool, 6, 5, 3, 2, 1);
	SUPPORT_CLEAR(used);
}
END_TEST

/* What the function does to the pool, and how many of the others go by that. */
enum { CLEARS, CLOSES, INVALIDATES, SHRINKS, RETAINS, EMPTIES_BEFORE, ENDS };

static int act(void *resource, const weakref_pool_idle *idle, void *user)
{
	void *out;

	note(resource, idle);
	if (nasked != 3)
		return 1;
	switch (*(int *)user) {
	case CLEARS: wrong += weakref_pool_clear(used) != 4; break;
	case CLOSES: wrong += weakref_pool_close(used) != 4; break;
	case INVALIDATES: wrong += weakref_pool_invalidate_all(used) != 4; break;
	case SHRINKS: wrong += weakref_pool_set_size(used, WEAKREF_POOL_HARDMAX, WEAKREF_POOL_ZERO) != 4; break;
	case RETAINS: wrong += weakref_pool_retain(used, keep_none, NULL) != 4; break;
	case EMPTIES_BEFORE:
		while (weakref_pool_pop(used, &out) == 0)
			wrong += weakref_pool_invalidate(used, out) != 0;
		break;
	default: break;
	}
	return 1;
}

/* R251: the others are gone, and the function says that this one stays: so it does, unless the pool keeps none any more. In a pool whose
 * resources have a lifetime, too. */
START_TEST(test_R251_empties_the_pool)
{
	int what = _i / 2;
	bool stays = what == CLEARS || what == RETAINS || what == EMPTIES_BEFORE;
	weakref_pool *pool = POOL_OF(5, .lifetime = _i % 2 == 0 ? 0 : 3600, .minsize = 0);

	used = pool;
	ck_assert_int_eq(weakref_pool_retain(pool, act, &what), !stays);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(gone, stays ? 4 : 5);
	ck_assert_int_eq(all[2].deallocs, !stays);
	ck_assert_uint_eq(nasked, what == RETAINS ? 7 : 3);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.idle, stays);
	ck_assert_uint_eq(s.leased + s.moving, 0);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	ck_assert_ptr_eq(pop(pool), stays ? &all[2] : NULL);
	SUPPORT_CLEAR(used);
}
END_TEST

static int push_more(void *resource, const weakref_pool_idle *idle, void *user)
{
	note(resource, idle);
	if (nasked == 2)
		wrong += weakref_pool_push(user, res_new()) != 0;
	return 1;
}

/* R251: a pool that is full when one is taken aside, and is full again when it comes back, has too many then: as by a push. */
START_TEST(test_R251_full_meanwhile)
{
	weakref_pool *pool = POOL_OF(3, .maxsize = 3, .minsize = 2);

	ck_assert_int_eq(weakref_pool_retain(pool, push_more, pool), 2);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_ptr_eq(gone_order[0], &all[0]);
	ck_assert_ptr_eq(gone_order[1], &all[1]);
	EXPECT(pool, 3, 2);
}
END_TEST

static int fail_third(void *resource, const weakref_pool_idle *idle, void *user)
{
	note(resource, idle);
	return nasked == 1 ? 0 : nasked == 3 ? *(int *)user : 1;
}

/* R252: an error ends it: that one stays, and the rest. */
START_TEST(test_R252_error)
{
	weakref_pool *pool = POOL_OF(5);
	int error = -EIO;

	ck_assert_int_eq(weakref_pool_retain(pool, fail_third, &error), -EIO);
	ck_assert_uint_eq(nasked, 3);
	ck_assert_uint_eq(gone, 1);
	EXPECT(pool, 4, 3, 2, 1);
}
END_TEST

static jmp_buf away;

static int leave(void *resource, const weakref_pool_idle *idle, void *user)
{
	note(resource, idle);
	if (nasked == 3)
		longjmp(away, 1);
	return nasked != (size_t)user;
}

/* R252: left by longjmp, it loses the one that was asked about, and no other. */
START_TEST(test_R252_longjmp)
{
	static weakref_pool *pool;

	pool = POOL_OF(5, .hardmax = 5);
	if (setjmp(away) == 0) {
		weakref_pool_retain(pool, leave, (void *)2);
		ck_abort();
	}
	ck_assert_uint_eq(nasked, 3);
	ck_assert_uint_eq(gone, 1);
	ck_assert_ptr_eq(gone_order[0], &all[1]);
	ck_assert_uint_eq(stats_of(pool).leased, 1);
	EXPECT(pool, 4, 3, 0);
	SUPPORT_CLEAR(pool);
}
END_TEST

static _Atomic bool stuck;

static int end_thread(void *resource, const weakref_pool_idle *idle, void *user)
{
	note(resource, idle);
	if (nasked == 1)
		return 0;
	if (nasked == 3 && *(int *)user == 0)
		pthread_exit(NULL);
	stuck = nasked == 3;
	while (stuck)
		pause();
	return 1;
}

struct ending {
	weakref_pool *pool;
	int how;
};

static void *retain_and_end(void *arg)
{
	struct ending *e = arg;

	weakref_pool_retain(e->pool, end_thread, &e->how);
	wrong++;
	return NULL;
}

/* R252: the thread ends in the function, or is cancelled: the resource is where it was, and the rest is not asked about. Who waits gets it. */
START_TEST(test_R252_end_of_thread)
{
	static struct ending e;
	pthread_t thread;
	bool waits = _i > 1;
	struct popper p = {0};

	e = (struct ending){POOL_OF(5), _i};
	stuck = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, retain_and_end, &e), 0);
	while (_i > 0 && !stuck)
		usleep(100);
	if (waits) {
		EXPECT(e.pool, 4, 3, 1);
		ck_assert(popper_start(&p, e.pool, 30, 1));
	}
	if (_i > 0)
		pthread_cancel(thread);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(nasked, 3);
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(wrong, 0);
	if (waits) {
		pthread_join(p.thread, NULL);
		ck_assert_ptr_eq(p.got, &all[2]);
	} else {
		ck_assert_uint_eq(stats_of(e.pool).leased + stats_of(e.pool).moving, 0);
		EXPECT(e.pool, 4, 3, 2, 1);
	}
	SUPPORT_CLEAR(e.pool);
}
END_TEST

static int retain_in_child(void *arg)
{
	weakref_pool *pool = arg;
	void *out;

	SUPPORT_REQUIRE(weakref_pool_retain(pool, keep_all, NULL) == 0);
	SUPPORT_REQUIRE(weakref_pool_pop(pool, &out) == 0 && weakref_pool_push(pool, out) == 0);
	return 0;
}

static int fork_within(void *resource, const weakref_pool_idle *idle, void *user)
{
	note(resource, idle);
	if (nasked == 2)
		wrong += support_in_child(retain_in_child, user) != 0;
	return nasked != 2;
}

/* A child that is forked within the function uses the pool; to it that resource is leased. */
START_TEST(test_R252_fork)
{
	weakref_pool *pool = POOL_OF(3);

	ck_assert_int_eq(weakref_pool_retain(pool, fork_within, pool), 1);
	ck_assert_uint_eq(wrong, 0);
	EXPECT(pool, 2, 0);
}
END_TEST

static int borrow(void **out, void *inner)
{
	return weakref_pool_pop(inner, out);
}

static int hand_back(void *resource, void *inner)
{
	return weakref_pool_push(inner, resource);
}

static int known_to_others(void *resource, const weakref_pool_idle *idle, void *user)
{
	note(resource, idle);
	/* It is known to both pools, and to no third one. */
	wrong += weakref_pool_push(user, resource) != -EEXIST || weakref_pool_push(used, resource) != -EEXIST;
	return nasked != 2;
}

/* Resources of a pool that has them from another one: what does not stay goes back there, where it was leased; the other pool is not asked
 * about it, and no other takes what is asked about. */
START_TEST(test_R250_pool_of_pools)
{
	weakref_pool *inner = POOL_OF(4), *other = POOL(0), *outer;

	outer = POOL(.alloc = borrow, .alloc_user = inner, .dealloc = hand_back, .dealloc_user = inner, .minsize = 3);
	used = outer;
	ck_assert_int_eq(LEN(inner), 1);
	ck_assert_int_eq(weakref_pool_retain(inner, keep_all, NULL), 0);
	ck_assert_uint_eq(nasked, 1);
	ck_assert_ptr_eq(asked[0], &all[0]);
	nasked = 0;
	ck_assert_int_eq(weakref_pool_retain(outer, known_to_others, other), 1);
	ck_assert_uint_eq(nasked, 3);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_int_eq(LEN(outer), 2);
	ck_assert_ptr_eq(pop(inner), asked[1]);
	ck_assert_uint_eq(gone, 0);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	SUPPORT_CLEAR(used);
}
END_TEST

/* ---- blocks of the collected heap ---------------------------------------------------------------------------------------- */

static int keep_node(void *resource, const weakref_pool_idle *idle, void *user)
{
	(void)user;
	wrong += gc_collect() < 0 || !support_node_intact(resource);
	return note(resource, idle) && nasked % 2;
}

static int push_nodes(void *pool)
{
	for (uint32_t i = 0; i < 10; i++)
		SUPPORT_REQUIRE(weakref_pool_push(pool, support_node_new(i)) == 0);
	return 0;
}

/* What is asked about, and what waits for its turn, is held meanwhile, whatever is collected. */
START_TEST(test_R250_collects)
{
	weakref_pool *pool = weakref_pool_new(NULL);
	void *out;

	nasked = 0;
	ck_assert_int_eq(support_on_thread(push_nodes, pool), 0);
	ck_assert_int_eq(weakref_pool_retain(pool, keep_node, NULL), 5);
	ck_assert_uint_eq(wrong, 0);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(weakref_pool_pop(pool, &out), 0);
		ck_assert(support_node_intact(out));
	}
	ck_assert_uint_eq(stats_of(pool).lost, 0);
}
END_TEST

enum { NODES = 50 };

struct nodes {
	weakref_pool *pool;
	weakref_ref *refs[NODES];
	unsigned dead; /* when the last one was asked about */
};

static int push_watched_nodes(void *arg)
{
	struct nodes *nodes = arg;

	for (uint32_t i = 0; i < NODES; i++) {
		struct support_node *node = support_node_new(i);
		nodes->refs[i] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(nodes->refs[i] != NULL && weakref_pool_push(nodes->pool, node) == 0);
	}
	return 0;
}

static int keep_no_node(void *resource, const weakref_pool_idle *idle, void *user)
{
	struct nodes *nodes = user;

	(void)resource;
	(void)idle;
	if (++nasked < NODES)
		return 0;
	wrong += gc_collect() < 0;
	for (size_t i = 0; i < NODES; i++)
		nodes->dead += weakref_ref_get(nodes->refs[i]) == NULL;
	return 0;
}

/* What was deallocated is nobody's, while others are still asked about. */
START_TEST(test_R250_lets_go)
{
	static struct nodes nodes;

	nodes.pool = weakref_pool_new(NULL);
	nasked = 0;
	ck_assert_int_eq(support_on_thread(push_watched_nodes, &nodes), 0);
	ck_assert_int_eq(weakref_pool_retain(nodes.pool, keep_no_node, &nodes), NODES);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_ge(nodes.dead, NODES / 2);
	memset(&nodes, 0, sizeof(nodes));
}
END_TEST

/* ---- waiters ------------------------------------------------------------------------------------------------------------- */

struct expected {
	weakref_pool *pool;
	struct popper p[2];
	int verdict;
};

static int with_waiters(void *resource, const weakref_pool_idle *idle, void *user)
{
	struct expected *e = user;
	void *out;

	note(resource, idle);
	wrong += weakref_pool_pop(e->pool, &out) != -ENOENT || weakref_pool_pop_wait(e->pool, 0.001, &out) != -ETIMEDOUT;
	for (size_t i = 0; i < 2; i++)
		wrong += !popper_start(&e->p[i], e->pool, 0, i + 1);
	return e->verdict;
}

/* R251: who waits while the only resource is asked about gets it when it stays, or makes another when it is gone. */
START_TEST(test_R251_waiters)
{
	struct expected e = {.verdict = _i};

	e.pool = POOL_OF(1, .alloc = res_alloc, .hardmax = 1);
	e.p[0].gives_back = e.p[1].gives_back = true;
	turns = 0;
	ck_assert_int_eq(weakref_pool_retain(e.pool, with_waiters, &e), _i == 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(e.p[i].thread, NULL);
		ck_assert_ptr_eq(e.p[i].got, &all[_i == 0]);
		ck_assert_int_eq(e.p[i].turn, i);
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(stats_of(e.pool).waiting + stats_of(e.pool).leased + stats_of(e.pool).moving, 0);
}
END_TEST

struct closing {
	weakref_pool *pool;
	pthread_t thread;
	long result;
};

static void *close_and_wait(void *arg)
{
	struct closing *c = arg;

	c->result = weakref_pool_close_wait(c->pool, 0);
	return NULL;
}

static int close_meanwhile(void *resource, const weakref_pool_idle *idle, void *user)
{
	struct closing *c = user;

	note(resource, idle);
	wrong += pthread_create(&c->thread, NULL, close_and_wait, c) != 0 || !until_waiting(c->pool, 1);
	return 1;
}

/* R231, R251: who waits for the pool's end waits for what is asked about. */
START_TEST(test_R251_close_wait)
{
	struct closing c = {.pool = POOL_OF(3)};

	ck_assert_int_eq(weakref_pool_retain(c.pool, close_meanwhile, &c), 1);
	pthread_join(c.thread, NULL);
	ck_assert_int_eq(c.result, 2);
	ck_assert_uint_eq(nasked, 1);
	ck_assert_uint_eq(gone, 3);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* ---- against a model, and many at once ------------------------------------------------------------------------------------ */

static uint64_t dice_state;
static size_t model[100], nmodel; /* the idle ones, the oldest first */

static size_t number_of(const void *resource)
{
	return (size_t)((const struct res *)resource - all);
}

static size_t model_take(size_t at)
{
	size_t number = model[at];

	memmove(&model[at], &model[at + 1], (--nmodel - at) * sizeof *model);
	return number;
}

/* Lends and takes back as it likes, and says by chance whether one stays. Those that stay are in the model where they were. */
static int toss(void *resource, const weakref_pool_idle *idle, void *user)
{
	weakref_pool *pool = user;
	struct res *out[3] = {NULL};
	size_t at = 0, n = support_random(&dice_state) % 4 == 0 ? support_random(&dice_state) % 4 : 0;

	(void)idle;
	while (at < nmodel && model[at] != number_of(resource))
		at++;
	wrong += at == nmodel;
	/* It is the newest where the others that are newer were popped. */
	for (size_t i = 0; i < n && nmodel > 1; i++) {
		bool aside = model[nmodel - 1] == number_of(resource);
		out[i] = pop(pool);
		wrong += out[i] != &all[model_take(aside ? nmodel - 2 : nmodel - 1)];
	}
	size_t older = 0; /* of those that are left */
	while (older < nmodel && model[older] != number_of(resource))
		older++;
	for (size_t i = 0; i < n && out[i] != NULL; i++) {
		wrong += weakref_pool_push(pool, out[i]) != 0;
		model[nmodel++] = number_of(out[i]);
	}
	if (support_random(&dice_state) % 4 != 0)
		return 1;
	model_take(older);
	return 0;
}

/* The order is that of a list from which those are taken that go, whatever is popped and pushed meanwhile. */
START_TEST(test_R251_against_a_model)
{
	dice_state = support_seed();
	for (int round = 0; round < 50; round++) {
		size_t first = made, gone_before = gone;
		weakref_pool *pool = POOL_OF(support_random(&dice_state) % 30);
		nmodel = made - first;
		for (size_t i = 0; i < nmodel; i++)
			model[i] = first + i;
		long n = weakref_pool_retain(pool, toss, pool);
		ck_assert_uint_eq(wrong, 0);
		ck_assert_int_eq(n, (long)(gone - gone_before));
		ck_assert_int_eq(LEN(pool), (int)nmodel);
		while (nmodel > 0)
			ck_assert_ptr_eq(pop(pool), &all[model[--nmodel]]);
	}
}
END_TEST

static int keep_by_chance(void *resource, const weakref_pool_idle *idle, void *user)
{
	struct res *r = resource;

	/* It is in nobody's hand. */
	wrong += idle->seconds < 0 || atomic_exchange(&r->hand, HAND_USER) != HAND_POOL;
	if (support_random(user) % 8 == 0)
		sched_yield();
	wrong += atomic_exchange(&r->hand, HAND_POOL) != HAND_USER;
	return support_random(user) % 4 != 0;
}

static int free_of_hands(void *resource, void *user)
{
	struct res *r = resource;

	wrong += atomic_exchange(&r->hand, HAND_GONE) != HAND_POOL;
	return res_dealloc(resource, user);
}

struct worker {
	weakref_pool *pool;
	uint64_t random;
	bool retains;
};

static int work(void *arg)
{
	struct worker *w = arg;
	void *got;

	for (size_t i = support_scaled(1500, 30); i > 0; i--) {
		if (w->retains && i % 4 == 0) {
			SUPPORT_REQUIRE(weakref_pool_retain(w->pool, keep_by_chance, &w->random) >= 0);
			continue;
		}
		if (weakref_pool_pop_wait(w->pool, 30, &got) != 0)
			return 1;
		SUPPORT_REQUIRE(atomic_exchange(&((struct res *)got)->hand, HAND_USER) == HAND_POOL);
		if (support_random(&w->random) % 16 == 0)
			usleep(50);
		((struct res *)got)->hand = HAND_POOL;
		SUPPORT_REQUIRE(weakref_pool_push(w->pool, got) == 0);
	}
	return 0;
}

/* Threads pop, wait and push while others ask: each resource is in one hand, and nobody waits in vain. */
START_TEST(test_R250_stress)
{
	enum { N = 6 };
	static struct worker workers[N];
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = free_of_hands, .hardmax = 3, .maxage = _i == 0 ? 0 : 1000, .fifo = _i == 2);

	for (size_t i = 0; i < N; i++)
		workers[i] = (struct worker){pool, support_seed() + i, i % 2 == 0};
	ck_assert_int_eq(support_threads(N, work, workers, sizeof(*workers)), 0);
	ck_assert_uint_eq(wrong, 0);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.leased + s.waiting + s.moving, 0);
	ck_assert_uint_eq(s.idle + gone, made);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	memset(workers, 0, sizeof(workers));
}
END_TEST

/* ---- the checking build -------------------------------------------------------------------------------------------------- */

/* No memory for the list: nothing has happened, and nothing was asked; and where there was some, nothing fails any more. */
START_TEST(test_R250_allocation_failures)
{
	weakref_pool *pool = POOL_OF(5, .maxage = 1000);
	unsigned long k = 1;
	bool reached = true;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	all[1].dead = true;
	for (; reached; k++) {
		weakref_checks_fail_allocation(k);
		long n = weakref_pool_retain(pool, keep_living, NULL);
		reached = weakref_checks_fail_allocation(0) == 0;
		ck_assert_int_eq(n, reached ? -ENOMEM : 1);
		ck_assert_uint_eq(nasked, reached ? 0 : 5);
		ck_assert_int_eq(LEN(pool), reached ? 5 : 4);
	}
	ck_assert_uint_ge(k, 3);
}
END_TEST

static int let_time_pass(void *resource, const weakref_pool_idle *idle, void *user)
{
	note(resource, idle);
	if (nasked == 2)
		weakref_checks_clock_advance(*(uint64_t *)user);
	return 1;
}

/* R123, R250, R251: what is too old is not asked about; what stays is as old as before; what becomes too old while it is asked about goes,
 * be it by its age or at the end of its lifetime, and who waits does not get it. */
START_TEST(test_R251_ages)
{
	const uint64_t second = 1000000000;
	uint64_t passes = 0;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	weakref_checks_clock_advance(0);
	weakref_pool *pool = _i == 0 ? POOL_OF(2, .maxage = 100) : POOL_OF(2, .lifetime = 100);
	weakref_checks_clock_advance(40 * second);
	for (int i = 0; i < 2; i++)
		weakref_pool_push(pool, res_new());
	weakref_checks_clock_advance(61 * second);
	ck_assert_int_eq(weakref_pool_retain(pool, let_time_pass, &passes), 2);
	ck_assert_uint_eq(nasked, 2);
	ck_assert_ptr_eq(asked[0], &all[2]);
	ck_assert_int_eq(all[0].deallocs + all[1].deallocs, 2);
	ck_assert(told[0].seconds == 61 && told[1].seconds == 61);
	/* They did not grow younger. */
	weakref_checks_clock_advance(38 * second);
	nasked = 0;
	passes = 2 * second;
	ck_assert_int_eq(weakref_pool_retain(pool, let_time_pass, &passes), 2);
	ck_assert_uint_eq(nasked, 2);
	ck_assert(told[1].seconds == 99);
	ck_assert_uint_eq(stats_of(pool).idle, 0);
	ck_assert_uint_eq(gone, 4);
}
END_TEST

struct two {
	weakref_pool *pool;
	pthread_t thread;
	sem_t asked, go;
};

static int keep_second(void *resource, const weakref_pool_idle *idle, void *user)
{
	struct two *two = user;

	(void)idle;
	if (resource == &all[1]) {
		sem_post(&two->asked);
		while (sem_wait(&two->go) != 0)
			;
	}
	return 1;
}

static void *retain_too(void *arg)
{
	struct two *two = arg;

	wrong += weakref_pool_retain(two->pool, keep_second, two) != 0;
	return NULL;
}

static int keep_first(void *resource, const weakref_pool_idle *idle, void *user)
{
	struct two *two = user;

	note(resource, idle);
	if (resource != &all[0])
		return 1;
	wrong += pthread_create(&two->thread, NULL, retain_too, two) != 0;
	while (sem_wait(&two->asked) != 0)
		;
	return 1;
}

/* R123, R260: two ask at once, the second about what is younger than what the first one has in hand, and is back later: the older one is
 * the older one all the same, and goes when its time has come. */
START_TEST(test_R260_two_at_once)
{
	const uint64_t second = 1000000000;
	struct two two;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	sem_init(&two.asked, 0, 0);
	sem_init(&two.go, 0, 0);
	weakref_checks_clock_advance(0);
	two.pool = POOL_OF(0, .maxage = 100, .fifo = _i == 1);
	for (int i = 0; i < 3; i++) {
		weakref_pool_push(two.pool, res_new());
		weakref_checks_clock_advance(10 * second);
	}
	ck_assert_int_eq(weakref_pool_retain(two.pool, keep_first, &two), 0);
	ck_assert_uint_eq(nasked, 2);
	sem_post(&two.go);
	pthread_join(two.thread, NULL);
	ck_assert_uint_eq(wrong, 0);
	weakref_checks_clock_advance(75 * second);
	ck_assert_int_eq(LEN(two.pool), 2);
	if (_i == 1)
		EXPECT(two.pool, 1, 2);
	else
		EXPECT(two.pool, 2, 1);
	ck_assert_int_eq(all[0].deallocs, 1);
	sem_destroy(&two.asked);
	sem_destroy(&two.go);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pool_retain");
	TCase *t = pool_tcase(s, "pool_retain");

	tcase_add_loop_test(t, test_R250_retain, 0, 2);
	tcase_add_test(t, test_R250_below_minsize);
	tcase_add_test(t, test_R250_bad_arguments);
	tcase_add_test(t, test_R250_leases);
	tcase_add_test(t, test_R250_uses_the_pool);
	tcase_add_loop_test(t, test_R251_empties_the_pool, 0, 2 * ENDS);
	tcase_add_test(t, test_R251_full_meanwhile);
	tcase_add_test(t, test_R252_error);
	tcase_add_test(t, test_R252_longjmp);
	tcase_add_loop_test(t, test_R252_end_of_thread, 0, 3);
	tcase_add_test(t, test_R252_fork);
	tcase_add_test(t, test_R250_pool_of_pools);
	tcase_add_test(t, test_R250_collects);
	tcase_add_test(t, test_R250_lets_go);
	tcase_add_loop_test(t, test_R251_waiters, 0, 2);
	tcase_add_test(t, test_R251_close_wait);
	tcase_add_test(t, test_R251_against_a_model);
	tcase_add_loop_test(t, test_R250_stress, 0, 3);
	tcase_add_test(t, test_R250_allocation_failures);
	/* The last one: the clock stands still from then on. */
	tcase_add_loop_test(t, test_R251_ages, 0, 2);
	tcase_add_loop_test(t, test_R260_two_at_once, 0, 2);
	return s;
}

int main(void)
{
	return pool_main(suite);
}

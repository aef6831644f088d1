/* SPDX-License-Identifier: MIT */
/*
 * check_cache_left: caches whose functions (loaders, functions of compute, listeners) are left by longjmp (R270): by the thread itself, which
 * uses the cache again, and before it ends.
 */
#define GC_THREADS
#include <errno.h>
#include <gc/gc.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "loader.h"
#include "weakref/checks.h"

static _Thread_local jmp_buf way_out;
static _Thread_local bool leaves; /* else what they are called for is done */

static int load_leaving(const void *key, void **value, void *user)
{
	if (hold)
		wait_while_held();
	if (leaves)
		longjmp(way_out, 1);
	return load(key, value, user);
}

static int reload_leaving(const void *key, void *old, void **value, void *user)
{
	(void)old;
	return load_leaving(key, value, user);
}

static int merge_leaving(const void *key, void *old, void *given, void **value, void *user)
{
	(void)old;
	(void)given;
	return load_leaving(key, value, user);
}

/* Of 2 the value is given before. */
static int load_all_leaving(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	weakref_cache_bulk_give(bulk, KEY(2), thing(900));
	if (hold)
		wait_while_held();
	if (leaves)
		longjmp(way_out, 1);
	return load_all(keys, n, bulk, user);
}

static void make_leaving(const char *spec, const weakref_cache_second_level *level)
{
	const weakref_cache_loader loader = {.load = load_leaving, .reload = reload_leaving, .load_all = load_all_leaving};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	/* The fixture's figures begin anew. */
	builder("", false, false);
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	if (level != NULL)
		ck_assert_int_eq(weakref_cache_builder_second_level(b, level), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
}

/* ---- ways to be in the middle of a key ---- */

enum way { GET_KEY, GET_WITH, GET_ALL, REFRESH_ABSENT, REFRESH, COMPUTE_IF_ABSENT, COMPUTE, MERGE, WAYS };

static __attribute__((noinline)) int call(enum way way)
{
	const void *keys[] = {KEY(2), KEY(1), KEY(3)};
	void *values[3], *value;

	switch (way) {
	case GET_KEY:
		return weakref_cache_get(cache, KEY(1), &value);
	case GET_WITH:
		return weakref_cache_get_with(cache, KEY(1), load_leaving, NULL, &value);
	case GET_ALL:
		return weakref_cache_get_all(cache, keys, 3, values);
	case COMPUTE_IF_ABSENT:
		return weakref_cache_compute_if_absent(cache, KEY(1), load_leaving, NULL, &value);
	case COMPUTE:
		return weakref_cache_compute(cache, KEY(1), reload_leaving, NULL, &value);
	case MERGE:
		return weakref_cache_merge(cache, KEY(1), thing(8), merge_leaving, NULL, &value);
	default:
		return weakref_cache_refresh(cache, KEY(1));
	}
}

static bool has_value(enum way way)
{
	return way == REFRESH || way == MERGE;
}

/* Calls, and is back by longjmp. */
static __attribute__((noinline)) bool call_and_leave(enum way way)
{
	leaves = true;
	bool left = setjmp(way_out) != 0;
	if (!left)
		call(way);
	leaves = false;
	return left;
}

/* From a frame that lies far deeper, so that those of the call before are overwritten. */
static __attribute__((noinline)) int call_deeply(enum way way)
{
	volatile char room[16384];

	memset((char *)room, 0x5a, sizeof room);
	int result = call(way);
	ck_assert_int_eq(room[100], 0x5a);
	return result;
}

/* ---- the thread goes on ---- */

static int call_as(int i)
{
	return i < WAYS ? call((enum way)i) : call_deeply((enum way)(i - WAYS));
}

/* The key is nobody's: the next call does what it is for. What was there is there, and what was given. */
START_TEST(test_R270_the_same_thread)
{
	enum way way = (enum way)(_i % WAYS);
	void *value;

	make_leaving("recordStats,maximumSize=100", NULL);
	if (has_value(way))
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(70)), 0);
	ck_assert(call_and_leave(way));
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), has_value(way) ? thing(70) : NULL);
	ck_assert_int_eq(call_as(_i), 0);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_ptr_eq(value, thing(1));
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(2)), way == GET_ALL ? thing(900) : NULL);
	ck_assert_uint_eq(stats().load_failures, way < COMPUTE_IF_ABSENT);
}
END_TEST

/* So do the conditional writes, which wait for loads. */
START_TEST(test_R270_conditional_writes)
{
	void *value;

	make_leaving("maximumSize=100", NULL);
	ck_assert(call_and_leave(GET_KEY));
	ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(5)), thing(5));
	ck_assert(call_and_leave(COMPUTE));
	ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), NULL, thing(6)), 1);
	ck_assert(call_and_leave(COMPUTE));
	ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), NULL, &value), 1);
	ck_assert_ptr_eq(value, thing(6));
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
}
END_TEST

/* Who waits for the key is let go, and loads. */
START_TEST(test_R270_who_waits)
{
	struct getter waiter;

	make_leaving("recordStats,maximumSize=100", NULL);
	ck_assert(call_and_leave((enum way)_i));
	getter_start(&waiter, 1);
	until_missed(_i == GET_KEY || _i == GET_WITH ? 2 : _i == GET_ALL ? 4 : 1);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(7), load, NULL, &(void *){NULL}), 0);
	getter_join(&waiter);
	ck_assert_int_eq(waiter.result, 0);
	ck_assert_ptr_eq(waiter.value, thing(1));
}
END_TEST

static int load_around(const void *key, void **value, void *user)
{
	(void)user;
	(void)key;
	ck_assert(call_and_leave(GET_KEY));
	ck_assert_int_eq(call(GET_KEY), 0);
	/* Its own key is its own. */
	ck_assert_int_eq(weakref_cache_get(cache, KEY(50), value), -EDEADLK);
	*value = thing(50);
	return 0;
}

/* What goes on around what was left goes on: it has its key. */
START_TEST(test_R270_one_in_another)
{
	void *value;

	make_leaving("maximumSize=100", NULL);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(50), load_around, NULL, &value), 0);
	ck_assert_ptr_eq(value, thing(50));
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(50)), thing(50));
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), thing(1));
}
END_TEST

/* ---- the thread ends ---- */

enum end { RETURNS, EXITS, UNREGISTERS, ENDS };

struct leaver {
	enum way way;
	enum end end;
	bool left;
};

static void *leave_and_end(void *arg)
{
	struct leaver *l = arg;

	if (l->end == UNREGISTERS)
		gc_thread_register();
	leaves = true;
	bool left = setjmp(way_out) != 0;
	if (!left)
		call(l->way);
	l->left = left;
	leaves = false;
	if (l->end == EXITS)
		pthread_exit(NULL);
	if (l->end == UNREGISTERS)
		gc_thread_unregister();
	return NULL;
}

static void leaver_start(pthread_t *thread, struct leaver *l)
{
	hold = true;
	if (l->end == UNREGISTERS)
		ck_assert_int_eq((pthread_create)(thread, NULL, leave_and_end, l), 0);
	else
		ck_assert_int_eq(pthread_create(thread, NULL, leave_and_end, l), 0);
	ck_assert(until_held(1));
}

static void leaver_join(pthread_t thread, const struct leaver *l)
{
	if (l->end == UNREGISTERS)
		(pthread_join)(thread, NULL);
	else
		pthread_join(thread, NULL);
	ck_assert(l->left);
}

/* It waits for whoever loads the key, reloads it, or computes it. */
static void *refresh_now(void *arg)
{
	struct getter *g = arg;

	g->result = weakref_cache_refresh(cache, KEY(g->key));
	weakref_cache_policy_peek(cache, KEY(g->key), &g->value);
	return NULL;
}

/* One that waits has the key then. */
START_TEST(test_R270_thread_ends)
{
	struct leaver leaver = {.way = (enum way)(_i % WAYS), .end = (enum end)(_i / WAYS)};
	struct getter waiter = {.key = 1};
	pthread_t thread;

	make_leaving("recordStats,maximumSize=100", NULL);
	if (has_value(leaver.way))
		ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(70)), 0);
	leaver_start(&thread, &leaver);
	ck_assert_int_eq(pthread_create(&waiter.thread, NULL, refresh_now, &waiter), 0);
	until_missed(leaver.way == GET_KEY || leaver.way == GET_WITH ? 1 : leaver.way == GET_ALL ? 3 : 0);
	hold = false;
	leaver_join(thread, &leaver);
	getter_join(&waiter);
	ck_assert_int_eq(waiter.result, 0);
	ck_assert_ptr_eq(waiter.value, thing(1));
	ck_assert_uint_eq(stats().load_failures, leaver.way < COMPUTE_IF_ABSENT);
}
END_TEST

/* And so has everybody who comes later. */
START_TEST(test_R270_after_the_end)
{
	struct leaver leaver = {.way = _i == 0 ? GET_KEY : COMPUTE};
	pthread_t thread;
	void *value;

	make_leaving("maximumSize=100", NULL);
	for (int i = 0; i < 4; i++) {
		if (_i != 0)
			ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(70)), 0);
		leaver_start(&thread, &leaver);
		hold = false;
		leaver_join(thread, &leaver);
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), _i == 0 ? NULL : thing(70));
		if (i == 0)
			ck_assert_ptr_eq(weakref_cache_put_if_absent(cache, KEY(1), thing(5)), thing(_i == 0 ? 5 : 70));
		else if (i == 1)
			ck_assert_int_eq(weakref_cache_replace(cache, KEY(1), NULL, thing(5)), _i);
		else if (i == 2)
			ck_assert_int_eq(weakref_cache_remove(cache, KEY(1), NULL, &value), _i);
		else
			ck_assert_int_eq(call(COMPUTE), 0);
		ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	}
}
END_TEST

/* A reload by age begins anew. */
START_TEST(test_R270_reload_by_age)
{
	const weakref_cache_loader loader = {.load = load_leaving};
	struct leaver leaver = {.way = GET_KEY};
	weakref_cache_builder *b = builder("refreshAfterWrite=1m", false, false);
	pthread_t thread;

	b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	ck_assert_int_eq(weakref_cache_builder_spec(b, "refreshAfterWrite=1m"), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(1), thing(70)), 0);
	now_ns += 61 * SECOND;
	if (_i == 0) {
		ck_assert(call_and_leave(GET_KEY));
	} else {
		leaver_start(&thread, &leaver);
		hold = false;
		leaver_join(thread, &leaver);
	}
	ck_assert_uint_eq(loads, 0);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), thing(70));
	ck_assert_uint_eq(loads, 1);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), thing(1));
}
END_TEST

/* ---- the second level ---- */

static unsigned asked, forgotten;
static bool remove_leaves;

static int level_get(const void *key, void **value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	asked++;
	return -ENOENT;
}

static int level_put(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	return 0;
}

static int level_remove(const void *key, void *user)
{
	(void)key;
	(void)user;
	forgotten++;
	if (remove_leaves)
		longjmp(way_out, 1);
	return 0;
}

/* A function of compute that was left has changed nothing: loads ask the second level and write to it. Where it was left before it had forgotten
 * what was changed, that key stays closed. */
START_TEST(test_R270_second_level)
{
	const weakref_cache_second_level level = {.get = level_get, .put = level_put, .remove = level_remove};
	struct leaver leaver = {.way = COMPUTE};
	pthread_t thread;
	void *value;

	asked = forgotten = 0;
	remove_leaves = false;
	make_leaving("maximumSize=100", &level);
	if (_i == 0) {
		ck_assert(call_and_leave(COMPUTE));
	} else if (_i == 1) {
		leaver_start(&thread, &leaver);
		hold = false;
		leaver_join(thread, &leaver);
	} else {
		remove_leaves = true;
		if (setjmp(way_out) == 0)
			weakref_cache_put(cache, KEY(1), thing(70));
		remove_leaves = false;
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), thing(70));
	}
	ck_assert_uint_eq(forgotten, _i == 2);
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(1)), 0);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(1), &value), 0);
	ck_assert_uint_eq(asked, _i != 2);
	ck_assert_int_eq(weakref_cache_get(cache, KEY(2), &value), 0);
	ck_assert_uint_eq(asked, _i == 2 ? 1 : 2);
}
END_TEST

/* ---- listeners ---- */

static unsigned told, nested, depth;

static int listen_leaving(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)key;
	(void)value;
	(void)cause;
	(void)user;
	told++;
	nested += depth;
	if (leaves)
		longjmp(way_out, 1);
	depth++;
	weakref_cache_invalidate(cache, KEY(told + 100));
	depth--;
	return 0;
}

static __attribute__((noinline)) bool invalidate_and_leave(intptr_t key)
{
	leaves = true;
	bool left = setjmp(way_out) != 0;
	if (!left)
		weakref_cache_invalidate(cache, KEY(key));
	leaves = false;
	return left;
}

static __attribute__((noinline)) void invalidate_deeply(intptr_t key)
{
	volatile char room[16384];

	memset((char *)room, 0x5a, sizeof room);
	weakref_cache_invalidate(cache, KEY(key));
	ck_assert_int_eq(room[100], 0x5a);
}

/* One that was left has been told of its entry; the next ones are told of theirs, once each, and do not nest. */
START_TEST(test_R270_listener)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listen_leaving, NULL), 0);
	cache = weakref_cache_builder_build(b);
	told = nested = depth = 0;
	for (intptr_t i = 1; i < 200; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), thing((size_t)i)), 0);
	ck_assert(invalidate_and_leave(1));
	ck_assert_uint_eq(told, 1);
	weakref_cache_invalidate(cache, KEY(2));
	/* The listener invalidates one more each time. */
	ck_assert_uint_eq(told, 100);
	ck_assert(invalidate_and_leave(3));
	ck_assert_uint_eq(told, 101);
	invalidate_deeply(4);
	ck_assert_uint_eq(told, 102);
	ck_assert_uint_eq(nested, 0);
}
END_TEST

/* ---- other stacks ---- */

static ucontext_t outside, inside;
static char other_stack[1 << 16];
static int inside_result;

static int load_suspended(const void *key, void **value, void *user)
{
	(void)key;
	(void)user;
	swapcontext(&inside, &outside);
	*value = thing(1);
	return 0;
}

static void get_inside(void)
{
	void *value;

	inside_result = weakref_cache_get_with(cache, KEY(1), load_suspended, NULL, &value);
}

/* What is suspended on a stack of the program's own has not been left. */
START_TEST(test_R270_other_stacks)
{
	void *value;

	/* The collector looks at the thread's own stack only, and would not like to be called from another one. */
	GC_disable();
	make_leaving("maximumSize=100", NULL);
	ck_assert_int_eq(getcontext(&inside), 0);
	inside.uc_stack.ss_sp = other_stack;
	inside.uc_stack.ss_size = sizeof other_stack;
	inside.uc_link = &outside;
	makecontext(&inside, get_inside, 0);
	ck_assert_int_eq(swapcontext(&outside, &inside), 0);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(1), load, NULL, &value), -EDEADLK);
	ck_assert(call_and_leave(REFRESH_ABSENT) == false);
	ck_assert_int_eq(weakref_cache_get_with(cache, KEY(2), load, NULL, &value), 0);
	ck_assert_int_eq(swapcontext(&outside, &inside), 0);
	ck_assert_int_eq(inside_result, 0);
	ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(1)), thing(1));
	GC_enable();
}
END_TEST

/* ---- anywhere ---- */

#define KEYS 100

static int numbers[KEYS];
static uint64_t state;
static bool in_an_operation;
static unsigned deep, jumps;

static unsigned draw(unsigned n)
{
	return (unsigned)(support_random(&state) % n);
}

static void operate(void);

/* What each function does first: now and then it uses the cache, or leaves. */
static void wander(void)
{
	if (deep < 3 && draw(40) == 0) {
		deep++;
		operate();
		deep--;
	}
	if (in_an_operation && draw(300) == 0) {
		jumps++;
		longjmp(way_out, 1);
	}
}

static int wander_hash(const void *key, uint64_t *out, void *user)
{
	(void)user;
	*out = (uint64_t)*(const int *)key * 2654435761;
	wander();
	return 0;
}

static int wander_equal(const void *a, const void *b, void *user)
{
	(void)user;
	wander();
	return *(const int *)a == *(const int *)b;
}

static int wander_load(const void *key, void **value, void *user)
{
	(void)key;
	(void)user;
	wander();
	*value = draw(8) == 0 ? NULL : thing(draw(100));
	return draw(8) == 0 ? -EIO : 0;
}

static int wander_compute(const void *key, void *old, void **value, void *user)
{
	(void)old;
	return wander_load(key, value, user);
}

static int wander_merge(const void *key, void *old, void *given, void **value, void *user)
{
	(void)old;
	(void)given;
	return wander_load(key, value, user);
}

static int wander_all(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	(void)user;
	for (size_t i = 0; i < n; i++) {
		wander();
		if (draw(4) != 0)
			weakref_cache_bulk_give(bulk, keys[i], thing(draw(100)));
	}
	return draw(8) == 0 ? -EIO : 0;
}

static int64_t wander_weigh(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	wander();
	return (int)draw(6) - (draw(20) == 0 ? 6 : 0);
}

static double wander_live(const void *key, void *value, void *user)
{
	(void)key;
	(void)value;
	(void)user;
	wander();
	return (double)draw(60) - (draw(20) == 0 ? 60 : 0);
}

static double wander_read(const void *key, void *value, double left, void *user)
{
	wander_live(key, value, user);
	return left;
}

static int wander_listen(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)key;
	(void)value;
	(void)cause;
	(void)user;
	wander();
	return 0;
}

static int wander_remove(const void *key, void *user)
{
	(void)key;
	(void)user;
	wander();
	return 0;
}

static int wander_put(const void *key, void *value, void *user)
{
	(void)value;
	return wander_remove(key, user);
}

static uint64_t wander_tick(void *user)
{
	(void)user;
	return now_ns += draw((unsigned)SECOND);
}

static void operate(void)
{
	const void *key = &numbers[draw(KEYS)], *keys[4];
	void *value, *values[4];

	switch (draw(14)) {
	case 0:
		weakref_cache_get(cache, key, &value);
		break;
	case 1:
		weakref_cache_put(cache, key, thing(draw(100)));
		break;
	case 2:
		weakref_cache_invalidate(cache, key);
		break;
	case 3:
		weakref_cache_compute(cache, key, wander_compute, NULL, &value);
		break;
	case 4:
		weakref_cache_merge(cache, key, thing(3), wander_merge, NULL, &value);
		break;
	case 5:
		weakref_cache_compute_if_absent(cache, key, wander_load, NULL, &value);
		break;
	case 6:
		weakref_cache_put_if_absent(cache, key, thing(draw(100)));
		break;
	case 7:
		weakref_cache_replace(cache, key, NULL, thing(4));
		break;
	case 8:
		weakref_cache_remove(cache, key, NULL, &value);
		break;
	case 9:
		weakref_cache_refresh(cache, key);
		break;
	case 10:
		for (int i = 0; i < 4; i++)
			keys[i] = &numbers[draw(KEYS)];
		weakref_cache_get_all(cache, keys, 4, values);
		break;
	case 11:
		weakref_cache_cleanup(cache);
		break;
	case 12:
		if (draw(20) == 0)
			weakref_cache_invalidate_all(cache);
		break;
	default:
		weakref_cache_get_if_present(cache, key);
		break;
	}
}

static __attribute__((noinline)) void operate_or_leave(void)
{
	in_an_operation = true;
	deep = 0;
	if (setjmp(way_out) == 0)
		operate();
	in_an_operation = false;
}

static void make_wandering(unsigned options)
{
	weakref_cache_builder *b = weakref_cache_builder_new_custom(wander_hash, wander_equal, NULL);
	const weakref_cache_loader loader = {.load = wander_load, .load_all = (options & 1U) != 0 ? wander_all : NULL};
	const weakref_cache_expiry expiry = {.create = wander_live, .read = wander_read};
	const weakref_cache_second_level level = {.get = wander_load, .put = wander_put, .remove = wander_remove, .expect = wander_remove};

	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumWeight=100,refreshAfterWrite=20s,recordStats"), 0);
	ck_assert_int_eq(weakref_cache_builder_weigher(b, wander_weigh, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, wander_tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	if ((options & 2U) != 0)
		ck_assert_int_eq(weakref_cache_builder_removal_listener(b, wander_listen, NULL), 0);
	if ((options & 4U) != 0)
		ck_assert_int_eq(weakref_cache_builder_second_level(b, &level), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
}

/* Whichever function of a cache is left, all of which use the cache themselves, no key stays with who left, and nothing is lost. */
START_TEST(test_R270_anywhere)
{
	weakref_cache_policy policy;
	void *value;

	state = support_seed() + (uint64_t)_i;
	now_ns = 1000 * SECOND;
	jumps = 0;
	for (int i = 0; i < KEYS; i++)
		numbers[i] = i;
	make_wandering((unsigned)_i);
	for (int i = support_collect_every() != 0 ? 200 : 10000; i > 0; i--)
		operate_or_leave();
	ck_assert(jumps > 0 || support_collect_every() != 0);
	deep = 3;
	for (int i = 0; i < KEYS; i++)
		ck_assert_int_ne(weakref_cache_get(cache, &numbers[i], &value), -EDEADLK);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
	ck_assert_uint_eq(policy.weight, 0);
	ck_assert_int_ge(weakref_checks_validate(), -ENOTSUP);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_left");
	TCase *tc = support_tcase("cache_left");

	tcase_add_loop_test(tc, test_R270_the_same_thread, 0, 2 * WAYS);
	tcase_add_test(tc, test_R270_conditional_writes);
	tcase_add_loop_test(tc, test_R270_who_waits, 0, REFRESH_ABSENT);
	tcase_add_test(tc, test_R270_one_in_another);
	tcase_add_loop_test(tc, test_R270_thread_ends, 0, WAYS * ENDS);
	tcase_add_loop_test(tc, test_R270_after_the_end, 0, 2);
	tcase_add_loop_test(tc, test_R270_reload_by_age, 0, 2);
	tcase_add_loop_test(tc, test_R270_second_level, 0, 3);
	tcase_add_test(tc, test_R270_listener);
	tcase_add_test(tc, test_R270_other_stacks);
	tcase_add_loop_test(tc, test_R270_anywhere, 0, 8);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

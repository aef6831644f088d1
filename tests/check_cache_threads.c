/* SPDX-License-Identifier: MIT */
/*
 * check_cache_threads: weakref/cache.h by several threads at once. Random histories of operations on one key are checked for linearizability;
 * merges must not get lost; each value that was stored is told of exactly once; weak entries and collections run against one another.
 *
 * A history is linearizable when its operations can be put in an order that respects which of them were over before which began, and in
 * which a map of one key would give each the result that it had. A load counts as what happened the moment before it was overtaken.
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "weakref/cache.h"
#include "weakref/checks.h"

#define KEY(n) WEAKREF_INT(n)

static weakref_cache *cache;

/* Loads of the cache's own are for the step that the thread runs. */
static _Thread_local void *thread_step;
static int step_load(const void *key, void **value, void *user);

static int load_of_thread(const void *key, void **value, void *user)
{
	(void)user;
	return step_load(key, value, thread_step);
}

static weakref_cache *cache_of(const char *spec, weakref_cache_listener_fn listener)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	weakref_cache_loader loader = {.load = load_of_thread};

	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	if (listener != NULL)
		ck_assert_int_eq(weakref_cache_builder_removal_listener(b, listener, NULL), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
	return cache;
}

/* A number in a value's place: no block of the heap is there. */
static void *value_of(uintptr_t n)
{
	return (void *)(n << 4);
}

static uintptr_t number_of(const void *value)
{
	return (uintptr_t)value >> 4;
}

/* ---- H42: nothing gets lost ---- */

static int add(const void *key, void *old, void *given, void **value, void *user)
{
	(void)key;
	(void)user;
	if ((number_of(old) & 15) == 0)
		sched_yield();
	*value = value_of(number_of(old) + number_of(given));
	return 0;
}

static int increment(const void *key, void *old, void **value, void *user)
{
	return add(key, old == NULL ? value_of(0) : old, value_of(1), value, user);
}

struct adder {
	size_t n;
	uint64_t seed;
	int wrong;
};

static int add_many(void *arg)
{
	struct adder *a = arg;

	for (size_t i = 0; i < a->n; i++) {
		int error = i % 2 == 0 ? weakref_cache_merge(cache, KEY((intptr_t)i % 3), value_of(1), add, NULL, NULL)
				       : weakref_cache_compute(cache, KEY((intptr_t)i % 3), increment, NULL, NULL);
		a->wrong += error != 0;
	}
	return 0;
}

/* H42: merge and compute are atomic for each key: no step is lost. */
START_TEST(test_h42_nothing_is_lost)
{
	struct adder adders[4];
	size_t n = support_scaled(6000, 60) / 3 * 3;

	cache_of(_i == 0 ? "" : "maximumSize=100,expireAfterWrite=1h", NULL);
	for (size_t i = 0; i < 4; i++)
		adders[i] = (struct adder){.n = n};
	ck_assert_int_eq(support_threads(4, add_many, adders, sizeof *adders), 0);
	for (intptr_t key = 0; key < 3; key++)
		ck_assert_uint_eq(number_of(weakref_cache_get_if_present(cache, KEY(key))), 4 * n / 3);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(adders[i].wrong, 0);
}
END_TEST

/* ---- linearizability ---- */

enum op { OP_PUT, OP_LOOK, OP_INVALIDATE, OP_INVALIDATE_ALL, OP_GET, OP_GET_WAIT, OP_COMPUTE, OP_PUT_IF_ABSENT, OP_REMOVE, OP_REPLACE, OPS };

#define WORKERS 3
#define STEPS 6

struct step {
	enum op op;
	uint64_t began, ended;
	uintptr_t given;    /* the value that it brings */
	uintptr_t expected; /* REPLACE */
	uintptr_t saw;      /* COMPUTE: the old value */
	uintptr_t result;
	bool ran; /* its function ran */
	bool late; /* GET_WAIT: its time was over */
};

static struct step history[WORKERS][STEPS];
static _Atomic uint64_t stamp;
static _Atomic unsigned turn_began, turn_ended;
static size_t turns;

static void dawdle(uintptr_t n)
{
	for (uintptr_t i = n * 0x9e3779b97f4a7c15 >> 62; i > 0; i--)
		sched_yield();
}

static int step_load(const void *key, void **value, void *user)
{
	struct step *s = user;

	(void)key;
	s->ran = true;
	dawdle(s->given);
	*value = value_of(s->given);
	return 0;
}

static int step_compute(const void *key, void *old, void **value, void *user)
{
	struct step *s = user;

	(void)key;
	s->ran = true;
	s->saw = number_of(old);
	dawdle(s->given);
	/* One in four removes. */
	if (s->given % 4 == 0)
		s->given = 0;
	*value = value_of(s->given);
	return 0;
}

static void run_step(struct step *s)
{
	const void *key = KEY(1);
	void *value = NULL;

	s->began = stamp++;
	switch (s->op) {
	case OP_PUT:
		weakref_cache_put(cache, key, value_of(s->given));
		break;
	case OP_LOOK:
		value = weakref_cache_get_if_present(cache, key);
		break;
	case OP_INVALIDATE:
		weakref_cache_invalidate(cache, key);
		break;
	case OP_INVALIDATE_ALL:
		weakref_cache_invalidate_all(cache);
		break;
	case OP_GET:
		weakref_cache_get_with(cache, key, step_load, s, &value);
		break;
	case OP_GET_WAIT:
		thread_step = s;
		s->late = weakref_cache_get_wait(cache, key, (double)(s->given % 3) * 1e-6, &value) == -ETIMEDOUT;
		break;
	case OP_COMPUTE:
		weakref_cache_compute(cache, key, step_compute, s, &value);
		break;
	case OP_PUT_IF_ABSENT:
		value = weakref_cache_put_if_absent(cache, key, value_of(s->given));
		break;
	case OP_REMOVE:
		weakref_cache_remove(cache, key, NULL, &value);
		break;
	default:
		value = value_of((uintptr_t)weakref_cache_replace(cache, key, value_of(s->expected), value_of(s->given)));
		break;
	}
	s->result = number_of(value);
	s->ended = stamp++;
}

/* What a map of one key that has `state` would do: whether the step's result is right, and the new state. */
static bool apply(const struct step *s, uintptr_t *state)
{
	switch (s->op) {
	case OP_PUT:
		*state = s->given;
		return true;
	case OP_LOOK:
		return s->result == *state;
	case OP_INVALIDATE:
	case OP_INVALIDATE_ALL:
		*state = 0;
		return true;
	case OP_GET:
	case OP_GET_WAIT:
		if (s->late)
			return !s->ran && s->result == 0;
		if (!s->ran)
			return s->result != 0 && s->result == *state;
		if (*state != 0 || s->result != s->given)
			return false;
		*state = s->given;
		return true;
	case OP_COMPUTE:
		if (!s->ran || s->saw != *state || s->result != s->given)
			return false;
		*state = s->given;
		return true;
	case OP_PUT_IF_ABSENT:
		if (*state == 0)
			*state = s->given;
		return s->result == *state;
	case OP_REMOVE:
		if (s->result != *state)
			return false;
		*state = 0;
		return true;
	default:
		if ((s->result != 0) != (*state == s->expected))
			return false;
		if (s->result != 0)
			*state = s->given;
		return true;
	}
}

/* Whether what is left, from these positions on, can be put in order. Positions and states that were tried in vain are remembered. */
#define VAIN 4096
static struct vain {
	unsigned char at[WORKERS];
	uintptr_t state;
} vain[VAIN];
static size_t vains;

static bool linearizable(unsigned char at[WORKERS], uintptr_t state)
{
	uint64_t first_end = UINT64_MAX;
	bool done = true;

	for (size_t i = 0; i < vains; i++)
		if (vain[i].state == state && memcmp(vain[i].at, at, WORKERS) == 0)
			return false;
	for (int w = 0; w < WORKERS; w++)
		if (at[w] < STEPS) {
			done = false;
			if (history[w][at[w]].ended < first_end)
				first_end = history[w][at[w]].ended;
		}
	if (done)
		return true;
	for (int w = 0; w < WORKERS; w++) {
		uintptr_t next = state;
		if (at[w] == STEPS || history[w][at[w]].began > first_end || !apply(&history[w][at[w]], &next))
			continue;
		at[w]++;
		bool found = linearizable(at, next);
		at[w]--;
		if (found)
			return true;
	}
	if (vains < VAIN) {
		memcpy(vain[vains].at, at, WORKERS);
		vain[vains++].state = state;
	}
	return false;
}

static void print_history(void)
{
	for (int w = 0; w < WORKERS; w++)
		for (int i = 0; i < STEPS; i++) {
			const struct step *s = &history[w][i];
			fprintf(stderr, "thread %d: %3lu-%3lu op %d given %lu expected %lu saw %lu result %lu%s\n", w, (unsigned long)s->began,
				(unsigned long)s->ended, (int)s->op, (unsigned long)s->given, (unsigned long)s->expected,
				(unsigned long)s->saw, (unsigned long)s->result, s->ran ? " ran" : s->late ? " late" : "");
		}
}

/* Puts of what is there, and what depends on a value that is being replaced. */
static const enum op overwriting[] = {OP_PUT, OP_PUT, OP_PUT, OP_PUT, OP_LOOK, OP_COMPUTE, OP_REPLACE, OP_REPLACE, OP_REMOVE};
static bool overwrites;

static enum op op_of(uint64_t r)
{
	return overwrites ? overwriting[r % (sizeof overwriting / sizeof *overwriting)] : (enum op)(r % OPS);
}

static void plan(uint64_t *state)
{
	uintptr_t given = 1;

	for (int w = 0; w < WORKERS; w++)
		for (int i = 0; i < STEPS; i++, given++) {
			uint64_t r = support_random(state);
			/* What somebody else may have stored just now. */
			uintptr_t other = (r >> 8) % WORKERS * STEPS + (i == 0 ? 1 : (uintptr_t)i + (r >> 16) % 2);
			history[w][i] = (struct step){.op = op_of(r >> 24), .given = given, .expected = other};
		}
}

static _Atomic int not_linearizable;

/* Each turn: the first worker plans and checks, all run their steps. */
static int work(void *arg)
{
	int me = *(int *)arg;
	uint64_t state = support_seed();

	for (size_t turn = 0; turn < turns && not_linearizable == 0; turn++) {
		if (me == 0) {
			while (turn_ended != turn * WORKERS)
				sched_yield();
			unsigned char at[WORKERS] = {0};
			vains = 0;
			if (turn > 0 && !linearizable(at, 0)) {
				print_history();
				not_linearizable = 1;
			}
			plan(&state);
			stamp = 0;
			weakref_cache_invalidate_all(cache);
			turn_began = (unsigned)turn + 1;
		}
		while (turn_began != turn + 1)
			sched_yield();
		for (int i = 0; i < STEPS; i++)
			run_step(&history[me][i]);
		turn_ended++;
	}
	return 0;
}

/* Random histories of all operations on one key are linearizable; loads, computations and invalidations included. The last two write mostly
 * over what is there. */
START_TEST(test_histories_are_linearizable)
{
	static const char *const specs[] = {"", "maximumSize=10,expireAfterWrite=1h,recordStats"};
	int numbers[WORKERS];

	cache_of(specs[_i % 2], NULL);
	overwrites = _i / 2 != 0;
	turns = support_scaled(4000, 50);
	turn_began = turn_ended = 0;
	not_linearizable = 0;
	for (int w = 0; w < WORKERS; w++)
		numbers[w] = w;
	ck_assert_int_eq(support_threads(WORKERS, work, numbers, sizeof *numbers), 0);
	ck_assert_int_eq(not_linearizable, 0);
}
END_TEST

/* ---- notices ---- */

#define IDS ((size_t)1 << 18)
static _Atomic unsigned char stored[IDS], told[IDS];
static _Atomic size_t ids;

static int listen(const void *key, void *value, enum weakref_cause cause, void *user)
{
	(void)key;
	(void)cause;
	(void)user;
	told[number_of(value)]++;
	return 0;
}

struct storer {
	uint64_t seed;
	size_t n;
};

static int store_many(void *arg)
{
	struct storer *s = arg;

	for (size_t i = 0; i < s->n; i++) {
		uint64_t r = support_random(&s->seed);
		const void *key = KEY((intptr_t)(r >> 8) % 300);
		size_t id = ++ids;
		SUPPORT_REQUIRE(id < IDS);
		switch (r % 8) {
		case 0:
			stored[id] = weakref_cache_put_if_absent(cache, key, value_of(id)) == value_of(id);
			break;
		case 1:
			stored[id] = weakref_cache_replace(cache, key, NULL, value_of(id)) == 1;
			break;
		case 2:
			weakref_cache_remove(cache, key, NULL, NULL);
			break;
		case 3:
			weakref_cache_invalidate(cache, key);
			break;
		case 4:
			if (r >> 40 & 1)
				weakref_cache_cleanup(cache);
			else
				weakref_cache_get_if_present(cache, key);
			break;
		default:
			stored[id] = weakref_cache_put(cache, key, value_of(id)) == 0;
			break;
		}
		weakref_cache_get_if_present(cache, KEY((intptr_t)(r >> 32) % 300));
		if (r % 4096 == 0)
			weakref_cache_invalidate_all(cache);
	}
	return 0;
}

/* H31: whatever removes it, each value that was stored is told of once, and no other. */
START_TEST(test_h31_told_once)
{
	static const char *const specs[] = {"", "maximumSize=50", "maximumSize=100,expireAfterWrite=2ms", "expireAfterAccess=1ms"};
	struct storer storers[4];

	memset((void *)stored, 0, sizeof stored);
	memset((void *)told, 0, sizeof told);
	ids = 0;
	cache_of(specs[_i], listen);
	for (size_t i = 0; i < 4; i++)
		storers[i] = (struct storer){.seed = support_seed() + i, .n = support_scaled(8000, 100)};
	ck_assert_int_eq(support_threads(4, store_many, storers, sizeof *storers), 0);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	for (size_t id = 1; id <= ids; id++)
		ck_assert_msg(told[id] == stored[id], "value %zu: stored %d, told %d", id, stored[id], told[id]);
}
END_TEST

/* ---- weak entries and collections ---- */

struct mixer {
	uint64_t seed;
	size_t n;
	bool collects;
};

static int load_node(const void *key, void **value, void *user)
{
	(void)user;
	*value = support_node_new((uint64_t)WEAKREF_INT_VALUE(key));
	return *value == NULL ? -ENOMEM : 0;
}

static int mix(void *arg)
{
	struct mixer *m = arg;
	void **held = gc_alloc(64 * sizeof *held);

	for (size_t i = 0; i < m->n; i++) {
		uint64_t r = support_random(&m->seed);
		intptr_t key = (intptr_t)(r >> 8) % 200;
		struct support_node *node = NULL;
		void *value = NULL;
		switch (r % 6) {
		case 0:
			node = support_node_new((uint64_t)key);
			SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(key), node) == 0);
			break;
		case 1:
			SUPPORT_REQUIRE(weakref_cache_invalidate(cache, KEY(key)) == 0);
			break;
		case 2:
			SUPPORT_REQUIRE(weakref_cache_get_with(cache, KEY(key), load_node, NULL, &value) == 0);
			node = value;
			break;
		default:
			node = weakref_cache_get_if_present(cache, KEY(key));
			break;
		}
		SUPPORT_REQUIRE(node == NULL || (support_node_intact(node) && node->id == (uint64_t)key));
		held[r % 64] = node;
		if (m->collects && i % 500 == 0)
			gc_collect();
	}
	return 0;
}

/* Threads that put, load, read and invalidate against collections: a value that is found is the key's, and alive. */
START_TEST(test_against_collections)
{
	static const char *const specs[] = {"weakValues", "weakValues,maximumSize=100,recordStats", "softValues,expireAfterAccess=1ms",
					    "weakValues,expireAfterWrite=1ms"};
	struct mixer mixers[4];

	cache_of(specs[_i], NULL);
	for (size_t i = 0; i < 4; i++)
		mixers[i] = (struct mixer){.seed = support_seed() + 77 * i, .n = support_scaled(10000, 100), .collects = i == 0};
	ck_assert_int_eq(support_threads(4, mix, mixers, sizeof *mixers), 0);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	cache = NULL;
}
END_TEST

static struct support_node **shared_keys;
#define SHARED ((size_t)128)

static int mix_weak_keys(void *arg)
{
	struct mixer *m = arg;

	for (size_t i = 0; i < m->n; i++) {
		uint64_t r = support_random(&m->seed);
		struct support_node *key = __atomic_load_n(&shared_keys[(r >> 8) % SHARED], __ATOMIC_ACQUIRE), *value;
		if (r % 16 == 0)
			__atomic_store_n(&shared_keys[(r >> 8) % SHARED], support_node_new(r), __ATOMIC_RELEASE);
		if (r % 4 == 0) {
			value = support_node_new(key->id);
			value->next = key;
			SUPPORT_REQUIRE(weakref_cache_put(cache, key, value) == 0);
		} else if (r % 16 == 1) {
			SUPPORT_REQUIRE(weakref_cache_invalidate(cache, key) == 0);
		} else {
			value = weakref_cache_get_if_present(cache, key);
			SUPPORT_REQUIRE(value == NULL || (support_node_intact(value) && value->next == key && value->id == key->id));
		}
		if (m->collects && i % 500 == 0)
			gc_collect();
	}
	return 0;
}

/* The same with weak keys whose values lead to them. */
START_TEST(test_weak_keys_against_collections)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_POINTER);
	struct mixer mixers[4];

	ck_assert_int_eq(weakref_cache_builder_spec(b, _i == 0 ? "weakKeys" : "weakKeys,maximumSize=60"), 0);
	cache = weakref_cache_builder_build(b);
	shared_keys = gc_alloc(SHARED * sizeof *shared_keys);
	for (size_t i = 0; i < SHARED; i++)
		shared_keys[i] = support_node_new(i);
	for (size_t i = 0; i < 4; i++)
		mixers[i] = (struct mixer){.seed = support_seed() + 99 * i, .n = support_scaled(10000, 100), .collects = i == 0};
	ck_assert_int_eq(support_threads(4, mix_weak_keys, mixers, sizeof *mixers), 0);
	support_collect();
	ck_assert_uint_le(weakref_cache_len(cache), SHARED + SUPPORT_SLACK);
	cache = NULL;
	shared_keys = NULL;
}
END_TEST

static _Atomic int strange;
static const void *shared_key;

static double lives_long(const void *key, void *value, void *user)
{
	(void)value;
	(void)user;
	strange += key != shared_key;
	return 3600;
}

static double lives_on(const void *key, void *value, double remaining, void *user)
{
	(void)remaining;
	return lives_long(key, value, user);
}

static int replace_or_read(void *arg)
{
	struct mixer *m = arg;

	for (size_t i = 0; i < m->n; i++) {
		if (!m->collects)
			weakref_cache_get_if_present(cache, shared_key);
		else if (i % 4 != 0)
			SUPPORT_REQUIRE(weakref_cache_put(cache, shared_key, value_of(i + 1)) == 0);
		else
			SUPPORT_REQUIRE(weakref_cache_invalidate(cache, shared_key) == 0);
	}
	return 0;
}

/* A read of a value whose entry goes at that moment, and its weak key with it, is told of with the key, or not at all. */
START_TEST(test_reads_are_told_with_a_key)
{
	static const weakref_cache_expiry expiry = {.create = lives_long, .update = lives_on, .read = lives_on};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_POINTER);
	struct support_node *key = support_node_new(1);
	struct mixer mixers[3];

	shared_key = key;
	strange = 0;
	ck_assert_int_eq(weakref_cache_builder_weak_keys(b), 0);
	ck_assert_int_eq(weakref_cache_builder_expire_after(b, &expiry), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
	for (size_t i = 0; i < 3; i++)
		mixers[i] = (struct mixer){.n = support_scaled(i == 0 ? 100000 : 300000, 200), .collects = i == 0};
	ck_assert_int_eq(support_threads(3, replace_or_read, mixers, sizeof *mixers), 0);
	ck_assert_int_eq(strange, 0);
	SUPPORT_KEEP(key);
	cache = NULL;
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_threads");
	TCase *tc = support_tcase("cache_threads");

	tcase_add_loop_test(tc, test_h42_nothing_is_lost, 0, 2);
	tcase_add_loop_test(tc, test_histories_are_linearizable, 0, 4);
	tcase_add_loop_test(tc, test_h31_told_once, 0, 4);
	tcase_add_loop_test(tc, test_against_collections, 0, 4);
	tcase_add_loop_test(tc, test_weak_keys_against_collections, 0, 2);
	tcase_add_test(tc, test_reads_are_told_with_a_key);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

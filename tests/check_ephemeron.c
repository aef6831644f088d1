/* SPDX-License-Identifier: MIT */
/*
 * check_ephemeron: weakref/ephemeron.h: reading, death, what a value leads to, chains and rings, other values, breaking,
 * finalizers, threads, fork, failing allocations, wrong arguments.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "rawthread.h"

#include "weakref/checks.h"
#include "weakref/ephemeron.h"
#include "weakref/valuedict.h"

typedef struct support_node node;

/* ---- many at once ---- */

struct many {
	size_t n;
	weakref_ephemeron **ephemerons;
	node **keys;
	weakref_ref **key_refs, **value_refs;
	node *(*value)(node *key, size_t i, size_t n, node *const *all);
};

static struct many *many_new(size_t n, node *(*value)(node *, size_t, size_t, node *const *))
{
	struct many *many = gc_alloc(sizeof *many);

	*many = (struct many){.n = n, .value = value};
	many->ephemerons = gc_alloc(n * sizeof(void *));
	many->keys = gc_alloc(n * sizeof(void *));
	many->key_refs = gc_alloc(n * sizeof(void *));
	many->value_refs = gc_alloc(n * sizeof(void *));
	return many;
}

static int make(void *arg)
{
	struct many *many = arg;

	for (size_t i = 0; i < many->n; i++)
		SUPPORT_REQUIRE((many->keys[i] = support_node_new(i)) != NULL);
	for (size_t i = 0; i < many->n; i++) {
		node *value = many->value(many->keys[i], i, many->n, many->keys);
		SUPPORT_REQUIRE(value != NULL);
		many->ephemerons[i] = weakref_ephemeron_new(many->keys[i], value);
		many->key_refs[i] = weakref_ref_new(many->keys[i], NULL, NULL);
		many->value_refs[i] = weakref_ref_new(value, NULL, NULL);
		SUPPORT_REQUIRE(many->ephemerons[i] != NULL && many->key_refs[i] != NULL && many->value_refs[i] != NULL);
	}
	return 0;
}

static struct many *many_made(size_t n, node *(*value)(node *, size_t, size_t, node *const *))
{
	struct many *many = many_new(n, value);

	ck_assert_int_eq(support_on_thread(make, many), 0);
	return many;
}

static void drop_keys(struct many *many, size_t from)
{
	for (size_t i = from; i < many->n; i++)
		SUPPORT_CLEAR(many->keys[i]);
}

static size_t dead(const struct many *many)
{
	size_t n = 0, wrong = 0;

	for (size_t i = 0; i < many->n; i++) {
		bool is_dead = weakref_ephemeron_is_dead(many->ephemerons[i]);
		wrong += is_dead != (weakref_ephemeron_key(many->ephemerons[i]) == NULL);
		wrong += is_dead != (weakref_ephemeron_value(many->ephemerons[i]) == NULL);
		n += is_dead;
	}
	ck_assert_uint_eq(wrong, 0);
	return n;
}

static node *value_plain(node *key, size_t i, size_t n, node *const *all)
{
	(void)key, (void)n, (void)all;
	return support_node_new(i);
}

static node *value_to_key(node *key, size_t i, size_t n, node *const *all)
{
	node *value = support_node_new(i);

	(void)n, (void)all;
	value->next = key;
	return value;
}

static node *value_is_key(node *key, size_t i, size_t n, node *const *all)
{
	(void)i, (void)n, (void)all;
	return key;
}

static node *value_to_next(node *key, size_t i, size_t n, node *const *all)
{
	node *value = support_node_new(i);

	(void)key;
	value->next = i + 1 < n ? all[i + 1] : NULL;
	return value;
}

static node *value_in_ring(node *key, size_t i, size_t n, node *const *all)
{
	node *value = support_node_new(i);

	(void)key;
	value->next = all[(i + n - 1) % n];
	return value;
}

/* What was put in is read, through collections, for as long as the key is held; the value is held by nothing else. */
START_TEST(test_value_lives_with_key)
{
	struct many *many = many_made(SUPPORT_N, value_plain);

	support_collect();
	ck_assert_uint_eq(dead(many), 0);
	for (size_t i = 0; i < many->n; i++) {
		void *key, *value;
		ck_assert_int_eq(weakref_ephemeron_get(many->ephemerons[i], &key, &value), 0);
		ck_assert_ptr_eq(key, many->keys[i]);
		ck_assert(support_node_intact(value));
		ck_assert_uint_eq(((node *)value)->id, i);
		ck_assert_ptr_eq(weakref_ref_get(many->value_refs[i]), value);
	}
	SUPPORT_KEEP(many);
}
END_TEST

static void check_all_die(struct many *many)
{
	drop_keys(many, 0);
	support_collect();
	ck_assert_uint_ge(dead(many), many->n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(many->key_refs, many->n), many->n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(many->value_refs, many->n), many->n - SUPPORT_SLACK);
	SUPPORT_KEEP(many);
}

/* A dead key takes the value along, though the ephemeron is held. */
START_TEST(test_dead_key_frees_value)
{
	check_all_die(many_made(SUPPORT_N, value_plain));
}
END_TEST

/* A value that leads to its own key, or is it, does not keep it. */
START_TEST(test_value_leads_to_key)
{
	check_all_die(many_made(SUPPORT_N, _i == 0 ? value_to_key : value_is_key));
}
END_TEST

/* D43: a chain of ephemerons, each one's value leading to the next one's key, lives by its first key, in one collection. */
START_TEST(test_D43_chain)
{
	struct many *many = many_made(support_scaled(20000, SUPPORT_N), value_to_next);

	drop_keys(many, 1);
	support_scrub();
	gc_collect();
	ck_assert_uint_eq(dead(many), 0);
	ck_assert_uint_eq(support_dead(many->value_refs, many->n), 0);
	drop_keys(many, 0);
	support_collect();
	/* A single stray pointer keeps all that is behind it. */
	ck_assert_uint_gt(dead(many), 0);
	SUPPORT_KEEP(many);
}
END_TEST

/* D43: a ring of ephemerons lives by any key of it, and goes whole. */
START_TEST(test_D43_ring)
{
	enum { RINGS = 64 };
	struct many *rings[RINGS];
	size_t left = 0;

	for (size_t i = 0; i < RINGS; i++) {
		rings[i] = many_made(20, value_in_ring);
		drop_keys(rings[i], 1);
	}
	support_collect();
	for (size_t i = 0; i < RINGS; i++) {
		ck_assert_uint_eq(dead(rings[i]), 0);
		drop_keys(rings[i], 0);
	}
	support_collect();
	for (size_t i = 0; i < RINGS; i++) {
		size_t gone = dead(rings[i]);
		ck_assert(gone == 0 || gone == 20);
		left += gone == 0;
	}
	ck_assert_uint_le(left, SUPPORT_SLACK);
}
END_TEST

static int make_and_drop(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		static node *key;
		node *value = support_node_new(i);
		if (key == NULL)
			key = support_node_new(0);
		SUPPORT_REQUIRE(weakref_ephemeron_new(key, value) != NULL);
		refs[i] = weakref_ref_new(value, NULL, NULL);
	}
	return 0;
}

/* An ephemeron that nobody holds keeps nothing, though its key lives. */
START_TEST(test_dropped_ephemeron_keeps_nothing)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);

	ck_assert_int_eq(support_on_thread(make_and_drop, refs), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

/* The value leads to the ephemeron: that does not keep it. */
static int make_selfish(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		node *key = support_node_new(i), *value = support_node_new(i);
		weakref_ephemeron *ephemeron = weakref_ephemeron_new(key, value);
		SUPPORT_REQUIRE(ephemeron != NULL);
		value->other = ephemeron;
		value->next = key;
		refs[i] = weakref_ref_new(ephemeron, NULL, NULL);
	}
	return 0;
}

START_TEST(test_value_does_not_keep_ephemeron)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);

	ck_assert_int_eq(support_on_thread(make_selfish, refs), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

/* Values may be anything of 64 bits, and come back bit for bit. */
START_TEST(test_any_value)
{
	static int fixed;
	node *key = support_node_new(0);
	void *values[] = {NULL, &fixed, (void *)1, (void *)UINTPTR_MAX, (void *)((uintptr_t)1 << 63), malloc(8), (char *)GC_MALLOC(40) + 3};

	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		weakref_ephemeron *ephemeron = weakref_ephemeron_new(key, values[i]);
		void *got_key, *value;
		ck_assert_ptr_nonnull(ephemeron);
		support_collect();
		ck_assert_int_eq(weakref_ephemeron_get(ephemeron, &got_key, &value), 0);
		ck_assert_ptr_eq(got_key, key);
		ck_assert_ptr_eq(value, values[i]);
		ck_assert(!weakref_ephemeron_is_dead(ephemeron));
	}
	free(values[5]);
	SUPPORT_KEEP(key);
}
END_TEST

static int make_foreign(void *arg)
{
	struct many *many = arg;

	for (size_t i = 0; i < many->n; i++) {
		/* Where the pointers are: into the blocks. */
		char **key = GC_MALLOC(48), **value = GC_MALLOC(48);
		SUPPORT_REQUIRE(key != NULL && value != NULL);
		value[0] = (char *)key;
		value[5] = (char *)support_node_new(i);
		many->keys[i] = (node *)key;
		many->value_refs[i] = weakref_ref_new(value[5], NULL, NULL);
		many->ephemerons[i] = weakref_ephemeron_new(key + i % 4, value + i % 3);
		SUPPORT_REQUIRE(many->ephemerons[i] != NULL);
	}
	return 0;
}

/* Blocks of GC_MALLOC are keys and values as well, by any address in them, the value leading to its key. */
START_TEST(test_foreign_keys_and_values)
{
	struct many *many = many_new(SUPPORT_N, NULL);

	ck_assert_int_eq(support_on_thread(make_foreign, many), 0);
	support_collect();
	ck_assert_uint_eq(dead(many), 0);
	for (size_t i = 0; i < many->n; i++) {
		ck_assert_ptr_eq(weakref_ephemeron_key(many->ephemerons[i]), (char **)many->keys[i] + i % 4);
		ck_assert(support_node_intact(weakref_ref_get(many->value_refs[i])));
	}
	drop_keys(many, 0);
	support_collect();
	ck_assert_uint_ge(dead(many), many->n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(many->value_refs, many->n), many->n - SUPPORT_SLACK);
	SUPPORT_KEEP(many);
}
END_TEST

/* A broken ephemeron reads NULL and holds nothing, though its key lives; the second time there is nothing to break. */
START_TEST(test_break)
{
	struct many *many = many_made(SUPPORT_N, value_plain);

	for (size_t i = 0; i < many->n; i++) {
		void *key = many, *value = many;
		ck_assert_int_eq(weakref_ephemeron_break(many->ephemerons[i]), 0);
		ck_assert_int_eq(weakref_ephemeron_break(many->ephemerons[i]), -WEAKREF_ESTALE);
		ck_assert_int_eq(weakref_ephemeron_get(many->ephemerons[i], &key, &value), -WEAKREF_ESTALE);
		ck_assert(key == many && value == many);
	}
	ck_assert_uint_eq(dead(many), many->n);
	support_collect();
	ck_assert_uint_eq(support_dead(many->key_refs, many->n), 0);
	ck_assert_uint_ge(support_dead(many->value_refs, many->n), many->n - SUPPORT_SLACK);
	SUPPORT_KEEP(many);
}
END_TEST

/* ---- other values ---- */

/* Sorts of values: a number; an object of ours; a block that is none, by its start, and by an address in it. */
enum { NUMBER, OURS, START, INSIDE, SORTS };

/* One of a sort that tells the key which it belongs to. What is on the heap is a node or leads to one, whose reference it has. */
static void *value_of(unsigned sort, node *key, weakref_ref **ref)
{
	if (sort == NUMBER)
		return (void *)(key->id << 3 | 1);
	node *value = support_node_new(key->id);
	value->next = key;
	value->other = weakref_ref_new(value, NULL, NULL);
	if (ref != NULL)
		*ref = value->other;
	if (sort == OURS)
		return value;
	void **block = GC_MALLOC(4 * sizeof *block);
	block[0] = value;
	return (char *)block + (sort == INSIDE ? 19 : 0);
}

static unsigned sort_of(void *value)
{
	unsigned low = (uintptr_t)value % 8;

	return low == 1 ? NUMBER : low == 3 ? INSIDE : GC_base(value) == value ? START : OURS;
}

/* Whether it is a value of this key, and was not found dead: what is in memory stays there for a while. */
static bool is_value(void *value, const node *key)
{
	unsigned sort = sort_of(value);

	if (sort == NUMBER)
		return (uintptr_t)value >> 3 == key->id;
	const node *of = sort == OURS ? value : *(void **)((char *)value - (sort == INSIDE ? 19 : 0));
	return support_node_intact(of) && of->id == key->id && of->next == key && weakref_ref_get(of->other) == of;
}

struct replacing {
	unsigned from, to;
	size_t n;
	node **keys;
	weakref_ephemeron **ephemerons;
	weakref_ref **old, **fresh;
};

static int replace_all(void *arg)
{
	struct replacing *r = arg;

	for (size_t i = 0; i < r->n; i++) {
		r->keys[i] = support_node_new(i);
		r->ephemerons[i] = weakref_ephemeron_new(r->keys[i], value_of(r->from, r->keys[i], &r->old[i]));
		SUPPORT_REQUIRE(r->ephemerons[i] != NULL);
		SUPPORT_REQUIRE(weakref_ephemeron_set_value(r->ephemerons[i], value_of(r->to, r->keys[i], &r->fresh[i])) == 0);
	}
	return 0;
}

/* R119: of each sort by each: the new value is read, and kept, and goes with the key; the old one goes at once. */
START_TEST(test_R119_another_value)
{
	struct replacing *r = gc_alloc(sizeof *r);

	*r = (struct replacing){.from = (unsigned)_i / SORTS, .to = (unsigned)_i % SORTS, .n = SUPPORT_N};
	r->keys = gc_alloc(r->n * sizeof(void *));
	r->ephemerons = gc_alloc(r->n * sizeof(void *));
	r->old = gc_alloc(r->n * sizeof(void *));
	r->fresh = gc_alloc(r->n * sizeof(void *));
	ck_assert_int_eq(support_on_thread(replace_all, r), 0);
	support_collect();
	for (size_t i = 0; i < r->n; i++) {
		void *key, *value;
		ck_assert_int_eq(weakref_ephemeron_get(r->ephemerons[i], &key, &value), 0);
		ck_assert_ptr_eq(key, r->keys[i]);
		ck_assert_uint_eq(sort_of(value), r->to);
		ck_assert(is_value(value, key));
	}
	if (r->from != NUMBER)
		ck_assert_uint_ge(support_dead(r->old, r->n), r->n - SUPPORT_SLACK);
	for (size_t i = 0; i < r->n; i++)
		SUPPORT_CLEAR(r->keys[i]);
	support_collect();
	if (r->to != NUMBER)
		ck_assert_uint_ge(support_dead(r->fresh, r->n), r->n - SUPPORT_SLACK);
	SUPPORT_KEEP(r);
}
END_TEST

/* R119: any 64 bits, which come back as they are. */
START_TEST(test_R119_any_value)
{
	static int fixed;
	node *key = support_node_new(0);
	void *values[] = {NULL, &fixed, (void *)1, (void *)UINTPTR_MAX, (void *)((uintptr_t)1 << 63),
			  key, (char *)GC_MALLOC(40) + 3, NULL};
	weakref_ephemeron *ephemeron = weakref_ephemeron_new(key, NULL);

	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		ck_assert_int_eq(weakref_ephemeron_set_value(ephemeron, values[i]), 0);
		support_collect();
		ck_assert_ptr_eq(weakref_ephemeron_value(ephemeron), values[i]);
		ck_assert_ptr_eq(weakref_ephemeron_key(ephemeron), key);
	}
	SUPPORT_KEEP(key);
}
END_TEST

/* The values are objects without a key that lives, handed to ephemerons that are dead, or broken. */
static int set_in_the_dead(void *arg)
{
	struct many *many = arg;

	for (size_t i = 0; i < many->n; i++) {
		node *value = support_node_new(i);
		many->value_refs[i] = weakref_ref_new(value, NULL, NULL);
		if (weakref_ephemeron_is_dead(many->ephemerons[i]))
			SUPPORT_REQUIRE(weakref_ephemeron_set_value(many->ephemerons[i], value) == -WEAKREF_ESTALE);
		SUPPORT_REQUIRE(weakref_ephemeron_key(many->ephemerons[i]) == many->keys[i]);
	}
	return 0;
}

/* R119: what is dead, by its key or by being broken, takes no value and keeps none. */
START_TEST(test_R119_dead_takes_none)
{
	struct many *many = many_made(SUPPORT_N, value_plain);

	if (_i == 0)
		for (size_t i = 0; i < many->n; i++)
			weakref_ephemeron_break(many->ephemerons[i]);
	drop_keys(many, 0);
	support_collect();
	for (size_t i = 0; i < many->n; i++)
		many->keys[i] = weakref_ephemeron_key(many->ephemerons[i]);
	ck_assert_uint_ge(dead(many), many->n - SUPPORT_SLACK);
	ck_assert_int_eq(support_on_thread(set_in_the_dead, many), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(many->value_refs, many->n), many->n - SUPPORT_SLACK);
	SUPPORT_KEEP(many);
}
END_TEST

struct rechained {
	struct many *chain, *other;
};

static int chain_anew(void *arg)
{
	struct rechained *r = arg;
	node *value = support_node_new(0);

	value->next = r->other->keys[0];
	SUPPORT_REQUIRE(weakref_ephemeron_set_value(r->chain->ephemerons[r->chain->n / 2], value) == 0);
	SUPPORT_CLEAR(r->other->keys[0]);
	return 0;
}

/* R119, D43: a chain that is led into another one at its middle: what was behind goes, what is now lives, by the first key. */
START_TEST(test_R119_chain)
{
	struct rechained *r = gc_alloc(sizeof *r);
	size_t half = SUPPORT_N * 4;

	*r = (struct rechained){many_made(2 * half, value_to_next), many_made(half, value_to_next)};
	ck_assert_int_eq(support_on_thread(chain_anew, r), 0);
	drop_keys(r->chain, 1);
	drop_keys(r->other, 0);
	support_collect();
	ck_assert_uint_eq(dead(r->other), 0);
	ck_assert_uint_eq(support_dead(r->other->value_refs, half), 0);
	ck_assert_uint_eq(support_dead(r->chain->value_refs, half), 0);
	/* A single stray pointer keeps all that is behind it. */
	ck_assert_uint_gt(dead(r->chain), 0);
	for (size_t i = 0; i <= half; i++)
		ck_assert(!weakref_ephemeron_is_dead(r->chain->ephemerons[i]));
	SUPPORT_KEEP(r);
}
END_TEST

static int set_unknown(void *ephemeron)
{
	return -weakref_ephemeron_set_value(ephemeron, NULL);
}

START_TEST(test_R119_unknown_thread)
{
	node *key = support_node_new(0);
	weakref_ephemeron *ephemeron = weakref_ephemeron_new(key, key);

	ck_assert_int_eq(rawthread_run(set_unknown, ephemeron), WEAKREF_EPERM);
	ck_assert_ptr_eq(weakref_ephemeron_value(ephemeron), key);
	SUPPORT_KEEP(ephemeron);
}
END_TEST

struct writers {
	weakref_ephemeron **ephemerons;
	node **keys;
	size_t n;
	unsigned role;
	_Atomic unsigned *wrong;
	_Atomic bool *stop;
};

/* 0 collects; 1 reads; 2 and 3 write, and 3 breaks now and then. */
static int write_values(void *arg)
{
	struct writers *w = arg;
	uint64_t seed = support_seed() + w->role;

	for (int i = 0; w->role == 0 && i < 60; i++)
		gc_collect();
	*w->stop |= w->role == 0;
	while (!*w->stop) {
		size_t i = support_random(&seed) % w->n;
		weakref_ephemeron *ephemeron = ((weakref_ephemeron *volatile *)w->ephemerons)[i];
		void *key, *value;
		int result = 0;
		if (w->role == 1 && (result = weakref_ephemeron_get(ephemeron, &key, &value)) == 0)
			*w->wrong += key != w->keys[i] || !is_value(value, key);
		else if (w->role == 3 && support_random(&seed) % 64 == 0)
			result = weakref_ephemeron_break(ephemeron);
		else if (w->role > 1)
			result = weakref_ephemeron_set_value(ephemeron, value_of(support_random(&seed) % SORTS, w->keys[i], NULL));
		*w->wrong += result != 0 && result != -WEAKREF_ESTALE;
		if (w->role == 3 && weakref_ephemeron_is_dead(ephemeron)) {
			*w->wrong += weakref_ephemeron_value(ephemeron) != NULL;
			((weakref_ephemeron *volatile *)w->ephemerons)[i] =
				weakref_ephemeron_new(w->keys[i], value_of(OURS, w->keys[i], NULL));
		}
	}
	return 0;
}

static struct writers *writers_new(unsigned n)
{
	static _Atomic unsigned wrong;
	static _Atomic bool stop;
	struct writers *writers = gc_alloc(n * sizeof *writers);

	wrong = 0;
	stop = false;
	/* So few that two threads are at one of them all the time. */
	*writers = (struct writers){.n = 2, .wrong = &wrong, .stop = &stop};
	writers->keys = gc_alloc(writers->n * sizeof(void *));
	writers->ephemerons = gc_alloc(writers->n * sizeof(void *));
	for (size_t i = 0; i < writers->n; i++) {
		writers->keys[i] = support_node_new(i);
		writers->ephemerons[i] = weakref_ephemeron_new(writers->keys[i], value_of(OURS, writers->keys[i], NULL));
	}
	for (unsigned i = 1; i < n; i++) {
		writers[i] = writers[0];
		writers[i].role = i;
	}
	return writers;
}

/* R119: two threads replace values of all sorts, one of them breaks, another reads, another collects: what is read is whole. */
START_TEST(test_R119_threads)
{
	struct writers *writers = writers_new(4);

	ck_assert_uint_eq(support_threads(4, write_values, writers, sizeof *writers), 0);
	ck_assert_uint_eq(*writers->wrong, 0);
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
	for (size_t i = 0; i < writers->n; i++)
		ck_assert_int_eq(weakref_ephemeron_set_value(writers->ephemerons[i], writers->keys[i]), 0);
	SUPPORT_KEEP(writers);
}
END_TEST

struct meeting {
	node *key;
	weakref_ephemeron *ephemeron;
	_Atomic unsigned *here; /* how often one of the two came to where they wait for each other */
	unsigned role, times;
	uint64_t seed;
};

static void meet(struct meeting *m)
{
	unsigned looks = 0;

	++*m->here;
	m->times += 2;
	while (*m->here < m->times)
		if (++looks % 1024 == 0)
			sched_yield();
}

/* Some of eight values one after the other, so that now the one ends first, now the other, and now both at once. */
static int set_at_once(void *arg)
{
	struct meeting *m = arg;
	void *values[8];

	for (int i = 0; i < 8; i++)
		values[i] = value_of(support_random(&m->seed) % SORTS, m->key, NULL);
	uint64_t from = support_random(&m->seed) % 8;
	meet(m);
	for (uint64_t i = from; i < 8; i++)
		SUPPORT_REQUIRE(weakref_ephemeron_set_value(m->ephemeron, values[i]) == 0);
	return 0;
}

static int meet_and_set(void *arg)
{
	struct meeting *m = arg;

	for (size_t i = support_scaled(500, 10); i > 0; i--) {
		SUPPORT_REQUIRE(support_in_frame(set_at_once, m) == 0);
		meet(m);
		if (m->role == 0) {
			gc_collect();
			SUPPORT_REQUIRE(is_value(weakref_ephemeron_value(m->ephemeron), m->key));
		}
		meet(m);
	}
	return 0;
}

/* R119: where two threads replace the value at once, the collection after that finds one of theirs, and keeps it. */
START_TEST(test_R119_at_once)
{
	static _Atomic unsigned here;
	struct meeting *m = gc_alloc(2 * sizeof *m);

	here = 0;
	m[0] = (struct meeting){.key = support_node_new(5), .here = &here, .seed = support_seed()};
	m[0].ephemeron = weakref_ephemeron_new(m[0].key, NULL);
	m[1] = m[0];
	m[1].role = 1;
	m[1].seed++;
	ck_assert_uint_eq(support_threads(2, meet_and_set, m, sizeof *m), 0);
	SUPPORT_KEEP(m);
}
END_TEST

/* In the child all of them are whole, and can be written. */
static int child_writes(void *arg)
{
	struct writers *w = arg;

	gc_collect();
	for (size_t i = 0; i < w->n; i++) {
		void *key, *value;
		if (weakref_ephemeron_get(w->ephemerons[i], &key, &value) < 0)
			continue;
		SUPPORT_REQUIRE(key == w->keys[i] && is_value(value, key));
		SUPPORT_REQUIRE(weakref_ephemeron_set_value(w->ephemerons[i], value_of(START, key, NULL)) == 0);
		gc_collect();
		SUPPORT_REQUIRE(is_value(weakref_ephemeron_value(w->ephemerons[i]), key));
	}
	return 0;
}

/* As write_values, but that role 0 forks instead. */
static int write_and_fork(void *arg)
{
	struct writers *w = arg;
	int failed = 0;

	if (w->role != 0)
		return write_values(w);
	for (int i = 0; i < 10; i++)
		failed |= support_in_child(child_writes, w);
	*w->stop = true;
	return failed;
}

/* R119: a fork amid writers leaves no half value and no lock in the child. */
START_TEST(test_R119_fork)
{
	struct writers *writers = writers_new(4);

	ck_assert_uint_eq(support_threads(4, write_and_fork, writers, sizeof *writers), 0);
	ck_assert_uint_eq(*writers->wrong, 0);
	SUPPORT_KEEP(writers);
}
END_TEST

START_TEST(test_wrong_arguments)
{
	static int fixed;
	node *key = support_node_new(0);
	char *odd = (char *)key + 1;
	void *wrong[] = {NULL, &fixed, odd, &key};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		errno = 0;
		ck_assert_ptr_null(weakref_ephemeron_new(wrong[i], key));
		ck_assert_int_eq(errno, EINVAL);
	}
	weakref_ephemeron *others[] = {NULL, (weakref_ephemeron *)weakref_valuedict_new(WEAKREF_KEY_INT), (weakref_ephemeron *)odd};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		ck_assert_int_eq(weakref_ephemeron_get(others[i], NULL, NULL), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_ephemeron_break(others[i]), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_ephemeron_set_value(others[i], key), -WEAKREF_EINVAL);
		ck_assert_ptr_null(weakref_ephemeron_key(others[i]));
		ck_assert_ptr_null(weakref_ephemeron_value(others[i]));
		ck_assert(weakref_ephemeron_is_dead(others[i]));
	}
	SUPPORT_KEEP(key);
}
END_TEST

/* ---- finalizers ---- */

static unsigned finalized, shown, intact;

static int destroy(void *obj)
{
	weakref_ephemeron *ephemeron = *(weakref_ephemeron **)obj;
	void *key, *value;

	finalized++;
	if (weakref_ephemeron_get(ephemeron, &key, &value) == 0) {
		shown++;
		intact += support_node_intact(key) && support_node_intact(value);
	}
	return 0;
}

static const gc_type holder_type = {.name = "holder", .size = sizeof(weakref_ephemeron *), .destroy = destroy};

static int make_holders(void *arg)
{
	node *key = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_ephemeron **holder = gc_new(&holder_type);
		SUPPORT_REQUIRE(holder != NULL);
		*holder = weakref_ephemeron_new(i % 2 == 0 ? key : support_node_new(i), i % 4 < 2 ? key : support_node_new(i));
		SUPPORT_REQUIRE(*holder != NULL);
	}
	return 0;
}

/* An ephemeron that only a dying object holds shows its destructor what lives otherwise, and no dead pointer. */
START_TEST(test_in_a_destructor)
{
	node *key = support_node_new(0);

	finalized = shown = intact = 0;
	ck_assert_int_eq(support_on_thread(make_holders, key), 0);
	support_collect();
	gc_run_callbacks();
	ck_assert_uint_ge(finalized, SUPPORT_N - SUPPORT_SLACK);
	/* Those whose key and value are both alive; a stack may keep some of either. */
	ck_assert_uint_ge(shown, SUPPORT_N / 4 - SUPPORT_SLACK);
	ck_assert_uint_le(shown, SUPPORT_N / 4 + 2 * SUPPORT_SLACK);
	ck_assert_uint_eq(shown, intact);
	SUPPORT_KEEP(key);
}
END_TEST

/* ---- threads ---- */

struct traffic {
	struct many *many;
	unsigned role;
	_Atomic unsigned *wrong;
	_Atomic bool *stop;
};

static int traffic_run(void *arg)
{
	struct traffic *t = arg;
	uint64_t seed = support_seed() + t->role;

	if (t->role == 0) {
		for (int i = 0; i < 30; i++)
			gc_collect();
		*t->stop = true;
		return 0;
	}
	while (!*t->stop) {
		size_t i = support_random(&seed) % t->many->n;
		void *key, *value;
		int result = weakref_ephemeron_get(((weakref_ephemeron *volatile *)t->many->ephemerons)[i], &key, &value);
		if (result == 0 && (!support_node_intact(key) || !support_node_intact(value) || ((node *)value)->next != key))
			++*t->wrong;
		if (t->role == 1 && support_random(&seed) % 2 == 0) {
			node *fresh = support_node_new(i), *of = support_node_new(i);
			of->next = fresh;
			((weakref_ephemeron *volatile *)t->many->ephemerons)[i] = weakref_ephemeron_new(fresh, of);
			((node *volatile *)t->many->keys)[i] = support_random(&seed) % 2 == 0 ? fresh : NULL;
		}
	}
	return 0;
}

/* Read by two threads, made and dropped by one, while another collects: never a dead pointer, never half a pair. */
START_TEST(test_threads)
{
	struct many *many = many_made(200, value_to_key);
	struct traffic *traffic = gc_alloc(4 * sizeof *traffic);
	static _Atomic unsigned wrong;
	static _Atomic bool stop;

	wrong = 0;
	stop = false;
	for (unsigned i = 0; i < 4; i++)
		traffic[i] = (struct traffic){many, i, &wrong, &stop};
	ck_assert_uint_eq(support_threads(4, traffic_run, traffic, sizeof *traffic), 0);
	ck_assert_uint_eq(wrong, 0);
	SUPPORT_KEEP(many);
}
END_TEST

/* ---- failing allocations ---- */

/* The 1st, 2nd, 3rd … allocation of the constructor fails: NULL and ENOMEM, or a whole ephemeron. */
START_TEST(test_allocation_failures)
{
	node *key = support_node_new(1), *value = support_node_new(2);
	weakref_ephemeron *ephemeron = NULL;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	for (unsigned long nth = 1; ephemeron == NULL; nth++) {
		ck_assert_uint_lt(nth, 20);
		weakref_checks_fail_allocation(nth);
		errno = 0;
		ephemeron = weakref_ephemeron_new(key, value);
		weakref_checks_fail_allocation(0);
		if (ephemeron == NULL)
			ck_assert_int_eq(errno, ENOMEM);
	}
	ck_assert_ptr_eq(weakref_ephemeron_value(ephemeron), value);
	ck_assert_int_ge(weakref_checks_validate(), 0);
	SUPPORT_KEEP(key);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("ephemeron");
	TCase *t = support_tcase("ephemeron");

	tcase_add_test(t, test_value_lives_with_key);
	tcase_add_test(t, test_dead_key_frees_value);
	tcase_add_loop_test(t, test_value_leads_to_key, 0, 2);
	tcase_add_test(t, test_D43_chain);
	tcase_add_test(t, test_D43_ring);
	tcase_add_test(t, test_dropped_ephemeron_keeps_nothing);
	tcase_add_test(t, test_value_does_not_keep_ephemeron);
	tcase_add_test(t, test_any_value);
	tcase_add_test(t, test_foreign_keys_and_values);
	tcase_add_test(t, test_break);
	tcase_add_loop_test(t, test_R119_another_value, 0, SORTS * SORTS);
	tcase_add_test(t, test_R119_any_value);
	tcase_add_loop_test(t, test_R119_dead_takes_none, 0, 2);
	tcase_add_test(t, test_R119_chain);
	tcase_add_test(t, test_R119_unknown_thread);
	tcase_add_test(t, test_R119_threads);
	tcase_add_test(t, test_R119_at_once);
	tcase_add_test(t, test_R119_fork);
	tcase_add_test(t, test_wrong_arguments);
	tcase_add_test(t, test_in_a_destructor);
	tcase_add_test(t, test_threads);
	tcase_add_test(t, test_allocation_failures);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

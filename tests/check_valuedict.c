/* SPDX-License-Identifier: MIT */
/*
 * check_valuedict: the contract of weakref/valuedict.h, over all kinds of key, by public headers alone.
 *
 * Names of tests carry the behaviour's id in the conformance list (D01 …) or the rule in doc/semantics.md (R34 …). Most run
 * once for each kind of key (_i). Values are nodes whose id is their key's number, so that a wrong or reclaimed value shows.
 * All objects are made and looked at in support_on_thread, whose stack goes away; what is to live stands in an array of the
 * heap that the test holds.
 *
 * Absent: threads at work on one dictionary (check_threads.c, stress.c), collections at bad moments (check_cycle.c), long
 * random sequences (model_valuedict.c).
 */
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "model_valuedict.h"
#include "weakref/checks.h"
#include "weakref/proxy.h"

#define N ((size_t)128)

/* The kinds to go through: all, or one that the seed picks where every call collects. */
static int first_kind(void)
{
	return support_scaled(1000, 1) == 1000 ? 0 : (int)(support_seed() % KEYS_KINDS);
}

static int end_kind(void)
{
	return support_scaled(1000, 1) == 1000 ? KEYS_KINDS : first_kind() + 1;
}

/* ---- a dictionary under test --------------------------------------------------------------------------------------------- */

/* What a test works on; on the test's stack, so that the collector sees it. */
struct fixture {
	weakref_valuedict *dict;
	enum weakref_key_kind kind;
	/* Numbers from `from` up to `n`; `strong[i]` holds value i where the test holds it at all. */
	size_t from, n;
	struct support_node **strong;
	/* Hold every value whose number is a multiple; 0 for none. */
	size_t keep;
	/* Results of looking. */
	size_t found, held;
	long length;
};

static bool keeps(const struct fixture *f, size_t i)
{
	return f->keep != 0 && i % f->keep == 0;
}

static int fill(void *arg)
{
	struct fixture *f = arg;
	struct keys_room room;

	for (size_t i = f->from; i < f->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, keys_store(f->kind, i, &room), node) == 0);
		f->strong[i] = keeps(f, i) ? node : NULL;
	}
	return 0;
}

/* Looks every number up in every way. Those held must be there; found counts all that are; all ways must agree. */
static int look(void *arg)
{
	struct fixture *f = arg;
	struct keys_room room;
	static int none;

	f->found = f->held = 0;
	for (size_t i = 0; i < f->n; i++) {
		const void *key = keys_find(f->kind, i, &room);
		struct support_node *node = weakref_valuedict_get(f->dict, key);
		void *again = &none;
		int rc = weakref_valuedict_lookup(f->dict, key, &again);

		SUPPORT_REQUIRE(weakref_valuedict_contains(f->dict, key) == (node != NULL));
		SUPPORT_REQUIRE(again == node);
		SUPPORT_REQUIRE(node != NULL ? rc == 0 : rc == -WEAKREF_ENOENT || rc == -WEAKREF_ESTALE);
		SUPPORT_REQUIRE(weakref_valuedict_get_or(f->dict, key, &none) == (node != NULL ? (void *)node : &none));
		if (f->strong[i] != NULL) {
			SUPPORT_REQUIRE(node == f->strong[i]);
			f->held++;
		}
		if (node != NULL) {
			SUPPORT_REQUIRE(support_node_intact(node) && node->id == i);
			f->found++;
		}
	}
	f->length = (long)weakref_valuedict_len(f->dict);
	return 0;
}

static struct fixture fixture_new(int kind, size_t n, size_t keep)
{
	struct fixture f = {.kind = (enum weakref_key_kind)kind, .n = n, .keep = keep};

	f.dict = keys_dict(f.kind);
	f.strong = gc_alloc(n * sizeof(*f.strong));
	ck_assert_ptr_nonnull(f.dict);
	ck_assert_ptr_nonnull(f.strong);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	return f;
}

/* After a collection: `live` numbers are there, besides at most the slack; len agrees with what is found. */
static void expect(struct fixture *f, size_t live)
{
	ck_assert_int_eq(support_on_thread(look, f), 0);
	ck_assert_uint_ge(f->found, live);
	ck_assert_uint_le(f->found, live + SUPPORT_SLACK);
	ck_assert_int_eq(f->length, (long)f->found);
}

static void drop(struct fixture *f, size_t i)
{
	SUPPORT_CLEAR(f->strong[i]);
}

static void drop_all(struct fixture *f)
{
	for (size_t i = 0; i < f->n; i++)
		drop(f, i);
}

/* ---- walking ------------------------------------------------------------------------------------------------------------- */

struct walk {
	weakref_valuedict_iter *iter;
	enum weakref_key_kind kind;
	size_t n, steps;
	/* From malloc: how often each number was met. */
	unsigned char *seen;
	bool values;
	size_t count;
	bool ended;
};

static int walk(void *arg)
{
	struct walk *w = arg;

	for (size_t i = 0; i < w->steps; i++) {
		const void *key = &walk;
		struct support_node *node = NULL;
		int rc = weakref_valuedict_iter_next(w->iter, &key, w->values ? (void **)&node : NULL);
		size_t number;

		SUPPORT_REQUIRE(rc == 0 || rc == 1);
		if (rc == 0) {
			w->ended = true;
			break;
		}
		number = keys_number(w->kind, key);
		SUPPORT_REQUIRE(number < w->n);
		if (w->values)
			SUPPORT_REQUIRE(support_node_intact(node) && node->id == number);
		w->seen[number]++;
		w->count++;
	}
	return 0;
}

static struct walk walk_new(struct fixture *f, bool values)
{
	struct walk w = {.kind = f->kind, .n = f->n, .values = values};

	w.iter = weakref_valuedict_iter_new(f->dict);
	ck_assert_ptr_nonnull(w.iter);
	w.seen = calloc(f->n, 1);
	ck_assert_ptr_nonnull(w.seen);
	return w;
}

static void walk_on(struct walk *w, size_t steps)
{
	w->steps = steps;
	ck_assert_int_eq(support_on_thread(walk, w), 0);
}

/* Steps to the end; nothing may have been met twice. */
static void walk_end(struct walk *w)
{
	walk_on(w, w->n + 1);
	ck_assert(w->ended);
	for (size_t i = 0; i < w->n; i++)
		ck_assert_uint_le(w->seen[i], 1);
}

static void walk_free(struct walk *w)
{
	free(w->seen);
	SUPPORT_CLEAR(w->iter);
}

/* ---- basics -------------------------------------------------------------------------------------------------------------- */

static int refs_of_values(void *arg)
{
	struct fixture *f = arg;
	size_t n = 0, m = 0;
	weakref_ref **refs, **again;

	for (size_t i = 0; i < f->n; i++)
		SUPPORT_REQUIRE(weakref_getweakrefcount(f->strong[i]) == 0);
	refs = weakref_valuedict_valuerefs(f->dict, &n);
	again = weakref_valuedict_valuerefs(f->dict, &m);
	SUPPORT_REQUIRE(refs != NULL && again != NULL && refs != again && n == f->n && m == n);
	for (size_t i = 0; i < n; i++) {
		struct support_node *node = weakref_ref_get(refs[i]);
		size_t same = 0;

		SUPPORT_REQUIRE(support_node_intact(node) && node == f->strong[node->id]);
		SUPPORT_REQUIRE(weakref_getweakrefcount(node) == 1);
		SUPPORT_REQUIRE(weakref_ref_new(node, NULL, NULL) == refs[i]);
		for (size_t j = 0; j < m; j++)
			same += again[j] == refs[i];
		SUPPORT_REQUIRE(same == 1);
	}
	return 0;
}

/* D01: what was stored is what is read, each time; a value is in the dictionary once, its own count of references is untouched
 * (R39), and
 * valuerefs gives one shared reference for each. */
START_TEST(test_D01_set_get)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct walk w = walk_new(&f, true);

	expect(&f, N);
	expect(&f, N);
	ck_assert_uint_eq(f.held, N);
	walk_end(&w);
	ck_assert_uint_eq(w.count, N);
	ck_assert_int_eq(support_on_thread(refs_of_values, &f), 0);
	walk_free(&w);
}
END_TEST

/* D02: a value dies: get and lookup miss, contains is false, len drops; the others are untouched. */
START_TEST(test_D02_value_dies)
{
	struct fixture f = fixture_new(_i, N, 2);

	ck_assert_uint_eq(weakref_valuedict_len(f.dict) <= N, 1);
	support_collect();
	expect(&f, N / 2);
	ck_assert_uint_eq(f.held, N / 2);
	drop_all(&f);
	support_collect();
	expect(&f, 0);
}
END_TEST

static int foreign_fill(void *arg)
{
	struct fixture *f = arg;
	struct keys_room room;

	for (size_t i = 0; i < f->n; i++) {
		struct support_node *block;

		switch (i % 4) {
		case 0:
			block = GC_MALLOC(sizeof(*block));
			break;
		case 1:
			block = GC_MALLOC_ATOMIC(sizeof(*block));
			break;
		case 2:
			block = gc_alloc(sizeof(*block) + 3000);
			break;
		default:
			block = gc_alloc_leaf(sizeof(*block) + 70000);
			break;
		}
		SUPPORT_REQUIRE(block != NULL);
		block->id = i;
		block->signature = support_node_new(i)->signature;
		SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, keys_store(f->kind, i, &room), block) == 0);
		if (keeps(f, i / 4))
			f->strong[i] = block;
	}
	return 0;
}

/* D01 D02 R2: any block of the heap is a value, small, large, scanned or not. */
START_TEST(test_D02_foreign_values)
{
	struct fixture f = {.dict = weakref_valuedict_new(WEAKREF_KEY_INT), .kind = WEAKREF_KEY_INT, .n = 2 * N, .keep = 2};

	f.strong = gc_alloc(f.n * sizeof(*f.strong));
	ck_assert_int_eq(support_on_thread(foreign_fill, &f), 0);
	support_collect();
	ck_assert_int_eq(support_on_thread(look, &f), 0);
	ck_assert_uint_eq(f.held, N);
	ck_assert_uint_ge(f.found, N);
	/* Large blocks are hit by stray words more often. */
	ck_assert_uint_le(f.found, N + 2 * SUPPORT_SLACK);
}
END_TEST

static int inner_fill(void *arg)
{
	struct fixture *f = arg;

	for (size_t i = 0; i < f->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, WEAKREF_INT(i), &node->other) == 0);
		if (keeps(f, i))
			f->strong[i] = node;
	}
	return 0;
}

static int inner_look(void *arg)
{
	struct fixture *f = arg;

	f->found = 0;
	for (size_t i = 0; i < f->n; i++) {
		char *inner = weakref_valuedict_get(f->dict, WEAKREF_INT(i));

		if (f->strong[i] != NULL)
			SUPPORT_REQUIRE(inner == (char *)&f->strong[i]->other);
		if (inner != NULL) {
			struct support_node *node = (void *)(inner - offsetof(struct support_node, other));

			SUPPORT_REQUIRE(support_node_intact(node) && node->id == i);
			f->found++;
		}
	}
	return 0;
}

/* R3: a value that points into a block watches the block, and is given back as it was. */
START_TEST(test_R03_inner_pointer)
{
	struct fixture f = {.dict = weakref_valuedict_new(WEAKREF_KEY_INT), .n = N, .keep = 2};

	f.strong = gc_alloc(f.n * sizeof(*f.strong));
	ck_assert_int_eq(support_on_thread(inner_fill, &f), 0);
	support_collect();
	ck_assert_int_eq(support_on_thread(inner_look, &f), 0);
	ck_assert_uint_ge(f.found, N / 2);
	ck_assert_uint_le(f.found, N / 2 + SUPPORT_SLACK);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), f.found);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* D05: what is absent is an error for delete, pop and lookup, NULL or the default for get; also in an empty dictionary. */
START_TEST(test_D05_absent_key)
{
	struct fixture f = fixture_new(_i, N, 1);
	weakref_valuedict *empty = keys_dict(f.kind);
	struct keys_room room;
	void *value = &f;
	int fallback;

	for (int round = 0; round < 2; round++) {
		weakref_valuedict *dict = round ? empty : f.dict;
		const void *key = keys_find(f.kind, N + 7, &room);

		ck_assert_int_eq(weakref_valuedict_delete(dict, key), -WEAKREF_ENOENT);
		ck_assert_int_eq(weakref_valuedict_pop(dict, key, &value), -WEAKREF_ENOENT);
		ck_assert_int_eq(weakref_valuedict_lookup(dict, key, &value), -WEAKREF_ENOENT);
		ck_assert_ptr_null(value);
		ck_assert_int_eq(weakref_valuedict_lookup(dict, key, NULL), -WEAKREF_ENOENT);
		ck_assert_int_eq(weakref_valuedict_contains(dict, key), 0);
		ck_assert_ptr_null(weakref_valuedict_get(dict, key));
		ck_assert_ptr_eq(weakref_valuedict_get_or(dict, key, &fallback), &fallback);
		ck_assert_ptr_eq(weakref_valuedict_pop_or(dict, key, &fallback), &fallback);
		ck_assert_ptr_null(weakref_valuedict_pop_or(dict, key, NULL));
	}
	ck_assert_uint_eq(weakref_valuedict_len(empty), 0);
	expect(&f, N);
}
END_TEST

/* D06: delete takes exactly its entry. */
START_TEST(test_D06_delete)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct keys_room room;
	size_t left = N;

	for (size_t i = 0; i < N; i += 3, left--) {
		ck_assert_int_eq(weakref_valuedict_delete(f.dict, keys_find(f.kind, i, &room)), 0);
		ck_assert_int_eq(weakref_valuedict_delete(f.dict, keys_find(f.kind, i, &room)), -WEAKREF_ENOENT);
		ck_assert_uint_eq(weakref_valuedict_len(f.dict), left - 1);
	}
	for (size_t i = 0; i < N; i++) {
		ck_assert_int_eq(weakref_valuedict_contains(f.dict, keys_find(f.kind, i, &room)), i % 3 != 0);
		if (i % 3 == 0)
			drop(&f, i);
	}
	expect(&f, left);
	/* And back in again. */
	f.from = 0;
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	expect(&f, N);
}
END_TEST

static int arrays_agree(void *arg)
{
	struct fixture *f = arg;
	size_t ni = 0, nk = 0, nv = 0;
	weakref_pair *items = weakref_valuedict_items(f->dict, &ni);
	const void **keys = weakref_valuedict_keys(f->dict, &nk);
	struct support_node **values = (struct support_node **)weakref_valuedict_values(f->dict, &nv);
	unsigned char *seen = calloc(f->n, 1);

	SUPPORT_REQUIRE(seen != NULL && items != NULL && keys != NULL && values != NULL);
	SUPPORT_REQUIRE(ni == weakref_valuedict_len(f->dict) && nk == ni && nv == ni);
	for (size_t i = 0; i < ni; i++) {
		size_t number = keys_number(f->kind, items[i].key);
		struct support_node *node = items[i].value;

		SUPPORT_REQUIRE(number < f->n && support_node_intact(node) && node->id == number);
		SUPPORT_REQUIRE(f->strong[number] == NULL || f->strong[number] == node);
		seen[number] |= (seen[number] & 1) ? 0x80 : 1;
		number = keys_number(f->kind, keys[i]);
		SUPPORT_REQUIRE(number < f->n);
		seen[number] |= (seen[number] & 2) ? 0x80 : 2;
		SUPPORT_REQUIRE(support_node_intact(values[i]) && values[i]->id < f->n);
		seen[values[i]->id] |= (seen[values[i]->id] & 4) ? 0x80 : 4;
	}
	for (size_t i = 0; i < f->n; i++)
		SUPPORT_REQUIRE(f->strong[i] != NULL ? seen[i] == 7 : seen[i] == 7 || seen[i] == 0);
	free(seen);
	return 0;
}

/* D07: iterators and the arrays of items, keys and values show each live entry once; none for an empty dictionary. */
START_TEST(test_D07_iterators)
{
	struct fixture f = fixture_new(_i, N, 2);
	struct walk w, k;
	size_t n = 7;

	support_collect();
	w = walk_new(&f, true);
	k = walk_new(&f, false);
	walk_end(&w);
	walk_end(&k);
	ck_assert_uint_eq(w.count, weakref_valuedict_len(f.dict));
	ck_assert_uint_eq(k.count, w.count);
	for (size_t i = 0; i < N; i += 2)
		ck_assert(w.seen[i] == 1 && k.seen[i] == 1);
	/* At the end it stays at the end. */
	ck_assert_int_eq(weakref_valuedict_iter_next(w.iter, NULL, NULL), 0);
	ck_assert_int_eq(weakref_valuedict_iter_next(w.iter, NULL, NULL), 0);
	ck_assert_int_eq(support_on_thread(arrays_agree, &f), 0);
	walk_free(&w);
	walk_free(&k);

	f.dict = keys_dict(f.kind);
	ck_assert_ptr_nonnull(weakref_valuedict_items(f.dict, &n));
	ck_assert_uint_eq(n, 0);
	n = 7;
	ck_assert_ptr_nonnull(weakref_valuedict_keys(f.dict, &n));
	ck_assert_uint_eq(n, 0);
	n = 7;
	ck_assert_ptr_nonnull(weakref_valuedict_values(f.dict, &n));
	ck_assert_uint_eq(n, 0);
	n = 7;
	ck_assert_ptr_nonnull(weakref_valuedict_valuerefs(f.dict, &n));
	ck_assert_uint_eq(n, 0);
}
END_TEST

struct refs_held {
	struct fixture *f;
	weakref_ref **refs;
	size_t n;
};

static int take_refs(void *arg)
{
	struct refs_held *h = arg;

	h->refs = weakref_valuedict_valuerefs(h->f->dict, &h->n);
	SUPPORT_REQUIRE(h->refs != NULL);
	for (size_t i = 0; i < h->n; i++) {
		struct support_node *node = weakref_ref_get(h->refs[i]);

		SUPPORT_REQUIRE(support_node_intact(node) && node->id < h->f->n);
	}
	return 0;
}

/* D08: valuerefs gives one reference for each entry, to its value, and holds no value: they die with the entries. */
START_TEST(test_D08_valuerefs)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct refs_held h = {.f = &f};

	ck_assert_int_eq(support_on_thread(take_refs, &h), 0);
	ck_assert_uint_eq(h.n, N);
	for (size_t i = 0; i < N; i += 2)
		drop(&f, i);
	support_collect();
	expect(&f, N / 2);
	ck_assert_uint_eq(support_dead(h.refs, N), N - f.found);
}
END_TEST

/* ---- dying and changing under iterators ---------------------------------------------------------------------------------- */

/* D10: values die while an iterator is open: it goes on, meets each survivor once and no dead one; len is right at once. */
START_TEST(test_D10_die_while_iterating)
{
	for (int values = 0; values < 2; values++) {
		struct fixture f = fixture_new(_i, N, 1);
		struct walk w = walk_new(&f, values);

		walk_on(&w, N / 4);
		ck_assert_uint_eq(w.count, N / 4);
		for (size_t i = 0; i < N; i++)
			if (i % 2 == 1)
				drop(&f, i);
		support_collect();
		/* The iterator itself may hold the last value that it gave. */
		ck_assert_uint_le(weakref_valuedict_len(f.dict), N / 2 + SUPPORT_SLACK + 1);
		walk_end(&w);
		for (size_t i = 0; i < N; i += 2)
			ck_assert_uint_eq(w.seen[i], 1);
		ck_assert_uint_le(w.count, N / 2 + N / 4 + SUPPORT_SLACK);
		walk_free(&w);
		support_collect();
		expect(&f, N / 2);
	}
}
END_TEST

/* D10: one value dies while an iterator is open, for each place where the iterator can be. Exact in what lives. */
START_TEST(test_D10_one_dies_anywhere)
{
	size_t n = 10, still = 0;

	for (size_t at = 0; at <= n; at++) {
		struct fixture f = fixture_new(_i, n, 1);
		struct walk w = walk_new(&f, false);

		walk_on(&w, at);
		drop(&f, at % n);
		support_collect();
		walk_end(&w);
		for (size_t i = 0; i < n; i++)
			if (i != at % n)
				ck_assert_uint_eq(w.seen[i], 1);
		still += weakref_valuedict_len(f.dict) - (n - 1);
		walk_free(&w);
	}
	ck_assert_uint_le(still, SUPPORT_SLACK);
}
END_TEST

/* D13: update from a copy, and clear, while an iterator is open and values have died unpurged: as if purged. */
START_TEST(test_D13_update_and_clear_while_iterating)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct walk w = walk_new(&f, false);
	weakref_valuedict *copy;

	walk_on(&w, 5);
	for (size_t i = 0; i < N; i += 2)
		drop(&f, i);
	support_scrub();
	GC_gcollect();
	GC_gcollect();
	copy = weakref_valuedict_copy(f.dict);
	ck_assert_ptr_nonnull(copy);
	ck_assert_uint_eq(weakref_valuedict_len(copy), weakref_valuedict_len(f.dict));
	ck_assert_int_eq(weakref_valuedict_update(f.dict, copy), 0);
	expect(&f, N / 2);
	walk_end(&w);
	for (size_t i = 1; i < N; i += 2)
		ck_assert_uint_eq(w.seen[i], 1);
	walk_free(&w);

	w = walk_new(&f, false);
	walk_on(&w, 5);
	drop(&f, 1);
	drop(&f, 3);
	GC_gcollect();
	ck_assert_int_eq(weakref_valuedict_clear(f.dict), 0);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), 0);
	ck_assert_int_eq(weakref_valuedict_iter_next(w.iter, NULL, NULL), 0);
	walk_free(&w);
	drop_all(&f);
	expect(&f, 0);
	f.dict = copy;
	support_collect();
	expect(&f, 0);
}
END_TEST

/* D12: entries whose values died unpurged are deleted, popped, and stored anew while an iterator is open, one way after the other: they are
 * not there, what is stored stays, and len tells. */
START_TEST(test_D12_dead_values_while_iterating)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct walk w = walk_new(&f, false);
	struct keys_room room;
	size_t dead = 0, fresh = 0, len;
	int fallback;

	walk_on(&w, 5);
	for (size_t i = 0; i < N; i += 2)
		drop(&f, i);
	support_scrub();
	GC_gcollect();
	GC_gcollect();
	len = weakref_valuedict_len(f.dict);
	ck_assert_uint_le(len, N / 2 + SUPPORT_SLACK);
	for (size_t i = 0; i < N; i += 2) {
		const void *key = keys_find(f.kind, i, &room);
		void *value = NULL;
		if (weakref_valuedict_contains(f.dict, key) != 0)
			continue;
		dead++;
		switch (i / 2 % 5) {
		case 0:
			ck_assert_int_eq(weakref_valuedict_delete(f.dict, key), -WEAKREF_ENOENT);
			continue;
		case 1:
			ck_assert_int_eq(weakref_valuedict_pop(f.dict, key, &value), -WEAKREF_ENOENT);
			continue;
		case 2:
			ck_assert_ptr_eq(weakref_valuedict_pop_or(f.dict, key, &fallback), &fallback);
			continue;
		case 3:
			f.strong[i] = support_node_new(i);
			ck_assert_int_eq(weakref_valuedict_set(f.dict, keys_store(f.kind, i, &room), f.strong[i]), 0);
			break;
		default:
			f.strong[i] = support_node_new(i);
			ck_assert_ptr_eq(weakref_valuedict_setdefault(f.dict, keys_store(f.kind, i, &room), f.strong[i]), f.strong[i]);
		}
		fresh++;
		w.seen[i] = 0; /* a new entry (R40) */
	}
	ck_assert_uint_ge(dead, N / 2 - SUPPORT_SLACK);
	/* One that a word held may have gone since. */
	ck_assert_uint_ge(weakref_valuedict_len(f.dict), N / 2 + fresh);
	ck_assert_uint_le(weakref_valuedict_len(f.dict), len + fresh);
	walk_end(&w);
	for (size_t i = 1; i < N; i += 2)
		ck_assert_uint_eq(w.seen[i], 1);
	walk_free(&w);
	support_collect();
	expect(&f, N / 2 + fresh);
}
END_TEST

/* R40: deleting, replacing and adding under an open iterator, until the table has moved more than once. */
START_TEST(test_R40_change_while_iterating)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct walk w = walk_new(&f, true);
	struct keys_room room;
	size_t more = 40 * N;
	unsigned char *deleted = calloc(N, 1);

	w.n = more;
	w.seen = realloc(w.seen, more);
	memset(w.seen, 0, more);
	walk_on(&w, N / 2);
	for (size_t i = 0; i < N; i += 4) {
		ck_assert_int_eq(weakref_valuedict_delete(f.dict, keys_find(f.kind, i, &room)), 0);
		deleted[i] = 1;
		drop(&f, i);
	}
	f.strong = GC_REALLOC(f.strong, more * sizeof(*f.strong));
	f.from = N;
	f.n = more;
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	support_collect();
	walk_end(&w);
	for (size_t i = 0; i < N; i++)
		if (!deleted[i])
			ck_assert_uint_eq(w.seen[i], 1);
	ck_assert_int_eq(support_on_thread(look, &f), 0);
	ck_assert_uint_eq(f.held, more - N / 4);
	free(deleted);
	walk_free(&w);
}
END_TEST

/* R40: an iterator whose dictionary was dropped goes on, and its entries die as ever. */
START_TEST(test_R40_dictionary_dropped)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct walk w = walk_new(&f, true);

	walk_on(&w, 3);
	SUPPORT_CLEAR(f.dict);
	for (size_t i = 0; i < N; i += 2)
		drop(&f, i);
	support_collect();
	walk_end(&w);
	for (size_t i = 1; i < N; i += 2)
		ck_assert_uint_eq(w.seen[i], 1);
	ck_assert_uint_le(w.count, N / 2 + 3 + SUPPORT_SLACK);
	walk_free(&w);
	SUPPORT_KEEP(f.strong);
}
END_TEST

static int cycles_fill(void *arg)
{
	struct fixture *f = arg;
	struct keys_room room;

	for (size_t i = 0; i < f->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		node->next = node;
		SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, keys_store(f->kind, i, &room), node) == 0);
	}
	return 0;
}

/* D15: cycles die too; len with an open iterator, and without: at most the slack. */
START_TEST(test_D15_len_of_cycles)
{
	struct fixture f = {.dict = keys_dict((enum weakref_key_kind)_i), .kind = (enum weakref_key_kind)_i, .n = SUPPORT_N};
	struct walk w;

	f.strong = gc_alloc(f.n * sizeof(*f.strong));
	ck_assert_int_eq(support_on_thread(cycles_fill, &f), 0);
	w = walk_new(&f, true);
	walk_on(&w, 1);
	support_collect();
	ck_assert_uint_le(weakref_valuedict_len(f.dict), 1 + SUPPORT_SLACK);
	walk_free(&w);
	support_collect();
	expect(&f, 0);
}
END_TEST

/* D16: at every pacing of collections 0 <= later len <= earlier len <= what was stored. */
START_TEST(test_D16_len_never_wrong)
{
	size_t collected = 0;

	for (size_t pacing = 1; pacing <= 100; pacing++) {
		struct fixture f = {.dict = keys_dict(WEAKREF_KEY_INT), .kind = WEAKREF_KEY_INT, .n = 20};
		weakref_valuedict_iter *iter;
		size_t first, second;

		f.strong = gc_alloc(f.n * sizeof(*f.strong));
		ck_assert_int_eq(support_on_thread(cycles_fill, &f), 0);
		iter = weakref_valuedict_iter_new(f.dict);
		support_churn(1, pacing * 4096);
		first = weakref_valuedict_len(f.dict);
		weakref_valuedict_iter_next(iter, NULL, NULL);
		support_scrub();
		if (pacing % 2)
			GC_gcollect();
		else
			gc_collect();
		second = weakref_valuedict_len(f.dict);
		ck_assert_uint_le(first, f.n);
		ck_assert_uint_le(second, first);
		collected += f.n - second;
	}
	/* And they did die. */
	ck_assert_uint_ge(collected, 100 * 20 / 2);
}
END_TEST

struct stepping {
	weakref_valuedict **dicts;
	weakref_valuedict_iter **iters;
	weakref_ref **refs;
	size_t n;
};

static int step_once(void *arg)
{
	struct stepping *s = arg;

	for (size_t i = 0; i < s->n; i++) {
		struct support_node *node = support_node_new(i);
		const void *key;

		s->dicts[i] = weakref_valuedict_new(WEAKREF_KEY_STRING);
		SUPPORT_REQUIRE(node != NULL && s->dicts[i] != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(s->dicts[i], "k", node) == 0);
		s->refs[i] = weakref_ref_new(node, NULL, NULL);
		s->iters[i] = weakref_valuedict_iter_new(s->dicts[i]);
		SUPPORT_REQUIRE(s->refs[i] != NULL && s->iters[i] != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_iter_next(s->iters[i], &key, NULL) == 1);
		SUPPORT_REQUIRE(strcmp(key, "k") == 0);
		SUPPORT_KEEP(node);
	}
	return 0;
}

/* D17: an open iterator that was asked for keys alone does not keep the value it stands at. */
START_TEST(test_D17_key_iterator_keeps_no_value)
{
	struct stepping s = {.n = SUPPORT_N};

	s.dicts = gc_alloc(s.n * sizeof(*s.dicts));
	s.iters = gc_alloc(s.n * sizeof(*s.iters));
	s.refs = gc_alloc(s.n * sizeof(*s.refs));
	ck_assert_int_eq(support_on_thread(step_once, &s), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(s.refs, s.n), s.n - SUPPORT_SLACK);
	for (size_t i = 0; i < s.n; i++)
		ck_assert_int_eq(weakref_valuedict_iter_next(s.iters[i], NULL, NULL), 0);
	SUPPORT_KEEP(s.dicts);
}
END_TEST

/* ---- construction, update, union, copies --------------------------------------------------------------------------------- */

/* The pairs of all values that a fixture holds, with keys that live as long as the array. */
static weakref_pair *pairs_of(const struct fixture *f)
{
	weakref_pair *pairs = gc_alloc(f->n * sizeof(*pairs));
	struct keys_room *rooms = gc_alloc(f->n * sizeof(*rooms));

	for (size_t i = 0; i < f->n; i++)
		pairs[i] = (weakref_pair){keys_store(f->kind, i, &rooms[i]), f->strong[i]};
	return pairs;
}

static weakref_valuedict *from_pairs(enum weakref_key_kind kind, const weakref_pair *pairs, size_t n)
{
	weakref_valuedict *dict;

	if (kind != WEAKREF_KEY_CUSTOM)
		return weakref_valuedict_from_pairs(kind, pairs, n);
	dict = keys_dict(kind);
	return weakref_valuedict_update_pairs(dict, pairs, n) == 0 ? dict : NULL;
}

/* D21: a dictionary from pairs, the later of equal keys winning, and from another dictionary. */
START_TEST(test_D21_construct)
{
	struct fixture f = fixture_new(_i, N, 1);
	weakref_pair *pairs = pairs_of(&f);
	void *last = pairs[N - 1].value;
	struct keys_room room;

	f.dict = from_pairs(f.kind, pairs, N);
	ck_assert_ptr_nonnull(f.dict);
	expect(&f, N);
	f.dict = weakref_valuedict_copy(f.dict);
	ck_assert_ptr_nonnull(f.dict);
	expect(&f, N);

	pairs[N - 1].key = pairs[0].key;
	f.dict = from_pairs(f.kind, pairs, N);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), N - 1);
	ck_assert_ptr_eq(weakref_valuedict_get(f.dict, keys_find(f.kind, 0, &room)), last);
	f.dict = from_pairs(f.kind, NULL, 0);
	ck_assert_ptr_nonnull(f.dict);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), 0);
	SUPPORT_KEEP(pairs);
}
END_TEST

/* D22: wrong arguments of constructor and update give no dictionary, and leave the dictionary as it was. */
START_TEST(test_D22_construct_errors)
{
	struct fixture f = fixture_new(_i, N, 1);
	weakref_pair *pairs = pairs_of(&f);
	weakref_valuedict *empty = keys_dict(f.kind), *other;
	static int no_value[2];

	pairs[N - 1].value = no_value;
	ck_assert_int_eq(weakref_valuedict_update_pairs(empty, pairs, N), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_valuedict_len(empty), 0);
	errno = 0;
	ck_assert_ptr_null(from_pairs(f.kind, pairs, N));
	if (f.kind != WEAKREF_KEY_CUSTOM)
		ck_assert_int_eq(errno, WEAKREF_EINVAL);
	pairs[N - 1].value = NULL;
	ck_assert_int_eq(weakref_valuedict_update_pairs(empty, pairs, N), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_update_pairs(empty, NULL, 3), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_update_pairs(NULL, pairs, 3), -WEAKREF_EINVAL);
	ck_assert_int_lt(weakref_valuedict_update_pairs(empty, pairs, SIZE_MAX), 0);
	ck_assert_int_eq(weakref_valuedict_update(empty, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_update(NULL, f.dict), -WEAKREF_EINVAL);
	/* Of another kind, or with other functions. */
	other = keys_dict((enum weakref_key_kind)((_i + 1) % KEYS_KINDS));
	ck_assert_int_eq(weakref_valuedict_update(other, f.dict), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_valuedict_len(other), 0);
	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_union(f.dict, other));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	other = weakref_valuedict_new_custom(keys_hash, keys_equal, &no_value);
	if (f.kind == WEAKREF_KEY_CUSTOM)
		ck_assert_int_eq(weakref_valuedict_update(other, f.dict), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_valuedict_len(empty), 0);
	expect(&f, N);

	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_new(WEAKREF_KEY_CUSTOM));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_new((enum weakref_key_kind)99));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_valuedict_new((enum weakref_key_kind)-1));
	ck_assert_ptr_null(weakref_valuedict_new_custom(NULL, keys_equal, NULL));
	ck_assert_ptr_null(weakref_valuedict_new_custom(keys_hash, NULL, NULL));
	ck_assert_ptr_null(weakref_valuedict_from_pairs((enum weakref_key_kind)99, pairs, 1));
	ck_assert_ptr_null(weakref_valuedict_from_pairs(WEAKREF_KEY_CUSTOM, pairs, 1));
	ck_assert_ptr_null(weakref_valuedict_from_pairs(WEAKREF_KEY_INT, NULL, 1));
	SUPPORT_KEEP(pairs);
}
END_TEST

static int pop_all(void *arg)
{
	struct fixture *f = arg;
	unsigned char *seen = calloc(f->n, 1);

	f->found = 0;
	SUPPORT_REQUIRE(seen != NULL);
	for (;;) {
		size_t before = weakref_valuedict_len(f->dict), number;
		const void *key = NULL;
		struct support_node *node = NULL;
		int rc = weakref_valuedict_popitem(f->dict, &key, (void **)&node);

		if (rc == -WEAKREF_ENOENT)
			break;
		SUPPORT_REQUIRE(rc == 0 && f->found < f->n);
		number = keys_number(f->kind, key);
		SUPPORT_REQUIRE(number < f->n && !seen[number]);
		SUPPORT_REQUIRE(support_node_intact(node) && node->id == number);
		SUPPORT_REQUIRE(f->strong[number] == NULL || f->strong[number] == node);
		SUPPORT_REQUIRE(weakref_valuedict_len(f->dict) < before);
		seen[number] = 1;
		f->found++;
	}
	for (size_t i = 0; i < f->n; i++)
		SUPPORT_REQUIRE(f->strong[i] == NULL || seen[i]);
	free(seen);
	return 0;
}

/* D23: popitem gives each live pair once, counting len down, then ENOENT; dead ones never; and with nothing asked for. */
START_TEST(test_D23_popitem)
{
	struct fixture f = fixture_new(_i, N, 2);

	support_scrub();
	GC_gcollect();
	GC_gcollect();
	ck_assert_int_eq(support_on_thread(pop_all, &f), 0);
	ck_assert_uint_ge(f.found, N / 2);
	ck_assert_uint_le(f.found, N / 2 + SUPPORT_SLACK);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), 0);
	ck_assert_int_eq(weakref_valuedict_popitem(f.dict, NULL, NULL), -WEAKREF_ENOENT);
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	ck_assert_int_eq(weakref_valuedict_popitem(f.dict, NULL, NULL), 0);
	ck_assert_int_eq(weakref_valuedict_popitem(NULL, NULL, NULL), -WEAKREF_EINVAL);
}
END_TEST

/* D23: popitem empties a dictionary of many entries; a scan from the start each time would meet the program's time limit. */
START_TEST(test_D23_popitem_many)
{
	struct fixture f = fixture_new(_i, support_scaled(30000, 3000), 1);

	ck_assert_int_eq(support_on_thread(pop_all, &f), 0);
	ck_assert_uint_eq(f.found, f.n);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), 0);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* D25: setdefault stores and returns the given value where the key is absent or its value dead; else it returns the old and
 * ignores the new. */
START_TEST(test_D25_setdefault)
{
	struct fixture f = fixture_new(_i, N, 2);
	struct keys_room room;
	struct support_node **fresh = gc_alloc(N * sizeof(*fresh));
	size_t replaced = 0;

	support_scrub();
	GC_gcollect();
	GC_gcollect();
	for (size_t i = 0; i < N; i++) {
		struct support_node *got;

		fresh[i] = support_node_new(i);
		got = weakref_valuedict_setdefault(f.dict, keys_store(f.kind, i, &room), fresh[i]);
		if (i % 2 == 0)
			ck_assert_ptr_eq(got, f.strong[i]);
		ck_assert(support_node_intact(got) && got->id == i);
		ck_assert_ptr_eq(weakref_valuedict_get(f.dict, keys_find(f.kind, i, &room)), got);
		replaced += got == fresh[i];
		f.strong[i] = got;
	}
	ck_assert_uint_ge(replaced, N / 2 - SUPPORT_SLACK);
	ck_assert_uint_le(replaced, N / 2);
	support_collect();
	expect(&f, N);
	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_setdefault(f.dict, keys_find(f.kind, 1, &room), NULL));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_valuedict_setdefault(NULL, keys_find(f.kind, 1, &room), fresh[1]));
	expect(&f, N);
	SUPPORT_KEEP(fresh);
}
END_TEST

/* D27 D28: on an entry whose value died and which nobody purged, pop and delete say ENOENT, pop_or and get_or give the default,
 * and the
 * entry is gone afterwards. */
START_TEST(test_D27_D28_dead_entry)
{
	struct fixture f = fixture_new(_i, N, 0);
	struct keys_room room;
	int fallback;
	size_t dead = 0;

	support_scrub();
	GC_gcollect();
	GC_gcollect();
	for (size_t i = 0; i < N; i++) {
		const void *key = keys_find(f.kind, i, &room);
		void *value = &fallback;
		int rc;

		if (weakref_valuedict_get_or(f.dict, key, &fallback) != &fallback)
			continue;
		dead++;
		rc = weakref_valuedict_lookup(f.dict, key, &value);
		ck_assert(rc == -WEAKREF_ESTALE || rc == -WEAKREF_ENOENT);
		ck_assert_ptr_null(value);
		ck_assert_int_eq(weakref_valuedict_contains(f.dict, key), 0);
		if (i % 3 == 0)
			ck_assert_int_eq(weakref_valuedict_pop(f.dict, key, &value), -WEAKREF_ENOENT);
		else if (i % 3 == 1)
			ck_assert_ptr_eq(weakref_valuedict_pop_or(f.dict, key, &fallback), &fallback);
		else
			ck_assert_int_eq(weakref_valuedict_delete(f.dict, key), -WEAKREF_ENOENT);
		rc = weakref_valuedict_lookup(f.dict, key, NULL);
		ck_assert(rc == -WEAKREF_ENOENT || (i % 3 == 2 && rc == -WEAKREF_ESTALE));
	}
	ck_assert_uint_ge(dead, N - SUPPORT_SLACK);
	expect(&f, 0);
}
END_TEST

/* D27: pop on a live entry gives its value and takes it out, once. */
START_TEST(test_D27_pop_live)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct keys_room room;
	int fallback;

	for (size_t i = 0; i < N; i++) {
		const void *key = keys_find(f.kind, i, &room);
		void *value = NULL;

		if (i % 2) {
			ck_assert_int_eq(weakref_valuedict_pop(f.dict, key, &value), 0);
			ck_assert_ptr_eq(value, f.strong[i]);
		} else {
			ck_assert_ptr_eq(weakref_valuedict_pop_or(f.dict, key, &fallback), f.strong[i]);
		}
		ck_assert_int_eq(weakref_valuedict_pop(f.dict, key, NULL), -WEAKREF_ENOENT);
		ck_assert_uint_eq(weakref_valuedict_len(f.dict), N - 1 - i);
	}
}
END_TEST

/* D29: update merges from a dictionary and from pairs, new values over old; from itself it changes nothing. */
START_TEST(test_D29_update)
{
	struct fixture f = fixture_new(_i, N, 1), g = {.kind = f.kind, .n = 2 * N, .keep = 1, .from = N / 2};
	weakref_pair *pairs;

	g.dict = keys_dict(g.kind);
	g.strong = gc_alloc(g.n * sizeof(*g.strong));
	ck_assert_int_eq(support_on_thread(fill, &g), 0);
	ck_assert_int_eq(weakref_valuedict_update(f.dict, g.dict), 0);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), 2 * N);
	ck_assert_uint_eq(weakref_valuedict_len(g.dict), 2 * N - N / 2);
	for (size_t i = 0; i < N / 2; i++)
		g.strong[i] = f.strong[i];
	g.dict = f.dict;
	expect(&g, 2 * N);
	ck_assert_int_eq(weakref_valuedict_update(g.dict, g.dict), 0);
	expect(&g, 2 * N);
	pairs = pairs_of(&f);
	ck_assert_int_eq(weakref_valuedict_update_pairs(g.dict, pairs, N), 0);
	memcpy(g.strong, f.strong, N * sizeof(*f.strong));
	expect(&g, 2 * N);
	ck_assert_int_eq(weakref_valuedict_update_pairs(g.dict, NULL, 0), 0);
	ck_assert_int_eq(weakref_valuedict_update(g.dict, keys_dict(g.kind)), 0);
	expect(&g, 2 * N);
	SUPPORT_KEEP(pairs);
}
END_TEST

/* D30 D31: a union is of the left one's kind, the right one's entries win, a dictionary made from pairs does on either side, and
 * entries of
 * the result die as their values do. */
START_TEST(test_D30_D31_union)
{
	struct fixture a = fixture_new(_i, N, 1), b = fixture_new(_i, N / 2, 1), u = {.kind = a.kind, .n = N, .keep = 1};
	weakref_pair *pairs = pairs_of(&b);

	u.strong = gc_alloc(N * sizeof(*u.strong));
	for (int round = 0; round < 4; round++) {
		bool right_wins = round != 3;

		memcpy(u.strong, a.strong, N * sizeof(*u.strong));
		if (right_wins)
			memcpy(u.strong, b.strong, N / 2 * sizeof(*u.strong));
		if (round == 0) {
			u.dict = weakref_valuedict_union(a.dict, b.dict);
		} else if (round == 1) {
			u.dict = weakref_valuedict_union(a.dict, from_pairs(b.kind, pairs, N / 2));
		} else if (round == 2) {
			u.dict = weakref_valuedict_copy(a.dict);
			ck_assert_int_eq(weakref_valuedict_update_pairs(u.dict, pairs, N / 2), 0);
		} else {
			u.dict = weakref_valuedict_union(from_pairs(b.kind, pairs, N / 2), a.dict);
		}
		ck_assert_ptr_nonnull(u.dict);
		expect(&u, N);
	}
	expect(&a, N);
	expect(&b, N / 2);
	u.dict = weakref_valuedict_union(a.dict, a.dict);
	memcpy(u.strong, a.strong, N * sizeof(*u.strong));
	expect(&u, N);
	for (size_t i = N / 2; i < N; i++) {
		drop(&u, i);
		drop(&a, i);
	}
	support_collect();
	expect(&u, N / 2);
	expect(&a, N / 2);
	SUPPORT_KEEP(pairs);
}
END_TEST

/* D32: a copy has the live entries and is independent in both directions. */
START_TEST(test_D32_copy)
{
	struct fixture f = fixture_new(_i, N, 1), c = f;
	struct keys_room room;

	c.dict = weakref_valuedict_copy(f.dict);
	ck_assert_ptr_nonnull(c.dict);
	ck_assert_ptr_ne(c.dict, f.dict);
	expect(&c, N);
	ck_assert_int_eq(weakref_valuedict_delete(f.dict, keys_find(f.kind, 1, &room)), 0);
	ck_assert_uint_eq(weakref_valuedict_len(c.dict), N);
	ck_assert_int_eq(weakref_valuedict_delete(c.dict, keys_find(f.kind, 2, &room)), 0);
	ck_assert_ptr_eq(weakref_valuedict_get(f.dict, keys_find(f.kind, 2, &room)), f.strong[2]);
	ck_assert_int_eq(weakref_valuedict_clear(f.dict), 0);
	ck_assert_uint_eq(weakref_valuedict_len(c.dict), N - 1);
	drop(&c, 2);
	expect(&c, N - 1);
}
END_TEST

static size_t copied;

static void *copy_key(const void *key, void *user)
{
	const struct keys_custom *custom = key;
	struct keys_custom *copy = gc_alloc(sizeof(*copy));

	if (user != &copied || copy == NULL)
		return NULL;
	*copy = *custom;
	copied++;
	return copy;
}

static void *copy_key_fails(const void *key, void *user)
{
	(void)user;
	if (((const struct keys_custom *)key)->number == 77) {
		errno = EDOM;
		return NULL;
	}
	return copy_key(key, &copied);
}

static int deep_keys(void *arg)
{
	struct fixture *f = arg;
	size_t n = 0;
	const void **keys = weakref_valuedict_keys(f->dict, &n);

	SUPPORT_REQUIRE(keys != NULL && n == f->n);
	for (size_t i = 0; i < n; i++) {
		const struct keys_custom *key = keys[i];

		SUPPORT_REQUIRE(key < keys_customs || key >= keys_customs + KEYS_MAX);
		SUPPORT_REQUIRE(key->signature == KEYS_SIGNATURE && key->number < f->n);
	}
	return 0;
}

/* D33: a deep copy copies keys and shares values; a key that cannot be copied gives no dictionary, and the reason. */
START_TEST(test_D33_deepcopy)
{
	struct fixture f = fixture_new(_i, N, 1), c = f;

	if (f.kind == WEAKREF_KEY_CUSTOM) {
		copied = 0;
		c.dict = weakref_valuedict_deepcopy(f.dict, copy_key, &copied);
		ck_assert_ptr_nonnull(c.dict);
		ck_assert_uint_eq(copied, N);
		support_collect();
		ck_assert_int_eq(support_on_thread(deep_keys, &c), 0);
		errno = 0;
		ck_assert_ptr_null(weakref_valuedict_deepcopy(f.dict, copy_key_fails, NULL));
		ck_assert_int_eq(errno, EDOM);
	} else {
		c.dict = weakref_valuedict_deepcopy(f.dict, NULL, NULL);
	}
	ck_assert_ptr_nonnull(c.dict);
	expect(&c, N);
	ck_assert_int_eq(weakref_valuedict_clear(f.dict), 0);
	expect(&c, N);
	drop_all(&c);
	support_collect();
	expect(&c, 0);
}
END_TEST

/* Lets go of the value whose key it copies, finds out whether that died, and takes another entry out. */
static void *copy_key_with_mischief(const void *key, void *user)
{
	struct fixture *f = user;
	struct keys_room room;
	size_t i = ((const struct keys_custom *)key)->number;

	drop(f, i);
	if (copied % 16 == 0)
		support_collect();
	int gone = weakref_valuedict_delete(f->dict, keys_find(f->kind, (i + 1) % N, &room));
	return gone == 0 || gone == -WEAKREF_ENOENT ? copy_key(key, &copied) : NULL;
}

static int deepcopy_with_mischief(void *arg)
{
	struct fixture *f = arg;
	weakref_valuedict *copy = weakref_valuedict_deepcopy(f->dict, copy_key_with_mischief, f);
	size_t n = 0;
	weakref_pair *items = copy == NULL ? NULL : weakref_valuedict_items(copy, &n);

	SUPPORT_REQUIRE(items != NULL && n <= copied && copied <= N);
	for (size_t i = 0; i < n; i++) {
		const struct keys_custom *key = items[i].key;
		SUPPORT_REQUIRE(key->signature == KEYS_SIGNATURE && support_node_intact(items[i].value));
		SUPPORT_REQUIRE(((struct support_node *)items[i].value)->id == key->number);
	}
	f->dict = copy;
	return 0;
}

/* D33: a copy of keys lets go of values, collects, and takes entries out meanwhile: what the deep copy has is whole. */
START_TEST(test_D33_deepcopy_with_mischief)
{
	struct fixture f = fixture_new(WEAKREF_KEY_CUSTOM, N, 1);

	copied = 0;
	ck_assert_int_eq(support_on_thread(deepcopy_with_mischief, &f), 0);
	ck_assert_uint_ge(copied, 1);
	drop_all(&f);
	support_collect();
	expect(&f, 0);
}
END_TEST

static int replace_all(void *arg)
{
	struct fixture *f = arg;
	struct keys_room room;

	for (size_t i = 0; i < f->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, keys_store(f->kind, i, &room), node) == 0);
		f->strong[i] = node;
	}
	return 0;
}

static int old_refs(void *arg)
{
	struct refs_held *h = arg;

	for (size_t i = 0; i < h->n; i++) {
		h->refs[i] = weakref_ref_new(h->f->strong[i], NULL, NULL);
		SUPPORT_REQUIRE(h->refs[i] != NULL);
	}
	return 0;
}

/* D34 R38: a value is replaced, and the old one dies afterwards: the new entry stays. */
START_TEST(test_D34_replaced_value_dies)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct refs_held h = {.f = &f, .n = N};

	h.refs = gc_alloc(N * sizeof(weakref_ref *));
	ck_assert_int_eq(support_on_thread(old_refs, &h), 0);
	ck_assert_int_eq(support_on_thread(replace_all, &f), 0);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), N);
	support_collect();
	ck_assert_uint_ge(support_dead(h.refs, N), N - SUPPORT_SLACK);
	expect(&f, N);
	ck_assert_uint_eq(f.held, N);
}
END_TEST

/* D34: a value that comes for a dead, unpurged entry stays as well, and its key is the one of the new entry. */
START_TEST(test_D34_dead_value_replaced)
{
	struct fixture f = fixture_new(_i, N, 0);

	support_scrub();
	GC_gcollect();
	GC_gcollect();
	ck_assert_int_eq(support_on_thread(replace_all, &f), 0);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), N);
	gc_collect();
	expect(&f, N);
	ck_assert_uint_eq(f.held, N);
}
END_TEST

/* D38: repr gives type and address, cuts to fit, and touches no entry. */
START_TEST(test_D38_repr)
{
	struct fixture f = fixture_new(_i, N, 0);
	char whole[128], text[128], expected[128];
	int length;

	snprintf(expected, sizeof(expected), "<WeakValueDictionary at %p>", (void *)f.dict);
	length = weakref_valuedict_repr(f.dict, whole, sizeof(whole));
	ck_assert_int_eq(length, (int)strlen(expected));
	ck_assert_str_eq(whole, expected);
	for (size_t size = 1; size < strlen(expected) + 2; size++) {
		memset(text, '#', sizeof(text));
		ck_assert_int_eq(weakref_valuedict_repr(f.dict, text, size), length);
		ck_assert_uint_eq(strlen(text), size - 1 < strlen(expected) ? size - 1 : strlen(expected));
		ck_assert_int_eq(text[size], '#');
	}
	ck_assert_int_eq(weakref_valuedict_repr(f.dict, NULL, 0), length);
	ck_assert_int_eq(weakref_valuedict_repr(f.dict, NULL, 5), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_repr(NULL, text, sizeof(text)), -WEAKREF_EINVAL);
	support_collect();
	expect(&f, 0);
}
END_TEST

/* R234: a dictionary, and its proxy, answer to the generic operations as to its own functions; a dead value is absent, which no proxy's death
 * can be taken for. */
START_TEST(test_R234_generic_operations)
{
	struct fixture f = fixture_new(_i / 2, N, 2);
	void *obj = _i % 2 == 0 ? (void *)f.dict : (void *)weakref_proxy_new(f.dict, NULL, NULL), *value, *result = NULL;
	weakref_valuedict *other = weakref_valuedict_copy(f.dict), *both;
	struct support_node *node = support_node_new(N);
	struct keys_room room;
	size_t absent = 0;

	GC_gcollect();
	for (size_t i = 0; i < N; i++) {
		void *key = (void *)(uintptr_t)keys_find(f.kind, i, &room);
		int error = gc_getitem(obj, key, &value);

		ck_assert(error == 0 || error == -WEAKREF_ENOENT);
		ck_assert_int_eq(gc_contains(obj, key), error == 0);
		ck_assert(i % 2 == 1 || value == f.strong[i]);
		absent += error != 0;
	}
	ck_assert_uint_ge(absent, N / 2 - SUPPORT_SLACK);
	ck_assert_uint_le(absent, N / 2);
	void *key = (void *)(uintptr_t)keys_store(f.kind, N, &room);
	ck_assert_int_eq(gc_setitem(obj, key, node), 0);
	ck_assert_int_eq(gc_setitem(obj, key, NULL), -WEAKREF_EINVAL);
	ck_assert_ptr_eq(weakref_valuedict_get(f.dict, key), node);
	ck_assert_int_eq(gc_operate(other, WEAKREF_OP_OR, obj, &result), 0);
	both = result;
	ck_assert(both != other && weakref_valuedict_get(both, key) == node && weakref_valuedict_get(other, key) == NULL);
	ck_assert_int_eq(gc_delitem(obj, key), 0);
	ck_assert_int_eq(gc_delitem(obj, key), -WEAKREF_ENOENT);
	ck_assert_int_eq(gc_inplace(obj, WEAKREF_OP_OR, both, &result), 0);
	ck_assert(result == f.dict && weakref_valuedict_get(f.dict, key) == node);
	ck_assert_int_eq(gc_inplace(obj, WEAKREF_OP_SUBTRACT, both, &result), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_OR, node, &result), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(gc_operate(obj, WEAKREF_OP_OR, keys_dict((enum weakref_key_kind)((f.kind + 1) % KEYS_KINDS)), &result), -WEAKREF_EINVAL);
	SUPPORT_KEEP(node);
	SUPPORT_KEEP(f.dict);
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* ---- lifetimes of dictionaries and keys ---------------------------------------------------------------------------------- */

static int dropped_dicts(void *arg)
{
	struct refs_held *h = arg;
	struct keys_room room;

	for (size_t i = 0; i < h->n; i++) {
		weakref_valuedict *dict = keys_dict(h->f->kind);

		SUPPORT_REQUIRE(dict != NULL);
		for (size_t j = 0; j < h->f->n; j++)
			SUPPORT_REQUIRE(weakref_valuedict_set(dict, keys_store(h->f->kind, j, &room), h->f->strong[j]) == 0);
		h->refs[i] = weakref_ref_new(dict, NULL, NULL);
		SUPPORT_REQUIRE(h->refs[i] != NULL);
	}
	return 0;
}

static int list_and_drop(void *arg)
{
	struct fixture *f = arg;
	size_t n = 0;
	weakref_ref **refs = weakref_valuedict_valuerefs(f->dict, &n);

	SUPPORT_REQUIRE(refs != NULL && n == f->n);
	for (size_t i = 0; i < n; i++)
		SUPPORT_REQUIRE(weakref_getweakrefcount(f->strong[i]) == 1);
	return 0;
}

/* D39 D40: dictionaries that nobody holds go, while their values live on untouched; references that were made for them go too. */
START_TEST(test_D39_D40_dropped_dictionary)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct refs_held h = {.f = &f, .n = SUPPORT_N};
	size_t left = 0;

	h.refs = gc_alloc(h.n * sizeof(weakref_ref *));
	ck_assert_int_eq(support_on_thread(dropped_dicts, &h), 0);
	ck_assert_int_eq(support_on_thread(list_and_drop, &f), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(h.refs, h.n), h.n - SUPPORT_SLACK);
	for (size_t i = 0; i < N; i++) {
		ck_assert(support_node_intact(f.strong[i]) && f.strong[i]->id == i);
		left += weakref_getweakrefcount(f.strong[i]);
	}
	ck_assert_uint_le(left, SUPPORT_SLACK);
	expect(&f, N);
}
END_TEST

static int self_holding(void *arg)
{
	struct refs_held *h = arg;

	for (size_t i = 0; i < h->n; i++) {
		weakref_valuedict *dict = weakref_valuedict_new(WEAKREF_KEY_STRING);
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(dict != NULL && node != NULL);
		/* The value holds the dictionary, and the dictionary is a value of its own. */
		node->other = dict;
		SUPPORT_REQUIRE(weakref_valuedict_set(dict, "value", node) == 0);
		SUPPORT_REQUIRE(weakref_valuedict_set(dict, "self", dict) == 0);
		SUPPORT_REQUIRE(weakref_valuedict_get(dict, "self") == dict);
		h->refs[i] = weakref_ref_new(dict, NULL, NULL);
		SUPPORT_REQUIRE(h->refs[i] != NULL);
	}
	return 0;
}

/* D40: dictionaries in cycles with their values, and in themselves, go as well. */
START_TEST(test_D40_dictionary_in_cycle)
{
	struct refs_held h = {.n = SUPPORT_N};

	h.refs = gc_alloc(h.n * sizeof(weakref_ref *));
	ck_assert_int_eq(support_on_thread(self_holding, &h), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(h.refs, h.n), h.n - SUPPORT_SLACK);
}
END_TEST

struct keyed {
	weakref_valuedict *dict;
	weakref_ref **key_refs, **value_refs;
	/* What the test holds: values, or nothing. */
	struct support_node **strong;
	size_t n;
	bool custom, key_leads_to_value;
};

static int keyed_fill(void *arg)
{
	struct keyed *k = arg;

	for (size_t i = 0; i < k->n; i++) {
		struct support_node *node = support_node_new(i);
		/* A custom key, with room for a pointer behind it; as a pointer key it is just a block. */
		struct keys_custom *key = gc_alloc(sizeof(*key) + sizeof(void *));

		SUPPORT_REQUIRE(node != NULL && key != NULL);
		*key = (struct keys_custom){(uint32_t)i, KEYS_SIGNATURE};
		if (k->key_leads_to_value)
			*(void **)(key + 1) = node;
		else
			node->other = key;
		SUPPORT_REQUIRE(weakref_valuedict_set(k->dict, key, node) == 0);
		k->key_refs[i] = weakref_ref_new(key, NULL, NULL);
		k->value_refs[i] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(k->key_refs[i] != NULL && k->value_refs[i] != NULL);
		k->strong[i] = k->key_leads_to_value ? NULL : node;
	}
	return 0;
}

static struct keyed keyed_new(bool custom, bool key_leads_to_value)
{
	struct keyed k = {.n = SUPPORT_N, .custom = custom, .key_leads_to_value = key_leads_to_value};

	k.dict = keys_dict(custom ? WEAKREF_KEY_CUSTOM : WEAKREF_KEY_POINTER);
	k.key_refs = gc_alloc(k.n * sizeof(weakref_ref *));
	k.value_refs = gc_alloc(k.n * sizeof(weakref_ref *));
	k.strong = gc_alloc(k.n * sizeof(*k.strong));
	ck_assert_int_eq(support_on_thread(keyed_fill, &k), 0);
	support_collect();
	return k;
}

/* D48 R36: a key that its value holds goes with the value; until then the dictionary and the value keep it. */
START_TEST(test_D48_value_holds_key)
{
	struct keyed k = keyed_new(_i, false);

	ck_assert_uint_eq(support_dead(k.key_refs, k.n), 0);
	for (size_t i = 0; i < k.n; i++)
		SUPPORT_CLEAR(k.strong[i]);
	support_collect();
	ck_assert_uint_ge(support_dead(k.value_refs, k.n), k.n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(k.key_refs, k.n), k.n - SUPPORT_SLACK);
	ck_assert_uint_le(weakref_valuedict_len(k.dict), SUPPORT_SLACK);
}
END_TEST

/* R36: the dictionary alone keeps the key of a live entry; a key that leads to its value keeps the entry for ever. */
START_TEST(test_R36_key_held)
{
	struct keyed k = keyed_new(_i, true);

	ck_assert_uint_eq(support_dead(k.key_refs, k.n), 0);
	ck_assert_uint_eq(support_dead(k.value_refs, k.n), 0);
	ck_assert_uint_eq(weakref_valuedict_len(k.dict), k.n);
	ck_assert_int_eq(weakref_valuedict_clear(k.dict), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(k.key_refs, k.n), k.n - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(k.value_refs, k.n), k.n - SUPPORT_SLACK);
	SUPPORT_KEEP(k.dict);
}
END_TEST

/* R36: keys that were deleted, popped or replaced are released. */
START_TEST(test_R36_key_released)
{
	struct keyed k = keyed_new(_i, false);
	int removed = 0;

	for (size_t i = 0; i < k.n; i++)
		k.strong[i]->other = NULL;
	ck_assert_uint_eq(support_dead(k.key_refs, k.n), 0);
	while (weakref_valuedict_popitem(k.dict, NULL, NULL) == 0)
		removed++;
	ck_assert_uint_eq((size_t)removed, k.n);
	support_collect();
	ck_assert_uint_ge(support_dead(k.key_refs, k.n), k.n - SUPPORT_SLACK);
	ck_assert_uint_eq(support_dead(k.value_refs, k.n), 0);
	SUPPORT_KEEP(k.strong);
	SUPPORT_KEEP(k.dict);
}
END_TEST

static const char *const demo_names[] = {"one", "two", "three"};
#define DEMOS ((size_t)32)

struct demo {
	weakref_valuedict *caches[DEMOS];
	struct support_node *held[DEMOS][3];
};

static int demo_fill(void *arg)
{
	struct demo *demo = arg;

	for (size_t i = 0; i < DEMOS; i++) {
		demo->caches[i] = weakref_valuedict_new(WEAKREF_KEY_STRING);
		SUPPORT_REQUIRE(demo->caches[i] != NULL);
		for (uint64_t j = 0; j < 3; j++) {
			demo->held[i][j] = support_node_new(j);
			SUPPORT_REQUIRE(weakref_valuedict_set(demo->caches[i], demo_names[j], demo->held[i][j]) == 0);
		}
	}
	return 0;
}

static int demo_listed(void *arg)
{
	struct demo *demo = arg;

	for (size_t i = 0; i < DEMOS; i++) {
		size_t n = 0;
		const char **keys = (const char **)weakref_valuedict_keys(demo->caches[i], &n);
		unsigned seen = 0;

		SUPPORT_REQUIRE(keys != NULL && n == 3);
		for (size_t k = 0; k < n; k++)
			for (unsigned j = 0; j < 3; j++)
				if (strcmp(keys[k], demo_names[j]) == 0)
					seen |= 1u << j;
		SUPPORT_REQUIRE(seen == 7);
	}
	return 0;
}

/* D62: three values in a dictionary keep their three keys listed while somebody holds them, through collections; a plain array
 * keeps all; once
 * released, and collected, no key is listed. */
START_TEST(test_D62_cache_demo)
{
	struct demo *demo = gc_alloc(sizeof(*demo));
	size_t listed = 0, n;

	ck_assert_int_eq(support_on_thread(demo_fill, demo), 0);
	support_collect();
	ck_assert_int_eq(support_on_thread(demo_listed, demo), 0);
	for (size_t i = 0; i < DEMOS; i++)
		for (size_t j = 0; j < 3; j++)
			SUPPORT_CLEAR(demo->held[i][j]);
	support_collect();
	for (size_t i = 0; i < DEMOS; i++) {
		ck_assert_ptr_nonnull(weakref_valuedict_keys(demo->caches[i], &n));
		listed += n;
	}
	ck_assert_uint_le(listed, SUPPORT_SLACK);
	SUPPORT_KEEP(demo);
}
END_TEST

/* ---- hostile arguments --------------------------------------------------------------------------------------------------- */

/* D04 R37: keys that the kind excludes. */
START_TEST(test_D04_unsuitable_keys)
{
	struct fixture f = fixture_new(_i, N, 1);
	weakref_bytes bad[] = {{NULL, 5}, {"x", SIZE_MAX}, {"x", (size_t)PTRDIFF_MAX + 1}};
	struct support_node *node = f.strong[0];
	bool null_is_key = f.kind == WEAKREF_KEY_INT;
	void *value;

	if (!null_is_key) {
		ck_assert_int_eq(weakref_valuedict_set(f.dict, NULL, node), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_valuedict_delete(f.dict, NULL), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_valuedict_contains(f.dict, NULL), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_valuedict_lookup(f.dict, NULL, &value), -WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_valuedict_pop(f.dict, NULL, &value), -WEAKREF_EINVAL);
		ck_assert_ptr_null(weakref_valuedict_get(f.dict, NULL));
		ck_assert_ptr_eq(weakref_valuedict_get_or(f.dict, NULL, &bad), &bad);
		ck_assert_ptr_eq(weakref_valuedict_pop_or(f.dict, NULL, &bad), &bad);
		errno = 0;
		ck_assert_ptr_null(weakref_valuedict_setdefault(f.dict, NULL, node));
		ck_assert_int_eq(errno, WEAKREF_EINVAL);
	} else {
		ck_assert_int_eq(weakref_valuedict_contains(f.dict, NULL), 1);
		ck_assert_ptr_eq(weakref_valuedict_get(f.dict, NULL), node);
	}
	if (f.kind == WEAKREF_KEY_BYTES)
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			ck_assert_int_lt(weakref_valuedict_set(f.dict, &bad[i], node), 0);
			ck_assert_int_lt(weakref_valuedict_contains(f.dict, &bad[i]), 0);
			ck_assert_int_lt(weakref_valuedict_delete(f.dict, &bad[i]), 0);
			ck_assert_ptr_null(weakref_valuedict_get(f.dict, &bad[i]));
			ck_assert_ptr_null(weakref_valuedict_setdefault(f.dict, &bad[i], node));
		}
	expect(&f, N);
}
END_TEST

/* R2: values that are not on the heap, of odd address, or freed: refused, the old value stays. */
START_TEST(test_R02_unsuitable_values)
{
	struct fixture f = fixture_new(_i, N, 1);
	static struct support_node fixed;
	struct support_node automatic;
	void *from_malloc = malloc(64), *freed = GC_MALLOC((size_t)1 << 20), *large = GC_MALLOC((size_t)1 << 20);
	struct keys_room room;
	void *bad[8];
	size_t n = 0;

	GC_FREE(freed);
	bad[n++] = NULL;
	bad[n++] = &fixed;
	bad[n++] = &automatic;
	bad[n++] = from_malloc;
	bad[n++] = (char *)f.strong[3] + 1;
	bad[n++] = (void *)(uintptr_t)8;
	bad[n++] = (void *)(uintptr_t)-16;
	if (GC_base(freed) == NULL)
		bad[n++] = freed;
	for (size_t i = 0; i < n; i++) {
		weakref_pair pair = {keys_find(f.kind, 3, &room), bad[i]};

		ck_assert_int_eq(weakref_valuedict_set(f.dict, pair.key, bad[i]), -WEAKREF_EINVAL);
		pair.key = keys_find(f.kind, N + 3, &room);
		ck_assert_int_eq(weakref_valuedict_set(f.dict, pair.key, bad[i]), -WEAKREF_EINVAL);
		errno = 0;
		ck_assert_ptr_null(weakref_valuedict_setdefault(f.dict, pair.key, bad[i]));
		ck_assert_int_eq(errno, WEAKREF_EINVAL);
		ck_assert_int_eq(weakref_valuedict_update_pairs(f.dict, &pair, 1), -WEAKREF_EINVAL);
	}
	expect(&f, N);
	ck_assert_uint_eq(f.held, N);
	free(from_malloc);
	SUPPORT_KEEP(large);
}
END_TEST

/* Every call, on what is no dictionary: an error, or none found, and no harm. */
static void no_dictionary(void *p, struct support_node *node)
{
	weakref_valuedict *dict = p;
	weakref_pair pair = {WEAKREF_INT(1), node};
	weakref_valuedict *real = weakref_valuedict_new(WEAKREF_KEY_INT);
	char text[64];
	void *value = node;
	const void *key;
	size_t n = 9;

	ck_assert_int_eq(weakref_valuedict_set(dict, WEAKREF_INT(1), node), -WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_valuedict_get(dict, WEAKREF_INT(1)));
	ck_assert_ptr_eq(weakref_valuedict_get_or(dict, WEAKREF_INT(1), text), text);
	ck_assert_int_eq(weakref_valuedict_lookup(dict, WEAKREF_INT(1), &value), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_contains(dict, WEAKREF_INT(1)), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_delete(dict, WEAKREF_INT(1)), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_valuedict_len(dict), 0);
	ck_assert_int_eq(weakref_valuedict_pop(dict, WEAKREF_INT(1), &value), -WEAKREF_EINVAL);
	ck_assert_ptr_eq(weakref_valuedict_pop_or(dict, WEAKREF_INT(1), text), text);
	ck_assert_int_eq(weakref_valuedict_popitem(dict, &key, &value), -WEAKREF_EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_setdefault(dict, WEAKREF_INT(1), node));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_update(dict, real), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_update(real, dict), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_update_pairs(dict, &pair, 1), -WEAKREF_EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_union(dict, real));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_valuedict_union(real, dict));
	ck_assert_ptr_null(weakref_valuedict_copy(dict));
	ck_assert_ptr_null(weakref_valuedict_deepcopy(dict, NULL, NULL));
	ck_assert_int_eq(weakref_valuedict_clear(dict), -WEAKREF_EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_iter_new(dict));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_valuedict_iter_next(p, &key, &value), -WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_valuedict_items(dict, &n));
	ck_assert_ptr_null(weakref_valuedict_keys(dict, &n));
	ck_assert_ptr_null(weakref_valuedict_values(dict, &n));
	ck_assert_ptr_null(weakref_valuedict_valuerefs(dict, &n));
	ck_assert_int_eq(weakref_valuedict_repr(dict, text, sizeof(text)), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_valuedict_len(real), 0);
}

/* error.h: NULL, and the wrong kind of thing, at every function. */
START_TEST(test_hostile_dictionary)
{
	struct support_node *node = support_node_new(1);
	weakref_valuedict *real = weakref_valuedict_new(WEAKREF_KEY_INT);
	static uint64_t fixed[64];
	uint64_t automatic[64] = {0};
	void *from_malloc = calloc(64, 8), *small = GC_MALLOC_ATOMIC(1), *block = GC_MALLOC(256);
	void *things[] = {NULL, node, block, small, fixed, automatic, from_malloc, weakref_ref_new(node, NULL, NULL), (char *)real + 1,
			  (char *)real + 8};

	memset(small, 0xff, 1);
	for (size_t i = 0; i < sizeof(things) / sizeof(things[0]); i++)
		no_dictionary(things[i], node);
	ck_assert_int_eq(weakref_valuedict_set(real, WEAKREF_INT(1), node), 0);
	ck_assert_int_eq(weakref_valuedict_iter_next((weakref_valuedict_iter *)(void *)real, NULL, NULL), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_valuedict_len((weakref_valuedict *)(void *)weakref_valuedict_iter_new(real)), 0);
	ck_assert_uint_eq(weakref_valuedict_len(real), 1);
	free(from_malloc);
}
END_TEST

/* A NULL where the count goes is refused, not written to. */
START_TEST(test_hostile_out_pointers)
{
	struct fixture f = fixture_new(_i, N, 1);
	weakref_valuedict_iter *iter = weakref_valuedict_iter_new(f.dict);
	struct keys_room room;

	errno = 0;
	ck_assert_ptr_null(weakref_valuedict_items(f.dict, NULL));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_valuedict_keys(f.dict, NULL));
	ck_assert_ptr_null(weakref_valuedict_values(f.dict, NULL));
	ck_assert_ptr_null(weakref_valuedict_valuerefs(f.dict, NULL));
	ck_assert_int_eq(weakref_valuedict_lookup(f.dict, keys_find(f.kind, 1, &room), NULL), 0);
	ck_assert_int_eq(weakref_valuedict_pop(f.dict, keys_find(f.kind, 1, &room), NULL), 0);
	for (size_t i = 0; i < N - 1; i++)
		ck_assert_int_eq(weakref_valuedict_iter_next(iter, NULL, NULL), 1);
	ck_assert_int_eq(weakref_valuedict_iter_next(iter, NULL, NULL), 0);
	ck_assert_uint_eq(weakref_valuedict_len(f.dict), N - 1);
	drop(&f, 1);
	expect(&f, N - 1);
}
END_TEST

/* R37: integers of every size, among them those that a table may use as marks, are keys like others. */
START_TEST(test_R37_extreme_integers)
{
	static const intptr_t numbers[] = {1, 2, -1, -2, INTPTR_MAX, INTPTR_MIN, INTPTR_MAX - 1, INTPTR_MIN + 1, INT_MAX, INT_MIN, UINT32_MAX, 0};
	size_t n = sizeof(numbers) / sizeof(numbers[0]), got = 0;
	weakref_valuedict *dict = weakref_valuedict_new(_i ? WEAKREF_KEY_INT : WEAKREF_KEY_POINTER);
	struct support_node **nodes = gc_alloc(n * sizeof(*nodes));
	weakref_pair *items;
	/* 0 is the last: as a pointer it is no key. */
	n -= _i == 0;

	for (size_t i = 0; i < n; i++) {
		nodes[i] = support_node_new(i);
		ck_assert_int_eq(weakref_valuedict_contains(dict, WEAKREF_INT(numbers[i])), 0);
		ck_assert_int_eq(weakref_valuedict_set(dict, WEAKREF_INT(numbers[i]), nodes[i]), 0);
	}
	support_collect();
	ck_assert_uint_eq(weakref_valuedict_len(dict), n);
	for (size_t i = 0; i < n; i++)
		ck_assert_ptr_eq(weakref_valuedict_get(dict, WEAKREF_INT(numbers[i])), nodes[i]);
	items = weakref_valuedict_items(dict, &got);
	ck_assert_uint_eq(got, n);
	for (size_t i = 0; i < n; i++) {
		uint64_t id = ((struct support_node *)items[i].value)->id;

		ck_assert(WEAKREF_INT_VALUE(items[i].key) == numbers[id]);
	}
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(weakref_valuedict_delete(dict, WEAKREF_INT(numbers[i])), 0);
	ck_assert_uint_eq(weakref_valuedict_len(dict), 0);
	SUPPORT_KEEP(nodes);
}
END_TEST

/* R37: strings and bytes of every length around the sizes of blocks, long ones, and strings that are not text. */
START_TEST(test_R37_lengths_of_keys)
{
	static const size_t lengths[] = {0, 1, 7, 8, 15, 16, 17, 31, 32, 63, 64, 240, 2047, 2048, 4095, 4096, 70000, 1 << 20};
	size_t n = sizeof(lengths) / sizeof(lengths[0]);
	bool bytes = _i;
	weakref_valuedict *dict = weakref_valuedict_new(bytes ? WEAKREF_KEY_BYTES : WEAKREF_KEY_STRING);
	struct support_node **nodes = gc_alloc(n * sizeof(*nodes));
	char *buffer = malloc((1 << 20) + 1);

	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < n; i++) {
			weakref_bytes key = {buffer, lengths[i]};
			const void *p = bytes ? (const void *)&key : buffer;

			memset(buffer, bytes ? 0 : 0xff, lengths[i]);
			buffer[lengths[i]] = '\0';
			if (round == 0) {
				nodes[i] = support_node_new(i);
				ck_assert_int_eq(weakref_valuedict_set(dict, p, nodes[i]), 0);
			}
			ck_assert_ptr_eq(weakref_valuedict_get(dict, p), nodes[i]);
			/* The copy is the dictionary's own. */
			memset(buffer, 'x', 1 << 20);
		}
	ck_assert_uint_eq(weakref_valuedict_len(dict), n);
	while (n-- > 0) {
		const void *key = NULL;
		struct support_node *node = NULL;

		ck_assert_int_eq(weakref_valuedict_popitem(dict, &key, (void **)&node), 0);
		ck_assert_uint_eq(bytes ? ((const weakref_bytes *)key)->size : strlen(key), lengths[node->id]);
	}
	free(buffer);
	SUPPORT_KEEP(nodes);
}
END_TEST

/* R42: keys that were handed out as copies stay what they were, whatever becomes of the dictionary. */
START_TEST(test_R42_keys_are_copies)
{
	struct fixture f = fixture_new(_i, N, 1);
	size_t n = 0;
	const void **keys = weakref_valuedict_keys(f.dict, &n);
	weakref_pair *items = weakref_valuedict_items(f.dict, &n);
	unsigned char *seen = calloc(N + 1, 1);

	ck_assert_uint_eq(n, N);
	ck_assert_int_eq(weakref_valuedict_clear(f.dict), 0);
	SUPPORT_CLEAR(f.dict);
	support_collect();
	for (size_t i = 0; i < n; i++) {
		size_t of_keys = keys_number(f.kind, keys[i]), of_items = keys_number(f.kind, items[i].key);

		ck_assert(of_keys < N && of_items < N);
		seen[of_keys < N ? of_keys : N]++;
		seen[of_items < N ? of_items : N]++;
	}
	for (size_t i = 0; i < N; i++)
		ck_assert_uint_eq(seen[i], 2);
	free(seen);
}
END_TEST

/* ---- hostile functions --------------------------------------------------------------------------------------------------- */

enum mischief { HARMLESS, FAIL_HASH, FAIL_EQUAL, DELETE_SAME, SET_SAME, CLEAR, GROW, COLLECT, GET, POPITEM, ITERATE, MISCHIEFS };

/* What the functions of a custom dictionary do besides; on the heap, for it holds the dictionary and is held by it. */
struct trickster {
	weakref_valuedict *dict;
	struct support_node **strong;
	enum mischief mischief;
	/* How many calls from now act, and how deep we are. */
	unsigned budget, depth;
	bool collide;
	unsigned calls;
};

static void act(struct trickster *t, const struct keys_custom *key)
{
	weakref_valuedict_iter *iter;

	if (t->budget == 0 || t->depth > 1)
		return;
	t->budget--;
	t->depth++;
	switch (t->mischief) {
	case DELETE_SAME:
		weakref_valuedict_delete(t->dict, key);
		break;
	case SET_SAME:
		weakref_valuedict_set(t->dict, &keys_customs[key->number], t->strong[key->number]);
		break;
	case CLEAR:
		weakref_valuedict_clear(t->dict);
		break;
	case GROW:
		for (size_t i = 0; i < N; i++)
			weakref_valuedict_set(t->dict, &keys_customs[i], t->strong[i]);
		break;
	case COLLECT:
		gc_collect();
		break;
	case GET:
		weakref_valuedict_get(t->dict, key);
		break;
	case POPITEM:
		weakref_valuedict_popitem(t->dict, NULL, NULL);
		break;
	case ITERATE:
		iter = weakref_valuedict_iter_new(t->dict);
		while (weakref_valuedict_iter_next(iter, NULL, NULL) == 1)
			;
		break;
	default:
		break;
	}
	t->depth--;
}

static int trick_hash(const void *key, uint64_t *out, void *user)
{
	struct trickster *t = user;
	const struct keys_custom *custom = key;

	t->calls++;
	if (t->mischief == FAIL_HASH && t->budget > 0) {
		t->budget--;
		return -WEAKREF_ETIMEDOUT;
	}
	*out = t->collide ? 0 : custom->number;
	return 0;
}

static int trick_equal(const void *a, const void *b, void *user)
{
	struct trickster *t = user;
	const struct keys_custom *x = a, *y = b;

	t->calls++;
	if (x->signature != KEYS_SIGNATURE || y->signature != KEYS_SIGNATURE)
		return -WEAKREF_EINVAL;
	if (t->mischief == FAIL_EQUAL && t->budget > 0) {
		t->budget--;
		return -WEAKREF_ECANCELED;
	}
	act(t, x);
	return x->number == y->number;
}

static struct trickster *trickster_new(size_t n, bool collide)
{
	struct trickster *t = gc_alloc(sizeof(*t));

	t->collide = collide;
	t->strong = gc_alloc(N * sizeof(*t->strong));
	t->dict = weakref_valuedict_new_custom(trick_hash, trick_equal, t);
	ck_assert_ptr_nonnull(t->dict);
	for (size_t i = 0; i < N; i++)
		t->strong[i] = support_node_new(i);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(weakref_valuedict_set(t->dict, &keys_customs[i], t->strong[i]), 0);
	return t;
}

/* Whatever happened: each key is there at most once, with its own value, and is found; len agrees. */
static size_t trickster_sound(struct trickster *t)
{
	size_t n = 0;
	weakref_pair *items;
	unsigned char seen[N] = {0};

	t->mischief = HARMLESS;
	gc_collect();
	items = weakref_valuedict_items(t->dict, &n);
	ck_assert_ptr_nonnull(items);
	ck_assert_uint_eq(n, weakref_valuedict_len(t->dict));
	for (size_t i = 0; i < n; i++) {
		uint32_t number = ((const struct keys_custom *)items[i].key)->number;

		ck_assert_uint_lt(number, N);
		ck_assert_uint_eq(seen[number]++, 0);
		ck_assert_ptr_eq(items[i].value, t->strong[number]);
		ck_assert_ptr_eq(weakref_valuedict_get(t->dict, items[i].key), items[i].value);
	}
	return n;
}

/* R45: a hash or equal that fails makes the operation fail with its result, and nothing has changed. */
START_TEST(test_R45_functions_fail)
{
	struct trickster *t = trickster_new(N / 2, true);
	enum mischief how[] = {FAIL_HASH, FAIL_EQUAL};
	int results[] = {-WEAKREF_ETIMEDOUT, -WEAKREF_ECANCELED};
	weakref_pair pair = {&keys_customs[1], t->strong[1]};
	void *value;

#define FAILS(call)                                                                                                    \
	do {                                                                                                           \
		t->mischief = how[i];                                                                                  \
		t->budget = 1;                                                                                         \
		ck_assert_int_eq(call, results[i]);                                                                    \
		ck_assert_uint_eq(t->budget, 0);                                                                       \
		ck_assert_uint_eq(trickster_sound(t), N / 2);                                                          \
	} while (0)
	for (int i = 0; i < 2; i++) {
		FAILS(weakref_valuedict_set(t->dict, &keys_customs[1], t->strong[1]));
		FAILS(weakref_valuedict_set(t->dict, &keys_customs[N - 1], t->strong[N - 1]));
		FAILS(weakref_valuedict_lookup(t->dict, &keys_customs[1], &value));
		FAILS(weakref_valuedict_contains(t->dict, &keys_customs[1]));
		FAILS(weakref_valuedict_delete(t->dict, &keys_customs[1]));
		FAILS(weakref_valuedict_pop(t->dict, &keys_customs[1], &value));
		FAILS((weakref_valuedict_get(t->dict, &keys_customs[1]) == NULL ? results[i] : 0));
		FAILS((weakref_valuedict_get_or(t->dict, &keys_customs[1], &value) == &value ? results[i] : 0));
		FAILS((weakref_valuedict_setdefault(t->dict, &keys_customs[1], t->strong[1]) == NULL ? -errno : 0));
		FAILS(weakref_valuedict_update_pairs(t->dict, &pair, 1));
	}
#undef FAILS
}
END_TEST

/* R45: keys that all collide are kept apart by equal alone. */
START_TEST(test_R45_all_collide)
{
	struct trickster *t = trickster_new(N, true);

	ck_assert_uint_eq(trickster_sound(t), N);
	for (size_t i = 0; i < N; i += 2)
		ck_assert_int_eq(weakref_valuedict_delete(t->dict, &keys_customs[i]), 0);
	ck_assert_uint_eq(trickster_sound(t), N / 2);
	for (size_t i = 0; i < N; i++)
		ck_assert_int_eq(weakref_valuedict_contains(t->dict, &keys_customs[i]), i % 2);
	for (size_t i = 0; i < N; i += 2)
		ck_assert_int_eq(weakref_valuedict_set(t->dict, &keys_customs[i], t->strong[i]), 0);
	ck_assert_uint_eq(trickster_sound(t), N);
}
END_TEST

/* R45: an equal that changes the very dictionary, walks it or collects, at its every call and in every operation. */
START_TEST(test_R45_equal_reenters)
{
	for (unsigned at = 1; at <= 3; at++)
		for (int collide = 0; collide < 2; collide++) {
			struct trickster *t = trickster_new(N / 2, collide);
			size_t key = N / 4;
			void *value = NULL;
			int rc;

			t->calls = 0;
			t->mischief = (enum mischief)_i;
			t->budget = at;
			rc = weakref_valuedict_set(t->dict, &keys_customs[key], t->strong[key]);
			ck_assert_int_eq(rc, 0);
			ck_assert_uint_gt(t->calls, 0);
			t->mischief = HARMLESS;
			ck_assert_ptr_eq(weakref_valuedict_get(t->dict, &keys_customs[key]), t->strong[key]);
			trickster_sound(t);

			weakref_valuedict_set(t->dict, &keys_customs[key], t->strong[key]);
			t->mischief = (enum mischief)_i;
			t->budget = at;
			value = weakref_valuedict_setdefault(t->dict, &keys_customs[key], t->strong[key]);
			ck_assert_ptr_eq(value, t->strong[key]);
			trickster_sound(t);

			t->mischief = (enum mischief)_i;
			t->budget = at;
			value = weakref_valuedict_get(t->dict, &keys_customs[key]);
			ck_assert(value == NULL || value == t->strong[key]);
			trickster_sound(t);

			t->mischief = (enum mischief)_i;
			t->budget = at;
			rc = weakref_valuedict_delete(t->dict, &keys_customs[key]);
			ck_assert(rc == 0 || rc == -WEAKREF_ENOENT);
			trickster_sound(t);

			weakref_valuedict_set(t->dict, &keys_customs[key], t->strong[key]);
			t->mischief = (enum mischief)_i;
			t->budget = at;
			rc = weakref_valuedict_pop(t->dict, &keys_customs[key], &value);
			ck_assert(rc == -WEAKREF_ENOENT || (rc == 0 && value == t->strong[key]));
			trickster_sound(t);
		}
}
END_TEST

/* ---- growth, mass death, memory ------------------------------------------------------------------------------------------ */

/* R34 R35: many entries, more than any first table; all but a few die at once; the table then serves and gives its memory back. */
START_TEST(test_R35_growth_and_mass_death)
{
	size_t n = support_scaled(_i == WEAKREF_KEY_INT ? 100000 : 20000, 2000);
	struct fixture f;
	size_t empty, full, after;

	support_collect();
	empty = GC_get_memory_use();
	f = fixture_new(_i, n, 1);
	expect(&f, n);
	full = GC_get_memory_use();
	for (size_t i = 0; i < n; i++)
		if (i % 1000 != 0)
			drop(&f, i);
	support_collect();
	expect(&f, (n + 999) / 1000);
	/* A write lets the table shrink; then the old one has to die, which takes a collection, and to be swept, which takes
	 * another. */
	for (size_t i = 0; i < n; i += 1000) {
		struct keys_room room;

		ck_assert_int_eq(weakref_valuedict_set(f.dict, keys_store(f.kind, i, &room), f.strong[i]), 0);
	}
	support_collect();
	support_collect();
	after = GC_get_memory_use();
	printf("kind %d: %zu entries; in use %zu KiB before, %zu full, %zu after the mass death\n", _i, n, empty / 1024, full / 1024, after / 1024);
	if (n == 100000)
		ck_assert_uint_le(after, empty + (full - empty) / 2);
	f.from = 0;
	ck_assert_int_eq(support_on_thread(fill, &f), 0);
	expect(&f, n);
}
END_TEST

/* R36: entries that come and die for ever do not make the table grow: there is room for the living only. */
START_TEST(test_R36_churn_keeps_size)
{
	struct fixture f = {.dict = keys_dict((enum weakref_key_kind)_i), .kind = (enum weakref_key_kind)_i, .n = 2000};
	size_t rounds = support_scaled(50, 5), first = 0, last;
	unsigned lived = 0;

	f.strong = gc_alloc(KEYS_MAX * sizeof(*f.strong));
	for (size_t round = 0; round < rounds; round++) {
		f.from = round * 2000;
		f.n = f.from + 2000;
		ck_assert_int_eq(support_on_thread(fill, &f), 0);
		support_collect();
		lived += weakref_valuedict_len(f.dict) > 2 * SUPPORT_SLACK;
		if (round == rounds / 2)
			first = GC_get_memory_use();
	}
	last = GC_get_memory_use();
	ck_assert_uint_eq(lived, 0);
	ck_assert_uint_le(last, first + ((size_t)2 << 20));
	SUPPORT_KEEP(f.strong);
}
END_TEST

/* ---- allocation failure -------------------------------------------------------------------------------------------------- */

enum swept { SWEEP_NEW, SWEEP_PAIRS, SWEEP_SET, SWEEP_SETDEFAULT, SWEEP_UPDATE, SWEEP_UNION, SWEEP_COPY, SWEEP_DEEPCOPY, SWEEP_POPITEM,
	     SWEEP_CLEAR, SWEEP_ITER, SWEEP_ITEMS, SWEEP_KEYS, SWEEP_VALUES, SWEEP_VALUEREFS, SWEPT };

/* One call; 0, or the error. `changed` becomes how many entries it added. */
static int sweep_call(enum swept what, struct fixture *f, struct fixture *g, long *added)
{
	struct keys_room room;
	size_t n;
	void *made = NULL;
	weakref_pair pair;

	*added = 0;
	errno = 0;
	switch (what) {
	case SWEEP_NEW:
		made = keys_dict(f->kind);
		break;
	case SWEEP_PAIRS:
		pair = (weakref_pair){keys_store(f->kind, 0, &room), f->strong[0]};
		made = f->kind == WEAKREF_KEY_CUSTOM ? keys_dict(f->kind) : weakref_valuedict_from_pairs(f->kind, &pair, 1);
		break;
	case SWEEP_SET:
		*added = 1;
		return weakref_valuedict_set(f->dict, keys_store(f->kind, f->n, &room), f->strong[0]);
	case SWEEP_SETDEFAULT:
		*added = 1;
		made = weakref_valuedict_setdefault(f->dict, keys_store(f->kind, f->n, &room), f->strong[0]);
		break;
	case SWEEP_UPDATE:
		return weakref_valuedict_update(g->dict, f->dict);
	case SWEEP_UNION:
		made = weakref_valuedict_union(f->dict, f->dict);
		break;
	case SWEEP_COPY:
		made = weakref_valuedict_copy(f->dict);
		break;
	case SWEEP_DEEPCOPY:
		made = weakref_valuedict_deepcopy(f->dict, f->kind == WEAKREF_KEY_CUSTOM ? copy_key : NULL, &copied);
		break;
	case SWEEP_POPITEM:
		*added = -1;
		return weakref_valuedict_popitem(f->dict, (const void **)&made, NULL);
	case SWEEP_CLEAR:
		*added = -(long)f->n;
		return weakref_valuedict_clear(f->dict);
	case SWEEP_ITER:
		made = weakref_valuedict_iter_new(f->dict);
		break;
	case SWEEP_ITEMS:
		made = weakref_valuedict_items(f->dict, &n);
		break;
	case SWEEP_KEYS:
		made = weakref_valuedict_keys(f->dict, &n);
		break;
	case SWEEP_VALUES:
		made = weakref_valuedict_values(f->dict, &n);
		break;
	case SWEEP_VALUEREFS:
		made = weakref_valuedict_valuerefs(f->dict, &n);
		break;
	default:
		break;
	}
	return made != NULL ? 0 : -errno;
}

/* Fails the 1st, 2nd, … allocation of one call, on a dictionary of n entries each time new. */
static unsigned sweep(enum swept what, int kind, size_t n)
{
	unsigned failures = 0;

	for (unsigned long nth = 1;; nth++) {
		struct fixture f = fixture_new(kind, n, 1), g = f;
		struct support_node **strong = gc_alloc((n + 1) * sizeof(*strong));
		long added, left;
		int rc;

		memcpy(strong, f.strong, n * sizeof(*strong));
		f.strong = strong;
		if (n == 0)
			f.strong[0] = support_node_new(0);
		g.dict = keys_dict(f.kind);
		weakref_checks_fail_allocation(nth);
		rc = sweep_call(what, &f, &g, &added);
		left = weakref_checks_fail_allocation(0);
		ck_assert_msg(rc == 0 || rc == -WEAKREF_ENOMEM, "call %d, kind %d: %d", what, kind, rc);
		if (rc != 0)
			failures++;
		ck_assert_uint_eq(weakref_valuedict_len(f.dict), (size_t)((long)n + (rc == 0 ? added : 0)));
		if (rc != 0)
			expect(&f, n);
		/* Each of the entries that got there is whole. */
		ck_assert_uint_le(weakref_valuedict_len(g.dict), n);
		if (left != 0) {
			ck_assert_int_eq(rc, 0);
			return failures;
		}
	}
}

/* R44: with each allocation of each constructor and insert failing in turn, the call says ENOMEM and has changed nothing. */
START_TEST(test_R44_allocation_fails)
{
	static const size_t sizes[] = {1, 7, 13, 14, 28, 60, 200};

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	for (int kind = first_kind(); kind < end_kind(); kind++) {
		unsigned failures = 0;

		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			failures += sweep((enum swept)_i, kind, sizes[i]);
		/* A popitem of an integer, and clear, may need no memory. */
		if (_i != SWEEP_POPITEM && _i != SWEEP_CLEAR && _i != SWEEP_SET && _i != SWEEP_SETDEFAULT)
			ck_assert_uint_gt(failures, 0);
	}
}
END_TEST

/* R44: a set that needs a bigger table meets the failure at every size up to some segments. */
START_TEST(test_R44_growth_fails)
{
	unsigned failures = 0;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	for (size_t n = 1; n < 40; n++)
		failures += sweep(SWEEP_SET, _i, n);
	ck_assert_uint_gt(failures, 0);
}
END_TEST

/* Takes what the heap has left under its limit, in blocks of this size linked by their first word. */
static void **ballast(size_t size)
{
	void **held = NULL;

	for (size_t i = 0; i < ((size_t)1 << 30) / size; i++) {
		void **block = gc_alloc(size);

		if (block == NULL)
			break;
		*block = held;
		held = block;
	}
	return held;
}

/* R44: over the heap limit, without the adversary: ENOMEM, all entries as they were, and work goes on when there is room. */
START_TEST(test_R44_heap_limit)
{
	struct fixture f = fixture_new(_i, N, 1);
	struct keys_room room;
	void **held, **more;
	int rc = 0;
	size_t i, len;

	ck_assert_int_eq(gc_set_heap_limit(GC_get_heap_size() + ((size_t)1 << 20)), 0);
	held = ballast((size_t)1 << 16);
	ck_assert_ptr_nonnull(held);
	more = ballast(4000);
	/* Some room, that a table will soon fill. */
	for (i = 0; i < 4 && held != NULL; i++)
		held = *held;
	for (i = N; i < KEYS_MAX && rc == 0; i++)
		rc = weakref_valuedict_set(f.dict, keys_store(f.kind, i, &room), f.strong[i % N]);
	ck_assert_int_eq(gc_set_heap_limit(0), 0);
	SUPPORT_KEEP(held);
	SUPPORT_KEEP(more);
	ck_assert_int_eq(rc, -WEAKREF_ENOMEM);
	len = weakref_valuedict_len(f.dict);
	ck_assert_uint_eq(len, i - 1);
	for (i = N; i < len; i++)
		ck_assert_ptr_eq(weakref_valuedict_get(f.dict, keys_find(f.kind, i, &room)), f.strong[i % N]);
	ck_assert_int_eq(weakref_valuedict_set(f.dict, keys_store(f.kind, len, &room), f.strong[0]), 0);
	ck_assert_int_eq(support_on_thread(look, &f), 0);
	ck_assert_uint_eq(f.held, N);
	ck_assert_int_eq(f.length, (long)len + 1);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------------------- */

static Suite *suite(void)
{
	Suite *suite = suite_create("valuedict");
	int first = first_kind(), end = end_kind();
	TCase *basics = support_tcase("basics"), *iterators = support_tcase("iterators"), *making = support_tcase("construction");
	TCase *lifetimes = support_tcase("lifetimes"), *hostile = support_tcase("hostile"), *memory = support_tcase("memory");

	tcase_add_loop_test(basics, test_D01_set_get, first, end);
	tcase_add_loop_test(basics, test_D02_value_dies, first, end);
	tcase_add_test(basics, test_D02_foreign_values);
	tcase_add_test(basics, test_R03_inner_pointer);
	tcase_add_loop_test(basics, test_D05_absent_key, first, end);
	tcase_add_loop_test(basics, test_D06_delete, first, end);
	tcase_add_loop_test(basics, test_D07_iterators, first, end);
	tcase_add_loop_test(basics, test_D08_valuerefs, first, end);
	tcase_add_loop_test(basics, test_D23_popitem, first, end);
	tcase_add_loop_test(basics, test_D23_popitem_many, first, end);
	tcase_add_loop_test(basics, test_D25_setdefault, first, end);
	tcase_add_loop_test(basics, test_D27_D28_dead_entry, first, end);
	tcase_add_loop_test(basics, test_D27_pop_live, first, end);
	tcase_add_loop_test(basics, test_D34_replaced_value_dies, first, end);
	tcase_add_loop_test(basics, test_D34_dead_value_replaced, first, end);
	tcase_add_loop_test(basics, test_D38_repr, first, end);
	tcase_add_loop_test(basics, test_R234_generic_operations, 2 * first, 2 * end);
	suite_add_tcase(suite, basics);

	tcase_add_loop_test(iterators, test_D10_die_while_iterating, first, end);
	tcase_add_loop_test(iterators, test_D10_one_dies_anywhere, first, end);
	tcase_add_loop_test(iterators, test_D13_update_and_clear_while_iterating, first, end);
	tcase_add_loop_test(iterators, test_D12_dead_values_while_iterating, first, end);
	tcase_add_loop_test(iterators, test_R40_change_while_iterating, first, end);
	tcase_add_loop_test(iterators, test_R40_dictionary_dropped, first, end);
	tcase_add_loop_test(iterators, test_D15_len_of_cycles, first, end);
	tcase_add_test(iterators, test_D16_len_never_wrong);
	tcase_add_test(iterators, test_D17_key_iterator_keeps_no_value);
	tcase_add_loop_test(iterators, test_R42_keys_are_copies, first, end);
	suite_add_tcase(suite, iterators);

	tcase_add_loop_test(making, test_D21_construct, first, end);
	tcase_add_loop_test(making, test_D22_construct_errors, first, end);
	tcase_add_loop_test(making, test_D29_update, first, end);
	tcase_add_loop_test(making, test_D30_D31_union, first, end);
	tcase_add_loop_test(making, test_D32_copy, first, end);
	tcase_add_loop_test(making, test_D33_deepcopy, first, end);
	tcase_add_test(making, test_D33_deepcopy_with_mischief);
	suite_add_tcase(suite, making);

	tcase_add_loop_test(lifetimes, test_D39_D40_dropped_dictionary, first, end);
	tcase_add_test(lifetimes, test_D40_dictionary_in_cycle);
	tcase_add_loop_test(lifetimes, test_D48_value_holds_key, 0, 2);
	tcase_add_loop_test(lifetimes, test_R36_key_held, 0, 2);
	tcase_add_loop_test(lifetimes, test_R36_key_released, 0, 2);
	tcase_add_test(lifetimes, test_D62_cache_demo);
	suite_add_tcase(suite, lifetimes);

	tcase_add_loop_test(hostile, test_D04_unsuitable_keys, first, end);
	tcase_add_loop_test(hostile, test_R02_unsuitable_values, first, end);
	tcase_add_test(hostile, test_hostile_dictionary);
	tcase_add_loop_test(hostile, test_hostile_out_pointers, first, end);
	tcase_add_loop_test(hostile, test_R37_extreme_integers, 0, 2);
	tcase_add_loop_test(hostile, test_R37_lengths_of_keys, 0, 2);
	tcase_add_test(hostile, test_R45_functions_fail);
	tcase_add_test(hostile, test_R45_all_collide);
	tcase_add_loop_test(hostile, test_R45_equal_reenters, DELETE_SAME, MISCHIEFS);
	suite_add_tcase(suite, hostile);

	tcase_add_loop_test(memory, test_R35_growth_and_mass_death, first, end);
	tcase_add_loop_test(memory, test_R36_churn_keeps_size, first, end);
	tcase_add_loop_test(memory, test_R44_allocation_fails, 0, SWEPT);
	tcase_add_loop_test(memory, test_R44_growth_fails, first, end);
	tcase_add_loop_test(memory, test_R44_heap_limit, first, end);
	suite_add_tcase(suite, memory);
	return suite;
}

int main(void)
{
	keys_init();
	return support_main(suite);
}

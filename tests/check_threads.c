/* SPDX-License-Identifier: MIT */
/*
 * check_threads: references and dictionaries used by many threads at once, by public headers alone. Names carry the behaviour's id
 * in the conformance list, comments the rules of doc/semantics.md.
 *
 * Each test starts its threads together (support_threads): those that work, and one that collects until all of them are done.
 * Threads require, the main thread asserts. By default the rounds are few, so that the program takes seconds; WEAKREF_LONG=1 runs
 * the full ones. Absent: endurance under every kind of load at once, which is stress.c's.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <gc/gc.h>

#include "model_valuedict.h"
#include "weakref/keydict.h"
#include "weakref/set.h"

/* Rounds of a test: `full` in the long mode. */
static size_t rounds(size_t full, size_t quick)
{
	return support_scaled(getenv("WEAKREF_LONG") != NULL ? full : quick, 50);
}

/* ---- one that collects, others that work ---------------------------------------------------------------------------------- */

struct shared;

struct worker {
	struct shared *shared;
	support_fn fn;
	unsigned index;
	uint64_t state;
};

/* On the collected heap: holds everything that the threads share. */
struct shared {
	weakref_valuedict *dict;
	struct support_node **strong;
	size_t n, rounds;
	_Atomic unsigned working;
	_Atomic unsigned long collections, found, missed, copies;
	void *extra;
};

static int work(void *arg)
{
	struct worker *worker = arg;
	int result = worker->fn(worker);

	worker->shared->working--;
	return result;
}

static int collect_meanwhile(void *arg)
{
	struct worker *worker = arg;

	while (worker->shared->working > 0) {
		struct timespec pause = {0, (long)(support_random(&worker->state) % 3000000)};

		/* What the last marking left in this thread's stack would hold the same objects in the next. */
		support_scrub();
		SUPPORT_REQUIRE(gc_collect() >= 0);
		worker->shared->collections++;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Half way through its rounds a worker waits for a collection: on a busy machine all may be done before the collector has begun. */
static void half_way(const struct worker *worker, size_t round)
{
	if (round != worker->shared->rounds / 2)
		return;
	for (unsigned long seen = worker->shared->collections; worker->shared->collections == seen;)
		usleep(100);
}

static int dispatch(void *arg)
{
	struct worker *worker = arg;

	return worker->fn == collect_meanwhile ? collect_meanwhile(worker) : work(worker);
}

/* Runs the given functions, each on a thread, and a collector beside them. The number of threads that failed. */
static int run_with_collector(struct shared *shared, support_fn const *fns, unsigned n)
{
	struct worker *workers = gc_alloc((n + 1) * sizeof(*workers));

	for (unsigned i = 0; i <= n; i++)
		workers[i] = (struct worker){.shared = shared, .fn = i < n ? fns[i] : collect_meanwhile, .index = i, .state = support_seed() + i};
	shared->working = n;
	return support_threads(n + 1, dispatch, workers, sizeof(*workers));
}

static struct shared *shared_new(weakref_valuedict *dict, size_t n)
{
	struct shared *shared = gc_alloc(sizeof(*shared));

	shared->dict = dict;
	shared->n = n;
	shared->strong = gc_alloc((n + 1) * sizeof(*shared->strong));
	return shared;
}

/* ---- one key ------------------------------------------------------------------------------------------------------------- */

/* In a frame of its own, so that nothing of it is left when the thread pauses and a collection may find the object dead. */
__attribute__((noinline)) static int setdefault_round(struct shared *shared, size_t i)
{
	struct support_node *fresh = support_node_new(i), *node;

	SUPPORT_REQUIRE(fresh != NULL);
	fresh->next = fresh;
	node = weakref_valuedict_setdefault(shared->dict, WEAKREF_INT(10), fresh);
	SUPPORT_REQUIRE(node != NULL);
	SUPPORT_REQUIRE(support_node_intact(node));
	shared->found += node == fresh;
	shared->missed += node != fresh;
	return 0;
}

static int setdefault_rounds(void *arg)
{
	struct worker *worker = arg;

	for (size_t i = 0; i < worker->shared->rounds; i++) {
		SUPPORT_REQUIRE(setdefault_round(worker->shared, i) == 0);
		if (i % 256 == 0) {
			support_scrub();
			usleep(500);
		}
	}
	return 0;
}

/* T01: setdefault of one key with a fresh object each time, while another thread collects: never NULL, never a dead object. */
START_TEST(test_T01_setdefault)
{
	support_fn fns[] = {setdefault_rounds};
	struct shared *shared = shared_new(weakref_valuedict_new(WEAKREF_KEY_INT), 0);

	shared->rounds = rounds(100000, 40000);
	ck_assert_int_eq(run_with_collector(shared, fns, 1), 0);
	ck_assert_uint_gt(shared->collections, 1);
	/* Objects died in between, so that others took their place; and between deaths one stayed. */
	ck_assert_uint_gt(shared->found, 1);
	if (support_collect_every() == 0)
		ck_assert_uint_gt(shared->missed, 0);
}
END_TEST

static int pop_rounds(void *arg)
{
	static int none;
	struct worker *worker = arg;
	intptr_t key = 10 + worker->index;

	for (size_t i = 0; i < worker->shared->rounds; i++) {
		struct support_node *node = support_node_new(i);

		half_way(worker, i);
		SUPPORT_REQUIRE(node != NULL);
		node->next = node;
		SUPPORT_REQUIRE(weakref_valuedict_set(worker->shared->dict, WEAKREF_INT(key), node) == 0);
		node = weakref_valuedict_pop_or(worker->shared->dict, WEAKREF_INT(key), &none);
		SUPPORT_REQUIRE(node != NULL);
		if ((void *)node == &none) {
			worker->shared->missed++;
			continue;
		}
		SUPPORT_REQUIRE(support_node_intact(node) && node->id == i);
		worker->shared->found++;
	}
	return 0;
}

/* T02: store and pop with a default, while another thread collects: the object or the default, never NULL, never another object. */
START_TEST(test_T02_pop)
{
	support_fn fns[] = {pop_rounds, pop_rounds};
	struct shared *shared = shared_new(weakref_valuedict_new(WEAKREF_KEY_INT), 0);

	shared->rounds = rounds(100000, 40000);
	ck_assert_int_eq(run_with_collector(shared, fns, 2), 0);
	ck_assert_uint_gt(shared->collections, 0);
	ck_assert_uint_gt(shared->found, shared->rounds);
	ck_assert_uint_eq(weakref_valuedict_len(shared->dict), 0);
}
END_TEST

/* What has just been stored is held: so the containers cannot be empty, and an old entry's death must not take the new one along. */
__attribute__((noinline)) static int store_round(struct shared *shared, weakref_keydict *weak_values, void *key, weakref_set *set, size_t i)
{
	struct support_node *node = support_node_new(i);

	SUPPORT_REQUIRE(node != NULL);
	node->next = node;
	SUPPORT_REQUIRE(weakref_valuedict_set(shared->dict, WEAKREF_INT(10), node) == 0);
	SUPPORT_REQUIRE(weakref_valuedict_len(shared->dict) == 1);
	SUPPORT_REQUIRE(weakref_valuedict_get(shared->dict, WEAKREF_INT(10)) == node);
	SUPPORT_REQUIRE(weakref_keydict_set(weak_values, key, node) == 0);
	SUPPORT_REQUIRE(weakref_keydict_len(weak_values) == 1);
	SUPPORT_REQUIRE(weakref_keydict_get(weak_values, key) == node);
	SUPPORT_REQUIRE(weakref_set_add(set, node) == 1);
	SUPPORT_REQUIRE(weakref_set_len(set) >= 1);
	SUPPORT_REQUIRE(weakref_set_contains(set, node) == 1);
	SUPPORT_KEEP(node);
	return 0;
}

static int store_rounds(void *arg)
{
	struct worker *worker = arg;
	weakref_keydict *both = weakref_keydict_new_with(&(weakref_keydict_options){.weakness = WEAKREF_WEAK_BOTH});
	weakref_set *set = weakref_set_new(WEAKREF_BY_IDENTITY);
	void *key = gc_alloc(16);

	SUPPORT_REQUIRE(both != NULL && set != NULL && key != NULL);
	for (size_t i = 0; i < worker->shared->rounds; i++) {
		SUPPORT_REQUIRE(store_round(worker->shared, both, key, set, i) == 0);
		if (i % 256 == 0)
			usleep(500);
	}
	SUPPORT_KEEP(key);
	return 0;
}

/* T03: one key is given a fresh value each time while another thread collects: it is always there. (CPython:
 * test_threaded_weak_valued_consistency.) */
START_TEST(test_T03_consistency)
{
	support_fn fns[] = {store_rounds};
	struct shared *shared = shared_new(weakref_valuedict_new(WEAKREF_KEY_INT), 0);

	shared->rounds = rounds(200000, 40000);
	ck_assert_int_eq(run_with_collector(shared, fns, 1), 0);
	ck_assert_uint_gt(shared->collections, 1);
}
END_TEST

static int pop_together(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	for (size_t i = 0; i < shared->n; i++) {
		struct keys_room room;
		void *node = NULL;
		int rc;

		if (worker->index % 2)
			rc = weakref_valuedict_pop(shared->dict, keys_find(WEAKREF_KEY_STRING, i, &room), &node);
		else
			rc = weakref_valuedict_popitem(shared->dict, NULL, &node);
		SUPPORT_REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
		if (rc == 0) {
			SUPPORT_REQUIRE(support_node_intact(node));
			((_Atomic unsigned char *)shared->extra)[((struct support_node *)node)->id]++;
			shared->found++;
		}
	}
	return 0;
}

static int fill_strings(void *arg)
{
	struct shared *shared = arg;
	struct keys_room room;

	for (size_t i = 0; i < shared->n; i++) {
		shared->strong[i] = support_node_new(i);
		SUPPORT_REQUIRE(weakref_valuedict_set(shared->dict, keys_store(WEAKREF_KEY_STRING, i, &room), shared->strong[i]) == 0);
	}
	return 0;
}

/* T02 R48: threads that pop the same keys, and items, get each entry once between them. */
START_TEST(test_T02_each_popped_once)
{
	support_fn fns[] = {pop_together, pop_together, pop_together, pop_together};
	struct shared *shared = shared_new(weakref_valuedict_new(WEAKREF_KEY_STRING), rounds(100000, 20000));

	shared->extra = gc_alloc(shared->n);
	ck_assert_int_eq(fill_strings(shared), 0);
	ck_assert_int_eq(run_with_collector(shared, fns, 4), 0);
	ck_assert_uint_eq(shared->found, shared->n);
	for (size_t i = 0; i < shared->n; i++)
		ck_assert_uint_eq(((unsigned char *)shared->extra)[i], 1);
	ck_assert_uint_eq(weakref_valuedict_len(shared->dict), 0);
}
END_TEST

static int setdefault_together(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct support_node *_Atomic *agreed = shared->extra;

	for (size_t i = 0; i < shared->n; i++) {
		struct keys_room room;
		struct support_node *fresh = support_node_new(i), *node, *first = NULL;

		SUPPORT_REQUIRE(fresh != NULL);
		node = weakref_valuedict_setdefault(shared->dict, keys_store(WEAKREF_KEY_STRING, i, &room), fresh);
		SUPPORT_REQUIRE(support_node_intact(node) && node->id == i);
		if (!atomic_compare_exchange_strong(&agreed[i], &first, node))
			SUPPORT_REQUIRE(first == node);
	}
	return 0;
}

/* T01 R48: several threads that setdefault one absent key at once all get the same object. */
START_TEST(test_T01_all_get_the_same)
{
	support_fn fns[] = {setdefault_together, setdefault_together, setdefault_together, setdefault_together};
	struct shared *shared = shared_new(weakref_valuedict_new(WEAKREF_KEY_STRING), rounds(100000, 20000));

	shared->extra = shared->strong;
	ck_assert_int_eq(run_with_collector(shared, fns, 4), 0);
	ck_assert_uint_eq(weakref_valuedict_len(shared->dict), shared->n);
	for (size_t i = 0; i < shared->n; i++)
		ck_assert(support_node_intact(shared->strong[i]));
}
END_TEST

/* ---- copies while others drop -------------------------------------------------------------------------------------------- */

#define COPIED_FULL 70000

static void *copy_custom(const void *key, void *user)
{
	struct keys_custom *copy = gc_alloc_leaf(sizeof(*copy));

	((struct shared *)user)->copies++;
	if (copy != NULL)
		*copy = *(const struct keys_custom *)key;
	return copy;
}

static int verify_copy(struct shared *shared, const weakref_valuedict *copy)
{
	weakref_valuedict_iter *iter = weakref_valuedict_iter_new(copy);
	const void *key;
	void *value;
	int rc;

	SUPPORT_REQUIRE(iter != NULL);
	while ((rc = weakref_valuedict_iter_next(iter, &key, &value)) == 1) {
		const struct keys_custom *custom = key;
		struct support_node *node = value;

		SUPPORT_REQUIRE(custom->signature == KEYS_SIGNATURE && support_node_intact(node) && node->id == custom->number);
		shared->found++;
	}
	SUPPORT_REQUIRE(rc == 0);
	return 0;
}

static int copy_rounds(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	for (size_t i = 0; i < shared->rounds; i++) {
		weakref_valuedict *copy = weakref_valuedict_copy(shared->dict);

		half_way(worker, i);
		SUPPORT_REQUIRE(copy != NULL && verify_copy(shared, copy) == 0);
	}
	return 0;
}

static int deepcopy_rounds(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	for (size_t i = 0; i < shared->rounds; i++) {
		weakref_valuedict *copy = weakref_valuedict_deepcopy(shared->dict, copy_custom, shared);

		half_way(worker, i);
		SUPPORT_REQUIRE(copy != NULL && verify_copy(shared, copy) == 0);
	}
	return 0;
}

/* Drops values, and deletes and adds entries, at random, as long as the copying one works. */
static int drop_at_random(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	for (size_t i = 0; shared->working > 1; i++) {
		size_t at = support_random(&worker->state) % shared->n;
		struct keys_room room;

		if (i % 4 != 0) {
			SUPPORT_CLEAR(shared->strong[at]);
		} else if (i % 8 != 0) {
			int rc = weakref_valuedict_delete(shared->dict, keys_find(WEAKREF_KEY_CUSTOM, at, &room));

			SUPPORT_REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
		} else {
			struct support_node *node = support_node_new(at);

			SUPPORT_REQUIRE(node != NULL);
			SUPPORT_REQUIRE(weakref_valuedict_set(shared->dict, &keys_customs[at], node) == 0);
			shared->strong[at] = node;
		}
		if (i % 64 == 0)
			usleep(100);
	}
	return 0;
}

static int fill_customs(void *arg)
{
	struct shared *shared = arg;

	for (size_t i = 0; i < shared->n; i++) {
		shared->strong[i] = support_node_new(i);
		SUPPORT_REQUIRE(weakref_valuedict_set(shared->dict, &keys_customs[i], shared->strong[i]) == 0);
	}
	return 0;
}

static void check_copies(support_fn copying, size_t full, size_t quick)
{
	support_fn fns[] = {copying, drop_at_random};
	struct shared *shared = shared_new(keys_dict(WEAKREF_KEY_CUSTOM), rounds(COPIED_FULL, 10000));

	shared->rounds = getenv("WEAKREF_LONG") != NULL ? full : quick;
	ck_assert_int_eq(support_on_thread(fill_customs, shared), 0);
	ck_assert_int_eq(run_with_collector(shared, fns, 2), 0);
	ck_assert_uint_gt(shared->found, 0);
	ck_assert_uint_gt(shared->collections, 0);
	if (copying == deepcopy_rounds)
		ck_assert_uint_ge(shared->copies, shared->found);
}

/* T05: copying a large dictionary while another thread drops and changes it at random: no error, and what is copied is alive. */
START_TEST(test_T05_copy)
{
	check_copies(copy_rounds, 20, 5);
}
END_TEST

/* T06: the same with a deep copy, whose function copies each key. */
START_TEST(test_T06_deepcopy)
{
	check_copies(deepcopy_rounds, 20, 5);
}
END_TEST

/* ---- two questions ------------------------------------------------------------------------------------------------------- */

static int ask_twice(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	for (size_t i = 0; i < shared->rounds; i++) {
		struct keys_room room;
		size_t at = support_random(&worker->state) % shared->n;
		const void *key = keys_find(WEAKREF_KEY_BYTES, at, &room);
		int there = weakref_valuedict_contains(shared->dict, key);
		struct support_node *node = weakref_valuedict_get(shared->dict, key);

		half_way(worker, i);
		SUPPORT_REQUIRE(there == 0 || there == 1);
		if (node != NULL) {
			SUPPORT_REQUIRE(support_node_intact(node) && node->id == at);
			shared->found++;
		} else if (there) {
			shared->missed++;
		}
	}
	return 0;
}

static int replace_at_random(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;

	while (shared->working > 1) {
		struct keys_room room;
		size_t at = support_random(&worker->state) % shared->n;
		struct support_node *node = support_node_new(at);
		int rc;

		SUPPORT_REQUIRE(node != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(shared->dict, keys_store(WEAKREF_KEY_BYTES, at, &room), node) == 0);
		shared->strong[at] = at % 2 ? node : NULL;
		at = support_random(&worker->state) % shared->n;
		SUPPORT_CLEAR(shared->strong[at]);
		rc = weakref_valuedict_delete(shared->dict, keys_find(WEAKREF_KEY_BYTES, at, &room));
		SUPPORT_REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
	}
	return 0;
}

/* T08 R49: contains, then get, while others replace, delete, drop and collect: get may miss, but never gives a dead object. */
START_TEST(test_T08_contains_then_get)
{
	support_fn fns[] = {ask_twice, replace_at_random};
	struct shared *shared = shared_new(weakref_valuedict_new(WEAKREF_KEY_BYTES), 200);

	shared->rounds = rounds(20000000, 1000000);
	ck_assert_int_eq(run_with_collector(shared, fns, 2), 0);
	/* Where each call of the writer collects, it has hardly begun when the reader is done. */
	if (support_collect_every() == 0)
		ck_assert_uint_gt(shared->found, 0);
	ck_assert_uint_gt(shared->collections, 0);
}
END_TEST

/* ---- callbacks ----------------------------------------------------------------------------------------------------------- */

#define TALLY_SHARED 64
#define TALLY_THREADS 8

/* One callback reference: what its callback counts. */
struct tally {
	weakref_ref *ref;
	_Atomic unsigned fired;
	_Atomic unsigned alive_in_callback;
};

struct tallies {
	struct support_node *_Atomic objects[TALLY_SHARED];
	_Atomic uint64_t next_id;
	/* For each object made: a plain reference. */
	weakref_ref **plain;
	size_t plain_room;
	/* Kept callback references, and the tallies of dropped ones, per thread. */
	struct tally *kept[TALLY_THREADS], *dropped[TALLY_THREADS];
	size_t n_kept[TALLY_THREADS], n_dropped[TALLY_THREADS];
};

static int on_death(weakref_ref *ref, void *data)
{
	struct tally *tally = data;

	tally->fired++;
	tally->alive_in_callback += weakref_ref_get(ref) != NULL;
	return 0;
}

static struct support_node *tally_object(struct shared *shared)
{
	struct tallies *all = shared->extra;
	uint64_t id = atomic_fetch_add(&all->next_id, 1);
	struct support_node *node = support_node_new(id);

	if (node == NULL || id >= all->plain_room)
		return NULL;
	all->plain[id] = weakref_ref_new(node, NULL, NULL);
	if (all->plain[id] == NULL || weakref_valuedict_set(shared->dict, WEAKREF_INT(id), node) != 0)
		return NULL;
	return node;
}

static int tally_rounds(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct tallies *all = shared->extra;
	unsigned me = worker->index;

	for (size_t i = 0; i < shared->rounds; i++) {
		size_t at = support_random(&worker->state) % TALLY_SHARED;
		struct support_node *node = all->objects[at];

		half_way(worker, i);
		if (i % 8 == 0) {
			node = tally_object(shared);
			SUPPORT_REQUIRE(node != NULL);
			all->objects[at] = node;
			continue;
		}
		if (i % 3 == 0) {
			struct tally *tally = &all->dropped[me][all->n_dropped[me]++];

			SUPPORT_REQUIRE(weakref_ref_new(node, on_death, tally) != NULL);
		} else {
			struct tally *tally = &all->kept[me][all->n_kept[me]];

			tally->ref = weakref_ref_new(node, on_death, tally);
			SUPPORT_REQUIRE(tally->ref != NULL);
			all->n_kept[me]++;
		}
	}
	return 0;
}

static int tally_up(void *arg)
{
	struct shared *shared = arg;
	struct tallies *all = shared->extra;
	uint64_t made = all->next_id, alive = 0;
	size_t deaths = 0, fired = 0, refs = 0, len = weakref_valuedict_len(shared->dict);

	/* Nothing here allocates: what is dead stays so. */
	for (size_t t = 0; t < TALLY_THREADS; t++) {
		for (size_t i = 0; i < all->n_kept[t]; i++) {
			struct tally *tally = &all->kept[t][i];
			bool dead = weakref_ref_get(tally->ref) == NULL;

			SUPPORT_REQUIRE(tally->fired == dead);
			SUPPORT_REQUIRE(tally->alive_in_callback == 0);
			deaths += dead;
			fired += tally->fired;
			refs++;
		}
		for (size_t i = 0; i < all->n_dropped[t]; i++)
			SUPPORT_REQUIRE(all->dropped[t][i].fired <= 1);
	}
	for (uint64_t id = 0; id < made; id++) {
		struct support_node *node = weakref_ref_get(all->plain[id]);

		SUPPORT_REQUIRE(weakref_valuedict_get(shared->dict, WEAKREF_INT(id)) == node);
		alive += node != NULL;
	}
	SUPPORT_REQUIRE(len == alive);
	SUPPORT_REQUIRE(deaths == fired);
	shared->found = deaths;
	shared->missed = refs;
	shared->copies = alive;
	return 0;
}

/* T10 R9 R11: eight threads make and drop callback references on shared objects, which are in a dictionary too, while a ninth
 * collects: a kept
 * reference is dead if and only if its callback ran, once; a dropped one's ran once at most; references and dictionary agree. */
START_TEST(test_T10_callbacks_equal_deaths)
{
	support_fn fns[TALLY_THREADS];
	struct shared *shared = shared_new(weakref_valuedict_new(WEAKREF_KEY_INT), 0);
	struct tallies *all = gc_alloc(sizeof(*all));

	shared->extra = all;
	shared->rounds = rounds(100000, 4000);
	all->plain_room = TALLY_SHARED + TALLY_THREADS * (shared->rounds / 8 + 1);
	all->plain = gc_alloc(all->plain_room * sizeof(weakref_ref *));
	for (unsigned i = 0; i < TALLY_THREADS; i++) {
		fns[i] = tally_rounds;
		all->kept[i] = gc_alloc(shared->rounds * sizeof(struct tally));
		all->dropped[i] = gc_alloc(shared->rounds * sizeof(struct tally));
	}
	for (unsigned i = 0; i < TALLY_SHARED; i++)
		all->objects[i] = tally_object(shared);
	ck_assert_int_eq(run_with_collector(shared, fns, TALLY_THREADS), 0);
	ck_assert_uint_gt(shared->collections, 0);
	for (unsigned i = 0; i < TALLY_SHARED; i++)
		all->objects[i] = NULL;
	support_collect();
	ck_assert_int_eq(support_on_thread(tally_up, shared), 0);
	/* A worker's stack is gone; main's may hold some objects, and each object has some hundred references. */
	ck_assert_uint_le(shared->copies, 2 * SUPPORT_SLACK);
	ck_assert_uint_gt(shared->found, shared->missed / 2);
}
END_TEST

struct batch {
	struct tally *tallies;
	size_t n;
	/* What the thread does after it has dropped the objects. */
	bool collects;
};

static int batch_make(void *arg)
{
	struct batch *batch = arg;

	for (size_t i = 0; i < batch->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		batch->tallies[i].ref = weakref_ref_new(node, on_death, &batch->tallies[i]);
		SUPPORT_REQUIRE(batch->tallies[i].ref != NULL);
	}
	return 0;
}

static int batch_collect(void *arg)
{
	struct batch *batch = arg;

	SUPPORT_REQUIRE(support_on_thread(batch_make, batch) == 0);
	for (int i = 0; batch->collects && i < 3; i++) {
		support_scrub();
		GC_gcollect();
	}
	return 0;
}

static struct batch batch_new(bool collects)
{
	struct batch batch = {.n = 4 * SUPPORT_N, .collects = collects};

	batch.tallies = gc_alloc(batch.n * sizeof(*batch.tallies));
	return batch;
}

static size_t fired(const struct batch *batch)
{
	size_t sum = 0;

	for (size_t i = 0; i < batch->n; i++) {
		ck_assert_uint_le(batch->tallies[i].fired, 1);
		sum += batch->tallies[i].fired;
	}
	return sum;
}

/* T12 R24: gc_collect on one thread runs all callbacks that are ready before it returns, also those of objects that other threads
 * made. No
 * allocation is needed afterwards. */
START_TEST(test_T12_collect_drains)
{
	struct batch batch = batch_new(false);
	size_t before, dead = 0;

	ck_assert_int_eq(support_on_thread(batch_collect, &batch), 0);
	ck_assert_int_ge(support_collect(), 0);
	before = fired(&batch);
	ck_assert_uint_ge(before, batch.n - SUPPORT_SLACK);
	for (size_t i = 0; i < batch.n; i++)
		dead += weakref_ref_get(batch.tallies[i].ref) == NULL;
	ck_assert_uint_eq(before, dead);
	ck_assert(!gc_callbacks_pending());
	ck_assert_int_eq(gc_run_callbacks(), 0);
}
END_TEST

/* T12 R24: the same with a delivery thread, which gc_collect waits for. */
START_TEST(test_T12_collect_waits_for_thread)
{
	struct batch batch = batch_new(false);

	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_THREAD), 0);
	ck_assert_int_eq(support_on_thread(batch_collect, &batch), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_ge(fired(&batch), batch.n - SUPPORT_SLACK);
}
END_TEST

/* T15 R28: callbacks that a thread's collection queued run after that thread is gone: when pumped, and at the next allocation. */
START_TEST(test_T15_queue_survives_thread)
{
	struct batch manual = batch_new(true), automatic = batch_new(true);
	long ran;

	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	ck_assert_int_eq(support_on_thread(batch_collect, &manual), 0);
	ck_assert_uint_eq(fired(&manual), 0);
	ck_assert(gc_callbacks_pending());
	ran = gc_run_callbacks();
	ck_assert_uint_ge(fired(&manual), manual.n - SUPPORT_SLACK);
	ck_assert_int_ge(ran, (long)fired(&manual));

	ck_assert_int_eq(support_on_thread(batch_collect, &automatic), 0);
	ck_assert_uint_eq(fired(&automatic), 0);
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_AT_ALLOCATION), 0);
	for (int i = 0; i < 1000 && gc_callbacks_pending(); i++)
		SUPPORT_KEEP(support_node_new(1));
	ck_assert_uint_ge(fired(&automatic), automatic.n - SUPPORT_SLACK);
}
END_TEST

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

struct reader {
	weakref_ref *ref;
	struct support_node *node;
	_Atomic bool *stop;
	unsigned long reads;
	bool times;
};

static int read_on(void *arg)
{
	struct reader *reader = arg;
	unsigned long reads = 0;

	if (reader->times) {
		usleep(100000);
		*reader->stop = true;
		return 0;
	}
	while (!*reader->stop)
		for (int i = 0; i < 1000; i++, reads++)
			SUPPORT_REQUIRE(weakref_ref_get(reader->ref) == reader->node);
	reader->reads = reads;
	return 0;
}

static double reads_by(unsigned n)
{
	struct reader *readers = gc_alloc((n + 1) * sizeof(*readers));
	_Atomic bool *stop = gc_alloc(sizeof(*stop));
	double sum = 0;

	for (unsigned i = 0; i <= n; i++) {
		readers[i].node = support_node_new(i);
		readers[i].ref = weakref_ref_new(readers[i].node, NULL, NULL);
		readers[i].stop = stop;
		readers[i].times = i == n;
	}
	ck_assert_int_eq(support_threads(n + 1, read_on, readers, sizeof(*readers)), 0);
	for (unsigned i = 0; i < n; i++)
		sum += (double)readers[i].reads;
	return sum;
}

/* T23: four readers of references of their own do together at least half of what one does; best of several tries on a busy
 * machine. */
START_TEST(test_T23_readers_do_not_block)
{
	double best = 0;

	for (int i = 0; i < 8 && best < 0.5; i++) {
		double one = reads_by(1), four = reads_by(4);

		ck_assert(one > 0 && four > 0);
		best = four / one > best ? four / one : best;
	}
	printf("T23: four readers read %.2f times as much as one\n", best);
	ck_assert(best >= 0.5);
}
END_TEST

/* ---- nested destruction ---------------------------------------------------------------------------------------------------- */

#define LEVELS 60

struct link {
	struct link *next;
	bool destroyed;
};

static _Atomic unsigned long constructed, destroyed, twice;

/* The next link is still there, whether or not its own destructor ran before. */
static int link_destroy(void *obj)
{
	struct link *link = obj;

	twice += link->destroyed;
	link->destroyed = true;
	destroyed++;
	return link->next == NULL || weakref_getweakrefcount(link->next) == 0 ? 0 : -EDOM;
}

static const gc_type link_type = {.name = "link", .size = sizeof(struct link), .destroy = link_destroy};

static int drop_chains(void *rounds)
{
	for (size_t i = 0; i < *(size_t *)rounds; i++) {
		struct link *head = NULL;

		for (int level = 0; level < LEVELS; level++) {
			struct link *link = gc_new(&link_type);
			SUPPORT_REQUIRE(link != NULL);
			constructed++;
			link->next = head;
			head = link;
		}
		if (i % 8 == 0)
			SUPPORT_REQUIRE(gc_collect() >= 0);
	}
	return 0;
}

/* T22 (R29): two threads drop nests of 60 levels at once: each object is destroyed once, and all but a stray word's nest. */
START_TEST(test_T22_nested_destruction)
{
	size_t each[2] = {rounds(2000, 100), rounds(2000, 100)};

	constructed = destroyed = twice = 0;
	ck_assert_uint_eq(support_threads(2, drop_chains, each, sizeof each[0]), 0);
	support_collect();
	ck_assert_uint_eq(constructed, (each[0] + each[1]) * LEVELS);
	ck_assert_uint_ge(destroyed, constructed - SUPPORT_SLACK * LEVELS);
	ck_assert_uint_eq(twice, 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("threads");
	TCase *dictionaries = support_tcase("dictionaries"), *references = support_tcase("references");

	tcase_add_test(dictionaries, test_T01_setdefault);
	tcase_add_test(dictionaries, test_T01_all_get_the_same);
	tcase_add_test(dictionaries, test_T02_pop);
	tcase_add_test(dictionaries, test_T03_consistency);
	tcase_add_test(dictionaries, test_T02_each_popped_once);
	tcase_add_test(dictionaries, test_T05_copy);
	tcase_add_test(dictionaries, test_T06_deepcopy);
	tcase_add_test(dictionaries, test_T08_contains_then_get);
	suite_add_tcase(suite, dictionaries);

	tcase_add_test(references, test_T10_callbacks_equal_deaths);
	tcase_add_test(references, test_T12_collect_drains);
	tcase_add_test(references, test_T12_collect_waits_for_thread);
	tcase_add_test(references, test_T15_queue_survives_thread);
	tcase_add_test(references, test_T22_nested_destruction);
	tcase_add_test(references, test_T23_readers_do_not_block);
	suite_add_tcase(suite, references);
	return suite;
}

int main(void)
{
	keys_init();
	return support_main(suite);
}

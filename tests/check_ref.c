/* SPDX-License-Identifier: MIT */
/*
 * check_ref: weakref/ref.h and the making of proxies: reading, death, callbacks, sharing, counting and listing, long
 * references, forced clearing, referents of every sort; and wrong arguments. How callbacks are delivered is in check_delivery.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "rawthread.h"
#include "weakref/checks.h"
#include "weakref/proxy.h"

/* ---- callbacks that count ------------------------------------------------------------------------------------------------ */

/* What a callback leaves behind: in scanned memory, and reached by the data of its reference. */
struct tally {
	_Atomic unsigned ran;
	_Atomic unsigned wrong;   /* ran with a reference that is not the expected one, or that still reads */
	weakref_ref *expected; /* NULL for any */
};

static int count(weakref_ref *ref, void *data)
{
	struct tally *tally = data;

	tally->ran++;
	if (ref == NULL || weakref_ref_get(ref) != NULL || (tally->expected != NULL && tally->expected != ref))
		tally->wrong++;
	return 0;
}

static struct tally *tallies_new(size_t n)
{
	struct tally *tallies = GC_MALLOC(n * sizeof(*tallies));

	ck_assert_ptr_nonnull(tallies);
	return tallies;
}

static size_t tallies_that_ran(const struct tally *tallies, size_t n, unsigned times)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += tallies[i].ran == times && tallies[i].wrong == 0;
	return found;
}

/* ---- batches: N objects made and dropped on another thread, with `per` references each ------------------------------------ */

#define PER_MAX 4

struct batch {
	size_t n, per;
	void *(*make)(size_t i);
	weakref_ref *(*refer)(void *obj, struct tally *tally);
	void **objects;            /* NULL, or where to keep them */
	weakref_ref **refs;        /* n * per, or NULL to drop them as well */
	struct tally *tallies;     /* n * per */
	uintptr_t *hidden;
};

static void *make_node(size_t i)
{
	return support_node_new(i);
}

static weakref_ref *refer_plain(void *obj, struct tally *tally)
{
	(void)tally;
	return weakref_ref_new(obj, NULL, NULL);
}

static weakref_ref *refer_callback(void *obj, struct tally *tally)
{
	weakref_ref *ref = weakref_ref_new(obj, count, tally);

	return ref;
}

static weakref_ref *refer_long(void *obj, struct tally *tally)
{
	const weakref_ref_options options = {.is_long = true};

	(void)tally;
	return weakref_ref_new_with(obj, &options);
}

static weakref_ref *refer_proxy(void *obj, struct tally *tally)
{
	(void)tally;
	return weakref_proxy_new(obj, NULL, NULL);
}

static int batch_run(void *arg)
{
	struct batch *b = arg;
	/* All objects live until all references are made. */
	void **objects = b->objects != NULL ? b->objects : GC_MALLOC(b->n * sizeof(*objects));

	for (size_t i = 0; i < b->n; i++) {
		objects[i] = b->make(i);
		SUPPORT_REQUIRE(objects[i] != NULL);
		b->hidden[i] = support_hide(objects[i]);
	}
	for (size_t i = 0; i < b->n * b->per; i++) {
		weakref_ref *ref = b->refer(objects[i / b->per], &b->tallies[i]);

		SUPPORT_REQUIRE(ref != NULL);
		SUPPORT_REQUIRE(weakref_ref_get(ref) == objects[i / b->per]);
		if (b->refs != NULL) {
			b->refs[i] = ref;
			b->tallies[i].expected = ref;
		}
	}
	SUPPORT_KEEP(objects);
	return 0;
}

static void batch(struct batch *b)
{
	if (b->n == 0)
		b->n = SUPPORT_N;
	if (b->per == 0)
		b->per = 1;
	if (b->make == NULL)
		b->make = make_node;
	if (b->refer == NULL)
		b->refer = refer_plain;
	b->tallies = tallies_new(b->n * b->per);
	b->hidden = GC_MALLOC_ATOMIC(b->n * sizeof(*b->hidden));
	ck_assert_int_eq(support_on_thread(batch_run, b), 0);
}

static weakref_ref **refs_new(size_t n)
{
	weakref_ref **refs = GC_MALLOC(n * sizeof(weakref_ref *));

	ck_assert_ptr_nonnull(refs);
	return refs;
}

/* ---- reading and death --------------------------------------------------------------------------------------------------- */

/* C01: a reference to a live object returns that very object, each time, also after collections. */
START_TEST(test_C01_reads_the_object)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.objects = objects, .refs = refs_new(SUPPORT_N)};

	batch(&b);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < SUPPORT_N; i++) {
			void *out = NULL;

			ck_assert_ptr_eq(weakref_ref_get(b.refs[i]), objects[i]);
			ck_assert_int_eq(weakref_ref_read(b.refs[i], &out), 0);
			ck_assert_ptr_eq(out, objects[i]);
			ck_assert(support_node_intact(out));
		}
		support_collect();
	}
	SUPPORT_KEEP(objects);
}
END_TEST

/* R6: what a variable holds lives until its last use, and WEAKREF_KEEP is one, though nothing looks at the object. */
START_TEST(test_R6_keep)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.objects = objects, .refs = refs_new(SUPPORT_N)};

	batch(&b);
	SUPPORT_CLEAR(b.objects);
	support_collect();
	ck_assert_uint_eq(support_dead(b.refs, SUPPORT_N), 0);
	WEAKREF_KEEP(objects);
}
END_TEST

/* C02, C75: dropped and collected, a reference reads NULL, and goes on doing so. */
START_TEST(test_C02_reads_null_after_death)
{
	struct batch b = {.refs = refs_new(SUPPORT_N)};
	size_t dead;

	batch(&b);
	support_collect();
	dead = support_dead(b.refs, SUPPORT_N);
	ck_assert_uint_ge(dead, SUPPORT_N - SUPPORT_SLACK);
	support_churn(1, 4 << 20);
	support_collect();
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N), dead);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *out = &b;
		int r = weakref_ref_read(b.refs[i], &out);

		ck_assert_int_eq(r, out == NULL ? -ESTALE : 0);
	}
}
END_TEST

/* C75: objects of a helper frame that returned are dead after a scrub and up to three collections: N-1 of one type. */
static int batch_in_frame(void *arg)
{
	return batch_run(arg);
}

START_TEST(test_C75_objects_of_a_returned_frame_die)
{
	struct batch b = {.n = 256, .per = 1, .make = make_node, .refer = refer_plain, .refs = refs_new(256)};

	b.tallies = tallies_new(b.n);
	b.hidden = GC_MALLOC_ATOMIC(b.n * sizeof(*b.hidden));
	ck_assert_int_eq(support_in_frame(batch_in_frame, &b), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(b.refs, b.n), b.n - SUPPORT_SLACK);
}
END_TEST

/* An object that is held dies not, though its neighbours do: no reference is cleared wrongly. */
START_TEST(test_held_ones_live_among_dead)
{
	void **held = GC_MALLOC(SUPPORT_N * sizeof(*held));
	struct batch b = {.n = SUPPORT_N, .objects = held, .refs = refs_new(SUPPORT_N)};

	batch(&b);
	for (size_t i = 0; i < SUPPORT_N; i += 2)
		SUPPORT_CLEAR(held[i]);
	support_collect();
	for (size_t i = 1; i < SUPPORT_N; i += 2) {
		ck_assert_ptr_eq(weakref_ref_get(b.refs[i]), held[i]);
		ck_assert(support_node_intact(held[i]));
	}
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N), SUPPORT_N / 2 - SUPPORT_SLACK);
	SUPPORT_KEEP(held);
}
END_TEST

/* A pointer that was read keeps its object alive for as long as it is held. */
START_TEST(test_read_pointer_keeps)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.objects = objects, .refs = refs_new(SUPPORT_N)};
	struct support_node *read;

	batch(&b);
	read = weakref_ref_get(b.refs[SUPPORT_N / 2]);
	ck_assert_ptr_nonnull(read);
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_CLEAR(objects[i]);
	support_collect();
	ck_assert(support_node_intact(read));
	ck_assert_ptr_eq(weakref_ref_get(b.refs[SUPPORT_N / 2]), read);
	SUPPORT_KEEP(read);
}
END_TEST

/* ---- callbacks ----------------------------------------------------------------------------------------------------------- */

/* C03, C06: a callback runs exactly once; it is given the very handle, which reads NULL already. */
START_TEST(test_C03_C06_callback_once_with_its_handle)
{
	struct batch b = {.refer = refer_callback, .refs = refs_new(SUPPORT_N)};

	batch(&b);
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N, 1), SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert_int_eq(b.tallies[i].ran == 1, weakref_ref_get(b.refs[i]) == NULL);
	support_collect();
	ck_assert_uint_eq(tallies_that_ran(b.tallies, SUPPORT_N, 0) + tallies_that_ran(b.tallies, SUPPORT_N, 1), SUPPORT_N);
}
END_TEST

/* C04: several callback references to one object: each callback runs once, all read NULL. */
START_TEST(test_C04_callbacks_of_one_object)
{
	struct batch b = {.refer = refer_callback, .per = PER_MAX, .refs = refs_new(SUPPORT_N * PER_MAX)};

	batch(&b);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		for (size_t k = 1; k < PER_MAX; k++)
			ck_assert_uint_eq(b.tallies[i * PER_MAX + k].ran, b.tallies[i * PER_MAX].ran);
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N * PER_MAX, 1), (SUPPORT_N - SUPPORT_SLACK) * PER_MAX);
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N * PER_MAX), (SUPPORT_N - SUPPORT_SLACK) * PER_MAX);
}
END_TEST

/* One object with references in a row: the order in which callbacks ran, and what the others read meanwhile. */
struct row {
	weakref_ref *refs[PER_MAX + 1]; /* the last one is plain */
	unsigned order[PER_MAX];
	unsigned ran, alive_seen;
};

struct row_data {
	struct row *row;
	unsigned which;
};

static int row_callback(weakref_ref *ref, void *arg)
{
	struct row_data *data = arg;

	(void)ref;
	for (int i = 0; i <= PER_MAX; i++)
		data->row->alive_seen += weakref_ref_get(data->row->refs[i]) != NULL;
	if (data->row->ran < PER_MAX)
		data->row->order[data->row->ran] = data->which;
	data->row->ran++;
	return 0;
}

static int make_rows(void *arg)
{
	struct row *rows = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *obj = support_node_new(i);

		SUPPORT_REQUIRE(obj != NULL);
		for (unsigned k = 0; k < PER_MAX; k++) {
			struct row_data *data = GC_MALLOC(sizeof(*data));

			*data = (struct row_data){&rows[i], k};
			rows[i].refs[k] = weakref_ref_new(obj, row_callback, data);
			SUPPORT_REQUIRE(rows[i].refs[k] != NULL);
		}
		rows[i].refs[PER_MAX] = weakref_ref_new(obj, NULL, NULL);
		SUPPORT_REQUIRE(rows[i].refs[PER_MAX] != NULL);
		SUPPORT_KEEP(obj);
	}
	return 0;
}

/* Callbacks of one object run the newest first, and when the first one runs, every reference of the object reads NULL. */
START_TEST(test_callbacks_newest_first_all_null)
{
	struct row *rows = GC_MALLOC(SUPPORT_N * sizeof(*rows));
	size_t whole = 0;

	ck_assert_int_eq(support_on_thread(make_rows, rows), 0);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		if (rows[i].ran == 0)
			continue;
		ck_assert_uint_eq(rows[i].ran, PER_MAX);
		ck_assert_uint_eq(rows[i].alive_seen, 0);
		for (unsigned k = 0; k < PER_MAX; k++)
			ck_assert_uint_eq(rows[i].order[k], PER_MAX - 1 - k);
		whole++;
	}
	ck_assert_uint_ge(whole, SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

/* C08: a callback reference dropped and collected before its referent dies: the callback never runs. */
START_TEST(test_C08_callback_dropped_first)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.refer = refer_callback, .objects = objects};
	size_t left = 0;

	batch(&b);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		left += weakref_getweakrefcount(objects[i]);
	ck_assert_uint_le(left, SUPPORT_SLACK);
	ck_assert_uint_eq(tallies_that_ran(b.tallies, SUPPORT_N, 0), SUPPORT_N);
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_CLEAR(objects[i]);
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N, 0), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(b.tallies);
}
END_TEST

/* C08: a callback reference that dies in the same collection as its referent: the callback does not run. */
START_TEST(test_C08_callback_dies_with_referent)
{
	struct batch b = {.refer = refer_callback};

	batch(&b);
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N, 0), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(b.tallies);
}
END_TEST

/* A callback that is itself an object: what `data` leads to. */
struct closure {
	struct tally *tally;
	void *reaches;
};

static const gc_type closure_type = {.name = "closure", .size = sizeof(struct closure)};

static int call_closure(weakref_ref *ref, void *data)
{
	struct closure *closure = data;

	return count(ref, closure->tally);
}

struct closures {
	weakref_ref **inner, **outer;
	struct tally *inner_tallies, *outer_tallies;
};

/* For each i: an object; a reference to it whose data is a closure; a reference from outside to the closure. */
static int make_closures(void *arg)
{
	struct closures *c = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *obj = support_node_new(i);
		struct closure *closure = gc_new(&closure_type);

		SUPPORT_REQUIRE(obj != NULL && closure != NULL);
		closure->tally = &c->inner_tallies[i];
		c->inner[i] = weakref_ref_new(obj, call_closure, closure);
		c->outer[i] = weakref_ref_new(closure, count, &c->outer_tallies[i]);
		SUPPORT_REQUIRE(c->inner[i] != NULL && c->outer[i] != NULL);
		SUPPORT_KEEP(obj);
		SUPPORT_KEEP(closure);
	}
	return 0;
}

/* C11: a reference to a callback's closure: once the closure dies, its callback fires once and only once over two collections. */
START_TEST(test_C11_reference_to_a_callbacks_closure)
{
	struct closures c = {refs_new(SUPPORT_N), refs_new(SUPPORT_N), tallies_new(SUPPORT_N), tallies_new(SUPPORT_N)};

	ck_assert_int_eq(support_on_thread(make_closures, &c), 0);
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(c.inner_tallies, SUPPORT_N, 1), SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_CLEAR(c.inner[i]);
	support_collect();
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(c.outer_tallies, SUPPORT_N, 1), SUPPORT_N - 2 * SUPPORT_SLACK);
	ck_assert_uint_eq(tallies_that_ran(c.outer_tallies, SUPPORT_N, 0) + tallies_that_ran(c.outer_tallies, SUPPORT_N, 1), SUPPORT_N);
	SUPPORT_KEEP(c.outer);
}
END_TEST

struct one_way {
	struct tally *tallies;
	weakref_ref **outside;
	bool keep_refs;
	weakref_ref **refs;
};

/* Pairs of garbage: a's reference watches b, its closure reaches b's sibling, and all of it is in one cycle that b does not
 * close. */
static int make_one_way(void *arg)
{
	struct one_way *w = arg;
	/* What reaches all of them, until all are made: otherwise a stale word could hold a reference alone. */
	void **all = GC_MALLOC(SUPPORT_N * sizeof(*all));

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *dying = support_node_new(i), *holder = support_node_new(i + 1000);
		struct closure *closure = gc_new(&closure_type);
		weakref_ref *ref;

		SUPPORT_REQUIRE(dying != NULL && holder != NULL && closure != NULL);
		closure->tally = &w->tallies[i];
		closure->reaches = holder;
		dying->other = holder;
		ref = weakref_ref_new(dying, call_closure, closure);
		SUPPORT_REQUIRE(ref != NULL);
		holder->other = ref;
		w->outside[i] = weakref_ref_new(dying, NULL, NULL);
		SUPPORT_REQUIRE(w->outside[i] != NULL);
		if (w->keep_refs)
			w->refs[i] = ref;
		all[i] = dying;
	}
	SUPPORT_KEEP(all);
	return 0;
}

/* C12: a closure and the dying object are reachable from one another one way only: with all garbage nothing runs nor
 * crashes; with the reference held from outside the callback runs once. */
START_TEST(test_C12_callback_reachable_one_way)
{
	struct one_way w = {.tallies = tallies_new(SUPPORT_N), .outside = refs_new(SUPPORT_N), .keep_refs = _i == 1};

	w.refs = refs_new(SUPPORT_N);
	ck_assert_int_eq(support_on_thread(make_one_way, &w), 0);
	support_collect();
	support_churn(1, 4 << 20);
	support_collect();
	ck_assert_uint_ge(support_dead(w.outside, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(tallies_that_ran(w.tallies, SUPPORT_N, _i == 1 ? 1 : 0), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(w.refs);
}
END_TEST

static int make_data_holds_referent(void *arg)
{
	struct closures *c = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct closure *closure = gc_new(&closure_type);

		SUPPORT_REQUIRE(closure != NULL);
		closure->tally = &c->inner_tallies[i];
		closure->reaches = support_node_new(i);
		SUPPORT_REQUIRE(closure->reaches != NULL);
		c->inner[i] = weakref_ref_new(closure->reaches, call_closure, closure);
		SUPPORT_REQUIRE(c->inner[i] != NULL);
	}
	return 0;
}

struct lover {
	struct lover *other;
	weakref_ref *ref;
	void *class;
};

static void *volatile brought_back;

static int bring_back(weakref_ref *ref, void *lover)
{
	(void)ref;
	brought_back = ((struct lover *)lover)->other;
	return 0;
}

static _Atomic unsigned classes_gone;

static int class_gone(weakref_ref *ref, void *unused)
{
	(void)unused;
	classes_gone += weakref_ref_get(ref) == NULL;
	return 0;
}

static int make_lovers(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct lover *a = gc_alloc(sizeof *a), *b = gc_alloc(sizeof *b);
		SUPPORT_REQUIRE(a != NULL && b != NULL && (a->class = b->class = gc_alloc(32)) != NULL);
		a->other = b;
		b->other = a;
		SUPPORT_REQUIRE((a->ref = weakref_ref_new(b, bring_back, a)) != NULL);
		SUPPORT_REQUIRE((b->ref = weakref_ref_new(a, bring_back, b)) != NULL);
		SUPPORT_REQUIRE((refs[i] = weakref_ref_new(a->class, class_gone, NULL)) != NULL);
	}
	return 0;
}

/* C12: two objects in a cycle with references to each other, whose callbacks would bring them back: they are garbage with these, and only who
 * watches from outside what the two lead to is told, once. (CPython: test_callback_in_cycle_resurrection.) */
START_TEST(test_C12_callbacks_in_the_cycle)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);

	brought_back = NULL;
	classes_gone = 0;
	ck_assert_int_eq(support_on_thread(make_lovers, refs), 0);
	support_collect();
	ck_assert_ptr_null(brought_back);
	ck_assert_uint_ge(classes_gone, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(classes_gone, support_dead(refs, SUPPORT_N));
	support_collect();
	ck_assert_ptr_null(brought_back);
	ck_assert_uint_eq(classes_gone, support_dead(refs, SUPPORT_N));
	SUPPORT_KEEP(refs);
}
END_TEST

/* Data that leads to the referent keeps it for as long as the reference is held; dropped together, both go without a callback. */
START_TEST(test_data_that_leads_to_the_referent_keeps_it)
{
	struct closures c = {.inner = refs_new(SUPPORT_N), .inner_tallies = tallies_new(SUPPORT_N)};

	ck_assert_int_eq(support_on_thread(make_data_holds_referent, &c), 0);
	support_collect();
	ck_assert_uint_eq(support_dead(c.inner, SUPPORT_N), 0);
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_CLEAR(c.inner[i]);
	ck_assert_int_ge(support_collect(), (long)(SUPPORT_N - SUPPORT_SLACK));
	ck_assert_uint_ge(tallies_that_ran(c.inner_tallies, SUPPORT_N, 0), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(c.inner_tallies);
}
END_TEST

/* C14: references made while every allocation may collect: each reads its object, and no callback of a live object runs. */
START_TEST(test_C14_collections_while_making)
{
	struct tally *tallies = tallies_new(SUPPORT_N);
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	weakref_ref **refs = refs_new(3 * SUPPORT_N);
	long before = weakref_checks_enabled() ? weakref_checks_collect_every(1) : 0;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		objects[i] = support_node_new(i);
		refs[3 * i] = weakref_ref_new(objects[i], NULL, NULL);
		if (!weakref_checks_enabled())
			gc_collect();
		refs[3 * i + 1] = weakref_ref_new(objects[i], count, &tallies[i]);
		refs[3 * i + 2] = weakref_proxy_new(objects[i], NULL, NULL);
	}
	if (weakref_checks_enabled())
		weakref_checks_collect_every((unsigned long)before);
	for (size_t i = 0; i < 3 * SUPPORT_N; i++)
		ck_assert_ptr_eq(weakref_ref_get(refs[i]), objects[i / 3]);
	ck_assert_uint_eq(tallies_that_ran(tallies, SUPPORT_N, 0), SUPPORT_N);
	SUPPORT_KEEP(objects);
}
END_TEST

#define CHAIN 500

struct chain {
	struct tally *tallies;
	void **head;
	unsigned how;
};

/* Each object holds the next, and a reference with a callback on it. `how` says who holds the references besides. */
static int make_chain(void *arg)
{
	struct chain *c = arg;
	struct support_node *prev = NULL;
	void **holder = NULL;

	for (size_t i = 0; i < CHAIN; i++) {
		struct support_node *node = support_node_new(i);
		weakref_ref *ref;

		SUPPORT_REQUIRE(node != NULL);
		node->next = prev;
		if (prev != NULL) {
			ref = weakref_ref_new(prev, count, &c->tallies[i - 1]);
			SUPPORT_REQUIRE(ref != NULL);
			node->other = ref;
			if (c->how == 1) {
				void **cell = GC_MALLOC(2 * sizeof(void *));

				cell[0] = holder;
				cell[1] = ref;
				holder = cell;
			}
		}
		prev = node;
	}
	c->head[0] = prev;
	c->head[1] = holder;
	return 0;
}

/* C16: a long chain of objects, each with a callback reference to its predecessor, dropped at the head: all callbacks run
 * whose references are held, none of those that died in the chain; no stack overflows. */
START_TEST(test_C16_long_chain)
{
	struct chain c = {.tallies = tallies_new(CHAIN), .head = GC_MALLOC(2 * sizeof(void *)), .how = (unsigned)_i};

	ck_assert_int_eq(support_on_thread(make_chain, &c), 0);
	support_collect();
	ck_assert_uint_eq(tallies_that_ran(c.tallies, CHAIN, 0), CHAIN);
	SUPPORT_CLEAR(c.head[0]);
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(c.tallies, CHAIN - 1, _i == 1 ? 1 : 0), CHAIN - 1 - SUPPORT_SLACK);
	SUPPORT_KEEP(c.head);
	SUPPORT_KEEP(c.tallies);
}
END_TEST

/* ---- sharing ------------------------------------------------------------------------------------------------------------- */

/* C18: plain references to one object are one handle, also with a proxy made in between. */
START_TEST(test_C18_plain_refs_are_one)
{
	void *obj = support_node_new(1), *other = support_node_new(2);
	weakref_ref *first = weakref_ref_new(obj, NULL, NULL);
	weakref_ref *proxy = weakref_proxy_new(obj, NULL, NULL);
	weakref_ref *callback = weakref_ref_new(obj, count, tallies_new(1));
	weakref_ref *second = weakref_ref_new(obj, NULL, NULL);

	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_eq(first, second);
	ck_assert_ptr_ne(first, proxy);
	ck_assert_ptr_ne(first, callback);
	ck_assert_ptr_ne(first, weakref_ref_new(other, NULL, NULL));
	SUPPORT_KEEP(obj);
	SUPPORT_KEEP(other);
}
END_TEST

/* C19: all ways to say "no callback" share one handle, in any order. */
static weakref_ref *plain(void *obj, int way)
{
	static const weakref_ref_options zero;

	switch (way) {
	case 0: return weakref_ref_new(obj, NULL, NULL);
	case 1: return weakref_ref_new_with(obj, NULL);
	default: return weakref_ref_new_with(obj, &zero);
	}
}

START_TEST(test_C19_no_callback_in_all_orders)
{
	void *obj = support_node_new(1);
	weakref_ref *first = plain(obj, _i / 3);

	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_eq(plain(obj, _i % 3), first);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 1);
	SUPPORT_KEEP(first);
	SUPPORT_KEEP(obj);
}
END_TEST

/* C20: plain proxies to one object are one handle, also with a reference made in between. */
START_TEST(test_C20_plain_proxies_are_one)
{
	void *obj = support_node_new(1);
	weakref_ref *first = weakref_proxy_new(obj, NULL, NULL);
	weakref_ref *ref = weakref_ref_new(obj, NULL, NULL);

	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_eq(weakref_proxy_new(obj, NULL, NULL), first);
	ck_assert_ptr_ne(first, ref);
	ck_assert(weakref_is_proxy(first));
	ck_assert(!weakref_is_proxy(ref));
	ck_assert_ptr_eq(weakref_ref_get(first), obj);
	SUPPORT_KEEP(obj);
}
END_TEST

/* C21: references and proxies with a callback are never shared, even with equal callback and data. */
START_TEST(test_C21_callback_refs_are_distinct)
{
	void *obj = support_node_new(1);
	struct tally *tally = tallies_new(1);
	weakref_ref *refs[4] = {weakref_ref_new(obj, count, tally), weakref_ref_new(obj, count, tally),
				weakref_proxy_new(obj, count, tally), weakref_proxy_new(obj, count, tally)};

	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			ck_assert_ptr_ne(refs[i], refs[k]);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 4);
	SUPPORT_KEEP(refs);
	SUPPORT_KEEP(obj);
}
END_TEST

/* C23: references with payload, distinct and long ones neither are nor replace the shared plain one. */
START_TEST(test_C23_custom_refs_do_not_replace_plain)
{
	void *obj = support_node_new(1);
	const weakref_ref_options ways[3] = {{.payload = support_node_new(2)}, {.distinct = true}, {.is_long = true}};
	weakref_ref *custom_first = weakref_ref_new_with(obj, &ways[_i]);
	weakref_ref *shared = weakref_ref_new(obj, NULL, NULL);
	weakref_ref *custom_after = weakref_ref_new_with(obj, &ways[_i]);

	ck_assert_ptr_nonnull(custom_first);
	ck_assert_ptr_nonnull(shared);
	ck_assert_ptr_nonnull(custom_after);
	ck_assert_ptr_ne(custom_first, shared);
	ck_assert_ptr_ne(custom_after, shared);
	ck_assert_ptr_ne(custom_first, custom_after);
	ck_assert_ptr_eq(weakref_ref_new(obj, NULL, NULL), shared);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 3);
	SUPPORT_KEEP(custom_first);
	SUPPORT_KEEP(custom_after);
	SUPPORT_KEEP(obj);
}
END_TEST

static int count_too(weakref_ref *ref, void *data)
{
	return count(ref, data);
}

/* C24: references with payload and different callbacks stay distinct, each with its own callback. */
START_TEST(test_C24_custom_refs_keep_their_callbacks)
{
	void *obj = support_node_new(1);
	struct tally *tally = tallies_new(2);
	const weakref_ref_options a = {.callback = count, .data = &tally[0], .payload = tally};
	const weakref_ref_options b = {.callback = count_too, .data = &tally[1], .payload = tally};
	weakref_ref *first = weakref_ref_new_with(obj, &a), *second = weakref_ref_new_with(obj, &b);
	void *data = NULL;

	ck_assert_ptr_ne(first, second);
	ck_assert(weakref_ref_callback(first, &data) == count);
	ck_assert_ptr_eq(data, &tally[0]);
	ck_assert(weakref_ref_callback(second, &data) == count_too);
	ck_assert_ptr_eq(data, &tally[1]);
	SUPPORT_KEEP(obj);
}
END_TEST

static weakref_ref *refer_payload(void *obj, struct tally *tally)
{
	const weakref_ref_options options = {.callback = count, .data = tally, .payload = support_node_new(((struct support_node *)obj)->id)};

	return options.payload != NULL ? weakref_ref_new_with(obj, &options) : NULL;
}

static weakref_ref *refer_payload_only(void *obj, struct tally *tally)
{
	const weakref_ref_options options = {.payload = support_node_new(((struct support_node *)obj)->id)};

	(void)tally;
	return options.payload != NULL ? weakref_ref_new_with(obj, &options) : NULL;
}

/* C25: a payload is readable before and after the referent's death, and is kept alive by the reference, with or without
 * callback. */
START_TEST(test_C25_payload_outlives_referent)
{
	struct batch b = {.refer = _i == 0 ? refer_payload : refer_payload_only, .refs = refs_new(SUPPORT_N)};

	batch(&b);
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert(support_node_intact(weakref_ref_payload(b.refs[i])));
	support_collect();
	support_churn(1, 4 << 20);
	support_collect();
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *payload = weakref_ref_payload(b.refs[i]);

		ck_assert(support_node_intact(payload));
		ck_assert_uint_eq(payload->id, i);
	}
}
END_TEST

/* A plain reference has no payload. */
START_TEST(test_no_payload)
{
	void *obj = support_node_new(1);

	ck_assert_ptr_null(weakref_ref_payload(weakref_ref_new(obj, NULL, NULL)));
	ck_assert_ptr_null(weakref_ref_payload(weakref_ref_new(obj, count, tallies_new(1))));
	ck_assert_ptr_null(weakref_ref_payload(weakref_proxy_new(obj, NULL, NULL)));
	ck_assert_ptr_null(weakref_ref_payload(NULL));
	SUPPORT_KEEP(obj);
}
END_TEST

/* A plain reference to another pointer into the same block is another handle: each returns what it was made with. */
START_TEST(test_shared_by_pointer_not_by_block)
{
	struct support_node *node = support_node_new(1);
	weakref_ref *whole = weakref_ref_new(node, NULL, NULL), *inner = weakref_ref_new(&node->next, NULL, NULL);

	ck_assert_ptr_ne(whole, inner);
	ck_assert_ptr_eq(weakref_ref_get(whole), node);
	ck_assert_ptr_eq(weakref_ref_get(inner), &node->next);
	ck_assert_ptr_eq(weakref_ref_new(node, NULL, NULL), whole);
	ck_assert_ptr_eq(weakref_ref_new(&node->next, NULL, NULL), inner);
	SUPPORT_KEEP(node);
}
END_TEST

/* ---- counting and listing ------------------------------------------------------------------------------------------------ */

/* C26: the count counts plain reference, callback reference, plain proxy and callback proxy: 4. */
START_TEST(test_C26_count)
{
	void *obj = support_node_new(1);
	struct tally *tally = tallies_new(1);
	weakref_ref *refs[4];

	ck_assert_uint_eq(weakref_getweakrefcount(obj), 0);
	refs[0] = weakref_ref_new(obj, NULL, NULL);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 1);
	refs[1] = weakref_ref_new(obj, count, tally);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 2);
	refs[2] = weakref_proxy_new(obj, NULL, NULL);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 3);
	refs[3] = weakref_proxy_new(obj, count, tally);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 4);
	weakref_ref_new(obj, NULL, NULL);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 4);
	SUPPORT_KEEP(refs);
	SUPPORT_KEEP(obj);
}
END_TEST

/* C27: once all handles were dropped and collected, the count of the live object is 0, and a new plain reference works. */
START_TEST(test_C27_count_after_drop)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.objects = objects, .refer = _i == 0 ? refer_plain : _i == 1 ? refer_callback : _i == 2 ? refer_proxy : refer_long};
	size_t none = 0;

	batch(&b);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		none += weakref_getweakrefcount(objects[i]) == 0;
	ck_assert_uint_ge(none, SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert_ptr_eq(weakref_ref_get(weakref_ref_new(objects[i], NULL, NULL)), objects[i]);
	SUPPORT_KEEP(objects);
}
END_TEST

/* Foreign blocks, so that the table by address is swept of handles too. */
static void *make_malloc(size_t i)
{
	uint64_t *p = GC_MALLOC(sizeof(struct support_node));

	(void)i;
	return p;
}

/* C27 on foreign blocks. */
START_TEST(test_C27_count_after_drop_foreign)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.objects = objects, .make = make_malloc, .refer = _i == 0 ? refer_plain : refer_callback};
	size_t none = 0;

	batch(&b);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		none += weakref_getweakrefcount(objects[i]) == 0;
	ck_assert_uint_ge(none, SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_CLEAR(objects[i]);
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N, 0), SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

/*
 * Addresses off the heap: NULL, static, stack, malloc, code, the last page, 1. The last two cannot be read: the calls that take
 * any address must answer for them, those that take a reference need not. The others are large enough to be read as a
 * reference.
 */
static union stranger {
	char bytes[256];
	max_align_t align;
} a_static;

#define OFF_HEAP 7
#define READABLE 5

static void *off_heap(int i, void *local)
{
	static void *from_malloc;

	if (from_malloc == NULL)
		from_malloc = calloc(1, sizeof(union stranger));
	switch (i) {
	case 0: return NULL;
	case 1: return &a_static;
	case 2: return local;
	case 3: return from_malloc;
	case 4: return (void *)(uintptr_t)off_heap;
	case 5: return (void *)(UINTPTR_MAX - 15);
	default: return (void *)1;
	}
}

/* C28, C31: what cannot be referenced has no references: count 0, list empty, nothing written. */
START_TEST(test_C28_C31_off_heap_has_no_refs)
{
	union stranger local;
	weakref_ref *out[2] = {NULL, NULL};

	ck_assert_uint_eq(weakref_getweakrefcount(off_heap(_i, &local)), 0);
	ck_assert_uint_eq(weakref_getweakrefs(off_heap(_i, &local), out, 2), 0);
	ck_assert_ptr_null(out[0]);
	ck_assert_ptr_null(out[1]);
}
END_TEST

/* C32: a reference to what is not on the heap fails with EINVAL, and leaves no state. */
START_TEST(test_C32_off_heap_is_refused)
{
	const weakref_ref_options ways[] = {{0}, {.distinct = true}, {.is_long = true}, {.payload = &a_static}};
	union stranger local;
	void *p = off_heap(_i, &local);
	struct tally *tally = tallies_new(1);

	errno = 0;
	ck_assert_ptr_null(weakref_ref_new(p, NULL, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_ref_new(p, count, tally));
	ck_assert_int_eq(errno, EINVAL);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		errno = 0;
		ck_assert_ptr_null(weakref_ref_new_with(p, &ways[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
	errno = 0;
	ck_assert_ptr_null(weakref_proxy_new(p, NULL, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_proxy_new(p, count, tally));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_uint_eq(weakref_getweakrefcount(p), 0);
	support_collect();
	ck_assert_uint_eq(tally->ran, 0);
	SUPPORT_KEEP(tally);
}
END_TEST

/* Data without a callback is refused. */
START_TEST(test_data_without_callback)
{
	void *obj = support_node_new(1);
	const weakref_ref_options options = {.data = obj};

	errno = 0;
	ck_assert_ptr_null(weakref_ref_new(obj, NULL, obj));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_ref_new_with(obj, &options));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_proxy_new(obj, NULL, obj));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 0);
}
END_TEST

/* C29: the list gives the live handles, the shared plain ones first, then the others, newest first; the count does not
 * depend on room. */
START_TEST(test_C29_list)
{
	void *obj = support_node_new(1);
	struct tally *tally = tallies_new(1);
	weakref_ref *old = weakref_ref_new(obj, count, tally), *new = weakref_ref_new(obj, count, tally);
	weakref_ref *shared = weakref_ref_new(obj, NULL, NULL), *proxy = weakref_proxy_new(obj, NULL, NULL);
	weakref_ref *out[6] = {NULL};

	ck_assert_uint_eq(weakref_getweakrefs(obj, out, 6), 4);
	ck_assert((out[0] == shared && out[1] == proxy) || (out[0] == proxy && out[1] == shared));
	ck_assert_ptr_eq(out[2], new);
	ck_assert_ptr_eq(out[3], old);
	ck_assert_ptr_null(out[4]);
	memset(out, 0, sizeof(out));
	ck_assert_uint_eq(weakref_getweakrefs(obj, out, 2), 4);
	ck_assert_ptr_nonnull(out[1]);
	ck_assert_ptr_null(out[2]);
	ck_assert_uint_eq(weakref_getweakrefs(obj, NULL, 0), 4);
	SUPPORT_KEEP(obj);
}
END_TEST

static int make_extra_refs(void *arg)
{
	void **objects = arg;

	for (size_t i = 0; i < SUPPORT_N; i++)
		for (int k = 0; k < 3; k++)
			SUPPORT_REQUIRE(weakref_ref_new(objects[i], count, GC_MALLOC(sizeof(struct tally))) != NULL);
	return 0;
}

/* C29: a dropped handle disappears from the list with the next collection, and the held ones stay. */
START_TEST(test_C29_dropped_handle_leaves_the_list)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.objects = objects, .refer = refer_callback, .refs = refs_new(SUPPORT_N)};
	size_t exact = 0;

	batch(&b);
	ck_assert_int_eq(support_on_thread(make_extra_refs, objects), 0);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_ref *out[4] = {NULL};
		size_t n = weakref_getweakrefs(objects[i], out, 4);

		ck_assert_uint_ge(n, 1);
		ck_assert_ptr_eq(out[n - 1], b.refs[i]);
		exact += n == 1;
	}
	ck_assert_uint_ge(exact, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(objects);
}
END_TEST

/* Count and list take a pointer into the block as well. */
START_TEST(test_count_and_list_by_interior_pointer)
{
	struct support_node *node = support_node_new(1);
	weakref_ref *ref = weakref_ref_new(node, NULL, NULL), *out[1] = {NULL};

	ck_assert_uint_eq(weakref_getweakrefcount(&node->other), 1);
	ck_assert_uint_eq(weakref_getweakrefs(&node->other, out, 1), 1);
	ck_assert_ptr_eq(out[0], ref);
	SUPPORT_KEEP(node);
}
END_TEST

/* Elements of an array that is one block, each with a plain reference and, every other one, a plain proxy. */
struct elements {
	bool foreign;
	size_t n;
	uint64_t *array;
	uintptr_t hidden;
	weakref_ref **refs;
	weakref_ref **proxies;
};

static int make_elements(void *arg)
{
	struct elements *e = arg;

	e->array = e->foreign ? GC_MALLOC(e->n * sizeof(*e->array)) : gc_alloc(e->n * sizeof(*e->array));
	SUPPORT_REQUIRE(e->array != NULL);
	e->hidden = support_hide(e->array);
	for (size_t i = 0; i < e->n; i++) {
		e->refs[i] = weakref_ref_new(&e->array[i], NULL, NULL);
		SUPPORT_REQUIRE(e->refs[i] != NULL && weakref_ref_get(e->refs[i]) == &e->array[i]);
		if (i % 2 == 0)
			SUPPORT_REQUIRE((e->proxies[i] = weakref_proxy_new(&e->array[i], NULL, NULL)) != NULL);
	}
	return 0;
}

static struct elements *elements_new(bool foreign, size_t n)
{
	struct elements *e = GC_MALLOC(sizeof(*e));

	*e = (struct elements){.foreign = foreign, .n = n, .refs = refs_new(n), .proxies = refs_new(n)};
	ck_assert_int_eq(support_on_thread(make_elements, e), 0);
	return e;
}

static void validate(void)
{
	ck_assert_int_ge(weakref_checks_enabled() ? weakref_checks_validate() : 0, 0);
}

/* Each element's reference is found by its address, however many there are; and cleared alone. (With a walk past all of the block's, this
 * takes most of a minute.) */
START_TEST(test_elements_of_an_array)
{
	struct elements *e = elements_new(_i != 0, support_scaled(60000, 600));
	weakref_ref *first[3] = {NULL};

	for (size_t i = 0; i < e->n; i++) {
		ck_assert_ptr_eq(weakref_ref_new(&e->array[i], NULL, NULL), e->refs[i]);
		if (i % 2 == 0)
			ck_assert_ptr_eq(weakref_proxy_new(&e->array[i], NULL, NULL), e->proxies[i]);
	}
	ck_assert_uint_eq(weakref_getweakrefs(e->array, first, 3), e->n + e->n / 2);
	/* Those of the array itself. */
	ck_assert_ptr_eq(first[0], e->proxies[0]);
	ck_assert_ptr_eq(first[1], e->refs[0]);
	for (size_t i = 0; i < e->n; i += 3)
		ck_assert_int_eq(weakref_ref_clear(e->refs[i]), 0);
	ck_assert_uint_eq(weakref_getweakrefcount(e->array), e->n + e->n / 2 - e->n / 3);
	for (size_t i = 0; i < e->n; i++) {
		weakref_ref *again = weakref_ref_new(&e->array[i], NULL, NULL);

		ck_assert_ptr_eq(weakref_ref_get(again), &e->array[i]);
		ck_assert_int_eq(again == e->refs[i], i % 3 != 0);
		e->refs[i] = again;
	}
	ck_assert_int_eq(weakref_ref_retarget(e->refs[1], e->array), -EINVAL);
	validate();
	support_collect();
	ck_assert_uint_eq(support_dead(e->refs, e->n), 0);
	SUPPORT_KEEP(e->array);
}
END_TEST

/* References that nobody has any more are forgotten while the array lives, and made anew; with the array all the others die. */
START_TEST(test_elements_and_collections)
{
	struct elements *arrays[20];
	size_t dead = 0, counts = 0, n = sizeof(arrays) / sizeof(arrays[0]), elements = support_scaled(2000, 20);

	for (size_t k = 0; k < n; k++) {
		arrays[k] = elements_new(_i != 0, elements);
		for (size_t i = 0; i < elements; i += 2) {
			arrays[k]->refs[i] = NULL;
			arrays[k]->proxies[i] = NULL;
		}
	}
	support_collect();
	validate();
	for (size_t k = 0; k < n; k++) {
		struct elements *e = arrays[k];

		counts += weakref_getweakrefcount(e->array) - elements / 2;
		for (size_t i = 0; i < elements; i++) {
			weakref_ref *ref = weakref_ref_new(&e->array[i], NULL, NULL);

			ck_assert_ptr_eq(weakref_ref_get(ref), &e->array[i]);
			ck_assert(i % 2 == 0 || ref == e->refs[i]);
			e->refs[i] = ref;
		}
		SUPPORT_CLEAR(e->array);
	}
	/* Of each a few may be known to the stack yet. */
	ck_assert_uint_le(counts, n * 16);
	support_collect();
	for (size_t k = 0; k < n; k++) {
		size_t of_this = support_dead(arrays[k]->refs, elements);

		ck_assert(of_this == 0 || of_this == elements);
		dead += of_this != 0;
	}
	ck_assert_uint_ge(dead, n - 3);
	validate();
}
END_TEST

/* What a finalizer gives new life to is the shared one again. */
struct revival {
	uint64_t *array;
	weakref_ref **kept; /* by the finalizer */
	uintptr_t *hidden;
};

static void revive_ref(void *obj, void *data)
{
	struct revival *r = data;
	weakref_ref **holder = obj;

	for (size_t i = 0; i < SUPPORT_N; i++)
		if (support_hides(r->hidden[i], *holder))
			r->kept[i] = *holder;
}

static int make_holders(void *arg)
{
	struct revival *r = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_ref **holder = GC_MALLOC(sizeof(*holder));

		*holder = weakref_ref_new(&r->array[i + 1], NULL, NULL);
		SUPPORT_REQUIRE(*holder != NULL);
		r->hidden[i] = support_hide(*holder);
		GC_register_finalizer_no_order(holder, revive_ref, r, NULL, NULL);
	}
	return 0;
}

START_TEST(test_elements_revived)
{
	struct revival *r = GC_MALLOC(sizeof(*r));
	size_t revived = 0;

	r->array = gc_alloc((SUPPORT_N + 1) * sizeof(*r->array));
	r->kept = refs_new(SUPPORT_N);
	r->hidden = GC_MALLOC_ATOMIC(SUPPORT_N * sizeof(*r->hidden));
	ck_assert_int_eq(support_on_thread(make_holders, r), 0);
	support_collect();
	GC_invoke_finalizers();
	validate();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		if (r->kept[i] == NULL)
			continue;
		revived++;
		ck_assert_ptr_eq(weakref_ref_get(r->kept[i]), &r->array[i + 1]);
		ck_assert_ptr_eq(weakref_ref_new(&r->array[i + 1], NULL, NULL), r->kept[i]);
	}
	ck_assert_uint_ge(revived, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(r->array);
}
END_TEST

/* C39: the callback and its data can be asked for while the reference lives; a plain one and a dead one have none. C40: nothing replaces it, a
 * new target neither. */
START_TEST(test_C39_C40_callback_getter)
{
	struct batch b = {.refer = refer_callback, .refs = refs_new(SUPPORT_N)};
	void *obj = support_node_new(1), *data = &b;
	struct tally *tally = tallies_new(1);
	weakref_ref *ref = weakref_ref_new(obj, count, tally), *without = weakref_ref_new(obj, NULL, NULL);

	ck_assert(weakref_ref_callback(ref, &data) == count);
	ck_assert_ptr_eq(data, tally);
	ck_assert(weakref_ref_callback(ref, NULL) == count);
	ck_assert_int_eq(weakref_ref_retarget(ref, without), 0);
	ck_assert(weakref_ref_callback(ref, &data) == count && data == tally);
	ck_assert_int_eq(weakref_ref_retarget(ref, obj), 0);
	ck_assert(weakref_ref_callback(without, &data) == NULL);
	ck_assert(weakref_ref_callback(NULL, &data) == NULL);
	batch(&b);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert_int_eq(weakref_ref_callback(b.refs[i], NULL) == NULL, weakref_ref_get(b.refs[i]) == NULL);
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(obj);
}
END_TEST

static int failing_repr(void *obj, char *buf, size_t size)
{
	(void)obj;
	(void)buf;
	(void)size;
	return -EDOM;
}

static const gc_type failing_type = {.name = "failing", .size = 8, .repr = failing_repr};

/* C41: a reference prints itself, alive with the referent's type and address, dead as dead; the type's own repr is not asked. */
START_TEST(test_C41_repr)
{
	struct batch b = {.refs = refs_new(SUPPORT_N)};
	void *obj = gc_new(&failing_type), *foreign = GC_MALLOC(40);
	weakref_ref *ref = weakref_ref_new(obj, NULL, NULL), *other = weakref_ref_new(foreign, NULL, NULL);
	char text[128], expected[128], cut[9];
	int n = snprintf(expected, sizeof(expected), "<weakref at %p; to 'failing' at %p>", (void *)ref, obj);

	ck_assert_int_eq(weakref_ref_repr(ref, text, sizeof(text)), n);
	ck_assert_str_eq(text, expected);
	ck_assert_int_eq(weakref_ref_repr(ref, NULL, 0), n);
	ck_assert_int_eq(weakref_ref_repr(ref, cut, sizeof(cut)), n);
	ck_assert_str_eq(cut, "<weakref");
	ck_assert_int_gt(weakref_ref_repr(other, text, sizeof(text)), 0);
	snprintf(expected, sizeof(expected), "%p>", foreign);
	ck_assert_ptr_nonnull(strstr(text, expected));
	batch(&b);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		n = snprintf(expected, sizeof(expected), "<weakref at %p; dead>", (void *)b.refs[i]);
		if (weakref_ref_get(b.refs[i]) != NULL)
			continue;
		ck_assert_int_eq(weakref_ref_repr(b.refs[i], text, sizeof(text)), n);
		ck_assert_str_eq(text, expected);
	}
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(obj);
	SUPPORT_KEEP(foreign);
}
END_TEST

/* C63: a reference to a block that serves as a type works as to any object. */
START_TEST(test_C63_reference_to_a_type)
{
	gc_type *type = GC_MALLOC(sizeof(*type));
	weakref_ref *ref;

	*type = (gc_type){.name = "made", .size = 8};
	ref = weakref_ref_new(type, NULL, NULL);
	ck_assert_ptr_nonnull(ref);
	support_collect();
	ck_assert_ptr_eq(weakref_ref_get(ref), type);
	SUPPORT_KEEP(type);
}
END_TEST

static weakref_ref *refer_short_and_long(void *obj, struct tally *tally)
{
	const weakref_ref_options options = {.is_long = true, .payload = tally};
	static bool is_long;

	is_long = !is_long;
	return is_long ? weakref_ref_new_with(obj, &options) : weakref_ref_new(obj, NULL, NULL);
}

/* C66: a long reference to an object without destructor reads NULL after the same collection as a short one. */
START_TEST(test_C66_long_ref_without_destructor)
{
	struct batch b = {.refer = refer_short_and_long, .per = 2, .refs = refs_new(2 * SUPPORT_N)};

	batch(&b);
	for (int round = 0; round < 3; round++) {
		support_scrub();
		ck_assert_int_ge(gc_collect(), 0);
		for (size_t i = 0; i < SUPPORT_N; i++)
			ck_assert_int_eq(weakref_ref_get(b.refs[2 * i]) == NULL, weakref_ref_get(b.refs[2 * i + 1]) == NULL);
	}
	ck_assert_uint_ge(support_dead(b.refs, 2 * SUPPORT_N), 2 * (SUPPORT_N - SUPPORT_SLACK));
}
END_TEST

/* A long reference with a callback: it runs once, when the reference reads NULL. */
static weakref_ref *refer_long_callback(void *obj, struct tally *tally)
{
	const weakref_ref_options options = {.is_long = true, .callback = count, .data = tally};

	return weakref_ref_new_with(obj, &options);
}

START_TEST(test_long_ref_callback)
{
	struct batch b = {.refer = refer_long_callback, .refs = refs_new(SUPPORT_N)};

	batch(&b);
	support_collect();
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N, 1), SUPPORT_N - SUPPORT_SLACK);
	support_collect();
	ck_assert_uint_eq(tallies_that_ran(b.tallies, SUPPORT_N, 0) + tallies_that_ran(b.tallies, SUPPORT_N, 1), SUPPORT_N);
}
END_TEST

/* ---- referents of every sort --------------------------------------------------------------------------------------------- */

static const gc_type leaf_type = {.name = "leaf", .size = 40, .flags = WEAKREF_TYPE_LEAF};
static const gc_type empty_type = {.name = "empty"};

static void *make_leaf(size_t i)
{
	(void)i;
	return gc_new(&leaf_type);
}

static void *make_empty(size_t i)
{
	(void)i;
	return gc_new(&empty_type);
}

static void *make_large(size_t i)
{
	(void)i;
	return gc_new_extra(&support_node_type, 5000);
}

static void *make_alloc(size_t i)
{
	return gc_alloc(1 + i);
}

static void *make_alloc_leaf(size_t i)
{
	return gc_alloc_leaf(1 + i);
}

static void *make_foreign(size_t i)
{
	return GC_MALLOC(1 + i);
}

static void *make_foreign_atomic(size_t i)
{
	return GC_MALLOC_ATOMIC(1 + i);
}

static void *make_foreign_large(size_t i)
{
	return GC_MALLOC(8192 + i);
}

static void *make_interior(size_t i)
{
	char *p = gc_new(&support_node_type);

	return p != NULL ? p + 1 + i % (sizeof(struct support_node) - 1) : NULL;
}

static void *make_foreign_interior(size_t i)
{
	char *p = GC_MALLOC(100);

	return p != NULL ? p + 1 + i : NULL;
}

static void *make_foreign_interior_large(size_t i)
{
	char *p = GC_MALLOC(20000);

	return p != NULL ? p + 100 * i + 3 : NULL;
}

static void *make_ref(size_t i)
{
	static void *lives;

	(void)i;
	if (lives == NULL)
		lives = support_node_new(1);
	return weakref_ref_new(lives, count, GC_MALLOC(sizeof(struct tally)));
}

static void *(*const makers[])(size_t) = {make_node,	      make_leaf,	  make_empty,	      make_large,
					  make_alloc,	      make_alloc_leaf,	  make_foreign,	      make_foreign_atomic,
					  make_foreign_large, make_interior,	  make_foreign_interior, make_foreign_interior_large,
					  make_ref};

#define MAKERS ((int)(sizeof(makers) / sizeof(makers[0])))

static weakref_ref *(*const referers[])(void *, struct tally *) = {refer_plain, refer_callback, refer_long, refer_proxy, refer_payload_only,
								   refer_long_callback};

#define REFERERS ((int)(sizeof(referers) / sizeof(referers[0])))

static weakref_ref *refer_any(void *obj, struct tally *tally, int way)
{
	const weakref_ref_options options = {.payload = tally};

	/* The payload of the general way reads a node's id. */
	return referers[way] == refer_payload_only ? weakref_ref_new_with(obj, &options) : referers[way](obj, tally);
}

static int way_now;

static weakref_ref *refer_way(void *obj, struct tally *tally)
{
	return refer_any(obj, tally, way_now);
}

/* C67: any block of the heap, foreign ones and pointers into blocks included, can be watched in every way: while it is held,
 * over collections, the reference returns the very pointer; once it is dropped, it reads NULL, and its callback ran once. */
START_TEST(test_C67_referents_of_every_sort)
{
	void **held = GC_MALLOC(SUPPORT_N * sizeof(*held));
	struct batch b = {.make = makers[_i / REFERERS], .refer = refer_way, .objects = held, .refs = refs_new(SUPPORT_N)};
	bool called;

	way_now = _i % REFERERS;
	called = referers[way_now] == refer_callback || referers[way_now] == refer_long_callback;
	batch(&b);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < SUPPORT_N; i++) {
			ck_assert_ptr_eq(weakref_ref_get(b.refs[i]), held[i]);
			ck_assert_uint_eq(weakref_getweakrefcount(held[i]), 1);
		}
		support_scrub();
		gc_collect();
	}
	ck_assert_uint_eq(tallies_that_ran(b.tallies, SUPPORT_N, 0), SUPPORT_N);
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_CLEAR(held[i]);
	support_collect();
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N, called ? 1 : 0), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(held);
}
END_TEST

/* A pointer into a block keeps counting as one to the block: the block's reference lives while an interior pointer holds it. */
START_TEST(test_interior_pointer_holds_the_block)
{
	void **held = GC_MALLOC(SUPPORT_N * sizeof(*held));
	struct batch b = {.objects = held, .refs = refs_new(SUPPORT_N)};

	batch(&b);
	for (size_t i = 0; i < SUPPORT_N; i++)
		held[i] = (char *)held[i] + 9;
	support_collect();
	if (GC_get_all_interior_pointers())
		ck_assert_uint_eq(support_dead(b.refs, SUPPORT_N), 0);
	else
		ck_assert_uint_le(support_dead(b.refs, SUPPORT_N), SUPPORT_N);
	SUPPORT_KEEP(held);
}
END_TEST

/* An uncollectable block does not die, however often is collected, until it is freed explicitly. */
START_TEST(test_uncollectable_block)
{
	void *block = GC_MALLOC_UNCOLLECTABLE(64);
	uintptr_t hidden = support_hide(block);
	weakref_ref *ref = weakref_ref_new(block, NULL, NULL);

	ck_assert_ptr_nonnull(ref);
	SUPPORT_CLEAR(block);
	support_collect();
	ck_assert(support_hides(hidden, weakref_ref_get(ref)));
	GC_FREE((void *)~hidden);
}
END_TEST

/* One past the end of a block is not asked for as that block: it is refused, or watches what really lies there; nothing
 * breaks. */
START_TEST(test_one_past_the_end)
{
	struct support_node **nodes = GC_MALLOC(SUPPORT_N * sizeof(*nodes));

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_ref *ref;

		nodes[i] = support_node_new(i);
		ref = weakref_ref_new(nodes[i] + 1, NULL, NULL);
		if (ref != NULL)
			ck_assert_ptr_eq(weakref_ref_get(ref), nodes[i] + 1);
		else
			ck_assert_int_eq(errno, EINVAL);
	}
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert(support_node_intact(nodes[i]));
}
END_TEST

/* A foreign block's own finalizer still runs, once, when the block is watched, and its references read NULL by then. */
static _Atomic unsigned finalized;

static void finalizer(void *obj, void *data)
{
	(void)obj;
	(void)data;
	finalized++;
}

static void *make_finalized(size_t i)
{
	void *p = GC_MALLOC(48 + i % 16);

	if (p != NULL)
		GC_REGISTER_FINALIZER_NO_ORDER(p, finalizer, NULL, NULL, NULL);
	return p;
}

START_TEST(test_foreign_finalizer_still_runs)
{
	struct batch b = {.make = make_finalized, .refer = refer_callback, .refs = refs_new(SUPPORT_N)};

	finalized = 0;
	batch(&b);
	support_collect();
	ck_assert_uint_ge(finalized, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_le(finalized, SUPPORT_N);
	ck_assert_uint_ge(tallies_that_ran(b.tallies, SUPPORT_N, 1), SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

/* A foreign address that is used again by another block after the first died: a reference to the new one has nothing of the
 * old. */
START_TEST(test_address_used_again)
{
	for (int round = 0; round < 8; round++) {
		struct batch b = {.make = _i == 0 ? make_malloc : make_node, .refer = refer_callback, .refs = refs_new(SUPPORT_N)};

		batch(&b);
		for (size_t i = 0; i < SUPPORT_N; i++) {
			void *now = weakref_ref_get(b.refs[i]);

			ck_assert(support_hides(b.hidden[i], now));
			ck_assert_uint_eq(weakref_getweakrefcount(now), 1);
		}
		support_scrub();
		gc_collect();
	}
}
END_TEST

/* C72: references that are reclaimed while their referents live: nothing writes into the reclaimed memory when the referents
 * die. */
START_TEST(test_C72_reclaimed_reference_is_not_written)
{
	void **objects = GC_MALLOC(256 * sizeof(*objects));
	struct batch b = {.n = 256, .objects = objects, .per = 3, .refer = refer_callback};
	unsigned char **fill = GC_MALLOC(4096 * sizeof(*fill));

	batch(&b);
	support_collect();
	/* Blocks of the sizes that references have take the memory over. */
	for (size_t i = 0; i < 4096; i++) {
		fill[i] = GC_MALLOC_ATOMIC(16 << (i % 4));
		memset(fill[i], 0x5a, (size_t)16 << (i % 4));
	}
	for (size_t i = 0; i < 256; i++)
		SUPPORT_CLEAR(objects[i]);
	support_collect();
	for (size_t i = 0; i < 4096; i++)
		for (size_t k = 0; k < (size_t)16 << (i % 4); k++)
			ck_assert_uint_eq(fill[i][k], 0x5a);
	ck_assert_uint_ge(tallies_that_ran(b.tallies, b.n * b.per, 0), b.n * b.per - SUPPORT_SLACK);
}
END_TEST

/* ---- forced clearing ----------------------------------------------------------------------------------------------------- */

/* C77: a cleared reference reads NULL at once, its callback never runs, and its object lives on. */
START_TEST(test_C77_clear)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	struct batch b = {.objects = objects, .refer = refer_way, .refs = refs_new(SUPPORT_N)};

	way_now = _i;
	batch(&b);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *out = &b;

		ck_assert_int_eq(weakref_ref_clear(b.refs[i]), 0);
		ck_assert_ptr_null(weakref_ref_get(b.refs[i]));
		ck_assert_int_eq(weakref_ref_read(b.refs[i], &out), -ESTALE);
		ck_assert_ptr_null(out);
		ck_assert(weakref_ref_callback(b.refs[i], NULL) == NULL);
		ck_assert_uint_eq(weakref_getweakrefcount(objects[i]), 0);
		ck_assert(support_node_intact(objects[i]));
	}
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert(support_node_intact(objects[i]));
		SUPPORT_CLEAR(objects[i]);
	}
	support_collect();
	ck_assert_uint_eq(tallies_that_ran(b.tallies, SUPPORT_N, 0), SUPPORT_N);
	SUPPORT_KEEP(b.refs);
}
END_TEST

static int unexpected(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	ck_abort_msg("the callback of a live object's reference ran");
}

#define OBSERVERS ((size_t)40000)

/* Many references of one object, the oldest leaving first: each leaves the list without a search, or else this would take minutes. */
START_TEST(test_many_of_one_object)
{
	weakref_ref **refs = GC_MALLOC(OBSERVERS * sizeof(*refs));
	void *obj[2] = {support_node_new(1), support_node_new(2)};

	for (size_t i = 0; i < OBSERVERS; i++)
		refs[i] = weakref_ref_new(obj[0], unexpected, NULL);
	for (size_t round = 1; round <= 250; round++)
		for (size_t i = 0; i < OBSERVERS; i++)
			if (weakref_ref_retarget(refs[i], obj[round % 2]) != 0)
				ck_abort();
	ck_assert_uint_eq(weakref_getweakrefcount(obj[0]), OBSERVERS);
	ck_assert_uint_eq(weakref_getweakrefcount(obj[1]), 0);
	for (size_t i = 0; i < OBSERVERS; i++)
		ck_assert_int_eq(weakref_ref_clear(refs[i]), 0);
	ck_assert_uint_eq(weakref_getweakrefcount(obj[0]), 0);
	SUPPORT_KEEP(refs);
	SUPPORT_KEEP(obj[0]);
	SUPPORT_KEEP(obj[1]);
}
END_TEST

static int ignored(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	return 0;
}

/* From all places of a list of every sort of reference two leave, and the others are there as they were. */
START_TEST(test_leaves_from_anywhere)
{
	enum { SORTS = 4, EACH = 5, ALL = SORTS * EACH };
	weakref_ref **refs = GC_MALLOC(ALL * sizeof(*refs)), *listed[ALL + 1];

	for (unsigned gone = 0; gone < ALL; gone++)
		for (unsigned then = 0; then < ALL; then++) {
			void *obj = support_node_new(gone);
			size_t n;
			for (unsigned i = 0; i < ALL; i++) {
				weakref_ref_options options = {.callback = i % SORTS == 0 ? ignored : NULL,
							       .payload = i % SORTS == 1 ? refs : NULL,
							       .distinct = i % SORTS == 2, .is_long = i % SORTS == 3};
				refs[i] = weakref_ref_new_with(obj, &options);
			}
			weakref_ref *plain = weakref_ref_new(obj, NULL, NULL);
			ck_assert_int_eq(weakref_ref_clear(refs[gone]), 0);
			ck_assert_int_eq(weakref_ref_clear(refs[then]), gone == then ? -ESTALE : 0);
			n = weakref_getweakrefs(obj, listed, ALL + 1);
			ck_assert_uint_eq(n, ALL - 1 + (gone == then));
			ck_assert_ptr_eq(listed[0], plain);
			for (unsigned i = ALL, k = 1; i-- > 0;)
				if (i != gone && i != then)
					ck_assert_ptr_eq(listed[k++], refs[i]);
			SUPPORT_KEEP(plain);
			SUPPORT_KEEP(obj);
		}
	SUPPORT_KEEP(refs);
}
END_TEST

/* C71: clearing twice: the first succeeds, the second answers ESTALE; so does clearing a dead one. */
START_TEST(test_C71_clear_twice)
{
	void *obj = support_node_new(1);
	weakref_ref *ref = weakref_ref_new(obj, NULL, NULL);
	struct batch b = {.refs = refs_new(SUPPORT_N)};

	ck_assert_int_eq(weakref_ref_clear(ref), 0);
	ck_assert_int_eq(weakref_ref_clear(ref), -ESTALE);
	batch(&b);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		if (weakref_ref_get(b.refs[i]) == NULL)
			ck_assert_int_eq(weakref_ref_clear(b.refs[i]), -ESTALE);
	ck_assert_uint_ge(support_dead(b.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(obj);
}
END_TEST

/* A cleared shared reference is cleared for all who share it; the next plain reference is a new one. Others are not touched. */
START_TEST(test_clear_shared)
{
	void *obj = support_node_new(1);
	weakref_ref *a = weakref_ref_new(obj, NULL, NULL), *b = weakref_ref_new(obj, NULL, NULL);
	weakref_ref *other = weakref_ref_new(obj, count, tallies_new(1)), *proxy = weakref_proxy_new(obj, NULL, NULL), *anew;

	ck_assert_int_eq(weakref_ref_clear(a), 0);
	ck_assert_ptr_null(weakref_ref_get(b));
	anew = weakref_ref_new(obj, NULL, NULL);
	ck_assert_ptr_ne(anew, a);
	ck_assert_ptr_eq(weakref_ref_get(anew), obj);
	ck_assert_ptr_eq(weakref_ref_get(other), obj);
	ck_assert_ptr_eq(weakref_ref_get(proxy), obj);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 3);
}
END_TEST

/* ---- wrong arguments ----------------------------------------------------------------------------------------------------- */

/* NULL reads as dead; everything that takes a reference answers. */
START_TEST(test_null_reference)
{
	void *out = &out;
	char text[32];

	ck_assert_ptr_null(weakref_ref_get(NULL));
	ck_assert_int_eq(weakref_ref_read(NULL, &out), -EINVAL);
	ck_assert_int_eq(weakref_ref_clear(NULL), -EINVAL);
	ck_assert(weakref_ref_callback(NULL, NULL) == NULL);
	ck_assert_ptr_null(weakref_ref_payload(NULL));
	ck_assert_int_eq(weakref_ref_repr(NULL, text, sizeof(text)), -EINVAL);
	ck_assert(!weakref_is_proxy(NULL));
}
END_TEST

/* The function in line and the one that the library exports give the same, of every kind of reference and of what is none. */
START_TEST(test_get_in_line_and_by_call)
{
	static void *(*volatile by_call)(const weakref_ref *ref) = weakref_ref_get;
	void *obj = support_node_new(1), *foreign = GC_MALLOC(64);
	weakref_ref *alive[] = {
		weakref_ref_new(obj, NULL, NULL),
		weakref_proxy_new(obj, NULL, NULL),
		weakref_ref_new_with(obj, &(weakref_ref_options){.payload = obj}),
		weakref_ref_new_with(obj, &(weakref_ref_options){.is_long = true}),
	};
	const void *none[] = {NULL, obj, (char *)alive[0] + 1, (char *)alive[0] + 8, memset(GC_MALLOC_ATOMIC(256), 0, 256)};

	for (size_t i = 0; i < sizeof alive / sizeof *alive; i++) {
		ck_assert_ptr_eq(weakref_ref_get(alive[i]), obj);
		ck_assert_ptr_eq(by_call(alive[i]), obj);
	}
	ck_assert_ptr_eq(weakref_ref_get(weakref_ref_new(foreign, NULL, NULL)), foreign);
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		ck_assert_ptr_null(weakref_ref_get(none[i]));
		ck_assert_ptr_null(by_call(none[i]));
	}
	for (size_t i = 0; i < sizeof alive / sizeof *alive; i++) {
		ck_assert_int_eq(weakref_ref_clear(alive[i]), 0);
		ck_assert_ptr_null(weakref_ref_get(alive[i]));
		ck_assert_ptr_null(by_call(alive[i]));
	}
	SUPPORT_KEEP(obj);
}
END_TEST

/* A missing place for the result: EINVAL. */
START_TEST(test_null_out)
{
	void *obj = support_node_new(1);
	weakref_ref *ref = weakref_ref_new(obj, NULL, NULL);

	ck_assert_int_eq(weakref_ref_read(ref, NULL), -EINVAL);
	ck_assert_int_eq(weakref_ref_repr(ref, NULL, 5), -EINVAL);
	SUPPORT_KEEP(obj);
}
END_TEST

/* The wrong kind of thing: what the heap knows to be no reference is refused by the calls that promise to tell. */
START_TEST(test_not_a_reference)
{
	union stranger local = {{0}};
	void *things[READABLE + 5], *out = NULL;
	char text[32];

	for (int i = 0; i < READABLE; i++)
		things[i] = off_heap(i, &local);
	things[READABLE] = gc_new_extra(&support_node_type, 256);
	things[READABLE + 1] = GC_MALLOC(256);
	/* Not cleared by libgc: a reference may have stood there. */
	things[READABLE + 2] = memset(GC_MALLOC_ATOMIC(256), 0, 256);
	things[READABLE + 3] = (char *)weakref_ref_new(things[READABLE], NULL, NULL) + 8;
	things[READABLE + 4] = (char *)things[READABLE] + 8;
	ck_assert_int_eq(weakref_ref_read(things[_i], &out), -EINVAL);
	ck_assert_int_eq(weakref_ref_clear(things[_i]), -EINVAL);
	ck_assert_int_eq(weakref_ref_repr(things[_i], text, sizeof(text)), -EINVAL);
	ck_assert(!weakref_is_proxy(things[_i]));
	ck_assert_ptr_null(out);
	for (int i = 0; i < OFF_HEAP; i++)
		ck_assert(!weakref_is_proxy(off_heap(i, &local)));
}
END_TEST

/* A reference may be watched as any block of the heap, but a plain reference to a proxy watches the proxy, not its object. */
START_TEST(test_reference_to_a_proxy)
{
	void *obj = support_node_new(1);
	weakref_ref *proxy = weakref_proxy_new(obj, NULL, NULL), *ref = weakref_ref_new(proxy, NULL, NULL);

	ck_assert_ptr_nonnull(ref);
	ck_assert_ptr_eq(weakref_ref_get(ref), proxy);
	ck_assert_uint_eq(weakref_getweakrefcount(proxy), 1);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 1);
	SUPPORT_KEEP(obj);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

/* T16: on a thread unknown to the collector each call says so, and none aborts. The heap pointers are held by the caller. */
struct unknown {
	void *obj;
	weakref_ref *ref;
};

static int on_unknown_thread(void *arg)
{
	struct unknown *u = arg;
	const weakref_ref_options options = {.is_long = true};
	void *out = NULL;

	errno = 0;
	SUPPORT_REQUIRE(weakref_ref_new(u->obj, NULL, NULL) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(weakref_ref_new(u->obj, count, u->obj) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(weakref_ref_new_with(u->obj, &options) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(weakref_proxy_new(u->obj, NULL, NULL) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(weakref_ref_get(u->ref) == NULL && errno == EPERM);
	SUPPORT_REQUIRE(weakref_ref_read(u->ref, &out) == -EPERM && out == NULL);
	SUPPORT_REQUIRE(weakref_ref_clear(u->ref) == -EPERM);
	return 0;
}

START_TEST(test_T16_unknown_thread)
{
	struct unknown u = {.obj = support_node_new(1)};

	u.ref = weakref_ref_new(u.obj, NULL, NULL);
	ck_assert_int_eq(rawthread_run(on_unknown_thread, &u), 0);
	ck_assert_ptr_eq(weakref_ref_get(u.ref), u.obj);
	ck_assert_uint_eq(weakref_getweakrefcount(u.obj), 1);
}
END_TEST

#define T24_THREADS 8
#define T24_ROUNDS 200

struct racer {
	void **objects;
	weakref_ref **got; /* T24_ROUNDS */
	bool proxy;
};

static int race_for_plain(void *arg)
{
	struct racer *r = arg;

	for (size_t i = 0; i < T24_ROUNDS; i++) {
		r->got[i] = r->proxy ? weakref_proxy_new(r->objects[i], NULL, NULL) : weakref_ref_new(r->objects[i], NULL, NULL);
		SUPPORT_REQUIRE(r->got[i] != NULL);
	}
	return 0;
}

/* T24: eight threads make the plain reference (or proxy) of one object at once: they all get one handle. */
START_TEST(test_T24_concurrent_plain_refs_are_one)
{
	struct racer *racers = GC_MALLOC(T24_THREADS * sizeof(*racers));
	void **objects = GC_MALLOC(T24_ROUNDS * sizeof(*objects));

	for (size_t i = 0; i < T24_ROUNDS; i++)
		objects[i] = _i < 2 ? (void *)support_node_new(i) : GC_MALLOC(40);
	for (int t = 0; t < T24_THREADS; t++)
		racers[t] = (struct racer){objects, refs_new(T24_ROUNDS), _i == 1};
	ck_assert_int_eq(support_threads(T24_THREADS, race_for_plain, racers, sizeof(*racers)), 0);
	for (size_t i = 0; i < T24_ROUNDS; i++) {
		for (int t = 1; t < T24_THREADS; t++)
			ck_assert_ptr_eq(racers[t].got[i], racers[0].got[i]);
		ck_assert_ptr_eq(weakref_ref_get(racers[0].got[i]), objects[i]);
		ck_assert_uint_eq(weakref_getweakrefcount(objects[i]), 1);
	}
	SUPPORT_KEEP(racers);
}
END_TEST

#define LEAVERS 6
#define LEFT_BY_ONE 100

struct leaver {
	void **objects;
	weakref_ref **refs;
	int index;
};

static int leaves_references(void *arg)
{
	struct leaver *l = arg;

	/* Different numbers, so that what is left over is as well. */
	for (int i = 0; i < LEFT_BY_ONE - l->index * 7; i++) {
		l->objects[i] = support_node_new((uint64_t)i);
		l->refs[i] = weakref_ref_new(l->objects[i], NULL, NULL);
		SUPPORT_REQUIRE(weakref_ref_get(l->refs[i]) == l->objects[i]);
	}
	return 0;
}

static size_t left_that_read(struct leaver *leavers, bool null)
{
	size_t found = 0;

	for (int t = 0; t < LEAVERS; t++)
		for (int i = 0; i < LEFT_BY_ONE; i++)
			found += leavers[t].refs[i] != NULL && (weakref_ref_get(leavers[t].refs[i]) == NULL) == null;
	return found;
}

/* T24: references of threads that have ended live as long as their objects, and no longer; the threads that come after change nothing. */
START_TEST(test_T24_references_of_ended_threads)
{
	struct leaver *leavers = GC_MALLOC(LEAVERS * sizeof(*leavers));
	size_t all = 0;

	for (int round = 0; round < 3; round++) {
		for (int t = 0; t < LEAVERS; t++)
			leavers[t] = (struct leaver){GC_MALLOC(LEFT_BY_ONE * sizeof(void *)), refs_new(LEFT_BY_ONE), t};
		ck_assert_int_eq(support_threads(LEAVERS, leaves_references, leavers, sizeof(*leavers)), 0);
		all = left_that_read(leavers, false);
		ck_assert_uint_eq(left_that_read(leavers, true), 0);
		ck_assert_int_ge(support_collect(), 0);
		ck_assert_uint_eq(left_that_read(leavers, false), all);
		for (int t = 0; t < LEAVERS; t++)
			memset(leavers[t].objects, 0, LEFT_BY_ONE * sizeof(void *));
		ck_assert_int_ge(support_collect(), 0);
		ck_assert_uint_le(left_that_read(leavers, false), LEAVERS);
	}
	SUPPORT_KEEP(leavers);
}
END_TEST

struct comeback {
	void **objects;
	uintptr_t *hidden; /* the references that were dropped */
	size_t back;
};

static weakref_ref *_Atomic returned[8];

static void hand_back(void *block, void *index)
{
	returned[(uintptr_t)index] = *(weakref_ref **)block;
}

static int drop_references(void *arg)
{
	struct comeback *c = arg;

	for (uintptr_t i = 0; i < 8; i++) {
		weakref_ref **block = GC_MALLOC(sizeof(*block));
		*block = weakref_ref_new(c->objects[i], NULL, NULL);
		c->hidden[i] = support_hide(*block);
		if (i % 2 == 0)
			GC_register_finalizer_no_order(block, hand_back, (void *)i, NULL, NULL);
	}
	return 0;
}

/* A plain reference that only a finalizer gave back is the shared one again; where it went, another takes its place. */
START_TEST(test_shared_reference_comes_back)
{
	struct comeback *c = GC_MALLOC(sizeof(*c));

	c->objects = GC_MALLOC(8 * sizeof(void *));
	c->hidden = GC_MALLOC_ATOMIC(8 * sizeof(uintptr_t));
	for (size_t i = 0; i < 8; i++)
		c->objects[i] = support_node_new(i);
	ck_assert_int_eq(support_on_thread(drop_references, c), 0);
	ck_assert_int_ge(support_collect(), 0);
	for (size_t i = 0; i < 8; i++) {
		weakref_ref *ref = weakref_ref_new(c->objects[i], NULL, NULL);
		ck_assert_ptr_eq(weakref_ref_get(ref), c->objects[i]);
		ck_assert_uint_eq(weakref_getweakrefcount(c->objects[i]), 1);
		ck_assert(weakref_ref_new(c->objects[i], NULL, NULL) == ref);
		if (returned[i] != NULL)
			ck_assert(support_hides(c->hidden[i], ref) && ref == returned[i]);
		c->back += returned[i] != NULL;
		returned[i] = NULL;
		SUPPORT_KEEP(ref);
	}
	ck_assert_uint_ge(c->back, 3);
	SUPPORT_KEEP(c);
}
END_TEST

#define T10_THREADS 8
#define T10_OBJECTS ((size_t)400)

static _Atomic unsigned t10_ran, t10_made, t10_stop, t10_wrong;

static int t10_callback(weakref_ref *ref, void *data)
{
	(void)data;
	t10_ran++;
	if (weakref_ref_get(ref) != NULL)
		t10_wrong++;
	return 0;
}

struct t10 {
	weakref_ref **refs; /* held, T10_OBJECTS each */
	size_t rounds;
};

/* Makes objects with a callback reference that is kept, and others whose reference is dropped at once. */
static int t10_make(void *arg)
{
	struct t10 *t = arg;

	for (size_t i = 0; i < t->rounds; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		t->refs[i] = weakref_ref_new(node, t10_callback, NULL);
		SUPPORT_REQUIRE(t->refs[i] != NULL);
		t10_made++;
		SUPPORT_REQUIRE(weakref_ref_new(node, NULL, NULL) != NULL);
		SUPPORT_REQUIRE(support_node_intact(weakref_ref_get(t->refs[i])));
		SUPPORT_KEEP(node);
	}
	return 0;
}

static void *t10_collect(void *arg)
{
	(void)arg;
	while (!t10_stop)
		gc_collect();
	return NULL;
}

/* T10: threads make and drop objects with callback references while another collects: callbacks equal deaths exactly. */
START_TEST(test_T10_callbacks_equal_deaths)
{
	struct t10 *all = GC_MALLOC(T10_THREADS * sizeof(*all));
	pthread_t collector;
	size_t dead = 0, rounds = support_scaled(T10_OBJECTS, 20);

	t10_ran = t10_made = t10_stop = t10_wrong = 0;
	for (int t = 0; t < T10_THREADS; t++)
		all[t] = (struct t10){refs_new(T10_OBJECTS), rounds};
	ck_assert_int_eq(pthread_create(&collector, NULL, t10_collect, NULL), 0);
	ck_assert_int_eq(support_threads(T10_THREADS, t10_make, all, sizeof(*all)), 0);
	t10_stop = 1;
	pthread_join(collector, NULL);
	support_collect();
	for (int t = 0; t < T10_THREADS; t++)
		dead += support_dead(all[t].refs, rounds);
	ck_assert_uint_eq(t10_made, T10_THREADS * rounds);
	ck_assert_uint_eq(t10_ran, dead);
	ck_assert_uint_eq(t10_wrong, 0);
	ck_assert_uint_ge(dead, T10_THREADS * rounds - 2 * T10_THREADS);
}
END_TEST

struct reader {
	weakref_ref **refs;
	size_t n, seen;
	uint64_t state;
};

static _Atomic bool readers_stop;

static int read_all_the_time(void *arg)
{
	struct reader *r = arg;

	while (!readers_stop) {
		struct support_node *node = weakref_ref_get(r->refs[support_random(&r->state) % r->n]);

		if (node == NULL)
			continue;
		SUPPORT_REQUIRE(support_node_intact(node));
		r->seen++;
		SUPPORT_KEEP(node);
	}
	return 0;
}

struct replacer {
	weakref_ref **refs;
	size_t n, rounds;
};

static int replace_all_the_time(void *arg)
{
	struct replacer *r = arg;
	uint64_t state = support_seed();

	for (size_t i = 0; i < r->rounds; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		r->refs[support_random(&state) % r->n] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_KEEP(node);
		if (i % 64 == 0)
			SUPPORT_REQUIRE(gc_collect() >= 0);
		else if (i % 8 == 0)
			support_churn(1, 1 << 16);
	}
	readers_stop = true;
	return 0;
}

static int reader_or_replacer(void *arg)
{
	void **job = arg;

	return job[0] != NULL ? read_all_the_time(job[0]) : replace_all_the_time(job[1]);
}

static struct {
	struct support_node *volatile object;
	_Atomic bool stop;
	_Atomic size_t listed;
} *listing;

static int nothing_called(weakref_ref *ref, void *unused)
{
	(void)ref;
	(void)unused;
	return 0;
}

static int list_references(void)
{
	while (!listing->stop) {
		struct support_node *obj = listing->object;
		weakref_ref *out[8] = {NULL};
		size_t n = weakref_getweakrefs(obj, out, 8);

		for (size_t i = 0; i < n && i < 8; i++)
			SUPPORT_REQUIRE(out[i] != NULL && weakref_ref_get(out[i]) == obj);
		SUPPORT_REQUIRE(support_node_intact(obj));
		listing->listed += n > 0;
		SUPPORT_KEEP(obj);
	}
	return 0;
}

static int make_references(void)
{
	for (size_t i = 1; i < support_scaled(20000, 500) || listing->listed < 100; i++) {
		SUPPORT_REQUIRE(weakref_ref_new(listing->object, nothing_called, NULL) != NULL);
		if (i % 64 == 0)
			listing->object = support_node_new(i);
		if (i % 400 == 0)
			SUPPORT_REQUIRE(gc_collect() >= 0);
	}
	return 0;
}

static int make_or_list(void *makes)
{
	int result = *(bool *)makes ? make_references() : list_references();

	listing->stop = listing->stop || *(bool *)makes;
	return result;
}

/* C29: references are listed while another thread makes and drops them, and their objects: what is listed reads the object. (CPython:
 * test_free_threading/test_weakref.) */
START_TEST(test_C29_listing_beside_making)
{
	bool makes[] = {true, false, false, false};

	listing = gc_alloc(sizeof *listing);
	listing->object = support_node_new(0);
	ck_assert_uint_eq(support_threads(4, make_or_list, makes, sizeof makes[0]), 0);
	listing = NULL;
}
END_TEST

/* Readers beside a thread that makes, drops and collects: what is read is never a reclaimed object. */
START_TEST(test_reading_beside_collections)
{
	weakref_ref **refs = refs_new(SUPPORT_N);
	struct replacer replacer = {refs, SUPPORT_N, support_scaled(4000, 100)};
	struct reader *readers = GC_MALLOC(2 * sizeof(*readers));
	void **jobs = GC_MALLOC(6 * sizeof(*jobs));

	readers_stop = false;
	for (size_t i = 0; i < 2; i++) {
		readers[i] = (struct reader){refs, SUPPORT_N, 0, support_seed() + i};
		jobs[2 * i] = &readers[i];
	}
	jobs[5] = &replacer;
	ck_assert_int_eq(support_threads(3, reader_or_replacer, jobs, 2 * sizeof(*jobs)), 0);
	ck_assert(readers_stop);
	SUPPORT_KEEP(jobs);
}
END_TEST

/* ---- in processes of their own ------------------------------------------------------------------------------------------- */

/* C74: in leak-finding mode a reference is refused with ENOTSUP. */
static int child_find_leak(void)
{
	void *obj;

	SUPPORT_REQUIRE(gc_init() == 0);
	SUPPORT_REQUIRE(GC_get_find_leak());
	obj = support_node_new(1);
	SUPPORT_REQUIRE(obj != NULL);
	errno = 0;
	SUPPORT_REQUIRE(weakref_ref_new(obj, NULL, NULL) == NULL && errno == ENOTSUP);
	errno = 0;
	SUPPORT_REQUIRE(weakref_ref_new(obj, count, obj) == NULL && errno == ENOTSUP);
	errno = 0;
	SUPPORT_REQUIRE(weakref_proxy_new(obj, NULL, NULL) == NULL && errno == ENOTSUP);
	SUPPORT_REQUIRE(weakref_getweakrefcount(obj) == 0);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	SUPPORT_KEEP(obj);
	return 0;
}

START_TEST(test_C74_leak_finding_mode)
{
	static const char *const env[] = {"GC_FIND_LEAK=1", NULL};
	char err[4096];

	ck_assert_msg(support_respawn("find-leak", env, err, sizeof(err)) == 0, "%s", err);
}
END_TEST

/* Before gc_init nothing can be made, and nothing crashes. */
static int child_uninitialised(void)
{
	void *out = NULL;

	errno = 0;
	SUPPORT_REQUIRE(gc_new(&support_node_type) == NULL && (errno == EINVAL || errno == EPERM));
	errno = 0;
	SUPPORT_REQUIRE(gc_alloc(8) == NULL && (errno == EINVAL || errno == EPERM));
	SUPPORT_REQUIRE(weakref_ref_new(&out, NULL, NULL) == NULL);
	SUPPORT_REQUIRE(weakref_ref_get(NULL) == NULL);
	SUPPORT_REQUIRE(weakref_ref_read(NULL, &out) < 0);
	SUPPORT_REQUIRE(weakref_getweakrefcount(&out) == 0);
	SUPPORT_REQUIRE(weakref_getweakrefs(&out, NULL, 0) == 0);
	SUPPORT_REQUIRE(!weakref_is_proxy(&out));
	SUPPORT_REQUIRE(gc_type_of(&out) == NULL);
	return 0;
}

START_TEST(test_before_gc_init)
{
	char err[4096];

	ck_assert_msg(support_respawn("uninitialised", NULL, err, sizeof(err)) == 0, "%s", err);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("ref");
	TCase *t = support_tcase("reading and death");

	tcase_add_test(t, test_C01_reads_the_object);
	tcase_add_test(t, test_R6_keep);
	tcase_add_test(t, test_C02_reads_null_after_death);
	tcase_add_test(t, test_C75_objects_of_a_returned_frame_die);
	tcase_add_test(t, test_held_ones_live_among_dead);
	tcase_add_test(t, test_read_pointer_keeps);
	suite_add_tcase(s, t);

	t = support_tcase("callbacks");
	tcase_add_test(t, test_C03_C06_callback_once_with_its_handle);
	tcase_add_test(t, test_C04_callbacks_of_one_object);
	tcase_add_test(t, test_callbacks_newest_first_all_null);
	tcase_add_test(t, test_C08_callback_dropped_first);
	tcase_add_test(t, test_C08_callback_dies_with_referent);
	tcase_add_test(t, test_C11_reference_to_a_callbacks_closure);
	tcase_add_loop_test(t, test_C12_callback_reachable_one_way, 0, 2);
	tcase_add_test(t, test_C12_callbacks_in_the_cycle);
	tcase_add_test(t, test_data_that_leads_to_the_referent_keeps_it);
	tcase_add_test(t, test_C14_collections_while_making);
	tcase_add_loop_test(t, test_C16_long_chain, 0, 2);
	suite_add_tcase(s, t);

	t = support_tcase("sharing");
	tcase_add_test(t, test_C18_plain_refs_are_one);
	tcase_add_loop_test(t, test_C19_no_callback_in_all_orders, 0, 9);
	tcase_add_test(t, test_C20_plain_proxies_are_one);
	tcase_add_test(t, test_C21_callback_refs_are_distinct);
	tcase_add_loop_test(t, test_C23_custom_refs_do_not_replace_plain, 0, 3);
	tcase_add_test(t, test_C24_custom_refs_keep_their_callbacks);
	tcase_add_loop_test(t, test_C25_payload_outlives_referent, 0, 2);
	tcase_add_test(t, test_no_payload);
	tcase_add_test(t, test_shared_by_pointer_not_by_block);
	suite_add_tcase(s, t);

	t = support_tcase("counting and listing");
	tcase_add_test(t, test_C26_count);
	tcase_add_loop_test(t, test_C27_count_after_drop, 0, 4);
	tcase_add_loop_test(t, test_C27_count_after_drop_foreign, 0, 2);
	tcase_add_loop_test(t, test_C28_C31_off_heap_has_no_refs, 0, OFF_HEAP);
	tcase_add_loop_test(t, test_C32_off_heap_is_refused, 0, OFF_HEAP);
	tcase_add_test(t, test_data_without_callback);
	tcase_add_test(t, test_C29_list);
	tcase_add_test(t, test_C29_dropped_handle_leaves_the_list);
	tcase_add_test(t, test_count_and_list_by_interior_pointer);
	tcase_add_loop_test(t, test_elements_of_an_array, 0, 2);
	tcase_add_loop_test(t, test_elements_and_collections, 0, 2);
	tcase_add_test(t, test_elements_revived);
	tcase_add_test(t, test_C39_C40_callback_getter);
	tcase_add_test(t, test_C41_repr);
	suite_add_tcase(s, t);

	t = support_tcase("long references");
	tcase_add_test(t, test_C66_long_ref_without_destructor);
	tcase_add_test(t, test_long_ref_callback);
	suite_add_tcase(s, t);

	t = support_tcase("referents");
	tcase_add_test(t, test_C63_reference_to_a_type);
	tcase_add_loop_test(t, test_C67_referents_of_every_sort, 0, MAKERS * REFERERS);
	tcase_add_test(t, test_interior_pointer_holds_the_block);
	tcase_add_test(t, test_uncollectable_block);
	tcase_add_test(t, test_one_past_the_end);
	tcase_add_test(t, test_foreign_finalizer_still_runs);
	tcase_add_loop_test(t, test_address_used_again, 0, 2);
	tcase_add_test(t, test_C72_reclaimed_reference_is_not_written);
	suite_add_tcase(s, t);

	t = support_tcase("clearing");
	tcase_add_loop_test(t, test_C77_clear, 0, REFERERS);
	tcase_add_test(t, test_many_of_one_object);
	tcase_add_test(t, test_leaves_from_anywhere);
	tcase_add_test(t, test_C71_clear_twice);
	tcase_add_test(t, test_clear_shared);
	suite_add_tcase(s, t);

	t = support_tcase("wrong arguments");
	tcase_add_test(t, test_null_reference);
	tcase_add_test(t, test_get_in_line_and_by_call);
	tcase_add_test(t, test_null_out);
	tcase_add_loop_test(t, test_not_a_reference, 1, READABLE + 5);
	tcase_add_test(t, test_reference_to_a_proxy);
	suite_add_tcase(s, t);

	t = support_tcase("threads");
	tcase_add_test(t, test_T16_unknown_thread);
	tcase_add_loop_test(t, test_T24_concurrent_plain_refs_are_one, 0, 3);
	tcase_add_test(t, test_T24_references_of_ended_threads);
	tcase_add_test(t, test_shared_reference_comes_back);
	tcase_add_test(t, test_T10_callbacks_equal_deaths);
	tcase_add_test(t, test_reading_beside_collections);
	tcase_add_test(t, test_C29_listing_beside_making);
	suite_add_tcase(s, t);

	t = support_tcase("processes");
	tcase_add_test(t, test_C74_leak_finding_mode);
	tcase_add_test(t, test_before_gc_init);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return strcmp(argv[1], "find-leak") == 0 ? child_find_leak() : child_uninitialised();
	return support_main(suite);
}

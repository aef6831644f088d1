/* SPDX-License-Identifier: MIT */
/*
 * check_finalize: finalizers: what death, call, detach and peek do; that exactly one of them gets a finalizer, whatever races; what a
 * finalizer may do under each rule of delivery; and destructors where they meet trees and threads. What happens at exit is in check_exit.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/finalize.h"
#include "weakref/set.h"
#include "weakref/valuedict.h"

#define N SUPPORT_N
#define LEAST (SUPPORT_N - SUPPORT_SLACK)
#define RULES 3

/* How often the finalizer of each cell ran, and in which order. */
struct cell {
	_Atomic unsigned ran;
	unsigned when;
};

static struct cell cells[8 * SUPPORT_N];
static _Atomic unsigned ran;

static void forget(void)
{
	memset(cells, 0, sizeof(cells));
	ran = 0;
}

static int note(void *args)
{
	struct cell *cell = args;

	cell->ran++;
	cell->when = ++ran;
	return 7;
}

/* How many of the first n cells ran so often. */
static size_t cells_that_ran(size_t n, unsigned times)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += cells[i].ran == times;
	return found;
}

/* All ways to have what is ready run under a rule. */
static void deliver(void)
{
	support_collect();
	gc_run_callbacks();
	support_collect();
}

static bool says_nothing(weakref_finalize *f)
{
	void *obj = f, *args = f;
	weakref_finalize_fn fn = note;
	int result = 99;

	if (weakref_finalize_alive(f) || weakref_finalize_call(f, &result) != 0 || result != 99)
		return false;
	if (weakref_finalize_peek(f, &obj, &fn, &args) != 0 || obj != NULL || fn != NULL || args != NULL)
		return false;
	obj = args = f;
	fn = note;
	if (weakref_finalize_detach(f, &obj, &fn, &args) != 0 || obj != NULL || fn != NULL || args != NULL)
		return false;
	return !weakref_finalize_get_atexit(f) && weakref_finalize_set_atexit(f, true) == 0 && !weakref_finalize_get_atexit(f);
}

/* ---- one finalizer ------------------------------------------------------------------------------------------------------- */

/* F01: a new finalizer is alive, peek tells what it was made of, call runs it and tells its result, later calls say that there is
 * nothing. */
START_TEST(test_F01_new_peek_call)
{
	struct support_node *obj = support_node_new(1);
	weakref_finalize *f = weakref_finalize_new(obj, note, &cells[0]);
	weakref_finalize_fn fn;
	void *at, *args;
	int result = 0;

	forget();
	ck_assert_ptr_nonnull(f);
	ck_assert(weakref_finalize_alive(f));
	ck_assert_int_eq(weakref_finalize_peek(f, &at, &fn, &args), 1);
	ck_assert_ptr_eq(at, obj);
	ck_assert(fn == note);
	ck_assert_ptr_eq(args, &cells[0]);
	ck_assert_int_eq(weakref_finalize_peek(f, NULL, NULL, NULL), 1);
	ck_assert_uint_eq(ran, 0);
	ck_assert_int_eq(weakref_finalize_call(f, &result), 1);
	ck_assert_int_eq(result, 7);
	ck_assert_uint_eq(cells[0].ran, 1);
	ck_assert_int_eq(weakref_finalize_call(f, &result), 0);
	ck_assert_int_eq(weakref_finalize_call(f, NULL), 0);
	ck_assert_uint_eq(cells[0].ran, 1);
	SUPPORT_KEEP(obj);
}
END_TEST

/* F02: after a call it is dead in every respect. */
START_TEST(test_F02_after_a_call)
{
	struct support_node *obj = support_node_new(1);
	weakref_finalize *f = weakref_finalize_new(obj, note, &cells[0]);

	forget();
	ck_assert_int_eq(weakref_finalize_call(f, NULL), 1);
	ck_assert(says_nothing(f));
	ck_assert_uint_eq(cells[0].ran, 1);
	SUPPORT_KEEP(obj);
}
END_TEST

static int make_detached(void *arg)
{
	weakref_finalize **out = arg;

	for (size_t i = 0; i < N; i++) {
		struct support_node *obj = support_node_new(i);
		weakref_finalize_fn fn;
		void *at, *args;

		out[i] = weakref_finalize_new(obj, note, &cells[i]);
		SUPPORT_REQUIRE(weakref_finalize_detach(out[i], &at, &fn, &args) == 1);
		SUPPORT_REQUIRE(at == obj && fn == note && args == &cells[i]);
		SUPPORT_REQUIRE(weakref_finalize_detach(out[i], NULL, NULL, NULL) == 0);
		SUPPORT_KEEP(obj);
	}
	return 0;
}

/* F03: detach tells object, function and arguments once; the function never runs, though the object dies. */
START_TEST(test_F03_detach)
{
	weakref_finalize **f = GC_MALLOC(N * sizeof(*f));

	forget();
	ck_assert_int_eq(support_on_thread(make_detached, f), 0);
	deliver();
	ck_assert_uint_eq(ran, 0);
	for (size_t i = 0; i < N; i++)
		ck_assert(says_nothing(f[i]));
	SUPPORT_KEEP(f);
}
END_TEST

/* ---- death --------------------------------------------------------------------------------------------------------------- */

enum block { BLOCK_OBJECT, BLOCK_LEAF, BLOCK_FOREIGN, BLOCK_FOREIGN_LEAF, BLOCK_INTERIOR, BLOCK_FOREIGN_INTERIOR, BLOCK_LARGE, BLOCKS };

static const gc_type leaf_type = {.name = "leaf", .size = 40, .flags = WEAKREF_TYPE_LEAF};

static char *block_new(enum block kind)
{
	char *p;

	switch (kind) {
	case BLOCK_OBJECT: return (char *)support_node_new(1);
	case BLOCK_LEAF: return gc_new(&leaf_type);
	case BLOCK_FOREIGN: return GC_MALLOC(48);
	case BLOCK_FOREIGN_LEAF: return GC_MALLOC_ATOMIC(48);
	case BLOCK_INTERIOR: p = (char *)support_node_new(1); return p == NULL ? NULL : p + 9;
	case BLOCK_FOREIGN_INTERIOR: p = GC_MALLOC(100); return p == NULL ? NULL : p + 51;
	default: return GC_MALLOC(20000);
	}
}

struct making {
	enum block kind;
	weakref_finalize **out; /* NULL: the handles are dropped */
	weakref_finalize_fn fn;
	size_t first;
};

static int make(void *arg)
{
	const struct making *m = arg;
	char **all = GC_MALLOC(N * sizeof(*all));

	for (size_t i = 0; i < N; i++) {
		weakref_finalize *f;

		all[i] = block_new(m->kind);
		SUPPORT_REQUIRE(all[i] != NULL);
		f = weakref_finalize_new(all[i], m->fn != NULL ? m->fn : note, &cells[m->first + i]);
		SUPPORT_REQUIRE(f != NULL && weakref_finalize_alive(f));
		if (m->out != NULL)
			m->out[i] = f;
	}
	SUPPORT_KEEP(all);
	return 0;
}

/* F04: the object dies, whatever block it is, and was watched by whatever pointer: the function runs exactly once, with its
 * arguments; then the finalizer is dead in every respect. */
START_TEST(test_F04_runs_once_after_death)
{
	struct making m = {.kind = (enum block)_i, .out = GC_MALLOC(N * sizeof(*m.out))};

	forget();
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	deliver();
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
	for (int round = 0; round < 2; round++) {
		deliver();
		ck_assert_uint_eq(cells_that_ran(N, 1) + cells_that_ran(N, 0), N);
	}
	for (size_t i = 0; i < N; i++)
		ck_assert(cells[i].ran == 0 ? weakref_finalize_alive(m.out[i]) : says_nothing(m.out[i]));
	SUPPORT_KEEP(m.out);
}
END_TEST

/* F05: it stays registered when its handle is dropped. */
START_TEST(test_F05_dropped_handles)
{
	struct making m = {.kind = (enum block)_i};

	forget();
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	deliver();
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
	ck_assert_uint_eq(cells_that_ran(N, 1) + cells_that_ran(N, 0), N);
}
END_TEST

/* What is alive is not finalized; and collections say how many watched objects died. */
START_TEST(test_living_objects_are_not_finalized)
{
	struct support_node **nodes = GC_MALLOC(N * sizeof(*nodes));
	struct making m = {.kind = BLOCK_OBJECT, .first = N};
	long dead;

	forget();
	deliver();
	for (size_t i = 0; i < N; i++) {
		nodes[i] = support_node_new(i);
		ck_assert_ptr_nonnull(weakref_finalize_new(nodes[i], note, &cells[i]));
		ck_assert_uint_eq(weakref_getweakrefcount(nodes[i]), 0);
	}
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	dead = support_collect();
	gc_run_callbacks();
	if (support_collect_every() == 0 && getenv("WEAKREF_TEST_INCREMENTAL") == NULL) {
		ck_assert_int_ge(dead, (long)LEAST);
		ck_assert_int_le(dead, (long)N);
	}
	ck_assert_uint_eq(cells_that_ran(N, 0), N);
	for (size_t i = 0; i < N; i++)
		ck_assert(support_node_intact(nodes[i]));
	SUPPORT_KEEP(nodes);
}
END_TEST

/* ---- what is held -------------------------------------------------------------------------------------------------------- */

enum end { END_DEATH, END_CALL, END_DETACH, ENDS };

struct held {
	enum end end;
	bool keep_handles;
	weakref_finalize **handles;
	weakref_ref **to_args, **to_records;
};

static int take_node(void *args)
{
	ran += support_node_intact(args);
	return 0;
}

static int make_held(void *arg)
{
	struct held *h = arg;
	struct support_node **all = GC_MALLOC(N * sizeof(*all));

	for (size_t i = 0; i < N; i++) {
		struct support_node *args = support_node_new(i);
		weakref_finalize *f;

		all[i] = support_node_new(i);
		f = weakref_finalize_new(all[i], take_node, args);
		SUPPORT_REQUIRE(f != NULL);
		h->to_args[i] = weakref_ref_new(args, NULL, NULL);
		h->to_records[i] = weakref_ref_new(f, NULL, NULL);
		if (h->keep_handles)
			h->handles[i] = f;
	}
	SUPPORT_KEEP(all);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	SUPPORT_REQUIRE(support_dead(h->to_args, N) == 0 && support_dead(h->to_records, N) == 0);
	for (size_t i = 0; i < N && h->end != END_DEATH; i++) {
		weakref_finalize *f = weakref_ref_get(h->to_records[i]);

		SUPPORT_REQUIRE((h->end == END_CALL ? weakref_finalize_call(f, NULL) : weakref_finalize_detach(f, NULL, NULL, NULL)) == 1);
	}
	SUPPORT_KEEP(all);
	return 0;
}

/* F07: the record and its arguments are held while it is registered. The arguments are garbage afterwards, also where the handle is held; the
 * record with those that were made next to it: so a stray word keeps many of them, but not again and again. */
START_TEST(test_F07_everything_is_collectable)
{
	struct held h = {.end = (enum end)(_i / 2), .keep_handles = _i % 2 != 0};
	int round = 0;

	do {
		h.handles = GC_MALLOC(N * sizeof(*h.handles));
		h.to_args = GC_MALLOC(N * sizeof(*h.to_args));
		h.to_records = GC_MALLOC(N * sizeof(*h.to_records));
		forget();
		ck_assert_int_eq(support_on_thread(make_held, &h), 0);
		deliver();
		deliver();
		if (h.end == END_DETACH)
			ck_assert_uint_eq(ran, 0);
		else
			ck_assert_uint_ge(ran, LEAST);
		ck_assert_uint_ge(support_dead(h.to_args, N), LEAST - SUPPORT_SLACK);
		if (h.keep_handles)
			ck_assert_uint_eq(support_dead(h.to_records, N), 0);
	} while (!h.keep_handles && support_dead(h.to_records, N) < N / 4 && ++round < 4);
	ck_assert_int_lt(round, 4);
	SUPPORT_KEEP(h.handles);
	SUPPORT_KEEP(h.to_args);
	SUPPORT_KEEP(h.to_records);
}
END_TEST

static int make_leaking(void *arg)
{
	weakref_finalize **out = arg;

	for (size_t i = 0; i < N; i++) {
		struct support_node *obj = support_node_new(i), *args = support_node_new(i);

		args->next = obj;
		out[i] = weakref_finalize_new(obj, take_node, args);
		SUPPORT_REQUIRE(out[i] != NULL);
	}
	return 0;
}

static int detach_all(void *arg)
{
	weakref_finalize **f = arg;

	for (size_t i = 0; i < N; i++)
		SUPPORT_REQUIRE(weakref_finalize_detach(f[i], NULL, NULL, NULL) == 1);
	return 0;
}

/* F08: arguments that lead to the object keep it alive, until it is detached or called. */
START_TEST(test_F08_args_that_lead_to_the_object)
{
	weakref_finalize **f = GC_MALLOC(N * sizeof(*f));
	weakref_ref **refs = GC_MALLOC(N * sizeof(*refs));

	forget();
	ck_assert_int_eq(support_on_thread(make_leaking, f), 0);
	deliver();
	ck_assert_uint_eq(ran, 0);
	for (size_t i = 0; i < N; i++) {
		void *obj = NULL;

		ck_assert_int_eq(weakref_finalize_peek(f[i], &obj, NULL, NULL), 1);
		ck_assert(support_node_intact(obj));
		refs[i] = weakref_ref_new(obj, NULL, NULL);
	}
	ck_assert_int_eq(support_on_thread(detach_all, f), 0);
	deliver();
	ck_assert_uint_eq(ran, 0);
	ck_assert_uint_ge(support_dead(refs, N), LEAST);
	SUPPORT_KEEP(f);
	SUPPORT_KEEP(refs);
}
END_TEST

/* ---- arguments ----------------------------------------------------------------------------------------------------------- */

/* F09: no object, no function, nothing on the heap: EINVAL; and so for handles that are none. */
START_TEST(test_F09_argument_errors)
{
	struct support_node *obj = support_node_new(1);
	weakref_ref *ref = weakref_ref_new(obj, NULL, NULL);
	weakref_finalize *none = (weakref_finalize *)(void *)ref;
	char on_stack[64];

	errno = 0;
	ck_assert_ptr_null(weakref_finalize_new(NULL, note, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_finalize_new(obj, NULL, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_finalize_new(&cells[0], note, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_finalize_new(on_stack, note, NULL));
	ck_assert_int_eq(errno, EINVAL);
	for (int i = 0; i < 2; i++, none = NULL) {
		ck_assert(!weakref_finalize_alive(none));
		ck_assert(!weakref_finalize_get_atexit(none));
		ck_assert_int_eq(weakref_finalize_set_atexit(none, true), -EINVAL);
		ck_assert_int_eq(weakref_finalize_call(none, NULL), -EINVAL);
		ck_assert_int_eq(weakref_finalize_detach(none, NULL, NULL, NULL), -EINVAL);
		ck_assert_int_eq(weakref_finalize_peek(none, NULL, NULL, NULL), -EINVAL);
	}
	/* A finalizer is no reference to anybody. */
	weakref_finalize *f = weakref_finalize_new(obj, note, NULL);
	ck_assert_ptr_null(weakref_ref_get((weakref_ref *)(void *)f));
	ck_assert_int_eq(weakref_ref_clear((weakref_ref *)(void *)f), -EINVAL);
	ck_assert_int_eq(weakref_finalize_detach(f, NULL, NULL, NULL), 1);
	SUPPORT_KEEP(obj);
	SUPPORT_KEEP(ref);
}
END_TEST

/* F10: atexit is true at first, can be set false and true while the finalizer is alive; of a dead one it reads false, and setting does
 * nothing. */
START_TEST(test_F10_atexit)
{
	struct support_node *obj = support_node_new(1);
	weakref_finalize *f = weakref_finalize_new(obj, note, &cells[0]);

	ck_assert(weakref_finalize_get_atexit(f));
	ck_assert_int_eq(weakref_finalize_set_atexit(f, false), 0);
	ck_assert(!weakref_finalize_get_atexit(f));
	ck_assert(weakref_finalize_alive(f));
	ck_assert_int_eq(weakref_finalize_set_atexit(f, true), 0);
	ck_assert(weakref_finalize_get_atexit(f));
	ck_assert_int_eq(weakref_finalize_detach(f, NULL, NULL, NULL), 1);
	ck_assert(!weakref_finalize_get_atexit(f));
	ck_assert_int_eq(weakref_finalize_set_atexit(f, true), 0);
	ck_assert(!weakref_finalize_get_atexit(f));
	SUPPORT_KEEP(obj);
}
END_TEST

/* C41, of finalizers: printing never fails: type and address while it is alive, dead afterwards; cut to the buffer. */
START_TEST(test_C41_repr)
{
	static const gc_type nameless = {.size = 16};
	void *objs[] = {support_node_new(1), gc_new(&nameless), GC_MALLOC(16), (char *)GC_MALLOC(64) + 8};
	const char *const names[] = {"node", "object", "block", "block"};
	char text[128], wanted[128], cut[12];

	for (size_t i = 0; i < 4; i++) {
		weakref_finalize *f = weakref_finalize_new(objs[i], note, &cells[0]);

		snprintf(wanted, sizeof(wanted), "<finalize object at %p; for '%s' at %p>", (void *)f, names[i], objs[i]);
		ck_assert_int_eq(weakref_finalize_repr(f, text, sizeof(text)), (int)strlen(wanted));
		ck_assert_str_eq(text, wanted);
		ck_assert_int_eq(weakref_finalize_repr(f, cut, sizeof(cut)), (int)strlen(wanted));
		ck_assert_int_eq(strncmp(cut, wanted, sizeof(cut) - 1), 0);
		ck_assert_int_eq(weakref_finalize_repr(f, NULL, 0), (int)strlen(wanted));
		ck_assert_int_eq(weakref_finalize_repr(f, NULL, 1), -EINVAL);
		ck_assert_int_eq(weakref_finalize_detach(f, NULL, NULL, NULL), 1);
		snprintf(wanted, sizeof(wanted), "<finalize object at %p; dead>", (void *)f);
		ck_assert_int_eq(weakref_finalize_repr(f, text, sizeof(text)), (int)strlen(wanted));
		ck_assert_str_eq(text, wanted);
	}
	ck_assert_int_eq(weakref_finalize_repr(NULL, text, sizeof(text)), -EINVAL);
	SUPPORT_KEEP(objs);
}
END_TEST

/* More than are made by one allocation. */
#define FEW 120

/* Makes and detaches so many; how many, where one could not be made. */
static size_t make_few(void *obj)
{
	size_t n = 0;

	for (; n < FEW; n++) {
		weakref_finalize *f = weakref_finalize_new(obj, note, &cells[0]);

		if (f == NULL)
			break;
		ck_assert_int_eq(weakref_finalize_detach(f, NULL, NULL, NULL), 1);
	}
	return n;
}

/* Every allocation that making some takes may fail: NULL with ENOMEM, and nothing is registered. */
START_TEST(test_making_all_or_nothing)
{
	struct support_node *obj = support_node_new(1);
	bool reached = true;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	forget();
	for (unsigned long k = 1; reached; k++) {
		ck_assert_int_ge(weakref_checks_fail_allocation(k), 0);
		errno = 0;
		size_t made = make_few(obj);
		int error = errno;
		reached = weakref_checks_fail_allocation(0) == 0;
		ck_assert(made == FEW || (reached && error == ENOMEM));
		ck_assert_uint_eq(make_few(obj), FEW);
		ck_assert_int_ge(weakref_checks_validate(), 0);
		ck_assert_uint_lt(k, 100);
	}
	ck_assert_uint_eq(ran, 0);
	SUPPORT_KEEP(obj);
}
END_TEST

/* ---- order --------------------------------------------------------------------------------------------------------------- */

static int note_ref(weakref_ref *ref, void *data)
{
	(void)ref;
	return note(data);
}

/* Cells 4i to 4i+3 belong to object i: a reference, a finalizer, a reference, a finalizer. */
static int make_ordered(void *arg)
{
	weakref_ref **refs = arg;
	struct support_node **all = GC_MALLOC(N * sizeof(*all));

	for (size_t i = 0; i < N; i++) {
		all[i] = support_node_new(i);
		for (size_t k = 0; k < 4; k++) {
			struct cell *cell = &cells[4 * i + k];

			if (k % 2 == 0)
				SUPPORT_REQUIRE((refs[2 * i + k / 2] = weakref_ref_new(all[i], note_ref, cell)) != NULL);
			else
				SUPPORT_REQUIRE(weakref_finalize_new(all[i], note, cell) != NULL);
		}
	}
	SUPPORT_KEEP(all);
	return 0;
}

/* Finalizers and callbacks of one object, and of all objects found dead in one collection, run the newest first, in one order. */
START_TEST(test_newest_first_with_references)
{
	weakref_ref **refs = GC_MALLOC(2 * N * sizeof(*refs));
	unsigned last = UINT32_MAX;

	forget();
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	gc_disable();
	ck_assert_int_eq(support_on_thread(make_ordered, refs), 0);
	deliver();
	gc_enable();
	ck_assert_uint_ge(cells_that_ran(4 * N, 1), 4 * LEAST);
	for (size_t i = 0; i < N; i++)
		for (size_t k = 0; k < 3; k++)
			if (cells[4 * i].ran != 0)
				ck_assert_uint_gt(cells[4 * i + k].when, cells[4 * i + k + 1].when);
	if (support_collect_every() == 0)
		for (size_t i = 0; i < 4 * N; i++)
			if (cells[i].ran != 0) {
				ck_assert_uint_lt(cells[i].when, last);
				last = cells[i].when;
			}
	SUPPORT_KEEP(refs);
}
END_TEST

#define RELAY 4

struct relay {
	struct support_node **objects; /* of all threads */
	uint64_t state;
	unsigned index;
};

static _Atomic unsigned relay_turn;
static _Atomic size_t relay_made; /* cells */

/* The threads take turns, each as long as its generator says: a finalizer for most cells, a reference with a callback for the others. */
static int make_in_turn(void *arg)
{
	struct relay *r = arg;

	while (relay_made < 2 * N) {
		if (relay_turn % RELAY != r->index) {
			sched_yield();
			continue;
		}
		for (uint64_t left = support_random(&r->state) % 150; left > 0 && relay_made < 2 * N; left--, relay_made++) {
			struct cell *cell = &cells[relay_made];
			struct support_node *obj = r->objects[relay_made] = support_node_new(relay_made);

			if (support_random(&r->state) % 16 == 0) {
				obj->other = weakref_ref_new(obj, note_ref, cell);
				r->objects[2 * N + relay_made] = obj->other;
				SUPPORT_REQUIRE(obj->other != NULL);
			} else {
				SUPPORT_REQUIRE(weakref_finalize_new(obj, note, cell) != NULL);
			}
		}
		relay_turn++;
	}
	return 0;
}

/* R73: whichever threads made them, what was made after another had been made runs before it. */
START_TEST(test_newest_first_over_threads)
{
	struct relay relays[RELAY];
	struct support_node **objects = GC_MALLOC(4 * N * sizeof(*objects));
	unsigned last = UINT32_MAX;

	forget();
	relay_turn = 0;
	relay_made = 0;
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	if (_i == 0)
		gc_disable();
	for (unsigned i = 0; i < RELAY; i++)
		relays[i] = (struct relay){objects, support_seed() + i, i};
	ck_assert_int_eq(support_threads(RELAY, make_in_turn, relays, sizeof(*relays)), 0);
	gc_enable();
	ck_assert_uint_eq(ran, 0);
	memset(objects, 0, 2 * N * sizeof(*objects));
	support_scrub();
	ck_assert_int_ge(gc_collect(), 0);
	ck_assert_int_ge(gc_run_callbacks(), 0);
	ck_assert_uint_ge(cells_that_ran(2 * N, 1), 2 * N - 2 * RELAY);
	for (size_t i = 0; i < 2 * N; i++)
		if (cells[i].ran != 0) {
			ck_assert_uint_lt(cells[i].when, last);
			last = cells[i].when;
		}
	SUPPORT_KEEP(objects);
}
END_TEST

/* Of three objects in a row the first one dies before the others. */
static int make_batches(void *arg)
{
	struct support_node **objects = arg;

	for (size_t i = 0; i < 2 * N; i++) {
		objects[i] = support_node_new(i);
		SUPPORT_REQUIRE(objects[i] != NULL && weakref_finalize_new(objects[i], note, &cells[i]) != NULL);
	}
	return 0;
}

static int drop_batch(void *arg)
{
	struct support_node **objects = arg;

	for (size_t i = 0; i < 2 * N; i += 3)
		objects[i] = NULL;
	return 0;
}

/* What an earlier collection found runs before what a later one found, each the newest first, though they were made by turns. */
START_TEST(test_collections_by_turns)
{
	struct support_node **objects = GC_MALLOC(2 * N * sizeof(*objects));
	unsigned last[2] = {UINT32_MAX, UINT32_MAX}, first_done = 0, second_began = UINT32_MAX;

	deliver();
	forget();
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	ck_assert_int_eq(support_on_thread(make_batches, objects), 0);
	ck_assert_int_eq(support_on_thread(drop_batch, objects), 0);
	support_scrub();
	ck_assert_int_ge(gc_collect(), 0);
	memset((void *)objects, 0, 2 * N * sizeof(*objects));
	support_scrub();
	ck_assert_int_ge(gc_collect(), 0);
	ck_assert_uint_eq(ran, 0);
	gc_run_callbacks();
	ck_assert_uint_ge(cells_that_ran(2 * N, 1), 2 * LEAST);
	/* A word that is left over may have kept one for the second. */
	size_t late = 0;
	for (size_t i = 0; i < 2 * N; i++) {
		if (cells[i].ran == 0)
			continue;
		bool second = i % 3 != 0;
		if (cells[i].when >= last[second])
			late++;
		else
			last[second] = cells[i].when;
		if (second && cells[i].when < second_began)
			second_began = cells[i].when;
	}
	for (size_t i = 0; i < 2 * N; i += 3)
		first_done += cells[i].ran != 0 && cells[i].when < second_began;
	ck_assert_uint_ge(first_done, 2 * N / 3 - SUPPORT_SLACK);
	ck_assert_uint_le(late, SUPPORT_SLACK);
	SUPPORT_KEEP(objects);
}
END_TEST

/* Each leaves its number in the cell. */
static int function(void *args, unsigned k)
{
	int result = note(args);

	((struct cell *)args)->when = k;
	return result;
}

#define FUNCTION(k)                                                                                                              \
	static int function_##k(void *args)                                                                                      \
	{                                                                                                                        \
		return function(args, k);                                                                                        \
	}
FUNCTION(0) FUNCTION(1) FUNCTION(2) FUNCTION(3) FUNCTION(4) FUNCTION(5) FUNCTION(6) FUNCTION(7) FUNCTION(8) FUNCTION(9) FUNCTION(10)

static const weakref_finalize_fn functions[] = {function_0, function_1, function_2, function_3, function_4, function_5,
						function_6, function_7, function_8, function_9, function_10};
#define FUNCTIONS (sizeof(functions) / sizeof(*functions))

/* For a while few by turns, then all of them. */
static size_t which_function(size_t i)
{
	return i < 4 * N ? i / 100 + i % 2 : i % FUNCTIONS;
}

static int make_functions(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < 8 * N; i++)
		SUPPORT_REQUIRE(weakref_finalize_new(support_node_new(i), functions[which_function(i)], &cells[i]) != NULL);
	return 0;
}

/* However many functions there are, by turns or not, each finalizer has its own. */
START_TEST(test_many_functions)
{
	size_t right = 0;

	forget();
	ck_assert_int_eq(support_on_thread(make_functions, NULL), 0);
	deliver();
	ck_assert_uint_ge(cells_that_ran(8 * N, 1), 8 * N - 4 * SUPPORT_SLACK);
	ck_assert_uint_eq(cells_that_ran(8 * N, 1) + cells_that_ran(8 * N, 0), 8 * N);
	for (size_t i = 0; i < 8 * N; i++)
		right += cells[i].ran == 1 && cells[i].when == which_function(i);
	ck_assert_uint_eq(right, cells_that_ran(8 * N, 1));
}
END_TEST

#define MANY ((size_t)20000)
#define ROUNDS 4

static weakref_finalize **many_out;

static int count(void *args)
{
	++*(_Atomic unsigned *)args;
	return 0;
}

static int make_many(void *arg)
{
	weakref_finalize **out = many_out;
	struct support_node *obj = support_node_new(1);
	size_t many = support_scaled(MANY, 100);

	for (size_t i = 0; i < many; i++)
		SUPPORT_REQUIRE((out[i] = weakref_finalize_new(obj, count, arg)) != NULL);
	/* The oldest first: a search would show. */
	for (size_t i = 0; i < many; i += 2)
		SUPPORT_REQUIRE(weakref_finalize_detach(out[i], NULL, NULL, NULL) == 1);
	SUPPORT_KEEP(obj);
	return 0;
}

/* One object may have any number of them; taking one away does not depend on how many there are. */
START_TEST(test_many_of_one_object)
{
	static _Atomic unsigned seen[ROUNDS];
	size_t many = support_scaled(MANY, 100);
	int round = 0;

	many_out = GC_MALLOC(MANY * sizeof(*many_out));
	/* A stray word may keep one object, not one after the other. */
	do {
		ck_assert_int_eq(support_on_thread(make_many, (void *)&seen[round]), 0);
		deliver();
	} while (seen[round] == 0 && ++round < ROUNDS);
	ck_assert_int_lt(round, ROUNDS);
	for (int i = 0; i <= round; i++)
		ck_assert(seen[i] == many / 2 || (i < round && seen[i] == 0));
	many_out = NULL;
}
END_TEST

/* ---- with destructors and hosts' finalizers ------------------------------------------------------------------------------ */

static _Atomic unsigned destroyed;
static void *graveyard[SUPPORT_N];

static int destroy_resurrects(void *obj)
{
	graveyard[destroyed++ % N] = obj;
	return 0;
}

static const gc_type phoenix_type = {.name = "phoenix", .size = 24, .destroy = destroy_resurrects};

static int make_phoenixes(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		void *obj = gc_new(&phoenix_type);

		SUPPORT_REQUIRE(obj != NULL && weakref_finalize_new(obj, note, &cells[i]) != NULL);
	}
	return 0;
}

static int watch_graveyard(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++)
		if (graveyard[i] != NULL)
			SUPPORT_REQUIRE(weakref_finalize_new(graveyard[i], note, &cells[N + i]) != NULL);
	memset(graveyard, 0, sizeof(graveyard));
	return 0;
}

/* A destructor that brings its object back does not bring its finalizers back; new ones can be made, and work. */
START_TEST(test_resurrected_objects)
{
	destroyed = 0;
	forget();
	memset(graveyard, 0, sizeof(graveyard));
	ck_assert_int_eq(support_on_thread(make_phoenixes, NULL), 0);
	deliver();
	ck_assert_uint_ge(destroyed, LEAST);
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
	ck_assert_int_eq(support_on_thread(watch_graveyard, NULL), 0);
	deliver();
	ck_assert_uint_eq(cells_that_ran(N, 1) + cells_that_ran(N, 0), N);
	ck_assert_uint_ge(cells_that_ran(2 * N, 1), 2 * LEAST - SUPPORT_SLACK);
	ck_assert_uint_eq(cells_that_ran(2 * N, 1) + cells_that_ran(2 * N, 0), 2 * N);
}
END_TEST

static _Atomic unsigned host_ran;

static void GC_CALLBACK host_finalizer(void *block, void *data)
{
	(void)block;
	(void)data;
	host_ran++;
}

static int make_hosted(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		void *block = GC_MALLOC(48);

		/* Before and after: neither side sees the other. */
		if (i % 2 == 0)
			GC_register_finalizer(block, host_finalizer, NULL, NULL, NULL);
		SUPPORT_REQUIRE(weakref_finalize_new(block, note, &cells[i]) != NULL);
		if (i % 2 != 0)
			GC_register_finalizer_no_order(block, host_finalizer, NULL, NULL, NULL);
	}
	return 0;
}

/* A host's finalizer of the same block, whoever came first, stays and runs beside ours. */
START_TEST(test_hosts_finalizer_stays)
{
	host_ran = 0;
	forget();
	ck_assert_int_eq(support_on_thread(make_hosted, NULL), 0);
	deliver();
	GC_invoke_finalizers();
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
	ck_assert_uint_ge(host_ran, LEAST);
	ck_assert_uint_le(host_ran, N);
}
END_TEST

/* ---- ordered --------------------------------------------------------------------------------------------------------------- */

#define CHAIN ((size_t)20)
/* Collections that a stray word may hold a chain up for. */
#define LATE 3

static size_t many(void)
{
	return support_scaled(N, 12);
}

static size_t least(void)
{
	return many() - SUPPORT_SLACK;
}

/* Many chains at once, so that no test has to try again where a stray word holds one link. In memory that the collector does not see, and
 * never freed: what was held for long finds its own. */
struct chains {
	bool foreign, closed, plain, collecting;
	weakref_finalize **handles; /* for who keeps them */
	struct link {
		struct chains *of;
		size_t chain, place;
		_Atomic unsigned ran;
		_Atomic uint64_t began, returned; /* collections there had been */
	} links[SUPPORT_N][CHAIN];
};

static _Atomic unsigned links_wrong;

static uint64_t collections(void)
{
	gc_cycle_stats stats;

	return gc_get_cycle_stats(&stats) == 0 ? stats.collections : 0;
}

/* The one before has run, and returned, and a collection lies between. */
static int link_done(void *args)
{
	struct link *link = args;

	link->began = collections();
	links_wrong += link->ran++ != 0;
	if (link->place > 0 && !link->of->plain)
		links_wrong += link[-1].returned == 0 || link[-1].returned >= link->began;
	/* Collections within do not bring the next one's turn. */
	if (link->of->collecting && link->chain % 16 == 0) {
		gc_collect();
		links_wrong += link->place + 1 < CHAIN && link[1].ran != 0 && !link->of->plain && !link->of->closed;
	}
	link->returned = collections();
	return 0;
}

static int make_chains(void *arg)
{
	struct chains *chains = arg;

	for (size_t i = 0; i < many(); i++) {
		void **before = NULL, **first = NULL;

		for (size_t k = 0; k < CHAIN; k++) {
			struct link *link = &chains->links[i][k];
			void **block = chains->foreign ? GC_MALLOC(64) : (void **)&support_node_new(k)->next;
			weakref_finalize *f;

			link->of = chains;
			link->chain = i;
			link->place = k;
			f = chains->plain ? weakref_finalize_new(block, link_done, link)
					  : weakref_finalize_new_ordered(block, link_done, link);
			SUPPORT_REQUIRE(f != NULL);
			chains->handles[i * CHAIN + k] = f;
			if (before != NULL)
				*before = block;
			else
				first = block;
			before = block;
		}
		if (chains->closed)
			*before = first;
	}
	return 0;
}

static struct chains *chains_new(bool foreign, bool closed, bool plain, bool collecting)
{
	struct chains *chains = calloc(1, sizeof(*chains));

	ck_assert_ptr_nonnull(chains);
	*chains = (struct chains){.foreign = foreign, .closed = closed, .plain = plain, .collecting = collecting};
	chains->handles = GC_MALLOC_UNCOLLECTABLE(many() * CHAIN * sizeof(*chains->handles));
	ck_assert_ptr_nonnull(chains->handles);
	links_wrong = 0;
	ck_assert_int_eq(support_on_thread(make_chains, chains), 0);
	support_scrub();
	return chains;
}

static void chains_let_go(struct chains *chains)
{
	for (size_t i = 0; i < many() * CHAIN; i++)
		weakref_finalize_detach(chains->handles[i], NULL, NULL, NULL);
	GC_FREE(chains->handles);
	chains->handles = NULL;
}

static size_t links_ran_of(const struct chains *chains, size_t i)
{
	size_t n = 0;

	for (size_t k = 0; k < CHAIN; k++)
		n += chains->links[i][k].ran == 1;
	return n;
}

/* How many chains have run from end to end; none has run more links than `most`. */
static size_t chains_done(const struct chains *chains, size_t most)
{
	size_t done = 0;

	for (size_t i = 0; i < many(); i++) {
		bool alive[CHAIN], has_run[CHAIN];
		size_t n = 0;

		/* Another thread may run them meanwhile, from the first on: so the last is asked first. */
		for (size_t k = 0; k < CHAIN; k++)
			alive[k] = weakref_finalize_alive(chains->handles[i * CHAIN + k]);
		for (size_t k = CHAIN; k-- > 0; n += has_run[k])
			has_run[k] = chains->links[i][k].ran == 1;
		ck_assert_uint_le(n, most);
		done += n == CHAIN;
		/* Those that ran are the first ones, and dead; the others wait, alive. */
		for (size_t k = 0; k < CHAIN && !chains->plain && !chains->closed; k++) {
			ck_assert_uint_eq(has_run[k], k < n);
			ck_assert(k >= n || says_nothing(chains->handles[i * CHAIN + k]));
			ck_assert(k <= n || alive[k]);
		}
	}
	ck_assert_uint_eq(links_wrong, 0);
	return done;
}

static bool collections_are_counted(void)
{
	return support_collect_every() == 0 && getenv("WEAKREF_TEST_INCREMENTAL") == NULL;
}

/* F26, F27: ordered: chains of 20 run in their order, one level in a collection, none before the one that leads to it returned. */
START_TEST(test_F26_F27_one_level_in_a_collection)
{
	struct chains *chains;

	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)(_i / 4)), 0);
	gc_disable();
	chains = chains_new(_i % 2 != 0, false, false, _i / 2 % 2 != 0);
	for (size_t n = 1; n <= CHAIN + LATE; n++) {
		support_scrub();
		ck_assert_int_ge(gc_collect(), 0);
		gc_run_callbacks();
		chains_done(chains, chains->collecting || !collections_are_counted() || n > CHAIN ? CHAIN : n);
	}
	gc_enable();
	ck_assert_uint_ge(chains_done(chains, CHAIN), least());
	chains_let_go(chains);
}
END_TEST

/* F26: as long as the first one's function has not run, in manual delivery, no collection brings the second one's turn. */
START_TEST(test_F26_undelivered_holds_the_next)
{
	struct chains *chains;
	size_t first = 0;

	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	chains = chains_new(_i != 0, false, false, false);
	for (int i = 0; i < 5; i++)
		support_collect();
	chains_done(chains, 0);
	for (size_t i = 0; i < many(); i++) {
		first += !weakref_finalize_alive(chains->handles[i * CHAIN]);
		for (size_t k = 1; k < CHAIN; k++)
			ck_assert(weakref_finalize_alive(chains->handles[i * CHAIN + k]));
	}
	ck_assert_uint_ge(first, least());
	support_scrub();
	ck_assert_int_ge(weakref_finalize_run_ordered(), 0);
	ck_assert_uint_ge(chains_done(chains, CHAIN), least());
	chains_let_go(chains);
}
END_TEST

/* F27: run to the fixpoint: one call finalizes whole chains, and says how many; another one finds nothing. */
START_TEST(test_F27_fixpoint)
{
	struct chains *chains;
	size_t sum = 0;
	long n;

	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	ck_assert_int_ge(weakref_finalize_run_ordered(), 0);
	chains = chains_new(false, false, false, false);
	support_scrub();
	n = weakref_finalize_run_ordered();
	ck_assert_uint_ge(chains_done(chains, CHAIN), least());
	for (size_t i = 0; i < many(); i++)
		sum += links_ran_of(chains, i);
	/* With collections of their own some have run before; finalizers of chains before these may come late. */
	if (collections_are_counted())
		ck_assert_int_ge(n, (long)sum);
	ck_assert_int_le(n, (long)(sum + SUPPORT_SLACK * CHAIN));
	ck_assert_int_le(weakref_finalize_run_ordered(), (long)(SUPPORT_SLACK * CHAIN));
	chains_let_go(chains);
}
END_TEST

/* F29: unordered: chains of 20, and cycles, all run after one collection. */
START_TEST(test_F29_unordered_chain)
{
	struct chains *chains;

	gc_disable();
	chains = chains_new(false, _i % 2 != 0, true, _i / 2 != 0);
	ck_assert_int_ge(gc_collect(), 0);
	gc_enable();
	ck_assert_uint_ge(chains_done(chains, CHAIN), least());
	chains_let_go(chains);
}
END_TEST

static _Atomic unsigned told, told_type, told_other;

static void tell_cycle(const gc_unraisable *info, void *user)
{
	/* The pointer that the finalizer was made with. */
	const char *node = (char *)info->subject - offsetof(struct support_node, next);

	(void)user;
	if (strcmp(info->where, "finalizer in a cycle") == 0 && info->error == -ENOTSUP) {
		told++;
		told_type += gc_type_of(node) == &support_node_type;
	} else
		told_other++;
}

/* Behind the last one, of those that wait. */
static int break_cycles(void *arg)
{
	struct chains *chains = arg;

	for (size_t i = 0; i < many(); i++) {
		void *last = NULL;

		if (weakref_finalize_peek(chains->handles[i * CHAIN + CHAIN - 1], &last, NULL, NULL) == 1)
			*(void **)last = NULL;
	}
	return 0;
}

/* F28: ordered: the objects of a cycle are not finalized; one of each is reported, once, and its type can be asked for; when the cycle is
 * broken, they are, in their order. */
START_TEST(test_F28_cycle_is_reported)
{
	struct chains *chains;

	told = told_type = told_other = 0;
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	ck_assert_int_eq(gc_set_unraisable_handler(tell_cycle, NULL), 0);
	chains = chains_new(false, true, false, false);
	for (int i = 0; i < 3; i++) {
		deliver();
		ck_assert_uint_ge(told, least());
		ck_assert_uint_le(told, many());
		ck_assert_uint_eq(told_type, told);
		ck_assert_uint_eq(told_other, 0);
	}
	for (size_t i = 0; i < many() * CHAIN; i++)
		ck_assert(weakref_finalize_alive(chains->handles[i]));
	ck_assert_uint_eq(chains_done(chains, 0), 0);
	ck_assert_int_eq(support_on_thread(break_cycles, chains), 0);
	chains->closed = false;
	support_scrub();
	ck_assert_int_ge(weakref_finalize_run_ordered(), 0);
	ck_assert_uint_ge(chains_done(chains, CHAIN), least());
	ck_assert_uint_le(told, many());
	chains_let_go(chains);
	ck_assert_int_eq(gc_set_unraisable_handler(NULL, NULL), 0);
}
END_TEST

struct rings {
	weakref_finalize *own[2 * N];
};

static _Atomic unsigned own_done, holder_done;

static int count_done(void *args)
{
	++*(_Atomic unsigned *)args;
	return 0;
}

static int make_containers(void *args)
{
	struct rings *rings = args;

	for (size_t i = 0; i < many(); i++) {
		struct support_node *holder = support_node_new(i);

		holder->other = weakref_valuedict_new(WEAKREF_KEY_INT);
		SUPPORT_REQUIRE(weakref_finalize_new_ordered(holder, count_done, &holder_done) != NULL);
		rings->own[2 * i] = weakref_finalize_new_ordered(weakref_valuedict_new(WEAKREF_KEY_STRING), count_done, &own_done);
		rings->own[2 * i + 1] = weakref_finalize_new_ordered(weakref_set_new(WEAKREF_BY_IDENTITY), count_done, &own_done);
	}
	return 0;
}

/* F28, R79: a weak container is a cycle by itself; an object that holds one is none. */
START_TEST(test_F28_containers_are_cycles)
{
	struct rings *rings = gc_alloc(sizeof *rings);

	told = own_done = holder_done = 0;
	ck_assert_int_eq(gc_set_unraisable_handler(tell_cycle, NULL), 0);
	ck_assert_int_eq(support_on_thread(make_containers, rings), 0);
	support_scrub();
	ck_assert_int_ge(weakref_finalize_run_ordered(), 0);
	ck_assert_uint_ge(holder_done, least());
	ck_assert_uint_eq(own_done, 0);
	ck_assert_uint_ge(told, 2 * least());
	for (size_t i = 0; i < 2 * many(); i++)
		ck_assert_int_eq(weakref_finalize_detach(rings->own[i], NULL, NULL, NULL), 1);
	ck_assert_int_eq(gc_set_unraisable_handler(NULL, NULL), 0);
	SUPPORT_KEEP(rings);
}
END_TEST

/* More than are told of in one go. */
#define CYCLES 40

static int make_ordered_cycle(void *args)
{
	struct support_node *a = support_node_new(1), *b = support_node_new(2);

	a->next = b;
	b->next = a;
	SUPPORT_REQUIRE(weakref_finalize_new_ordered(a, note, args) != NULL && weakref_finalize_new_ordered(b, note, args) != NULL);
	return 0;
}

static void make_ordered_cycles(size_t n)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(support_on_thread(make_ordered_cycle, &cells[0]), 0);
	support_scrub();
	ck_assert_int_ge(gc_collect(), 0);
}

static void tell_and_make_another(const gc_unraisable *info, void *user)
{
	(void)info;
	(void)user;
	if (told++ < CYCLES)
		make_ordered_cycles(1);
}

/* Cycles that are found while others are reported are reported as well; and what is queued after them comes: a report that was in the
 * queue was queued again. */
START_TEST(test_cycles_found_within_a_report)
{
	struct making m = {.kind = BLOCK_OBJECT, .out = GC_MALLOC(N * sizeof(*m.out))};

	told = 0;
	forget();
	/* Nobody else is to run what a report queues. */
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	ck_assert_int_eq(gc_set_unraisable_handler(tell_and_make_another, NULL), 0);
	make_ordered_cycles(CYCLES);
	for (int i = 0; i < 3; i++)
		deliver();
	ck_assert_uint_ge(told, 2 * CYCLES - 2 * SUPPORT_SLACK);
	ck_assert_uint_le(told, 2 * CYCLES);
	ck_assert_int_eq(gc_set_unraisable_handler(NULL, NULL), 0);
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	deliver();
	ck_assert_int_ge(gc_run_callbacks(), 0);
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
}
END_TEST

struct ordered_job {
	bool with_self;
	weakref_ref **refs;
	weakref_finalize **all;
};

static int make_hosted_ordered(void *arg)
{
	struct ordered_job *job = arg;

	for (size_t i = 0; i < N; i++) {
		void **block = GC_MALLOC(48);

		if (job->with_self)
			block[1] = block;
		GC_register_finalizer(block, host_finalizer, NULL, NULL, NULL);
		job->refs[i] = weakref_ref_new(block, NULL, NULL);
		/* Two on one block, and one that is detached. */
		SUPPORT_REQUIRE(weakref_finalize_new_ordered(block, note, &cells[i]) != NULL);
		SUPPORT_REQUIRE((job->all[i] = weakref_finalize_new_ordered(block, note, &cells[2 * N + i])) != NULL);
		SUPPORT_REQUIRE(weakref_finalize_detach(job->all[i], NULL, NULL, NULL) == 1);
		SUPPORT_REQUIRE((job->all[i] = weakref_finalize_new_ordered(block, note, &cells[N + i])) != NULL);
	}
	return 0;
}

/* Ordered: a finalizer of the host's that was there is called as well; several on one block all run; an object that leads to itself is
 * no cycle. */
START_TEST(test_ordered_chains_hosts_finalizer)
{
	struct ordered_job job = {.with_self = _i != 0, .refs = GC_MALLOC(N * sizeof(*job.refs)), .all = GC_MALLOC(N * sizeof(*job.all))};

	host_ran = 0;
	forget();
	ck_assert_int_eq(support_on_thread(make_hosted_ordered, &job), 0);
	deliver();
	deliver();
	ck_assert_uint_ge(host_ran, LEAST);
	ck_assert_uint_le(host_ran, N);
	ck_assert_uint_ge(cells_that_ran(2 * N, 1), 2 * LEAST);
	ck_assert_uint_eq(cells_that_ran(2 * N, 1) + cells_that_ran(2 * N, 0), 2 * N);
	ck_assert_uint_eq(cells_that_ran(3 * N, 1), cells_that_ran(2 * N, 1));
	ck_assert_uint_ge(support_dead(job.refs, N), LEAST);
	for (size_t i = 0; i < N; i++)
		ck_assert(cells[N + i].ran == 0 ? weakref_finalize_alive(job.all[i]) : says_nothing(job.all[i]));
}
END_TEST

/* Ordered: made and detached again and again on one object they leave nothing behind. */
START_TEST(test_ordered_made_and_detached)
{
	size_t n = support_scaled(50000, 500), before;
	struct support_node *node = support_node_new(1);

	support_collect();
	before = GC_get_heap_size() - GC_get_free_bytes();
	for (size_t i = 0; i < n; i++) {
		weakref_finalize *f = weakref_finalize_new_ordered(node, note, &cells[0]);
		ck_assert_int_eq(weakref_finalize_detach(f, NULL, NULL, NULL), 1);
	}
	support_collect();
	/* Each record has more than 64 bytes. */
	ck_assert_uint_lt(GC_get_heap_size() - GC_get_free_bytes(), before + 8 * n + (1 << 20));
	SUPPORT_KEEP(node);
}
END_TEST

static int make_usurped(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < N; i++) {
		void *block = GC_MALLOC(48);

		SUPPORT_REQUIRE(weakref_finalize_new_ordered(block, note, &cells[i]) != NULL);
		GC_register_finalizer(block, NULL, NULL, NULL, NULL);
	}
	return 0;
}

/* Ordered: where somebody takes libgc's finalizer away, the function runs all the same, once the block is gone. */
START_TEST(test_ordered_usurped)
{
	forget();
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	ck_assert_int_eq(support_on_thread(make_usurped, NULL), 0);
	deliver();
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
	ck_assert_uint_eq(cells_that_ran(N, 1) + cells_that_ran(N, 0), N);
}
END_TEST

/* Ordered: arguments as for the plain ones; not for objects with destructors; call and detach as ever; all or nothing. */
START_TEST(test_ordered_arguments)
{
	struct support_node *obj = support_node_new(1);
	char *phoenix = gc_new(&phoenix_type);
	bool reached = weakref_checks_enabled();
	int result = 0;

	forget();
	errno = 0;
	ck_assert_ptr_null(weakref_finalize_new_ordered(NULL, note, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_finalize_new_ordered(obj, NULL, NULL));
	ck_assert_int_eq(errno, EINVAL);
	for (int i = 0; i < 2; i++) {
		errno = 0;
		ck_assert_ptr_null(weakref_finalize_new_ordered(phoenix + i, note, NULL));
		ck_assert_int_eq(errno, ENOTSUP);
	}
	for (unsigned long k = 1; reached; k++) {
		weakref_checks_fail_allocation(k);
		weakref_finalize *f = weakref_finalize_new_ordered(obj, note, &cells[0]);
		int error = errno;
		reached = weakref_checks_fail_allocation(0) == 0;
		if (f == NULL)
			ck_assert(reached && error == ENOMEM);
		else
			ck_assert_int_eq(weakref_finalize_detach(f, NULL, NULL, NULL), 1);
		ck_assert_uint_lt(k, 100);
	}
	weakref_finalize *f = weakref_finalize_new_ordered(obj, note, &cells[0]);
	ck_assert(weakref_finalize_alive(f) && weakref_finalize_get_atexit(f));
	ck_assert_int_eq(weakref_finalize_call(f, &result), 1);
	ck_assert_int_eq(result, 7);
	ck_assert(says_nothing(f));
	ck_assert_uint_eq(cells[0].ran, 1);
	SUPPORT_KEEP(obj);
	SUPPORT_KEEP(phoenix);
}
END_TEST

/* ---- failures ------------------------------------------------------------------------------------------------------------ */

static _Atomic unsigned reported, reported_wrong;

static void report(const gc_unraisable *info, void *user)
{
	reported++;
	reported_wrong += info->error != -EDOM || strcmp(info->where, "finalizer") != 0 || info->subject == NULL || user != &reported;
	reported_wrong += weakref_finalize_alive(info->subject);
}

static int fails(void *args)
{
	note(args);
	return -EDOM;
}

/* F18: a finalizer that fails is reported, counts as done, and the others run; where it was called, the caller gets the error. */
START_TEST(test_F18_failures_are_reported)
{
	struct making m = {.kind = BLOCK_FOREIGN, .fn = fails};
	struct support_node *obj = support_node_new(1);
	int result = 0;

	reported = reported_wrong = 0;
	forget();
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	ck_assert_int_eq(gc_set_unraisable_handler(report, (void *)&reported), 0);
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	deliver();
	deliver();
	ck_assert_uint_ge(reported, LEAST);
	ck_assert_uint_eq(reported, ran);
	ck_assert_uint_eq(reported_wrong, 0);
	ck_assert_uint_eq(cells_that_ran(N, 1) + cells_that_ran(N, 0), N);
	unsigned before = reported;
	ck_assert_int_eq(weakref_finalize_call(weakref_finalize_new(obj, fails, &cells[0]), &result), 1);
	ck_assert_int_eq(result, -EDOM);
	ck_assert_uint_eq(reported, before);
	ck_assert_int_eq(gc_set_unraisable_handler(NULL, NULL), 0);
	SUPPORT_KEEP(obj);
}
END_TEST

/* F36: in manual delivery nothing runs until the pump is called, which says how many did; pending tells the truth. */
START_TEST(test_F36_manual)
{
	struct making m = {.kind = BLOCK_OBJECT, .out = GC_MALLOC(N * sizeof(*m.out))};
	size_t alive = 0;

	deliver();
	forget();
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	ck_assert(!gc_callbacks_pending());
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	support_collect();
	ck_assert_uint_eq(ran, 0);
	ck_assert(gc_callbacks_pending());
	/* What is due is dead already: nobody else gets it. */
	for (size_t i = 0; i < N; i++)
		if (weakref_finalize_alive(m.out[i]))
			alive++;
		else
			ck_assert(says_nothing(m.out[i]));
	ck_assert_uint_le(alive, SUPPORT_SLACK);
	ck_assert_uint_eq(ran, 0);
	ck_assert_int_eq(gc_run_callbacks(), (long)(N - alive));
	ck_assert_uint_eq(ran, N - alive);
	ck_assert(!gc_callbacks_pending());
	SUPPORT_KEEP(m.out);
}
END_TEST

/* ---- hostile finalizers -------------------------------------------------------------------------------------------------- */

enum act { ACT_ALLOCATE, ACT_COLLECT, ACT_RUN, ACT_MAKE_MORE, ACT_CANCEL_SELF, ACT_CANCEL_OTHERS, ACTS };

struct hostile {
	_Atomic unsigned ran;
	enum act act;
	weakref_finalize *self, *other;
};

static _Atomic unsigned wrong, more, more_made; /* the latter two since the program began */
static struct support_node *immortal;

static int count_more(void *args)
{
	(void)args;
	more++;
	return 0;
}

static int misbehave(void *args)
{
	struct hostile *h = args;

	h->ran++;
	ran++;
	switch (h->act) {
	case ACT_ALLOCATE:
		for (int i = 0; i < 200; i++)
			wrong += support_node_new(1) == NULL;
		break;
	case ACT_COLLECT: wrong += gc_collect() < 0; break;
	case ACT_RUN: wrong += gc_run_callbacks() < 0; break;
	case ACT_MAKE_MORE:
		more_made++;
		wrong += weakref_finalize_new(support_node_new(1), count_more, NULL) == NULL;
		break;
	case ACT_CANCEL_SELF:
		for (int i = 0; i < 2; i++) {
			wrong += weakref_finalize_detach(h->self, NULL, NULL, NULL) != 0;
			wrong += weakref_finalize_call(h->self, NULL) != 0;
		}
		break;
	default:
		wrong += weakref_finalize_detach(h->other, NULL, NULL, NULL) != 1;
		wrong += weakref_finalize_detach(h->other, NULL, NULL, NULL) != 0;
		break;
	}
	return 0;
}

static int make_hostile(void *arg)
{
	struct hostile **all = arg;

	for (size_t i = 0; i < N; i++) {
		all[i] = GC_MALLOC(sizeof(**all));
		all[i]->act = (enum act)(i % ACTS);
		all[i]->other = weakref_finalize_new(immortal, count_more, NULL);
		all[i]->self = weakref_finalize_new(support_node_new(i), misbehave, all[i]);
		SUPPORT_REQUIRE(all[i]->self != NULL && all[i]->other != NULL);
	}
	return 0;
}

/* F43: finalizers that allocate, collect, pump, make others, cancel themselves, twice, and others, under each rule: each once, none
 * lost. */
START_TEST(test_F43_hostile_finalizers)
{
	struct hostile **all = GC_MALLOC(N * sizeof(*all));
	size_t once = 0, never = 0;

	forget();
	wrong = 0;
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	immortal = support_node_new(1);
	ck_assert_int_eq(support_on_thread(make_hostile, all), 0);
	deliver();
	deliver();
	for (size_t i = 0; i < N; i++) {
		once += all[i]->ran == 1;
		never += all[i]->ran == 0;
		weakref_finalize_detach(all[i]->other, NULL, NULL, NULL);
	}
	ck_assert_uint_ge(once, LEAST);
	ck_assert_uint_eq(once + never, N);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_le(more, more_made);
	ck_assert_uint_ge(more_made, N / ACTS - SUPPORT_SLACK);
	SUPPORT_CLEAR(immortal);
	SUPPORT_KEEP(all);
}
END_TEST

/* F43: cancelling twice, and cancelling what is being called. */
static int cancel_self_in_call(void *args)
{
	weakref_finalize **f = args;

	ran++;
	return says_nothing(*f) ? 0 : -1;
}

START_TEST(test_F43_cancel_twice_and_in_a_call)
{
	struct support_node *obj = support_node_new(1);
	weakref_finalize **f = GC_MALLOC(sizeof(*f));
	int result = 1;

	forget();
	*f = weakref_finalize_new(obj, cancel_self_in_call, f);
	ck_assert_int_eq(weakref_finalize_call(*f, &result), 1);
	ck_assert_int_eq(result, 0);
	ck_assert_uint_eq(ran, 1);
	*f = weakref_finalize_new(obj, note, &cells[0]);
	ck_assert_int_eq(weakref_finalize_detach(*f, NULL, NULL, NULL), 1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weakref_finalize_detach(*f, NULL, NULL, NULL), 0);
	ck_assert_uint_eq(cells[0].ran, 0);
	SUPPORT_KEEP(obj);
}
END_TEST

static sigjmp_buf out;
static _Atomic bool armed;
static pthread_t jumper;

static int jump(void *args)
{
	note(args);
	if (armed && pthread_equal(pthread_self(), jumper))
		siglongjmp(out, 1);
	return 0;
}

/* A finalizer that leaves by longjmp counts as run, and the others run. */
START_TEST(test_longjmp_out)
{
	struct making m = {.kind = BLOCK_FOREIGN, .fn = jump};
	volatile unsigned jumps = 0;

	forget();
	ck_assert_int_eq(gc_set_delivery(_i == 0 ? WEAKREF_DELIVER_AT_ALLOCATION : WEAKREF_DELIVER_MANUAL), 0);
	jumper = pthread_self();
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	armed = true;
	for (volatile int round = 0; round < (int)N + 8; round++)
		if (sigsetjmp(out, 1) == 0)
			deliver();
		else
			jumps++;
	armed = false;
	deliver();
	/* A call that is left likewise. */
	weakref_finalize *volatile f = weakref_finalize_new(support_node_new(1), jump, &cells[N]);
	armed = true;
	if (sigsetjmp(out, 1) == 0)
		weakref_finalize_call(f, NULL);
	armed = false;
	ck_assert(says_nothing(f));
	ck_assert_uint_eq(jumps + 1, ran);
	ck_assert_uint_eq(cells[N].ran, 1);
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
	ck_assert_uint_eq(cells_that_ran(N, 1) + cells_that_ran(N, 0), N);
}
END_TEST

static pthread_t not_to_exit;

static int end_thread(void *args)
{
	note(args);
	if (armed && !pthread_equal(pthread_self(), not_to_exit))
		pthread_exit(NULL);
	return 0;
}

static void *deliver_on_thread(void *arg)
{
	support_scrub();
	gc_collect();
	gc_run_callbacks();
	return arg;
}

/* A finalizer that ends its thread, the delivery thread included, counts as run, and the others run. */
START_TEST(test_pthread_exit_out)
{
	struct making m = {.kind = BLOCK_FOREIGN, .fn = end_thread};

	forget();
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	not_to_exit = pthread_self();
	ck_assert_int_eq(support_on_thread(make, &m), 0);
	armed = true;
	for (int round = 0; round < 8; round++) {
		pthread_t thread;

		ck_assert_int_eq(pthread_create(&thread, NULL, deliver_on_thread, NULL), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
	armed = false;
	for (int i = 0; i < 100 && ran < LEAST; i++)
		deliver();
	ck_assert_uint_ge(cells_that_ran(N, 1), LEAST);
	ck_assert_uint_eq(cells_that_ran(N, 1) + cells_that_ran(N, 0), N);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

#define THREADS 4
#define CONTESTED ((size_t)2000)

static weakref_finalize **contested;
static _Atomic unsigned called, detached;
static _Atomic unsigned contested_ran[CONTESTED];

static int note_contested(void *args)
{
	++*(_Atomic unsigned *)args;
	return 0;
}

/* One half of the threads calls, the other detaches; in all of them collections come. */
static int contest(void *arg)
{
	unsigned me = *(unsigned *)arg;
	size_t n = support_scaled(CONTESTED, 100);

	for (size_t i = 0; i < n; i++) {
		weakref_finalize *f = contested[me % 2 != 0 ? i : n - 1 - i];

		if (me / 2 != 0)
			called += weakref_finalize_call(f, NULL) == 1;
		else
			detached += weakref_finalize_detach(f, NULL, NULL, NULL) == 1;
		if (i % 500 == me)
			gc_collect();
	}
	return 0;
}

static int make_contested(void *arg)
{
	size_t n = support_scaled(CONTESTED, 100);

	(void)arg;
	for (size_t i = 0; i < n; i++) {
		contested[i] = weakref_finalize_new(support_node_new(i), note_contested, (void *)&contested_ran[i]);
		SUPPORT_REQUIRE(contested[i] != NULL);
	}
	return 0;
}

/* Threads that call and threads that detach contend with the deaths of the objects: exactly one gets each finalizer. */
START_TEST(test_exactly_one_gets_it)
{
	unsigned who[THREADS] = {0, 1, 2, 3};
	size_t n = support_scaled(CONTESTED, 100), ones = 0, zeros = 0, alive = 0;

	called = detached = 0;
	memset((void *)contested_ran, 0, sizeof(contested_ran));
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	contested = GC_MALLOC(n * sizeof(*contested));
	ck_assert_int_eq(support_on_thread(make_contested, NULL), 0);
	ck_assert_uint_eq(support_threads(THREADS, contest, who, sizeof(who[0])), 0);
	deliver();
	for (size_t i = 0; i < n; i++) {
		ones += contested_ran[i] == 1;
		zeros += contested_ran[i] == 0;
		alive += weakref_finalize_alive(contested[i]);
	}
	ck_assert_uint_eq(alive, 0);
	ck_assert_uint_eq(ones + zeros, n);
	ck_assert_uint_eq(zeros, detached);
	ck_assert_uint_ge(ones, called);
	contested = NULL;
}
END_TEST

static int churn(void *arg)
{
	unsigned *made = arg;
	size_t n = support_scaled(3000, 50);

	for (size_t i = 0; i < n; i++) {
		weakref_finalize *f = weakref_finalize_new(support_node_new(i), count, (void *)&ran);

		SUPPORT_REQUIRE(f != NULL);
		++*made;
		if (i % 3 == 0)
			*made -= weakref_finalize_detach(f, NULL, NULL, NULL) == 1;
		if (i % 1000 == 999)
			SUPPORT_REQUIRE(gc_collect() >= 0);
	}
	return 0;
}

/* Threads make, drop, detach and collect at once: as many run as were neither detached nor stay alive. */
START_TEST(test_threads_churn)
{
	unsigned made[THREADS] = {0}, sum = 0;

	deliver();
	forget();
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	ck_assert_uint_eq(support_threads(THREADS, churn, made, sizeof(made[0])), 0);
	deliver();
	deliver();
	for (int i = 0; i < THREADS; i++)
		sum += made[i];
	ck_assert_uint_le(ran, sum);
	ck_assert_uint_ge(ran, sum - THREADS * SUPPORT_SLACK);
	ck_assert_int_ne(weakref_checks_validate(), 0);
}
END_TEST

/* ---- destructors --------------------------------------------------------------------------------------------------------- */

/* A tree node knows its level; the destructor counts, and finds its children as they were. */
struct tree {
	uint64_t signature;
	unsigned level;
	bool reachable;
	struct tree *left, *right;
};

#define TREE UINT64_C(0x7472656574726565)
#define LEVELS 7

static _Atomic unsigned felled[LEVELS + 1], fell_reachable, fell_wrong;

static int tree_destroy(void *obj)
{
	struct tree *tree = obj;

	if (tree->signature != TREE || tree->level > LEVELS) {
		fell_wrong++;
		return 0;
	}
	felled[tree->level]++;
	fell_reachable += tree->reachable;
	if (tree->level > 0) {
		fell_wrong += tree->left->signature != TREE || tree->left->level != tree->level - 1;
		fell_wrong += tree->right->signature != TREE || tree->right->level != tree->level - 1;
	}
	return 0;
}

static const gc_type tree_type = {.name = "tree", .size = sizeof(struct tree), .destroy = tree_destroy};

static struct tree *tree_new(unsigned level)
{
	struct tree *tree = gc_new(&tree_type);

	if (tree == NULL)
		return NULL;
	tree->level = level;
	tree->reachable = true;
	if (level > 0) {
		tree->left = tree_new(level - 1);
		tree->right = tree_new(level - 1);
	}
	tree->signature = TREE;
	return tree;
}

static void tree_let_go(struct tree *tree)
{
	if (tree == NULL)
		return;
	tree->reachable = false;
	tree_let_go(tree->left);
	tree_let_go(tree->right);
}

static struct tree *kept_tree;

static int grow_trees(void *arg)
{
	size_t n = *(size_t *)arg;

	for (size_t i = 0; i < n; i++) {
		struct tree *tree = tree_new(LEVELS);

		SUPPORT_REQUIRE(tree != NULL);
		SUPPORT_REQUIRE(gc_alloc(100) != NULL);
		tree_let_go(tree);
	}
	SUPPORT_REQUIRE((kept_tree = tree_new(LEVELS)) != NULL);
	return 0;
}

/* F32: trees of objects tagged with their level: none is destroyed while it is reachable, in the end nearly all are, and as many of each
 * level as there were. */
START_TEST(test_F32_trees)
{
	size_t n = support_scaled(N, 8);

	forget();
	memset((void *)felled, 0, sizeof(felled));
	fell_reachable = fell_wrong = 0;
	ck_assert_int_eq(support_on_thread(grow_trees, &n), 0);
	deliver();
	ck_assert_uint_eq(fell_reachable, 0);
	ck_assert_uint_eq(fell_wrong, 0);
	for (unsigned level = 0; level <= LEVELS; level++) {
		ck_assert_uint_le(felled[level], n << (LEVELS - level));
		ck_assert_uint_ge(felled[level], (n - SUPPORT_SLACK) << (LEVELS - level));
	}
	tree_let_go(kept_tree);
	SUPPORT_CLEAR(kept_tree);
	deliver();
}
END_TEST

/* A pair carries a checksum over itself and its children; destroying one spoils it. */
struct pair {
	uint64_t sum;
	uint32_t id;
	uint32_t round;
	struct pair *car, *cdr;
};

#define PAIR_DEAD UINT64_C(0xdeaddeaddeaddead)

static _Atomic unsigned pairs_destroyed, pairs_wrong; /* of this round the first */
static unsigned pairs_round;

static uint64_t pair_sum(const struct pair *pair)
{
	return pair->id * UINT64_C(0x9e3779b97f4a7c15) ^ (uintptr_t)pair->car ^ (uintptr_t)pair->cdr << 1;
}

static bool pair_intact(const struct pair *pair)
{
	return pair == NULL || pair->sum == PAIR_DEAD || pair->sum == pair_sum(pair);
}

static int pair_destroy(void *obj)
{
	struct pair *pair = obj;

	pairs_destroyed += pair->round == pairs_round;
	pairs_wrong += pair->sum != pair_sum(pair) || !pair_intact(pair->car) || !pair_intact(pair->cdr);
	pair->sum = PAIR_DEAD;
	return 0;
}

static const gc_type pair_type = {.name = "pair", .size = sizeof(struct pair), .destroy = pair_destroy};

#define POPULATION 64
#define PAIR_THREADS 6

static int pair_up(void *arg)
{
	uint64_t state = support_seed() + *(unsigned *)arg;
	struct pair **population = GC_MALLOC(POPULATION * sizeof(*population));
	size_t steps = support_scaled(4000, 100);

	for (size_t i = 0; i < steps; i++) {
		struct pair *pair = gc_new(&pair_type);

		SUPPORT_REQUIRE(pair != NULL);
		pair->id = (uint32_t)i;
		pair->round = pairs_round;
		pair->car = population[support_random(&state) % POPULATION];
		/* Else the structure only grows. */
		pair->cdr = i % 4 == 0 ? NULL : population[support_random(&state) % POPULATION];
		if (support_random(&state) % 4 == 0)
			pair->car = NULL;
		pair->sum = pair_sum(pair);
		SUPPORT_REQUIRE(pair->car == NULL || pair->car->sum == pair_sum(pair->car));
		SUPPORT_REQUIRE(pair->cdr == NULL || pair->cdr->sum == pair_sum(pair->cdr));
		population[support_random(&state) % POPULATION] = pair;
	}
	SUPPORT_KEEP(population);
	return 0;
}

/* F34: six threads make pairs of pairs and drop them: a destructor finds its children whole, and nothing that is held was destroyed. */
START_TEST(test_F34_pairs_of_six_threads)
{
	unsigned who[PAIR_THREADS] = {0, 1, 2, 3, 4, 5};
	size_t made = PAIR_THREADS * support_scaled(4000, 100);

	pairs_round++;
	pairs_destroyed = pairs_wrong = 0;
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	ck_assert_uint_eq(support_threads(PAIR_THREADS, pair_up, who, sizeof(who[0])), 0);
	/* What waits for the pump keeps what it leads to. */
	for (unsigned before = UINT32_MAX; pairs_destroyed != before;) {
		before = pairs_destroyed;
		deliver();
	}
	ck_assert_uint_eq(pairs_wrong, 0);
	ck_assert_uint_ge(pairs_destroyed, made / 2);
	ck_assert_uint_le(pairs_destroyed, made);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("finalize");

	/* Of cycles, which it would print in each collection. */
	GC_set_warn_proc(GC_ignore_warn_proc);

	TCase *t = support_tcase("one finalizer");

	tcase_add_test(t, test_F01_new_peek_call);
	tcase_add_test(t, test_F02_after_a_call);
	tcase_add_test(t, test_F03_detach);
	tcase_add_loop_test(t, test_F04_runs_once_after_death, 0, BLOCKS);
	tcase_add_loop_test(t, test_F05_dropped_handles, 0, BLOCKS);
	tcase_add_test(t, test_living_objects_are_not_finalized);
	tcase_add_loop_test(t, test_F07_everything_is_collectable, 0, 2 * ENDS);
	tcase_add_test(t, test_F08_args_that_lead_to_the_object);
	tcase_add_test(t, test_F09_argument_errors);
	tcase_add_test(t, test_F10_atexit);
	tcase_add_test(t, test_C41_repr);
	tcase_add_test(t, test_making_all_or_nothing);
	suite_add_tcase(s, t);

	t = support_tcase("several");
	tcase_add_test(t, test_newest_first_with_references);
	tcase_add_loop_test(t, test_newest_first_over_threads, 0, 2);
	tcase_add_test(t, test_collections_by_turns);
	tcase_add_test(t, test_many_functions);
	tcase_add_test(t, test_many_of_one_object);
	tcase_add_test(t, test_resurrected_objects);
	tcase_add_test(t, test_hosts_finalizer_stays);
	suite_add_tcase(s, t);

	t = support_tcase("ordered");
	tcase_add_loop_test(t, test_F26_F27_one_level_in_a_collection, 0, 4 * RULES);
	tcase_add_loop_test(t, test_F26_undelivered_holds_the_next, 0, 2);
	tcase_add_loop_test(t, test_F27_fixpoint, 0, RULES);
	tcase_add_loop_test(t, test_F28_cycle_is_reported, 0, RULES);
	tcase_add_test(t, test_F28_containers_are_cycles);
	tcase_add_test(t, test_cycles_found_within_a_report);
	tcase_add_loop_test(t, test_F29_unordered_chain, 0, 4);
	tcase_add_loop_test(t, test_ordered_chains_hosts_finalizer, 0, 2);
	tcase_add_test(t, test_ordered_made_and_detached);
	tcase_add_loop_test(t, test_ordered_usurped, 0, RULES);
	tcase_add_test(t, test_ordered_arguments);
	suite_add_tcase(s, t);

	t = support_tcase("delivery");
	tcase_add_loop_test(t, test_F18_failures_are_reported, 0, RULES);
	tcase_add_test(t, test_F36_manual);
	tcase_add_loop_test(t, test_F43_hostile_finalizers, 0, RULES);
	tcase_add_test(t, test_F43_cancel_twice_and_in_a_call);
	tcase_add_loop_test(t, test_longjmp_out, 0, 2);
	tcase_add_loop_test(t, test_pthread_exit_out, 0, RULES);
	suite_add_tcase(s, t);

	t = support_tcase("threads");
	tcase_add_loop_test(t, test_exactly_one_gets_it, 0, RULES);
	tcase_add_loop_test(t, test_threads_churn, 0, RULES);
	suite_add_tcase(s, t);

	t = support_tcase("destructors");
	tcase_add_test(t, test_F32_trees);
	tcase_add_loop_test(t, test_F34_pairs_of_six_threads, 0, RULES);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

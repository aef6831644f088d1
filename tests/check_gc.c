/* SPDX-License-Identifier: MIT */
/*
 * check_gc: weakref/gc.h but for delivery (check_delivery) and fork (check_fork): start-up, collecting and what it counts,
 * switching automatic collection, threads, the heap limit, figures and debugging; and what happens in other orders, in
 * processes of their own.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gc/gc.h>
#include <gc/gc_mark.h>

#include "rawthread.h"
#include "weakref/finalize.h"
#include "weakref/checks.h"
#include "weakref/proxy.h"
#include "weakref/valuedict.h"

static int no_callback(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	return 0;
}

static int ignore_destroy(void *obj)
{
	(void)obj;
	return 0;
}

static const gc_type mortal_type = {.name = "mortal", .size = sizeof(struct support_node), .destroy = ignore_destroy};

/* ---- what gc_collect counts ---------------------------------------------------------------------------------------------- */

/* Collects until nothing is left to be found. */
static void settle(void)
{
	for (int i = 0; i < 8; i++) {
		support_scrub();
		if (gc_collect() == 0)
			return;
	}
}

#define ROUNDS 16

static __attribute__((noinline)) weakref_ref *drop_one(weakref_valuedict *dict)
{
	struct support_node *node = support_node_new(1);

	ck_assert_int_eq(weakref_valuedict_set(dict, "key", node), 0);
	ck_assert_ptr_eq(weakref_valuedict_get(dict, "key"), node);
	return weakref_ref_new(node, NULL, NULL);
}

/* R53: what a function made and dropped, alone, is found dead by gc_collect once it has returned: nothing that it left below the caller's
 * frame keeps it. */
START_TEST(test_R53_nothing_is_left_over)
{
	weakref_valuedict *dict = weakref_valuedict_new(WEAKREF_KEY_STRING);
	size_t dead = 0;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_ref *ref = drop_one(dict);
		ck_assert_int_ge(_i == 0 ? gc_collect() : gc_collect_generation(0), 0);
		dead += weakref_ref_get(ref) == NULL;
	}
	ck_assert_uint_ge(dead, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(dict);
}
END_TEST

struct counted {
	unsigned what;
	size_t n;
	weakref_valuedict *dicts[3];
	weakref_ref **refs;
};

static int make_cycle(void *arg)
{
	struct counted *c = arg;
	struct support_node *a = support_node_new(1), *b = support_node_new(2);

	SUPPORT_REQUIRE(a != NULL && b != NULL);
	a->next = b;
	b->next = a;
	c->refs[0] = weakref_ref_new(a, NULL, NULL);
	c->refs[1] = weakref_ref_new(b, NULL, NULL);
	SUPPORT_REQUIRE(c->refs[0] != NULL && c->refs[1] != NULL);
	SUPPORT_KEEP(a);
	return 0;
}

/* G01: a cycle of two watched objects counts 2 when it is found dead, and a second collection 0. Exact; a stale word may
 * delay a round. */
START_TEST(test_G01_cycle_of_two_counts_two)
{
	struct counted c = {.refs = GC_MALLOC(2 * sizeof(weakref_ref *))};
	unsigned exact = 0;
	long sum = 0;

	settle();
	for (int i = 0; i < ROUNDS; i++) {
		long first, second;

		ck_assert_int_eq(support_on_thread(make_cycle, &c), 0);
		support_scrub();
		first = gc_collect();
		second = gc_collect();
		ck_assert_int_ge(first, 0);
		ck_assert_int_ge(second, 0);
		exact += first == 2 && second == 0;
		sum += first + second;
	}
	sum += support_collect();
	ck_assert_uint_ge(exact, ROUNDS - 2);
	ck_assert_int_le(sum, 2 * ROUNDS);
	ck_assert_int_ge(sum, 2 * ROUNDS - 2);
}
END_TEST

enum {
	COUNT_SEVERAL_REFS,
	COUNT_MEMBERSHIPS,
	COUNT_REFS_AND_MEMBERSHIPS,
	COUNT_DESTRUCTOR,
	COUNT_DESTRUCTOR_AND_REFS,
	COUNT_LONG,
	COUNT_PROXY,
	COUNT_FOREIGN,
	COUNT_DROPPED_REFS,
	COUNT_WAYS
};

static void *counted_new(struct counted *c, size_t i)
{
	if (c->what == COUNT_FOREIGN)
		return GC_MALLOC(40);
	if (c->what == COUNT_DESTRUCTOR || c->what == COUNT_DESTRUCTOR_AND_REFS)
		return gc_new(&mortal_type);
	return support_node_new(i);
}

static int watch(struct counted *c, void *obj, size_t i)
{
	const weakref_ref_options is_long = {.is_long = true};
	bool refs = c->what == COUNT_SEVERAL_REFS || c->what == COUNT_REFS_AND_MEMBERSHIPS || c->what == COUNT_DESTRUCTOR_AND_REFS ||
		    c->what == COUNT_FOREIGN;
	bool member = c->what == COUNT_MEMBERSHIPS || c->what == COUNT_REFS_AND_MEMBERSHIPS;

	if (refs) {
		SUPPORT_REQUIRE((c->refs[4 * i] = weakref_ref_new(obj, NULL, NULL)) != NULL);
		SUPPORT_REQUIRE((c->refs[4 * i + 1] = weakref_ref_new(obj, no_callback, NULL)) != NULL);
		SUPPORT_REQUIRE((c->refs[4 * i + 2] = weakref_ref_new(obj, no_callback, NULL)) != NULL);
		SUPPORT_REQUIRE((c->refs[4 * i + 3] = weakref_proxy_new(obj, NULL, NULL)) != NULL);
	}
	for (int k = 0; member && k < 3; k++)
		SUPPORT_REQUIRE(weakref_valuedict_set(c->dicts[k], WEAKREF_INT(i), obj) == 0);
	if (c->what == COUNT_LONG)
		SUPPORT_REQUIRE((c->refs[i] = weakref_ref_new_with(obj, &is_long)) != NULL);
	if (c->what == COUNT_DROPPED_REFS)
		SUPPORT_REQUIRE(weakref_ref_new(obj, no_callback, NULL) != NULL);
	if (c->what == COUNT_PROXY)
		SUPPORT_REQUIRE((c->refs[i] = weakref_proxy_new(obj, no_callback, NULL)) != NULL);
	return 0;
}

static int make_counted(void *arg)
{
	struct counted *c = arg;
	void **all = GC_MALLOC(c->n * sizeof(*all));

	for (size_t i = 0; i < c->n; i++) {
		all[i] = counted_new(c, i);
		SUPPORT_REQUIRE(all[i] != NULL);
	}
	for (size_t i = 0; i < c->n; i++)
		SUPPORT_REQUIRE(watch(c, all[i], i) == 0);
	SUPPORT_KEEP(all);
	return 0;
}

/* An object counts once, however many references and memberships it has; one with a destructor alone counts; a foreign block
 * counts. One whose references all died with it is not asked for: it counts as watched or not at all. */
START_TEST(test_G01_each_object_counts_once)
{
	struct counted c = {.what = (unsigned)_i, .n = 256};
	long n, again;

	c.refs = GC_MALLOC(4 * c.n * sizeof(weakref_ref *));
	for (int k = 0; k < 3; k++)
		ck_assert_ptr_nonnull(c.dicts[k] = weakref_valuedict_new(WEAKREF_KEY_INT));
	settle();
	ck_assert_int_eq(support_on_thread(make_counted, &c), 0);
	n = support_collect();
	ck_assert_int_le(n, (long)c.n);
	if (c.what != COUNT_DROPPED_REFS)
		ck_assert_int_ge(n, (long)(c.n - SUPPORT_SLACK));
	again = support_collect();
	ck_assert_int_le(n + again, (long)c.n);
	SUPPORT_KEEP(c.refs);
	for (int k = 0; k < 3; k++)
		SUPPORT_KEEP(c.dicts[k]);
}
END_TEST

static int make_unwatched(void *arg)
{
	struct counted *c = arg;
	void **all = GC_MALLOC(c->n * sizeof(*all));

	for (size_t i = 0; i < c->n; i++)
		SUPPORT_REQUIRE((all[i] = support_node_new(i)) != NULL);
	SUPPORT_KEEP(all);
	return 0;
}

/* G01: objects that nobody watches do not count; with WEAKREF_DEBUG_COUNT_ALL they do. */
START_TEST(test_G01_unwatched_count_under_the_flag_only)
{
	struct counted c = {.n = 1000};

	settle();
	ck_assert_int_eq(support_on_thread(make_unwatched, &c), 0);
	ck_assert_int_le(support_collect(), (long)SUPPORT_SLACK);

	ck_assert_int_eq(gc_set_debug(WEAKREF_DEBUG_COUNT_ALL), 0);
	ck_assert_uint_eq(gc_get_debug(), WEAKREF_DEBUG_COUNT_ALL);
	settle();
	ck_assert_int_eq(support_on_thread(make_unwatched, &c), 0);
	ck_assert_int_ge(support_collect(), (long)(c.n - SUPPORT_SLACK));
	ck_assert_int_le(support_collect(), (long)SUPPORT_SLACK);

	ck_assert_int_eq(gc_set_debug(0), 0);
	ck_assert_uint_eq(gc_get_debug(), 0);
	ck_assert_int_eq(support_on_thread(make_unwatched, &c), 0);
	ck_assert_int_le(support_collect(), (long)SUPPORT_SLACK);
}
END_TEST

/* Under the flag a watched object counts once as well. */
START_TEST(test_G01_count_all_counts_watched_once)
{
	struct counted c = {.what = COUNT_SEVERAL_REFS, .n = 256};
	long n;

	c.refs = GC_MALLOC(4 * c.n * sizeof(weakref_ref *));
	ck_assert_int_eq(gc_set_debug(WEAKREF_DEBUG_COUNT_ALL), 0);
	settle();
	ck_assert_int_eq(support_on_thread(make_counted, &c), 0);
	n = support_collect();
	ck_assert_int_ge(n, (long)(c.n - SUPPORT_SLACK));
	ck_assert_int_le(n, (long)c.n);
}
END_TEST

/* Unknown debugging flags are refused, and change nothing. */
START_TEST(test_debug_flags)
{
	static const unsigned unknown[] = {32, 64, 33, UINT_MAX, 1U << 31};

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		ck_assert_int_eq(gc_set_debug(unknown[i]), -EINVAL);
		ck_assert_uint_eq(gc_get_debug(), 0);
	}
}
END_TEST

/* ---- switching ----------------------------------------------------------------------------------------------------------- */

/* G02: gc_collect works while automatic collection is off, and leaves it off. */
START_TEST(test_G02_collect_while_disabled)
{
	struct counted c = {.what = COUNT_LONG, .n = SUPPORT_N};

	c.refs = GC_MALLOC(4 * c.n * sizeof(weakref_ref *));
	gc_disable();
	ck_assert_int_eq(support_on_thread(make_counted, &c), 0);
	ck_assert_int_ge(support_collect(), (long)(SUPPORT_N - SUPPORT_SLACK));
	ck_assert(!gc_isenabled());
	ck_assert_uint_ge(support_dead(c.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	gc_enable();
	ck_assert(gc_isenabled());
}
END_TEST

/* G03: disable and enable are flat. */
START_TEST(test_G03_flat)
{
	ck_assert(gc_isenabled());
	gc_disable();
	gc_disable();
	gc_disable();
	ck_assert(!gc_isenabled());
	gc_enable();
	ck_assert(gc_isenabled());
	gc_enable();
	gc_enable();
	gc_disable();
	ck_assert(!gc_isenabled());
	gc_enable();
	ck_assert(gc_isenabled());
}
END_TEST

/* G05: with automatic collection off, 10,000 allocations bring none; switched on again, it comes. */
START_TEST(test_G05_no_automatic_collection)
{
	GC_word before;
	void **all = GC_MALLOC(10000 * sizeof(*all));

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "the library collects at every Nth call in this run");
	gc_disable();
	before = GC_get_gc_no();
	for (size_t i = 0; i < 10000; i++) {
		all[i] = gc_new_extra(&support_node_type, 100 + i % 1000);
		ck_assert_ptr_nonnull(all[i]);
	}
	ck_assert_uint_eq(GC_get_gc_no(), before);
	gc_enable();
	ck_assert(support_churn(1, (size_t)256 << 20));
	ck_assert_uint_gt(GC_get_gc_no(), before);
	SUPPORT_KEEP(all);
}
END_TEST

/* Where the host disabled collection, gc_collect answers EBUSY and finds nothing dead; then it works again. */
START_TEST(test_host_disabled)
{
	struct counted c = {.what = COUNT_LONG, .n = SUPPORT_N};

	c.refs = GC_MALLOC(4 * c.n * sizeof(weakref_ref *));
	settle();
	GC_disable();
	ck_assert_int_eq(support_on_thread(make_counted, &c), 0);
	ck_assert_int_eq(gc_collect(), -EBUSY);
	ck_assert_uint_eq(support_dead(c.refs, SUPPORT_N), 0);
	GC_enable();
	ck_assert_int_ge(support_collect(), (long)(SUPPORT_N - SUPPORT_SLACK));
}
END_TEST

/* gc_init again: 0, and nothing changes. */
START_TEST(test_init_again)
{
	gc_disable();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(gc_init(), 0);
	ck_assert(!gc_isenabled());
	gc_enable();
}
END_TEST

/* A collection that the host starts clears references too, and what it found is not counted again by gc_collect. */
START_TEST(test_host_collects)
{
	struct counted c = {.what = COUNT_LONG, .n = SUPPORT_N};

	c.refs = GC_MALLOC(4 * c.n * sizeof(weakref_ref *));
	settle();
	ck_assert_int_eq(support_on_thread(make_counted, &c), 0);
	support_scrub();
	GC_gcollect();
	ck_assert_uint_ge(support_dead(c.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_int_le(gc_collect(), (long)SUPPORT_SLACK);
}
END_TEST

static _Atomic unsigned stop_asked;

static int GC_CALLBACK stop_at_third(void)
{
	return ++stop_asked >= 3;
}

static int GC_CALLBACK stop_at_once(void)
{
	return 1;
}

/* A marking that is abandoned changes nothing: references read, nothing is cleared, and the next collection is whole. */
START_TEST(test_abandoned_marking)
{
	void **held = GC_MALLOC(SUPPORT_N * sizeof(*held));
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));
	struct counted c = {.what = COUNT_LONG, .n = SUPPORT_N};
	unsigned abandoned = 0;

	c.refs = GC_MALLOC(4 * c.n * sizeof(weakref_ref *));
	for (size_t i = 0; i < SUPPORT_N; i++) {
		held[i] = support_node_new(i);
		refs[i] = weakref_ref_new(held[i], NULL, NULL);
	}
	ck_assert_int_eq(support_on_thread(make_counted, &c), 0);
	for (int round = 0; round < 20; round++) {
		stop_asked = 0;
		abandoned += !GC_try_to_collect(round % 2 == 0 ? stop_at_once : stop_at_third);
		for (size_t i = 0; i < SUPPORT_N; i++)
			ck_assert_ptr_eq(weakref_ref_get(refs[i]), held[i]);
	}
	ck_assert_uint_ge(abandoned, 10);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert_ptr_eq(weakref_ref_get(refs[i]), held[i]);
	ck_assert_uint_ge(support_dead(c.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(held);
}
END_TEST

/* ---- figures ------------------------------------------------------------------------------------------------------------- */

/* The figures move with what happens: one collection more, the dead, their references and entries; times do not run backwards. */
START_TEST(test_cycle_stats)
{
	struct counted c = {.what = COUNT_REFS_AND_MEMBERSHIPS, .n = 128};
	gc_cycle_stats before, after;

	c.refs = GC_MALLOC(4 * c.n * sizeof(weakref_ref *));
	for (int k = 0; k < 3; k++)
		ck_assert_ptr_nonnull(c.dicts[k] = weakref_valuedict_new(WEAKREF_KEY_INT));
	settle();
	ck_assert_int_eq(gc_get_cycle_stats(&before), 0);
	ck_assert_int_eq(support_on_thread(make_counted, &c), 0);
	support_collect();
	ck_assert_int_eq(gc_get_cycle_stats(&after), 0);
	ck_assert_uint_ge(after.collections, before.collections + 3);
	ck_assert_uint_ge(after.dead - before.dead, c.n - SUPPORT_SLACK);
	ck_assert_uint_le(after.dead - before.dead, c.n);
	ck_assert_uint_ge(after.refs - before.refs, 4 * (c.n - SUPPORT_SLACK));
	ck_assert_uint_le(after.refs - before.refs, 4 * c.n);
	ck_assert_uint_ge(after.entries - before.entries, 3 * (c.n - SUPPORT_SLACK));
	ck_assert_uint_le(after.entries - before.entries, 3 * c.n);
	ck_assert_uint_gt(after.pause_total_ns, before.pause_total_ns);
	ck_assert_uint_ge(after.pause_max_ns, before.pause_max_ns);
	ck_assert_uint_gt(after.pause_last_ns, 0);
	ck_assert_uint_gt(after.scan_total_ns, before.scan_total_ns);
	ck_assert_uint_ge(after.scan_max_ns, after.scan_last_ns);
	ck_assert_uint_ge(after.pause_total_ns, after.scan_total_ns);
	ck_assert_uint_ge(after.pause_total_ns, after.pause_max_ns);
	SUPPORT_KEEP(c.refs);
	for (int k = 0; k < 3; k++)
		SUPPORT_KEEP(c.dicts[k]);
}
END_TEST

/* No place for the figures: EINVAL. */
START_TEST(test_cycle_stats_null)
{
	ck_assert_int_eq(gc_get_cycle_stats(NULL), -EINVAL);
}
END_TEST

/* ---- heap limit ---------------------------------------------------------------------------------------------------------- */

/* What the limit bounds: also the memory that libgc has given back to the system for the time being. */
static size_t heap_taken(void)
{
	return GC_get_heap_size() + GC_get_unmapped_bytes();
}

static int fill_to_the_limit(void *arg)
{
	size_t *got = arg;
	void **head = NULL;

	for (;;) {
		void **block = *got % 2 == 0 ? gc_alloc(60000) : gc_new_extra(&support_node_type, 60000);

		if (block == NULL)
			break;
		block[4] = head;
		head = block;
		++*got;
		SUPPORT_REQUIRE(*got < 10000);
	}
	SUPPORT_REQUIRE(errno == ENOMEM);
	SUPPORT_REQUIRE(head != NULL);
	SUPPORT_KEEP(head);
	return 0;
}

/* A heap limit makes allocation fail with ENOMEM; references go on reading; when it is lifted, allocation works again. */
START_TEST(test_heap_limit)
{
	struct support_node *node = support_node_new(1);
	weakref_ref *ref = weakref_ref_new(node, NULL, NULL);
	size_t limit, got = 0;

	support_collect();
	limit = heap_taken() + ((size_t)4 << 20);
	ck_assert_uint_eq(gc_get_heap_limit(), 0);
	ck_assert_int_eq(gc_set_heap_limit(limit), 0);
	ck_assert_uint_eq(gc_get_heap_limit(), limit);
	ck_assert_int_eq(support_in_frame(fill_to_the_limit, &got), 0);
	ck_assert_uint_gt(got, 0);
	ck_assert_uint_le(heap_taken(), limit);
	ck_assert_ptr_eq(weakref_ref_get(ref), node);
	ck_assert_int_eq(gc_set_heap_limit(0), 0);
	ck_assert_uint_eq(gc_get_heap_limit(), 0);
	ck_assert_ptr_nonnull(gc_alloc((size_t)8 << 20));
	SUPPORT_KEEP(node);
}
END_TEST

#define LIMIT_TRIES 200000

static int run_short_of_memory(void *arg)
{
	void **all = arg;
	size_t i;

	/* Large blocks first, so that little is left; then references to one object, until none can be had. */
	for (void **block = gc_alloc(4000); block != NULL; block = gc_alloc(4000)) {
		block[0] = all[2];
		all[2] = block;
	}
	for (i = 0; i < LIMIT_TRIES; i++) {
		void **cell = gc_alloc(2 * sizeof(void *));
		weakref_ref *ref;

		if (cell == NULL)
			break;
		ref = weakref_ref_new(all[0], no_callback, NULL);
		if (ref == NULL)
			break;
		cell[0] = all[1];
		cell[1] = ref;
		all[1] = cell;
	}
	SUPPORT_REQUIRE(errno == ENOMEM);
	SUPPORT_REQUIRE(i < LIMIT_TRIES);
	return 0;
}

/* Under a limit a constructor that fails leaves the object as it was: what was made before reads and is listed. */
START_TEST(test_heap_limit_and_constructors)
{
	void **all = GC_MALLOC(3 * sizeof(*all));
	size_t made = 0;

	all[0] = support_node_new(1);
	support_collect();
	ck_assert_int_eq(gc_set_heap_limit(heap_taken() + ((size_t)2 << 20)), 0);
	ck_assert_int_eq(support_in_frame(run_short_of_memory, all), 0);
	for (void **cell = all[1]; cell != NULL; cell = cell[0]) {
		ck_assert_ptr_eq(weakref_ref_get(cell[1]), all[0]);
		made++;
	}
	ck_assert_ptr_nonnull(all[2]);
	ck_assert_int_eq(gc_set_heap_limit(0), 0);
	ck_assert_uint_ge(weakref_getweakrefcount(all[0]), made);
	SUPPORT_KEEP(all);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

/* T16: on a thread unknown to the collector, calls answer EPERM, those for any thread answer, and none aborts. */
static int unknown_thread(void *arg)
{
	gc_cycle_stats stats;

	(void)arg;
	SUPPORT_REQUIRE(!gc_thread_is_registered());
	SUPPORT_REQUIRE(gc_init() == 0 || gc_init() == -EPERM);
	SUPPORT_REQUIRE(gc_collect() == -EPERM);
	SUPPORT_REQUIRE(gc_run_callbacks() == -EPERM);
	SUPPORT_REQUIRE(gc_set_debug(WEAKREF_DEBUG_COUNT_ALL) == -EPERM);
	SUPPORT_REQUIRE(gc_thread_unregister() == -EPERM);
	errno = 0;
	SUPPORT_REQUIRE(gc_new(&support_node_type) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(gc_new_extra(&support_node_type, 8) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(gc_alloc(8) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(gc_alloc_leaf(8) == NULL && errno == EPERM);
	errno = 0;
	SUPPORT_REQUIRE(weakref_valuedict_new(WEAKREF_KEY_INT) == NULL && errno == EPERM);
	gc_disable();
	SUPPORT_REQUIRE(!gc_isenabled());
	gc_enable();
	SUPPORT_REQUIRE(gc_isenabled());
	SUPPORT_REQUIRE(gc_get_cycle_stats(&stats) == 0);
	SUPPORT_REQUIRE(gc_get_delivery() == WEAKREF_DELIVER_AT_ALLOCATION);
	SUPPORT_REQUIRE(!gc_callbacks_pending());
	SUPPORT_REQUIRE(gc_callbacks_fd() >= 0);
	SUPPORT_REQUIRE(gc_get_debug() == 0);
	SUPPORT_REQUIRE(gc_get_heap_limit() == 0);
	return 0;
}

START_TEST(test_T16_unknown_thread)
{
	gc_run_callbacks();
	ck_assert_int_eq(rawthread_run(unknown_thread, NULL), 0);
	ck_assert(gc_thread_is_registered());
}
END_TEST

/* A thread that registers itself can do everything, what it holds lives, and after unregistering it is unknown again. */
static int register_and_work(void *arg)
{
	struct support_node *node;
	weakref_ref *ref;

	(void)arg;
	for (int round = 0; round < 3; round++) {
		SUPPORT_REQUIRE(!gc_thread_is_registered());
		SUPPORT_REQUIRE(gc_thread_register() == 0);
		SUPPORT_REQUIRE(gc_thread_is_registered());
		SUPPORT_REQUIRE(gc_thread_register() == 0);
		node = support_node_new(7);
		SUPPORT_REQUIRE(node != NULL);
		ref = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(ref != NULL);
		SUPPORT_REQUIRE(gc_collect() >= 0);
		SUPPORT_REQUIRE(weakref_ref_get(ref) == node && support_node_intact(node));
		SUPPORT_KEEP(node);
		SUPPORT_REQUIRE(gc_thread_unregister() == 0);
		SUPPORT_REQUIRE(!gc_thread_is_registered());
		SUPPORT_REQUIRE(gc_thread_unregister() == -EPERM);
		errno = 0;
		SUPPORT_REQUIRE(gc_new(&support_node_type) == NULL && errno == EPERM);
		SUPPORT_REQUIRE(gc_collect() == -EPERM);
	}
	return 0;
}

START_TEST(test_register_unregister)
{
	ck_assert_int_eq(rawthread_run(register_and_work, NULL), 0);
}
END_TEST

/* The main thread and threads made through libgc are known already: registering does nothing, unregistering is refused. */
static int known_thread(void *arg)
{
	(void)arg;
	SUPPORT_REQUIRE(gc_thread_is_registered());
	SUPPORT_REQUIRE(gc_thread_register() == 0);
	SUPPORT_REQUIRE(gc_thread_unregister() == -EPERM);
	SUPPORT_REQUIRE(gc_thread_is_registered());
	SUPPORT_REQUIRE(support_node_new(1) != NULL);
	return 0;
}

START_TEST(test_known_threads)
{
	ck_assert_int_eq(known_thread(NULL), 0);
	ck_assert_int_eq(support_on_thread(known_thread, NULL), 0);
}
END_TEST

static _Atomic bool storm_stop;
static _Atomic unsigned storm_leaves;

static int registered_storm(void *arg)
{
	(void)arg;
	SUPPORT_REQUIRE(gc_thread_register() == 0);
	for (int i = 0; i < 50; i++) {
		struct support_node *node = support_node_new((uint64_t)i);
		weakref_ref *ref;

		SUPPORT_REQUIRE(node != NULL);
		ref = weakref_ref_new(node, no_callback, NULL);
		SUPPORT_REQUIRE(ref != NULL && weakref_ref_get(ref) == node);
		SUPPORT_KEEP(node);
	}
	/* Some leave without unregistering by hand: the thread's end must do. */
	if (storm_leaves++ % 2 == 0)
		SUPPORT_REQUIRE(gc_thread_unregister() == 0);
	return 0;
}

static int storm_of_threads(void *arg)
{
	unsigned *kind = arg;

	if (*kind == 0) {
		while (!storm_stop)
			SUPPORT_REQUIRE(gc_collect() >= 0);
		return 0;
	}
	for (size_t i = 0; i < support_scaled(100, 10); i++)
		SUPPORT_REQUIRE((i % 2 == 0 ? rawthread_run(registered_storm, NULL) : support_on_thread(known_thread, NULL)) == 0);
	storm_stop = true;
	return 0;
}

/* Threads begin, register, work, unregister and end while another one collects all the time. */
START_TEST(test_threads_come_and_go_while_collecting)
{
	unsigned kinds[3] = {0, 1, 1};

	storm_stop = false;
	ck_assert_int_eq(support_threads(3, storm_of_threads, kinds, sizeof(kinds[0])), 0);
	ck_assert_int_ge(support_collect(), 0);
}
END_TEST

static void *work_until_cancelled(void *arg)
{
	_Atomic bool *started = arg;

	for (unsigned i = 0;; i++) {
		struct support_node *node = support_node_new(i);
		weakref_ref *ref = node != NULL ? weakref_ref_new(node, no_callback, NULL) : NULL;

		if (ref == NULL || weakref_ref_get(ref) != node)
			abort();
		SUPPORT_KEEP(node);
		*started = true;
		if (i % 16 == 0)
			gc_collect();
		pthread_testcancel();
	}
	return NULL;
}

/* A thread that is cancelled while it makes references and collects leaves no lock held: all others go on. */
START_TEST(test_cancelled_threads)
{
	for (int i = 0; i < 20; i++) {
		static _Atomic bool started;
		pthread_t thread;
		void *result = NULL;

		started = false;
		ck_assert_int_eq(pthread_create(&thread, NULL, work_until_cancelled, (void *)(uintptr_t)&started), 0);
		while (!started)
			usleep(100);
		ck_assert_int_eq(pthread_cancel(thread), 0);
		ck_assert_int_eq(pthread_join(thread, &result), 0);
		ck_assert(result == PTHREAD_CANCELED);
		ck_assert_int_ge(gc_collect(), 0);
		ck_assert_ptr_nonnull(support_node_new(1));
	}
}
END_TEST

static void *tell_and_end(void *tid)
{
	atomic_store((_Atomic pid_t *)tid, gettid());
	return NULL;
}

/* R183: libgc forbids collections for ever when a thread is cancelled that has ended, and GC_enable helps. */
START_TEST(test_cancelled_after_its_end)
{
	static _Atomic pid_t tid;
	pthread_t thread;

	tid = 0;
	ck_assert_int_eq(pthread_create(&thread, NULL, tell_and_end, (void *)(uintptr_t)&tid), 0);
	while (tid == 0 || tgkill(getpid(), tid, 0) == 0)
		usleep(100);
	pthread_cancel(thread);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	if (GC_is_disabled()) {
		ck_assert_int_eq(gc_collect(), -EBUSY);
		GC_enable();
	}
	ck_assert_int_ge(gc_collect(), 0);
}
END_TEST

struct leaving {
	bool unregisters;
	weakref_ref **refs;
};

static int registers_and_leaves(void *arg)
{
	const struct leaving *leaving = arg;
	weakref_ref **out = leaving->refs;
	struct support_node *node;

	SUPPORT_REQUIRE(gc_thread_register() == 0);
	node = support_node_new(1);
	SUPPORT_REQUIRE(node != NULL);
	*out = weakref_ref_new(node, NULL, NULL);
	SUPPORT_REQUIRE(*out != NULL);
	SUPPORT_KEEP(node);
	if (leaving->unregisters)
		SUPPORT_REQUIRE(gc_thread_unregister() == 0);
	return 0;
}

/* What an unregistered thread held is no root any more, be it that it has ended without a word. */
START_TEST(test_unregistered_thread_holds_nothing)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));

	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert_int_eq(rawthread_run(registers_and_leaves, &(struct leaving){_i == 0, &refs[i]}), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

static pthread_key_t late_key;
static _Atomic unsigned late_rounds, late_failures;

/* Each round but the last, and at most one of ours is behind it there. */
static void use_late(void *rounds)
{
	struct support_node *node = support_node_new(3);
	weakref_ref *ref = node == NULL ? NULL : weakref_ref_new(node, no_callback, NULL);

	late_failures += ref == NULL || gc_collect() < 0 || weakref_ref_get(ref) != node || !support_node_intact(node);
	SUPPORT_KEEP(node);
	late_rounds++;
	if ((uintptr_t)rounds > 1)
		pthread_setspecific(late_key, (void *)((uintptr_t)rounds - 1));
}

static int leaves_something(void *arg)
{
	SUPPORT_REQUIRE(gc_thread_register() == 0);
	SUPPORT_REQUIRE(support_node_new(1) != NULL);
	SUPPORT_REQUIRE(pthread_setspecific(late_key, arg) == 0);
	return 0;
}

/* Destructors of a thread's data may use the library, in all rounds but the last one. */
START_TEST(test_thread_ends_late)
{
	uintptr_t rounds = PTHREAD_DESTRUCTOR_ITERATIONS - 1;

	late_rounds = late_failures = 0;
	ck_assert_int_eq(pthread_key_create(&late_key, use_late), 0);
	ck_assert_int_eq(rawthread_run(leaves_something, (void *)rounds), 0);
	ck_assert_uint_eq(late_rounds, rounds);
	ck_assert_uint_eq(late_failures, 0);
	ck_assert_int_ge(gc_collect(), 0);
	ck_assert_int_eq(pthread_key_delete(late_key), 0);
}
END_TEST

static pthread_t deaf_thread;
static _Atomic bool deaf;
static _Atomic unsigned told_to_stop;

static void GC_CALLBACK on_thread_event(GC_EventType event, void *thread)
{
	told_to_stop += event == GC_EVENT_THREAD_SUSPENDED && deaf && (pthread_t)thread == deaf_thread;
}

/* Answers no signal of libgc's for longer than libgc would wait: 34 naps of 3 ms, each longer on a busy machine. */
static void *be_deaf(void *unused)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, GC_get_suspend_signal());
	/* Libgc's pthread_sigmask would leave this one out. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	deaf_thread = pthread_self();
	deaf = true;
	while (told_to_stop == 0)
		usleep(1000);
	for (int i = 0; i < 1000 && told_to_stop == 1; i++)
		usleep(1000);
	deaf = false;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return unused;
}

/* A thread that is slow to stop is not told so again: libgc 8.2.2 would lose count of the answers. */
START_TEST(test_slow_threads_are_told_once)
{
	GC_on_thread_event_proc before = GC_get_on_thread_event();
	pthread_t thread;

	SUPPORT_SKIP_UNLESS(getenv("GC_RETRY_SIGNALS") == NULL, "GC_RETRY_SIGNALS is set");
	told_to_stop = 0;
	GC_set_on_thread_event(on_thread_event);
	ck_assert_int_eq(pthread_create(&thread, NULL, be_deaf, NULL), 0);
	while (!deaf)
		usleep(1000);
	GC_gcollect();
	pthread_join(thread, NULL);
	GC_set_on_thread_event(before);
	ck_assert_uint_eq(told_to_stop, 1);
}
END_TEST

/* ---- in processes of their own ------------------------------------------------------------------------------------------- */

/* Before gc_init: EINVAL, false or 0 from everything, and nothing crashes. */
static int child_uninitialised(void)
{
	gc_cycle_stats stats;

	SUPPORT_REQUIRE(gc_collect() == -EINVAL);
	SUPPORT_REQUIRE(gc_run_callbacks() == -EINVAL);
	SUPPORT_REQUIRE(gc_thread_register() == -EINVAL);
	SUPPORT_REQUIRE(gc_thread_unregister() < 0);
	SUPPORT_REQUIRE(!gc_thread_is_registered());
	SUPPORT_REQUIRE(gc_set_heap_limit(1 << 20) == -EINVAL);
	SUPPORT_REQUIRE(gc_get_heap_limit() == 0);
	SUPPORT_REQUIRE(gc_set_delivery(WEAKREF_DELIVER_MANUAL) == -EINVAL);
	SUPPORT_REQUIRE(gc_get_delivery() == WEAKREF_DELIVER_AT_ALLOCATION);
	SUPPORT_REQUIRE(!gc_callbacks_pending());
	SUPPORT_REQUIRE(gc_callbacks_fd() == -EINVAL);
	SUPPORT_REQUIRE(gc_set_unraisable_handler(NULL, NULL) == -EINVAL);
	SUPPORT_REQUIRE(gc_set_debug(WEAKREF_DEBUG_COUNT_ALL) == -EINVAL);
	SUPPORT_REQUIRE(gc_get_debug() == 0);
	SUPPORT_REQUIRE(gc_get_cycle_stats(NULL) == -EINVAL);
	gc_get_cycle_stats(&stats);
	SUPPORT_REQUIRE(gc_init() == 0);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	return 0;
}

/* libgc was started by a host, and a thread unknown to it calls gc_init: EPERM, and then it works from a known one. */
static int init_from_unknown(void *arg)
{
	(void)arg;
	SUPPORT_REQUIRE(gc_init() == -EPERM);
	return 0;
}

static int child_unknown_init(void)
{
	GC_INIT();
	SUPPORT_REQUIRE(rawthread_run(init_from_unknown, NULL) == 0);
	SUPPORT_REQUIRE(gc_init() == 0);
	SUPPORT_REQUIRE(support_node_new(1) != NULL);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	return 0;
}

/* Many threads start the library at once. */
static int init_and_use(void *arg)
{
	(void)arg;
	SUPPORT_REQUIRE(gc_init() == 0);
	SUPPORT_REQUIRE(support_node_new(1) != NULL);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	return 0;
}

static int child_concurrent_init(void)
{
	char args[8];

	GC_INIT();
	SUPPORT_REQUIRE(support_threads(8, init_and_use, args, 1) == 0);
	return 0;
}

/* A host configured libgc as Guile does, with a hook of its own, before the library starts: all of it stays, references work. */
static _Atomic unsigned host_events;

static void host_hook(GC_EventType event)
{
	host_events += event == GC_EVENT_MARK_END;
}

static int make_some_refs(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *obj = i % 2 == 0 ? (void *)support_node_new(i) : GC_MALLOC(64);

		SUPPORT_REQUIRE(obj != NULL);
		refs[i] = weakref_ref_new(obj, NULL, NULL);
		SUPPORT_REQUIRE(refs[i] != NULL);
		SUPPORT_KEEP(obj);
	}
	return 0;
}

static int count_run(void *counter)
{
	++*(unsigned *)counter;
	return 0;
}

static int make_some_finalizers(void *arg)
{
	static unsigned ran;
	weakref_finalize **out = arg;
	struct support_node *alive[SUPPORT_N]; /* what is over would not be made more of */

	for (size_t i = 0; i < SUPPORT_N; i++) {
		alive[i] = support_node_new(i);
		SUPPORT_REQUIRE((out[i] = weakref_finalize_new(alive[i], count_run, &ran)) != NULL);
	}
	SUPPORT_KEEP(alive);
	return 0;
}

/* Held by handles alone that point deep into what they are made of. */
static int keep_finalizers(weakref_finalize **handles)
{
	size_t within = 0;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		SUPPORT_REQUIRE(weakref_finalize_detach(handles[i], NULL, NULL, NULL) >= 0);
		SUPPORT_REQUIRE(!weakref_finalize_alive(handles[i]));
		if ((char *)handles[i] - (char *)GC_base(handles[i]) > 100)
			handles[within++] = handles[i];
	}
	SUPPORT_REQUIRE(within > 0);
	memset(&handles[within], 0, (SUPPORT_N - within) * sizeof(*handles));
	for (int round = 0; round < 3; round++) {
		support_scrub();
		SUPPORT_REQUIRE(support_collect() >= 0);
		for (size_t i = 0; i < 100; i++)
			SUPPORT_REQUIRE(GC_MALLOC(1000) != NULL);
		for (size_t i = 0; i < within; i++)
			SUPPORT_REQUIRE(weakref_finalize_detach(handles[i], NULL, NULL, NULL) == 0);
	}
	return 0;
}

static int child_host(void)
{
	weakref_finalize **handles;
	struct support_node **held;
	weakref_ref **refs, **dropped;
	unsigned before;

	GC_set_all_interior_pointers(0);
	GC_set_finalize_on_demand(1);
	GC_set_java_finalization(1);
	GC_INIT();
	GC_set_on_collection_event(host_hook);
	SUPPORT_REQUIRE(gc_init() == 0);
	SUPPORT_REQUIRE(GC_get_all_interior_pointers() == 0);
	SUPPORT_REQUIRE(GC_get_finalize_on_demand() == 1);
	SUPPORT_REQUIRE(GC_get_java_finalization() == 1);
	held = GC_MALLOC(1000 * sizeof(*held));
	refs = GC_MALLOC(1000 * sizeof(*refs));
	dropped = GC_MALLOC(SUPPORT_N * sizeof(*dropped));
	for (size_t i = 0; i < 1000; i++) {
		held[i] = support_node_new(i);
		refs[i] = weakref_ref_new(held[i], NULL, NULL);
		SUPPORT_REQUIRE(held[i] != NULL && refs[i] != NULL);
	}
	SUPPORT_REQUIRE(support_on_thread(make_some_refs, dropped) == 0);
	before = host_events;
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(host_events >= before + 3);
	for (size_t i = 0; i < 1000; i++) {
		SUPPORT_REQUIRE(support_node_intact(held[i]) && held[i]->id == i);
		SUPPORT_REQUIRE(weakref_ref_get(refs[i]) == held[i]);
	}
	SUPPORT_REQUIRE(support_dead(dropped, SUPPORT_N) >= SUPPORT_N - SUPPORT_SLACK);
	handles = GC_MALLOC(SUPPORT_N * sizeof(*handles));
	SUPPORT_REQUIRE(support_on_thread(make_some_finalizers, handles) == 0);
	SUPPORT_REQUIRE(keep_finalizers(handles) == 0);
	SUPPORT_KEEP(handles);
	SUPPORT_KEEP(held);
	return 0;
}

/* A host sets its own hook later, and calls the one that it found: all goes on. */
static GC_on_collection_event_proc found;

static void chaining_hook(GC_EventType event)
{
	host_events += event == GC_EVENT_MARK_END;
	if (found != NULL)
		found(event);
}

static int child_hook_chained(void)
{
	weakref_ref **refs;

	SUPPORT_REQUIRE(gc_init() == 0);
	found = GC_get_on_collection_event();
	SUPPORT_REQUIRE(found != NULL);
	GC_set_on_collection_event(chaining_hook);
	refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));
	SUPPORT_REQUIRE(support_on_thread(make_some_refs, refs) == 0);
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(host_events >= 3);
	SUPPORT_REQUIRE(support_dead(refs, SUPPORT_N) >= SUPPORT_N - SUPPORT_SLACK);
	return 0;
}

/* A host overwrites the hook: the first reading after a collection stops the program with a message, and never gives a
 * pointer. */
static int child_hook_lost(void)
{
	struct support_node *node;
	weakref_ref *ref;
	void *read;

	SUPPORT_REQUIRE(gc_init() == 0);
	node = support_node_new(1);
	ref = weakref_ref_new(node, NULL, NULL);
	SUPPORT_REQUIRE(ref != NULL && weakref_ref_get(ref) == node);
	GC_set_on_collection_event(NULL);
	SUPPORT_REQUIRE(weakref_ref_get(ref) == node);
	GC_gcollect();
	read = weakref_ref_get(ref);
	fprintf(stderr, "went on, and read %p of %p\n", read, (void *)node);
	SUPPORT_KEEP(node);
	return 0;
}

struct child {
	const char *name;
	int (*run)(void);
};

static const struct child children[] = {
	{"uninitialised", child_uninitialised},	  {"unknown-init", child_unknown_init}, {"concurrent-init", child_concurrent_init},
	{"host", child_host},			  {"hook-chained", child_hook_chained}, {"hook-lost", child_hook_lost},
};

#define CHILDREN ((int)(sizeof(children) / sizeof(children[0])))

/* Each of the processes above but the last ends well; the last is stopped with the library's message. */
START_TEST(test_in_own_process)
{
	char err[4096];
	int status = support_respawn(children[_i].name, NULL, err, sizeof(err));

	if (children[_i].run == child_hook_lost) {
		ck_assert_msg(status == 1000 + SIGABRT, "status %d: %s", status, err);
		ck_assert_ptr_nonnull(strstr(err, "libweakref"));
		ck_assert_ptr_null(strstr(err, "went on"));
	} else {
		ck_assert_msg(status == 0, "%s: status %d: %s", children[_i].name, status, err);
	}
}
END_TEST

/* The time limit of the tests ends the program that hangs, not the group of whoever runs it. */
START_TEST(test_time_limit)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, 0);
		close(STDERR_FILENO);
		raise(SIGALRM);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("gc");
	TCase *t = support_tcase("counting");

	tcase_add_loop_test(t, test_R53_nothing_is_left_over, 0, 2);
	tcase_add_test(t, test_G01_cycle_of_two_counts_two);
	tcase_add_loop_test(t, test_G01_each_object_counts_once, 0, COUNT_WAYS);
	tcase_add_test(t, test_G01_unwatched_count_under_the_flag_only);
	tcase_add_test(t, test_G01_count_all_counts_watched_once);
	tcase_add_test(t, test_debug_flags);
	suite_add_tcase(s, t);

	t = support_tcase("switching");
	tcase_add_test(t, test_G02_collect_while_disabled);
	tcase_add_test(t, test_G03_flat);
	tcase_add_test(t, test_G05_no_automatic_collection);
	tcase_add_test(t, test_host_disabled);
	tcase_add_test(t, test_init_again);
	tcase_add_test(t, test_host_collects);
	tcase_add_test(t, test_abandoned_marking);
	suite_add_tcase(s, t);

	t = support_tcase("figures");
	tcase_add_test(t, test_cycle_stats);
	tcase_add_test(t, test_cycle_stats_null);
	suite_add_tcase(s, t);

	t = support_tcase("heap limit");
	tcase_add_test(t, test_heap_limit);
	tcase_add_test(t, test_heap_limit_and_constructors);
	suite_add_tcase(s, t);

	t = support_tcase("threads");
	tcase_add_test(t, test_T16_unknown_thread);
	tcase_add_test(t, test_register_unregister);
	tcase_add_test(t, test_known_threads);
	tcase_add_test(t, test_threads_come_and_go_while_collecting);
	tcase_add_test(t, test_cancelled_threads);
	tcase_add_test(t, test_cancelled_after_its_end);
	tcase_add_loop_test(t, test_unregistered_thread_holds_nothing, 0, 2);
	tcase_add_test(t, test_thread_ends_late);
	tcase_add_test(t, test_slow_threads_are_told_once);
	suite_add_tcase(s, t);

	t = support_tcase("processes");
	tcase_add_loop_test(t, test_in_own_process, 0, CHILDREN);
	tcase_add_test(t, test_time_limit);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < CHILDREN; i++)
		if (strcmp(argv[1], children[i].name) == 0)
			return children[i].run();
	return support_main(suite);
}

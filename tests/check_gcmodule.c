/* SPDX-License-Identifier: MIT */
/*
 * check_gcmodule: what Python's gc module has beyond collecting (check_gc): generations, thresholds and figures, callbacks around
 * collections, debugging output; which objects there are, who holds whom, how large the heap is, and freezing objects.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/ephemeron.h"
#include "weakref/proxy.h"
#include "weakref/set.h"
#include "weakref/valuedict.h"

static int no_callback(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	return 0;
}

static int drop_watched(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *node = support_node_new(i);
		SUPPORT_REQUIRE(node != NULL);
		refs[i] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(refs[i] != NULL);
	}
	return 0;
}

static weakref_ref **drop(void)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);

	ck_assert_ptr_nonnull(refs);
	ck_assert_int_eq(support_on_thread(drop_watched, refs), 0);
	support_scrub();
	return refs;
}

/* ---- generations, counts, thresholds ------------------------------------------------------------------------------------- */

/* G06: generations 0 to 2 are collected, all others refused. */
START_TEST(test_G06_range_of_generations)
{
	for (int generation = 0; generation < WEAKREF_GENERATIONS; generation++)
		ck_assert_int_ge(gc_collect_generation(generation), 0);
	ck_assert_int_eq(gc_collect_generation(-1), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_collect_generation(3), -WEAKREF_EINVAL);
}
END_TEST

/* G06: whichever is named, the whole heap is collected. */
START_TEST(test_G06_every_generation_is_full)
{
	weakref_ref **refs;

	gc_collect_generation(2);
	refs = drop();
	ck_assert_int_ge(gc_collect_generation(_i), 0);
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

/* G07: one, two or three thresholds are set; those that are not named stay. */
START_TEST(test_G07_thresholds)
{
	uint64_t before[WEAKREF_GENERATIONS], now[WEAKREF_GENERATIONS];

	ck_assert_int_eq(gc_get_threshold(before), 0);
	ck_assert_uint_eq(before[0], 0);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){1000000, 5, 6}, 3), 0);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){2000000}, 1), 0);
	ck_assert_int_eq(gc_get_threshold(now), 0);
	ck_assert_uint_eq(now[0], 2000000);
	ck_assert_uint_eq(now[1], 5);
	ck_assert_uint_eq(now[2], 6);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){0, 7}, 2), 0);
	ck_assert_int_eq(gc_get_threshold(now), 0);
	ck_assert_uint_eq(now[0], 0);
	ck_assert_uint_eq(now[1], 7);
	ck_assert_uint_eq(now[2], 6);
	ck_assert_int_eq(gc_set_threshold(now, 0), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_set_threshold(now, 4), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_set_threshold(NULL, 1), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_get_threshold(NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_set_threshold(before, 3), 0);
}
END_TEST

/* G08: the count of objects rises as they are made and falls to almost nothing by a collection; the others count collections. */
START_TEST(test_G08_counts)
{
	uint64_t count[WEAKREF_GENERATIONS];

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_disable();
	gc_collect();
	for (int i = 0; i < 50; i++)
		ck_assert_ptr_nonnull(support_node_new(1));
	ck_assert_int_eq(gc_get_count(count), 0);
	ck_assert_uint_eq(count[0], 50);
	ck_assert_uint_eq(count[1], 0);
	ck_assert_uint_eq(count[2], 0);
	gc_collect_generation(0);
	gc_collect_generation(0);
	ck_assert_int_eq(gc_get_count(count), 0);
	ck_assert_uint_eq(count[0], 0);
	ck_assert_uint_eq(count[1], 2);
	gc_collect_generation(1);
	ck_assert_int_eq(gc_get_count(count), 0);
	ck_assert_uint_eq(count[1], 0);
	ck_assert_uint_eq(count[2], 1);
	gc_collect_generation(2);
	ck_assert_int_eq(gc_get_count(count), 0);
	ck_assert_uint_eq(count[2], 0);
	ck_assert_int_eq(gc_get_count(NULL), -WEAKREF_EINVAL);
}
END_TEST

/* G09: a collection adds exactly one, and what it found, to the record of the generation that was named. */
START_TEST(test_G09_stats)
{
	gc_generation_stats before[WEAKREF_GENERATIONS], after[WEAKREF_GENERATIONS];

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_disable();
	gc_collect();
	drop();
	ck_assert_int_eq(gc_get_stats(before), 0);
	long found = gc_collect_generation(_i);
	ck_assert_int_eq(gc_get_stats(after), 0);
	ck_assert_int_gt(found, 0);
	for (int i = 0; i < WEAKREF_GENERATIONS; i++) {
		ck_assert_uint_eq(after[i].collections - before[i].collections, i == _i);
		ck_assert_uint_eq(after[i].collected - before[i].collected, i == _i ? (uint64_t)found : 0);
		ck_assert_uint_eq(after[i].uncollectable, 0);
	}
	GC_gcollect();
	ck_assert_int_eq(gc_get_stats(before), 0);
	ck_assert_uint_eq(before[0].collections - after[0].collections, 1);
	ck_assert_int_eq(gc_get_stats(NULL), -WEAKREF_EINVAL);
}
END_TEST

static uint64_t collections(void)
{
	gc_generation_stats stats[WEAKREF_GENERATIONS];
	uint64_t sum = 0;

	gc_get_stats(stats);
	for (int i = 0; i < WEAKREF_GENERATIONS; i++)
		sum += stats[i].collections;
	return sum;
}

static void make_objects(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct support_node *volatile node = support_node_new(i);
		(void)node;
	}
}

/* G07: with a threshold the library collects by itself, as often as it is passed, older generations less often than younger. */
START_TEST(test_G07_thresholds_drive_collections)
{
	gc_generation_stats before[WEAKREF_GENERATIONS], after[WEAKREF_GENERATIONS];

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0 && !GC_is_incremental_mode(), "collections come by themselves");
	gc_collect();
	gc_get_stats(before);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){1000, 3, 2}, 3), 0);
	make_objects(40000);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){0, 10, 10}, 3), 0);
	gc_get_stats(after);
	uint64_t n[WEAKREF_GENERATIONS];
	for (int i = 0; i < WEAKREF_GENERATIONS; i++)
		n[i] = after[i].collections - before[i].collections;
	ck_assert_uint_ge(n[0] + n[1] + n[2], 20);
	ck_assert_uint_le(n[0] + n[1] + n[2], 45);
	ck_assert_uint_gt(n[0], n[1]);
	ck_assert_uint_gt(n[1], n[2]);
	ck_assert_uint_gt(n[2], 0);
}
END_TEST

/* G05: while automatic collection is off the thresholds make none. */
START_TEST(test_G05_disabled)
{
	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_disable();
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){100}, 1), 0);
	uint64_t before = collections();
	make_objects(10000);
	ck_assert_uint_eq(collections(), before);
	gc_enable();
	make_objects(1000);
	ck_assert_uint_gt(collections(), before);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){0}, 1), 0);
}
END_TEST

static int pace_here(void *unused)
{
	(void)unused;
	make_objects(30000);
	return 0;
}

/* Several threads pass the threshold at once. */
START_TEST(test_thresholds_and_threads)
{
	int args[4];

	ck_assert_int_eq(gc_set_threshold((uint64_t[]){2000}, 1), 0);
	uint64_t before = collections();
	ck_assert_int_eq(support_threads(4, pace_here, args, sizeof args[0]), 0);
	ck_assert_uint_ge(collections() - before, 4);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){0}, 1), 0);
}
END_TEST

/* ---- callbacks ----------------------------------------------------------------------------------------------------------- */

#define EVENTS 64

static struct event {
	char who;
	enum weakref_phase phase;
	gc_collection_info info;
} events[EVENTS];
static size_t event_count;

static int note(enum weakref_phase phase, const gc_collection_info *info, void *user)
{
	if (event_count < EVENTS)
		events[event_count++] = (struct event){*(char *)user, phase, *info};
	return 0;
}

static char *name_new(char name)
{
	char *p = gc_alloc_leaf(1);

	*p = name;
	return p;
}

/* G21: each of two callbacks gets start and stop once, in the list's order, with what was found. G22: and with the generation asked for. */
START_TEST(test_G21_G22_callbacks_in_order)
{
	char *a = name_new('a'), *b = name_new('b');

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_disable();
	gc_collect();
	ck_assert_int_eq(gc_callbacks_add(note, a), 0);
	ck_assert_int_eq(gc_callbacks_add(note, b), 0);
	drop();
	event_count = 0;
	long found = gc_collect_generation(_i);
	ck_assert_uint_eq(event_count, 4);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(events[i].who, i % 2 == 0 ? 'a' : 'b');
		ck_assert_int_eq(events[i].phase, i < 2 ? WEAKREF_PHASE_START : WEAKREF_PHASE_STOP);
		ck_assert_int_eq(events[i].info.generation, _i);
		ck_assert_uint_eq(events[i].info.collected, i < 2 ? 0 : (uint64_t)found);
		ck_assert_uint_eq(events[i].info.uncollectable, 0);
	}
	ck_assert_int_eq(gc_callbacks_remove(note, a), 0);
	event_count = 0;
	gc_collect();
	ck_assert_uint_eq(event_count, 2);
	ck_assert_int_eq(events[0].who, 'b');
	ck_assert_int_eq(gc_callbacks_remove(note, b), 0);
	ck_assert_int_eq(gc_callbacks_remove(note, b), -WEAKREF_ENOENT);
	event_count = 0;
	gc_collect();
	ck_assert_uint_eq(event_count, 0);
	ck_assert_int_eq(gc_callbacks_add(NULL, NULL), -WEAKREF_EINVAL);
}
END_TEST

static uint64_t paused(void)
{
	gc_generation_stats stats[WEAKREF_GENERATIONS];
	uint64_t sum = 0;

	gc_get_stats(stats);
	for (int i = 0; i < WEAKREF_GENERATIONS; i++)
		sum += stats[i].pause_ns;
	return sum;
}

static struct {
	size_t stops, wrong;
	uint64_t last, sum;
} pauses;

static int note_pause(enum weakref_phase phase, const gc_collection_info *info, void *unused)
{
	(void)unused;
	pauses.wrong += (info->pause_ns != 0) != (phase == WEAKREF_PHASE_STOP);
	pauses.stops += phase == WEAKREF_PHASE_STOP;
	pauses.last = info->pause_ns;
	pauses.sum += info->pause_ns;
	return 0;
}

/* R233: the pauses of single collections, of a named one, a host's, and of such as are announced as one, make up those of the accounts, and
 * these the sum for all. (CPython: "duration" of gc.get_stats and gc.callbacks.) */
START_TEST(test_R233_pauses)
{
	gc_generation_stats before[WEAKREF_GENERATIONS], after[WEAKREF_GENERATIONS];
	gc_cycle_stats all_before, all_after;

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_set_delivery(WEAKREF_DELIVER_MANUAL);
	gc_disable();
	gc_collect();
	gc_run_callbacks();
	memset(&pauses, 0, sizeof pauses);
	ck_assert_int_eq(gc_callbacks_add(note_pause, NULL), 0);
	gc_get_cycle_stats(&all_before);
	gc_get_stats(before);
	uint64_t sum = paused();
	gc_collect_generation(1);
	gc_get_cycle_stats(&all_after);
	gc_get_stats(after);
	ck_assert_uint_eq(pauses.stops, 1);
	ck_assert_uint_eq(pauses.last, all_after.pause_last_ns);
	ck_assert_uint_eq(after[1].pause_ns - before[1].pause_ns, pauses.last);
	ck_assert_uint_eq(after[0].pause_ns, before[0].pause_ns);
	ck_assert_uint_eq(after[2].pause_ns, before[2].pause_ns);
	for (int i = 0; i < 70; i++)
		GC_gcollect();
	ck_assert_uint_eq(pauses.stops, 1);
	gc_run_callbacks();
	gc_get_cycle_stats(&all_after);
	ck_assert_uint_eq(pauses.stops, 65);
	ck_assert_uint_eq(pauses.wrong, 0);
	ck_assert_uint_eq(pauses.sum, paused() - sum);
	ck_assert_uint_eq(pauses.sum, all_after.pause_total_ns - all_before.pause_total_ns);
	ck_assert_int_eq(gc_callbacks_remove(note_pause, NULL), 0);
}
END_TEST

/* G21: a collection that somebody else began is announced afterwards, both phases, when callbacks are next delivered. */
START_TEST(test_G21_automatic_collections)
{
	char *a = name_new('a');

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_set_delivery(WEAKREF_DELIVER_MANUAL);
	gc_run_callbacks();
	ck_assert_int_eq(gc_callbacks_add(note, a), 0);
	drop();
	gc_disable();
	gc_run_callbacks();
	event_count = 0;
	GC_gcollect();
	ck_assert_uint_eq(event_count, 0);
	ck_assert(gc_callbacks_pending());
	gc_run_callbacks();
	ck_assert_uint_eq(event_count, 2);
	ck_assert_int_eq(events[0].phase, WEAKREF_PHASE_START);
	ck_assert_int_eq(events[1].phase, WEAKREF_PHASE_STOP);
	ck_assert_int_eq(events[1].info.generation, 0);
	ck_assert_uint_ge(events[1].info.collected, SUPPORT_N - SUPPORT_SLACK);
	event_count = 0;
	for (int i = 0; i < 70; i++)
		GC_gcollect();
	gc_run_callbacks();
	ck_assert_uint_eq(event_count, EVENTS);
	ck_assert_int_eq(gc_callbacks_remove(note, a), 0);
}
END_TEST

static bool by_gc_collect(void)
{
	return gc_collect() >= 0;
}

static bool by_the_list(void)
{
	size_t n;

	return gc_get_objects(WEAKREF_ALL_GENERATIONS, &n) != NULL && gc_get_referrers(gc_alloc(16), &n) != NULL;
}

static bool by_freezing(void)
{
	return gc_freeze() == 0 && gc_unfreeze() == 0;
}

static bool by_the_host(void)
{
	GC_gcollect();
	return true;
}

static bool by_itself(void)
{
	return support_churn(1, (size_t)64 << 20);
}

static bool (*const ways_to_collect[])(void) = {by_gc_collect, by_the_list, by_freezing, by_the_host, by_itself};
static unsigned nested;

static int collect_again(enum weakref_phase phase, const gc_collection_info *info, void *user)
{
	bool (*const *way)(void) = user;

	(void)phase;
	(void)info;
	return ++nested <= 20 && (*way)() ? 0 : -1;
}

/* A callback may collect, in whatever way; that collection is announced to nobody. (Hunters for leaks list all objects in gc.callbacks.) */
START_TEST(test_callback_collects)
{
	void *way = (void *)(uintptr_t)&ways_to_collect[_i];

	ck_assert_int_eq(gc_callbacks_add(collect_again, way), 0);
	nested = 0;
	ck_assert_int_ge(gc_collect(), 0);
	gc_run_callbacks();
	ck_assert_uint_ge(nested, 2);
	if (support_collect_every() == 0)
		ck_assert_uint_eq(nested, 2);
	/* Announced afterwards, in a run of the delivery. */
	nested = 0;
	GC_gcollect();
	gc_run_callbacks();
	ck_assert_uint_ge(nested, 2);
	if (support_collect_every() == 0)
		ck_assert_uint_eq(nested, 2);
	ck_assert_int_eq(gc_callbacks_remove(collect_again, way), 0);
	gc_run_callbacks();
}
END_TEST

static int fails(enum weakref_phase phase, const gc_collection_info *info, void *user)
{
	(void)info;
	(void)user;
	return phase == WEAKREF_PHASE_START ? -EDOM : -ERANGE;
}

static int unraised[2];
static size_t unraised_count;

static void take_unraisable(const gc_unraisable *info, void *user)
{
	(void)user;
	if (strcmp(info->where, "collection callback") == 0 && unraised_count < 2)
		unraised[unraised_count++] = info->error;
}

/* G23: an error of a callback is reported; the others are called and the collection goes on. */
START_TEST(test_G23_failing_callback)
{
	char *b = name_new('b');

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_set_unraisable_handler(take_unraisable, NULL);
	ck_assert_int_eq(gc_callbacks_add(fails, NULL), 0);
	ck_assert_int_eq(gc_callbacks_add(note, b), 0);
	weakref_ref **refs = drop();
	event_count = unraised_count = 0;
	ck_assert_int_ge(gc_collect(), 1);
	ck_assert_uint_eq(event_count, 2);
	ck_assert_uint_eq(unraised_count, 2);
	ck_assert_int_eq(unraised[0], -EDOM);
	ck_assert_int_eq(unraised[1], -ERANGE);
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_int_eq(gc_callbacks_remove(fails, NULL), 0);
	ck_assert_int_eq(gc_callbacks_remove(note, b), 0);
}
END_TEST

/* Without memory the list stays as it was. */
START_TEST(test_callbacks_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	char *a = name_new('a'), *b = name_new('b');

	weakref_checks_fail_allocation(1);
	ck_assert_int_eq(gc_callbacks_add(note, a), -WEAKREF_ENOMEM);
	weakref_checks_fail_allocation(0);
	ck_assert_int_eq(gc_callbacks_add(note, a), 0);
	ck_assert_int_eq(gc_callbacks_add(note, b), 0);
	weakref_checks_fail_allocation(1);
	ck_assert_int_eq(gc_callbacks_remove(note, a), -WEAKREF_ENOMEM);
	weakref_checks_fail_allocation(0);
	ck_assert_int_eq(gc_callbacks_remove(note, a), 0);
	ck_assert_int_eq(gc_callbacks_remove(note, b), 0);
}
END_TEST

/* ---- debugging ----------------------------------------------------------------------------------------------------------- */

static size_t lines_with(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

/* In a process of its own, whose stderr is read. */
static int debug_main(const char *mode)
{
	weakref_ref *refs[SUPPORT_N];

	if (gc_init() != 0)
		return 1;
	gc_disable();
	SUPPORT_REQUIRE(gc_set_debug(strcmp(mode, "stats") == 0 ? WEAKREF_DEBUG_STATS : WEAKREF_DEBUG_COLLECTABLE) == 0);
	SUPPORT_REQUIRE(support_on_thread(drop_watched, refs) == 0);
	support_scrub();
	gc_collect_generation(1);
	gc_collect_generation(2);
	GC_gcollect();
	gc_run_callbacks();
	SUPPORT_KEEP(refs);
	return 0;
}

/* G19: the flags are set and read; STATS prints a line for each collection. */
START_TEST(test_G19_stats)
{
	char err[4096];

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	ck_assert_int_eq(gc_set_debug(WEAKREF_DEBUG_STATS | WEAKREF_DEBUG_COLLECTABLE), 0);
	ck_assert_uint_eq(gc_get_debug(), WEAKREF_DEBUG_STATS | WEAKREF_DEBUG_COLLECTABLE);
	ck_assert_int_eq(gc_set_debug(0), 0);
	ck_assert_int_eq(support_respawn("stats", NULL, err, sizeof err), 0);
	ck_assert_uint_eq(lines_with(err, "gc: generation"), 3);
	ck_assert_uint_eq(lines_with(err, "gc: generation 1: "), 1);
	ck_assert_uint_eq(lines_with(err, "gc: generation 0: "), 1);
	ck_assert_uint_eq(lines_with(err, " dead, 0 uncollectable, world stopped for "), 3);
	ck_assert_uint_eq(lines_with(err, " ms\n"), 3);
	ck_assert_uint_eq(lines_with(err, " for 0.000 ms"), 0);
}
END_TEST

/* G19: COLLECTABLE prints a line for each watched object that died. */
START_TEST(test_G19_collectable)
{
	char err[32768];

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	ck_assert_int_eq(support_respawn("collectable", NULL, err, sizeof err), 0);
	ck_assert_uint_ge(lines_with(err, "gc: collectable <node "), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_le(lines_with(err, "gc: collectable <node "), SUPPORT_N);
}
END_TEST

/* ---- which objects there are --------------------------------------------------------------------------------------------- */

static bool lists(void *const *objects, size_t n, const void *obj)
{
	for (size_t i = 0; i < n; i++)
		if (objects[i] == obj)
			return true;
	return false;
}

/* How many nodes with an id from here on are listed. */
static int count_listed(void *arg)
{
	size_t n = 0, found = 0;
	void **objects = gc_get_objects(WEAKREF_ALL_GENERATIONS, &n);

	SUPPORT_REQUIRE(objects != NULL);
	for (size_t i = 0; i < n; i++)
		if (gc_type_of(objects[i]) == &support_node_type)
			found += ((struct support_node *)objects[i])->id >= 1000000;
	*(size_t *)arg = found;
	return 0;
}

static int make_marked(void *arg)
{
	struct support_node **list = arg;

	for (size_t i = 0; i < 1000; i++) {
		struct support_node *node = support_node_new(1000000 + i);
		SUPPORT_REQUIRE(node != NULL);
		node->next = *list;
		*list = node;
	}
	return 0;
}

/* G11: a fresh object is listed; dropped and collected it is no longer. */
START_TEST(test_G11_objects_come_and_go)
{
	struct support_node **list = gc_alloc(sizeof *list);
	size_t found = 0;

	ck_assert_int_eq(support_on_thread(make_marked, list), 0);
	ck_assert_int_eq(support_on_thread(count_listed, &found), 0);
	ck_assert_uint_eq(found, 1000);
	*list = NULL;
	support_collect();
	ck_assert_int_eq(support_on_thread(count_listed, &found), 0);
	/* A stale word may hold a part of the chain. */
	ck_assert_uint_lt(found, 1000);
	SUPPORT_KEEP(list);
}
END_TEST

/* G12: generations outside the range are refused; "all" is the sum of the three. */
START_TEST(test_G12_generations_of_objects)
{
	struct support_node *node = support_node_new(1);
	size_t n[WEAKREF_GENERATIONS], all = 0;
	void **objects = gc_get_objects(WEAKREF_ALL_GENERATIONS, &all);

	ck_assert_ptr_nonnull(objects);
	ck_assert(lists(objects, all, node));
	for (int i = 0; i < WEAKREF_GENERATIONS; i++)
		ck_assert_ptr_nonnull(gc_get_objects(i, &n[i]));
	ck_assert_uint_le(n[0] + n[1] + n[2], all);
	ck_assert_uint_ge(n[0] + n[1] + n[2] + 64, all);
	errno = 0;
	ck_assert_ptr_null(gc_get_objects(-2, &all));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(gc_get_objects(3, &all));
	ck_assert_ptr_null(gc_get_objects(0, NULL));
	SUPPORT_KEEP(node);
}
END_TEST

static const gc_type leaf_type = {.name = "leaf", .size = 32, .flags = WEAKREF_TYPE_LEAF};

/* G16: scanned objects are tracked; leaf objects, foreign blocks, interior pointers and addresses from elsewhere are not. */
START_TEST(test_G16_is_tracked)
{
	struct support_node *node = support_node_new(1);

	ck_assert(gc_is_tracked(node));
	ck_assert(!gc_is_tracked(&node->id));
	ck_assert(!gc_is_tracked(gc_new(&leaf_type)));
	ck_assert(!gc_is_tracked(gc_alloc(8)));
	ck_assert(!gc_is_tracked(gc_alloc_leaf(8)));
	ck_assert(!gc_is_tracked(&leaf_type));
	ck_assert(!gc_is_tracked(NULL));
}
END_TEST

static void *volatile risen;

static int rise(void *obj)
{
	risen = gc_is_finalized(obj) ? obj : NULL;
	return 0;
}

/* Its types are blocks of the heap, which nothing but the objects holds. */
static int make_rising(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < 8; i++) {
		gc_type *type = gc_alloc(sizeof *type);
		SUPPORT_REQUIRE(type != NULL);
		*type = (gc_type){.name = "rising", .size = 8, .destroy = rise};
		void *obj = gc_new(type);
		SUPPORT_REQUIRE(obj != NULL && !gc_is_finalized(obj));
	}
	return 0;
}

/* G17: an object is finalized once its destructor was called, and stays so when it was resurrected; its type is what it was. */
START_TEST(test_G17_is_finalized)
{
	char repr[64];

	risen = NULL;
	ck_assert_int_eq(support_on_thread(make_rising, NULL), 0);
	support_collect();
	ck_assert_ptr_nonnull(risen);
	support_collect();
	for (int i = 0; i < 1000; i++)
		ck_assert_ptr_nonnull(gc_alloc(sizeof(gc_type)));
	ck_assert(gc_is_finalized(risen));
	ck_assert_ptr_nonnull(gc_type_of(risen));
	ck_assert_str_eq(gc_type_of(risen)->name, "rising");
	ck_assert_int_gt(gc_repr(risen, repr, sizeof repr), 0);
	ck_assert(!gc_is_finalized(gc_alloc(8)));
	ck_assert(!gc_is_finalized(support_node_new(1)));
	ck_assert(!gc_is_finalized(NULL));
	risen = NULL;
}
END_TEST

/* Frozen objects are roots: nothing of them dies until they are unfrozen. What is made later is not frozen. */
START_TEST(test_freeze)
{
	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "what is dropped would be collected before it can be frozen");
	gc_disable();
	gc_collect();
	weakref_ref **frozen = gc_alloc(SUPPORT_N * sizeof *frozen), **later;
	struct support_node **kept = gc_alloc(SUPPORT_N * sizeof *kept);

	ck_assert_uint_eq(gc_get_freeze_count(), 0);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		kept[i] = support_node_new(i);
		frozen[i] = weakref_ref_new(kept[i], NULL, NULL);
	}
	ck_assert_int_eq(gc_freeze(), 0);
	ck_assert_uint_ge(gc_get_freeze_count(), SUPPORT_N);
	memset(kept, 0, SUPPORT_N * sizeof *kept);
	later = drop();
	support_collect();
	ck_assert_uint_eq(support_dead(frozen, SUPPORT_N), 0);
	ck_assert_uint_ge(support_dead(later, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_int_eq(gc_unfreeze(), 0);
	ck_assert_uint_eq(gc_get_freeze_count(), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(frozen, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(kept);
}
END_TEST

static size_t asked, found_itself;

static int ask_of_itself(void *obj)
{
	size_t n = 0, m = 0;
	void **objects = gc_get_objects(WEAKREF_ALL_GENERATIONS, &n), **referrers = gc_get_referrers(obj, &m);

	asked++;
	found_itself += objects != NULL && lists(objects, n, obj) && referrers != NULL && lists(referrers, m, obj);
	return 0;
}

static int make_asking(void *unused)
{
	static const gc_type type = {.name = "asking", .size = sizeof(void *), .destroy = ask_of_itself};

	(void)unused;
	for (size_t i = 0; i < 8; i++) {
		void **obj = gc_new(&type);
		SUPPORT_REQUIRE(obj != NULL);
		*obj = obj;
	}
	return 0;
}

/* R104, R220: an object whose destructor runs is listed, and is among its own holders. (CPython: test_get_objects_during_gc.) */
START_TEST(test_lists_of_a_destructor)
{
	asked = found_itself = 0;
	ck_assert_int_eq(support_on_thread(make_asking, NULL), 0);
	support_collect();
	ck_assert_uint_ge(asked, 8 - SUPPORT_SLACK);
	ck_assert_uint_eq(found_itself, asked);
}
END_TEST

/* What a host's finalizer does that libgc runs before the collection of a list. */
enum way { LEAVES, LISTS };
static enum way way;
static bool in_list;
static jmp_buf out_of_list;
static size_t ways_gone, listed_within;

static void GC_CALLBACK go_some_way(void *obj, void *data)
{
	(void)obj;
	(void)data;
	if (!in_list)
		return;
	in_list = false;
	ways_gone++;
	if (way == LEAVES)
		longjmp(out_of_list, 1);
	gc_get_objects(WEAKREF_ALL_GENERATIONS, &listed_within);
}

static int drop_finalized(void *unused)
{
	for (size_t i = 0; i < SUPPORT_N; i++)
		GC_register_finalizer(GC_MALLOC(16), go_some_way, unused, NULL, NULL);
	return 0;
}

static void list_with_finalizers_due(struct support_node **kept, size_t *n)
{
	gc_disable();
	GC_set_finalize_on_demand(1);
	support_on_thread(drop_finalized, NULL);
	support_collect();
	*kept = support_node_new(1);
	/* Blocks of the size of a list's are in stock from now on, so that it is not to allocate its own that runs finalizers. */
	for (int i = 0; i < 4; i++)
		gc_alloc(65 * sizeof(void *));
	GC_set_finalize_on_demand(0);
	in_list = true;
	if (setjmp(out_of_list) == 0)
		gc_get_objects(WEAKREF_ALL_GENERATIONS, n);
	else
		*n = 0;
	in_list = false;
}

/* A list whose making was left by longjmp is forgotten; one that was made within the making of another takes nothing from that. */
START_TEST(test_finalizers_within_a_list)
{
	struct support_node *kept;
	size_t n = 0;

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "finalizers would be run elsewhere");
	way = (enum way)_i;
	ways_gone = listed_within = 0;
	list_with_finalizers_due(&kept, &n);
	ck_assert_uint_eq(ways_gone, 1);
	support_scrub();
	support_collect();
	ck_assert_uint_eq(n != 0, way == LISTS);
	ck_assert_uint_eq(n, listed_within);
	SUPPORT_KEEP(kept);
}
END_TEST

/* ---- who holds whom ------------------------------------------------------------------------------------------------------ */

/* G14: of an object, and of a foreign block, its pointers as they stand there, in their order and as often, and nothing else: no numbers, no
 * pointers to what is not on the heap, not those of its header. */
START_TEST(test_G14_referents)
{
	struct support_node *node = support_node_new(7), *a = support_node_new(1);
	void **foreign = gc_alloc(4 * sizeof *foreign), **found;
	weakref_ref *ref = weakref_ref_new(node, NULL, NULL);
	size_t n = 99;

	node->next = a;
	node->other = &a->id;
	ck_assert_ptr_nonnull(found = gc_get_referents(node, &n));
	ck_assert_uint_eq(n, 2);
	ck_assert_ptr_eq(found[0], a);
	ck_assert_ptr_eq(found[1], &a->id);
	ck_assert_ptr_nonnull(gc_get_referents(&node->id, &n));
	ck_assert_uint_eq(n, 2);
	ck_assert_ptr_nonnull(gc_get_referents(a, &n));
	ck_assert_uint_eq(n, 0);

	foreign[0] = foreign[2] = node;
	foreign[1] = (void *)&leaf_type;
	foreign[3] = a;
	ck_assert_ptr_nonnull(found = gc_get_referents(foreign, &n));
	ck_assert_uint_eq(n, 3);
	ck_assert(found[0] == node && found[1] == node && found[2] == a);

	/* More than fit at first. */
	void **many = gc_alloc(1000 * sizeof *many);
	for (size_t i = 0; i < 1000; i++)
		many[i] = node;
	ck_assert_ptr_nonnull(found = gc_get_referents(many, &n));
	ck_assert_uint_eq(n, 1000);
	ck_assert(found[0] == node && found[999] == node);
	SUPPORT_KEEP(ref);
	SUPPORT_KEEP(foreign);
	SUPPORT_KEEP(many);
}
END_TEST

/* G14: what the collector does not look into, and what is no block, holds nothing; a reference does not hold its referent, its data it does. */
START_TEST(test_G14_no_referents)
{
	struct support_node *node = support_node_new(1), *data = support_node_new(2);
	void **leaf = gc_new(&leaf_type), **bytes = gc_alloc_leaf(32), **found;
	size_t n;

	leaf[0] = bytes[0] = bytes[1] = bytes[2] = bytes[3] = node;
	const void *const none[] = {NULL, &leaf_type, &n, leaf, bytes, weakref_ref_new(node, NULL, NULL)};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		n = 99;
		ck_assert_ptr_nonnull(gc_get_referents(none[i], &n));
		ck_assert_uint_eq(n, 0);
	}
	weakref_ref *ref = weakref_ref_new(node, no_callback, data);
	ck_assert_ptr_nonnull(found = gc_get_referents(ref, &n));
	ck_assert(lists(found, n, data) && !lists(found, n, node));
	errno = 0;
	ck_assert_ptr_null(gc_get_referents(node, NULL));
	ck_assert_int_eq(errno, EINVAL);
	SUPPORT_KEEP(ref);
}
END_TEST

/* G15: whoever holds an object, or a pointer into it, is listed, each once: objects, foreign blocks, references by their data, itself; also
 * where they are many. Who does not, or weakly, is not. */
START_TEST(test_G15_referrers)
{
	struct support_node *node = support_node_new(1), *by_object = support_node_new(2), *by_inside = support_node_new(3),
			    *none = support_node_new(4);
	void **by_block = gc_alloc(4 * sizeof *by_block), **leaf = gc_alloc_leaf(64), **found;
	weakref_ref *by_data = weakref_ref_new(none, no_callback, node), *ref = weakref_ref_new(node, NULL, NULL),
		    *callback = weakref_ref_new(node, no_callback, none), *proxy = weakref_proxy_new(node, NULL, NULL);
	weakref_set *set = weakref_set_new(WEAKREF_BY_IDENTITY);
	weakref_valuedict *dict = weakref_valuedict_new(WEAKREF_KEY_INT);
	weakref_ephemeron *ephemeron = weakref_ephemeron_new(node, none);
	size_t n = 99;

	for (size_t i = 0; i < 8; i++)
		leaf[i] = node;
	ck_assert_int_eq(weakref_set_add(set, node), 1);
	ck_assert_int_eq(weakref_valuedict_set(dict, WEAKREF_INT(1), node), 0);
	ck_assert_ptr_nonnull(found = gc_get_referrers(node, &n));
	ck_assert_uint_eq(n, 1);
	ck_assert_ptr_eq(found[0], by_data);

	by_object->next = node;
	by_object->other = node;
	by_inside->other = &node->id;
	by_block[1] = node;
	node->next = node;
	for (int inside = 0; inside < 2; inside++) {
		ck_assert_ptr_nonnull(found = gc_get_referrers(inside ? (void *)&node->other : (void *)node, &n));
		ck_assert_uint_eq(n, 5);
		ck_assert(lists(found, n, by_object) && lists(found, n, by_inside) && lists(found, n, by_block) &&
			  lists(found, n, by_data) && lists(found, n, node));
		/* It holds who is in it. */
		memset(found, 0, n * sizeof *found);
	}

	void ***many = gc_alloc(300 * sizeof *many);
	for (size_t i = 0; i < 300; i++) {
		many[i] = gc_alloc(sizeof *many[i]);
		*many[i] = node;
	}
	ck_assert_ptr_nonnull(found = gc_get_referrers(node, &n));
	ck_assert_uint_eq(n, 305);
	for (size_t i = 0; i < 300; i++)
		ck_assert(lists(found, n, many[i]));

	const void *const nobody[] = {NULL, &leaf_type, &n};
	for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
		ck_assert_ptr_nonnull(gc_get_referrers(nobody[i], &n));
		ck_assert_uint_eq(n, 0);
	}
	errno = 0;
	ck_assert_ptr_null(gc_get_referrers(node, NULL));
	ck_assert_int_eq(errno, EINVAL);
	const void *const kept[] = {by_object, by_inside, by_block, leaf, by_data, ref, callback, proxy, set, dict, ephemeron};
	SUPPORT_KEEP(kept);
}
END_TEST

static size_t count_holders(const gc_holder *holders, size_t n, enum weakref_holder where, const void *holder, size_t offset)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += holders[i].where == where && (holder == NULL || holders[i].holder == holder) && holders[i].offset == offset;
	return found;
}

static void *volatile static_word, *volatile static_inside;

struct held {
	uintptr_t hidden;
	size_t n;
	gc_holder *holders;
};

/* In a frame of its own: the caller has the pointer nowhere. */
__attribute__((noinline)) static int ask_holders(void *arg)
{
	struct held *held = arg;

	held->holders = gc_get_holders((void *)~held->hidden, &held->n);
	return held->holders == NULL;
}

static int ask_with_it_on_the_stack(void *arg)
{
	struct held *held = arg;
	void *volatile here = (void *)~held->hidden;

	/* Else the compiler knows that nobody can name it. */
	SUPPORT_KEEP(&here);
	SUPPORT_REQUIRE(ask_holders(held) == 0);
	SUPPORT_REQUIRE(count_holders(held->holders, held->n, WEAKREF_HELD_BY_STACK, (void *)&here, 0) == 1);
	here = NULL;
	return 0;
}

static int make_held(void *arg)
{
	struct support_node *node = support_node_new(1);
	struct support_node **holder = arg;

	SUPPORT_REQUIRE(node != NULL);
	(*holder)->other = node;
	return 0;
}

/* G41: each word that holds an object is named: which block and where in it, which static word, which place on the stack. Weak ones are
 * not. */
START_TEST(test_G41_holders)
{
	struct support_node *holder = support_node_new(2);
	void **block = gc_alloc(8 * sizeof *block);
	struct held *held = gc_alloc(sizeof *held);

	ck_assert_int_eq(support_on_thread(make_held, &holder), 0);
	held->hidden = ~(uintptr_t)holder->other;
	weakref_ref *ref = weakref_ref_new(holder->other, NULL, NULL);
	support_scrub();
	ck_assert_int_eq(support_on_thread(ask_holders, held), 0);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_BLOCK, NULL, offsetof(struct support_node, other)), 1);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_BLOCK, holder, offsetof(struct support_node, other)), 1);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_BLOCK, ref, 0), 0);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_STATIC, NULL, 0), 0);

	block[1] = block[6] = holder->other;
	static_word = holder->other;
	static_inside = (char *)holder->other + 8;
	ck_assert_int_eq(support_on_thread(ask_with_it_on_the_stack, held), 0);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_BLOCK, block, 1 * sizeof *block), 1);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_BLOCK, block, 6 * sizeof *block), 1);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_STATIC, NULL, 0), 2);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_STATIC, (void *)&static_word, 0), 1);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_STATIC, (void *)&static_inside, 0), 1);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_ELSEWHERE, NULL, 0), 0);
	static_word = static_inside = NULL;
	SUPPORT_KEEP(holder);
	SUPPORT_KEEP(block);
	SUPPORT_KEEP(ref);
}
END_TEST

static int ask_about_one_in_hand(void *arg)
{
	struct support_node *node = support_node_new(3);
	size_t n = 0;

	SUPPORT_REQUIRE(node != NULL);
	((struct held *)arg)->hidden = ~(uintptr_t)node;
	return ask_holders(arg) != 0 || n != 0;
}

/* G41: where nothing else holds it, that is said; what is not on the heap has no holders. */
START_TEST(test_G41_held_elsewhere)
{
	struct held *held = gc_alloc(sizeof *held);
	const void *const none[] = {NULL, &leaf_type, &held};
	size_t n;

	ck_assert_int_eq(support_on_thread(ask_about_one_in_hand, held), 0);
	ck_assert_uint_ge(held->n, 1);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_BLOCK, NULL, 0), 0);
	ck_assert_uint_eq(count_holders(held->holders, held->n, WEAKREF_HELD_BY_STATIC, NULL, 0), 0);
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		n = 99;
		ck_assert_ptr_nonnull(gc_get_holders(none[i], &n));
		ck_assert_uint_eq(n, 0);
	}
	errno = 0;
	ck_assert_ptr_null(gc_get_holders(held, NULL));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

static int look_around(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < support_scaled(100, 10); i++) {
		struct support_node *node = support_node_new(i), *holder = support_node_new(i);
		size_t n = 0;

		SUPPORT_REQUIRE(node != NULL && holder != NULL);
		holder->next = node;
		void **found = gc_get_referents(holder, &n);
		SUPPORT_REQUIRE(found != NULL && n == 1 && found[0] == node);
		found[0] = NULL;
		found = gc_get_referrers(node, &n);
		SUPPORT_REQUIRE(found != NULL && lists(found, n, holder));
		for (size_t k = 0; k < n; k++)
			SUPPORT_REQUIRE(GC_base(found[k]) != NULL);
		gc_holder *holders = gc_get_holders(node, &n);
		SUPPORT_REQUIRE(holders != NULL);
		SUPPORT_REQUIRE(count_holders(holders, n, WEAKREF_HELD_BY_BLOCK, holder, offsetof(struct support_node, next)) == 1);
		gc_type_count *counts = gc_count_types(&n);
		SUPPORT_REQUIRE(counts != NULL && n >= 1 && counts[0].objects >= 1);
		SUPPORT_KEEP(holder);
	}
	return 0;
}

static struct {
	struct support_node *shared;
	_Atomic unsigned working;
} *beside;

static int set_all_the_time(void)
{
	for (uint64_t i = 0; i < support_scaled(50, 5); i++) {
		SUPPORT_REQUIRE(gc_set_debug(WEAKREF_DEBUG_SAVEALL) == 0);
		SUPPORT_REQUIRE(gc_set_threshold((uint64_t[]){100 + i, 10 + i, 10 + i}, 3) == 0);
		SUPPORT_REQUIRE(gc_set_debug(0) == 0 && gc_garbage_clear() == 0);
	}
	return 0;
}

static int freeze_all_the_time(void)
{
	for (size_t i = 0; i < support_scaled(20, 2); i++) {
		SUPPORT_REQUIRE(gc_freeze() == 0 && gc_get_freeze_count() > 0);
		SUPPORT_REQUIRE(gc_collect() >= 0);
		SUPPORT_REQUIRE(gc_unfreeze() == 0 && gc_get_freeze_count() == 0);
	}
	return 0;
}

static int list_all_the_time(void)
{
	for (size_t i = 0; i < support_scaled(20, 2); i++) {
		size_t n = 0, shared = 0;
		void **objects = gc_get_objects(WEAKREF_ALL_GENERATIONS, &n);

		SUPPORT_REQUIRE(objects != NULL);
		for (size_t k = 0; k < n; k++) {
			SUPPORT_REQUIRE(gc_is_tracked(objects[k]));
			shared += objects[k] == beside->shared;
		}
		SUPPORT_REQUIRE(shared == 1);
	}
	return 0;
}

/* The figures only grow, and of the settings those are read that somebody made. */
static int read_all_the_time(void)
{
	gc_generation_stats before[WEAKREF_GENERATIONS] = {{0}}, now[WEAKREF_GENERATIONS];
	uint64_t thresholds[WEAKREF_GENERATIONS];

	while (beside->working > 0) {
		SUPPORT_REQUIRE(gc_get_stats(now) == 0);
		for (int i = 0; i < WEAKREF_GENERATIONS; i++)
			SUPPORT_REQUIRE(now[i].collections >= before[i].collections && now[i].collected >= before[i].collected &&
					now[i].pause_ns >= before[i].pause_ns);
		memcpy(before, now, sizeof now);
		SUPPORT_REQUIRE((gc_get_debug() & ~(unsigned)WEAKREF_DEBUG_SAVEALL) == 0);
		SUPPORT_REQUIRE(gc_get_threshold(thresholds) == 0 && thresholds[1] >= 10 && thresholds[1] < 60);
	}
	return 0;
}

static int make_all_the_time(void)
{
	for (uint64_t i = 0; beside->working > 0; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL && weakref_ref_new(node, NULL, NULL) != NULL);
		node->next = i % 2 == 0 ? node : beside->shared;
	}
	return 0;
}

#define BESIDE 6 /* threads */
#define FINITE 3 /* of them, which the others wait for */

static int work_beside(void *which)
{
	static int (*const work[BESIDE])(void) = {set_all_the_time,  freeze_all_the_time, list_all_the_time,
						  read_all_the_time, make_all_the_time,	  make_all_the_time};
	int result = work[*(size_t *)which]();

	if (*(size_t *)which < FINITE)
		beside->working--;
	return result;
}

/* Settings are made, figures read, objects listed and frozen while threads make garbage and collect. (CPython: test_free_threading/test_gc,
 * test_gc_debug_race, test_gc_get_stats_race.) */
START_TEST(test_settings_and_lists_beside_collections)
{
	size_t which[BESIDE];

	beside = gc_alloc(sizeof *beside);
	beside->shared = support_node_new(1);
	beside->working = FINITE;
	for (size_t i = 0; i < BESIDE; i++)
		which[i] = i;
	ck_assert_uint_eq(support_threads(BESIDE, work_beside, which, sizeof which[0]), 0);
	ck_assert_int_eq(gc_set_threshold((uint64_t[]){0, 10, 10}, 3), 0);
	ck_assert(support_node_intact(beside->shared));
	ck_assert_uint_eq(gc_garbage_len(), 0);
	beside = NULL;
}
END_TEST

/* G14, G15, G41: several threads make objects, drop them and ask at once: each finds its own, and nothing that is gone. */
START_TEST(test_G15_threads)
{
	char args[4];

	ck_assert_uint_eq(support_threads(4, look_around, args, 1), 0);
}
END_TEST

/* ---- how large the heap is ----------------------------------------------------------------------------------------------- */

/* G38: the heap's figures hold together, and move as is allocated and collected: none becomes negative, which would show as huge. */
START_TEST(test_G38_heap_figures)
{
	gc_heap_stats before, after;

	ck_assert_int_eq(gc_get_heap_stats(NULL), -WEAKREF_EINVAL);
	gc_collect();
	ck_assert_int_eq(gc_get_heap_stats(&before), 0);
	for (size_t i = 0; i < 2000; i++) {
		if (i % 500 == 499)
			gc_collect();
		for (size_t k = 0; k < 10; k++)
			ck_assert_ptr_nonnull(gc_new_extra(&leaf_type, 1000));
		ck_assert_int_eq(gc_get_heap_stats(&after), 0);
		ck_assert(after.heap >= before.heap / 2 && after.heap < UINT64_C(1) << 40);
		ck_assert(after.free < after.heap && after.unmapped < UINT64_C(1) << 40);
		ck_assert(after.allocated_since <= after.allocated && after.allocated >= before.allocated);
		ck_assert_uint_eq(after.objects, before.objects + (i + 1) * 10);
	}
	ck_assert_uint_ge(after.allocated - before.allocated, (uint64_t)19000 * 1000);
	ck_assert_uint_lt(after.allocated_since, after.allocated);
}
END_TEST

static size_t count_of(const gc_type *type, size_t *bytes)
{
	size_t n = 0, objects = 0;
	gc_type_count *counts = gc_count_types(&n);

	for (size_t i = 0; counts != NULL && i < n; i++)
		if (counts[i].type == type) {
			objects += counts[i].objects;
			*bytes = counts[i].bytes;
		}
	return counts == NULL ? SIZE_MAX : objects;
}

#define TYPES 100
static gc_type types[TYPES];

static int make_typed(void *arg)
{
	void ***lists = arg;

	for (size_t i = 0; i < TYPES; i++) {
		types[i] = (gc_type){.name = "counted", .size = 40, .flags = i % 2 != 0 ? WEAKREF_TYPE_LEAF : 0};
		SUPPORT_REQUIRE((lists[i] = gc_alloc((i + 1) * sizeof *lists[i])) != NULL);
		for (size_t k = 0; k <= i; k++)
			SUPPORT_REQUIRE((lists[i][k] = gc_new(&types[i])) != NULL);
	}
	return 0;
}

/* G38: as many objects of each type are counted as were made and are held, leaf ones too, with their bytes; dropped and collected none. */
START_TEST(test_G38_objects_by_type)
{
	void ***lists = gc_alloc(TYPES * sizeof *lists);
	size_t bytes = 0;

	ck_assert_int_eq(support_on_thread(make_typed, lists), 0);
	for (size_t i = 0; i < TYPES; i += 11) {
		ck_assert_uint_eq(count_of(&types[i], &bytes), i + 1);
		/* 64 or, with checks, 80; and 16 more where libgc was about to expand its heap: GC_generic_malloc_many's last resort adds a byte. */
		ck_assert_msg(bytes >= (i + 1) * 56 && bytes <= (i + 1) * 96, "%zu objects have %zu bytes", i + 1, bytes);
	}
	memset(lists, 0, TYPES * sizeof *lists);
	support_collect();
	/* A stale word may hold the list of a type. */
	size_t left = 0;
	for (size_t i = 0; i < TYPES; i += 11)
		left += count_of(&types[i], &bytes) != 0;
	ck_assert_uint_le(left, SUPPORT_SLACK);
	errno = 0;
	ck_assert_ptr_null(gc_count_types(NULL));
	ck_assert_int_eq(errno, EINVAL);
	SUPPORT_KEEP(lists);
}
END_TEST

/* Without memory for the list nothing changes. */
START_TEST(test_objects_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	size_t n = 7;

	weakref_checks_fail_allocation(1);
	errno = 0;
	ck_assert_ptr_null(gc_get_objects(WEAKREF_ALL_GENERATIONS, &n));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_eq(n, 7);
	weakref_checks_fail_allocation(1);
	ck_assert_int_eq(gc_freeze(), -WEAKREF_ENOMEM);
	weakref_checks_fail_allocation(0);
	ck_assert_uint_eq(gc_get_freeze_count(), 0);
	for (unsigned long i = 1; i <= 2; i++) {
		weakref_checks_fail_allocation(i);
		ck_assert_ptr_null(gc_count_types(&n));
		weakref_checks_fail_allocation(1);
		ck_assert_ptr_null(gc_get_referrers(types, &n));
		weakref_checks_fail_allocation(1);
		ck_assert_ptr_null(gc_get_referents(types, &n));
		ck_assert_uint_eq(n, 7);
	}
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------------------- */

static Suite *suite(void)
{
	Suite *suite = suite_create("gcmodule");
	TCase *figures = support_tcase("generations"), *callbacks = support_tcase("callbacks"), *debug = support_tcase("debug"),
	      *objects = support_tcase("objects");

	tcase_add_test(figures, test_G06_range_of_generations);
	tcase_add_loop_test(figures, test_G06_every_generation_is_full, 0, WEAKREF_GENERATIONS);
	tcase_add_test(figures, test_G07_thresholds);
	tcase_add_test(figures, test_G08_counts);
	tcase_add_loop_test(figures, test_G09_stats, 0, WEAKREF_GENERATIONS);
	tcase_add_test(figures, test_G07_thresholds_drive_collections);
	tcase_add_test(figures, test_G05_disabled);
	tcase_add_test(figures, test_thresholds_and_threads);
	suite_add_tcase(suite, figures);

	tcase_add_loop_test(callbacks, test_G21_G22_callbacks_in_order, 0, WEAKREF_GENERATIONS);
	tcase_add_test(callbacks, test_R233_pauses);
	tcase_add_test(callbacks, test_G21_automatic_collections);
	tcase_add_loop_test(callbacks, test_callback_collects, 0, sizeof ways_to_collect / sizeof *ways_to_collect);
	tcase_add_test(callbacks, test_G23_failing_callback);
	tcase_add_test(callbacks, test_callbacks_without_memory);
	suite_add_tcase(suite, callbacks);

	tcase_add_test(debug, test_G19_stats);
	tcase_add_test(debug, test_G19_collectable);
	suite_add_tcase(suite, debug);

	tcase_add_test(objects, test_G11_objects_come_and_go);
	tcase_add_test(objects, test_G12_generations_of_objects);
	tcase_add_test(objects, test_G16_is_tracked);
	tcase_add_test(objects, test_G17_is_finalized);
	tcase_add_test(objects, test_freeze);
	tcase_add_test(objects, test_lists_of_a_destructor);
	tcase_add_loop_test(objects, test_finalizers_within_a_list, 0, 2);
	tcase_add_test(objects, test_G14_referents);
	tcase_add_test(objects, test_G14_no_referents);
	tcase_add_test(objects, test_G15_referrers);
	tcase_add_test(objects, test_G15_threads);
	tcase_add_test(objects, test_settings_and_lists_beside_collections);
	tcase_add_test(objects, test_G41_holders);
	tcase_add_test(objects, test_G41_held_elsewhere);
	tcase_add_test(objects, test_G38_heap_figures);
	tcase_add_test(objects, test_G38_objects_by_type);
	tcase_add_test(objects, test_objects_without_memory);
	suite_add_tcase(suite, objects);
	return suite;
}

int main(int argc, char **argv)
{
	return argc > 1 ? debug_main(argv[1]) : support_main(suite);
}

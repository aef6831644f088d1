/* SPDX-License-Identifier: MIT */
/*
 * check_gcmodule: what Python's gc module has beyond collecting (check_gc): generations, thresholds and figures, callbacks around
 * collections, debugging output.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"

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

static unsigned nested;

static int collect_again(enum weakref_phase phase, const gc_collection_info *info, void *user)
{
	(void)phase;
	(void)info;
	(void)user;
	nested++;
	return gc_collect() >= 0 ? 0 : -1;
}

/* A callback may collect; that collection is announced to nobody. */
START_TEST(test_callback_collects)
{
	ck_assert_int_eq(gc_callbacks_add(collect_again, NULL), 0);
	nested = 0;
	ck_assert_int_ge(gc_collect(), 0);
	gc_run_callbacks();
	ck_assert_uint_ge(nested, 2);
	if (support_collect_every() == 0)
		ck_assert_uint_eq(nested, 2);
	ck_assert_int_eq(gc_callbacks_remove(collect_again, NULL), 0);
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

/* ---- the suite ----------------------------------------------------------------------------------------------------------- */

static Suite *suite(void)
{
	Suite *suite = suite_create("gcmodule");
	TCase *figures = support_tcase("generations"), *callbacks = support_tcase("callbacks"), *debug = support_tcase("debug");

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
	tcase_add_test(callbacks, test_G21_automatic_collections);
	tcase_add_test(callbacks, test_callback_collects);
	tcase_add_test(callbacks, test_G23_failing_callback);
	tcase_add_test(callbacks, test_callbacks_without_memory);
	suite_add_tcase(suite, callbacks);

	tcase_add_test(debug, test_G19_stats);
	tcase_add_test(debug, test_G19_collectable);
	suite_add_tcase(suite, debug);
	return suite;
}

int main(int argc, char **argv)
{
	return argc > 1 ? debug_main(argv[1]) : support_main(suite);
}

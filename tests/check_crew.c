/* SPDX-License-Identifier: MIT */
/*
 * check_crew: the threads that help in a stop (src/crew.h), alone and under the collections of a program that has much to scan: who comes,
 * who is not waited for, what fork leaves, and where there are none. Links the library's core.
 *
 * What must have settings of its own runs in this program started anew, with the case's name as its argument.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <gc/gc.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crew.h"
#include "heap.h"
#include "weakref/keydict.h"
#include "weakref/valuedict.h"

/* So many entries that the crew is wanted in every build. */
#define ENTRIES ((size_t)2 * 32768)
#define SECONDS UINT64_C(1000000000)

/* ---- tables ---------------------------------------------------------------------------------------------------------------- */

/* Each object is a value of one dictionary, a key of another, and has a reference. Every third one is held. */
struct tables {
	weakref_valuedict *values;
	weakref_keydict *keys;
	weakref_ref **refs;
	struct support_node **strong;
	size_t n;
};

static bool is_held(size_t i)
{
	return i % 3 == 0;
}

static int tables_make(struct tables *t, size_t n)
{
	t->n = n;
	t->values = weakref_valuedict_new(WEAKREF_KEY_INT);
	t->keys = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	t->refs = GC_MALLOC(n * sizeof(*t->refs));
	t->strong = GC_MALLOC(n * sizeof(*t->strong));
	SUPPORT_REQUIRE(t->values != NULL && t->keys != NULL && t->refs != NULL && t->strong != NULL);
	return 0;
}

/* All of them live until all are entered. */
static int tables_fill(void *arg)
{
	struct tables *t = arg;
	struct support_node **all = GC_MALLOC(t->n * sizeof(*all));

	for (size_t i = 0; i < t->n; i++) {
		all[i] = support_node_new(i);
		SUPPORT_REQUIRE(all[i] != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(t->values, WEAKREF_INT(i), all[i]) == 0);
		SUPPORT_REQUIRE(weakref_keydict_set(t->keys, all[i], (void *)(i * 2 + 1)) == 0);
		t->refs[i] = weakref_ref_new(all[i], NULL, NULL);
		SUPPORT_REQUIRE(t->refs[i] != NULL);
		t->strong[i] = is_held(i) ? all[i] : NULL;
	}
	SUPPORT_KEEP(all);
	/* libgc itself may keep a large block a while, by the end of the region that it mapped last. */
	memset(all, 0, t->n * sizeof(*all));
	SUPPORT_KEEP(all);
	return 0;
}

static size_t held_of(const struct tables *t)
{
	return (t->n + 2) / 3;
}

/* What is held is in every table, and hardly anything else. */
static int tables_require(const struct tables *t)
{
	size_t held = held_of(t);

	for (size_t i = 0; i < t->n; i++) {
		if (!is_held(i))
			continue;
		SUPPORT_REQUIRE(weakref_ref_get(t->refs[i]) == t->strong[i]);
		SUPPORT_REQUIRE(weakref_valuedict_get(t->values, WEAKREF_INT(i)) == t->strong[i]);
		SUPPORT_REQUIRE((size_t)weakref_keydict_get(t->keys, t->strong[i]) == i * 2 + 1);
		SUPPORT_REQUIRE(support_node_intact(t->strong[i]));
	}
	SUPPORT_REQUIRE(weakref_valuedict_len(t->values) >= held && weakref_valuedict_len(t->values) <= held + SUPPORT_SLACK);
	SUPPORT_REQUIRE(weakref_keydict_len(t->keys) >= held && weakref_keydict_len(t->keys) <= held + SUPPORT_SLACK);
	SUPPORT_REQUIRE(support_dead(t->refs, t->n) >= t->n - held - SUPPORT_SLACK);
	return 0;
}

static int round_trip(size_t n, long *dead)
{
	struct tables t;

	SUPPORT_REQUIRE(tables_make(&t, n) == 0);
	SUPPORT_REQUIRE(support_on_thread(tables_fill, &t) == 0);
	*dead = support_collect();
	SUPPORT_REQUIRE(tables_require(&t) == 0);
	return 0;
}

/* ---- the crew alone -------------------------------------------------------------------------------------------------------- */

static _Atomic unsigned came, inside;

static void meet(void)
{
	uint64_t until = base_now() + 20 * SECONDS;

	for (came++; came < 2 && base_now() < until;)
		sched_yield();
}

static void pass(void)
{
	inside++;
	came++;
	inside--;
}

static void *run_with_lock(void *fn)
{
	crew_run_stw(*(void (**)(void))fn);
	return NULL;
}

/* With libgc's lock, as in a stop. */
static void run(void (*fn)(void))
{
	came = 0;
	heap_with_lock(run_with_lock, &fn);
}

static bool have_crew(void)
{
	crew_make(CREW_WORK);
	return crew_is_there();
}

/* R206: with two processors and markers, another thread comes while the work is done. */
START_TEST(test_R206_somebody_comes)
{
	SUPPORT_SKIP_UNLESS(have_crew(), "one processor, or one marker");
	for (int i = 0; i < 20; i++) {
		run(meet);
		ck_assert_uint_ge(came, 2);
		usleep(i % 2 != 0 ? 2000 : 0);
	}
}
END_TEST

/* R206: when the work is done, everybody has left it, and who was late does not begin. */
START_TEST(test_R206_all_have_left)
{
	SUPPORT_SKIP_UNLESS(have_crew(), "one processor, or one marker");
	for (int i = 0; i < 20000; i++) {
		run(pass);
		unsigned did = came;
		ck_assert_uint_eq(inside, 0);
		ck_assert_uint_ge(did, 1);
		base_pause();
		ck_assert_uint_eq(came, did);
	}
}
END_TEST

/* A child that no handler prepared: the crew is counted, and its threads are not there. As if they were never scheduled. */
START_TEST(test_R206_nobody_waits_for_who_never_comes)
{
	int status = -1;

	SUPPORT_SKIP_UNLESS(have_crew(), "one processor, or one marker");
	pid_t child = _Fork();
	if (child == 0) {
		alarm(30);
		came = 0;
		for (int i = 0; i < 1000; i++)
			crew_run_stw(pass);
		_exit(came == 1000 && crew_is_there() ? 0 : 1);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- under collections ----------------------------------------------------------------------------------------------------- */

/* R205: what is dead is gone from all tables at once and counted once, and nothing that lives is lost. */
START_TEST(test_R205_the_dead_and_nothing_else)
{
	size_t n = support_scaled(ENTRIES, 2048);
	long dead = 0;

	support_collect();
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(round_trip(n, &dead), 0);
		/* The rounds before have left what they held. */
		size_t fresh = n - (n + 2) / 3, before = i * ((n + 2) / 3 + SUPPORT_SLACK);
		if (support_collect_every() == 0 && support_partial_collections() == 0)
			ck_assert_int_le(dead, (long)(fresh + before + SUPPORT_SLACK));
	}
}
END_TEST

struct worker {
	unsigned number;
	_Atomic bool *stop;
};

static int work_until_stopped(void *arg)
{
	struct worker *w = arg;

	for (unsigned round = 0; round < 2 || !*w->stop; round++) {
		struct tables t;
		SUPPORT_REQUIRE(tables_make(&t, support_scaled(ENTRIES / 8, 256)) == 0);
		SUPPORT_REQUIRE(support_in_frame(tables_fill, &t) == 0);
		for (int i = 0; i < 3; i++)
			SUPPORT_REQUIRE(gc_collect() >= 0);
		for (size_t i = 0; i < t.n; i += 3)
			SUPPORT_REQUIRE(weakref_valuedict_get(t.values, WEAKREF_INT(i)) == t.strong[i]);
		SUPPORT_REQUIRE(weakref_keydict_len(t.keys) >= held_of(&t));
	}
	return 0;
}

/* R205: the same by several threads that fill and collect at once. */
START_TEST(test_R205_threads)
{
	static _Atomic bool stop = true;
	struct worker workers[4];

	for (unsigned i = 0; i < 4; i++)
		workers[i] = (struct worker){i, &stop};
	ck_assert_uint_eq(support_threads(4, work_until_stopped, workers, sizeof *workers), 0);
}
END_TEST

/* ---- fork ------------------------------------------------------------------------------------------------------------------ */

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}

static int child_scans(void *arg)
{
	struct tables *t = arg;
	long dead;

	SUPPORT_REQUIRE(!crew_is_there());
	SUPPORT_REQUIRE(gc_collect() >= 0);
	SUPPORT_REQUIRE(tables_require(t) == 0);
	/* libgc marks with one thread until there is another. */
	SUPPORT_REQUIRE(support_on_thread(nothing, NULL) == 0);
	SUPPORT_REQUIRE(round_trip(support_scaled(ENTRIES / 4, 256), &dead) == 0);
	SUPPORT_REQUIRE(tables_require(t) == 0);
	return 0;
}

struct forking {
	struct tables *tables;
	_Atomic bool *stop;
	int failed;
};

static int fork_or_work(void *arg)
{
	struct forking *f = arg;

	if (f->tables == NULL)
		return work_until_stopped(&(struct worker){0, f->stop});
	for (int i = 0; i < 5 && f->failed == 0; i++)
		f->failed = support_in_child(child_scans, f->tables);
	*f->stop = true;
	return f->failed;
}

/* R207: a child, made amid the collections of others, has no crew at first, and all that it had. */
START_TEST(test_R207_fork)
{
	static _Atomic bool stop;
	struct forking both[2] = {{.stop = &stop}, {.stop = &stop}};
	static struct tables t; /* a root in the child, too, which has one thread's stack only */

	stop = false;
	ck_assert_int_eq(tables_make(&t, support_scaled(ENTRIES, 1024)), 0);
	ck_assert_int_eq(support_on_thread(tables_fill, &t), 0);
	support_collect();
	both[1].tables = &t;
	ck_assert_uint_eq(support_threads(2, fork_or_work, both, sizeof *both), 0);
	ck_assert_int_eq(tables_require(&t), 0);
	memset(&t, 0, sizeof t);
}
END_TEST

static int crew_again(void *unused)
{
	long dead;

	(void)unused;
	SUPPORT_REQUIRE(support_on_thread(nothing, NULL) == 0);
	SUPPORT_REQUIRE(!crew_is_there());
	SUPPORT_REQUIRE(round_trip(support_scaled(ENTRIES, 2 * CREW_WORK), &dead) == 0);
	if (!crew_is_there())
		return heap_marks_in_parallel() ? 2 : 3;
	run(meet);
	SUPPORT_REQUIRE(came >= 2);
	return 0;
}

/* R207: the child makes a crew of its own, where libgc marks with several threads there. */
START_TEST(test_R207_child_makes_its_own)
{
	SUPPORT_SKIP_UNLESS(have_crew(), "one processor, or one marker");
	int result = support_in_child(crew_again, NULL);
	ck_assert_msg(result == 0 || result == 3, "%d", result);
}
END_TEST

/* ---- where there is none --------------------------------------------------------------------------------------------------- */

static int without(void)
{
	long dead = 0;

	if (gc_init() != 0 || round_trip(ENTRIES, &dead) != 0)
		return 1;
	return crew_is_there() ? 2 : 0;
}

static int on_one_processor(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof set, &set) != 0 ? 3 : without();
}

/* R206: GC_MARKERS=1 is the user's word for it. */
START_TEST(test_R206_none_with_one_marker)
{
	static const char *const one[] = {"GC_MARKERS=1", "WEAKREF_COLLECT_EVERY=", NULL};
	char err[2048];
	int result = support_respawn("without", one, err, sizeof(err));

	ck_assert_msg(result == 0, "%d: %s", result, err);
}
END_TEST

/* R206: and there is none where there is one processor, whatever the markers. */
START_TEST(test_R206_none_on_one_processor)
{
	static const char *const two[] = {"GC_MARKERS=2", "WEAKREF_COLLECT_EVERY=", NULL};
	char err[2048];
	int result = support_respawn("one", two, err, sizeof(err));

	ck_assert_msg(result == 0, "%d: %s", result, err);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("crew");
	TCase *t = support_tcase("crew");

	tcase_add_test(t, test_R206_somebody_comes);
	tcase_add_test(t, test_R206_all_have_left);
	tcase_add_test(t, test_R206_nobody_waits_for_who_never_comes);
	tcase_add_test(t, test_R205_the_dead_and_nothing_else);
	tcase_add_test(t, test_R205_threads);
	tcase_add_test(t, test_R207_fork);
	tcase_add_test(t, test_R207_child_makes_its_own);
	tcase_add_test(t, test_R206_none_with_one_marker);
	tcase_add_test(t, test_R206_none_on_one_processor);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return support_main(suite);
	if (strcmp(argv[1], "without") == 0)
		return without();
	if (strcmp(argv[1], "one") == 0)
		return on_one_processor();
	fprintf(stderr, "%s: no such case: %s\n", argv[0], argv[1]);
	return 2;
}

/* SPDX-License-Identifier: MIT */
/*
 * check_validate: weakref_checks_validate finds what is wrong in every kind of structure there is: a container of each kind, in its first
 * segment and in its last, a pool and a cache are made, damaged by hand and validated, each in a process of its own that has to be aborted
 * with a word of the broken invariant. Without damage the same passes. And so it goes to whoever writes behind an object's end. Links the
 * library's core; for the --enable-checks build.
 */
#define GC_THREADS
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "cache.h"
#include "pool.h"
#include "support.h"
#include "table_impl.h"
#include "weakref/checks.h"
#include "weakref/interner.h"
#include "weakref/keydict.h"
#include "weakref/set.h"
#include "weakref/valuedict.h"

#define ENTRIES ((size_t)20000) /* some segments */

/* What keeps the entries, and what is looked at. */
struct subject {
	void **objects, *container;
	struct table *table;
};

/* ---- subjects ---- */

static void objects_make(struct subject *subject)
{
	subject->objects = gc_alloc(ENTRIES * sizeof(void *));
	for (size_t i = 0; i < ENTRIES; i++)
		subject->objects[i] = support_node_new(i);
}

static int keydict_make(struct subject *subject)
{
	subject->container = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	subject->table = subject->container;
	for (size_t i = 0; i < ENTRIES; i++)
		SUPPORT_REQUIRE(weakref_keydict_set(subject->container, subject->objects[i], NULL) == 0);
	return 0;
}

static int pairdict_make(struct subject *subject)
{
	subject->container = weakref_keydict_new_with(&(weakref_keydict_options){.weakness = WEAKREF_WEAK_EITHER});
	subject->table = subject->container;
	for (size_t i = 0; i < ENTRIES; i++)
		SUPPORT_REQUIRE(weakref_keydict_set(subject->container, subject->objects[i], subject->objects[0]) == 0);
	return 0;
}

static int valuedict_make(struct subject *subject)
{
	subject->container = weakref_valuedict_new(WEAKREF_KEY_STRING);
	subject->table = subject->container;
	for (size_t i = 0; i < ENTRIES; i++) {
		char key[24];
		snprintf(key, sizeof key, "%zu", i);
		SUPPORT_REQUIRE(weakref_valuedict_set(subject->container, key, subject->objects[i]) == 0);
	}
	return 0;
}

static int set_make(struct subject *subject)
{
	subject->container = weakref_set_new(WEAKREF_BY_IDENTITY);
	subject->table = subject->container;
	for (size_t i = 0; i < ENTRIES; i++)
		SUPPORT_REQUIRE(weakref_set_add(subject->container, subject->objects[i]) >= 0);
	return 0;
}

/* An interner's second word is its set. */
static int interner_make(struct subject *subject)
{
	weakref_interner *interner = weakref_interner_new(WEAKREF_BY_IDENTITY);

	subject->container = interner;
	for (size_t i = 0; i < ENTRIES; i++)
		SUPPORT_REQUIRE(weakref_interner_intern(interner, subject->objects[i]) != NULL);
	subject->table = ((void **)(void *)interner)[1];
	return 0;
}

static int pool_make(struct subject *subject)
{
	weakref_pool *pool = weakref_pool_new(NULL);

	subject->container = pool;
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_pool_push(pool, subject->objects[i]) >= 0);
	return 0;
}

static int cache_make(struct subject *subject)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	SUPPORT_REQUIRE(weakref_cache_builder_weak_values(b) == 0);
	subject->container = weakref_cache_builder_build(b);
	for (size_t i = 0; i < ENTRIES; i++)
		SUPPORT_REQUIRE(weakref_cache_put(subject->container, WEAKREF_INT((intptr_t)i), subject->objects[i]) == 0);
	return 0;
}

/* ---- damage ---- */

static struct table_segment *segment(const struct subject *subject, bool last)
{
	struct table_directory *dir = atomic_load(&subject->table->directory);

	return atomic_load(&dir->entries[last ? (UINT64_C(1) << dir->depth) - 1 : 0]);
}

static void nothing(struct subject *subject)
{
	(void)subject;
}

static void count_first(struct subject *subject)
{
	segment(subject, false)->used++;
}

static void count_last(struct subject *subject)
{
	segment(subject, true)->used--;
}

/* The last segment's place in the directory has the first one. */
static void directory(struct subject *subject)
{
	struct table_directory *dir = atomic_load(&subject->table->directory);

	atomic_store(&dir->entries[(UINT64_C(1) << dir->depth) - 1], segment(subject, false));
}

static void retired(struct subject *subject)
{
	segment(subject, true)->retired = true;
}

static void pool_idle(struct subject *subject)
{
	((weakref_pool *)subject->container)->idle++;
}

/* That of its last bank. */
static void cache_count(struct subject *subject)
{
	const struct cache_cells *cells = &((weakref_cache *)subject->container)->cells;

	cells->banks[cells->nbanks - 1]->live--;
}

/* ---- scenarios ---- */

static const struct scenario {
	const char *name;
	int (*make)(struct subject *);
	void (*damage)(struct subject *);
} scenarios[] = {
	{"keydict", keydict_make, nothing},
	{"keydict-first", keydict_make, count_first},
	{"keydict-last", keydict_make, count_last},
	{"keydict-directory", keydict_make, directory},
	{"keydict-retired", keydict_make, retired},
	{"pairdict", pairdict_make, nothing},
	{"pairdict-last", pairdict_make, count_last},
	{"valuedict", valuedict_make, nothing},
	{"valuedict-first", valuedict_make, count_first},
	{"valuedict-directory", valuedict_make, directory},
	{"set", set_make, nothing},
	{"set-last", set_make, count_last},
	{"interner", interner_make, nothing},
	{"interner-first", interner_make, count_first},
	{"pool", pool_make, nothing},
	{"pool-idle", pool_make, pool_idle},
	{"cache", cache_make, nothing},
	{"cache-count", cache_make, cache_count},
};

#define SCENARIOS ((int)(sizeof scenarios / sizeof *scenarios))

static int scenario_run(const char *name)
{
	struct subject *subject = gc_init() == 0 ? gc_alloc(sizeof *subject) : NULL;
	int i = 0;

	while (i < SCENARIOS && strcmp(scenarios[i].name, name) != 0)
		i++;
	SUPPORT_REQUIRE(i < SCENARIOS && subject != NULL);
	/* Where it is damaged, nothing else is to find it. */
	weakref_checks_collect_every(0);
	objects_make(subject);
	SUPPORT_REQUIRE(scenarios[i].make(subject) == 0);
	SUPPORT_REQUIRE(weakref_checks_validate() > 0);
	scenarios[i].damage(subject);
	weakref_checks_validate();
	SUPPORT_KEEP(subject->container);
	SUPPORT_KEEP(subject);
	return 0;
}

/* What is whole passes; what is damaged is found, and the program stopped. */
START_TEST(test_damage_is_found)
{
	const struct scenario *scenario = &scenarios[_i];
	char err[4096];

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	int status = support_respawn(scenario->name, NULL, err, sizeof err);
	if (scenario->damage == nothing) {
		ck_assert_msg(status == 0, "%s: %d: %s", scenario->name, status, err);
		return;
	}
	ck_assert_msg(status == 1000 + SIGABRT, "%s: %d: %s", scenario->name, status, err);
	ck_assert_msg(strstr(err, "invariant broken") != NULL, "%s: %s", scenario->name, err);
}
END_TEST

/* ---- behind the end ------------------------------------------------------------------------------------------------------ */

static const size_t overrun_sizes[] = {0, 1, 7, 8, 9, 15, 16, 24, 47, 100, 2023, 2024, 4080, 4096, 100000};

#define OVERRUN_SIZES ((int)(sizeof overrun_sizes / sizeof *overrun_sizes))
#define OVERRUN "overrun "

/* Objects of some size are filled to their ends, which is no fault; then a byte is written behind one of them. */
static int overrun_run(const char *mode)
{
	static const gc_type types[] = {{.name = "scanned"}, {.name = "leaf", .flags = WEAKREF_TYPE_LEAF}};
	size_t i = strtoul(mode, NULL, 10), size = overrun_sizes[i / 2];
	unsigned char **objects = gc_init() == 0 ? gc_alloc(SUPPORT_N * sizeof *objects) : NULL;

	SUPPORT_REQUIRE(objects != NULL);
	weakref_checks_collect_every(0);
	for (size_t k = 0; k < SUPPORT_N; k++) {
		SUPPORT_REQUIRE((objects[k] = gc_new_extra(&types[i % 2], size)) != NULL);
		memset(objects[k], 0x55, size);
	}
	SUPPORT_REQUIRE(gc_collect() >= 0);
	fprintf(stderr, "whole\n");
	objects[SUPPORT_N / 2][size] = 42;
	gc_collect();
	SUPPORT_KEEP(objects);
	return 0;
}

/* G40: the collection after a byte was written behind an object's end stops the program, and names the object. */
START_TEST(test_G40_overrun_is_found)
{
	char mode[32], err[4096];

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	snprintf(mode, sizeof mode, OVERRUN "%d", _i);
	int status = support_respawn(mode, NULL, err, sizeof err);
	ck_assert_msg(status == 1000 + SIGABRT, "%s: %d: %s", mode, status, err);
	ck_assert_msg(strstr(err, "whole\n") != NULL && strstr(err, _i % 2 != 0 ? "<leaf 0x" : "<scanned 0x") != NULL &&
			      strstr(err, "behind its end") != NULL, "%s: %s", mode, err);
}
END_TEST

/* Each container, and each pool, counts: with one more there is more to check. What a collection takes is less. */
START_TEST(test_everything_is_counted)
{
	struct subject *subject = gc_alloc(sizeof *subject);
	long before, now;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections at every call take structures away");
	objects_make(subject);
	gc_disable();
	for (int i = 0; i < SCENARIOS; i++) {
		if (scenarios[i].damage != nothing)
			continue;
		struct subject *one = gc_alloc(sizeof *one);
		one->objects = subject->objects;
		before = weakref_checks_validate();
		ck_assert_int_gt(before, 0);
		ck_assert_int_eq(scenarios[i].make(one), 0);
		now = weakref_checks_validate();
		ck_assert_msg(now > before, "%s: %ld, %ld before", scenarios[i].name, now, before);
		SUPPORT_KEEP(one->container);
	}
	SUPPORT_KEEP(subject);
}
END_TEST

static int drop_values(weakref_valuedict *dict)
{
	for (intptr_t i = 0; i < 1500; i++) /* one segment's */
		SUPPORT_REQUIRE(weakref_valuedict_set(dict, WEAKREF_INT(i), support_node_new((uint64_t)i)) == 0);
	return 0;
}

struct dying {
	weakref_valuedict *dict;
	weakref_cache *cache;
	_Atomic bool over;
};

static int let_values_die(struct dying *dying)
{
	int result = 0;

	for (int i = 0; i < 500 && result == 0; i++) {
		result = drop_values(dying->dict);
		GC_gcollect();
	}
	return result;
}

/* They come and go, in a segment's slots and in a bank's cells. */
static int take_values(struct dying *dying)
{
	struct support_node *node = support_node_new(0);

	for (int round = 0; round < 30; round++) {
		for (intptr_t i = 0; i < 3000; i++) {
			SUPPORT_REQUIRE(weakref_valuedict_set(dying->dict, WEAKREF_INT(i), node) == 0);
			SUPPORT_REQUIRE(weakref_cache_put(dying->cache, WEAKREF_INT(i), node) == 0);
		}
		for (intptr_t i = 3000; i-- > 0;) {
			SUPPORT_REQUIRE(weakref_valuedict_delete(dying->dict, WEAKREF_INT(i)) == 0);
			SUPPORT_REQUIRE(weakref_cache_invalidate(dying->cache, WEAKREF_INT(i)) == 0);
		}
	}
	SUPPORT_KEEP(node);
	return 0;
}

static int check_meanwhile(struct dying *dying)
{
	while (!dying->over)
		SUPPORT_REQUIRE(weakref_checks_validate() > 0);
	return 0;
}

struct doing {
	struct dying *dying;
	int (*act)(struct dying *dying);
};

static int do_either(void *arg)
{
	const struct doing *doing = arg;
	int result = doing->act(doing->dying);

	doing->dying->over = true;
	return result;
}

/* What dies, or is taken out, while it is looked at breaks no invariant. (One that counts it twice shows in most runs.) */
START_TEST(test_values_go_meanwhile)
{
	struct dying *dying = gc_alloc(sizeof *dying);
	struct doing *both = gc_alloc(2 * sizeof *both);
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "hardly anything is left to die meanwhile");
	ck_assert_int_eq(weakref_cache_builder_weak_values(b), 0);
	dying->dict = weakref_valuedict_new(WEAKREF_KEY_INT);
	dying->cache = weakref_cache_builder_build(b);
	both[0] = (struct doing){.dying = dying, .act = _i == 0 ? let_values_die : take_values};
	both[1] = (struct doing){.dying = dying, .act = check_meanwhile};
	ck_assert_uint_eq(support_threads(2, do_either, both, sizeof *both), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("validate");
	TCase *t = support_tcase("validate");

	tcase_add_loop_test(t, test_damage_is_found, 0, SCENARIOS);
	tcase_add_loop_test(t, test_G40_overrun_is_found, 0, 2 * OVERRUN_SIZES);
	tcase_add_test(t, test_everything_is_counted);
	tcase_add_loop_test(t, test_values_go_meanwhile, 0, 2);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	const size_t overrun = sizeof OVERRUN - 1;

	if (argc <= 1)
		return support_main(suite);
	return strncmp(argv[1], OVERRUN, overrun) == 0 ? overrun_run(argv[1] + overrun) : scenario_run(argv[1]);
}

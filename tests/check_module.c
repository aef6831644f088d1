/* SPDX-License-Identifier: MIT */
/*
 * check_module: objects whose type goes away with the module that it was in.
 *
 * libgc lists the data of modules before it stops the world, and reads it afterwards: a module may not go away in between. Its wrapper
 * of dlopen switches collection off meanwhile; there is none of dlclose, so the program does the same.
 */
#define GC_THREADS
#include "support.h"

#include <dlfcn.h>
#include <stdatomic.h>

#include <gc/gc.h>

#define MODULE "tests/.libs/typemodule.so"
#define ROUNDS 40

static _Atomic bool over;

static int collect_meanwhile(void *unused)
{
	(void)unused;
	while (!atomic_load(&over)) {
		support_node_new(1);
		/* libgc switches collection off while a module is loaded. */
		long found = gc_collect();
		SUPPORT_REQUIRE(found >= 0 || found == -WEAKREF_EBUSY);
	}
	return 0;
}

struct round {
	bool loads;
	void *(*make)(uint64_t id);
	weakref_ref *refs[SUPPORT_N];
	uint64_t hashes[SUPPORT_N];
};

static int make_things(void *arg)
{
	struct round *round = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *thing = round->make(i);
		SUPPORT_REQUIRE(thing != NULL);
		round->refs[i] = weakref_ref_new(thing, NULL, NULL);
		SUPPORT_REQUIRE(round->refs[i] != NULL && weakref_ref_hash(round->refs[i], &round->hashes[i]) == 0);
		SUPPORT_KEEP(thing);
	}
	return 0;
}

static int load_and_unload(void *arg)
{
	struct round *round = arg;

	for (size_t i = 0; i < support_scaled(ROUNDS, 4); i++) {
		void *module = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
		SUPPORT_REQUIRE(module != NULL);
		*(void **)&round->make = dlsym(module, "typemodule_new");
		SUPPORT_REQUIRE(round->make != NULL && support_on_thread(make_things, round) == 0);
		GC_disable();
		int error = dlclose(module);
		GC_enable();
		SUPPORT_REQUIRE(error == 0);
	}
	return 0;
}

static int run(void *arg)
{
	struct round *round = arg;
	int result = round->loads ? load_and_unload(round) : collect_meanwhile(NULL);

	atomic_store(&over, true);
	return result;
}

/* The first thread loads and unloads, the second collects until the first is through.
 * T25: a module with a type comes and goes while others collect: nothing crashes, and references to what it
 * left are cleared. */
START_TEST(test_T25_unloaded_types)
{
	struct round *rounds = gc_alloc(2 * sizeof *rounds);
	uint64_t hash;

	rounds[0].loads = true;
	atomic_store(&over, false);
	ck_assert_int_eq(support_threads(2, run, rounds, sizeof rounds[0]), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(rounds[0].refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_int_eq(weakref_ref_hash(rounds[0].refs[i], &hash), 0);
		ck_assert_uint_eq(hash, i);
	}
	SUPPORT_KEEP(rounds);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("module");
	TCase *tcase = support_tcase("module");

	tcase_add_test(tcase, test_T25_unloaded_types);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

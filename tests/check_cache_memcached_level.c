/* SPDX-License-Identifier: MIT */
/*
 * check_cache_memcached_level: caches with memcached behind them: when the loader runs, what readers see while the server is killed, and that
 * nothing is read that was invalidated.
 */
#define GC_THREADS
#include "far.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/cache.h"

#define KEYS 24

/* What the loader reads: the number of each key's version. */
static _Atomic uint64_t versions[KEYS];
static atomic_uint loads;

static int load(const void *key, void **value, void *user)
{
	intptr_t number = WEAKREF_INT_VALUE(key);

	(void)user;
	atomic_fetch_add(&loads, 1);
	*value = word_new((uint64_t)number << 32 | atomic_load(&versions[number]), 10);
	return *value != NULL ? 0 : -WEAKREF_ENOMEM;
}

static weakref_cache *cache_with(const weakref_cache_second_level *level, const char *spec)
{
	const weakref_cache_loader loader = {.load = load};
	weakref_cache_builder *builder = weakref_cache_builder_new(WEAKREF_KEY_INT);

	ck_assert_ptr_nonnull(builder);
	ck_assert_int_eq(weakref_cache_builder_loader(builder, &loader), 0);
	ck_assert_int_eq(weakref_cache_builder_second_level(builder, level), 0);
	ck_assert_int_eq(weakref_cache_builder_spec(builder, "recordStats"), 0);
	ck_assert_int_eq(weakref_cache_builder_spec(builder, spec), 0);
	weakref_cache *cache = weakref_cache_builder_build(builder);
	ck_assert_ptr_nonnull(cache);
	return cache;
}

/* The version that the cache gives. */
static void expect_version(weakref_cache *cache, intptr_t key, uint64_t version)
{
	void *value;

	ck_assert_int_eq(weakref_cache_get(cache, WEAKREF_INT(key), &value), 0);
	ck_assert(word_is(value, (uint64_t)key << 32 | version, 10));
}

static weakref_cache_stats cache_stats(weakref_cache *cache)
{
	weakref_cache_stats stats;

	ck_assert_int_eq(weakref_cache_get_stats(cache, &stats), 0);
	return stats;
}

/* What one cache loaded, another finds there; what the first one puts, removes and clears, later ones load anew. */
START_TEST(test_R170_between_caches)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_INT, "R170l");
	far_new(&options, &level);
	weakref_cache *one = cache_with(&level, ""), *two = cache_with(&level, ""), *three = cache_with(&level, "");
	atomic_store(&loads, 0);
	for (intptr_t i = 0; i < KEYS; i++) {
		atomic_store(&versions[i], 1);
		expect_version(one, i, 1);
	}
	ck_assert_uint_eq(atomic_load(&loads), KEYS);
	for (intptr_t i = 0; i < KEYS; i++)
		expect_version(two, i, 1);
	ck_assert_uint_eq(atomic_load(&loads), KEYS);
	ck_assert_uint_eq(cache_stats(two).level_hits, KEYS);
	/* What is put is the putting cache's; the others load. */
	ck_assert_int_eq(weakref_cache_put(one, WEAKREF_INT(0), word_new(7, 10)), 0);
	atomic_store(&versions[1], 2);
	ck_assert_int_eq(weakref_cache_invalidate(one, WEAKREF_INT(1)), 0);
	expect_version(three, 0, 1);
	expect_version(three, 1, 2);
	expect_version(three, 2, 1);
	ck_assert_uint_eq(atomic_load(&loads), KEYS + 2);
	expect_version(one, 1, 2);
	ck_assert_uint_eq(atomic_load(&loads), KEYS + 2);
	for (intptr_t i = 0; i < KEYS; i++)
		atomic_store(&versions[i], 3);
	ck_assert_int_eq(weakref_cache_invalidate_all(one), 0);
	ck_assert_int_eq(weakref_cache_invalidate(three, WEAKREF_INT(5)), 0);
	expect_version(three, 5, 3);
	for (intptr_t i = 0; i < KEYS; i++)
		expect_version(one, i, 3);
	ck_assert_uint_eq(atomic_load(&loads), KEYS + 2 + KEYS);
	ck_assert_uint_eq(cache_stats(one).level_errors + cache_stats(two).level_errors + cache_stats(three).level_errors, 0);
}
END_TEST

/* What was evicted, or died, comes back from there without a load. */
START_TEST(test_R170_weak_and_small)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_INT, "R170w");
	far_new(&options, &level);
	weakref_cache *small = cache_with(&level, "maximumSize=2"), *weak = cache_with(&level, "weakValues");
	atomic_store(&loads, 0);
	for (int round = 0; round < 3; round++)
		for (intptr_t i = 0; i < KEYS; i++) {
			atomic_store(&versions[i], 1);
			expect_version(small, i, 1);
		}
	ck_assert_uint_eq(atomic_load(&loads), KEYS);
	for (int round = 0; round < 3; round++) {
		for (intptr_t i = 0; i < KEYS; i++)
			expect_version(weak, i, 1);
		ck_assert_int_ge(support_collect(), 0);
	}
	ck_assert_uint_eq(atomic_load(&loads), KEYS);
	ck_assert_uint_ge(cache_stats(weak).level_hits, 2 * KEYS);
}
END_TEST

/* ---- what another process removes while a value is loaded --------------------------------------------------------------- */

/* Another cache of the same servers, as another process has it. */
static weakref_cache *elsewhere;

/* Loads a key, which is changed and removed elsewhere before that is over. */
static int load_old(const void *key, void **value, void *user)
{
	int error = load(key, value, user);

	atomic_fetch_add(&versions[WEAKREF_INT_VALUE(key)], 1);
	return error < 0 ? error : weakref_cache_invalidate(elsewhere, key);
}

static int load_all_old(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	void *values[KEYS];

	for (size_t i = 0; i < n; i++)
		if (load_old(keys[i], &values[i], user) < 0)
			return -EPROTO;
	for (size_t i = 0; i < n; i++)
		if (weakref_cache_bulk_give(bulk, keys[i], values[i]) < 0)
			return -EPROTO;
	return 0;
}

/* R174: what was loaded before that is not seen by others afterwards: by a load, by a reload, or by a load of many. */
START_TEST(test_R174_removed_elsewhere)
{
	const weakref_cache_loader loader = {.load = load_old, .load_all = load_all_old};
	weakref_cache_memcached_options options;
	weakref_cache_second_level one, two;
	const void *keys[KEYS];
	void *values[KEYS];

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_INT, "R174e");
	far_new(&options, &one);
	far_new(&options, &two);
	elsewhere = cache_with(&two, "maximumSize=0");
	weakref_cache_builder *builder = weakref_cache_builder_new(WEAKREF_KEY_INT);
	ck_assert_int_eq(weakref_cache_builder_loader(builder, &loader), 0);
	ck_assert_int_eq(weakref_cache_builder_second_level(builder, &one), 0);
	weakref_cache *cache = weakref_cache_builder_build(builder);
	ck_assert_ptr_nonnull(cache);
	for (intptr_t i = 0; i < KEYS; i++) {
		atomic_store(&versions[i], 0);
		keys[i] = WEAKREF_INT(i);
	}
	ck_assert_int_eq(weakref_cache_get(cache, keys[0], &values[0]), 0);
	expect_version(elsewhere, 0, 1);
	ck_assert_int_eq(weakref_cache_refresh(cache, keys[0]), 0);
	expect_version(elsewhere, 0, 2);
	ck_assert_int_eq(weakref_cache_get_all(cache, keys + 1, KEYS - 1, values), 0);
	for (intptr_t i = 1; i < KEYS; i++)
		expect_version(elsewhere, i, 1);
	/* Others have a value from a reload that nobody overtakes. */
	weakref_cache *quiet = cache_with(&two, "");
	expect_version(quiet, 0, 2);
	atomic_store(&versions[0], 5);
	ck_assert_int_eq(weakref_cache_refresh(quiet, keys[0]), 0);
	atomic_store(&versions[0], 6);
	expect_version(elsewhere, 0, 5);
	elsewhere = NULL;
}
END_TEST

/* ---- readers, writers, and a server in trouble --------------------------------------------------------------------------- */

/* The version of each key whose invalidation is over. */
static _Atomic uint64_t invalidated[KEYS];
static atomic_bool troubling;

struct user {
	weakref_cache *cache;
	uint64_t seed;
};

/* Never an error, never another key's value, never one of before an invalidation that was over. */
static int use(void *arg)
{
	struct user *user = arg;
	size_t rounds = support_scaled(1500, 100);

	for (size_t i = 0; i < rounds; i++) {
		uint64_t random = support_random(&user->seed), key = random % KEYS, version;
		void *value;

		if ((random >> 32) % 16 == 0) {
			version = atomic_fetch_add(&versions[key], 1) + 1;
			SUPPORT_REQUIRE(weakref_cache_invalidate(user->cache, WEAKREF_INT(key)) == 0);
			uint64_t seen = atomic_load(&invalidated[key]);
			while (seen < version && !atomic_compare_exchange_weak(&invalidated[key], &seen, version))
				continue;
			continue;
		}
		version = atomic_load(&invalidated[key]);
		SUPPORT_REQUIRE(weakref_cache_get(user->cache, WEAKREF_INT(key), &value) == 0);
		const struct word *word = value;
		SUPPORT_REQUIRE(word->number >> 32 == key && word_is(word, word->number, 10));
		SUPPORT_REQUIRE((word->number & UINT32_MAX) >= version);
	}
	return 0;
}

/* Kills and starts the server, and lets it stand still, in turn. */
static void *trouble(void *arg)
{
	struct memcached_server *victim = arg;

	for (unsigned i = 0; atomic_load(&troubling); i++) {
		pause_ms(20);
		if (i % 2 == 0) {
			memcached_freeze(victim);
			pause_ms(60);
			memcached_thaw(victim);
		} else {
			memcached_kill(victim);
			pause_ms(10);
			if (!memcached_start(victim))
				return arg;
		}
	}
	return NULL;
}

static void run_users(weakref_cache *cache, unsigned rounds, weakref_cache_memcached *far, uint64_t failures)
{
	struct user users[4];

	for (unsigned i = 0; i < rounds && (i == 0 || stats_of(far).failures < failures); i++) {
		for (unsigned n = 0; n < 4; n++)
			users[n] = (struct user){.cache = cache, .seed = support_seed() + 4 * i + n};
		ck_assert_uint_eq(support_threads(4, use, users, sizeof users[0]), 0);
	}
}

static void users_begin(void)
{
	for (unsigned i = 0; i < KEYS; i++) {
		atomic_store(&versions[i], 0);
		atomic_store(&invalidated[i], 0);
	}
	atomic_store(&loads, 0);
}

/* A small cache, so that most of it is there. */
START_TEST(test_R174_no_stale_reads)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_INT, "R174s");
	weakref_cache_memcached *far = far_new(&options, &level);
	weakref_cache *cache = cache_with(&level, "maximumSize=4");
	users_begin();
	run_users(cache, 1, far, UINT64_MAX);
	ck_assert_uint_gt(cache_stats(cache).level_hits, 0);
	ck_assert_uint_eq(cache_stats(cache).level_errors, 0);
}
END_TEST

/* The same while the server is killed, started again and stopped, over and over; then it is used as if nothing had been. */
START_TEST(test_R173_readers_notice_nothing)
{
	struct memcached_server victim = {0};
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	pthread_t troubler;
	void *result;

	WITH_SERVER();
	ck_assert(memcached_start(&victim));
	options = options_for(WEAKREF_KEY_INT, "R173u");
	snprintf(config, sizeof config, "--SOCKET=\"%s\"", victim.path);
	options.timeout = 0.02;
	weakref_cache_memcached *far = far_new(&options, &level);
	weakref_cache *cache = cache_with(&level, "maximumSize=4");
	users_begin();
	atomic_store(&troubling, true);
	ck_assert_int_eq(pthread_create(&troubler, NULL, trouble, &victim), 0);
	run_users(cache, 100, far, 12);
	atomic_store(&troubling, false);
	ck_assert_int_eq(pthread_join(troubler, &result), 0);
	ck_assert_ptr_null(result);
	ck_assert_uint_ge(stats_of(far).failures, 12);
	ck_assert_uint_gt(cache_stats(cache).level_errors, 0);
	ck_assert_uint_eq(stats_of(far).foreign + stats_of(far).damaged, 0);
	/* The last one died with the thread that had started it. */
	memcached_kill(&victim);
	ck_assert(memcached_start(&victim));
	uint64_t hits = cache_stats(cache).level_hits;
	for (int i = 0; i < 200 && cache_stats(cache).level_hits < hits + 20; i++) {
		run_users(cache, 1, far, UINT64_MAX);
		pause_ms(5);
	}
	ck_assert_uint_ge(cache_stats(cache).level_hits, hits + 20);
	memcached_kill(&victim);
}
END_TEST

static int get_one(void *arg)
{
	weakref_cache *cache = *(weakref_cache **)arg;
	void *value;

	SUPPORT_REQUIRE(weakref_cache_get(cache, WEAKREF_INT(3), &value) == 0 && value != NULL);
	return 0;
}

/* Several at once for one key: the server is asked once, and the loader as well. */
START_TEST(test_R170_single_flight)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	weakref_cache *caches[8];

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_INT, "R170f");
	weakref_cache_memcached *far = far_new(&options, &level);
	caches[0] = cache_with(&level, "");
	for (unsigned i = 1; i < 8; i++)
		caches[i] = caches[0];
	atomic_store(&loads, 0);
	ck_assert_uint_eq(support_threads(8, get_one, caches, sizeof caches[0]), 0);
	ck_assert_uint_eq(atomic_load(&loads), 1);
	ck_assert_uint_eq(stats_of(far).misses, 1);
	ck_assert_uint_eq(stats_of(far).stores, 1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_memcached_level");
	TCase *tc = support_tcase("level");

	tcase_add_test(tc, test_R170_between_caches);
	tcase_add_test(tc, test_R170_weak_and_small);
	tcase_add_test(tc, test_R170_single_flight);
	tcase_add_test(tc, test_R174_removed_elsewhere);
	tcase_add_test(tc, test_R174_no_stale_reads);
	tcase_add_test(tc, test_R173_readers_notice_nothing);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_cache_memcached: the contract of weakref/cache_memcached.h (R170 to R179), on a server that works; check_cache_memcached_failures has
 * those that do not. It looks into the server with libmemcached, without the library's help.
 */
#define GC_THREADS
#include "far.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <gc/gc.h>
#include <libmemcached/memcached.h>

#include "weakref/checks.h"

/* The server's own view. */
static memcached_st *look(void)
{
	memcached_st *handle = memcached(config, strlen(config));

	ck_assert_ptr_nonnull(handle);
	return handle;
}

/* ---- keys and values ----------------------------------------------------------------------------------------------------- */

/* Values of all sizes come back as they were, under keys of each kind; absent ones are absent; what was removed is. */
START_TEST(test_R170_values_come_back)
{
	const size_t sizes[] = {0, 1, 100, 70000};
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	char key[300];

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R170");
	weakref_cache_memcached *far = far_new(&options, &level);
	for (unsigned i = 0; i < 4; i++) {
		snprintf(key, sizeof key, "key%u", i);
		expect_absent(&level, key);
		store(&level, key, i, sizes[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		snprintf(key, sizeof key, "key%u", i);
		expect_word(&level, key, i, sizes[i]);
		store(&level, key, i + 10, 3);
		expect_word(&level, key, i + 10, 3);
		ck_assert_int_eq(level.remove(key, level.user), 0);
		expect_absent(&level, key);
		ck_assert_int_eq(level.remove(key, level.user), 0);
	}
	weakref_cache_memcached_stats stats = stats_of(far);
	ck_assert_uint_eq(stats.hits, 8);
	ck_assert_uint_eq(stats.misses, 8);
	ck_assert_uint_eq(stats.stores, 8);
	ck_assert_uint_eq(stats.removals, 8);
	ck_assert_uint_eq(stats.failures + stats.skipped + stats.busy + stats.coding + stats.owed, 0);

	options = options_for(WEAKREF_KEY_INT, NULL);
	far_new(&options, &level);
	const intptr_t numbers[] = {0, 1, -1, INTPTR_MIN, INTPTR_MAX};
	for (unsigned i = 0; i < 5; i++)
		store(&level, WEAKREF_INT(numbers[i]), i, 10);
	for (unsigned i = 0; i < 5; i++)
		expect_word(&level, WEAKREF_INT(numbers[i]), i, 10);
	expect_absent(&level, WEAKREF_INT(2));
}
END_TEST

/* Any bytes are a key: blanks, control bytes, NUL, none at all, any length; each is another one, and names are what memcached takes. */
START_TEST(test_R171_any_key)
{
	static char long_text[5000], other_text[5000];
	const weakref_bytes keys[] = {
		{"", 0}, {NULL, 0}, {"\0", 1}, {"\0\0", 2}, {"a b", 3}, {"ab", 2}, {"a\r\nset x 0 0 1\r\ny\r\n", 18}, {"\xff\xfe", 2},
		{long_text, 239}, {long_text, 240}, {long_text, 241}, {long_text, 242}, {long_text, 243}, {long_text, 244}, {long_text, 245},
		{long_text, 250}, {long_text, 251}, {long_text, 5000}, {other_text, 5000}, {"a", 1}, {"b", 1},
	};
	enum { KEYS = sizeof keys / sizeof keys[0] };
	weakref_cache_memcached_options options;
	weakref_cache_second_level level, strings;
	char name[300], other[300];

	WITH_SERVER();
	memset(long_text, 'x', sizeof long_text);
	memset(other_text, 'x', sizeof other_text);
	other_text[4999] = 'y';
	options = options_for(WEAKREF_KEY_BYTES, "R171");
	weakref_cache_memcached *far = far_new(&options, &level);
	for (unsigned i = 0; i < KEYS; i++)
		store(&level, &keys[i], i, i);
	/* The first two are one key. */
	for (unsigned i = 1; i < KEYS; i++)
		expect_word(&level, &keys[i], i, i);
	expect_word(&level, &keys[0], 1, 1);
	for (unsigned i = 0; i < KEYS; i++) {
		int n = weakref_cache_memcached_name(far, &keys[i], name, sizeof name);
		ck_assert_int_ge(n, 6);
		ck_assert_int_le(n, 250);
		ck_assert_uint_eq(strlen(name), (size_t)n);
		for (int c = 0; c < n; c++)
			ck_assert(name[c] > ' ' && name[c] < 0x7f);
		for (unsigned j = i == 0 ? 2 : i + 1; j < KEYS; j++) {
			weakref_cache_memcached_name(far, &keys[j], other, sizeof other);
			ck_assert_str_ne(name, other);
		}
	}
	weakref_cache_memcached_name(far, &keys[19], name, sizeof name);
	ck_assert_str_eq(name, "R171:ba");
	ck_assert_int_eq(weakref_cache_memcached_name(far, &keys[19], name, 3), 7);
	ck_assert_str_eq(name, "R1");
	ck_assert_int_eq(weakref_cache_memcached_name(far, NULL, name, sizeof name), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_cache_memcached_name(NULL, &keys[1], name, sizeof name), -WEAKREF_EINVAL);

	/* Strings and other prefixes are other keys. */
	options = options_for(WEAKREF_KEY_STRING, "R171");
	far_new(&options, &strings);
	expect_absent(&strings, "a");
	options = options_for(WEAKREF_KEY_BYTES, "R17");
	far_new(&options, &strings);
	expect_absent(&strings, &keys[19]);
}
END_TEST

/* What stands under a key's name and is of another key, as two with one hash would be, is not given; nor is what is damaged. */
START_TEST(test_R171_collision_and_damage)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	char a[600], b[600], name_a[300], name_b[300];
	memcached_return_t code;
	uint32_t flags;
	size_t size;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R171c");
	weakref_cache_memcached *far = far_new(&options, &level);
	memset(a, 'a', sizeof a - 1);
	memset(b, 'b', sizeof b - 1);
	a[sizeof a - 1] = b[sizeof b - 1] = '\0';
	int na = weakref_cache_memcached_name(far, a, name_a, sizeof name_a), nb = weakref_cache_memcached_name(far, b, name_b, sizeof name_b);
	store(&level, a, 1, 50);

	memcached_st *handle = look();
	char *value = memcached_get(handle, name_a, (size_t)na, &size, &flags, &code);
	ck_assert_ptr_nonnull(value);
	ck_assert_int_eq(memcached_set(handle, name_b, (size_t)nb, value, size, 0, 0), MEMCACHED_SUCCESS);
	expect_absent(&level, b);
	ck_assert_uint_eq(stats_of(far).foreign, 1);
	/* Every byte counts, and every length. */
	for (size_t i = 0; i < size; i++) {
		value[i] ^= 0x20;
		ck_assert_int_eq(memcached_set(handle, name_a, (size_t)na, value, size, 0, 0), MEMCACHED_SUCCESS);
		value[i] ^= 0x20;
		expect_absent(&level, a);
	}
	for (size_t n = 0; n < size; n += 7) {
		ck_assert_int_eq(memcached_set(handle, name_a, (size_t)na, value, n, 0, 0), MEMCACHED_SUCCESS);
		expect_absent(&level, a);
	}
	weakref_cache_memcached_stats stats = stats_of(far);
	ck_assert_uint_ge(stats.damaged, size);
	ck_assert_uint_eq(stats.hits, 0);
	ck_assert_int_eq(memcached_set(handle, name_a, (size_t)na, value, size, 0, 0), MEMCACHED_SUCCESS);
	expect_word(&level, a, 1, 50);
	free(value);
	memcached_free(handle);
}
END_TEST

/* Clearing is seen at once by all who share the prefix, and by nobody else; nobody reads what was stored under an older time. */
START_TEST(test_R172_clear)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level one, two, other;
	char name[300];
	memcached_return_t code;
	uint32_t flags;
	size_t size;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R172");
	weakref_cache_memcached *far = far_new(&options, &one);
	far_new(&options, &two);
	options = options_for(WEAKREF_KEY_STRING, "R172x");
	far_new(&options, &other);
	store(&one, "a", 1, 1);
	store(&two, "b", 2, 2);
	store(&other, "a", 3, 3);
	expect_word(&two, "a", 1, 1);
	expect_word(&one, "b", 2, 2);
	memcached_st *handle = look();
	int n = weakref_cache_memcached_name(far, "a", name, sizeof name);
	char *old = memcached_get(handle, name, (size_t)n, &size, &flags, &code);
	ck_assert_ptr_nonnull(old);

	ck_assert_int_eq(weakref_cache_memcached_clear(far), 0);
	expect_absent(&two, "a");
	expect_absent(&one, "b");
	expect_word(&other, "a", 3, 3);
	store(&two, "a", 4, 4);
	expect_word(&one, "a", 4, 4);
	/* A store of before the clearing that comes late. */
	ck_assert_int_eq(memcached_set(handle, name, (size_t)n, old, size, 0, 0), MEMCACHED_SUCCESS);
	expect_absent(&one, "a");
	ck_assert_uint_ge(stats_of(far).outdated, 2);
	/* One of what was looked up before it. */
	expect_absent(&one, "c");
	ck_assert_int_eq(two.clear(two.user), 0);
	store_late(&one, "c", 6, 6);
	expect_absent(&two, "c");
	/* The level's own way, and a time that somebody has spoilt. */
	ck_assert_int_eq(two.clear(two.user), 0);
	ck_assert_int_eq(memcached_set(handle, "R172!", 5, "nonsense", 8, 0, 0), MEMCACHED_SUCCESS);
	expect_absent(&one, "a");
	store(&one, "a", 5, 5);
	expect_word(&two, "a", 5, 5);
	ck_assert_int_eq(weakref_cache_memcached_clear(NULL), -WEAKREF_EINVAL);
	free(old);
	memcached_free(handle);
}
END_TEST

/* Functions that fail, values that are too large: not stored, and what was there before is not left behind. */
START_TEST(test_R175_what_cannot_be_stored)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	struct word *word;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R175");
	weakref_cache_memcached *far = far_new(&options, &level);
	store(&level, "a", 1, 1);
	coding_error = -WEAKREF_EEXIST;
	ck_assert_int_eq(get(&level, "a", &word), -WEAKREF_EEXIST);
	ck_assert_int_eq(level.put("a", word_new(2, 2), level.user), -WEAKREF_EEXIST);
	coding_error = 0;
	ck_assert_uint_eq(stats_of(far).coding, 2);
	expect_absent(&level, "a");
	store(&level, "a", 3, 999000);
	expect_word(&level, "a", 3, 999000);
	ck_assert_int_eq(level.put("a", word_new(4, 1000001), level.user), 0);
	expect_absent(&level, "a");
	/* What the server itself refuses. */
	options.max_value = 100 << 20;
	far = far_new(&options, &level);
	store(&level, "a", 5, 5);
	store(&level, "a", 6, 5 << 20);
	ck_assert_uint_eq(stats_of(far).too_large, 1);
	expect_absent(&level, "a");
	store(&level, "a", 7, 7);
	expect_word(&level, "a", 7, 7);
}
END_TEST

/* What has a time to live is gone after it, and not before. */
START_TEST(test_R176_time_to_live)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level, month;
	struct word *word;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R176");
	options.ttl = 1.5;
	far_new(&options, &level);
	options.ttl = 40 * 24 * 3600.0;
	far_new(&options, &month);
	double begin = seconds();
	store(&level, "a", 1, 1);
	store(&month, "b", 2, 2);
	if (get(&level, "a", &word) != 0)
		ck_assert(seconds() - begin > 0.9);
	while (get(&level, "a", &word) == 0 && seconds() - begin < 60)
		pause_ms(100);
	ck_assert(seconds() - begin < 60);
	expect_absent(&level, "a");
	expect_word(&month, "b", 2, 2);
}
END_TEST

/* ---- threads, processes, life -------------------------------------------------------------------------------------------- */

static atomic_bool collecting;

static int collect_meanwhile(void *arg)
{
	(void)arg;
	while (atomic_load(&collecting)) {
		SUPPORT_REQUIRE(gc_collect() >= 0);
		pause_ms(2);
	}
	return 0;
}

static void *collect_thread(void *arg)
{
	return (void *)(intptr_t)collect_meanwhile(arg);
}

/* Eight threads on three connections, stopped by collections in the middle of their waits: nobody gets another's answer, and none fails. */
START_TEST(test_R177_threads)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	struct worker workers[8];
	pthread_t collector;
	void *result;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_INT, "R177");
	options.connections = 3;
	weakref_cache_memcached *far = far_new(&options, &level);
	for (unsigned i = 0; i < 8; i++)
		workers[i] = (struct worker){.level = &level, .seed = support_seed() + i};
	atomic_store(&collecting, true);
	ck_assert_int_eq(pthread_create(&collector, NULL, collect_thread, NULL), 0);
	ck_assert_uint_eq(support_threads(8, work, workers, sizeof workers[0]), 0);
	atomic_store(&collecting, false);
	ck_assert_int_eq(pthread_join(collector, &result), 0);
	ck_assert_ptr_null(result);
	weakref_cache_memcached_stats stats = stats_of(far);
	ck_assert_uint_gt(stats.hits, 0);
	ck_assert_uint_eq(stats.failures + stats.busy + stats.skipped + stats.foreign + stats.damaged + stats.outdated, 0);
}
END_TEST

static int one_get(void *arg)
{
	const weakref_cache_second_level *level = *(const weakref_cache_second_level **)arg;
	void *value = NULL;

	return level->get("a", &value, level->user) < 0 ? 0 : 1;
}

/* More threads than connections, all of which wait in vain: who gets none in time goes on without. */
START_TEST(test_R177_busy)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	const weakref_cache_second_level *levels[6];

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R177b");
	options.connections = 1;
	options.timeout = 0.3;
	weakref_cache_memcached *far = far_new(&options, &level);
	store(&level, "a", 1, 1);
	for (unsigned i = 0; i < 6; i++)
		levels[i] = &level;
	memcached_freeze(&server);
	double begin = seconds();
	ck_assert_uint_eq(support_threads(6, one_get, levels, sizeof levels[0]), 0);
	double took = seconds() - begin;
	memcached_thaw(&server);
	ck_assert(took < 10);
	weakref_cache_memcached_stats stats = stats_of(far);
	ck_assert_uint_eq(stats.failures + stats.busy + stats.skipped, 6);
	ck_assert_uint_eq(stats.hits, 0);
}
END_TEST

static int child_uses(void *arg)
{
	const weakref_cache_second_level *level = arg;
	struct word *word;

	for (uint64_t i = 0; i < 50; i++) {
		SUPPORT_REQUIRE(get(level, "parent", &word) == 0 && word_is(word, 1, 1000));
		SUPPORT_REQUIRE(level->expect("child", level->user) == 0);
		SUPPORT_REQUIRE(level->put("child", word_new(i, 10), level->user) == 0);
	}
	return 0;
}

/* A child after fork and its parent use the same object, and do not get each other's answers. */
START_TEST(test_R178_fork)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R178");
	weakref_cache_memcached *far = far_new(&options, &level);
	store(&level, "parent", 1, 1000);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(support_in_child(child_uses, &level), 0);
		expect_word(&level, "parent", 1, 1000);
		expect_word(&level, "child", 49, 10);
	}
	ck_assert_uint_eq(stats_of(far).failures, 0);
}
END_TEST

static unsigned open_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned n = 0;

	while (folder != NULL && readdir(folder) != NULL)
		n++;
	if (folder != NULL)
		closedir(folder);
	return n;
}

static int use_and_drop(void *arg)
{
	const weakref_cache_memcached_options *options = arg;

	for (unsigned i = 0; i < SUPPORT_N; i++) {
		weakref_cache_second_level level;
		weakref_cache_memcached *far = weakref_cache_memcached_new(options);
		SUPPORT_REQUIRE(far != NULL && weakref_cache_memcached_level(far, &level) == 0);
		SUPPORT_REQUIRE(level.expect("a", far) == 0);
		SUPPORT_REQUIRE(level.put("a", word_new(i, 1), far) == 0);
	}
	return 0;
}

/* What nobody holds any more has its connections closed. */
START_TEST(test_R179_dropped)
{
	weakref_cache_memcached_options options;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R179");
	support_collect();
	unsigned before = open_descriptors();
	ck_assert_int_eq(support_on_thread(use_and_drop, &options), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(open_descriptors(), before + SUPPORT_SLACK);
}
END_TEST

/* Options that cannot be. */
START_TEST(test_R179_options)
{
	weakref_cache_memcached_options good, bad;
	weakref_cache_second_level level;
	weakref_cache_memcached_stats stats;
	char prefix[66];

	good = options_for(WEAKREF_KEY_STRING, "R179");
	good.servers = "--SERVER=127.0.0.1:1";
	weakref_cache_memcached *far = far_new(&good, &level);
	ck_assert_int_eq(weakref_cache_memcached_level(NULL, &level), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_cache_memcached_level(far, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_cache_memcached_get_stats(far, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_cache_memcached_get_stats(NULL, &stats), -WEAKREF_EINVAL);
	memset(prefix, 'p', 65);
	prefix[65] = '\0';
#define REFUSED(change)                                                                                                                      \
	do {                                                                                                                                 \
		bad = good;                                                                                                                  \
		change;                                                                                                                      \
		errno = 0;                                                                                                                   \
		ck_assert_ptr_null(weakref_cache_memcached_new(&bad));                                                                       \
		ck_assert_int_eq(errno, EINVAL);                                                                                             \
	} while (0)
	REFUSED(bad.servers = NULL);
	REFUSED(bad.servers = "");
	REFUSED(bad.servers = "nonsense");
	REFUSED(bad.servers = "--SERVER=127.0.0.1 --NAMESPACE=\"x\"");
	REFUSED(bad.encode = NULL);
	REFUSED(bad.decode = NULL);
	REFUSED(bad.kind = WEAKREF_KEY_POINTER);
	REFUSED(bad.kind = WEAKREF_KEY_CUSTOM);
	REFUSED(bad.prefix = "a b");
	REFUSED(bad.prefix = "a:");
	REFUSED(bad.prefix = "a!");
	REFUSED(bad.prefix = prefix);
	REFUSED(bad.ttl = -1);
	REFUSED(bad.timeout = -1);
	REFUSED(bad.retry = (double)NAN);
	REFUSED(bad.connections = 1025);
#undef REFUSED
	ck_assert_ptr_null(weakref_cache_memcached_new(NULL));
	bad = good;
	bad.prefix = prefix + 1;
	ck_assert_ptr_nonnull(weakref_cache_memcached_new(&bad));
}
END_TEST

/* Each allocation fails once: the call says so or does without, and the next one works. */
START_TEST(test_R175_no_memory)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	bool reached = true;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R175m");
	for (unsigned long nth = 1; reached; nth++) {
		struct word *word = word_new(1, 1), *found = NULL;
		ck_assert_ptr_nonnull(word);
		weakref_checks_fail_allocation(nth);
		weakref_cache_memcached *far = weakref_cache_memcached_new(&options);
		int error = far == NULL ? -errno : weakref_cache_memcached_level(far, &level);
		if (error == 0)
			error = level.expect("a", level.user);
		if (error == 0)
			error = level.put("a", word, level.user);
		if (error == 0)
			error = get(&level, "a", &found);
		reached = weakref_checks_fail_allocation(0) == 0;
		ck_assert_int_eq(error, reached ? -WEAKREF_ENOMEM : 0);
		far = far_new(&options, &level);
		store(&level, "a", nth, 5);
		expect_word(&level, "a", nth, 5);
		ck_assert_uint_lt(nth, 100);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_memcached");
	TCase *values = support_tcase("values"), *life = support_tcase("life");

	tcase_add_test(values, test_R170_values_come_back);
	tcase_add_test(values, test_R171_any_key);
	tcase_add_test(values, test_R171_collision_and_damage);
	tcase_add_test(values, test_R172_clear);
	tcase_add_test(values, test_R175_what_cannot_be_stored);
	tcase_add_test(values, test_R175_no_memory);
	tcase_add_test(values, test_R176_time_to_live);
	tcase_add_test(life, test_R177_threads);
	tcase_add_test(life, test_R177_busy);
	tcase_add_test(life, test_R178_fork);
	tcase_add_test(life, test_R179_dropped);
	tcase_add_test(life, test_R179_options);
	suite_add_tcase(s, values);
	suite_add_tcase(s, life);
	return s;
}

int main(void)
{
	return support_main(suite);
}

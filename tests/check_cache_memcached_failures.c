/* SPDX-License-Identifier: MIT */
/*
 * check_cache_memcached_failures: weakref/cache_memcached.h with servers that stand still, are killed and started again, are not there, or
 * are no memcached (R173, R174).
 */
#define GC_THREADS
#include "far.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gc/gc.h>

/* ---- one server ------------------------------------------------------------------------------------------------------------ */

/* After a look-up that failed: the server is left alone, and a millisecond later there is nothing that may be stored. */
static void put_in_vain(const weakref_cache_second_level *level, unsigned i)
{
	int put = level->put("a", word_new(i, i), level->user);

	ck_assert_msg(put == -EIO || put == 0, "%d", put);
}

/* No server: each call fails at once, or is skipped; one that comes, is killed and comes again is used whenever it is there. */
START_TEST(test_R173_server_comes_and_goes)
{
	struct memcached_server late = {0};
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	struct word *word;

	WITH_SERVER();
	ck_assert(memcached_start(&late));
	memcached_kill(&late);
	options = options_for(WEAKREF_KEY_STRING, "R173");
	snprintf(config, sizeof config, "--SOCKET=\"%s\"", late.path);
	weakref_cache_memcached *far = far_new(&options, &level);
	ck_assert_int_eq(get(&level, "a", &word), -EIO);
	put_in_vain(&level, 1);
	ck_assert_uint_ge(stats_of(far).failures, 1);
	for (unsigned i = 1; i <= 3; i++) {
		ck_assert(memcached_start(&late));
		pause_ms(5);
		expect_absent(&level, "a");
		store(&level, "a", i, i);
		expect_word(&level, "a", i, i);
		memcached_kill(&late);
		ck_assert_int_eq(get(&level, "a", &word), -EIO);
		pause_ms(5);
		ck_assert_int_eq(get(&level, "a", &word), -EIO);
		put_in_vain(&level, i);
	}
	weakref_cache_memcached_stats stats = stats_of(far);
	ck_assert_uint_eq(stats.hits, 3);
	ck_assert_uint_eq(stats.stores, 3);
}
END_TEST

/* A server that failed is left alone for the retry interval: calls that come meanwhile do not wait. */
START_TEST(test_R173_left_alone)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	struct word *word;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R173a");
	options.timeout = 0.3;
	options.retry = 60;
	weakref_cache_memcached *far = far_new(&options, &level);
	store(&level, "a", 1, 1);
	memcached_freeze(&server);
	double begin = seconds();
	ck_assert_int_eq(get(&level, "a", &word), -EIO);
	double first = seconds() - begin;
	ck_assert(first >= 0.2);
	ck_assert(first < 5);
	begin = seconds();
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(get(&level, "a", &word), -EIO);
	ck_assert(seconds() - begin < 2);
	memcached_thaw(&server);
	ck_assert_uint_eq(stats_of(far).failures, 1);
	ck_assert_uint_eq(stats_of(far).skipped, 1000);
}
END_TEST

struct fake {
	int listener;
	const char *answer;
	char path[80];
};

/* Answers each request with the same text. */
static void *fake_run(void *arg)
{
	struct fake *fake = arg;
	char request[4096];
	int fd;

	while ((fd = accept(fake->listener, NULL, NULL)) >= 0) {
		while (recv(fd, request, sizeof request, 0) > 0)
			if (send(fd, fake->answer, strlen(fake->answer), MSG_NOSIGNAL) < 0)
				break;
		close(fd);
	}
	return NULL;
}

static void fake_start(struct fake *fake, const char *answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	fake->answer = answer;
	fake->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(fake->path, sizeof fake->path, "%s.fake", server.path);
	strcpy(address.sun_path, fake->path);
	unlink(fake->path);
	ck_assert_int_eq(bind(fake->listener, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fake->listener, 16), 0);
}

static void fake_stop(struct fake *fake, pthread_t thread)
{
	unlink(fake->path);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	close(fake->listener);
}

/*
 * Something that says nonsense, errors, or nothing at all: no value, and no long wait. What it says to stores are errors: libmemcached, as
 * Debian builds it, does not survive the answer to another question (an assertion in memcached_send_ascii).
 */
START_TEST(test_R173_no_memcached)
{
	static const struct {
		const char *answer;
		bool stores;
	} cases[] = {
		{"VALUE\r\n", false},
		{"VALUE R173n:sa 0 10\r\nshort\r\nEND\r\n", false},
		{"VALUE R173n:sa 0 -1\r\n\r\nEND\r\n", false},
		{"VALUE other 0 5\r\nhello\r\nEND\r\n", false},
		{"END\r\n", false},
		{"I do not understand\r\n", true},
		{"\r\n\r\n\r\n", true},
		{"ERROR\r\n", true},
		{"SERVER_ERROR out of memory\r\n", true},
		{"", true},
	};
	weakref_cache_memcached_options options;

	WITH_SERVER();
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct fake fake;
		weakref_cache_second_level level;
		pthread_t thread;
		struct word *word;

		fake_start(&fake, cases[i].answer);
		ck_assert_int_eq(pthread_create(&thread, NULL, fake_run, &fake), 0);
		options = options_for(WEAKREF_KEY_STRING, "R173n");
		snprintf(config, sizeof config, "--SOCKET=\"%s\"", fake.path);
		options.timeout = 0.1;
		weakref_cache_memcached *far = far_new(&options, &level);
		double begin = seconds();
		for (int n = 0; n < 3; n++) {
			int got = get(&level, "a", &word);
			ck_assert_int_lt(got, 0);
			ck_assert_ptr_null(word);
			if (!cases[i].stores)
				continue;
			pause_ms(2);
			/* Where the look-up failed, there is nothing to store. */
			int put = level.put("a", word_new(1, 1), level.user);
			ck_assert(put < 0 || (put == 0 && got != -WEAKREF_ENOENT));
			pause_ms(2);
			ck_assert_int_lt(level.remove("a", level.user), 0);
			pause_ms(2);
			ck_assert_int_lt(level.clear(level.user), 0);
		}
		ck_assert(seconds() - begin < 20);
		ck_assert_uint_eq(stats_of(far).stores, 0);
		fake_stop(&fake, thread);
	}
}
END_TEST

/* A removal that could not be done is owed: the old value, which the server has yet, is not read again. */
START_TEST(test_R174_removal_is_owed)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level, other;
	struct word *word;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R174");
	options.timeout = 0.2;
	weakref_cache_memcached *far = far_new(&options, &level);
	options.timeout = FAR_PATIENCE;
	far_new(&options, &other);
	store(&other, "a", 1, 1);
	store(&other, "b", 2, 2);
	expect_word(&other, "a", 1, 1);
	memcached_freeze(&server);
	ck_assert_int_eq(level.remove("a", level.user), -EIO);
	ck_assert_uint_eq(stats_of(far).owed, 1);
	ck_assert_int_eq(get(&level, "a", &word), -EIO);
	memcached_thaw(&server);
	for (int i = 0; i < 200 && stats_of(far).owed > 0; i++) {
		pause_ms(5);
		int error = get(&level, "a", &word);
		ck_assert(error == -EIO || error == -WEAKREF_ENOENT);
	}
	ck_assert_uint_eq(stats_of(far).owed, 0);
	expect_absent(&other, "a");
	expect_word(&other, "b", 2, 2);
	store(&other, "a", 3, 3);
	expect_word(&other, "a", 3, 3);
}
END_TEST

/* A store of what was loaded before its key was removed, by whomever, is not seen; nor one of before somebody else's store. */
START_TEST(test_R174_late_store)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level one, two;

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R174l");
	weakref_cache_memcached *far = far_new(&options, &one);
	far_new(&options, &two);
	expect_absent(&one, "a");
	ck_assert_int_eq(two.remove("a", two.user), 0);
	store_late(&one, "a", 1, 1);
	ck_assert_uint_eq(stats_of(far).overtaken, 1);
	expect_absent(&two, "a");
	expect_absent(&one, "a");
	store_late(&two, "a", 2, 2);
	store_late(&one, "a", 3, 3);
	ck_assert_uint_eq(stats_of(far).overtaken, 2);
	expect_word(&one, "a", 2, 2);
	/* A reload takes the place of what is there; but not when that was removed, or is another, since it began. */
	store(&one, "a", 4, 4);
	expect_word(&two, "a", 4, 4);
	ck_assert_int_eq(one.expect("a", one.user), 0);
	ck_assert_int_eq(two.remove("a", two.user), 0);
	store_late(&one, "a", 6, 6);
	expect_absent(&two, "a");
	ck_assert_int_eq(one.expect("a", one.user), 0);
	store_late(&two, "a", 4, 4);
	store_late(&one, "a", 6, 6);
	expect_word(&two, "a", 4, 4);
	ck_assert_uint_eq(stats_of(far).overtaken, 4);
	ck_assert_int_eq(two.remove("a", two.user), 0);
	expect_absent(&one, "a");
	store_late(&one, "a", 5, 5);
	expect_word(&two, "a", 5, 5);
	/* A look-up that found something makes an older one void. */
	expect_absent(&one, "b");
	store(&two, "b", 1, 1);
	expect_word(&one, "b", 1, 1);
	store(&one, "b", 2, 2);
	expect_word(&two, "b", 2, 2);
}
END_TEST

/* The same where the store was sent to a server that stood still, and is done after the removal was called. */
START_TEST(test_R174_delayed_store)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	struct word *word;
	char key[32];

	WITH_SERVER();
	options = options_for(WEAKREF_KEY_STRING, "R174d");
	options.timeout = 0.1;
	options.connections = 2;
	weakref_cache_memcached *far = far_new(&options, &level);
	for (int i = 0; i < 5; i++) {
		snprintf(key, sizeof key, "%d", i);
		for (int n = 0; n < 100 && get(&level, key, &word) != -WEAKREF_ENOENT; n++)
			pause_ms(10);
		memcached_freeze(&server);
		ck_assert_int_eq(level.put(key, word_new(1, 1), level.user), -EIO);
		ck_assert_int_lt(level.remove(key, level.user), 0);
		memcached_thaw(&server);
		for (int n = 0; n < 100 && stats_of(far).owed > 0; n++) {
			ck_assert_int_lt(get(&level, key, &word), 0);
			pause_ms(10);
		}
		ck_assert_uint_eq(stats_of(far).owed, 0);
		ck_assert_int_lt(get(&level, key, &word), 0);
	}
}
END_TEST

/* So is a clearing; and more removals than can be listed become one. */
START_TEST(test_R174_clearing_is_owed)
{
	weakref_cache_memcached_options options;
	weakref_cache_second_level level, other;
	struct word *word;
	char key[32];

	WITH_SERVER();
	for (int many = 0; many < 2; many++) {
		options = options_for(WEAKREF_KEY_STRING, many ? "R174m" : "R174c");
		options.timeout = 0.2;
		options.retry = many ? 2 : 0.001;
		weakref_cache_memcached *far = far_new(&options, &level);
		options.timeout = FAR_PATIENCE;
		far_new(&options, &other);
		store(&other, "key", 1, 1);
		memcached_freeze(&server);
		if (!many)
			ck_assert_int_eq(weakref_cache_memcached_clear(far), -EIO);
		for (int i = 0; many && i < 1500; i++) {
			snprintf(key, sizeof key, "%d", i);
			ck_assert_int_lt(level.remove(key, level.user), 0);
		}
		ck_assert_uint_eq(stats_of(far).owed, many ? 1025 : 1);
		memcached_thaw(&server);
		for (int i = 0; i < 600 && stats_of(far).owed > 0; i++) {
			pause_ms(10);
			ck_assert_int_lt(get(&level, "key", &word), 0);
		}
		ck_assert_uint_eq(stats_of(far).owed, 0);
		expect_absent(&other, "key");
		store(&level, "key", 2, 2);
		expect_word(&other, "key", 2, 2);
	}
}
END_TEST

/* Several servers: each has its keys and its time; one that is killed takes its keys with it, and no others. */
START_TEST(test_R173_several_servers)
{
	struct memcached_server servers[3] = {{0}};
	weakref_cache_memcached_options options;
	weakref_cache_second_level level, other;
	enum { KEYS = 60 };
	unsigned there = 0, failed = 0;

	WITH_SERVER();
	for (unsigned i = 0; i < 3; i++)
		ck_assert(memcached_start(&servers[i]));
	options = options_for(WEAKREF_KEY_INT, "several");
	snprintf(config, sizeof config, "--SOCKET=\"%s\" --SOCKET=\"%s\" --SOCKET=\"%s\"", servers[0].path, servers[1].path, servers[2].path);
	weakref_cache_memcached *far = far_new(&options, &level);
	far_new(&options, &other);
	for (unsigned i = 0; i < KEYS; i++)
		store(&level, WEAKREF_INT(i), i, i);
	for (unsigned i = 0; i < KEYS; i++)
		expect_word(&other, WEAKREF_INT(i), i, i);
	memcached_kill(&servers[1]);
	for (unsigned i = 0; i < KEYS; i++) {
		struct word *word;
		int error = get(&level, WEAKREF_INT(i), &word);
		ck_assert(error == -EIO || (error == 0 && word_is(word, i, i)));
		there += error == 0;
		failed += error != 0;
	}
	ck_assert_uint_gt(there, 0);
	ck_assert_uint_gt(failed, 0);
	/* One of three owes, and pays when it is back. */
	ck_assert_int_eq(weakref_cache_memcached_clear(far), -EIO);
	ck_assert_uint_eq(stats_of(far).owed, 1);
	ck_assert(memcached_start(&servers[1]));
	pause_ms(5);
	for (unsigned i = 0; i < KEYS; i++)
		expect_absent(&level, WEAKREF_INT(i));
	ck_assert_uint_eq(stats_of(far).owed, 0);
	/* The other one learns by a failure that its connection is broken. */
	for (unsigned i = 0; i < KEYS; i++) {
		struct word *word;
		int error = get(&other, WEAKREF_INT(i), &word);
		ck_assert(error == -EIO || error == -WEAKREF_ENOENT);
	}
	pause_ms(5);
	for (unsigned i = 0; i < KEYS; i++)
		expect_absent(&other, WEAKREF_INT(i));
	for (unsigned i = 0; i < KEYS; i++)
		store(&other, WEAKREF_INT(i), i + 1, i);
	for (unsigned i = 0; i < KEYS; i++)
		expect_word(&level, WEAKREF_INT(i), i + 1, i);
	for (unsigned i = 0; i < 3; i++)
		memcached_kill(&servers[i]);
}
END_TEST

static atomic_bool killing;

static void *kill_meanwhile(void *arg)
{
	struct memcached_server *victim = arg;

	while (atomic_load(&killing)) {
		pause_ms(15);
		memcached_kill(victim);
		pause_ms(5);
		if (!memcached_start(victim))
			return arg;
	}
	return NULL;
}

/* The server is killed and started again, over and over, under the threads: there are failures, and no wrong value; then all is well again. */
START_TEST(test_R173_killed_under_load)
{
	struct memcached_server victim = {0};
	weakref_cache_memcached_options options;
	weakref_cache_second_level level;
	struct worker workers[4];
	pthread_t killer;
	struct word *word;
	void *result;

	WITH_SERVER();
	ck_assert(memcached_start(&victim));
	options = options_for(WEAKREF_KEY_INT, "R173k");
	snprintf(config, sizeof config, "--SOCKET=\"%s\"", victim.path);
	options.timeout = 1;
	weakref_cache_memcached *far = far_new(&options, &level);
	for (unsigned i = 0; i < 4; i++)
		workers[i] = (struct worker){.level = &level, .seed = support_seed() + i, .failures = true};
	atomic_store(&killing, true);
	ck_assert_int_eq(pthread_create(&killer, NULL, kill_meanwhile, &victim), 0);
	for (int i = 0; i < 100 && stats_of(far).failures < 5; i++)
		ck_assert_uint_eq(support_threads(4, work, workers, sizeof workers[0]), 0);
	atomic_store(&killing, false);
	ck_assert_int_eq(pthread_join(killer, &result), 0);
	ck_assert_ptr_null(result);
	ck_assert_uint_ge(stats_of(far).failures, 5);
	ck_assert_uint_eq(stats_of(far).foreign + stats_of(far).damaged, 0);
	/* The last one died with the thread that had started it. */
	memcached_kill(&victim);
	ck_assert(memcached_start(&victim));
	/* One failure at most: a connection that broke with the server before this one. */
	get(&level, WEAKREF_INT(100), &word);
	pause_ms(5);
	for (int i = 0; i < 20; i++) {
		store(&level, WEAKREF_INT(i), (uint64_t)i, (size_t)i);
		expect_word(&level, WEAKREF_INT(i), (uint64_t)i, (size_t)i);
	}
	ck_assert_uint_eq(stats_of(far).owed, 0);
	memcached_kill(&victim);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_memcached_failures");
	TCase *tc = support_tcase("failures");

	tcase_add_test(tc, test_R173_server_comes_and_goes);
	tcase_add_test(tc, test_R173_left_alone);
	tcase_add_test(tc, test_R173_no_memcached);
	tcase_add_test(tc, test_R173_several_servers);
	tcase_add_test(tc, test_R173_killed_under_load);
	tcase_add_test(tc, test_R174_removal_is_owed);
	tcase_add_test(tc, test_R174_late_store);
	tcase_add_test(tc, test_R174_delayed_store);
	tcase_add_test(tc, test_R174_clearing_is_owed);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return support_main(suite);
}

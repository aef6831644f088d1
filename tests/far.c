/* SPDX-License-Identifier: MIT */
/*
 * far: see far.h.
 */
#include "far.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct memcached_server server;

/* ---- values: a number and a text ----------------------------------------------------------------------------------------- */

static const gc_type word_type = {.name = "word", .size = sizeof(struct word), .flags = WEAKREF_TYPE_LEAF};

struct word *word_new(uint64_t number, size_t size)
{
	struct word *word = gc_new_extra(&word_type, size);

	if (word == NULL)
		return NULL;
	word->number = number;
	word->size = size;
	memset(word->text, (int)(number % 251), size);
	return word;
}

bool word_is(const struct word *word, uint64_t number, size_t size)
{
	if (gc_type_of(word) != &word_type || word->number != number || word->size != size)
		return false;
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)word->text[i] != number % 251)
			return false;
	return true;
}

int coding_error;

static int word_encode(const void *key, void *value, weakref_bytes *bytes, void *user)
{
	struct word *word = value;

	(void)key;
	(void)user;
	*bytes = (weakref_bytes){.data = word, .size = sizeof *word + word->size};
	return coding_error;
}

static int word_decode(const void *key, const weakref_bytes *bytes, void **value, void *user)
{
	const struct word *from = bytes->data;

	(void)key;
	(void)user;
	if (bytes->size < sizeof *from || from->size != bytes->size - sizeof *from)
		return -WEAKREF_EINVAL;
	struct word *word = word_new(from->number, from->size);
	if (word == NULL)
		return -WEAKREF_ENOMEM;
	memcpy(word->text, from->text, from->size);
	*value = word;
	return coding_error;
}

/* ---- what the tests work on ---------------------------------------------------------------------------------------------- */

char config[1024];

weakref_cache_memcached_options options_for(enum weakref_key_kind kind, const char *prefix)
{
	snprintf(config, sizeof config, "--SOCKET=\"%s\"", server.path);
	return (weakref_cache_memcached_options){
		.servers = config, .prefix = prefix, .kind = kind, .encode = word_encode, .decode = word_decode, .timeout = FAR_PATIENCE, .retry = 0.001};
}

weakref_cache_memcached *far_new(const weakref_cache_memcached_options *options, weakref_cache_second_level *level)
{
	weakref_cache_memcached *far = weakref_cache_memcached_new(options);

	ck_assert_ptr_nonnull(far);
	ck_assert_int_eq(weakref_cache_memcached_level(far, level), 0);
	ck_assert_ptr_eq(level->user, far);
	return far;
}

weakref_cache_memcached_stats stats_of(weakref_cache_memcached *far)
{
	weakref_cache_memcached_stats stats;

	ck_assert_int_eq(weakref_cache_memcached_get_stats(far, &stats), 0);
	return stats;
}

int get(const weakref_cache_second_level *level, const void *key, struct word **word)
{
	void *value = NULL;
	int error = level->get(key, &value, level->user);

	*word = value;
	return error;
}

void expect_word(const weakref_cache_second_level *level, const void *key, uint64_t number, size_t size)
{
	struct word *word;

	ck_assert_int_eq(get(level, key, &word), 0);
	ck_assert(word_is(word, number, size));
}

void expect_absent(const weakref_cache_second_level *level, const void *key)
{
	struct word *word;

	ck_assert_int_eq(get(level, key, &word), -WEAKREF_ENOENT);
	ck_assert_ptr_null(word);
}

void store(const weakref_cache_second_level *level, const void *key, uint64_t number, size_t size)
{
	ck_assert_int_eq(level->expect(key, level->user), 0);
	store_late(level, key, number, size);
}

void store_late(const weakref_cache_second_level *level, const void *key, uint64_t number, size_t size)
{
	ck_assert_int_eq(level->put(key, word_new(number, size), level->user), 0);
}

void pause_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&t, &t) != 0)
		continue;
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void stop_server(void)
{
	memcached_kill(&server);
}

void need_server(void)
{
	static bool begun;

	if (!begun)
		begun = atexit(stop_server) == 0;
	if (server.pid == 0)
		ck_assert(memcached_start(&server));
}

/* ---- threads ---- */

static bool allowed(const struct worker *worker, int error)
{
	return error == 0 || (worker->failures && (error == -EIO || error == -WEAKREF_EBUSY));
}

/* Each key's values have its number in their upper half. */
int work(void *arg)
{
	struct worker *worker = arg;
	size_t rounds = support_scaled(400, 40);

	for (size_t i = 0; i < rounds; i++) {
		uint64_t random = support_random(&worker->seed), key = random % 16;
		void *value = NULL;
		int error;

		switch (random >> 32 & 3) {
		case 0:
			SUPPORT_REQUIRE(allowed(worker, worker->level->expect(WEAKREF_INT(key), worker->level->user)));
			SUPPORT_REQUIRE(allowed(worker, worker->level->put(WEAKREF_INT(key), word_new(key << 32 | i, i), worker->level->user)));
			break;
		case 1:
			SUPPORT_REQUIRE((random >> 40 & 7) != 0 || allowed(worker, worker->level->remove(WEAKREF_INT(key), worker->level->user)));
			break;
		default:
			error = worker->level->get(WEAKREF_INT(key), &value, worker->level->user);
			SUPPORT_REQUIRE(error == -WEAKREF_ENOENT || allowed(worker, error));
			if (error == 0) {
				struct word *word = value;
				SUPPORT_REQUIRE(word->number >> 32 == key && word_is(word, word->number, word->size));
			}
		}
	}
	return 0;
}

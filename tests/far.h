/* SPDX-License-Identifier: MIT */
/*
 * far: what the tests of weakref/cache_memcached.h share: a server, values, and work for threads.
 */
#ifndef TESTS_FAR_H
#define TESTS_FAR_H

#include "support.h"

#include <math.h>

#include "memcached.h"
#include "weakref/cache_memcached.h"

/* Where a server answers, it is waited for as long as it takes on a busy machine. */
#define FAR_PATIENCE 20.0

/* Runs from the first test that needs it to the end of the program. */
extern struct memcached_server server;
/* The configuration that options_for gave last. */
extern char config[1024];
/* What encode and decode return. */
extern int coding_error;

/* A value: a number, and so many bytes made of it. */
struct word {
	uint64_t number;
	size_t size;
	char text[];
};

struct word *word_new(uint64_t number, size_t size);
bool word_is(const struct word *word, uint64_t number, size_t size);

weakref_cache_memcached_options options_for(enum weakref_key_kind kind, const char *prefix);
weakref_cache_memcached *far_new(const weakref_cache_memcached_options *options, weakref_cache_second_level *level);
weakref_cache_memcached_stats stats_of(weakref_cache_memcached *far);
int get(const weakref_cache_second_level *level, const void *key, struct word **word);
void expect_word(const weakref_cache_second_level *level, const void *key, uint64_t number, size_t size);
void expect_absent(const weakref_cache_second_level *level, const void *key);
/* Stores as after a reload; or what was loaded after the thread's last look at the key. */
void store(const weakref_cache_second_level *level, const void *key, uint64_t number, size_t size);
void store_late(const weakref_cache_second_level *level, const void *key, uint64_t number, size_t size);

void pause_ms(long ms);
double seconds(void);
void need_server(void);

#define WITH_SERVER()                                                                                                                        \
	SUPPORT_SKIP_UNLESS(memcached_found(), MEMCACHED_NEEDED);                                                                            \
	need_server()

/* A thread's work at a level with integer keys: it puts, removes, and looks whether what it gets is of that key. A support_fn. */
struct worker {
	const weakref_cache_second_level *level;
	uint64_t seed;
	bool failures; /* whether there may be some */
};

int work(void *worker);

#endif

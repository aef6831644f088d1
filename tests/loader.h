/* SPDX-License-Identifier: MIT */
/*
 * loader: what the programs that test caches with loaders share: a loader that does what each test tells it, a cache made with it, and
 * threads that get a key. One cache at a time.
 */
#ifndef TESTS_LOADER_H
#define TESTS_LOADER_H

#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache_fixture.h"

/* ---- the loader: what it does is set by each test ---- */

static _Atomic unsigned loads, reloads;
static _Atomic int load_error;
static _Atomic bool load_none;
static _Atomic bool hold;    /* loads wait until it is false */
static _Atomic unsigned held; /* how many wait */
static _Atomic(size_t) load_base;

static inline void wait_while_held(void)
{
	held++;
	while (hold)
		usleep(200);
	held--;
}

static inline int load(const void *key, void **value, void *user)
{
	(void)user;
	size_t base = load_base;
	loads++;
	if (hold)
		wait_while_held();
	if (load_error != 0)
		return load_error;
	*value = load_none ? NULL : thing(base + (size_t)WEAKREF_INT_VALUE(key));
	return 0;
}

static inline int reload(const void *key, void *old, void **value, void *user)
{
	(void)user;
	reloads++;
	if (hold)
		wait_while_held();
	if (load_error != 0)
		return load_error;
	*value = load_none ? NULL : (char *)old + 1000;
	(void)key;
	return 0;
}

static _Atomic unsigned bulk_calls;
static _Atomic size_t bulk_keys;
static int bulk_skip = -1;

/* Gives every key that was asked for but bulk_skip, and key 900 as well. */
static inline int load_all(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user)
{
	(void)user;
	bulk_calls++;
	bulk_keys += n;
	if (hold)
		wait_while_held();
	if (load_error != 0)
		return load_error;
	for (size_t i = 0; i < n; i++)
		if (WEAKREF_INT_VALUE(keys[i]) != bulk_skip)
			weakref_cache_bulk_give(bulk, keys[i], thing((size_t)WEAKREF_INT_VALUE(keys[i])));
	return weakref_cache_bulk_give(bulk, KEY(900), thing(900));
}

static inline weakref_cache_builder *builder(const char *spec, bool with_reload, bool with_load_all)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	weakref_cache_loader loader = {.load = load, .reload = with_reload ? reload : NULL, .load_all = with_load_all ? load_all : NULL};

	loads = reloads = bulk_calls = 0;
	bulk_keys = 0;
	bulk_skip = -1;
	load_error = 0;
	load_none = hold = false;
	load_base = 0;
	now_ns = 1000 * SECOND;
	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &loader), 0);
	return b;
}

static inline void make_cache(const char *spec)
{
	cache = weakref_cache_builder_build(builder(spec, true, false));
	ck_assert_ptr_nonnull(cache);
}

static inline weakref_cache_stats stats(void)
{
	weakref_cache_stats out = {0};

	weakref_cache_get_stats(cache, &out);
	return out;
}

#define GET(n) weakref_cache_get_if_present(cache, KEY(n))

/* A thread that gets a key. */
struct getter {
	pthread_t thread;
	intptr_t key;
	int result;
	void *value;
};

static inline void *getter_run(void *arg)
{
	struct getter *g = arg;

	g->result = weakref_cache_get(cache, KEY(g->key), &g->value);
	return NULL;
}

static inline void getter_start(struct getter *g, intptr_t key)
{
	*g = (struct getter){.key = key};
	ck_assert_int_eq(pthread_create(&g->thread, NULL, getter_run, g), 0);
}

static inline void getter_join(struct getter *g)
{
	pthread_join(g->thread, NULL);
}

static inline bool until_held(unsigned n)
{
	for (int i = 0; i < 50000 && held < n; i++)
		usleep(200);
	return held >= n;
}

/* Until so many look-ups have missed, and have had the time to wait for whoever loads. */
static inline void until_missed(unsigned n)
{
	for (int i = 0; i < 50000 && stats().misses < n; i++)
		usleep(200);
	/* The collector's signals end sleeps. */
	struct timespec left = {.tv_nsec = support_collect_every() != 0 ? 300000000 : 40000000};
	while (nanosleep(&left, &left) != 0)
		;
}

#endif

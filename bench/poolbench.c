/* SPDX-License-Identifier: MIT */
/*
 * poolbench [SECONDS [THREADS...]]: pairs of pop and push each second, of resources that exist already, a figure a line, tab
 * separated: what threads resources million-pairs/s. By default 0.3 s each, of 1, 2 and 8 threads, with as many resources as
 * threads, with half as many, and with one.
 *
 *     weakref_pool    weakref_pool_pop_wait and weakref_pool_push
 *     apr_reslist     apr_reslist_acquire and apr_reslist_release (libaprutil), with the same hard maximum
 *     GAsyncQueue     g_async_queue_pop and g_async_queue_push (GLib): a pool that never makes anything, first in first out
 *
 * The variants take turns, nine times over; the middle turn of each counts. (The best would tell of a turn in which one thread had
 * a core of its own and the others none, so that nobody ever waited.) Each pair reads and writes the resource, so that an
 * exchange of one resource between two threads would show: the sum over all must be the number of pairs.
 *
 * On a machine with other work threads hardly run at the same time, whatever is measured; as root, `chrt -r 1 poolbench 0.02` has
 * all cores for those moments.
 */
#define GC_THREADS
#include <apr_general.h>
#include <apr_reslist.h>
#include <gc/gc.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "weakref/weakref.h"

#define MOST 64
#define TURNS 9

static struct resource {
	_Alignas(64) uint64_t uses;
} resources[MOST];

static atomic_int next_resource;
static atomic_bool stop;
static pthread_barrier_t ready;

static weakref_pool *pool;
static apr_pool_t *apr_pool;
static apr_reslist_t *reslist;
static GAsyncQueue *queue;

static void die(const char *what)
{
	fprintf(stderr, "poolbench: %s\n", what);
	exit(3);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the three pools ---- */

static void weakref_make(int n)
{
	void *init[MOST];

	for (int i = 0; i < n; i++)
		init[i] = &resources[i];
	pool = weakref_pool_new(&(weakref_pool_options){.init = init, .ninit = (size_t)n, .hardmax = (size_t)n});
	if (pool == NULL)
		die("no pool");
}

static void weakref_end(void)
{
	weakref_pool_close(pool);
	pool = NULL;
}

static struct resource *weakref_pop(void)
{
	void *resource;

	return weakref_pool_pop_wait(pool, 0, &resource) == 0 ? resource : NULL;
}

static void weakref_push(struct resource *resource)
{
	weakref_pool_push(pool, resource);
}

static apr_status_t apr_make_one(void **resource, void *params, apr_pool_t *p)
{
	(void)params;
	(void)p;
	*resource = &resources[next_resource++];
	return APR_SUCCESS;
}

static apr_status_t apr_drop_one(void *resource, void *params, apr_pool_t *p)
{
	(void)resource;
	(void)params;
	(void)p;
	return APR_SUCCESS;
}

static void apr_make(int n)
{
	next_resource = 0;
	if (apr_pool_create(&apr_pool, NULL) != APR_SUCCESS ||
	    apr_reslist_create(&reslist, n, n, n, 0, apr_make_one, apr_drop_one, NULL, apr_pool) != APR_SUCCESS)
		die("no reslist");
}

static void apr_end(void)
{
	apr_pool_destroy(apr_pool);
}

static struct resource *apr_pop(void)
{
	void *resource;

	return apr_reslist_acquire(reslist, &resource) == APR_SUCCESS ? resource : NULL;
}

static void apr_push(struct resource *resource)
{
	apr_reslist_release(reslist, resource);
}

static void glib_make(int n)
{
	queue = g_async_queue_new();
	for (int i = 0; i < n; i++)
		g_async_queue_push(queue, &resources[i]);
}

static void glib_end(void)
{
	g_async_queue_unref(queue);
}

static struct resource *glib_pop(void)
{
	return g_async_queue_pop(queue);
}

static void glib_push(struct resource *resource)
{
	g_async_queue_push(queue, resource);
}

/* ---- the run ---- */

#define LOOP(which)                                               \
	static uint64_t which##_loop(void)                        \
	{                                                         \
		uint64_t pairs = 0;                               \
                                                                  \
		for (; !stop; pairs++) {                          \
			struct resource *resource = which##_pop();\
			if (resource == NULL)                     \
				die(#which ": pop failed");       \
			resource->uses++;                         \
			which##_push(resource);                   \
		}                                                 \
		return pairs;                                     \
	}
LOOP(weakref)
LOOP(apr)
LOOP(glib)

static const struct variant {
	const char *name;
	void (*make)(int n);
	uint64_t (*loop)(void);
	void (*end)(void);
} variants[] = {
	{"weakref_pool", weakref_make, weakref_loop, weakref_end},
	{"apr_reslist", apr_make, apr_loop, apr_end},
	{"GAsyncQueue", glib_make, glib_loop, glib_end},
};

#define VARIANTS (sizeof variants / sizeof *variants)

struct thread {
	pthread_t thread;
	const struct variant *variant;
	uint64_t pairs;
};

static void *thread_run(void *arg)
{
	struct thread *t = arg;

	pthread_barrier_wait(&ready);
	t->pairs = t->variant->loop();
	return NULL;
}

static double turn(const struct variant *variant, int threads, int n, double seconds)
{
	static struct thread all[MOST];
	uint64_t pairs = 0, uses = 0;

	for (int i = 0; i < MOST; i++)
		resources[i].uses = 0;
	variant->make(n);
	stop = false;
	pthread_barrier_init(&ready, NULL, (unsigned)threads + 1);
	for (int i = 0; i < threads; i++) {
		all[i].variant = variant;
		if (pthread_create(&all[i].thread, NULL, thread_run, &all[i]) != 0)
			die("no thread");
	}
	pthread_barrier_wait(&ready);
	double begin = now();
	struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
	/* A collection's signal ends it early. */
	while (nanosleep(&t, &t) != 0)
		;
	stop = true;
	double time = now() - begin;
	for (int i = 0; i < threads; i++) {
		pthread_join(all[i].thread, NULL);
		pairs += all[i].pairs;
	}
	for (int i = 0; i < MOST; i++)
		uses += resources[i].uses;
	if (uses != pairs)
		die("a resource was in two hands");
	variant->end();
	pthread_barrier_destroy(&ready);
	return (double)pairs / time / 1e6;
}

static int rate_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void compare(int threads, int n, double seconds)
{
	double rates[VARIANTS][TURNS];

	for (int i = 0; i < TURNS; i++)
		for (size_t v = 0; v < VARIANTS; v++)
			rates[v][i] = turn(&variants[v], threads, n, seconds);
	for (size_t v = 0; v < VARIANTS; v++) {
		qsort(rates[v], TURNS, sizeof(double), rate_order);
		printf("%s\t%d\t%d\t%.2f\n", variants[v].name, threads, n, rates[v][TURNS / 2]);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const int usual[] = {1, 2, 8};
	double seconds = argc > 1 ? atof(argv[1]) : 0.3;
	int n = argc > 2 ? argc - 2 : 3;

	if (gc_init() != 0 || apr_initialize() != APR_SUCCESS)
		die("cannot start");
	for (int i = 0; i < n; i++) {
		int threads = argc > 2 ? atoi(argv[i + 2]) : usual[i];
		if (threads < 1 || threads > MOST)
			die("1 to 64 threads");
		compare(threads, threads, seconds);
		if (threads > 1)
			compare(threads, threads / 2, seconds);
		if (threads > 2)
			compare(threads, 1, seconds);
	}
	apr_terminate();
	return 0;
}

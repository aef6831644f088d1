/* SPDX-License-Identifier: MIT */
/*
 * pool_readme EXAMPLE [SECONDS]: the examples of ya.resourcepool's README, in C; SECONDS (5) is the time that some of them wait.
 *
 * The resource is, as there, a number that can be used and closed. Each example is one function, which begins with the README's
 * code.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "weakref/weakref.h"

struct r {
	int number;
	bool alive;
};

static atomic_int current; /* the last number given out */
static double patience = 5;

/* A resource is a block of the collected heap here, so that it "can be simply garbage collected". */
static struct r *r_new(void)
{
	struct r *r = gc_alloc_leaf(sizeof *r);

	if (r != NULL)
		*r = (struct r){.number = ++current, .alive = true};
	return r;
}

static int r_alloc(void **out, void *user)
{
	(void)user;
	*out = r_new();
	return *out != NULL ? 0 : -WEAKREF_ENOMEM;
}

static int r_close(void *resource, void *user)
{
	struct r *r = resource;

	(void)user;
	r->alive = false;
	printf("Closing resource %d\n", r->number);
	return 0;
}

static int r_alive(void *resource, void *user)
{
	(void)user;
	return ((struct r *)resource)->alive;
}

static void r_use(const struct r *r)
{
	printf("Using resource %d\n", r->number);
}

/* with pool() as obj: obj.use() */
static int use_once(weakref_pool *pool)
{
	WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);

	if (lease == NULL) {
		printf("No resource: %s\n", weakref_strerror(errno));
		return 0;
	}
	r_use(weakref_pool_lease_get(lease));
	return 0;
}

/* with pool(timeout=seconds) as obj: obj.use() */
static int use_within(weakref_pool *pool, double seconds)
{
	WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE_WAIT(pool, seconds);

	if (lease == NULL) {
		printf("No resource: %s\n", weakref_strerror(errno));
		return 0;
	}
	r_use(weakref_pool_lease_get(lease));
	return 0;
}

static weakref_pool *pool_new(const weakref_pool_options *options)
{
	weakref_pool *pool = weakref_pool_new(options);

	if (pool == NULL) {
		perror("weakref_pool_new");
		exit(1);
	}
	return pool;
}

/* pool = ResourcePool(alloc=R) */
static int basic(void)
{
	return use_once(pool_new(&(weakref_pool_options){.alloc = r_alloc}));
}

/* obj = pool.pop(); obj.use(); pool.push(obj) */
static int pop_push(void)
{
	weakref_pool *pool = pool_new(&(weakref_pool_options){.alloc = r_alloc});
	void *obj;
	int error = weakref_pool_pop(pool, &obj);

	if (error != 0)
		return error;
	r_use(obj);
	error = weakref_pool_push(pool, obj);
	printf("%zu idle\n", weakref_pool_len(pool));
	return error;
}

/* pool = ResourcePool(); obj = R(); pool.push(obj) */
static int foreign(void)
{
	weakref_pool *pool = pool_new(NULL);
	struct r *obj = r_new();
	int error = weakref_pool_push(pool, obj);

	return error != 0 ? error : use_once(pool);
}

/* resources = [R()]; pool = ResourcePool(init=resources) */
static int limited(void)
{
	void *resources[] = {r_new()};
	weakref_pool *pool = pool_new(&(weakref_pool_options){.init = resources, .ninit = 1});

	use_once(pool);
	return use_once(pool);
}

/* pool = ResourcePool(init=[]) */
static int empty(void)
{
	return use_once(pool_new(NULL));
}

/* with pool(timeout=5) */
static int timeout(void)
{
	weakref_pool *pool = pool_new(NULL);
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	use_within(pool, patience);
	clock_gettime(CLOCK_MONOTONIC, &to);
	double took = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	printf("after %s\n", took < patience ? "less than the timeout" : took < patience + 1 ? "the timeout" : "much more than the timeout");
	return 0;
}

/* pool = ResourcePool(init=resources, alloc=R) */
static int init_alloc(void)
{
	void *resources[] = {r_new()};
	weakref_pool *pool = pool_new(&(weakref_pool_options){.init = resources, .ninit = 1, .alloc = r_alloc});
	void *obj;
	int error = weakref_pool_pop(pool, &obj);

	if (error != 0)
		return error;
	r_use(obj);
	use_once(pool); /* the first one is taken: alloc makes another */
	return weakref_pool_push(pool, obj);
}

/* pool = ResourcePool(alloc=R, dealloc=R.close): closed when the pool is collected, or at exit */
static int dealloc(void)
{
	return use_once(pool_new(&(weakref_pool_options){.alloc = r_alloc, .dealloc = r_close}));
}

/* Pops n resources, pushes them, and tells how many are idle after each push. */
static int fill(weakref_pool *pool, int n)
{
	void *objs[8];

	for (int i = 0; i < n; i++) {
		int error = weakref_pool_pop(pool, &objs[i]);
		if (error != 0)
			return error;
	}
	for (int i = 0; i < n; i++) {
		int error = weakref_pool_push(pool, objs[i]);
		if (error != 0)
			return error;
		printf("%zu idle\n", weakref_pool_len(pool));
	}
	return weakref_pool_close(pool) >= 0 ? 0 : -WEAKREF_EINVAL;
}

/* pool = ResourcePool(alloc=R, maxsize=100), with 3 in place of 100 */
static int maxsize(void)
{
	return fill(pool_new(&(weakref_pool_options){.alloc = r_alloc, .dealloc = r_close, .maxsize = 3}), 5);
}

/* pool = ResourcePool(alloc=R, maxsize=100, minsize=50), with 4 and 2 */
static int minsize(void)
{
	return fill(pool_new(&(weakref_pool_options){.alloc = r_alloc, .dealloc = r_close, .maxsize = 4, .minsize = 2}), 5);
}

/* maxage */
static int maxage(void)
{
	weakref_pool *pool = pool_new(&(weakref_pool_options){.alloc = r_alloc, .dealloc = r_close, .maxage = patience / 2});
	struct timespec t = {(time_t)patience, (long)((patience - (double)(time_t)patience) * 1e9)};

	use_once(pool);
	nanosleep(&t, NULL);
	printf("%ld too old\n", weakref_pool_maintain(pool));
	return use_once(pool);
}

/* pool = ResourcePool(alloc=R, check=lambda resource: resource.alive) */
static int check(void)
{
	weakref_pool *pool = pool_new(&(weakref_pool_options){.alloc = r_alloc, .check = r_alive});
	void *obj;
	int error = weakref_pool_pop(pool, &obj);

	if (error != 0)
		return error;
	r_use(obj);
	r_close(obj, NULL);
	error = weakref_pool_push(pool, obj);
	return error != 0 ? error : use_once(pool);
}

static void *allocate(void *pool)
{
	struct timespec t = {(time_t)patience, (long)((patience - (double)(time_t)patience) * 1e9)};

	nanosleep(&t, NULL);
	weakref_pool_push(pool, r_new());
	return NULL;
}

/* threading.Timer(5, allocate, (pool,)).start(); with pool(timeout=0) as obj: obj.use() */
static int foot(void)
{
	weakref_pool *pool = pool_new(NULL);
	pthread_t timer;

	if (pthread_create(&timer, NULL, allocate, pool) != 0)
		return -WEAKREF_ENOMEM;
	use_within(pool, 0);
	return -pthread_join(timer, NULL);
}

static const struct example {
	const char *name;
	int (*run)(void);
} examples[] = {
	{"basic", basic},       {"pop-push", pop_push}, {"foreign", foreign}, {"limited", limited}, {"empty", empty},
	{"timeout", timeout},   {"init-alloc", init_alloc}, {"dealloc", dealloc}, {"maxsize", maxsize}, {"minsize", minsize},
	{"maxage", maxage},     {"check", check},       {"foot", foot},
};

#define EXAMPLES (sizeof examples / sizeof *examples)

int main(int argc, char **argv)
{
	if (argc > 2)
		patience = atof(argv[2]);
	if (gc_init() != 0)
		return 1;
	for (size_t i = 0; argc > 1 && i < EXAMPLES; i++)
		if (strcmp(argv[1], examples[i].name) == 0) {
			int error = examples[i].run();
			if (error != 0)
				fprintf(stderr, "pool_readme: %s: %s\n", argv[1], weakref_strerror(error));
			return error != 0;
		}
	fprintf(stderr, "usage: pool_readme EXAMPLE [SECONDS]\nexamples:");
	for (size_t i = 0; i < EXAMPLES; i++)
		fprintf(stderr, " %s", examples[i].name);
	fprintf(stderr, "\n");
	return 2;
}

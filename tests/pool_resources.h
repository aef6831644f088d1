/* SPDX-License-Identifier: MIT */
/*
 * pool_resources: what the tests of pools share: resources that know in whose hand they are, and threads that pop.
 *
 * The resources are in memory from malloc, which is no root. A test's resources are no other test's: a pool of a test before, which is
 * garbage that nobody collected yet, still has its own.
 */
#ifndef TESTS_POOL_RESOURCES_H
#define TESTS_POOL_RESOURCES_H

#include <pthread.h>

#include "support.h"
#include "weakref/pool.h"

enum hand { HAND_POOL, HAND_USER, HAND_GONE };

struct res {
	_Atomic int hand;
	_Atomic int deallocs;
	_Atomic bool dead;
};

/* This test's resources, the number of those made so far, those that were deallocated, in order, and what helper threads found wrong. */
extern struct res *all;
extern _Atomic size_t made;
extern _Atomic size_t gone;
extern struct res **gone_order;
extern _Atomic unsigned wrong;

struct res *res_new(void);
/* alloc, dealloc and check of a pool. */
int res_alloc(void **out, void *user);
int res_dealloc(void *resource, void *user);
int res_check(void *resource, void *user);

#define POOL(...) weakref_pool_new(&(weakref_pool_options){__VA_ARGS__})
#define LEN(pool) ((int)weakref_pool_len(pool))

/* A resource without waiting, or NULL. */
struct res *pop(weakref_pool *pool);
double seconds(void);
weakref_pool_stats stats_of(weakref_pool *pool);
/* Until so many wait, for at most 10 s. */
bool until_waiting(weakref_pool *pool, size_t n);

/* A thread that pops with a time limit, and perhaps gives back. */
struct popper {
	pthread_t thread;
	weakref_pool *pool;
	double limit;
	bool gives_back;
	void *got;
	int result;
	int turn; /* how many were served before */
};

extern _Atomic int turns;
void *popper_run(void *arg);
/* Starts it and waits until it waits as the nth. */
bool popper_start(struct popper *p, weakref_pool *pool, double limit, size_t nth);

/* A test case for which each test starts with resources of its own. */
TCase *pool_tcase(Suite *s, const char *name);
/* Makes room for the resources; then support_main's result. */
int pool_main(Suite *(*suite)(void));

#endif

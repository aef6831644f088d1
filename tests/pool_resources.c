/* SPDX-License-Identifier: MIT */
/* pool_resources: see pool_resources.h. */
#define GC_THREADS
#define _GNU_SOURCE
#include "pool_resources.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <gc/gc.h>

#define RESOURCES ((size_t)1 << 19)
static struct res *every;
struct res *all;
_Atomic size_t made;
_Atomic size_t gone;
struct res **gone_order;
_Atomic unsigned wrong;

struct res *res_new(void)
{
	struct res *r = &all[made++];

	r->hand = HAND_POOL;
	r->deallocs = 0;
	r->dead = false;
	return r;
}

int res_alloc(void **out, void *user)
{
	(void)user;
	*out = res_new();
	return 0;
}

int res_dealloc(void *resource, void *user)
{
	struct res *r = resource;

	(void)user;
	r->deallocs++;
	if (r >= all)
		gone_order[gone++] = r;
	return 0;
}

int res_check(void *resource, void *user)
{
	(void)user;
	return !((struct res *)resource)->dead;
}

static void start_over(void)
{
	all += made + 2000;
	made = gone = 0;
	wrong = 0;
	ck_assert_uint_lt((size_t)(all - every), RESOURCES - 100000);
}

#define POOL(...) weakref_pool_new(&(weakref_pool_options){__VA_ARGS__})
#define LEN(pool) ((int)weakref_pool_len(pool))

struct res *pop(weakref_pool *pool)
{
	void *out;

	return weakref_pool_pop(pool, &out) == 0 ? out : NULL;
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

weakref_pool_stats stats_of(weakref_pool *pool)
{
	weakref_pool_stats stats = {0};

	weakref_pool_get_stats(pool, &stats);
	return stats;
}

bool until_waiting(weakref_pool *pool, size_t n)
{
	for (int i = 0; i < 10000 && stats_of(pool).waiting != n; i++)
		usleep(1000);
	return stats_of(pool).waiting == n;
}

_Atomic int turns;

void *popper_run(void *arg)
{
	struct popper *p = arg;

	p->result = weakref_pool_pop_wait(p->pool, p->limit, &p->got);
	p->turn = turns++;
	if (p->result == 0 && p->gives_back)
		wrong += weakref_pool_push(p->pool, p->got) != 0;
	return NULL;
}

bool popper_start(struct popper *p, weakref_pool *pool, double limit, size_t nth)
{
	p->pool = pool;
	p->limit = limit;
	return pthread_create(&p->thread, NULL, popper_run, p) == 0 && until_waiting(pool, nth);
}

TCase *pool_tcase(Suite *s, const char *name)
{
	TCase *t = support_tcase(name);

	tcase_add_checked_fixture(t, start_over, NULL);
	suite_add_tcase(s, t);
	return t;
}

int pool_main(Suite *(*suite)(void))
{
	all = every = calloc(RESOURCES, sizeof(*every));
	gone_order = calloc(RESOURCES, sizeof(struct res *));
	if (every == NULL || gone_order == NULL)
		return EXIT_FAILURE;
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_tls: weakref/tls.h.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/tls.h"

#define KEYS 4

/* A thread that holds nodes by its slots alone, until it is told to go on. */
struct holder {
	int keys[KEYS];
	weakref_ref *refs[KEYS];
	sem_t stored, go_on;
};

static int store(void *arg)
{
	struct holder *h = arg;

	for (int i = 0; i < KEYS; i++) {
		struct support_node *node = support_node_new((uint64_t)i);
		SUPPORT_REQUIRE(node != NULL);
		h->refs[i] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(h->refs[i] != NULL && gc_tls_set(h->keys[i], node) == 0);
	}
	return 0;
}

static int hold(void *arg)
{
	struct holder *h = arg;

	SUPPORT_REQUIRE(support_in_frame(store, h) == 0);
	support_scrub();
	sem_post(&h->stored);
	while (sem_wait(&h->go_on) != 0)
		;
	for (int i = 0; i < KEYS; i++) {
		struct support_node *node = gc_tls_get(h->keys[i]);
		SUPPORT_REQUIRE(support_node_intact(node) && node->id == (uint64_t)i);
		SUPPORT_REQUIRE(weakref_ref_get(h->refs[i]) == node);
	}
	return 0;
}

struct job {
	struct holder *holder;
	int result;
};

static void *hold_main(void *arg)
{
	struct job *job = arg;

	job->result = hold(job->holder);
	return NULL;
}

/* T18: what only a thread's slots hold lives on through collections, and dies when the thread has ended. */
START_TEST(test_T18_slots_hold)
{
	enum { THREADS = 16 };
	struct job *jobs = gc_alloc(THREADS * sizeof *jobs);
	pthread_t threads[THREADS];
	size_t dead = 0;
	int keys[KEYS];

	for (int i = 0; i < KEYS; i++) {
		keys[i] = gc_tls_key_create();
		ck_assert_int_ge(keys[i], 0);
	}
	for (int t = 0; t < THREADS; t++) {
		struct holder *h = jobs[t].holder = gc_alloc(sizeof *h);
		for (int i = 0; i < KEYS; i++)
			h->keys[i] = keys[i];
		sem_init(&h->stored, 0, 0);
		sem_init(&h->go_on, 0, 0);
		ck_assert_int_eq(pthread_create(&threads[t], NULL, hold_main, &jobs[t]), 0);
		while (sem_wait(&h->stored) != 0)
			;
	}
	support_collect();
	for (int t = 0; t < THREADS; t++) {
		ck_assert_uint_eq(support_dead(jobs[t].holder->refs, KEYS), 0);
		sem_post(&jobs[t].holder->go_on);
		pthread_join(threads[t], NULL);
		ck_assert_int_eq(jobs[t].result, 0);
	}
	support_collect();
	for (int t = 0; t < THREADS; t++)
		dead += support_dead(jobs[t].holder->refs, KEYS);
	ck_assert_uint_ge(dead, THREADS * KEYS - SUPPORT_SLACK);
	for (int i = 0; i < KEYS; i++)
		ck_assert_int_eq(gc_tls_key_delete(keys[i]), 0);
}
END_TEST

struct dropped {
	int keys[SUPPORT_N / 2];
	weakref_ref *refs[SUPPORT_N / 2];
};

static int store_many(void *arg)
{
	struct dropped *d = arg;

	for (size_t i = 0; i < SUPPORT_N / 2; i++) {
		struct support_node *node = support_node_new(i);
		SUPPORT_REQUIRE(node != NULL);
		d->refs[i] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(d->refs[i] != NULL && gc_tls_set(d->keys[i], node) == 0 && gc_tls_get(d->keys[i]) == node);
	}
	return 0;
}

/* A slot that is set to NULL, or whose key is deleted, holds nothing; a key that is made anew finds NULL. */
START_TEST(test_slots_let_go)
{
	struct dropped *d = gc_alloc(sizeof *d);
	size_t n = SUPPORT_N / 2;

	for (size_t i = 0; i < n; i++)
		ck_assert_int_ge(d->keys[i] = gc_tls_key_create(), 0);
	ck_assert_int_eq(support_in_frame(store_many, d), 0);
	support_collect();
	ck_assert_uint_eq(support_dead(d->refs, n), 0);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(_i == 0 ? gc_tls_set(d->keys[i], NULL) : gc_tls_key_delete(d->keys[i]), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(d->refs, n), n - SUPPORT_SLACK);
	if (_i == 0)
		for (size_t i = 0; i < n; i++)
			ck_assert_int_eq(gc_tls_key_delete(d->keys[i]), 0);
	int key = gc_tls_key_create();
	ck_assert_int_ge(key, 0);
	ck_assert_ptr_null(gc_tls_get(key));
	ck_assert_int_eq(gc_tls_key_delete(key), 0);
}
END_TEST

/* There are WEAKREF_TLS_KEYS keys; what is no key is refused. */
START_TEST(test_keys)
{
	int keys[WEAKREF_TLS_KEYS];

	for (int i = 0; i < WEAKREF_TLS_KEYS; i++)
		ck_assert_int_ge(keys[i] = gc_tls_key_create(), 0);
	ck_assert_int_eq(gc_tls_key_create(), -WEAKREF_ENOMEM);
	for (int i = 0; i < WEAKREF_TLS_KEYS; i++)
		ck_assert_int_eq(gc_tls_key_delete(keys[i]), 0);
	ck_assert_int_eq(gc_tls_key_delete(keys[0]), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_tls_set(keys[0], NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_tls_set(-1, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_tls_set(WEAKREF_TLS_KEYS, NULL), -WEAKREF_EINVAL);
	ck_assert_ptr_null(gc_tls_get(keys[0]));
	ck_assert_ptr_null(gc_tls_get(1000));
}
END_TEST

static int first_store(void *arg)
{
	int key = *(int *)arg;
	void *node = support_node_new(1);

	weakref_checks_fail_allocation(1);
	int result = gc_tls_set(key, node);
	weakref_checks_fail_allocation(0);
	SUPPORT_REQUIRE(result == 0 || result == -WEAKREF_ENOMEM);
	SUPPORT_REQUIRE(gc_tls_get(key) == (result == 0 ? node : NULL));
	SUPPORT_REQUIRE(gc_tls_set(key, node) == 0 && gc_tls_get(key) == node);
	return 0;
}

/* A thread's first store may find no memory; nothing is stored then. */
START_TEST(test_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	int key = gc_tls_key_create();

	ck_assert_int_eq(support_on_thread(first_store, &key), 0);
	ck_assert_int_eq(gc_tls_key_delete(key), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("tls");
	TCase *tcase = support_tcase("tls");

	tcase_add_test(tcase, test_T18_slots_hold);
	tcase_add_loop_test(tcase, test_slots_let_go, 0, 2);
	tcase_add_test(tcase, test_keys);
	tcase_add_test(tcase, test_without_memory);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_pool_lease: weakref/pool.h: scoped use, leases that are dropped, and resources of the collected heap that are lost; and calls
 * that name no pool, no lease and no resource, or come from an unknown thread.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "pool_resources.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gc/gc.h>

#include "rawthread.h"

/* ---- the lines of the seed ----------------------------------------------------------------------------------------------- */

static int note_resource(void *resource, void *user)
{
	*(void **)user = resource;
	return 7;
}

/* P06: scoped use, 100 times in a row, gives the first one each time. */
START_TEST(test_p06_scoped_use_is_lifo)
{
	struct res *list[] = {res_new(), res_new(), res_new()};
	weakref_pool *pool = POOL(.init = (void *[]){list[0], list[1], list[2]}, .ninit = 3);

	for (int i = 0; i < 100; i++) {
		void *got = NULL;
		if (i % 2 == 0) {
			ck_assert_int_eq(WEAKREF_POOL_WITH(pool, note_resource, &got), 7);
		} else {
			WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);
			got = weakref_pool_lease_get(lease);
		}
		ck_assert_ptr_eq(got, list[0]);
		ck_assert_int_eq(LEN(pool), 3);
	}
}
END_TEST

/* P10: three scoped uses in a row need one alloc. */
START_TEST(test_p10_reuse)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);

	for (int i = 0; i < 3; i++) {
		void *got = NULL;
		ck_assert_int_eq(WEAKREF_POOL_WITH(pool, note_resource, &got), 7);
	}
	ck_assert_uint_eq(made, 1);
	ck_assert_uint_eq(stats_of(pool).reuses, 2);
}
END_TEST

static int failing_body(weakref_pool *pool, int how)
{
	WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);

	if (lease == NULL)
		return -errno;
	if (how == 0)
		return -EIO;
	if (how == 1)
		goto out;
	for (;;)
		break;
out:
	return 0;
}

static void *leave_thread(void *pool)
{
	WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);

	wrong += lease == NULL;
	if (lease != NULL)
		pthread_exit(NULL);
	return NULL;
}

static int cancelled_body(void *resource, void *user)
{
	(void)resource;
	*(_Atomic bool *)user = true;
	while (user != NULL)
		pause();
	return 0;
}

static _Atomic bool in_body;

static void *cancelled_thread(void *pool)
{
	WEAKREF_POOL_WITH(pool, cancelled_body, &in_body);
	return NULL;
}

/* P11: the scope gives back when its body fails, jumps out, ends the thread, or is cancelled. */
START_TEST(test_p11_scope_returns_always)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);
	pthread_t thread;

	ck_assert_int_eq(failing_body(pool, 0), -EIO);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_int_eq(failing_body(pool, 1), 0);
	ck_assert_int_eq(failing_body(pool, 2), 0);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, leave_thread, pool), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(LEN(pool), 1);
	in_body = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_thread, pool), 0);
	while (!in_body)
		usleep(100);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert_uint_eq(made, 1);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* ---- bad input ----------------------------------------------------------------------------------------------------------- */

/* What is no pool, no lease, no resource, no time. */
START_TEST(test_bad_arguments)
{
	_Alignas(16) static char stranger[256];
	weakref_pool *pool = POOL(0), *none = (weakref_pool *)(void *)stranger;
	weakref_pool_stats stats;
	void *out;

	for (int i = 0; i < 2; i++, none = NULL) {
		ck_assert_int_eq(weakref_pool_pop(none, &out), -EINVAL);
		ck_assert_int_eq(weakref_pool_pop_wait(none, 1, &out), -EINVAL);
		ck_assert_int_eq(weakref_pool_push(none, stranger), -EINVAL);
		ck_assert_int_eq(weakref_pool_invalidate(none, stranger), -EINVAL);
		ck_assert_int_eq(weakref_pool_maintain(none), -EINVAL);
		ck_assert_int_eq(weakref_pool_close(none), -EINVAL);
		ck_assert_int_eq(weakref_pool_get_stats(none, &stats), -EINVAL);
		ck_assert_uint_eq(weakref_pool_len(none), 0);
		ck_assert_ptr_null(WEAKREF_POOL_LEASE(none));
		ck_assert_int_eq(weakref_pool_lease_return((weakref_pool_lease *)(void *)none), -EINVAL);
		ck_assert_ptr_null(weakref_pool_lease_get((weakref_pool_lease *)(void *)none));
	}
	ck_assert_int_eq(weakref_pool_pop(pool, NULL), -EINVAL);
	ck_assert_int_eq(weakref_pool_pop_wait(pool, NAN, &out), -EINVAL);
	ck_assert_ptr_null(WEAKREF_POOL_LEASE_WAIT(pool, NAN));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(weakref_pool_push(pool, NULL), -EINVAL);
	ck_assert_int_eq(weakref_pool_invalidate(pool, NULL), -EINVAL);
	ck_assert_int_eq(weakref_pool_get_stats(pool, NULL), -EINVAL);
	ck_assert_int_eq(WEAKREF_POOL_WITH(pool, NULL, NULL), -EINVAL);
}
END_TEST

static int on_stranger(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	weakref_pool_stats stats;
	void *out = &out;

	errno = 0;
	wrong += weakref_pool_new(NULL) != NULL || errno != EPERM;
	wrong += weakref_pool_pop(pool, &out) != -EPERM || out != NULL;
	wrong += weakref_pool_pop_wait(pool, 1, &out) != -EPERM;
	wrong += weakref_pool_push(pool, &all[0]) != -EPERM;
	wrong += weakref_pool_invalidate(pool, &all[0]) != -EPERM;
	wrong += weakref_pool_maintain(pool) != -EPERM;
	wrong += weakref_pool_close(pool) != -EPERM;
	wrong += weakref_pool_get_stats(pool, &stats) != -EPERM;
	wrong += WEAKREF_POOL_LEASE(pool) != NULL || errno != EPERM;
	return 0;
}

/* A thread that the collector does not know is refused, and changes nothing. */
START_TEST(test_unknown_thread)
{
	weakref_pool *pool = POOL(.init = (void *[]){res_new(), res_new()}, .ninit = 2);

	ck_assert_int_eq(rawthread_run(on_stranger, &pool), 0);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_int_eq(LEN(pool), 2);
}
END_TEST

/* ---- leases and death ---------------------------------------------------------------------------------------------------- */

/* A lease ends once, however it ends. */
START_TEST(test_lease_ends_once)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc);
	weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
	void *r = weakref_pool_lease_get(lease);

	ck_assert_ptr_nonnull(r);
	ck_assert_int_eq(gc_truth(lease), 1);
	ck_assert_int_eq(weakref_pool_lease_return(lease), 0);
	ck_assert_ptr_null(weakref_pool_lease_get(lease));
	ck_assert_int_eq(gc_truth(lease), 0);
	ck_assert_int_eq(weakref_pool_lease_return(lease), -ESTALE);
	ck_assert_int_eq(weakref_pool_lease_invalidate(lease), -ESTALE);
	/* Its resource, pushed by hand and leased to somebody else, is not taken from there. */
	lease = WEAKREF_POOL_LEASE(pool);
	ck_assert_int_eq(weakref_pool_push(pool, weakref_pool_lease_get(lease)), 0);
	ck_assert_ptr_eq(pop(pool), r);
	ck_assert_int_eq(weakref_pool_lease_return(lease), -ESTALE);
	ck_assert_int_eq(weakref_pool_push(pool, r), 0);
	lease = WEAKREF_POOL_LEASE(pool);
	ck_assert_int_eq(weakref_pool_lease_invalidate(lease), 0);
	ck_assert_uint_eq(gone, 1);
	ck_assert_uint_eq(stats_of(pool).leased, 0);
}
END_TEST

static int heap_alloc_node(void **out, void *user)
{
	(void)user;
	*out = support_node_new(77);
	return *out != NULL ? 0 : -ENOMEM;
}

static int detach_and_drop(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *node;
		weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
		SUPPORT_REQUIRE(weakref_pool_lease_detach(lease, &node) == 0 && support_node_intact(node));
	}
	return 0;
}

/* R208: a lease that is detached is over, and the resource its holder's: it is neither recovered, nor kept alive, nor lost. */
START_TEST(test_detached_lease)
{
	weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .hardmax = 1);
	weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
	void *r = weakref_pool_lease_get(lease), *out = NULL;

	ck_assert_int_eq(weakref_pool_lease_detach(lease, &out), 0);
	ck_assert_ptr_eq(out, r);
	ck_assert_ptr_null(weakref_pool_lease_get(lease));
	ck_assert_int_eq(weakref_pool_lease_detach(lease, &out), -ESTALE);
	ck_assert_ptr_null(out);
	ck_assert_int_eq(weakref_pool_lease_return(lease), -ESTALE);
	ck_assert_int_eq(weakref_pool_lease_detach(NULL, NULL), -EINVAL);
	lease = WEAKREF_POOL_LEASE(pool);
	ck_assert_ptr_nonnull(lease);
	ck_assert_int_eq(weakref_pool_detach(pool, weakref_pool_lease_get(lease)), 0);
	ck_assert_int_eq(weakref_pool_lease_return(lease), -ESTALE);
	ck_assert_uint_eq(stats_of(pool).detached, 2);
	weakref_pool_close(pool);
	ck_assert_uint_eq(gone, 0);
	pool = POOL(.alloc = heap_alloc_node, .hardmax = 1);
	ck_assert_int_eq(support_on_thread(detach_and_drop, &pool), 0);
	support_collect();
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.detached, SUPPORT_N);
	ck_assert_uint_eq(s.recovered + s.lost + s.leased + s.idle, 0);
}
END_TEST

static _Atomic unsigned reports;
static const char *reported_file;
static _Atomic int reported_line;
static int lease_line;

static int note_recovery(void *resource, const char *file, int line, void *user)
{
	wrong += resource == NULL;
	reported_file = file;
	reported_line = line;
	reports++;
	return user != NULL;
}

static int drop_leases(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		lease_line = __LINE__ + 1;
		weakref_pool_lease *lease = WEAKREF_POOL_LEASE(pool);
		SUPPORT_REQUIRE(weakref_pool_lease_get(lease) != NULL);
	}
	return 0;
}

static bool recovered_all_but_few(weakref_pool *pool)
{
	for (int i = 0; i < 5 && stats_of(pool).recovered < SUPPORT_N; i++)
		support_collect();
	return stats_of(pool).recovered >= SUPPORT_N - SUPPORT_SLACK;
}

/* Leases that were dropped: the resources come back, counted and reported, whatever they are; or are destroyed, if the report says so. */
START_TEST(test_dropped_leases_are_recovered)
{
	weakref_pool *pool =
		POOL(.alloc = res_alloc, .dealloc = res_dealloc, .recovered = note_recovery, .recovered_user = _i ? all : NULL);

	reports = 0;
	ck_assert_int_eq(support_on_thread(drop_leases, &pool), 0);
	ck_assert(recovered_all_but_few(pool));
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.recovered, reports);
	ck_assert_uint_eq(s.leased, SUPPORT_N - reports);
	ck_assert_uint_eq(s.idle + s.leased + gone, s.allocs);
	ck_assert_uint_eq(gone, _i ? reports : 0);
	ck_assert_int_eq(reported_line, lease_line);
	ck_assert_int_eq(s.recovered_line, lease_line);
	ck_assert_str_eq(s.recovered_file, __FILE__);
	ck_assert_ptr_eq(s.recovered_file, reported_file);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* The same where the resources are blocks of the collected heap themselves: intact when they come back. */
START_TEST(test_heap_resources_are_recovered)
{
	weakref_pool *pool = POOL(.alloc = heap_alloc_node);
	void *r;

	ck_assert_int_eq(support_on_thread(drop_leases, &pool), 0);
	ck_assert(recovered_all_but_few(pool));
	ck_assert_uint_eq(stats_of(pool).lost, 0);
	for (size_t n = weakref_pool_len(pool); n > 0; n--) {
		ck_assert_int_eq(weakref_pool_pop(pool, &r), 0);
		ck_assert(support_node_intact(r));
	}
}
END_TEST

static int drop_popped(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	void *r;

	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_pool_pop(pool, &r) == 0);
	return 0;
}

/* Blocks of the heap that were popped plainly and dropped: lost, counted, and there is room again, for a waiter too. */
START_TEST(test_popped_blocks_are_lost)
{
	weakref_pool *pool = POOL(.alloc = heap_alloc_node, .hardmax = SUPPORT_N);
	struct popper p = {0};

	ck_assert_int_eq(support_on_thread(drop_popped, &pool), 0);
	weakref_pool_stats s = stats_of(pool);
	ck_assert_uint_eq(s.leased + s.lost, SUPPORT_N);
	ck_assert_int_eq(pthread_create(&p.thread, NULL, popper_run, (p.pool = pool, &p)), 0);
	ck_assert(until_waiting(pool, 1) || stats_of(pool).lost > 0);
	for (int i = 0; i < 5 && stats_of(pool).lost < SUPPORT_N; i++)
		support_collect();
	pthread_join(p.thread, NULL);
	ck_assert_int_eq(p.result, 0);
	ck_assert(support_node_intact(p.got));
	ck_assert_uint_ge(stats_of(pool).lost, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(stats_of(pool).leased, SUPPORT_N + 1 - stats_of(pool).lost);
	/* Idle blocks are the pool's: they stay. */
	ck_assert_int_eq(weakref_pool_push(pool, p.got), 0);
	SUPPORT_CLEAR(p.got);
	support_collect();
	ck_assert_int_eq(LEN(pool), 1);
	ck_assert(support_node_intact((void *)pop(pool)));
}
END_TEST

static int drop_pools_with_leases(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		weakref_pool *pool = POOL(.alloc = res_alloc, .dealloc = res_dealloc, .minsize = 2);
		SUPPORT_REQUIRE(pool != NULL && WEAKREF_POOL_LEASE(pool) != NULL);
	}
	return 0;
}

/* Pool and lease die together: every resource is deallocated once, the leased one too, since its lease came back. */
START_TEST(test_pool_and_lease_die_together)
{
	ck_assert_int_eq(support_on_thread(drop_pools_with_leases, NULL), 0);
	for (int i = 0; i < 3; i++)
		support_collect();
	ck_assert_uint_ge(gone, 2 * (SUPPORT_N - SUPPORT_SLACK));
	ck_assert_uint_le(gone, 2 * SUPPORT_N);
	for (size_t i = 0; i < made; i++)
		ck_assert_int_le(all[i].deallocs, 1);
}
END_TEST

static jmp_buf out_of_body;

static int jumping_body(void *resource, void *user)
{
	(void)resource;
	(void)user;
	longjmp(out_of_body, 1);
}

static int jump_out(void *arg)
{
	weakref_pool *pool = *(weakref_pool **)arg;
	volatile size_t i;

	lease_line = __LINE__ + 3;
	for (i = 0; i < SUPPORT_N; i++)
		if (setjmp(out_of_body) == 0)
			WEAKREF_POOL_WITH_WAIT(pool, 1, jumping_body, NULL);
	return 0;
}

/* A body that leaves by longjmp: the collector brings its resource back, and tells where it was leased. */
START_TEST(test_longjmp_out_of_scope)
{
	weakref_pool *pool = POOL(.alloc = res_alloc);

	ck_assert_int_eq(support_on_thread(jump_out, &pool), 0);
	ck_assert(recovered_all_but_few(pool));
	ck_assert_int_eq(stats_of(pool).recovered_line, lease_line);
	ck_assert_str_eq(stats_of(pool).recovered_file, __FILE__);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pool_lease");
	TCase *t = pool_tcase(s, "pool_lease");

	tcase_add_test(t, test_p06_scoped_use_is_lifo);
	tcase_add_test(t, test_p10_reuse);
	tcase_add_test(t, test_p11_scope_returns_always);
	tcase_add_test(t, test_bad_arguments);
	tcase_add_test(t, test_unknown_thread);
	tcase_add_test(t, test_lease_ends_once);
	tcase_add_test(t, test_detached_lease);
	tcase_add_loop_test(t, test_dropped_leases_are_recovered, 0, 2);
	tcase_add_test(t, test_heap_resources_are_recovered);
	tcase_add_test(t, test_popped_blocks_are_lost);
	tcase_add_test(t, test_pool_and_lease_die_together);
	tcase_add_test(t, test_longjmp_out_of_scope);
	return s;
}

int main(void)
{
	return pool_main(suite);
}

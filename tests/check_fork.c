/* SPDX-License-Identifier: MIT */
/*
 * check_fork: what a child finds after fork, whatever the parent's threads were doing: a library that works, nobody's locks
 * held, a delivery thread of its own once it is needed, a descriptor of its own. Children report by exit status and never
 * assert.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/proxy.h"
#include "weakref/valuedict.h"

static _Atomic unsigned ran;
static pthread_t ran_in;

static int callback(weakref_ref *ref, void *data)
{
	(void)data;
	ran_in = pthread_self();
	ran += weakref_ref_get(ref) == NULL;
	return 0;
}

static int make_watched(void *arg)
{
	weakref_ref **refs = arg;
	/* All of them live until all are watched. */
	struct support_node **nodes = GC_MALLOC(SUPPORT_N * sizeof(*nodes));

	for (size_t i = 0; i < SUPPORT_N; i++) {
		nodes[i] = support_node_new(i);
		SUPPORT_REQUIRE(nodes[i] != NULL);
		refs[i] = weakref_ref_new(nodes[i], callback, NULL);
		SUPPORT_REQUIRE(refs[i] != NULL);
	}
	SUPPORT_KEEP(nodes);
	return 0;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

/* How many threads this process has. */
static int tasks(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = 0;

	if (dir == NULL)
		return -1;
	for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* Everything that a program does: allocate, make references and a dictionary, drop, collect, drain, also on a thread of its
 * own. */
static int use_everything(void *arg)
{
	struct support_node *held = support_node_new(7);
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs)), *ref = weakref_ref_new(held, NULL, NULL);
	weakref_valuedict *dict = weakref_valuedict_new(WEAKREF_KEY_STRING);
	unsigned before = ran;

	(void)arg;
	SUPPORT_REQUIRE(held != NULL && ref != NULL && dict != NULL);
	SUPPORT_REQUIRE(weakref_valuedict_set(dict, "held", held) == 0);
	SUPPORT_REQUIRE(support_on_thread(make_watched, refs) == 0);
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(gc_run_callbacks() >= 0);
	/* All that died was delivered. Some may be held: the delivery thread's stack can be the one that they were made on. */
	SUPPORT_REQUIRE(ran - before >= support_dead(refs, SUPPORT_N));
	SUPPORT_REQUIRE(support_dead(refs, SUPPORT_N) >= SUPPORT_N / 2);
	SUPPORT_REQUIRE(weakref_ref_get(ref) == held && support_node_intact(held));
	SUPPORT_REQUIRE(weakref_valuedict_get(dict, "held") == held);
	SUPPORT_REQUIRE(weakref_valuedict_len(dict) == 1);
	weakref_checks_validate();
	SUPPORT_KEEP(held);
	SUPPORT_KEEP(refs);
	return 0;
}

/* ---- busy parents -------------------------------------------------------------------------------------------------------- */

#define BUSY 4

static _Atomic bool busy_stop;
static weakref_valuedict *shared_dict;
static void *shared_object;

/* Each of the threads keeps to one of the things that take locks. */
static int busy(void *arg)
{
	unsigned what = *(unsigned *)arg;
	weakref_ref *refs[8] = {NULL};
	weakref_ref *last = NULL;

	for (unsigned i = 0; !busy_stop; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		switch (what) {
		case 0:
			SUPPORT_REQUIRE(gc_collect() >= 0);
			break;
		case 1:
			last = weakref_ref_new(shared_object, callback, NULL);
			SUPPORT_REQUIRE(last != NULL);
			SUPPORT_REQUIRE(weakref_ref_clear(last) == 0);
			SUPPORT_REQUIRE(weakref_ref_new(shared_object, NULL, NULL) != NULL);
			break;
		case 2:
			SUPPORT_REQUIRE(weakref_valuedict_set(shared_dict, WEAKREF_INT(i % 1000), node) == 0);
			SUPPORT_REQUIRE(gc_run_callbacks() >= 0);
			break;
		default:
			SUPPORT_REQUIRE(gc_set_unraisable_handler(NULL, NULL) == 0);
			SUPPORT_REQUIRE(gc_set_heap_limit(0) == 0);
			weakref_getweakrefs(shared_object, refs, 8);
			break;
		}
		SUPPORT_KEEP(node);
	}
	return 0;
}

static int fork_often(void *arg)
{
	int result = 0;

	(void)arg;
	for (size_t i = 0; i < support_scaled(25, 5) && result == 0; i++)
		result = support_in_child(use_everything, NULL);
	busy_stop = true;
	return result;
}

struct role {
	int (*fn)(void *);
	unsigned what;
};

static int play(void *arg)
{
	struct role *role = arg;

	return role->fn(&role->what);
}

/* T19: forked while other threads collect, make references, write a dictionary and change settings, a child can do
 * everything; under each rule of delivery. The parent goes on. */
START_TEST(test_T19_fork_with_busy_threads)
{
	struct role roles[BUSY + 1] = {{fork_often, 0}};

	for (unsigned i = 0; i < BUSY; i++)
		roles[i + 1] = (struct role){busy, i};
	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	shared_dict = weakref_valuedict_new(WEAKREF_KEY_INT);
	shared_object = support_node_new(1);
	busy_stop = false;
	ck_assert_int_eq(support_threads(BUSY + 1, play, roles, sizeof(roles[0])), 0);
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_AT_ALLOCATION), 0);
	ck_assert_int_eq(use_everything(NULL), 0);
}
END_TEST

/* ---- delivery after fork ------------------------------------------------------------------------------------------------- */

static int child_with_thread(void *arg)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));

	(void)arg;
	SUPPORT_REQUIRE(gc_get_delivery() == WEAKREF_DELIVER_THREAD);
	SUPPORT_REQUIRE(tasks() == 1);
	ran = 0;
	SUPPORT_REQUIRE(support_in_frame(make_watched, refs) == 0);
	SUPPORT_REQUIRE(weakref_ref_get(refs[0]) != NULL);
	support_collect();
	SUPPORT_REQUIRE(ran >= SUPPORT_N - 2 * SUPPORT_SLACK);
	SUPPORT_REQUIRE(!pthread_equal(ran_in, pthread_self()));
	/* libgc starts its marker threads as well, with the first thread that is made. */
	SUPPORT_REQUIRE(tasks() >= 2);
	SUPPORT_KEEP(refs);
	return use_everything(NULL);
}

/* T21: in the child there is no delivery thread until callbacks need one; then there is, and it runs them. */
START_TEST(test_T21_delivery_thread_restarts)
{
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_THREAD), 0);
	ck_assert_int_eq(use_everything(NULL), 0);
	ck_assert_int_eq(support_in_child(child_with_thread, NULL), 0);
	ck_assert_int_eq(use_everything(NULL), 0);
}
END_TEST

static int child_of_child(void *arg)
{
	if (support_in_child(child_with_thread, arg) != 0)
		return 1;
	return use_everything(arg);
}

/* A child's child likewise. */
START_TEST(test_grandchild)
{
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_THREAD), 0);
	ck_assert_int_eq(support_in_child(child_of_child, NULL), 0);
}
END_TEST

static int child_pumps(void *arg)
{
	int fd = gc_callbacks_fd();

	(void)arg;
	SUPPORT_REQUIRE(fd >= 0);
	SUPPORT_REQUIRE(gc_callbacks_pending());
	SUPPORT_REQUIRE(readable(fd));
	ran = 0;
	SUPPORT_REQUIRE(gc_run_callbacks() >= (long)(SUPPORT_N - SUPPORT_SLACK));
	SUPPORT_REQUIRE(ran >= SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_REQUIRE(!gc_callbacks_pending());
	SUPPORT_REQUIRE(!readable(fd));
	return 0;
}

/* What was queued at the fork is delivered in each process for itself; the descriptors do not disturb each other. */
START_TEST(test_descriptor_is_the_childs_own)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));
	int fd;

	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	fd = gc_callbacks_fd();
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(support_on_thread(make_watched, refs), 0);
	support_collect();
	ck_assert(readable(fd));
	ck_assert_int_eq(support_in_child(child_pumps, NULL), 0);
	ck_assert(gc_callbacks_pending());
	ck_assert(readable(fd));
	ran = 0;
	ck_assert_int_ge(gc_run_callbacks(), (long)(SUPPORT_N - SUPPORT_SLACK));
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
	ck_assert(!readable(fd));
	SUPPORT_KEEP(refs);
}
END_TEST

static int child_makes_pending(void *arg)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));

	(void)arg;
	SUPPORT_REQUIRE(support_on_thread(make_watched, refs) == 0);
	support_collect();
	SUPPORT_REQUIRE(gc_callbacks_pending());
	SUPPORT_REQUIRE(readable(gc_callbacks_fd()));
	SUPPORT_KEEP(refs);
	return 0;
}

/* What becomes ready in the child is not seen by the parent. */
START_TEST(test_childs_callbacks_stay_with_it)
{
	int fd;

	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	fd = gc_callbacks_fd();
	gc_run_callbacks();
	ck_assert(!readable(fd));
	ck_assert_int_eq(support_in_child(child_makes_pending, NULL), 0);
	ck_assert(!readable(fd));
	ck_assert(!gc_callbacks_pending());
}
END_TEST

/* ---- what the child inherits --------------------------------------------------------------------------------------------- */

struct inherited {
	struct support_node *node;
	weakref_ref *ref;
	weakref_ref **dead;
	weakref_valuedict *dict;
};

static int child_inherits(void *arg)
{
	struct inherited *i = arg;

	SUPPORT_REQUIRE(weakref_ref_get(i->ref) == i->node);
	SUPPORT_REQUIRE(weakref_valuedict_get(i->dict, WEAKREF_INT(1)) == i->node);
	ran = 0;
	SUPPORT_REQUIRE(support_collect() >= (long)(SUPPORT_N - SUPPORT_SLACK));
	SUPPORT_REQUIRE(ran >= SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_REQUIRE(support_dead(i->dead, SUPPORT_N) >= SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_REQUIRE(weakref_ref_get(i->ref) == i->node);
	SUPPORT_REQUIRE(weakref_ref_clear(i->ref) == 0);
	SUPPORT_REQUIRE(gc_thread_is_registered());
	SUPPORT_REQUIRE(gc_thread_register() == 0);
	return 0;
}

/* References, dictionaries and garbage go over to the child; what the child clears stays as it was in the parent. */
START_TEST(test_child_inherits)
{
	struct inherited i = {.node = support_node_new(1), .dead = GC_MALLOC(SUPPORT_N * sizeof(weakref_ref *))};

	i.ref = weakref_ref_new(i.node, NULL, NULL);
	i.dict = weakref_valuedict_new(WEAKREF_KEY_INT);
	ck_assert_int_eq(weakref_valuedict_set(i.dict, WEAKREF_INT(1), i.node), 0);
	support_collect();
	ck_assert_int_eq(support_on_thread(make_watched, i.dead), 0);
	ck_assert_int_eq(support_in_child(child_inherits, &i), 0);
	ck_assert_ptr_eq(weakref_ref_get(i.ref), i.node);
	ran = 0;
	support_collect();
	ck_assert_uint_ge(ran, SUPPORT_N - SUPPORT_SLACK);
}
END_TEST

static int fork_here(void *arg)
{
	return support_in_child(use_everything, arg);
}

/* A thread that is not the main one forks: it is the child's only thread, and known to the collector there. */
START_TEST(test_fork_from_a_thread)
{
	ck_assert_int_eq(support_on_thread(fork_here, NULL), 0);
	ck_assert_int_eq(use_everything(NULL), 0);
}
END_TEST

static _Atomic int forked_in_callback;

static int child_survives(void *arg)
{
	(void)arg;
	SUPPORT_REQUIRE(support_node_new(1) != NULL);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	return 0;
}

static int callback_forks(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	if (forked_in_callback == -1)
		forked_in_callback = support_in_child(child_survives, NULL);
	return 0;
}

static int make_forking(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		refs[i] = weakref_ref_new(node, callback_forks, NULL);
		SUPPORT_REQUIRE(refs[i] != NULL);
	}
	return 0;
}

/* A callback forks: no lock of the library is held in it, and the child allocates and collects. (The child is inside the run
 * that the callback belongs to, so that nothing further is delivered there until the callback returns.) */
START_TEST(test_fork_from_a_callback)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));

	ck_assert_int_eq(gc_set_delivery((enum weakref_delivery)_i), 0);
	forked_in_callback = -1;
	ck_assert_int_eq(support_on_thread(make_forking, refs), 0);
	support_collect();
	gc_run_callbacks();
	ck_assert_int_eq(forked_in_callback, 0);
	SUPPORT_KEEP(refs);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("fork");
	TCase *t = support_tcase("fork");

	tcase_add_test(t, test_child_inherits);
	tcase_add_test(t, test_fork_from_a_thread);
	tcase_add_loop_test(t, test_fork_from_a_callback, 0, 3);
	tcase_add_test(t, test_T21_delivery_thread_restarts);
	tcase_add_test(t, test_grandchild);
	tcase_add_test(t, test_descriptor_is_the_childs_own);
	tcase_add_test(t, test_childs_callbacks_stay_with_it);
	tcase_add_loop_test(t, test_T19_fork_with_busy_threads, 0, 3);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

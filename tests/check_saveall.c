/* SPDX-License-Identifier: MIT */
/*
 * check_saveall: WEAKREF_DEBUG_SAVEALL and the garbage list; what is uncollectable: the flag, the figures, finalizers that keep their
 * own object.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/ephemeron.h"
#include "weakref/finalize.h"
#include "weakref/valuedict.h"

#define MANY ((size_t)1000)

static _Atomic unsigned destroyed, told, finalized, ordered, broken;

static void counters_clear(void)
{
	destroyed = told = finalized = ordered = broken = 0;
}

static int node_destroy(void *obj)
{
	broken += !support_node_intact(obj);
	destroyed++;
	return 0;
}

static const gc_type dying_type = {.name = "dying", .size = sizeof(struct support_node), .destroy = node_destroy};

static int tell(weakref_ref *ref, void *data)
{
	(void)data;
	broken += weakref_ref_get(ref) != NULL;
	told++;
	return 0;
}

static int finalize(void *args)
{
	(void)args;
	finalized++;
	return 0;
}

static int finalize_ordered(void *args)
{
	(void)args;
	ordered++;
	return 0;
}

static weakref_ref *distinct(void *obj)
{
	return weakref_ref_new_with(obj, &(weakref_ref_options){.distinct = true});
}

enum sort { PLAIN, CYCLES, FOREIGN, DYING, SORTS };

struct job {
	enum sort sort;
	size_t n;
	weakref_ref **refs;
	size_t intact; /* of what is on the list */
};

static struct support_node *node_of(enum sort sort, uint64_t id)
{
	struct support_node *node = sort == FOREIGN ? GC_MALLOC(sizeof *node) : sort == DYING ? gc_new(&dying_type) : NULL;
	struct support_node *like = support_node_new(id);

	if (sort != FOREIGN && sort != DYING)
		return like;
	if (node != NULL && like != NULL)
		*node = *like;
	return like != NULL ? node : NULL;
}

/* Each leads to a node that nobody watches; the id tells them apart from what other tests left. */
static int make(void *arg)
{
	struct job *job = arg;
	struct support_node *before = NULL;

	for (size_t i = 0; i < job->n; i++) {
		struct support_node *node = node_of(job->sort, 1000000 + i);
		SUPPORT_REQUIRE(node != NULL);
		node->next = support_node_new(i);
		SUPPORT_REQUIRE(node->next != NULL);
		if (job->sort == CYCLES && i % 2 == 1) {
			node->other = before;
			before->other = node;
		}
		job->refs[i] = weakref_ref_new(node, tell, NULL);
		SUPPORT_REQUIRE(job->refs[i] != NULL && weakref_finalize_new(node, finalize, NULL) != NULL);
		before = node;
	}
	return 0;
}

static struct job *drop(enum sort sort, size_t n)
{
	struct job *job = gc_alloc(sizeof *job);

	ck_assert_ptr_nonnull(job);
	*job = (struct job){.sort = sort, .n = n, .refs = gc_alloc(n * sizeof *job->refs)};
	ck_assert_ptr_nonnull(job->refs);
	ck_assert_int_eq(support_on_thread(make, job), 0);
	support_scrub();
	return job;
}

/* Looks at all that is saved, and makes new references to it. */
static int look(void *arg)
{
	struct job *job = arg;
	size_t n = 0;
	void **all = gc_garbage_list(&n);

	SUPPORT_REQUIRE(all != NULL);
	memset(job->refs, 0, job->n * sizeof *job->refs);
	job->intact = 0;
	for (size_t i = 0; i < n; i++) {
		struct support_node *node = all[i];
		if (GC_size(GC_base(node)) < sizeof *node || !support_node_intact(node) || node->id < 1000000)
			continue;
		SUPPORT_REQUIRE(job->intact < job->n);
		SUPPORT_REQUIRE(support_node_intact(node->next) && node->next->id == node->id - 1000000);
		SUPPORT_REQUIRE(job->sort != CYCLES || node->other == NULL || support_node_intact(node->other));
		job->refs[job->intact] = distinct(node);
		SUPPORT_REQUIRE(job->refs[job->intact] != NULL);
		job->intact++;
	}
	return 0;
}

/* On: what earlier tests left is dead before. */
static void saveall(bool on)
{
	if (on)
		support_collect();
	ck_assert_int_eq(gc_set_debug(on ? WEAKREF_DEBUG_SAVEALL : 0), 0);
}

/* G18: with SAVEALL a thousand dead objects, single ones, cycles, foreign blocks and such with a destructor, die for all who watch them, and
 * are on the list, whole, with what they lead to, for as long as they are there; taken off they are freed. */
START_TEST(test_G18_saved_and_taken_off)
{
	counters_clear();
	saveall(true);
	struct job *job = drop((enum sort)_i, MANY);
	support_collect();
	ck_assert_uint_ge(support_dead(job->refs, MANY), MANY - SUPPORT_SLACK);
	ck_assert_uint_ge(told, MANY - SUPPORT_SLACK);
	ck_assert_uint_ge(finalized, MANY - SUPPORT_SLACK);
	ck_assert_uint_ge(gc_garbage_len(), MANY - SUPPORT_SLACK);
	saveall(false);
	support_collect();
	ck_assert_uint_eq(destroyed, 0);
	ck_assert_int_eq(support_on_thread(look, job), 0);
	ck_assert_uint_ge(job->intact, MANY - SUPPORT_SLACK);
	support_collect();
	ck_assert_uint_eq(support_dead(job->refs, job->intact), 0);
	ck_assert_uint_eq(destroyed, 0);
	ck_assert_int_eq(gc_garbage_clear(), 0);
	ck_assert_uint_eq(gc_garbage_len(), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(job->refs, job->intact), job->intact - SUPPORT_SLACK);
	if (_i == DYING)
		ck_assert_uint_ge(destroyed, MANY - SUPPORT_SLACK);
	ck_assert_uint_eq(broken, 0);
	SUPPORT_KEEP(job);
}
END_TEST

/* G18: what collections that libgc begins find dead is saved as well. */
START_TEST(test_G18_automatic_collections)
{
	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	counters_clear();
	saveall(true);
	struct job *job = drop(PLAIN, MANY);
	gc_cycle_stats before, after;
	gc_get_cycle_stats(&before);
	for (int i = 0; i < 8 && gc_garbage_len() < MANY - SUPPORT_SLACK; i++)
		ck_assert(support_churn(3, (size_t)512 << 20));
	gc_get_cycle_stats(&after);
	ck_assert_uint_gt(after.collections, before.collections);
	ck_assert_uint_ge(gc_garbage_len(), MANY - SUPPORT_SLACK);
	ck_assert_int_eq(support_on_thread(look, job), 0);
	ck_assert_uint_ge(job->intact, MANY - SUPPORT_SLACK);
	SUPPORT_KEEP(job);
}
END_TEST

/* Takes off those with an even id. */
static int take_off_half(void *arg)
{
	size_t n = 0, *taken = arg;
	void **all = gc_garbage_list(&n);

	SUPPORT_REQUIRE(all != NULL);
	for (size_t i = 0; i < n; i++)
		if (((struct support_node *)all[i])->id % 2 == 0) {
			SUPPORT_REQUIRE(gc_garbage_remove(all[i]) == 0);
			SUPPORT_REQUIRE(gc_garbage_remove(all[i]) == -WEAKREF_ENOENT);
			++*taken;
		}
	SUPPORT_REQUIRE(gc_garbage_len() == n - *taken);
	return 0;
}

/* G18: one by one; what has a destructor is watched yet, and is saved again while the flag is set, not destroyed. */
START_TEST(test_G18_taken_off_and_saved_again)
{
	size_t taken = 0;

	counters_clear();
	saveall(true);
	struct job *job = drop(DYING, SUPPORT_N);
	support_collect();
	size_t saved = gc_garbage_len();
	ck_assert_uint_ge(saved, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_int_eq(support_on_thread(take_off_half, &taken), 0);
	ck_assert_uint_ge(taken, SUPPORT_N / 2 - SUPPORT_SLACK);
	support_collect();
	ck_assert_uint_ge(gc_garbage_len() + SUPPORT_SLACK, saved);
	ck_assert_uint_eq(destroyed, 0);
	ck_assert_int_eq(support_on_thread(look, job), 0);
	saveall(false);
	taken = 0;
	ck_assert_int_eq(support_on_thread(take_off_half, &taken), 0);
	support_collect();
	ck_assert_uint_ge(destroyed + SUPPORT_SLACK, taken);
	ck_assert_uint_le(destroyed, taken + SUPPORT_SLACK);
	ck_assert_uint_eq(broken, 0);
	SUPPORT_KEEP(job);
}
END_TEST

enum { BATCH = 700, BATCHES = 3 };

/* Takes one off, with or without room for what makes that quick. */
static int take_off(void *obj, bool room)
{
	struct rlimit old, none;

	getrlimit(RLIMIT_AS, &old);
	none = (struct rlimit){.rlim_cur = 1, .rlim_max = old.rlim_max};
	if (!room)
		setrlimit(RLIMIT_AS, &none);
	int error = gc_garbage_remove(obj);
	if (!room)
		setrlimit(RLIMIT_AS, &old);
	return error;
}

struct order {
	bool room;
	size_t taken;
	uintptr_t off[BATCH * BATCHES]; /* held, and hidden when all that go are taken off */
};

/* What is on the list is what is expected, in this order. */
static int same_list(void **expected, size_t n)
{
	size_t found = 0;
	void **all = gc_garbage_list(&found);

	SUPPORT_REQUIRE(all != NULL && found == n && gc_garbage_len() == n);
	SUPPORT_REQUIRE(memcmp(all, expected, n * sizeof *all) == 0);
	/* Whoever leads to it is not to lead to what is taken off. */
	memset(all, 0, n * sizeof *all);
	SUPPORT_KEEP(all);
	return 0;
}

static int take_off_at_random(void *arg)
{
	struct order *order = arg;
	uint64_t state = support_seed();
	size_t n = 0;
	void **all = gc_garbage_list(&n);

	SUPPORT_REQUIRE(all != NULL && n <= BATCH * BATCHES);
	/* From the end on, at random, and what is left of the first half in its order. */
	while (n > BATCH) {
		size_t i = order->taken < BATCH ? n - 1 : order->taken < BATCH + 400 ? support_random(&state) % n : 0;
		SUPPORT_REQUIRE(take_off(all[i], order->room) == 0 && take_off(all[i], order->room) == -WEAKREF_ENOENT);
		order->off[order->taken++] = (uintptr_t)all[i];
		memmove(&all[i], &all[i + 1], (--n - i) * sizeof *all);
		if (order->taken % 50 == 0 || n <= BATCH)
			SUPPORT_REQUIRE(same_list(all, n) == 0);
	}
	for (size_t i = 0; i < order->taken; i++)
		order->off[i] = ~order->off[i];
	memset(all, 0, (n + order->taken) * sizeof *all);
	SUPPORT_KEEP(all);
	return 0;
}

static int take_off_again(void *arg)
{
	struct order *order = arg;
	size_t n = gc_garbage_len(), found = 0;

	for (size_t i = 0; i < order->taken; i++)
		found += take_off((void *)~order->off[i], order->room) == 0;
	SUPPORT_REQUIRE(found == n - BATCH && gc_garbage_len() == BATCH);
	SUPPORT_REQUIRE(found + SUPPORT_SLACK >= order->taken);
	return 0;
}

/* G18: whatever the order is in which objects are taken off, the others stay in theirs; what dies anew comes behind them, and is found. */
START_TEST(test_G18_taken_off_in_any_order)
{
	static struct order order;

	order = (struct order){.room = _i == 0};
	counters_clear();
	gc_garbage_clear();
	saveall(true);
	for (int i = 0; i < BATCHES; i++) {
		drop(DYING, BATCH);
		support_collect();
	}
	ck_assert_uint_ge(gc_garbage_len() + SUPPORT_SLACK, BATCH * BATCHES);
	ck_assert_int_eq(support_on_thread(take_off_at_random, &order), 0);
	if (weakref_checks_enabled())
		ck_assert_int_gt(weakref_checks_validate(), 0);
	support_collect();
	ck_assert_int_eq(support_on_thread(take_off_again, &order), 0);
	if (weakref_checks_enabled())
		ck_assert_int_gt(weakref_checks_validate(), 0);
	saveall(false);
}
END_TEST

/* What is not on the list, and wrong arguments. */
START_TEST(test_G18_errors)
{
	errno = 0;
	ck_assert_ptr_null(gc_garbage_list(NULL));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(gc_garbage_remove(NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_garbage_remove(&errno), -WEAKREF_ENOENT);
	ck_assert_int_eq(gc_set_debug(32), -WEAKREF_EINVAL);
}
END_TEST

/* What a saved object leads to: a reference and a dictionary, both of a live and of a dead object. */
struct led {
	struct support_node *live;
	weakref_ref *heads[SUPPORT_N];
	weakref_ref *longs[SUPPORT_N];
	weakref_finalize *finalizers[SUPPORT_N];
	weakref_ephemeron *ephemerons[SUPPORT_N];
	size_t right;
};

static int make_led(void *arg)
{
	struct led *led = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *head = support_node_new(i), *inner = support_node_new(i), *dead = support_node_new(i);
		weakref_valuedict *dict = weakref_valuedict_new(WEAKREF_KEY_POINTER);
		SUPPORT_REQUIRE(head != NULL && inner != NULL && dead != NULL && dict != NULL);
		head->next = inner;
		head->other = dict;
		inner->other = distinct(led->live);
		SUPPORT_REQUIRE(inner->other != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(dict, led->live, led->live) >= 0);
		SUPPORT_REQUIRE(weakref_valuedict_set(dict, (char *)led->live + 1, dead) >= 0);
		led->heads[i] = distinct(head);
		led->longs[i] = weakref_ref_new_with(head, &(weakref_ref_options){.is_long = true});
		led->finalizers[i] = weakref_finalize_new_ordered(head, finalize_ordered, NULL);
		led->ephemerons[i] = weakref_ephemeron_new(head, dead);
		SUPPORT_REQUIRE(led->heads[i] != NULL && led->longs[i] != NULL && led->finalizers[i] != NULL);
		SUPPORT_REQUIRE(led->ephemerons[i] != NULL);
	}
	return 0;
}

static int look_led(void *arg)
{
	struct led *led = arg;

	led->right = 0;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *head = weakref_ref_get(led->longs[i]);
		if (head == NULL || weakref_ref_get(led->heads[i]) != NULL)
			continue;
		SUPPORT_REQUIRE(support_node_intact(head) && support_node_intact(head->next));
		SUPPORT_REQUIRE(weakref_ref_get(head->next->other) == led->live);
		SUPPORT_REQUIRE(weakref_valuedict_get(head->other, led->live) == led->live);
		SUPPORT_REQUIRE(weakref_valuedict_contains(head->other, (char *)led->live + 1) == 0);
		SUPPORT_REQUIRE(weakref_valuedict_len(head->other) == 1);
		SUPPORT_REQUIRE(weakref_ephemeron_key(led->ephemerons[i]) == NULL);
		led->right++;
	}
	return 0;
}

/* G18: what a saved object leads to works as before: references and dictionaries of live objects; long references read it, short ones and
 * ephemerons are dead; its ordered finalizer waits for its next death. */
START_TEST(test_G18_what_it_leads_to)
{
	struct led *led = gc_alloc(sizeof *led);

	counters_clear();
	led->live = support_node_new(7);
	saveall(true);
	ck_assert_int_eq(support_on_thread(make_led, led), 0);
	support_collect();
	saveall(false);
	support_collect();
	ck_assert_int_eq(support_on_thread(look_led, led), 0);
	ck_assert_uint_ge(led->right, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_le(ordered, SUPPORT_SLACK);
	ck_assert_uint_ge(weakref_getweakrefcount(led->live), SUPPORT_N);
	gc_garbage_clear();
	for (int i = 0; i < 3; i++)
		weakref_finalize_run_ordered();
	support_collect();
	ck_assert_uint_ge(ordered, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(led->longs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_int_eq(support_on_thread(look_led, led), 0);
	ck_assert_uint_le(led->right, SUPPORT_SLACK);
	SUPPORT_KEEP(led);
}
END_TEST

static unsigned late_destroyed;

static int late_destroy(void *obj)
{
	broken += !support_node_intact(obj);
	late_destroyed++;
	return 0;
}

static const gc_type late_type = {.name = "late", .size = sizeof(struct support_node), .destroy = late_destroy};

struct late {
	struct support_node *nodes[SUPPORT_N];
	weakref_ref *longs[SUPPORT_N];
};

/* And others, which are garbage. */
static int make_late(void *arg)
{
	struct late *late = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *like = node_of(DYING, i);
		late->nodes[i] = gc_new(&late_type);
		SUPPORT_REQUIRE(late->nodes[i] != NULL && like != NULL);
		*late->nodes[i] = *like;
		late->longs[i] = weakref_ref_new_with(late->nodes[i], &(weakref_ref_options){.is_long = true});
		SUPPORT_REQUIRE(late->longs[i] != NULL);
	}
	return 0;
}

/* R132: the destructor of an object that was found dead, but is put off to a later collection (R57), does not see that it is
 * found dead anew by one that saves it, whether libgc's Java finalization is on or off. */
START_TEST(test_R132_put_off_and_saved)
{
	struct late *late = gc_alloc(sizeof *late);

	counters_clear();
	late_destroyed = 0;
	GC_set_finalize_on_demand(1);
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	/* The first collection uses up what tells libgc's order; nothing puts that back before the second one. */
	ck_assert_int_eq(support_on_thread(make_late, late), 0);
	GC_gcollect();
	memset(late->nodes, 0, sizeof late->nodes);
	support_scrub();
	GC_gcollect();
	ck_assert_int_eq(gc_set_debug(WEAKREF_DEBUG_SAVEALL), 0);
	GC_set_java_finalization(_i);
	support_scrub();
	GC_gcollect();
	GC_set_java_finalization(1);
	ck_assert_int_eq(gc_set_debug(0), 0);
	ck_assert_uint_ge(gc_garbage_len(), SUPPORT_N - SUPPORT_SLACK);
	gc_run_callbacks();
	ck_assert_uint_eq(late_destroyed, 0);
	ck_assert_uint_le(support_dead(late->longs, SUPPORT_N), SUPPORT_SLACK);
	ck_assert_int_eq(gc_garbage_clear(), 0);
	for (int i = 0; i < 3; i++) {
		support_collect();
		gc_run_callbacks();
	}
	ck_assert_uint_ge(late_destroyed, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(broken, 0);
	GC_set_finalize_on_demand(0);
	SUPPORT_KEEP(late);
}
END_TEST

static unsigned cancelled_destroyed;

static int cancelled_destroy(void *obj)
{
	(void)obj;
	cancelled_destroyed++;
	return 0;
}

static const gc_type cancelled_type = {.name = "cancelled", .size = 8, .destroy = cancelled_destroy};

/* Objects whose destructor was taken away; every second one has a reference, where that is wanted. */
static int make_cancelled(void *arg)
{
	struct job *job = arg;

	for (size_t i = 0; i < job->n; i++) {
		void *obj = gc_new(&cancelled_type);
		SUPPORT_REQUIRE(obj != NULL);
		if (job->refs != NULL && i % 2 == 0)
			SUPPORT_REQUIRE((job->refs[i] = weakref_ref_new(obj, NULL, NULL)) != NULL);
		SUPPORT_REQUIRE(gc_destroy_cancel(obj) == 1);
	}
	return 0;
}

/* Those of make_cancelled on the list; armed again where that is wanted. */
static size_t cancelled_saved(bool arm)
{
	size_t n, found = 0;
	void **list = gc_garbage_list(&n);

	for (size_t i = 0; list != NULL && i < n; i++)
		if (gc_type_of(list[i]) == &cancelled_type)
			found += !arm || gc_destroy_again(list[i]) == 1;
	if (list != NULL)
		memset(list, 0, n * sizeof *list);
	return found;
}

/* R131, R281: where its destructor was taken away an object is saved for what else watches it, and for nothing else; what was saved can be armed
 * again. */
START_TEST(test_R281_cancelled_and_saved)
{
	struct job *job = gc_alloc(sizeof *job);

	cancelled_destroyed = 0;
	job->n = SUPPORT_N;
	saveall(true);
	ck_assert_int_eq(support_on_thread(make_cancelled, job), 0);
	support_collect();
	ck_assert_uint_eq(cancelled_saved(false), 0);
	job->refs = gc_alloc(SUPPORT_N * sizeof *job->refs);
	ck_assert_int_eq(support_on_thread(make_cancelled, job), 0);
	support_collect();
	size_t saved = cancelled_saved(false);
	ck_assert_uint_ge(saved, SUPPORT_N / 2 - SUPPORT_SLACK);
	ck_assert_uint_le(saved, SUPPORT_N / 2);
	ck_assert_uint_eq(cancelled_saved(true), saved);
	ck_assert_uint_eq(cancelled_destroyed, 0);
	saveall(false);
	gc_garbage_clear();
	support_collect();
	ck_assert_uint_ge(cancelled_destroyed, saved - SUPPORT_SLACK);
	ck_assert_uint_le(cancelled_destroyed, saved);
	SUPPORT_KEEP(job);
}
END_TEST

/* G18: COUNT_ALL counts what is saved with the dead, and once. */
START_TEST(test_G18_counted)
{
	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "collections come by themselves");
	gc_collect();
	ck_assert_int_eq(gc_set_debug(WEAKREF_DEBUG_SAVEALL | WEAKREF_DEBUG_COUNT_ALL), 0);
	struct job *job = drop(PLAIN, SUPPORT_N);
	long dead = gc_collect();
	/* With the one that each leads to. */
	ck_assert_int_ge(dead, (long)(2 * (SUPPORT_N - SUPPORT_SLACK)));
	ck_assert_int_le(gc_collect(), 4 * (long)SUPPORT_SLACK);
	SUPPORT_KEEP(job);
}
END_TEST

/* Without memory for the array the list is as it was. */
START_TEST(test_G18_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	size_t n = 7;

	saveall(true);
	struct job *job = drop(PLAIN, SUPPORT_N);
	support_collect();
	saveall(false);
	size_t before = gc_garbage_len();
	weakref_checks_fail_allocation(1);
	errno = 0;
	ck_assert_ptr_null(gc_garbage_list(&n));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_eq(n, 7);
	weakref_checks_fail_allocation(1);
	support_collect();
	weakref_checks_fail_allocation(0);
	ck_assert_uint_eq(gc_garbage_len(), before);
	SUPPORT_KEEP(job);
}
END_TEST

static int churn_thread(void *arg)
{
	unsigned *which = arg;

	for (int round = 0; round < 20; round++) {
		struct job job = {.sort = (enum sort)(*which % SORTS), .n = SUPPORT_N, .refs = gc_alloc(SUPPORT_N * sizeof *job.refs)};
		SUPPORT_REQUIRE(job.refs != NULL && make(&job) == 0);
		SUPPORT_REQUIRE(gc_collect() >= 0);
		size_t n;
		void **all = gc_garbage_list(&n);
		SUPPORT_REQUIRE(all != NULL);
		for (size_t i = 0; i < n; i++) {
			SUPPORT_REQUIRE(support_node_intact(all[i]));
			/* Another thread may have been first. */
			if (i % 4 == *which % 4)
				gc_garbage_remove(all[i]);
		}
		if (round % 8 == 7)
			SUPPORT_REQUIRE(gc_garbage_clear() == 0);
		SUPPORT_KEEP(all);
	}
	return 0;
}

/* G18: several threads make garbage, collect, list it and take it off at once. */
START_TEST(test_G18_threads)
{
	unsigned which[4] = {0, 1, 2, 3};

	counters_clear();
	saveall(true);
	ck_assert_uint_eq(support_threads(4, churn_thread, which, sizeof *which), 0);
	saveall(false);
	gc_garbage_clear();
	support_collect();
	ck_assert_uint_eq(broken, 0);
}
END_TEST

/* ---- what is never freed --------------------------------------------------------------------------------------------------- */

static int make_ring(void *unused)
{
	struct support_node *a = support_node_new(1), *b = support_node_new(2);

	(void)unused;
	SUPPORT_REQUIRE(a != NULL && b != NULL);
	a->next = b;
	b->next = a;
	SUPPORT_REQUIRE(weakref_finalize_new_ordered(a, finalize_ordered, NULL) != NULL);
	SUPPORT_REQUIRE(weakref_finalize_new_ordered(b, finalize_ordered, NULL) != NULL);
	return 0;
}

#define RINGS 8

/* In a process of its own, whose stderr is read. The exit runs what no collection did; that of a child has nothing to tell. */
static int uncollectable_main(unsigned flags)
{
	int status = 0;

	GC_set_warn_proc(GC_ignore_warn_proc);
	SUPPORT_REQUIRE(gc_set_debug(flags) == 0);
	for (int i = 0; i < RINGS; i++)
		SUPPORT_REQUIRE(support_on_thread(make_ring, NULL) == 0);
	support_collect();
	gc_run_callbacks();
	pid_t child = fork();
	if (child == 0)
		exit(0);
	SUPPORT_REQUIRE(child > 0 && waitpid(child, &status, 0) == child && status == 0);
	return ordered != 0;
}

static size_t lines_with(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

/* G19: UNCOLLECTABLE prints a line for each object of a cycle that is never freed. The flags are set and read. */
START_TEST(test_G19_uncollectable)
{
	char err[32768];

	ck_assert_int_eq(gc_set_debug(WEAKREF_DEBUG_LEAK), 0);
	ck_assert_uint_eq(gc_get_debug(), WEAKREF_DEBUG_COLLECTABLE | WEAKREF_DEBUG_UNCOLLECTABLE | WEAKREF_DEBUG_SAVEALL);
	ck_assert_int_eq(gc_set_debug(0), 0);
	ck_assert_int_eq(support_respawn("uncollectable", NULL, err, sizeof err), 0);
	ck_assert_uint_ge(lines_with(err, "finalizer waits for a cycle"), 2 * (RINGS - SUPPORT_SLACK));
	ck_assert_uint_le(lines_with(err, "finalizer waits for a cycle"), 2 * RINGS);
}
END_TEST

/* G37: at exit the uncollectable objects are listed under UNCOLLECTABLE, and counted, as under STATS; without either nothing is said. */
START_TEST(test_G37_uncollectable_at_exit)
{
	static const struct {
		const char *mode;
		bool counts, lists;
	} modes[] = {{"uncollectable", true, true}, {"uncollectable, stats", true, false}, {"uncollectable, quiet", false, false}};
	char err[32768];

	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		ck_assert_int_eq(support_respawn(modes[i].mode, NULL, err, sizeof err), 0);
		size_t listed = lines_with(err, "gc: uncollectable <node "), at_exit = lines_with(err, "finalizer still waits for a cycle");
		const char *count = strstr(err, "uncollectable at exit");
		ck_assert_uint_eq(lines_with(err, "uncollectable at exit"), modes[i].counts);
		ck_assert_uint_eq(listed, modes[i].lists ? 2 * at_exit : 0);
		ck_assert(!modes[i].lists || (at_exit >= 2 * (RINGS - SUPPORT_SLACK) && at_exit <= 2 * RINGS));
		/* The line ends in the figure and these words. */
		while (count != NULL && count[-1] != ':')
			count--;
		ck_assert(!modes[i].lists || strtoul(count, NULL, 10) == at_exit);
		ck_assert(!modes[i].counts || strtoul(count, NULL, 10) >= 2 * (RINGS - SUPPORT_SLACK));
	}
}
END_TEST

/* A ring of two that leads to a third; the first has two finalizers, the second one that is not ordered as well. Beside it a chain of two,
 * and one that leads to itself. */
static int make_rings_with_tails(void *arg)
{
	struct support_node **alive = arg;

	for (int i = 0; i < RINGS; i++) {
		struct support_node *node[6];

		for (uint64_t k = 0; k < 6; k++) {
			SUPPORT_REQUIRE((node[k] = support_node_new(k)) != NULL);
			SUPPORT_REQUIRE(weakref_finalize_new_ordered(node[k], finalize_ordered, NULL) != NULL);
		}
		SUPPORT_REQUIRE(weakref_finalize_new_ordered(node[0], finalize_ordered, NULL) != NULL);
		SUPPORT_REQUIRE(weakref_finalize_new(node[1], finalize_ordered, NULL) != NULL);
		node[0]->next = node[1];
		node[1]->next = node[0];
		node[1]->other = node[2];
		node[2]->other = alive[i];
		node[3]->next = node[4];
		node[5]->next = node[5];
	}
	return 0;
}

static _Atomic uint64_t told_uncollectable;
static _Atomic unsigned told_cycles, told_else;

static void tell_cycle(const gc_unraisable *info, void *user)
{
	(void)user;
	told_cycles += strcmp(info->where, "finalizer in a cycle") == 0;
	told_else += strcmp(info->where, "finalizer in a cycle") != 0;
}

static int stop_seen(enum weakref_phase phase, const gc_collection_info *info, void *user)
{
	(void)user;
	if (phase == WEAKREF_PHASE_STOP)
		told_uncollectable += info->uncollectable;
	else
		broken += info->uncollectable != 0;
	return 0;
}

static uint64_t uncollectable_of(int generation)
{
	gc_generation_stats stats[WEAKREF_GENERATIONS];

	ck_assert_int_eq(gc_get_stats(stats), 0);
	return stats[generation].uncollectable;
}

/* G09, G21: objects whose ordered finalizer waits for a cycle are counted as uncollectable, each once, on the account of the collection
 * that found them, what the cycle leads to included; nothing else is. Whoever is alive is not, though a cycle leads to it. */
START_TEST(test_G09_G21_uncollectable_is_counted)
{
	struct support_node **alive = gc_alloc(RINGS * sizeof *alive);
	uint64_t before[WEAKREF_GENERATIONS], sum = 0;

	support_collect();
	counters_clear();
	told_uncollectable = 0;
	told_cycles = told_else = 0;
	ck_assert_int_eq(gc_set_unraisable_handler(tell_cycle, NULL), 0);
	for (int i = 0; i < WEAKREF_GENERATIONS; i++)
		before[i] = uncollectable_of(i);
	ck_assert_int_eq(gc_callbacks_add(stop_seen, NULL), 0);
	for (size_t i = 0; i < RINGS; i++) {
		alive[i] = support_node_new(i);
		ck_assert_ptr_nonnull(weakref_finalize_new_ordered(alive[i], finalize_ordered, NULL));
	}
	gc_disable();
	ck_assert_int_eq(support_on_thread(make_rings_with_tails, alive), 0);
	support_scrub();
	ck_assert_int_ge(gc_collect_generation(1), 0);
	gc_enable();
	if (support_collect_every() == 0)
		ck_assert_uint_ge(uncollectable_of(1) - before[1], 3 * (RINGS - SUPPORT_SLACK));
	support_collect();
	gc_run_callbacks();
	for (int i = 0; i < WEAKREF_GENERATIONS; i++)
		sum += uncollectable_of(i) - before[i];
	ck_assert_int_eq(gc_callbacks_remove(stop_seen, NULL), 0);
	ck_assert_uint_ge(sum, 3 * (RINGS - SUPPORT_SLACK));
	ck_assert_uint_le(sum, 3 * RINGS);
	ck_assert_uint_eq(told_uncollectable, sum);
	ck_assert_uint_ge(told_cycles, RINGS - SUPPORT_SLACK);
	ck_assert_uint_le(told_cycles, RINGS);
	ck_assert_uint_eq(told_else, 0);
	ck_assert_uint_eq(broken, 0);
	SUPPORT_KEEP(alive);
}
END_TEST

/* ---- what its own finalizer keeps ------------------------------------------------------------------------------------------ */

/* Two nodes, and a finalizer of the first whose arguments are the second. */
static weakref_finalize *finalizer_with_node(struct support_node **obj, struct support_node **args)
{
	*obj = support_node_new(1);
	*args = support_node_new(2);
	return *obj == NULL || *args == NULL ? NULL : weakref_finalize_new(*obj, finalize_ordered, *args);
}

static struct support_node *kept_args;

/* In a process of its own, whose stderr is read: how many lines it has after each step is the parent's matter. */
static int leaks_main(void)
{
	struct support_node *obj, *args, *between = support_node_new(3);
	void **deep = NULL;

	/* Not a word without the flag. */
	SUPPORT_REQUIRE(finalizer_with_node(&obj, &args) != NULL);
	SUPPORT_REQUIRE(weakref_finalize_new(obj, finalize_ordered, obj) != NULL);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	SUPPORT_REQUIRE(gc_set_debug(WEAKREF_DEBUG_UNCOLLECTABLE) == 0);
	fputs("[flag]", stderr);
	SUPPORT_REQUIRE(gc_collect() >= 0); /* the second one above */
	fputs("[itself]", stderr);
	SUPPORT_REQUIRE(weakref_finalize_new(between, finalize_ordered, &between->other) != NULL);
	fputs("[far]", stderr);
	obj = support_node_new(4);
	for (int i = 0; i < 5000; i++) {
		void **more = gc_alloc(100);
		SUPPORT_REQUIRE(more != NULL);
		more[3] = deep == NULL ? (void *)obj : (void *)deep;
		deep = more;
	}
	SUPPORT_REQUIRE(weakref_finalize_new_ordered(obj, finalize_ordered, deep) != NULL);
	fputs("[later]", stderr);
	SUPPORT_REQUIRE(finalizer_with_node(&obj, &args) != NULL);
	args->other = obj;
	kept_args = args;
	fputs("[collect]", stderr);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	fputs("[none]", stderr);
	/* Weakly, by a handle, or not at all. */
	args = gc_alloc(sizeof *args);
	obj = support_node_new(5);
	args->other = weakref_ref_new(obj, NULL, NULL);
	args->next = (struct support_node *)(void *)weakref_finalize_new(obj, finalize_ordered, NULL);
	SUPPORT_REQUIRE(args->other != NULL && args->next != NULL);
	SUPPORT_REQUIRE(weakref_finalize_new(obj, finalize_ordered, args) != NULL);
	SUPPORT_REQUIRE(weakref_finalize_new(obj, finalize_ordered, NULL) != NULL);
	for (int i = 0; i < 3; i++)
		SUPPORT_REQUIRE(gc_collect() >= 0);
	fputs("[end]", stderr);
	SUPPORT_KEEP(obj);
	SUPPORT_KEEP(between);
	return 0;
}

static size_t lines_between(const char *text, const char *from, const char *to)
{
	const char *begin = strstr(text, from), *end = strstr(text, to);

	ck_assert_msg(begin != NULL && end != NULL && begin < end, "%s", text);
	char *part = strndup(begin, (size_t)(end - begin));
	size_t n = lines_with(part, "gc: uncollectable <"), right = lines_with(part, "the arguments of its finalizer lead to it\n");
	free(part);
	ck_assert_uint_eq(n, right);
	return n;
}

/* F08: with the debugging flag each finalizer whose arguments lead to its object is told of, once, when it is made or by the next gc_collect. */
START_TEST(test_F08_arguments_that_lead_to_the_object_are_told)
{
	static const char *const env[] = {"WEAKREF_COLLECT_EVERY=0", NULL};
	char err[32768];

	ck_assert_msg(support_respawn("leaks", env, err, sizeof err) == 0, "%s", err);
	ck_assert_msg(strncmp(err, "[flag]", 6) == 0, "%s", err);
	ck_assert_uint_eq(lines_between(err, "[flag]", "[itself]"), 1);
	ck_assert_uint_eq(lines_between(err, "[itself]", "[far]"), 1);
	ck_assert_uint_eq(lines_between(err, "[far]", "[later]"), 1);
	ck_assert_uint_eq(lines_between(err, "[later]", "[collect]"), 0);
	ck_assert_uint_eq(lines_between(err, "[collect]", "[none]"), 1);
	ck_assert_uint_eq(lines_between(err, "[none]", "[end]"), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("saveall");

	/* Of cycles, which it would print in each collection. */
	GC_set_warn_proc(GC_ignore_warn_proc);
	TCase *tcase = support_tcase("saveall");

	tcase_add_loop_test(tcase, test_G18_saved_and_taken_off, 0, SORTS);
	tcase_add_test(tcase, test_G18_automatic_collections);
	tcase_add_test(tcase, test_G18_taken_off_and_saved_again);
	tcase_add_loop_test(tcase, test_G18_taken_off_in_any_order, 0, 2);
	tcase_add_test(tcase, test_G18_errors);
	tcase_add_test(tcase, test_G18_what_it_leads_to);
	tcase_add_loop_test(tcase, test_R132_put_off_and_saved, 0, 2);
	tcase_add_test(tcase, test_R281_cancelled_and_saved);
	tcase_add_test(tcase, test_G18_counted);
	tcase_add_test(tcase, test_G18_without_memory);
	tcase_add_test(tcase, test_G18_threads);
	tcase_add_test(tcase, test_G19_uncollectable);
	tcase_add_test(tcase, test_G37_uncollectable_at_exit);
	tcase_add_test(tcase, test_G09_G21_uncollectable_is_counted);
	tcase_add_test(tcase, test_F08_arguments_that_lead_to_the_object_are_told);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(int argc, char **argv)
{
	if (argc <= 1)
		return support_main(suite);
	if (gc_init() != 0)
		return 1;
	return strcmp(argv[1], "leaks") == 0		    ? leaks_main()
	       : strcmp(argv[1], "uncollectable, stats") == 0 ? uncollectable_main(WEAKREF_DEBUG_STATS)
	       : strcmp(argv[1], "uncollectable, quiet") == 0 ? uncollectable_main(0)
							      : uncollectable_main(WEAKREF_DEBUG_UNCOLLECTABLE);
}

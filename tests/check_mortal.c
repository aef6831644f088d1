/* SPDX-License-Identifier: MIT */
/*
 * check_mortal: objects with destructors beside whatever else finalizes in a process: hosts' finalizers on the same block, or on what leads
 * to it; hosts that finalize on demand and do not, that have Java finalization off, that mark their own kinds; callbacks of the same
 * collection; the delivery thread.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <gc/javaxfc.h>

#define HEADER 16 /* what stands before an object in its block */
#define N SUPPORT_N
#define LEAST (N - SUPPORT_SLACK)
#define WIDE 20000 /* blocks in one, more than libgc's mark stack has room for at first */

struct mortal {
	unsigned test; /* that made it */
	uint64_t id;
	struct support_node *child;
	void *link;	 /* a host's disappearing link to the object itself */
	GC_word *opaque; /* of the host's kind: it alone leads to the child beside it */
	struct support_node **wide;
};

static _Atomic unsigned destroyed[2 * N], hosts[2 * N];
static _Atomic unsigned wrong, warnings;
static _Atomic unsigned called[N];
static weakref_ref **watched; /* those that a destructor expects to have been called back */
static bool slow;
static unsigned test;

static struct support_node *in_opaque(const GC_word *block)
{
	return (struct support_node *)~block[2];
}

static int mortal_destroy(void *obj)
{
	struct mortal *mortal = obj;

	if (mortal->test != test)
		return 0;
	if (slow)
		usleep(200);
	destroyed[mortal->id]++;
	wrong += !support_node_intact(mortal->child) || mortal->child->id != mortal->id || mortal->link != NULL;
	if (mortal->opaque != NULL)
		wrong += !support_node_intact(in_opaque(mortal->opaque)) || in_opaque(mortal->opaque)->id != mortal->id;
	for (size_t i = 0; mortal->wide != NULL && i < WIDE; i++)
		wrong += !support_node_intact(mortal->wide[i]) || mortal->wide[i]->id != i;
	/* Where every call may collect, others may have died meanwhile. */
	for (size_t i = 0; watched != NULL && i < N; i++)
		if (support_collect_every() == 0 || i == mortal->id)
			wrong += weakref_ref_get(watched[i]) == NULL && called[i] == 0;
	return 0;
}

static const gc_type mortal_type = {.name = "mortal", .size = sizeof(struct mortal), .destroy = mortal_destroy};

static struct mortal *mortal_new(uint64_t id)
{
	struct mortal *mortal = gc_new(&mortal_type);

	if (mortal == NULL || (mortal->child = support_node_new(id)) == NULL)
		return NULL;
	mortal->test = test;
	mortal->id = id;
	return mortal;
}

static size_t ran_once(_Atomic unsigned *ran, size_t first, size_t n)
{
	size_t once = 0;

	for (size_t i = first; i < first + n; i++) {
		ck_assert_uint_le(ran[i], 1);
		once += ran[i];
	}
	return once;
}

static void GC_CALLBACK count_warning(char *message, GC_word argument)
{
	(void)argument;
	warnings += strstr(message, "Finalization cycle") != NULL;
}

/* What tests before this one left behind is not looked at. */
static void forget(void)
{
	test++;
	memset(destroyed, 0, sizeof(destroyed));
	memset(hosts, 0, sizeof(hosts));
	memset(called, 0, sizeof(called));
	wrong = warnings = 0;
	watched = NULL;
	slow = false;
}

/* ---- hosts' finalizers ---- */

/* A host's block that leads to an object of ours. */
struct holder {
	struct mortal *mortal;
};

typedef void (*registration)(void *, GC_finalization_proc, void *, GC_finalization_proc *, void **);
static const registration registrations[] = {
	GC_register_finalizer_no_order, GC_register_finalizer, GC_register_finalizer_ignore_self, GC_register_finalizer_unreachable};

static void GC_CALLBACK host_finalizes(void *base, void *id)
{
	const struct mortal *mortal = (const void *)((const char *)base + HEADER);

	hosts[(uintptr_t)id] += mortal->test == test;
}

static int make_finalized(void *arg)
{
	for (uintptr_t i = 0; i < N; i++) {
		struct mortal *mortal = mortal_new(i);

		SUPPORT_REQUIRE(mortal != NULL);
		(*(const registration *)arg)(GC_base(mortal), host_finalizes, (void *)i, NULL, NULL);
	}
	return 0;
}

/* R78: a host's finalizer on an object with a destructor: both run, each once. */
START_TEST(test_host_finalizes_the_object)
{
	forget();
	ck_assert_int_eq(support_on_thread(make_finalized, (void *)&registrations[_i]), 0);
	support_collect();
	support_collect();
	ck_assert_uint_ge(ran_once(destroyed, 0, N), LEAST);
	ck_assert_uint_ge(ran_once(hosts, 0, N), LEAST);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

static void GC_CALLBACK holder_finalized(void *base, void *id)
{
	struct holder *holder = base;

	if (holder->mortal->test != test)
		return;
	hosts[(uintptr_t)id]++;
	wrong += holder->mortal->id != (uintptr_t)id || destroyed[(uintptr_t)id] != 0;
}

static int make_held(void *unused)
{
	(void)unused;
	for (uintptr_t i = 0; i < N; i++) {
		struct holder *holder = GC_MALLOC(sizeof(*holder));

		SUPPORT_REQUIRE((holder->mortal = mortal_new(i)) != NULL);
		GC_register_finalizer(holder, holder_finalized, (void *)i, NULL, NULL);
	}
	return 0;
}

/* R29 R79: what a host's ordered finalizer leads to is destroyed after it, and found dead once. */
START_TEST(test_after_an_ordered_finalizer)
{
	forget();
	ck_assert_int_eq(support_on_thread(make_held, NULL), 0);
	long dead = support_collect();

	dead += support_collect();
	if (support_collect_every() == 0)
		ck_assert_int_ge(dead, (long)LEAST);
	ck_assert_int_le(dead, (long)N);
	ck_assert_uint_ge(ran_once(hosts, 0, N), LEAST);
	ck_assert_uint_ge(ran_once(destroyed, 0, N), LEAST);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* ---- hosts' ways ---- */

/* Two batches, the second one behind the first. */
static struct mortal **batches;

static int make_batches(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < 2 * N; i++)
		SUPPORT_REQUIRE((batches[i] = mortal_new(i)) != NULL);
	return 0;
}

static void drop_batch(int which)
{
	memset(&batches[which * N], 0, N * sizeof(*batches));
	support_scrub();
	GC_gcollect();
}

static void two_batches(void)
{
	batches = GC_MALLOC_UNCOLLECTABLE(2 * N * sizeof(*batches));
	ck_assert_int_eq(support_on_thread(make_batches, NULL), 0);
	drop_batch(0);
	drop_batch(1);
}

/* R57: a host that finalizes on demand, and never does: destructors run all the same, those of a collection at once, those of one that came
 * before anything had run later. */
START_TEST(test_host_never_finalizes)
{
	forget();
	GC_set_finalize_on_demand(1);
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
	two_batches();
	ck_assert_int_ge(gc_run_callbacks(), (long)LEAST);
	ck_assert_uint_ge(ran_once(destroyed, 0, N), LEAST);
	for (int i = 0; i < 3; i++) {
		support_collect();
		gc_run_callbacks();
	}
	ck_assert_uint_ge(ran_once(destroyed, N, N), LEAST);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(warnings, 0);
	GC_set_finalize_on_demand(0);
}
END_TEST

/* With Java finalization off libgc lets go of what an unordered finalizer leads to; the library does not. */
START_TEST(test_no_java_finalization)
{
	forget();
	GC_set_java_finalization(0);
	two_batches();
	GC_set_java_finalization(1);
	support_collect();
	ck_assert_uint_ge(ran_once(destroyed, 0, 2 * N), 2 * LEAST);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(warnings, 0);
}
END_TEST

/* R60: a host that has libgc call all finalizers, until there is none: that ends. What dies afterwards, before the library has come to itself, is
 * kept whole, and destroyed in the next gc_collect. */
START_TEST(test_host_finalizes_all)
{
	for (int i = 0; i < 3; i++) {
		forget();
		batches = GC_MALLOC_UNCOLLECTABLE(2 * N * sizeof(*batches));
		ck_assert_int_eq(support_on_thread(make_batches, NULL), 0);
		GC_finalize_all();
		drop_batch(0);
		drop_batch(1);
		support_collect();
		ck_assert_uint_eq(wrong, 0);
		ck_assert_uint_ge(ran_once(destroyed, 0, 2 * N), 2 * LEAST);
		ck_assert_uint_eq(wrong, 0);
		ck_assert_uint_eq(warnings, 0);
	}
}
END_TEST

#define OPAQUE_BYTES 80
#define OPAQUE_SIGNATURE ((GC_word)0x6f70617175652121)

static struct GC_ms_entry *opaque_marked(GC_word *block, struct GC_ms_entry *top, struct GC_ms_entry *limit, GC_word env)
{
	(void)env;
	return block[1] == OPAQUE_SIGNATURE ? GC_MARK_AND_PUSH(in_opaque(block), top, limit, (void **)&block[2]) : top;
}

static int make_linked(void *kind)
{
	for (size_t i = 0; i < N; i++) {
		struct mortal *mortal = mortal_new(i);

		SUPPORT_REQUIRE(mortal != NULL);
		mortal->opaque = GC_generic_malloc(OPAQUE_BYTES, *(int *)kind);
		SUPPORT_REQUIRE(mortal->opaque != NULL);
		mortal->opaque[2] = ~(GC_word)support_node_new(i);
		mortal->opaque[1] = OPAQUE_SIGNATURE;
		mortal->link = mortal;
		SUPPORT_REQUIRE(GC_general_register_disappearing_link(&mortal->link, GC_base(mortal)) == GC_SUCCESS);
		if (i % (N / 4) != 0)
			continue;
		mortal->wide = GC_MALLOC(WIDE * sizeof(*mortal->wide));
		for (size_t w = 0; w < WIDE; w++)
			SUPPORT_REQUIRE((mortal->wide[w] = support_node_new(w)) != NULL);
	}
	return 0;
}

/* R29: a destructor finds intact what only a host's mark procedure leads to, and more than libgc's mark stack has room for; a host's short
 * links to the object are clear. */
START_TEST(test_all_that_it_leads_to)
{
	int kind = (int)GC_new_kind(GC_new_free_list(), GC_MAKE_PROC(GC_new_proc(opaque_marked), 0), 0, 1);

	forget();
	ck_assert_int_eq(support_on_thread(make_linked, &kind), 0);
	support_collect();
	ck_assert_uint_ge(ran_once(destroyed, 0, N), LEAST);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* ---- delivery ---- */

static int callback(weakref_ref *ref, void *data)
{
	(void)ref;
	called[(uintptr_t)data]++;
	return 0;
}

static int make_watched(void *unused)
{
	(void)unused;
	for (uintptr_t i = 0; i < N; i++) {
		struct mortal *mortal = mortal_new(i);

		SUPPORT_REQUIRE(mortal != NULL);
		watched[i] = weakref_ref_new(mortal, callback, (void *)i);
		SUPPORT_REQUIRE(watched[i] != NULL);
	}
	return 0;
}

/* R73: destructors come after the callbacks of the same collection. R24: when gc_collect returns they have run, in whichever thread. */
START_TEST(test_after_callbacks)
{
	static const enum weakref_delivery rules[] = {WEAKREF_DELIVER_AT_ALLOCATION, WEAKREF_DELIVER_THREAD};

	ck_assert_int_eq(gc_set_delivery(rules[_i]), 0);
	for (int round = 0; round < 3; round++) {
		forget();
		slow = true;
		watched = GC_MALLOC(N * sizeof(*watched));
		ck_assert_int_eq(support_on_thread(make_watched, NULL), 0);
		support_scrub();
		ck_assert_int_ge(gc_collect(), 0);
		ck_assert_uint_eq(ran_once(destroyed, 0, N), support_dead(watched, N));
		support_collect();
		ck_assert_uint_ge(ran_once(destroyed, 0, N), LEAST);
		ck_assert_uint_eq(ran_once(called, 0, N), support_dead(watched, N));
		ck_assert_uint_eq(wrong, 0);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("mortal");
	TCase *t = support_tcase("hosts");

	tcase_add_loop_test(t, test_host_finalizes_the_object, 0, sizeof(registrations) / sizeof(*registrations));
	tcase_add_test(t, test_after_an_ordered_finalizer);
	tcase_add_test(t, test_host_never_finalizes);
	tcase_add_test(t, test_no_java_finalization);
	tcase_add_test(t, test_host_finalizes_all);
	tcase_add_test(t, test_all_that_it_leads_to);
	suite_add_tcase(s, t);
	t = support_tcase("delivery");
	tcase_add_loop_test(t, test_after_callbacks, 0, 2);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	GC_set_warn_proc(count_warning);
	return support_main(suite);
}

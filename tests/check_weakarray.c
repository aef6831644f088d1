/* SPDX-License-Identifier: MIT */
/*
 * check_weakarray: unit tests of the weak array under the containers: what the scan clears and counts, which arrays it forgets, and which
 * it takes back when a finalizer revives them. Links the library's core.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <stdlib.h>

#include "heap.h"
#include "support.h"
#include "weakarray.h"

#define N ((uint32_t)SUPPORT_N)

static void put(struct slots *slots, uint32_t i, const void *p)
{
	atomic_fetch_add(&slots->live, 1);
	atomic_store(slots_word(slots, i, slots->value), weakarray_encode(p));
}

static uint32_t values_in(struct slots *slots)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < slots->n; i++)
		n += slots_is_value(atomic_load(slots_word(slots, i, slots->value)));
	return n;
}

struct fill {
	struct slots *slots;
	bool foreign;
	bool leaves_pointers;
};

static int fill_with_garbage(void *arg)
{
	struct fill *fill = arg;

	for (uint32_t i = 0; i < fill->slots->n; i++) {
		void *p = fill->foreign ? GC_MALLOC(40) : support_node_new(i);
		SUPPORT_REQUIRE(p != NULL);
		put(fill->slots, i, p);
	}
	return 0;
}

static void check_dead(bool foreign)
{
	struct slots *slots = weakarray_new(N, 2, 1, NULL);

	ck_assert_ptr_nonnull(slots);
	ck_assert_int_eq(support_on_thread(fill_with_garbage, &(struct fill){.slots = slots, .foreign = foreign}), 0);
	support_collect();
	ck_assert_uint_le(values_in(slots), SUPPORT_SLACK);
	ck_assert_uint_eq(slots->live, values_in(slots));
	ck_assert_uint_eq(slots->dead, N - slots->live);
	SUPPORT_KEEP(slots);
}

START_TEST(test_values_of_ours_die)
{
	check_dead(false);
}
END_TEST

START_TEST(test_values_of_libgc_die)
{
	check_dead(true);
}
END_TEST

/* The starts of blocks that share a page, of ones that have their own, and their insides: freed by the program, and the pages with them. */
static int fill_and_free(void *arg)
{
	const struct fill *fill = arg;
	struct slots *slots = fill->slots;
	char **blocks = GC_MALLOC_UNCOLLECTABLE(slots->n * sizeof *blocks);

	for (uint32_t i = 0; i < slots->n; i++) {
		blocks[i] = GC_MALLOC_ATOMIC(i % 3 == 0 ? 40 : i % 3 == 1 ? 2048 : 20000);
		SUPPORT_REQUIRE(blocks[i] != NULL);
		put(slots, i, blocks[i] + (i % 2) * 8);
	}
	for (uint32_t i = 0; i < slots->n; i++)
		GC_FREE(blocks[i]);
	if (!fill->leaves_pointers)
		GC_FREE(blocks);
	return 0;
}

/* Pointers that are left mark what was freed, and libgc takes these marks back before it sweeps, and gives the pages back: the slots are as
 * they were, and in the next collection their pages are not there. With one marker; with more it keeps pages that had a mark. */
START_TEST(test_freed_values_that_pointers_lead_to)
{
	struct slots *slots = weakarray_new(4096, 2, 1, NULL);

	ck_assert_int_eq(support_on_thread(fill_and_free, &(struct fill){.slots = slots, .leaves_pointers = true}), 0);
	for (int round = 0; round < 4; round++)
		support_collect();
	ck_assert_uint_eq(slots->live, values_in(slots));
	SUPPORT_KEEP(slots);
}
END_TEST

START_TEST(test_freed_values_are_cleared)
{
	for (int round = 0; round < 3; round++) {
		struct slots *slots = weakarray_new(N, 2, 1, NULL);

		ck_assert_int_eq(support_on_thread(fill_and_free, &(struct fill){.slots = slots}), 0);
		support_collect();
		ck_assert_uint_le(values_in(slots), SUPPORT_SLACK);
		ck_assert_uint_eq(slots->live, values_in(slots));
		SUPPORT_KEEP(slots);
	}
}
END_TEST

START_TEST(test_live_values_stay)
{
	struct slots *slots = weakarray_new(N, 1, 0, NULL);
	void **strong = gc_alloc(N * sizeof *strong);

	for (uint32_t i = 0; i < N; i++)
		put(slots, i, strong[i] = i % 2 != 0 ? GC_MALLOC(24) : (void *)support_node_new(i));
	support_collect();
	for (uint32_t i = 0; i < N; i++) {
		uintptr_t raw;
		ck_assert_ptr_eq(epoch_load(slots_word(slots, i, 0), &raw), strong[i]);
	}
	ck_assert_uint_eq(slots->live, N);
	ck_assert_uint_eq(slots->dead, 0);
	SUPPORT_KEEP(strong);
}
END_TEST

START_TEST(test_encode_tells_who_may_be_watched)
{
	static int fixed;
	void *plain = malloc(64);
	struct support_node *node = support_node_new(1);
	char *block = GC_MALLOC(100), *large = GC_MALLOC(3000);
	int local = 0;

	ck_assert_uint_eq(weakarray_encode(NULL), 0);
	ck_assert_uint_eq(weakarray_encode(&fixed), 0);
	ck_assert_uint_eq(weakarray_encode(&local), 0);
	ck_assert_uint_eq(weakarray_encode(plain), 0);
	ck_assert_uint_eq(weakarray_encode(block + 1), 0);
	ck_assert_uint_eq(weakarray_encode(node), (uintptr_t)node);
	ck_assert_uint_eq(weakarray_encode(&node->other), (uintptr_t)&node->other | SLOTS_INNER);
	ck_assert_uint_eq(weakarray_encode(block), (uintptr_t)block | SLOTS_INNER);
	ck_assert_uint_eq(weakarray_encode(block + 16), (uintptr_t)(block + 16) | SLOTS_INNER);
	ck_assert_uint_eq(weakarray_encode(large), (uintptr_t)large | SLOTS_INNER);
	free(plain);
}
END_TEST

START_TEST(test_taking_counts_once)
{
	struct slots *slots = weakarray_new(4, 2, 1, NULL);
	struct support_node *node = support_node_new(1);

	put(slots, 2, node);
	ck_assert_uint_eq(slots_take(slots, 0), SLOTS_EMPTY);
	ck_assert_uint_eq(slots_take(slots, 2), (uintptr_t)node);
	ck_assert_uint_eq(slots_take(slots, 2), SLOTS_VACANT);
	ck_assert_uint_eq(slots->live, 0);
	SUPPORT_KEEP(node);
}
END_TEST

/* ---- arrays that are garbage themselves ---- */

/* What a finalizer found in the array that only its block held. */
static struct slots *revived;
static unsigned finalized, dangling;
static struct support_node *survivor;

static void GC_CALLBACK holder_finalized(void *holder, void *unused)
{
	struct slots *slots = *(struct slots **)holder;

	(void)unused;
	finalized++;
	for (uint32_t i = 0; i < slots->n; i++) {
		uintptr_t raw;
		struct support_node *node = epoch_load(slots_word(slots, i, slots->value), &raw);
		if (slots_is_value(raw) && !support_node_intact(node))
			dangling++;
	}
	revived = slots;
}

/* Arrays with one value that lives and some that do not, each held by a block with a finalizer only. */
static int make_held_arrays(void *unused)
{
	(void)unused;
	for (uint32_t i = 0; i < N; i++) {
		struct slots **holder = GC_MALLOC(sizeof *holder);
		struct slots *slots = weakarray_new(8, 2, 1, NULL);
		SUPPORT_REQUIRE(slots != NULL);
		SUPPORT_REQUIRE(fill_with_garbage(&(struct fill){.slots = slots}) == 0);
		slots_take(slots, 0);
		put(slots, 0, survivor);
		*holder = slots;
		GC_register_finalizer_no_order(holder, holder_finalized, NULL, NULL, NULL);
	}
	return 0;
}

START_TEST(test_array_revived_by_finalizer_is_taken_back)
{
	revived = NULL;
	survivor = support_node_new(7);
	finalized = dangling = 0;
	ck_assert_int_eq(support_on_thread(make_held_arrays, NULL), 0);
	support_collect();
	GC_invoke_finalizers();
	ck_assert_uint_ge(finalized, N - SUPPORT_SLACK);
	ck_assert_uint_eq(dangling, 0);
	ck_assert_ptr_nonnull(revived);
	ck_assert_uint_ge(values_in(revived), 1);
	/* It is scanned again like any other: what lived in it then dies in it now. */
	SUPPORT_CLEAR(survivor);
	support_collect();
	ck_assert_uint_le(values_in(revived), SUPPORT_SLACK);
	SUPPORT_CLEAR(revived);
}
END_TEST

static int drop_arrays(void *unused)
{
	(void)unused;
	for (int i = 0; i < 200; i++) {
		struct slots *slots = weakarray_new(N, 2, 1, NULL);
		SUPPORT_REQUIRE(slots != NULL);
		put(slots, 0, survivor);
	}
	return 0;
}

static void *count_registered(void *out)
{
	*(size_t *)out = weakarray_check_locked();
	return NULL;
}

static size_t registered(void)
{
	size_t n = 0;

	heap_with_lock(count_registered, &n);
	return n;
}

START_TEST(test_dropped_arrays_are_forgotten)
{
	survivor = support_node_new(7);
	support_collect();
	size_t before = registered();
	ck_assert_int_eq(support_on_thread(drop_arrays, NULL), 0);
	support_collect();
	ck_assert_uint_le(registered(), before + 20);
	ck_assert(support_node_intact(survivor));
	SUPPORT_CLEAR(survivor);
}
END_TEST

/* ---- owners and purging ---- */

static struct slots *purged;
static void *purged_owner;

static void on_purge(struct slots *slots, void *owner)
{
	purged = slots;
	purged_owner = owner;
	atomic_store(&slots->dead, 0);
}

START_TEST(test_purge_is_asked_of_the_owner)
{
	struct slots *slots = weakarray_new(N, 2, 1, on_purge);
	void *owner = gc_alloc(32);

	purged = NULL;
	weakarray_set_owner(slots, owner);
	ck_assert_int_eq(support_on_thread(fill_with_garbage, &(struct fill){.slots = slots}), 0);
	support_collect();
	ck_assert_ptr_eq(purged, slots);
	ck_assert_ptr_eq(purged_owner, owner);
	ck_assert_uint_eq(weakarray_purge_all(), 0);
	SUPPORT_CLEAR(purged);
	SUPPORT_CLEAR(purged_owner);
	SUPPORT_KEEP(owner);
}
END_TEST

static int own_by_garbage(void *arg)
{
	void *owner = gc_alloc(32);

	SUPPORT_REQUIRE(owner != NULL);
	weakarray_set_owner(arg, owner);
	return 0;
}

START_TEST(test_owner_is_held_weakly)
{
	struct slots *slots[N];
	unsigned left = 0;

	for (uint32_t i = 0; i < N; i++) {
		slots[i] = weakarray_new(1, 2, 1, on_purge);
		ck_assert_int_eq(support_in_frame(own_by_garbage, slots[i]), 0);
	}
	support_collect();
	for (uint32_t i = 0; i < N; i++)
		left += slots[i]->owner != 0;
	ck_assert_uint_le(left, SUPPORT_SLACK);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("weakarray");
	TCase *t = support_tcase("weakarray");

	tcase_add_test(t, test_values_of_ours_die);
	tcase_add_test(t, test_values_of_libgc_die);
	tcase_add_test(t, test_freed_values_are_cleared);
	tcase_add_test(t, test_freed_values_that_pointers_lead_to);
	tcase_add_test(t, test_live_values_stay);
	tcase_add_test(t, test_encode_tells_who_may_be_watched);
	tcase_add_test(t, test_taking_counts_once);
	tcase_add_test(t, test_array_revived_by_finalizer_is_taken_back);
	tcase_add_test(t, test_dropped_arrays_are_forgotten);
	tcase_add_test(t, test_purge_is_asked_of_the_owner);
	tcase_add_test(t, test_owner_is_held_weakly);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	setenv("GC_MARKERS", "1", 0); /* for what is freed */
	return support_main(suite);
}

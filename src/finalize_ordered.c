/* SPDX-License-Identifier: MIT */
/*
 * finalize_ordered: finalizers that wait for their turn, which libgc tells, by an ordered finalizer of its own on the block, whose data, a
 * `struct finals_ordered`, is what is queued, and holds the object until the function has returned: so what the object leads to stays out of
 * turn until then. Such a finalizer reads its object until it is due or gone. Where somebody took libgc's away, the slot itself is queued once
 * the block is gone (finals.h).
 *
 * Cycles are what libgc warns of: one block of each is noted then, and when the collection settles a walk from the new ones finds who else
 * waits for ever (FINALS_STUCK). Delivery reports them.
 *
 * Locks: libgc's.
 */
#include "finalize.h"

#include <string.h>

#include "checks.h"
#include "collector.h"
#include "cycle.h"
#include "marking.h"
#include "ref.h"
#include "weakref/object.h"

#define CYCLES 1024 /* that can be known at a time, the host's own ones included */

/* Uncollectable and scanned. */
struct roots {
	struct deliver_node report;
};

/* Blocks of cycles, hidden, in order of the hidden word, as long as they have their finalizers. Libgc's lock. */
static uintptr_t cycles[CYCLES];
static size_t cycle_count;
/* Those that the collection at hand added, hidden; count_stuck_locked takes them at its end. */
static uintptr_t fresh_cycles[CYCLES];
static size_t fresh_count;
static _Atomic uint64_t ordered_ran;

static _Atomic(struct roots *) roots;

/* ---- known cycles ---- */

/* The first place whose word is not less. */
static size_t cycle_place(uintptr_t block)
{
	size_t low = 0, high = cycle_count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (cycles[middle] < block)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_known(uintptr_t block)
{
	size_t at = cycle_place(block);

	return at < cycle_count && cycles[at] == block;
}

void finalize_cycle_forget_locked(const struct finals_ordered *ordered)
{
	uintptr_t block = ordered->block;
	size_t at = cycle_place(block);

	if (is_known(block))
		memmove(&cycles[at], &cycles[at + 1], (--cycle_count - at) * sizeof *cycles);
}

/* ---- turns and cycles ---- */

static struct finals_slot slot_of(const struct finals_ordered *ordered)
{
	struct finals_slot slot;

	if (!finals_slot_of(ordered->handle, &slot))
		base_fatal("an ordered finalizer lost its record");
	return slot;
}

static void *take_due_locked(void *arg)
{
	struct finals_taken *taken = arg;
	struct finals_slot slot;

	return finals_slot_of(taken->handle, &slot) && finals_take_due_locked(slot, taken) ? taken : NULL;
}

static void ordered_run(struct deliver_node *node)
{
	struct finals_ordered *ordered = (struct finals_ordered *)node;
	struct finals_taken taken = {.handle = ordered->handle};

	if (heap_with_lock(take_due_locked, &taken) != NULL && !atomic_load(&finals_over)) {
		atomic_fetch_add(&ordered_ran, 1);
		finalize_run(&taken);
	}
	ordered->obj = NULL;
}

static void *make_due_locked(void *ordered)
{
	if (!finals_make_due_locked(slot_of(ordered)))
		return NULL;
	finalize_cycle_forget_locked(ordered);
	return ordered;
}

/* Called by libgc, in any thread, at any allocation: queues only. */
static void turn_has_come(void *base, void *data)
{
	struct finals_ordered *ordered = data;

	if (heap_with_lock(make_due_locked, ordered) != NULL) {
		ordered->obj = base;
		deliver_queue(&ordered->node);
	}
	if (ordered->old != NULL)
		ordered->old(base, ordered->old_data);
}

/* Libgc's lock held, after marking: libgc tells of one block of each cycle, in every collection anew. */
static void cycle_seen(const void *base)
{
	struct roots *list = atomic_load(&roots);
	uintptr_t block = ~(uintptr_t)base;
	size_t at = cycle_place(block);

	if (cycle_count == CYCLES || is_known(block))
		return;
	memmove(&cycles[at + 1], &cycles[at], (cycle_count++ - at) * sizeof *cycles);
	cycles[at] = block;
	fresh_cycles[fresh_count++] = block;
	if (!deliver_is_queued_locked(&list->report))
		deliver_queue_stw(&list->report, &list->report);
}

static void *block_of(const struct finals_ordered *ordered)
{
	return (void *)~ordered->block;
}

/* The next older LIVE one, as finals_older_locked. */
static struct finals_ordered *older_ordered_locked(uint64_t *order)
{
	struct finals_ordered *ordered = NULL;
	struct finals_slot slot;

	while (ordered == NULL && finalize_older_live_locked(order, &slot))
		ordered = finals_ordered(slot);
	return ordered;
}

static void cycles_prune_locked(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < cycle_count; i++)
		if (cycle_survived_locked((const void *)~cycles[i]))
			cycles[kept++] = cycles[i];
	cycle_count = kept;
}

/* Reclaim has ended, libgc's lock is held. Whatever is dead and has its turn after a block of a cycle waits for ever, that block included. */
static uint64_t count_stuck_locked(void)
{
	struct finals_ordered *ordered;
	uint64_t n = 0;

	cycles_prune_locked();
	if (fresh_count == 0)
		return 0;
	marking_walk_begin_locked(finalize_is_no_chunk);
	while (fresh_count > 0)
		marking_walk_locked((const void *)~fresh_cycles[--fresh_count]);
	for (uint64_t order = UINT64_MAX; (ordered = older_ordered_locked(&order)) != NULL;) {
		if ((ordered->flags & (FINALS_MOURNED | FINALS_STUCK)) != FINALS_MOURNED)
			continue;
		int met = marking_walk_met_locked(block_of(ordered));
		n += met == 1;
		/* One finalizer speaks for the object. */
		if (met != 0)
			ordered->flags |= met == 1 ? FINALS_STUCK : FINALS_STUCK | FINALS_ECHO;
	}
	marking_walk_end_locked();
	return n;
}

struct news {
	uint64_t order; /* older ones were not looked at yet */
	size_t n;
	struct {
		void *obj;
		bool is_known; /* as the one of its cycle that libgc tells of */
	} at[32];
};

static void *news_locked(void *arg)
{
	struct finals_ordered *ordered;
	struct news *news = arg;

	while (news->n < 32 && (ordered = older_ordered_locked(&news->order)) != NULL) {
		bool known = is_known(ordered->block);
		if ((ordered->flags & (FINALS_REPORTED | FINALS_ECHO)) != 0 || ((ordered->flags & FINALS_STUCK) == 0 && !known))
			continue;
		ordered->flags |= FINALS_REPORTED;
		news->at[news->n].obj = finalize_object(slot_of(ordered));
		news->at[news->n++].is_known = known;
	}
	return news->n != 0 ? news : NULL;
}

static void cycles_report(struct deliver_node *unused)
{
	struct news news = {.order = UINT64_MAX};

	(void)unused;
	for (; heap_with_lock(news_locked, &news) != NULL; news.n = 0)
		for (size_t i = 0; i < news.n; i++) {
			collector_uncollectable(news.at[i].obj, "its ordered finalizer waits for a cycle");
			if (news.at[i].is_known)
				deliver_failed(-WEAKREF_ENOTSUP, "finalizer in a cycle", news.at[i].obj);
		}
}

struct stuck {
	uint64_t order; /* older ones were not looked at yet */
	void *obj;
};

static void *stuck_locked(void *arg)
{
	struct finals_ordered *ordered;
	struct stuck *stuck = arg;

	while ((ordered = older_ordered_locked(&stuck->order)) != NULL) {
		struct finals_slot slot = slot_of(ordered);
		if (slot.in->process == deliver_process && (ordered->flags & (FINALS_STUCK | FINALS_ECHO)) == FINALS_STUCK) {
			stuck->obj = finalize_object(slot);
			return stuck;
		}
	}
	return NULL;
}

void finalize_tell_stuck(void)
{
	uint64_t n = 0;

	for (struct stuck stuck = {.order = UINT64_MAX}; heap_with_lock(stuck_locked, &stuck) != NULL;)
		n++;
	collector_uncollectable_at_exit(n);
	for (struct stuck stuck = {.order = UINT64_MAX}; n > 0 && heap_with_lock(stuck_locked, &stuck) != NULL;)
		collector_uncollectable(stuck.obj, "at exit its ordered finalizer still waits for a cycle");
}

/* A word that is left over may hold one back for a collection: the fixpoint is where some in a row bring nothing. */
#define IDLE_ROUNDS 3

long weakref_finalize_run_ordered(void)
{
	uint64_t first = atomic_load(&ordered_ran), before = first;

	for (int idle = 0; idle < IDLE_ROUNDS; idle++) {
		/* Finalizers leave pointers behind, which keep what is next in turn. */
		base_clear_stack();
		long result = gc_collect();
		if (result >= 0)
			result = gc_run_callbacks();
		if (result < 0)
			return result;
		uint64_t now = atomic_load(&ordered_ran);
		if (now != before)
			idle = -1;
		before = now;
	}
	return (long)(before - first);
}

/* ---- making ---- */

int finalize_ordered_start(void)
{
	struct roots *none = NULL, *fresh = checks_allocation_fails() ? NULL : cycle_roots_new(sizeof *fresh);

	if (fresh == NULL)
		return -WEAKREF_ENOMEM;
	fresh->report.run = cycles_report;
	atomic_compare_exchange_strong(&roots, &none, fresh);
	return 0;
}

static void watch_cycles(void)
{
	static _Atomic bool watched;

	if (atomic_exchange(&watched, true))
		return;
	/* First: it takes what is seen. */
	atomic_store(&collector_uncollectable_locked, count_stuck_locked);
	heap_watch_cycles(cycle_seen);
}

static bool has_destructor(const void *obj)
{
	bool foreign = true;
	const struct heap_header *block = ref_block_of(obj, &foreign);

	return block != NULL && !foreign && ((const gc_type *)heap_type(block))->destroy != NULL;
}

/* Those of ours that it found in libgc's slot and that are dead have no turn any more: with them their records would pile up on the block. */
static void drop_dead_before(struct finals_ordered *ordered)
{
	while (ordered->old == turn_has_come && !finals_is_live(finals_word(slot_of(ordered->old_data)))) {
		const struct finals_ordered *dead = ordered->old_data;
		ordered->old = dead->old;
		ordered->old_data = dead->old_data;
	}
}

weakref_finalize *weakref_finalize_new_ordered(void *obj, weakref_finalize_fn fn, void *args)
{
	void *block;

	if (heap_thread_check() == 0 && has_destructor(obj))
		return base_null(WEAKREF_ENOTSUP);
	uintptr_t word = finalize_object_word(obj, fn, &block);
	struct finals_ordered *ordered = word == 0 ? NULL : heap_alloc(sizeof *ordered);
	if (ordered == NULL)
		return NULL;
	ordered->node.run = ordered_run;
	ordered->args = args;
	ordered->block = ~(uintptr_t)block;
	if (finalize_make_ordered(obj, word, fn, ordered) == NULL)
		return NULL;
	watch_cycles();
	if (heap_finalizer_set_ordered(block, turn_has_come, ordered, &ordered->old, &ordered->old_data) != 0) {
		finals_take(slot_of(ordered), &(struct finals_taken){0});
		return base_null(WEAKREF_ENOMEM);
	}
	drop_dead_before(ordered);
	BASE_KEEP(obj);
	return ordered->handle;
}

/* SPDX-License-Identifier: MIT */
/*
 * finalize: see finalize.h. Making finalizers, and what the program calls.
 *
 * For WEAKREF_DEBUG_UNCOLLECTABLE a walk from a finalizer's arguments tells whether they keep its object.
 */
#include "finalize.h"

#include <stdio.h>

#include "collector.h"
#include "marking.h"
#include "ref.h"
#include "weakref/object.h"

static _Atomic bool started;

/* ---- taking ---- */

void finalize_run(const struct finals_taken *taken)
{
	int result = taken->fn(taken->args);

	if (result < 0)
		deliver_failed(result, "finalizer", taken->handle);
}

static void *forget_locked(void *ordered)
{
	finalize_cycle_forget_locked(ordered);
	return NULL;
}

/* By call and detach. */
static bool take_live(struct finals_slot slot, struct finals_taken *taken)
{
	struct finals_ordered *ordered = finals_ordered(slot);

	if (!finals_take(slot, taken))
		return false;
	if (ordered != NULL)
		heap_with_lock(forget_locked, ordered);
	return true;
}

/* ---- walks ---- */

bool finalize_is_no_chunk(const void *base)
{
	return heap_kind_of(base) != HEAP_FINALS;
}

void *finalize_object(struct finals_slot slot)
{
	return (void *)(finals_word(slot) & ~EPOCH_TAG);
}

bool finalize_older_live_locked(uint64_t *order, struct finals_slot *slot)
{
	do
		if (!finals_older_locked(order, 0, slot))
			return false;
	while (!finals_is_live(finals_word(*slot)));
	return true;
}

/* ---- arguments that lead to their own object ---- */

/* Of a LIVE one. */
static bool keeps_own_object_locked(struct finals_slot slot)
{
	const struct finals_ordered *ordered = finals_ordered(slot);
	const void *args = ordered != NULL ? ordered->args : slot.in->args[slot.i];
	void *base = heap_base(finalize_object(slot));

	marking_walk_begin_locked(finalize_is_no_chunk);
	marking_walk_locked(args);
	bool met = marking_walk_met_locked(base) != 0;
	marking_walk_end_locked();
	return met;
}

struct leaks {
	uint64_t order; /* older ones were not looked at yet */
	size_t n, looked_at;
	void *objs[32];
};

/* Each is looked at when it is made, and once more, when its arguments are likely to be what they will be. */
static void *leaks_locked(void *arg)
{
	struct leaks *leaks = arg;
	struct finals_slot slot;

	while (leaks->looked_at < 32 && finalize_older_live_locked(&leaks->order, &slot)) {
		if ((slot.in->checked >> slot.i & 1) != 0)
			continue;
		leaks->looked_at++;
		slot.in->checked |= UINT64_C(1) << slot.i;
		if (keeps_own_object_locked(slot))
			leaks->objs[leaks->n++] = finalize_object(slot);
	}
	return leaks->looked_at != 0 ? leaks : NULL;
}

static void leak_tell(const void *obj)
{
	collector_uncollectable(obj, "the arguments of its finalizer lead to it");
}

static void look_for_leaks(void)
{
	struct leaks leaks = {.order = UINT64_MAX};

	for (; heap_with_lock(leaks_locked, &leaks) != NULL; leaks.n = leaks.looked_at = 0)
		for (size_t i = 0; i < leaks.n; i++)
			leak_tell(leaks.objs[i]);
}

static void *leak_locked(void *handle)
{
	struct finals_slot slot;

	if (!finals_slot_of(handle, &slot) || !finals_is_live(finals_word(slot)) || !keeps_own_object_locked(slot))
		return NULL;
	slot.in->checked |= UINT64_C(1) << slot.i;
	return handle;
}

static NOINLINE void look_for_leak(weakref_finalize *finalize, const void *obj)
{
	if (heap_with_lock(leak_locked, finalize) != NULL)
		leak_tell(obj);
}

/* ---- making ---- */

/* Two threads at once: one root stays unused, and the exit's handler finds nothing the second time. */
static int start(void)
{
	int error = finalize_ordered_start();

	if (error == 0)
		error = finalize_exit_start();
	if (error != 0)
		return error;
	atomic_store(&collector_look_for_leaks, look_for_leaks);
	atomic_store(&started, true);
	return 0;
}

NOINLINE uintptr_t finalize_object_word(void *obj, weakref_finalize_fn fn, void **block)
{
	bool foreign;
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error == 0 && ((*block = ref_block_of(obj, &foreign)) == NULL || fn == NULL))
		error = -WEAKREF_EINVAL;
	if (error == 0 && !atomic_load_explicit(&started, memory_order_acquire))
		error = start();
	if (error != 0) {
		base_null((enum weakref_error) - error);
		return 0;
	}
	return (uintptr_t)obj | (foreign || (char *)*block + HEAP_HEADER != (char *)obj ? FINALS_ASK : 0);
}

static inline weakref_finalize *make(void *obj, uintptr_t word, weakref_finalize_fn fn, void *args, struct finals_ordered *ordered)
{
	struct finals_claim claim = finals_claim(fn);

	if (unlikely(claim.in == NULL))
		return NULL;
	if (ordered != NULL)
		finals_set_ordered(&claim, ordered);
	weakref_finalize *finalize = finals_fill(&claim, word, args);
	if (unlikely(collector_tells_uncollectable()))
		look_for_leak(finalize, obj);
	BASE_KEEP(obj);
	return finalize;
}

weakref_finalize *weakref_finalize_new(void *obj, weakref_finalize_fn fn, void *args)
{
	uintptr_t word = (uintptr_t)obj;
	void *block = heap_object_known(obj);

	/* That there is an open chunk tells that all is in order. */
	if (unlikely(block == NULL || fn == NULL || atomic_load_explicit(&finals_open, memory_order_relaxed) == NULL)) {
		word = finalize_object_word(obj, fn, &block);
		if (word == 0)
			return NULL;
	}
	heap_attend();
	return make(obj, word, fn, args, NULL);
}

weakref_finalize *finalize_make_ordered(void *obj, uintptr_t word, weakref_finalize_fn fn, struct finals_ordered *ordered)
{
	return make(obj, word, fn, ordered, ordered);
}

/* ---- for the program ---- */

static int finalizer_of(const weakref_finalize *finalize, struct finals_slot *slot)
{
	int error = heap_thread_check();

	return error != 0 ? error : finals_slot_of(finalize, slot) ? 0 : -WEAKREF_EINVAL;
}

int weakref_finalize_call(weakref_finalize *finalize, int *result)
{
	struct finals_taken taken;
	struct finals_slot slot;
	int error = finalizer_of(finalize, &slot);

	if (error != 0)
		return error;
	if (!take_live(slot, &taken) || atomic_load(&finals_over))
		return 0;
	int got = taken.fn(taken.args);
	if (result != NULL)
		*result = got;
	return 1;
}

static int look(const weakref_finalize *finalize, bool (*how)(struct finals_slot slot, struct finals_taken *taken), void **obj,
		weakref_finalize_fn *fn, void **args)
{
	struct finals_taken taken = {0};
	struct finals_slot slot;
	int there = finalizer_of(finalize, &slot);

	if (there == 0) {
		there = how(slot, &taken);
		if (there == 0)
			taken = (struct finals_taken){0};
	}
	if (obj != NULL)
		*obj = taken.obj;
	if (fn != NULL)
		*fn = taken.fn;
	if (args != NULL)
		*args = taken.args;
	return there;
}

int weakref_finalize_detach(weakref_finalize *finalize, void **obj, weakref_finalize_fn *fn, void **args)
{
	return look(finalize, take_live, obj, fn, args);
}

int weakref_finalize_peek(const weakref_finalize *finalize, void **obj, weakref_finalize_fn *fn, void **args)
{
	return look(finalize, finals_peek, obj, fn, args);
}

bool weakref_finalize_alive(const weakref_finalize *finalize)
{
	struct finals_taken taken;
	struct finals_slot slot;

	return finalizer_of(finalize, &slot) == 0 && finals_peek(slot, &taken);
}

bool weakref_finalize_get_atexit(const weakref_finalize *finalize)
{
	struct finals_slot slot;

	if (finalizer_of(finalize, &slot) != 0)
		return false;
	uintptr_t word = finals_word(slot);
	return finals_is_live(word) && (word & FINALS_QUIET) == 0 && slot.in->process == deliver_process;
}

static void *adopt_locked(void *arg)
{
	struct finals_slot slot = *(struct finals_slot *)arg;

	if (slot.in->process != deliver_process)
		finals_adopt_locked(slot.in);
	return NULL;
}

int weakref_finalize_set_atexit(weakref_finalize *finalize, bool on)
{
	struct finals_slot slot;
	int error = finalizer_of(finalize, &slot);

	if (error != 0)
		return error;
	if (on)
		heap_with_lock(adopt_locked, &slot);
	finals_tag(slot, on ? 0 : FINALS_QUIET, on ? FINALS_QUIET : 0);
	return 0;
}

int weakref_finalize_repr(const weakref_finalize *finalize, char *buf, size_t size)
{
	struct finals_taken taken;
	struct finals_slot slot;
	int error = finalizer_of(finalize, &slot);

	if (error != 0)
		return error;
	if (buf == NULL && size != 0)
		return -WEAKREF_EINVAL;
	if (!finals_peek(slot, &taken))
		return snprintf(buf, size, "<finalize object at %p; dead>", (const void *)finalize);
	int n = snprintf(buf, size, "<finalize object at %p; for '%s' at %p>", (const void *)finalize, ref_name_of(taken.obj), taken.obj);
	BASE_KEEP(taken.obj);
	return n;
}

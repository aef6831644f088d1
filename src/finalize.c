/* SPDX-License-Identifier: MIT */
/*
 * finalize: see weakref/finalize.h. What finalizers are made of, how they are made, and how deaths are found, is in finals.h; here is what
 * the program calls, the run at exit, and ordered finalizers.
 *
 * Whoever takes a finalizer runs its function, or does not: call, detach, delivery or the exit; there is one such (finals.h).
 *
 * Ordered finalizers read their object until they are due or gone. libgc says when one is due, by an ordered finalizer of its own on the
 * block, whose data, a `struct finals_ordered`, is what is queued, and holds the object until the function has returned: so what the object
 * leads to stays out of turn until then. Where somebody took that finalizer away, the slot itself is queued once the block is gone. Cycles
 * are what libgc warns of: one block of each is noted then, and when the collection settles a walk from the new ones finds who else waits for
 * ever (FINALS_STUCK). Delivery reports them.
 *
 * For WEAKREF_DEBUG_UNCOLLECTABLE the same walk, from a finalizer's arguments, tells whether they keep its object.
 *
 * Locks: libgc's, for cycles and the exit.
 *
 * Deliberately not here: delivery (deliver.c).
 */
#include "weakref/finalize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "collector.h"
#include "cycle.h"
#include "deliver.h"
#include "finals.h"
#include "heap.h"
#include "marking.h"
#include "ref.h"
#include "weakref/object.h"

#define CYCLES 1024 /* that can be known at a time, the host's own ones included */

/* Uncollectable and scanned. */
struct roots {
	struct deliver_node report; /* cycles */
};

/* Blocks of cycles, hidden, in order of the hidden word, as long as they have their finalizers. Libgc's lock. */
static uintptr_t cycles[CYCLES];
static size_t cycle_count;
/* Those that the collection at hand added, hidden; count_stuck_locked takes them at its end. */
static uintptr_t fresh_cycles[CYCLES];
static size_t fresh_count;
static _Atomic uint64_t ordered_ran;

static _Atomic(struct roots *) roots;

/* The exit's walk, in orders (finals.h); libgc's lock. What it has yet to look at are stretches, the newest last; what lies
 * between them it has passed. What finalizers make is a stretch of its own, before the walk goes on with the one that it was in:
 * so many may be nested. */
#define STRETCHES 256
static struct {
	struct stretch {
		uint64_t from, to;
	} left[STRETCHES];
	size_t n;
	uint64_t made; /* how many there were when it was looked at last */
} walk;

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

static void *cycle_forget_locked(void *ordered)
{
	uintptr_t block = ((struct finals_ordered *)ordered)->block;
	size_t at = cycle_place(block);

	if (is_known(block))
		memmove(&cycles[at], &cycles[at + 1], (--cycle_count - at) * sizeof *cycles);
	return NULL;
}

/* ---- taking ---- */

static void run(const struct finals_taken *taken)
{
	int result = taken->fn(taken->args);

	if (result < 0)
		deliver_failed(result, "finalizer", taken->handle);
}

/* By call and detach. */
static bool take_live(struct finals_slot slot, struct finals_taken *taken)
{
	struct finals_ordered *ordered = finals_ordered(slot);

	if (!finals_take(slot, taken))
		return false;
	if (ordered != NULL)
		heap_with_lock(cycle_forget_locked, ordered);
	return true;
}

/* ---- ordered ---- */

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
		run(&taken);
	}
	ordered->obj = NULL;
}

static void *make_due_locked(void *ordered)
{
	if (!finals_make_due_locked(slot_of(ordered)))
		return NULL;
	cycle_forget_locked(ordered);
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

/* Chunks of finalizers lead everywhere. */
static bool no_finalizer(const void *base)
{
	return heap_kind_of(base) != HEAP_FINALS;
}

static void *block_of(const struct finals_ordered *ordered)
{
	return (void *)~ordered->block;
}

/* The next older LIVE one, as finals_older_locked. */
static bool older_live_locked(uint64_t *order, struct finals_slot *slot)
{
	do
		if (!finals_older_locked(order, 0, slot))
			return false;
	while (!finals_is_live(finals_word(*slot)));
	return true;
}

/* The same for ordered ones. */
static struct finals_ordered *older_ordered_locked(uint64_t *order)
{
	struct finals_ordered *ordered = NULL;
	struct finals_slot slot;

	while (ordered == NULL && older_live_locked(order, &slot))
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
	marking_walk_begin_locked(no_finalizer);
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

static void *object_of(struct finals_slot slot)
{
	return (void *)(finals_word(slot) & ~EPOCH_TAG);
}

static void *news_locked(void *arg)
{
	struct finals_ordered *ordered;
	struct news *news = arg;

	while (news->n < 32 && (ordered = older_ordered_locked(&news->order)) != NULL) {
		bool known = is_known(ordered->block);
		if ((ordered->flags & (FINALS_REPORTED | FINALS_ECHO)) != 0 || ((ordered->flags & FINALS_STUCK) == 0 && !known))
			continue;
		ordered->flags |= FINALS_REPORTED;
		news->at[news->n].obj = object_of(slot_of(ordered));
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
			stuck->obj = object_of(slot);
			return stuck;
		}
	}
	return NULL;
}

/* At exit, before any of them runs; those of this process. */
static void tell_stuck(void)
{
	uint64_t n = 0;

	for (struct stuck stuck = {.order = UINT64_MAX}; heap_with_lock(stuck_locked, &stuck) != NULL;)
		n++;
	collector_uncollectable_at_exit(n);
	for (struct stuck stuck = {.order = UINT64_MAX}; n > 0 && heap_with_lock(stuck_locked, &stuck) != NULL;)
		collector_uncollectable(stuck.obj, "at exit its ordered finalizer still waits for a cycle");
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

/* ---- arguments that lead to their own object ---- */

/* Of a LIVE one. */
static bool keeps_own_object_locked(struct finals_slot slot)
{
	const struct finals_ordered *ordered = finals_ordered(slot);
	const void *args = ordered != NULL ? ordered->args : slot.in->args[slot.i];
	void *base = heap_base(object_of(slot));

	marking_walk_begin_locked(no_finalizer);
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

	while (leaks->looked_at < 32 && older_live_locked(&leaks->order, &slot)) {
		if ((slot.in->checked >> slot.i & 1) != 0)
			continue;
		leaks->looked_at++;
		slot.in->checked |= UINT64_C(1) << slot.i;
		if (keeps_own_object_locked(slot))
			leaks->objs[leaks->n++] = object_of(slot);
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

/* ---- the exit ---- */

static void *walk_begin_locked(void *unused)
{
	(void)unused;
	walk.made = finals_made();
	walk.left[0] = (struct stretch){0, walk.made};
	walk.n = 1;
	return NULL;
}

static struct stretch *walk_newest(void)
{
	return &walk.left[walk.n - 1];
}

/* What has been passed is not passed again, as each finalizer may make another one; but where there is no room for one more
 * stretch the newest becomes longer, by what was passed since as well. */
static void walk_look_locked(void)
{
	uint64_t made = finals_made();

	if (made == walk.made)
		return;
	while (walk.n > 0 && walk_newest()->from == walk_newest()->to)
		walk.n--;
	if (walk.n < STRETCHES)
		walk.left[walk.n++] = (struct stretch){walk.made, made};
	else
		walk_newest()->to = made;
	walk.made = made;
}

/* The next older one of those that the walk has yet to look at; false: there is none. */
static bool walk_older_locked(struct finals_slot *slot)
{
	for (; walk.n > 0; walk.n--)
		if (finals_older_locked(&walk_newest()->to, walk_newest()->from, slot))
			return true;
	return false;
}

/* Takes the newest that runs at exit, of those that this walk has not passed yet and those that were made since it began. */
static void *take_at_exit_locked(void *taken)
{
	struct finals_slot slot;

	walk_look_locked();
	while (walk_older_locked(&slot)) {
		struct finals_ordered *ordered = finals_ordered(slot);
		if (!finals_take_at_exit_locked(slot, taken))
			continue;
		if (ordered != NULL)
			cycle_forget_locked(ordered);
		return taken;
	}
	return NULL;
}

/* What a walk has passed may have to run because of what it ran: there is one more walk then. */
static void run_all_at_exit(void)
{
	struct finals_taken taken;
	bool ran;

	do {
		ran = false;
		heap_with_lock(walk_begin_locked, NULL);
		while (heap_with_lock(take_at_exit_locked, &taken) != NULL) {
			/* Allocations in it run no callbacks: the order is ours. */
			deliver_hold(__builtin_frame_address(0));
			run(&taken);
			ran = true;
		}
	} while (ran);
	/* Handlers that come after us may collect, with our frame under theirs: it is not to keep the last one's object. */
	taken = (struct finals_taken){0};
	BASE_KEEP(&taken);
	deliver_hold(NULL);
}

/* By exit. A finalizer that calls exit, or ends the thread, does not come back: exit then goes on with the next handler, which is this one
 * again, for the rest of them. Where that handler cannot be had, such a finalizer is the last. */
static void exit_run(void)
{
	static bool begun, was_automatic;

	if (atomic_load(&finals_over) || (heap_thread_check() != 0 && heap_thread_register() != 0))
		return;
	if (!begun) {
		was_automatic = heap_is_automatic();
		tell_stuck();
	}
	begun = true;
	int unregistered = atexit(exit_run);
	(void)unregistered;
	heap_set_automatic(false);
	run_all_at_exit();
	atomic_store(&finals_over, true);
	heap_set_automatic(was_automatic);
}

/* ---- making ---- */

/* Two threads at once: one root stays unused, and the exit's handler finds nothing the second time. */
static int start(void)
{
	struct roots *none = NULL, *fresh = checks_allocation_fails() ? NULL : cycle_roots_new(sizeof *fresh);

	if (fresh == NULL || atexit(exit_run) != 0)
		return -WEAKREF_ENOMEM;
	fresh->report.run = cycles_report;
	atomic_compare_exchange_strong(&roots, &none, fresh);
	atomic_store(&collector_look_for_leaks, look_for_leaks);
	return 0;
}

/* What the word of a finalizer of obj holds; 0 with errno set where there can be none. */
static NOINLINE uintptr_t object_word(void *obj, weakref_finalize_fn fn, void **block)
{
	bool foreign;
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error == 0 && ((*block = ref_block_of(obj, &foreign)) == NULL || fn == NULL))
		error = -WEAKREF_EINVAL;
	if (error == 0 && atomic_load_explicit(&roots, memory_order_acquire) == NULL)
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
		word = object_word(obj, fn, &block);
		if (word == 0)
			return NULL;
	}
	heap_attend();
	return make(obj, word, fn, args, NULL);
}

static bool has_destructor(const void *obj)
{
	bool foreign = true;
	const struct heap_header *block = ref_block_of(obj, &foreign);

	return block != NULL && !foreign && ((const gc_type *)block->type)->destroy != NULL;
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
	uintptr_t word = object_word(obj, fn, &block);
	struct finals_ordered *ordered = word == 0 ? NULL : heap_alloc(sizeof *ordered);
	if (ordered == NULL)
		return NULL;
	ordered->node.run = ordered_run;
	ordered->args = args;
	ordered->block = ~(uintptr_t)block;
	if (make(obj, word, fn, ordered, ordered) == NULL)
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
	const gc_type *type = gc_type_of(taken.obj);
	const char *name = type == NULL ? "block" : type->name == NULL ? "object" : type->name;
	int n = snprintf(buf, size, "<finalize object at %p; for '%s' at %p>", (const void *)finalize, name, taken.obj);
	BASE_KEEP(taken.obj);
	return n;
}

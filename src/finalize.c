/* SPDX-License-Identifier: MIT */
/*
 * finalize: see weakref/finalize.h. A finalizer is a reference with a callback (ref.h) that nobody can read or list, and that is held
 * strongly: all that are LIVE or DUE stand in one list from a root, the newest first.
 *
 * States     NEW ──new──▶ LIVE ──a collection found the object dead, and queued the node──▶ DUE
 *                           │ call, detach, exit                                            │ delivery, exit
 *                           └────────────────────────────▶ DEAD ◀───────────────────────────┘
 * Whoever takes it to DEAD runs the function, or does not; there is one such, decided with libgc's lock held. It leaves the list then, and
 * function and arguments leave it: from there on only its handle keeps the block.
 *
 * Invariants
 *  1. The list holds the LIVE and the DUE, in the order of their making. `older` links are scanned, `newer` links are not.
 *  2. Every LIVE one is marked in each collection, so that the scan never parks it.
 *  3. `process` is the process that made it, took it over, or found its object dead. No other runs it at exit, nor when it is DUE.
 *
 * Ordered finalizers are long references: they stand in the registry of those, and read their object until it is due or gone. libgc says
 * when it is due, by an ordered finalizer of its own on the block, whose data, a `struct ordered`, is what is queued, and holds the
 * object until the function has returned: so what the object leads to stays out of turn until then. Where somebody took that finalizer
 * away, the record itself is queued once the block is gone. Cycles are what libgc warns of: one block of each is noted then, and when the
 * collection settles a walk from the new ones finds who else waits for ever (REF_STUCK). Delivery reports them.
 *
 * For WEAKREF_DEBUG_UNCOLLECTABLE the same walk, from a finalizer's arguments, tells whether they keep its object.
 *
 * Locks: libgc's, for all of it.
 *
 * Deliberately not here: the death (anchor.c queues the node, in one order with the callbacks of references), delivery (deliver.c).
 */
#include "weakref/finalize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anchor.h"
#include "checks.h"
#include "collector.h"
#include "cycle.h"
#include "deliver.h"
#include "heap.h"
#include "marking.h"
#include "ref.h"
#include "weakref/object.h"

#define FINALIZE_SIGNATURE UINT32_C(0x5746494e)

#define CYCLES 1024 /* that can be known at a time, the host's own ones included */

/* Uncollectable and scanned. */
struct roots {
	weakref_ref *newest;
	struct deliver_node report; /* cycles */
};

/* What libgc holds for an ordered finalizer. */
struct ordered {
	struct deliver_node node;
	weakref_ref *ref;
	void *obj; /* while it is due */
	void (*old)(void *base, void *data);
	void *old_data;
};

/* Blocks of cycles, hidden, in order of the hidden word, as long as they have their finalizers. Libgc's lock. */
static uintptr_t cycles[CYCLES];
static size_t cycle_count;
/* Those that the collection at hand added, hidden; count_stuck_locked takes them at its end. */
static uintptr_t fresh_cycles[CYCLES];
static size_t fresh_count;
static bool report_queued;
static _Atomic uint64_t ordered_ran;

static _Atomic(struct roots *) roots;

/* The exit. */
static weakref_ref *cursor; /* the list from here on has not been walked yet; libgc's lock */
static bool has_newer;      /* one was made since the walk began; libgc's lock */
static _Atomic bool over;   /* nothing is run any more */

/* What was taken out of a finalizer, or is to be looked at. */
struct taken {
	weakref_ref *ref;
	void *obj;
	weakref_finalize_fn fn;
	void *args;
};

/* ---- the list ---- */

static weakref_ref *older_than(const weakref_ref *ref)
{
	return ref->payload;
}

static weakref_ref *newer_than(const weakref_ref *ref)
{
	return (weakref_ref *)ref->next;
}

static void link_locked(weakref_ref *ref)
{
	struct roots *list = atomic_load(&roots);

	ref->payload = list->newest;
	if (list->newest != NULL)
		list->newest->next = (uintptr_t)ref;
	list->newest = ref;
	has_newer = true;
}

static void unlink_locked(weakref_ref *ref)
{
	weakref_ref *older = older_than(ref), *newer = newer_than(ref);

	if (cursor == ref)
		cursor = older;
	if (newer == NULL)
		atomic_load(&roots)->newest = older;
	else
		newer->payload = older;
	if (older != NULL)
		older->next = (uintptr_t)newer;
	ref->payload = NULL;
	ref->next = 0;
}

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

static void cycle_forget_locked(const void *base)
{
	uintptr_t block = ~(uintptr_t)base;
	size_t at = cycle_place(block);

	if (at < cycle_count && cycles[at] == block)
		memmove(&cycles[at], &cycles[at + 1], (--cycle_count - at) * sizeof *cycles);
}

/* ---- taking ---- */

static void read_locked(struct taken *taken)
{
	weakref_ref *ref = taken->ref;

	taken->obj = (void *)atomic_load_explicit(&ref->referent, memory_order_relaxed);
	taken->fn = ref->finalize;
	taken->args = ref->data;
}

static void take_locked(struct taken *taken)
{
	weakref_ref *ref = taken->ref;

	read_locked(taken);
	unlink_locked(ref);
	if ((ref->flags & REF_LONG) != 0)
		cycle_forget_locked(ref->block);
	atomic_store_explicit(&ref->referent, 0, memory_order_relaxed);
	atomic_store_explicit(&ref->state, REF_DEAD, memory_order_relaxed);
	ref->finalize = NULL;
	ref->data = NULL;
}

static void *take_live_locked(void *taken)
{
	if (((struct taken *)taken)->ref->state != REF_LIVE)
		return NULL;
	take_locked(taken);
	return taken;
}

static void *read_live_locked(void *taken)
{
	if (((struct taken *)taken)->ref->state != REF_LIVE)
		return NULL;
	read_locked(taken);
	return taken;
}

/* By delivery. One that was due before the fork is for the parent to run. */
static void *take_due_locked(void *arg)
{
	struct taken *taken = arg;
	bool ours = taken->ref->process == deliver_process;

	if (taken->ref->state != REF_DUE)
		return NULL;
	take_locked(taken);
	return ours ? taken : NULL;
}

static void run(const struct taken *taken)
{
	int result = taken->fn(taken->args);

	if (result < 0)
		deliver_failed(result, "finalizer", taken->ref);
}

static void finalize_run(struct deliver_node *node)
{
	struct taken taken = {.ref = (weakref_ref *)((char *)node - offsetof(weakref_ref, node))};

	if (heap_with_lock(take_due_locked, &taken) != NULL && !atomic_load(&over))
		run(&taken);
}

/* ---- the exit ---- */

static bool runs_at_exit(const weakref_ref *ref)
{
	return ref->process == deliver_process && (ref->state == REF_DUE || (ref->flags & REF_ATEXIT) != 0);
}

static void *walk_begin_locked(void *unused)
{
	(void)unused;
	cursor = atomic_load(&roots)->newest;
	has_newer = false;
	return NULL;
}

/* Takes the newest that runs at exit, of those that this walk has not passed yet and those that were made since it began. */
static void *take_at_exit_locked(void *arg)
{
	struct taken *taken = arg;

	if (has_newer)
		walk_begin_locked(NULL);
	while (cursor != NULL && !runs_at_exit(cursor))
		cursor = older_than(cursor);
	taken->ref = cursor;
	if (cursor == NULL)
		return NULL;
	take_locked(taken);
	return taken;
}

/* What a walk has passed may have to run because of what it ran: there is one more walk then. */
static void run_all_at_exit(void)
{
	struct taken taken;
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
	deliver_hold(NULL);
}

/* By exit. A finalizer that calls exit, or ends the thread, does not come back: exit then goes on with the next handler, which is this one
 * again, for the rest of them. Where that handler cannot be had, such a finalizer is the last. */
static void exit_run(void)
{
	static bool begun, was_automatic;

	if (atomic_load(&over) || (heap_thread_check() != 0 && heap_thread_register() != 0))
		return;
	if (!begun)
		was_automatic = heap_is_automatic();
	begun = true;
	int unregistered = atexit(exit_run);
	(void)unregistered;
	heap_set_automatic(false);
	run_all_at_exit();
	atomic_store(&over, true);
	heap_set_automatic(was_automatic);
}

/* ---- ordered ---- */

static void ordered_run(struct deliver_node *node)
{
	struct ordered *ordered = (struct ordered *)node;
	struct taken taken = {.ref = ordered->ref};

	if (heap_with_lock(take_due_locked, &taken) != NULL && !atomic_load(&over)) {
		atomic_fetch_add(&ordered_ran, 1);
		run(&taken);
	}
	ordered->obj = NULL;
}

static void *make_due_locked(void *arg)
{
	weakref_ref *ref = arg;

	if (ref->state != REF_LIVE)
		return NULL;
	ref_make_due(ref);
	return ref;
}

/* Called by libgc, in any thread, at any allocation: queues only. */
static void turn_has_come(void *base, void *data)
{
	struct ordered *ordered = data;

	if (heap_with_lock(make_due_locked, ordered->ref) != NULL) {
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

	if (cycle_count == CYCLES || (at < cycle_count && cycles[at] == block))
		return;
	memmove(&cycles[at + 1], &cycles[at], (cycle_count++ - at) * sizeof *cycles);
	cycles[at] = block;
	fresh_cycles[fresh_count++] = block;
	if (!report_queued)
		deliver_queue_stw(&list->report, &list->report);
	report_queued = true;
}

/* The list of finalizers leads everywhere. */
static bool no_finalizer(const void *base)
{
	return heap_kind_of(base) != HEAP_REFCALL || ((const weakref_ref *)base)->signature != FINALIZE_SIGNATURE;
}

/* Reclaim has ended, libgc's lock is held. Whatever is dead and has its turn after a block of a cycle waits for ever, that block included. */
static uint64_t count_stuck_locked(void)
{
	uint64_t n = 0;

	if (fresh_count == 0)
		return 0;
	marking_walk_begin_locked(no_finalizer);
	while (fresh_count > 0)
		marking_walk_locked((const void *)~fresh_cycles[--fresh_count]);
	for (weakref_ref *ref = atomic_load(&roots)->newest; ref != NULL; ref = older_than(ref)) {
		if (ref->state != REF_LIVE || (ref->flags & (REF_LONG | REF_MOURNED | REF_STUCK)) != (REF_LONG | REF_MOURNED))
			continue;
		int met = marking_walk_met_locked(ref->block);
		n += met == 1;
		/* One finalizer speaks for the object. */
		if (met != 0)
			ref->flags |= (uint8_t)(met == 1 ? REF_STUCK : REF_STUCK | REF_REPORTED);
	}
	marking_walk_end_locked();
	return n;
}

struct news {
	size_t n;
	struct {
		void *obj;
		bool is_known; /* as the one of its cycle that libgc tells of */
	} at[32];
};

static bool is_known(const weakref_ref *ref)
{
	uintptr_t block = ~(uintptr_t)ref->block;
	size_t at = cycle_place(block);

	return at < cycle_count && cycles[at] == block;
}

static void *news_locked(void *arg)
{
	struct news *news = arg;

	report_queued = false;
	for (weakref_ref *ref = atomic_load(&roots)->newest; ref != NULL && news->n < 32; ref = older_than(ref)) {
		if (ref->state != REF_LIVE || (ref->flags & (REF_LONG | REF_REPORTED)) != REF_LONG ||
		    ((ref->flags & REF_STUCK) == 0 && !is_known(ref)))
			continue;
		ref->flags |= REF_REPORTED;
		news->at[news->n].obj = (void *)atomic_load_explicit(&ref->referent, memory_order_relaxed);
		news->at[news->n++].is_known = is_known(ref);
	}
	return news->n != 0 ? news : NULL;
}

static void cycles_report(struct deliver_node *unused)
{
	struct news news = {0};

	(void)unused;
	for (; heap_with_lock(news_locked, &news) != NULL; news.n = 0)
		for (size_t i = 0; i < news.n; i++) {
			collector_uncollectable(news.at[i].obj, "its ordered finalizer waits for a cycle");
			if (news.at[i].is_known)
				deliver_failed(-WEAKREF_ENOTSUP, "finalizer in a cycle", news.at[i].obj);
		}
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

static bool keeps_own_object_locked(const weakref_ref *ref)
{
	marking_walk_begin_locked(no_finalizer);
	marking_walk_locked(ref->data);
	bool met = marking_walk_met_locked(ref->block) != 0;
	marking_walk_end_locked();
	return met;
}

struct leaks {
	size_t n, looked_at;
	void *objs[32];
};

/* Each is looked at when it is made, and once more, when its arguments are likely to be what they will be. */
static void *leaks_locked(void *arg)
{
	struct leaks *leaks = arg;

	for (weakref_ref *ref = atomic_load(&roots)->newest; ref != NULL && leaks->looked_at < 32; ref = older_than(ref)) {
		if (ref->state != REF_LIVE || (atomic_load_explicit(&ref->where, memory_order_relaxed) & REF_CHECKED) != 0)
			continue;
		leaks->looked_at++;
		atomic_fetch_or_explicit(&ref->where, REF_CHECKED, memory_order_relaxed);
		if (keeps_own_object_locked(ref))
			leaks->objs[leaks->n++] = (void *)atomic_load_explicit(&ref->referent, memory_order_relaxed);
	}
	return leaks->looked_at != 0 ? leaks : NULL;
}

static void leak_tell(const void *obj)
{
	collector_uncollectable(obj, "the arguments of its finalizer lead to it");
}

static void look_for_leaks(void)
{
	struct leaks leaks = {0};

	for (; heap_with_lock(leaks_locked, &leaks) != NULL; leaks = (struct leaks){0})
		for (size_t i = 0; i < leaks.n; i++)
			leak_tell(leaks.objs[i]);
}

static void *leak_locked(void *arg)
{
	weakref_ref *ref = arg;

	if (ref->state != REF_LIVE || !keeps_own_object_locked(ref))
		return NULL;
	atomic_fetch_or_explicit(&ref->where, REF_CHECKED, memory_order_relaxed);
	return ref;
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

struct attach {
	weakref_ref *ref;
	void *referent;
};

static void *attach_locked(void *arg)
{
	struct attach *attach = arg;

	if (anchor_attach_locked(attach->ref, attach->referent) == NULL)
		return NULL;
	link_locked(attach->ref);
	return attach->ref;
}

static weakref_ref *finalize_make(void *obj, weakref_finalize_fn fn, void *args, unsigned flags)
{
	bool foreign;
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error != 0)
		return base_null((enum weakref_error) - error);
	void *block = ref_block_of(obj, &foreign);
	if (block == NULL || fn == NULL)
		return base_null(WEAKREF_EINVAL);
	if (unlikely(atomic_load_explicit(&roots, memory_order_acquire) == NULL) && start() != 0)
		return base_null(WEAKREF_ENOMEM);
	weakref_ref *ref = heap_alloc_kind(HEAP_REFCALL, sizeof *ref);
	if (ref == NULL)
		return NULL;
	ref->flags = (uint8_t)(REF_FULL | REF_FINALIZE | REF_ATEXIT | flags);
	atomic_init(&ref->where, foreign ? REF_FOREIGN : 0);
	ref->signature = FINALIZE_SIGNATURE;
	ref->process = deliver_process;
	ref->block = block;
	ref->node.run = finalize_run;
	ref->data = args;
	ref->finalize = fn;
	ref = heap_with_lock(attach_locked, &(struct attach){ref, obj});
	if (unlikely(collector_tells_uncollectable()) && ref != NULL && heap_with_lock(leak_locked, ref) != NULL)
		leak_tell(obj);
	BASE_KEEP(obj);
	return ref != NULL ? ref : base_null(WEAKREF_ENOMEM);
}

weakref_finalize *weakref_finalize_new(void *obj, weakref_finalize_fn fn, void *args)
{
	return (weakref_finalize *)finalize_make(obj, fn, args, 0);
}

static bool has_destructor(const void *obj)
{
	bool foreign = true;
	const struct heap_header *block = ref_block_of(obj, &foreign);

	return block != NULL && !foreign && ((const gc_type *)block->type)->destroy != NULL;
}

weakref_finalize *weakref_finalize_new_ordered(void *obj, weakref_finalize_fn fn, void *args)
{
	struct ordered *ordered;

	if (heap_thread_check() == 0 && has_destructor(obj))
		return base_null(WEAKREF_ENOTSUP);
	weakref_ref *ref = finalize_make(obj, fn, args, REF_LONG);
	if (ref == NULL)
		return NULL;
	ordered = heap_alloc(sizeof *ordered);
	if (ordered != NULL) {
		ordered->node.run = ordered_run;
		ordered->ref = ref;
		watch_cycles();
	}
	if (ordered == NULL || heap_finalizer_set_ordered(ref->block, turn_has_come, ordered, &ordered->old, &ordered->old_data) != 0) {
		heap_with_lock(take_live_locked, &(struct taken){.ref = ref});
		return base_null(WEAKREF_ENOMEM);
	}
	BASE_KEEP(obj);
	return (weakref_finalize *)ref;
}

/* ---- for the program ---- */

static int finalizer_of(const weakref_finalize *finalize, weakref_ref **ref)
{
	*ref = (weakref_ref *)finalize;
	return *ref == NULL || (*ref)->signature != FINALIZE_SIGNATURE ? -WEAKREF_EINVAL : heap_thread_check();
}

int weakref_finalize_call(weakref_finalize *finalize, int *result)
{
	struct taken taken;
	int error = finalizer_of(finalize, &taken.ref);

	if (error != 0)
		return error;
	if (heap_with_lock(take_live_locked, &taken) == NULL || atomic_load(&over))
		return 0;
	int got = taken.fn(taken.args);
	if (result != NULL)
		*result = got;
	return 1;
}

/* Loading the object first makes sure that it lives on, whatever is read afterwards, and that the collector's hook is still ours. */
static int look(const weakref_finalize *finalize, void *(*fn_locked)(void *taken), void **obj, weakref_finalize_fn *fn, void **args)
{
	struct taken taken = {0};
	uintptr_t raw;
	int there = finalizer_of(finalize, &taken.ref);

	if (there == 0) {
		void *object = epoch_load(&taken.ref->referent, &raw);
		there = object != NULL && heap_with_lock(fn_locked, &taken) != NULL;
		BASE_KEEP(object);
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
	return look(finalize, take_live_locked, obj, fn, args);
}

int weakref_finalize_peek(const weakref_finalize *finalize, void **obj, weakref_finalize_fn *fn, void **args)
{
	return look(finalize, read_live_locked, obj, fn, args);
}

bool weakref_finalize_alive(const weakref_finalize *finalize)
{
	weakref_ref *ref;
	uintptr_t raw;

	return finalizer_of(finalize, &ref) == 0 && epoch_load(&ref->referent, &raw) != NULL;
}

static void *get_atexit_locked(void *arg)
{
	weakref_ref *ref = arg;

	return ref->state == REF_LIVE && ref->process == deliver_process && (ref->flags & REF_ATEXIT) != 0 ? ref : NULL;
}

bool weakref_finalize_get_atexit(const weakref_finalize *finalize)
{
	weakref_ref *ref;

	return finalizer_of(finalize, &ref) == 0 && heap_with_lock(get_atexit_locked, ref) != NULL;
}

static void *atexit_on_locked(void *arg)
{
	weakref_ref *ref = arg;

	if (ref->state != REF_LIVE)
		return NULL;
	ref->flags |= REF_ATEXIT;
	ref->process = deliver_process;
	return NULL;
}

static void *atexit_off_locked(void *arg)
{
	weakref_ref *ref = arg;

	ref->flags &= (uint8_t)~REF_ATEXIT;
	return NULL;
}

int weakref_finalize_set_atexit(weakref_finalize *finalize, bool on)
{
	weakref_ref *ref;
	int error = finalizer_of(finalize, &ref);

	if (error == 0)
		heap_with_lock(on ? atexit_on_locked : atexit_off_locked, ref);
	return error;
}

int weakref_finalize_repr(const weakref_finalize *finalize, char *buf, size_t size)
{
	weakref_ref *ref;
	uintptr_t raw;
	int error = finalizer_of(finalize, &ref);

	if (error != 0)
		return error;
	if (buf == NULL && size != 0)
		return -WEAKREF_EINVAL;
	void *obj = epoch_load(&ref->referent, &raw);
	if (obj == NULL)
		return snprintf(buf, size, "<finalize object at %p; dead>", (const void *)finalize);
	const gc_type *type = gc_type_of(obj);
	const char *name = type == NULL ? "block" : type->name == NULL ? "object" : type->name;
	int n = snprintf(buf, size, "<finalize object at %p; for '%s' at %p>", (const void *)finalize, name, obj);
	BASE_KEEP(obj);
	return n;
}

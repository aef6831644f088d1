/* SPDX-License-Identifier: MIT */
/*
 * mortal: see mortal.h.
 *
 * LIVE ones stand in a registry that the collector does not scan. What a stop finds unmarked there is DYING: its pointer is put into a
 * *holder*, a scanned block, and libgc is led to the holders after it has looked for what else is to be finalized: by the *decoy*, an empty
 * block with a finalizer of libgc's own, whose mark bit the stop takes away. So libgc finds the decoy dead, and marks from it as it does from
 * any block with an unordered finalizer, whatever kinds of block a host has, when its short links are cleared. The decoy's mark procedure
 * hands it the holders, and sees on the way which of the dying are marked already: those are led to by what libgc finalizes, and are LIVE
 * again until that is gone. The others are DUE. Holders are a queue, and a root: what is due is kept until it has run.
 *
 * libgc's finalizer is used up each time. It is registered anew when libgc calls it, or when a block is added or run; a stop that comes
 * first uses the *net*, a block with an ordered finalizer that leads to itself: libgc marks from that, complains of a cycle (we swallow it)
 * and keeps it registered for ever. What order it left is not known then: all of the dying are LIVE again, and tried at the next collection.
 * Where a host has switched off what libgc calls Java finalization, which marks from unordered ones, the net serves always, and
 * all are DUE; but where the collection saves what it finds dead (garbage.h) all are LIVE again, since nobody tells which of them
 * are saved, or led to by what is saved.
 *
 * A host may have libgc call all finalizers, dead or not (GC_finalize_all), which goes on until none is registered. So what was
 * not used is not registered anew by libgc's call, but a little later (deliver_taken). A stop that finds neither marks on by
 * itself (marking.h), and all of the dying are LIVE again.
 *
 * Invariants
 *  1. The registry holds every block that is not due yet, its bit MOURNED where it was counted and its weak words were cleared.
 *  2. There is room in the holders for all of them, behind what is due: nothing is allocated in a stop.
 *  3. A bait is `there` only if it is in libgc's table of finalizers, or in libgc's queue, from which libgc marks as well. (Not, for a moment,
 *     where GC_finalize_all is about to call `found`: a stop by another thread then ends the program, see settle_locked.)
 *
 * Locks: libgc's, for all state here.
 */
#define GC_THREADS
#include "mortal.h"

#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <string.h>

#include "checks.h"
#include "cycle.h"
#include "deliver.h"
#include "garbage.h"
#include "heap.h"
#include "marking.h"

/* With the byte that libgc adds a holder is half a page. */
#define HOLDER_ITEMS (CHECKS ? 6 : 254)
struct holder {
	struct holder *next;
	void *at[HOLDER_ITEMS];
};

/* A place in the chain of holders: the next one is at[i], or, where i is HOLDER_ITEMS, the next holder's first. */
struct place {
	struct holder *holder;
	size_t i;
};

/* Scanned, and marked but where a stop unmarks it. */
struct net {
	struct holder *dying;
	struct net *self;
};

/* Uncollectable and scanned. */
struct roots {
	struct holder *first, *last;
	void *decoy;
	struct net *net;
};

static struct roots *roots;
static struct place head, tail; /* what is due is between them */
static size_t due;
static size_t room; /* from tail on */

static uintptr_t *registry;
static size_t count, capacity;
#define MOURNED ((uintptr_t)1)

/* Of the collection at hand, in the order of the places from tail on; the bit tells that it is marked. */
static uintptr_t *dying;
static size_t dying_count;
#define MARKED ((uintptr_t)1)
/* What is known of libgc's order: the decoy is asked, or has found out; nothing, as the net led to the dying; that there is none. */
static enum { NOTHING, ASKED, ANSWERED, UNKNOWN, UNORDERED } order;

/* ---- holders ---- */

static void **next_place(struct place *place)
{
	if (place->i == HOLDER_ITEMS)
		*place = (struct place){place->holder->next, 0};
	return &place->holder->at[place->i++];
}

/* Behind the last. */
static void holder_append(struct holder *holder)
{
	holder->next = NULL;
	if (roots->first == NULL) {
		roots->first = holder;
		head = tail = (struct place){holder, 0};
	} else {
		roots->last->next = holder;
	}
	roots->last = holder;
	room += HOLDER_ITEMS;
}

static void *pop_locked(void)
{
	struct holder *emptied = head.i == HOLDER_ITEMS ? head.holder : NULL;

	if (due == 0)
		return NULL;
	void **at = next_place(&head);
	void *base = *at;
	*at = NULL;
	due--;
	if (emptied != NULL) {
		roots->first = head.holder;
		if (room < count + HOLDER_ITEMS)
			holder_append(emptied);
	}
	return base;
}

/* ---- in libgc's table of finalizers ---- */

/* A block that is registered there, for a stop to unmark. */
struct bait {
	void (*set)(void *block, GC_finalization_proc fn, void *data, GC_finalization_proc *old, void **old_data);
	bool there;	/* in the table; false, maybe, where it is */
	uint64_t taken; /* how often it was taken out: tells one registration from the next */
};

static struct bait decoy = {.set = GC_register_finalizer_no_order}, net = {.set = GC_register_finalizer};
static _Atomic bool wants_baits = true;
static _Atomic bool baits_taken; /* some of them were there */

struct registration {
	struct bait *bait;
	uint64_t number;
};

static void *begin_locked(void *arg)
{
	struct registration *r = arg;

	r->number = r->bait->taken;
	return NULL;
}

/* NULL where it was taken since. */
static void *end_locked(void *arg)
{
	const struct registration *r = arg;

	if (r->bait->taken != r->number)
		return NULL;
	r->bait->there = true;
	atomic_store_explicit(&wants_baits, !decoy.there || !net.there, memory_order_relaxed);
	return arg;
}

static void taken_locked(struct bait *bait)
{
	bait->there = false;
	bait->taken++;
	atomic_store_explicit(&wants_baits, true, memory_order_relaxed);
}

/* NULL where no stop has used it. */
static void *was_used_locked(void *arg)
{
	const struct registration *r = arg;

	if (r->bait->taken != r->number)
		return arg;
	taken_locked(r->bait);
	return NULL;
}

static void GC_CALLBACK found(void *block, void *number);

/* Where it was taken a moment after it was registered here, it is registered once more. */
static NOINLINE bool bait_put(struct bait *bait)
{
	struct registration r = {.bait = bait};
	void *before; /* left as it is where there is no memory */

	do {
		heap_with_lock(begin_locked, &r);
		before = &before;
		bait->set(bait == &net ? (void *)roots->net : roots->decoy, found, (void *)(uintptr_t)r.number, NULL, &before);
	} while (before != &before && heap_with_lock(end_locked, &r) == NULL);
	return before != &before;
}

/* Called by libgc, in any thread, at any allocation. */
static void GC_CALLBACK found(void *block, void *number)
{
	struct registration r = {block == roots->net ? &net : &decoy, (uintptr_t)number};

	if (heap_with_lock(was_used_locked, &r) != NULL) {
		bait_put(r.bait);
	} else {
		atomic_store(&baits_taken, true);
		deliver_taken();
	}
}

static GC_warn_proc warn_before;

static void GC_CALLBACK warn(char *message, GC_word argument)
{
	if (argument != (GC_word)roots->net || strstr(message, "Finalization cycle") == NULL)
		warn_before(message, argument);
}

/* What is not there. Without the net nobody begins. */
static NOINLINE bool baits_put(void)
{
	static _Atomic bool heard;

	if (!net.there && (checks_allocation_fails() || !bait_put(&net)))
		return false;
	if (!atomic_exchange(&heard, true)) {
		warn_before = GC_get_warn_proc();
		GC_set_warn_proc(warn);
	}
	if (!decoy.there)
		bait_put(&decoy);
	return true;
}

static void put_back(void)
{
	if (atomic_exchange(&baits_taken, false))
		baits_put();
}

/* ---- in a collection ---- */

static bool (*spared_stw)(void *base);

static void dying_put_stw(void *base, struct place *end)
{
	void **at = next_place(end);

	if (dying_count == 0 || end->i == 1)
		GC_clear_mark_bit(end->holder);
	if (dying_count == 0)
		roots->net->dying = end->holder;
	*at = base;
	dying[dying_count++] = (uintptr_t)base;
}

/* Without libgc. */
static void hold_stw(void)
{
	for (struct holder *holder = roots->net->dying; holder != NULL; holder = holder->next)
		GC_set_mark_bit(holder);
	for (size_t i = 0; i < dying_count; i++)
		marking_mark_found_stw((void *)dying[i]);
	marking_run_stw();
}

/* From what libgc shall mark, when it looks for what to finalize. */
static void lead_to_holders_stw(void)
{
	bool orders = GC_get_java_finalization() != 0;

	order = orders || garbage_saving ? UNKNOWN : UNORDERED;
	if (orders && decoy.there) {
		order = ASKED;
		taken_locked(&decoy);
		GC_clear_mark_bit(roots->decoy);
	} else if (net.there) {
		GC_clear_mark_bit(roots->net);
	} else {
		order = UNKNOWN;
		hold_stw();
	}
}

/* Called by whoever marks, most often in vain. When it is asked, that is one thread, which holds libgc's lock. */
static struct GC_ms_entry *decoy_marked(struct GC_ms_entry *top, struct GC_ms_entry *limit)
{
	if (order != ASKED && order != ANSWERED)
		return top;
	if (order == ASKED)
		for (size_t i = 0; i < dying_count; i++)
			dying[i] |= GC_is_marked((void *)dying[i]) ? MARKED : 0;
	order = ANSWERED;
	return GC_mark_and_push(roots->net->dying, top, limit, (void **)&roots->net->dying);
}

static void scan_stw(void)
{
	struct cycle_tally tally = {0};
	struct place end = tail;
	size_t kept = 0, mourned = 0, forgotten = 0;

	for (size_t i = 0; i < count; i++) {
		void *base = (void *)(registry[i] & ~MOURNED);
		bool is_news = (registry[i] & MOURNED) == 0, alive = cycle_alive_stw(base);
		if (!alive && spared_stw(base)) {
			forgotten += is_news;
			continue;
		}
		if (!alive && is_news)
			cycle_dead_stw(base, &tally);
		if (alive || (is_news && garbage_saving)) {
			registry[kept++] = registry[i];
			continue;
		}
		mourned += is_news;
		dying_put_stw(base, &end);
	}
	count = kept;
	cycle_tally_stw(&tally);
	cycle_words_remove_locked(mourned + forgotten);
	if (dying_count > 0)
		lead_to_holders_stw();
}

/* What is due moves up to the tail, and behind it the places are empty again. */
static void settle_locked(void)
{
	struct place old;
	size_t before = due;

	if (dying_count == 0)
		return;
	if (!GC_is_marked(roots->net->dying))
		base_fatal("libgc did not mark what is to be finalized: somebody has taken its finalizers away");
	for (size_t i = 0; i < dying_count; i++) {
		if (order == UNKNOWN || (dying[i] & MARKED) != 0) {
			registry[count++] = (dying[i] & ~MARKED) | MOURNED;
		} else {
			*next_place(&tail) = (void *)dying[i];
			due++;
		}
	}
	room -= due - before;
	old = tail;
	for (size_t i = due - before; i < dying_count; i++)
		*next_place(&old) = NULL;
	deliver_queue_objects_locked(due - before);
	dying_count = 0;
	order = NOTHING;
	roots->net->dying = NULL;
}

static size_t check_locked(void)
{
	struct place place = head;

	for (size_t i = 0; i < count; i++)
		ASSERT(heap_base((void *)(registry[i] & ~MOURNED)) == (void *)(registry[i] & ~MOURNED));
	for (size_t i = 0; i < due; i++) {
		void *base = *next_place(&place);
		ASSERT(base != NULL && heap_base(base) == base);
	}
	ASSERT(due == 0 || (place.holder == tail.holder && place.i == tail.i));
	size_t left = count == 0 ? 0 : HOLDER_ITEMS - tail.i;
	for (struct holder *holder = count == 0 ? NULL : tail.holder->next; holder != NULL; holder = holder->next)
		left += HOLDER_ITEMS;
	ASSERT(count <= room && (count == 0 || left == room));
	return count + due;
}

static struct cycle_scanner scanner = {.scan_stw = scan_stw, .settle_locked = settle_locked, .check_locked = check_locked};

/* ---- making ---- */

struct addition {
	void *base;
	struct holder *holder; /* brought along, or NULL */
	bool no_memory;
};

static bool grow(void)
{
	size_t more = capacity == 0 ? 4096 : capacity * 2;
	void *grown = heap_registry_grow(registry, capacity * sizeof *registry, more * sizeof *registry);

	if (grown == NULL)
		return false;
	registry = grown;
	grown = heap_reserve_grow(dying, capacity * sizeof *dying, more * sizeof *dying);
	if (grown == NULL)
		return false;
	dying = grown;
	capacity = more;
	return true;
}

/* NULL where there is no memory, or one more holder is wanted. */
static void *add_locked(void *arg)
{
	struct addition *addition = arg;

	if (addition->holder != NULL)
		holder_append(addition->holder);
	addition->holder = NULL;
	if (unlikely(count == room))
		return NULL;
	if (unlikely(count == capacity) && !grow()) {
		addition->no_memory = true;
		return NULL;
	}
	cycle_words_add_locked(1);
	registry[count++] = (uintptr_t)addition->base;
	return addition->base;
}

int mortal_add(void *base)
{
	struct addition addition = {.base = base};

	if (unlikely(atomic_load_explicit(&wants_baits, memory_order_relaxed)) && !baits_put())
		return -WEAKREF_ENOMEM;
	while (unlikely(heap_with_lock(add_locked, &addition) == NULL)) {
		addition.holder = addition.no_memory ? NULL : heap_alloc(sizeof *addition.holder);
		if (addition.holder == NULL)
			return -WEAKREF_ENOMEM;
	}
	BASE_KEEP(base);
	return 0;
}

/* ---- start ---- */

static void (*last_word)(void *base);

static void run(void *base)
{
	if (unlikely(atomic_load_explicit(&wants_baits, memory_order_relaxed)))
		baits_put();
	last_word(base);
}

int mortal_init(void (*fn)(void *base), bool (*spared)(void *base))
{
	static const struct deliver_objects objects = {.pop_locked = pop_locked, .run = run, .put_back = put_back};

	roots = cycle_roots_new(sizeof *roots);
	if (roots == NULL)
		return -WEAKREF_ENOMEM;
	roots->net = GC_MALLOC(sizeof *roots->net);
	roots->decoy = cycle_telltale_new(decoy_marked);
	if (roots->net == NULL || roots->decoy == NULL)
		return -WEAKREF_ENOMEM;
	roots->net->self = roots->net;
	last_word = fn;
	spared_stw = spared;
	deliver_set_objects(&objects);
	cycle_add(&scanner);
	return 0;
}

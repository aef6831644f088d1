/* SPDX-License-Identifier: MIT */
/*
 * finals: what finalizers are made of (finalize.c has the public face).
 *
 * A finalizer is a slot of a chunk, and its handle is the address of the slot's scanned word. All threads fill one chunk, the open one: a
 * slot is claimed by counting, without a lock, so that the slots' order is that of the making, over all threads. Each slot is used once. A
 * program has many finalizers and few functions: a chunk has a table of these, and is left where it is full of others.
 *
 *   slot   UNFILLED ──add──▶ LIVE ──the scan found the object dead──▶ DUE ──popped, or taken at exit──▶ DEAD
 *                             └──taken: called, detached, at exit─────────────────────────────────────▶ DEAD
 *
 * `object` tells the state, by one word:
 *     0                     unfilled, or dead: then it has a function
 *     a pointer, and tags   LIVE: the pointer that it was made with; weak
 *     FINALS_DUE, and more  DUE: with the slot that comes after it in the queue
 *
 * Whoever changes the word of a LIVE one by an exchange against it owns function and arguments. Only a stop makes one DUE, or somebody with
 * libgc's lock, and only one with the lock takes a DUE one.
 */
#ifndef FINALS_H
#define FINALS_H

#include "deliver.h"
#include "epoch.h"
#include "heap.h"
#include "weakref/finalize.h"

#define FINALS_SLOTS HEAP_FINALS_WORDS
#define FINALS_FUNCTIONS 8

/* Of a LIVE one's word: epoch_load masks them off. */
#define FINALS_ASK ((uintptr_t)1 << 63)   /* the block does not begin a header before the pointer: libgc is asked for it */
#define FINALS_QUIET ((uintptr_t)1 << 62) /* not run at exit */
/* Of the word of one that is dead or dying; no pointer of a program has this bit. */
#define FINALS_DUE ((uintptr_t)1 << 60)
#define FINALS_TAKEN ((uintptr_t)1 << 61) /* with DUE: somebody had it, but it is in the queue yet */

struct finals {
	void *args[FINALS_SLOTS]; /* scanned. Of an ordered one its struct finals_ordered */
	_Atomic(uintptr_t) object[FINALS_SLOTS];
	_Atomic(weakref_finalize_fn) functions[FINALS_FUNCTIONS]; /* the first ones are there */
	uint64_t number; /* of the chunk: its slots have the orders from number * FINALS_SLOTS on */
	/* A bit for each slot. */
	_Atomic uint64_t ordered;
	uint64_t checked;    /* whether the arguments lead to the object was looked at. Libgc's lock */
	uint64_t live, dead; /* within a scan: LIVE ones that are filled, and those of them that are dead */
	_Atomic uint32_t claimed; /* slots; more than there are where some came too late */
	uint16_t due;     /* how many are. Libgc's lock */
	uint16_t process; /* the deliver_process that owes all of them. Libgc's lock */
	_Atomic uint8_t fn[FINALS_SLOTS]; /* its function's place, from 1: written last, and left there */
};

/* What an ordered finalizer has besides, and libgc holds for it. */
enum { FINALS_MOURNED = 1, /* its object's death was counted */
       FINALS_STUCK = 2,   /* it was found to wait for ever */
       FINALS_ECHO = 4,	   /* and another one speaks for the object */
       FINALS_REPORTED = 8 };

struct finals_ordered {
	struct deliver_node node;
	weakref_finalize *handle;
	void *obj; /* while it is due */
	void *args;
	uintptr_t block; /* hidden */
	unsigned flags;	 /* libgc's lock */
	void (*old)(void *base, void *data);
	void *old_data;
};

struct finals_slot {
	struct finals *in;
	unsigned i;
};

/* What was taken out of a finalizer, or is to be looked at. */
struct finals_taken {
	weakref_finalize *handle;
	void *obj;
	weakref_finalize_fn fn;
	void *args;
};

/* By gc_init; and in a child after fork. */
void finals_init(void);
void finals_fork_child(void);

/* Nothing is run any more: the run at exit is over. */
extern _Atomic bool finals_over;

/* ---- making ---- */

extern _Atomic(struct finals *) finals_open;
/* What a thread has of its own in a chunk until it has filled it. */
struct finals_claim {
	struct finals *in; /* NULL with errno ENOMEM: there is no memory */
	unsigned i, fn;
};

/* The place of a function in a chunk, from 1; 0: there is none left. */
unsigned finals_place_slowly(struct finals *in, weakref_finalize_fn fn);
static inline unsigned finals_place(struct finals *in, weakref_finalize_fn fn)
{
	return likely(atomic_load_explicit(&in->functions[0], memory_order_relaxed) == fn) ? 1 : finals_place_slowly(in, fn);
}

/* Claims a slot. May collect, and run callbacks. */
struct finals_claim finals_claim_slowly(weakref_finalize_fn fn);
static inline struct finals_claim finals_claim(weakref_finalize_fn fn)
{
	struct finals_claim claim = {.in = atomic_load_explicit(&finals_open, memory_order_acquire)};

	if (likely(claim.in != NULL) && likely((claim.fn = finals_place(claim.in, fn)) != 0) &&
	    likely((claim.i = atomic_fetch_add_explicit(&claim.in->claimed, 1, memory_order_relaxed)) < FINALS_SLOTS))
		return claim;
	return finals_claim_slowly(fn);
}

/* Before it is filled: its arguments are this, which learns its handle. */
void finals_set_ordered(const struct finals_claim *claim, struct finals_ordered *ordered);
/* Fills it. The caller holds the object throughout. With the last store everybody sees it. */
static inline weakref_finalize *finals_fill(const struct finals_claim *claim, uintptr_t object, void *args)
{
	struct finals *in = claim->in;

	in->args[claim->i] = args;
	atomic_store_explicit(&in->object[claim->i], object, memory_order_release);
	atomic_store_explicit(&in->fn[claim->i], (uint8_t)claim->fn, memory_order_release);
	return (weakref_finalize *)&in->args[claim->i];
}

/* How many were made up to now: the order of what comes next. */
uint64_t finals_made(void);

/* ---- one finalizer ---- */

static inline bool finals_is_live(uintptr_t word)
{
	return word != 0 && (word & FINALS_DUE) == 0;
}

static inline weakref_finalize *finals_handle(struct finals_slot slot)
{
	return (weakref_finalize *)&slot.in->args[slot.i];
}

static inline uintptr_t finals_word(struct finals_slot slot)
{
	return atomic_load_explicit(&slot.in->object[slot.i], memory_order_acquire);
}

/* The slot of what may be a handle or anything; false: it is none. No lock. */
bool finals_slot_of(const weakref_finalize *handle, struct finals_slot *slot);
/* NULL where it is not ordered, or was taken. */
struct finals_ordered *finals_ordered(struct finals_slot slot);
/* LIVE to DEAD: function and arguments are the caller's. False where it is not LIVE. No lock. */
bool finals_take(struct finals_slot slot, struct finals_taken *taken);
/* The same without taking it. */
bool finals_peek(struct finals_slot slot, struct finals_taken *taken);
/* Sets and clears tags of a LIVE one. */
void finals_tag(struct finals_slot slot, uintptr_t set, uintptr_t clear);

/* ---- libgc's lock ---- */

/* LIVE to DUE of an ordered one, which is in no queue: who does it queues its node. False where it is not LIVE. */
bool finals_make_due_locked(struct finals_slot slot);
/* DUE to DEAD, by who has popped it. False where somebody else had it, or another process owes it. */
bool finals_take_due_locked(struct finals_slot slot, struct finals_taken *taken);
/* Whatever it is, by the run at exit. What is queued stays queued. False where it is not this process's to run then. */
bool finals_take_at_exit_locked(struct finals_slot slot, struct finals_taken *taken);
/* The parent's finalizers of this chunk become this process's, but for being run at exit, and those that the parent has due are gone. */
void finals_adopt_locked(struct finals *in);
/* The next older LIVE or DUE slot than *order, which becomes its order; false: there is none that is not older than `last`, which *order becomes
 * then. From UINT64_MAX to 0 all of them, the newest first. */
bool finals_older_locked(uint64_t *order, uint64_t last, struct finals_slot *slot);

/* ---- for the scan of anchors, with which it shares the queue ---- */

/* Finds out who is due, and queues nobody yet. */
void finals_scan_stw(void);
/* The same for ordered ones whose block is gone, though libgc did not say that they are due. */
void finals_settle_locked(void);
/* Whether these found any that are to be queued. */
bool finals_wait_stw(void);
/* Queues those of them, the newest first, as far as they are newer than what was made when there were so many (finals_made): 0 for
 * all of them. */
void finals_queue_stw(uint64_t made);
/* Validator; how many things it checked. */
size_t finals_check_locked(void);

#endif

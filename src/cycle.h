/* SPDX-License-Identifier: MIT */
/*
 * cycle: the library's part in a collection, and the writer's half of the epoch protocol (epoch.h).
 *
 *   mutators run ──▶ marking ──▶ MARK_END, world stopped ──▶ RECLAIM_END, libgc's lock held ──▶ mutators run
 *   epoch even        odd (1)     every scanner: scan_stw      every scanner: settle_locked      even, 2 more than before
 *
 * (1) A sentinel object, whose mark procedure makes the epoch odd, is marked in every marking, partial ones too: our hook clears its
 * mark bit each time. So when somebody takes our hook away, the first marking without it leaves the epoch odd for good, every weak read
 * goes the slow way, and there libgc's collection number, which moves in each completed marking and nowhere else, differs from the one
 * recorded at MARK_END: the program is stopped before a dangling pointer can be returned. An abandoned marking leaves the epoch odd too; the
 * slow way then finds the number unmoved, and sets things right.
 *
 * Between MARK_END and RECLAIM_END mutators run, but libgc's lock stays held: the slow way waits there.
 *
 * Scanners are the modules that hold weak words. They run in the order in which they were added. In scan_stw they allocate nothing, take
 * no lock, and may meet every structure half way through a change. What is dead there stays dead for the library, though libgc may revive
 * the memory for a finalizer's sake, or the cycle itself, when all have run, to save it (garbage.h).
 */
#ifndef CYCLE_H
#define CYCLE_H

#include "base.h"
#include "weakref/gc.h"

struct cycle_scanner {
	/* A stop is coming, libgc's lock is held, the world runs: reserve what scan_stw needs. Often for nothing. */
	void (*prepare_locked)(void);
	/* World stopped, marking done, nothing swept: clear what refers to unmarked blocks. May be NULL, like the others. */
	void (*scan_stw)(void);
	/* Sweeping has begun, finalizers have revived what they revive, the world runs, libgc's lock is held. */
	void (*settle_locked)(void);
	/* Validator, libgc's lock held; returns how many things it checked. */
	size_t (*check_locked)(void);
	struct cycle_scanner *next;
};

/* Takes libgc's event hook. Errors: -WEAKREF_ENOMEM. Once, by gc_init, after heap_init. */
int cycle_init(void);
/* Before the first weak word exists. */
void cycle_add(struct cycle_scanner *scanner);

/* ---- for scanners ---- */

/* Counts n more weak words, before they are registered, or fewer: as many blocks may be found dead. libgc's lock held. */
void cycle_words_add_locked(size_t n);
void cycle_words_remove_locked(size_t n);

/* World stopped: whether the block that starts at base is alive. base may have been freed behind our back. */
bool cycle_alive_stw(const void *base);
/* What a scanner, or one thread at a scanner's pieces, has found. */
struct cycle_tally {
	size_t dead;    /* blocks, each once: by cycle_dead_stw only */
	size_t entries; /* of dictionaries, that went */
	size_t refs;    /* that were cleared */
};

/* World stopped: this block was found dead. It goes into one tally, however often it is found. */
void cycle_dead_stw(const void *base, struct cycle_tally *tally);
/* World stopped: adds up. Not for what pieces found. */
void cycle_tally_stw(const struct cycle_tally *tally);
/*
 * World stopped: calls take(i) for each i < n once, by this thread and, where `work` (some 10 ns each) is worth it, by the crew's (crew.h) at
 * the same time, in any order; returns when all are done. What take writes is its piece's own, or atomic. It marks nothing.
 */
void cycle_pieces_stw(void (*take)(size_t i, struct cycle_tally *tally), size_t n, size_t work);

/*
 * A block that tells when it is marked: fn is called by whoever marks, maybe with mutators running, writes static memory only, and may push
 * what is to be marked (GC_mark_and_push). All share one of libgc's few kinds. NULL when there is no memory. By gc_init.
 */
struct GC_ms_entry;
typedef struct GC_ms_entry *(*cycle_telltale_fn)(struct GC_ms_entry *top, struct GC_ms_entry *limit);
void *cycle_telltale_new(cycle_telltale_fn fn);

/* libgc's lock held, after reclaim: whether the block that started at base when it was registered is still there. */
bool cycle_survived_locked(const void *base);

/* ---- for gc.h ---- */

/* A block that the collector scans and never frees: roots of ours. NULL when there is no memory. */
void *cycle_roots_new(size_t size);
/* Gives one back that nobody refers to. */
void cycle_roots_free(void *roots);
void cycle_stats(gc_cycle_stats *out);
/* Dead objects counted since the start, by the rule in force. libgc's lock held. */
uint64_t cycle_dead_total_locked(void);
/* How long the world stood still for the collection that is being settled. libgc's lock held. */
uint64_t cycle_pause_last_locked(void);
/* World stopped: called for each block found dead, once each, while all memory is there. NULL: nobody wants it. libgc's lock. */
extern void (*cycle_dead_seen_stw)(const void *base);
void cycle_set_count_all(bool on);
/* All validators; how many things were checked. */
size_t cycle_check(void);

#endif

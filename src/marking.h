/* SPDX-License-Identifier: MIT */
/*
 * marking: marking on, where libgc's own marking has ended and the world still stands, by public calls of libgc only. For those who
 * decide only then that a block lives: pairs of weak arrays (weakarray_pairs.c) keep payloads alive by it, the garbage list (garbage.c) what
 * was saved.
 *
 * A block that is marked here counts as reached for everybody after: for the scanners that clear, for libgc's finalizers, for its sweep. All
 * that it leads to must be marked as well, so whoever marks runs: marking_mark_stw any number of times, then marking_run_stw.
 *
 * What a block leads to, by its kind: libgc's pointer-free blocks, nothing; ours, the words that the collector scans (heap_scanned_words);
 * a kind with a tracer (gc_set_kind_tracer), what that visits; all others, libgc's own and typed ones and those of hosts, every word.
 *
 * The same can be walked without marking anything.
 */
#ifndef MARKING_H
#define MARKING_H

#include "base.h"
#include "weakref/gc.h"

/* Reserves memory for a first, small stack. 0 or -WEAKREF_ENOMEM. Once. */
int marking_init(void);

/* Reserves room for as many blocks and pages as the heap has. libgc's lock held, the world running, before a stop. Where there is no memory, or
 * nobody calls it, marking takes longer. */
void marking_prepare_locked(void);

/* World stopped, libgc's marking done: before anything is marked here in this stop. */
void marking_begin_stw(void);
/* Whether the block that starts at base was unmarked: it is marked now, and what it leads to will be by the next run. */
bool marking_mark_stw(const void *base);
/* The same of a block that was found unmarked in this stop. */
void marking_mark_found_stw(const void *base);
/* How many blocks wait for the next run. */
size_t marking_waiting_stw(void);
/* Marks all that is reached from the blocks marked since the last run. */
void marking_run_stw(void);

/* Of a block that was found unmarked in this stop: whether it is so yet. Then the watcher is told once it is marked here. Several threads may
 * ask at once, each for pages of its own (of 4096 bytes), while nobody marks. */
bool marking_await_stw(const void *base);
/* From now on blocks that are waited for, and perhaps others, are told to fn when they are marked, within marking_run_stw, each at least
 * once; NULL ends it. fn may mark. */
void marking_watch_stw(void (*fn)(const void *base));

/* Gives back memory that this collection did not need. libgc's lock held, after the collection. */
void marking_settle_locked(void);

/*
 * A walk: all that is reached from some pointers, marking nothing, for debugging and rare reports. Libgc's lock is held from begin to end,
 * the world may run: what it changes meanwhile counts or does not, and blocks of kinds with a tracer are searched word by word. A block that
 * `enter` (not NULL) refuses is met and not looked into.
 */
void marking_walk_begin_locked(bool (*enter)(const void *base));
/* On from this pointer, as if a scanned word held it. False: there was no memory, and not everything was met. */
bool marking_walk_locked(const void *p);
/* Calls fn for each scanned word of a block, but the first `skip`, that keeps a block alive: with the word's place after those, its value, and
 * the start of that block. Within a walk, which does not go on by it. */
typedef void (*marking_word_fn)(size_t place, const void *p, const void *block, void *arg);
void marking_walk_words_locked(const void *base, unsigned skip, marking_word_fn fn, void *arg);
/* Whether this block was met: 1 when it is asked for the first time, 2 later; 0: no. After the last walk from a pointer. */
int marking_walk_met_locked(const void *base);
void marking_walk_end_locked(void);

/* gc_set_kind_tracer. */
int marking_set_tracer(int kind, gc_tracer_fn fn);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * finalize: finalizers, as their files see them; weakref/finalize.h is the public face, finals.h what they are made of.
 *
 *   finalize.c           making them, what the program calls, arguments that lead to their own object
 *   finalize_ordered.c   those that wait for their turn; cycles, which wait for ever
 *   finalize_exit.c      the run at exit
 *
 * Whoever takes a finalizer runs its function, or does not: call, detach, delivery or the exit; there is one such (finals.h).
 *
 * Deliberately not here: delivery (deliver.c).
 */
#ifndef FINALIZE_H
#define FINALIZE_H

#include "finals.h"

/* ---- finalize.c ---- */

/* What the word of a finalizer of obj holds; 0 with errno set where there can be none. */
uintptr_t finalize_object_word(void *obj, weakref_finalize_fn fn, void **block);
weakref_finalize *finalize_make_ordered(void *obj, uintptr_t word, weakref_finalize_fn fn, struct finals_ordered *ordered);
/* Runs one that was taken; a failure goes to the handler. */
void finalize_run(const struct finals_taken *taken);
/* The next older LIVE one, as finals_older_locked. */
bool finalize_older_live_locked(uint64_t *order, struct finals_slot *slot);
/* The object of a LIVE one. */
void *finalize_object(struct finals_slot slot);
/* For walks: chunks of finalizers lead everywhere. */
bool finalize_is_no_chunk(const void *base);

/* ---- finalize_ordered.c ---- */

/* Before there are any finalizers. 0 or -ENOMEM. */
int finalize_ordered_start(void);
/* One that was taken before its turn: its block is of no cycle that matters. Libgc's lock. */
void finalize_cycle_forget_locked(const struct finals_ordered *ordered);
/* At exit, before any of them runs, those of this process that wait for a cycle. */
void finalize_tell_stuck(void);

/* ---- finalize_exit.c ---- */

/* From now on there is a run at exit. 0 or -ENOMEM. */
int finalize_exit_start(void);

#endif

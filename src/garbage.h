/* SPDX-License-Identifier: MIT */
/*
 * garbage: the garbage list (weakref/gc.h): what WEAKREF_DEBUG_SAVEALL saves. The cycle calls it at four moments of each collection.
 */
#ifndef GARBAGE_H
#define GARBAGE_H

#include "base.h"

/* Whether what is found dead in the collection at hand is saved. World stopped; decided before the stop. */
extern bool garbage_saving;

/* A stop is coming, libgc's lock is held: room for as many dead blocks as there are weak words. */
void garbage_prepare_locked(size_t words);
/* Marking has ended, and nothing was cleared yet: marks what is on the list, and what that leads to. */
void garbage_mark_stw(void);
/* garbage_saving, everything has been cleared: this block is dead; once each. */
void garbage_add_stw(const void *base);
/* All of them were added: marks them, and what they lead to. */
void garbage_save_stw(void);
/* Validator, libgc's lock held; returns how many things it checked. */
size_t garbage_check_locked(void);

/* From the next collection on. */
void garbage_set_saving(bool on);

#endif

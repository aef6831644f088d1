/* SPDX-License-Identifier: MIT */
/*
 * foreign: the side table: the anchor words of blocks that have no header of ours, by address (the heap does not move).
 *
 * All calls with libgc's lock held or the world stopped. An entry exists while its word is not 0.
 */
#ifndef FOREIGN_H
#define FOREIGN_H

#include "base.h"

/* The block's word; NULL where it has none. Good until the next foreign_set. */
uintptr_t *foreign_find(const void *block);
/* Gives the block this word; 0 removes it. False: no memory, and only where the block had none before. */
bool foreign_set(const void *block, uintptr_t word);
/* Makes room for one more entry. False: no memory. */
bool foreign_reserve(void);
/* Validator; how many entries. */
size_t foreign_check(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * deaths: which blocks were found dead in the collection at hand, each once, however many weak words named it.
 *
 * It is a bit for each granule between the heap's ends, in memory that is reserved and costs nothing until a bit is set in it: half a
 * byte for 64 bytes of heap, of those pages only where something died.
 */
#ifndef DEATHS_H
#define DEATHS_H

#include "base.h"

/* A stop is coming, libgc's lock is held: room for a bit for each granule that there is. */
void deaths_prepare_locked(void);
/* World stopped: the block that starts at base is dead. True where that is news. `shared`: others may be calling this now. Where prepare
 * got no memory, everything is news. */
bool deaths_add_stw(const void *base, bool shared);
/* Whether each block is news once only. */
bool deaths_are_exact(void);
/* libgc's lock held, after the stop: forgets all of them. */
void deaths_settle_locked(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * mortal: blocks with a last word: each runs once, after the block was found dead, while it and all that it leads to is still there.
 *
 *   LIVE ──a collection finds it unmarked──▶ DYING ──nothing that libgc finalizes in its order leads to it──▶ DUE ──delivery──▶ run
 *    ▲        and all weak words are cleared   │
 *    └──else, MOURNED: it is counted no more───┘
 *
 * It costs the block nothing, and no slot of libgc's. One that was spared meanwhile leaves the row when it is found dead, and nobody knows of it.
 */
#ifndef MORTAL_H
#define MORTAL_H

#include "base.h"

/* `run` is called for each, by delivery (deliver.h), after all nodes. `spared_stw` tells, with the world stopped, that one is to be let go, which
 * then is no mortal any more. Errors: -WEAKREF_ENOMEM. Once, by gc_init, before deliver_init. */
int mortal_init(void (*run)(void *base), bool (*spared_stw)(void *base));
/* Of a block that the caller holds, a fresh one, or one that has run or was let go. Errors: -WEAKREF_ENOMEM. GC: may collect, may run callbacks. */
int mortal_add(void *base);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * mortal: blocks with a last word: each runs once, after the block was found dead, while it and all that it leads to is still there.
 *
 *   LIVE ──a collection finds it unmarked──▶ DYING ──nothing that libgc finalizes in its order leads to it──▶ DUE ──delivery──▶ run
 *    ▲        and all weak words are cleared   │
 *    └──else, MOURNED: it is counted no more───┘
 *
 * It costs the block nothing, and no slot of libgc's.
 */
#ifndef MORTAL_H
#define MORTAL_H

#include "base.h"

/* `run` is called for each, by delivery (deliver.h), after all nodes. Errors: -WEAKREF_ENOMEM. Once, by gc_init, before deliver_init. */
int mortal_init(void (*run)(void *base));
/* Of a block that the caller holds, a fresh one or one that has run. Errors: -WEAKREF_ENOMEM. GC: may collect, may run callbacks. */
int mortal_add(void *base);

#endif

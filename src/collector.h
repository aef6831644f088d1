/* SPDX-License-Identifier: MIT */
/*
 * collector: explicit collections, figures and pacing by generation, and what is told of collections (weakref/gc.h).
 */
#ifndef COLLECTOR_H
#define COLLECTOR_H

/* Errors: -WEAKREF_ENOMEM. Once, by gc_init, before deliver_init. */
int collector_init(void);

/* Takes over the debugging flags. Errors: -WEAKREF_ENOMEM. */
int collector_set_debug(unsigned flags);

#endif

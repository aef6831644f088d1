/* SPDX-License-Identifier: MIT */
/*
 * collector: explicit collections, figures and pacing by generation, and what is told of collections (weakref/gc.h).
 */
#ifndef COLLECTOR_H
#define COLLECTOR_H

#include <stdbool.h>

/* Errors: -WEAKREF_ENOMEM. Once, by gc_init, before deliver_init. */
int collector_init(void);

/* WEAKREF_DEBUG_UNCOLLECTABLE, where it is on: the line for an object that is never freed. No lock held. */
void collector_uncollectable(const void *obj);

/* Takes over the debugging flags. Errors: -WEAKREF_ENOMEM. */
int collector_set_debug(unsigned flags);

/* libgc forbids collections for as long as a thread is on its way out (pthread_exit): worth some tries, 1 ms apart, where a host's
 * GC_disable is not. */
#define COLLECTOR_TRIES 20

/* Collects until a collection has completed that was not among those before. False: none did. Callbacks stay queued, on no account. */
bool collector_collect(int tries);

#endif

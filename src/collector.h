/* SPDX-License-Identifier: MIT */
/*
 * collector: explicit collections, figures and pacing by generation, and what is told of collections (weakref/gc.h).
 */
#ifndef COLLECTOR_H
#define COLLECTOR_H

#include <stdbool.h>
#include <stdint.h>

/* Errors: -WEAKREF_ENOMEM. Once, by gc_init, before deliver_init. */
int collector_init(void);

/* WEAKREF_DEBUG_UNCOLLECTABLE, where it is on: the line for an object that is never freed, and why. No lock held. */
void collector_uncollectable(const void *obj, const char *why);
/* The line, by that flag or WEAKREF_DEBUG_STATS, that tells how many of them there are at exit, if any. */
void collector_uncollectable_at_exit(uint64_t n);
/* Whether it is on. */
bool collector_tells_uncollectable(void);
/* Filled in by finalizers, NULL until then. After each collection, libgc's lock held: how many objects it found that are never freed. And
 * at the end of gc_collect, no lock held, where WEAKREF_DEBUG_UNCOLLECTABLE is on: tells of those whose finalizers keep them. */
extern uint64_t (*_Atomic collector_uncollectable_locked)(void);
extern void (*_Atomic collector_look_for_leaks)(void);

/* Takes over the debugging flags. Errors: -WEAKREF_ENOMEM. */
int collector_set_debug(unsigned flags);

/* libgc forbids collections for as long as a thread is on its way out (pthread_exit): worth some tries, 1 ms apart, where a host's
 * GC_disable is not. */
#define COLLECTOR_TRIES 20

/* Collects by this function of heap.h's until a collection has completed that was not among those before. False: none did. Callbacks stay
 * queued, on no account. */
bool collector_collect(void (*collect)(void), int tries);

#endif

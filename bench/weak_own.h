/* SPDX-License-Identifier: MIT */
/*
 * weak_own: how long the library's part of a collection takes: a hook above the library's watches it.
 */
#ifndef WEAK_OWN_H
#define WEAK_OWN_H

#include "weak.h"

#define HOOK_TURNS 5

/* Of one collection, in ns: the library's hook at the end of marking, and all the time that the world stood. */
struct hook_times {
	double hook, stop;
};

extern struct hook_times hook_times; /* of the last collection */
/* Called at the end of marking, before the library's hook: world stopped, all mark bits as marking left them. */
extern void (*hook_before_stw)(void);

/* From now on. */
void hook_watch(void);

/* Of the middle one of some collections, after one that settles. */
struct hook_times hook_collect(void);

#endif

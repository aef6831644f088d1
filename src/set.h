/* SPDX-License-Identifier: MIT */
/*
 * set: what the interner needs of the weak set beside its public interface.
 */
#ifndef SET_H
#define SET_H

#include "weakref/set.h"

/* weakref_set_add; where it gives 0, *now receives the element that is there. */
int set_intern(weakref_set *set, void *item, void **now);

/* The element that is equal to one: 0, ENOENT, or another error, with *found NULL. */
int set_find(const weakref_set *set, const void *item, void **found);

#endif

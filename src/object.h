/* SPDX-License-Identifier: MIT */
/*
 * object: typed objects and their destructors.
 */
#ifndef OBJECT_H
#define OBJECT_H

/* Says what is done with an object that has a destructor. Errors: -WEAKREF_ENOMEM. Once, by gc_init, before deliver_init. */
int object_init(void);

#endif

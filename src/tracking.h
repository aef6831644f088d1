/* SPDX-License-Identifier: MIT */
/*
 * tracking: which objects there are, who holds whom, and freezing objects (weakref/gc.h).
 */
#ifndef TRACKING_H
#define TRACKING_H

/* Errors: -WEAKREF_ENOMEM. Once, by gc_init, before deliver_init. */
int tracking_init(void);

#endif

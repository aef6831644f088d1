/* SPDX-License-Identifier: MIT */
/*
 * object: typed objects and their destructors.
 */
#ifndef OBJECT_H
#define OBJECT_H

/* Makes objects with destructors known to the cycle, which counts their deaths. By gc_init. */
void object_init(void);

#endif

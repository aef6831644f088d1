/* SPDX-License-Identifier: MIT */
/*
 * hit_ours: the cache of this library over a trace.
 */
#ifndef HIT_OURS_H
#define HIT_OURS_H

#include "trace.h"

/* Before all else; whether it went well. */
bool ours_init(void);
/* How many accesses of the trace find their key in a cache of that many entries. */
size_t ours_hits(const struct trace *trace, size_t capacity);

#endif

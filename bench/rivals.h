/* SPDX-License-Identifier: MIT */
/*
 * rivals: well-known eviction policies, simulated over a trace: no keys, no values, just who would have been there.
 */
#ifndef BENCH_RIVALS_H
#define BENCH_RIVALS_H

#include "trace.h"

struct rival {
	const char *name;
	/* How many accesses of the trace find their key in a cache of that many entries. */
	size_t (*hits)(const struct trace *trace, size_t capacity);
	/* It knows what comes. */
	bool offline;
};

#define RIVALS 6
extern const struct rival rivals[RIVALS];

#endif

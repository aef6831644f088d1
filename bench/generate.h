/* SPDX-License-Identifier: MIT */
/*
 * generate: sequences of accesses that are drawn, the same for the same seed. Part of trace.
 */
#ifndef BENCH_GENERATE_H
#define BENCH_GENERATE_H

#include "trace.h"

/* Appends to an empty trace. 1, 0 where no generator has this name, -1 where one has and its parameters are wrong. */
int generate(struct trace *trace, const char *name, uint64_t seed);

/* Of trace.c: for both. */
void trace_append(struct trace *trace, uint64_t key);
uint64_t trace_mix(uint64_t x);
/* p, which is not NULL: else the program ends. */
void *trace_need(void *p);

#endif

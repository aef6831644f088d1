/* SPDX-License-Identifier: MIT */
/*
 * trace: which file is asked for, one access after the other. Both variants replay the same one.
 *
 * Three things are mixed, as someone who leafs through a collection of pictures mixes them:
 *  - popularity is skewed: the file of rank r is asked for in proportion to 1 / r^skew (Zipf);
 *  - what is popular shifts: in the course of the trace each file has its turn at each rank;
 *  - somebody looks through everything once: evenly spread over the trace, each file is asked for at least once, provided
 *    that there are as many accesses as files. So a bad file is found, and a cache that never forgets ends up with
 *    everything.
 */
#ifndef TRACE_H
#define TRACE_H

#include <stddef.h>
#include <stdint.h>

struct trace {
	/* Indices of files. malloc'ed. */
	uint32_t *file;
	size_t length;
};

/*
 * Makes a trace of `length` accesses to `files` files, both at least 1. The same arguments give the same trace. Returns 0, or
 * -1 with errno set.
 */
int trace_make(struct trace *trace, size_t length, size_t files, uint64_t seed, double skew);
void trace_free(struct trace *trace);

#endif

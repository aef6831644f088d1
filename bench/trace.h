/* SPDX-License-Identifier: MIT */
/*
 * trace: a sequence of accesses to keys, read from a file or generated, for bench/hitratio. A key is what was read (or drawn); beside it
 * stands its number, counted from 0 in the order of first use, which the simulated policies use as an index.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace {
	const char *name;
	size_t n, distinct;
	/* Of each access. */
	uint64_t *keys;
	uint32_t *ids;
	/* When the same key is used next; n where it never is. */
	uint32_t *next;
};

/*
 * A file of one key a line (of up to 4 KiB), plain or gzip: a number stands for itself, any other text for its hash. Or the name of a
 * generated one:
 *     zipf       a million accesses to 100,000 keys with the popularity of rank^-0.9
 *     scan       the same of 50,000 keys, now and then cut by a run over keys never used before or after
 *     loop       loops over 10,000 keys, with a Zipf share of 20%
 *     shifting   Zipf over 20,000 keys whose ranks are drawn anew, a tenth of them at a time; then turns of recency and of loops
 * False with a message on stderr.
 */
bool trace_load(struct trace *trace, const char *name, uint64_t seed);
void trace_free(struct trace *trace);

#endif

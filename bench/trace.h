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
 * A file of one key a line (of up to 4 KiB), plain or gzip: a number stands for itself, any other text for its hash. With :odd or :even
 * after its name, every other of its keys; with :first or :last, half of its accesses. Or the name of a generated one, after which others
 * than these parameters may be given (zipf:keys=5000,skew=0.7):
 *     zipf       n=1000000 accesses to keys=100000 with the popularity of rank^-skew, skew=0.9
 *     scan       the same, n=600000, keys=50000, but after each run=20000 of them fresh=5000 keys never used before or after
 *     loop       n=400000, a loop over length=10000 keys, but one access of every=5 is drawn as in zipf, keys=10000
 *     shifting   zipf over keys=20000 whose ranks are drawn anew, a tenth of them at a time, phases=16 times for period=50000 accesses;
 *                of six such phases one is of recency and one of a loop, length=6000
 *     mixed      phases=24 of some period=20000 accesses, each drawn: zipf, recency, a loop, a loop run back and forth, a scan, or loop
 *                and zipf in turns; of keys=10000, loops of a fiftieth to a half of them; zipf takes one of three sets
 * False with a message on stderr.
 */
bool trace_load(struct trace *trace, const char *name, uint64_t seed);
void trace_free(struct trace *trace);

#endif

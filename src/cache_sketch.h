/* SPDX-License-Identifier: MIT */
/*
 * cache_sketch: about how often a hash was counted lately: a count-min sketch of counters of four bits, sixteen in a word. When there were
 * six counts a word, all are halved, so that what was popular once is forgotten.
 *
 * Never less than the true number since the last halvings, up to 15; more where hashes collide. Locks: none; the caller's. Memory: the
 * caller's; words is a power of two, or 0: then nothing is counted and every answer is 0.
 */
#ifndef CACHE_SKETCH_H
#define CACHE_SKETCH_H

#include "base.h"

struct sketch {
	uint64_t *words;
	size_t n;
	/* Since the last halving. */
	size_t counted;
};

/* How often, with this one: what sketch_frequency would have said if nothing was halved now. */
unsigned sketch_count(struct sketch *s, uint32_t hash);
unsigned sketch_frequency(const struct sketch *s, uint32_t hash);
/* Goes on in larger memory, of n words. What was counted stays. */
void sketch_move(struct sketch *s, uint64_t *words, size_t n);

#endif

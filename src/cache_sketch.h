/* SPDX-License-Identifier: MIT */
/*
 * cache_sketch: about how often a hash was counted lately: a count-min sketch of counters of four bits, sixteen in a word. When there were
 * six counts a word, all are halved, so that what was popular once is forgotten.
 *
 * All counters of a hash stand in one line of eight words, of which each of the four rows has two: one miss of the processor's cache a
 * hash, and sketch_fetch can ask for it early. What is popular is at its maximum, and is not written any more.
 *
 * Never less than the true number since the last halvings, up to 15; more where hashes collide. Locks: none; the caller's. Memory: the
 * caller's; words is a power of two, eight at least, or 0: then nothing is counted and every answer is 0.
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

/* The most that a counter says, and the counts a word until all are halved. */
enum { SKETCH_MOST = 15, SKETCH_COUNTS = 6 };

/* A counter of a hash: the word, where in it, and how much it says. */
struct sketch_counter {
	uint64_t *word;
	unsigned shift, count;
};

static inline uint64_t *sketch_line(const struct sketch *s, uint64_t mixed)
{
	return s->words + (mixed << 3 & (s->n - 1));
}

/* Six of the upper bits are a row's, of which it takes one for the word and four for the counter. */
static inline struct sketch_counter sketch_counter(uint64_t *line, uint64_t mixed, unsigned row)
{
	unsigned bits = (unsigned)(mixed >> (36 + 6 * row)), shift = bits << 1 & 60;
	uint64_t *word = line + 2 * row + (bits & 1);

	return (struct sketch_counter){.word = word, .shift = shift, .count = (unsigned)(*word >> shift) & SKETCH_MOST};
}

static inline unsigned sketch_least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* A hash will be counted: its line is asked for. (A function that does nothing else would be taken for one that does nothing.) */
static inline __attribute__((always_inline)) void sketch_fetch(const struct sketch *s, uint32_t hash)
{
	if (s->n != 0)
		__builtin_prefetch(sketch_line(s, base_mix(hash)));
}

static inline unsigned sketch_frequency(const struct sketch *s, uint32_t hash)
{
	uint64_t mixed = base_mix(hash), *line = sketch_line(s, mixed);

	if (s->n == 0)
		return 0;
	return sketch_least(sketch_least(sketch_counter(line, mixed, 0).count, sketch_counter(line, mixed, 1).count),
			    sketch_least(sketch_counter(line, mixed, 2).count, sketch_counter(line, mixed, 3).count));
}

/* One more, if there can be. What it says then. */
static inline unsigned sketch_raise(struct sketch_counter c)
{
	unsigned more = c.count < SKETCH_MOST;

	*c.word += (uint64_t)more << c.shift;
	return c.count + more;
}

/* What sketch_count does seldom. */
void sketch_halve(struct sketch *s);

/* How often, with this one: what sketch_frequency would have said if nothing was halved now. */
static inline unsigned sketch_count(struct sketch *s, uint32_t hash)
{
	uint64_t mixed = base_mix(hash), *line = sketch_line(s, mixed);

	if (s->n == 0)
		return 0;
	struct sketch_counter a = sketch_counter(line, mixed, 0), b = sketch_counter(line, mixed, 1), c = sketch_counter(line, mixed, 2),
			      d = sketch_counter(line, mixed, 3);
	if ((a.count & b.count & c.count & d.count) == SKETCH_MOST)
		return SKETCH_MOST;
	unsigned least = sketch_least(sketch_least(sketch_raise(a), sketch_raise(b)), sketch_least(sketch_raise(c), sketch_raise(d)));
	if (unlikely(++s->counted >= s->n * SKETCH_COUNTS))
		sketch_halve(s);
	return least;
}

/* Goes on in larger memory, of n words. What was counted stays. */
void sketch_move(struct sketch *s, uint64_t *words, size_t n);

#endif

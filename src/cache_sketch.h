/* SPDX-License-Identifier: MIT */
/*
 * cache_sketch: about how often a hash was counted lately: a count-min sketch of counters of four bits, sixteen in a word. When there were
 * eight counts a word, all are halved, so that what was popular once is forgotten.
 *
 * Who has a place of his own for a hash's count keeps it there, with the number of halvings until then (sketch_aged), and tells the sketch
 * when he gives the place up (sketch_raise): so that to count is no look at the sketch, and what is counted there disturbs no other hash.
 *
 * All counters of a hash stand in one line of eight words, of which each of the four rows has two: one miss of the processor's cache a hash.
 *
 * Never less than what it was told last, halved as often as all were since; more where hashes collide. Locks: none; the caller's. Memory:
 * the caller's; words is a power of two, eight at least, or 0: then nothing is kept and every answer is 0.
 */
#ifndef CACHE_SKETCH_H
#define CACHE_SKETCH_H

#include "base.h"

struct sketch {
	uint64_t *words;
	size_t n;
	/* Since the last halving. */
	size_t counted;
	/* How many halvings there were, as far as 16 bits tell: who was not looked at for so long is mistaken once. */
	uint16_t halvings;
};

/* The most that a counter says, and the counts a word until all are halved. */
enum { SKETCH_MOST = 15, SKETCH_COUNTS = 8 };

/* A counter of a hash: the word, where in it, and how much it says. */
struct sketch_counter {
	uint64_t *word;
	unsigned shift, count;
};

static inline uint64_t *sketch_line(const struct sketch *s, uint64_t mixed)
{
	return s->words + (mixed << 3 & (s->n - 1));
}

/* Six of the upper bits are a row's, of which it takes the lowest for the word and the next four for the counter. */
static inline struct sketch_counter sketch_counter(uint64_t *line, uint64_t mixed, unsigned row)
{
	unsigned bits = (unsigned)(mixed >> (36 + 6 * row)), shift = bits << 1 & 60;
	uint64_t *word = line + 2 * row + (bits & 1);

	return (struct sketch_counter){.word = word, .shift = shift, .count = (unsigned)(*word >> shift) & SKETCH_MOST};
}

/* A hash will be asked for, or raised. */
static inline void sketch_expect(const struct sketch *s, uint32_t hash)
{
	if (s->n != 0)
		__builtin_prefetch(sketch_line(s, base_mix(hash)));
}

static inline unsigned sketch_least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static inline unsigned sketch_frequency(const struct sketch *s, uint32_t hash)
{
	if (s->n == 0)
		return 0;
	uint64_t mixed = base_mix(hash), *line = sketch_line(s, mixed);
	return sketch_least(sketch_least(sketch_counter(line, mixed, 0).count, sketch_counter(line, mixed, 1).count),
			    sketch_least(sketch_counter(line, mixed, 2).count, sketch_counter(line, mixed, 3).count));
}

/* Whether one that came just now is to have the place of another, by their counts: without the one that it came with. In a loop, where all
 * are asked for equally often, whatever comes is that one ahead of those whose turn has not come yet, and would take the place of each
 * shortly before it is asked for. */
static inline bool sketch_prefers(unsigned candidate, unsigned victim)
{
	return candidate > victim + 1;
}

/* A hash was counted so often, SKETCH_MOST at most: none of its counters says less. */
static inline void sketch_raise(struct sketch *s, uint32_t hash, unsigned count)
{
	if (s->n == 0)
		return;
	uint64_t mixed = base_mix(hash), *line = sketch_line(s, mixed);
	for (unsigned row = 0; row < 4; row++) {
		struct sketch_counter c = sketch_counter(line, mixed, row);

		/* No branch: nobody waits for the line. */
		*c.word += (uint64_t)(c.count < count ? count - c.count : 0) << c.shift;
	}
}

/* What a count is now that was kept elsewhere since there were so many halvings. */
static inline unsigned sketch_aged(const struct sketch *s, unsigned count, uint16_t halvings)
{
	unsigned more = (uint16_t)(s->halvings - halvings);

	return more < 4 ? count >> more : 0;
}

/* What sketch_counted does seldom. */
void sketch_halve(struct sketch *s);

/* Something was counted once more. */
static inline void sketch_counted(struct sketch *s)
{
	if (unlikely(++s->counted >= s->n * SKETCH_COUNTS))
		sketch_halve(s);
}

/* Goes on in larger memory, of n words. What was counted stays. */
void sketch_move(struct sketch *s, uint64_t *words, size_t n);

#endif

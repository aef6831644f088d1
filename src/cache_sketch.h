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
#include "bytes.h"

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

/* Six of the upper bits are a row's, of which it takes the lowest for the word and the next four for the counter. */
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
	if (s->n == 0)
		return 0;
	uint64_t mixed = base_mix(hash), *line = sketch_line(s, mixed);
	return sketch_least(sketch_least(sketch_counter(line, mixed, 0).count, sketch_counter(line, mixed, 1).count),
			    sketch_least(sketch_counter(line, mixed, 2).count, sketch_counter(line, mixed, 3).count));
}

/* The same when the hash has been counted once more, and nothing was halved then. */
static inline unsigned sketch_frequency_next(const struct sketch *s, uint32_t hash)
{
	return s->n == 0 ? 0 : sketch_least(sketch_frequency(s, hash) + 1, SKETCH_MOST);
}

#if BYTES_SSE2

/* A counter at its maximum in a row of zeros, by the five bits that say which it is. */
extern const uint64_t sketch_masks[32][2] __attribute__((aligned(16)));

/* A row of a line, and one in a hash's counter, or 0 where that is at its maximum. */
struct sketch_row {
	__m128i *at, now, more;
};

static inline struct sketch_row sketch_row(uint64_t *line, uint64_t mixed, unsigned row)
{
	struct sketch_row r = {.at = (__m128i *)(void *)(line + 2 * row)};
	__m128i most = _mm_load_si128((const __m128i *)(const void *)sketch_masks[mixed >> (36 + 6 * row) & 31]);

	r.now = _mm_loadu_si128(r.at);
	r.more = _mm_andnot_si128(_mm_cmpeq_epi8(_mm_and_si128(r.now, most), most), _mm_and_si128(most, _mm_set1_epi8(0x11)));
	return r;
}

static inline void sketch_raise(struct sketch_row r)
{
	_mm_storeu_si128(r.at, _mm_add_epi8(r.now, r.more));
}

#endif

/* What sketch_count does seldom. */
void sketch_halve(struct sketch *s);

/* A hash was seen once more: each of its counters says so, but those that are at their maximum. */
static inline void sketch_count(struct sketch *s, uint32_t hash)
{
	if (s->n == 0)
		return;
	uint64_t mixed = base_mix(hash), *line = sketch_line(s, mixed);
#if BYTES_SSE2
	struct sketch_row a = sketch_row(line, mixed, 0), b = sketch_row(line, mixed, 1), c = sketch_row(line, mixed, 2),
			  d = sketch_row(line, mixed, 3);
	__m128i any = _mm_or_si128(_mm_or_si128(a.more, b.more), _mm_or_si128(c.more, d.more));
	if (_mm_movemask_epi8(_mm_cmpeq_epi8(any, _mm_setzero_si128())) == 0xffff)
		return;
	sketch_raise(a);
	sketch_raise(b);
	sketch_raise(c);
	sketch_raise(d);
#else
	bool any = false;
	for (unsigned row = 0; row < 4; row++) {
		struct sketch_counter c = sketch_counter(line, mixed, row);
		*c.word += (uint64_t)(c.count < SKETCH_MOST) << c.shift;
		any |= c.count < SKETCH_MOST;
	}
	if (!any)
		return;
#endif
	if (unlikely(++s->counted >= s->n * SKETCH_COUNTS))
		sketch_halve(s);
}

/* Goes on in larger memory, of n words. What was counted stays. */
void sketch_move(struct sketch *s, uint64_t *words, size_t n);

#endif

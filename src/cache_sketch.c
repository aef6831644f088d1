/* SPDX-License-Identifier: MIT */
#include "cache_sketch.h"

#include <string.h>

#define ROWS 4
#define COUNT_MAX 15
#define COUNTS_PER_WORD 6

/* Of each row: the word, and where in it. A row has a quarter of each word. */
struct place {
	size_t word[ROWS];
	unsigned shift[ROWS];
};

static struct place place_of(const struct sketch *s, uint32_t hash)
{
	uint64_t h = base_mix(hash);
	struct place place;

	for (unsigned row = 0; row < ROWS; row++) {
		place.word[row] = (h + row * (h >> 32 | 1)) & (s->n - 1);
		place.shift[row] = (row * 4 + (unsigned)(h >> (56 + 2 * row) & 3)) * 4;
	}
	return place;
}

unsigned sketch_frequency(const struct sketch *s, uint32_t hash)
{
	unsigned least = COUNT_MAX;
	struct place place;

	if (s->n == 0)
		return 0;
	place = place_of(s, hash);
	for (unsigned row = 0; row < ROWS; row++) {
		unsigned count = (unsigned)(s->words[place.word[row]] >> place.shift[row] & COUNT_MAX);

		least = count < least ? count : least;
	}
	return least;
}

static void halve(struct sketch *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->words[i] = s->words[i] >> 1 & UINT64_C(0x7777777777777777);
	s->counted /= 2;
}

unsigned sketch_count(struct sketch *s, uint32_t hash)
{
	unsigned least = COUNT_MAX;
	bool counted = false;
	struct place place;

	if (s->n == 0)
		return 0;
	place = place_of(s, hash);
	for (unsigned row = 0; row < ROWS; row++) {
		uint64_t *word = &s->words[place.word[row]];
		unsigned count = (unsigned)(*word >> place.shift[row] & COUNT_MAX);

		if (count < COUNT_MAX) {
			*word += UINT64_C(1) << place.shift[row];
			count++;
			counted = true;
		}
		least = count < least ? count : least;
	}
	if (counted && ++s->counted >= s->n * COUNTS_PER_WORD)
		halve(s);
	return least;
}

void sketch_move(struct sketch *s, uint64_t *words, size_t n)
{
	/* A word's index is the low bits of what it is made of: with more bits, it is one of the copies. */
	for (size_t i = 0; s->n > 0 && i < n; i += s->n)
		memcpy(words + i, s->words, s->n * sizeof *words);
	s->words = words;
	s->n = n;
}

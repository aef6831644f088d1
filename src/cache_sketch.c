/* SPDX-License-Identifier: MIT */
#include "cache_sketch.h"

#include <string.h>

#define MASK(i) {(i) % 2 == 0 ? UINT64_C(15) << (i) / 2 * 4 : 0, (i) % 2 != 0 ? UINT64_C(15) << (i) / 2 * 4 : 0}
#define MASKS(i) MASK(i), MASK((i) + 1), MASK((i) + 2), MASK((i) + 3), MASK((i) + 4), MASK((i) + 5), MASK((i) + 6), MASK((i) + 7)

const uint64_t sketch_masks[32][2] = {MASKS(0), MASKS(8), MASKS(16), MASKS(24)};

void sketch_halve(struct sketch *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->words[i] = s->words[i] >> 1 & UINT64_C(0x7777777777777777);
	s->counted /= 2;
}

void sketch_move(struct sketch *s, uint64_t *words, size_t n)
{
	/* A line's index is the low bits of what it is made of: with more bits, it is one of the copies. */
	for (size_t i = 0; s->n > 0 && i < n; i += s->n)
		memcpy(words + i, s->words, s->n * sizeof *words);
	s->words = words;
	s->n = n;
}

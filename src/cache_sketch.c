/* SPDX-License-Identifier: MIT */
#include "cache_sketch.h"

#include <string.h>

void sketch_halve(struct sketch *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->words[i] = s->words[i] >> 1 & UINT64_C(0x7777777777777777);
	s->counted /= 2;
	s->halvings++;
}

void sketch_move(struct sketch *s, uint64_t *words, size_t n)
{
	/* A line's index is the low bits of what it is made of: with more bits, it is one of the copies. */
	for (size_t i = 0; s->n > 0 && i < n; i += s->n)
		memcpy(words + i, s->words, s->n * sizeof *words);
	s->words = words;
	s->n = n;
}

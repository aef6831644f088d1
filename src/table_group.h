/* SPDX-License-Identifier: MIT */
/*
 * table_group: TABLE_GROUP slots of a segment at one glance. Searches begin at a group's first slot and go group by group; in each, the
 * slots worth a look are computed without a branch. In which slot a key is cannot be foreseen, and a branch that hangs on memory
 * which has yet to come, when it was guessed wrongly, costs all the work that the processor has begun behind it.
 *
 * What it says are hints of a moment: who acts on one without the segment's lock loads the words again, by the order of table.h. With slots
 * of two words, in blocks of more than 2048 bytes, a group is a cache line.
 */
#ifndef TABLE_GROUP_H
#define TABLE_GROUP_H

#include "table_impl.h"

/* Not under the thread sanitizer, which takes a vector's load for a plain one beside atomic stores. */
#if defined(__SSE2__) && UINTPTR_MAX > UINT32_MAX && !defined(__SANITIZE_THREAD__)
#define TABLE_GROUP_SSE2 1
#include <emmintrin.h>
#else
#define TABLE_GROUP_SSE2 0
#endif

/* A bit for each slot. */
struct table_group {
	unsigned hits;   /* not empty, and the key word is the wanted one, or has its hash */
	unsigned empty;  /* never used */
	unsigned vacant; /* held a value once */
};

/* What of a key word is compared; or the value word (table_group_hint). */
enum table_compare { TABLE_COMPARE_HASH, TABLE_COMPARE_WORD, TABLE_COMPARE_TAGGED, TABLE_COMPARE_VALUE };

#if TABLE_GROUP_SSE2

/* Halves of one word of each slot: four low ones, four high ones. */
struct table_group_words {
	__m128i low, high;
};

/* The key words (word 0) or the value words of a group's slots. */
static inline __attribute__((always_inline)) struct table_group_words table_group_load(const _Atomic(uintptr_t) *first, unsigned stride,
										       unsigned word)
{
	const __m128d *v = (const __m128d *)(const void *)first;
	__m128d front, back;

	if (stride == TABLE_STRIDE) {
		front = word == 0 ? _mm_unpacklo_pd(v[0], v[1]) : _mm_unpackhi_pd(v[0], v[1]);
		back = word == 0 ? _mm_unpacklo_pd(v[2], v[3]) : _mm_unpackhi_pd(v[2], v[3]);
	} else {
		/* key, value; payload, key; value, payload; and the same again */
		front = word == 0 ? _mm_shuffle_pd(v[0], v[1], 2) : _mm_shuffle_pd(v[0], v[2], 1);
		back = word == 0 ? _mm_shuffle_pd(v[3], v[4], 2) : _mm_shuffle_pd(v[3], v[5], 1);
	}
	__m128 f = _mm_castpd_ps(front), b = _mm_castpd_ps(back);
	return (struct table_group_words){.low = _mm_castps_si128(_mm_shuffle_ps(f, b, _MM_SHUFFLE(2, 0, 2, 0))),
					  .high = _mm_castps_si128(_mm_shuffle_ps(f, b, _MM_SHUFFLE(3, 1, 3, 1)))};
}

static inline unsigned table_group_mask(__m128i lanes)
{
	return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(lanes));
}

static inline unsigned table_group_equal(struct table_group_words words, uint64_t wanted)
{
	return table_group_mask(_mm_and_si128(_mm_cmpeq_epi32(words.low, _mm_set1_epi32((int)wanted)),
					      _mm_cmpeq_epi32(words.high, _mm_set1_epi32((int)(wanted >> 32)))));
}

#endif

/* The slots whose key word is the wanted one, be they empty. The stride is a constant. */
static inline __attribute__((always_inline)) unsigned table_group_hits(const _Atomic(uintptr_t) *first, unsigned stride,
								       enum table_compare compare, uint64_t wanted)
{
#if TABLE_GROUP_SSE2
	struct table_group_words keys = table_group_load(first, stride, 0);

	if (compare == TABLE_COMPARE_HASH)
		return table_group_mask(_mm_cmpeq_epi32(keys.high, _mm_set1_epi32((int)wanted)));
	if (compare == TABLE_COMPARE_TAGGED)
		keys.low = _mm_andnot_si128(_mm_set1_epi32((int)TABLE_TAGS), keys.low);
	return table_group_equal(keys, wanted);
#else
	unsigned hits = 0;

	for (unsigned k = 0; k < TABLE_GROUP; k++) {
		uint64_t word = atomic_load_explicit(&first[k * stride], memory_order_relaxed);
		bool hit = compare == TABLE_COMPARE_HASH   ? word >> 32 == wanted
			   : compare == TABLE_COMPARE_WORD ? word == wanted
							   : (word & ~TABLE_TAGS) == wanted;
		hits |= (unsigned)hit << k;
	}
	return hits;
#endif
}

/* The same, or the slots that have a value word, tag aside, as far as half of the word tells: for who looks at the slot itself then. */
static inline __attribute__((always_inline)) unsigned table_group_hint(const _Atomic(uintptr_t) *first, unsigned stride,
								       enum table_compare compare, uint64_t wanted)
{
	if (compare != TABLE_COMPARE_VALUE)
		return table_group_hits(first, stride, compare, wanted);
#if TABLE_GROUP_SSE2
	return table_group_mask(_mm_cmpeq_epi32(table_group_load(first, stride, TABLE_VALUE).low, _mm_set1_epi32((int)wanted)));
#else
	unsigned hits = 0;

	for (unsigned k = 0; k < TABLE_GROUP; k++)
		hits |= (unsigned)((uint32_t)atomic_load_explicit(&first[k * stride + TABLE_VALUE], memory_order_relaxed) == (uint32_t)wanted) << k;
	return hits;
#endif
}

/* The slots that never held a value. */
static inline __attribute__((always_inline)) unsigned table_group_empty(const _Atomic(uintptr_t) *first, unsigned stride)
{
#if TABLE_GROUP_SSE2
	return table_group_equal(table_group_load(first, stride, TABLE_VALUE), SLOTS_EMPTY);
#else
	unsigned empty = 0;

	for (unsigned k = 0; k < TABLE_GROUP; k++)
		empty |= (unsigned)(atomic_load_explicit(&first[k * stride + TABLE_VALUE], memory_order_acquire) == SLOTS_EMPTY) << k;
	return empty;
#endif
}

/* Looks at the group that begins with slot `at`; stride and compare are constants. */
static inline __attribute__((always_inline)) struct table_group table_group_look(const struct table_segment *seg, uint32_t at,
										 unsigned stride, enum table_compare compare,
										 uint64_t wanted)
{
	const _Atomic(uintptr_t) *first = &seg->slots->words[(size_t)at * stride];
	struct table_group group = {.hits = table_group_hits(first, stride, compare, wanted)};

#if TABLE_GROUP_SSE2
	struct table_group_words values = table_group_load(first, stride, TABLE_VALUE);
	group.empty = table_group_equal(values, SLOTS_EMPTY);
	group.vacant = table_group_equal(values, SLOTS_VACANT);
#else
	for (unsigned k = 0; k < TABLE_GROUP; k++) {
		uintptr_t raw = atomic_load_explicit(&first[k * stride + TABLE_VALUE], memory_order_acquire);
		group.empty |= (unsigned)(raw == SLOTS_EMPTY) << k;
		group.vacant |= (unsigned)(raw == SLOTS_VACANT) << k;
	}
#endif
	group.hits &= ~group.empty;
	return group;
}

/* The same for a key; layout is a constant where that matters. */
static inline __attribute__((always_inline)) struct table_group table_group_of_key(const struct table_segment *seg, uint32_t at,
										   const struct table_key *key, enum table_layout layout)
{
	if (layout == TABLE_BYTES)
		return table_group_look(seg, at, TABLE_STRIDE, TABLE_COMPARE_HASH, key->hash);
	if (layout == TABLE_BARE) {
		struct table_group group = table_group_look(seg, at, TABLE_STRIDE, TABLE_COMPARE_WORD, 0);
		group.hits = table_group_hint(&seg->slots->words[(size_t)at * TABLE_STRIDE], TABLE_STRIDE, TABLE_COMPARE_VALUE,
					      (uintptr_t)key->data);
		return group;
	}
	if (layout == TABLE_PAIR)
		return table_group_look(seg, at, TABLE_STRIDE_PAIR, TABLE_COMPARE_TAGGED, key->word & ~TABLE_TAGS);
	return table_group_look(seg, at, TABLE_STRIDE, TABLE_COMPARE_WORD, key->word);
}

/* The group after this one. */
static inline uint32_t table_group_next(const struct table_segment *seg, uint32_t at)
{
	return at + TABLE_GROUP == seg->n ? 0 : at + TABLE_GROUP;
}

/* Takes the first slot off a set of hits. */
static inline uint32_t table_group_take(unsigned *bits, uint32_t at)
{
	uint32_t i = at + (uint32_t)__builtin_ctz(*bits);

	*bits &= *bits - 1;
	return i;
}

#endif

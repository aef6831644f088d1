/* SPDX-License-Identifier: MIT */
/*
 * cache_shadow: how large a cache's window should be, and which new entries should pass it by. A shadow is a W-TinyLFU of hashes without
 * entries, of a kind of its own, over a sample of the keys. Several of them run beside the cache; the one that would have had the most hits
 * lately is the choice. (Waldspurger et al., Cache Modeling and Optimization using Miniature Simulations, ATC 2017.)
 *
 * The choice changes when another shadow leads by more than chance and by more than the change costs: a changed window loses some of what
 * the cache holds. Hits lose half of their weight in thirty-six times as many accesses as the cache has entries, and seven hundred more.
 *
 * Numbers stand for pointers, 0 for none. States of a shadow's entry: free (linked by next), or in one queue and in the chain of its hash.
 * Invariants (shadows_check):
 *  1. n is the sum of the queues' n, at most size + 1, and every entry in a queue is in the chain of its hash.
 *  2. Each queue's links are right in both directions, and its entries name it.
 *
 * Locks: none; the caller's. Memory: the caller's, shadows_bytes of it, without pointers; 14 bytes an entry and shadow, and never more
 * than for SHADOWS_MOST entries.
 */
#ifndef CACHE_SHADOW_H
#define CACHE_SHADOW_H

#include "cache_sketch.h"

/* How many there are, and the entries of each at most. */
#define SHADOWS 5
#define SHADOWS_MOST 512

enum shadow_queue_id { SHADOW_WINDOW, SHADOW_PROBATION, SHADOW_PROTECTED, SHADOW_QUEUES };

struct shadow {
	struct shadow_entry *entries;
	uint16_t *buckets;
	/* What there is memory for, a power of two. */
	uint16_t size;
	uint16_t capacity, window_maximum, protected_maximum;
	uint16_t n, free, unused;
	/* Its number. */
	uint16_t kind;
	struct shadow_queue {
		uint16_t hottest, coldest, n;
	} queues[SHADOW_QUEUES];
};

struct shadows {
	struct shadow at[SHADOWS];
	bool started;
	unsigned chosen;
	/* A hash is in the sample when it has none of these bits. */
	uint32_t sample_mask;
	/* Accesses of the sample since the last look at the scores. */
	uint32_t sampled;
	/* In 256ths: the hits of each, and how often one of two had a hit and the other had not. */
	uint32_t hits[SHADOWS];
	uint32_t apart[SHADOWS][SHADOWS];
};

/* For a cache of so many entries, a power of two. */
size_t shadows_bytes(size_t nodes);
/* Goes on in this memory of zeros. Starts in it when there was none. */
void shadows_move(struct shadows *s, void *zeroed, size_t nodes);

/* The cache is full, with n entries: from now on shadows differ. reused: whether entries were read at all until now. */
void shadows_start(struct shadows *s, size_t n, bool reused);
/* What the cache holds at the start, the coldest first. */
void shadows_seed(struct shadows *s, uint32_t hash, const struct sketch *sketch);
/* Whether they look at a hash at all. */
static inline bool shadows_sample(const struct shadows *s, uint32_t hash)
{
	return s->started && (hash & s->sample_mask) == 0;
}
/* An access of the sample, in a cache of n entries; counted in the sketch before, with that frequency. Whether the choice changed. */
bool shadows_access(struct shadows *s, size_t n, uint32_t hash, unsigned frequency, const struct sketch *sketch);

/* The share of the window that is chosen, in 256ths. */
unsigned shadows_window(const struct shadows *s);
/* Where the chosen one lets a new entry begin that was counted so often. */
enum shadow_queue_id shadows_entrance(const struct shadows *s, unsigned frequency);

void shadows_check(const struct shadows *s);

#endif

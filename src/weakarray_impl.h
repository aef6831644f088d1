/* SPDX-License-Identifier: MIT */
/*
 * weakarray_impl: what weakarray.c and weakarray_pairs.c share: the registry of arrays, and how a word of a slot is judged.
 */
#ifndef WEAKARRAY_IMPL_H
#define WEAKARRAY_IMPL_H

#include "cycle.h"
#include "heap.h"
#include "weakarray.h"

struct weakarray_entry {
	struct slots *slots;
	uint32_t n;
	uint16_t weakness;
	bool parked;
	bool clean; /* between closure and scan: it is alive and may have nothing to lose, neither in a slot nor its owner ... */
	uint32_t undecided; /* ... but pairs for which the closure waits; at its end, pairs that go */
};

struct weakarray_registry {
	struct weakarray_entry *at;
	size_t count, capacity, parked;
};

/* The arrays of pairs; all others are in a registry of weakarray.c's own. */
extern struct weakarray_registry weakarray_pairs;

/* Words of an array that may be logged as dead in one collection. */
static inline size_t weakarray_words(const struct weakarray_entry *entry)
{
	return entry->weakness >= SLOTS_WEAK_BOTH ? (size_t)entry->n * 2 : entry->n;
}

/* The block that a weak word watches; NULL where it is no longer on the heap. World stopped. */
static inline const void *weakarray_block_of(uintptr_t raw)
{
	const char *p = (const char *)(raw & ~EPOCH_TAG);

	return likely((raw & SLOTS_INNER) == 0) ? p - HEAP_HEADER : heap_base(p);
}

static inline bool weakarray_alive(const void *block)
{
	return likely(block != NULL) && cycle_alive_stw(block);
}

/* Makes room, before an array of pairs is registered, for what the closure has to note of it. libgc's lock held. False: no memory. */
bool weakarray_pairs_add_locked(const struct weakarray_entry *entry);
void weakarray_pairs_remove_locked(const struct weakarray_entry *entry);
/* Clears the pairs that go, in an array that is marked or not. How many. */
uint32_t weakarray_pairs_clear_stw(struct slots *slots, bool marked);
/* Gives back what the closure used. */
void weakarray_pairs_settle_locked(void);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * weakarray_impl: what weakarray.c and weakarray_pairs.c share: the registry of arrays, and how a word of a slot is judged.
 */
#ifndef WEAKARRAY_IMPL_H
#define WEAKARRAY_IMPL_H

#include <gc/gc.h>
#include <gc/gc_mark.h>

#include "cycle.h"
#include "heap.h"
#include "weakarray.h"

struct weakarray_entry {
	struct slots *slots;
	uint32_t n;
	uint16_t weakness;
	bool parked;
	bool clean; /* between closure and scan: it is alive and may have nothing to lose, neither in a slot nor its owner ... */
	bool waits; /* ... but pairs that waited for something in the closure */
};

struct weakarray_registry {
	struct weakarray_entry *at;
	size_t count, capacity;
	size_t slots;          /* of all arrays */
	_Atomic size_t parked; /* arrays */
};

/* Arrays are scanned in pieces of some: so few that a piece is done soon, so many that taking one costs little. */
static inline size_t weakarray_piece(const struct weakarray_registry *registry)
{
	return registry->count >= 4096 ? 64 : registry->count / 64 + 1;
}

static inline size_t weakarray_pieces(const struct weakarray_registry *registry)
{
	return (registry->count + weakarray_piece(registry) - 1) / weakarray_piece(registry);
}

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
	return likely(block != NULL) && GC_is_marked(block);
}

/*
 * Slots are looked at WEAKARRAY_BATCH at a time: first all mark bits are asked for, then it is decided. So no branch hangs on memory that has
 * yet to come where some live and some are dead, and the processor waits for many mark bits at once.
 */
#define WEAKARRAY_BATCH 64

static inline uint32_t weakarray_batch_end(const struct slots *slots, uint32_t from)
{
	return slots->n - from <= WEAKARRAY_BATCH ? slots->n : from + WEAKARRAY_BATCH;
}

/* Of a batch, a bit for each slot, the first slot's lowest. */
struct weakarray_batch {
	uint64_t values;   /* it has a value ... */
	uint64_t dead;     /* ... which is dead */
	uint64_t payloads; /* ... and a payload that is no number, as far as the weak word tells (slots_payload_kind_of) */
};

static inline struct weakarray_batch weakarray_look_at_batch(struct slots *slots, uint32_t from)
{
	const uint32_t n = weakarray_batch_end(slots, from) - from, stride = slots->stride;
	_Atomic(uintptr_t) *word = slots_word(slots, from, slots->value);
	struct weakarray_batch batch = {0};

	for (uint32_t k = 0; k < n; k++, word += stride) {
		uintptr_t raw = atomic_load_explicit(word, memory_order_relaxed);
		if (!slots_is_value(raw))
			continue;
		batch.values |= UINT64_C(1) << k;
		batch.payloads |= (uint64_t)((raw & SLOTS_PAYLOAD_TAGS) != 0) << k;
		batch.dead |= (uint64_t)!weakarray_alive(weakarray_block_of(raw)) << k;
	}
	return batch;
}

/* Makes room, before an array of pairs is registered, for what the closure has to note of it. libgc's lock held. False: no memory. */
bool weakarray_pairs_add_locked(const struct weakarray_entry *entry);
void weakarray_pairs_remove_locked(const struct weakarray_entry *entry);
/* From the closure to the scan: whether all that waited in the closure was woken. */
bool weakarray_pairs_all_woken_stw(void);
/* Clears the pairs that go, in an array that is marked or not. How many. */
uint32_t weakarray_pairs_clear_stw(struct slots *slots, bool marked, struct cycle_tally *tally);
/* Gives back what this collection's closure did not need of the memory that earlier ones used. */
void weakarray_pairs_settle_locked(void);

#endif

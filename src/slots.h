/* SPDX-License-Identifier: MIT */
/*
 * slots: the array of weak slots: plain pointers with what belongs to them, in memory that the collector does not scan.
 *
 * It is the shape that tables (above) and the collector's scan (weakarray) agree on, and knows neither. A slot is `stride` words; word
 * `value` of it is the weak word:
 *
 *     SLOTS_EMPTY    never held a value: a probe ends here
 *     SLOTS_VACANT   held one: removed, or found dead by a collection. The other words stay until somebody writes or purges the slot
 *     otherwise      a pointer. SLOTS_INNER set: it is a foreign block or points inside a block, whose start the scan must look up;
 *                    clear: the payload of an object of ours, whose block starts 16 bytes before
 *
 * Invariants
 *  1. live == number of slots with a value, plus the insertions now between counting and storing (counted first), so never less.
 *  2. Whoever takes a value out of a slot, does so by an atomic exchange, and counts it down only when a value came out of it.
 *  3. dead == values that collections took out since the last purge. Only the scan adds, only a purge (under the table's lock) takes away.
 *  4. Any state between two instructions is one the scan may meet: it only looks at value words.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include "epoch.h"

#define SLOTS_EMPTY ((uintptr_t)0)
#define SLOTS_VACANT ((uintptr_t)1)
#define SLOTS_INNER EPOCH_TAG

#define SLOTS_SIGNATURE UINT32_C(0x574b534c)

struct slots {
	uint32_t signature; /* written last, when the array is whole */
	uint32_t n;
	uint16_t stride; /* words */
	uint16_t value;  /* which of them is weak */
	_Atomic uint32_t live;
	_Atomic uint32_t dead;
	uint32_t reserved;
	/* The table that the array belongs to: weak as well, cleared by the scan. */
	_Atomic(uintptr_t) owner;
	/* What gc_collect calls, with no lock held, where dead is not 0: NULL for nothing. */
	void (*purge)(struct slots *slots, void *owner);
	uint64_t unused[3];
	/* At byte 64, so that slots of 16 bytes never straddle a cache line in a block of more than 2048 bytes. */
	_Atomic(uintptr_t) words[];
};

_Static_assert(offsetof(struct slots, words) == 64, "the slots begin on a cache line");

/* Bytes of an array. */
static inline size_t slots_size(uint32_t n, unsigned stride)
{
	return sizeof(struct slots) + (size_t)n * stride * sizeof(uintptr_t);
}

static inline _Atomic(uintptr_t) *slots_word(struct slots *slots, uint32_t i, unsigned word)
{
	return &slots->words[(size_t)i * slots->stride + word];
}

static inline bool slots_is_value(uintptr_t raw)
{
	return raw > SLOTS_VACANT;
}

/* Takes the value out of a slot: what was there, or SLOTS_EMPTY/SLOTS_VACANT where nothing was. Counts. An empty slot stays empty. */
uintptr_t slots_take(struct slots *slots, uint32_t i);

/* Checks what can be seen from one thread: signature, shape, live >= values counted. */
void slots_check(struct slots *slots);

#endif

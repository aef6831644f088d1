/* SPDX-License-Identifier: MIT */
/*
 * slots: the array of weak slots: plain pointers with what belongs to them, in memory that the collector does not scan.
 *
 * It is the shape that tables (above) and the collector's scan (weakarray) agree on, and knows neither. A slot is `stride` words; word
 * `value` of it is the weak word:
 *
 *     SLOTS_EMPTY    never held a value
 *     SLOTS_VACANT   held one: removed, or found dead by a collection. The other words stay until somebody writes or purges the slot
 *     otherwise      a pointer. SLOTS_INNER set: it is a foreign block or points inside a block, whose start the scan must look up;
 *                    clear: the payload of an object of ours, whose block starts 16 bytes before
 *
 * An array of weakness VALUE has nothing else that the scan looks at. In the other three a slot watches a pair: the *key*, which is the
 * weak word as above, and the *payload*, word `payload`: a plain pointer, untagged, or any 64-bit number. What the payload is (enum
 * slots_payload) two bits tell. They are the low ones of word 0, which is the table's own but for them; where word 0 is the payload, bits 61
 * and 62 of the weak word. What becomes of the pair at the end of a marking:
 *
 *     EPHEMERON   the payload is kept alive, with all that it leads to, if the array and the key are alive by something else than this
 *                 payload. A dead key takes the entry away
 *     BOTH        keeps nothing alive; the entry goes when the key or the payload is dead. A payload that is no heap pointer never is
 *     EITHER      while one side is alive it keeps the other (and the array must be alive); the entry goes when both are dead. A payload
 *                 that is no heap pointer keeps nothing: the entry goes with its key
 *     Any of them in an array that is not reached itself: the entry goes when the key or the payload is dead
 *
 * An entry that goes leaves VACANT in its value word and 0 in its payload word; another word 0 stays.
 *
 * Writing a pair (under the lock of those who write the array: a segment's, an ephemeron's, a cache's)
 *     into a slot whose value word is EMPTY or VACANT: payload; word 0 with the payload's kind; count live; the value word last (release).
 *         While the value word is no value, the scan looks at neither of the others: the writer holds key and payload
 *     another payload under the same key: slots_payload_set
 *     out: slots_take, which leaves 0 in the payload word; who wants the payload loads it first, by slots_load
 *     from one array into another: slots_load, then store as above: both are held meanwhile
 * Reading a pair, with or without the lock: slots_load. It gives key and payload of one moment of this slot, provided that the slot did
 * not change hands twice meanwhile, which the table finds out by a count of its own (table.h, take-overs).
 *
 * Invariants
 *  1. live == number of slots with a value, plus the insertions now between counting and storing (counted first), so never less.
 *  2. Whoever takes a value out of a slot, does so by an atomic exchange, and counts it down only when a value came out of it.
 *  3. dead == values that collections took out since the last purge. Only the scan adds, only a purge (under the writers' lock) takes away.
 *  4. Any state between two instructions is one the scan may meet: it only looks at value words.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include "epoch.h"

#define SLOTS_EMPTY ((uintptr_t)0)
#define SLOTS_VACANT ((uintptr_t)1)
#define SLOTS_INNER ((uintptr_t)1 << 63)

#define SLOTS_SIGNATURE UINT32_C(0x574b534c)

enum slots_weakness { SLOTS_WEAK_VALUE, SLOTS_WEAK_EPHEMERON, SLOTS_WEAK_BOTH, SLOTS_WEAK_EITHER };

/* What a payload is. */
enum slots_payload {
	SLOTS_PAYLOAD_NUMBER, /* no heap pointer */
	SLOTS_PAYLOAD_OURS,   /* the payload pointer of an object of ours, whose block starts 16 bytes before */
	SLOTS_PAYLOAD_INNER,  /* another heap pointer: its start must be looked up */
};

#define SLOTS_PAYLOAD_MASK ((uintptr_t)3)
/* Where that stands in the weak word. */
#define SLOTS_PAYLOAD_SHIFT 61
#define SLOTS_PAYLOAD_TAGS (SLOTS_PAYLOAD_MASK << SLOTS_PAYLOAD_SHIFT)

_Static_assert((SLOTS_INNER | SLOTS_PAYLOAD_TAGS) == EPOCH_TAG, "who loads a weak word takes off all of its tags");

struct slots {
	uint32_t signature; /* written last, when the array is whole */
	uint32_t n;
	uint16_t stride; /* words */
	uint16_t value;  /* which of them is weak */
	_Atomic uint32_t live;
	_Atomic uint32_t dead;
	uint16_t payload;  /* which word is the payload; without meaning for WEAK_VALUE */
	uint16_t weakness; /* of enum slots_weakness */
	/* The table that the array belongs to: weak as well, cleared by the scan. */
	_Atomic(uintptr_t) owner;
	/* What gc_collect calls, with no lock held, where dead is not 0: NULL for nothing. */
	void (*purge)(struct slots *slots, void *owner);
	/* What weakref_checks_validate calls, with no lock held; before there is an owner. NULL for nothing. */
	void (*check)(struct slots *slots, void *owner);
	uint64_t unused[2];
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

/* The value word of a slot, as it was; *p the pointer in it and *payload the payload that belonged to it, both safe to use where the
 * value word is a value (slots_is_value). For all weaknesses but VALUE. */
static inline uintptr_t slots_load(struct slots *slots, uint32_t i, void **p, uintptr_t *payload)
{
	uintptr_t raw;

	*p = epoch_load_two(slots_word(slots, i, slots->value), slots_word(slots, i, slots->payload), &raw, payload);
	return raw;
}

/* What the payload of a slot is, which has this weak word. Exact for who holds the writers' lock; to others the truth of another moment. */
static inline enum slots_payload slots_payload_kind_of(struct slots *slots, uint32_t i, uintptr_t raw)
{
	if (slots->payload == 0)
		return raw >> SLOTS_PAYLOAD_SHIFT & SLOTS_PAYLOAD_MASK;
	return atomic_load_explicit(slots_word(slots, i, 0), memory_order_acquire) & SLOTS_PAYLOAD_MASK;
}

static inline enum slots_payload slots_payload_kind(struct slots *slots, uint32_t i)
{
	return slots_payload_kind_of(slots, i, atomic_load_explicit(slots_word(slots, i, slots->value), memory_order_acquire));
}

/* Replaces the payload of a slot in use, whose key the caller holds, and the new payload too. The writers' lock is held. */
void slots_payload_set(struct slots *slots, uint32_t i, uintptr_t payload, enum slots_payload kind);

/* Takes the value out of a slot: what was there, or SLOTS_EMPTY/SLOTS_VACANT where nothing was. Counts. An empty slot stays empty. The
 * payload word, where there is one, becomes 0. */
uintptr_t slots_take(struct slots *slots, uint32_t i);

/* Checks what nobody changes: signature and shape. The counts are for who has the writers' lock, in `check`. */
void slots_check(struct slots *slots);

#endif

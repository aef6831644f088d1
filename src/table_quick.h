/* SPDX-License-Identifier: MIT */
/*
 * table_quick: the look-up of a key that is there, written for the processor: strings, bytes, words, and keys that are the weak word by
 * identity. A look-up in a large table waits for memory up to four times: for the caller's key, the group of slots, the key in the arena
 * and the value. A program that looks up one key after another need not wait for each in turn, as long as the instructions of the next
 * look-ups fit in the processor's window behind those that wait, and no branch that hangs on the awaited data was guessed wrongly. So
 * here are few instructions: a group of slots is compared at once, the slot that may have the key is computed, not found, and nothing is
 * called, so that who calls needs no frame. A string's end, its hash and its comparison have no branch for its length.
 *
 * Two answers: this value, or, by false and some value or none, "look for it properly", which says why there is none. A collection in progress, an
 * entry that changes meanwhile and a hash that another key has too are such cases. The order of loads is that of table.c's readers (table.h).
 *
 * Deliberately not here: a bound for the search. It ends at an empty slot, which every segment has (invariant 3).
 */
#ifndef TABLE_QUICK_H
#define TABLE_QUICK_H

#include "bytes.h"
#include "table_group.h"

/* The first slot on the way of a hash that table_group_hint gives for what is wanted, or NULL; stride and compare are constants. */
static inline __attribute__((always_inline)) const _Atomic(uintptr_t) *
table_quick_slot(const struct table_segment *seg, uint32_t hash, unsigned stride, enum table_compare compare, uint64_t wanted)
{
	const _Atomic(uintptr_t) *slot = &seg->slots->words[(size_t)table_home(seg, hash) * stride];
	unsigned hits;

	while (unlikely((hits = table_group_hint(slot, stride, compare, wanted)) == 0)) {
		/* Loaded anew: what is needed here alone would be kept in registers from the start on. */
		BASE_PIN(slot);
		BASE_PIN(seg);
		if (table_group_hint(slot, stride, TABLE_COMPARE_VALUE, SLOTS_EMPTY) != 0)
			return NULL;
		slot += TABLE_GROUP * stride;
		if (slot == &seg->slots->words[(size_t)seg->n * stride])
			slot = seg->slots->words;
	}
	return slot + (unsigned)__builtin_ctz(hits) * stride;
}

/* BYTES: a slot whose key has a hash, and the value that it had. */
struct table_quick {
	const _Atomic(uintptr_t) *slot;
	uint64_t word;
	void *value;
	uintptr_t raw;
	const struct table_arena *arena;
	const unsigned char *key; /* length, bytes */
};

/* The first one with this hash; false where there is none to be trusted. */
static inline __attribute__((always_inline)) bool table_quick_hash(const struct table *table, uint32_t hash, struct table_quick *out)
{
	const struct table_segment *seg = table_segment_of(table, hash);

	out->slot = table_quick_slot(seg, hash, TABLE_STRIDE, TABLE_COMPARE_HASH, hash);
	if (unlikely(out->slot == NULL))
		return false;
	out->word = atomic_load_explicit(out->slot, memory_order_acquire);
	bool whole = epoch_try(out->slot + TABLE_VALUE, &out->raw, &out->value);
	out->arena = table_arena_of(seg);
	out->key = (const unsigned char *)out->arena + (uint32_t)out->word;
	return likely(whole && (uint32_t)out->word != 0);
}

/* Its value, where the slot has the same key still: nothing else has this key word. */
static inline __attribute__((always_inline)) bool table_quick_value(const struct table_quick *at, void **value)
{
	BASE_KEEP(at->arena); /* where interior pointers do not count, the key alone would not keep it */
	*value = at->value;
	return likely(atomic_load_explicit(at->slot, memory_order_relaxed) == at->word && slots_is_value(at->raw));
}

/* A key of bytes, fewer than TABLE_QUICK_MAX, with its hash. */
#define TABLE_QUICK_MAX 255
static inline __attribute__((always_inline)) bool table_quick_bytes(const struct table *table, uint32_t hash, const void *data, size_t size,
								    void **value)
{
	struct table_quick at;

	return likely(table_quick_hash(table, hash, &at) && *at.key == size && bytes_equal(at.key + 1, data, size)) &&
	       table_quick_value(&at, value);
}

/* A string, of fewer than BYTES_SHORT bytes. */
static inline __attribute__((always_inline)) bool table_quick_string(const struct table *table, const char *string, void **value)
{
#if BYTES_SSE2
	struct bytes_vector wanted;
	struct table_quick at;

	return likely(bytes_vector_of_string(string, &wanted) &&
		      table_quick_hash(table, table_hash_short(bytes_vector_words(&wanted)), &at) && *at.key == wanted.size &&
		      bytes_vector_equal(&wanted, at.key + 1)) &&
	       table_quick_value(&at, value);
#else
	size_t size = strlen(string);

	return size < BYTES_SHORT &&
	       table_quick_bytes(table, table_hash_short(bytes_words((const unsigned char *)string, size)), string, size, value);
#endif
}

/* A word. */
static inline __attribute__((always_inline)) bool table_quick_word(const struct table *table, uint64_t word, void **value)
{
	uint32_t hash = table_fold(base_mix(word));
	const struct table_segment *seg = table_segment_of(table, hash);
	uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
	const _Atomic(uintptr_t) *slot = table_quick_slot(seg, hash, TABLE_STRIDE, TABLE_COMPARE_WORD, word);
	uintptr_t raw;

	return likely(slot != NULL && atomic_load_explicit(slot, memory_order_acquire) == word &&
		      epoch_try(slot + TABLE_VALUE, &raw, value) && slots_is_value(raw) &&
		      atomic_load_explicit(&seg->takeovers, memory_order_relaxed) == takeovers);
}

/* SELF, by identity: whether there is an element, which the caller holds: a slot with its address has it. */
static inline __attribute__((always_inline)) bool table_quick_member(const struct table *table, const void *p)
{
	uint32_t hash = table_fold(table_pointer_word((uintptr_t)p));
	const struct table_segment *seg = table_segment_of(table, hash);
	const _Atomic(uintptr_t) *slot = table_quick_slot(seg, hash, TABLE_STRIDE, TABLE_COMPARE_VALUE, (uintptr_t)p);

	if (unlikely(slot == NULL))
		return false;
	uintptr_t raw = atomic_load_explicit(slot + TABLE_VALUE, memory_order_acquire);
	return likely((raw & ~EPOCH_TAG) == (uintptr_t)p && slots_is_value(raw));
}

/* BARE: a key that the caller holds, and its payload. */
static inline __attribute__((always_inline)) bool table_quick_bare(const struct table *table, const void *p, void **payload)
{
	uint32_t hash = table_fold(table_pointer_word((uintptr_t)p));
	const struct table_segment *seg = table_segment_of(table, hash);
	uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
	const _Atomic(uintptr_t) *slot = table_quick_slot(seg, hash, TABLE_STRIDE, TABLE_COMPARE_VALUE, (uintptr_t)p);

	if (unlikely(slot == NULL))
		return false;
	/* The payload is read as slots_load reads it; the key is held, so that its word need not be pinned. */
	uint64_t epoch = epoch_begin();
	uintptr_t raw = atomic_load_explicit(slot + TABLE_VALUE, memory_order_acquire);
	void *loaded = (void *)atomic_load_explicit(slot + TABLE_BARE_PAYLOAD, memory_order_acquire);
	BASE_PIN(loaded);
	if (unlikely(atomic_load_explicit(slot + TABLE_VALUE, memory_order_relaxed) != raw || !epoch_is(epoch) ||
		     (raw & ~EPOCH_TAG) != (uintptr_t)p || !slots_is_value(raw) ||
		     atomic_load_explicit(&seg->forgotten, memory_order_acquire) ||
		     atomic_load_explicit(&seg->takeovers, memory_order_relaxed) != takeovers))
		return false;
	*payload = loaded;
	return true;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * table_quick: the look-up of a key that is there, written for the processor: strings, words, and keys that are the weak word. A look-up in
 * a large table waits for memory up to four times: for the caller's key, the group of slots, the key in the arena and the value. A program
 * that looks up one key after another need not wait for each in turn, as long as the instructions of the next look-ups fit in the
 * processor's window behind those that wait, and no branch that hangs on the awaited data was guessed wrongly. So here are few instructions
 * and no search: a group of slots is compared at once, and the slot that may have the key is computed, not found.
 *
 * It has two answers: this value, or "look for it properly". Its order of loads is that of table.c's readers (table.h).
 */
#include "bytes.h"
#include "table_group.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* How many groups are looked at. */
#define GROUPS 2

void *table_quick_bytes(const struct table *table, const void *data, size_t size)
{
	uint32_t hash = table_fold(XXH3_64bits(data, size));
	const struct table_segment *seg = table_segment_of(table, hash);
	uint32_t i = table_home(seg, hash);
	_Atomic(uintptr_t) *slot = &seg->slots->words[(size_t)i * TABLE_STRIDE];
	unsigned hits = table_group_hits(slot, TABLE_STRIDE, TABLE_COMPARE_HASH, hash);
	uintptr_t raw;

	if (unlikely(hits == 0)) {
		slot += TABLE_GROUP * TABLE_STRIDE;
		if (i + GROUPS * TABLE_GROUP > seg->n || (hits = table_group_hits(slot, TABLE_STRIDE, TABLE_COMPARE_HASH, hash)) == 0)
			return NULL;
	}
	slot += (size_t)__builtin_ctz(hits) * TABLE_STRIDE;
	uint64_t word = atomic_load_explicit(slot, memory_order_acquire);
	void *value = epoch_load(slot + TABLE_VALUE, &raw);
	const struct table_arena *arena = table_arena_of(seg);
	const unsigned char *key = (const unsigned char *)arena + (uint32_t)word;
	if (unlikely((uint32_t)word == 0 || *key != size || !bytes_equal(key + 1, data, size)))
		return NULL;
	BASE_KEEP(arena); /* where interior pointers do not count, key alone would not keep it */
	/* Nothing else has this word: the value is this key's. */
	if (unlikely(atomic_load_explicit(slot, memory_order_relaxed) != word || !slots_is_value(raw)))
		return NULL;
	return value;
}

void *table_quick_word(const struct table *table, uint64_t word)
{
	uint32_t hash = table_fold(base_mix(word));
	const struct table_segment *seg = table_segment_of(table, hash);
	_Atomic(uintptr_t) *slot = table_key_at(seg, table_home(seg, hash));
	uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
	unsigned hits = table_group_hits(slot, TABLE_STRIDE, TABLE_COMPARE_WORD, word);
	uintptr_t raw;

	if (unlikely(hits == 0))
		return NULL;
	slot += (size_t)__builtin_ctz(hits) * TABLE_STRIDE;
	if (unlikely(atomic_load_explicit(slot, memory_order_acquire) != word))
		return NULL;
	void *value = epoch_load(slot + TABLE_VALUE, &raw);
	if (unlikely(!slots_is_value(raw) || atomic_load_explicit(&seg->takeovers, memory_order_relaxed) != takeovers))
		return NULL;
	return value;
}

bool table_quick_pair(const struct table *table, const void *p, void **payload)
{
	uint32_t hash = table_fold(base_mix((uintptr_t)p));
	const struct table_segment *seg = table_segment_of(table, hash);
	uint32_t i = table_home(seg, hash);
	uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
	_Atomic(uintptr_t) *slot = &seg->slots->words[(size_t)i * TABLE_STRIDE];
	uintptr_t raw, loaded;
	void *key;

	if (unlikely(i + GROUPS * TABLE_GROUP > seg->n))
		return false;
	unsigned hits = table_group_pointers(slot, TABLE_STRIDE, (uintptr_t)p);
	if (unlikely(hits == 0)) {
		slot += TABLE_GROUP * TABLE_STRIDE;
		if ((hits = table_group_pointers(slot, TABLE_STRIDE, (uintptr_t)p)) == 0)
			return false;
	}
	slot += (size_t)__builtin_ctz(hits) * TABLE_STRIDE;
	key = epoch_load_two(slot + TABLE_VALUE, slot + TABLE_BARE_PAYLOAD, &raw, &loaded);
	if (unlikely(key != p || !slots_is_value(raw) || atomic_load_explicit(&seg->forgotten, memory_order_acquire) ||
		     atomic_load_explicit(&seg->takeovers, memory_order_relaxed) != takeovers))
		return false;
	*payload = (void *)loaded;
	return true;
}

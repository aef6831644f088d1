/* SPDX-License-Identifier: MIT */
/*
 * cache_quick: the look-up of a string that is there, written for the processor: few instructions, and above all few loads, since what one
 * look-up after another has under way at a time is limited by them (table_quick.h). Nothing is called, and nothing looks further than to
 * the first place with the hash.
 *
 * Two answers: this entry or value, or, by NULL, "look for it properly". The hashes of a group of places are hints of a moment, as in
 * cache_map.c: the entry's own key decides. The search ends, since some place is EMPTY.
 */
#ifndef CACHE_QUICK_H
#define CACHE_QUICK_H

#include "bytes.h"
#include "cache.h"
#include "table_group.h"

#define CACHE_QUICK static inline __attribute__((always_inline))

/* A place is two words, as a slot of a table is, and its hash the first of them. */
#define PLACE_WORDS TABLE_STRIDE
_Static_assert(sizeof(struct cache_place) == PLACE_WORDS * sizeof(uintptr_t) && CACHE_GROUP == TABLE_GROUP,
	       "a group is one of table_group.h");

CACHE_QUICK const _Atomic(uintptr_t) *cache_quick_words(const struct cache_place *place)
{
	return (const _Atomic(uintptr_t) *)(const void *)place;
}

/* The first entry with a hash; CACHE_GONE where there is none. In which place it is cannot be foreseen, so no branch depends on it. */
CACHE_QUICK struct cache_entry *cache_quick_hash(const weakref_cache *cache, uint32_t hash)
{
	const struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_acquire);
	size_t i = cache_home(map, hash);
	unsigned hits;

	while (unlikely((hits = table_group_hint(cache_quick_words(&map->at[i]), PLACE_WORDS, TABLE_COMPARE_WORD, hash)) == 0)) {
		for (unsigned k = 0; k < CACHE_GROUP; k++)
			if (atomic_load_explicit(&map->at[i + k].entry, memory_order_acquire) == NULL)
				return CACHE_GONE;
		i = (i + CACHE_GROUP) & (map->n - 1);
	}
	struct cache_entry *entry = atomic_load_explicit(&map->at[i + (unsigned)__builtin_ctz(hits)].entry, memory_order_acquire);
	BASE_PIN(entry);
	return likely(entry != CACHE_GONE) ? entry : NULL;
}

/* What a look-up of this hash will find first is fetched meanwhile; and, after that, its entry. */
CACHE_QUICK void cache_quick_expect_place(const weakref_cache *cache, uint32_t hash)
{
	const struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_acquire);

	__builtin_prefetch(&map->at[cache_home(map, hash)]);
}

CACHE_QUICK void cache_quick_expect_entry(const weakref_cache *cache, uint32_t hash)
{
	const struct cache_entry *entry = cache_quick_hash(cache, hash);

	if (entry != NULL && entry != CACHE_GONE)
		__builtin_prefetch(&entry->value);
}

/* A string's entry, of any length; CACHE_GONE where there is none. It may be DEAD, and has no value then. */
CACHE_QUICK struct cache_entry *cache_quick_long(const weakref_cache *cache, const char *key)
{
	size_t size = strlen(key);
	struct cache_entry *entry = size <= TABLE_KEY_MAX ? cache_quick_hash(cache, table_hash_bytes(key, size)) : NULL;

	if (entry == NULL || entry == CACHE_GONE)
		return entry;
	const unsigned char *bytes = (const unsigned char *)cache_bytes(cache, entry);
	return entry->size == size && bytes_equal(bytes, (const unsigned char *)key, size) ? entry : NULL;
}

/* The same of a string of fewer than BYTES_SHORT bytes, where there are vectors; NULL for any other. */
CACHE_QUICK struct cache_entry *cache_quick_short(const weakref_cache *cache, const char *key)
{
#if BYTES_SSE2
	struct bytes_vector wanted;

	if (unlikely(!bytes_vector_of_string(key, &wanted)))
		return NULL;
	struct cache_entry *entry = cache_quick_hash(cache, table_hash_short(bytes_vector_words(&wanted)));
	if (unlikely(entry == NULL || entry == CACHE_GONE))
		return entry;
	const unsigned char *bytes = (const unsigned char *)cache_bytes(cache, entry);
	/* The NUL says as much as the size, and stands where the value does. */
	return likely(bytes_vector_equal(&wanted, bytes) && bytes[wanted.size] == 0) ? entry : NULL;
#else
	(void)cache;
	(void)key;
	return NULL;
#endif
}

/* A string's entry's value. Strings are no weak keys, so that a cell is one of a weak value alone. */
CACHE_QUICK void *cache_quick_value(const struct cache_entry *entry)
{
	struct slots *bank;
	uintptr_t raw;
	void *value;

	if (!entry->celled)
		return atomic_load_explicit(&entry->value, memory_order_acquire);
	bank = entry->bank;
	bool whole = epoch_try(&bank->words[(size_t)cache_cell_place(entry) * CELL_VALUE + CELL_KEY], &raw, &value);
	return likely(whole && slots_is_value(raw) && cache_state(entry) != CACHE_DEAD) ? value : NULL;
}

/* Where readers go by the rough clock: whether an entry is neither expired nor so near to it that the exact clock has to tell. One that
 * was written after the rough clock's tick is said to be near it, if its time is further ahead than the slack. */
CACHE_QUICK bool cache_quick_lives(const weakref_cache *cache, const struct cache_entry *entry, uint64_t now, uint64_t slack)
{
	uint64_t written = atomic_load_explicit(&entry->written, memory_order_relaxed);
	uint64_t used = atomic_load_explicit(&entry->used, memory_order_relaxed), late = now + slack;

	/* Before the value: see cache_expired. */
	atomic_thread_fence(memory_order_acquire);
	return likely(late - written < cache_time(cache, WEAKREF_CACHE_AFTER_WRITE) &&
		      late - used < cache_time(cache, WEAKREF_CACHE_AFTER_ACCESS));
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * sidetable: see sidetable.h. Open addressing with linear probing in memory of ours, at most three quarters full; removal closes the gap, so
 * there are no tombstones. Growth moves everything at once, with libgc's lock held: some 10 ns an entry.
 *
 * Invariants
 *  1. No empty place lies between an entry's home and its place.
 *  2. used == entries with an address; used <= 3/4 of capacity, a power of two.
 */
#include "sidetable.h"

#include "heap.h"

/* Of so many granules in a row those that are here are neighbours: who adds one after the other finds a line in the processor's cache that he
 * has just had. */
#define NEIGHBOURS 8

static size_t home(const struct sidetable *table, const void *at)
{
	uintptr_t granule = (uintptr_t)at / table->granule;

	return (base_mix(granule / NEIGHBOURS) * NEIGHBOURS + granule % NEIGHBOURS) & (table->capacity - 1);
}

/* The place of the address, or the empty one where it would go. */
static size_t place(const struct sidetable *table, const void *at)
{
	size_t i = home(table, at);

	while (table->entries[i].at != NULL && table->entries[i].at != at)
		i = (i + 1) & (table->capacity - 1);
	return i;
}

static bool grow(struct sidetable *table)
{
	struct sidetable bigger = {.granule = table->granule, .capacity = table->capacity == 0 ? 256 : table->capacity * 2, .used = table->used};

	bigger.entries = heap_registry_grow(NULL, 0, bigger.capacity * sizeof *bigger.entries);
	if (bigger.entries == NULL)
		return false;
	for (size_t i = 0; i < table->capacity; i++)
		if (table->entries[i].at != NULL)
			bigger.entries[place(&bigger, table->entries[i].at)] = table->entries[i];
	heap_registry_free(table->entries, table->capacity * sizeof *table->entries);
	*table = bigger;
	return true;
}

/* Moves what follows the gap back into it, as far as it may go. */
static void close_gap(struct sidetable *table, size_t gap)
{
	const size_t mask = table->capacity - 1;
	struct sidetable_entry *entries = table->entries;

	for (size_t i = (gap + 1) & mask; entries[i].at != NULL; i = (i + 1) & mask) {
		size_t from_home = (i - home(table, entries[i].at)) & mask;
		if (from_home >= ((i - gap) & mask)) {
			entries[gap] = entries[i];
			gap = i;
		}
	}
	entries[gap] = (struct sidetable_entry){0};
}

uintptr_t *sidetable_find(const struct sidetable *table, const void *at)
{
	if (table->used == 0)
		return NULL;
	struct sidetable_entry *entry = &table->entries[place(table, at)];
	return entry->at == at ? &entry->word : NULL;
}

bool sidetable_reserve(struct sidetable *table)
{
	return table->used + 1 <= table->capacity / 4 * 3 || grow(table);
}

bool sidetable_set(struct sidetable *table, const void *at, uintptr_t word)
{
	uintptr_t *there = sidetable_find(table, at);

	if (there != NULL && word != 0) {
		*there = word;
		return true;
	}
	if (there != NULL) {
		table->used--;
		close_gap(table, place(table, at));
		return true;
	}
	if (word == 0)
		return true;
	if (!sidetable_reserve(table))
		return false;
	table->entries[place(table, at)] = (struct sidetable_entry){at, word};
	table->used++;
	return true;
}

size_t sidetable_check(const struct sidetable *table)
{
	size_t found = 0;

	for (size_t i = 0; i < table->capacity; i++) {
		if (table->entries[i].at == NULL)
			continue;
		ASSERT(table->entries[i].word != 0 && place(table, table->entries[i].at) == i);
		found++;
	}
	ASSERT(found == table->used);
	return found;
}

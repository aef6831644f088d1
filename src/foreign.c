/* SPDX-License-Identifier: MIT */
/*
 * foreign: see foreign.h. Open addressing with linear probing in memory of ours, at most three quarters full; removal closes the gap, so
 * there are no tombstones. Growth moves everything at once, with libgc's lock held: some 10 ns an entry.
 *
 * Invariants
 *  1. No empty place lies between an entry's home and its place.
 *  2. used == entries with a block; used <= 3/4 of capacity, a power of two.
 */
#include "foreign.h"

#include <string.h>

#include "heap.h"

/* A block begins at one of every 16 bytes. Of so many such in a row those that are here are neighbours: who makes references of one block after
 * the other finds a line in the processor's cache that he has just had. */
#define GRANULE 16
#define NEIGHBOURS 8

struct entry {
	const void *block;
	uintptr_t word;
};

static struct entry *table;
static size_t capacity, used;

static size_t home(const void *block, size_t size)
{
	uintptr_t granule = (uintptr_t)block / GRANULE;

	return (base_mix(granule / NEIGHBOURS) * NEIGHBOURS + granule % NEIGHBOURS) & (size - 1);
}

/* The place of the block, or the empty one where it would go. */
static size_t place(const struct entry *in, size_t size, const void *block)
{
	size_t i = home(block, size);

	while (in[i].block != NULL && in[i].block != block)
		i = (i + 1) & (size - 1);
	return i;
}

static bool grow(void)
{
	size_t size = capacity == 0 ? 256 : capacity * 2;
	struct entry *bigger = heap_registry_grow(NULL, 0, size * sizeof *bigger);

	if (bigger == NULL)
		return false;
	for (size_t i = 0; i < capacity; i++)
		if (table[i].block != NULL)
			bigger[place(bigger, size, table[i].block)] = table[i];
	heap_registry_free(table, capacity * sizeof *table);
	table = bigger;
	capacity = size;
	return true;
}

/* Moves what follows the gap back into it, as far as it may go. */
static void close_gap(size_t gap)
{
	for (size_t i = (gap + 1) & (capacity - 1); table[i].block != NULL; i = (i + 1) & (capacity - 1)) {
		size_t from_home = (i - home(table[i].block, capacity)) & (capacity - 1);
		if (from_home >= ((i - gap) & (capacity - 1))) {
			table[gap] = table[i];
			gap = i;
		}
	}
	table[gap] = (struct entry){0};
}

uintptr_t *foreign_find(const void *block)
{
	if (used == 0)
		return NULL;
	struct entry *entry = &table[place(table, capacity, block)];
	return entry->block == block ? &entry->word : NULL;
}

bool foreign_reserve(void)
{
	return used + 1 <= capacity / 4 * 3 || grow();
}

bool foreign_set(const void *block, uintptr_t word)
{
	uintptr_t *there = foreign_find(block);

	if (there != NULL && word != 0) {
		*there = word;
		return true;
	}
	if (there != NULL) {
		used--;
		close_gap(place(table, capacity, block));
		return true;
	}
	if (word == 0)
		return true;
	if (!foreign_reserve())
		return false;
	table[place(table, capacity, block)] = (struct entry){block, word};
	used++;
	return true;
}

size_t foreign_check(void)
{
	size_t found = 0;

	for (size_t i = 0; i < capacity; i++) {
		if (table[i].block == NULL)
			continue;
		ASSERT(table[i].word != 0 && place(table, capacity, table[i].block) == i);
		found++;
	}
	ASSERT(found == used);
	return found;
}

/* SPDX-License-Identifier: MIT */
/*
 * sidetable: a word for each of some addresses, where there is no room for it at the address itself: a hash table (the heap does not move).
 *
 * All calls with libgc's lock held or the world stopped. An entry exists while its word is not 0.
 */
#ifndef SIDETABLE_H
#define SIDETABLE_H

#include "base.h"

struct sidetable_entry {
	const void *at;
	uintptr_t word;
};

/* Empty where all is 0 but the granule. */
struct sidetable {
	size_t granule; /* addresses are so many bytes apart, as a rule */
	struct sidetable_entry *entries;
	size_t capacity, used;
};

/* The address's word; NULL where it has none. Good until the next change. */
uintptr_t *sidetable_find(const struct sidetable *table, const void *at);
/* Gives the address this word; 0 removes it. False: no memory, and only where the address had none before. */
bool sidetable_set(struct sidetable *table, const void *at, uintptr_t word);
/* Makes room for one more entry; it stays room for as many as there are now, and one more, whatever is removed. False: no memory. */
bool sidetable_reserve(struct sidetable *table);
/* Validator; how many entries. */
size_t sidetable_check(const struct sidetable *table);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * pool_owners: which pools know a resource: one hash of all entries of the pools that there are (pool_list.c). It is asked when a resource
 * that a pool does not know is given to it: how many pools there are does not matter then.
 *
 * Invariants
 *  1. An entry is in it just when it is in the hash of its pool and that is listed: both change with the pool's lock held.
 *  2. All links are hidden: a pool's entry keeps no other pool's alive. What they name is there, since a pool leaves the list before its
 *     memory goes, and its entries leave this then.
 *
 * Many entries may be of one resource, which alloc took from other pools, or which is a number: each is taken out without a search.
 *
 * Buckets. Memory of our own, as many as there are entries or more; without memory for that look-ups are slower.
 *
 * Locks: lock_owners, within a pool's own.
 */
#include "pool.h"

#define BUCKETS_FIRST 512

static uintptr_t *buckets; /* the first entry of each, hidden; 0 for none */
static size_t nbuckets, count;

static uintptr_t hide(const struct pool_entry *entry)
{
	return ~(uintptr_t)entry;
}

static struct pool_entry *unhide(uintptr_t link)
{
	return link == 0 ? NULL : (struct pool_entry *)~link;
}

static uintptr_t *bucket_locked(uintptr_t hidden)
{
	return &buckets[base_spread(hidden) >> 32 & (nbuckets - 1)];
}

static void link_locked(struct pool_entry *entry)
{
	uintptr_t *bucket = bucket_locked(entry->hidden);
	struct pool_entry *next = unhide(*bucket);

	entry->next_owner = *bucket;
	entry->prev_owner = 0;
	if (next != NULL)
		next->prev_owner = hide(entry);
	*bucket = hide(entry);
}

static void grow_locked(void)
{
	size_t n = nbuckets;
	void *more = heap_registry_grow(buckets, n * sizeof *buckets, 2 * n * sizeof *buckets);

	if (more == NULL)
		return;
	buckets = more;
	nbuckets = 2 * n;
	for (size_t i = 0; i < n; i++) {
		struct pool_entry *next = unhide(buckets[i]);
		buckets[i] = 0;
		for (struct pool_entry *entry; (entry = next) != NULL;) {
			next = unhide(entry->next_owner);
			link_locked(entry);
		}
	}
}

bool pool_owners_begin(void)
{
	if (buckets == NULL) {
		buckets = heap_registry_grow(NULL, 0, BUCKETS_FIRST * sizeof *buckets);
		nbuckets = BUCKETS_FIRST;
	}
	return buckets != NULL;
}

void pool_owners_add_locked(struct pool_entry *entry)
{
	lock_take(&lock_owners);
	if (++count > nbuckets)
		grow_locked();
	link_locked(entry);
	lock_drop(&lock_owners);
}

void pool_owners_remove_locked(struct pool_entry *entry)
{
	lock_take(&lock_owners);
	struct pool_entry *next = unhide(entry->next_owner), *prev = unhide(entry->prev_owner);
	if (next != NULL)
		next->prev_owner = entry->prev_owner;
	*(prev != NULL ? &prev->next_owner : bucket_locked(entry->hidden)) = entry->next_owner;
	count--;
	lock_drop(&lock_owners);
}

weakref_pool *pool_owner_but(const weakref_pool *pool, const void *resource)
{
	uintptr_t hidden = ~(uintptr_t)resource;

	lock_take(&lock_owners);
	struct pool_entry *entry = unhide(*bucket_locked(hidden));
	while (entry != NULL && (entry->hidden != hidden || entry->pool == pool))
		entry = unhide(entry->next_owner);
	lock_drop(&lock_owners);
	return entry != NULL ? entry->pool : NULL;
}

void pool_owners_validate_locked(const struct pool_entry *entry)
{
	lock_take(&lock_owners);
	const struct pool_entry *next = unhide(entry->next_owner), *prev = unhide(entry->prev_owner);
	ASSERT(next == NULL || next->prev_owner == hide(entry));
	ASSERT((prev != NULL ? prev->next_owner : *bucket_locked(entry->hidden)) == hide(entry));
	lock_drop(&lock_owners);
}

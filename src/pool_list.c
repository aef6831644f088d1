/* SPDX-License-Identifier: MIT */
/*
 * pool_list: which pools there are. It is asked when a pool's finalizer looks for its pool, and by the validator; and whoever takes what no
 * pool knows, so that no two take it, has its lock.
 *
 * Invariants
 *  1. A pool is in the list from its last step in weakref_pool_new until its destructor runs. The memory of what has a
 *     destructor stays until then, so whatever the list names, though hidden, is there. The same holds for what its finalizer names.
 *  2. A pool in the list has its signature; one that has none was never in it.
 *  3. `listed` tells that a pool is in the list, and that its resources are known to be its own (pool_owners.c).
 *
 * Locks: lock_pools for the list and for what finalizers name; a pool's own is taken within it.
 */
#include "checks.h"
#include "pool_books.h"

static uintptr_t pools; /* the newest, hidden; 0 for none */

static uintptr_t hide(const weakref_pool *pool)
{
	return pool == NULL ? 0 : ~(uintptr_t)pool;
}

static weakref_pool *unhide(uintptr_t hidden)
{
	return hidden == 0 ? NULL : (weakref_pool *)~hidden;
}

/* ---- asking it ---- */

bool pool_elsewhere(const weakref_pool *pool, const void *resource)
{
	weakref_pool *other;
	bool found = false;

	/* What is stale there is forgotten on the way, and the pool not named again. */
	while (!found && (other = pool_owner_but(pool, resource)) != NULL) {
		pool_lock(other);
		found = pool_find_locked(other, resource) != NULL;
		pool_unlock(other);
	}
	return found;
}

weakref_pool *pool_of_end(const struct pool_end *end)
{
	lock_take(&lock_pools);
	weakref_pool *pool = unhide(end->pool);
	lock_drop(&lock_pools);
	return pool;
}

static size_t validate_pools(void)
{
	size_t n = 0;

	lock_take(&lock_pools);
	for (weakref_pool *pool = unhide(pools); pool != NULL; pool = unhide(pool->next_pool), n++) {
		pool_lock(pool);
		pool_validate_locked(pool);
		pool_unlock(pool);
	}
	lock_drop(&lock_pools);
	return n;
}

static void validate_from_now_on(void)
{
	static struct checks_validator validator = {.validate = validate_pools};
	static _Atomic bool added;

	if (CHECKS && !atomic_exchange(&added, true))
		checks_add_validator(&validator);
}

/* ---- joining and leaving it ---- */

static void link_locked(weakref_pool *pool)
{
	weakref_pool *next = unhide(pools);

	pool->next_pool = pools;
	pool->prev_pool = 0;
	if (next != NULL)
		next->prev_pool = hide(pool);
	pools = hide(pool);
}

static void unlink_locked(weakref_pool *pool)
{
	weakref_pool *next = unhide(pool->next_pool), *prev = unhide(pool->prev_pool);

	if (next != NULL)
		next->prev_pool = pool->prev_pool;
	*(prev != NULL ? &prev->next_pool : &pools) = pool->next_pool;
}

/* From now on, or no more, others find what the pool knows. */
static void set_listed(weakref_pool *pool, bool listed)
{
	pool_lock(pool);
	for (size_t i = 0; i < pool->nbuckets; i++)
		for (struct pool_entry *entry = pool->buckets[i]; entry != NULL; entry = entry->chain)
			(listed ? pool_owners_add_locked : pool_owners_remove_locked)(entry);
	pool->listed = listed;
	pool_unlock(pool);
}

/* What init gave may be in another pool; what alloc made is nobody else's affair. */
static int join_locked(weakref_pool *pool)
{
	struct pool_entry *entry = pool_next_locked(pool);

	if (!pool_owners_begin())
		return -WEAKREF_ENOMEM;
	for (size_t i = 0; i < pool->options.ninit; i++, entry = pool->fifo ? entry->newer : entry->older)
		if (pool_elsewhere(pool, pool_resource(entry)))
			return -WEAKREF_EEXIST;
	set_listed(pool, true);
	pool->signature = POOL_SIGNATURE;
	pool->end->pool = hide(pool);
	link_locked(pool);
	return 0;
}

int pool_join(weakref_pool *pool)
{
	validate_from_now_on();
	lock_take(&lock_pools);
	int error = join_locked(pool);
	lock_drop(&lock_pools);
	return error;
}

void pool_leave(weakref_pool *pool)
{
	lock_take(&lock_pools);
	unlink_locked(pool);
	set_listed(pool, false);
	pool->end->pool = 0;
	lock_drop(&lock_pools);
}

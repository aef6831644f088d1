/* SPDX-License-Identifier: MIT */
/*
 * pool_alloc: resources on their way into a pool and out of it: with alloc, and with dealloc.
 *
 * Neither runs with the lock held, so what is with them is counted (`moving`), and a cleanup handler stands by: a thread that is
 * cancelled there leaves the books as if it had failed. An entry that is to be deallocated has left the pool before
 * (pool_evict_locked): whoever did that collects such entries in a chain, drops the lock, and has the chain disposed of.
 *
 * States, invariants and locks: pool.h.
 */
#include <pthread.h>

#include "deliver.h"
#include "pool_books.h"

/* ---- dealloc ---- */

struct disposal {
	weakref_pool *pool;
	struct pool_entry *next;
	long done;
};

static void disposed(struct disposal *d)
{
	pool_lock(d->pool);
	pool_moved_locked(d->pool);
	d->pool->stats.deallocs++;
	pool_serve_locked(d->pool);
	pool_unlock(d->pool);
	d->done++;
}

/* The next one is off the chain before dealloc sees it: whatever happens there, it is not seen twice. Who still has the entry, in a list or
 * by a word left on a stack, holds no resource by it. */
static void dispose_all(struct disposal *d)
{
	const weakref_pool_options *options = &d->pool->options;

	while (d->next != NULL) {
		struct pool_entry *entry = d->next;
		d->next = entry->older;
		void *resource = entry->hold;
		entry->older = NULL;
		entry->hold = NULL;
		int result = options->dealloc != NULL ? options->dealloc(resource, options->dealloc_user) : 0;
		if (result < 0)
			deliver_failed(result, "dealloc of a pool", d->pool);
		disposed(d);
	}
}

/* The thread was cancelled in dealloc: the rest is deallocated all the same. */
static void disposal_abandoned(void *data)
{
	struct disposal *d = data;

	disposed(d);
	pool_dispose(d->pool, d->next);
}

/* What was taken out first is deallocated first. */
static struct pool_entry *reversed(struct pool_entry *chain)
{
	struct pool_entry *head = NULL;

	while (chain != NULL) {
		struct pool_entry *next = chain->older;
		chain->older = head;
		head = chain;
		chain = next;
	}
	return head;
}

long pool_dispose(weakref_pool *pool, struct pool_entry *chain)
{
	struct disposal d = {.pool = pool, .next = reversed(chain)};

	if (likely(chain == NULL))
		return 0;
	pthread_cleanup_push(disposal_abandoned, &d);
	dispose_all(&d);
	pthread_cleanup_pop(0);
	return d.done;
}

/* ---- alloc ---- */

struct making {
	weakref_pool *pool;
	struct pool_entry *entry;
	void *resource; /* what alloc made, as long as it is in nobody's hand */
	unsigned invalidations; /* when alloc began */
};

/* Nobody will get what alloc was to make, or made. */
static void making_abandoned(void *data)
{
	struct making *m = data;
	const weakref_pool_options *options = &m->pool->options;
	int result = m->resource != NULL && options->dealloc != NULL ? options->dealloc(m->resource, options->dealloc_user) : 0;

	if (result < 0)
		deliver_failed(result, "dealloc of a pool", m->pool);
	pool_lock(m->pool);
	pool_moved_locked(m->pool);
	m->pool->stats.alloc_errors++;
	pool_serve_locked(m->pool);
	pool_unlock(m->pool);
}

/* The new resource, named in its entry, enters the pool as leased, unless the pool was closed or has it. */
static int enter(const struct making *m)
{
	weakref_pool *pool = m->pool;
	struct pool_entry *entry = m->entry;
	int error = 0;

	pool_lock(pool);
	if (pool_find_locked(pool, pool_resource(entry)) != NULL)
		error = -WEAKREF_EEXIST;
	else if (pool->closed)
		error = -WEAKREF_ECANCELED;
	if (error == 0) {
		pool_insert_locked(pool, entry);
		if (unlikely(atomic_load_explicit(&pool->invalidations, memory_order_relaxed) != m->invalidations))
			pool_doom_locked(pool, entry);
		entry->state = POOL_CHECKING;
		pool_moved_locked(pool);
		pool->leased++;
		pool->stats.allocs++;
	}
	pool_unlock(pool);
	return error;
}

/* Calls alloc, which may return with nothing in its hands. */
static int call_alloc(struct making *m)
{
	int error = m->pool->options.alloc(&m->resource, m->pool->options.alloc_user);

	if (error < 0)
		m->resource = NULL;
	else if (m->resource == NULL)
		error = -WEAKREF_ENOMEM;
	return error < 0 ? error : 0;
}

/* All that may fail or be cancelled is over when the resource is in the pool. */
int pool_alloc(weakref_pool *pool, struct pool_entry **out)
{
	struct making m = {.pool = pool};
	int error = -WEAKREF_ENOMEM;

	pthread_cleanup_push(making_abandoned, &m);
	pool_grow(pool);
	m.entry = pool_entry_new(pool);
	m.invalidations = atomic_load_explicit(&pool->invalidations, memory_order_acquire);
	if (m.entry != NULL)
		error = call_alloc(&m);
	if (error == 0)
		error = pool_entry_name(m.entry, m.resource);
	if (error == 0)
		error = enter(&m);
	if (error == -WEAKREF_EEXIST)
		m.resource = NULL; /* it is in a hand */
	pthread_cleanup_pop(error < 0);
	*out = m.entry;
	return error;
}

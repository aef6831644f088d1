/* SPDX-License-Identifier: MIT */
/*
 * pool_lease: scoped use of a pool's resources. A lease is an object with a destructor that ends what nobody ended. States: pool.h.
 *
 * Invariants
 *  1. `taken.resource` is NULL from the moment that the lease is over: the destructor of such a lease does nothing.
 *  2. A lease is made before its resource is taken: nothing between the two can fail or be cancelled.
 *  3. The pool holds the resource of a lease (pool.h, 3): it is not lost when the lease dies, but comes back.
 *
 * Locks: none of its own.
 */
#include <errno.h>
#include <pthread.h>

#include "pool.h"
#include "weakref/object.h"

#define LEASE_SIGNATURE UINT64_C(0x657361656c2d6c70) /* "pl-lease" */

struct weakref_pool_lease {
	uint64_t signature; /* written last */
	weakref_pool *pool;
	struct pool_taken taken;
	const char *file;
	int line;
};

static bool is_lease(const weakref_pool_lease *lease)
{
	return lease != NULL && (uintptr_t)lease % _Alignof(weakref_pool_lease) == 0 && lease->signature == LEASE_SIGNATURE;
}

/* ---- recovery ---- */

static void count_recovery(const weakref_pool_lease *lease)
{
	weakref_pool *pool = lease->pool;

	pool_lock(pool);
	pool->stats.recovered++;
	pool->stats.recovered_file = lease->file;
	pool->stats.recovered_line = lease->line;
	pool_unlock(pool);
}

/* The thread was cancelled in the report: the resource is destroyed, since nobody vouches for it. */
static void report_abandoned(void *data)
{
	weakref_pool_lease *lease = data;

	pool_give_back(lease->pool, lease->taken.entry, lease->taken.serial, POOL_DESTROYED);
	lease->taken.resource = NULL;
}

/* Whether the resource may be used again. */
static bool report(weakref_pool_lease *lease)
{
	const weakref_pool_options *options = &lease->pool->options;
	int verdict = 0;

	if (options->recovered == NULL)
		return true;
	pthread_cleanup_push(report_abandoned, lease);
	verdict = options->recovered(lease->taken.resource, lease->file, lease->line, options->recovered_user);
	pthread_cleanup_pop(0);
	return verdict == 0;
}

/* Of a lease that nobody holds: nobody else ends it now, but its resource may have been pushed or invalidated by hand. */
static int lease_destroy(void *obj)
{
	weakref_pool_lease *lease = obj;
	struct pool_taken *taken = &lease->taken;

	if (!is_lease(lease) || taken->resource == NULL || !pool_still_leased(lease->pool, taken->entry, taken->serial))
		return 0;
	count_recovery(lease);
	pool_give_back(lease->pool, taken->entry, taken->serial, report(lease) ? POOL_BACK : POOL_DESTROYED);
	taken->resource = NULL;
	return 0;
}

static int lease_truth(void *obj)
{
	return weakref_pool_lease_get(obj) != NULL;
}

static const gc_type lease_type = {
	.name = "pool lease",
	.size = sizeof(struct weakref_pool_lease),
	.destroy = lease_destroy,
	.truth = lease_truth,
};

/* ---- the interface ---- */

weakref_pool_lease *weakref_pool_lease_at(weakref_pool *pool, const double *seconds, const char *file, int line)
{
	int error = pool_check(pool);

	if (error != 0)
		return base_null((enum weakref_error) - error);
	weakref_pool_lease *lease = gc_new(&lease_type);
	if (lease == NULL)
		return NULL;
	lease->pool = pool;
	lease->file = file;
	lease->line = line;
	error = pool_take(pool, seconds, true, &lease->taken);
	if (error != 0)
		return base_null((enum weakref_error) - error);
	lease->signature = LEASE_SIGNATURE;
	return lease;
}

void *weakref_pool_lease_get(const weakref_pool_lease *lease)
{
	return is_lease(lease) ? lease->taken.resource : NULL;
}

static int end(weakref_pool_lease *lease, enum pool_fate fate)
{
	if (!is_lease(lease))
		return -WEAKREF_EINVAL;
	int error = pool_check(lease->pool);
	if (error != 0)
		return error;
	if (lease->taken.resource == NULL)
		return -WEAKREF_ESTALE;
	/* First, so that a dealloc that leaves by cancellation does not leave a lease that looks good. */
	lease->taken.resource = NULL;
	return pool_give_back(lease->pool, lease->taken.entry, lease->taken.serial, fate);
}

int weakref_pool_lease_return(weakref_pool_lease *lease)
{
	return end(lease, POOL_BACK);
}

int weakref_pool_lease_invalidate(weakref_pool_lease *lease)
{
	return end(lease, POOL_DESTROYED);
}

int weakref_pool_lease_detach(weakref_pool_lease *lease, void **resource)
{
	void *taken = weakref_pool_lease_get(lease);
	int error = end(lease, POOL_DETACHED);

	if (resource != NULL)
		*resource = error == 0 ? taken : NULL;
	BASE_KEEP(taken);
	return error;
}

void weakref_pool_scope_end(weakref_pool_lease **lease)
{
	int saved = errno;

	if (lease != NULL && *lease != NULL)
		end(*lease, POOL_BACK);
	errno = saved;
}

int weakref_pool_with_at(weakref_pool *pool, const double *seconds, int (*fn)(void *resource, void *user), void *user, const char *file,
			 int line)
{
	if (fn == NULL)
		return -WEAKREF_EINVAL;
	WEAKREF_POOL_SCOPED(lease) = weakref_pool_lease_at(pool, seconds, file, line);
	if (lease == NULL)
		return -errno;
	return fn(lease->taken.resource, user);
}

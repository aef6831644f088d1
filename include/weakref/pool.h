/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/pool.h
 * @brief Resource pool: keeps what is costly to make, and lends it.
 *
 * A *resource* is any pointer but NULL: a connection, a buffer, a block of the collected heap, a small number in a pointer's
 * place. The pool asks for nothing but its identity. A resource is at any time in one hand: idle in the pool, or leased to
 * whoever popped it. What was pushed last is popped first, unless the other order is asked for; what has been idle longest is
 * trimmed first.
 *
 * A pool is an object of the collected heap. When nobody holds it any more, and when the program exits, each idle resource is
 * deallocated once (at exit by the process that made the pool, in one order with finalizers, the newest first). Idle resources
 * are kept alive by the pool. Of the generic operations (weakref/object.h) it has gc_len, of idle resources, gc_truth and gc_repr. A
 * leased resource is the holder's affair:
 *  - popped plainly (weakref_pool_pop), it belongs to the caller, who pushes it back, invalidates it, or detaches it for good. Where
 *    it is itself a block of the collected heap and dies, the pool notices, counts it as lost and has room for another;
 *  - popped through a lease (WEAKREF_POOL_LEASE), it comes back when the lease is dropped without being returned: the collector
 *    finds the lease dead, and the pool recovers the resource, counts it, and tells who had leased it.
 *
 * User functions run with no lock held: they may use any pool, this one included. They must return, be cancelled, or end their
 * thread; leaving them by longjmp loses the resource in question. Times are those of the monotonic clock. No thread is started:
 * what is too old goes at the next operation, or at weakref_pool_maintain.
 */
#ifndef WEAKREF_POOL_H
#define WEAKREF_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_pool weakref_pool;
typedef struct weakref_pool_lease weakref_pool_lease;

/** In place of a size: 0, where 0 itself means "not given". */
#define WEAKREF_POOL_ZERO ((size_t)-1)

/** The sizes among a pool's options, for weakref_pool_set_size. */
enum weakref_pool_size { WEAKREF_POOL_MINSIZE, WEAKREF_POOL_MAXSIZE, WEAKREF_POOL_SOFTMAX, WEAKREF_POOL_HARDMAX };

/** What weakref_pool_new takes. Zero what is not wanted. */
typedef struct weakref_pool_options {
	/** Resources to begin with, the first of them to be popped first. Borrowed for the call, never written to. */
	void *const *init;
	size_t ninit;

	/** Makes a resource: stores it and returns 0, or returns a negative error, which pop then returns. Nothing stored is ENOMEM. */
	int (*alloc)(void **resource, void *user);
	void *alloc_user;
	/** Disposes of a resource that leaves the pool. A negative result goes to the unraisable handler; it is gone all the same. */
	int (*dealloc)(void *resource, void *user);
	void *dealloc_user;
	/** Whether an idle resource that is about to be popped is still good: > 0 yes; 0 no: it is dropped without dealloc, and
	 * the next is tried; negative: it stays in the pool, and pop returns that error. A resource fresh from alloc is not asked about. */
	int (*check)(void *resource, void *user);
	void *check_user;
	/** Told of a leased resource that comes back, pushed or at the end of its lease, before anybody else gets it: the place
	 * to undo what its holder did. 0: it is kept; anything else: it is deallocated. Not told of foreign ones, nor where the pool is
	 * closed. */
	int (*reset)(void *resource, void *user);
	void *reset_user;
	/** Told of a resource whose lease was dropped without being returned, and of the place that leased it. 0: it is used again;
	 * anything else: it is deallocated. */
	int (*recovered)(void *resource, const char *file, int line, void *user);
	void *recovered_user;

	/** A push that leaves more than maxsize idle resources deallocates the oldest until minsize are left. 0: no bound. */
	size_t maxsize;
	/** 0: maxsize. Where it is given, and alloc as well, the pool starts with so many resources; age never takes it below. */
	size_t minsize;
	/** Seconds after which an idle resource is deallocated, but for the minsize youngest. 0 or infinite: never. */
	double maxage;
	/** Idle resources above softmax are deallocated when they are older than ttl seconds, never below minsize. ttl 0: never. */
	size_t softmax;
	double ttl;
	/** Leased and idle resources together never exceed it. 0: no bound; WEAKREF_POOL_ZERO: the pool has none to give. */
	size_t hardmax;
	/** Seconds after which a resource is deallocated instead of being kept, minsize or not, counted from when the pool got to know it,
	 * however busy it is: when it is pushed, or while it is idle. 0 or infinite: never. Each resource's own time is shorter by up to
	 * spread seconds, so that those which were made together do not all go together. */
	double lifetime;
	double spread;
	/** What has been idle longest is popped first, so that all are used in turn. Else what was pushed last is. */
	bool fifo;
} weakref_pool_options;

/**
 * @brief Makes a pool.
 * @param options what it does; NULL stands for all zero. The user pointers are kept alive by the pool: one that leads to the pool
 * or to a resource is no harm.
 * @return the pool; NULL with errno set, and then what alloc had made is deallocated again.
 * Errors: EINVAL (NULL or twice the same in init; ninit > hardmax, or minsize > maxsize or hardmax, spread > lifetime; a
 * time that is NaN or negative), EEXIST (init holds a resource of another pool), ENOMEM, EPERM, and what alloc returned.
 * Cost: an object with destructor and finalizer, and a record for each resource.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: ya.resourcepool.ResourcePool(init, alloc, dealloc, check, maxsize, minsize, maxage).
 */
WEAKREF_API weakref_pool *weakref_pool_new(const weakref_pool_options *options);

/**
 * @brief Takes a resource: an idle one, or else a new one where there is alloc and room. Never waits.
 * @param pool the pool.
 * @param out receives the resource; NULL on failure.
 * @return 0, or a negative error.
 * Errors: ENOENT (none is idle, and none can be made now), ECANCELED (closed), EINVAL, ENOMEM, EPERM, EEXIST (alloc gave a
 * resource that the pool has already), and what alloc or check returned.
 * Cost: one lock, and what the user functions take.
 * Thread: any thread known to the collector.
 * GC: collects only where alloc is called, or a user function does.
 * Source: ResourcePool.pop().
 */
WEAKREF_API int weakref_pool_pop(weakref_pool *pool, void **out);

/**
 * @brief Takes a resource, and waits for one where there is none. Waiters are served in the order of their arrival; a pop arrives
 * when it has looked on in vain for a moment (2 to 50 µs).
 * @param pool the pool.
 * @param seconds how long at most, fractions included; 0, negative or infinite: for ever.
 * @param out receives the resource; NULL on failure.
 * @return 0, or a negative error.
 * Errors: ETIMEDOUT, ECANCELED (closed, also while waiting), EINVAL (NaN), and as weakref_pool_pop but for ENOENT.
 * Cost: as weakref_pool_pop; a wait is the moment of looking on, and a sleep on a semaphore of its own.
 * Thread: any thread known to the collector. Waiting is a cancellation point; a cancelled thread leaves no trace in the pool.
 * GC: as weakref_pool_pop.
 * Source: ResourcePool.pop(timeout).
 */
WEAKREF_API int weakref_pool_pop_wait(weakref_pool *pool, double seconds, void **out);

/**
 * @brief Gives a resource to the pool: one that was leased from it, or one that no pool has ("foreign"), which it then adopts.
 * @param pool the pool. A closed one deallocates the resource at once.
 * @param resource not NULL.
 * @return 0: the pool took it, to keep, to hand on, or to deallocate where a size or a lifetime wants that. 1: it was deallocated,
 * because the pool is closed or reset did not keep it. Or a negative error: it is still the caller's.
 * Errors: EEXIST (it is idle here already, or idle in or leased from another pool), ENOSPC (foreign, and the pool is at its hard
 * maximum), EINVAL, ENOMEM (foreign only), EPERM.
 * Cost: one lock and a look-up, twice with a reset; adopting takes an allocation and three locks more. Then dealloc for what is trimmed.
 * Thread: any thread known to the collector.
 * GC: collects only for a foreign resource, or where dealloc does.
 * Source: ResourcePool.push(obj).
 */
WEAKREF_API int weakref_pool_push(weakref_pool *pool, void *resource);

/**
 * @brief Destroys a leased resource: it is deallocated, and there is room for another, which a waiter may make.
 * @param pool the pool.
 * @param resource leased from it.
 * @return 0, or a negative error.
 * Errors: ENOENT (not leased from this pool), EINVAL, EPERM.
 * Cost: a lock, twice, and dealloc.
 * Thread: any thread known to the collector.
 * GC: collects only if dealloc does.
 * Source: apr_reslist_invalidate.
 */
WEAKREF_API int weakref_pool_invalidate(weakref_pool *pool, void *resource);

/**
 * @brief Gives a leased resource to the caller for good: the pool knows it no more, and there is room for another, which a waiter
 * may make. A lease of it is over.
 * @param pool the pool.
 * @param resource leased from it.
 * @return 0, or a negative error.
 * Errors: ENOENT (not leased from this pool), EINVAL, EPERM.
 * Cost: a lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_pool_detach(weakref_pool *pool, void *resource);

/**
 * @brief How many resources are idle. Those that are too old and were not trimmed yet do not count.
 * @param pool the pool.
 * @return the number; 0 for NULL and what is no pool.
 * Errors: none.
 * Cost: a lock; linear in those that are too old.
 * Thread: any.
 * GC: never collects.
 * Source: len(pool).
 */
WEAKREF_API size_t weakref_pool_len(weakref_pool *pool);

/**
 * @brief Makes resources until so many are idle, as far as maxsize and the hard maximum allow: beforehand, or after some were
 * invalidated.
 * @param pool a pool with alloc.
 * @param n how many there are to be; 0: minsize; WEAKREF_POOL_ZERO: none.
 * @return how many were made, or a negative error; those that were made before it stay.
 * Errors: ENOTSUP (no alloc), ECANCELED (closed), EINVAL, ENOMEM, EPERM, EEXIST (alloc gave a resource that the pool has already),
 * and what alloc returned.
 * Cost: alloc's, and two locks, for each.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: GenericObjectPool.addObjects(int), preparePool() of Apache Commons Pool; apr_reslist_maintain.
 */
WEAKREF_API long weakref_pool_fill(weakref_pool *pool, size_t n);

/**
 * @brief Trims what is too old, as any push or pop does.
 * @param pool the pool.
 * @return how many were deallocated, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: a lock, and dealloc for each; those that are not too old cost nothing.
 * Thread: any thread known to the collector.
 * GC: collects only if dealloc does.
 * Source: apr_reslist_maintain.
 */
WEAKREF_API long weakref_pool_maintain(weakref_pool *pool);

/**
 * @brief Deallocates all idle resources, however young, below minsize too. The pool stays open, and makes others when asked. Leased
 * ones come back as ever: see weakref_pool_invalidate_all.
 * @param pool the pool.
 * @return how many were deallocated, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: a lock, and dealloc for each.
 * Thread: any thread known to the collector.
 * GC: collects only if dealloc does.
 * Source: GenericObjectPool.clear() of Apache Commons Pool.
 */
WEAKREF_API long weakref_pool_clear(weakref_pool *pool);

/**
 * @brief Destroys all resources that the pool has now: idle ones at once, below minsize too, leased ones when they come back, without a
 * reset. The pool stays open, and makes others when asked. For when what they have in common went bad: a server that was restarted, a
 * password that was changed.
 *
 * What alloc is making at this moment counts as one that the pool has: whoever asked for it gets it, and it goes when it comes back.
 * @param pool the pool.
 * @return how many were deallocated, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: a lock, linear in the resources that the pool knows, and dealloc for each idle one.
 * Thread: any thread known to the collector.
 * GC: collects only if dealloc does.
 * Source: HikariPool.softEvictConnections(); NpgsqlConnection.ClearPool(NpgsqlConnection).
 */
WEAKREF_API long weakref_pool_invalidate_all(weakref_pool *pool);

/** How things stand with an idle resource. */
typedef struct weakref_pool_idle {
	/** How long it has been idle. Only a pool with a maxage, a ttl or a lifetime, be it of years, looks at the time; in others it is 0. */
	double seconds;
	/** How often it was leased until now, modulo 2^32. */
	uint32_t leases;
} weakref_pool_idle;

/**
 * @brief Asks about each idle resource whether it stays, and deallocates those that do not, however young, below minsize too. What is too
 * old goes first, as by weakref_pool_maintain, and is not asked about.
 *
 * Those are asked about that are idle at the beginning, one after the other, the oldest first; what was leased before its turn came is not,
 * be it back or not. The one that is asked about counts as leased, and nobody gets it meanwhile: a pop takes another, makes one, waits, or
 * finds none. If it stays, it has not moved in the order of the pool, nor grown younger, unless somebody waits, who gets it. Only
 * what two calls at once asked about may have changed places, where the pool does not look at the time.
 * @param pool the pool. Of a closed one nothing is asked.
 * @param keep > 0: it stays; 0: it is deallocated; negative: it stays, the rest is not asked about, and that error is returned. What it
 * is told is there for the call. It may use the pool, this function included. Whoever ends in it leaves the resource where it was.
 * @param user passed to keep.
 * @return how many were deallocated, or a negative error; those that were deallocated before it are gone.
 * Errors: EINVAL, ENOMEM (nothing has happened), EPERM, and what keep returned.
 * Cost: a list of what is idle, two locks for each, keep, and dealloc for those that go.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: Pool::retain of deadpool.
 */
WEAKREF_API long weakref_pool_retain(weakref_pool *pool, int (*keep)(void *resource, const weakref_pool_idle *idle, void *user), void *user);

/**
 * @brief Sets one of the sizes anew, while the pool is in use. Idle resources that are too many now go, the oldest first; those
 * that are too many for a hard maximum that was lowered go when they come back, and until then none is made or adopted. Where it
 * was raised, those who wait may make some at once. None is made beforehand: see weakref_pool_fill.
 * @param pool the pool; a closed one takes note.
 * @param which the size.
 * @param n as among the options: 0 for what 0 means there, WEAKREF_POOL_ZERO for 0.
 * @return how many were deallocated, or a negative error, and then nothing has changed.
 * Errors: EINVAL (no such size; minsize > maxsize or hardmax), EPERM.
 * Cost: a lock, and dealloc for each.
 * Thread: any thread known to the collector.
 * GC: collects only if dealloc does.
 * Source: GenericObjectPool.setMaxTotal(int), setMaxIdle(int), setMinIdle(int) of Apache Commons Pool; Pool::resize of deadpool.
 */
WEAKREF_API long weakref_pool_set_size(weakref_pool *pool, enum weakref_pool_size which, size_t n);

/**
 * @brief Closes the pool: idle resources are deallocated, waiters get ECANCELED, later pushes deallocate at once.
 * @param pool the pool; closing a closed one does nothing.
 * @return how many were deallocated, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: dealloc for each.
 * Thread: any thread known to the collector.
 * GC: collects only if dealloc does.
 */
WEAKREF_API long weakref_pool_close(weakref_pool *pool);

/**
 * @brief Closes the pool, as weakref_pool_close, and waits until all that was leased came back, and no resource is with alloc or dealloc
 * any more: so that what they need can be taken down behind them.
 *
 * A lease that was dropped is over when a collection finds it (weakref_pool_lease_at), and none is made here. Called from within alloc,
 * dealloc, check or reset of the same pool, or what weakref_pool_retain asks, or by who has one of its resources, it waits for itself.
 * @param pool the pool; of a closed one it waits for the rest.
 * @param seconds how long at most; 0, a negative or an infinite number is for ever.
 * @return how many were deallocated by this call, or a negative error.
 * Errors: ETIMEDOUT (some are not back; the pool is closed all the same), EINVAL (no pool; NaN, and then nothing has happened), EPERM.
 * Cost: that of weakref_pool_close; a sleep on a semaphore.
 * Thread: any thread known to the collector. Sleeping is a cancellation point.
 * GC: collects only if dealloc does.
 * Source: Pool::close of sqlx; Pool.drain() of generic-pool.
 */
WEAKREF_API long weakref_pool_close_wait(weakref_pool *pool, double seconds);

/* ---- scoped use ---------------------------------------------------------------------------------------------------------- */

/**
 * @brief Takes a resource as a lease, a handle that cannot lose it. WEAKREF_POOL_LEASE and WEAKREF_POOL_LEASE_WAIT give file and
 * line.
 * @param pool the pool; the lease keeps it alive.
 * @param seconds as for weakref_pool_pop_wait; NULL never waits.
 * @param file where, for the report of a lease that was dropped; must outlive the lease. May be NULL.
 * @param line likewise.
 * @return the lease, a block of the collected heap; NULL with errno set.
 * Errors: as weakref_pool_pop and weakref_pool_pop_wait, in errno (the positive value of a user function's error).
 * Cost: that of the pop, and an object with destructor.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: ResourcePool.__call__.
 */
WEAKREF_API weakref_pool_lease *weakref_pool_lease_at(weakref_pool *pool, const double *seconds, const char *file, int line);

/* How long, for a call that takes a pointer to it. C++ has no compound literals. */
#ifdef __cplusplus
#define WEAKREF_POOL_SECONDS(seconds) (&static_cast<const double &>(static_cast<double>(seconds)))
#else
#define WEAKREF_POOL_SECONDS(seconds) ((const double[]){(seconds)})
#endif

/** A lease taken here, without waiting; as weakref_pool_lease_at. */
#define WEAKREF_POOL_LEASE(pool) weakref_pool_lease_at((pool), NULL, __FILE__, __LINE__)
/** A lease taken here, waiting as weakref_pool_pop_wait does. `seconds` is a double. */
#define WEAKREF_POOL_LEASE_WAIT(pool, seconds) weakref_pool_lease_at((pool), WEAKREF_POOL_SECONDS(seconds), __FILE__, __LINE__)

/**
 * @brief The resource of a lease.
 * @param lease a lease, or NULL.
 * @return the resource; NULL once the lease is over.
 * Errors: none.
 * Cost: a load.
 * Thread: any; a lease is for one thread at a time.
 * GC: never collects.
 */
WEAKREF_API void *weakref_pool_lease_get(const weakref_pool_lease *lease);

/**
 * @brief Ends a lease: the resource goes back to the pool.
 * @param lease a lease.
 * @return as weakref_pool_push.
 * Errors: ESTALE (it is over: returned, or its resource was pushed, invalidated or detached by hand), EINVAL, EPERM.
 * Cost: as weakref_pool_push.
 * Thread: any thread known to the collector.
 * GC: as weakref_pool_push.
 */
WEAKREF_API int weakref_pool_lease_return(weakref_pool_lease *lease);

/**
 * @brief Ends a lease and destroys its resource, as weakref_pool_invalidate.
 * @param lease a lease.
 * @return 0, or a negative error.
 * Errors: ESTALE, EINVAL, EPERM.
 * Cost: as weakref_pool_invalidate.
 * Thread: any thread known to the collector.
 * GC: as weakref_pool_invalidate.
 */
WEAKREF_API int weakref_pool_lease_invalidate(weakref_pool_lease *lease);

/**
 * @brief Ends a lease and gives its resource to the caller for good, as weakref_pool_detach.
 * @param lease a lease.
 * @param resource receives it, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: ESTALE, EINVAL, EPERM.
 * Cost: as weakref_pool_detach.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_pool_lease_detach(weakref_pool_lease *lease, void **resource);

/**
 * @brief What WEAKREF_POOL_SCOPED calls at the end of the scope: returns the lease where there is one that is not over.
 * @param lease points to a variable that holds a lease or NULL.
 * Errors: none.
 * Cost: as weakref_pool_lease_return.
 * Thread: any thread known to the collector.
 * GC: as weakref_pool_lease_return.
 */
WEAKREF_API void weakref_pool_scope_end(weakref_pool_lease **lease);

/**
 * Declares a lease that is returned when its scope is left: at the end, by return, break or goto, and, where the code is compiled
 * with -fexceptions, when the thread is cancelled or ends. Left by longjmp, it is recovered by the collector. Set it at its declaration:
 *
 *     WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);
 */
#define WEAKREF_POOL_SCOPED(name) __attribute__((cleanup(weakref_pool_scope_end))) weakref_pool_lease *name

/**
 * @brief Runs a function with a resource, which goes back to the pool on every way out (longjmp: through the collector).
 * WEAKREF_POOL_WITH and WEAKREF_POOL_WITH_WAIT give file and line.
 * @param pool the pool.
 * @param seconds as for weakref_pool_lease_at.
 * @param fn called with the resource.
 * @param user passed to it.
 * @param file as for weakref_pool_lease_at.
 * @param line likewise.
 * @return what fn returned, or a negative error of the pop, in which case fn was not called.
 * Errors: as weakref_pool_pop and weakref_pool_pop_wait.
 * Cost: that of a lease.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: with pool() as resource.
 */
WEAKREF_API int weakref_pool_with_at(weakref_pool *pool, const double *seconds, int (*fn)(void *resource, void *user), void *user,
				     const char *file, int line);

/** Runs fn(resource, user) here, with a resource that is popped without waiting; as weakref_pool_with_at. */
#define WEAKREF_POOL_WITH(pool, fn, user) weakref_pool_with_at((pool), NULL, (fn), (user), __FILE__, __LINE__)
/** The same, waiting as weakref_pool_pop_wait does. `seconds` is a double. */
#define WEAKREF_POOL_WITH_WAIT(pool, seconds, fn, user) \
	weakref_pool_with_at((pool), WEAKREF_POOL_SECONDS(seconds), (fn), (user), __FILE__, __LINE__)

/* ---- figures ------------------------------------------------------------------------------------------------------------- */

/** Classes of the histogram of waits: the first below 1 µs, each of the others twice as long, the last open. */
#define WEAKREF_POOL_WAITS 32

/** What a pool did. */
typedef struct weakref_pool_stats {
	/** Now: idle (those that are too old until they are trimmed), leased, waiting for one or in weakref_pool_close_wait, on their way in
	 * or out (in alloc or dealloc; they count for the hard maximum). */
	size_t idle, leased, waiting, moving;
	/** Resources that alloc made; pops served by an idle one; foreign ones adopted, init included; pushes of leased ones. */
	uint64_t allocs, reuses, adopted, returns;
	/** Resources deallocated; destroyed on demand; given to their holders for good; found dead by check, or not
	 * kept by reset; errors of alloc. */
	uint64_t deallocs, invalidated, detached, dead, alloc_errors;
	/** Leases dropped and recovered; plainly leased blocks that the collector found dead. */
	uint64_t recovered, lost;
	/** Pops that found nothing at first, and looked on or waited; those of them that timed out; how long, in nanoseconds; and how
	 * many of which length. */
	uint64_t waits, timeouts, wait_total_ns, wait_max_ns;
	uint64_t wait_histogram[WEAKREF_POOL_WAITS];
	/** The place of the lease that was recovered last; NULL and 0 when there was none. */
	const char *recovered_file;
	int recovered_line;
} weakref_pool_stats;

/**
 * @brief Reads the figures, all of one moment.
 * @param pool the pool.
 * @param out receives them.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: a lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_pool_get_stats(weakref_pool *pool, weakref_pool_stats *out);

#ifdef __cplusplus
}
#endif

#endif

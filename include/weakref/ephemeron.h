/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/ephemeron.h
 * @brief Ephemerons: a key that is not kept alive, and a value that is, for as long as the key is alive.
 *
 * An ephemeron is a block of the collected heap: keep it reachable for as long as it is wanted. While it and its key are alive, it keeps
 * its value alive. The value may refer to the key, directly or through other ephemerons, in rings of any length: that does not keep the
 * key alive. When a collection finds the key dead, the ephemeron is dead too: it reads NULL, for ever, and holds nothing.
 *
 * Semantics are those of SRFI 124 (Scheme) and of Racket's ephemerons, but that the value can be replaced; doc/semantics.md has
 * the rules.
 */
#ifndef WEAKREF_EPHEMERON_H
#define WEAKREF_EPHEMERON_H

#include <stdbool.h>
#include <stddef.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An ephemeron. */
typedef struct weakref_ephemeron weakref_ephemeron;

/**
 * @brief An ephemeron of a key and a value.
 * @param key a pointer of even address to or into a block of the collected heap; not kept alive.
 * @param value any pointer, NULL, or any other 64 bits; kept alive for as long as the ephemeron and the key are.
 * @return the ephemeron; NULL with errno set.
 * Errors: EINVAL (key is NULL, odd, or not on the collected heap), ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: some 200 ns and 96 bytes; in each collection some 35 ns, 60 to 100 where the value is on the heap.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: make-ephemeron (SRFI 124).
 */
WEAKREF_API weakref_ephemeron *weakref_ephemeron_new(void *key, void *value);

/**
 * @brief The key, as it was given.
 * @param ephemeron an ephemeron.
 * @return the key; NULL when it is dead, the ephemeron was broken, or the argument is no ephemeron.
 * Errors: none.
 * Cost: some loads; no lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: ephemeron-key (SRFI 124).
 */
WEAKREF_API void *weakref_ephemeron_key(const weakref_ephemeron *ephemeron);

/**
 * @brief The value, as it was given.
 * @param ephemeron an ephemeron.
 * @return the value; NULL when the key is dead, the ephemeron was broken, or the argument is no ephemeron.
 * Errors: none.
 * Cost: some loads; no lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: ephemeron-datum (SRFI 124).
 */
WEAKREF_API void *weakref_ephemeron_value(const weakref_ephemeron *ephemeron);

/**
 * @brief Key and value of one moment.
 * @param ephemeron an ephemeron.
 * @param key receives the key; may be NULL.
 * @param value receives the value; may be NULL.
 * @return 0, or a negative error, and then neither was written.
 * Errors: ESTALE (the key is dead, or the ephemeron was broken), EINVAL (no ephemeron).
 * Cost: some loads; no lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_ephemeron_get(const weakref_ephemeron *ephemeron, void **key, void **value);

/**
 * @brief Whether the ephemeron is dead: its key is, or it was broken.
 * @param ephemeron an ephemeron.
 * @return true when it is, also for what is no ephemeron. A false may be out of date at once: to be sure hold the key.
 * Errors: none.
 * Cost: a load.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: ephemeron-broken? (SRFI 124).
 */
WEAKREF_API bool weakref_ephemeron_is_dead(const weakref_ephemeron *ephemeron);

/**
 * @brief Puts another value in the place of the one that the ephemeron has: that one is let go, this one kept.
 *
 * Who reads meanwhile gets the key with one of the two.
 * @param ephemeron an ephemeron.
 * @param value as of weakref_ephemeron_new: any pointer, NULL, or any other 64 bits.
 * @return 0, or a negative error, and then nothing was changed and nothing is kept.
 * Errors: ESTALE (the key is dead, or the ephemeron was broken), EINVAL (no ephemeron), EPERM.
 * Cost: 25 to 40 ns, with a lock that the ephemeron shares with others; nothing is allocated.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: DependentHandle.Dependent (.NET).
 */
WEAKREF_API int weakref_ephemeron_set_value(weakref_ephemeron *ephemeron, void *value);

/**
 * @brief Breaks the ephemeron at once, whatever becomes of its key: it reads NULL from now on and holds nothing.
 * @param ephemeron an ephemeron.
 * @return 0, or a negative error.
 * Errors: ESTALE (it was dead already), EINVAL (no ephemeron).
 * Cost: an atomic exchange, and a lock that the ephemeron shares with others.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_ephemeron_break(weakref_ephemeron *ephemeron);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/tls.h
 * @brief Slots local to a thread that the collector sees.
 *
 * libgc does not look into what pthread_setspecific stores, nor into the thread-local variables of libraries in every case.
 * A pointer in one of these slots keeps its block alive, until it is replaced, the key is deleted, or the thread ends.
 */
#ifndef WEAKREF_TLS_H
#define WEAKREF_TLS_H

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How many keys there can be at once. */
#define WEAKREF_TLS_KEYS 64

/**
 * @brief Makes a key: a slot in each thread, NULL in all of them.
 * @return the key, at least 0; or a negative error.
 * Errors: ENOMEM (all WEAKREF_TLS_KEYS are in use), EPERM, EINVAL (gc_init was never called).
 * Cost: libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: pthread_key_create.
 */
WEAKREF_API int gc_tls_key_create(void);

/**
 * @brief Gives a key up. What was in its slots, in all threads, is no longer held.
 * @param key the key.
 * @return 0, or a negative error.
 * Errors: EINVAL (no key), EPERM.
 * Cost: libgc's lock; linear in threads.
 * Thread: any thread known to the collector; nobody may use the key any more.
 * GC: never collects.
 * Source: pthread_key_delete.
 */
WEAKREF_API int gc_tls_key_delete(int key);

/**
 * @brief Stores a pointer in the calling thread's slot, which keeps its block alive.
 * @param key the key.
 * @param value any pointer, or NULL.
 * @return 0, or a negative error: then the slot is as it was.
 * Errors: EINVAL (no key), ENOMEM, EPERM.
 * Cost: a store; the thread's first one makes its slots.
 * Thread: any thread known to the collector.
 * GC: may collect at the thread's first call; runs no callbacks.
 * Source: pthread_setspecific.
 */
WEAKREF_API int gc_tls_set(int key, void *value);

/**
 * @brief What the calling thread's slot holds.
 * @param key the key.
 * @return the pointer; NULL where there is none, and for what is no key.
 * Errors: none.
 * Cost: a load.
 * Thread: any; NULL in one that the collector does not know.
 * GC: never collects.
 * Source: pthread_getspecific.
 */
WEAKREF_API void *gc_tls_get(int key);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/*
 * tls: see weakref/tls.h. A thread's slots are a block that is a root, held by the thread's record (heap.h): made at the thread's first
 * store, emptied when the thread ends, and used again by the next thread that gets the record.
 *
 * Invariant: the slot of a key that is not in use is NULL in every thread.
 *
 * Locks: libgc's, for the keys. A slot is read and written by its own thread alone, but for the deletion of its key.
 */
#include "weakref/tls.h"

#include "heap.h"

static _Atomic uint64_t keys; /* a bit for each in use */

_Static_assert(WEAKREF_TLS_KEYS <= 64 && WEAKREF_TLS_KEYS == HEAP_THREAD_SLOTS, "keys are bits of a word");

static bool is_key(int key)
{
	return key >= 0 && key < WEAKREF_TLS_KEYS && (atomic_load_explicit(&keys, memory_order_relaxed) >> key & 1) != 0;
}

int gc_tls_key_create(void)
{
	int error = heap_thread_check();
	uint64_t had = atomic_load(&keys), wanted;

	if (error != 0)
		return error;
	do {
		if (had == UINT64_MAX)
			return -WEAKREF_ENOMEM;
		wanted = ~had & (had + 1);
	} while (!atomic_compare_exchange_weak(&keys, &had, had | wanted));
	return __builtin_ctzll(wanted);
}

int gc_tls_key_delete(int key)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if (!is_key(key))
		return -WEAKREF_EINVAL;
	heap_thread_slots_clear((unsigned)key);
	atomic_fetch_and(&keys, ~(UINT64_C(1) << key));
	return 0;
}

int gc_tls_set(int key, void *value)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if (!is_key(key))
		return -WEAKREF_EINVAL;
	void **slots = heap_thread_slots(value != NULL);
	if (slots == NULL)
		return value == NULL ? 0 : -WEAKREF_ENOMEM;
	__atomic_store_n(&slots[key], value, __ATOMIC_RELAXED);
	return 0;
}

void *gc_tls_get(int key)
{
	if (!is_key(key) || heap_thread_check() != 0)
		return NULL;
	void **slots = heap_thread_slots(false);
	return slots != NULL ? __atomic_load_n(&slots[key], __ATOMIC_RELAXED) : NULL;
}

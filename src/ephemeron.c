/* SPDX-License-Identifier: MIT */
/*
 * ephemeron: the single ephemeron: an array of pairs (slots.h) of one slot, which is the object that the caller holds.
 *
 * States of the slot     EMPTY ──weakref_ephemeron_new──▶ the pair ──weakref_ephemeron_break, or a collection──▶ VACANT
 *                                                            └─▶ weakref_ephemeron_set_value: another value under the same key
 *
 * Invariants
 *  1. Word 0 holds the signature beside the kind of the value, and is written before the key: an array of a table never has it, since
 *     tables have more slots than one.
 *  2. The slot has one key in its life, so what slots_load gives needs no second look.
 *
 * Locks: who changes the slot has the stripe of the array's address, since a value and its kind are two words. Readers have none:
 * what the value is they need not know. A value gets in only under a key that lives and is held, and the collector may come
 * between any two of the writer's stores (slots_payload_set).
 */
#include "weakref/ephemeron.h"

#include "heap.h"
#include "lock.h"
#include "weakarray.h"

enum { OWN, KEY, VALUE, WORDS };

#define SIGNATURE ((uintptr_t)UINT64_C(0x6570686d65726f6c)) /* its low two bits are 0: they belong to the kind of the value */

_Static_assert((SIGNATURE & SLOTS_PAYLOAD_MASK) == 0, "the signature leaves room for the kind");

/* The array behind an ephemeron; NULL where it is none. */
static struct slots *slots_of(const weakref_ephemeron *ephemeron)
{
	struct slots *slots = (struct slots *)ephemeron;

	if (slots == NULL || (uintptr_t)slots % _Alignof(struct slots) != 0 || slots->signature != SLOTS_SIGNATURE || slots->n != 1)
		return NULL;
	uintptr_t own = atomic_load_explicit(slots_word(slots, 0, OWN), memory_order_relaxed);
	return (own & ~SLOTS_PAYLOAD_MASK) == SIGNATURE ? slots : NULL;
}

static struct lock_word *lock_of(const struct slots *slots)
{
	return lock_stripe(base_spread((uintptr_t)slots) >> 32);
}

weakref_ephemeron *weakref_ephemeron_new(void *key, void *value)
{
	enum slots_payload kind;
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error == 0 && weakarray_encode(key) == 0)
		error = -WEAKREF_EINVAL;
	if (error != 0)
		return base_null((enum weakref_error) - error);
	struct slots *slots = weakarray_new_weak(1, WORDS, KEY, VALUE, SLOTS_WEAK_EPHEMERON, NULL);
	if (slots == NULL)
		return NULL;
	uintptr_t payload = weakarray_encode_payload(value, &kind);
	atomic_store_explicit(slots_word(slots, 0, VALUE), payload, memory_order_relaxed);
	atomic_store_explicit(slots_word(slots, 0, OWN), SIGNATURE | kind, memory_order_relaxed);
	atomic_store_explicit(&slots->live, 1, memory_order_relaxed);
	atomic_store_explicit(slots_word(slots, 0, KEY), weakarray_encode(key), memory_order_release);
	BASE_KEEP(key);
	BASE_KEEP(value);
	return (weakref_ephemeron *)slots;
}

int weakref_ephemeron_get(const weakref_ephemeron *ephemeron, void **key, void **value)
{
	struct slots *slots = slots_of(ephemeron);
	uintptr_t payload;
	void *p;

	if (slots == NULL)
		return -WEAKREF_EINVAL;
	if (!slots_is_value(slots_load(slots, 0, &p, &payload)))
		return -WEAKREF_ESTALE;
	if (key != NULL)
		*key = p;
	if (value != NULL)
		*value = (void *)payload;
	return 0;
}

void *weakref_ephemeron_key(const weakref_ephemeron *ephemeron)
{
	void *key = NULL;

	weakref_ephemeron_get(ephemeron, &key, NULL);
	return key;
}

void *weakref_ephemeron_value(const weakref_ephemeron *ephemeron)
{
	void *value = NULL;

	weakref_ephemeron_get(ephemeron, NULL, &value);
	return value;
}

bool weakref_ephemeron_is_dead(const weakref_ephemeron *ephemeron)
{
	struct slots *slots = slots_of(ephemeron);

	return slots == NULL || !slots_is_value(atomic_load_explicit(slots_word(slots, 0, KEY), memory_order_acquire));
}

int weakref_ephemeron_set_value(weakref_ephemeron *ephemeron, void *value)
{
	struct slots *slots = slots_of(ephemeron);
	enum slots_payload kind;
	uintptr_t old;
	void *key;
	int error = heap_thread_check();

	if (error == 0 && slots == NULL)
		error = -WEAKREF_EINVAL;
	if (error != 0)
		return error;
	uintptr_t payload = weakarray_encode_payload(value, &kind);
	struct lock_word *lock = lock_of(slots);
	lock_stripe_take(lock);
	if (slots_is_value(slots_load(slots, 0, &key, &old)))
		slots_payload_set(slots, 0, payload, kind);
	else
		error = -WEAKREF_ESTALE;
	lock_stripe_drop(lock);
	BASE_KEEP(key);
	BASE_KEEP(value);
	return error;
}

int weakref_ephemeron_break(weakref_ephemeron *ephemeron)
{
	struct slots *slots = slots_of(ephemeron);

	if (slots == NULL)
		return -WEAKREF_EINVAL;
	struct lock_word *lock = lock_of(slots);
	lock_stripe_take(lock);
	bool had = slots_is_value(slots_take(slots, 0));
	lock_stripe_drop(lock);
	return had ? 0 : -WEAKREF_ESTALE;
}

/* SPDX-License-Identifier: MIT */
#include "slots.h"

uintptr_t slots_take(struct slots *slots, uint32_t i)
{
	_Atomic(uintptr_t) *word = slots_word(slots, i, slots->value);
	uintptr_t raw = atomic_load_explicit(word, memory_order_relaxed);

	if (!slots_is_value(raw))
		return raw;
	raw = atomic_exchange_explicit(word, SLOTS_VACANT, memory_order_acq_rel);
	if (slots->weakness != SLOTS_WEAK_VALUE)
		atomic_store_explicit(slots_word(slots, i, slots->payload), 0, memory_order_release);
	if (slots_is_value(raw))
		atomic_fetch_sub_explicit(&slots->live, 1, memory_order_relaxed);
	return raw;
}

/* With both sides held, so that the scan writes none of the words. */
static void set_kind(struct slots *slots, uint32_t i, enum slots_payload kind)
{
	_Atomic(uintptr_t) *own = slots_word(slots, i, slots->payload == 0 ? slots->value : 0);
	unsigned shift = slots->payload == 0 ? SLOTS_PAYLOAD_SHIFT : 0;
	uintptr_t rest = atomic_load_explicit(own, memory_order_relaxed) & ~(SLOTS_PAYLOAD_MASK << shift);

	atomic_store_explicit(own, rest | (uintptr_t)kind << shift, memory_order_release);
}

/*
 * The scan may come between any two of these stores, and then finds a payload that is not of its kind. INNER is good for every pointer,
 * so it goes first when it is the new kind, and last when it is the old one. A pointer that the scan takes for a number in between is
 * held here: it is neither kept alive by the slot nor cleared from it, nor need it be.
 */
void slots_payload_set(struct slots *slots, uint32_t i, uintptr_t payload, enum slots_payload kind)
{
	_Atomic(uintptr_t) *word = slots_word(slots, i, slots->payload);
	enum slots_payload before = slots_payload_kind(slots, i);
	uintptr_t old;
	void *key;

	slots_load(slots, i, &key, &old);
	if (kind == SLOTS_PAYLOAD_NUMBER || (kind == SLOTS_PAYLOAD_INNER && before == SLOTS_PAYLOAD_OURS)) {
		set_kind(slots, i, kind);
		atomic_store_explicit(word, payload, memory_order_release);
	} else {
		atomic_store_explicit(word, payload, memory_order_release);
		set_kind(slots, i, kind);
	}
	BASE_KEEP(old);
}

void slots_check(struct slots *slots)
{
	ASSERT(slots->signature == SLOTS_SIGNATURE);
	ASSERT(slots->stride > 0 && slots->value < slots->stride);
	ASSERT(slots->weakness == SLOTS_WEAK_VALUE || (slots->weakness <= SLOTS_WEAK_EITHER && slots->value != slots->payload &&
						       slots->value > 0 && slots->payload < slots->stride));
}

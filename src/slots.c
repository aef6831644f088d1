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

/* At no moment does the scan take a number for a pointer that it may follow, nor a pointer for a number that it need not keep. */
void slots_payload_set(struct slots *slots, uint32_t i, uintptr_t payload, enum slots_payload kind)
{
	_Atomic(uintptr_t) *own = slots_word(slots, i, 0);
	uintptr_t rest = atomic_load_explicit(own, memory_order_relaxed) & ~SLOTS_PAYLOAD_MASK;

	atomic_store_explicit(own, rest | SLOTS_PAYLOAD_CHANGING, memory_order_release);
	atomic_store_explicit(slots_word(slots, i, slots->payload), payload, memory_order_release);
	atomic_store_explicit(own, rest | kind, memory_order_release);
}

void slots_check(struct slots *slots)
{
	uint32_t values = 0;

	ASSERT(slots->signature == SLOTS_SIGNATURE);
	ASSERT(slots->stride > 0 && slots->value < slots->stride);
	for (uint32_t i = 0; i < slots->n; i++)
		values += slots_is_value(atomic_load_explicit(slots_word(slots, i, slots->value), memory_order_relaxed));
	ASSERT(values <= atomic_load(&slots->live));
	(void)values;
}

/* SPDX-License-Identifier: MIT */
#include "slots.h"

uintptr_t slots_take(struct slots *slots, uint32_t i)
{
	_Atomic(uintptr_t) *word = slots_word(slots, i, slots->value);
	uintptr_t raw = atomic_load_explicit(word, memory_order_relaxed);

	if (!slots_is_value(raw))
		return raw;
	raw = atomic_exchange_explicit(word, SLOTS_VACANT, memory_order_acq_rel);
	if (slots_is_value(raw))
		atomic_fetch_sub_explicit(&slots->live, 1, memory_order_relaxed);
	return raw;
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

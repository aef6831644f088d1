/* SPDX-License-Identifier: MIT */
#include "epoch.h"

static void *load_plainly(const _Atomic(uintptr_t) *word, uintptr_t *raw)
{
	void *p = (void *)((*raw = atomic_load_explicit(word, memory_order_acquire)) & ~EPOCH_TAG);

	BASE_PIN(p);
	return p;
}

_Alignas(64) _Atomic uint64_t epoch_now;
void *(*epoch_slow)(const _Atomic(uintptr_t) *word, uintptr_t *raw) = load_plainly;

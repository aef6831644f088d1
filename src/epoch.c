/* SPDX-License-Identifier: MIT */
#include "epoch.h"

static void *load_plainly(const _Atomic(uintptr_t) *word, uintptr_t *raw)
{
	void *p = (void *)((*raw = atomic_load_explicit(word, memory_order_acquire)) & ~EPOCH_TAG);

	BASE_PIN(p);
	return p;
}

static void *load_two_plainly(const _Atomic(uintptr_t) *word, const _Atomic(uintptr_t) *other, uintptr_t *raw, uintptr_t *second)
{
	void *p;

	do {
		p = load_plainly(word, raw);
		*second = atomic_load_explicit(other, memory_order_acquire);
	} while (atomic_load_explicit(word, memory_order_relaxed) != *raw);
	return p;
}

_Alignas(64) _Atomic uint64_t epoch_now;
__thread const uint64_t *weakref_epoch;
void *(*epoch_slow)(const _Atomic(uintptr_t) *word, uintptr_t *raw) = load_plainly;
void *(*epoch_slow_two)(const _Atomic(uintptr_t) *word, const _Atomic(uintptr_t) *other, uintptr_t *raw,
			uintptr_t *second) = load_two_plainly;

_Static_assert(sizeof epoch_now == sizeof *weakref_epoch && _Alignof(_Atomic uint64_t) == _Alignof(uint64_t), "it is read as a plain number");

void epoch_show(bool shown)
{
	weakref_epoch = shown ? (const uint64_t *)&epoch_now : NULL;
}

/* SPDX-License-Identifier: MIT */
/*
 * strong_load: included before everything else where the library's table is compiled for strong.c: a value is loaded plainly.
 */
#ifndef STRONG_LOAD_H
#define STRONG_LOAD_H

#include "epoch.h"

static inline void *strong_load(const _Atomic(uintptr_t) *word, uintptr_t *raw)
{
	uintptr_t bits = atomic_load_explicit(word, memory_order_relaxed);

	*raw = bits;
	return (void *)(bits & ~EPOCH_TAG);
}

static inline bool strong_try(const _Atomic(uintptr_t) *word, uintptr_t *raw, void **value)
{
	*value = strong_load(word, raw);
	return true;
}

#define epoch_is_even() true
#define epoch_load(word, raw) strong_load(word, raw)
#define epoch_try(word, raw, value) strong_try(word, raw, value)

#endif

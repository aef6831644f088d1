/* SPDX-License-Identifier: MIT */
/*
 * epoch: how a weak word is read without a lock. The reader's half; cycle.c has the writer's.
 *
 * A weak word holds a plain pointer in memory that the collector does not scan; the collector's hook clears it. Reading it races with
 * that: libgc restarts the world before all weak words of a dead object are cleared. So there is one counter for the process:
 *
 *     even   every weak word holds NULL or a pointer to memory that is there;
 *     odd    from some point of a marking on, until that collection's reclaim has ended: a weak word may dangle.
 *
 * and each completed collection moves it by exactly 2. A reader loads the counter, the word, the counter: where both are equal and even,
 * no collection completed its marking in between, and from the load on the plain pointer was in a register or on the stack (BASE_PIN),
 * where every later stop sees it. Otherwise it goes the slow way, which waits for the collector's lock.
 *
 * weakref/epoch.h is the same for functions in line, which find the counter by a pointer of the thread's: no pointer, no thread of the collector.
 *
 * Weak words of slots carry tags in the top bits (slots.h), which are masked off before the pointer is pinned: between the two the collector
 * sees no pointer, and what a collection leaves dangling is that register, not the word, which the hook has cleared while the world stood. So
 * a word that turns out to have no tag, and was itself the pointer from the load on, is good where the counter is even after the load.
 */
#ifndef EPOCH_H
#define EPOCH_H

#include "base.h"
#include "weakref/epoch.h"

#define EPOCH_TAG_BITS 3
#define EPOCH_TAG ((uintptr_t)7 << 61)

/* Written by cycle.c alone, with libgc's lock held. */
extern _Atomic uint64_t epoch_now __attribute__((visibility("hidden")));

/* Set by cycle.c: reads the word with the collector shut out, or aborts where the hook was lost. The default reads it as it is. */
extern void *(*epoch_slow)(const _Atomic(uintptr_t) *word, uintptr_t *raw);

/* The same for a word and another one that belongs to it, both of one moment. The second is returned as it is. */
extern void *(*epoch_slow_two)(const _Atomic(uintptr_t) *word, const _Atomic(uintptr_t) *other, uintptr_t *raw, uintptr_t *second);

/* What the calling thread has from now on in weakref_epoch. */
void epoch_show(bool shown);

/* The counter before a load: a number that it does not have afterwards where it was odd; and whether it has it. */
static inline uint64_t epoch_begin(void)
{
	return atomic_load_explicit(&epoch_now, memory_order_acquire) & ~UINT64_C(1);
}

static inline bool epoch_is(uint64_t before)
{
	return atomic_load_explicit(&epoch_now, memory_order_relaxed) == before;
}

/* Whether a weak word, its tags aside, is this pointer. */
static inline bool epoch_is_same(uintptr_t raw, const void *p)
{
	return (raw ^ (uintptr_t)p) << EPOCH_TAG_BITS == 0;
}

/* The same after the load of a word without a tag: whether the pointer may be used. It tells that no collection has passed without our hook. */
static inline bool epoch_is_even(void)
{
	return base_is_even(&epoch_now);
}

/* The pointer in the word, without its tag, safe to use; *raw is the word as it was. */
static inline void *epoch_load(const _Atomic(uintptr_t) *word, uintptr_t *raw)
{
	uint64_t before = epoch_begin();
	uintptr_t bits = atomic_load_explicit(word, memory_order_acquire);
	void *p = (void *)(bits & ~EPOCH_TAG);

	BASE_PIN(p);
	if (likely(epoch_is(before))) {
		*raw = bits;
		return p;
	}
	return epoch_slow(word, raw);
}

/* The same for who has a slower way of his own: false where it must be gone. No call, so that the caller needs no frame for one. */
static inline bool epoch_try(const _Atomic(uintptr_t) *word, uintptr_t *raw, void **p)
{
	uint64_t before = epoch_begin();

	*raw = atomic_load_explicit(word, memory_order_acquire);
	*p = (void *)(*raw & ~EPOCH_TAG);
	BASE_PIN(*p);
	return epoch_is(before);
}

/* A weak word and another one that belongs to it, a pointer or a number, and is only written where the first holds no pointer, or by
 * somebody who holds both. Both pointers are safe to use. The pair is of one moment: the word is the same before and after the other. */
static inline void *epoch_load_two(const _Atomic(uintptr_t) *word, const _Atomic(uintptr_t) *other, uintptr_t *raw, uintptr_t *second)
{
	uint64_t before = epoch_begin();
	uintptr_t bits = atomic_load_explicit(word, memory_order_acquire);
	uintptr_t more = atomic_load_explicit(other, memory_order_acquire);
	void *p = (void *)(bits & ~EPOCH_TAG), *q = (void *)more;

	BASE_PIN(p);
	BASE_PIN(q);
	if (likely(atomic_load_explicit(word, memory_order_relaxed) == bits && epoch_is(before))) {
		*raw = bits;
		*second = (uintptr_t)q;
		return p;
	}
	return epoch_slow_two(word, other, raw, second);
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * deaths: see deaths.h.
 *
 * Invariants
 *  1. Between settle and the next scan no bit is set.
 *  2. Bits outside of the words from `first` to `last` are clear; so are all where first > last.
 *
 * Locks: libgc's. Several may add at once: the bits are set, and the ends moved, by atomic operations then.
 *
 * Deliberately not here: libgc's own mark bits as the place of the note. Each costs three calls that wait for the page's header, and libgc
 * with several markers never counts a page's marks down to none: a page whose last block was noted would be kept as one in use.
 */
#include "deaths.h"

#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <string.h>

#include "heap.h"

#define GRANULE_SHIFT 4
#define WORD_SHIFT 6
/* A stretch that is written with zeros in a few microseconds; more is given back to the system. */
#define CLEAR_BYTES ((size_t)256 << 10)

static _Atomic uint64_t *bits;
static uintptr_t low;  /* the address of the first bit */
static size_t words;   /* of 64 bits; 0: there is no memory */
static _Atomic size_t first = SIZE_MAX, last;

/* Pages of bits, so that the memory moves seldom. */
static const uintptr_t ALIGN = (uintptr_t)1 << (GRANULE_SHIFT + 3 + 12);

void deaths_prepare_locked(void)
{
	uintptr_t from = (uintptr_t)GC_least_plausible_heap_addr & ~(ALIGN - 1);
	uintptr_t to = ((uintptr_t)GC_greatest_plausible_heap_addr + ALIGN) & ~(ALIGN - 1);
	size_t needed = (to - from) >> (GRANULE_SHIFT + WORD_SHIFT);

	if (likely(from == low && needed <= words))
		return;
	heap_registry_free(bits, words * sizeof *bits);
	bits = heap_reserve_grow(NULL, 0, needed * sizeof *bits);
	words = bits == NULL ? 0 : needed;
	low = from;
}

bool deaths_are_exact(void)
{
	return words != 0;
}

/* Seldom: the ends are passed by few of the first, and hardly by any of the later ones. */
static NOINLINE void ends_move(size_t word)
{
	size_t at = atomic_load_explicit(&first, memory_order_relaxed);

	while (word < at && !atomic_compare_exchange_weak_explicit(&first, &at, word, memory_order_relaxed, memory_order_relaxed))
		;
	at = atomic_load_explicit(&last, memory_order_relaxed);
	while (word > at && !atomic_compare_exchange_weak_explicit(&last, &at, word, memory_order_relaxed, memory_order_relaxed))
		;
}

bool deaths_add_stw(const void *base, bool shared)
{
	size_t granule = ((uintptr_t)base - low) >> GRANULE_SHIFT, word = granule >> WORD_SHIFT;
	uint64_t bit = UINT64_C(1) << (granule & 63), before;

	/* A block that somebody freed and libgc unmapped lies between the ends, too. */
	if (unlikely(word >= words))
		return true;
	if (unlikely(word < atomic_load_explicit(&first, memory_order_relaxed) ||
		     word > atomic_load_explicit(&last, memory_order_relaxed)))
		ends_move(word);
	if (shared)
		before = atomic_fetch_or_explicit(&bits[word], bit, memory_order_relaxed);
	else {
		before = atomic_load_explicit(&bits[word], memory_order_relaxed);
		atomic_store_explicit(&bits[word], before | bit, memory_order_relaxed);
	}
	return (before & bit) == 0;
}

void deaths_settle_locked(void)
{
	size_t from = atomic_load_explicit(&first, memory_order_relaxed), to = atomic_load_explicit(&last, memory_order_relaxed) + 1;

	if (from >= to)
		return;
	if ((to - from) * sizeof *bits <= CLEAR_BYTES)
		memset((void *)&bits[from], 0, (to - from) * sizeof *bits);
	else
		heap_reserve_forget(bits, to * sizeof *bits);
	atomic_store_explicit(&first, SIZE_MAX, memory_order_relaxed);
	atomic_store_explicit(&last, 0, memory_order_relaxed);
}

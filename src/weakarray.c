/* SPDX-License-Identifier: MIT */
/*
 * weakarray: see weakarray.h.
 *
 * The registry is an array of plain pointers in memory of ours. An array that is not marked at the end of a marking is scanned like the
 * others (it is all there yet), and parked: an object with a finalizer may hold it, and then it lives on. After reclaim that is known.
 *
 * Invariants
 *  1. Every registered array is there: it was marked in the last collection, revived in it, or made since.
 *  2. parked entries exist between scan and settle only.
 *
 * Locks: the registry is read and written with libgc's lock held. Never write into an array at settle that did not survive.
 */
#include "weakarray.h"

#include <string.h>

#include "cycle.h"
#include "heap.h"

struct entry {
	struct slots *slots;
	uint32_t n;
	bool parked;
};

static struct entry *entries;
static size_t count, capacity, parked;

/* ---- registration ---- */

static bool room_locked(void)
{
	if (count < capacity)
		return true;
	size_t more = capacity == 0 ? 1024 : capacity * 2;
	void *grown = heap_registry_grow(entries, capacity * sizeof *entries, more * sizeof *entries);
	if (grown == NULL)
		return false;
	entries = grown;
	capacity = more;
	return true;
}

static void *register_locked(void *arg)
{
	struct slots *slots = arg;

	if (!room_locked() || !cycle_words_add_locked(slots->n))
		return NULL;
	entries[count++] = (struct entry){.slots = slots, .n = slots->n};
	return slots;
}

struct slots *weakarray_new(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner))
{
	return weakarray_new_weak(n, stride, value, 0, SLOTS_WEAK_VALUE, purge);
}

struct slots *weakarray_new_weak(uint32_t n, unsigned stride, unsigned value, unsigned payload, enum slots_weakness weakness,
				 void (*purge)(struct slots *slots, void *owner))
{
	size_t size = slots_size(n, stride);
	struct slots *slots = heap_alloc_leaf(size);

	if (slots == NULL)
		return NULL;
	memset(slots, 0, size);
	slots->n = n;
	slots->stride = (uint16_t)stride;
	slots->value = (uint16_t)value;
	slots->payload = (uint16_t)payload;
	slots->weakness = (uint16_t)weakness;
	slots->purge = purge;
	slots->signature = SLOTS_SIGNATURE;
	if (heap_with_lock(register_locked, slots) == NULL)
		return base_null(WEAKREF_ENOMEM);
	return slots;
}

void weakarray_set_owner(struct slots *slots, const void *owner)
{
	atomic_store_explicit(&slots->owner, (uintptr_t)owner, memory_order_release);
}

uintptr_t weakarray_encode(const void *p)
{
	if (((uintptr_t)p & 1) != 0)
		return 0;
	struct heap_header *base = heap_base(p);
	if (base == NULL)
		return 0;
	if ((const void *)(base + 1) == p && heap_kind_of(base) <= HEAP_LEAF)
		return (uintptr_t)p;
	return (uintptr_t)p | SLOTS_INNER;
}

uintptr_t weakarray_encode_payload(const void *p, enum slots_payload *kind)
{
	struct heap_header *base = p == NULL ? NULL : heap_base(p);

	if (base == NULL)
		*kind = SLOTS_PAYLOAD_NUMBER;
	else if ((const void *)(base + 1) == p && heap_kind_of(base) <= HEAP_LEAF)
		*kind = SLOTS_PAYLOAD_OURS;
	else
		*kind = SLOTS_PAYLOAD_INNER;
	return (uintptr_t)p;
}

/* ---- the scan ---- */

/* The block that a value word watches; NULL where it is no longer on the heap. */
static const void *block_of_stw(uintptr_t raw)
{
	if (likely((raw & SLOTS_INNER) == 0))
		return (const char *)raw - HEAP_HEADER;
	return heap_base((const void *)(raw & ~SLOTS_INNER));
}

static uint32_t scan_slots_stw(struct slots *slots)
{
	_Atomic(uintptr_t) *word = &slots->words[slots->value];
	uint32_t stride = slots->stride, dead = 0;

	for (uint32_t n = slots->n; n > 0; n--, word += stride) {
		uintptr_t raw = atomic_load_explicit(word, memory_order_relaxed);
		if (!slots_is_value(raw))
			continue;
		const void *block = block_of_stw(raw);
		if (likely(block != NULL && cycle_alive_stw(block)))
			continue;
		atomic_store_explicit(word, SLOTS_VACANT, memory_order_relaxed);
		if (block != NULL)
			cycle_dead_stw(block);
		dead++;
	}
	return dead;
}

/* What dies in an array that is garbage, or that its table has given up, is no entry that somebody lost. */
static void scan_array_stw(struct slots *slots, bool marked)
{
	uint32_t dead = scan_slots_stw(slots);
	uintptr_t owner = atomic_load_explicit(&slots->owner, memory_order_relaxed);

	if (dead != 0) {
		atomic_fetch_sub_explicit(&slots->live, dead, memory_order_relaxed);
		atomic_fetch_add_explicit(&slots->dead, dead, memory_order_relaxed);
		if (marked && owner != 0)
			cycle_count_stw(dead, 0);
	}
	if (owner != 0 && !cycle_alive_stw(heap_base((const void *)owner)))
		atomic_store_explicit(&slots->owner, 0, memory_order_relaxed);
}

void weakarray_scan_stw(void)
{
	for (size_t i = 0; i < count; i++) {
		bool marked = cycle_alive_stw(entries[i].slots);
		scan_array_stw(entries[i].slots, marked);
		if (!marked) {
			entries[i].parked = true;
			parked++;
		}
	}
}

void weakarray_settle_locked(void)
{
	size_t kept = 0;

	if (parked == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct entry entry = entries[i];
		if (entry.parked && !cycle_survived_locked(entry.slots)) {
			cycle_words_remove_locked(entry.n);
			continue;
		}
		entry.parked = false;
		entries[kept++] = entry;
	}
	count = kept;
	parked = 0;
}

size_t weakarray_check_locked(void)
{
	ASSERT(parked == 0);
	for (size_t i = 0; i < count; i++) {
		ASSERT(entries[i].slots->n == entries[i].n && !entries[i].parked);
		slots_check(entries[i].slots);
	}
	return count;
}

/* ---- purging ---- */

struct candidate {
	size_t at; /* where to go on */
	struct slots *slots;
	void *owner;
};

/* The next array from `at` on that lost values and has an owner. Both pointers are on the caller's stack before the lock is dropped. */
static void *find_locked(void *arg)
{
	struct candidate *found = arg;

	for (; found->at < count; found->at++) {
		struct slots *slots = entries[found->at].slots;
		uintptr_t owner = atomic_load_explicit(&slots->owner, memory_order_relaxed);
		if (owner == 0 || slots->purge == NULL || atomic_load_explicit(&slots->dead, memory_order_relaxed) == 0)
			continue;
		found->slots = slots;
		found->owner = (void *)owner;
		found->at++;
		return found;
	}
	return NULL;
}

/* A collection amid the walk may move entries down past it: the second walk finds those. */
size_t weakarray_purge_all(void)
{
	size_t purged = 0;

	for (int walk = 0; walk < 2; walk++) {
		struct candidate found = {0};
		while (heap_with_lock(find_locked, &found) != NULL) {
			purged += atomic_load_explicit(&found.slots->dead, memory_order_relaxed);
			found.slots->purge(found.slots, found.owner);
		}
	}
	return purged;
}

/* SPDX-License-Identifier: MIT */
/*
 * weakarray: see weakarray.h.
 *
 * The registry is an array of plain pointers in memory of ours. An array that is not marked at the end of a marking is scanned like the
 * others (it is all there yet), and parked: an object with a finalizer may hold it, and then it lives on. After reclaim that is known.
 *
 * The scan is cut into pieces of some arrays, which several threads may take (cycle_pieces_stw): whoever has a piece writes its entries and
 * what is in its arrays, and reads mark bits. No array's fate hangs on another's: nothing is marked by then.
 *
 * Invariants
 *  1. Every registered array is there: it was marked in the last collection, revived in it, or made since.
 *  2. parked entries exist between scan and settle only.
 *
 * Locks: the registry is read and written with libgc's lock held, and, in the scan, by who has a piece of it. Never write into an array at
 * settle that did not survive.
 */
#include "weakarray_impl.h"

#include <string.h>

#include "crew.h"
#include "marking.h"

/* Arrays of single values, and arrays of pairs (weakarray_pairs). */
static struct weakarray_registry values;
/* For who would know without the lock. */
static _Atomic size_t slots_of_all;

static struct weakarray_registry *registry_of(const struct slots *slots)
{
	return slots->weakness == SLOTS_WEAK_VALUE ? &values : &weakarray_pairs;
}

/* ---- registration ---- */

static bool room_locked(struct weakarray_registry *registry)
{
	if (registry->count < registry->capacity)
		return true;
	size_t more = registry->capacity == 0 ? 1024 : registry->capacity * 2;
	void *grown = heap_registry_grow(registry->at, registry->capacity * sizeof *registry->at, more * sizeof *registry->at);
	if (grown == NULL)
		return false;
	registry->at = grown;
	registry->capacity = more;
	return true;
}

static void slots_count(struct weakarray_registry *registry, size_t more)
{
	registry->slots += more;
	atomic_store_explicit(&slots_of_all, values.slots + weakarray_pairs.slots, memory_order_relaxed);
}

static void *register_locked(void *arg)
{
	struct slots *slots = arg;
	struct weakarray_registry *registry = registry_of(slots);
	struct weakarray_entry entry = {.slots = slots, .n = slots->n, .weakness = slots->weakness};

	if (!room_locked(registry) || (registry == &weakarray_pairs && !weakarray_pairs_add_locked(&entry)))
		return NULL;
	cycle_words_add_locked(weakarray_words(&entry));
	registry->at[registry->count++] = entry;
	slots_count(registry, entry.n);
	return slots;
}

static void unregister_locked(struct weakarray_registry *registry, const struct weakarray_entry *entry)
{
	slots_count(registry, -(size_t)entry->n);
	cycle_words_remove_locked(weakarray_words(entry));
	if (entry->weakness != SLOTS_WEAK_VALUE)
		weakarray_pairs_remove_locked(entry);
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
	crew_make(atomic_load_explicit(&slots_of_all, memory_order_relaxed) + n);
	if (heap_with_lock(register_locked, slots) == NULL)
		return base_null(WEAKREF_ENOMEM);
	return slots;
}

void weakarray_set_owner(struct slots *slots, const void *owner)
{
	atomic_store_explicit(&slots->owner, (uintptr_t)owner, memory_order_release);
}

/* Whether p is the payload pointer of an object of ours, or will be: which is told sooner the next time. */
static bool is_ours(struct heap_header *base, const void *p)
{
	if ((const void *)(base + 1) != p)
		return false;
	enum heap_kind kind = heap_kind_of(base);
	if (kind > HEAP_LEAF)
		return false;
	heap_object_learn(base, kind);
	return true;
}

uintptr_t weakarray_encode(const void *p)
{
	if (likely(heap_payload_known(p)))
		return (uintptr_t)p;
	if (((uintptr_t)p & 1) != 0)
		return 0;
	struct heap_header *base = heap_base(p);
	if (base == NULL)
		return 0;
	return is_ours(base, p) ? (uintptr_t)p : (uintptr_t)p | SLOTS_INNER;
}

uintptr_t weakarray_encode_payload(const void *p, enum slots_payload *kind)
{
	struct heap_header *base;

	if ((uintptr_t)p % sizeof(struct heap_header) == 0 && heap_payload_known(p))
		*kind = SLOTS_PAYLOAD_OURS;
	else if (p == NULL || (base = heap_base(p)) == NULL)
		*kind = SLOTS_PAYLOAD_NUMBER;
	else
		*kind = is_ours(base, p) ? SLOTS_PAYLOAD_OURS : SLOTS_PAYLOAD_INNER;
	return (uintptr_t)p;
}

/* ---- the scan ---- */

static uint32_t clear_values_stw(struct slots *slots, struct cycle_tally *tally)
{
	uint32_t dead = 0;

	for (uint32_t from = 0; from < slots->n; from = weakarray_batch_end(slots, from)) {
		uint64_t found = weakarray_look_at_batch(slots, from).dead;
		dead += (uint32_t)__builtin_popcountll(found);
		for (; found != 0; found &= found - 1) {
			_Atomic(uintptr_t) *word = slots_word(slots, from + (uint32_t)__builtin_ctzll(found), slots->value);
			const void *block = weakarray_block_of(atomic_load_explicit(word, memory_order_relaxed));
			atomic_store_explicit(word, SLOTS_VACANT, memory_order_relaxed);
			if (block != NULL)
				cycle_dead_stw(block, tally);
		}
	}
	return dead;
}

static uint32_t clear_stw(const struct weakarray_entry *entry, bool marked, struct cycle_tally *tally)
{
	if (entry->weakness == SLOTS_WEAK_VALUE)
		return clear_values_stw(entry->slots, tally);
	return weakarray_pairs_clear_stw(entry->slots, marked, tally);
}

/* What dies in an array that is garbage, or that its table has given up, is no entry that somebody lost. */
static void scan_array_stw(const struct weakarray_entry *entry, bool marked, struct cycle_tally *tally)
{
	struct slots *slots = entry->slots;
	uint32_t dead = clear_stw(entry, marked, tally);
	uintptr_t owner = atomic_load_explicit(&slots->owner, memory_order_relaxed);

	if (dead != 0) {
		atomic_fetch_sub_explicit(&slots->live, dead, memory_order_relaxed);
		atomic_fetch_add_explicit(&slots->dead, dead, memory_order_relaxed);
		if (marked && owner != 0)
			tally->entries += dead;
	}
	if (owner != 0 && !cycle_alive_stw(heap_base((const void *)owner)))
		atomic_store_explicit(&slots->owner, 0, memory_order_relaxed);
}

static void scan_piece_stw(struct weakarray_registry *registry, size_t piece, struct cycle_tally *tally)
{
	size_t n = weakarray_piece(registry), end = (piece + 1) * n < registry->count ? (piece + 1) * n : registry->count;

	for (size_t i = piece * n; i < end; i++) {
		struct weakarray_entry *entry = &registry->at[i];
		if (entry->clean && (!entry->waits || weakarray_pairs_all_woken_stw()))
			continue;
		bool marked = cycle_alive_stw(entry->slots);
		scan_array_stw(entry, marked, tally);
		if (!marked) {
			entry->parked = true;
			atomic_fetch_add_explicit(&registry->parked, 1, memory_order_relaxed);
		}
	}
}

/* Pieces of single values come first. Nothing is marked by now: each array is judged without regard to the others. */
static void take_piece_stw(size_t i, struct cycle_tally *tally)
{
	size_t of_values = weakarray_pieces(&values);

	if (i < of_values)
		scan_piece_stw(&values, i, tally);
	else
		scan_piece_stw(&weakarray_pairs, i - of_values, tally);
}

void weakarray_scan_stw(void)
{
	marking_watch_stw(NULL);
	cycle_pieces_stw(take_piece_stw, weakarray_pieces(&values) + weakarray_pieces(&weakarray_pairs),
			 values.slots + weakarray_pairs.slots);
}

static void settle_registry_locked(struct weakarray_registry *registry)
{
	size_t kept = 0;

	if (registry->parked == 0)
		return;
	for (size_t i = 0; i < registry->count; i++) {
		struct weakarray_entry entry = registry->at[i];
		if (entry.parked && !cycle_survived_locked(entry.slots)) {
			unregister_locked(registry, &entry);
			continue;
		}
		entry.parked = false;
		registry->at[kept++] = entry;
	}
	registry->count = kept;
	registry->parked = 0;
}

void weakarray_settle_locked(void)
{
	settle_registry_locked(&values);
	settle_registry_locked(&weakarray_pairs);
	weakarray_pairs_settle_locked();
}

static void check_registry_locked(const struct weakarray_registry *registry)
{
	ASSERT(registry->parked == 0);
	for (size_t i = 0; i < registry->count; i++) {
		ASSERT(registry->at[i].slots->n == registry->at[i].n && !registry->at[i].parked);
		slots_check(registry->at[i].slots);
	}
}

size_t weakarray_check_locked(void)
{
	check_registry_locked(&values);
	check_registry_locked(&weakarray_pairs);
	return values.count + weakarray_pairs.count;
}

/* ---- one after the other, without the lock ---- */

struct candidate {
	const struct weakarray_registry *registry;
	size_t at; /* where to go on */
	bool all;  /* or only those that lost values */
	struct slots *slots;
	void *owner;
};

/* The next array from `at` on that has an owner. Both pointers are on the caller's stack before the lock is dropped. */
static void *find_locked(void *arg)
{
	struct candidate *found = arg;

	for (; found->at < found->registry->count; found->at++) {
		struct slots *slots = found->registry->at[found->at].slots;
		uintptr_t owner = atomic_load_explicit(&slots->owner, memory_order_relaxed);
		if (owner == 0)
			continue;
		if (!found->all && (slots->purge == NULL || atomic_load_explicit(&slots->dead, memory_order_relaxed) == 0))
			continue;
		found->slots = slots;
		found->owner = (void *)owner;
		found->at++;
		return found;
	}
	return NULL;
}

/* A collection amid the walk may move entries down past it: the second walk finds those. */
static size_t purge_registry(const struct weakarray_registry *registry)
{
	size_t purged = 0;

	for (int walk = 0; walk < 2; walk++) {
		struct candidate found = {.registry = registry};
		while (heap_with_lock(find_locked, &found) != NULL) {
			purged += atomic_load_explicit(&found.slots->dead, memory_order_relaxed);
			found.slots->purge(found.slots, found.owner);
		}
	}
	return purged;
}

size_t weakarray_purge_all(void)
{
	return purge_registry(&values) + purge_registry(&weakarray_pairs);
}

/* One that a collection moves past the walk is checked another time. */
static size_t check_registry(const struct weakarray_registry *registry)
{
	struct candidate found = {.registry = registry, .all = true};
	size_t checked = 0;

	for (; heap_with_lock(find_locked, &found) != NULL; checked++)
		if (found.slots->check != NULL)
			found.slots->check(found.slots, found.owner);
	return checked;
}

size_t weakarray_check_all(void)
{
	return check_registry(&values) + check_registry(&weakarray_pairs);
}

/* SPDX-License-Identifier: MIT */
/*
 * cache_cell: where weak keys and weak values stand (cache.h, "Cells"): banks, each a weak array of cells, twice as large as the one before
 * until it has CACHE_BANK_MAX. No bank is ever given back, and no cell moves.
 *
 * A cell's number is its bank's and its place in that. Free cells are linked through all banks, the one that was freed last first; only in
 * the newest bank there are some that were never used, from `fresh` on.
 *
 *   word CELL_OWN of a cell: its entry, hidden, with the kind of the payload; or the number + 1 of the next free cell << 4, and FREE
 *
 * A collection takes values out and counts them in their bank. Nothing else makes that count grow, so that a look at the banks is good until
 * the next collection: `seen` is the epoch (epoch.h) of the last look that found all of them looked after.
 *
 * Locks: `lock` (cache.h); but a cell's weak word is written by the scan too.
 */
#include "cache.h"

#include "weakarray.h"

#define BANK_MIN 64
/* So many banks are smaller than CACHE_BANK_MAX. */
#define BANKS_SMALL 8

#define CELL_FREE ((uintptr_t)8)

_Static_assert(BANK_MIN << BANKS_SMALL == CACHE_BANK_MAX, "the banks double");

/* ---- values ---- */

void *cache_cell_value(const struct cache_entry *entry, void **key)
{
	struct slots *slots = entry->bank;
	uintptr_t raw, payload = 0;
	void *weak;

	if (slots->weakness == SLOTS_WEAK_VALUE) {
		weak = epoch_load(cache_cell_word(entry, CELL_KEY), &raw);
		payload = (uintptr_t)weak;
	} else {
		raw = slots_load(slots, cache_cell_place(entry), &weak, &payload);
		if (key != NULL)
			*key = slots_is_value(raw) ? weak : NULL;
	}
	if (unlikely(!slots_is_value(raw) || cache_state(entry) == CACHE_DEAD)) {
		if (key != NULL)
			*key = NULL;
		return NULL;
	}
	return (void *)payload;
}

/* Into a cell that has no value: in the order that slots.h asks for. */
static void fill_locked(struct cache_entry *entry, uintptr_t raw, uintptr_t payload, enum slots_payload kind)
{
	struct slots *slots = entry->bank;
	bool two = slots->weakness != SLOTS_WEAK_VALUE;

	if (two)
		atomic_store_explicit(cache_cell_word(entry, CELL_VALUE), payload, memory_order_release);
	atomic_store_explicit(cache_cell_word(entry, CELL_OWN), (uintptr_t)entry | (two ? kind : 0), memory_order_release);
	atomic_fetch_add_explicit(&slots->live, 1, memory_order_relaxed);
	atomic_store_explicit(cache_cell_word(entry, CELL_KEY), raw, memory_order_release);
}

void cache_value_set_locked(weakref_cache *cache, struct cache_entry *entry, const void *key, void *value)
{
	enum slots_payload kind;

	if (!entry->celled) {
		atomic_store_explicit(&entry->value, value, memory_order_release);
		return;
	}
	if (!cache->config.weak_keys) {
		fill_locked(entry, weakarray_encode(value), 0, SLOTS_PAYLOAD_NUMBER);
		return;
	}
	uintptr_t payload = weakarray_encode_payload(value, &kind);
	if (slots_is_value(atomic_load_explicit(cache_cell_word(entry, CELL_KEY), memory_order_relaxed)))
		slots_payload_set(entry->bank, cache_cell_place(entry), payload, kind);
	else
		fill_locked(entry, weakarray_encode(key), payload, kind);
	BASE_KEEP(key);
	BASE_KEEP(value);
}

bool cache_value_change_locked(struct cache_entry *entry, void *value, uintptr_t raw)
{
	if (!entry->celled) {
		atomic_store_explicit(&entry->value, value, memory_order_release);
		return true;
	}
	_Atomic(uintptr_t) *word = cache_cell_word(entry, CELL_KEY);
	uintptr_t old = atomic_load_explicit(word, memory_order_relaxed);
	/* What a collection takes meanwhile, it has counted. */
	return slots_is_value(old) && atomic_compare_exchange_strong_explicit(word, &old, raw, memory_order_release, memory_order_relaxed);
}

/* ---- cells ---- */

static uint32_t bank_size(size_t bank)
{
	return bank < BANKS_SMALL ? (uint32_t)BANK_MIN << bank : CACHE_BANK_MAX;
}

bool cache_cell_ready_locked(const weakref_cache *cache)
{
	const struct cache_cells *cells = &cache->cells;

	return cells->free != 0 || (cells->nbanks != 0 && cells->fresh < bank_size(cells->nbanks - 1));
}

/* The entry of a cell in use whose value was taken. */
static struct cache_entry *robbed_locked(struct slots *slots, uint32_t i)
{
	uintptr_t own = atomic_load_explicit(slots_word(slots, i, CELL_OWN), memory_order_relaxed);

	if (own == 0 || (own & CELL_FREE) != 0)
		return NULL;
	return atomic_load_explicit(slots_word(slots, i, CELL_KEY), memory_order_relaxed) == SLOTS_VACANT
		       ? (struct cache_entry *)(own & ~(uintptr_t)15)
		       : NULL;
}

/* What weakref_checks_validate calls. Other threads may collect meanwhile: what is there lived at the beginning, and what was taken has been
 * counted by the end. */
static void check_bank(struct slots *slots, void *owner)
{
	weakref_cache *cache = owner;
	uint32_t there = 0, taken = 0;

	cache_entries_lock(cache);
	uint32_t lived = atomic_load(&slots->live);
	for (uint32_t i = 0; i < slots->n; i++) {
		there += slots_is_value(atomic_load_explicit(slots_word(slots, i, CELL_KEY), memory_order_relaxed));
		taken += robbed_locked(slots, i) != NULL;
	}
	ASSERT(there <= lived);
	ASSERT(there + taken <= lived + atomic_load(&slots->dead));
	cache_entries_unlock(cache);
}

static struct slots *slots_for(const weakref_cache *cache, uint32_t n)
{
	enum slots_weakness weakness = cache->config.weak_values ? SLOTS_WEAK_BOTH : SLOTS_WEAK_EPHEMERON;
	struct slots *slots = cache->config.weak_keys ? weakarray_new_weak(n, CELL_WORDS, CELL_KEY, CELL_VALUE, weakness, cache_purge)
						      : weakarray_new(n, CELL_VALUE, CELL_KEY, cache_purge);

	if (slots == NULL)
		return NULL;
	slots->check = check_bank;
	weakarray_set_owner(slots, cache);
	return slots;
}

int cache_bank_add(weakref_cache *cache)
{
	struct cache_cells *cells = &cache->cells;

	cache_lock(cache);
	size_t n = cells->nbanks, room = cells->room;
	cache_unlock(cache);
	if (n == CACHE_BANKS_MAX)
		return -WEAKREF_ENOMEM;
	struct slots **more = n < room ? NULL : heap_alloc(2 * (room + 2) * sizeof *more);
	struct slots *slots = n < room || more != NULL ? slots_for(cache, bank_size(n)) : NULL;
	if (slots == NULL)
		return -WEAKREF_ENOMEM;
	cache_lock(cache);
	if (cells->nbanks == n && cells->room == room && !cache_cell_ready_locked(cache)) {
		if (more != NULL) {
			if (n != 0)
				memcpy(more, cells->banks, n * sizeof *more);
			cells->banks = more;
			cells->room = 2 * (room + 2);
		}
		cells->banks[n] = slots;
		cells->nbanks++;
		cells->fresh = 0;
	}
	cache_unlock(cache);
	return 0;
}

void cache_cell_take_locked(weakref_cache *cache, struct cache_entry *entry, const void *key)
{
	struct cache_cells *cells = &cache->cells;
	bool used = cells->free != 0;

	ASSERT(cache_cell_ready_locked(cache));
	entry->cell = used ? cells->free - 1 : (uint32_t)(cells->nbanks - 1) * CACHE_BANK_MAX + cells->fresh++;
	entry->bank = cells->banks[entry->cell / CACHE_BANK_MAX];
	if (used)
		cells->free = (uint32_t)(atomic_load_explicit(cache_cell_word(entry, CELL_OWN), memory_order_relaxed) >> 4);
	entry->celled = true;
	/* VACANT is what a collection makes of a cell in use. */
	atomic_store_explicit(cache_cell_word(entry, CELL_KEY), SLOTS_EMPTY, memory_order_release);
	if (cache->config.weak_keys)
		cache_value_set_locked(cache, entry, key, NULL);
	else
		atomic_store_explicit(cache_cell_word(entry, CELL_OWN), (uintptr_t)entry, memory_order_relaxed);
}

void cache_cell_drop_locked(weakref_cache *cache, struct cache_entry *entry)
{
	struct slots *slots = entry->bank;
	uintptr_t raw = slots_take(slots, cache_cell_place(entry));

	/* A collection was faster: nobody else will take note of it. */
	if (raw == SLOTS_VACANT)
		atomic_fetch_sub_explicit(&slots->dead, 1, memory_order_relaxed);
	atomic_store_explicit(cache_cell_word(entry, CELL_OWN), (uintptr_t)cache->cells.free << 4 | CELL_FREE, memory_order_relaxed);
	cache->cells.free = entry->cell + 1;
}

/* How many of a bank's cells were ever used. */
static uint32_t used_cells(const struct cache_cells *cells, size_t bank)
{
	return bank + 1 == cells->nbanks ? cells->fresh : bank_size(bank);
}

/* ---- what collections took ---- */

size_t cache_taken_locked(const weakref_cache *cache)
{
	size_t taken = 0;

	for (size_t i = 0; i < cache->cells.nbanks; i++)
		taken += atomic_load_explicit(&cache->cells.banks[i]->dead, memory_order_relaxed);
	return taken;
}

uint64_t cache_taken_weight_locked(const weakref_cache *cache)
{
	const struct cache_cells *cells = &cache->cells;
	uint64_t weight = 0;

	for (size_t bank = 0; bank < cells->nbanks; bank++) {
		if (atomic_load_explicit(&cells->banks[bank]->dead, memory_order_relaxed) == 0)
			continue;
		for (uint32_t i = 0; i < used_cells(cells, bank); i++) {
			const struct cache_entry *entry = robbed_locked(cells->banks[bank], i);
			if (entry != NULL && cache_state(entry) == CACHE_LIVE && entry->policy.queue != POLICY_NONE)
				weight += entry->policy.weight;
		}
	}
	return weight;
}

static void bury_bank_locked(weakref_cache *cache, size_t bank)
{
	const struct cache_cells *cells = &cache->cells;

	for (uint32_t i = 0, n = used_cells(cells, bank); i < n; i++) {
		struct cache_entry *entry = robbed_locked(cells->banks[bank], i);
		if (entry != NULL && cache_state(entry) == CACHE_LIVE)
			cache_remove_locked(cache, entry, WEAKREF_CAUSE_COLLECTED);
	}
}

void cache_bury_taken_locked(weakref_cache *cache)
{
	for (size_t bank = 0; bank < cache->cells.nbanks; bank++)
		if (atomic_load_explicit(&cache->cells.banks[bank]->dead, memory_order_relaxed) != 0)
			bury_bank_locked(cache, bank);
}

/* SPDX-License-Identifier: MIT */
/*
 * weakarray_pairs: arrays of pairs in a collection: the closure, which keeps alive what ephemerons keep alive, and then the clearing.
 * slots.h says what the weaknesses mean.
 *
 * The closure is linear in slots and in what it marks. First every array that is marked is walked: a pair that is decided (its key is
 * marked: then its payload is marked too) is done with; most are, and cost a look at the key's mark bit. A pair whose key is not marked
 * waits: a node is noted for it. An array that is not marked waits likewise. Then the nodes are linked into an index by the block that they
 * wait for, and marking runs; each block that it reaches is looked up there, and wakes those that waited for it. A chain of a million pairs,
 * each one's payload leading to the next one's key, costs a million look-ups.
 *
 * A block that is marked between the noting of a node and its linking is not looked up in time; so a node is looked at once more when it is
 * linked. Linked nodes are found, whenever their block is reached: while there are nodes, marking tells of every block, in each run until
 * the clearing (marking_watch_stw).
 *
 * The index keeps neighbours of a page together, pages apart: keys are mostly made one after the other, and so looked up.
 *
 * Invariants
 *  1. nodes_needed is the sum of nodes_of over all registered arrays of pairs, and one each; nodes_capacity, and heads_capacity, a power of
 *     two, are no less.
 *  2. Nodes before `linked` are in the index, or were woken; those behind are in neither.
 *  3. When the closure is done: a marked EPHEMERON array has no slot with a marked key and an unmarked payload, and a marked EITHER array
 *     none with one side marked only (a payload that is a number is no side).
 *
 * Locks: libgc's. Deliberately not here: anything that waits from one collection to the next.
 */
#include "marking.h"
#include "weakarray_impl.h"

#include <string.h>

#define NO_SLOT UINT32_MAX
#define KEEP_NODES ((size_t)4096)
/* Blocks marked before what they lead to is, and arrays fetched from memory before they are walked. */
#define BATCH 512
#define AHEAD 4

struct node {
	/* The block that is waited for. */
	const void *block;
	struct slots *slots;
	uint32_t i; /* NO_SLOT: it is the array itself */
	uint32_t next;
};

struct weakarray_registry weakarray_pairs;

static struct node *nodes;
static uint32_t *heads; /* 1 + the first node of each bucket */
static size_t nodes_needed, nodes_capacity, heads_capacity;
static size_t noted, linked;
static size_t mask;

/* ---- memory ---- */

/* How many nodes the slots of an array may need. */
static size_t nodes_of(uint32_t n, uint16_t weakness)
{
	return weakness == SLOTS_WEAK_EPHEMERON ? n : weakness == SLOTS_WEAK_EITHER ? (size_t)n * 2 : 0;
}

static bool grow(void **p, size_t *capacity, size_t size, size_t needed)
{
	size_t more = *capacity == 0 ? 1024 : *capacity;

	if (needed <= *capacity)
		return true;
	while (more < needed)
		more *= 2;
	void *grown = heap_registry_grow(*p, *capacity * size, more * size);
	if (grown == NULL)
		return false;
	*p = grown;
	*capacity = more;
	return true;
}

bool weakarray_pairs_add_locked(const struct weakarray_entry *entry)
{
	size_t needed = nodes_needed + nodes_of(entry->n, entry->weakness) + 1;

	if (needed >= NO_SLOT || !grow((void **)&nodes, &nodes_capacity, sizeof *nodes, needed) ||
	    !grow((void **)&heads, &heads_capacity, sizeof *heads, needed))
		return false;
	nodes_needed = needed;
	return true;
}

void weakarray_pairs_remove_locked(const struct weakarray_entry *entry)
{
	nodes_needed -= nodes_of(entry->n, entry->weakness) + 1;
}

void weakarray_prepare_locked(void)
{
	if (weakarray_pairs.count > 0)
		marking_prepare_locked();
}

void weakarray_pairs_settle_locked(void)
{
	marking_settle_locked();
	if (noted > KEEP_NODES) {
		heap_reserve_forget(nodes, noted * sizeof *nodes);
		heap_reserve_forget(heads, (mask + 1) * sizeof *heads);
	}
	noted = 0;
}

/* ---- the sides of a pair ---- */

static enum slots_payload kind_at(struct slots *slots, uint32_t i)
{
	return atomic_load_explicit(slots_word(slots, i, 0), memory_order_relaxed) & SLOTS_PAYLOAD_MASK;
}

static uintptr_t raw_at(struct slots *slots, uint32_t i)
{
	return atomic_load_explicit(slots_word(slots, i, slots->value), memory_order_relaxed);
}

/* The block of a payload that is no number; NULL where it is no longer on the heap. */
static const void *payload_block(struct slots *slots, uint32_t i, enum slots_payload kind)
{
	uintptr_t payload = atomic_load_explicit(slots_word(slots, i, slots->payload), memory_order_relaxed);

	return kind == SLOTS_PAYLOAD_OURS ? (const char *)payload - HEAP_HEADER : heap_base((const void *)payload);
}

/* ---- waiting ---- */

static void note(const void *block, struct slots *slots, uint32_t i)
{
	ASSERT(noted < nodes_capacity);
	nodes[noted++] = (struct node){.block = block, .slots = slots, .i = i};
}

/* One slot: marks what its pair keeps alive by now. False where it may come to keep something. */
static bool decide(struct slots *slots, uint32_t i, bool *key_alive)
{
	uintptr_t raw = raw_at(slots, i);

	*key_alive = true;
	if (!slots_is_value(raw))
		return true;
	const void *key = weakarray_block_of(raw);
	*key_alive = weakarray_alive(key);
	enum slots_payload kind = kind_at(slots, i);
	if (kind == SLOTS_PAYLOAD_NUMBER || key == NULL)
		return true;
	const void *payload = payload_block(slots, i, kind);
	if (payload == NULL)
		return true;
	if (*key_alive) {
		marking_mark_stw(payload);
		return true;
	}
	if (!cycle_alive_stw(payload))
		return false;
	if (slots->weakness == SLOTS_WEAK_EITHER)
		*key_alive = marking_mark_stw(key);
	return true;
}

static void wait_for(struct slots *slots, uint32_t i)
{
	note(weakarray_block_of(raw_at(slots, i)), slots, i);
	if (slots->weakness == SLOTS_WEAK_EITHER)
		note(payload_block(slots, i, kind_at(slots, i)), slots, i);
}

/* An array that is alive. Whether all of its keys are. */
static bool walk(struct slots *slots)
{
	bool all = true, key_alive;

	for (uint32_t i = 0; i < slots->n; i++) {
		if (!decide(slots, i, &key_alive))
			wait_for(slots, i);
		all &= key_alive;
	}
	return all;
}

/* ---- the index ---- */

/* 256 buckets to a page, one for each granule of it, beginning anywhere. */
static uint32_t *bucket_of(const void *block)
{
	uintptr_t address = (uintptr_t)block;

	return &heads[((size_t)base_mix(address >> 12) + (address >> 4 & 255)) & mask];
}

static void wake(struct slots *slots, uint32_t i)
{
	bool key_alive;

	if (i == NO_SLOT)
		walk(slots);
	else
		decide(slots, i, &key_alive);
}

static void link_noted(void)
{
	for (; linked < noted; linked++) {
		struct node *node = &nodes[linked];
		if (cycle_alive_stw(node->block)) {
			wake(node->slots, node->i);
			continue;
		}
		uint32_t *head = bucket_of(node->block);
		node->next = *head;
		*head = (uint32_t)linked + 1;
	}
}

static void reached(const void *block)
{
	for (uint32_t *at = bucket_of(block); *at != 0;) {
		struct node *node = &nodes[*at - 1];
		if (node->block != block) {
			at = &node->next;
			continue;
		}
		*at = node->next;
		wake(node->slots, node->i);
	}
	link_noted();
}

/* Room for n nodes, empty. */
static void index_open(size_t n)
{
	size_t buckets = 256;

	while (buckets < n)
		buckets *= 2;
	ASSERT(buckets <= heads_capacity);
	mask = buckets - 1;
	linked = 0;
	memset(heads, 0, buckets * sizeof *heads);
}

/* Small arrays are many, and each is somewhere else. */
static void fetch(size_t k)
{
	if (k >= weakarray_pairs.count)
		return;
	__builtin_prefetch(weakarray_pairs.at[k].slots);
	__builtin_prefetch(weakarray_pairs.at[k].slots->words);
}

/* Whether the array has an owner that may be dead. */
static bool owner_waits(struct slots *slots)
{
	uintptr_t owner = atomic_load_explicit(&slots->owner, memory_order_relaxed);

	return owner != 0 && !cycle_alive_stw(heap_base((const void *)owner));
}

void weakarray_close_stw(void)
{
	size_t late = 0;

	noted = 0;
	for (size_t k = 0; k < weakarray_pairs.count; k++) {
		struct weakarray_entry *entry = &weakarray_pairs.at[k];
		size_t n = nodes_of(entry->n, entry->weakness);
		entry->clean = false;
		fetch(k + AHEAD);
		if (n == 0)
			continue;
		if (cycle_alive_stw(entry->slots)) {
			entry->clean = walk(entry->slots) && !owner_waits(entry->slots);
			/* While the payloads' mark bits are in the cache. Nothing is looked up in the index yet: linking will. */
			if (marking_waiting_stw() >= BATCH)
				marking_run_stw();
			continue;
		}
		note(entry->slots, entry->slots, NO_SLOT);
		late += n;
	}
	if (noted > 0) {
		index_open(noted + late);
		marking_watch_stw(reached);
		link_noted();
	}
	marking_run_stw();
}

/* ---- clearing ---- */

static bool pair_dies(struct slots *slots, uint32_t i, uintptr_t raw, bool strict)
{
	const void *key = weakarray_block_of(raw), *payload = NULL;
	bool key_dies = !weakarray_alive(key), payload_dies = false;
	enum slots_payload kind = kind_at(slots, i);

	if (kind != SLOTS_PAYLOAD_NUMBER && (strict || key_dies)) {
		payload = payload_block(slots, i, kind);
		payload_dies = !weakarray_alive(payload);
	}
	if (!key_dies && !(strict && payload_dies))
		return false;
	if (key_dies && key != NULL)
		cycle_dead_stw(key);
	if (payload_dies && payload != NULL && slots->weakness >= SLOTS_WEAK_BOTH)
		cycle_dead_stw(payload);
	return true;
}

uint32_t weakarray_pairs_clear_stw(struct slots *slots, bool marked)
{
	bool strict = !marked || slots->weakness == SLOTS_WEAK_BOTH;
	uint32_t dead = 0;

	for (uint32_t i = 0; i < slots->n; i++) {
		uintptr_t raw = raw_at(slots, i);
		if (!slots_is_value(raw) || !pair_dies(slots, i, raw, strict))
			continue;
		atomic_store_explicit(slots_word(slots, i, slots->value), SLOTS_VACANT, memory_order_relaxed);
		atomic_store_explicit(slots_word(slots, i, slots->payload), 0, memory_order_relaxed);
		dead++;
	}
	return dead;
}

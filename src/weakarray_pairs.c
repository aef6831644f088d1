/* SPDX-License-Identifier: MIT */
/*
 * weakarray_pairs: arrays of pairs in a collection: the closure, which keeps alive what ephemerons keep alive, and then the clearing.
 * slots.h says what the weaknesses mean.
 *
 * The closure is linear in slots and in what it marks. First every array that is marked is looked at, by several threads: from its first
 * slot on, as far as there is nothing to mark or to note. What is behind is walked, by one: a pair that is decided (its key is
 * marked: then its payload is marked too) is done with; most are, and cost a look at the key's mark bit. A pair whose key is not marked
 * waits: a node is noted for it, which says what to mark when the key is. An array that is not marked waits likewise. Then the nodes are
 * linked into an index by the block that they wait for, and marking runs; each block that it reaches is looked up there, and wakes those
 * that waited for it. A chain of a million pairs, each one's payload leading to the next one's key, costs a million look-ups.
 *
 * A block that is marked between the noting of a node and its linking is not looked up in time; so a node is looked at once more when it is
 * linked. Linked nodes are found, whenever their block is reached: while there are nodes, marking tells of every block, in each run until
 * the clearing (marking_watch_stw).
 *
 * The index keeps neighbours of a page together, pages apart: keys are mostly made one after the other, and so looked up. Nodes are noted
 * in the order of slots, which in a hash table is none; many are brought into the order of the index before they are linked, and no look-up
 * goes to the slots again. Following a chain waits for each link's memory in turn: this is what it costs.
 *
 * Invariants
 *  1. nodes_needed is the sum of nodes_of over all registered arrays of pairs, and one each; nodes_capacity, spare_capacity, and
 *     heads_capacity, a power of two, are no less.
 *  2. Nodes before `linked` are in the index, or were woken; those behind are in neither.
 *  3. When the closure is done: a marked EPHEMERON array has no slot with a marked key and an unmarked payload, and a marked EITHER array
 *     none with one side marked only (a payload that is a number is no side).
 *
 * Locks: libgc's. Deliberately not here: anything that waits from one collection to the next.
 */
#include "marking.h"
#include "weakarray_impl.h"

#include <string.h>

#define WALK ((uintptr_t)1)
#define KEEP_NODES ((size_t)4096)
/* As many nodes as stay in the cache in any order. */
#define SORT_NODES ((size_t)(CHECKS ? 8 : 8192))
/* So many nodes to one that is for a page far from the one before, at least: then they are in order as they are. */
#define IN_ORDER 8
#define PAGE_SHIFT 12
#define GRANULE_SHIFT 4
/* Blocks marked before what they lead to is, and arrays fetched from memory before they are walked. */
#define BATCH 512
#define AHEAD 4

struct node {
	/* The block that is waited for. */
	const void *block;
	/* The block to mark then; or WALK, where the block is the array. */
	uintptr_t wakes;
	uint32_t next;
	uint32_t entry; /* which array it was noted for */
};

struct weakarray_registry weakarray_pairs;

static struct node *nodes, *spare;
static uint32_t *heads; /* 1 + the first node of each bucket */
static size_t nodes_needed, nodes_capacity, spare_capacity, heads_capacity;
static size_t noted, linked;
static size_t walked; /* the entry of the array that is being walked */
static uintptr_t last_page;
static size_t jumps; /* nodes that are for a page far from the one before */
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

	if (needed >= UINT32_MAX || !grow((void **)&nodes, &nodes_capacity, sizeof *nodes, needed) ||
	    !grow((void **)&spare, &spare_capacity, sizeof *spare, needed) ||
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
		heap_reserve_forget(spare, noted * sizeof *spare);
		heap_reserve_forget(heads, (mask + 1) * sizeof *heads);
	}
	noted = 0;
}

/* ---- the sides of a pair ---- */

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

/* ---- the first look ---- */

/* Of a pair with a payload that is no number: whether it is decided, without anything to mark. */
static bool is_at_rest(struct slots *slots, uint32_t i, enum slots_payload kind)
{
	const void *payload = payload_block(slots, i, kind);

	return payload == NULL || cycle_alive_stw(payload);
}

/*
 * How many slots from 0 on need no more than this look: pairs with a living key whose payload is marked or a number, and those with a dead
 * key and a number, which go unless something keeps the key yet: for their sake *all is made false. Writes nothing.
 */
static uint32_t look(struct slots *slots, bool *all)
{
	for (uint32_t from = 0; from < slots->n; from = weakarray_batch_end(slots, from)) {
		uint64_t dead = weakarray_dead_of_batch(slots, from);
		for (uint32_t i = from; i < weakarray_batch_end(slots, from); i++) {
			uintptr_t raw = raw_at(slots, i);
			enum slots_payload kind = slots_payload_kind_of(slots, i, raw);
			bool dies = (dead >> (i - from) & 1) != 0;
			if (kind != SLOTS_PAYLOAD_NUMBER && slots_is_value(raw) && (dies || !is_at_rest(slots, i, kind)))
				return i;
			*all &= !dies;
		}
	}
	return slots->n;
}

/* Whether the array has an owner that may be dead. */
static bool owner_waits(struct slots *slots)
{
	uintptr_t owner = atomic_load_explicit(&slots->owner, memory_order_relaxed);

	return owner != 0 && !cycle_alive_stw(heap_base((const void *)owner));
}

/* Small arrays are many, and each is somewhere else. */
static void fetch(size_t k)
{
	if (k >= weakarray_pairs.count)
		return;
	__builtin_prefetch(weakarray_pairs.at[k].slots);
	__builtin_prefetch(weakarray_pairs.at[k].slots->words);
}

/* Arrays of a piece: in `clean` is whether nothing goes of what was looked at. A single pair is decided as soon as it is looked at. */
static void look_at_piece(size_t piece, struct cycle_tally *tally)
{
	size_t n = weakarray_piece(&weakarray_pairs), end = (piece + 1) * n;

	(void)tally;
	for (size_t k = piece * n; k < end && k < weakarray_pairs.count; k++) {
		struct weakarray_entry *entry = &weakarray_pairs.at[k];
		fetch(k + AHEAD);
		entry->undecided = entry->decided = 0;
		entry->clean = nodes_of(entry->n, entry->weakness) != 0;
		if (!entry->clean || entry->n == 1 || !cycle_alive_stw(entry->slots))
			continue;
		entry->clean = !owner_waits(entry->slots);
		entry->decided = look(entry->slots, &entry->clean);
	}
}

/* ---- waiting ---- */

static void note(const void *block, uintptr_t wakes)
{
	uintptr_t page = (uintptr_t)block >> PAGE_SHIFT;

	ASSERT(noted < nodes_capacity);
	jumps += page - last_page > 1;
	last_page = page;
	nodes[noted++] = (struct node){.block = block, .wakes = wakes, .entry = (uint32_t)walked};
	weakarray_pairs.at[walked].undecided++;
}

/* One slot: marks what its pair keeps alive by now, or notes what it may come to keep. False where it goes, for all that is known. */
static bool decide(struct slots *slots, uint32_t i)
{
	uintptr_t raw = raw_at(slots, i);

	if (!slots_is_value(raw))
		return true;
	const void *key = weakarray_block_of(raw);
	bool key_alive = weakarray_alive(key);
	enum slots_payload kind = slots_payload_kind_of(slots, i, raw);
	if (kind == SLOTS_PAYLOAD_NUMBER || key == NULL)
		return key_alive;
	const void *payload = payload_block(slots, i, kind);
	if (payload == NULL)
		return key_alive;
	if (key_alive) {
		marking_mark_stw(payload);
		return true;
	}
	bool either = slots->weakness == SLOTS_WEAK_EITHER;
	if (cycle_alive_stw(payload))
		return either && marking_mark_stw(key);
	note(key, (uintptr_t)payload);
	if (either)
		note(payload, (uintptr_t)key);
	return true;
}

/* The rest of an array that is alive. Whether none of its pairs goes but those that wait. */
static bool walk(size_t entry)
{
	struct slots *slots = weakarray_pairs.at[entry].slots;
	bool all = true;

	walked = entry;
	for (uint32_t i = weakarray_pairs.at[entry].decided; i < slots->n; i++)
		all &= decide(slots, i);
	return all;
}

/* ---- the index ---- */

/* 256 buckets to a page, one for each granule of it, beginning anywhere. */
static uint32_t *bucket_of(const void *block)
{
	uintptr_t address = (uintptr_t)block;

	return &heads[((size_t)base_mix(address >> PAGE_SHIFT) + (address >> GRANULE_SHIFT & 255)) & mask];
}

static void wake(const struct node *node)
{
	weakarray_pairs.at[node->entry].undecided--;
	if (unlikely(node->wakes == WALK))
		walk(node->entry);
	else
		marking_mark_stw((const void *)node->wakes);
}

static void link_noted(void)
{
	for (; linked < noted; linked++) {
		struct node *node = &nodes[linked];
		if (cycle_alive_stw(node->block)) {
			wake(node);
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
		wake(node);
	}
	link_noted();
}

/* Brings the nodes into the order of their buckets. */
static void sort_noted(void)
{
	size_t before = 0;

	for (size_t i = 0; i < noted; i++)
		++*bucket_of(nodes[i].block);
	for (size_t b = 0; b <= mask; b++) {
		size_t here = heads[b];
		heads[b] = (uint32_t)before;
		before += here;
	}
	for (size_t i = 0; i < noted; i++)
		spare[(*bucket_of(nodes[i].block))++] = nodes[i];

	struct node *sorted = spare;
	spare = nodes;
	nodes = sorted;
	size_t capacity = spare_capacity;
	spare_capacity = nodes_capacity;
	nodes_capacity = capacity;
}

static void heads_clear(void)
{
	memset(heads, 0, (mask + 1) * sizeof *heads);
}

/* Room for n nodes, empty; what was noted is ready to be linked. */
static void index_open(size_t n)
{
	size_t buckets = 256;

	while (buckets < n)
		buckets *= 2;
	ASSERT(buckets <= heads_capacity);
	mask = buckets - 1;
	linked = 0;
	heads_clear();
	if (noted < SORT_NODES || jumps < noted / IN_ORDER)
		return;
	sort_noted();
	heads_clear();
}

void weakarray_close_stw(void)
{
	size_t late = 0;

	noted = jumps = 0;
	cycle_pieces_stw(look_at_piece, weakarray_pieces(&weakarray_pairs), weakarray_pairs.slots);
	for (size_t k = 0; k < weakarray_pairs.count; k++) {
		struct weakarray_entry *entry = &weakarray_pairs.at[k];
		size_t n = nodes_of(entry->n, entry->weakness);
		if (n == 0 || entry->decided == entry->n)
			continue;
		fetch(k + AHEAD);
		if (cycle_alive_stw(entry->slots)) {
			entry->clean = walk(k) && entry->clean && !owner_waits(entry->slots);
			/* While the payloads' mark bits are in the cache. Nothing is looked up in the index yet: linking will. */
			if (marking_waiting_stw() >= BATCH)
				marking_run_stw();
			continue;
		}
		entry->clean = false;
		walked = k;
		note(entry->slots, WALK);
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

static bool pair_dies(struct slots *slots, uint32_t i, uintptr_t raw, bool key_dies, bool strict, struct cycle_tally *tally)
{
	bool payload_counts = slots->weakness >= SLOTS_WEAK_BOTH, payload_dies = false;
	const void *key = NULL, *payload = NULL;
	enum slots_payload kind = slots_payload_kind_of(slots, i, raw);

	if (kind != SLOTS_PAYLOAD_NUMBER && (strict || (key_dies && payload_counts))) {
		payload = payload_block(slots, i, kind);
		payload_dies = !weakarray_alive(payload);
	}
	if (!key_dies && !payload_dies)
		return false;
	if (key_dies)
		key = weakarray_block_of(raw);
	if (key != NULL)
		cycle_dead_stw(key, tally);
	if (payload_dies && payload != NULL && payload_counts)
		cycle_dead_stw(payload, tally);
	return true;
}

uint32_t weakarray_pairs_clear_stw(struct slots *slots, bool marked, struct cycle_tally *tally)
{
	bool strict = !marked || slots->weakness == SLOTS_WEAK_BOTH;
	uint32_t dead = 0;

	for (uint32_t from = 0; from < slots->n; from = weakarray_batch_end(slots, from)) {
		uint64_t keys = weakarray_dead_of_batch(slots, from);
		uint64_t suspects = strict ? UINT64_MAX >> (WEAKARRAY_BATCH - (weakarray_batch_end(slots, from) - from)) : keys;
		for (; suspects != 0; suspects &= suspects - 1) {
			int k = __builtin_ctzll(suspects);
			uint32_t i = from + (uint32_t)k;
			uintptr_t raw = raw_at(slots, i);
			if (!slots_is_value(raw) || !pair_dies(slots, i, raw, (keys >> k & 1) != 0, strict, tally))
				continue;
			atomic_store_explicit(slots_word(slots, i, slots->value), SLOTS_VACANT, memory_order_relaxed);
			atomic_store_explicit(slots_word(slots, i, slots->payload), 0, memory_order_relaxed);
			dead++;
		}
	}
	return dead;
}

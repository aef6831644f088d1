/* SPDX-License-Identifier: MIT */
/*
 * weakarray_pairs: arrays of pairs in a collection: the closure, which keeps alive what ephemerons keep alive, and then the clearing.
 * slots.h says what the weaknesses mean.
 *
 * The closure is linear in slots and in what it marks. First every array that is marked is looked at, by several threads, who mark nothing:
 * a pair whose key is marked is done with where its payload is, or is a number; most are, and cost a look at one or two mark bits. Else the
 * payload is noted as ready to be marked. A pair whose key is not marked waits: a node is noted for it, which says what to mark when the
 * key is. An array that is not marked waits likewise. Then what is ready is marked by one thread, the nodes are linked into an index by the
 * block that they wait for, and marking runs; each block that it reaches and that was waited for is looked up there, and wakes those that
 * waited for it. A chain of a million pairs, each one's payload leading to the next one's key, costs a million look-ups.
 *
 * A block that is marked between the noting of a node and its linking is not looked up in time; so linking asks whether it was
 * (marking_await_stw). Linked nodes are found, whenever their block is reached, in each run until the clearing (marking_watch_stw).
 *
 * The index keeps neighbours of a page together, pages apart: keys are mostly made one after the other, and so looked up. Nodes are noted
 * in the order of slots, which in a hash table is none; many are brought into the order of the index before they are linked, and no look-up
 * goes to the slots again. Following a chain waits for each link's memory in turn: this is what it costs. So nodes are small, and links are
 * apart from them.
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
/* What a thread finds before it hands it on. */
#define FINDS (CHECKS ? 4 : 128)
/* Blocks marked before what they lead to is, and arrays fetched from memory before they are looked at. */
#define BATCH 512
#define AHEAD 4

struct node {
	/* The block that is waited for. */
	const void *block;
	/* The block to mark then; or, where the block is an array to walk, its entry's number, twice and 1. */
	uintptr_t wakes;
};

struct weakarray_registry weakarray_pairs;

static struct node *nodes, *spare;
static uint32_t *heads; /* 1 + the first node of each bucket */
static uint32_t *nexts; /* 1 + the node behind each, in its bucket: in the memory of `spare`, which is needed before there are any */
static size_t nodes_needed, nodes_capacity, spare_capacity, heads_capacity;
/* In nodes; at the beginning of spare's memory, of payloads that are ready; and nodes that arrays may need which wait themselves. */
static _Atomic size_t noted, ready, late;
static size_t linked, woken;
static _Atomic size_t jumps; /* nodes that are for a page far from the one before */
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
	size_t used = noted > ready ? noted : ready;

	marking_settle_locked();
	if (used > KEEP_NODES) {
		heap_reserve_forget(nodes, noted * sizeof *nodes);
		heap_reserve_forget(spare, used * sizeof *spare);
		heap_reserve_forget(heads, (mask + 1) * sizeof *heads);
	}
	noted = ready = 0;
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

/* ---- the look at an array ---- */

/* What one thread has found, until it is handed on. It is on a stack that may be scanned in the next collection, so nothing stays in it. */
struct finds {
	struct node waiting[FINDS];
	uintptr_t ready[FINDS]; /* payloads to mark */
	unsigned n_waiting, n_ready;
	size_t found; /* that wait */
	size_t late;
	size_t jumps;
	uintptr_t last_page;
};

/* For all threads, before there is an index; after that nexts has the memory, and one thread marks at once. */
static void hand_on(struct finds *finds)
{
	size_t at = atomic_fetch_add_explicit(&noted, finds->n_waiting, memory_order_relaxed);

	ASSERT(at + finds->n_waiting <= nodes_capacity);
	memcpy(&nodes[at], finds->waiting, finds->n_waiting * sizeof *nodes);
	base_forget(finds->waiting, finds->n_waiting * sizeof *nodes);
	finds->n_waiting = 0;
	if (nexts != NULL) {
		for (unsigned i = 0; i < finds->n_ready; i++)
			marking_mark_found_stw((const void *)finds->ready[i]);
	} else {
		at = atomic_fetch_add_explicit(&ready, finds->n_ready, memory_order_relaxed);
		memcpy((uintptr_t *)spare + at, finds->ready, finds->n_ready * sizeof *finds->ready);
	}
	base_forget(finds->ready, finds->n_ready * sizeof *finds->ready);
	finds->n_ready = 0;
}

static void finds_begin(struct finds *finds)
{
	finds->n_waiting = finds->n_ready = 0;
	finds->found = finds->late = finds->jumps = finds->last_page = 0;
}

static void note(struct finds *finds, const void *block, uintptr_t wakes)
{
	uintptr_t page = (uintptr_t)block >> PAGE_SHIFT;

	finds->jumps += page - finds->last_page > 1;
	finds->last_page = page;
	finds->found++;
	finds->waiting[finds->n_waiting++] = (struct node){block, wakes};
	if (unlikely(finds->n_waiting == FINDS))
		hand_on(finds);
}

static void note_ready(struct finds *finds, const void *block)
{
	finds->ready[finds->n_ready++] = (uintptr_t)block;
	if (unlikely(finds->n_ready == FINDS))
		hand_on(finds);
}

/* A slot in use, whose key was marked or not: finds what its pair keeps alive by now, or may come to keep. False where it goes, for all that
 * is known. */
static bool judge(struct slots *slots, uint32_t i, bool dies, struct finds *finds)
{
	const uintptr_t raw = raw_at(slots, i);
	const enum slots_payload kind = slots_payload_kind_of(slots, i, raw);
	const void *payload = kind == SLOTS_PAYLOAD_NUMBER ? NULL : payload_block(slots, i, kind);

	if (payload == NULL)
		return !dies;
	if (!dies) {
		if (!weakarray_alive(payload))
			note_ready(finds, payload);
		return true;
	}
	const void *key = weakarray_block_of(raw);
	if (key == NULL)
		return false;
	if (slots->weakness == SLOTS_WEAK_EITHER) {
		if (weakarray_alive(payload)) {
			note_ready(finds, key);
			return true;
		}
		note(finds, payload, (uintptr_t)key);
	}
	note(finds, key, (uintptr_t)payload);
	return true;
}

/* Whether the array has an owner that may be dead. */
static bool owner_waits(struct slots *slots)
{
	uintptr_t owner = atomic_load_explicit(&slots->owner, memory_order_relaxed);

	return owner != 0 && !weakarray_alive(heap_base((const void *)owner));
}

/* An array that is alive. In `clean` is whether none of its pairs goes but those that wait, nor its owner. */
static void look(struct weakarray_entry *entry, struct finds *finds)
{
	struct slots *slots = entry->slots;
	size_t before = finds->found;
	bool clean = !owner_waits(slots);

	for (uint32_t from = 0; from < slots->n; from = weakarray_batch_end(slots, from)) {
		uint64_t values, dead = weakarray_dead_of_batch(slots, from, &values);
		for (; values != 0; values &= values - 1) {
			int k = __builtin_ctzll(values);
			clean &= judge(slots, from + (uint32_t)k, (dead >> k & 1) != 0, finds);
		}
	}
	entry->clean = clean;
	entry->waits = finds->found != before;
}

/* Small arrays are many, and each is somewhere else. */
static void fetch(size_t k)
{
	if (k >= weakarray_pairs.count)
		return;
	__builtin_prefetch(weakarray_pairs.at[k].slots);
	__builtin_prefetch(weakarray_pairs.at[k].slots->words);
}

static void look_at_piece(size_t piece, struct cycle_tally *tally)
{
	size_t n = weakarray_piece(&weakarray_pairs), end = (piece + 1) * n;
	struct finds finds;

	(void)tally;
	finds_begin(&finds);
	for (size_t k = piece * n; k < end && k < weakarray_pairs.count; k++) {
		struct weakarray_entry *entry = &weakarray_pairs.at[k];
		size_t needs = nodes_of(entry->n, entry->weakness);
		fetch(k + AHEAD);
		entry->clean = entry->waits = false;
		if (needs == 0)
			continue;
		if (weakarray_alive(entry->slots)) {
			look(entry, &finds);
			continue;
		}
		note(&finds, entry->slots, k << 1 | WALK);
		finds.late += needs;
	}
	hand_on(&finds);
	atomic_fetch_add_explicit(&jumps, finds.jumps, memory_order_relaxed);
	atomic_fetch_add_explicit(&late, finds.late, memory_order_relaxed);
}

/* In the closure: an array that has turned out to be alive. */
static void look_late(struct weakarray_entry *entry)
{
	struct finds finds;

	finds_begin(&finds);
	look(entry, &finds);
	hand_on(&finds);
}

/* ---- the index ---- */

/* 256 buckets to a page, one for each granule of it, beginning anywhere. */
static uint32_t *bucket_of(const void *block)
{
	uintptr_t address = (uintptr_t)block;

	return &heads[((size_t)(base_spread(address >> PAGE_SHIFT) >> 32) + (address >> GRANULE_SHIFT & 255)) & mask];
}

static void wake(const struct node *node)
{
	woken++;
	if (unlikely((node->wakes & WALK) != 0))
		look_late(&weakarray_pairs.at[node->wakes >> 1]);
	else
		marking_mark_stw((const void *)node->wakes);
}

static void link_noted(void)
{
	for (; linked < noted; linked++) {
		struct node *node = &nodes[linked];
		if (!marking_await_stw(node->block)) {
			wake(node);
			continue;
		}
		uint32_t *head = bucket_of(node->block);
		nexts[linked] = *head;
		*head = (uint32_t)linked + 1;
	}
}

static void reached(const void *block)
{
	for (uint32_t *at = bucket_of(block); *at != 0;) {
		const struct node *node = &nodes[*at - 1];
		uint32_t *next = &nexts[*at - 1];
		if (node->block != block) {
			at = next;
			continue;
		}
		*at = *next;
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
	heads_clear();
	if (noted >= SORT_NODES && jumps >= noted / IN_ORDER) {
		sort_noted();
		heads_clear();
	}
	nexts = (uint32_t *)spare;
}

/* What some payloads lead to is marked while their mark bits are in the cache. Nothing is looked up in the index yet: linking will. */
static void mark_ready(void)
{
	const uintptr_t *payloads = (const uintptr_t *)spare;

	for (size_t i = 0; i < ready; i++) {
		marking_mark_found_stw((const void *)payloads[i]);
		if (marking_waiting_stw() >= BATCH)
			marking_run_stw();
	}
}

void weakarray_close_stw(void)
{
	noted = ready = late = jumps = linked = woken = 0;
	nexts = NULL;
	cycle_pieces_stw(look_at_piece, weakarray_pieces(&weakarray_pairs), weakarray_pairs.slots);
	mark_ready();
	if (noted > 0) {
		index_open(noted + late);
		marking_watch_stw(reached);
		link_noted();
	}
	marking_run_stw();
}

bool weakarray_pairs_all_woken_stw(void)
{
	return woken == noted;
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
		uint64_t values, keys = weakarray_dead_of_batch(slots, from, &values);
		uint64_t suspects = strict ? values : keys;
		for (; suspects != 0; suspects &= suspects - 1) {
			int k = __builtin_ctzll(suspects);
			uint32_t i = from + (uint32_t)k;
			uintptr_t raw = raw_at(slots, i);
			if (!pair_dies(slots, i, raw, (keys >> k & 1) != 0, strict, tally))
				continue;
			atomic_store_explicit(slots_word(slots, i, slots->value), SLOTS_VACANT, memory_order_relaxed);
			atomic_store_explicit(slots_word(slots, i, slots->payload), 0, memory_order_relaxed);
			dead++;
		}
	}
	return dead;
}

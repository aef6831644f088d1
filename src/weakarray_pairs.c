/* SPDX-License-Identifier: MIT */
/*
 * weakarray_pairs: arrays of pairs in a collection: the closure, which keeps alive what ephemerons keep alive, and then the clearing.
 * slots.h says what the weaknesses mean.
 *
 * The closure is linear in slots and in what it marks. First every array that is marked is looked at, by several threads, who mark nothing:
 * a pair whose key is marked is done with where its payload is, or is a number; most are, and cost a look at one or two mark bits. Else the
 * payload is noted as ready to be marked. A pair whose key is not marked waits: a node is noted for it, which says what to mark when the
 * key is. An array that is not marked waits likewise. Then the nodes are linked into an index by the block that they wait for, what is ready
 * is marked by one thread, and marking runs; each block that it reaches and that was waited for is looked up there, and wakes those that
 * waited for it. A chain of a million pairs, each one's payload leading to the next one's key, costs a million look-ups.
 *
 * What an array waits for that turned out to be alive later may be marked by then, and is not looked up any more; so linking asks
 * whether it is (marking_await_stw). Linked nodes are found, whenever their block is reached, in each run until the clearing
 * (marking_watch_stw).
 *
 * The index keeps neighbours of a page together, pages apart: keys are mostly made one after the other, and so looked up. Nodes are noted
 * in the order of slots, which in a hash table is none; many are brought into the order of the index first, so that no look-up goes far, nor
 * to the slots again. The index has parts for that, and a page is in one of them only: nodes are moved to their parts, and then each part,
 * which fits into the cache, is put in order and linked. Several threads do both. Following a chain waits for each link's memory in turn:
 * this is what it costs. So nodes are small, and links are apart from them.
 *
 * Invariants
 *  1. nodes_needed is the sum of nodes_of over all registered arrays of pairs, and one each; room.capacity, a power of two, is no less.
 *  2. Nodes before `linked` are in the index, or were woken; those behind are in neither.
 *  3. When the closure is done: a marked EPHEMERON array has no slot with a marked key and an unmarked payload, and a marked EITHER array
 *     none with one side marked only (a payload that is a number is no side).
 *
 * Locks: libgc's. Deliberately not here: anything that waits from one collection to the next; only memory does.
 */
#include "marking.h"
#include "weakarray_impl.h"

#include <string.h>

#define WALK ((uintptr_t)1)
/* What stays in use from one collection to the next is a multiple of so many, of each array whole pages. */
#define KEEP_NODES ((size_t)16384)
/* As many nodes as stay in the cache in any order. */
#define SORT_NODES ((size_t)(CHECKS ? 8 : 8192))
/* So many nodes to one that is for a page far from the one before, at least: then they are in order as they are. */
#define IN_ORDER 8
/* A part of the index: so small that it and its nodes stay in the cache; unless there were too many of them to be written to by turns. */
#define PART_BUCKETS ((size_t)(CHECKS ? 64 : 4096))
#define PARTS 512
/* Nodes that one thread takes at a time. */
#define SHARE ((size_t)(CHECKS ? 64 : 8192))
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

/* Room for `capacity` of each, in one piece of memory. What it holds is of one collection only. */
static struct {
	struct node *nodes;
	struct node *unsorted; /* where nodes are on their way into the order of the index */
	uintptr_t *ready;      /* payloads to mark */
	uint32_t *heads;       /* 1 + the first node of each bucket */
	uint32_t *nexts;       /* 1 + the node behind each, in its bucket */
	size_t capacity;
	size_t touched, ready_touched; /* of each, since they were given back */
} room;

static size_t nodes_needed;
/* In nodes and in ready; and nodes that arrays may need which wait themselves. */
static _Atomic size_t noted, ready, late;
static _Atomic size_t jumps; /* nodes that are for a page far from the one before */
static size_t linked, woken;
static bool linking;  /* or several threads look */
static size_t mask;   /* of buckets, */
static size_t within; /* of those of a part */
static unsigned part_shift;

/* By part: how many nodes it has; then where its next one goes, and so in the end where the next part's begin. */
static _Atomic uint32_t ends[PARTS];

/* ---- memory ---- */

/* How many nodes the slots of an array may need. */
static size_t nodes_of(uint32_t n, uint16_t weakness)
{
	return weakness == SLOTS_WEAK_EPHEMERON ? n : weakness == SLOTS_WEAK_EITHER ? (size_t)n * 2 : 0;
}

#define ROOM_BYTES (2 * sizeof(struct node) + sizeof(uintptr_t) + 2 * sizeof(uint32_t))

static bool room_for(size_t needed)
{
	size_t capacity = room.capacity == 0 ? 1024 : room.capacity;

	if (needed <= room.capacity)
		return true;
	while (capacity < needed)
		capacity *= 2;
	void *memory = heap_registry_grow(NULL, 0, capacity * ROOM_BYTES);
	if (memory == NULL)
		return false;
	heap_registry_free(room.nodes, room.capacity * ROOM_BYTES);
	room.nodes = memory;
	room.unsorted = room.nodes + capacity;
	room.ready = (uintptr_t *)(room.unsorted + capacity);
	room.heads = (uint32_t *)(room.ready + capacity);
	room.nexts = room.heads + capacity;
	room.capacity = capacity;
	room.touched = room.ready_touched = 0;
	return true;
}

bool weakarray_pairs_add_locked(const struct weakarray_entry *entry)
{
	size_t needed = nodes_needed + nodes_of(entry->n, entry->weakness) + 1;

	if (needed >= UINT32_MAX || !room_for(needed))
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

/* How many elements stay for the next collection when one used so many. */
static size_t kept(size_t used)
{
	size_t keep = (used / KEEP_NODES + 1) * KEEP_NODES;

	return keep < room.capacity ? keep : room.capacity;
}

static void give_back(void *array, size_t size, size_t keep, size_t touched)
{
	if (touched > keep)
		heap_reserve_forget((char *)array + keep * size, (touched - keep) * size);
}

/* What a collection used stays for the next: memory that the system gives anew, page by page, takes as long as what is done with it. */
void weakarray_pairs_settle_locked(void)
{
	size_t keep = kept(noted > 0 ? mask + 1 : 0), keep_ready = kept(ready);

	marking_settle_locked();
	give_back(room.nodes, sizeof *room.nodes, keep, room.touched);
	give_back(room.unsorted, sizeof *room.unsorted, keep, room.touched);
	give_back(room.heads, sizeof *room.heads, keep, room.touched);
	give_back(room.nexts, sizeof *room.nexts, keep, room.touched);
	give_back(room.ready, sizeof *room.ready, keep_ready, room.ready_touched);
	room.touched = keep;
	room.ready_touched = keep_ready;
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

/* For all threads while they look; after that one thread marks at once. */
static void hand_on(struct finds *finds)
{
	size_t at = atomic_fetch_add_explicit(&noted, finds->n_waiting, memory_order_relaxed);

	ASSERT(at + finds->n_waiting <= room.capacity);
	memcpy(&room.nodes[at], finds->waiting, finds->n_waiting * sizeof *finds->waiting);
	base_forget(finds->waiting, finds->n_waiting * sizeof *finds->waiting);
	finds->n_waiting = 0;
	if (linking) {
		for (unsigned i = 0; i < finds->n_ready; i++)
			marking_mark_found_stw((const void *)finds->ready[i]);
	} else {
		at = atomic_fetch_add_explicit(&ready, finds->n_ready, memory_order_relaxed);
		memcpy(&room.ready[at], finds->ready, finds->n_ready * sizeof *finds->ready);
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

/* The slots of a batch of which the key alone does not tell all: the others' payloads are numbers. */
static uint64_t with_payload(const struct slots *slots, const struct weakarray_batch *batch)
{
	return slots->payload == 0 ? batch->payloads : batch->values;
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
		struct weakarray_batch batch = weakarray_look_at_batch(slots, from);
		uint64_t pairs = with_payload(slots, &batch);
		clean &= (batch.dead & ~pairs) == 0;
		for (; pairs != 0; pairs &= pairs - 1) {
			int k = __builtin_ctzll(pairs);
			clean &= judge(slots, from + (uint32_t)k, (batch.dead >> k & 1) != 0, finds);
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

static size_t spread_of(uintptr_t address)
{
	return (size_t)(base_spread(address >> PAGE_SHIFT) >> 32) & mask;
}

static size_t part_of(const void *block)
{
	return spread_of((uintptr_t)block) >> part_shift;
}

/* A page is in one part, and has 256 buckets there, one for each granule of it, beginning anywhere. */
static size_t bucket_of(const void *block)
{
	uintptr_t address = (uintptr_t)block;
	size_t first = spread_of(address);

	return (first & ~within) | ((first + (address >> GRANULE_SHIFT & 255)) & within);
}

static void wake(const struct node *node)
{
	woken++;
	if (unlikely((node->wakes & WALK) != 0))
		look_late(&weakarray_pairs.at[node->wakes >> 1]);
	else
		marking_mark_stw((const void *)node->wakes);
}

static void link_node(size_t i)
{
	uint32_t *head = &room.heads[bucket_of(room.nodes[i].block)];

	room.nexts[i] = *head;
	*head = (uint32_t)i + 1;
}

static void link_noted(void)
{
	for (; linked < noted; linked++)
		if (marking_await_stw(room.nodes[linked].block))
			link_node(linked);
		else
			wake(&room.nodes[linked]);
}

static void reached(const void *block)
{
	for (uint32_t *at = &room.heads[bucket_of(block)]; *at != 0;) {
		const struct node *node = &room.nodes[*at - 1];
		uint32_t *next = &room.nexts[*at - 1];
		if (node->block != block) {
			at = next;
			continue;
		}
		*at = *next;
		wake(node);
	}
	link_noted();
}

/* Room for n nodes, empty. */
static void index_open(size_t n)
{
	size_t buckets = 256, part = PART_BUCKETS;

	while (buckets < n)
		buckets *= 2;
	ASSERT(buckets <= room.capacity);
	while (buckets / part > PARTS)
		part *= 2;
	if (part > buckets)
		part = buckets;
	mask = buckets - 1;
	within = part - 1;
	part_shift = (unsigned)__builtin_ctzll(part);
}

/* ---- many nodes: into the order of the index, part by part, by several threads ---- */

static size_t share_end(size_t share)
{
	return (share + 1) * SHARE < noted ? (share + 1) * SHARE : noted;
}

/* How many nodes of a share each part has. */
static void count_share(size_t share, uint32_t *counts)
{
	memset(counts, 0, PARTS * sizeof *counts);
	for (size_t i = share * SHARE; i < share_end(share); i++)
		counts[part_of(room.nodes[i].block)]++;
}

static void take_count(size_t share, struct cycle_tally *tally)
{
	uint32_t counts[PARTS];

	(void)tally;
	count_share(share, counts);
	for (size_t part = 0; part <= mask >> part_shift; part++)
		if (counts[part] != 0)
			atomic_fetch_add_explicit(&ends[part], counts[part], memory_order_relaxed);
}

static void take_move(size_t share, struct cycle_tally *tally)
{
	uint32_t places[PARTS];

	(void)tally;
	count_share(share, places);
	for (size_t part = 0; part <= mask >> part_shift; part++)
		if (places[part] != 0)
			places[part] = atomic_fetch_add_explicit(&ends[part], places[part], memory_order_relaxed);
	for (size_t i = share * SHARE; i < share_end(share); i++)
		room.unsorted[places[part_of(room.nodes[i].block)]++] = room.nodes[i];
}

/* Nobody else has nodes for the pages of this part. Nothing has been marked since they were noted. */
static void take_part(size_t part, struct cycle_tally *tally)
{
	uint32_t *heads = &room.heads[part << part_shift];
	size_t from = part == 0 ? 0 : ends[part - 1], to = ends[part];
	uint32_t before = (uint32_t)from;

	(void)tally;
	memset(heads, 0, (within + 1) * sizeof *heads);
	for (size_t i = from; i < to; i++)
		heads[bucket_of(room.unsorted[i].block) & within]++;
	for (size_t b = 0; b <= within; b++) {
		uint32_t here = heads[b];
		heads[b] = before;
		before += here;
	}
	for (size_t i = from; i < to; i++)
		room.nodes[heads[bucket_of(room.unsorted[i].block) & within]++] = room.unsorted[i];
	memset(heads, 0, (within + 1) * sizeof *heads);
	for (size_t i = from; i < to; i++) {
		bool waits = marking_await_stw(room.nodes[i].block);
		ASSERT(waits);
		link_node(i);
	}
}

static void link_sorted(void)
{
	size_t shares = (noted + SHARE - 1) / SHARE, parts = (mask >> part_shift) + 1;
	uint32_t before = 0;

	for (size_t part = 0; part < parts; part++)
		ends[part] = 0;
	cycle_pieces_stw(take_count, shares, noted);
	for (size_t part = 0; part < parts; part++) {
		uint32_t here = ends[part];
		ends[part] = before;
		before += here;
	}
	cycle_pieces_stw(take_move, shares, noted);
	cycle_pieces_stw(take_part, parts, noted);
	linked = noted;
}

/* All that was noted until now, while nothing is marked yet. */
static void index_make(void)
{
	index_open(noted + late);
	if (noted >= SORT_NODES && jumps >= noted / IN_ORDER) {
		link_sorted();
		return;
	}
	memset(room.heads, 0, (mask + 1) * sizeof *room.heads);
	link_noted();
}

/* What some payloads lead to is marked while their mark bits are in the cache. */
static void mark_ready(void)
{
	for (size_t i = 0; i < ready; i++) {
		marking_mark_found_stw((const void *)room.ready[i]);
		if (marking_waiting_stw() >= BATCH)
			marking_run_stw();
	}
}

void weakarray_close_stw(void)
{
	noted = ready = late = jumps = linked = woken = 0;
	linking = false;
	cycle_pieces_stw(look_at_piece, weakarray_pieces(&weakarray_pairs), weakarray_pairs.slots);
	linking = true;
	if (noted > 0) {
		index_make();
		marking_watch_stw(reached);
	}
	mark_ready();
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
		struct weakarray_batch batch = weakarray_look_at_batch(slots, from);
		uint64_t suspects = strict ? batch.dead | with_payload(slots, &batch) : batch.dead;
		for (; suspects != 0; suspects &= suspects - 1) {
			int k = __builtin_ctzll(suspects);
			uint32_t i = from + (uint32_t)k;
			uintptr_t raw = raw_at(slots, i);
			if (!pair_dies(slots, i, raw, (batch.dead >> k & 1) != 0, strict, tally))
				continue;
			atomic_store_explicit(slots_word(slots, i, slots->value), SLOTS_VACANT, memory_order_relaxed);
			atomic_store_explicit(slots_word(slots, i, slots->payload), 0, memory_order_relaxed);
			dead++;
		}
	}
	return dead;
}

/* SPDX-License-Identifier: MIT */
/*
 * finals: see finals.h.
 *
 * The registry holds all chunks that have something LIVE or DUE, or a slot that may yet be filled, in order, strongly: with each chunk its
 * arguments. A chunk that has nothing of these leaves it with the next scan, also the open one, which is closed by that; from there on
 * handles keep it. A thread that was stopped before it claimed a slot of a closed chunk finds that it came too late. One that has claimed is
 * waited for: its slot has no function yet. (Who never comes back, since a signal handler took him out of it by longjmp, leaves a chunk in the
 * registry for good.)
 *
 * The queue is linked through the words of the DUE slots, which are not scanned: the registry keeps them. What is found in one collection goes
 * behind what is there, the newest first. It is numbered together with callbacks of references (deliver.h), by whoever scans those.
 *
 * After a fork both processes have all chunks. Those of the parent stay as they are until the child has reason to change one: it adopts it
 * then. What the parent has due the child drops, as it pops it.
 *
 * Invariants
 *  1. Numbers rise along the registry. The open chunk, if there is one, is the last, and of this process.
 *  2. `due` of a chunk is the number of its slots whose word has FINALS_DUE.
 *  3. Each DUE slot is in the queue once, or is ordered and has its node in that of deliver.c.
 *  4. Each slot of a registered chunk has its word in cycle_words.
 *
 * Locks: libgc's, for registry and queue.
 */
#include "finals.h"

#include "checks.h"
#include "crew.h"
#include "cycle.h"
#include "garbage.h"

_Atomic(struct finals *) finals_open;
_Atomic bool finals_over;

/* The registry: a block that is a root. */
static struct finals **chunks;
static size_t count, capacity;
static uint64_t numbers;    /* chunks that were ever opened */
static _Atomic bool some_ordered; /* some were ever made */

/* Slots by one word, 0 for none: the chunk's address without its four low bits, which are 0, and 6 bits of the index. */
#define INDEX_BITS 6
_Static_assert(FINALS_SLOTS <= 1 << INDEX_BITS && sizeof(struct finals) < 1024, "an index has so many bits; four chunks are a page");

struct queue {
	uintptr_t first, last;
};

static struct queue due, found; /* what is queued, and what is to be */
static size_t found_count;

/* ---- slots ---- */

static uintptr_t link_to(const struct finals *in, unsigned i)
{
	return ((uintptr_t)in >> 4) << INDEX_BITS | i;
}

static struct finals_slot slot_at(uintptr_t link)
{
	return (struct finals_slot){(struct finals *)(link >> INDEX_BITS << 4), (unsigned)(link % (1 << INDEX_BITS))};
}

static uintptr_t next_of(uintptr_t link)
{
	return finals_word(slot_at(link)) & (FINALS_DUE - 1);
}

static uint64_t order_of(struct finals_slot slot)
{
	return slot.in->number * FINALS_SLOTS + slot.i;
}

static void word_set(struct finals_slot slot, uintptr_t word)
{
	atomic_store_explicit(&slot.in->object[slot.i], word, memory_order_release);
}

static bool is_filled(const struct finals *in, unsigned i)
{
	return atomic_load_explicit(&in->fn[i], memory_order_acquire) != 0;
}

static bool is_ordered(struct finals_slot slot)
{
	return (atomic_load_explicit(&slot.in->ordered, memory_order_relaxed) >> slot.i & 1) != 0;
}

bool finals_slot_of(const weakref_finalize *handle, struct finals_slot *slot)
{
	const char *base = handle == NULL ? NULL : heap_base(handle);

	if (base == NULL || heap_kind_of(base) != HEAP_FINALS)
		return false;
	size_t at = (size_t)((const char *)handle - base);
	*slot = (struct finals_slot){(struct finals *)base, (unsigned)(at / sizeof(void *))};
	return at % sizeof(void *) == 0 && slot->i < FINALS_SLOTS && is_filled(slot->in, slot->i);
}

struct finals_ordered *finals_ordered(struct finals_slot slot)
{
	return is_ordered(slot) ? __atomic_load_n(&slot.in->args[slot.i], __ATOMIC_RELAXED) : NULL;
}

static void read_slot(struct finals_slot slot, struct finals_taken *taken)
{
	struct finals_ordered *ordered = finals_ordered(slot);

	taken->handle = finals_handle(slot);
	taken->fn = atomic_load_explicit(&slot.in->functions[slot.in->fn[slot.i] - 1], memory_order_relaxed);
	taken->args = ordered != NULL ? ordered->args : __atomic_load_n(&slot.in->args[slot.i], __ATOMIC_RELAXED);
}

/* By who has made it DEAD, or dropped it. */
static void empty_slot(struct finals_slot slot, struct finals_taken *taken)
{
	struct finals_ordered *ordered = finals_ordered(slot);

	read_slot(slot, taken);
	if (ordered != NULL)
		ordered->args = NULL;
	__atomic_store_n(&slot.in->args[slot.i], NULL, __ATOMIC_RELAXED);
}

/* Where the word is still that of the LIVE one the object was not found dead before it was held. */
bool finals_take(struct finals_slot slot, struct finals_taken *taken)
{
	uintptr_t word;

	do {
		taken->obj = epoch_load(&slot.in->object[slot.i], &word);
		if (!finals_is_live(word))
			return false;
	} while (!atomic_compare_exchange_strong(&slot.in->object[slot.i], &word, 0));
	empty_slot(slot, taken);
	return true;
}

bool finals_peek(struct finals_slot slot, struct finals_taken *taken)
{
	uintptr_t word;

	taken->obj = epoch_load(&slot.in->object[slot.i], &word);
	if (!finals_is_live(word))
		return false;
	read_slot(slot, taken);
	/* Else what was read is nobody's. */
	return finals_is_live(finals_word(slot));
}

void finals_tag(struct finals_slot slot, uintptr_t set, uintptr_t clear)
{
	uintptr_t word = finals_word(slot);

	while (finals_is_live(word) && !atomic_compare_exchange_weak(&slot.in->object[slot.i], &word, (word | set) & ~clear))
		;
}

/* ---- making ---- */

NOINLINE unsigned finals_place_slowly(struct finals *in, weakref_finalize_fn fn)
{
	for (unsigned k = 0; k < FINALS_FUNCTIONS; k++) {
		weakref_finalize_fn there = NULL;
		if (atomic_compare_exchange_strong(&in->functions[k], &there, fn) || there == fn)
			return k + 1;
	}
	return 0;
}

struct opening {
	weakref_finalize_fn fn;
	struct finals *fresh;
	size_t capacity; /* where there was no room */
};

static void *open_locked(void *arg)
{
	struct opening *opening = arg;
	struct finals *in = atomic_load_explicit(&finals_open, memory_order_relaxed);

	/* Somebody else was faster. */
	if (in != NULL && atomic_load_explicit(&in->claimed, memory_order_relaxed) < FINALS_SLOTS && finals_place(in, opening->fn) != 0)
		return in;
	opening->capacity = capacity;
	if (count == capacity)
		return NULL;
	in = opening->fresh;
	in->number = numbers++;
	in->process = deliver_process;
	chunks[count++] = in;
	cycle_words_add_locked(FINALS_SLOTS);
	atomic_store_explicit(&finals_open, in, memory_order_release);
	return in;
}

struct growth {
	struct finals **bigger;
	size_t from, to;
};

/* Gives what is to be freed. */
static void *grow_locked(void *arg)
{
	const struct growth *growth = arg;
	struct finals **old = chunks;

	if (capacity != growth->from)
		return growth->bigger;
	for (size_t i = 0; i < count; i++)
		growth->bigger[i] = old[i];
	chunks = growth->bigger;
	capacity = growth->to;
	return old;
}

static bool registry_grow(size_t from)
{
	struct growth growth = {.from = from, .to = from == 0 ? 64 : 2 * from};

	growth.bigger = checks_allocation_fails() ? NULL : cycle_roots_new(growth.to * sizeof(struct finals *));
	if (growth.bigger == NULL)
		return false;
	void *old = heap_with_lock(grow_locked, &growth);
	if (old != NULL)
		cycle_roots_free(old);
	return true;
}

NOINLINE struct finals_claim finals_claim_slowly(weakref_finalize_fn fn)
{
	struct finals_claim claim;

	do {
		struct opening opening = {.fn = fn, .fresh = heap_alloc_kind(HEAP_FINALS, sizeof *claim.in)};
		if (opening.fresh == NULL)
			return (struct finals_claim){0};
		while ((claim.in = heap_with_lock(open_locked, &opening)) == NULL)
			if (!registry_grow(opening.capacity))
				return (struct finals_claim){.in = base_null(WEAKREF_ENOMEM)};
		/* The number is a hint: it is read without the lock. */
		crew_make(__atomic_load_n(&count, __ATOMIC_RELAXED) * FINALS_SLOTS);
		claim.fn = finals_place(claim.in, fn);
		claim.i = claim.fn == 0 ? FINALS_SLOTS : atomic_fetch_add_explicit(&claim.in->claimed, 1, memory_order_relaxed);
	} while (claim.i >= FINALS_SLOTS);
	return claim;
}

void finals_set_ordered(const struct finals_claim *claim, struct finals_ordered *ordered)
{
	ordered->handle = finals_handle((struct finals_slot){claim->in, claim->i});
	atomic_store(&some_ordered, true);
	atomic_fetch_or(&claim->in->ordered, UINT64_C(1) << claim->i);
}

static unsigned claimed_of(const struct finals *in)
{
	uint32_t claimed = atomic_load_explicit(&in->claimed, memory_order_relaxed);

	return claimed < FINALS_SLOTS ? claimed : FINALS_SLOTS;
}

uint64_t finals_made(void)
{
	const struct finals *in = atomic_load_explicit(&finals_open, memory_order_acquire);

	return in != NULL ? in->number * FINALS_SLOTS + claimed_of(in) : numbers * FINALS_SLOTS;
}

/* ---- taking what is due ---- */

/* After a fork both processes have it: it is owed by who finds it dead. */
static bool make_due_locked(struct finals_slot slot, uintptr_t next)
{
	uintptr_t word = finals_word(slot);

	if (slot.in->process != deliver_process)
		finals_adopt_locked(slot.in);
	do
		if (!finals_is_live(word))
			return false;
	while (!atomic_compare_exchange_weak(&slot.in->object[slot.i], &word, FINALS_DUE | next));
	slot.in->due++;
	return true;
}

bool finals_make_due_locked(struct finals_slot slot)
{
	return make_due_locked(slot, 0);
}

bool finals_take_due_locked(struct finals_slot slot, struct finals_taken *taken)
{
	uintptr_t word = finals_word(slot);

	if ((word & FINALS_DUE) == 0)
		return false;
	word_set(slot, 0);
	slot.in->due--;
	empty_slot(slot, taken);
	return (word & FINALS_TAKEN) == 0 && slot.in->process == deliver_process;
}

bool finals_take_at_exit_locked(struct finals_slot slot, struct finals_taken *taken)
{
	uintptr_t word = finals_word(slot);

	if (slot.in->process != deliver_process || (word & (FINALS_DUE | FINALS_TAKEN)) == (FINALS_DUE | FINALS_TAKEN))
		return false;
	if ((word & FINALS_DUE) == 0)
		return (word & FINALS_QUIET) == 0 && finals_take(slot, taken);
	word_set(slot, word | FINALS_TAKEN);
	empty_slot(slot, taken);
	return true;
}

static void item_run(struct deliver_node *node)
{
	struct deliver_item *item = (struct deliver_item *)node, it = *item;

	/* Its place is not to keep the arguments when they are somebody else's. */
	*item = (struct deliver_item){0};
	if (it.fn == NULL || atomic_load(&finals_over))
		return;
	int result = it.fn(it.data);
	if (result < 0)
		deliver_failed(result, "finalizer", it.subject);
}

static void item_pop_locked(struct deliver_item *item)
{
	struct finals_slot slot = slot_at(due.first);
	struct finals_taken taken;

	ASSERT(due.first != 0);
	due.first = next_of(due.first);
	bool ours = finals_take_due_locked(slot, &taken);
	*item = (struct deliver_item){.node.run = item_run, .subject = taken.handle, .data = ours ? taken.args : NULL, .fn = ours ? taken.fn : NULL};
}

/* ---- forks ---- */

void finals_adopt_locked(struct finals *in)
{
	for (unsigned i = 0; i < FINALS_SLOTS; i++) {
		struct finals_slot slot = {in, i};
		struct finals_taken taken;
		uintptr_t word = finals_word(slot);
		if (!is_filled(in, i)) {
			/* Claimed by a thread that is not here: it has no function, however far that thread had come. */
			word_set(slot, 0);
			in->args[i] = NULL;
			atomic_store_explicit(&in->fn[i], 1, memory_order_release);
		} else if ((word & FINALS_DUE) != 0) {
			word_set(slot, word | FINALS_TAKEN);
			empty_slot(slot, &taken);
		} else
			finals_tag(slot, FINALS_QUIET, 0);
	}
	in->process = deliver_process;
}

void finals_fork_child(void)
{
	atomic_store(&finals_open, NULL);
}

/* ---- walking ---- */

/* How many chunks have numbers up to this one. */
static size_t chunks_up_to(uint64_t number)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (chunks[middle]->number <= number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool finals_older_locked(uint64_t *order, uint64_t last, struct finals_slot *slot)
{
	while (*order > last) {
		size_t n = chunks_up_to((*order - 1) / FINALS_SLOTS);
		if (n == 0)
			break;
		struct finals *in = chunks[n - 1];
		uint64_t first = in->number * FINALS_SLOTS;
		for (uint64_t i = *order - first < FINALS_SLOTS ? *order - first : FINALS_SLOTS; i-- > 0 && first + i >= last;) {
			*slot = (struct finals_slot){in, (unsigned)i};
			if (finals_word(*slot) != 0 && is_filled(in, slot->i)) {
				*order = first + i;
				return true;
			}
		}
		*order = first;
	}
	*order = last;
	return false;
}

/* ---- the scan ---- */

/* Chunks in a piece of work. */
#define PIECE 64

static const void *block_of(uintptr_t word)
{
	void *p = (void *)(word & ~EPOCH_TAG);

	return (word & FINALS_ASK) == 0 ? (char *)p - HEAP_HEADER : heap_base(p);
}

static bool block_alive_stw(uintptr_t word)
{
	const void *block = block_of(word);

	/* A foreign block may have been freed explicitly. */
	return block != NULL && cycle_alive_stw(block);
}

/* Mark bits of all slots are asked for before any is acted upon. One without a function is nobody's yet: who makes it holds its object, or
 * will never come back. */
static void look_at_chunk_stw(struct finals *in, struct cycle_tally *tally)
{
	uint64_t live = 0, dead = 0;

	for (unsigned i = 0; i < FINALS_SLOTS; i++) {
		uintptr_t word = finals_word((struct finals_slot){in, i});
		if (!finals_is_live(word) || !is_filled(in, i))
			continue;
		live |= UINT64_C(1) << i;
		dead |= (uint64_t)!block_alive_stw(word) << i;
	}
	in->live = live;
	in->dead = dead;
	for (dead &= ~atomic_load_explicit(&in->ordered, memory_order_relaxed); dead != 0; dead &= dead - 1) {
		uintptr_t word = finals_word((struct finals_slot){in, (unsigned)__builtin_ctzll(dead)});
		const void *block = block_of(word);
		cycle_dead_stw(block != NULL ? block : (void *)(word & ~EPOCH_TAG), tally);
	}
}

static void look_at_piece_stw(size_t piece, struct cycle_tally *tally)
{
	for (size_t i = piece * PIECE; i < (piece + 1) * PIECE && i < count; i++)
		look_at_chunk_stw(chunks[i], tally);
}

/* Before those that were found before it: it is newer. */
static void found_add(struct finals_slot slot)
{
	if (!make_due_locked(slot, found.first))
		return;
	found.first = link_to(slot.in, slot.i);
	if (found.last == 0)
		found.last = found.first;
	found_count++;
}

/* An ordered finalizer: libgc says when it is due, maybe only some collections after the death. */
static void mourn_stw(struct finals_slot slot, struct cycle_tally *tally)
{
	struct finals_ordered *ordered = finals_ordered(slot);

	if ((ordered->flags & FINALS_MOURNED) == 0) {
		cycle_dead_stw((const void *)~ordered->block, tally);
		if (garbage_saving)
			return;
		ordered->flags |= FINALS_MOURNED;
	}
	deliver_expect_stw(1);
}

static void bury_stw(struct finals *in, struct cycle_tally *tally)
{
	for (uint64_t dead = in->dead; dead != 0; dead &= dead - 1) {
		struct finals_slot slot = {in, (unsigned)__builtin_ctzll(dead)};
		if (is_ordered(slot))
			mourn_stw(slot, tally);
		else
			found_add(slot);
	}
}

/* Nothing of it is LIVE or DUE. */
static bool may_be_filled(const struct finals *in)
{
	unsigned filled = 0, claimed = claimed_of(in);

	for (unsigned i = 0; i < claimed; i++)
		filled += is_filled(in, i);
	return filled != claimed && in->process == deliver_process;
}

/* Whether it leaves the registry. From then on nobody may claim a slot of it. */
static bool is_over_stw(struct finals *in)
{
	if (in->live != 0 || in->due != 0 || may_be_filled(in))
		return false;
	atomic_store_explicit(&in->claimed, FINALS_SLOTS, memory_order_relaxed);
	if (atomic_load_explicit(&finals_open, memory_order_relaxed) == in)
		atomic_store_explicit(&finals_open, NULL, memory_order_relaxed);
	return true;
}

void finals_scan_stw(void)
{
	struct cycle_tally tally = {0};
	size_t kept = 0;

	cycle_pieces_stw(look_at_piece_stw, (count + PIECE - 1) / PIECE, count * FINALS_SLOTS);
	for (size_t i = 0; i < count; i++) {
		if (chunks[i]->dead != 0)
			bury_stw(chunks[i], &tally);
		if (!is_over_stw(chunks[i]))
			chunks[kept++] = chunks[i];
	}
	cycle_words_remove_locked((count - kept) * FINALS_SLOTS);
	while (count > kept)
		chunks[--count] = NULL;
	cycle_tally_stw(&tally);
}

/* Somebody took libgc's finalizer away: it is due without. */
static void settle_ordered(struct finals *in)
{
	for (uint64_t some = atomic_load_explicit(&in->ordered, memory_order_relaxed); some != 0; some &= some - 1) {
		struct finals_slot slot = {in, (unsigned)__builtin_ctzll(some)};
		const struct finals_ordered *ordered = finals_ordered(slot);
		if (ordered == NULL || !finals_is_live(finals_word(slot)) || !is_filled(in, slot.i) ||
		    cycle_survived_locked((const void *)~ordered->block))
			continue;
		found_add(slot);
	}
}

void finals_settle_locked(void)
{
	for (size_t i = 0; atomic_load(&some_ordered) && i < count; i++)
		if (atomic_load_explicit(&chunks[i]->ordered, memory_order_relaxed) != 0)
			settle_ordered(chunks[i]);
}

/* ---- the queue ---- */

bool finals_wait_stw(void)
{
	return found.first != 0;
}

void finals_queue_stw(uint64_t made)
{
	uintptr_t last = 0, next = found.first;
	size_t n = 0;

	if (made == 0) {
		last = found.last;
		next = 0;
		n = found_count;
	}
	for (; next != 0 && order_of(slot_at(next)) >= made; next = next_of(next), n++)
		last = next;
	if (n == 0)
		return;
	if (due.first == 0)
		due.first = found.first;
	else
		word_set(slot_at(due.last), finals_word(slot_at(due.last)) | found.first);
	due.last = last;
	word_set(slot_at(last), finals_word(slot_at(last)) & ~(FINALS_DUE - 1));
	found.first = next;
	found.last = next == 0 ? 0 : found.last;
	found_count -= n;
	deliver_items_stw(n);
}

/* ---- start ---- */

size_t finals_check_locked(void)
{
	size_t in_chunks = 0, in_queue = 0;

	ASSERT(found.first == 0 && found.last == 0 && found_count == 0);
	for (size_t i = 0; i < count; i++) {
		const struct finals *in = chunks[i];
		unsigned n = 0;
		ASSERT(heap_base(in) == in && heap_kind_of(in) == HEAP_FINALS && in->number < numbers);
		ASSERT(i == 0 || chunks[i - 1]->number < in->number);
		for (unsigned k = 0; k < FINALS_SLOTS; k++)
			n += (in->object[k] & FINALS_DUE) != 0 && (in->ordered >> k & 1) == 0;
		ASSERT(n <= in->due);
		in_chunks += n;
	}
	for (uintptr_t link = due.first; link != 0; link = next_of(link)) {
		in_queue += !is_ordered(slot_at(link));
		ASSERT(next_of(link) != 0 || link == due.last);
	}
	ASSERT(in_queue == in_chunks);
	return count;
}

void finals_init(void)
{
	deliver_item_pop = item_pop_locked;
}

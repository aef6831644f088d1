/* SPDX-License-Identifier: MIT */
/*
 * anchor_scan: what a collection does with references; anchor.c has the invariants.
 *
 *   scan    short registry, in order: referent unmarked: the reference reads NULL and leaves its block's list; it is queued where it has a
 *           callback and is marked itself. Reference unmarked: it leaves the list while all memory is there, and is PARKED.
 *           Long registry: unmarked references are parked likewise.
 *   settle  parked references that a finalizer revived go back into their block's list; the others are forgotten, untouched. Long
 *           references whose block is gone by now read NULL, and are queued like the short ones.
 * Callbacks are queued in the reverse order of the references' making: the newest first, in one order with the finalizers that are due
 * (finals.h).
 *
 * Locks: libgc's is held by whoever collects.
 */
#include "anchor_impl.h"

#include "cycle.h"
#include "executor.h"
#include "finals.h"

/* References to queue, in the making. */
struct chain {
	struct deliver_node *first, *last;
	bool executors; /* some are for executors */
	struct cycle_tally tally;
};

/* ---- judging ---- */

static bool block_alive_stw(const weakref_ref *ref)
{
	struct anchor_place place = anchor_place_of(ref);

	/* A foreign block may have been freed explicitly. */
	if (place.foreign && heap_base(place.block) != place.block)
		return false;
	return cycle_alive_stw(place.block);
}

static void chain_add(struct chain *chain, weakref_ref *ref)
{
	if ((ref->flags & REF_FULL) == 0 || ref->callback == NULL)
		return;
	ref->node.next = chain->first;
	chain->first = &ref->node;
	if (chain->last == NULL)
		chain->last = &ref->node;
	chain->executors |= (ref->flags & REF_EXECUTOR) != 0;
}

/* Hands those that are for executors to these, in their order, and keeps the others. */
static void chain_split(struct chain *chain)
{
	struct deliver_node *next, *node = chain->first;

	*chain = (struct chain){0};
	for (; node != NULL; node = next) {
		weakref_ref *ref = (weakref_ref *)((char *)node - offsetof(weakref_ref, node));
		next = node->next;
		if ((ref->flags & REF_EXECUTOR) != 0) {
			executor_queue_stw(((struct ref_job *)ref->data)->executor, node);
			continue;
		}
		node->next = NULL; /* not whoever comes next, and may be for an executor */
		if (chain->first == NULL)
			chain->first = node;
		else
			chain->last->next = node;
		chain->last = node;
	}
}

/* Each callback behind the finalizers that are newer. */
static void chain_queue_among_finals(const struct chain *chain)
{
	struct deliver_node *next;

	for (struct deliver_node *node = chain->first; node != NULL; node = next) {
		next = node->next;
		finals_queue_stw(node->number);
		deliver_queue_stw(node, node);
	}
	finals_queue_stw(0);
}

static void chain_queue(struct chain *chain)
{
	if (chain->executors)
		chain_split(chain);
	if (finals_wait_stw())
		chain_queue_among_finals(chain);
	else if (chain->first != NULL)
		deliver_queue_stw(chain->first, chain->last);
}

static bool is_long(const weakref_ref *ref)
{
	return (ref->flags & REF_LONG) != 0;
}

static bool is_marked(const weakref_ref *ref)
{
	return cycle_alive_stw(ref);
}

static void park(weakref_ref *ref)
{
	atomic_store_explicit(&ref->state, REF_PARKED, memory_order_relaxed);
}

static void make_dying(weakref_ref *ref)
{
	anchor_drop_referent(ref);
	atomic_store_explicit(&ref->state, REF_DYING, memory_order_relaxed);
}

/* What becomes of the entry of one reference: forgotten, kept, or kept until it is known whether the reference is revived. */
enum verdict { FORGET, KEEP, PARK };

/* Its thread is not in this process, and had not hung it in before the fork: nobody knows it. */
static enum verdict lost(weakref_ref *ref)
{
	anchor_make_dead(ref);
	return FORGET;
}

/* An unmarked reference leaves its list now, with all others like it: after reclaim its neighbours may be gone. */
static enum verdict scan_live_stw(weakref_ref *ref)
{
	if (ref->state != REF_LIVE || is_marked(ref))
		return ref->state == REF_PARKED ? PARK : KEEP;
	struct anchor_place place = anchor_place_of(ref);
	anchor_list_filter(ref, is_marked, park);
	if (ref->state == REF_LIVE)
		return lost(ref);
	/* It may come back: who makes another one meanwhile must wait, to find it. */
	if (!place.foreign && anchor_head(place) == NULL)
		atomic_store_explicit(anchor_word(place.block), anchor_emptied(atomic_load_explicit(&epoch_now, memory_order_relaxed)),
				      memory_order_relaxed);
	return PARK;
}

static enum verdict scan_short_stw(weakref_ref *ref, struct chain *chain)
{
	if (ref->state == REF_LIVE && !block_alive_stw(ref)) {
		cycle_dead_stw(anchor_place_of(ref).block, &chain->tally);
		anchor_list_filter(ref, is_long, make_dying);
		if (ref->state == REF_LIVE)
			return lost(ref);
	}
	if (ref->state == REF_DYING) {
		anchor_make_dead(ref);
		chain->tally.refs++;
		if (is_marked(ref))
			chain_add(chain, ref);
	}
	return ref->state == REF_DEAD ? FORGET : scan_live_stw(ref);
}

static enum verdict scan_long_stw(weakref_ref *ref, struct chain *chain)
{
	if (ref->state == REF_DEAD)
		return FORGET;
	if (!block_alive_stw(ref))
		cycle_dead_stw(anchor_place_of(ref).block, &chain->tally);
	return scan_live_stw(ref);
}

/* Entries of parked references are tagged: until it is known that the reference survived, it must not be read. */
#define PARKED_TAG ((uintptr_t)1)

/*
 * A registry is looked at in stretches before it is scanned, by several threads where it is long. A reference that lives, and whose block
 * does, needs nothing more. A plain one that is alone in the list of a dead block of ours is the only one that leads to that list: whoever
 * has the reference in his piece may clear both. All others are scanned one after the other, and what that changes are lists of dead blocks,
 * and unmarked references: none that needs nothing.
 */
#define STRETCH ((size_t)1 << 18)
#define STRETCH_PIECE 2048
#define GROUP 64

static struct {
	weakref_ref **at;
	size_t n;
	/* A bit for each. */
	uint64_t idle[STRETCH / GROUP], gone[STRETCH / GROUP];
} stretch;

/* Both mark bits are asked for, so that no branch waits for the first. */
static inline bool is_idle(const weakref_ref *ref)
{
	bool block, self;

	if (ref->state != REF_LIVE)
		return false;
	block = block_alive_stw(ref);
	self = is_marked(ref);
	return block && self;
}

static bool goes_alone_stw(weakref_ref *ref, struct cycle_tally *tally)
{
	if (ref->state != REF_LIVE || (ref->flags & (REF_FULL | REF_LONG)) != 0 || (anchor_where(ref) & REF_FOREIGN) != 0)
		return false;
	struct anchor_place place = anchor_place_of(ref);
	if (cycle_alive_stw(place.block) || anchor_head(place) != ref || ref->next != 0)
		return false;
	cycle_dead_stw(place.block, tally);
	anchor_head_set(place, NULL);
	anchor_make_dead(ref);
	tally->refs++;
	return true;
}

/* Of a group of so many: the others' bits are 0. */
static uint64_t group_idle(weakref_ref *const *at, size_t n)
{
	uint64_t idle = 0;

	for (size_t k = 0; k < n; k++)
		idle |= (uint64_t)is_idle(at[k]) << k;
	return idle;
}

static uint64_t group_gone_stw(weakref_ref *const *at, uint64_t suspects, struct cycle_tally *tally)
{
	uint64_t gone = 0;

	/* The headers are in memory that nobody has looked at for long. */
	for (uint64_t some = suspects; some != 0; some &= some - 1)
		__builtin_prefetch(anchor_place_of(at[__builtin_ctzll(some)]).block, 1);
	for (uint64_t some = suspects; some != 0; some &= some - 1) {
		int k = __builtin_ctzll(some);
		gone |= (uint64_t)goes_alone_stw(at[k], tally) << k;
	}
	return gone;
}

static void look_at_piece_stw(size_t piece, struct cycle_tally *tally)
{
	size_t i = piece * STRETCH_PIECE, end = i + STRETCH_PIECE < stretch.n ? i + STRETCH_PIECE : stretch.n;

	for (; i < end; i += GROUP) {
		size_t n = end - i < GROUP ? end - i : GROUP;
		uint64_t idle = group_idle(&stretch.at[i], n);
		stretch.idle[i / GROUP] = idle;
		stretch.gone[i / GROUP] = group_gone_stw(&stretch.at[i], ~idle & (UINT64_MAX >> (GROUP - n)), tally);
	}
}

static void stretch_look_stw(struct anchor_registry *registry, size_t from)
{
	stretch.at = &registry->at[from];
	stretch.n = registry->count - from < STRETCH ? registry->count - from : STRETCH;
	cycle_pieces_stw(look_at_piece_stw, (stretch.n + STRETCH_PIECE - 1) / STRETCH_PIECE, stretch.n);
}

/* Of the references from `from` on, at most a group: what the scan does with those that need something, and keeps of all. */
static size_t scan_group_stw(struct anchor_registry *registry, size_t from, size_t kept, enum verdict (*scan)(weakref_ref *ref, struct chain *chain),
			     struct chain *chain)
{
	size_t n = registry->count - from < GROUP ? registry->count - from : GROUP;
	uint64_t idle = stretch.idle[from % STRETCH / GROUP], gone = stretch.gone[from % STRETCH / GROUP];

	for (size_t k = 0; k < n; k++) {
		weakref_ref *ref = registry->at[from + k];
		enum verdict verdict = (idle >> k & 1) != 0 ? KEEP : (gone >> k & 1) != 0 ? FORGET : scan(ref, chain);
		if (verdict == FORGET)
			continue;
		registry->parked += verdict == PARK;
		registry->at[kept++] = verdict == PARK ? (weakref_ref *)((uintptr_t)ref | PARKED_TAG) : ref;
	}
	return kept;
}

static void registry_scan_stw(struct anchor_registry *registry, enum verdict (*scan)(weakref_ref *ref, struct chain *chain))
{
	struct chain chain = {0};
	size_t kept = 0;

	for (size_t i = 0; i < registry->count; i += GROUP) {
		if (i % STRETCH == 0)
			stretch_look_stw(registry, i);
		/* Mostly nobody has left, and nobody leaves. */
		if (kept == i && stretch.idle[i % STRETCH / GROUP] == UINT64_MAX)
			kept += GROUP;
		else
			kept = scan_group_stw(registry, i, kept, scan, &chain);
	}
	cycle_words_remove_locked(registry->count - kept);
	registry->count = kept;
	cycle_tally_stw(&chain.tally);
	chain_queue(&chain);
}

static void scan_stw(void)
{
	heap_pending_each_locked(anchor_take_places_stw);
	finals_scan_stw();
	registry_scan_stw(&anchor_shorts, scan_short_stw);
	registry_scan_stw(&anchor_longs, scan_long_stw);
}

/* A reference that a finalizer revived. There was room for its block's list before the scan, so there is now. */
static void revive(weakref_ref *ref)
{
	if (anchor_list_insert(ref, atomic_load_explicit(&ref->referent, memory_order_relaxed)) != ref)
		base_fatal("no room for a reference that had room before");
	atomic_store_explicit(&ref->state, REF_LIVE, memory_order_relaxed);
}

/* True: the reference stays registered. */
static bool settle_short(weakref_ref *ref, bool parked, struct chain *chain)
{
	(void)chain;
	if (parked)
		revive(ref);
	return true;
}

/* A long reference whose block is gone: the list is gone with it, or holds long ones only that are gone as well. */
static bool settle_long(weakref_ref *ref, bool parked, struct chain *chain)
{
	struct anchor_place place = anchor_place_of(ref);

	if (cycle_survived_locked(place.block)) {
		if (parked)
			revive(ref);
		return true;
	}
	if (place.foreign)
		sidetable_set(&anchor_foreign, place.block, 0);
	anchor_make_dead(ref);
	if (!parked)
		chain_add(chain, ref);
	return false;
}

static void registry_settle(struct anchor_registry *registry, bool (*settle)(weakref_ref *ref, bool parked, struct chain *chain))
{
	struct chain chain = {0};
	size_t kept = 0;

	for (size_t i = 0; i < registry->count; i++) {
		bool parked = ((uintptr_t)registry->at[i] & PARKED_TAG) != 0;
		weakref_ref *ref = (weakref_ref *)((uintptr_t)registry->at[i] & ~PARKED_TAG);
		if ((!parked || cycle_survived_locked(ref)) && settle(ref, parked, &chain))
			registry->at[kept++] = ref;
	}
	cycle_words_remove_locked(registry->count - kept);
	registry->count = kept;
	registry->parked = 0;
	chain_queue(&chain);
}

static void settle_locked(void)
{
	if (anchor_shorts.parked != 0)
		registry_settle(&anchor_shorts, settle_short);
	finals_settle_locked();
	registry_settle(&anchor_longs, settle_long);
}

/* ---- validators ---- */

/* Whether a LIVE reference stands in its block's list. */
static bool is_listed(const weakref_ref *ref)
{
	const weakref_ref *at = anchor_head(anchor_place_of(ref));

	if ((ref->flags & REF_FULL) != 0)
		return (anchor_before(ref) == NULL ? at : anchor_next(anchor_before(ref))) == ref;
	while (at != NULL && at != ref)
		at = anchor_next(at);
	return at == ref;
}

static size_t registry_check(const struct anchor_registry *registry, size_t *inner)
{
	size_t being_hung_in = 0;

	ASSERT(registry->parked == 0);
	for (size_t i = 0; i < registry->count; i++) {
		weakref_ref *ref = registry->at[i];
		ASSERT(anchor_registry_of(ref) == registry);
		ASSERT(ref->signature == ref_signature(ref->flags));
		ASSERT(ref->state == REF_LIVE || ref->state == REF_DEAD);
		ASSERT((ref->state == REF_LIVE) == (ref->referent != 0));
		if (ref->state != REF_LIVE)
			continue;
		bool listed = is_listed(ref);
		being_hung_in += !listed;
		ASSERT(listed || (ref->flags & REF_FULL) == 0);
		if ((ref->flags & REF_INNER) == 0)
			continue;
		ASSERT(anchor_is_found(ref));
		*inner += 1;
	}
	ASSERT(being_hung_in <= heap_thread_records_locked());
	return registry->count;
}

static size_t check_locked(void)
{
	size_t inner = 0, refs = registry_check(&anchor_shorts, &inner) + registry_check(&anchor_longs, &inner);

	ASSERT(anchor_check_inner() == inner);
	return refs + sidetable_check(&anchor_foreign) + finals_check_locked();
}

static struct cycle_scanner scanner = {.scan_stw = scan_stw, .settle_locked = settle_locked, .check_locked = check_locked};

void anchor_init(void)
{
	cycle_add(&scanner);
}

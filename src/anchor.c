/* SPDX-License-Identifier: MIT */
/*
 * anchor: see anchor.h; the states of a reference are in ref.h.
 *
 * In a collection
 *   scan    short registry, in order: referent unmarked: the reference reads NULL and leaves its block's list; it is queued where it has a
 *           callback and is marked itself. Reference unmarked: it leaves the list while all memory is there, and is PARKED.
 *           Long registry: unmarked references are parked likewise.
 *   settle  parked references that a finalizer revived go back into their block's list; the others are forgotten, untouched. Long
 *           references whose block is gone by now read NULL, and are queued like the short ones.
 * Callbacks are queued in the reverse order of the references' making: the newest first. Finalizers stand in the short registry among the
 * references, so that theirs is one order.
 *
 * A plain reference of an object of ours that has none is made without the lock. Its thread writes, in this order: the reference, LIVE and
 * with its referent; that into one of the thread's places (heap.h), for which room in the registry and words were promised; that place as
 * used; the list, by exchanging an empty one for that of this reference. It holds reference and object all the while, so wherever it is
 * stopped both are marked: the scan takes what stands in places into the registry and finds nothing to do for it. Where the last step finds
 * a list the lock is taken after all, and the list has an equal reference, or gets this one. Order is nothing to these: they have no callback.
 * What others see: a reference that they find in the list is whole. A list of none is left by others with the lock held only, and an exchange
 * against them, so neither loses the other's reference; a list of some is changed with the lock held only.
 * Between the stop and the settlement mutators run, and a list may be empty because its references are parked: it says ASK_LOCKED then, so
 * that whoever wants a plain reference waits, and finds the one that comes back.
 * A thread that ends leaves what is in its places to the next stop; one that is not there after a fork may have left a reference that is
 * registered, and in no list (`lost`).
 *
 * Invariants
 *  1. A registry, with the threads' places, holds every LIVE reference of its kind once, besides DEAD ones that the next scan drops; PARKED
 *     ones between scan and settle. All that is in the registry was there at the last settle.
 *  2. A block's list holds exactly its LIVE references, but for finalizers, which are in no list, and for the one that a thread is about to
 *     hang in; all others are there whenever libgc's lock is free.
 *  3. Each registered reference has its word in cycle_words, and each place of a thread that may still be filled.
 *
 * Locks: libgc's, for all else.
 */
#include "anchor.h"

#include "crew.h"
#include "cycle.h"
#include "executor.h"
#include "foreign.h"
#include "garbage.h"
#include "heap.h"

struct registry {
	weakref_ref **at;
	size_t count, capacity;
	size_t promised; /* to threads, for what they leave in their places: room behind the count, and words */
	size_t parked;
};

static struct registry shorts, longs;

/* References to queue, in the making. */
struct chain {
	struct deliver_node *first, *last;
	bool executors; /* some are for executors */
	struct cycle_tally tally;
};

/* ---- links and anchors ---- */

/* In a header's word: there is no list, and whoever wants one takes the lock. */
#define ASK_LOCKED ((uintptr_t)1)

static uintptr_t hide(const weakref_ref *ref)
{
	return ref == NULL ? 0 : ~(uintptr_t)ref;
}

static weakref_ref *reveal(uintptr_t word)
{
	return word <= ASK_LOCKED ? NULL : (weakref_ref *)~word;
}

static _Atomic(uintptr_t) *header_word(void *block)
{
	return (_Atomic(uintptr_t) *)&((struct heap_header *)block)->anchor;
}

static uint8_t where(const weakref_ref *ref)
{
	return atomic_load_explicit(&ref->where, memory_order_relaxed);
}

static void where_set(weakref_ref *ref, unsigned bits)
{
	atomic_store_explicit(&ref->where, (uint8_t)bits, memory_order_relaxed);
}

/* A block with references. */
struct place {
	void *block;
	bool foreign;
};

/* Of a reference that has a referent yet. */
static struct place place_of(const weakref_ref *ref)
{
	if ((where(ref) & REF_HASHED) == 0)
		return (struct place){ref->block, (where(ref) & REF_FOREIGN) != 0};
	return (struct place){(char *)atomic_load_explicit(&ref->referent, memory_order_relaxed) - HEAP_HEADER, false};
}

static weakref_ref *head_get(struct place of)
{
	if (!of.foreign)
		return reveal(atomic_load_explicit(header_word(of.block), memory_order_acquire));
	uintptr_t *word = foreign_find(of.block);
	return word == NULL ? NULL : reveal(*word);
}

/* False only where a foreign block had no list, and there is no memory for one. */
static bool head_set(struct place of, const weakref_ref *head)
{
	if (of.foreign)
		return foreign_set(of.block, hide(head));
	atomic_store_explicit(header_word(of.block), hide(head), memory_order_release);
	return true;
}

static bool is_shared(const weakref_ref *ref)
{
	return (ref->flags & (REF_FULL | REF_LONG | REF_DISTINCT)) == 0;
}

static weakref_ref *next_of(const weakref_ref *ref)
{
	return reveal(ref->next);
}

/* Where the list is empty somebody without the lock may make it one of one. */
static bool head_replace(struct place of, const weakref_ref *before, const weakref_ref *head)
{
	if (of.foreign || before != NULL)
		return head_set(of, head);
	_Atomic(uintptr_t) *word = header_word(of.block);
	uintptr_t empty = atomic_load_explicit(word, memory_order_relaxed);
	return empty <= ASK_LOCKED &&
	       atomic_compare_exchange_strong_explicit(word, &empty, hide(head), memory_order_release, memory_order_relaxed);
}

/* An equal plain one among those from `first` on. */
static weakref_ref *find_shared(const weakref_ref *like, uintptr_t referent, weakref_ref *first)
{
	for (weakref_ref *ref = first; ref != NULL && is_shared(ref); ref = next_of(ref))
		if ((ref->flags & REF_PROXY) == (like->flags & REF_PROXY) &&
		    atomic_load_explicit(&ref->referent, memory_order_relaxed) == referent)
			return ref;
	return NULL;
}

/* Plain shared ones go first, the others behind the last of those. Gives the reference that the list has then: where this one is plain, and
 * an equal one is there already, that. NULL: no memory. */
static weakref_ref *list_insert(weakref_ref *ref, uintptr_t referent)
{
	struct place place = place_of(ref);

	for (;;) {
		weakref_ref *before = NULL, *first = head_get(place), *after = first;
		weakref_ref *shared = is_shared(ref) ? find_shared(ref, referent, first) : NULL;
		if (shared != NULL)
			return shared;
		if (!is_shared(ref))
			for (; after != NULL && is_shared(after); after = next_of(after))
				before = after;
		ref->next = hide(after);
		if (before != NULL) {
			before->next = hide(ref);
			return ref;
		}
		if (head_replace(place, first, ref))
			return ref;
		if (place.foreign)
			return NULL;
	}
}

static void list_remove(weakref_ref *ref)
{
	weakref_ref *before = NULL;

	for (weakref_ref *at = head_get(place_of(ref)); at != ref; at = next_of(at))
		before = at;
	if (before == NULL)
		head_set(place_of(ref), next_of(ref));
	else
		before->next = ref->next;
	ref->next = 0;
}

/* Keeps in the list of `of`'s block those that keep() wants, and calls drop for the others, once they are out. */
static void list_filter(weakref_ref *of, bool (*keep)(const weakref_ref *ref), void (*drop)(weakref_ref *ref))
{
	struct place place = place_of(of);
	weakref_ref *head = NULL, *last = NULL, *next;

	for (weakref_ref *ref = head_get(place); ref != NULL; ref = next) {
		next = next_of(ref);
		if (!keep(ref)) {
			ref->next = 0;
			drop(ref);
			continue;
		}
		if (last == NULL)
			head = ref;
		else
			last->next = hide(ref);
		last = ref;
	}
	if (last != NULL)
		last->next = 0;
	head_set(place, head);
}

/* ---- making and clearing ---- */

weakref_ref *anchor_find_first(const void *p, const void *block, unsigned flags)
{
	_Atomic(uintptr_t) *word = header_word((void *)block);
	uint64_t epoch = atomic_load_explicit(&epoch_now, memory_order_acquire);
	weakref_ref *first = reveal(atomic_load_explicit(word, memory_order_acquire));

	/* The same protocol as epoch_load's, for a hidden word. */
	BASE_PIN(first);
	if ((epoch & 1) != 0 || atomic_load_explicit(&epoch_now, memory_order_relaxed) != epoch || first == NULL)
		return NULL;
	if (!is_shared(first) || (first->flags & REF_PROXY) != flags)
		return NULL;
	return atomic_load_explicit(&first->referent, memory_order_relaxed) == (uintptr_t)p ? first : NULL;
}

static struct registry *registry_of(const weakref_ref *ref)
{
	return (ref->flags & REF_LONG) != 0 ? &longs : &shorts;
}

static bool registry_room(struct registry *registry, size_t n)
{
	if (registry->count + registry->promised + n <= registry->capacity)
		return true;
	size_t more = registry->capacity == 0 ? 4096 : registry->capacity * 2;
	void *grown = heap_registry_grow(registry->at, registry->capacity * sizeof *registry->at, more * sizeof *registry->at);
	if (grown == NULL)
		return false;
	registry->at = grown;
	registry->capacity = more;
	return true;
}

/* ---- death ---- */

/* The last moment at which a hash by address can be told. */
static void referent_drop(weakref_ref *ref)
{
	uintptr_t referent = atomic_load_explicit(&ref->referent, memory_order_relaxed);

	if ((where(ref) & REF_HASH_ADDRESS) != 0 && referent != 0) {
		ref->hash = base_mix(referent);
		where_set(ref, REF_HASHED);
	}
	atomic_store_explicit(&ref->referent, 0, memory_order_relaxed);
}

static void make_dead(weakref_ref *ref)
{
	referent_drop(ref);
	atomic_store_explicit(&ref->state, REF_DEAD, memory_order_relaxed);
}

/* ---- places of threads ---- */

/* Libgc's lock held by the thread whose places they are, or the world stopped. */
static void pending_take(struct heap_pending *places)
{
	unsigned taken = 0;

	for (size_t i = 0; i < HEAP_PENDING; i++) {
		weakref_ref *ref = atomic_load_explicit(&places->at[i], memory_order_relaxed);
		if (ref == NULL)
			continue;
		atomic_store_explicit(&places->at[i], NULL, memory_order_relaxed);
		shorts.at[shorts.count++] = ref;
		taken++;
	}
	places->reserved -= taken;
	shorts.promised -= taken;
}

static void pending_take_stw(struct heap_pending *places)
{
	if (places->reserved != 0)
		pending_take(places);
}

/* Where there is no memory for it, the next one takes the lock as well. */
static void pending_open_locked(struct heap_pending *places)
{
	pending_take(places);
	unsigned more = HEAP_PENDING - places->reserved;
	if (!registry_room(&shorts, more))
		return;
	cycle_words_add_locked(more);
	shorts.promised += more;
	places->reserved += more;
	places->left = HEAP_PENDING;
}

/* ---- attaching ---- */

weakref_ref *anchor_attach_locked(weakref_ref *ref, const void *referent)
{
	struct registry *registry = registry_of(ref);
	weakref_ref *there = is_shared(ref) ? find_shared(ref, (uintptr_t)referent, head_get(place_of(ref))) : NULL;

	if (there != NULL)
		return there;
	if (!registry_room(registry, 1))
		return NULL;
	cycle_words_add_locked(1);
	/* First: who finds it in the list needs no lock. */
	atomic_store_explicit(&ref->referent, (uintptr_t)referent, memory_order_relaxed);
	atomic_store_explicit(&ref->state, REF_LIVE, memory_order_relaxed);
	there = (ref->flags & REF_FINALIZE) == 0 ? list_insert(ref, (uintptr_t)referent) : ref;
	if (there == ref) {
		registry->at[registry->count++] = ref;
		return ref;
	}
	cycle_words_remove_locked(1);
	make_dead(ref);
	return there;
}

struct attach {
	weakref_ref *ref;
	const void *referent;
	struct heap_pending *places; /* of a reference that may go without the lock */
	bool registered;	   /* it is LIVE and in a place or the registry, and in no list */
};

/* Somebody else made the list of its block in the meantime. */
static weakref_ref *hang_in_locked(weakref_ref *ref, const void *referent)
{
	weakref_ref *there = list_insert(ref, (uintptr_t)referent);

	if (there != ref)
		make_dead(ref);
	return there;
}

static void *attach_locked(void *arg)
{
	struct attach *attach = arg;

	if (attach->registered)
		return hang_in_locked(attach->ref, attach->referent);
	weakref_ref *ref = anchor_attach_locked(attach->ref, attach->referent);
	if (attach->places != NULL && attach->places->left == 0)
		pending_open_locked(attach->places);
	return ref;
}

/* The reference where its block had no list, and has one of it now. */
static inline weakref_ref *attach_unlocked(struct attach *attach)
{
	struct heap_pending *places = attach->places;
	weakref_ref *ref = attach->ref;
	_Atomic(uintptr_t) *word = header_word(ref->block);
	uintptr_t empty = atomic_load_explicit(word, memory_order_relaxed);

	if (unlikely(empty != 0 || places->left == 0))
		return NULL;
	atomic_store_explicit(&ref->referent, (uintptr_t)attach->referent, memory_order_relaxed);
	atomic_store_explicit(&ref->state, REF_LIVE, memory_order_relaxed);
	atomic_store_explicit(&places->at[HEAP_PENDING - places->left], ref, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	places->left--;
	attach->registered = true;
	return atomic_compare_exchange_strong_explicit(word, &empty, hide(ref), memory_order_release, memory_order_relaxed) ? ref : NULL;
}

/* The registry's number is a hint here: it is read without the lock. */
static NOINLINE weakref_ref *attach_slowly(void *(*locked)(void *arg), struct attach attach)
{
	crew_make(__atomic_load_n(&shorts.count, __ATOMIC_RELAXED));
	return heap_with_lock(locked, &attach);
}

weakref_ref *anchor_attach_plain(weakref_ref *ref, const void *referent)
{
	struct attach attach = {.ref = ref, .referent = referent, .places = heap_pending()};

	if (likely(attach_unlocked(&attach) != NULL))
		return ref;
	return attach_slowly(attach_locked, (struct attach){ref, referent, attach.places, attach.registered});
}

weakref_ref *anchor_attach(weakref_ref *ref, const void *referent)
{
	if (is_shared(ref) && (where(ref) & REF_FOREIGN) == 0)
		return anchor_attach_plain(ref, referent);
	return attach_slowly(attach_locked, (struct attach){.ref = ref, .referent = referent});
}

static void *detach_locked(void *arg)
{
	weakref_ref *ref = arg;

	if (ref->state != REF_LIVE)
		return NULL;
	list_remove(ref);
	make_dead(ref);
	return ref;
}

bool anchor_detach(weakref_ref *ref)
{
	return heap_with_lock(detach_locked, ref) != NULL;
}

/* ---- retargeting and hashes ---- */

struct retarget {
	weakref_ref *ref;
	uintptr_t referent;
	struct place to;
	int error;
};

static void *retarget_locked(void *arg)
{
	struct retarget *r = arg;
	weakref_ref *ref = r->ref;

	if (ref->state != REF_LIVE)
		r->error = -WEAKREF_ESTALE;
	else if (r->to.foreign && !foreign_reserve())
		r->error = -WEAKREF_ENOMEM;
	else {
		list_remove(ref);
		ref->block = r->to.block;
		where_set(ref, r->to.foreign ? REF_FOREIGN : 0);
		atomic_store_explicit(&ref->referent, r->referent, memory_order_relaxed);
		list_insert(ref, r->referent);
	}
	return NULL;
}

int anchor_retarget(weakref_ref *ref, const void *referent, void *block, bool foreign)
{
	struct retarget r = {.ref = ref, .referent = (uintptr_t)referent, .to = {block, foreign}};

	heap_with_lock(retarget_locked, &r);
	return r.error;
}

struct hashing {
	weakref_ref *ref;
	uintptr_t referent;
	uint64_t hash;
};

static void *hash_locked(void *arg)
{
	struct hashing *h = arg;
	uintptr_t referent = atomic_load_explicit(&h->ref->referent, memory_order_relaxed);

	if ((where(h->ref) & REF_HASHED) != 0)
		h->hash = h->ref->hash;
	else if ((where(h->ref) & REF_HASH_ADDRESS) != 0 && referent != 0)
		h->hash = base_mix(referent);
	else
		return NULL;
	return h;
}

bool anchor_hash(weakref_ref *ref, uint64_t *hash)
{
	struct hashing h = {.ref = ref};

	if (heap_with_lock(hash_locked, &h) == NULL)
		return false;
	*hash = h.hash;
	return true;
}

static void *hash_keep_locked(void *arg)
{
	struct hashing *h = arg;
	weakref_ref *ref = h->ref;

	if (ref->state != REF_LIVE || atomic_load_explicit(&ref->referent, memory_order_relaxed) != h->referent)
		return NULL;
	if (h->hash == base_mix(h->referent))
		where_set(ref, where(ref) | REF_HASH_ADDRESS);
	else if ((where(ref) & REF_HASHED) == 0) {
		ASSERT((char *)ref->block + HEAP_HEADER == (char *)h->referent);
		ref->hash = h->hash;
		where_set(ref, REF_HASHED);
	}
	return NULL;
}

void anchor_hash_keep(weakref_ref *ref, const void *referent, uint64_t hash)
{
	heap_with_lock(hash_keep_locked, &(struct hashing){ref, (uintptr_t)referent, hash});
}

/* ---- listing ---- */

struct listing {
	const void *block;
	weakref_ref **out;
	size_t n, found;
};

static void *list_locked(void *arg)
{
	struct listing *l = arg;
	struct place place = {(void *)l->block, heap_kind_of(l->block) > HEAP_LEAF};

	for (weakref_ref *ref = head_get(place); ref != NULL; ref = next_of(ref), l->found++)
		if (l->found < l->n)
			l->out[l->found] = ref;
	return NULL;
}

size_t anchor_list(const void *block, weakref_ref **out, size_t n)
{
	struct listing l = {.block = block, .out = out, .n = n};

	heap_with_lock(list_locked, &l);
	return l.found;
}

/* ---- in a collection ---- */

static bool block_alive_stw(const weakref_ref *ref)
{
	struct place place = place_of(ref);

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
		if (chain->first == NULL)
			chain->first = node;
		else
			chain->last->next = node;
		chain->last = node;
	}
}

static void chain_queue(struct chain *chain)
{
	if (chain->executors)
		chain_split(chain);
	if (chain->first != NULL)
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
	referent_drop(ref);
	atomic_store_explicit(&ref->state, REF_DYING, memory_order_relaxed);
}

/* What becomes of the entry of one reference: forgotten, kept, or kept until it is known whether the reference is revived. */
enum verdict { FORGET, KEEP, PARK };

/* Its thread is not in this process, and had not hung it in before the fork: nobody knows it. */
static enum verdict lost(weakref_ref *ref)
{
	make_dead(ref);
	return FORGET;
}

/* An unmarked reference leaves its list now, with all others like it: after reclaim its neighbours may be gone. */
static enum verdict scan_live_stw(weakref_ref *ref)
{
	if (ref->state != REF_LIVE || is_marked(ref))
		return ref->state == REF_PARKED ? PARK : KEEP;
	struct place place = place_of(ref);
	list_filter(ref, is_marked, park);
	if (ref->state == REF_LIVE)
		return lost(ref);
	/* It may come back: who makes another one meanwhile must wait, to find it. */
	if (!place.foreign && head_get(place) == NULL)
		atomic_store_explicit(header_word(place.block), ASK_LOCKED, memory_order_relaxed);
	return PARK;
}

/* A finalizer stands in no list, and is marked: finalize.c holds it strongly. */
static enum verdict scan_finalizer_stw(weakref_ref *ref, struct chain *chain)
{
	if (ref->state != REF_LIVE)
		return FORGET;
	if (block_alive_stw(ref))
		return KEEP;
	cycle_dead_stw(ref->block, &chain->tally);
	ref_make_due(ref);
	chain_add(chain, ref);
	return FORGET;
}

static enum verdict scan_short_stw(weakref_ref *ref, struct chain *chain)
{
	if ((ref->flags & REF_FINALIZE) != 0)
		return scan_finalizer_stw(ref, chain);
	if (ref->state == REF_LIVE && !block_alive_stw(ref)) {
		cycle_dead_stw(place_of(ref).block, &chain->tally);
		list_filter(ref, is_long, make_dying);
		if (ref->state == REF_LIVE)
			return lost(ref);
	}
	if (ref->state == REF_DYING) {
		make_dead(ref);
		chain->tally.refs++;
		if (is_marked(ref))
			chain_add(chain, ref);
	}
	return ref->state == REF_DEAD ? FORGET : scan_live_stw(ref);
}

/* An ordered finalizer: libgc says when it is due, maybe only some collections after the death. */
static enum verdict scan_ordered_stw(weakref_ref *ref, struct chain *chain)
{
	if (ref->state != REF_LIVE)
		return FORGET;
	if (block_alive_stw(ref))
		return KEEP;
	if ((ref->flags & REF_MOURNED) == 0) {
		cycle_dead_stw(ref->block, &chain->tally);
		if (garbage_saving)
			return KEEP;
		ref->flags |= REF_MOURNED;
	}
	deliver_expect_stw(1);
	return KEEP;
}

static enum verdict scan_long_stw(weakref_ref *ref, struct chain *chain)
{
	if ((ref->flags & REF_FINALIZE) != 0)
		return scan_ordered_stw(ref, chain);
	if (ref->state == REF_DEAD)
		return FORGET;
	if (!block_alive_stw(ref))
		cycle_dead_stw(place_of(ref).block, &chain->tally);
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
	if (ref->state != REF_LIVE || (ref->flags & (REF_FULL | REF_LONG | REF_FINALIZE)) != 0 || (where(ref) & REF_FOREIGN) != 0)
		return false;
	struct place place = place_of(ref);
	if (cycle_alive_stw(place.block) || head_get(place) != ref || ref->next != 0)
		return false;
	cycle_dead_stw(place.block, tally);
	head_set(place, NULL);
	make_dead(ref);
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
		__builtin_prefetch(place_of(at[__builtin_ctzll(some)]).block, 1);
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

static void stretch_look_stw(struct registry *registry, size_t from)
{
	stretch.at = &registry->at[from];
	stretch.n = registry->count - from < STRETCH ? registry->count - from : STRETCH;
	cycle_pieces_stw(look_at_piece_stw, (stretch.n + STRETCH_PIECE - 1) / STRETCH_PIECE, stretch.n);
}

static bool is_set(const uint64_t *bits, size_t i)
{
	return (bits[i % STRETCH / GROUP] >> i % GROUP & 1) != 0;
}

static void registry_scan_stw(struct registry *registry, enum verdict (*scan)(weakref_ref *ref, struct chain *chain))
{
	struct chain chain = {0};
	size_t kept = 0;

	for (size_t i = 0; i < registry->count; i++) {
		if (i % STRETCH == 0)
			stretch_look_stw(registry, i);
		weakref_ref *ref = registry->at[i];
		enum verdict verdict = is_set(stretch.idle, i) ? KEEP : is_set(stretch.gone, i) ? FORGET : scan(ref, &chain);
		if (verdict == FORGET)
			continue;
		registry->parked += verdict == PARK;
		registry->at[kept++] = verdict == PARK ? (weakref_ref *)((uintptr_t)ref | PARKED_TAG) : ref;
	}
	cycle_words_remove_locked(registry->count - kept);
	registry->count = kept;
	cycle_tally_stw(&chain.tally);
	chain_queue(&chain);
}

static void scan_stw(void)
{
	heap_pending_each_locked(pending_take_stw);
	registry_scan_stw(&shorts, scan_short_stw);
	registry_scan_stw(&longs, scan_long_stw);
}

/* A reference that a finalizer revived. There was room for its block's list before the scan, so there is now. */
static void revive(weakref_ref *ref)
{
	if (list_insert(ref, atomic_load_explicit(&ref->referent, memory_order_relaxed)) != ref)
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
	struct place place = place_of(ref);

	if (cycle_survived_locked(place.block)) {
		if (parked)
			revive(ref);
		return true;
	}
	if ((ref->flags & REF_FINALIZE) != 0) {
		/* Somebody took libgc's finalizer away: it is due without. */
		ref_make_due(ref);
		chain_add(chain, ref);
		return false;
	}
	if (place.foreign)
		foreign_set(place.block, 0);
	make_dead(ref);
	if (!parked)
		chain_add(chain, ref);
	return false;
}

static void registry_settle(struct registry *registry, bool (*settle)(weakref_ref *ref, bool parked, struct chain *chain))
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
	if (shorts.parked != 0)
		registry_settle(&shorts, settle_short);
	if (longs.count != 0)
		registry_settle(&longs, settle_long);
}

/* ---- validators ---- */

static size_t registry_check(const struct registry *registry)
{
	size_t being_hung_in = 0;

	ASSERT(registry->parked == 0);
	for (size_t i = 0; i < registry->count; i++) {
		weakref_ref *ref = registry->at[i];
		ASSERT(registry_of(ref) == registry);
		if ((ref->flags & REF_FINALIZE) != 0) {
			ASSERT((ref->state == REF_LIVE) == (ref->referent != 0));
			continue;
		}
		ASSERT(ref->signature == REF_SIGNATURE);
		ASSERT(ref->state == REF_LIVE || ref->state == REF_DEAD);
		ASSERT((ref->state == REF_LIVE) == (ref->referent != 0));
		if (ref->state != REF_LIVE)
			continue;
		weakref_ref *at = head_get(place_of(ref));
		while (at != NULL && at != ref)
			at = next_of(at);
		being_hung_in += at == NULL && is_shared(ref);
		ASSERT(at == ref || is_shared(ref));
	}
	ASSERT(being_hung_in <= heap_thread_records_locked());
	return registry->count;
}

static size_t check_locked(void)
{
	return registry_check(&shorts) + registry_check(&longs) + foreign_check();
}

static struct cycle_scanner scanner = {.scan_stw = scan_stw, .settle_locked = settle_locked, .check_locked = check_locked};

void anchor_init(void)
{
	cycle_add(&scanner);
}

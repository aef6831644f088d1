/* SPDX-License-Identifier: MIT */
/*
 * anchor: see anchor.h; the states of a reference are in ref.h.
 *
 * A plain reference of an object of ours that has none is made without the lock. Its thread writes, in this order: the reference, LIVE and
 * with its referent; that into one of the thread's places (heap.h), for which room in the registry and words were promised; that place as
 * used; the list, by exchanging an empty one for that of this reference. It holds reference and object all the while, so wherever it is
 * stopped both are marked: the scan takes what stands in places into the registry and finds nothing to do for it. Where the last step finds
 * a list the lock is taken after all, and the list has an equal reference, or gets this one. Order is nothing to these: they have no callback.
 * What others see: a reference that they find in the list is whole. A list of none is left by others with the lock held only, and an exchange
 * against them, so neither loses the other's reference; a list of some is changed with the lock held only.
 * Between the stop and the settlement mutators run, and a list may be empty because its references are parked. It tells by which collection
 * then, and until that has settled whoever wants a plain reference takes the lock, and finds the one that comes back. Later it is as good as
 * an empty one; and as no two collections have the same number, an exchange against it fails where another one has parked more meanwhile.
 * A thread that ends leaves what is in its places to the next stop; one that is not there after a fork may have left a reference that is
 * registered, and in no list (`lost`, anchor_scan.c).
 *
 * Invariants
 *  1. A registry, with the threads' places, holds every LIVE reference of its kind once, besides DEAD ones that the next scan drops; PARKED
 *     ones between scan and settle. All that is in the registry was there at the last settle.
 *  2. A block's list holds exactly its LIVE references, but for the one that a thread is about to hang in; all others are there whenever
 *     libgc's lock is free.
 *  3. A FULL reference in a list knows who stands before it (anchor_before); of those that are not a list has two at most, its first.
 *  4. Each LIVE INNER reference, and nothing else, is in the side table of its sort, by its referent.
 *  5. Each registered reference has its word in cycle_words, and each place of a thread that may still be filled.
 *
 * Locks: libgc's, for all else.
 */
#include "anchor_impl.h"

#include "crew.h"
#include "cycle.h"
#include "finals.h"

struct anchor_registry anchor_shorts, anchor_longs;

/* Blocks begin at one of every 16 bytes. */
struct sidetable anchor_foreign = {.granule = 16};

/* The INNER references, hidden, by what they refer to; and proxies. Elements of arrays are mostly whole words. */
static struct sidetable inner[2] = {{.granule = sizeof(void *)}, {.granule = sizeof(void *)}};

/* ---- lists ---- */

bool anchor_head_set(struct anchor_place of, const weakref_ref *head)
{
	if (of.foreign)
		return sidetable_set(&anchor_foreign, of.block, anchor_hide(head));
	atomic_store_explicit(anchor_word(of.block), anchor_hide(head), memory_order_release);
	return true;
}

/* Where the list is empty somebody without the lock may make it one of one. */
static bool head_replace(struct anchor_place of, const weakref_ref *before, const weakref_ref *head)
{
	if (of.foreign || before != NULL)
		return anchor_head_set(of, head);
	_Atomic(uintptr_t) *word = anchor_word(of.block);
	uintptr_t empty = atomic_load_explicit(word, memory_order_relaxed);
	return anchor_reveal(empty) == NULL &&
	       atomic_compare_exchange_strong_explicit(word, &empty, anchor_hide(head), memory_order_release, memory_order_relaxed);
}

static struct sidetable *inner_of(unsigned flags)
{
	return &inner[(flags & REF_PROXY) != 0];
}

static weakref_ref *find_inner(uintptr_t referent, unsigned flags)
{
	const uintptr_t *word = sidetable_find(inner_of(flags), (const void *)referent);

	return word == NULL ? NULL : anchor_reveal(*word);
}

/* Before it leaves its list: its referent is there yet. */
static void inner_forget(const weakref_ref *ref)
{
	if ((ref->flags & REF_INNER) != 0)
		sidetable_set(inner_of(ref->flags), (const void *)atomic_load_explicit(&ref->referent, memory_order_relaxed), 0);
}

/* An equal plain one; `first` is the first of the block's list. */
static weakref_ref *find_shared(const weakref_ref *like, uintptr_t referent, weakref_ref *first)
{
	if ((like->flags & REF_INNER) != 0)
		return find_inner(referent, like->flags);
	for (weakref_ref *ref = first; ref != NULL && (ref->flags & REF_FULL) == 0; ref = anchor_next(ref))
		if ((ref->flags & REF_PROXY) == (like->flags & REF_PROXY) &&
		    atomic_load_explicit(&ref->referent, memory_order_relaxed) == referent)
			return ref;
	return NULL;
}

weakref_ref *anchor_list_insert(weakref_ref *ref, uintptr_t referent)
{
	struct anchor_place place = anchor_place_of(ref);

	for (;;) {
		weakref_ref *before = NULL, *first = anchor_head(place), *after = first;
		weakref_ref *shared = anchor_is_shared(ref) ? find_shared(ref, referent, first) : NULL;
		if (shared != NULL)
			return shared;
		if ((ref->flags & REF_INNER) != 0 && !sidetable_reserve(inner_of(ref->flags)))
			return NULL;
		if ((ref->flags & REF_FULL) != 0)
			for (; after != NULL && (after->flags & REF_FULL) == 0; after = anchor_next(after))
				before = after;
		anchor_join(ref, after);
		if (before != NULL || head_replace(place, first, ref)) {
			anchor_join(before, ref);
			if ((ref->flags & REF_INNER) != 0)
				sidetable_set(inner_of(ref->flags), (const void *)referent, anchor_hide(ref));
			return ref;
		}
		if (place.foreign)
			return NULL;
	}
}

/* A small one is the first, or the second. */
static weakref_ref *find_before(const weakref_ref *ref)
{
	weakref_ref *before = NULL;

	if ((ref->flags & REF_FULL) != 0)
		return anchor_before(ref);
	for (weakref_ref *at = anchor_head(anchor_place_of(ref)); at != ref; at = anchor_next(at))
		before = at;
	return before;
}

static void list_remove(weakref_ref *ref)
{
	weakref_ref *before = find_before(ref), *after = anchor_next(ref);

	inner_forget(ref);
	if (before == NULL)
		anchor_head_set(anchor_place_of(ref), after);
	anchor_join(before, after);
	ref->next = 0;
}

void anchor_list_filter(weakref_ref *of, bool (*keep)(const weakref_ref *ref), void (*drop)(weakref_ref *ref))
{
	struct anchor_place place = anchor_place_of(of);
	weakref_ref *head = NULL, *last = NULL, *next;

	for (weakref_ref *ref = anchor_head(place); ref != NULL; ref = next) {
		next = anchor_next(ref);
		if (!keep(ref)) {
			inner_forget(ref);
			ref->next = 0;
			drop(ref);
			continue;
		}
		if (last == NULL)
			head = ref;
		anchor_join(last, ref);
		last = ref;
	}
	anchor_join(last, NULL);
	anchor_head_set(place, head);
}

/* ---- making and clearing ---- */

weakref_ref *anchor_find_first(const void *p, const void *block, unsigned flags)
{
	_Atomic(uintptr_t) *word = anchor_word((void *)block);
	uint64_t epoch = atomic_load_explicit(&epoch_now, memory_order_acquire);
	weakref_ref *first = anchor_reveal(atomic_load_explicit(word, memory_order_acquire));

	/* The same protocol as epoch_load's, for a hidden word. */
	BASE_PIN(first);
	if ((epoch & 1) != 0 || atomic_load_explicit(&epoch_now, memory_order_relaxed) != epoch || first == NULL)
		return NULL;
	if (!anchor_is_shared(first) || (first->flags & REF_PROXY) != flags)
		return NULL;
	return atomic_load_explicit(&first->referent, memory_order_relaxed) == (uintptr_t)p ? first : NULL;
}

static void *find_inner_locked(void *arg)
{
	const weakref_ref *like = arg;

	return find_inner(like->referent, like->flags);
}

weakref_ref *anchor_find_inner(const void *p, unsigned flags)
{
	weakref_ref like = {.referent = (uintptr_t)p, .flags = (uint8_t)flags};

	return heap_with_lock(find_inner_locked, &like);
}

bool anchor_is_found(const weakref_ref *ref)
{
	return find_inner(atomic_load_explicit(&ref->referent, memory_order_relaxed), ref->flags) == ref;
}

size_t anchor_check_inner(void)
{
	return sidetable_check(&inner[0]) + sidetable_check(&inner[1]);
}

static bool registry_room(struct anchor_registry *registry, size_t n)
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

void anchor_drop_referent(weakref_ref *ref)
{
	uintptr_t referent = atomic_load_explicit(&ref->referent, memory_order_relaxed);

	if ((anchor_where(ref) & REF_HASH_ADDRESS) != 0 && referent != 0) {
		ref->hash = base_mix(referent);
		anchor_where_set(ref, REF_HASHED);
	}
	atomic_store_explicit(&ref->referent, 0, memory_order_relaxed);
}

void anchor_make_dead(weakref_ref *ref)
{
	anchor_drop_referent(ref);
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
		anchor_shorts.at[anchor_shorts.count++] = ref;
		taken++;
	}
	places->reserved -= taken;
	anchor_shorts.promised -= taken;
}

void anchor_take_places_stw(struct heap_pending *places)
{
	if (places->reserved != 0)
		pending_take(places);
}

/* Where there is no memory for it, the next one takes the lock as well. */
static void pending_open_locked(struct heap_pending *places)
{
	pending_take(places);
	unsigned more = HEAP_PENDING - places->reserved;
	if (!registry_room(&anchor_shorts, more))
		return;
	cycle_words_add_locked(more);
	anchor_shorts.promised += more;
	places->reserved += more;
	places->left = HEAP_PENDING;
}

/* ---- attaching ---- */

static weakref_ref *register_locked(weakref_ref *ref, const void *referent)
{
	struct anchor_registry *registry = anchor_registry_of(ref);
	weakref_ref *there = anchor_is_shared(ref) ? find_shared(ref, (uintptr_t)referent, anchor_head(anchor_place_of(ref))) : NULL;

	if (there != NULL)
		return there;
	if (!registry_room(registry, 1))
		return NULL;
	cycle_words_add_locked(1);
	if ((ref->flags & REF_FULL) != 0)
		ref->node.number = finals_made();
	/* First: who finds it in the list needs no lock. */
	atomic_store_explicit(&ref->referent, (uintptr_t)referent, memory_order_relaxed);
	atomic_store_explicit(&ref->state, REF_LIVE, memory_order_relaxed);
	there = anchor_list_insert(ref, (uintptr_t)referent);
	if (there == ref) {
		registry->at[registry->count++] = ref;
		return ref;
	}
	cycle_words_remove_locked(1);
	anchor_make_dead(ref);
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
	weakref_ref *there = anchor_list_insert(ref, (uintptr_t)referent);

	if (there != ref)
		anchor_make_dead(ref);
	return there;
}

static void *attach_locked(void *arg)
{
	struct attach *attach = arg;

	if (attach->registered)
		return hang_in_locked(attach->ref, attach->referent);
	weakref_ref *ref = register_locked(attach->ref, attach->referent);
	if (attach->places != NULL && attach->places->left == 0)
		pending_open_locked(attach->places);
	return ref;
}

/* The reference where its block had no list, and has one of it now. */
static inline weakref_ref *attach_unlocked(struct attach *attach)
{
	struct heap_pending *places = attach->places;
	weakref_ref *ref = attach->ref;
	_Atomic(uintptr_t) *word = anchor_word(ref->block);
	uintptr_t empty = atomic_load_explicit(word, memory_order_acquire);

	if (unlikely(places->left == 0 || !anchor_is_free(empty)))
		return NULL;
	atomic_store_explicit(&ref->referent, (uintptr_t)attach->referent, memory_order_relaxed);
	atomic_store_explicit(&ref->state, REF_LIVE, memory_order_relaxed);
	atomic_store_explicit(&places->at[HEAP_PENDING - places->left], ref, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	places->left--;
	attach->registered = true;
	return atomic_compare_exchange_strong_explicit(word, &empty, anchor_hide(ref), memory_order_release, memory_order_relaxed) ? ref : NULL;
}

/* The registry's number is a hint here: it is read without the lock. */
static NOINLINE weakref_ref *attach_slowly(void *(*locked)(void *arg), struct attach attach)
{
	crew_make(__atomic_load_n(&anchor_shorts.count, __ATOMIC_RELAXED));
	return heap_with_lock(locked, &attach);
}

weakref_ref *anchor_attach_plain(weakref_ref *ref, const void *referent)
{
	struct attach attach = {.ref = ref, .referent = referent, .places = &heap_thread->pending};

	if (likely(attach_unlocked(&attach) != NULL))
		return ref;
	return attach_slowly(attach_locked, (struct attach){ref, referent, attach.places, attach.registered});
}

weakref_ref *anchor_attach(weakref_ref *ref, const void *referent)
{
	if ((ref->flags & REF_FULL) == 0 && (anchor_where(ref) & REF_FOREIGN) == 0)
		return anchor_attach_plain(ref, referent);
	return attach_slowly(attach_locked, (struct attach){.ref = ref, .referent = referent});
}

static void *detach_locked(void *arg)
{
	weakref_ref *ref = arg;

	if (ref->state != REF_LIVE)
		return NULL;
	list_remove(ref);
	anchor_make_dead(ref);
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
	struct anchor_place to;
	int error;
};

static void *retarget_locked(void *arg)
{
	struct retarget *r = arg;
	weakref_ref *ref = r->ref;

	if (ref->state != REF_LIVE)
		r->error = -WEAKREF_ESTALE;
	else if (r->to.foreign && !sidetable_reserve(&anchor_foreign))
		r->error = -WEAKREF_ENOMEM;
	else {
		list_remove(ref);
		ref->block = r->to.block;
		anchor_where_set(ref, r->to.foreign ? REF_FOREIGN : 0);
		atomic_store_explicit(&ref->referent, r->referent, memory_order_relaxed);
		anchor_list_insert(ref, r->referent);
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

	if ((anchor_where(h->ref) & REF_HASHED) != 0)
		h->hash = h->ref->hash;
	else if ((anchor_where(h->ref) & REF_HASH_ADDRESS) != 0 && referent != 0)
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
		anchor_where_set(ref, anchor_where(ref) | REF_HASH_ADDRESS);
	else if ((anchor_where(ref) & REF_HASHED) == 0) {
		ASSERT((char *)ref->block + HEAP_HEADER == (char *)h->referent);
		ref->hash = h->hash;
		anchor_where_set(ref, REF_HASHED);
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
	struct anchor_place place = {(void *)l->block, heap_kind_of(l->block) > HEAP_LEAF};

	for (weakref_ref *ref = anchor_head(place); ref != NULL; ref = anchor_next(ref), l->found++)
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

/* SPDX-License-Identifier: MIT */
/*
 * anchor_impl: what the files of anchors share: registries, and lists. See anchor.h.
 *
 *     anchor.c        lists, making, clearing, retargeting, hashes, listing
 *     anchor_scan.c   what a collection does with references
 */
#ifndef ANCHOR_IMPL_H
#define ANCHOR_IMPL_H

#include "anchor.h"
#include "epoch.h"
#include "heap.h"
#include "sidetable.h"

struct anchor_registry {
	weakref_ref **at;
	size_t count, capacity;
	size_t promised; /* to threads, for what they leave in their places: room behind the count, and words */
	size_t parked;
};

/* References, short and long, in the order of their making. */
extern struct anchor_registry anchor_shorts, anchor_longs;

/* The anchor words of blocks that have no header of ours. */
extern struct sidetable anchor_foreign;

static inline struct anchor_registry *anchor_registry_of(const weakref_ref *ref)
{
	return (ref->flags & REF_LONG) != 0 ? &anchor_longs : &anchor_shorts;
}

/* ---- links and lists: libgc's lock, or the world stopped ---- */

static inline uintptr_t anchor_hide(const weakref_ref *ref)
{
	return ref == NULL ? 0 : ~(uintptr_t)ref;
}

/* References begin at whole granules, so a hidden one is an odd number. */
static inline weakref_ref *anchor_reveal(uintptr_t word)
{
	return (word & 1) == 0 ? NULL : (weakref_ref *)~word;
}

/* In a header's word: there is no list, since a collection, which this tells by its epoch, has parked what was in it. */
static inline uintptr_t anchor_emptied(uint64_t epoch)
{
	return (uintptr_t)(epoch | 1) * 2;
}

/* Whether the word tells of no list, and nobody will come back: the collection that emptied it has settled. The word was loaded before. */
static inline bool anchor_is_free(uintptr_t word)
{
	return word == 0 || ((word & 1) == 0 && word != anchor_emptied(atomic_load_explicit(&epoch_now, memory_order_relaxed)));
}

static inline _Atomic(uintptr_t) *anchor_word(void *block)
{
	return (_Atomic(uintptr_t) *)&((struct heap_header *)block)->anchor;
}

static inline uint8_t anchor_where(const weakref_ref *ref)
{
	return atomic_load_explicit(&ref->where, memory_order_relaxed);
}

static inline void anchor_where_set(weakref_ref *ref, unsigned bits)
{
	atomic_store_explicit(&ref->where, (uint8_t)bits, memory_order_relaxed);
}

/* A block with references. */
struct anchor_place {
	void *block;
	bool foreign;
};

/* Of a reference that has a referent yet. */
static inline struct anchor_place anchor_place_of(const weakref_ref *ref)
{
	if ((anchor_where(ref) & REF_HASHED) == 0)
		return (struct anchor_place){ref->block, (anchor_where(ref) & REF_FOREIGN) != 0};
	return (struct anchor_place){(char *)atomic_load_explicit(&ref->referent, memory_order_relaxed) - HEAP_HEADER, false};
}

static inline weakref_ref *anchor_head(struct anchor_place of)
{
	if (!of.foreign)
		return anchor_reveal(atomic_load_explicit(anchor_word(of.block), memory_order_acquire));
	uintptr_t *word = sidetable_find(&anchor_foreign, of.block);
	return word == NULL ? NULL : anchor_reveal(*word);
}

static inline bool anchor_is_shared(const weakref_ref *ref)
{
	return ref_is_shared(ref->flags);
}

static inline weakref_ref *anchor_next(const weakref_ref *ref)
{
	return anchor_reveal(ref->next);
}

/* Of a FULL one that stands in a list: who stands before it. That is hidden in the word of its node that is free until it is queued. */
static inline weakref_ref *anchor_before(const weakref_ref *ref)
{
	return anchor_reveal((uintptr_t)ref->node.next);
}

/* Two that follow each other in a list; NULL before the first, and behind the last. */
static inline void anchor_join(weakref_ref *before, weakref_ref *after)
{
	if (before != NULL)
		before->next = anchor_hide(after);
	if (after != NULL && (after->flags & REF_FULL) != 0)
		after->node.next = (struct deliver_node *)anchor_hide(before);
}

/* False only where a foreign block had no list, and there is no memory for one. */
bool anchor_head_set(struct anchor_place of, const weakref_ref *head);

/* The small ones go first, the others behind those. Gives the reference that the list has then: where this one is plain, and an equal one is
 * there already, that. NULL: no memory. */
weakref_ref *anchor_list_insert(weakref_ref *ref, uintptr_t referent);

/* Keeps in the list of `of`'s block those that keep() wants, and calls drop for the others, once they are out. */
void anchor_list_filter(weakref_ref *of, bool (*keep)(const weakref_ref *ref), void (*drop)(weakref_ref *ref));

/* The referent leaves the reference: the last moment at which a hash by address can be told. */
void anchor_drop_referent(weakref_ref *ref);
/* The same for good. */
void anchor_make_dead(weakref_ref *ref);

/* Validator: how many INNER references can be found by their address. */
size_t anchor_check_inner(void);
/* Whether this one, which is LIVE, can. */
bool anchor_is_found(const weakref_ref *ref);

/* Takes into the registry what stands in a thread's places. */
void anchor_take_places_stw(struct heap_pending *places);

#endif

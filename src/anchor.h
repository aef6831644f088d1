/* SPDX-License-Identifier: MIT */
/*
 * anchor: which references a block has, and which references there are at all.
 *
 * Each block with references has a list of them: its head is the anchor word of an object's header, or an entry in the side table for
 * a foreign block (sidetable.h). Links are hidden: the lists keep nothing alive. Plain references to where the block begins come first, two
 * at most, then the others; within both the newest first. The plain ones to addresses within it (INNER) stand in a side table besides, by
 * their address: of an array that is one block there may be many. All references stand in one of two registries as well, in the order of
 * their making: short ones and long ones, which the collection goes through (see anchor.c).
 */
#ifndef ANCHOR_H
#define ANCHOR_H

#include "ref.h"

/* Makes anchors known to the cycle. By gc_init. */
void anchor_init(void);

/* The plain shared reference to p of this kind (flags 0 or REF_PROXY) where the block's first is it; NULL otherwise. No lock. */
weakref_ref *anchor_find_first(const void *p, const void *block, unsigned flags);
/* The plain INNER reference to p, with REF_PROXY or 0; NULL where there is none. Takes libgc's lock. */
weakref_ref *anchor_find_inner(const void *p, unsigned flags);

/* Puts a NEW reference, whose block, flags and so on are set, into list and registry, and its referent into it: LIVE from then on. Where it
 * is plain and an equal one exists already, that one is returned instead, and ref is NEW or DEAD. NULL: no memory. */
weakref_ref *anchor_attach(weakref_ref *ref, const void *referent);
/* The same for one that is plain and of an object of ours. */
weakref_ref *anchor_attach_plain(weakref_ref *ref, const void *referent);

/* LIVE to DEAD, out of the list. False where it was DEAD already. */
bool anchor_detach(weakref_ref *ref);

/* Lets a LIVE reference that is not shared name another referent, in another block. -WEAKREF_ESTALE, -WEAKREF_ENOMEM. */
int anchor_retarget(weakref_ref *ref, const void *referent, void *block, bool foreign);

/* The hash that the reference keeps, alive or dead; false where it keeps none. */
bool anchor_hash(weakref_ref *ref, uint64_t *hash);
/* Lets the reference keep the hash of its referent. The caller holds referent. Nothing happens where the reference names another by now. */
void anchor_hash_keep(weakref_ref *ref, const void *referent, uint64_t hash);

/* The live references of the block that starts at block; the first n go to out. */
size_t anchor_list(const void *block, weakref_ref **out, size_t n);

#endif

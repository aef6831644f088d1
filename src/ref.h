/* SPDX-License-Identifier: MIT */
/*
 * ref: what a reference is made of. anchor.h has the lists that it stands in.
 *
 * States     NEW ──attach──▶ LIVE ──weakref_ref_clear, or a collection, through DYING within its scan──▶ DEAD
 *                             │ ▲
 *            unmarked itself  ▼ │ revived by a finalizer
 *                            PARKED, from the end of marking to the end of reclaim
 *
 * A plain reference to where an object, or a foreign block, begins is 31 bytes of unscanned memory: the first three words and signature,
 * flags, state. Any other, be it one with callback or payload, one that is not shared, or one to an address within (INNER), has the rest as
 * well: of the small ones a block has two at most, a reference and a proxy. Words 4 (node.next), 7 (data) and 8 (payload) of the rest are
 * scanned, the others are not: the referent least of all. Its node's number tells how many finalizers there were when it was made (finals.h),
 * and node.next, hidden, who stands before it in its block's list, until it is queued.
 *
 * A hash that was asked for has to outlive the referent, and there is no word for it. While the reference lives its block can be told from
 * the referent where that is an object with a hash of its own (HEAP_HEADER before it), so that the block's word is free; all other hashes
 * are those of the referent's address, and are computed at its death.
 */
#ifndef REF_H
#define REF_H

#include "deliver.h"
#include "epoch.h"
#include "heap.h"
#include "weakref/ref.h"

enum ref_flags {
	REF_PROXY = 1,
	REF_LONG = 2,
	REF_DISTINCT = 4, /* never handed out as the shared one */
	REF_FULL = 8,     /* has the words behind `where`: not plain, or INNER */
	REF_EXECUTOR = 16, /* data is a struct ref_job */
	REF_INNER = 32,    /* plain, to an address within its block */
};

/* About the referent; libgc's lock. */
enum ref_where {
	REF_FOREIGN = 1,      /* the block is not an object of ours: its list is in the side table */
	REF_HASHED = 2,       /* the hash stands in the block's word */
	REF_HASH_ADDRESS = 4, /* the hash is that of the referent's address, while it lives */
};

enum ref_state { REF_NEW, REF_LIVE, REF_PARKED, REF_DYING, REF_DEAD };

#define REF_SIGNATURE WEAKREF_REF_SIGNATURE
/* Of a long one, which is cleared while the world runs, and not read in line. */
#define REF_SIGNATURE_LONG (WEAKREF_REF_SIGNATURE + 1)

/* Whether one with these flags is handed out to whoever wants a plain one. */
static inline bool ref_is_shared(unsigned flags)
{
	return (flags & (REF_FULL | REF_INNER)) != REF_FULL;
}

static inline uint32_t ref_signature(unsigned flags)
{
	return (flags & REF_LONG) != 0 ? REF_SIGNATURE_LONG : REF_SIGNATURE;
}

struct weakref_ref {
	/* The pointer that the reference was made with; weak. Written with libgc's lock held. */
	_Atomic(uintptr_t) referent;
	/* The next reference of the same block: hidden, weak. libgc's lock. */
	uintptr_t next;
	union {
		/* Where the referent's block starts: plain, weak. */
		void *block;
		/* With REF_HASHED. */
		uint64_t hash;
	};
	uint32_t signature;
	uint8_t flags;
	_Atomic uint8_t state; /* libgc's lock */
	_Atomic uint8_t where; /* of ref_where */

	/* With REF_FULL only. Constant but for the node. */
	struct deliver_node node;
	void *data;
	void *payload;
	weakref_callback callback;
};

/* What a callback needs that runs in an executor. */
struct ref_job {
	weakref_executor *executor;
	void *data;
};

_Static_assert(offsetof(struct weakref_ref, referent) == offsetof(struct weakref_ref_front, referent) &&
		       offsetof(struct weakref_ref, signature) == offsetof(struct weakref_ref_front, signature),
	       "programs read references in line");
_Static_assert(offsetof(struct weakref_ref, node) == HEAP_REF_SIZE && sizeof(struct weakref_ref) % 16 == 0,
	       "references are whole granules: no byte more is asked for");
_Static_assert(offsetof(struct weakref_ref, node) == HEAP_REFCALL_NODE, "queues refer to the node");
_Static_assert(offsetof(struct weakref_ref, node.next) == 32 && offsetof(struct weakref_ref, data) == 56 &&
		       offsetof(struct weakref_ref, payload) == 64,
	       "the scanned words are those of heap.c's bitmap");

/* The block of a referent, and whether it is none of our objects; NULL for what is not on the heap, or a block that is only in stock. */
void *ref_block_of(const void *p, bool *foreign);
/* The reference or proxy that starts at p, which may be any address; NULL where there is none. No lock. */
const weakref_ref *ref_at(const void *p);

/* What a live referent is called where a reference, or the like, is described: its type's name. */
const char *ref_name_of(const void *obj);

/* A reference with these flags beside those that the options ask for; the shared one where it is plain. Errors as weakref_ref_new. */
weakref_ref *ref_make(void *obj, unsigned flags, const weakref_ref_options *options);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * cache_policy: which entry of a bounded cache goes: W-TinyLFU whose window and admission follow the use. It knows nodes, hashes and
 * weights; nothing of keys, values, time or the collector. doc/cache-policy.md tells why, with figures.
 *
 * Use: policy_add for each new entry, policy_hit for each read of one, then policy_evict until it returns NULL. After that the owner may
 * ask policy_sketch_wanted and give memory; without any the policy is LRU with a window that it lets go first.
 *
 * Cost: all O(1) amortised, but policy_resize to less, policy_sketch_give, the first eviction of all (which seeds the shadows) and
 * policy_check: O(nodes). Locks: none; the caller's.
 * Memory: what policy_sketch_give brought, unscanned; a larger one replaces it. struct policy keeps the only pointer to it, so that stands
 * in scanned memory. The nodes are kept by their owner.
 */
#ifndef CACHE_POLICY_H
#define CACHE_POLICY_H

#include "cache_shadow.h"

enum policy_queue_id {
	/* Not in the policy: what memory of zeros says. */
	POLICY_NONE,
	POLICY_WINDOW,
	POLICY_PROBATION,
	POLICY_PROTECTED,
	/* Weight 0: takes no room, never goes. */
	POLICY_WEIGHTLESS,
	/* Heavier than all there may be: goes next. */
	POLICY_DOOMED,
	POLICY_QUEUES
};

struct policy_node {
	/* Towards hotter, towards colder. */
	struct policy_node *prev, *next;
	/* Set before policy_add. The hash is well mixed, and differs between caches where keys come from strangers. */
	uint32_t hash;
	uint32_t weight;
	/* The policy's own: where it is; how often it was counted, when the sketch had been halved so often; how many had come to its queue
	 * when it did. */
	uint8_t queue, count;
	uint16_t halvings;
	uint32_t came;
};

struct policy_queue {
	struct policy_node *hottest, *coldest;
	uint64_t weight;
	size_t n;
	/* How many came to its hottest end, ever. */
	uint32_t came;
};

struct policy {
	uint64_t maximum;
	uint64_t window_maximum;
	uint64_t protected_maximum;
	uint64_t weight;
	size_t n;
	struct policy_queue queues[POLICY_QUEUES];
	/* How many nodes the memory is for; the sketch stands first in it, then, once the bound is near, the shadows. */
	size_t room;
	struct sketch sketch;
	struct shadows shadows;
	/* Reads since the last eviction. */
	uint64_t calm;
	uint64_t random;
};

/* The largest total weight, UINT64_MAX when there is no bound. A size bound is one where every node weighs 1. */
void policy_init(struct policy *p, uint64_t maximum);

/* A node with this hash will be added at once, and where there is no room another goes: what that takes is fetched meanwhile. Gives the
 * nodes of which one will go, or NULL. */
void policy_expect(const struct policy *p, uint32_t hash, const struct policy_node *going[2]);
/* A node that is not in the policy. */
void policy_add(struct policy *p, struct policy_node *node);
/* It was read or rewritten. Ignored when it is not in the policy: reads are recorded late, and it may be gone. */
void policy_hit(struct policy *p, struct policy_node *node);
/* The same for several, in this order: they are on their way while the first are looked after. */
void policy_hit_all(struct policy *p, struct policy_node *const *nodes, size_t n);
/* A node's entry was rewritten: `fresh`, which may be the same, is in its place from now on, read once more. Added, where `old` is not in. */
void policy_replace(struct policy *p, struct policy_node *old, struct policy_node *fresh);
void policy_reweigh(struct policy *p, struct policy_node *node, uint32_t weight);
/* Ignored when it is not in the policy. */
void policy_remove(struct policy *p, struct policy_node *node);

/* Takes out and returns the next node that must go, or NULL when all is within bounds. Nodes without weight never go; one heavier than
 * the maximum goes first. */
struct policy_node *policy_evict(struct policy *p);

/*
 * Whether nothing was evicted for so many reads that the order matters little: reads may be lost now. Before that they should not be: of
 * a loop that is run back and forth, the reads that say what is recent are thousands of hits in a row, and then come as many misses.
 */
bool policy_is_calm(const struct policy *p);

/* Changes the bound; what must go now, policy_evict tells. */
void policy_resize(struct policy *p, uint64_t maximum);

/* The sum of the weights of all nodes in it. */
uint64_t policy_weight(const struct policy *p);

/* The bytes of memory that the policy would like to have instead of what it has, or 0. Grows with the number of nodes, and once more when
 * the bound is near, by what the shadows need. */
size_t policy_sketch_wanted(const struct policy *p);
/* Gives it that memory, all zeros, aligned to 8 bytes. What it had is no longer used from then on. Less than what it has: ignored. */
void policy_sketch_give(struct policy *p, void *zeroed, size_t bytes);

/* All nodes, from the one likely to go first to the one that would go last, and the other way round. */
struct policy_node *policy_coldest(const struct policy *p);
struct policy_node *policy_next_hotter(const struct policy *p, const struct policy_node *node);
struct policy_node *policy_hottest(const struct policy *p);
struct policy_node *policy_next_colder(const struct policy *p, const struct policy_node *node);

/* Invariants, in the build with checks. */
void policy_check(const struct policy *p);

#endif

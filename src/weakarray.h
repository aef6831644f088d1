/* SPDX-License-Identifier: MIT */
/*
 * weakarray: slots on the collected heap, known to the collector's scan: in each collection the values that were not marked vanish from
 * them, all at one moment with the world stopped.
 *
 * An array is garbage like everything else once nobody holds it; nothing has to be undone. Registration is by a plain pointer in memory
 * of ours (see weakarray.c), which the collector does not see.
 */
#ifndef WEAKARRAY_H
#define WEAKARRAY_H

#include "slots.h"

/*
 * A zeroed array of n slots. Registered before it is returned, so that it may be filled.
 * Errors: NULL with errno (ENOMEM, EPERM). GC: may collect and run callbacks; never call it with a lock held.
 */
struct slots *weakarray_new(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner));

/*
 * The same with pairs in its slots: key in word `value`, payload in word `payload`, flags in word 0 (slots.h has the contract). Weakness
 * any but SLOTS_WEAK_VALUE; value is not word 0. Errors and GC as above.
 */
struct slots *weakarray_new_weak(uint32_t n, unsigned stride, unsigned value, unsigned payload, enum slots_weakness weakness,
				 void (*purge)(struct slots *slots, void *owner));

/* The owner, told to purge; held weakly. The caller holds the array, and the owner. NULL: the table has given the array up. */
void weakarray_set_owner(struct slots *slots, const void *owner);

/* What to store in a value word for a pointer: with or without tag; 0 where p is NULL, odd, or not on the collected heap. Some 10 ns. */
uintptr_t weakarray_encode(const void *p);

/* What to store as a payload for a pointer, NULL, or a number in a pointer's clothes: the word itself; *kind tells what it is. Never fails.
 * For a number of one's own, that must never count as a pointer: the number and SLOTS_PAYLOAD_NUMBER. */
uintptr_t weakarray_encode_payload(const void *p, enum slots_payload *kind);

/* Calls purge for all registered arrays that lost values and have an owner. No lock held. Returns how many values that were. */
size_t weakarray_purge_all(void);

/* Calls check for all registered arrays that have an owner: of --enable-checks. No lock held. Returns how many there are. */
size_t weakarray_check_all(void);

/* ---- implemented for cycle.c: the moments of a collection ---- */

/* Reserves memory for the closure: libgc's lock held, before a stop. */
void weakarray_prepare_locked(void);
/* World stopped, marking done: keeps alive what pairs keep alive (weakarray_pairs.c). Until weakarray_scan_stw, whoever marks more by
 * marking.h has that followed through pairs as well. */
void weakarray_close_stw(void);
/* World stopped, all marking done: clears dead values in every array, parks those arrays that are not marked themselves. */
void weakarray_scan_stw(void);
/* Reclaim done, libgc's lock held: drops the parked arrays that died, takes back those that a finalizer revived. */
void weakarray_settle_locked(void);
/* Validators, with libgc's lock held; how many arrays were checked. */
size_t weakarray_check_locked(void);

#endif

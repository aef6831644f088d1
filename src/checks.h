/* SPDX-License-Identifier: MIT */
/*
 * checks: the adversary of --enable-checks. It decides when an allocation fails, when a call collects, and what time it is; the layers
 * above ask it at the places named here. In other builds every question is answered "no" at compile time.
 */
#ifndef CHECKS_H
#define CHECKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"

/* Reads the environment (WEAKREF_COLLECT_EVERY, WEAKREF_FAIL_ALLOCATION). */
void checks_init(void);

bool checks_allocation_fails_slow(void);
bool checks_collect_now_slow(void);

/* True when the allocation about to be made must fail. Asked once for each allocation, of the collected heap, malloc or mmap. */
static inline bool checks_allocation_fails(void)
{
	return CHECKS && checks_allocation_fails_slow();
}

/* True when the call of the library that asks must collect first. */
static inline bool checks_collect_now(void)
{
	return CHECKS && checks_collect_now_slow();
}

/* What weakref_checks_validate asks, with no lock held: aborts, or tells how many structures were in order. Added once, for good. */
struct checks_validator {
	size_t (*validate)(void);
	struct checks_validator *next;
};
void checks_add_validator(struct checks_validator *validator);
size_t checks_validate(void);

/* True, and the time, when the clock is frozen. */
bool checks_clock(uint64_t *now);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * key: a hash for the program's own hash functions (weakref/key.h). No state, no locks.
 */
#include "weakref/key.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t weakref_hash_bytes(const void *data, size_t size, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, size, seed);
}

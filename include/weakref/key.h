/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/key.h
 * @brief What the containers have in common: how keys and elements are compared, and a hash for functions that compare in another way.
 */
#ifndef WEAKREF_KEY_H
#define WEAKREF_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How elements of a set, or keys of a weak-key dictionary, are compared. */
enum weakref_compare {
	/** By identity: the same pointer, or another element. */
	WEAKREF_BY_IDENTITY = 0,
	/** By gc_hash and gc_equal: as the elements' types say, and by identity where they say nothing. */
	WEAKREF_BY_EQUALITY = 1,
};

/** Stores the hash of a key; returns 0 or a negative error, which the operation then returns. */
typedef int (*weakref_hash_fn)(const void *key, uint64_t *out, void *user);
/** 1 equal, 0 not, or a negative error. Consistent with the hash; called with no lock held. */
typedef int (*weakref_equal_fn)(const void *a, const void *b, void *user);
/** Returns the copy of a key, or of a value, or NULL with errno set; called with no lock held. */
typedef void *(*weakref_copy_fn)(const void *key, void *user);

/**
 * @brief A hash of bytes, for the program's own hash functions: of a string, of a struct without padding, or of one member after the other:
 *
 *     static int point_hash(void *obj, uint64_t *out)
 *     {
 *             const struct point *point = (const struct point *)obj;
 *
 *             *out = weakref_hash_bytes(&point->x, sizeof point->x, 0);
 *             *out = weakref_hash_bytes(&point->y, sizeof point->y, *out);
 *             return 0;
 *     }
 *
 * @param data the bytes, of any alignment; may be NULL where size is 0.
 * @param size how many.
 * @param seed 0, or the hash of what came before.
 * @return the hash, the same for the same bytes and seed in each process. It may be another with another version of the library.
 * Errors: none.
 * Cost: some ns, and one for each 16 bytes or so.
 * Thread: any.
 * GC: never collects.
 * Source: hash(bytes); java.util.Objects.hash.
 */
WEAKREF_API uint64_t weakref_hash_bytes(const void *data, size_t size, uint64_t seed);

/** A key and its value. */
typedef struct weakref_pair {
	const void *key;
	void *value;
} weakref_pair;

#ifdef __cplusplus
}
#endif

#endif

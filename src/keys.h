/* SPDX-License-Identifier: MIT */
/*
 * keys: keys of the kinds of weakref/valuedict.h, made ready for a table's way of hashing and comparing; and going through many keys by parts.
 * No state, no locks.
 */
#ifndef KEYS_H
#define KEYS_H

#include <string.h>

#include "table.h"
#include "weakref/valuedict.h"

/* Makes a key of the caller's ready. 0, EINVAL, or what hash returned. */
static inline int keys_ready(enum weakref_key_kind kind, weakref_hash_fn hash_fn, void *user, const void *key, struct table_key *out)
{
	const weakref_bytes *bytes = key;
	uint64_t hash = 0;
	int error;

	if (unlikely(key == NULL && kind != WEAKREF_KEY_INT))
		return -WEAKREF_EINVAL;
	switch (kind) {
	case WEAKREF_KEY_STRING:
		table_key_string(out, key);
		return likely(out->size <= TABLE_KEY_MAX) ? 0 : -WEAKREF_EINVAL;
	case WEAKREF_KEY_BYTES:
		if (unlikely((bytes->data == NULL && bytes->size != 0) || bytes->size > TABLE_KEY_MAX))
			return -WEAKREF_EINVAL;
		table_key_bytes(out, bytes->size == 0 ? "" : bytes->data, bytes->size);
		return 0;
	case WEAKREF_KEY_INT:
		table_key_word(out, (uintptr_t)key);
		return 0;
	case WEAKREF_KEY_POINTER:
		table_key_pointer(out, key);
		return 0;
	case WEAKREF_KEY_CUSTOM:
		break;
	}
	error = hash_fn(key, &hash, user);
	if (unlikely(error < 0))
		return error;
	table_key_hashed(out, key, hash);
	return 0;
}

/* Operations on many keys do so many of them together: the memory that each needs is on its way while others are looked after. */
#define KEYS_TOGETHER 16

/* Looks up no more than KEYS_TOGETHER keys, and stores a value for each, NULL where there is none. How many there are, or a negative error, for
 * which some at the end may have been left out: they are NULL before. */
typedef long (*keys_part_fn)(void *obj, const void *const *keys, size_t n, void **values);

/* Looks up n keys, by parts. How many there are; or EINVAL for no array, or the error of a part: then what follows is NULL. */
static inline long keys_each_part(void *obj, const void *const *keys, size_t n, void **values, keys_part_fn part)
{
	long found = 0, some = n != 0 && (keys == NULL || values == NULL) ? -WEAKREF_EINVAL : 0;

	/* What is not looked at because of an error is not there either. */
	if (some == 0 && n != 0)
		memset(values, 0, n * sizeof *values);
	for (size_t i = 0; i < n && some >= 0; i += KEYS_TOGETHER) {
		some = part(obj, keys + i, n - i < KEYS_TOGETHER ? n - i : KEYS_TOGETHER, values + i);
		found += some;
	}
	return some < 0 ? some : found;
}

#endif

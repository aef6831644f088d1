/* SPDX-License-Identifier: MIT */
/*
 * keys: keys of the kinds of weakref/valuedict.h, made ready for a table's way of hashing and comparing. No state, no locks.
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

#endif

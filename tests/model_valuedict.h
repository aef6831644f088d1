/* SPDX-License-Identifier: MIT */
/*
 * model_valuedict: keys of every kind, made from numbers and read back into them, for the programs that test dictionaries.
 *
 * Number 0 is the awkward key of its kind: the empty string, no bytes, the integer 0. Odd numbers are negative integers
 * and bytes that differ from their even neighbour's by length; all bytes but the empty ones hold NULs. Keys of strings and bytes
 * stand in the caller's buffer, so that a dictionary that did not copy them shows. Custom keys are looked up by another object than
 * the one that was stored.
 *
 * No state but the static tables, which nobody writes after keys_init. No locks.
 */
#ifndef TESTS_MODEL_VALUEDICT_H
#define TESTS_MODEL_VALUEDICT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weakref/valuedict.h"

#define KEYS_KINDS 5
#define KEYS_MAX 120000

struct keys_custom {
	uint32_t number;
	uint32_t signature;
};

#define KEYS_SIGNATURE UINT32_C(0x6b657973)

/* Room for a key that is made on the spot. */
struct keys_room {
	char text[32];
	weakref_bytes bytes;
	struct keys_custom custom;
};

static char keys_spots[KEYS_MAX];
static struct keys_custom keys_customs[KEYS_MAX];
static int keys_user;

static inline void keys_init(void)
{
	for (uint32_t i = 0; i < KEYS_MAX; i++)
		keys_customs[i] = (struct keys_custom){i, KEYS_SIGNATURE};
}

static int keys_hash(const void *key, uint64_t *out, void *user)
{
	const struct keys_custom *custom = key;

	if (user != &keys_user || custom->signature != KEYS_SIGNATURE)
		return -WEAKREF_EINVAL;
	/* Eight keys share a hash. */
	*out = (uint64_t)(custom->number / 8) * UINT64_C(0x9e3779b97f4a7c15);
	return 0;
}

static int keys_equal(const void *a, const void *b, void *user)
{
	const struct keys_custom *x = a, *y = b;

	if (user != &keys_user || x->signature != KEYS_SIGNATURE || y->signature != KEYS_SIGNATURE)
		return -WEAKREF_EINVAL;
	return x->number == y->number;
}

static inline weakref_valuedict *keys_dict(enum weakref_key_kind kind)
{
	if (kind == WEAKREF_KEY_CUSTOM)
		return weakref_valuedict_new_custom(keys_hash, keys_equal, &keys_user);
	return weakref_valuedict_new(kind);
}

/* The key to look number i up with. */
static inline const void *keys_find(enum weakref_key_kind kind, size_t i, struct keys_room *room)
{
	memset(room, 0x5a, sizeof(*room));
	switch (kind) {
	case WEAKREF_KEY_STRING:
		room->text[0] = '\0';
		if (i > 0)
			snprintf(room->text, sizeof(room->text), "key %zu", i);
		return room->text;
	case WEAKREF_KEY_BYTES:
		room->bytes = (weakref_bytes){NULL, 0};
		if (i > 0) {
			uint32_t half = (uint32_t)(i / 2);

			room->text[0] = '\0';
			memcpy(room->text + 1, &half, sizeof(half));
			room->text[5] = '\0';
			room->text[6] = '\0';
			room->bytes = (weakref_bytes){room->text, 6 + (i & 1)};
		}
		return &room->bytes;
	case WEAKREF_KEY_INT:
		return WEAKREF_INT(i & 1 ? -(intptr_t)(i + 1) / 2 : (intptr_t)i / 2);
	case WEAKREF_KEY_POINTER:
		return &keys_spots[i];
	case WEAKREF_KEY_CUSTOM:
		room->custom = (struct keys_custom){(uint32_t)i, KEYS_SIGNATURE};
		return &room->custom;
	}
	return NULL;
}

/* The key to store under number i. */
static inline const void *keys_store(enum weakref_key_kind kind, size_t i, struct keys_room *room)
{
	return kind == WEAKREF_KEY_CUSTOM ? &keys_customs[i] : keys_find(kind, i, room);
}

/* The number of a key that a dictionary gave back; SIZE_MAX for what is none. */
static inline size_t keys_number(enum weakref_key_kind kind, const void *key)
{
	const weakref_bytes *bytes = key;
	const struct keys_custom *custom = key;
	const char *text = key;
	intptr_t n = WEAKREF_INT_VALUE(key);
	size_t number = SIZE_MAX;
	uint32_t half;
	char *end;

	switch (kind) {
	case WEAKREF_KEY_STRING:
		if (text != NULL && *text == '\0')
			return 0;
		if (text == NULL || strncmp(text, "key ", 4) != 0)
			return SIZE_MAX;
		number = strtoul(text + 4, &end, 10);
		return *end == '\0' ? number : SIZE_MAX;
	case WEAKREF_KEY_BYTES:
		if (bytes == NULL || bytes->size == 0)
			return bytes == NULL ? SIZE_MAX : 0;
		if (bytes->size < 6 || bytes->size > 7)
			return SIZE_MAX;
		memcpy(&half, (const char *)bytes->data + 1, sizeof(half));
		return (size_t)half * 2 + (bytes->size - 6);
	case WEAKREF_KEY_INT:
		return n < 0 ? (size_t)-n * 2 - 1 : (size_t)n * 2;
	case WEAKREF_KEY_POINTER:
		return key == NULL ? SIZE_MAX : (size_t)((const char *)key - keys_spots);
	case WEAKREF_KEY_CUSTOM:
		return custom >= keys_customs && custom < keys_customs + KEYS_MAX ? custom->number : SIZE_MAX;
	}
	return SIZE_MAX;
}

#endif

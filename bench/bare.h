/* SPDX-License-Identifier: MIT */
/*
 * bare: tables that are filled once and then asked: no argument is checked, nobody writes, nothing dies, nothing grows. What is left of a
 * look-up is what none can do without: a hash, the slot, the stored key where it is a string, the value. Slots of 16 bytes are three quarters
 * full, as the library's are on average. It shows what the rest costs.
 */
#ifndef BARE_H
#define BARE_H

#include <stdint.h>
#include <string.h>

struct bare_slot {
	uint64_t key; /* by string: hash, and the place of the key; by identity: its address */
	void *value;
};

struct bare {
	struct bare_slot *slots;
	uint64_t capacity;
	char *keys;
};

/* A string of fewer than 16 bytes. */
struct bare_string {
	uint64_t low, high;
};

static inline struct bare_string bare_string_of(const char *key)
{
	struct bare_string s = {0, 0};
	size_t size = strlen(key);

	if (size >= 8) {
		memcpy(&s.low, key, 8);
		memcpy(&s.high, key + size - 8, 8);
	} else if (size >= 4) {
		uint32_t first, last;
		memcpy(&first, key, 4);
		memcpy(&last, key + size - 4, 4);
		s.low = first | (uint64_t)last << 32;
		s.high = size;
	} else {
		memcpy(&s.low, key, size);
		s.high = size;
	}
	return s;
}

static inline uint32_t bare_hash(uint64_t low, uint64_t high)
{
	unsigned __int128 product = (unsigned __int128)(low ^ 0x9e3779b97f4a7c15) * (high ^ 0xbf58476d1ce4e5b9);

	return (uint32_t)((uint64_t)product ^ (uint64_t)(product >> 64));
}

/* The slot that has this key, or the empty one that ends the way to it. */
static inline struct bare_slot *bare_find_string(const struct bare *in, const char *key)
{
	struct bare_string wanted = bare_string_of(key);
	uint32_t hash = bare_hash(wanted.low, wanted.high);

	for (struct bare_slot *slot = &in->slots[hash * in->capacity >> 32];;) {
		if ((uint32_t)slot->key == hash && slot->value != NULL) {
			struct bare_string there = bare_string_of(in->keys + (slot->key >> 32));
			if (there.low == wanted.low && there.high == wanted.high)
				return slot;
		}
		if (slot->value == NULL)
			return slot;
		if (++slot == in->slots + in->capacity)
			slot = in->slots;
	}
}

static inline struct bare_slot *bare_find_pointer(const struct bare *in, const void *key)
{
	uint32_t hash = (uint32_t)((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15 >> 32);

	for (struct bare_slot *slot = &in->slots[hash * in->capacity >> 32];;) {
		if (slot->key == (uintptr_t)key || slot->key == 0)
			return slot;
		if (++slot == in->slots + in->capacity)
			slot = in->slots;
	}
}

#endif

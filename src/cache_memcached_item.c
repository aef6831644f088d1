/* SPDX-License-Identifier: MIT */
/*
 * cache_memcached_item: what stands in memcached: names, values, marks, times. No state.
 *
 * Names. `PREFIX:` and a letter for the kind of key, with the key itself (s, b, i), or with 128 bits of its hash (S, B) where it has bytes
 * that the protocol does not allow, or too many. `PREFIX!` names a server's time. A prefix has neither colon nor exclamation mark, so no name
 * is both.
 *
 * Values. A header (magic, size of the key, time, checksum), the key, the bytes of encode. What is read counts only if all of the header fits;
 * otherwise it is a miss, and the loader's value will take its place.
 *
 * Times. 16 hexadecimal digits, for who looks at them.
 */
#include "config.h"

#include "cache_memcached.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "weakref/object.h"

#define HEADER_SIZE 24

static const char magic[4] = {'W', 'R', 'C', '1'};
const char far_mark[FAR_MARK_SIZE] = {'W', 'R', 'M', '1'};

/* ---- names ---- */

int far_key_bytes(enum weakref_key_kind kind, const void *key, uint64_t *number, weakref_bytes *bytes)
{
	if (kind == WEAKREF_KEY_INT) {
		*number = (uint64_t)WEAKREF_INT_VALUE(key);
		*bytes = (weakref_bytes){.data = number, .size = sizeof *number};
		return 0;
	}
	if (key == NULL)
		return -WEAKREF_EINVAL;
	if (kind == WEAKREF_KEY_STRING)
		*bytes = (weakref_bytes){.data = key, .size = strlen(key)};
	else
		*bytes = *(const weakref_bytes *)key;
	if (bytes->size == 0)
		bytes->data = "";
	return bytes->data != NULL ? 0 : -WEAKREF_EINVAL;
}

bool far_printable(const void *data, size_t size)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < size; i++)
		if (p[i] <= 0x20 || p[i] >= 0x7f)
			return false;
	return true;
}

void far_name_make(enum weakref_key_kind kind, const char *prefix, const weakref_bytes *key, struct far_name *name)
{
	bool string = kind == WEAKREF_KEY_STRING;
	size_t limit = FAR_NAME_SIZE - strlen(prefix) - 2;
	int n;

	if (kind == WEAKREF_KEY_INT) {
		int64_t number;
		memcpy(&number, key->data, sizeof number);
		n = snprintf(name->text, sizeof name->text, "%s:i%lld", prefix, (long long)number);
	} else if (key->size <= limit && far_printable(key->data, key->size)) {
		n = snprintf(name->text, sizeof name->text, "%s:%c%.*s", prefix, string ? 's' : 'b', (int)key->size, (const char *)key->data);
	} else {
		XXH128_hash_t hash = XXH3_128bits(key->data, key->size);
		n = snprintf(name->text, sizeof name->text, "%s:%c%016llx%016llx", prefix, string ? 'S' : 'B', (unsigned long long)hash.high64,
			     (unsigned long long)hash.low64);
	}
	name->size = (size_t)n;
}

size_t far_time_name(const char *prefix, char text[FAR_TIME_NAME_SIZE])
{
	return (size_t)snprintf(text, FAR_TIME_NAME_SIZE, "%s!", prefix);
}

/* ---- times ---- */

void far_time_format(uint64_t time, char text[FAR_TIME_SIZE + 1])
{
	snprintf(text, FAR_TIME_SIZE + 1, "%016llx", (unsigned long long)time);
}

uint64_t far_time_parse(const char *text, size_t size)
{
	char digits[FAR_TIME_SIZE + 1];

	if (size != FAR_TIME_SIZE)
		return 0;
	memcpy(digits, text, FAR_TIME_SIZE);
	digits[FAR_TIME_SIZE] = '\0';
	return strspn(digits, "0123456789abcdef") == FAR_TIME_SIZE ? strtoull(digits, NULL, 16) : 0;
}

/* ---- values ---- */

static void put_word(unsigned char *p, uint64_t word, size_t size)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)(word >> (8 * i));
}

static uint64_t get_word(const unsigned char *p, size_t size)
{
	uint64_t word = 0;

	for (size_t i = 0; i < size; i++)
		word |= (uint64_t)p[i] << (8 * i);
	return word;
}

void far_value_seal(unsigned char *value, size_t size, uint64_t time)
{
	put_word(value + 8, time, 8);
	put_word(value + 16, XXH3_64bits_withSeed(value + HEADER_SIZE, size - HEADER_SIZE, time), 8);
}

size_t far_value_size(const weakref_bytes *key, const weakref_bytes *bytes)
{
	return HEADER_SIZE + key->size + bytes->size;
}

unsigned char *far_value_make(const weakref_bytes *key, const weakref_bytes *bytes)
{
	unsigned char *value = gc_alloc_leaf(far_value_size(key, bytes));

	if (value == NULL)
		return NULL;
	memcpy(value, magic, sizeof magic);
	put_word(value + 4, key->size, 4);
	memcpy(value + HEADER_SIZE, key->data, key->size);
	if (bytes->size > 0)
		memcpy(value + HEADER_SIZE + key->size, bytes->data, bytes->size);
	return value;
}

enum far_value far_value_open(const unsigned char *value, size_t size, const weakref_bytes *key, uint64_t time, size_t *begin)
{
	if (size == sizeof far_mark && memcmp(value, far_mark, sizeof far_mark) == 0)
		return FAR_VALUE_MARK;
	if (size < HEADER_SIZE || memcmp(value, magic, sizeof magic) != 0 || size - HEADER_SIZE < get_word(value + 4, 4))
		return FAR_VALUE_DAMAGED;
	uint64_t stored = get_word(value + 8, 8);
	if (get_word(value + 16, 8) != XXH3_64bits_withSeed(value + HEADER_SIZE, size - HEADER_SIZE, stored))
		return FAR_VALUE_DAMAGED;
	if (get_word(value + 4, 4) != key->size || memcmp(value + HEADER_SIZE, key->data, key->size) != 0)
		return FAR_VALUE_FOREIGN;
	if (stored != time)
		return FAR_VALUE_OUTDATED;
	*begin = HEADER_SIZE + key->size;
	return FAR_VALUE_GOOD;
}

/* SPDX-License-Identifier: MIT */
/*
 * bytes: comparing and copying bytes as few as keys have, without a call. No state, no locks.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t bytes_load8(const unsigned char *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof x);
	return x;
}

static inline uint32_t bytes_load4(const unsigned char *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof x);
	return x;
}

/* memcmp(a, b, n) == 0 */
static inline bool bytes_equal(const unsigned char *a, const unsigned char *b, size_t n)
{
	if (n >= 8) {
		if (n > 16)
			return memcmp(a, b, n) == 0;
		return ((bytes_load8(a) ^ bytes_load8(b)) | (bytes_load8(a + n - 8) ^ bytes_load8(b + n - 8))) == 0;
	}
	if (n >= 4)
		return ((bytes_load4(a) ^ bytes_load4(b)) | (bytes_load4(a + n - 4) ^ bytes_load4(b + n - 4))) == 0;
	return n == 0 || ((a[0] ^ b[0]) | (a[n / 2] ^ b[n / 2]) | (a[n - 1] ^ b[n - 1])) == 0;
}

/* memcpy */
static inline void bytes_copy(unsigned char *to, const unsigned char *from, size_t n)
{
	if (n >= 8) {
		if (n > 16) {
			memcpy(to, from, n);
			return;
		}
		uint64_t first = bytes_load8(from), last = bytes_load8(from + n - 8);
		memcpy(to, &first, sizeof first);
		memcpy(to + n - 8, &last, sizeof last);
	} else if (n >= 4) {
		uint32_t first = bytes_load4(from), last = bytes_load4(from + n - 4);
		memcpy(to, &first, sizeof first);
		memcpy(to + n - 4, &last, sizeof last);
	} else if (n > 0) {
		unsigned char first = from[0], middle = from[n / 2], last = from[n - 1];
		to[0] = first;
		to[n / 2] = middle;
		to[n - 1] = last;
	}
}

#endif

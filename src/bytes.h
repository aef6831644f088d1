/* SPDX-License-Identifier: MIT */
/*
 * bytes: comparing, copying and reading bytes as few as keys have, without a call. No state, no locks.
 */
#ifndef BYTES_H
#define BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base.h"

/* Where 16 bytes are one register, and reading past a string's end within its page disturbs nobody. */
#if defined(__SANITIZE_ADDRESS__)
#define BYTES_SSE2 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BYTES_SSE2 0
#endif
#endif
#if !defined(BYTES_SSE2)
#if defined(__SSE2__) && UINTPTR_MAX > UINT32_MAX
#define BYTES_SSE2 1
#include <emmintrin.h>
#else
#define BYTES_SSE2 0
#endif
#endif

/* Short: fewer bytes than this. */
#define BYTES_SHORT 16

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

/* Two words that differ where two short strings of bytes without NUL do: on a machine of little-endian words, the bytes and zeros. */
struct bytes_words {
	uint64_t first, last;
};

static inline struct bytes_words bytes_words(const unsigned char *p, size_t n)
{
	if (n > 8)
		return (struct bytes_words){bytes_load8(p), bytes_load8(p + n - 8) >> (8 * (16 - n))};
	if (n == 8)
		return (struct bytes_words){bytes_load8(p), 0};
	if (n >= 4)
		return (struct bytes_words){bytes_load4(p) | (uint64_t)bytes_load4(p + n - 4) << (8 * (n - 4)), 0};
	return (struct bytes_words){n == 0 ? 0 : p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1)), 0};
}

#if BYTES_SSE2

/* A short string in a register: its bytes, zeros behind them. */
struct bytes_vector {
	__m128i bytes, mask; /* mask: ones where there is a byte of the string, or its NUL */
	unsigned size;
};

/* Whether 16 bytes from p on lie in one page: of the smallest size that there is. */
static inline bool bytes_in_page(const void *p)
{
	return ((uintptr_t)p & 4095) <= 4096 - 16;
}

/* False where the string is not short, or 16 bytes from its start on are not safe to read. */
static inline bool bytes_vector_of_string(const char *string, struct bytes_vector *out)
{
	static const unsigned char ones[2 * BYTES_SHORT] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

	if (unlikely(!bytes_in_page(string)))
		return false;
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)string);
	unsigned end = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
	if (unlikely(end == 0))
		return false;
	const unsigned char *mask = ones + BYTES_SHORT - 1;
	BASE_PIN(mask);
	out->size = (unsigned)__builtin_ctz(end);
	out->mask = _mm_loadu_si128((const __m128i *)(const void *)(mask - out->size));
	out->bytes = _mm_and_si128(bytes, out->mask);
	return true;
}

static inline struct bytes_words bytes_vector_words(const struct bytes_vector *v)
{
	return (struct bytes_words){(uint64_t)_mm_cvtsi128_si64(v->bytes),
				    (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(v->bytes, v->bytes))};
}

/* Whether the bytes at p begin with this string and its NUL. BYTES_SHORT of them are read. */
static inline bool bytes_vector_equal(const struct bytes_vector *v, const unsigned char *p)
{
	__m128i there = _mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)p), v->mask);
	return _mm_movemask_epi8(_mm_cmpeq_epi8(there, v->bytes)) == 0xffff;
}

#endif

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

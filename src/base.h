/* SPDX-License-Identifier: MIT */
/*
 * base: what every file needs and C does not give. No state but the clock's, no locks, no knowledge of the collector.
 */
#ifndef BASE_H
#define BASE_H

#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "weakref/error.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define NOINLINE __attribute__((noinline))

#ifdef WEAKREF_CHECKS
#define CHECKS 1
#else
#define CHECKS 0
#endif

/* Keeps the compiler from deriving p anew from what it was computed from: from here on the plain pointer itself is what is held, in a
 * register or on the stack, where the collector sees it. */
#define BASE_PIN(p) __asm__ volatile("" : "+r"(p) : : "memory")
/* p is alive up to here. */
#define BASE_KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

/* Where a comparison with what is in memory is one instruction, which compilers do not make of an atomic load. */
#if defined(__x86_64__) && defined(__GCC_ASM_FLAG_OUTPUTS__) && !defined(__SANITIZE_THREAD__)
#define BASE_FLAGS 1
#else
#define BASE_FLAGS 0
#endif

/* Whether a word that others write to has this value: for who has loaded something before, with acquire, and asks whether that holds. */
static inline bool base_is(const _Atomic(uint64_t) *word, uint64_t value)
{
#if BASE_FLAGS
	bool same;

	__asm__ volatile("cmp %2, %1" : "=@cce"(same) : "m"(*word), "r"(value) : "memory");
	return same;
#else
	return atomic_load_explicit(word, memory_order_relaxed) == value;
#endif
}

/* Adds to a count that other threads only read, but the collector's scan, with the world stopped, changes as well. One instruction, so that
 * no stop comes between its load and its store; it needs no exchange on the bus, which would let no two insertions wait for memory at
 * once. */
static inline void base_add(_Atomic(uint32_t) *count, uint32_t more)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	__asm__ volatile("addl %1, %0" : "+m"(*count) : "er"(more) : "memory", "cc");
#else
	atomic_fetch_add_explicit(count, more, memory_order_relaxed);
#endif
}

/* Whether it is even. */
static inline bool base_is_even(const _Atomic(uint64_t) *word)
{
#if BASE_FLAGS
	bool even;

	__asm__ volatile("testb $1, %1" : "=@ccz"(even) : "m"(*word) : "memory");
	return even;
#else
	return (atomic_load_explicit(word, memory_order_relaxed) & 1) == 0;
#endif
}

/* Writes "libweakref: " and the message to stderr without allocating or locking, and aborts. */
_Noreturn void base_fatal(const char *format, ...) WEAKREF_PRINTF(1, 2);

/* The same, without the abort. */
void base_warn(const char *format, ...) WEAKREF_PRINTF(1, 2);

/* An invariant of ours: checked in the --enable-checks build, and still compiled in every other. */
#define ASSERT(cond)                                                                                       \
	do {                                                                                               \
		if (CHECKS && unlikely(!(cond)))                                                           \
			base_fatal("%s:%d: invariant broken: %s", __FILE__, __LINE__, #cond);              \
	} while (0)

/* Writes zeros over 32 KiB of dead stack below the caller: pointers left there would be roots once other frames lie over them. */
void base_clear_stack(void);
/* 4 KiB only, in less than 0.2 us: for what a call of ours or of libgc's left behind, in a thread of the program's, whose stack may be small. */
void base_clear_stack_top(void);
/* Zeros where pointers were, in a variable that nobody reads again: the compiler does it all the same. */
static inline void base_forget(void *p, size_t size)
{
	memset(p, 0, size);
	__asm__ volatile("" : : "r"(p) : "memory");
}
/* Writes zeros into the vector registers that a call may change: copies leave pointers in them, and a thread that is stopped while it waits
 * shows them to the collector. Where the machine is not known, nothing. */
void base_clear_registers(void);

/* Nanoseconds of the monotonic clock; of the virtual one when the adversary froze it. Async-signal-safe. */
uint64_t base_now(void);
/* The same as it was at the system's last tick, some milliseconds ago, for a fifth of the cost. */
uint64_t base_now_rough(void);

/* When the clock will have gone on by so many seconds; BASE_FOREVER where they are 0, negative or infinite, or more than a life. Not for NaN. */
#define BASE_FOREVER UINT64_MAX
uint64_t base_deadline(double seconds);
/* Sleeps until the semaphore is posted, and takes the post, or until the deadline; for a moment only where time is not the system's: whoever
 * moves the clock on wakes nobody. True when it was posted; false also for a signal. A point of cancellation. */
bool base_sleep(sem_t *sem, uint64_t deadline);

/* All signals but those that tell of a fault of the thread that gets them: what a thread of ours leaves to the program's threads. */
void base_signals_of_program(sigset_t *set);

/* Sets errno to a code and gives NULL: the end of a constructor that failed. */
void *base_null(enum weakref_error code);

/* In a loop that waits for another thread to store something. */
static inline void base_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* A bijection of 64 bits whose top bits depend on all of x, in one multiplication (Fibonacci hashing): numbers at equal distances, as
 * addresses often are, come to lie more evenly than by chance. The shift is for the few distances that would have them meet in clusters.
 * For the top bits alone. */
static inline uint64_t base_spread(uint64_t x)
{
	return (x ^ (x >> 22)) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The upper half of a product. */
static inline uint64_t base_multiply_high(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t)((wide)a * b >> 64);
#else
	uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
	uint64_t middle = a_high * b_low + (a_low * b_low >> 32), other = a_low * b_high + (uint32_t)middle;

	return a_high * b_high + (middle >> 32) + (other >> 32);
#endif
}

/* A bijection of 64 bits that leaves no bit of the result independent of any bit of x (the finaliser of SplitMix64). */
static inline uint64_t base_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif

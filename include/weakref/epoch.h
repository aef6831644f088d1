/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/epoch.h
 * @brief How functions in line read a weak word. Not for programs, but part of the binary interface.
 *
 * Most weak words are cleared with the world stopped: they hold NULL, or a pointer to memory that is there, unless the library was deprived
 * of its part in collections. A counter tells that: it is odd then, and in and around each marking. doc/design.md, "Reading without a lock".
 */
#ifndef WEAKREF_EPOCH_H
#define WEAKREF_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Where the counter is; NULL in a thread that the collector does not know, whose stack it would not look at for what was read. */
extern WEAKREF_API __thread const uint64_t *weakref_epoch __attribute__((tls_model("initial-exec")));

/* A load after which other loads come. Where the machine sees to that, the compiler may go on keeping in registers what the program has in
 * its variables: what a processor looks ahead is limited by the loads that it has under way. */
#if defined(__x86_64__)
#define WEAKREF_LOAD(word) (*(__typeof__(*(word)) const volatile *)(word))
#else
#define WEAKREF_LOAD(word) __atomic_load_n(word, __ATOMIC_ACQUIRE)
#endif

/**
 * @brief Reads a weak word that is cleared with the world stopped, if that can be done at once.
 * @param word the word.
 * @param out receives what it held, which is safe to use where the answer is true.
 * @return whether it was read; false where it must be read the slow way.
 * Errors: none.
 * Cost: three loads.
 * Thread: any thread.
 * GC: never collects.
 */
extern inline __attribute__((gnu_inline, always_inline)) bool weakref_epoch_load(void *const *word, void **out)
{
	const uint64_t *epoch = weakref_epoch;
	void *p;

	if (__builtin_expect(epoch == NULL, 0))
		return false;
	p = WEAKREF_LOAD(word);
	/* From here on the plain pointer is in a register, or on the stack: where the collector looks. */
	__asm__ volatile("" : "+r"(p));
	*out = p;
	return (WEAKREF_LOAD(epoch) & 1) == 0;
}

#ifdef __cplusplus
}
#endif

#endif

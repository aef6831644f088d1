/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/checks.h
 * @brief The adversary's controls, for test suites: a library built with --enable-checks collects and fails on demand.
 *
 * In an ordinary build every call here answers -WEAKREF_ENOTSUP (or false, or 0), so that a test can skip itself. The environment
 * sets the same at gc_init: WEAKREF_COLLECT_EVERY=N, WEAKREF_FAIL_ALLOCATION=N.
 *
 * Such a library also looks, in each collection, whether anybody wrote behind the end of an object of gc_new's that is alive, and aborts
 * with a message that names it.
 */
#ifndef WEAKREF_CHECKS_H
#define WEAKREF_CHECKS_H

#include <stdbool.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @brief Whether the library was built with --enable-checks.
 * @return true when it was.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API bool weakref_checks_enabled(void);

/**
 * @brief Collects at every nth call of the library that may collect.
 * @param n 1 for every call, 0 for never.
 * @return the value before, or a negative error.
 * Errors: ENOTSUP.
 * Cost: none; what follows is slow.
 * Thread: any.
 * GC: never collects by itself.
 */
WEAKREF_API long weakref_checks_collect_every(unsigned long n);

/**
 * @brief Lets the nth allocation from now on fail, in whichever thread; those after it succeed again.
 * @param n 1 for the next one, 0 for none.
 * @return how many allocations were still to go before one failed (0: the one asked for last has failed, or none was asked
 * for); or a negative error. A sweep ends when, after the call under test, this is not 0.
 * Errors: ENOTSUP.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API long weakref_checks_fail_allocation(unsigned long n);

/**
 * @brief Moves the library's clock on, which then stands still but for such calls.
 * @param ns nanoseconds to go forward; 0 freezes it where it stands.
 * @return 0, or a negative error.
 * Errors: ENOTSUP.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_checks_clock_advance(uint64_t ns);

/**
 * @brief Checks the invariants of the runtime's own structures, of all containers and resource pools, and aborts with a message
 * where one does not hold.
 * @return how many structures were checked, or a negative error.
 * Errors: ENOTSUP.
 * Cost: linear in references and entries, with libgc's lock held for a part of it, and each table's and pool's for its own.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API long weakref_checks_validate(void);

#ifdef __cplusplus
}
#endif

#endif

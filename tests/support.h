/* SPDX-License-Identifier: MIT */
/*
 * support: what the Check programs share: making garbage on a conservative heap, collecting, helper threads and child
 * processes, the modes of a run, and one main for all.
 *
 * Fork mode: none (CK_NOFORK), whatever CK_FORK says. A forked child has lost libgc's marker threads until it makes a thread
 * itself, so that a suite which forks each test would prove little about GC_MARKERS=2; nor would its heap grow old in
 * incremental mode. The library is therefore started once, before the first test, and the tests share a process. Consequences,
 * all handled here:
 *  - a failed assertion leaves its test by longjmp, on the stack of the thread that calls it: assert on the main thread of the
 *    parent process only, never in a callback, a helper thread or a child. There use SUPPORT_REQUIRE, and assert on the result;
 *  - what a test changes in the library's settings is set back after each test (support_tcase), and the callbacks left over
 *    run;
 *  - Check's own timeouts do not work: the whole program has a limit (WEAKREF_TEST_TIMEOUT seconds, 240 by default). Each test is
 *    listed when it has ended, so that the log of a program which was killed tells where it hung.
 *
 * Conservative heap: a pointer that is left over in a register or a dead stack slot keeps its object. So make and drop objects
 * in a function run by support_on_thread (its stack goes away) or support_in_frame, use N >= SUPPORT_N objects, require N -
 * SUPPORT_SLACK dead, and keep what must live with SUPPORT_KEEP after the check. Memory from malloc is not scanned.
 *
 * Environment: WEAKREF_SEED; WEAKREF_TEST_INCREMENTAL=1; GC_MARKERS (libgc's); WEAKREF_COLLECT_EVERY (the library's).
 * support_main prints what is in force, and fails the run where a mode that was asked for did not happen.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <check.h>

#include "weakref/gc.h"
#include "weakref/object.h"
#include "weakref/ref.h"

#define SUPPORT_N ((size_t)64)
#define SUPPORT_SLACK ((size_t)2)

/* p is alive up to here. */
#define SUPPORT_KEEP(p) WEAKREF_KEEP(p)
/* Clears a pointer that the compiler believes nobody reads again. */
#define SUPPORT_CLEAR(lvalue) (*(void *volatile *)(void *)&(lvalue) = NULL)

/* A pointer kept for identity only: the collector does not see it. */
static inline uintptr_t support_hide(const void *p)
{
	return ~(uintptr_t)p;
}

static inline bool support_hides(uintptr_t hidden, const void *p)
{
	return hidden == ~(uintptr_t)p;
}

/* ---- objects ------------------------------------------------------------------------------------------------------------- */

/* An object with a signature, so that reading a reclaimed one shows; scanned, leaf, and without destructor. */
struct support_node {
	uint64_t signature;
	uint64_t id;
	struct support_node *next;
	void *other;
};

extern const gc_type support_node_type;

struct support_node *support_node_new(uint64_t id);
/* Whether p is an intact node. */
bool support_node_intact(const struct support_node *p);

/* ---- garbage ------------------------------------------------------------------------------------------------------------- */

/* Overwrites 16 KiB of dead stack. */
void support_scrub(void);
/* Scrubs and calls gc_collect, three times over. The sum of what it returned, or its error. */
long support_collect(void);
/* Allocates garbage, without calling the library, until libgc has completed `collections` of its own or `limit` bytes were
 * allocated. */
bool support_churn(unsigned collections, size_t limit);
/* How many partial collections there were in this process: 0 but in incremental mode. */
unsigned support_partial_collections(void);
/* How many of the references read NULL. */
size_t support_dead(weakref_ref *const *refs, size_t n);

/* ---- where a function runs ----------------------------------------------------------------------------------------------- */

/*
 * What these run returns 0, or 1 by SUPPORT_REQUIRE, which prints what was required. It never asserts.
 */
typedef int (*support_fn)(void *arg);

#define SUPPORT_REQUIRE(cond)                                                                                          \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			fprintf(stderr, "%s:%d: required: %s\n", __FILE__, __LINE__, #cond);                           \
			return 1;                                                                                      \
		}                                                                                                      \
	} while (0)

/* On a helper thread that the collector knows; joins it. Returns fn's result. */
int support_on_thread(support_fn fn, void *arg);
/* In a frame 32 KiB further down on this thread's stack. Returns fn's result. */
int support_in_frame(support_fn fn, void *arg);
/* In a forked child, for at most 60 s. Returns fn's result, or 1000 + the signal that killed the child. */
int support_in_child(support_fn fn, void *arg);
/*
 * Runs this program anew with `mode` as its only argument and `env` ("NAME=value", NULL-terminated, may be NULL) added to the
 * environment, for at most 60 s. What it wrote to stderr goes to `err`, cut to `size`. Returns its exit status, or 1000 +
 * signal.
 */
int support_respawn(const char *mode, const char *const env[], char *err, size_t size);

/* Threads started together: `n` of them, known to the collector, run fn(arg + i * size). The number of them that failed. */
int support_threads(unsigned n, support_fn fn, void *args, size_t size);

/* ---- runs ---------------------------------------------------------------------------------------------------------------- */

/* The run's seed, printed at its start; and the next number of a generator (SplitMix64) that begins with some state. */
uint64_t support_seed(void);
uint64_t support_random(uint64_t *state);

/* 0, or N where the library collects at every Nth call: long tests shorten themselves by it. */
unsigned long support_collect_every(void);
/* n, or a share of it where every call collects; at least min. */
size_t support_scaled(size_t n, size_t min);

/* Says that this test does not apply, once a test. When all tests of a program say so, it exits with 77. */
void support_skip(const char *test, const char *why);
#define SUPPORT_SKIP_UNLESS(cond, why)                                                                                 \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			support_skip(__func__, why);                                                                   \
			return;                                                                                        \
		}                                                                                                      \
	} while (0)

/* A test case whose tests each leave the library as they found it. */
TCase *support_tcase(const char *name);
/* Starts the library in the mode of this run, runs the suite, checks that the mode happened. Returns main's result. */
int support_main(Suite *(*suite)(void));

#endif

/* SPDX-License-Identifier: MIT */
/*
 * crew: see crew.h.
 *
 * libgc stops the threads that it knows. It does not know these, who touch the collected heap in the stop only: they hold no pointer and see
 * none while the world runs, and their stacks are no roots. Where there is one processor, or libgc marks with one thread (GC_MARKERS=1,
 * GC_NO_PARALLEL), there are none.
 *
 *   asleep    on the futex `calls`, nearly always
 *   called    crew_run_stw has opened the door and counted `calls` up. A thread that is late, or not scheduled at all, finds the door shut and
 *             sleeps on; nobody waits for it
 *   inside    between entering by the door and leaving it: in fn
 *
 * The door is one word, the number of those inside and the bit SHUT. A thread enters by compare-and-swap from a value without SHUT. The
 * collecting thread stores 0 to open, runs fn itself, sets SHUT, after which nobody enters, and waits until nobody is inside. That is a
 * wait for pieces that have begun, since fn ends when none is left to take.
 *
 * Ordering. What the collecting thread sees, and what it stored for fn, is before its release store of 0; a thread that enters reads that
 * value, or one that others who entered or left made of it by read-modify-write, with acquire: so it sees all of that: what the program's
 * threads wrote before they were stopped, the markers' mark bits, and what fn is. What a thread does in fn is before its release
 * subtraction; the collecting thread, which waits for the value SHUT with acquire, sees all of it, and so does the program when it goes on.
 * Mark bits are only read in fn (libgc's look-ups of a page's header and of a block's start write nothing, and ask for no thread), the
 * words of weak arrays and references are written by who took the piece that they are in, as are the nodes of the closure, its index and
 * marking's records of pages by who took the part that they belong to, and counters are atomic. `next` of the work at hand is set
 * while nobody is inside.
 *
 * A fault on a page that libgc watches in incremental mode is handled by libgc in any thread: its handler knows pages only. So signals that
 * tell of faults are let through, all others are for the program's threads.
 *
 * Fork: libgc's lock is held around it, so no stop is in progress, the door is shut and nobody is inside. The child has no crew and makes
 * its own when it registers weak arrays again.
 *
 * Invariants
 *  1. Outside of crew_run_stw the door is SHUT and nobody is inside.
 *  2. work is written while nobody is inside only.
 *
 * Locks: none. Deliberately not here: an end of the threads. They sleep as long as the process lives, as libgc's markers do.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
/* No <gc/gc.h>: it would make of pthread_create one that makes threads known. */
#include "crew.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heap.h"

/* Waking more is work for who wakes, and what they do waits for memory that all share. */
#define MEMBERS_MAX 3
#define STACK_BYTES ((size_t)256 << 10)
#define SPIN 4000 /* some 100 us */
#define SHUT (UINT32_C(1) << 31)

_Atomic bool crew_made; /* or it was found that there shall be none */

static _Atomic unsigned members;
static _Atomic uint32_t calls;
static _Atomic uint32_t door = SHUT;
static void (*work)(void);

/* ---- the threads ---- */

/* The next call of the same stop comes soon, and to be woken takes longer than most of what it calls for. */
static void sleep_until_called(uint32_t seen)
{
	for (unsigned i = 0; i < SPIN && atomic_load_explicit(&calls, memory_order_relaxed) == seen; i++)
		base_pause();
	while (atomic_load_explicit(&calls, memory_order_relaxed) == seen)
		syscall(SYS_futex, &calls, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static bool enter(void)
{
	uint32_t inside = atomic_load_explicit(&door, memory_order_relaxed);

	while ((inside & SHUT) == 0)
		if (atomic_compare_exchange_weak_explicit(&door, &inside, inside + 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

static void *member_main(void *unused)
{
	for (uint32_t seen = 0;;) {
		sleep_until_called(seen);
		seen = atomic_load_explicit(&calls, memory_order_relaxed);
		if (!enter())
			continue;
		work();
		atomic_fetch_sub_explicit(&door, 1, memory_order_release);
	}
	return unused;
}

static bool member_make(void)
{
	sigset_t set, old;
	pthread_attr_t attributes;
	pthread_t thread;

	/* Not asked of the adversary: to fail is to be slower, and no call would tell. */
	if (pthread_attr_init(&attributes) != 0)
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	base_signals_of_program(&set);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	int error = pthread_create(&thread, &attributes, member_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return error == 0;
}

/* How many threads may run at once, as far as the process and its user say. */
static unsigned wanted(void)
{
	const char *markers = getenv("GC_MARKERS");
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		n = CPU_COUNT(&set);
	if (markers != NULL && atoi(markers) > 0 && atoi(markers) < n)
		n = atoi(markers);
	return n <= 1 ? 0 : n - 1 > MEMBERS_MAX ? MEMBERS_MAX : (unsigned)n - 1;
}

NOINLINE void crew_make_slow(void)
{
	int saved = errno;

	/* In a child after fork libgc marks with one thread, until it makes another: so must we, for that long. */
	if (heap_marks_in_parallel() && !atomic_exchange(&crew_made, true))
		for (unsigned n = wanted(); n > 0 && member_make(); n--)
			atomic_fetch_add(&members, 1);
	errno = saved;
}

void crew_fork_child(void)
{
	atomic_store(&members, 0);
	atomic_store(&crew_made, false);
	atomic_store(&door, SHUT); /* also where a host forks in a way of its own */
}

/* ---- in a stop ---- */

bool crew_is_there(void)
{
	return atomic_load_explicit(&members, memory_order_relaxed) != 0;
}

static void call(void)
{
	int saved = errno;

	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	syscall(SYS_futex, &calls, FUTEX_WAKE_PRIVATE, MEMBERS_MAX, NULL, NULL, 0);
	errno = saved;
}

/* A thread inside that has lost its processor to others gets ours after a while. */
static void wait_until_empty(void)
{
	for (unsigned i = 0; atomic_load_explicit(&door, memory_order_acquire) != SHUT; i++)
		if (i < 2000)
			base_pause();
		else
			sched_yield();
}

void crew_run_stw(void (*fn)(void))
{
	ASSERT(atomic_load_explicit(&door, memory_order_relaxed) == SHUT);
	work = fn;
	atomic_store_explicit(&door, 0, memory_order_release);
	call();
	fn();
	atomic_fetch_or_explicit(&door, SHUT, memory_order_relaxed);
	wait_until_empty();
}

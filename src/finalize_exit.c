/* SPDX-License-Identifier: MIT */
/*
 * finalize_exit: the run at exit, by a walk over all finalizers, the newest first.
 *
 * What the walk has yet to look at are stretches of orders (finals.h), the newest last; what lies between them it has passed. What finalizers
 * make is a stretch of its own, before the walk goes on with the one that it was in.
 *
 * Locks: libgc's.
 */
#include "finalize.h"

#include <stdlib.h>

#define STRETCHES 256 /* that may be nested */

static struct {
	struct stretch {
		uint64_t from, to;
	} left[STRETCHES];
	size_t n;
	uint64_t made; /* how many there were when it was looked at last */
} walk;

static void *walk_begin_locked(void *unused)
{
	(void)unused;
	walk.made = finals_made();
	walk.left[0] = (struct stretch){0, walk.made};
	walk.n = 1;
	return NULL;
}

static struct stretch *walk_newest(void)
{
	return &walk.left[walk.n - 1];
}

/* What has been passed is not passed again, as each finalizer may make another one; but where there is no room for one more
 * stretch the newest becomes longer, by what was passed since as well. */
static void walk_look_locked(void)
{
	uint64_t made = finals_made();

	if (made == walk.made)
		return;
	while (walk.n > 0 && walk_newest()->from == walk_newest()->to)
		walk.n--;
	if (walk.n < STRETCHES)
		walk.left[walk.n++] = (struct stretch){walk.made, made};
	else
		walk_newest()->to = made;
	walk.made = made;
}

/* The next older one of those that the walk has yet to look at; false: there is none. */
static bool walk_older_locked(struct finals_slot *slot)
{
	for (; walk.n > 0; walk.n--)
		if (finals_older_locked(&walk_newest()->to, walk_newest()->from, slot))
			return true;
	return false;
}

/* Takes the newest that runs at exit, of those that this walk has not passed yet and those that were made since it began. */
static void *take_at_exit_locked(void *taken)
{
	struct finals_slot slot;

	walk_look_locked();
	while (walk_older_locked(&slot)) {
		struct finals_ordered *ordered = finals_ordered(slot);
		if (!finals_take_at_exit_locked(slot, taken))
			continue;
		if (ordered != NULL)
			finalize_cycle_forget_locked(ordered);
		return taken;
	}
	return NULL;
}

/* What a walk has passed may have to run because of what it ran: there is one more walk then. */
static void run_all_at_exit(void)
{
	struct finals_taken taken;
	bool ran;

	do {
		ran = false;
		heap_with_lock(walk_begin_locked, NULL);
		while (heap_with_lock(take_at_exit_locked, &taken) != NULL) {
			/* Allocations in it run no callbacks: the order is ours. */
			deliver_hold(__builtin_frame_address(0));
			finalize_run(&taken);
			ran = true;
		}
	} while (ran);
	/* Handlers that come after us may collect, with our frame under theirs: it is not to keep the last one's object. */
	taken = (struct finals_taken){0};
	BASE_KEEP(&taken);
	deliver_hold(NULL);
}

/* By exit. A finalizer that calls exit, or ends the thread, does not come back: exit then goes on with the next handler, which is this one
 * again, for the rest of them. Where that handler cannot be had, such a finalizer is the last. */
static void exit_run(void)
{
	static bool begun, was_automatic;

	if (atomic_load(&finals_over) || (heap_thread_check() != 0 && heap_thread_register() != 0))
		return;
	if (!begun) {
		was_automatic = heap_is_automatic();
		finalize_tell_stuck();
	}
	begun = true;
	int unregistered = atexit(exit_run);
	(void)unregistered;
	heap_set_automatic(false);
	run_all_at_exit();
	atomic_store(&finals_over, true);
	heap_set_automatic(was_automatic);
}

int finalize_exit_start(void)
{
	return atexit(exit_run) != 0 ? -WEAKREF_ENOMEM : 0;
}

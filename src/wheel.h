/* SPDX-License-Identifier: MIT */
/*
 * wheel: deadlines, the next ones first. A hierarchical timer wheel without a tick: time is cut into its thirteen digits of five bits,
 * and a node stands in the level of the highest digit in which its deadline differs from the wheel's time, in the slot of that digit's
 * value. So it needs no rounding: a node is handed out when its nanosecond has come, never before and never a tick later.
 *
 * A slot that has passed whole is handed out as it is; one that time has entered is spread over the levels below. A node so moves down
 * at most twelve times, and as often as 32 fits into (its waiting time / the time between two looks) in practice: amortised O(1).
 *
 * Invariants (wheel_check):
 *  1. A node that is in the wheel has a deadline other than 0; one that is not has 0. Memory of zeros is a node that is not in it.
 *  2. deadline <= w->now: in w->due. Otherwise in w->slots[level][digit], level the highest digit in which the two differ; the deadline's
 *     digit there is the larger one, so that all slots of a level that are in use lie ahead.
 *  3. Bit `digit` of w->used[level] is set just when that slot holds a node, and bit `level` of w->levels just when any of its slots does.
 *  4. w->now never goes back.
 *
 * Locks: none; the caller's. Memory: none; the nodes are part of what waits. Deliberately absent: a callback, and a thread.
 */
#ifndef WHEEL_H
#define WHEEL_H

#include "base.h"

#define WHEEL_BITS 5
#define WHEEL_SLOTS (1 << WHEEL_BITS)
#define WHEEL_LEVELS 13

struct wheel_node {
	struct wheel_node *prev, *next;
	/* 0: not in the wheel. To be read by everybody, written here only. */
	uint64_t deadline_ns;
};

struct wheel {
	uint64_t now;
	struct wheel_node *due;
	uint32_t levels, used[WHEEL_LEVELS];
	struct wheel_node *slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now);

/* Puts the node in, or moves it. A deadline of 0 counts as 1. */
void wheel_schedule(struct wheel *w, struct wheel_node *node, uint64_t deadline_ns);

/* Takes the node out; one that is not in is left alone. */
void wheel_cancel(struct wheel *w, struct wheel_node *node);

static inline bool wheel_is_scheduled(const struct wheel_node *node)
{
	return node->deadline_ns != 0;
}

/*
 * Takes out and returns a node whose deadline is at or before now, or NULL when there is none. In no order among those that have come.
 * A clock that went back gets NULL until it has caught up: what is handed out, found not yet due and scheduled again never comes back
 * in the same loop.
 */
struct wheel_node *wheel_expired(struct wheel *w, uint64_t now);

/* Time goes on to now, and takes nothing out: w->due, linked by next, has all whose deadline has come. */
void wheel_advance(struct wheel *w, uint64_t now);

/* No deadline is before this; UINT64_MAX when no node waits. Who sleeps until then and calls wheel_expired wakes at most twelve times too
 * often. */
uint64_t wheel_next(const struct wheel *w);

/* Invariants 1 to 3, in the build with checks; O(nodes). */
void wheel_check(const struct wheel *w);

#endif

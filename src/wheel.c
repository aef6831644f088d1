/* SPDX-License-Identifier: MIT */
/*
 * wheel: where a node stands follows from its deadline and the wheel's time alone (invariant 2), so nothing but the deadline is
 * stored. That stays true as time goes on because time stops at each slot in use that it enters, and empties it.
 */
#include "wheel.h"

/* On the way of each write of a cache with expiry. */
#define FLATTEN static inline __attribute__((always_inline))

static unsigned level_of(uint64_t now, uint64_t deadline)
{
	return (63 - (unsigned)__builtin_clzll(now ^ deadline)) / WHEEL_BITS;
}

static unsigned digit_of(uint64_t time, unsigned level)
{
	return (unsigned)(time >> (level * WHEEL_BITS)) & (WHEEL_SLOTS - 1);
}

static struct wheel_node **list_of(struct wheel *w, uint64_t deadline)
{
	unsigned level;

	if (deadline <= w->now)
		return &w->due;
	level = level_of(w->now, deadline);
	return &w->slots[level][digit_of(deadline, level)];
}

static void put(struct wheel *w, struct wheel_node *node)
{
	struct wheel_node **list = list_of(w, node->deadline_ns);

	node->prev = NULL;
	node->next = *list;
	if (*list != NULL)
		(*list)->prev = node;
	*list = node;
	if (list != &w->due) {
		unsigned level = level_of(w->now, node->deadline_ns);

		w->used[level] |= UINT32_C(1) << digit_of(node->deadline_ns, level);
		w->levels |= UINT32_C(1) << level;
	}
}

/* A slot holds no node any more. */
FLATTEN void empty(struct wheel *w, unsigned level, unsigned digit)
{
	w->used[level] &= ~(UINT32_C(1) << digit);
	if (w->used[level] == 0)
		w->levels &= ~(UINT32_C(1) << level);
}

static void take(struct wheel *w, struct wheel_node *node)
{
	struct wheel_node **list = list_of(w, node->deadline_ns);

	if (node->next != NULL)
		node->next->prev = node->prev;
	if (node->prev != NULL)
		node->prev->next = node->next;
	else
		*list = node->next;
	if (*list == NULL && list != &w->due) {
		unsigned level = level_of(w->now, node->deadline_ns);

		empty(w, level, digit_of(node->deadline_ns, level));
	}
	node->prev = node->next = NULL;
}

void wheel_init(struct wheel *w, uint64_t now)
{
	*w = (struct wheel){.now = now};
}

void wheel_schedule(struct wheel *w, struct wheel_node *node, uint64_t deadline_ns)
{
	wheel_cancel(w, node);
	node->deadline_ns = deadline_ns == 0 ? 1 : deadline_ns;
	put(w, node);
}

void wheel_cancel(struct wheel *w, struct wheel_node *node)
{
	if (node->deadline_ns == 0)
		return;
	take(w, node);
	node->deadline_ns = 0;
}

struct slot {
	unsigned level, digit;
	/* The first nanosecond. */
	uint64_t start;
};

/* The first slot in use, which holds the next deadline: a level below another is nearer, and so is a smaller digit. */
FLATTEN bool first_slot(const struct wheel *w, struct slot *slot)
{
	if (w->levels == 0)
		return false;
	slot->level = (unsigned)__builtin_ctz(w->levels);
	slot->digit = (unsigned)__builtin_ctz(w->used[slot->level]);
	unsigned shift = slot->level * WHEEL_BITS;
	slot->start = (uint64_t)slot->digit << shift;
	/* The top level has less than a digit: there is nothing above it. */
	if (slot->level + 1 < WHEEL_LEVELS)
		slot->start |= w->now >> (shift + WHEEL_BITS) << (shift + WHEEL_BITS);
	return true;
}

/* Where nothing is due: goes on to the next slot in use, not beyond now, and empties it. False when time has come to now. */
FLATTEN bool step(struct wheel *w, uint64_t now)
{
	struct wheel_node *list, *next;
	struct slot slot;
	uint64_t end;

	if (!first_slot(w, &slot) || slot.start > now) {
		w->now = now;
		return false;
	}
	list = w->slots[slot.level][slot.digit];
	w->slots[slot.level][slot.digit] = NULL;
	empty(w, slot.level, slot.digit);
	end = slot.start | ((UINT64_C(1) << (slot.level * WHEEL_BITS)) - 1);
	if (end <= now) {
		w->now = end;
		w->due = list;
		return true;
	}
	w->now = now;
	for (; list != NULL; list = next) {
		next = list->next;
		put(w, list);
	}
	return true;
}

struct wheel_node *wheel_expired(struct wheel *w, uint64_t now)
{
	struct wheel_node *node;

	if (now < w->now)
		return NULL;
	while (w->due == NULL)
		if (!step(w, now))
			return NULL;
	node = w->due;
	wheel_cancel(w, node);
	return node;
}

/* What was due before is behind what is due now. */
static void put_back_due(struct wheel *w, struct wheel_node *list)
{
	struct wheel_node *last = w->due;

	if (last == NULL || list == NULL) {
		w->due = last == NULL ? list : last;
		return;
	}
	while (last->next != NULL)
		last = last->next;
	last->next = list;
	list->prev = last;
}

void wheel_advance(struct wheel *w, uint64_t now)
{
	bool more = now >= w->now;

	while (more) {
		struct wheel_node *due = w->due;
		w->due = NULL;
		more = step(w, now);
		put_back_due(w, due);
	}
}

uint64_t wheel_next(const struct wheel *w)
{
	struct slot slot;

	/* What is due has some deadline at or before w->now. */
	if (w->due != NULL)
		return 0;
	return first_slot(w, &slot) ? slot.start : UINT64_MAX;
}

void wheel_check(const struct wheel *w)
{
	for (const struct wheel_node *n = w->due; n != NULL; n = n->next) {
		ASSERT(n->deadline_ns != 0 && n->deadline_ns <= w->now);
		ASSERT(n->prev == NULL ? w->due == n : n->prev->next == n);
	}
	for (unsigned l = 0; l < WHEEL_LEVELS; l++) {
		ASSERT((w->levels >> l & 1) == (w->used[l] != 0));
		for (unsigned d = 0; d < WHEEL_SLOTS; d++) {
			ASSERT((w->slots[l][d] != NULL) == (w->used[l] >> d & 1));
			for (const struct wheel_node *n = w->slots[l][d]; n != NULL; n = n->next) {
				ASSERT(n->deadline_ns > w->now && level_of(w->now, n->deadline_ns) == l);
				ASSERT(digit_of(n->deadline_ns, l) == d && d > digit_of(w->now, l));
				ASSERT(n->prev == NULL ? w->slots[l][d] == n : n->prev->next == n);
			}
		}
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * rivals: each policy keeps one struct item a key that the trace uses, whether it is in or not, and links the items into lists.
 *
 *     LRU       least recently used first
 *     LFU       least often used since it came in; the least recently used of several
 *     SIEVE     Zhang et al., NSDI 2024
 *     S3-FIFO   Yang et al., SOSP 2023: a tenth small, as many ghosts as the main queue holds
 *     ARC       Megiddo and Modha, FAST 2003
 *     optimum   Belady's, knowing the future; what is not worth it is not taken in
 */
#include "rivals.h"

#include <stdio.h>
#include <stdlib.h>

struct item {
	struct item *prev, *next;
	/* Its list, 0 in none. */
	uint8_t in;
	uint8_t mark;
	/* In a heap: the lowest goes, and where it stands. */
	uint32_t at;
	uint64_t rank;
};

struct list {
	struct item *head, *tail;
	size_t n;
};

static void *need(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (p == NULL) {
		fputs("hitratio: out of memory\n", stderr);
		exit(3);
	}
	return p;
}

static void push(struct list *lists, unsigned in, struct item *item)
{
	struct list *list = &lists[in];

	item->in = (uint8_t)in;
	item->prev = NULL;
	item->next = list->head;
	if (list->head != NULL)
		list->head->prev = item;
	else
		list->tail = item;
	list->head = item;
	list->n++;
}

static struct item *take(struct list *lists, struct item *item)
{
	struct list *list = &lists[item->in];

	if (item->prev != NULL)
		item->prev->next = item->next;
	else
		list->head = item->next;
	if (item->next != NULL)
		item->next->prev = item->prev;
	else
		list->tail = item->prev;
	list->n--;
	item->in = 0;
	return item;
}

/* ---- LRU, SIEVE ---- */

static size_t lru(const struct trace *t, size_t capacity)
{
	struct item *items = need(t->distinct, sizeof *items);
	struct list lists[2] = {0};
	size_t hits = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct item *item = &items[t->ids[i]];

		if (item->in) {
			hits++;
			take(lists, item);
		} else if (lists[1].n == capacity) {
			take(lists, lists[1].tail);
		}
		push(lists, 1, item);
	}
	free(items);
	return hits;
}

static size_t sieve(const struct trace *t, size_t capacity)
{
	struct item *items = need(t->distinct, sizeof *items), *hand = NULL;
	struct list lists[2] = {0};
	size_t hits = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct item *item = &items[t->ids[i]];

		if (item->in) {
			hits++;
			item->mark = 1;
			continue;
		}
		if (lists[1].n == capacity) {
			struct item *victim = hand != NULL ? hand : lists[1].tail;

			while (victim->mark) {
				victim->mark = 0;
				victim = victim->prev != NULL ? victim->prev : lists[1].tail;
			}
			hand = victim->prev;
			take(lists, victim);
		}
		item->mark = 0;
		push(lists, 1, item);
	}
	free(items);
	return hits;
}

/* ---- S3-FIFO ---- */

enum { SMALL = 1, MAIN, GHOST };

static void s3_evict_main(struct list *lists)
{
	for (;;) {
		struct item *item = take(lists, lists[MAIN].tail);

		if (item->mark == 0)
			return;
		item->mark--;
		push(lists, MAIN, item);
	}
}

static void s3_evict_small(struct list *lists, size_t main_capacity)
{
	while (lists[SMALL].n > 0) {
		struct item *item = take(lists, lists[SMALL].tail);

		if (item->mark > 1) {
			item->mark = 0;
			push(lists, MAIN, item);
			if (lists[MAIN].n > main_capacity)
				s3_evict_main(lists);
		} else {
			if (lists[GHOST].n >= main_capacity && lists[GHOST].n > 0)
				take(lists, lists[GHOST].tail);
			push(lists, GHOST, item);
			return;
		}
	}
}

static size_t s3fifo(const struct trace *t, size_t capacity)
{
	struct item *items = need(t->distinct, sizeof *items);
	struct list lists[4] = {0};
	size_t hits = 0, small = capacity / 10 > 0 ? capacity / 10 : 1, main = capacity - small;

	for (size_t i = 0; i < t->n; i++) {
		struct item *item = &items[t->ids[i]];
		bool ghost = item->in == GHOST;

		if (item->in == SMALL || item->in == MAIN) {
			hits++;
			item->mark += item->mark < 3;
			continue;
		}
		if (ghost)
			take(lists, item);
		while (lists[SMALL].n + lists[MAIN].n >= capacity) {
			if (lists[SMALL].n >= small || lists[MAIN].n == 0)
				s3_evict_small(lists, main);
			else
				s3_evict_main(lists);
		}
		item->mark = 0;
		push(lists, ghost && main > 0 ? MAIN : SMALL, item);
	}
	free(items);
	return hits;
}

/* ---- ARC ---- */

enum { T1 = 1, T2, B1, B2 };

static void arc_replace(struct list *lists, double p, bool in_b2)
{
	double n = (double)lists[T1].n;

	if (lists[T1].n > 0 && (n > p || (in_b2 && n >= p) || lists[T2].n == 0))
		push(lists, B1, take(lists, lists[T1].tail));
	else
		push(lists, B2, take(lists, lists[T2].tail));
}

static size_t arc(const struct trace *t, size_t capacity)
{
	struct item *items = need(t->distinct, sizeof *items);
	struct list lists[5] = {0};
	double p = 0;
	size_t hits = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct item *item = &items[t->ids[i]];
		double b1 = (double)lists[B1].n, b2 = (double)lists[B2].n;
		size_t recent = lists[T1].n + lists[B1].n;

		switch (item->in) {
		case T1:
		case T2:
			hits++;
			take(lists, item);
			push(lists, T2, item);
			continue;
		case B1:
			p += b2 > b1 ? b2 / b1 : 1;
			p = p > (double)capacity ? (double)capacity : p;
			arc_replace(lists, p, false);
			take(lists, item);
			push(lists, T2, item);
			continue;
		case B2:
			p -= b1 > b2 ? b1 / b2 : 1;
			p = p < 0 ? 0 : p;
			arc_replace(lists, p, true);
			take(lists, item);
			push(lists, T2, item);
			continue;
		}
		if (recent == capacity) {
			if (lists[T1].n < capacity) {
				take(lists, lists[B1].tail);
				arc_replace(lists, p, false);
			} else {
				take(lists, lists[T1].tail);
			}
		} else if (recent + lists[T2].n + lists[B2].n >= capacity) {
			if (recent + lists[T2].n + lists[B2].n == 2 * capacity)
				take(lists, lists[B2].tail);
			if (lists[T1].n + lists[T2].n >= capacity)
				arc_replace(lists, p, false);
		}
		push(lists, T1, item);
	}
	free(items);
	return hits;
}

/* ---- LFU, optimum: heaps, the lowest rank on top ---- */

struct heap {
	struct item **at;
	uint32_t n;
};

static void heap_set(struct heap *h, uint32_t at, struct item *item)
{
	h->at[at] = item;
	item->at = at;
}

static void heap_sift(struct heap *h, struct item *item)
{
	uint32_t at = item->at;

	while (at > 0 && h->at[(at - 1) / 2]->rank > item->rank) {
		heap_set(h, at, h->at[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child + 1 < h->n && h->at[child + 1]->rank < h->at[child]->rank)
			child++;
		if (child >= h->n || h->at[child]->rank >= item->rank)
			break;
		heap_set(h, at, h->at[child]);
		at = child;
	}
	heap_set(h, at, item);
}

static void heap_push(struct heap *h, struct item *item)
{
	item->in = 1;
	item->at = h->n;
	h->at[h->n++] = item;
	heap_sift(h, item);
}

static void heap_pop(struct heap *h)
{
	struct item *top = h->at[0], *last = h->at[--h->n];

	top->in = 0;
	if (top == last)
		return;
	heap_set(h, 0, last);
	heap_sift(h, last);
}

static size_t lfu(const struct trace *t, size_t capacity)
{
	struct item *items = need(t->distinct, sizeof *items);
	struct heap heap = {.at = need(capacity + 1, sizeof *heap.at)};
	size_t hits = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct item *item = &items[t->ids[i]];

		if (item->in) {
			hits++;
			item->rank = ((item->rank >> 32) + 1) << 32 | i;
			heap_sift(&heap, item);
			continue;
		}
		if (heap.n == capacity)
			heap_pop(&heap);
		item->rank = UINT64_C(1) << 32 | i;
		heap_push(&heap, item);
	}
	free(items);
	free(heap.at);
	return hits;
}

static size_t optimum(const struct trace *t, size_t capacity)
{
	struct item *items = need(t->distinct, sizeof *items);
	struct heap heap = {.at = need(capacity + 1, sizeof *heap.at)};
	size_t hits = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct item *item = &items[t->ids[i]];

		item->rank = UINT32_MAX - t->next[i];
		if (item->in) {
			hits++;
			heap_sift(&heap, item);
			continue;
		}
		heap_push(&heap, item);
		if (heap.n > capacity)
			heap_pop(&heap);
	}
	free(items);
	free(heap.at);
	return hits;
}

const struct rival rivals[RIVALS] = {
	{"LRU", lru, false},
	{"LFU", lfu, false},
	{"SIEVE", sieve, false},
	{"S3-FIFO", s3fifo, false},
	{"ARC", arc, false},
	{"optimum", optimum, true},
};

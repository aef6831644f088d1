/* SPDX-License-Identifier: MIT */
/*
 * garbage: see garbage.h and weakref/gc.h.
 *
 * The list is memory of our own, which libgc does not scan: nothing is allocated when an object is saved. In its place
 * garbage_mark_stw marks what is listed, at the end of each marking, before anything is looked at.
 *
 * A saved block is marked when every weak word has been cleared, before libgc looks for what to finalize. To all others that is as if a
 * finalizer had brought it back: what was parked because it seemed dead is revived when the collection settles. Its own libgc finalizer
 * stays where it is. So the scanners that give up a block which they found dead, as one that libgc will finalize, keep it while
 * garbage_saving is true.
 *
 * Invariants
 *  1. Each block is listed once, and lives.
 *  2. While garbage_saving is true, capacity >= count + the weak words that there were before the stop: each may find a block dead.
 *  3. Those from `fresh` on were added by the collection at hand; otherwise fresh == count.
 *
 * Locks: libgc's, for all state here.
 */
#include "garbage.h"

#include <string.h>

#include "deaths.h"
#include "heap.h"
#include "marking.h"
#include "weakref/gc.h"

bool garbage_saving;

static const void **list;
static size_t count, capacity, fresh;
static bool wanted;

/* ---- in a collection ---- */

static bool room_for(size_t n)
{
	size_t more = capacity == 0 ? 4096 : capacity;

	if (n <= capacity)
		return true;
	while (more < n)
		more *= 2;
	void *grown = heap_reserve_grow(list, capacity * sizeof *list, more * sizeof *list);
	if (grown == NULL)
		return false;
	list = grown;
	capacity = more;
	return true;
}

void garbage_prepare_locked(size_t words)
{
	garbage_saving = wanted && deaths_are_exact() && room_for(count + words);
	if (garbage_saving || count > 0)
		marking_prepare_locked();
}

static void mark_from(size_t first)
{
	for (size_t i = first; i < count; i++)
		marking_mark_stw(list[i]);
	marking_run_stw();
}

void garbage_mark_stw(void)
{
	if (count > 0)
		mark_from(0);
}

void garbage_add_stw(const void *base)
{
	/* A foreign block may have been freed explicitly. */
	if (heap_base(base) == base)
		list[count++] = base;
}

void garbage_save_stw(void)
{
	if (fresh < count)
		mark_from(fresh);
	fresh = count;
}

size_t garbage_check_locked(void)
{
	ASSERT(count <= capacity && fresh == count);
	for (size_t i = 0; i < count; i++)
		ASSERT(heap_base(list[i]) == list[i]);
	return count;
}

static void *set_locked(void *on)
{
	wanted = *(bool *)on;
	return NULL;
}

void garbage_set_saving(bool on)
{
	heap_with_lock(set_locked, &on);
}

/* ---- for the program ---- */

/* What the program knows the block by. */
static void *pointer_to(const void *base)
{
	return heap_kind_of(base) <= HEAP_LEAF ? (struct heap_header *)base + 1 : (void *)base;
}

static void *count_locked(void *out)
{
	*(size_t *)out = count;
	return NULL;
}

size_t gc_garbage_len(void)
{
	size_t n = 0;

	if (heap_thread_check() != -WEAKREF_EINVAL)
		heap_with_lock(count_locked, &n);
	return n;
}

struct copy {
	void **out;
	size_t n;     /* how many fit */
	size_t found; /* how many there are */
};

static void *copy_locked(void *arg)
{
	struct copy *copy = arg;

	copy->found = count;
	if (count > copy->n)
		return NULL;
	for (size_t i = 0; i < count; i++)
		copy->out[i] = pointer_to(list[i]);
	return copy;
}

void **gc_garbage_list(size_t *n)
{
	struct copy copy = {0};
	int error = heap_thread_check();

	if (n == NULL || error != 0)
		return base_null(n == NULL ? WEAKREF_EINVAL : (enum weakref_error) - error);
	copy.found = gc_garbage_len();
	do {
		copy.n = copy.found + copy.found / 8;
		copy.out = heap_alloc((copy.n + 1) * sizeof *copy.out);
		if (copy.out == NULL)
			return NULL;
	} while (heap_with_lock(copy_locked, &copy) == NULL);
	*n = copy.found;
	return copy.out;
}

static void *remove_locked(void *obj)
{
	size_t i = 0;

	while (i < count && pointer_to(list[i]) != obj)
		i++;
	if (i == count)
		return NULL;
	memmove(&list[i], &list[i + 1], (--count - i) * sizeof *list);
	fresh = count;
	return obj;
}

int gc_garbage_remove(void *obj)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if (obj == NULL)
		return -WEAKREF_EINVAL;
	return heap_with_lock(remove_locked, obj) != NULL ? 0 : -WEAKREF_ENOENT;
}

static void *clear_locked(void *unused)
{
	(void)unused;
	fresh = count = 0;
	return NULL;
}

int gc_garbage_clear(void)
{
	int error = heap_thread_check();

	if (error == 0)
		heap_with_lock(clear_locked, NULL);
	return error;
}

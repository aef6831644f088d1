/* SPDX-License-Identifier: MIT */
/*
 * garbage: see garbage.h and weakref/gc.h.
 *
 * The list is memory of our own, which libgc does not scan: nothing is allocated when an object is saved. In its place
 * garbage_mark_stw marks what is listed, at the end of each marking, before anything is looked at.
 *
 * What is taken off leaves a hole, so that the others keep their order and their places; when more than half of them are holes, they
 * are closed. Where a block stands is told by a hash, which is made when the first is taken off: who only looks at the list, or clears
 * it, has none.
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
 *  4. `holes` of the places below count are NULL. The hash has all others below `hashed`, and more than twice as many buckets.
 *
 * Locks: libgc's, for all state here.
 */
#include "garbage.h"

#include "deaths.h"
#include "heap.h"
#include "marking.h"
#include "weakref/gc.h"

bool garbage_saving;

static const void **list;
static size_t count, capacity, fresh, holes;
static bool wanted;

/* Places, plus 1; 0 for none. As many as a power of two, or none yet. */
static size_t *buckets;
static size_t nbuckets, hashed;

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
		if (list[i] != NULL)
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

/* Where a block's place stands, or would. */
static size_t *bucket_of(const void *base)
{
	size_t i = base_mix((uintptr_t)base) & (nbuckets - 1);

	while (buckets[i] != 0 && list[buckets[i] - 1] != base)
		i = (i + 1) & (nbuckets - 1);
	return &buckets[i];
}

size_t garbage_check_locked(void)
{
	size_t n = 0;

	ASSERT(count <= capacity && fresh == count && hashed <= count);
	for (size_t i = 0; i < count; i++) {
		n += list[i] != NULL;
		ASSERT(list[i] == NULL || (heap_base(list[i]) == list[i] && (i >= hashed || *bucket_of(list[i]) == i + 1)));
	}
	ASSERT(n + holes == count);
	return n;
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
	*(size_t *)out = count - holes;
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

	void **out = copy->out;

	copy->found = count - holes;
	if (copy->found > copy->n)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (list[i] != NULL)
			*out++ = pointer_to(list[i]);
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

static void forget_hash(void)
{
	if (hashed > 0)
		heap_reserve_forget(buckets, nbuckets * sizeof *buckets);
	hashed = 0;
}

/* What the list has, the hash has as well. False: no memory. */
static bool hash_all(void)
{
	size_t more = nbuckets == 0 ? 4096 : nbuckets;

	while (more / 2 <= count)
		more *= 2;
	if (more != nbuckets) {
		forget_hash();
		size_t *grown = heap_reserve_grow(buckets, nbuckets * sizeof *buckets, more * sizeof *buckets);
		if (grown == NULL)
			return false;
		buckets = grown;
		nbuckets = more;
	}
	for (; hashed < count; hashed++)
		if (list[hashed] != NULL)
			*bucket_of(list[hashed]) = hashed + 1;
	return true;
}

/* A block's place; count where it has none. Without memory for the hash it is looked for. */
static size_t place_of(const void *base)
{
	if (hash_all())
		return *bucket_of(base) != 0 ? *bucket_of(base) - 1 : count;
	size_t i = 0;
	while (i < count && list[i] != base)
		i++;
	return i;
}

static void close_holes(void)
{
	size_t to = 0;

	for (size_t i = 0; i < count; i++)
		if (list[i] != NULL)
			list[to++] = list[i];
	fresh = count = to;
	holes = 0;
	forget_hash();
}

static void *remove_locked(void *obj)
{
	const void *base = heap_base(obj);
	size_t i = base != NULL && pointer_to(base) == obj ? place_of(base) : count;

	if (i == count)
		return NULL;
	list[i] = NULL;
	if (++holes > count / 2)
		close_holes();
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
	fresh = count = holes = 0;
	forget_hash();
	return NULL;
}

int gc_garbage_clear(void)
{
	int error = heap_thread_check();

	if (error == 0)
		heap_with_lock(clear_locked, NULL);
	return error;
}

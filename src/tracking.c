/* SPDX-License-Identifier: MIT */
/*
 * tracking: see tracking.h and weakref/gc.h.
 *
 * libgc can enumerate the marked blocks only, and what is marked is what is alive at one moment: when a collection's reclaim has
 * ended, and libgc's lock is held yet. So whoever wants to know makes an array, and a collection; at its end, in the same thread, the
 * array is filled. When it turns out too small, all is done again. Pointers that are written there are to marked blocks, from a block that
 * is marked itself: none is lost. Who holds an object is found so as well, among all blocks. What an object holds needs no collection.
 *
 * Frozen objects are those in an array that a root holds.
 *
 * Invariant: frozen_count is the number of objects in roots->frozen.
 *
 * Locks: libgc's.
 */
#include "tracking.h"

#include <string.h>

#include "collector.h"
#include "cycle.h"
#include "heap.h"
#include "marking.h"
#include "weakref/gc.h"

/* A root: allocated uncollectable, scanned. */
struct roots {
	void **frozen;
};

struct request {
	void (*look_locked)(struct request *r); /* finds them */
	bool leaves;
	const void *held; /* the block whose holders are wanted */
	bool holds;
	const char *stack, *stack_end; /* where to look besides */
	size_t width;		       /* bytes of what is found */
	void *out;
	size_t n;     /* how many fit */
	size_t found; /* how many there are */
	bool looked;  /* at the end of a collection of its own */
};

static struct roots *roots;
static size_t frozen_count;
/* Of this thread: who is about to have a collection made, and whom the collection that is under way is for. Finalizers run before it, which
 * may ask as well, or never come back: until it has begun nobody looks at `waiting`, and from then on nothing of the program's runs. */
static _Thread_local struct request *waiting, *request __attribute__((tls_model("initial-exec")));

/* Where one more that was found goes; NULL where there is no room. */
static void *take(struct request *r)
{
	size_t i = r->found++;

	return i < r->n ? (char *)r->out + i * r->width : NULL;
}

static void take_pointer(struct request *r, const void *p)
{
	const void **at = take(r);

	if (at != NULL)
		*at = p;
}

static void take_object(void *obj, bool leaf, void *arg)
{
	struct request *r = arg;

	if (!leaf || r->leaves)
		take_pointer(r, obj);
}

static void objects_locked(struct request *r)
{
	heap_objects_walk_locked(take_object, r);
}

static void settle_locked(void)
{
	if (request == NULL)
		return;
	struct request *r = request;

	/* What runs from here on may leave by longjmp. */
	request = NULL;
	r->found = 0;
	r->look_locked(r);
	r->looked = true;
}

static struct cycle_scanner scanner = {.settle_locked = settle_locked};

/* The array is done with: a word that is left of it somewhere is not to keep what is in it. */
static void forget(struct request *r)
{
	base_forget(r->out, (r->found < r->n ? r->found : r->n) * r->width);
}

/* An array with room for r->n, and for one at least. */
static bool make_room(struct request *r)
{
	r->out = heap_alloc((r->n + 1) * r->width);
	r->found = 0;
	return r->out != NULL;
}

static void begins_locked(void)
{
	request = waiting;
}

static void collect_for_request(void)
{
	heap_collect_from(begins_locked);
}

/* Of what a collection leaves, all that is wanted. Errors: -WEAKREF_ENOMEM, -WEAKREF_EBUSY, -WEAKREF_EPERM, -WEAKREF_EINVAL. */
static int list_all(struct request *r)
{
	int error = heap_thread_check();

	while (error == 0) {
		if (!make_room(r))
			return -WEAKREF_ENOMEM;
		struct request *outer = waiting;
		waiting = r;
		bool done = collector_collect(collect_for_request, COLLECTOR_TRIES);
		waiting = outer;
		request = NULL;
		if (!done)
			return -WEAKREF_EBUSY;
		if (!r->looked)
			continue; /* another thread's collection came in the moment in which libgc refused ours */
		if (r->found <= r->n)
			return 0;
		forget(r);
		r->n = r->found + r->found / 8;
		r->looked = false;
	}
	return error;
}

/* The array, or what hindered it. */
static void *listed(struct request *r, int error, size_t *n)
{
	if (error != 0)
		return base_null((enum weakref_error) - error);
	*n = r->found;
	return r->out;
}

void **gc_get_objects(int generation, size_t *n)
{
	struct request r = {.look_locked = objects_locked, .width = sizeof(void *), .n = 64};

	if (n == NULL || generation < WEAKREF_ALL_GENERATIONS || generation >= WEAKREF_GENERATIONS)
		return base_null(WEAKREF_EINVAL);
	if (generation == 0 || generation == 1) {
		r.out = heap_alloc(r.width);
		*n = r.out != NULL ? 0 : *n;
		return r.out;
	}
	return listed(&r, list_all(&r), n);
}

struct counts {
	gc_type_count *at;
	size_t n, room;
	size_t last; /* where the type before was found: neighbours are often of one type */
};

static bool count(struct counts *counts, const struct heap_header *header)
{
	const struct gc_type *type = heap_type(header);

	if (counts->last >= counts->n || counts->at[counts->last].type != type)
		for (counts->last = 0; counts->last < counts->n && counts->at[counts->last].type != type;)
			counts->last++;
	if (counts->last == counts->room) {
		gc_type_count *more = heap_alloc(2 * counts->room * sizeof *more);
		if (more == NULL)
			return false;
		memcpy(more, counts->at, counts->n * sizeof *more);
		counts->at = more;
		counts->room *= 2;
	}
	counts->n += counts->last == counts->n;
	gc_type_count *one = &counts->at[counts->last];
	one->type = type;
	one->objects++;
	one->bytes += heap_size(header);
	return true;
}

gc_type_count *gc_count_types(size_t *n)
{
	struct request r = {.look_locked = objects_locked, .leaves = true, .width = sizeof(void *), .n = 64};
	struct counts counts = {.room = 16};

	if (n == NULL)
		return base_null(WEAKREF_EINVAL);
	int error = list_all(&r);
	if (error != 0)
		return base_null((enum weakref_error) - error);
	counts.at = heap_alloc(counts.room * sizeof *counts.at);
	size_t i = 0;
	while (counts.at != NULL && i < r.found && count(&counts, ((const struct heap_header **)r.out)[i] - 1))
		i++;
	forget(&r);
	if (counts.at == NULL || i < r.found)
		return NULL;
	*n = counts.n;
	return counts.at;
}

/* ---- who holds whom ---- */

/* Of an object of ours the words before its payload lead to its references and its type: what it holds is in the payload. */
static unsigned words_before(const void *base)
{
	enum heap_kind kind = heap_kind_of(base);

	return kind == HEAP_OBJECT || kind == HEAP_LEAF ? HEAP_HEADER / sizeof(void *) : 0;
}

static void take_word(size_t place, const void *p, const void *block, void *r)
{
	(void)place;
	(void)block;
	take_pointer(r, p);
}

static void *referents_locked(void *arg)
{
	struct request *r = arg;

	marking_walk_begin_locked(NULL);
	marking_walk_words_locked(r->held, words_before(r->held), take_word, r);
	marking_walk_end_locked();
	return NULL;
}

void **gc_get_referents(const void *obj, size_t *n)
{
	struct request r = {.width = sizeof(void *), .n = 8};
	int error = heap_thread_check();

	if (error != 0 || n == NULL)
		return base_null(error != 0 ? (enum weakref_error) - error : WEAKREF_EINVAL);
	r.held = obj == NULL ? NULL : heap_base(obj);
	for (;;) {
		if (!make_room(&r))
			return NULL;
		if (r.held != NULL)
			heap_with_lock(referents_locked, &r);
		if (r.found <= r.n)
			break;
		forget(&r);
		r.n = r.found;
	}
	BASE_KEEP(obj);
	*n = r.found;
	return r.out;
}

static void look_for_held(size_t place, const void *p, const void *block, void *arg)
{
	struct request *r = arg;

	(void)place;
	(void)p;
	r->holds = r->holds || block == r->held;
}

static void take_referrer(void *base, size_t size, void *arg)
{
	struct request *r = arg;
	unsigned before = words_before(base);

	(void)size;
	/* The array would hold whoever holds itself. */
	if (base == r->out)
		return;
	r->holds = false;
	marking_walk_words_locked(base, before, look_for_held, r);
	if (r->holds)
		take_pointer(r, (void **)base + before);
}

static void referrers_locked(struct request *r)
{
	marking_walk_begin_locked(NULL);
	heap_blocks_walk_locked(take_referrer, r);
	marking_walk_end_locked();
}

void **gc_get_referrers(const void *obj, size_t *n)
{
	struct request r = {.look_locked = referrers_locked, .width = sizeof(void *), .n = 64};

	if (n == NULL)
		return base_null(WEAKREF_EINVAL);
	r.held = obj == NULL || heap_thread_check() != 0 ? NULL : heap_base(obj);
	void **referrers = listed(&r, list_all(&r), n);
	BASE_KEEP(obj);
	return referrers;
}

/* ---- which words hold ---- */

static void take_holder(struct request *r, enum weakref_holder where, const void *holder, size_t offset)
{
	gc_holder *at = take(r);

	if (at != NULL)
		*at = (gc_holder){where, holder, offset};
}

struct block {
	struct request *request;
	const void *start;
};

static void take_holding_word(size_t place, const void *p, const void *held, void *arg)
{
	const struct block *block = arg;

	(void)p;
	if (held == block->request->held)
		take_holder(block->request, WEAKREF_HELD_BY_BLOCK, block->start, place * sizeof(void *));
}

static void take_holding_block(void *base, size_t size, void *arg)
{
	struct request *r = arg;
	unsigned before = words_before(base);

	(void)size;
	if (base != r->out)
		marking_walk_words_locked(base, before, take_holding_word, &(struct block){r, (void **)base + before});
}

/* Words that nobody wrote as such: of other objects, with their red zones. */
__attribute__((no_sanitize("address"))) static void look_at_words(struct request *r, enum weakref_holder where, const void *from,
								   const void *end)
{
	size_t size = heap_size(r->held);

	for (const uintptr_t *at = from; (const void *)(at + 1) <= end; at++)
		if (*at - (uintptr_t)r->held < size)
			take_holder(r, where, at, 0);
}

static void look_at_static(const void *from, const void *end, void *r)
{
	look_at_words(r, WEAKREF_HELD_BY_STATIC, from, end);
}

static void holders_locked(struct request *r)
{
	if (r->held == NULL)
		return;
	marking_walk_begin_locked(NULL);
	heap_blocks_walk_locked(take_holding_block, r);
	marking_walk_end_locked();
	heap_static_walk_locked(look_at_static, r);
	look_at_words(r, WEAKREF_HELD_BY_STACK, r->stack, r->stack_end);
	if (r->found == 0)
		take_holder(r, WEAKREF_HELD_ELSEWHERE, NULL, 0);
}

/* The caller's frame, and those above it, are looked at: ours knows the object in any case. */
gc_holder *gc_get_holders(const void *obj, size_t *n)
{
	struct request r = {.look_locked = holders_locked, .width = sizeof(gc_holder), .n = 64};

	if (n == NULL)
		return base_null(WEAKREF_EINVAL);
	if (heap_thread_check() == 0) {
		r.held = obj == NULL ? NULL : heap_base(obj);
		r.stack = __builtin_frame_address(0);
		r.stack_end = heap_stack_bottom();
	}
	gc_holder *holders = listed(&r, list_all(&r), n);
	BASE_KEEP(obj);
	return holders;
}

/* ---- what there is of an object ---- */

bool gc_is_tracked(const void *obj)
{
	const struct heap_header *header = obj == NULL ? NULL : heap_object(obj);

	return header != NULL && heap_kind_of(header) == HEAP_OBJECT;
}

bool gc_is_finalized(const void *obj)
{
	const struct heap_header *header = obj == NULL ? NULL : heap_object(obj);

	return header != NULL && heap_is_finalized(header);
}

/* ---- freezing ---- */

static void *freeze_locked(void *arg)
{
	struct request *r = arg;

	roots->frozen = r->out;
	frozen_count = r->found;
	return NULL;
}

int gc_freeze(void)
{
	struct request r = {.look_locked = objects_locked, .leaves = true, .width = sizeof(void *), .n = 64};
	int error = list_all(&r);

	if (error == 0)
		heap_with_lock(freeze_locked, &r);
	return error;
}

int gc_unfreeze(void)
{
	int error = heap_thread_check();

	if (error == 0)
		heap_with_lock(freeze_locked, &(struct request){0});
	return error;
}

static void *count_locked(void *out)
{
	*(size_t *)out = frozen_count;
	return NULL;
}

size_t gc_get_freeze_count(void)
{
	size_t n = 0;

	if (heap_thread_check() != -WEAKREF_EINVAL)
		heap_with_lock(count_locked, &n);
	return n;
}

int tracking_init(void)
{
	roots = cycle_roots_new(sizeof *roots);
	if (roots == NULL)
		return -WEAKREF_ENOMEM;
	roots->frozen = NULL;
	cycle_add(&scanner);
	return 0;
}

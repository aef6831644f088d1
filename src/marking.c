/* SPDX-License-Identifier: MIT */
/*
 * marking: see marking.h.
 *
 * A block is on the stack at most once in a collection, when it was marked here: so a stack of as many entries as the heap has blocks never
 * overflows. It is reserved before the stop, without memory behind it, and what was used of it is given back afterwards. Where it could not
 * be reserved, blocks that find no room are marked all the same, and when the stack has run empty the whole heap is walked for them:
 * every marked block is looked at again. That is sound, and slow.
 *
 * Invariants
 *  1. When marking_run_stw returns, the stack is empty, and each block that was marked here has been looked at after it was marked.
 *  2. Nothing is allocated and no lock is taken between marking_mark_stw and the end of marking_run_stw.
 *  3. A walk's memory is there from its begin to its end only.
 *
 * Locks: libgc's, for all state here.
 */
#define GC_THREADS
#include "marking.h"

#include <gc/gc.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>

#include "heap.h"

#define GRANULE 16
#define FIRST_BYTES ((size_t)64 << 10)
/* So few that tests of the --enable-checks build run over. */
#define CHECKS_ROOM 64
/* What stays in use from one collection to the next. */
#define KEEP_BYTES ((size_t)256 << 10)
/* Blocks between the one that is scanned and the last one that is being fetched from memory. */
#define AHEAD 8U
#define KINDS 256
/* libgc's first ones: pointer-free, normal, and the two uncollectable ones. */
#define LIBGC_KINDS 4

static uintptr_t *stack;
static size_t reserved; /* bytes */
static size_t room;	/* entries */
static size_t top, highest;
static bool overflowed;
static void (*watcher)(const void *base);

/* Of this run: libgc's setting, and where its heap lies. */
static bool interior;
static uintptr_t heap_low, heap_span;
static uint64_t words_of[KINDS];
static gc_tracer_fn tracers[KINDS];
static bool reported[KINDS];

/* ---- memory ---- */

static void room_set(size_t bytes)
{
	reserved = bytes;
	room = CHECKS ? CHECKS_ROOM : bytes / sizeof *stack;
}

int marking_init(void)
{
	for (int kind = 0; kind < KINDS; kind++)
		words_of[kind] = UINT64_MAX;
	words_of[GC_I_PTRFREE] = 0;
	for (int kind = 0; kind < HEAP_KINDS; kind++)
		words_of[heap_kind_number((enum heap_kind)kind)] = heap_scanned_words((enum heap_kind)kind);
	stack = heap_reserve_grow(NULL, 0, FIRST_BYTES);
	if (stack == NULL)
		return -WEAKREF_ENOMEM;
	room_set(FIRST_BYTES);
	return 0;
}

void marking_prepare_locked(void)
{
	size_t bytes = GC_get_heap_size() / GRANULE * sizeof *stack;

	if (likely(bytes <= reserved))
		return;
	bytes = (bytes + bytes / 4 + FIRST_BYTES - 1) / FIRST_BYTES * FIRST_BYTES;
	void *grown = heap_reserve_grow(stack, reserved, bytes);
	if (grown == NULL)
		return;
	stack = grown;
	room_set(bytes);
}

void marking_settle_locked(void)
{
	if (highest * sizeof *stack > KEEP_BYTES)
		heap_reserve_forget(stack, highest * sizeof *stack);
	highest = 0;
}

/* ---- one block ---- */

static void push(const void *base)
{
	if (unlikely(top == room)) {
		overflowed = true;
		return;
	}
	stack[top++] = (uintptr_t)base;
}

static void report(int kind)
{
	if (kind < LIBGC_KINDS || heap_kind_is_ours(kind) || tracers[kind] != NULL || reported[kind])
		return;
	reported[kind] = true;
	base_warn("marking meets blocks of kind %d, which is not the library's and has no tracer: if it has a mark procedure, what "
		  "only that sees is lost (gc_set_kind_tracer)",
		  kind);
}

bool marking_mark_stw(const void *base)
{
	if (GC_is_marked(base))
		return false;
	GC_set_mark_bit(base);
	int kind = GC_get_kind_and_size(base, NULL);
	if (CHECKS)
		report(kind);
	if (watcher != NULL || words_of[kind] != 0)
		push(base);
	return true;
}

/* Set by libgc's own check, which it is told to print where a displacement is not registered. */
static bool displacement_bad;

static void GC_CALLBACK on_bad_displacement(void *p)
{
	(void)p;
	displacement_bad = true;
}

static bool displacement_registered(void *p)
{
	displacement_bad = false;
	GC_is_valid_displacement(p);
	return !displacement_bad;
}

/* The block that a word within the heap's ends keeps alive; NULL where it keeps none. */
static inline const void *block_of(const void *p)
{
	void *base = GC_base((void *)p);

	return base == NULL || (!interior && base != p && !displacement_registered((void *)p)) ? NULL : base;
}

static NOINLINE void visit_plausible(const void *p)
{
	const void *base = block_of(p);

	if (base != NULL)
		marking_mark_stw(base);
}

static void visit(const void *p)
{
	if ((uintptr_t)p - heap_low < heap_span)
		visit_plausible(p);
}

/* Calls fn for the scanned words that lie within the heap's ends. */
static inline __attribute__((always_inline)) void visit_words(void *const *at, size_t size, uint64_t words, void (*fn)(const void *))
{
	const uintptr_t low = heap_low, span = heap_span;

	if (words == UINT64_MAX) {
		for (void *const *end = at + size / sizeof *at; at < end; at++)
			if ((uintptr_t)*at - low < span)
				fn(*at);
		return;
	}
	for (; words != 0; words &= words - 1) {
		void *p = at[__builtin_ctzll(words)];
		if ((uintptr_t)p - low < span)
			fn(p);
	}
}

static void scan(const void *base)
{
	size_t size;
	int kind = GC_get_kind_and_size(base, &size);

	if (watcher != NULL)
		watcher(base);
	if (tracers[kind] != NULL) {
		tracers[kind]((void *)base, size, visit);
		return;
	}
	visit_words(base, size, words_of[kind], visit_plausible);
}

/* ---- all blocks ---- */

/* A block is fetched from memory while those before it are scanned. */
static void drain(void)
{
	const void *ahead[AHEAD];
	unsigned first = 0, waiting = 0;

	for (;;) {
		if (top > highest)
			highest = top;
		for (; waiting < AHEAD && top > 0; waiting++) {
			const void *next = (const void *)stack[--top];
			__builtin_prefetch(next);
			ahead[(first + waiting) % AHEAD] = next;
		}
		if (waiting == 0)
			return;
		scan(ahead[first]);
		first = (first + 1) % AHEAD;
		waiting--;
	}
}

static void scan_again(void *base, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	scan(base);
	drain();
}

/* How words are told from pointers, for as long as libgc's lock is held. */
static void look_at_heap(void)
{
	interior = GC_get_all_interior_pointers();
	heap_low = (uintptr_t)GC_least_plausible_heap_addr;
	heap_span = (uintptr_t)GC_greatest_plausible_heap_addr - heap_low;
}

void marking_run_stw(void)
{
	void(GC_CALLBACK * print)(void *) = GC_is_valid_displacement_print_proc;

	look_at_heap();
	GC_is_valid_displacement_print_proc = on_bad_displacement;
	drain();
	while (unlikely(overflowed)) {
		overflowed = false;
		GC_enumerate_reachable_objects_inner(scan_again, NULL);
	}
	GC_is_valid_displacement_print_proc = print;
}

size_t marking_waiting_stw(void)
{
	return top;
}

void marking_watch_stw(void (*fn)(const void *base))
{
	watcher = fn;
}

/* ---- walks ---- */

/* What was met, in that order, and an open-addressed index of it, never more than half full: places in `met` + 1, or 0. */
static struct walk {
	const void **met;
	size_t count, capacity;
	uint32_t *index; /* of 2 * capacity */
	uint64_t *asked; /* a bit for each that was met */
	bool (*enter)(const void *base);
	bool incomplete;
	void(GC_CALLBACK *print)(void *);
} walk;

static uint32_t *walk_place(const void *base)
{
	size_t mask = 2 * walk.capacity - 1, i = base_mix((uintptr_t)base) & mask;

	while (walk.index[i] != 0 && walk.met[walk.index[i] - 1] != base)
		i = (i + 1) & mask;
	return &walk.index[i];
}

/* Of `asked`, and of the index, which stands behind it. */
static size_t index_bytes(size_t capacity)
{
	return capacity / 8 + 2 * capacity * sizeof *walk.index;
}

static bool walk_room(void)
{
	size_t more = walk.capacity == 0 ? 1024 : 2 * walk.capacity;

	if (walk.count < walk.capacity)
		return true;
	void *memory = more > UINT32_MAX / 2 ? NULL : heap_reserve_grow(NULL, 0, index_bytes(more));
	const void **met = memory == NULL ? NULL : heap_reserve_grow(walk.met, walk.capacity * sizeof *met, more * sizeof *met);
	if (met == NULL) {
		heap_registry_free(memory, index_bytes(more));
		return false;
	}
	heap_registry_free(walk.asked, index_bytes(walk.capacity));
	walk.met = met;
	walk.asked = memory;
	walk.index = (uint32_t *)(walk.asked + more / 64);
	walk.capacity = more;
	for (size_t i = 0; i < walk.count; i++)
		*walk_place(met[i]) = (uint32_t)i + 1;
	return true;
}

/* A word that lies within the heap's ends. */
static void walk_plausible(const void *p)
{
	const void *base = block_of(p);

	if (base == NULL || (walk.capacity != 0 && *walk_place(base) != 0))
		return;
	if (!walk_room()) {
		walk.incomplete = true;
		return;
	}
	walk.met[walk.count++] = base;
	*walk_place(base) = (uint32_t)walk.count;
}

void marking_walk_begin_locked(bool (*enter)(const void *base))
{
	look_at_heap();
	walk = (struct walk){.enter = enter, .print = GC_is_valid_displacement_print_proc};
	GC_is_valid_displacement_print_proc = on_bad_displacement;
}

bool marking_walk_locked(const void *p)
{
	size_t done = walk.count, size;

	if ((uintptr_t)p - heap_low < heap_span)
		walk_plausible(p);
	for (; done < walk.count; done++) {
		const void *base = walk.met[done];
		int kind = GC_get_kind_and_size(base, &size);
		if (walk.enter == NULL || walk.enter(base))
			visit_words(base, size, words_of[kind], walk_plausible);
	}
	return !walk.incomplete;
}

int marking_walk_met_locked(const void *base)
{
	uint32_t place = walk.capacity == 0 ? 0 : *walk_place(base);
	uint64_t *word, bit;

	if (place == 0)
		return 0;
	word = &walk.asked[(place - 1) / 64];
	bit = UINT64_C(1) << (place - 1) % 64;
	if ((*word & bit) != 0)
		return 2;
	*word |= bit;
	return 1;
}

void marking_walk_end_locked(void)
{
	GC_is_valid_displacement_print_proc = walk.print;
	heap_registry_free(walk.met, walk.capacity * sizeof *walk.met);
	heap_registry_free(walk.asked, index_bytes(walk.capacity));
	walk = (struct walk){0};
}

/* ---- kinds of hosts ---- */

struct tracer {
	int kind;
	gc_tracer_fn fn;
};

static void *set_tracer_locked(void *arg)
{
	const struct tracer *tracer = arg;

	tracers[tracer->kind] = tracer->fn;
	return NULL;
}

int marking_set_tracer(int kind, gc_tracer_fn fn)
{
	if (kind < LIBGC_KINDS || kind >= KINDS || heap_kind_is_ours(kind))
		return -WEAKREF_EINVAL;
	heap_with_lock(set_tracer_locked, &(struct tracer){kind, fn});
	return 0;
}

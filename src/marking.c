/* SPDX-License-Identifier: MIT */
/*
 * marking: see marking.h.
 *
 * What libgc knows of a page of small blocks, it tells of one block at a time, and each question is a search for the page's header. No page
 * changes while the world stands: so what was learned of it is remembered in a record, with a bit for each block that is known to be
 * marked, and one for each that somebody waits for. So a block costs two calls, is it marked, and mark it, and one that was waited for the
 * second only. Records stand in the order of pages, in memory that is reserved; a stamp tells those of earlier stops. A block whose page
 * has none (there was no memory, or libgc's pages are of another size) is a stranger: nothing is remembered, and all is asked each time.
 *
 * A block is on the stack at most once in a collection, when it was marked here: so a stack of as many entries as the heap has blocks never
 * overflows. It is reserved before the stop, without memory behind it; what a collection used stays for the next one, which gives back what
 * it does not need. Where it could not be reserved, blocks that find no room are marked all the same, and when the stack has run empty the
 * whole heap is walked for them: every marked block is looked at again. That is sound, and slow.
 *
 * Invariants
 *  1. When marking_run_stw returns, the stack is empty, and each block that was marked here has been looked at after it was marked.
 *  2. Nothing is allocated and no lock is taken between marking_mark_stw and the end of marking_run_stw.
 *  3. A record whose stamp is the current one is true, and so is each bit of `marked` in it.
 *  4. A walk's memory is there from its begin to its end only.
 *
 * Locks: libgc's, for all state here.
 */
#define GC_THREADS
#include "marking.h"

#include <gc/gc.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>
#include <string.h>

#include "heap.h"

#define GRANULE 16
#define PAGE_SHIFT 12
#define PAGE_BYTES ((uintptr_t)1 << PAGE_SHIFT)
#define FIRST_BYTES ((size_t)64 << 10)
/* Pages of the heap by which the memory for their records moves. */
#define PAGES_ALIGN 128
/* So few that tests of the --enable-checks build run over. */
#define CHECKS_ROOM 64
/* What stays in use from one collection to the next, at least; and of the stack, a multiple of it. */
#define KEEP_BYTES ((size_t)256 << 10)
/* Blocks between the one that is scanned and the last one that is being fetched from memory. */
#define AHEAD 8U
#define KINDS 256
/* libgc's first ones: pointer-free, normal, and the two uncollectable ones. */
#define LIBGC_KINDS 4

static uintptr_t *stack;
static size_t reserved; /* bytes */
static size_t touched;	/* bytes, since they were given back */
static size_t room;	/* entries */
static size_t top, highest;
static bool overflowed;
static void (*watcher)(const void *base);

/* Of a page of libgc's, or of the first of those that a large block has. Two lines of the cache. */
struct page {
	_Alignas(64) uint64_t stamp; /* of the stop in which the rest is true */
	uint64_t words;		     /* of `words_of` */
	size_t size;		     /* of its blocks */
	uint32_t inverse;	     /* 2^32 / size, rounded up: the quotient is exact for offsets within a page; 0 of a large block */
	uint16_t last;		     /* where the last block may begin */
	uint8_t kind;
	/* By the granule at which a block begins. */
	uint64_t marked[PAGE_BYTES / GRANULE / 64];
	uint64_t awaited[PAGE_BYTES / GRANULE / 64];
	gc_tracer_fn tracer;
};

static struct page *pages;
static size_t pages_count;
static uintptr_t pages_low; /* the address of the first one's page */
static uint64_t stamp;
/* Pages: in this stop, where several threads may learn; and the most in one since the records were given back. */
static _Atomic size_t learned;
static size_t learned_most;
/* For a block whose page has none: what stands here is asked anew each time, and its marking always told. In the --enable-checks build, for
 * all of each fourth page. */
static struct page stranger = {.stamp = UINT64_MAX};

/* Of this stop: libgc's setting, and where its heap lies. */
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

/* Records for all between the heap's ends, which are moved seldom. */
static void pages_prepare(void)
{
	const uintptr_t align = PAGE_BYTES * PAGES_ALIGN;
	uintptr_t from = (uintptr_t)GC_least_plausible_heap_addr & ~(align - 1);
	uintptr_t to = ((uintptr_t)GC_greatest_plausible_heap_addr + align) & ~(align - 1);
	size_t needed = heap_page_shift == PAGE_SHIFT ? (to - from) / PAGE_BYTES : 0;

	if (likely(from == pages_low && needed <= pages_count))
		return;
	heap_registry_free(pages, pages_count * sizeof *pages);
	pages = needed == 0 ? NULL : heap_reserve_grow(NULL, 0, needed * sizeof *pages);
	pages_count = pages == NULL ? 0 : needed;
	pages_low = from;
	learned_most = 0;
}

static void stack_prepare(void)
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

void marking_prepare_locked(void)
{
	pages_prepare();
	stack_prepare();
}

/* Of the records nobody knows which were used: all are given back by a collection that learned far fewer. */
void marking_settle_locked(void)
{
	size_t keep = (highest * sizeof *stack / KEEP_BYTES + 1) * KEEP_BYTES;

	if (touched > keep)
		heap_reserve_forget((char *)stack + keep, touched - keep);
	touched = keep < reserved ? keep : reserved;
	highest = 0;
	if (learned > learned_most)
		learned_most = learned;
	if (learned < learned_most / 2 && learned_most * sizeof *pages > KEEP_BYTES) {
		heap_reserve_forget(pages, pages_count * sizeof *pages);
		learned_most = 0;
	}
	learned = 0;
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

/* ---- pages ---- */

static struct page *page_at(const void *p)
{
	size_t i = ((uintptr_t)p - pages_low) >> PAGE_SHIFT;

	return likely(i < pages_count && !(CHECKS && i % 4 == 3)) ? &pages[i] : &stranger;
}

/* Of the page in which the block that starts at base begins. */
static NOINLINE struct page *page_learn(struct page *page, const void *base)
{
	size_t size;
	int kind = GC_get_kind_and_size(base, &size);

	atomic_fetch_add_explicit(&learned, 1, memory_order_relaxed);
	*page = (struct page){.stamp = stamp, .words = words_of[kind], .size = size, .kind = (uint8_t)kind, .tracer = tracers[kind]};
	if (page == &stranger) {
		page->stamp = UINT64_MAX;
		memset(page->awaited, 0xff, sizeof page->awaited);
	} else if (size <= PAGE_BYTES / 2 && GC_base((void *)base) == base) {
		page->inverse = (uint32_t)(((UINT64_C(1) << 32) + size - 1) / size);
		page->last = (uint16_t)(PAGE_BYTES - size);
	}
	return page;
}

static inline struct page *page_of(const void *base)
{
	struct page *page = page_at(base);

	return likely(page->stamp == stamp) ? page : page_learn(page, base);
}

static inline size_t granule_of(const void *base)
{
	return (uintptr_t)base % PAGE_BYTES / GRANULE;
}

/* Sets the block's bit. Whether it was clear. */
static inline bool set_bit(uint64_t *bits, const void *base)
{
	size_t granule = granule_of(base);
	uint64_t bit = UINT64_C(1) << granule % 64, before = bits[granule / 64];

	bits[granule / 64] = before | bit;
	return (before & bit) == 0;
}

static inline bool has_bit(const uint64_t *bits, const void *base)
{
	size_t granule = granule_of(base);

	return (bits[granule / 64] >> granule % 64 & 1) != 0;
}

/* Of a block of this page. `found`: it was unmarked before in this stop. Of that, and of what is waited for, `marked` tells all: libgc need
 * not be asked. */
static inline __attribute__((always_inline)) bool mark_and_push(struct page *page, const void *base, bool found)
{
	if (!set_bit(page->marked, base))
		return false;
	bool awaited = has_bit(page->awaited, base);
	if (((!found && !awaited) || unlikely(page == &stranger)) && GC_is_marked(base))
		return false;
	GC_set_mark_bit(base);
	if (CHECKS)
		report(page->kind);
	if (page->words != 0 || awaited)
		push(base);
	return true;
}

bool marking_mark_stw(const void *base)
{
	return mark_and_push(page_of(base), base, false);
}

void marking_mark_found_stw(const void *base)
{
	mark_and_push(page_of(base), base, true);
}

bool marking_await_stw(const void *base)
{
	struct page *page = page_at(base);

	if (unlikely(page == &stranger))
		return !GC_is_marked(base);
	if (page->stamp != stamp)
		page_learn(page, base);
	if (has_bit(page->marked, base))
		return false;
	set_bit(page->awaited, base);
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
static const void *block_of(const void *p)
{
	void *base = GC_base((void *)p);

	return base == NULL || (!interior && base != p && !displacement_registered((void *)p)) ? NULL : base;
}

/* The same by the record of its page; NULL also where that does not tell. */
static inline const void *block_known(const struct page *page, const void *p)
{
	uint64_t offset = (uintptr_t)p % PAGE_BYTES;

	if (unlikely(page->stamp != stamp || page->inverse == 0))
		return NULL;
	offset -= (offset * page->inverse >> 32) * page->size;
	const char *base = (const char *)p - offset;
	if (unlikely((uintptr_t)base % PAGE_BYTES > page->last || (!interior && offset != 0 && !displacement_registered((void *)p))))
		return NULL;
	return base;
}

static NOINLINE void visit_unknown(const void *p)
{
	const void *base = block_of(p);

	if (base != NULL)
		mark_and_push(page_of(base), base, false);
}

static NOINLINE void visit_plausible(const void *p)
{
	struct page *page = page_at(p);
	const void *base = block_known(page, p);

	if (likely(base != NULL))
		mark_and_push(page, base, false);
	else
		visit_unknown(p);
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
		/* By granules: a block has whole ones. */
		for (void *const *end = at + size / sizeof *at; at < end; at += GRANULE / sizeof *at) {
			if (unlikely((uintptr_t)at[0] - low < span))
				fn(at[0]);
			if (unlikely((uintptr_t)at[1] - low < span))
				fn(at[1]);
		}
		return;
	}
	for (; words != 0; words &= words - 1) {
		void *p = at[__builtin_ctzll(words)];
		if ((uintptr_t)p - low < span)
			fn(p);
	}
}

static inline __attribute__((always_inline)) void scan(const void *base)
{
	const struct page *page = page_of(base);
	const gc_tracer_fn tracer = page->tracer;
	const size_t size = page->size;
	const uint64_t words = page->words;

	/* Who is told may mark, and then the stranger is another one. */
	if (has_bit(page->awaited, base) && watcher != NULL)
		watcher(base);
	if (unlikely(tracer != NULL))
		tracer((void *)base, size, visit);
	else
		visit_words(base, size, words, visit_plausible);
}

/* ---- all blocks ---- */

/* A block is fetched from memory while those before it are scanned. */
static void drain(void)
{
	const void *ahead[AHEAD];
	unsigned first = 0, waiting = 0;

	for (;;) {
		const void *base;
		if (top > highest)
			highest = top;
		/* A chain: there is nothing to be fetched meanwhile. */
		if (top == 1 && waiting == 0) {
			base = (const void *)stack[--top];
		} else {
			for (; waiting < AHEAD && top > 0; waiting++) {
				const void *next = (const void *)stack[--top];
				__builtin_prefetch(next);
				ahead[(first + waiting) % AHEAD] = next;
			}
			if (waiting == 0)
				return;
			base = ahead[first];
			first = (first + 1) % AHEAD;
			waiting--;
		}
		scan(base);
	}
}

static void scan_again(void *base, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	scan(base);
	drain();
}

/* How words are told from pointers. */
static void look_at_heap_locked(void)
{
	interior = GC_get_all_interior_pointers();
	heap_low = (uintptr_t)GC_least_plausible_heap_addr;
	heap_span = (uintptr_t)GC_greatest_plausible_heap_addr - heap_low;
}

void marking_begin_stw(void)
{
	stamp++;
	look_at_heap_locked();
}

void marking_run_stw(void)
{
	void(GC_CALLBACK * print)(void *) = GC_is_valid_displacement_print_proc;

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
	look_at_heap_locked();
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

void marking_walk_words_locked(const void *base, unsigned skip, marking_word_fn fn, void *arg)
{
	void *const *at = base;
	size_t size;
	uint64_t words = words_of[GC_get_kind_and_size(base, &size)];

	/* Only blocks of ours, of few words, have some that are scanned and others that are not. */
	for (size_t i = skip; i < size / sizeof *at && (words == UINT64_MAX || (i < 64 && words >> i != 0)); i++) {
		const void *p = at[i];
		if ((uintptr_t)p - heap_low >= heap_span || (words != UINT64_MAX && (words >> i & 1) == 0))
			continue;
		const void *block = block_of(p);
		if (block != NULL)
			fn(i - skip, p, block, arg);
	}
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

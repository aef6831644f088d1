/* SPDX-License-Identifier: MIT */
/*
 * cycle: see cycle.h.
 *
 * Invariants
 *  1. epoch_now is written with libgc's lock held (by the sentinel's procedure: by the lock's holder, or its helpers while it marks).
 *  2. recorded_no == GC_get_gc_no() whenever libgc's lock is free, or the hook was lost.
 *  3. While pieces are taken by several threads, `shared` is true, and nothing of the scanners' is written but what a piece owns, counters
 *     that are atomic, and the notes of the dead.
 *
 * Locks: libgc's, for all state here.
 */
#define GC_THREADS
#include "cycle.h"

#include <gc/gc.h>
#include <gc/gc_mark.h>

#include "crew.h"
#include "deaths.h"
#include "epoch.h"
#include "garbage.h"
#include "heap.h"
#include "marking.h"

#define TELLTALE_BYTES 4000 /* a block of its own: small ones are not marked anew in partial collections */
#define TELLTALE_SIGNATURE ((GC_word)0x77656b7265667321)

static GC_on_collection_event_proc chained;
static void *sentinel;
static _Atomic GC_word recorded_no;
static _Atomic bool window; /* between MARK_END and RECLAIM_END */
static struct cycle_scanner *scanners;
static struct cycle_scanner **scanners_end = &scanners;

static size_t words;

/* What the scanners of this collection have found. */
static _Atomic size_t found_dead, found_entries, found_refs;

static struct {
	void (*take)(size_t i, struct cycle_tally *tally);
	size_t n;
	_Atomic size_t next;
} pieces;
static bool shared;

static gc_cycle_stats stats;
void (*cycle_dead_seen_stw)(const void *base);
static uint64_t stop_began, stops_ns;
static bool count_all;
static bool base_known; /* live_before and allocated_before were taken by a collection with count_all on */
static uint64_t live_before, allocated_before;

/* ---- telltales ---- */

/* Called by markers for telltales, and for free blocks of their kind, which have no signature. */
static struct GC_ms_entry *telltale_marked(GC_word *block, struct GC_ms_entry *top, struct GC_ms_entry *limit, GC_word env)
{
	(void)env;
	return block[1] == TELLTALE_SIGNATURE ? ((cycle_telltale_fn)block[2])(top, limit) : top;
}

void *cycle_telltale_new(cycle_telltale_fn fn)
{
	static int kind = -1;
	void **list = kind < 0 ? GC_new_free_list() : NULL;

	if (kind < 0 && list != NULL)
		kind = (int)GC_new_kind(list, GC_MAKE_PROC(GC_new_proc(telltale_marked), 0), 0, 1);
	GC_word *telltale = kind < 0 ? NULL : GC_generic_malloc(TELLTALE_BYTES, kind);
	if (telltale != NULL) {
		telltale[2] = (GC_word)fn;
		telltale[1] = TELLTALE_SIGNATURE;
	}
	return telltale;
}

/* ---- the sentinel ---- */

static void epoch_make_odd(void)
{
	uint64_t epoch = atomic_load_explicit(&epoch_now, memory_order_relaxed);

	if ((epoch & 1) == 0)
		atomic_compare_exchange_strong(&epoch_now, &epoch, epoch + 1);
}

static struct GC_ms_entry *sentinel_marked(struct GC_ms_entry *top, struct GC_ms_entry *limit)
{
	(void)limit;
	epoch_make_odd();
	return top;
}

static int sentinel_new(void)
{
	void **root = cycle_roots_new(sizeof *root);

	if (root == NULL || (sentinel = cycle_telltale_new(sentinel_marked)) == NULL)
		return -WEAKREF_ENOMEM;
	*root = sentinel;
	return 0;
}

/* ---- what scanners find ---- */

void cycle_words_add_locked(size_t n)
{
	words += n;
}

void cycle_words_remove_locked(size_t n)
{
	ASSERT(n <= words);
	words -= n;
}

bool cycle_alive_stw(const void *base)
{
	return GC_is_marked(base);
}

/* Somebody wants to be told of it. Only where one thread scans. */
static NOINLINE void dead_show(const void *base)
{
	if (cycle_dead_seen_stw != NULL)
		cycle_dead_seen_stw(base);
	if (garbage_saving)
		garbage_add_stw(base);
}

static bool dead_is_shown(void)
{
	return cycle_dead_seen_stw != NULL || garbage_saving;
}

void cycle_dead_stw(const void *base, struct cycle_tally *tally)
{
	if (!deaths_add_stw(base, shared))
		return;
	tally->dead++;
	if (unlikely(dead_is_shown()))
		dead_show(base);
}

void cycle_tally_stw(const struct cycle_tally *tally)
{
	atomic_fetch_add_explicit(&found_dead, tally->dead, memory_order_relaxed);
	atomic_fetch_add_explicit(&found_entries, tally->entries, memory_order_relaxed);
	atomic_fetch_add_explicit(&found_refs, tally->refs, memory_order_relaxed);
}

static void pieces_take(void)
{
	struct cycle_tally tally = {0};

	for (size_t i; (i = atomic_fetch_add_explicit(&pieces.next, 1, memory_order_relaxed)) < pieces.n;)
		pieces.take(i, &tally);
	cycle_tally_stw(&tally);
}

void cycle_pieces_stw(void (*take)(size_t i, struct cycle_tally *tally), size_t n, size_t work)
{
	pieces.take = take;
	pieces.n = n;
	atomic_store_explicit(&pieces.next, 0, memory_order_relaxed);
	shared = work >= CREW_WORK && crew_is_there() && !dead_is_shown();
	if (shared)
		crew_run_stw(pieces_take);
	else
		pieces_take();
	shared = false;
}

bool cycle_survived_locked(const void *base)
{
	return GC_base((void *)base) == base && GC_is_marked(base);
}

static uint64_t dead_of_all_stw(void)
{
	uint64_t had = live_before + (heap_objects_allocated_locked() - allocated_before);
	uint64_t have = heap_objects_marked_stw();

	return had > have ? had - have : 0;
}

/* ---- the hook ---- */

static void mark_end_stw(void)
{
	uint64_t began = base_now();

	atomic_store_explicit(&recorded_no, GC_get_gc_no(), memory_order_relaxed);
	epoch_make_odd();
	atomic_store_explicit(&window, true, memory_order_relaxed);
	heap_mark_stock_stw();
	marking_begin_stw();
	garbage_mark_stw();
	for (struct cycle_scanner *s = scanners; s != NULL; s = s->next)
		if (s->scan_stw != NULL)
			s->scan_stw();
	size_t dead = atomic_exchange_explicit(&found_dead, 0, memory_order_relaxed);
	stats.dead += count_all && base_known ? dead_of_all_stw() : dead;
	stats.entries += atomic_exchange_explicit(&found_entries, 0, memory_order_relaxed);
	stats.refs += atomic_exchange_explicit(&found_refs, 0, memory_order_relaxed);
	garbage_save_stw();
	/* What the scanners looked at would else stay behind on this thread's stack, where the next marking takes it for roots; or in its
	 * registers, which a thread that it makes inherits, and which go to the stack with the first signal or lazily bound call. */
	base_clear_stack_top();
	base_clear_registers();
	stats.collections++;
	if (count_all)
		allocated_before = heap_objects_allocated_locked();
	stats.scan_last_ns = base_now() - began;
	stats.scan_total_ns += stats.scan_last_ns;
	if (stats.scan_last_ns > stats.scan_max_ns)
		stats.scan_max_ns = stats.scan_last_ns;
}

static void reclaim_end_locked(void)
{
	for (struct cycle_scanner *s = scanners; s != NULL; s = s->next)
		if (s->settle_locked != NULL)
			s->settle_locked();
	deaths_settle_locked();
	/* Finalizers have revived what they revive: those live. */
	if (count_all)
		live_before = heap_objects_marked_stw();
	base_known = count_all;
	GC_clear_mark_bit(sentinel);
	atomic_store_explicit(&window, false, memory_order_relaxed);
	atomic_fetch_add_explicit(&epoch_now, 1, memory_order_release);
}

static void prepare_locked(void)
{
	deaths_prepare_locked();
	garbage_prepare_locked(words);
	for (struct cycle_scanner *s = scanners; s != NULL; s = s->next)
		if (s->prepare_locked != NULL)
			s->prepare_locked();
}

static void stop_end(void)
{
	uint64_t stopped = base_now() - stop_began;

	stops_ns += stopped;
	stats.pause_total_ns += stopped;
	if (stopped > stats.pause_max_ns)
		stats.pause_max_ns = stopped;
	if (!atomic_load_explicit(&window, memory_order_relaxed))
		return; /* an abandoned marking: what it cost belongs to the collection that it was for */
	stats.pause_last_ns = stops_ns;
	stops_ns = 0;
}

static void GC_CALLBACK on_event(GC_EventType event)
{
	switch (event) {
	case GC_EVENT_PRE_STOP_WORLD:
		prepare_locked();
		/* Libgc's functions that push the roots have frames with words that they never write (a ucontext_t among them), and these
		 * frames are scanned: nothing shall be found there. */
		base_clear_stack_top();
		stop_began = base_now();
		break;
	case GC_EVENT_MARK_END:
		mark_end_stw();
		break;
	case GC_EVENT_POST_START_WORLD:
		stop_end();
		break;
	case GC_EVENT_RECLAIM_END:
		reclaim_end_locked();
		break;
	default:
		break;
	}
	if (chained != NULL)
		chained(event);
}

/* ---- the slow read ---- */

struct slow_read {
	const _Atomic(uintptr_t) *word, *other; /* other: NULL where it is not asked for */
	uintptr_t raw, second;
	void *p;
};

static void *load_into(struct slow_read *read)
{
	do {
		read->raw = atomic_load_explicit(read->word, memory_order_acquire);
		if (read->other == NULL)
			break;
		read->second = atomic_load_explicit(read->other, memory_order_acquire);
	} while (atomic_load_explicit(read->word, memory_order_relaxed) != read->raw);
	read->p = (void *)(read->raw & ~EPOCH_TAG);
	return read->p;
}

/* Whether no collection has completed its marking since its number was `no`, and none is clearing what the last one found. */
static bool nothing_cleared_since(GC_word no)
{
	return !atomic_load_explicit(&window, memory_order_acquire) && GC_get_gc_no() == no &&
	       atomic_load_explicit(&recorded_no, memory_order_acquire) == no;
}

/* With the lock held no collection is anywhere near its end, and the pointer is in read->p, on the reader's stack, before it is dropped. */
static void *load_locked(void *arg)
{
	if (GC_get_gc_no() != atomic_load_explicit(&recorded_no, memory_order_relaxed))
		base_fatal("a collection passed without the library: somebody replaced its GC_set_on_collection_event hook "
			   "without calling it; weak pointers cannot be trusted any more");
	if ((atomic_load_explicit(&epoch_now, memory_order_relaxed) & 1) != 0 && !GC_is_incremental_mode()) {
		/* The marking that made it odd was abandoned. */
		GC_clear_mark_bit(sentinel);
		atomic_fetch_add_explicit(&epoch_now, 1, memory_order_release);
	}
	return load_into(arg);
}

static void *read_slowly(struct slow_read *read)
{
	void *p, *q;

	/* A marking in progress: as long as it is not finished nothing is cleared. Without incremental mode nobody runs during a marking. */
	GC_word no = GC_get_gc_no();
	if (GC_is_incremental_mode() && nothing_cleared_since(no)) {
		p = load_into(read);
		q = (void *)read->second;
		BASE_PIN(p);
		BASE_PIN(q);
		if (nothing_cleared_since(no))
			return p;
	}
	GC_call_with_alloc_lock(load_locked, read);
	return read->p;
}

static NOINLINE void *load_slow(const _Atomic(uintptr_t) *word, uintptr_t *raw)
{
	struct slow_read read = {.word = word};
	void *p = read_slowly(&read);

	*raw = read.raw;
	return p;
}

static NOINLINE void *load_slow_two(const _Atomic(uintptr_t) *word, const _Atomic(uintptr_t) *other, uintptr_t *raw,
				    uintptr_t *second)
{
	struct slow_read read = {.word = word, .other = other};
	void *p = read_slowly(&read);

	*raw = read.raw;
	*second = read.second;
	return p;
}

/* ---- start and figures ---- */

static void *hook_take(void *unused)
{
	(void)unused;
	atomic_store(&recorded_no, GC_get_gc_no());
	return NULL;
}

int cycle_init(void)
{
	int error = sentinel_new();

	if (error != 0)
		return error;
	/* Between these two a collection may pass unseen; there is no weak word yet. */
	chained = GC_get_on_collection_event();
	GC_set_on_collection_event(on_event);
	GC_call_with_alloc_lock(hook_take, NULL);
	epoch_slow = load_slow;
	epoch_slow_two = load_slow_two;
	return 0;
}

void cycle_add(struct cycle_scanner *scanner)
{
	*scanners_end = scanner;
	scanners_end = &scanner->next;
}

void *cycle_roots_new(size_t size)
{
	return GC_MALLOC_UNCOLLECTABLE(size);
}

void cycle_roots_free(void *roots)
{
	GC_FREE(roots);
}

static void *stats_locked(void *out)
{
	*(gc_cycle_stats *)out = stats;
	return NULL;
}

void cycle_stats(gc_cycle_stats *out)
{
	GC_call_with_alloc_lock(stats_locked, out);
}

uint64_t cycle_dead_total_locked(void)
{
	return stats.dead;
}

uint64_t cycle_pause_last_locked(void)
{
	return stats.pause_last_ns;
}

static void *count_all_locked(void *on)
{
	count_all = *(bool *)on;
	return NULL;
}

/* The base to count from is taken by the next collection, which the caller makes. */
void cycle_set_count_all(bool on)
{
	GC_call_with_alloc_lock(count_all_locked, &on);
}

static void *check_locked(void *sum)
{
	for (struct cycle_scanner *s = scanners; s != NULL; s = s->next)
		if (s->check_locked != NULL)
			*(size_t *)sum += s->check_locked();
	*(size_t *)sum += garbage_check_locked();
	return NULL;
}

size_t cycle_check(void)
{
	size_t sum = 1;

	GC_call_with_alloc_lock(check_locked, &sum);
	return sum;
}

/* SPDX-License-Identifier: MIT */
/*
 * heap: see heap.h.
 *
 * A thread's stock: for each kind and each small size a chain of fresh blocks, linked by their first word, as libgc's thread-local lists
 * are. Blocks in stock are reachable from nowhere; heap_mark_stock_stw marks them at the end of each marking (which is early enough:
 * they refer to nothing). A collection that passed without our hook would free them, so an allocation looks at the epoch after it took
 * a block: odd means that the hook may have been lost, and the slow way finds out (cycle.c).
 *
 * Invariants
 *  1. A block in stock has zeros behind its first word: header->type is NULL there.
 *  2. The list of thread records is changed with libgc's lock held only, and records are never freed: the hook walks it.
 *  3. heap_thread is not NULL only in a thread that libgc knows, and weakref_epoch only where heap_thread is not.
 *
 * Locks: libgc's. Deliberately not here: types, what an object means.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* mremap */
#endif
#define GC_THREADS
#include "heap.h"

#include <gc/gc.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "checks.h"
#include "epoch.h"
#include "lock.h"

#define GRANULE 16
/* Of a thread, with the one for caches. */
#define SLOTS (HEAP_THREAD_INSIDE + 1)
_Thread_local struct heap_thread *heap_thread __attribute__((tls_model("initial-exec")));
static _Thread_local bool thread_gone; /* its destructor ran: libgc no longer stops this thread */

_Atomic bool heap_attention;
void (*heap_attention_fn)(void);
_Atomic bool heap_pacing;
void (*heap_pacing_fn)(void);

void (*_Atomic heap_thread_gone_fn)(void **slots);

unsigned heap_page_shift;

static _Atomic bool ready;
static struct heap_thread *threads;
static pthread_key_t thread_key;
static int kind_number[HEAP_KINDS];
static unsigned char kind_by_number[256]; /* HEAP_KINDS + 1 of the kind, 0 for foreign */
static size_t extra_bytes;		  /* libgc adds a byte where pointers past the end count */

/* ---- threads ---- */

static void *record_take(void *fresh)
{
	for (struct heap_thread *t = threads; t != NULL; t = t->next)
		if (!t->in_use) {
			t->in_use = true;
			return t;
		}
	if (fresh != NULL) {
		struct heap_thread *t = fresh;
		t->in_use = true;
		t->next = threads;
		threads = t;
	}
	return fresh;
}

/* Fresh blocks go back to the collector by being forgotten. */
static void record_give_up(struct heap_thread *t)
{
	memset(t->stock, 0, sizeof t->stock);
	if (t->slots != NULL)
		memset(t->slots, 0, SLOTS * sizeof *t->slots);
	/* What is in the places stays there: a stop takes it. */
	t->pending.left = 0;
	t->registered_here = false;
	atomic_signal_fence(memory_order_seq_cst);
	t->in_use = false;
}

static void *record_give_up_locked(void *t)
{
	record_give_up(t);
	return NULL;
}

/* The calling thread is about to give its record up. */
static void thread_leaves(struct heap_thread *t)
{
	void (*fn)(void **slots) = atomic_load(&heap_thread_gone_fn);

	if (t->slots != NULL && fn != NULL)
		fn(t->slots);
}

/* What the calling thread's record is; NULL: libgc does not know the thread, or does not for long. */
static void thread_is(struct heap_thread *t)
{
	heap_thread = t;
	epoch_show(t != NULL);
}

/* Destructors of others' thread-specific data may use the heap yet: libgc forgets a thread that we registered in the last round of them. */
static bool thread_may_go_on(struct heap_thread *t)
{
	static _Thread_local unsigned rounds;

	return t->registered_here && ++rounds < PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(thread_key, t) == 0;
}

/* Runs when a thread ends: libgc may have forgotten it already, but its lock serves everybody. Where we have registered it, and nobody
 * has taken that back, we do so: a stop would wait for it for ever. */
static void thread_end(void *record)
{
	struct heap_thread *t = record;

	if (thread_may_go_on(t))
		return;
	thread_leaves(t);
	bool registered = t->registered_here && GC_thread_is_registered();
	thread_is(NULL);
	thread_gone = true;
	heap_with_lock(record_give_up_locked, t);
	if (registered)
		GC_unregister_my_thread();
}

/* Gives the calling thread, known to libgc, a record. */
static int thread_adopt(void)
{
	struct heap_thread *t = heap_with_lock(record_take, NULL);

	if (t == NULL) {
		struct heap_thread *fresh = checks_allocation_fails() ? NULL : calloc(1, sizeof *fresh);
		if (fresh == NULL)
			return -WEAKREF_ENOMEM;
		t = heap_with_lock(record_take, fresh);
		if (t != fresh)
			free(fresh);
	}
	int error = pthread_setspecific(thread_key, t);
	if (error != 0) {
		heap_with_lock(record_give_up_locked, t);
		return -WEAKREF_ENOMEM;
	}
	thread_is(t);
	return 0;
}

int heap_thread_slow(void)
{
	if (!atomic_load_explicit(&ready, memory_order_acquire))
		return -WEAKREF_EINVAL;
	if (thread_gone || !GC_thread_is_registered())
		return -WEAKREF_EPERM;
	return thread_adopt();
}

int heap_thread_register(void)
{
	struct GC_stack_base base;

	if (!atomic_load_explicit(&ready, memory_order_acquire))
		return -WEAKREF_EINVAL;
	if (GC_get_stack_base(&base) != GC_SUCCESS)
		return -WEAKREF_ENOTSUP;
	int result = GC_register_my_thread(&base);
	if (result != GC_SUCCESS && result != GC_DUPLICATE)
		return -WEAKREF_ENOTSUP;
	thread_gone = false;
	int error = heap_thread_check();
	if (error != 0) {
		if (result == GC_SUCCESS)
			GC_unregister_my_thread();
		return error;
	}
	if (result == GC_SUCCESS)
		heap_thread->registered_here = true;
	return 0;
}

int heap_thread_unregister(void)
{
	struct heap_thread *t = heap_thread;

	if (!atomic_load_explicit(&ready, memory_order_acquire))
		return -WEAKREF_EINVAL;
	if (t == NULL || !t->registered_here)
		return -WEAKREF_EPERM;
	thread_leaves(t);
	pthread_setspecific(thread_key, NULL);
	thread_is(NULL);
	heap_with_lock(record_give_up_locked, t);
	GC_unregister_my_thread();
	return 0;
}

void **heap_thread_slots(bool make)
{
	struct heap_thread *t = heap_thread;

	if (t->slots == NULL && make && !checks_allocation_fails())
		t->slots = GC_MALLOC_UNCOLLECTABLE(SLOTS * sizeof *t->slots);
	return t->slots;
}

void heap_pending_each_locked(void (*fn)(struct heap_pending *pending))
{
	for (struct heap_thread *t = threads; t != NULL; t = t->next)
		fn(&t->pending);
}

size_t heap_thread_records_locked(void)
{
	size_t n = 0;

	for (struct heap_thread *t = threads; t != NULL; t = t->next)
		n++;
	return n;
}

static void *slots_clear_locked(void *slot)
{
	for (struct heap_thread *t = threads; t != NULL; t = t->next)
		if (t->slots != NULL)
			__atomic_store_n(&t->slots[*(unsigned *)slot], NULL, __ATOMIC_RELAXED);
	return NULL;
}

void heap_thread_slots_clear(unsigned slot)
{
	heap_with_lock(slots_clear_locked, &slot);
}

/* Libgc forbids collections while a thread is on its way out, from pthread_cancel or pthread_exit on, and would go on doing so in a child
 * that has lost the thread. What is forbidden for longer than this, in ms, is taken for a host's GC_disable. */
#define DISABLED_TRIES 100
static _Atomic bool disabled_before_fork;
static _Atomic GC_word disabled_by_host_at = UINTPTR_MAX; /* libgc's number of the collection before */

/* The child is alone: no lock is needed. */
void heap_fork_child(void)
{
	GC_atfork_child();
	while (!disabled_before_fork && GC_is_disabled())
		GC_enable();
	for (struct heap_thread *t = threads; t != NULL; t = t->next)
		if (t != heap_thread && t->in_use)
			record_give_up(t);
}

/* ---- start ---- */

static int kind_make(enum heap_kind kind, GC_word descriptor, int add_size)
{
	/* By a start that failed later: it cannot be given back. */
	if (kind_number[kind] != 0)
		return 0;
	void **list = GC_new_free_list();
	if (list == NULL)
		return -WEAKREF_ENOMEM;
	unsigned number = GC_new_kind(list, descriptor, add_size, 1);
	kind_number[kind] = (int)number;
	kind_by_number[number] = (unsigned char)(kind + 1);
	return 0;
}

_Static_assert(HEAP_KINDS == 6, "heap_scanned_words and kinds_make know each kind");

uint64_t heap_scanned_words(enum heap_kind kind)
{
	static const uint64_t words[HEAP_KINDS] = {
		[HEAP_OBJECT] = UINT64_MAX,
		[HEAP_LEAF] = 1 << 0 | 1 << 1,
		[HEAP_REF] = 0,
		[HEAP_REFCALL] = 1 << 4 | 1 << 7 | 1 << 8,
		[HEAP_ENTRY] = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8,
		[HEAP_FINALS] = (UINT64_C(1) << HEAP_FINALS_WORDS) - 1,
	};

	return words[kind];
}

/* libgc has room for 16 kinds; GC_new_kind aborts when a host used them up, which nobody can undo. */
static int kinds_make(void)
{
	const GC_word first = (GC_word)1 << 63;
	int error = kind_make(HEAP_OBJECT, GC_DS_LENGTH, 1);

	if (error == 0)
		error = kind_make(HEAP_LEAF, HEAP_HEADER | GC_DS_LENGTH, 0);
	if (error == 0)
		error = kind_make(HEAP_REF, GC_DS_LENGTH, 0);
	if (error == 0)
		error = kind_make(HEAP_REFCALL, GC_DS_BITMAP | first >> 4 | first >> 7 | first >> 8, 0);
	if (error == 0)
		error = kind_make(HEAP_ENTRY, GC_DS_BITMAP | (GC_word)0x3 << 62 | first >> 4 | first >> 5 | first >> 8, 0);
	if (error == 0)
		error = kind_make(HEAP_FINALS, HEAP_FINALS_WORDS * sizeof(void *) | GC_DS_LENGTH, 0);
	return error;
}

/* A batch of a fresh kind is what one page holds. */
static void page_measure(void)
{
	void *chain = NULL;
	uintptr_t n = 0;

	GC_generic_malloc_many(GRANULE, kind_number[HEAP_REF], &chain);
	for (void *p = chain; p != NULL; p = *(void **)p)
		n++;
	if (n >= 64 && (n & (n - 1)) == 0)
		heap_page_shift = (unsigned)__builtin_ctzl(n * GRANULE);
}

/*
 * Libgc sends a signal again to a thread that has not answered in a tenth of a second, and counts the answers. On a busy machine a thread
 * answers late, and once more, to the second signal, which may then be taken for that of the next stop: the count is wrong from there on,
 * the world is taken for stopped while a thread still runs, a thread is left waiting, or libgc aborts ("Signals delivery fails constantly").
 * Linux loses no signal, so nothing need be sent again; nor is it waited then until all threads go on. Where a host started libgc, or the
 * user has set the variable, it is theirs.
 */
static void start_libgc(void)
{
	static const char variable[] = "GC_RETRY_SIGNALS";
	bool ours = getenv(variable) == NULL && setenv(variable, "0", 1) == 0;

	GC_INIT();
	if (ours)
		unsetenv(variable);
}

int heap_init(void)
{
	if (!GC_is_init_called())
		start_libgc();
	unsigned version = GC_get_version();
	if (version >> 16 != GC_VERSION_MAJOR || version < (8U << 16 | 2U << 8))
		return -WEAKREF_ENOTSUP;
	if (!GC_thread_is_registered())
		return -WEAKREF_EPERM;
	if (pthread_key_create(&thread_key, thread_end) != 0)
		return -WEAKREF_ENOMEM;
	GC_allow_register_threads();
	GC_register_displacement(HEAP_HEADER);
	GC_register_displacement(HEAP_REFCALL_NODE);
	for (size_t i = 1; i < HEAP_FINALS_WORDS; i++)
		GC_register_displacement(i * sizeof(void *));
	/* A type word with bits set must keep a type that is a block, or an object, of the heap. */
	GC_register_displacement(HEAP_FINALIZED);
	GC_register_displacement(HEAP_HEADER + HEAP_FINALIZED);
	GC_register_displacement(HEAP_FINALIZED | HEAP_SPARED);
	GC_register_displacement(HEAP_HEADER + (HEAP_FINALIZED | HEAP_SPARED));
	extra_bytes = GC_get_all_interior_pointers() ? 1 : 0;
	int error = kinds_make();
	if (error == 0)
		error = thread_adopt();
	if (error != 0)
		pthread_key_delete(thread_key);
	else
		page_measure();
	return error;
}

void heap_set_ready(void)
{
	atomic_store_explicit(&ready, true, memory_order_release);
}

void heap_fork_wait(void)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	GC_word no = GC_get_gc_no();

	/* A host's, found to be so since the last collection: nobody waits twice for it. */
	int tries = atomic_load(&disabled_by_host_at) == no ? 0 : DISABLED_TRIES;
	for (; tries > 0 && GC_is_disabled(); tries--)
		nanosleep(&pause, NULL);
	disabled_before_fork = GC_is_disabled() != 0;
	atomic_store(&disabled_by_host_at, disabled_before_fork ? no : UINTPTR_MAX);
}

void heap_fork_prepare(void)
{
	GC_atfork_prepare();
}

void heap_fork_parent(void)
{
	GC_atfork_parent();
}

int heap_weak_supported(void)
{
	return GC_get_find_leak() ? -WEAKREF_ENOTSUP : 0;
}

/* ---- allocation ---- */

void heap_attend_slow(void)
{
	if (unlikely(atomic_load_explicit(&heap_attention, memory_order_relaxed)))
		heap_attention_fn();
	if (checks_collect_now())
		GC_gcollect();
}

/* 0, or -WEAKREF_E…. */
static int alloc_begin(size_t size)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if (unlikely(size > PTRDIFF_MAX - 4096))
		return -WEAKREF_EINVAL;
	if (CHECKS)
		lock_check_none("allocation");
	heap_attend();
	return checks_allocation_fails() ? -WEAKREF_ENOMEM : 0;
}

static void *alloc_end(void *p)
{
	return likely(p != NULL) ? p : base_null(WEAKREF_ENOMEM);
}

/* The way of an allocation that meets an odd epoch: epoch_slow aborts where the hook was lost. */
static NOINLINE void *stock_confirm(void *p)
{
	_Atomic(uintptr_t) word = (uintptr_t)p;
	uintptr_t raw;

	epoch_slow(&word, &raw);
	return p;
}

static inline void *stock_take(void **chain)
{
	void *p = *chain;

	if (unlikely(p == NULL))
		return NULL;
	*chain = *(void **)p;
	BASE_PIN(p);
	*(void **)p = NULL;
	if (unlikely((atomic_load_explicit(&epoch_now, memory_order_relaxed) & 1) != 0))
		return stock_confirm(p);
	return p;
}

/* Invariant 1: whoever writes to memory that he has given up would be seen here, and so would a block that is handed out twice. */
static void stock_check(const void *p, size_t granules)
{
	const uintptr_t *words = p;

	for (size_t i = 0; i < granules * GRANULE / sizeof *words; i++)
		ASSERT(words[i] == 0);
}

static void fresh_needed(enum heap_kind kind)
{
	if (unlikely(atomic_load_explicit(&heap_pacing, memory_order_relaxed)) && kind <= HEAP_LEAF)
		heap_pacing_fn();
}

/* ---- relief ---- */

static bool (*_Atomic relief)(unsigned round);
static GC_oom_func oom_before;
/* In an allocation of a kind of ours, which nobody else can serve; in relief. */
static _Thread_local bool own_kind, in_relief;

static NOINLINE bool relieved(unsigned round)
{
	bool (*relieve)(unsigned) = atomic_load_explicit(&relief, memory_order_acquire);

	if (relieve == NULL || !relieve(round))
		return false;
	GC_gcollect();
	return true;
}

/* An allocation of libgc's own kinds, the host's or ours, is about to fail. */
static void *GC_CALLBACK out_of_memory(size_t bytes)
{
	void *p = NULL;

	if (own_kind || in_relief)
		return NULL;
	in_relief = true;
	for (unsigned round = 0; p == NULL && relieved(round); round++)
		p = GC_MALLOC(bytes);
	in_relief = false;
	return p != NULL ? p : oom_before(bytes);
}

void heap_set_relief(bool (*relieve)(unsigned round))
{
	atomic_store_explicit(&relief, relieve, memory_order_release);
	oom_before = GC_get_oom_fn();
	GC_set_oom_fn(out_of_memory);
}

/* ---- allocation from stock ---- */

/* The chain is stored into the thread's record by libgc before a collection can pass. A host's finalizer may have filled it meanwhile. */
static NOINLINE void *stock_refill(void **chain, enum heap_kind kind, size_t granules)
{
	fresh_needed(kind);
	for (unsigned round = 0;; round++) {
		if (*chain == NULL)
			GC_generic_malloc_many(granules * GRANULE, kind_number[kind], chain);
		if (likely(*chain != NULL) || !relieved(round))
			return stock_take(chain);
	}
}

/* A block too large for the stock. */
static NOINLINE void *alloc_large(enum heap_kind kind, size_t size)
{
	void *p;

	fresh_needed(kind);
	for (unsigned round = 0;; round++) {
		own_kind = true;
		p = GC_generic_malloc(size, kind_number[kind]);
		own_kind = false;
		if (likely(p != NULL) || !relieved(round))
			return p;
	}
}

static inline __attribute__((always_inline)) void *alloc_kind(enum heap_kind kind, size_t size, size_t granules)
{
	int error = alloc_begin(size);

	if (unlikely(error != 0))
		return base_null((enum weakref_error) - error);
	struct heap_thread *t = heap_thread;
	void *p;
	if (likely(granules < HEAP_STOCK_CLASSES)) {
		p = stock_take(&t->stock[kind][granules]);
		if (unlikely(p == NULL))
			p = stock_refill(&t->stock[kind][granules], kind, granules);
		if (CHECKS && p != NULL)
			stock_check(p, granules);
	} else {
		p = alloc_large(kind, size);
	}
	if (unlikely(p == NULL))
		return base_null(WEAKREF_ENOMEM);
	if (kind <= HEAP_LEAF) {
		/* Written by this thread alone, read by whoever sums up. */
		uint64_t objects = atomic_load_explicit(&t->objects, memory_order_relaxed);
		atomic_store_explicit(&t->objects, objects + 1, memory_order_relaxed);
	}
	return p;
}

void *heap_alloc_kind(enum heap_kind kind, size_t size)
{
	return alloc_kind(kind, size, (size + extra_bytes + GRANULE - 1) / GRANULE);
}

void *heap_alloc_ref(void)
{
	return alloc_kind(HEAP_REF, HEAP_REF_SIZE, HEAP_REF_SIZE / GRANULE);
}

void *heap_alloc_refcall(size_t size)
{
	return alloc_kind(HEAP_REFCALL, size, size / GRANULE);
}

void *heap_alloc(size_t size)
{
	int error = alloc_begin(size);

	return unlikely(error != 0) ? base_null((enum weakref_error) - error) : alloc_end(GC_MALLOC(size));
}

void *heap_alloc_leaf(size_t size)
{
	int error = alloc_begin(size);

	return unlikely(error != 0) ? base_null((enum weakref_error) - error) : alloc_end(GC_MALLOC_ATOMIC(size));
}

int heap_finalizer_set_ordered(void *base, void (*fn)(void *base, void *data), void *data, void (**old)(void *base, void *data),
			       void **old_data)
{
	*old_data = data; /* libgc tells of failure by leaving it as it is; nobody else has this data in a slot */
	if (checks_allocation_fails())
		return -WEAKREF_ENOMEM;
	GC_register_finalizer_ignore_self(base, fn, data, old, old_data);
	return *old_data == data ? -WEAKREF_ENOMEM : 0;
}

static GC_warn_proc warn_before;
static void (*cycle_seen)(const void *base);

static void GC_CALLBACK warn(char *message, GC_word argument)
{
	if (strstr(message, "Finalization cycle") != NULL)
		cycle_seen((const void *)argument);
	warn_before(message, argument);
}

void heap_watch_cycles(void (*seen)(const void *base))
{
	cycle_seen = seen;
	warn_before = GC_get_warn_proc();
	GC_set_warn_proc(warn);
}

/* ---- the collector's settings ---- */

void heap_collect(void)
{
	GC_gcollect();
}

/* What this thread asks libgc to collect by, and the function that a host has there. Only that collection calls it. */
static _Thread_local void (*begins_locked)(void);
static _Thread_local GC_stop_func stop_of_host;

static int GC_CALLBACK begin(void)
{
	begins_locked();
	return stop_of_host();
}

void heap_collect_from(void (*begins)(void))
{
	begins_locked = begins;
	stop_of_host = GC_get_stop_func();
	GC_try_to_collect(begin);
}

void heap_set_automatic(bool on)
{
	GC_set_disable_automatic_collection(!on);
}

bool heap_is_automatic(void)
{
	return !GC_get_disable_automatic_collection();
}

void heap_set_limit(size_t bytes)
{
	GC_set_max_heap_size(bytes);
}

unsigned long heap_collections(void)
{
	return GC_get_gc_no();
}

size_t heap_in_use(void)
{
	GC_word size, free;

	GC_get_heap_usage_safe(&size, &free, NULL, NULL, NULL);
	return size > free ? size - free : 0;
}

struct heap_figures heap_figures_locked(void)
{
	struct GC_prof_stats_s s = {0};

	GC_get_prof_stats_unsafe(&s, sizeof s);
	return (struct heap_figures){
		.heap = s.heapsize_full - s.unmapped_bytes,
		.free = s.free_bytes_full - s.unmapped_bytes,
		.unmapped = s.unmapped_bytes,
		.allocated = s.allocd_bytes_before_gc + s.bytes_allocd_since_gc,
		.allocated_since = s.bytes_allocd_since_gc,
	};
}

/* ---- who is who ---- */

void *heap_base(const void *p)
{
	return GC_base((void *)p);
}

size_t heap_size(const void *base)
{
	return GC_size(base);
}

enum heap_kind heap_kind_of(const void *base)
{
	unsigned char known = kind_by_number[GC_get_kind_and_size(base, NULL)];

	return known != 0 ? (enum heap_kind)(known - 1) : HEAP_KINDS;
}

int heap_kind_number(enum heap_kind kind)
{
	return kind_number[kind];
}

bool heap_kind_is_ours(int number)
{
	return kind_by_number[number] != 0;
}

void heap_object_learn(const void *base, enum heap_kind kind)
{
	struct heap_thread *t = heap_thread;
	uint64_t epoch = atomic_load_explicit(&epoch_now, memory_order_acquire);
	uint32_t bytes = UINT32_C(1) << heap_page_shift;
	size_t size;

	if (kind > HEAP_LEAF || t == NULL || (epoch & 1) != 0)
		return;
	GC_get_kind_and_size(base, &size);
	if (size > bytes / 2)
		return;
	uintptr_t page = (uintptr_t)base >> heap_page_shift;
	uint32_t inverse = (uint32_t)(((UINT64_C(1) << 32) + size - 1) / size);
	t->known[page % HEAP_KNOWN_PAGES] = (struct heap_known_page){page, epoch + 1, (uint32_t)size, bytes - (uint32_t)size, inverse};
}

struct heap_header *heap_object(const void *p)
{
	struct heap_header *header = heap_object_known(p);

	if (likely(header != NULL))
		return header;
	header = GC_base((void *)p);
	if (header == NULL || (const void *)(header + 1) != p)
		return NULL;
	enum heap_kind kind = heap_kind_of(header);
	if (kind > HEAP_LEAF || header->type == NULL)
		return NULL;
	heap_object_learn(header, kind);
	return header;
}

/* ---- for the collection cycle ---- */

bool heap_marks_in_parallel(void)
{
	return GC_get_parallel() != 0;
}

void *heap_with_lock(void *(*fn)(void *arg), void *arg)
{
	return GC_call_with_alloc_lock(fn, arg);
}

static void *map_grow(void *old, size_t old_bytes, size_t new_bytes, int flags)
{
	void *p;

	if (old == NULL)
		p = mmap(NULL, new_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	else
		p = mremap(old, old_bytes, new_bytes, MREMAP_MAYMOVE);
	return p == MAP_FAILED ? NULL : p;
}

void *heap_registry_grow(void *old, size_t old_bytes, size_t new_bytes)
{
	return checks_allocation_fails() ? NULL : map_grow(old, old_bytes, new_bytes, 0);
}

/* Not asked of the adversary: who reserves ahead of a stop does so at moments that no test can count. */
void *heap_reserve_grow(void *old, size_t old_bytes, size_t new_bytes)
{
	return map_grow(old, old_bytes, new_bytes, MAP_NORESERVE);
}

void heap_reserve_forget(void *p, size_t bytes)
{
	madvise(p, bytes, MADV_DONTNEED);
}

void heap_registry_free(void *old, size_t bytes)
{
	if (old != NULL)
		munmap(old, bytes);
}

void heap_mark_stock_stw(void)
{
	for (struct heap_thread *t = threads; t != NULL; t = t->next)
		for (int kind = 0; kind < HEAP_KINDS; kind++)
			for (int class = 0; class < HEAP_STOCK_CLASSES; class++)
				for (void *p = t->stock[kind][class]; p != NULL; p = *(void **)p)
					GC_set_mark_bit(p);
}

uint64_t heap_objects_allocated_locked(void)
{
	uint64_t sum = 0;

	for (struct heap_thread *t = threads; t != NULL; t = t->next)
		sum += atomic_load_explicit(&t->objects, memory_order_relaxed);
	return sum;
}

struct walk {
	void (*fn)(void *obj, bool leaf, void *arg);
	void *arg;
};

static void walk_block(void *base, size_t size, void *arg)
{
	const struct walk *walk = arg;
	enum heap_kind kind = heap_kind_of(base);

	(void)size;
	if ((kind == HEAP_OBJECT || kind == HEAP_LEAF) && ((struct heap_header *)base)->type != NULL)
		walk->fn((struct heap_header *)base + 1, kind == HEAP_LEAF, walk->arg);
}

void heap_objects_walk_locked(void (*fn)(void *obj, bool leaf, void *arg), void *arg)
{
	GC_enumerate_reachable_objects_inner(walk_block, &(struct walk){fn, arg});
}

void heap_blocks_walk_locked(void (*fn)(void *base, size_t size, void *arg), void *arg)
{
	GC_enumerate_reachable_objects_inner(fn, arg);
}

struct static_walk {
	void (*fn)(const void *from, const void *end, void *arg);
	void *arg;
};

static int walk_module(struct dl_phdr_info *module, size_t size, void *arg)
{
	const struct static_walk *walk = arg;

	(void)size;
	if (module->dlpi_name != NULL && strstr(module->dlpi_name, "/libgc.so") != NULL)
		return 0;
	for (int i = 0; i < module->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &module->dlpi_phdr[i];
		uintptr_t from = module->dlpi_addr + part->p_vaddr;
		if (part->p_type == PT_LOAD && (part->p_flags & PF_W) != 0)
			walk->fn((void *)((from + sizeof(void *) - 1) & ~(sizeof(void *) - 1)), (void *)(from + part->p_memsz), walk->arg);
	}
	return 0;
}

void heap_static_walk_locked(void (*fn)(const void *from, const void *end, void *arg), void *arg)
{
	dl_iterate_phdr(walk_module, &(struct static_walk){fn, arg});
}

const void *heap_stack_bottom(void)
{
	struct GC_stack_base base = {0};

	GC_get_my_stackbottom(&base);
	return base.mem_base;
}

static void count_object(void *obj, bool leaf, void *sum)
{
	(void)obj;
	(void)leaf;
	++*(uint64_t *)sum;
}

uint64_t heap_objects_marked_stw(void)
{
	uint64_t sum = 0;

	heap_objects_walk_locked(count_object, &sum);
	return sum;
}

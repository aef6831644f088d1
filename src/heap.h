/* SPDX-License-Identifier: MIT */
/*
 * heap: memory from libgc: our kinds of block, allocation from them, who is who on the heap, and which threads may ask.
 *
 * Kinds
 *   OBJECT   a typed object: header and payload, all scanned
 *   LEAF     a typed object whose payload is not scanned, only its header
 *   REF      a reference without callback: not scanned
 *   REFCALL  a reference with callback or payload: scanned in words 4, 7 and 8 (ref.h)
 *   ENTRY    an entry of a cache: scanned in words 0, 1, 4, 5 and 8 (cache.h)
 *   FINALS   the records of some finalizers: scanned in the first words only (finals.h)
 * and libgc's own NORMAL and PTRFREE for everything else. Small blocks of our kinds come from a thread's own stock, chains of
 * fresh blocks that libgc hands out in batches: libgc's own per-thread lists serve its own kinds only, all others take its lock.
 *
 * Every allocation may collect, and run a host's finalizers and our callbacks: never allocate with a lock held.
 */
#ifndef HEAP_H
#define HEAP_H

#include "base.h"
#include "epoch.h"

enum heap_kind { HEAP_OBJECT, HEAP_LEAF, HEAP_REF, HEAP_REFCALL, HEAP_ENTRY, HEAP_FINALS, HEAP_KINDS };

/* What stands before an object's payload. The type is the signature: blocks that are on a free list or in a magazine have none there. */
struct heap_header {
	/* Weak list of the object's references, hidden: see anchor.h. */
	uintptr_t anchor;
	/* const struct gc_type *; written when the object is whole. Read it by heap_type: the lowest bits tell of the destructor. */
	const void *type;
};

/* FINALIZED: it was called, or taken away. SPARED, besides: and the object still stands among the mortals (mortal.h), as if it had not been. */
enum { HEAP_FINALIZED = 1, HEAP_SPARED = 2, HEAP_TYPE_BITS = 3 };

static inline const void *heap_type(const struct heap_header *header)
{
	return (const void *)((uintptr_t)__atomic_load_n(&header->type, __ATOMIC_RELAXED) & ~(uintptr_t)HEAP_TYPE_BITS);
}

static inline bool heap_is_finalized(const struct heap_header *header)
{
	return ((uintptr_t)__atomic_load_n(&header->type, __ATOMIC_RELAXED) & HEAP_FINALIZED) != 0;
}

/* Gives an object these bits in the place of those that it had, which are returned. */
static inline unsigned heap_type_bits_set(struct heap_header *header, unsigned bits)
{
	const void *type = (const char *)heap_type(header) + bits;

	return (unsigned)((uintptr_t)__atomic_exchange_n(&header->type, type, __ATOMIC_RELAXED) & HEAP_TYPE_BITS);
}

/* The same, where it has those. */
static inline bool heap_type_bits_change(struct heap_header *header, unsigned from, unsigned to)
{
	const char *type = heap_type(header);
	const void *before = type + from;

	return __atomic_compare_exchange_n(&header->type, &before, type + to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

#define HEAP_HEADER sizeof(struct heap_header)
/* Where queues refer to in a block of kind REFCALL. */
#define HEAP_REFCALL_NODE 32
/* A block of kind REF. */
#define HEAP_REF_SIZE 32
/* The scanned words of a block of kind FINALS: pointers to each of them keep it. */
#define HEAP_FINALS_WORDS 53

/* Starts libgc if need be, makes the kinds, makes the calling thread known. Errors: -WEAKREF_E…. By gc_init. */
int heap_init(void);
/* The last step of gc_init: from here on other threads are let in. */
void heap_set_ready(void);

/* 0, or -WEAKREF_ENOTSUP where libgc is in leak-finding mode, in which nothing ever dies. */
int heap_weak_supported(void);

/* ---- threads ---- */

/*
 * Places in which a thread leaves what it made, without a lock, until a stop or itself moves it elsewhere (anchor.c): it fills the next of the
 * places that are left, then counts. Whoever else empties them, with the world stopped or as anchor.c says, leaves `left` alone: so between
 * any two instructions of the thread an entry is in its place or it is not, and a place is filled once between two openings.
 */
#define HEAP_PENDING 64
struct heap_pending {
	unsigned left;	   /* the thread's own; 0 where its record is fresh or given up */
	unsigned reserved; /* entries that there is room for elsewhere: at least those in the places. libgc's lock */
	_Atomic(void *) at[HEAP_PENDING];
};

/*
 * What a thread has found out about a page of small objects of ours. Libgc gives a page to another size or kind only once all of its blocks
 * were found dead, within a collection, which moves the epoch: so what was seen at an even epoch holds as long as the epoch is that, and for
 * a block that the caller holds even if a collection passes while it is asked.
 */
#define HEAP_KNOWN_PAGES 16 /* a power of two */
struct heap_known_page {
	uintptr_t page;
	uint64_t stamp;	  /* the epoch and 1: of nothing yet 0 */
	uint32_t size;	  /* of its blocks, headers included */
	uint32_t last;	  /* where the last of them may begin */
	uint32_t inverse; /* 2^32 / size, rounded up: the quotient is exact for offsets within a page */
};

/* Stock is kept of blocks of up to 32 granules; larger ones come from libgc one by one. */
#define HEAP_STOCK_CLASSES 33

/* A thread's record: its own, but for `objects`, for the places, and for `next` and `in_use`, which go with libgc's lock. */
struct heap_thread {
	struct heap_thread *next; /* in the list of all records */
	bool in_use;
	bool registered_here;	  /* by gc_thread_register */
	_Atomic uint64_t objects; /* typed objects (kinds up to HEAP_LEAF) allocated by this record's threads */
	void *stock[HEAP_KINDS][HEAP_STOCK_CLASSES];
	void **slots; /* a block that is a root; NULL: none yet */
	struct heap_pending pending;
	struct heap_known_page known[HEAP_KNOWN_PAGES];
};

/* The calling thread's; NULL where libgc does not know it. */
extern _Thread_local struct heap_thread *heap_thread __attribute__((tls_model("initial-exec")));

/* How many records there are, and calls fn for the places of all of them. Libgc's lock held, or the world stopped. */
size_t heap_thread_records_locked(void);
void heap_pending_each_locked(void (*fn)(struct heap_pending *pending));

/* Who calls: 0 when the thread is known to the collector, else -WEAKREF_EPERM, or -WEAKREF_EINVAL before gc_init. A load when known. */
int heap_thread_slow(void);
static inline int heap_thread_check(void)
{
	return likely(heap_thread != NULL) ? 0 : heap_thread_slow();
}

/* gc_thread_register and gc_thread_unregister. */
int heap_thread_register(void);
int heap_thread_unregister(void);
/* Around fork. First of all, with no lock held: waits until no thread is on its way out, or so it seems. Then libgc's own handlers, which do
 * nothing where libgc handles fork by itself; in the child the records of the threads that are not there are given up, and collections
 * allowed that only such threads forbade. */
void heap_fork_wait(void);
void heap_fork_prepare(void);
void heap_fork_parent(void);
void heap_fork_child(void);

/* The calling thread's slots, which are roots; made where `make` says so. NULL: there are none, or no memory. One is for caches: what the
 * thread is in the middle of. */
#define HEAP_THREAD_SLOTS 64
#define HEAP_THREAD_INSIDE HEAP_THREAD_SLOTS
void **heap_thread_slots(bool make);
/* Called for a thread that has slots before they are emptied, when it ends: libgc may have forgotten it, so that what it looks at must be
 * reachable from them. It takes no lock that is held across an allocation, and allocates nothing. */
extern void (*_Atomic heap_thread_gone_fn)(void **slots);
/* Empties this slot in all threads. */
void heap_thread_slots_clear(unsigned slot);

/* ---- allocation ---- */

/* Set, with its function, when somebody wants to run something at the next allocation: the delivery of callbacks. */
extern _Atomic bool heap_attention;
extern void (*heap_attention_fn)(void);
/* What every allocation does first: runs callbacks that wait for one. For calls that may allocate, and most often need not. */
void heap_attend_slow(void);
static inline void heap_attend(void)
{
	if (CHECKS || unlikely(atomic_load_explicit(&heap_attention, memory_order_relaxed)))
		heap_attend_slow();
}

/*
 * A zeroed block of a kind of ours, `size` bytes in all (header included, where it has one).
 * Errors: NULL with errno ENOMEM, EPERM, EINVAL (before gc_init, absurd size). GC: may collect, may run callbacks.
 */
void *heap_alloc_kind(enum heap_kind kind, size_t size);
/* The same for references (ref.h), of a size that is a multiple of a granule: nothing ever points past the end of these. */
void *heap_alloc_ref(void);
void *heap_alloc_refcall(size_t size);
/* A zeroed block that is scanned (GC_MALLOC). As above. */
void *heap_alloc(size_t size);
/* A block that is not scanned and NOT zeroed (GC_MALLOC_ATOMIC). As above. */
void *heap_alloc_leaf(size_t size);

/* libgc's finalizer slot of any block, in libgc's order: fn(base, data) once it was found unreachable, and no other such one leads to it, all
 * that it refers to intact. fn must only queue. data is kept alive. What was in the slot before is given back, for the caller to call: *old
 * is NULL where there was nothing. Errors: -WEAKREF_ENOMEM. */
int heap_finalizer_set_ordered(void *base, void (*fn)(void *base, void *data), void *data, void (**old)(void *base, void *data),
			       void **old_data);
/* Has seen(base) called, with libgc's lock held, for a block of each cycle that this order cannot break, in every collection. Once. */
void heap_watch_cycles(void (*seen)(const void *base));

/* Set, with its function, when somebody wants to be called for each object that needs fresh memory from libgc: it may collect, and runs no
 * callbacks. */
extern _Atomic bool heap_pacing;
extern void (*heap_pacing_fn)(void);

/* Who gives memory up before an allocation fails: asked in rounds from 0 on, until it says that it gave nothing up; a collection follows each.
 * No lock of the library is held; it allocates nothing and runs no user code. Once. */
void heap_set_relief(bool (*relieve)(unsigned round));

/* ---- the collector's settings ---- */

void heap_collect(void);
/* The same. `begins` is called with libgc's lock held, once nothing of the program's runs any more until the collection is over, or refused:
 * before that libgc runs finalizers, which may do anything, and leave by longjmp. */
void heap_collect_from(void (*begins_locked)(void));
void heap_set_automatic(bool on);
bool heap_is_automatic(void);
void heap_set_limit(size_t bytes);
/* How many collections there were, and how many bytes of heap are not free, by whole pages. libgc's lock. */
unsigned long heap_collections(void);
size_t heap_in_use(void);
/* libgc's figures, in bytes: what the heap has of the system, what of it lies in free pages, and what was given back beside it; allocated
 * since the start and since the last collection. libgc's lock held. */
struct heap_figures {
	uint64_t heap, free, unmapped, allocated, allocated_since;
};
struct heap_figures heap_figures_locked(void);

/* ---- who is who; no lock ---- */

/* The start of the block that p points into; NULL where p is not on the heap. */
void *heap_base(const void *p);
/* How many bytes the block that starts at base has. */
size_t heap_size(const void *base);
/* The kind of the block that starts at base: one of ours, or HEAP_KINDS for foreign. */
enum heap_kind heap_kind_of(const void *base);
/* The header of the object of ours whose payload starts at p; NULL for everything else. */
struct heap_header *heap_object(const void *p);
/* Libgc cuts small blocks from pages of 2^this, from their start on; 0: that is not known. */
extern unsigned heap_page_shift;

/* Whether p is where the payload of a block of such a kind starts, be there an object or none yet; false tells nothing. The block is not
 * looked at. */
static inline bool heap_payload_known(const void *p)
{
	struct heap_thread *t = heap_thread;
	unsigned shift = heap_page_shift;

	if (unlikely(t == NULL))
		return false;
	uintptr_t page = (uintptr_t)p >> shift;
	const struct heap_known_page *known = &t->known[page % HEAP_KNOWN_PAGES];
	if (unlikely(known->page != page || known->stamp != atomic_load_explicit(&epoch_now, memory_order_acquire) + 1))
		return false;
	/* Wraps around where p is in the page's first header. */
	uint32_t offset = (uint32_t)((uintptr_t)p - (page << shift) - HEAP_HEADER);
	uint32_t index = (uint32_t)((uint64_t)offset * known->inverse >> 32);
	return likely(offset <= known->last && index * known->size == offset);
}

/* The header, where that can be told at once: NULL tells nothing. The caller holds p. */
static inline struct heap_header *heap_object_known(const void *p)
{
	if (unlikely(!heap_payload_known(p)))
		return NULL;
	struct heap_header *header = (struct heap_header *)p - 1;
	return header->type != NULL ? header : NULL;
}

/* What the answer costs less from then on, until a collection: base is that of a block of this kind. */
void heap_object_learn(const void *base, enum heap_kind kind);

/* libgc's number of a kind of ours, and whether a number is that of one. */
int heap_kind_number(enum heap_kind kind);
bool heap_kind_is_ours(int number);
/* Which words of a block of this kind the collector scans: bit i for word i, UINT64_MAX for all of them. */
uint64_t heap_scanned_words(enum heap_kind kind);

/* ---- for the collection cycle ---- */

/* Whether libgc marks with more than one thread. */
bool heap_marks_in_parallel(void);

/* Runs fn with libgc's allocation lock held: no collection begins or ends meanwhile. fn allocates nothing and takes no lock. */
void *heap_with_lock(void *(*fn)(void *arg), void *arg);

/* Memory of our own that the collector neither scans nor frees, for the runtime's registries, zeroed where it is new. NULL when there is
 * none. Moves its content; call it with libgc's lock held or from one thread. */
void *heap_registry_grow(void *old, size_t old_bytes, size_t new_bytes);
void heap_registry_free(void *old, size_t bytes);
/* The same for memory that is reserved only: it costs nothing until it is written to. Forgetting makes the first bytes zero again and gives
 * back what was behind them. */
void *heap_reserve_grow(void *old, size_t old_bytes, size_t new_bytes);
void heap_reserve_forget(void *p, size_t bytes);

/* World stopped, at the end of marking: marks the fresh blocks that threads keep in stock. */
void heap_mark_stock_stw(void);

/* Typed objects: how many were allocated since the start (libgc's lock held), and how many are marked now (world stopped; walks the heap). */
uint64_t heap_objects_allocated_locked(void);
uint64_t heap_objects_marked_stw(void);
/* libgc's lock held, when a collection has just ended: calls fn for each typed object that lives. fn takes no lock and allocates nothing. */
void heap_objects_walk_locked(void (*fn)(void *obj, bool leaf, void *arg), void *arg);
/* The same for each block that lives, by its start and size, foreign ones and those of the library's included. */
void heap_blocks_walk_locked(void (*fn)(void *base, size_t size, void *arg), void *arg);
/* libgc's lock held: calls fn for each part of the process's static data, of the program and of all libraries but libgc, as it is laid out. */
void heap_static_walk_locked(void (*fn)(const void *from, const void *end, void *arg), void *arg);
/* Where the calling thread's stack ends: it grows down from there. */
const void *heap_stack_bottom(void);

#endif

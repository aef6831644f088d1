/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/gc.h
 * @brief The runtime: start-up, collections, threads, and the delivery of callbacks.
 *
 * The library stands on libgc (the Boehm collector) and shares it with whoever else uses it in the process. `gc_init` takes
 * libgc's event hook (and calls the one that it found there); everything else that a host configured stays as it is.
 *
 * What happens in a collection, in this order: the collector marks; with the world stopped, the library clears each short
 * reference and each entry whose referent was not marked, and queues what has to run because of it; libgc revives what has
 * finalizers or destructors; the library clears long references. Later, outside the collector, with no lock held, the queued
 * callbacks run: see gc_set_delivery. doc/semantics.md has the rules in full.
 */
#ifndef WEAKREF_GC_H
#define WEAKREF_GC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @brief Starts the library, and libgc where nobody did.
 *
 * Call it first in main, from a thread that libgc knows. Later calls do nothing. It also allows threads to register
 * themselves (GC_allow_register_threads), which starts libgc's marker threads. Where it starts libgc, that sends each of its signals once
 * (as with GC_RETRY_SIGNALS=0), unless the variable is set: libgc 8.2.2 may count an answer twice that came late, on a busy machine. A
 * host that starts libgc itself had better set it to 0. Signal handlers of the program's that run on an alternate stack (SA_ONSTACK) have
 * GC_get_suspend_signal() in their sa_mask: libgc survives no collection that stops a thread there.
 * @return 0, or a negative error.
 * Errors: ENOMEM (it may be called again), EPERM (a thread unknown to the collector, where a host had started libgc), ENOTSUP (a
 * libgc without threads, or of a major version that configure did not see).
 * Cost: once, some 100 µs.
 * Thread: any; concurrent calls wait for the first.
 * GC: may collect.
 */
WEAKREF_API int gc_init(void);

/**
 * @brief Collects the whole heap, purges the dead entries of all weak containers, and runs the callbacks that are ready.
 *
 * Works also while automatic collection is switched off by gc_disable. With delivery at allocation the callbacks run in this
 * call; with a delivery thread it waits until that thread has run those that were ready; in manual delivery none run. Where the rule
 * becomes another one meanwhile, what has not begun is that one's. Called from within a callback it collects and purges, and leaves the
 * callbacks to the run in progress: callbacks do not nest in one thread. Nor does it wait for that thread in a loader of a cache's or a
 * function of compute: a callback may want the key.
 * @return how many watched objects (those with a reference, a finalizer, a destructor or a membership) were found dead since
 * the call began; with WEAKREF_DEBUG_COUNT_ALL, how many of all the library's objects. Or a negative error.
 * Errors: EBUSY (a host disabled libgc, and did not enable it within 20 ms), EPERM, EINVAL (gc_init was never called).
 * Cost: libgc's full collection, plus the scan of references and containers.
 * Thread: any thread known to the collector.
 * GC: collects; may run callbacks.
 */
WEAKREF_API long gc_collect(void);

/** Generations, as CPython's interface has them. The library has one heap: whichever is named, all of it is collected. */
#define WEAKREF_GENERATIONS 3

/**
 * @brief gc_collect, on the account of a generation: the figures of gc_get_stats and gc_get_count, and what the callbacks of
 * gc_callbacks_add are told.
 * @param generation 0, 1 or 2; gc_collect names 2.
 * @return as gc_collect.
 * Errors: as gc_collect; EINVAL also for another generation.
 * Cost: as gc_collect.
 * Thread: any thread known to the collector.
 * GC: collects; may run callbacks.
 * Source: gc.collect(generation).
 */
WEAKREF_API long gc_collect_generation(int generation);

/**
 * @brief Switches automatic collection on. Flat: one call undoes any number of gc_disable.
 * Errors: none.
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API void gc_enable(void);

/**
 * @brief Switches automatic collection off; gc_collect still collects, and the heap grows where libgc would have collected.
 * Errors: none.
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API void gc_disable(void);

/**
 * @brief Whether automatic collection is on.
 * @return true when on.
 * Errors: none.
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API bool gc_isenabled(void);

/* ---- pacing and figures by generation ------------------------------------------------------------------------------------ */

/** What happened on the account of one generation. */
typedef struct gc_generation_stats {
	/** Collections that named it. Those that libgc or a host began by themselves are on the account of generation 0. */
	uint64_t collections;
	/** Objects found dead by them, counted as gc_collect counts. */
	uint64_t collected;
	/** Objects among them that are never freed: those whose ordered finalizer (weakref_finalize_new_ordered) waits for a cycle, each once.
	 * Everything else that is found dead is reclaimed, cycles with destructors included. */
	uint64_t uncollectable;
	/** How long the world stood still for them, in nanoseconds. */
	uint64_t pause_ns;
} gc_generation_stats;

/**
 * @brief The figures of all generations.
 * @param out receives them, by generation.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL, or gc_init was never called).
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 * Source: gc.get_stats().
 */
WEAKREF_API int gc_get_stats(gc_generation_stats out[WEAKREF_GENERATIONS]);

/**
 * @brief What the thresholds are compared with.
 * @param out receives: objects made by gc_new since the last collection of any sort; collections on the account of generation 0 since
 * the last on that of 1 or 2; those on that of 1 since the last on that of 2.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL, or gc_init was never called).
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 * Source: gc.get_count().
 */
WEAKREF_API int gc_get_count(uint64_t out[WEAKREF_GENERATIONS]);

/**
 * @brief Sets the library's own pacing: when more than thresholds[0] objects were made since the last collection, the next gc_new that
 * needs fresh memory collects, while automatic collection is on. libgc goes on collecting by its own lights.
 *
 * It does so on the account of generation 2 when more than thresholds[2] collections of generation 1 have passed since the last of 2;
 * else of 1 when more than thresholds[1] of 0 have passed; else of 0.
 * @param thresholds n numbers; thresholds[0] == 0, as at the start, switches pacing off.
 * @param n 1, 2 or 3: the others stay as they are (10 and 10 at the start).
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL, another n, or gc_init was never called).
 * Cost: none; with pacing on, a sum over threads for each 4 KiB of objects.
 * Thread: any.
 * GC: never collects.
 * Source: gc.set_threshold().
 */
WEAKREF_API int gc_set_threshold(const uint64_t *thresholds, size_t n);

/**
 * @brief The thresholds in force.
 * @param out receives them.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL).
 * Cost: three loads.
 * Thread: any.
 * GC: never collects.
 * Source: gc.get_threshold().
 */
WEAKREF_API int gc_get_threshold(uint64_t out[WEAKREF_GENERATIONS]);

/* ---- callbacks around collections ---------------------------------------------------------------------------------------- */

enum weakref_phase { WEAKREF_PHASE_START = 0, WEAKREF_PHASE_STOP = 1 };

/** What is told of a collection. */
typedef struct gc_collection_info {
	int generation;
	/** At WEAKREF_PHASE_STOP: objects found dead, counted as gc_collect counts; those that are never freed (gc_generation_stats). */
	uint64_t collected, uncollectable;
	/** At WEAKREF_PHASE_STOP: how long the world stood still for it, in nanoseconds. */
	uint64_t pause_ns;
} gc_collection_info;

/**
 * Called before and after each collection, with no lock held; it may do anything, but a collection that it makes, in whatever way, is not
 * announced to anybody. A negative result goes to the unraisable handler; the others are called all the same.
 */
typedef int (*gc_collection_fn)(enum weakref_phase phase, const gc_collection_info *info, void *user);

/**
 * @brief Adds a callback to the end of the list that is called around collections, in order.
 *
 * Around gc_collect they run in the caller: start before, stop when everything is over, delivery included. Of collections that began
 * in another way (libgc's own, a host's, pacing, one made within a callback) both phases come afterwards, when callbacks are next delivered.
 * @param fn the callback.
 * @param user passed to it, and kept alive by the list.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL), ENOMEM, EPERM.
 * Cost: an allocation and a copy of the list.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: gc.callbacks.append().
 */
WEAKREF_API int gc_callbacks_add(gc_collection_fn fn, void *user);

/**
 * @brief Takes a callback off the list: the first that was added with these two. A collection that is being announced goes on with
 * the old list.
 * @param fn the callback.
 * @param user as it was added.
 * @return 0, or a negative error.
 * Errors: ENOENT (it is not on the list), ENOMEM, EPERM.
 * Cost: an allocation and a copy of the list.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: gc.callbacks.remove().
 */
WEAKREF_API int gc_callbacks_remove(gc_collection_fn fn, void *user);

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

/**
 * @brief Makes the calling thread known to the collector.
 *
 * Not needed for the main thread nor for threads made through libgc's own pthread_create (include <gc/gc.h> with GC_THREADS
 * defined before the thread is made, and link with libgc, `pkg-config --libs bdw-gc`, as well). Needed for every other thread before any
 * other call of this library.
 * @return 0, also where the thread was known already; or a negative error.
 * Errors: EINVAL (gc_init was never called), ENOMEM, ENOTSUP (the stack's bounds cannot be found).
 * Cost: microseconds, once a thread.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int gc_thread_register(void);

/**
 * @brief Undoes gc_thread_register. Callbacks that this thread would have run are left to others.
 *
 * A thread that ends without it is unregistered in the last round of destructors of thread-specific data (pthread_key_create): those that
 * run before may use the library. Where it is not to be known as long as that, call it.
 * @return 0, or a negative error.
 * Errors: EPERM (the thread is not known, or not by gc_thread_register), EINVAL.
 * Cost: microseconds.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int gc_thread_unregister(void);

/**
 * @brief Whether the calling thread is known to the collector.
 * @return true when it is.
 * Errors: none; false before gc_init.
 * Cost: one load, the first time libgc's lock.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API bool gc_thread_is_registered(void);

/* ---- kinds of a host's --------------------------------------------------------------------------------------------------- */

/** Tells the library of one pointer that a block holds. NULL and what is not on the heap may be told as well. */
typedef void (*gc_trace_visit_fn)(const void *p);

/** Visits every pointer that a block of the host's holds. Called with the world stopped: it allocates nothing, takes no lock, calls nothing
 * of this library or of libgc. It may meet blocks that are on a free list, zero behind their first word, as a mark procedure does. */
typedef void (*gc_tracer_fn)(void *block, size_t size, gc_trace_visit_fn visit);

/**
 * @brief Tells how to find what blocks of a libgc kind hold, for a host whose kinds have their own mark procedures.
 *
 * Ephemerons keep values alive, and what those lead to. Blocks of kinds without a tracer are searched word by word, so only hosts need this
 * whose kinds hide pointers from that search and reveal them in a mark procedure.
 * @param kind what GC_new_kind gave.
 * @param fn the tracer; NULL takes it away.
 * @return 0, or a negative error.
 * Errors: EINVAL (a kind of libgc's own or of the library's, no kind at all, or gc_init was never called), EPERM.
 * Cost: libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int gc_set_kind_tracer(int kind, gc_tracer_fn fn);

/* ---- heap limit ---------------------------------------------------------------------------------------------------------- */

/**
 * @brief Bounds the heap: an allocation that would grow it further fails with ENOMEM. libgc then writes a warning to stderr, unless the
 * program takes that over (GC_set_warn_proc).
 * @param bytes the limit; 0 lifts it.
 * @return 0, or a negative error.
 * Errors: EINVAL (gc_init was never called).
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int gc_set_heap_limit(size_t bytes);

/**
 * @brief The limit that gc_set_heap_limit set.
 * @return bytes, 0 for none. A limit set past this library (GC_set_max_heap_size) is not seen: libgc cannot tell it.
 * Errors: none.
 * Cost: a load.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API size_t gc_get_heap_limit(void);

/* ---- delivery of callbacks ----------------------------------------------------------------------------------------------- */

/** Who runs callbacks and destructors, and when. */
enum weakref_delivery {
	/** At allocations and in gc_collect, by whichever thread comes first, as libgc does with finalizers. The default. */
	WEAKREF_DELIVER_AT_ALLOCATION = 0,
	/** By one thread of the library's own, started on need, also anew in a child after fork. */
	WEAKREF_DELIVER_THREAD = 1,
	/** When the program calls gc_run_callbacks; gc_callbacks_fd tells an event loop when. */
	WEAKREF_DELIVER_MANUAL = 2,
};

/**
 * @brief Chooses who runs callbacks. What is queued already is delivered by the new rule.
 * @param delivery one of weakref_delivery.
 * @return 0, or a negative error.
 * Errors: EINVAL (another value, or gc_init was never called), ENOMEM (no thread could be started: the old rule stays).
 * Cost: microseconds.
 * Thread: any thread known to the collector.
 * GC: may collect.
 */
WEAKREF_API int gc_set_delivery(enum weakref_delivery delivery);

/**
 * @brief The rule in force.
 * @return one of weakref_delivery.
 * Errors: none.
 * Cost: a load.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API enum weakref_delivery gc_get_delivery(void);

/**
 * @brief Runs the callbacks and destructors that are ready, those that become ready meanwhile included.
 *
 * Works under every rule of delivery. Where a host has libgc finalize on demand (Guile), ordered finalizers join the queue when the
 * host pumps libgc.
 * @return how many ran, 0 also when called from within a callback; or a negative error.
 * Errors: EPERM, EINVAL (gc_init was never called).
 * Cost: theirs.
 * Thread: any thread known to the collector.
 * GC: collects only if a callback does.
 */
WEAKREF_API long gc_run_callbacks(void);

/**
 * @brief Whether gc_run_callbacks would find something to run.
 * @return true when it would.
 * Errors: none.
 * Cost: two loads.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API bool gc_callbacks_pending(void);

/**
 * @brief A descriptor that polls readable while callbacks are ready. The library reads and writes it; the program only polls.
 * @return the descriptor, the same at each call, owned by the library; or a negative error. A child after fork gets its own.
 * Errors: EINVAL (gc_init was never called), ENOMEM (no descriptor could be had).
 * Cost: a load, the first time a system call.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int gc_callbacks_fd(void);

/** What is told of a callback that failed. */
typedef struct gc_unraisable {
	/** The negative result that it returned. */
	int error;
	/** What it was: "reference callback", "finalizer", "destructor", … */
	const char *where;
	/** The reference, the finalizer or the object that it was called for. */
	void *subject;
} gc_unraisable;

/** Called for each callback that failed. It may call the library. */
typedef void (*gc_unraisable_fn)(const gc_unraisable *info, void *user);

/**
 * @brief Sets who is told of callbacks that fail. The default writes one line to stderr.
 * @param handler called after each failing callback, in its thread; NULL brings the default back.
 * @param user passed to it; kept alive by the library.
 * @return 0, or a negative error.
 * Errors: EINVAL (gc_init was never called).
 * Cost: a lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int gc_set_unraisable_handler(gc_unraisable_fn handler, void *user);

/* ---- figures and debugging ----------------------------------------------------------------------------------------------- */

/** Flags of gc_set_debug. */
enum weakref_debug {
	/** gc_collect counts every dead object of the library, watched or not. Each collection then walks the whole heap. */
	WEAKREF_DEBUG_COUNT_ALL = 1,
	/** A line on stderr for each collection, with its figures, when it is over (gc_collect) or callbacks are next delivered (all others).
	 * And one at exit, where objects were found that are uncollectable: how many. */
	WEAKREF_DEBUG_STATS = 2,
	/** A line on stderr for each watched object of the library's own found dead, at the same time; of one collection at most 1000. */
	WEAKREF_DEBUG_COLLECTABLE = 4,
	/** A line on stderr for each object that is counted as uncollectable, when callbacks are delivered, and at exit, where it is so yet;
	 * and for each object that its own finalizer keeps, because the finalizer's arguments lead to it: when that is made, or at the end of
	 * the next gc_collect, at the cost of a walk over all that the arguments of each finalizer lead to. */
	WEAKREF_DEBUG_UNCOLLECTABLE = 8,
	/** Watched objects that are found dead are put on the garbage list (gc_garbage_list) and not freed. */
	WEAKREF_DEBUG_SAVEALL = 16,
	/** For a program that leaks: print what is found, and save it. */
	WEAKREF_DEBUG_LEAK = WEAKREF_DEBUG_COLLECTABLE | WEAKREF_DEBUG_UNCOLLECTABLE | WEAKREF_DEBUG_SAVEALL,
};

/**
 * @brief Sets the debugging flags.
 * @param flags of weakref_debug, or 0.
 * @return 0, or a negative error.
 * Errors: EINVAL (an unknown flag, or gc_init was never called), ENOMEM, EPERM.
 * Cost: COUNT_ALL collects once to have a base to count from.
 * Thread: any thread known to the collector.
 * GC: collects when COUNT_ALL is set anew.
 */
WEAKREF_API int gc_set_debug(unsigned flags);

/**
 * @brief The debugging flags in force.
 * @return of weakref_debug.
 * Errors: none.
 * Cost: a load.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API unsigned gc_get_debug(void);

/* ---- the garbage list ---------------------------------------------------------------------------------------------------- */

/**
 * @brief How many objects are on the garbage list: those that were found dead while WEAKREF_DEBUG_SAVEALL was set.
 *
 * Watched objects and foreign blocks are put there by every collection, automatic ones included, and live on from then, whole, with all
 * that they lead to. Their short references and entries were cleared as at every death, and callbacks and finalizers run; their
 * destructors do not, until they die anew: taken off the list, reached by nothing, in a collection without the flag. Each collection
 * marks them while the world stands.
 * @return the number.
 * Errors: none; 0 before gc_init.
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 * Source: len(gc.garbage).
 */
WEAKREF_API size_t gc_garbage_len(void);

/**
 * @brief The garbage list, as it is at one moment; of one collection in no particular order, those of later collections behind.
 * @param n receives how many.
 * @return an array of the collected heap that holds them; NULL with errno set. A foreign block is named by its start.
 * Errors: EINVAL (NULL, or gc_init was never called), ENOMEM, EPERM.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: gc.garbage.
 */
WEAKREF_API void **gc_garbage_list(size_t *n);

/**
 * @brief Takes one object off the garbage list. It is an ordinary one again, and may be used; where nothing holds it, the next collection
 * finds it dead. With WEAKREF_DEBUG_SAVEALL that one saves it again, if it is watched: by a destructor, a long reference, or a new one.
 * @param obj as gc_garbage_list gave it.
 * @return 0, or a negative error.
 * Errors: ENOENT (it is not on the list), EINVAL (NULL, or gc_init was never called), EPERM.
 * Cost: a look-up in a hash of the list, which the first of these calls makes.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: gc.garbage.remove().
 */
WEAKREF_API int gc_garbage_remove(void *obj);

/**
 * @brief Takes all objects off the garbage list.
 * @return 0, or a negative error.
 * Errors: EPERM, EINVAL (gc_init was never called).
 * Cost: libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: gc.garbage.clear().
 */
WEAKREF_API int gc_garbage_clear(void);

/* ---- figures ------------------------------------------------------------------------------------------------------------- */

/** What the library saw of the collector since gc_init. Times are in nanoseconds of the monotonic clock. */
typedef struct gc_cycle_stats {
	/** Collections that completed their marking, automatic ones included. */
	uint64_t collections;
	/** Watched objects found dead. */
	uint64_t dead;
	/** Entries of weak containers that lost their referent. */
	uint64_t entries;
	/** References that lost their referent. */
	uint64_t refs;
	/** How long the world stood still: in the last collection, in the longest, in all. In incremental mode a collection
	 * stops the world more than once; each stop counts by itself in max, their sum in last. */
	uint64_t pause_last_ns, pause_max_ns, pause_total_ns;
	/** The part of it in which the library scanned and cleared. */
	uint64_t scan_last_ns, scan_max_ns, scan_total_ns;
} gc_cycle_stats;

/**
 * @brief Reads the figures, all of one moment.
 * @param out receives them.
 * @return 0, or a negative error.
 * Errors: EINVAL.
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int gc_get_cycle_stats(gc_cycle_stats *out);

/** How large the heap is, in bytes, but for `objects`. */
typedef struct gc_heap_stats {
	/** What the heap has of the system, and what of that lies in free pages: the rest are pages with blocks, alive or not yet swept. */
	uint64_t heap, free;
	/** Free pages beside these, which were given back to the system and will be used again. */
	uint64_t unmapped;
	/** All that was ever allocated; and since the last collection. By libgc's account: blocks count when a thread gets them in stock. */
	uint64_t allocated, allocated_since;
	/** How many objects gc_new has made. */
	uint64_t objects;
} gc_heap_stats;

/**
 * @brief Reads how large the heap is, and what was allocated, all of one moment, whoever in the process allocated it.
 * @param out receives the figures.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL, or gc_init was never called).
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 * Source: GC_get_prof_stats.
 */
WEAKREF_API int gc_get_heap_stats(gc_heap_stats *out);

/* ---- which objects there are --------------------------------------------------------------------------------------------- */

/** For gc_get_objects: all generations. */
#define WEAKREF_ALL_GENERATIONS (-1)

/**
 * @brief All tracked objects (gc_is_tracked) that a collection leaves alive; it is made to know them.
 * @param generation WEAKREF_ALL_GENERATIONS, or 2, where all of them are; 0 and 1 hold none.
 * @param n receives how many.
 * @return an array of the collected heap that holds them; NULL with errno set. An object whose destructor has just become due is among them.
 * Errors: EINVAL (another generation, NULL), EBUSY (the host disabled libgc), ENOMEM, EPERM.
 * Cost: two full collections, more where other threads make objects meanwhile.
 * Thread: any thread known to the collector.
 * GC: collects, and may run callbacks.
 * Source: gc.get_objects(generation).
 */
WEAKREF_API void **gc_get_objects(int generation, size_t *n);

/** The objects of one type. */
typedef struct gc_type_count {
	const struct gc_type *type;
	/** How many there are, and the bytes of their blocks, headers and what libgc rounds up included. */
	size_t objects, bytes;
} gc_type_count;

/**
 * @brief Counts the objects that a collection leaves alive by their types, leaf objects and the library's own included.
 * @param n receives how many types there are.
 * @return an array of the collected heap, in no order; NULL with errno set.
 * Errors: EINVAL (NULL, or gc_init was never called), EBUSY (the host disabled libgc), ENOMEM, EPERM.
 * Cost: as gc_get_objects; where types are many and take turns, also their product with the objects.
 * Thread: any thread known to the collector.
 * GC: collects, and may run callbacks.
 */
WEAKREF_API gc_type_count *gc_count_types(size_t *n);

/* ---- who holds whom ------------------------------------------------------------------------------------------------------ */

/**
 * @brief What an object holds: the pointers in it that keep a block of the collected heap alive, as they stand there.
 * @param obj a pointer to or into any block of the heap; of an object of the library's its payload is searched.
 * @param n receives how many; 0 for a leaf object and whatever else the collector does not look into, and for what is not on the heap.
 * @return an array of the collected heap that holds them, in the order of their places, each as often as it stands there; NULL with errno
 * set. A word that equals an address by chance is among them. The containers and references of the library hold blocks of its own.
 * Errors: EINVAL (NULL, or gc_init was never called), ENOMEM, EPERM.
 * Cost: linear in the block, under libgc's lock.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: gc.get_referents().
 */
WEAKREF_API void **gc_get_referents(const void *obj, size_t *n);

/**
 * @brief Which blocks of the collected heap hold an object: those for which gc_get_referents would name it, or a pointer into it.
 *
 * Who is weak holds nothing: a reference, a proxy, an entry of a weak container, an ephemeron (its value, too, it keeps for the key's sake).
 * Stacks, registers and static data are no blocks.
 * @param obj a pointer to or into any block of the heap.
 * @param n receives how many; 0 for what is not on the heap.
 * @return an array of the collected heap that holds them, each once, in no order: objects of the library's by their address, other blocks by
 * their start. NULL with errno set.
 * Errors: EINVAL (NULL, or gc_init was never called), EBUSY (the host disabled libgc), ENOMEM, EPERM.
 * Cost: a full collection, another where it is held by more than 64; and each time a walk over the whole heap under libgc's lock.
 * Thread: any thread known to the collector.
 * GC: collects, and may run callbacks.
 * Source: gc.get_referrers().
 */
WEAKREF_API void **gc_get_referrers(const void *obj, size_t *n);

/** Where a word is that holds an object. */
enum weakref_holder {
	/** In a block of the heap. */
	WEAKREF_HELD_BY_BLOCK = 0,
	/** In the static data of the program or of a library. */
	WEAKREF_HELD_BY_STATIC = 1,
	/** On the calling thread's stack, in the caller's frame or above. */
	WEAKREF_HELD_BY_STACK = 2,
	/** In none of these: a register, another thread's stack or slots of its own; or nowhere but where the caller has it. */
	WEAKREF_HELD_ELSEWHERE = 3,
};

/** A word that holds an object. */
typedef struct gc_holder {
	enum weakref_holder where;
	/** A block, as gc_get_referrers names it; elsewhere than in blocks the word itself, or NULL. */
	const void *holder;
	/** Where the word is in the block, from there on. */
	size_t offset;
} gc_holder;

/**
 * @brief Why an object is alive: each word that points to it or into it, where the collector finds such words.
 *
 * An object that blocks hold is alive while one of those is: ask for theirs. A word may be left over, or equal the address by chance.
 * @param obj a pointer to or into any block of the heap; what the call itself has of it does not count.
 * @param n receives how many words; at least 1 for what is on the heap, 0 for all else.
 * @return an array of the collected heap; NULL with errno set.
 * Errors: as gc_get_referrers.
 * Cost: as gc_get_referrers, and a scan of all static data.
 * Thread: any thread known to the collector.
 * GC: collects, and may run callbacks.
 * Source: GC_print_backtrace.
 */
WEAKREF_API gc_holder *gc_get_holders(const void *obj, size_t *n);

/* ---- what there is of an object ------------------------------------------------------------------------------------------ */

/**
 * @brief Whether a pointer is an object of the library that the collector looks into.
 * @param obj any address.
 * @return true for one; false for a leaf object, a foreign block, an interior pointer, and anything else.
 * Errors: none.
 * Cost: two look-ups in the collector's block headers, some 10 ns.
 * Thread: any.
 * GC: never collects.
 * Source: gc.is_tracked().
 */
WEAKREF_API bool gc_is_tracked(const void *obj);

/**
 * @brief Whether an object's destructor has been called, or was taken away (gc_destroy_cancel).
 * @param obj any address.
 * @return true from the call on, which for a resurrected object means always, but for gc_destroy_again; false for what has no destructor, and
 * for anything else.
 * Errors: none.
 * Cost: two look-ups in the collector's block headers, some 10 ns.
 * Thread: any.
 * GC: never collects.
 * Source: gc.is_finalized().
 */
WEAKREF_API bool gc_is_finalized(const void *obj);

/**
 * @brief Makes all objects of the library that are alive now roots: none of them dies, nor what they lead to, until gc_unfreeze.
 * @return 0, or a negative error: then what was frozen before still is.
 * Errors: EBUSY (the host disabled libgc), ENOMEM, EPERM, EINVAL (gc_init was never called).
 * Cost: that of gc_get_objects; afterwards a word to scan for each frozen object.
 * Thread: any thread known to the collector.
 * GC: collects, and may run callbacks.
 * Source: gc.freeze().
 */
WEAKREF_API int gc_freeze(void);

/**
 * @brief Takes back all that gc_freeze did.
 * @return 0, or a negative error.
 * Errors: EPERM, EINVAL (gc_init was never called).
 * Cost: libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: gc.unfreeze().
 */
WEAKREF_API int gc_unfreeze(void);

/**
 * @brief How many objects are frozen.
 * @return the number.
 * Errors: none; 0 before gc_init.
 * Cost: libgc's lock.
 * Thread: any.
 * GC: never collects.
 * Source: gc.get_freeze_count().
 */
WEAKREF_API size_t gc_get_freeze_count(void);

#ifdef __cplusplus
}
#endif

#endif

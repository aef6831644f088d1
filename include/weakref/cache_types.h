/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache_types.h
 * @brief What the headers of caches share: the cache, and the functions of the program's that it calls. weakref/cache.h tells what
 * they may do.
 */
#ifndef WEAKREF_CACHE_TYPES_H
#define WEAKREF_CACHE_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_cache weakref_cache;
typedef struct weakref_cache_bulk weakref_cache_bulk;

/** Why an entry is no longer there. */
enum weakref_cause {
	/** The program removed it. */
	WEAKREF_CAUSE_EXPLICIT = 0,
	/** The program stored another value. The entry is there yet. */
	WEAKREF_CAUSE_REPLACED = 1,
	/** The collector found a weak key or value dead, or a soft value was dropped. */
	WEAKREF_CAUSE_COLLECTED = 2,
	/** Its time was over. */
	WEAKREF_CAUSE_EXPIRED = 3,
	/** It was evicted because of the bound on size or weight. */
	WEAKREF_CAUSE_SIZE = 4,
};

/** Makes the value of a key: stores it and returns 0, or returns a negative error. Nothing stored is ENOENT. */
typedef int (*weakref_cache_load_fn)(const void *key, void **value, void *user);

/** Makes the values of n keys: calls weakref_cache_bulk_give for each value, of keys that were asked for and of others. Returns 0
 * or a negative error. */
typedef int (*weakref_cache_load_all_fn)(const void *const *keys, size_t n, weakref_cache_bulk *bulk, void *user);

/** How a cache loads. Zero what is not wanted; load must be given. */
typedef struct weakref_cache_loader {
	weakref_cache_load_fn load;
	/** For a refresh: makes the new value, knowing the old. NULL: load does. */
	int (*reload)(const void *key, void *old, void **value, void *user);
	/** For weakref_cache_get_all. NULL: load is called for each key. */
	weakref_cache_load_all_fn load_all;
	void *user;
} weakref_cache_loader;

/** The weight of an entry, asked when it is stored and when its value is replaced: 0 to UINT32_MAX. 0 is never evicted for size. A
 * negative one is refused: the write fails with it. */
typedef int64_t (*weakref_cache_weigher_fn)(const void *key, void *value, void *user);

/**
 * Told once of each entry that went and of each value that was replaced, after the fact, in the thread whose operation took it out or in one
 * that works on the cache at the same time. Key or value are NULL where the collector took them (an integer key is as it was). A
 * negative result goes to the unraisable handler.
 */
typedef int (*weakref_cache_listener_fn)(const void *key, void *value, enum weakref_cause cause, void *user);

/** How long each entry lives, in seconds from now. Negative or NaN from create or update is EINVAL, and the write fails; from read it is
 * ignored. Infinite is for ever. */
typedef struct weakref_cache_expiry {
	double (*create)(const void *key, void *value, void *user);
	/** After its value was replaced. NULL: create. `remaining` is what it had left. */
	double (*update)(const void *key, void *value, double remaining, void *user);
	/** After it was read. NULL: no change. */
	double (*read)(const void *key, void *value, double remaining, void *user);
	void *user;
} weakref_cache_expiry;

/** Runs task(arg) somewhere, once: now or later, in a thread known to the collector. arg is a block of the collected heap, to be kept
 * where the collector looks. One that is kept nowhere and was not run counts as a reload that failed, once the collector has found it.
 * Returns 0, or a negative error: then the caller runs it itself. */
typedef int (*weakref_cache_executor_fn)(void (*task)(void *arg), void *arg, void *user);

/** Nanoseconds of some clock. It may stand still or go back: then nothing expires meanwhile. */
typedef uint64_t (*weakref_cache_ticker_fn)(void *user);

/**
 * A second level behind the cache: what is not here is asked for there before the loader runs, and what was loaded is written through.
 * What the program puts, replaces or removes is removed there, before the call returns and after no later load can see it. Called in
 * place of, and under the rules of, the loader: one call a key at a time, but remove, which may come in between from others.
 *
 * Errors of these functions are counted (weakref_cache_stats: level_errors), and the cache goes on without the second level.
 */
typedef struct weakref_cache_second_level {
	/** 0 and the value; -WEAKREF_ENOENT where it has none; another negative error. */
	int (*get)(const void *key, void **value, void *user);
	/** Called before a reload, which does not get, and whose value is put. So every put follows a get or expect of its key in the same thread,
	 * and a level that others remove keys from can tell whether one of them came in between. 0 or a negative error. May be NULL. */
	int (*expect)(const void *key, void *user);
	/** Stores. 0 or a negative error. May be NULL: nothing is written through. */
	int (*put)(const void *key, void *value, void *user);
	/** Forgets a key, whether it is there or not. 0 or a negative error. May be NULL, where the level is never written otherwise. */
	int (*remove)(const void *key, void *user);
	/** Forgets everything, for weakref_cache_invalidate_all. NULL: remove is called for each key that the cache has at that moment. */
	int (*clear)(void *user);
	void *user;
} weakref_cache_second_level;

/** Makes the new value of a key from the old (NULL: there is none): stores it and returns 0; stored NULL removes the entry. Or returns a
 * negative error, and nothing changes. Called once. */
typedef int (*weakref_cache_compute_fn)(const void *key, void *old, void **value, void *user);
/** Makes one value of two, for weakref_cache_merge; as weakref_cache_compute_fn. */
typedef int (*weakref_cache_merge_fn)(const void *key, void *old, void *given, void **value, void *user);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache_memcached.h
 * @brief A second level behind a cache: memcached, through libmemcached. In a library of its own, libweakref-memcached (pkg-config:
 * libweakref-memcached), which is built where libmemcached is found.
 *
 *     weakref_cache_memcached *far = weakref_cache_memcached_new(&options);
 *     weakref_cache_second_level level;
 *     weakref_cache_memcached_level(far, &level);
 *     weakref_cache_builder_second_level(builder, &level);
 *
 * What the cache does not have is asked for there before its loader runs, and what was loaded is stored there, as bytes that the program's
 * functions make of values, and values of bytes. Programs and machines that give the same servers and the same prefix share what is there.
 *
 * A server that is down, slow or full costs nothing but its timeout, once a retry interval: the loader does the work, the failure is counted.
 * Servers need memcached's cas, which they have unless -C took it away.
 *
 * No value is given that is in doubt: each is stored with its whole key, with the time of its prefix (see weakref_cache_memcached_clear) and
 * with a checksum, and all are compared. What was loaded before a key was removed is not seen there afterwards, whoever removed it. A removal that
 * failed is owed: until it was made up for, this program reads nothing there. doc/semantics.md has the rules.
 */
#ifndef WEAKREF_CACHE_MEMCACHED_H
#define WEAKREF_CACHE_MEMCACHED_H

#include <stddef.h>
#include <stdint.h>

#include "weakref/cache.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Connections to memcached. An object of the collected heap; dropped, it closes them. */
typedef struct weakref_cache_memcached weakref_cache_memcached;

/** Makes bytes of a value. They belong to the value, or are a block of the collected heap, or static: they are read before the store is over,
 * neither changed, kept nor freed. Returns 0 or a negative error: then the value is not stored. */
typedef int (*weakref_cache_encode_fn)(const void *key, void *value, weakref_bytes *bytes, void *user);
/** Makes a value of bytes. They are a leaf block of the collected heap of their own, aligned for any type: it may be kept, changed, or be the
 * value itself. Returns 0 with a value that is not NULL, or a negative error: then the loader runs. */
typedef int (*weakref_cache_decode_fn)(const void *key, const weakref_bytes *bytes, void **value, void *user);

/** How to reach the servers. Zero what is not wanted; servers, encode and decode must be given. */
typedef struct weakref_cache_memcached_options {
	/** libmemcached's configuration: `--SERVER=10.0.0.1:11211 --SERVER=10.0.0.2`, `--SOCKET="/run/memcached.sock"`. No namespace. */
	const char *servers;
	/** Before every key there: at most 64 printable characters, no blank, colon or exclamation mark. NULL: none. */
	const char *prefix;
	/** What the cache's keys are: WEAKREF_KEY_STRING, WEAKREF_KEY_BYTES or WEAKREF_KEY_INT. */
	enum weakref_key_kind kind;
	weakref_cache_encode_fn encode;
	weakref_cache_decode_fn decode;
	/** Passed to both; kept alive. */
	void *user;
	/** Seconds until what was stored goes there by itself, rounded up. 0: only when room is needed. */
	double ttl;
	/** Seconds for each connecting, sending, or waiting for an answer. 0: 0.1. */
	double timeout;
	/** Seconds for which a server that failed is left alone. 0: 1. */
	double retry;
	/** At a time; who finds all of them in use waits for one, as long as timeout says. 0: 8. At most 1024. */
	unsigned connections;
	/** Bytes of a value, more are not stored. 0: 1000000, which a memcached that was not told otherwise takes. */
	size_t max_value;
} weakref_cache_memcached_options;

/** What was done since it was made. */
typedef struct weakref_cache_memcached_stats {
	/** Look-ups that found a value; that found none; stores; removals of keys; clearings. Each that succeeded counts in one of these. */
	uint64_t hits, misses, stores, removals, clears;
	/** Those that did not: because the server failed; because it had failed shortly before and was left alone; because all connections
	 * were in use; because encode or decode failed; because the value was too large; because the key was stored or removed there by
	 * somebody else after it had been looked up, or the look-up had failed (no failure, and no error of the level's). */
	uint64_t failures, skipped, busy, coding, too_large, overtaken;
	/** Of the misses, those where something was there: of another key, of before a clearing, damaged. */
	uint64_t foreign, outdated, damaged;
	/** Removals and clearings that are owed. */
	uint64_t owed;
} weakref_cache_memcached_stats;

/**
 * @brief Prepares connections. None is made yet, so that a server which is down is no error.
 * @param options copied, the strings included; user is kept alive.
 * @return an object; NULL with errno set.
 * Errors: EINVAL (servers, that libmemcached does not understand or with a namespace; prefix; kind; encode; decode; negative or NaN times),
 * ENOMEM, EPERM.
 * Cost: some allocations; connections are made one by one, as they are needed.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_cache_memcached *weakref_cache_memcached_new(const weakref_cache_memcached_options *options);

/**
 * @brief The second level for weakref_cache_builder_second_level. Any number of caches with the same kind of key may share it.
 * @param memcached what weakref_cache_memcached_new gave; it is the level's user, so that the cache keeps it alive.
 * @param level is filled in.
 * @return 0, or a negative error.
 * Errors: EINVAL.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_cache_memcached_level(weakref_cache_memcached *memcached, weakref_cache_second_level *level);

/**
 * @brief Makes all that is stored under the prefix unreadable, for all who share it. Other prefixes are not touched.
 *
 * Each server holds the number of a time, and each value the number of the time in which it was stored; another number begins another time.
 * @param memcached what weakref_cache_memcached_new gave.
 * @return 0, or a negative error.
 * Errors: EINVAL; EIO (a server failed: it is owed to it), EBUSY (all connections are in use: it is owed to all), ENOMEM, EPERM.
 * Cost: a message to each server.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API int weakref_cache_memcached_clear(weakref_cache_memcached *memcached);

/**
 * @brief The figures.
 * @param memcached what weakref_cache_memcached_new gave.
 * @param out receives them; they need not be of one moment.
 * @return 0, or a negative error.
 * Errors: EINVAL.
 * Cost: some loads.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_cache_memcached_get_stats(weakref_cache_memcached *memcached, weakref_cache_memcached_stats *out);

/**
 * @brief The name by which memcached knows a key, for who wants to look there.
 *
 * It is the prefix and, where the key is of printable characters without blank and not too long, a colon, a letter for the kind and the key;
 * else a letter and 128 bits of XXH3 in hexadecimal. Two keys may have one name then; the whole key, stored beside the value, tells them apart.
 * @param memcached what weakref_cache_memcached_new gave.
 * @param key a key.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole name, at most 250, or a negative error.
 * Errors: EINVAL.
 * Cost: linear in the key.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_cache_memcached_name(weakref_cache_memcached *memcached, const void *key, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif

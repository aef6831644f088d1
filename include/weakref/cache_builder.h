/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/cache_builder.h
 * @brief How caches are made: a builder, its options one by one or as a string, and what they mean. weakref/cache.h is all of caches.
 *
 * An option that is refused is not set, and the cache would be built without it. So look at each result, or once before building, since the
 * builder remembers what it refused last:
 *
 *     weakref_cache_builder *builder = weakref_cache_builder_new(WEAKREF_KEY_STRING);
 *     const weakref_cache_loader loader = {.load = load_file};
 *
 *     weakref_cache_builder_spec(builder, "maximumSize=1000,expireAfterWrite=10m,recordStats");
 *     weakref_cache_builder_loader(builder, &loader);
 *     if (*weakref_cache_builder_error(builder) == 0)
 *             cache = weakref_cache_builder_build(builder);
 *     if (cache == NULL)
 *             complain(weakref_cache_builder_error(builder));
 */
#ifndef WEAKREF_CACHE_BUILDER_H
#define WEAKREF_CACHE_BUILDER_H

#include <stdint.h>

#include "weakref/cache_types.h"
#include "weakref/error.h"
#include "weakref/key.h"
#include "weakref/valuedict.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_cache_builder weakref_cache_builder;

/**
 * @brief A builder, for a cache without bounds, expiry, loader or listener. Each option may be set once.
 * @param kind what the cache's keys are; not WEAKREF_KEY_CUSTOM.
 * @return the builder, a block of the collected heap; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: an allocation.
 * Thread: any thread known to the collector; a builder is for one thread at a time.
 * GC: may collect, and may run callbacks.
 * Source: CacheBuilder.newBuilder(), Caffeine.newBuilder().
 */
WEAKREF_API weakref_cache_builder *weakref_cache_builder_new(enum weakref_key_kind kind);

/**
 * @brief A builder for a cache whose keys are compared by the caller's functions.
 * @param hash hashes a key.
 * @param equal compares two keys.
 * @param user passed to both, kept alive by the cache.
 * @return the builder; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: an allocation.
 * Thread: as weakref_cache_builder_new.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_cache_builder *weakref_cache_builder_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user);

/**
 * @brief Weak keys: blocks of the collected heap, compared by identity. The builder's kind must be WEAKREF_KEY_POINTER.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: EINVAL: set twice, or against what was set before (weakref_cache_builder_error tells); nothing is changed.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.weakKeys().
 */
WEAKREF_API int weakref_cache_builder_weak_keys(weakref_cache_builder *builder);

/**
 * @brief Weak values. Not together with soft ones.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.weakValues().
 */
WEAKREF_API int weakref_cache_builder_weak_values(weakref_cache_builder *builder);

/**
 * @brief Soft values. Not together with weak ones.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.softValues().
 */
WEAKREF_API int weakref_cache_builder_soft_values(weakref_cache_builder *builder);

/**
 * @brief How many entries there may be. 0: what is stored goes at once. Not together with a maximum weight or a weigher.
 *
 * While a thread evicts, others may bring 32 entries more, for which it evicts before it goes on.
 * @param builder the builder.
 * @param size the bound.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys; EINVAL for a negative size.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.maximumSize(long).
 */
WEAKREF_API int weakref_cache_builder_maximum_size(weakref_cache_builder *builder, int64_t size);

/**
 * @brief What all entries together may weigh. Needs a weigher.
 *
 * While a thread evicts, others may bring 32 entries more, of any weight, as with a maximum size.
 * @param builder the builder.
 * @param weight the bound.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_maximum_size.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.maximumWeight(long).
 */
WEAKREF_API int weakref_cache_builder_maximum_weight(weakref_cache_builder *builder, int64_t weight);

/**
 * @brief What an entry weighs. Needs a maximum weight.
 * @param builder the builder.
 * @param weigher not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.weigher(Weigher).
 */
WEAKREF_API int weakref_cache_builder_weigher(weakref_cache_builder *builder, weakref_cache_weigher_fn weigher, void *user);

/**
 * @brief How many entries to have room for from the start.
 * @param builder the builder.
 * @param n a hint; at most 2^40.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_maximum_size.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.initialCapacity(int).
 */
WEAKREF_API int weakref_cache_builder_initial_capacity(weakref_cache_builder *builder, int64_t n);

/**
 * @brief An entry goes so long after it was stored or its value replaced. 0: at once.
 * @param builder the builder.
 * @param seconds fractions included; infinite for never, until weakref_cache_policy_set_time sets another time.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys; EINVAL for a negative time or NaN, and together with weakref_cache_builder_expire_after.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.expireAfterWrite(Duration).
 */
WEAKREF_API int weakref_cache_builder_expire_after_write(weakref_cache_builder *builder, double seconds);

/**
 * @brief An entry goes so long after it was last read or written. Looking at it by an iterator, or through weakref/cache_inspect.h, is
 * no read. With times of a second and more, and without a clock of the program's, a read counts from the system's last tick, 1 to 10 ms
 * before.
 * @param builder the builder.
 * @param seconds as for weakref_cache_builder_expire_after_write.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_expire_after_write.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.expireAfterAccess(Duration).
 */
WEAKREF_API int weakref_cache_builder_expire_after_access(weakref_cache_builder *builder, double seconds);

/**
 * @brief Each entry has a time of its own. Not together with the two above.
 * @param builder the builder.
 * @param expiry copied; user is kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: Caffeine.expireAfter(Expiry).
 */
WEAKREF_API int weakref_cache_builder_expire_after(weakref_cache_builder *builder, const weakref_cache_expiry *expiry);

/**
 * @brief The first read of an entry so long after it was written reloads it: the reader gets the old value, and later ones the new. The
 * reading thread reloads, before it returns, unless there is an executor. Needs a loader.
 * @param builder the builder.
 * @param seconds more than 0.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_expire_after_write.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.refreshAfterWrite(Duration).
 */
WEAKREF_API int weakref_cache_builder_refresh_after_write(weakref_cache_builder *builder, double seconds);

/**
 * @brief How values are loaded by weakref_cache_get and its like.
 * @param builder the builder.
 * @param loader copied; user is kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.build(CacheLoader).
 */
WEAKREF_API int weakref_cache_builder_loader(weakref_cache_builder *builder, const weakref_cache_loader *loader);

/**
 * @brief Who runs reloads by age. Needs weakref_cache_builder_refresh_after_write.
 * @param builder the builder.
 * @param executor not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: Caffeine.executor(Executor).
 */
WEAKREF_API int weakref_cache_builder_executor(weakref_cache_builder *builder, weakref_cache_executor_fn executor, void *user);

/**
 * @brief Who is told of entries that went.
 * @param builder the builder.
 * @param listener not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.removalListener(RemovalListener).
 */
WEAKREF_API int weakref_cache_builder_removal_listener(weakref_cache_builder *builder, weakref_cache_listener_fn listener, void *user);

/**
 * @brief Statistics are kept. Without it they are all zero.
 * @param builder the builder.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.recordStats().
 */
WEAKREF_API int weakref_cache_builder_record_stats(weakref_cache_builder *builder);

/**
 * @brief Another clock than the monotonic one.
 * @param builder the builder.
 * @param ticker not NULL.
 * @param user passed to it, kept alive by the cache.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilder.ticker(Ticker).
 */
WEAKREF_API int weakref_cache_builder_ticker(weakref_cache_builder *builder, weakref_cache_ticker_fn ticker, void *user);

/**
 * @brief A second level behind the cache. Needs a loader. Not together with weak keys.
 * @param builder the builder.
 * @param level copied; user is kept alive by the cache. get must be given, and remove where put is.
 * @return 0, or a negative error.
 * Errors: as weakref_cache_builder_weak_keys.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 */
WEAKREF_API int weakref_cache_builder_second_level(weakref_cache_builder *builder, const weakref_cache_second_level *level);

/**
 * @brief Sets options by a string: `maximumSize=1000,weakValues,expireAfterWrite=10m`.
 *
 * Options are separated by commas, with blanks and ends of lines around them and around `=` ignored: `maximumSize=N`,
 * `maximumWeight=N`, `initialCapacity=N`, `expireAfterWrite=T`, `expireAfterAccess=T`, `refreshAfterWrite=T`, `weakKeys`,
 * `weakValues`, `softValues`, `recordStats`. N is a whole number, and T one with one of the units `ns`, `us`, `ms`, `s`, `m`, `h`, `d`.
 * @param builder the builder.
 * @param spec the options, in less than 512 bytes; "" for none.
 * @return 0, or a negative error, and then none of them was set.
 * Errors: EINVAL (weakref_cache_builder_error tells).
 * Cost: linear in the string.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 * Source: CacheBuilderSpec.parse(String), CaffeineSpec.
 */
WEAKREF_API int weakref_cache_builder_spec(weakref_cache_builder *builder, const char *spec);

/**
 * @brief What was wrong with the last option that was refused, or with the last build.
 * @param builder the builder.
 * @return a sentence, good until the next call with this builder; "" where nothing was refused yet. Options that are accepted later leave it
 * as it is. Never NULL.
 * Errors: none.
 * Cost: none.
 * Thread: as weakref_cache_builder_new.
 * GC: never collects.
 */
WEAKREF_API const char *weakref_cache_builder_error(const weakref_cache_builder *builder);

/**
 * @brief Makes a cache. The builder may be used again, and makes another of the same kind.
 * @param builder the builder.
 * @return the cache; NULL with errno set.
 * Errors: EINVAL (options that lack others: weakref_cache_builder_error tells), ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: some allocations.
 * Thread: as weakref_cache_builder_new.
 * GC: may collect, and may run callbacks.
 * Source: CacheBuilder.build().
 */
WEAKREF_API weakref_cache *weakref_cache_builder_build(weakref_cache_builder *builder);

#ifdef __cplusplus
}
#endif

#endif

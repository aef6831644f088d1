/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/interner.h
 * @brief Weak interner: one canonical instance for each group of equal objects, as long as somebody uses it.
 *
 * Interning an object gives the live one that is equal to it and was interned before, or makes the object itself canonical.
 * The interner keeps none alive: when all users of an instance have dropped it, the next to intern an equal object makes a new
 * one canonical. An object must not change its hash, nor what it is equal to, while it is interned.
 *
 * Strings need neither type nor functions: weakref_interner_new_strings and weakref_interner_string. Of the generic operations
 * (weakref/object.h) an interner has gc_len, gc_truth, gc_contains, and gc_iterate, which goes through what is interned.
 */
#ifndef WEAKREF_INTERNER_H
#define WEAKREF_INTERNER_H

#include <stddef.h>

#include "weakref/error.h"
#include "weakref/key.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_interner weakref_interner;

/**
 * @brief An empty interner.
 * @param compare how objects are compared: usually WEAKREF_BY_EQUALITY.
 * @return the interner, a block of the collected heap; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: five small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_interner *weakref_interner_new(enum weakref_compare compare);

/**
 * @brief An empty interner whose objects are compared by the caller's functions.
 * @param hash hashes an object, or what is looked for.
 * @param equal compares an object of the interner, which is alive, with what is looked for.
 * @param user passed to both, kept alive by the interner.
 * @return the interner; NULL with errno set.
 * Errors: as weakref_interner_new.
 * Cost: five small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_interner *weakref_interner_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user);

/**
 * @brief An empty interner of strings: its objects are NUL-terminated strings in blocks of the collected heap, compared by content.
 * @return the interner, on which all other calls work as on one of weakref_interner_new_custom; NULL with errno set.
 * Errors: as weakref_interner_new.
 * Cost: five small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_interner *weakref_interner_new_strings(void);

/**
 * @brief The canonical copy of a string: two strings of equal content give one pointer, as long as somebody holds that.
 * @param interner an interner of strings.
 * @param text NUL-terminated, from anywhere; it may be changed or freed afterwards.
 * @return the copy, not to be written to, in a block of the collected heap: keep it where the collector looks. NULL with errno set.
 * Errors: EINVAL (NULL, or an interner of something else), ENOMEM, EPERM.
 * Cost: that of the hash, and no lock, where there is one; else a copy and an insertion.
 * Thread: any thread known to the collector; of several at once with equal strings, all get the same copy.
 * GC: may collect, and may run callbacks.
 * Source: sys.intern; Interners.newWeakInterner() of String; g_ref_string_new_intern.
 */
WEAKREF_API const char *weakref_interner_string(weakref_interner *interner, const char *text);

/**
 * @brief The canonical instance of an object: the live one that was interned first, or else the object itself, from now on.
 * @param interner the interner.
 * @param obj the object; not kept alive.
 * @return the canonical instance; NULL with errno set.
 * Errors: EINVAL (NULL, or an object that is not on the collected heap or of odd address), ENOMEM, EPERM, and what hash or
 * equal returned.
 * Cost: as a look-up, and no lock, where there is one; else amortised constant.
 * Thread: any thread known to the collector; of several at once that intern equal objects, all get the same one.
 * GC: may collect, and may run callbacks.
 * Source: Guava Interners.newWeakInterner; sys.intern.
 */
WEAKREF_API void *weakref_interner_intern(weakref_interner *interner, void *obj);

/** Makes an object that is equal to the key; NULL with errno set. Called with no lock held. */
typedef void *(*weakref_make_fn)(const void *key, void *user);

/**
 * @brief The canonical instance that is equal to a key, made only where there is none.
 * @param interner the interner.
 * @param key what to look for. With functions of the caller's any pointer that these take, as hash and equal's second
 * argument; otherwise an object.
 * @param make makes the object.
 * @param user passed to it.
 * @return the canonical instance; NULL with errno set.
 * Errors: as weakref_interner_intern, and what make set.
 * Cost: constant; on a miss that of make and an insertion.
 * Thread: any thread known to the collector; of several at once with equal keys all get the same object, though each may have
 * made one.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API void *weakref_interner_intern_with(weakref_interner *interner, const void *key, weakref_make_fn make, void *user);

/**
 * @brief The canonical instance that is equal to a key, if there is one.
 * @param interner the interner.
 * @param key as for weakref_interner_intern_with.
 * @return the canonical instance; NULL where there is none, or on an error.
 * Errors: none told.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 */
WEAKREF_API void *weakref_interner_find(const weakref_interner *interner, const void *key);

/**
 * @brief Makes the instance that is equal to a key canonical no longer; those who have it keep it.
 * @param interner the interner.
 * @param key as for weakref_interner_intern_with.
 * @return 1 where there was one, 0 where not; or a negative error.
 * Errors: EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 */
WEAKREF_API int weakref_interner_discard(weakref_interner *interner, const void *key);

/**
 * @brief How many live objects are interned: exact after a collection, and never less than 0.
 * @param interner the interner; NULL has none.
 * @return the number.
 * Errors: none.
 * Cost: one load for each 64 KiB of entries.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API size_t weakref_interner_len(const weakref_interner *interner);

/**
 * @brief Forgets all objects.
 * @param interner the interner.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM, ENOMEM (nothing was forgotten).
 * Cost: linear in the table's segments.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API int weakref_interner_clear(weakref_interner *interner);

/**
 * @brief Describes the interner: `<WeakInterner at 0x…>`. Touches no object.
 * @param interner the interner.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole text, as snprintf, or a negative error.
 * Errors: EINVAL.
 * Cost: snprintf's.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_interner_repr(const weakref_interner *interner, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif

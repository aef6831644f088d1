/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/valuedict.h
 * @brief Weak-value dictionary: an entry lives as long as its value does.
 *
 * Maps keys to objects without keeping the objects alive. When a collection finds a value dead, its entry is gone from that
 * moment: look-ups miss, len is smaller. Keys that the dictionary copied or held for dead entries are released by later writes and by
 * gc_collect.
 *
 * Keys are of one kind for each dictionary:
 *  - WEAKREF_KEY_STRING   `const char *`, NUL-terminated; compared by content, copied;
 *  - WEAKREF_KEY_BYTES    `const weakref_bytes *`; compared by content, copied. A key of several parts is a struct of them, without padding.
 *                         Pointers in the copy keep nothing alive;
 *  - WEAKREF_KEY_INT      an integer in the pointer's place: `WEAKREF_INT(n)`;
 *  - WEAKREF_KEY_POINTER  any pointer but NULL, compared by identity; a pointer to the start of a heap block keeps that block alive;
 *  - custom               a pointer compared by the functions given to weakref_valuedict_new_custom; it is kept alive.
 * Strings and bytes have at most 1 GiB. Where a key is given back (by an iterator, by popitem), it has the same form.
 *
 * Values are any pointers to or into blocks of the collected heap, as referents are, but of even address.
 *
 * Readers take no lock and never wait for writers; writers of a dictionary wait for each other where their keys share one of its
 * sixteen locks, and a small one has fewer. User functions (hash, equal) are called with no lock held. Semantics are those of
 * Python's WeakValueDictionary, with the differences that doc/semantics.md lists. Of the generic operations
 * (weakref/object.h) a dictionary has gc_len, gc_truth, gc_iterate (of keys), gc_getitem, gc_setitem, gc_delitem, gc_contains, and
 * the operator |.
 */
#ifndef WEAKREF_VALUEDICT_H
#define WEAKREF_VALUEDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"
#include "weakref/key.h"
#include "weakref/ref.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_valuedict weakref_valuedict;
typedef struct weakref_valuedict_iter weakref_valuedict_iter;

/** The kinds of key. */
enum weakref_key_kind {
	WEAKREF_KEY_STRING = 0,
	WEAKREF_KEY_BYTES = 1,
	WEAKREF_KEY_INT = 2,
	WEAKREF_KEY_POINTER = 3,
	WEAKREF_KEY_CUSTOM = 4,
};

/** A key of WEAKREF_KEY_BYTES. */
typedef struct weakref_bytes {
	const void *data;
	size_t size;
} weakref_bytes;

#ifdef __cplusplus
#define WEAKREF_INT(n) (reinterpret_cast<const void *>(static_cast<intptr_t>(n)))
#define WEAKREF_INT_VALUE(key) (reinterpret_cast<intptr_t>(static_cast<const void *>(key)))
#else
/** A key of WEAKREF_KEY_INT. */
#define WEAKREF_INT(n) ((const void *)(intptr_t)(n))
/** The integer of such a key. */
#define WEAKREF_INT_VALUE(key) ((intptr_t)(key))
#endif

/**
 * @brief An empty dictionary.
 * @param kind what its keys are; not WEAKREF_KEY_CUSTOM.
 * @return the dictionary, a block of the collected heap; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: four small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: weakref.WeakValueDictionary().
 */
WEAKREF_API weakref_valuedict *weakref_valuedict_new(enum weakref_key_kind kind);

/**
 * @brief An empty dictionary whose keys are compared by the caller's functions.
 * @param hash hashes a key.
 * @param equal compares two keys.
 * @param user passed to both, kept alive by the dictionary.
 * @return the dictionary; NULL with errno set.
 * Errors: as weakref_valuedict_new.
 * Cost: four small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_valuedict *weakref_valuedict_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user);

/**
 * @brief A dictionary made from an array of pairs; of equal keys the later wins.
 * @param kind as for weakref_valuedict_new.
 * @param pairs n pairs, borrowed for the call.
 * @param n how many.
 * @return the dictionary; NULL with errno set.
 * Errors: as weakref_valuedict_new and weakref_valuedict_set.
 * Cost: that of n insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_valuedict *weakref_valuedict_from_pairs(enum weakref_key_kind kind, const weakref_pair *pairs, size_t n);

/**
 * @brief Stores a value under a key, in place of the one that was there.
 * @param dict the dictionary.
 * @param key the key; copied or held as its kind says.
 * @param value not kept alive.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL, or a value that is not on the collected heap or of odd address), ENOMEM, EPERM, and what hash or equal returned.
 * Cost: amortised constant; the worst one moves a segment of at most 64 KiB.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d[key] = value.
 */
WEAKREF_API int weakref_valuedict_set(weakref_valuedict *dict, const void *key, void *value);

/**
 * @brief The value under a key.
 * @param dict the dictionary.
 * @param key the key.
 * @return the value; NULL where there is none, or it is dead, or on an error (which weakref_valuedict_lookup tells).
 * Errors: none told.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d.get(key).
 */
WEAKREF_API void *weakref_valuedict_get(const weakref_valuedict *dict, const void *key);

/**
 * @brief The values under many keys: as weakref_valuedict_lookup for each, in less time where the dictionary is large, since the memory that
 * one look-up waits for is fetched while others are done.
 * @param dict the dictionary.
 * @param keys n keys.
 * @param n how many.
 * @param values n places, where the collector looks, for a value each; NULL where there is none, or it is dead.
 * @return how many values there were, or a negative error of a key's: then there are the values of those before it, and NULL.
 * Errors: as weakref_valuedict_lookup, but ENOENT and ESTALE; EINVAL without keys or values.
 * Cost: n look-ups, in random order at a million entries each a third to a half of one alone; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: Cache.getAllPresent(keys); [d.get(k) for k in keys].
 */
WEAKREF_API long weakref_valuedict_get_all(const weakref_valuedict *dict, const void *const *keys, size_t n, void **values);

/**
 * @brief The value under a key, or a default.
 * @param dict the dictionary.
 * @param key the key.
 * @param fallback what to return where there is no live value.
 * @return the value or fallback.
 * Errors: none told.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d.get(key, default).
 */
WEAKREF_API void *weakref_valuedict_get_or(const weakref_valuedict *dict, const void *key, void *fallback);

/**
 * @brief The value under a key, with the reason when there is none.
 * @param dict the dictionary.
 * @param key the key.
 * @param value receives the value, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT (no such key), ESTALE (the key is there yet, its value is dead: as good as absent), EINVAL, EPERM, and what hash or
 * equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d[key].
 */
WEAKREF_API int weakref_valuedict_lookup(const weakref_valuedict *dict, const void *key, void **value);

/**
 * @brief Whether a key has a live value.
 * @param dict the dictionary.
 * @param key the key.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: key in d.
 */
WEAKREF_API int weakref_valuedict_contains(const weakref_valuedict *dict, const void *key);

/**
 * @brief Removes an entry.
 * @param dict the dictionary.
 * @param key the key.
 * @return 0, or a negative error.
 * Errors: ENOENT (no live entry), EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: del d[key].
 */
WEAKREF_API int weakref_valuedict_delete(weakref_valuedict *dict, const void *key);

/**
 * @brief How many live entries there are: exact after a collection, and never less than 0.
 * @param dict the dictionary; NULL has none.
 * @return the number. Between a value's last use and the collection that finds it dead it still counts.
 * Errors: none.
 * Cost: one load for each 64 KiB of entries.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: len(d).
 */
WEAKREF_API size_t weakref_valuedict_len(const weakref_valuedict *dict);

/**
 * @brief Removes an entry and gives its value.
 * @param dict the dictionary.
 * @param key the key.
 * @param value receives the value; may be NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT (no live entry), EINVAL, EPERM, and what hash or equal returned.
 * Cost: constant.
 * Thread: any thread known to the collector; of several that pop one key, one gets it.
 * GC: collects only if hash or equal does.
 * Source: d.pop(key).
 */
WEAKREF_API int weakref_valuedict_pop(weakref_valuedict *dict, const void *key, void **value);

/**
 * @brief Removes an entry and gives its value, or a default.
 * @param dict the dictionary.
 * @param key the key.
 * @param fallback what to return where there is no live value.
 * @return the value or fallback; an entry whose value is dead is gone afterwards as well.
 * Errors: none told.
 * Cost: constant.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d.pop(key, default).
 */
WEAKREF_API void *weakref_valuedict_pop_or(weakref_valuedict *dict, const void *key, void *fallback);

/**
 * @brief Removes some live entry and gives it.
 * @param dict the dictionary.
 * @param key receives the key (a string or bytes as a copy of its own); may be NULL.
 * @param value receives the value; may be NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT (empty), ENOMEM (for the key's copy: nothing is removed), EINVAL, EPERM.
 * Cost: amortised constant over a dictionary emptied this way.
 * Thread: any thread known to the collector; no two callers get the same entry.
 * GC: may collect, and may run callbacks.
 * Source: d.popitem().
 */
WEAKREF_API int weakref_valuedict_popitem(weakref_valuedict *dict, const void **key, void **value);

/**
 * @brief The live value under a key, or else stores one; in one step.
 * @param dict the dictionary.
 * @param key the key.
 * @param value stored where there is no live one.
 * @return the value now under the key: the old one, or `value`; NULL with errno set.
 * Errors: as weakref_valuedict_set.
 * Cost: as a look-up, and no lock, where there is one; else as weakref_valuedict_set.
 * Thread: any thread known to the collector; of several at once, all get the same value.
 * GC: may collect, and may run callbacks.
 * Source: d.setdefault(key, value).
 */
WEAKREF_API void *weakref_valuedict_setdefault(weakref_valuedict *dict, const void *key, void *value);

/**
 * @brief Stores all live entries of another dictionary.
 * @param dict the one that is written; of the same kind of key as other.
 * @param other the one that is read; may be dict itself.
 * @return 0, or a negative error. On an error some entries may have been stored already, each of them whole.
 * Errors: as weakref_valuedict_set; EINVAL where the kinds of key, or custom functions, differ: then nothing was stored.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d.update(other), d |= other.
 */
WEAKREF_API int weakref_valuedict_update(weakref_valuedict *dict, const weakref_valuedict *other);

/**
 * @brief Stores an array of pairs, in its order.
 * @param dict the dictionary.
 * @param pairs n pairs, borrowed for the call. All are checked before the first is stored.
 * @param n how many.
 * @return 0, or a negative error.
 * Errors: as weakref_valuedict_set; after EINVAL nothing was stored, after ENOMEM some may have been, each of them whole.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d.update(pairs).
 */
WEAKREF_API int weakref_valuedict_update_pairs(weakref_valuedict *dict, const weakref_pair *pairs, size_t n);

/**
 * @brief A new dictionary with the live entries of two, those of the second winning.
 * @param a gives kind and functions as well.
 * @param b the second, of the same kind.
 * @return the new dictionary; NULL with errno set.
 * Errors: as weakref_valuedict_new and weakref_valuedict_update.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a | b.
 */
WEAKREF_API weakref_valuedict *weakref_valuedict_union(const weakref_valuedict *a, const weakref_valuedict *b);

/**
 * @brief A new dictionary with the live entries of one, that can change on its own.
 * @param dict the dictionary.
 * @return the copy; NULL with errno set.
 * Errors: as weakref_valuedict_new.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector; entries that others write meanwhile may or may not be in it.
 * GC: may collect, and may run callbacks.
 * Source: d.copy().
 */
WEAKREF_API weakref_valuedict *weakref_valuedict_copy(const weakref_valuedict *dict);

/**
 * @brief A copy whose keys are copied by a function, and whose values are shared.
 * @param dict the dictionary.
 * @param copy_key copies a key; NULL is right for kinds that copy their keys anyway.
 * @param user passed to it.
 * @return the copy; NULL with errno set.
 * Errors: as weakref_valuedict_copy, and what copy_key set.
 * Cost: that of the insertions and of copy_key.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: copy.deepcopy(d).
 */
WEAKREF_API weakref_valuedict *weakref_valuedict_deepcopy(const weakref_valuedict *dict, weakref_copy_fn copy_key, void *user);

/**
 * @brief Removes all entries.
 * @param dict the dictionary.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM, ENOMEM (nothing was removed).
 * Cost: linear in the table's segments; open iterators are not disturbed and find nothing more.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d.clear().
 */
WEAKREF_API int weakref_valuedict_clear(weakref_valuedict *dict);

/**
 * @brief Opens an iterator. It visits each entry at most once; every entry that lives, and stays in the dictionary, from now to the end is
 * visited; of those that come meanwhile any may be.
 * @param dict the dictionary; kept alive by the iterator.
 * @return the iterator, a block of the collected heap, needing no close; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: one allocation; it neither copies entries nor hinders writers.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: may collect, and may run callbacks.
 * Source: d.items(), d.keys(), d.values().
 */
WEAKREF_API weakref_valuedict_iter *weakref_valuedict_iter_new(const weakref_valuedict *dict);

/**
 * @brief Steps to the next live entry.
 * @param iter the iterator.
 * @param key receives the key, which for strings and bytes is good until the next step; may be NULL.
 * @param value receives the value; where it is NULL no value is loaded, and the iterator keeps none alive.
 * @return 1 with an entry, 0 at the end, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: amortised constant.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: collects only if hash or equal does.
 */
WEAKREF_API int weakref_valuedict_iter_next(weakref_valuedict_iter *iter, const void **key, void **value);

/**
 * @brief All live entries, held strongly by the array.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap, with keys that are copies of their own (strings, bytes); NULL with errno set, never NULL for
 * none.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: list(d.items()).
 */
WEAKREF_API weakref_pair *weakref_valuedict_items(const weakref_valuedict *dict, size_t *n);

/**
 * @brief All live keys.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap, the keys in it copies of their own (strings, bytes); NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: list(d.keys()).
 */
WEAKREF_API const void **weakref_valuedict_keys(const weakref_valuedict *dict, size_t *n);

/**
 * @brief All live values, held strongly by the array.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: list(d.values()).
 */
WEAKREF_API void **weakref_valuedict_values(const weakref_valuedict *dict, size_t *n);

/**
 * @brief A plain weak reference to each live value.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap that holds the references, not the values; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: linear; a reference is made for each value that had none.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d.valuerefs().
 */
WEAKREF_API weakref_ref **weakref_valuedict_valuerefs(const weakref_valuedict *dict, size_t *n);

/**
 * @brief Describes the dictionary: `<WeakValueDictionary at 0x…>`. Touches no entry.
 * @param dict the dictionary.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole text, as snprintf, or a negative error.
 * Errors: EINVAL.
 * Cost: snprintf's.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_valuedict_repr(const weakref_valuedict *dict, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif

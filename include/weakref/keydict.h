/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/keydict.h
 * @brief Weak-key dictionary: an entry lives as long as its key does, and so does the value.
 *
 * Attaches values to objects without keeping the objects alive. When a collection finds a key dead, its entry is gone from
 * that moment, and the value is released with it. Each entry is an ephemeron: a value may refer to its own key, to the
 * dictionary, or to keys of other entries, without keeping any of them alive by that. Two more kinds of weakness are offered:
 * weakref_keydict_new_with.
 *
 * Keys are pointers to or into blocks of the collected heap, of even address, as for references; they are compared by
 * identity, by their types' gc_hash and gc_equal, or by the caller's functions. A key must not change its hash, nor what it is
 * equal to, while it is in a dictionary.
 *
 * Values are any words. What points to or into a block of the collected heap at the moment when it is stored is a pointer to
 * it, whatever the program means by it, and the entry treats it as its weakness says; every other word (NULL, statics,
 * malloc's, integers) is given back as it is, and for the entry's life only the key counts.
 *
 * Readers take no lock and never wait for writers; writers of a dictionary wait for each other where their keys share one of its
 * sixteen locks, and a small one has fewer. User functions (hash, equal) are called with no lock held. Semantics are those of
 * Python's WeakKeyDictionary, with the differences that doc/semantics.md lists. Of the generic operations
 * (weakref/object.h) a dictionary has gc_len, gc_truth, gc_iterate (of keys), gc_getitem, gc_setitem, gc_delitem, gc_contains, and
 * the operator |.
 */
#ifndef WEAKREF_KEYDICT_H
#define WEAKREF_KEYDICT_H

#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"
#include "weakref/key.h"
#include "weakref/ref.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_keydict weakref_keydict;
typedef struct weakref_keydict_iter weakref_keydict_iter;

/**
 * @brief An empty dictionary whose entries live as long as their keys.
 * @param compare how its keys are compared.
 * @return the dictionary, a block of the collected heap; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: four small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: weakref.WeakKeyDictionary().
 */
WEAKREF_API weakref_keydict *weakref_keydict_new(enum weakref_compare compare);

/**
 * @brief The same with keys that are compared by the caller's functions.
 * @param hash hashes a key.
 * @param equal compares a key of the dictionary, which is alive, with one that is looked for.
 * @param user passed to both, kept alive by the dictionary.
 * @return the dictionary; NULL with errno set.
 * Errors: as weakref_keydict_new.
 * Cost: four small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_keydict *weakref_keydict_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user);

/** Which side of an entry is weak. (Weak values under strong keys: weakref/valuedict.h.) */
enum weakref_weakness {
	/** The key. The entry is an ephemeron: while the key lives by something else than this value, the value is kept alive with all that
	 * it leads to; a value that leads to its own key does not keep it. */
	WEAKREF_WEAK_KEY = 0,
	/** Both: the entry keeps nothing alive, and goes as soon as key or value is dead. */
	WEAKREF_WEAK_BOTH = 1,
	/** Either: while one of them lives by something else it keeps the other; the entry goes when both are dead. */
	WEAKREF_WEAK_EITHER = 2,
};

/** What weakref_keydict_new_with takes. Zero what is not wanted. */
typedef struct weakref_keydict_options {
	enum weakref_weakness weakness;
	/** How keys are compared, unless hash and equal are given. */
	enum weakref_compare compare;
	/** As for weakref_keydict_new_custom; both or none. */
	weakref_hash_fn hash;
	weakref_equal_fn equal;
	void *user;
} weakref_keydict_options;

/**
 * @brief An empty dictionary of any weakness.
 * @param options what to make; NULL stands for all zero: weak keys, by identity.
 * @return the dictionary; NULL with errno set.
 * Errors: as weakref_keydict_new.
 * Cost: four small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: SBCL, make-hash-table :weakness; Guile, make-doubly-weak-hash-table.
 */
WEAKREF_API weakref_keydict *weakref_keydict_new_with(const weakref_keydict_options *options);

/**
 * @brief A dictionary made from an array of pairs; of equal keys the later one's value wins.
 * @param compare as for weakref_keydict_new.
 * @param pairs n pairs, borrowed for the call.
 * @param n how many.
 * @return the dictionary; NULL with errno set.
 * Errors: as weakref_keydict_new and weakref_keydict_set.
 * Cost: that of n insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: WeakKeyDictionary(pairs).
 */
WEAKREF_API weakref_keydict *weakref_keydict_from_pairs(enum weakref_compare compare, const weakref_pair *pairs, size_t n);

/**
 * @brief Stores a value under a key, in place of the one that was there; a key that is there stays.
 * @param dict the dictionary.
 * @param key not kept alive.
 * @param value any word; kept alive as the weakness says, where it points to or into a block of the collected heap.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL, or a key that is not on the collected heap or of odd address), ENOMEM, EPERM, and what hash or equal
 * returned.
 * Cost: amortised constant; the worst one moves a segment of at most 64 KiB.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d[key] = value.
 */
WEAKREF_API int weakref_keydict_set(weakref_keydict *dict, void *key, void *value);

/**
 * @brief The value under a key.
 * @param dict the dictionary.
 * @param key the key, or one that is equal to it.
 * @return the value; NULL where there is none, or on an error (which weakref_keydict_lookup tells).
 * Errors: none told.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d.get(key).
 */
WEAKREF_API void *weakref_keydict_get(const weakref_keydict *dict, const void *key);

/**
 * @brief The values under many keys: as weakref_keydict_lookup for each, in less time where the dictionary is large and compares by identity.
 * @param dict the dictionary.
 * @param keys n keys.
 * @param n how many.
 * @param values n places, where the collector looks, for a value each; NULL where there is none.
 * @return how many there were, or a negative error of a key's: then there are the values of those before it, and NULL.
 * Errors: as weakref_keydict_lookup, but for keys that are not there; EINVAL without keys or values.
 * Cost: n look-ups; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: Cache.getAllPresent(keys); [d.get(k) for k in keys].
 */
WEAKREF_API long weakref_keydict_get_all(const weakref_keydict *dict, const void *const *keys, size_t n, void **values);

/**
 * @brief The value under a key, or a default.
 * @param dict the dictionary.
 * @param key the key, or one that is equal to it.
 * @param fallback what to return where there is no live entry.
 * @return the value or fallback.
 * Errors: none told.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d.get(key, default).
 */
WEAKREF_API void *weakref_keydict_get_or(const weakref_keydict *dict, const void *key, void *fallback);

/**
 * @brief The value under a key, with the reason when there is none.
 * @param dict the dictionary.
 * @param key the key, or one that is equal to it.
 * @param value receives the value, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT (no such entry), EINVAL (NULL, or nothing that could be a key), EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d[key].
 */
WEAKREF_API int weakref_keydict_lookup(const weakref_keydict *dict, const void *key, void **value);

/**
 * @brief Whether a key has a live entry. What cannot be a key has none.
 * @param dict the dictionary.
 * @param key the key, or one that is equal to it.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (no dictionary), EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: key in d.
 */
WEAKREF_API int weakref_keydict_contains(const weakref_keydict *dict, const void *key);

/**
 * @brief The key of the dictionary that is equal to one: that under which the entry's value was stored first.
 * @param dict the dictionary.
 * @param key what to look for.
 * @return the key; NULL where there is none, or on an error (which weakref_keydict_contains tells).
 * Errors: none told.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: ObjectSpace::WeakKeyMap#getkey (Ruby).
 */
WEAKREF_API void *weakref_keydict_getkey(const weakref_keydict *dict, const void *key);

/**
 * @brief Removes an entry.
 * @param dict the dictionary.
 * @param key the key, or one that is equal to it.
 * @return 0, or a negative error.
 * Errors: ENOENT (no such entry), EINVAL (NULL, or nothing that could be a key), EPERM, and what hash or equal returned.
 * Cost: constant.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: del d[key].
 */
WEAKREF_API int weakref_keydict_delete(weakref_keydict *dict, const void *key);

/**
 * @brief How many live entries there are: exact after a collection, and never less than 0.
 * @param dict the dictionary; NULL has none.
 * @return the number. Between a key's last use and the collection that finds it dead its entry still counts.
 * Errors: none.
 * Cost: one load for each 64 KiB of entries.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: len(d).
 */
WEAKREF_API size_t weakref_keydict_len(const weakref_keydict *dict);

/**
 * @brief Removes an entry and gives its value.
 * @param dict the dictionary.
 * @param key the key, or one that is equal to it.
 * @param value receives the value, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT (no such entry), EINVAL (NULL, or nothing that could be a key), EPERM, and what hash or equal returned.
 * Cost: constant.
 * Thread: any thread known to the collector; of several that pop one key, one gets it.
 * GC: collects only if hash or equal does.
 * Source: d.pop(key).
 */
WEAKREF_API int weakref_keydict_pop(weakref_keydict *dict, const void *key, void **value);

/**
 * @brief Removes an entry and gives its value, or a default.
 * @param dict the dictionary.
 * @param key the key, or one that is equal to it.
 * @param fallback what to return where there is no live entry.
 * @return the value or fallback.
 * Errors: none told.
 * Cost: constant.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: d.pop(key, default).
 */
WEAKREF_API void *weakref_keydict_pop_or(weakref_keydict *dict, const void *key, void *fallback);

/**
 * @brief Removes some live entry and gives it.
 * @param dict the dictionary.
 * @param key receives the key; may be NULL.
 * @param value receives the value; may be NULL.
 * @return 0, or a negative error, and then neither is written.
 * Errors: ENOENT (empty), EINVAL, EPERM.
 * Cost: amortised constant over a dictionary emptied this way.
 * Thread: any thread known to the collector; no two callers get the same entry.
 * GC: may collect, and may run callbacks.
 * Source: d.popitem().
 */
WEAKREF_API int weakref_keydict_popitem(weakref_keydict *dict, void **key, void **value);

/**
 * @brief The value under a key, or else stores one; in one step.
 * @param dict the dictionary.
 * @param key not kept alive.
 * @param value stored where there is no live entry.
 * @return the value now under the key: the old one, or `value`; NULL with errno set. Where NULL may be a value, set errno to 0
 * before.
 * Errors: as weakref_keydict_set.
 * Cost: as a look-up, and no lock, where there is one; else as weakref_keydict_set.
 * Thread: any thread known to the collector; of several at once, all get the same value.
 * GC: may collect, and may run callbacks.
 * Source: d.setdefault(key, value).
 */
WEAKREF_API void *weakref_keydict_setdefault(weakref_keydict *dict, void *key, void *value);

/**
 * @brief Stores all live entries of another dictionary.
 * @param dict the one that is written; its keys are compared as other's are.
 * @param other the one that is read, of any weakness; may be dict itself.
 * @return 0, or a negative error. On an error some entries may have been stored already, each of them whole.
 * Errors: as weakref_keydict_set; EINVAL where the comparisons differ: then nothing was stored.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d.update(other), d |= other.
 */
WEAKREF_API int weakref_keydict_update(weakref_keydict *dict, const weakref_keydict *other);

/**
 * @brief Stores an array of pairs, in its order.
 * @param dict the dictionary.
 * @param pairs n pairs, borrowed for the call. All keys are checked before the first pair is stored.
 * @param n how many.
 * @return 0, or a negative error.
 * Errors: as weakref_keydict_set; after EINVAL nothing was stored, after ENOMEM some may have been, each of them whole.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d.update(pairs).
 */
WEAKREF_API int weakref_keydict_update_pairs(weakref_keydict *dict, const weakref_pair *pairs, size_t n);

/**
 * @brief A new dictionary with the live entries of two, the values of the second winning.
 * @param a gives comparison and weakness as well.
 * @param b the second, compared in the same way.
 * @return the new dictionary; NULL with errno set.
 * Errors: as weakref_keydict_new and weakref_keydict_update.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a | b.
 */
WEAKREF_API weakref_keydict *weakref_keydict_union(const weakref_keydict *a, const weakref_keydict *b);

/**
 * @brief A new dictionary with the live entries of one, that can change on its own.
 * @param dict the dictionary.
 * @return the copy; NULL with errno set.
 * Errors: as weakref_keydict_new, and what hash or equal returned.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector; entries that others write meanwhile may or may not be in it.
 * GC: may collect, and may run callbacks.
 * Source: d.copy().
 */
WEAKREF_API weakref_keydict *weakref_keydict_copy(const weakref_keydict *dict);

/**
 * @brief A copy whose values are copied by a function, and whose keys are shared.
 * @param dict the dictionary.
 * @param copy_value copies a value; not called for NULL. NULL: the values are shared.
 * @param user passed to it.
 * @return the copy; NULL with errno set.
 * Errors: as weakref_keydict_copy, and what copy_value set.
 * Cost: that of the insertions and of copy_value.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: copy.deepcopy(d).
 */
WEAKREF_API weakref_keydict *weakref_keydict_deepcopy(const weakref_keydict *dict, weakref_copy_fn copy_value, void *user);

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
WEAKREF_API int weakref_keydict_clear(weakref_keydict *dict);

/**
 * @brief Opens an iterator. It visits each entry at most once; every entry that lives, and stays in the dictionary, from now
 * to the end is visited; of those that come meanwhile any may be.
 * @param dict the dictionary; kept alive by the iterator.
 * @return the iterator, a block of the collected heap, needing no close; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: one allocation; it neither copies entries nor hinders writers, and holds no key and no value.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: may collect, and may run callbacks.
 * Source: d.items(), d.keys(), d.values().
 */
WEAKREF_API weakref_keydict_iter *weakref_keydict_iter_new(const weakref_keydict *dict);

/**
 * @brief Steps to the next live entry.
 * @param iter the iterator.
 * @param key receives the key; may be NULL.
 * @param value receives the value; may be NULL.
 * @return 1 with an entry, 0 at the end, or a negative error.
 * Errors: EINVAL, EPERM, and what hash or equal returned.
 * Cost: amortised constant.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: collects only if hash or equal does.
 */
WEAKREF_API int weakref_keydict_iter_next(weakref_keydict_iter *iter, void **key, void **value);

/**
 * @brief All live entries, held strongly by the array.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap; NULL with errno set, never NULL for none.
 * Errors: EINVAL, ENOMEM, EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: list(d.items()).
 */
WEAKREF_API weakref_pair *weakref_keydict_items(const weakref_keydict *dict, size_t *n);

/**
 * @brief All live keys, held strongly by the array.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap; NULL with errno set, never NULL for none.
 * Errors: EINVAL, ENOMEM, EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: list(d.keys()).
 */
WEAKREF_API void **weakref_keydict_keys(const weakref_keydict *dict, size_t *n);

/**
 * @brief All live values, held strongly by the array.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap; NULL with errno set, never NULL for none.
 * Errors: EINVAL, ENOMEM, EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: list(d.values()).
 */
WEAKREF_API void **weakref_keydict_values(const weakref_keydict *dict, size_t *n);

/**
 * @brief A plain weak reference to each live key.
 * @param dict the dictionary.
 * @param n receives how many.
 * @return an array of the collected heap that holds the references, not the keys; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM, and what hash or equal returned.
 * Cost: linear; a reference is made for each key that had none.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: d.keyrefs().
 */
WEAKREF_API weakref_ref **weakref_keydict_keyrefs(const weakref_keydict *dict, size_t *n);

/**
 * @brief Describes the dictionary: `<WeakKeyDictionary at 0x…>`. Touches no entry.
 * @param dict the dictionary.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole text, as snprintf, or a negative error.
 * Errors: EINVAL.
 * Cost: snprintf's.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_keydict_repr(const weakref_keydict *dict, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/set.h
 * @brief Weak set: an element is in it as long as it lives.
 *
 * Holds objects without keeping them alive. When a collection finds an element dead, it is gone from the set from that moment.
 * Elements are pointers to or into blocks of the collected heap, of even address, as for references; they are compared by
 * identity, by their types' gc_hash and gc_equal, or by the caller's functions. Of equal elements the set holds the one that
 * was added first. An element must not change its hash, nor what it is equal to, while it is in a set.
 *
 * Operands are other weak sets, of the same comparison (EINVAL otherwise), or arrays of elements: an array is borrowed for the
 * call, and all of it is checked before anything is changed.
 *
 * Readers take no lock and never wait for writers; writers of a set wait for each other where their elements share one of its
 * sixteen locks, and a small one has fewer. hash and equal are called with no lock held. An operation on two sets looks at
 * their elements one after the other: what others change meanwhile may count or not. Semantics are those of Python's WeakSet,
 * with the differences that doc/semantics.md lists. Of the generic operations (weakref/object.h) a set
 * has gc_len, gc_truth, gc_iterate, gc_contains, gc_equal, and the operators |, &, - and ^.
 */
#ifndef WEAKREF_SET_H
#define WEAKREF_SET_H

#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"
#include "weakref/key.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weakref_set weakref_set;
typedef struct weakref_set_iter weakref_set_iter;

/**
 * @brief An empty set.
 * @param compare how its elements are compared.
 * @return the set, a block of the collected heap; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: four small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: weakref.WeakSet().
 */
WEAKREF_API weakref_set *weakref_set_new(enum weakref_compare compare);

/**
 * @brief An empty set whose elements are compared by the caller's functions.
 * @param hash hashes an element.
 * @param equal compares two elements, both of them alive.
 * @param user passed to both, kept alive by the set.
 * @return the set; NULL with errno set.
 * Errors: as weakref_set_new.
 * Cost: four small allocations.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_set *weakref_set_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user);

/**
 * @brief A set made from an array.
 * @param compare as for weakref_set_new.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return the set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add.
 * Cost: that of n insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: WeakSet(iterable).
 */
WEAKREF_API weakref_set *weakref_set_from_items(enum weakref_compare compare, void *const *items, size_t n);

/**
 * @brief Adds an element, unless an equal one is in the set: that one stays.
 * @param set the set.
 * @param item not kept alive.
 * @return 1 where it was added, 0 where there was one; or a negative error.
 * Errors: EINVAL (NULL, or an element that is not on the collected heap or of odd address), ENOMEM, EPERM, and what hash or
 * equal returned.
 * Cost: as a look-up, and no lock, where there is one; else amortised constant: the worst one moves a segment of at most 64 KiB.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s.add(item).
 */
WEAKREF_API int weakref_set_add(weakref_set *set, void *item);

/**
 * @brief Takes an element out, if it is in the set.
 * @param set the set.
 * @param item the element, or one that is equal to it.
 * @return 1 where it was there, 0 where not; or a negative error.
 * Errors: EINVAL (NULL, or nothing that could be an element), EPERM, and what hash or equal returned.
 * Cost: constant.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: s.discard(item).
 */
WEAKREF_API int weakref_set_discard(weakref_set *set, const void *item);

/**
 * @brief Takes out an element that must be there.
 * @param set the set.
 * @param item the element, or one that is equal to it.
 * @return 0, or a negative error.
 * Errors: ENOENT (no such element), and those of weakref_set_discard.
 * Cost: constant.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: s.remove(item).
 */
WEAKREF_API int weakref_set_remove(weakref_set *set, const void *item);

/**
 * @brief Takes some element out and gives it.
 * @param set the set.
 * @param item receives it, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: ENOENT (empty), EINVAL, EPERM.
 * Cost: amortised constant over a set emptied this way.
 * Thread: any thread known to the collector; no two callers get the same element.
 * GC: may collect, and may run callbacks.
 * Source: s.pop().
 */
WEAKREF_API int weakref_set_pop(weakref_set *set, void **item);

/**
 * @brief Whether an element is in the set.
 * @param set the set.
 * @param item the element, or one that is equal to it. What cannot be an element is in no set.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (no set), EPERM, and what hash or equal returned.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: item in s.
 */
WEAKREF_API int weakref_set_contains(const weakref_set *set, const void *item);

/**
 * @brief The element of the set that is equal to one.
 * @param set the set.
 * @param item what to look for.
 * @return the element; NULL where there is none, or on an error.
 * Errors: none told.
 * Cost: constant; no lock.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 */
WEAKREF_API void *weakref_set_find(const weakref_set *set, const void *item);

/**
 * @brief How many live elements there are: exact after a collection, and never less than 0.
 * @param set the set; NULL has none.
 * @return the number. Between an element's last use and the collection that finds it dead it still counts.
 * Errors: none.
 * Cost: one load for each 64 KiB of elements.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: len(s).
 */
WEAKREF_API size_t weakref_set_len(const weakref_set *set);

/**
 * @brief Takes all elements out.
 * @param set the set.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM, ENOMEM (nothing was removed).
 * Cost: linear in the table's segments; open iterators are not disturbed and find nothing more.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s.clear().
 */
WEAKREF_API int weakref_set_clear(weakref_set *set);

/**
 * @brief A new set with the live elements of one, that can change on its own.
 * @param set the set.
 * @return the copy; NULL with errno set.
 * Errors: as weakref_set_new, and what hash or equal returned.
 * Cost: that of the insertions.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s.copy().
 */
WEAKREF_API weakref_set *weakref_set_copy(const weakref_set *set);

/**
 * @brief A new set with the live elements of two.
 * @param a the first set; gives the comparison as well.
 * @param b the second set.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a | b, a.union(b).
 */
WEAKREF_API weakref_set *weakref_set_union(const weakref_set *a, const weakref_set *b);

/**
 * @brief The same with an array as the second operand.
 * @param a the first set; gives the comparison as well.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a.union(iterable).
 */
WEAKREF_API weakref_set *weakref_set_union_items(const weakref_set *a, void *const *items, size_t n);

/**
 * @brief A new set with those live elements of the first that are in the second.
 * @param a the first set; gives the comparison as well.
 * @param b the second set.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear in the smaller one.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a & b, a.intersection(b).
 */
WEAKREF_API weakref_set *weakref_set_intersection(const weakref_set *a, const weakref_set *b);

/**
 * @brief The same with an array as the second operand.
 * @param a the first set; gives the comparison as well.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear in the array.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a.intersection(iterable).
 */
WEAKREF_API weakref_set *weakref_set_intersection_items(const weakref_set *a, void *const *items, size_t n);

/**
 * @brief A new set with those live elements of the first that are not in the second.
 * @param a the first set; gives the comparison as well.
 * @param b the second set.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a - b, a.difference(b).
 */
WEAKREF_API weakref_set *weakref_set_difference(const weakref_set *a, const weakref_set *b);

/**
 * @brief The same with an array as the second operand.
 * @param a the first set; gives the comparison as well.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a.difference(iterable).
 */
WEAKREF_API weakref_set *weakref_set_difference_items(const weakref_set *a, void *const *items, size_t n);

/**
 * @brief A new set with the live elements that are in one of two and not in the other.
 * @param a the first set; gives the comparison as well.
 * @param b the second set.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a ^ b, a.symmetric_difference(b).
 */
WEAKREF_API weakref_set *weakref_set_symmetric_difference(const weakref_set *a, const weakref_set *b);

/**
 * @brief The same with an array as the second operand.
 * @param a the first set; gives the comparison as well.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return the new set; NULL with errno set.
 * Errors: as weakref_set_new and weakref_set_add; EINVAL also where the comparisons differ.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a.symmetric_difference(iterable).
 */
WEAKREF_API weakref_set *weakref_set_symmetric_difference_items(const weakref_set *a, void *const *items, size_t n);

/**
 * @brief Adds the live elements of another set.
 * @param set the set.
 * @param other the other set; may be the set itself.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s |= other, s.update(other).
 */
WEAKREF_API int weakref_set_update(weakref_set *set, const weakref_set *other);

/**
 * @brief The same with an array as the other operand.
 * @param set the set.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s.update(iterable).
 */
WEAKREF_API int weakref_set_update_items(weakref_set *set, void *const *items, size_t n);

/**
 * @brief Keeps only the elements that are in another set as well.
 * @param set the set.
 * @param other the other set; may be the set itself.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s &= other.
 */
WEAKREF_API int weakref_set_intersection_update(weakref_set *set, const weakref_set *other);

/**
 * @brief The same with an array as the other operand.
 * @param set the set.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s.intersection_update(iterable).
 */
WEAKREF_API int weakref_set_intersection_update_items(weakref_set *set, void *const *items, size_t n);

/**
 * @brief Takes out the elements that are in another set.
 * @param set the set.
 * @param other the other set; may be the set itself.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear in the smaller one.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s -= other; s.difference_update(other).
 */
WEAKREF_API int weakref_set_difference_update(weakref_set *set, const weakref_set *other);

/**
 * @brief The same with an array as the other operand.
 * @param set the set.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear in the array.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s.difference_update(iterable).
 */
WEAKREF_API int weakref_set_difference_update_items(weakref_set *set, void *const *items, size_t n);

/**
 * @brief Takes out the elements that are in another set, and adds those of it that were not in this one.
 * @param set the set.
 * @param other the other set; may be the set itself.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s ^= other.
 */
WEAKREF_API int weakref_set_symmetric_difference_update(weakref_set *set, const weakref_set *other);

/**
 * @brief The same with an array as the other operand.
 * @param set the set.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return 0, or a negative error.
 * Errors: as weakref_set_add; EINVAL also where the comparisons differ: then nothing was changed. After another error, part
 * may have been done.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: s.symmetric_difference_update(iterable).
 */
WEAKREF_API int weakref_set_symmetric_difference_update_items(weakref_set *set, void *const *items, size_t n);

/**
 * @brief Whether every element of one set is in another.
 * @param a the first set.
 * @param b the second set.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (also where the comparisons differ), EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: a <= b, a.issubset(b).
 */
WEAKREF_API int weakref_set_issubset(const weakref_set *a, const weakref_set *b);

/**
 * @brief The same with an array as the second operand.
 * @param a the set.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return 1 or 0, or a negative error.
 * Errors: as weakref_set_add.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a.issubset(iterable).
 */
WEAKREF_API int weakref_set_issubset_items(const weakref_set *a, void *const *items, size_t n);

/**
 * @brief Whether every element of the second set is in the first.
 * @param a the first set.
 * @param b the second set.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (also where the comparisons differ), EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: a >= b, a.issuperset(b).
 */
WEAKREF_API int weakref_set_issuperset(const weakref_set *a, const weakref_set *b);

/**
 * @brief The same with an array as the second operand.
 * @param a the set.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return 1 or 0, or a negative error.
 * Errors: as weakref_set_add.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a.issuperset(iterable).
 */
WEAKREF_API int weakref_set_issuperset_items(const weakref_set *a, void *const *items, size_t n);

/**
 * @brief Whether two sets have no element in common.
 * @param a the first set.
 * @param b the second set.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (also where the comparisons differ), EPERM, and what hash or equal returned.
 * Cost: linear in the smaller one.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: a.isdisjoint(b).
 */
WEAKREF_API int weakref_set_isdisjoint(const weakref_set *a, const weakref_set *b);

/**
 * @brief The same with an array as the second operand.
 * @param a the set.
 * @param items n elements, borrowed for the call.
 * @param n how many.
 * @return 1 or 0, or a negative error.
 * Errors: as weakref_set_add.
 * Cost: linear in the array.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: a.isdisjoint(iterable).
 */
WEAKREF_API int weakref_set_isdisjoint_items(const weakref_set *a, void *const *items, size_t n);

/**
 * @brief Whether one set is a subset of another, and not equal to it.
 * @param a the first set.
 * @param b the second set.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (also where the comparisons differ), EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: a < b.
 */
WEAKREF_API int weakref_set_is_proper_subset(const weakref_set *a, const weakref_set *b);

/**
 * @brief Whether one set is a superset of another, and not equal to it.
 * @param a the first set.
 * @param b the second set.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (also where the comparisons differ), EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: a > b.
 */
WEAKREF_API int weakref_set_is_proper_superset(const weakref_set *a, const weakref_set *b);

/**
 * @brief Whether two sets have equal elements.
 * @param a the first set.
 * @param b the second set.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (also where the comparisons differ), EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: collects only if hash or equal does.
 * Source: a == b.
 */
WEAKREF_API int weakref_set_equal(const weakref_set *a, const weakref_set *b);

/**
 * @brief Opens an iterator. It visits each element at most once; every one that lives, and stays in the set, from now to the
 * end is visited; of those that come meanwhile any may be.
 * @param set the set; kept alive by the iterator.
 * @return the iterator, a block of the collected heap, needing no close; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: one allocation; it neither copies elements nor hinders writers, and holds none.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: may collect, and may run callbacks.
 * Source: iter(s).
 */
WEAKREF_API weakref_set_iter *weakref_set_iter_new(const weakref_set *set);

/**
 * @brief Steps to the next live element.
 * @param iter the iterator.
 * @param item receives the element; may be NULL.
 * @return 1 with an element, 0 at the end, or a negative error.
 * Errors: EINVAL, EPERM, and what hash or equal returned.
 * Cost: amortised constant.
 * Thread: any thread known to the collector; one iterator is for one thread at a time.
 * GC: collects only if hash or equal does.
 */
WEAKREF_API int weakref_set_iter_next(weakref_set_iter *iter, void **item);

/**
 * @brief All live elements, held strongly by the array.
 * @param set the set.
 * @param n receives how many.
 * @return an array of the collected heap; NULL with errno set, never NULL for none.
 * Errors: EINVAL, ENOMEM, EPERM, and what hash or equal returned.
 * Cost: linear.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: list(s).
 */
WEAKREF_API void **weakref_set_items(const weakref_set *set, size_t *n);

/**
 * @brief Describes the set: `<WeakSet at 0x…>`. Touches no element.
 * @param set the set.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole text, as snprintf, or a negative error.
 * Errors: EINVAL.
 * Cost: snprintf's.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API int weakref_set_repr(const weakref_set *set, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif

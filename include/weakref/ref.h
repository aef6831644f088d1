/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/ref.h
 * @brief Weak references: they name an object without keeping it alive.
 *
 * A reference is itself a block of the collected heap: keep it reachable for as long as it is wanted, and drop it to be rid of
 * it. Dropped before its referent dies, it takes its callback with it. (To an optimising compiler a variable that is not read again holds
 * nothing: WEAKREF_KEEP, weakref/object.h.)
 *
 * Semantics are those of Python's weakref.ref, with the differences that doc/semantics.md lists. In short:
 *  - the referent is any block of the collected heap. A pointer into the middle of a block watches the block, and the
 *    reference returns the very pointer that it was given;
 *  - references without callback and payload ("plain") to one pointer are one shared handle; all others are distinct;
 *  - when a collection finds the referent dead, all its short references read NULL before any callback runs; callbacks then run
 *    the newest first, each once, later and outside the collector (gc_set_delivery);
 *  - a short reference reads NULL from the collection that found the object unreachable, even if a destructor or a finalizer
 *    resurrects it. A long one goes on reading it until it is truly gone.
 *
 * Reading takes no lock. A pointer that was read keeps its object alive for as long as it is held where the collector looks: on
 * the stack, in a register, in the heap.
 */
#ifndef WEAKREF_REF_H
#define WEAKREF_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/epoch.h"
#include "weakref/error.h"
#include "weakref/executor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A weak reference, or a proxy (weakref/proxy.h). */
typedef struct weakref_ref weakref_ref;

/**
 * Called once after the referent died; `ref` is the very reference, which reads NULL by then. It runs with no lock of the library
 * held and may do anything, also collect, and make and drop references. The caller's errno is preserved.
 * Returns 0, or a negative error, which goes to the unraisable handler.
 */
typedef int (*weakref_callback)(weakref_ref *ref, void *data);

/**
 * @brief A weak reference to an object.
 * @param obj a pointer to or into a block of the collected heap; not kept alive.
 * @param callback NULL for none; a plain reference is then shared with those before.
 * @param data passed to the callback and kept alive by the reference. Data that leads to obj keeps it from ever dying as long as
 * the reference is held. Must be NULL when callback is.
 * @return the reference; NULL with errno set.
 * Errors: EINVAL (NULL, not on the collected heap, or data without callback), ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding
 * mode).
 * Cost: some 50 ns; a shared one 10 ns. Of an address within an object, an array's element, 500 and 100, however many it has.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: weakref.ref(object[, callback]).
 */
WEAKREF_API weakref_ref *weakref_ref_new(void *obj, weakref_callback callback, void *data);

/** What weakref_ref_new_with takes. Zero what is not wanted. */
typedef struct weakref_ref_options {
	/** As for weakref_ref_new. */
	weakref_callback callback;
	void *data;
	/** Stays readable after the referent died, and is kept alive by the reference (weakref_ref_payload). */
	void *payload;
	/** Never share the handle, though it be plain. */
	bool distinct;
	/** A long reference: reads a resurrected object, and NULL only once the object is gone. Always distinct. */
	bool is_long;
	/** The callback runs in this executor's thread alone (weakref/executor.h); only with a callback. Kept alive by the reference. */
	weakref_executor *executor;
} weakref_ref_options;

/**
 * @brief A weak reference with a payload, a long one, or one that is not shared.
 * @param obj as for weakref_ref_new.
 * @param options what to make; NULL stands for all zero: a plain, shared reference.
 * @return the reference; NULL with errno set.
 * Errors: as weakref_ref_new; EINVAL also for an executor that is none, or without callback.
 * Cost: as weakref_ref_new; an executor takes another allocation.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: subclasses of weakref.ref; GC_register_long_link.
 */
WEAKREF_API weakref_ref *weakref_ref_new_with(void *obj, const weakref_ref_options *options);

/**
 * @brief The referent.
 * @param ref a reference; NULL reads as dead.
 * @return the pointer that the reference was made with; NULL when it is dead, and for a thread that the collector does not know
 * (errno is EPERM then).
 * Errors: EPERM in errno.
 * Cost: a load of the reference and two of one shared word, in line where the compiler optimises: no call, no lock, except while a
 * collection is between its end of marking and its reclaim.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: calling a weakref.ref.
 */
WEAKREF_API void *weakref_ref_get(const weakref_ref *ref);

/**
 * @brief The referent, with the reason when there is none.
 * @param ref a reference.
 * @param out receives the referent, or NULL.
 * @return 0, or a negative error.
 * Errors: ESTALE (dead, or cleared), EINVAL (NULL, or no reference), EPERM.
 * Cost: as weakref_ref_get.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_ref_read(const weakref_ref *ref, void **out);

/**
 * @brief Clears a reference by force: it reads NULL from now on and its callback never runs. The object is not touched.
 * @param ref a reference. A shared plain one is cleared for all who share it; the next plain reference is a new one.
 * @return 0, or a negative error.
 * Errors: ESTALE (it was dead or cleared already), EINVAL, EPERM.
 * Cost: libgc's lock; of a reference without callback and payload linear in those of its object.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: java.lang.ref.Reference.clear; GC_unregister_disappearing_link.
 */
WEAKREF_API int weakref_ref_clear(weakref_ref *ref);

/**
 * @brief The callback of a live reference.
 * @param ref a reference.
 * @param data receives the callback's data; may be NULL.
 * @return the callback; NULL for a plain reference, a dead one, or none.
 * Errors: none.
 * Cost: as weakref_ref_get.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.ref.__callback__. It cannot be replaced.
 */
WEAKREF_API weakref_callback weakref_ref_callback(const weakref_ref *ref, void **data);

/**
 * @brief The payload that the reference was made with.
 * @param ref a reference, alive or dead.
 * @return the payload; NULL where there is none.
 * Errors: none.
 * Cost: a load.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API void *weakref_ref_payload(const weakref_ref *ref);

/**
 * @brief Lets an existing reference name another object: from now on it follows that one only, and the first one's death has no effect.
 *
 * Callback, data and payload stay. A hash that it kept is forgotten.
 * @param ref a live reference that is not shared: with callback or payload, long, or made with `distinct`.
 * @param obj as for weakref_ref_new.
 * @return 0, or a negative error.
 * Errors: ESTALE (ref is dead or cleared), EINVAL (a shared plain reference, a proxy for a proxy, or what weakref_ref_new does not take),
 * ENOMEM, EPERM.
 * Cost: libgc's lock; of a reference without callback and payload linear in those of its object.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: GC_register_disappearing_link of a link in use.
 */
WEAKREF_API int weakref_ref_retarget(weakref_ref *ref, void *obj);

/**
 * @brief Whether two references are equal: two live ones when their referents are (gc_equal), all others when they are the same.
 * @param a a reference.
 * @param b any other pointer: what is no reference, the referent itself included, is never equal to one. A proxy is no reference here.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (NULL), EPERM, and what gc_equal returns.
 * Cost: gc_equal's.
 * Thread: any thread known to the collector.
 * GC: collects only if the type's equal does.
 * Source: ref == ref. There is no order of references.
 */
WEAKREF_API int weakref_ref_equal(const void *a, const void *b);

/**
 * @brief The hash of a live reference's referent (gc_hash), which the reference keeps from the first call on, also beyond the referent's death.
 * @param ref a reference.
 * @param out receives the hash.
 * @return 0, or a negative error.
 * Errors: ESTALE (dead, and never hashed before), ENOTSUP (a proxy), EINVAL, EPERM, and what the type's hash returns: then nothing is kept.
 * Cost: the first time gc_hash's; later libgc's lock.
 * Thread: any thread known to the collector.
 * GC: collects only if the type's hash does.
 * Source: hash(ref).
 */
WEAKREF_API int weakref_ref_hash(const weakref_ref *ref, uint64_t *out);

/**
 * @brief Describes a reference: `<weakref at 0x…; to 'name' at 0x…>` or `<weakref at 0x…; dead>`. Calls no slot of the type.
 * @param ref a reference or a proxy.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole text, as snprintf, or a negative error.
 * Errors: EINVAL.
 * Cost: snprintf's.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_ref_repr(const weakref_ref *ref, char *buf, size_t size);

/**
 * @brief How many references and proxies an object has: those that are neither dead nor cleared and that somebody holds.
 * @param obj a pointer to or into any block.
 * @return the number; 0 for what cannot be referenced (NULL, a static). A handle that was dropped counts until the next collection.
 * Errors: none.
 * Cost: linear in the number, under libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.getweakrefcount.
 */
WEAKREF_API size_t weakref_getweakrefcount(const void *obj);

/**
 * @brief Lists the references and proxies of an object, the newest first; before all others the shared plain ones to where it begins.
 * @param obj a pointer to or into any block.
 * @param out receives at most n handles; it must lie where the collector looks (the stack, the heap).
 * @param n how many fit.
 * @return how many the object has, which may be more than n.
 * Errors: none.
 * Cost: linear in the number, under libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.getweakrefs.
 */
WEAKREF_API size_t weakref_getweakrefs(const void *obj, weakref_ref **out, size_t n);

/* ---- weakref_ref_get in line. Not for programs, but part of the binary interface: what it reads stays where it is. ---- */

/* What a reference begins with. */
struct weakref_ref_front {
	void *referent;
	uintptr_t weakref_private[2];
	uint32_t signature;
} __attribute__((may_alias));

/* Of a reference whose referent is cleared with the world stopped: one that is not long. */
#define WEAKREF_REF_SIGNATURE 0x57524546U

/* Where the quick way does not tell. */
WEAKREF_API void *weakref_ref_get_slowly(const weakref_ref *ref);

extern inline __attribute__((gnu_inline)) void *weakref_ref_get(const weakref_ref *ref)
{
	const struct weakref_ref_front *front = (const struct weakref_ref_front *)ref;
	void *referent;

	if (__builtin_expect(ref != NULL && (uintptr_t)ref % sizeof(void *) == 0 && weakref_epoch_load(&front->referent, &referent) &&
				     front->signature == WEAKREF_REF_SIGNATURE, 1))
		return referent;
	return weakref_ref_get_slowly(ref);
}

#ifdef __cplusplus
}
#endif

#endif

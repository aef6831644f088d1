/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/method.h
 * @brief Weak methods: an object and a function of it, neither of which the handle keeps alive.
 *
 * A bound method that is registered somewhere as a callback keeps its object alive; a plain reference to the bound method would die at
 * once, since nobody else holds it. A weak method is the way out: it gives the pair while both parts live.
 *
 * A method's function is C code, and may have a *closure*: a block of the collected heap that belongs to the function (what an
 * interpreter would call its function object). The closure is held weakly, too.
 */
#ifndef WEAKREF_METHOD_H
#define WEAKREF_METHOD_H

#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A weak method: a block of the collected heap, kept and dropped as a reference is. */
typedef struct weakref_method weakref_method;

/** A method's function. Returns 0 or a negative error; `result` is never NULL. */
typedef int (*weakref_method_fn)(void *obj, void *closure, size_t argc, void **argv, void **result);

/** Called once after object or closure died, whichever came first, as weakref_callback is. */
typedef int (*weakref_method_callback)(weakref_method *method, void *data);

/**
 * @brief A weak method.
 * @param obj the object; any referent that weakref_ref_new takes. Not kept alive.
 * @param fn its function.
 * @param closure what the function belongs to, likewise any referent; NULL for none. Not kept alive.
 * @param callback NULL for none.
 * @param data passed to the callback and kept alive by the method. Must be NULL when callback is.
 * @return the method; NULL with errno set.
 * Errors: EINVAL (no fn, or what weakref_ref_new does not take), ENOMEM, EPERM, ENOTSUP.
 * Cost: an allocation and a reference to each part.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: weakref.WeakMethod(method[, callback]).
 */
WEAKREF_API weakref_method *weakref_method_new(void *obj, weakref_method_fn fn, void *closure, weakref_method_callback callback,
					       void *data);

/**
 * @brief The parts of a method.
 * @param method the method.
 * @param obj receives the object, or NULL; may be NULL.
 * @param fn receives the function, or NULL; may be NULL.
 * @param closure receives the closure, or NULL; may be NULL.
 * @return 0, or a negative error.
 * Errors: ESTALE (object or closure is dead), EINVAL, EPERM.
 * Cost: two reads of references.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: calling a WeakMethod.
 */
WEAKREF_API int weakref_method_get(const weakref_method *method, void **obj, weakref_method_fn *fn, void **closure);

/**
 * @brief Calls the function on the object.
 * @param method the method.
 * @param argc number of arguments.
 * @param argv the arguments; may be NULL when argc is 0.
 * @param result receives the result; may be NULL.
 * @return 0, or a negative error.
 * Errors: ESTALE (object or closure is dead: nothing was called), EINVAL, EPERM, and what the function returns.
 * Cost: the function's.
 * Thread: any thread known to the collector.
 * GC: collects only if the function does.
 * Source: WeakMethod()(…).
 */
WEAKREF_API int weakref_method_call(const weakref_method *method, size_t argc, void **argv, void **result);

/**
 * @brief Whether two methods are equal: live ones with the same function and closure whose objects are equal (gc_equal); others when
 * they are the same.
 * @param a a method.
 * @param b a method.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (NULL or no method), EPERM, and what gc_equal returns.
 * Cost: gc_equal's.
 * Thread: any thread known to the collector.
 * GC: collects only if the type's equal does.
 * Source: WeakMethod.__eq__.
 */
WEAKREF_API int weakref_method_equal(const weakref_method *a, const weakref_method *b);

/**
 * @brief A method's hash, made of its object's (gc_hash) and its function; kept from the first call on, also beyond the death.
 * @param method the method.
 * @param out receives the hash.
 * @return 0, or a negative error.
 * Errors: ESTALE (the object is dead, and the method was never hashed before), EINVAL, EPERM, and what the type's hash returns.
 * Cost: that of weakref_ref_hash.
 * Thread: any thread known to the collector.
 * GC: collects only if the type's hash does.
 * Source: hash(WeakMethod).
 */
WEAKREF_API int weakref_method_hash(const weakref_method *method, uint64_t *out);

/**
 * @brief Describes a method: `<weakmethod at 0x…; to 'name' at 0x…>`, with its object's type, or `<weakmethod at 0x…; dead>`. Calls no slot of
 * the type.
 * @param method the method.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole text, as snprintf, or a negative error.
 * Errors: EINVAL (NULL, no method, or no buf), EPERM.
 * Cost: snprintf's.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: repr(WeakMethod).
 */
WEAKREF_API int weakref_method_repr(const weakref_method *method, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif

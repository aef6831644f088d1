/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/proxy.h
 * @brief Proxies: weak references that the generic operations of weakref/object.h see through.
 *
 * A proxy is a weakref_ref of another kind: all of weakref/ref.h works on it, and `gc_getattr(proxy, …)`, `gc_call(proxy, …)`
 * and the other generic operations act on the object that it stands for, or answer -WEAKREF_ESTALE once that is dead. So a
 * proxy can be handed to code that does not know it is one; which may make a proxy of it: that stands for the object as well, as long
 * as somebody has the first one.
 */
#ifndef WEAKREF_PROXY_H
#define WEAKREF_PROXY_H

#include <stdbool.h>

#include "weakref/error.h"
#include "weakref/ref.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @brief A proxy for an object.
 * @param obj as for weakref_ref_new.
 * @param callback NULL for none; a plain proxy is then shared with the plain proxies before, never with a reference.
 * @param data as for weakref_ref_new.
 * @return the proxy; NULL with errno set.
 * Errors: as weakref_ref_new.
 * Cost: as weakref_ref_new.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: weakref.proxy(object[, callback]).
 */
WEAKREF_API weakref_ref *weakref_proxy_new(void *obj, weakref_callback callback, void *data);

/**
 * @brief Whether a pointer is a proxy.
 * @param p any address.
 * @return true for a proxy, alive or dead.
 * Errors: none.
 * Cost: two look-ups in the collector's block headers, some 10 ns.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API bool weakref_is_proxy(const void *p);

#ifdef __cplusplus
}
#endif

#endif

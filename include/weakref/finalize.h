/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/finalize.h
 * @brief Finalizers: a function that is called once, after an object died, or at exit at the latest.
 *
 * The runtime holds a finalizer strongly, unlike a reference: the handle may be dropped, and the function runs all the same. With it the
 * runtime holds the arguments: arguments that lead to the object keep it alive, and the function then runs at exit only.
 *
 * Semantics are those of Python's weakref.finalize, with the differences that doc/semantics.md lists. In short:
 *  - the object is any block of the collected heap, and may have any number of finalizers and references. Finalizers and callbacks of
 *    what died in one collection run the newest first, later and outside the collector (gc_set_delivery);
 *  - the function does not get the object, which is dead by then;
 *  - death, weakref_finalize_call, weakref_finalize_detach and the exit contend for a finalizer, and exactly one gets it;
 *  - finalizers whose atexit is set (it is at first) run at exit, the newest first, when main returns or somebody calls exit; not by
 *    quick_exit, _exit, abort or a signal;
 *  - a child after fork does not run its parent's finalizers at exit.
 */
#ifndef WEAKREF_FINALIZE_H
#define WEAKREF_FINALIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A finalizer. It points into a block of the collected heap, which is alive at least as long as it is registered or held. */
typedef struct weakref_finalize weakref_finalize;

/**
 * What a finalizer calls, once. It runs with no lock of the library held and may do anything, also collect, and make and detach
 * finalizers. Returns >= 0, or a negative error, which goes to the unraisable handler as "finalizer", except where weakref_finalize_call
 * asked for the result.
 */
typedef int (*weakref_finalize_fn)(void *args);

/**
 * @brief A finalizer of an object.
 * @param obj a pointer to or into a block of the collected heap; not kept alive.
 * @param fn called after the object died, or at exit.
 * @param args passed to it, and kept alive until it was called or detached. Arguments that lead to obj keep it from ever dying, of which
 * WEAKREF_DEBUG_UNCOLLECTABLE (gc_set_debug) tells.
 * @return the finalizer, which may be dropped; NULL with errno set.
 * Errors: EINVAL (obj is NULL or not on the collected heap, or fn is NULL), ENOMEM, EPERM, ENOTSUP (libgc is in leak-finding mode).
 * Cost: some 40 ns, and 20 bytes where it is one of many; more memory where more than eight functions take turns.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: weakref.finalize(obj, func, /, *args, **kwargs).
 */
WEAKREF_API weakref_finalize *weakref_finalize_new(void *obj, weakref_finalize_fn fn, void *args);

/**
 * @brief An ordered finalizer: it waits while another object with an ordered finalizer, itself dead, leads to this one.
 *
 * Where A leads to B, and both have ordered finalizers, B's becomes due in a collection after A's function has returned: a chain is
 * finalized one level in a collection; weakref_finalize_run_ordered does all of them. Objects that lead to each other are never
 * finalized, but at exit: of each such cycle an object is reported, once, to the unraisable handler, as "finalizer in a cycle" with
 * ENOTSUP; its type is gc_type_of(subject). All that wait for a cycle are counted as uncollectable (gc_get_stats). An object that leads to
 * itself directly is no cycle; a weak dictionary, a weak set, and a weak method with a callback are: an object that holds one is not.
 * References are cleared, and weakref_finalize_new's finalizers run, with the first collection that finds the object unreachable; the
 * ordered one stays alive until its turn. It takes libgc's finalizer slot of the block, and calls what was in it at its turn.
 * @param obj as for weakref_finalize_new; not an object whose type has a destructor.
 * @param fn as for weakref_finalize_new.
 * @param args as for weakref_finalize_new.
 * @return the finalizer, which may be dropped; NULL with errno set.
 * Errors: as weakref_finalize_new; ENOTSUP for an object with a destructor.
 * Cost: some 400 ns, and libgc's marking from each such object that is dead and waits.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: GC_register_finalizer_ignore_self.
 */
WEAKREF_API weakref_finalize *weakref_finalize_new_ordered(void *obj, weakref_finalize_fn fn, void *args);

/**
 * @brief Collects and delivers until no more ordered finalizer becomes due.
 *
 * It pumps under every rule of delivery. From within a callback it collects, and leaves the rest to the run in progress.
 * @return how many ordered finalizers have run meanwhile, or a negative error.
 * Errors: as gc_collect.
 * Cost: a collection for each level, and three more.
 * Thread: any thread known to the collector.
 * GC: collects; runs callbacks.
 */
WEAKREF_API long weakref_finalize_run_ordered(void);

/**
 * @brief Calls the function now, if the finalizer is alive, which then is dead.
 * @param finalize a finalizer.
 * @param result receives what the function returned, where it was called; may be NULL.
 * @return 1 when the function was called, 0 when there was nothing to call (it was called or detached before, its object died, or the
 * run at exit is over), or a negative error.
 * Errors: EINVAL (NULL, or no finalizer), EPERM.
 * Cost: as GC_base, and the function's.
 * Thread: any thread known to the collector; the function runs in it.
 * GC: never collects by itself.
 * Source: calling a weakref.finalize.
 */
WEAKREF_API int weakref_finalize_call(weakref_finalize *finalize, int *result);

/**
 * @brief Takes the function away, if the finalizer is alive, which then is dead: the function never runs.
 * @param finalize a finalizer.
 * @param obj receives the object.
 * @param fn receives the function.
 * @param args receives its arguments. Each of the three may be NULL; they receive NULL where there is nothing.
 * @return 1, 0 when there was nothing to detach, or a negative error.
 * Errors: EINVAL (NULL, or no finalizer), EPERM.
 * Cost: as GC_base.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.finalize.detach.
 */
WEAKREF_API int weakref_finalize_detach(weakref_finalize *finalize, void **obj, weakref_finalize_fn *fn, void **args);

/**
 * @brief What weakref_finalize_detach would tell, without detaching.
 * @param finalize a finalizer.
 * @param obj receives the object.
 * @param fn receives the function.
 * @param args receives its arguments. Each of the three may be NULL; they receive NULL where there is nothing.
 * @return 1, 0 when the finalizer is dead, or a negative error.
 * Errors: EINVAL (NULL, or no finalizer), EPERM.
 * Cost: as GC_base.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.finalize.peek.
 */
WEAKREF_API int weakref_finalize_peek(const weakref_finalize *finalize, void **obj, weakref_finalize_fn *fn, void **args);

/**
 * @brief Whether a finalizer is alive: neither called nor detached, and its object not found dead.
 * @param finalize a finalizer; NULL is dead.
 * @return true while it is.
 * Errors: none; false for a thread that the collector does not know.
 * Cost: as GC_base.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.finalize.alive.
 */
WEAKREF_API bool weakref_finalize_alive(const weakref_finalize *finalize);

/**
 * @brief Whether a finalizer is run at exit, where it is alive then.
 * @param finalize a finalizer.
 * @return true if so; false for a dead one, and, in a child after fork, for one of the parent's.
 * Errors: none; false for a thread that the collector does not know.
 * Cost: as GC_base.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.finalize.atexit.
 */
WEAKREF_API bool weakref_finalize_get_atexit(const weakref_finalize *finalize);

/**
 * @brief Sets whether a finalizer is run at exit: it is at first. Of a dead finalizer nothing changes.
 * @param finalize a finalizer. Of one of the parent's, true makes it the child's own.
 * @param on whether it is to be run.
 * @return 0, or a negative error.
 * Errors: EINVAL (NULL, or no finalizer), EPERM.
 * Cost: as GC_base.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: weakref.finalize.atexit.
 */
WEAKREF_API int weakref_finalize_set_atexit(weakref_finalize *finalize, bool on);

/**
 * @brief Describes a finalizer: `<finalize object at 0x…; for 'name' at 0x…>` or `<finalize object at 0x…; dead>`. Calls no slot of the type.
 * @param finalize a finalizer.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length of the whole text, as snprintf, or a negative error.
 * Errors: EINVAL (NULL, no finalizer, or no buf), EPERM.
 * Cost: snprintf's.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: repr() of a weakref.finalize.
 */
WEAKREF_API int weakref_finalize_repr(const weakref_finalize *finalize, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif

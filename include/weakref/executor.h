/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/executor.h
 * @brief Executors: callbacks that run in one thread, when that thread asks for them.
 *
 * A callback that may be called only in a certain thread (it draws, it owns a context) names an executor in weakref_ref_options.
 * gc_set_delivery's rule does not concern it: when its referent has died, the callback waits in its executor until the executor's thread calls
 * weakref_executor_run.
 *
 * An executor is a block of the collected heap. References that name it hold it, while they live; dropped by all, it takes with it what
 * waits in it.
 */
#ifndef WEAKREF_EXECUTOR_H
#define WEAKREF_EXECUTOR_H

#include <stdbool.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An executor. */
typedef struct weakref_executor weakref_executor;

/**
 * @brief An executor, whose thread is the calling one.
 * @param name for messages, copied; not NULL.
 * @return the executor; NULL with errno set.
 * Errors: EINVAL, ENOMEM, EPERM.
 * Cost: an allocation.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API weakref_executor *weakref_executor_new(const char *name);

/**
 * @brief An executor's name.
 * @param executor the executor.
 * @return the name, good as long as the executor; NULL for what is none.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API const char *weakref_executor_name(const weakref_executor *executor);

/**
 * @brief Makes the calling thread the executor's, in place of the one before, which may have ended.
 * @param executor the executor.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: a store.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_executor_adopt(weakref_executor *executor);

/**
 * @brief Runs the callbacks that wait in an executor, those that come meanwhile included, in the order of gc_run_callbacks.
 * @param executor the executor.
 * @return how many ran, 0 also when called from within a callback; or a negative error.
 * Errors: EPERM (not the executor's thread), EINVAL.
 * Cost: theirs.
 * Thread: the executor's.
 * GC: collects only if a callback does.
 */
WEAKREF_API long weakref_executor_run(weakref_executor *executor);

/**
 * @brief Whether something waits in an executor.
 * @param executor the executor.
 * @return true when weakref_executor_run would find something.
 * Errors: none; false for what is none.
 * Cost: libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API bool weakref_executor_pending(const weakref_executor *executor);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/executor.h
 * @brief Executors: callbacks and tasks that run in one thread, when that thread asks for them.
 *
 * A callback that may be called only in a certain thread (it draws, it owns a context) names an executor in weakref_ref_options.
 * gc_set_delivery's rule does not concern it: when its referent has died, the callback waits in its executor until the executor's thread calls
 * weakref_executor_run. Whatever else is for that thread, say what a finalizer has to give back, any thread hands over as a task
 * (weakref_executor_submit).
 *
 * That thread learns that something waits in one of two ways. One that has nothing else to do sleeps until then:
 *
 *     while (weakref_executor_wait(executor, -1) == 0)
 *             weakref_executor_run(executor);
 *
 * One that has an event loop polls weakref_executor_fd among its own descriptors, and calls weakref_executor_run when it is readable.
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
 * @brief Makes the calling thread the executor's, in place of the one before, which may have ended. If that one is running what waits, it
 * ends what it is in, and runs nothing more.
 * @param executor the executor.
 * @return 0, or a negative error.
 * Errors: EINVAL, EPERM.
 * Cost: libgc's lock.
 * Thread: any thread known to the collector.
 * GC: never collects.
 */
WEAKREF_API int weakref_executor_adopt(weakref_executor *executor);

/** What weakref_executor_submit hands over. */
typedef void (*weakref_executor_task)(void *arg);

/**
 * @brief Hands a task over: weakref_executor_run calls it once, behind what waits there by then.
 *
 * A cache whose reloads are to run there has this as its executor (weakref_cache_builder_executor, with the executor as user):
 *
 *     static int run_there(void (*task)(void *arg), void *arg, void *executor)
 *     {
 *             return weakref_executor_submit(executor, task, arg);
 *     }
 *
 * @param executor the executor. What waits does not keep it: hold it where tasks must not be lost, as at exit, when nobody runs them.
 * @param task called with no lock of the library held; it may do anything, also submit.
 * @param arg passed to it, and kept alive until then, while the executor is.
 * @return 0, or a negative error.
 * Errors: EINVAL (no executor, or no task), ENOMEM, EPERM.
 * Cost: an allocation, and libgc's lock.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: java.util.concurrent.Executor.execute.
 */
WEAKREF_API int weakref_executor_submit(weakref_executor *executor, weakref_executor_task task, void *arg);

/**
 * @brief Runs the callbacks and tasks that wait in an executor, those that come meanwhile included, in the order of gc_run_callbacks.
 * @param executor the executor.
 * @return how many ran, 0 also when called from within a callback; or a negative error. Where another thread adopts the executor meanwhile,
 * what has not begun is left to that.
 * Errors: EPERM (not the executor's thread), EINVAL.
 * Cost: theirs.
 * Thread: the executor's.
 * GC: collects only if a callback does.
 */
WEAKREF_API long weakref_executor_run(weakref_executor *executor);

/**
 * @brief Sleeps until something waits in an executor, so that weakref_executor_run finds it; or until the time is over.
 *
 * Where callbacks are delivered at allocation, those that are ready by then run before, as in a call that allocates: a finalizer among them
 * may submit what is waited for. While the thread sleeps it has none run.
 * @param executor the executor.
 * @param seconds how long at most, fractions included, as for poll(2): with 0 it only looks, negative or infinite is for ever.
 * @return 0: something waits; or a negative error.
 * Errors: ETIMEDOUT, EPERM (not the executor's thread, or no more: another has adopted the executor meanwhile), EDEADLK (called from within a
 * callback or a task, where weakref_executor_run runs nothing), EINVAL (no executor, or NaN).
 * Cost: libgc's lock; a sleep on a semaphore where nothing waits.
 * Thread: the executor's. Sleeping is a cancellation point; a signal does not end it. Who wants it to end submits a task.
 * GC: collects only if a callback does; may run callbacks.
 */
WEAKREF_API int weakref_executor_wait(weakref_executor *executor, double seconds);

/**
 * @brief A descriptor that polls readable while something waits in the executor, and at no other time: for poll, epoll and their like,
 * level-triggered or edge-triggered. The library reads and writes it; the program only polls.
 * @param executor the executor.
 * @return the descriptor, the same at each call, owned by the library; or a negative error. It is closed when the executor is found dead: hold
 * that as long as the descriptor is polled. In a child after fork this call gives one of its own, and the parent's tells nothing there.
 * Errors: EINVAL, ENOMEM (also where no descriptor could be had), EPERM.
 * Cost: libgc's lock, the first time an object with destructor and a system call; from then on a system call for what finds the executor empty,
 * and one for what leaves it so.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API int weakref_executor_fd(weakref_executor *executor);

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

/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/error.h
 * @brief Error codes, and the marks that every public header uses.
 *
 * Two conventions, and no third:
 *
 *  - a constructor returns the new thing, or NULL with the reason in errno;
 *  - every other call that can fail returns a value >= 0, or a negative `-WEAKREF_E…`. The code's value is the errno value, so
 *    `weakref_strerror(r)` and `strerror(-r)` both explain it.
 *
 * A look-up returns a pointer or NULL, and there NULL is an answer, no error; a twin that returns int tells absent from dead.
 * A failed call has changed nothing.
 *
 * In C++ the program's functions that the library calls may throw: what they throw comes out of the call that led to them (doc/semantics.md,
 * R290).
 *
 * Two errors are not of the call, and every call that needs the library may give them: EINVAL before gc_init, and EPERM in a thread that the
 * collector does not know (gc_thread_register).
 */
#ifndef WEAKREF_ERROR_H
#define WEAKREF_ERROR_H

#include <errno.h>

#if defined(__GNUC__)
#define WEAKREF_API __attribute__((visibility("default")))
#define WEAKREF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define WEAKREF_API
#define WEAKREF_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** The codes. `X(name, errno value, phrase)`; the one list from which enum, names and phrases are made. */
#define WEAKREF_ERRORS(X)                                                                        \
	X(ENOMEM, ENOMEM, "out of memory, or over the heap limit")                               \
	X(EINVAL, EINVAL, "bad argument (NULL, wrong kind, not on the heap), or no gc_init yet") \
	X(ENOENT, ENOENT, "absent")                                                              \
	X(ESTALE, ESTALE, "the referent is dead")                                                \
	X(EBUSY, EBUSY, "collection is disabled by the host")                                    \
	X(EPERM, EPERM, "the calling thread is unknown to the collector, or not the executor's") \
	X(ENOTSUP, ENOTSUP, "not supported in this mode or build, or by this type")              \
	X(ETIMEDOUT, ETIMEDOUT, "timed out")                                                     \
	X(ECANCELED, ECANCELED, "closed")                                                        \
	X(EEXIST, EEXIST, "there already, or somebody else's")                                   \
	X(ENOSPC, ENOSPC, "full")                                                                \
	X(EDEADLK, EDEADLK, "the caller would wait for itself")

enum weakref_error {
	WEAKREF_OK = 0,
#define WEAKREF_ERROR_ENUM(name, value, phrase) WEAKREF_##name = value,
	WEAKREF_ERRORS(WEAKREF_ERROR_ENUM)
#undef WEAKREF_ERROR_ENUM
};

/**
 * @brief The phrase for an error code.
 * @param error a result of this library: 0, a code, or a negative code; any other errno value is passed on to strerror(3).
 * @return a phrase; a static string for the library's own codes. Never NULL.
 * Errors: none.
 * Cost: a scan of the list.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API const char *weakref_strerror(int error);

/**
 * @brief The name of an error code, such as "ESTALE".
 * @param error 0, a code, or a negative code.
 * @return a static string; "OK" for 0, "E?" for what is no code of this library.
 * Errors: none.
 * Cost: a scan of the list.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API const char *weakref_error_name(int error);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/*
 * tour: what the programs of the tour share. They are those of a notebook on Python's weakref, in its order, one function each.
 *
 * Each stands for a Python module, and does what that does: what is a global there is a member of a static struct here, where the
 * collector sees it; `del obj` is obj = NULL and gc_collect, since no counting of references tells of a death at once.
 *
 * A collector that looks into stacks word by word may find there what a statement has left, although nobody uses it any more. So
 *  1. every statement that has an object in its hands is a function that runs on a thread of its own (step), whose stack is gone
 *     when it is over;
 *  2. collections are made by the main thread, which has an object in its hands in destructors and at exit only; what those leave
 *     below its stack pointer is overwritten before the next statement and the next collection.
 */
#ifndef EXAMPLES_TOUR_TOUR_H
#define EXAMPLES_TOUR_TOUR_H

#include "weakref/weakref.h"

/* ---- object.c ---- */

struct expensive_object {
	const char *name;
};

/* Both are Python's class ExpensiveObject, and say when they are deleted. The second has a __repr__ of its own. */
extern const gc_type expensive_object_type, expensive_object_with_repr_type;

struct expensive_object *expensive_object_new(const gc_type *type, const char *name);
/* print(label, object), where NULL is None. */
void print_object(const char *label, void *object);
void print_ref(const char *label, const weakref_ref *ref);

/* Runs a statement to its end. */
void step(void (*statement)(void));
/* `del` came before: now the objects die. */
void collect(void);
/* End the program where something failed: NULL with errno set, or a negative error. */
void *made(void *thing, const char *what);
int done(int result, const char *what);

/* ---- the programs ---- */

void tour_ref(void);
void tour_callback(void);
void tour_proxy(void);

void tour_finalize(void);
void tour_atexit(void);
/* What tour_atexit starts, twice: the program that ends with a finalizer whose atexit is this. */
void tour_atexit_program(bool atexit);
void tour_uncollected(void);
void tour_method(void);

void tour_dictionary(void);

#endif

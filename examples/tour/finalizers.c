/* SPDX-License-Identifier: MIT */
/*
 * finalizers: the notebook's weakref.finalize, its atexit, and the two ways to keep an object alive by its own finalizer.
 *
 * Here a finalizer runs before __del__ (rule R73 of doc/semantics.md), as where Python's collector finds the object dead.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tour.h"

extern char **environ;

static struct {
	struct expensive_object *obj;
	weakref_finalize *f;
	/* Python's id is a number that keeps nothing alive. An address is a number that does: hence its complement. */
	uintptr_t not_id;
} module;

/* ---- weakref.finalize ---- */

static int on_finalize(void *args)
{
	printf("on_finalize(('%s',))\n", (char *)args);
	return 0;
}

static void make_finalize(void)
{
	module.obj = expensive_object_new(&expensive_object_type, NULL);
	module.f = made(weakref_finalize_new(module.obj, on_finalize, (void *)"extra argument"), "weakref_finalize_new");
}

void tour_finalize(void)
{
	step(make_finalize);
	/* The runtime holds the finalizer, nobody else has to. */
	module.f = NULL;
	module.obj = NULL;
	collect();
}

/* ---- atexit ---- */

/* Python deletes a module's globals when it ends, after the finalizers. This library deletes nothing that is reachable (R33). */
static void delete_globals(void)
{
	module.obj = NULL;
	module.f = NULL;
	collect();
}

void tour_atexit_program(bool atexit_flag)
{
	/* Before the first finalizer is made, so that it runs after them. */
	done(atexit(delete_globals) == 0 ? 0 : -WEAKREF_ENOMEM, "atexit");
	step(make_finalize);
	done(weakref_finalize_set_atexit(module.f, atexit_flag), "weakref_finalize_set_atexit");
}

static void run_atexit_program(const char *argument)
{
	char *argv[] = {(char *)"weakref_tour", (char *)"--atexit", (char *)argument, NULL};
	pid_t child;
	int status;

	printf("with the argument %s:\n", argument);
	fflush(stdout);
	done(-posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ), "posix_spawn");
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			done(-errno, "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		done(-WEAKREF_ECANCELED, "the child process");
}

void tour_atexit(void)
{
	run_atexit_program("1");
	run_atexit_program("0");
}

/* ---- a finalizer whose argument is its object ---- */

static int on_finalize_object(void *args)
{
	print_object("on_finalize", args);
	return 0;
}

static void make_object(void)
{
	module.obj = expensive_object_new(&expensive_object_type, NULL);
	module.not_id = ~(uintptr_t)module.obj;
}

static void finalize_with_object(void)
{
	module.f = made(weakref_finalize_new(module.obj, on_finalize_object, module.obj), "weakref_finalize_new");
	done(weakref_finalize_set_atexit(module.f, false), "weakref_finalize_set_atexit");
}

static void look_among_objects(void)
{
	size_t n;
	void **objects = made(gc_get_objects(WEAKREF_ALL_GENERATIONS, &n), "gc_get_objects");

	for (size_t i = 0; i < n; i++)
		if (~(uintptr_t)objects[i] == module.not_id)
			puts("found uncollected object in gc");
}

static void detach(void)
{
	done(weakref_finalize_detach(module.f, NULL, NULL, NULL), "weakref_finalize_detach");
}

/* Where a Python program ends, it lets go of this object, too, and does not call the finalizer, whose atexit is false. */
static void end_of_program(void)
{
	step(detach);
	module.f = NULL;
	collect();
}

void tour_uncollected(void)
{
	step(make_object);
	step(finalize_with_object);
	module.obj = NULL;
	collect();
	step(look_among_objects);
	end_of_program();
}

/* ---- a finalizer that calls a method of its object ---- */

/* The method. Nothing of it is left to call once the object is dead. */
static int release(void *obj, void *closure, size_t argc, void **argv, void **result)
{
	(void)closure, (void)argc, (void)argv, (void)result;
	print_object("release", obj);
	return 0;
}

/* What obj.release is in Python: the function, and a strong reference to the object. */
struct bound_method {
	weakref_method_fn fn;
	void *obj;
};

static int call_bound(void *args)
{
	struct bound_method *bound = args;
	void *result;

	return bound->fn(bound->obj, NULL, 0, NULL, &result);
}

static void finalize_with_bound_method(void)
{
	struct bound_method *bound = made(gc_alloc(sizeof *bound), "gc_alloc");

	*bound = (struct bound_method){.fn = release, .obj = module.obj};
	module.f = made(weakref_finalize_new(module.obj, call_bound, bound), "weakref_finalize_new");
	done(weakref_finalize_set_atexit(module.f, false), "weakref_finalize_set_atexit");
}

static int call_weak(void *args)
{
	int result = weakref_method_call(args, 0, NULL, NULL);

	printf("on_finalize: the method's object is dead: -WEAKREF_%s\n", weakref_error_name(result));
	return result == -WEAKREF_ESTALE ? 0 : result;
}

static void finalize_with_weak_method(void)
{
	weakref_method *method = made(weakref_method_new(module.obj, release, NULL, NULL, NULL), "weakref_method_new");

	module.f = made(weakref_finalize_new(module.obj, call_weak, method), "weakref_finalize_new");
	done(weakref_finalize_set_atexit(module.f, false), "weakref_finalize_set_atexit");
}

/* The notebook says it without a program: a bound method keeps the object, too. A weak one does not. */
void tour_method(void)
{
	puts("finalize(obj, obj.release):");
	step(make_object);
	step(finalize_with_bound_method);
	module.obj = NULL;
	collect();
	step(look_among_objects);
	end_of_program();

	puts("finalize(obj, WeakMethod(obj.release)):");
	step(make_object);
	step(finalize_with_weak_method);
	module.obj = NULL;
	collect();
	step(look_among_objects);
}

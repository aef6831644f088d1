/* SPDX-License-Identifier: MIT */
/*
 * object: the notebook's class, and how statements run: see tour.h.
 */
/* libgc's own pthread_create, whose threads the collector knows. */
#define GC_THREADS
#include <gc/gc.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tour.h"

void *made(void *thing, const char *what)
{
	if (thing != NULL)
		return thing;
	fprintf(stderr, "weakref_tour: %s: %s\n", what, weakref_strerror(errno));
	exit(2);
}

int done(int result, const char *what)
{
	if (result >= 0)
		return result;
	fprintf(stderr, "weakref_tour: %s: %s\n", what, weakref_strerror(result));
	exit(2);
}

/* ---- class ExpensiveObject ---- */

static int default_repr(void *obj, char *buf, size_t size)
{
	return snprintf(buf, size, "<ExpensiveObject object at %p>", obj);
}

static int default_del(void *obj)
{
	char text[80];

	int length = gc_repr(obj, text, sizeof text);
	if (length < 0)
		return length;
	printf("(Deleting %s)\n", text);
	return 0;
}

static int name_repr(void *obj, char *buf, size_t size)
{
	const struct expensive_object *self = obj;

	return snprintf(buf, size, "ExpensiveObject(%s)", self->name);
}

static int indented_del(void *obj)
{
	printf("    ");
	return default_del(obj);
}

static int get_attribute(void *obj, const char *name, void **value)
{
	const struct expensive_object *self = obj;

	if (strcmp(name, "name") != 0)
		return -WEAKREF_ENOENT;
	*value = (void *)self->name;
	return 0;
}

const gc_type expensive_object_type = {
	.name = "ExpensiveObject",
	.size = sizeof(struct expensive_object),
	.repr = default_repr,
	.destroy = default_del,
	.getattr = get_attribute,
};

const gc_type expensive_object_with_repr_type = {
	.name = "ExpensiveObject",
	.size = sizeof(struct expensive_object),
	.repr = name_repr,
	.destroy = indented_del,
	.getattr = get_attribute,
};

struct expensive_object *expensive_object_new(const gc_type *type, const char *name)
{
	struct expensive_object *self = made(gc_new(type), "gc_new");

	self->name = name;
	return self;
}

/* ---- print ---- */

void print_object(const char *label, void *object)
{
	char text[80] = "None";

	if (object != NULL)
		done(gc_repr(object, text, sizeof text), "gc_repr");
	printf("%s %s\n", label, text);
}

void print_ref(const char *label, const weakref_ref *ref)
{
	char text[120];

	done(weakref_ref_repr(ref, text, sizeof text), "weakref_ref_repr");
	printf("%s %s\n", label, text);
}

/* ---- statements ---- */

/* A destructor or a finalizer that ran on this stack may have left its object there. */
static __attribute__((noinline)) void overwrite_dead_frames(void)
{
	volatile char stack[16384];

	for (size_t i = 0; i < sizeof stack; i++)
		stack[i] = 0;
}

/* A pointer to a function may not travel as a pointer to an object; one to a variable that holds it may. */
static void *step_thread(void *arg)
{
	void (**statement)(void) = arg;

	(*statement)();
	return NULL;
}

void step(void (*statement)(void))
{
	pthread_t thread;

	overwrite_dead_frames();
	done(-pthread_create(&thread, NULL, step_thread, &statement), "pthread_create");
	done(-pthread_join(thread, NULL), "pthread_join");
}

void collect(void)
{
	overwrite_dead_frames();
	done((int)gc_collect(), "gc_collect");
}

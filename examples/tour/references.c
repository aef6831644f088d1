/* SPDX-License-Identifier: MIT */
/*
 * references: the notebook's weakref.ref, the same with a callback, and weakref.proxy.
 */
#include <stdio.h>

#include "tour.h"

static struct {
	struct expensive_object *obj;
	weakref_ref *r, *p;
} module;

/* ---- weakref.ref ---- */

static void make_ref(void)
{
	module.obj = expensive_object_new(&expensive_object_type, NULL);
	module.r = made(weakref_ref_new(module.obj, NULL, NULL), "weakref_ref_new");
}

static void print_referent(void)
{
	print_object("r():", weakref_ref_get(module.r));
}

static void print_all(void)
{
	print_object("obj:", module.obj);
	print_ref("ref:", module.r);
	print_referent();
}

static void delete_and_print(void)
{
	puts("deleting obj");
	module.obj = NULL;
	collect();
	step(print_referent);
}

void tour_ref(void)
{
	step(make_ref);
	step(print_all);
	delete_and_print();
}

/* ---- with a callback ---- */

/* Called when the object is deleted. */
static int callback(weakref_ref *reference, void *data)
{
	char text[120];

	(void)data;
	int length = weakref_ref_repr(reference, text, sizeof text);
	if (length < 0)
		return length;
	printf("callback(%s)\n", text);
	return 0;
}

static void make_ref_with_callback(void)
{
	module.obj = expensive_object_new(&expensive_object_type, NULL);
	module.r = made(weakref_ref_new(module.obj, callback, NULL), "weakref_ref_new");
}

/* Here the callback comes before __del__ (rule R73 of doc/semantics.md), as where Python's collector finds the object dead. */
void tour_callback(void)
{
	step(make_ref_with_callback);
	step(print_all);
	delete_and_print();
}

/* ---- weakref.proxy ---- */

static void make_proxy(void)
{
	module.obj = expensive_object_new(&expensive_object_type, "My Object");
	module.r = made(weakref_ref_new(module.obj, NULL, NULL), "weakref_ref_new");
	module.p = made(weakref_proxy_new(module.obj, NULL, NULL), "weakref_proxy_new");
}

/* Code that knows nothing of weak references: whether it gets an object or a proxy is one to it. */
static void print_name(const char *label, void *thing)
{
	void *name;
	int result = gc_getattr(thing, "name", &name);

	if (result == -WEAKREF_ESTALE)
		printf("%s ReferenceError: -WEAKREF_%s (%s)\n", label, weakref_error_name(result), weakref_strerror(result));
	else if (done(result, "gc_getattr") == 0)
		printf("%s %s\n", label, (char *)name);
}

static void print_name_via_proxy(void)
{
	print_name("via proxy:", module.p);
}

static void print_names(void)
{
	print_name("via obj:", module.obj);
	print_name("via ref:", weakref_ref_get(module.r));
	print_name_via_proxy();
}

void tour_proxy(void)
{
	step(make_proxy);
	step(print_names);
	module.obj = NULL;
	collect();
	step(print_name_via_proxy);
}

/* SPDX-License-Identifier: MIT */
/*
 * method: see weakref/method.h. A method is a scanned block that holds a reference to the object and, where there is a closure, one to
 * that. Both are distinct, so that clearing or sharing elsewhere does not touch them.
 *
 * With a callback both references have one, whose data is the method. That is a cycle, but one of the heap's: a method that nobody holds
 * goes with its references, and its callback is not called. Whichever reference tells first takes the right to call.
 *
 * Invariants
 *  1. signature is written last: a method is whole, or it is none.
 *  2. told goes from false to true once.
 *
 * No locks of its own.
 */
#include "weakref/method.h"

#include <errno.h>
#include <stdio.h>

#include "heap.h"
#include "ref.h"
#include "weakref/object.h"

#define METHOD_SIGNATURE UINT64_C(0x646f6874656d6b77)

struct weakref_method {
	uint64_t signature;
	weakref_ref *obj;
	weakref_ref *closure; /* NULL: none */
	weakref_method_fn fn;
	weakref_method_callback callback;
	void *data;
	_Atomic bool told;
};

static bool is_method(const weakref_method *method)
{
	return method != NULL && method->signature == METHOD_SIGNATURE;
}

static int part_died(weakref_ref *ref, void *data)
{
	weakref_method *method = data;

	(void)ref;
	return atomic_exchange(&method->told, true) ? 0 : method->callback(method, method->data);
}

static weakref_ref *part_new(weakref_method *method, void *part)
{
	weakref_ref_options options = {.distinct = true};

	if (method->callback != NULL) {
		options.callback = part_died;
		options.data = method;
	}
	return weakref_ref_new_with(part, &options);
}

weakref_method *weakref_method_new(void *obj, weakref_method_fn fn, void *closure, weakref_method_callback callback, void *data)
{
	int error = heap_thread_check();

	if (error != 0)
		return base_null((enum weakref_error) - error);
	if (fn == NULL || (callback == NULL && data != NULL))
		return base_null(WEAKREF_EINVAL);
	weakref_method *method = heap_alloc(sizeof *method);
	if (method == NULL)
		return NULL;
	method->fn = fn;
	method->callback = callback;
	method->data = data;
	method->obj = part_new(method, obj);
	if (method->obj == NULL)
		return NULL;
	if (closure != NULL && (method->closure = part_new(method, closure)) == NULL) {
		/* The first reference would go at the next collection; a failed call leaves nothing. */
		int reason = errno;
		weakref_ref_clear(method->obj);
		return base_null((enum weakref_error)reason);
	}
	method->signature = METHOD_SIGNATURE;
	BASE_KEEP(obj);
	BASE_KEEP(closure);
	return method;
}

int weakref_method_get(const weakref_method *method, void **obj, weakref_method_fn *fn, void **closure)
{
	void *to_obj = NULL, *to_closure = NULL;
	int error = is_method(method) ? weakref_ref_read(method->obj, &to_obj) : -WEAKREF_EINVAL;

	if (error == 0 && method->closure != NULL)
		error = weakref_ref_read(method->closure, &to_closure);
	if (obj != NULL)
		*obj = error == 0 ? to_obj : NULL;
	if (fn != NULL)
		*fn = error == 0 ? method->fn : NULL;
	if (closure != NULL)
		*closure = error == 0 ? to_closure : NULL;
	return error;
}

int weakref_method_call(const weakref_method *method, size_t argc, void **argv, void **result)
{
	void *obj, *closure, *unwanted;
	weakref_method_fn fn;
	int error = argv == NULL && argc != 0 ? -WEAKREF_EINVAL : weakref_method_get(method, &obj, &fn, &closure);

	if (error != 0)
		return error;
	error = fn(obj, closure, argc, argv, result != NULL ? result : &unwanted);
	BASE_KEEP(obj);
	BASE_KEEP(closure);
	return error;
}

int weakref_method_equal(const weakref_method *a, const weakref_method *b)
{
	void *obj_a, *obj_b, *closure_a, *closure_b;
	weakref_method_fn fn_a, fn_b;

	if (!is_method(a) || !is_method(b))
		return -WEAKREF_EINVAL;
	int error_a = weakref_method_get(a, &obj_a, &fn_a, &closure_a), error_b = weakref_method_get(b, &obj_b, &fn_b, &closure_b);
	if (error_a == -WEAKREF_EPERM || a == b)
		return error_a == -WEAKREF_EPERM ? error_a : 1;
	if (error_a != 0 || error_b != 0 || fn_a != fn_b || closure_a != closure_b)
		return 0;
	return gc_equal(obj_a, obj_b);
}

int weakref_method_hash(const weakref_method *method, uint64_t *out)
{
	uint64_t of_obj;
	int error = is_method(method) && out != NULL ? weakref_ref_hash(method->obj, &of_obj) : -WEAKREF_EINVAL;

	if (error == 0)
		*out = base_mix(of_obj ^ base_mix((uintptr_t)method->fn));
	return error;
}

int weakref_method_repr(const weakref_method *method, char *buf, size_t size)
{
	void *obj;
	int error = buf == NULL && size != 0 ? -WEAKREF_EINVAL : weakref_method_get(method, &obj, NULL, NULL);

	if (error == -WEAKREF_ESTALE)
		return snprintf(buf, size, "<weakmethod at %p; dead>", (const void *)method);
	if (error != 0)
		return error;
	int n = snprintf(buf, size, "<weakmethod at %p; to '%s' at %p>", (const void *)method, ref_name_of(obj), obj);
	BASE_KEEP(obj);
	return n;
}

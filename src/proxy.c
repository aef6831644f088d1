/* SPDX-License-Identifier: MIT */
#include "weakref/proxy.h"

#include "heap.h"
#include "proxy.h"
#include "ref.h"

weakref_ref *weakref_proxy_new(void *obj, weakref_callback callback, void *data)
{
	return ref_make(obj, REF_PROXY, &(weakref_ref_options){.callback = callback, .data = data});
}

bool weakref_is_proxy(const void *p)
{
	if (p == NULL || heap_base(p) != p)
		return false;
	enum heap_kind kind = heap_kind_of(p);
	if (kind != HEAP_REF && kind != HEAP_REFCALL)
		return false;
	const struct weakref_ref *ref = p;
	return ref->signature == REF_SIGNATURE && (ref->flags & REF_PROXY) != 0;
}

int proxy_resolve(void **obj)
{
	if (*obj == NULL)
		return -WEAKREF_EINVAL;
	return weakref_is_proxy(*obj) ? weakref_ref_read(*obj, obj) : 0;
}

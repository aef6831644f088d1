/* SPDX-License-Identifier: MIT */
#include "weakref/proxy.h"

#include "proxy.h"
#include "ref.h"

weakref_ref *weakref_proxy_new(void *obj, weakref_callback callback, void *data)
{
	return ref_make(obj, REF_PROXY, &(weakref_ref_options){.callback = callback, .data = data});
}

bool weakref_is_proxy(const void *p)
{
	const weakref_ref *ref = ref_at(p);

	return ref != NULL && (ref->flags & REF_PROXY) != 0;
}

int proxy_resolve(void **obj)
{
	if (*obj == NULL)
		return -WEAKREF_EINVAL;
	return weakref_is_proxy(*obj) ? weakref_ref_read(*obj, obj) : 0;
}

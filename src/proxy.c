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

int proxy_step(void **obj)
{
	if (*obj == NULL)
		return -WEAKREF_EINVAL;
	if (!weakref_is_proxy(*obj))
		return 0;
	int error = weakref_ref_read(*obj, obj);
	return error < 0 ? error : 1;
}

/* A proxy stands for what was there before it, and is not pointed at another one later: there are no rings. */
int proxy_resolve(void **obj)
{
	int result;

	do
		result = proxy_step(obj);
	while (result > 0);
	return result;
}

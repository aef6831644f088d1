/* SPDX-License-Identifier: MIT */
/*
 * proxy: references that generic operations see through. No state of its own: a proxy is a reference with REF_PROXY set (ref.h).
 */
#ifndef PROXY_H
#define PROXY_H

/* Puts the object in a proxy's place, or in that of a proxy of proxies; leaves everything else as it is. 0, or -WEAKREF_ESTALE for a dead
 * proxy, -WEAKREF_EINVAL for NULL. */
int proxy_resolve(void **obj);

#endif

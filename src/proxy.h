/* SPDX-License-Identifier: MIT */
/*
 * proxy: references that generic operations see through. No state of its own: a proxy is a reference with REF_PROXY set (ref.h).
 */
#ifndef PROXY_H
#define PROXY_H

/* Puts the object in a proxy's place, or in that of a proxy of proxies; leaves everything else as it is. 0, or -WEAKREF_ESTALE for a dead
 * proxy, -WEAKREF_EINVAL for NULL. */
int proxy_resolve(void **obj);
/* The same for one proxy alone: 1 where it was one, so that the object may be another; else 0 or an error. */
int proxy_step(void **obj);

#endif

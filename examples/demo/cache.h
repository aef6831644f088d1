/* SPDX-License-Identifier: MIT */
/*
 * cache: the caches that are compared, behind one interface.
 *
 *  - CACHE_PLAIN: a hash table that keeps every image it was given;
 *  - CACHE_WEAK:  a weak-value dictionary, and beside it the images used last, `window` of them, held strongly. An image
 *    that falls out of the window stays in the dictionary until a collection finds that nobody else uses it;
 *  - CACHE_BUILT: a weakref_cache, as a spec string says. Where the spec has a maximumWeight, an image weighs its pixels' bytes.
 *
 * A cache lives on the collected heap: hold it by a pointer that the collector sees (a local variable does). There is
 * nothing to free.
 */
#ifndef CACHE_H
#define CACHE_H

#include <stddef.h>

#include "image.h"

enum cache_kind { CACHE_PLAIN, CACHE_WEAK, CACHE_BUILT, CACHE_KINDS };

struct cache;

/* spec is for CACHE_BUILT, window for CACHE_WEAK. NULL, with what is wrong in *reason. GC: may collect. */
struct cache *cache_new(enum cache_kind kind, size_t window, const char *spec, const char **reason);
/* The image of a path, or NULL. */
struct image *cache_get(const struct cache *cache, const char *path);
/* Stores an image under its path. Returns 0 or a negative WEAKREF_E…. GC: may collect. */
int cache_put(struct cache *cache, struct image *image);
/* Tells the cache that an image is in use now. */
void cache_use(struct cache *cache, struct image *image);
/* How many images the cache has, and the bytes of their pixels. Returns 0 or a negative WEAKREF_E…. GC: may collect. */
int cache_measure(const struct cache *cache, size_t *images, size_t *bytes);

#endif

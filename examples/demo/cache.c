/* SPDX-License-Identifier: MIT */
/*
 * cache: see cache.h.
 *
 * The plain table is uthash's with its memory taken from the collected heap. It has to be: the collector looks for pointers
 * on its own heap, on stacks and in static data, not in what malloc gave; a table out there would not keep its images
 * alive. The table's chain is
 *     cache -> head entry -> UT_hash_table -> buckets, and head entry -> next entry -> …
 * all of it blocks from gc_alloc, whose every word is scanned. A key is the path inside the entry's own image, so it lives
 * as long.
 *
 * The window is a ring on the collected heap too, for the same reason. The weak dictionary copies its keys and holds no image.
 */
#include "cache.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "weakref/cache.h"
#include "weakref/object.h"
#include "weakref/valuedict.h"

#define uthash_malloc(size) gc_alloc(size)
/* What the table dropped is garbage; the collector takes it. */
#define uthash_free(block, size) ((void)(block))
/* A table that cannot grow gives up on the entry, not on the process. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->stored = false)
#include <uthash.h>

struct entry {
	/* First, so that the links to it are links to the block's start. */
	UT_hash_handle hh;
	struct image *image;
	bool stored;
};

struct cache {
	enum cache_kind kind;
	/* CACHE_PLAIN. */
	struct entry *table;
	/* CACHE_WEAK. */
	weakref_valuedict *dict;
	struct image **ring;
	size_t window, next;
	/* CACHE_BUILT. */
	weakref_cache *built;
};

static int64_t weigh(const void *key, void *value, void *user)
{
	(void)key;
	(void)user;
	return (int64_t)((const struct image *)value)->bytes;
}

/* A cache by a spec. A weigher goes with a maximum weight only, so it is given where it is missed. */
static weakref_cache *build(const char *spec, const char **reason)
{
	weakref_cache_builder *builder = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	weakref_cache *built = NULL;

	*reason = strerror(ENOMEM);
	if (builder == NULL)
		return NULL;
	if (weakref_cache_builder_spec(builder, spec) == 0) {
		built = weakref_cache_builder_build(builder);
		if (built == NULL && weakref_cache_builder_weigher(builder, weigh, NULL) == 0)
			built = weakref_cache_builder_build(builder);
	}
	if (built == NULL)
		*reason = weakref_cache_builder_error(builder);
	return built;
}

struct cache *cache_new(enum cache_kind kind, size_t window, const char *spec, const char **reason)
{
	struct cache *cache = gc_alloc(sizeof *cache);

	*reason = strerror(ENOMEM);
	if (cache == NULL)
		return NULL;
	cache->kind = kind;
	if (kind == CACHE_PLAIN)
		return cache;
	if (kind == CACHE_BUILT) {
		cache->built = build(spec, reason);
		return cache->built != NULL ? cache : NULL;
	}
	cache->window = window;
	cache->ring = gc_alloc(window * sizeof(struct image *));
	cache->dict = weakref_valuedict_new(WEAKREF_KEY_STRING);
	return cache->ring == NULL || cache->dict == NULL ? NULL : cache;
}

static struct image *plain_get(const struct cache *cache, const char *path)
{
	struct entry *entry;

	HASH_FIND_STR(cache->table, path, entry);
	return entry == NULL ? NULL : entry->image;
}

static int plain_put(struct cache *cache, struct image *image)
{
	struct entry *entry = gc_alloc(sizeof *entry);

	if (entry == NULL)
		return -errno;
	entry->image = image;
	entry->stored = true;
	HASH_ADD_KEYPTR(hh, cache->table, image->path, image->path_length, entry);
	return entry->stored ? 0 : -WEAKREF_ENOMEM;
}

static void plain_measure(const struct cache *cache, size_t *images, size_t *bytes)
{
	for (const struct entry *entry = cache->table; entry != NULL; entry = entry->hh.next) {
		*images += 1;
		*bytes += entry->image->bytes;
	}
}

static int weak_measure(const struct cache *cache, size_t *images, size_t *bytes)
{
	weakref_valuedict_iter *iter = weakref_valuedict_iter_new(cache->dict);
	void *value;
	int more;

	if (iter == NULL)
		return -errno;
	while ((more = weakref_valuedict_iter_next(iter, NULL, &value)) > 0) {
		const struct image *image = value;

		*images += 1;
		*bytes += image->bytes;
	}
	return more;
}

static int built_measure(const struct cache *cache, size_t *images, size_t *bytes)
{
	weakref_cache_iter *iter = weakref_cache_iter_new(cache->built);
	void *value;
	int more;

	if (iter == NULL)
		return -errno;
	while ((more = weakref_cache_iter_next(iter, NULL, &value)) > 0) {
		*images += 1;
		*bytes += ((const struct image *)value)->bytes;
	}
	return more;
}

struct image *cache_get(const struct cache *cache, const char *path)
{
	if (cache->kind == CACHE_BUILT)
		return weakref_cache_get_if_present(cache->built, path);
	return cache->kind == CACHE_PLAIN ? plain_get(cache, path) : weakref_valuedict_get(cache->dict, path);
}

int cache_put(struct cache *cache, struct image *image)
{
	if (cache->kind == CACHE_BUILT)
		return weakref_cache_put(cache->built, image->path, image);
	return cache->kind == CACHE_PLAIN ? plain_put(cache, image) : weakref_valuedict_set(cache->dict, image->path, image);
}

void cache_use(struct cache *cache, struct image *image)
{
	if (cache->kind != CACHE_WEAK)
		return;
	cache->ring[cache->next] = image;
	cache->next = (cache->next + 1) % cache->window;
}

int cache_measure(const struct cache *cache, size_t *images, size_t *bytes)
{
	*images = *bytes = 0;
	if (cache->kind == CACHE_WEAK)
		return weak_measure(cache, images, bytes);
	if (cache->kind == CACHE_BUILT)
		return built_measure(cache, images, bytes);
	plain_measure(cache, images, bytes);
	return 0;
}

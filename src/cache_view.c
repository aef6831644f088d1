/* SPDX-License-Identifier: MIT */
/*
 * cache_view: a cache as a map: writes that depend on what is there, functions that make a value from the old one, iterators.
 *
 * A conditional write looks first, as a reader does: where it would change nothing, none of the user's functions is asked. Else it
 * waits for loads and functions of its key (cache_load.c), then decides and writes with the lock held.
 */
#include "cache.h"

#include <errno.h>
#include <pthread.h>

#include "deliver.h"

#define ITER_SIGNATURE UINT64_C(0x7265746963696b77)

int weakref_cache_contains(weakref_cache *cache, const void *key)
{
	struct cache_entry *entry;
	struct table_key ready;
	void *value;
	int error = cache_enter(cache, key, &ready);

	if (error == 0)
		error = cache_read(cache, &ready, cache_now(cache), &entry, &value);
	return error < 0 ? error : value != NULL;
}

/* ---- conditional writes ---- */

/* Takes the lock with a key's entry, which nobody loads or computes, closed, and the value that it has now, which is later where that was
 * waited for. 0 with the lock, or an error without. */
static int lock_settled(struct cache_change *c, uint64_t *now, struct cache_entry **entry, void **value)
{
	for (;;) {
		int result = cache_lock_at(c->cache, &c->ready, true, entry);
		if (result == 0)
			result = cache_await_locked(c->cache, *entry);
		if (result < 0)
			return result;
		if (result == 0)
			break;
		*now = cache_now(c->cache);
	}
	if (*entry != NULL)
		cache_close_locked(c->cache, *entry);
	*value = cache_value_now(c->cache, *entry, *now);
	return 0;
}

static int unlock_after(struct cache_change *c, struct cache_entry *entry, uint64_t now, int result)
{
	if (entry != NULL)
		cache_open_locked(c->cache, entry);
	cache_unlock_maintain(c->cache, now);
	BASE_KEEP(c->key);
	BASE_KEEP(c->value);
	cache_after(c->cache);
	return result;
}

/* What a reader finds under the key now, in c->result; a value that may not be stored is refused before that. */
static int look_first(struct cache_change *c, uint64_t now, struct cache_entry **before)
{
	int error = cache_value_check(c->cache, c->key, c->value);

	return error < 0 ? error : cache_read(c->cache, &c->ready, now, before, &c->result);
}

/* The new value ready to be stored, and the lock, with what is there by then. 0 with the lock, or an error without. */
static int prepare_and_lock(struct cache_change *c, uint64_t *now, struct cache_entry **entry, struct cache_write *w)
{
	*w = (struct cache_write){.key = c->key, .value = c->value, .seconds = c->seconds};
	int error = cache_write_prepare(c->cache, &c->ready, *entry, *now, w);

	return error < 0 ? error : lock_settled(c, now, entry, &c->result);
}

int cache_store_if_absent(struct cache_change *c)
{
	struct cache_entry *entry;
	struct cache_write w;
	uint64_t now = cache_now(c->cache);
	int error = look_first(c, now, &entry);

	c->unchanged = c->result != NULL;
	if (error < 0 || c->unchanged)
		return error;
	error = prepare_and_lock(c, &now, &entry, &w);
	if (error < 0)
		return error;
	c->unchanged = c->result != NULL;
	if (!c->unchanged) {
		cache_write_locked(c->cache, entry, &w, now);
		c->result = c->value;
	}
	return unlock_after(c, entry, now, 0);
}

void *weakref_cache_put_if_absent(weakref_cache *cache, const void *key, void *value)
{
	struct cache_change c = {.cache = cache, .key = key, .value = value, .fn = cache_store_if_absent};
	int error = cache_enter(cache, key, &c.ready);

	cache_forget_left();
	if (error == 0)
		error = cache_change(&c);
	return error < 0 ? base_null((enum weakref_error) - error) : c.result;
}

static bool as_expected(const struct cache_change *c, const void *value)
{
	return value != NULL && (c->expected == NULL || c->expected == value);
}

static int replace(struct cache_change *c)
{
	struct cache_entry *entry;
	struct cache_write w;
	uint64_t now = cache_now(c->cache);
	int error = look_first(c, now, &entry);

	c->unchanged = !as_expected(c, c->result);
	if (error < 0 || c->unchanged)
		return error;
	error = prepare_and_lock(c, &now, &entry, &w);
	if (error < 0)
		return error;
	c->unchanged = !as_expected(c, c->result);
	if (!c->unchanged)
		cache_write_locked(c->cache, entry, &w, now);
	return unlock_after(c, entry, now, !c->unchanged);
}

int weakref_cache_replace(weakref_cache *cache, const void *key, void *expected, void *value)
{
	struct cache_change c = {.cache = cache, .key = key, .value = value, .expected = expected, .fn = replace};
	int error = cache_enter(cache, key, &c.ready);

	cache_forget_left();
	return error < 0 ? error : cache_change(&c);
}

static int remove_expected(struct cache_change *c)
{
	struct cache_entry *entry;
	uint64_t now = cache_now(c->cache);
	int error = lock_settled(c, &now, &entry, &c->result);

	if (error < 0)
		return error;
	bool does = as_expected(c, c->result);
	/* What the second level has is no value that anybody could expect. */
	c->unchanged = !does && c->expected != NULL;
	if (does) {
		c->cache->invalidations++;
		cache_remove_locked(c->cache, entry, WEAKREF_CAUSE_EXPLICIT);
	}
	return unlock_after(c, entry, now, does);
}

int weakref_cache_remove(weakref_cache *cache, const void *key, void *expected, void **value)
{
	struct cache_change c = {.cache = cache, .key = key, .expected = expected, .fn = remove_expected};
	int result = cache_enter(cache, key, &c.ready);

	cache_forget_left();
	if (result == 0)
		result = cache_change(&c);
	if (value != NULL)
		*value = result > 0 ? c.result : NULL;
	return result;
}

/* ---- functions ---- */

struct computing {
	struct cache_change change; /* first */
	weakref_cache_compute_fn compute;
	weakref_cache_merge_fn merge;
	void *user;
	bool present_only;
};

static int call(const struct computing *f, void *old, void **value)
{
	int error;

	if (f->compute != NULL)
		error = f->compute(f->change.key, old, value, f->user);
	else if (old != NULL)
		error = f->merge(f->change.key, old, f->change.value, value, f->user);
	else
		*value = f->change.value, error = 0;
	return error < 0 ? error : 0;
}

static int compute(struct cache_change *c)
{
	struct computing *f = (struct computing *)c;
	struct cache_frame frame;
	struct cache_begin b = {.cache = c->cache,
				.frame = &frame,
				.key = c->key,
				.ready = &c->ready,
				.kind = CACHE_COMPUTE,
				.present_only = f->present_only,
				.waits = true};
	struct cache_work *work;

	cache_frame_mark(&frame);
	int result = cache_work_begin(&b, &work, &c->result);
	c->unchanged = result == CACHE_ABSENT;
	if (result != CACHE_BEGUN)
		return result < 0 ? result : 0;
	c->result = NULL;
	const void *awaited = deliver_awaited_begin(__builtin_frame_address(0));
	pthread_cleanup_push(cache_work_abandoned, work);
	result = call(f, work->old, &c->result);
	result = cache_work_finish(work, c->result, result);
	pthread_cleanup_pop(0);
	deliver_awaited_end(awaited);
	if (result < 0)
		c->result = NULL;
	BASE_KEEP(c->key);
	BASE_KEEP(&frame);
	return result;
}

static int run(struct computing *f, void **value)
{
	int error = cache_enter(f->change.cache, f->change.key, &f->change.ready);

	cache_forget_left();
	if (error == 0)
		error = cache_change(&f->change);
	if (value != NULL)
		*value = error == 0 ? f->change.result : NULL;
	return error;
}

int weakref_cache_compute(weakref_cache *cache, const void *key, weakref_cache_compute_fn fn, void *user, void **value)
{
	struct computing f = {.change = {.cache = cache, .key = key, .fn = compute}, .compute = fn, .user = user};

	return fn == NULL ? -WEAKREF_EINVAL : run(&f, value);
}

int weakref_cache_compute_if_present(weakref_cache *cache, const void *key, weakref_cache_compute_fn fn, void *user, void **value)
{
	struct computing f = {.change = {.cache = cache, .key = key, .fn = compute}, .compute = fn, .user = user, .present_only = true};

	return fn == NULL ? -WEAKREF_EINVAL : run(&f, value);
}

int weakref_cache_merge(weakref_cache *cache, const void *key, void *given, weakref_cache_merge_fn merge, void *user, void **value)
{
	struct computing f = {.change = {.cache = cache, .key = key, .value = given, .fn = compute}, .merge = merge, .user = user};

	return merge == NULL || given == NULL ? -WEAKREF_EINVAL : run(&f, value);
}

int weakref_cache_compute_if_absent(weakref_cache *cache, const void *key, weakref_cache_load_fn load, void *user, void **value)
{
	struct cache_entry *entry;
	struct table_key ready;
	int error = load == NULL || value == NULL ? -WEAKREF_EINVAL : cache_enter(cache, key, &ready);

	if (error < 0) {
		if (value != NULL)
			*value = NULL;
		return error;
	}
	cache_forget_left();
	uint64_t now = cache_now(cache);
	error = cache_read(cache, &ready, now, &entry, value);
	if (error == 0 && *value != NULL)
		cache_used(cache, entry, *value, now);
	else if (error == 0)
		error = cache_load(cache, key, &ready, load, user, false, -1, value);
	BASE_KEEP(key);
	return error == -WEAKREF_ENOENT ? 0 : error;
}

/* ---- iterators ---- */

struct weakref_cache_iter {
	uint64_t signature;
	weakref_cache *cache;
	struct cache_map *map;
	size_t index;
	struct cache_entry *entry; /* whose key was given out */
	weakref_bytes bytes;
};

weakref_cache_iter *weakref_cache_iter_new(weakref_cache *cache)
{
	int error = cache_check(cache);

	if (error < 0)
		return base_null((enum weakref_error) - error);
	weakref_cache_iter *iter = heap_alloc(sizeof *iter);
	if (iter == NULL)
		return NULL;
	iter->cache = cache;
	iter->map = atomic_load_explicit(&cache->map, memory_order_acquire);
	iter->signature = ITER_SIGNATURE;
	return iter;
}

/* What stands for a DEAD entry that was found in a place: what is in that place now. Where it is there yet, the map was replaced before it went,
 * and has no other place for its key: then what took the entry's place is in the map of today. */
static struct cache_entry *instead(const weakref_cache *cache, const struct cache_place *place, const struct cache_entry *dead)
{
	struct cache_entry *entry = atomic_load_explicit(&place->entry, memory_order_acquire);

	return entry == dead ? cache_successor(cache, dead) : entry;
}

/* The next entry of a map with a value and, where keys are weak, a key. */
static bool next_in_map(const weakref_cache *cache, const struct cache_map *map, size_t *index, uint64_t now, struct cache_entry **out,
			void **key, void **value)
{
	while (*index < map->n) {
		const struct cache_place *place = &map->at[(*index)++];
		struct cache_entry *entry = atomic_load_explicit(&place->entry, memory_order_acquire);
		bool expired = false;
		*value = NULL;
		while (entry != NULL && entry != CACHE_GONE) {
			if (cache_state(entry) == CACHE_DEAD) {
				entry = instead(cache, place, entry);
				continue;
			}
			expired = cache_expired(cache, entry, now);
			*key = NULL;
			*value = entry->celled ? cache_cell_value(entry, key) : cache_value(entry);
			if (*value != NULL || cache_state(entry) != CACHE_DEAD)
				break;
		}
		if (*value == NULL || expired)
			continue;
		*out = entry;
		return true;
	}
	return false;
}

int weakref_cache_iter_next(weakref_cache_iter *iter, const void **key, void **value)
{
	void *found = NULL, *weak_key = NULL;
	int error = heap_thread_check();

	if (error < 0)
		return error;
	if (iter == NULL || (uintptr_t)iter % _Alignof(struct weakref_cache_iter) != 0 || iter->signature != ITER_SIGNATURE)
		return -WEAKREF_EINVAL;
	weakref_cache *cache = iter->cache;
	if (!next_in_map(cache, iter->map, &iter->index, cache_now(cache), &iter->entry, &weak_key, &found)) {
		iter->entry = NULL;
		return 0;
	}
	if (key != NULL)
		*key = cache->config.weak_keys ? weak_key : cache_key(cache, iter->entry, &iter->bytes);
	if (value != NULL)
		*value = found;
	return 1;
}

int weakref_cache_contains_value(weakref_cache *cache, const void *value)
{
	int error = cache_check(cache);
	struct cache_entry *entry;
	void *key, *found;
	size_t i = 0;

	if (error < 0 || value == NULL)
		return error < 0 ? error : -WEAKREF_EINVAL;
	const struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_acquire);
	uint64_t now = cache_now(cache);
	while (next_in_map(cache, map, &i, now, &entry, &key, &found))
		if (found == value)
			return 1;
	return 0;
}

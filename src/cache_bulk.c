/* SPDX-License-Identifier: MIT */
/*
 * cache_bulk: several keys at once. With load_all each missing key gets a work of its own first, so that the bulk load excludes other loads of
 * its keys and is overtaken like them; then load_all runs; then the works that got no value are finished; and only then this thread waits
 * for the works of others. Where such a work was no load, or its thread ended in it, all of this is done once more for those keys. Where
 * a key cannot be looked up, the works that were begun for others are given up before load_all runs: who waits for them begins anew.
 * Extra values are stored where there is none, and only if no key at all was changed by the program since.
 *
 * A bulk load that is under way at fork goes on in the parent, and the child counts no changes for it. Where it is the forking
 * thread's own, it goes on there as well, but stores no extra values.
 *
 * A call of load_all is one load to the figures, and its works are none; but what the second level had is a load of its own.
 */
#include "cache.h"

#include <errno.h>
#include <pthread.h>

#include "deliver.h"

/* Where the value of a key comes from. */
enum source { SOURCE_CACHE, SOURCE_OWN, SOURCE_OTHER };

struct want {
	struct cache_work *work;
	enum source source;
	bool over; /* the value, or that there is none, is known */
};

struct weakref_cache_bulk {
	struct cache_inside inside;
	struct cache_frame *frame; /* of who runs it */
	weakref_cache *cache;
	const void *const *keys;
	void **values;
	struct want *wants;
	const void **missing;
	size_t n, nmissing;
	weakref_cache_load_all_fn load_all;
	void *user;
	bool again; /* the keys were looked up before */
	bool failed; /* a key could not be looked up, or its work not begun: nothing is loaded */
	uint64_t invalidations;
	unsigned forks; /* the process whose changes are counted for it */
	uint64_t began; /* while load_all runs */
};

/* ---- what load_all gives ---- */

/* The work of this bulk for a key; NULL where it has none. */
static struct cache_work *own_work(const weakref_cache_bulk *bulk, const struct table_key *ready)
{
	for (size_t i = 0; i < bulk->n; i++) {
		struct cache_work *work = bulk->wants[i].work;
		if (bulk->wants[i].source == SOURCE_OWN && work->ready.hash == ready->hash && cache_same_key(bulk->cache, &work->ready, ready) > 0)
			return work;
	}
	return NULL;
}

static int give_extra(weakref_cache_bulk *bulk, const void *key, const struct table_key *ready, void *value)
{
	weakref_cache *cache = bulk->cache;
	struct cache_write w = {.key = key, .value = value};
	struct cache_entry *entry = NULL;
	uint64_t now = cache_now(cache);
	int error = cache_write_prepare(cache, ready, NULL, now, &w);

	if (error == 0)
		error = cache_lock_at(cache, ready, true, &entry);
	if (error < 0)
		return error;
	bool vacant = entry == NULL || (cache_state(entry) == CACHE_LIVE && cache_value_now(cache, entry, now) == NULL && entry->work == NULL);
	if (vacant && bulk->forks == lock_forks && cache->invalidations == bulk->invalidations) {
		cache_write_locked(cache, entry, &w, now);
		bulk->invalidations = cache->invalidations;
	}
	cache_unlock_maintain(cache, now);
	cache_after(cache);
	return 0;
}

int weakref_cache_bulk_give(weakref_cache_bulk *bulk, const void *key, void *value)
{
	struct table_key ready;

	if (bulk == NULL || value == NULL)
		return -WEAKREF_EINVAL;
	int error = cache_enter(bulk->cache, key, &ready);
	if (error < 0)
		return error;
	struct cache_work *work = own_work(bulk, &ready);
	if (work == NULL)
		return give_extra(bulk, key, &ready, value);
	return work->finished ? 0 : cache_work_finish(work, value, 0);
}

/* ---- asking ---- */

/* Asks the second level, where it may be asked: then the work is over. */
static bool from_level(struct cache_work *work)
{
	void *value;

	if (!work->level || cache_level_get(work->cache, work->key, &value) < 0)
		return false;
	work->wrote = true; /* it has it already */
	work->counted = true;
	cache_work_finish(work, value, 0);
	return true;
}

/* Looks one key up, and begins a work where it is missing. */
static int want(weakref_cache_bulk *bulk, size_t i)
{
	weakref_cache *cache = bulk->cache;
	struct cache_entry *entry;
	struct table_key ready;
	uint64_t now = cache_now(cache);
	int error = cache_enter(cache, bulk->keys[i], &ready);

	if (error == 0)
		error = cache_read(cache, &ready, now, &entry, &bulk->values[i]);
	if (error < 0)
		return error;
	if (bulk->values[i] != NULL) {
		if (!bulk->again)
			cache_hit(cache, entry, bulk->values[i], now);
		return 0;
	}
	if (!bulk->again)
		cache_miss(cache);
	struct cache_begin b = {
		.cache = cache, .frame = bulk->frame, .key = bulk->keys[i], .ready = &ready, .kind = CACHE_LOAD, .absent_only = true, .level = true};
	int begun = cache_work_begin(&b, &bulk->wants[i].work, &bulk->values[i]);
	if (begun == CACHE_BEGUN || begun == CACHE_JOINED)
		bulk->wants[i].source = begun == CACHE_BEGUN ? SOURCE_OWN : SOURCE_OTHER;
	if (begun != CACHE_BEGUN)
		return begun < 0 ? begun : 0;
	if (!from_level(bulk->wants[i].work))
		bulk->missing[bulk->nmissing++] = bulk->keys[i];
	return 0;
}

/* The works of the first keys are ours while those of others are made. */
static int want_all(weakref_cache_bulk *bulk)
{
	const void *held = deliver_hold(__builtin_frame_address(0));
	int error = 0;

	for (size_t i = 0; i < bulk->n && error == 0; i++)
		error = bulk->wants[i].over ? 0 : want(bulk, i);
	deliver_hold(held);
	return error;
}

/* Whoever waits for a key has nothing to do with another one, for which nothing is loaded. */
static void give_up_all(weakref_cache_bulk *bulk)
{
	for (size_t i = 0; i < bulk->n; i++)
		if (bulk->wants[i].source == SOURCE_OWN)
			cache_work_abandoned(bulk->wants[i].work);
}

/* What load_all did not give. */
static void finish_all(weakref_cache_bulk *bulk, int error)
{
	for (size_t i = 0; i < bulk->n; i++)
		if (bulk->wants[i].source == SOURCE_OWN)
			cache_work_finish(bulk->wants[i].work, NULL, error);
}

static int call_load_all(weakref_cache_bulk *bulk)
{
	bulk->began = base_now();
	int error = bulk->load_all(bulk->missing, bulk->nmissing, bulk, bulk->user);
	cache_count_load(bulk->cache, bulk->began, error >= 0);
	bulk->began = 0;
	return error > 0 ? 0 : error;
}

/* While load_all runs, all that the program changes is counted. */
static void count_changes(weakref_cache_bulk *bulk)
{
	weakref_cache *cache = bulk->cache;

	cache_lock(cache);
	bulk->forks = lock_forks;
	if (unlikely(atomic_load_explicit(&cache->bulks_forks, memory_order_relaxed) != lock_forks)) {
		atomic_store_explicit(&cache->bulks, 0, memory_order_relaxed);
		atomic_store_explicit(&cache->bulks_forks, lock_forks, memory_order_relaxed);
	}
	/* Who sees it counted sees whose it is. */
	atomic_fetch_add_explicit(&cache->bulks, 1, memory_order_release);
	bulk->invalidations = cache->invalidations;
	cache_unlock(cache);
}

static void count_no_more(const weakref_cache_bulk *bulk)
{
	if (likely(bulk->forks == lock_forks))
		atomic_fetch_sub_explicit(&bulk->cache->bulks, 1, memory_order_relaxed);
}

/* Its works, which are begun after it, are in their thread's chain themselves. */
static void bulk_left(struct cache_inside *inside, bool ended)
{
	weakref_cache_bulk *bulk = (weakref_cache_bulk *)inside;

	(void)ended;
	count_no_more(bulk);
	if (bulk->began != 0)
		cache_count_load(bulk->cache, bulk->began, false);
}

static void bulk_abandoned(void *data)
{
	weakref_cache_bulk *bulk = data;

	cache_inside_end(&bulk->inside);
	bulk_left(&bulk->inside, false);
	give_up_all(bulk);
}

/* The value of one key when load_all is done. 0 or a negative error; whether it is known, in want.over. */
static int collect(weakref_cache_bulk *bulk, size_t i)
{
	struct want *w = &bulk->wants[i];
	int error = 0;

	w->over = true;
	if (w->source == SOURCE_CACHE)
		return bulk->values[i] != NULL ? 0 : -WEAKREF_ENOENT;
	if (w->source == SOURCE_OTHER)
		error = cache_work_wait(w->work, BASE_FOREVER);
	if (error == 0 && cache_work_gave_nothing(w->work)) {
		if (!bulk->failed)
			*w = (struct want){.source = SOURCE_CACHE};
		return 0;
	}
	if (error == 0)
		error = w->work->error;
	bulk->values[i] = error == 0 ? w->work->value : NULL;
	return error == 0 && bulk->values[i] == NULL ? -WEAKREF_ENOENT : error;
}

static int load_missing(weakref_cache_bulk *bulk)
{
	const void *awaited = deliver_awaited_begin(__builtin_frame_address(0));
	struct cache_frame frame;
	int error;

	cache_inside_ready();
	cache_frame_mark(&frame);
	bulk->frame = &frame;
	count_changes(bulk);
	pthread_cleanup_push(bulk_abandoned, bulk);
	cache_inside_begin(&bulk->inside, &frame, bulk_left);
	error = want_all(bulk);
	bulk->failed = error < 0;
	if (error == 0 && bulk->nmissing != 0)
		error = call_load_all(bulk);
	if (bulk->failed)
		give_up_all(bulk);
	finish_all(bulk, error < 0 ? error : -WEAKREF_ENOENT);
	pthread_cleanup_pop(0);
	cache_inside_end(&bulk->inside);
	bulk->frame = NULL;
	deliver_awaited_end(awaited);
	count_no_more(bulk);
	return error;
}

static int get_all_in_bulk(weakref_cache *cache, const void *const *keys, size_t n, weakref_cache_load_all_fn load_all, void *user, void **values)
{
	weakref_cache_bulk *bulk = heap_alloc(sizeof *bulk);
	int result = 0;

	if (bulk == NULL)
		return -WEAKREF_ENOMEM;
	*bulk = (weakref_cache_bulk){.cache = cache, .keys = keys, .values = values, .n = n, .load_all = load_all, .user = user};
	bulk->wants = heap_alloc(n * sizeof *bulk->wants);
	bulk->missing = heap_alloc(n * sizeof *bulk->missing);
	if (bulk->wants == NULL || bulk->missing == NULL)
		return -WEAKREF_ENOMEM;
	for (bool over = false; !over; bulk->again = true) {
		bulk->nmissing = 0;
		int error = load_missing(bulk);
		result = result == 0 ? error : result;
		over = true;
		for (size_t i = 0; i < bulk->n; i++) {
			if (bulk->wants[i].over)
				continue;
			error = collect(bulk, i);
			result = result == 0 ? error : result;
			over = over && bulk->wants[i].over;
		}
	}
	return result;
}

static int get_all_singly(weakref_cache *cache, const void *const *keys, size_t n, void **values)
{
	int result = 0;

	for (size_t i = 0; i < n; i++) {
		int error = weakref_cache_get(cache, keys[i], &values[i]);
		result = result == 0 ? error : result;
	}
	return result;
}

/* The arguments, but for how to load: 0 or a negative error. No value is there yet. */
static int begin(weakref_cache *cache, const void *const *keys, size_t n, void **values)
{
	int error = cache_check(cache);

	if (error == 0 && n != 0 && (keys == NULL || values == NULL))
		error = -WEAKREF_EINVAL;
	if (error == 0 && n != 0)
		memset(values, 0, n * sizeof *values);
	return error;
}

int weakref_cache_get_all(weakref_cache *cache, const void *const *keys, size_t n, void **values)
{
	int error = begin(cache, keys, n, values);

	if (error == 0 && cache->config.loader.load == NULL)
		error = -WEAKREF_ENOTSUP;
	if (error < 0 || n == 0)
		return error;
	if (cache->config.loader.load_all == NULL)
		return get_all_singly(cache, keys, n, values);
	cache_forget_left();
	return get_all_in_bulk(cache, keys, n, cache->config.loader.load_all, cache->config.loader.user, values);
}

int weakref_cache_get_all_with(weakref_cache *cache, const void *const *keys, size_t n, weakref_cache_load_all_fn load_all, void *user,
			       void **values)
{
	int error = begin(cache, keys, n, values);

	if (error == 0 && load_all == NULL)
		error = -WEAKREF_EINVAL;
	cache_forget_left();
	return error < 0 || n == 0 ? error : get_all_in_bulk(cache, keys, n, load_all, user, values);
}

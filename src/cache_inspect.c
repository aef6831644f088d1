/* SPDX-License-Identifier: MIT */
/*
 * cache_inspect: what a cache's policy is, how old its entries are, in which order they would go; and changing bounds and times. Looking
 * at an entry is no read.
 */
#include <errno.h>
#include <stdlib.h>

#include "cache.h"

static bool has_rule(const weakref_cache *cache, enum weakref_cache_rule rule)
{
	return (unsigned)rule <= WEAKREF_CACHE_REFRESH && cache->config.ruled[rule];
}

int weakref_cache_policy_get(weakref_cache *cache, weakref_cache_policy *out)
{
	int error = cache_check(cache);

	if (error < 0 || out == NULL)
		return error < 0 ? error : -WEAKREF_EINVAL;
	const struct cache_config *config = &cache->config;
	*out = (weakref_cache_policy){
		.weak_keys = config->weak_keys,
		.weak_values = config->weak_values,
		.soft_values = config->soft_values,
		.records_stats = config->records,
		.loading = config->loader.load != NULL,
		.bounded = config->bounded,
		.weighted = config->weighted,
		.expire_after_write = cache_seconds(cache_time(cache, WEAKREF_CACHE_AFTER_WRITE)),
		.expire_after_access = cache_seconds(cache_time(cache, WEAKREF_CACHE_AFTER_ACCESS)),
		.refresh_after_write = cache_seconds(cache_time(cache, WEAKREF_CACHE_REFRESH)),
		.expires_variably = config->expiry.create != NULL,
	};
	cache_lock(cache);
	out->maximum = config->bounded ? cache->policy.maximum : 0;
	out->weight = cache->recorded ? policy_weight(&cache->policy) - cache_taken_weight_locked(cache) : cache->live - cache_taken_locked(cache);
	cache_unlock(cache);
	return 0;
}

int weakref_cache_policy_set_maximum(weakref_cache *cache, int64_t maximum)
{
	int error = cache_check(cache);

	if (error == 0 && maximum < 0)
		error = -WEAKREF_EINVAL;
	if (error == 0 && !cache->config.bounded)
		error = -WEAKREF_ENOTSUP;
	if (error < 0)
		return error;
	uint64_t now = cache_now(cache);
	cache_eviction_lock(cache);
	policy_resize(&cache->policy, (uint64_t)maximum);
	cache_maintain_whole(cache, now);
	cache_eviction_unlock(cache);
	cache_after(cache);
	return 0;
}

/* The LIVE entry at a place of the map, or NULL. */
static struct cache_entry *live_at_locked(const struct cache_map *map, size_t i)
{
	struct cache_entry *entry = atomic_load_explicit(&map->at[i].entry, memory_order_relaxed);

	return entry != NULL && entry != CACHE_GONE && cache_state(entry) == CACHE_LIVE ? entry : NULL;
}

/* All deadlines anew. */
static void reschedule_locked(weakref_cache *cache)
{
	struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);

	for (size_t i = 0; i < map->n; i++) {
		struct cache_entry *entry = live_at_locked(map, i);
		if (entry != NULL)
			cache_reschedule_locked(cache, entry);
	}
}

/* Another time is about to be set, by which what is over by the old one might not be: that goes before. */
static void expire_all_locked(weakref_cache *cache, uint64_t now)
{
	struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);

	for (size_t i = 0; i < map->n; i++) {
		struct cache_entry *entry = live_at_locked(map, i);
		if (entry != NULL && !cache_is_computed_locked(entry))
			cache_expire_locked(cache, entry, now);
	}
}

int weakref_cache_policy_set_time(weakref_cache *cache, enum weakref_cache_rule rule, double seconds)
{
	int error = cache_check(cache);

	if (error == 0 && (!(seconds >= 0) || (unsigned)rule > WEAKREF_CACHE_REFRESH || (rule == WEAKREF_CACHE_REFRESH && seconds <= 0)))
		error = -WEAKREF_EINVAL;
	if (error == 0 && !has_rule(cache, rule))
		error = -WEAKREF_ENOTSUP;
	if (error < 0)
		return error;
	uint64_t now = cache_now(cache);
	cache_lock(cache);
	if (rule != WEAKREF_CACHE_REFRESH)
		expire_all_locked(cache, now);
	atomic_store_explicit(&cache->times[rule], cache_ns(seconds), memory_order_relaxed);
	cache_set_slack(cache);
	if (rule != WEAKREF_CACHE_REFRESH)
		reschedule_locked(cache);
	cache_unlock_maintain(cache, now);
	cache_after(cache);
	return 0;
}

/* The live entry of a key, and its value. 0, -WEAKREF_ENOENT, or another error. */
static int look_at(weakref_cache *cache, const void *key, uint64_t now, struct cache_entry **entry, void **value)
{
	struct table_key ready;
	int error = cache_enter(cache, key, &ready);

	if (error == 0)
		error = cache_read(cache, &ready, now, entry, value);
	return error < 0 ? error : *value == NULL ? -WEAKREF_ENOENT : 0;
}

int weakref_cache_policy_peek(weakref_cache *cache, const void *key, void **value)
{
	struct cache_entry *entry;
	void *unused;
	int error = cache_check(cache);

	if (value == NULL)
		value = &unused;
	*value = NULL;
	return error < 0 ? error : look_at(cache, key, cache_now(cache), &entry, value);
}

int weakref_cache_policy_weight(weakref_cache *cache, const void *key, uint32_t *weight)
{
	struct cache_entry *entry;
	void *value;
	int error = cache_check(cache);

	if (error == 0 && weight == NULL)
		error = -WEAKREF_EINVAL;
	if (error == 0 && cache->config.weigher == NULL)
		error = -WEAKREF_ENOTSUP;
	if (error == 0)
		error = look_at(cache, key, cache_now(cache), &entry, &value);
	if (error == 0)
		*weight = entry->policy.weight;
	return error;
}

int weakref_cache_policy_age(weakref_cache *cache, enum weakref_cache_rule rule, const void *key, double *seconds)
{
	struct cache_entry *entry;
	void *value;
	int error = cache_check(cache);

	if (error == 0 && (seconds == NULL || (unsigned)rule > WEAKREF_CACHE_REFRESH))
		error = -WEAKREF_EINVAL;
	if (error == 0 && !has_rule(cache, rule))
		error = -WEAKREF_ENOTSUP;
	if (error < 0)
		return error;
	uint64_t now = cache_now(cache);
	error = look_at(cache, key, now, &entry, &value);
	if (error < 0)
		return error;
	uint64_t since = rule == WEAKREF_CACHE_AFTER_ACCESS ? entry->used : entry->written;
	*seconds = now > since ? cache_seconds(now - since) : 0;
	return 0;
}

int weakref_cache_policy_remaining(weakref_cache *cache, const void *key, double *seconds)
{
	struct cache_entry *entry;
	void *value;
	int error = cache_check(cache);

	if (error == 0 && seconds == NULL)
		error = -WEAKREF_EINVAL;
	if (error == 0 && !cache->expires)
		error = -WEAKREF_ENOTSUP;
	if (error < 0)
		return error;
	uint64_t now = cache_now(cache);
	error = look_at(cache, key, now, &entry, &value);
	if (error < 0)
		return error;
	uint64_t deadline = cache_deadline(cache, entry);
	*seconds = cache_seconds(deadline == CACHE_NEVER ? deadline : deadline > now ? deadline - now : 0);
	return 0;
}

int weakref_cache_policy_set_remaining(weakref_cache *cache, const void *key, double seconds)
{
	struct cache_entry *entry;
	struct table_key ready;
	int error = cache_enter(cache, key, &ready);

	if (error == 0 && !(seconds >= 0))
		error = -WEAKREF_EINVAL;
	if (error == 0 && cache->config.expiry.create == NULL)
		error = -WEAKREF_ENOTSUP;
	if (error < 0)
		return error;
	uint64_t now = cache_now(cache);
	error = cache_lock_at(cache, &ready, false, &entry);
	if (error < 0)
		return error;
	bool found = cache_value_now(cache, entry, now) != NULL;
	if (found) {
		entry->used = cache_later(now, cache_ns(seconds));
		cache_reschedule_locked(cache, entry);
	}
	cache_unlock_maintain(cache, now);
	cache_after(cache);
	return found ? 0 : -WEAKREF_ENOENT;
}

/* Stores a value that has a time of its own. 0 or a negative error. */
static int store_for(struct cache_change *c)
{
	int error = cache_enter(c->cache, c->key, &c->ready);

	cache_forget_left();
	if (error == 0 && !(*c->seconds >= 0))
		error = -WEAKREF_EINVAL;
	if (error == 0 && c->cache->config.expiry.create == NULL)
		error = -WEAKREF_ENOTSUP;
	return error < 0 ? error : cache_change(c);
}

int weakref_cache_policy_put(weakref_cache *cache, const void *key, void *value, double seconds)
{
	struct cache_change c = {.cache = cache, .key = key, .value = value, .seconds = &seconds, .fn = cache_store};

	return store_for(&c);
}

void *weakref_cache_policy_put_if_absent(weakref_cache *cache, const void *key, void *value, double seconds)
{
	struct cache_change c = {.cache = cache, .key = key, .value = value, .seconds = &seconds, .fn = cache_store_if_absent};
	int error = store_for(&c);

	return error < 0 ? base_null((enum weakref_error) - error) : c.result;
}

/* ---- order ---- */

/* The first n entries in an order. The eviction's lock. */
static size_t list_locked(weakref_cache *cache, bool hottest, struct cache_entry **out, size_t n)
{
	const struct policy *policy = &cache->policy;
	struct policy_node *node = hottest ? policy_hottest(policy) : policy_coldest(policy);
	size_t count = 0;

	while (node != NULL && count < n) {
		out[count++] = CACHE_OF(policy, node);
		node = hottest ? policy_next_colder(policy, node) : policy_next_hotter(policy, node);
	}
	return count;
}

/* A pair that outlives the entry: strings and bytes as copies. 1, 0 when the entry is gone by now, or -ENOMEM. */
static int pair_of(const weakref_cache *cache, const struct cache_entry *entry, weakref_pair *out)
{
	size_t head = cache->config.kind == WEAKREF_KEY_BYTES ? sizeof(weakref_bytes) : 0;
	weakref_bytes bytes;

	out->value = cache_value(entry);
	out->key = cache_key(cache, entry, &bytes);
	if (out->value == NULL || cache->config.kind > WEAKREF_KEY_BYTES)
		return out->value != NULL && (out->key != NULL || cache->config.kind == WEAKREF_KEY_INT);
	char *copy = heap_alloc_leaf(head + entry->size + 1);
	if (copy == NULL)
		return -WEAKREF_ENOMEM;
	memcpy(copy + head, cache_bytes(cache, entry), entry->size + 1);
	if (head != 0)
		*(weakref_bytes *)(void *)copy = (weakref_bytes){.data = copy + head, .size = entry->size};
	out->key = copy;
	return 1;
}

long weakref_cache_policy_order(weakref_cache *cache, bool hottest, weakref_pair *out, size_t n)
{
	int error = cache_check(cache);
	long stored = 0;

	if (error == 0 && out == NULL && n != 0)
		error = -WEAKREF_EINVAL;
	if (error == 0 && !cache->recorded)
		error = -WEAKREF_ENOTSUP;
	if (error < 0)
		return error;
	size_t len = weakref_cache_len(cache), room = n < len ? n : len;
	struct cache_entry **entries = heap_alloc((room + 1) * sizeof *entries);
	if (entries == NULL)
		return -WEAKREF_ENOMEM;
	uint64_t now = cache_now(cache);
	cache_eviction_lock(cache);
	cache_maintain_whole(cache, now);
	size_t count = list_locked(cache, hottest, entries, room);
	cache_eviction_unlock(cache);
	cache_after(cache);
	for (size_t i = 0; i < count; i++) {
		int result = pair_of(cache, entries[i], &out[stored]);
		if (result < 0)
			return result;
		stored += result;
	}
	return stored;
}

/* What is sorted: qsort may move it to where the collector does not look, so that it names entries by number. */
struct dated {
	uint64_t deadline;
	size_t number;
};

/* Live entries, and when their time will be over. */
struct listing {
	struct cache_entry **entries;
	struct dated *dated;
	size_t room, n; /* n may be more than there was room for */
};

static int by_deadline(const void *a, const void *b)
{
	uint64_t x = ((const struct dated *)a)->deadline, y = ((const struct dated *)b)->deadline;

	return (x > y) - (x < y);
}

static void list_all_locked(const weakref_cache *cache, struct listing *list)
{
	const struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);

	list->n = 0;
	for (size_t i = 0; i < map->n; i++) {
		struct cache_entry *entry = atomic_load_explicit(&map->at[i].entry, memory_order_relaxed);
		if (entry == NULL || entry == CACHE_GONE || cache_state(entry) != CACHE_LIVE)
			continue;
		if (list->n < list->room) {
			list->entries[list->n] = entry;
			list->dated[list->n] = (struct dated){.deadline = cache_deadline(cache, entry), .number = list->n};
		}
		list->n++;
	}
}

/* All live entries, the first to expire first. 0 or -ENOMEM. */
static int list_by_deadline(weakref_cache *cache, struct listing *list)
{
	uint64_t now = cache_now(cache);

	list->n = weakref_cache_len(cache);
	do {
		/* More may come meanwhile. */
		list->room = list->n + list->n / 8 + 1;
		list->entries = heap_alloc(list->room * sizeof *list->entries);
		list->dated = heap_alloc_leaf(list->room * sizeof *list->dated);
		if (list->entries == NULL || list->dated == NULL)
			return -WEAKREF_ENOMEM;
		cache_eviction_lock(cache);
		cache_maintain_whole(cache, now);
		cache_eviction_unlock(cache);
		cache_lock(cache);
		list_all_locked(cache, list);
		cache_unlock(cache);
		cache_after(cache);
	} while (list->n > list->room);
	qsort(list->dated, list->n, sizeof *list->dated, by_deadline);
	return 0;
}

long weakref_cache_policy_expiring(weakref_cache *cache, bool last, weakref_pair *out, size_t n)
{
	struct listing list = {0};
	int error = cache_check(cache);
	long stored = 0;

	if (error == 0 && out == NULL && n != 0)
		error = -WEAKREF_EINVAL;
	if (error == 0 && !cache->expires)
		error = -WEAKREF_ENOTSUP;
	if (error == 0)
		error = list_by_deadline(cache, &list);
	for (size_t i = 0; i < list.n && (size_t)stored < n && error >= 0; i++) {
		const struct dated *dated = &list.dated[last ? list.n - 1 - i : i];
		error = pair_of(cache, list.entries[dated->number], &out[stored]);
		stored += error > 0;
	}
	return error < 0 ? error : stored;
}

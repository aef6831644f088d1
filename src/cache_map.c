/* SPDX-License-Identifier: MIT */
/*
 * cache_map: entries, and the map from key to entry. States, invariants and locks: cache.h.
 *
 * A reader loads the place's entry, then its hash: what was written into a place was its hash first. It may see the hash of one entry with the
 * pointer of another, and so looks at the entry's own key before it believes either. It may miss an entry only where that came or went
 * since the reader began.
 *
 * A reader that finds its key in a DEAD entry begins anew: another may stand in its place. Since entries leave the map before they
 * become DEAD, it does not find the same one again.
 *
 * Deliberately not here: hidden or tagged pointers to entries. A reader holds an entry from the load on.
 */
#include "cache.h"

#include <errno.h>

#include "bytes.h"

#define MAP_MIN 16

/* ---- entries ---- */

struct cache_entry *cache_entry_new(const weakref_cache *cache, const struct table_key *key)
{
	bool copied = cache->config.kind <= WEAKREF_KEY_BYTES;
	size_t end = cache->bytes_at + (copied ? key->size + 1 : 0), waiting = cache_waiting_at(cache, key->size);
	struct cache_entry *entry = heap_alloc_kind(HEAP_ENTRY, cache->expires ? waiting + sizeof(struct wheel_node) : end);

	if (entry == NULL)
		return NULL;
	entry->policy.hash = key->hash;
	entry->policy.weight = 1;
	if (copied) {
		/* The block is zeroed: so is the end. */
		entry->size = key->size;
		memcpy(cache_bytes(cache, entry), key->data, key->size);
		return entry;
	}
	entry->word = key->word;
	if (!cache->config.weak_keys && cache->config.kind != WEAKREF_KEY_INT)
		entry->key = key->data;
	return entry;
}

const void *cache_key(const weakref_cache *cache, const struct cache_entry *entry, weakref_bytes *bytes)
{
	void *key = NULL;

	switch (cache->config.kind) {
	case WEAKREF_KEY_STRING:
		return cache_bytes(cache, entry);
	case WEAKREF_KEY_BYTES:
		*bytes = (weakref_bytes){.data = cache_bytes(cache, entry), .size = entry->size};
		return bytes;
	case WEAKREF_KEY_INT:
		return (const void *)(uintptr_t)entry->word;
	default:
		break;
	}
	if (!cache->config.weak_keys || !entry->celled)
		return entry->key;
	cache_cell_value(entry, &key);
	return key;
}

/* ---- the map ---- */

/* Whether an entry whose hash is the key's has this key: 1, 0, or equal's error. */
static inline int matches(const weakref_cache *cache, const struct cache_entry *entry, const struct table_key *key)
{
	if (cache->config.kind <= WEAKREF_KEY_BYTES)
		return entry->size == key->size &&
		       bytes_equal((const unsigned char *)cache_bytes(cache, entry), key->data, key->size);
	if (entry->word != key->word)
		return 0;
	if (likely(cache->config.kind != WEAKREF_KEY_CUSTOM)) {
		/* The address alone may be that of another key, long dead: its cell would not have it. */
		return !cache->config.weak_keys || !entry->celled ||
		       (atomic_load_explicit(cache_cell_word(entry, CELL_KEY), memory_order_acquire) & ~EPOCH_TAG) ==
			       (uintptr_t)key->data;
	}
	return entry->key == key->data ? 1 : cache->config.equal(entry->key, key->data, cache->config.key_user);
}

int cache_same_key(const weakref_cache *cache, const struct table_key *a, const struct table_key *b)
{
	if (cache->config.kind <= WEAKREF_KEY_BYTES)
		return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
	if (a->word != b->word || cache->config.kind != WEAKREF_KEY_CUSTOM)
		return a->word == b->word;
	return a->data == b->data ? 1 : cache->config.equal(a->data, b->data, cache->config.key_user);
}

int cache_find(const weakref_cache *cache, const struct table_key *key, struct cache_entry **out)
{
	struct cache_entry *entry;
	struct cache_map *map;

again:
	map = atomic_load_explicit(&cache->map, memory_order_acquire);
	*out = NULL;
	for (size_t left = map->n, i = cache_home(map, key->hash); left > 0; left--, i = (i + 1) & (map->n - 1)) {
		entry = atomic_load_explicit(&map->at[i].entry, memory_order_acquire);
		BASE_PIN(entry);
		if (entry == NULL)
			return 0;
		if (atomic_load_explicit(&map->at[i].hash, memory_order_relaxed) != key->hash || entry == CACHE_GONE)
			continue;
		int same = matches(cache, entry, key);
		if (likely(same > 0)) {
			if (unlikely(cache_state(entry) == CACHE_DEAD))
				goto again;
			*out = entry;
			return 0;
		}
		if (unlikely(same < 0))
			return same;
	}
	return 0;
}

int cache_read(const weakref_cache *cache, const struct table_key *key, uint64_t now, struct cache_entry **entry, void **value)
{
	for (;;) {
		int error = cache_find(cache, key, entry);
		if (error < 0 || *entry == NULL) {
			*value = NULL;
			return error;
		}
		bool expired = cache_expired(cache, *entry, now);
		*value = cache_value(*entry);
		/* Another may have taken its place since. */
		if (unlikely(*value == NULL) && cache_state(*entry) == CACHE_DEAD)
			continue;
		if (expired)
			*value = NULL;
		return 0;
	}
}

/* Whether an entry has the key of a DEAD one that it, or another after it, replaced: then it has the same words, and no function of the program's
 * need compare. */
static bool has_key_of(const weakref_cache *cache, const struct cache_entry *entry, const struct cache_entry *dead)
{
	struct table_key key = {.hash = dead->policy.hash};

	if (cache->config.kind == WEAKREF_KEY_CUSTOM)
		return entry->word == dead->word && entry->key == dead->key;
	if (cache->config.kind <= WEAKREF_KEY_BYTES) {
		key.data = cache_bytes(cache, dead);
		key.size = dead->size;
	} else {
		key.data = (const void *)(uintptr_t)dead->word;
		key.word = dead->word;
	}
	return matches(cache, entry, &key) > 0;
}

struct cache_entry *cache_successor(const weakref_cache *cache, const struct cache_entry *dead)
{
	struct cache_entry *entry;
	struct cache_map *map;
	size_t i;

	if (__atomic_load_n(&dead->displaced, __ATOMIC_RELAXED) != CACHE_DISPLACED)
		return NULL;
again:
	map = atomic_load_explicit(&cache->map, memory_order_acquire);
	i = cache_home(map, dead->policy.hash);
	for (size_t left = map->n; left > 0; left--, i = (i + 1) & (map->n - 1)) {
		entry = atomic_load_explicit(&map->at[i].entry, memory_order_acquire);
		BASE_PIN(entry);
		if (entry == NULL)
			return NULL;
		if (atomic_load_explicit(&map->at[i].hash, memory_order_relaxed) != dead->policy.hash || entry == CACHE_GONE ||
		    !has_key_of(cache, entry, dead))
			continue;
		if (cache_state(entry) == CACHE_DEAD)
			goto again;
		return entry;
	}
	return NULL;
}

/* Places for so many entries. */
static size_t size_for(size_t entries)
{
	size_t n = MAP_MIN;

	while (n / 2 < entries)
		n *= 2;
	return n;
}

struct cache_map *cache_map_new(size_t entries)
{
	size_t n = size_for(entries);
	struct cache_map *map = heap_alloc(sizeof *map + n * sizeof *map->at);
	if (map == NULL)
		return NULL;
	map->n = n;
	map->limit = n / 4 * 3;
	return map;
}

struct cache_stripe *cache_stripes_new(uint32_t n)
{
	return heap_alloc(n * sizeof(struct cache_stripe));
}

_Static_assert(offsetof(struct cache_map, at) == 64, "a group of places is a line, where the map is more than half of a page");
_Static_assert(offsetof(struct cache_stripe, reads) == 64, "what is counted has a line of its own");

static void place_locked(struct cache_map *map, size_t *used, uint32_t hash, struct cache_entry *entry)
{
	size_t i = cache_home(map, hash);

	for (;;) {
		struct cache_entry *there = atomic_load_explicit(&map->at[i].entry, memory_order_relaxed);
		if (there == NULL || there == CACHE_GONE) {
			*used += there == NULL;
			break;
		}
		i = (i + 1) & (map->n - 1);
	}
	atomic_store_explicit(&map->at[i].hash, hash, memory_order_relaxed);
	atomic_store_explicit(&map->at[i].entry, entry, memory_order_release);
}

static void count_insert_locked(weakref_cache *cache)
{
	uint64_t inserts = atomic_load_explicit(&cache->inserts, memory_order_relaxed);

	atomic_store_explicit(&cache->inserts, inserts + 1, memory_order_release);
}

void cache_insert_locked(weakref_cache *cache, struct cache_entry *entry)
{
	struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);

	ASSERT(cache->used < map->limit);
	place_locked(map, &cache->used, entry->policy.hash, entry);
	/* Last: a search without the lock that has this count from before it began has seen the entry too. */
	count_insert_locked(cache);
}

static struct cache_place *place_of_locked(const weakref_cache *cache, const struct cache_entry *entry)
{
	struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);
	size_t i = cache_home(map, entry->policy.hash);

	while (atomic_load_explicit(&map->at[i].entry, memory_order_relaxed) != entry)
		i = (i + 1) & (map->n - 1);
	return &map->at[i];
}

void cache_displace_locked(weakref_cache *cache, struct cache_entry *entry, struct cache_entry *fresh)
{
	__atomic_store_n(&entry->displaced, CACHE_DISPLACED, __ATOMIC_RELAXED);
	atomic_store_explicit(&place_of_locked(cache, entry)->entry, fresh, memory_order_release);
	count_insert_locked(cache);
}

void cache_unmap_locked(weakref_cache *cache, const struct cache_entry *entry)
{
	struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);
	struct cache_place *place = place_of_locked(cache, entry);
	size_t next = ((size_t)(place - map->at) + 1) & (map->n - 1);
	bool last = atomic_load_explicit(&map->at[next].entry, memory_order_relaxed) == NULL;

	/* Where a probe ends behind it anyway, it may end here. Without the hash, a look-up of the key that is gone is a miss at once. */
	atomic_store_explicit(&place->hash, CACHE_NO_HASH, memory_order_relaxed);
	atomic_store_explicit(&place->entry, last ? NULL : CACHE_GONE, memory_order_release);
	cache->used -= last;
}

struct cache_map *cache_map_anew(const weakref_cache *cache)
{
	const struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_acquire);

	return map->n > size_for(cache->config.capacity) ? cache_map_new(cache->config.capacity) : NULL;
}

void cache_map_clear_locked(weakref_cache *cache, struct cache_map *fresh, uint64_t now)
{
	struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);

	for (size_t i = 0; i < map->n; i++) {
		struct cache_entry *entry = atomic_load_explicit(&map->at[i].entry, memory_order_relaxed);
		if (entry == NULL)
			continue;
		if (entry != CACHE_GONE) {
			cache_overtake_locked(cache, entry);
			if (cache_state(entry) != CACHE_DEAD && atomic_load_explicit(&map->at[i].entry, memory_order_relaxed) == entry)
				cache_remove_locked(cache, entry, cache_cause(cache, entry, WEAKREF_CAUSE_EXPLICIT, now));
		}
	}
	if (fresh == NULL)
		return;
	ASSERT(cache->live == 0 && cache->loading == 0);
	cache->used = 0;
	atomic_store_explicit(&cache->map, fresh, memory_order_release);
}

/* Replaces a full map by one that is not. Called with the lock, returns without. 0 or -ENOMEM. */
static int map_grow(weakref_cache *cache)
{
	struct cache_map *old = atomic_load_explicit(&cache->map, memory_order_relaxed);
	size_t entries = cache->live + cache->loading;

	cache_unlock(cache);
	struct cache_map *map = cache_map_new(entries + entries / 8 + 1);
	if (map == NULL)
		return -WEAKREF_ENOMEM;
	cache_lock(cache);
	if (atomic_load_explicit(&cache->map, memory_order_relaxed) == old && cache->live + cache->loading < map->limit) {
		size_t used = 0;
		for (size_t i = 0; i < old->n; i++) {
			struct cache_entry *entry = atomic_load_explicit(&old->at[i].entry, memory_order_relaxed);
			/* The place has the hash: no entry need be looked at. */
			if (entry != NULL && entry != CACHE_GONE)
				place_locked(map, &used, (uint32_t)atomic_load_explicit(&old->at[i].hash, memory_order_relaxed), entry);
		}
		cache->used = used;
		atomic_store_explicit(&cache->map, map, memory_order_release);
	}
	cache_unlock(cache);
	return 0;
}

/* With the lock: makes room for an entry. 0 with the lock where there is; 1 without it where it was made; -ENOMEM without it. */
static int room_locked(weakref_cache *cache)
{
	int error;

	if (unlikely(cache->used + 1 >= atomic_load_explicit(&cache->map, memory_order_relaxed)->limit)) {
		error = map_grow(cache);
		return error < 0 ? error : 1;
	}
	if (unlikely(cache->celled) && !cache_cell_ready_locked(cache)) {
		cache_unlock(cache);
		error = cache_bank_add(cache);
		return error < 0 ? error : 1;
	}
	return 0;
}

int cache_lock_room(weakref_cache *cache)
{
	int made;

	do {
		cache_lock(cache);
		made = room_locked(cache);
	} while (made > 0);
	return made;
}

int cache_see(const weakref_cache *cache, const struct table_key *key, struct cache_seen *seen)
{
	seen->inserts = atomic_load_explicit(&cache->inserts, memory_order_acquire);
	return cache_find(cache, key, &seen->entry);
}

bool cache_absent_locked(const weakref_cache *cache, const struct table_key *key, struct cache_seen *seen)
{
	if (unlikely(atomic_load_explicit(&cache->inserts, memory_order_relaxed) != seen->inserts) &&
	    (cache->config.kind == WEAKREF_KEY_CUSTOM || cache_see(cache, key, seen) < 0))
		return false;
	return seen->entry == NULL && likely(cache->used + 1 < atomic_load_explicit(&cache->map, memory_order_relaxed)->limit) &&
	       (likely(!cache->celled) || cache_cell_ready_locked(cache));
}

int cache_lock_seen(weakref_cache *cache, const struct table_key *key, bool room, struct cache_seen *seen)
{
	for (;;) {
		cache_lock(cache);
		int made = room ? room_locked(cache) : 0;
		if (made < 0)
			return made;
		if (made > 0)
			continue;
		if (likely(atomic_load_explicit(&cache->inserts, memory_order_relaxed) == seen->inserts)) {
			/* Nobody came since; it may have gone. */
			if (seen->entry != NULL && cache_state(seen->entry) == CACHE_DEAD)
				seen->entry = NULL;
			return 0;
		}
		/* With the lock no function of the program's runs. */
		if (cache->config.kind != WEAKREF_KEY_CUSTOM)
			return cache_see(cache, key, seen);
		cache_unlock(cache);
		int error = cache_see(cache, key, seen);
		if (error < 0)
			return error;
	}
}

int cache_lock_at(weakref_cache *cache, const struct table_key *key, bool room, struct cache_entry **entry)
{
	struct cache_seen seen;
	int error = cache_see(cache, key, &seen);

	if (error == 0)
		error = cache_lock_seen(cache, key, room, &seen);
	*entry = error == 0 ? seen.entry : NULL;
	return error;
}

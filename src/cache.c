/* SPDX-License-Identifier: MIT */
/*
 * cache: looking up, storing and invalidating. States, invariants and locks: cache.h.
 *
 * A write asks the user's functions first, makes what it may need, takes the lock, looks what is there now, and changes it; then comes
 * maintenance, and, without the lock, the listener.
 */
#include "cache.h"

#include <errno.h>

#include "cache_quick.h"
#include "weakarray.h"

/* ---- reading ---- */

void *cache_value_now(const weakref_cache *cache, const struct cache_entry *entry, uint64_t now)
{
	return entry == NULL || cache_expired(cache, entry, now) ? NULL : cache_value(entry);
}

/* Of soft values: it was used now. */
static void want(struct cache_entry *entry)
{
	uint64_t now = base_now_rough();

	if (atomic_load_explicit(&entry->wanted, memory_order_relaxed) != now)
		atomic_store_explicit(&entry->wanted, now, memory_order_relaxed);
}

/* When it was used, for expiry. What is there already need not be written, nor taken from other processors; and the rough clock may be
 * behind who wrote it. */
static inline void note_use(weakref_cache *cache, struct cache_entry *entry, uint64_t now)
{
	uint64_t used = atomic_load_explicit(&entry->used, memory_order_relaxed);

	if (used != now && cache->accessed && (used < now || atomic_load_explicit(&cache->slack, memory_order_relaxed) == 0))
		atomic_store_explicit(&entry->used, now, memory_order_relaxed);
}

static void touch(weakref_cache *cache, struct cache_entry *entry, void *value, uint64_t now)
{
	const weakref_cache_expiry *expiry = &cache->config.expiry;

	if (cache->config.soft_values)
		want(entry);
	if (!cache->expires)
		return;
	uint64_t expires = atomic_load_explicit(&entry->used, memory_order_relaxed);
	note_use(cache, entry, now);
	if (expiry->read == NULL)
		return;
	uint64_t left = expires == CACHE_NEVER ? CACHE_NEVER : expires > now ? expires - now : 0;
	weakref_bytes bytes;
	const void *key = cache_key(cache, entry, &bytes);
	/* An entry that has gone meanwhile has a weak key no more. */
	if (key == NULL && cache->config.weak_keys)
		return;
	double lives = expiry->read(key, value, cache_seconds(left), expiry->user);
	if (!(lives >= 0))
		return;
	uint64_t deadline = cache_later(now, cache_ns(lives));
	atomic_store_explicit(&entry->used, deadline, memory_order_relaxed);
	if (deadline >= expires)
		return;
	/* The wheel would hand it out too late. */
	cache_lock(cache);
	if (cache_state(entry) == CACHE_LIVE)
		cache_reschedule_locked(cache, entry);
	cache_unlock(cache);
}

void cache_used(weakref_cache *cache, struct cache_entry *entry, void *value, uint64_t now)
{
	if (cache->touched)
		touch(cache, entry, value, now);
	cache_record(cache, entry);
}

void cache_hit(weakref_cache *cache, struct cache_entry *entry, void *value, uint64_t now)
{
	if (cache->config.records)
		atomic_fetch_add_explicit(&cache_stripe(cache)->hits, 1, memory_order_relaxed);
	cache_used(cache, entry, value, now);
	if (unlikely(cache_time(cache, WEAKREF_CACHE_REFRESH) != CACHE_NEVER))
		cache_refresh_due(cache, entry, now);
}

void cache_miss(weakref_cache *cache)
{
	if (cache->config.records)
		atomic_fetch_add_explicit(&cache_stripe(cache)->misses, 1, memory_order_relaxed);
}

/* What a look-up gives: 0 and a value, or an error. */
struct found {
	void *value;
	int error;
};

int cache_look_up_ready(weakref_cache *cache, const struct table_key *ready, void **value)
{
	struct cache_entry *entry;
	uint64_t now = cache_now(cache);
	int error = cache_read(cache, ready, now, &entry, value);

	if (unlikely(error < 0))
		return error;
	if (likely(*value != NULL)) {
		cache_hit(cache, entry, *value, now);
		return 0;
	}
	cache_miss(cache);
	/* It is expired, or was collected. */
	if (unlikely(entry != NULL && cache_state(entry) == CACHE_LIVE))
		cache_try_maintain(cache);
	return -WEAKREF_ENOENT;
}

/* Not inlined, and called last: what it needs of the stack would be set up for every look-up. */
static NOINLINE struct found look_up_slowly(weakref_cache *cache, const void *key)
{
	struct found found = {0};
	struct table_key ready;

	found.error = cache_enter(cache, key, &ready);
	if (likely(found.error == 0))
		found.error = cache_look_up_ready(cache, &ready, &found.value);
	return found;
}

static NOINLINE struct found miss(weakref_cache *cache)
{
	cache_miss(cache);
	return (struct found){.error = -WEAKREF_ENOENT};
}

static NOINLINE struct found hit_busy(weakref_cache *cache, struct cache_entry *entry, void *value, uint64_t now)
{
	cache_hit(cache, entry, value, now);
	return (struct found){.value = value};
}

static NOINLINE struct found hit_and_maintain(weakref_cache *cache, void *value)
{
	cache_try_maintain(cache);
	return (struct found){.value = value};
}

/* The rest of a look-up that found an entry; `timed` is a constant. */
static inline __attribute__((always_inline)) struct found look_up_entry(weakref_cache *cache, const void *key, struct cache_entry *entry,
									bool timed)
{
	uint64_t now = 0;

	if (entry == CACHE_GONE)
		return miss(cache);
	if (timed) {
		uint64_t slack = atomic_load_explicit(&cache->slack, memory_order_relaxed);
		now = likely(slack != 0) ? base_now_rough() : cache_now(cache);
		if (unlikely(slack != 0 ? !cache_quick_lives(cache, entry, now, slack) : cache_expired(cache, entry, now)))
			return look_up_slowly(cache, key);
	}
	void *value = cache_quick_value(entry);
	if (unlikely(value == NULL))
		return look_up_slowly(cache, key);
	if (unlikely(cache->busy))
		return hit_busy(cache, entry, value, now);
	if (timed)
		note_use(cache, entry, now);
	return unlikely(cache_record_only(cache, entry)) ? hit_and_maintain(cache, value) : (struct found){.value = value};
}

static NOINLINE struct found look_up_long(weakref_cache *cache, const void *key)
{
	struct cache_entry *entry = cache_quick_long(cache, key);

	if (entry == NULL)
		return look_up_slowly(cache, key);
	return cache->timed ? look_up_entry(cache, key, entry, true) : look_up_entry(cache, key, entry, false);
}

/* Apart, since it calls for the time. */
static NOINLINE struct found look_up_timed(weakref_cache *cache, const void *key)
{
	struct cache_entry *entry = cache_quick_short(cache, key);

	return likely(entry != NULL) ? look_up_entry(cache, key, entry, true) : look_up_long(cache, key);
}

static inline __attribute__((always_inline)) struct found look_up(weakref_cache *cache, const void *key)
{
	if (unlikely(cache_check(cache) != 0 || !cache->strings || key == NULL))
		return look_up_slowly(cache, key);
	if (cache->timed)
		return look_up_timed(cache, key);
	struct cache_entry *entry = cache_quick_short(cache, key);
	return likely(entry != NULL) ? look_up_entry(cache, key, entry, false) : look_up_long(cache, key);
}

int cache_look_up(weakref_cache *cache, const void *key, void **value)
{
	struct found found = look_up(cache, key);

	*value = found.value;
	return found.error;
}

void *weakref_cache_get_if_present(weakref_cache *cache, const void *key)
{
	return look_up(cache, key).value;
}

int weakref_cache_lookup(weakref_cache *cache, const void *key, void **value)
{
	void *unused;

	return cache_look_up(cache, key, value != NULL ? value : &unused);
}

/* keys_part_fn: an error of a key's leaves those before it looked up. */
static long look_up_some(void *arg, const void *const *keys, size_t n, void **values)
{
	weakref_cache *cache = arg;
	struct table_key ready[KEYS_TOGETHER];
	long found = 0;
	size_t good = 0;
	int refused = 0, error = 0;

	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(keys[i]);
	while (good < n && refused == 0) {
		refused = cache_ready(cache, keys[good], &ready[good]);
		if (likely(refused == 0))
			cache_quick_expect_place(cache, ready[good++].hash);
	}
	for (size_t i = 0; i < good; i++)
		cache_quick_expect_entry(cache, ready[i].hash);
	for (size_t i = 0; i < good && error == 0; i++) {
		error = cache->strings ? cache_look_up(cache, keys[i], &values[i]) : cache_look_up_ready(cache, &ready[i], &values[i]);
		found += error == 0;
		if (error == -WEAKREF_ENOENT)
			error = 0;
	}
	/* A weak key is not to be kept by what is left on the stack. */
	base_forget(ready, sizeof ready);
	return error < 0 ? error : refused < 0 ? refused : found;
}

long weakref_cache_get_all_present(weakref_cache *cache, const void *const *keys, size_t n, void **values)
{
	int error = cache_check(cache);

	return error < 0 ? error : keys_each_part(cache, keys, n, values, look_up_some);
}

/* ---- writing ---- */

int cache_key_check(const weakref_cache *cache, const void *key)
{
	return cache->config.weak_keys && weakarray_encode(key) == 0 ? -WEAKREF_EINVAL : 0;
}

int cache_value_check(const weakref_cache *cache, const void *key, const void *value)
{
	if (value == NULL || (cache->config.weak_values && weakarray_encode(value) == 0))
		return -WEAKREF_EINVAL;
	return cache_key_check(cache, key);
}

/* How long the new value is to live. 0 or -EINVAL. */
static int ask_expiry(weakref_cache *cache, const struct cache_entry *before, uint64_t now, struct cache_write *w)
{
	const weakref_cache_expiry *expiry = &cache->config.expiry;
	double lives;

	w->lives = CACHE_NEVER;
	if (likely(expiry->create == NULL))
		return 0;
	uint64_t expires = before == NULL ? 0 : atomic_load_explicit(&before->used, memory_order_relaxed);
	if (w->seconds != NULL)
		lives = *w->seconds;
	else if (before != NULL && expires > now && expiry->update != NULL && cache_value(before) != NULL)
		lives = expiry->update(w->key, w->value, cache_seconds(expires == CACHE_NEVER ? expires : expires - now), expiry->user);
	else
		lives = expiry->create(w->key, w->value, expiry->user);
	if (!(lives >= 0))
		return -WEAKREF_EINVAL;
	w->lives = cache_ns(lives);
	return 0;
}

int cache_write_prepare(weakref_cache *cache, const struct table_key *key, struct cache_entry *before, uint64_t now, struct cache_write *w)
{
	int error = cache_value_check(cache, w->key, w->value);

	w->weight = 1;
	if (error == 0 && cache->config.weigher != NULL) {
		int64_t weight = cache->config.weigher(w->key, w->value, cache->config.weigher_user);
		if (weight < 0 || weight > UINT32_MAX)
			error = weight < 0 && weight >= -4095 ? (int)weight : -WEAKREF_EINVAL;
		else
			w->weight = (uint32_t)weight;
	}
	if (error == 0)
		error = ask_expiry(cache, before, now, w);
	if (error == 0 && w->fresh == NULL) {
		w->fresh = cache_entry_new(cache, key);
		if (w->fresh == NULL)
			error = -errno;
	}
	return error;
}

/* Times, weight and value of an entry that is about to be seen. */
static void dress_locked(weakref_cache *cache, struct cache_entry *entry, const struct cache_write *w, uint64_t now)
{
	entry->policy.weight = w->weight;
	if (unlikely(cache->timed)) {
		uint64_t used = cache->config.expiry.create != NULL ? cache_later(now, w->lives) : now;
		atomic_store_explicit(&entry->written, now, memory_order_relaxed);
		atomic_store_explicit(&entry->used, used, memory_order_relaxed);
	}
	if (unlikely(cache->config.soft_values))
		want(entry);
	cache_value_set_locked(cache, entry, w->key, w->value);
	atomic_store_explicit(&entry->state, CACHE_LIVE, memory_order_release);
	cache->live++;
}

void cache_complete_locked(weakref_cache *cache, struct cache_entry *entry, const struct cache_write *w, uint64_t now)
{
	entry->work = NULL;
	cache->loading--;
	dress_locked(cache, entry, w, now);
}

/* What a fresh entry has before it is seen. */
static void put_on_locked(weakref_cache *cache, struct cache_write *w, uint64_t now)
{
	cache->invalidations++;
	if (cache->celled)
		cache_cell_take_locked(cache, w->fresh, w->key);
	dress_locked(cache, w->fresh, w, now);
}

static void insert_locked(weakref_cache *cache, struct cache_write *w, uint64_t now)
{
	put_on_locked(cache, w, now);
	cache_insert_locked(cache, w->fresh);
}

void cache_write_locked(weakref_cache *cache, struct cache_entry *entry, struct cache_write *w, uint64_t now)
{
	if (entry == NULL) {
		insert_locked(cache, w, now);
	} else {
		put_on_locked(cache, w, now);
		/* Of equal keys the first stays, as where the value is replaced in its place. */
		if (cache_value_now(cache, entry, now) != NULL)
			w->fresh->key = entry->key;
		enum weakref_cause cause = cache_cause(cache, entry, WEAKREF_CAUSE_REPLACED, now);
		cache_overtake_locked(cache, entry);
		cache_displace_locked(cache, entry, w->fresh);
		if (cache->recorded)
			policy_replace(&cache->policy, &entry->policy, &w->fresh->policy);
		cache_bury_locked(cache, entry, cause, w->value);
	}
	cache_track(cache, w->fresh);
}

/* What the clock says is late enough to be stored over what is there: who finds it went back has the wheel to tell. */
static bool clock_goes_on(const weakref_cache *cache, const struct cache_entry *entry, uint64_t now)
{
	return !cache->timed || (now >= atomic_load_explicit(&entry->written, memory_order_relaxed) &&
				 now >= atomic_load_explicit(&entry->used, memory_order_relaxed));
}

/* With the entry's own lock. Whether it did: not where the entry is dead or expired, which would have to be counted. */
static bool replace_value_locked(const weakref_cache *cache, struct cache_entry *entry, void *value, uintptr_t raw, uint64_t now)
{
	if (cache_state(entry) != CACHE_LIVE || entry->closed || cache_expired(cache, entry, now) || !clock_goes_on(cache, entry, now) ||
	    !cache_value_change_locked(entry, value, raw))
		return false;
	/* After the value: who finds these finds that too. The wheel is told late of what lives longer. */
	if (cache->timed) {
		atomic_store_explicit(&entry->written, now, memory_order_release);
		atomic_store_explicit(&entry->used, now, memory_order_release);
	}
	return true;
}

/* Whether somebody in this process loads in bulk: what changes meanwhile is counted, with the lock. */
static bool loads_in_bulk(const weakref_cache *cache)
{
	return atomic_load_explicit(&cache->bulks, memory_order_acquire) != 0 &&
	       atomic_load_explicit(&cache->bulks_forks, memory_order_relaxed) == lock_forks;
}

/* Where nobody has a say in it (`plain`), a value takes the other's place in the entry itself, without the cache's lock. Whether it did. To the
 * policy it is one more use, and goes the way of the reads. */
static bool store_in_place(weakref_cache *cache, struct cache_entry *entry, void *value, uint64_t now)
{
	uintptr_t raw = cache->config.weak_values ? weakarray_encode(value) : 0;
	struct lock_word *lock = cache_entry_lock(entry);

	if (!cache->plain || value == NULL || (cache->config.weak_values && raw == 0) || loads_in_bulk(cache))
		return false;
	lock_stripe_take(lock);
	bool does = replace_value_locked(cache, entry, value, raw, now);
	lock_stripe_drop(lock);
	if (!does)
		return false;
	if (unlikely(cache->config.soft_values))
		want(entry);
	cache_record(cache, entry);
	/* What is due is done by whoever has the lock, if somebody has. */
	if ((cache->timed || cache->celled) && cache_eviction_try(cache)) {
		cache_due(cache, now);
		cache_eviction_unlock(cache);
	}
	return true;
}

bool cache_lives(const weakref_cache *cache, const struct cache_write *w)
{
	if (likely(!cache->expires))
		return true;
	if (cache->config.expiry.create != NULL)
		return w->lives != 0;
	return cache_time(cache, WEAKREF_CACHE_AFTER_WRITE) != 0 && cache_time(cache, WEAKREF_CACHE_AFTER_ACCESS) != 0;
}

/* A key that was not there comes in with the entries' lock alone: nobody waits for who evicts. Whether it did: not where there is no room
 * for it, or it came since the search. */
static bool insert_alone(weakref_cache *cache, const struct table_key *ready, struct cache_seen *seen, struct cache_write *w, uint64_t now)
{
	bool evicts = cache_expect(cache, w->fresh);

	cache_entries_lock(cache);
	bool comes = cache_has_place_locked(cache) && cache_absent_locked(cache, ready, seen);
	if (comes) {
		insert_locked(cache, w, now);
		cache_come_locked(cache, w->fresh);
	}
	cache_entries_unlock_maintain(cache, evicts, now);
	return comes;
}

/* Any other way. 0 or a negative error. */
static int write_over(weakref_cache *cache, const struct table_key *ready, struct cache_seen *seen, struct cache_write *w, uint64_t now)
{
	int error = cache_lock_seen(cache, ready, true, seen);

	if (unlikely(error < 0))
		return error;
	cache_write_locked(cache, seen->entry, w, now);
	cache_unlock_maintain(cache, now);
	return 0;
}

/* The first way that works. 0 or a negative error. */
static int write_prepared(weakref_cache *cache, const struct table_key *ready, struct cache_seen *seen, struct cache_write *w, uint64_t now)
{
	if (seen->entry == NULL && cache_lives(cache, w)) {
		if (insert_alone(cache, ready, seen, w, now))
			return 0;
		/* Another thread may have brought the same key meanwhile, for the same reason. */
		if (seen->entry != NULL && store_in_place(cache, seen->entry, w->value, now))
			return 0;
	}
	return write_over(cache, ready, seen, w, now);
}

int cache_store(struct cache_change *c)
{
	weakref_cache *cache = c->cache;
	const struct table_key *ready = &c->ready;
	struct cache_write w = {.key = c->key, .value = c->value, .seconds = c->seconds};
	uint64_t now = cache_now(cache);
	struct cache_seen seen;
	int error = cache_see(cache, ready, &seen);

	bool stored = error == 0 && seen.entry != NULL && store_in_place(cache, seen.entry, c->value, now);
	if (error == 0 && !stored)
		error = cache_write_prepare(cache, ready, seen.entry, now, &w);
	if (error == 0 && !stored)
		error = write_prepared(cache, ready, &seen, &w, now);
	if (unlikely(error < 0))
		return error;
	BASE_KEEP(c->key);
	BASE_KEEP(c->value);
	cache_after(cache);
	return 0;
}

int weakref_cache_put(weakref_cache *cache, const void *key, void *value)
{
	struct cache_change c = {.cache = cache, .key = key, .value = value, .fn = cache_store};
	int error = cache_enter(cache, key, &c.ready);

	return unlikely(error < 0) ? error : cache_change(&c);
}

int weakref_cache_put_all(weakref_cache *cache, const weakref_pair *pairs, size_t n)
{
	int error = cache_check(cache);

	if (error == 0 && pairs == NULL && n != 0)
		error = -WEAKREF_EINVAL;
	for (size_t i = 0; i < n && error == 0; i++)
		error = weakref_cache_put(cache, pairs[i].key, pairs[i].value);
	return error;
}

/* ---- invalidating ---- */

static int remove_key(struct cache_change *c)
{
	weakref_cache *cache = c->cache;
	struct cache_entry *entry;
	uint64_t now = cache_now(cache);
	int error = cache_lock_at(cache, &c->ready, false, &entry);

	if (unlikely(error < 0))
		return error;
	cache->invalidations++;
	if (entry != NULL)
		cache_remove_locked(cache, entry, cache_cause(cache, entry, WEAKREF_CAUSE_EXPLICIT, now));
	cache_unlock_maintain(cache, now);
	BASE_KEEP(c->key);
	cache_after(cache);
	return 0;
}

int weakref_cache_invalidate(weakref_cache *cache, const void *key)
{
	struct cache_change c = {.cache = cache, .key = key, .fn = remove_key};
	int error = cache_enter(cache, key, &c.ready);

	return unlikely(error < 0) ? error : cache_change(&c);
}

int weakref_cache_invalidate_keys(weakref_cache *cache, const void *const *keys, size_t n)
{
	int error = cache_check(cache);

	if (error == 0 && keys == NULL && n != 0)
		error = -WEAKREF_EINVAL;
	for (size_t i = 0; i < n && error == 0; i++)
		error = weakref_cache_invalidate(cache, keys[i]);
	return error;
}

static int remove_all(struct cache_change *c)
{
	weakref_cache *cache = c->cache;
	uint64_t now = cache_now(cache);

	/* Else the next one would go through all places again, be there one entry. */
	struct cache_map *fresh = cache_map_anew(cache);
	cache_lock(cache);
	cache->invalidations++;
	cache_map_clear_locked(cache, fresh, now);
	cache_forget_reads(cache);
	cache_unlock(cache);
	cache_after(cache);
	return 0;
}

int weakref_cache_invalidate_all(weakref_cache *cache)
{
	struct cache_change c = {.cache = cache, .all = true, .fn = remove_all};
	int error = cache_check(cache);

	return error < 0 ? error : cache_change(&c);
}

size_t weakref_cache_len(weakref_cache *cache)
{
	if (!cache_is(cache))
		return 0;
	cache_lock(cache);
	size_t taken = cache_taken_locked(cache), live = cache->live;
	cache_unlock(cache);
	return live - taken;
}

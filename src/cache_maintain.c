/* SPDX-License-Identifier: MIT */
/*
 * cache_maintain: what keeps a cache within its bounds: recency, eviction, expiry, entries that the collector took, and notices.
 *
 * Reads leave their entries in buffers, rings of CACHE_READS places for each stripe of threads, written without asking whether there is
 * room: what was not looked at in time is lost, and where two threads of a stripe write at once, one of their reads is. Who empties them
 * into the policy, and how often, is the pace:
 *     EAGER   entries are evicted: all reads count. A writer his own, and the reader who has filled half of his, if nobody has the lock
 *     CALM    nothing was evicted for long (policy_is_calm), or there is no bound, but soft values: a sample is enough. A reader once in
 *             so many reads, and a writer who is about to evict. A hit costs little more than the look-up
 *     NONE    there is neither a bound nor are values soft
 * Other threads' buffers are left to them, but when all that is due is asked for: what two processors write is slow to both.
 * Caffeine records nothing until a cache is half full. Here that cost up to six points of the hit ratio (doc/cache-policy.md), and a cache that
 * stays half empty is calm soon.
 *
 * A buffer may hold an entry that is DEAD by then; it has no value any more, and the policy ignores it.
 *
 * Expiry after access is lazy: a read writes the time into the entry only. When the wheel hands the entry out, its deadline is computed anew.
 *
 * Notices are queued with the lock held and told of without it, one by one, each taken out of the queue before the listener sees
 * it: a listener that never returns loses no other. In a listener the thread's own operations only queue; the loop that called it goes on.
 *
 * A thread that brings a new entry does not wait for one that evicts: the entry is in the map, and in a ring of CACHE_COMERS places for the
 * policy. He tries the eviction's lock after that, and who has it looks at the ring after he dropped it: one of the two sees to the entry. He
 * waits where the ring is full, and where who has the lock has it for another cache (lock.h), or for a fork.
 *
 * Locks: cache.h. Deliberately not here: a thread, and any promise about the order in which entries go.
 */
#include <pthread.h>

#include "cache.h"
#include "deliver.h"

/* On the stack of who tells. */
struct cache_telling {
	struct cache_frame frame;
	uint64_t mark, outer_mark;
	weakref_cache *cache;
	struct cache_telling *outer;
	uint64_t seal; /* of what stands above: where a listener was left by longjmp, others may have written over some of it */
};

_Thread_local struct cache_thread cache_thread __attribute__((tls_model("initial-exec")));

unsigned cache_thread_number(void)
{
	static _Atomic unsigned given;

	cache_thread.number = atomic_fetch_add_explicit(&given, 1, memory_order_relaxed) | 1U << 31;
	return cache_thread.number;
}

/* ---- deadlines ---- */

/* Where all times are of a second at least, the system's tick of 1 to 10 ms is near enough to tell when an entry was read; and an entry
 * whose deadline is further away than SLACK is not expired yet, however late the tick is. */
#define ROUGH_LEAST UINT64_C(1000000000)
#define SLACK UINT64_C(100000000)

void cache_set_slack(weakref_cache *cache)
{
	bool rough = cache->config.ticker == NULL && cache->config.expiry.create == NULL;

	for (int i = 0; i < 3; i++)
		rough = rough && atomic_load_explicit(&cache->times[i], memory_order_relaxed) >= ROUGH_LEAST;
	atomic_store_explicit(&cache->slack, rough ? SLACK : 0, memory_order_relaxed);
}

static void schedule(weakref_cache *cache, struct cache_entry *entry)
{
	uint64_t deadline = cache_deadline(cache, entry);

	if (deadline != CACHE_NEVER)
		wheel_schedule(cache->wheel, cache_waiting(cache, entry), deadline);
	else
		wheel_cancel(cache->wheel, cache_waiting(cache, entry));
}

void cache_reschedule_locked(weakref_cache *cache, struct cache_entry *entry)
{
	/* Who ends a function of compute looks at the deadline as well. */
	if (!cache_is_computed_locked(entry))
		schedule(cache, entry);
}

void cache_track(weakref_cache *cache, struct cache_entry *entry)
{
	/* One that took another's place is in already. */
	if (cache->recorded && entry->policy.queue == POLICY_NONE)
		policy_add(&cache->policy, &entry->policy);
	if (cache->expires)
		schedule(cache, entry);
}

void cache_untrack(weakref_cache *cache, struct cache_entry *entry)
{
	if (cache->recorded)
		policy_remove(&cache->policy, &entry->policy);
	if (cache->expires)
		wheel_cancel(cache->wheel, cache_waiting(cache, entry));
}

/* ---- who may write an entry in place ---- */

static void set_closed_locked(struct cache_entry *entry, bool closed)
{
	struct lock_word *lock = cache_entry_lock(entry);

	lock_stripe_take(lock);
	entry->closed = closed;
	lock_stripe_drop(lock);
}

void cache_close_locked(const weakref_cache *cache, struct cache_entry *entry)
{
	if (cache->plain && cache_state(entry) == CACHE_LIVE && !entry->closed)
		set_closed_locked(entry, true);
}

void cache_open_locked(const weakref_cache *cache, struct cache_entry *entry)
{
	if (cache->plain && cache_state(entry) == CACHE_LIVE && entry->work == NULL && entry->closed)
		set_closed_locked(entry, false);
}

/* ---- the end of an entry ---- */

static void queue_notice_locked(weakref_cache *cache, struct cache_entry *entry)
{
	entry->next = NULL;
	if (atomic_load_explicit(&cache->first, memory_order_relaxed) == NULL)
		atomic_store_explicit(&cache->first, entry, memory_order_relaxed);
	else
		cache->last->next = entry;
	cache->last = entry;
}

void cache_bury_locked(weakref_cache *cache, struct cache_entry *entry, enum weakref_cause cause, void *successor)
{
	bool loading = cache_state(entry) == CACHE_LOADING;
	void *key = NULL, *value;

	cache_close_locked(cache, entry);
	value = entry->celled ? cache_cell_value(entry, &key) : atomic_load_explicit(&entry->value, memory_order_relaxed);
	if (value == NULL)
		cause = WEAKREF_CAUSE_COLLECTED; /* the collector was faster */
	if (!loading)
		cache_untrack(cache, entry);
	*(loading ? &cache->loading : &cache->live) -= 1;
	atomic_store_explicit(&entry->state, CACHE_DEAD, memory_order_release);
	if (entry->celled)
		cache_cell_drop_locked(cache, entry);
	else
		atomic_store_explicit(&entry->value, NULL, memory_order_relaxed);
	if (!loading && cause >= WEAKREF_CAUSE_COLLECTED && cache->config.records) {
		atomic_fetch_add_explicit(&cache->counts.evictions, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&cache->counts.eviction_weight, entry->policy.weight, memory_order_relaxed);
	}
	if (loading || cache->config.listener == NULL || (cause == WEAKREF_CAUSE_REPLACED && value == successor))
		return;
	entry->cause = (uint8_t)cause;
	/* A soft value is given up to be freed: a notice must not keep it. */
	entry->left = cause == WEAKREF_CAUSE_COLLECTED ? NULL : value;
	if (cache->config.weak_keys)
		entry->key = cause == WEAKREF_CAUSE_COLLECTED ? NULL : key;
	queue_notice_locked(cache, entry);
}

void cache_remove_locked(weakref_cache *cache, struct cache_entry *entry, enum weakref_cause cause)
{
	cache_overtake_locked(cache, entry);
	cache_unmap_locked(cache, entry);
	cache_bury_locked(cache, entry, cause, NULL);
}

/* ---- reads ---- */

static void drain(weakref_cache *cache, struct cache_stripe *stripe)
{
	uint32_t tail = atomic_load_explicit(&stripe->tail, memory_order_acquire), n = tail - stripe->head;
	struct policy_node *read[CACHE_READS];
	size_t nread = 0;

	/* A line that its threads need is not written for nothing. */
	if (n == 0)
		return;
	stripe->head = tail;
	/* A thread that slept between its look at the tail and its store set it back: what stands there is overwritten sooner or later. */
	if (n > UINT32_MAX / 2)
		return;
	for (uint32_t i = tail - (n < CACHE_READS ? n : CACHE_READS); i != tail; i++) {
		_Atomic(struct cache_entry *) *place = &stripe->reads[i % CACHE_READS];
		struct cache_entry *entry = atomic_load_explicit(place, memory_order_acquire);
		if (unlikely(entry == NULL))
			continue;
		atomic_store_explicit(place, NULL, memory_order_relaxed);
		read[nread++] = &entry->policy;
	}
	policy_hit_all(&cache->policy, read, nread);
}

void cache_drain(weakref_cache *cache)
{
	for (uint32_t i = 0; cache->recorded && i <= cache->stripe_mask; i++)
		drain(cache, &cache->stripes[i]);
}

void cache_forget_reads(weakref_cache *cache)
{
	for (uint32_t i = 0; cache->recorded && i <= cache->stripe_mask; i++) {
		struct cache_stripe *stripe = &cache->stripes[i];
		uint32_t tail = atomic_load_explicit(&stripe->tail, memory_order_acquire);
		if (stripe->head == tail)
			continue;
		stripe->head = tail;
		for (uint32_t j = 0; j < CACHE_READS; j++)
			atomic_store_explicit(&stripe->reads[j], NULL, memory_order_relaxed);
	}
}

/* What the calling thread read. */
static void drain_own(weakref_cache *cache)
{
	if (cache->recorded)
		drain(cache, cache_stripe(cache));
}

static uint32_t pace_now(const weakref_cache *cache)
{
	if (!cache->config.bounded)
		return cache->config.soft_values ? CACHE_PACE_CALM : CACHE_PACE_NONE;
	return policy_is_calm(&cache->policy) ? CACHE_PACE_CALM : CACHE_PACE_EAGER;
}

/* ---- who came ---- */

bool cache_has_place_locked(const weakref_cache *cache)
{
	uint32_t came = atomic_load_explicit(&cache->came, memory_order_relaxed);

	return came - atomic_load_explicit(&cache->settled, memory_order_acquire) < CACHE_COMERS;
}

void cache_come_locked(weakref_cache *cache, struct cache_entry *entry)
{
	uint32_t came = atomic_load_explicit(&cache->came, memory_order_relaxed);

	atomic_store_explicit(&cache->comers[came % CACHE_COMERS], entry, memory_order_relaxed);
	atomic_store_explicit(&cache->came, came + 1, memory_order_release);
}

/* The policy gets to know who came. */
static void receive(weakref_cache *cache)
{
	uint32_t came = atomic_load_explicit(&cache->came, memory_order_acquire);
	uint32_t received = atomic_load_explicit(&cache->received, memory_order_relaxed);

	for (; received != came; received++) {
		_Atomic(struct cache_entry *) *place = &cache->comers[received % CACHE_COMERS];
		cache_track(cache, atomic_load_explicit(place, memory_order_relaxed));
		atomic_store_explicit(place, NULL, memory_order_relaxed);
	}
	atomic_store_explicit(&cache->received, received, memory_order_relaxed);
}

/* ---- what is due ---- */

void cache_expire_locked(weakref_cache *cache, struct cache_entry *entry, uint64_t now)
{
	cache_close_locked(cache, entry);
	if (cache_deadline(cache, entry) <= now)
		cache_remove_locked(cache, entry, WEAKREF_CAUSE_EXPIRED);
	else
		schedule(cache, entry);
	cache_open_locked(cache, entry);
}

static void expire(weakref_cache *cache, uint64_t now)
{
	struct wheel_node *node;

	while ((node = wheel_expired(cache->wheel, now)) != NULL) {
		cache_entries_lock(cache);
		cache_expire_locked(cache, heap_base(node), now);
		cache_entries_unlock(cache);
	}
}

/* Takes out what collections took. The epoch comes first: a collection that ends during the look is one for the next look. */
static void bury_taken(weakref_cache *cache)
{
	uint64_t now = atomic_load_explicit(&epoch_now, memory_order_acquire);

	if (likely(now == cache->cells.seen))
		return;
	if (cache_taken_locked(cache) != 0) {
		cache_entries_lock(cache);
		/* One may have come, and lost its value, since the last look. */
		receive(cache);
		cache_bury_taken_locked(cache);
		cache_entries_unlock(cache);
	}
	/* While it is odd, the collection may still take some. */
	if (now % 2 == 0)
		cache->cells.seen = now;
}

static struct cache_entry *too_much(weakref_cache *cache)
{
	struct policy_node *node = cache->config.bounded ? policy_evict(&cache->policy) : NULL;

	return node == NULL ? NULL : CACHE_OF(policy, node);
}

/* What was too much is out: there is room for all that the policy knows. */
static void settle(weakref_cache *cache)
{
	if (cache->config.bounded)
		atomic_store_explicit(&cache->wants, policy_sketch_wanted(&cache->policy), memory_order_relaxed);
	atomic_store_explicit(&cache->settled, atomic_load_explicit(&cache->received, memory_order_relaxed), memory_order_release);
}

static void evict(weakref_cache *cache)
{
	struct cache_entry *entry;

	while ((entry = too_much(cache)) != NULL) {
		/* Before the lock, for it takes another one, which others may have had last. */
		cache_close_locked(cache, entry);
		cache_entries_lock(cache);
		cache_remove_locked(cache, entry, WEAKREF_CAUSE_SIZE);
		cache_entries_unlock(cache);
	}
	settle(cache);
}

static void evict_locked(weakref_cache *cache)
{
	struct cache_entry *entry;

	while ((entry = too_much(cache)) != NULL)
		cache_remove_locked(cache, entry, WEAKREF_CAUSE_SIZE);
	settle(cache);
}

void cache_due(weakref_cache *cache, uint64_t now)
{
	uint32_t next;

	receive(cache);
	if (cache->celled)
		bury_taken(cache);
	if (cache->expires)
		expire(cache, now);
	evict(cache);
	/* Readers look at it often. */
	next = pace_now(cache);
	if (next != atomic_load_explicit(&cache->pace, memory_order_relaxed))
		atomic_store_explicit(&cache->pace, next, memory_order_relaxed);
}

void cache_maintain(weakref_cache *cache, uint64_t now)
{
	receive(cache);
	if (atomic_load_explicit(&cache->pace, memory_order_relaxed) == CACHE_PACE_EAGER || cache->config.soft_values ||
	    policy_weight(&cache->policy) > cache->policy.maximum)
		drain_own(cache);
	cache_due(cache, now);
}

void cache_maintain_whole(weakref_cache *cache, uint64_t now)
{
	cache_drain(cache);
	cache_maintain(cache, now);
}

bool cache_expect(weakref_cache *cache, const struct cache_entry *fresh)
{
	const struct policy_node *going[2] = {NULL, NULL};

	if (!cache_eviction_try(cache))
		return false;
	const struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);
	if (cache->config.bounded)
		policy_expect(&cache->policy, fresh->policy.hash, going);
	for (int i = 0; i < 2; i++)
		if (going[i] != NULL)
			__builtin_prefetch(&map->at[cache_home(map, going[i]->hash)]);
	return true;
}

/* Takes the eviction's lock, unless somebody has it for this cache, who looks after the ring once more when he has dropped it. */
static bool take_unless_evicting(weakref_cache *cache)
{
	if (likely(cache_eviction_try(cache)))
		return true;
	/* After the try: whose lock it was that made it fail is seen by now. */
	if (likely(atomic_load_explicit(&cache->evicting, memory_order_relaxed)))
		return false;
	cache_eviction_lock(cache);
	return true;
}

void cache_entries_unlock_maintain(weakref_cache *cache, bool evicts, uint64_t now)
{
	cache_entries_unlock(cache);
	if (!evicts) {
		atomic_thread_fence(memory_order_seq_cst);
		evicts = take_unless_evicting(cache);
	}
	if (evicts) {
		cache_maintain(cache, now);
		cache_eviction_unlock(cache);
	}
}

void cache_receive_locked(weakref_cache *cache)
{
	receive(cache);
	evict_locked(cache);
}

void cache_receive_late(weakref_cache *cache)
{
	if (!take_unless_evicting(cache))
		return;
	receive(cache);
	evict(cache);
	cache_eviction_drop(cache);
	/* However fast others come, this thread gets away: who comes after this finds the lock free, or with another thread. */
	if (unlikely(cache_has_comers(cache)) && take_unless_evicting(cache)) {
		cache_entries_lock_too(cache);
		cache_eviction_drop(cache);
		cache_entries_unlock(cache);
	}
}

void cache_unlock_maintain(weakref_cache *cache, uint64_t now)
{
	cache_unlock_inner(cache);
	cache_maintain(cache, now);
	cache_eviction_unlock(cache);
}

/* ---- afterwards ---- */

/* Without memory the policy goes on with what it has. */
static NOINLINE void give_sketch(weakref_cache *cache)
{
	size_t bytes = atomic_exchange_explicit(&cache->wants, 0, memory_order_relaxed);
	void *sketch = bytes != 0 ? heap_alloc_leaf(bytes) : NULL;

	if (sketch == NULL)
		return;
	memset(sketch, 0, bytes);
	cache_eviction_lock(cache);
	policy_sketch_give(&cache->policy, sketch, bytes);
	cache_eviction_unlock(cache);
}

static struct cache_entry *notice_take(weakref_cache *cache)
{
	cache_entries_lock(cache);
	struct cache_entry *entry = atomic_load_explicit(&cache->first, memory_order_relaxed);
	if (entry != NULL) {
		atomic_store_explicit(&cache->first, entry->next, memory_order_relaxed);
		if (entry->next == NULL)
			cache->last = NULL;
	}
	cache_entries_unlock(cache);
	return entry;
}

static void tell(weakref_cache *cache, struct cache_entry *entry)
{
	bool by_word = cache->config.kind <= WEAKREF_KEY_INT;
	weakref_bytes bytes;
	const void *key = by_word ? cache_key(cache, entry, &bytes) : entry->key;
	void *value = entry->left;

	entry->left = NULL;
	entry->next = NULL;
	/* The record of a read may know the entry yet. */
	if (cache->config.weak_keys)
		entry->key = NULL;
	int result = cache->config.listener(key, value, (enum weakref_cause)entry->cause, cache->config.listener_user);
	BASE_KEEP(key);
	BASE_KEEP(entry);
	if (result < 0)
		deliver_failed(result, "removal listener of a cache", cache);
}

static void telling_over(void *data)
{
	struct cache_telling *telling = data;

	cache_thread.tells = telling->outer;
	cache_thread.tells_mark = telling->outer_mark;
}

/* It may read a frame that is no more: not a matter for sanitizers. */
__attribute__((no_sanitize("address", "undefined"))) static NOINLINE uint64_t seal_of(const struct cache_telling *t)
{
	return base_mix(base_mix(base_mix(t->mark ^ (uintptr_t)t->cache) ^ (uintptr_t)t->outer) ^ t->outer_mark);
}

/* Whether the thread is in a listener of this cache. What a listener that was left by longjmp stood in cannot be read any more: those around it
 * say so themselves, once they go on. It may read frames that are no more, too. */
__attribute__((no_sanitize("address", "undefined"))) static NOINLINE bool is_telling(const weakref_cache *cache, const void *here)
{
	uint64_t mark = cache_thread.tells_mark;

	for (const struct cache_telling *t = cache_thread.tells; t != NULL; mark = t->outer_mark, t = t->outer) {
		if (cache_frame_is_left(&t->frame, mark, here) || t->mark != mark || t->seal != seal_of(t)) {
			cache_thread.tells = NULL;
			return false;
		}
		if (t->cache == cache)
			return true;
	}
	return false;
}

static NOINLINE void tell_all(weakref_cache *cache)
{
	struct cache_telling telling = {.cache = cache};
	struct cache_entry *entry;

	if (is_telling(cache, __builtin_frame_address(0)))
		return;
	telling.outer = cache_thread.tells;
	telling.outer_mark = cache_thread.tells_mark;
	telling.mark = cache_frame_mark(&telling.frame);
	telling.seal = seal_of(&telling);
	pthread_cleanup_push(telling_over, &telling);
	while ((entry = notice_take(cache)) != NULL) {
		cache_thread.tells = &telling;
		cache_thread.tells_mark = telling.mark;
		tell(cache, entry);
	}
	pthread_cleanup_pop(1);
}

void cache_after(weakref_cache *cache)
{
	if (unlikely(cache->config.soft_values))
		cache_soft_trim();
	if (unlikely(atomic_load_explicit(&cache->wants, memory_order_relaxed) != 0))
		give_sketch(cache);
	if (unlikely(atomic_load_explicit(&cache->first, memory_order_relaxed) != NULL))
		tell_all(cache);
}

NOINLINE void cache_try_maintain(weakref_cache *cache)
{
	uint64_t now = cache_now(cache);

	if (!cache_eviction_try(cache))
		return;
	drain_own(cache);
	cache_maintain(cache, now);
	cache_eviction_unlock(cache);
	cache_after(cache);
}

void cache_purge(struct slots *slots, void *owner)
{
	weakref_cache *cache = owner;
	uint64_t now = cache_now(cache);

	(void)slots;
	cache_eviction_lock(cache);
	cache_maintain_whole(cache, now);
	cache_eviction_unlock(cache);
	cache_after(cache);
}

int weakref_cache_cleanup(weakref_cache *cache)
{
	int error = cache_check(cache);

	if (error < 0)
		return error;
	uint64_t now = cache_now(cache);
	cache_eviction_lock(cache);
	cache_maintain_whole(cache, now);
	cache_eviction_unlock(cache);
	cache_after(cache);
	return 0;
}

/* ---- checks ---- */

void cache_check_locked(const weakref_cache *cache)
{
	const struct cache_map *map = atomic_load_explicit(&cache->map, memory_order_relaxed);

	ASSERT(!cache_has_comers(cache));
	ASSERT(cache->live + cache->loading <= cache->used && cache->used <= map->limit);
	ASSERT((atomic_load_explicit(&cache->first, memory_order_relaxed) == NULL) == (cache->last == NULL));
	if (cache->live > 100)
		return;
	if (cache->recorded)
		policy_check(&cache->policy);
	if (cache->expires)
		wheel_check(cache->wheel);
}

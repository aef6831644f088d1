/* SPDX-License-Identifier: MIT */
/*
 * cache_load: works: loads, reloads and functions of compute, one at a time for each key (cache.h).
 *
 *   work states   begun, its entry names it ──▶ finished, and the result stored
 *                          └── overtaken: the entry names it no more ──▶ finished, and the result is for who waited only
 *
 * Waiters wait on one semaphore: whoever gets through posts it again for the next. One whose time is over has taken nothing: the work knows
 * of no waiters. One that is cancelled has taken no post, but may have been the one that a post woke: it posts as well. A thread that ends
 * in a work finishes it as abandoned; those who waited to share what it would load then try themselves.
 *
 * A work whose function was left by longjmp is abandoned as well, as soon as that is found (cache_inside.c). Where the thread has ended by then,
 * it did not come here: the work is finished while its entry names it, and whoever comes to the entry takes it off.
 *
 * A thread that would wait for itself, directly or through the works of others, gets EDEADLK: who waits for what is written down, and
 * followed before each wait, under one lock for all caches. A work becomes finished under the same lock, so whose it is can be looked
 * at as long as it is not. A wait with a time limit is like any other; one that may take no time is none, and nobody else is told of it.
 *
 * A reload that an executor has is begun by whoever runs its task and finds it not overtaken. Until then nobody waits for it, and anybody
 * may overtake it: so little depends on an executor. What the executor got is a block that only it holds: when the collector has taken that,
 * the task was dropped, and the reload has failed.
 *
 * Who has begun a work tells of nothing before it is over: in a listener, which may end the thread, nobody would finish it, and it could not have
 * that key.
 *
 * Who has a work holds back what he would deliver at allocations of the library's: a callback that left by longjmp there would leave the
 * key to nobody. What the program allocates in its loader is its own affair. Nor does he wait for callbacks that the delivery thread runs:
 * they may wait for his key.
 *
 * In a child after fork, works of threads that are not there are recognised by lock_forks, and taken off.
 *
 * Locks: the cache's (cache.h); cache_waits alone.
 */
#include "cache.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "deliver.h"

static struct lock_word *waits_lock(void)
{
	return lock_word(0);
}

/* ---- waiting ---- */

/* Whether this thread, waiting for a work, would wait for itself. */
static bool deadlock_locked(const struct cache_work *work)
{
	while (work != NULL && !work->finished && work->owner != NULL) {
		if (work->owner == &cache_thread)
			return true;
		work = work->owner->waits;
	}
	return false;
}

static void wait_over(void)
{
	lock_word_take(waits_lock());
	cache_thread.waits = NULL;
	lock_word_drop(waits_lock());
}

/* The semaphore does not wake another one in the place of a waiter that it woke, and that is cancelled before it can take the post. */
static void wait_cancelled(void *data)
{
	struct cache_work *work = data;

	wait_over();
	if (work->finished)
		sem_post(&work->done);
}

static bool is_over(uint64_t deadline)
{
	return deadline != BASE_FOREVER && base_now() >= deadline;
}

int cache_work_wait(struct cache_work *work, uint64_t deadline)
{
	bool posted = false, waits = !is_over(deadline);

	lock_word_take(waits_lock());
	bool deadlock = deadlock_locked(work);
	if (!deadlock && waits)
		cache_thread.waits = work;
	lock_word_drop(waits_lock());
	if (deadlock)
		return -WEAKREF_EDEADLK;
	pthread_cleanup_push(wait_cancelled, work);
	for (; waits && !posted; waits = !is_over(deadline))
		posted = base_sleep(&work->done, deadline);
	pthread_cleanup_pop(0);
	if (posted)
		sem_post(&work->done);
	wait_over();
	/* What has ended in the last moment is there. */
	return work->finished ? 0 : -WEAKREF_ETIMEDOUT;
}

/* ---- beginning ---- */

/* A key of its own for a work that is an entry's. */
static void key_of_entry(struct cache_work *work, const struct cache_entry *entry)
{
	weakref_cache *cache = work->cache;

	work->key = cache_key(cache, entry, &work->bytes);
	work->ready = (struct table_key){.data = entry->key, .word = entry->word, .hash = entry->policy.hash};
	if (cache->config.kind <= WEAKREF_KEY_BYTES)
		work->ready = (struct table_key){.data = cache_bytes(cache, entry), .size = entry->size, .hash = entry->policy.hash};
	else if (cache->config.weak_keys)
		work->ready.data = work->key;
}

void cache_count_load(weakref_cache *cache, uint64_t began, bool success)
{
	struct cache_counts *counts = &cache->counts;

	if (!cache->config.records)
		return;
	atomic_fetch_add_explicit(success ? &counts->load_successes : &counts->load_failures, 1, memory_order_relaxed);
	if (began != 0)
		atomic_fetch_add_explicit(&counts->load_time_ns, base_now() - began, memory_order_relaxed);
}

static void count_outcome(const struct cache_work *work, bool success)
{
	if (work->counted)
		cache_count_load(work->cache, work->began, success);
}

/* Lets go of those that wait. */
static void conclude(struct cache_work *work, void *value, int error)
{
	lock_word_take(waits_lock());
	work->value = value;
	work->error = error;
	work->finished = true;
	lock_word_drop(waits_lock());
	sem_post(&work->done);
}

static struct cache_work *work_new(weakref_cache *cache, const void *key, const struct table_key *ready, enum cache_work_kind kind)
{
	struct cache_work *work = heap_alloc(sizeof *work);

	if (work == NULL)
		return NULL;
	cache_inside_ready();
	work->cache = cache;
	work->key = key;
	work->ready = *ready;
	work->kind = kind;
	work->owner = &cache_thread;
	work->forks = lock_forks;
	sem_init(&work->done, 0, 0);
	return work;
}

/* Whether the thread of a work that is its entry's is not in this process, or has ended without a word. */
static bool is_orphan(const struct cache_work *work)
{
	return work->forks != lock_forks || work->finished;
}

void cache_overtake_locked(weakref_cache *cache, struct cache_entry *entry)
{
	struct cache_work *work = entry->work;

	if (likely(work == NULL))
		return;
	entry->work = NULL;
	/* What has not begun has nothing to take back. */
	if (work->level && !is_orphan(work) && work->owner != NULL) {
		work->stands_aside = true;
		cache_aside_add_locked(cache, &work->inside.aside, entry->policy.hash, false);
	}
}

/* Takes off the work of a thread that is no more. Whether the entry is there yet. */
static bool settle_orphan_locked(weakref_cache *cache, struct cache_entry *entry)
{
	if (likely(entry->work == NULL || !is_orphan(entry->work)))
		return true;
	bool computed = entry->work->kind == CACHE_COMPUTE;
	cache_overtake_locked(cache, entry);
	if (cache_state(entry) == CACHE_LOADING) {
		cache_remove_locked(cache, entry, WEAKREF_CAUSE_EXPLICIT);
		return false;
	}
	if (computed)
		cache_track(cache, entry);
	cache_open_locked(cache, entry);
	return true;
}

/* Waits for the work of an entry, if it is not a reload. As cache_await_locked. */
int cache_await_locked(weakref_cache *cache, struct cache_entry *entry)
{
	if (likely(entry == NULL || entry->work == NULL))
		return 0;
	struct cache_work *work = entry->work;
	if (!settle_orphan_locked(cache, entry)) {
		cache_unlock(cache);
		return 1;
	}
	if (entry->work == NULL || work->kind == CACHE_RELOAD)
		return 0;
	cache_unlock(cache);
	int error = cache_work_wait(work, BASE_FOREVER);
	BASE_KEEP(work);
	return error < 0 ? error : 1;
}

/* The entry as a work finds it, closed: what is expired, collected, or a dead thread's, is taken out first. */
static struct cache_entry *sound_locked(weakref_cache *cache, struct cache_entry *entry, uint64_t now, void **value)
{
	*value = NULL;
	if (entry == NULL || !settle_orphan_locked(cache, entry))
		return NULL;
	cache_close_locked(cache, entry);
	if (cache_state(entry) == CACHE_LOADING)
		return entry;
	*value = cache_value(entry);
	bool expired = cache_expired(cache, entry, now);
	if (*value != NULL && !expired)
		return entry;
	*value = NULL;
	/* What is being computed stays, but is not found. */
	if (cache_is_computed_locked(entry))
		return entry;
	cache_remove_locked(cache, entry, expired ? WEAKREF_CAUSE_EXPIRED : WEAKREF_CAUSE_COLLECTED);
	return NULL;
}

static void attach_locked(struct cache_work *work, struct cache_entry *entry, bool level)
{
	weakref_cache *cache = work->cache;

	cache_overtake_locked(cache, entry);
	entry->work = work;
	work->entry = entry;
	work->level = level && cache_level_open_locked(cache, entry->policy.hash);
	if (work->kind == CACHE_COMPUTE && cache_state(entry) == CACHE_LIVE)
		cache_untrack(cache, entry);
}

/* What to do with a key's entry, NULL for none: enum cache_begun; CACHE_BUSY: wait for entry->work. */
static int begin_locked(const struct cache_begin *b, struct cache_entry *entry, struct cache_entry *fresh, struct cache_work *work, void *value)
{
	weakref_cache *cache = b->cache;

	if (entry == NULL) {
		if (b->present_only)
			return CACHE_ABSENT;
		/* There is nothing to reload. */
		if (work->kind == CACHE_RELOAD)
			work->kind = CACHE_LOAD;
		if (cache->celled)
			cache_cell_take_locked(cache, fresh, b->key);
		atomic_store_explicit(&fresh->state, CACHE_LOADING, memory_order_relaxed);
		cache->loading++;
		cache_insert_locked(cache, fresh);
		attach_locked(work, fresh, b->level);
		return CACHE_BEGUN;
	}
	if (value != NULL && b->absent_only)
		return CACHE_PRESENT;
	if (entry->work != NULL && entry->work->owner != NULL && (entry->work->kind != CACHE_RELOAD || b->kind == CACHE_RELOAD))
		return b->waits ? CACHE_BUSY : CACHE_JOINED;
	work->old = value;
	attach_locked(work, entry, b->level);
	return CACHE_BEGUN;
}

/* Begins a work for a key that was not there, with the entries' lock alone. Whether it did. */
static bool begin_alone(const struct cache_begin *b, struct cache_seen *seen, struct cache_entry *fresh, struct cache_work *work)
{
	weakref_cache *cache = b->cache;

	if (b->present_only || seen->entry != NULL)
		return false;
	cache_entries_lock(cache);
	bool does = cache_absent_locked(cache, b->ready, seen);
	if (does)
		begin_locked(b, NULL, fresh, work, NULL);
	cache_entries_unlock(cache);
	return does;
}

/* Its function was left. */
static void work_left(struct cache_inside *inside, bool ended)
{
	struct cache_work *work = (struct cache_work *)inside;

	if (!ended) {
		/* The caller's key may have stood in the frames that are no more. */
		key_of_entry(work, work->entry);
		cache_work_abandoned(work);
		return;
	}
	/* What it may have written stays closed to others where it was overtaken. */
	inside->aside.gone = !work->wrote;
	work->abandoned = true;
	count_outcome(work, false);
	conclude(work, NULL, -WEAKREF_ECANCELED);
}

/* It is its thread's, with no lock held. */
static int begun(const struct cache_begin *b, struct cache_work *work, struct cache_work **out)
{
	cache_inside_begin(&work->inside, b->frame, work_left);
	*out = work;
	work->began = base_now();
	return CACHE_BEGUN;
}

int cache_work_begin(const struct cache_begin *b, struct cache_work **out, void **value)
{
	weakref_cache *cache = b->cache;
	struct cache_seen seen;

	*out = NULL;
	*value = NULL;
	/* What could not be stored is not made. */
	if (cache_key_check(cache, b->key) < 0)
		return b->present_only ? CACHE_ABSENT : -WEAKREF_EINVAL;
	struct cache_work *work = work_new(cache, b->key, b->ready, b->kind);
	struct cache_entry *fresh = work == NULL ? NULL : cache_entry_new(cache, b->ready);
	if (fresh == NULL)
		return -errno;
	work->counted = b->counted;
	for (;;) {
		uint64_t now = cache_now(cache);
		int result = cache_see(cache, b->ready, &seen);
		if (result == 0 && begin_alone(b, &seen, fresh, work))
			return begun(b, work, out);
		if (result == 0)
			result = cache_lock_seen(cache, b->ready, true, &seen);
		if (result < 0)
			return result;
		struct cache_entry *entry = sound_locked(cache, seen.entry, now, value);
		result = begin_locked(b, entry, fresh, work, *value);
		*out = entry != NULL ? entry->work : NULL;
		if (entry != NULL)
			cache_open_locked(cache, entry);
		cache_unlock(cache);
		if (result == CACHE_BEGUN)
			return begun(b, work, out);
		if (result != CACHE_BUSY)
			cache_after(cache);
		if (result != CACHE_BUSY)
			return result;
		result = cache_work_wait(*out, BASE_FOREVER);
		if (result < 0)
			return result;
	}
}

/* ---- the end ---- */

/* Stores what was loaded with the entries' lock alone. Whether it did. */
static bool complete_alone(const struct cache_work *work, const struct cache_write *w, uint64_t now)
{
	weakref_cache *cache = work->cache;
	struct cache_entry *entry = work->entry;
	bool evicts = cache_expect(cache, entry);

	cache_entries_lock(cache);
	bool does = cache_state(entry) == CACHE_LOADING && entry->work == work && cache_has_place_locked(cache);
	if (does) {
		cache_complete_locked(cache, entry, w, now);
		cache_come_locked(cache, entry);
	}
	cache_entries_unlock_maintain(cache, evicts, now);
	return does;
}

/* Stores the outcome of a work that is its entry's. */
static void settle_locked(struct cache_work *work, struct cache_write *w, int error, uint64_t now)
{
	weakref_cache *cache = work->cache;
	struct cache_entry *entry = work->entry;
	bool loading = cache_state(entry) == CACHE_LOADING;

	entry->work = NULL;
	if (error == 0 && w->value != NULL) {
		if (loading) {
			cache_complete_locked(cache, entry, w, now);
			cache_track(cache, entry);
		} else {
			cache_write_locked(cache, entry, w, now);
		}
	} else if (loading) {
		cache_remove_locked(cache, entry, WEAKREF_CAUSE_EXPLICIT);
	} else if (error == 0) {
		cache->invalidations++;
		cache_remove_locked(cache, entry, cache_cause(cache, entry, WEAKREF_CAUSE_EXPLICIT, now));
	} else if (work->kind == CACHE_COMPUTE) {
		cache_track(cache, entry);
	}
	cache_open_locked(cache, entry);
}

/* The same with all locks, where it still is its entry's: whether it was. Without memory *error is that. */
static bool settle(struct cache_work *work, struct cache_write *w, int *error, uint64_t now)
{
	weakref_cache *cache = work->cache;

	if (*error == 0)
		*error = cache_lock_room(cache);
	if (*error < 0)
		cache_lock(cache);
	bool stored = work->entry->work == work;
	if (stored)
		settle_locked(work, w, *error, now);
	cache_unlock_maintain(cache, now);
	return stored;
}

/* A work that was overtaken has what it wrote forgotten, before others use the second level for its key again. */
static void step_back(struct cache_work *work)
{
	weakref_cache *cache = work->cache;

	if (work->wrote)
		cache_level_remove(cache, work->key);
	work->wrote = false;
	cache_lock(cache);
	if (work->stands_aside)
		cache_aside_remove_locked(cache, &work->inside.aside);
	work->stands_aside = false;
	cache_unlock(cache);
}

int cache_work_finish(struct cache_work *work, void *value, int error)
{
	weakref_cache *cache = work->cache;
	struct cache_entry *entry = work->entry;
	struct cache_write w = {.key = work->key, .value = value};

	if (work->finished)
		return work->error;
	const void *held = deliver_hold(__builtin_frame_address(0));
	uint64_t now = cache_now(cache);
	if (cache_state(entry) == CACHE_LOADING)
		w.fresh = entry;
	if (error == 0 && value != NULL)
		error = cache_write_prepare(cache, &work->ready, work->old != NULL ? entry : NULL, now, &w);
	if (error == 0 && value != NULL && work->level && work->kind != CACHE_COMPUTE && !work->wrote) {
		work->wrote = true;
		cache_level_put(cache, work->key, value);
	}
	bool stored = error == 0 && value != NULL && cache_lives(cache, &w) && complete_alone(work, &w, now);
	if (!stored)
		stored = settle(work, &w, &error, now);
	if (!stored && (work->stands_aside || work->wrote))
		step_back(work);
	count_outcome(work, error == 0 && value != NULL);
	cache_inside_end(&work->inside);
	conclude(work, error == 0 ? value : NULL, error);
	deliver_hold(held);
	cache_after(cache);
	return error;
}

void cache_work_abandoned(void *data)
{
	struct cache_work *work = data;

	/* It may have ended in the listener, when all was over. */
	if (work->finished)
		return;
	work->abandoned = true;
	cache_work_finish(work, NULL, -WEAKREF_ECANCELED);
}

/* ---- loading ---- */

static int run_load(struct cache_work *work, weakref_cache_load_fn load, void *user, void **value)
{
	const void *awaited = deliver_awaited_begin(__builtin_frame_address(0));
	int error = -WEAKREF_ENOENT;
	void *made = NULL;

	pthread_cleanup_push(cache_work_abandoned, work);
	if (work->level) {
		error = cache_level_get(work->cache, work->key, &made);
		work->wrote = error == 0; /* it has it already */
	}
	if (error < 0) {
		made = NULL;
		error = load(work->key, &made, user);
		if (error >= 0)
			error = made == NULL ? -WEAKREF_ENOENT : 0;
	}
	error = cache_work_finish(work, made, error);
	pthread_cleanup_pop(0);
	deliver_awaited_end(awaited);
	*value = error == 0 ? made : NULL;
	return error;
}

int cache_load(weakref_cache *cache, const void *key, const struct table_key *ready, weakref_cache_load_fn load, void *user, bool counted,
	       double seconds, void **value)
{
	uint64_t deadline = seconds == 0 ? 0 : base_deadline(seconds);
	struct cache_frame frame;
	struct cache_begin b = {.cache = cache,
				.frame = &frame,
				.key = key,
				.ready = ready,
				.kind = CACHE_LOAD,
				.absent_only = true,
				.level = true,
				.counted = counted};
	struct cache_work *work;

	cache_frame_mark(&frame);
	for (;;) {
		int result = cache_work_begin(&b, &work, value);
		if (result == CACHE_BEGUN) {
			int error = run_load(work, load, user, value);
			BASE_KEEP(&frame);
			return error;
		}
		if (result != CACHE_JOINED)
			return result < 0 ? result : 0;
		int error = cache_work_wait(work, deadline);
		if (error < 0)
			return error;
		if (cache_work_gave_nothing(work))
			continue;
		*value = work->value;
		return work->error < 0 ? work->error : work->value == NULL ? -WEAKREF_ENOENT : 0;
	}
}

/* A string that was not found, and any other key, which is made ready for the look-up and the load: the program's hash is asked once.
 * Not inlined: a hit of a string would set up what it needs of the stack. */
static NOINLINE int get_slowly(weakref_cache *cache, const void *key, weakref_cache_load_fn load, void *user, double seconds, void **value)
{
	struct table_key ready;
	int error = cache_enter(cache, key, &ready);

	cache_forget_left();
	*value = NULL;
	if (error == 0 && !cache->strings) {
		error = cache_look_up_ready(cache, &ready, value);
		if (error != -WEAKREF_ENOENT)
			return error;
		error = 0;
	}
	if (error == 0)
		error = cache_load(cache, key, &ready, load, user, true, seconds, value);
	BASE_KEEP(key);
	if (error < 0)
		*value = NULL;
	return error;
}

static inline int get(weakref_cache *cache, const void *key, weakref_cache_load_fn load, void *user, double seconds, void **value)
{
	int error;

	if (unlikely(value == NULL))
		return -WEAKREF_EINVAL;
	if (likely(cache_is(cache) && cache->strings)) {
		error = cache_look_up(cache, key, value);
		if (likely(error != -WEAKREF_ENOENT))
			return error;
	}
	return get_slowly(cache, key, load, user, seconds, value);
}

/* No look-up: there is no cache, or it has no loader. */
static int get_refused(weakref_cache *cache, void **value)
{
	int error = cache_check(cache);

	if (value != NULL)
		*value = NULL;
	return error < 0 ? error : -WEAKREF_ENOTSUP;
}

int weakref_cache_get(weakref_cache *cache, const void *key, void **value)
{
	if (cache_is(cache) && cache->config.loader.load != NULL)
		return get(cache, key, cache->config.loader.load, cache->config.loader.user, -1, value);
	return get_refused(cache, value);
}

int weakref_cache_get_wait(weakref_cache *cache, const void *key, double seconds, void **value)
{
	if (!isnan(seconds) && cache_is(cache) && cache->config.loader.load != NULL)
		return get(cache, key, cache->config.loader.load, cache->config.loader.user, seconds, value);
	int error = get_refused(cache, value);
	return isnan(seconds) ? -WEAKREF_EINVAL : error;
}

int weakref_cache_get_with(weakref_cache *cache, const void *key, weakref_cache_load_fn load, void *user, void **value)
{
	if (load != NULL)
		return get(cache, key, load, user, -1, value);
	if (value != NULL)
		*value = NULL;
	return -WEAKREF_EINVAL;
}

/* ---- reloading ---- */

static int run_reload(struct cache_work *work)
{
	struct cache_frame frame;
	const void *awaited = deliver_awaited_begin(__builtin_frame_address(0));
	const weakref_cache_loader *loader = &work->cache->config.loader;
	void *made = NULL;
	int error;

	cache_frame_mark(&frame);
	pthread_cleanup_push(cache_work_abandoned, work);
	/* Where it was not begun by this thread, as it calls. */
	if (work->inside.frame == NULL)
		cache_inside_begin(&work->inside, &frame, work_left);
	work->began = base_now();
	if (work->level)
		cache_level_expect(work->cache, work->key);
	error = loader->reload != NULL ? loader->reload(work->key, work->old, &made, loader->user)
				       : loader->load(work->key, &made, loader->user);
	if (error >= 0)
		error = made == NULL ? -WEAKREF_ENOENT : 0;
	error = cache_work_finish(work, made, error);
	pthread_cleanup_pop(0);
	deliver_awaited_end(awaited);
	BASE_KEEP(&frame);
	return error;
}

/* The calling thread begins a reload that an executor had, unless it was overtaken, or begun already. */
static bool take_over(struct cache_work *work)
{
	cache_lock(work->cache);
	bool does = work->entry->work == work && work->owner == NULL;
	if (does)
		work->owner = &cache_thread;
	cache_unlock(work->cache);
	return does;
}

/* What an executor is given. */
struct reload_task {
	struct cache_work *work;
};

static void reload_task(void *arg)
{
	struct reload_task *task = arg;
	struct cache_work *work = task->work;

	if (heap_thread_check() < 0)
		return;
	cache_forget_left();
	cache_inside_ready();
	if (take_over(work))
		run_reload(work);
}

/* The collector has taken a task. If nobody began it, it was dropped. */
static int task_gone(weakref_ref *ref, void *data)
{
	struct cache_work *work = data;
	weakref_cache *cache = work->cache;

	(void)ref;
	cache_lock(cache);
	/* There is none where the entry was gone before the reload could begin. */
	bool dropped = work->entry != NULL && work->entry->work == work && work->owner == NULL;
	if (dropped) {
		cache_overtake_locked(cache, work->entry);
		cache_open_locked(cache, work->entry);
	}
	cache_unlock(cache);
	if (dropped)
		count_outcome(work, false);
	return 0;
}

/* A task for a work that is nobody's entry's yet. NULL: no memory. */
static struct reload_task *task_new(struct cache_work *work)
{
	struct reload_task *task = heap_alloc(sizeof *task);

	work->task = task == NULL ? NULL : weakref_ref_new(task, task_gone, work);
	if (work->task == NULL)
		return NULL;
	task->work = work;
	work->owner = NULL;
	return task;
}

/* Whether nobody reloads the entry that has a work: its thread is no more. */
static bool nobody_reloads(weakref_cache *cache, struct cache_entry *entry, const struct cache_work *work)
{
	if (likely(!is_orphan(work)) || !cache_eviction_try(cache))
		return false;
	cache_entries_lock_too(cache);
	bool over = cache_state(entry) == CACHE_LIVE && settle_orphan_locked(cache, entry) && entry->work == NULL;
	cache_unlock(cache);
	return over;
}

static bool is_due(const weakref_cache *cache, const struct cache_entry *entry, uint64_t now)
{
	uint64_t written = atomic_load_explicit(&entry->written, memory_order_relaxed);

	return now >= written && now - written >= cache_time(cache, WEAKREF_CACHE_REFRESH);
}

NOINLINE void cache_refresh_due(weakref_cache *cache, struct cache_entry *entry, uint64_t now)
{
	const struct table_key none = {0};

	if (!is_due(cache, entry, now))
		return;
	cache_forget_left();
	const struct cache_work *there = __atomic_load_n(&entry->work, __ATOMIC_RELAXED);
	/* Another entry may have taken its place by now. */
	if ((uintptr_t)there == CACHE_DISPLACED || (there != NULL && !nobody_reloads(cache, entry, there)))
		return;
	/* Without memory, the next one does it. */
	const struct cache_config *config = &cache->config;
	struct cache_work *work = work_new(cache, NULL, &none, CACHE_RELOAD);
	struct reload_task *task = work == NULL || config->executor == NULL ? NULL : task_new(work);
	if (work == NULL || (config->executor != NULL && task == NULL))
		return;
	key_of_entry(work, entry);
	work->counted = true;
	cache_lock(cache);
	/* It may have been written meanwhile, where it stands. */
	cache_close_locked(cache, entry);
	work->old = cache_value(entry);
	bool begun = cache_state(entry) == CACHE_LIVE && entry->work == NULL && work->old != NULL && is_due(cache, entry, now) &&
		     (work->key != NULL || cache->config.kind == WEAKREF_KEY_INT);
	if (begun)
		attach_locked(work, entry, true);
	cache_open_locked(cache, entry);
	cache_unlock(cache);
	if (!begun)
		return;
	if (task == NULL)
		run_reload(work);
	else if (config->executor(reload_task, task, config->executor_user) < 0)
		reload_task(task);
}

int weakref_cache_refresh(weakref_cache *cache, const void *key)
{
	struct table_key ready;
	struct cache_frame frame;
	struct cache_work *work;
	void *value;
	int error = cache_enter(cache, key, &ready);

	if (error < 0)
		return error;
	if (cache->config.loader.load == NULL)
		return -WEAKREF_ENOTSUP;
	cache_forget_left();
	cache_frame_mark(&frame);
	struct cache_begin b = {.cache = cache, .frame = &frame, .key = key, .ready = &ready, .kind = CACHE_RELOAD, .level = true, .counted = true};
	do {
		int result = cache_work_begin(&b, &work, &value);
		if (result < 0)
			return result;
		if (result == CACHE_BEGUN) {
			error = work->kind == CACHE_RELOAD ? run_reload(work)
							   : run_load(work, cache->config.loader.load, cache->config.loader.user, &value);
			BASE_KEEP(&frame);
			return error;
		}
		error = cache_work_wait(work, BASE_FOREVER);
		if (error < 0)
			return error;
	} while (cache_work_gave_nothing(work));
	return work->error;
}

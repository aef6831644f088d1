/* SPDX-License-Identifier: MIT */
/*
 * check_cache_eviction: entries that come while another thread has the lock of a cache's eviction (cache.h). That thread is this program's
 * first one here, which takes the lock and does nothing with it, so that what is rare is certain. It looks after who came when it gives the
 * lock back by cache_eviction_unlock; after `leave` nobody has looked yet, as where the lock was another cache's that shares it. And how far a
 * cache's map has to be searched.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <stdatomic.h>
#include <time.h>

#include "cache.h"
#include "cache_fixture.h"

#define ROOM 8
#define NEW 100 /* the first key of who comes */

static _Atomic size_t done;

static int count(const void *key, void *value, enum weakref_cause cause, void *user)
{
	return listen_by_cause(key, value, cause, user);
}

static void cache_of(const char *spec)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);

	ck_assert_int_eq(weakref_cache_builder_spec(b, spec), 0);
	ck_assert_int_eq(weakref_cache_builder_removal_listener(b, count, NULL), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
	memset(told_by_cause, 0, sizeof told_by_cause);
	now_ns = SECOND;
	done = 0;
}

/* Room for ROOM entries, all taken; who comes meanwhile need not wait for a larger map. */
static void full_cache(const char *spec)
{
	cache_of(spec);
	for (int i = 0; i < ROOM; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), thing((size_t)i)), 0);
}

/* Gives the lock back without a look at who came. */
static void leave(void)
{
	lock_eviction_drop(cache->eviction);
}

static size_t live(void)
{
	cache_entries_lock(cache);
	size_t n = cache->live;
	cache_entries_unlock(cache);
	return n;
}

static unsigned told(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i <= WEAKREF_CAUSE_SIZE; i++)
		n += told_by_cause[i];
	return n;
}

static int put_many(void *arg)
{
	size_t n = *(const size_t *)arg;

	for (size_t i = 0; i < n; i++) {
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(NEW + (intptr_t)i), thing(NEW + i)) == 0);
		SUPPORT_REQUIRE(n > CACHE_COMERS || weakref_cache_get_if_present(cache, KEY(NEW + (intptr_t)i)) == thing(NEW + i));
		atomic_fetch_add(&done, 1);
	}
	return 0;
}

static int load(const void *key, void **value, void *user)
{
	(void)user;
	*value = thing((size_t)(uintptr_t)key);
	return 0;
}

static int load_many(void *arg)
{
	size_t n = *(const size_t *)arg;
	void *value;

	for (size_t i = 0; i < n; i++) {
		SUPPORT_REQUIRE(weakref_cache_get_with(cache, KEY(NEW + (intptr_t)i), load, NULL, &value) == 0);
		SUPPORT_REQUIRE(value == thing(NEW + i));
		SUPPORT_REQUIRE(weakref_cache_get_if_present(cache, KEY(NEW + (intptr_t)i)) == value);
	}
	return 0;
}

/* n come by fn on another thread while this one has the lock. */
static void come(support_fn fn, size_t n)
{
	cache_eviction_lock(cache);
	int failed = support_on_thread(fn, &n);
	leave();
	ck_assert_int_eq(failed, 0);
}

/* Who comes meanwhile does not wait, and is there at once; who gives the lock back takes out what is too much. */
START_TEST(test_comers_do_not_wait)
{
	size_t n = CACHE_COMERS;

	full_cache("maximumSize=8,initialCapacity=100");
	cache_eviction_lock(cache);
	int failed = support_on_thread(put_many, &n);
	size_t meanwhile = live();
	cache_eviction_unlock(cache);
	ck_assert_int_eq(failed, 0);
	ck_assert_uint_eq(meanwhile, ROOM + n);
	ck_assert_uint_eq(live(), ROOM);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_SIZE], n);
	ck_assert_uint_eq(told(), n);
	ck_assert_uint_eq(weakref_cache_len(cache), ROOM);
}
END_TEST

START_TEST(test_loads_do_not_wait)
{
	full_cache("maximumSize=8,initialCapacity=100");
	come(load_many, CACHE_COMERS);
	ck_assert_uint_eq(live(), ROOM + CACHE_COMERS);
	ck_assert_uint_eq(weakref_cache_len(cache), ROOM);
}
END_TEST

static void *put_more(void *failed)
{
	size_t n = CACHE_COMERS + 9;

	*(int *)failed = put_many(&n);
	return NULL;
}

static void *clean_up(void *failed)
{
	*(int *)failed = weakref_cache_cleanup(cache);
	return NULL;
}

static void moment(void)
{
	struct timespec left = {.tv_nsec = 20000000};

	while (nanosleep(&left, &left) != 0)
		;
}

/* Who evicts stands at the first that is to go, and the policy knows all that came: as long as they are there, nobody comes in their stead. */
START_TEST(test_a_place_is_free_when_there_is_room)
{
	size_t n = CACHE_COMERS;
	pthread_t thread;
	int failed = 1;

	full_cache("maximumSize=8,initialCapacity=100");
	cache_eviction_lock(cache);
	int came = support_on_thread(put_many, &n), error = pthread_create(&thread, NULL, clean_up, &failed);
	cache_entries_lock(cache);
	leave();
	while (error == 0 && cache_has_comers(cache))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	size_t meanwhile = cache->live;
	bool place = cache_has_place_locked(cache);
	cache_entries_unlock(cache);
	ck_assert_int_eq(came, 0);
	ck_assert_int_eq(error, 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(failed, 0);
	ck_assert_uint_eq(meanwhile, ROOM + CACHE_COMERS);
	ck_assert(!place);
	ck_assert_uint_eq(live(), ROOM);
	ck_assert_uint_eq(told(), CACHE_COMERS);
}
END_TEST

/* fn begins while this thread has the lock of a cache, and has time to come to an end; then this one gives it back. */
static void begin_meanwhile(weakref_cache *locked, void *(*fn)(void *failed))
{
	pthread_t thread;
	int failed = 1;

	cache_eviction_lock(locked);
	int error = pthread_create(&thread, NULL, fn, &failed);
	moment();
	cache_eviction_unlock(locked);
	ck_assert_int_eq(error, 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(failed, 0);
}

static void *put_three(void *failed)
{
	*(int *)failed = 0;
	for (intptr_t i = 0; i < 3; i++)
		*(int *)failed |= weakref_cache_put(cache, KEY(NEW + i), thing(NEW));
	return NULL;
}

static void *load_three(void *failed)
{
	void *value;

	*(int *)failed = 0;
	for (intptr_t i = 0; i < 3; i++)
		*(int *)failed |= weakref_cache_get_with(cache, KEY(NEW + i), load, NULL, &value);
	return NULL;
}

/* Who has the lock of another cache, which is the same, does not look after those of this one. */
START_TEST(test_a_lock_that_two_caches_share)
{
	weakref_cache *others[2000];
	size_t n = 0;

	full_cache("maximumSize=8,initialCapacity=100");
	do {
		weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
		others[n] = weakref_cache_builder_build(b);
		ck_assert_ptr_nonnull(others[n]);
	} while (others[n]->eviction != cache->eviction && ++n < sizeof others / sizeof others[0]);
	ck_assert_uint_lt(n, sizeof others / sizeof others[0]);
	begin_meanwhile(others[n], put_three);
	ck_assert_uint_eq(live(), ROOM);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_SIZE], 3);
	begin_meanwhile(others[n], load_three);
	ck_assert_uint_eq(live(), ROOM);
	SUPPORT_KEEP(others);
}
END_TEST

/* What has no time to live is out when the write is over, and told of. */
START_TEST(test_no_time_to_live)
{
	cache_of("maximumSize=64,initialCapacity=100,expireAfterWrite=0s");
	begin_meanwhile(cache, put_three);
	ck_assert_uint_eq(live(), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 3);
	begin_meanwhile(cache, load_three);
	ck_assert_uint_eq(live(), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 6);
}
END_TEST

/* No more than CACHE_COMERS are too many: the next one waits. */
START_TEST(test_the_next_one_waits)
{
	pthread_t thread;
	int failed = 1;

	full_cache("maximumSize=8,initialCapacity=100");
	cache_eviction_lock(cache);
	int error = pthread_create(&thread, NULL, put_more, &failed);
	while (error == 0 && atomic_load(&done) < CACHE_COMERS)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	moment();
	size_t meanwhile = atomic_load(&done), there = live();
	cache_eviction_unlock(cache);
	ck_assert_int_eq(error, 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(failed, 0);
	ck_assert_uint_eq(meanwhile, CACHE_COMERS);
	ck_assert_uint_eq(there, ROOM + CACHE_COMERS);
	ck_assert_uint_eq(weakref_cache_len(cache), ROOM);
	ck_assert_uint_eq(atomic_load(&done), CACHE_COMERS + 9);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(told(), CACHE_COMERS + 9);
}
END_TEST

/* Whatever is done to the cache next finds the policy in the know, and each entry is told of once. */
START_TEST(test_any_call_looks_after_them)
{
	void *value;

	for (int call = 0; call < 8; call++) {
		size_t left = ROOM;
		full_cache("maximumSize=8,initialCapacity=100");
		come(put_many, 20);
		switch (call) {
		case 0:
			ck_assert_int_eq(weakref_cache_put(cache, KEY(NEW + 3), thing(0)), 0);
			break;
		case 1:
			ck_assert_int_ge(weakref_cache_remove(cache, KEY(NEW + 3), NULL, &value), 0);
			break;
		case 2:
			ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(NEW + 3)), 0);
			break;
		case 3:
			ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
			left = 0;
			break;
		case 4:
			ck_assert_int_eq(weakref_cache_policy_set_maximum(cache, 2), 0);
			left = 2;
			break;
		case 5:
			ck_assert_ptr_nonnull(weakref_cache_put_if_absent(cache, KEY(NEW + 99), thing(1)));
			break;
		case 6: {
			weakref_cache_policy policy;
			ck_assert_int_eq(weakref_cache_policy_get(cache, &policy), 0);
			ck_assert_uint_eq(policy.weight, ROOM);
			break;
		}
		default: {
			weakref_pair pairs[2 * ROOM];
			ck_assert_int_eq(weakref_cache_policy_order(cache, true, pairs, 2 * ROOM), ROOM);
			break;
		}
		}
		ck_assert_uint_le(weakref_cache_len(cache), left);
		ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
		/* One was replaced, or came besides. */
		ck_assert_uint_eq(told(), ROOM + 20 + (call == 5 || (call == 0 && told_by_cause[WEAKREF_CAUSE_REPLACED] != 0)) +
						  (call == 0 && told_by_cause[WEAKREF_CAUSE_REPLACED] == 0));
		ck_assert_uint_eq(weakref_cache_len(cache), 0);
	}
}
END_TEST

START_TEST(test_they_expire)
{
	cache_of("maximumSize=64,initialCapacity=100,expireAfterWrite=10s");
	come(put_many, 20);
	now_ns += 9 * SECOND;
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 20);
	now_ns += SECOND;
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPIRED], 20);
}
END_TEST

static int put_mortal(void *arg)
{
	size_t n = *(const size_t *)arg;

	for (size_t i = 0; i < n; i++)
		SUPPORT_REQUIRE(weakref_cache_put(cache, KEY(NEW + (intptr_t)i), support_node_new(i)) == 0);
	support_scrub();
	return 0;
}

/* Values that a collection takes before anybody looked after their entries. */
START_TEST(test_they_are_collected)
{
	cache_of("maximumSize=64,initialCapacity=100,weakValues");
	/* The first one makes room for all. */
	void *first = support_node_new(0);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(0), first), 0);
	ck_assert_int_eq(weakref_cache_invalidate(cache, KEY(0)), 0);
	SUPPORT_KEEP(first);
	come(put_mortal, CACHE_COMERS);
	support_collect();
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
	ck_assert_uint_le(weakref_cache_len(cache), SUPPORT_SLACK);
	ck_assert_uint_ge(told_by_cause[WEAKREF_CAUSE_COLLECTED], CACHE_COMERS - SUPPORT_SLACK);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(told(), CACHE_COMERS + 1);
}
END_TEST

static int child_goes_on(void *arg)
{
	size_t n = 5;

	(void)arg;
	SUPPORT_REQUIRE(weakref_cache_len(cache) == ROOM);
	SUPPORT_REQUIRE(put_many(&n) == 0);
	SUPPORT_REQUIRE(weakref_cache_len(cache) == ROOM);
	return 0;
}

/* A child finds them as its parent left them. */
START_TEST(test_a_child_looks_after_them)
{
	full_cache("maximumSize=8,initialCapacity=100");
	come(put_many, 20);
	ck_assert_int_eq(support_in_child(child_goes_on, NULL), 0);
	ck_assert_uint_eq(live(), ROOM + 20);
	ck_assert_uint_eq(weakref_cache_len(cache), ROOM);
}
END_TEST

static _Atomic bool reloads, goes_on;

static int reload(const void *key, void *old, void **value, void *user)
{
	(void)key;
	(void)user;
	reloads = true;
	while (!goes_on)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	*value = old;
	return 0;
}

static void *refresh(void *failed)
{
	*(int *)failed = weakref_cache_refresh(cache, KEY(0));
	return NULL;
}

static int child_reloads(void *arg)
{
	(void)arg;
	reloads = false;
	goes_on = true;
	SUPPORT_REQUIRE(weakref_cache_get_if_present(cache, KEY(0)) == thing(0));
	SUPPORT_REQUIRE(reloads);
	SUPPORT_REQUIRE(weakref_cache_len(cache) <= ROOM);
	return 0;
}

/* Nor does it mind that one is reloaded by a thread that it does not have. */
START_TEST(test_a_child_reloads)
{
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	pthread_t thread;
	int failed = 1;

	ck_assert_int_eq(weakref_cache_builder_spec(b, "maximumSize=8,initialCapacity=100,refreshAfterWrite=10s"), 0);
	ck_assert_int_eq(weakref_cache_builder_loader(b, &(weakref_cache_loader){.load = load, .reload = reload}), 0);
	ck_assert_int_eq(weakref_cache_builder_ticker(b, tick, NULL), 0);
	now_ns = SECOND;
	cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
	ck_assert_int_eq(weakref_cache_put(cache, KEY(0), thing(0)), 0);
	reloads = goes_on = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, refresh, &failed), 0);
	while (!reloads)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	come(put_many, 5);
	now_ns += 10 * SECOND;
	ck_assert_int_eq(support_in_child(child_reloads, NULL), 0);
	goes_on = true;
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(failed, 0);
}
END_TEST

/* ---- at random ---- */

#define CROWD 4
#define CROWD_KEYS 200

struct guest {
	uint64_t state;
	size_t puts;
};

static int mingle(void *arg)
{
	struct guest *guest = arg;
	size_t n = support_scaled(20000, 400);

	for (size_t i = 0; i < n; i++) {
		uint64_t draw = support_random(&guest->state);
		const void *key = KEY((intptr_t)(draw >> 8) % CROWD_KEYS);
		void *value = thing(1 + (size_t)(draw >> 40) % 1000);
		switch (draw % 8) {
		case 0:
			SUPPORT_REQUIRE(weakref_cache_invalidate(cache, key) == 0);
			break;
		case 1:
			SUPPORT_REQUIRE(weakref_cache_len(cache) <= ROOM);
			/* One is of who evicts. */
			SUPPORT_REQUIRE(live() <= ROOM + CACHE_COMERS + 1);
			break;
		case 2:
			SUPPORT_REQUIRE(weakref_cache_get_with(cache, key, load, NULL, &value) == 0 && value != NULL);
			break;
		default:
			SUPPORT_REQUIRE(weakref_cache_put(cache, key, value) == 0);
			break;
		}
	}
	return 0;
}

/* However many come at once, nobody who counts them finds more than there may be. */
START_TEST(test_never_too_many)
{
	struct guest guests[CROWD];

	for (size_t i = 0; i < CROWD; i++)
		guests[i].state = support_seed() + i;
	full_cache("maximumSize=8,initialCapacity=100");
	ck_assert_uint_eq(support_threads(CROWD, mingle, guests, sizeof guests[0]), 0);
	ck_assert_uint_le(live(), ROOM);
	ck_assert_uint_le(weakref_cache_len(cache), ROOM);
	ck_assert_int_eq(weakref_cache_cleanup(cache), 0);
}
END_TEST

/* A map that has grown is given up with its last entry, so that clearing a cache that was large once costs what is in it now. */
START_TEST(test_cleared_when_large)
{
	const struct cache_map *first, *grown;

	cache_of("initialCapacity=100");
	first = atomic_load(&cache->map);
	for (size_t i = 0; i < 10000; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), thing(0)), 0);
	grown = atomic_load(&cache->map);
	ck_assert_uint_gt(grown->n, first->n);
	ck_assert_int_eq(weakref_cache_invalidate_all(cache), 0);
	ck_assert_uint_eq(told_by_cause[WEAKREF_CAUSE_EXPLICIT], 10000);
	ck_assert_uint_eq(atomic_load(&cache->map)->n, first->n);
	ck_assert_uint_eq(weakref_cache_len(cache), 0);
	for (size_t i = 0; i < 1000; i++)
		ck_assert_int_eq(weakref_cache_put(cache, KEY(i), thing(i)), 0);
	for (size_t i = 0; i < 1000; i++)
		ck_assert_ptr_eq(weakref_cache_get_if_present(cache, KEY(i)), thing(i));
}
END_TEST

/* How many places searches for all keys pass. */
static uint64_t places_passed(void)
{
	const struct cache_map *map = atomic_load(&cache->map);
	uint64_t passed = 0;

	for (size_t i = 0; i < map->n; i++) {
		struct cache_entry *entry = atomic_load(&map->at[i].entry);
		if (entry != NULL && entry != CACHE_GONE)
			passed += (i - cache_home(map, entry->policy.hash)) & (map->n - 1);
	}
	return passed;
}

/* How many bits are 0; or the word of a double. */
#define DOUBLE 64
static const unsigned shifts[] = {0, 8, 32, 40, 44, 48, DOUBLE};

#define SHIFTS ((int)(sizeof shifts / sizeof *shifts))

/* Integers that have something in their upper bits alone, as the words of doubles do, and addresses far apart, are found as others are. */
START_TEST(test_keys_in_upper_bits)
{
	enum weakref_key_kind kind = _i % 2 == 0 ? WEAKREF_KEY_INT : WEAKREF_KEY_POINTER;
	const uint64_t n = 10000;

	cache = weakref_cache_builder_build(weakref_cache_builder_new(kind));
	for (uint64_t i = 1; i <= n; i++) {
		double number = (double)i;
		uint64_t word = i << shifts[_i / 2] % DOUBLE;
		if (shifts[_i / 2] == DOUBLE)
			memcpy(&word, &number, sizeof word);
		ck_assert_int_eq(weakref_cache_put(cache, (const void *)(uintptr_t)word, thing(1)), 0);
	}
	ck_assert_uint_eq(weakref_cache_len(cache), n);
	ck_assert_uint_lt(places_passed(), 8 * n);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache_eviction");
	TCase *t = support_tcase("eviction");

	tcase_add_test(t, test_comers_do_not_wait);
	tcase_add_test(t, test_loads_do_not_wait);
	tcase_add_test(t, test_the_next_one_waits);
	tcase_add_test(t, test_a_place_is_free_when_there_is_room);
	tcase_add_test(t, test_a_lock_that_two_caches_share);
	tcase_add_test(t, test_no_time_to_live);
	tcase_add_test(t, test_any_call_looks_after_them);
	tcase_add_test(t, test_they_expire);
	tcase_add_test(t, test_they_are_collected);
	tcase_add_test(t, test_a_child_looks_after_them);
	tcase_add_test(t, test_a_child_reloads);
	tcase_add_test(t, test_never_too_many);
	tcase_add_test(t, test_cleared_when_large);
	tcase_add_loop_test(t, test_keys_in_upper_bits, 0, 2 * SHIFTS);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

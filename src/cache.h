/* SPDX-License-Identifier: MIT */
/*
 * cache: caches, as their files see them.
 *
 *   cache_builder.c    options, the spec string, making a cache
 *   cache_map.c        entries, the map from key to entry
 *   cache_cell.c       where what is weak stands
 *   cache.c            look-up, put, invalidate
 *   cache_quick.h      the look-up of a string
 *   cache_load.c       loads and functions of compute: one at a time for each key
 *   cache_bulk.c       several keys at once
 *   cache_inside.c     what a thread left by longjmp, or ended in
 *   cache_maintain.c   recency, eviction, expiry, what the collector took, notices
 *   cache_soft.c       soft values: who gives way when the heap is near its limit
 *   cache_level.c      the second level
 *   cache_view.c       the cache as a map: conditional writes, iterators
 *   cache_inspect.c    policy, ages, order
 *   cache_stats.c      figures
 *   cache_policy.[ch], wheel.[ch]   which entry goes; deadlines. They know nothing of this
 *
 * An entry is a block of its own; its key never changes, and a value is replaced by putting another entry in its place. Only
 * where nobody has a say in it (`plain`) a LIVE entry that has no work gets another value itself:
 *
 *   entry states   FRESH ──insert──▶ LIVE ──removed, replaced, evicted, expired, collected──▶ DEAD ──▶ told of, where somebody listens
 *                    └─────────────▶ LOADING ──▶ LIVE, or DEAD where the load failed or was overtaken
 *
 * The map is an open-addressing array of hash and entry, which holds the entries; it never moves one: a full map is replaced by a copy, which
 * readers of the old one do not notice, and one that has grown by a small one when all entries go. The policy's lists and the wheel link
 * the same entries. One that came while another thread had the lock of these is in a ring, until that thread puts it where it belongs.
 *
 * Cells. Where keys or values are weak, they stand in a cell, a slot of a weak array (slots.h), which the entry owns until it is DEAD:
 *     weak values            a slot of weakness VALUE
 *     weak keys              an ephemeron of key and value
 *     both                   a slot of weakness BOTH
 * Word 0 of a cell in use is its entry, hidden from the collector by being where it does not look; of a free one, a link.
 *
 * Works. A load, reload or compute is a work: one for a key, named by the entry (LOADING, or LIVE and busy). Whoever waits for it waits on the
 * work. A write that overtakes it takes the entry out; the work then finds that it is not the entry's any more, and its result goes to who
 * waited for it and nowhere else. An entry that is being computed is in neither policy nor wheel, so that nothing else ends it.
 *
 * Invariants, whenever the locks are free
 *  1. For each key there is at most one entry in the map. All entries in the map are LIVE or LOADING.
 *  2. `live` is the number of LIVE entries. Each is in the policy and, if it has a deadline, in the wheel, unless it is being computed, or
 *     in the ring. Whoever took both by cache_lock finds the ring empty.
 *  3. An entry leaves the map before its state becomes DEAD, and is DEAD before its cell is given away: what a reader finds in a cell is
 *     the entry's if the entry is not DEAD afterwards. Its value is out of the reach of readers after that.
 *  4. A DEAD entry is in the queue of notices once, or, where nobody listens, nowhere.
 *  5. `used` places of the map are not EMPTY, fewer than there are: every probe ends.
 *
 * Locks: two words. `eviction`, the outer one, is for policy, wheel and the heads of the buffers of reads; `lock` for map, cells, states, works
 * and notices. Under them no user function runs and nothing is allocated: what a write may need is made before. What is short and what is
 * frequent takes as few as it can:
 *     both (cache_lock)        whatever changes an entry that is there: all but what follows; a larger map, more cells
 *     `lock` alone             a new key comes in, with its value or its load, whose end is the same (cache_come_locked); a notice goes
 *     `eviction` alone         reads go to the policy, it chooses who goes; that one is closed, and `lock` is taken to end it
 *     the entry's own          a stripe of those of tables: its value is replaced in place, so that writers run side by side. Who has `lock`
 *                              and does something because of an entry's value or times, or ends the entry, closes it before
 * Readers take none; a key that the program compares is looked for without it, and then `inserts` tells whether another
 * came meanwhile. cache_waits guards who waits for whose work; it is taken with no other lock held.
 *
 * Deliberately not here: a thread, a timer, a destructor. A cache is reachable from nothing but its users.
 */
#ifndef CACHE_H
#define CACHE_H

#include <semaphore.h>

#include "base.h"
#include "cache_policy.h"
#include "heap.h"
#include "keys.h"
#include "lock.h"
#include "slots.h"
#include "weakref/cache.h"
#include "weakref/ref.h"
#include "wheel.h"

#define CACHE_SIGNATURE UINT64_C(0x65686361632d6b77) /* "wk-cache" */
#define CACHE_NEVER UINT64_MAX

enum cache_state { CACHE_FRESH, CACHE_LOADING, CACHE_LIVE, CACHE_DEAD };

struct cache_work;

/*
 * Kind ENTRY: words 0, 1, 4, 5 and 8 are scanned. What a hit reads, and what the policy notes of it later, stands together, from `policy` on,
 * in as few lines as can be: the bytes of a key that is copied come as soon as what the cache has need of is over, and what waits for a
 * deadline comes behind them. The policy's lists lead into the block; it is the map that keeps it.
 */
struct cache_entry {
	union {
		struct cache_work *work; /* lock */
		uintptr_t displaced;	 /* DEAD: CACHE_DISPLACED where another took its place */
	};
	const void *key; /* POINTER, CUSTOM; of a DEAD one with weak keys what is told of */
	union {
		uint64_t word; /* of its key */
		uint64_t size; /* of the key, STRING and BYTES */
	};
	_Atomic uint64_t wanted; /* in caches with soft values: when it was used last, by the rough clock */
	union {
		struct policy_node policy; /* its hash is the key's */
		struct {
			void *left;               /* DEAD: the value to be told of */
			struct cache_entry *next; /* DEAD: in the queue of notices */
		};
	};
	union {
		_Atomic(void *) value; /* NULL in what is not LIVE */
		struct slots *bank;    /* `celled`: of its cell */
	};
	uint32_t cell; /* its number */
	_Atomic uint8_t state;
	union {
		uint8_t cause; /* DEAD: enum weakref_cause */
		bool closed;   /* LIVE, in a `plain` cache, where there is no cause: it is not written in place. The entry's own lock */
	};
	bool celled;   /* before anybody sees it */
	/* Where the cache looks at a clock only. The times are nanoseconds of it, and kept where a rule needs them. */
	_Atomic uint64_t written;
	_Atomic uint64_t used; /* when it was read or written last; with a time of its own, when that is over */
};

/* No pointer to that one: through it a DEAD entry that somebody still knows, be it the record of a read, would keep all that came after it. */
#define CACHE_DISPLACED ((uintptr_t)1)

/* How much of it there is in a cache that looks at no clock. */
#define CACHE_ENTRY_SHORT (offsetof(struct cache_entry, celled) + 1)

#define CACHE_OF(member, p) ((struct cache_entry *)((char *)(p) - offsetof(struct cache_entry, member)))

_Static_assert(offsetof(struct cache_entry, policy) == 4 * 8 && offsetof(struct cache_entry, value) == 8 * 8,
	       "the scanned words are those of heap.c's bitmap");
_Static_assert(offsetof(struct policy_node, next) == 8 && offsetof(struct policy_node, queue) >= 16, "what is DEAD is in no queue of the policy");

struct cache_place {
	_Atomic uint64_t hash;
	_Atomic(struct cache_entry *) entry; /* NULL: EMPTY, a probe ends here */
};

struct cache_map {
	size_t n; /* a power of two */
	size_t limit;
	uint64_t unused[6]; /* a cache line */
	struct cache_place at[];
};

/* A line's places are looked at together: where a probe begins. */
#define CACHE_GROUP 4

static inline size_t cache_home(const struct cache_map *map, uint32_t hash)
{
	return hash & (map->n - CACHE_GROUP);
}

/* The hash in a place that was given up: of no key. */
#define CACHE_NO_HASH UINT64_MAX

/* Once was an entry. */
#define CACHE_GONE ((struct cache_entry *)1)

/* Words of a cell; as many as stand before CELL_VALUE where keys are not weak. */
enum { CELL_OWN, CELL_KEY, CELL_VALUE, CELL_WORDS };

#define CACHE_BANK_MAX 16384
/* A cell's number + 1 has 32 bits. */
#define CACHE_BANKS_MAX (UINT32_MAX / CACHE_BANK_MAX)

/* All cells of a cache; cache_cell.c. */
struct cache_cells {
	struct slots **banks;
	size_t nbanks, room;
	uint32_t fresh; /* of the newest bank: cells from here on were never used */
	uint32_t free;  /* the number of a free cell before, + 1; 0 for none */
	uint64_t seen;  /* eviction */
};

#define CACHE_READS 64
/* The most entries that others bring while a thread is about to take out what is too much. A power of two. */
#define CACHE_COMERS 32

/* What a share of the threads did lately: figures, and the last entries that they read, of which some may be missing or there twice. */
struct cache_stripe {
	_Atomic uint32_t tail; /* where the next one is written; the stripe's threads */
	uint32_t head;	       /* what stands before was looked at; lock */
	_Atomic uint64_t hits, misses;
	uint64_t unused[5]; /* a cache line */
	_Atomic(struct cache_entry *) reads[CACHE_READS];
};

/* How often a reader empties the buffers: once in so many reads. */
enum { CACHE_PACE_NONE = 0, CACHE_PACE_EAGER = CACHE_READS / 2, CACHE_PACE_CALM = 2048 };

struct cache_config {
	enum weakref_key_kind kind;
	weakref_hash_fn hash;
	weakref_equal_fn equal;
	void *key_user;
	bool weak_keys, weak_values, soft_values, records;
	bool bounded, weighted;
	uint64_t maximum;
	size_t capacity;
	weakref_cache_weigher_fn weigher;
	void *weigher_user;
	uint64_t times[3]; /* by enum weakref_cache_rule */
	bool ruled[3];     /* it was set, be it to for ever: another time may come */
	weakref_cache_expiry expiry;
	weakref_cache_loader loader;
	weakref_cache_executor_fn executor;
	void *executor_user;
	weakref_cache_listener_fn listener;
	void *listener_user;
	weakref_cache_ticker_fn ticker;
	void *ticker_user;
	weakref_cache_second_level level;
};

/* Figures that are written with the lock, or atomically. */
struct cache_counts {
	_Atomic uint64_t load_successes, load_failures, load_time_ns, evictions, eviction_weight, level_hits, level_errors;
};

/* A key whose entry in the second level is not to be read or written: somebody is about to remove it. */
struct cache_aside {
	struct cache_aside *next, *prev;
	uint32_t hash;
	bool all;
	_Atomic bool gone; /* its thread has ended, and nothing is to be removed: whoever finds it takes it out of the list */
	unsigned forks;
};

/* Stands in the frame of who calls the program's functions, as long as that is not left: cache_inside.c. */
struct cache_frame {
	volatile uint64_t mark[2];
};

/* Something that a thread is in the middle of while it calls the program's functions. The first of its block, which the thread's chain keeps. */
struct cache_inside {
	struct cache_aside aside; /* first: the list of a cache may be all that keeps it */
	struct cache_inside *outer, *inner;
	const struct cache_frame *frame;
	uint64_t mark;
	/* It was left by longjmp: called by its thread, with no lock held. Or, where `ended`, the thread has: see heap_thread_gone_fn. */
	void (*left)(struct cache_inside *inside, bool ended);
};

struct weakref_cache {
	/* What readers look at, and what is rarely written: */
	uint64_t signature; /* written last */
	struct lock_word *lock, *eviction;
	_Atomic(struct cache_map *) map;
	struct cache_stripe *stripes; /* NULL where reads are neither recorded nor counted */
	uint32_t stripe_mask;
	bool timed;    /* somebody looks at the clock */
	bool recorded; /* there is a policy: the order of use matters */
	bool expires;  /* there is a wheel */
	bool celled;
	bool accessed; /* when an entry was used matters, or may */
	bool touched; /* a read writes into the entry: there is a wheel, or values are soft */
	bool busy;    /* a hit is more than its time and a record for the policy */
	bool strings; /* so are the keys */
	bool plain; /* nothing is asked or told of a value, and it is no key's: one may be replaced where it stands */
	uint8_t bytes_at; /* in an entry, the key's bytes */
	_Atomic uint32_t pace;  /* enum CACHE_PACE: whether reads are recorded, and how well */
	_Atomic uint64_t slack; /* readers go by the rough clock, but for so much before a deadline; 0: by the exact one */
	_Atomic uint64_t times[3];
	/* Bulk loads that are under way, and in which process (lock_forks): there nothing is written in place. */
	_Atomic unsigned bulks, bulks_forks;
	struct cache_config config;
	uint64_t unused[8]; /* a cache line */
	/* What writers write all the time: */
	_Atomic size_t wants;     /* bytes that the policy would like to have */
	_Atomic uint64_t inserts; /* places of the map that got an entry */
	size_t used, live, loading;
	struct cache_cells cells;
	/* Entries that came while somebody had the eviction's lock: a ring, written with `lock`, read with `eviction`. How many came, of how many
	 * the policy knows, and for how many there is room: only then another may come in their place. */
	_Atomic uint32_t came, received, settled;
	_Atomic bool evicting; /* somebody has the eviction's lock for this cache, and not for another one that shares it */
	_Atomic(struct cache_entry *) comers[CACHE_COMERS];
	struct policy policy; /* eviction */
	struct wheel *wheel;  /* eviction; not scanned, for the map has all that is in it */
	_Atomic(struct cache_entry *) first; /* notices */
	struct cache_entry *last;
	struct cache_aside *aside;
	unsigned aside_forks;
	uint64_t invalidations; /* lock: how often the program changed or removed keys, but in place */
	struct cache_counts counts;
};

struct cache_thread;

enum cache_work_kind { CACHE_LOAD, CACHE_RELOAD, CACHE_COMPUTE };

struct cache_work {
	struct cache_inside inside; /* its aside stands in the list where it was overtaken */
	weakref_cache *cache;
	struct cache_entry *entry; /* that names it, as long as it is not overtaken */
	const void *key;           /* as the caller knows it; alive */
	struct cache_thread *owner; /* whose it is; NULL while an executor has it and has not begun (lock) */
	weakref_ref *task;          /* of an executor's: what it was given, weakly */
	struct table_key ready;
	weakref_bytes bytes; /* key points here, where a key of kind BYTES is the entry's */
	void *old;                 /* LIVE: the value that there was */
	void *value;               /* its result */
	int error;
	_Atomic bool finished;
	enum cache_work_kind kind;
	unsigned forks;
	bool level;     /* may use the second level */
	bool counted;   /* its time and outcome are figures */
	bool abandoned; /* its thread ended, or was cancelled */
	bool stands_aside; /* lock: overtaken, and in the list */
	bool wrote;     /* to the second level */
	uint64_t began;            /* 0: not yet */
	sem_t done;
};

/* ---- small things ---- */

static inline bool cache_is(const weakref_cache *cache)
{
	return cache != NULL && (uintptr_t)cache % _Alignof(struct weakref_cache) == 0 && cache->signature == CACHE_SIGNATURE;
}

/* 0, -WEAKREF_EPERM or -WEAKREF_EINVAL. */
static inline int cache_check(const weakref_cache *cache)
{
	int error = heap_thread_check();

	if (unlikely(error < 0))
		return error;
	return likely(cache_is(cache)) ? 0 : -WEAKREF_EINVAL;
}

/* A key made ready, as by keys_ready. Of a number's hash tables use the top bits, and it is made for them; what a cache has goes by the lowest,
 * and they would be the same of all numbers that have nothing below bit 40, as the words of doubles do. So the upper half's hash is laid over
 * it: of integers that have none nothing is changed, and in a row they come to lie evenly. */
static inline int cache_ready(const weakref_cache *cache, const void *key, struct table_key *out)
{
	enum weakref_key_kind kind = cache->config.kind;
	int error = keys_ready(kind, cache->config.hash, cache->config.key_user, key, out);

	if (likely(error == 0) && (kind == WEAKREF_KEY_INT || kind == WEAKREF_KEY_POINTER))
		out->hash ^= (uint32_t)(table_number_word((uintptr_t)key >> 32) >> 32);
	return error;
}

/* The arguments of a call with a key: 0 and the key made ready, or an error. */
static inline int cache_enter(const weakref_cache *cache, const void *key, struct table_key *out)
{
	int error = cache_check(cache);

	if (unlikely(error < 0))
		return error;
	return cache_ready(cache, key, out);
}

void cache_check_locked(const weakref_cache *cache);

/* The entries' lock alone. */
static inline void cache_entries_lock(weakref_cache *cache)
{
	lock_word_take(cache->lock);
}

static inline void cache_entries_unlock(weakref_cache *cache)
{
	lock_word_drop(cache->lock);
}

/* Whether entries came that the policy does not know. */
static inline bool cache_has_comers(const weakref_cache *cache)
{
	return atomic_load_explicit(&cache->came, memory_order_seq_cst) != atomic_load_explicit(&cache->received, memory_order_relaxed);
}

/* The eviction's lock alone. Dropping it looks after who came meanwhile. */
static inline void cache_eviction_lock(weakref_cache *cache)
{
	lock_eviction_take(cache->eviction);
	atomic_store_explicit(&cache->evicting, true, memory_order_relaxed);
}

static inline bool cache_eviction_try(weakref_cache *cache)
{
	if (!lock_eviction_try(cache->eviction))
		return false;
	atomic_store_explicit(&cache->evicting, true, memory_order_relaxed);
	return true;
}

/* Where nobody need look after who came. */
static inline void cache_eviction_drop(weakref_cache *cache)
{
	atomic_store_explicit(&cache->evicting, false, memory_order_relaxed);
	lock_eviction_drop(cache->eviction);
}

void cache_receive_late(weakref_cache *cache);

static inline void cache_eviction_unlock(weakref_cache *cache)
{
	cache_eviction_drop(cache);
	if (unlikely(cache_has_comers(cache)))
		cache_receive_late(cache);
}

/* The policy gets to know who came, and who is too much then goes: both locks. */
void cache_receive_locked(weakref_cache *cache);

/* With the eviction's lock, the entries' as well, and nobody on the way between them. */
static inline void cache_entries_lock_too(weakref_cache *cache)
{
	cache_entries_lock(cache);
	if (unlikely(cache_has_comers(cache)))
		cache_receive_locked(cache);
}

/* Both locks. */
static inline void cache_lock(weakref_cache *cache)
{
	cache_eviction_lock(cache);
	cache_entries_lock_too(cache);
}

/* Of both, the entries'. */
static inline void cache_unlock_inner(weakref_cache *cache)
{
	if (CHECKS)
		cache_check_locked(cache);
	cache_entries_unlock(cache);
}

static inline void cache_unlock(weakref_cache *cache)
{
	cache_unlock_inner(cache);
	cache_eviction_unlock(cache);
}

/* For its value and times, where it is written in place. */
static inline struct lock_word *cache_entry_lock(const struct cache_entry *entry)
{
	return lock_stripe(entry->policy.hash);
}

static inline char *cache_bytes(const weakref_cache *cache, const struct cache_entry *entry)
{
	return (char *)(uintptr_t)entry + cache->bytes_at;
}

/* Where an entry waits for its deadline, in caches that have a wheel: behind its last byte and a NUL. */
static inline size_t cache_waiting_at(const weakref_cache *cache, size_t size)
{
	size_t end = cache->bytes_at + (cache->config.kind <= WEAKREF_KEY_BYTES ? size + 1 : 0);

	return (end + _Alignof(struct wheel_node) - 1) & ~(_Alignof(struct wheel_node) - 1);
}

static inline struct wheel_node *cache_waiting(const weakref_cache *cache, struct cache_entry *entry)
{
	return (struct wheel_node *)(void *)((char *)entry + cache_waiting_at(cache, entry->size));
}

static inline enum cache_state cache_state(const struct cache_entry *entry)
{
	return (enum cache_state)atomic_load_explicit(&entry->state, memory_order_acquire);
}

/* The time; 0 where nobody looks at it. The ticker is a user function; whatever it says, it is never CACHE_NEVER. */
static inline uint64_t cache_now(const weakref_cache *cache)
{
	if (likely(!cache->timed))
		return 0;
	if (cache->config.ticker == NULL)
		return base_now();
	uint64_t now = cache->config.ticker(cache->config.ticker_user);
	return now < CACHE_NEVER ? now : CACHE_NEVER - 1;
}

static inline uint64_t cache_time(const weakref_cache *cache, enum weakref_cache_rule rule)
{
	return atomic_load_explicit(&cache->times[rule], memory_order_relaxed);
}

/* a + b, or never. */
static inline uint64_t cache_later(uint64_t a, uint64_t b)
{
	return b >= CACHE_NEVER - a ? CACHE_NEVER : a + b;
}

/* Seconds to nanoseconds; more than 30 years is never. Not for negative ones or NaN. To the nearest: who gets seconds from
 * cache_seconds and gives them back means the same nanosecond. */
static inline uint64_t cache_ns(double seconds)
{
	return seconds < 1e9 ? (uint64_t)(seconds * 1e9 + 0.5) : CACHE_NEVER;
}

static inline double cache_seconds(uint64_t ns)
{
	return ns == CACHE_NEVER ? __builtin_inf() : (double)ns / 1e9;
}

/* Of the calling thread. */
struct cache_thread {
	struct cache_work *waits;     /* cache_waits */
	struct cache_telling *tells;  /* the caches whose listeners it is in */
	uint64_t tells_mark;          /* of the first one's frame */
	unsigned number;              /* from 1 */
	unsigned inside;              /* how much it is in the middle of */
	uint64_t marks;               /* of frames, that it has made */
	uintptr_t stack, stack_end;   /* its own stack, once it was asked for */
};
extern _Thread_local struct cache_thread cache_thread __attribute__((tls_model("initial-exec")));
unsigned cache_thread_number(void);

static inline struct cache_stripe *cache_stripe(weakref_cache *cache)
{
	unsigned number = likely(cache_thread.number != 0) ? cache_thread.number : cache_thread_number();

	return &cache->stripes[number & cache->stripe_mask];
}

/* ---- cache_map.c ---- */

/* An entry for a key, with what its block holds of the key; the caller's functions decide the rest. NULL with errno. GC: may collect. */
struct cache_entry *cache_entry_new(const weakref_cache *cache, const struct table_key *key);
/* An entry's value; NULL where it has none, or is DEAD. */
void *cache_cell_value(const struct cache_entry *entry, void **key);
static inline void *cache_value(const struct cache_entry *entry)
{
	if (likely(!entry->celled))
		return atomic_load_explicit(&entry->value, memory_order_acquire);
	return cache_cell_value(entry, NULL);
}
/* The key as the caller knows it; *bytes is room for one of kind BYTES. NULL for a weak one that is dead. */
const void *cache_key(const weakref_cache *cache, const struct cache_entry *entry, weakref_bytes *bytes);

/* Whether two keys are the same: 1, 0, or equal's error. */
int cache_same_key(const weakref_cache *cache, const struct table_key *a, const struct table_key *b);

/* The entry of a key that is not DEAD; NULL where there is none. 0 or equal's error. No lock. */
int cache_find(const weakref_cache *cache, const struct table_key *key, struct cache_entry **entry);
/* What has the key of a DEAD entry today, if that was replaced; NULL where nothing does. Asks no function of the program's. No lock. */
struct cache_entry *cache_successor(const weakref_cache *cache, const struct cache_entry *entry);
/* The same as cache_find, and the entry's value: *value is NULL where there is none, or one that is expired. No lock. */
int cache_read(const weakref_cache *cache, const struct table_key *key, uint64_t now, struct cache_entry **entry, void **value);
/* Takes the lock, with room in the map (and a cell) for one more entry where `room` asks for it, and finds a key's entry. 0 with the lock;
 * -WEAKREF_ENOMEM or equal's error without. GC: may collect. */
int cache_lock_at(weakref_cache *cache, const struct table_key *key, bool room, struct cache_entry **entry);

/* What a search without the lock found, and when. */
struct cache_seen {
	uint64_t inserts;
	struct cache_entry *entry;
};
/* cache_find. 0 or equal's error. */
int cache_see(const weakref_cache *cache, const struct table_key *key, struct cache_seen *seen);
/* cache_lock_at after that: it searches again only if another came meanwhile. The entry is seen->entry. */
int cache_lock_seen(weakref_cache *cache, const struct table_key *key, bool room, struct cache_seen *seen);

/* The same without looking for a key. 0 with the lock, -WEAKREF_ENOMEM without. */
int cache_lock_room(weakref_cache *cache);

/* With the entries' lock alone: whether there still is no entry where none was seen, and room for one. It searches again if another came
 * meanwhile, unless the program compares: then no is the answer. */
bool cache_absent_locked(const weakref_cache *cache, const struct table_key *key, struct cache_seen *seen);
/* A fresh entry into the map, or in another one's place. It has its cell. */
void cache_insert_locked(weakref_cache *cache, struct cache_entry *entry);
void cache_displace_locked(weakref_cache *cache, struct cache_entry *entry, struct cache_entry *fresh);
void cache_unmap_locked(weakref_cache *cache, const struct cache_entry *entry);
/* Another map, with room for n entries. NULL: no memory. */
struct cache_map *cache_map_new(size_t n);
struct cache_stripe *cache_stripes_new(uint32_t n);
/* A map as it was at first, in place of one that has grown; NULL: it has not, or there is no memory. */
struct cache_map *cache_map_anew(const weakref_cache *cache);
/* Forgets all entries at once, and goes on with another map, unless that is NULL. */
void cache_map_clear_locked(weakref_cache *cache, struct cache_map *fresh, uint64_t now);

/* ---- cache_cell.c ---- */

/* Where a celled entry's cell is in its bank; a word of it. */
static inline uint32_t cache_cell_place(const struct cache_entry *entry)
{
	return entry->cell % CACHE_BANK_MAX;
}

static inline _Atomic(uintptr_t) *cache_cell_word(const struct cache_entry *entry, unsigned word)
{
	return slots_word(entry->bank, cache_cell_place(entry), word);
}

/* Whether there is a free cell; one more bank where there is none: 0 or -ENOMEM. GC: may collect. */
bool cache_cell_ready_locked(const weakref_cache *cache);
int cache_bank_add(weakref_cache *cache);
/* A cell for an entry: cache_lock_at made sure that there is one. key and value are held; value may be NULL, for later. */
void cache_cell_take_locked(weakref_cache *cache, struct cache_entry *entry, const void *key);
void cache_value_set_locked(weakref_cache *cache, struct cache_entry *entry, const void *key, void *value);
/* Another value for a LIVE entry whose key is not weak; the entry's own lock. raw is that value's weak word, where values are weak. Whether it had one still. */
bool cache_value_change_locked(struct cache_entry *entry, void *value, uintptr_t raw);
/* Gives the cell of a DEAD entry away. */
void cache_cell_drop_locked(weakref_cache *cache, struct cache_entry *entry);
/* How many values in cells were taken by collections, and not looked after yet. */
size_t cache_taken_locked(const weakref_cache *cache);
/* What they weigh to the policy. Both locks. */
uint64_t cache_taken_weight_locked(const weakref_cache *cache);
/* Takes their entries out. */
void cache_bury_taken_locked(weakref_cache *cache);

/* ---- cache.c ---- */

/* What a write brings: the new entry's weight and deadline, by user functions. */
struct cache_write {
	struct cache_entry *fresh;
	const void *key; /* as the caller knows it */
	void *value;
	uint32_t weight;
	const double *seconds; /* to live, where the caller says; NULL: expiry is asked */
	uint64_t lives;        /* nanoseconds, by expiry; CACHE_NEVER */
};
/* Asks weigher and expiry, and makes the entry. `before` is the key's entry now, or NULL. 0 or a negative error. */
int cache_write_prepare(weakref_cache *cache, const struct table_key *key, struct cache_entry *before, uint64_t now, struct cache_write *w);
/* Whether what is written lives for a while. What does not is out before the write returns (R143): the writer takes it out himself. */
bool cache_lives(const weakref_cache *cache, const struct cache_write *w);
/* The new value takes the place of `entry`, which may be NULL, LOADING or LIVE, and overtakes its work. */
void cache_write_locked(weakref_cache *cache, struct cache_entry *entry, struct cache_write *w, uint64_t now);
/* A LOADING entry becomes LIVE with a value; the policy is to be told. */
void cache_complete_locked(weakref_cache *cache, struct cache_entry *entry, const struct cache_write *w, uint64_t now);
/* Whether there may be a key: 0 or -WEAKREF_EINVAL. */
int cache_key_check(const weakref_cache *cache, const void *key);
/* Whether a value may be stored under a key: 0 or -WEAKREF_EINVAL. */
int cache_value_check(const weakref_cache *cache, const void *key, const void *value);
/* The value of an entry, NULL where it has none or is expired. */
void *cache_value_now(const weakref_cache *cache, const struct cache_entry *entry, uint64_t now);
/* A look-up that counts: 0 and the value, -WEAKREF_ENOENT, or another error. *value is NULL where it does not return 0. */
int cache_look_up(weakref_cache *cache, const void *key, void **value);
/* The same with a key that was made ready. */
int cache_look_up_ready(weakref_cache *cache, const struct table_key *ready, void **value);
/* An entry was used: its times, and the policy. `now` may be a reader's. */
void cache_used(weakref_cache *cache, struct cache_entry *entry, void *value, uint64_t now);
/* A hit of a look-up: counted as well, and it may be time for a refresh. */
void cache_hit(weakref_cache *cache, struct cache_entry *entry, void *value, uint64_t now);
void cache_miss(weakref_cache *cache);

/* ---- cache_maintain.c ---- */

/* When an entry expires by all rules. */
static inline uint64_t cache_deadline(const weakref_cache *cache, const struct cache_entry *entry)
{
	uint64_t after_write = cache_time(cache, WEAKREF_CACHE_AFTER_WRITE), after_access = cache_time(cache, WEAKREF_CACHE_AFTER_ACCESS);
	uint64_t deadline = CACHE_NEVER;

	if (cache->config.expiry.create != NULL)
		return atomic_load_explicit(&entry->used, memory_order_relaxed);
	if (after_write != CACHE_NEVER)
		deadline = cache_later(atomic_load_explicit(&entry->written, memory_order_relaxed), after_write);
	if (after_access != CACHE_NEVER) {
		uint64_t other = cache_later(atomic_load_explicit(&entry->used, memory_order_relaxed), after_access);
		deadline = other < deadline ? other : deadline;
	}
	return deadline;
}
/* Without the lock: before the value is loaded, for one that takes another's place where it stands comes before its times. */
static inline bool cache_expired(const weakref_cache *cache, const struct cache_entry *entry, uint64_t now)
{
	if (likely(!cache->expires))
		return false;
	bool expired = cache_deadline(cache, entry) <= now;
	atomic_thread_fence(memory_order_acquire);
	return expired;
}
/* From here on nobody writes into it in place, until it is opened again: not where it has a work, or is DEAD. Both locks; to end the entry, that
 * of the eviction will do. */
void cache_close_locked(const weakref_cache *cache, struct cache_entry *entry);
void cache_open_locked(const weakref_cache *cache, struct cache_entry *entry);
/* Into policy and wheel, with the eviction's lock; out of them. */
void cache_track(weakref_cache *cache, struct cache_entry *entry);
void cache_untrack(weakref_cache *cache, struct cache_entry *entry);
/* In a cache with a wheel: the deadline of a LIVE entry has changed, and not by a use, which may leave that to the wheel. */
void cache_reschedule_locked(weakref_cache *cache, struct cache_entry *entry);
/* Why an entry goes that the program takes out or replaces: what is expired goes for that. */
static inline enum weakref_cause cache_cause(const weakref_cache *cache, const struct cache_entry *entry, enum weakref_cause cause, uint64_t now)
{
	return cache_expired(cache, entry, now) ? WEAKREF_CAUSE_EXPIRED : cause;
}
/* Takes an entry out that is expired; what is not waits in the wheel. It is LIVE, and no function of compute has it. */
void cache_expire_locked(weakref_cache *cache, struct cache_entry *entry, uint64_t now);
/* Takes an entry out and queues the notice. */
void cache_remove_locked(weakref_cache *cache, struct cache_entry *entry, enum weakref_cause cause);
/* The end of an entry that is out of the map: DEAD, and the notice. */
void cache_bury_locked(weakref_cache *cache, struct cache_entry *entry, enum weakref_cause cause, void *successor);
/* Reads that were recorded go to the policy. The eviction's lock. */
void cache_drain(weakref_cache *cache);
/* They do not, and keep nothing. */
void cache_forget_reads(weakref_cache *cache);
/*
 * A new entry with the entries' lock alone, so that nobody waits for who evicts: expect, take the lock, see that there is a place for it, make
 * it LIVE, let it come, unlock_maintain. The policy is told by whoever has the eviction's lock.
 */
/* An entry will come, and others may have to go for it. Whether the caller has the eviction's lock: then what that takes is fetched meanwhile. */
bool cache_expect(weakref_cache *cache, const struct cache_entry *fresh);
bool cache_has_place_locked(const weakref_cache *cache);
void cache_come_locked(weakref_cache *cache, struct cache_entry *entry);
void cache_entries_unlock_maintain(weakref_cache *cache, bool evicts, uint64_t now);
/* Maintenance, with the eviction's lock alone: */
/* What is due but for reads that were recorded: who came, what was taken, what is expired, what is too much. */
void cache_due(weakref_cache *cache, uint64_t now);
/* All that is due after a write, the reads that were recorded only if they matter now. */
void cache_maintain(weakref_cache *cache, uint64_t now);
/* All that is due. */
void cache_maintain_whole(weakref_cache *cache, uint64_t now);
/* cache_unlock, and what is due after a write. */
void cache_unlock_maintain(weakref_cache *cache, uint64_t now);
/* After a write, or when the lock was free: what needs memory or runs user functions. No lock held. */
void cache_after(weakref_cache *cache);
/* Maintenance by a reader, who does not wait for it. */
void cache_try_maintain(weakref_cache *cache);
/* An entry's read, for the policy: whether the reader should look after what is due. */
static inline bool cache_record_only(weakref_cache *cache, struct cache_entry *entry)
{
	uint32_t pace = atomic_load_explicit(&cache->pace, memory_order_relaxed);

	if (pace == CACHE_PACE_NONE)
		return false;
	/* The policy will look at it soon, with the lock held. */
	if (pace == CACHE_PACE_EAGER)
		__builtin_prefetch(&entry->policy);
	struct cache_stripe *stripe = cache_stripe(cache);
	uint32_t tail = atomic_load_explicit(&stripe->tail, memory_order_relaxed);
	atomic_store_explicit(&stripe->reads[tail % CACHE_READS], entry, memory_order_release);
	atomic_store_explicit(&stripe->tail, tail + 1, memory_order_release);
	/* The pace is a power of two. */
	return unlikely(((tail + 1) & (pace - 1)) == 0);
}
/* The same, and he does. */
static inline void cache_record(weakref_cache *cache, struct cache_entry *entry)
{
	if (cache_record_only(cache, entry))
		cache_try_maintain(cache);
}
/* Whether readers may go by the rough clock; after a change of times. */
void cache_set_slack(weakref_cache *cache);
/* The purge of a bank (slots.h). */
void cache_purge(struct slots *slots, void *cache);

/* ---- cache_inside.c ---- */

/* Makes sure that the thread has where to note what it is in the middle of: without memory, that is not noted. No lock held. GC: may collect. */
void cache_inside_ready(void);
/* From here on the thread is in the middle of something, as long as the frame is there; and until the end, which may be told twice. */
void cache_inside_begin(struct cache_inside *inside, struct cache_frame *frame, void (*left)(struct cache_inside *inside, bool ended));
void cache_inside_end(struct cache_inside *inside);
/* Takes off what the thread has left by longjmp. `here` is the frame of a call of the program's, which has no lock. */
void cache_inside_forget(const void *here);
/* Whether a frame was left. Called from a function that is called, directly or not, from the one whose frame is `here`. */
bool cache_frame_is_left(const struct cache_frame *frame, uint64_t mark, const void *here);
/* Marks a frame; gives the mark. */
uint64_t cache_frame_mark(struct cache_frame *frame);
/* For calls that may wait for other threads or for this one. */
static inline __attribute__((always_inline)) void cache_forget_left(void)
{
	if (unlikely(cache_thread.inside != 0))
		cache_inside_forget(__builtin_frame_address(0));
}

/* ---- cache_load.c ---- */

/* Of an entry that is not DEAD: a function of compute has it, so that it is in neither policy nor wheel. */
static inline bool cache_is_computed_locked(const struct cache_entry *entry)
{
	return entry->work != NULL && entry->work->kind == CACHE_COMPUTE;
}
/* Takes a work off an entry: its result will not be stored. */
void cache_overtake_locked(weakref_cache *cache, struct cache_entry *entry);
/* Whether an entry, which may be NULL, is in the hands of a load or compute, for which a conditional write waits. 0 with the lock: it is not.
 * 1 without the lock, after waiting: look anew. A negative error without the lock. */
int cache_await_locked(weakref_cache *cache, struct cache_entry *entry);
/* Reloads an entry if it is due for it and nobody does. */
void cache_refresh_due(weakref_cache *cache, struct cache_entry *entry, uint64_t now);
/* Runs `load` for a key that was found absent, or waits for who does: so long at most, negative is for ever. `counted`: in the figures. 0 or a
 * negative error; -WEAKREF_ENOENT for no value, -WEAKREF_ETIMEDOUT. */
int cache_load(weakref_cache *cache, const void *key, const struct table_key *ready, weakref_cache_load_fn load, void *user, bool counted,
	       double seconds, void **value);

struct cache_begin {
	weakref_cache *cache;
	struct cache_frame *frame; /* of who runs it */
	const void *key;
	const struct table_key *ready;
	enum cache_work_kind kind; /* of CACHE_RELOAD, where there is nothing, a load is begun */
	bool absent_only;  /* a value that is there is the answer */
	bool present_only; /* that there is none is the answer */
	bool waits;        /* until nobody else works on the key; else it joins who does */
	bool counted, level;
};
/* What came of it. */
enum cache_begun { CACHE_BEGUN, CACHE_PRESENT, CACHE_JOINED, CACHE_ABSENT, CACHE_BUSY };
/* Begins a work, or finds a value or another work: enum cache_begun, or a negative error. *work receives the work that was begun or
 * joined, *value the value that is there. No lock held, before and after. What a begun one has to be told of waits for cache_work_finish. */
int cache_work_begin(const struct cache_begin *b, struct cache_work **work, void **value);
/* The end: stores the result where it was not overtaken. value NULL and error 0 removes the entry. 0 or a negative error, which is the
 * work's error then. */
int cache_work_finish(struct cache_work *work, void *value, int error);
/* Waits for the end of a work of another's, until a deadline or BASE_FOREVER. 0, -WEAKREF_EDEADLK, or -WEAKREF_ETIMEDOUT. */
int cache_work_wait(struct cache_work *work, uint64_t deadline);
/* Whether who waited for it to share what was loaded has to begin anew: it was a function of compute, or its thread ended. */
static inline bool cache_work_gave_nothing(const struct cache_work *work)
{
	return work->abandoned || work->kind == CACHE_COMPUTE;
}
/* A cleanup handler: the thread of a work ends. */
void cache_work_abandoned(void *work);
/* A load for the figures; it began then, or, where that is 0, never. */
void cache_count_load(weakref_cache *cache, uint64_t began, bool success);

/* ---- cache_level.c ---- */

/* A change that the program makes, to a key or to all: fn makes it, and returns 0 or more, or a negative error. */
struct cache_change {
	weakref_cache *cache;
	const void *key;
	struct table_key ready;
	void *value, *expected, *result;
	const double *seconds; /* as in cache_write */
	bool all;
	bool unchanged; /* fn found nothing to do: the second level keeps what it has */
	int (*fn)(struct cache_change *c);
	struct cache_entry **entries; /* all, where the second level must be told one by one */
	size_t n;
};
int cache_change_level(struct cache_change *c);
/* Changes: weakref_cache_put, and weakref_cache_put_if_absent. */
int cache_store(struct cache_change *c);
int cache_store_if_absent(struct cache_change *c);
/* Calls fn, so that the second level has the key no more when it is over, and no load reads or writes it there meanwhile. */
static inline int cache_change(struct cache_change *c)
{
	return likely(c->cache->config.level.get == NULL) ? c->fn(c) : cache_change_level(c);
}

/* Whether a work may use the second level, from now on. */
bool cache_level_open_locked(weakref_cache *cache, uint32_t hash);
void cache_aside_add_locked(weakref_cache *cache, struct cache_aside *aside, uint32_t hash, bool all);
void cache_aside_remove_locked(weakref_cache *cache, struct cache_aside *aside);
/* As a loader: asks the second level. 0, -WEAKREF_ENOENT. */
int cache_level_get(weakref_cache *cache, const void *key, void **value);
/* Before a reload, whose value is put. */
void cache_level_expect(weakref_cache *cache, const void *key);
void cache_level_put(weakref_cache *cache, const void *key, void *value);
void cache_level_remove(weakref_cache *cache, const void *key);

/* ---- cache_soft.c ---- */

/* Makes a cache one of those that give way. 0 or a negative error. GC: may collect. */
int cache_soft_add(weakref_cache *cache);
/* Where the heap nears its limit, some go, of whatever cache. No lock held. */
void cache_soft_trim(void);

#endif

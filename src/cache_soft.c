/* SPDX-License-Identifier: MIT */
/*
 * cache_soft: caches with soft values, and who gives way when the heap is near its limit.
 *
 * All such caches stand in one weak table. When an allocation is about to fail, the heap asks for relief in rounds, each followed by a
 * collection: a quarter of all their entries go, then half of the rest, then all. Apart from that, when some cache finds at its maintenance
 * after a collection that seven eighths of the limit are in use, an eighth goes. Always the least recently used first, of whatever cache:
 * each use leaves its time in the entry. One pass through all caches counts how old the entries are, in classes of an eighth of
 * their age; from that follows how old one must be to go; a second pass takes those out, of each cache in its policy's order. Neither needs
 * memory, nor two caches' locks at once. What is used in between stays.
 *
 * Relief runs in the thread that allocates, maybe in the middle of a host's own work: it takes caches' locks, allocates nothing, and tells no
 * listener; the notices wait for the cache's next operation. Nobody allocates with such a lock held, so it is not taken already.
 *
 * Deliberately not here: an order within a class of age.
 */
#include "cache.h"
#include "checks.h"
#include "cycle.h"
#include "element.h"
#include "weakarray.h"
#include "weakref/gc.h"

#define ROUNDS 3

/* All such caches. The word stands where the collector looks. */
static _Atomic(_Atomic(struct table *) *) caches;

/* ---- ages ---- */

/* Ages are told in units of 2^20 ns, about a millisecond, and in so many classes for each power of two. */
#define UNIT_BITS 20
#define FINE_BITS 3
#define FINE (1U << FINE_BITS)
#define CLASSES ((64 - UNIT_BITS - FINE_BITS + 1) * FINE)

static unsigned class_of(const struct cache_entry *entry, uint64_t now)
{
	uint64_t used = atomic_load_explicit(&entry->wanted, memory_order_relaxed), age = used < now ? (now - used) >> UNIT_BITS : 0;

	if (age < FINE)
		return (unsigned)age;
	unsigned power = 63 - (unsigned)__builtin_clzll(age) - FINE_BITS;
	return (power + 1) * FINE + ((unsigned)(age >> power) & (FINE - 1));
}

struct sweep {
	uint64_t now;
	size_t all;
	size_t count[CLASSES];
	/* Those older than this go, and of it so many. */
	unsigned edge;
	size_t of_edge;
	size_t done;
};

static void count_locked(weakref_cache *cache, struct sweep *s)
{
	cache_drain(cache);
	for (struct policy_node *node = policy_coldest(&cache->policy); node != NULL; node = policy_next_hotter(&cache->policy, node)) {
		s->count[class_of(CACHE_OF(policy, node), s->now)]++;
		s->all++;
	}
}

static void take_locked(weakref_cache *cache, struct sweep *s)
{
	struct policy_node *hotter;

	for (struct policy_node *node = policy_coldest(&cache->policy); node != NULL; node = hotter) {
		struct cache_entry *entry = CACHE_OF(policy, node);
		unsigned class = class_of(entry, s->now);
		hotter = policy_next_hotter(&cache->policy, node);
		if (class < s->edge || (class == s->edge && s->of_edge == 0))
			continue;
		s->of_edge -= class == s->edge;
		s->done++;
		cache_remove_locked(cache, entry, WEAKREF_CAUSE_COLLECTED);
	}
}

/* How old those are that must go, for n of them. */
static void set_edge(struct sweep *s, size_t n)
{
	s->edge = CLASSES - 1;
	for (; s->edge > 0 && s->count[s->edge] < n; s->edge--)
		n -= s->count[s->edge];
	s->of_edge = n;
}

static void each_cache(void (*fn)(weakref_cache *cache, struct sweep *s), struct sweep *s)
{
	struct table_entry found;
	struct table_iter iter;

	table_iter_init(&iter, atomic_load_explicit(atomic_load_explicit(&caches, memory_order_acquire), memory_order_acquire));
	while (table_iter_next(&iter, true, &found) > 0) {
		weakref_cache *cache = found.value;
		cache_lock(cache);
		fn(cache, s);
		cache_unlock(cache);
	}
}

/* One of `part` goes, and one more. Whether any did. */
static bool give_up(size_t part)
{
	struct sweep s = {.now = base_now_rough()};

	each_cache(count_locked, &s);
	set_edge(&s, part == 1 ? s.all : s.all / part + 1);
	each_cache(take_locked, &s);
	return s.done != 0;
}

/* ---- when ---- */

static bool relieve(unsigned round)
{
	static const size_t parts[ROUNDS] = {4, 2, 1};

	return round < ROUNDS && give_up(parts[round]);
}

NOINLINE void cache_soft_trim(void)
{
	static _Atomic unsigned long trimmed;
	unsigned long collections = heap_collections();
	size_t limit = gc_get_heap_limit();

	if (limit == 0 || atomic_load_explicit(&trimmed, memory_order_relaxed) == collections)
		return;
	if (atomic_exchange_explicit(&trimmed, collections, memory_order_relaxed) != collections && heap_in_use() > limit - limit / 8)
		give_up(8);
}

/* ---- which caches ---- */

/* Where the table is to stand; made by the first. */
static _Atomic(struct table *) *root_of_all(void)
{
	_Atomic(struct table *) *root = atomic_load_explicit(&caches, memory_order_acquire), *none = NULL;

	if (root != NULL)
		return root;
	root = checks_allocation_fails() ? NULL : cycle_roots_new(sizeof *root);
	if (root == NULL || atomic_compare_exchange_strong(&caches, &none, root))
		return root;
	cycle_roots_free(root);
	return none;
}

/* The table of all caches. One that could not be made whole, or came second, is garbage. */
static struct table *table_of_all(void)
{
	_Atomic(struct table *) *root = root_of_all();
	struct table *table = root == NULL ? NULL : atomic_load_explicit(root, memory_order_acquire), *none = NULL;

	if (root == NULL || table != NULL)
		return table;
	table = heap_alloc(sizeof *table);
	if (table == NULL || table_init(table, &element_ops, TABLE_SELF, false, NULL, NULL) < 0)
		return NULL;
	if (!atomic_compare_exchange_strong(root, &none, table))
		return none;
	heap_set_relief(relieve);
	return table;
}

int cache_soft_add(weakref_cache *cache)
{
	struct table *table = table_of_all();
	struct table_key key;
	void *now;

	if (table == NULL)
		return -WEAKREF_ENOMEM;
	table_key_identity(&key, cache, weakarray_encode(cache));
	int result = table_put(table, &key, 0, TABLE_KEEP, &now);
	BASE_KEEP(cache);
	return result < 0 ? result : 0;
}

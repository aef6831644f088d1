/* SPDX-License-Identifier: MIT */
/*
 * check_keydict_chains: weak-key dictionaries as ephemeron tables, by public headers alone: chains, rings through several tables, values
 * that lead to their keys and tables, in large and in one collection; keys that outlive tables, tables that a destructor revives;
 * values replaced while partial collections run; tables that split and move while another thread collects without pause.
 *
 * One collection is one GC_gcollect; support_collect does several. Objects are made on a thread whose stack goes away; what is walked is walked there too.
 *
 * WEAKREF_LONG=1: the long chain has a million links. Times are printed, and nothing is required of them.
 *
 * Absent: the interface of dictionaries (check_keydict.c), the other weaknesses (check_pairdict.c), the arrays beneath (check_marking.c).
 */
#define GC_THREADS
#include "support.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gc/gc.h>

#include "weakref/ephemeron.h"
#include "weakref/keydict.h"

#define N ((size_t)64)
#define MOST_TABLES 8

typedef struct support_node node;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double collect_ms(void)
{
	double began = now_ms();

	GC_gcollect();
	return now_ms() - began;
}

/* ---- chains ---- */

/* Value i, in the tables in turn, leads to key i + 1; the first key is the root. */
struct chain {
	weakref_keydict *dicts[MOST_TABLES];
	size_t tables, n;
	node *root;
};

static struct chain *chain_new(size_t tables, size_t n)
{
	struct chain *chain = gc_alloc(sizeof *chain);

	*chain = (struct chain){.tables = tables, .n = n};
	for (size_t t = 0; t < tables; t++)
		chain->dicts[t] = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	return chain;
}

static size_t chain_len(const struct chain *chain)
{
	size_t len = 0;

	for (size_t t = 0; t < chain->tables; t++)
		len += weakref_keydict_len(chain->dicts[t]);
	return len;
}

static int chain_make(void *arg)
{
	struct chain *chain = arg;
	node *key = support_node_new(0);

	chain->root = key;
	for (size_t i = 0; i < chain->n; i++) {
		node *value = support_node_new(i), *next = support_node_new(i + 1);
		SUPPORT_REQUIRE(key != NULL && value != NULL && next != NULL);
		value->next = next;
		SUPPORT_REQUIRE(weakref_keydict_set(chain->dicts[i % chain->tables], key, value) == 0);
		key = next;
	}
	return 0;
}

static int chain_walk(void *arg)
{
	const struct chain *chain = arg;
	node *key = chain->root;

	for (size_t i = 0; i < chain->n; i++) {
		node *value = weakref_keydict_get(chain->dicts[i % chain->tables], key);
		SUPPORT_REQUIRE(support_node_intact(key) && key->id == i);
		SUPPORT_REQUIRE(support_node_intact(value) && value->id == i);
		key = value->next;
	}
	SUPPORT_REQUIRE(support_node_intact(key));
	return 0;
}

static void check_chain_kept_and_dropped(size_t tables, size_t n)
{
	struct chain *chain = chain_new(tables, n);

	ck_assert_int_eq(support_on_thread(chain_make, chain), 0);
	double kept = collect_ms();
	ck_assert_uint_eq(chain_len(chain), n);
	ck_assert_int_eq(support_on_thread(chain_walk, chain), 0);
	SUPPORT_CLEAR(chain->root);
	double dropped = collect_ms();
	/* A single stray word keeps all that is behind it (doc/design.md names one): test_D43_many_chains counts. */
	ck_assert_uint_lt(chain_len(chain), n);
	printf("chain of %zu through %zu table(s): kept by a collection of %.1f ms, dropped by one of %.1f ms, %zu left\n", n, tables,
	       kept, dropped, chain_len(chain));
	SUPPORT_KEEP(chain);
}

static size_t long_chain(void)
{
	return getenv("WEAKREF_LONG") != NULL ? 1000000 : support_scaled(100000, 1000);
}

/* A long chain from one root, through one table and through several: whole after one collection, collected after the root is dropped. */
START_TEST(test_D43_long_chain)
{
	check_chain_kept_and_dropped(_i == 0 ? 1 : MOST_TABLES, long_chain());
}
END_TEST

/* The same with a quarter: the times that are printed tell whether the cost is linear. */
START_TEST(test_D43_quarter_of_the_chain)
{
	check_chain_kept_and_dropped(1, long_chain() / 4);
}
END_TEST

static int chains_make(void *arg)
{
	struct chain **chains = arg;

	for (size_t i = 0; i < N; i++)
		SUPPORT_REQUIRE(chain_make(chains[i]) == 0);
	return 0;
}

static int chains_walk(void *arg)
{
	struct chain **chains = arg;

	for (size_t i = 0; i < N; i += 2)
		SUPPORT_REQUIRE(chain_walk(chains[i]) == 0);
	return 0;
}

/* Exactly: in one collection those chains go whose roots are dropped, whole, and no other. */
START_TEST(test_D43_many_chains)
{
	struct chain **chains = gc_alloc(N * sizeof *chains);
	size_t n = support_scaled(500, 20), left = 0;

	for (size_t i = 0; i < N; i++)
		chains[i] = chain_new(1 + i % MOST_TABLES, n);
	ck_assert_int_eq(support_on_thread(chains_make, chains), 0);
	for (size_t i = 1; i < N; i += 2)
		SUPPORT_CLEAR(chains[i]->root);
	collect_ms();
	for (size_t i = 1; i < N; i += 2)
		left += chain_len(chains[i]) > 0;
	ck_assert_uint_le(left, SUPPORT_SLACK);
	ck_assert_int_eq(support_on_thread(chains_walk, chains), 0);
	SUPPORT_KEEP(chains);
}
END_TEST

/* ---- a table to each entry ---- */

/* Table i has one entry, from key i to key i + 1, which leads to nothing; every third key is a key in a table beside as well, whose value
 * two tables have. */
struct tables {
	weakref_keydict **dicts, **beside;
	node *root;
	size_t n;
};

static int tables_make(void *arg)
{
	struct tables *tables = arg;
	node *key = support_node_new(0);

	tables->root = key;
	for (size_t i = 0; i < tables->n; i++) {
		node *next = support_node_new(i + 1);
		tables->dicts[i] = weakref_keydict_new(WEAKREF_BY_IDENTITY);
		tables->beside[i] = weakref_keydict_new(WEAKREF_BY_IDENTITY);
		SUPPORT_REQUIRE(tables->dicts[i] != NULL && tables->beside[i] != NULL);
		SUPPORT_REQUIRE(weakref_keydict_set(tables->dicts[i], key, next) == 0);
		if (i % 3 == 0)
			SUPPORT_REQUIRE(weakref_keydict_set(tables->beside[i], key, next) == 0);
		key = next;
	}
	return 0;
}

static int tables_walk(void *arg)
{
	struct tables *tables = arg;
	node *key = tables->root;

	for (size_t i = 0; i < tables->n; i++) {
		node *next = weakref_keydict_get(tables->dicts[i], key);
		SUPPORT_REQUIRE(support_node_intact(next) && next->id == i + 1);
		SUPPORT_REQUIRE(weakref_keydict_get(tables->beside[i], key) == (i % 3 == 0 ? next : NULL));
		key = next;
	}
	return 0;
}

static size_t tables_len(const struct tables *tables)
{
	size_t len = 0;

	for (size_t i = 0; i < tables->n; i++)
		len += weakref_keydict_len(tables->dicts[i]) + weakref_keydict_len(tables->beside[i]);
	return len;
}

/* A chain through two thousand tables of one entry each; a key in two tables wakes both, a value that two have lives by either. (The weak
 * tables' tests of SBCL: unboxed-weak-chain, weak-table-smoke-test.) */
START_TEST(test_D43_chain_through_many_tables)
{
	struct tables *tables = gc_alloc(sizeof *tables);

	tables->n = support_scaled(2000, 50);
	tables->dicts = gc_alloc(tables->n * sizeof(void *));
	tables->beside = gc_alloc(tables->n * sizeof(void *));
	ck_assert_int_eq(support_on_thread(tables_make, tables), 0);
	collect_ms();
	ck_assert_uint_eq(tables_len(tables), tables->n + (tables->n + 2) / 3);
	ck_assert_int_eq(support_on_thread(tables_walk, tables), 0);
	SUPPORT_CLEAR(tables->root);
	collect_ms();
	ck_assert_uint_lt(tables_len(tables), tables->n);
	SUPPORT_KEEP(tables);
}
END_TEST

/* ---- rings ---- */

/* In table t key k[t] has a value that leads to k[t + 1], which is a key of the next table; the last leads to the first. */
struct rings {
	weakref_keydict *dicts[MOST_TABLES];
	node **held; /* a key of every second ring, each time of another table */
	size_t n;
};

static int rings_make(void *arg)
{
	struct rings *rings = arg;

	for (size_t i = 0; i < rings->n; i++) {
		node *keys[MOST_TABLES];
		for (size_t t = 0; t < MOST_TABLES; t++)
			SUPPORT_REQUIRE((keys[t] = support_node_new(i)) != NULL);
		for (size_t t = 0; t < MOST_TABLES; t++) {
			node *value = support_node_new(i);
			SUPPORT_REQUIRE(value != NULL);
			value->next = keys[(t + 1) % MOST_TABLES];
			value->other = rings->dicts[(t + 3) % MOST_TABLES];
			SUPPORT_REQUIRE(weakref_keydict_set(rings->dicts[t], keys[t], value) == 0);
		}
		if (i % 2 == 0)
			rings->held[i] = keys[i / 2 % MOST_TABLES];
	}
	return 0;
}

static int rings_walk(void *arg)
{
	const struct rings *rings = arg;

	for (size_t i = 0; i < rings->n; i += 2) {
		node *key = rings->held[i];
		for (size_t step = 0, t = i / 2; step < MOST_TABLES; step++, t++) {
			node *value = weakref_keydict_get(rings->dicts[t % MOST_TABLES], key);
			SUPPORT_REQUIRE(support_node_intact(value) && value->id == i && support_node_intact(value->next));
			key = value->next;
		}
		SUPPORT_REQUIRE(key == rings->held[i]);
	}
	return 0;
}

/* Rings through eight tables: one key of a ring keeps the ring in all tables; without it all of it goes, in one collection. */
START_TEST(test_D43_rings_through_tables)
{
	struct rings *rings = gc_alloc(sizeof *rings);
	size_t n = support_scaled(1000, 64), len;

	rings->n = n;
	rings->held = gc_alloc(n * sizeof(node *));
	for (size_t t = 0; t < MOST_TABLES; t++)
		rings->dicts[t] = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	ck_assert_int_eq(support_on_thread(rings_make, rings), 0);
	collect_ms();
	for (size_t t = 0; t < MOST_TABLES; t++) {
		len = weakref_keydict_len(rings->dicts[t]);
		ck_assert_uint_ge(len, n / 2);
		ck_assert_uint_le(len, n / 2 + SUPPORT_SLACK);
	}
	ck_assert_int_eq(support_on_thread(rings_walk, rings), 0);
	memset(rings->held, 0, n * sizeof(node *));
	SUPPORT_KEEP(rings->held);
	collect_ms();
	for (size_t t = 0; t < MOST_TABLES; t++)
		ck_assert_uint_le(weakref_keydict_len(rings->dicts[t]), SUPPORT_SLACK);
	SUPPORT_KEEP(rings);
}
END_TEST

/* ---- values that lead back ---- */

struct back {
	weakref_keydict *dict;
	size_t n;
};

static int back_make(void *arg)
{
	struct back *back = arg;

	for (size_t i = 0; i < back->n; i++) {
		node *key = support_node_new(i), *value = support_node_new(i);
		SUPPORT_REQUIRE(key != NULL && value != NULL);
		value->next = key;
		value->other = back->dict;
		/* Every third value is its own key, and every third one is the table. */
		void *values[] = {value, key, back->dict};
		SUPPORT_REQUIRE(weakref_keydict_set(back->dict, key, values[i % 3]) == 0);
	}
	return 0;
}

static void check_back_round(size_t n)
{
	struct back back = {weakref_keydict_new(WEAKREF_BY_IDENTITY), n};

	gc_disable();
	int rc = support_on_thread(back_make, &back);
	gc_enable();
	double time = collect_ms();
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_le(weakref_keydict_len(back.dict), SUPPORT_SLACK);
	printf("%zu values that lead to their keys: dropped by a collection of %.1f ms\n", n, time);
}

/* Values that lead to, or are, their own keys and their table: all gone in one collection. */
START_TEST(test_D43_values_lead_back)
{
	check_back_round(support_scaled(10000, 100));
	check_back_round(support_scaled(40000, 400));
}
END_TEST

/* ---- keys and tables ---- */

struct outlive {
	node **keys;
	weakref_ref **dicts, **values; /* plain references to the tables of a round, and to one value of each */
	size_t round;
};

static int outlive_make(void *arg)
{
	struct outlive *outlive = arg;

	for (size_t t = 0; t < N; t++) {
		weakref_keydict *dict = weakref_keydict_new(WEAKREF_BY_IDENTITY);
		SUPPORT_REQUIRE(dict != NULL);
		for (size_t i = 0; i < N; i++) {
			node *value = support_node_new(i);
			SUPPORT_REQUIRE(value != NULL);
			value->next = outlive->keys[(i + 1) % N];
			value->other = dict;
			SUPPORT_REQUIRE(weakref_keydict_set(dict, outlive->keys[i], value) == 0);
			if (i == t)
				outlive->values[t] = weakref_ref_new(value, NULL, NULL);
		}
		SUPPORT_REQUIRE(weakref_keydict_len(dict) == N);
		outlive->dicts[t] = weakref_ref_new(dict, NULL, NULL);
		SUPPORT_REQUIRE(outlive->dicts[t] != NULL && outlive->values[t] != NULL);
	}
	return 0;
}

/* The keys live, in round after round of tables to which the values lead: tables and values are dead after one collection each time. */
START_TEST(test_D39_D40_keys_outlive_tables)
{
	struct outlive *outlive = gc_alloc(sizeof *outlive);
	size_t intact = 0;

	outlive->keys = gc_alloc(N * sizeof(node *));
	outlive->dicts = gc_alloc(N * sizeof(weakref_ref *));
	outlive->values = gc_alloc(N * sizeof(weakref_ref *));
	for (size_t i = 0; i < N; i++)
		outlive->keys[i] = support_node_new(i);
	for (int round = 0; round < 5; round++) {
		ck_assert_int_eq(support_on_thread(outlive_make, outlive), 0);
		collect_ms();
		ck_assert_uint_ge(support_dead(outlive->dicts, N), N - SUPPORT_SLACK);
		ck_assert_uint_ge(support_dead(outlive->values, N), N - SUPPORT_SLACK);
	}
	for (size_t i = 0; i < N; i++)
		intact += support_node_intact(outlive->keys[i]) && outlive->keys[i]->id == i;
	ck_assert_uint_eq(intact, N);
	SUPPORT_KEEP(outlive);
}
END_TEST

/* ---- tables that a destructor revives ---- */

struct owner {
	weakref_keydict *dict;
};

static struct {
	node **survivors; /* [4] */
	weakref_keydict **revived;
	_Atomic size_t destroyed, wrong, more;
} revival;

/* Of the four entries there is the one whose key and value both live by something else. Another one is a stray word's, and whole. */
static int owner_destroy(void *obj)
{
	struct owner *owner = obj;
	weakref_keydict_iter *iter = weakref_keydict_iter_new(owner->dict);
	void *key, *value;
	size_t seen = 0;

	while (iter != NULL && weakref_keydict_iter_next(iter, &key, &value) == 1) {
		seen++;
		revival.wrong += !support_node_intact(key) || !support_node_intact(value);
	}
	revival.wrong += seen < 1 || weakref_keydict_get(owner->dict, revival.survivors[0]) != revival.survivors[1];
	revival.more += seen > 1 || weakref_keydict_get(owner->dict, revival.survivors[2]) != NULL;
	revival.revived[revival.destroyed++] = owner->dict;
	return 0;
}

static const gc_type owner_type = {.name = "owner", .size = sizeof(struct owner), .destroy = owner_destroy};

static int owners_make(void *arg)
{
	struct owner **owners = arg;

	for (size_t i = 0; i < N; i++) {
		weakref_keydict *dict = weakref_keydict_new(WEAKREF_BY_IDENTITY);
		struct owner *owner = gc_new(&owner_type);
		SUPPORT_REQUIRE(dict != NULL && owner != NULL);
		SUPPORT_REQUIRE(weakref_keydict_set(dict, revival.survivors[0], revival.survivors[1]) == 0);
		SUPPORT_REQUIRE(weakref_keydict_set(dict, revival.survivors[2], support_node_new(2)) == 0);
		SUPPORT_REQUIRE(weakref_keydict_set(dict, support_node_new(3), revival.survivors[3]) == 0);
		SUPPORT_REQUIRE(weakref_keydict_set(dict, support_node_new(4), support_node_new(4)) == 0);
		owner->dict = dict;
		owners[i] = owner;
	}
	return 0;
}

static int revived_use(void *arg)
{
	(void)arg;
	for (size_t t = 0; t < revival.destroyed; t++)
		for (size_t i = 0; i < N; i++) {
			node *key = i == 0 ? revival.survivors[3] : support_node_new(i), *value = support_node_new(t);
			SUPPORT_REQUIRE(key != NULL && value != NULL);
			value->next = key;
			SUPPORT_REQUIRE(weakref_keydict_set(revival.revived[t], key, value) == 0);
		}
	return 0;
}

/* A table that a destructor finds, and revives, shows no dead pointer and has what lives otherwise; then it is a table as before. */
START_TEST(test_D43_table_revived)
{
	struct owner **owners = gc_alloc(N * sizeof *owners);
	size_t good = 0, more = 0;

	revival.survivors = GC_MALLOC_UNCOLLECTABLE(4 * sizeof(node *));
	revival.revived = GC_MALLOC_UNCOLLECTABLE(N * sizeof(weakref_keydict *));
	revival.destroyed = revival.wrong = revival.more = 0;
	for (size_t i = 0; i < 4; i++)
		revival.survivors[i] = support_node_new(i);
	ck_assert_int_eq(support_on_thread(owners_make, owners), 0);
	memset(owners, 0, N * sizeof *owners);
	SUPPORT_KEEP(owners);
	support_collect();
	gc_run_callbacks();
	ck_assert_uint_ge(revival.destroyed, N - SUPPORT_SLACK);
	ck_assert_uint_eq(revival.wrong, 0);
	ck_assert_uint_le(revival.more, SUPPORT_SLACK);
	ck_assert_int_eq(support_on_thread(revived_use, NULL), 0);
	collect_ms();
	for (size_t t = 0; t < revival.destroyed; t++) {
		node *value = weakref_keydict_get(revival.revived[t], revival.survivors[3]);
		good += support_node_intact(value) && value->id == t && value->next == revival.survivors[3];
		more += weakref_keydict_len(revival.revived[t]) - 2;
	}
	ck_assert_uint_eq(good, revival.destroyed);
	ck_assert_uint_le(more, SUPPORT_SLACK);
	GC_FREE(revival.survivors);
	GC_FREE(revival.revived);
	/* A block that is made in their place would have a root here. */
	revival.survivors = NULL;
	revival.revived = NULL;
}
END_TEST

/* ---- while things change ---- */

/* Value i leads to key i, and to another key of the same owner. */
static node *value_new(node *const *keys, size_t n, size_t i, size_t other)
{
	node *value = support_node_new(i);

	if (value == NULL)
		return NULL;
	value->next = keys[i];
	value->other = keys[other % n];
	return value;
}

static bool value_good(const node *value, const node *key)
{
	return support_node_intact(value) && support_node_intact(key) && value->id == key->id && value->next == key &&
	       (value->other == NULL || support_node_intact(value->other));
}

struct old {
	weakref_keydict *dict;
	node **keys;
	size_t n;
	unsigned round;
};

static int old_replace(void *arg)
{
	struct old *old = arg;

	for (size_t i = old->round % 3; i < old->n; i += 3) {
		node *value = value_new(old->keys, old->n, i, i + old->round);
		SUPPORT_REQUIRE(value != NULL && weakref_keydict_set(old->dict, old->keys[i], value) == 0);
	}
	return 0;
}

static int old_look(void *arg)
{
	struct old *old = arg;

	for (size_t i = 0; i < old->n; i++)
		SUPPORT_REQUIRE(value_good(weakref_keydict_get(old->dict, old->keys[i]), old->keys[i]));
	return 0;
}

/* Values replaced in a table that has been through full collections, while only libgc's own collections run; in incremental mode some
 * of those are partial ones, and that they happened is required. */
START_TEST(test_D43_values_replaced_between_partial_collections)
{
	struct old *old = gc_alloc(sizeof *old);
	unsigned partial = support_partial_collections();

	*old = (struct old){.dict = weakref_keydict_new(WEAKREF_BY_IDENTITY), .n = 3000};
	old->keys = gc_alloc(old->n * sizeof(node *));
	for (size_t i = 0; i < old->n; i++)
		old->keys[i] = support_node_new(i);
	for (old->round = 0; old->round < 3; old->round++)
		ck_assert_int_eq(support_on_thread(old_replace, old), 0);
	support_collect();
	for (; old->round < 15; old->round++) {
		ck_assert_int_eq(support_on_thread(old_replace, old), 0);
		ck_assert(support_churn(2, (size_t)512 << 20));
		ck_assert_int_eq(support_on_thread(old_look, old), 0);
		ck_assert_uint_eq(weakref_keydict_len(old->dict), old->n);
	}
	if (GC_is_incremental_mode())
		ck_assert_uint_gt(support_partial_collections(), partial);
	memset(old->keys, 0, old->n * sizeof(node *));
	SUPPORT_KEEP(old->keys);
	support_collect();
	/* What is left leads to other keys, and they to others: a stray word may keep a few rings. */
	ck_assert_uint_lt(weakref_keydict_len(old->dict), old->n);
	SUPPORT_KEEP(old);
}
END_TEST

#define WRITERS 2

struct shared {
	weakref_keydict *dict;
	size_t per_writer;
	_Atomic unsigned writing;
	_Atomic size_t collections, read;
};

struct job {
	int (*run)(struct shared *shared, uint64_t seed);
	struct shared *shared;
	uint64_t seed;
};

static int job_run(void *arg)
{
	struct job *job = arg;

	return job->run(job->shared, job->seed);
}

static int write_round(struct shared *shared, node **keys, uint64_t *seed)
{
	for (size_t i = 0; i < shared->per_writer; i++) {
		SUPPORT_REQUIRE((keys[i] = support_node_new(i)) != NULL);
		node *value = value_new(keys, i + 1, i, (size_t)support_random(seed));
		SUPPORT_REQUIRE(value != NULL && weakref_keydict_set(shared->dict, keys[i], value) == 0);
	}
	for (size_t i = 0; i < shared->per_writer; i++) {
		SUPPORT_REQUIRE(value_good(weakref_keydict_get(shared->dict, keys[i]), keys[i]));
		if (i % 4 == 0)
			SUPPORT_REQUIRE(weakref_keydict_delete(shared->dict, keys[i]) == 0);
	}
	for (size_t i = 0; i < shared->per_writer; i++)
		SUPPORT_REQUIRE(weakref_keydict_contains(shared->dict, keys[i]) == (i % 4 != 0));
	/* The rest dies in the table. */
	memset(keys, 0, shared->per_writer * sizeof *keys);
	return 0;
}

static int run_writer(struct shared *shared, uint64_t seed)
{
	node **keys = gc_alloc(shared->per_writer * sizeof *keys);
	int failed = keys == NULL;

	for (size_t round = 0; !failed && round < support_scaled(10, 2); round++)
		failed = write_round(shared, keys, &seed);
	shared->writing--;
	SUPPORT_KEEP(keys);
	return failed;
}

static int run_reader(struct shared *shared, uint64_t seed)
{
	(void)seed;
	while (shared->writing > 0) {
		weakref_keydict_iter *iter = weakref_keydict_iter_new(shared->dict);
		void *key, *value;
		int rc;
		SUPPORT_REQUIRE(iter != NULL);
		while ((rc = weakref_keydict_iter_next(iter, &key, &value)) == 1) {
			SUPPORT_REQUIRE(value_good(value, key));
			shared->read++;
		}
		SUPPORT_REQUIRE(rc == 0);
	}
	return 0;
}

static int run_collector(struct shared *shared, uint64_t seed)
{
	(void)seed;
	while (shared->writing > 0) {
		GC_gcollect();
		shared->collections++;
	}
	return 0;
}

/* The table grows, splits and shrinks under two writers and a reader while one thread collects without pause: what a key has is whole. */
START_TEST(test_D43_table_splits_while_collecting)
{
	struct shared *shared = gc_alloc(sizeof *shared);
	struct job *jobs = gc_alloc((WRITERS + 2) * sizeof *jobs);

	shared->dict = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	shared->writing = WRITERS;
	shared->per_writer = support_scaled(4000, 50);
	for (unsigned i = 0; i < WRITERS; i++)
		jobs[i] = (struct job){run_writer, shared, support_seed() + i};
	jobs[WRITERS] = (struct job){run_reader, shared, 0};
	jobs[WRITERS + 1] = (struct job){run_collector, shared, 0};
	ck_assert_uint_eq(support_threads(WRITERS + 2, job_run, jobs, sizeof *jobs), 0);
	ck_assert_uint_gt(shared->collections, 0);
	ck_assert_uint_gt(shared->read, 0);
	printf("%zu collections while the table changed, %zu entries read\n", shared->collections, shared->read);
	support_collect();
	/* Values lead to keys made before: one stray word keeps a share of one round. */
	ck_assert_uint_lt(weakref_keydict_len(shared->dict), shared->per_writer);
	SUPPORT_KEEP(shared);
}
END_TEST

/* ---- all at once ---- */

#define NODES 300
#define TABLES 20
#define PATHS 700
#define WORDS 6

/* How a node's life gives another its own. */
enum path_kind { BY_WORD, BY_EPHEMERON, BY_TABLE };

/* from keeps to, while what is meant by `via` lives: the holder of the ephemeron, or the table. */
struct path {
	enum path_kind kind;
	size_t from, via, to;
};

struct mixed {
	void **roots; /* NODES, then TABLES */
	weakref_ref **refs, **table_refs;
	struct path paths[PATHS];
	size_t n, holders[TABLES]; /* NODES: none */
	enum weakref_weakness weakness[TABLES];
	bool lives[NODES], table_lives[TABLES], root[NODES], table_root[TABLES];
};

struct knot {
	void *words[WORDS];
	size_t used;
};

static int knot_died(void *obj)
{
	return ((struct knot *)obj)->used > WORDS ? -WEAKREF_EINVAL : 0;
}

/* Every sixth one has a destructor, which keeps what it leads to in memory, and alive for nobody. */
static const gc_type knot_types[2] = {{.name = "knot", .size = sizeof(struct knot)},
				      {.name = "mortal knot", .size = sizeof(struct knot), .destroy = knot_died}};

/* False where there is no word left. */
static bool knot_holds(struct knot *knot, void *what)
{
	if (what == NULL || knot->used == WORDS)
		return false;
	knot->words[knot->used++] = what;
	return true;
}

static int mixed_make(void *arg)
{
	struct mixed *m = arg;
	static uint64_t state;
	struct knot **nodes = gc_alloc(NODES * sizeof *nodes);
	weakref_keydict **tables = gc_alloc(TABLES * sizeof *tables);

	state += support_seed();
	for (size_t i = 0; i < NODES; i++) {
		nodes[i] = gc_new(&knot_types[support_random(&state) % 6 == 0]);
		m->refs[i] = weakref_ref_new(nodes[i], NULL, NULL);
		m->root[i] = support_random(&state) % 20 == 0;
		if (m->root[i])
			m->roots[i] = nodes[i];
	}
	for (size_t t = 0; t < TABLES; t++) {
		m->weakness[t] = (enum weakref_weakness)(t % 3);
		tables[t] = weakref_keydict_new_with(&(weakref_keydict_options){.weakness = m->weakness[t]});
		m->table_refs[t] = weakref_ref_new(tables[t], NULL, NULL);
		m->table_root[t] = support_random(&state) % 3 == 0;
		if (m->table_root[t])
			m->roots[NODES + t] = tables[t];
		m->holders[t] = support_random(&state) % NODES;
		if (!knot_holds(nodes[m->holders[t]], tables[t]))
			m->holders[t] = NODES;
	}
	while (m->n < PATHS) {
		size_t from = support_random(&state) % (support_random(&state) % 3 == 0 ? NODES / 10 : NODES);
		struct path path = {(enum path_kind)(support_random(&state) % 8 / 3), from, support_random(&state), support_random(&state) % NODES};
		path.via %= path.kind == BY_TABLE ? TABLES : NODES;
		bool made = path.kind == BY_WORD ? knot_holds(nodes[from], nodes[path.to]) :
			    path.kind == BY_EPHEMERON ? knot_holds(nodes[path.via], weakref_ephemeron_new(nodes[from], nodes[path.to])) :
			    weakref_keydict_contains(tables[path.via], nodes[from]) == 0 &&
				    weakref_keydict_set(tables[path.via], nodes[from], nodes[path.to]) == 0;
		if (made)
			m->paths[m->n++] = path;
	}
	return 0;
}

static bool gives_life(bool *to, bool from)
{
	bool news = from && !*to;

	*to = *to || from;
	return news;
}

/* What reachability says: the least that holds all rules. */
static void mixed_solve(struct mixed *m)
{
	memcpy(m->lives, m->root, sizeof m->lives);
	memcpy(m->table_lives, m->table_root, sizeof m->table_lives);
	for (bool news = true; news;) {
		news = false;
		for (size_t t = 0; t < TABLES; t++)
			if (m->holders[t] < NODES)
				news |= gives_life(&m->table_lives[t], m->lives[m->holders[t]]);
		for (size_t i = 0; i < m->n; i++) {
			struct path path = m->paths[i];
			bool *from = &m->lives[path.from], *to = &m->lives[path.to], there = true;
			if (path.kind != BY_WORD)
				there = path.kind == BY_TABLE ? m->table_lives[path.via] : m->lives[path.via];
			if (path.kind == BY_TABLE && m->weakness[path.via] == WEAKREF_WEAK_BOTH)
				continue;
			news |= gives_life(to, there && *from);
			if (path.kind == BY_TABLE && m->weakness[path.via] == WEAKREF_WEAK_EITHER)
				news |= gives_life(from, there && *to);
		}
	}
}

/* R112, R85 to R87, R31: nodes that keep each other by words, ephemerons, and tables of each weakness, which are kept by nodes themselves: in one
 * collection exactly that dies which nothing leads to. */
START_TEST(test_D43_all_at_once)
{
	size_t alive = 0, dead = 0, left = 0, rounds = support_scaled(12, 2);

	for (size_t round = 0; round < rounds; round++) {
		struct mixed *m = gc_alloc(sizeof *m);
		m->roots = gc_alloc((NODES + TABLES) * sizeof *m->roots);
		m->refs = gc_alloc(NODES * sizeof *m->refs);
		m->table_refs = gc_alloc(TABLES * sizeof *m->table_refs);
		ck_assert_int_eq(support_on_thread(mixed_make, m), 0);
		mixed_solve(m);
		collect_ms();
		for (size_t i = 0; i < NODES; i++) {
			bool there = weakref_ref_get(m->refs[i]) != NULL;
			ck_assert(there || !m->lives[i]);
			alive += m->lives[i];
			dead += !m->lives[i];
			left += there && !m->lives[i];
		}
		for (size_t t = 0; t < TABLES; t++)
			ck_assert(weakref_ref_get(m->table_refs[t]) != NULL || !m->table_lives[t]);
		SUPPORT_KEEP(m);
	}
	/* A stray word keeps a node with all that it leads to. */
	ck_assert_uint_gt(alive, 0);
	ck_assert_uint_gt(dead, 0);
	ck_assert_uint_le(left, dead / 20);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("keydict chains");
	/* First, while the heap is small, so that libgc collects often by itself. */
	TCase *t = support_tcase("change");

	tcase_add_test(t, test_D43_values_replaced_between_partial_collections);
	tcase_add_test(t, test_D43_table_splits_while_collecting);
	suite_add_tcase(s, t);
	t = support_tcase("tables");
	tcase_add_test(t, test_D39_D40_keys_outlive_tables);
	tcase_add_test(t, test_D43_table_revived);
	suite_add_tcase(s, t);
	t = support_tcase("chains");
	tcase_add_loop_test(t, test_D43_long_chain, 0, 2);
	tcase_add_test(t, test_D43_quarter_of_the_chain);
	tcase_add_test(t, test_D43_many_chains);
	tcase_add_test(t, test_D43_chain_through_many_tables);
	tcase_add_test(t, test_D43_rings_through_tables);
	tcase_add_test(t, test_D43_values_lead_back);
	tcase_add_test(t, test_D43_all_at_once);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

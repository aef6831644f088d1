/* SPDX-License-Identifier: MIT */
/*
 * weakbench [-r RUNTIME] N GROUP...: the library's speed, a figure a line, tab separated: workload runtime N metric value unit.
 *
 *     alloc   gc_new beside GC_MALLOC of the same total size, and a leaf beside GC_MALLOC_ATOMIC; the ratio of each
 *     ref     making references, reading them in random order by one thread and by two, their share of a collection
 *     eph     a weak-key dictionary whose values lead to their keys (eph_self) or each to the next key (eph_chain), beside the same objects
 *             linked strongly: what leaks, in how many collections the rest goes, and the time of them
 *     single  the same with single ephemerons, and their share of a collection. With -r libgc, which has none, only the objects linked
 *             strongly
 *     wkd     weak-key dictionary by identity with numbers as values: insert, get in random order, collections with all entries live and
 *             with half dead, memory
 *     wvd     weak-value dictionary by string: the same
 *
 * -r libgc runs the same workloads on what a C programmer writes by hand on libgc alone: a chained table with one disappearing link
 * an entry, whose values are read under the allocation lock. Keys and objects exist before a clock starts; the permutation is the
 * same everywhere; a sum over the objects proves that what was read was right.
 *
 * Environment: CHAIN, the links of the chains in eph and single; 100000 by default, and never more than N.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "weakref/weakref.h"

#define NOINLINE __attribute__((noinline))

typedef struct obj {
	long v;
} obj;

static const gc_type obj_type = {.name = "obj", .size = sizeof(obj)};
static const gc_type leaf_type = {.name = "leaf", .size = sizeof(obj), .flags = WEAKREF_TYPE_LEAF};

static const char *runtime = "libweakref";
static int raw; /* -r libgc */
static long n;
static obj *volatile *objs;
static char **keys;
static uint32_t *order;

static void die(const char *what)
{
	fprintf(stderr, "weakbench: %s\n", what);
	exit(3);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void emit(const char *workload, const char *metric, double value, const char *unit)
{
	printf("%s\t%s\t%ld\t%s\t%.3f\t%s\n", workload, runtime, n, metric, value, unit);
	fflush(stdout);
}

/* Fisher and Yates, by xorshift32 from a fixed seed. */
static uint32_t *permutation(void)
{
	uint32_t *p = malloc((size_t)n * sizeof *p), x = 2463534242u;

	if (p == NULL)
		die("no memory");
	for (long i = 0; i < n; i++)
		p[i] = (uint32_t)i;
	for (long i = n - 1; i > 0; i--) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		long j = x % (uint32_t)(i + 1);
		uint32_t t = p[i];
		p[i] = p[j];
		p[j] = t;
	}
	return p;
}

static long status_kb(const char *what)
{
	char line[256];
	long value = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, what, strlen(what)) == 0)
			value = atol(line + strlen(what) + 1);
	if (file != NULL)
		fclose(file);
	return value;
}

static double heap_used(void)
{
	return (double)(GC_get_heap_size() - GC_get_free_bytes());
}

static obj *obj_make(void)
{
	obj *o = raw ? GC_MALLOC(sizeof *o) : gc_new(&obj_type);

	if (o == NULL)
		die("no memory");
	return o;
}

static NOINLINE void objs_make(void)
{
	objs = GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *objs);
	for (long i = 0; i < n; i++) {
		objs[i] = obj_make();
		objs[i]->v = i;
	}
}

static NOINLINE void keys_make(void)
{
	keys = GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *keys);
	for (long i = 0; i < n; i++) {
		char text[32];
		int len = snprintf(text, sizeof text, "k%ld", i);
		keys[i] = memcpy(GC_MALLOC_ATOMIC((size_t)len + 1), text, (size_t)len + 1);
	}
}

static double collect_once(void)
{
	double began = now();

	GC_gcollect();
	return now() - began;
}

/* Where libgc marks in parallel, the thread that collects leaves what it marked last in 64 KiB of its stack: a word of that keeps all
 * that is behind it in a chain. */
static NOINLINE void scrub(void)
{
	volatile char dead[256 << 10];

	memset((char *)dead, 0, sizeof dead);
	__asm__ volatile("" : : "r"(dead) : "memory");
}

/* The middle one of three, after one that settles. */
static double collect_time(void)
{
	collect_once();
	double a = collect_once(), b = collect_once(), c = collect_once();
	double low = a < b ? a : b, high = a < b ? b : a;
	return c < low ? low : c > high ? high : c;
}

static void check_sum(long sum)
{
	if (sum != n * (n - 1) / 2)
		die("what was read is wrong");
}

static NOINLINE void drop_half(void)
{
	for (long i = 0; i < n / 2; i++)
		objs[order[i]] = NULL;
}

/* ---- by hand on libgc ---- */

/* With weak values `hidden` is the value; with weak keys it is the key, and `value` holds the value. */
struct node {
	struct node *next;
	const char *key;
	uint64_t hash;
	GC_hidden_pointer hidden;
	void *value;
};

struct hand {
	struct node **buckets;
	size_t capacity, len;
};

static void *reveal(void *word)
{
	GC_hidden_pointer hidden = *(GC_hidden_pointer *)word;

	return hidden != 0 ? GC_REVEAL_POINTER(hidden) : NULL;
}

static uint64_t hash_string(const char *s)
{
	uint64_t h = 1469598103934665603ull;

	for (; *s != 0; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ull;
	return h ^ h >> 29;
}

static struct hand *hand_new(void)
{
	struct hand *t = GC_MALLOC(sizeof *t);

	t->capacity = 16;
	t->buckets = GC_MALLOC(t->capacity * sizeof *t->buckets);
	return t;
}

static void hand_grow(struct hand *t)
{
	size_t capacity = t->capacity * 2;
	struct node **buckets = GC_MALLOC(capacity * sizeof *buckets), *next;

	for (size_t i = 0; i < t->capacity; i++)
		for (struct node *node = t->buckets[i]; node != NULL; node = next) {
			struct node **bucket = &buckets[node->hash & (capacity - 1)];
			next = node->next;
			node->next = *bucket;
			*bucket = node;
		}
	t->buckets = buckets;
	t->capacity = capacity;
}

static struct node *hand_find(struct hand *t, const char *key, uint64_t hash)
{
	struct node *node = t->buckets[hash & (t->capacity - 1)];

	while (node != NULL && (node->hash != hash || strcmp(node->key, key) != 0))
		node = node->next;
	return node;
}

static void hand_put(struct hand *t, const char *key, obj *o)
{
	uint64_t hash = hash_string(key);

	if (hand_find(t, key, hash) != NULL)
		die("a key came twice");
	if (t->len++ >= t->capacity)
		hand_grow(t);
	struct node *node = GC_MALLOC(sizeof *node), **bucket = &t->buckets[hash & (t->capacity - 1)];
	*node = (struct node){.next = *bucket, .key = key, .hash = hash, .hidden = GC_HIDE_POINTER(o)};
	*bucket = node;
	if (GC_general_register_disappearing_link((void **)&node->hidden, o) != GC_SUCCESS)
		die("no link");
}

static obj *hand_get(struct hand *t, const char *key)
{
	struct node *node = hand_find(t, key, hash_string(key));

	return node == NULL ? NULL : GC_call_with_alloc_lock(reveal, &node->hidden);
}

static uint64_t hash_pointer(const void *p)
{
	uint64_t h = ((uint64_t)(uintptr_t)p >> 4) * 0x9E3779B97F4A7C15ull;

	return h ^ h >> 32;
}

static struct node *hand_key_find(struct hand *t, const void *key, uint64_t hash)
{
	struct node *node = t->buckets[hash & (t->capacity - 1)];

	while (node != NULL && node->hidden != GC_HIDE_POINTER(key))
		node = node->next;
	return node;
}

static void hand_key_put(struct hand *t, obj *key, void *value)
{
	uint64_t hash = hash_pointer(key);

	if (hand_key_find(t, key, hash) != NULL)
		die("a key came twice");
	if (t->len++ >= t->capacity)
		hand_grow(t);
	struct node *node = GC_MALLOC(sizeof *node), **bucket = &t->buckets[hash & (t->capacity - 1)];
	*node = (struct node){.next = *bucket, .hash = hash, .hidden = GC_HIDE_POINTER(key), .value = value};
	*bucket = node;
	if (GC_general_register_disappearing_link((void **)&node->hidden, key) != GC_SUCCESS)
		die("no link");
}

static void *hand_key_get(struct hand *t, const obj *key)
{
	struct node *node = hand_key_find(t, key, hash_pointer(key));

	return node == NULL ? NULL : node->value;
}

static size_t hand_purge(struct hand *t)
{
	for (size_t i = 0; i < t->capacity; i++)
		for (struct node **at = &t->buckets[i]; *at != NULL;) {
			if ((*at)->hidden != 0) {
				at = &(*at)->next;
				continue;
			}
			*at = (*at)->next;
			t->len--;
		}
	return t->len;
}

/* ---- alloc ---- */

static NOINLINE double alloc_round(const gc_type *type, int leaf)
{
	double began = now();

	for (long i = 0; i < n; i++)
		objs[i] = type != NULL ? gc_new(type) : leaf ? GC_MALLOC_ATOMIC(16 + sizeof(obj)) : GC_MALLOC(16 + sizeof(obj));
	double time = (now() - began) / (double)n;
	for (long i = 0; i < n; i++)
		objs[i] = NULL;
	GC_gcollect();
	return time;
}

static void alloc_pair(const char *workload, const gc_type *type, int leaf)
{
	double ours = 1e9, theirs = 1e9;

	alloc_round(type, leaf);
	alloc_round(NULL, leaf);
	for (int i = 0; i < 7; i++) {
		double a = alloc_round(type, leaf), b = alloc_round(NULL, leaf);
		ours = a < ours ? a : ours;
		theirs = b < theirs ? b : theirs;
	}
	emit(workload, "time", ours, "ns/op");
	emit(workload, "gc_malloc", theirs, "ns/op");
	emit(workload, "ratio", ours / theirs, "x");
}

static void group_alloc(void)
{
	objs = GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *objs);
	alloc_pair("alloc_object", &obj_type, 0);
	alloc_pair("alloc_leaf", &leaf_type, 1);
}

/* ---- ref ---- */

static void *volatile *refs;
static pthread_barrier_t gate;

static NOINLINE void refs_make(void)
{
	for (long i = 0; i < n; i++) {
		if (!raw) {
			refs[i] = weakref_ref_new(objs[i], NULL, NULL);
			continue;
		}
		GC_hidden_pointer *word = GC_MALLOC_ATOMIC(sizeof *word);
		*word = GC_HIDE_POINTER(objs[i]);
		GC_general_register_disappearing_link((void **)word, objs[i]);
		refs[i] = word;
	}
}

static NOINLINE long refs_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++) {
		void *ref = refs[order[i]];
		obj *o = raw ? GC_call_with_alloc_lock(reveal, ref) : weakref_ref_get(ref);
		sum += o->v;
	}
	return sum;
}

/* The machine's own floor: the same cells in the same order, by plain loads. */
static NOINLINE long refs_read_plainly(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++) {
		obj *o = *(obj *volatile *)refs[order[i]];
		sum += o->v;
	}
	return sum;
}

static void *refs_reader(void *unused)
{
	pthread_barrier_wait(&gate);
	check_sum(refs_read());
	pthread_barrier_wait(&gate);
	return unused;
}

static void group_ref(void)
{
	pthread_t threads[2];

	objs_make();
	order = permutation();
	refs = GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *refs);
	double base = collect_time(), began = now();
	refs_make();
	emit("ref_new", "time", (now() - began) / (double)n, "ns/op");
	emit("ref_gc", "per_ref", (collect_time() - base) / (double)n, "ns");
	if (!raw) {
		check_sum(refs_read_plainly());
		began = now();
		check_sum(refs_read_plainly());
		emit("ref_get", "plain_load", (now() - began) / (double)n, "ns/op");
	}
	began = now();
	check_sum(refs_read());
	emit("ref_get", "time", (now() - began) / (double)n, "ns/op");
	pthread_barrier_init(&gate, NULL, 3);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, refs_reader, NULL);
	pthread_barrier_wait(&gate);
	began = now();
	pthread_barrier_wait(&gate);
	emit("ref_get_mt", "time", (now() - began) / (2.0 * (double)n), "ns/op");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* ---- wvd ---- */

static void **table; /* a root that libgc scans: the dictionary, or the table by hand */

static NOINLINE void wvd_fill(void)
{
	double began = now();

	for (long i = 0; i < n; i++) {
		if (raw)
			hand_put(*table, keys[i], objs[i]);
		else if (weakref_valuedict_set(*table, keys[i], objs[i]) != 0)
			die("cannot insert");
	}
	emit("wvd_insert", "time", (now() - began) / (double)n, "ns/op");
}

static NOINLINE long wvd_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++) {
		const char *key = keys[order[i]];
		obj *o = raw ? hand_get(*table, key) : weakref_valuedict_get(*table, key);
		sum += o->v;
	}
	return sum;
}

static void *wvd_reader(void *unused)
{
	pthread_barrier_wait(&gate);
	check_sum(wvd_read());
	pthread_barrier_wait(&gate);
	return unused;
}

static void wvd_read_by_two(void)
{
	pthread_t threads[2];

	pthread_barrier_init(&gate, NULL, 3);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, wvd_reader, NULL);
	pthread_barrier_wait(&gate);
	double began = now();
	pthread_barrier_wait(&gate);
	emit("wvd_get_hit_mt", "time", (now() - began) / (2.0 * (double)n), "ns/op");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* The slowest single insertion into a table of this size, collections aside. */
static NOINLINE void wvd_worst(void)
{
	weakref_valuedict *dict = weakref_valuedict_new(WEAKREF_KEY_STRING);
	double worst = 0;

	gc_disable();
	for (long i = 0; i < n; i++) {
		double began = now();
		weakref_valuedict_set(dict, keys[i], objs[i]);
		double took = now() - began;
		worst = took > worst ? took : worst;
	}
	gc_enable();
	emit("wvd_insert", "worst", worst / 1e3, "us");
}

static void group_wvd(void)
{
	objs_make();
	keys_make();
	order = permutation();
	table = GC_MALLOC_UNCOLLECTABLE(sizeof *table);
	double base = collect_time(), used = heap_used();
	long resident = status_kb("VmRSS:");
	*table = raw ? (void *)hand_new() : (void *)weakref_valuedict_new(WEAKREF_KEY_STRING);
	wvd_fill();
	emit("wvd_mem", "peak_rss", (double)status_kb("VmHWM:") / 1024, "MiB");
	emit("wvd_mem", "rss_per_entry", (double)(status_kb("VmRSS:") - resident) * 1024 / (double)n, "B");
	double began = now();
	check_sum(wvd_read());
	emit("wvd_get_hit", "time", (now() - began) / (double)n, "ns/op");
	wvd_read_by_two();
	double live = collect_time();
	emit("wvd_gc_live", "base", base / 1e6, "ms");
	emit("wvd_gc_live", "live", live / 1e6, "ms");
	emit("wvd_gc_live", "overhead", (live - base) / 1e6, "ms");
	emit("wvd_gc_live", "overhead_per_entry", (live - base) / (double)n, "ns");
	emit("wvd_mem", "heap_per_entry", (heap_used() - used) / (double)n, "B");
	began = now();
	drop_half();
	GC_gcollect();
	size_t len = raw ? hand_purge(*table) : weakref_valuedict_len(*table);
	emit("wvd_gc_dead", "time", (now() - began) / 1e6, "ms");
	emit("wvd_gc_dead", "residual", (double)len - (double)(n - n / 2), "entries");
	if (!raw) {
		objs_make();
		wvd_worst();
	}
}

/* ---- wkd ---- */

static void *key_table_new(void)
{
	void *made = raw ? (void *)hand_new() : (void *)weakref_keydict_new(WEAKREF_BY_IDENTITY);

	if (made == NULL)
		die("no memory");
	return made;
}

static void key_put(long i, void *value)
{
	if (raw)
		hand_key_put(*table, objs[i], value);
	else if (weakref_keydict_set(*table, objs[i], value) != 0)
		die("cannot insert");
}

/* By hand the dead entries have to be looked for. */
static size_t key_len(void)
{
	return raw ? hand_purge(*table) : weakref_keydict_len(*table);
}

static NOINLINE void wkd_fill(void)
{
	double began = now();

	for (long i = 0; i < n; i++)
		key_put(i, (void *)i);
	emit("wkd_insert", "time", (now() - began) / (double)n, "ns/op");
}

static NOINLINE long wkd_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++) {
		obj *key = objs[order[i]];
		sum += (long)(raw ? hand_key_get(*table, key) : weakref_keydict_get(*table, key));
	}
	return sum;
}

static void group_wkd(void)
{
	objs_make();
	order = permutation();
	table = GC_MALLOC_UNCOLLECTABLE(sizeof *table);
	double base = collect_time(), used = heap_used();
	*table = key_table_new();
	wkd_fill();
	double began = now();
	check_sum(wkd_read());
	emit("wkd_get_hit", "time", (now() - began) / (double)n, "ns/op");
	double live = collect_time();
	emit("wkd_gc_live", "base", base / 1e6, "ms");
	emit("wkd_gc_live", "live", live / 1e6, "ms");
	emit("wkd_gc_live", "overhead", (live - base) / 1e6, "ms");
	emit("wkd_gc_live", "overhead_per_entry", (live - base) / (double)n, "ns");
	emit("wkd_mem", "heap_per_entry", (heap_used() - used) / (double)n, "B");
	began = now();
	drop_half();
	GC_gcollect();
	size_t len = key_len();
	emit("wkd_gc_dead", "time", (now() - began) / 1e6, "ms");
	emit("wkd_gc_dead", "residual", (double)len - (double)(n - n / 2), "entries");
}

/* ---- eph and single ---- */

struct value {
	long v;
	obj *key;
};

static const gc_type value_type = {.name = "value", .size = sizeof(struct value)};
static weakref_ephemeron **ephemerons; /* scanned */
static struct value **chain_root;

static struct value *value_new(obj *key)
{
	struct value *value = raw ? GC_MALLOC(sizeof *value) : gc_new(&value_type);

	if (value == NULL)
		die("no memory");
	value->key = key;
	return value;
}

static void single_put(long i, void *value)
{
	ephemerons[i] = weakref_ephemeron_new(objs[i], value);
	if (ephemerons[i] == NULL)
		die("cannot make an ephemeron");
}

static size_t single_len(void)
{
	size_t len = 0;

	for (long i = 0; i < n; i++)
		len += !weakref_ephemeron_is_dead(ephemerons[i]);
	return len;
}

/* A group's entries: in one dictionary, or each an ephemeron. */
struct entries {
	const char *self, *chain;
	void (*put)(long i, void *value);
	size_t (*len)(void);
};

static const struct entries in_table = {"eph_self", "eph_chain", key_put, key_len};
static const struct entries in_ephemerons = {"single_self", "single_chain", single_put, single_len};

/* How many collections until all but a few are gone. */
static int entries_collect(const struct entries *entries, size_t *left)
{
	int rounds = 0;

	for (*left = (size_t)n; rounds < 5 && *left > 16; rounds++) {
		scrub();
		GC_gcollect();
		*left = entries->len();
	}
	return rounds;
}

static NOINLINE void fill_self(const struct entries *entries)
{
	for (long i = 0; i < n; i++)
		entries->put(i, value_new(objs[i]));
}

static NOINLINE void fill_chain(const struct entries *entries)
{
	for (long i = 0; i < n; i++)
		entries->put(i, value_new(i + 1 < n ? objs[i + 1] : NULL));
	for (long i = 1; i < n; i++)
		objs[i] = NULL;
}

static NOINLINE void single_fill_numbers(void)
{
	double began = now();

	for (long i = 0; i < n; i++)
		single_put(i, (void *)i);
	emit("single_new", "time", (now() - began) / (double)n, "ns/op");
}

static NOINLINE void objs_drop(void)
{
	for (long i = 0; i < n; i++)
		objs[i] = NULL;
}

/* The same objects, each key holding its value. */
static NOINLINE void strong_chain(void)
{
	struct value *first = NULL;

	for (long i = 0; i < 2 * n; i++) {
		struct value *value = value_new(NULL);
		value->key = (obj *)first;
		first = value;
	}
	*chain_root = first;
}

static void chain_strong(const struct entries *entries)
{
	chain_root = GC_MALLOC_UNCOLLECTABLE(sizeof *chain_root);
	strong_chain();
	emit(entries->chain, "strong", collect_time() / 1e6, "ms");
	*chain_root = NULL;
	GC_gcollect();
}

/* The entries are there, and their objects held; all of these are dropped. */
static void self_drop(const struct entries *entries)
{
	size_t left;

	objs_drop();
	double began = now();
	int rounds = entries_collect(entries, &left);
	emit(entries->self, "leaked", (double)left, "entries");
	emit(entries->self, "time", (now() - began) / 1e6, "ms");
	emit(entries->self, "rounds", rounds, "gcs");
}

static void chain(const struct entries *entries)
{
	size_t left;

	objs_make();
	fill_chain(entries);
	double began = now();
	GC_gcollect();
	emit(entries->chain, "collect", (now() - began) / 1e6, "ms");
	emit(entries->chain, "remain", (double)entries->len(), "entries");
	objs[0] = NULL;
	entries_collect(entries, &left);
	emit(entries->chain, "leaked", (double)left, "entries");
}

static long chain_length(void)
{
	const char *text = getenv("CHAIN");
	long length = text != NULL ? atol(text) : 100000;

	return length < 2 ? 2 : length > n ? n : length;
}

static void group_eph(void)
{
	long full = n;

	table = GC_MALLOC_UNCOLLECTABLE(sizeof *table);
	*table = key_table_new();
	objs_make();
	fill_self(&in_table);
	self_drop(&in_table);
	*table = NULL;
	GC_gcollect();
	n = chain_length();
	chain_strong(&in_table);
	*table = key_table_new();
	chain(&in_table);
	*table = NULL;
	n = full;
}

static void single_live(const char *metric, double base)
{
	emit("single_gc_live", metric, (collect_time() - base) / (double)n, "ns");
}

static void single_self(void)
{
	objs_make();
	double base = collect_time();
	single_fill_numbers();
	single_live("per_number", base);
	fill_self(&in_ephemerons);
	single_live("per_object", base);
	self_drop(&in_ephemerons);
}

static void group_single(void)
{
	long full = n;

	ephemerons = GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *ephemerons);
	if (!raw) {
		single_self();
		memset(ephemerons, 0, (size_t)n * sizeof *ephemerons);
		GC_gcollect();
	}
	n = chain_length();
	chain_strong(&in_ephemerons);
	if (!raw)
		chain(&in_ephemerons);
	n = full;
}

/* ---- main ---- */

static const struct group {
	const char *name;
	void (*run)(void);
} groups[] = {{"alloc", group_alloc}, {"eph", group_eph}, {"ref", group_ref}, {"single", group_single},
	      {"wkd", group_wkd},     {"wvd", group_wvd}};

static const struct group *group_find(const char *name)
{
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		if (strcmp(groups[i].name, name) == 0)
			return &groups[i];
	fprintf(stderr, "weakbench: no group '%s'; there are alloc, eph, ref, single, wkd, wvd\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "r:")) != -1) {
		if (option != 'r')
			return 2;
		runtime = optarg;
	}
	raw = strcmp(runtime, "libgc") == 0;
	if (argc - optind < 2 || (n = atol(argv[optind])) < 2) {
		fprintf(stderr, "usage: [CHAIN=n] weakbench [-r RUNTIME] N GROUP...   (-r libgc: by hand on libgc)\n"
				"groups: alloc eph ref single wkd wvd\n");
		return 2;
	}
	for (int i = optind + 1; i < argc; i++)
		group_find(argv[i]);
	GC_INIT();
	if (!raw && gc_init() != 0)
		die("cannot start");
	for (int i = optind + 1; i < argc; i++)
		group_find(argv[i])->run();
	return 0;
}

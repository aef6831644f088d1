/* SPDX-License-Identifier: MIT */
/*
 * weak_limits: the groups limit_*: each operation beside the least that the machine needs for the same, in turns in one process; the
 * ratio is the middle one of the turns' ratios. See weakbench.c.
 */
#include "weak_own.h"

#include <gc/gc_mark.h>

#include "bare.h"
#include "strong.h"

#define TURNS 7

struct turns {
	double ours[TURNS], least[TURNS], ratio[TURNS];
};

static void emit_turns(const char *workload, struct turns *turns, double scale, const char *least, const char *unit)
{
	for (int i = 0; i < TURNS; i++)
		turns->ratio[i] = turns->ours[i] / turns->least[i];
	emit(workload, "ours", median(turns->ours, TURNS) / scale, unit);
	emit(workload, least, median(turns->least, TURNS) / scale, unit);
	emit(workload, "ratio", median(turns->ratio, TURNS), "x");
}

static double timed(long (*work)(void))
{
	double began = now();
	long sum = work();
	double took = now() - began;

	check_sum(sum);
	return took;
}

/* ---- reading references: the same cells in the same order by plain loads ---- */

static void *volatile *refs;

static NOINLINE void refs_make(void)
{
	refs = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *refs));
	for (long i = 0; i < n; i++)
		refs[i] = reference_new(objs[i]);
}

static NOINLINE long refs_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += reference_get(refs[order[i]])->v;
	return sum;
}

/* The same where each read waits for the one before, as in a program that follows references: what is counted then is how long one
 * takes, not how many the machine has under way at once. Values are not negative. */
static NOINLINE long refs_follow(void)
{
	long sum = 0;

	for (long i = 0, v; i < n; i += 1 + (v >> 62)) {
		v = reference_get(refs[order[i]])->v;
		sum += v;
	}
	return sum;
}

/* A reference's first word is its referent. */
static NOINLINE long refs_follow_plainly(void)
{
	long sum = 0;

	for (long i = 0, v; i < n; i += 1 + (v >> 62)) {
		v = (*(obj *volatile *)refs[order[i]])->v;
		sum += v;
	}
	return sum;
}

static NOINLINE long refs_read_plainly(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += (*(obj *volatile *)refs[order[i]])->v;
	return sum;
}

static void group_limit_ref(void)
{
	struct turns turns;

	objs_make();
	order = permutation();
	refs_make();
	refs_read_plainly();
	for (int i = 0; i < TURNS; i++) {
		turns.ours[i] = timed(refs_read);
		turns.least[i] = timed(refs_read_plainly);
	}
	emit_turns("limit_ref", &turns, (double)n, "plain_load", "ns/op");
	for (int i = 0; i < TURNS; i++) {
		turns.ours[i] = timed(refs_follow);
		turns.least[i] = timed(refs_follow_plainly);
	}
	emit_turns("limit_ref_dependent", &turns, (double)n, "plain_load", "ns/op");
}

/* ---- hits: the same table with strong values ---- */

static void *volatile *strong;

static NOINLINE void tables_fill(void)
{
	for (long i = 0; i < n; i++) {
		valuetable_set(*table, keys[i], objs[i]);
		if (strong_set(*strong, keys[i], objs[i]) != 0)
			die("cannot insert");
	}
}

static NOINLINE long weak_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += valuetable_get(*table, keys[order[i]])->v;
	return sum;
}

static NOINLINE long strong_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += ((obj *)strong_get(*strong, keys[order[i]]))->v;
	return sum;
}

/* The keys' own cache misses are in both. */
static void group_limit_hit(void)
{
	struct turns turns;

	objs_make();
	keys_make();
	order = permutation();
	table_place();
	strong = made(GC_MALLOC_UNCOLLECTABLE(sizeof *strong));
	*table = valuetable_new();
	*strong = made(strong_new());
	tables_fill();
	weak_read();
	for (int i = 0; i < TURNS; i++) {
		turns.ours[i] = timed(weak_read);
		turns.least[i] = timed(strong_read);
	}
	emit_turns("limit_hit", &turns, (double)n, "strong", "ns/op");
	/* What was compared was a weak table and a strong one. */
	objs_drop();
	GC_gcollect();
	if (valuetable_len(*table) != (size_t)n)
		die("the strong table is not strong");
	*strong = NULL;
	scrub();
	GC_gcollect();
	if (valuetable_len(*table) > (size_t)n / 2)
		die("the weak table is not weak");
}

/* ---- hits: tables that do nothing but look up ---- */

static struct bare bare;

static void bare_new(size_t key_bytes)
{
	bare.capacity = (uint64_t)n * 4 / 3 + 1;
	bare.slots = calloc(bare.capacity, sizeof *bare.slots);
	bare.keys = malloc(key_bytes + 16);
	if (bare.slots == NULL || bare.keys == NULL)
		die("no memory");
}

static void bare_free(void)
{
	free(bare.slots);
	free(bare.keys);
}

static NOINLINE void strings_fill(void)
{
	size_t used = 0, bytes = 0;

	for (long i = 0; i < n; i++)
		bytes += strlen(keys[i]) + 1;
	bare_new(bytes);
	*table = valuetable_new();
	for (long i = 0; i < n; i++) {
		struct bare_string key = bare_string_of(keys[i]);
		struct bare_slot *slot = bare_find_string(&bare, keys[i]);
		slot->key = bare_hash(key.low, key.high) | (uint64_t)used << 32;
		slot->value = objs[i];
		memcpy(bare.keys + used, keys[i], strlen(keys[i]) + 1);
		used += strlen(keys[i]) + 1;
		valuetable_set(*table, keys[i], objs[i]);
	}
}

static NOINLINE long strings_read_barely(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += ((obj *)bare_find_string(&bare, keys[order[i]])->value)->v;
	return sum;
}

static NOINLINE void pointers_fill(void)
{
	bare_new(0);
	*table = keytable_new();
	for (long i = 0; i < n; i++) {
		*bare_find_pointer(&bare, objs[i]) = (struct bare_slot){(uintptr_t)objs[i], (void *)i};
		keytable_set(*table, objs[i], (void *)i);
	}
}

static NOINLINE long pointers_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += (long)keytable_get(*table, objs[order[i]]);
	return sum;
}

static NOINLINE long pointers_read_barely(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += (long)bare_find_pointer(&bare, objs[order[i]])->value;
	return sum;
}

static void emit_get(const char *workload, long (*ours)(void), long (*least)(void))
{
	struct turns turns;

	ours();
	least();
	for (int i = 0; i < TURNS; i++) {
		turns.ours[i] = timed(ours);
		turns.least[i] = timed(least);
	}
	emit_turns(workload, &turns, (double)n, "bare", "ns/op");
	bare_free();
}

static void group_limit_get(void)
{
	objs_make();
	keys_make();
	order = permutation();
	table_place();
	strings_fill();
	emit_get("limit_get", weak_read, strings_read_barely);
	pointers_fill();
	emit_get("limit_get_identity", pointers_read, pointers_read_barely);
}

/* ---- a collection with all entries live: a bare scan over the same pointers ---- */

static void **scanned; /* not seen by libgc */
static long bare_live;
static double bare_took;

/* As many looks at a mark bit, in the order of `scanned`. Blocks begin 16 bytes before their objects. */
static void bare_scan_stw(void)
{
	double began = now();
	long live = 0;

	for (long i = 0; i < n; i++)
		live += GC_is_marked((char *)scanned[i] - 16) != 0;
	bare_took = now() - began;
	bare_live = live;
}

static double bare_scan(void)
{
	GC_gcollect();
	if (bare_live != n)
		die("a live object was not marked");
	return bare_took;
}

static void scan_in_creation_order(void)
{
	for (long i = 0; i < n; i++)
		scanned[i] = objs[i];
}

/* The order in which a dictionary has its entries is the one in which it is iterated. */
static void scan_in_value_order(void)
{
	weakref_valuedict_iter *iter = made(weakref_valuedict_iter_new(*table));
	const void *key;
	long i = 0;

	while (i < n && weakref_valuedict_iter_next(iter, &key, &scanned[i]) > 0)
		i++;
	if (i != n)
		die("entries are missing");
}

static void scan_in_key_order(void)
{
	weakref_keydict_iter *iter = made(weakref_keydict_iter_new(*table));
	void *value;
	long i = 0;

	while (i < n && weakref_keydict_iter_next(iter, &scanned[i], &value) > 0)
		i++;
	if (i != n)
		die("entries are missing");
}

/* The same collection tells both: the scan by the hook, then the library's own. */
static void emit_scan(const char *workload, void (*in_table_order)(void))
{
	struct turns turns;
	double flat[TURNS];

	hook_watch();
	hook_before_stw = bare_scan_stw;
	scan_in_creation_order();
	for (int i = 0; i < TURNS; i++)
		flat[i] = bare_scan();
	in_table_order();
	bare_scan();
	for (int i = 0; i < TURNS; i++) {
		turns.least[i] = bare_scan();
		turns.ours[i] = hook_times.hook;
	}
	hook_before_stw = NULL;
	emit(workload, "flat", median(flat, TURNS) / (double)n, "ns");
	emit_turns(workload, &turns, (double)n, "bare", "ns");
}

static void scan_begin(void)
{
	objs_make();
	order = permutation();
	table_place();
	scanned = malloc((size_t)n * sizeof *scanned);
	if (scanned == NULL)
		die("no memory");
}

static NOINLINE void fill_values(void)
{
	keys_make();
	*table = valuetable_new();
	for (long i = 0; i < n; i++)
		valuetable_set(*table, keys[i], objs[i]);
}

static NOINLINE void fill_keys(void)
{
	*table = keytable_new();
	for (long i = 0; i < n; i++)
		keytable_set(*table, objs[i], (void *)i);
}

static void group_limit_live(void)
{
	scan_begin();
	fill_values();
	emit_scan("limit_live", scan_in_value_order);
	free(scanned);
}

static void group_limit_wkd(void)
{
	scan_begin();
	fill_keys();
	emit_scan("limit_wkd", scan_in_key_order);
	free(scanned);
}

/* ---- a chain of ephemerons: the same objects linked strongly ---- */

/* Key leads to value, value to the next key, by plain pointers. The objects are made in the same order. */
static NOINLINE void strong_chain(void)
{
	objs_make();
	for (long i = 0; i < n; i++) {
		struct value *value = value_new();
		value->key = i + 1 < n ? objs[i + 1] : NULL;
		*(void **)(void *)objs[i] = value; /* a key's only word */
	}
	for (long i = 1; i < n; i++)
		objs[i] = NULL;
}

static NOINLINE void weak_chain(void)
{
	objs_make();
	*table = keytable_new();
	for (long i = 0; i < n; i++) {
		struct value *value = value_new();
		value->key = i + 1 < n ? objs[i + 1] : NULL;
		keytable_set(*table, objs[i], value);
	}
	for (long i = 1; i < n; i++)
		objs[i] = NULL;
}

/* One after the other, since each is in the other's collections. */
static void group_limit_chain(void)
{
	struct turns turns;
	long full = n;

	n = chain_length();
	table_place();
	if (n < 2)
		return;
	strong_chain();
	scrub();
	GC_gcollect();
	for (int i = 0; i < TURNS; i++)
		turns.least[i] = collect_once();
	objs_drop();
	scrub();
	GC_gcollect();
	weak_chain();
	scrub();
	GC_gcollect();
	for (int i = 0; i < TURNS; i++)
		turns.ours[i] = collect_once();
	if (keytable_len(*table) != (size_t)n)
		die("a part of the chain is gone");
	emit_turns("limit_chain", &turns, 1e6, "strong", "ms");
	n = full;
}

/* ---- references in a collection ---- */

static void group_limit_gc(void)
{
	objs_make();
	double base = collect_time();
	refs_make();
	emit("limit_gc", "per_ref", (collect_time() - base) / (double)n, "ns");
}

const struct group limit_groups[] = {
	{"limit_ref", group_limit_ref},
	{"limit_hit", group_limit_hit},
	{"limit_get", group_limit_get},
	{"limit_live", group_limit_live},
	{"limit_wkd", group_limit_wkd},
	{"limit_chain", group_limit_chain},
	{"limit_gc", group_limit_gc},
	{NULL, NULL},
};

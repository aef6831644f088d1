/* SPDX-License-Identifier: MIT */
/*
 * weak_own: the groups alloc, single, many, worst and pause, and what ours.h leaves to be defined; see weakbench.c.
 */
#include "weak_own.h"

const gc_type obj_type = {.name = "obj", .size = sizeof(obj)};
const gc_type value_type = {.name = "value", .size = sizeof(struct value)};
static const gc_type leaf_type = {.name = "leaf", .size = sizeof(obj), .flags = WEAKREF_TYPE_LEAF};

long finalizers_ran;

int finalizer_run(void *args)
{
	(void)args;
	finalizers_ran++;
	return 0;
}

static int mortal_destroy(void *o)
{
	finalizers_ran += ((obj *)o)->v >= 0;
	return 0;
}

const gc_type mortal_type = {.name = "mortal", .size = sizeof(obj), .destroy = mortal_destroy};

/* ---- alloc ---- */

/* What is allocated: objects of ours, or by libgc itself as many bytes. */
static const gc_type *alloc_type;
static bool alloc_leaf;
static int alloc_threads;

static NOINLINE void alloc_some(int index)
{
	for (long i = index; i < n; i += alloc_threads)
		objs[i] = alloc_type != NULL ? gc_new(alloc_type)
			: alloc_leaf ? GC_MALLOC_ATOMIC(16 + sizeof(obj)) : GC_MALLOC(16 + sizeof(obj));
}

static double alloc_round(const gc_type *type, bool leaf, int threads)
{
	double took;

	alloc_type = type;
	alloc_leaf = leaf;
	alloc_threads = threads;
	if (threads > 1) {
		took = threads_run(threads, alloc_some);
	} else {
		double began = now();
		alloc_some(0);
		took = now() - began;
	}
	objs_drop();
	GC_gcollect();
	return took / (double)n;
}

/* In turns; the best of each counts, which is the one least disturbed. */
static void alloc_pair(const char *workload, const gc_type *type, bool leaf, int threads)
{
	double ours = 1e9, theirs = 1e9;

	alloc_round(type, leaf, threads);
	alloc_round(NULL, leaf, threads);
	for (int i = 0; i < 7; i++) {
		double a = alloc_round(type, leaf, threads), b = alloc_round(NULL, leaf, threads);
		ours = a < ours ? a : ours;
		theirs = b < theirs ? b : theirs;
	}
	emit(workload, "time", ours, "ns/op");
	emit(workload, "gc_malloc", theirs, "ns/op");
	emit(workload, "ratio", ours / theirs, "x");
}

static void group_alloc(void)
{
	objs = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *objs));
	alloc_pair("alloc_object", &obj_type, false, 1);
	alloc_pair("alloc_leaf", &leaf_type, true, 1);
	alloc_pair("alloc_object_mt", &obj_type, false, 2);
	alloc_pair("alloc_leaf_mt", &leaf_type, true, 2);
}

/* ---- single ---- */

static weakref_ephemeron **ephemerons; /* scanned */

static NOINLINE void single_put(long i, void *value)
{
	ephemerons[i] = made(weakref_ephemeron_new(objs[i], value));
}

static size_t single_left(void)
{
	size_t left = 0;

	for (long i = 0; i < n; i++)
		left += !weakref_ephemeron_is_dead(ephemerons[i]);
	return left;
}

static NOINLINE void single_fill_numbers(void)
{
	for (long i = 0; i < n; i++)
		single_put(i, (void *)i);
}

static NOINLINE void single_fill_self(void)
{
	for (long i = 0; i < n; i++) {
		struct value *value = value_new();
		value->key = objs[i];
		single_put(i, value);
	}
}

static NOINLINE void single_fill_chain(void)
{
	for (long i = 0; i < n; i++) {
		struct value *value = value_new();
		value->key = i + 1 < n ? objs[i + 1] : NULL;
		single_put(i, value);
	}
	for (long i = 1; i < n; i++)
		objs[i] = NULL;
}

static void single_self(void)
{
	size_t left;

	objs_make();
	double base = collect_time(), began = now();
	single_fill_numbers();
	emit("single_new", "time", (now() - began) / (double)n, "ns/op");
	emit("single_gc_live", "per_number", (collect_time() - base) / (double)n, "ns");
	single_fill_self();
	emit("single_gc_live", "per_object", (collect_time() - base) / (double)n, "ns");
	objs_drop();
	began = now();
	int rounds = collect_until_few(single_left, &left);
	double took = now() - began;
	emit("single_self", "leaked", (double)left, "entries");
	emit("single_self", "time", took / 1e6, "ms");
	emit("single_self", "rounds", rounds, "gcs");
}

static void single_chain(void)
{
	size_t left;

	objs_make();
	single_fill_chain();
	emit("single_chain", "collect", collect_once() / 1e6, "ms");
	emit("single_chain", "remain", (double)single_left(), "entries");
	objs[0] = NULL;
	collect_until_few(single_left, &left);
	emit("single_chain", "leaked", (double)left, "entries");
}

static void group_single(void)
{
	long full = n;

	ephemerons = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *ephemerons));
	single_self();
	memset(ephemerons, 0, (size_t)n * sizeof *ephemerons);
	GC_gcollect();
	n = chain_length();
	if (n > 1)
		single_chain();
	n = full;
}

/* ---- many ---- */

#define MANY_TURNS 5

/* What is asked for in random order, and where the answers go; what is stored, in the same order. All scanned. */
static const void **asked;
static void **answers;
static weakref_pair *pairs;

/* One by one, and by one call, in turns; the middle of each. */
static void emit_many(const char *workload, void (*one_by_one)(void), void (*together)(void))
{
	double single[MANY_TURNS], whole[MANY_TURNS];

	for (int i = 0; i < MANY_TURNS; i++) {
		double began = now();
		one_by_one();
		single[i] = now() - began;
		began = now();
		together();
		whole[i] = now() - began;
	}
	double one = median(single, MANY_TURNS), all = median(whole, MANY_TURNS);
	emit(workload, "one_by_one", one / (double)n, "ns/op");
	emit(workload, "time", all / (double)n, "ns/op");
	emit(workload, "ratio", all / one, "x");
}

static NOINLINE void many_wvd_get(void)
{
	for (long i = 0; i < n; i++)
		answers[i] = weakref_valuedict_get(*table, asked[i]);
}

static NOINLINE void many_wvd_get_all(void)
{
	if (weakref_valuedict_get_all(*table, asked, (size_t)n, answers) != n)
		die("a value is missing");
}

static NOINLINE void many_wvd_set(void)
{
	for (long i = 0; i < n; i++)
		valuetable_set(*table, pairs[i].key, pairs[i].value);
}

static NOINLINE void many_wvd_update(void)
{
	if (weakref_valuedict_update_pairs(*table, pairs, (size_t)n) != 0)
		die("cannot insert");
}

static NOINLINE void many_wkd_get(void)
{
	for (long i = 0; i < n; i++)
		answers[i] = weakref_keydict_get(*table, asked[i]);
}

static NOINLINE void many_wkd_get_all(void)
{
	if (weakref_keydict_get_all(*table, asked, (size_t)n, answers) != n)
		die("a value is missing");
}

static void check_answers(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += ((obj *)answers[i])->v;
	check_sum(sum);
}

/* What is stored is there already: nothing grows. */
static void group_many(void)
{
	objs_make();
	keys_make();
	order = permutation();
	table_place();
	asked = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *asked));
	answers = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *answers));
	pairs = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *pairs));
	*table = valuetable_new();
	for (long i = 0; i < n; i++) {
		asked[i] = keys[order[i]];
		pairs[i] = (weakref_pair){.key = keys[order[i]], .value = objs[order[i]]};
		valuetable_set(*table, keys[i], objs[i]);
	}
	emit_many("many_wvd_get", many_wvd_get, many_wvd_get_all);
	check_answers();
	emit_many("many_wvd_set", many_wvd_set, many_wvd_update);
	*table = keytable_new();
	for (long i = 0; i < n; i++) {
		asked[i] = objs[order[i]];
		keytable_set(*table, objs[i], objs[i]);
	}
	emit_many("many_wkd_get", many_wkd_get, many_wkd_get_all);
	check_answers();
}

/* ---- worst ---- */

#define PASSES 5

/* Insertion i of a fresh dictionary takes at least so long, whatever else the machine does: the shortest of the passes so far. */
static NOINLINE double worst_pass(float *least, bool first)
{
	double worst = 0;

	*table = valuetable_new();
	for (long i = 0; i < n; i++) {
		double began = now();
		valuetable_set(*table, keys[i], objs[i]);
		double took = now() - began;
		worst = took > worst ? took : worst;
		if (first || took < least[i])
			least[i] = (float)took;
	}
	return worst;
}

/* Collections aside: the collector is off. The first pass also pays for memory that the process has not touched before. */
static void group_worst(void)
{
	float *least = malloc((size_t)n * sizeof *least);
	double worst[PASSES], slowest = 0;

	if (least == NULL)
		die("no memory");
	objs_make();
	keys_make();
	table_place();
	for (int pass = 0; pass < PASSES; pass++) {
		gc_disable();
		worst[pass] = worst_pass(least, pass == 0);
		gc_enable();
		GC_gcollect();
	}
	for (long i = 0; i < n; i++)
		slowest = least[i] > slowest ? least[i] : slowest;
	emit("worst_insert", "first", worst[0] / 1e3, "us");
	emit("worst_insert", "seen", median(worst, PASSES) / 1e3, "us");
	emit("worst_insert", "least", slowest / 1e3, "us");
	free(least);
}

/* ---- the hook ---- */

static GC_on_collection_event_proc below;
static double stop_began;
struct hook_times hook_times;
void (*hook_before_stw)(void);

static void GC_CALLBACK hook_event(GC_EventType event)
{
	if (event == GC_EVENT_PRE_STOP_WORLD)
		stop_began = now();
	if (event != GC_EVENT_MARK_END) {
		below(event);
	} else {
		if (hook_before_stw != NULL)
			hook_before_stw();
		double began = now();
		below(event);
		hook_times.hook = now() - began;
	}
	if (event == GC_EVENT_POST_START_WORLD)
		hook_times.stop = now() - stop_began;
}

void hook_watch(void)
{
	if (below != NULL)
		return;
	below = GC_get_on_collection_event();
	GC_set_on_collection_event(hook_event);
}

struct hook_times hook_collect(void)
{
	double hooks[HOOK_TURNS], stops[HOOK_TURNS];

	hook_watch();
	GC_gcollect();
	for (int i = 0; i < HOOK_TURNS; i++) {
		GC_gcollect();
		hooks[i] = hook_times.hook;
		stops[i] = hook_times.stop;
	}
	return (struct hook_times){.hook = median(hooks, HOOK_TURNS), .stop = median(stops, HOOK_TURNS)};
}

/* ---- pause ---- */

static void *volatile *refs;

/* All alive; then the one collection that finds half of them dead. */
static void emit_pause(const char *workload, struct hook_times base)
{
	struct hook_times live = hook_collect();

	emit(workload, "stop_base", base.stop / 1e6, "ms");
	emit(workload, "stop_live", live.stop / 1e6, "ms");
	emit(workload, "hook_live", live.hook / 1e6, "ms");
	emit(workload, "hook_live_per_entry", live.hook / (double)n, "ns");
	drop_half();
	GC_gcollect();
	emit(workload, "stop_dead", hook_times.stop / 1e6, "ms");
	emit(workload, "hook_dead", hook_times.hook / 1e6, "ms");
	emit(workload, "hook_dead_per_entry", hook_times.hook / (double)n, "ns");
}

static NOINLINE void pause_fill_wvd(void)
{
	char key[32];

	*table = valuetable_new();
	for (long i = 0; i < n; i++) {
		key_write(key, 'k', i);
		valuetable_set(*table, key, objs[i]);
	}
}

static NOINLINE void pause_fill_wkd(void)
{
	*table = keytable_new();
	for (long i = 0; i < n; i++)
		keytable_set(*table, objs[i], (void *)i);
}

static NOINLINE void pause_fill_refs(void)
{
	*table = (void *)(refs = made(GC_MALLOC((size_t)n * sizeof *refs)));
	for (long i = 0; i < n; i++)
		refs[i] = reference_new(objs[i]);
}

static void group_pause(void)
{
	static const struct {
		const char *workload;
		void (*fill)(void);
	} kinds[] = {{"pause_wvd", pause_fill_wvd}, {"pause_wkd", pause_fill_wkd}, {"pause_ref", pause_fill_refs}};

	order = permutation();
	table_place();
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		*table = NULL;
		objs_make();
		struct hook_times base = hook_collect();
		kinds[i].fill();
		emit_pause(kinds[i].workload, base);
	}
}

const struct group own_groups[] = {
	{"alloc", group_alloc}, {"single", group_single}, {"many", group_many}, {"worst", group_worst}, {"pause", group_pause}, {NULL, NULL},
};

/* SPDX-License-Identifier: MIT */
/*
 * weak_same: the groups wvd, wkd, eph, ref and fin, step by step as all peers do them; see weakbench.c.
 */
#include "weak.h"

static void *volatile *refs;

static double per_op(double took)
{
	return took / (double)n;
}

/* ---- the two dictionaries ---- */

static void emit_live(const char *workload, double base, double live)
{
	emit(workload, "base", base / 1e6, "ms");
	emit(workload, "live", live / 1e6, "ms");
	emit(workload, "overhead", (live - base) / 1e6, "ms");
	emit(workload, "overhead_per_entry", (live - base) / (double)n, "ns");
}

static void emit_dead(const char *workload, size_t (*len)(void *table))
{
	double began = now();

	drop_half();
	GC_gcollect();
	size_t left = len(*table);
	emit(workload, "time", (now() - began) / 1e6, "ms");
	emit(workload, "residual", (double)left - (double)(n - n / 2), "entries");
}

static NOINLINE void wvd_fill(void)
{
	for (long i = 0; i < n; i++)
		valuetable_set(*table, keys[i], objs[i]);
}

static NOINLINE long wvd_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += valuetable_get(*table, keys[order[i]])->v;
	return sum;
}

static void group_wvd(void)
{
	objs_make();
	keys_make();
	order = permutation();
	table_place();
	double base = collect_time(), used = heap_used();
	long resident = status_kb("VmRSS:");
	*table = valuetable_new();
	double began = now();
	wvd_fill();
	emit("wvd_insert", "time", per_op(now() - began), "ns/op");
	emit("wvd_mem", "peak_rss", (double)status_kb("VmHWM:") / 1024, "MiB");
	emit("wvd_mem", "rss_per_entry", (double)(status_kb("VmRSS:") - resident) * 1024 / (double)n, "B");
	began = now();
	long sum = wvd_read();
	double took = now() - began;
	check_sum(sum);
	emit("wvd_get_hit", "time", per_op(took), "ns/op");
	emit_live("wvd_gc_live", base, collect_time());
	emit("wvd_mem", "heap_per_entry", (heap_used() - used) / (double)n, "B");
	emit_dead("wvd_gc_dead", valuetable_len);
}

static NOINLINE void wkd_fill(void)
{
	for (long i = 0; i < n; i++)
		keytable_set(*table, objs[i], (void *)i);
}

static NOINLINE long wkd_read(void)
{
	long sum = 0;

	for (long i = 0; i < n; i++)
		sum += (long)keytable_get(*table, objs[order[i]]);
	return sum;
}

static void group_wkd(void)
{
	objs_make();
	order = permutation();
	table_place();
	double base = collect_time(), used = heap_used();
	*table = keytable_new();
	double began = now();
	wkd_fill();
	emit("wkd_insert", "time", per_op(now() - began), "ns/op");
	began = now();
	long sum = wkd_read();
	double took = now() - began;
	check_sum(sum);
	emit("wkd_get_hit", "time", per_op(took), "ns/op");
	emit_live("wkd_gc_live", base, collect_time());
	emit("wkd_mem", "heap_per_entry", (heap_used() - used) / (double)n, "B");
	emit_dead("wkd_gc_dead", keytable_len);
}

/* ---- ephemerons ---- */

static size_t entries_left(void)
{
	return keytable_len(*table);
}

static NOINLINE void fill_self(void)
{
	for (long i = 0; i < n; i++) {
		struct value *value = value_new();
		value->key = objs[i];
		keytable_set(*table, objs[i], value);
	}
}

static NOINLINE void fill_chain(void)
{
	for (long i = 0; i < n; i++) {
		struct value *value = value_new();
		value->key = i + 1 < n ? objs[i + 1] : NULL;
		keytable_set(*table, objs[i], value);
	}
	for (long i = 1; i < n; i++)
		objs[i] = NULL;
}

static void eph_self(void)
{
	size_t left;

	objs_make();
	*table = keytable_new();
	fill_self();
	double began = now();
	objs_drop();
	int rounds = collect_until_few(entries_left, &left);
	double took = now() - began;
	emit("eph_self", "leaked", (double)left, "entries");
	emit("eph_self", "time", took / 1e6, "ms");
	emit("eph_self", "rounds", rounds, "gcs");
	*table = NULL;
	GC_gcollect();
}

static void eph_chain(void)
{
	size_t left;

	objs_make();
	*table = keytable_new();
	fill_chain();
	emit("eph_chain", "collect", collect_once() / 1e6, "ms");
	emit("eph_chain", "remain", (double)entries_left(), "entries");
	objs[0] = NULL;
	collect_until_few(entries_left, &left);
	emit("eph_chain", "leaked", (double)left, "entries");
}

static void group_eph(void)
{
	long full = n;

	table_place();
	eph_self();
	n = chain_length();
	if (n > 1)
		eph_chain();
	n = full;
}

/* ---- references ---- */

static NOINLINE void refs_make(void)
{
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

static void refs_reader(int index)
{
	(void)index;
	check_sum(refs_read());
}

static void group_ref(void)
{
	objs_make();
	order = permutation();
	refs = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *refs));
	GC_gcollect();
	double began = now();
	refs_make();
	emit("ref_new", "time", per_op(now() - began), "ns/op");
	began = now();
	long sum = refs_read();
	double took = now() - began;
	check_sum(sum);
	emit("ref_get", "time", per_op(took), "ns/op");
	emit("ref_get_mt", "time", per_op(threads_run(2, refs_reader)) / 2, "ns/op");
}

/* ---- finalizers ---- */

static NOINLINE void finalizers_register(void)
{
	for (long i = 0; i < n; i++)
		finalizer_add(objs[i]);
}

static void group_fin(void)
{
	finalizers_prepare();
	objs_make();
	GC_gcollect();
	finalizers_ran = 0;
	double began = now();
	finalizers_register();
	emit("fin_register", "time", per_op(now() - began), "ns/op");
	began = now();
	objs_drop();
	for (int round = 0; round < 5 && finalizers_ran < n - 16; round++)
		finalizers_collect();
	emit("fin_run", "time", per_op(now() - began), "ns/op");
	emit("fin_run", "not_run", (double)(n - finalizers_ran), "objects");
}

const struct group same_groups[] = {
	{"wvd", group_wvd}, {"wkd", group_wkd}, {"eph", group_eph}, {"ref", group_ref}, {"fin", group_fin}, {NULL, NULL},
};

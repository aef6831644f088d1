/* SPDX-License-Identifier: MIT */
/*
 * weak_work: the groups churn, threads, memory, mortal and again, for both subjects; see weakbench.c.
 */
#include "weak.h"

#include <stdatomic.h>

#define ROUNDS 20 /* of churn, of which those from CHURN_STEADY on are measured */
#define CHURN_STEADY 4
#define TURNS 3 /* of threads: the middle one counts */

/* ---- churn ---- */

static double churn_inserting, churn_collecting;

/* Drops n/10 objects in a random place, makes as many with new keys, collects until the length is right. */
static NOINLINE void churn_round(int round)
{
	long count = n / 10 > 0 ? n / 10 : 1;
	double began = now();

	for (long i = 0; i < count; i++) {
		char text[32];
		long at = order[(round * count + i) % n];
		size_t len = key_write(text, 'c', round * count + i);
		char *key = memcpy(made(GC_MALLOC_ATOMIC(len + 1)), text, len + 1);
		keys[at] = key;
		objs[at] = obj_new();
		valuetable_set(*table, key, objs[at]);
	}
	churn_inserting += now() - began;
	began = now();
	GC_gcollect();
	size_t left = valuetable_len(*table);
	churn_collecting += now() - began;
	if (left < (size_t)n || left > (size_t)n + (size_t)n / 10 + 16)
		die("churn: the length is wrong");
}

static void group_churn(void)
{
	double replaced, used = 0;

	objs_make();
	keys_make();
	order = permutation();
	table_place();
	*table = valuetable_new();
	for (long i = 0; i < n; i++)
		valuetable_set(*table, keys[i], objs[i]);
	for (int round = 0; round < ROUNDS; round++) {
		if (round == CHURN_STEADY) {
			churn_inserting = churn_collecting = 0;
			used = heap_used();
		}
		churn_round(round);
	}
	replaced = (double)(ROUNDS - CHURN_STEADY) * (double)(n / 10 > 0 ? n / 10 : 1);
	emit("churn", "time", (churn_inserting + churn_collecting) / replaced, "ns/op");
	emit("churn", "insert", churn_inserting / replaced, "ns/op");
	emit("churn", "collect", churn_collecting / (ROUNDS - CHURN_STEADY) / 1e6, "ms");
	emit("churn", "growth", heap_used() / used, "x");
}

/* ---- threads ---- */

/* What readers read: entry i. */
static obj *(*read_entry)(long i);
static void *volatile *refs;

static obj *read_wvd(long i)
{
	return valuetable_get(*table, keys[i]);
}

static obj *read_wkd(long i)
{
	return keytable_get(*table, objs[i]);
}

static obj *read_ref(long i)
{
	return reference_get(refs[i]);
}

/* `readers` threads share the n entries among them, so that none has the other's cache lines and each count does the same work. */
static int readers;
static atomic_long read_sum;

static void read_share(int index)
{
	long sum = 0, end = n * (index + 1) / readers;

	for (long i = n * index / readers; i < end; i++)
		sum += read_entry(order[i])->v;
	atomic_fetch_add(&read_sum, sum);
}

static double readers_run(int count, int threads, void (*body)(int index))
{
	readers = count;
	atomic_store(&read_sum, 0);
	double took = threads_run(threads, body);
	check_sum(atomic_load(&read_sum));
	return took / (double)n;
}

static void emit_readers(const char *workload)
{
	static const int counts[] = {1, 2, 8};
	double times[3][TURNS], ups[3][TURNS];
	char metric[32];

	for (int turn = 0; turn < TURNS; turn++)
		for (int i = 0; i < 3; i++) {
			times[i][turn] = readers_run(counts[i], counts[i], read_share);
			ups[i][turn] = times[0][turn] / times[i][turn];
		}
	for (int i = 0; i < 3; i++) {
		snprintf(metric, sizeof metric, "by_%d", counts[i]);
		emit(workload, metric, median(times[i], TURNS), "ns/op");
	}
	for (int i = 1; i < 3; i++) {
		snprintf(metric, sizeof metric, "speedup_%d", counts[i]);
		emit(workload, metric, median(ups[i], TURNS), "x");
	}
}

#if SUBJECT_WRITES_BESIDE_READERS
static atomic_bool readers_done;
static atomic_int readers_left;
static long written;

/* The first thread writes as long as the two others read: entries of its own come and go. */
static void writer_or_reader(int index)
{
	char key[32];

	if (index > 0) {
		read_share(index - 1);
		if (atomic_fetch_sub(&readers_left, 1) == 1)
			atomic_store(&readers_done, true);
		return;
	}
	obj *mine = obj_new();
	written = 0;
	do {
		key_write(key, 'w', written % 4096);
		valuetable_set(*table, key, mine);
		valuetable_delete(*table, key);
		written += 2;
	} while (!atomic_load_explicit(&readers_done, memory_order_relaxed));
}

static void emit_writer(const char *workload)
{
	double reads[TURNS], writes[TURNS];

	for (int turn = 0; turn < TURNS; turn++) {
		atomic_store(&readers_done, false);
		atomic_store(&readers_left, 2);
		reads[turn] = readers_run(2, 3, writer_or_reader);
		writes[turn] = reads[turn] * (double)n / (double)written;
	}
	emit(workload, "by_2_with_writer", median(reads, TURNS), "ns/op");
	emit(workload, "writer", median(writes, TURNS), "ns/op");
}

static obj *rewrite_wvd(long i)
{
	valuetable_set(*table, keys[i], objs[i]);
	return objs[i];
}

static obj *rewrite_wkd(long i)
{
	keytable_set(*table, objs[i], objs[i]);
	return objs[i];
}

/* As readers are, but each stores anew what is there. */
static void emit_writers(const char *workload, obj *(*rewrite)(long i))
{
	read_entry = rewrite;
	emit_readers(workload);
}
#else
#define rewrite_wvd NULL
#define rewrite_wkd NULL

static void emit_writer(const char *workload)
{
	(void)workload;
}

static void emit_writers(const char *workload, obj *(*rewrite)(long i))
{
	(void)workload;
	(void)rewrite;
}
#endif

static void group_threads(void)
{
	objs_make();
	keys_make();
	order = permutation();
	table_place();
	*table = valuetable_new();
	for (long i = 0; i < n; i++)
		valuetable_set(*table, keys[i], objs[i]);
	read_entry = read_wvd;
	emit_readers("threads_wvd_get");
	emit_writer("threads_wvd_get");
	emit_writers("threads_wvd_set", rewrite_wvd);
	*table = keytable_new();
	for (long i = 0; i < n; i++)
		keytable_set(*table, objs[i], objs[i]);
	read_entry = read_wkd;
	emit_readers("threads_wkd_get");
	emit_writers("threads_wkd_set", rewrite_wkd);
	*table = NULL;
	refs = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *refs));
	for (long i = 0; i < n; i++)
		refs[i] = reference_new(objs[i]);
	read_entry = read_ref;
	emit_readers("threads_ref_get");
}

/* ---- memory ---- */

static NOINLINE void fill_values(long count)
{
	for (long i = 0; i < count; i++)
		valuetable_set(*table, keys[i], objs[i]);
}

static NOINLINE void fill_keys(long count)
{
	for (long i = 0; i < count; i++)
		keytable_set(*table, objs[i], (void *)i);
}

/* Bytes an entry of a dictionary made for each size. Of the copies of keys that it holds, the characters do not count. */
static void emit_memory(const char *workload, void *(*make)(void), void (*fill)(long count), size_t (*key_bytes)(const char *key))
{
	double sum = 0, worst = 0;
	int sizes = 0;

	for (double size = (double)n / 10; size <= (double)n * 1.0001; size *= 1.1, sizes++) {
		long count = (long)size;
		double keys_held = 0;
		*table = NULL;
		GC_gcollect();
		GC_gcollect();
		double used = heap_used();
		*table = make();
		fill(count);
		GC_gcollect();
		for (long i = 0; key_bytes != NULL && i < count; i++)
			keys_held += (double)key_bytes(keys[i]);
		double bytes = (heap_used() - used - keys_held) / (double)count;
		sum += bytes;
		worst = bytes > worst ? bytes : worst;
	}
	emit(workload, "mean", sum / sizes, "B");
	emit(workload, "worst", worst, "B");
}

static void group_memory(void)
{
	objs_make();
	keys_make();
	table_place();
	emit_memory("memory_wvd", valuetable_new, fill_values, SUBJECT_KEY_BYTES);
	emit_memory("memory_wkd", keytable_new, fill_keys, NULL);
}

/* ---- mortal ---- */

static NOINLINE void mortals_make(void)
{
	for (long i = 0; i < n; i++)
		objs[i] = mortal_new();
}

static void group_mortal(void)
{
	finalizers_prepare();
	objs_make();
	GC_gcollect();
	double began = now();
	objs_make();
	double plain = now() - began;
	GC_gcollect();
	finalizers_ran = 0;
	began = now();
	mortals_make();
	double took = now() - began;
	emit("mortal_new", "time", took / (double)n, "ns/op");
	emit("mortal_new", "beyond_object", (took - plain) / (double)n, "ns/op");
	began = now();
	objs_drop();
	for (int round = 0; round < 5 && finalizers_ran < n - 16; round++)
		finalizers_collect();
	emit("mortal_run", "time", (now() - began) / (double)n, "ns/op");
	emit("mortal_run", "not_run", (double)(n - finalizers_ran), "objects");
}

/* ---- again: in memory that the process has touched before, as most of a long-lived program's is ---- */

#define AGAIN 5

static NOINLINE void again_fill_objs(void)
{
	for (long i = 0; i < n; i++)
		refs[i] = obj_new();
}

static NOINLINE void again_fill_refs(void)
{
	for (long i = 0; i < n; i++)
		refs[i] = reference_new(objs[i]);
}

static NOINLINE void again_fill_finalizers(void)
{
	for (long i = 0; i < n; i++)
		finalizer_add(objs[i]);
}

static NOINLINE void again_fill_wvd(void)
{
	*table = valuetable_new();
	for (long i = 0; i < n; i++)
		valuetable_set(*table, keys[i], objs[i]);
}

static NOINLINE void again_fill_wkd(void)
{
	*table = keytable_new();
	for (long i = 0; i < n; i++)
		keytable_set(*table, objs[i], (void *)i);
}

/* Everything that was made is dropped, collected, and made once more. The first time does not count. */
static void emit_again(const char *workload, void (*fill)(void))
{
	double took[AGAIN];

	for (int i = -1; i < AGAIN; i++) {
		objs_make();
		GC_gcollect();
		double began = now();
		fill();
		if (i >= 0)
			took[i] = now() - began;
		memset((void *)refs, 0, (size_t)n * sizeof *refs);
		*table = NULL;
		objs_drop();
		/* The second gives back what the first finalizes. */
		finalizers_collect();
		finalizers_collect();
	}
	emit(workload, "time", median(took, AGAIN) / (double)n, "ns/op");
}

static void group_again(void)
{
	static const struct {
		const char *workload;
		void (*fill)(void);
	} kinds[] = {{"again_obj", again_fill_objs}, {"again_ref", again_fill_refs}, {"again_fin", again_fill_finalizers},
		     {"again_wvd", again_fill_wvd}, {"again_wkd", again_fill_wkd}};

	finalizers_prepare();
	keys_make();
	table_place();
	refs = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *refs));
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		emit_again(kinds[i].workload, kinds[i].fill);
}

const struct group work_groups[] = {
	{"churn", group_churn}, {"threads", group_threads}, {"memory", group_memory}, {"mortal", group_mortal}, {"again", group_again},
	{NULL, NULL},
};

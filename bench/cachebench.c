/* SPDX-License-Identifier: MIT */
/*
 * cachebench [-o WORK] [SECONDS [THREADS...]]: operations each second by string keys, a line each, tab separated: work what threads, millions
 * for each second of processor time, and of time; of the latter, how many times what the first number of threads does, and how many times
 * what glib does. By default all works, 0.2 s each, of 1 and 2 threads.
 *
 *     work   hit    every key is there: 10000 of them in no order, room for twice as many
 *            full   the same in a cache that is full, where every 32nd look-up is of a new key, which is put: so something is evicted all the
 *                   time, and every read matters to who chooses what
 *            miss   no key is there
 *            turn   look-up, and a put where it misses: 40000 keys, skewed to the first ones, room for 10000
 *            write  puts of keys that are there, room for twice as many
 *     what   valuedict    the bare weak-value dictionary (hit, miss and write)
 *            weak         a cache of weak values with a size bound
 *            cache        a cache of strong values with a size bound
 *            expiring     the same with expiry after access
 *            glib         GHashTable and a list in order of use, under one mutex: what programs write by hand
 *
 * The variants take turns, seven times over, each by all numbers of threads one after the other, since a machine's mood may change within a
 * second: what is "times" was taken within one turn. The middle one of the seven counts, of each figure. Processor time is the mean of the
 * threads', which other work on the machine disturbs least. Sleep is not in it, so the mutex looks better there than it is.
 *
 * Where there are several threads, a last line says what the machine itself takes, in the same minute, to hand a word from one processor to
 * another: work, "line", threads, ns. Whatever two threads write, waits for that.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <glib.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "weakref/weakref.h"

#define HANDED 20000
#define KEYS 40000
#define ROOM 10000
#define TURNS 7
#define MOST 64

static char keys[KEYS][16];
static void **values; /* blocks of the heap */
static unsigned *order;	/* 1 << 16 draws, skewed */
static atomic_bool stop;
static pthread_barrier_t ready;

static void die(const char *what)
{
	fprintf(stderr, "cachebench: %s\n", what);
	exit(3);
}

static double clock_now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the hand-made one ---- */

struct lru_entry {
	GList link; /* first */
	char *key;
	void *value;
};

static struct {
	pthread_mutex_t mutex;
	GHashTable *table;
	GQueue queue;
	guint room;
} lru = {.mutex = PTHREAD_MUTEX_INITIALIZER, .queue = G_QUEUE_INIT};

static void *lru_get(const char *key)
{
	void *value = NULL;

	pthread_mutex_lock(&lru.mutex);
	struct lru_entry *entry = g_hash_table_lookup(lru.table, key);
	if (entry != NULL) {
		g_queue_unlink(&lru.queue, &entry->link);
		g_queue_push_head_link(&lru.queue, &entry->link);
		value = entry->value;
	}
	pthread_mutex_unlock(&lru.mutex);
	return value;
}

static void lru_put(const char *key, void *value)
{
	struct lru_entry *entry = g_new0(struct lru_entry, 1);

	entry->link.data = entry;
	entry->key = g_strdup(key);
	entry->value = value;
	pthread_mutex_lock(&lru.mutex);
	struct lru_entry *old = g_hash_table_lookup(lru.table, key);
	if (old == NULL && lru.queue.length >= lru.room)
		old = g_queue_peek_tail_link(&lru.queue)->data;
	if (old != NULL) {
		g_hash_table_remove(lru.table, old->key);
		g_queue_unlink(&lru.queue, &old->link);
	}
	g_hash_table_insert(lru.table, entry->key, entry);
	g_queue_push_head_link(&lru.queue, &entry->link);
	pthread_mutex_unlock(&lru.mutex);
	if (old != NULL) {
		g_free(old->key);
		g_free(old);
	}
}

static void lru_empty(guint room)
{
	GList *link;

	if (lru.table == NULL)
		lru.table = g_hash_table_new(g_str_hash, g_str_equal);
	while ((link = g_queue_pop_head_link(&lru.queue)) != NULL) {
		struct lru_entry *entry = link->data;
		g_hash_table_remove(lru.table, entry->key);
		g_free(entry->key);
		g_free(entry);
	}
	lru.room = room;
}

/* ---- variants ---- */

enum what { VALUEDICT, WEAK, CACHE, EXPIRING, GLIB, WHATS };
static const char *const what_names[] = {"valuedict", "weak", "cache", "expiring", "glib"};
enum work { HIT, FULL, MISS, TURN, WRITE, WORKS };
static const char *const work_names[] = {"hit", "full", "miss", "turn", "write"};

static weakref_valuedict *dict;
static weakref_cache *caches[WHATS];

static inline void *get(enum what what, const char *key)
{
	if (what == VALUEDICT)
		return weakref_valuedict_get(dict, key);
	return what == GLIB ? lru_get(key) : weakref_cache_get_if_present(caches[what], key);
}

static void put(enum what what, const char *key, void *value)
{
	if (what == VALUEDICT)
		weakref_valuedict_set(dict, key, value);
	else if (what == GLIB)
		lru_put(key, value);
	else if (weakref_cache_put(caches[what], key, value) != 0)
		die("a put failed");
}

static void make(enum what what, enum work work)
{
	static const char *const specs[WHATS] = {[WEAK] = "weakValues,", [CACHE] = "", [EXPIRING] = "expireAfterAccess=1h,"};
	int room = work == TURN || work == FULL ? ROOM : 2 * ROOM;
	char spec[64];

	dict = weakref_valuedict_new(WEAKREF_KEY_STRING);
	lru_empty((guint)room);
	if (specs[what] != NULL) {
		weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_STRING);
		snprintf(spec, sizeof spec, "%smaximumSize=%d", specs[what], room);
		if (weakref_cache_builder_spec(b, spec) != 0)
			die("bad spec");
		caches[what] = weakref_cache_builder_build(b);
	}
	for (int i = 0; i < ROOM; i++)
		put(what, keys[i], values[i]);
}

/* ---- running ---- */

struct worker {
	_Alignas(64) pthread_t thread;
	enum what what;
	enum work work;
	unsigned number;
	uint64_t done;
	uint64_t wrong;
	double cpu;
};

/* Which key is next. */
static inline unsigned choose(enum work work, unsigned draw, unsigned at)
{
	switch (work) {
	case MISS:
		return ROOM + draw % (KEYS - ROOM);
	case TURN:
		return draw;
	case FULL:
		return at % 32 == 0 ? ROOM + at / 32 % (KEYS - ROOM) : draw % ROOM;
	default:
		return draw % ROOM;
	}
}

/* One operation; whether it went wrong. */
static inline bool operate(enum what what, enum work work, unsigned k)
{
	if (work == WRITE) {
		put(what, keys[k], values[k]);
		return false;
	}
	void *value = get(what, keys[k]);
	if (value == NULL && (work == TURN || work == FULL))
		put(what, keys[k], values[k]);
	return work == HIT ? value != values[k] : work == MISS ? value != NULL : value != NULL && value != values[k];
}

static void *run(void *arg)
{
	struct worker *w = arg;
	uint64_t done = 0, wrong = 0;
	unsigned at = w->number * 7919;

	pthread_barrier_wait(&ready);
	double began = clock_now(CLOCK_THREAD_CPUTIME_ID);
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		for (int i = 0; i < 64; i++, done++, at++)
			wrong += operate(w->what, w->work, choose(w->work, order[at & 0xffff], at));
	w->cpu = clock_now(CLOCK_THREAD_CPUTIME_ID) - began;
	w->done = done;
	w->wrong = wrong;
	return NULL;
}

/* Operations, in millions for each second. */
struct figure {
	double cpu, wall;
};

static struct figure measure(enum what what, enum work work, int threads, double seconds)
{
	static struct worker workers[MOST];
	uint64_t done = 0;
	double cpu = 0, began, wall;

	make(what, work);
	stop = false;
	pthread_barrier_init(&ready, NULL, (unsigned)threads + 1);
	for (int i = 0; i < threads; i++) {
		workers[i] = (struct worker){.what = what, .work = work, .number = (unsigned)i};
		pthread_create(&workers[i].thread, NULL, run, &workers[i]);
	}
	pthread_barrier_wait(&ready);
	began = clock_now(CLOCK_MONOTONIC);
	struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
	/* A collection's signal ends it early. */
	while (nanosleep(&t, &t) != 0)
		;
	stop = true;
	wall = clock_now(CLOCK_MONOTONIC) - began;
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		done += workers[i].done;
		cpu += workers[i].cpu;
		if (workers[i].wrong != 0)
			die("a look-up gave the wrong value");
	}
	return (struct figure){.cpu = (double)done / (cpu / threads) / 1e6, .wall = (double)done / wall / 1e6};
}

/* ---- the machine's own ---- */

static struct {
	_Alignas(64) atomic_uint word;
} line;

/* Writes all numbers of one parity, each when the one before is there. On one processor the other thread has to be let in. */
static void hand_on(unsigned first)
{
	for (unsigned i = first; i < HANDED; i += 2) {
		for (unsigned looks = 1; atomic_load_explicit(&line.word, memory_order_acquire) != i; looks++)
			if (looks % 4096 == 0)
				sched_yield();
		atomic_store_explicit(&line.word, i + 1, memory_order_release);
	}
}

static void *hand_back(void *arg)
{
	hand_on(1);
	return arg;
}

static double line_ns(void)
{
	pthread_t other;

	line.word = 0;
	pthread_create(&other, NULL, hand_back, NULL);
	double began = clock_now(CLOCK_MONOTONIC);
	hand_on(0);
	pthread_join(other, NULL);
	return (clock_now(CLOCK_MONOTONIC) - began) / HANDED * 1e9;
}

/* ---- all ---- */

static int by_number(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double middle(double *turns)
{
	qsort(turns, TURNS, sizeof *turns, by_number);
	return turns[TURNS / 2];
}

static void prepare(void)
{
	uint64_t state = 1;

	values = gc_alloc(KEYS * sizeof *values);
	order = malloc(sizeof *order << 16);
	if (values == NULL || order == NULL)
		die("no memory");
	for (int i = 0; i < KEYS; i++) {
		snprintf(keys[i], sizeof keys[i], "key %d", i);
		values[i] = gc_alloc(16);
	}
	for (int i = 0; i < 1 << 16; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		double u = (double)(state >> 11) / (double)(UINT64_C(1) << 53);
		order[i] = (unsigned)(u * u * u * KEYS);
	}
}

/* A dictionary evicts nothing. */
static bool applies(enum what what, enum work work)
{
	return what != VALUEDICT || (work != TURN && work != FULL);
}

/* By variant, number of threads, and turn. */
static struct figure figures[WHATS][MOST][TURNS];
static double lines[MOST][TURNS];

static void run_turn(enum work work, const int *threads, int n, double seconds, int turn)
{
	for (int t = 0; t < n; t++)
		lines[t][turn] = threads[t] > 1 ? line_ns() : 0;
	for (int what = 0; what < WHATS; what++)
		for (int t = 0; t < n && applies((enum what)what, work); t++)
			figures[what][t][turn] = measure((enum what)what, work, threads[t], seconds);
}

static void print_figures(enum work work, enum what what, const int *threads, int t)
{
	double cpu[TURNS], wall[TURNS], first[TURNS], glib[TURNS];

	for (int turn = 0; turn < TURNS; turn++) {
		cpu[turn] = figures[what][t][turn].cpu;
		wall[turn] = figures[what][t][turn].wall;
		first[turn] = wall[turn] / figures[what][0][turn].wall;
		glib[turn] = wall[turn] / figures[GLIB][t][turn].wall;
	}
	printf("%s\t%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\n", work_names[work], what_names[what], threads[t], middle(cpu), middle(wall), middle(first),
	       middle(glib));
}

static void compare(enum work work, const int *threads, int n, double seconds)
{
	for (int turn = 0; turn < TURNS; turn++)
		run_turn(work, threads, n, seconds, turn);
	for (int t = 0; t < n; t++) {
		for (int what = 0; what < WHATS; what++)
			if (applies((enum what)what, work))
				print_figures(work, (enum what)what, threads, t);
		if (threads[t] > 1)
			printf("%s\tline\t%d\t%.0f\n", work_names[work], threads[t], middle(lines[t]));
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	double seconds = 0.2;
	int threads[MOST] = {1, 2}, n = 2, arg = 1;

	if (argc > 2 && strcmp(argv[1], "-o") == 0)
		only = argv[2], arg = 3;
	if (argc > arg)
		seconds = atof(argv[arg++]);
	if (argc > arg)
		n = 0;
	for (; arg < argc && n < MOST; arg++) {
		threads[n] = atoi(argv[arg]);
		if (threads[n] < 1 || threads[n++] > MOST)
			die("bad number of threads");
	}
	if (gc_init() != 0)
		die("no collector");
	prepare();
	for (int work = 0; work < WORKS; work++)
		if (only == NULL || strcmp(only, work_names[work]) == 0)
			compare((enum work)work, threads, n, seconds);
	return 0;
}

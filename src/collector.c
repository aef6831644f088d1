/* SPDX-License-Identifier: MIT */
/*
 * collector: see collector.h and weakref/gc.h.
 *
 * Each completed collection is on one account. One that this library began is named: the thread that began it says so in `named`, and
 * since libgc collects in the thread that asked, the end of the collection finds it there. All others are on the account of generation 0.
 * (A host's finalizer that leaves libgc by longjmp leaves the thread named until it collects again: figures are late then.)
 *
 * Telling: around gc_collect the callbacks run in the caller. All other collections leave a record in a ring, and a node in the delivery
 * queue announces what is in it. Callbacks run as every other delivered callback does, one run at a time in a thread. No collection of
 * their thread is announced meanwhile, whoever asked for it, or an announcement would make the next.
 *
 * Invariants
 *  1. Where the ring is not empty, the node is in the queue, or somebody who took it from there is about to empty it (in a child after
 *     fork maybe nobody: the next collection queues it again).
 *  2. The list of callbacks is never written, but replaced: whoever announces holds the one that it began with.
 *  3. seen <= SEEN_MAX; what was found beyond is counted in seen_more.
 *
 * Locks: libgc's for everything here but the thresholds.
 *
 * Deliberately not here: generations that hold objects. CPython's are an interface only.
 */
#include "collector.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cycle.h"
#include "deliver.h"
#include "heap.h"
#include "weakarray.h"
#include "weakref/gc.h"
#include "weakref/object.h"

#define RING 64 /* more undelivered ones are announced as one */
#define SEEN_MAX 1000

struct callback {
	gc_collection_fn fn;
	void *user;
};

struct list {
	size_t n;
	struct callback at[];
};

/* A root: allocated uncollectable, scanned. */
struct roots {
	struct deliver_node notice;
	struct list *list; /* NULL: none */
};

/* Whether this thread is making a collection, and what came of it. */
struct named {
	bool active;
	gc_collection_info info;
};

static struct roots *roots;
static _Thread_local struct named named __attribute__((tls_model("initial-exec")));
static _Thread_local uintptr_t announcing; /* the frame that is calling the callbacks, or 0 */

static gc_generation_stats stats[WEAKREF_GENERATIONS];
static uint64_t counts[WEAKREF_GENERATIONS]; /* without the first, which is made when it is asked for */
static uint64_t allocated_before, dead_before;
static _Atomic uint64_t thresholds[WEAKREF_GENERATIONS] = {0, 10, 10};

static gc_collection_info ring[RING];
static size_t ring_used;

/* What died, for WEAKREF_DEBUG_COLLECTABLE. */
struct seen {
	const void *obj;
	char name[48];
};

uint64_t (*_Atomic collector_uncollectable_locked)(void);
void (*_Atomic collector_look_for_leaks)(void);

static _Atomic unsigned debug;
static struct seen *seen_at;
static size_t seen, seen_taken;
static uint64_t seen_more;

/* ---- accounts ---- */

static void account_locked(const gc_collection_info *info)
{
	gc_generation_stats *account = &stats[info->generation];

	account->collections++;
	account->collected += info->collected;
	account->uncollectable += info->uncollectable;
	account->pause_ns += info->pause_ns;
	for (int i = 1; i <= info->generation; i++)
		counts[i] = 0;
	if (info->generation + 1 < WEAKREF_GENERATIONS)
		counts[info->generation + 1]++;
}

/* The generation stays. */
static void info_add(gc_collection_info *sum, const gc_collection_info *info)
{
	sum->collected += info->collected;
	sum->uncollectable += info->uncollectable;
	sum->pause_ns += info->pause_ns;
}

static bool somebody_listens(void)
{
	return roots->list != NULL || (atomic_load(&debug) & (WEAKREF_DEBUG_STATS | WEAKREF_DEBUG_COLLECTABLE)) != 0;
}

/* Whether this thread is in a callback of ours. A frame that one left by longjmp is above us at most until the next run. */
static bool is_announcing(void)
{
	return announcing > (uintptr_t)__builtin_frame_address(0) && deliver_running();
}

/* In the thread that collected. */
static void announce_locked(const gc_collection_info *info)
{
	if (is_announcing() || !somebody_listens())
		return;
	if (ring_used == RING)
		info_add(&ring[RING - 1], info);
	else
		ring[ring_used++] = *info;
	if (!deliver_is_queued_locked(&roots->notice))
		deliver_queue_stw(&roots->notice, &roots->notice);
}

/* The end of any collection. */
static void settle_locked(void)
{
	uint64_t (*look)(void) = atomic_load(&collector_uncollectable_locked);
	uint64_t dead = cycle_dead_total_locked();
	gc_collection_info info = {
		.collected = dead - dead_before,
		.uncollectable = look == NULL ? 0 : look(),
		.pause_ns = cycle_pause_last_locked(),
	};

	dead_before = dead;
	allocated_before = heap_objects_allocated_locked();
	if (named.active) {
		info_add(&named.info, &info);
		return;
	}
	account_locked(&info);
	announce_locked(&info);
}

static size_t check_locked(void)
{
	ASSERT(ring_used <= RING);
	ASSERT(seen_taken <= seen && seen <= SEEN_MAX);
	return 2;
}

static struct cycle_scanner scanner = {.settle_locked = settle_locked, .check_locked = check_locked};

/* ---- telling ---- */

static void print_stats(const gc_collection_info *info)
{
	if ((atomic_load(&debug) & WEAKREF_DEBUG_STATS) != 0)
		fprintf(stderr, "libweakref: gc: generation %d: %llu dead, %llu uncollectable, world stopped for %.3f ms\n", info->generation,
			(unsigned long long)info->collected, (unsigned long long)info->uncollectable, (double)info->pause_ns / 1e6);
}

/* World stopped: all memory is there yet, the type's included. */
static void seen_stw(const void *base)
{
	const gc_type *type = gc_type_of((const char *)base + HEAP_HEADER);

	if (seen == SEEN_MAX) {
		seen_more++;
		return;
	}
	struct seen *at = &seen_at[seen++];
	const char *name = type == NULL ? "block" : type->name != NULL ? type->name : "object";
	size_t n = strnlen(name, sizeof at->name - 1);
	at->obj = type == NULL ? base : (const char *)base + HEAP_HEADER;
	memcpy(at->name, name, n);
	at->name[n] = '\0';
}

static void *seen_take_locked(void *out)
{
	if (seen_taken < seen) {
		*(struct seen *)out = seen_at[seen_taken++];
		return out;
	}
	seen = seen_taken = 0;
	snprintf(((struct seen *)out)->name, sizeof ((struct seen *)out)->name, "%llu", (unsigned long long)seen_more);
	seen_more = 0;
	return NULL;
}

static void print_seen(void)
{
	struct seen one;

	if ((atomic_load(&debug) & WEAKREF_DEBUG_COLLECTABLE) == 0)
		return;
	while (heap_with_lock(seen_take_locked, &one) != NULL)
		fprintf(stderr, "libweakref: gc: collectable <%s %p>\n", one.name, one.obj);
	if (strcmp(one.name, "0") != 0)
		fprintf(stderr, "libweakref: gc: collectable: %s more\n", one.name);
}

bool collector_tells_uncollectable(void)
{
	return (atomic_load(&debug) & WEAKREF_DEBUG_UNCOLLECTABLE) != 0;
}

void collector_uncollectable(const void *obj, const char *why)
{
	const gc_type *type = gc_type_of(obj);

	if (collector_tells_uncollectable())
		fprintf(stderr, "libweakref: gc: uncollectable <%s %p>: %s\n",
			type == NULL ? "block" : type->name != NULL ? type->name : "object", obj, why);
}

void collector_uncollectable_at_exit(uint64_t n)
{
	if (n != 0 && (atomic_load(&debug) & (WEAKREF_DEBUG_UNCOLLECTABLE | WEAKREF_DEBUG_STATS)) != 0)
		fprintf(stderr, "libweakref: gc: %llu uncollectable at exit\n", (unsigned long long)n);
}

static void look_for_leaks(void)
{
	void (*look)(void) = atomic_load(&collector_look_for_leaks);

	if (look != NULL && collector_tells_uncollectable())
		look();
}

static struct list *list_get(void)
{
	return __atomic_load_n(&roots->list, __ATOMIC_ACQUIRE);
}

struct telling {
	struct list *list;
	enum weakref_phase phase;
	gc_collection_info info;
};

static NOINLINE void tell(void *arg)
{
	struct telling *t = arg;

	for (size_t i = 0; t->list != NULL && i < t->list->n; i++) {
		announcing = (uintptr_t)__builtin_frame_address(0);
		int result = t->list->at[i].fn(t->phase, &t->info, t->list->at[i].user);
		if (result < 0)
			deliver_failed(result, "collection callback", NULL);
	}
	announcing = 0;
}

struct notices {
	gc_collection_info at[RING];
	size_t n;
};

static void *notices_take_locked(void *arg)
{
	struct notices *notices = arg;

	memcpy(notices->at, ring, ring_used * sizeof *ring);
	notices->n = ring_used;
	ring_used = 0;
	return NULL;
}

/* In a run of the delivery. */
static void notice_run(struct deliver_node *node)
{
	struct notices notices;

	(void)node;
	heap_with_lock(notices_take_locked, &notices);
	for (size_t i = 0; i < notices.n; i++) {
		struct telling t = {list_get(), WEAKREF_PHASE_START, {.generation = notices.at[i].generation}};
		tell(&t);
		t.phase = WEAKREF_PHASE_STOP;
		t.info = notices.at[i];
		tell(&t);
		print_stats(&notices.at[i]);
	}
	print_seen();
}

/* ---- collecting ---- */

struct account {
	gc_collection_info info;
	bool announce;
};

static void *account_call(void *arg)
{
	struct account *a = arg;

	account_locked(&a->info);
	if (a->announce)
		announce_locked(&a->info);
	return NULL;
}

bool collector_collect(void (*collect)(void), int tries)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	gc_cycle_stats before, now;

	cycle_stats(&before);
	for (int i = 0; i < tries; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		collect();
		cycle_stats(&now);
		if (now.collections != before.collections)
			return true;
	}
	return false;
}

/* A collection on the account of info's generation. False where libgc did not collect; else what came of it is in info. */
static bool collect_named(int tries, bool announce, gc_collection_info *info)
{
	struct named outer = named;

	named = (struct named){.active = true, .info.generation = info->generation};
	bool done = collector_collect(heap_collect, tries);
	*info = named.info;
	named = outer;
	struct account account = {*info, announce};
	if (done)
		heap_with_lock(account_call, &account);
	return done;
}

static NOINLINE long collect(int generation)
{
	int saved = errno; /* libgc's waits for threads that it stops leave theirs */
	bool own = !deliver_running();
	struct telling t = {list_get(), WEAKREF_PHASE_START, {.generation = generation}};
	if (own && t.list != NULL)
		deliver_call(tell, &t);
	gc_cycle_stats before, after;
	cycle_stats(&before);
	deliver_put_back();
	const void *held = deliver_hold(__builtin_frame_address(0));
	bool done = collect_named(COLLECTOR_TRIES, !own, &t.info);
	cycle_stats(&after);
	weakarray_purge_all();
	deliver_hold(held);
	if (done)
		deliver_drain();
	if (own) {
		t.phase = WEAKREF_PHASE_STOP;
		if (t.list != NULL)
			deliver_call(tell, &t);
		print_stats(&t.info);
		print_seen();
		look_for_leaks();
	}
	errno = saved;
	return done ? (long)(after.dead - before.dead) : -WEAKREF_EBUSY;
}

long gc_collect_generation(int generation)
{
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if (generation < 0 || generation >= WEAKREF_GENERATIONS)
		return -WEAKREF_EINVAL;
	/* Calls that have returned left words down there, of which the frames of all that follows keep those that they never write. */
	base_clear_stack_top();
	return collect(generation);
}

long gc_collect(void)
{
	return gc_collect_generation(WEAKREF_GENERATIONS - 1);
}

/* ---- pacing ---- */

static uint64_t objects_since_locked(void)
{
	return heap_objects_allocated_locked() - allocated_before;
}

/* The generation that is due, into *out; NULL where none is. */
static void *due_locked(void *out)
{
	uint64_t first = atomic_load(&thresholds[0]);

	if (first == 0 || objects_since_locked() <= first)
		return NULL;
	*(int *)out = counts[2] > atomic_load(&thresholds[2]) ? 2 : counts[1] > atomic_load(&thresholds[1]) ? 1 : 0;
	return out;
}

/* At an allocation that needs fresh memory. */
static void pace(void)
{
	gc_collection_info info;

	if (!heap_is_automatic() || heap_with_lock(due_locked, &info.generation) == NULL)
		return;
	const void *held = deliver_hold(__builtin_frame_address(0));
	collect_named(1, true, &info);
	deliver_hold(held);
	deliver_announce();
}

int gc_set_threshold(const uint64_t *values, size_t n)
{
	if (heap_thread_check() == -WEAKREF_EINVAL || values == NULL || n == 0 || n > WEAKREF_GENERATIONS)
		return -WEAKREF_EINVAL;
	for (size_t i = 0; i < n; i++)
		atomic_store(&thresholds[i], values[i]);
	atomic_store(&heap_pacing, values[0] != 0);
	return 0;
}

int gc_get_threshold(uint64_t out[WEAKREF_GENERATIONS])
{
	if (out == NULL)
		return -WEAKREF_EINVAL;
	for (size_t i = 0; i < WEAKREF_GENERATIONS; i++)
		out[i] = atomic_load(&thresholds[i]);
	return 0;
}

/* ---- figures ---- */

static void *stats_locked(void *out)
{
	memcpy(out, stats, sizeof stats);
	return NULL;
}

int gc_get_stats(gc_generation_stats out[WEAKREF_GENERATIONS])
{
	if (out == NULL || heap_thread_check() == -WEAKREF_EINVAL)
		return -WEAKREF_EINVAL;
	heap_with_lock(stats_locked, out);
	return 0;
}

static void *count_locked(void *out)
{
	memcpy(out, counts, sizeof counts);
	*(uint64_t *)out = objects_since_locked();
	return NULL;
}

int gc_get_count(uint64_t out[WEAKREF_GENERATIONS])
{
	if (out == NULL || heap_thread_check() == -WEAKREF_EINVAL)
		return -WEAKREF_EINVAL;
	heap_with_lock(count_locked, out);
	return 0;
}

/* ---- the list of callbacks ---- */

struct replace {
	struct list *old, *new;
};

static void *list_replace_locked(void *arg)
{
	struct replace *r = arg;

	if (roots->list != r->old)
		return NULL;
	__atomic_store_n(&roots->list, r->new, __ATOMIC_RELEASE);
	return roots;
}

static struct list *list_new(size_t n)
{
	struct list *list = heap_alloc(sizeof *list + n * sizeof list->at[0]);

	if (list != NULL)
		list->n = n;
	return list;
}

int gc_callbacks_add(gc_collection_fn fn, void *user)
{
	struct replace r;
	int error = heap_thread_check();

	if (error != 0)
		return error;
	if (fn == NULL)
		return -WEAKREF_EINVAL;
	do {
		r.old = list_get();
		size_t had = r.old == NULL ? 0 : r.old->n;
		r.new = list_new(had + 1);
		if (r.new == NULL)
			return -WEAKREF_ENOMEM;
		if (had != 0)
			memcpy(r.new->at, r.old->at, had * sizeof r.new->at[0]);
		r.new->at[had] = (struct callback){fn, user};
	} while (heap_with_lock(list_replace_locked, &r) == NULL);
	return 0;
}

static size_t list_find(const struct list *list, gc_collection_fn fn, const void *user)
{
	size_t i = 0;

	while (i < list->n && (list->at[i].fn != fn || list->at[i].user != user))
		i++;
	return i;
}

int gc_callbacks_remove(gc_collection_fn fn, void *user)
{
	struct replace r;
	int error = heap_thread_check();

	if (error != 0)
		return error;
	do {
		r.old = list_get();
		size_t i = r.old == NULL ? 0 : list_find(r.old, fn, user);
		if (r.old == NULL || i == r.old->n)
			return -WEAKREF_ENOENT;
		r.new = r.old->n == 1 ? NULL : list_new(r.old->n - 1);
		if (r.new == NULL && r.old->n > 1)
			return -WEAKREF_ENOMEM;
		for (size_t from = 0, to = 0; from < r.old->n; from++)
			if (from != i)
				r.new->at[to++] = r.old->at[from];
	} while (heap_with_lock(list_replace_locked, &r) == NULL);
	return 0;
}

/* ---- start and settings ---- */

static void *seen_room_locked(void *unused)
{
	(void)unused;
	if (seen_at == NULL)
		seen_at = heap_registry_grow(NULL, 0, SEEN_MAX * sizeof *seen_at);
	return seen_at;
}

static void *seen_watch_locked(void *on)
{
	cycle_dead_seen_stw = on != NULL ? seen_stw : NULL;
	seen = seen_taken = 0;
	seen_more = 0;
	return NULL;
}

int collector_set_debug(unsigned flags)
{
	bool collectable = (flags & WEAKREF_DEBUG_COLLECTABLE) != 0;

	if (collectable && heap_with_lock(seen_room_locked, NULL) == NULL)
		return -WEAKREF_ENOMEM;
	heap_with_lock(seen_watch_locked, collectable ? seen_at : NULL);
	atomic_store(&debug, flags);
	return 0;
}

int collector_init(void)
{
	roots = cycle_roots_new(sizeof *roots);
	if (roots == NULL)
		return -WEAKREF_ENOMEM;
	memset(roots, 0, sizeof *roots);
	roots->notice.run = notice_run;
	heap_pacing_fn = pace;
	cycle_add(&scanner);
	return 0;
}

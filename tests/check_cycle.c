/* SPDX-License-Identifier: MIT */
/*
 * check_cycle: the windows of a collection in which weak words could dangle or live entries be lost, one named regression test
 * for each.
 *
 *     destructor      a dictionary used from a destructor, from a finalizer of the host's, and after a finalizer revived it
 *     restart         readers between the restart of the world and the end of the collection
 *     hook            the event hook lost, kept, and chained
 *     abandoned       a marking that was given up
 *     rehash          a stop in the middle of a table's growth
 *     partial         old dictionaries that change between partial collections
 *     overflow        a mark stack that overflows
 *     fork            a child of a process whose other threads collect and write, or have something half made
 *
 * What must abort, or must have a collector of its own (incremental, one marker), runs in this program started anew with the case's
 * name as its argument; the rest shares support's process. The epoch (src/epoch.h) is looked at, and what is half made is made by the
 * library's own steps; nothing else of its inside.
 */
#define GC_THREADS
#include "support.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gc/gc.h>
#include <gc/gc_mark.h>

#include "epoch.h"
#include "finals.h"
#include "model_valuedict.h"
#include "mortal.h"
#include "weakref/checks.h"

#define N SUPPORT_N

/* ---- filling and looking -------------------------------------------------------------------------------------------------- */

struct fixture {
	weakref_valuedict *dict;
	struct support_node **strong;
	weakref_ref **refs;
	size_t n, keep, found;
};

static int fill(void *arg)
{
	struct fixture *f = arg;

	for (size_t i = 0; i < f->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, WEAKREF_INT(i), node) == 0);
		f->refs[i] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(f->refs[i] != NULL);
		f->strong[i] = f->keep != 0 && i % f->keep == 0 ? node : NULL;
	}
	return 0;
}

/* Reference and entry of each must agree; those held must be there. Allocates nothing. */
static int look(void *arg)
{
	struct fixture *f = arg;
	size_t len = weakref_valuedict_len(f->dict);

	f->found = 0;
	for (size_t i = 0; i < f->n; i++) {
		struct support_node *node = weakref_valuedict_get(f->dict, WEAKREF_INT(i));

		SUPPORT_REQUIRE(weakref_ref_get(f->refs[i]) == node);
		SUPPORT_REQUIRE(node == NULL || (support_node_intact(node) && node->id == i));
		SUPPORT_REQUIRE(f->strong[i] == NULL || f->strong[i] == node);
		f->found += node != NULL;
	}
	SUPPORT_REQUIRE(len >= f->found);
	return 0;
}

/* On the heap, so that cases of a program of their own can use it too. NULL: no memory. */
static struct fixture *fixture_new(size_t n, size_t keep)
{
	struct fixture *f = gc_alloc(sizeof(*f));

	if (f == NULL)
		return NULL;
	f->n = n;
	f->keep = keep;
	f->dict = weakref_valuedict_new(WEAKREF_KEY_INT);
	f->strong = gc_alloc(n * sizeof(*f->strong));
	f->refs = gc_alloc(n * sizeof(weakref_ref *));
	if (f->dict == NULL || f->strong == NULL || f->refs == NULL || support_on_thread(fill, f) != 0)
		return NULL;
	return f;
}

static size_t found(struct fixture *f)
{
	ck_assert_int_eq(support_on_thread(look, f), 0);
	return f->found;
}

static void drop(struct fixture *f)
{
	for (size_t i = 0; i < f->n; i++)
		SUPPORT_CLEAR(f->strong[i]);
}

/* ---- destructors and finalizers ------------------------------------------------------------------------------------------- */

/* Holds a dictionary whose even values the test holds, and whose odd ones nobody but the owner. */
struct owner {
	weakref_valuedict *dict;
	struct support_node *odd[8];
	size_t number;
};

static struct support_node **even_values;
static _Atomic unsigned owners_gone, owners_wrong, owners_strays;
/* What finalizers revive. */
static weakref_valuedict **revived;

/* How many entries a destructor adds. */
static size_t added(void)
{
	return support_scaled(300, 20);
}

static unsigned use_dictionary(struct owner *owner)
{
	unsigned wrong = 0, met = 0, strays = 0;
	size_t end = 100 + added();
	weakref_valuedict_iter *iter;
	const void *key;
	void *value;

	for (size_t i = 0; i < 8; i++) {
		struct support_node *even = weakref_valuedict_get(owner->dict, WEAKREF_INT(2 * i));
		struct support_node *odd = weakref_valuedict_get(owner->dict, WEAKREF_INT(2 * i + 1));

		wrong += even != even_values[i] || !support_node_intact(even);
		/* Found dead together with the owner, though its memory is intact yet: R31. Or a stray word kept it alone: R54. */
		strays += odd != NULL;
		wrong += odd != NULL && odd != owner->odd[i];
		wrong += !support_node_intact(owner->odd[i]) || owner->odd[i]->id != i;
	}
	owners_strays += strays;
	wrong += weakref_valuedict_len(owner->dict) != 8 + strays;
	iter = weakref_valuedict_iter_new(owner->dict);
	while (weakref_valuedict_iter_next(iter, &key, &value) == 1)
		if (WEAKREF_INT_VALUE(key) % 2 == 0)
			wrong += value != even_values[WEAKREF_INT_VALUE(key) / 2] || ++met > 8;
		else
			wrong += value != owner->odd[WEAKREF_INT_VALUE(key) / 2] || strays == 0;
	wrong += met != 8;
	for (size_t i = 100; i < end; i++)
		wrong += weakref_valuedict_set(owner->dict, WEAKREF_INT(i), even_values[i % 8]) != 0;
	wrong += weakref_valuedict_len(owner->dict) != 8 + strays + added();
	wrong += weakref_valuedict_setdefault(owner->dict, WEAKREF_INT(1), owner->odd[0]) != owner->odd[0];
	wrong += weakref_valuedict_pop(owner->dict, WEAKREF_INT(0), &value) != 0;
	wrong += gc_collect() < 0;
	wrong += weakref_valuedict_get(owner->dict, WEAKREF_INT(1)) != owner->odd[0];
	wrong += weakref_valuedict_get(owner->dict, WEAKREF_INT(end - 1)) != even_values[(end - 1) % 8];
	if (revived != NULL)
		revived[owner->number] = owner->dict;
	SUPPORT_KEEP(owner->odd[0]);
	return wrong;
}

static int owner_destroy(void *obj)
{
	owners_wrong += use_dictionary(obj);
	owners_gone++;
	return 0;
}

static void GC_CALLBACK owner_finalize(void *obj, void *data)
{
	(void)data;
	owner_destroy(obj);
}

static const gc_type owner_type = {.name = "owner", .size = sizeof(struct owner), .destroy = owner_destroy};

static int make_owners(void *arg)
{
	bool by_libgc = *(bool *)arg;

	for (size_t n = 0; n < N; n++) {
		struct owner *owner = by_libgc ? GC_MALLOC(sizeof(*owner)) : gc_new(&owner_type);

		SUPPORT_REQUIRE(owner != NULL);
		owner->number = n;
		owner->dict = weakref_valuedict_new(WEAKREF_KEY_INT);
		SUPPORT_REQUIRE(owner->dict != NULL);
		for (size_t i = 0; i < 8; i++) {
			owner->odd[i] = support_node_new(i);
			SUPPORT_REQUIRE(weakref_valuedict_set(owner->dict, WEAKREF_INT(2 * i), even_values[i]) == 0);
			SUPPORT_REQUIRE(weakref_valuedict_set(owner->dict, WEAKREF_INT(2 * i + 1), owner->odd[i]) == 0);
		}
		if (by_libgc)
			GC_register_finalizer_no_order(owner, owner_finalize, NULL, NULL, NULL);
	}
	return 0;
}

static void check_owners(bool by_libgc, bool revive)
{
	revived = revive ? gc_alloc(N * sizeof(*revived)) : NULL;
	even_values = gc_alloc(8 * sizeof(*even_values));
	for (size_t i = 0; i < 8; i++)
		even_values[i] = support_node_new(i);
	owners_gone = owners_wrong = owners_strays = 0;
	ck_assert_int_eq(support_on_thread(make_owners, &by_libgc), 0);
	support_collect();
	for (int i = 0; i < 100 && GC_should_invoke_finalizers(); i++)
		GC_invoke_finalizers();
	ck_assert_uint_ge(owners_gone, N - SUPPORT_SLACK);
	ck_assert_uint_eq(owners_wrong, 0);
	/* Where each call collects, the next owner is hardly begun when one dies, and the last value's address may be left on the
	 * stack. */
	ck_assert_uint_le(owners_strays, support_collect_every() == 0 ? 8 * SUPPORT_SLACK : N);
}

/* R29 R31 R32: a destructor, or a host's finalizer, uses the dictionary that its object held alone: values that live otherwise
 * are there, those that
 * died with it are not, and the dictionary works, collections included. */
START_TEST(test_dictionary_in_destructor)
{
	check_owners(_i, false);
	even_values = NULL;
}
END_TEST


static int put_and_drop(void *arg)
{
	weakref_valuedict *dict = arg;

	for (size_t i = 1000; i < 1000 + N; i++)
		SUPPORT_REQUIRE(weakref_valuedict_set(dict, WEAKREF_INT(i), support_node_new(i)) == 0);
	return 0;
}

/* R32: a dictionary that was unreachable when the marking ended, and that a destructor brought back: what dies later still
 * vanishes from it, and it never shows
 * a dead pointer. */
START_TEST(test_dictionary_revived)
{
	size_t back = 0;

	check_owners(_i, true);
	for (size_t n = 0; n < N; n++) {
		size_t left = 0;

		if (revived[n] == NULL)
			continue;
		back++;
		/* What the destructor added, seven even values, and perhaps the odd ones that it put back or a stray word kept. */
		ck_assert_uint_ge(weakref_valuedict_len(revived[n]), added() + 7);
		ck_assert_uint_le(weakref_valuedict_len(revived[n]), added() + 7 + 8);
		if (n % 8 != 0)
			continue;
		ck_assert_int_eq(support_on_thread(put_and_drop, revived[n]), 0);
		support_collect();
		for (size_t i = 1000; i < 1000 + N; i++)
			left += weakref_valuedict_get(revived[n], WEAKREF_INT(i)) != NULL;
		ck_assert_uint_le(left, SUPPORT_SLACK);
		for (size_t i = 100; i < 100 + added(); i++)
			ck_assert_ptr_eq(weakref_valuedict_get(revived[n], WEAKREF_INT(i)), even_values[i % 8]);
	}
	ck_assert_uint_ge(back, N - SUPPORT_SLACK);
	revived = NULL;
	even_values = NULL;
}
END_TEST

/* ---- restart -------------------------------------------------------------------------------------------------------------- */

struct hammer {
	struct fixture *f;
	_Atomic bool *stop;
	/* 0 reads, 1 replaces and drops, 2 collects and says when to stop. */
	int role;
	_Atomic uint64_t *hits;
	_Atomic unsigned *collections;
	weakref_ref *_Atomic *watched;
};

#define HAMMERED 256

static int hammer_read(struct hammer *h)
{
	uint64_t hits = 0;

	while (!*h->stop)
		for (size_t i = 0; i < HAMMERED; i++) {
			struct support_node *node = weakref_valuedict_get(h->f->dict, WEAKREF_INT(i));
			weakref_ref *ref = h->watched[i];

			if (node != NULL) {
				SUPPORT_REQUIRE(support_node_intact(node) && node->id % HAMMERED == i);
				hits++;
			}
			node = weakref_ref_get(ref);
			if (node != NULL) {
				SUPPORT_REQUIRE(support_node_intact(node) && node->id % HAMMERED == i);
				/* Kept for a while: a block that was dead when it was read is soon another. */
				if (hits++ % 512 == i) {
					usleep(1000);
					SUPPORT_REQUIRE(support_node_intact(node) && node->id % HAMMERED == i);
				}
			}
		}
	*h->hits += hits;
	return 0;
}

/* Every other reference is a long one: those are cleared latest, after the world was restarted. */
static int hammer_write(struct hammer *h)
{
	weakref_ref_options is_long = {.is_long = true};

	for (uint64_t id = HAMMERED; !*h->stop; id++) {
		struct support_node *node = support_node_new(id);
		size_t i = id % HAMMERED;
		weakref_ref *ref;

		SUPPORT_REQUIRE(node != NULL);
		ref = id % 2 ? weakref_ref_new_with(node, &is_long) : weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(ref != NULL && weakref_valuedict_set(h->f->dict, WEAKREF_INT(i), node) == 0);
		h->watched[i] = ref;
		h->f->strong[i] = id % 3 == 0 ? node : NULL;
	}
	return 0;
}

static int hammer_collect(struct hammer *h)
{
	for (int i = 0; i < 300; i++) {
		GC_gcollect();
		*h->collections += 1;
	}
	*h->stop = true;
	return 0;
}

static int hammer(void *arg)
{
	struct hammer *h = arg;
	int result = h->role == 0 ? hammer_read(h) : h->role == 1 ? hammer_write(h) : hammer_collect(h);

	if (result != 0)
		*h->stop = true;
	return result;
}

/* R49: readers go on from the moment that the world is restarted, while the collector still clears and reclaims: they never see a
 * dead object. */
START_TEST(test_reader_after_restart)
{
	struct hammer *h = gc_alloc(4 * sizeof(*h));
	struct fixture *f = fixture_new(HAMMERED, 1);
	static _Atomic bool stop;
	static _Atomic uint64_t hits;
	static _Atomic unsigned collections;

	ck_assert_ptr_nonnull(f);
	stop = false;
	hits = 0;
	collections = 0;
	for (int i = 0; i < 4; i++)
		h[i] = (struct hammer){.f = f, .stop = &stop, .role = i < 2 ? 0 : i - 1, .hits = &hits, .collections = &collections,
				       .watched = (weakref_ref *_Atomic *)f->refs};
	ck_assert_int_eq(support_threads(4, hammer, h, sizeof(*h)), 0);
	ck_assert_uint_eq(collections, 300);
	ck_assert_uint_gt(hits, 0);
}
END_TEST

/* What programs started anew are about happens at moments of their own choice. */
static const char *const calm[] = {"WEAKREF_COLLECT_EVERY=0", NULL};

/* ---- the hook ------------------------------------------------------------------------------------------------------------- */

static _Atomic unsigned mark_starts, mark_ends, reclaim_ends;
static GC_on_collection_event_proc before;

static void count_events(GC_EventType event)
{
	mark_starts += event == GC_EVENT_MARK_START;
	mark_ends += event == GC_EVENT_MARK_END;
	reclaim_ends += event == GC_EVENT_RECLAIM_END;
}

static void count_and_call(GC_EventType event)
{
	count_events(event);
	before(event);
}

enum lost { LOST_TO_NULL, LOST_TO_OTHER, LOST_READ_DICT, LOST_READ_ITER, LOST_PARTIAL, LOST_AUTOMATIC, LOST_WAYS };

/* In a program of its own: takes the hook away, lets a collection pass, and reads. Must not return. */
static int lose_hook(enum lost way)
{
	struct fixture *f;
	weakref_valuedict_iter *iter;
	void *value;

	if (gc_init() != 0)
		return 1;
	if (way == LOST_PARTIAL)
		GC_enable_incremental();
	f = fixture_new(N, 1);
	if (f == NULL || gc_collect() < 0)
		return 1;
	iter = weakref_valuedict_iter_new(f->dict);
	SUPPORT_REQUIRE(weakref_ref_get(f->refs[1]) == f->strong[1]);
	SUPPORT_REQUIRE(weakref_valuedict_get(f->dict, WEAKREF_INT(1)) == f->strong[1]);

	GC_set_on_collection_event(way == LOST_TO_OTHER ? count_events : NULL);
	/* Until a collection passes nothing has happened. */
	SUPPORT_REQUIRE(weakref_ref_get(f->refs[1]) == f->strong[1]);
	fprintf(stderr, "hook gone\n");
	if (way == LOST_AUTOMATIC || way == LOST_PARTIAL)
		for (GC_word no = GC_get_gc_no(); GC_get_gc_no() < no + 3;)
			SUPPORT_KEEP(GC_MALLOC(1000));
	else
		GC_gcollect();
	fprintf(stderr, "collected\n");
	if (way == LOST_READ_DICT)
		value = weakref_valuedict_get(f->dict, WEAKREF_INT(1));
	else if (way == LOST_READ_ITER)
		value = weakref_valuedict_iter_next(iter, NULL, &value) == 1 ? value : NULL;
	else
		value = weakref_ref_get(f->refs[1]);
	fprintf(stderr, "read %p\n", value);
	return 0;
}

/* R56: a host takes the library's event hook away. The first read after the next collection stops the program, with a message. */
START_TEST(test_lost_hook)
{
	char mode[32], err[4096];

	snprintf(mode, sizeof(mode), "lost:%d", _i);
	ck_assert_int_eq(support_respawn(mode, calm, err, sizeof(err)), 1000 + SIGABRT);
	ck_assert_ptr_nonnull(strstr(err, "collected"));
	ck_assert_ptr_null(strstr(err, "read "));
	ck_assert_ptr_nonnull(strstr(err, "libweakref:"));
	ck_assert_ptr_nonnull(strstr(err, "hook"));
}
END_TEST

/* In a program of its own: a hook from before gc_init is called at each event; one set afterwards that calls the library's does
 * no harm. */
static int keep_hook(void)
{
	struct fixture *f;
	unsigned at_start, starts, ends;
	gc_cycle_stats stats;

	GC_set_on_collection_event(count_events);
	if (gc_init() != 0)
		return 1;
	/* libgc collects once where it starts. */
	at_start = mark_ends;
	SUPPORT_REQUIRE(gc_init() == 0);
	f = fixture_new(N, 2);
	starts = mark_starts;
	ends = mark_ends;
	SUPPORT_REQUIRE(gc_collect() >= 0);
	SUPPORT_REQUIRE(mark_starts == starts + 1 && mark_ends == ends + 1 && reclaim_ends >= 1);
	SUPPORT_REQUIRE(gc_get_cycle_stats(&stats) == 0 && stats.collections == mark_ends - at_start);

	before = GC_get_on_collection_event();
	SUPPORT_REQUIRE(before != count_events);
	GC_set_on_collection_event(count_and_call);
	SUPPORT_REQUIRE(support_collect() >= 0);
	/* Counted once outside and once inside. */
	SUPPORT_REQUIRE(mark_ends == ends + 1 + 2 * 3);
	SUPPORT_REQUIRE(support_on_thread(look, f) == 0);
	SUPPORT_REQUIRE(f->found >= N / 2 && f->found <= N / 2 + SUPPORT_SLACK);
	return 0;
}

/* R56: the hook that a host had set is still called, and a host's later hook may call the library's. */
START_TEST(test_chained_hook)
{
	char err[4096];
	int result = support_respawn("chained", calm, err, sizeof(err));

	ck_assert_msg(result == 0, "%d: %s", result, err);
}
END_TEST

/* ---- abandoned markings --------------------------------------------------------------------------------------------------- */

static unsigned stop_after;

static int GC_CALLBACK stop_now(void)
{
	return stop_after == 0 || --stop_after == 0;
}

/* R21: a marking is given up at each of its steps. What was read before is read after, by references and look-ups, the epoch is
 * even again, and the next
 * collection clears. */
START_TEST(test_abandoned_marking)
{
	struct fixture *f = fixture_new(support_scaled(20 * N, N), 1);
	unsigned abandoned = 0, begun = 0;
	uint64_t epoch;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(gc_collect(), 0);
	before = GC_get_on_collection_event();
	GC_set_on_collection_event(count_and_call);
	for (unsigned steps = 1; steps < 200; steps++) {
		unsigned starts = mark_starts, ends = mark_ends;

		/* Half of them died, but no completed marking says so. */
		if (steps == 20)
			for (size_t i = 1; i < f->n; i += 2)
				SUPPORT_CLEAR(f->strong[i]);
		stop_after = steps;
		if (GC_try_to_collect(stop_now) != 0)
			break;
		abandoned++;
		begun += mark_starts > starts && mark_ends == ends;
		if (GC_is_incremental_mode())
			continue;
		ck_assert_uint_eq(found(f), f->n);
		ck_assert_uint_eq(epoch_now & 1, 0);
	}
	GC_set_on_collection_event(before);
	ck_assert_uint_gt(abandoned, 0);
	ck_assert_uint_gt(begun, 0);
	for (size_t i = 1; i < f->n; i += 2)
		SUPPORT_CLEAR(f->strong[i]);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_ge(found(f), f->n / 2);
	/* Two hundred abandoned markings leave more stray words than one collection does. */
	ck_assert_uint_le(f->found, f->n / 2 + f->n / 64);

	/* And a completed collection moves the epoch by exactly 2. */
	if (!GC_is_incremental_mode()) {
		epoch = epoch_now;
		GC_gcollect();
		ck_assert_uint_eq(epoch_now, epoch + 2);
	}
}
END_TEST

/* ---- a stop in the middle of a rehash ------------------------------------------------------------------------------------- */

struct growth {
	enum weakref_key_kind kind;
	size_t rounds, n;
	struct support_node **strong;
	_Atomic bool *done;
	_Atomic unsigned *collections;
	unsigned index;
};

static int grow_once(struct growth *g, uint64_t *state)
{
	weakref_valuedict *dict = keys_dict(g->kind);
	struct keys_room room;
	size_t garbage = 0;

	SUPPORT_REQUIRE(dict != NULL);
	for (size_t i = 0; i < g->n; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		/* Some are not held: they may die while the table moves. */
		g->strong[i] = support_random(state) % 4 != 0 ? node : NULL;
		garbage += g->strong[i] == NULL;
		SUPPORT_REQUIRE(weakref_valuedict_set(dict, keys_store(g->kind, i, &room), node) == 0);
		if (i % 5 == 4)
			SUPPORT_REQUIRE(weakref_valuedict_delete(dict, keys_find(g->kind, i, &room)) != -WEAKREF_EINVAL);
	}
	for (size_t i = 0; i < g->n; i++) {
		struct support_node *node = weakref_valuedict_get(dict, keys_find(g->kind, i, &room));

		SUPPORT_REQUIRE(node == NULL || (support_node_intact(node) && node->id == i));
		if (i % 5 == 4)
			SUPPORT_REQUIRE(node == NULL);
		else
			SUPPORT_REQUIRE(g->strong[i] == NULL || g->strong[i] == node);
	}
	SUPPORT_REQUIRE(weakref_valuedict_len(dict) <= g->n - g->n / 5);
	SUPPORT_REQUIRE(weakref_valuedict_len(dict) + garbage + g->n / 5 >= g->n);
	return 0;
}

static int grow(void *arg)
{
	struct growth *g = arg;
	uint64_t state = support_seed() + g->index;
	int result = 0;

	if (g->index == 0) {
		while (!*g->done) {
			GC_gcollect();
			*g->collections += 1;
		}
		return 0;
	}
	for (size_t i = 0; i < g->rounds && result == 0; i++)
		result = grow_once(g, &state);
	*g->done = true;
	return result;
}

/* R48 R49: a writer grows dictionary after dictionary while another thread does nothing but collect: no held entry is lost, none
 * is doubled, none dangles. */
START_TEST(test_stop_in_rehash)
{
	struct growth *g = gc_alloc(2 * sizeof(*g));
	static _Atomic bool done;
	static _Atomic unsigned collections;

	done = false;
	collections = 0;
	for (unsigned i = 0; i < 2; i++)
		g[i] = (struct growth){.kind = (enum weakref_key_kind)_i, .rounds = support_scaled(12, 2), .n = support_scaled(8000, 500),
				       .done = &done, .collections = &collections, .index = i};
	g[1].strong = gc_alloc(g[1].n * sizeof(*g[1].strong));
	ck_assert_int_eq(support_threads(2, grow, g, sizeof(*g)), 0);
	ck_assert_uint_gt(collections, 3);
}
END_TEST

/* ---- partial collections --------------------------------------------------------------------------------------------------- */

static _Atomic unsigned partial_ends;
static _Atomic bool full_announced;

static void count_partial(GC_EventType event)
{
	if (event == GC_EVENT_MARK_END && !atomic_exchange(&full_announced, false))
		partial_ends++;
}

static void announce_full(void)
{
	full_announced = true;
}

static int replace_some(void *arg)
{
	struct fixture *f = arg;

	for (size_t i = 0; i < f->n; i += 7) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, WEAKREF_INT(i), node) == 0);
		f->refs[i] = weakref_ref_new(node, NULL, NULL);
		f->strong[i] = i % 2 ? node : NULL;
	}
	return 0;
}

/* In a program of its own: old dictionaries lose, replace and gain values between partial collections. */
static int partial(void)
{
	struct fixture *f;
	unsigned before_that = 0;

	GC_set_on_collection_event(count_partial);
	if (gc_init() != 0)
		return 1;
	GC_set_start_callback(announce_full);
	GC_enable_incremental();
	SUPPORT_REQUIRE(GC_is_incremental_mode());
	f = fixture_new(20000, 1);
	SUPPORT_REQUIRE(f != NULL);
	/* Old now. */
	SUPPORT_REQUIRE(gc_collect() >= 0 && gc_collect() >= 0);
	before_that = partial_ends;
	for (int round = 0; round < 400 && partial_ends < before_that + 30; round++) {
		SUPPORT_REQUIRE(support_on_thread(replace_some, f) == 0);
		for (int i = 0; i < 4000; i++)
			SUPPORT_KEEP(GC_MALLOC(200));
		SUPPORT_REQUIRE(support_on_thread(look, f) == 0);
	}
	fprintf(stderr, "partial collections: %u\n", partial_ends - before_that);
	SUPPORT_REQUIRE(partial_ends >= before_that + 5);
	drop(f);
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(support_on_thread(look, f) == 0);
	SUPPORT_REQUIRE(f->found <= 2 * SUPPORT_SLACK);
	SUPPORT_REQUIRE(weakref_valuedict_len(f->dict) == f->found);
	return 0;
}

/* R55: partial collections in a row, over old dictionaries that change: what lives is there, with its present value. */
START_TEST(test_partial_collections)
{
	char err[4096];
	int result = support_respawn("partial", calm, err, sizeof(err));

	ck_assert_msg(result == 0, "%d: %s", result, err);
}
END_TEST

/* ---- mark-stack overflow --------------------------------------------------------------------------------------------------- */

#define WIDTH 200
#define DEPTH 3000

/* A chain whose links each lead to many blocks besides, so that a marker that goes down the chain leaves them all on its stack.
 * The next link
 * stands last in one chain and first in the other, for a marker that scans either way. */
static void **chain(size_t at)
{
	void **head = NULL;

	for (size_t i = 0; i < DEPTH; i++) {
		void **link = GC_MALLOC(WIDTH * sizeof(*link));

		for (size_t j = 0; j < WIDTH; j++)
			link[j] = j == at ? (void *)head : GC_MALLOC(2 * sizeof(void *));
		head = link;
	}
	return head;
}

static void **chains[2];

/* In a program of its own, for libgc says so only in its log, and only where it grows the stack for the first time. */
static int overflow(void)
{
	struct fixture *f, *g;

	if (gc_init() != 0)
		return 1;
	f = fixture_new(1000, 2);
	gc_disable();
	chains[0] = chain(0);
	/* Held by nothing but the ends of the chains, which a marker reaches late. */
	g = fixture_new(1000, 1);
	SUPPORT_REQUIRE(f != NULL && g != NULL);
	for (void **link = chains[0]; link != NULL; link = link[0])
		if (link[0] == NULL)
			link[1] = g->strong;
	chains[1] = chain(WIDTH - 1);
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(support_on_thread(look, f) == 0);
	SUPPORT_REQUIRE(f->found >= 500 && f->found <= 500 + SUPPORT_SLACK);
	SUPPORT_REQUIRE(support_on_thread(look, g) == 0);
	SUPPORT_REQUIRE(g->found == 1000);
	return 0;
}

/* R5: libgc's mark stack overflows and marking begins anew: nothing that lives is cleared. With one marker and with several. */
START_TEST(test_mark_stack_overflow)
{
	const char *const one[] = {"GC_PRINT_STATS=1", "GC_MARKERS=1", "WEAKREF_COLLECT_EVERY=0", NULL}, *const two[] = {"GC_PRINT_STATS=1", "GC_MARKERS=2", "WEAKREF_COLLECT_EVERY=0", NULL};
	size_t size = (size_t)1 << 20;
	char *err = malloc(size);
	int result = support_respawn("overflow", _i ? two : one, err, size);

	ck_assert_msg(result == 0, "%d", result);
	ck_assert_msg(strstr(err, "Mark stack overflow") != NULL || strstr(err, "rew mark stack") != NULL, "no overflow happened");
	free(err);
}
END_TEST

/* ---- fork ----------------------------------------------------------------------------------------------------------------- */

static int in_child(void *arg)
{
	struct fixture *f = arg, *g;

	SUPPORT_REQUIRE(support_on_thread(look, f) == 0);
	g = fixture_new(2 * N, 2);
	SUPPORT_REQUIRE(g != NULL);
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(support_on_thread(look, g) == 0);
	SUPPORT_REQUIRE(g->found >= N && g->found <= N + SUPPORT_SLACK);
	SUPPORT_REQUIRE(weakref_valuedict_set(f->dict, WEAKREF_INT(0), g->strong[0]) == 0);
	SUPPORT_REQUIRE(gc_run_callbacks() >= 0);
	return 0;
}

struct forker {
	struct fixture *f;
	_Atomic bool *done;
	unsigned role;
	unsigned *forks;
};

static int fork_role(void *arg)
{
	struct forker *forker = arg;

	if (forker->role == 0) {
		/* Only this thread is in the child. */
		for (*forker->forks = 0; *forker->forks < 20; ++*forker->forks) {
			int result = support_in_child(in_child, forker->f);

			if (result != 0) {
				fprintf(stderr, "child: %d\n", result);
				*forker->done = true;
				return 1;
			}
		}
		*forker->done = true;
		return 0;
	}
	while (!*forker->done) {
		if (forker->role == 1) {
			SUPPORT_REQUIRE(gc_collect() >= 0);
			continue;
		}
		for (size_t i = 0; i < 500 && !*forker->done; i++) {
			struct support_node *node = support_node_new(i);

			SUPPORT_REQUIRE(weakref_valuedict_set(forker->f->dict, WEAKREF_INT(forker->f->n + i), node) == 0);
			SUPPORT_REQUIRE(weakref_ref_new(node, NULL, NULL) != NULL);
		}
		weakref_valuedict_pop(forker->f->dict, WEAKREF_INT(forker->f->n + 250), NULL);
	}
	return 0;
}

/* R50: a process forks while its other threads collect and write. The child reads what the parent had, makes, collects and
 * purges. */
START_TEST(test_fork_in_the_middle)
{
	struct forker *forkers = gc_alloc(3 * sizeof(*forkers));
	static _Atomic bool done;
	static unsigned forks;
	struct fixture *f = fixture_new(N, 1);

	done = false;
	for (unsigned i = 0; i < 3; i++)
		forkers[i] = (struct forker){.f = f, .done = &done, .role = i, .forks = &forks};
	ck_assert_int_eq(support_threads(3, fork_role, forkers, sizeof(*forkers)), 0);
	ck_assert_uint_eq(forks, 20);
}
END_TEST

/* A thread that has come so far in making something when the process forks. */
enum half { FINALIZER, ORDERED_FINALIZER, OBJECT_WITH_DESTRUCTOR, HALVES };

struct maker {
	enum half half;
	_Atomic bool reached, over;
};

static _Atomic unsigned others, wanted;

static int count_other(void *unused)
{
	(void)unused;
	others++;
	return 0;
}

static int count_wanted(void *unused)
{
	(void)unused;
	wanted++;
	return 0;
}

/* All but the last store, which other threads need. */
static struct finals_claim half_a_finalizer(void *obj, bool is_ordered)
{
	struct finals_ordered *ordered = gc_alloc(sizeof(*ordered));
	struct finals_claim claim = finals_claim(count_wanted);

	if (is_ordered) {
		ordered->block = ~((uintptr_t)obj - HEAP_HEADER);
		finals_set_ordered(&claim, ordered);
	}
	claim.in->args[claim.i] = is_ordered ? ordered : NULL;
	claim.in->object[claim.i] = (uintptr_t)obj;
	return claim;
}

static int make_half(void *arg)
{
	struct maker *maker = arg;
	struct support_node *node = support_node_new(1);
	struct finals_claim claim = {0};
	void *block = NULL;

	SUPPORT_REQUIRE(node != NULL);
	if (maker->half == OBJECT_WITH_DESTRUCTOR) {
		block = heap_alloc_kind(HEAP_OBJECT, HEAP_HEADER + 16);
		SUPPORT_REQUIRE(block != NULL && mortal_add(block) == 0);
	} else {
		claim = half_a_finalizer(node, maker->half == ORDERED_FINALIZER);
	}
	maker->reached = true;
	while (!maker->over)
		usleep(1000);
	/* The one that libgc was not told of is given up. */
	if (maker->half == ORDERED_FINALIZER)
		claim.in->object[claim.i] = 0;
	if (maker->half != OBJECT_WITH_DESTRUCTOR)
		claim.in->fn[claim.i] = (uint8_t)claim.fn;
	SUPPORT_KEEP(block);
	SUPPORT_KEEP(node);
	return 0;
}

static int without_the_maker(void *unused)
{
	(void)unused;
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(gc_run_callbacks() >= 0);
	SUPPORT_REQUIRE(support_collect() >= 0);
	SUPPORT_REQUIRE(others == 0 && wanted == 0);
	return 0;
}

static int fork_beside_maker(void *arg)
{
	struct maker *maker = arg;
	int result;

	while (!maker->reached)
		usleep(1000);
	result = support_in_child(without_the_maker, NULL);
	maker->over = true;
	return result;
}

struct half_role {
	struct maker *maker;
	bool makes;
};

static int half_role(void *arg)
{
	const struct half_role *role = arg;

	return role->makes ? make_half(role->maker) : fork_beside_maker(role->maker);
}

/* R50, R77: a child has finalizers and objects with destructors that a thread of the parent's had half made: nothing is run for them, and
 * nothing else in their place. */
START_TEST(test_fork_beside_who_makes)
{
	static struct maker maker;
	static struct support_node *volatile node; /* in the child as well */
	struct half_role *roles = gc_alloc(2 * sizeof(*roles));

	node = support_node_new(2);
	/* So that there is another function in their chunk. */
	weakref_finalize *other = weakref_finalize_new(node, count_other, NULL);

	maker.half = (enum half)_i;
	maker.reached = maker.over = false;
	others = wanted = 0;
	roles[0] = (struct half_role){&maker, true};
	roles[1] = (struct half_role){&maker, false};
	ck_assert_int_eq(support_threads(2, half_role, roles, sizeof(*roles)), 0);
	ck_assert_int_eq(weakref_finalize_detach(other, NULL, NULL, NULL), 1);
	support_collect();
	ck_assert_uint_le(wanted, _i == FINALIZER);
	node = NULL;
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("cycle");
	TCase *windows = support_tcase("windows");

	tcase_add_loop_test(windows, test_dictionary_in_destructor, 0, 2);
	tcase_add_loop_test(windows, test_dictionary_revived, 0, 2);
	tcase_add_test(windows, test_reader_after_restart);
	tcase_add_loop_test(windows, test_lost_hook, 0, LOST_WAYS);
	tcase_add_test(windows, test_chained_hook);
	tcase_add_test(windows, test_abandoned_marking);
	tcase_add_loop_test(windows, test_stop_in_rehash, 0, KEYS_KINDS);
	tcase_add_test(windows, test_partial_collections);
	tcase_add_loop_test(windows, test_mark_stack_overflow, 0, 2);
	tcase_add_test(windows, test_fork_in_the_middle);
	tcase_add_loop_test(windows, test_fork_beside_who_makes, 0, HALVES);
	suite_add_tcase(suite, windows);
	return suite;
}

int main(int argc, char **argv)
{
	keys_init();
	if (argc < 2)
		return support_main(suite);
	if (strncmp(argv[1], "lost:", 5) == 0)
		return lose_hook((enum lost)atoi(argv[1] + 5));
	if (strcmp(argv[1], "chained") == 0)
		return keep_hook();
	if (strcmp(argv[1], "partial") == 0)
		return partial();
	if (strcmp(argv[1], "overflow") == 0)
		return overflow();
	fprintf(stderr, "%s: no such case: %s\n", argv[0], argv[1]);
	return 2;
}

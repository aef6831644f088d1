/* SPDX-License-Identifier: MIT */
/*
 * stress: readers, writers and collectors at work on the same references and containers for a given time, or longer, until each
 * has had its turn.
 *
 *     stress [--seconds S] [--seed N] [--readers R] [--writers W] [--collectors C] [--incremental]
 *
 * Every object carries a signature made from its id, and half of the objects a destructor that overwrites it. Whatever any call
 * hands out (references, look-ups, iterators, pops, arrays, callbacks) is checked: signature, and the id that belongs to the
 * key or reference it came from. So memory that was reclaimed, reused for another object, or destroyed shows at once, and the
 * program stops with its seed. In each stop it is checked that what is reachable was marked.
 *
 * Each writer keeps a ledger of callback references that it never drops. At the end all objects are dropped and collected, and
 * for each reference in it: the callback ran once if the reference reads NULL, and not at all if it does not. The program also
 * fails when what it claims did not happen: no collection, no death, no partial collection in incremental mode, no abandoned
 * marking.
 *
 * Locks: none. What threads share lies in atomic words of one block of the collected heap. The hook counts with libgc's lock held.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <gc/gc.h>
#include <gc/gc_mark.h>

#include "model_valuedict.h"
#include "weakref/ephemeron.h"
#include "weakref/interner.h"
#include "weakref/keydict.h"
#include "weakref/set.h"

#define SIGNATURE UINT64_C(0x7374726573736564)
#define DESTROYED UINT64_C(0xdeaddeaddeaddead)
#define SLOTS 1024
#define KEYS 3000
#define DICTS KEYS_KINDS
/* Of weak keys, both, either. */
#define PAIRS 3
#define LEDGER_MOST 100000

struct thing {
	uint64_t signature;
	uint64_t id;
	struct thing *other;
	uint64_t signature_again;
};

/* A reference and whom it names. */
struct watch {
	weakref_ref *ref;
	uint64_t id;
	struct watch *next;
	_Atomic unsigned fired;
};

/* All that is shared; the one root. */
struct world {
	struct thing *_Atomic strong[SLOTS];
	struct watch *_Atomic watches[SLOTS];
	weakref_valuedict *_Atomic dicts[DICTS];
	/* Keys and values of one entry belong to one key of KEYS. */
	weakref_keydict *_Atomic pairs[PAIRS];
	weakref_ephemeron *_Atomic ephemerons[SLOTS];
	weakref_set *_Atomic set;
	weakref_interner *interner; /* one canonical thing for each of KEYS */
};

enum role { READER, WRITER, COLLECTOR };

struct worker {
	enum role role;
	uint64_t state;
	pthread_t thread;
	struct watch *ledger;
	size_t ledger_length;
	_Atomic unsigned long operations;
};

static struct world *world;
static uint64_t seed;
static _Atomic bool stop;
static _Atomic uint64_t next_id = 1;
static _Atomic unsigned long callbacks, destroyed, with_destructor, handed_out;
static _Atomic unsigned marked, partial, abandoned;
static _Atomic bool full_announced;

_Noreturn static void WEAKREF_PRINTF(1, 2) broken(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "stress: seed %llu: ", (unsigned long long)seed);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

#define REQUIRE(cond)                                                                                                  \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			broken("%s:%d: required: %s", __FILE__, __LINE__, #cond);                                      \
	} while (0)

/* ---- objects ------------------------------------------------------------------------------------------------------------- */

static int thing_destroy(void *obj)
{
	struct thing *thing = obj;

	REQUIRE(thing->signature == (SIGNATURE ^ thing->id));
	thing->signature = DESTROYED;
	thing->signature_again = DESTROYED;
	destroyed++;
	return 0;
}

static const gc_type plain_type = {.name = "thing", .size = sizeof(struct thing)};
static const gc_type destroyed_type = {.name = "destroyed thing", .size = sizeof(struct thing), .destroy = thing_destroy};

static bool has_destructor(uint64_t id)
{
	return id / KEYS % 2;
}

/* Ids are such that an object that belongs to key k has id % KEYS == k. */
static struct thing *thing_new(size_t key)
{
	uint64_t id = atomic_fetch_add(&next_id, 1) * KEYS + key;
	bool destructor = has_destructor(id);
	struct thing *thing = gc_new(destructor ? &destroyed_type : &plain_type);

	REQUIRE(thing != NULL);
	with_destructor += destructor;
	thing->id = id;
	thing->signature = SIGNATURE ^ id;
	thing->signature_again = thing->signature;
	return thing;
}

/* p was handed out by a call: it must be a living thing that belongs to the key. */
static struct thing *check(void *p, size_t key)
{
	struct thing *thing = p;

	REQUIRE(thing->signature == (SIGNATURE ^ thing->id) && thing->signature_again == thing->signature);
	REQUIRE(thing->id % KEYS == key);
	handed_out++;
	return thing;
}

static int on_death(weakref_ref *ref, void *data)
{
	struct watch *watch = data;

	REQUIRE(watch->ref == NULL || watch->ref == ref);
	REQUIRE(weakref_ref_get(ref) == NULL);
	watch->fired++;
	callbacks++;
	return 0;
}

static size_t any(struct worker *w, size_t below)
{
	return support_random(&w->state) % below;
}

static enum weakref_key_kind some_dict(struct worker *w, weakref_valuedict **dict)
{
	size_t i = any(w, DICTS);

	*dict = world->dicts[i];
	return (enum weakref_key_kind)i;
}

/* ---- readers ------------------------------------------------------------------------------------------------------------- */

/* Now and then a reader keeps what it got, while collections go on, and looks at it again: a pointer that was dead when it was
 * handed out is intact only until its block is swept and used anew. */
static void check_later(struct worker *w, void *p, uint64_t id)
{
	if (any(w, 100) != 0)
		return;
	usleep((useconds_t)any(w, 3000));
	REQUIRE(check(p, id % KEYS)->id == id);
}

/* What stands where a block was, and what the collector thinks of it. */
static void show_block(const char *what, void *p)
{
	const uint64_t *words = GC_base(p);
	size_t size = 0;

	fprintf(stderr, "stress: %s %p, block %p", what, p, (const void *)words);
	if (words != NULL) {
		int kind = GC_get_kind_and_size(words, &size);

		fprintf(stderr, " of kind %d, %zu bytes, %smarked:", kind, size, GC_is_marked(words) ? "" : "not ");
	}
	for (size_t i = 0; i < size / sizeof(*words); i++)
		fprintf(stderr, " %016llx", (unsigned long long)words[i]);
	fputc('\n', stderr);
}

/* Somebody holds the watch. */
_Noreturn static void lost(struct watch *watch, const char *how, int rc)
{
	show_block("watch", watch);
	if (GC_base(watch) == watch)
		show_block("reference", watch->ref);
	broken("a reference that is held was lost: %s, %d, after %lu collections and %u that were abandoned", how, rc,
	       (unsigned long)GC_get_gc_no(), abandoned);
}

static void read_ref(struct worker *w)
{
	struct watch *watch = world->watches[any(w, SLOTS)];
	void *p;
	int rc;

	if (watch == NULL)
		return;
	p = weakref_ref_get(watch->ref);
	if (p != NULL) {
		REQUIRE(check(p, watch->id % KEYS)->id == watch->id);
		check_later(w, p, watch->id);
	}
	rc = weakref_ref_read(watch->ref, &p);
	if (rc != 0 && rc != -WEAKREF_ESTALE)
		lost(watch, "weakref_ref_read", rc);
	REQUIRE((rc == 0) == (p != NULL));
	if (p != NULL)
		REQUIRE(check(p, watch->id % KEYS)->id == watch->id);
}

static void read_dict(struct worker *w)
{
	weakref_valuedict *dict;
	enum weakref_key_kind kind = some_dict(w, &dict);
	size_t key = any(w, KEYS);
	struct keys_room room;
	void *p = weakref_valuedict_get(dict, keys_find(kind, key, &room));
	int rc;

	if (p != NULL)
		check_later(w, p, check(p, key)->id);
	rc = weakref_valuedict_lookup(dict, keys_find(kind, key, &room), &p);
	REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT || rc == -WEAKREF_ESTALE);
	REQUIRE((rc == 0) == (p != NULL));
	if (p != NULL)
		check(p, key);
	rc = weakref_valuedict_contains(dict, keys_find(kind, key, &room));
	REQUIRE(rc == 0 || rc == 1);
	/* Never more than there are keys and writers that count before they store. */
	REQUIRE(weakref_valuedict_len(dict) <= KEYS + 1000);
}

static void read_all(struct worker *w)
{
	weakref_valuedict *dict;
	enum weakref_key_kind kind = some_dict(w, &dict);
	const void *key;
	void *p;
	size_t n = 0;
	int rc;

	if (any(w, 2)) {
		weakref_valuedict_iter *iter = weakref_valuedict_iter_new(dict);

		REQUIRE(iter != NULL);
		while ((rc = weakref_valuedict_iter_next(iter, &key, &p)) == 1 && !stop) {
			size_t number = keys_number(kind, key);

			REQUIRE(number < KEYS);
			check(p, number);
		}
		REQUIRE(rc == 0 || stop);
	} else if (any(w, 2)) {
		weakref_pair *items = weakref_valuedict_items(dict, &n);

		REQUIRE(items != NULL);
		for (size_t i = 0; i < n; i++) {
			REQUIRE(keys_number(kind, items[i].key) < KEYS);
			check(items[i].value, keys_number(kind, items[i].key));
		}
	} else {
		weakref_ref **refs = weakref_valuedict_valuerefs(dict, &n);

		REQUIRE(refs != NULL);
		for (size_t i = 0; i < n; i++) {
			p = weakref_ref_get(refs[i]);
			if (p != NULL)
				check(p, ((struct thing *)p)->id % KEYS);
		}
	}
}

/* ---- pairs, sets, the interner ------------------------------------------------------------------------------------------ */

static int same_key_hash(const void *p, uint64_t *out, void *user)
{
	(void)user;
	*out = ((const struct thing *)p)->id % KEYS / 4;
	return 0;
}

static int same_key_equal(const void *a, const void *b, void *user)
{
	(void)user;
	return ((const struct thing *)a)->id % KEYS == ((const struct thing *)b)->id % KEYS;
}

static void pairs_new(size_t i)
{
	world->pairs[i] = weakref_keydict_new_with(&(weakref_keydict_options){.weakness = (enum weakref_weakness)i});
	REQUIRE(world->pairs[i] != NULL);
}

/* A single ephemeron: nothing, or a key and the value that belongs to it. Returns whether it lives. */
static bool read_ephemeron(const weakref_ephemeron *ephemeron)
{
	void *key = NULL, *value = NULL;

	if (ephemeron == NULL)
		return false;
	int rc = weakref_ephemeron_get(ephemeron, &key, &value);
	REQUIRE(rc == 0 || rc == -WEAKREF_ESTALE);
	if (rc == 0)
		check(value, check(key, ((struct thing *)key)->id % KEYS)->id % KEYS);
	return rc == 0;
}

/* Another value that belongs to its key, which leads to that or not. */
static void replace_ephemeron_value(struct worker *w, weakref_ephemeron *ephemeron)
{
	struct thing *key = weakref_ephemeron_key(ephemeron), *value;

	if (key == NULL)
		return;
	value = thing_new(key->id % KEYS);
	value->other = any(w, 2) ? key : NULL;
	int rc = weakref_ephemeron_set_value(ephemeron, value);
	REQUIRE(rc == 0 || rc == -WEAKREF_ESTALE);
}

static void write_ephemeron(struct worker *w, struct thing *key, struct thing *value)
{
	size_t i = any(w, SLOTS), dice = any(w, 4);
	weakref_ephemeron *there = world->ephemerons[i];

	if (dice < 2) {
		weakref_ephemeron *made = weakref_ephemeron_new(key, value);
		REQUIRE(made != NULL);
		world->ephemerons[i] = made;
	} else if (there != NULL && dice == 2) {
		replace_ephemeron_value(w, there);
	} else if (there != NULL) {
		int rc = weakref_ephemeron_break(there);
		REQUIRE(rc == 0 || rc == -WEAKREF_ESTALE);
	}
}

static void read_pairs(struct worker *w)
{
	weakref_keydict *dict = world->pairs[any(w, PAIRS)];
	struct thing *key = world->strong[any(w, SLOTS)];
	void *value = NULL;
	int rc;

	read_ephemeron(world->ephemerons[any(w, SLOTS)]);
	if (key == NULL)
		return;
	check(key, key->id % KEYS);
	rc = weakref_keydict_lookup(dict, key, &value);
	REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
	REQUIRE((rc == 0) == (value != NULL));
	if (rc == 0)
		check(value, key->id % KEYS);
	rc = weakref_set_contains(world->set, key);
	REQUIRE(rc == 0 || rc == 1);
	value = weakref_interner_find(world->interner, key);
	if (value != NULL)
		check(value, key->id % KEYS);
}

static void read_all_pairs(struct worker *w)
{
	weakref_keydict_iter *iter = weakref_keydict_iter_new(world->pairs[any(w, PAIRS)]);
	weakref_set_iter *elements = weakref_set_iter_new(world->set);
	void *key, *value;
	int rc;

	REQUIRE(iter != NULL && elements != NULL);
	while ((rc = weakref_keydict_iter_next(iter, &key, &value)) == 1 && !stop)
		check(value, check(key, ((struct thing *)key)->id % KEYS)->id % KEYS);
	REQUIRE(rc == 0 || stop);
	while ((rc = weakref_set_iter_next(elements, &key)) == 1 && !stop)
		check(key, ((struct thing *)key)->id % KEYS);
	REQUIRE(rc == 0 || stop);
}

static void write_pairs(struct worker *w)
{
	size_t which = any(w, PAIRS);
	weakref_keydict *dict = world->pairs[which], *made;
	struct thing *key = world->strong[any(w, SLOTS)], *value;
	void *p = NULL, *q = NULL;
	int rc = 0;

	if (key == NULL)
		return;
	switch (any(w, 10)) {
	case 0:
		rc = weakref_keydict_pop(dict, key, &p);
		REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
		if (rc == 0)
			check(p, key->id % KEYS);
		return;
	case 1:
		rc = weakref_keydict_popitem(dict, &p, &q);
		REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
		if (rc == 0)
			check(q, check(p, ((struct thing *)p)->id % KEYS)->id % KEYS);
		return;
	case 2:
		rc = weakref_set_discard(world->set, key);
		REQUIRE(rc == 0 || rc == 1);
		return;
	case 3:
	case 4:
		rc = weakref_set_add(world->set, key);
		REQUIRE(rc == 0 || rc == 1);
		p = weakref_interner_intern(world->interner, key);
		REQUIRE(p != NULL);
		check(p, key->id % KEYS);
		return;
	case 5:
		if (any(w, 200) != 0)
			return;
		made = any(w, 2) ? weakref_keydict_copy(dict) : weakref_keydict_union(dict, dict);
		REQUIRE(made != NULL);
		world->pairs[which] = made;
		return;
	default:
		value = thing_new(key->id % KEYS);
		/* A value that leads to its own key. */
		value->other = any(w, 2) ? key : NULL;
		if (any(w, 3) != 0) {
			REQUIRE(weakref_keydict_set(dict, key, value) == 0);
		} else {
			p = weakref_keydict_setdefault(dict, key, value);
			REQUIRE(p != NULL);
			check(p, key->id % KEYS);
		}
		if (any(w, 4) == 0)
			write_ephemeron(w, key, value);
		if (any(w, 4) == 0)
			world->strong[any(w, SLOTS)] = value;
	}
}

static void reader_step(struct worker *w)
{
	size_t dice = any(w, 1000);

	if (dice < 350)
		read_ref(w);
	else if (dice < 650)
		read_dict(w);
	else if (dice < 997)
		read_pairs(w);
	else if (dice < 998)
		read_all_pairs(w);
	else
		read_all(w);
}

/* ---- writers ------------------------------------------------------------------------------------------------------------- */

static void watch_it(struct worker *w, struct thing *thing)
{
	struct watch *watch = gc_alloc(sizeof(*watch));
	size_t how = any(w, 8);
	weakref_ref_options options = {.payload = watch, .is_long = how == 1, .distinct = true};

	REQUIRE(watch != NULL);
	watch->id = thing->id;
	if (how == 0 || how == 1)
		watch->ref = weakref_ref_new_with(thing, &options);
	else if (how == 2)
		watch->ref = weakref_ref_new(thing, NULL, NULL);
	else
		watch->ref = weakref_ref_new(thing, on_death, watch);
	REQUIRE(watch->ref != NULL);
	/* A long reference goes on reading what a destructor has already overwritten: no reader must take that for reclaimed
	 * memory. */
	if (how != 1 || !has_destructor(thing->id))
		world->watches[any(w, SLOTS)] = watch;
	if (how > 2 && w->ledger_length < LEDGER_MOST && any(w, 4) == 0) {
		watch->next = w->ledger;
		w->ledger = watch;
		w->ledger_length++;
	}
}

static void write_dict(struct worker *w)
{
	weakref_valuedict *dict;
	enum weakref_key_kind kind = some_dict(w, &dict);
	size_t key = any(w, KEYS);
	struct keys_room room;
	struct thing *thing = NULL;
	void *p = NULL;
	const void *popped;
	int rc;

	switch (any(w, 8)) {
	case 0:
		rc = weakref_valuedict_delete(dict, keys_find(kind, key, &room));
		REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
		return;
	case 1:
		rc = weakref_valuedict_pop(dict, keys_find(kind, key, &room), &p);
		REQUIRE(rc == 0 ? p != NULL : rc == -WEAKREF_ENOENT);
		if (rc == 0)
			check(p, key);
		return;
	case 2:
		rc = weakref_valuedict_popitem(dict, &popped, &p);
		REQUIRE(rc == 0 || rc == -WEAKREF_ENOENT);
		if (rc == 0)
			check(p, keys_number(kind, popped));
		return;
	case 3:
		thing = thing_new(key);
		p = weakref_valuedict_setdefault(dict, keys_store(kind, key, &room), thing);
		REQUIRE(p != NULL);
		thing = check(p, key);
		break;
	default:
		thing = thing_new(key);
		rc = weakref_valuedict_set(dict, keys_store(kind, key, &room), thing);
		REQUIRE(rc == 0);
		break;
	}
	if (any(w, 2))
		world->strong[any(w, SLOTS)] = thing;
	if (any(w, 2))
		watch_it(w, thing);
}

static void write_whole(struct worker *w)
{
	weakref_valuedict *dict, *made;
	enum weakref_key_kind kind = some_dict(w, &dict);
	int rc = 0;

	switch (any(w, 6)) {
	case 0:
		rc = weakref_valuedict_clear(dict);
		break;
	case 1:
		made = weakref_valuedict_copy(dict);
		REQUIRE(made != NULL);
		world->dicts[kind] = made;
		break;
	case 2:
		made = keys_dict(kind);
		REQUIRE(made != NULL);
		rc = weakref_valuedict_update(made, dict);
		world->dicts[kind] = made;
		break;
	case 3:
		rc = weakref_valuedict_update(dict, dict);
		break;
	case 4:
		made = weakref_valuedict_union(dict, dict);
		REQUIRE(made != NULL);
		world->dicts[kind] = made;
		break;
	default:
		for (size_t i = 0; i < SLOTS; i++)
			world->strong[i] = NULL;
		break;
	}
	REQUIRE(rc == 0);
}

static void writer_step(struct worker *w)
{
	size_t dice = any(w, 10000);
	size_t at = any(w, SLOTS);
	struct watch *watch = world->watches[at];

	if (dice < 10) {
		write_whole(w);
	} else if (dice < 6000) {
		write_dict(w);
	} else if (dice < 9000) {
		write_pairs(w);
	} else if (dice < 9500) {
		world->strong[at] = NULL;
	} else if (dice < 9600) {
		world->watches[at] = NULL;
	} else if (dice < 9650 && watch != NULL && watch->next == NULL && watch->ref != NULL && weakref_ref_payload(watch->ref) != NULL) {
		/* Clear by force one that is in no ledger. */
		int rc = weakref_ref_clear(watch->ref);

		REQUIRE(rc == 0 || rc == -WEAKREF_ESTALE);
		REQUIRE(weakref_ref_get(watch->ref) == NULL);
	} else {
		struct thing *thing = world->strong[at];

		if (thing != NULL) {
			check(thing, thing->id % KEYS);
			watch_it(w, thing);
		}
	}
}

/* ---- collectors ---------------------------------------------------------------------------------------------------------- */

static _Thread_local unsigned calls_left;

static int GC_CALLBACK stop_soon(void)
{
	return calls_left == 0 || --calls_left == 0;
}

static void collector_step(struct worker *w)
{
	struct timespec pause = {0, (long)any(w, 4000000)};

	/* The first is one that is abandoned for certain: on a busy machine there may be few. */
	switch (w->operations == 0 ? 2 : any(w, 6)) {
	case 0:
		GC_gcollect();
		break;
	case 1:
		for (int i = 0; i < 50; i++)
			GC_collect_a_little();
		break;
	case 2:
		calls_left = w->operations == 0 ? 2 : 1 + (unsigned)any(w, 20);
		abandoned += !GC_try_to_collect(stop_soon);
		break;
	case 3:
		REQUIRE(gc_run_callbacks() >= 0);
		break;
	default:
		REQUIRE(gc_collect() >= 0);
		break;
	}
	nanosleep(&pause, NULL);
}

static void *work(void *arg)
{
	static void (*const step[])(struct worker *) = {reader_step, writer_step, collector_step};
	struct worker *w = arg;

	while (!stop) {
		step[w->role](w);
		w->operations++;
	}
	return NULL;
}

/* ---- the run ------------------------------------------------------------------------------------------------------------- */

static bool is_marked(void *p)
{
	return p != NULL && GC_base(p) == p && GC_is_marked(p);
}

/* World stopped: what the one root leads to is marked, whatever was marked with it. */
static void look_at_watches(void)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct watch *watch = world->watches[i];

		if (watch != NULL && (!is_marked(watch) || !is_marked(watch->ref)))
			lost(watch, "at the end of a marking, in slot", (int)i);
	}
}

static void on_event(GC_EventType event)
{
	if (event != GC_EVENT_MARK_END)
		return;
	marked++;
	if (world != NULL)
		look_at_watches();
	if (!atomic_exchange(&full_announced, false))
		partial++;
}

static void on_full(void)
{
	full_announced = true;
}

struct ending {
	struct worker *workers;
	unsigned n;
	size_t dead, alive, fired, entries;
};

/* Nothing here allocates, so that no collection comes between a reference and its callback's count. */
static int settle(void *arg)
{
	struct ending *end = arg;

	for (unsigned i = 0; i < end->n; i++)
		for (struct watch *watch = end->workers[i].ledger; watch != NULL; watch = watch->next) {
			bool dead = weakref_ref_get(watch->ref) == NULL;

			REQUIRE(watch->fired == dead);
			end->dead += dead;
			end->alive += !dead;
			end->fired += watch->fired;
		}
	for (size_t kind = 0; kind < DICTS; kind++) {
		size_t n = 0;

		for (size_t key = 0; key < KEYS; key++) {
			struct keys_room room;

			n += weakref_valuedict_contains(world->dicts[kind], keys_find((enum weakref_key_kind)kind, key, &room)) == 1;
		}
		REQUIRE(weakref_valuedict_len(world->dicts[kind]) == n);
		end->entries += n;
	}
	return 0;
}

/* What the pairs, the ephemerons, the set and the interner still have: at most what len says, and little. */
static int settle_pairs(void *arg)
{
	size_t *left = arg, len = weakref_set_len(world->set) + weakref_interner_len(world->interner);
	void *key, *value;

	for (size_t i = 0; i < PAIRS; i++) {
		weakref_keydict_iter *iter = weakref_keydict_iter_new(world->pairs[i]);

		REQUIRE(iter != NULL);
		for (; weakref_keydict_iter_next(iter, &key, &value) == 1; ++*left)
			check(value, check(key, ((struct thing *)key)->id % KEYS)->id % KEYS);
		len += weakref_keydict_len(world->pairs[i]);
	}
	REQUIRE(*left <= len);
	for (size_t i = 0; i < SLOTS; i++)
		len += read_ephemeron(world->ephemerons[i]);
	*left = len;
	return 0;
}

static unsigned long total(const struct ending *end, enum role role)
{
	unsigned long sum = 0;

	for (unsigned i = 0; i < end->n; i++)
		sum += end->workers[i].role == role ? end->workers[i].operations : 0;
	return sum;
}

/* Whether each thread has done enough for what the end requires: on a busy machine that may take longer than was given. */
static bool had_their_turns(const struct ending *end)
{
	static const unsigned long least[] = {[READER] = 1000, [WRITER] = 1000, [COLLECTOR] = 10};

	for (unsigned i = 0; i < end->n; i++)
		if (end->workers[i].operations < least[end->workers[i].role])
			return false;
	return true;
}

static void run(double seconds, const unsigned counts[3], bool incremental)
{
	static const struct timespec moment = {0, 10000000};
	struct timespec length = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
	struct ending end = {.n = counts[READER] + counts[WRITER] + counts[COLLECTOR]};
	size_t pairs_left = 0;
	unsigned made = 0;
	gc_cycle_stats stats;

	end.workers = gc_alloc(end.n * sizeof(*end.workers));
	for (enum role role = READER; role <= COLLECTOR; role++)
		for (unsigned i = 0; i < counts[role]; i++, made++) {
			end.workers[made].role = role;
			end.workers[made].state = seed + made * UINT64_C(0x9e3779b97f4a7c15);
			if (pthread_create(&end.workers[made].thread, NULL, work, &end.workers[made]) != 0)
				broken("a thread could not be made");
		}
	while (nanosleep(&length, &length) != 0 && errno == EINTR)
		;
	while (!had_their_turns(&end))
		nanosleep(&moment, NULL);
	stop = true;
	for (unsigned i = 0; i < made; i++)
		pthread_join(end.workers[i].thread, NULL);

	for (size_t i = 0; i < SLOTS; i++)
		world->strong[i] = NULL;
	REQUIRE(support_collect() >= 0);
	REQUIRE(support_on_thread(settle, &end) == 0);
	REQUIRE(support_on_thread(settle_pairs, &pairs_left) == 0);
	REQUIRE(gc_get_cycle_stats(&stats) == 0);
	printf("stress: seed %llu: %lu reads, %lu writes, %lu collector steps; %u collections (%u partial, %u abandoned), %lu objects handed out\n",
	       (unsigned long long)seed, total(&end, READER), total(&end, WRITER), total(&end, COLLECTOR), marked, partial, abandoned,
	       handed_out);
	printf("stress: %llu watched objects dead, %llu entries, %llu references; %lu of %lu destructors; %lu callbacks; ledger: %zu dead, %zu "
	       "callbacks, %zu alive; %zu entries left\n",
	       (unsigned long long)stats.dead, (unsigned long long)stats.entries, (unsigned long long)stats.refs, destroyed, with_destructor,
	       callbacks, end.dead, end.fired, end.alive, end.entries);

	REQUIRE(stats.collections == marked && marked > 0);
	REQUIRE(handed_out > 0 || counts[READER] + counts[WRITER] == 0);
	REQUIRE(end.fired == end.dead);
	REQUIRE(destroyed <= with_destructor);
	if (counts[WRITER] > 0) {
		/* All were dropped: what a stray word keeps is little, though one object may be in many references and entries. */
		REQUIRE(end.dead > 0 && end.alive <= end.dead / 50 + 32);
		REQUIRE(end.entries <= 64);
		REQUIRE(pairs_left <= 128);
		REQUIRE(stats.dead > 0 && stats.entries > 0 && stats.refs > 0 && destroyed > 0 && callbacks > 0);
		REQUIRE(with_destructor - destroyed <= with_destructor / 50 + 64);
	}
	if (incremental)
		REQUIRE(GC_is_incremental_mode() && partial > 0);
	if (counts[COLLECTOR] > 0 && !incremental)
		REQUIRE(abandoned > 0);
}

int main(int argc, char **argv)
{
	unsigned counts[] = {2, 2, 1};
	double seconds = 3;
	bool incremental = getenv("WEAKREF_TEST_INCREMENTAL") != NULL && atoi(getenv("WEAKREF_TEST_INCREMENTAL")) != 0;

	seed = getenv("WEAKREF_SEED") != NULL ? strtoull(getenv("WEAKREF_SEED"), NULL, 0) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--incremental") == 0) {
			incremental = true;
			continue;
		}
		if (value != NULL && strcmp(argv[i], "--seconds") == 0) {
			seconds = atof(value);
		} else if (value != NULL && strcmp(argv[i], "--seed") == 0) {
			seed = strtoull(value, NULL, 0);
		} else if (value != NULL && strcmp(argv[i], "--readers") == 0) {
			counts[READER] = (unsigned)atoi(value);
		} else if (value != NULL && strcmp(argv[i], "--writers") == 0) {
			counts[WRITER] = (unsigned)atoi(value);
		} else if (value != NULL && strcmp(argv[i], "--collectors") == 0) {
			counts[COLLECTOR] = (unsigned)atoi(value);
		} else {
			fprintf(stderr, "usage: %s [--seconds S] [--seed N] [--readers R] [--writers W] [--collectors C] [--incremental]\n", argv[0]);
			return 2;
		}
		i++;
	}
	printf("stress: seed %llu, %g s, %u readers, %u writers, %u collectors%s\n", (unsigned long long)seed, seconds, counts[READER],
	       counts[WRITER], counts[COLLECTOR], incremental ? ", incremental" : "");
	fflush(stdout);
	GC_set_on_collection_event(on_event);
	if (gc_init() != 0)
		broken("gc_init failed");
	/* libgc collects once where it starts, before the library is there. */
	marked = partial = 0;
	GC_set_start_callback(on_full);
	if (incremental)
		GC_enable_incremental();
	keys_init();
	world = gc_alloc(sizeof(*world));
	REQUIRE(world != NULL);
	for (size_t i = 0; i < DICTS; i++) {
		world->dicts[i] = keys_dict((enum weakref_key_kind)i);
		REQUIRE(world->dicts[i] != NULL);
	}
	for (size_t i = 0; i < PAIRS; i++)
		pairs_new(i);
	world->set = weakref_set_new(WEAKREF_BY_IDENTITY);
	world->interner = weakref_interner_new_custom(same_key_hash, same_key_equal, NULL);
	REQUIRE(world->set != NULL && world->interner != NULL);
	run(seconds, counts, incremental);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * model_valuedict: random sequences of operations on two dictionaries, each step compared with a naive model.
 *
 * The model knows explicitly who lives. Values are nodes, each with a serial number; the only strong pointers to them stand in
 * `strong`, an array of slots. A node is
 *
 *     held      in a slot: it is alive, and every entry that the model has for it must be there
 *     doomed    in none: it may die at any moment, and until it is seen dead it may be there, with the right value
 *     dead      once any look-up missed it: from then on every entry of it, in both dictionaries, must be gone (R9, R22)
 *
 * An entry that the model does not have must not be there at all. After a full collection all doomed nodes are dead but for
 * TOLERATED ones, which a stray word on the conservative heap may keep; len is then exact (R35).
 *
 * Every step runs in a frame of its own, so that pointers it left behind are scrubbed before a collection. One thread; the
 * collector's own automatic collections come as they like. The steps are drawn from a generator whose seed is printed, or from a
 * fuzzer's bytes: built with MODEL_FUZZER it has LLVMFuzzerTestOneInput instead of main.
 *
 *     model_valuedict [--seconds S | --ops N] [--seed N] [--kind K] [--incremental]
 */
#include <errno.h>
#include <stdarg.h>
#include <time.h>

#include <gc/gc.h>

#include "model_valuedict.h"
#include "support.h"
#include "weakref/checks.h"

#define KEYS 4096
#define FEW_KEYS 300
#define SLOTS 512
#define TOLERATED 2
#define NO_SERIAL 0

/* ---- input --------------------------------------------------------------------------------------------------------------- */

struct input {
	const uint8_t *bytes;
	size_t left;
	uint64_t state;
	bool fuzzed;
};

static uint32_t draw(struct input *input, uint32_t below)
{
	uint32_t x = 0;

	if (!input->fuzzed)
		return (uint32_t)(support_random(&input->state) >> 32) % below;
	for (int i = 0; i < 2 && input->left > 0; i++, input->left--)
		x = x << 8 | *input->bytes++;
	return x % below;
}

/* ---- the model ----------------------------------------------------------------------------------------------------------- */

struct model_dict {
	weakref_valuedict *dict;
	/* The serial that each key is bound to, or NO_SERIAL. May be one that died unnoticed. */
	uint32_t serial[KEYS];
};

static struct model {
	struct input input;
	enum weakref_key_kind kind;
	uint64_t seed;
	struct model_dict d[2];
	struct support_node *strong[SLOTS];
	/* For each serial: how many slots hold it, and whether it was seen dead. From malloc: not scanned. */
	uint16_t *holders;
	uint8_t *dead;
	uint32_t serials, serials_room;
	size_t keys;
	unsigned long step;
	unsigned long collections, deaths, hits, misses, survivors;
	const char *doing;
} m;

_Noreturn static void WEAKREF_PRINTF(1, 2) broken(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "model_valuedict: seed %llu, kind %d, step %lu (%s): ", (unsigned long long)m.seed, m.kind, m.step, m.doing);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

#define EXPECT(cond, ...)                                                                                              \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			broken(__VA_ARGS__);                                                                             \
	} while (0)

static void model_start(uint64_t seed, enum weakref_key_kind kind)
{
	m.seed = seed;
	m.kind = kind;
	m.keys = FEW_KEYS;
	m.serials = 1;
	m.step = 0;
	for (int i = 0; i < 2; i++) {
		memset(m.d[i].serial, 0, sizeof(m.d[i].serial));
		m.d[i].dict = keys_dict(kind);
		EXPECT(m.d[i].dict != NULL, "no dictionary: %s", strerror(errno));
	}
	memset(m.strong, 0, sizeof(m.strong));
}

static bool held(uint32_t serial)
{
	return m.holders[serial] > 0;
}

static void died(uint32_t serial)
{
	EXPECT(!held(serial), "held value %u was not found", serial);
	m.deaths += !m.dead[serial];
	m.dead[serial] = 1;
}

/* What was found under a key, against the model; NULL for nothing. Returns whether it was there. */
static bool judge(struct model_dict *d, size_t key, const struct support_node *found)
{
	uint32_t serial = d->serial[key];

	if (found != NULL) {
		EXPECT(support_node_intact(found), "key %zu gave memory that is no node", key);
		EXPECT(serial != NO_SERIAL, "key %zu gave value %llu, though it is not in the model", key, (unsigned long long)found->id);
		EXPECT(found->id == serial, "key %zu gave value %llu instead of %u", key, (unsigned long long)found->id, serial);
		EXPECT(!m.dead[serial], "key %zu gave value %u, which was dead already", key, serial);
		m.hits++;
		return true;
	}
	m.misses++;
	if (serial != NO_SERIAL) {
		died(serial);
		d->serial[key] = NO_SERIAL;
	}
	return false;
}

static uint32_t serial_new(void)
{
	if (m.serials >= m.serials_room) {
		uint32_t room = m.serials_room == 0 ? 65536 : m.serials_room * 2;

		m.holders = realloc(m.holders, room * sizeof(*m.holders));
		m.dead = realloc(m.dead, room);
		EXPECT(m.holders != NULL && m.dead != NULL, "out of memory");
		m.serials_room = room;
	}
	m.holders[m.serials] = 0;
	m.dead[m.serials] = 0;
	return m.serials++;
}

static void hold(size_t slot, struct support_node *node)
{
	if (m.strong[slot] != NULL)
		m.holders[m.strong[slot]->id]--;
	*(struct support_node *volatile *)&m.strong[slot] = node;
	if (node != NULL)
		m.holders[node->id]++;
}

/* A value from a slot, or a new one; a new one may be left to its fate at once. */
static struct support_node *some_value(void)
{
	size_t slot = draw(&m.input, SLOTS);
	struct support_node *node = m.strong[slot];

	if (node == NULL || draw(&m.input, 4) == 0) {
		node = support_node_new(serial_new());
		EXPECT(node != NULL, "no node: %s", strerror(errno));
		if (draw(&m.input, 4) != 0)
			hold(slot, node);
	}
	return node;
}

static size_t some_key(void)
{
	return draw(&m.input, (uint32_t)m.keys);
}

static struct model_dict *some_dict(void)
{
	return &m.d[draw(&m.input, 4) == 0];
}

/* ---- steps: each in a frame of its own ----------------------------------------------------------------------------------- */

#define STEP(name) __attribute__((noinline)) static void step_##name(struct model_dict *d, const char *doing)
#define BEGIN m.doing = doing

static void do_set(struct model_dict *d, size_t key, struct support_node *node)
{
	struct keys_room room;
	int rc = weakref_valuedict_set(d->dict, keys_store(m.kind, key, &room), node);

	EXPECT(rc == 0, "set: %s", weakref_strerror(rc));
	d->serial[key] = (uint32_t)node->id;
}

STEP(set)
{
	BEGIN;
	do_set(d, some_key(), some_value());
}

STEP(bulk_set)
{
	size_t n = draw(&m.input, KEYS), first = draw(&m.input, KEYS);

	BEGIN;
	for (size_t i = 0; i < n; i++)
		do_set(d, (first + i) % KEYS, some_value());
}

STEP(get)
{
	struct keys_room room;
	size_t key = some_key();
	struct support_node *node = weakref_valuedict_get(d->dict, keys_find(m.kind, key, &room));

	BEGIN;
	if (judge(d, key, node) && draw(&m.input, 8) == 0)
		hold(draw(&m.input, SLOTS), node);
}

STEP(get_or)
{
	struct keys_room room;
	static int fallback;
	size_t key = some_key();
	void *node = weakref_valuedict_get_or(d->dict, keys_find(m.kind, key, &room), &fallback);

	BEGIN;
	judge(d, key, node == &fallback ? NULL : node);
}

STEP(lookup)
{
	struct keys_room room;
	size_t key = some_key();
	uint32_t serial = d->serial[key];
	void *node = &room;
	int rc = weakref_valuedict_lookup(d->dict, keys_find(m.kind, key, &room), &node);

	BEGIN;
	EXPECT(rc == 0 || rc == -WEAKREF_ENOENT || rc == -WEAKREF_ESTALE, "lookup: %d", rc);
	EXPECT((rc == 0) == (node != NULL), "lookup: %d with %p", rc, node);
	EXPECT(rc != -WEAKREF_ESTALE || serial == NO_SERIAL || !held(serial), "a held value is stale");
	judge(d, key, node);
}

STEP(contains)
{
	struct keys_room room;
	size_t key = some_key();
	int rc = weakref_valuedict_contains(d->dict, keys_find(m.kind, key, &room));

	BEGIN;
	EXPECT(rc == 0 || rc == 1, "contains: %d", rc);
	if (rc == 0)
		judge(d, key, NULL);
	else
		EXPECT(d->serial[key] != NO_SERIAL && !m.dead[d->serial[key]], "contains key %zu, though it is absent or dead", key);
}

STEP(delete)
{
	struct keys_room room;
	size_t key = some_key();
	int rc = weakref_valuedict_delete(d->dict, keys_find(m.kind, key, &room));

	BEGIN;
	EXPECT(rc == 0 || rc == -WEAKREF_ENOENT, "delete: %d", rc);
	if (rc != 0)
		judge(d, key, NULL);
	else
		EXPECT(d->serial[key] != NO_SERIAL && !m.dead[d->serial[key]], "deleted key %zu, though it is absent or dead", key);
	d->serial[key] = NO_SERIAL;
}

STEP(pop)
{
	struct keys_room room;
	size_t key = some_key();
	void *node = NULL;
	int rc = 0;
	static int fallback;

	BEGIN;
	if (draw(&m.input, 2)) {
		rc = weakref_valuedict_pop(d->dict, keys_find(m.kind, key, &room), &node);
		EXPECT(rc == 0 || rc == -WEAKREF_ENOENT, "pop: %d", rc);
		node = rc == 0 ? node : NULL;
	} else {
		node = weakref_valuedict_pop_or(d->dict, keys_find(m.kind, key, &room), &fallback);
		node = node == &fallback ? NULL : node;
	}
	judge(d, key, node);
	d->serial[key] = NO_SERIAL;
}

STEP(popitem)
{
	const void *key = NULL;
	void *node = NULL;
	int rc = weakref_valuedict_popitem(d->dict, &key, &node);
	size_t number;

	BEGIN;
	EXPECT(rc == 0 || rc == -WEAKREF_ENOENT, "popitem: %d", rc);
	if (rc == 0) {
		number = keys_number(m.kind, key);
		EXPECT(number < KEYS, "popitem gave a key that is none");
		judge(d, number, node);
		d->serial[number] = NO_SERIAL;
	} else {
		for (size_t i = 0; i < KEYS; i++)
			judge(d, i, NULL);
	}
}

STEP(setdefault)
{
	struct keys_room room;
	size_t key = some_key();
	struct support_node *fresh = some_value(), *node;

	BEGIN;
	node = weakref_valuedict_setdefault(d->dict, keys_store(m.kind, key, &room), fresh);
	EXPECT(node != NULL, "setdefault: %s", strerror(errno));
	if (node != fresh) {
		judge(d, key, node);
	} else if (d->serial[key] != fresh->id) {
		judge(d, key, NULL);
		d->serial[key] = (uint32_t)fresh->id;
	}
}

STEP(len)
{
	size_t least = 0, most = 0, len = weakref_valuedict_len(d->dict);

	BEGIN;
	for (size_t i = 0; i < KEYS; i++) {
		uint32_t serial = d->serial[i];

		least += serial != NO_SERIAL && held(serial);
		most += serial != NO_SERIAL && !m.dead[serial];
	}
	EXPECT(len >= least && len <= most, "len is %zu, not between %zu and %zu", len, least, most);
}

/* Walks the whole dictionary: every held one once, none twice, none that is not in the model. */
STEP(walk)
{
	static uint8_t seen[KEYS];
	weakref_valuedict_iter *iter = weakref_valuedict_iter_new(d->dict);
	const void *key;
	void *node = NULL;
	bool values = draw(&m.input, 2), changing = draw(&m.input, 4) == 0;
	int rc;

	BEGIN;
	memset(seen, 0, sizeof(seen));
	EXPECT(iter != NULL, "no iterator: %s", strerror(errno));
	while ((rc = weakref_valuedict_iter_next(iter, &key, values ? &node : NULL)) == 1) {
		size_t number = keys_number(m.kind, key);

		EXPECT(number < KEYS, "the iterator gave a key that is none");
		EXPECT(!seen[number], "the iterator gave key %zu twice", number);
		seen[number] = 1;
		EXPECT(d->serial[number] != NO_SERIAL && !m.dead[d->serial[number]], "the iterator gave key %zu, absent or dead", number);
		if (values)
			judge(d, number, node);
		if (changing && draw(&m.input, 8) == 0) {
			struct keys_room room;

			rc = weakref_valuedict_delete(d->dict, keys_find(m.kind, number, &room));
			EXPECT(rc == 0 || rc == -WEAKREF_ENOENT, "delete: %d", rc);
			if (rc != 0)
				died(d->serial[number]);
			d->serial[number] = NO_SERIAL;
		}
	}
	EXPECT(rc == 0, "iter_next: %d", rc);
	for (size_t i = 0; i < KEYS; i++)
		if (d->serial[i] != NO_SERIAL && !seen[i])
			judge(d, i, NULL);
}

STEP(arrays)
{
	size_t n = 0, n_items = 0;
	weakref_pair *items = weakref_valuedict_items(d->dict, &n_items);
	weakref_ref **refs;

	BEGIN;
	EXPECT(items != NULL, "no items: %s", strerror(errno));
	for (size_t i = 0; i < n_items; i++) {
		size_t number = keys_number(m.kind, items[i].key);

		EXPECT(number < KEYS && items[i].value != NULL, "items gave no entry");
		judge(d, number, items[i].value);
	}
	refs = weakref_valuedict_valuerefs(d->dict, &n);
	EXPECT(refs != NULL, "no valuerefs: %s", strerror(errno));
	for (size_t i = 0; i < n; i++) {
		struct support_node *node = weakref_ref_get(refs[i]);

		EXPECT(node == NULL || support_node_intact(node), "a reference gave memory that is no node");
		EXPECT(node == NULL || !m.dead[node->id], "a reference gave value %llu, dead already", (unsigned long long)node->id);
	}
	/* The array holds its values; a stray word must not hold the array's. */
	for (size_t i = 0; i < n_items; i++)
		*(void *volatile *)&items[i].value = NULL;
}

STEP(clear)
{
	int rc = weakref_valuedict_clear(d->dict);

	BEGIN;
	EXPECT(rc == 0, "clear: %d", rc);
	memset(d->serial, 0, sizeof(d->serial));
	EXPECT(weakref_valuedict_len(d->dict) == 0, "len is not 0 after clear");
}

STEP(copy)
{
	struct model_dict *other = d == &m.d[0] ? &m.d[1] : &m.d[0];

	BEGIN;
	other->dict = draw(&m.input, 2) ? weakref_valuedict_copy(d->dict) : weakref_valuedict_deepcopy(d->dict, NULL, NULL);
	EXPECT(other->dict != NULL, "copy: %s", strerror(errno));
	memcpy(other->serial, d->serial, sizeof(d->serial));
}

STEP(update)
{
	static uint32_t came[KEYS];
	struct model_dict *other = draw(&m.input, 8) == 0 ? d : d == &m.d[0] ? &m.d[1] : &m.d[0];
	int rc = 0;

	BEGIN;
	if (draw(&m.input, 2)) {
		rc = weakref_valuedict_update(d->dict, other->dict);
	} else {
		d->dict = weakref_valuedict_union(d->dict, other->dict);
		EXPECT(d->dict != NULL, "union: %s", strerror(errno));
	}
	EXPECT(rc == 0, "update: %d", rc);
	/* A doomed one may have died before it was reached, and then the old entry stands; or afterwards, and then there is none. One value
	 * may have gone both ways, under two keys: so that none of them counts as dead before all its keys were looked at. */
	for (size_t i = 0; i < KEYS; i++) {
		uint32_t serial = other->serial[i];

		came[i] = NO_SERIAL;
		if (serial == NO_SERIAL || m.dead[serial] || serial == d->serial[i])
			continue;
		if (!held(serial)) {
			struct keys_room room;
			struct support_node *node = weakref_valuedict_get(d->dict, keys_find(m.kind, i, &room));

			EXPECT(node == NULL || support_node_intact(node), "key %zu gave memory that is no node", i);
			came[i] = serial;
			if (node != NULL && node->id != serial)
				continue;
		}
		d->serial[i] = serial;
	}
	for (size_t i = 0; i < KEYS; i++) {
		struct keys_room room;

		judge(d, i, weakref_valuedict_get(d->dict, keys_find(m.kind, i, &room)));
		if (came[i] != NO_SERIAL && d->serial[i] != came[i])
			died(came[i]);
	}
}

STEP(new_dict)
{
	BEGIN;
	d->dict = keys_dict(m.kind);
	EXPECT(d->dict != NULL, "no dictionary: %s", strerror(errno));
	memset(d->serial, 0, sizeof(d->serial));
}

STEP(drop)
{
	size_t n = draw(&m.input, 16) == 0 ? SLOTS : 1 + draw(&m.input, 8), first = draw(&m.input, SLOTS);

	(void)d;
	BEGIN;
	for (size_t i = 0; i < n; i++)
		hold((first + i) % SLOTS, NULL);
}

STEP(range)
{
	(void)d;
	BEGIN;
	m.keys = draw(&m.input, 3) == 0 ? KEYS : FEW_KEYS;
}

/* Compares the whole of both dictionaries. Returns how many doomed nodes are there yet. */
__attribute__((noinline)) static size_t compare(void)
{
	static uint8_t *there;
	static uint32_t room_for;
	size_t doomed = 0;

	if (room_for < m.serials) {
		room_for = m.serials_room + 1; /* none was made yet: one */
		there = realloc(there, room_for);
		EXPECT(there != NULL, "out of memory");
	}
	memset(there, 0, m.serials);
	for (int i = 0; i < 2; i++) {
		struct model_dict *d = &m.d[i];
		size_t n = 0, len = weakref_valuedict_len(d->dict);

		for (size_t key = 0; key < KEYS; key++) {
			struct keys_room room;
			uint32_t serial = d->serial[key];

			if (!judge(d, key, weakref_valuedict_get(d->dict, keys_find(m.kind, key, &room))))
				continue;
			n++;
			if (!held(serial) && !there[serial]) {
				there[serial] = 1;
				doomed++;
			}
		}
		/* Nothing allocated since, so that no automatic collection came between. */
		EXPECT(len >= n, "len is %zu, but %zu were found", len, n);
	}
	return doomed;
}

__attribute__((noinline)) static void collect(const char *doing)
{
	size_t doomed = 0;
	bool plain = draw(&m.input, 4) == 0;

	m.doing = doing;
	for (int i = 0; i < 3; i++) {
		support_scrub();
		if (plain)
			GC_gcollect();
		else
			EXPECT(gc_collect() >= 0, "gc_collect failed");
		m.collections++;
		doomed = compare();
		if (doomed <= TOLERATED)
			break;
	}
	m.survivors += doomed;
	EXPECT(doomed <= TOLERATED, "%zu values that nobody holds survived three collections", doomed);
	for (int i = 0; i < 2; i++) {
		size_t n = 0;

		for (size_t key = 0; key < KEYS; key++)
			n += m.d[i].serial[key] != NO_SERIAL;
		EXPECT(weakref_valuedict_len(m.d[i].dict) == n, "len is %zu after a collection, but %zu are there",
		       weakref_valuedict_len(m.d[i].dict), n);
	}
	if (weakref_checks_enabled())
		EXPECT(weakref_checks_validate() >= 0, "validate");
}

/* ---- the run ------------------------------------------------------------------------------------------------------------- */

static const struct {
	void (*run)(struct model_dict *d, const char *doing);
	const char *name;
	unsigned weight;
} steps[] = {
	{step_set, "set", 2600},       {step_get, "get", 2000},         {step_get_or, "get_or", 500},
	{step_lookup, "lookup", 800},  {step_contains, "contains", 600}, {step_delete, "delete", 600},
	{step_pop, "pop", 400},	       {step_popitem, "popitem", 300},	{step_setdefault, "setdefault", 1000},
	{step_len, "len", 30},	       {step_walk, "walk", 15},	        {step_arrays, "arrays", 10},
	{step_clear, "clear", 3},      {step_copy, "copy", 5},	        {step_update, "update", 10},
	{step_new_dict, "new", 2},     {step_drop, "drop", 1000},       {step_range, "range", 5},
	{step_bulk_set, "bulk set", 8},
};

static void one_step(void)
{
	unsigned total = 0, at;
	size_t i = 0;

	m.step++;
	if (draw(&m.input, 400) == 0) {
		collect("collect");
		return;
	}
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		total += steps[i].weight;
	at = draw(&m.input, total);
	for (i = 0; at >= steps[i].weight; i++)
		at -= steps[i].weight;
	steps[i].run(some_dict(), steps[i].name);
}

#ifdef MODEL_FUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (gc_init() != 0)
		abort();
	keys_init();
	if (size == 0)
		return 0;
	m.input = (struct input){.bytes = data + 1, .left = size - 1, .fuzzed = true};
	model_start(0, (enum weakref_key_kind)(data[0] % KEYS_KINDS));
	while (m.input.left > 0)
		one_step();
	collect("at the end");
	return 0;
}

#else

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(uint64_t seed, enum weakref_key_kind kind, unsigned long ops, double seconds)
{
	double end = now() + seconds;

	m.input = (struct input){.state = seed};
	model_start(seed, kind);
	for (unsigned long i = 0; seconds > 0 ? now() < end : i < ops; i++)
		one_step();
	collect("at the end");
	for (size_t slot = 0; slot < SLOTS; slot++)
		hold(slot, NULL);
	collect("after all were dropped");
}

int main(int argc, char **argv)
{
	unsigned long ops = 20000;
	double seconds = 0;
	uint64_t seed = getenv("WEAKREF_SEED") != NULL ? strtoull(getenv("WEAKREF_SEED"), NULL, 0) : (uint64_t)time(NULL);
	int only = -1;
	bool incremental = getenv("WEAKREF_TEST_INCREMENTAL") != NULL && atoi(getenv("WEAKREF_TEST_INCREMENTAL")) != 0;
	const char *every = getenv("WEAKREF_COLLECT_EVERY");

	/* Where each call collects, a step takes as long as some ten. */
	if (every != NULL && atol(every) > 0 && atol(every) < 10)
		ops /= 10;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--incremental") == 0) {
			incremental = true;
			continue;
		}
		if (i + 1 >= argc) {
			fprintf(stderr, "usage: %s [--seconds S | --ops N] [--seed N] [--kind K] [--incremental]\n", argv[0]);
			return 2;
		}
		if (strcmp(argv[i], "--seconds") == 0)
			seconds = atof(argv[++i]);
		else if (strcmp(argv[i], "--ops") == 0)
			ops = strtoul(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--kind") == 0)
			only = atoi(argv[++i]) % KEYS_KINDS;
		else
			return 2;
	}
	if (gc_init() != 0)
		return 1;
	if (incremental)
		GC_enable_incremental();
	keys_init();
	printf("model_valuedict: seed %llu, %s %g\n", (unsigned long long)seed, seconds > 0 ? "seconds" : "operations",
	       seconds > 0 ? seconds : (double)ops);
	fflush(stdout);
	for (int kind = 0; kind < KEYS_KINDS; kind++)
		if (only < 0 || kind == only)
			run(seed + (uint64_t)kind, (enum weakref_key_kind)kind, only < 0 ? ops / KEYS_KINDS : ops,
			    only < 0 ? seconds / KEYS_KINDS : seconds);
	printf("model_valuedict: %lu collections asked for, %lu deaths seen, %lu hits, %lu misses, %lu tolerated survivors\n", m.collections,
	       m.deaths, m.hits, m.misses, m.survivors);
	/* It did happen. */
	if (m.collections == 0 || m.deaths == 0 || m.hits == 0 || (incremental && !GC_is_incremental_mode())) {
		fprintf(stderr, "model_valuedict: nothing collected, nothing died or nothing was found\n");
		return 1;
	}
	return 0;
}

#endif

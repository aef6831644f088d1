/* SPDX-License-Identifier: MIT */
/*
 * check_table: the table core on a plain heap, with no collector: its blocks are freed when a test ends, which is what readers of old
 * segments need, and values die when a test says so. So this one runs under the thread, address and undefined sanitizers alike.
 *
 * A value is no pointer but a number: 16 * (version * 2^20 + key + 1). Whoever finds one knows whether it belongs to its key.
 *
 * TABLE_SEED=n repeats a run; every failure prints the seed.
 */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "table.h"
#include "table_quick.h"

static uint64_t seed;

/* Check's own assertions write to a file each time, which is too much for millions of them. */
#define expect(cond)                                                                                       \
	do {                                                                                               \
		if (unlikely(!(cond)))                                                                     \
			ck_abort_msg("%s (TABLE_SEED=%llu)", #cond, (unsigned long long)seed);             \
	} while (0)
#define expect_op(a, op, b)                                                                                \
	do {                                                                                               \
		long long a_ = (long long)(a), b_ = (long long)(b);                                        \
		if (unlikely(!(a_ op b_)))                                                                 \
			ck_abort_msg("%s %s %s: %lld, %lld (TABLE_SEED=%llu)", #a, #op, #b, a_, b_,        \
				     (unsigned long long)seed);                                            \
	} while (0)
#define expect_eq(a, b) expect_op(a, ==, b)
#define expect_ne(a, b) expect_op(a, !=, b)
#define expect_lt(a, b) expect_op(a, <, b)
#define expect_gt(a, b) expect_op(a, >, b)
#define expect_ge(a, b) expect_op(a, >=, b)

/* ---- random numbers ---- */

static uint64_t next_random(uint64_t *state)
{
	return base_mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(next_random(state) % n);
}

/* ---- a plain heap ---- */

struct block {
	struct block *next;
	size_t size;
	/* Blocks are aligned to 16 bytes. */
	unsigned char bytes[];
};

struct array {
	struct array *next;
	struct slots *slots;
	void (*purge)(struct slots *slots, void *owner);
};

static _Atomic(struct block *) blocks;
static _Atomic(struct array *) arrays;
static _Atomic long fail_in; /* the allocation that fails is the one that brings this from 1 to 0 */
static _Atomic bool fail_on; /* and another one will, of the next few */
static _Atomic unsigned fail_count;

/* Whoever it fails for sets the next one: who would have to be running beside the writers for that may not get to run. A write with all
 * that comes of it takes up to seven, so each succeeds at some time. */
static bool heap_fails(void)
{
	if (atomic_load(&fail_in) <= 0 || atomic_fetch_sub(&fail_in, 1) != 1)
		return false;
	uint64_t random = seed + atomic_fetch_add(&fail_count, 1);
	if (atomic_load(&fail_on))
		atomic_store(&fail_in, 1 + below(&random, 8));
	return true;
}

static void *heap_get(size_t size, int fill)
{
	if (heap_fails())
		return NULL;
	struct block *block = malloc(sizeof *block + size);
	expect(block != NULL);
	memset(block->bytes, fill, size);
	block->size = size;
	block->next = atomic_load(&blocks);
	while (!atomic_compare_exchange_weak(&blocks, &block->next, block))
		;
	return block->bytes;
}

static void *plain_alloc(size_t size)
{
	return heap_get(size, 0);
}

/* Not zeroed, and visibly so. */
static void *plain_alloc_leaf(size_t size)
{
	return heap_get(size, 0xa5);
}

static struct slots *plain_slots_new(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner))
{
	struct slots *slots = heap_get(slots_size(n, stride), 0);

	if (slots == NULL)
		return NULL;
	slots->n = n;
	slots->stride = (uint16_t)stride;
	slots->value = (uint16_t)value;
	slots->purge = purge;
	slots->signature = SLOTS_SIGNATURE;
	struct array *array = malloc(sizeof *array);
	expect(array != NULL);
	array->slots = slots;
	array->next = atomic_load(&arrays);
	while (!atomic_compare_exchange_weak(&arrays, &array->next, array))
		;
	return slots;
}

static struct slots *plain_pairs_new(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner))
{
	struct slots *slots = plain_slots_new(n, stride, value, purge);

	if (slots == NULL)
		return NULL;
	slots->payload = stride == TABLE_STRIDE ? TABLE_BARE_PAYLOAD : TABLE_PAYLOAD;
	slots->weakness = SLOTS_WEAK_EPHEMERON;
	return slots;
}

static void plain_set_owner(struct slots *slots, const void *owner)
{
	atomic_store(&slots->owner, (uintptr_t)owner);
}

static const struct table_ops plain_ops = {plain_alloc, plain_alloc_leaf, plain_slots_new, plain_set_owner},
			      plain_pair_ops = {plain_alloc, plain_alloc_leaf, plain_pairs_new, plain_set_owner};

static void heap_free_all(void)
{
	for (struct block *block = atomic_exchange(&blocks, NULL), *next; block != NULL; block = next) {
		next = block->next;
		free(block);
	}
	for (struct array *array = atomic_exchange(&arrays, NULL), *next; array != NULL; array = next) {
		next = array->next;
		free(array);
	}
	fail_on = false;
	fail_in = 0;
}

/* ---- a collection ---- */

typedef bool (*dies_fn)(uint32_t key, uint64_t version, void *arg);

static uintptr_t value_make(uint32_t key, uint64_t version)
{
	return (uintptr_t)(version << 20 | (key + 1)) << 4;
}

static uint32_t value_key(uintptr_t value)
{
	return (uint32_t)(value >> 4 & 0xfffff) - 1;
}

static uint64_t value_version(uintptr_t value)
{
	return value >> 24;
}

/* Counted as the scan counts, in an order that writers who run meanwhile can bear: the true scan has the world stopped. */
static void kill_slot(struct slots *slots, _Atomic(uintptr_t) *word, uintptr_t raw)
{
	atomic_fetch_add(&slots->dead, 1);
	if (atomic_compare_exchange_strong(word, &raw, SLOTS_VACANT))
		atomic_fetch_sub(&slots->live, 1);
	else
		atomic_fetch_sub(&slots->dead, 1);
}

#define KEYS 20000
/* Two objects for each custom key: equal, not the same. As far from each other as blocks of the heap are. */
static struct object {
	uint32_t number;
	uint32_t more[3];
} objects[2][KEYS];

/* A slot's key and version: a pair's weak word is the key's object, its payload the value. */
static bool slot_dies(struct slots *slots, uint32_t i, uintptr_t raw, dies_fn dies, void *arg)
{
	if (slots->weakness == SLOTS_WEAK_VALUE)
		return dies(value_key(raw), value_version(raw), arg);
	uintptr_t payload = atomic_load(slots_word(slots, i, slots->payload));
	/* 0: a segment that was replaced has let go of it. */
	return payload != 0 && dies(*(uint32_t *)(raw & ~EPOCH_TAG), value_version(payload), arg);
}

/* The values that die vanish from all arrays there are, those of retired segments as well. */
static void collect(dies_fn dies, void *arg)
{
	for (struct array *array = atomic_load(&arrays); array != NULL; array = array->next) {
		for (uint32_t i = 0; i < array->slots->n; i++) {
			_Atomic(uintptr_t) *word = slots_word(array->slots, i, array->slots->value);
			uintptr_t raw = atomic_load(word);
			if (!slots_is_value(raw) || !slot_dies(array->slots, i, raw, dies, arg))
				continue;
			kill_slot(array->slots, word, raw);
			if (array->slots->weakness != SLOTS_WEAK_VALUE)
				atomic_store(slots_word(array->slots, i, array->slots->payload), 0);
		}
	}
}

static void purge_all(void)
{
	for (struct array *array = atomic_load(&arrays); array != NULL; array = array->next)
		if (atomic_load(&array->slots->dead) != 0 && atomic_load(&array->slots->owner) != 0)
			array->slots->purge(array->slots, (void *)atomic_load(&array->slots->owner));
}

/* ---- keys of every kind ---- */

enum style { STYLE_STRING, STYLE_LONG, STYLE_INT, STYLE_POINTER, STYLE_CUSTOM, STYLE_COLLIDING, STYLE_PAIR, STYLE_EQUAL_PAIR, STYLES };

static const struct {
	const char *name;
	enum table_layout layout;
	bool strong;
} styles[STYLES] = {
	[STYLE_STRING] = {"string", TABLE_BYTES, false},  [STYLE_LONG] = {"long", TABLE_BYTES, false},
	[STYLE_INT] = {"int", TABLE_WORD, false},         [STYLE_POINTER] = {"pointer", TABLE_WORD, true},
	[STYLE_CUSTOM] = {"custom", TABLE_HASHED, true},  [STYLE_COLLIDING] = {"colliding", TABLE_HASHED, true},
	[STYLE_PAIR] = {"pair", TABLE_PAIR, false},       [STYLE_EQUAL_PAIR] = {"equal pair", TABLE_PAIR, false},
};

static int objects_equal(const void *a, const void *b, void *user)
{
	lock_check_none("equal");
	if (user != NULL && *(int *)user < 0)
		return *(int *)user;
	return *(const uint32_t *)a == *(const uint32_t *)b;
}

/* Room for one key; each of a table's own. */
struct text {
	char bytes[700];
};

/* The key that is an integer's erased word stands for key 3, but where the difference matters that it makes (see TABLE_ERASED). */
static bool with_erased = true;

static struct table_key key_make(enum style style, uint32_t k, struct text *text)
{
	struct table_key key;
	size_t size = 0;

	switch (style) {
	case STYLE_STRING:
		text->bytes[0] = 0;
		if (k != 0)
			size = (size_t)snprintf(text->bytes, sizeof text->bytes, "k%u", k);
		table_key_bytes(&key, text->bytes, size);
		break;
	case STYLE_LONG:
		size = k * 7 % 600;
		memset(text->bytes, 'x', sizeof text->bytes);
		memcpy(text->bytes + size, &k, sizeof k);
		table_key_bytes(&key, text->bytes, size + sizeof k);
		break;
	case STYLE_INT:
		table_key_word(&key, k == 3 && with_erased ? TABLE_ERASED : k);
		break;
	case STYLE_POINTER:
		table_key_pointer(&key, &objects[0][k]);
		break;
	case STYLE_CUSTOM:
		table_key_hashed(&key, &objects[text->bytes[0] & 1][k], k);
		break;
	case STYLE_PAIR:
		table_key_identity(&key, &objects[0][k], (uintptr_t)&objects[0][k]);
		table_key_tag(&key, k % 3);
		break;
	case STYLE_EQUAL_PAIR:
		table_key_self(&key, &objects[text->bytes[0] & 1][k], (uintptr_t)&objects[text->bytes[0] & 1][k], k);
		break;
	default:
		table_key_hashed(&key, &objects[text->bytes[0] & 1][k], k % 100 < 90 ? k : 1);
	}
	return key;
}

/* The key that an entry is for. */
static uint32_t key_back(enum style style, const struct table_key *key)
{
	uint32_t k = 0;

	switch (style) {
	case STYLE_STRING:
		return key->size == 0 ? 0 : (uint32_t)strtoul((const char *)key->data + 1, NULL, 10);
	case STYLE_LONG:
		memcpy(&k, (const char *)key->data + key->size - sizeof k, sizeof k);
		return k;
	case STYLE_INT:
		return key->word == TABLE_ERASED ? 3 : (uint32_t)key->word;
	case STYLE_POINTER:
		return (uint32_t)((const struct object *)key->data - objects[0]);
	default:
		return *(const uint32_t *)key->data;
	}
}

static struct table *table_make(enum style style, int *error)
{
	struct table *table = plain_alloc(sizeof *table);

	const struct table_ops *ops = styles[style].layout == TABLE_PAIR ? &plain_pair_ops : &plain_ops;
	expect_eq(table_init(table, ops, styles[style].layout, styles[style].strong,
			     style == STYLE_PAIR ? NULL : objects_equal, error), 0);
	return table;
}

static void setup(void)
{
	with_erased = true;
	for (uint32_t k = 0; k < KEYS; k++)
		objects[0][k].number = objects[1][k].number = k;
}

/* ---- the model ---- */

struct model {
	struct table *table;
	enum style style;
	uint64_t random;
	uint64_t version;
	uint64_t have[KEYS]; /* version; 0 absent */
	size_t len;
	size_t asked_quickly, found_quickly;
};

static int model_put(struct model *model, uint32_t k, enum table_put_mode mode)
{
	struct text text = {{(char)below(&model->random, 2)}};
	struct table_key key = key_make(model->style, k, &text);
	void *now;
	int error = table_put(model->table, &key, value_make(k, ++model->version), mode, &now);

	if (error < 0)
		return error;
	if (mode == TABLE_KEEP && model->have[k] != 0) {
		expect_eq((uintptr_t)now, value_make(k, model->have[k]));
		return 0;
	}
	expect(now == NULL);
	model->len += model->have[k] == 0;
	model->have[k] = model->version;
	return 0;
}

static void model_take(struct model *model, uint32_t k)
{
	struct text text = {{(char)below(&model->random, 2)}};
	struct table_key key = key_make(model->style, k, &text);
	void *value;
	int error = table_take(model->table, &key, &value);

	if (model->have[k] == 0) {
		expect_eq(error, -WEAKREF_ENOENT);
		expect(value == NULL);
		return;
	}
	expect_eq(error, 0);
	expect_eq((uintptr_t)value, value_make(k, model->have[k]));
	model->have[k] = 0;
	model->len--;
	/* A key that was removed is absent, not dead. */
	expect_eq(table_get(model->table, &key, &value), -WEAKREF_ENOENT);
}

/* What the quick look-ups say, for the layouts that have one; `has` says whether this has. False: nothing. */
static bool quick_get(enum style style, const struct table *table, const struct table_key *key, bool *has, void **value)
{
	*has = style == STYLE_INT || style == STYLE_PAIR ||
	       (styles[style].layout == TABLE_BYTES && key->size < TABLE_QUICK_MAX);
	if (style == STYLE_INT)
		return table_quick_integer(table, key->word, value);
	if (style == STYLE_PAIR)
		return table_quick_bare(table, key->data, NULL, value);
	return *has && table_quick_bytes(table, key->hash, key->data, key->size, value);
}

static void model_get(struct model *model, uint32_t k)
{
	bool has;
	struct text text = {{(char)below(&model->random, 2)}};
	struct table_key key = key_make(model->style, k, &text);
	void *value, *quick, *same;
	int error = table_get(model->table, &key, &value);
	bool answered = quick_get(model->style, model->table, &key, &has, &quick);

	if (model->style == STYLE_STRING && table_quick_string(model->table, key.data, &same)) {
		expect(answered);
		expect_eq((uintptr_t)same, (uintptr_t)quick);
	}
	/* It knows what is alive and what is not there, and most of it. */
	expect(!answered || quick == value);
	expect(!answered || error == (quick != NULL ? 0 : -WEAKREF_ENOENT));
	model->asked_quickly += has;
	model->found_quickly += answered;
	if (model->have[k] != 0) {
		expect_eq(error, 0);
		expect_eq((uintptr_t)value, value_make(k, model->have[k]));
		expect_eq(table_has(model->table, &key), 0);
	} else {
		expect(error == -WEAKREF_ENOENT || error == -WEAKREF_ESTALE);
		expect(value == NULL);
		expect_lt(table_has(model->table, &key), 0);
	}
}

struct death {
	struct model *model;
	uint32_t of_100;
	uint64_t salt;
};

/* Which values die is decided by their number, so that all copies of one die at once. */
static bool model_dies(uint32_t key, uint64_t version, void *arg)
{
	struct death *death = arg;

	if (base_mix(version ^ death->salt) % 100 >= death->of_100)
		return false;
	if (death->model->have[key] == version) {
		death->model->have[key] = 0;
		death->model->len--;
	}
	return true;
}

static void model_collect(struct model *model, uint32_t of_100)
{
	struct death death = {.model = model, .of_100 = of_100, .salt = next_random(&model->random)};

	collect(model_dies, &death);
}

static void model_walk(struct model *model)
{
	bool *seen = calloc(KEYS, sizeof *seen);
	struct table_entry entry;
	struct table_iter iter;
	size_t count = 0;

	table_iter_init(&iter, model->table);
	while (table_iter_next(&iter, true, &entry) == 1) {
		uint32_t k = key_back(model->style, &entry.key);
		expect_lt(k, KEYS);
		expect(!seen[k]);
		seen[k] = true;
		count++;
		expect_eq((uintptr_t)entry.value, value_make(k, model->have[k]));
		expect(styles[model->style].layout == TABLE_PAIR || entry.value == (void *)entry.raw);
	}
	expect_eq(count, model->len);
	free(seen);
}

static void model_check(struct model *model)
{
	table_check(model->table);
	expect_eq(table_len(model->table), model->len);
	model_walk(model);
}

static struct model *model_make(enum style style, int salt)
{
	struct model *model = calloc(1, sizeof *model);

	model->table = table_make(style, NULL);
	model->style = style;
	model->random = seed + (uint64_t)salt * 1000 + style;
	return model;
}

/* ---- tests ---- */

START_TEST(test_empty)
{
	struct table *table = table_make((enum style)_i, NULL);
	struct text text = {{0}};
	struct table_key key = key_make((enum style)_i, 1, &text);
	struct table_place place;
	struct table_entry entry;
	struct table_iter iter;
	void *value;

	expect_eq(table_len(table), 0);
	expect_eq(table_get(table, &key, &value), -WEAKREF_ENOENT);
	expect_eq(table_take(table, &key, &value), -WEAKREF_ENOENT);
	expect_eq(table_any(table, &place, &entry), -WEAKREF_ENOENT);
	table_iter_init(&iter, table);
	expect_eq(table_iter_next(&iter, true, &entry), 0);
	expect_eq(table_clear(table), 0);
	table_check(table);
}
END_TEST

/* Phases with different mixtures of writes, removals and deaths, against an array. */
START_TEST(test_model)
{
	struct model *model = model_make((enum style)_i, 1);
	uint32_t range = 50;

	for (unsigned phase = 0; phase < 24; phase++) {
		uint32_t puts = 10 + below(&model->random, 80), takes = below(&model->random, 100 - puts);
		range = phase % 6 == 0 ? KEYS : range * 5 > KEYS ? 50 : range * 5;
		if (model->style == STYLE_COLLIDING && range > 2000)
			range = 2000;
		for (unsigned step = 0; step < 6000; step++) {
			uint32_t k = below(&model->random, range), what = below(&model->random, 100);
			if (what < puts)
				expect_eq(model_put(model, k, what % 4 == 0 ? TABLE_KEEP : TABLE_REPLACE), 0);
			else if (what < puts + takes)
				model_take(model, k);
			else
				model_get(model, k);
			if (below(&model->random, 2000) == 0)
				model_collect(model, below(&model->random, 60));
			if (below(&model->random, 3000) == 0)
				purge_all();
		}
		model_check(model);
		if (phase % 3 == 2)
			model_collect(model, 90);
		if (phase % 2 == 1)
			purge_all();
		model_check(model);
	}
	/* A look-up that is quick and never finds anything is none. */
	expect_ge(model->found_quickly * 10, model->asked_quickly * 7);
	expect_ge(model->asked_quickly, model->style == STYLE_INT || model->style == STYLE_STRING ? 1000 : 0);
	free(model);
}
END_TEST

static size_t bytes_in_use(const struct table *table)
{
	struct table_directory *dir = atomic_load(&table->directory);
	size_t bytes = sizeof(struct table_directory) + ((size_t)8 << dir->depth);

	for (uint64_t i = 0; i < UINT64_C(1) << dir->depth;) {
		struct table_segment *seg = atomic_load(&dir->entries[i]);
		struct table_arena *arena = atomic_load(&seg->arena);
		bytes += sizeof *seg + slots_size(seg->n, seg->stride) + (seg->keys == NULL ? 0 : seg->n * sizeof(void *)) +
			 (arena == NULL ? 0 : arena->capacity);
		i = table_segment_end(seg) >> (32 - dir->depth);
	}
	return bytes;
}

/* Memory follows the number of entries, up and down. */
START_TEST(test_grow_and_shrink)
{
	struct model *model = model_make((enum style)_i, 2);
	uint32_t n = model->style == STYLE_COLLIDING ? 2000 : KEYS;

	for (uint32_t k = 0; k < n; k++)
		expect_eq(model_put(model, k, TABLE_REPLACE), 0);
	model_check(model);
	size_t full = bytes_in_use(model->table);
	model_collect(model, 100);
	expect_eq(model->len, 0);
	expect_eq(table_len(model->table), 0);
	purge_all();
	model_check(model);
	expect_lt(bytes_in_use(model->table), full / 2);
	if (styles[model->style].layout == TABLE_WORD && !CHECKS)
		expect_lt(bytes_in_use(model->table), full / 10);
	/* And the table is as good as new. */
	for (uint32_t k = 0; k < n; k += 3)
		expect_eq(model_put(model, k, TABLE_REPLACE), 0);
	model_check(model);
	free(model);
}
END_TEST

/* How many slots a search for this key passes. */
static uint32_t slots_on_the_way(const struct table *table, const struct table_key *key, uintptr_t raw)
{
	uint32_t position = table_position(table, key->part), steps = 0;
	const struct table_segment *seg = table_segment_of(table, position);
	uint32_t within = table_within(table, (enum table_layout)table->layout, key->hash, position);

	for (uint32_t i = table_home(seg, within); (table_peek(seg, i) & ~EPOCH_TAG) != raw; i = i + 1 == seg->n ? 0 : i + 1)
		expect_lt(steps++, seg->n);
	return steps;
}

static uint32_t largest_segment(const struct table *table)
{
	uint32_t most = 0;

	for (uint64_t position = 0; position < UINT64_C(1) << 32;) {
		const struct table_segment *seg = table_segment_of(table, (uint32_t)position);
		most = seg->n > most ? seg->n : most;
		position = table_segment_end(seg);
	}
	return most;
}

/* Fills a table in the order in which another has the same keys; how many slots a search passed on average, each right after its key came. */
static double fill_from(const struct table *from, struct table *to, enum style style)
{
	struct table_entry entry;
	struct table_iter iter;
	uint64_t steps = 0, n = 0;
	void *now;

	table_iter_init(&iter, from);
	for (; table_iter_next(&iter, true, &entry) == 1; n++) {
		uintptr_t raw = value_make(key_back(style, &entry.key), 1);
		expect_eq(table_put(to, &entry.key, raw, TABLE_REPLACE, &now), 0);
		steps += slots_on_the_way(to, &entry.key, styles[style].layout == TABLE_PAIR ? (uintptr_t)entry.key.data : raw);
	}
	expect_eq(n, KEYS);
	return (double)steps / (double)n;
}

/* In the other's order keys would come to lie one behind the other, in a segment that no split makes smaller: thousands of slots. Were the
 * keys of a run in the same order in all tables, some fifty. Here it is what chance does, or less; but for one of 32 tables, which has the
 * other's order within a run: so the middle one of several counts. */
START_TEST(test_filled_from_another)
{
	enum style style = (enum style)_i;
	struct table *from = table_make(style, NULL);
	struct text text = {{0}};
	double passed[5];
	void *now;

	if (style == STYLE_COLLIDING)
		return;
	for (uint32_t k = 0; k < KEYS; k++) {
		struct table_key key = key_make(style, k, &text);
		expect_eq(table_put(from, &key, value_make(k, 1), TABLE_REPLACE, &now), 0);
	}
	for (int i = 0; i < 5; i++) {
		struct table *to = table_make(style, NULL);
		passed[i] = fill_from(from, to, style);
		/* 64 KiB is what any segment may have before it is split; in the checking build, whose segments are small, one run alone may have
		 * more than a segment, and its chance neighbours. */
		uint32_t largest = largest_segment(to);
		if (slots_size(largest, table_stride(to)) > 65536)
			expect_ge(largest_segment(from) * 4, largest);
		table_check(to);
		for (int k = i; k > 0 && passed[k] < passed[k - 1]; k--) {
			double less = passed[k];
			passed[k] = passed[k - 1];
			passed[k - 1] = less;
		}
	}
	ck_assert_double_lt(passed[2], 35);
}
END_TEST

/* Steps between integers: many in a run, each in a run of its own, nothing in the lower half; large Fibonacci numbers, by which all hashes are
 * nearly the same, and the inverse of the multiplier, by which they are. */
static const uint64_t steps_of_keys[] = {1, 3, 255, 256, 65536, UINT64_C(1) << 32, UINT64_C(1) << 44, -UINT64_C(1), 514229, 102334155,
					 UINT64_C(956722026041), UINT64_C(0xf1de83e19937733d), UINT64_C(0x9e3779b97f4a7c15)};

#define STEPS_OF_KEYS ((int)(sizeof steps_of_keys / sizeof *steps_of_keys))

/* Whatever the step, a search passes few slots: here all together, in a table of many segments. */
START_TEST(test_keys_in_steps)
{
	struct table *table = table_make(STYLE_INT, NULL);
	uint64_t passed = 0, n = 100000;
	void *now;

	for (uint64_t round = 0; round < 2; round++)
		for (uint64_t k = 0; k < n; k++) {
			struct table_key key;
			table_key_word(&key, k * steps_of_keys[_i]);
			if (round == 0)
				expect_eq(table_put(table, &key, value_make((uint32_t)k, 1), TABLE_REPLACE, &now), 0);
			else
				passed += slots_on_the_way(table, &key, value_make((uint32_t)k, 1));
		}
	expect_lt(passed, n * 8);
	table_check(table);
}
END_TEST

/* One key written and removed again and again needs no memory in the end. */
START_TEST(test_churn_is_bounded)
{
	struct model *model = model_make((enum style)_i, 3);

	for (uint32_t k = 0; k < 50000; k++) {
		expect_eq(model_put(model, k % 1000, TABLE_REPLACE), 0);
		if (k >= 3)
			model_take(model, (k - 3) % 1000);
	}
	model_check(model);
	expect_lt(bytes_in_use(model->table), 20000);
	free(model);
}
END_TEST

/* Of values, only those that no key has any more. */
static bool is_replaced(uint32_t key, uint64_t version, void *arg)
{
	struct model *model = arg;

	return model->have[key] != version;
}

/* Keys below a border stay, those above come and go while an iterator is open. */
START_TEST(test_iterate_under_change)
{
	with_erased = false;
	for (unsigned round = 0; round < 20; round++) {
		struct model *model = model_make((enum style)_i, 10 + (int)round);
		uint32_t n = model->style == STYLE_COLLIDING ? 600 : 200 + below(&model->random, 8000), stay = n / 2;
		uint8_t *seen = calloc(KEYS, 1);
		struct table_entry entry;
		struct table_iter iter;
		for (uint32_t k = 0; k < n; k++)
			model_put(model, k, TABLE_REPLACE);
		table_iter_init(&iter, model->table);
		while (table_iter_next(&iter, round % 2 == 0, &entry) == 1) {
			uint32_t k = key_back(model->style, &entry.key);
			/* What is given is there now. */
			expect_ne(model->have[k], 0);
			if (round % 2 == 0)
				expect_eq((uintptr_t)entry.value, value_make(k, model->have[k]));
			if (k < stay)
				expect_eq(seen[k]++, 0);
			for (unsigned step = 0; step < 12; step++) {
				uint32_t other = stay + below(&model->random, KEYS / 2 - stay / 2);
				if (model->style == STYLE_COLLIDING)
					other = stay + other % 1000;
				if (below(&model->random, 3) != 0)
					model_put(model, other, TABLE_REPLACE);
				else
					model_take(model, other);
			}
			/* An entry whose value is replaced, and whose old value dies, stays. */
			uint32_t moved = below(&model->random, stay);
			model_put(model, moved, TABLE_REPLACE);
			if (below(&model->random, 50) == 0) {
				collect(is_replaced, model);
				purge_all();
			}
		}
		for (uint32_t k = 0; k < stay; k++)
			expect_eq(seen[k], 1);
		model_check(model);
		free(seen);
		free(model);
		heap_free_all();
	}
}
END_TEST

START_TEST(test_clear)
{
	struct model *model = model_make((enum style)_i, 4);
	struct table_entry entry;
	struct table_iter iter;

	for (uint32_t k = 0; k < 2000; k++)
		model_put(model, k, TABLE_REPLACE);
	table_iter_init(&iter, model->table);
	for (unsigned i = 0; i < 100; i++)
		expect_eq(table_iter_next(&iter, true, &entry), 1);
	expect_eq(table_clear(model->table), 0);
	memset(model->have, 0, sizeof model->have);
	model->len = 0;
	expect_eq(table_iter_next(&iter, true, &entry), 0);
	model_check(model);
	model_put(model, 5, TABLE_REPLACE);
	model_check(model);
	free(model);
}
END_TEST

/* What is stored again after a clearing is met once at most, be it that the iterator comes to it by the old entry or by the new one. */
START_TEST(test_clear_and_store_again)
{
	uint32_t n = _i == STYLE_COLLIDING ? 2000 : KEYS;

	for (uint32_t before = 1; before < n / 2; before += n / 20) {
		struct model *model = model_make((enum style)_i, 8);
		uint8_t *seen = calloc(KEYS, 1);
		struct table_entry entry;
		struct table_iter iter;
		for (uint32_t k = 0; k < n; k++)
			model_put(model, k, TABLE_REPLACE);
		table_iter_init(&iter, model->table);
		for (uint32_t i = 0; i < before; i++)
			expect_eq(table_iter_next(&iter, true, &entry), 1);
		expect_eq(table_clear(model->table), 0);
		memset(model->have, 0, sizeof model->have);
		model->len = 0;
		/* Few enough that there is one segment for all. */
		for (uint32_t k = 0; k < n; k += n / 20)
			model_put(model, k, TABLE_REPLACE);
		while (table_iter_next(&iter, true, &entry) == 1) {
			uint32_t k = key_back(model->style, &entry.key);
			expect_eq((uintptr_t)entry.value, value_make(k, model->have[k]));
			expect_eq(seen[k]++, 0);
		}
		free(seen);
		free(model);
		heap_free_all();
	}
}
END_TEST

START_TEST(test_take_any)
{
	struct model *model = model_make((enum style)_i, 5);
	uint32_t n = model->style == STYLE_COLLIDING ? 2000 : KEYS;
	struct table_place place;
	struct table_entry entry;
	void *value;

	for (uint32_t k = 0; k < n; k++)
		model_put(model, k, TABLE_REPLACE);
	model_collect(model, 30);
	while (table_any(model->table, &place, &entry) == 0) {
		uint32_t k = key_back(model->style, &entry.key);
		expect(table_take_at(model->table, &place, &value));
		expect_eq((uintptr_t)value, value_make(k, model->have[k]));
		model->have[k] = 0;
		model->len--;
		/* It is gone: not taken a second time. */
		expect(!table_take_at(model->table, &place, &value));
		if (below(&model->random, 5) == 0)
			model_put(model, k / 2, TABLE_KEEP);
		if (model->len % 1000 == 0)
			model_check(model);
	}
	expect_eq(model->len, 0);
	model_check(model);
	free(model);
}
END_TEST

/* Each allocation of each write fails once: the write says so, and nothing has changed. */
START_TEST(test_no_memory)
{
	struct model *model = model_make((enum style)_i, 6);
	unsigned failures = 0;

	for (uint32_t k = 0; k < 5000; k++) {
		for (long nth = 1;; nth++) {
			size_t len = model->len;
			atomic_store(&fail_in, nth);
			int error = model_put(model, k, TABLE_REPLACE);
			bool failed = atomic_exchange(&fail_in, 0) == 0;
			if (error == 0) {
				expect_eq(table_len(model->table), len + (nth == 1 || model->len > len));
				if (!failed)
					break;
				model_take(model, k);
				continue;
			}
			expect_eq(error, -WEAKREF_ENOMEM);
			expect(failed);
			expect_eq(table_len(model->table), len);
			failures++;
		}
		if (k % 500 == 0)
			model_check(model);
	}
	expect_gt(failures, 20);
	for (long nth = 1; nth <= 3; nth++) {
		atomic_store(&fail_in, nth);
		expect_eq(table_clear(model->table), -WEAKREF_ENOMEM);
		model_check(model);
	}
	free(model);
}
END_TEST

/* What equal returns comes back from every operation that asks it. */
START_TEST(test_equal_fails)
{
	int error = 0;
	struct table *table = table_make(STYLE_CUSTOM, &error);
	struct text one = {{0}}, two = {{1}};
	struct table_key key = key_make(STYLE_CUSTOM, 7, &one), same = key_make(STYLE_CUSTOM, 7, &two);
	void *value;

	expect_eq(table_put(table, &key, value_make(7, 1), TABLE_REPLACE, &value), 0);
	error = -WEAKREF_ETIMEDOUT;
	expect_eq(table_get(table, &same, &value), error);
	expect_eq(table_has(table, &same), error);
	expect_eq(table_put(table, &same, value_make(7, 2), TABLE_REPLACE, &value), error);
	expect_eq(table_take(table, &same, &value), error);
	/* The same object needs no question. */
	expect_eq(table_get(table, &key, &value), 0);
	error = 0;
	expect_eq(table_get(table, &same, &value), 0);
	expect_eq((uintptr_t)value, value_make(7, 1));
	table_check(table);
}
END_TEST

/* Thousands of keys of one hash: slow, and right. */
START_TEST(test_one_hash)
{
	struct table *table = table_make(STYLE_CUSTOM, NULL);
	struct table_key key;
	void *value;

	for (uint32_t k = 0; k < 6000; k++) {
		table_key_hashed(&key, &objects[0][k], 42);
		expect_eq(table_put(table, &key, value_make(k, 1), TABLE_REPLACE, &value), 0);
	}
	expect_eq(table_len(table), 6000);
	for (uint32_t k = 0; k < 6000; k += 100) {
		table_key_hashed(&key, &objects[1][k], 42);
		expect_eq(table_get(table, &key, &value), 0);
		expect_eq((uintptr_t)value, value_make(k, 1));
	}
}
END_TEST

/* Keys of a megabyte, between short ones. */
/* What the quick look-up says of a string: it, or nothing, or what stands under the string. */
static void string_get(struct table *table, const char *string, uintptr_t wanted)
{
	struct table_key key;
	void *value;

	table_key_bytes(&key, string, strlen(string));
	expect_eq(table_get(table, &key, &value), wanted != 0 ? 0 : -WEAKREF_ENOENT);
	expect_eq((uintptr_t)value, wanted);
	if (table_quick_string(table, string, &value))
		expect_eq((uintptr_t)value, wanted);
	else
		expect(wanted == 0 || strlen(string) >= BYTES_SHORT || ((uintptr_t)string & 4095) > 4096 - 16);
}

/* Of addresses that its glance at a group could not tell from empty and vacant slots, the quick look-up says nothing. */
START_TEST(test_no_addresses)
{
	static const uintptr_t none[] = {0, 1, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 1};
	struct table *table = table_make(STYLE_PAIR, NULL);
	struct table_key key;
	void *payload;

	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
		table_key_identity(&key, (const void *)none[i], 0);
		expect(!table_quick_bare(table, (const void *)none[i], NULL, &payload));
		expect_eq(table_get(table, &key, &payload), -WEAKREF_ENOENT);
	}
}
END_TEST

/* Values of which the half that a glance compares is that of an empty slot end no search. */
START_TEST(test_values_like_nothing)
{
	struct table *table = table_make(STYLE_INT, NULL);
	struct table_key key;
	void *value;

	for (uint64_t k = 1; k <= 3000; k++) {
		table_key_word(&key, k);
		expect_eq(table_put(table, &key, (uintptr_t)k << 32, TABLE_REPLACE, &value), 0);
	}
	for (uint64_t k = 1; k <= 6000; k++)
		if (table_quick_integer(table, k, &value))
			expect_eq((uintptr_t)value, k <= 3000 ? (uintptr_t)k << 32 : 0);
}
END_TEST

/* Strings of every short length at every distance from the end of a page behind which there is nothing to read: found wherever the caller's
 * copy lies, and told from those that differ in the first, the last, or one more byte. */
START_TEST(test_short_strings)
{
	struct table *table = table_make(STYLE_STRING, NULL);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *end = map + page;
	char text[32];
	struct table_key key;
	void *now;

	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(mprotect(end, page, PROT_NONE), 0);
	for (uint32_t size = 0; size < 20; size++) {
		memset(text, 'a' + (int)size, size);
		table_key_bytes(&key, text, size);
		expect_eq(table_put(table, &key, value_make(size + 1, 1), TABLE_REPLACE, &now), 0);
	}
	for (uint32_t size = 0; size < 20; size++)
		for (size_t back = size + 1; back < 40; back++) {
			char *string = end - back;
			memset(string, 'a' + (int)size, size);
			string[size] = 0;
			string_get(table, string, value_make(size + 1, 1));
			if (size == 0)
				continue;
			string[0]++;
			string_get(table, string, 0);
			string[0]--;
			string[size - 1]++;
			string_get(table, string, 0);
			string[size - 1]--;
			if (back > size + 1) {
				string[size] = string[0];
				string[size + 1] = 0;
				string_get(table, string, 0);
			}
		}
	ck_assert_int_eq(munmap(map, 2 * page), 0);
}
END_TEST

START_TEST(test_huge_keys)
{
	struct table *table = table_make(STYLE_STRING, NULL);
	const size_t size = 1 << 20;
	char *bytes = malloc(size);
	struct table_key key;
	void *value;

	memset(bytes, 'z', size);
	for (uint32_t k = 0; k < 100; k++) {
		memcpy(bytes, &k, sizeof k);
		table_key_bytes(&key, bytes, k % 10 == 0 ? size : 4 + k);
		expect_eq(table_put(table, &key, value_make(k, 1), TABLE_REPLACE, &value), 0);
	}
	table_check(table);
	for (uint32_t k = 0; k < 100; k++) {
		memcpy(bytes, &k, sizeof k);
		table_key_bytes(&key, bytes, k % 10 == 0 ? size : 4 + k);
		expect_eq(table_get(table, &key, &value), 0);
		expect_eq((uintptr_t)value, value_make(k, 1));
		table_key_bytes(&key, bytes, k % 10 == 0 ? size - 1 : 3 + k);
		expect_eq(table_get(table, &key, &value), -WEAKREF_ENOENT);
	}
	free(bytes);
}
END_TEST

static bool all_but_a_sixteenth(uint32_t key, uint64_t version, void *unused)
{
	(void)version;
	(void)unused;
	return key % 16 != 0;
}

/* All long keys are on one side of a split, at every depth: how many bytes go where cannot be told from a few entries. */
START_TEST(test_uneven_keys)
{
	struct table *table = table_make(STYLE_STRING, NULL);
	char bytes[200] = {0};
	struct table_key key;
	void *value;
	uint32_t count = 0;

	for (uint32_t k = 0; count < KEYS; k++) {
		memcpy(bytes, &k, sizeof k);
		table_key_bytes(&key, bytes, 4);
		/* Three in four are long, but only those of the last sixteenth of the positions come in. */
		if (k % 4 != 0) {
			table_key_bytes(&key, bytes, sizeof bytes);
			if (table_position(table, key.part) >> 28 != 15)
				continue;
		}
		expect_eq(table_put(table, &key, value_make(k & 0xffff, 1), TABLE_REPLACE, &value), 0);
		count++;
	}
	table_check(table);
	expect_eq(table_len(table), count);
	for (uint32_t k = 0; k < KEYS; k++) {
		memcpy(bytes, &k, sizeof k);
		table_key_bytes(&key, bytes, k % 4 != 0 ? sizeof bytes : 4);
		if (k % 4 != 0 && table_position(table, key.part) >> 28 != 15)
			continue;
		expect_eq(table_get(table, &key, &value), 0);
		expect_eq((uintptr_t)value, value_make(k & 0xffff, 1));
	}

	/* Segments that did not fit were filled and given up: what dies in them is nobody's, and they never come into the table. */
	collect(all_but_a_sixteenth, NULL);
	purge_all();
	table_check(table);
	for (uint32_t k = 0; k < KEYS; k++) {
		memcpy(bytes, &k, sizeof k);
		table_key_bytes(&key, bytes, k % 4 != 0 ? sizeof bytes : 4);
		if (k % 4 == 0 || table_position(table, key.part) >> 28 == 15)
			expect_eq(table_get(table, &key, &value), all_but_a_sixteenth(k & 0xffff, 1, NULL) ? -WEAKREF_ENOENT : 0);
	}
}
END_TEST

/* A dead value reads as stale until its key is purged, then as absent. */
START_TEST(test_stale_then_absent)
{
	struct model *model = model_make((enum style)_i, 7);
	struct text text = {{0}};
	void *value;

	model_put(model, 9, TABLE_REPLACE);
	model_collect(model, 100);
	struct table_key key = key_make(model->style, 9, &text);
	/* A pair's key is dead itself. */
	bool pair = styles[model->style].layout == TABLE_PAIR;
	expect_eq(table_get(model->table, &key, &value), pair ? -WEAKREF_ENOENT : -WEAKREF_ESTALE);
	expect_eq(table_len(model->table), 0);
	purge_all();
	expect_eq(table_get(model->table, &key, &value), -WEAKREF_ENOENT);
	model_check(model);
	free(model);
}
END_TEST

/* ---- threads ---- */

struct shared {
	struct table *table;
	enum style style;
	_Atomic bool stop;
	_Atomic uint64_t found, walked;
};

#define SHARED_KEYS 3000
/* Keys below this are set once and stay. */
#define SHARED_STAY 500

static void *reader_main(void *arg)
{
	struct shared *shared = arg;
	uint64_t random = seed ^ (uintptr_t)pthread_self();

	while (!atomic_load(&shared->stop)) {
		struct text text = {{(char)below(&random, 2)}};
		uint32_t k = below(&random, SHARED_KEYS);
		struct table_key key = key_make(shared->style, k, &text);
		void *value, *quick;
		bool has;
		int error = table_get(shared->table, &key, &value);
		if (quick_get(shared->style, shared->table, &key, &has, &quick))
			expect(quick != NULL ? value_key((uintptr_t)quick) == k : k >= SHARED_STAY);
		if (error == 0) {
			expect_eq(value_key((uintptr_t)value), k);
			atomic_fetch_add(&shared->found, 1);
		} else {
			expect(value == NULL);
		}
		expect(k >= SHARED_STAY || error == 0);
	}
	return NULL;
}

static void *walker_main(void *arg)
{
	struct shared *shared = arg;

	while (!atomic_load(&shared->stop)) {
		uint8_t seen[SHARED_STAY] = {0};
		struct table_entry entry;
		struct table_iter iter;
		table_iter_init(&iter, shared->table);
		while (table_iter_next(&iter, true, &entry) == 1) {
			uint32_t k = key_back(shared->style, &entry.key);
			expect_eq(value_key((uintptr_t)entry.value), k);
			if (k < SHARED_STAY)
				expect_eq(seen[k]++, 0);
		}
		for (uint32_t k = 0; k < SHARED_STAY; k++)
			expect_eq(seen[k], 1);
		expect_ge(table_len(shared->table), SHARED_STAY);
		atomic_fetch_add(&shared->walked, 1);
	}
	return NULL;
}

static bool shared_dies(uint32_t key, uint64_t version, void *arg)
{
	uint64_t *salt = arg;

	return key >= SHARED_STAY && base_mix(version ^ *salt) % 10 == 0;
}

static void shared_write(struct shared *shared, uint64_t *random, uint64_t version, uint32_t range)
{
	struct text text = {{(char)below(random, 2)}};
	uint32_t k = SHARED_STAY + below(random, range);
	struct table_key key = key_make(shared->style, k, &text);
	void *value;

	if (below(random, 2) == 0)
		expect_eq(table_put(shared->table, &key, value_make(k, version), TABLE_REPLACE, &value), 0);
	else if (table_take(shared->table, &key, &value) == 0)
		expect_eq(value_key((uintptr_t)value), k);
}

/* A reader and an iterating one beside a writer, which is the collector as well, for a second, and until both have seen something. */
START_TEST(test_threads)
{
	struct shared shared = {.table = table_make((enum style)_i, NULL), .style = (enum style)_i};
	uint64_t random = seed + 99, end = base_now() + UINT64_C(700000000), version = 1;
	pthread_t reader, walker;
	void *value;

	for (uint32_t k = 0; k < SHARED_STAY; k++) {
		struct text text = {{0}};
		struct table_key key = key_make(shared.style, k, &text);
		expect_eq(table_put(shared.table, &key, value_make(k, 1), TABLE_REPLACE, &value), 0);
	}
	expect_eq(pthread_create(&reader, NULL, reader_main, &shared), 0);
	expect_eq(pthread_create(&walker, NULL, walker_main, &shared), 0);
	while (base_now() < end || atomic_load(&shared.found) < 1000 || atomic_load(&shared.walked) < 3) {
		uint32_t range = version / 3000 % 2 == 0 ? 40 : SHARED_KEYS - SHARED_STAY;
		for (unsigned step = 0; step < 100; step++)
			shared_write(&shared, &random, ++version, range);
		if (below(&random, 300) == 0) {
			uint64_t salt = next_random(&random);
			collect(shared_dies, &salt);
			purge_all();
		}
	}
	atomic_store(&shared.stop, true);
	pthread_join(reader, NULL);
	pthread_join(walker, NULL);
	table_check(shared.table);
}
END_TEST

struct duel {
	struct shared *shared;
	uint64_t random;
};

static void *writer_main(void *arg)
{
	struct duel *duel = arg;

	/* Now all over the table, now both in a few slots. */
	for (uint64_t version = 2; version < 120000; version++)
		shared_write(duel->shared, &duel->random, version, version / 20000 % 2 == 0 ? SHARED_KEYS - SHARED_STAY : 4);
	return NULL;
}

/* Two writers, so that what one has planned the other has changed. */
START_TEST(test_two_writers)
{
	struct shared shared = {.table = table_make((enum style)_i, NULL), .style = (enum style)_i};
	struct duel duels[2] = {{&shared, seed}, {&shared, seed + 1}};
	pthread_t threads[2];

	for (unsigned i = 0; i < 2; i++)
		expect_eq(pthread_create(&threads[i], NULL, writer_main, &duels[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	table_check(shared.table);
	size_t count = 0;
	struct table_entry entry;
	struct table_iter iter;
	table_iter_init(&iter, shared.table);
	while (table_iter_next(&iter, true, &entry) == 1) {
		expect_eq(value_key((uintptr_t)entry.value), key_back(shared.style, &entry.key));
		count++;
	}
	expect_eq(count, table_len(shared.table));
}
END_TEST

#define OWNERS 3

/* A thread whose keys nobody else writes: those of a remainder. */
struct owner {
	struct table *table;
	enum style style;
	unsigned number;
	uint64_t random;
	uint64_t have[KEYS]; /* version; 0 absent */
};

/* 0 or -ENOMEM. */
static int owner_try(struct owner *owner, uint32_t k, uint64_t version)
{
	struct text text = {{(char)below(&owner->random, 2)}};
	struct table_key key = key_make(owner->style, k, &text);
	void *now;
	int error = table_put(owner->table, &key, value_make(k, version), TABLE_REPLACE, &now);

	if (error == 0)
		owner->have[k] = version;
	else
		expect_eq(error, -WEAKREF_ENOMEM);
	return error;
}

static void owner_put(struct owner *owner, uint32_t k, uint64_t version)
{
	expect_eq(owner_try(owner, k, version), 0);
}

static void owner_take(struct owner *owner, uint32_t k)
{
	struct text text = {{(char)below(&owner->random, 2)}};
	struct table_key key = key_make(owner->style, k, &text);
	void *value;
	int error = table_take(owner->table, &key, &value);

	expect_eq(error, owner->have[k] == 0 ? -WEAKREF_ENOENT : 0);
	expect_eq((uintptr_t)value, owner->have[k] == 0 ? 0 : value_make(k, owner->have[k]));
	owner->have[k] = 0;
}

/* 0 or the value's version. */
static uint64_t owner_get(struct owner *owner, uint32_t k)
{
	struct text text = {{(char)below(&owner->random, 2)}};
	struct table_key key = key_make(owner->style, k, &text);
	void *value;

	if (table_get(owner->table, &key, &value) != 0)
		return 0;
	expect_eq(value_key((uintptr_t)value), k);
	return value_version((uintptr_t)value);
}

static struct owner *owner_make(struct table *table, enum style style, unsigned number)
{
	struct owner *owner = calloc(1, sizeof *owner);

	*owner = (struct owner){.table = table, .style = style, .number = number, .random = seed + number};
	return owner;
}

/* One of the owner's keys; of those that collide only so many that a search does not take all the time. */
static uint32_t owner_key(struct owner *owner)
{
	uint32_t keys = owner->style == STYLE_COLLIDING ? 900 : KEYS;

	return below(&owner->random, keys / OWNERS) * OWNERS + owner->number;
}

static void *owner_main(void *arg)
{
	struct owner *owner = arg;

	/* It grows, and shrinks. */
	for (uint64_t version = 1; version < 60000; version++) {
		uint32_t k = owner_key(owner);
		if (below(&owner->random, 8) < (version / 15000 % 2 == 0 ? 6 : 2))
			owner_put(owner, k, version);
		else
			owner_take(owner, k);
		k = owner_key(owner);
		expect_eq(owner_get(owner, k), owner->have[k]);
	}
	return NULL;
}

/* What each writes is as if he were alone, while the others split the same segments, or others, and double the directory. */
START_TEST(test_writers_of_their_own)
{
	struct table *table = table_make((enum style)_i, NULL);
	struct owner *owners[OWNERS];
	pthread_t threads[OWNERS];
	size_t count = 0;

	for (unsigned i = 0; i < OWNERS; i++) {
		owners[i] = owner_make(table, (enum style)_i, i);
		expect_eq(pthread_create(&threads[i], NULL, owner_main, owners[i]), 0);
	}
	for (unsigned i = 0; i < OWNERS; i++)
		pthread_join(threads[i], NULL);
	table_check(table);
	for (unsigned i = 0; i < OWNERS; i++)
		for (uint32_t k = i; k < KEYS; k += OWNERS) {
			expect_eq(owner_get(owners[i], k), owners[i]->have[k]);
			count += owners[i]->have[k] != 0;
		}
	expect_eq(table_len(table), count);
	for (unsigned i = 0; i < OWNERS; i++)
		free(owners[i]);
}
END_TEST

static _Atomic unsigned starved;

static void *starved_main(void *arg)
{
	struct owner *owner = arg;

	for (uint64_t version = 1; version < 30000; version++) {
		uint32_t k = owner_key(owner);
		if (below(&owner->random, 8) >= (version / 10000 % 2 == 0 ? 6 : 2))
			owner_take(owner, k);
		else if (owner_try(owner, k, version) != 0)
			atomic_fetch_add(&starved, 1);
		expect_eq(owner_get(owner, k), owner->have[k]);
	}
	return NULL;
}

/* Every few allocations one fails, of either: what it was for has not been done, and all else has. The first that fails is a put's,
 * since the table has but few slots as yet. */
START_TEST(test_no_memory_beside_writers)
{
	struct table *table = table_make((enum style)_i, NULL);
	struct owner *owners[2];
	pthread_t threads[2];

	starved = fail_count = 0;
	fail_on = true;
	fail_in = 3;
	for (unsigned i = 0; i < 2; i++) {
		owners[i] = owner_make(table, (enum style)_i, i);
		expect_eq(pthread_create(&threads[i], NULL, starved_main, owners[i]), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	fail_on = false;
	fail_in = 0;
	expect_gt(starved, 0);
	table_check(table);
	for (unsigned i = 0; i < 2; i++) {
		for (uint32_t k = i; k < KEYS; k += OWNERS)
			expect_eq(owner_get(owners[i], k), owners[i]->have[k]);
		free(owners[i]);
	}
}
END_TEST

static void *grower_main(void *arg)
{
	struct owner *owner = arg;

	for (uint32_t k = owner->number; k < 8000; k += 2)
		owner_put(owner, k, 1);
	return NULL;
}

/* Both begin with an empty table, time and again, so that they meet where the directory is doubled. */
START_TEST(test_growth)
{
	for (unsigned round = 0; round < 60; round++) {
		struct table *table = table_make(STYLE_INT, NULL);
		struct owner *owners[2];
		pthread_t threads[2];

		for (unsigned i = 0; i < 2; i++) {
			owners[i] = owner_make(table, STYLE_INT, i);
			expect_eq(pthread_create(&threads[i], NULL, grower_main, owners[i]), 0);
		}
		for (unsigned i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		table_check(table);
		for (uint32_t k = 0; k < 8000; k++)
			expect_eq(owner_get(owners[k % 2], k), 1);
		for (unsigned i = 0; i < 2; i++)
			free(owners[i]);
	}
}
END_TEST

static _Atomic uint64_t clears_begun, clears_done;
static _Atomic bool clears_stop;

static void *clearer_main(void *arg)
{
	struct table *table = arg;

	while (!atomic_load(&clears_stop)) {
		atomic_fetch_add(&clears_begun, 1);
		expect_eq(table_clear(table), 0);
		atomic_fetch_add(&clears_done, 1);
		usleep(300);
	}
	return NULL;
}

static void *cleared_main(void *arg)
{
	struct owner *owner = arg;

	for (uint64_t version = 1; version < 30000; version++) {
		uint32_t k = owner_key(owner);
		uint64_t done = atomic_load(&clears_done);
		owner_put(owner, k, version);
		uint64_t found = owner_get(owner, k);
		/* It is there, but where a clearing was under way, or came. */
		expect(found == version || (found == 0 && atomic_load(&clears_begun) != done));
		if (version % 100 != 0)
			continue;
		/* And not when one has come and gone. */
		uint64_t begun = atomic_load(&clears_begun);
		while (atomic_load(&clears_done) <= begun)
			sched_yield();
		expect_eq(owner_get(owner, k), 0);
	}
	return NULL;
}

/* What is written before a clearing is gone after it, what is written after it is there. */
START_TEST(test_clear_beside_writers)
{
	struct table *table = table_make((enum style)_i, NULL);
	struct owner *owners[2];
	pthread_t threads[2], clearer;

	clears_begun = clears_done = 0;
	clears_stop = false;
	expect_eq(pthread_create(&clearer, NULL, clearer_main, table), 0);
	for (unsigned i = 0; i < 2; i++) {
		owners[i] = owner_make(table, (enum style)_i, i);
		expect_eq(pthread_create(&threads[i], NULL, cleared_main, owners[i]), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&clears_stop, true);
	pthread_join(clearer, NULL);
	table_check(table);
	expect_eq(table_clear(table), 0);
	expect_eq(table_len(table), 0);
	for (unsigned i = 0; i < 2; i++)
		free(owners[i]);
}
END_TEST

static void *clear_main(void *arg)
{
	expect_eq(table_clear(arg), 0);
	return NULL;
}

/* Who sees that a clearing has taken what there was is not given it by an iterator, though the clearing is not over: here it waits for the
 * iterator's segment. */
START_TEST(test_iterate_while_cleared)
{
	struct model *model = model_make((enum style)_i, 9);
	struct table_entry entry;
	struct table_iter iter;
	pthread_t clearer;

	for (uint32_t k = 0; k < 2000; k++)
		model_put(model, k, TABLE_REPLACE);
	table_iter_init(&iter, model->table);
	for (unsigned i = 0; i < 1000; i++)
		expect_eq(table_iter_next(&iter, true, &entry), 1);
	struct lock_word *lock = iter.segment->lock;
	lock_stripe_take(lock);
	expect_eq(pthread_create(&clearer, NULL, clear_main, model->table), 0);
	while (table_len(model->table) != 0)
		sched_yield();
	expect_eq(table_iter_next(&iter, true, &entry), 0);
	lock_stripe_drop(lock);
	pthread_join(clearer, NULL);
	table_check(model->table);
	free(model);
}
END_TEST

static void *mover_main(void *arg)
{
	struct owner *owner = arg;

	for (uint32_t step = 0; step < 200000; step++) {
		uint32_t k = step % KEYS, next = (step + 1) % KEYS;
		owner_put(owner, next, step + 2);
		owner_take(owner, k);
	}
	atomic_store(&clears_stop, true);
	return NULL;
}

/* An entry that is put before the one before it is taken, mostly into another segment: there is always one. */
START_TEST(test_any_while_one_moves)
{
	struct table *table = table_make(STYLE_INT, NULL);
	struct owner *owner = owner_make(table, STYLE_INT, 0);
	struct table_place place;
	struct table_entry entry;
	uint64_t asked = 0;
	pthread_t mover;

	for (uint32_t k = 0; k < KEYS; k++)
		owner_put(owner, k, 1);
	for (uint32_t k = 1; k < KEYS; k++)
		owner_take(owner, k);
	clears_stop = false;
	expect_eq(pthread_create(&mover, NULL, mover_main, owner), 0);
	for (; !atomic_load(&clears_stop); asked++)
		expect_eq(table_any(table, &place, &entry), 0);
	pthread_join(mover, NULL);
	expect_gt(asked, 100);
	free(owner);
}
END_TEST

int main(void)
{
	const char *text = getenv("TABLE_SEED");

	seed = text != NULL ? strtoull(text, NULL, 10) : base_now();
	printf("check_table: TABLE_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);

	Suite *suite = suite_create("table");
	TCase *tcase = tcase_create("core");
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, setup, heap_free_all);
	tcase_add_loop_test(tcase, test_empty, 0, STYLES);
	tcase_add_loop_test(tcase, test_model, 0, STYLES);
	tcase_add_loop_test(tcase, test_grow_and_shrink, 0, STYLES);
	tcase_add_loop_test(tcase, test_filled_from_another, 0, STYLES);
	tcase_add_loop_test(tcase, test_keys_in_steps, 0, STEPS_OF_KEYS);
	tcase_add_loop_test(tcase, test_churn_is_bounded, 0, STYLES);
	tcase_add_loop_test(tcase, test_iterate_under_change, 0, STYLES);
	tcase_add_loop_test(tcase, test_clear, 0, STYLES);
	tcase_add_loop_test(tcase, test_clear_and_store_again, 0, STYLES);
	tcase_add_loop_test(tcase, test_take_any, 0, STYLES);
	tcase_add_loop_test(tcase, test_no_memory, 0, STYLES);
	tcase_add_loop_test(tcase, test_stale_then_absent, 0, STYLES);
	tcase_add_test(tcase, test_equal_fails);
	tcase_add_test(tcase, test_one_hash);
	tcase_add_test(tcase, test_short_strings);
	tcase_add_test(tcase, test_no_addresses);
	tcase_add_test(tcase, test_values_like_nothing);
	tcase_add_test(tcase, test_huge_keys);
	tcase_add_test(tcase, test_uneven_keys);
	suite_add_tcase(suite, tcase);
	TCase *threads = tcase_create("threads");
	tcase_set_timeout(threads, 120);
	tcase_add_checked_fixture(threads, setup, heap_free_all);
	tcase_add_loop_test(threads, test_threads, 0, STYLES);
	tcase_add_loop_test(threads, test_two_writers, 0, STYLES);
	tcase_add_loop_test(threads, test_writers_of_their_own, 0, STYLES);
	tcase_add_loop_test(threads, test_no_memory_beside_writers, 0, STYLES);
	tcase_add_test(threads, test_growth);
	tcase_add_loop_test(threads, test_clear_beside_writers, 0, STYLES);
	tcase_add_loop_test(threads, test_iterate_while_cleared, 0, STYLES);
	tcase_add_test(threads, test_any_while_one_moves);
	suite_add_tcase(suite, threads);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

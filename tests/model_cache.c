/* SPDX-License-Identifier: MIT */
/*
 * model_cache: random sequences of operations on caches with all rules of time, compared with a naive model, which knows of each key its
 * value, when that was written, when it was used, and when its own time is over.
 *
 * Each operation must say what the model says, and after it and a cleanup the cache has told of what went in the model, each once and by its
 * cause (R146), counts what the model counts, and has as many entries. One thread, by a clock of its own; a bound, if there is one, is never
 * reached, since which entry goes for it is the policy's affair.
 *
 *     model_cache [--ops N] [--seed N]             the seed is printed; WEAKREF_LONG=1: a million operations.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support.h"
#include "weakref/cache.h"

#define KEYS 6
#define VALUES 400
#define STEPS 300 /* of one cache */
#define SECOND UINT64_C(1000000000)
#define NEVER UINT64_MAX
#define KEEPS (-1.0) /* what update and read say: the time that is left */

/* In the model a value is its place in `things`, 0 for none. */
struct entry {
	int value;
	uint64_t written, used, ends;
};

struct notice {
	int key, value, cause;
};

struct notices {
	struct notice at[2 * KEYS + 8];
	size_t n;
};

static char things[VALUES];
static weakref_cache *cache;
static uint64_t state, seed, now, step;
static const char *doing;

/* What the cache at hand is: its rules, and whether each entry has its own time; whether somebody listens. */
static uint64_t after_write, after_access, refresh_after;
static bool varies, listens;

static struct entry entries[KEYS];
static struct notices told, expected;
static weakref_cache_stats counted;

_Noreturn static void WEAKREF_PRINTF(1, 2) broken(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "model_cache: seed %llu, step %llu (%s): ", (unsigned long long)seed, (unsigned long long)step, doing);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

#define EXPECT(cond)                                                                                                   \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			broken("line %d: %s", __LINE__, #cond);                                                          \
	} while (0)

static unsigned draw(unsigned below)
{
	return (unsigned)(support_random(&state) >> 32) % below;
}

static void *thing(int value)
{
	return value == 0 ? NULL : &things[value];
}

static int number_of(const void *value)
{
	return value == NULL ? 0 : (int)((const char *)value - things);
}

/* ---- what the program's functions say: drawn before each operation ---- */

static double create_says, update_says, read_says;
static int load_gives, load_says, compute_gives, compute_says, compute_saw;

static uint64_t tick(void *unused)
{
	(void)unused;
	return now;
}

static void note(struct notices *notices, int key, int value, int cause)
{
	if (notices->n == sizeof notices->at / sizeof *notices->at)
		broken("more is told than there was");
	notices->at[notices->n++] = (struct notice){key, value, cause};
}

static int listen(const void *key, void *value, enum weakref_cause cause, void *unused)
{
	(void)unused;
	note(&told, (int)WEAKREF_INT_VALUE(key), number_of(value), (int)cause);
	return 0;
}

static double on_create(const void *key, void *value, void *unused)
{
	(void)key;
	(void)value;
	(void)unused;
	return create_says;
}

static double on_update(const void *key, void *value, double left, void *unused)
{
	(void)key;
	(void)value;
	(void)unused;
	return update_says == KEEPS ? left : update_says;
}

static double on_read(const void *key, void *value, double left, void *unused)
{
	(void)key;
	(void)value;
	(void)unused;
	return read_says == KEEPS ? left : read_says;
}

static int load(const void *key, void **value, void *unused)
{
	(void)key;
	(void)unused;
	*value = thing(load_gives);
	return load_says;
}

static int compute(const void *key, void *old, void **value, void *unused)
{
	(void)key;
	(void)unused;
	compute_saw = number_of(old);
	*value = thing(compute_gives);
	return compute_says;
}

static int merge(const void *key, void *old, void *given, void **value, void *unused)
{
	(void)given;
	return compute(key, old, value, unused);
}

static double some_time(void)
{
	return draw(5) == 0 ? INFINITY : 1 + draw(11);
}

static void draw_sayings(void)
{
	create_says = some_time();
	update_says = draw(3) == 0 ? KEEPS : some_time();
	read_says = draw(2) == 0 ? KEEPS : some_time();
	load_gives = draw(6) == 0 ? 0 : 100 + (int)draw(100);
	load_says = draw(6) == 0 ? -EIO : 0;
	compute_gives = draw(4) == 0 ? 0 : 200 + (int)draw(100);
	compute_says = draw(5) == 0 ? -EPROTO : 0;
	compute_saw = -1;
}

/* ---- the model ---- */

static uint64_t later(uint64_t time, double seconds)
{
	return isinf(seconds) ? NEVER : time + (uint64_t)(seconds * 1e9 + 0.5);
}

static uint64_t end_of(const struct entry *e)
{
	if (varies)
		return e->ends;
	uint64_t by_write = after_write == NEVER ? NEVER : e->written + after_write;
	uint64_t by_access = after_access == NEVER ? NEVER : e->used + after_access;
	return by_write < by_access ? by_write : by_access;
}

static double left_of(const struct entry *e)
{
	return end_of(e) == NEVER ? INFINITY : (double)(end_of(e) - now) / 1e9;
}

/* The value that a reader finds. */
static int value_of(int key)
{
	return end_of(&entries[key]) > now ? entries[key].value : 0;
}

static int how_many(void)
{
	int n = 0;

	for (int key = 0; key < KEYS; key++)
		n += value_of(key) != 0;
	return n;
}

/* It goes for this cause, but where its time is over. */
static void goes(int key, enum weakref_cause cause)
{
	struct entry *e = &entries[key];

	if (e->value == 0)
		return;
	if (value_of(key) == 0)
		cause = WEAKREF_CAUSE_EXPIRED;
	counted.evictions += cause == WEAKREF_CAUSE_EXPIRED;
	if (listens)
		note(&expected, key, e->value, (int)cause);
	e->value = 0;
}

/* `seconds` is KEEPS where the program's functions are asked. */
static void stores(int key, int value, double seconds)
{
	struct entry *e = &entries[key];
	int before = value_of(key);

	if (seconds == KEEPS)
		seconds = before == 0 ? create_says : update_says == KEEPS ? left_of(e) : update_says;
	if (before != value)
		goes(key, WEAKREF_CAUSE_REPLACED);
	*e = (struct entry){.value = value, .written = now, .used = now, .ends = later(now, seconds)};
}

/* Whether it gave a value. `counts`: a load by the figures. */
static bool loads(int key, bool counts)
{
	bool good = load_says == 0 && load_gives != 0;

	counted.load_successes += counts && good;
	counted.load_failures += counts && !good;
	if (good)
		stores(key, load_gives, KEEPS);
	return good;
}

static int load_error(void)
{
	return load_says < 0 ? load_says : load_gives == 0 ? -ENOENT : 0;
}

static void is_used(int key)
{
	struct entry *e = &entries[key];

	if (varies)
		e->ends = later(now, read_says == KEEPS ? left_of(e) : read_says);
	e->used = now;
}

/* A look-up that counts; it may reload. What it finds. */
static int looks_up(int key)
{
	int value = value_of(key);

	counted.hits += value != 0;
	counted.misses += value == 0;
	if (value == 0)
		return 0;
	is_used(key);
	if (refresh_after != NEVER && now - entries[key].written >= refresh_after)
		loads(key, true);
	return value;
}

/* What a function of compute said. */
static void computes(int key)
{
	if (compute_says == 0 && compute_gives != 0)
		stores(key, compute_gives, KEEPS);
	else if (compute_says == 0)
		goes(key, WEAKREF_CAUSE_EXPLICIT);
}

/* ---- operations ---- */

static void do_put(int key, int value)
{
	EXPECT(weakref_cache_put(cache, WEAKREF_INT(key), thing(value)) == 0);
	stores(key, value, KEEPS);
}

static void do_look_up(int key, int value)
{
	(void)value;
	int found = number_of(weakref_cache_get_if_present(cache, WEAKREF_INT(key)));
	EXPECT(found == looks_up(key));
}

static void do_get(int key, int value)
{
	void *got;
	/* Nobody else loads: there is nothing to wait for. */
	int error = value % 2 == 0 ? weakref_cache_get(cache, WEAKREF_INT(key), &got) : weakref_cache_get_wait(cache, WEAKREF_INT(key), 0, &got);

	value = looks_up(key);
	EXPECT(error == (value != 0 ? 0 : load_error()));
	if (value == 0 && loads(key, true))
		value = load_gives;
	EXPECT(number_of(got) == value);
}

static void do_get_all_present(int key, int value)
{
	const void *const keys[] = {WEAKREF_INT(key), WEAKREF_INT((key + 1) % KEYS), WEAKREF_INT(key)};
	void *values[3];
	long found = weakref_cache_get_all_present(cache, keys, 3, values), n = 0;

	for (size_t i = 0; i < 3; i++) {
		value = looks_up((int)WEAKREF_INT_VALUE(keys[i]));
		EXPECT(number_of(values[i]) == value);
		n += value != 0;
	}
	EXPECT(found == n);
}

static void do_put_if_absent(int key, int value)
{
	void *got = weakref_cache_put_if_absent(cache, WEAKREF_INT(key), thing(value));
	int there = value_of(key);

	EXPECT(number_of(got) == (there != 0 ? there : value));
	if (there == 0)
		stores(key, value, KEEPS);
}

static void do_replace(int key, int value)
{
	int wanted = draw(2) == 0 ? 0 : 1 + (int)draw(5), there = value_of(key);
	bool does = there != 0 && (wanted == 0 || wanted == there);

	EXPECT(weakref_cache_replace(cache, WEAKREF_INT(key), thing(wanted), thing(value)) == does);
	if (does)
		stores(key, value, KEEPS);
}

static void do_remove(int key, int value)
{
	void *got;
	int wanted = draw(2) == 0 ? 0 : value, there = value_of(key);
	bool does = there != 0 && (wanted == 0 || wanted == there);

	EXPECT(weakref_cache_remove(cache, WEAKREF_INT(key), thing(wanted), &got) == does);
	EXPECT(number_of(got) == (does ? there : 0));
	if (does)
		goes(key, WEAKREF_CAUSE_EXPLICIT);
}

static void do_invalidate(int key, int value)
{
	if (value != 1) {
		EXPECT(weakref_cache_invalidate(cache, WEAKREF_INT(key)) == 0);
		goes(key, WEAKREF_CAUSE_EXPLICIT);
		return;
	}
	EXPECT(weakref_cache_invalidate_all(cache) == 0);
	for (key = 0; key < KEYS; key++)
		goes(key, WEAKREF_CAUSE_EXPLICIT);
}

static void do_compute(int key, int value)
{
	void *got;
	int error = weakref_cache_compute(cache, WEAKREF_INT(key), compute, NULL, &got);

	value = value_of(key);
	EXPECT(error == compute_says && compute_saw == value);
	EXPECT(number_of(got) == (error == 0 ? compute_gives : 0));
	if (value == 0)
		goes(key, WEAKREF_CAUSE_EXPIRED);
	computes(key);
}

static void do_compute_if_present(int key, int value)
{
	int error = weakref_cache_compute_if_present(cache, WEAKREF_INT(key), compute, NULL, NULL);

	value = value_of(key);
	EXPECT(error == (value != 0 ? compute_says : 0));
	EXPECT(compute_saw == (value != 0 ? value : -1));
	if (value != 0)
		computes(key);
}

static void do_compute_if_absent(int key, int value)
{
	void *got;
	int error = weakref_cache_compute_if_absent(cache, WEAKREF_INT(key), load, NULL, &got);

	value = value_of(key);
	EXPECT(error == (value != 0 || load_error() == -ENOENT ? 0 : load_error()));
	if (value != 0)
		is_used(key);
	else if (loads(key, false))
		value = load_gives;
	EXPECT(number_of(got) == value);
}

static void do_merge(int key, int value)
{
	void *got;
	int error = weakref_cache_merge(cache, WEAKREF_INT(key), thing(value), merge, NULL, &got);

	if (value_of(key) == 0) {
		EXPECT(error == 0 && number_of(got) == value && compute_saw == -1);
		stores(key, value, KEEPS);
	} else {
		EXPECT(error == compute_says && compute_saw == value_of(key));
		computes(key);
	}
}

static void do_refresh(int key, int value)
{
	(void)value;
	EXPECT(weakref_cache_refresh(cache, WEAKREF_INT(key)) == load_error());
	loads(key, true);
}

static void do_look(int key, int value)
{
	void *got;

	value = value_of(key);
	EXPECT(weakref_cache_contains(cache, WEAKREF_INT(key)) == (value != 0));
	EXPECT(weakref_cache_policy_peek(cache, WEAKREF_INT(key), &got) == (value != 0 ? 0 : -ENOENT));
	EXPECT(number_of(got) == value);
}

static void do_iterate(int key, int value)
{
	weakref_cache_iter *iter = weakref_cache_iter_new(cache);
	const void *found;
	void *got;
	int n = 0;

	(void)key;
	(void)value;
	for (; weakref_cache_iter_next(iter, &found, &got) > 0; n++)
		EXPECT(number_of(got) == value_of((int)WEAKREF_INT_VALUE(found)));
	EXPECT(n == how_many());
}

static void do_set_time(int key, int value)
{
	double seconds = draw(8) == 0 ? 0 : some_time();

	if (!varies)
		return;
	if (value > 2) {
		EXPECT(weakref_cache_policy_put(cache, WEAKREF_INT(key), thing(value), seconds) == 0);
		stores(key, value, seconds);
		return;
	}
	EXPECT(weakref_cache_policy_set_remaining(cache, WEAKREF_INT(key), seconds) == (value_of(key) != 0 ? 0 : -ENOENT));
	if (value_of(key) != 0)
		entries[key].ends = later(now, seconds);
}

static void do_look_at_times(int key, int value)
{
	weakref_pair pairs[KEYS];
	double seconds;

	(void)value;
	if (!varies && after_write == NEVER && after_access == NEVER)
		return;
	int error = weakref_cache_policy_remaining(cache, WEAKREF_INT(key), &seconds);
	EXPECT(error == (value_of(key) != 0 ? 0 : -ENOENT));
	EXPECT(error != 0 || seconds == left_of(&entries[key]));
	EXPECT(weakref_cache_policy_expiring(cache, false, pairs, KEYS) == how_many());
	for (int i = 1; i < how_many(); i++)
		EXPECT(end_of(&entries[WEAKREF_INT_VALUE(pairs[i - 1].key)]) <= end_of(&entries[WEAKREF_INT_VALUE(pairs[i].key)]));
}

static const struct {
	void (*run)(int key, int value);
	const char *name;
} operations[] = {
	{do_put, "put"},
	{do_put, "put"},
	{do_look_up, "look up"},
	{do_get, "get"},
	{do_get, "get"},
	{do_get_all_present, "get_all_present"},
	{do_put_if_absent, "put_if_absent"},
	{do_replace, "replace"},
	{do_remove, "remove"},
	{do_invalidate, "invalidate"},
	{do_compute, "compute"},
	{do_compute_if_present, "compute_if_present"},
	{do_compute_if_absent, "compute_if_absent"},
	{do_merge, "merge"},
	{do_refresh, "refresh"},
	{do_look, "look"},
	{do_iterate, "iterate"},
	{do_set_time, "set time"},
	{do_look_at_times, "look at times"},
};

/* ---- a run ---- */

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct notice));
}

static void compare(void)
{
	weakref_cache_stats stats;

	EXPECT(weakref_cache_cleanup(cache) == 0);
	for (int key = 0; key < KEYS; key++)
		if (value_of(key) == 0)
			goes(key, WEAKREF_CAUSE_EXPIRED);
	EXPECT(weakref_cache_len(cache) == (size_t)how_many());
	qsort(told.at, told.n, sizeof told.at[0], by_key);
	qsort(expected.at, expected.n, sizeof expected.at[0], by_key);
	EXPECT(told.n == expected.n && memcmp(told.at, expected.at, told.n * sizeof told.at[0]) == 0);
	EXPECT(weakref_cache_get_stats(cache, &stats) == 0);
	EXPECT(stats.hits == counted.hits && stats.misses == counted.misses);
	EXPECT(stats.load_successes == counted.load_successes && stats.load_failures == counted.load_failures);
	EXPECT(stats.evictions == counted.evictions);
}

static void one_step(void)
{
	size_t which = draw(sizeof operations / sizeof operations[0]);

	step++;
	now += draw(3) == 0 ? draw(3) * SECOND : draw(3) * SECOND / 2 + 1;
	draw_sayings();
	told.n = expected.n = 0;
	doing = operations[which].name;
	operations[which].run((int)draw(KEYS), 1 + (int)draw(5));
	compare();
}

static void make(void)
{
	const weakref_cache_expiry expiry = {.create = on_create, .update = on_update, .read = on_read};
	const weakref_cache_loader loader = {.load = load};
	weakref_cache_builder *b = weakref_cache_builder_new(WEAKREF_KEY_INT);
	int error = 0;

	doing = "make";
	now = 1000 * SECOND;
	memset(entries, 0, sizeof entries);
	counted = (weakref_cache_stats){0};
	varies = draw(3) == 0;
	listens = draw(3) != 0;
	after_write = !varies && draw(2) == 0 ? 10 * SECOND : NEVER;
	after_access = !varies && draw(2) == 0 ? 7 * SECOND : NEVER;
	refresh_after = draw(2) == 0 ? 4 * SECOND : NEVER;
	error |= weakref_cache_builder_spec(b, draw(2) == 0 ? "recordStats" : "recordStats,maximumSize=1000");
	error |= weakref_cache_builder_ticker(b, tick, NULL);
	error |= weakref_cache_builder_loader(b, &loader);
	if (listens)
		error |= weakref_cache_builder_removal_listener(b, listen, NULL);
	if (varies)
		error |= weakref_cache_builder_expire_after(b, &expiry);
	if (after_write != NEVER)
		error |= weakref_cache_builder_expire_after_write(b, 10);
	if (after_access != NEVER)
		error |= weakref_cache_builder_expire_after_access(b, 7);
	if (refresh_after != NEVER)
		error |= weakref_cache_builder_refresh_after_write(b, 4);
	EXPECT(error == 0);
	cache = weakref_cache_builder_build(b);
	EXPECT(cache != NULL);
}

int main(int argc, char **argv)
{
	uint64_t ops = getenv("WEAKREF_LONG") != NULL ? 1000000 : 300000;
	const char *given = getenv("WEAKREF_SEED");

	if (gc_init() != 0)
		abort();
	seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	ops = support_scaled(ops, STEPS);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--ops") == 0)
			ops = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 0);
		else
			return 2;
	}
	printf("model_cache: seed %llu, %llu operations\n", (unsigned long long)seed, (unsigned long long)ops);
	fflush(stdout);
	state = seed;
	while (step < ops) {
		make();
		for (int i = 0; i < STEPS; i++)
			one_step();
	}
	return 0;
}

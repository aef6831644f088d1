/* SPDX-License-Identifier: MIT */
/*
 * check_failures: every constructor, insert and setting that allocates, with its 1st, 2nd, 3rd … allocation failing, until it
 * needs no more. A call that fails says ENOMEM and has changed nothing; one that got by without the memory has done all of its
 * work; and the same call without failure succeeds afterwards. Needs a library built with --enable-checks; the tests skip
 * themselves in any other.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "rawthread.h"
#include "weakref/checks.h"
#include "weakref/proxy.h"
#include "weakref/valuedict.h"

#define NEEDS_CHECKS "the library was built without --enable-checks"
/* No call makes more allocations than this. */
#define SWEEP_LIMIT 20000
/* Entries of the dictionary that operations work on. */
#define ENTRIES ((size_t)40)

/* ---- the state that an operation works on -------------------------------------------------------------------------------- */

static struct fixture {
	struct support_node *object;
	void *foreign;
	weakref_ref *held; /* a callback reference to each, so that both have a past */
	weakref_ref *held_foreign;
	void *values[2 * ENTRIES];
	char keys[2 * ENTRIES][16];
	weakref_valuedict *dict; /* ENTRIES entries */
	weakref_valuedict *other; /* the next ENTRIES */
	weakref_pair pairs[ENTRIES];
	void *result;
} f;

static int no_callback(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	return 0;
}

static int ignore_destroy(void *obj)
{
	(void)obj;
	return 0;
}

static int hash_string(const void *key, uint64_t *out, void *user)
{
	(void)user;
	*out = 0;
	for (const char *p = key; *p != '\0'; p++)
		*out = *out * 31 + (unsigned char)*p;
	return 0;
}

static int equal_string(const void *a, const void *b, void *user)
{
	(void)user;
	return strcmp(a, b) == 0;
}

static const gc_type leaf_type = {.name = "leaf", .size = 24, .flags = WEAKREF_TYPE_LEAF};
static const gc_type mortal_type = {.name = "mortal", .size = 24, .destroy = ignore_destroy};

static void fixture_fresh(void)
{
	memset(&f, 0, sizeof(f));
	f.object = support_node_new(1);
	f.foreign = GC_MALLOC(64);
	f.held = weakref_ref_new(f.object, no_callback, NULL);
	f.held_foreign = weakref_ref_new(f.foreign, no_callback, NULL);
	f.dict = weakref_valuedict_new(WEAKREF_KEY_STRING);
	f.other = weakref_valuedict_new(WEAKREF_KEY_STRING);
	ck_assert_ptr_nonnull(f.held);
	ck_assert_ptr_nonnull(f.held_foreign);
	for (size_t i = 0; i < 2 * ENTRIES; i++) {
		f.values[i] = support_node_new(i);
		snprintf(f.keys[i], sizeof(f.keys[i]), "key %zu", i);
		ck_assert_int_eq(weakref_valuedict_set(i < ENTRIES ? f.dict : f.other, f.keys[i], f.values[i]), 0);
		if (i >= ENTRIES)
			f.pairs[i - ENTRIES] = (weakref_pair){f.keys[i], f.values[i]};
	}
}

/* Whether the dictionary has all its entries, and n in all. */
static bool dict_is(weakref_valuedict *dict, size_t from, size_t n)
{
	if (dict == NULL || weakref_valuedict_len(dict) != n)
		return false;
	for (size_t i = from; i < from + n; i++)
		if (weakref_valuedict_get(dict, f.keys[i]) != f.values[i])
			return false;
	return true;
}

/* What no failure may have changed. */
static bool fixture_whole(void)
{
	return support_node_intact(f.object) && weakref_ref_get(f.held) == f.object && weakref_ref_get(f.held_foreign) == f.foreign &&
	       weakref_getweakrefcount(f.object) == 1 && weakref_getweakrefcount(f.foreign) == 1 && dict_is(f.dict, 0, ENTRIES) &&
	       dict_is(f.other, ENTRIES, ENTRIES);
}

/* ---- operations: each does one call, and returns 0 or the negative error; `done` says whether its work is done whole ------ */

static int result(void *p)
{
	f.result = p;
	return p != NULL ? 0 : -errno;
}

static int op_new(void)
{
	return result(gc_new(&support_node_type));
}

static int op_new_leaf(void)
{
	return result(gc_new(&leaf_type));
}

static int op_new_destructor(void)
{
	return result(gc_new(&mortal_type));
}

static int op_new_extra(void)
{
	return result(gc_new_extra(&support_node_type, 10000));
}

static int op_alloc(void)
{
	return result(gc_alloc(100));
}

static int op_alloc_leaf(void)
{
	return result(gc_alloc_leaf(100));
}

static bool done_block(void)
{
	return f.result != NULL && GC_base(f.result) != NULL;
}

static int op_ref(void)
{
	return result(weakref_ref_new(f.object, NULL, NULL));
}

static int op_ref_inner(void)
{
	return result(weakref_ref_new((char *)f.object + 8, NULL, NULL));
}

static bool done_ref_inner(void)
{
	return f.result != NULL && weakref_ref_get(f.result) == (char *)f.object + 8 && weakref_getweakrefcount(f.object) == 2 &&
	       weakref_ref_new((char *)f.object + 8, NULL, NULL) == f.result;
}

static int op_ref_callback(void)
{
	return result(weakref_ref_new(f.object, no_callback, f.values));
}

static int op_ref_payload(void)
{
	const weakref_ref_options options = {.payload = f.foreign};

	return result(weakref_ref_new_with(f.object, &options));
}

static int op_ref_distinct(void)
{
	const weakref_ref_options options = {.distinct = true};

	return result(weakref_ref_new_with(f.object, &options));
}

static int op_ref_long(void)
{
	const weakref_ref_options options = {.is_long = true};

	return result(weakref_ref_new_with(f.object, &options));
}

static int op_ref_long_callback(void)
{
	const weakref_ref_options options = {.is_long = true, .callback = no_callback};

	return result(weakref_ref_new_with(f.object, &options));
}

static int op_proxy(void)
{
	return result(weakref_proxy_new(f.object, NULL, NULL));
}

static int op_proxy_callback(void)
{
	return result(weakref_proxy_new(f.object, no_callback, NULL));
}

static bool done_ref(void)
{
	return weakref_ref_get(f.result) == f.object && weakref_getweakrefcount(f.object) == 2;
}

static int op_ref_foreign(void)
{
	return result(weakref_ref_new(f.foreign, NULL, NULL));
}

static int op_ref_foreign_callback(void)
{
	return result(weakref_ref_new(f.foreign, no_callback, NULL));
}

static bool done_ref_foreign(void)
{
	return weakref_ref_get(f.result) == f.foreign && weakref_getweakrefcount(f.foreign) == 2;
}

static int op_dict_new(void)
{
	return result(weakref_valuedict_new(WEAKREF_KEY_STRING));
}

static int op_dict_new_int(void)
{
	return result(weakref_valuedict_new(WEAKREF_KEY_INT));
}

static int op_dict_new_custom(void)
{
	return result(weakref_valuedict_new_custom(hash_string, equal_string, NULL));
}

static bool done_dict_empty(void)
{
	return weakref_valuedict_len(f.result) == 0 && weakref_valuedict_iter_new(f.result) != NULL;
}

static int op_dict_from_pairs(void)
{
	return result(weakref_valuedict_from_pairs(WEAKREF_KEY_STRING, f.pairs, ENTRIES));
}

static bool done_from_pairs(void)
{
	return dict_is(f.result, ENTRIES, ENTRIES);
}

static int op_dict_union(void)
{
	return result(weakref_valuedict_union(f.dict, f.other));
}

static bool done_union(void)
{
	return dict_is(f.result, 0, 2 * ENTRIES);
}

static int op_dict_copy(void)
{
	return result(weakref_valuedict_copy(f.dict));
}

static int op_dict_deepcopy(void)
{
	return result(weakref_valuedict_deepcopy(f.dict, NULL, NULL));
}

static bool done_copy(void)
{
	return dict_is(f.result, 0, ENTRIES);
}

static int op_dict_iter(void)
{
	return result(weakref_valuedict_iter_new(f.dict));
}

static bool done_iter(void)
{
	void *value;
	size_t n = 0;

	while (weakref_valuedict_iter_next(f.result, NULL, &value) == 1)
		n++;
	return n == ENTRIES;
}

static size_t listed;

static int op_dict_items(void)
{
	return result(weakref_valuedict_items(f.dict, &listed));
}

static int op_dict_keys(void)
{
	return result((void *)(uintptr_t)weakref_valuedict_keys(f.dict, &listed));
}

static int op_dict_values(void)
{
	return result(weakref_valuedict_values(f.dict, &listed));
}

static bool done_list(void)
{
	return listed == ENTRIES;
}

static int op_callbacks_handler(void)
{
	return gc_set_unraisable_handler(NULL, NULL);
}

static int op_debug(void)
{
	int r = gc_set_debug(WEAKREF_DEBUG_COUNT_ALL);

	gc_set_debug(0);
	return r;
}

static bool done_nothing(void)
{
	return true;
}

/* A collection needs no memory that it has not got: it never fails for want of it. */
static int op_collect(void)
{
	long r = gc_collect();

	return r < 0 ? (int)r : 0;
}

static int op_run_callbacks(void)
{
	long r = gc_run_callbacks();

	return r < 0 ? (int)r : 0;
}

struct op {
	const char *name;
	int (*run)(void);
	bool (*done)(void);
};

static const struct op ops[] = {
	{"gc_new", op_new, done_block},
	{"gc_new of a leaf", op_new_leaf, done_block},
	{"gc_new with destructor", op_new_destructor, done_block},
	{"gc_new_extra", op_new_extra, done_block},
	{"gc_alloc", op_alloc, done_block},
	{"gc_alloc_leaf", op_alloc_leaf, done_block},
	{"weakref_ref_new", op_ref, done_ref},
	{"weakref_ref_new of an address within", op_ref_inner, done_ref_inner},
	{"weakref_ref_new with callback", op_ref_callback, done_ref},
	{"weakref_ref_new_with payload", op_ref_payload, done_ref},
	{"weakref_ref_new_with distinct", op_ref_distinct, done_ref},
	{"weakref_ref_new_with long", op_ref_long, done_ref},
	{"weakref_ref_new_with long and callback", op_ref_long_callback, done_ref},
	{"weakref_proxy_new", op_proxy, done_ref},
	{"weakref_proxy_new with callback", op_proxy_callback, done_ref},
	{"weakref_ref_new, foreign", op_ref_foreign, done_ref_foreign},
	{"weakref_ref_new with callback, foreign", op_ref_foreign_callback, done_ref_foreign},
	{"weakref_valuedict_new", op_dict_new, done_dict_empty},
	{"weakref_valuedict_new, integers", op_dict_new_int, done_dict_empty},
	{"weakref_valuedict_new_custom", op_dict_new_custom, done_dict_empty},
	{"weakref_valuedict_from_pairs", op_dict_from_pairs, done_from_pairs},
	{"weakref_valuedict_union", op_dict_union, done_union},
	{"weakref_valuedict_copy", op_dict_copy, done_copy},
	{"weakref_valuedict_deepcopy", op_dict_deepcopy, done_copy},
	{"weakref_valuedict_iter_new", op_dict_iter, done_iter},
	{"weakref_valuedict_items", op_dict_items, done_list},
	{"weakref_valuedict_keys", op_dict_keys, done_list},
	{"weakref_valuedict_values", op_dict_values, done_list},
	{"gc_set_unraisable_handler", op_callbacks_handler, done_nothing},
	{"gc_set_debug", op_debug, done_nothing},
	{"gc_collect", op_collect, done_nothing},
	{"gc_run_callbacks", op_run_callbacks, done_nothing},
};

#define OPS ((int)(sizeof(ops) / sizeof(ops[0])))

/* Runs one operation with its nth allocation failing. True where that allocation was reached. */
static bool with_failure(int (*run)(void), unsigned long n, int *r)
{
	long left;

	ck_assert_int_ge(weakref_checks_fail_allocation(n), 0);
	f.result = NULL;
	errno = 0;
	*r = run();
	left = weakref_checks_fail_allocation(0);
	ck_assert_int_ge(left, 0);
	return left == 0;
}

/* ---- sweeps -------------------------------------------------------------------------------------------------------------- */

/* Each operation, its 1st, 2nd, … allocation failing: all or nothing, and afterwards it works. */
START_TEST(test_operation_all_or_nothing)
{
	const struct op *op = &ops[_i];
	unsigned long n = 1;
	bool reached;
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	do {
		fixture_fresh();
		reached = with_failure(op->run, n, &r);
		if (r != 0) {
			ck_assert_msg(reached, "%s: failed with %d though no allocation did", op->name, r);
			ck_assert_msg(r == -ENOMEM, "%s: allocation %lu failed, and the answer was %d", op->name, n, r);
			ck_assert_msg(fixture_whole(), "%s: allocation %lu failed, and something has changed", op->name, n);
			ck_assert_ptr_null(f.result);
			support_scrub();
			ck_assert_int_ge(gc_collect(), 0);
			ck_assert_msg(fixture_whole(), "%s: allocation %lu failed, and a collection found something changed", op->name, n);
			ck_assert_msg(op->run() == 0, "%s: does not work after allocation %lu failed", op->name, n);
		}
		ck_assert_msg(op->done(), "%s: not whole after allocation %lu failed", op->name, n);
		weakref_checks_validate();
		n++;
		ck_assert_uint_lt(n, SWEEP_LIMIT);
	} while (reached);
	ck_assert_int_eq(r, 0);
}
END_TEST

/* A collection and a run of callbacks never fail for want of memory. */
START_TEST(test_collection_needs_no_memory)
{
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	fixture_fresh();
	for (unsigned long n = 1; n <= 50; n++) {
		with_failure(op_collect, n, &r);
		ck_assert_int_eq(r, 0);
		with_failure(op_run_callbacks, n, &r);
		ck_assert_int_eq(r, 0);
		ck_assert(fixture_whole());
	}
}
END_TEST

/* Inserts one after another, each with its allocations failing in turn: whatever is moved, enlarged or split meanwhile, an
 * insert happens whole or not at all, and no other entry is lost. */
static weakref_valuedict *growing;
static struct support_node **growing_values;
static size_t growing_at;
static enum weakref_key_kind growing_kind;
static weakref_bytes growing_bytes;
static char growing_text[32];

static const void *growing_key(size_t i)
{
	snprintf(growing_text, sizeof(growing_text), "a key, %zu", i);
	growing_bytes = (weakref_bytes){growing_text, strlen(growing_text)};
	switch (growing_kind) {
	case WEAKREF_KEY_BYTES: return &growing_bytes;
	case WEAKREF_KEY_INT: return WEAKREF_INT(i);
	case WEAKREF_KEY_POINTER: return growing_values[i];
	default: return growing_text;
	}
}

static int op_insert(void)
{
	return weakref_valuedict_set(growing, growing_key(growing_at), growing_values[growing_at]);
}

static int op_setdefault(void)
{
	void *value = weakref_valuedict_setdefault(growing, growing_key(growing_at), growing_values[growing_at]);

	return value == growing_values[growing_at] ? 0 : value == NULL ? -errno : -EDOM;
}

static void check_grown(size_t n)
{
	ck_assert_uint_eq(weakref_valuedict_len(growing), n);
	for (size_t i = n > 64 ? n - 64 : 0; i < n; i++)
		ck_assert_ptr_eq(weakref_valuedict_get(growing, growing_key(i)), growing_values[i]);
}

START_TEST(test_every_insert_all_or_nothing)
{
	size_t n = support_scaled(3000, 300);

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	growing_kind = (enum weakref_key_kind)(_i / 2);
	growing = weakref_valuedict_new(growing_kind);
	growing_values = GC_MALLOC(n * sizeof(*growing_values));
	for (size_t i = 0; i < n; i++)
		growing_values[i] = support_node_new(i);
	for (growing_at = 0; growing_at < n; growing_at++) {
		unsigned long k = 1;
		bool reached;
		int r;

		do {
			reached = with_failure(_i % 2 == 0 ? op_insert : op_setdefault, k++, &r);
			ck_assert(r == 0 || (r == -ENOMEM && reached));
			if (r != 0) {
				ck_assert_ptr_null(weakref_valuedict_get(growing, growing_key(growing_at)));
				ck_assert_uint_eq(weakref_valuedict_len(growing), growing_at);
			}
			ck_assert_uint_lt(k, 100);
		} while (r != 0);
		if (growing_at % 16 == 0)
			check_grown(growing_at + 1);
	}
	weakref_checks_validate();
	support_collect();
	check_grown(n);
	for (size_t i = 0; i < n; i++)
		ck_assert_ptr_eq(weakref_valuedict_get(growing, growing_key(i)), growing_values[i]);
}
END_TEST

/* Bulk inserts that fail leave whole entries only. */
static int op_update(void)
{
	return weakref_valuedict_update(f.dict, f.other);
}

static int op_update_pairs(void)
{
	return weakref_valuedict_update_pairs(f.dict, f.pairs, ENTRIES);
}

START_TEST(test_update_leaves_whole_entries)
{
	unsigned long k = 1;
	bool reached;
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	do {
		size_t there = 0;

		fixture_fresh();
		reached = with_failure(_i == 0 ? op_update : op_update_pairs, k++, &r);
		ck_assert(r == 0 || (r == -ENOMEM && reached));
		for (size_t i = 0; i < 2 * ENTRIES; i++) {
			void *value = weakref_valuedict_get(f.dict, f.keys[i]);

			ck_assert(value == f.values[i] || (value == NULL && i >= ENTRIES && r != 0));
			there += value != NULL;
		}
		ck_assert_uint_eq(weakref_valuedict_len(f.dict), there);
		ck_assert(dict_is(f.other, ENTRIES, ENTRIES));
		ck_assert_int_eq(_i == 0 ? op_update() : op_update_pairs(), 0);
		ck_assert(dict_is(f.dict, 0, 2 * ENTRIES));
		ck_assert_uint_lt(k, SWEEP_LIMIT);
	} while (reached);
}
END_TEST

static int op_pop(void)
{
	return weakref_valuedict_pop(f.dict, f.keys[3], &f.result);
}

static int op_delete(void)
{
	int r = weakref_valuedict_delete(f.dict, f.keys[3]);

	f.result = r == 0 ? f.values[3] : NULL;
	return r;
}

/* Taking an entry out with an allocation failing: it is out, or it is there. */
START_TEST(test_removal_all_or_nothing)
{
	unsigned long k = 1;
	bool reached;
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	do {
		fixture_fresh();
		reached = with_failure(_i == 0 ? op_pop : op_delete, k++, &r);
		ck_assert(r == 0 || (r == -ENOMEM && reached));
		ck_assert_uint_eq(weakref_valuedict_len(f.dict), r == 0 ? ENTRIES - 1 : ENTRIES);
		ck_assert_ptr_eq(weakref_valuedict_get(f.dict, f.keys[3]), r == 0 ? NULL : f.values[3]);
		ck_assert_ptr_eq(f.result, r == 0 ? f.values[3] : NULL);
		ck_assert_uint_lt(k, SWEEP_LIMIT);
	} while (reached);
}
END_TEST

static int op_clear(void)
{
	return weakref_valuedict_clear(f.dict);
}

START_TEST(test_clear_all_or_nothing)
{
	unsigned long k = 1;
	bool reached;
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	do {
		fixture_fresh();
		reached = with_failure(op_clear, k++, &r);
		ck_assert(r == 0 || (r == -ENOMEM && reached));
		ck_assert(dict_is(f.dict, 0, r == 0 ? 0 : ENTRIES));
		ck_assert_uint_lt(k, SWEEP_LIMIT);
	} while (reached);
}
END_TEST

static int op_popitem(void)
{
	const void *key = NULL;

	return weakref_valuedict_popitem(f.dict, &key, &f.result);
}

/* popitem with an allocation failing takes out one entry that it gives back, or none. */
START_TEST(test_popitem_all_or_nothing)
{
	unsigned long k = 1;
	bool reached;
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	do {
		fixture_fresh();
		reached = with_failure(op_popitem, k++, &r);
		ck_assert(r >= 0 || (r == -ENOMEM && reached));
		ck_assert_uint_eq(weakref_valuedict_len(f.dict), r >= 0 ? ENTRIES - 1 : ENTRIES);
		ck_assert_int_eq(f.result != NULL, r >= 0);
		ck_assert_uint_lt(k, SWEEP_LIMIT);
	} while (reached);
}
END_TEST

static int op_valuerefs(void)
{
	return result(weakref_valuedict_valuerefs(f.dict, &listed));
}

/* A list of references that fails may have made some, which nobody holds; it changes neither dictionary nor values. */
START_TEST(test_valuerefs)
{
	unsigned long k = 1;
	bool reached;
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	do {
		fixture_fresh();
		listed = 0;
		reached = with_failure(op_valuerefs, k++, &r);
		ck_assert(r == 0 || (r == -ENOMEM && reached));
		ck_assert(dict_is(f.dict, 0, ENTRIES));
		if (r == 0) {
			ck_assert_uint_eq(listed, ENTRIES);
			ck_assert_uint_eq(support_dead(f.result, ENTRIES), 0);
		}
		ck_assert_uint_lt(k, SWEEP_LIMIT);
	} while (reached);
}
END_TEST

/* References to one object, one after another, each with its allocations failing in turn; all of them read and are counted,
 * and their callbacks run when the object dies. */
static _Atomic unsigned many_ran;

static int many_callback(weakref_ref *ref, void *data)
{
	(void)data;
	many_ran += weakref_ref_get(ref) == NULL;
	return 0;
}

static int op_many(void)
{
	return result(weakref_ref_new(growing_values[0], many_callback, NULL));
}

START_TEST(test_every_reference_all_or_nothing)
{
	size_t n = support_scaled(1000, 100);
	weakref_ref **refs = GC_MALLOC(n * sizeof(*refs));

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	growing_values = GC_MALLOC(sizeof(*growing_values));
	growing_values[0] = _i == 0 ? (void *)support_node_new(0) : GC_MALLOC(64);
	for (size_t i = 0; i < n; i++) {
		unsigned long k = 1;
		int r;

		do {
			bool reached = with_failure(op_many, k++, &r);

			ck_assert(r == 0 || (r == -ENOMEM && reached));
			ck_assert_uint_eq(weakref_getweakrefcount(growing_values[0]), r == 0 ? i + 1 : i);
			ck_assert_uint_lt(k, 100);
		} while (r != 0);
		refs[i] = f.result;
	}
	ck_assert_uint_eq(support_dead(refs, n), 0);
	ck_assert_uint_eq(weakref_getweakrefs(growing_values[0], NULL, 0), n);
	weakref_checks_validate();
	SUPPORT_KEEP(refs);
}
END_TEST

/* Foreign blocks, each watched for the first time, allocations failing in turn: whatever table they are in grows whole. */
START_TEST(test_every_foreign_block_all_or_nothing)
{
	size_t n = support_scaled(2000, 100);
	weakref_ref **refs = GC_MALLOC(n * sizeof(*refs));
	void **blocks = GC_MALLOC(n * sizeof(*blocks));

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	memset(&f, 0, sizeof(f));
	for (size_t i = 0; i < n; i++) {
		unsigned long k = 1;
		int r;

		f.foreign = blocks[i] = GC_MALLOC(40);
		do {
			bool reached = with_failure(op_ref_foreign, k++, &r);

			ck_assert(r == 0 || (r == -ENOMEM && reached));
			ck_assert_uint_eq(weakref_getweakrefcount(blocks[i]), r == 0 ? 1 : 0);
			ck_assert_uint_lt(k, 100);
		} while (r != 0);
		refs[i] = f.result;
	}
	support_collect();
	for (size_t i = 0; i < n; i++)
		ck_assert_ptr_eq(weakref_ref_get(refs[i]), blocks[i]);
	weakref_checks_validate();
	SUPPORT_KEEP(blocks);
}
END_TEST

/* ---- settings and threads ------------------------------------------------------------------------------------------------ */

/* Without memory for a delivery thread the old rule stays. */
static int op_delivery_thread(void)
{
	return gc_set_delivery(WEAKREF_DELIVER_THREAD);
}

START_TEST(test_delivery_rule_stays)
{
	unsigned long k = 1;
	bool reached;
	int r;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	do {
		ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_MANUAL), 0);
		reached = with_failure(op_delivery_thread, k++, &r);
		ck_assert(r == 0 || (r == -ENOMEM && reached));
		ck_assert_int_eq(gc_get_delivery(), r == 0 ? WEAKREF_DELIVER_THREAD : WEAKREF_DELIVER_MANUAL);
		ck_assert_uint_lt(k, SWEEP_LIMIT);
	} while (reached);
}
END_TEST

/* The descriptor, asked for anew in a child, where there is none yet. */
static int child_fd(void *arg)
{
	bool reached = true;

	(void)arg;
	for (unsigned long k = 1; reached; k++) {
		int fd;

		weakref_checks_fail_allocation(k);
		fd = gc_callbacks_fd();
		reached = weakref_checks_fail_allocation(0) == 0;
		SUPPORT_REQUIRE(fd >= 0 || (fd == -ENOMEM && reached));
	}
	SUPPORT_REQUIRE(gc_callbacks_fd() >= 0);
	return 0;
}

START_TEST(test_descriptor)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	ck_assert_int_ge(gc_callbacks_fd(), 0);
	ck_assert_int_eq(support_in_child(child_fd, NULL), 0);
}
END_TEST

static int register_with_failures(void *arg)
{
	(void)arg;
	for (unsigned long k = 1;; k++) {
		bool reached;
		int r;

		weakref_checks_fail_allocation(k);
		r = gc_thread_register();
		reached = weakref_checks_fail_allocation(0) == 0;
		SUPPORT_REQUIRE(r == 0 || (r == -ENOMEM && reached));
		SUPPORT_REQUIRE(gc_thread_is_registered() == (r == 0));
		if (r == 0) {
			SUPPORT_REQUIRE(support_node_new(1) != NULL);
			SUPPORT_REQUIRE(gc_thread_unregister() == 0);
		}
		if (!reached)
			return 0;
		SUPPORT_REQUIRE(k < 100);
	}
}

/* A thread that cannot be registered is unknown as before, and can be registered later. */
START_TEST(test_thread_register)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	ck_assert_int_eq(rawthread_run(register_with_failures, NULL), 0);
}
END_TEST

/* The first calls of a thread, before it has anything of its own. */
static int first_calls_with_failures(void *arg)
{
	unsigned long *n = arg;
	void *p;

	weakref_checks_fail_allocation(*n);
	errno = 0;
	p = gc_new(&support_node_type);
	SUPPORT_REQUIRE(p != NULL || errno == ENOMEM);
	*n = weakref_checks_fail_allocation(0) == 0 ? *n + 1 : 0;
	SUPPORT_REQUIRE(support_node_new(1) != NULL);
	return 0;
}

START_TEST(test_first_calls_of_a_thread)
{
	unsigned long n = 1;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	while (n != 0) {
		ck_assert_int_eq(support_on_thread(first_calls_with_failures, &n), 0);
		ck_assert_uint_lt(n, 100);
	}
}
END_TEST

/* gc_init with an allocation failing: ENOMEM, and it may be called again; or it got by. WEAKREF_FAIL_ALLOCATION says which
 * one fails. */
static int child_init(void)
{
	weakref_ref *ref;
	void *obj;
	int r = gc_init();

	SUPPORT_REQUIRE(r == 0 || r == -ENOMEM);
	if (r != 0)
		SUPPORT_REQUIRE(gc_init() == 0);
	weakref_checks_fail_allocation(0);
	obj = support_node_new(1);
	ref = weakref_ref_new(obj, NULL, NULL);
	SUPPORT_REQUIRE(obj != NULL && ref != NULL);
	SUPPORT_REQUIRE(gc_collect() >= 0);
	SUPPORT_REQUIRE(weakref_ref_get(ref) == obj);
	SUPPORT_KEEP(obj);
	fprintf(stderr, r != 0 ? "failed first\n" : "succeeded\n");
	return 0;
}

START_TEST(test_init)
{
	char variable[64], err[4096] = "";
	const char *const env[] = {variable, NULL};
	unsigned failed = 0;

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), NEEDS_CHECKS);
	for (unsigned long n = 1; n <= 40; n++) {
		snprintf(variable, sizeof(variable), "WEAKREF_FAIL_ALLOCATION=%lu", n);
		ck_assert_msg(support_respawn("init", env, err, sizeof(err)) == 0, "allocation %lu: %s", n, err);
		failed += strstr(err, "failed first") != NULL;
	}
	ck_assert_uint_gt(failed, 0);
	ck_assert_ptr_nonnull(strstr(err, "succeeded"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("failures");
	TCase *t = support_tcase("operations");

	tcase_add_loop_test(t, test_operation_all_or_nothing, 0, OPS);
	tcase_add_test(t, test_collection_needs_no_memory);
	suite_add_tcase(s, t);

	t = support_tcase("dictionaries");
	tcase_add_loop_test(t, test_every_insert_all_or_nothing, 0, 2 * WEAKREF_KEY_CUSTOM);
	tcase_add_loop_test(t, test_update_leaves_whole_entries, 0, 2);
	tcase_add_loop_test(t, test_removal_all_or_nothing, 0, 2);
	tcase_add_test(t, test_clear_all_or_nothing);
	tcase_add_test(t, test_popitem_all_or_nothing);
	tcase_add_test(t, test_valuerefs);
	suite_add_tcase(s, t);

	t = support_tcase("references");
	tcase_add_loop_test(t, test_every_reference_all_or_nothing, 0, 2);
	tcase_add_test(t, test_every_foreign_block_all_or_nothing);
	suite_add_tcase(s, t);

	t = support_tcase("settings and threads");
	tcase_add_test(t, test_delivery_rule_stays);
	tcase_add_test(t, test_descriptor);
	tcase_add_test(t, test_thread_register);
	tcase_add_test(t, test_first_calls_of_a_thread);
	tcase_add_test(t, test_init);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	(void)argv;
	return argc > 1 ? child_init() : support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_many: operations on many keys at once, which do the keys by parts: weakref_valuedict_get_all, weakref_keydict_get_all,
 * weakref_cache_get_all_present, and the update_pairs of both dictionaries. Each is to give what the same operation key by key gives.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "weakref/cache.h"
#include "weakref/keydict.h"
#include "weakref/valuedict.h"

#define MOST 200
/* Longer than what is looked for in vectors, than a byte's length tells, and usual. */
static const size_t lengths[] = {5, 15, 16, 17, 254, 255, 300};
#define LENGTHS (sizeof lengths / sizeof *lengths)

static const enum weakref_key_kind kinds[] = {WEAKREF_KEY_STRING, WEAKREF_KEY_BYTES, WEAKREF_KEY_INT, WEAKREF_KEY_POINTER, WEAKREF_KEY_CUSTOM};
#define KINDS (int)(sizeof kinds / sizeof *kinds)

static char texts[MOST][301];
static weakref_bytes bytes[MOST];
static const void *keys[MOST];
static void *values[MOST], *kept[MOST];
static _Atomic size_t hashed;

static int hash_text(const void *key, uint64_t *hash, void *user)
{
	(void)user;
	hashed++;
	if (strcmp(key, "refused") == 0)
		return -EDOM;
	*hash = 5381;
	for (const char *p = key; *p != 0; p++)
		*hash = *hash * 33 + (unsigned char)*p;
	return 0;
}

static int equal_text(const void *a, const void *b, void *user)
{
	(void)user;
	return strcmp(a, b) == 0;
}

/* n keys of a kind, all different. */
static void make_keys(enum weakref_key_kind kind)
{
	for (size_t i = 0; i < MOST; i++) {
		size_t length = lengths[i % LENGTHS];
		memset(texts[i], 'a' + (int)(i % 26), length);
		int digits = snprintf(NULL, 0, "%zu", i);
		char number[24];
		snprintf(number, sizeof number, "%zu", i);
		memcpy(texts[i], number, (size_t)digits);
		texts[i][length] = 0;
		bytes[i] = (weakref_bytes){.data = texts[i], .size = length};
		switch (kind) {
		case WEAKREF_KEY_BYTES:
			keys[i] = &bytes[i];
			break;
		case WEAKREF_KEY_INT:
			keys[i] = WEAKREF_INT((intptr_t)i - 5);
			break;
		default:
			keys[i] = texts[i];
			break;
		}
	}
}

static weakref_valuedict *dict_of(enum weakref_key_kind kind)
{
	weakref_valuedict *dict = kind == WEAKREF_KEY_CUSTOM ? weakref_valuedict_new_custom(hash_text, equal_text, NULL)
							     : weakref_valuedict_new(kind);

	ck_assert_ptr_nonnull(dict);
	return dict;
}

/* Every third key has no value, every third one that a collection takes. */
static int fill(void *dict)
{
	for (size_t i = 0; i < MOST; i++) {
		if (i % 3 == 0)
			continue;
		struct support_node *node = support_node_new(i);
		SUPPORT_REQUIRE(node != NULL && weakref_valuedict_set(dict, keys[i], node) == 0);
		kept[i] = i % 3 == 1 ? node : NULL;
	}
	return 0;
}

/* Key by key is the same as all at once, however many. */
START_TEST(test_valuedict_get_all)
{
	enum weakref_key_kind kind = kinds[_i];
	weakref_valuedict *dict = dict_of(kind);

	memset(kept, 0, sizeof kept);
	make_keys(kind);
	ck_assert_int_eq(support_on_thread(fill, dict), 0);
	support_collect();
	for (size_t n = 0; n <= MOST; n = n < 40 ? n + 1 : n + 53) {
		long expected = 0;
		memset(values, 255, sizeof values);
		long found = weakref_valuedict_get_all(dict, keys, n, values);
		for (size_t i = 0; i < n; i++) {
			ck_assert_ptr_eq(values[i], weakref_valuedict_get(dict, keys[i]));
			ck_assert(i % 3 != 1 || values[i] == kept[i]);
			expected += values[i] != NULL;
		}
		ck_assert_int_eq(found, expected);
		ck_assert(n == MOST || values[n] == (void *)-1);
	}
	memset(kept, 0, sizeof kept);
	memset(values, 0, sizeof values);
}
END_TEST

START_TEST(test_valuedict_get_all_is_refused)
{
	weakref_valuedict *dict = dict_of(WEAKREF_KEY_STRING), *custom = dict_of(WEAKREF_KEY_CUSTOM);
	const void *bad[3] = {"one", NULL, "three"}, *refused[2] = {"one", "refused"};

	ck_assert_int_eq(weakref_valuedict_get_all(NULL, keys, 1, values), -EINVAL);
	ck_assert_int_eq(weakref_valuedict_get_all(dict, NULL, 1, values), -EINVAL);
	ck_assert_int_eq(weakref_valuedict_get_all(dict, keys, 1, NULL), -EINVAL);
	ck_assert_int_eq(weakref_valuedict_get_all(dict, NULL, 0, NULL), 0);
	void *one = support_node_new(1);
	ck_assert_int_eq(weakref_valuedict_set(dict, "one", one), 0);
	memset(values, 255, sizeof values);
	ck_assert_int_eq(weakref_valuedict_get_all(dict, bad, 3, values), -EINVAL);
	ck_assert_ptr_eq(values[0], one);
	ck_assert(values[1] == NULL && values[2] == NULL && values[3] != NULL);
	memset(values, 0, sizeof values);
	ck_assert_int_eq(weakref_valuedict_get_all(custom, refused, 2, values), -EDOM);
	ck_assert_int_eq(weakref_valuedict_get_all((void *)texts, keys, 1, values), -EINVAL);
}
END_TEST

/* A hash of the program's is asked once a key. */
START_TEST(test_hash_is_asked_once)
{
	weakref_valuedict *dict = dict_of(WEAKREF_KEY_CUSTOM);
	struct support_node *node = support_node_new(1);

	make_keys(WEAKREF_KEY_CUSTOM);
	for (size_t i = 0; i < MOST; i += 2)
		ck_assert_int_eq(weakref_valuedict_set(dict, keys[i], node), 0);
	hashed = 0;
	ck_assert_int_eq(weakref_valuedict_get_all(dict, keys, MOST, values), MOST / 2);
	ck_assert_uint_eq(hashed, MOST);
	SUPPORT_KEEP(node);
	memset(values, 0, sizeof values);
}
END_TEST

/* All pairs are there afterwards, the last of those with the same key. */
START_TEST(test_update_pairs)
{
	enum weakref_key_kind kind = kinds[_i];
	weakref_valuedict *dict = dict_of(kind);
	weakref_pair *pairs = gc_alloc((MOST + 1) * sizeof *pairs);

	make_keys(kind);
	for (size_t i = 0; i < MOST; i++)
		pairs[i] = (weakref_pair){.key = keys[i], .value = support_node_new(i)};
	pairs[MOST] = (weakref_pair){.key = keys[MOST - 3], .value = pairs[0].value};
	ck_assert_int_eq(weakref_valuedict_update_pairs(dict, pairs, MOST + 1), 0);
	ck_assert_uint_eq(weakref_valuedict_len(dict), MOST);
	for (size_t i = 0; i < MOST; i++)
		ck_assert_ptr_eq(weakref_valuedict_get(dict, keys[i]), pairs[i == MOST - 3 ? 0 : i].value);
	SUPPORT_KEEP(pairs);
}
END_TEST

/* ---- weak keys ---- */

static weakref_keydict *keydict;

static int use_keydict(void *arg)
{
	void *nodes[SUPPORT_N];
	weakref_pair pairs[SUPPORT_N];

	(void)arg;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		nodes[i] = support_node_new(i);
		pairs[i] = (weakref_pair){.key = nodes[i], .value = (void *)(i + 1)};
	}
	SUPPORT_REQUIRE(weakref_keydict_update_pairs(keydict, pairs, SUPPORT_N) == 0);
	SUPPORT_REQUIRE(weakref_keydict_get_all(keydict, (const void *const *)nodes, SUPPORT_N, values) == (long)SUPPORT_N);
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(values[i] == (void *)(i + 1));
	return 0;
}

/* With the keys gone nothing keeps the entries: nor does what was left on the stack. */
START_TEST(test_keydict)
{
	void *other = support_node_new(1);
	const void *some[3] = {other, NULL, other};

	keydict = weakref_keydict_new(_i == 0 ? WEAKREF_BY_IDENTITY : WEAKREF_BY_EQUALITY);
	ck_assert_ptr_nonnull(keydict);
	ck_assert_int_eq(support_in_frame(use_keydict, NULL), 0);
	support_collect();
	ck_assert_uint_le(weakref_keydict_len(keydict), SUPPORT_SLACK);
	ck_assert_int_eq(weakref_keydict_set(keydict, other, (void *)7), 0);
	ck_assert_int_eq(weakref_keydict_get_all(keydict, some, 1, values), 1);
	ck_assert_ptr_eq(values[0], (void *)7);
	ck_assert_int_eq(weakref_keydict_get_all(keydict, some, 3, values), -EINVAL);
	ck_assert_int_eq(weakref_keydict_get_all(keydict, NULL, 1, values), -EINVAL);
	ck_assert_int_eq(weakref_keydict_get_all(keydict, some, 1, NULL), -EINVAL);
	ck_assert_int_eq(weakref_keydict_get_all(NULL, some, 1, values), -EINVAL);
	ck_assert_int_eq(weakref_keydict_get_all(keydict, NULL, 0, NULL), 0);
	keydict = NULL;
}
END_TEST

/* ---- caches ---- */

START_TEST(test_cache_get_all_present)
{
	enum weakref_key_kind kind = kinds[_i];
	weakref_cache_builder *b = kind == WEAKREF_KEY_CUSTOM ? weakref_cache_builder_new_custom(hash_text, equal_text, NULL)
							      : weakref_cache_builder_new(kind);
	weakref_cache_stats stats;

	ck_assert_int_eq(weakref_cache_builder_spec(b, "recordStats,maximumSize=1000"), 0);
	weakref_cache *cache = weakref_cache_builder_build(b);
	ck_assert_ptr_nonnull(cache);
	make_keys(kind);
	for (size_t i = 0; i < MOST; i++)
		if (i % 3 != 0)
			ck_assert_int_eq(weakref_cache_put(cache, keys[i], texts[i]), 0);
	hashed = 0;
	long found = weakref_cache_get_all_present(cache, keys, MOST, values);
	ck_assert(kind != WEAKREF_KEY_CUSTOM || hashed == MOST);
	for (size_t i = 0; i < MOST; i++)
		ck_assert_ptr_eq(values[i], i % 3 != 0 ? texts[i] : NULL);
	ck_assert_int_eq(found, MOST - (MOST + 2) / 3);
	weakref_cache_get_stats(cache, &stats);
	ck_assert_uint_eq(stats.hits, (uint64_t)found);
	ck_assert_uint_eq(stats.misses, MOST - (uint64_t)found);
	ck_assert_int_eq(weakref_cache_get_all_present(cache, NULL, 1, values), -EINVAL);
	ck_assert_int_eq(weakref_cache_get_all_present(cache, keys, 1, NULL), -EINVAL);
	ck_assert_int_eq(weakref_cache_get_all_present(cache, NULL, 0, NULL), 0);
	memset(values, 0, sizeof values);
}
END_TEST

/* ---- beside a writer ---- */

static weakref_valuedict *shared;
static atomic_bool over;

static int write_on(void *nodes)
{
	for (size_t i = 0; !over; i = (i + 7) % MOST) {
		int error = i % 2 == 0 ? weakref_valuedict_delete(shared, keys[i]) : weakref_valuedict_set(shared, keys[i], ((void **)nodes)[i]);
		SUPPORT_REQUIRE(error == 0 || error == -ENOENT);
		error = weakref_valuedict_set(shared, keys[i], ((void **)nodes)[i]);
		SUPPORT_REQUIRE(error == 0);
	}
	return 0;
}

static int read_on(void *nodes)
{
	void **got = gc_alloc(MOST * sizeof *got);

	for (size_t round = support_scaled(2000, 20); round > 0; round--) {
		long found = weakref_valuedict_get_all(shared, keys, MOST, got), there = 0;
		for (size_t i = 0; i < MOST; i++) {
			SUPPORT_REQUIRE(got[i] == ((void **)nodes)[i] || (got[i] == NULL && i % 2 == 0));
			there += got[i] != NULL;
		}
		SUPPORT_REQUIRE(found == there);
	}
	return 0;
}

struct role {
	support_fn fn;
	void *nodes;
};

static int act(void *role)
{
	int failed = ((struct role *)role)->fn(((struct role *)role)->nodes);

	over = true;
	return failed;
}

START_TEST(test_beside_a_writer)
{
	void **nodes = gc_alloc(MOST * sizeof *nodes);
	struct role roles[2] = {{write_on, nodes}, {read_on, nodes}};

	make_keys(WEAKREF_KEY_STRING);
	shared = dict_of(WEAKREF_KEY_STRING);
	for (size_t i = 0; i < MOST; i++) {
		nodes[i] = support_node_new(i);
		ck_assert_int_eq(weakref_valuedict_set(shared, keys[i], nodes[i]), 0);
	}
	over = false;
	ck_assert_uint_eq(support_threads(2, act, roles, sizeof roles[0]), 0);
	shared = NULL;
	SUPPORT_KEEP(nodes);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("many");
	TCase *t = support_tcase("many");

	tcase_add_loop_test(t, test_valuedict_get_all, 0, KINDS);
	tcase_add_test(t, test_valuedict_get_all_is_refused);
	tcase_add_test(t, test_hash_is_asked_once);
	tcase_add_loop_test(t, test_update_pairs, 0, KINDS);
	tcase_add_loop_test(t, test_keydict, 0, 2);
	tcase_add_loop_test(t, test_cache_get_all_present, 0, KINDS);
	tcase_add_test(t, test_beside_a_writer);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

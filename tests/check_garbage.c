/* SPDX-License-Identifier: MIT */
/*
 * check_garbage: what user code sees that runs because of a collection: deep structures, cycles, references into the same garbage; and that
 * nothing that it sees depends on when collections come.
 */
#include "support.h"

#include <string.h>

#include "weakref/checks.h"
#include "weakref/ephemeron.h"
#include "weakref/finalize.h"
#include "weakref/keydict.h"
#include "weakref/method.h"
#include "weakref/proxy.h"
#include "weakref/set.h"
#include "weakref/valuedict.h"

static _Atomic unsigned destroyed, broken, asked, told;

static void counters_clear(void)
{
	destroyed = broken = asked = told = 0;
}

/* ---- deep nesting -------------------------------------------------------------------------------------------------------- */

/* Every seventeenth destructor collects. */
static int node_destroy(void *obj)
{
	struct support_node *node = obj;

	broken += !support_node_intact(node) || (node->next != NULL && !support_node_intact(node->next));
	if (++destroyed % 17 == 0 && gc_collect() < 0)
		broken++;
	return 0;
}

static const gc_type kinds[3] = {
	{.name = "a", .size = sizeof(struct support_node), .destroy = node_destroy},
	{.name = "b", .size = sizeof(struct support_node) + 200, .destroy = node_destroy},
	{.name = "c", .size = sizeof(struct support_node) + 3000, .destroy = node_destroy},
};

static struct support_node *node_of(const gc_type *type, uint64_t id)
{
	struct support_node *node = gc_new(type), *like = support_node_new(id);

	if (node == NULL || like == NULL)
		return NULL;
	node->id = id;
	node->signature = like->signature;
	return node;
}

#define LEVELS 150

static int make_nested(void *unused)
{
	(void)unused;
	for (int kind = 0; kind < 3; kind++) {
		struct support_node *inner = NULL;
		for (uint64_t level = 0; level < LEVELS; level++) {
			struct support_node *node = node_of(&kinds[kind], level);
			SUPPORT_REQUIRE(node != NULL);
			node->next = inner;
			inner = node;
		}
	}
	return 0;
}

/* G30: 150 levels of three kinds of objects whose destructors collect now and then: all run, each once, and find the next level intact. */
START_TEST(test_G30_nested_destructors_collect)
{
	counters_clear();
	ck_assert_int_eq(support_on_thread(make_nested, NULL), 0);
	support_collect();
	ck_assert_uint_ge(destroyed, 2 * LEVELS);
	ck_assert_uint_le(destroyed, 3 * LEVELS);
	ck_assert_uint_eq(broken, 0);
}
END_TEST

static int make_rings(void *unused)
{
	struct support_node *nodes[64];
	uint64_t state = support_seed();

	(void)unused;
	for (size_t i = 0; i < 64; i++) {
		nodes[i] = node_of(&kinds[support_random(&state) % 3], i);
		SUPPORT_REQUIRE(nodes[i] != NULL);
	}
	for (size_t i = 63; i > 0; i--) {
		size_t j = support_random(&state) % (i + 1);
		struct support_node *node = nodes[i];
		nodes[i] = nodes[j];
		nodes[j] = node;
	}
	for (size_t i = 0; i < 64; i++) {
		nodes[i]->next = nodes[(i + 1) % 64];
		nodes[i]->other = nodes[support_random(&state) % 64];
	}
	return 0;
}

/* G34: rings of objects with destructors, made in any order and linked in any other: each destructor finds its neighbours intact. */
START_TEST(test_G34_cycles_in_any_order)
{
	counters_clear();
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(support_on_thread(make_rings, NULL), 0);
	support_collect();
	/* A stale word keeps a ring as a whole. */
	ck_assert_uint_ge(destroyed, 6 * 64);
	ck_assert_uint_eq(broken, 0);
}
END_TEST

/* ---- what the collector does not call -------------------------------------------------------------------------------------- */

static int ask_getattr(void *obj, const char *name, void **value)
{
	(void)name;
	asked++;
	((struct support_node *)obj)->next = NULL;
	*value = NULL;
	return 0;
}

static int ask_hash(void *obj, uint64_t *out)
{
	asked++;
	*out = ((struct support_node *)obj)->id;
	return 0;
}

static int ask_equal(void *a, void *b)
{
	asked++;
	return a == b;
}

static int ask_repr(void *obj, char *buf, size_t size)
{
	(void)obj;
	asked++;
	return snprintf(buf, size, "asked");
}

static const gc_type asking_type = {
	.name = "asking",
	.size = sizeof(struct support_node),
	.getattr = ask_getattr,
	.hash = ask_hash,
	.equal = ask_equal,
	.repr = ask_repr,
};

static int make_asking(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i += 2) {
		struct support_node *a = gc_new(&asking_type), *b = gc_new(&asking_type);
		SUPPORT_REQUIRE(a != NULL && b != NULL);
		a->next = b;
		b->next = a;
		refs[i] = weakref_ref_new(a, NULL, NULL);
		refs[i + 1] = weakref_ref_new(b, NULL, NULL);
		SUPPORT_REQUIRE(refs[i] != NULL && refs[i + 1] != NULL);
	}
	return 0;
}

/* G31: cycles that an attribute's reading would break: collecting them calls no code of the user's. */
START_TEST(test_G31_no_user_code)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);

	counters_clear();
	ck_assert_int_eq(support_on_thread(make_asking, refs), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - 2 * SUPPORT_SLACK);
	ck_assert_uint_eq(asked, 0);
	SUPPORT_KEEP(refs);
}
END_TEST

/* ---- references into the same garbage -------------------------------------------------------------------------------------- */

/* Reads a plain reference to what died in the same collection. */
static int read_other(weakref_ref *ref, void *data)
{
	void *other = weakref_ref_get(data);

	told++;
	broken += weakref_ref_get(ref) != NULL || (other != NULL && !support_node_intact(other));
	asked += other == NULL;
	return 0;
}

struct old {
	weakref_ref *refs[SUPPORT_N];
	struct support_node **first;
	struct support_node **second;
};

static int make_old(void *arg)
{
	struct old *old = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		old->first[i] = support_node_new(i);
		old->second[i] = support_node_new(i);
		SUPPORT_REQUIRE(old->first[i] != NULL && old->second[i] != NULL);
		weakref_ref *plain = weakref_ref_new(old->second[i], NULL, NULL);
		SUPPORT_REQUIRE(plain != NULL);
		old->refs[i] = weakref_ref_new(old->first[i], read_other, plain);
		SUPPORT_REQUIRE(old->refs[i] != NULL);
	}
	return 0;
}

/* G32: the callback of an old reference reads a plain one to what died with its referent: it is NULL, never half an object. */
START_TEST(test_G32_callback_reads_fresh_garbage)
{
	struct old *old = gc_alloc(sizeof *old);

	counters_clear();
	old->first = gc_alloc(SUPPORT_N * sizeof *old->first);
	old->second = gc_alloc(SUPPORT_N * sizeof *old->second);
	ck_assert_int_eq(support_on_thread(make_old, old), 0);
	support_collect();
	ck_assert_uint_eq(told, 0);
	memset(old->first, 0, SUPPORT_N * sizeof *old->first);
	memset(old->second, 0, SUPPORT_N * sizeof *old->second);
	support_collect();
	ck_assert_uint_ge(told, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(asked + SUPPORT_SLACK, told);
	ck_assert_uint_eq(broken, 0);
	SUPPORT_KEEP(old);
}
END_TEST

static int tell(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	told++;
	return 0;
}

/* An object behind memory that the collector does not look into, and beside it, in what holds that memory, a reference to it. */
static int make_opaque(void *arg)
{
	weakref_ref **outside = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *holder = support_node_new(i), *hidden = support_node_new(i);
		void **opaque = gc_alloc_leaf(sizeof *opaque);
		SUPPORT_REQUIRE(holder != NULL && hidden != NULL && opaque != NULL);
		*opaque = hidden;
		holder->other = opaque;
		holder->next = (void *)weakref_ref_new(hidden, tell, NULL);
		outside[i] = weakref_ref_new(hidden, NULL, NULL);
		SUPPORT_REQUIRE(holder->next != NULL && outside[i] != NULL);
		SUPPORT_KEEP(hidden);
		SUPPORT_KEEP(holder);
	}
	return 0;
}

/* G35: what is held by such memory alone is dead, its references are cleared; the callback that is in the same garbage is not called. */
START_TEST(test_G35_behind_opaque_memory)
{
	SUPPORT_SKIP_UNLESS(support_collect_every() == 0, "a stale word keeps the one a little longer than the other");
	weakref_ref **outside = gc_alloc(SUPPORT_N * sizeof *outside);

	counters_clear();
	ck_assert_int_eq(support_on_thread(make_opaque, outside), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(outside, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_le(told, SUPPORT_SLACK);
	SUPPORT_KEEP(outside);
}
END_TEST

/* ---- collections at every Nth call ---------------------------------------------------------------------------------------- */

/* A little of everything, of which one half is held. */
struct all {
	struct support_node *kept[SUPPORT_N];
	weakref_ref *refs[SUPPORT_N], *proxies[SUPPORT_N];
	weakref_method *methods[SUPPORT_N];
	weakref_ephemeron *ephemerons[SUPPORT_N];
	weakref_valuedict *values;
	weakref_keydict *keys;
	weakref_set *set;
	unsigned odd[SUPPORT_N];
};

static _Atomic unsigned called[2], finalized[2]; /* of the dropped, of the kept */

static int all_callback(weakref_ref *ref, void *data)
{
	broken += weakref_ref_get(ref) != NULL;
	called[*(unsigned *)data]++;
	return 0;
}

static int all_finalizer(void *data)
{
	finalized[*(unsigned *)data]++;
	return 0;
}

static int all_method(void *obj, void *closure, size_t argc, void **argv, void **result)
{
	(void)closure;
	(void)argc;
	(void)argv;
	*result = obj;
	return 0;
}

static int make_all(void *arg)
{
	struct all *all = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *node = support_node_new(i);
		struct support_node *value = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL && value != NULL);
		value->other = node;
		all->odd[i] = i % 2 == 0;
		all->refs[i] = weakref_ref_new(node, all_callback, &all->odd[i]);
		all->proxies[i] = weakref_proxy_new(node, NULL, NULL);
		all->methods[i] = weakref_method_new(node, all_method, NULL, NULL, NULL);
		all->ephemerons[i] = weakref_ephemeron_new(node, value);
		SUPPORT_REQUIRE(all->refs[i] != NULL && all->proxies[i] != NULL && all->methods[i] != NULL && all->ephemerons[i] != NULL);
		SUPPORT_REQUIRE(weakref_finalize_new(node, all_finalizer, &all->odd[i]) != NULL);
		SUPPORT_REQUIRE(weakref_valuedict_set(all->values, WEAKREF_INT(i), node) == 0);
		SUPPORT_REQUIRE(weakref_keydict_set(all->keys, node, value) == 0);
		SUPPORT_REQUIRE(weakref_set_add(all->set, node) == 1);
		if (all->odd[i])
			all->kept[i] = node;
		SUPPORT_KEEP(value);
		SUPPORT_KEEP(node);
	}
	return 0;
}

/* Of the kept all, of the dropped none but a few. */
static bool half(size_t n)
{
	return n >= SUPPORT_N / 2 && n <= SUPPORT_N / 2 + SUPPORT_SLACK;
}

static int look_at_all(void *arg)
{
	struct all *all = arg;
	size_t refs = 0, proxies = 0, methods = 0, ephemerons = 0, values = 0, keys = 0, elements = 0;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *node = weakref_ref_get(all->refs[i]), *value;
		void *got = NULL;

		SUPPORT_REQUIRE(node == all->kept[i] || (node != NULL && all->kept[i] == NULL));
		if (node == NULL) {
			SUPPORT_REQUIRE(weakref_valuedict_get(all->values, WEAKREF_INT(i)) == NULL);
			SUPPORT_REQUIRE(weakref_ephemeron_value(all->ephemerons[i]) == NULL);
			SUPPORT_REQUIRE(weakref_method_call(all->methods[i], 0, NULL, &got) == -ESTALE);
			SUPPORT_REQUIRE(weakref_getweakrefcount(all->proxies[i]) == 0);
			continue;
		}
		SUPPORT_REQUIRE(support_node_intact(node) && weakref_getweakrefcount(node) == 3);
		refs++;
		proxies += weakref_ref_get(all->proxies[i]) == node;
		methods += weakref_method_call(all->methods[i], 0, NULL, &got) == 0 && got == node;
		value = weakref_ephemeron_value(all->ephemerons[i]);
		ephemerons += support_node_intact(value) && value->other == node;
		values += weakref_valuedict_get(all->values, WEAKREF_INT(i)) == node;
		value = weakref_keydict_get(all->keys, node);
		keys += support_node_intact(value) && value->id == i;
		elements += weakref_set_contains(all->set, node) == 1;
	}
	SUPPORT_REQUIRE(half(refs) && proxies == refs && methods == refs && ephemerons == refs && values == refs && keys == refs);
	SUPPORT_REQUIRE(elements == refs && weakref_valuedict_len(all->values) == refs && weakref_keydict_len(all->keys) == refs);
	SUPPORT_REQUIRE(weakref_set_len(all->set) == refs && called[0] == SUPPORT_N - refs && finalized[0] == SUPPORT_N - refs);
	SUPPORT_REQUIRE(called[1] == 0 && finalized[1] == 0 && broken == 0);
	return 0;
}

/* G42: with a collection at every call, at every second, third and seventh one, what can be seen is the same as with none but those that
 * are asked for. (The whole suite runs so as well: WEAKREF_COLLECT_EVERY.) */
START_TEST(test_G42_collections_at_every_nth_call)
{
	static const unsigned long every[] = {0, 1, 2, 3, 7};
	struct all *all = gc_alloc(sizeof *all);

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	counters_clear();
	memset((void *)called, 0, sizeof called);
	memset((void *)finalized, 0, sizeof finalized);
	all->values = weakref_valuedict_new(WEAKREF_KEY_INT);
	all->keys = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	all->set = weakref_set_new(WEAKREF_BY_IDENTITY);
	long before = weakref_checks_collect_every(every[_i]);
	ck_assert_int_ge(before, 0);
	int made = support_on_thread(make_all, all);
	support_collect();
	int looked = support_on_thread(look_at_all, all);
	weakref_checks_collect_every((unsigned long)before);
	ck_assert_int_eq(made, 0);
	ck_assert_int_eq(looked, 0);
	SUPPORT_KEEP(all);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("garbage");
	TCase *tcase = support_tcase("garbage");

	tcase_add_test(tcase, test_G30_nested_destructors_collect);
	tcase_add_test(tcase, test_G34_cycles_in_any_order);
	tcase_add_test(tcase, test_G31_no_user_code);
	tcase_add_test(tcase, test_G32_callback_reads_fresh_garbage);
	tcase_add_test(tcase, test_G35_behind_opaque_memory);
	tcase_add_loop_test(tcase, test_G42_collections_at_every_nth_call, 0, 5);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

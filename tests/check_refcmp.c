/* SPDX-License-Identifier: MIT */
/*
 * check_refcmp: references compared, hashed, pointed elsewhere and moved; references to fields. The rest of weakref/ref.h is in check_ref.
 */
#include "support.h"

#include <errno.h>
#include <string.h>

#include "weakref/checks.h"
#include "weakref/proxy.h"

/* ---- an object that is equal by its number ------------------------------------------------------------------------------- */

struct num {
	uint64_t n;
	struct {
		uint64_t first, second;
	} field;
};

#define NUM_FAILS UINT64_C(0xbad)

static unsigned hashed;

static int num_hash(void *obj, uint64_t *out)
{
	hashed++;
	*out = ((struct num *)obj)->n * 7;
	return ((struct num *)obj)->n == NUM_FAILS ? -EDOM : 0;
}

static int num_equal(void *a, void *b)
{
	if (((struct num *)a)->n == NUM_FAILS)
		return -EDOM;
	return gc_type_of(a) == gc_type_of(b) && ((struct num *)a)->n == ((struct num *)b)->n;
}

static const gc_type num_type = {.name = "num", .size = sizeof(struct num), .hash = num_hash, .equal = num_equal};

static struct num *num_new(uint64_t n)
{
	struct num *num = gc_new(&num_type);

	if (num != NULL)
		num->n = n;
	return num;
}

static int no_callback(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	return 0;
}

/* Referents of all sorts: an object with a hash of its own, one without, a field of each, a foreign block, the middle of one. */
enum { SORT_NUM, SORT_NODE, SORT_NUM_FIELD, SORT_NODE_FIELD, SORT_FOREIGN, SORT_FOREIGN_MIDDLE, SORTS };

static void *sort_new(int sort, uint64_t n)
{
	struct num *num = num_new(n);
	struct support_node *node = support_node_new(n);
	char *block = gc_alloc(100);

	switch (sort) {
	case SORT_NUM: return num;
	case SORT_NODE: return node;
	case SORT_NUM_FIELD: return &num->field.second;
	case SORT_NODE_FIELD: return &node->other;
	case SORT_FOREIGN: return block;
	default: return block + 40;
	}
}

/* Of each sort plain, with callback and payload, and long. */
enum { MAKE_PLAIN, MAKE_FULL, MAKE_LONG, MAKES };

static weakref_ref *make_ref(void *obj, int make)
{
	if (make == MAKE_PLAIN)
		return weakref_ref_new(obj, NULL, NULL);
	if (make == MAKE_FULL)
		return weakref_ref_new(obj, no_callback, NULL);
	return weakref_ref_new_with(obj, &(weakref_ref_options){.is_long = true});
}

struct batch {
	int sort, make;
	bool hash;
	weakref_ref *refs[SUPPORT_N];
	uint64_t hashes[SUPPORT_N];
	weakref_ref *others[SUPPORT_N]; /* of the same objects */
};

static int make_batch(void *arg)
{
	struct batch *b = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *obj = sort_new(b->sort, i + 1);
		SUPPORT_REQUIRE(obj != NULL);
		b->refs[i] = make_ref(obj, b->make);
		b->others[i] = weakref_ref_new(obj, no_callback, NULL);
		SUPPORT_REQUIRE(b->refs[i] != NULL && b->others[i] != NULL);
		if (b->hash)
			SUPPORT_REQUIRE(weakref_ref_hash(b->refs[i], &b->hashes[i]) == 0);
		SUPPORT_REQUIRE(weakref_ref_get(b->refs[i]) == obj && weakref_ref_get(b->others[i]) == obj);
		SUPPORT_REQUIRE(weakref_getweakrefcount(obj) == 2);
		SUPPORT_KEEP(obj);
	}
	return 0;
}

static struct batch *dead_batch(int sort, int make, bool hash)
{
	struct batch *b = gc_alloc(sizeof *b);

	*b = (struct batch){.sort = sort, .make = make, .hash = hash};
	ck_assert_int_eq(support_on_thread(make_batch, b), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(b->refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	return b;
}

/* ---- equality ------------------------------------------------------------------------------------------------------------ */

/* C33: references to two objects are equal when the objects are, and not when they are not. */
START_TEST(test_C33_equal_by_referents)
{
	struct num *a = num_new(5), *b = num_new(5), *c = num_new(6);
	weakref_ref *to_a = make_ref(a, _i), *to_b = weakref_ref_new(b, NULL, NULL), *to_c = weakref_ref_new(c, NULL, NULL);

	ck_assert_int_eq(weakref_ref_equal(to_a, to_b), 1);
	ck_assert_int_eq(weakref_ref_equal(to_b, to_a), 1);
	ck_assert_int_eq(weakref_ref_equal(to_a, to_c), 0);
	ck_assert_int_eq(weakref_ref_equal(to_a, to_a), 1);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
	SUPPORT_KEEP(c);
}
END_TEST

/* C33: dead references are equal to themselves alone, and a live one is not equal to a dead one. */
START_TEST(test_C33_dead_by_identity)
{
	struct batch *b = dead_batch(SORT_NUM, MAKE_PLAIN, true);
	struct num *live = num_new(1);
	weakref_ref *to_live = weakref_ref_new(live, NULL, NULL);

	for (size_t i = 0; i < SUPPORT_N; i++) {
		if (weakref_ref_get(b->refs[i]) != NULL)
			continue;
		ck_assert_int_eq(weakref_ref_equal(b->refs[i], b->refs[i]), 1);
		ck_assert_int_eq(weakref_ref_equal(b->refs[i], b->others[i]), 0);
		ck_assert_int_eq(weakref_ref_equal(b->refs[i], to_live), 0);
	}
	SUPPORT_KEEP(live);
}
END_TEST

/* C34: a reference is never equal to its referent, nor to what is no reference: a proxy, a static, memory from elsewhere. */
START_TEST(test_C34_not_equal_to_the_referent)
{
	struct num *num = num_new(5);
	weakref_ref *ref = weakref_ref_new(num, NULL, NULL);
	weakref_ref *proxy = weakref_proxy_new(num, NULL, NULL);

	ck_assert_int_eq(weakref_ref_equal(ref, num), 0);
	ck_assert_int_eq(weakref_ref_equal(num, ref), 0);
	ck_assert_int_eq(weakref_ref_equal(ref, proxy), 0);
	ck_assert_int_eq(weakref_ref_equal(ref, &num_type), 0);
	ck_assert_int_eq(weakref_ref_equal(ref, gc_alloc(64)), 0);
	ck_assert_int_eq(weakref_ref_equal(ref, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_ref_equal(NULL, ref), -WEAKREF_EINVAL);
	SUPPORT_KEEP(num);
}
END_TEST

/* C33: an error of the type's equality is the answer. */
START_TEST(test_C33_error_of_equal)
{
	struct num *bad = num_new(NUM_FAILS), *num = num_new(1);

	ck_assert_int_eq(weakref_ref_equal(weakref_ref_new(bad, NULL, NULL), weakref_ref_new(num, NULL, NULL)), -EDOM);
	SUPPORT_KEEP(bad);
	SUPPORT_KEEP(num);
}
END_TEST

/* C38: references have no order, alive or dead. */
START_TEST(test_C38_no_order)
{
	struct num *num = num_new(5);
	weakref_ref *ref = weakref_ref_new(num, NULL, NULL);
	int order = 0;

	ck_assert_int_eq(gc_compare(ref, ref, &order), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(weakref_ref_clear(ref), 0);
	ck_assert_int_eq(gc_compare(ref, ref, &order), -WEAKREF_ENOTSUP);
	SUPPORT_KEEP(num);
}
END_TEST

/* ---- hash ---------------------------------------------------------------------------------------------------------------- */

/* C36: the hash of a live reference is its referent's, asked for once; the reference reads and counts as before. */
START_TEST(test_C36_hash_of_the_referent)
{
	void *obj = sort_new(_i / MAKES, 9);
	weakref_ref *ref = make_ref(obj, _i % MAKES);
	uint64_t of_obj = 0, first = 0, second = 1;

	ck_assert_int_eq(gc_hash(obj, &of_obj), 0);
	hashed = 0;
	ck_assert_int_eq(weakref_ref_hash(ref, &first), 0);
	ck_assert_int_eq(weakref_ref_hash(ref, &second), 0);
	ck_assert_uint_le(hashed, 1);
	ck_assert_uint_eq(first, of_obj);
	ck_assert_uint_eq(second, of_obj);
	support_collect();
	ck_assert_ptr_eq(weakref_ref_get(ref), obj);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 1);
	ck_assert_int_eq(weakref_ref_clear(ref), 0);
	ck_assert_uint_eq(weakref_getweakrefcount(obj), 0);
	ck_assert_int_eq(weakref_ref_hash(ref, &second), 0);
	ck_assert_uint_eq(second, of_obj);
	SUPPORT_KEEP(obj);
}
END_TEST

/* C36: what was hashed keeps its hash beyond the death of a referent of any sort; what was not says that it is dead. */
START_TEST(test_C36_hash_outlives)
{
	struct batch *b = dead_batch(_i / MAKES, _i % MAKES, true), *never = dead_batch(_i / MAKES, _i % MAKES, false);
	uint64_t hash;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_int_eq(weakref_ref_hash(b->refs[i], &hash), 0);
		ck_assert_uint_eq(hash, b->hashes[i]);
		if (_i / MAKES == SORT_NUM)
			ck_assert_uint_eq(hash, (i + 1) * 7);
		if (weakref_ref_get(never->refs[i]) == NULL)
			ck_assert_int_eq(weakref_ref_hash(never->refs[i], &hash), -WEAKREF_ESTALE);
	}
	SUPPORT_KEEP(b);
	SUPPORT_KEEP(never);
}
END_TEST

/* C36: a hash that fails is passed on and not kept; a proxy has none. */
START_TEST(test_C36_no_hash)
{
	struct num *num = num_new(NUM_FAILS);
	weakref_ref *ref = weakref_ref_new(num, NULL, NULL);
	uint64_t hash = 0;

	ck_assert_int_eq(weakref_ref_hash(ref, &hash), -EDOM);
	num->n = 4;
	ck_assert_int_eq(weakref_ref_hash(ref, &hash), 0);
	ck_assert_uint_eq(hash, 28);
	ck_assert_int_eq(weakref_ref_hash(weakref_proxy_new(num, NULL, NULL), &hash), -WEAKREF_ENOTSUP);
	ck_assert_int_eq(weakref_ref_hash(NULL, &hash), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_ref_hash(ref, NULL), -WEAKREF_EINVAL);
	SUPPORT_KEEP(num);
}
END_TEST

static struct holder *volatile nest;

struct holder {
	weakref_ref *ref;
	struct num *num;
	uint64_t hash;
};

static int holder_rise(void *obj)
{
	nest = obj;
	return 0;
}

static const gc_type holder_type = {.name = "holder", .size = sizeof(struct holder), .destroy = holder_rise};

static int make_holder(void *arg)
{
	struct holder *holder = gc_new(&holder_type);
	struct num *num = *(struct num **)arg;

	SUPPORT_REQUIRE(holder != NULL);
	holder->ref = weakref_ref_new(num, no_callback, NULL);
	SUPPORT_REQUIRE(holder->ref != NULL && weakref_ref_hash(holder->ref, &holder->hash) == 0);
	return 0;
}

/* C36: a hashed reference that died with its holder and was revived by the holder's destructor is as it was. */
START_TEST(test_hash_of_a_revived_reference)
{
	struct num *num = num_new(3);
	uint64_t hash = 0;

	nest = NULL;
	for (int i = 0; i < 8 && nest == NULL; i++) {
		ck_assert_int_eq(support_on_thread(make_holder, &num), 0);
		support_collect();
	}
	ck_assert_ptr_nonnull(nest);
	ck_assert_ptr_eq(weakref_ref_get(nest->ref), num);
	ck_assert_int_eq(weakref_ref_hash(nest->ref, &hash), 0);
	ck_assert_uint_eq(hash, 21);
	ck_assert_uint_ge(weakref_getweakrefcount(num), 1);
	ck_assert_int_eq(weakref_ref_clear(nest->ref), 0);
	ck_assert_int_eq(weakref_ref_hash(nest->ref, &hash), 0);
	ck_assert_uint_eq(hash, 21);
	nest = NULL;
	SUPPORT_KEEP(num);
}
END_TEST

/* ---- another referent ---------------------------------------------------------------------------------------------------- */

struct moving {
	int from, to;
	weakref_ref *refs[SUPPORT_N];
	void *second[SUPPORT_N];
	uint64_t hash;
};

static unsigned called;

static int count_call(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	called++;
	return 0;
}

static int make_moving(void *arg)
{
	struct moving *m = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *first = sort_new(m->from, i);
		SUPPORT_REQUIRE(first != NULL);
		m->refs[i] = weakref_ref_new(first, count_call, NULL);
		m->second[i] = sort_new(m->to, i + 1000);
		SUPPORT_REQUIRE(m->refs[i] != NULL && m->second[i] != NULL);
		SUPPORT_REQUIRE(weakref_ref_hash(m->refs[i], &m->hash) == 0);
		SUPPORT_REQUIRE(weakref_ref_retarget(m->refs[i], m->second[i]) == 0);
		SUPPORT_REQUIRE(weakref_ref_get(m->refs[i]) == m->second[i]);
		SUPPORT_REQUIRE(weakref_getweakrefcount(first) == 0 && weakref_getweakrefcount(m->second[i]) == 1);
		SUPPORT_KEEP(first);
	}
	return 0;
}

/* C69: a reference pointed at a second object follows that one alone: the first one's death does nothing, the second one's tells. */
START_TEST(test_C69_retarget)
{
	struct moving *m = gc_alloc(sizeof *m);
	uint64_t hash, of_second;

	*m = (struct moving){.from = _i / SORTS, .to = _i % SORTS};
	called = 0;
	ck_assert_int_eq(support_on_thread(make_moving, m), 0);
	support_collect();
	ck_assert_uint_eq(called, 0);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_ptr_eq(weakref_ref_get(m->refs[i]), m->second[i]);
		ck_assert_int_eq(weakref_ref_hash(m->refs[i], &hash), 0);
		ck_assert_int_eq(gc_hash(m->second[i], &of_second), 0);
		ck_assert_uint_eq(hash, of_second);
	}
	support_scrub();
	memset(m->second, 0, sizeof m->second);
	support_collect();
	ck_assert_uint_ge(called, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(called, support_dead(m->refs, SUPPORT_N));
	SUPPORT_KEEP(m);
}
END_TEST

/* C69: a shared handle cannot be pointed elsewhere, nor a dead reference, nor any to what is not on the heap; nothing changes then. */
START_TEST(test_C69_retarget_refused)
{
	struct num *a = num_new(1), *b = num_new(2);
	weakref_ref *shared = weakref_ref_new(a, NULL, NULL), *own = weakref_ref_new(a, no_callback, NULL);
	int on_stack = 0;

	ck_assert_int_eq(weakref_ref_retarget(shared, b), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_ref_retarget(own, &on_stack), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_ref_retarget(own, NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(weakref_ref_retarget(NULL, b), -WEAKREF_EINVAL);
	ck_assert_ptr_eq(weakref_ref_get(shared), a);
	ck_assert_ptr_eq(weakref_ref_get(own), a);
	ck_assert_int_eq(weakref_ref_clear(own), 0);
	ck_assert_int_eq(weakref_ref_retarget(own, b), -WEAKREF_ESTALE);
	ck_assert_ptr_null(weakref_ref_get(own));
	ck_assert_uint_eq(weakref_getweakrefcount(b), 0);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
}
END_TEST

/* C69: without memory for the side table nothing changes. Each failing allocation in turn. */
START_TEST(test_C69_retarget_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	enum { MANY = 1000 };
	struct num *num = num_new(1);
	weakref_ref **refs = gc_alloc(MANY * sizeof *refs);
	unsigned failed = 0;

	for (size_t i = 0; i < MANY; i++) {
		void *block = gc_alloc(32);
		refs[i] = weakref_ref_new(num, no_callback, block);
		ck_assert_ptr_nonnull(refs[i]);
		weakref_checks_fail_allocation(1);
		int result = weakref_ref_retarget(refs[i], block);
		weakref_checks_fail_allocation(0);
		ck_assert(result == 0 || result == -WEAKREF_ENOMEM);
		ck_assert_ptr_eq(weakref_ref_get(refs[i]), result == 0 ? block : (void *)num);
		if (result != 0)
			ck_assert_int_eq(weakref_ref_retarget(refs[i], block), 0);
		failed += result != 0;
	}
	ck_assert_uint_gt(failed, 0);
	SUPPORT_KEEP(num);
	SUPPORT_KEEP(refs);
}
END_TEST

/* C70: a handle is moved by copying the pointer: whichever place holds it, it reads its object, and dropped from all it is gone. */
START_TEST(test_C70_moving_a_handle)
{
	weakref_ref **places = gc_alloc(4 * sizeof *places);
	struct num *num = num_new(1);

	places[0] = weakref_ref_new(num, no_callback, NULL);
	for (int i = 0; i < 3; i++) {
		places[i + 1] = places[i];
		places[i] = NULL;
		support_collect();
		ck_assert_ptr_eq(weakref_ref_get(places[i + 1]), num);
		ck_assert_uint_eq(weakref_getweakrefcount(num), 1);
	}
	places[3] = places[3];
	ck_assert_ptr_eq(weakref_ref_get(places[3]), num);
	SUPPORT_KEEP(num);
	SUPPORT_KEEP(places);
}
END_TEST

static int make_fields(void *arg)
{
	struct batch *b = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct num *num = num_new(i);
		SUPPORT_REQUIRE(num != NULL);
		b->refs[i] = weakref_ref_new(&num->field.first, NULL, NULL);
		b->others[i] = weakref_ref_new(&num->field.second, NULL, NULL);
		SUPPORT_REQUIRE(b->refs[i] != NULL && b->others[i] != NULL && b->refs[i] != b->others[i]);
		SUPPORT_REQUIRE((char *)weakref_ref_get(b->others[i]) - (char *)weakref_ref_get(b->refs[i]) == 8);
		SUPPORT_REQUIRE(weakref_ref_equal(b->refs[i], b->others[i]) == 0);
		SUPPORT_KEEP(num);
	}
	return 0;
}

/* A reference to a field reads the field, keeps a handle of its own, and dies with the whole object. */
START_TEST(test_fields)
{
	struct batch *b = gc_alloc(sizeof *b);
	struct num *num = num_new(1);
	weakref_ref *ref = weakref_ref_new(&num->field.second, NULL, NULL);

	ck_assert_int_eq(support_on_thread(make_fields, b), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(b->refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(support_dead(b->others, SUPPORT_N), support_dead(b->refs, SUPPORT_N));
	ck_assert_ptr_eq(weakref_ref_get(ref), &num->field.second);
	ck_assert_ptr_eq(weakref_ref_new(&num->field.second, NULL, NULL), ref);
	SUPPORT_KEEP(num);
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("refcmp");
	TCase *compare = support_tcase("comparing"), *hash = support_tcase("hashing"), *move = support_tcase("other referents");

	tcase_add_loop_test(compare, test_C33_equal_by_referents, 0, MAKES);
	tcase_add_test(compare, test_C33_dead_by_identity);
	tcase_add_test(compare, test_C34_not_equal_to_the_referent);
	tcase_add_test(compare, test_C33_error_of_equal);
	tcase_add_test(compare, test_C38_no_order);
	suite_add_tcase(suite, compare);

	tcase_add_loop_test(hash, test_C36_hash_of_the_referent, 0, SORTS * MAKES);
	tcase_add_loop_test(hash, test_C36_hash_outlives, 0, SORTS * MAKES);
	tcase_add_test(hash, test_C36_no_hash);
	tcase_add_test(hash, test_hash_of_a_revived_reference);
	suite_add_tcase(suite, hash);

	tcase_add_loop_test(move, test_C69_retarget, 0, SORTS * SORTS);
	tcase_add_test(move, test_C69_retarget_refused);
	tcase_add_test(move, test_C69_retarget_without_memory);
	tcase_add_test(move, test_C70_moving_a_handle);
	tcase_add_test(move, test_fields);
	suite_add_tcase(suite, move);
	return suite;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_object: weakref/object.h: making objects, generic operations on objects, proxies and foreign blocks, destructors; and
 * all of it with arguments that are wrong.
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/ephemeron.h"
#include "weakref/finalize.h"
#include "weakref/keydict.h"
#include "weakref/proxy.h"
#include "weakref/set.h"
#include "weakref/valuedict.h"

/* ---- types --------------------------------------------------------------------------------------------------------------- */

#define BAG_SIZE 4

/* A container with every slot filled. */
struct bag {
	uint64_t id;
	size_t n;
	void *items[BAG_SIZE];
	void *x; /* its one attribute */
};

#define BAG_FAILS UINT64_C(0xbad)

static int bag_repr(void *obj, char *buf, size_t size)
{
	struct bag *bag = obj;

	return bag->id == BAG_FAILS ? -EDOM : snprintf(buf, size, "bag %llu", (unsigned long long)bag->id);
}

static int bag_hash(void *obj, uint64_t *out)
{
	struct bag *bag = obj;

	*out = bag->id * 3;
	return bag->id == BAG_FAILS ? -EDOM : 0;
}

static int bag_equal(void *a, void *b)
{
	struct bag *bag = a, *other = b;

	return bag->id == BAG_FAILS ? -EDOM : bag->id == other->id;
}

static int bag_getattr(void *obj, const char *name, void **value)
{
	struct bag *bag = obj;

	if (strcmp(name, "x") != 0)
		return -WEAKREF_ENOENT;
	*value = bag->x;
	return 0;
}

static int bag_setattr(void *obj, const char *name, void *value)
{
	struct bag *bag = obj;

	if (strcmp(name, "x") != 0)
		return -WEAKREF_ENOENT;
	bag->x = value;
	return 0;
}

static int bag_delattr(void *obj, const char *name)
{
	return bag_setattr(obj, name, NULL);
}

/* Returns its last argument; without arguments it fails, as a call with the wrong arity does. */
static int bag_call(void *obj, size_t argc, void **argv, void **result)
{
	(void)obj;
	if (argc == 0)
		return -E2BIG;
	*result = argv[argc - 1];
	return 0;
}

static int bag_len(void *obj, size_t *out)
{
	struct bag *bag = obj;

	*out = bag->n;
	return bag->id == BAG_FAILS ? -EDOM : 0;
}

static int bag_iterate(void *obj, gc_visit_fn visit, void *user)
{
	struct bag *bag = obj;

	for (size_t i = 0; i < bag->n; i++) {
		int r = visit(bag->items[i], user);

		if (r != 0)
			return r;
	}
	return 0;
}

static const gc_type bag_type = {
	.name = "bag",
	.size = sizeof(struct bag),
	.repr = bag_repr,
	.hash = bag_hash,
	.equal = bag_equal,
	.getattr = bag_getattr,
	.setattr = bag_setattr,
	.delattr = bag_delattr,
	.call = bag_call,
	.len = bag_len,
	.iterate = bag_iterate,
};

static int truth_of_id(void *obj)
{
	struct bag *bag = obj;

	return bag->id == BAG_FAILS ? -EDOM : bag->id != 0;
}

/* Its truth is its own word, although it has a length. */
static const gc_type sayer_type = {.name = "sayer", .size = sizeof(struct bag), .len = bag_len, .truth = truth_of_id};

static const gc_type leaf_type = {.name = "leaf", .size = sizeof(uintptr_t) * 4, .flags = WEAKREF_TYPE_LEAF};
static const gc_type empty_type = {.name = "empty"};
static const gc_type nameless_type = {.size = 8};

static struct bag *bag_new(uint64_t id)
{
	struct bag *bag = gc_new(&bag_type);

	ck_assert_ptr_nonnull(bag);
	bag->id = id;
	return bag;
}

static int make_dead_proxy(void *arg)
{
	weakref_ref **out = arg;
	struct bag *bag = gc_new(&bag_type);

	SUPPORT_REQUIRE(bag != NULL);
	*out = weakref_proxy_new(bag, NULL, NULL);
	SUPPORT_REQUIRE(*out != NULL);
	SUPPORT_KEEP(bag);
	return 0;
}

/* A proxy whose object is gone. */
static weakref_ref *dead_proxy(void)
{
	weakref_ref *proxy = NULL;

	ck_assert_int_eq(support_on_thread(make_dead_proxy, &proxy), 0);
	support_collect();
	ck_assert_ptr_null(weakref_ref_get(proxy));
	return proxy;
}

/* ---- making -------------------------------------------------------------------------------------------------------------- */

static bool is_zero(const void *p, size_t n)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < n; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

static const size_t sizes[] = {0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 100, 255, 256, 1000, 2030, 2047, 2048, 2049, 4079, 4080, 4096, 5000,
			       65536, 1000001};

#define SIZES ((int)(sizeof(sizes) / sizeof(sizes[0])))

/* An object of any size: a zeroed payload, aligned to 16 bytes, of the type that it was made with; it may be written to its
 * end. */
START_TEST(test_new_zeroed_aligned_typed)
{
	size_t size = sizes[_i];

	for (unsigned flags = 0; flags <= WEAKREF_TYPE_LEAF; flags++) {
		gc_type *type = GC_MALLOC(sizeof(*type));

		*type = (gc_type){.name = "sized", .size = size, .flags = flags};
		for (size_t k = 0; k < SUPPORT_N; k++) {
			unsigned char *p = gc_new(type);

			ck_assert_ptr_nonnull(p);
			ck_assert_uint_eq((uintptr_t)p % 16, 0);
			ck_assert(is_zero(p, size));
			ck_assert_ptr_eq(gc_type_of(p), type);
			memset(p, 0xa5, size);
			ck_assert_ptr_eq(gc_type_of(p), type);
			SUPPORT_KEEP(p);
		}
		SUPPORT_KEEP(type);
	}
}
END_TEST

/* gc_new_extra adds zeroed bytes at the end; a whole payload may be written and read back, and neighbours stay whole. */
START_TEST(test_new_extra)
{
	size_t extra = sizes[_i];
	unsigned char **all = GC_MALLOC(8 * sizeof(*all));
	size_t size = support_node_type.size + extra;

	for (unsigned k = 0; k < 8; k++) {
		all[k] = gc_new_extra(&support_node_type, extra);
		ck_assert_ptr_nonnull(all[k]);
		ck_assert(is_zero(all[k], size));
		memset(all[k], (int)(k + 1), size);
	}
	for (unsigned k = 0; k < 8; k++) {
		ck_assert_uint_eq(all[k][0], k + 1);
		ck_assert_mem_eq(all[k], all[k] + 1, size - 1);
		ck_assert_ptr_eq(gc_type_of(all[k]), &support_node_type);
	}
	SUPPORT_KEEP(all);
}
END_TEST

/* Objects without payload have an identity: all addresses differ, and each is an object. */
START_TEST(test_size_zero_has_identity)
{
	void **all = GC_MALLOC(256 * sizeof(*all));

	for (int i = 0; i < 256; i++) {
		all[i] = gc_new(&empty_type);
		ck_assert_ptr_nonnull(all[i]);
		ck_assert_ptr_eq(gc_type_of(all[i]), &empty_type);
		ck_assert_ptr_nonnull(GC_base(all[i]));
		for (int k = 0; k < i; k++)
			ck_assert_ptr_ne(all[k], all[i]);
	}
	SUPPORT_KEEP(all);
}
END_TEST

/* No type, and sums that overflow: EINVAL. */
START_TEST(test_new_einval)
{
	static const size_t absurd[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16, SIZE_MAX - 17, SIZE_MAX - sizeof(struct support_node)};

	errno = 0;
	ck_assert_ptr_null(gc_new(NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(gc_new_extra(NULL, 16));
	ck_assert_int_eq(errno, EINVAL);
	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
		gc_type type = {.name = "absurd", .size = absurd[i]};

		errno = 0;
		ck_assert_ptr_null(gc_new(&type));
		ck_assert_int_eq(errno, EINVAL);
		errno = 0;
		ck_assert_ptr_null(gc_new_extra(&support_node_type, absurd[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
}
END_TEST

/* A size that no machine has gives ENOMEM or EINVAL, NULL in any case, and the library goes on. */
START_TEST(test_new_enomem)
{
	static const size_t large[] = {(size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX, PTRDIFF_MAX - 64, (size_t)1 << 62, (size_t)1 << 50};

	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
		gc_type type = {.name = "large", .size = large[i]};

		errno = 0;
		ck_assert_ptr_null(gc_new(&type));
		ck_assert_msg(errno == ENOMEM || errno == EINVAL, "gc_new(%zu): errno %d", large[i], errno);
		errno = 0;
		ck_assert_ptr_null(gc_new_extra(&support_node_type, large[i]));
		ck_assert_msg(errno == ENOMEM || errno == EINVAL, "gc_new_extra(%zu): errno %d", large[i], errno);
	}
	ck_assert_ptr_nonnull(support_node_new(1));
}
END_TEST

/* gc_alloc: zeroed, writable, each block its own, size 0 included. gc_alloc_leaf: writable, each its own. */
START_TEST(test_alloc)
{
	size_t size = sizes[_i];
	void *a = gc_alloc(size), *b = gc_alloc(size), *c = gc_alloc_leaf(size), *d = gc_alloc_leaf(size);

	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_nonnull(b);
	ck_assert_ptr_nonnull(c);
	ck_assert_ptr_nonnull(d);
	ck_assert(is_zero(a, size));
	memset(a, 1, size);
	memset(b, 2, size);
	memset(c, 3, size);
	memset(d, 4, size);
	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_ne(c, d);
	if (size > 0) {
		ck_assert_int_eq(*(unsigned char *)a, 1);
		ck_assert_int_eq(((unsigned char *)b)[size - 1], 2);
		ck_assert_int_eq(((unsigned char *)c)[size - 1], 3);
	}
	ck_assert_ptr_eq(GC_base(a), a);
	ck_assert_ptr_eq(GC_base(c), c);
	ck_assert_ptr_null(gc_type_of(a));
	ck_assert_ptr_null(gc_type_of(c));
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
	SUPPORT_KEEP(c);
	SUPPORT_KEEP(d);
}
END_TEST

/* More than PTRDIFF_MAX bytes: EINVAL. What is below and cannot be had: ENOMEM. */
START_TEST(test_alloc_absurd)
{
	static const size_t absurd[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 4096};

	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
		errno = 0;
		ck_assert_ptr_null(gc_alloc(absurd[i]));
		ck_assert_int_eq(errno, EINVAL);
		errno = 0;
		ck_assert_ptr_null(gc_alloc_leaf(absurd[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
	errno = 0;
	ck_assert_ptr_null(gc_alloc((size_t)1 << 52));
	ck_assert_int_eq(errno, ENOMEM);
	errno = 0;
	ck_assert_ptr_null(gc_alloc_leaf((size_t)1 << 52));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

/* ---- what keeps what ----------------------------------------------------------------------------------------------------- */

struct holders {
	void **holders;
	weakref_ref **refs;
	void *(*make)(void);
};

static void *make_scanned(void)
{
	return gc_new(&support_node_type);
}

static void *make_leaf(void)
{
	return gc_new(&leaf_type);
}

static void *make_alloc(void)
{
	return gc_alloc(4 * sizeof(void *));
}

static void *make_alloc_leaf(void)
{
	return gc_alloc_leaf(4 * sizeof(void *));
}

/* Each holder gets the only pointer to a node in its last word. */
static int make_holders(void *arg)
{
	struct holders *h = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct support_node *node = support_node_new(i);

		SUPPORT_REQUIRE(node != NULL);
		h->holders[i] = h->make();
		SUPPORT_REQUIRE(h->holders[i] != NULL);
		((void *volatile *)h->holders[i])[3] = node;
		h->refs[i] = weakref_ref_new(node, NULL, NULL);
		SUPPORT_REQUIRE(h->refs[i] != NULL);
	}
	return 0;
}

static void holders(struct holders *h, void *(*make)(void))
{
	h->holders = GC_MALLOC(SUPPORT_N * sizeof(void *));
	h->refs = GC_MALLOC(SUPPORT_N * sizeof(void *));
	h->make = make;
	ck_assert_int_eq(support_on_thread(make_holders, h), 0);
	support_collect();
}

/* The payload of an object and of gc_alloc keeps alive what it points to. */
START_TEST(test_scanned_payload_keeps)
{
	struct holders h;

	holders(&h, _i == 0 ? make_scanned : make_alloc);
	ck_assert_uint_eq(support_dead(h.refs, SUPPORT_N), 0);
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert(support_node_intact(weakref_ref_get(h.refs[i])));
	SUPPORT_KEEP(h.holders);
}
END_TEST

/* The payload of a leaf object and of gc_alloc_leaf keeps nothing alive. */
START_TEST(test_leaf_payload_does_not_keep)
{
	struct holders h;

	holders(&h, _i == 0 ? make_leaf : make_alloc_leaf);
	ck_assert_uint_ge(support_dead(h.refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(h.holders);
}
END_TEST

static int make_typed(void *arg)
{
	void **out = arg;
	gc_type *type = GC_MALLOC(sizeof(*type));

	*type = bag_type;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		gc_type *own = GC_MALLOC(sizeof(*own));

		*own = *type;
		out[i] = gc_new(own);
		SUPPORT_REQUIRE(out[i] != NULL);
		((struct bag *)out[i])->id = i;
	}
	return 0;
}

/* A type in a collected block is kept alive by its objects. */
START_TEST(test_collected_type_lives)
{
	void **bags = GC_MALLOC(SUPPORT_N * sizeof(*bags));
	char text[32], expected[32];

	ck_assert_int_eq(support_on_thread(make_typed, bags), 0);
	support_collect();
	support_churn(1, 4 << 20);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		const gc_type *type = gc_type_of(bags[i]);

		ck_assert_ptr_nonnull(type);
		ck_assert_str_eq(type->name, "bag");
		ck_assert_int_gt(gc_repr(bags[i], text, sizeof(text)), 0);
		snprintf(expected, sizeof(expected), "bag %zu", i);
		ck_assert_str_eq(text, expected);
	}
	SUPPORT_KEEP(bags);
}
END_TEST

/* ---- wrong addresses ----------------------------------------------------------------------------------------------------- */

static int a_static;

/* Addresses that are no object: 0 NULL, 1 static, 2 stack, 3 malloc, 4 code, 5 the last page, 6 address 1; the rest is on
 * the heap. */
enum { NOT_HEAP = 7, ON_HEAP = 12 };

static void *wrong_address(int i, void *local)
{
	static void *from_malloc;
	char *bytes;

	if (from_malloc == NULL)
		from_malloc = malloc(64);
	switch (i) {
	case 0: return NULL;
	case 1: return &a_static;
	case 2: return local;
	case 3: return from_malloc;
	case 4: return (void *)(uintptr_t)wrong_address;
	case 5: return (void *)(UINTPTR_MAX - 15);
	case 6: return (void *)1;
	case 7: return GC_MALLOC(40);
	case 8: return GC_MALLOC_ATOMIC(40);
	case 9: return GC_MALLOC_UNCOLLECTABLE(40);
	case 10: bytes = gc_new(&bag_type); return bytes + 8;
	default: return weakref_ref_new(gc_new(&bag_type), NULL, NULL);
	}
}

/* gc_type_of answers NULL for everything that is not the address of an object: off the heap, foreign, interior, a reference. */
START_TEST(test_type_of_stranger)
{
	int local;

	ck_assert_ptr_null(gc_type_of(wrong_address(_i, &local)));
}
END_TEST

/* One past the end of an object is not that object; the bytes around a payload are none either. */
START_TEST(test_type_of_neighbourhood)
{
	for (size_t k = 0; k < SUPPORT_N; k++) {
		char *p = gc_new(&support_node_type);

		ck_assert_ptr_eq(gc_type_of(p), &support_node_type);
		for (size_t i = 1; i < sizeof(struct support_node); i++)
			ck_assert_msg(gc_type_of(p + i) == NULL, "an interior pointer, %zu bytes in, was taken for an object", i);
		for (size_t i = 1; i <= 16; i++)
			ck_assert_msg(gc_type_of(p - i) == NULL, "%zu bytes before the payload were taken for an object", i);
		SUPPORT_KEEP(p);
	}
}
END_TEST

static int never(void *item, void *user)
{
	(void)item;
	(void)user;
	return -EXDEV;
}

/* Off the heap, every generic operation answers EINVAL. */
START_TEST(test_generic_off_heap)
{
	int local;
	void *p = wrong_address(_i, &local), *value = NULL, *good = bag_new(1);
	char text[64];
	uint64_t hash;
	size_t len;

	ck_assert_int_eq(gc_repr(p, text, sizeof(text)), -EINVAL);
	ck_assert_int_eq(gc_hash(p, &hash), -EINVAL);
	ck_assert_int_eq(gc_equal(p, good), -EINVAL);
	ck_assert_int_eq(gc_equal(good, p), -EINVAL);
	ck_assert_int_eq(gc_getattr(p, "x", &value), -EINVAL);
	ck_assert_int_eq(gc_setattr(p, "x", good), -EINVAL);
	ck_assert_int_eq(gc_delattr(p, "x"), -EINVAL);
	ck_assert_int_eq(gc_call(p, 0, NULL, &value), -EINVAL);
	ck_assert_int_eq(gc_len(p, &len), -EINVAL);
	ck_assert_int_eq(gc_truth(p), -EINVAL);
	ck_assert_int_eq(gc_iterate(p, never, NULL), -EINVAL);
	ck_assert_ptr_null(value);
}
END_TEST

/* On a heap block that is no object, an operation that needs a slot is refused: EINVAL or ENOTSUP. */
START_TEST(test_generic_not_object)
{
	int local;
	void *p = wrong_address(_i, &local), *value = NULL;
	size_t len;
	int r[6] = {gc_getattr(p, "x", &value), gc_setattr(p, "x", p), gc_delattr(p, "x"), gc_call(p, 0, NULL, &value), gc_len(p, &len),
		    gc_iterate(p, never, NULL)};

	for (size_t i = 0; i < 6; i++)
		ck_assert_msg(r[i] == -EINVAL || r[i] == -ENOTSUP, "operation %zu on a block that is no object: %d", i, r[i]);
	ck_assert_ptr_null(value);
}
END_TEST

/* A missing place for the result, name, visitor or argument list: EINVAL. */
START_TEST(test_generic_null_arguments)
{
	struct bag *bag = bag_new(1);
	void *value;

	ck_assert_int_eq(gc_repr(bag, NULL, 8), -EINVAL);
	ck_assert_int_eq(gc_hash(bag, NULL), -EINVAL);
	ck_assert_int_eq(gc_equal(bag, NULL), -EINVAL);
	ck_assert_int_eq(gc_equal(NULL, bag), -EINVAL);
	ck_assert_int_eq(gc_equal(NULL, NULL), -EINVAL);
	ck_assert_int_eq(gc_getattr(bag, NULL, &value), -EINVAL);
	ck_assert_int_eq(gc_getattr(bag, "x", NULL), -EINVAL);
	ck_assert_int_eq(gc_setattr(bag, NULL, bag), -EINVAL);
	ck_assert_int_eq(gc_delattr(bag, NULL), -EINVAL);
	ck_assert_int_eq(gc_call(bag, 2, NULL, &value), -EINVAL);
	ck_assert_int_eq(gc_len(bag, NULL), -EINVAL);
	ck_assert_int_eq(gc_iterate(bag, NULL, NULL), -EINVAL);
}
END_TEST

/* ---- generic operations -------------------------------------------------------------------------------------------------- */

/* The default repr is `<name at 0x…>`; without a name `<object at 0x…>`; of a foreign block `<block at 0x…>`. */
START_TEST(test_repr_default)
{
	void *things[3] = {support_node_new(1), gc_new(&nameless_type), GC_MALLOC(40)};
	static const char *const names[3] = {"node", "object", "block"};
	char text[64], expected[64];

	for (int i = 0; i < 3; i++) {
		int n = snprintf(expected, sizeof(expected), "<%s at %p>", names[i], things[i]);

		ck_assert_int_eq(gc_repr(things[i], text, sizeof(text)), n);
		ck_assert_str_eq(text, expected);
	}
	SUPPORT_KEEP(things);
}
END_TEST

/* The text is cut to fit and ends in NUL, the whole length is returned, nothing is written beyond; without a buffer too. */
START_TEST(test_repr_cut)
{
	void *things[3] = {support_node_new(1), bag_new(123456), gc_alloc(8)};
	char whole[64], text[64];

	for (int i = 0; i < 3; i++) {
		int n = gc_repr(things[i], whole, sizeof(whole));

		ck_assert_int_gt(n, 0);
		ck_assert_int_eq(n, (int)strlen(whole));
		ck_assert_int_eq(gc_repr(things[i], NULL, 0), n);
		for (size_t size = 1; size <= (size_t)n + 1; size++) {
			memset(text, '#', sizeof(text));
			ck_assert_int_eq(gc_repr(things[i], text, size), n);
			ck_assert_uint_eq(strlen(text), size - 1);
			ck_assert_int_eq(strncmp(text, whole, size - 1), 0);
			ck_assert_int_eq(text[size], '#');
		}
	}
	SUPPORT_KEEP(things);
}
END_TEST

/* A slot's answer is the answer, its error too. */
START_TEST(test_slots_answer)
{
	struct bag *bag = bag_new(7), *twin = bag_new(7), *other = bag_new(8), *bad = bag_new(BAG_FAILS);
	void *argv[2] = {twin, other}, *value = NULL;
	char text[32];
	uint64_t hash;
	size_t len;

	ck_assert_int_eq(gc_repr(bag, text, sizeof(text)), 5);
	ck_assert_str_eq(text, "bag 7");
	ck_assert_int_eq(gc_repr(bad, text, sizeof(text)), -EDOM);
	ck_assert_int_eq(gc_hash(bag, &hash), 0);
	ck_assert_uint_eq(hash, 21);
	ck_assert_int_eq(gc_hash(bad, &hash), -EDOM);
	ck_assert_int_eq(gc_equal(bag, twin), 1);
	ck_assert_int_eq(gc_equal(bag, other), 0);
	ck_assert_int_eq(gc_equal(bad, other), -EDOM);
	ck_assert_int_eq(gc_setattr(bag, "x", other), 0);
	ck_assert_int_eq(gc_getattr(bag, "x", &value), 0);
	ck_assert_ptr_eq(value, other);
	ck_assert_int_eq(gc_delattr(bag, "x"), 0);
	ck_assert_int_eq(gc_getattr(bag, "x", &value), 0);
	ck_assert_ptr_null(value);
	ck_assert_int_eq(gc_getattr(bag, "y", &value), -ENOENT);
	ck_assert_int_eq(gc_setattr(bag, "y", other), -ENOENT);
	ck_assert_int_eq(gc_delattr(bag, "y"), -ENOENT);
	ck_assert_int_eq(gc_call(bag, 2, argv, &value), 0);
	ck_assert_ptr_eq(value, other);
	ck_assert_int_eq(gc_call(bag, 1, argv, NULL), 0);
	ck_assert_int_eq(gc_call(bag, 0, NULL, &value), -E2BIG);
	ck_assert_int_eq(gc_len(bag, &len), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(gc_len(bad, &len), -EDOM);
}
END_TEST

/* Without slots: identity for hash and equality, true, and ENOTSUP for the rest. */
START_TEST(test_empty_slots)
{
	struct support_node *a = support_node_new(1), *b = support_node_new(1);
	uint64_t ha, ha_again, hb;
	void *value = a;
	size_t len;

	ck_assert_int_eq(gc_hash(a, &ha), 0);
	ck_assert_int_eq(gc_hash(a, &ha_again), 0);
	ck_assert_int_eq(gc_hash(b, &hb), 0);
	ck_assert_uint_eq(ha, ha_again);
	ck_assert_uint_ne(ha, hb);
	ck_assert_int_eq(gc_equal(a, a), 1);
	ck_assert_int_eq(gc_equal(a, b), 0);
	ck_assert_int_eq(gc_truth(a), 1);
	ck_assert_int_eq(gc_getattr(a, "x", &value), -ENOTSUP);
	ck_assert_int_eq(gc_setattr(a, "x", b), -ENOTSUP);
	ck_assert_int_eq(gc_delattr(a, "x"), -ENOTSUP);
	ck_assert_int_eq(gc_call(a, 0, NULL, &value), -ENOTSUP);
	ck_assert_int_eq(gc_len(a, &len), -ENOTSUP);
	ck_assert_int_eq(gc_iterate(a, never, NULL), -ENOTSUP);
}
END_TEST

/* Equality asks the first one's type, else the second's, else identity; foreign blocks are equal to themselves alone. */
START_TEST(test_equal_whose_type)
{
	struct bag *bag = bag_new(1);
	struct bag *likeness = gc_new_extra(&support_node_type, sizeof(struct bag));
	void *foreign = GC_MALLOC(sizeof(struct bag)), *other = GC_MALLOC(sizeof(struct bag));

	likeness->id = 1;
	ck_assert_int_eq(gc_equal(bag, likeness), 1);
	ck_assert_int_eq(gc_equal(likeness, bag), 1);
	likeness->id = 2;
	ck_assert_int_eq(gc_equal(likeness, bag), 0);
	ck_assert_int_eq(gc_equal(foreign, foreign), 1);
	ck_assert_int_eq(gc_equal(foreign, other), 0);
	SUPPORT_KEEP(foreign);
	SUPPORT_KEEP(other);
}
END_TEST

/* A foreign block hashes by its address: the same each time, and not all alike. */
START_TEST(test_hash_foreign)
{
	void **blocks = GC_MALLOC(SUPPORT_N * sizeof(*blocks));
	uint64_t first = 0, h, again;
	size_t same = 0;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		blocks[i] = GC_MALLOC(24);
		ck_assert_int_eq(gc_hash(blocks[i], &h), 0);
		ck_assert_int_eq(gc_hash(blocks[i], &again), 0);
		ck_assert_uint_eq(h, again);
		if (i == 0)
			first = h;
		same += h == first;
	}
	ck_assert_uint_eq(same, 1);
	SUPPORT_KEEP(blocks);
}
END_TEST

/* Truth: the type's own word, else a length other than 0, else true. Errors come through. */
START_TEST(test_truth)
{
	struct bag *bag = bag_new(1), *sayer = gc_new(&sayer_type), *bad = bag_new(BAG_FAILS);

	ck_assert_int_eq(gc_truth(bag), 0);
	bag->n = 2;
	ck_assert_int_eq(gc_truth(bag), 1);
	ck_assert_int_eq(gc_truth(bad), -EDOM);
	sayer->n = 5;
	ck_assert_int_eq(gc_truth(sayer), 0);
	sayer->id = 5;
	sayer->n = 0;
	ck_assert_int_eq(gc_truth(sayer), 1);
	sayer->id = BAG_FAILS;
	ck_assert_int_eq(gc_truth(sayer), -EDOM);
	ck_assert_int_eq(gc_truth(gc_new(&empty_type)), 1);
}
END_TEST

static int much(void *obj)
{
	(void)obj;
	return 0x40;
}

static int much_in(void *obj, void *item)
{
	(void)item;
	return much(obj);
}

/* In C a yes is any number but 0, as a slot that tests a flag gives it; what asks says 1, as PyObject_IsTrue does. */
START_TEST(test_any_yes_is_1)
{
	static const gc_type type = {.name = "yes", .equal = much_in, .truth = much, .contains = much_in};
	void *a = gc_new(&type), *b = gc_new(&type), *other = gc_new(&empty_type);

	ck_assert_int_eq(gc_truth(a), 1);
	ck_assert_int_eq(gc_contains(a, b), 1);
	ck_assert_int_eq(gc_equal(a, b), 1);
	ck_assert_int_eq(gc_equal(other, b), 1);
	ck_assert_int_eq(weakref_ref_equal(weakref_ref_new(a, NULL, NULL), weakref_ref_new(b, NULL, NULL)), 1);
	SUPPORT_KEEP(a);
	SUPPORT_KEEP(b);
}
END_TEST

struct seen {
	size_t n;
	void *items[BAG_SIZE];
	size_t stop_after;
	int with;
};

static int see(void *item, void *user)
{
	struct seen *seen = user;

	seen->items[seen->n++] = item;
	return seen->n == seen->stop_after ? seen->with : 0;
}

/* Iteration visits each item in order, stops at the first answer that is not 0, and returns that answer, negative or positive. */
START_TEST(test_iterate)
{
	struct bag *bag = bag_new(1);
	struct seen seen = {0};

	bag->n = BAG_SIZE;
	for (size_t i = 0; i < BAG_SIZE; i++)
		bag->items[i] = bag_new(i);
	ck_assert_int_eq(gc_iterate(bag, see, &seen), 0);
	ck_assert_uint_eq(seen.n, BAG_SIZE);
	for (size_t i = 0; i < BAG_SIZE; i++)
		ck_assert_ptr_eq(seen.items[i], bag->items[i]);
	seen = (struct seen){.stop_after = 2, .with = 42};
	ck_assert_int_eq(gc_iterate(bag, see, &seen), 42);
	ck_assert_uint_eq(seen.n, 2);
	seen = (struct seen){.stop_after = 1, .with = -EXDEV};
	ck_assert_int_eq(gc_iterate(bag, see, &seen), -EXDEV);
	ck_assert_uint_eq(seen.n, 1);
}
END_TEST

/* ---- proxies ------------------------------------------------------------------------------------------------------------- */

/* C46: a proxy forwards reading, writing and removing an attribute, both ways, while the object lives. */
START_TEST(test_C46_proxy_forwards_attributes)
{
	struct bag *bag = bag_new(1), *value = bag_new(2);
	weakref_ref *proxy = weakref_proxy_new(bag, NULL, NULL);
	void *read = NULL;

	ck_assert_int_eq(gc_setattr(proxy, "x", value), 0);
	ck_assert_ptr_eq(bag->x, value);
	ck_assert_int_eq(gc_setattr(bag, "x", bag), 0);
	ck_assert_int_eq(gc_getattr(proxy, "x", &read), 0);
	ck_assert_ptr_eq(read, bag);
	ck_assert_int_eq(gc_delattr(proxy, "x"), 0);
	ck_assert_ptr_null(bag->x);
	ck_assert_int_eq(gc_getattr(proxy, "nothing", &read), -ENOENT);
}
END_TEST

/* C47: every operation through a dead proxy answers ESTALE, the truth test included. */
START_TEST(test_C47_dead_proxy_is_stale)
{
	weakref_ref *proxy = dead_proxy();
	struct bag *bag = bag_new(1);
	void *value = NULL;
	char text[64];
	size_t len;

	ck_assert(weakref_is_proxy(proxy));
	ck_assert_int_eq(gc_repr(proxy, text, sizeof(text)), -ESTALE);
	ck_assert_int_eq(gc_equal(proxy, bag), -ESTALE);
	ck_assert_int_eq(gc_equal(bag, proxy), -ESTALE);
	ck_assert_int_eq(gc_getattr(proxy, "x", &value), -ESTALE);
	ck_assert_int_eq(gc_setattr(proxy, "x", bag), -ESTALE);
	ck_assert_int_eq(gc_delattr(proxy, "x"), -ESTALE);
	ck_assert_int_eq(gc_call(proxy, 0, NULL, &value), -ESTALE);
	ck_assert_int_eq(gc_len(proxy, &len), -ESTALE);
	ck_assert_int_eq(gc_truth(proxy), -ESTALE);
	ck_assert_int_eq(gc_iterate(proxy, never, NULL), -ESTALE);
	ck_assert_ptr_null(value);
}
END_TEST

/* C49, C50: truth, length, iteration, equality, call and repr of a proxy are those of its object. */
START_TEST(test_C50_proxy_forwards_operations)
{
	struct bag *bag = bag_new(7), *twin = bag_new(7);
	weakref_ref *proxy = weakref_proxy_new(bag, NULL, NULL);
	struct seen seen = {0};
	char text[32];
	size_t len = 9;

	ck_assert_int_eq(gc_truth(proxy), 0);
	bag->n = 2;
	bag->items[0] = twin;
	ck_assert_int_eq(gc_truth(proxy), 1);
	ck_assert_int_eq(gc_len(proxy, &len), 0);
	ck_assert_uint_eq(len, 2);
	ck_assert_int_eq(gc_iterate(proxy, see, &seen), 0);
	ck_assert_uint_eq(seen.n, 2);
	ck_assert_ptr_eq(seen.items[0], twin);
	ck_assert_int_eq(gc_equal(proxy, twin), 1);
	ck_assert_int_eq(gc_equal(twin, proxy), 1);
	ck_assert_int_eq(gc_equal(proxy, proxy), 1);
	ck_assert_int_gt(gc_repr(proxy, text, sizeof(text)), 0);
	ck_assert_str_eq(text, "bag 7");
}
END_TEST

/* C52: an operation that the object's type lacks answers ENOTSUP through the proxy too. */
START_TEST(test_C52_proxy_missing_operation)
{
	struct support_node *node = support_node_new(1);
	weakref_ref *proxy = weakref_proxy_new(node, NULL, NULL);
	size_t len;

	ck_assert_int_eq(gc_len(proxy, &len), -ENOTSUP);
	ck_assert_int_eq(gc_call(proxy, 0, NULL, NULL), -ENOTSUP);
	SUPPORT_KEEP(node);
}
END_TEST

/* C54: a proxy does not hash, though its object does; nor does a dead one. */
START_TEST(test_C54_proxy_does_not_hash)
{
	struct bag *bag = bag_new(1);
	weakref_ref *proxy = weakref_proxy_new(bag, NULL, NULL);
	uint64_t hash;

	ck_assert_int_eq(gc_hash(bag, &hash), 0);
	ck_assert_int_eq(gc_hash(proxy, &hash), -ENOTSUP);
	ck_assert_int_eq(gc_hash(dead_proxy(), &hash), -ENOTSUP);
	SUPPORT_KEEP(bag);
}
END_TEST

/* C55: a call through a proxy passes arguments and result; an error of the object's passes through. */
START_TEST(test_C55_proxy_call)
{
	struct bag *bag = bag_new(1);
	weakref_ref *proxy = weakref_proxy_new(bag, NULL, NULL);
	void *argv[3] = {NULL, proxy, bag}, *result = NULL;

	ck_assert_int_eq(gc_call(proxy, 3, argv, &result), 0);
	ck_assert_ptr_eq(result, bag);
	ck_assert_int_eq(gc_call(proxy, 0, NULL, &result), -E2BIG);
}
END_TEST

/* ---- destructors --------------------------------------------------------------------------------------------------------- */

#define RING 4

/* What a destructor of this file does to its object. */
enum act { ACT_NOTHING, ACT_RESURRECT, ACT_BREAK, ACT_ALLOCATE, ACT_COLLECT, ACT_FAIL };

struct mortal {
	uint64_t signature;
	uint64_t id;
	struct mortal *next;
	struct support_node *neighbour;
	weakref_ref *self; /* a short reference to the object itself */
	enum act act;
};

#define MORTAL_SIGNATURE UINT64_C(0x6d6f7274616c2121)
#define MORTALS (SUPPORT_N * RING)

static _Atomic unsigned destroyed[MORTALS];
static _Atomic unsigned wrong;
static void *graveyard[MORTALS];

static int mortal_destroy(void *obj)
{
	struct mortal *mortal = obj;

	if (mortal->signature != MORTAL_SIGNATURE || mortal->id >= MORTALS) {
		wrong++;
		return 0;
	}
	destroyed[mortal->id]++;
	if (mortal->neighbour != NULL && !support_node_intact(mortal->neighbour))
		wrong++;
	if (mortal->next != NULL && mortal->next->signature != MORTAL_SIGNATURE)
		wrong++;
	if (mortal->self != NULL && weakref_ref_get(mortal->self) != NULL)
		wrong++;
	switch (mortal->act) {
	case ACT_RESURRECT: graveyard[mortal->id] = mortal; return 0;
	case ACT_BREAK: mortal->next = NULL; return 0;
	case ACT_ALLOCATE: return support_node_new(1) != NULL ? 0 : -ENOMEM;
	case ACT_COLLECT: return gc_collect() >= 0 ? 0 : -EDOM;
	case ACT_FAIL: return -EDOM;
	default: return 0;
	}
}

static const gc_type mortal_type = {.name = "mortal", .size = sizeof(struct mortal), .destroy = mortal_destroy};

struct mortals {
	size_t n;
	size_t ring; /* objects 0..ring-1 are a cycle, and so on; 0 for none */
	enum act act;
	bool mixed; /* acts in turn, resurrecting none */
	bool with_self;
	weakref_ref **refs;
	weakref_ref **longs;
};

static int make_mortals(void *arg)
{
	struct mortals *m = arg;
	struct mortal **all = GC_MALLOC(m->n * sizeof(*all));

	for (size_t i = 0; i < m->n; i++) {
		const weakref_ref_options options = {.is_long = true};

		all[i] = gc_new(&mortal_type);
		SUPPORT_REQUIRE(all[i] != NULL);
		all[i]->signature = MORTAL_SIGNATURE;
		all[i]->id = i;
		all[i]->neighbour = support_node_new(i);
		all[i]->act = m->mixed ? (enum act)(i % 3 == 0 ? ACT_NOTHING : i % 3 == 1 ? ACT_BREAK : ACT_ALLOCATE) : m->act;
		SUPPORT_REQUIRE(all[i]->neighbour != NULL);
		if (m->with_self)
			SUPPORT_REQUIRE((all[i]->self = weakref_ref_new(all[i], NULL, NULL)) != NULL);
		if (m->refs != NULL)
			SUPPORT_REQUIRE((m->refs[i] = weakref_ref_new(all[i], NULL, NULL)) != NULL);
		if (m->longs != NULL)
			SUPPORT_REQUIRE((m->longs[i] = weakref_ref_new_with(all[i], &options)) != NULL);
	}
	for (size_t i = 0; m->ring > 0 && i < m->n; i++)
		all[i]->next = all[i % m->ring == m->ring - 1 ? i + 1 - m->ring : i + 1];
	SUPPORT_KEEP(all);
	return 0;
}

static void mortals_forget(void)
{
	memset(graveyard, 0, sizeof(graveyard));
	support_collect();
	for (size_t i = 0; i < MORTALS; i++)
		destroyed[i] = 0;
	wrong = 0;
}

static void mortals(struct mortals *m)
{
	m->n = MORTALS;
	m->refs = GC_MALLOC(m->n * sizeof(*m->refs));
	mortals_forget();
	ck_assert_int_eq(support_on_thread(make_mortals, m), 0);
	support_collect();
}

static size_t destroyed_exactly(unsigned times)
{
	size_t n = 0;

	for (size_t i = 0; i < MORTALS; i++)
		n += destroyed[i] == times;
	return n;
}

/* F19: a destructor runs once; the reference reads NULL afterwards; no second run at the next collections. */
START_TEST(test_F19_destructor_once)
{
	struct mortals m = {.act = ACT_NOTHING};

	mortals(&m);
	ck_assert_uint_ge(destroyed_exactly(1), MORTALS - SUPPORT_SLACK);
	for (size_t i = 0; i < MORTALS; i++)
		ck_assert_int_eq(destroyed[i] == 1, weakref_ref_get(m.refs[i]) == NULL);
	support_collect();
	ck_assert_uint_eq(destroyed_exactly(0) + destroyed_exactly(1), MORTALS);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

static struct {
	size_t n, called, finalized;
	weakref_ref *plain[SUPPORT_N], *callback[SUPPORT_N], *longer[SUPPORT_N], *proxy[SUPPORT_N];
	weakref_ephemeron *ephemeron[SUPPORT_N];
	weakref_finalize *finalize[SUPPORT_N];
	weakref_valuedict *dict;
	weakref_keydict *keys;
	weakref_set *set;
} *late;

static int count_late(weakref_ref *ref, void *unused)
{
	(void)unused;
	late->called += weakref_ref_get(ref) == NULL;
	return 0;
}

static int finalize_late(void *unused)
{
	(void)unused;
	late->finalized++;
	return 0;
}

static int watch_itself(void *obj)
{
	size_t i = late->n++;

	late->plain[i] = weakref_ref_new(obj, NULL, NULL);
	late->callback[i] = weakref_ref_new(obj, count_late, NULL);
	late->longer[i] = weakref_ref_new_with(obj, &(weakref_ref_options){.is_long = true});
	late->proxy[i] = weakref_proxy_new(obj, NULL, NULL);
	late->ephemeron[i] = weakref_ephemeron_new(obj, obj);
	late->finalize[i] = weakref_finalize_new(obj, finalize_late, NULL);
	if (weakref_ref_get(late->plain[i]) != obj || weakref_ref_get(late->longer[i]) != obj || weakref_getweakrefcount(obj) < 4 ||
	    !weakref_finalize_alive(late->finalize[i]))
		return -WEAKREF_EINVAL;
	if (weakref_valuedict_set(late->dict, WEAKREF_INT(i), obj) != 0 || weakref_keydict_set(late->keys, obj, obj) != 0 ||
	    weakref_set_add(late->set, obj) != 1)
		return -WEAKREF_EINVAL;
	return 0;
}

static int make_watching(void *unused)
{
	static const gc_type type = {.name = "watching", .size = 24, .destroy = watch_itself};

	(void)unused;
	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE(gc_new(&type) != NULL);
	return 0;
}

static void count_failed(const gc_unraisable *info, void *user)
{
	(void)info;
	++*(size_t *)user;
}

/* R30: what a destructor makes of its own object, which it does not bring back, works as ever, and dies with it: references of all sorts,
 * finalizers, entries. (CPython: test_ref_created_during_del.) */
START_TEST(test_made_by_its_own_destructor)
{
	static size_t failed;
	size_t dead = 0;

	failed = 0;
	late = gc_alloc(sizeof *late);
	late->dict = weakref_valuedict_new(WEAKREF_KEY_INT);
	late->keys = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	late->set = weakref_set_new(WEAKREF_BY_IDENTITY);
	gc_set_unraisable_handler(count_failed, &failed);
	ck_assert_int_eq(support_on_thread(make_watching, NULL), 0);
	support_collect();
	support_collect();
	gc_set_unraisable_handler(NULL, NULL);
	ck_assert_uint_eq(failed, 0);
	ck_assert_uint_ge(late->n, SUPPORT_N - SUPPORT_SLACK);
	size_t least = late->n - SUPPORT_SLACK;
	ck_assert_uint_ge(support_dead(late->plain, late->n), least);
	ck_assert_uint_ge(support_dead(late->longer, late->n), least);
	ck_assert_uint_ge(support_dead(late->proxy, late->n), least);
	ck_assert(late->called >= least && late->called == support_dead(late->callback, late->n));
	ck_assert(late->finalized >= least && late->finalized <= late->n);
	for (size_t i = 0; i < late->n; i++) {
		ck_assert(weakref_finalize_alive(late->finalize[i]) == !weakref_ephemeron_is_dead(late->ephemeron[i]));
		dead += weakref_ephemeron_is_dead(late->ephemeron[i]);
	}
	ck_assert_uint_ge(dead, least);
	ck_assert_uint_le(weakref_valuedict_len(late->dict), SUPPORT_SLACK);
	ck_assert_uint_le(weakref_keydict_len(late->keys), SUPPORT_SLACK);
	ck_assert_uint_le(weakref_set_len(late->set), SUPPORT_SLACK);
}
END_TEST

struct neighbour {
	struct support_node *other;
	weakref_ref *before;
};

static struct {
	size_t n, wrong;
	weakref_ref *refs[SUPPORT_N];
} *neighbours;

static int watch_neighbour(void *obj)
{
	struct neighbour *it = obj;
	weakref_ref *ref = weakref_ref_new(it->other, NULL, NULL);

	neighbours->wrong += ref == NULL || ref == it->before || weakref_ref_get(ref) != it->other || weakref_ref_get(it->before) != NULL;
	neighbours->refs[neighbours->n++] = ref;
	return 0;
}

static int make_neighbours(void *unused)
{
	static const gc_type type = {.name = "neighbour", .size = sizeof(struct neighbour), .destroy = watch_neighbour};

	(void)unused;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct neighbour *it = gc_new(&type);
		SUPPORT_REQUIRE(it != NULL && (it->other = support_node_new(i)) != NULL);
		it->other->other = it;
		SUPPORT_REQUIRE((it->before = weakref_ref_new(it->other, NULL, NULL)) != NULL);
	}
	return 0;
}

/* R30, R31: what a destructor makes of another object of its garbage, whose references it finds cleared, is a new reference, which reads the
 * object while that is there, and clears with it. (CPython: test_function_tp_clear_leaves_consistent_state.) */
START_TEST(test_made_of_a_neighbour)
{
	neighbours = gc_alloc(sizeof *neighbours);
	ck_assert_int_eq(support_on_thread(make_neighbours, NULL), 0);
	support_collect();
	ck_assert_uint_ge(neighbours->n, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_eq(neighbours->wrong, 0);
	support_collect();
	ck_assert_uint_ge(support_dead(neighbours->refs, neighbours->n), neighbours->n - SUPPORT_SLACK);
}
END_TEST

/* A destructor sees its payload and what that points to intact, and the short references to its object read NULL in it. */
START_TEST(test_destructor_sees_all_intact_refs_null)
{
	struct mortals m = {.act = ACT_NOTHING, .with_self = true, .ring = RING};

	mortals(&m);
	ck_assert_uint_ge(destroyed_exactly(1), MORTALS - SUPPORT_SLACK * RING);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* F20: a resurrecting destructor: the object survives whole, short references stay NULL, and its second death is silent. */
START_TEST(test_F20_resurrect_once)
{
	struct mortals m = {.act = ACT_RESURRECT};
	size_t alive = 0;

	mortals(&m);
	for (size_t i = 0; i < MORTALS; i++) {
		struct mortal *mortal = graveyard[i];

		if (mortal == NULL)
			continue;
		alive++;
		ck_assert_uint_eq(mortal->signature, MORTAL_SIGNATURE);
		ck_assert_uint_eq(mortal->id, i);
		ck_assert_ptr_eq(gc_type_of(mortal), &mortal_type);
		ck_assert_ptr_null(weakref_ref_get(m.refs[i]));
	}
	ck_assert_uint_ge(alive, MORTALS - SUPPORT_SLACK);
	memset(graveyard, 0, sizeof(graveyard));
	support_collect();
	ck_assert_uint_eq(destroyed_exactly(0) + destroyed_exactly(1), MORTALS);
	for (size_t i = 0; i < MORTALS; i++)
		ck_assert_ptr_null(destroyed[i] == 1 ? graveyard[i] : NULL);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

#define LIVES 3

static _Atomic size_t lived[SUPPORT_N];
static _Atomic size_t wrongly;
static void *phoenixes[SUPPORT_N];

/* Brings its object back, until it has died so often. */
static int rise_again(void *obj)
{
	uint64_t id = *(uint64_t *)obj;

	if (!gc_is_finalized(obj))
		wrongly++;
	if (++lived[id] < LIVES) {
		phoenixes[id] = obj;
		wrongly += gc_destroy_again(obj) != 1 || gc_destroy_again(obj) != 0 || gc_is_finalized(obj);
	}
	return 0;
}

static const gc_type phoenix_type = {.name = "phoenix", .size = 24, .flags = WEAKREF_TYPE_LEAF, .destroy = rise_again};

static int make_phoenixes(void *unused)
{
	(void)unused;
	for (uint64_t i = 0; i < SUPPORT_N; i++) {
		uint64_t *phoenix = gc_new(&phoenix_type);
		SUPPORT_REQUIRE(phoenix != NULL);
		*phoenix = i;
		SUPPORT_REQUIRE(gc_destroy_again(phoenix) == 0);
	}
	return 0;
}

/* F20: where it is asked for, in the destructor, that runs at each death of the object, and once at each; references that were made in
 * between are cleared by it. */
START_TEST(test_F20_destroyed_again)
{
	weakref_ref **refs = gc_alloc(SUPPORT_N * sizeof *refs);
	size_t through = 0;

	memset(lived, 0, sizeof lived);
	wrongly = 0;
	ck_assert_int_eq(support_on_thread(make_phoenixes, NULL), 0);
	for (size_t life = 1; life <= LIVES + 1; life++) {
		support_collect();
		size_t dead = support_dead(refs, SUPPORT_N), risen = 0;
		ck_assert(life == 1 || dead >= SUPPORT_N - SUPPORT_SLACK);
		for (size_t i = 0; i < SUPPORT_N; i++) {
			ck_assert_uint_le(lived[i], life < LIVES ? life : LIVES);
			risen += lived[i] >= (life < LIVES ? life : LIVES);
			refs[i] = phoenixes[i] == NULL ? NULL : weakref_ref_new(phoenixes[i], NULL, NULL);
			phoenixes[i] = NULL;
		}
		ck_assert_uint_ge(risen, SUPPORT_N - SUPPORT_SLACK * life);
	}
	for (size_t i = 0; i < SUPPORT_N; i++)
		through += lived[i] == LIVES;
	ck_assert_uint_ge(through, SUPPORT_N - SUPPORT_SLACK * (LIVES + 1));
	ck_assert_uint_eq(wrongly, 0);
	SUPPORT_KEEP(refs);
}
END_TEST

static int haunt(void *obj)
{
	uint64_t id = *(uint64_t *)obj;

	phoenixes[id] = obj;
	lived[id]++;
	return 0;
}

static int make_ghosts(void *unused)
{
	static const gc_type type = {.name = "ghost", .size = 8, .destroy = haunt};

	(void)unused;
	for (uint64_t i = 0; i < SUPPORT_N; i++) {
		uint64_t *ghost = gc_new(&type);
		SUPPORT_REQUIRE(ghost != NULL);
		*ghost = i;
	}
	return 0;
}

static _Atomic unsigned armed;

/* The program's own array holds them. */
static int arm(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		int result = phoenixes[i] == NULL ? 0 : gc_destroy_again(phoenixes[i]);
		SUPPORT_REQUIRE(result == 0 || result == 1);
		armed += (unsigned)result;
	}
	return 0;
}

/* F20: it may be asked for at any time after the destructor has run: of several threads one gets it. Without memory it stays as it was. What
 * has no destructor, and what is no object, is refused. */
START_TEST(test_F20_destroyed_again_on_demand)
{
	char args[4];
	size_t risen = 0, failures = 0, twice = 0;

	memset(lived, 0, sizeof lived);
	memset(phoenixes, 0, sizeof phoenixes);
	ck_assert_int_eq(support_on_thread(make_ghosts, NULL), 0);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		risen += phoenixes[i] != NULL;
		if (phoenixes[i] == NULL || i % 2 != 0 || !weakref_checks_enabled())
			continue;
		weakref_checks_fail_allocation(1);
		int result = gc_destroy_again(phoenixes[i]);
		weakref_checks_fail_allocation(0);
		ck_assert(result == 1 || result == -WEAKREF_ENOMEM);
		ck_assert(gc_is_finalized(phoenixes[i]) == (result < 0));
		failures += result < 0;
		risen -= result == 1;
	}
	ck_assert_uint_ge(risen + failures, weakref_checks_enabled() ? SUPPORT_N / 2 - SUPPORT_SLACK : SUPPORT_N - SUPPORT_SLACK);
	ck_assert(failures > 0 || !weakref_checks_enabled());
	armed = 0;
	ck_assert_uint_eq(support_threads(4, arm, args, 1), 0);
	ck_assert_uint_eq(armed, risen);

	for (int i = 0; i < 2; i++) {
		memset(phoenixes, 0, sizeof phoenixes);
		support_collect();
		support_collect();
	}
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_uint_le(lived[i], 2);
		twice += lived[i] == 2;
	}
	ck_assert_uint_ge(twice, SUPPORT_N - 2 * SUPPORT_SLACK);
	memset(phoenixes, 0, sizeof phoenixes);

	ck_assert_int_eq(gc_destroy_again(NULL), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_destroy_again(gc_alloc(8)), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_destroy_again(support_node_new(1)), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_destroy_again((void *)&phoenix_type), -WEAKREF_EINVAL);
}
END_TEST

/* ---- destructors that are called, or not, because the program says so ---- */

static _Atomic size_t ended[SUPPORT_N];
static uint64_t endings_made;

/* A number, and which time they were made: a stray word may have kept one of those before. */
struct ending {
	uint64_t id, made;
};

static int end(void *obj)
{
	struct ending *ending = obj;

	if (ending->made != endings_made)
		return 0;
	ended[ending->id]++;
	return ending->id % 2 == 0 ? 0 : -EDOM;
}

static const gc_type ending_type = {.name = "ending", .size = sizeof(struct ending), .destroy = end};

/* What happens to one before it dies: some is done to each, by its number. */
enum { BY_DEATH, BY_NOW, BY_CANCEL, NOW_AND_AGAIN, CANCEL_AND_AGAIN, FATES };

struct endings {
	weakref_ref *refs[SUPPORT_N], *longs[SUPPORT_N];
	void *held[SUPPORT_N];
	int fate;
	bool watched;
};

static int make_endings(void *arg)
{
	struct endings *e = arg;

	endings_made++;
	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct ending *obj = gc_new(&ending_type);
		SUPPORT_REQUIRE(obj != NULL);
		*obj = (struct ending){.id = i, .made = endings_made};
		ended[i] = 0;
		if (e->watched) {
			e->refs[i] = weakref_ref_new(obj, NULL, NULL);
			e->longs[i] = weakref_ref_new_with(obj, &(weakref_ref_options){.is_long = true});
			SUPPORT_REQUIRE(e->refs[i] != NULL && e->longs[i] != NULL);
		}
		e->held[i] = obj;
	}
	return 0;
}

/* Both ways, and the second one finds that there is nothing left. */
static int decide_endings(void *arg)
{
	struct endings *e = arg;
	bool now = e->fate == BY_NOW || e->fate == NOW_AND_AGAIN, again = e->fate >= NOW_AND_AGAIN;

	for (size_t i = 0; i < SUPPORT_N && e->fate != BY_DEATH; i++) {
		int result = 7, expected = i % 2 == 0 ? 0 : -EDOM;
		SUPPORT_REQUIRE(!gc_is_finalized(e->held[i]) && gc_destroy_again(e->held[i]) == 0);
		if (now)
			SUPPORT_REQUIRE(gc_destroy_now(e->held[i], i % 4 < 2 ? &result : NULL) == 1 && (i % 4 >= 2 || result == expected));
		else
			SUPPORT_REQUIRE(gc_destroy_cancel(e->held[i]) == 1);
		SUPPORT_REQUIRE(ended[i] == now && gc_is_finalized(e->held[i]) && gc_type_of(e->held[i]) == &ending_type);
		result = 7;
		SUPPORT_REQUIRE(gc_destroy_now(e->held[i], &result) == 0 && gc_destroy_cancel(e->held[i]) == 0 && result == 7);
		SUPPORT_REQUIRE(!e->watched || weakref_ref_get(e->refs[i]) == e->held[i]);
		if (again)
			SUPPORT_REQUIRE(gc_destroy_again(e->held[i]) == 1 && gc_destroy_again(e->held[i]) == 0 && !gc_is_finalized(e->held[i]));
	}
	return 0;
}

static size_t unraisable;

static void count_unraisable(const gc_unraisable *info, void *user)
{
	(void)user;
	unraisable += info->error == -EDOM && strcmp(info->where, "destructor") == 0;
}

/* R281: a destructor runs by death, or because it was asked for, and then not by death, or not at all, or both ways where it was armed again. The
 * result of one that was asked for is the caller's, of the others the handler's. */
START_TEST(test_R281_fates)
{
	struct endings *e = gc_alloc(sizeof *e);
	size_t before = _i == BY_NOW || _i == NOW_AND_AGAIN, by_death = _i == BY_DEATH || _i >= NOW_AND_AGAIN, died = 0;

	unraisable = 0;
	gc_set_unraisable_handler(count_unraisable, NULL);
	e->fate = _i;
	e->watched = true;
	ck_assert_int_eq(support_on_thread(make_endings, e), 0);
	ck_assert_int_eq(support_on_thread(decide_endings, e), 0);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert_uint_eq(ended[i], before);
	memset(e->held, 0, sizeof e->held);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_uint_ge(ended[i], before);
		ck_assert_uint_le(ended[i], before + by_death);
		died += ended[i] == before + by_death;
	}
	ck_assert_uint_ge(died, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(e->refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(support_dead(e->longs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	ck_assert(by_death ? unraisable >= SUPPORT_N / 2 - SUPPORT_SLACK : unraisable == 0);
	SUPPORT_KEEP(e);
}
END_TEST

/* R281: without its destructor an object dies as one that never had any: its long references are cleared with the short ones, and where nothing
 * else watches it nobody counts it. */
START_TEST(test_R281_dies_as_without)
{
	struct endings *e = gc_alloc(sizeof *e);

	SUPPORT_SKIP_UNLESS(support_collect_every() == 0 && !GC_is_incremental_mode(), "collections of others come between");
	support_collect();
	gc_disable();
	e->fate = _i / 2 == 0 ? BY_CANCEL : BY_NOW;
	e->watched = _i % 2 == 1;
	ck_assert_int_eq(support_on_thread(make_endings, e), 0);
	ck_assert_int_eq(support_on_thread(decide_endings, e), 0);
	memset(e->held, 0, sizeof e->held);
	support_scrub();
	long dead = gc_collect();
	gc_enable();
	ck_assert(e->watched ? dead >= (long)(SUPPORT_N - SUPPORT_SLACK) : dead <= (long)SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N && e->watched; i++)
		ck_assert_int_eq(weakref_ref_get(e->refs[i]) == NULL, weakref_ref_get(e->longs[i]) == NULL);
	SUPPORT_KEEP(e);
}
END_TEST

/* R281: an object that is dead and waits for its destructor may still be asked, by who reads it: every second is, by turns in each way; and it may
 * be taken back, even then. */
START_TEST(test_R281_while_it_waits)
{
	struct endings *e = gc_alloc(sizeof *e);
	size_t seen = 0, now = 0, cancelled = 0, again = 0;

	gc_set_delivery(WEAKREF_DELIVER_MANUAL);
	e->watched = true;
	ck_assert_int_eq(support_on_thread(make_endings, e), 0);
	memset(e->held, 0, sizeof e->held);
	support_collect();
	ck_assert_uint_ge(support_dead(e->refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		void *obj = weakref_ref_get(e->longs[i]);
		ck_assert_ptr_nonnull(obj);
		if (weakref_ref_get(e->refs[i]) != NULL)
			continue;
		seen++;
		ck_assert_uint_eq(ended[i], 0);
		switch (i % 4) {
		case 0:
			now += gc_destroy_now(obj, NULL) == 1 && ended[i] == 1;
			break;
		case 1:
			cancelled += gc_destroy_cancel(obj) == 1;
			break;
		case 2:
			again += gc_destroy_cancel(obj) == 1 && gc_destroy_again(obj) == 1;
			break;
		}
	}
	ck_assert_uint_ge(seen, SUPPORT_N - SUPPORT_SLACK);
	ck_assert_uint_ge(now + cancelled + again, SUPPORT_N * 3 / 4 - SUPPORT_SLACK);
	gc_run_callbacks();
	for (size_t i = 0; i < SUPPORT_N; i++)
		if (weakref_ref_get(e->refs[i]) == NULL)
			ck_assert_uint_eq(ended[i], i % 4 != 1);
	support_collect();
	gc_run_callbacks();
	support_collect();
	ck_assert_uint_ge(support_dead(e->longs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	for (size_t i = 0; i < SUPPORT_N; i++)
		ck_assert_uint_le(ended[i], i % 4 != 1);
	SUPPORT_KEEP(e);
}
END_TEST

/* R281: what was taken away before it died, while it waited, and was brought back by somebody else, can be armed again. */
START_TEST(test_R281_let_go_and_armed_again)
{
	struct endings *e = gc_alloc(sizeof *e);
	size_t back = 0, died = 0;

	gc_set_delivery(WEAKREF_DELIVER_MANUAL);
	e->watched = true;
	ck_assert_int_eq(support_on_thread(make_endings, e), 0);
	memset(e->held, 0, sizeof e->held);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		e->held[i] = weakref_ref_get(e->longs[i]);
		ck_assert_int_eq(gc_destroy_cancel(e->held[i]), 1);
	}
	gc_run_callbacks();
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_uint_eq(ended[i], 0);
		ck_assert_ptr_eq(weakref_ref_get(e->longs[i]), e->held[i]);
		back += gc_destroy_again(e->held[i]) == 1;
	}
	ck_assert_uint_eq(back, SUPPORT_N);
	memset(e->held, 0, sizeof e->held);
	support_collect();
	gc_run_callbacks();
	for (size_t i = 0; i < SUPPORT_N; i++)
		died += ended[i] == 1;
	ck_assert_uint_ge(died, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(e);
}
END_TEST

struct keeper {
	uint64_t id;
	struct ending *ending;
};

/* Each is held by one that comes back. */
static int make_kept_endings(void *unused)
{
	static const gc_type keeper_type = {.name = "keeper", .size = sizeof(struct keeper), .destroy = haunt};

	(void)unused;
	endings_made++;
	for (uint64_t i = 0; i < SUPPORT_N; i++) {
		struct keeper *keeper = gc_new(&keeper_type);
		SUPPORT_REQUIRE(keeper != NULL && (keeper->ending = gc_new(&ending_type)) != NULL);
		keeper->id = i;
		*keeper->ending = (struct ending){.id = i, .made = endings_made};
		ended[i] = 0;
		SUPPORT_REQUIRE(gc_destroy_cancel(keeper->ending) == 1);
	}
	return 0;
}

/* R281: one that was taken away died, and was brought back by somebody else: it can be armed again. */
START_TEST(test_R281_brought_back_and_armed)
{
	size_t back = 0, died = 0;

	memset(lived, 0, sizeof lived);
	memset(phoenixes, 0, sizeof phoenixes);
	ck_assert_int_eq(support_on_thread(make_kept_endings, NULL), 0);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		struct keeper *keeper = phoenixes[i];
		ck_assert_uint_eq(ended[i], 0);
		if (keeper == NULL)
			continue;
		ck_assert_uint_eq(keeper->ending->id, i);
		back += gc_is_finalized(keeper->ending) && gc_destroy_again(keeper->ending) == 1;
	}
	ck_assert_uint_ge(back, SUPPORT_N - SUPPORT_SLACK);
	memset(phoenixes, 0, sizeof phoenixes);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ck_assert_uint_le(ended[i], 1);
		died += ended[i];
	}
	ck_assert_uint_ge(died, back - SUPPORT_SLACK);
}
END_TEST

static _Atomic size_t calls, cancels;

/* Threads ask for each of them, by turns; and each may be armed again. */
static int contend_for_endings(void *arg)
{
	struct endings *e = *(struct endings **)arg;

	for (size_t round = 0; round < 100; round++)
		for (size_t i = 0; i < SUPPORT_N; i++) {
			switch ((round + i + ((uintptr_t)arg >> 3)) % 3) {
			case 0:
				calls += (size_t)gc_destroy_now(e->held[i], NULL);
				break;
			case 1:
				cancels += (size_t)gc_destroy_cancel(e->held[i]);
				break;
			default:
				cancels -= (size_t)gc_destroy_again(e->held[i]);
				break;
			}
			if (round % 25 == 0 && i == 0)
				gc_collect();
		}
	return 0;
}

/* R281: whoever takes it, each has it as often as it was given, and at its death it runs where it was not taken since. */
START_TEST(test_R281_threads)
{
	struct endings *e = gc_alloc(sizeof *e), **args = gc_alloc(4 * sizeof(struct endings *));
	size_t ran = 0, armed_yet = 0, after = 0;

	calls = cancels = 0;
	ck_assert_int_eq(support_on_thread(make_endings, e), 0);
	for (size_t i = 0; i < 4; i++)
		args[i] = e;
	ck_assert_uint_eq(support_threads(4, contend_for_endings, args, sizeof *args), 0);
	for (size_t i = 0; i < SUPPORT_N; i++) {
		ran += ended[i];
		armed_yet += !gc_is_finalized(e->held[i]);
	}
	ck_assert_uint_eq(ran, calls);
	/* Each was taken once more often than it was given back, or as often. */
	ck_assert_uint_eq(calls + cancels, SUPPORT_N - armed_yet);
	memset(e->held, 0, sizeof e->held);
	support_collect();
	for (size_t i = 0; i < SUPPORT_N; i++)
		after += ended[i];
	ck_assert_uint_le(after - ran, armed_yet);
	ck_assert_uint_ge(after - ran + SUPPORT_SLACK, armed_yet);
	SUPPORT_KEEP(e);
}
END_TEST

static size_t inner;

/* Asks for itself while it runs, and is armed again. */
static int end_within(void *obj)
{
	inner += gc_destroy_now(obj, NULL) == 0 && gc_destroy_cancel(obj) == 0;
	inner += gc_destroy_again(obj) == 1;
	inner += gc_destroy_cancel(obj) == 1;
	return 0;
}

/* R281: a destructor that has begun is not taken, by itself either. What has none, and what is no object, is refused. */
START_TEST(test_R281_begun_and_refused)
{
	static const gc_type within_type = {.name = "within", .size = 8, .destroy = end_within};
	void *obj = gc_new(&within_type), *none[] = {NULL, gc_alloc(8), support_node_new(1), (void *)&within_type};

	inner = 0;
	ck_assert_int_eq(gc_destroy_now(obj, NULL), 1);
	ck_assert_uint_eq(inner, 3);
	ck_assert_int_eq(gc_destroy_now(obj, NULL), 0);
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		ck_assert_int_eq(gc_destroy_now(none[i], NULL), -WEAKREF_EINVAL);
		ck_assert_int_eq(gc_destroy_cancel(none[i]), -WEAKREF_EINVAL);
	}
	SUPPORT_KEEP(obj);
}
END_TEST

/* A resurrected object can be referenced anew, and that reference reads NULL after the object's silent second death. */
START_TEST(test_F20_resurrected_can_be_watched)
{
	struct mortals m = {.act = ACT_RESURRECT};
	weakref_ref **again = GC_MALLOC(MORTALS * sizeof(*again));
	size_t watched = 0;

	mortals(&m);
	for (size_t i = 0; i < MORTALS; i++)
		if (graveyard[i] != NULL) {
			again[watched] = weakref_ref_new(graveyard[i], NULL, NULL);
			ck_assert_ptr_nonnull(again[watched]);
			ck_assert_ptr_ne(again[watched], m.refs[i]);
			ck_assert_ptr_eq(weakref_ref_get(again[watched]), graveyard[i]);
			watched++;
		}
	ck_assert_uint_ge(watched, MORTALS - SUPPORT_SLACK);
	memset(graveyard, 0, sizeof(graveyard));
	support_collect();
	ck_assert_uint_ge(support_dead(again, watched), watched - 2 * SUPPORT_SLACK);
}
END_TEST

/* F22: resurrection is transitive: all that the resurrected object reaches is intact. */
START_TEST(test_F22_resurrection_is_transitive)
{
	struct mortals m = {.act = ACT_RESURRECT, .ring = RING};
	size_t checked = 0;

	mortals(&m);
	support_churn(2, 16 << 20);
	for (size_t i = 0; i < MORTALS; i++) {
		struct mortal *mortal = graveyard[i];

		if (mortal == NULL)
			continue;
		for (size_t k = 0; k < RING; k++) {
			ck_assert_ptr_nonnull(mortal->next);
			mortal = mortal->next;
			ck_assert_uint_eq(mortal->signature, MORTAL_SIGNATURE);
			ck_assert(support_node_intact(mortal->neighbour));
			ck_assert_uint_eq(mortal->neighbour->id, mortal->id);
			checked++;
		}
		ck_assert_ptr_eq(mortal, graveyard[i]);
	}
	ck_assert_uint_gt(checked, MORTALS);
	ck_assert_uint_eq(wrong, 0);
	memset(graveyard, 0, sizeof(graveyard));
}
END_TEST

/* F23: a destructor that breaks its own cycle: each of the cycle runs once. */
START_TEST(test_F23_destructor_breaks_cycle)
{
	struct mortals m = {.act = ACT_BREAK, .ring = RING, .with_self = true};

	mortals(&m);
	ck_assert_uint_ge(destroyed_exactly(1), MORTALS - SUPPORT_SLACK * RING);
	support_collect();
	ck_assert_uint_eq(destroyed_exactly(0) + destroyed_exactly(1), MORTALS);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* F24: a ring of objects whose destructors differ: each runs once, each sees its neighbours unreclaimed. */
START_TEST(test_F24_mixed_ring)
{
	struct mortals m = {.mixed = true, .ring = RING};

	mortals(&m);
	support_collect();
	ck_assert_uint_ge(destroyed_exactly(1), MORTALS - SUPPORT_SLACK * RING);
	ck_assert_uint_eq(destroyed_exactly(0) + destroyed_exactly(1), MORTALS);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* G29: destructors may allocate, and may collect. */
START_TEST(test_G29_destructor_allocates_and_collects)
{
	struct mortals m = {.act = _i == 0 ? ACT_ALLOCATE : ACT_COLLECT};

	mortals(&m);
	ck_assert_uint_ge(destroyed_exactly(1), MORTALS - SUPPORT_SLACK);
	ck_assert_uint_eq(destroyed_exactly(0) + destroyed_exactly(1), MORTALS);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* A long reference goes on reading a resurrected object, and reads NULL once that is gone. */
START_TEST(test_long_ref_reads_resurrected)
{
	struct mortals m = {.act = ACT_RESURRECT, .longs = GC_MALLOC(MORTALS * sizeof(weakref_ref *))};
	size_t read = 0;

	mortals(&m);
	for (size_t i = 0; i < MORTALS; i++)
		if (graveyard[i] != NULL) {
			ck_assert_ptr_eq(weakref_ref_get(m.longs[i]), graveyard[i]);
			ck_assert_ptr_null(weakref_ref_get(m.refs[i]));
			read++;
		}
	ck_assert_uint_ge(read, MORTALS - SUPPORT_SLACK);
	memset(graveyard, 0, sizeof(graveyard));
	support_collect();
	ck_assert_uint_ge(support_dead(m.longs, MORTALS), MORTALS - 2 * SUPPORT_SLACK);
}
END_TEST

static int make_chain(void *arg)
{
	struct mortals *m = arg;
	struct mortal *head = NULL;

	for (size_t i = 0; i < m->n; i++) {
		struct mortal *mortal = gc_new(&mortal_type);

		SUPPORT_REQUIRE(mortal != NULL);
		mortal->signature = MORTAL_SIGNATURE;
		mortal->id = i;
		mortal->next = head;
		head = mortal;
	}
	SUPPORT_KEEP(head);
	return 0;
}

/* F29: destructors are unordered: a chain of 20 all run after one collection. */
START_TEST(test_F29_chain_in_one_collection)
{
	struct mortals m = {.n = 20};
	size_t ran = 0;

	mortals_forget();
	ck_assert_int_eq(support_on_thread(make_chain, &m), 0);
	support_scrub();
	ck_assert_int_ge(gc_collect(), 0);
	for (size_t i = 0; i < m.n; i++)
		ran += destroyed[i] == 1;
	ck_assert_uint_eq(ran, m.n);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* A destructor's error goes to the unraisable handler, with what failed, and the other destructors run. */
static _Atomic unsigned told, told_wrong;

static void tell(const gc_unraisable *info, void *user)
{
	told++;
	if (info->error != -EDOM || info->where == NULL || info->subject == NULL || user != &told)
		told_wrong++;
	else if (strstr(info->where, "destructor") == NULL || gc_type_of(info->subject) != &mortal_type)
		told_wrong++;
}

START_TEST(test_F18_destructor_error_is_reported)
{
	struct mortals m = {.act = ACT_FAIL};

	told = told_wrong = 0;
	ck_assert_int_eq(gc_set_unraisable_handler(tell, &told), 0);
	mortals(&m);
	ck_assert_uint_ge(destroyed_exactly(1), MORTALS - SUPPORT_SLACK);
	ck_assert_uint_eq(told, destroyed_exactly(1));
	ck_assert_uint_eq(told_wrong, 0);
}
END_TEST

struct sized {
	uint64_t signature;
	size_t n;
	unsigned char bytes[];
};

static _Atomic unsigned sized_right, sized_wrong;

static int sized_destroy(void *obj)
{
	struct sized *sized = obj;

	for (size_t i = 0; i < sized->n; i++)
		if (sized->bytes[i] != (unsigned char)(i * 7 + sized->n)) {
			sized_wrong++;
			return 0;
		}
	sized_right += sized->signature == MORTAL_SIGNATURE;
	return 0;
}

static const gc_type sized_type = {.name = "sized", .size = sizeof(struct sized), .destroy = sized_destroy};
static const gc_type sized_leaf_type = {
	.name = "sized leaf", .size = sizeof(struct sized), .flags = WEAKREF_TYPE_LEAF, .destroy = sized_destroy};

static int make_sized(void *arg)
{
	const gc_type *type = arg;

	for (size_t n = 2; n <= (size_t)1 << 20; n *= 2)
		for (int k = 0; k < 4; k++) {
			struct sized *sized = gc_new_extra(type, n);

			SUPPORT_REQUIRE(sized != NULL);
			sized->signature = MORTAL_SIGNATURE;
			for (size_t i = 0; i < n; i++)
				sized->bytes[i] = (unsigned char)(i * 7 + n);
			sized->n = n;
		}
	return 0;
}

/* F33: destructors of objects of 2 to 2^20 bytes, scanned and leaf, find their payload intact. */
START_TEST(test_F33_payload_intact_at_all_sizes)
{
	sized_right = sized_wrong = 0;
	ck_assert_int_eq(support_on_thread(make_sized, (void *)(uintptr_t)(_i == 0 ? &sized_type : &sized_leaf_type)), 0);
	support_collect();
	ck_assert_uint_eq(sized_wrong, 0);
	ck_assert_uint_ge(sized_right, 20 * 4 - 4);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("object");
	TCase *t = support_tcase("making");

	tcase_add_loop_test(t, test_new_zeroed_aligned_typed, 0, SIZES);
	tcase_add_loop_test(t, test_new_extra, 0, SIZES);
	tcase_add_test(t, test_size_zero_has_identity);
	tcase_add_test(t, test_new_einval);
	tcase_add_test(t, test_new_enomem);
	tcase_add_loop_test(t, test_alloc, 0, SIZES);
	tcase_add_test(t, test_alloc_absurd);
	suite_add_tcase(s, t);

	t = support_tcase("keeping");
	tcase_add_loop_test(t, test_scanned_payload_keeps, 0, 2);
	tcase_add_loop_test(t, test_leaf_payload_does_not_keep, 0, 2);
	tcase_add_test(t, test_collected_type_lives);
	suite_add_tcase(s, t);

	t = support_tcase("wrong addresses");
	tcase_add_loop_test(t, test_type_of_stranger, 0, ON_HEAP);
	tcase_add_test(t, test_type_of_neighbourhood);
	tcase_add_loop_test(t, test_generic_off_heap, 0, NOT_HEAP);
	tcase_add_loop_test(t, test_generic_not_object, NOT_HEAP, ON_HEAP);
	tcase_add_test(t, test_generic_null_arguments);
	suite_add_tcase(s, t);

	t = support_tcase("generic operations");
	tcase_add_test(t, test_repr_default);
	tcase_add_test(t, test_repr_cut);
	tcase_add_test(t, test_slots_answer);
	tcase_add_test(t, test_empty_slots);
	tcase_add_test(t, test_equal_whose_type);
	tcase_add_test(t, test_hash_foreign);
	tcase_add_test(t, test_truth);
	tcase_add_test(t, test_any_yes_is_1);
	tcase_add_test(t, test_iterate);
	suite_add_tcase(s, t);

	t = support_tcase("proxies");
	tcase_add_test(t, test_C46_proxy_forwards_attributes);
	tcase_add_test(t, test_C47_dead_proxy_is_stale);
	tcase_add_test(t, test_C50_proxy_forwards_operations);
	tcase_add_test(t, test_C52_proxy_missing_operation);
	tcase_add_test(t, test_C54_proxy_does_not_hash);
	tcase_add_test(t, test_C55_proxy_call);
	suite_add_tcase(s, t);

	t = support_tcase("destructors");
	tcase_add_test(t, test_F19_destructor_once);
	tcase_add_test(t, test_made_by_its_own_destructor);
	tcase_add_test(t, test_made_of_a_neighbour);
	tcase_add_test(t, test_destructor_sees_all_intact_refs_null);
	tcase_add_test(t, test_F20_resurrect_once);
	tcase_add_test(t, test_F20_destroyed_again);
	tcase_add_test(t, test_F20_destroyed_again_on_demand);
	tcase_add_test(t, test_F20_resurrected_can_be_watched);
	tcase_add_loop_test(t, test_R281_fates, 0, FATES);
	tcase_add_loop_test(t, test_R281_dies_as_without, 0, 4);
	tcase_add_test(t, test_R281_while_it_waits);
	tcase_add_test(t, test_R281_let_go_and_armed_again);
	tcase_add_test(t, test_R281_brought_back_and_armed);
	tcase_add_test(t, test_R281_threads);
	tcase_add_test(t, test_R281_begun_and_refused);
	tcase_add_test(t, test_F22_resurrection_is_transitive);
	tcase_add_test(t, test_F23_destructor_breaks_cycle);
	tcase_add_test(t, test_F24_mixed_ring);
	tcase_add_loop_test(t, test_G29_destructor_allocates_and_collects, 0, 2);
	tcase_add_test(t, test_long_ref_reads_resurrected);
	tcase_add_test(t, test_F29_chain_in_one_collection);
	tcase_add_test(t, test_F18_destructor_error_is_reported);
	tcase_add_loop_test(t, test_F33_payload_intact_at_all_sizes, 0, 2);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

/* SPDX-License-Identifier: MIT */
/*
 * check_interner: the contract of weakref/interner.h (D63 of the conformance list), by public headers alone.
 */
#define GC_THREADS
#include "elements.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "weakref/checks.h"
#include "weakref/interner.h"

static weakref_interner *interner;
static uintptr_t hidden[SUPPORT_N];

static int intern_all(void *arg)
{
	struct element **strong = arg;

	for (uint64_t i = 0; i < SUPPORT_N; i++) {
		struct element *a = element_new(i), *b = element_new(i);

		SUPPORT_REQUIRE(a != NULL && b != NULL);
		SUPPORT_REQUIRE(weakref_interner_intern(interner, a) == a);
		SUPPORT_REQUIRE(weakref_interner_intern(interner, b) == a);
		SUPPORT_REQUIRE(weakref_interner_find(interner, b) == a);
		hidden[i] = support_hide(a);
		if (strong != NULL)
			strong[i] = a;
	}
	return 0;
}

/* An equal object gives the canonical live one; after all its users have dropped it the next becomes canonical. */
START_TEST(test_D63_canonical)
{
	struct element **strong = gc_alloc(SUPPORT_N * sizeof(*strong));
	size_t fresh = 0;

	interner = weakref_interner_new(WEAKREF_BY_EQUALITY);
	ck_assert_ptr_nonnull(interner);
	ck_assert_int_eq(support_on_thread(intern_all, strong), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_eq(weakref_interner_len(interner), SUPPORT_N);
	for (uint64_t i = 0; i < SUPPORT_N; i++)
		ck_assert_ptr_eq(weakref_interner_intern(interner, element_new(i)), strong[i]);
	memset(strong, 0, SUPPORT_N * sizeof(*strong));
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(weakref_interner_len(interner), SUPPORT_SLACK);
	for (uint64_t i = 0; i < SUPPORT_N; i++) {
		struct element *e = strong[i] = element_new(i);
		fresh += weakref_interner_intern(interner, e) == e;
	}
	ck_assert_uint_ge(fresh, SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(strong);
	interner = NULL;
}
END_TEST

static unsigned makes;

static void *make_from_number(const void *key, void *user)
{
	const struct element *probe = key;

	if (user != NULL) {
		errno = WEAKREF_ECANCELED;
		return NULL;
	}
	makes++;
	return element_new(probe->id);
}

static int number_hash(const void *p, uint64_t *out, void *user)
{
	(void)user;
	*out = ((const struct element *)p)->id;
	return 0;
}

static int number_equal(const void *a, const void *b, void *user)
{
	(void)user;
	return ((const struct element *)a)->id == ((const struct element *)b)->id;
}

/* An object is made only where there is none; the key need not be on the heap. */
START_TEST(test_D63_made_on_demand)
{
	weakref_interner *in = weakref_interner_new_custom(number_hash, number_equal, NULL);
	struct element probe = {.id = 5}, *made;

	makes = 0;
	ck_assert_ptr_null(weakref_interner_find(in, &probe));
	made = weakref_interner_intern_with(in, &probe, make_from_number, NULL);
	ck_assert_ptr_nonnull(made);
	ck_assert_ptr_eq(weakref_interner_intern_with(in, &probe, make_from_number, NULL), made);
	ck_assert_ptr_eq(weakref_interner_find(in, &probe), made);
	ck_assert_uint_eq(makes, 1);
	ck_assert_int_eq(weakref_interner_discard(in, &probe), 1);
	ck_assert_int_eq(weakref_interner_discard(in, &probe), 0);
	errno = 0;
	ck_assert_ptr_null(weakref_interner_intern_with(in, &probe, make_from_number, &probe));
	ck_assert_int_eq(errno, WEAKREF_ECANCELED);
	ck_assert_uint_eq(weakref_interner_len(in), 0);
	SUPPORT_KEEP(made);
}
END_TEST

#define RACERS 4

struct racer {
	void *got[256];
};

static int race(void *arg)
{
	struct racer *r = arg;

	for (uint64_t i = 0; i < 256; i++) {
		struct element *e = element_new(i);
		SUPPORT_REQUIRE(e != NULL);
		r->got[i] = weakref_interner_intern(interner, e);
		SUPPORT_REQUIRE(r->got[i] != NULL && ((struct element *)r->got[i])->id == i);
	}
	return 0;
}

/* Threads that intern equal objects at once get the same one. */
START_TEST(test_D63_threads_agree)
{
	struct racer *racers = gc_alloc(RACERS * sizeof(*racers));

	interner = weakref_interner_new(WEAKREF_BY_EQUALITY);
	ck_assert_int_eq(support_threads(RACERS, race, racers, sizeof(*racers)), 0);
	for (size_t i = 0; i < 256; i++)
		for (size_t k = 1; k < RACERS; k++)
			ck_assert_ptr_eq(racers[k].got[i], racers[0].got[i]);
	ck_assert_uint_eq(weakref_interner_len(interner), 256);
	interner = NULL;
}
END_TEST

/* Bad arguments, clear, repr, the generic operations. */
START_TEST(test_D63_arguments)
{
	weakref_interner *in = weakref_interner_new(WEAKREF_BY_EQUALITY);
	struct element *e = element_new(1);
	static int here;
	char text[64], want[64];
	size_t len;

	errno = 0;
	ck_assert_ptr_null(weakref_interner_intern(in, &here));
	ck_assert_int_eq(errno, WEAKREF_EINVAL);
	ck_assert_ptr_null(weakref_interner_intern(in, NULL));
	ck_assert_ptr_null(weakref_interner_intern(NULL, e));
	ck_assert_ptr_null(weakref_interner_intern_with(in, e, NULL, NULL));
	ck_assert_ptr_null(weakref_interner_find(NULL, e));
	ck_assert_ptr_null(weakref_interner_new((enum weakref_compare)5));
	ck_assert_ptr_eq(weakref_interner_intern(in, e), e);
	ck_assert_int_eq(gc_len(in, &len), 0);
	ck_assert_uint_eq(len, 1);
	snprintf(want, sizeof(want), "<WeakInterner at %p>", (void *)in);
	ck_assert_int_eq(gc_repr(in, text, sizeof(text)), (int)strlen(want));
	ck_assert_str_eq(text, want);
	ck_assert_int_eq(gc_contains(in, e), 1);
	ck_assert_int_eq(gc_contains(in, &here), 0);
	ck_assert_int_eq(weakref_interner_clear(in), 0);
	ck_assert_uint_eq(weakref_interner_len(in), 0);
	ck_assert_int_eq(gc_contains(in, e), 0);
	ck_assert_int_eq(weakref_interner_clear(NULL), -WEAKREF_EINVAL);
	ck_assert_uint_eq(weakref_interner_len(NULL), 0);
	SUPPORT_KEEP(e);
}
END_TEST

/* With each allocation failing in turn: NULL and ENOMEM, nothing interned. */
START_TEST(test_R44_allocation_fails)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	for (size_t n = 0; n < 40; n++)
		for (unsigned long nth = 1, left = 0; left == 0; nth++) {
			struct element **held = gc_alloc(41 * sizeof(*held));
			weakref_interner *in = weakref_interner_new(WEAKREF_BY_EQUALITY);

			for (uint64_t i = 0; i < n; i++)
				ck_assert_ptr_nonnull(weakref_interner_intern(in, held[i] = element_new(i)));
			held[n] = element_new(n);
			weakref_checks_fail_allocation(nth);
			errno = 0;
			void *got = weakref_interner_intern(in, held[n]);
			left = (unsigned long)weakref_checks_fail_allocation(0);
			ck_assert(got == held[n] || (got == NULL && errno == WEAKREF_ENOMEM));
			ck_assert_uint_eq(weakref_interner_len(in), n + (got != NULL));
			SUPPORT_KEEP(held);
		}
}
END_TEST

/* ---- strings ---- */

static const char *strings[SUPPORT_N];

static int intern_strings(void *arg)
{
	const char **held = arg;
	char text[32], again[32];

	for (size_t i = 0; i < SUPPORT_N; i++) {
		/* One is empty, and one is long. */
		snprintf(text, sizeof text, "%.*zu", i == 0 ? 0 : i == 1 ? 30 : 1, i == 0 ? 0 : i);
		memcpy(again, text, sizeof again);
		const char *string = weakref_interner_string(interner, text);
		SUPPORT_REQUIRE(string != NULL && string != text && strcmp(string, text) == 0);
		memset(text, 'x', sizeof text - 1);
		SUPPORT_REQUIRE(weakref_interner_string(interner, again) == string && strcmp(string, again) == 0);
		SUPPORT_REQUIRE(weakref_interner_string(interner, string) == string);
		SUPPORT_REQUIRE(weakref_interner_find(interner, again) == (const void *)string);
		if (held != NULL)
			held[i] = string;
	}
	return 0;
}

/* D63, R111: strings of equal content are one copy, as long as somebody holds it. */
START_TEST(test_D63_strings)
{
	interner = weakref_interner_new_strings();
	ck_assert_ptr_nonnull(interner);
	ck_assert_int_eq(support_on_thread(intern_strings, strings), 0);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_eq(weakref_interner_len(interner), SUPPORT_N);
	ck_assert_ptr_eq(weakref_interner_string(interner, ""), strings[0]);
	ck_assert_ptr_eq(weakref_interner_string(interner, "7"), strings[7]);
	/* A string of the heap that the program made is canonical where it is the first. */
	char *own = gc_alloc_leaf(4);
	strcpy(own, "own");
	ck_assert_ptr_eq(weakref_interner_intern(interner, own), own);
	ck_assert_ptr_eq(weakref_interner_string(interner, "own"), own);
	ck_assert_int_eq(weakref_interner_discard(interner, "7"), 1);
	ck_assert_ptr_ne(weakref_interner_string(interner, "7"), strings[7]);
	memset(strings, 0, sizeof strings);
	SUPPORT_CLEAR(own);
	ck_assert_int_ge(support_collect(), 0);
	ck_assert_uint_le(weakref_interner_len(interner), SUPPORT_SLACK);
	interner = NULL;
}
END_TEST

START_TEST(test_D63_strings_refused)
{
	weakref_interner *by_equality = weakref_interner_new(WEAKREF_BY_EQUALITY), *of_strings = weakref_interner_new_strings();

	errno = 0;
	ck_assert_ptr_null(weakref_interner_string(of_strings, NULL));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_interner_string(by_equality, "text"));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(weakref_interner_string(NULL, "text"));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_uint_eq(weakref_interner_len(of_strings), 0);
	SUPPORT_KEEP(by_equality);
	SUPPORT_KEEP(of_strings);
}
END_TEST

/* Each allocation failing in turn: ENOMEM, and nothing is interned. */
START_TEST(test_R44_strings_without_memory)
{
	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "needs --enable-checks");
	const char *string = NULL;
	unsigned failed = 0;

	for (unsigned long nth = 1, left = 0; left == 0; nth++) {
		weakref_checks_fail_allocation(nth);
		weakref_interner *in = weakref_interner_new_strings();
		string = in == NULL ? NULL : weakref_interner_string(in, "text");
		int error = errno;
		left = (unsigned long)weakref_checks_fail_allocation(0);
		failed += string == NULL;
		ck_assert(string != NULL || error == ENOMEM);
		ck_assert_uint_eq(weakref_interner_len(in), string != NULL);
	}
	ck_assert_str_eq(string, "text");
	ck_assert_uint_ge(failed, 3);
}
END_TEST

/* The hash is the bytes' and the seed's alone; every byte, and the order, counts. */
START_TEST(test_hash_bytes)
{
	unsigned char bytes[300], moved[301];

	ck_assert_uint_eq(weakref_hash_bytes(NULL, 0, 1), weakref_hash_bytes("", 0, 1));
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(i * 7);
	for (size_t size = 1; size <= sizeof bytes; size++) {
		uint64_t hash = weakref_hash_bytes(bytes, size, 5);
		memcpy(moved + size % 2, bytes, size);
		ck_assert_uint_eq(weakref_hash_bytes(moved + size % 2, size, 5), hash);
		ck_assert_uint_ne(weakref_hash_bytes(bytes, size, 6), hash);
		ck_assert_uint_ne(weakref_hash_bytes(bytes, size - 1, 5), hash);
		moved[size % 2 + size / 2] ^= 1;
		ck_assert_uint_ne(weakref_hash_bytes(moved + size % 2, size, 5), hash);
	}
	ck_assert_uint_ne(weakref_hash_bytes("a", 1, weakref_hash_bytes("b", 1, 0)), weakref_hash_bytes("b", 1, weakref_hash_bytes("a", 1, 0)));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("interner");
	TCase *tc = support_tcase("interner");

	suite_add_tcase(s, tc);
	tcase_add_test(tc, test_D63_canonical);
	tcase_add_test(tc, test_D63_made_on_demand);
	tcase_add_test(tc, test_D63_threads_agree);
	tcase_add_test(tc, test_D63_arguments);
	tcase_add_test(tc, test_R44_allocation_fails);
	tcase_add_test(tc, test_D63_strings);
	tcase_add_test(tc, test_D63_strings_refused);
	tcase_add_test(tc, test_R44_strings_without_memory);
	tcase_add_test(tc, test_hash_bytes);
	return s;
}

int main(void)
{
	return support_main(suite);
}

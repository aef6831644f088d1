/* SPDX-License-Identifier: MIT */
/*
 * check_error: weakref/error.h: codes, phrases and names, also for values that are no codes.
 */
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "weakref/error.h"

struct code {
	const char *name;
	int value;
	int errno_value;
	const char *phrase;
};

#define CODE(name, value, phrase) {#name, WEAKREF_##name, value, phrase},
static const struct code codes[] = {WEAKREF_ERRORS(CODE)};

#define CODES ((int)(sizeof(codes) / sizeof(codes[0])))

/* A code's value is the errno value. */
START_TEST(test_codes_are_errno_values)
{
	ck_assert_int_gt(codes[_i].value, 0);
	ck_assert_int_eq(codes[_i].value, codes[_i].errno_value);
}
END_TEST

/* The name is found for the code and for the negative code. */
START_TEST(test_name)
{
	ck_assert_str_eq(weakref_error_name(codes[_i].value), codes[_i].name);
	ck_assert_str_eq(weakref_error_name(-codes[_i].value), codes[_i].name);
}
END_TEST

/* The phrase is found for the code and for the negative code, and is one static string. */
START_TEST(test_phrase)
{
	ck_assert_str_eq(weakref_strerror(codes[_i].value), codes[_i].phrase);
	ck_assert_ptr_eq(weakref_strerror(codes[_i].value), weakref_strerror(-codes[_i].value));
}
END_TEST

/* No two codes share a value, a name or a phrase. */
START_TEST(test_codes_are_distinct)
{
	for (int i = 0; i < _i; i++) {
		ck_assert_int_ne(codes[i].value, codes[_i].value);
		ck_assert_str_ne(codes[i].name, codes[_i].name);
		ck_assert_str_ne(codes[i].phrase, codes[_i].phrase);
	}
	ck_assert_ptr_nonnull(strchr(codes[_i].name, 'E'));
}
END_TEST

/* The codes that doc and headers name exist with the values of errno.h. */
START_TEST(test_named_codes)
{
	ck_assert_int_eq(WEAKREF_OK, 0);
	ck_assert_int_eq(WEAKREF_ENOMEM, ENOMEM);
	ck_assert_int_eq(WEAKREF_EINVAL, EINVAL);
	ck_assert_int_eq(WEAKREF_ENOENT, ENOENT);
	ck_assert_int_eq(WEAKREF_ESTALE, ESTALE);
	ck_assert_int_eq(WEAKREF_EBUSY, EBUSY);
	ck_assert_int_eq(WEAKREF_EPERM, EPERM);
	ck_assert_int_eq(WEAKREF_ENOTSUP, ENOTSUP);
	ck_assert_int_eq(WEAKREF_ETIMEDOUT, ETIMEDOUT);
	ck_assert_int_eq(WEAKREF_ECANCELED, ECANCELED);
	ck_assert_int_eq(WEAKREF_EEXIST, EEXIST);
	ck_assert_int_eq(WEAKREF_ENOSPC, ENOSPC);
	ck_assert_int_eq(WEAKREF_EDEADLK, EDEADLK);
}
END_TEST

/* 0 is "OK" and has a phrase of its own. */
START_TEST(test_ok)
{
	ck_assert_str_eq(weakref_error_name(0), "OK");
	ck_assert_ptr_nonnull(weakref_strerror(0));
	ck_assert_uint_gt(strlen(weakref_strerror(0)), 0);
}
END_TEST

static const int strangers[] = {EDOM, -EDOM, 4095, -4095, 100000, -100000, INT_MAX, -INT_MAX, INT_MIN};

/* What is no code of the library has the name "E?", whatever its size, and a phrase that is never NULL nor empty. */
START_TEST(test_strangers)
{
	ck_assert_str_eq(weakref_error_name(strangers[_i]), "E?");
	ck_assert_ptr_nonnull(weakref_strerror(strangers[_i]));
	ck_assert_uint_gt(strlen(weakref_strerror(strangers[_i])), 0);
}
END_TEST

/* Other errno values are passed on to strerror. */
START_TEST(test_strerror_passed_on)
{
	char expected[128];

	snprintf(expected, sizeof(expected), "%s", strerror(EDOM));
	ck_assert_str_eq(weakref_strerror(EDOM), expected);
	ck_assert_str_eq(weakref_strerror(-EDOM), expected);
}
END_TEST

/* Asking about an error does not disturb the caller's errno. */
START_TEST(test_errno_untouched)
{
	errno = EXDEV;
	weakref_strerror(-ESTALE);
	weakref_error_name(-ESTALE);
	weakref_error_name(INT_MIN);
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("error");
	TCase *t = support_tcase("codes");

	tcase_add_loop_test(t, test_codes_are_errno_values, 0, CODES);
	tcase_add_loop_test(t, test_name, 0, CODES);
	tcase_add_loop_test(t, test_phrase, 0, CODES);
	tcase_add_loop_test(t, test_codes_are_distinct, 0, CODES);
	tcase_add_test(t, test_named_codes);
	tcase_add_test(t, test_ok);
	tcase_add_loop_test(t, test_strangers, 0, (int)(sizeof(strangers) / sizeof(strangers[0])));
	tcase_add_test(t, test_strerror_passed_on);
	tcase_add_test(t, test_errno_untouched);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

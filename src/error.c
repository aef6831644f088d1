/* SPDX-License-Identifier: MIT */
/*
 * error: names and phrases of the codes, from the one list in weakref/error.h.
 */
#include "weakref/error.h"

#include <stddef.h>
#include <string.h>

#include "base.h"

struct code {
	int value;
	const char *name;
	const char *phrase;
};

static const struct code codes[] = {
#define ROW(name, value, phrase) {value, #name, phrase},
	WEAKREF_ERRORS(ROW)
#undef ROW
};

static const struct code *code_find(int error)
{
	unsigned value = error < 0 ? 0U - (unsigned)error : (unsigned)error;

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if ((unsigned)codes[i].value == value)
			return &codes[i];
	return NULL;
}

const char *weakref_strerror(int error)
{
	const struct code *code = code_find(error);

	if (error == 0)
		return "no error";
	if (code != NULL)
		return code->phrase;
	/* INT_MIN has no positive twin; strerror knows neither. */
	return strerror(error < 0 && error != (-2147483647 - 1) ? -error : error);
}

const char *weakref_error_name(int error)
{
	const struct code *code = code_find(error);

	return error == 0 ? "OK" : code != NULL ? code->name : "E?";
}

/* SPDX-License-Identifier: MIT */
/*
 * interner: a weak set that tells which element it kept. All of states, locks and liveness is the set's; what is here is the
 * question "mine or the one before", answered in one step of the table.
 *
 * Invariant: the signature is written last, so whoever passes it sees a whole interner.
 */
#include "weakref/interner.h"

#include <stdio.h>
#include <string.h>

#include "heap.h"
#include "set.h"
#include "weakref/object.h"

#define INTERNER_SIGNATURE UINT64_C(0x6e7265746e692d77) /* "w-intern" */

struct weakref_interner {
	uint64_t signature;
	weakref_set *set;
	bool strings;
};

static bool is_interner(const weakref_interner *interner)
{
	return interner != NULL && (uintptr_t)interner % _Alignof(struct weakref_interner) == 0 &&
	       interner->signature == INTERNER_SIGNATURE;
}

int weakref_interner_repr(const weakref_interner *interner, char *buf, size_t size)
{
	if (!is_interner(interner) || (buf == NULL && size != 0))
		return -WEAKREF_EINVAL;
	return snprintf(buf, size, "<WeakInterner at %p>", (const void *)interner);
}

static int type_repr(void *obj, char *buf, size_t size)
{
	return weakref_interner_repr(obj, buf, size);
}

static int type_len(void *obj, size_t *out)
{
	*out = weakref_interner_len(obj);
	return 0;
}

static int type_truth(void *obj)
{
	return weakref_interner_len(obj) != 0;
}

static int type_iterate(void *obj, gc_visit_fn visit, void *user)
{
	const weakref_interner *interner = obj;

	return is_interner(interner) ? gc_iterate(interner->set, visit, user) : -WEAKREF_EINVAL;
}

static int type_contains(void *obj, void *item)
{
	const weakref_interner *interner = obj;

	return is_interner(interner) ? weakref_set_contains(interner->set, item) : -WEAKREF_EINVAL;
}

static const gc_type interner_type = {
	.name = "WeakInterner",
	.size = sizeof(struct weakref_interner),
	.repr = type_repr,
	.len = type_len,
	.truth = type_truth,
	.iterate = type_iterate,
	.contains = type_contains,
};

static weakref_interner *make(weakref_set *set)
{
	weakref_interner *interner = set == NULL ? NULL : gc_new(&interner_type);

	if (interner == NULL)
		return NULL;
	interner->set = set;
	interner->signature = INTERNER_SIGNATURE;
	return interner;
}

weakref_interner *weakref_interner_new(enum weakref_compare compare)
{
	return make(weakref_set_new(compare));
}

weakref_interner *weakref_interner_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	return make(weakref_set_new_custom(hash, equal, user));
}

static int string_hash(const void *text, uint64_t *out, void *unused)
{
	(void)unused;
	*out = weakref_hash_bytes(text, strlen(text), 0);
	return 0;
}

static int string_equal(const void *a, const void *b, void *unused)
{
	(void)unused;
	return strcmp(a, b) == 0;
}

static void *string_copy(const void *text, void *unused)
{
	size_t size = strlen(text) + 1;
	void *copy = heap_alloc_leaf(size);

	(void)unused;
	return copy == NULL ? NULL : memcpy(copy, text, size);
}

weakref_interner *weakref_interner_new_strings(void)
{
	weakref_interner *interner = make(weakref_set_new_custom(string_hash, string_equal, NULL));

	if (interner != NULL)
		interner->strings = true;
	return interner;
}

const char *weakref_interner_string(weakref_interner *interner, const char *text)
{
	if (text == NULL || !is_interner(interner) || !interner->strings)
		return base_null(WEAKREF_EINVAL);
	return weakref_interner_intern_with(interner, text, string_copy, NULL);
}

void *weakref_interner_intern(weakref_interner *interner, void *obj)
{
	void *now;
	int added = is_interner(interner) ? set_intern(interner->set, obj, &now) : -WEAKREF_EINVAL;

	if (added < 0)
		return base_null((enum weakref_error)-added);
	return added ? obj : now;
}

void *weakref_interner_intern_with(weakref_interner *interner, const void *key, weakref_make_fn make_it, void *user)
{
	void *found;
	int error = is_interner(interner) && make_it != NULL ? set_find(interner->set, key, &found) : -WEAKREF_EINVAL;

	if (error == 0)
		return found;
	if (error != -WEAKREF_ENOENT)
		return base_null((enum weakref_error)-error);
	errno = 0;
	void *made = make_it(key, user);
	if (made == NULL)
		return base_null(errno > 0 ? (enum weakref_error)errno : WEAKREF_ENOMEM);
	return weakref_interner_intern(interner, made);
}

void *weakref_interner_find(const weakref_interner *interner, const void *key)
{
	return is_interner(interner) ? weakref_set_find(interner->set, key) : NULL;
}

int weakref_interner_discard(weakref_interner *interner, const void *key)
{
	return is_interner(interner) ? weakref_set_discard(interner->set, key) : -WEAKREF_EINVAL;
}

size_t weakref_interner_len(const weakref_interner *interner)
{
	return is_interner(interner) ? weakref_set_len(interner->set) : 0;
}

int weakref_interner_clear(weakref_interner *interner)
{
	return is_interner(interner) ? weakref_set_clear(interner->set) : -WEAKREF_EINVAL;
}

/* SPDX-License-Identifier: MIT */
/*
 * elements: what the programs that test sets, weak keys and interners put into them: objects with an id that are equal where
 * their ids are, and hash so that four ids share a hash. Of WEAKREF_BY_IDENTITY the same objects are all different.
 */
#ifndef TESTS_ELEMENTS_H
#define TESTS_ELEMENTS_H

#include "support.h"

#define ELEMENT_SIGNATURE UINT64_C(0x656c656d656e7473)

struct element {
	uint64_t signature;
	uint64_t id;
	void *other; /* whatever a test wants to hang on it */
};

static inline bool element_intact(const struct element *e)
{
	return e->signature == (ELEMENT_SIGNATURE ^ e->id);
}

static int element_hash(void *obj, uint64_t *out)
{
	struct element *e = obj;

	if (!element_intact(e))
		return -WEAKREF_EINVAL;
	*out = e->id / 4 * UINT64_C(0x9e3779b97f4a7c15);
	return 0;
}

static int element_equal(void *a, void *b);

static const gc_type element_type = {
	.name = "element",
	.size = sizeof(struct element),
	.hash = element_hash,
	.equal = element_equal,
};

/* The second may be anything. */
static int element_equal(void *a, void *b)
{
	struct element *x = a, *y = b;

	if (gc_type_of(a) != &element_type || gc_type_of(b) != &element_type)
		return 0;
	if (!element_intact(x) || !element_intact(y))
		return -WEAKREF_EINVAL;
	return x->id == y->id;
}

static inline struct element *element_new(uint64_t id)
{
	struct element *e = gc_new(&element_type);

	if (e != NULL) {
		e->id = id;
		e->signature = ELEMENT_SIGNATURE ^ id;
	}
	return e;
}

#endif

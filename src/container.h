/* SPDX-License-Identifier: MIT */
/*
 * container: what the weak dictionaries and the weak set are alike in: an object of the heap that begins with a table (table.h), its checks,
 * its life, and how one goes through it. What an entry is to the caller, each says itself, by functions that see one entry.
 *
 * obj is always what the caller handed in, be it anything; a `struct container *` has been checked.
 *
 * Invariant: the signature is written last, by who makes the container, so whoever passes it sees a whole one.
 *
 * Locks: none of its own; the table takes its stripe. No function of the container's or of the caller's runs with one.
 *
 * Deliberately not here: looking up and storing, in which the containers differ and which are to be short.
 */
#ifndef CONTAINER_H
#define CONTAINER_H

#include <string.h>

#include "element.h"
#include "heap.h"
#include "weakref/object.h"
#include "weakref/ref.h"

struct container {
	/* At the start, since segments point to it there. */
	struct table table;
	weakref_hash_fn hash; /* NULL: none of its own; equal and user are the table's */
};

/* ---- checking arguments ---- */

/* Of this sort, whatever its way. */
static inline bool container_is(const void *obj, uint64_t signature)
{
	const struct container *container = obj;

	return obj != NULL && (uintptr_t)obj % _Alignof(struct container) == 0 && (container->table.signature ^ signature) << 8 == 0;
}

/* A signature's top byte tells how keys are looked up, which is for one comparison to tell with the rest. 0: no way that is told so. */
static inline uint64_t container_sign(uint64_t signature, uint8_t way)
{
	return signature ^ (uint64_t)way << 56;
}

/* Whether it is such a container, and looks keys up in this way. */
static inline bool container_looks_up(const void *obj, uint64_t signature, uint8_t way)
{
	uint64_t its = 0;

	/* Of any alignment: what is no container has no signature. */
	if (obj != NULL)
		memcpy(&its, (const char *)obj + offsetof(struct container, table.signature), sizeof its);
	return its == container_sign(signature, way);
}

/* The way of who compares weak keys by identity. */
#define CONTAINER_BY_IDENTITY 1

/* 0; EPERM or EINVAL for the thread; EINVAL where it is no such container. */
static inline int container_check(const void *obj, uint64_t signature)
{
	int error = heap_thread_check();

	if (unlikely(error < 0))
		return error;
	return likely(container_is(obj, signature)) ? 0 : -WEAKREF_EINVAL;
}

static inline struct element_rule container_rule(const struct container *container)
{
	return element_rule(&container->table, container->hash);
}

/* Two that an operation takes together: EINVAL also where they compare in different ways. */
int container_check_two(const void *a, const void *b, uint64_t signature);

/* ---- life ---- */

/* A typed object with a table in it, but for the signature; NULL with errno. Errors: as the constructors. */
void *container_new(const gc_type *type, const struct table_ops *ops, enum table_layout layout, bool strong_keys, struct element_rule rule);

/* The end of a constructor: the container, or NULL with errno. */
void *container_made(void *obj, int error);

/* ---- of the type, and the same for all ---- */

int container_repr(const void *obj, uint64_t signature, char *buf, size_t size);
size_t container_len(const void *obj, uint64_t signature);
int container_clear(void *obj, uint64_t signature);
/* The slots themselves, of whatever container. */
int container_type_repr(void *obj, char *buf, size_t size);
int container_type_len(void *obj, size_t *out);
int container_type_truth(void *obj);
/* Visits keys or elements: those of a table in which they are the weak words. */
int container_type_iterate(void *obj, gc_visit_fn visit, void *user);

/* ---- one entry ---- */

/* Where elements are compared by a rule: takes one out, and gives its value. 0, ENOENT, EINVAL, or what hash or equal returned. */
int container_take(struct container *container, const void *key, void **value);

/* 0 to go on, else the end, with this result. Entry and value are alive meanwhile. */
typedef int (*container_entry_fn)(const struct container *container, const struct table_entry *entry, void *arg);

/* Takes some entry out, after first(entry), unless that is NULL, which may be called for more than one. 0, ENOENT, or first's error. */
int container_take_any(void *obj, uint64_t signature, container_entry_fn first, void *arg, struct table_entry *entry, void **value);

/* ---- all entries ---- */

/* Calls fn for each. 0 at the end, fn's result where it is not 0, or equal's error. */
int container_each(const struct container *container, bool want_value, container_entry_fn fn, void *arg);

/* A block of the heap with `width` words for each entry, which fill has filled (arg: where), zeroed before, and in *n how many. NULL with
 * errno. */
void *container_array(const void *obj, uint64_t signature, size_t *n, unsigned width, bool want_value, container_entry_fn fill);
/* Fills with the value; and what a `fill` does for a new reference to this object. */
int container_fill_value(const struct container *container, const struct table_entry *entry, void *out);
int container_fill_ref(void *referent, void *out);
/* The words of an item. */
#define CONTAINER_PAIR (sizeof(weakref_pair) / sizeof(void *))

/* Of a pair, each gives 0 or a negative error: makes its key ready; tells whether its value may be stored; stores it, under the key that is
 * ready. */
struct container_pair_ops {
	int (*ready)(const void *obj, const void *key, struct table_key *out);
	int (*check)(const void *value); /* or NULL */
	int (*store)(void *obj, struct table_key *key, void *value);
};
/* Looks at all pairs, and then stores them. 0, EINVAL for no array, or what ops returned. */
int container_pairs(void *obj, uint64_t signature, const weakref_pair *pairs, size_t n, const struct container_pair_ops *ops);

/* ---- iterators ---- */

struct container_iter {
	uint64_t signature;
	const struct container *container;
	struct table_iter at;
};

/* An iterator of `size` bytes, which begins with the above; NULL with errno. */
void *container_iter_new(const void *obj, uint64_t signature, uint64_t iter_signature, size_t size);
/* 1 and the next entry, 0 at the end, or an error. */
int container_iter_next(void *obj, uint64_t iter_signature, bool want_value, struct table_entry *entry);

#endif

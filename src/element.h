/* SPDX-License-Identifier: MIT */
/*
 * element: what weakly held elements and keys have in common, whatever container they are in: how they are compared, what may
 * be one, and the heap that their tables live on. No state, no locks.
 */
#ifndef ELEMENT_H
#define ELEMENT_H

#include "table.h"
#include "weakref/key.h"

/* How a container compares; equal and user are the table's. hash NULL: by identity, and then there is no equal either. */
struct element_rule {
	weakref_hash_fn hash;
	weakref_equal_fn equal;
	void *user;
};

/* The collected heap, for tables of layout SELF. */
extern const struct table_ops element_ops;

/* The rule of an enumerator; false where it is none. */
bool element_rule_of(enum weakref_compare compare, struct element_rule *rule);

static inline struct element_rule element_rule(const struct table *table, weakref_hash_fn hash)
{
	return (struct element_rule){.hash = hash, .equal = table->equal, .user = table->user};
}

static inline bool element_same_rule(struct element_rule a, struct element_rule b)
{
	return a.hash == b.hash && a.equal == b.equal && a.user == b.user;
}

/* Whether gc_hash and gc_equal compare: what they get must be on the heap. */
bool element_by_type(struct element_rule rule);

/* Makes an element ready to be stored. 0, EINVAL, or what hash returned. The caller keeps it alive. */
int element_key(struct element_rule rule, const void *p, struct table_key *out);
/* The same to be looked for: with functions of the caller's it need not be on the heap; by identity that is not looked at. */
int element_probe(struct element_rule rule, const void *p, struct table_key *out);
/* Whether p could be an element at all: what a look-up that found nothing says about the reason. */
bool element_possible(const void *p);

/* Whether p is in no container with this rule, whatever is asked about it. The caller's own functions may know what p is. */
static inline bool element_excluded(struct element_rule rule, const void *p)
{
	return p == NULL || ((rule.hash == NULL || element_by_type(rule)) && !element_possible(p));
}

/* The result of a look-up of p that gave `result`: EINVAL instead of ENOENT where p could not be an element. */
static inline int element_missing(struct element_rule rule, const void *p, int result)
{
	return result == -WEAKREF_ENOENT && rule.hash == NULL && !element_possible(p) ? -WEAKREF_EINVAL : result;
}

#endif

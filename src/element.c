/* SPDX-License-Identifier: MIT */
#include "element.h"

#include "heap.h"
#include "weakarray.h"
#include "weakref/object.h"

const struct table_ops element_ops = {
	.alloc = heap_alloc,
	.alloc_leaf = heap_alloc_leaf,
	.slots_new = weakarray_new,
	.set_owner = weakarray_set_owner,
};

static int hash_by_type(const void *p, uint64_t *out, void *user)
{
	(void)user;
	return gc_hash((void *)(uintptr_t)p, out);
}

static int equal_by_type(const void *a, const void *b, void *user)
{
	(void)user;
	return gc_equal((void *)(uintptr_t)a, (void *)(uintptr_t)b);
}

bool element_rule_of(enum weakref_compare compare, struct element_rule *rule)
{
	*rule = (struct element_rule){0};
	if (compare == WEAKREF_BY_EQUALITY)
		*rule = (struct element_rule){.hash = hash_by_type, .equal = equal_by_type};
	return compare == WEAKREF_BY_IDENTITY || compare == WEAKREF_BY_EQUALITY;
}

bool element_by_type(struct element_rule rule)
{
	return rule.hash == hash_by_type;
}

bool element_possible(const void *p)
{
	return weakarray_encode(p) != 0;
}

static int ready(struct element_rule rule, const void *p, uintptr_t raw, struct table_key *out)
{
	uint64_t hash = 0;

	if (rule.hash == NULL) {
		table_key_identity(out, p, raw);
		return 0;
	}
	int error = rule.hash(p, &hash, rule.user);
	if (unlikely(error < 0))
		return error;
	table_key_self(out, p, raw, hash);
	return 0;
}

int element_key(struct element_rule rule, const void *p, struct table_key *out)
{
	uintptr_t raw = weakarray_encode(p);

	return unlikely(raw == 0) ? -WEAKREF_EINVAL : ready(rule, p, raw, out);
}

int element_probe(struct element_rule rule, const void *p, struct table_key *out)
{
	if (unlikely(p == NULL || (element_by_type(rule) && !element_possible(p))))
		return -WEAKREF_EINVAL;
	return ready(rule, p, 0, out);
}

/* SPDX-License-Identifier: MIT */
/*
 * set: the weak set: a table (table.h) of layout SELF, whose elements are the weak words themselves, behind the public interface.
 *
 * Operations on two sets go through one and ask the other, an element after the other; an array as an operand is made a set
 * first, which checks all of it and drops what is there twice. It is a container (container.h).
 *
 * Locks: none of its own; the table takes its stripe. hash and equal run without it.
 *
 * Deliberately not here: operations that are one step for other threads (look at two sets at once), and a hash of a set.
 */
#include "set.h"

#include <errno.h>

#include "container.h"
#include "table_quick.h"

#define SET_SIGNATURE UINT64_C(0x7465732d6b616577)  /* "weak-set" */
#define ITER_SIGNATURE UINT64_C(0x726574692d746573) /* "set-iter" */

struct weakref_set {
	struct container container;
};

struct weakref_set_iter {
	struct container_iter iter;
};

/* ---- checking arguments ---- */

static int check(const weakref_set *set)
{
	return container_check(set, SET_SIGNATURE);
}

static int check_two(const weakref_set *a, const weakref_set *b)
{
	return container_check_two(a, b, SET_SIGNATURE);
}

static struct element_rule rule_of(const weakref_set *set)
{
	return container_rule(&set->container);
}

/* ---- the type ---- */

int weakref_set_repr(const weakref_set *set, char *buf, size_t size)
{
	return container_repr(set, SET_SIGNATURE, buf, size);
}

static int type_hash(void *obj, uint64_t *out)
{
	(void)obj;
	(void)out;
	return -WEAKREF_ENOTSUP;
}

static const gc_type set_type;

/* Another type may know sets; of sets that compare in different ways none is equal to another. */
static int type_equal(void *a, void *b)
{
	if (gc_type_of(b) != &set_type)
		return -WEAKREF_ENOTSUP;
	if (!container_is(a, SET_SIGNATURE) || !container_is(b, SET_SIGNATURE) || !element_same_rule(rule_of(a), rule_of(b)))
		return 0;
	return weakref_set_equal(a, b);
}

static int type_contains(void *obj, void *item)
{
	return weakref_set_contains(obj, item);
}

/* Of two sets. */
static int type_operate(void *obj, enum weakref_operator op, void *operand, void **result)
{
	if (gc_type_of(operand) != &set_type)
		return -WEAKREF_ENOTSUP;
	switch (op) {
	case WEAKREF_OP_OR: *result = weakref_set_union(obj, operand); break;
	case WEAKREF_OP_AND: *result = weakref_set_intersection(obj, operand); break;
	case WEAKREF_OP_SUBTRACT: *result = weakref_set_difference(obj, operand); break;
	case WEAKREF_OP_XOR: *result = weakref_set_symmetric_difference(obj, operand); break;
	default: return -WEAKREF_ENOTSUP;
	}
	return *result != NULL ? 0 : -errno;
}

static int change(weakref_set *set, enum weakref_operator op, const weakref_set *operand)
{
	switch (op) {
	case WEAKREF_OP_OR: return weakref_set_update(set, operand);
	case WEAKREF_OP_AND: return weakref_set_intersection_update(set, operand);
	case WEAKREF_OP_SUBTRACT: return weakref_set_difference_update(set, operand);
	case WEAKREF_OP_XOR: return weakref_set_symmetric_difference_update(set, operand);
	default: return -WEAKREF_ENOTSUP;
	}
}

static int type_inplace(void *obj, enum weakref_operator op, void *operand, void **result)
{
	int error = gc_type_of(operand) == &set_type ? change(obj, op, operand) : -WEAKREF_ENOTSUP;

	if (error == 0)
		*result = obj;
	return error;
}

static const gc_type set_type = {
	.name = "WeakSet",
	.size = sizeof(struct weakref_set),
	.repr = container_type_repr,
	.hash = type_hash,
	.equal = type_equal,
	.len = container_type_len,
	.truth = container_type_truth,
	.iterate = container_type_iterate,
	.contains = type_contains,
	.operate = type_operate,
	.inplace = type_inplace,
};

/* ---- making ---- */

static weakref_set *make(struct element_rule rule)
{
	weakref_set *set = container_new(&set_type, &element_ops, TABLE_SELF, false, rule);

	if (set != NULL)
		set->container.table.signature = container_sign(SET_SIGNATURE, rule.hash == NULL ? CONTAINER_BY_IDENTITY : 0);
	return set;
}

weakref_set *weakref_set_new(enum weakref_compare compare)
{
	struct element_rule rule;

	return element_rule_of(compare, &rule) ? make(rule) : base_null(WEAKREF_EINVAL);
}

weakref_set *weakref_set_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	if (hash == NULL || equal == NULL)
		return base_null(WEAKREF_EINVAL);
	return make((struct element_rule){.hash = hash, .equal = equal, .user = user});
}

weakref_set *weakref_set_from_items(enum weakref_compare compare, void *const *items, size_t n)
{
	weakref_set *set = weakref_set_new(compare);

	return set == NULL ? NULL : container_made(set, weakref_set_update_items(set, items, n));
}

/* An array as a set with another's rule. */
static weakref_set *set_of(const weakref_set *like, void *const *items, size_t n)
{
	int error = check(like);

	if (error < 0)
		return container_made(NULL, error);
	weakref_set *set = make(rule_of(like));
	return set == NULL ? NULL : container_made(set, weakref_set_update_items(set, items, n));
}

/* ---- elements ---- */

/* The usual case: a set by identity. 1, 0, or -1 for "look for it properly". */
static inline __attribute__((always_inline)) int find_quickly(const weakref_set *set, const void *item)
{
	return likely(heap_thread != NULL && container_looks_up(set, SET_SIGNATURE, CONTAINER_BY_IDENTITY))
		       ? table_quick_member(&set->container.table, item)
		       : -1;
}

static NOINLINE int intern_slowly(weakref_set *set, void *item, void **now)
{
	struct table_key key;
	int error = check(set);

	if (likely(error == 0))
		error = element_key(rule_of(set), item, &key);
	if (unlikely(error < 0))
		return error;
	error = table_put(&set->container.table, &key, 0, TABLE_KEEP, now);
	BASE_KEEP(item);
	return error < 0 ? error : error != TABLE_KEPT;
}

/* What is there already is found without the lock, and more often than not that is what is asked for. */
int set_intern(weakref_set *set, void *item, void **now)
{
	if (find_quickly(set, item) <= 0)
		return intern_slowly(set, item, now);
	*now = item;
	return 0;
}

int weakref_set_add(weakref_set *set, void *item)
{
	void *now;

	return set_intern(set, item, &now);
}

int weakref_set_remove(weakref_set *set, const void *item)
{
	void *taken;
	int error = check(set);

	return error < 0 ? error : container_take(&set->container, item, &taken);
}

int weakref_set_discard(weakref_set *set, const void *item)
{
	int error = weakref_set_remove(set, item);

	return error == -WEAKREF_ENOENT ? 0 : error < 0 ? error : 1;
}

int weakref_set_pop(weakref_set *set, void **item)
{
	struct table_entry entry;
	void *taken;
	int error = container_take_any(set, SET_SIGNATURE, NULL, NULL, &entry, &taken);

	if (item != NULL)
		*item = error == 0 ? taken : NULL;
	return error;
}

/* Not inlined: what it needs of the stack would be set up for every look-up. */
static NOINLINE int find_slowly(const weakref_set *set, const void *item, void **found)
{
	struct table_key key;
	int error = check(set);

	*found = NULL;
	if (error < 0)
		return error;
	error = element_probe(rule_of(set), item, &key);
	if (error == -WEAKREF_EINVAL && element_excluded(rule_of(set), item))
		return -WEAKREF_ENOENT;
	if (error == 0)
		error = table_get(&set->container.table, &key, found);
	BASE_KEEP(item);
	return error;
}

static NOINLINE int contains_slowly(const weakref_set *set, const void *item)
{
	void *found;
	int error = find_slowly(set, item, &found);

	return error == -WEAKREF_ENOENT ? 0 : error < 0 ? error : 1;
}

int set_find(const weakref_set *set, const void *item, void **found)
{
	int is = find_quickly(set, item);

	if (unlikely(is < 0))
		return find_slowly(set, item, found);
	*found = is != 0 ? (void *)(uintptr_t)item : NULL;
	return is != 0 ? 0 : -WEAKREF_ENOENT;
}

int weakref_set_contains(const weakref_set *set, const void *item)
{
	int is = find_quickly(set, item);

	return likely(is >= 0) ? is : contains_slowly(set, item);
}

void *weakref_set_find(const weakref_set *set, const void *item)
{
	void *found;

	return set_find(set, item, &found) == 0 ? found : NULL;
}

size_t weakref_set_len(const weakref_set *set)
{
	return container_len(set, SET_SIGNATURE);
}

int weakref_set_clear(weakref_set *set)
{
	return container_clear(set, SET_SIGNATURE);
}

/* ---- one set and another: both have passed check_two ---- */

/* Whether an element of one set, which the caller holds, is in another: 1, 0 or an error. */
static int has(const weakref_set *set, const struct table_entry *entry)
{
	const struct table *table = &set->container.table;
	int is = table->equal == NULL ? table_quick_member(table, entry->key.data) : -1;

	if (likely(is >= 0))
		return is;
	int error = table_has(table, &entry->key);
	return error == -WEAKREF_ENOENT ? 0 : error < 0 ? error : 1;
}

static int put(weakref_set *set, const struct table_entry *entry)
{
	void *now;
	int error = table_put(&set->container.table, &entry->key, 0, TABLE_KEEP, &now);

	return error < 0 ? error : 0;
}

static int take(weakref_set *set, const struct table_entry *entry)
{
	void *taken;
	int error = table_take(&set->container.table, &entry->key, &taken);

	return error == -WEAKREF_ENOENT ? 0 : error;
}

/* What becomes of those elements that are in another set, or that are not. */
struct sifting {
	weakref_set *set;         /* that changes; NULL: none does */
	const weakref_set *other; /* NULL: every element is as wanted */
	bool wanted;
};

/* 1, 0 or an error. */
static int is_wanted(const struct sifting *sifting, const struct table_entry *entry)
{
	int in = sifting->other == NULL ? sifting->wanted : has(sifting->other, entry);

	return in < 0 ? in : in == sifting->wanted;
}

static int add_wanted(const struct container *container, const struct table_entry *entry, void *arg)
{
	const struct sifting *sifting = arg;
	int wanted = is_wanted(sifting, entry);

	(void)container;
	return wanted <= 0 ? wanted : put(sifting->set, entry);
}

static int take_wanted(const struct container *container, const struct table_entry *entry, void *arg)
{
	const struct sifting *sifting = arg;
	int wanted = is_wanted(sifting, entry);

	(void)container;
	return wanted <= 0 ? wanted : take(sifting->set, entry);
}

/* Adds of an entry of another set what `other` has in its place. */
static int add_own(const struct container *container, const struct table_entry *entry, void *arg)
{
	const struct sifting *sifting = arg;
	void *own;
	int error = table_get(&sifting->other->container.table, &entry->key, &own);

	(void)container;
	if (error == 0)
		error = weakref_set_add(sifting->set, own);
	return error == -WEAKREF_ENOENT || error > 0 ? 0 : error;
}

static int stop_at_unwanted(const struct container *container, const struct table_entry *entry, void *arg)
{
	int wanted = is_wanted(arg, entry);

	(void)container;
	return wanted < 0 ? wanted : !wanted;
}

static int toggle(const struct container *container, const struct table_entry *entry, void *arg)
{
	int in = has(arg, entry);

	(void)container;
	return in < 0 ? in : in ? take(arg, entry) : put(arg, entry);
}

/* Adds to `out` the elements of a; where there is a b, those alone that are in it, or are not. */
static int add_all(weakref_set *out, const weakref_set *a, const weakref_set *b, bool wanted)
{
	return container_each(&a->container, true, add_wanted, &(struct sifting){out, b, wanted});
}

/* Where elements of both sets are asked for, or those of one in the other, it is enough to go through the smaller. */
static bool is_smaller(const weakref_set *a, const weakref_set *b)
{
	return table_len(&a->container.table) < table_len(&b->container.table);
}

/* Takes out of `set` its elements that are in `other`, or are not. */
static int take_all(weakref_set *set, const weakref_set *other, bool wanted)
{
	return container_each(&set->container, true, take_wanted, &(struct sifting){set, other, wanted});
}

/* 1 where each element of a is in b (or none is), 0 where not, or an error. */
static int all_of(const weakref_set *a, const weakref_set *b, bool wanted)
{
	int found = container_each(&a->container, true, stop_at_unwanted, &(struct sifting){NULL, b, wanted});

	return found < 0 ? found : !found;
}

/* ---- new sets ---- */

weakref_set *weakref_set_copy(const weakref_set *set)
{
	int error = check(set);

	if (error < 0)
		return container_made(NULL, error);
	weakref_set *copy = make(rule_of(set));
	return copy == NULL ? NULL : container_made(copy, add_all(copy, set, NULL, true));
}

/* A new set from two by some function. */
static weakref_set *combine(const weakref_set *a, const weakref_set *b,
			    int (*fill)(weakref_set *, const weakref_set *, const weakref_set *))
{
	int error = check_two(a, b);

	if (error < 0)
		return container_made(NULL, error);
	weakref_set *out = make(rule_of(a));
	return out == NULL ? NULL : container_made(out, fill(out, a, b));
}

static weakref_set *combine_items(const weakref_set *a, void *const *items, size_t n,
				  int (*fill)(weakref_set *, const weakref_set *, const weakref_set *))
{
	weakref_set *b = set_of(a, items, n);

	return b == NULL ? NULL : combine(a, b, fill);
}

static int fill_union(weakref_set *out, const weakref_set *a, const weakref_set *b)
{
	int error = add_all(out, a, NULL, true);

	return error < 0 ? error : add_all(out, b, NULL, true);
}

/* Of equal elements, a's. */
static int fill_intersection(weakref_set *out, const weakref_set *a, const weakref_set *b)
{
	if (is_smaller(b, a))
		return container_each(&b->container, true, add_own, &(struct sifting){.set = out, .other = a});
	return add_all(out, a, b, true);
}

static int fill_difference(weakref_set *out, const weakref_set *a, const weakref_set *b)
{
	return add_all(out, a, b, false);
}

static int fill_symmetric_difference(weakref_set *out, const weakref_set *a, const weakref_set *b)
{
	int error = add_all(out, a, b, false);

	return error < 0 ? error : add_all(out, b, a, false);
}

weakref_set *weakref_set_union(const weakref_set *a, const weakref_set *b)
{
	return combine(a, b, fill_union);
}

weakref_set *weakref_set_union_items(const weakref_set *a, void *const *items, size_t n)
{
	return combine_items(a, items, n, fill_union);
}

weakref_set *weakref_set_intersection(const weakref_set *a, const weakref_set *b)
{
	return combine(a, b, fill_intersection);
}

weakref_set *weakref_set_intersection_items(const weakref_set *a, void *const *items, size_t n)
{
	return combine_items(a, items, n, fill_intersection);
}

weakref_set *weakref_set_difference(const weakref_set *a, const weakref_set *b)
{
	return combine(a, b, fill_difference);
}

weakref_set *weakref_set_difference_items(const weakref_set *a, void *const *items, size_t n)
{
	return combine_items(a, items, n, fill_difference);
}

weakref_set *weakref_set_symmetric_difference(const weakref_set *a, const weakref_set *b)
{
	return combine(a, b, fill_symmetric_difference);
}

weakref_set *weakref_set_symmetric_difference_items(const weakref_set *a, void *const *items, size_t n)
{
	return combine_items(a, items, n, fill_symmetric_difference);
}

/* ---- in place ---- */

/* The array's set, for an operation in place on the other; *error where there is none. */
static const weakref_set *operand(const weakref_set *set, void *const *items, size_t n, int *error)
{
	*error = 0;
	const weakref_set *other = set_of(set, items, n);
	if (other == NULL)
		*error = -errno;
	return other;
}

int weakref_set_update(weakref_set *set, const weakref_set *other)
{
	int error = check_two(set, other);

	return error < 0 || set == other ? error : add_all(set, other, NULL, true);
}

/* Not by way of another set, since that is made here. All are looked at before the first is added. */
int weakref_set_update_items(weakref_set *set, void *const *items, size_t n)
{
	struct table_key key;
	int error = check(set);

	if (error == 0 && items == NULL && n != 0)
		error = -WEAKREF_EINVAL;
	for (size_t i = 0; i < n && error == 0; i++)
		error = element_key(rule_of(set), items[i], &key);
	for (size_t i = 0; i < n && error >= 0; i++)
		error = weakref_set_add(set, items[i]);
	return error < 0 ? error : 0;
}

int weakref_set_intersection_update(weakref_set *set, const weakref_set *other)
{
	int error = check_two(set, other);

	return error < 0 || set == other ? error : take_all(set, other, false);
}

int weakref_set_intersection_update_items(weakref_set *set, void *const *items, size_t n)
{
	int error;
	const weakref_set *other = operand(set, items, n, &error);

	return error < 0 ? error : weakref_set_intersection_update(set, other);
}

int weakref_set_difference_update(weakref_set *set, const weakref_set *other)
{
	int error = check_two(set, other);

	if (error < 0)
		return error;
	if (set == other)
		return table_clear(&set->container.table);
	if (is_smaller(other, set))
		return container_each(&other->container, true, take_wanted, &(struct sifting){.set = set, .wanted = true});
	return take_all(set, other, true);
}

int weakref_set_difference_update_items(weakref_set *set, void *const *items, size_t n)
{
	int error;
	const weakref_set *other = operand(set, items, n, &error);

	return error < 0 ? error : weakref_set_difference_update(set, other);
}

int weakref_set_symmetric_difference_update(weakref_set *set, const weakref_set *other)
{
	int error = check_two(set, other);

	if (error < 0)
		return error;
	return set == other ? table_clear(&set->container.table) : container_each(&other->container, true, toggle, set);
}

int weakref_set_symmetric_difference_update_items(weakref_set *set, void *const *items, size_t n)
{
	int error;
	const weakref_set *other = operand(set, items, n, &error);

	return error < 0 ? error : weakref_set_symmetric_difference_update(set, other);
}

/* ---- comparing ---- */

int weakref_set_issubset(const weakref_set *a, const weakref_set *b)
{
	int error = check_two(a, b);

	return error < 0 ? error : all_of(a, b, true);
}

int weakref_set_issubset_items(const weakref_set *a, void *const *items, size_t n)
{
	int error;
	const weakref_set *b = operand(a, items, n, &error);

	return error < 0 ? error : all_of(a, b, true);
}

int weakref_set_issuperset(const weakref_set *a, const weakref_set *b)
{
	return weakref_set_issubset(b, a);
}

int weakref_set_issuperset_items(const weakref_set *a, void *const *items, size_t n)
{
	int error;
	const weakref_set *b = operand(a, items, n, &error);

	return error < 0 ? error : all_of(b, a, true);
}

static int have_none_in_common(const weakref_set *a, const weakref_set *b)
{
	return is_smaller(b, a) ? all_of(b, a, false) : all_of(a, b, false);
}

int weakref_set_isdisjoint(const weakref_set *a, const weakref_set *b)
{
	int error = check_two(a, b);

	return error < 0 ? error : have_none_in_common(a, b);
}

int weakref_set_isdisjoint_items(const weakref_set *a, void *const *items, size_t n)
{
	int error;
	const weakref_set *b = operand(a, items, n, &error);

	return error < 0 ? error : have_none_in_common(a, b);
}

int weakref_set_is_proper_subset(const weakref_set *a, const weakref_set *b)
{
	int within = weakref_set_issubset(a, b);

	if (within <= 0)
		return within;
	int covers = all_of(b, a, true);
	return covers < 0 ? covers : !covers;
}

int weakref_set_is_proper_superset(const weakref_set *a, const weakref_set *b)
{
	return weakref_set_is_proper_subset(b, a);
}

int weakref_set_equal(const weakref_set *a, const weakref_set *b)
{
	int within = weakref_set_issubset(a, b);

	return within <= 0 ? within : all_of(b, a, true);
}

/* ---- iterators ---- */

weakref_set_iter *weakref_set_iter_new(const weakref_set *set)
{
	return container_iter_new(set, SET_SIGNATURE, ITER_SIGNATURE, sizeof(weakref_set_iter));
}

int weakref_set_iter_next(weakref_set_iter *iter, void **item)
{
	struct table_entry entry;
	int found = container_iter_next(iter, ITER_SIGNATURE, true, &entry);

	if (found > 0 && item != NULL)
		*item = entry.value;
	return found;
}

void **weakref_set_items(const weakref_set *set, size_t *n)
{
	return container_array(set, SET_SIGNATURE, n, 1, true, container_fill_value);
}

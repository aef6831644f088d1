/* SPDX-License-Identifier: MIT */
/*
 * keydict: the dictionary whose keys are weak: a table (table.h) of layout PAIR, whose slots hold key and value (the payload)
 * for the collector to decide about (slots.h), behind the public interface. The weakness is the arrays'; nothing else here
 * depends on it.
 *
 * It is a container (container.h); what is said here is what an entry is to the caller, and the look-up.
 *
 * Locks: none of its own; the table takes its stripe. User functions (hash, equal, copy_value) run without it.
 *
 * Deliberately not here: the ephemerons themselves, which are the collector's side; the dictionary whose values alone are weak
 * (valuedict.c), since its keys are of many kinds and need no help of the collector's.
 */
#include "weakref/keydict.h"

#include <errno.h>

#include "container.h"
#include "keys.h"
#include "table_quick.h"
#include "weakarray.h"

#define DICT_SIGNATURE UINT64_C(0x746369642d79656b) /* "key-dict" */
#define ITER_SIGNATURE UINT64_C(0x726574692d79656b) /* "key-iter" */

struct weakref_keydict {
	struct container container;
	enum weakref_weakness weakness;
};

struct weakref_keydict_iter {
	struct container_iter iter;
};

/* ---- the heap, for each weakness ---- */

/* Without a key word, the payload stands in its place. */
static unsigned payload_of(unsigned stride)
{
	return stride == TABLE_STRIDE ? TABLE_BARE_PAYLOAD : TABLE_PAYLOAD;
}

static struct slots *slots_of_key(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner))
{
	return weakarray_new_weak(n, stride, value, payload_of(stride), SLOTS_WEAK_EPHEMERON, purge);
}

static struct slots *slots_of_both(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner))
{
	return weakarray_new_weak(n, stride, value, payload_of(stride), SLOTS_WEAK_BOTH, purge);
}

static struct slots *slots_of_either(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner))
{
	return weakarray_new_weak(n, stride, value, payload_of(stride), SLOTS_WEAK_EITHER, purge);
}

static const struct table_ops ops[] = {
	[WEAKREF_WEAK_KEY] = {heap_alloc, heap_alloc_leaf, slots_of_key, weakarray_set_owner},
	[WEAKREF_WEAK_BOTH] = {heap_alloc, heap_alloc_leaf, slots_of_both, weakarray_set_owner},
	[WEAKREF_WEAK_EITHER] = {heap_alloc, heap_alloc_leaf, slots_of_either, weakarray_set_owner},
};

/* ---- checking arguments ---- */

static int check(const weakref_keydict *dict)
{
	return container_check(dict, DICT_SIGNATURE);
}

static struct element_rule rule_of(const weakref_keydict *dict)
{
	return container_rule(&dict->container);
}

/* ---- the type ---- */

int weakref_keydict_repr(const weakref_keydict *dict, char *buf, size_t size)
{
	return container_repr(dict, DICT_SIGNATURE, buf, size);
}

static void *key_of(const struct table_entry *entry)
{
	return (void *)(uintptr_t)entry->key.data;
}

static int type_getitem(void *obj, void *key, void **value)
{
	return weakref_keydict_lookup(obj, key, value);
}

static int type_setitem(void *obj, void *key, void *value)
{
	return weakref_keydict_set(obj, key, value);
}

static int type_delitem(void *obj, void *key)
{
	return weakref_keydict_delete(obj, key);
}

static int type_contains(void *obj, void *key)
{
	return weakref_keydict_contains(obj, key);
}

static const gc_type dict_type;

/* The union of two. */
static int type_operate(void *obj, enum weakref_operator op, void *operand, void **result)
{
	if (op != WEAKREF_OP_OR || gc_type_of(operand) != &dict_type)
		return -WEAKREF_ENOTSUP;
	*result = weakref_keydict_union(obj, operand);
	return *result != NULL ? 0 : -errno;
}

static int type_inplace(void *obj, enum weakref_operator op, void *operand, void **result)
{
	if (op != WEAKREF_OP_OR || gc_type_of(operand) != &dict_type)
		return -WEAKREF_ENOTSUP;
	int error = weakref_keydict_update(obj, operand);
	if (error == 0)
		*result = obj;
	return error;
}

static const gc_type dict_type = {
	.name = "WeakKeyDictionary",
	.size = sizeof(struct weakref_keydict),
	.repr = container_type_repr,
	.len = container_type_len,
	.truth = container_type_truth,
	.iterate = container_type_iterate,
	.getitem = type_getitem,
	.setitem = type_setitem,
	.delitem = type_delitem,
	.contains = type_contains,
	.operate = type_operate,
	.inplace = type_inplace,
};

/* ---- making ---- */

static weakref_keydict *make(struct element_rule rule, enum weakref_weakness weakness)
{
	weakref_keydict *dict = container_new(&dict_type, &ops[weakness], TABLE_PAIR, false, rule);

	if (dict == NULL)
		return NULL;
	dict->weakness = weakness;
	dict->container.table.signature = container_sign(DICT_SIGNATURE, rule.hash == NULL ? CONTAINER_BY_IDENTITY : 0);
	return dict;
}

weakref_keydict *weakref_keydict_new_with(const weakref_keydict_options *options)
{
	static const weakref_keydict_options plain;
	struct element_rule rule;

	if (options == NULL)
		options = &plain;
	if ((unsigned)options->weakness > WEAKREF_WEAK_EITHER || (options->hash == NULL) != (options->equal == NULL) ||
	    !element_rule_of(options->compare, &rule))
		return base_null(WEAKREF_EINVAL);
	if (options->hash != NULL)
		rule = (struct element_rule){.hash = options->hash, .equal = options->equal, .user = options->user};
	return make(rule, options->weakness);
}

weakref_keydict *weakref_keydict_new(enum weakref_compare compare)
{
	return weakref_keydict_new_with(&(weakref_keydict_options){.compare = compare});
}

weakref_keydict *weakref_keydict_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	if (hash == NULL || equal == NULL)
		return base_null(WEAKREF_EINVAL);
	return weakref_keydict_new_with(&(weakref_keydict_options){.hash = hash, .equal = equal, .user = user});
}

weakref_keydict *weakref_keydict_from_pairs(enum weakref_compare compare, const weakref_pair *pairs, size_t n)
{
	weakref_keydict *dict = weakref_keydict_new(compare);

	return dict == NULL ? NULL : container_made(dict, weakref_keydict_update_pairs(dict, pairs, n));
}

/* ---- the usual look-up ---- */

static char none; /* no value has this address */

/* The usual case: a dictionary by identity. Where the key is not there, and it may be that it cannot be, *value is `absent`. */
static inline __attribute__((always_inline)) bool look_up_quickly(const weakref_keydict *dict, const void *key, void *absent, void **value)
{
	void *found;

	if (unlikely(heap_thread == NULL || !container_looks_up(dict, DICT_SIGNATURE, CONTAINER_BY_IDENTITY) ||
		     !table_quick_bare(&dict->container.table, key, absent, &found)))
		return false;
	BASE_KEEP(key);
	*value = found;
	return true;
}

/* ---- writing ---- */

/* Stores under a key that is ready. 0, TABLE_KEPT, or an error. */
static int store(weakref_keydict *dict, struct table_key *key, void *value, enum table_put_mode mode, void **now)
{
	enum slots_payload kind;
	uintptr_t payload = weakarray_encode_payload(value, &kind);

	table_key_tag(key, kind);
	int result = table_put(&dict->container.table, key, payload, mode, now);
	BASE_KEEP(value);
	BASE_KEEP(key->data);
	return result;
}

static int put(weakref_keydict *dict, const void *key, void *value, enum table_put_mode mode, void **now)
{
	struct table_key ready;
	int error = check(dict);

	if (likely(error == 0))
		error = element_key(rule_of(dict), key, &ready);
	if (unlikely(error < 0))
		return error;
	table_expect(&dict->container.table, &ready);
	return store(dict, &ready, value, mode, now);
}

int weakref_keydict_set(weakref_keydict *dict, void *key, void *value)
{
	void *now;

	return put(dict, key, value, TABLE_REPLACE, &now);
}

static NOINLINE void *setdefault_slowly(weakref_keydict *dict, const void *key, void *value)
{
	void *now = NULL;
	int result = put(dict, key, value, TABLE_KEEP, &now);

	if (result < 0)
		return base_null((enum weakref_error)-result);
	return result == TABLE_KEPT ? now : value;
}

void *weakref_keydict_setdefault(weakref_keydict *dict, void *key, void *value)
{
	void *found;

	return likely(look_up_quickly(dict, key, &none, &found)) && found != &none ? found : setdefault_slowly(dict, key, value);
}

int weakref_keydict_pop(weakref_keydict *dict, const void *key, void **value)
{
	void *taken = NULL;
	int error = check(dict);

	if (error == 0)
		error = container_take(&dict->container, key, &taken);
	if (value != NULL)
		*value = taken;
	return error;
}

int weakref_keydict_delete(weakref_keydict *dict, const void *key)
{
	return weakref_keydict_pop(dict, key, NULL);
}

void *weakref_keydict_pop_or(weakref_keydict *dict, const void *key, void *fallback)
{
	void *value;

	return weakref_keydict_pop(dict, key, &value) == 0 ? value : fallback;
}

int weakref_keydict_popitem(weakref_keydict *dict, void **key, void **value)
{
	struct table_entry entry;
	void *taken;
	int error = container_take_any(dict, DICT_SIGNATURE, NULL, NULL, &entry, &taken);

	if (error < 0)
		return error;
	if (key != NULL)
		*key = key_of(&entry);
	if (value != NULL)
		*value = taken;
	BASE_KEEP(entry.key.data);
	return 0;
}

int weakref_keydict_clear(weakref_keydict *dict)
{
	return container_clear(dict, DICT_SIGNATURE);
}

/* ---- reading ---- */

/* Not inlined: what it needs of the stack would be set up for every look-up. */
static NOINLINE int look_up_slowly(const weakref_keydict *dict, const void *key, void **value)
{
	struct table_key ready;
	void *found = NULL;
	int error = check(dict);

	if (likely(error == 0))
		error = element_probe(rule_of(dict), key, &ready);
	if (likely(error == 0)) {
		error = table_get(&dict->container.table, &ready, &found);
		error = element_missing(rule_of(dict), key, error);
	}
	BASE_KEEP(key);
	if (value != NULL)
		*value = found;
	return error;
}

static NOINLINE int is_missing(const weakref_keydict *dict, const void *key, void **value)
{
	*value = NULL;
	return element_missing(rule_of(dict), key, -WEAKREF_ENOENT);
}

int weakref_keydict_lookup(const weakref_keydict *dict, const void *key, void **value)
{
	void *found;

	if (value == NULL || unlikely(!look_up_quickly(dict, key, &none, &found)))
		return look_up_slowly(dict, key, value);
	if (found == &none)
		return is_missing(dict, key, value);
	*value = found;
	return 0;
}

static NOINLINE void *get_slowly(const weakref_keydict *dict, const void *key, void *fallback)
{
	void *found;

	return look_up_slowly(dict, key, &found) == 0 ? found : fallback;
}

void *weakref_keydict_get(const weakref_keydict *dict, const void *key)
{
	void *found;

	return likely(look_up_quickly(dict, key, NULL, &found)) ? found : get_slowly(dict, key, NULL);
}

void *weakref_keydict_get_or(const weakref_keydict *dict, const void *key, void *fallback)
{
	void *found;

	return likely(look_up_quickly(dict, key, fallback, &found)) ? found : get_slowly(dict, key, fallback);
}

/* keys_part_fn. */
static long get_some(void *arg, const void *const *keys, size_t n, void **values)
{
	const weakref_keydict *dict = arg;
	const struct table *table = &dict->container.table;
	long found = 0;
	int error = 0;

	if (table->layout == TABLE_BARE)
		for (size_t i = 0; i < n; i++)
			table_quick_expect_slot(table, table_pointer_part(keys[i]), table_fold(table_number_word((uintptr_t)keys[i])));
	for (size_t i = 0; i < n && error == 0; i++) {
		error = weakref_keydict_lookup(dict, keys[i], &values[i]);
		found += error == 0;
		if (error == -WEAKREF_ENOENT || error == -WEAKREF_ESTALE)
			error = 0;
	}
	return error < 0 ? error : found;
}

long weakref_keydict_get_all(const weakref_keydict *dict, const void *const *keys, size_t n, void **values)
{
	int error = check(dict);

	return error < 0 ? error : keys_each_part((void *)(uintptr_t)dict, keys, n, values, get_some);
}

static NOINLINE int contains_slowly(const weakref_keydict *dict, const void *key)
{
	struct table_key ready;
	int error = check(dict);

	if (error < 0)
		return error;
	error = element_probe(rule_of(dict), key, &ready);
	if (error == -WEAKREF_EINVAL && element_excluded(rule_of(dict), key))
		return 0;
	if (error == 0)
		error = table_has(&dict->container.table, &ready);
	BASE_KEEP(key);
	return error == -WEAKREF_ENOENT ? 0 : error < 0 ? error : 1;
}

int weakref_keydict_contains(const weakref_keydict *dict, const void *key)
{
	void *found;

	return likely(look_up_quickly(dict, key, &none, &found)) ? found != &none : contains_slowly(dict, key);
}

void *weakref_keydict_getkey(const weakref_keydict *dict, const void *key)
{
	struct table_key ready;
	void *found = NULL;

	if (check(dict) == 0 && element_probe(rule_of(dict), key, &ready) == 0)
		table_get_key(&dict->container.table, &ready, &found);
	BASE_KEEP(key);
	return found;
}

size_t weakref_keydict_len(const weakref_keydict *dict)
{
	return container_len(dict, DICT_SIGNATURE);
}

/* ---- many at once ---- */

struct copying {
	weakref_keydict *to;
	weakref_copy_fn copy_value; /* NULL: the values as they are */
	void *user;
};

static int copy_entry(const struct container *container, const struct table_entry *entry, void *arg)
{
	const struct copying *copying = arg;
	struct table_key key = entry->key;
	void *value = entry->value, *now;

	(void)container;
	if (copying->copy_value != NULL && value != NULL) {
		errno = 0;
		value = copying->copy_value(value, copying->user);
		if (value == NULL)
			return errno > 0 ? -errno : -WEAKREF_ENOMEM;
	}
	return store(copying->to, &key, value, TABLE_REPLACE, &now);
}

/* Stores all entries of another, the values as they are or as copy_value makes them. */
static int store_all(weakref_keydict *dict, const weakref_keydict *other, weakref_copy_fn copy_value, void *user)
{
	return container_each(&other->container, true, copy_entry, &(struct copying){dict, copy_value, user});
}

int weakref_keydict_update(weakref_keydict *dict, const weakref_keydict *other)
{
	int error = container_check_two(dict, other, DICT_SIGNATURE);

	return error < 0 || dict == other ? error : store_all(dict, other, NULL, NULL);
}

static int pair_ready(const void *dict, const void *key, struct table_key *out)
{
	return element_key(rule_of(dict), key, out);
}

static int pair_store(void *dict, struct table_key *key, void *value)
{
	void *now;

	return store(dict, key, value, TABLE_REPLACE, &now);
}

int weakref_keydict_update_pairs(weakref_keydict *dict, const weakref_pair *pairs, size_t n)
{
	static const struct container_pair_ops pair_ops = {.ready = pair_ready, .store = pair_store};

	return container_pairs(dict, DICT_SIGNATURE, pairs, n, &pair_ops);
}

weakref_keydict *weakref_keydict_copy(const weakref_keydict *dict)
{
	return weakref_keydict_deepcopy(dict, NULL, NULL);
}

weakref_keydict *weakref_keydict_union(const weakref_keydict *a, const weakref_keydict *b)
{
	int error = container_check_two(a, b, DICT_SIGNATURE);

	if (error < 0)
		return container_made(NULL, error);
	weakref_keydict *both = weakref_keydict_copy(a);
	return both == NULL ? NULL : container_made(both, store_all(both, b, NULL, NULL));
}

weakref_keydict *weakref_keydict_deepcopy(const weakref_keydict *dict, weakref_copy_fn copy_value, void *user)
{
	int error = check(dict);

	if (error < 0)
		return container_made(NULL, error);
	weakref_keydict *copy = make(rule_of(dict), dict->weakness);
	return copy == NULL ? NULL : container_made(copy, store_all(copy, dict, copy_value, user));
}

/* ---- iterators ---- */

weakref_keydict_iter *weakref_keydict_iter_new(const weakref_keydict *dict)
{
	return container_iter_new(dict, DICT_SIGNATURE, ITER_SIGNATURE, sizeof(weakref_keydict_iter));
}

int weakref_keydict_iter_next(weakref_keydict_iter *iter, void **key, void **value)
{
	struct table_entry entry;
	int found = container_iter_next(iter, ITER_SIGNATURE, value != NULL, &entry);

	if (found <= 0)
		return found;
	if (key != NULL)
		*key = key_of(&entry);
	if (value != NULL)
		*value = entry.value;
	return 1;
}

/* ---- arrays of entries ---- */

static int fill_key(const struct container *container, const struct table_entry *entry, void *out)
{
	(void)container;
	*(void **)out = key_of(entry);
	return 0;
}

static int fill_item(const struct container *container, const struct table_entry *entry, void *out)
{
	(void)container;
	*(weakref_pair *)out = (weakref_pair){.key = key_of(entry), .value = entry->value};
	return 0;
}

static int fill_ref(const struct container *container, const struct table_entry *entry, void *out)
{
	(void)container;
	return container_fill_ref(key_of(entry), out);
}

weakref_pair *weakref_keydict_items(const weakref_keydict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, CONTAINER_PAIR, true, fill_item);
}

void **weakref_keydict_keys(const weakref_keydict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, 1, false, fill_key);
}

void **weakref_keydict_values(const weakref_keydict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, 1, true, container_fill_value);
}

weakref_ref **weakref_keydict_keyrefs(const weakref_keydict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, 1, false, fill_ref);
}

/* SPDX-License-Identifier: MIT */
/*
 * valuedict: the weak-value dictionary: a table (table.h) whose value words stand in weak arrays (weakarray.h), behind the
 * public interface.
 *
 * It is a container (container.h). What is decided here is what keys look like outside, and what may be a value; what is in the table, and
 * when an entry ends, is decided below.
 *
 * Locks: none of its own; the table takes its stripe. User functions (hash, equal, copy_key) run without it.
 *
 * Deliberately not here: a strong count or list of values; a dictionary never keeps one, iterators only for as long as the caller does.
 */
#include "weakref/valuedict.h"

#include <errno.h>
#include <string.h>

#include "container.h"
#include "keys.h"
#include "table_quick.h"
#include "weakarray.h"

#define DICT_SIGNATURE UINT64_C(0x746369642d6c6176) /* "val-dict" */
#define ITER_SIGNATURE UINT64_C(0x726574692d6c6176) /* "val-iter" */

struct weakref_valuedict {
	struct container container; /* hash: of CUSTOM alone */
	enum weakref_key_kind kind;
};

struct weakref_valuedict_iter {
	struct container_iter iter;
	/* The last key, kept for the caller. */
	struct table_arena *arena;
	weakref_bytes bytes;
};

/* ---- checking arguments ---- */

static int check(const weakref_valuedict *dict)
{
	return container_check(dict, DICT_SIGNATURE);
}

/* Two dictionaries that an operation takes together. */
static int check_two(const weakref_valuedict *a, const weakref_valuedict *b)
{
	int error = container_check_two(a, b, DICT_SIGNATURE);

	return error == 0 && a->kind != b->kind ? -WEAKREF_EINVAL : error;
}

/* Makes a key of the caller's ready. 0, EINVAL, or what hash returned. */
static inline int key_in(const weakref_valuedict *dict, const void *key, struct table_key *out)
{
	return keys_ready(dict->kind, dict->container.hash, dict->container.table.user, key, out);
}

/* The arguments of a call with a key: 0 and the key made ready, or an error. */
static int enter(const weakref_valuedict *dict, const void *key, struct table_key *out)
{
	int error = check(dict);

	return unlikely(error < 0) ? error : key_in(dict, key, out);
}

/* ---- keys on their way out ---- */

static enum weakref_key_kind kind_of(const struct container *container)
{
	return ((const weakref_valuedict *)container)->kind;
}

/* A key as the caller knows it, good while the entry is; *bytes is the room for one of the BYTES kind. */
static const void *key_out(const struct container *container, const struct table_entry *entry, weakref_bytes *bytes)
{
	switch (kind_of(container)) {
	case WEAKREF_KEY_INT:
		return (const void *)(uintptr_t)entry->key.word;
	case WEAKREF_KEY_BYTES:
		*bytes = (weakref_bytes){.data = entry->key.data, .size = entry->key.size};
		return bytes;
	default:
		return entry->key.data;
	}
}

/* Stores a key that outlives the entry: strings and bytes as a copy, in one block with what stands before. 0 or -ENOMEM. */
static int key_copy(const struct container *container, const struct table_entry *entry, void *out)
{
	enum weakref_key_kind kind = kind_of(container);
	size_t head = kind == WEAKREF_KEY_BYTES ? sizeof(weakref_bytes) : 0, size = entry->key.size;

	if (kind != WEAKREF_KEY_STRING && kind != WEAKREF_KEY_BYTES) {
		*(const void **)out = key_out(container, entry, NULL);
		return 0;
	}
	char *copy = heap_alloc_leaf(head + size + 1);
	if (copy == NULL)
		return -WEAKREF_ENOMEM;
	memcpy(copy + head, entry->key.data, size + 1);
	BASE_KEEP(entry->arena);
	if (head != 0)
		*(weakref_bytes *)(void *)copy = (weakref_bytes){.data = copy + head, .size = size};
	*(const void **)out = copy;
	return 0;
}

/* ---- the type ---- */

int weakref_valuedict_repr(const weakref_valuedict *dict, char *buf, size_t size)
{
	return container_repr(dict, DICT_SIGNATURE, buf, size);
}

struct visit {
	gc_visit_fn visit;
	void *user;
	weakref_bytes bytes;
};

static int visit_key(const struct container *container, const struct table_entry *entry, void *arg)
{
	struct visit *visit = arg;

	return visit->visit((void *)(uintptr_t)key_out(container, entry, &visit->bytes), visit->user);
}

/* Visits keys, as iterating a dictionary does. */
static int type_iterate(void *obj, gc_visit_fn visit, void *user)
{
	int error = check(obj);

	return error < 0 ? error : container_each(obj, false, visit_key, &(struct visit){.visit = visit, .user = user});
}

/* ESTALE would read as a dead proxy's. */
static int type_getitem(void *obj, void *key, void **value)
{
	int error = weakref_valuedict_lookup(obj, key, value);

	return error == -WEAKREF_ESTALE ? -WEAKREF_ENOENT : error;
}

static int type_setitem(void *obj, void *key, void *value)
{
	return weakref_valuedict_set(obj, key, value);
}

static int type_delitem(void *obj, void *key)
{
	return weakref_valuedict_delete(obj, key);
}

static int type_contains(void *obj, void *key)
{
	return weakref_valuedict_contains(obj, key);
}

static const gc_type dict_type;

/* The union of two. */
static int type_operate(void *obj, enum weakref_operator op, void *operand, void **result)
{
	if (op != WEAKREF_OP_OR || gc_type_of(operand) != &dict_type)
		return -WEAKREF_ENOTSUP;
	*result = weakref_valuedict_union(obj, operand);
	return *result != NULL ? 0 : -errno;
}

static int type_inplace(void *obj, enum weakref_operator op, void *operand, void **result)
{
	if (op != WEAKREF_OP_OR || gc_type_of(operand) != &dict_type)
		return -WEAKREF_ENOTSUP;
	int error = weakref_valuedict_update(obj, operand);
	if (error == 0)
		*result = obj;
	return error;
}

static const gc_type dict_type = {
	.name = "WeakValueDictionary",
	.size = sizeof(struct weakref_valuedict),
	.repr = container_type_repr,
	.len = container_type_len,
	.truth = container_type_truth,
	.iterate = type_iterate,
	.getitem = type_getitem,
	.setitem = type_setitem,
	.delitem = type_delitem,
	.contains = type_contains,
	.operate = type_operate,
	.inplace = type_inplace,
};

/* ---- making ---- */

/* How keys are looked up: as keys of a kind are. */
static uint8_t way_of(enum weakref_key_kind kind)
{
	return (uint8_t)(kind + 1);
}

static weakref_valuedict *make(enum weakref_key_kind kind, struct element_rule rule)
{
	enum table_layout layout = kind <= WEAKREF_KEY_BYTES ? TABLE_BYTES : kind == WEAKREF_KEY_CUSTOM ? TABLE_HASHED : TABLE_WORD;
	weakref_valuedict *dict = container_new(&dict_type, &element_ops, layout, kind == WEAKREF_KEY_POINTER, rule);

	if (dict == NULL)
		return NULL;
	dict->kind = kind;
	dict->container.table.signature = container_sign(DICT_SIGNATURE, way_of(kind));
	return dict;
}

/* An empty one of the same kind. */
static weakref_valuedict *make_like(const weakref_valuedict *dict)
{
	return make(dict->kind, container_rule(&dict->container));
}

weakref_valuedict *weakref_valuedict_new(enum weakref_key_kind kind)
{
	if ((unsigned)kind >= WEAKREF_KEY_CUSTOM)
		return base_null(WEAKREF_EINVAL);
	return make(kind, (struct element_rule){0});
}

weakref_valuedict *weakref_valuedict_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	if (hash == NULL || equal == NULL)
		return base_null(WEAKREF_EINVAL);
	return make(WEAKREF_KEY_CUSTOM, (struct element_rule){.hash = hash, .equal = equal, .user = user});
}

weakref_valuedict *weakref_valuedict_from_pairs(enum weakref_key_kind kind, const weakref_pair *pairs, size_t n)
{
	weakref_valuedict *dict = weakref_valuedict_new(kind);

	return dict == NULL ? NULL : container_made(dict, weakref_valuedict_update_pairs(dict, pairs, n));
}

/* ---- the usual look-ups ---- */

/* The usual case: a short string, which is there, or, with NULL, is not. */
static inline __attribute__((always_inline)) bool find_string(const weakref_valuedict *dict, const void *key, void **value)
{
	void *found;

	if (unlikely(heap_thread == NULL || !container_looks_up(dict, DICT_SIGNATURE, way_of(WEAKREF_KEY_STRING)) || key == NULL ||
		     !table_quick_string(&dict->container.table, key, &found)))
		return false;
	*value = found;
	return true;
}

/* And an integer. */
static inline __attribute__((always_inline)) bool find_int(const weakref_valuedict *dict, const void *key, void **value)
{
	void *found;

	if (unlikely(heap_thread == NULL || !container_looks_up(dict, DICT_SIGNATURE, way_of(WEAKREF_KEY_INT)) ||
		     !table_quick_integer(&dict->container.table, (uintptr_t)key, &found)))
		return false;
	*value = found;
	return true;
}

/* ---- writing ---- */

/* Under a key that is ready. */
static int store(weakref_valuedict *dict, const struct table_key *ready, void *value, enum table_put_mode mode, void **now)
{
	uintptr_t raw = weakarray_encode(value);

	if (unlikely(raw == 0))
		return -WEAKREF_EINVAL;
	int error = table_put(&dict->container.table, ready, raw, mode, now);
	BASE_KEEP(value);
	return error;
}

static int put(weakref_valuedict *dict, const void *key, void *value, enum table_put_mode mode, void **now)
{
	struct table_key ready;
	int error = enter(dict, key, &ready);

	if (unlikely(error < 0))
		return error;
	table_expect(&dict->container.table, &ready);
	error = store(dict, &ready, value, mode, now);
	BASE_KEEP(key);
	return error;
}

int weakref_valuedict_set(weakref_valuedict *dict, const void *key, void *value)
{
	void *now;

	return put(dict, key, value, TABLE_REPLACE, &now);
}

static NOINLINE void *setdefault_slowly(weakref_valuedict *dict, const void *key, void *value)
{
	void *now = NULL;
	int error = put(dict, key, value, TABLE_KEEP, &now);

	if (error < 0)
		return base_null((enum weakref_error)-error);
	return now != NULL ? now : value;
}

void *weakref_valuedict_setdefault(weakref_valuedict *dict, const void *key, void *value)
{
	void *found;

	if ((find_string(dict, key, &found) || find_int(dict, key, &found)) && found != NULL && weakarray_encode(value) != 0)
		return found;
	return setdefault_slowly(dict, key, value);
}

int weakref_valuedict_pop(weakref_valuedict *dict, const void *key, void **value)
{
	struct table_key ready;
	void *taken = NULL;
	int error = enter(dict, key, &ready);

	if (error == 0)
		error = table_take(&dict->container.table, &ready, &taken);
	if (value != NULL)
		*value = taken;
	return error;
}

int weakref_valuedict_delete(weakref_valuedict *dict, const void *key)
{
	return weakref_valuedict_pop(dict, key, NULL);
}

void *weakref_valuedict_pop_or(weakref_valuedict *dict, const void *key, void *fallback)
{
	void *value;

	return weakref_valuedict_pop(dict, key, &value) == 0 ? value : fallback;
}

/* The key is copied before the entry is taken, and that without a lock. */
int weakref_valuedict_popitem(weakref_valuedict *dict, const void **key, void **value)
{
	struct table_entry entry;
	void *taken, *copy = NULL;
	int error = container_take_any(dict, DICT_SIGNATURE, key == NULL ? NULL : key_copy, &copy, &entry, &taken);

	if (error < 0)
		return error;
	BASE_KEEP(entry.key.data);
	if (key != NULL)
		*key = copy;
	if (value != NULL)
		*value = taken;
	return 0;
}

int weakref_valuedict_clear(weakref_valuedict *dict)
{
	return container_clear(dict, DICT_SIGNATURE);
}

/* ---- reading ---- */

/* With a key that was made ready. 0; -WEAKREF_ENOENT or another error, with NULL. */
static inline int look_up_ready(const weakref_valuedict *dict, const struct table_key *ready, void **value)
{
	const struct table *table = &dict->container.table;

	*value = NULL;
	if (table->layout != TABLE_BYTES || ready->size >= TABLE_QUICK_MAX ||
	    !table_quick_bytes(table, ready->hash, ready->data, ready->size, value))
		return table_get(table, ready, value);
	return *value != NULL ? 0 : -WEAKREF_ENOENT;
}

/* Not inlined: what it needs of the stack would be set up for every look-up. */
static NOINLINE int look_up_slowly(const weakref_valuedict *dict, const void *key, void **value)
{
	struct table_key ready;
	void *found = NULL;
	int error = enter(dict, key, &ready);

	if (likely(error == 0))
		error = look_up_ready(dict, &ready, &found);
	if (value != NULL)
		*value = found;
	return error;
}

static NOINLINE void *get_slowly(const weakref_valuedict *dict, const void *key)
{
	void *found;

	look_up_slowly(dict, key, &found);
	return found;
}

/* In a function of its own, so that neither of the two needs registers for the other. */
static NOINLINE void *get_no_string(const weakref_valuedict *dict, const void *key)
{
	void *found;

	return likely(find_int(dict, key, &found)) ? found : get_slowly(dict, key);
}

void *weakref_valuedict_get(const weakref_valuedict *dict, const void *key)
{
	void *found;

	return likely(find_string(dict, key, &found)) ? found : get_no_string(dict, key);
}

int weakref_valuedict_lookup(const weakref_valuedict *dict, const void *key, void **value)
{
	void *found;

	if (unlikely(value == NULL || !(find_string(dict, key, &found) || find_int(dict, key, &found))))
		return look_up_slowly(dict, key, value);
	*value = found;
	return found != NULL ? 0 : -WEAKREF_ENOENT;
}

void *weakref_valuedict_get_or(const weakref_valuedict *dict, const void *key, void *fallback)
{
	void *found = weakref_valuedict_get(dict, key);

	return found != NULL ? found : fallback;
}

/* keys_part_fn: an error of a key's leaves those before it looked up. */
static long get_some(void *arg, const void *const *keys, size_t n, void **values)
{
	const weakref_valuedict *dict = arg;
	const struct table *table = &dict->container.table;
	struct table_key ready[KEYS_TOGETHER];
	size_t good = 0;
	long found = 0;
	int refused = 0, error = 0;

	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(keys[i]);
	while (good < n && refused == 0) {
		refused = key_in(dict, keys[good], &ready[good]);
		if (likely(refused == 0)) {
			table_quick_expect_slot(table, ready[good].part, ready[good].hash);
			good++;
		}
	}
	if (table->layout == TABLE_BYTES)
		for (size_t i = 0; i < good; i++)
			table_quick_expect_key(table, ready[i].hash);
	for (size_t i = 0; i < good && error == 0; i++) {
		error = look_up_ready(dict, &ready[i], &values[i]);
		found += error == 0;
		if (error == -WEAKREF_ENOENT || error == -WEAKREF_ESTALE)
			error = 0;
	}
	/* What was a key is not to be kept by what is left on the stack. */
	base_forget(ready, sizeof ready);
	return error < 0 ? error : refused < 0 ? refused : found;
}

long weakref_valuedict_get_all(const weakref_valuedict *dict, const void *const *keys, size_t n, void **values)
{
	int error = check(dict);

	return error < 0 ? error : keys_each_part((void *)(uintptr_t)dict, keys, n, values, get_some);
}

static NOINLINE int contains_slowly(const weakref_valuedict *dict, const void *key)
{
	struct table_key ready;
	int error = enter(dict, key, &ready);

	if (error == 0)
		error = table_has(&dict->container.table, &ready);
	if (error == -WEAKREF_ENOENT || error == -WEAKREF_ESTALE)
		return 0;
	return error < 0 ? error : 1;
}

int weakref_valuedict_contains(const weakref_valuedict *dict, const void *key)
{
	void *found;

	if (likely(find_string(dict, key, &found) || find_int(dict, key, &found)))
		return found != NULL;
	return contains_slowly(dict, key);
}

size_t weakref_valuedict_len(const weakref_valuedict *dict)
{
	return container_len(dict, DICT_SIGNATURE);
}

/* ---- many at once ---- */

static int copy_entry(const struct container *container, const struct table_entry *entry, void *arg)
{
	struct container *to = arg;
	void *now;

	(void)container;
	return table_put(&to->table, &entry->key, entry->raw, TABLE_REPLACE, &now);
}

int weakref_valuedict_update(weakref_valuedict *dict, const weakref_valuedict *other)
{
	int error = check_two(dict, other);

	return error < 0 || dict == other ? error : container_each(&other->container, true, copy_entry, dict);
}

static int pair_ready(const void *dict, const void *key, struct table_key *out)
{
	return key_in(dict, key, out);
}

static int pair_check(const void *value)
{
	return weakarray_encode(value) != 0 ? 0 : -WEAKREF_EINVAL;
}

static int pair_store(void *dict, struct table_key *key, void *value)
{
	void *now;

	return store(dict, key, value, TABLE_REPLACE, &now);
}

int weakref_valuedict_update_pairs(weakref_valuedict *dict, const weakref_pair *pairs, size_t n)
{
	static const struct container_pair_ops pair_ops = {.ready = pair_ready, .check = pair_check, .store = pair_store};

	return container_pairs(dict, DICT_SIGNATURE, pairs, n, &pair_ops);
}

weakref_valuedict *weakref_valuedict_copy(const weakref_valuedict *dict)
{
	return weakref_valuedict_deepcopy(dict, NULL, NULL);
}

weakref_valuedict *weakref_valuedict_union(const weakref_valuedict *a, const weakref_valuedict *b)
{
	int error = check_two(a, b);

	if (error < 0)
		return container_made(NULL, error);
	weakref_valuedict *both = weakref_valuedict_copy(a);
	return both == NULL ? NULL : container_made(both, weakref_valuedict_update(both, b));
}

struct copying {
	weakref_valuedict *to;
	weakref_copy_fn copy_key;
	void *user;
};

/* Stores an entry in a copy, under a key that copy_key made. */
static int copy_entry_and_key(const struct container *container, const struct table_entry *entry, void *arg)
{
	const struct copying *copying = arg;
	struct table_key ready;
	weakref_bytes bytes;
	void *now;

	errno = 0;
	void *key = copying->copy_key(key_out(container, entry, &bytes), copying->user);
	if (key == NULL)
		return errno > 0 ? -errno : -WEAKREF_ENOMEM;
	int error = key_in(copying->to, key, &ready);
	if (error == 0)
		error = table_put(&copying->to->container.table, &ready, entry->raw, TABLE_REPLACE, &now);
	BASE_KEEP(key);
	return error;
}

/* Integers are their own copies. */
weakref_valuedict *weakref_valuedict_deepcopy(const weakref_valuedict *dict, weakref_copy_fn copy_key, void *user)
{
	int error = check(dict);

	if (error < 0)
		return container_made(NULL, error);
	weakref_valuedict *copy = make_like(dict);
	if (copy == NULL)
		return NULL;
	if (copy_key == NULL || dict->kind == WEAKREF_KEY_INT)
		return container_made(copy, weakref_valuedict_update(copy, dict));
	return container_made(copy, container_each(&dict->container, true, copy_entry_and_key, &(struct copying){copy, copy_key, user}));
}

/* ---- iterators ---- */

weakref_valuedict_iter *weakref_valuedict_iter_new(const weakref_valuedict *dict)
{
	return container_iter_new(dict, DICT_SIGNATURE, ITER_SIGNATURE, sizeof(weakref_valuedict_iter));
}

int weakref_valuedict_iter_next(weakref_valuedict_iter *iter, const void **key, void **value)
{
	struct table_entry entry;
	int found = container_iter_next(iter, ITER_SIGNATURE, value != NULL, &entry);

	if (found <= 0)
		return found;
	iter->arena = entry.arena;
	if (key != NULL)
		*key = key_out(iter->iter.container, &entry, &iter->bytes);
	if (value != NULL)
		*value = entry.value;
	return 1;
}

/* ---- arrays of entries ---- */

static int fill_item(const struct container *container, const struct table_entry *entry, void *out)
{
	weakref_pair *pair = out;
	int error = key_copy(container, entry, &pair->key);

	pair->value = entry->value;
	return error;
}

static int fill_ref(const struct container *container, const struct table_entry *entry, void *out)
{
	(void)container;
	return container_fill_ref(entry->value, out);
}

weakref_pair *weakref_valuedict_items(const weakref_valuedict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, CONTAINER_PAIR, true, fill_item);
}

const void **weakref_valuedict_keys(const weakref_valuedict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, 1, false, key_copy);
}

void **weakref_valuedict_values(const weakref_valuedict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, 1, true, container_fill_value);
}

weakref_ref **weakref_valuedict_valuerefs(const weakref_valuedict *dict, size_t *n)
{
	return container_array(dict, DICT_SIGNATURE, n, 1, true, fill_ref);
}

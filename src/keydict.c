/* SPDX-License-Identifier: MIT */
/*
 * keydict: the dictionary whose keys are weak: a table (table.h) of layout PAIR, whose slots hold key and value (the payload)
 * for the collector to decide about (slots.h), behind the public interface. The weakness is the arrays'; nothing else here
 * depends on it.
 *
 * The object is a typed one; the table stands at its start, since segments point to it there.
 *
 * Invariant: the signature is written last, so whoever passes it sees a whole dictionary.
 *
 * Locks: none of its own; the table takes its stripe. User functions (hash, equal, copy_value) run without it.
 *
 * Deliberately not here: the ephemerons themselves, which are the collector's side; the dictionary whose values alone are weak
 * (valuedict.c), since its keys are of many kinds and need no help of the collector's.
 */
#include "weakref/keydict.h"

#include <stdio.h>
#include <string.h>

#include "element.h"
#include "heap.h"
#include "table_quick.h"
#include "weakarray.h"
#include "weakref/object.h"

#define DICT_SIGNATURE UINT64_C(0x746369642d79656b) /* "key-dict" */
#define ITER_SIGNATURE UINT64_C(0x726574692d79656b) /* "key-iter" */

struct weakref_keydict {
	struct table table;
	weakref_hash_fn hash; /* NULL: by identity; equal and user are the table's */
	enum weakref_weakness weakness;
};

struct weakref_keydict_iter {
	uint64_t signature;
	const weakref_keydict *dict;
	struct table_iter at;
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

static bool is_dict(const weakref_keydict *dict)
{
	return dict != NULL && (uintptr_t)dict % _Alignof(struct weakref_keydict) == 0 && dict->table.signature == DICT_SIGNATURE;
}

static int check(const weakref_keydict *dict)
{
	int error = heap_thread_check();

	if (unlikely(error < 0))
		return error;
	return likely(is_dict(dict)) ? 0 : -WEAKREF_EINVAL;
}

static struct element_rule rule_of(const weakref_keydict *dict)
{
	return element_rule(&dict->table, dict->hash);
}

static int check_two(const weakref_keydict *a, const weakref_keydict *b)
{
	int error = check(a);

	if (error == 0)
		error = check(b);
	if (error == 0 && !element_same_rule(rule_of(a), rule_of(b)))
		error = -WEAKREF_EINVAL;
	return error;
}

/* The arguments of a call that looks a key up: 0 and the key made ready, or an error. */
static int enter(const weakref_keydict *dict, const void *key, struct table_key *out)
{
	int error = check(dict);

	return unlikely(error < 0) ? error : element_probe(rule_of(dict), key, out);
}

/* ---- the type ---- */

int weakref_keydict_repr(const weakref_keydict *dict, char *buf, size_t size)
{
	if (!is_dict(dict) || (buf == NULL && size != 0))
		return -WEAKREF_EINVAL;
	return snprintf(buf, size, "<WeakKeyDictionary at %p>", (const void *)dict);
}

static int type_repr(void *obj, char *buf, size_t size)
{
	return weakref_keydict_repr(obj, buf, size);
}

static int type_len(void *obj, size_t *out)
{
	*out = weakref_keydict_len(obj);
	return 0;
}

static int type_truth(void *obj)
{
	return weakref_keydict_len(obj) != 0;
}

/* Visits keys, as iterating a dictionary does. */
static int type_iterate(void *obj, gc_visit_fn visit, void *user)
{
	const weakref_keydict *dict = obj;
	struct table_entry entry;
	struct table_iter iter;
	int result = check(dict);

	if (result < 0)
		return result;
	table_iter_init(&iter, &dict->table);
	while ((result = table_iter_next(&iter, false, &entry)) > 0) {
		int stop = visit((void *)(uintptr_t)entry.key.data, user);
		if (stop != 0)
			return stop;
	}
	return result;
}

static const gc_type dict_type = {
	.name = "WeakKeyDictionary",
	.size = sizeof(struct weakref_keydict),
	.repr = type_repr,
	.len = type_len,
	.truth = type_truth,
	.iterate = type_iterate,
};

/* ---- making ---- */

static weakref_keydict *make(struct element_rule rule, enum weakref_weakness weakness)
{
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error < 0)
		return base_null((enum weakref_error)-error);
	weakref_keydict *dict = gc_new(&dict_type);
	if (dict == NULL)
		return NULL;
	dict->hash = rule.hash;
	dict->weakness = weakness;
	error = table_init(&dict->table, &ops[weakness], TABLE_PAIR, false, rule.equal, rule.user);
	if (error < 0)
		return base_null((enum weakref_error)-error);
	dict->table.signature = DICT_SIGNATURE;
	return dict;
}

static weakref_keydict *make_like(const weakref_keydict *dict)
{
	return make(rule_of(dict), dict->weakness);
}

/* The end of a constructor: the dictionary, or NULL with errno. */
static weakref_keydict *made(weakref_keydict *dict, int error)
{
	return error < 0 ? base_null((enum weakref_error)-error) : dict;
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

	return dict == NULL ? NULL : made(dict, weakref_keydict_update_pairs(dict, pairs, n));
}

/* ---- writing ---- */

/* Stores under a key that is ready. 0, TABLE_KEPT, or an error. */
static int store(weakref_keydict *dict, struct table_key *key, void *value, enum table_put_mode mode, void **now)
{
	enum slots_payload kind;

	table_expect(&dict->table, key);
	uintptr_t payload = weakarray_encode_payload(value, &kind);

	table_key_tag(key, kind);
	int result = table_put(&dict->table, key, payload, mode, now);
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
	return unlikely(error < 0) ? error : store(dict, &ready, value, mode, now);
}

int weakref_keydict_set(weakref_keydict *dict, void *key, void *value)
{
	void *now;

	return put(dict, key, value, TABLE_REPLACE, &now);
}

void *weakref_keydict_setdefault(weakref_keydict *dict, void *key, void *value)
{
	void *now = NULL;
	int result = put(dict, key, value, TABLE_KEEP, &now);

	if (result < 0)
		return base_null((enum weakref_error)-result);
	return result == TABLE_KEPT ? now : value;
}

int weakref_keydict_pop(weakref_keydict *dict, const void *key, void **value)
{
	struct table_key ready;
	void *taken = NULL;
	int error = enter(dict, key, &ready);

	if (error == 0) {
		error = table_take(&dict->table, &ready, &taken);
		error = element_missing(rule_of(dict), key, error);
	}
	BASE_KEEP(key);
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
	struct table_place place;
	struct table_entry entry;
	void *taken;
	int error = check(dict);

	/* Another may be faster: then the next one will do. */
	do {
		if (error == 0)
			error = table_any(&dict->table, &place, &entry);
		if (error < 0)
			return error;
	} while (!table_take_at(&dict->table, &place, &taken));
	if (key != NULL)
		*key = (void *)(uintptr_t)entry.key.data;
	if (value != NULL)
		*value = taken;
	BASE_KEEP(entry.key.data);
	return 0;
}

int weakref_keydict_clear(weakref_keydict *dict)
{
	int error = check(dict);

	return error < 0 ? error : table_clear(&dict->table);
}

/* ---- reading ---- */

/* Not inlined: what it needs of the stack would be set up for every look-up. */
static NOINLINE int look_up_slowly(const weakref_keydict *dict, const void *key, void **value)
{
	struct table_key ready;
	void *found = NULL;
	int error = enter(dict, key, &ready);

	if (likely(error == 0)) {
		error = table_get(&dict->table, &ready, &found);
		error = element_missing(rule_of(dict), key, error);
	}
	BASE_KEEP(key);
	if (value != NULL)
		*value = found;
	return error;
}

/* The usual case: a key that is there, in a dictionary by identity. */
static inline __attribute__((always_inline)) bool look_up_quickly(const weakref_keydict *dict, const void *key, void **value)
{
	if (unlikely(heap_thread == NULL || !is_dict(dict) || dict->hash != NULL || !table_quick_bare(&dict->table, key, value)))
		return false;
	BASE_KEEP(key);
	return true;
}

int weakref_keydict_lookup(const weakref_keydict *dict, const void *key, void **value)
{
	void *found;

	if (value == NULL || unlikely(!look_up_quickly(dict, key, &found)))
		return look_up_slowly(dict, key, value);
	*value = found;
	return 0;
}

void *weakref_keydict_get(const weakref_keydict *dict, const void *key)
{
	return weakref_keydict_get_or(dict, key, NULL);
}

void *weakref_keydict_get_or(const weakref_keydict *dict, const void *key, void *fallback)
{
	void *found;

	if (likely(look_up_quickly(dict, key, &found)))
		return found;
	return look_up_slowly(dict, key, &found) == 0 ? found : fallback;
}

int weakref_keydict_contains(const weakref_keydict *dict, const void *key)
{
	struct table_key ready;
	int error = check(dict);

	if (error < 0)
		return error;
	error = element_probe(rule_of(dict), key, &ready);
	if (error == -WEAKREF_EINVAL && element_excluded(rule_of(dict), key))
		return 0;
	if (error == 0)
		error = table_has(&dict->table, &ready);
	BASE_KEEP(key);
	return error == -WEAKREF_ENOENT ? 0 : error < 0 ? error : 1;
}

size_t weakref_keydict_len(const weakref_keydict *dict)
{
	return is_dict(dict) ? table_len(&dict->table) : 0;
}

/* ---- many at once ---- */

/* Stores all entries of another, the values as they are or as copy_value makes them. */
static int store_all(weakref_keydict *dict, const weakref_keydict *other, weakref_copy_fn copy_value, void *user)
{
	struct table_entry entry;
	struct table_iter iter;
	int result;
	void *now;

	table_iter_init(&iter, &other->table);
	while ((result = table_iter_next(&iter, true, &entry)) > 0) {
		void *value = entry.value;
		if (copy_value != NULL && value != NULL) {
			errno = 0;
			value = copy_value(entry.value, user);
			if (value == NULL)
				return errno > 0 ? -errno : -WEAKREF_ENOMEM;
		}
		result = store(dict, &entry.key, value, TABLE_REPLACE, &now);
		BASE_KEEP(entry.key.data);
		if (result < 0)
			break;
	}
	return result;
}

int weakref_keydict_update(weakref_keydict *dict, const weakref_keydict *other)
{
	int error = check_two(dict, other);

	return error < 0 || dict == other ? error : store_all(dict, other, NULL, NULL);
}

/* All keys are looked at before the first pair is stored. */
int weakref_keydict_update_pairs(weakref_keydict *dict, const weakref_pair *pairs, size_t n)
{
	struct table_key ready;
	int error = check(dict);

	if (error == 0 && pairs == NULL && n != 0)
		error = -WEAKREF_EINVAL;
	for (size_t i = 0; i < n && error == 0; i++)
		error = element_key(rule_of(dict), pairs[i].key, &ready);
	for (size_t i = 0; i < n && error == 0; i++)
		error = weakref_keydict_set(dict, (void *)(uintptr_t)pairs[i].key, pairs[i].value);
	return error;
}

weakref_keydict *weakref_keydict_copy(const weakref_keydict *dict)
{
	return weakref_keydict_deepcopy(dict, NULL, NULL);
}

weakref_keydict *weakref_keydict_union(const weakref_keydict *a, const weakref_keydict *b)
{
	int error = check_two(a, b);

	if (error < 0)
		return made(NULL, error);
	weakref_keydict *both = weakref_keydict_copy(a);
	return both == NULL ? NULL : made(both, store_all(both, b, NULL, NULL));
}

weakref_keydict *weakref_keydict_deepcopy(const weakref_keydict *dict, weakref_copy_fn copy_value, void *user)
{
	int error = check(dict);

	if (error < 0)
		return made(NULL, error);
	weakref_keydict *copy = make_like(dict);
	return copy == NULL ? NULL : made(copy, store_all(copy, dict, copy_value, user));
}

/* ---- iterators ---- */

weakref_keydict_iter *weakref_keydict_iter_new(const weakref_keydict *dict)
{
	int error = check(dict);

	if (error < 0)
		return base_null((enum weakref_error)-error);
	weakref_keydict_iter *iter = heap_alloc(sizeof *iter);
	if (iter == NULL)
		return NULL;
	iter->dict = dict;
	table_iter_init(&iter->at, &dict->table);
	iter->signature = ITER_SIGNATURE;
	return iter;
}

int weakref_keydict_iter_next(weakref_keydict_iter *iter, void **key, void **value)
{
	struct table_entry entry;
	int error = heap_thread_check();

	if (error < 0)
		return error;
	if (iter == NULL || (uintptr_t)iter % _Alignof(struct weakref_keydict_iter) != 0 || iter->signature != ITER_SIGNATURE)
		return -WEAKREF_EINVAL;
	int found = table_iter_next(&iter->at, value != NULL, &entry);
	if (found <= 0)
		return found;
	if (key != NULL)
		*key = (void *)(uintptr_t)entry.key.data;
	if (value != NULL)
		*value = entry.value;
	return 1;
}

/* ---- arrays of entries ---- */

enum element { ELEMENT_KEY, ELEMENT_VALUE, ELEMENT_ITEM, ELEMENT_REF };

/* Fills one element of such an array, zeroed before. 0 or a negative error. */
static int element_fill(enum element element, const struct table_entry *entry, void **out)
{
	void *key = (void *)(uintptr_t)entry->key.data;

	switch (element) {
	case ELEMENT_KEY:
		*out = key;
		return 0;
	case ELEMENT_VALUE:
		*out = entry->value;
		return 0;
	case ELEMENT_ITEM:
		*(weakref_pair *)out = (weakref_pair){.key = key, .value = entry->value};
		return 0;
	case ELEMENT_REF:
		*out = weakref_ref_new(key, NULL, NULL);
		return *out == NULL ? -errno : 0;
	}
	return -WEAKREF_EINVAL;
}

_Static_assert(sizeof(weakref_pair) == 2 * sizeof(void *), "an item is an element of two words");

/* An array of the heap. NULL with errno. */
static void *collect(const weakref_keydict *dict, size_t *n, enum element element)
{
	bool want_value = element == ELEMENT_VALUE || element == ELEMENT_ITEM;
	size_t count = 0, width = element == ELEMENT_ITEM ? 2 : 1;
	struct table_entry entry;
	struct table_iter iter;
	int error = n == NULL ? -WEAKREF_EINVAL : check(dict);

	if (error < 0)
		return base_null((enum weakref_error)-error);
	size_t room = table_len(&dict->table) + 1;
	void **array = heap_alloc(room * width * sizeof *array);
	if (array == NULL)
		return NULL;
	table_iter_init(&iter, &dict->table);
	while ((error = table_iter_next(&iter, want_value, &entry)) > 0) {
		if (count == room) {
			void **more = heap_alloc(2 * room * width * sizeof *more);
			if (more == NULL)
				return NULL;
			array = memcpy(more, array, room * width * sizeof *more);
			room *= 2;
		}
		error = element_fill(element, &entry, &array[count * width]);
		BASE_KEEP(entry.key.data);
		BASE_KEEP(entry.value);
		if (error < 0)
			break;
		count++;
	}
	if (error < 0)
		return base_null((enum weakref_error)-error);
	*n = count;
	return array;
}

weakref_pair *weakref_keydict_items(const weakref_keydict *dict, size_t *n)
{
	return collect(dict, n, ELEMENT_ITEM);
}

void **weakref_keydict_keys(const weakref_keydict *dict, size_t *n)
{
	return collect(dict, n, ELEMENT_KEY);
}

void **weakref_keydict_values(const weakref_keydict *dict, size_t *n)
{
	return collect(dict, n, ELEMENT_VALUE);
}

weakref_ref **weakref_keydict_keyrefs(const weakref_keydict *dict, size_t *n)
{
	return collect(dict, n, ELEMENT_REF);
}

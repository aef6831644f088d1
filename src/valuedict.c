/* SPDX-License-Identifier: MIT */
/*
 * valuedict: the weak-value dictionary: a table (table.h) whose value words stand in weak arrays (weakarray.h), behind the
 * public interface.
 *
 * What is decided here is what keys look like outside, and what may be a value; what is in the table, and when an entry ends, is decided
 * below. The object is a typed one; the table stands at its start, since segments point to it there.
 *
 * Invariant: the signature is written last, so whoever passes it sees a whole dictionary.
 *
 * Locks: none of its own; the table takes its stripe. User functions (hash, equal, copy_key) run without it.
 *
 * Deliberately not here: a strong count or list of values; a dictionary never keeps one, iterators only for as long as the caller does.
 */
#include <stdio.h>
#include <string.h>

#include "heap.h"
#include "keys.h"
#include "table_quick.h"
#include "weakarray.h"
#include "weakref/object.h"
#include "weakref/valuedict.h"

#define DICT_SIGNATURE UINT64_C(0x746369642d6c6176) /* "val-dict" */
#define ITER_SIGNATURE UINT64_C(0x726574692d6c6176) /* "val-iter" */

struct weakref_valuedict {
	struct table table;
	enum weakref_key_kind kind;
	weakref_hash_fn hash; /* CUSTOM; equal and user are the table's */
};

struct weakref_valuedict_iter {
	uint64_t signature;
	const weakref_valuedict *dict;
	struct table_iter at;
	/* The last key, kept for the caller. */
	struct table_arena *arena;
	weakref_bytes bytes;
};

static const struct table_ops heap_ops = {
	.alloc = heap_alloc,
	.alloc_leaf = heap_alloc_leaf,
	.slots_new = weakarray_new,
	.set_owner = weakarray_set_owner,
};

/* ---- checking arguments ---- */

static bool is_dict(const weakref_valuedict *dict)
{
	return dict != NULL && (uintptr_t)dict % _Alignof(struct weakref_valuedict) == 0 && dict->table.signature == DICT_SIGNATURE;
}

static int check(const weakref_valuedict *dict)
{
	int error = heap_thread_check();

	if (unlikely(error < 0))
		return error;
	return likely(is_dict(dict)) ? 0 : -WEAKREF_EINVAL;
}

/* Makes a key of the caller's ready. 0, EINVAL, or what hash returned. */
static inline int key_in(const weakref_valuedict *dict, const void *key, struct table_key *out)
{
	return keys_ready(dict->kind, dict->hash, dict->table.user, key, out);
}

/* The arguments of a call with a key: 0 and the key made ready, or an error. */
static int enter(const weakref_valuedict *dict, const void *key, struct table_key *out)
{
	int error = check(dict);

	return unlikely(error < 0) ? error : key_in(dict, key, out);
}

/* ---- keys on their way out ---- */

/* A key as the caller knows it, good while the entry is; *bytes is the room for one of the BYTES kind. */
static const void *key_out(const weakref_valuedict *dict, const struct table_entry *entry, weakref_bytes *bytes)
{
	switch (dict->kind) {
	case WEAKREF_KEY_INT:
		return (const void *)(uintptr_t)entry->key.word;
	case WEAKREF_KEY_BYTES:
		*bytes = (weakref_bytes){.data = entry->key.data, .size = entry->key.size};
		return bytes;
	default:
		return entry->key.data;
	}
}

/* A key that outlives the entry: strings and bytes as a copy, in one block with what stands before. 0 or -ENOMEM. */
static int key_copy(const weakref_valuedict *dict, const struct table_entry *entry, const void **out)
{
	size_t head = dict->kind == WEAKREF_KEY_BYTES ? sizeof(weakref_bytes) : 0, size = entry->key.size;

	if (dict->kind != WEAKREF_KEY_STRING && dict->kind != WEAKREF_KEY_BYTES) {
		*out = key_out(dict, entry, NULL);
		return 0;
	}
	char *copy = heap_alloc_leaf(head + size + 1);
	if (copy == NULL)
		return -WEAKREF_ENOMEM;
	memcpy(copy + head, entry->key.data, size + 1);
	BASE_KEEP(entry->arena);
	if (head != 0)
		*(weakref_bytes *)(void *)copy = (weakref_bytes){.data = copy + head, .size = size};
	*out = copy;
	return 0;
}

/* ---- the type ---- */

int weakref_valuedict_repr(const weakref_valuedict *dict, char *buf, size_t size)
{
	if (!is_dict(dict) || (buf == NULL && size != 0))
		return -WEAKREF_EINVAL;
	return snprintf(buf, size, "<WeakValueDictionary at %p>", (const void *)dict);
}

static int type_repr(void *obj, char *buf, size_t size)
{
	return weakref_valuedict_repr(obj, buf, size);
}

static int type_len(void *obj, size_t *out)
{
	*out = weakref_valuedict_len(obj);
	return 0;
}

static int type_truth(void *obj)
{
	return weakref_valuedict_len(obj) != 0;
}

/* Visits keys, as iterating a dictionary does. */
static int type_iterate(void *obj, gc_visit_fn visit, void *user)
{
	const weakref_valuedict *dict = obj;
	struct table_entry entry;
	struct table_iter iter;
	weakref_bytes bytes;
	int result = check(dict);

	if (result < 0)
		return result;
	table_iter_init(&iter, &dict->table);
	while ((result = table_iter_next(&iter, false, &entry)) > 0) {
		int stop = visit((void *)(uintptr_t)key_out(dict, &entry, &bytes), user);
		BASE_KEEP(entry.arena);
		if (stop != 0)
			return stop;
	}
	return result;
}

static const gc_type dict_type = {
	.name = "WeakValueDictionary",
	.size = sizeof(struct weakref_valuedict),
	.repr = type_repr,
	.len = type_len,
	.truth = type_truth,
	.iterate = type_iterate,
};

/* ---- making ---- */

static weakref_valuedict *make(enum weakref_key_kind kind, weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	enum table_layout layout = kind <= WEAKREF_KEY_BYTES ? TABLE_BYTES : kind == WEAKREF_KEY_CUSTOM ? TABLE_HASHED : TABLE_WORD;
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error < 0)
		return base_null((enum weakref_error)-error);
	weakref_valuedict *dict = gc_new(&dict_type);
	if (dict == NULL)
		return NULL;
	dict->kind = kind;
	dict->hash = hash;
	error = table_init(&dict->table, &heap_ops, layout, kind == WEAKREF_KEY_POINTER, equal, user);
	if (error < 0)
		return base_null((enum weakref_error)-error);
	dict->table.signature = DICT_SIGNATURE;
	return dict;
}

/* An empty one of the same kind. */
static weakref_valuedict *make_like(const weakref_valuedict *dict)
{
	return make(dict->kind, dict->hash, dict->table.equal, dict->table.user);
}

/* The end of a constructor: the dictionary, or NULL with errno. */
static weakref_valuedict *made(weakref_valuedict *dict, int error)
{
	return error < 0 ? base_null((enum weakref_error)-error) : dict;
}

weakref_valuedict *weakref_valuedict_new(enum weakref_key_kind kind)
{
	if ((unsigned)kind >= WEAKREF_KEY_CUSTOM)
		return base_null(WEAKREF_EINVAL);
	return make(kind, NULL, NULL, NULL);
}

weakref_valuedict *weakref_valuedict_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	if (hash == NULL || equal == NULL)
		return base_null(WEAKREF_EINVAL);
	return make(WEAKREF_KEY_CUSTOM, hash, equal, user);
}

weakref_valuedict *weakref_valuedict_from_pairs(enum weakref_key_kind kind, const weakref_pair *pairs, size_t n)
{
	weakref_valuedict *dict = weakref_valuedict_new(kind);

	return dict == NULL ? NULL : made(dict, weakref_valuedict_update_pairs(dict, pairs, n));
}

/* ---- writing ---- */

static int put(weakref_valuedict *dict, const void *key, void *value, enum table_put_mode mode, void **now)
{
	struct table_key ready;
	int error = enter(dict, key, &ready);

	if (unlikely(error < 0))
		return error;
	table_expect(&dict->table, &ready);
	uintptr_t raw = weakarray_encode(value);
	if (unlikely(raw == 0))
		return -WEAKREF_EINVAL;
	error = table_put(&dict->table, &ready, raw, mode, now);
	BASE_KEEP(value);
	BASE_KEEP(key);
	return error;
}

int weakref_valuedict_set(weakref_valuedict *dict, const void *key, void *value)
{
	void *now;

	return put(dict, key, value, TABLE_REPLACE, &now);
}

void *weakref_valuedict_setdefault(weakref_valuedict *dict, const void *key, void *value)
{
	void *now = NULL;
	int error = put(dict, key, value, TABLE_KEEP, &now);

	if (error < 0)
		return base_null((enum weakref_error)-error);
	return now != NULL ? now : value;
}

int weakref_valuedict_pop(weakref_valuedict *dict, const void *key, void **value)
{
	struct table_key ready;
	void *taken = NULL;
	int error = enter(dict, key, &ready);

	if (error == 0)
		error = table_take(&dict->table, &ready, &taken);
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

int weakref_valuedict_popitem(weakref_valuedict *dict, const void **key, void **value)
{
	struct table_place place;
	struct table_entry entry;
	const void *copy = NULL;
	void *taken;
	int error = check(dict);

	if (error < 0)
		return error;
	/* The key is copied before the entry is taken, and that without a lock: another may be faster, then the next one will do. */
	do {
		error = table_any(&dict->table, &place, &entry);
		if (error == 0 && key != NULL)
			error = key_copy(dict, &entry, &copy);
		if (error < 0)
			return error;
	} while (!table_take_at(&dict->table, &place, &taken));
	BASE_KEEP(entry.key.data);
	if (key != NULL)
		*key = copy;
	if (value != NULL)
		*value = taken;
	return 0;
}

int weakref_valuedict_clear(weakref_valuedict *dict)
{
	int error = check(dict);

	return error < 0 ? error : table_clear(&dict->table);
}

/* ---- reading ---- */

/* Not inlined: what it needs of the stack would be set up for every look-up. */
static NOINLINE int look_up_slowly(const weakref_valuedict *dict, const void *key, void **value)
{
	struct table_key ready;
	void *found = NULL;
	int error = enter(dict, key, &ready);

	if (likely(error == 0)) {
		bool quick = dict->table.layout == TABLE_BYTES && ready.size < TABLE_QUICK_MAX;
		if (!quick || !table_quick_bytes(&dict->table, ready.hash, ready.data, ready.size, &found))
			error = table_get(&dict->table, &ready, &found);
	}
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

/* The usual case: a short string, or an integer, that is there. */
static inline __attribute__((always_inline)) bool look_up_quickly(const weakref_valuedict *dict, const void *key, void **value)
{
	if (unlikely(heap_thread == NULL || !is_dict(dict)))
		return false;
	if (likely(dict->kind == WEAKREF_KEY_STRING))
		return key != NULL && table_quick_string(&dict->table, key, value);
	return dict->kind == WEAKREF_KEY_INT && table_quick_word(&dict->table, (uintptr_t)key, value);
}

int weakref_valuedict_lookup(const weakref_valuedict *dict, const void *key, void **value)
{
	void *found;

	if (unlikely(value == NULL || !look_up_quickly(dict, key, &found)))
		return look_up_slowly(dict, key, value);
	*value = found;
	return 0;
}

void *weakref_valuedict_get(const weakref_valuedict *dict, const void *key)
{
	void *found;

	return likely(look_up_quickly(dict, key, &found)) ? found : get_slowly(dict, key);
}

void *weakref_valuedict_get_or(const weakref_valuedict *dict, const void *key, void *fallback)
{
	void *found = weakref_valuedict_get(dict, key);

	return found != NULL ? found : fallback;
}

int weakref_valuedict_contains(const weakref_valuedict *dict, const void *key)
{
	struct table_key ready;
	int error = enter(dict, key, &ready);

	if (error == 0)
		error = table_has(&dict->table, &ready);
	if (error == -WEAKREF_ENOENT || error == -WEAKREF_ESTALE)
		return 0;
	return error < 0 ? error : 1;
}

size_t weakref_valuedict_len(const weakref_valuedict *dict)
{
	return is_dict(dict) ? table_len(&dict->table) : 0;
}

/* ---- many at once ---- */

static bool same_kind(const weakref_valuedict *a, const weakref_valuedict *b)
{
	return a->kind == b->kind && a->hash == b->hash && a->table.equal == b->table.equal && a->table.user == b->table.user;
}

int weakref_valuedict_update(weakref_valuedict *dict, const weakref_valuedict *other)
{
	struct table_entry entry;
	struct table_iter iter;
	void *now;
	int error = check(dict);

	if (error == 0)
		error = check(other);
	if (error < 0)
		return error;
	if (!same_kind(dict, other))
		return -WEAKREF_EINVAL;
	if (dict == other)
		return 0;
	table_iter_init(&iter, &other->table);
	while ((error = table_iter_next(&iter, true, &entry)) > 0) {
		error = table_put(&dict->table, &entry.key, entry.raw, TABLE_REPLACE, &now);
		BASE_KEEP(entry.value);
		BASE_KEEP(entry.key.data);
		BASE_KEEP(entry.arena);
		if (error < 0)
			break;
	}
	return error;
}

static int check_pairs(const weakref_valuedict *dict, const weakref_pair *pairs, size_t n)
{
	struct table_key ready;

	if (pairs == NULL && n != 0)
		return -WEAKREF_EINVAL;
	for (size_t i = 0; i < n; i++) {
		int error = key_in(dict, pairs[i].key, &ready);
		if (error < 0)
			return error;
		if (weakarray_encode(pairs[i].value) == 0)
			return -WEAKREF_EINVAL;
	}
	return 0;
}

int weakref_valuedict_update_pairs(weakref_valuedict *dict, const weakref_pair *pairs, size_t n)
{
	int error = check(dict);

	if (error == 0)
		error = check_pairs(dict, pairs, n);
	for (size_t i = 0; i < n && error == 0; i++)
		error = weakref_valuedict_set(dict, pairs[i].key, pairs[i].value);
	return error;
}

weakref_valuedict *weakref_valuedict_copy(const weakref_valuedict *dict)
{
	int error = check(dict);

	if (error < 0)
		return made(NULL, error);
	weakref_valuedict *copy = make_like(dict);
	return copy == NULL ? NULL : made(copy, weakref_valuedict_update(copy, dict));
}

weakref_valuedict *weakref_valuedict_union(const weakref_valuedict *a, const weakref_valuedict *b)
{
	int error = check(a);

	if (error == 0)
		error = check(b);
	if (error == 0 && !same_kind(a, b))
		error = -WEAKREF_EINVAL;
	if (error < 0)
		return made(NULL, error);
	weakref_valuedict *both = weakref_valuedict_copy(a);
	return both == NULL ? NULL : made(both, weakref_valuedict_update(both, b));
}

/* Stores an entry in a copy, under a key that copy_key made. */
static int put_copied(weakref_valuedict *copy, const struct table_entry *entry, weakref_copy_fn copy_key, void *user)
{
	struct table_key ready;
	weakref_bytes bytes;
	void *now;

	errno = 0;
	void *key = copy_key(key_out(copy, entry, &bytes), user);
	BASE_KEEP(entry->arena);
	if (key == NULL)
		return errno > 0 ? -errno : -WEAKREF_ENOMEM;
	int error = key_in(copy, key, &ready);
	if (error == 0)
		error = table_put(&copy->table, &ready, entry->raw, TABLE_REPLACE, &now);
	BASE_KEEP(entry->value);
	BASE_KEEP(key);
	return error;
}

/* Integers are their own copies. */
weakref_valuedict *weakref_valuedict_deepcopy(const weakref_valuedict *dict, weakref_copy_fn copy_key, void *user)
{
	struct table_entry entry;
	struct table_iter iter;
	int error = check(dict);

	if (error < 0)
		return made(NULL, error);
	if (copy_key == NULL || dict->kind == WEAKREF_KEY_INT)
		return weakref_valuedict_copy(dict);
	weakref_valuedict *copy = make_like(dict);
	if (copy == NULL)
		return NULL;
	table_iter_init(&iter, &dict->table);
	while ((error = table_iter_next(&iter, true, &entry)) > 0 && (error = put_copied(copy, &entry, copy_key, user)) == 0)
		;
	return made(copy, error);
}

/* ---- iterators ---- */

weakref_valuedict_iter *weakref_valuedict_iter_new(const weakref_valuedict *dict)
{
	int error = check(dict);

	if (error < 0)
		return base_null((enum weakref_error)-error);
	weakref_valuedict_iter *iter = heap_alloc(sizeof *iter);
	if (iter == NULL)
		return NULL;
	iter->dict = dict;
	table_iter_init(&iter->at, &dict->table);
	iter->signature = ITER_SIGNATURE;
	return iter;
}

int weakref_valuedict_iter_next(weakref_valuedict_iter *iter, const void **key, void **value)
{
	struct table_entry entry;
	int error = heap_thread_check();

	if (error < 0)
		return error;
	if (iter == NULL || (uintptr_t)iter % _Alignof(struct weakref_valuedict_iter) != 0 || iter->signature != ITER_SIGNATURE)
		return -WEAKREF_EINVAL;
	int found = table_iter_next(&iter->at, value != NULL, &entry);
	if (found <= 0)
		return found;
	iter->arena = entry.arena;
	if (key != NULL)
		*key = key_out(iter->dict, &entry, &iter->bytes);
	if (value != NULL)
		*value = entry.value;
	return 1;
}

/* ---- arrays of entries ---- */

/* Fills one element of such an array, zeroed before. 0 or a negative error. */
typedef int (*element_fn)(const weakref_valuedict *dict, const struct table_entry *entry, void **element);

/* An array of the heap, `width` words an element. NULL with errno. */
static void *collect(const weakref_valuedict *dict, size_t *n, unsigned width, bool want_value, element_fn element)
{
	struct table_entry entry;
	struct table_iter iter;
	size_t count = 0;
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
		error = element(dict, &entry, &array[count * width]);
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

static int element_key(const weakref_valuedict *dict, const struct table_entry *entry, void **element)
{
	const void *key;
	int error = key_copy(dict, entry, &key);

	if (error == 0)
		*element = (void *)(uintptr_t)key;
	return error;
}

static int element_value(const weakref_valuedict *dict, const struct table_entry *entry, void **element)
{
	(void)dict;
	*element = entry->value;
	return 0;
}

static int element_item(const weakref_valuedict *dict, const struct table_entry *entry, void **element)
{
	const void *key;
	int error = key_copy(dict, entry, &key);

	if (error == 0)
		*(weakref_pair *)element = (weakref_pair){.key = key, .value = entry->value};
	return error;
}

static int element_ref(const weakref_valuedict *dict, const struct table_entry *entry, void **element)
{
	(void)dict;
	*element = weakref_ref_new(entry->value, NULL, NULL);
	return *element == NULL ? -errno : 0;
}

_Static_assert(sizeof(weakref_pair) == 2 * sizeof(void *), "an item is an element of two words");

weakref_pair *weakref_valuedict_items(const weakref_valuedict *dict, size_t *n)
{
	return collect(dict, n, 2, true, element_item);
}

const void **weakref_valuedict_keys(const weakref_valuedict *dict, size_t *n)
{
	return collect(dict, n, 1, false, element_key);
}

void **weakref_valuedict_values(const weakref_valuedict *dict, size_t *n)
{
	return collect(dict, n, 1, true, element_value);
}

weakref_ref **weakref_valuedict_valuerefs(const weakref_valuedict *dict, size_t *n)
{
	return collect(dict, n, 1, true, element_ref);
}

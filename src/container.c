/* SPDX-License-Identifier: MIT */
/*
 * container: see container.h.
 */
#include "container.h"

#include <stdio.h>
#include <string.h>

#include "keys.h"
#include "table_quick.h"

int container_check_two(const void *a, const void *b, uint64_t signature)
{
	int error = container_check(a, signature);

	if (error == 0)
		error = container_check(b, signature);
	if (error == 0 && !element_same_rule(container_rule(a), container_rule(b)))
		error = -WEAKREF_EINVAL;
	return error;
}

/* ---- life ---- */

void *container_new(const gc_type *type, const struct table_ops *ops, enum table_layout layout, bool strong_keys, struct element_rule rule)
{
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error < 0)
		return base_null((enum weakref_error)-error);
	struct container *container = gc_new(type);
	if (container == NULL)
		return NULL;
	container->hash = rule.hash;
	return container_made(container, table_init(&container->table, ops, layout, strong_keys, rule.equal, rule.user));
}

void *container_made(void *obj, int error)
{
	return error < 0 ? base_null((enum weakref_error)-error) : obj;
}

/* ---- of the type, and the same for all ---- */

int container_repr(const void *obj, uint64_t signature, char *buf, size_t size)
{
	if (!container_is(obj, signature) || (buf == NULL && size != 0))
		return -WEAKREF_EINVAL;
	return snprintf(buf, size, "<%s at %p>", gc_type_of(obj)->name, obj);
}

size_t container_len(const void *obj, uint64_t signature)
{
	const struct container *container = obj;

	return container_is(obj, signature) ? table_len(&container->table) : 0;
}

int container_clear(void *obj, uint64_t signature)
{
	struct container *container = obj;
	int error = container_check(obj, signature);

	return error < 0 ? error : table_clear(&container->table);
}

int container_type_repr(void *obj, char *buf, size_t size)
{
	const struct container *container = obj;

	return container_repr(obj, container->table.signature, buf, size);
}

/* One that was never finished has no signature, and nothing in it. */
int container_type_len(void *obj, size_t *out)
{
	const struct container *container = obj;

	*out = container->table.signature == 0 ? 0 : table_len(&container->table);
	return 0;
}

int container_type_truth(void *obj)
{
	size_t len;

	container_type_len(obj, &len);
	return len != 0;
}

struct visit {
	gc_visit_fn visit;
	void *user;
};

static int visit_key(const struct container *container, const struct table_entry *entry, void *arg)
{
	const struct visit *visit = arg;

	(void)container;
	return visit->visit((void *)(uintptr_t)entry->key.data, visit->user);
}

int container_type_iterate(void *obj, gc_visit_fn visit, void *user)
{
	const struct container *container = obj;
	uint64_t signature = container->table.signature;
	int error = signature == 0 ? -WEAKREF_EINVAL : container_check(obj, signature);

	return error < 0 ? error : container_each(container, false, visit_key, &(struct visit){visit, user});
}

/* ---- one entry ---- */

int container_take(struct container *container, const void *key, void **value)
{
	struct table_key ready;
	int error = element_probe(container_rule(container), key, &ready);

	*value = NULL;
	if (error == 0) {
		error = table_take(&container->table, &ready, value);
		error = element_missing(container_rule(container), key, error);
	}
	BASE_KEEP(key);
	return error;
}

/* Another may be faster: then the next one will do. */
int container_take_any(void *obj, uint64_t signature, container_entry_fn first, void *arg, struct table_entry *entry, void **value)
{
	struct container *container = obj;
	struct table_place place;
	int error = container_check(obj, signature);

	do {
		if (error == 0)
			error = table_any(&container->table, &place, entry);
		if (error == 0 && first != NULL)
			error = first(container, entry, arg);
		if (error < 0)
			return error;
	} while (!table_take_at(&container->table, &place, value));
	return 0;
}

/* ---- all entries ---- */

int container_each(const struct container *container, bool want_value, container_entry_fn fn, void *arg)
{
	struct table_entry entry;
	struct table_iter iter;
	int result;

	table_iter_init(&iter, &container->table);
	while ((result = table_iter_next(&iter, want_value, &entry)) > 0) {
		result = fn(container, &entry, arg);
		BASE_KEEP(entry.key.data);
		BASE_KEEP(entry.value);
		BASE_KEEP(entry.arena);
		if (result != 0)
			return result;
	}
	return result;
}

struct array {
	void **words;
	size_t n, room;
	unsigned width;
	container_entry_fn fill;
};

static int array_add(const struct container *container, const struct table_entry *entry, void *arg)
{
	struct array *array = arg;

	if (array->n == array->room) {
		size_t words = array->room * array->width;
		void **more = heap_alloc(2 * words * sizeof *more);
		if (more == NULL)
			return -errno;
		array->words = memcpy(more, array->words, words * sizeof *more);
		array->room *= 2;
	}
	int error = array->fill(container, entry, &array->words[array->n * array->width]);
	array->n += error == 0;
	return error;
}

void *container_array(const void *obj, uint64_t signature, size_t *n, unsigned width, bool want_value, container_entry_fn fill)
{
	const struct container *container = obj;
	int error = n == NULL ? -WEAKREF_EINVAL : container_check(obj, signature);

	if (error < 0)
		return base_null((enum weakref_error)-error);
	struct array array = {.room = table_len(&container->table) + 1, .width = width, .fill = fill};
	array.words = heap_alloc(array.room * width * sizeof *array.words);
	if (array.words == NULL)
		return NULL;
	error = container_each(container, want_value, array_add, &array);
	if (error == 0)
		*n = array.n;
	return container_made(array.words, error);
}

int container_fill_value(const struct container *container, const struct table_entry *entry, void *out)
{
	(void)container;
	*(void **)out = entry->value;
	return 0;
}

int container_fill_ref(void *referent, void *out)
{
	weakref_ref *ref = weakref_ref_new(referent, NULL, NULL);

	*(void **)out = ref;
	return ref == NULL ? -errno : 0;
}

/* No more than KEYS_TOGETHER. */
static int store_some(struct container *container, const weakref_pair *pairs, size_t n, const struct container_pair_ops *ops)
{
	struct table_key ready[KEYS_TOGETHER];
	int error = 0;

	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(pairs[i].key);
	for (size_t i = 0; i < n && error == 0; i++) {
		error = ops->ready(container, pairs[i].key, &ready[i]);
		if (likely(error == 0))
			table_expect(&container->table, &ready[i]);
	}
	if (error == 0 && container->table.layout == TABLE_BYTES)
		for (size_t i = 0; i < n; i++)
			table_quick_expect_key(&container->table, ready[i].hash);
	for (size_t i = 0; i < n && error == 0; i++)
		error = ops->store(container, &ready[i], pairs[i].value);
	/* What was a key is not to be kept by what is left on the stack. */
	base_forget(ready, sizeof ready);
	return error;
}

int container_pairs(void *obj, uint64_t signature, const weakref_pair *pairs, size_t n, const struct container_pair_ops *ops)
{
	int error = container_check(obj, signature);
	struct table_key ready;

	if (error == 0 && pairs == NULL && n != 0)
		error = -WEAKREF_EINVAL;
	for (size_t i = 0; i < n && error == 0; i++) {
		if (i + KEYS_TOGETHER < n)
			__builtin_prefetch(pairs[i + KEYS_TOGETHER].key);
		error = ops->ready(obj, pairs[i].key, &ready);
		if (error == 0 && ops->check != NULL)
			error = ops->check(pairs[i].value);
	}
	for (size_t i = 0; i < n && error == 0; i += KEYS_TOGETHER)
		error = store_some(obj, pairs + i, n - i < KEYS_TOGETHER ? n - i : KEYS_TOGETHER, ops);
	return error;
}

/* ---- iterators ---- */

void *container_iter_new(const void *obj, uint64_t signature, uint64_t iter_signature, size_t size)
{
	const struct container *container = obj;
	int error = container_check(obj, signature);

	if (error < 0)
		return base_null((enum weakref_error)-error);
	struct container_iter *iter = heap_alloc(size);
	if (iter == NULL)
		return NULL;
	iter->container = container;
	table_iter_init(&iter->at, &container->table);
	iter->signature = iter_signature;
	return iter;
}

int container_iter_next(void *obj, uint64_t iter_signature, bool want_value, struct table_entry *entry)
{
	struct container_iter *iter = obj;
	int error = heap_thread_check();

	if (error < 0)
		return error;
	if (iter == NULL || (uintptr_t)iter % _Alignof(struct container_iter) != 0 || iter->signature != iter_signature)
		return -WEAKREF_EINVAL;
	return table_iter_next(&iter->at, want_value, entry);
}

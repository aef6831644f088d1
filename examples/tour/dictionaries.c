/* SPDX-License-Identifier: MIT */
/*
 * dictionaries: the notebook's cache, once in a plain dictionary and once in a weak-value dictionary, with the debugging output
 * of the collector (on stderr).
 *
 * The plain dictionary is an array of the collected heap: as in Python's, what is in it is alive. Iteration has no order (rule
 * R41 of doc/semantics.md), so keys are sorted before they are printed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tour.h"

static const char *const names[] = {"one", "two", "three"};
enum { N = sizeof names / sizeof names[0] };

/* ---- dict ---- */

struct dict {
	size_t n;
	weakref_pair items[N];
};

static void *dict_new(void)
{
	return gc_alloc(sizeof(struct dict));
}

static int dict_set(void *cache, const char *key, void *value)
{
	struct dict *dict = cache;

	if (dict->n == N)
		return -WEAKREF_ENOSPC;
	dict->items[dict->n++] = (weakref_pair){.key = key, .value = value};
	return 0;
}

static weakref_pair *dict_items(void *cache, size_t *n)
{
	struct dict *dict = cache;
	weakref_pair *items = gc_alloc(sizeof dict->items);

	if (items != NULL)
		memcpy(items, dict->items, sizeof dict->items);
	*n = dict->n;
	return items;
}

/* ---- WeakValueDictionary ---- */

static void *weak_new(void)
{
	return weakref_valuedict_new(WEAKREF_KEY_STRING);
}

static int weak_set(void *cache, const char *key, void *value)
{
	return weakref_valuedict_set(cache, key, value);
}

static weakref_pair *weak_items(void *cache, size_t *n)
{
	return weakref_valuedict_items(cache, n);
}

/* ---- the demonstration ---- */

static const struct factory {
	const char *name;
	void *(*make)(void);
	int (*set)(void *cache, const char *key, void *value);
	weakref_pair *(*items)(void *cache, size_t *n);
} plain = {"dict", dict_new, dict_set, dict_items}, weak = {"WeakValueDictionary", weak_new, weak_set, weak_items};

/* Locals of demo. */
static struct {
	const struct factory *factory;
	struct dict *all_refs;
	void *cache;
} frame;

static int by_key(const void *a, const void *b)
{
	const weakref_pair *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static weakref_pair *sorted_items(const struct factory *of, void *cache, size_t *n)
{
	weakref_pair *items = made(of->items(cache, n), of->name);

	qsort(items, *n, sizeof *items, by_key);
	return items;
}

static void fill(void)
{
	frame.all_refs = made(dict_new(), "dict_new");
	frame.cache = made(frame.factory->make(), frame.factory->name);
	for (size_t i = 0; i < N; i++) {
		struct expensive_object *o = expensive_object_new(&expensive_object_with_repr_type, names[i]);

		done(frame.factory->set(frame.cache, names[i], o), frame.factory->name);
		done(dict_set(frame.all_refs, names[i], o), "dict_set");
	}
}

static void print_all_refs(void)
{
	size_t n;
	weakref_pair *items = sorted_items(&plain, frame.all_refs, &n);

	printf("  all_refs = {");
	for (size_t i = 0; i < n; i++) {
		char text[80];

		done(gc_repr(items[i].value, text, sizeof text), "gc_repr");
		printf("%s'%s': %s", i == 0 ? "" : ",\n ", (const char *)items[i].key, text);
	}
	puts("}");
}

static void print_cache(void)
{
	size_t n;
	weakref_pair *items = sorted_items(frame.factory, frame.cache, &n);

	printf(" cache contains: [");
	for (size_t i = 0; i < n; i++)
		printf("%s'%s'", i == 0 ? "" : ", ", (const char *)items[i].key);
	puts("]");
	for (size_t i = 0; i < n; i++) {
		char label[32];

		snprintf(label, sizeof label, "    %s =", (const char *)items[i].key);
		print_object(label, items[i].value);
	}
}

static void demo(const struct factory *factory)
{
	frame.factory = factory;
	printf("CACHE TYPE: %s\n", factory->name);
	step(fill);
	step(print_all_refs);
	printf("\n  Before,");
	step(print_cache);

	/* Delete all references to the objects but those in the cache. */
	puts("\n  Cleanup:");
	frame.all_refs = NULL;
	collect();

	printf("\n  After,");
	step(print_cache);
	puts("  demo returning");
	frame.cache = NULL;
	collect();
}

void tour_dictionary(void)
{
	/* The notebook's flag, which has nothing to say of its objects, and two that have: of each collection, and of each object that
	 * is found dead. */
	collect();
	done(gc_set_debug(WEAKREF_DEBUG_UNCOLLECTABLE | WEAKREF_DEBUG_STATS | WEAKREF_DEBUG_COLLECTABLE), "gc_set_debug");
	demo(&plain);
	puts("");
	demo(&weak);
	done(gc_set_debug(0), "gc_set_debug");
}

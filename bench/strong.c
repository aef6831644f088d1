/* SPDX-License-Identifier: MIT */
/*
 * strong: see strong.h.
 */
#include "strong.h"

#define GC_THREADS
#include <gc/gc.h>
#include <string.h>

#include "table_quick.h"

static void *alloc(size_t size)
{
	return GC_MALLOC(size);
}

static void *alloc_leaf(size_t size)
{
	return GC_MALLOC_ATOMIC(size);
}

static struct slots *slots_make(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner))
{
	struct slots *slots = GC_MALLOC(slots_size(n, stride));

	if (slots == NULL)
		return NULL;
	slots->n = n;
	slots->stride = (uint16_t)stride;
	slots->value = (uint16_t)value;
	slots->purge = purge;
	slots->signature = SLOTS_SIGNATURE;
	return slots;
}

static void set_owner(struct slots *slots, const void *owner)
{
	atomic_store(&slots->owner, (uintptr_t)owner);
}

static const struct table_ops ops = {.alloc = alloc, .alloc_leaf = alloc_leaf, .slots_new = slots_make, .set_owner = set_owner};

void *strong_new(void)
{
	struct table *table = GC_MALLOC(sizeof *table);

	return table == NULL || table_init(table, &ops, TABLE_BYTES, false, NULL, NULL) != 0 ? NULL : table;
}

int strong_set(void *table, const char *key, void *value)
{
	struct table_key made;
	void *now;

	table_key_bytes(&made, key, strlen(key));
	return table_put(table, &made, (uintptr_t)value, TABLE_REPLACE, &now);
}

void *strong_get(const void *table, const char *key)
{
	struct table_key made;
	void *value;

	if (table_quick_string(table, key, &value))
		return value;
	table_key_bytes(&made, key, strlen(key));
	return table_get(table, &made, &value) == 0 ? value : NULL;
}

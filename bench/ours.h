/* SPDX-License-Identifier: MIT */
/*
 * ours: the operations of weak.h's workloads on libweakref.
 */
#ifndef OURS_H
#define OURS_H

#include "weakref/weakref.h"

#define SUBJECT_NAME "libweakref"
#define SUBJECT_GROUPS own_groups, limit_groups,
#define SUBJECT_WRITES_BESIDE_READERS 1
#define SUBJECT_KEY_BYTES strlen /* a dictionary holds a copy of its key */

extern const gc_type obj_type, value_type, mortal_type;

/* What finalizers and destructors have run. */
extern long finalizers_ran;

static inline void subject_init(void)
{
	if (gc_init() != 0)
		die("cannot start");
}

static inline void *made(void *block)
{
	if (block == NULL)
		die("no memory");
	return block;
}

static inline obj *obj_new(void)
{
	return made(gc_new(&obj_type));
}

static inline struct value *value_new(void)
{
	return made(gc_new(&value_type));
}

/* ---- string -> weak object ---- */

static inline void *valuetable_new(void)
{
	return made(weakref_valuedict_new(WEAKREF_KEY_STRING));
}

static inline void valuetable_set(void *t, const char *key, obj *o)
{
	if (weakref_valuedict_set(t, key, o) != 0)
		die("cannot insert");
}

static inline obj *valuetable_get(void *t, const char *key)
{
	return weakref_valuedict_get(t, key);
}

/* The number of entries, none of them dead. */
static inline size_t valuetable_len(void *t)
{
	return weakref_valuedict_len(t);
}

static inline void valuetable_delete(void *t, const char *key)
{
	if (weakref_valuedict_delete(t, key) != 0)
		die("cannot delete");
}

/* ---- weak object -> value ---- */

static inline void *keytable_new(void)
{
	return made(weakref_keydict_new(WEAKREF_BY_IDENTITY));
}

static inline void keytable_set(void *t, obj *key, void *value)
{
	if (weakref_keydict_set(t, key, value) != 0)
		die("cannot insert");
}

static inline void *keytable_get(void *t, obj *key)
{
	return weakref_keydict_get(t, key);
}

static inline size_t keytable_len(void *t)
{
	return weakref_keydict_len(t);
}

/* ---- references ---- */

static inline void *reference_new(obj *o)
{
	return made(weakref_ref_new(o, NULL, NULL));
}

static inline obj *reference_get(void *ref)
{
	return weakref_ref_get(ref);
}

/* ---- finalizers ---- */

int finalizer_run(void *args);

static inline void finalizers_prepare(void)
{
}

/* A function that does not see the object. */
static inline void finalizer_add(obj *o)
{
	made(weakref_finalize_new(o, finalizer_run, NULL));
}

/* An object with a function that does. */
static inline obj *mortal_new(void)
{
	return made(gc_new(&mortal_type));
}

/* Collects, and runs what is due. */
static inline void finalizers_collect(void)
{
	gc_collect();
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * libgc: the operations of weak.h's workloads as a C programmer writes them by hand on libgc alone: a chained table with one
 * disappearing link an entry, whose values are read under the allocation lock, and which has to be purged after a collection; weak keys
 * whose values are held strongly, and so keep for ever what leads to its own key; references that are hidden words with a link; libgc's
 * finalizers.
 *
 * LOCKED in the environment makes libgc take its lock from the start, as it does in a program that calls GC_allow_register_threads or
 * has two threads.
 */
#ifndef LIBGC_H
#define LIBGC_H

#define SUBJECT_NAME "libgc"
#define SUBJECT_GROUPS
/* Readers of such a table need a lock of the program's own as soon as somebody writes. */
#define SUBJECT_WRITES_BESIDE_READERS 0
#define SUBJECT_KEY_BYTES NULL /* a table refers to its keys */

/* With weak values `hidden` is the value; with weak keys it is the key, and `value` holds the value. */
struct node {
	struct node *next;
	const char *key;
	uint64_t hash;
	GC_hidden_pointer hidden;
	void *value;
};

struct hand {
	struct node **buckets;
	size_t capacity, len;
};

static long finalizers_ran;

static inline void subject_init(void)
{
	GC_INIT();
	if (getenv("LOCKED") != NULL)
		GC_allow_register_threads();
}

static inline void *made(void *block)
{
	if (block == NULL)
		die("no memory");
	return block;
}

static inline obj *obj_new(void)
{
	return made(GC_MALLOC(sizeof(obj)));
}

static inline struct value *value_new(void)
{
	return made(GC_MALLOC(sizeof(struct value)));
}

static inline void *reveal(void *word)
{
	GC_hidden_pointer hidden = *(GC_hidden_pointer *)word;

	return hidden != 0 ? GC_REVEAL_POINTER(hidden) : NULL;
}

static inline uint64_t hash_string(const char *s)
{
	uint64_t h = 1469598103934665603ull;

	for (; *s != 0; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ull;
	return h ^ h >> 29;
}

static inline uint64_t hash_pointer(const void *p)
{
	uint64_t h = ((uint64_t)(uintptr_t)p >> 4) * 0x9E3779B97F4A7C15ull;

	return h ^ h >> 32;
}

/* ---- both tables ---- */

static inline struct hand *hand_new(void)
{
	struct hand *t = made(GC_MALLOC(sizeof *t));

	t->capacity = 16;
	t->buckets = made(GC_MALLOC(t->capacity * sizeof *t->buckets));
	return t;
}

static inline void hand_grow(struct hand *t)
{
	size_t capacity = t->capacity * 2;
	struct node **buckets = made(GC_MALLOC(capacity * sizeof *buckets)), *next;

	for (size_t i = 0; i < t->capacity; i++)
		for (struct node *node = t->buckets[i]; node != NULL; node = next) {
			struct node **bucket = &buckets[node->hash & (capacity - 1)];
			next = node->next;
			node->next = *bucket;
			*bucket = node;
		}
	t->buckets = buckets;
	t->capacity = capacity;
}

/* A new entry, whose weak word belongs to `target`. */
static inline void hand_add(struct hand *t, struct node entry, void *target)
{
	if (t->len >= t->capacity)
		hand_grow(t);
	struct node *node = made(GC_MALLOC(sizeof *node)), **bucket = &t->buckets[entry.hash & (t->capacity - 1)];
	*node = entry;
	node->next = *bucket;
	*bucket = node;
	t->len++;
	if (GC_general_register_disappearing_link((void **)&node->hidden, target) != GC_SUCCESS)
		die("no link");
}

static inline size_t hand_purge(struct hand *t)
{
	for (size_t i = 0; i < t->capacity; i++)
		for (struct node **at = &t->buckets[i]; *at != NULL;) {
			if ((*at)->hidden != 0) {
				at = &(*at)->next;
				continue;
			}
			*at = (*at)->next;
			t->len--;
		}
	return t->len;
}

/* ---- string -> weak object ---- */

static inline struct node *hand_find(struct hand *t, const char *key, uint64_t hash)
{
	struct node *node = t->buckets[hash & (t->capacity - 1)];

	while (node != NULL && (node->hash != hash || strcmp(node->key, key) != 0))
		node = node->next;
	return node;
}

static inline void *valuetable_new(void)
{
	return hand_new();
}

static inline void valuetable_set(void *t, const char *key, obj *o)
{
	uint64_t hash = hash_string(key);
	struct node *node = hand_find(t, key, hash);

	if (node == NULL) {
		hand_add(t, (struct node){.key = key, .hash = hash, .hidden = GC_HIDE_POINTER(o)}, o);
		return;
	}
	if (node->hidden != 0)
		GC_unregister_disappearing_link((void **)&node->hidden);
	node->hidden = GC_HIDE_POINTER(o);
	GC_general_register_disappearing_link((void **)&node->hidden, o);
}

static inline obj *valuetable_get(void *t, const char *key)
{
	struct node *node = hand_find(t, key, hash_string(key));

	return node == NULL ? NULL : GC_call_with_alloc_lock(reveal, &node->hidden);
}

static inline size_t valuetable_len(void *t)
{
	return hand_purge(t);
}

/* ---- weak object -> value ---- */

static inline struct node *hand_key_find(struct hand *t, const void *key, uint64_t hash)
{
	struct node *node = t->buckets[hash & (t->capacity - 1)];

	while (node != NULL && node->hidden != GC_HIDE_POINTER(key))
		node = node->next;
	return node;
}

static inline void *keytable_new(void)
{
	return hand_new();
}

static inline void keytable_set(void *t, obj *key, void *value)
{
	uint64_t hash = hash_pointer(key);
	struct node *node = hand_key_find(t, key, hash);

	if (node != NULL)
		node->value = value;
	else
		hand_add(t, (struct node){.hash = hash, .hidden = GC_HIDE_POINTER(key), .value = value}, key);
}

static inline void *keytable_get(void *t, obj *key)
{
	struct node *node = hand_key_find(t, key, hash_pointer(key));

	return node == NULL ? NULL : node->value;
}

static inline size_t keytable_len(void *t)
{
	return hand_purge(t);
}

/* ---- references ---- */

static inline void *reference_new(obj *o)
{
	GC_hidden_pointer *word = made(GC_MALLOC_ATOMIC(sizeof *word));

	*word = GC_HIDE_POINTER(o);
	GC_general_register_disappearing_link((void **)word, o);
	return word;
}

static inline obj *reference_get(void *ref)
{
	return GC_call_with_alloc_lock(reveal, ref);
}

/* ---- finalizers ---- */

static inline void finalizer_run(void *o, void *unused)
{
	(void)unused;
	finalizers_ran += ((obj *)o)->v >= 0;
}

static inline void finalizers_prepare(void)
{
	GC_set_finalize_on_demand(1);
}

static inline void finalizer_add(obj *o)
{
	GC_register_finalizer_no_order(o, finalizer_run, NULL, NULL, NULL);
}

static inline obj *mortal_new(void)
{
	obj *o = obj_new();

	finalizer_add(o);
	return o;
}

static inline void finalizers_collect(void)
{
	GC_gcollect();
	GC_invoke_finalizers();
}

#endif

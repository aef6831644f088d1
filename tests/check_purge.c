/* SPDX-License-Identifier: MIT */
/*
 * check_purge: how much of a container an operation cleans up, when a million entries died in one collection that nobody asked for and
 * nothing has purged. Steps are counted, not seconds: of all the segments of its table an operation may change one, and a segment
 * has a bounded number of slots. Links the library's core.
 *
 * gc_collect's own purge is no operation: it cleans everything.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "table_impl.h"
#include "weakref/keydict.h"
#include "weakref/set.h"
#include "weakref/valuedict.h"

#define MILLION ((size_t)1000000)
#define ROUNDS ((size_t)100)
#define SEGMENT_BYTES ((size_t)64 << 10)

/* What a segment was. */
struct seen {
	struct table_segment *segment;
	uint32_t base, used, dead, live;
};

struct subject {
	struct table *table;
	size_t n;
	const struct kind *kind;
	struct seen *seen;
	size_t segments, most;
};

/* The same few operations of a container; the object is fresh. */
struct kind {
	const char *name;
	void *(*make)(void);
	int (*put)(void *container, uint64_t i, void *object);
	int (*look)(void *container, uint64_t i, void *object);
	int (*remove)(void *container, uint64_t i, void *object);
	size_t (*len)(void *container);
};

static void *keydict_make(void)
{
	return weakref_keydict_new(WEAKREF_BY_IDENTITY);
}

static int keydict_put(void *dict, uint64_t i, void *object)
{
	(void)i;
	return weakref_keydict_set(dict, object, NULL);
}

static int keydict_look(void *dict, uint64_t i, void *object)
{
	(void)i;
	return weakref_keydict_contains(dict, object);
}

static int keydict_remove(void *dict, uint64_t i, void *object)
{
	(void)i;
	return weakref_keydict_delete(dict, object);
}

static size_t keydict_size(void *dict)
{
	return weakref_keydict_len(dict);
}

static void *set_make(void)
{
	return weakref_set_new(WEAKREF_BY_IDENTITY);
}

static int set_put(void *set, uint64_t i, void *object)
{
	(void)i;
	return weakref_set_add(set, object) < 0;
}

static int set_look(void *set, uint64_t i, void *object)
{
	(void)i;
	return weakref_set_contains(set, object);
}

static int set_remove(void *set, uint64_t i, void *object)
{
	(void)i;
	return weakref_set_remove(set, object);
}

static size_t set_size(void *set)
{
	return weakref_set_len(set);
}

static void *valuedict_make(void)
{
	return weakref_valuedict_new(WEAKREF_KEY_INT);
}

static int valuedict_put(void *dict, uint64_t i, void *object)
{
	return weakref_valuedict_set(dict, WEAKREF_INT(i), object);
}

static int valuedict_look(void *dict, uint64_t i, void *object)
{
	(void)object;
	return weakref_valuedict_contains(dict, WEAKREF_INT(i));
}

static int valuedict_remove(void *dict, uint64_t i, void *object)
{
	(void)object;
	return weakref_valuedict_delete(dict, WEAKREF_INT(i));
}

static size_t valuedict_size(void *dict)
{
	return weakref_valuedict_len(dict);
}

static const struct kind kinds[] = {
	{"keydict", keydict_make, keydict_put, keydict_look, keydict_remove, keydict_size},
	{"set", set_make, set_put, set_look, set_remove, set_size},
	{"valuedict", valuedict_make, valuedict_put, valuedict_look, valuedict_remove, valuedict_size},
};

#define KINDS ((int)(sizeof kinds / sizeof *kinds))

/* ---- counting ---- */

static struct seen see(struct table_segment *seg)
{
	return (struct seen){seg, seg->base, seg->used, atomic_load(&seg->slots->dead), atomic_load(&seg->slots->live)};
}

/* Notes all segments. */
static void look_at_all(struct subject *subject)
{
	size_t n = 0;

	for (uint64_t hash = 0; hash < UINT64_C(1) << 32;) {
		struct table_segment *seg = table_segment_of(subject->table, (uint32_t)hash);
		if (n == subject->segments) {
			subject->segments = subject->segments * 2 + 64;
			subject->seen = realloc(subject->seen, subject->segments * sizeof *subject->seen);
		}
		subject->seen[n++] = see(seg);
		hash = table_segment_end(seg);
	}
	subject->segments = n;
}

/* How many of those noted are not as they were. */
static size_t changed(struct subject *subject)
{
	size_t different = 0;

	for (size_t i = 0; i < subject->segments; i++) {
		struct seen now = see(table_segment_of(subject->table, subject->seen[i].base)), was = subject->seen[i];
		different += now.segment != was.segment || now.used != was.used || now.dead != was.dead || now.live != was.live;
	}
	return different;
}

/* ---- the test ---- */

static int fill(void *arg)
{
	struct subject *subject = arg;
	void **held = GC_MALLOC_UNCOLLECTABLE(subject->n * sizeof(void *));

	for (size_t i = 0; i < subject->n; i++) {
		held[i] = support_node_new(i);
		SUPPORT_REQUIRE(held[i] != NULL && subject->kind->put(subject->table, i, held[i]) == 0);
	}
	memset(held, 0, subject->n * sizeof(void *));
	GC_FREE(held);
	return 0;
}

static int operate(void *arg)
{
	struct subject *subject = arg;
	int (*const steps[])(void *, uint64_t, void *) = {subject->kind->look, subject->kind->put, subject->kind->look, subject->kind->remove};
	const int results[] = {0, 0, 1, 0};

	for (size_t i = 0; i < ROUNDS; i++) {
		void *object = support_node_new(i);
		for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
			look_at_all(subject);
			SUPPORT_REQUIRE(steps[s](subject->table, subject->n + i, object) == results[s]);
			size_t now = changed(subject);
			subject->most = now > subject->most ? now : subject->most;
		}
	}
	return 0;
}

/* R190: after a million deaths each operation works on one segment, of so many bytes, and no look-up writes at all. */
START_TEST(test_R190_purge_is_bounded)
{
	struct subject *subject = gc_alloc(sizeof *subject);
	size_t dead = 0;

	*subject = (struct subject){.kind = &kinds[_i], .n = support_scaled(MILLION, 2000)};
	subject->table = subject->kind->make();
	ck_assert_int_eq(support_on_thread(fill, subject), 0);
	gc_disable();
	support_scrub();
	GC_gcollect();
	look_at_all(subject);
	for (size_t i = 0; i < subject->segments; i++) {
		dead += subject->seen[i].dead;
		ck_assert_uint_le(slots_size(subject->seen[i].segment->n, subject->seen[i].segment->stride), SEGMENT_BYTES);
	}
	if (support_collect_every() == 0)
		ck_assert_uint_ge(dead, subject->n / 2);
	printf("%s: %zu dead in %zu segments, %zu left\n", subject->kind->name, dead, subject->segments,
	       subject->kind->len(subject->table));
	ck_assert_int_eq(support_on_thread(operate, subject), 0);
	/* A collection at every call purges by itself. */
	if (support_collect_every() == 0)
		ck_assert_uint_le(subject->most, 1);
	free(subject->seen);
	SUPPORT_KEEP(subject);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("purge");
	TCase *t = support_tcase("purge");

	tcase_add_loop_test(t, test_R190_purge_is_bounded, 0, KINDS);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

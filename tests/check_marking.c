/* SPDX-License-Identifier: MIT */
/*
 * check_marking: unit tests of marking on in the stop, and of arrays of pairs: ephemerons, both-weak and either-weak ones, what they keep
 * alive and what they lose. Links the library's core.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <gc/gc_typed.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "marking.h"
#include "support.h"
#include "weakarray.h"
#include "weakref/checks.h"

#define N ((uint32_t)SUPPORT_N)

enum { OWN, KEY, PAYLOAD, WORDS };

typedef struct support_node node;

/* ---- arrays ---- */

static struct slots *array_new(uint32_t n, enum slots_weakness weakness)
{
	return weakarray_new_weak(n, WORDS, KEY, PAYLOAD, weakness, NULL);
}

static void put_word(struct slots *slots, uint32_t i, const void *key, uintptr_t payload, enum slots_payload kind)
{
	atomic_store(slots_word(slots, i, PAYLOAD), payload);
	atomic_store(slots_word(slots, i, OWN), (uintptr_t)i << 2 | kind);
	atomic_fetch_add(&slots->live, 1);
	atomic_store(slots_word(slots, i, KEY), weakarray_encode(key));
}

static void put(struct slots *slots, uint32_t i, const void *key, const void *payload)
{
	enum slots_payload kind;
	uintptr_t word = weakarray_encode_payload(payload, &kind);

	put_word(slots, i, key, word, kind);
	BASE_KEEP(payload);
}

static uintptr_t payload_word(struct slots *slots, uint32_t i)
{
	return atomic_load(slots_word(slots, i, PAYLOAD));
}

static bool present(struct slots *slots, uint32_t i)
{
	return slots_is_value(atomic_load(slots_word(slots, i, KEY)));
}

static uint32_t entries(struct slots *slots)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < slots->n; i++)
		n += present(slots, i);
	return n;
}

/* Entries that are gone have left 0 behind, and the counts say so. One assertion for all: each costs a system call. */
static void check_counts(struct slots *slots)
{
	uint32_t stale = 0;

	for (uint32_t i = 0; i < slots->n; i++)
		stale += !present(slots, i) && payload_word(slots, i) != 0;
	ck_assert_uint_eq(stale, 0);
	ck_assert_uint_eq(slots->live, entries(slots));
}

/* Payloads that are nodes, intact, with the number of their slot, and what hangs on them. */
struct nodes {
	struct slots *slots;
	uint32_t n, good;
};

static int count_nodes(void *arg)
{
	struct nodes *nodes = arg;

	for (uint32_t i = 0; i < nodes->n; i++) {
		uintptr_t payload;
		void *key;
		bool there = slots_is_value(slots_load(nodes->slots, i, &key, &payload));
		node *value = (node *)payload;
		nodes->good += there && support_node_intact(value) && value->id == i &&
			       (value->next == NULL || support_node_intact(value->next));
	}
	return 0;
}

/* On a thread of its own: what it looked at last may be what all others hang on. */
static void check_nodes(struct slots *slots, uint32_t n)
{
	struct nodes nodes = {slots, n, 0};

	ck_assert_int_eq(support_on_thread(count_nodes, &nodes), 0);
	ck_assert_uint_eq(nodes.good, n);
}

/* ---- what keeps, what goes ---- */

/* How the key of pair i, and its payload, are made. */
struct shape {
	enum slots_weakness weakness;
	bool foreign;
	bool inner; /* pointers into the blocks */
	bool leads_back;
	bool held_keys, held_payloads;
};

struct fill {
	struct shape shape;
	struct slots *slots;
	void **keys, **payloads; /* where those that are held are held */
};

static void *block_new(const struct shape *shape, uint64_t id)
{
	node *p = shape->foreign ? GC_MALLOC(sizeof *p) : support_node_new(id);

	if (p != NULL && shape->foreign)
		*p = (node){.id = id};
	return p;
}

static void *pointer_to(const struct shape *shape, node *p)
{
	return shape->inner ? (void *)&p->other : p;
}

static int fill_pairs(void *arg)
{
	struct fill *fill = arg;

	for (uint32_t i = 0; i < fill->slots->n; i++) {
		node *key = block_new(&fill->shape, i), *payload = block_new(&fill->shape, i);
		SUPPORT_REQUIRE(key != NULL && payload != NULL);
		payload->next = support_node_new(i);
		if (fill->shape.leads_back)
			payload->other = key;
		if (fill->shape.held_keys)
			fill->keys[i] = key;
		if (fill->shape.held_payloads)
			fill->payloads[i] = payload;
		put(fill->slots, i, pointer_to(&fill->shape, key), pointer_to(&fill->shape, payload));
		BASE_KEEP(key);
	}
	return 0;
}

static const struct shape shapes[] = {
	/* Both dead. */
	{.weakness = SLOTS_WEAK_EPHEMERON},
	{.weakness = SLOTS_WEAK_EPHEMERON, .foreign = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .inner = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .foreign = true, .inner = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .leads_back = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .leads_back = true, .foreign = true},
	{.weakness = SLOTS_WEAK_BOTH},
	{.weakness = SLOTS_WEAK_BOTH, .foreign = true, .inner = true},
	{.weakness = SLOTS_WEAK_EITHER},
	{.weakness = SLOTS_WEAK_EITHER, .leads_back = true},
	{.weakness = SLOTS_WEAK_EITHER, .foreign = true, .inner = true},
	/* The payload alone alive. */
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_payloads = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_payloads = true, .foreign = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_payloads = true, .leads_back = true},
	{.weakness = SLOTS_WEAK_BOTH, .held_payloads = true},
	{.weakness = SLOTS_WEAK_EITHER, .held_payloads = true},
	{.weakness = SLOTS_WEAK_EITHER, .held_payloads = true, .foreign = true, .inner = true},
	/* The key alone. */
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_keys = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_keys = true, .foreign = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_keys = true, .inner = true},
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_keys = true, .foreign = true, .inner = true, .leads_back = true},
	{.weakness = SLOTS_WEAK_BOTH, .held_keys = true},
	{.weakness = SLOTS_WEAK_BOTH, .held_keys = true, .foreign = true},
	{.weakness = SLOTS_WEAK_EITHER, .held_keys = true},
	{.weakness = SLOTS_WEAK_EITHER, .held_keys = true, .foreign = true},
	/* Both. */
	{.weakness = SLOTS_WEAK_EPHEMERON, .held_keys = true, .held_payloads = true},
	{.weakness = SLOTS_WEAK_BOTH, .held_keys = true, .held_payloads = true},
	{.weakness = SLOTS_WEAK_BOTH, .held_keys = true, .held_payloads = true, .foreign = true, .inner = true},
	{.weakness = SLOTS_WEAK_EITHER, .held_keys = true, .held_payloads = true},
};

static bool shape_stays(const struct shape *shape)
{
	switch (shape->weakness) {
	case SLOTS_WEAK_EPHEMERON: return shape->held_keys || (shape->held_payloads && shape->leads_back);
	case SLOTS_WEAK_BOTH: return shape->held_keys && shape->held_payloads;
	default: return shape->held_keys || shape->held_payloads;
	}
}

/* Every weakness, with key and payload alive or dead, ours or foreign, by their own address or by one inside. */
START_TEST(test_pairs_stay_or_go)
{
	struct fill fill = {.shape = shapes[_i]};

	fill.slots = array_new(N, fill.shape.weakness);
	fill.keys = gc_alloc(N * sizeof(void *));
	fill.payloads = gc_alloc(N * sizeof(void *));
	ck_assert_ptr_nonnull(fill.slots);
	ck_assert_int_eq(support_on_thread(fill_pairs, &fill), 0);
	support_collect();
	if (shape_stays(&fill.shape)) {
		ck_assert_uint_eq(entries(fill.slots), N);
		for (uint32_t i = 0; i < N; i++) {
			node *payload = (node *)GC_base((void *)payload_word(fill.slots, i));
			ck_assert_ptr_nonnull(payload);
			payload = (node *)((char *)payload + (fill.shape.foreign ? 0 : HEAP_HEADER));
			ck_assert_uint_eq(payload->id, i);
			ck_assert(support_node_intact(payload->next));
			ck_assert_uint_eq(payload->next->id, i);
		}
	} else {
		ck_assert_uint_le(entries(fill.slots), SUPPORT_SLACK);
		ck_assert_uint_eq(fill.slots->dead, N - entries(fill.slots));
	}
	check_counts(fill.slots);
	SUPPORT_KEEP(fill.slots);
	SUPPORT_KEEP(fill.keys);
	SUPPORT_KEEP(fill.payloads);
}
END_TEST

/* Numbers are payloads of every weakness; no bit of them changes, and they keep nothing alive, even where they equal an address. */
START_TEST(test_numbers)
{
	static const uint64_t odd[] = {0, 1, 3, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(0x8000000000000001)};
	struct slots *slots = array_new(6, (enum slots_weakness)_i);
	node *keys[6];

	for (uint32_t i = 0; i < 6; i++)
		put_word(slots, i, keys[i] = support_node_new(i), odd[i], SLOTS_PAYLOAD_NUMBER);
	support_collect();
	for (uint32_t i = 0; i < 6; i++) {
		uintptr_t payload;
		void *key;
		ck_assert(slots_is_value(slots_load(slots, i, &key, &payload)));
		ck_assert_ptr_eq(key, keys[i]);
		ck_assert_uint_eq(payload, odd[i]);
		ck_assert_int_eq(slots_payload_kind(slots, i), SLOTS_PAYLOAD_NUMBER);
	}
	SUPPORT_KEEP(keys);
}
END_TEST

static int fill_with_addresses(void *arg)
{
	struct fill *fill = arg;

	for (uint32_t i = 0; i < N; i++) {
		put_word(fill->slots, i, fill->keys[i], (uintptr_t)support_node_new(i), SLOTS_PAYLOAD_NUMBER);
		fill->payloads[i] = weakref_ref_new((void *)payload_word(fill->slots, i), NULL, NULL);
	}
	return 0;
}

START_TEST(test_numbers_keep_nothing)
{
	struct fill fill = {.slots = array_new(N, SLOTS_WEAK_EPHEMERON)};

	fill.keys = gc_alloc(N * sizeof(void *));
	fill.payloads = gc_alloc(N * sizeof(void *));
	for (uint32_t i = 0; i < N; i++)
		fill.keys[i] = support_node_new(i);
	ck_assert_int_eq(support_on_thread(fill_with_addresses, &fill), 0);
	support_collect();
	ck_assert_uint_eq(entries(fill.slots), N);
	ck_assert_uint_ge(support_dead((weakref_ref **)fill.payloads, N), N - SUPPORT_SLACK);
	SUPPORT_KEEP(fill.keys);
	SUPPORT_KEEP(fill.payloads);
}
END_TEST

START_TEST(test_payload_kinds_are_told_apart)
{
	static int fixed;
	enum slots_payload kind;
	node *ours = support_node_new(1);
	char *foreign = GC_MALLOC(100);

	ck_assert_uint_eq(weakarray_encode_payload(NULL, &kind), 0);
	ck_assert_int_eq(kind, SLOTS_PAYLOAD_NUMBER);
	ck_assert_uint_eq(weakarray_encode_payload(&fixed, &kind), (uintptr_t)&fixed);
	ck_assert_int_eq(kind, SLOTS_PAYLOAD_NUMBER);
	ck_assert_uint_eq(weakarray_encode_payload(ours, &kind), (uintptr_t)ours);
	ck_assert_int_eq(kind, SLOTS_PAYLOAD_OURS);
	ck_assert_uint_eq(weakarray_encode_payload(&ours->other, &kind), (uintptr_t)&ours->other);
	ck_assert_int_eq(kind, SLOTS_PAYLOAD_INNER);
	ck_assert_uint_eq(weakarray_encode_payload(foreign + 1, &kind), (uintptr_t)foreign + 1);
	ck_assert_int_eq(kind, SLOTS_PAYLOAD_INNER);
}
END_TEST

/* ---- chains ---- */

struct chain {
	struct slots *slots;
	node *volatile root;
	uint32_t n;
	int order; /* which slot pair i has: its own, backwards, shuffled */
};

static uint32_t slot_of(const struct chain *chain, uint32_t i)
{
	switch (chain->order) {
	case 0: return i;
	case 1: return chain->n - 1 - i;
	default: return (uint32_t)((uint64_t)i * 7919 % chain->n);
	}
}

/* key 0 is the root; payload i leads to key i + 1. */
static int make_chain(void *arg)
{
	struct chain *chain = arg;
	node *key = support_node_new(0);

	chain->root = key;
	for (uint32_t i = 0; i < chain->n; i++) {
		node *payload = support_node_new(slot_of(chain, i)), *next = support_node_new(i + 1);
		SUPPORT_REQUIRE(payload != NULL && next != NULL);
		payload->next = next;
		put(chain->slots, slot_of(chain, i), key, payload);
		key = next;
	}
	BASE_KEEP(key);
	return 0;
}

/* A chain is kept whole by its first key; whether it went, or some of it, in the first collection without. */
static bool chain_goes(int order)
{
	struct chain chain = {.n = (uint32_t)support_scaled(100000, 1000), .order = order};

	chain.slots = array_new(chain.n, SLOTS_WEAK_EPHEMERON);
	ck_assert_int_eq(support_on_thread(make_chain, &chain), 0);
	support_scrub();
	gc_collect();
	ck_assert_uint_eq(entries(chain.slots), chain.n);
	check_nodes(chain.slots, chain.n);
	chain.root = NULL;
	support_collect();
	check_counts(chain.slots);
	bool went = entries(chain.slots) < chain.n;
	SUPPORT_KEEP(chain.slots);
	return went;
}

/* D43: a chain through one array is kept whole by its first key, whatever the order of its slots, and goes without. A single stray pointer
 * keeps all that is behind it: so one of some must go, and test_D43_chains_go_apart counts. */
START_TEST(test_D43_chain)
{
	bool went = false;

	for (int i = 0; i < 6 && !went; i++)
		went = chain_goes(_i);
	ck_assert(went);
}
END_TEST

static long resident_bytes(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*s %ld", &pages), 1);
	fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}

/* What waited pairs take in a collection stays for the next one, and is given back by the first that needs far less. */
START_TEST(test_memory_of_the_closure_is_given_back)
{
	struct chain chain = {.n = (uint32_t)support_scaled(100000, 1000), .order = 2};
	void **held = GC_MALLOC_UNCOLLECTABLE(chain.n * sizeof *held);

	chain.slots = array_new(chain.n, SLOTS_WEAK_EPHEMERON);
	ck_assert_int_eq(support_on_thread(make_chain, &chain), 0);
	gc_collect();
	gc_collect();
	long before = resident_bytes();
	for (uint32_t i = 0; i < chain.n; i++) {
		uintptr_t payload;
		slots_load(chain.slots, i, &held[i], &payload);
	}
	gc_collect();
	/* At least 24 bytes each; of a small chain all stays. */
	if (chain.n == 100000)
		ck_assert_int_ge(before - resident_bytes(), 2400000);
	ck_assert_uint_eq(entries(chain.slots), chain.n);
	check_nodes(chain.slots, chain.n);
	GC_FREE(held);
	SUPPORT_KEEP(chain.root);
	SUPPORT_KEEP(chain.slots);
}
END_TEST

static int make_many_chains(void *arg)
{
	struct chain *chains = arg;

	for (uint32_t i = 0; i < N; i++)
		SUPPORT_REQUIRE(make_chain(&chains[i]) == 0);
	return 0;
}

/* Exactly: of many chains, those whose roots are dropped go, whole, and no other. */
START_TEST(test_D43_chains_go_apart)
{
	struct chain *chains = gc_alloc(N * sizeof *chains);
	uint32_t left = 0, n = (uint32_t)support_scaled(100, 10);

	for (uint32_t i = 0; i < N; i++)
		chains[i] = (struct chain){.slots = array_new(n, SLOTS_WEAK_EPHEMERON), .n = n, .order = (int)i % 3};
	ck_assert_int_eq(support_on_thread(make_many_chains, chains), 0);
	for (uint32_t i = 0; i < N; i += 2)
		chains[i].root = NULL;
	support_collect();
	for (uint32_t i = 0; i < N; i++) {
		if (i % 2 == 0)
			left += entries(chains[i].slots) > 0;
		else
			check_nodes(chains[i].slots, n);
	}
	ck_assert_uint_le(left, SUPPORT_SLACK);
	SUPPORT_KEEP(chains);
}
END_TEST

/* Either-weak pairs: each key leads to the payload before it, and only the last payload is the chain's root. */
static int make_backward_chain(struct chain *chain)
{
	node *before = NULL;

	for (uint32_t i = 0; i < chain->n; i++) {
		node *key = support_node_new(i), *payload = support_node_new(i);
		SUPPORT_REQUIRE(key != NULL && payload != NULL);
		key->next = before;
		put(chain->slots, i, key, payload);
		before = payload;
		BASE_KEEP(key);
	}
	chain->root = before;
	return 0;
}

static int make_backward_chains(void *arg)
{
	struct chain *chains = arg;

	for (uint32_t i = 0; i < N; i++)
		SUPPORT_REQUIRE(make_backward_chain(&chains[i]) == 0);
	return 0;
}

/* D47: a payload keeps its key, which keeps another payload, and so on; without the root all of them go. */
START_TEST(test_D47_chains)
{
	struct chain *chains = gc_alloc(N * sizeof *chains);
	uint32_t left = 0, n = (uint32_t)support_scaled(100, 10);

	for (uint32_t i = 0; i < N; i++)
		chains[i] = (struct chain){.slots = array_new(n, SLOTS_WEAK_EITHER), .n = n};
	ck_assert_int_eq(support_on_thread(make_backward_chains, chains), 0);
	for (uint32_t i = 0; i < N; i += 2)
		chains[i].root = NULL;
	support_collect();
	for (uint32_t i = 0; i < N; i++) {
		if (i % 2 == 0)
			left += entries(chains[i].slots) > 0;
		else
			check_nodes(chains[i].slots, n);
	}
	ck_assert_uint_le(left, SUPPORT_SLACK);
	SUPPORT_KEEP(chains);
}
END_TEST

struct ring {
	struct slots *slots[3];
	node *volatile *roots; /* one of each ring's keys */
};

/* Rings of three pairs through three arrays: the payload of each leads to the key of the next, and to the next array. */
static int make_rings(void *arg)
{
	struct ring *ring = arg;

	for (uint32_t i = 0; i < N; i++) {
		node *keys[3], *payload;
		for (uint32_t k = 0; k < 3; k++) {
			keys[k] = support_node_new(i);
			SUPPORT_REQUIRE(keys[k] != NULL);
		}
		for (uint32_t k = 0; k < 3; k++) {
			payload = support_node_new(i);
			SUPPORT_REQUIRE(payload != NULL);
			payload->next = keys[(k + 1) % 3];
			payload->other = ring->slots[(k + 1) % 3];
			put(ring->slots[k], i, keys[k], payload);
		}
		if (ring->roots != NULL)
			ring->roots[i] = keys[i % 3];
		SUPPORT_KEEP(keys[0]);
	}
	return 0;
}

/* Rings through three arrays: kept by any one of their keys, gone without. */
START_TEST(test_D43_rings)
{
	struct ring ring = {.roots = gc_alloc(N * sizeof(node *))};

	for (int k = 0; k < 3; k++)
		ring.slots[k] = array_new(N, SLOTS_WEAK_EPHEMERON);
	ck_assert_int_eq(support_on_thread(make_rings, &ring), 0);
	support_collect();
	for (int k = 0; k < 3; k++)
		check_nodes(ring.slots[k], N);
	for (uint32_t i = 0; i < N; i++)
		ring.roots[i] = NULL;
	support_collect();
	for (int k = 0; k < 3; k++) {
		ck_assert_uint_le(entries(ring.slots[k]), SUPPORT_SLACK);
		check_counts(ring.slots[k]);
	}
	SUPPORT_KEEP(ring.roots);
}
END_TEST

struct nest {
	node *volatile root;
	struct slots *volatile first;
};

/* Arrays of one pair each: array i is reached by the payload of array i - 1 only, and has a key that is older than it. */
static int make_nest(void *arg)
{
	struct nest *nest = arg;
	struct slots *slots = array_new(1, SLOTS_WEAK_EPHEMERON);

	nest->root = support_node_new(0);
	nest->first = slots;
	for (uint32_t i = 0; i < 200; i++) {
		node *payload = support_node_new(0);
		struct slots *next = array_new(1, SLOTS_WEAK_EPHEMERON);
		SUPPORT_REQUIRE(payload != NULL && next != NULL);
		payload->other = next;
		put(slots, 0, nest->root, payload);
		slots = next;
	}
	return 0;
}

/* Arrays that only an ephemeron keeps are ephemeron arrays from then on. */
START_TEST(test_arrays_in_payloads)
{
	struct nest nest;
	uint32_t found = 0;

	ck_assert_int_eq(support_on_thread(make_nest, &nest), 0);
	support_collect();
	for (struct slots *slots = nest.first; present(slots, 0); found++) {
		node *payload = (node *)payload_word(slots, 0);
		ck_assert(support_node_intact(payload));
		slots = payload->other;
		ck_assert_uint_eq(slots->signature, SLOTS_SIGNATURE);
	}
	ck_assert_uint_eq(found, 200);
	SUPPORT_CLEAR(nest.root);
	support_collect();
	ck_assert(!present(nest.first, 0));
}
END_TEST

/* A payload that leads to its own array does not keep it: nobody has the array. */
static int make_selfish_arrays(void *arg)
{
	weakref_ref **refs = arg;

	for (uint32_t i = 0; i < N; i++) {
		struct slots *slots = array_new(1, SLOTS_WEAK_EPHEMERON);
		node *key = support_node_new(i), *payload = support_node_new(i);
		SUPPORT_REQUIRE(slots != NULL && key != NULL && payload != NULL);
		payload->other = slots;
		payload->next = key;
		put(slots, 0, key, payload);
		refs[i] = weakref_ref_new(slots, NULL, NULL);
	}
	return 0;
}

START_TEST(test_payload_does_not_keep_its_array)
{
	weakref_ref **refs = gc_alloc(N * sizeof *refs);

	ck_assert_int_eq(support_on_thread(make_selfish_arrays, refs), 0);
	support_collect();
	ck_assert_uint_ge(support_dead(refs, N), N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

/* ---- what marking follows ---- */

static int nothing(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	return 0;
}

static const gc_type leaf_type = {.name = "leaf", .size = sizeof(node), .flags = WEAKREF_TYPE_LEAF};

enum holder { OBJECT, NORMAL, TYPED, CALLBACK_DATA, REF_PAYLOAD, WIDE, LEAF, PTRFREE, PLAIN_REF, HOLDERS };


static int host_kind = -1;

/* A block that holds p, or only its address. */
static void *holder_new(enum holder what, node *p)
{
	static const weakref_ref_options options = {.distinct = true};
	weakref_ref_options with = options;
	GC_word bitmap[1] = {1};
	size_t width;
	void **block;
	node *object;

	switch (what) {
	case OBJECT:
		object = support_node_new(0);
		object->next = p;
		return object;
	case LEAF:
		object = gc_new(&leaf_type);
		object->next = p;
		return object;
	case CALLBACK_DATA: return weakref_ref_new(p, nothing, p);
	case REF_PAYLOAD:
		with.payload = p;
		return weakref_ref_new_with(p, &with);
	case PLAIN_REF: return weakref_ref_new(p, NULL, NULL);
	case TYPED: block = GC_MALLOC_EXPLICITLY_TYPED(32, GC_make_descriptor(bitmap, 1)); break;
	case PTRFREE: block = GC_MALLOC_ATOMIC(32); break;
	case WIDE:
		width = support_scaled(1000, 10);
		block = GC_MALLOC(width * sizeof *block);
		for (size_t i = 0; i < width; i++)
			block[i] = i == width / 2 ? (void *)p : (void *)support_node_new(i);
		return block;
	default: block = GC_MALLOC(32); break;
	}
	*block = p;
	return block;
}

struct follow {
	enum holder what;
	struct slots *slots;
	node **keys;
	weakref_ref **refs;
};

static int make_holders(void *arg)
{
	struct follow *follow = arg;
	static const weakref_ref_options options = {.distinct = true};

	for (uint32_t i = 0; i < N; i++) {
		node *p = support_node_new(i);
		SUPPORT_REQUIRE(p != NULL);
		void *holder = holder_new(follow->what, p);
		SUPPORT_REQUIRE(holder != NULL);
		follow->refs[i] = weakref_ref_new_with(p, &options);
		put(follow->slots, i, follow->keys[i], holder);
	}
	return 0;
}

/* What a payload holds lives or dies as if libgc had marked from it, whatever its kind. */
START_TEST(test_kinds_are_followed)
{
	struct follow follow = {.what = (enum holder)_i, .slots = array_new(N, SLOTS_WEAK_EPHEMERON)};

	follow.keys = gc_alloc(N * sizeof(node *));
	follow.refs = gc_alloc(N * sizeof(weakref_ref *));
	for (uint32_t i = 0; i < N; i++)
		follow.keys[i] = support_node_new(i);
	ck_assert_int_eq(support_on_thread(make_holders, &follow), 0);
	support_collect();
	ck_assert_uint_eq(entries(follow.slots), N);
	if (follow.what < LEAF)
		ck_assert_uint_eq(support_dead(follow.refs, N), 0);
	else
		ck_assert_uint_ge(support_dead(follow.refs, N), N - SUPPORT_SLACK);
	SUPPORT_KEEP(follow.keys);
	SUPPORT_KEEP(follow.refs);
}
END_TEST

/* ---- kinds of hosts ---- */

/* The host's blocks: a signature, and a hidden pointer. */
#define HOST_SIGNATURE ((GC_word)0x686f7374)

static struct GC_ms_entry *host_mark(GC_word *block, struct GC_ms_entry *top, struct GC_ms_entry *limit, GC_word env)
{
	(void)env;
	if (block[1] == HOST_SIGNATURE)
		top = GC_MARK_AND_PUSH((void *)~block[2], top, limit, (void **)&block[2]);
	return top;
}

static void host_trace(void *block, size_t size, gc_trace_visit_fn visit)
{
	const GC_word *words = block;

	if (size >= 3 * sizeof *words && words[1] == HOST_SIGNATURE)
		visit((const void *)~words[2]);
}

static int make_host_blocks(void *arg)
{
	struct follow *follow = arg;

	for (uint32_t i = 0; i < N; i++) {
		node *p = support_node_new(i);
		GC_word *block = GC_generic_malloc(40, host_kind);
		SUPPORT_REQUIRE(p != NULL && block != NULL);
		block[2] = ~(GC_word)p;
		block[1] = HOST_SIGNATURE;
		follow->refs[i] = weakref_ref_new(p, NULL, NULL);
		put(follow->slots, i, follow->keys[i], block);
	}
	return 0;
}

static uint32_t host_children_lost(void)
{
	struct follow follow = {.slots = array_new(N, SLOTS_WEAK_EPHEMERON)};

	follow.keys = gc_alloc(N * sizeof(node *));
	follow.refs = gc_alloc(N * sizeof(weakref_ref *));
	for (uint32_t i = 0; i < N; i++)
		follow.keys[i] = support_node_new(i);
	ck_assert_int_eq(support_on_thread(make_host_blocks, &follow), 0);
	support_collect();
	ck_assert_uint_eq(entries(follow.slots), N);
	uint32_t lost = (uint32_t)support_dead(follow.refs, N);
	SUPPORT_KEEP(follow.keys);
	SUPPORT_KEEP(follow.refs);
	return lost;
}

static void host_kind_make(void)
{
	if (host_kind < 0)
		host_kind = (int)GC_new_kind(GC_new_free_list(), GC_MAKE_PROC(GC_new_proc(host_mark), 0), 0, 1);
}

/* Pointers that only a host's mark procedure sees are followed by its tracer. */
START_TEST(test_host_kind_with_tracer)
{
	host_kind_make();
	ck_assert_int_eq(gc_set_kind_tracer(host_kind, host_trace), 0);
	ck_assert_uint_eq(host_children_lost(), 0);
	ck_assert_int_eq(gc_set_kind_tracer(host_kind, NULL), 0);
	ck_assert_uint_ge(host_children_lost(), N - SUPPORT_SLACK);
}
END_TEST

START_TEST(test_tracer_arguments)
{
	ck_assert_int_eq(gc_set_kind_tracer(-1, host_trace), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_set_kind_tracer(0, host_trace), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_set_kind_tracer(1, host_trace), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_set_kind_tracer(256, host_trace), -WEAKREF_EINVAL);
	ck_assert_int_eq(gc_set_kind_tracer(heap_kind_number(HEAP_OBJECT), host_trace), -WEAKREF_EINVAL);
}
END_TEST

static int make_unknown(void *arg)
{
	struct follow *follow = arg;

	for (uint32_t i = 0; i < N; i++)
		put(follow->slots, i, follow->keys[i], GC_generic_malloc(40, host_kind));
	return 0;
}

static int meet_unknown_kind(void)
{
	struct follow follow = {.slots = array_new(N, SLOTS_WEAK_EPHEMERON), .keys = gc_alloc(N * sizeof(node *))};

	host_kind_make();
	for (uint32_t i = 0; i < N; i++)
		follow.keys[i] = support_node_new(i);
	if (support_on_thread(make_unknown, &follow) != 0)
		return 1;
	support_collect();
	SUPPORT_KEEP(follow.keys);
	SUPPORT_KEEP(follow.slots);
	return 0;
}

/* --enable-checks says once that it met a kind that it may not understand. */
START_TEST(test_unknown_kind_is_reported)
{
	char err[4096];

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	ck_assert_int_eq(support_respawn("unknown-kind", NULL, err, sizeof err), 0);
	const char *first = strstr(err, "marking meets blocks of kind");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + 1, "marking meets blocks of kind"));
}
END_TEST

/* Blocks of the library's kinds and of libgc's first ones, in every array and behind every payload. */
static int meet_known_kinds(void)
{
	for (enum holder what = 0; what < HOLDERS; what++) {
		struct follow follow = {.what = what, .slots = array_new(N, SLOTS_WEAK_EPHEMERON), .keys = gc_alloc(N * sizeof(node *))};

		/* libgc makes the kinds of its typed blocks like a host's. */
		if (what == TYPED)
			continue;
		follow.refs = gc_alloc(N * sizeof(weakref_ref *));
		for (uint32_t i = 0; i < N; i++)
			follow.keys[i] = support_node_new(i);
		if (support_on_thread(make_holders, &follow) != 0)
			return 1;
		support_collect();
		SUPPORT_KEEP(follow.keys);
		SUPPORT_KEEP(follow.refs);
	}
	return 0;
}

/* It says nothing about its own kinds, the collection's sentinel among them, nor about libgc's. */
START_TEST(test_known_kinds_are_not_reported)
{
	char err[4096];

	SUPPORT_SKIP_UNLESS(weakref_checks_enabled(), "the library was built without --enable-checks");
	ck_assert_int_eq(support_respawn("known-kinds", NULL, err, sizeof err), 0);
	ck_assert_ptr_null(strstr(err, "marking meets"));
}
END_TEST

/* ---- arrays that a finalizer revives ---- */

static unsigned finalized, wrong;
static node *survivor;
static struct slots *revived;

static void GC_CALLBACK holder_finalized(void *holder, void *unused)
{
	struct slots *slots = *(struct slots **)holder;

	(void)unused;
	finalized++;
	/* Slot 0: key and payload live otherwise. 1: only the key does. 2: only the payload. 3: neither. */
	for (uint32_t i = 0; i < 4; i++) {
		uintptr_t payload;
		void *key;
		bool there = slots_is_value(slots_load(slots, i, &key, &payload));
		wrong += there != (i == 0);
		wrong += there && !(support_node_intact(key) && support_node_intact((node *)payload));
		wrong += !there && payload != 0;
	}
	revived = slots;
}

struct held {
	enum slots_weakness weakness;
	/* Until all are made, and the stack that they were made on is gone. */
	struct slots ***holders;
};

static int make_held_arrays(void *arg)
{
	struct held *held = arg;

	for (uint32_t i = 0; i < N; i++) {
		struct slots **holder = GC_MALLOC(sizeof *holder), *slots = array_new(4, held->weakness);
		SUPPORT_REQUIRE(slots != NULL);
		for (uint32_t k = 0; k < 4; k++) {
			node *key = k < 2 ? survivor : support_node_new(k);
			put(slots, k, key, k % 2 == 0 ? survivor : support_node_new(k));
			BASE_KEEP(key);
		}
		*holder = slots;
		held->holders[i] = holder;
		GC_register_finalizer_no_order(holder, holder_finalized, NULL, NULL, NULL);
	}
	return 0;
}

/* An array that only a finalizer's block holds loses what does not live otherwise, and never shows a dead pointer; then it works on. */
START_TEST(test_array_revived_by_finalizer)
{
	struct held held = {(enum slots_weakness)_i, gc_alloc(N * sizeof(void *))};

	revived = NULL;
	survivor = support_node_new(7);
	finalized = wrong = 0;
	ck_assert_int_eq(support_on_thread(make_held_arrays, &held), 0);
	SUPPORT_CLEAR(held.holders);
	support_collect();
	GC_invoke_finalizers();
	ck_assert_uint_ge(finalized, N - SUPPORT_SLACK);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_ptr_nonnull(revived);
	ck_assert(present(revived, 0));
	if (held.weakness == SLOTS_WEAK_EPHEMERON) {
		node *payload = support_node_new(9);
		enum slots_payload kind;
		uintptr_t word = weakarray_encode_payload(payload, &kind);
		slots_payload_set(revived, 0, word, kind);
		SUPPORT_CLEAR(payload);
		support_collect();
		ck_assert(support_node_intact((node *)payload_word(revived, 0)));
		ck_assert_uint_eq(((node *)payload_word(revived, 0))->id, 9);
	}
	SUPPORT_CLEAR(survivor);
	support_collect();
	ck_assert_uint_le(entries(revived), SUPPORT_SLACK);
	SUPPORT_CLEAR(revived);
}
END_TEST

/* ---- references and counts ---- */

static int make_watched(void *arg)
{
	struct follow *follow = arg;

	for (uint32_t i = 0; i < N; i++) {
		node *p = support_node_new(i);
		SUPPORT_REQUIRE(p != NULL);
		follow->refs[i] = weakref_ref_new(p, nothing, NULL);
		put(follow->slots, i, follow->keys[i], p);
	}
	return 0;
}

/* What an ephemeron keeps has its references too; when its key goes both go, in one collection, and count as dead. */
START_TEST(test_references_of_what_is_kept)
{
	struct follow follow = {.slots = array_new(N, SLOTS_WEAK_EPHEMERON)};

	follow.keys = gc_alloc(N * sizeof(node *));
	follow.refs = gc_alloc(N * sizeof(weakref_ref *));
	for (uint32_t i = 0; i < N; i++)
		follow.keys[i] = support_node_new(i);
	ck_assert_int_eq(support_on_thread(make_watched, &follow), 0);
	support_collect();
	ck_assert_uint_eq(support_dead(follow.refs, N), 0);
	memset(follow.keys, 0, N * sizeof(node *));
	BASE_KEEP(follow.keys);
	ck_assert_int_ge(support_collect(), (long)(2 * (N - SUPPORT_SLACK)));
	ck_assert_uint_ge(support_dead(follow.refs, N), N - SUPPORT_SLACK);
	SUPPORT_KEEP(follow.refs);
}
END_TEST

/* ---- while things change ---- */

struct change {
	struct slots *slots;
	node **keys;
	_Atomic bool stop;
	_Atomic unsigned wrong;
	uint64_t seed;
};

/* Payload i is a node of number i, or the number 2 * i + 1. */
static bool payload_good(uintptr_t payload, uint32_t i)
{
	return payload == (uintptr_t)i * 2 + 1 || (support_node_intact((node *)payload) && ((node *)payload)->id == i);
}

/* A node, a foreign block that looks like one, or a number: each kind changes into each. */
static void change_one(struct change *change, uint32_t i)
{
	enum slots_payload kind = SLOTS_PAYLOAD_NUMBER;
	uint64_t what = support_random(&change->seed) % 3;
	uintptr_t word = (uintptr_t)i * 2 + 1;
	node *p = what == 2 ? NULL : support_node_new(i);

	if (p != NULL && what == 1) {
		node *foreign = GC_MALLOC(sizeof *foreign);
		memcpy(foreign, p, sizeof *foreign);
		p = foreign;
	}
	if (p != NULL)
		word = weakarray_encode_payload(p, &kind);
	slots_payload_set(change->slots, i, word, kind);
	BASE_KEEP(p);
}

static int writer(struct change *change)
{
	while (!change->stop)
		change_one(change, (uint32_t)(support_random(&change->seed) % change->slots->n));
	return 0;
}

static int reader(struct change *change)
{
	uint64_t seed = support_seed();

	while (!change->stop) {
		uint32_t i = (uint32_t)(support_random(&seed) % change->slots->n);
		uintptr_t payload;
		void *key;
		if (!slots_is_value(slots_load(change->slots, i, &key, &payload)) || key != change->keys[i] || !payload_good(payload, i))
			change->wrong++;
	}
	return 0;
}

static int collector(struct change *change)
{
	for (int i = 0; i < 40; i++) {
		gc_collect();
		support_churn(1, 8 << 20);
	}
	change->stop = true;
	return 0;
}

struct job {
	int (*run)(struct change *change);
	struct change *change;
};

static int run_job(void *arg)
{
	struct job *job = arg;

	return job->run(job->change);
}

static struct change *change_new(uint32_t n)
{
	struct change *change = gc_alloc(sizeof *change);

	change->seed = support_seed();
	change->slots = array_new(n, SLOTS_WEAK_EPHEMERON);
	change->keys = gc_alloc(n * sizeof(node *));
	for (uint32_t i = 0; i < n; i++) {
		change->keys[i] = support_node_new(i);
		put_word(change->slots, i, change->keys[i], (uintptr_t)i * 2 + 1, SLOTS_PAYLOAD_NUMBER);
	}
	gc_collect();
	return change;
}

static void check_payloads(struct change *change)
{
	for (uint32_t i = 0; i < change->slots->n; i++)
		ck_assert(payload_good(payload_word(change->slots, i), i));
}

/* Payloads are replaced in an old array, kinds and all, while others read and collections run: no reader sees a dead pointer. */
START_TEST(test_payloads_change)
{
	struct change *change = change_new(500);
	struct job *jobs = gc_alloc(4 * sizeof *jobs);

	jobs[0] = (struct job){writer, change};
	jobs[1] = jobs[2] = (struct job){reader, change};
	jobs[3] = (struct job){collector, change};
	ck_assert_uint_eq(support_threads(4, run_job, jobs, sizeof *jobs), 0);
	ck_assert_uint_eq(change->wrong, 0);
	check_payloads(change);
	SUPPORT_KEEP(change);
}
END_TEST

/* Payloads replaced in an old array while only collections of libgc's own choosing run; in incremental mode those are partial ones. */
START_TEST(test_payloads_change_between_partial_collections)
{
	struct change *change = change_new(300);

	for (unsigned round = 0; round < 10; round++) {
		for (uint32_t i = round % 3; i < 300; i += 3)
			change_one(change, i);
		ck_assert(support_churn(2, (size_t)64 << 20));
		check_payloads(change);
	}
	SUPPORT_KEEP(change);
}
END_TEST

static int take_all(void *arg)
{
	struct slots *slots = arg;

	for (uint32_t i = 0; i < slots->n; i++)
		SUPPORT_REQUIRE(slots_is_value(slots_take(slots, i)));
	return 0;
}

/* What is taken out of a slot is not kept by it any more. */
START_TEST(test_taken_pairs_are_let_go)
{
	struct follow follow = {.slots = array_new(N, SLOTS_WEAK_EPHEMERON)};

	follow.keys = gc_alloc(N * sizeof(node *));
	follow.refs = gc_alloc(N * sizeof(weakref_ref *));
	for (uint32_t i = 0; i < N; i++)
		follow.keys[i] = support_node_new(i);
	ck_assert_int_eq(support_on_thread(make_watched, &follow), 0);
	support_collect();
	ck_assert_uint_eq(support_dead(follow.refs, N), 0);
	ck_assert_int_eq(take_all(follow.slots), 0);
	check_counts(follow.slots);
	support_collect();
	ck_assert_uint_ge(support_dead(follow.refs, N), N - SUPPORT_SLACK);
	ck_assert_uint_eq(follow.slots->dead, 0);
	SUPPORT_KEEP(follow.keys);
	SUPPORT_KEEP(follow.refs);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("marking");
	TCase *t = support_tcase("pairs");

	tcase_add_loop_test(t, test_pairs_stay_or_go, 0, sizeof shapes / sizeof *shapes);
	tcase_add_loop_test(t, test_numbers, SLOTS_WEAK_EPHEMERON, SLOTS_WEAK_EITHER + 1);
	tcase_add_test(t, test_numbers_keep_nothing);
	tcase_add_test(t, test_payload_kinds_are_told_apart);
	tcase_add_loop_test(t, test_D43_chain, 0, 3);
	tcase_add_test(t, test_memory_of_the_closure_is_given_back);
	tcase_add_test(t, test_D43_chains_go_apart);
	tcase_add_test(t, test_D43_rings);
	tcase_add_test(t, test_D47_chains);
	tcase_add_test(t, test_arrays_in_payloads);
	tcase_add_test(t, test_payload_does_not_keep_its_array);
	tcase_add_loop_test(t, test_array_revived_by_finalizer, SLOTS_WEAK_EPHEMERON, SLOTS_WEAK_EITHER + 1);
	tcase_add_test(t, test_references_of_what_is_kept);
	tcase_add_test(t, test_taken_pairs_are_let_go);
	suite_add_tcase(s, t);
	t = support_tcase("kinds");
	tcase_add_loop_test(t, test_kinds_are_followed, 0, HOLDERS);
	tcase_add_test(t, test_host_kind_with_tracer);
	tcase_add_test(t, test_tracer_arguments);
	tcase_add_test(t, test_unknown_kind_is_reported);
	tcase_add_test(t, test_known_kinds_are_not_reported);
	suite_add_tcase(s, t);
	t = support_tcase("change");
	tcase_add_test(t, test_payloads_change);
	tcase_add_test(t, test_payloads_change_between_partial_collections);
	suite_add_tcase(s, t);
	return s;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "unknown-kind") == 0)
		return gc_init() != 0 || meet_unknown_kind() != 0;
	if (argc > 1 && strcmp(argv[1], "known-kinds") == 0)
		return gc_init() != 0 || meet_known_kinds() != 0;
	return support_main(suite);
}

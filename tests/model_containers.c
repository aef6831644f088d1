/* SPDX-License-Identifier: MIT */
/*
 * model_containers: random sequences of operations on sets and on dictionaries of each weakness, compared with a naive model
 * that knows who lives. (Weak values have a model of their own: model_valuedict.c.)
 *
 * Nodes have a serial number, a class (nodes of one class are equal) and may refer to one other node. Two containers of one
 * kind are at work at a time. The roots are an array of slots; from them the model computes who is alive, as the containers'
 * weakness says:
 *
 *     set      keeps nothing                        the entry stays while the element is alive
 *     key      an alive key's value is alive        … while the key is
 *     both     keeps nothing                        … while both are
 *     either   one that is alive keeps the other    … while one is
 *
 * A container's walk must show every entry that stays by the model, once; of the others it may show those whose nodes were
 * never seen dead. A node is seen dead when a container has lost it: from then on no container may show it. After three full
 * collections no container shows entries that do not stay, but for TOLERATED of them, which stray words on the conservative
 * heap may keep (a word that keeps one node keeps what that leads to).
 *
 *     model_containers [--ops N] [--seed N]        the seed is printed; built with MODEL_FUZZER it takes a fuzzer's bytes
 */
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/keydict.h"
#include "weakref/set.h"

#define SIGNATURE UINT64_C(0x6d6f64656c6e6f64)
#define SERIALS 40000 /* of one run */
#define SLOTS 400
#define CLASSES 600
#define TOLERATED 40
#define ABSENT UINT32_MAX

struct node {
	uint64_t signature;
	uint32_t serial, class;
	struct node *other;
};

enum kind { SET, KEY, BOTH, EITHER, KINDS };

struct container {
	weakref_set *set;
	weakref_keydict *dict;
	/* The model: what each serial is mapped to; 0: nothing of the heap; ABSENT: not a key. */
	uint32_t *value;
};

static struct model {
	const uint8_t *bytes;
	size_t left;
	uint64_t state, seed;
	enum kind kind;
	bool equality;
	struct container c[2];
	struct node *strong[SLOTS];
	uint32_t serials;
	/* Of each serial: its class, the serial that it refers to, whether it was seen dead, whether it is alive now. From malloc, as the
	 * containers' model is: the collector is to see nothing but the roots. */
	uint32_t *class, *other;
	uint8_t *dead, *alive;
	unsigned long step, deaths, hits, collections;
	const char *doing;
} *m;

_Noreturn static void WEAKREF_PRINTF(1, 2) broken(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "model_containers: seed %llu, kind %d%s, step %lu (%s): ", (unsigned long long)m->seed, m->kind,
		m->equality ? " by equality" : "", m->step, m->doing);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

#define EXPECT(cond, ...)                                                                                              \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			broken(__VA_ARGS__);                                                                             \
	} while (0)

static uint32_t draw(uint32_t below)
{
	uint32_t x = 0;

	if (m->bytes == NULL)
		return (uint32_t)(support_random(&m->state) >> 32) % below;
	for (int i = 0; i < 2 && m->left > 0; i++, m->left--)
		x = x << 8 | *m->bytes++;
	return x % below;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------------- */

static int node_hash(void *obj, uint64_t *out)
{
	*out = ((struct node *)obj)->class / 2;
	return 0;
}

static int node_equal(void *a, void *b)
{
	return ((struct node *)a)->class == ((struct node *)b)->class;
}

static const gc_type node_type = {.name = "node", .size = sizeof(struct node), .hash = node_hash, .equal = node_equal};

static struct node *node_new(struct node *other)
{
	struct node *node = gc_new(&node_type);

	EXPECT(node != NULL, "%s", strerror(errno));
	node->serial = m->serials++;
	node->class = draw(CLASSES);
	node->signature = SIGNATURE ^ node->serial;
	node->other = other;
	m->class[node->serial] = node->class;
	m->other[node->serial] = other != NULL ? other->serial : 0;
	m->dead[node->serial] = 0;
	for (int i = 0; i < 2; i++)
		m->c[i].value[node->serial] = ABSENT;
	return node;
}

/* p was handed out: an intact node that nobody has seen dead. */
static uint32_t serial_of(const void *p)
{
	const struct node *node = p;

	EXPECT(node->signature == (SIGNATURE ^ node->serial) && node->serial < m->serials, "what was handed out is no node");
	EXPECT(!m->dead[node->serial], "node %u was dead already", node->serial);
	m->hits++;
	return node->serial;
}

static void hold(uint32_t slot, struct node *node)
{
	*(struct node *volatile *)&m->strong[slot] = node;
}

/* ---- who is alive -------------------------------------------------------------------------------------------------------- */

static bool stays(const struct container *c, uint32_t key)
{
	uint32_t value = c->value[key];

	switch (m->kind) {
	case BOTH:
		return m->alive[key] && (value == 0 || m->alive[value]);
	case EITHER:
		return m->alive[key] || (value != 0 && m->alive[value]);
	default:
		return m->alive[key];
	}
}

static bool make_alive(uint32_t serial)
{
	bool news = serial != 0 && !m->alive[serial];

	m->alive[serial] = serial != 0;
	return news;
}

/* The closure, to the end, however slowly. */
static void who_is_alive(void)
{
	bool again = true;

	memset(m->alive, 0, SERIALS);
	for (size_t i = 0; i < SLOTS; i++)
		if (m->strong[i] != NULL)
			m->alive[m->strong[i]->serial] = 1;
	while (again) {
		again = false;
		for (uint32_t s = m->serials - 1; s > 0; s--)
			if (m->alive[s])
				again |= make_alive(m->other[s]);
		for (int i = 0; i < 2 && (m->kind == KEY || m->kind == EITHER); i++)
			for (uint32_t s = 1; s < m->serials; s++) {
				if (m->c[i].value[s] == ABSENT || !stays(&m->c[i], s))
					continue;
				again |= make_alive(s);
				again |= make_alive(m->c[i].value[s]);
			}
	}
}

/* ---- containers ---------------------------------------------------------------------------------------------------------- */

static void container_new(struct container *c)
{
	static const enum weakref_weakness weakness[] = {[KEY] = WEAKREF_WEAK_KEY, [BOTH] = WEAKREF_WEAK_BOTH, [EITHER] = WEAKREF_WEAK_EITHER};
	enum weakref_compare compare = m->equality ? WEAKREF_BY_EQUALITY : WEAKREF_BY_IDENTITY;

	c->set = m->kind == SET ? weakref_set_new(compare) : NULL;
	c->dict = m->kind == SET ? NULL
				 : weakref_keydict_new_with(&(weakref_keydict_options){.weakness = weakness[m->kind], .compare = compare});
	EXPECT(c->set != NULL || c->dict != NULL, "no container: %s", strerror(errno));
	for (uint32_t s = 0; s < SERIALS; s++)
		c->value[s] = ABSENT;
}

static size_t container_len(const struct container *c)
{
	return c->set != NULL ? weakref_set_len(c->set) : weakref_keydict_len(c->dict);
}

/* The entry of a serial is gone: whichever side is not alive by the model has been seen dead. */
static void lost(struct container *c, uint32_t key)
{
	uint32_t value = c->value[key];

	EXPECT(!stays(c, key), "entry %u is gone, though it must stay", key);
	c->value[key] = ABSENT;
	m->deaths++;
	if (m->kind == BOTH && value != 0 && !m->alive[value] && !m->alive[key])
		return; /* one of the two is dead, who knows which */
	if (!m->alive[key])
		m->dead[key] = 1;
	if (value != 0 && !m->alive[value] && (m->kind == EITHER || (m->kind == BOTH && m->alive[key])))
		m->dead[value] = 1;
}

/* One after the other against the model. What the container does not show is gone. Returns how many entries need not be there. */
__attribute__((noinline)) static size_t walk(struct container *c)
{
	static uint8_t seen[SERIALS];
	weakref_set_iter *elements = c->set != NULL ? weakref_set_iter_new(c->set) : NULL;
	weakref_keydict_iter *entries = c->dict != NULL ? weakref_keydict_iter_new(c->dict) : NULL;
	size_t spare = 0;
	int rc;

	memset(seen, 0, sizeof(seen));
	for (;;) {
		void *key, *value = NULL;
		rc = c->set != NULL ? weakref_set_iter_next(elements, &key) : weakref_keydict_iter_next(entries, &key, &value);
		if (rc != 1)
			break;
		uint32_t s = serial_of(key), v = value == NULL ? 0 : serial_of(value);
		EXPECT(!seen[s], "node %u was shown twice", s);
		EXPECT(c->value[s] == v, "node %u is mapped to %u, not %u", s, v, c->value[s]);
		seen[s] = 1;
	}
	EXPECT(rc == 0, "iteration: %d", rc);
	who_is_alive();
	for (uint32_t s = 1; s < m->serials; s++) {
		if (c->value[s] == ABSENT)
			continue;
		if (!seen[s])
			lost(c, s);
		else
			spare += !stays(c, s);
	}
	return spare;
}

/* Under equality: which of the model's keys is in the way of a node. Asks by a walk whether those that are doomed are there yet. */
static uint32_t rival(struct container *c, const struct node *node)
{
	if (!m->equality)
		return c->value[node->serial] != ABSENT ? node->serial : 0;
	for (int round = 0; round < 2; round++)
		for (uint32_t s = 1; s < m->serials; s++) {
			if (c->value[s] == ABSENT || m->class[s] != node->class)
				continue;
			if (round == 1)
				return s;
			walk(c);
			break;
		}
	return 0;
}

/* ---- steps --------------------------------------------------------------------------------------------------------------- */

static struct node *some_node(void)
{
	return m->strong[draw(SLOTS)];
}

/* A value: nothing, a held node, the key itself, a new node that leads to the key or to a held one, which nobody holds. */
static struct node *some_value(struct node *key)
{
	switch (draw(6)) {
	case 0:
		return NULL;
	case 1:
		return some_node();
	case 2:
		return key;
	case 3:
		return node_new(key);
	default:
		return node_new(draw(2) ? some_node() : NULL);
	}
}

#define STEP(name) __attribute__((noinline)) static void step_##name(struct container *c)

STEP(put)
{
	struct node *node = some_node();

	if (node == NULL)
		return;
	struct node *value = c->dict != NULL ? some_value(node) : NULL;
	uint32_t before = rival(c, node), v = value == NULL ? 0 : value->serial;
	if (c->set != NULL) {
		int rc = weakref_set_add(c->set, node);
		/* The rival may have died since it was seen. */
		EXPECT(rc == 1 || (rc == 0 && before != 0), "add: %d", rc);
		if (rc == 1 && before != 0)
			who_is_alive(), lost(c, before);
		if (rc == 1)
			c->value[node->serial] = 0;
		return;
	}
	bool keep = draw(3) == 0;
	errno = 0;
	void *now = keep ? weakref_keydict_setdefault(c->dict, node, value) : value;
	EXPECT(errno == 0, "setdefault: %s", strerror(errno));
	if (!keep)
		EXPECT(weakref_keydict_set(c->dict, node, value) == 0, "set");
	/* Who is the key now? With an automatic collection in between, a rival may have gone: then the node itself. */
	if (before != 0 && before != node->serial) {
		size_t n = 0;
		void **keys = weakref_keydict_keys(c->dict, &n);
		bool there = false;
		EXPECT(keys != NULL, "keys: %s", strerror(errno));
		for (size_t i = 0; i < n; i++)
			there |= serial_of(keys[i]) == before;
		if (!there)
			who_is_alive(), lost(c, before), before = 0;
	}
	if (keep && now != value)
		EXPECT(before != 0 && (now == NULL ? 0 : serial_of(now)) == c->value[before], "setdefault gave another value");
	else if (keep && before != 0 && c->value[before] != v)
		who_is_alive(), lost(c, before), c->value[before] = v;
	else
		c->value[before != 0 ? before : node->serial] = v;
	SUPPORT_KEEP(value);
}

STEP(ask)
{
	struct node *node = some_node();

	if (node == NULL)
		return;
	uint32_t before = rival(c, node);
	int rc = c->set != NULL ? weakref_set_contains(c->set, node) : weakref_keydict_contains(c->dict, node);
	EXPECT(rc == (before != 0) || (before != 0 && rc == 0), "contains: %d", rc);
	void *value = c->set != NULL ? weakref_set_find(c->set, node) : weakref_keydict_get(c->dict, node);
	if (value != NULL)
		EXPECT(before != 0 && serial_of(value) == (c->set != NULL ? before : c->value[before]), "look-up of %u", node->serial);
	if (rc == 0 && before != 0)
		who_is_alive(), lost(c, before);
}

STEP(take)
{
	struct node *node = some_node();

	if (node == NULL)
		return;
	uint32_t before = rival(c, node);
	int rc = c->set != NULL ? weakref_set_remove(c->set, node) : weakref_keydict_delete(c->dict, node);
	EXPECT(rc == 0 || rc == -WEAKREF_ENOENT, "remove: %d", rc);
	EXPECT(rc != 0 || before != 0, "removed what was not there");
	if (rc == 0)
		c->value[before] = ABSENT;
	else if (before != 0)
		who_is_alive(), lost(c, before);
}

STEP(pop)
{
	void *key = NULL, *value = NULL;
	int rc = c->set != NULL ? weakref_set_pop(c->set, &key) : weakref_keydict_popitem(c->dict, &key, &value);

	EXPECT(rc == 0 || rc == -WEAKREF_ENOENT, "pop: %d", rc);
	if (rc == 0) {
		EXPECT(c->value[serial_of(key)] == (value == NULL ? 0 : serial_of(value)), "popped another value");
		c->value[serial_of(key)] = ABSENT;
	} else {
		walk(c);
	}
}

STEP(clear)
{
	EXPECT((c->set != NULL ? weakref_set_clear(c->set) : weakref_keydict_clear(c->dict)) == 0, "clear");
	for (uint32_t s = 0; s < m->serials; s++)
		c->value[s] = ABSENT;
}

/* The other becomes a copy; what has died meanwhile shows in the walk. */
STEP(copy)
{
	struct container *other = c == &m->c[0] ? &m->c[1] : &m->c[0];

	other->set = c->set != NULL ? weakref_set_copy(c->set) : NULL;
	other->dict = c->dict != NULL ? weakref_keydict_copy(c->dict) : NULL;
	EXPECT(other->set != NULL || other->dict != NULL, "copy: %s", strerror(errno));
	memcpy(other->value, c->value, SERIALS * sizeof(*c->value));
}

/* Operations on two sets, by identity: what is doomed is first found out, and collections that come between may take more. */
STEP(operate)
{
	struct container *other = c == &m->c[0] ? &m->c[1] : &m->c[0];
	uint32_t what = draw(4);
	int rc;

	if (c->set == NULL || m->equality)
		return;
	rc = what == 0	 ? weakref_set_update(c->set, other->set)
	     : what == 1 ? weakref_set_intersection_update(c->set, other->set)
	     : what == 2 ? weakref_set_difference_update(c->set, other->set)
			 : weakref_set_symmetric_difference_update(c->set, other->set);
	EXPECT(rc == 0, "operation %u: %d", what, rc);
	for (uint32_t s = 1; s < m->serials; s++) {
		bool a = c->value[s] != ABSENT, b = other->value[s] != ABSENT;
		bool in = what == 0 ? a || b : what == 1 ? a && b : what == 2 ? a && !b : a != b;
		c->value[s] = in ? 0 : ABSENT;
	}
}

STEP(walk)
{
	walk(c);
}

STEP(drop)
{
	uint32_t n = draw(16) == 0 ? SLOTS : 1 + draw(8);

	(void)c;
	while (n-- > 0)
		hold(draw(SLOTS), NULL);
}

STEP(make)
{
	(void)c;
	for (uint32_t n = 1 + draw(4); n > 0; n--)
		hold(draw(SLOTS), node_new(draw(4) == 0 ? some_node() : NULL));
}

__attribute__((noinline)) static void collect(void)
{
	size_t spare[2] = {0};

	m->doing = "collect";
	for (int i = 0; i < 3; i++) {
		support_scrub();
		if (draw(4) == 0)
			GC_gcollect();
		else
			EXPECT(gc_collect() >= 0, "gc_collect");
		m->collections++;
		for (int k = 0; k < 2; k++)
			spare[k] = walk(&m->c[k]);
		if (spare[0] + spare[1] == 0)
			break;
	}
	EXPECT(spare[0] + spare[1] <= TOLERATED, "%zu entries that need not be there survived", spare[0] + spare[1]);
	for (int k = 0; k < 2; k++) {
		size_t n = 0;
		for (uint32_t s = 1; s < m->serials; s++)
			n += m->c[k].value[s] != ABSENT;
		EXPECT(container_len(&m->c[k]) <= n, "len is %zu, but %zu are there", container_len(&m->c[k]), n);
	}
	if (weakref_checks_enabled())
		EXPECT(weakref_checks_validate() >= 0, "validate");
}

static const struct {
	void (*run)(struct container *c);
	const char *name;
	unsigned weight;
} steps[] = {
	{step_put, "put", 400}, {step_ask, "ask", 200},	  {step_take, "take", 80},    {step_pop, "pop", 20},   {step_clear, "clear", 1},
	{step_copy, "copy", 2}, {step_operate, "operate", 4}, {step_walk, "walk", 10}, {step_drop, "drop", 60}, {step_make, "make", 250},
};

static void one_step(void)
{
	unsigned total = 0, at;
	size_t i;

	m->step++;
	if (draw(150) == 0) {
		collect();
		return;
	}
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		total += steps[i].weight;
	at = draw(total);
	for (i = 0; at >= steps[i].weight; i++)
		at -= steps[i].weight;
	m->doing = steps[i].name;
	steps[i].run(&m->c[draw(3) == 0]);
}

static void start(enum kind kind, bool equality)
{
	m->kind = kind;
	m->equality = equality;
	m->serials = 1;
	m->doing = "start";
	memset(m->strong, 0, sizeof(m->strong));
	for (int i = 0; i < 2; i++)
		container_new(&m->c[i]);
}

static void *room(size_t size)
{
	void *p = calloc(SERIALS, size);

	if (p == NULL)
		abort();
	return p;
}

static void model_make(void)
{
	m = GC_MALLOC_UNCOLLECTABLE(sizeof(*m));
	if (m == NULL || gc_init() != 0)
		abort();
	m->class = room(sizeof(*m->class));
	m->other = room(sizeof(*m->other));
	m->dead = room(1);
	m->alive = room(1);
	for (int i = 0; i < 2; i++)
		m->c[i].value = room(sizeof(*m->c[i].value));
}

#ifdef MODEL_FUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (m == NULL)
		model_make();
	if (size == 0)
		return 0;
	m->bytes = data + 1;
	m->left = size - 1;
	start((enum kind)(data[0] % KINDS), data[0] / KINDS % 2);
	while (m->left > 0 && m->serials < SERIALS - 16)
		one_step();
	collect();
	return 0;
}

#else

int main(int argc, char **argv)
{
	unsigned long ops = 3000;
	const char *seed = getenv("WEAKREF_SEED");
	const char *every = getenv("WEAKREF_COLLECT_EVERY");

	model_make();
	m->seed = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	if (every != NULL && atol(every) > 0)
		ops /= 10;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--ops") == 0)
			ops = strtoul(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			m->seed = strtoull(argv[i + 1], NULL, 0);
		else
			return 2;
	}
	const char *incremental = getenv("WEAKREF_TEST_INCREMENTAL");
	if (incremental != NULL && atoi(incremental) != 0)
		GC_enable_incremental();
	printf("model_containers: seed %llu, %lu operations for each of %d containers\n", (unsigned long long)m->seed, ops, 2 * KINDS);
	fflush(stdout);
	for (int k = 0; k < 2 * KINDS; k++) {
		m->state = m->seed + (uint64_t)k;
		start((enum kind)(k / 2), k % 2);
		for (unsigned long i = 0; i < ops; i++) {
			if (m->serials >= SERIALS - 16)
				start((enum kind)(k / 2), k % 2);
			one_step();
		}
		collect();
		memset(m->strong, 0, sizeof(m->strong));
		collect();
	}
	printf("model_containers: %lu collections asked for, %lu deaths seen, %lu nodes handed out\n", m->collections, m->deaths, m->hits);
	return m->collections == 0 || m->deaths == 0 || m->hits == 0;
}

#endif

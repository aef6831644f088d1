/* SPDX-License-Identifier: MIT */
/*
 * model_containers: random sequences of operations on sets, on dictionaries of each weakness, on single ephemerons and on interners,
 * compared with a naive model that knows who lives. (Weak values have a model of their own: model_valuedict.c.)
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
 * Ephemerons are one to a key, and an entry to the model like one of weak keys; interners are sets by equality.
 *
 * A container's walk must show every entry that stays by the model, once; of the others it may show those whose nodes were
 * never seen dead. A node is seen dead when a container has lost it: from then on no container may show it. After three full
 * collections no container shows entries that do not stay, but for what stray words on the conservative heap may keep: so few nodes
 * as STRAYS, taken for roots as well, must explain all that is left. A word that keeps one node keeps what that leads to, and one that
 * keeps a container which the run has dropped may keep several nodes.
 *
 *     model_containers [--ops N] [--seed N]        the seed is printed; WEAKREF_LONG=1: a million operations for each container.
 *
 * Built with MODEL_FUZZER it takes a fuzzer's bytes (clang -fsanitize=fuzzer -DMODEL_FUZZER).
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
#include "weakref/ephemeron.h"
#include "weakref/interner.h"
#include "weakref/keydict.h"
#include "weakref/set.h"

#define SIGNATURE UINT64_C(0x6d6f64656c6e6f64)
#define SERIALS 40000 /* of one run */
#define SLOTS 400
#define CLASSES 600
#define STRAYS 40
#define ABSENT UINT32_MAX

struct node {
	uint64_t signature;
	uint32_t serial, class;
	struct node *other;
};

enum kind { SET, KEY, BOTH, EITHER, EPHEMERON, INTERNER, KINDS };

struct container {
	weakref_set *set;
	weakref_keydict *dict;
	weakref_interner *interner;
	weakref_ephemeron **cells; /* by serial */
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
	struct node *probe; /* of any class, to look for what nobody holds */
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
static void make_alive_all(void)
{
	bool again = true;

	while (again) {
		again = false;
		for (uint32_t s = m->serials - 1; s > 0; s--)
			if (m->alive[s])
				again |= make_alive(m->other[s]);
		for (int i = 0; i < 2 && (m->kind == KEY || m->kind == EITHER || m->kind == EPHEMERON); i++)
			for (uint32_t s = 1; s < m->serials; s++) {
				if (m->c[i].value[s] == ABSENT || !stays(&m->c[i], s))
					continue;
				again |= make_alive(s);
				again |= make_alive(m->c[i].value[s]);
			}
	}
}

static void who_is_alive(void)
{
	memset(m->alive, 0, SERIALS);
	for (size_t i = 0; i < SLOTS; i++)
		if (m->strong[i] != NULL)
			m->alive[m->strong[i]->serial] = 1;
	make_alive_all();
}

/* How many more roots explain all entries that are there. Each is first taken as it comes, then left out where the others do without. */
static size_t strays(void)
{
	static uint32_t roots[SERIALS];
	size_t n = 0, needed = 0;

	who_is_alive();
	for (uint32_t s = m->serials - 1; s > 0; s--)
		for (int i = 0; i < 2; i++)
			if (m->c[i].value[s] != ABSENT && !stays(&m->c[i], s)) {
				roots[n++] = s;
				m->alive[s] = 1;
				make_alive_all();
			}
	for (size_t without = 0; without < n; without++) {
		who_is_alive();
		for (size_t r = 0; r < n; r++)
			if (r != without && roots[r] != 0)
				m->alive[roots[r]] = 1;
		make_alive_all();
		if (m->alive[roots[without]])
			roots[without] = 0;
		needed += roots[without] != 0;
	}
	return needed;
}

/* ---- containers ---------------------------------------------------------------------------------------------------------- */

static void container_new(struct container *c)
{
	static const enum weakref_weakness weakness[] = {[KEY] = WEAKREF_WEAK_KEY, [BOTH] = WEAKREF_WEAK_BOTH, [EITHER] = WEAKREF_WEAK_EITHER};
	enum weakref_compare compare = m->equality ? WEAKREF_BY_EQUALITY : WEAKREF_BY_IDENTITY;
	bool dict = m->kind >= KEY && m->kind <= EITHER;

	c->set = m->kind == SET ? weakref_set_new(compare) : NULL;
	c->interner = m->kind == INTERNER ? weakref_interner_new(compare) : NULL;
	c->cells = m->kind == EPHEMERON ? gc_alloc(SERIALS * sizeof(*c->cells)) : NULL;
	c->dict = dict ? weakref_keydict_new_with(&(weakref_keydict_options){.weakness = weakness[m->kind], .compare = compare}) : NULL;
	EXPECT(c->set != NULL || c->dict != NULL || c->interner != NULL || c->cells != NULL, "no container: %s", strerror(errno));
	for (uint32_t s = 0; s < SERIALS; s++)
		c->value[s] = ABSENT;
}

static bool has_cell(const struct container *c, uint32_t serial)
{
	return c->cells[serial] != NULL && !weakref_ephemeron_is_dead(c->cells[serial]);
}

static size_t container_len(const struct container *c)
{
	size_t len = 0;

	switch (m->kind) {
	case SET:
		return weakref_set_len(c->set);
	case INTERNER:
		return weakref_interner_len(c->interner);
	case EPHEMERON:
		for (uint32_t s = 1; s < m->serials; s++)
			len += has_cell(c, s);
		return len;
	default:
		return weakref_keydict_len(c->dict);
	}
}

static int container_set(struct container *c, struct node *node, struct node *value)
{
	if (c->dict != NULL)
		return weakref_keydict_set(c->dict, node, value);
	if (has_cell(c, node->serial))
		return weakref_ephemeron_set_value(c->cells[node->serial], value);
	c->cells[node->serial] = weakref_ephemeron_new(node, value);
	return c->cells[node->serial] != NULL ? 0 : -errno;
}

static int container_has(const struct container *c, struct node *node)
{
	switch (m->kind) {
	case SET:
		return weakref_set_contains(c->set, node);
	case INTERNER:
		return weakref_interner_find(c->interner, node) != NULL;
	case EPHEMERON:
		return has_cell(c, node->serial);
	default:
		return weakref_keydict_contains(c->dict, node);
	}
}

/* The element that is equal to a node, or the node's value. */
static void *container_find(const struct container *c, struct node *node)
{
	switch (m->kind) {
	case SET:
		return weakref_set_find(c->set, node);
	case INTERNER:
		return weakref_interner_find(c->interner, node);
	case EPHEMERON:
		return weakref_ephemeron_value(c->cells[node->serial]);
	default:
		return weakref_keydict_get(c->dict, node);
	}
}

static int container_remove(struct container *c, struct node *node)
{
	int rc;

	switch (m->kind) {
	case SET:
		return weakref_set_remove(c->set, node);
	case INTERNER:
		rc = weakref_interner_discard(c->interner, node);
		return rc == 1 ? 0 : rc == 0 ? -WEAKREF_ENOENT : rc;
	case EPHEMERON:
		return has_cell(c, node->serial) ? weakref_ephemeron_break(c->cells[node->serial]) : -WEAKREF_ENOENT;
	default:
		return weakref_keydict_delete(c->dict, node);
	}
}

static int container_clear(struct container *c)
{
	switch (m->kind) {
	case SET:
		return weakref_set_clear(c->set);
	case INTERNER:
		return weakref_interner_clear(c->interner);
	case EPHEMERON:
		for (uint32_t s = 1; s < m->serials; s++)
			if (has_cell(c, s))
				weakref_ephemeron_break(c->cells[s]);
		return 0;
	default:
		return weakref_keydict_clear(c->dict);
	}
}

/* A walk through a container. */
struct walker {
	const struct container *c;
	weakref_set_iter *elements;
	weakref_keydict_iter *entries;
	uint32_t serial;
};

static void walker_start(struct walker *w, const struct container *c)
{
	*w = (struct walker){.c = c};
	if (c->set != NULL)
		w->elements = weakref_set_iter_new(c->set);
	if (c->dict != NULL)
		w->entries = weakref_keydict_iter_new(c->dict);
}

/* An interner has no iterator: it is asked for each element of the model. */
static int walker_next_interned(struct walker *w, void **key)
{
	while (++w->serial < m->serials) {
		if (w->c->value[w->serial] == ABSENT)
			continue;
		m->probe->class = m->class[w->serial];
		*key = weakref_interner_find(w->c->interner, m->probe);
		if (*key != NULL && ((struct node *)*key)->serial == w->serial)
			return 1;
	}
	return 0;
}

static int walker_next(struct walker *w, void **key, void **value)
{
	switch (m->kind) {
	case SET:
		return weakref_set_iter_next(w->elements, key);
	case INTERNER:
		return walker_next_interned(w, key);
	case EPHEMERON:
		while (++w->serial < m->serials)
			if (w->c->cells[w->serial] != NULL && weakref_ephemeron_get(w->c->cells[w->serial], key, value) == 0)
				return 1;
		return 0;
	default:
		return weakref_keydict_iter_next(w->entries, key, value);
	}
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
	struct walker w;
	size_t spare = 0;
	int rc;

	memset(seen, 0, sizeof(seen));
	walker_start(&w, c);
	for (;;) {
		void *key, *value = NULL;
		rc = walker_next(&w, &key, &value);
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

/* Elements alone: a set, or an interner. */
static void put_element(struct container *c, struct node *node)
{
	uint32_t before = rival(c, node);
	struct node *there = c->interner != NULL ? weakref_interner_intern(c->interner, node) : NULL;
	int rc = c->set != NULL ? weakref_set_add(c->set, node) : there == node && before != node->serial;

	if (c->interner != NULL)
		EXPECT(there != NULL, "intern: %s", strerror(errno));
	/* The rival may have died since it was seen. */
	EXPECT(rc == 1 || (rc == 0 && before != 0), "add: %d", rc);
	if (rc == 0 && there != NULL)
		EXPECT(serial_of(there) == before, "%u is canonical, not %u", serial_of(there), before);
	if (rc == 1 && before != 0)
		who_is_alive(), lost(c, before);
	if (rc == 1)
		c->value[node->serial] = 0;
}

STEP(put)
{
	struct node *node = some_node();

	if (node == NULL)
		return;
	if (c->set != NULL || c->interner != NULL) {
		put_element(c, node);
		return;
	}
	struct node *value = some_value(node);
	uint32_t before = rival(c, node), v = value == NULL ? 0 : value->serial;
	bool keep = c->dict != NULL && draw(3) == 0;
	errno = 0;
	void *now = keep ? weakref_keydict_setdefault(c->dict, node, value) : value;
	EXPECT(errno == 0, "setdefault: %s", strerror(errno));
	if (!keep)
		EXPECT(container_set(c, node, value) == 0, "set");
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
	int rc = container_has(c, node);
	EXPECT(rc == (before != 0) || (before != 0 && rc == 0), "contains: %d", rc);
	bool element = c->set != NULL || c->interner != NULL;
	void *value = container_find(c, node);
	if (value != NULL)
		EXPECT(before != 0 && serial_of(value) == (element ? before : c->value[before]), "look-up of %u", node->serial);
	if (rc == 0 && before != 0)
		who_is_alive(), lost(c, before);
}

STEP(take)
{
	struct node *node = some_node();

	if (node == NULL)
		return;
	uint32_t before = rival(c, node);
	int rc = container_remove(c, node);
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

	if (c->set == NULL && c->dict == NULL)
		return;
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
	EXPECT(container_clear(c) == 0, "clear");
	for (uint32_t s = 0; s < m->serials; s++)
		c->value[s] = ABSENT;
}

static void copy_cells(weakref_ephemeron **to, weakref_ephemeron *const *from)
{
	void *key, *value;

	for (uint32_t s = 1; s < m->serials; s++) {
		to[s] = NULL;
		if (from[s] != NULL && weakref_ephemeron_get(from[s], &key, &value) == 0)
			EXPECT((to[s] = weakref_ephemeron_new(key, value)) != NULL, "copy: %s", strerror(errno));
	}
}

/* The other becomes a copy; what has died meanwhile shows in the walk. */
STEP(copy)
{
	struct container *other = c == &m->c[0] ? &m->c[1] : &m->c[0];

	if (c->interner != NULL)
		return;
	if (c->cells != NULL)
		copy_cells(other->cells, c->cells);
	other->set = c->set != NULL ? weakref_set_copy(c->set) : NULL;
	other->dict = c->dict != NULL ? weakref_keydict_copy(c->dict) : NULL;
	EXPECT(other->set != NULL || other->dict != NULL || other->cells != NULL, "copy: %s", strerror(errno));
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
	if (spare[0] + spare[1] > STRAYS)
		EXPECT(strays() <= STRAYS, "%zu entries survived, which need not be there and %zu words do not explain", spare[0] + spare[1],
		       (size_t)STRAYS);
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
	m->equality = kind == INTERNER || (equality && kind != EPHEMERON);
	m->serials = 1;
	m->doing = "start";
	memset(m->strong, 0, sizeof(m->strong));
	m->probe = gc_new(&node_type);
	EXPECT(m->probe != NULL, "%s", strerror(errno));
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
	unsigned long ops = getenv("WEAKREF_LONG") != NULL ? 1000000 : 3000;
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

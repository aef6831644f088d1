/* SPDX-License-Identifier: MIT */
/*
 * cache_policy: W-TinyLFU (Einziger, Friedman, Manes: ACM Transactions on Storage 13, 2017). New nodes enter a window, least recently
 * used first out; what leaves it is let into the main space only when it was asked for more often, lately, than the node that would have
 * to go for it. The main space is segmented: a node that is hit on probation becomes protected. How large the window is, and whether what
 * comes back passes it by, the shadows say.
 *
 * How often a node was asked for it counts itself while it is in; the sketch knows it of those that went, and of the shadows' sample.
 *
 * Invariants (policy_check): a node stands in the queue that it names; all that weighs nothing is weightless, all that is heavier than the
 * maximum is doomed; weights and numbers are the sums. The bounds of window and protected are not among them: they move, and the queues
 * follow (balance).
 */
#include "cache_policy.h"

/* Nodes that the first memory is for. */
#define ROOM_LEAST 64
/* Of so many entries one was read before the cache was full: else nothing was read yet. */
#define READ_SHARE 20
/* Reads an entry without an eviction, after which that is what is expected. */
#define CALM 4
/* The most nodes that go for an operation from a part that is too large; what is left waits for the next ones. */
#define MOVES_MOST 2

/* On the way of each read. */
#define FLATTEN static inline __attribute__((always_inline))

/* Coldest first. */
static const uint8_t order[] = {POLICY_DOOMED, POLICY_PROBATION, POLICY_WINDOW, POLICY_PROTECTED, POLICY_WEIGHTLESS};
#define ORDERS (int)(sizeof order / sizeof order[0])

/* ---- queues ---- */

/* At the hottest end, without weight and number. */
FLATTEN void attach(struct policy_queue *q, struct policy_node *node)
{
	node->came = ++q->came;
	node->prev = NULL;
	node->next = q->hottest;
	if (q->hottest != NULL)
		q->hottest->prev = node;
	else
		q->coldest = node;
	q->hottest = node;
}

FLATTEN void detach(struct policy_queue *q, struct policy_node *node)
{
	if (node->prev != NULL)
		node->prev->next = node->next;
	else
		q->hottest = node->next;
	if (node->next != NULL)
		node->next->prev = node->prev;
	else
		q->coldest = node->prev;
}

FLATTEN void push(struct policy *p, struct policy_node *node, enum policy_queue_id id)
{
	struct policy_queue *q = &p->queues[id];

	attach(q, node);
	node->queue = (uint8_t)id;
	q->weight += node->weight;
	q->n++;
}

FLATTEN void take(struct policy *p, struct policy_node *node)
{
	struct policy_queue *q = &p->queues[node->queue];

	detach(q, node);
	node->prev = node->next = NULL;
	node->queue = POLICY_NONE;
	q->weight -= node->weight;
	q->n--;
}

static void move(struct policy *p, struct policy_node *node, enum policy_queue_id id)
{
	take(p, node);
	push(p, node, id);
}

static void set_bounds(struct policy *p)
{
	unsigned window = shadows_window(&p->shadows);

	if (p->maximum == UINT64_MAX) {
		p->window_maximum = UINT64_MAX;
		p->protected_maximum = 0;
		return;
	}
	p->window_maximum = p->maximum / 256 * window + p->maximum % 256 * window / 256;
	if (p->window_maximum == 0 && p->maximum > 0)
		p->window_maximum = 1;
	p->protected_maximum = (p->maximum - p->window_maximum) / 5 * 4;
}

/* ---- memory ---- */

static size_t bytes_for(size_t room, bool shadows)
{
	return room * sizeof(uint64_t) + (shadows ? shadows_bytes(room) : 0);
}

static bool has_shadows(const struct policy *p)
{
	return p->shadows.at[0].entries != NULL;
}

/* Shadows, nine tenths of the memory of a small cache, start at the first eviction: there is none for them until that is near. */
static bool needs_shadows(const struct policy *p)
{
	return has_shadows(p) || p->weight >= p->maximum - p->maximum / 4;
}

size_t policy_sketch_wanted(const struct policy *p)
{
	size_t room = p->room == 0 ? ROOM_LEAST : p->room;

	if (p->n <= p->room && (p->room == 0 || has_shadows(p) || !needs_shadows(p)))
		return 0;
	if (p->maximum == UINT64_MAX)
		return 0;
	while (room < p->n)
		room *= 2;
	return bytes_for(room, needs_shadows(p));
}

void policy_sketch_give(struct policy *p, void *zeroed, size_t bytes)
{
	bool shadows = needs_shadows(p);
	size_t room = ROOM_LEAST;

	while (bytes_for(room * 2, shadows) <= bytes)
		room *= 2;
	if (bytes < bytes_for(room, shadows) || room < p->room || (room == p->room && shadows == has_shadows(p)))
		return;
	sketch_move(&p->sketch, zeroed, room);
	if (shadows)
		shadows_move(&p->shadows, (char *)zeroed + room * sizeof(uint64_t), room);
	p->room = room;
}

/* How many there are that may have to go. */
static size_t mortals(const struct policy *p)
{
	return p->n - p->queues[POLICY_WEIGHTLESS].n;
}

/* ---- frequency ---- */

/* How often a node that is in was counted lately. */
FLATTEN unsigned frequency(const struct policy *p, const struct policy_node *node)
{
	return sketch_aged(&p->sketch, node->count, node->halvings);
}

FLATTEN void set_frequency(const struct policy *p, struct policy_node *node, unsigned count)
{
	node->count = (uint8_t)count;
	node->halvings = p->sketch.halvings;
}

/* From now on the sketch says it too. */
static void tell(struct policy *p, const struct policy_node *node)
{
	sketch_raise(&p->sketch, node->hash, frequency(p, node));
}

/* A read or a write of a node in the sample, which the shadows ask the sketch for. */
static NOINLINE void sample(struct policy *p, const struct policy_node *node)
{
	tell(p, node);
	if (shadows_access(&p->shadows, mortals(p), node->hash, frequency(p, node), &p->sketch))
		set_bounds(p);
}

/* A read or a write of a node that is in. What is popular is at its maximum, and is not written any more. */
FLATTEN void record(struct policy *p, struct policy_node *node)
{
	unsigned count = frequency(p, node);

	if (unlikely(p->room == 0 || node->queue == POLICY_WEIGHTLESS))
		return;
	if (count < SKETCH_MOST) {
		set_frequency(p, node, count + 1);
		sketch_counted(&p->sketch);
	}
	if (unlikely(shadows_sample(&p->shadows, node->hash)))
		sample(p, node);
}

/* At the first eviction for lack of room: until then all shadows would hold what the policy holds. */
static void start_shadows(struct policy *p)
{
	shadows_start(&p->shadows, mortals(p), p->calm >= p->n / READ_SHARE);
	for (struct policy_node *node = policy_coldest(p); node != NULL && node->weight != 0; node = policy_next_hotter(p, node)) {
		if (!shadows_sample(&p->shadows, node->hash))
			continue;
		tell(p, node);
		shadows_seed(&p->shadows, node->hash, &p->sketch);
	}
	set_bounds(p);
}

/* ---- nodes ---- */

void policy_init(struct policy *p, uint64_t maximum)
{
	*p = (struct policy){.random = (uint64_t)(uintptr_t)p};
	p->maximum = maximum;
	set_bounds(p);
}

/* The queue where a node of this weight begins. */
static enum policy_queue_id entrance(const struct policy *p, uint32_t weight)
{
	if (weight == 0)
		return POLICY_WEIGHTLESS;
	return weight > p->maximum ? POLICY_DOOMED : POLICY_WINDOW;
}

/* Brings each part nearer to its bounds, which change as the window does, after so many operations. While there is room, what leaves the
 * window need not be chosen. A window that is to be larger grows by what is added, at the cost of the main space. */
FLATTEN void balance(struct policy *p, size_t operations)
{
	struct policy_queue *window = &p->queues[POLICY_WINDOW], *protected = &p->queues[POLICY_PROTECTED];

	for (size_t i = 0; i < MOVES_MOST * operations && protected->weight > p->protected_maximum; i++)
		move(p, protected->coldest, POLICY_PROBATION);
	for (size_t i = 0; i < MOVES_MOST * operations && p->weight <= p->maximum && window->weight > p->window_maximum; i++)
		move(p, window->coldest, POLICY_PROBATION);
}

/* What comes back soon after it went need not pass the window, when the shadows say so. */
static void readmit(struct policy *p, struct policy_node *node)
{
	static const uint8_t queues[SHADOW_QUEUES] = {
		[SHADOW_WINDOW] = POLICY_WINDOW,
		[SHADOW_PROBATION] = POLICY_PROBATION,
		[SHADOW_PROTECTED] = POLICY_PROTECTED,
	};

	if (node->queue != POLICY_WINDOW)
		return;
	uint8_t id = queues[shadows_entrance(&p->shadows, frequency(p, node))];
	if (id != POLICY_WINDOW)
		move(p, node, (enum policy_queue_id)id);
}

void policy_add(struct policy *p, struct policy_node *node)
{
	push(p, node, entrance(p, node->weight));
	p->weight += node->weight;
	p->n++;
	set_frequency(p, node, sketch_frequency(&p->sketch, node->hash));
	record(p, node);
	readmit(p, node);
	balance(p, 1);
}

/* Whether it is in the hotter half of its queue, or was not long ago: no more than that have come since. To who goes next it makes no
 * difference where in it, and it need not be moved, nor its neighbours be written. */
FLATTEN bool is_hot(const struct policy_queue *q, const struct policy_node *node)
{
	return q->came - node->came < q->n / 2;
}

FLATTEN void hit(struct policy *p, struct policy_node *node)
{
	struct policy_queue *q = &p->queues[node->queue];

	if (node->queue == POLICY_NONE)
		return;
	record(p, node);
	if (node->queue == POLICY_PROBATION) {
		move(p, node, POLICY_PROTECTED);
		balance(p, 1);
	} else if (!is_hot(q, node)) {
		detach(q, node);
		attach(q, node);
	}
}

void policy_hit_all(struct policy *p, struct policy_node *const *nodes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(nodes[i]);
	for (size_t i = 0; i < n; i++)
		hit(p, nodes[i]);
	p->calm += n;
	balance(p, n);
}

void policy_hit(struct policy *p, struct policy_node *node)
{
	policy_hit_all(p, &node, 1);
}

void policy_replace(struct policy *p, struct policy_node *old, struct policy_node *fresh)
{
	enum policy_queue_id id = (enum policy_queue_id)old->queue;

	if (id == POLICY_NONE) {
		policy_add(p, fresh);
		return;
	}
	take(p, old);
	p->weight = p->weight - old->weight + fresh->weight;
	set_frequency(p, fresh, frequency(p, old));
	if (entrance(p, fresh->weight) != POLICY_WINDOW || id == POLICY_WEIGHTLESS || id == POLICY_DOOMED)
		id = entrance(p, fresh->weight);
	push(p, fresh, id == POLICY_PROBATION ? POLICY_PROTECTED : id);
	record(p, fresh);
	balance(p, 1);
}

void policy_remove(struct policy *p, struct policy_node *node)
{
	if (node->queue == POLICY_NONE)
		return;
	tell(p, node);
	take(p, node);
	p->weight -= node->weight;
	p->n--;
}

void policy_reweigh(struct policy *p, struct policy_node *node, uint32_t weight)
{
	enum policy_queue_id id = (enum policy_queue_id)node->queue;

	if (id == POLICY_NONE) {
		node->weight = weight;
		return;
	}
	take(p, node);
	p->weight = p->weight - node->weight + weight;
	node->weight = weight;
	if (entrance(p, weight) != POLICY_WINDOW || id == POLICY_WEIGHTLESS || id == POLICY_DOOMED)
		id = entrance(p, weight);
	push(p, node, id);
	balance(p, 1);
}

uint64_t policy_weight(const struct policy *p)
{
	return p->weight;
}

/* ---- eviction ---- */

/* Whether the one that leaves the window is worth more than the one that would go for it. */
static bool admit(struct policy *p, const struct policy_node *candidate, const struct policy_node *victim)
{
	unsigned c, v;

	if (p->room == 0)
		return true;
	c = frequency(p, candidate);
	v = frequency(p, victim);
	if (sketch_prefers(c, v))
		return true;
	/* Against who floods the sketch with collisions of a victim's hash: now and then a warm one wins. */
	if (c < 6)
		return false;
	p->random += UINT64_C(0x9e3779b97f4a7c15);
	return (base_mix(p->random) & 127) == 0;
}

static struct policy_node *main_victim(const struct policy *p)
{
	struct policy_node *node = p->queues[POLICY_PROBATION].coldest;

	return node != NULL ? node : p->queues[POLICY_PROTECTED].coldest;
}

void policy_expect(const struct policy *p, uint32_t hash, const struct policy_node *going[2])
{
	bool full = p->weight >= p->maximum;

	sketch_expect(&p->sketch, hash);
	going[0] = full ? p->queues[POLICY_WINDOW].coldest : NULL;
	going[1] = full ? main_victim(p) : NULL;
	for (int i = 0; i < 2; i++)
		if (going[i] != NULL) {
			/* Both were there when the last one went, and so are near. */
			__builtin_prefetch(going[i]->prev);
			sketch_expect(&p->sketch, going[i]->hash);
		}
}

static struct policy_node *choose(struct policy *p)
{
	struct policy_node *candidate = p->queues[POLICY_WINDOW].coldest, *victim = main_victim(p);

	if (p->queues[POLICY_DOOMED].coldest != NULL)
		return p->queues[POLICY_DOOMED].coldest;
	if (candidate == NULL || victim == NULL)
		return candidate != NULL ? candidate : victim;
	if (p->queues[POLICY_WINDOW].weight <= p->window_maximum)
		return victim;
	if (!admit(p, candidate, victim))
		return candidate;
	move(p, candidate, POLICY_PROBATION);
	return victim;
}

struct policy_node *policy_evict(struct policy *p)
{
	struct policy_node *node;

	if (p->weight <= p->maximum) {
		balance(p, 1);
		return NULL;
	}
	if (has_shadows(p) && !p->shadows.started && p->queues[POLICY_DOOMED].n == 0)
		start_shadows(p);
	p->calm = 0;
	node = choose(p);
	policy_remove(p, node);
	return node;
}

bool policy_is_calm(const struct policy *p)
{
	return p->calm > CALM * (uint64_t)p->n;
}

void policy_resize(struct policy *p, uint64_t maximum)
{
	uint64_t before = p->maximum;

	p->maximum = maximum;
	set_bounds(p);
	for (int i = 0; i < POLICY_QUEUES; i++) {
		struct policy_node *node = p->queues[i].coldest, *hotter;

		for (; node != NULL && (maximum < before || i == POLICY_DOOMED); node = hotter) {
			hotter = node->prev;
			if ((node->weight > maximum) != (i == POLICY_DOOMED))
				move(p, node, entrance(p, node->weight));
		}
	}
	balance(p, 1);
}

/* ---- inspection ---- */

static int place_of(const struct policy_node *node)
{
	for (int i = 0; i < ORDERS; i++)
		if (order[i] == node->queue)
			return i;
	return ORDERS;
}

static struct policy_node *coldest_from(const struct policy *p, int i)
{
	for (; i < ORDERS; i++)
		if (p->queues[order[i]].coldest != NULL)
			return p->queues[order[i]].coldest;
	return NULL;
}

static struct policy_node *hottest_from(const struct policy *p, int i)
{
	for (; i >= 0; i--)
		if (p->queues[order[i]].hottest != NULL)
			return p->queues[order[i]].hottest;
	return NULL;
}

struct policy_node *policy_coldest(const struct policy *p)
{
	return coldest_from(p, 0);
}

struct policy_node *policy_next_hotter(const struct policy *p, const struct policy_node *node)
{
	return node->prev != NULL ? node->prev : coldest_from(p, place_of(node) + 1);
}

struct policy_node *policy_hottest(const struct policy *p)
{
	return hottest_from(p, ORDERS - 1);
}

struct policy_node *policy_next_colder(const struct policy *p, const struct policy_node *node)
{
	return node->next != NULL ? node->next : hottest_from(p, place_of(node) - 1);
}

void policy_check(const struct policy *p)
{
	uint64_t weight = 0;
	size_t n = 0;

	for (int i = 0; i < POLICY_QUEUES; i++) {
		const struct policy_queue *q = &p->queues[i];
		uint64_t queue_weight = 0;
		size_t queue_n = 0;

		for (const struct policy_node *node = q->hottest; node != NULL; node = node->next) {
			ASSERT(node->queue == i && i != POLICY_NONE);
			ASSERT(node->prev == NULL ? q->hottest == node : node->prev->next == node);
			ASSERT(node->next == NULL ? q->coldest == node : node->next->prev == node);
			ASSERT((node->weight == 0) == (i == POLICY_WEIGHTLESS));
			ASSERT((node->weight > p->maximum) == (i == POLICY_DOOMED));
			queue_weight += node->weight;
			queue_n++;
		}
		ASSERT(q->weight == queue_weight && q->n == queue_n);
		weight += queue_weight;
		n += queue_n;
	}
	ASSERT(p->weight == weight && p->n == n);
	shadows_check(&p->shadows);
}

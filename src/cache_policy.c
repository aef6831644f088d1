/* SPDX-License-Identifier: MIT */
/*
 * cache_policy: W-TinyLFU. New nodes enter a window, least recently used first out; what leaves it is let into the main space only when
 * it was asked for more often, lately, than the node that would have to go for it. The main space is segmented: a node that is hit on
 * probation becomes protected.
 */
#include "cache_policy.h"

#include <string.h>

#define COUNT_MAX 15
/* Words of the sketch a node, counters a word, and what the sketch counts before it halves all. */
#define SAMPLE_PER_WORD 10
#define SKETCH_LEAST 64

/* Coldest first. */
static const uint8_t order[] = {POLICY_DOOMED, POLICY_PROBATION, POLICY_WINDOW, POLICY_PROTECTED, POLICY_WEIGHTLESS};
#define ORDERS (int)(sizeof order / sizeof order[0])

/* ---- queues ---- */

static void push(struct policy *p, struct policy_node *node, enum policy_queue_id id)
{
	struct policy_queue *q = &p->queues[id];

	node->queue = (uint8_t)id;
	node->prev = NULL;
	node->next = q->hottest;
	if (q->hottest != NULL)
		q->hottest->prev = node;
	else
		q->coldest = node;
	q->hottest = node;
	q->weight += node->weight;
	q->n++;
}

static void take(struct policy *p, struct policy_node *node)
{
	struct policy_queue *q = &p->queues[node->queue];

	if (node->prev != NULL)
		node->prev->next = node->next;
	else
		q->hottest = node->next;
	if (node->next != NULL)
		node->next->prev = node->prev;
	else
		q->coldest = node->prev;
	node->prev = node->next = NULL;
	q->weight -= node->weight;
	q->n--;
	node->queue = POLICY_NONE;
}

static void move(struct policy *p, struct policy_node *node, enum policy_queue_id id)
{
	take(p, node);
	push(p, node, id);
}

static void set_bounds(struct policy *p, uint64_t maximum)
{
	p->maximum = maximum;
	if (maximum == UINT64_MAX) {
		p->window_maximum = UINT64_MAX;
		p->protected_maximum = 0;
		return;
	}
	p->window_maximum = maximum / 100 > 0 ? maximum / 100 : maximum > 0;
	p->protected_maximum = (maximum - p->window_maximum) / 5 * 4;
}

/* ---- sketch ---- */

/* Which of the four counters' words, and where in it: each row uses a quarter of the nibbles of a word. */
static uint64_t *counter(const struct policy *p, uint32_t hash, unsigned row, unsigned *shift)
{
	uint64_t h = base_mix(hash + ((uint64_t)row << 32));

	*shift = (unsigned)(row * 4 + (h >> 60 & 3)) * 4;
	return &p->sketch[h & (p->sketch_words - 1)];
}

static unsigned frequency(const struct policy *p, uint32_t hash)
{
	unsigned least = COUNT_MAX;

	for (unsigned row = 0; row < 4; row++) {
		unsigned shift, count;
		uint64_t *word = counter(p, hash, row, &shift);

		count = (unsigned)(*word >> shift & COUNT_MAX);
		if (count < least)
			least = count;
	}
	return least;
}

static void halve(struct policy *p)
{
	for (size_t i = 0; i < p->sketch_words; i++)
		p->sketch[i] = p->sketch[i] >> 1 & UINT64_C(0x7777777777777777);
	p->sample /= 2;
}

static void count(struct policy *p, uint32_t hash)
{
	bool counted = false;

	if (p->sketch == NULL)
		return;
	for (unsigned row = 0; row < 4; row++) {
		unsigned shift;
		uint64_t *word = counter(p, hash, row, &shift);

		if ((*word >> shift & COUNT_MAX) < COUNT_MAX) {
			*word += UINT64_C(1) << shift;
			counted = true;
		}
	}
	if (counted && ++p->sample >= p->sketch_words * SAMPLE_PER_WORD)
		halve(p);
}

size_t policy_sketch_wanted(const struct policy *p)
{
	size_t words = p->sketch_words;

	if (p->maximum == UINT64_MAX || p->n <= words)
		return 0;
	if (words == 0)
		words = SKETCH_LEAST;
	while (words < p->n)
		words *= 2;
	return words * sizeof(uint64_t);
}

void policy_sketch_give(struct policy *p, void *zeroed, size_t bytes)
{
	size_t words = SKETCH_LEAST;
	uint64_t *to = zeroed;

	if (bytes < words * sizeof(uint64_t))
		return;
	while (words * 2 <= bytes / sizeof(uint64_t))
		words *= 2;
	if (words <= p->sketch_words)
		return;
	/* The index is cut from the hash's low bits: a counter's successors are those with more bits before them. */
	for (size_t i = 0; p->sketch_words > 0 && i < words; i += p->sketch_words)
		memcpy(to + i, p->sketch, p->sketch_words * sizeof(uint64_t));
	p->sketch = to;
	p->sketch_words = words;
}

/* ---- nodes ---- */

void policy_init(struct policy *p, uint64_t maximum)
{
	*p = (struct policy){.random = (uint64_t)(uintptr_t)p};
	set_bounds(p, maximum);
}

/* The queue where a node of this weight begins. */
static enum policy_queue_id entrance(const struct policy *p, uint32_t weight)
{
	if (weight == 0)
		return POLICY_WEIGHTLESS;
	return weight > p->maximum ? POLICY_DOOMED : POLICY_WINDOW;
}

/* Each part within its bounds. While there is room, what leaves the window need not be chosen. */
static void balance(struct policy *p)
{
	struct policy_queue *window = &p->queues[POLICY_WINDOW], *protected = &p->queues[POLICY_PROTECTED];

	while (protected->weight > p->protected_maximum)
		move(p, protected->coldest, POLICY_PROBATION);
	while (p->weight <= p->maximum && window->weight > p->window_maximum)
		move(p, window->coldest, POLICY_PROBATION);
}

void policy_add(struct policy *p, struct policy_node *node)
{
	push(p, node, entrance(p, node->weight));
	p->weight += node->weight;
	p->n++;
	count(p, node->hash);
	balance(p);
}

void policy_hit(struct policy *p, struct policy_node *node)
{
	if (node->queue == POLICY_NONE)
		return;
	count(p, node->hash);
	move(p, node, node->queue == POLICY_PROBATION ? POLICY_PROTECTED : (enum policy_queue_id)node->queue);
	balance(p);
}

void policy_miss(struct policy *p, uint32_t hash)
{
	(void)p;
	(void)hash;
}

void policy_remove(struct policy *p, struct policy_node *node)
{
	if (node->queue == POLICY_NONE)
		return;
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
	balance(p);
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

	if (p->sketch == NULL)
		return true;
	c = frequency(p, candidate->hash);
	v = frequency(p, victim->hash);
	if (c > v)
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

	if (p->weight <= p->maximum)
		return NULL;
	node = choose(p);
	policy_remove(p, node);
	return node;
}

void policy_resize(struct policy *p, uint64_t maximum)
{
	uint64_t before = p->maximum;

	set_bounds(p, maximum);
	for (int i = 0; i < POLICY_QUEUES; i++) {
		struct policy_node *node = p->queues[i].coldest, *hotter;

		for (; node != NULL && (maximum < before || i == POLICY_DOOMED); node = hotter) {
			hotter = node->prev;
			if ((node->weight > maximum) != (i == POLICY_DOOMED))
				move(p, node, entrance(p, node->weight));
		}
	}
	balance(p);
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
	ASSERT(p->queues[POLICY_PROTECTED].weight <= p->protected_maximum);
}

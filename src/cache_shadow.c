/* SPDX-License-Identifier: MIT */
#include "cache_shadow.h"

struct shadow_entry {
	uint32_t hash;
	uint16_t prev, next, chain;
	uint8_t queue;
};

/*
 * The kinds: the window, in 256ths, and how often a new entry must have been counted to begin on probation or protected instead. It was
 * here and went: what ARC and S3-FIFO keep lists of ghosts for, the sketch tells as well.
 */
#define NEVER 16
static const struct kind {
	uint8_t window, probation, protected;
} kinds[SHADOWS] = {
	/* As TinyLFU was published. */
	{3, NEVER, NEVER},
	/* Whatever is asked for a second time comes in, at the cost of what is on probation. */
	{26, 2, NEVER},
	/* The third time at the cost of what is protected. */
	{26, NEVER, 3},
	{180, NEVER, 3},
	/* LRU. */
	{253, NEVER, NEVER},
};
/* At the start a tenth. Where next to nothing was read again before the cache was full, no frequency tells anything yet, and recency has
 * to have its share. */
#define CHOSEN_FIRST 1
#define CHOSEN_UNREAD 3

/* Capacities, and accesses beyond them, in which a hit loses half of its weight, times 1 / ln 2. */
#define MEMORY 52
#define MEMORY_LEAST 1000
/* What another must lead by: hits, and one in so many entries by which the windows differ. */
#define LEAD 2
#define LEAD_SHARE 10

/* ---- one shadow ---- */

static void push(struct shadow *s, uint16_t at, enum shadow_queue_id id)
{
	struct shadow_queue *q = &s->queues[id];
	struct shadow_entry *e = &s->entries[at];

	e->queue = (uint8_t)id;
	e->prev = 0;
	e->next = q->hottest;
	if (q->hottest != 0)
		s->entries[q->hottest].prev = at;
	else
		q->coldest = at;
	q->hottest = at;
	q->n++;
}

static void take(struct shadow *s, uint16_t at)
{
	struct shadow_entry *e = &s->entries[at];
	struct shadow_queue *q = &s->queues[e->queue];

	if (e->prev != 0)
		s->entries[e->prev].next = e->next;
	else
		q->hottest = e->next;
	if (e->next != 0)
		s->entries[e->next].prev = e->prev;
	else
		q->coldest = e->prev;
	q->n--;
}

static void move(struct shadow *s, uint16_t at, enum shadow_queue_id id)
{
	take(s, at);
	push(s, at, id);
}

static uint16_t *bucket(const struct shadow *s, uint32_t hash)
{
	return &s->buckets[hash & (s->size - 1u)];
}

static void insert(struct shadow *s, uint32_t hash, enum shadow_queue_id id)
{
	uint16_t at = s->free, *head = bucket(s, hash);

	if (at != 0)
		s->free = s->entries[at].next;
	else
		at = ++s->unused;
	s->entries[at].hash = hash;
	s->entries[at].chain = *head;
	*head = at;
	push(s, at, id);
	s->n++;
}

static void drop(struct shadow *s, uint16_t at)
{
	uint16_t *link = bucket(s, s->entries[at].hash);

	while (*link != at)
		link = &s->entries[*link].chain;
	*link = s->entries[at].chain;
	take(s, at);
	s->entries[at].next = s->free;
	s->free = at;
	s->n--;
}

static bool is_worth_more(const struct shadow *s, uint16_t candidate, uint16_t victim, const struct sketch *sketch)
{
	unsigned c = sketch_frequency(sketch, s->entries[candidate].hash), v = sketch_frequency(sketch, s->entries[victim].hash);

	return sketch_prefers(c, v);
}

/* Each step lets one go; the one that leaves the window stays when it is worth more than what would go for it. */
static void evict(struct shadow *s, const struct sketch *sketch)
{
	struct shadow_queue *window = &s->queues[SHADOW_WINDOW];
	uint16_t candidate = window->coldest, victim = s->queues[SHADOW_PROBATION].coldest;

	if (victim == 0)
		victim = s->queues[SHADOW_PROTECTED].coldest;
	if (candidate == 0 || victim == 0) {
		drop(s, candidate != 0 ? candidate : victim);
	} else if (window->n <= s->window_maximum) {
		drop(s, victim);
	} else if (is_worth_more(s, candidate, victim, sketch)) {
		move(s, candidate, SHADOW_PROBATION);
		drop(s, victim);
	} else {
		drop(s, candidate);
	}
}

static void hit(struct shadow *s, uint16_t at)
{
	enum shadow_queue_id id = (enum shadow_queue_id)s->entries[at].queue;

	move(s, at, id == SHADOW_PROBATION ? SHADOW_PROTECTED : id);
}

static enum shadow_queue_id entrance(const struct kind *kind, unsigned frequency)
{
	if (frequency >= kind->protected)
		return SHADOW_PROTECTED;
	return frequency >= kind->probation ? SHADOW_PROBATION : SHADOW_WINDOW;
}

static bool access_one(struct shadow *s, uint32_t hash, unsigned frequency, const struct sketch *sketch)
{
	uint16_t at = *bucket(s, hash);

	while (at != 0 && s->entries[at].hash != hash)
		at = s->entries[at].chain;
	if (at != 0)
		hit(s, at);
	else
		insert(s, hash, entrance(&kinds[s->kind], frequency));
	while (s->queues[SHADOW_PROTECTED].n > s->protected_maximum)
		move(s, s->queues[SHADOW_PROTECTED].coldest, SHADOW_PROBATION);
	while (s->n > s->capacity)
		evict(s, sketch);
	while (s->queues[SHADOW_WINDOW].n > s->window_maximum)
		move(s, s->queues[SHADOW_WINDOW].coldest, SHADOW_PROBATION);
	return at != 0;
}

static void shape(struct shadow *s, size_t capacity, unsigned window)
{
	s->capacity = (uint16_t)(capacity == 0 ? 1 : capacity > s->size ? s->size : capacity);
	s->window_maximum = (uint16_t)(s->capacity * window / 256);
	if (s->window_maximum == 0)
		s->window_maximum = 1;
	s->protected_maximum = (uint16_t)((s->capacity - s->window_maximum) * 4 / 5);
}

static size_t bytes_of(uint16_t size)
{
	/* Entry 0 is none, and one more is taken in before another goes. */
	return (size + 2u) * sizeof(struct shadow_entry) + size * sizeof(uint16_t);
}

static void move_memory(struct shadow *s, void *zeroed, uint16_t size)
{
	struct shadow old = *s;

	*s = (struct shadow){.entries = zeroed, .size = size, .capacity = old.capacity, .kind = old.kind};
	s->buckets = (uint16_t *)(void *)(s->entries + size + 2);
	s->window_maximum = old.window_maximum;
	s->protected_maximum = old.protected_maximum;
	for (int id = 0; id < SHADOW_QUEUES; id++)
		for (uint16_t at = old.queues[id].coldest; at != 0; at = old.entries[at].prev)
			insert(s, old.entries[at].hash, (enum shadow_queue_id)id);
}

/* Forgets what is no longer in the sample. */
static void thin(struct shadow *s, uint32_t mask)
{
	for (int id = 0; id < SHADOW_QUEUES; id++) {
		uint16_t hotter;

		for (uint16_t at = s->queues[id].coldest; at != 0; at = hotter) {
			hotter = s->entries[at].prev;
			if ((s->entries[at].hash & mask) != 0)
				drop(s, at);
		}
	}
}

/* ---- all of them ---- */

static uint16_t size_for(size_t nodes)
{
	return nodes < SHADOWS_MOST ? (uint16_t)nodes : SHADOWS_MOST;
}

size_t shadows_bytes(size_t nodes)
{
	return SHADOWS * bytes_of(size_for(nodes));
}

void shadows_move(struct shadows *s, void *zeroed, size_t nodes)
{
	char *at = zeroed;

	for (uint16_t i = 0; i < SHADOWS; i++, at += bytes_of(size_for(nodes))) {
		s->at[i].kind = i;
		move_memory(&s->at[i], at, size_for(nodes));
	}
}

static size_t sample_of(const struct shadows *s, size_t n)
{
	return n / ((size_t)(s->sample_mask >> 16) + 1);
}

/* As large as the sample of a cache with n entries; a sample too large for the memory is halved, one much too small doubled. The mask's
 * bits are the upper half's: the lower half chooses the bucket. */
static void fit(struct shadows *s, size_t n)
{
	uint32_t mask = s->sample_mask;

	while (sample_of(s, n) > s->at[0].size && s->sample_mask >> 31 == 0)
		s->sample_mask = s->sample_mask << 1 | 1u << 16;
	while (sample_of(s, n) < s->at[0].size / 4 && s->sample_mask != 0)
		s->sample_mask = s->sample_mask >> 1 & UINT32_C(0xffff0000);
	for (int i = 0; i < SHADOWS; i++) {
		if (s->sample_mask > mask)
			thin(&s->at[i], s->sample_mask);
		shape(&s->at[i], sample_of(s, n), kinds[i].window);
	}
}

void shadows_start(struct shadows *s, size_t n, bool reused)
{
	s->started = true;
	s->chosen = reused ? CHOSEN_FIRST : CHOSEN_UNREAD;
	fit(s, n);
}

void shadows_seed(struct shadows *s, uint32_t hash, const struct sketch *sketch)
{
	for (int i = 0; i < SHADOWS && (hash & s->sample_mask) == 0; i++)
		access_one(&s->at[i], hash, sketch_frequency(sketch, hash), sketch);
}

static void count(struct shadows *s, uint32_t hash, unsigned frequency, const struct sketch *sketch)
{
	unsigned hit_by = 0;

	for (int i = 0; i < SHADOWS; i++) {
		bool hit = access_one(&s->at[i], hash, frequency, sketch);

		hit_by |= (unsigned)hit << i;
		s->hits[i] += hit * 256u;
	}
	/* Most are of one mind. */
	if (hit_by == 0 || hit_by == (1u << SHADOWS) - 1)
		return;
	for (int i = 0; i < SHADOWS; i++)
		for (int j = 0; j < SHADOWS; j++)
			s->apart[i][j] += ((hit_by >> i ^ hit_by >> j) & 1) * 256u;
}

/* Whether the lead of one over another is more than one standard deviation of chance beyond the least lead. */
static bool leads(const struct shadows *s, unsigned one, unsigned other)
{
	unsigned a = kinds[one].window, b = kinds[other].window, moved = (a > b ? a - b : b - a) * s->at[0].capacity;
	uint64_t least = s->hits[other] + UINT64_C(256) * LEAD + moved / LEAD_SHARE;
	uint64_t beyond = s->hits[one] > least ? s->hits[one] - least : 0;

	return beyond * beyond > UINT64_C(256) * s->apart[one][other];
}

static bool choose(struct shadows *s)
{
	unsigned best = 0, before = s->chosen;

	/* Of equals the first, which resists loops. */
	for (unsigned i = 1; i < SHADOWS; i++)
		if (s->hits[i] > s->hits[best] + LEAD * 256u)
			best = i;
	if (leads(s, best, s->chosen))
		s->chosen = best;
	return s->chosen != before;
}

/* What was counted loses weight by the accesses of the sample that have passed. */
static void fade(struct shadows *s)
{
	uint64_t kept = (uint64_t)MEMORY * s->at[0].capacity + MEMORY_LEAST, all = kept + s->sampled;

	for (int i = 0; i < SHADOWS; i++) {
		s->hits[i] = (uint32_t)(s->hits[i] * kept / all);
		for (int j = 0; j < SHADOWS; j++)
			s->apart[i][j] = (uint32_t)(s->apart[i][j] * kept / all);
	}
	s->sampled = 0;
}

bool shadows_access(struct shadows *s, size_t n, uint32_t hash, unsigned frequency, const struct sketch *sketch)
{
	bool changed;

	count(s, hash, frequency, sketch);
	if (++s->sampled < s->at[0].capacity / 10u + 16)
		return false;
	changed = choose(s);
	fade(s);
	fit(s, n);
	return changed;
}

unsigned shadows_window(const struct shadows *s)
{
	return kinds[s->started ? s->chosen : CHOSEN_FIRST].window;
}

enum shadow_queue_id shadows_entrance(const struct shadows *s, unsigned frequency)
{
	return s->started ? entrance(&kinds[s->chosen], frequency) : SHADOW_WINDOW;
}

static void check(const struct shadow *s)
{
	unsigned n = 0;

	for (int id = 0; id < SHADOW_QUEUES; id++) {
		const struct shadow_queue *q = &s->queues[id];
		unsigned in_queue = 0;

		for (uint16_t at = q->coldest, colder = 0; at != 0; colder = at, at = s->entries[at].prev) {
			uint16_t found = *bucket(s, s->entries[at].hash);

			ASSERT(s->entries[at].queue == id && s->entries[at].next == colder);
			ASSERT(s->entries[at].prev != 0 || q->hottest == at);
			while (found != 0 && found != at)
				found = s->entries[found].chain;
			ASSERT(found == at);
			in_queue++;
		}
		ASSERT(in_queue == q->n);
		n += in_queue;
	}
	ASSERT(n == s->n && n <= s->size + 1u);
}

void shadows_check(const struct shadows *s)
{
	for (int i = 0; i < SHADOWS && s->at[i].entries != NULL; i++)
		check(&s->at[i]);
}

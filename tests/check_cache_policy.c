/* SPDX-License-Identifier: MIT */
/*
 * check_cache_policy: the eviction policy as the cache uses it, without a cache and without a collector, against a naive account of which
 * nodes there are and what they weigh. What is a good choice of victim is not tested here but measured (bench/hitratio), but for the
 * properties at the end. WEAKREF_SEED=n repeats a run; every failure prints the seed.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_policy.h"

#define NODES 400
#define STEPS 40000

static uint64_t seed, state;
static struct policy policy;
static struct policy_node nodes[NODES];
/* The model. */
static bool in[NODES];
static void *memory;

#define expect(cond)                                                                                       \
	do {                                                                                               \
		if (unlikely(!(cond)))                                                                     \
			ck_abort_msg("%s (WEAKREF_SEED=%llu)", #cond, (unsigned long long)seed);           \
	} while (0)

static uint64_t draw(void)
{
	state += UINT64_C(0x9e3779b97f4a7c15);
	return base_mix(state);
}

static void start(uint64_t maximum)
{
	state = seed;
	policy_init(&policy, maximum);
	for (int i = 0; i < NODES; i++) {
		nodes[i] = (struct policy_node){.hash = (uint32_t)draw(), .weight = 1};
		in[i] = false;
	}
	free(memory);
	memory = NULL;
}

static void give(void)
{
	size_t wanted = policy_sketch_wanted(&policy);
	void *more;

	if (wanted == 0)
		return;
	more = calloc(1, wanted);
	ck_assert_ptr_nonnull(more);
	policy_sketch_give(&policy, more, wanted);
	free(memory);
	memory = more;
	expect(policy_sketch_wanted(&policy) == 0);
}

static uint64_t model_weight(void)
{
	uint64_t weight = 0;

	for (int i = 0; i < NODES; i++)
		weight += in[i] ? nodes[i].weight : 0;
	return weight;
}

/* Evicts what must go; the number. */
static size_t settle(void)
{
	struct policy_node *node;
	size_t n = 0;

	while ((node = policy_evict(&policy)) != NULL) {
		ptrdiff_t i = node - nodes;

		expect(i >= 0 && i < NODES && in[i]);
		expect(node->weight > 0 && node->queue == POLICY_NONE);
		expect(model_weight() > policy.maximum);
		in[i] = false;
		expect(policy_weight(&policy) == model_weight());
		n++;
	}
	expect(policy_weight(&policy) <= policy.maximum);
	return n;
}

static void add(int i, uint32_t weight)
{
	nodes[i].weight = weight;
	policy_add(&policy, &nodes[i]);
	in[i] = true;
}

/* One access, as a cache makes it. Whether it was a hit. */
static bool get(int i)
{
	if (in[i]) {
		policy_hit(&policy, &nodes[i]);
		return true;
	}
	add(i, 1);
	settle();
	give();
	return false;
}

/* Both orders hold each node once, and are each other's reverse. */
static void expect_orders(void)
{
	const struct policy_node *list[NODES];
	size_t n = 0, expected = 0;

	for (int i = 0; i < NODES; i++)
		expected += in[i];
	for (const struct policy_node *node = policy_coldest(&policy); node != NULL; node = policy_next_hotter(&policy, node)) {
		expect(n < expected && in[node - nodes]);
		list[n++] = node;
	}
	expect(n == expected);
	for (const struct policy_node *node = policy_hottest(&policy); node != NULL; node = policy_next_colder(&policy, node))
		expect(n > 0 && list[--n] == node);
	expect(n == 0);
}

static uint32_t draw_weight(void)
{
	return draw() % 8 == 0 ? 0 : draw() % 64 == 0 ? 5000 : (uint32_t)(draw() % 20 + 1);
}

static void random_step(bool memory_given)
{
	int i = (int)(draw() % NODES);

	switch (draw() % 16) {
	case 0:
		policy_remove(&policy, &nodes[i]);
		in[i] = false;
		break;
	case 1:
		policy_reweigh(&policy, &nodes[i], draw_weight());
		break;
	case 2:
		if (draw() % 64 == 0)
			policy_resize(&policy, draw() % 16 == 0 ? UINT64_MAX : draw() % 2000);
		break;
	case 3: case 4: case 5: case 6:
		policy_hit(&policy, &nodes[i]);
		break;
	default:
		if (in[i]) {
			policy_hit(&policy, &nodes[i]);
		} else {
			add(i, draw_weight());
		}
	}
	expect(policy_weight(&policy) == model_weight());
	if (draw() % 4 != 0)
		settle();
	if (memory_given)
		give();
}

/* All operations in any order, with memory and where it was refused. */
START_TEST(test_policy_model)
{
	start(1000);
	for (int step = 0; step < STEPS; step++) {
		random_step(_i == 0);
		if (step % 64 == 0) {
			policy_check(&policy);
			expect_orders();
		}
	}
	policy_resize(&policy, 0);
	settle();
	for (int i = 0; i < NODES; i++)
		expect(!in[i] || nodes[i].weight == 0);
}
END_TEST

START_TEST(test_policy_weightless_never_go)
{
	start(10);
	for (int i = 0; i < NODES; i++) {
		add(i, i % 2 == 0 ? 0 : 3);
		settle();
	}
	for (int i = 0; i < NODES; i += 2)
		expect(in[i]);
	policy_reweigh(&policy, &nodes[0], 11);
	expect(settle() == 1 && !in[0]);
	policy_reweigh(&policy, &nodes[2], 1);
	policy_resize(&policy, 0);
	settle();
	expect(!in[2] && in[4]);
}
END_TEST

START_TEST(test_policy_too_heavy_goes_at_once)
{
	start(100);
	for (int i = 0; i < 10; i++)
		add(i, 10);
	expect(settle() == 0);
	add(20, 101);
	expect(settle() == 1 && !in[20]);
	policy_reweigh(&policy, &nodes[3], UINT32_MAX);
	expect(settle() == 1 && !in[3]);
	/* 90 left: 9 of 10. One of 50 goes for the bound of 49 first, then others until it holds. */
	policy_reweigh(&policy, &nodes[4], 50);
	settle();
	if (in[4]) {
		policy_resize(&policy, 49);
		expect(policy_evict(&policy) == &nodes[4]);
		in[4] = false;
		settle();
	}
	/* And not when the bound grows before it went. */
	add(21, 60);
	policy_resize(&policy, 1000);
	expect(settle() == 0 && in[21]);
	policy_check(&policy);
}
END_TEST

/* Memory for the shadows comes when the bound is near, and they start at the first eviction; what was counted before stays. */
START_TEST(test_policy_memory_by_steps)
{
	start(60);
	expect(policy_sketch_wanted(&policy) == 0);
	for (int i = 0; i < 44; i++) {
		add(i, 1);
		policy_hit(&policy, &nodes[i]);
		give();
		expect(policy.room == 64 && policy.shadows.at[0].entries == NULL);
	}
	policy_remove(&policy, &nodes[1]);
	in[1] = false;
	unsigned counted = sketch_frequency(&policy.sketch, nodes[1].hash);
	expect(counted > 0);
	add(44, 1);
	add(45, 1);
	expect(policy_sketch_wanted(&policy) > 64 * 60);
	/* What was asked for before is too little by now. */
	void *less = calloc(64, sizeof(uint64_t));
	policy_sketch_give(&policy, less, 64 * sizeof(uint64_t));
	expect(policy.shadows.at[0].entries == NULL && policy.sketch.words != less);
	free(less);
	give();
	expect(policy.room == 64 && policy.shadows.at[0].entries != NULL && !policy.shadows.started);
	expect(sketch_frequency(&policy.sketch, nodes[1].hash) == counted);
	for (int i = 46; i < 62; i++)
		add(i, 1);
	expect(settle() == 1 && policy.shadows.started);
	policy_check(&policy);
}
END_TEST

START_TEST(test_policy_without_bound)
{
	start(UINT64_MAX);
	for (int i = 0; i < NODES; i++)
		add(i, UINT32_MAX);
	expect(settle() == 0 && policy_sketch_wanted(&policy) == 0);
	for (int i = 0; i < NODES; i += 2)
		policy_hit(&policy, &nodes[i]);
	expect(policy_coldest(&policy) == &nodes[1] && policy_hottest(&policy) == &nodes[NODES - 2]);
	expect_orders();
}
END_TEST

START_TEST(test_policy_not_in_it)
{
	start(10);
	policy_hit(&policy, &nodes[0]);
	policy_remove(&policy, &nodes[0]);
	policy_reweigh(&policy, &nodes[0], 7);
	expect(policy_weight(&policy) == 0 && nodes[0].weight == 7);
	expect(policy_evict(&policy) == NULL && policy_coldest(&policy) == NULL && policy_hottest(&policy) == NULL);
	policy_check(&policy);
}
END_TEST

/* A popular node is not driven out by a scan. */
START_TEST(test_policy_scan_resistance)
{
	start(50);
	for (int round = 0; round < 400; round++)
		get((int)(draw() % 40));
	for (int i = 60; i < NODES; i++) {
		get(i);
		get((int)(draw() % 40));
	}
	int kept = 0;
	for (int i = 0; i < 40; i++)
		kept += in[i];
	expect(kept >= 36);
}
END_TEST

/* A loop twice as long as the cache, of which LRU would keep nothing, is kept for the most part of what fits; and when the use turns to
 * what was new lately, the window grows and the hits come back. */
START_TEST(test_policy_follows_the_use)
{
	size_t hits = 0;

	start(100);
	for (int i = 0; i < 20000; i++)
		hits += get(i % 200);
	expect(hits > 20000 / 3);
	expect(policy.window_maximum < 50);
	hits = 0;
	/* Of the keys, each is in use for a while: 70 at a time, that move on. */
	for (int i = 0; i < 60000; i++)
		hits += get((int)((size_t)(i / 20) + draw() % 70) % NODES);
	expect(policy.window_maximum >= 25);
	expect(hits > 60000 / 10 * 8);
	policy_check(&policy);
}
END_TEST

/* What comes back soon after it went passes the window by when the shadows say so; what takes no room or too much does not. */
START_TEST(test_policy_readmission)
{
	static const uint8_t expected[SHADOWS][4] = {
		{POLICY_WINDOW, POLICY_WINDOW, POLICY_WINDOW, POLICY_WINDOW},
		{POLICY_WINDOW, POLICY_PROBATION, POLICY_PROBATION, POLICY_PROBATION},
		{POLICY_WINDOW, POLICY_WINDOW, POLICY_PROTECTED, POLICY_PROTECTED},
		{POLICY_WINDOW, POLICY_WINDOW, POLICY_PROTECTED, POLICY_PROTECTED},
		{POLICY_WINDOW, POLICY_WINDOW, POLICY_WINDOW, POLICY_WINDOW},
	};

	start(200);
	for (int i = 0; i < 250; i++)
		get(i);
	expect(policy.shadows.started);
	for (unsigned kind = 0; kind < SHADOWS; kind++)
		for (int time = 0; time < 4; time++) {
			int i = 300 + (int)kind;

			policy.shadows.chosen = kind;
			policy_resize(&policy, 200);
			add(i, 1);
			/* The sketch may have counted others as this one, and take it in sooner. */
			expect(nodes[i].queue == expected[kind][time] || nodes[i].queue == expected[kind][3]);
			policy_check(&policy);
			policy_remove(&policy, &nodes[i]);
			in[i] = false;
		}
	policy.shadows.chosen = 2;
	for (int time = 0; time < 8; time++) {
		policy_remove(&policy, &nodes[320]);
		policy_remove(&policy, &nodes[321]);
		add(320, 0);
		add(321, 201);
		expect(nodes[320].queue == POLICY_WEIGHTLESS && nodes[321].queue == POLICY_DOOMED);
	}
	expect(settle() == 1 && in[320] && !in[321]);
	policy_check(&policy);
}
END_TEST

/* Larger than the shadows' memory, then much smaller: the sample follows, and nothing is lost. */
START_TEST(test_policy_sample_follows_the_size)
{
	enum { MANY = 5000 };
	struct policy_node *many = calloc(MANY, sizeof *many);

	ck_assert_ptr_nonnull(many);
	start(4000);
	for (int i = 0; i < 4 * MANY; i++) {
		struct policy_node *node = &many[draw() % MANY];

		if (i % 1000 == 0)
			policy_check(&policy);
		if (i == 2 * MANY) {
			expect(policy.shadows.sample_mask != 0);
			policy_resize(&policy, 100);
		}
		if (node->queue != POLICY_NONE) {
			policy_hit(&policy, node);
			continue;
		}
		node->hash = (uint32_t)base_mix((uint64_t)(node - many) + seed);
		node->weight = 1;
		policy_add(&policy, node);
		while (policy_evict(&policy) != NULL)
			;
		give();
	}
	expect(policy_weight(&policy) == 100 && policy.shadows.sample_mask == 0);
	free(many);
}
END_TEST

/* The sketch never says less than it was told, up to what it can say, rarely more, and the same in larger memory; then it forgets half. */
START_TEST(test_policy_sketch)
{
	enum { HASHES = 300, WORDS = 512 };
	uint64_t words[WORDS] = {0}, more[4 * WORDS] = {0};
	struct sketch sketch = {.words = words, .n = WORDS};
	unsigned counts[HASHES] = {0}, exact = 0;
	uint32_t hashes[HASHES];

	state = seed;
	sketch_raise(&(struct sketch){.n = 0}, 1, SKETCH_MOST);
	expect(sketch_frequency(&(struct sketch){.n = 0}, 1) == 0);
	for (int i = 0; i < HASHES; i++) {
		hashes[i] = (uint32_t)draw();
		counts[i] = (unsigned)i % (SKETCH_MOST + 1);
		sketch_raise(&sketch, hashes[i], counts[i]);
		unsigned now = sketch_frequency(&sketch, hashes[i]);
		expect(now >= counts[i]);
		sketch_raise(&sketch, hashes[i], counts[i] / 2);
		expect(sketch_frequency(&sketch, hashes[i]) == now);
	}
	for (int i = 0; i < HASHES; i++) {
		expect(sketch_frequency(&sketch, hashes[i]) >= counts[i]);
		exact += sketch_frequency(&sketch, hashes[i]) == counts[i];
	}
	expect(exact > HASHES * 9 / 10);
	sketch_move(&sketch, more, 4 * WORDS);
	for (int i = 0; i < HASHES; i++)
		expect(sketch_frequency(&sketch, hashes[i]) >= counts[i]);
	for (size_t i = 0; i < sketch.n * SKETCH_COUNTS; i++) {
		expect(sketch.halvings == 0);
		sketch_counted(&sketch);
	}
	expect(sketch.halvings == 1);
	for (int i = 0; i < HASHES; i++)
		expect(sketch_frequency(&sketch, hashes[i]) >= sketch_aged(&sketch, counts[i], 0));
}
END_TEST

/* All that is written for a hash stands in one line. */
START_TEST(test_policy_sketch_line)
{
	enum { WORDS = 512, LINE = 8 };
	uint64_t words[WORDS] = {0};
	struct sketch sketch = {.words = words, .n = WORDS};
	int first = -1;

	state = seed;
	uint32_t hash = (uint32_t)draw();
	sketch_raise(&sketch, hash, SKETCH_MOST);
	expect(sketch_frequency(&sketch, hash) == SKETCH_MOST);
	for (int i = 0; i < WORDS; i++)
		if (words[i] != 0) {
			expect(first < 0 || first / LINE == i / LINE);
			first = i;
		}
	expect(first >= 0);
}
END_TEST

/* A count that is kept elsewhere is halved as those of the sketch are. */
START_TEST(test_policy_sketch_aged)
{
	uint64_t words[8] = {0};
	struct sketch sketch = {.words = words, .n = 8, .halvings = UINT16_MAX - 1};
	uint16_t since = sketch.halvings;

	sketch_raise(&sketch, 1, 13);
	for (int i = 0; i < 6; i++) {
		expect(sketch_aged(&sketch, 13, since) == sketch_frequency(&sketch, 1));
		sketch_halve(&sketch);
	}
	expect(sketch_aged(&sketch, 13, since) == 0);
}
END_TEST

static unsigned frequency_of(const struct policy_node *node)
{
	return sketch_aged(&policy.sketch, node->count, node->halvings);
}

/* While a node is in, it counts itself, and nobody else's count: the sketch hears of it when it goes, and tells it when it comes back. */
START_TEST(test_policy_counts_in_nodes)
{
	start(1000);
	for (int i = 0; i < 100; i++)
		add(i, 1);
	give();
	for (int i = 0; i < 100; i += 2)
		for (int k = 0; k < i; k++)
			policy_hit(&policy, &nodes[i]);
	for (int i = 0; i < 100; i++) {
		expect(frequency_of(&nodes[i]) == (i % 2 != 0 ? 0 : sketch_least((unsigned)i, SKETCH_MOST)));
		expect(sketch_frequency(&policy.sketch, nodes[i].hash) == 0);
	}
	/* At its maximum it is not written, nor counted. */
	size_t counted = policy.sketch.counted;
	policy_hit(&policy, &nodes[98]);
	expect(policy.sketch.counted == counted);
	policy_hit(&policy, &nodes[97]);
	expect(policy.sketch.counted == counted + 1);
	policy_remove(&policy, &nodes[6]);
	expect(sketch_frequency(&policy.sketch, nodes[6].hash) == 6);
	policy_add(&policy, &nodes[6]);
	expect(frequency_of(&nodes[6]) == 7);
	/* What takes another's place has its count. */
	policy_replace(&policy, &nodes[6], &nodes[200]);
	expect(frequency_of(&nodes[200]) == 8 && nodes[6].queue == POLICY_NONE);
	sketch_halve(&policy.sketch);
	expect(frequency_of(&nodes[200]) == 4 && frequency_of(&nodes[98]) == 7);
	policy_hit(&policy, &nodes[98]);
	expect(frequency_of(&nodes[98]) == 8);
}
END_TEST

/* Of a loop five times as long as the cache, most of what can be kept is: what comes does not oust what is about to. */
START_TEST(test_policy_loop)
{
	enum { LENGTH = NODES, ROOM = NODES / 5, ROUNDS = 100 };
	size_t hits = 0;

	start(ROOM);
	for (int i = 0; i < ROUNDS * LENGTH; i++)
		hits += get(i % LENGTH) && i >= ROUNDS / 2 * LENGTH;
	expect(hits > (size_t)ROOM * (ROUNDS / 2) * 3 / 4);
}
END_TEST

/* What is hit is in the hotter half afterwards, and stays where it is if it was. */
START_TEST(test_policy_hot)
{
	enum { N = 160, HOT = N / 2 };
	struct policy_node many[N] = {{0}};
	struct policy *policy_of_many = calloc(1, sizeof *policy_of_many);

	policy_init(policy_of_many, UINT64_MAX);
	for (int i = 0; i < N; i++) {
		many[i] = (struct policy_node){.hash = (uint32_t)i, .weight = 1};
		policy_add(policy_of_many, &many[i]);
	}
	policy_hit(policy_of_many, &many[N - HOT]);
	expect(policy_hottest(policy_of_many) == &many[N - 1]);
	policy_hit(policy_of_many, &many[N - 1 - HOT]);
	expect(policy_hottest(policy_of_many) == &many[N - 1 - HOT]);
	struct policy_node *all[] = {&many[3], &many[2], &many[1]};
	policy_hit_all(policy_of_many, all, 3);
	expect(policy_hottest(policy_of_many) == &many[1] && policy_next_colder(policy_of_many, &many[1]) == &many[2]);
	policy_check(policy_of_many);
	free(policy_of_many);
}
END_TEST

/* What is rewritten is read once more: it keeps its part of the policy, or rises, whatever it weighs; one that was not in is added. */
START_TEST(test_policy_replace)
{
	start(100);
	for (int i = 0; i < 50; i++)
		add(i, 1);
	give();
	for (int i = 0; i < 50; i++)
		policy_hit(&policy, &nodes[i]);
	uint8_t before = nodes[0].queue;
	policy_replace(&policy, &nodes[0], &nodes[60]);
	ck_assert_int_eq(nodes[0].queue, POLICY_NONE);
	ck_assert_int_eq(nodes[60].queue, before == POLICY_PROBATION ? POLICY_PROTECTED : before);
	ck_assert_uint_eq(policy_weight(&policy), 50);
	/* The same node: it becomes the hottest of its part. */
	policy_replace(&policy, &nodes[1], &nodes[1]);
	ck_assert_ptr_eq(policy.queues[nodes[1].queue].hottest, &nodes[1]);
	nodes[61].weight = 0;
	policy_replace(&policy, &nodes[2], &nodes[61]);
	ck_assert_int_eq(nodes[61].queue, POLICY_WEIGHTLESS);
	nodes[62].weight = 101;
	policy_replace(&policy, &nodes[61], &nodes[62]);
	ck_assert_int_eq(nodes[62].queue, POLICY_DOOMED);
	nodes[63].weight = 10;
	policy_replace(&policy, &nodes[62], &nodes[63]);
	ck_assert_int_eq(nodes[63].queue, POLICY_WINDOW);
	ck_assert_uint_eq(policy_weight(&policy), 59);
	policy_replace(&policy, &nodes[2], &nodes[64]);
	ck_assert_int_ne(nodes[64].queue, POLICY_NONE);
	ck_assert_uint_eq(policy_weight(&policy), 60);
	policy_check(&policy);
}
END_TEST

int main(void)
{
	const char *text = getenv("WEAKREF_SEED");

	seed = text != NULL ? strtoull(text, NULL, 10) : base_now();
	printf("check_cache_policy: WEAKREF_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);

	Suite *suite = suite_create("cache_policy");
	TCase *tcase = tcase_create("core");
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, test_policy_model, 0, 2);
	tcase_add_test(tcase, test_policy_weightless_never_go);
	tcase_add_test(tcase, test_policy_too_heavy_goes_at_once);
	tcase_add_test(tcase, test_policy_memory_by_steps);
	tcase_add_test(tcase, test_policy_without_bound);
	tcase_add_test(tcase, test_policy_not_in_it);
	tcase_add_test(tcase, test_policy_scan_resistance);
	tcase_add_test(tcase, test_policy_sketch);
	tcase_add_test(tcase, test_policy_sketch_line);
	tcase_add_test(tcase, test_policy_sketch_aged);
	tcase_add_test(tcase, test_policy_counts_in_nodes);
	tcase_add_test(tcase, test_policy_loop);
	tcase_add_test(tcase, test_policy_hot);
	tcase_add_test(tcase, test_policy_follows_the_use);
	tcase_add_test(tcase, test_policy_readmission);
	tcase_add_test(tcase, test_policy_sample_follows_the_size);
	tcase_add_test(tcase, test_policy_replace);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

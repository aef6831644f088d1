/* SPDX-License-Identifier: MIT */
/*
 * check_wheel: the timer wheel against an array of deadlines that is looked through. No collector, no clock. WEAKREF_SEED=n repeats
 * a run; every failure prints the seed.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "wheel.h"

#define NODES 300
#define STEPS 60000

static uint64_t seed, state;
static struct wheel wheel;
static struct wheel_node nodes[NODES];
/* The model: 0 is not in it. */
static uint64_t deadlines[NODES];

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

/* As likely small as huge. */
static uint64_t draw_span(void)
{
	return draw() >> (draw() % 64);
}

static void start(uint64_t now)
{
	state = seed;
	wheel_init(&wheel, now);
	for (int i = 0; i < NODES; i++) {
		nodes[i] = (struct wheel_node){0};
		deadlines[i] = 0;
	}
}

static void schedule(int i, uint64_t deadline)
{
	wheel_schedule(&wheel, &nodes[i], deadline);
	deadlines[i] = deadline == 0 ? 1 : deadline;
}

static uint64_t earliest(void)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < NODES; i++)
		if (deadlines[i] != 0 && deadlines[i] < least)
			least = deadlines[i];
	return least;
}

/* Time goes on by itself: due is what has come, and is in the wheel as before. */
static void advance(uint64_t now)
{
	size_t n = 0;

	wheel_advance(&wheel, now);
	for (const struct wheel_node *node = wheel.due; node != NULL; node = node->next, n++)
		expect(deadlines[node - nodes] != 0 && deadlines[node - nodes] <= now && node->deadline_ns == deadlines[node - nodes]);
	for (int i = 0; i < NODES; i++)
		n -= deadlines[i] != 0 && deadlines[i] <= now;
	expect(n == 0);
	wheel_check(&wheel);
}

/* Everything due by now comes out, once, and nothing else. */
static size_t expire(uint64_t now)
{
	struct wheel_node *node;
	size_t n = 0;

	while ((node = wheel_expired(&wheel, now)) != NULL) {
		ptrdiff_t i = node - nodes;

		expect(i >= 0 && i < NODES);
		expect(deadlines[i] != 0 && deadlines[i] <= now);
		expect(!wheel_is_scheduled(node));
		deadlines[i] = 0;
		n++;
	}
	return n;
}

/* Deadlines of all scales, moved and cancelled, against a clock that goes by steps of all scales. */
START_TEST(test_wheel_model)
{
	uint64_t now = _i == 0 ? 0 : UINT64_C(1) << 40;

	start(now);
	for (int step = 0; step < STEPS; step++) {
		int i = (int)(draw() % NODES);
		uint64_t span = draw_span();

		switch (draw() % 8) {
		case 0:
			wheel_cancel(&wheel, &nodes[i]);
			deadlines[i] = 0;
			break;
		case 1:
			/* Short enough that time does not end before the test does. */
			now += span >> 20;
			if (draw() % 2 == 0)
				advance(now);
			if (draw() % 2 == 0)
				break;
			expire(now);
			expect(earliest() > now);
			break;
		case 2:
			schedule(i, draw() % (now + 1));
			break;
		default:
			schedule(i, span > UINT64_MAX - now ? UINT64_MAX : now + span);
		}
		expect(wheel_is_scheduled(&nodes[i]) == (deadlines[i] != 0));
		expect(wheel_next(&wheel) <= earliest());
		if (step % 256 == 0)
			wheel_check(&wheel);
	}
	expire(UINT64_MAX);
	expect(earliest() == UINT64_MAX);
	expect(wheel_next(&wheel) == UINT64_MAX);
}
END_TEST

/* Never a nanosecond early, nor late. */
START_TEST(test_wheel_is_exact)
{
	static const uint64_t spans[] = {1, 63, 64, 65, 4095, 4096, 1000000007, UINT64_C(600000000000), UINT64_C(1) << 60, UINT64_MAX - 1000};

	for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
		uint64_t now = 1000;

		start(now);
		schedule(0, now + spans[i]);
		expect(wheel_expired(&wheel, now + spans[i] - 1) == NULL);
		expect(wheel_expired(&wheel, now + spans[i]) == &nodes[0]);
		expect(wheel_expired(&wheel, UINT64_MAX) == NULL);
	}
}
END_TEST

/* Who sleeps until wheel_next meets each deadline, and wakes at most once for each digit. */
START_TEST(test_wheel_next_leads_there)
{
	start(12345);
	for (int round = 0; round < 1000; round++) {
		uint64_t now = wheel.now, deadline = now + 1 + (draw_span() >> 12);
		int wakes = 0;

		schedule(0, deadline);
		while (wheel_expired(&wheel, now) == NULL) {
			expect(wheel_next(&wheel) > now);
			now = wheel_next(&wheel);
			expect(now <= deadline);
			expect(++wakes <= WHEEL_LEVELS);
		}
		expect(now == deadline);
		deadlines[0] = 0;
	}
}
END_TEST

/* A clock that goes back hands nothing out, and what is scheduled anew in that time does not come back in the same loop. */
START_TEST(test_wheel_clock_goes_back)
{
	start(0);
	for (int i = 0; i < 10; i++)
		schedule(i, (uint64_t)(1000 + i));
	expect(wheel_expired(&wheel, 1004) != NULL);
	expect(wheel_expired(&wheel, 500) == NULL);
	schedule(20, 600);
	expect(wheel_expired(&wheel, 700) == NULL);
	wheel_check(&wheel);
	for (int i = 0; i < NODES; i++)
		deadlines[i] = nodes[i].deadline_ns;
	expect(expire(1004) == 5);
	expect(expire(2000) == 5);
}
END_TEST

/* A reader may have pushed a deadline out: the owner schedules what it was handed once more, from within the loop. */
START_TEST(test_wheel_scheduled_from_the_loop)
{
	struct wheel_node *node;
	size_t handed = 0;

	start(0);
	for (int i = 0; i < NODES; i++)
		schedule(i, 100);
	while ((node = wheel_expired(&wheel, 100)) != NULL) {
		wheel_schedule(&wheel, node, 101 + draw() % 1000);
		expect(++handed <= NODES);
	}
	wheel_check(&wheel);
	for (int i = 0; i < NODES; i++)
		deadlines[i] = nodes[i].deadline_ns;
	expect(handed == NODES && expire(2000) == NODES);
}
END_TEST

int main(void)
{
	const char *text = getenv("WEAKREF_SEED");

	seed = text != NULL ? strtoull(text, NULL, 10) : base_now();
	printf("check_wheel: WEAKREF_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);

	Suite *suite = suite_create("wheel");
	TCase *tcase = tcase_create("core");
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, test_wheel_model, 0, 2);
	tcase_add_test(tcase, test_wheel_is_exact);
	tcase_add_test(tcase, test_wheel_next_leads_there);
	tcase_add_test(tcase, test_wheel_clock_goes_back);
	tcase_add_test(tcase, test_wheel_scheduled_from_the_loop);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: MIT */
#include "generate.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Keys that no draw by rank makes. */
#define APART (UINT64_C(1) << 30)

struct draws {
	uint64_t state;
	/* Of each rank and those before it, of 1. */
	double *sums;
	size_t n;
};

static uint64_t draw(struct draws *d)
{
	d->state += UINT64_C(0x9e3779b97f4a7c15);
	return trace_mix(d->state);
}

/* From low to high, both included. */
static uint64_t draw_between(struct draws *d, uint64_t low, uint64_t high)
{
	return low + draw(d) % (high - low + 1);
}

static void zipf_init(struct draws *d, size_t n, double skew)
{
	double sum = 0;

	d->n = n;
	free(d->sums);
	d->sums = trace_need(calloc(n, sizeof *d->sums));
	for (size_t i = 0; i < n; i++)
		d->sums[i] = sum += pow((double)(i + 1), -skew);
	for (size_t i = 0; i < n; i++)
		d->sums[i] /= sum;
}

static size_t zipf_draw(struct draws *d)
{
	double x = (double)(draw(d) >> 11) * 0x1p-53;
	size_t low = 0, high = d->n - 1;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (d->sums[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- parameters ---- */

enum { KEYS, SKEW, N, RUN, FRESH, LENGTH, EVERY, PHASES, PERIOD, PARAMETERS };

static const char *const names[PARAMETERS] = {"keys", "skew", "n", "run", "fresh", "length", "every", "phases", "period"};

struct parameters {
	/* 0: the generator has no such parameter. */
	double at[PARAMETERS];
};

static uint64_t whole(const struct parameters *p, int which)
{
	return (uint64_t)p->at[which];
}

/* Reads "name=value,name=value". */
static bool read_parameters(struct parameters *p, const char *text)
{
	while (*text != '\0') {
		size_t length = strcspn(text, "=,");
		int which = 0;
		char *end;

		while (which < PARAMETERS && (strlen(names[which]) != length || memcmp(names[which], text, length) != 0))
			which++;
		if (which == PARAMETERS || p->at[which] == 0 || text[length] != '=')
			return false;
		p->at[which] = strtod(text + length + 1, &end);
		if (end == text + length + 1 || (*end != ',' && *end != '\0') || !(p->at[which] < 1e8) ||
		    !(p->at[which] >= (which == SKEW ? 0.01 : 1)))
			return false;
		text = *end == ',' ? end + 1 : end;
	}
	return true;
}

/* ---- generators ---- */

static void generate_zipf(struct trace *t, struct draws *d, const struct parameters *p)
{
	zipf_init(d, whole(p, KEYS), p->at[SKEW]);
	while (t->n < whole(p, N))
		trace_append(t, trace_mix(zipf_draw(d)));
}

static void generate_scan(struct trace *t, struct draws *d, const struct parameters *p)
{
	uint64_t fresh = APART;

	zipf_init(d, whole(p, KEYS), p->at[SKEW]);
	while (t->n < whole(p, N)) {
		for (uint64_t i = 0; i < whole(p, RUN); i++)
			trace_append(t, trace_mix(zipf_draw(d)));
		for (uint64_t i = 0; i < whole(p, FRESH); i++)
			trace_append(t, trace_mix(fresh++));
	}
}

static void generate_loop(struct trace *t, struct draws *d, const struct parameters *p)
{
	uint64_t at = 0;

	zipf_init(d, whole(p, KEYS), p->at[SKEW]);
	while (t->n < whole(p, N))
		trace_append(t, trace_mix(draw(d) % whole(p, EVERY) == 0 ? zipf_draw(d) : APART + at++ % whole(p, LENGTH)));
}

static void generate_shifting(struct trace *t, struct draws *d, const struct parameters *p)
{
	uint64_t *keys, fresh = 1, at = 0;

	zipf_init(d, whole(p, KEYS), p->at[SKEW]);
	keys = trace_need(calloc(d->n, sizeof *keys));
	for (size_t i = 0; i < d->n; i++)
		keys[i] = fresh++;
	for (uint64_t phase = 0; phase < whole(p, PHASES); phase++) {
		for (size_t i = 0; i < d->n / 10; i++)
			keys[zipf_draw(d)] = fresh++;
		for (uint64_t i = 0; i < whole(p, PERIOD); i++) {
			/* Four phases popularity, then one in which what was new stays in use for a while, then one of a loop. */
			if (phase % 6 == 4)
				trace_append(t, trace_mix((UINT64_C(1) << 40) + at++ / 4 - zipf_draw(d) / 8));
			else if (phase % 6 == 5)
				trace_append(t, trace_mix((UINT64_C(1) << 50) + at++ % whole(p, LENGTH)));
			else
				trace_append(t, trace_mix(keys[zipf_draw(d)]));
		}
	}
	free(keys);
}

/* One phase of a mixed trace: of what kind, over which keys, from which one on. */
struct phase {
	enum { POPULAR, RECENT, LOOP, ZIGZAG, SCAN, HALF_LOOP, KINDS } kind;
	uint64_t base, length;
};

static uint64_t phase_key(const struct phase *phase, struct draws *d, uint64_t i)
{
	uint64_t half = i / 2;

	switch (phase->kind) {
	case POPULAR:
		return phase->base + zipf_draw(d);
	case RECENT:
		return phase->base + d->n + i / 4 - zipf_draw(d) % (phase->length / 2);
	case LOOP:
		return phase->base + i % phase->length;
	case ZIGZAG:
		return phase->base + (i / phase->length % 2 == 0 ? i % phase->length : phase->length - 1 - i % phase->length);
	case SCAN:
		return phase->base + i;
	default:
		return i % 2 == 0 ? phase->base + d->n + half % phase->length : phase->base + zipf_draw(d);
	}
}

/* Phases of which all is drawn. What is popular comes back: of three sets of keys, one is taken. */
static void generate_mixed(struct trace *t, struct draws *d, const struct parameters *p)
{
	uint64_t fresh = UINT64_C(1) << 40;

	zipf_init(d, whole(p, KEYS), p->at[SKEW]);
	for (uint64_t i = 0; i < whole(p, PHASES); i++) {
		struct phase phase = {.kind = draw(d) % KINDS, .base = fresh};
		uint64_t period = draw_between(d, whole(p, PERIOD) / 4, whole(p, PERIOD) / 4 * 7);

		phase.length = draw_between(d, whole(p, KEYS) / 50 + 2, whole(p, KEYS) / 2 + 2);
		if (phase.kind == POPULAR)
			phase.base = draw(d) % 3 << 35;
		if (phase.kind == SCAN)
			period /= 4;
		for (uint64_t j = 0; j < period; j++)
			trace_append(t, trace_mix(phase_key(&phase, d, j)));
		fresh += UINT64_C(1) << 35;
	}
}

static const struct {
	const char *name;
	void (*generate)(struct trace *t, struct draws *d, const struct parameters *p);
	struct parameters parameters;
} generators[] = {
	{"zipf", generate_zipf, {{[KEYS] = 100000, [SKEW] = 0.9, [N] = 1000000}}},
	{"scan", generate_scan, {{[KEYS] = 50000, [SKEW] = 0.9, [N] = 600000, [RUN] = 20000, [FRESH] = 5000}}},
	{"loop", generate_loop, {{[KEYS] = 10000, [SKEW] = 0.9, [N] = 400000, [LENGTH] = 10000, [EVERY] = 5}}},
	{"shifting", generate_shifting, {{[KEYS] = 20000, [SKEW] = 0.9, [PHASES] = 16, [PERIOD] = 50000, [LENGTH] = 6000}}},
	{"mixed", generate_mixed, {{[KEYS] = 10000, [SKEW] = 0.9, [PHASES] = 24, [PERIOD] = 20000}}},
};

int generate(struct trace *trace, const char *name, uint64_t seed)
{
	size_t length = strcspn(name, ":");
	struct draws draws = {.state = seed};

	for (size_t i = 0; i < sizeof generators / sizeof generators[0]; i++) {
		struct parameters parameters = generators[i].parameters;

		if (strlen(generators[i].name) != length || memcmp(generators[i].name, name, length) != 0)
			continue;
		if (name[length] == ':' && !read_parameters(&parameters, name + length + 1))
			return -1;
		generators[i].generate(trace, &draws, &parameters);
		free(draws.sums);
		return 1;
	}
	return 0;
}

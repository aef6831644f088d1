/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static void *need(void *p)
{
	if (p == NULL) {
		fputs("hitratio: out of memory\n", stderr);
		exit(3);
	}
	return p;
}

static void append(struct trace *trace, uint64_t key)
{
	if ((trace->n & (trace->n + 1)) == 0 || trace->keys == NULL)
		trace->keys = need(realloc(trace->keys, (trace->n * 2 + 2) * sizeof *trace->keys));
	trace->keys[trace->n++] = key;
}

/* ---- generated ---- */

struct draws {
	uint64_t state;
	/* Of each rank and those before it, of 1. */
	double *sums;
	size_t n;
};

static uint64_t draw(struct draws *d)
{
	d->state += UINT64_C(0x9e3779b97f4a7c15);
	return mix(d->state);
}

static void zipf_init(struct draws *d, size_t n, double skew)
{
	double sum = 0;

	d->n = n;
	d->sums = need(calloc(n, sizeof *d->sums));
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

static void generate_zipf(struct trace *t, struct draws *d)
{
	zipf_init(d, 100000, 0.9);
	for (int i = 0; i < 1000000; i++)
		append(t, mix(zipf_draw(d)));
}

static void generate_scan(struct trace *t, struct draws *d)
{
	uint64_t fresh = 1 << 30;

	zipf_init(d, 50000, 0.9);
	while (t->n < 600000) {
		for (int i = 0; i < 20000; i++)
			append(t, mix(zipf_draw(d)));
		for (int i = 0; i < 5000; i++)
			append(t, mix(fresh++));
	}
}

static void generate_loop(struct trace *t, struct draws *d)
{
	uint64_t at = 0;

	zipf_init(d, 10000, 0.9);
	while (t->n < 400000)
		append(t, mix(draw(d) % 5 == 0 ? zipf_draw(d) : (UINT64_C(1) << 30) + at++ % 10000));
}

static void generate_shifting(struct trace *t, struct draws *d)
{
	uint64_t *keys, fresh = 1, at = 0;

	zipf_init(d, 20000, 0.9);
	keys = need(calloc(d->n, sizeof *keys));
	for (size_t i = 0; i < d->n; i++)
		keys[i] = fresh++;
	for (int phase = 0; phase < 16; phase++) {
		for (size_t i = 0; i < d->n / 10; i++)
			keys[zipf_draw(d)] = fresh++;
		for (int i = 0; i < 50000; i++) {
			/* Four phases popularity, then one in which what was new stays in use for a while, then one of a loop. */
			if (phase % 6 == 4)
				append(t, mix((UINT64_C(1) << 40) + at++ / 4 - zipf_draw(d) / 8));
			else if (phase % 6 == 5)
				append(t, mix((UINT64_C(1) << 50) + at++ % 6000));
			else
				append(t, mix(keys[zipf_draw(d)]));
		}
	}
	free(keys);
}

static const struct {
	const char *name;
	void (*generate)(struct trace *t, struct draws *d);
} generators[] = {
	{"zipf", generate_zipf},
	{"scan", generate_scan},
	{"loop", generate_loop},
	{"shifting", generate_shifting},
};

/* ---- read ---- */

static uint64_t key_of(const char *text)
{
	char *end;
	uint64_t key;

	errno = 0;
	key = strtoull(text, &end, 10);
	if (*end == '\0' && end != text && errno == 0)
		return key;
	for (key = 0; *text != '\0'; text++)
		key = mix(key + (unsigned char)*text + 1);
	return key;
}

static bool read_file(struct trace *trace, const char *path)
{
	char line[4096];
	gzFile file = gzopen(path, "rb");
	bool good;
	int error;

	if (file == NULL) {
		fprintf(stderr, "hitratio: %s: %s\n", path, strerror(errno));
		return false;
	}
	while (gzgets(file, line, sizeof line) != NULL) {
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] != '\0')
			append(trace, key_of(line));
	}
	gzerror(file, &error);
	good = error == Z_OK || error == Z_STREAM_END;
	gzclose(file);
	if (!good || trace->n == 0 || trace->n >= UINT32_MAX) {
		fprintf(stderr, "hitratio: %s: %s\n", path, good ? "no keys, or too many" : "cannot be unpacked");
		return false;
	}
	return true;
}

/* ---- numbers ---- */

static void number(struct trace *trace)
{
	size_t size = 16;
	uint32_t *slots, *last;

	while (size < trace->n * 2)
		size *= 2;
	/* Number + 1 of the key that stands there; and where each number was used last, seen from the end. */
	slots = need(calloc(size, sizeof *slots));
	last = need(calloc(trace->n, sizeof *last));
	trace->ids = need(calloc(trace->n, sizeof *trace->ids));
	trace->next = need(calloc(trace->n, sizeof *trace->next));
	for (size_t i = 0; i < trace->n; i++) {
		size_t at = mix(trace->keys[i]) & (size - 1);

		while (slots[at] != 0 && trace->keys[last[slots[at] - 1]] != trace->keys[i])
			at = (at + 1) & (size - 1);
		if (slots[at] == 0) {
			last[trace->distinct] = (uint32_t)i;
			slots[at] = (uint32_t)++trace->distinct;
		}
		trace->ids[i] = slots[at] - 1;
	}
	for (size_t i = 0; i < trace->distinct; i++)
		last[i] = (uint32_t)trace->n;
	for (size_t i = trace->n; i-- > 0;) {
		trace->next[i] = last[trace->ids[i]];
		last[trace->ids[i]] = (uint32_t)i;
	}
	free(slots);
	free(last);
}

bool trace_load(struct trace *trace, const char *name, uint64_t seed)
{
	struct draws draws = {.state = seed};
	bool generated = false;

	*trace = (struct trace){.name = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name};
	for (size_t i = 0; i < sizeof generators / sizeof generators[0]; i++)
		if (strcmp(name, generators[i].name) == 0) {
			generators[i].generate(trace, &draws);
			generated = true;
		}
	free(draws.sums);
	if (!generated && !read_file(trace, name)) {
		free(trace->keys);
		return false;
	}
	number(trace);
	return true;
}

void trace_free(struct trace *trace)
{
	free(trace->keys);
	free(trace->ids);
	free(trace->next);
}

/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "generate.h"

uint64_t trace_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void *trace_need(void *p)
{
	if (p == NULL) {
		fputs("hitratio: out of memory\n", stderr);
		exit(3);
	}
	return p;
}

void trace_append(struct trace *trace, uint64_t key)
{
	if ((trace->n & (trace->n + 1)) == 0 || trace->keys == NULL)
		trace->keys = trace_need(realloc(trace->keys, (trace->n * 2 + 2) * sizeof *trace->keys));
	trace->keys[trace->n++] = key;
}

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
		key = trace_mix(key + (unsigned char)*text + 1);
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
			trace_append(trace, key_of(line));
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
	slots = trace_need(calloc(size, sizeof *slots));
	last = trace_need(calloc(trace->n, sizeof *last));
	trace->ids = trace_need(calloc(trace->n, sizeof *trace->ids));
	trace->next = trace_need(calloc(trace->n, sizeof *trace->next));
	for (size_t i = 0; i < trace->n; i++) {
		size_t at = trace_mix(trace->keys[i]) & (size - 1);

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

/* ---- parts ---- */

enum part { ALL, ODD, EVEN, FIRST, LAST, PARTS };

static const char *const parts[PARTS] = {"", ":odd", ":even", ":first", ":last"};

/* Which part a name ends with, and how long it is without. */
static enum part part_of(const char *name, size_t *length)
{
	size_t whole = strlen(name);

	for (enum part part = ODD; part < PARTS; part++) {
		size_t n = strlen(parts[part]);

		*length = whole - n;
		if (whole > n && strcmp(name + *length, parts[part]) == 0)
			return part;
	}
	*length = whole;
	return ALL;
}

/* Every other key, or half of the accesses. */
static void keep(struct trace *trace, enum part part)
{
	size_t n = 0;

	for (size_t i = 0; i < trace->n; i++) {
		bool odd = (trace_mix(trace->keys[i] + 1) & 1) != 0, first = i < trace->n / 2;

		if (part == ALL || (part <= EVEN ? odd == (part == ODD) : first == (part == FIRST)))
			trace->keys[n++] = trace->keys[i];
	}
	trace->n = n;
}

static bool read_part(struct trace *trace, const char *name)
{
	size_t length;
	enum part part = part_of(name, &length);
	char *path = trace_need(strndup(name, length));
	bool good = read_file(trace, path);

	free(path);
	if (good)
		keep(trace, part);
	if (good && trace->n == 0)
		fprintf(stderr, "hitratio: %s: no keys\n", name);
	return good && trace->n > 0;
}

bool trace_load(struct trace *trace, const char *name, uint64_t seed)
{
	int generated;

	*trace = (struct trace){.name = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name};
	generated = generate(trace, name, seed);
	if (generated < 0)
		fprintf(stderr, "hitratio: %s: parameters that this generator does not have, or beyond bounds\n", name);
	if (generated < 0 || (generated == 0 && !read_part(trace, name))) {
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

/* SPDX-License-Identifier: MIT */
/*
 * trace: see trace.h. Random numbers are POSIX's 48 bit generator, with a state of our own: the same everywhere.
 */
#include "trace.h"

#include <math.h>
#include <stdlib.h>

/* A random index below n. */
static size_t below(unsigned short state[3], size_t n)
{
	size_t i = (size_t)(erand48(state) * (double)n);

	return i < n ? i : n - 1;
}

/* A random order of 0 … n-1. */
static uint32_t *shuffled(unsigned short state[3], size_t n)
{
	uint32_t *order = calloc(n, sizeof *order);

	if (order == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	for (size_t i = n - 1; i > 0; i--) {
		size_t other = below(state, i + 1);
		uint32_t kept = order[i];

		order[i] = order[other];
		order[other] = kept;
	}
	return order;
}

/* sums[r]: the share of ranks 0 … r, ending at 1. */
static double *zipf_sums(size_t n, double skew)
{
	double *sums = calloc(n, sizeof *sums), total = 0;

	if (sums == NULL)
		return NULL;
	for (size_t r = 0; r < n; r++) {
		total += pow((double)(r + 1), -skew);
		sums[r] = total;
	}
	for (size_t r = 0; r < n; r++)
		sums[r] /= total;
	return sums;
}

static size_t zipf_rank(const double *sums, size_t n, double u)
{
	size_t low = 0, high = n - 1;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sums[middle] > u)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

int trace_make(struct trace *trace, size_t length, size_t files, uint64_t seed, double skew)
{
	unsigned short state[3] = {(unsigned short)seed, (unsigned short)(seed >> 16), (unsigned short)(seed >> 32)};
	uint32_t *ranked = shuffled(state, files), *once = shuffled(state, files), *file = calloc(length, sizeof *file);
	double *sums = zipf_sums(files, skew);
	size_t stride = length / files, seen = 0;
	int status = -1;

	if (ranked == NULL || once == NULL || file == NULL || sums == NULL)
		goto out;
	for (size_t i = 0; i < length; i++) {
		size_t shift = (size_t)((double)i / (double)length * (double)files);

		if (stride > 0 && i % stride == stride / 2 && seen < files)
			file[i] = once[seen++];
		else
			file[i] = ranked[(shift + zipf_rank(sums, files, erand48(state))) % files];
	}
	*trace = (struct trace){.file = file, .length = length};
	file = NULL;
	status = 0;
out:
	free(ranked);
	free(once);
	free(file);
	free(sums);
	return status;
}

void trace_free(struct trace *trace)
{
	free(trace->file);
	*trace = (struct trace){0};
}

/* SPDX-License-Identifier: MIT */
/*
 * replay: one variant's run, in a process of its own, and what it found.
 *
 * Each variant starts from the same small parent in which libgc was never started: heap, peak of resident memory and pauses
 * are its own. The child sends records of fixed size through a pipe: samples (which also are its progress), failures, and
 * at the end the outcome.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <stddef.h>
#include <stdint.h>

#include "cache.h"
#include "files.h"
#include "image.h"
#include "trace.h"

/* What all variants are given. */
struct replay_job {
	const struct files *files;
	const struct trace *trace;
	size_t window;
	/* A collection is asked for after so many accesses, besides those that libgc makes by itself. */
	size_t collect_every;
	/* Bytes; 0 for no limit. */
	size_t heap_limit;
	size_t max_image;
	/* What the third variant is, and how many variants there are: 2 where it is NULL. */
	const char *spec;
	int kinds;
};

/* Memory at one moment of the replay. */
struct replay_sample {
	uint64_t accesses;
	/* The highest resident size since the sample before. */
	uint64_t resident;
	uint64_t heap;
	uint64_t hits;
};

struct replay_outcome {
	/* accesses = hits + decodes + failures. */
	uint64_t accesses, hits, decodes, failures;
	/* Files that could not be decoded, those included that the heap had no room for at some access. */
	uint64_t bad_files;
	/* At the end, after a last collection. */
	uint64_t live_images, live_bytes;
	uint64_t collections, purged;
	uint64_t pause_total_ns, pause_max_ns, scan_total_ns, scan_max_ns;
	uint64_t peak_resident, heap, elapsed_ns;
};

struct replay_result {
	struct replay_outcome outcome;
	/* malloc'ed, in order. */
	struct replay_sample *samples;
	size_t sample_count;
};

/* The most samples that a run gives. */
#define REPLAY_SAMPLES 800

/*
 * Runs one variant in a child and waits for it. bad[i] is set for each file that is no picture; one whose flag a variant
 * before has set is not reported again. Returns 0; or -1 where the variant did not come to its end, which was reported
 * unless a signal asked to stop.
 */
int replay_run(enum cache_kind kind, const struct replay_job *job, unsigned char *bad, struct replay_result *result);
void replay_free(struct replay_result *result);

/* The variant's name for people. */
const char *replay_name(enum cache_kind kind);

#endif

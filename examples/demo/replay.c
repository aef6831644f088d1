/* SPDX-License-Identifier: MIT */
/*
 * replay: the child that replays, and the parent that listens.
 *
 * The child
 *   start libgc and the library -> for each access: look up, else decode and store; use -> last collection -> outcome.
 * A file that is no picture is tried once; later accesses to it count as failures at once. One that the heap had no room
 * for is tried at each access, because room may have come.
 *
 * Invariants: accesses = hits + decodes + failures; an image that a cache hands out is the one asked for, whole (checked at
 * each access: the child stops with a message where it is not).
 *
 * The parent only reads records. Records are smaller than PIPE_BUF, so each write is one piece.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* pipe2 */
#endif
#include "replay.h"

#include <errno.h>
#include <fcntl.h>
#include <gc/gc.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"
#include "stop.h"
#include "weakref/gc.h"
#include "weakref/object.h"

enum record_kind { RECORD_SAMPLE, RECORD_FAILURE, RECORD_FATAL, RECORD_OUTCOME };

struct record {
	enum record_kind kind;
	union {
		struct replay_sample sample;
		struct {
			uint32_t file;
			/* The file itself is bad, and so it is for the other variant. */
			bool lasting;
			char reason[IMAGE_REASON];
		} failure;
		char fatal[IMAGE_REASON + 200];
		struct replay_outcome outcome;
	} u;
};

_Static_assert(sizeof(struct record) <= _POSIX_PIPE_BUF, "a record must go through a pipe in one piece");

/* What the child knows of a file. */
enum file_state { FILE_UNKNOWN, FILE_TOLD, FILE_BAD };

struct replay {
	const struct replay_job *job;
	int out;
	int statm;
	struct cache *cache;
	unsigned char *state;
	uint64_t resident;
	struct replay_outcome outcome;
};

const char *replay_name(enum cache_kind kind)
{
	static const char *const names[CACHE_KINDS] = {
		[CACHE_PLAIN] = "plain dictionary", [CACHE_WEAK] = "weak-value dictionary", [CACHE_BUILT] = "cache"};

	return names[kind];
}

/* ---- the child ----------------------------------------------------------------------------------------------------------- */

static void send_record(const struct replay *replay, const struct record *record)
{
	ssize_t done;

	do {
		done = write(replay->out, record, sizeof *record);
	} while (done < 0 && errno == EINTR);
	/* Nobody listens any more: there is nobody to tell. */
	if (done != (ssize_t)sizeof *record)
		_exit(EXIT_FAILURE);
}

static void __attribute__((noreturn, format(printf, 2, 3))) give_up(const struct replay *replay, const char *format, ...)
{
	struct record record = {.kind = RECORD_FATAL};
	va_list args;

	va_start(args, format);
	vsnprintf(record.u.fatal, sizeof record.u.fatal, format, args);
	va_end(args);
	send_record(replay, &record);
	_exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The resident size now; 0 where the system does not tell. */
static uint64_t resident_now(const struct replay *replay)
{
	unsigned long long size, pages;
	char text[128];
	ssize_t length = replay->statm < 0 ? -1 : pread(replay->statm, text, sizeof text - 1, 0);

	if (length <= 0)
		return 0;
	text[length] = '\0';
	if (sscanf(text, "%llu %llu", &size, &pages) != 2)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The highest resident size that the process ever had: VmHWM, which a child of fork has for itself. */
static uint64_t resident_peak(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	struct rusage usage;
	char line[256];

	while (status != NULL && kib == 0 && fgets(line, sizeof line, status) != NULL)
		sscanf(line, "VmHWM: %llu kB", &kib);
	if (status != NULL)
		fclose(status);
	if (kib == 0 && getrusage(RUSAGE_SELF, &usage) == 0)
		kib = (unsigned long long)usage.ru_maxrss;
	return kib * 1024;
}

/* A failed access to a file. The parent hears of the file once. */
static void access_failed(struct replay *replay, uint32_t file, enum file_state state, const char *reason)
{
	struct record record = {.kind = RECORD_FAILURE};

	replay->outcome.failures++;
	if (replay->state[file] == FILE_UNKNOWN) {
		replay->outcome.bad_files++;
		record.u.failure.file = file;
		record.u.failure.lasting = state == FILE_BAD;
		snprintf(record.u.failure.reason, sizeof record.u.failure.reason, "%s", reason);
		send_record(replay, &record);
	}
	replay->state[file] = (unsigned char)state;
}

/* Decodes a file and stores the image. NULL where that failed, which was counted and told. */
static struct image *access_decode(struct replay *replay, uint32_t file)
{
	const char *path = replay->job->files->paths[file];
	char reason[IMAGE_REASON];
	struct image *image = NULL;
	enum image_result result = image_load(path, replay->job->max_image, &image, reason);
	int error;

	if (result != IMAGE_OK) {
		access_failed(replay, file, result == IMAGE_BAD ? FILE_BAD : FILE_TOLD, reason);
		return NULL;
	}
	error = cache_put(replay->cache, image);
	if (error != 0) {
		snprintf(reason, sizeof reason, "cannot be kept: %s", weakref_strerror(error));
		access_failed(replay, file, FILE_TOLD, reason);
		return NULL;
	}
	replay->outcome.decodes++;
	return image;
}

static void access_one(struct replay *replay, uint32_t file)
{
	const char *path = replay->job->files->paths[file];
	struct image *image = cache_get(replay->cache, path);

	replay->outcome.accesses++;
	if (image != NULL) {
		replay->outcome.hits++;
	} else if (replay->state[file] == FILE_BAD) {
		access_failed(replay, file, FILE_BAD, "");
		return;
	} else {
		image = access_decode(replay, file);
		if (image == NULL)
			return;
	}
	if (!image_is_intact(image, path)) {
		char text[IMAGE_REASON];

		gc_repr(image, text, sizeof text);
		give_up(replay, "%.200s: the cache gave %s, not the image that was stored", path, text);
	}
	cache_use(replay->cache, image);
}

static void collect(const struct replay *replay)
{
	long dead = gc_collect();

	if (dead < 0)
		give_up(replay, "collection failed: %s", weakref_strerror((int)dead));
}

static void send_sample(struct replay *replay)
{
	struct record record = {.kind = RECORD_SAMPLE};

	record.u.sample = (struct replay_sample){
		.accesses = replay->outcome.accesses,
		.resident = replay->resident,
		.heap = GC_get_heap_size(),
		.hits = replay->outcome.hits,
	};
	send_record(replay, &record);
	replay->resident = 0;
}

static void replay_trace(struct replay *replay)
{
	const struct trace *trace = replay->job->trace;
	size_t stride = (trace->length + REPLAY_SAMPLES - 1) / REPLAY_SAMPLES;

	for (size_t i = 0; i < trace->length; i++) {
		uint64_t resident;

		access_one(replay, trace->file[i]);
		resident = resident_now(replay);
		if (resident > replay->resident)
			replay->resident = resident;
		if ((i + 1) % replay->job->collect_every == 0)
			collect(replay);
		if ((i + 1) % stride == 0 || i + 1 == trace->length)
			send_sample(replay);
	}
}

/* The figures that are read once, at the end. */
static void replay_close(struct replay *replay, uint64_t begin)
{
	struct replay_outcome *outcome = &replay->outcome;
	size_t images, bytes;
	gc_cycle_stats stats;
	int error;

	collect(replay);
	outcome->elapsed_ns = now_ns() - begin;
	error = cache_measure(replay->cache, &images, &bytes);
	if (error == 0)
		error = gc_get_cycle_stats(&stats);
	if (error != 0)
		give_up(replay, "no figures: %s", weakref_strerror(error));
	outcome->live_images = images;
	outcome->live_bytes = bytes;
	outcome->collections = stats.collections;
	outcome->purged = stats.entries;
	outcome->pause_total_ns = stats.pause_total_ns;
	outcome->pause_max_ns = stats.pause_max_ns;
	outcome->scan_total_ns = stats.scan_total_ns;
	outcome->scan_max_ns = stats.scan_max_ns;
	outcome->heap = GC_get_heap_size();
	outcome->peak_resident = resident_peak();
}

/* Starts the library, with its limit. */
static void start_runtime(const struct replay *replay)
{
	int error = gc_init();

	/*
	 * libgc warns on stderr of large blocks and of a full heap. Both are this program's daily business: it says itself,
	 * by name, what had no room.
	 */
	if (error == 0)
		GC_set_warn_proc(GC_ignore_warn_proc);
	if (error == 0 && replay->job->heap_limit != 0)
		error = gc_set_heap_limit(replay->job->heap_limit);
	if (error != 0)
		give_up(replay, "the library did not start: %s", weakref_strerror(error));
}

static void __attribute__((noreturn)) child_main(enum cache_kind kind, const struct replay_job *job, int out)
{
	struct replay replay = {.job = job, .out = out, .statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)};
	struct record record = {.kind = RECORD_OUTCOME};
	const char *reason;
	uint64_t begin;

	stop_default();
	start_runtime(&replay);
	begin = now_ns();
	replay.state = calloc(job->files->count, 1);
	replay.cache = cache_new(kind, job->window, job->spec, &reason);
	if (replay.state == NULL || replay.cache == NULL)
		give_up(&replay, "no cache: %s", replay.cache == NULL ? reason : strerror(ENOMEM));
	replay_trace(&replay);
	replay_close(&replay, begin);
	record.u.outcome = replay.outcome;
	send_record(&replay, &record);
	/* Not exit: what stdio and atexit have here is a copy of the parent's. */
	_exit(EXIT_SUCCESS);
}

/* ---- the parent ---------------------------------------------------------------------------------------------------------- */

/* What came through the pipe so far. */
struct listener {
	enum cache_kind kind;
	const struct replay_job *job;
	unsigned char *bad;
	struct replay_result *result;
	bool finished, told;
};

static void listener_sample(struct listener *listener, const struct replay_sample *sample)
{
	struct replay_result *result = listener->result;
	char words[64];

	if (result->sample_count < REPLAY_SAMPLES)
		result->samples[result->sample_count++] = *sample;
	snprintf(words, sizeof words, "%3.0f %% hits  %.0f MiB", 100.0 * (double)sample->hits / (double)sample->accesses,
		 (double)sample->resident / (1 << 20));
	say_progress(replay_name(listener->kind), sample->accesses, listener->job->trace->length, words);
}

/* A bad file is named once, in whichever variant it comes first; one that had no room is this variant's affair. */
static void listener_failure(struct listener *listener, uint32_t file, bool lasting, const char *reason)
{
	const char *path = listener->job->files->paths[file];

	if (!lasting)
		say_of(path, "%s: %s", replay_name(listener->kind), reason);
	else if (!listener->bad[file])
		say_of(path, "%s", reason);
	if (lasting)
		listener->bad[file] = 1;
}

static void listener_take(struct listener *listener, const struct record *record)
{
	switch (record->kind) {
	case RECORD_SAMPLE:
		listener_sample(listener, &record->u.sample);
		break;
	case RECORD_FAILURE:
		listener_failure(listener, record->u.failure.file, record->u.failure.lasting, record->u.failure.reason);
		break;
	case RECORD_FATAL:
		say("%s: %s", replay_name(listener->kind), record->u.fatal);
		listener->told = true;
		break;
	case RECORD_OUTCOME:
		listener->result->outcome = record->u.outcome;
		listener->finished = true;
		break;
	}
}

/* Reads records until the child closes its end, or a signal asks to stop. */
static void listen_to_child(struct listener *listener, int in)
{
	struct record record;
	size_t have = 0;

	while (stop_requested() == 0) {
		ssize_t got = read(in, (char *)&record + have, sizeof record - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return;
		have += (size_t)got;
		if (have < sizeof record)
			continue;
		listener_take(listener, &record);
		have = 0;
	}
}

/* Says what became of a child that did not send its outcome. */
static void tell_end(enum cache_kind kind, int status)
{
	if (WIFSIGNALED(status))
		say("%s: the replay was ended by signal %d (%s)", replay_name(kind), WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	else
		say("%s: the replay ended early, with status %d", replay_name(kind), WEXITSTATUS(status));
}

int replay_run(enum cache_kind kind, const struct replay_job *job, unsigned char *bad, struct replay_result *result)
{
	struct listener listener = {.kind = kind, .job = job, .bad = bad, .result = result};
	int ends[2], status = 0;
	pid_t child;

	*result = (struct replay_result){.samples = calloc(REPLAY_SAMPLES, sizeof(struct replay_sample))};
	if (result->samples == NULL || pipe2(ends, O_CLOEXEC) != 0) {
		say("%s: %s", replay_name(kind), strerror(errno));
		return -1;
	}
	fflush(NULL);
	child = fork();
	if (child == 0) {
		close(ends[0]);
		child_main(kind, job, ends[1]);
	}
	close(ends[1]);
	if (child < 0) {
		say("%s: no process for the replay: %s", replay_name(kind), strerror(errno));
		close(ends[0]);
		return -1;
	}
	listen_to_child(&listener, ends[0]);
	close(ends[0]);
	if (stop_requested() != 0)
		kill(child, SIGTERM);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		if (stop_requested() != 0)
			kill(child, SIGTERM);
	say_progress_end();
	if (listener.finished)
		return 0;
	if (!listener.told && stop_requested() == 0)
		tell_end(kind, status);
	return -1;
}

void replay_free(struct replay_result *result)
{
	free(result->samples);
	*result = (struct replay_result){0};
}

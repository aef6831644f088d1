/* SPDX-License-Identifier: MIT */
/*
 * fetch [OPTION...] URL...: many concurrent HTTP transfers, each a task; a session that is closed once, after the last task is gone; and
 * responses in a weak cache.
 *
 * After a Python example for asyncio and aiohttp:
 *
 *     async def process_url(session, url):               process_url: called when the task's response is there
 *         result = await fetch_url(session, url)         transport_get
 *         print(f"Received response from ...")           report_response
 *     session = aiohttp.ClientSession()                  session_new, in fetch_all
 *     task = asyncio.ensure_future(process_url(...))     task_start
 *     weakref.finalize(task, session.close)              session_new: one finalizer, of what all tasks hold. With one finalizer a task,
 *                                                        as there, the first task that goes closes the session for all others
 *     await asyncio.gather(*tasks)                       gather
 *
 * The frame of fetch_all, and what it calls, is where tasks and session are held; when it has returned they are garbage, whatever state
 * they are in. A collection then cancels what was not done, and closes the session.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../demo/stop.h"
#include "report.h"
#include "session.h"

static struct options {
	struct transport_limits limits;
	const char *cache; /* the options of the cache of responses */
	double deadline; /* seconds for everything; 0 for none */
	size_t first; /* responses that are enough; 0 for all */
	unsigned long rounds;
	bool forget, quiet;
	enum report_progress progress;
} options = {
	.limits = {.max_bytes = 64 << 20, .timeout_ms = 30000, .parallel = 16, .redirects = 10},
	.cache = "weakValues",
	.rounds = 1,
};

/* Of the run. */
static size_t received, failed, cancelled;
static bool leaving; /* main has returned, or is about to */

static const char usage_text[] =
	"usage: fetch [OPTION...] URL...\n"
	"\n"
	"  --max-bytes N[K|M|G]  no body may be larger (64M)\n"
	"  --timeout SECONDS     for each transfer (30)\n"
	"  --parallel N          transfers at a time (16)\n"
	"  --redirects N         how many are followed (10)\n"
	"  --first N             enough when N responses are there: the other tasks are cancelled\n"
	"  --deadline SECONDS    for all of them: then the tasks are dropped, and the collector cancels what is left\n"
	"  --rounds N            fetch the list N times; what is held from the round before is not transferred again\n"
	"  --cache SPEC          the cache of responses, as weakref/cache.h reads it: maximumSize=100,expireAfterWrite=1m (weakValues)\n"
	"  --forget              drop tasks and responses, and collect, between two rounds\n"
	"  --progress HOW        bars, lines or none (bars on a terminal, else none)\n"
	"  --quiet               no summary\n"
	"\n"
	"Responses go to stdout, everything else to stderr. Exit status: 0 when every URL, or as many as --first asked for,\n"
	"was fetched; 1 when not; 2 when there was nothing to begin with.\n";

/* ---- the tasks ---- */

static void process_url(struct task *task)
{
	const struct response *response = task->response;

	if (response->state == RESPONSE_RECEIVED) {
		received++;
		report_response(task->url, response);
	} else {
		failed++;
		report_of(task->url, response->error != NULL ? response->error : "no memory");
	}
}

static bool enough(void)
{
	return options.first > 0 && received >= options.first;
}

static void cancel_all(struct task **tasks, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (tasks[i] != NULL && task_pending(tasks[i])) {
			task_cancel(tasks[i]);
			cancelled++;
		}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Whether there is time left; where not, says what is dropped. */
static bool in_time(double deadline, struct task **tasks, size_t n)
{
	if (deadline == 0 || now() < deadline)
		return true;
	for (size_t i = 0; i < n; i++)
		if (tasks[i] != NULL && task_pending(tasks[i])) {
			report_of(tasks[i]->url, "not done by the deadline: dropped");
			cancelled++;
		}
	return false;
}

/* Until all tasks are done, cancelled, or out of time: then false. */
static bool gather(struct transport *transport, struct task **tasks, size_t n, double deadline)
{
	while (transport->running != NULL || transport->queue != NULL) {
		if (stop_requested() || enough())
			cancel_all(tasks, n);
		else if (!in_time(deadline, tasks, n))
			return false;
		else if (transport_pump(transport, 100) != 0) {
			report("libcurl does not go on: the other tasks are cancelled");
			cancel_all(tasks, n);
		} else
			report_transfers(transport);
	}
	return !stop_requested();
}

/*
 * Makes the tasks of a round, in the places of those of the round before: while a task is made the old ones with the responses are held, so
 * that it finds them in the cache.
 */
static void start_all(struct session *session, struct task **tasks, char **urls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *why;
		struct task *task = NULL;
		char *url = transport_url(urls[i], &why);

		if (url != NULL) {
			why = "no memory";
			task = task_start(session, urls[i], url, process_url);
		}
		if (task == NULL) {
			failed++;
			report_of(urls[i], why);
		}
		tasks[i] = task;
	}
}

/* The session's last words; `closed` counts how often there were some. */
static void session_closed(const struct transport *transport)
{
	size_t closed = transport->count.closed;

	if (closed == 1 && options.quiet)
		return;
	report("%zu received, %zu failed, %zu cancelled; %zu transfers, %zu shared, %zu aborted", received, failed, cancelled,
	       transport->count.begun, transport->count.shared, transport->count.aborted);
	report("the session was closed%s%s", closed == 1 ? "" : " AGAIN", leaving ? ", at exit" : "");
}

/* Python's frame is gone when its function has returned. C's is still there, under the stack pointer, with all that was in it. */
static __attribute__((noinline)) void overwrite_dead_frames(void)
{
	volatile char stack[32768];

	for (size_t i = 0; i < sizeof stack; i++)
		stack[i] = 0;
}

/* The cache of responses, by their URLs; NULL where it cannot be, which is told. */
static weakref_cache *responses_new(void)
{
	weakref_cache_builder *builder = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	weakref_cache *cache = NULL;

	if (builder != NULL && weakref_cache_builder_spec(builder, options.cache) == 0)
		cache = weakref_cache_builder_build(builder);
	if (cache == NULL)
		report("--cache %s: %s", options.cache, builder != NULL ? weakref_cache_builder_error(builder) : strerror(errno));
	return cache;
}

/* Everything, on the frame that holds session and tasks. False where nothing could be begun. */
static __attribute__((noinline)) bool fetch_all(char **urls, size_t n)
{
	weakref_cache *responses = responses_new();
	struct session *session = responses != NULL ? session_new(&options.limits, responses, session_closed) : NULL;
	struct task **tasks = gc_alloc(n * sizeof *tasks);
	double deadline = options.deadline > 0 ? now() + options.deadline : 0;

	if (session == NULL || tasks == NULL) {
		if (responses != NULL)
			report("no session: %s", strerror(errno));
		return false;
	}
	for (unsigned long round = 0; round < options.rounds; round++) {
		if (round > 0 && options.forget) {
			memset(tasks, 0, n * sizeof *tasks);
			overwrite_dead_frames();
			gc_collect();
		}
		start_all(session, tasks, urls, n);
		if (!gather(session->transport, tasks, n, deadline) || enough())
			break;
	}
	return true;
}

/* ---- the command line ---- */

static bool read_number(const char *text, double low, double high, double *out)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= low && value <= high))
		return false;
	*out = value;
	return true;
}

static bool read_count(const char *text, unsigned long high, unsigned long *out)
{
	char *end;

	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 || value > high)
		return false;
	*out = value;
	return true;
}

static bool read_bytes(const char *text, int64_t *out)
{
	static const char units[] = "KMG";
	char digits[24];
	size_t n = strspn(text, "0123456789");
	const char *unit = text[n] != '\0' ? strchr(units, text[n]) : NULL;
	unsigned long value;
	int shift = unit != NULL ? 10 * (int)(unit - units + 1) : 0;

	if (n >= sizeof digits || (text[n] != '\0' && (unit == NULL || text[n + 1] != '\0')))
		return false;
	memcpy(digits, text, n);
	digits[n] = '\0';
	if (!read_count(digits, (unsigned long)INT64_MAX >> shift, &value))
		return false;
	*out = (int64_t)(value << shift);
	return true;
}

static bool read_progress(const char *text)
{
	static const char *const names[] = {[REPORT_NOTHING] = "none", [REPORT_LINES] = "lines", [REPORT_BARS] = "bars"};

	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(text, names[i]) == 0) {
			options.progress = (enum report_progress)i;
			return true;
		}
	return false;
}

enum {
	OPTION_MAX_BYTES = 256,
	OPTION_TIMEOUT,
	OPTION_PARALLEL,
	OPTION_REDIRECTS,
	OPTION_FIRST,
	OPTION_DEADLINE,
	OPTION_ROUNDS,
	OPTION_CACHE,
	OPTION_FORGET,
	OPTION_PROGRESS,
	OPTION_QUIET,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{"max-bytes", required_argument, NULL, OPTION_MAX_BYTES},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"parallel", required_argument, NULL, OPTION_PARALLEL},
	{"redirects", required_argument, NULL, OPTION_REDIRECTS},
	{"first", required_argument, NULL, OPTION_FIRST},
	{"deadline", required_argument, NULL, OPTION_DEADLINE},
	{"rounds", required_argument, NULL, OPTION_ROUNDS},
	{"cache", required_argument, NULL, OPTION_CACHE},
	{"forget", no_argument, NULL, OPTION_FORGET},
	{"progress", required_argument, NULL, OPTION_PROGRESS},
	{"quiet", no_argument, NULL, OPTION_QUIET},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

static bool read_option(int option, const char *value)
{
	unsigned long count = 0;
	double seconds = 0;

	switch (option) {
	case OPTION_MAX_BYTES:
		return read_bytes(value, &options.limits.max_bytes);
	case OPTION_TIMEOUT:
		if (!read_number(value, 0.001, 1e6, &seconds))
			return false;
		options.limits.timeout_ms = (long)(seconds * 1000);
		return true;
	case OPTION_PARALLEL:
		if (!read_count(value, 10000, &count))
			return false;
		options.limits.parallel = count;
		return true;
	case OPTION_REDIRECTS:
		/* One count that may be 0. */
		if (strcmp(value, "0") != 0 && !read_count(value, 1000, &count))
			return false;
		options.limits.redirects = (long)count;
		return true;
	case OPTION_FIRST:
		return read_count(value, SIZE_MAX, &options.first);
	case OPTION_DEADLINE:
		return read_number(value, 0.001, 1e9, &options.deadline);
	case OPTION_ROUNDS:
		return read_count(value, 1000000, &options.rounds);
	case OPTION_CACHE:
		options.cache = value;
		return true;
	case OPTION_FORGET:
		options.forget = true;
		return true;
	case OPTION_PROGRESS:
		return read_progress(value);
	case OPTION_QUIET:
		options.quiet = true;
		return true;
	default:
		return false;
	}
}

/* The index of the first URL; ends the program where it has been told all that it was asked for, or nonsense. */
static int read_command_line(int argc, char **argv)
{
	int option;

	options.progress = isatty(STDERR_FILENO) ? REPORT_BARS : REPORT_NOTHING;
	while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		if (option == OPTION_HELP || option == 'h') {
			fputs(usage_text, stdout);
			exit(0);
		}
		if (option != '?' && !read_option(option, optarg))
			fprintf(stderr, "fetch: %s: not possible here\n", optarg);
		else if (option != '?')
			continue;
		fputs("fetch --help tells what is\n", stderr);
		exit(2);
	}
	if (optind == argc) {
		fputs(usage_text, stderr);
		exit(2);
	}
	report_begin(options.progress);
	return optind;
}

int main(int argc, char **argv)
{
	int first = read_command_line(argc, argv);

	/* Before the first finalizer is made, so that both run after the last one at exit: a signal's death would run none. */
	if (atexit(stop_now) != 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || atexit(curl_global_cleanup) != 0) {
		report("libcurl does not start");
		return 2;
	}
	int error = gc_init();
	if (error == 0)
		error = gc_set_delivery(WEAKREF_DELIVER_MANUAL);
	if (error != 0) {
		report("the collector does not start: %s", weakref_strerror(error));
		return 2;
	}
	stop_catch();
	bool begun = fetch_all(argv + first, (size_t)(argc - first));
	overwrite_dead_frames();
	gc_collect();
	gc_run_callbacks();
	report_clear();
	/* What a stray word has kept is finalized at exit. */
	leaving = true;
	if (!begun)
		return 2;
	return enough() || (failed == 0 && cancelled == 0) ? 0 : 1;
}

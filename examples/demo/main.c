/* SPDX-License-Identifier: MIT */
/*
 * imagecache: one job, a cache of decoded images, done twice: with a dictionary that keeps all it was given, and with a
 * weak-value dictionary, whose entries last as long as somebody uses the image; with --cache a third time, with a cache made by a
 * spec. The figures and the chart show what they save, and what it costs.
 *
 * Parts: pictures draws sample files, files finds PNG files, trace says which are asked for, replay runs one variant in a
 * process of its own (image decodes, cache stores), table and chart show the outcome, say and stop are for messages and
 * signals.
 *
 * This process never starts libgc: it only forks those that do. Exit status: 0; 1 where a file was bad or something failed;
 * 2 for a usage error.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chart.h"
#include "files.h"
#include "pictures.h"
#include "replay.h"
#include "say.h"
#include "stop.h"
#include "table.h"
#include "trace.h"

#define EXIT_USAGE 2

struct options {
	/* NULL: draw pictures. */
	const char *folder;
	/* Where to draw and keep them; NULL: in a temporary folder. */
	const char *pictures;
	const char *chart;
	/* Of the third variant; NULL: there is none. */
	const char *cache;
	bool draw_only, help;
	uint64_t count, accesses, window, collect_every, seed, heap_limit_mib, max_image_mib;
	double skew;
};

static const struct options defaults = {
	.chart = "imagecache.png",
	.count = 300,
	.accesses = 6000,
	.window = 80,
	.collect_every = 50,
	.seed = 1,
	.max_image_mib = 64,
	.skew = 1.4,
};

enum { OPT_CACHE = 256, OPT_CHART, OPT_COUNT, OPT_PICTURES, OPT_DRAW_ONLY, OPT_HEAP_LIMIT, OPT_MAX_IMAGE, OPT_SKEW };

static const struct option long_options[] = {
	{"accesses", required_argument, NULL, 'n'},
	{"window", required_argument, NULL, 'w'},
	{"collect-every", required_argument, NULL, 'c'},
	{"seed", required_argument, NULL, 's'},
	{"skew", required_argument, NULL, OPT_SKEW},
	{"heap-limit", required_argument, NULL, OPT_HEAP_LIMIT},
	{"max-image", required_argument, NULL, OPT_MAX_IMAGE},
	{"cache", required_argument, NULL, OPT_CACHE},
	{"chart", required_argument, NULL, OPT_CHART},
	{"count", required_argument, NULL, OPT_COUNT},
	{"pictures", required_argument, NULL, OPT_PICTURES},
	{"draw-only", no_argument, NULL, OPT_DRAW_ONLY},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static void print_help(void)
{
	printf("Usage: imagecache [OPTION]... [DIR]\n"
	       "Decodes the PNG files in DIR and below it on demand, as a skewed trace of accesses asks for\n"
	       "them, once with a cache that is a plain dictionary, once with a weak-value dictionary.\n"
	       "Prints a table of both, and draws a chart of their memory. Without DIR it draws pictures of\n"
	       "its own first.\n\n"
	       "The replay:\n"
	       "  -n, --accesses N       length of the trace (default %llu)\n"
	       "  -w, --window N         images that the weak variant holds strongly: the last N used (%llu)\n"
	       "  -c, --collect-every N  ask for a collection every N accesses, in both variants (%llu)\n"
	       "  -s, --seed N           of the trace and of the drawn pictures (%llu)\n"
	       "      --skew X           exponent of Zipf's law; 0 asks for all files alike (%g)\n"
	       "      --heap-limit MIB   the collected heap may not grow beyond this (default: no limit)\n"
	       "      --max-image MIB    refuse pictures that are larger when decoded (%llu)\n"
	       "      --cache SPEC       a third variant: a cache of these options, such as\n"
	       "                         weakValues,maximumSize=80 or maximumWeight=50000000 (bytes)\n"
	       "      --chart FILE       where to write the chart (%s)\n\n"
	       "Pictures of its own:\n"
	       "      --count N          how many to draw (%llu)\n"
	       "      --pictures DIR     draw into DIR and keep them (default: a temporary folder, removed)\n"
	       "      --draw-only        draw, and stop; needs --pictures\n\n"
	       "  -h, --help             this text\n\n"
	       "Bad files are named on stderr, and the job goes on. Exit status: 0 when all went well, 1 when\n"
	       "a file was bad or the job could not be done, 2 for a usage error.\n",
	       (unsigned long long)defaults.accesses, (unsigned long long)defaults.window,
	       (unsigned long long)defaults.collect_every, (unsigned long long)defaults.seed, defaults.skew, (unsigned long long)defaults.max_image_mib, defaults.chart,
	       (unsigned long long)defaults.count);
}

/* Reads a whole number from low to high; reports what is none. */
static int read_number(const char *option, const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
	unsigned long long value = 0;
	char *end = NULL;

	errno = 0;
	/* strtoull takes "-1" for a large number. */
	if (*text >= '0' && *text <= '9')
		value = strtoull(text, &end, 10);
	if (end == NULL || *end != '\0' || errno != 0 || value < low || value > high) {
		say("--%s: '%s' is not a whole number from %llu to %llu", option, text, (unsigned long long)low,
		    (unsigned long long)high);
		return -1;
	}
	*out = value;
	return 0;
}

static int read_skew(const char *text, double *out)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= 0 && value <= 10)) {
		say("--skew: '%s' is not a number from 0 to 10", text);
		return -1;
	}
	*out = value;
	return 0;
}

/* Takes one option. Returns 0, or -1 after a report (getopt's own for an unknown option). */
static int take_option(struct options *options, int option)
{
	switch (option) {
	case 'n':
		return read_number("accesses", optarg, 1, 10000000, &options->accesses);
	case 'w':
		return read_number("window", optarg, 1, 1000000, &options->window);
	case 'c':
		return read_number("collect-every", optarg, 1, 10000000, &options->collect_every);
	case 's':
		return read_number("seed", optarg, 0, UINT64_MAX, &options->seed);
	case OPT_SKEW:
		return read_skew(optarg, &options->skew);
	case OPT_HEAP_LIMIT:
		return read_number("heap-limit", optarg, 1, 1 << 20, &options->heap_limit_mib);
	case OPT_MAX_IMAGE:
		return read_number("max-image", optarg, 1, 1 << 12, &options->max_image_mib);
	case OPT_COUNT:
		return read_number("count", optarg, 1, 9999, &options->count);
	case OPT_CACHE:
		options->cache = optarg;
		return 0;
	case OPT_CHART:
		options->chart = optarg;
		return 0;
	case OPT_PICTURES:
		options->pictures = optarg;
		return 0;
	case OPT_DRAW_ONLY:
		options->draw_only = true;
		return 0;
	case 'h':
		options->help = true;
		return 0;
	default:
		return -1;
	}
}

/* Reads the command line. Returns 0, or -1 after a report. */
static int read_options(struct options *options, int argc, char **argv)
{
	int option;

	*options = defaults;
	while ((option = getopt_long(argc, argv, "n:w:c:s:h", long_options, NULL)) != -1)
		if (take_option(options, option) != 0)
			return -1;
	if (options->help)
		return 0;
	if (argc - optind > 1) {
		say("one folder at most, but there is also '%s'", argv[optind + 1]);
		return -1;
	}
	options->folder = optind < argc ? argv[optind] : NULL;
	if (options->folder != NULL && options->pictures != NULL) {
		say("--pictures draws pictures of its own: it cannot be given together with the folder '%s'", options->folder);
		return -1;
	}
	if (options->draw_only && options->pictures == NULL) {
		say("--draw-only needs --pictures DIR");
		return -1;
	}
	return 0;
}

/* Replays the variants, prints the table, draws the chart. Returns the exit status. */
static int compare(const struct options *options, const struct files *files, const struct trace *trace)
{
	struct replay_job job = {
		.files = files,
		.trace = trace,
		.window = options->window,
		.collect_every = options->collect_every,
		.heap_limit = (size_t)options->heap_limit_mib << 20,
		.max_image = (size_t)options->max_image_mib << 20,
		.spec = options->cache,
		.kinds = options->cache != NULL ? CACHE_KINDS : CACHE_BUILT,
	};
	struct replay_result results[CACHE_KINDS] = {0};
	unsigned char *bad = calloc(files->count, 1);
	int status = EXIT_FAILURE, kind;

	if (bad == NULL)
		say("%s", strerror(ENOMEM));
	for (kind = 0; bad != NULL && kind < job.kinds; kind++)
		if (replay_run((enum cache_kind)kind, &job, bad, &results[kind]) != 0)
			break;
	if (kind == job.kinds) {
		status = EXIT_SUCCESS;
		table_print(results, job.kinds);
		for (kind = 0; kind < job.kinds; kind++)
			if (results[kind].outcome.failures > 0)
				status = EXIT_FAILURE;
		if (chart_write(options->chart, &job, results) == 0)
			printf("chart: %s\n", options->chart);
		else
			status = EXIT_FAILURE;
	}
	for (kind = 0; kind < CACHE_KINDS; kind++)
		replay_free(&results[kind]);
	free(bad);
	return status;
}

/* Does the job on the PNG files of a folder. Returns the exit status. */
static int run_on_folder(const struct options *options, const char *folder)
{
	struct files files;
	struct trace trace;
	int status;

	if (files_find(&files, folder) != 0)
		return EXIT_FAILURE;
	if (trace_make(&trace, options->accesses, files.count, options->seed, options->skew) != 0) {
		say("a trace of %llu accesses: %s", (unsigned long long)options->accesses, strerror(errno));
		files_free(&files);
		return EXIT_FAILURE;
	}
	status = compare(options, &files, &trace);
	if (files.failures > 0)
		status = EXIT_FAILURE;
	trace_free(&trace);
	files_free(&files);
	return status;
}

static int run_on_own_pictures(const struct options *options)
{
	struct pictures pictures;
	int status = EXIT_FAILURE;

	if (pictures_render(&pictures, options->pictures, options->count, options->seed) == 0) {
		if (options->draw_only)
			status = EXIT_SUCCESS;
		else
			status = run_on_folder(options, pictures.folder);
	}
	pictures_remove(&pictures);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	int status;

	if (read_options(&options, argc, argv) != 0) {
		fputs("Try 'imagecache --help'.\n", stderr);
		return EXIT_USAGE;
	}
	if (options.help) {
		print_help();
		status = EXIT_SUCCESS;
	} else {
		stop_catch();
		status = options.folder != NULL ? run_on_folder(&options, options.folder) : run_on_own_pictures(&options);
		stop_now();
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		say("the output could not be written: %s", strerror(errno));
		status = EXIT_FAILURE;
	}
	return status;
}

/* SPDX-License-Identifier: MIT */
/*
 * hitratio TRACE... [-c SIZES] [-o FILE] [-s SEED]: how many of a trace's accesses find their key in a cache, in percent, for the library's
 * cache and for well-known policies, at several sizes; a table for each trace, and one chart of all (hitratio.png).
 *
 *     TRACE      a file of one key a line, plain or gzip, of which :odd, :even, :first or :last takes half; or zipf, scan, loop, shifting,
 *                mixed: generated, with other parameters as in zipf:keys=5000,skew=0.7 (bench/trace.h)
 *     -c SIZES   separated by commas, in entries, or with % in percent of the trace's distinct keys
 *     -s SEED    of the generated traces
 *
 * The last columns: the best of the policies that do not know the future, and how far ahead of it the library's cache is, in percentage
 * points; a line is marked where it is more than one behind. Exit status 1 when there is such a line. At the end, of all traces, the
 * library's ratio and how far ahead it is, once more in one table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chart.h"
#include "hit_ours.h"
#include "rivals.h"
#include "trace.h"

#define SIZES "1%,2%,5%,10%,20%,30%,40%,50%"

static int usage(void)
{
	fputs("usage: hitratio TRACE... [-c SIZES] [-o FILE.png] [-s SEED]\n"
	      "TRACE: a file of one key a line, plain or gzip, half of it with :odd, :even, :first or :last after its name;\n"
	      "       or zipf, scan, loop, shifting, mixed, also as zipf:keys=5000,skew=0.7\n"
	      "SIZES: " SIZES ", or other percentages of the distinct keys, or numbers of entries\n", stderr);
	return 2;
}

struct options {
	const char *output;
	uint64_t seed;
	size_t n;
	double sizes[CHART_POINTS];
	bool percent[CHART_POINTS];
};

static bool parse_sizes(struct options *options, const char *text)
{
	char *end;

	for (options->n = 0; options->n < CHART_POINTS; text = end + 1) {
		double size = strtod(text, &end);
		bool percent = *end == '%';

		end += percent;
		if (end == text || !(size > 0 && size < 1e9) || (percent && size > 100) || (*end != ',' && *end != '\0'))
			return false;
		options->sizes[options->n] = size;
		options->percent[options->n++] = percent;
		if (*end == '\0')
			return true;
	}
	return false;
}

static size_t capacity_of(const struct options *options, size_t i, const struct trace *trace)
{
	double size = options->percent[i] ? options->sizes[i] / 100 * (double)trace->distinct : options->sizes[i];

	return size < 1 ? 1 : (size_t)size;
}

/* One line of the table. How far ours is ahead of the best of those that do not know the future. */
static double measure(const struct options *options, size_t i, const struct trace *trace, struct chart_panel *panel)
{
	size_t capacity = capacity_of(options, i, trace);
	double best = 0, ours;
	const char *name = "-";

	snprintf(panel->labels[i], sizeof panel->labels[i], options->percent[i] ? "%g%%" : "%g", options->sizes[i]);
	printf("%7s %8zu", panel->labels[i], capacity);
	for (size_t r = 0; r < RIVALS; r++) {
		double ratio = 100.0 * (double)rivals[r].hits(trace, capacity) / (double)trace->n;

		panel->at[r][i] = ratio;
		printf(" %7.2f", ratio);
		if (!rivals[r].offline && ratio > best) {
			best = ratio;
			name = rivals[r].name;
		}
	}
	ours = panel->at[RIVALS][i] = 100.0 * (double)ours_hits(trace, capacity) / (double)trace->n;
	printf(" %7.2f   %-7s %7.2f %+7.2f%s\n", ours, name, best, ours - best, ours - best < -1 ? " *" : "");
	fflush(stdout);
	panel->ahead[i] = ours - best;
	return ours - best;
}

static void summarize(const struct options *options, const struct chart_panel *panels, size_t n)
{
	printf("\n%-14s", "");
	for (size_t i = 0; i < options->n; i++)
		printf(" %13s", panels[0].labels[i]);
	for (size_t t = 0; t < n; t++) {
		printf("\n%-14s", panels[t].title);
		/* A long name has a line. */
		if (strlen(panels[t].title) > 14)
			printf("\n%-14s", "");
		for (size_t i = 0; i < options->n; i++)
			printf(" %6.2f %+6.2f", panels[t].at[RIVALS][i], panels[t].ahead[i]);
	}
	putchar('\n');
}

static bool run(const struct options *options, const char *name, struct chart_panel *panel, double *worst)
{
	struct trace trace;

	if (!trace_load(&trace, name, options->seed))
		return false;
	/* It is part of name. */
	panel->title = trace.name;
	panel->points = options->n;
	printf("%s: %zu accesses, %zu keys\n%7s %8s", trace.name, trace.n, trace.distinct, "size", "entries");
	for (size_t r = 0; r < RIVALS; r++)
		printf(" %7s", rivals[r].name);
	printf(" %7s   %-15s %7s\n", "ours", "best online", "ahead");
	for (size_t i = 0; i < options->n; i++) {
		double ahead = measure(options, i, &trace, panel);

		*worst = ahead < *worst ? ahead : *worst;
	}
	trace_free(&trace);
	return true;
}

static bool write_chart(const struct options *options, struct chart_panel *panels, size_t n)
{
	struct chart chart = {.title = "Hit ratio by cache size (of the distinct keys)", .lines = RIVALS + 1, .panels = n, .panel = panels};

	for (size_t r = 0; r < RIVALS; r++)
		chart.names[r] = rivals[r].name;
	chart.names[RIVALS] = "this library";
	if (chart_write(&chart, options->output))
		return true;
	fprintf(stderr, "hitratio: %s cannot be written\n", options->output);
	return false;
}

int main(int argc, char **argv)
{
	struct options options = {.output = "hitratio.png", .seed = 1};
	struct chart_panel *panels;
	double worst = 100;
	bool good = true;
	size_t n;
	int c;

	parse_sizes(&options, SIZES);
	while ((c = getopt(argc, argv, "c:o:s:")) != -1) {
		if (c == 'o')
			options.output = optarg;
		else if (c == 's')
			options.seed = strtoull(optarg, NULL, 10);
		else if (c != 'c' || !parse_sizes(&options, optarg))
			return usage();
	}
	if (optind == argc)
		return usage();
	if (!ours_init()) {
		fputs("hitratio: the collector cannot be used\n", stderr);
		return 3;
	}
	n = (size_t)(argc - optind);
	panels = calloc(n, sizeof *panels);
	if (panels == NULL)
		return 3;
	for (size_t i = 0; i < n && good; i++)
		good = run(&options, argv[(size_t)optind + i], &panels[i], &worst);
	if (good)
		summarize(&options, panels, n);
	good = good && write_chart(&options, panels, n);
	free(panels);
	if (!good)
		return 3;
	printf("worst: %+.2f\n", worst);
	return worst < -1;
}

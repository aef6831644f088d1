/* SPDX-License-Identifier: MIT */
/*
 * chart: see chart.h. Drawn with cairo, from back to front: frame and grid, areas, lines, peaks, legend.
 *
 * Each curve shows, for each sample, the highest resident size since the sample before; so a peak between two samples is
 * seen too.
 */
#include "chart.h"

#include <cairo.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "say.h"

#define LEFT 96.0
#define RIGHT (CHART_WIDTH - 40.0)
#define TOP 104.0
#define BOTTOM (CHART_HEIGHT - 84.0)

static const double colours[CACHE_KINDS][3] = {[CACHE_PLAIN] = {0.82, 0.33, 0.20}, [CACHE_WEAK] = {0.11, 0.42, 0.68},
						   [CACHE_BUILT] = {0.16, 0.55, 0.25}};

struct chart {
	cairo_t *cr;
	const struct replay_job *job;
	const struct replay_result *results;
	/* Values at the ends of the axes: accesses and MiB. */
	double x_max, y_max;
};

static double x_of(const struct chart *chart, double accesses)
{
	return LEFT + (RIGHT - LEFT) * accesses / chart->x_max;
}

static double y_of(const struct chart *chart, double mib)
{
	return BOTTOM - (BOTTOM - TOP) * mib / chart->y_max;
}

static double in_mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* A step of 1, 2 or 5 times a power of ten that gives an axis about `ticks` ticks. */
static double tick_step(double range, int ticks)
{
	double raw = range / ticks, power = pow(10, floor(log10(raw))), lead = raw / power;

	return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

/* Text at a point; `anchor` 0 puts its left end there, 0.5 its middle, 1 its right end. */
static void text_at(const struct chart *chart, double x, double y, double anchor, double size, cairo_font_weight_t weight,
		    const char *text)
{
	cairo_text_extents_t extents;

	cairo_select_font_face(chart->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, weight);
	cairo_set_font_size(chart->cr, size);
	cairo_text_extents(chart->cr, text, &extents);
	cairo_move_to(chart->cr, x - anchor * extents.x_advance, y);
	cairo_show_text(chart->cr, text);
	/* Text leaves a current point, which the next arc would be joined to. */
	cairo_new_path(chart->cr);
}

static void set_ink(const struct chart *chart, double grey)
{
	cairo_set_source_rgb(chart->cr, grey, grey, grey);
}

static void set_colour(const struct chart *chart, enum cache_kind kind, double alpha)
{
	cairo_set_source_rgba(chart->cr, colours[kind][0], colours[kind][1], colours[kind][2], alpha);
}

/* The highest sample of a curve; NULL where it has none. */
static const struct replay_sample *peak_of(const struct replay_result *result)
{
	const struct replay_sample *peak = NULL;

	for (size_t i = 0; i < result->sample_count; i++)
		if (peak == NULL || result->samples[i].resident > peak->resident)
			peak = &result->samples[i];
	return peak;
}

static void chart_scale(struct chart *chart)
{
	double highest = 1;

	for (int kind = 0; kind < chart->job->kinds; kind++) {
		const struct replay_sample *peak = peak_of(&chart->results[kind]);

		if (peak != NULL)
			highest = fmax(highest, in_mib(peak->resident));
	}
	chart->x_max = (double)chart->job->trace->length;
	/* Room above the highest point for its label, and the axis ends on a tick. */
	chart->y_max = highest * 1.15;
	chart->y_max = ceil(chart->y_max / tick_step(chart->y_max, 8)) * tick_step(chart->y_max, 8);
}

static void draw_title(const struct chart *chart)
{
	char text[200];

	cairo_set_source_rgb(chart->cr, 1, 1, 1);
	cairo_paint(chart->cr);
	set_ink(chart, 0.1);
	text_at(chart, LEFT, 44, 0, 25, CAIRO_FONT_WEIGHT_BOLD, "imagecache: memory of a cache of images, plain and weak");
	snprintf(text, sizeof text,
		 "%zu accesses to %zu PNG files; the weak one holds the last %zu images used; collection every %zu accesses",
		 chart->job->trace->length, chart->job->files->count, chart->job->window, chart->job->collect_every);
	set_ink(chart, 0.35);
	text_at(chart, LEFT, 74, 0, 16, CAIRO_FONT_WEIGHT_NORMAL, text);
}

static void draw_axes(const struct chart *chart)
{
	double step;
	char text[32];

	cairo_set_line_width(chart->cr, 1);
	step = tick_step(chart->y_max, 8);
	for (double mib = 0; mib <= chart->y_max * 1.0001; mib += step) {
		double y = floor(y_of(chart, mib)) + 0.5;

		set_ink(chart, mib > 0 ? 0.88 : 0.3);
		cairo_move_to(chart->cr, LEFT, y);
		cairo_line_to(chart->cr, RIGHT, y);
		cairo_stroke(chart->cr);
		snprintf(text, sizeof text, "%g", mib);
		set_ink(chart, 0.25);
		text_at(chart, LEFT - 10, y + 5, 1, 15, CAIRO_FONT_WEIGHT_NORMAL, text);
	}
	step = fmax(1, tick_step(chart->x_max, 8));
	for (double accesses = 0; accesses <= chart->x_max * 1.0001; accesses += step) {
		double x = floor(x_of(chart, accesses)) + 0.5;

		set_ink(chart, 0.3);
		cairo_move_to(chart->cr, x, BOTTOM);
		cairo_line_to(chart->cr, x, BOTTOM + 6);
		cairo_stroke(chart->cr);
		snprintf(text, sizeof text, "%.0f", accesses);
		set_ink(chart, 0.25);
		text_at(chart, x, BOTTOM + 25, 0.5, 15, CAIRO_FONT_WEIGHT_NORMAL, text);
	}
	set_ink(chart, 0.1);
	text_at(chart, (LEFT + RIGHT) / 2, BOTTOM + 58, 0.5, 17, CAIRO_FONT_WEIGHT_NORMAL, "accesses");
	cairo_save(chart->cr);
	cairo_translate(chart->cr, 30, (TOP + BOTTOM) / 2);
	cairo_rotate(chart->cr, -M_PI / 2);
	text_at(chart, 0, 0, 0.5, 17, CAIRO_FONT_WEIGHT_NORMAL, "resident memory (MiB)");
	cairo_restore(chart->cr);
}

/* The curve as a path. */
static void trace_curve(const struct chart *chart, enum cache_kind kind)
{
	const struct replay_result *result = &chart->results[kind];

	for (size_t i = 0; i < result->sample_count; i++) {
		const struct replay_sample *sample = &result->samples[i];

		cairo_line_to(chart->cr, x_of(chart, (double)sample->accesses), y_of(chart, in_mib(sample->resident)));
	}
}

static void draw_area(const struct chart *chart, enum cache_kind kind)
{
	const struct replay_result *result = &chart->results[kind];

	if (result->sample_count == 0)
		return;
	cairo_move_to(chart->cr, x_of(chart, (double)result->samples[0].accesses), BOTTOM);
	trace_curve(chart, kind);
	cairo_line_to(chart->cr, x_of(chart, (double)result->samples[result->sample_count - 1].accesses), BOTTOM);
	cairo_close_path(chart->cr);
	set_colour(chart, kind, 0.14);
	cairo_fill(chart->cr);
}

static void draw_curve(const struct chart *chart, enum cache_kind kind)
{
	cairo_new_path(chart->cr);
	trace_curve(chart, kind);
	set_colour(chart, kind, 1);
	cairo_set_line_width(chart->cr, 2.5);
	cairo_set_line_join(chart->cr, CAIRO_LINE_JOIN_ROUND);
	cairo_stroke(chart->cr);
}

/* A dot on the highest point, and its value. */
static void draw_peak(const struct chart *chart, enum cache_kind kind)
{
	const struct replay_sample *peak = peak_of(&chart->results[kind]);
	double x, y;
	char text[64];

	if (peak == NULL)
		return;
	x = x_of(chart, (double)peak->accesses);
	y = y_of(chart, in_mib(peak->resident));
	cairo_arc(chart->cr, x, y, 6, 0, 2 * M_PI);
	cairo_set_source_rgb(chart->cr, 1, 1, 1);
	cairo_fill_preserve(chart->cr);
	set_colour(chart, kind, 1);
	cairo_set_line_width(chart->cr, 2.5);
	cairo_stroke(chart->cr);
	snprintf(text, sizeof text, "peak %.0f MiB", in_mib(peak->resident));
	text_at(chart, x, y - 14, x > (LEFT + RIGHT) / 2 ? 1 : 0, 18, CAIRO_FONT_WEIGHT_BOLD, text);
}

static void draw_legend(const struct chart *chart)
{
	double x = LEFT + 22, y = TOP + 26;

	cairo_rectangle(chart->cr, x - 8, y - 24, 500, 14 + 28 * chart->job->kinds);
	cairo_set_source_rgba(chart->cr, 1, 1, 1, 0.85);
	cairo_fill(chart->cr);
	for (int kind = 0; kind < chart->job->kinds; kind++, y += 28) {
		const struct replay_outcome *outcome = &chart->results[kind].outcome;
		double hits = outcome->accesses == 0 ? 0 : 100.0 * (double)outcome->hits / (double)outcome->accesses;
		char text[160];

		set_colour(chart, (enum cache_kind)kind, 1);
		cairo_set_line_width(chart->cr, 5);
		cairo_move_to(chart->cr, x, y - 5);
		cairo_line_to(chart->cr, x + 34, y - 5);
		cairo_stroke(chart->cr);
		snprintf(text, sizeof text, "%s: %.0f %% hits, %llu decodes, %llu images at the end",
			 replay_name((enum cache_kind)kind), hits, (unsigned long long)outcome->decodes,
			 (unsigned long long)outcome->live_images);
		set_ink(chart, 0.1);
		text_at(chart, x + 44, y, 0, 16, CAIRO_FONT_WEIGHT_NORMAL, text);
	}
}

static void chart_draw(struct chart *chart)
{
	chart_scale(chart);
	draw_title(chart);
	draw_axes(chart);
	for (int kind = 0; kind < chart->job->kinds; kind++)
		draw_area(chart, (enum cache_kind)kind);
	for (int kind = 0; kind < chart->job->kinds; kind++)
		draw_curve(chart, (enum cache_kind)kind);
	draw_legend(chart);
	for (int kind = 0; kind < chart->job->kinds; kind++)
		draw_peak(chart, (enum cache_kind)kind);
}

int chart_write(const char *path, const struct replay_job *job, const struct replay_result results[CACHE_KINDS])
{
	cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, CHART_WIDTH, CHART_HEIGHT);
	struct chart chart = {.cr = cairo_create(surface), .job = job, .results = results};
	cairo_status_t status;

	chart_draw(&chart);
	status = cairo_status(chart.cr);
	errno = 0;
	if (status == CAIRO_STATUS_SUCCESS)
		status = cairo_surface_write_to_png(surface, path);
	if (status != CAIRO_STATUS_SUCCESS)
		say_of(path, "the chart cannot be written: %s", errno != 0 ? strerror(errno) : cairo_status_to_string(status));
	cairo_destroy(chart.cr);
	cairo_surface_destroy(surface);
	return status == CAIRO_STATUS_SUCCESS ? 0 : -1;
}

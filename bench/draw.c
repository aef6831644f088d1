/* SPDX-License-Identifier: MIT */
/*
 * draw PNG [FIGURES]: a picture of what weakbench prints, of sizes that differ: three panels, logarithmic on both axes, one under the
 * other: dictionaries, references and finalizers, and the overhead of a collection. Where a figure is there more than once, its
 * median counts. libweakref's curves are solid, any other runtime's dashed. FIGURES: a file; by default what comes in.
 *
 * Deliberately not here: anything that runs or measures.
 */
#include <cairo.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 1300
#define PANEL_HEIGHT 470
#define LEFT 90.0
#define RIGHT 930.0
#define PANEL_TOP 66.0
#define PANEL_BOTTOM (PANEL_HEIGHT - 64.0)
#define NAME 64

#define FIGURES_MAX 65536
#define PASSES_MAX 256
#define CURVES_MAX 64

struct figure {
	char name[NAME]; /* workload.metric */
	char runtime[NAME];
	double size, value;
};

static struct figure figures[FIGURES_MAX];
static size_t figure_count;

/* What is drawn: one colour for each name. */
static const struct panel {
	const char *title, *names[5];
} panels[] = {
	{"dictionaries: ns per operation", {"wvd_insert.time", "wvd_get_hit.time", "wkd_insert.time", "wkd_get_hit.time"}},
	{"references and finalizers: ns per operation", {"ref_new.time", "ref_get.time", "fin_register.time", "fin_run.time"}},
	{"a collection with all entries live: overhead, ns per entry",
	 {"wvd_gc_live.overhead_per_entry", "wkd_gc_live.overhead_per_entry"}},
};

#define PANELS (sizeof panels / sizeof *panels)

static const double colours[][3] = {{0.11, 0.42, 0.68}, {0.82, 0.33, 0.20}, {0.20, 0.58, 0.30}, {0.55, 0.33, 0.65}};

struct curve {
	const char *name, *runtime;
	int colour;
	size_t count;
	double sizes[64], values[64];
};

struct axes {
	cairo_t *cr;
	double top; /* of the panel */
	/* Decades. */
	double x_low, x_high, y_low, y_high;
};

static void die(const char *what)
{
	fprintf(stderr, "draw: %s\n", what);
	exit(3);
}

/* ---- figures ---- */

static void figures_read(FILE *in)
{
	char line[512], workload[NAME], runtime[NAME], metric[NAME];
	double size, value;

	while (fgets(line, sizeof line, in) != NULL) {
		if (line[0] == '#' || sscanf(line, "%30s %63s %lf %30s %lf", workload, runtime, &size, metric, &value) != 5)
			continue;
		if (figure_count == FIGURES_MAX)
			die("too many figures");
		struct figure *figure = &figures[figure_count++];
		snprintf(figure->name, NAME, "%.30s.%.30s", workload, metric);
		memcpy(figure->runtime, runtime, NAME);
		figure->size = size;
		figure->value = value;
	}
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static bool figure_is(const struct figure *figure, const char *name, const char *runtime)
{
	return strcmp(figure->name, name) == 0 && strcmp(figure->runtime, runtime) == 0;
}

static double median_at(const struct curve *curve, double size)
{
	double values[PASSES_MAX];
	size_t count = 0;

	for (size_t i = 0; i < figure_count && count < PASSES_MAX; i++)
		if (figures[i].size == size && figure_is(&figures[i], curve->name, curve->runtime))
			values[count++] = figures[i].value;
	qsort(values, count, sizeof *values, compare_doubles);
	return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* A logarithm has no place for what is not above 0, which a difference of two times may be: such points are left out. */
static void curve_fill(struct curve *curve)
{
	for (size_t i = 0; i < figure_count && curve->count < 64; i++) {
		if (!figure_is(&figures[i], curve->name, curve->runtime))
			continue;
		size_t at = 0;
		while (at < curve->count && curve->sizes[at] != figures[i].size)
			at++;
		double value = median_at(curve, figures[i].size);
		if (at < curve->count || value <= 0)
			continue;
		for (at = curve->count++; at > 0 && curve->sizes[at - 1] > figures[i].size; at--) {
			curve->sizes[at] = curve->sizes[at - 1];
			curve->values[at] = curve->values[at - 1];
		}
		curve->sizes[at] = figures[i].size;
		curve->values[at] = value;
	}
}

/* The curves of a panel: each name by each runtime that has it. */
static size_t curves_of(const struct panel *panel, struct curve *curves)
{
	size_t count = 0;

	for (int name = 0; panel->names[name] != NULL; name++)
		for (size_t i = 0; i < figure_count; i++) {
			bool known = strcmp(figures[i].name, panel->names[name]) != 0;
			for (size_t j = 0; j < count && !known; j++)
				known = figure_is(&figures[i], curves[j].name, curves[j].runtime);
			if (known || count == CURVES_MAX)
				continue;
			curves[count] = (struct curve){.name = panel->names[name], .runtime = figures[i].runtime, .colour = name};
			curve_fill(&curves[count]);
			count += curves[count].count != 0;
		}
	return count;
}

/* ---- drawing ---- */

static double x_of(const struct axes *axes, double size)
{
	return LEFT + (RIGHT - LEFT) * (log10(size) - axes->x_low) / (axes->x_high - axes->x_low);
}

static double y_of(const struct axes *axes, double value)
{
	return axes->top + PANEL_BOTTOM - (PANEL_BOTTOM - PANEL_TOP) * (log10(value) - axes->y_low) / (axes->y_high - axes->y_low);
}

/* Text at a point; `anchor` 0 puts its left end there, 0.5 its middle, 1 its right end. */
static void text_at(cairo_t *cr, double x, double y, double anchor, double size, cairo_font_weight_t weight, const char *text)
{
	cairo_text_extents_t extents;

	cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, weight);
	cairo_set_font_size(cr, size);
	cairo_text_extents(cr, text, &extents);
	cairo_move_to(cr, x - anchor * extents.x_advance, y);
	cairo_show_text(cr, text);
	/* Text leaves a current point, which the next arc would be joined to. */
	cairo_new_path(cr);
}

/* Whole decades around the data. */
static void axes_scale(struct axes *axes, const struct curve *curves, size_t count)
{
	double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < curves[i].count; j++) {
			x_low = fmin(x_low, curves[i].sizes[j]);
			x_high = fmax(x_high, curves[i].sizes[j]);
			y_low = fmin(y_low, curves[i].values[j]);
			y_high = fmax(y_high, curves[i].values[j]);
		}
	axes->x_low = floor(log10(x_low));
	axes->x_high = fmax(ceil(log10(x_high)), axes->x_low + 1);
	axes->y_low = floor(log10(y_low));
	axes->y_high = fmax(ceil(log10(y_high)), axes->y_low + 1);
}

static void draw_line(cairo_t *cr, double x0, double y0, double x1, double y1, double grey)
{
	cairo_set_source_rgb(cr, grey, grey, grey);
	cairo_move_to(cr, floor(x0) + 0.5, floor(y0) + 0.5);
	cairo_line_to(cr, floor(x1) + 0.5, floor(y1) + 0.5);
	cairo_stroke(cr);
}

static void draw_axes(const struct axes *axes, const char *title)
{
	char text[32];

	cairo_set_source_rgb(axes->cr, 0.1, 0.1, 0.1);
	text_at(axes->cr, LEFT, axes->top + 42, 0, 21, CAIRO_FONT_WEIGHT_BOLD, title);
	cairo_set_line_width(axes->cr, 1);
	for (double decade = axes->y_low; decade <= axes->y_high; decade++)
		for (int lead = 1; lead <= (decade < axes->y_high ? 5 : 1); lead += lead == 1 ? 1 : 3) {
			double value = lead * pow(10, decade), y = y_of(axes, value);
			draw_line(axes->cr, LEFT, y, RIGHT, y, lead == 1 ? 0.75 : 0.92);
			snprintf(text, sizeof text, "%g", value);
			cairo_set_source_rgb(axes->cr, 0.25, 0.25, 0.25);
			text_at(axes->cr, LEFT - 10, y + 5, 1, 13, CAIRO_FONT_WEIGHT_NORMAL, text);
		}
	for (double decade = axes->x_low; decade <= axes->x_high; decade++) {
		double x = x_of(axes, pow(10, decade));
		draw_line(axes->cr, x, axes->top + PANEL_TOP, x, axes->top + PANEL_BOTTOM, 0.85);
		snprintf(text, sizeof text, "%.0f", pow(10, decade));
		cairo_set_source_rgb(axes->cr, 0.25, 0.25, 0.25);
		text_at(axes->cr, x, axes->top + PANEL_BOTTOM + 22, 0.5, 13, CAIRO_FONT_WEIGHT_NORMAL, text);
	}
	text_at(axes->cr, (LEFT + RIGHT) / 2, axes->top + PANEL_BOTTOM + 44, 0.5, 14, CAIRO_FONT_WEIGHT_NORMAL, "entries");
}

static void curve_ink(cairo_t *cr, const struct curve *curve)
{
	static const double dashes[] = {7, 6};
	const double *colour = colours[curve->colour];
	bool ours = strcmp(curve->runtime, "libweakref") == 0;

	cairo_set_source_rgb(cr, colour[0], colour[1], colour[2]);
	cairo_set_line_width(cr, ours ? 2.6 : 1.6);
	cairo_set_dash(cr, dashes, ours ? 0 : 2, 0);
}

static void draw_curve(const struct axes *axes, const struct curve *curve)
{
	cairo_t *cr = axes->cr;

	curve_ink(cr, curve);
	for (size_t i = 0; i < curve->count; i++)
		cairo_line_to(cr, x_of(axes, curve->sizes[i]), y_of(axes, curve->values[i]));
	cairo_stroke(cr);
	for (size_t i = 0; i < curve->count; i++) {
		cairo_arc(cr, x_of(axes, curve->sizes[i]), y_of(axes, curve->values[i]), 3, 0, 2 * M_PI);
		cairo_fill(cr);
	}
	cairo_set_dash(cr, NULL, 0, 0);
}

/* Beside the panel, with the value at the largest size. */
static void draw_legend(const struct axes *axes, const struct curve *curve, size_t line)
{
	double y = axes->top + PANEL_TOP + 22 + (double)line * 26;
	char text[200];

	curve_ink(axes->cr, curve);
	cairo_move_to(axes->cr, RIGHT + 20, y - 5);
	cairo_line_to(axes->cr, RIGHT + 58, y - 5);
	cairo_stroke(axes->cr);
	cairo_set_dash(axes->cr, NULL, 0, 0);
	cairo_set_source_rgb(axes->cr, 0.1, 0.1, 0.1);
	snprintf(text, sizeof text, "%.*s, %s: %.3g", (int)strcspn(curve->name, "."), curve->name, curve->runtime,
		 curve->values[curve->count - 1]);
	text_at(axes->cr, RIGHT + 66, y, 0, 14, CAIRO_FONT_WEIGHT_NORMAL, text);
}

/* Whether there was anything to draw. */
static bool draw_panel(cairo_t *cr, size_t index)
{
	static struct curve curves[CURVES_MAX];
	struct axes axes = {.cr = cr, .top = (double)index * PANEL_HEIGHT};
	size_t count = curves_of(&panels[index], curves);

	if (count == 0)
		return false;
	axes_scale(&axes, curves, count);
	draw_axes(&axes, panels[index].title);
	for (size_t i = count; i > 0; i--)
		draw_curve(&axes, &curves[i - 1]);
	for (size_t i = 0; i < count; i++)
		draw_legend(&axes, &curves[i], i);
	return true;
}

int main(int argc, char **argv)
{
	bool drawn = false;

	if (argc < 2 || argc > 3 || argv[1][0] == '-') {
		fprintf(stderr, "usage: draw PNG [FIGURES]\n");
		return 2;
	}
	FILE *in = argc == 3 ? fopen(argv[2], "r") : stdin;
	if (in == NULL)
		die("the figures cannot be read");
	figures_read(in);
	cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH, PANEL_HEIGHT * (int)PANELS);
	cairo_t *cr = cairo_create(surface);
	cairo_set_source_rgb(cr, 1, 1, 1);
	cairo_paint(cr);
	for (size_t i = 0; i < PANELS; i++)
		drawn |= draw_panel(cr, i);
	if (!drawn)
		die("there is nothing to draw");
	if (cairo_status(cr) != CAIRO_STATUS_SUCCESS || cairo_surface_write_to_png(surface, argv[1]) != CAIRO_STATUS_SUCCESS)
		die("the picture cannot be written");
	cairo_destroy(cr);
	cairo_surface_destroy(surface);
	if (argc == 3)
		fclose(in);
	return 0;
}

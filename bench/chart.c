/* SPDX-License-Identifier: MIT */
#include "chart.h"

#include <cairo.h>
#include <stdio.h>

#define WIDTH 420.0
#define HEIGHT 300.0
#define LEFT 44.0
#define TOP 34.0
#define RIGHT 12.0
#define BOTTOM 34.0
#define HEAD 64.0
#define COLUMNS 3

static const double colours[CHART_LINES][3] = {
	{0.00, 0.45, 0.70}, {0.90, 0.62, 0.00}, {0.00, 0.62, 0.45}, {0.80, 0.47, 0.65},
	{0.34, 0.71, 0.91}, {0.55, 0.55, 0.55}, {0.84, 0.10, 0.11}, {0.40, 0.30, 0.10},
};

static void text(cairo_t *cr, double x, double y, double align, const char *string)
{
	cairo_text_extents_t size;

	cairo_text_extents(cr, string, &size);
	cairo_move_to(cr, x - size.x_advance * align, y);
	cairo_show_text(cr, string);
	/* It leaves a point behind, from which a line would begin. */
	cairo_new_path(cr);
}

static void pen(cairo_t *cr, const struct chart *chart, size_t line)
{
	static const double dashes[] = {5, 3};
	bool last = line + 1 == chart->lines;

	cairo_set_source_rgb(cr, colours[line][0], colours[line][1], colours[line][2]);
	cairo_set_line_width(cr, last ? 2.6 : 1.4);
	cairo_set_dash(cr, dashes, line + 2 == chart->lines ? 2 : 0, 0);
}

static double x_of(const struct chart_panel *panel, size_t point)
{
	return LEFT + (WIDTH - LEFT - RIGHT) * ((double)point + 0.5) / (double)panel->points;
}

static double y_of(double percent)
{
	return TOP + (HEIGHT - TOP - BOTTOM) * (1 - percent / 100);
}

static void draw_axes(cairo_t *cr, const struct chart_panel *panel)
{
	char label[16];

	cairo_set_line_width(cr, 0.5);
	cairo_set_dash(cr, NULL, 0, 0);
	for (int percent = 0; percent <= 100; percent += 20) {
		cairo_set_source_rgb(cr, 0.8, 0.8, 0.8);
		cairo_move_to(cr, LEFT, y_of(percent));
		cairo_line_to(cr, WIDTH - RIGHT, y_of(percent));
		cairo_stroke(cr);
		cairo_set_source_rgb(cr, 0.2, 0.2, 0.2);
		snprintf(label, sizeof label, "%d%%", percent);
		text(cr, LEFT - 5, y_of(percent) + 4, 1, label);
	}
	for (size_t i = 0; i < panel->points; i++)
		text(cr, x_of(panel, i), HEIGHT - BOTTOM + 15, 0.5, panel->labels[i]);
	cairo_set_font_size(cr, 13);
	text(cr, LEFT, TOP - 10, 0, panel->title);
	cairo_set_font_size(cr, 10);
}

static void draw_panel(cairo_t *cr, const struct chart *chart, const struct chart_panel *panel)
{
	draw_axes(cr, panel);
	for (size_t line = 0; line < chart->lines; line++) {
		pen(cr, chart, line);
		for (size_t i = 0; i < panel->points; i++)
			cairo_line_to(cr, x_of(panel, i), y_of(panel->at[line][i]));
		cairo_stroke(cr);
	}
}

static void draw_head(cairo_t *cr, const struct chart *chart)
{
	double x = LEFT;

	cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
	cairo_set_font_size(cr, 15);
	text(cr, LEFT, 24, 0, chart->title);
	cairo_set_font_size(cr, 11);
	for (size_t line = 0; line < chart->lines; line++) {
		cairo_text_extents_t size;

		pen(cr, chart, line);
		cairo_move_to(cr, x, 44);
		cairo_line_to(cr, x + 22, 44);
		cairo_stroke(cr);
		cairo_set_source_rgb(cr, 0.1, 0.1, 0.1);
		text(cr, x + 27, 48, 0, chart->names[line]);
		cairo_text_extents(cr, chart->names[line], &size);
		x += size.x_advance + 48;
	}
	cairo_set_font_size(cr, 10);
}

bool chart_write(const struct chart *chart, const char *path)
{
	size_t rows = (chart->panels + COLUMNS - 1) / COLUMNS, columns = chart->panels < COLUMNS ? chart->panels : COLUMNS;
	/* The head needs the width of two panels. */
	double width = WIDTH * (double)(columns < 2 ? 2 : columns), height = HEAD + HEIGHT * (double)rows;
	cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width, (int)height);
	cairo_t *cr = cairo_create(surface);
	bool written;

	cairo_set_source_rgb(cr, 1, 1, 1);
	cairo_paint(cr);
	cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
	draw_head(cr, chart);
	for (size_t i = 0; i < chart->panels; i++) {
		cairo_save(cr);
		cairo_translate(cr, WIDTH * (double)(i % COLUMNS), HEAD + HEIGHT * (double)(i / COLUMNS));
		draw_panel(cr, chart, &chart->panel[i]);
		cairo_restore(cr);
	}
	written = cairo_surface_write_to_png(surface, path) == CAIRO_STATUS_SUCCESS;
	cairo_destroy(cr);
	cairo_surface_destroy(surface);
	return written;
}

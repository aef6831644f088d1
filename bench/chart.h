/* SPDX-License-Identifier: MIT */
/*
 * chart: hit ratios as a picture, one panel a trace, one line a policy. The sizes stand at equal distances.
 */
#ifndef BENCH_CHART_H
#define BENCH_CHART_H

#include <stdbool.h>
#include <stddef.h>

#define CHART_LINES 8
#define CHART_POINTS 32

struct chart_panel {
	const char *title;
	size_t points;
	char labels[CHART_POINTS][16];
	/* 0 to 100. */
	double at[CHART_LINES][CHART_POINTS];
	/* Not drawn: of the last line, over the best of the others that it is compared with. */
	double ahead[CHART_POINTS];
};

struct chart {
	const char *title;
	size_t lines, panels;
	const char *names[CHART_LINES];
	struct chart_panel *panel;
};

/* The last line is drawn over the others, and thicker. False where the file cannot be written. */
bool chart_write(const struct chart *chart, const char *path);

#endif

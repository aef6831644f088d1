/* SPDX-License-Identifier: MIT */
/*
 * table: see table.h. One function for each form of figure; the rows' names are what scripts search for, and figures have no
 * separators, so that scripts can read them.
 */
#include "table.h"

#include <inttypes.h>
#include <stdio.h>

#define LABEL (-34)
#define COLUMN 24

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static double per(double total, uint64_t n)
{
	return n == 0 ? 0 : total / (double)n;
}

static int columns;

static void row_count(const char *label, const uint64_t figures[CACHE_KINDS])
{
	printf("%*s", LABEL, label);
	for (int i = 0; i < columns; i++)
		printf("%*" PRIu64, COLUMN, figures[i]);
	putchar('\n');
}

static void row_real(const char *label, int digits, const double figures[CACHE_KINDS])
{
	printf("%*s", LABEL, label);
	for (int i = 0; i < columns; i++)
		printf("%*.*f", COLUMN, digits, figures[i]);
	putchar('\n');
}

static void rule(void)
{
	for (int i = 0; i < -LABEL + columns * COLUMN; i++)
		putchar('-');
	putchar('\n');
}

/* A figure of each variant: of `o`, its outcome. */
#define COUNT(label, figure)                                                     \
	do {                                                                     \
		uint64_t figures[CACHE_KINDS];                                   \
		for (int i = 0; i < CACHE_KINDS; i++) {                          \
			const struct replay_outcome *o = &results[i].outcome;    \
			figures[i] = (figure);                                   \
		}                                                                \
		row_count(label, figures);                                       \
	} while (0)
#define REAL(label, digits, figure)                                              \
	do {                                                                     \
		double figures[CACHE_KINDS];                                     \
		for (int i = 0; i < CACHE_KINDS; i++) {                          \
			const struct replay_outcome *o = &results[i].outcome;    \
			figures[i] = (figure);                                   \
		}                                                                \
		row_real(label, digits, figures);                                \
	} while (0)
/* Nanoseconds, shown as milliseconds. */
#define MS(label, figure) REAL(label, 4, (figure) / 1e6)

void table_print(const struct replay_result results[CACHE_KINDS], int kinds)
{
	const struct replay_outcome *p = &results[CACHE_PLAIN].outcome, *w = &results[CACHE_WEAK].outcome;

	columns = kinds;
	printf("%*s", LABEL, "");
	for (int i = 0; i < columns; i++)
		printf("%*s", COLUMN, replay_name((enum cache_kind)i));
	putchar('\n');
	rule();
	COUNT("accesses", o->accesses);
	COUNT("hits", o->hits);
	COUNT("decodes", o->decodes);
	COUNT("failed accesses", o->failures);
	COUNT("files that failed", o->bad_files);
	REAL("hit ratio (%)", 1, 100 * per((double)o->hits, o->accesses));
	rule();
	COUNT("collections", o->collections);
	COUNT("entries purged", o->purged);
	REAL("entries purged per collection", 1, per((double)o->purged, o->collections));
	MS("pause, mean (ms)", per((double)o->pause_total_ns, o->collections));
	MS("pause, max (ms)", (double)o->pause_max_ns);
	MS("of it weak scan, mean (ms)", per((double)o->scan_total_ns, o->collections));
	MS("of it weak scan, max (ms)", (double)o->scan_max_ns);
	rule();
	COUNT("images alive at the end", o->live_images);
	REAL("their pixels (MiB)", 1, mib(o->live_bytes));
	REAL("heap at the end (MiB)", 1, mib(o->heap));
	REAL("peak resident memory (MiB)", 1, mib(o->peak_resident));
	REAL("elapsed (s)", 2, (double)o->elapsed_ns / 1e9);
	rule();
	if (p->peak_resident != 0)
		printf("The weak-value dictionary needed %.0f %% of the plain one's memory.\n",
		       100.0 * (double)w->peak_resident / (double)p->peak_resident);
}

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

static void row_count(const char *label, uint64_t plain, uint64_t weak)
{
	printf("%*s%*" PRIu64 "%*" PRIu64 "\n", LABEL, label, COLUMN, plain, COLUMN, weak);
}

static void row_real(const char *label, int digits, double plain, double weak)
{
	printf("%*s%*.*f%*.*f\n", LABEL, label, COLUMN, digits, plain, COLUMN, digits, weak);
}

/* Nanoseconds, shown as milliseconds. */
static void row_ms(const char *label, double plain, double weak)
{
	row_real(label, 4, plain / 1e6, weak / 1e6);
}

static void rule(void)
{
	for (int i = 0; i < -LABEL + CACHE_KINDS * COLUMN; i++)
		putchar('-');
	putchar('\n');
}

void table_print(const struct replay_result results[CACHE_KINDS])
{
	const struct replay_outcome *p = &results[CACHE_PLAIN].outcome, *w = &results[CACHE_WEAK].outcome;

	printf("%*s%*s%*s\n", LABEL, "", COLUMN, replay_name(CACHE_PLAIN), COLUMN, replay_name(CACHE_WEAK));
	rule();
	row_count("accesses", p->accesses, w->accesses);
	row_count("hits", p->hits, w->hits);
	row_count("decodes", p->decodes, w->decodes);
	row_count("failed accesses", p->failures, w->failures);
	row_count("files that failed", p->bad_files, w->bad_files);
	row_real("hit ratio (%)", 1, 100 * per((double)p->hits, p->accesses), 100 * per((double)w->hits, w->accesses));
	rule();
	row_count("collections", p->collections, w->collections);
	row_count("entries purged", p->purged, w->purged);
	row_real("entries purged per collection", 1, per((double)p->purged, p->collections),
		 per((double)w->purged, w->collections));
	row_ms("pause, mean (ms)", per((double)p->pause_total_ns, p->collections), per((double)w->pause_total_ns, w->collections));
	row_ms("pause, max (ms)", (double)p->pause_max_ns, (double)w->pause_max_ns);
	row_ms("of it weak scan, mean (ms)", per((double)p->scan_total_ns, p->collections),
	       per((double)w->scan_total_ns, w->collections));
	row_ms("of it weak scan, max (ms)", (double)p->scan_max_ns, (double)w->scan_max_ns);
	rule();
	row_count("images alive at the end", p->live_images, w->live_images);
	row_real("their pixels (MiB)", 1, mib(p->live_bytes), mib(w->live_bytes));
	row_real("heap at the end (MiB)", 1, mib(p->heap), mib(w->heap));
	row_real("peak resident memory (MiB)", 1, mib(p->peak_resident), mib(w->peak_resident));
	row_real("elapsed (s)", 2, (double)p->elapsed_ns / 1e9, (double)w->elapsed_ns / 1e9);
	rule();
	if (p->peak_resident != 0)
		printf("The weak-value dictionary needed %.0f %% of the plain one's memory.\n",
		       100.0 * (double)w->peak_resident / (double)p->peak_resident);
}

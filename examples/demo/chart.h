/* SPDX-License-Identifier: MIT */
/*
 * chart: resident memory over the accesses, both variants in one picture.
 */
#ifndef CHART_H
#define CHART_H

#include "replay.h"

#define CHART_WIDTH 1200
#define CHART_HEIGHT 720

/* Writes the PNG file. Returns 0, or -1 after a report. */
int chart_write(const char *path, const struct replay_job *job, const struct replay_result results[CACHE_KINDS]);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * report: what is written where: responses to stdout, messages and the progress of transfers to stderr. On a terminal the transfers that
 * run stand at its bottom, a line and a bar for each; elsewhere progress is a line a second for each, if it is wanted at all.
 */
#ifndef REPORT_H
#define REPORT_H

#include "transport.h"

enum report_progress { REPORT_NOTHING, REPORT_LINES, REPORT_BARS };

void report_begin(enum report_progress progress);
/* `Received response from URL: ` and the first hundred characters, with what could disturb a terminal escaped. */
void report_response(const char *url, const struct response *response);
void report(const char *format, ...) WEAKREF_PRINTF(1, 2);
void report_of(const char *url, const char *what);
/* Ten times a second at most. */
void report_transfers(const struct transport *transport);
/* Takes the bars from the terminal. */
void report_clear(void);

#endif

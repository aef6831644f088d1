/* SPDX-License-Identifier: MIT */
/*
 * report: see report.h.
 *
 * State: how many lines of bars stand below the cursor's line, and when they were drawn.
 */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SHOWN 100 /* characters of a response */
#define BARS 10 /* lines at most */
#define CELLS 20

static enum report_progress mode;
static unsigned lines_shown;
static uint64_t drawn_ns;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void report_begin(enum report_progress progress)
{
	mode = progress;
}

/* ---- text that came from elsewhere ---- */

/* The bytes of the character at p, of which `left` are there; 0 where it is no character of UTF-8. */
static size_t character(const unsigned char *p, size_t left)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* A character that is printed as it is: none that moves a cursor. */
static bool harmless(const unsigned char *p, size_t n)
{
	return n == 1 ? p[0] >= 0x20 && p[0] != 0x7f : !(p[0] == 0xc2 && p[1] < 0xa0);
}

static void write_text(FILE *out, const void *text, size_t size, size_t characters)
{
	const unsigned char *p = text, *end = p + size;

	for (; p < end && characters > 0; characters--) {
		size_t n = character(p, (size_t)(end - p));
		if (n > 0 && harmless(p, n))
			fwrite(p, 1, n, out);
		else if (*p == '\n' || *p == '\t' || *p == '\r')
			fprintf(out, "\\%c", *p == '\n' ? 'n' : *p == '\t' ? 't' : 'r');
		else
			fputc('?', out);
		p += n > 0 ? n : 1;
	}
}

void report_response(const char *url, const struct response *response)
{
	report_clear();
	fputs("Received response from ", stdout);
	write_text(stdout, url, strlen(url), SIZE_MAX);
	fputs(": ", stdout);
	write_text(stdout, response->body, response->size, SHOWN);
	fputc('\n', stdout);
	fflush(stdout);
}

void report(const char *format, ...)
{
	va_list args;

	report_clear();
	fputs("fetch: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void report_of(const char *url, const char *what)
{
	report_clear();
	fputs("fetch: ", stderr);
	write_text(stderr, url, strlen(url), SIZE_MAX);
	fputs(": ", stderr);
	write_text(stderr, what, strlen(what), SIZE_MAX);
	fputc('\n', stderr);
}

/* ---- progress ---- */

/* What the server said it would send, or -1. */
static int64_t expected(const struct transfer *transfer)
{
	curl_off_t total = -1;

	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &total);
	return total;
}

static void describe(const struct transfer *transfer, char *text, size_t size)
{
	int64_t total = expected(transfer);

	if (total >= 0)
		snprintf(text, size, "%zu of %lld bytes", transfer->response->size, (long long)total);
	else
		snprintf(text, size, "%zu bytes", transfer->response->size);
}

static void draw_bar(const struct transfer *transfer, int columns)
{
	char cells[CELLS + 1], text[64];
	int64_t total = expected(transfer);
	size_t filled = total > 0 ? (size_t)((double)transfer->response->size / (double)total * CELLS) : 0;

	filled = filled < CELLS ? filled : CELLS;
	memset(cells, '#', filled);
	memset(cells + filled, '.', CELLS - filled);
	cells[CELLS] = '\0';
	describe(transfer, text, sizeof text);
	int used = fprintf(stderr, "[%s] %-24s ", cells, text);
	/* A line that fills the last column would wrap, and the lines be counted wrong. */
	if (used > 0 && used < columns - 1)
		write_text(stderr, transfer->response->url, strlen(transfer->response->url), (size_t)(columns - 1 - used));
	fputs("\033[K\n", stderr);
	lines_shown++;
}

static void draw_bars(const struct transport *transport)
{
	struct winsize window = {.ws_row = 24, .ws_col = 80};
	unsigned lines, drawn = 0;

	ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
	lines = window.ws_row > 4 ? window.ws_row - 4U : 0;
	lines = lines < BARS ? lines : BARS;
	if (window.ws_col < 60)
		lines = 0;
	report_clear();
	for (const struct transfer *t = transport->running; t != NULL && drawn < lines; t = t->next, drawn++)
		draw_bar(t, window.ws_col);
	if (transport->runs + transport->queued > drawn) {
		fprintf(stderr, "%zu more run, %zu wait\033[K\n", transport->runs - drawn, transport->queued);
		lines_shown++;
	}
	fflush(stderr);
}

static void print_lines(const struct transport *transport, uint64_t now)
{
	char text[64];

	for (struct transfer *transfer = transport->running; transfer != NULL; transfer = transfer->next) {
		if (now - transfer->shown_ns < 1000000000)
			continue;
		transfer->shown_ns = now;
		describe(transfer, text, sizeof text);
		report_of(transfer->response->url, text);
	}
}

void report_transfers(const struct transport *transport)
{
	uint64_t now = now_ns();

	if (now - drawn_ns < 100000000)
		return;
	drawn_ns = now;
	if (mode == REPORT_BARS)
		draw_bars(transport);
	else if (mode == REPORT_LINES)
		print_lines(transport, now);
}

void report_clear(void)
{
	if (lines_shown == 0)
		return;
	/* Up to the first of them, and away with all that follows. */
	fprintf(stderr, "\033[%uA\r\033[J", lines_shown);
	fflush(stderr);
	lines_shown = 0;
}

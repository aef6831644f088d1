/* SPDX-License-Identifier: MIT */
/*
 * say: messages and the progress bar. See say.h.
 *
 * State: whether a bar stands on the terminal's last line.
 * Not here: what goes to stdout (table.c).
 */
#include "say.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_CELLS 30

static bool bar_shown;

/* The terminal's width, or 0 where stderr is none. Asked at each drawing: the window may have been resized. */
static int terminal_columns(void)
{
	struct winsize size;

	if (!isatty(STDERR_FILENO))
		return 0;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

void say(const char *format, ...)
{
	va_list args;

	say_progress_end();
	fputs("imagecache: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void say_of(const char *path, const char *format, ...)
{
	va_list args;

	say_progress_end();
	fputs("imagecache: ", stderr);
	for (const unsigned char *p = (const unsigned char *)path; *p != '\0'; p++)
		fputc(*p < 0x20 || *p == 0x7f ? '?' : *p, stderr);
	fputs(": ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void say_progress(const char *what, size_t done, size_t total, const char *words)
{
	char line[256], bar[BAR_CELLS + 1];
	int columns = terminal_columns();
	size_t filled;

	if (columns == 0 || total == 0)
		return;
	filled = done >= total ? BAR_CELLS : done * BAR_CELLS / total;
	memset(bar, '#', filled);
	memset(bar + filled, '.', BAR_CELLS - filled);
	bar[BAR_CELLS] = '\0';
	snprintf(line, sizeof line, "%-23s [%s] %3zu %%  %s", what, bar, done >= total ? 100 : done * 100 / total, words);
	/* A line that fills the last column would wrap, and the next \r would not reach its start. */
	if (columns <= (int)sizeof line)
		line[columns - 1] = '\0';
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	bar_shown = true;
}

void say_progress_end(void)
{
	if (!bar_shown)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	bar_shown = false;
}

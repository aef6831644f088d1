/* SPDX-License-Identifier: MIT */
#include "base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "checks.h"

static void WEAKREF_PRINTF(1, 0) write_line(const char *format, va_list args)
{
	char line[512] = "libweakref: ";
	size_t head = sizeof "libweakref: " - 1;
	int n = vsnprintf(line + head, sizeof line - head - 1, format, args);
	size_t len = head + (n < 0 ? 0 : (size_t)n);

	if (len > sizeof line - 2)
		len = sizeof line - 2;
	line[len++] = '\n';
	ssize_t written = write(STDERR_FILENO, line, len);
	(void)written;
}

_Noreturn void base_fatal(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(format, args);
	va_end(args);
	abort();
}

void base_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(format, args);
	va_end(args);
}

uint64_t base_now(void)
{
	uint64_t frozen;
	struct timespec t;

	if (CHECKS && checks_clock(&frozen))
		return frozen;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void *base_null(enum weakref_error code)
{
	errno = (int)code;
	return NULL;
}

NOINLINE void base_clear_stack(void)
{
	volatile uintptr_t dead[4096];

	for (size_t i = 0; i < sizeof dead / sizeof *dead; i++)
		dead[i] = 0;
}

NOINLINE void base_clear_stack_top(void)
{
	volatile uintptr_t dead[256];

	for (size_t i = 0; i < sizeof dead / sizeof *dead; i++)
		dead[i] = 0;
}

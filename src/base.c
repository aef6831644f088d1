/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sem_clockwait */
#endif
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

#define SECOND UINT64_C(1000000000)

static uint64_t now_of(clockid_t clock)
{
	uint64_t frozen;
	struct timespec t;

	if (CHECKS && checks_clock(&frozen))
		return frozen;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

uint64_t base_now(void)
{
	return now_of(CLOCK_MONOTONIC);
}

uint64_t base_now_rough(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
	return now_of(CLOCK_MONOTONIC_COARSE);
#else
	return now_of(CLOCK_MONOTONIC);
#endif
}

uint64_t base_deadline(double seconds)
{
	return seconds > 0 && seconds < 1e9 ? base_now() + (uint64_t)(seconds * 1e9) : BASE_FOREVER;
}

/* A thread that is cancelled here leaves this frame without a word to the address sanitizer, which would take what it has marked there for other
 * frames' from then on. */
__attribute__((no_sanitize("address"))) bool base_sleep(sem_t *sem, uint64_t deadline)
{
	const uint64_t moment = 2000000;
	struct timespec t;

	if (CHECKS) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		uint64_t now = (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
		uint64_t virtual;
		if (checks_clock(&virtual) || deadline - now > moment)
			deadline = now + moment;
	}
	if (deadline == BASE_FOREVER)
		return sem_wait(sem) == 0;
	t.tv_sec = (time_t)(deadline / SECOND);
	t.tv_nsec = (long)(deadline % SECOND);
	return sem_clockwait(sem, CLOCK_MONOTONIC, &t) == 0;
}

void *base_null(enum weakref_error code)
{
	errno = (int)code;
	return NULL;
}

/* The address sanitizer would keep a part of the frame to itself, at the top of what is to be overwritten. */
#define WHOLE_FRAME __attribute__((no_sanitize("address")))

NOINLINE WHOLE_FRAME void base_clear_stack(void)
{
	volatile uintptr_t dead[4096];

	for (size_t i = 0; i < sizeof dead / sizeof *dead; i++)
		dead[i] = 0;
}

NOINLINE WHOLE_FRAME void base_clear_stack_top(void)
{
	volatile uintptr_t dead[512];

	for (size_t i = 0; i < sizeof dead / sizeof *dead; i++)
		dead[i] = 0;
}

/* Not in line: a compiler takes it that any call changes these registers. */
#if defined(__x86_64__)
static NOINLINE void clear_sse(void)
{
	__asm__ volatile("pxor %xmm0, %xmm0\n\tpxor %xmm1, %xmm1\n\tpxor %xmm2, %xmm2\n\tpxor %xmm3, %xmm3\n\t"
			 "pxor %xmm4, %xmm4\n\tpxor %xmm5, %xmm5\n\tpxor %xmm6, %xmm6\n\tpxor %xmm7, %xmm7\n\t"
			 "pxor %xmm8, %xmm8\n\tpxor %xmm9, %xmm9\n\tpxor %xmm10, %xmm10\n\tpxor %xmm11, %xmm11\n\t"
			 "pxor %xmm12, %xmm12\n\tpxor %xmm13, %xmm13\n\tpxor %xmm14, %xmm14\n\tpxor %xmm15, %xmm15\n\t");
}

static NOINLINE __attribute__((target("avx"))) void clear_avx(void)
{
	__asm__ volatile("vzeroall");
}

static NOINLINE __attribute__((target("avx512f"))) void clear_avx512(void)
{
	__asm__ volatile("vzeroall\n\t"
			 "vpxord %zmm16, %zmm16, %zmm16\n\tvpxord %zmm17, %zmm17, %zmm17\n\t"
			 "vpxord %zmm18, %zmm18, %zmm18\n\tvpxord %zmm19, %zmm19, %zmm19\n\t"
			 "vpxord %zmm20, %zmm20, %zmm20\n\tvpxord %zmm21, %zmm21, %zmm21\n\t"
			 "vpxord %zmm22, %zmm22, %zmm22\n\tvpxord %zmm23, %zmm23, %zmm23\n\t"
			 "vpxord %zmm24, %zmm24, %zmm24\n\tvpxord %zmm25, %zmm25, %zmm25\n\t"
			 "vpxord %zmm26, %zmm26, %zmm26\n\tvpxord %zmm27, %zmm27, %zmm27\n\t"
			 "vpxord %zmm28, %zmm28, %zmm28\n\tvpxord %zmm29, %zmm29, %zmm29\n\t"
			 "vpxord %zmm30, %zmm30, %zmm30\n\tvpxord %zmm31, %zmm31, %zmm31\n\t");
}

void base_clear_registers(void)
{
	if (__builtin_cpu_supports("avx512f"))
		clear_avx512();
	else if (__builtin_cpu_supports("avx"))
		clear_avx();
	else
		clear_sse();
}
#elif defined(__aarch64__)
NOINLINE void base_clear_registers(void)
{
	__asm__ volatile("movi v0.2d, #0\n\tmovi v1.2d, #0\n\tmovi v2.2d, #0\n\tmovi v3.2d, #0\n\t"
			 "movi v4.2d, #0\n\tmovi v5.2d, #0\n\tmovi v6.2d, #0\n\tmovi v7.2d, #0\n\t"
			 "movi v16.2d, #0\n\tmovi v17.2d, #0\n\tmovi v18.2d, #0\n\tmovi v19.2d, #0\n\t"
			 "movi v20.2d, #0\n\tmovi v21.2d, #0\n\tmovi v22.2d, #0\n\tmovi v23.2d, #0\n\t"
			 "movi v24.2d, #0\n\tmovi v25.2d, #0\n\tmovi v26.2d, #0\n\tmovi v27.2d, #0\n\t"
			 "movi v28.2d, #0\n\tmovi v29.2d, #0\n\tmovi v30.2d, #0\n\tmovi v31.2d, #0\n\t");
}
#else
void base_clear_registers(void)
{
}
#endif

void base_signals_of_program(sigset_t *set)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};

	sigfillset(set);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(set, faults[i]);
}

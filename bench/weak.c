/* SPDX-License-Identifier: MIT */
/*
 * weak: see weak.h.
 */
#include "weak.h"

#include <time.h>

#define FEW 16 /* what a conservative collector may leave */
#define THREADS_MAX 16

const char *runtime = SUBJECT_NAME;
long n;
obj *volatile *objs;
char **keys;
uint32_t *order;
void **table;

static pthread_barrier_t gate;
static void (*thread_body)(int index);
static double thread_began[THREADS_MAX], thread_ended[THREADS_MAX];

void die(const char *what)
{
	fprintf(stderr, "weakbench: %s\n", what);
	exit(3);
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

void emit(const char *workload, const char *metric, double value, const char *unit)
{
	printf("%s\t%s\t%ld\t%s\t%.3f\t%s\n", workload, runtime, n, metric, value, unit);
	fflush(stdout);
}

/* Fisher and Yates, by xorshift32 from a fixed seed. */
uint32_t *permutation(void)
{
	uint32_t *p = malloc((size_t)n * sizeof *p), x = 2463534242u;

	if (p == NULL)
		die("no memory");
	for (long i = 0; i < n; i++)
		p[i] = (uint32_t)i;
	for (long i = n - 1; i > 0; i--) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		long j = x % (uint32_t)(i + 1);
		uint32_t t = p[i];
		p[i] = p[j];
		p[j] = t;
	}
	return p;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof *values, compare_doubles);
	return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

long status_kb(const char *what)
{
	char line[256];
	long value = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, what, strlen(what)) == 0)
			value = atol(line + strlen(what) + 1);
	if (file != NULL)
		fclose(file);
	return value;
}

double heap_used(void)
{
	return (double)(GC_get_heap_size() - GC_get_free_bytes());
}

size_t key_write(char *to, char first, long i)
{
	char digits[24];
	size_t count = 0, len = 0;

	do {
		digits[count++] = (char)('0' + i % 10);
		i /= 10;
	} while (i != 0);
	to[len++] = first;
	while (count > 0)
		to[len++] = digits[--count];
	to[len] = 0;
	return len;
}

/* ---- objects ---- */

NOINLINE void objs_make(void)
{
	if (objs != NULL)
		GC_FREE((void *)objs);
	objs = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *objs));
	for (long i = 0; i < n; i++) {
		objs[i] = obj_new();
		objs[i]->v = i;
	}
}

NOINLINE void objs_drop(void)
{
	for (long i = 0; i < n; i++)
		objs[i] = NULL;
}

NOINLINE void keys_make(void)
{
	keys = made(GC_MALLOC_UNCOLLECTABLE((size_t)n * sizeof *keys));
	for (long i = 0; i < n; i++) {
		char text[32];
		size_t len = key_write(text, 'k', i);
		keys[i] = memcpy(made(GC_MALLOC_ATOMIC(len + 1)), text, len + 1);
	}
}

void table_place(void)
{
	table = made(GC_MALLOC_UNCOLLECTABLE(sizeof *table));
}

NOINLINE void drop_half(void)
{
	for (long i = 0; i < n / 2; i++)
		objs[order[i]] = NULL;
}

void check_sum(long sum)
{
	if (sum != n * (n - 1) / 2)
		die("what was read is wrong");
}

/* ---- collections ---- */

double collect_once(void)
{
	double began = now();

	GC_gcollect();
	return now() - began;
}

double collect_time(void)
{
	double times[3];

	collect_once();
	for (int i = 0; i < 3; i++)
		times[i] = collect_once();
	return median(times, 3);
}

/* Where libgc marks in parallel, the thread that collects leaves what it marked last in 64 KiB of its stack: a word of that keeps all
 * that is behind it in a chain. */
NOINLINE void scrub(void)
{
	volatile char dead[256 << 10];

	memset((char *)dead, 0, sizeof dead);
	__asm__ volatile("" : : "r"(dead) : "memory");
}

int collect_until_few(size_t (*left)(void), size_t *residue)
{
	int rounds = 0;

	for (*residue = (size_t)n; rounds < 5 && *residue > FEW; rounds++) {
		scrub();
		GC_gcollect();
		*residue = left();
	}
	return rounds;
}

long chain_length(void)
{
	const char *text = getenv("CHAIN");
	long length = text != NULL ? atol(text) : 100000;

	return length < 1 ? 1 : length > n ? n : length;
}

/* ---- threads ---- */

static void *thread_main(void *argument)
{
	int index = (int)(intptr_t)argument;

	pthread_barrier_wait(&gate);
	thread_began[index] = now();
	thread_body(index);
	thread_ended[index] = now();
	return NULL;
}

/* From the first one's begin to the last one's end, by their own clocks: who waits for them may wake up late. */
double threads_run(int count, void (*body)(int index))
{
	pthread_t threads[THREADS_MAX];
	double began = 0, ended = 0;

	if (count > THREADS_MAX || pthread_barrier_init(&gate, NULL, (unsigned)count) != 0)
		die("no threads");
	thread_body = body;
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, thread_main, (void *)(intptr_t)i) != 0)
			die("no threads");
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		began = i == 0 || thread_began[i] < began ? thread_began[i] : began;
		ended = thread_ended[i] > ended ? thread_ended[i] : ended;
	}
	pthread_barrier_destroy(&gate);
	return ended - began;
}

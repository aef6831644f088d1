/* SPDX-License-Identifier: MIT */
/*
 * support: see support.h. Knows libgc as any host program does, and no internals of the library.
 *
 * Before gc_init it sets an event hook of its own, which the library has to chain: it counts collections, and in incremental
 * mode tells partial ones from full ones (libgc announces full ones alone by its start callback).
 *
 * No locks. The counters are written with libgc's lock held.
 */
#define _GNU_SOURCE
#define GC_THREADS
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <gc/gc.h>
#include <gc/gc_mark.h>

#include "weakref/checks.h"

#define NODE_SIGNATURE UINT64_C(0x6e6f64652d77656b)
#define CHILD_SECONDS 60
#define SKIPPED 77

extern char **environ;

static uint64_t seed;
static unsigned long collect_every;
static unsigned skipped;

static _Atomic unsigned marked;
static _Atomic unsigned partial;
static _Atomic bool full_announced;
static GC_start_callback_proc start_before;

/* ---- objects ------------------------------------------------------------------------------------------------------------- */

const gc_type support_node_type = {.name = "node", .size = sizeof(struct support_node)};

struct support_node *support_node_new(uint64_t id)
{
	struct support_node *node = gc_new(&support_node_type);

	if (node != NULL) {
		node->signature = NODE_SIGNATURE ^ id;
		node->id = id;
	}
	return node;
}

bool support_node_intact(const struct support_node *p)
{
	return p != NULL && p->signature == (NODE_SIGNATURE ^ p->id);
}

/* ---- garbage ------------------------------------------------------------------------------------------------------------- */

/* With the address sanitizer frames are several times as long. */
#if defined(__SANITIZE_ADDRESS__)
#define SCRUBBED (96 * 1024)
#else
#define SCRUBBED (16 * 1024)
#endif

/* Else the sanitizer keeps a part of the frame to itself, at the top of what is to be overwritten. */
__attribute__((noinline, no_sanitize("address"))) void support_scrub(void)
{
	volatile char dead[SCRUBBED];

	for (size_t i = 0; i < sizeof(dead); i++)
		dead[i] = 0;
	SUPPORT_KEEP(dead);
}

long support_collect(void)
{
	long sum = 0;

	for (int i = 0; i < 3; i++) {
		long n;

		support_scrub();
		n = gc_collect();
		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

__attribute__((noinline)) bool support_churn(unsigned collections, size_t limit)
{
	unsigned before = marked;

	for (size_t done = 0; done < limit; done += 496) {
		void *volatile garbage = GC_MALLOC(496);

		(void)garbage;
		if (marked - before >= collections)
			return true;
	}
	return false;
}

__attribute__((noinline)) unsigned support_partial_collections(void)
{
	return partial;
}

size_t support_dead(weakref_ref *const *refs, size_t n)
{
	size_t dead = 0;

	for (size_t i = 0; i < n; i++)
		dead += weakref_ref_get(refs[i]) == NULL;
	support_scrub();
	return dead;
}

/* ---- where a function runs ----------------------------------------------------------------------------------------------- */

struct job {
	support_fn fn;
	void *arg;
	pthread_t thread;
	pthread_barrier_t *start;
	int result;
};

static void *job_run(void *arg)
{
	struct job *job = arg;

	/* The stack may be that of a thread which has ended: what that left there would be held for as long as this one waits above it. */
	support_scrub();
	if (job->start != NULL)
		pthread_barrier_wait(job->start);
	job->result = job->fn(job->arg);
	return NULL;
}

int support_on_thread(support_fn fn, void *arg)
{
	struct job job = {.fn = fn, .arg = arg, .result = 1};

	if (pthread_create(&job.thread, NULL, job_run, &job) != 0)
		return 1;
	pthread_join(job.thread, NULL);
	return job.result;
}

__attribute__((noinline)) int support_in_frame(support_fn fn, void *arg)
{
	volatile char gap[32 * 1024];
	int result;

	gap[0] = 0;
	result = fn(arg);
	SUPPORT_KEEP(gap);
	return result;
}

int support_threads(unsigned n, support_fn fn, void *args, size_t size)
{
	/* The collector has to see args, which the jobs hold. */
	struct job *jobs = GC_MALLOC(n * sizeof(*jobs));
	pthread_barrier_t start;
	int failed = 0;
	unsigned made = 0;

	pthread_barrier_init(&start, NULL, n);
	for (; made < n; made++) {
		jobs[made] = (struct job){.fn = fn, .arg = (char *)args + made * size, .start = &start};
		if (pthread_create(&jobs[made].thread, NULL, job_run, &jobs[made]) != 0) {
			fprintf(stderr, "support_threads: thread %u of %u could not be made\n", made, n);
			abort();
		}
	}
	for (unsigned i = 0; i < made; i++) {
		pthread_join(jobs[i].thread, NULL);
		failed += jobs[i].result != 0;
	}
	pthread_barrier_destroy(&start);
	SUPPORT_KEEP(jobs);
	return failed;
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

int support_in_child(support_fn fn, void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(CHILD_SECONDS);
		_exit(fn(arg));
	}
	return wait_for(pid);
}

/* environ with env in front: the first of two equal names is the one that getenv finds. */
static char **environment(const char *const env[])
{
	size_t added = 0, had = 0;
	char **all;

	while (env != NULL && env[added] != NULL)
		added++;
	while (environ[had] != NULL)
		had++;
	all = calloc(added + had + 1, sizeof(*all));
	if (all == NULL)
		abort();
	for (size_t i = 0; i < added; i++)
		all[i] = (char *)(uintptr_t)env[i];
	memcpy(all + added, environ, had * sizeof(*all));
	return all;
}

static void read_all(int fd, char *out, size_t size)
{
	size_t used = 0;
	char rest[256];
	ssize_t n;

	for (;;) {
		bool fits = used + 1 < size;

		n = fits ? read(fd, out + used, size - used - 1) : read(fd, rest, sizeof(rest));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += fits ? (size_t)n : 0;
	}
	if (size > 0)
		out[used] = '\0';
}

int support_respawn(const char *mode, const char *const env[], char *err, size_t size)
{
	char self[] = "/proc/self/exe";
	char *argv[] = {self, (char *)(uintptr_t)mode, NULL};
	char **all = environment(env);
	posix_spawn_file_actions_t actions;
	int pipe_fds[2], rc;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0)
		return 1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDERR_FILENO);
	fflush(NULL);
	rc = posix_spawn(&pid, self, &actions, NULL, argv, all);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fds[1]);
	free(all);
	if (rc == 0)
		read_all(pipe_fds[0], err, size);
	close(pipe_fds[0]);
	return rc == 0 ? wait_for(pid) : 1;
}

/* ---- runs ---------------------------------------------------------------------------------------------------------------- */

uint64_t support_seed(void)
{
	return seed;
}

uint64_t support_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

unsigned long support_collect_every(void)
{
	return collect_every;
}

size_t support_scaled(size_t n, size_t min)
{
	if (collect_every > 0 && collect_every < 100)
		n /= 100 / collect_every;
	return n < min ? min : n;
}

void support_skip(const char *test, const char *why)
{
	skipped++;
	printf("SKIPPED %s: %s\n", test, why);
}

static void settings_back(void)
{
	weakref_checks_fail_allocation(0);
	gc_set_delivery(WEAKREF_DELIVER_AT_ALLOCATION);
	gc_set_heap_limit(0);
	gc_set_debug(0);
	gc_garbage_clear();
	gc_enable();
	gc_run_callbacks();
	gc_set_unraisable_handler(NULL, NULL);
	weakref_checks_validate();
}

static void timed_out(int signal_number)
{
	static const char line[] = "support: the time limit of the whole program is over (WEAKREF_TEST_TIMEOUT), in the test after the last "
				   "one that is listed\n";

	(void)signal_number;
	(void)!write(STDERR_FILENO, line, sizeof(line) - 1);
	abort();
}

/*
 * Each test takes its signals back from Check, whose handlers are for the group of the child that runs a test. Where it makes none that
 * group is number 0, which is our own: on SIGALRM it killed whoever ran the tests, make and the script around it included.
 */
static void signals_ours(void)
{
	signal(SIGALRM, timed_out);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

TCase *support_tcase(const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_add_checked_fixture(tcase, signals_ours, settings_back);
	return tcase;
}

static unsigned long env_number(const char *name)
{
	const char *text = getenv(name);

	return text != NULL ? strtoul(text, NULL, 0) : 0;
}

/* Called with libgc's lock held: counts, and calls nothing. */
static void on_event(GC_EventType event)
{
	if (event != GC_EVENT_MARK_END)
		return;
	marked++;
	if (!atomic_exchange(&full_announced, false))
		partial++;
}

static void on_full(void)
{
	full_announced = true;
	if (start_before != NULL)
		start_before();
}

/* Whether each mode that was asked for really happened. */
static bool modes_happened(bool incremental)
{
	bool fine = true;

	if (incremental) {
		support_churn(64, (size_t)256 << 20);
		if (!GC_is_incremental_mode() || partial == 0) {
			fprintf(stderr, "support: incremental mode was asked for, but no partial collection was seen\n");
			fine = false;
		}
	}
	if (env_number("GC_MARKERS") > 1 && GC_get_parallel() <= 0) {
		fprintf(stderr, "support: GC_MARKERS asks for parallel marking, but libgc does not mark in parallel\n");
		fine = false;
	}
	if (collect_every > 0 && !weakref_checks_enabled()) {
		fprintf(stderr, "support: WEAKREF_COLLECT_EVERY is set, but the library was built without --enable-checks\n");
		fine = false;
	}
	if (marked == 0) {
		fprintf(stderr, "support: the event hook that was set before gc_init was never called\n");
		fine = false;
	}
	return fine;
}

static bool start(bool incremental)
{
	int rc;

	GC_set_on_collection_event(on_event);
	rc = gc_init();
	if (rc != 0) {
		fprintf(stderr, "support: gc_init: %s\n", weakref_strerror(rc));
		return false;
	}
	start_before = GC_get_start_callback();
	GC_set_start_callback(on_full);
	if (incremental)
		GC_enable_incremental();
	return true;
}

/* Whoever started us may have blocked the signal. */
static void limit_time(unsigned long seconds)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	signal(SIGALRM, timed_out);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	alarm(seconds != 0 ? (unsigned)seconds : 240);
}

int support_main(Suite *(*suite)(void))
{
	bool incremental = env_number("WEAKREF_TEST_INCREMENTAL") != 0;
	SRunner *runner;
	int failed, ran;

	/* Each line at once: where the program is killed, they tell how far it came. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = getenv("WEAKREF_SEED") != NULL ? strtoull(getenv("WEAKREF_SEED"), NULL, 0) : (uint64_t)time(NULL) ^ (uint64_t)getpid();
	collect_every = env_number("WEAKREF_COLLECT_EVERY");
	printf("WEAKREF_SEED=%llu incremental=%d markers=%s collect every=%lu\n", (unsigned long long)seed, incremental,
	       getenv("GC_MARKERS") != NULL ? getenv("GC_MARKERS") : "default", collect_every);
	limit_time(env_number("WEAKREF_TEST_TIMEOUT"));
	if (!start(incremental))
		return EXIT_FAILURE;

	runner = srunner_create(suite());
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_set_log(runner, "-");
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	ran = srunner_ntests_run(runner);
	srunner_free(runner);
	support_collect();
	if (!modes_happened(incremental) || failed != 0 || ran == 0)
		return EXIT_FAILURE;
	return skipped >= (unsigned)ran ? SKIPPED : EXIT_SUCCESS;
}

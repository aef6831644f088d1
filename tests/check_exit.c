/* SPDX-License-Identifier: MIT */
/*
 * check_exit: what finalizers do when the process ends. Each scenario is this program run anew: it ends in its own way, its finalizers
 * write letters to stderr, and the parent compares the text and the exit status.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/checks.h"
#include "weakref/finalize.h"

/* What is alive to the end. */
static void *held;

/* Writes a letter at once: nothing is buffered when the process ends. */
static void put(char c)
{
	while (write(STDERR_FILENO, &c, 1) < 0 && errno == EINTR)
		;
}

_Noreturn static void wait_for_the_end(void)
{
	for (;;)
		pause();
}

/* The arguments are the letter. */
static int letter(void *args)
{
	put((char)(uintptr_t)args);
	return 0;
}

static weakref_finalize *finalizer(weakref_finalize_fn fn, char c)
{
	weakref_finalize *f = weakref_finalize_new(held, fn, (void *)(uintptr_t)(unsigned char)c);

	if (f == NULL)
		abort();
	return f;
}

/* And two that do not run at exit. */
static void three(void)
{
	weakref_finalize *not[2];

	finalizer(letter, 'a');
	not[0] = finalizer(letter, 'N');
	finalizer(letter, 'b');
	not[1] = finalizer(letter, 'O');
	finalizer(letter, 'c');
	for (int i = 0; i < 2; i++)
		weakref_finalize_set_atexit(not[i], false);
}

/* ---- ways to end --------------------------------------------------------------------------------------------------------- */

static int end_return(void)
{
	three();
	return 3;
}

static int end_exit(void)
{
	three();
	exit(4);
}

/* Two objects of the program's own data that refer to each other, each with a finalizer. */
static struct support_node *ring[2];

static void make_ring(void)
{
	for (int i = 0; i < 2; i++)
		ring[i] = support_node_new((uint64_t)i);
	for (int i = 0; i < 2; i++) {
		ring[i]->other = ring[1 - i];
		if (weakref_finalize_new(ring[i], letter, (void *)(uintptr_t)(unsigned char)"ab"[i]) == NULL)
			abort();
	}
}

static int ring_return(void)
{
	make_ring();
	return 0;
}

static int ring_exit(void)
{
	make_ring();
	exit(0);
}

static int end_quick(void)
{
	three();
	quick_exit(5);
}

static int end_at_once(void)
{
	three();
	_exit(6);
}

static int end_abort(void)
{
	three();
	signal(SIGABRT, SIG_DFL);
	abort();
}

static int end_killed(void)
{
	three();
	kill(getpid(), SIGKILL);
	wait_for_the_end();
}

static void *exit_on_thread(void *unused)
{
	(void)unused;
	exit(7);
}

static int end_on_thread(void)
{
	pthread_t thread;

	three();
	pthread_create(&thread, NULL, exit_on_thread, NULL);
	wait_for_the_end();
}

/* One that the collector does not know. */
static int end_on_raw_thread(void)
{
	pthread_t thread;

	three();
#undef pthread_create
	pthread_create(&thread, NULL, exit_on_thread, NULL);
	wait_for_the_end();
}
#define pthread_create GC_pthread_create

/* ---- what finalizers do then --------------------------------------------------------------------------------------------- */

static int make_another(void *args)
{
	finalizer(letter, 'x');
	if ((char)(uintptr_t)args != 'N')
		finalizer(make_another, 'N');
	return letter(args);
}

/* Those made in the run are run too: newest first. */
static int made_meanwhile(void)
{
	finalizer(letter, 'a');
	finalizer(make_another, 'b');
	finalizer(letter, 'c');
	return 0;
}

/* Makes two that are smaller. */
static int tree(void *args)
{
	char c = (char)(uintptr_t)args;

	put(c);
	for (int i = 0; i < 2 && c > '0'; i++)
		finalizer(tree, (char)(c - 1));
	return 0;
}

static int trees_meanwhile(void)
{
	finalizer(tree, '1');
	finalizer(letter, 'N');
	finalizer(tree, '3');
	return 0;
}

static void told(const gc_unraisable *info, void *user)
{
	(void)user;
	put(info->error == -EDOM && strcmp(info->where, "finalizer") == 0 ? '!' : '?');
}

static int fails(void *args)
{
	letter(args);
	return -EDOM;
}

/* One that fails is reported, and the rest are run. */
static int errors_reported(void)
{
	gc_set_unraisable_handler(told, NULL);
	finalizer(letter, 'a');
	finalizer(fails, 'b');
	finalizer(letter, 'c');
	finalizer(fails, 'd');
	return 0;
}

static int tell_automatic(void *args)
{
	put(gc_isenabled() ? 'E' : 'D');
	return letter(args);
}

static void after_run(void)
{
	put(gc_isenabled() ? 'E' : 'D');
}

static size_t many, nodes, leaves;

static int leaf(void *args)
{
	(void)args;
	leaves++;
	return 0;
}

static int node(void *args)
{
	(void)args;
	nodes++;
	return weakref_finalize_new(held, leaf, NULL) != NULL ? 0 : -ENOMEM;
}

/* Limits what the processor may do from now on to some ten times of what is to be done. */
static int make_nodes(void *args)
{
	struct rusage used;
	struct rlimit limit;

	getrusage(RUSAGE_SELF, &used);
	limit.rlim_cur = limit.rlim_max = (rlim_t)used.ru_utime.tv_sec + (rlim_t)used.ru_stime.tv_sec + 8;
	setrlimit(RLIMIT_CPU, &limit);
	for (size_t i = 0; i < many; i++)
		if (weakref_finalize_new(held, node, NULL) == NULL)
			return -ENOMEM;
	return letter(args);
}

static int tell_nodes(void *args)
{
	put(nodes == many && leaves == many ? 'y' : 'n');
	return letter(args);
}

/* One makes very many, each of which makes another: what it costs grows as their number does, not as its square. */
static int many_meanwhile(void)
{
	many = 100000;
	weakref_checks_collect_every(0);
	finalizer(tell_nodes, 'a');
	finalizer(make_nodes, 'b');
	return 0;
}

#define DEPTH 1000

static int descends(void *args)
{
	leaves += (uintptr_t)args == DEPTH - leaves;
	return 0;
}

static int ascend(void *args)
{
	uintptr_t i = (uintptr_t)args;

	if (i == DEPTH)
		return 0;
	nodes++;
	if (weakref_finalize_new(held, descends, (void *)(i + 1)) == NULL || weakref_finalize_new(held, ascend, (void *)(i + 1)) == NULL)
		return -ENOMEM;
	return 0;
}

/* Each makes one that makes others, and before it one that is to run when all of these have. */
static int deep_meanwhile(void)
{
	many = DEPTH;
	finalizer(tell_nodes, 'a');
	ascend(NULL);
	return 0;
}

/* Ordered ones are alive, and run at their place; those of a cycle as well. */
static int ordered(void)
{
	void **a = GC_MALLOC(32), **b = GC_MALLOC(32);

	a[0] = b;
	b[0] = a;
	finalizer(letter, 'a');
	weakref_finalize_new_ordered(a, letter, (void *)(uintptr_t)'b');
	weakref_finalize_new_ordered(b, letter, (void *)(uintptr_t)'c');
	finalizer(letter, 'd');
	return 0;
}

/* F12: automatic collection is off in the run, and afterwards what it was. A handler that was registered before runs after. */
static int collection_on(void)
{
	atexit(after_run);
	finalizer(tell_automatic, 'a');
	put(gc_isenabled() ? 'E' : 'D');
	return 0;
}

static int collection_off(void)
{
	atexit(after_run);
	finalizer(tell_automatic, 'a');
	gc_disable();
	put(gc_isenabled() ? 'E' : 'D');
	return 0;
}

static weakref_finalize *kept;

static void call_kept(void)
{
	put((char)('0' + weakref_finalize_alive(kept)));
	put((char)('0' + weakref_finalize_call(kept, NULL)));
	put((char)('0' + weakref_finalize_alive(kept)));
	put(weakref_finalize_new(held, letter, NULL) != NULL ? 'm' : 'e');
}

/* F13: atexit false: not run; after the run, calling what remains does nothing. */
static int remaining(void)
{
	atexit(call_kept);
	finalizer(letter, 'a');
	kept = finalizer(letter, 'b');
	weakref_finalize_set_atexit(kept, false);
	finalizer(letter, 'c');
	weakref_finalize *f = finalizer(letter, 'd');
	weakref_finalize_set_atexit(f, false);
	weakref_finalize_set_atexit(f, true);
	return 0;
}

static int set_kept(void *args)
{
	weakref_finalize_set_atexit(kept, true);
	return letter(args);
}

/* Set back to true by a finalizer of the run, when the run has passed it. */
static int set_meanwhile(void)
{
	finalizer(letter, 'a');
	kept = NULL;
	finalizer(set_kept, 'b');
	kept = finalizer(letter, 'k');
	weakref_finalize_set_atexit(kept, false);
	finalizer(letter, 'c');
	return 0;
}

static int detach_kept(void *args)
{
	put((char)('0' + weakref_finalize_detach(kept, NULL, NULL, NULL)));
	put((char)('0' + weakref_finalize_detach(kept, NULL, NULL, NULL)));
	return letter(args);
}

/* A finalizer of the run detaches the very next one. */
static int detached_meanwhile(void)
{
	finalizer(letter, 'a');
	kept = finalizer(letter, 'k');
	finalizer(detach_kept, 'b');
	return 0;
}

static int call_older(void *args)
{
	put((char)('0' + weakref_finalize_call(kept, NULL)));
	return letter(args);
}

/* A finalizer of the run calls an older one: it is run there, and not again. */
static int called_meanwhile(void)
{
	kept = finalizer(letter, 'k');
	finalizer(letter, 'a');
	finalizer(call_older, 'b');
	return 0;
}

static int calls_exit(void *args)
{
	letter(args);
	exit(9);
}

/* A finalizer of the run calls exit: the rest are run all the same, each once. */
static int exit_within(void)
{
	finalizer(letter, 'a');
	finalizer(calls_exit, 'b');
	finalizer(letter, 'c');
	finalizer(calls_exit, 'd');
	finalizer(letter, 'e');
	return 0;
}

static int make_garbage(void *arg)
{
	weakref_finalize_fn fn = (weakref_finalize_fn)(uintptr_t)arg;

	for (int i = 0; i < (int)SUPPORT_N; i++)
		SUPPORT_REQUIRE(weakref_finalize_new(support_node_new(1), fn, (void *)(uintptr_t)'g') != NULL);
	return 0;
}

static int exits_once(void *args)
{
	static bool gone;

	(void)args;
	if (gone)
		return 0;
	gone = true;
	put('g');
	exit(9);
}

/* A finalizer that runs because its object died calls exit. */
static int exit_in_delivery(void)
{
	three();
	if (support_on_thread(make_garbage, (void *)(uintptr_t)exits_once) != 0)
		return 1;
	support_collect();
	put('?');
	return 1;
}

static int callback_exits(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	return exits_once(NULL);
}

static int make_watched(void *arg)
{
	weakref_ref **refs = arg;

	for (size_t i = 0; i < SUPPORT_N; i++)
		SUPPORT_REQUIRE((refs[i] = weakref_ref_new(support_node_new(1), callback_exits, NULL)) != NULL);
	return 0;
}

/* The callback of a reference calls exit, under each rule. */
static int exit_in_callback_by(enum weakref_delivery rule)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));

	three();
	if (gc_set_delivery(rule) != 0 || support_on_thread(make_watched, refs) != 0)
		return 1;
	support_collect();
	gc_run_callbacks();
	SUPPORT_KEEP(refs);
	wait_for_the_end();
}

static int exit_in_callback(void)
{
	return exit_in_callback_by(WEAKREF_DELIVER_AT_ALLOCATION);
}

static int exit_in_callback_thread(void)
{
	return exit_in_callback_by(WEAKREF_DELIVER_THREAD);
}

static int exit_in_callback_manual(void)
{
	return exit_in_callback_by(WEAKREF_DELIVER_MANUAL);
}

static int collects(void *args)
{
	for (int i = 0; i < 20000; i++)
		if (gc_alloc(64) == NULL)
			put('?');
	put(gc_collect() >= 0 ? '+' : '-');
	return letter(args);
}

/* Finalizers of the run allocate and collect. */
static int collect_within(void)
{
	finalizer(letter, 'a');
	finalizer(collects, 'b');
	finalizer(collects, 'c');
	return 0;
}

/* What is due but not delivered is run as well, at its place and whatever its atexit says; once. */
static int due(void)
{
	if (gc_set_delivery(WEAKREF_DELIVER_MANUAL) != 0)
		return 1;
	finalizer(letter, 'a');
	if (support_on_thread(make_garbage, (void *)(uintptr_t)letter) != 0)
		return 1;
	finalizer(letter, 'c');
	support_collect();
	put('|');
	return 0;
}

static int make_not_atexit(void *arg)
{
	(void)arg;
	for (int i = 0; i < (int)SUPPORT_N; i++) {
		weakref_finalize *f = weakref_finalize_new(support_node_new(1), letter, (void *)(uintptr_t)'g');

		SUPPORT_REQUIRE(f != NULL && weakref_finalize_set_atexit(f, false) == 0);
	}
	return 0;
}

static int due_not_atexit(void)
{
	if (gc_set_delivery(WEAKREF_DELIVER_MANUAL) != 0 || support_on_thread(make_not_atexit, NULL) != 0)
		return 1;
	support_collect();
	put('|');
	return 0;
}

/* The first finalizer of a process: each allocation that it takes may fail, and the run at exit is had once. (With --enable-checks.) */
static int first_fails(void)
{
	bool reached = true;

	for (unsigned long k = 1; reached && k < 100; k++) {
		weakref_checks_fail_allocation(k);
		errno = 0;
		weakref_finalize *f = weakref_finalize_new(held, letter, (void *)(uintptr_t)'a');
		int error = errno;
		reached = weakref_checks_enabled() && weakref_checks_fail_allocation(0) == 0;
		if (f == NULL && (!reached || error != ENOMEM))
			put('?');
		if (f != NULL && reached)
			weakref_finalize_detach(f, NULL, NULL, NULL);
	}
	return 0;
}

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

static _Atomic bool going;

/* One that is alive when the process ends is run like all others. */
static int quiet(void *args)
{
	(void)args;
	return 0;
}

static void *work(void *unused)
{
	(void)unused;
	for (unsigned long i = 0;; i++) {
		weakref_finalize *f = weakref_finalize_new(support_node_new(i), quiet, NULL);

		weakref_finalize_detach(f, NULL, NULL, NULL);
		if (i % 1000 == 500)
			gc_collect();
		going = true;
	}
	return NULL;
}

/* Threads that go on allocating, collecting, making and detaching while main returns. */
static int thread_running(void)
{
	pthread_t thread;

	three();
	for (int i = 0; i < 2; i++)
		pthread_create(&thread, NULL, work, NULL);
	while (!going)
		usleep(100);
	usleep(20000);
	return 0;
}

/* ---- fork ---------------------------------------------------------------------------------------------------------------- */

/* In the child, by exit; the parent waits, then ends itself. */
static int forked(void (*child)(void))
{
	int status;
	pid_t pid;

	three();
	kept = finalizer(letter, 'k');
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		if (child != NULL)
			child();
		put('>');
		exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return 1;
	put('|');
	return 0;
}

/* The child does not run the parent's. */
static int fork_inherits(void)
{
	return forked(NULL);
}

static void child_makes_its_own(void)
{
	put(weakref_finalize_get_atexit(kept) ? '1' : '0');
	put(weakref_finalize_alive(kept) ? '1' : '0');
	finalizer(letter, 'x');
	finalizer(letter, 'y');
}

/* It runs its own. */
static int fork_own(void)
{
	return forked(child_makes_its_own);
}

static void child_takes_over(void)
{
	weakref_finalize_set_atexit(kept, true);
	put(weakref_finalize_get_atexit(kept) ? '1' : '0');
}

/* And those of the parent's that it asks for. */
static int fork_taken_over(void)
{
	return forked(child_takes_over);
}

static void child_calls(void)
{
	put((char)('0' + weakref_finalize_call(kept, NULL)));
	put((char)('0' + weakref_finalize_call(kept, NULL)));
}

/* A call in the child is a call; the parent has its own. */
static int fork_called(void)
{
	return forked(child_calls);
}

static void child_pumps(void)
{
	gc_run_callbacks();
}

/* What was due before the fork is the parent's to run. */
static int fork_due(void)
{
	if (gc_set_delivery(WEAKREF_DELIVER_MANUAL) != 0 || support_on_thread(make_garbage, (void *)(uintptr_t)letter) != 0)
		return 1;
	support_collect();
	return forked(child_pumps);
}

static _Atomic unsigned died;

static int count_death(void *args)
{
	died += args == NULL;
	return 0;
}

static int make_in_heap(void *arg)
{
	void **objects = arg;

	for (size_t i = 0; i < SUPPORT_N; i++) {
		objects[i] = support_node_new(i);
		SUPPORT_REQUIRE(weakref_finalize_new(objects[i], count_death, NULL) != NULL);
	}
	return 0;
}

/* An object that dies in the child is finalized in the child: the parent's lives on. */
static int fork_death(void)
{
	void **objects = GC_MALLOC(SUPPORT_N * sizeof(*objects));
	int status;
	pid_t pid;

	held = objects;
	if (support_on_thread(make_in_heap, objects) != 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		memset(objects, 0, SUPPORT_N * sizeof(*objects));
		support_collect();
		put(died >= SUPPORT_N - SUPPORT_SLACK ? 'd' : '?');
		died = 0;
		exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return 1;
	support_collect();
	put(died == 0 ? 'l' : '?');
	SUPPORT_KEEP(objects);
	return 0;
}

static int forks(void *args)
{
	int status = 1;
	pid_t pid = fork();

	if (pid == 0)
		return 0;
	waitpid(pid, &status, 0);
	return letter(args);
}

/* A finalizer of the run forks: the child comes back into the run, and finds nothing that is its own. */
static int fork_within(void)
{
	finalizer(letter, 'a');
	finalizer(forks, 'b');
	finalizer(letter, 'c');
	return 0;
}

/* ---- all ----------------------------------------------------------------------------------------------------------------- */

/* In `text`, # stands for at least SUPPORT_N - SUPPORT_SLACK and at most SUPPORT_N times the letter g. */
static const struct scenario {
	const char *name;
	int (*run)(void);
	int status;
	const char *text;
} scenarios[] = {
	{"return", end_return, 3, "cba"},
	{"exit", end_exit, 4, "cba"},
	{"ring, return", ring_return, 0, "ba"},
	{"ring, exit", ring_exit, 0, "ba"},
	{"quick_exit", end_quick, 5, ""},
	{"_exit", end_at_once, 6, ""},
	{"abort", end_abort, 1000 + SIGABRT, ""},
	{"SIGKILL", end_killed, 1000 + SIGKILL, ""},
	{"exit on a thread", end_on_thread, 7, "cba"},
	{"exit on an unknown thread", end_on_raw_thread, 7, "cba"},
	{"made meanwhile", made_meanwhile, 0, "cbNxxa"},
	{"trees meanwhile", trees_meanwhile, 0, "321001002100100N100"},
	{"many meanwhile", many_meanwhile, 0, "bya"},
	{"deep meanwhile", deep_meanwhile, 0, "ya"},
	{"errors", errors_reported, 0, "d!cb!a"},
	{"ordered", ordered, 0, "dcba"},
	{"collection on", collection_on, 0, "EDaE"},
	{"collection off", collection_off, 0, "DDaD"},
	{"remaining", remaining, 0, "dca100m"},
	{"set meanwhile", set_meanwhile, 0, "cbak"},
	{"detached meanwhile", detached_meanwhile, 0, "10ba"},
	{"called meanwhile", called_meanwhile, 0, "k1ba"},
	{"exit within", exit_within, 9, "edcba"},
	{"exit in a delivery", exit_in_delivery, 9, "gcba"},
	{"exit in a callback", exit_in_callback, 9, "gcba"},
	{"exit in a callback, thread", exit_in_callback_thread, 9, "gcba"},
	{"exit in a callback, manual", exit_in_callback_manual, 9, "gcba"},
	{"collect within", collect_within, 0, "+c+ba"},
	{"due", due, 0, "|c#a"},
	{"due, not atexit", due_not_atexit, 0, "|#"},
	{"first fails", first_fails, 0, "a"},
	{"thread running", thread_running, 0, "cba"},
	{"fork", fork_inherits, 0, ">|kcba"},
	{"fork, own", fork_own, 0, "01>yx|kcba"},
	{"fork, taken over", fork_taken_over, 0, "1>k|kcba"},
	{"fork, called", fork_called, 0, "k10>|kcba"},
	{"fork, due", fork_due, 0, ">|kcba#"},
	{"fork, death", fork_death, 0, "dl"},
	{"fork within", fork_within, 0, "cba"},
};

#define SCENARIOS ((int)(sizeof(scenarios) / sizeof(scenarios[0])))

static bool matches(const char *text, const char *pattern)
{
	for (; *pattern != '\0'; pattern++) {
		size_t n = strspn(text, "g");

		if (*pattern == '#') {
			if (n < SUPPORT_N - SUPPORT_SLACK || n > SUPPORT_N)
				return false;
			text += n;
		} else if (*text++ != *pattern)
			return false;
	}
	return *text == '\0';
}

/* F12, F13, F17, and G36 (a cycle of the program's own data): return, exit, quick_exit, _exit, abort, a signal; threads, forks, and finalizers that do what they please in the run. */
START_TEST(test_F12_F13_F17_G36_at_exit)
{
	const struct scenario *scenario = &scenarios[_i];
	char text[4096];
	int status = support_respawn(scenario->name, NULL, text, sizeof(text));

	ck_assert_msg(status == scenario->status, "%s: status %d: %s", scenario->name, status, text);
	ck_assert_msg(matches(text, scenario->text), "%s: %s, not %s", scenario->name, text, scenario->text);
}
END_TEST

/* The ways to end, and a callback that ends, under each rule of delivery. */
static const char *const under_each_rule[] = {
	"return", "exit", "ring, exit", "quick_exit", "_exit", "abort", "SIGKILL", "exit on a thread", "thread running", "exit within",
	"errors", "collection on", "remaining", "fork, own",
};

#define UNDER_EACH ((int)(sizeof(under_each_rule) / sizeof(under_each_rule[0])))

static const struct scenario *scenario_named(const char *name, size_t length)
{
	for (int i = 0; i < SCENARIOS; i++)
		if (strlen(scenarios[i].name) == length && strncmp(scenarios[i].name, name, length) == 0)
			return &scenarios[i];
	return NULL;
}

/* F12, F13, F17: the same under the other rules: who delivers makes no difference to what runs at exit, with atexit true and false. */
START_TEST(test_F12_F13_F17_at_exit_under_each_rule)
{
	const char *name = under_each_rule[_i / 2];
	const struct scenario *scenario = scenario_named(name, strlen(name));
	char mode[64], text[4096];

	ck_assert_ptr_nonnull(scenario);
	snprintf(mode, sizeof(mode), "%s@%d", name, _i % 2 + 1);
	int status = support_respawn(mode, NULL, text, sizeof(text));
	ck_assert_msg(status == scenario->status, "%s: status %d: %s", mode, status, text);
	ck_assert_msg(matches(text, scenario->text), "%s: %s, not %s", mode, text, scenario->text);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("exit");
	TCase *t = support_tcase("exit");

	tcase_add_loop_test(t, test_F12_F13_F17_G36_at_exit, 0, SCENARIOS);
	tcase_add_loop_test(t, test_F12_F13_F17_at_exit_under_each_rule, 0, 2 * UNDER_EACH);
	suite_add_tcase(s, t);
	return s;
}

static int run_scenario(const char *mode)
{
	const char *rule = strchrnul(mode, '@');
	const struct scenario *scenario = scenario_named(mode, (size_t)(rule - mode));

	if (scenario == NULL || gc_init() != 0)
		return 1;
	held = support_node_new(1);
	if (*rule != '\0' && gc_set_delivery((enum weakref_delivery)(rule[1] - '0')) != 0)
		return 1;
	return scenario->run();
}

int main(int argc, char **argv)
{
	return argc > 1 ? run_scenario(argv[1]) : support_main(suite);
}

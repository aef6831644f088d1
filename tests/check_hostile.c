/* SPDX-License-Identifier: MIT */
/*
 * check_hostile: what callbacks must not be able to break. A matrix: each thing that a reference's callback, a finalizer or a destructor
 * may do to the library, under each rule of delivery, while threads are made, cancelled and joined, others pump, and the process forks;
 * no deadlock, and every death delivered exactly once. And what callbacks leave behind on the delivery thread's stack; and a signal handler
 * on a stack of its own.
 *
 * Who counts: an item for each watched object, in memory that the collector does not know, never freed, so that one which a stray word kept
 * for long finds its own round's. A witness, a plain reference to the same object, says whether it died.
 *
 * A watchdog (SIGALRM) ends the program with the cell's name when a cell takes a minute.
 */
#define GC_THREADS
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gc/gc.h>

#include "weakref/finalize.h"

/* The address sanitizer does not see that a cancellation leaves frames, and takes what lies over them for misuse: under it threads are
 * cancelled outside the library only. */
#if defined(__SANITIZE_ADDRESS__)
#define CANCELS_ANYWHERE false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CANCELS_ANYWHERE false
#endif
#endif
#ifndef CANCELS_ANYWHERE
#define CANCELS_ANYWHERE true
#endif
/* Nor does it bear a fork beside threads that begin: its own table of threads is left half written in the child, and it gives up. */
#define FORKS_ANYWHERE CANCELS_ANYWHERE

#define RULES 3
#define CELL_SECONDS 60
#define MAKERS 2
#define CHURNED 12	 /* threads that are made and cancelled in a cell */
#define SLEEP_US 15000 /* some collections long; the first sleeps for a second */

enum act { ALLOCATE, COLLECT, REGISTER, DROP_OWN, APP_LOCK, SLEEP, FAIL, LONGJMP, LEAVE, ACTS };

static const char *const act_names[ACTS] = {
	"allocates", "collects", "registers more", "drops its own", "takes the application's lock", "sleeps", "fails", "leaves by longjmp",
	"leaves by pthread_exit or cancellation",
};

enum kind { CALLBACK, FINALIZER, DESTRUCTOR, KINDS };

struct round;

struct item {
	_Atomic unsigned times;
	unsigned index; /* in its round */
	enum kind kind;
	struct round *round;
};

/* What was registered by callbacks. */
#define MORE_MAX 4096

struct round {
	enum act act;
	enum weakref_delivery rule;
	_Atomic bool armed; /* else callbacks only count */
	unsigned n;
	struct item *items;
	_Atomic unsigned more_made, failed, done_wrong;
	_Atomic unsigned char more_ran[MORE_MAX];
	/* Seen by the collector: an uncollectable block. */
	struct held {
		weakref_ref *ref;
		weakref_finalize *finalizer;
		weakref_ref *witness;
	} *held;
};

static pthread_mutex_t app_lock;
static _Atomic unsigned told, told_wrong;
static _Atomic bool stop_threads;

/* Where this thread lets callbacks take it, and what it must not do. */
static _Thread_local sigjmp_buf *target;
static _Thread_local bool must_stay;

/* ---- the watchdog -------------------------------------------------------------------------------------------------------- */

static char cell_name[128];
static unsigned seconds_left;
static void (*alarm_before)(int);

static void bark(int number)
{
	static const char line[] = "check_hostile: deadlock, or nearly: nothing came of the cell \"";

	(void)number;
	(void)!write(STDERR_FILENO, line, sizeof(line) - 1);
	(void)!write(STDERR_FILENO, cell_name, strlen(cell_name));
	(void)!write(STDERR_FILENO, "\"\n", 2);
	abort();
}

static void watch(const struct round *round, const char *where)
{
	static const char *const rules[RULES] = {"at allocation", "by a thread", "pumped"};

	snprintf(cell_name, sizeof(cell_name), "a callback %s, delivered %s%s", act_names[round->act], rules[round->rule], where);
	seconds_left = alarm(CELL_SECONDS);
	alarm_before = signal(SIGALRM, bark);
}

static void watch_no_more(void)
{
	alarm(0);
	signal(SIGALRM, alarm_before);
	alarm(seconds_left);
}

/* ---- what callbacks do --------------------------------------------------------------------------------------------------- */

static int more_runs(void *args)
{
	_Atomic unsigned char *ran = args;

	++*ran;
	return 0;
}

static __attribute__((noinline)) void register_more(struct round *round)
{
	unsigned at = round->more_made++;

	if (at >= MORE_MAX) {
		round->more_made--;
		return;
	}
	struct support_node *node = support_node_new(at);
	if (node == NULL || weakref_finalize_new(node, more_runs, (void *)(uintptr_t)&round->more_ran[at]) == NULL)
		round->done_wrong++;
	if (weakref_ref_new(node, NULL, NULL) == NULL)
		round->done_wrong++;
}

/* A thread that is cancelled with the application's lock would be the application's fault. */
static void lock_app(int *state)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, state);
	pthread_mutex_lock(&app_lock);
}

static void unlock_app(int state)
{
	pthread_mutex_unlock(&app_lock);
	pthread_setcancelstate(state, NULL);
}

static __attribute__((noinline)) void jump(void)
{
	sigjmp_buf here;

	if (target != NULL)
		siglongjmp(*target, 1);
	/* The delivery thread can be left by nobody but itself: within the callback it may jump as it likes. */
	target = &here;
	if (sigsetjmp(here, 0) == 0)
		jump();
	target = NULL;
}

static void leave(const struct item *item)
{
	if (must_stay)
		return;
	if (item->index % 2 == 0 || !CANCELS_ANYWHERE)
		pthread_exit(NULL);
	pthread_cancel(pthread_self());
	pthread_testcancel();
}

static int act(struct item *item)
{
	struct round *round = item->round;
	struct held *held = &round->held[item->index];
	int state;

	item->times++;
	if (!round->armed)
		return 0;
	switch (round->act) {
	case ALLOCATE:
		for (int i = 0; i < 100; i++)
			round->done_wrong += support_node_new(1) == NULL;
		break;
	case COLLECT:
		if (item->index % 4 == 0) {
			long n = gc_collect();
			round->done_wrong += n < 0 && n != -EBUSY;
		}
		break;
	case REGISTER: register_more(round); break;
	case DROP_OWN:
		held->ref = NULL;
		held->finalizer = NULL;
		if (item->index % 16 == 0)
			gc_collect();
		break;
	case APP_LOCK:
		lock_app(&state);
		if (item->index % 16 == 0)
			usleep(100);
		unlock_app(state);
		break;
	case SLEEP:
		if (item->index % 32 == 0)
			usleep(item->index == 0 ? 1000000 : SLEEP_US);
		break;
	case FAIL: round->failed++; return -EDOM;
	case LONGJMP: jump(); break;
	default: leave(item); break;
	}
	return 0;
}

static int callback(weakref_ref *ref, void *data)
{
	struct item *item = data;

	if (weakref_ref_get(ref) != NULL)
		item->round->done_wrong++;
	return act(item);
}

static int finalizer(void *args)
{
	return act(args);
}

struct doomed {
	struct item *item;
	uint64_t filler;
};

static int destroy(void *obj)
{
	/* None, where the thread was taken away before it had the object. */
	struct item *item = ((struct doomed *)obj)->item;

	return item == NULL ? 0 : act(item);
}

static const gc_type doomed_type = {.name = "doomed", .size = sizeof(struct doomed), .destroy = destroy};

static void tell(const gc_unraisable *info, void *user)
{
	(void)user;
	told++;
	told_wrong += info->error != -EDOM;
}

/* ---- a round --------------------------------------------------------------------------------------------------------------- */

static struct round *round_new(enum act what, enum weakref_delivery rule, unsigned n)
{
	struct round *round = calloc(1, sizeof(*round));

	*round = (struct round){.act = what, .rule = rule, .n = n, .armed = true};
	round->items = calloc(n, sizeof(*round->items));
	round->held = GC_MALLOC_UNCOLLECTABLE(n * sizeof(*round->held));
	for (unsigned i = 0; i < n; i++)
		round->items[i] = (struct item){.index = i, .kind = (enum kind)(i % KINDS), .round = round};
	return round;
}

/* An object that is dropped at once, watched; false where there was no memory. A callback that takes this thread away comes back here only
 * through `target`, or not at all: then the item has no witness, or one that tells the truth. */
static __attribute__((noinline)) bool item_make(struct item *item)
{
	struct held *held = &item->round->held[item->index];
	struct doomed *obj = NULL;
	void *watched = item->kind == DESTRUCTOR ? (void *)(obj = gc_new(&doomed_type)) : support_node_new(item->index);

	if (watched == NULL)
		return false;
	if (obj != NULL)
		obj->item = item;
	else if (item->kind == CALLBACK)
		held->ref = weakref_ref_new(watched, callback, item);
	else
		held->finalizer = weakref_finalize_new(watched, finalizer, item);
	/* Last, so that what has a witness was watched: this may run callbacks, which may take the thread away. */
	held->witness = weakref_ref_new(watched, NULL, NULL);
	SUPPORT_KEEP(watched);
	return held->witness != NULL && (obj != NULL || held->ref != NULL || held->finalizer != NULL);
}

/* Lets fn(arg) be left by longjmp. */
static void leave_open(void (*fn)(void *arg), void *arg)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 0) == 0) {
		target = &here;
		fn(arg);
	}
	target = NULL;
}

static void pump(void *unused)
{
	(void)unused;
	support_scrub();
	gc_collect();
	gc_run_callbacks();
}

/* Whether an item's turn has come; each is made once, by whoever lives to do it. */
static _Atomic unsigned next_item;

static void make_some(void *arg)
{
	struct round *round = arg;
	int state = 0;

	for (int k = 0; k < 16; k++) {
		unsigned i = next_item++;
		if (i >= round->n)
			return;
		/* The application holds its lock while it allocates; see R182. */
		if (round->act == APP_LOCK)
			lock_app(&state);
		if (!item_make(&round->items[i]))
			round->done_wrong++;
		if (round->act == APP_LOCK)
			unlock_app(state);
	}
}

static void *make_on_thread(void *arg)
{
	leave_open(make_some, arg);
	leave_open(pump, NULL);
	return NULL;
}

/* Allocates, collects and reads until it is cancelled, wherever that is. */
static void churn(void *arg)
{
	struct round *round = arg;
	int state;

	for (unsigned i = 0; !stop_threads; i++) {
		pthread_setcancelstate(CANCELS_ANYWHERE ? PTHREAD_CANCEL_ENABLE : PTHREAD_CANCEL_DISABLE, &state);
		struct support_node *node = support_node_new(i);
		weakref_ref *ref = node == NULL ? NULL : weakref_ref_new(node, NULL, NULL);

		round->done_wrong += ref == NULL || weakref_ref_get(ref) != node;
		SUPPORT_KEEP(node);
		if (i % 8 == 0)
			pump(NULL);
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
		pthread_testcancel();
	}
}

static void *churn_on_thread(void *arg)
{
	while (!stop_threads)
		leave_open(churn, arg);
	return NULL;
}

/* Makes threads, cancels them at some moment, and joins them. */
static void *cancel_threads(void *arg)
{
	uint64_t state = support_seed();

	must_stay = true;
	for (int i = 0; i < CHURNED; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, churn_on_thread, arg) != 0)
			return arg;
		usleep((useconds_t)(support_random(&state) % 3000));
		pthread_cancel(thread);
		pthread_join(thread, NULL);
	}
	return NULL;
}

/* All items are made, by threads that may not live to the end of their work. */
static void *make_all(void *arg)
{
	struct round *round = arg;

	must_stay = true;
	next_item = 0;
	while (next_item < round->n) {
		pthread_t threads[MAKERS];

		for (int i = 0; i < MAKERS; i++)
			if (pthread_create(&threads[i], NULL, make_on_thread, round) != 0)
				abort();
		for (int i = 0; i < MAKERS; i++)
			pthread_join(threads[i], NULL);
	}
	return NULL;
}

static unsigned delivered(const struct round *round)
{
	unsigned n = 0;

	for (unsigned i = 0; i < round->n; i++)
		n += round->items[i].times != 0;
	return n;
}

/* Disarmed: whatever is ready runs, and nothing resists. */
static void deliver_rest(struct round *round)
{
	round->armed = false;
	for (int i = 0; i < 20 && (i < 3 || delivered(round) < round->n - SUPPORT_SLACK); i++) {
		pump(NULL);
		if (i > 3)
			usleep(1000);
	}
	pump(NULL);
}

/* What is wrong with the counts; NULL: nothing. */
static const char *counts_wrong(const struct round *round)
{
	static char text[256];
	unsigned lost = 0, twice = 0, early = 0, alive = 0, more_lost = 0, more_twice = 0, unmade = 0;

	for (unsigned i = 0; i < round->n; i++) {
		unsigned times = round->items[i].times;
		weakref_ref *witness = round->held[i].witness;

		/* Its maker was taken away in the middle: the object may have died before it was watched. */
		if (witness == NULL) {
			unmade++;
			twice += times > 1;
			continue;
		}
		bool dead = weakref_ref_get(witness) == NULL;
		alive += !dead;
		lost += dead && times == 0;
		twice += times > 1;
		early += !dead && times != 0;
	}
	unsigned more = round->more_made;
	for (unsigned i = 0; i < more; i++) {
		more_lost += round->more_ran[i] == 0;
		more_twice += round->more_ran[i] > 1;
	}
	snprintf(text, sizeof(text), "lost %u, twice %u, early %u, alive %u of %u (%u unmade); registered within: %u of %u lost, %u twice; wrong %u",
		 lost, twice, early, alive, round->n, unmade, more_lost, more, more_twice, round->done_wrong);
	if (lost != 0 || twice != 0 || early != 0 || more_twice != 0 || round->done_wrong != 0)
		return text;
	return alive > SUPPORT_SLACK || more_lost > SUPPORT_SLACK ? text : NULL;
}

static void locks_new(void)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&app_lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

static void round_begin(void)
{
	locks_new();
	told = told_wrong = 0;
	stop_threads = false;
	must_stay = true;
	next_item = 0;
	gc_set_unraisable_handler(tell, NULL);
}

/* NULL, or what is wrong. */
static const char *round_end(struct round *round)
{
	deliver_rest(round);
	const char *what = counts_wrong(round);
	if (what == NULL && (told != round->failed || told_wrong != 0))
		what = "failures are not told once each";
	gc_set_unraisable_handler(NULL, NULL);
	memset(round->held, 0, round->n * sizeof(*round->held));
	return what;
}

/* In the child: a round of its own. The callbacks of its parent's that were queued run as well, and only count. */
static int child(struct round *parents)
{
	struct round *round;

	signal(SIGALRM, bark);
	alarm(CELL_SECONDS / 2);
	strncat(cell_name, ", in the child", sizeof(cell_name) - strlen(cell_name) - 1);
	parents->armed = false;
	/* R183: where a thread took too long to leave, somebody has to allow collections again. */
	while (GC_is_disabled())
		GC_enable();
	round = round_new(parents->act, parents->rule, support_scaled(96, 24));
	round_begin();
	make_all(round);
	const char *what = round_end(round);
	if (what != NULL)
		fprintf(stderr, "%s: %s\n", cell_name, what);
	return what != NULL;
}

/* Whoever holds the application's lock: the child makes itself another. 0, or what the child gave. */
static int fork_in_the_middle(struct round *round)
{
	int status = 1;

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		_exit(child(round));
	if (pid < 0)
		return 1;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	return status;
}

/* The whole matrix, a cell a run: every death is delivered once, nothing is delivered twice or early, and nothing stands still, in the parent
 * and in the child. */
START_TEST(test_hostile_matrix)
{
	struct round *round = round_new((enum act)(_i / RULES), (enum weakref_delivery)(_i % RULES), support_scaled(192, 48));
	pthread_t maker, canceller;

	watch(round, "");
	round_begin();
	ck_assert_int_eq(gc_set_delivery(round->rule), 0);
	ck_assert_int_eq(pthread_create(&canceller, NULL, cancel_threads, round), 0);
	ck_assert_int_eq(pthread_create(&maker, NULL, make_all, round), 0);
	while (next_item < round->n / 2)
		usleep(500);
	int in_child = FORKS_ANYWHERE ? fork_in_the_middle(round) : 0;
	ck_assert_int_eq(pthread_join(maker, NULL), 0);
	ck_assert_int_eq(pthread_join(canceller, NULL), 0);
	stop_threads = true;
	const char *what = round_end(round);
	ck_assert_msg(what == NULL, "%s: %s", cell_name, what);
	ck_assert_msg(in_child == 0, "%s: the child's status is %d", cell_name, in_child);
	watch_no_more();
}
END_TEST

/* ---- a caller that is cancelled while it waits ------------------------------------------------------------------------------ */

static _Atomic bool slow_began;

static int slow(weakref_ref *ref, void *data)
{
	(void)ref;
	(void)data;
	slow_began = true;
	usleep(50000);
	return 0;
}

static int make_slow(void *arg)
{
	weakref_ref **refs = arg;

	for (int i = 0; i < 4; i++)
		SUPPORT_REQUIRE((refs[i] = weakref_ref_new(support_node_new(1), slow, NULL)) != NULL);
	return 0;
}

static void *collect_on_thread(void *unused)
{
	gc_collect();
	/* Libgc collects no more after a cancellation of a thread that had ended. */
	while (unused == NULL)
		pause();
	return NULL;
}

/* A thread that waits in gc_collect for the delivery thread, and is cancelled there, leaves no lock held. */
START_TEST(test_cancelled_while_it_waits)
{
	weakref_ref **refs = GC_MALLOC(4 * sizeof(*refs));
	struct round name = {.act = SLEEP, .rule = WEAKREF_DELIVER_THREAD};
	pthread_t thread;

	SUPPORT_SKIP_UNLESS(CANCELS_ANYWHERE, "the address sanitizer does not see cancellations");
	watch(&name, ", and who waits is cancelled");
	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_THREAD), 0);
	for (int i = 0; i < 3; i++) {
		slow_began = false;
		ck_assert_int_eq(support_on_thread(make_slow, refs), 0);
		ck_assert_int_eq(pthread_create(&thread, NULL, collect_on_thread, NULL), 0);
		for (int k = 0; k < 200 && !slow_began; k++)
			usleep(1000);
		usleep(5000);
		pthread_cancel(thread);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
		ck_assert_int_ge(gc_collect(), 0);
	}
	watch_no_more();
	SUPPORT_KEEP(refs);
}
END_TEST

/* ---- fork while a thread leaves ---------------------------------------------------------------------------------------------- */

static _Atomic bool leaving;

static void *leave_slowly(void *unused)
{
	int state;

	(void)unused;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	leaving = true;
	usleep(20000);
	pthread_setcancelstate(state, NULL);
	pthread_testcancel();
	return NULL;
}

static int child_collects(void *arg)
{
	long n = gc_collect();

	SUPPORT_REQUIRE(arg != NULL ? n == -EBUSY : n >= 0);
	return 0;
}

/* R183: libgc collects nothing while a thread is on its way out; a child that has lost the thread collects all the same. */
START_TEST(test_fork_while_a_thread_leaves)
{
	pthread_t thread;

	leaving = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, leave_slowly, NULL), 0);
	while (!leaving)
		usleep(100);
	ck_assert_int_eq(pthread_cancel(thread), 0);
	ck_assert_int_ne(GC_is_disabled(), 0);
	ck_assert_int_eq(support_in_child(child_collects, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(support_in_child(child_collects, NULL), 0);
}
END_TEST

/* R183: what a host forbade stays forbidden in the child, and forks wait for it once only. */
START_TEST(test_fork_while_the_host_forbids)
{
	GC_disable();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(support_in_child(child_collects, (void *)(uintptr_t)&leaving), 0);
	GC_enable();
	ck_assert_int_eq(support_in_child(child_collects, NULL), 0);
	ck_assert_int_ge(gc_collect(), 0);
}
END_TEST

/* ---- what callbacks leave behind -------------------------------------------------------------------------------------------- */

static uintptr_t littered[SUPPORT_N]; /* hidden */

/* Writes each pointer many times over, over as much stack as any wait may use. */
static __attribute__((noinline)) void litter(void)
{
	void *volatile dead[2048];

	for (size_t i = 0; i < sizeof(dead) / sizeof(dead[0]); i++)
		dead[i] = (void *)~littered[i % SUPPORT_N];
	/* Copies of all sizes leave some in the vector registers. */
	for (volatile size_t n = 16; n <= 512; n *= 2)
		memcpy((void *)&dead[512], (void *)dead, n);
	SUPPORT_KEEP(dead);
}

static int litters(void *args)
{
	(void)args;
	litter();
	return 0;
}

static int make_litter(void *arg)
{
	weakref_ref **refs = arg;
	void **all = GC_MALLOC(SUPPORT_N * sizeof(*all));

	for (size_t i = 0; i < SUPPORT_N; i++) {
		SUPPORT_REQUIRE((all[i] = support_node_new(i)) != NULL);
		littered[i] = support_hide(all[i]);
		SUPPORT_REQUIRE((refs[i] = weakref_ref_new(all[i], NULL, NULL)) != NULL);
	}
	/* The delivery thread gets to see them all while they live. */
	SUPPORT_REQUIRE(weakref_finalize_call(weakref_finalize_new(refs, litters, NULL), NULL) == 1);
	for (int i = 0; i < 8; i++)
		SUPPORT_REQUIRE(weakref_finalize_new(support_node_new(1), litters, NULL) != NULL);
	support_scrub();
	SUPPORT_REQUIRE(gc_collect() >= 0);
	SUPPORT_KEEP(all);
	return 0;
}

/* R181: pointers that callbacks left on the delivery thread's stack, and in its registers, keep nothing alive while it is idle. */
START_TEST(test_idle_delivery_thread_holds_nothing)
{
	weakref_ref **refs = GC_MALLOC(SUPPORT_N * sizeof(*refs));

	ck_assert_int_eq(gc_set_delivery(WEAKREF_DELIVER_THREAD), 0);
	support_collect();
	ck_assert_int_eq(support_on_thread(make_litter, refs), 0);
	/* On a busy machine the thread may not have come to rest yet. */
	for (int i = 0; i < 200 && support_dead(refs, SUPPORT_N) < SUPPORT_N - SUPPORT_SLACK; i++) {
		usleep(5000);
		support_collect();
	}
	ck_assert_uint_ge(support_dead(refs, SUPPORT_N), SUPPORT_N - SUPPORT_SLACK);
	SUPPORT_KEEP(refs);
}
END_TEST

/* ---- a signal handler on a stack of its own ------------------------------------------------------------------------------------- */

static _Atomic bool stacks_over;
static _Atomic unsigned handled;

/* Long enough for a collection of another thread's to begin meanwhile. */
static void handle_slowly(int signal)
{
	char room[4096];

	(void)signal;
	for (int i = 0; i < 20; i++) {
		memset(room, i, sizeof room);
		SUPPORT_KEEP(room);
	}
	handled++;
}

static void *collect_often(void *unused)
{
	for (int i = 0; i < 300 || handled < 30; i++)
		GC_gcollect();
	stacks_over = true;
	return unused;
}

static void *signal_often(void *thread)
{
	while (!stacks_over) {
		pthread_kill(*(pthread_t *)thread, SIGUSR2);
		usleep(100);
	}
	return NULL;
}

/* R226: with libgc's signal in its mask, it stands nothing in the way of collections, which find what the thread's own stack holds. */
START_TEST(test_R226_handler_on_another_stack)
{
	static char room[65536];
	const stack_t other = {.ss_sp = room, .ss_size = sizeof room};
	struct sigaction action = {.sa_handler = handle_slowly, .sa_flags = SA_ONSTACK | SA_RESTART}, action_before;
	struct support_node *node = support_node_new(226);
	pthread_t self = pthread_self(), threads[2];
	stack_t before;

	sigaddset(&action.sa_mask, GC_get_suspend_signal());
	ck_assert_int_eq(sigaltstack(&other, &before), 0);
	ck_assert_int_eq(sigaction(SIGUSR2, &action, &action_before), 0);
	stacks_over = false;
	handled = 0;
	ck_assert_int_eq(pthread_create(&threads[0], NULL, collect_often, NULL), 0);
	ck_assert_int_eq(pthread_create(&threads[1], NULL, signal_often, &self), 0);
	while (!stacks_over)
		gc_alloc_leaf(64);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert(support_node_intact(node));
	SUPPORT_KEEP(node);
	sigaction(SIGUSR2, &action_before, NULL);
	sigaltstack(&before, NULL);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("hostile");
	TCase *t = support_tcase("matrix");

	tcase_add_loop_test(t, test_hostile_matrix, 0, ACTS * RULES);
	tcase_add_test(t, test_cancelled_while_it_waits);
	tcase_add_test(t, test_fork_while_a_thread_leaves);
	tcase_add_test(t, test_fork_while_the_host_forbids);
	tcase_add_test(t, test_idle_delivery_thread_holds_nothing);
	tcase_add_test(t, test_R226_handler_on_another_stack);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return support_main(suite);
}

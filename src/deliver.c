/* SPDX-License-Identifier: MIT */
/*
 * deliver: see deliver.h.
 *
 * Where nodes run
 *   at allocation   heap_attention is set when something is queued, and the next allocation of the library's runs it. For programs that
 *                   allocate by GC_MALLOC alone there is the beacon: an unreachable block with a libgc finalizer, which libgc runs
 *                   at an allocation after each collection, and which lights the next one. Where GC_finalize_all took it, a
 *                   program has to allocate by the library once: libgc calls nobody then who might light it.
 *   thread          a thread of ours waits on a semaphore, which may be posted with the world stopped. It is started by the next
 *                   allocation or call where there is none: first of all, in a child after fork, or when a callback ended it.
 *   manual          nothing runs but by gc_run_callbacks; an eventfd is readable while something is queued.
 *
 * There are two lanes: nodes and items in one order, callbacks of references and finalizers; and behind all of them the objects of somebody
 * else's queue, each of which is run as a node would be: the destructors (mortal.c). Ordered finalizers come out of libgc's own queue. Where libgc finalizes by itself it is asked to before we run,
 * so that they come in time; where a host finalizes on demand, its pump brings them.
 *
 * Runs do not nest in a thread: a callback need not be prepared for another one in its middle, and the stack stays as deep as it was. A run
 * that a callback left by longjmp must not look like one in progress: see run_in_progress.
 *
 * Invariants
 *  1. roots->first == NULL if and only if roots->last is stale.
 *  2. Those of a lane are numbered as they are queued, from 1, and run in this order. A number of the first lane, from `started` + 1 to
 *     `queued`, that no node in the queue has is that of an item. `active` is the number of what the thread is in, or 0.
 *
 * Locks: the queue is under libgc's, the thread and who waits for it under lock_deliver, the handler under lock_handler.
 */
#define GC_THREADS
#include "deliver.h"

#include <errno.h>
#include <gc/gc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checks.h"
#include "cycle.h"
#include "heap.h"
#include "lock.h"

/* A root: allocated uncollectable, scanned. */
struct roots {
	struct deliver_node *first, *last;
	void *handler_user;
};

static struct roots *roots;

enum { CALLBACKS, OBJECTS, LANES };
static struct lane {
	_Atomic uint64_t queued, started, active;
} lanes[LANES];
void (*deliver_item_pop)(struct deliver_item *item);
static const struct deliver_objects *objects;
static _Atomic size_t due; /* ordered finalizers that are in libgc's queue, as far as is known */
static _Atomic int policy = WEAKREF_DELIVER_AT_ALLOCATION;
static _Atomic int fd = -1;
static gc_unraisable_fn handler;
static _Atomic bool beacon_lit;
static _Atomic bool taken; /* by GC_finalize_all: something is to be put back */
static _Atomic uintptr_t put_back_in = UINTPTR_MAX; /* the number of collections when that was done last */

uint16_t deliver_process;

static sem_t wake;
static _Atomic bool thread_running;
static pthread_t thread;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;

/* Read for each node: no call for it. */
#define INITIAL_EXEC __attribute__((tls_model("initial-exec")))

/* The node that this thread is running: a mark in the frame that runs it. */
#define MARKS 8
struct run {
	uint64_t mark[MARKS];
};

static _Thread_local INITIAL_EXEC struct run *current;
static _Thread_local INITIAL_EXEC uint64_t current_mark;
static _Thread_local INITIAL_EXEC bool is_thread;
static _Thread_local INITIAL_EXEC uintptr_t held_by; /* the frame that holds deliveries back, or 0 */
static _Thread_local INITIAL_EXEC uintptr_t awaited_in; /* the outermost frame whose end others may wait for, or 0 */

static bool thread_start(void);

/* ---- the queue ---- */

static bool lane_is_empty(const struct lane *lane)
{
	return atomic_load_explicit(&lane->queued, memory_order_acquire) == atomic_load_explicit(&lane->started, memory_order_acquire);
}

static bool queue_is_empty(void)
{
	return lane_is_empty(&lanes[CALLBACKS]) && lane_is_empty(&lanes[OBJECTS]);
}

/* Ordered finalizers still in libgc's queue that a run would fetch. */
static bool libgc_has_some(void)
{
	return atomic_load_explicit(&due, memory_order_relaxed) != 0 && !GC_get_finalize_on_demand() &&
	       GC_should_invoke_finalizers();
}

bool deliver_pending(void)
{
	return !queue_is_empty() || libgc_has_some();
}

/* What libgc had before and has no longer, it has handed over by itself. */
void deliver_expect_stw(size_t n)
{
	size_t before = GC_should_invoke_finalizers() ? atomic_load_explicit(&due, memory_order_relaxed) : 0;

	atomic_store_explicit(&due, before + n, memory_order_relaxed);
}

static void fetch_from_libgc(void)
{
	if (GC_get_finalize_on_demand() || !GC_should_invoke_finalizers())
		return;
	atomic_store_explicit(&due, 0, memory_order_relaxed);
	GC_invoke_finalizers();
	/* Libgc's record of a finalizer goes on naming the block after the call: a pointer to one that is left here keeps the block. */
	base_clear_stack_top();
}

void deliver_queue_stw(struct deliver_node *first, struct deliver_node *last)
{
	uint64_t number = atomic_load_explicit(&lanes[CALLBACKS].queued, memory_order_relaxed);

	for (struct deliver_node *node = first; node != last; node = node->next)
		node->number = ++number;
	last->number = ++number;
	last->next = NULL;
	if (roots->first == NULL)
		roots->first = first;
	else
		roots->last->next = first;
	roots->last = last;
	atomic_store_explicit(&lanes[CALLBACKS].queued, number, memory_order_release);
}

/* Those that have been started have lower numbers, and those that never were queued have none. */
bool deliver_is_queued_locked(const struct deliver_node *node)
{
	return node->number > atomic_load_explicit(&lanes[CALLBACKS].started, memory_order_relaxed);
}

void deliver_items_stw(uint64_t n)
{
	atomic_fetch_add_explicit(&lanes[CALLBACKS].queued, n, memory_order_release);
}

void deliver_queue_objects_locked(size_t n)
{
	atomic_fetch_add_explicit(&lanes[OBJECTS].queued, n, memory_order_release);
}

static void *queue_locked(void *node)
{
	deliver_queue_stw(node, node);
	return NULL;
}

/* For a run that goes on only while a rule is in force (or for ANY rule), so that nothing runs by a rule that was changed. */
enum { ANY = -1 };

struct popping {
	int rule;
	struct deliver_item item; /* where what was popped goes, if it is no node */
};

static void object_run(struct deliver_node *node)
{
	struct deliver_item *item = (struct deliver_item *)node;
	void *object = item->subject;

	item->subject = NULL;
	objects->run(object);
	BASE_KEEP(object);
}

/* In this order: who sees something as started sees that the thread is in it (thread_is_past). */
static void start_locked(struct lane *lane)
{
	if (is_thread)
		atomic_store(&lane->active, atomic_load(&lane->started) + 1);
	atomic_fetch_add(&lane->started, 1);
}

static struct deliver_node *unlink_first(void)
{
	struct deliver_node *node = roots->first;

	roots->first = node->next;
	if (roots->first == NULL)
		roots->last = NULL;
	node->next = NULL;
	return node;
}

/* There is one. */
static struct deliver_node *pop_callback_locked(struct deliver_item *item)
{
	struct deliver_node *node = &item->node;

	if (roots->first != NULL && roots->first->number == atomic_load(&lanes[CALLBACKS].started) + 1)
		node = unlink_first();
	else
		deliver_item_pop(item);
	start_locked(&lanes[CALLBACKS]);
	return node;
}

static struct deliver_node *pop_object_locked(struct deliver_item *item)
{
	void *object = objects->pop_locked();

	if (object == NULL)
		return NULL;
	*item = (struct deliver_item){.node.run = object_run, .subject = object};
	start_locked(&lanes[OBJECTS]);
	return &item->node;
}

static void *pop_locked(void *arg)
{
	struct popping *popping = arg;

	if (popping->rule != ANY && popping->rule != atomic_load(&policy))
		return NULL;
	return lane_is_empty(&lanes[CALLBACKS]) ? pop_object_locked(&popping->item) : pop_callback_locked(&popping->item);
}

/* Tells whoever is to run what was queued. Async-signal-safe: also called with the world stopped or libgc's lock held. No point of
 * cancellation, as write would be: a thread that ended here would have told nobody. */
static void announce(void)
{
	int saved = errno;
	uint64_t one = 1;
	int descriptor = atomic_load_explicit(&fd, memory_order_relaxed);

	if (descriptor >= 0 && syscall(SYS_write, descriptor, &one, sizeof one) < 0 && errno != EAGAIN)
		base_fatal("cannot write to the callbacks' descriptor: %s", strerror(errno));
	if (atomic_load(&policy) == WEAKREF_DELIVER_THREAD && atomic_load(&thread_running))
		sem_post(&wake);
	else if (atomic_load(&policy) != WEAKREF_DELIVER_MANUAL)
		atomic_store_explicit(&heap_attention, true, memory_order_release);
	errno = saved;
}

void deliver_queue(struct deliver_node *node)
{
	heap_with_lock(queue_locked, node);
	announce();
}

/* Once for each collection: allocations in one thread are not to keep a GC_finalize_all going in another. */
static bool may_put_back(void)
{
	return atomic_load(&taken) && atomic_load(&put_back_in) != heap_collections();
}

/* The look comes last: what is taken at this moment is seen, or whoever takes it asks for attention afterwards. */
static void attention_end(void)
{
	atomic_store(&heap_attention, false);
	if (may_put_back())
		atomic_store(&heap_attention, true);
}

void deliver_taken(void)
{
	atomic_store(&taken, true);
	if (may_put_back())
		atomic_store(&heap_attention, true);
}

static void settle_locked(void)
{
	if (deliver_pending())
		announce();
	if (may_put_back())
		atomic_store(&heap_attention, true);
}

static struct cycle_scanner scanner = {.settle_locked = settle_locked};

/* ---- runs ---- */

static void thread_is_idle(void)
{
	for (int i = 0; i < LANES; i++)
		atomic_store(&lanes[i].active, 0);
}

/* What a callback leaves behind however it leaves, but by longjmp. */
static void run_end(struct run *run)
{
	(void)run;
	current = NULL;
	if (!is_thread)
		return;
	lock_take(&lock_deliver);
	thread_is_idle();
	pthread_cond_broadcast(&progress);
	lock_drop(&lock_deliver);
}

static void run_begin(struct run *run)
{
	static _Atomic uint64_t runs;

	current_mark = base_mix(atomic_fetch_add(&runs, 1) + 1);
	for (int i = 0; i < MARKS; i++)
		((volatile struct run *)run)->mark[i] = current_mark;
	current = run;
}

/* Runs the node that pop gives; false where there is none. */
static NOINLINE bool run_one(void *(*pop)(void *arg), void *arg)
{
	struct run run __attribute__((cleanup(run_end)));

	run_begin(&run);
	struct deliver_node *node = heap_with_lock(pop, arg);
	if (node == NULL)
		return false;
	node->run(node);
	BASE_KEEP(node);
	return true;
}

/*
 * Whether this thread is in a callback. One that was left by longjmp lies deeper than we are, or, when the stack has grown again, under
 * frames of others, which have written over its mark. (Where they happen to have left all of it alone, what is ready waits for a call from
 * elsewhere.) It may read a frame that is no more: not a matter for sanitizers.
 */
__attribute__((no_sanitize("address", "undefined"))) static NOINLINE bool run_in_progress(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (current == NULL)
		return false;
	bool there = (uintptr_t)current > here;
	for (int i = 0; there && i < MARKS; i++)
		there = ((volatile struct run *)current)->mark[i] == current_mark;
	if (!there)
		current = NULL;
	return there;
}

bool deliver_running(void)
{
	return run_in_progress();
}

long deliver_run_from(void *(*pop)(void *arg), void *arg)
{
	int saved = errno;
	long n = 0;

	lock_check_none("delivery");
	if (run_in_progress())
		return 0;
	while (run_one(pop, arg))
		n++;
	errno = saved;
	return n;
}

NOINLINE void deliver_call(void (*fn)(void *arg), void *arg)
{
	struct run run __attribute__((cleanup(run_end)));
	int saved = errno;

	lock_check_none("a callback");
	run_begin(&run);
	fn(arg);
	errno = saved;
}

void deliver_announce(void)
{
	if (deliver_pending())
		announce();
}

/* Nothing is left: the descriptor is made unreadable, and readable again if something came meanwhile. */
static void fd_settle(void)
{
	uint64_t n;
	int descriptor = atomic_load_explicit(&fd, memory_order_relaxed);

	if (descriptor < 0)
		return;
	long got = syscall(SYS_read, descriptor, &n, sizeof n);
	(void)got;
	if (deliver_pending())
		announce();
}

static NOINLINE long run_all(int rule)
{
	struct popping popping = {.rule = rule};
	int saved = errno;
	long n = 0;
	bool ran;

	if (run_in_progress())
		return 0;
	attention_end();
	do {
		fetch_from_libgc();
		n += ran = run_one(pop_locked, &popping);
	} while (ran);
	fd_settle();
	errno = saved;
	return n;
}

long deliver_run(void)
{
	lock_check_none("delivery");
	return run_all(ANY);
}

/* At an allocation, in whatever state the program is. */
static void run_at_allocation(void)
{
	char here;
	int saved = errno;

	if (held_by <= (uintptr_t)&here)
		held_by = 0;
	if (held_by != 0 || run_in_progress())
		return;
	if (atomic_load(&policy) == WEAKREF_DELIVER_AT_ALLOCATION) {
		run_all(WEAKREF_DELIVER_AT_ALLOCATION);
	} else {
		attention_end();
		if (atomic_load(&policy) == WEAKREF_DELIVER_THREAD && !atomic_load(&thread_running))
			thread_start();
	}
	errno = saved;
}

static void beacon_light(void);

/* Run by libgc, at an allocation after the collection that found the beacon unreachable, or by GC_finalize_all. */
static void GC_CALLBACK beacon_out(void *block, void *collections)
{
	(void)block;
	atomic_store(&beacon_lit, false);
	if ((uintptr_t)collections != heap_collections())
		beacon_light();
	else
		deliver_taken();
	run_at_allocation();
}

static NOINLINE void beacon_light(void)
{
	if (atomic_exchange(&beacon_lit, true))
		return;
	void *block = GC_MALLOC_ATOMIC(1);
	/* Without memory there is none until the next gc_collect: delivery at our own allocations goes on. */
	if (block != NULL)
		GC_register_finalizer_no_order(block, beacon_out, (void *)(uintptr_t)heap_collections(), NULL, NULL);
	else
		atomic_store(&beacon_lit, false);
}

void deliver_put_back(void)
{
	if (likely(!may_put_back()))
		return;
	atomic_store(&put_back_in, heap_collections());
	atomic_store(&taken, false); /* before: what is taken again is told anew */
	beacon_light();
	objects->put_back();
}

static void attend(void)
{
	int saved = errno;

	deliver_put_back();
	run_at_allocation();
	errno = saved;
}

/* ---- the thread ---- */

/* However the thread ends, whoever waits must look again; and where it is still wanted another takes its place. */
static void thread_over(void *unused)
{
	(void)unused;
	lock_take(&lock_deliver);
	thread_is_idle();
	atomic_store(&thread_running, false);
	pthread_cond_broadcast(&progress);
	lock_drop(&lock_deliver);
	if (atomic_load(&policy) == WEAKREF_DELIVER_THREAD)
		thread_start();
	if (!queue_is_empty())
		announce();
}

static void *thread_main(void *unused)
{
	is_thread = true;
	/* The stack may be that of a thread which has ended: what that left there would be held for as long as this one lives. */
	base_clear_stack();
	pthread_cleanup_push(thread_over, NULL);
	while (atomic_load(&policy) == WEAKREF_DELIVER_THREAD) {
		run_all(WEAKREF_DELIVER_THREAD);
		/* What that left behind would lie under the frames of the wait until something else dies: maybe for ever. */
		base_clear_stack();
		base_clear_registers();
		while (sem_wait(&wake) != 0 && errno == EINTR)
			;
	}
	pthread_cleanup_pop(1);
	return unused;
}

/* Signals are for the program's own threads, but those that libgc stops us by, and those that tell of a fault of this thread. */
static void signals_for_thread(sigset_t *set)
{
	base_signals_of_program(set);
	sigdelset(set, GC_get_suspend_signal());
	sigdelset(set, GC_get_thr_restart_signal());
}

/* lock_deliver is not held: making a thread allocates. Two callers at once: one starts it. */
static bool thread_start(void)
{
	bool no = false;
	sigset_t set, old;
	pthread_attr_t attributes;

	if (!atomic_compare_exchange_strong(&thread_running, &no, true))
		return true;
	int error = checks_allocation_fails() ? ENOMEM : pthread_attr_init(&attributes);
	if (error == 0) {
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		signals_for_thread(&set);
		pthread_sigmask(SIG_SETMASK, &set, &old);
		error = pthread_create(&thread, &attributes, thread_main, NULL);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		pthread_attr_destroy(&attributes);
	}
	if (error != 0)
		atomic_store(&thread_running, false);
	return error == 0;
}

/* How many were queued in each lane at some time. */
struct moment {
	uint64_t queued[LANES];
};

/* Whether the thread has run what was queued by then. */
static bool thread_is_past(const struct moment *then)
{
	for (int i = 0; i < LANES; i++) {
		if (atomic_load(&lanes[i].started) < then->queued[i])
			return false;
		uint64_t in = atomic_load(&lanes[i].active);
		if (in != 0 && in <= then->queued[i])
			return false;
	}
	return true;
}

static void progress_end(struct lock **lock)
{
	lock_drop(*lock);
}

/* A caller that is cancelled in the wait has the lock when it unwinds. */
static void progress_wait(const struct moment *then)
{
	struct lock *lock __attribute__((cleanup(progress_end))) = &lock_deliver;

	lock_take(lock);
	while (!thread_is_past(then) && atomic_load(&thread_running))
		pthread_cond_wait(&progress, &lock->mutex);
}

/* Waits until the thread has run what is queued now, as long as that is the rule: under another one the thread ends, and who runs the rest,
 * and whether ever, is not ours to know. A thread that a callback ended is started anew. */
static void thread_wait(void)
{
	struct moment now;

	fetch_from_libgc();
	for (int i = 0; i < LANES; i++)
		now.queued[i] = atomic_load(&lanes[i].queued);
	while (!thread_is_past(&now) && atomic_load(&policy) == WEAKREF_DELIVER_THREAD) {
		if (!atomic_load(&thread_running) && !thread_start())
			return;
		sem_post(&wake);
		progress_wait(&now);
	}
}

const void *deliver_hold(const void *frame)
{
	uintptr_t before = held_by;

	held_by = (uintptr_t)frame;
	return (const void *)before;
}

const void *deliver_awaited_begin(const void *frame)
{
	uintptr_t before = awaited_in;

	/* One further out ends later, also where a callback leaves this one by longjmp. */
	if ((uintptr_t)frame > before)
		awaited_in = (uintptr_t)frame;
	return (const void *)before;
}

void deliver_awaited_end(const void *before)
{
	awaited_in = (uintptr_t)before;
}

static bool is_awaited(void)
{
	char here;

	if (awaited_in <= (uintptr_t)&here)
		awaited_in = 0;
	return awaited_in != 0;
}

void deliver_drain(void)
{
	beacon_light();
	switch (atomic_load(&policy)) {
	case WEAKREF_DELIVER_AT_ALLOCATION:
		lock_check_none("delivery");
		run_all(WEAKREF_DELIVER_AT_ALLOCATION);
		break;
	case WEAKREF_DELIVER_THREAD:
		/* Within a callback, or where somebody may wait for this one, nothing is waited for: the thread may wait for what it holds. */
		if (is_thread)
			deliver_run();
		else if (!run_in_progress() && !is_awaited())
			thread_wait();
		break;
	default:
		break;
	}
}

/* ---- settings ---- */

int deliver_set_policy(enum weakref_delivery wanted)
{
	int before = atomic_exchange(&policy, (int)wanted);

	if (wanted == WEAKREF_DELIVER_THREAD && !thread_start()) {
		atomic_store(&policy, before);
		return -WEAKREF_ENOMEM;
	}
	if (before == WEAKREF_DELIVER_THREAD && wanted != WEAKREF_DELIVER_THREAD)
		sem_post(&wake); /* it sees the new rule and ends */
	if (deliver_pending())
		announce();
	return 0;
}

enum weakref_delivery deliver_policy(void)
{
	return (enum weakref_delivery)atomic_load(&policy);
}

int deliver_fd(void)
{
	int have = atomic_load(&fd);

	if (have >= 0)
		return have;
	int fresh = checks_allocation_fails() ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fresh < 0)
		return -WEAKREF_ENOMEM;
	if (!atomic_compare_exchange_strong(&fd, &have, fresh)) {
		close(fresh);
		return have;
	}
	if (deliver_pending())
		announce();
	return fresh;
}

/* The child has one thread, and a descriptor that it shares with its parent until it takes its own. */
void deliver_fork_child(void)
{
	int inherited = atomic_exchange(&fd, -1);

	deliver_process++;
	if (inherited >= 0)
		close(inherited);
	sem_init(&wake, 0, 0);
	pthread_cond_init(&progress, NULL);
	atomic_store(&thread_running, is_thread);
	/* What another thread was running, it runs in the parent. */
	if (!is_thread)
		thread_is_idle();
	if (!queue_is_empty())
		announce();
}

/* ---- failures ---- */

static void report_plainly(const gc_unraisable *info)
{
	fprintf(stderr, "libweakref: %s of %p failed: %s\n", info->where, info->subject, weakref_strerror(info->error));
}

void deliver_set_handler(gc_unraisable_fn fn, void *user)
{
	lock_take(&lock_handler);
	handler = fn;
	roots->handler_user = user;
	lock_drop(&lock_handler);
}

void deliver_failed(int error, const char *where, void *subject)
{
	gc_unraisable info = {.error = error, .where = where, .subject = subject};

	lock_take(&lock_handler);
	gc_unraisable_fn fn = handler;
	void *user = roots->handler_user;
	lock_drop(&lock_handler);
	if (fn != NULL)
		fn(&info, user);
	else
		report_plainly(&info);
}

void deliver_set_objects(const struct deliver_objects *queue)
{
	objects = queue;
}

int deliver_init(void)
{
	roots = cycle_roots_new(sizeof *roots);
	if (roots == NULL || sem_init(&wake, 0, 0) != 0)
		return -WEAKREF_ENOMEM;
	heap_attention_fn = attend;
	cycle_add(&scanner);
	beacon_light();
	return 0;
}

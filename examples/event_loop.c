/* SPDX-License-Identifier: MIT */
/*
 * event_loop: finalizers whose work is for one thread, which has an event loop.
 *
 * Textures, say, of a library whose context belongs to one thread: other threads may use them and forget them, but only that thread may give
 * them back. So a texture's finalizer, which runs wherever somebody allocates, only hands the work over to the loop's executor. The loop polls
 * the executor's descriptor among others: here a timer, whose ticks are its frames, and a pipe that tells when the workers have ended.
 *
 *     event_loop [WORKERS [TEXTURES]]     exit status 0 where textures were given back, and none by another thread
 */
#define GC_THREADS
#include <gc/gc.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <weakref/executor.h>
#include <weakref/finalize.h>
#include <weakref/gc.h>
#include <weakref/object.h>

#define WORKERS_MAX 64

struct texture {
	unsigned id;
	unsigned char pixels[16384];
};

static const gc_type texture_type = {.name = "texture", .size = sizeof(struct texture), .flags = WEAKREF_TYPE_LEAF};

static weakref_executor *loop; /* static data holds it */
static pthread_t loop_thread;
static unsigned textures = 500; /* of each worker */
static _Atomic unsigned made;
static unsigned given_back, elsewhere;
static int ended[2]; /* a byte for each worker */

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* ---- in the loop's thread ---- */

static void give_back(void *id)
{
	(void)id; /* the library's own call, with (unsigned)(uintptr_t)id, would stand here */
	given_back++;
	elsewhere += !pthread_equal(pthread_self(), loop_thread);
}

/* ---- in any thread ---- */

/* The texture is dead by now; what is left of it is its number. */
static int texture_died(void *id)
{
	return weakref_executor_submit(loop, give_back, id);
}

static struct texture *texture_new(void)
{
	struct texture *texture = gc_new(&texture_type);

	if (texture == NULL)
		die("gc_new");
	texture->id = ++made;
	/* At exit the context goes as a whole, and nobody runs the executor any more. */
	weakref_finalize *finalize = weakref_finalize_new(texture, texture_died, (void *)(uintptr_t)texture->id);
	if (finalize == NULL)
		die("weakref_finalize_new");
	weakref_finalize_set_atexit(finalize, false);
	return texture;
}

static void *work(void *unused)
{
	for (unsigned i = 0; i < textures; i++)
		texture_new()->pixels[i % sizeof((struct texture *)0)->pixels] = 1;
	if (write(ended[1], "", 1) != 1)
		die("write");
	return unused;
}

/* ---- the loop ---- */

enum { TASKS, FRAMES, ENDED, SOURCES };

static unsigned run_loop(unsigned workers)
{
	struct itimerspec tick = {.it_interval.tv_nsec = 10000000, .it_value.tv_nsec = 10000000};
	struct pollfd sources[SOURCES] = {
		[TASKS] = {.fd = weakref_executor_fd(loop), .events = POLLIN},
		[FRAMES] = {.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), .events = POLLIN},
		[ENDED] = {.fd = ended[0], .events = POLLIN},
	};
	unsigned frames = 0;

	if (sources[TASKS].fd < 0 || sources[FRAMES].fd < 0 || timerfd_settime(sources[FRAMES].fd, 0, &tick, NULL) != 0)
		die("the loop's descriptors");
	while (workers > 0) {
		uint64_t ticks;
		char byte;

		if (poll(sources, SOURCES, -1) < 0)
			continue;
		if (sources[TASKS].revents != 0)
			weakref_executor_run(loop);
		if (sources[FRAMES].revents != 0 && read(sources[FRAMES].fd, &ticks, sizeof ticks) == sizeof ticks)
			frames++;
		if (sources[ENDED].revents != 0 && read(sources[ENDED].fd, &byte, 1) == 1)
			workers--;
	}
	close(sources[FRAMES].fd);
	return frames;
}

int main(int argc, char **argv)
{
	unsigned workers = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
	pthread_t threads[WORKERS_MAX];

	if (argc > 2)
		textures = (unsigned)strtoul(argv[2], NULL, 10);
	if (workers < 1 || workers > WORKERS_MAX || textures < 1 || argc > 3) {
		fprintf(stderr, "usage: event_loop [WORKERS [TEXTURES]], at most %d workers\n", WORKERS_MAX);
		return 2;
	}
	if (gc_init() < 0 || pipe(ended) != 0 || (loop = weakref_executor_new("loop")) == NULL)
		die("event_loop");
	loop_thread = pthread_self();
	for (unsigned i = 0; i < workers; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			die("pthread_create");
	unsigned frames = run_loop(workers), before = given_back;
	for (unsigned i = 0; i < workers; i++)
		pthread_join(threads[i], NULL);
	gc_collect();
	while (weakref_executor_wait(loop, 0) == 0)
		weakref_executor_run(loop);
	printf("%u textures made by %u workers, %u frames\n", (unsigned)made, workers, frames);
	printf("given back: %u while they worked, %u in all, %u by another thread than the loop's\n", before, given_back, elsewhere);
	return given_back > 0 && elsewhere == 0 ? 0 : 1;
}

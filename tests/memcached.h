/* SPDX-License-Identifier: MIT */
/*
 * memcached: servers for a test, each a process with a socket in a folder of its own, gone when the thread that
 * started it is.
 */
#ifndef TESTS_MEMCACHED_H
#define TESTS_MEMCACHED_H

#include <stdbool.h>
#include <sys/types.h>

#define MEMCACHED_NEEDED "the program memcached was not found"

struct memcached_server {
	pid_t pid; /* 0 where it does not run */
	char path[64];
};

/* Whether there is such a program. */
bool memcached_found(void);
/* Starts one, with an empty memory, on the same path as before where it ran already; waits until it answers. */
bool memcached_start(struct memcached_server *server);
/* Kills it; what it had is lost. */
void memcached_kill(struct memcached_server *server);
/* Lets it stand still, and go on: it keeps what it has, and answers late. */
void memcached_freeze(struct memcached_server *server);
void memcached_thaw(struct memcached_server *server);

#endif

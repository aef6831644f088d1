/* SPDX-License-Identifier: MIT */
/*
 * cache_memcached.h: what the files of libweakref-memcached share: the connections of one process.
 *
 * The two files see of libweakref what programs see, its public headers.
 */
#ifndef CACHE_MEMCACHED_H
#define CACHE_MEMCACHED_H

#include <libmemcached/memcached.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct far_connections;

struct far_connection {
	atomic_bool used;
	memcached_st *handle; /* the user's */
	unsigned era; /* in which it was made */
};

/*
 * At most n connections by a configuration of libmemcached's, none of them made yet; timeout_ms for each step. NULL with errno set: EINVAL
 * for a configuration that cannot be used.
 */
struct far_connections *far_connections_new(const char *config, uint32_t timeout_ms, unsigned n);
/* Whether they were made by this process, not by one that it was forked from. */
bool far_own(const struct far_connections *connections);
/* Closes them; none is in use. */
void far_connections_free(struct far_connections *connections);

/* How many servers there are, and which of them has a name. */
uint32_t far_servers(const struct far_connections *connections);
uint32_t far_server_of(const struct far_connections *connections, const char *name, size_t size);

/* A connection for the caller alone, waiting for one as long as a step may take; NULL with errno: EBUSY, or ENOMEM. */
struct far_connection *far_take(struct far_connections *connections);
/*
 * Closes the caller's connection for good, and ends an era: those of an older one are closed when they are next taken, since what broke one
 * has most likely broken all. New ones take their places when somebody needs them.
 */
void far_discard(struct far_connections *connections, struct far_connection *connection);
void far_give(struct far_connections *connections, struct far_connection *connection);

#endif

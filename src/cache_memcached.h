/* SPDX-License-Identifier: MIT */
/*
 * cache_memcached.h: what the files of libweakref-memcached share: the connections of one process, and what stands in memcached.
 *
 * They see of libweakref what programs see, its public headers.
 */
#ifndef CACHE_MEMCACHED_H
#define CACHE_MEMCACHED_H

#include <libmemcached/memcached.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/valuedict.h"

/* ---- connections (cache_memcached_connections.c) ---- */

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

/* ---- items (cache_memcached_item.c) ---- */

#define FAR_NAME_SIZE 250 /* memcached's limit */
#define FAR_PREFIX_SIZE 64 /* at most */
#define FAR_TIME_NAME_SIZE (FAR_PREFIX_SIZE + 2)
#define FAR_TIME_SIZE 16
#define FAR_MARK_SIZE 4

struct far_name {
	uint32_t server;
	size_t size;
	char text[FAR_NAME_SIZE + 1];
};

enum far_value { FAR_VALUE_GOOD, FAR_VALUE_MARK, FAR_VALUE_DAMAGED, FAR_VALUE_FOREIGN, FAR_VALUE_OUTDATED };

/* Stands in the place of what was removed. */
extern const char far_mark[FAR_MARK_SIZE];

/* The bytes of a key; `number` is where an integer's are put. 0 or -EINVAL. */
int far_key_bytes(enum weakref_key_kind kind, const void *key, uint64_t *number, weakref_bytes *bytes);
bool far_printable(const void *data, size_t size);
/* The name of a key; its server is set by who knows it. */
void far_name_make(enum weakref_key_kind kind, const char *prefix, const weakref_bytes *key, struct far_name *name);
/* The name of a server's time; its size. */
size_t far_time_name(const char *prefix, char text[FAR_TIME_NAME_SIZE]);
void far_time_format(uint64_t time, char text[FAR_TIME_SIZE + 1]);
/* 0 for what is no time. */
uint64_t far_time_parse(const char *text, size_t size);

/* A value without time and checksum, which far_value_seal adds. A leaf block; NULL with errno set. */
unsigned char *far_value_make(const weakref_bytes *key, const weakref_bytes *bytes);
size_t far_value_size(const weakref_bytes *key, const weakref_bytes *bytes);
void far_value_seal(unsigned char *value, size_t size, uint64_t time);
/* What it is; of a good one, where the bytes begin. */
enum far_value far_value_open(const unsigned char *value, size_t size, const weakref_bytes *key, uint64_t time, size_t *begin);

#endif

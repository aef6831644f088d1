/* SPDX-License-Identifier: MIT */
/*
 * cache_memcached_connections: libmemcached's handles, each used by one thread at a time.
 *
 * A handle is made when it is first needed, in one of n places. A semaphore counts the places that nobody uses; who got past it finds one by
 * trying. All memory is malloc's: nothing here leads to the collected heap, and nothing there is held by this but through its owner.
 *
 * Not here: a place of its own for each thread (threads come and go, and servers do not like thousands of connections); what to do when a
 * server fails (cache_memcached.c): libmemcached's own timeouts for failed servers are off, since they are kept by handle, so that each would
 * have to find out for itself.
 */
#include "config.h"

#include "cache_memcached.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct far_connections {
	pid_t process;
	char *config;
	uint32_t timeout_ms;
	memcached_st *model; /* for questions that need no connection; read only */
	sem_t unused;
	atomic_uint era;
	unsigned n;
	struct far_connection places[];
};

static memcached_st *handle_new(const char *config, uint32_t timeout_ms)
{
	const struct {
		memcached_behavior_t behavior;
		uint64_t value;
	} settings[] = {
		{MEMCACHED_BEHAVIOR_NO_BLOCK, 1},
		{MEMCACHED_BEHAVIOR_TCP_NODELAY, 1},
		{MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1},
		{MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, timeout_ms},
		{MEMCACHED_BEHAVIOR_POLL_TIMEOUT, timeout_ms},
		{MEMCACHED_BEHAVIOR_SND_TIMEOUT, (uint64_t)timeout_ms * 1000},
		{MEMCACHED_BEHAVIOR_RCV_TIMEOUT, (uint64_t)timeout_ms * 1000},
		/* Every answer is waited for, and comes from the one server that has the key. */
		{MEMCACHED_BEHAVIOR_NOREPLY, 0},
		{MEMCACHED_BEHAVIOR_BUFFER_REQUESTS, 0},
		{MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 0},
		{MEMCACHED_BEHAVIOR_NUMBER_OF_REPLICAS, 0},
		{MEMCACHED_BEHAVIOR_AUTO_EJECT_HOSTS, 0},
		{MEMCACHED_BEHAVIOR_REMOVE_FAILED_SERVERS, 0},
		{MEMCACHED_BEHAVIOR_RETRY_TIMEOUT, 0},
		{MEMCACHED_BEHAVIOR_DEAD_TIMEOUT, 0},
		{MEMCACHED_BEHAVIOR_SERVER_FAILURE_LIMIT, 0},
		{MEMCACHED_BEHAVIOR_SERVER_TIMEOUT_LIMIT, 0},
	};
	memcached_st *handle = memcached(config, strlen(config));

	if (handle == NULL)
		return NULL;
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
		memcached_behavior_set(handle, settings[i].behavior, settings[i].value);
	return handle;
}

static bool config_good(const char *config)
{
	char message[256];

	return libmemcached_check_configuration(config, strlen(config), message, sizeof message) == MEMCACHED_SUCCESS;
}

static bool model_good(memcached_st *model)
{
	memcached_return_t code;
	const char *name_space = memcached_callback_get(model, MEMCACHED_CALLBACK_NAMESPACE, &code);

	return memcached_server_count(model) > 0 && (name_space == NULL || name_space[0] == '\0');
}

struct far_connections *far_connections_new(const char *config, uint32_t timeout_ms, unsigned n)
{
	struct far_connections *connections;

	if (!config_good(config)) {
		errno = EINVAL;
		return NULL;
	}
	connections = calloc(1, sizeof *connections + n * sizeof connections->places[0]);
	if (connections == NULL)
		return NULL;
	connections->config = strdup(config);
	connections->process = getpid();
	connections->timeout_ms = timeout_ms;
	connections->n = n;
	connections->model = connections->config != NULL ? handle_new(config, timeout_ms) : NULL;
	if (connections->model == NULL || !model_good(connections->model)) {
		int error = connections->model == NULL ? ENOMEM : EINVAL;
		memcached_free(connections->model);
		free(connections->config);
		free(connections);
		errno = error;
		return NULL;
	}
	sem_init(&connections->unused, 0, n);
	return connections;
}

bool far_own(const struct far_connections *connections)
{
	return connections->process == getpid();
}

void far_connections_free(struct far_connections *connections)
{
	for (unsigned i = 0; i < connections->n; i++)
		memcached_free(connections->places[i].handle);
	memcached_free(connections->model);
	sem_destroy(&connections->unused);
	free(connections->config);
	free(connections);
}

uint32_t far_servers(const struct far_connections *connections)
{
	return memcached_server_count(connections->model);
}

uint32_t far_server_of(const struct far_connections *connections, const char *name, size_t size)
{
	return far_servers(connections) == 1 ? 0 : memcached_generate_hash(connections->model, name, size);
}

/* The collector's signals interrupt: the wait goes on. */
static bool wait_for_place(struct far_connections *connections)
{
	struct timespec until;

	if (sem_trywait(&connections->unused) == 0)
		return true;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += connections->timeout_ms / 1000;
	until.tv_nsec += (long)(connections->timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (sem_timedwait(&connections->unused, &until) != 0)
		if (errno != EINTR)
			return false;
	return true;
}

static struct far_connection *find_place(struct far_connections *connections)
{
	for (unsigned i = 0;; i = (i + 1) % connections->n)
		if (!atomic_exchange(&connections->places[i].used, true))
			return &connections->places[i];
}

static void handle_free(struct far_connection *place)
{
	memcached_free(place->handle);
	place->handle = NULL;
}

/* A handle anew, not a quit: libmemcached would keep a failed server out for the rest of the second, whatever its retry timeout. */
void far_discard(struct far_connections *connections, struct far_connection *connection)
{
	atomic_fetch_add(&connections->era, 1);
	handle_free(connection);
}

struct far_connection *far_take(struct far_connections *connections)
{
	if (!wait_for_place(connections)) {
		errno = EBUSY;
		return NULL;
	}
	struct far_connection *place = find_place(connections);
	unsigned era = atomic_load(&connections->era);
	if (place->handle != NULL && place->era != era)
		handle_free(place);
	place->era = era;
	if (place->handle == NULL)
		place->handle = handle_new(connections->config, connections->timeout_ms);
	if (place->handle == NULL) {
		far_give(connections, place);
		errno = ENOMEM;
		return NULL;
	}
	return place;
}

void far_give(struct far_connections *connections, struct far_connection *connection)
{
	atomic_store(&connection->used, false);
	sem_post(&connections->unused);
}

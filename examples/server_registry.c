/* SPDX-License-Identifier: MIT */
/*
 * server_registry: a registry that knows which servers there are without keeping them there.
 *
 * After the example of the same name in "ultimate-python": a function sets twelve servers up (four applications of three
 * components each), holds them in a structure of its own, and registers them. While it runs the registry counts twelve. It
 * does not tear them down: it returns, nobody holds the servers any more, and after the next collection the registry is empty.
 *
 *     server_registry          exit status 0 where the counts are 12 and 0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <weakref/gc.h>
#include <weakref/object.h>
#include <weakref/set.h>

#define APPS 4
#define COMPONENTS 3

static const char *const apps[APPS] = {"yelp", "pinterest", "uber", "twitter"};
static const char *const components[COMPONENTS] = {"db", "web", "cache"};

/* ---- servers ---- */

struct server {
	char ssid[33]; /* a version 4 UUID, in hexadecimal */
	char role[32];
	const char *provider;
};

static int server_repr(void *obj, char *buf, size_t size)
{
	const struct server *server = obj;

	return snprintf(buf, size, "%-16s %s  %s", server->role, server->ssid, server->provider);
}

static const gc_type server_type = {.name = "Server", .size = sizeof(struct server), .repr = server_repr};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void uuid4(char text[33])
{
	unsigned char bytes[16];

	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		die("getrandom");
	bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40);
	bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
	for (int i = 0; i < 16; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

static struct server *server_create(const char *app, const char *component)
{
	struct server *server = gc_new(&server_type);

	if (server == NULL)
		die("gc_new");
	uuid4(server->ssid);
	snprintf(server->role, sizeof server->role, "%s_%s", app, component);
	server->provider = "aws";
	return server;
}

/* ---- the registry ---- */

static void registry_print(const weakref_set *registry)
{
	weakref_set_iter *iter = weakref_set_iter_new(registry);
	char line[128];
	void *server;

	if (iter == NULL)
		die("weakref_set_iter_new");
	while (weakref_set_iter_next(iter, &server) == 1) {
		gc_repr(server, line, sizeof line);
		printf("    %s\n", line);
	}
}

/* Holds all servers in a structure of its own while it runs; that is what keeps them. */
static __attribute__((noinline)) size_t setup_and_teardown_servers(weakref_set *registry)
{
	struct server *app_servers[APPS][COMPONENTS];

	for (int a = 0; a < APPS; a++)
		for (int c = 0; c < COMPONENTS; c++) {
			app_servers[a][c] = server_create(apps[a], components[c]);
			if (weakref_set_add(registry, app_servers[a][c]) != 1)
				die("weakref_set_add");
		}
	gc_collect();
	size_t count = weakref_set_len(registry);
	printf("inside the function: %zu servers are registered\n", count);
	registry_print(registry);
	/* A C compiler may forget a variable after its last use, and this is it. */
	memset(app_servers, 0, sizeof app_servers);
	WEAKREF_KEEP(app_servers);
	return count;
}

/* Python's frame is gone when its function has returned. C's is still there, under the stack pointer, with all that was in it. */
static __attribute__((noinline)) void overwrite_dead_frames(void)
{
	volatile char stack[16384];

	for (size_t i = 0; i < sizeof stack; i++)
		stack[i] = 0;
}

int main(void)
{
	if (gc_init() != 0)
		die("gc_init");
	weakref_set *registry = weakref_set_new(WEAKREF_BY_IDENTITY);
	if (registry == NULL)
		die("weakref_set_new");
	size_t inside = setup_and_teardown_servers(registry);
	overwrite_dead_frames();
	gc_collect();
	size_t after = weakref_set_len(registry);
	printf("after it returned, and a collection: %zu\n", after);
	registry_print(registry);
	return inside == (size_t)APPS * COMPONENTS && after == 0 ? 0 : 1;
}

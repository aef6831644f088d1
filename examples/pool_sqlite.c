/* SPDX-License-Identifier: MIT */
/*
 * pool_sqlite [THREADS [ROUNDS]]: a pool of SQLite connections that several threads share.
 *
 * A connection is costly to open and must not be used by two threads at once. The pool opens at most three, asks each one before
 * it is lent whether it still works (a trivial query), and closes them at the end. Each thread adds rows, a transaction a row;
 * the sum in the table proves that every transaction happened once. On the way one connection is broken on purpose: its work
 * fails, the thread pushes it back as if nothing had happened, and the check finds out. One lease is forgotten: the collector
 * brings the connection back.
 */
#define GC_THREADS
#include <gc/gc.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weakref/weakref.h"

#define CONNECTIONS 3

/* What the pool lends: outside of the collected heap, as SQLite's own memory is. */
struct connection {
	sqlite3 *db;
	int number;
};

static char path[] = "/tmp/pool_sqlite.XXXXXX";
static atomic_int opened, closed, refused;
static int rounds = 50;

static int sql(const struct connection *c, const char *text)
{
	return sqlite3_exec(c->db, text, NULL, NULL, NULL);
}

/* ---- the pool's functions ---- */

static int connection_open(void **out, void *user)
{
	struct connection *c = calloc(1, sizeof *c);

	(void)user;
	if (c == NULL)
		return -WEAKREF_ENOMEM;
	if (sqlite3_open(path, &c->db) != SQLITE_OK) {
		sqlite3_close(c->db);
		free(c);
		return -EIO;
	}
	sqlite3_busy_timeout(c->db, 10000);
	sql(c, "PRAGMA synchronous = OFF");
	c->number = ++opened;
	*out = c;
	return 0;
}

static int connection_close(void *resource, void *user)
{
	struct connection *c = resource;
	int result = sqlite3_close(c->db) == SQLITE_OK ? 0 : -EIO;

	(void)user;
	free(c);
	closed++;
	return result;
}

/* A connection that fails the check is dropped without dealloc: what there is to clean up is cleaned up here. */
static int connection_check(void *resource, void *user)
{
	struct connection *c = resource;

	(void)user;
	if (c->db != NULL && sql(c, "SELECT 1") == SQLITE_OK)
		return 1;
	refused++;
	free(c);
	return 0;
}

static int connection_recovered(void *resource, const char *file, int line, void *user)
{
	(void)user;
	(void)line;
	const char *slash = file != NULL ? strrchr(file, '/') : NULL;
	printf("recovered a connection that was leased in %s\n", slash != NULL ? slash + 1 : file != NULL ? file : "a function");
	/* Whoever had it may have left a transaction open. */
	sql(resource, "ROLLBACK");
	return 0;
}

/* ---- the work ---- */

static int add_row(void *resource, void *user)
{
	struct connection *c = resource;

	if (sql(c, "BEGIN IMMEDIATE") != SQLITE_OK)
		return -EIO;
	const char *insert = user;
	return sql(c, insert) == SQLITE_OK && sql(c, "COMMIT") == SQLITE_OK ? 0 : -EIO;
}

static void *worker(void *arg)
{
	weakref_pool *pool = arg;
	char insert[] = "INSERT INTO sums VALUES (1)";
	const double patience = 30;
	long failed = 0;

	/* A row whose connection turned out to be broken is tried once more, with another. */
	for (int i = 0; i < rounds; i++)
		if (WEAKREF_POOL_WITH_WAIT(pool, patience, add_row, insert) != 0)
			failed += WEAKREF_POOL_WITH_WAIT(pool, patience, add_row, insert) != 0;
	return (void *)failed;
}

/* Closes a connection behind the pool's back, and pushes it. */
static int break_one(weakref_pool *pool)
{
	void *resource;
	int error = weakref_pool_pop(pool, &resource);

	if (error != 0)
		return error;
	struct connection *c = resource;
	sqlite3_close(c->db);
	c->db = NULL;
	closed++;
	return weakref_pool_push(pool, c);
}

static void *forget_one(void *pool)
{
	return WEAKREF_POOL_LEASE(pool) != NULL ? NULL : pool;
}

static int sum_row(void *out, int n, char **values, char **names)
{
	(void)names;
	*(long *)out = n == 1 && values[0] != NULL ? atol(values[0]) : -1;
	return 0;
}

static int sum(void *resource, void *out)
{
	struct connection *c = resource;

	return sqlite3_exec(c->db, "SELECT count(*) FROM sums", sum_row, out, NULL) == SQLITE_OK ? 0 : -EIO;
}

static int create_table(void *resource, void *user)
{
	(void)user;
	return sql(resource, "PRAGMA journal_mode = WAL; CREATE TABLE sums (n INTEGER)") == SQLITE_OK ? 0 : -EIO;
}

static long run_threads(weakref_pool *pool, int n)
{
	pthread_t *threads = calloc((size_t)n, sizeof *threads);
	long failed = 0;
	int begun = 0;

	while (threads != NULL && begun < n && pthread_create(&threads[begun], NULL, worker, pool) == 0)
		begun++;
	for (int i = 0; i < begun; i++) {
		void *result;
		pthread_join(threads[i], &result);
		failed += (long)result;
	}
	free(threads);
	return begun == n ? failed : -1;
}

/* The thread's stack is gone, and with it the last pointer to its lease. */
static long recover(weakref_pool *pool)
{
	pthread_t thread;
	void *result = NULL;
	weakref_pool_stats stats = {0};

	if (pthread_create(&thread, NULL, forget_one, pool) != 0 || pthread_join(thread, &result) != 0 || result != NULL)
		return -1;
	for (int i = 0; i < 20 && stats.recovered == 0; i++) {
		gc_collect();
		weakref_pool_get_stats(pool, &stats);
	}
	return (long)stats.recovered;
}

static int run(int threads)
{
	const weakref_pool_options options = {.alloc = connection_open, .dealloc = connection_close, .check = connection_check,
		.recovered = connection_recovered, .hardmax = CONNECTIONS, .minsize = 1};
	weakref_pool *pool = weakref_pool_new(&options);
	weakref_pool_stats stats;
	long rows = -1;

	if (pool == NULL || WEAKREF_POOL_WITH(pool, create_table, NULL) != 0)
		return 1;
	long failed = run_threads(pool, threads);
	if (break_one(pool) != 0)
		return 1;
	failed += run_threads(pool, threads);
	long recovered = recover(pool);
	if (WEAKREF_POOL_WITH(pool, sum, &rows) != 0 || weakref_pool_get_stats(pool, &stats) != 0)
		return 1;
	printf("rows %ld, failed %ld, recovered %ld, refused %d, reused %s, at most %d open\n", rows, failed, recovered, refused,
	       stats.reuses > stats.allocs ? "more than opened" : "less than opened", CONNECTIONS);
	weakref_pool_close(pool);
	printf("%s\n", opened == closed ? "all connections are closed" : "connections were left open");
	return rows != 2L * threads * rounds || failed != 0 || refused != 1 || recovered != 1 || opened != closed;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 8;
	char extra[sizeof path + 4];

	rounds = argc > 2 ? atoi(argv[2]) : rounds;
	if (threads < 1 || threads > 100 || rounds < 1 || gc_init() != 0) {
		fprintf(stderr, "usage: pool_sqlite [THREADS [ROUNDS]]\n");
		return 2;
	}
	int fd = mkstemp(path);
	if (fd < 0) {
		perror(path);
		return 1;
	}
	close(fd);
	int result = run(threads);
	for (int i = 0; i < 3; i++) {
		snprintf(extra, sizeof extra, "%s%s", path, i == 0 ? "" : i == 1 ? "-wal" : "-shm");
		unlink(extra);
	}
	if (result != 0)
		fprintf(stderr, "pool_sqlite: something went wrong: see above\n");
	return result;
}

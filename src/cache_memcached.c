/* SPDX-License-Identifier: MIT */
/*
 * cache_memcached: memcached as a second level of caches. See weakref/cache_memcached.h.
 *
 * Marks and tickets. To remove a key is to set a mark in its place, for MARK_SECONDS. A look-up that finds no value, or that a reload begins
 * with, remembers what stood there: nothing, or something with a number (memcached's cas). The store that follows it says so, and is done only
 * if that is so yet. So a store is never seen by who removed the key after the look-up, in whichever process, and however late the store
 * arrives. What was looked up in vain because the server failed is not stored, nor what there is no ticket for.
 *
 * Time. Each server holds a random number under `PREFIX!`, 16 hexadecimal digits; a value is good while it bears that number. Both are read
 * in one request: the time is sent to each server that has values. A server without a time (started anew) gets one with the first store. A
 * store bears the time that its look-up saw, so what was loaded before a clearing bears an old time, and is not seen.
 *
 * Debts. What could not be removed must not be read later, when the server is back: it is owed, a name each, and paid before anything else
 * is asked of that server, by whoever comes next. More than DEBTS names, and a name that finds no memory, become one debt: another time for
 * that server. A debt is closed only after it was paid, and each failure opens a new one, so that none is lost that comes while an older one is
 * being paid.
 *
 * Invariants:
 *  1. a connection is used by one thread; no user function and no allocation from the collected heap happens while it is taken;
 *  2. after any failure a connection is closed, so that no late answer is taken for that of a later question;
 *  3. `open` is at least the number of unpaid debts in the list; the list is emptied only where it had none.
 *
 * Locks: none. Debts are a list that is only pushed to; figures and server states are atomic.
 *
 * A child after fork has connections of its own from its first use on: the parent's are left as they are, not even closed politely, since
 * what is written to them is written to the parent's.
 *
 * Not here: a second level that is written when the program puts a value (the cache removes the key instead); sharing of the debts between
 * processes: what this process could not remove, others may read until it is back in touch with the server.
 */
#include "config.h"

#include "cache_memcached.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "weakref/cache_memcached.h"
#include "weakref/object.h"

#define DEBTS 1024
#define TICKETS 4096 /* of a thread: more than it loads within each other, or at once */
#define MARK_SECONDS 60
#define MONTH (30 * 24 * 3600) /* what is longer, memcached takes for a date */

/* Something that a server has to forget before it is believed again. */
struct debt {
	struct debt *next;
	atomic_bool paid;
	uint32_t server;
	size_t size;
	char text[];
};

struct server {
	_Atomic uint64_t retry_ns; /* left alone until then */
	_Atomic uint64_t clears_owed, clears_paid;
};

struct figures {
	_Atomic uint64_t hits, misses, stores, removals, clears, failures, skipped, busy, coding, too_large, overtaken, foreign, outdated, damaged;
};

struct weakref_cache_memcached {
	_Atomic(struct far_connections *) connections; /* of this process, or of the one that it was forked from */
	char *servers_text, *prefix;
	weakref_cache_memcached_options options;
	uint64_t number; /* of this object, for tickets: an address may be another one's later */
	uint32_t timeout_ms;
	uint64_t retry_ns;
	struct figures figures;
	_Atomic(struct debt *) debts;
	_Atomic uint64_t open, listed;
	uint32_t n;
	struct server servers[];
};

/* One use of a connection. */
struct visit {
	weakref_cache_memcached *far;
	struct far_connections *connections;
	struct far_connection *connection;
	memcached_st *handle;
	struct server *server;
	uint32_t index;
	int cancel_state;
};

#define COUNT(far, what) atomic_fetch_add_explicit(&(far)->figures.what, 1, memory_order_relaxed)

static int far_destroy(void *obj)
{
	weakref_cache_memcached *far = obj;
	struct far_connections *connections = atomic_load(&far->connections);

	if (connections != NULL && far_own(connections))
		far_connections_free(connections);
	return 0;
}

static const gc_type far_type = {.name = "CacheMemcached", .size = sizeof(weakref_cache_memcached), .destroy = far_destroy};

static bool far_valid(const weakref_cache_memcached *far)
{
	return gc_type_of(far) == &far_type;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- visits to a server -------------------------------------------------------------------------------------------------- */

/* This process's connections. NULL with errno set. */
static struct far_connections *own_connections(weakref_cache_memcached *far)
{
	struct far_connections *connections = atomic_load(&far->connections), *fresh;

	if (far_own(connections))
		return connections;
	fresh = far_connections_new(far->servers_text, far->timeout_ms, far->options.connections);
	if (fresh == NULL)
		return NULL;
	/* Of several threads of a child one is first. The parent's connections are lost to the child, and are meant to be. */
	if (atomic_compare_exchange_strong(&far->connections, &connections, fresh))
		return fresh;
	far_connections_free(fresh);
	return connections;
}

static bool visit_take(struct visit *visit, weakref_cache_memcached *far, uint32_t server)
{
	*visit = (struct visit){.far = far, .server = &far->servers[server], .index = server, .connections = own_connections(far)};
	if (visit->connections == NULL)
		return false;
	/* A thread that is cancelled in libmemcached would leave a connection in the middle of an answer. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &visit->cancel_state);
	visit->connection = far_take(visit->connections);
	if (visit->connection == NULL) {
		pthread_setcancelstate(visit->cancel_state, NULL);
		return false;
	}
	visit->handle = visit->connection->handle;
	return true;
}

static void visit_end(struct visit *visit)
{
	far_give(visit->connections, visit->connection);
	pthread_setcancelstate(visit->cancel_state, NULL);
}

/* The end of a visit whose server did not do its part. */
static int visit_failed(struct visit *visit)
{
	atomic_store(&visit->server->retry_ns, now_ns() + visit->far->retry_ns);
	far_discard(visit->connections, visit->connection);
	visit_end(visit);
	COUNT(visit->far, failures);
	return -EIO;
}

/* ---- time ---------------------------------------------------------------------------------------------------------------- */

static uint64_t random_time(void)
{
	uint64_t time = 0;

	while (time == 0)
		if (getrandom(&time, sizeof time, 0) != sizeof time)
			time = now_ns() ^ (uint64_t)getpid() << 48;
	return time;
}

/*
 * A name that is sent to a server of which all others know as well that it goes there: that of the first number which does. It is needed only
 * where no key is at hand that leads there.
 */
static bool route_to(struct visit *visit, char text[24], size_t *size)
{
	for (unsigned i = 0; i < 100000; i++) {
		*size = (size_t)snprintf(text, 24, "%u", i);
		if (far_server_of(visit->connections, text, *size) == visit->index)
			return true;
	}
	return false;
}

/* Begins another time on the visited server; 0 where that fails. */
static uint64_t time_begin(struct visit *visit)
{
	char name[FAR_TIME_NAME_SIZE], digits[FAR_TIME_SIZE + 1], route[24];
	size_t size = far_time_name(visit->far->prefix, name), route_size;
	uint64_t time = random_time();

	far_time_format(time, digits);
	if (!route_to(visit, route, &route_size) ||
	    memcached_set_by_key(visit->handle, route, route_size, name, size, digits, FAR_TIME_SIZE, 0, 0) != MEMCACHED_SUCCESS)
		return 0;
	return time;
}

/* The time of the server of a name, which had none before, and gets one if it has none yet. 0 where that fails. */
static uint64_t time_first(struct visit *visit, const struct far_name *name)
{
	char text[FAR_TIME_NAME_SIZE], digits[FAR_TIME_SIZE + 1];
	size_t text_size = far_time_name(visit->far->prefix, text), size;
	uint64_t fresh = random_time();
	uint32_t flags;

	far_time_format(fresh, digits);
	memcached_return_t code = memcached_add_by_key(visit->handle, name->text, name->size, text, text_size, digits, FAR_TIME_SIZE, 0, 0);
	if (code == MEMCACHED_SUCCESS)
		return fresh;
	if (code != MEMCACHED_NOTSTORED)
		return 0;
	/* Somebody else's, or nonsense. */
	char *found = memcached_get_by_key(visit->handle, name->text, name->size, text, text_size, &size, &flags, &code);
	uint64_t time = found != NULL ? far_time_parse(found, size) : 0;
	free(found);
	return time != 0 || (code != MEMCACHED_SUCCESS && code != MEMCACHED_NOTFOUND) ? time : time_begin(visit);
}

/* ---- debts --------------------------------------------------------------------------------------------------------------- */

static void owe_clear(weakref_cache_memcached *far, uint32_t server)
{
	atomic_fetch_add(&far->servers[server].clears_owed, 1);
}

static void owe(weakref_cache_memcached *far, const struct far_name *name)
{
	struct debt *debt = atomic_fetch_add(&far->listed, 1) < DEBTS ? gc_alloc(sizeof *debt + name->size) : NULL;

	if (debt == NULL) {
		owe_clear(far, name->server);
		return;
	}
	debt->server = name->server;
	debt->size = name->size;
	memcpy(debt->text, name->text, name->size);
	atomic_fetch_add(&far->open, 1);
	debt->next = atomic_load(&far->debts);
	while (!atomic_compare_exchange_weak(&far->debts, &debt->next, debt))
		continue;
}

static bool mark_name(struct visit *visit, const char *text, size_t size)
{
	return memcached_set_by_key(visit->handle, text, size, text, size, far_mark, sizeof far_mark, MARK_SECONDS, 0) == MEMCACHED_SUCCESS;
}

/* Pays what is owed to the visited server. */
static bool pay(struct visit *visit)
{
	weakref_cache_memcached *far = visit->far;
	uint64_t owed = atomic_load(&visit->server->clears_owed), paid = atomic_load(&visit->server->clears_paid);

	if (paid < owed) {
		if (time_begin(visit) == 0)
			return false;
		while (paid < owed && !atomic_compare_exchange_weak(&visit->server->clears_paid, &paid, owed))
			continue;
	}
	if (atomic_load(&far->open) == 0)
		return true;
	for (struct debt *debt = atomic_load(&far->debts); debt != NULL; debt = debt->next) {
		if (debt->server != visit->index || atomic_load(&debt->paid))
			continue;
		if (!mark_name(visit, debt->text, debt->size))
			return false;
		if (!atomic_exchange(&debt->paid, true))
			atomic_fetch_sub(&far->open, 1);
	}
	/* All that stand in the list now were counted before they came there: if none is open, they are paid. */
	struct debt *head = atomic_load(&far->debts);
	if (atomic_load(&far->open) == 0 && atomic_compare_exchange_strong(&far->debts, &head, NULL))
		atomic_store(&far->listed, 0);
	return true;
}

/* A connection to a server that has been paid what was owed. */
static int visit_begin(struct visit *visit, weakref_cache_memcached *far, uint32_t server)
{
	if (now_ns() < atomic_load(&far->servers[server].retry_ns)) {
		COUNT(far, skipped);
		return -EIO;
	}
	if (!visit_take(visit, far, server)) {
		COUNT(far, busy);
		return -WEAKREF_EBUSY;
	}
	return pay(visit) ? 0 : visit_failed(visit);
}

/* ---- the level ----------------------------------------------------------------------------------------------------------- */

struct found {
	char *value; /* malloc's; NULL for none */
	size_t size;
	uint64_t cas; /* of the value or mark; 0 for none */
	uint64_t time; /* 0 for none */
};

static bool fetch(struct visit *visit, const struct far_name *name, struct found *found)
{
	char text[FAR_TIME_NAME_SIZE];
	size_t text_size = far_time_name(visit->far->prefix, text);
	const char *const keys[] = {text, name->text};
	const size_t sizes[] = {text_size, name->size};
	memcached_result_st result;
	memcached_return_t code;

	code = memcached_mget_by_key(visit->handle, name->text, name->size, keys, sizes, 2);
	if (code != MEMCACHED_SUCCESS)
		return false;
	memcached_result_create(visit->handle, &result);
	while (memcached_fetch_result(visit->handle, &result, &code) != NULL) {
		const char *key = memcached_result_key_value(&result);
		size_t size = memcached_result_key_length(&result);
		if (size == text_size && memcmp(key, text, size) == 0) {
			found->time = far_time_parse(memcached_result_value(&result), memcached_result_length(&result));
		} else if (size == name->size && memcmp(key, name->text, size) == 0 && found->value == NULL) {
			found->cas = memcached_result_cas(&result);
			found->size = memcached_result_length(&result);
			found->value = memcached_result_take_value(&result);
		}
	}
	memcached_result_free(&result);
	return code == MEMCACHED_END || code == MEMCACHED_NOTFOUND || code == MEMCACHED_SUCCESS;
}

/* ---- tickets ---- */

struct ticket {
	uint64_t far, name, cas, time;
};

/* Of a thread, in no order; of those that no store followed the oldest stay until there are too many. */
struct tickets {
	size_t n, room, oldest;
	struct ticket at[];
};

static _Thread_local struct tickets *tickets;
static pthread_key_t tickets_key; /* frees them when the thread ends */
static bool tickets_end;          /* there is such a key */

static void tickets_free(void *all)
{
	tickets = NULL;
	free(all);
}

static void tickets_key_make(void)
{
	tickets_end = pthread_key_create(&tickets_key, tickets_free) == 0;
}

/* Room for one more. False: there are as many as there may be, or no memory. */
static bool tickets_grow(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	size_t room = tickets == NULL ? 16 : 2 * tickets->room;

	pthread_once(&once, tickets_key_make);
	struct tickets *more = tickets_end && room <= TICKETS ? realloc(tickets, sizeof *more + room * sizeof more->at[0]) : NULL;
	if (more == NULL)
		return false;
	if (tickets == NULL)
		*more = (struct tickets){.n = 0};
	more->room = room;
	tickets = more;
	pthread_setspecific(tickets_key, more);
	return true;
}

static struct ticket *ticket_find(const weakref_cache_memcached *far, uint64_t hash)
{
	for (size_t i = 0; tickets != NULL && i < tickets->n; i++)
		if (tickets->at[i].far == far->number && tickets->at[i].name == hash)
			return &tickets->at[i];
	return NULL;
}

/* What this thread's store of a name will find there, if nobody comes in between. */
static void ticket_keep(const weakref_cache_memcached *far, const struct far_name *name, const struct found *found)
{
	uint64_t hash = XXH3_64bits(name->text, name->size);
	struct ticket *ticket = ticket_find(far, hash);

	if (ticket == NULL && ((tickets != NULL && tickets->n < tickets->room) || tickets_grow()))
		ticket = &tickets->at[tickets->n++];
	if (ticket == NULL && tickets != NULL)
		ticket = &tickets->at[tickets->oldest++ % tickets->n];
	if (ticket != NULL)
		*ticket = (struct ticket){.far = far->number, .name = hash, .cas = found->cas, .time = found->time};
}

/* The thread's ticket for a name, which is good once. False where it has none. */
static bool ticket_take(const weakref_cache_memcached *far, const struct far_name *name, struct ticket *out)
{
	struct ticket *ticket = ticket_find(far, XXH3_64bits(name->text, name->size));

	if (ticket == NULL)
		return false;
	*out = *ticket;
	*ticket = tickets->at[--tickets->n];
	return true;
}

/* A value was found, or nothing is known: a ticket of before is none any more. */
static void ticket_drop(const weakref_cache_memcached *far, const struct far_name *name)
{
	ticket_take(far, name, &(struct ticket){0});
}

static int visit_fetch(weakref_cache_memcached *far, const struct far_name *name, struct found *found)
{
	struct visit visit;
	int error = visit_begin(&visit, far, name->server);

	if (error == 0 && fetch(&visit, name, found)) {
		visit_end(&visit);
		return 0;
	}
	if (error == 0) {
		free(found->value);
		error = visit_failed(&visit);
	}
	ticket_drop(far, name);
	return error;
}

/* Whether a value is one of this key and time; where not, it is counted as what it is. */
static bool open_value(weakref_cache_memcached *far, const unsigned char *value, size_t size, const weakref_bytes *key, uint64_t time,
		       size_t *begin)
{
	switch (far_value_open(value, size, key, time, begin)) {
	case FAR_VALUE_GOOD:
		return true;
	case FAR_VALUE_DAMAGED:
		COUNT(far, damaged);
		return false;
	case FAR_VALUE_FOREIGN:
		COUNT(far, foreign);
		return false;
	case FAR_VALUE_OUTDATED:
		COUNT(far, outdated);
		return false;
	case FAR_VALUE_MARK:
	default:
		return false;
	}
}

/* What was found is freed before decode is called, which may end the thread. */
static int decode(weakref_cache_memcached *far, const void *key, struct found *found, size_t begin, void **value)
{
	size_t size = found->size - begin;
	void *block = gc_alloc_leaf(size), *decoded = NULL;
	weakref_bytes bytes = {.data = block, .size = size};

	if (block != NULL)
		memcpy(block, found->value + begin, size);
	free(found->value);
	if (block == NULL)
		return -WEAKREF_ENOMEM;
	int error = far->options.decode(key, &bytes, &decoded, far->options.user);
	if (error >= 0 && decoded == NULL)
		error = -WEAKREF_EINVAL;
	if (error < 0) {
		COUNT(far, coding);
		return error;
	}
	COUNT(far, hits);
	*value = decoded;
	return 0;
}

/* The connections, and with them the server of a name. */
static int name_of(weakref_cache_memcached *far, const weakref_bytes *key, struct far_name *name)
{
	struct far_connections *connections = own_connections(far);

	if (connections == NULL)
		return -WEAKREF_ENOMEM;
	far_name_make(far->options.kind, far->prefix, key, name);
	name->server = far_server_of(connections, name->text, name->size);
	return name->server < far->n ? 0 : -EIO;
}

/* What stands under a key, and its name; *number is room for an integer's bytes. */
static int look_up(weakref_cache_memcached *far, const void *key, uint64_t *number, weakref_bytes *bytes, struct far_name *name,
		   struct found *found)
{
	int error = far_key_bytes(far->options.kind, key, number, bytes);

	*found = (struct found){0};
	if (error == 0)
		error = name_of(far, bytes, name);
	return error == 0 ? visit_fetch(far, name, found) : error;
}

static int level_get(const void *key, void **value, void *user)
{
	weakref_cache_memcached *far = user;
	struct found found;
	weakref_bytes bytes;
	struct far_name name;
	uint64_t number;
	int error = look_up(far, key, &number, &bytes, &name, &found);

	if (error != 0)
		return error;
	const unsigned char *whole = (const unsigned char *)found.value;
	size_t begin;
	if (whole != NULL && open_value(far, whole, found.size, &bytes, found.time, &begin)) {
		ticket_drop(far, &name);
		error = decode(far, key, &found, begin, value);
		/* The loader's value takes its place. */
		if (error < 0)
			ticket_keep(far, &name, &found);
		return error;
	}
	free(found.value);
	ticket_keep(far, &name, &found);
	COUNT(far, misses);
	return -WEAKREF_ENOENT;
}

static int level_expect(const void *key, void *user)
{
	weakref_cache_memcached *far = user;
	struct found found;
	weakref_bytes bytes;
	struct far_name name;
	uint64_t number;
	int error = look_up(far, key, &number, &bytes, &name, &found);

	if (error != 0)
		return error;
	free(found.value);
	ticket_keep(far, &name, &found);
	return 0;
}

static int remove_name(weakref_cache_memcached *far, const struct far_name *name)
{
	struct visit visit;
	int error = visit_begin(&visit, far, name->server);

	if (error == 0 && !mark_name(&visit, name->text, name->size))
		error = visit_failed(&visit);
	else if (error == 0)
		visit_end(&visit);
	if (error != 0) {
		owe(far, name);
		return error;
	}
	COUNT(far, removals);
	return 0;
}

static int level_remove(const void *key, void *user)
{
	weakref_cache_memcached *far = user;
	weakref_bytes bytes;
	struct far_name name;
	uint64_t number;
	int error = far_key_bytes(far->options.kind, key, &number, &bytes);

	if (error != 0)
		return error;
	error = name_of(far, &bytes, &name);
	if (error == 0)
		return remove_name(far, &name);
	/* Nobody knows whose key it is. */
	for (uint32_t server = 0; server < far->n; server++)
		owe_clear(far, server);
	return error;
}

static time_t expiration(const weakref_cache_memcached *far)
{
	double ttl = ceil(far->options.ttl);

	if (ttl <= MONTH)
		return (time_t)ttl;
	time_t now = time(NULL);
	return ttl < 1e9 ? now + (time_t)ttl : 0;
}

static memcached_return_t send_value(struct visit *visit, const struct far_name *name, const unsigned char *value, size_t size, uint64_t cas)
{
	const char *data = (const char *)value;
	time_t until = expiration(visit->far);

	if (cas == 0)
		return memcached_add_by_key(visit->handle, name->text, name->size, name->text, name->size, data, size, until, 0);
	return memcached_cas_by_key(visit->handle, name->text, name->size, name->text, name->size, data, size, until, 0, cas);
}

static int store(weakref_cache_memcached *far, const struct far_name *name, unsigned char *value, size_t size)
{
	struct visit visit;
	struct ticket ticket;
	int error = visit_begin(&visit, far, name->server);

	if (error != 0)
		return error;
	bool has = ticket_take(far, name, &ticket);
	if (has && ticket.time == 0 && (ticket.time = time_first(&visit, name)) == 0)
		return visit_failed(&visit);
	if (has)
		far_value_seal(value, size, ticket.time);
	switch (has ? send_value(&visit, name, value, size, ticket.cas) : MEMCACHED_NOTSTORED) {
	case MEMCACHED_SUCCESS:
		visit_end(&visit);
		COUNT(far, stores);
		return 0;
	case MEMCACHED_NOTSTORED:
	case MEMCACHED_DATA_EXISTS:
	case MEMCACHED_NOTFOUND:
		visit_end(&visit);
		COUNT(far, overtaken);
		return 0;
	case MEMCACHED_E2BIG:
		visit_end(&visit);
		COUNT(far, too_large);
		return remove_name(far, name);
	default:
		return visit_failed(&visit);
	}
}

static int level_put(const void *key, void *value, void *user)
{
	weakref_cache_memcached *far = user;
	weakref_bytes bytes, coded = {0};
	struct far_name name;
	uint64_t number;
	int error = far_key_bytes(far->options.kind, key, &number, &bytes);

	if (error == 0)
		error = name_of(far, &bytes, &name);
	if (error != 0)
		return error;
	error = far->options.encode(key, value, &coded, far->options.user);
	/* What cannot be stored must not leave an older value behind. */
	if (error < 0) {
		COUNT(far, coding);
		remove_name(far, &name);
		return error;
	}
	if (coded.size > far->options.max_value || bytes.size > far->options.max_value - coded.size) {
		COUNT(far, too_large);
		return remove_name(far, &name);
	}
	unsigned char *whole = far_value_make(&bytes, &coded);
	if (whole == NULL) {
		remove_name(far, &name);
		return -WEAKREF_ENOMEM;
	}
	return store(far, &name, whole, far_value_size(&bytes, &coded));
}

static int clear_server(weakref_cache_memcached *far, uint32_t server)
{
	struct visit visit;
	int error = visit_begin(&visit, far, server);

	if (error == 0 && time_begin(&visit) == 0)
		error = visit_failed(&visit);
	else if (error == 0)
		visit_end(&visit);
	if (error != 0)
		owe_clear(far, server);
	return error;
}

static int level_clear(void *user)
{
	weakref_cache_memcached *far = user;
	int error = 0;

	for (uint32_t server = 0; server < far->n; server++) {
		int one = clear_server(far, server);
		error = one != 0 ? one : error;
	}
	if (error == 0)
		COUNT(far, clears);
	return error;
}

/* ---- the public calls ---------------------------------------------------------------------------------------------------- */

static bool options_valid(const weakref_cache_memcached_options *options)
{
	if (options == NULL || options->servers == NULL || options->encode == NULL || options->decode == NULL)
		return false;
	if (options->kind != WEAKREF_KEY_STRING && options->kind != WEAKREF_KEY_BYTES && options->kind != WEAKREF_KEY_INT)
		return false;
	if (!(options->ttl >= 0) || !(options->timeout >= 0) || !(options->retry >= 0) || options->timeout > 3600 || options->connections > 1024)
		return false;
	if (options->prefix == NULL)
		return true;
	size_t size = strlen(options->prefix);
	return size <= FAR_PREFIX_SIZE && far_printable(options->prefix, size) && strpbrk(options->prefix, ":!") == NULL;
}

static char *copy_text(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = gc_alloc_leaf(size);

	return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static void set_options(weakref_cache_memcached *far, const weakref_cache_memcached_options *options)
{
	far->options = *options;
	far->options.servers = far->servers_text;
	far->options.prefix = far->prefix;
	if (options->connections == 0)
		far->options.connections = 8;
	if (options->max_value == 0)
		far->options.max_value = 1000000;
	far->timeout_ms = (uint32_t)ceil((options->timeout > 0 ? options->timeout : 0.1) * 1000);
	double retry = options->retry > 0 ? options->retry : 1;
	far->retry_ns = retry < 1e9 ? (uint64_t)(retry * 1e9) : (uint64_t)1e18;
}

WEAKREF_API weakref_cache_memcached *weakref_cache_memcached_new(const weakref_cache_memcached_options *options)
{
	weakref_cache_memcached draft = {.n = 0};
	static _Atomic uint64_t made;
	struct far_connections *connections;

	if (!options_valid(options)) {
		errno = EINVAL;
		return NULL;
	}
	draft.servers_text = copy_text(options->servers);
	draft.prefix = copy_text(options->prefix != NULL ? options->prefix : "");
	if (draft.servers_text == NULL || draft.prefix == NULL)
		return NULL;
	set_options(&draft, options);
	connections = far_connections_new(draft.servers_text, draft.timeout_ms, draft.options.connections);
	if (connections == NULL)
		return NULL;
	uint32_t n = far_servers(connections);
	weakref_cache_memcached *far = gc_new_extra(&far_type, n * sizeof far->servers[0]);
	if (far == NULL) {
		int error = errno;
		far_connections_free(connections);
		errno = error;
		return NULL;
	}
	far->servers_text = draft.servers_text;
	far->prefix = draft.prefix;
	set_options(far, options);
	far->n = n;
	far->number = atomic_fetch_add(&made, 1) + 1;
	atomic_store(&far->connections, connections);
	return far;
}

WEAKREF_API int weakref_cache_memcached_level(weakref_cache_memcached *far, weakref_cache_second_level *level)
{
	if (!far_valid(far) || level == NULL)
		return -WEAKREF_EINVAL;
	*level = (weakref_cache_second_level){
		.get = level_get, .expect = level_expect, .put = level_put, .remove = level_remove, .clear = level_clear, .user = far};
	return 0;
}

WEAKREF_API int weakref_cache_memcached_clear(weakref_cache_memcached *far)
{
	return far_valid(far) ? level_clear(far) : -WEAKREF_EINVAL;
}

WEAKREF_API int weakref_cache_memcached_get_stats(weakref_cache_memcached *far, weakref_cache_memcached_stats *out)
{
	if (!far_valid(far) || out == NULL)
		return -WEAKREF_EINVAL;
#define READ(what) .what = atomic_load_explicit(&far->figures.what, memory_order_relaxed)
	*out = (weakref_cache_memcached_stats){READ(hits), READ(misses), READ(stores), READ(removals), READ(clears), READ(failures), READ(skipped),
					       READ(busy), READ(coding), READ(too_large), READ(overtaken), READ(foreign), READ(outdated), READ(damaged)};
#undef READ
	out->owed = atomic_load(&far->open);
	for (uint32_t i = 0; i < far->n; i++)
		out->owed += atomic_load(&far->servers[i].clears_paid) < atomic_load(&far->servers[i].clears_owed);
	return 0;
}

WEAKREF_API int weakref_cache_memcached_name(weakref_cache_memcached *far, const void *key, char *buf, size_t size)
{
	weakref_bytes bytes;
	struct far_name name;
	uint64_t number;

	if (!far_valid(far) || (buf == NULL && size > 0))
		return -WEAKREF_EINVAL;
	int error = far_key_bytes(far->options.kind, key, &number, &bytes);
	if (error != 0)
		return error;
	far_name_make(far->options.kind, far->prefix, &bytes, &name);
	if (size > 0)
		snprintf(buf, size, "%s", name.text);
	return (int)name.size;
}

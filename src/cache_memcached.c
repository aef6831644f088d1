/* SPDX-License-Identifier: MIT */
/*
 * cache_memcached: memcached as a second level of caches. See weakref/cache_memcached.h.
 *
 * Names. `PREFIX:` and a letter for the kind of key, with the key itself (s, b, i), or with 128 bits of its hash (S, B) where it has bytes
 * that the protocol does not allow, or too many. `PREFIX!` names a server's time. A prefix has neither colon nor exclamation mark, so no name
 * is both.
 *
 * Values. A header (magic, size of the key, time, checksum), the key, the bytes of encode. What is read counts only if all of the header fits;
 * otherwise it is a miss, and the loader's value will take its place.
 *
 * Marks and tickets. To remove a key is to set a mark in its place, for MARK_SECONDS. A look-up that finds no value remembers what
 * stood there: nothing, or something with a number (memcached's cas). The store that follows it says so, and is done only if that is so yet. So
 * a store is never seen by who removed the key after the look-up, in whichever process, and however late the store arrives. What was looked up
 * in vain because the server failed is not stored.
 *
 * Time. Each server holds a random number under `PREFIX!`, 16 hexadecimal digits; a value is good while it bears that number. Both are read
 * in one request: the time and the value are sent to the server that has the value. A server without a time (started anew) gets one with
 * the first store. A store bears the time that was seen last, so one that is late bears an old time, and is not seen.
 *
 * Debts. What could not be removed must not be read later, when the server is back: it is owed, a name each, and paid before anything else
 * is asked of that server, by whoever comes next. More than DEBTS names, and a name that finds no memory, become one debt: another time for
 * that server. A debt is closed only after it was paid, and
 * each failure opens a new one, so a failure that comes while a debt is being paid is not lost.
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

#define NAME_MAX_SIZE 250 /* memcached's limit */
#define PREFIX_MAX_SIZE 64
#define TIME_DIGITS 16
#define HEADER_SIZE 24
#define DEBTS 1024
#define TICKETS 16 /* of a thread: more than it loads within each other */
#define MARK_SECONDS 60
#define UNKNOWN UINT64_MAX /* of a ticket whose look-up failed */
#define MONTH (30 * 24 * 3600) /* what is longer, memcached takes for a date */

static const char magic[4] = {'W', 'R', 'C', '1'};
static const char mark[4] = {'W', 'R', 'M', '1'};

struct name {
	uint32_t server;
	size_t size;
	char text[NAME_MAX_SIZE + 1];
};

/* Something that a server has to forget before it is believed again. */
struct debt {
	struct debt *next;
	atomic_bool paid;
	uint32_t server;
	size_t size;
	char text[];
};

struct server {
	_Atomic uint64_t time; /* seen last, 0 for none */
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

/* ---- names --------------------------------------------------------------------------------------------------------------- */

/* The bytes of a key; number is where an integer's are put. */
static int key_bytes(const weakref_cache_memcached *far, const void *key, uint64_t *number, weakref_bytes *bytes)
{
	if (far->options.kind == WEAKREF_KEY_INT) {
		*number = (uint64_t)WEAKREF_INT_VALUE(key);
		*bytes = (weakref_bytes){.data = number, .size = sizeof *number};
		return 0;
	}
	if (key == NULL)
		return -WEAKREF_EINVAL;
	if (far->options.kind == WEAKREF_KEY_STRING)
		*bytes = (weakref_bytes){.data = key, .size = strlen(key)};
	else
		*bytes = *(const weakref_bytes *)key;
	if (bytes->size == 0)
		bytes->data = "";
	return bytes->data != NULL ? 0 : -WEAKREF_EINVAL;
}

static bool printable(const void *data, size_t size)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < size; i++)
		if (p[i] <= 0x20 || p[i] >= 0x7f)
			return false;
	return true;
}

static void make_name(weakref_cache_memcached *far, const weakref_bytes *key, struct name *name)
{
	bool string = far->options.kind == WEAKREF_KEY_STRING;
	size_t limit = NAME_MAX_SIZE - strlen(far->prefix) - 2;
	int n;

	if (far->options.kind == WEAKREF_KEY_INT) {
		int64_t number;
		memcpy(&number, key->data, sizeof number);
		n = snprintf(name->text, sizeof name->text, "%s:i%lld", far->prefix, (long long)number);
	} else if (key->size <= limit && printable(key->data, key->size)) {
		n = snprintf(name->text, sizeof name->text, "%s:%c%.*s", far->prefix, string ? 's' : 'b', (int)key->size, (const char *)key->data);
	} else {
		XXH128_hash_t hash = XXH3_128bits(key->data, key->size);
		n = snprintf(name->text, sizeof name->text, "%s:%c%016llx%016llx", far->prefix, string ? 'S' : 'B', (unsigned long long)hash.high64,
			     (unsigned long long)hash.low64);
	}
	name->size = (size_t)n;
}

static size_t time_name(const weakref_cache_memcached *far, char text[PREFIX_MAX_SIZE + 2])
{
	return (size_t)snprintf(text, PREFIX_MAX_SIZE + 2, "%s!", far->prefix);
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
	/* It may be another server that answers next. */
	atomic_store(&visit->server->time, 0);
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

static void time_format(uint64_t time, char text[TIME_DIGITS + 1])
{
	snprintf(text, TIME_DIGITS + 1, "%016llx", (unsigned long long)time);
}

/* 0 for what is no time. */
static uint64_t time_parse(const char *text, size_t size)
{
	char digits[TIME_DIGITS + 1];

	if (size != TIME_DIGITS)
		return 0;
	memcpy(digits, text, TIME_DIGITS);
	digits[TIME_DIGITS] = '\0';
	return strspn(digits, "0123456789abcdef") == TIME_DIGITS ? strtoull(digits, NULL, 16) : 0;
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

/* Begins another time on the visited server. */
static bool time_begin(struct visit *visit)
{
	char name[PREFIX_MAX_SIZE + 2], digits[TIME_DIGITS + 1], route[24];
	size_t size = time_name(visit->far, name), route_size;
	uint64_t time = random_time();

	time_format(time, digits);
	if (!route_to(visit, route, &route_size) ||
	    memcached_set_by_key(visit->handle, route, route_size, name, size, digits, TIME_DIGITS, 0, 0) != MEMCACHED_SUCCESS)
		return false;
	atomic_store(&visit->server->time, time);
	return true;
}

/* The time of the server of a name, which gets one if it has none. 0 where it fails. */
static uint64_t time_of(struct visit *visit, const struct name *name)
{
	char text[PREFIX_MAX_SIZE + 2], digits[TIME_DIGITS + 1];
	size_t text_size = time_name(visit->far, text), size;
	uint64_t time = atomic_load(&visit->server->time);
	memcached_return_t code;
	uint32_t flags;

	/* Another process may be first to add one, and a flood of values may push it out again. */
	for (int i = 0; time == 0 && i < 3; i++) {
		uint64_t fresh = random_time();
		time_format(fresh, digits);
		code = memcached_add_by_key(visit->handle, name->text, name->size, text, text_size, digits, TIME_DIGITS, 0, 0);
		if (code == MEMCACHED_SUCCESS) {
			time = fresh;
		} else if (code == MEMCACHED_NOTSTORED) {
			char *found = memcached_get_by_key(visit->handle, name->text, name->size, text, text_size, &size, &flags, &code);
			time = found != NULL ? time_parse(found, size) : 0;
			free(found);
			if (time == 0 && code == MEMCACHED_SUCCESS)
				return time_begin(visit) ? atomic_load(&visit->server->time) : 0;
		} else {
			return 0;
		}
	}
	atomic_store(&visit->server->time, time);
	return time;
}

/* ---- debts --------------------------------------------------------------------------------------------------------------- */

static void owe_clear(weakref_cache_memcached *far, uint32_t server)
{
	atomic_fetch_add(&far->servers[server].clears_owed, 1);
}

static void owe(weakref_cache_memcached *far, const struct name *name)
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
	return memcached_set_by_key(visit->handle, text, size, text, size, mark, sizeof mark, MARK_SECONDS, 0) == MEMCACHED_SUCCESS;
}

/* Pays what is owed to the visited server. */
static bool pay(struct visit *visit)
{
	weakref_cache_memcached *far = visit->far;
	uint64_t owed = atomic_load(&visit->server->clears_owed), paid = atomic_load(&visit->server->clears_paid);

	if (paid < owed) {
		if (!time_begin(visit))
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

/* ---- values -------------------------------------------------------------------------------------------------------------- */

static void put_word(unsigned char *p, uint64_t word, size_t size)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)(word >> (8 * i));
}

static uint64_t get_word(const unsigned char *p, size_t size)
{
	uint64_t word = 0;

	for (size_t i = 0; i < size; i++)
		word |= (uint64_t)p[i] << (8 * i);
	return word;
}

/* The time is set when it is known, and with it the checksum. */
static void value_seal(unsigned char *value, size_t size, uint64_t time)
{
	put_word(value + 8, time, 8);
	put_word(value + 16, XXH3_64bits_withSeed(value + HEADER_SIZE, size - HEADER_SIZE, time), 8);
}

static unsigned char *value_make(const weakref_bytes *key, const weakref_bytes *bytes)
{
	unsigned char *value = gc_alloc_leaf(HEADER_SIZE + key->size + bytes->size);

	if (value == NULL)
		return NULL;
	memcpy(value, magic, sizeof magic);
	put_word(value + 4, key->size, 4);
	memcpy(value + HEADER_SIZE, key->data, key->size);
	if (bytes->size > 0)
		memcpy(value + HEADER_SIZE + key->size, bytes->data, bytes->size);
	return value;
}

/* Where in a value the bytes begin; 0, counted, where they are none of this key and time; 0 for a mark. */
static size_t value_open(weakref_cache_memcached *far, const unsigned char *value, size_t size, const weakref_bytes *key, uint64_t time)
{
	if (size == sizeof mark && memcmp(value, mark, sizeof mark) == 0)
		return 0;
	if (size < HEADER_SIZE || memcmp(value, magic, sizeof magic) != 0 || size - HEADER_SIZE < get_word(value + 4, 4)) {
		COUNT(far, damaged);
		return 0;
	}
	uint64_t stored = get_word(value + 8, 8);
	if (get_word(value + 16, 8) != XXH3_64bits_withSeed(value + HEADER_SIZE, size - HEADER_SIZE, stored))
		COUNT(far, damaged);
	else if (get_word(value + 4, 4) != key->size || memcmp(value + HEADER_SIZE, key->data, key->size) != 0)
		COUNT(far, foreign);
	else if (stored != time)
		COUNT(far, outdated);
	else
		return HEADER_SIZE + key->size;
	return 0;
}

/* ---- the level ----------------------------------------------------------------------------------------------------------- */

struct found {
	char *value; /* malloc's; NULL for none */
	size_t size;
	uint64_t cas; /* of the value or mark; 0 for none */
	uint64_t time; /* 0 for none */
};

static bool fetch(struct visit *visit, const struct name *name, struct found *found)
{
	char text[PREFIX_MAX_SIZE + 2];
	size_t text_size = time_name(visit->far, text);
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
			found->time = time_parse(memcached_result_value(&result), memcached_result_length(&result));
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
	uint64_t far; /* 0 for none */
	uint64_t name, cas;
};

static _Thread_local struct ticket tickets[TICKETS];
static _Thread_local unsigned next_ticket;

static struct ticket *ticket_find(const weakref_cache_memcached *far, uint64_t hash)
{
	for (unsigned i = 0; i < TICKETS; i++)
		if (tickets[i].far == far->number && tickets[i].name == hash)
			return &tickets[i];
	return NULL;
}

/* What this thread's store of a name will find there, if nobody comes in between. */
static void ticket_keep(const weakref_cache_memcached *far, const struct name *name, uint64_t cas)
{
	uint64_t hash = XXH3_64bits(name->text, name->size);
	struct ticket *ticket = ticket_find(far, hash);

	if (ticket == NULL)
		ticket = &tickets[next_ticket++ % TICKETS];
	*ticket = (struct ticket){.far = far->number, .name = hash, .cas = cas};
}

static bool ticket_take(const weakref_cache_memcached *far, const struct name *name, uint64_t *cas)
{
	struct ticket *ticket = ticket_find(far, XXH3_64bits(name->text, name->size));

	if (ticket == NULL)
		return false;
	*cas = ticket->cas;
	ticket->far = 0;
	return true;
}

/* Where nothing was looked up before (a reload), what stands there now. */
static bool ticket_get(struct visit *visit, const struct name *name, uint64_t *cas)
{
	struct found found = {0};

	if (ticket_take(visit->far, name, cas))
		return true;
	bool good = fetch(visit, name, &found);
	*cas = found.cas;
	free(found.value);
	return good;
}

static int visit_fetch(weakref_cache_memcached *far, const struct name *name, struct found *found)
{
	struct visit visit;
	int error = visit_begin(&visit, far, name->server);

	if (error == 0 && fetch(&visit, name, found)) {
		atomic_store(&visit.server->time, found->time);
		visit_end(&visit);
		return 0;
	}
	if (error == 0) {
		free(found->value);
		error = visit_failed(&visit);
	}
	ticket_keep(far, name, UNKNOWN);
	return error;
}

static int decode(weakref_cache_memcached *far, const void *key, const unsigned char *data, size_t size, void **value)
{
	weakref_bytes bytes = {.data = gc_alloc_leaf(size), .size = size};
	void *decoded = NULL;

	if (bytes.data == NULL)
		return -WEAKREF_ENOMEM;
	if (size > 0)
		memcpy((void *)bytes.data, data, size);
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
static int name_of(weakref_cache_memcached *far, const weakref_bytes *key, struct name *name)
{
	struct far_connections *connections = own_connections(far);

	if (connections == NULL)
		return -WEAKREF_ENOMEM;
	make_name(far, key, name);
	name->server = far_server_of(connections, name->text, name->size);
	return name->server < far->n ? 0 : -EIO;
}

static int level_get(const void *key, void **value, void *user)
{
	weakref_cache_memcached *far = user;
	struct found found = {0};
	weakref_bytes bytes;
	struct name name;
	uint64_t number;
	int error = key_bytes(far, key, &number, &bytes);

	if (error == 0)
		error = name_of(far, &bytes, &name);
	if (error == 0)
		error = visit_fetch(far, &name, &found);
	if (error != 0)
		return error;
	const unsigned char *whole = (const unsigned char *)found.value;
	size_t begin = whole != NULL ? value_open(far, whole, found.size, &bytes, found.time) : 0;
	if (begin > 0) {
		error = decode(far, key, whole + begin, found.size - begin, value);
	} else {
		ticket_keep(far, &name, found.cas);
		COUNT(far, misses);
		error = -WEAKREF_ENOENT;
	}
	free(found.value);
	return error;
}

static int remove_name(weakref_cache_memcached *far, const struct name *name)
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
	struct name name;
	uint64_t number;
	int error = key_bytes(far, key, &number, &bytes);

	if (error == 0)
		error = name_of(far, &bytes, &name);
	return error != 0 ? error : remove_name(far, &name);
}

static time_t expiration(const weakref_cache_memcached *far)
{
	double ttl = ceil(far->options.ttl);

	if (ttl <= MONTH)
		return (time_t)ttl;
	time_t now = time(NULL);
	return ttl < 1e9 ? now + (time_t)ttl : 0;
}

static memcached_return_t send_value(struct visit *visit, const struct name *name, const unsigned char *value, size_t size, uint64_t cas)
{
	const char *data = (const char *)value;
	time_t until = expiration(visit->far);

	if (cas == 0)
		return memcached_add_by_key(visit->handle, name->text, name->size, name->text, name->size, data, size, until, 0);
	return memcached_cas_by_key(visit->handle, name->text, name->size, name->text, name->size, data, size, until, 0, cas);
}

static int store(weakref_cache_memcached *far, const struct name *name, unsigned char *value, size_t size)
{
	struct visit visit;
	uint64_t time, cas;
	int error = visit_begin(&visit, far, name->server);

	if (error != 0)
		return error;
	if ((time = time_of(&visit, name)) == 0 || !ticket_get(&visit, name, &cas))
		return visit_failed(&visit);
	value_seal(value, size, time);
	switch (cas == UNKNOWN ? MEMCACHED_NOTSTORED : send_value(&visit, name, value, size, cas)) {
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
	struct name name;
	uint64_t number;
	int error = key_bytes(far, key, &number, &bytes);

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
	unsigned char *whole = value_make(&bytes, &coded);
	if (whole == NULL) {
		remove_name(far, &name);
		return -WEAKREF_ENOMEM;
	}
	return store(far, &name, whole, HEADER_SIZE + bytes.size + coded.size);
}

static int clear_server(weakref_cache_memcached *far, uint32_t server)
{
	struct visit visit;
	int error = visit_begin(&visit, far, server);

	if (error == 0 && !time_begin(&visit))
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
	return size <= PREFIX_MAX_SIZE && printable(options->prefix, size) && strpbrk(options->prefix, ":!") == NULL;
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
	weakref_cache_memcached draft = {0};
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
		.get = level_get, .put = level_put, .remove = level_remove, .clear = level_clear, .user = far};
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
	struct name name;
	uint64_t number;

	if (!far_valid(far) || (buf == NULL && size > 0))
		return -WEAKREF_EINVAL;
	int error = key_bytes(far, key, &number, &bytes);
	if (error != 0)
		return error;
	make_name(far, &bytes, &name);
	if (size > 0)
		snprintf(buf, size, "%s", name.text);
	return (int)name.size;
}

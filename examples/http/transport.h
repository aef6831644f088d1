/* SPDX-License-Identifier: MIT */
/*
 * transport: transfers over one curl multi handle, and the weak cache of their responses.
 *
 * A response is an object of the collected heap. The cache holds it by its URL from the moment it is asked for: weakly, unless it was built
 * otherwise, until nobody holds it any more. Whoever asks for a URL whose response is there gets that one, be it complete or still arriving.
 *
 * A transfer is what it takes to complete a response. It stands in the transport's queue or list of those that run, so it needs nobody to
 * hold it, and holds its response. Who waits for it is held weakly, and tells when he leaves (transfer_leave); when the last one has left,
 * the transfer ends at once, and its response is nobody's.
 */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "weakref/weakref.h"

struct transport_limits {
	int64_t max_bytes; /* of a body */
	long timeout_ms; /* of a transfer, from its start to its end */
	size_t parallel; /* transfers that run at a time */
	long redirects;
};

enum response_state { RESPONSE_PENDING, RESPONSE_RECEIVED, RESPONSE_FAILED };

struct response {
	char *url;
	enum response_state state;
	char *error; /* why it failed */
	char *body; /* size bytes and a NUL; never NULL once received */
	size_t size, room;
	struct transfer *transfer; /* while it is pending */
};

struct waiter {
	struct waiter *next;
	weakref_ref *who;
};

struct transfer {
	struct transfer *next, **link; /* in the queue or among those that run; link is NULL in neither */
	struct transport *transport;
	struct response *response;
	CURL *easy; /* while it runs */
	const char *refused; /* why we ourselves ended it */
	struct waiter *waiters;
	size_t waiting; /* those that have not left */
	size_t headers; /* bytes */
	uint64_t shown_ns; /* when its progress was told last */
	char curl_error[CURL_ERROR_SIZE];
};

struct transport {
	CURLM *multi; /* NULL when closed */
	struct transport_limits limits;
	weakref_cache *responses;
	struct transfer *queue, **queue_end, *running;
	size_t queued, runs;
	/* Called for each that waits, and lives, when his response is complete or has failed. */
	void (*ended)(void *who);
	struct {
		size_t begun, shared, aborted, received, failed, closed;
	} count;
};

/* A transport, and its one resource, the multi handle. NULL with errno set. */
struct transport *transport_new(const struct transport_limits *limits, weakref_cache *responses, void (*ended)(void *who));

/* Ends all transfers and closes the multi handle. A function for weakref_finalize. */
int transport_close(void *transport);

/* A URL as the cache knows it: complete, without fragment. NULL where it is none, or not of http or https, and then *why says so. */
char *transport_url(const char *text, const char **why);

/*
 * The response of a URL that transport_url made: the one that is there, or else a new one with a transfer of its own. Where it is
 * pending, `who` is told of its end if he is alive then. NULL with errno set.
 */
struct response *transport_get(struct transport *transport, char *url, void *who);

/* Somebody who waited for a transfer does so no longer. A function for weakref_finalize. */
int transfer_leave(void *transfer);

/* Works until something happened, or for `timeout_ms` at most, and runs the callbacks that are ready. */
int transport_pump(struct transport *transport, int timeout_ms);

#endif

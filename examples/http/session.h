/* SPDX-License-Identifier: MIT */
/*
 * session: what asyncio and aiohttp call a ClientSession and its tasks, on the collector.
 *
 * A session is an object whose finalizer closes the transport. Each task that is not done yet holds it, and nothing else does in the long
 * run: so it is closed once, after the last task is done, was cancelled, or is gone.
 *
 * A task is an object that waits for one response. Whoever drops it has cancelled it: a collection finds it dead, and its finalizer leaves
 * the transfer, as task_cancel does at once. Which of the two, of completion, and of the exit comes first takes the finalizer, and the
 * others find nothing left to do.
 */
#ifndef SESSION_H
#define SESSION_H

#include "transport.h"

struct session {
	struct transport *transport;
};

struct task {
	const char *url; /* as it was given */
	struct session *session; /* NULL once done or cancelled */
	struct response *response;
	weakref_finalize *leave; /* while it waits */
	void (*process)(struct task *task);
};

/* `closed` is called when the transport has been closed. NULL with errno set. */
struct session *session_new(const struct transport_limits *limits, weakref_cache *responses, void (*closed)(const struct transport *transport));

/*
 * Fetches a URL that transport_url made. `process` is called when the response is complete or has failed: within this call where it
 * was in the cache, else within transport_pump, and never for a task that was cancelled or is dead. NULL with errno set.
 */
struct task *task_start(struct session *session, const char *text, char *url, void (*process)(struct task *task));

/* Whether the task waits; it can be cancelled then. */
bool task_pending(const struct task *task);
void task_cancel(struct task *task);

#endif

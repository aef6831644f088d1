/* SPDX-License-Identifier: MIT */
/*
 * session: see session.h.
 *
 * Who holds whom:
 *
 *     tasks (main's) --> task --> session --> transport --> queue, running --> transfer --> response
 *                          `-----> response                                       : . . . (weakly) . . > task
 *     the runtime: finalizer of the session --> transport;  finalizer of a task --> transfer
 *
 * Nothing on the right leads to a task or to the session, so the runtime's finalizers keep neither of them. Where session and tasks die in
 * one collection the tasks' finalizers run first, because they are newer: the transport is idle when it is closed.
 */
#include "session.h"

/* What the session's finalizer gets. */
struct closing {
	struct transport *transport;
	void (*closed)(const struct transport *transport);
};

static const gc_type session_type = {.name = "Session", .size = sizeof(struct session)};
static const gc_type task_type = {.name = "Task", .size = sizeof(struct task)};

static int session_close(void *arg)
{
	struct closing *closing = arg;
	int error = transport_close(closing->transport);

	closing->closed(closing->transport);
	return error;
}

static void task_done(struct task *task)
{
	task->session = NULL;
	task->leave = NULL;
	task->process(task);
}

/* The transport's word for a task that waited. */
static void task_ended(void *who)
{
	struct task *task = who;

	/* Where nothing is detached the task was cancelled. */
	if (weakref_finalize_detach(task->leave, NULL, NULL, NULL) == 1)
		task_done(task);
}

struct session *session_new(const struct transport_limits *limits, weakref_cache *responses, void (*closed)(const struct transport *transport))
{
	struct session *session = gc_new(&session_type);
	struct closing *closing = gc_alloc(sizeof *closing);

	if (session == NULL || closing == NULL)
		return NULL;
	closing->closed = closed;
	closing->transport = transport_new(limits, responses, task_ended);
	if (closing->transport == NULL)
		return NULL;
	session->transport = closing->transport;
	if (weakref_finalize_new(session, session_close, closing) == NULL) {
		transport_close(closing->transport);
		return NULL;
	}
	return session;
}

struct task *task_start(struct session *session, const char *text, char *url, void (*process)(struct task *task))
{
	struct task *task = gc_new(&task_type);

	if (task == NULL)
		return NULL;
	task->url = text;
	task->session = session;
	task->process = process;
	task->response = transport_get(session->transport, url, task);
	if (task->response == NULL)
		return NULL;
	struct transfer *transfer = task->response->transfer;
	if (transfer == NULL) {
		task_done(task);
		return task;
	}
	task->leave = weakref_finalize_new(task, transfer_leave, transfer);
	if (task->leave == NULL) {
		transfer_leave(transfer);
		return NULL;
	}
	return task;
}

bool task_pending(const struct task *task)
{
	return task->leave != NULL;
}

void task_cancel(struct task *task)
{
	weakref_finalize *leave = task->leave;

	if (leave == NULL)
		return;
	task->leave = NULL;
	weakref_finalize_call(leave, NULL);
	task->session = NULL;
	task->response = NULL;
}

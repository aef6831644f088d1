/* SPDX-License-Identifier: MIT */
/*
 * rawthread: threads that the collector does not know. libgc's header renames pthread_create, so this file must not include it.
 */
#include "rawthread.h"

#include <pthread.h>

struct raw {
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static void *raw_run(void *arg)
{
	struct raw *raw = arg;

	raw->result = raw->fn(raw->arg);
	return NULL;
}

int rawthread_run(int (*fn)(void *arg), void *arg)
{
	struct raw raw = {fn, arg, 1};
	pthread_t thread;

	if (pthread_create(&thread, NULL, raw_run, &raw) != 0)
		return 1;
	pthread_join(thread, NULL);
	return raw.result;
}

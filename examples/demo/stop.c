/* SPDX-License-Identifier: MIT */
/*
 * stop: see stop.h.
 *
 * State: the number of the first signal that came. The handlers are installed without SA_RESTART: a blocked read returns,
 * and its caller asks stop_requested. A signal that lands between the question and the read is noticed at the next record:
 * the children write many in a second, and end of file comes when they die.
 */
#include "stop.h"

#include <signal.h>
#include <stddef.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define SIGNALS (sizeof signals / sizeof signals[0])

static volatile sig_atomic_t requested;

static void on_signal(int number)
{
	if (requested == 0)
		requested = number;
}

void stop_catch(void)
{
	struct sigaction action = {.sa_handler = on_signal}, old;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < SIGNALS; i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
}

void stop_default(void)
{
	struct sigaction old;

	for (size_t i = 0; i < SIGNALS; i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == on_signal)
			signal(signals[i], SIG_DFL);
}

int stop_requested(void)
{
	return requested;
}

void stop_now(void)
{
	if (requested == 0)
		return;
	signal(requested, SIG_DFL);
	raise(requested);
}

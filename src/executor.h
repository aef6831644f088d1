/* SPDX-License-Identifier: MIT */
/*
 * executor: queues of callbacks, each for one thread (weakref/executor.h).
 */
#ifndef EXECUTOR_H
#define EXECUTOR_H

#include "deliver.h"
#include "weakref/executor.h"

bool executor_is(const weakref_executor *executor);

/* World stopped, or libgc's lock held: the node, which is alive as the executor is, waits there from now on. */
void executor_queue_stw(weakref_executor *executor, struct deliver_node *node);

#endif

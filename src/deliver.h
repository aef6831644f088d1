/* SPDX-License-Identifier: MIT */
/*
 * deliver: what has to run because something died, from the moment that a collection queues it to the moment that it has run.
 *
 *   node states   idle ──queue_stw / queue──▶ queued ──popped──▶ running ──▶ done
 *
 * A node stands in a block of the collected heap, with `next` where the collector looks; the queue is a root, so what is queued is
 * alive. Nodes are made with what they belong to: queueing allocates nothing and cannot fail. A node is popped before its function is
 * called: one that leaves by longjmp or pthread_exit has been delivered, and holds up nothing.
 *
 * What there is too much of for a node each, finalizers, is queued as a number of items: whoever has them in an order of his own is asked for
 * the next one when the turn of an item has come. Nodes and items have one order.
 *
 * Who runs them is the program's choice (gc_set_delivery). No lock is held while they run, errno is preserved around them.
 */
#ifndef DELIVER_H
#define DELIVER_H

#include "base.h"
#include "weakref/gc.h"

struct deliver_node {
	struct deliver_node *next;
	void (*run)(struct deliver_node *node);
	uint64_t number; /* while it is queued: its number among all that is. Before, whatever its owner likes */
};

/* An item that is being run, on the stack of who runs it. */
struct deliver_item {
	struct deliver_node node;
	void *subject, *data;
	int (*fn)(void *data);
};

/* Errors: -WEAKREF_ENOMEM. Once, by gc_init, after all scanners were added: its own must settle last. */
int deliver_init(void);

/* World stopped: queues a chain of nodes, first to last, in this order. */
void deliver_queue_stw(struct deliver_node *first, struct deliver_node *last);
/* Whether a node that is queued again and again, and whose number its owner leaves alone, is in the queue now: not yet taken to be run. */
bool deliver_is_queued_locked(const struct deliver_node *node);
/* The same for so many items. */
void deliver_items_stw(uint64_t n);
/* Takes the next of the items, with its node's function. Libgc's lock is held. Set before there are any. */
extern void (*deliver_item_pop)(struct deliver_item *item);
/* Queues a node from a mutator. */
void deliver_queue(struct deliver_node *node);

/* A queue of somebody else's, of objects that run one by one after all nodes: pop gives the next, libgc's lock held, or NULL;
 * put_back registers with libgc what deliver_taken was told of. */
struct deliver_objects {
	void *(*pop_locked)(void);
	void (*run)(void *object);
	void (*put_back)(void);
};
/* Once, by gc_init, before deliver_init. */
void deliver_set_objects(const struct deliver_objects *queue);
/* libgc's lock held: there are n more in it. */
void deliver_queue_objects_locked(size_t n);

/* By a finalizer of libgc's that the library has for itself, where no collection has used it: a host has libgc call all there
 * are (GC_finalize_all), until none is registered. It is put back by the next allocation of the library's, or gc_collect. No
 * lock held. */
void deliver_taken(void);
/* Puts it back, but not twice between two collections. No lock held. */
void deliver_put_back(void);

/* World stopped: so many ordered finalizers may come out of libgc's finalizer queue. */
void deliver_expect_stw(size_t n);

/* Runs the nodes that pop, called with libgc's lock held, gives, until it gives NULL; how many. 0 from within a callback. */
long deliver_run_from(void *(*pop)(void *arg), void *arg);
/* Calls fn as callbacks are called: in a run of this thread, of which there is none yet. No lock held. */
void deliver_call(void (*fn)(void *arg), void *arg);
/* Whether this thread is in a callback. */
bool deliver_running(void);
/* What is queued is to be run at the next allocation, or whenever the rule says; deliver_hold may have swallowed the word. */
void deliver_announce(void);

/* Tells the unraisable handler. No lock held. */
void deliver_failed(int error, const char *where, void *subject);

/* Which process this is: how many forks, modulo 2^16, lie between the first one and it. Written when there is one thread. */
extern uint16_t deliver_process;

/* ---- for gc.h ---- */

int deliver_set_policy(enum weakref_delivery policy);
enum weakref_delivery deliver_policy(void);
/* Runs what is queued, also what gets queued meanwhile; how many. */
long deliver_run(void);
/* Until it is called with NULL, or this frame has been left, allocations of this thread run nothing: for a collection that is to be
 * followed by deliver_drain, and for what a callback's longjmp must not leave half done. Gives the frame before. */
const void *deliver_hold(const void *frame);
/* Until its end, which is told what the beginning gave, or until this frame has been left, others may wait for this thread, a callback among
 * them: so this one does not wait for callbacks that another runs. */
const void *deliver_awaited_begin(const void *frame);
void deliver_awaited_end(const void *before);
/* What gc_collect does about callbacks, by the rule in force. */
void deliver_drain(void);
bool deliver_pending(void);
int deliver_fd(void);
void deliver_set_handler(gc_unraisable_fn handler, void *user);
void deliver_fork_child(void);

#endif

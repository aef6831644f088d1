/* SPDX-License-Identifier: MIT */
/*
 * cache_inside: what a thread is in the middle of while the program's functions run: loads and functions of compute, bulk loads, changes that the
 * second level is told of. Others may wait for it, or leave something alone because of it. Who returns, is cancelled or leaves by pthread_exit
 * ends it himself. Who leaves by longjmp does not come by: it is found when the thread uses caches again in a way that may wait, or ends.
 *
 * Each thing stands in its thread's chain, the innermost first, and names a frame. One that was left lies deeper than a call that comes from
 * outside, or, when the stack has grown again, under frames of others, which have written over its mark. (Where they happen to have left all
 * of it alone, it is found later.) Programs that change stacks may suspend what they are in the middle of: only frames of the thread's own
 * stack are looked at, and only from there.
 *
 * Locks: none; a chain is its thread's own. Deliberately not here: a look at other threads' chains. A thread that left something, lives and never
 * uses a cache again is waited for.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_getattr_np */
#endif
#include <pthread.h>

#include "cache.h"

/* ---- frames ---- */

uint64_t cache_frame_mark(struct cache_frame *frame)
{
	uint64_t mark = base_mix((uintptr_t)&cache_thread + ++cache_thread.marks);

	for (size_t i = 0; i < sizeof frame->mark / sizeof *frame->mark; i++)
		frame->mark[i] = mark;
	return mark;
}

/* Once for each thread. Where nobody knows, no frame is on it. */
static NOINLINE void find_stack(void)
{
	pthread_attr_t attr;
	size_t size = 0;
	void *low = NULL;

	cache_thread.stack = cache_thread.stack_end = 1;
	if (pthread_getattr_np(pthread_self(), &attr) != 0)
		return;
	if (pthread_attr_getstack(&attr, &low, &size) == 0) {
		cache_thread.stack = (uintptr_t)low;
		cache_thread.stack_end = (uintptr_t)low + size;
	}
	pthread_attr_destroy(&attr);
}

static bool is_on_stack(const void *p)
{
	if (cache_thread.stack_end == 0)
		find_stack();
	return (uintptr_t)p - cache_thread.stack < cache_thread.stack_end - cache_thread.stack;
}

/* It may read a frame that is no more: not a matter for sanitizers. */
__attribute__((no_sanitize("address", "undefined"))) NOINLINE bool cache_frame_is_left(const struct cache_frame *frame, uint64_t mark,
											const void *here)
{
	if (!is_on_stack(frame) || !is_on_stack(here))
		return false;
	if ((uintptr_t)frame <= (uintptr_t)here)
		return true;
	for (size_t i = 0; i < sizeof frame->mark / sizeof *frame->mark; i++)
		if (frame->mark[i] != mark)
			return true;
	return false;
}

/* ---- the chain ---- */

static struct cache_inside **chain(void **slots)
{
	return (struct cache_inside **)&slots[HEAP_THREAD_INSIDE];
}

/* The calling thread has ended, as far as libgc is concerned. Nothing is taken out of the chain: it keeps all. */
static void thread_gone(void **slots)
{
	cache_thread.inside = 0;
	for (struct cache_inside *inside = *chain(slots); inside != NULL; inside = inside->outer) {
		inside->frame = NULL;
		inside->left(inside, true);
	}
}

void cache_inside_ready(void)
{
	if (likely(heap_thread_slots(false) != NULL))
		return;
	atomic_store(&heap_thread_gone_fn, thread_gone);
	heap_thread_slots(true);
}

void cache_inside_begin(struct cache_inside *inside, struct cache_frame *frame, void (*left)(struct cache_inside *inside, bool ended))
{
	void **slots = heap_thread_slots(false);

	if (slots == NULL)
		return;
	inside->frame = frame;
	inside->mark = frame->mark[0];
	inside->left = left;
	inside->inner = NULL;
	inside->outer = *chain(slots);
	if (inside->outer != NULL)
		inside->outer->inner = inside;
	*chain(slots) = inside;
	cache_thread.inside++;
}

void cache_inside_end(struct cache_inside *inside)
{
	if (inside->frame == NULL)
		return;
	inside->frame = NULL;
	cache_thread.inside--;
	if (inside->outer != NULL)
		inside->outer->inner = inside->inner;
	*(inside->inner != NULL ? &inside->inner->outer : chain(heap_thread_slots(false))) = inside->outer;
	inside->outer = inside->inner = NULL;
}

NOINLINE void cache_inside_forget(const void *here)
{
	void **slots = heap_thread_slots(false);
	struct cache_inside *inside;

	/* What is further out is left only if what is further in is. The program's functions may use caches here, and leave once more. */
	while ((inside = *chain(slots)) != NULL && cache_frame_is_left(inside->frame, inside->mark, here)) {
		struct cache_frame frame;
		cache_inside_end(inside);
		cache_frame_mark(&frame);
		cache_inside_begin(inside, &frame, inside->left);
		inside->left(inside, false);
		cache_inside_end(inside);
	}
}

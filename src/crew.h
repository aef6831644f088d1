/* SPDX-License-Identifier: MIT */
/*
 * crew: threads of ours that help with what is done while the world stands, so that it stands half as long on two cores. crew.c tells how.
 */
#ifndef CREW_H
#define CREW_H

#include "base.h"

/* As much work as waking others is worth: waking takes some 10 us to begin with, and pieces of work some 10 ns. */
#define CREW_WORK ((size_t)(CHECKS ? 64 : 32768))

/* Makes the crew, where there is none, once there is so much work for it. No lock held. Not to have one is no error. */
void crew_make_slow(void);
extern _Atomic bool crew_made;
static inline void crew_make(size_t work)
{
	if (unlikely(work >= CREW_WORK) && unlikely(!atomic_load_explicit(&crew_made, memory_order_relaxed)))
		crew_make_slow();
}

/* Whether anybody would come. */
bool crew_is_there(void);
/* World stopped: runs fn here, and at the same time in those of the crew that come while it runs. All have left fn when this returns. */
void crew_run_stw(void (*fn)(void));
/* In a child after fork, libgc's lock free. */
void crew_fork_child(void);

#endif

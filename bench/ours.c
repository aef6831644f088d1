/* SPDX-License-Identifier: MIT */
/*
 * ours: the cache's policy, called as the cache calls it.
 */
#include "ours.h"

#include <stdio.h>
#include <stdlib.h>

#include "cache_policy.h"

static void *need(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (p == NULL) {
		fputs("hitratio: out of memory\n", stderr);
		exit(3);
	}
	return p;
}

static void add(struct policy *policy, struct policy_node *node, void **memory)
{
	size_t wanted;
	void *more;

	policy_add(policy, node);
	while (policy_evict(policy) != NULL)
		;
	wanted = policy_sketch_wanted(policy);
	if (wanted == 0)
		return;
	more = need(1, wanted);
	policy_sketch_give(policy, more, wanted);
	free(*memory);
	*memory = more;
}

size_t ours_hits(const struct trace *trace, size_t capacity)
{
	struct policy *policy = need(1, sizeof *policy);
	struct policy_node *nodes = need(trace->distinct, sizeof *nodes);
	void *memory = NULL;
	size_t hits = 0;

	policy_init(policy, capacity);
	for (size_t i = 0; i < trace->n; i++) {
		struct policy_node *node = &nodes[trace->ids[i]];

		if (node->queue != POLICY_NONE) {
			hits++;
			policy_hit(policy, node);
			continue;
		}
		node->hash = (uint32_t)base_mix(trace->keys[i]);
		node->weight = 1;
		add(policy, node, &memory);
	}
	free(nodes);
	free(policy);
	free(memory);
	return hits;
}

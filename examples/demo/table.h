/* SPDX-License-Identifier: MIT */
/*
 * table: the variants' figures side by side, on stdout.
 */
#ifndef TABLE_H
#define TABLE_H

#include "replay.h"

/* results: one for each kind of cache, in their order; of the first `kinds` of them. */
void table_print(const struct replay_result results[CACHE_KINDS], int kinds);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * weak: what the files of weakbench share. The workloads are written once and compiled twice, for two subjects:
 *
 *     bench/weakbench     ours.h            on libweakref
 *     bench/peers/libgc   peers/libgc.h     on what a C programmer writes by hand on libgc alone; libweakref is not in that program
 *
 * A subject's header defines, inline, the operations that the workloads measure.
 *
 *     weak.c          the state of a run, clocks, printing
 *     weak_same.c     the groups that every peer has
 *     weak_work.c     more work that both subjects do
 *     weak_own.c      of libweakref alone
 *     weak_limits.c   libweakref beside the least that the machine needs for the same
 *     strong.c        the library's table with strong values
 */
#ifndef WEAK_H
#define WEAK_H

#ifndef GC_THREADS
#define GC_THREADS
#endif
#include <gc/gc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

typedef struct obj {
	long v;
} obj;

/* What stands under a key and leads to another one. */
struct value {
	long v;
	obj *key;
};

struct group {
	const char *name;
	void (*run)(void);
};

/* Each ends with a group without a name. */
extern const struct group same_groups[], work_groups[], own_groups[], limit_groups[];

extern const char *runtime;    /* printed in each line */
extern long n;                 /* the size of the workload at hand */
extern obj *volatile *objs;    /* n objects, or NULL where they were dropped; what the program holds strongly */
extern char **keys;            /* n strings */
extern uint32_t *order;        /* a permutation of the n */
extern void **table;           /* a word that libgc scans: the dictionary */

_Noreturn void die(const char *what);
double now(void); /* ns */
void emit(const char *workload, const char *metric, double value, const char *unit);

uint32_t *permutation(void);
double median(double *values, int count); /* sorts them */
long status_kb(const char *what);
double heap_used(void);
size_t key_write(char *to, char first, long i); /* first, then i in decimal; its length */

void objs_make(void);
void objs_drop(void);
void keys_make(void);
void table_place(void); /* makes `table` */
void drop_half(void);   /* a random half of the objects */
void check_sum(long sum);

double collect_once(void);
/* The middle one of three, after one that settles. */
double collect_time(void);
/* Clears what dead calls left on the stack. */
void scrub(void);

/* Collects until few are left, at most five times: how often. `left` tells how many there are. */
int collect_until_few(size_t (*left)(void), size_t *residue);

/* CHAIN, or 100000; at most n. 1: no chain. */
long chain_length(void);

/* Runs `count` threads on body(index), all at once; how long that took. */
double threads_run(int count, void (*body)(int index));

#ifdef SUBJECT_LIBGC
#include "peers/libgc.h"
#else
#include "ours.h"
#endif

#endif

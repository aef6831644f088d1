/* SPDX-License-Identifier: MIT */
/*
 * weakbench [-r RUNTIME] N GROUP...: speed, a figure a line, tab separated: workload runtime N metric value unit. The same program is
 * compiled for libweakref (bench/weakbench) and for what is written by hand on libgc (bench/peers/libgc); weak.h tells how.
 *
 * The groups that every peer of the library has, in the order, with the sizes and the metrics of them all (weak_same.c):
 *
 *     wvd       weak-value dictionary by string: insert; get in random order; collections with all entries live, and with half dead until
 *               the length is right; memory
 *     wkd       weak-key dictionary by identity with numbers as values: the same
 *     eph       a weak-key dictionary whose values lead to their keys (eph_self) or each to the next key (eph_chain): what leaks, in how
 *               many collections the rest goes, and the time of them
 *     ref       making references, reading them in random order by one thread and by two
 *     fin       registering finalizers, and running them all
 *
 * More work for both (weak_work.c):
 *
 *     churn     a dictionary of steady size: drop, insert, collect
 *     threads   1, 2 and 8 readers of dictionaries and references, and of libweakref's 2 readers beside a writer
 *     memory    bytes an entry beside the key's own, averaged over sizes from N/10 to N in steps of 10%
 *     mortal    objects with a destructor that sees them: making, and running them all
 *     again     objects, references, finalizers and entries of dictionaries, made once more when as many have been there and are gone:
 *               what is less than in the groups above is the system's, which has to give the memory
 *
 * Of libweakref alone:
 *
 *     alloc     gc_new beside GC_MALLOC of the same total size, and a leaf beside GC_MALLOC_ATOMIC; by one thread and by two
 *     single    ephemerons outside any dictionary: making, their share of a collection, chains
 *     many      get_all and update_pairs beside the same keys one by one
 *     worst     the slowest single insertion
 *     pause     how long the world stands, and how much of that is the library's hook
 *     limit     each beside the least that the machine needs: reads beside plain loads (limit_ref), many at once, and each
 *               waiting for the one before; hits beside the same table with strong values (limit_hit) and beside tables that do
 *               nothing but look up (limit_get), a collection beside a bare scan (limit_live, limit_wkd), a chain of ephemerons beside
 *               the same objects linked strongly (limit_chain); and the share of a reference in a collection (limit_gc)
 *
 * One group a process: what a group leaves behind would be in the next one's collections. Keys and objects exist before a clock starts;
 * the permutation is the same everywhere; a sum over the objects proves that what was read was right.
 *
 * Environment: CHAIN, the links of the chains; 100000 by default, and never more than N; 1: no chain.
 */
#include <unistd.h>

#include "weak.h"

static const struct group *const all[] = {same_groups, work_groups, SUBJECT_GROUPS NULL};

static const struct group *group_find(const char *name)
{
	for (const struct group *const *list = all; *list != NULL; list++)
		for (const struct group *group = *list; group->name != NULL; group++)
			if (strcmp(group->name, name) == 0)
				return group;
	return NULL;
}

static int usage(const char *program)
{
	fprintf(stderr, "usage: [CHAIN=n] %s [-r RUNTIME] N GROUP...   (RUNTIME: its name in what is printed)\ngroups:", program);
	for (const struct group *const *list = all; *list != NULL; list++)
		for (const struct group *group = *list; group->name != NULL; group++)
			fprintf(stderr, " %s", group->name);
	fputc('\n', stderr);
	return 2;
}

int main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "r:")) != -1) {
		if (option != 'r')
			return usage(argv[0]);
		runtime = optarg;
	}
	if (strcmp(runtime, "libgc") == 0 && strcmp(SUBJECT_NAME, "libgc") != 0) {
		fprintf(stderr, "%s: what is written by hand on libgc is another program: bench/peers/libgc\n", argv[0]);
		return 2;
	}
	if (argc - optind < 2 || (n = atol(argv[optind])) < 2)
		return usage(argv[0]);
	for (int i = optind + 1; i < argc; i++)
		if (group_find(argv[i]) == NULL) {
			fprintf(stderr, "%s: no group '%s'\n", argv[0], argv[i]);
			return usage(argv[0]);
		}
	subject_init();
	for (int i = optind + 1; i < argc; i++)
		group_find(argv[i])->run();
	return 0;
}

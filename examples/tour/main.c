/* SPDX-License-Identifier: MIT */
/*
 * weakref_tour [SECTION...]: the programs of a notebook on Python's weakref, in its order, on this library. Without arguments
 * all of them, each under a heading; tour.h tells how they are written.
 *
 * `weakref_tour --atexit 0|1` is the notebook's program of that name, which takes an argument and shows something at its end. The
 * section atexit runs it with both.
 */
#include <stdio.h>
#include <string.h>

#include "tour.h"

static const struct section {
	const char *name, *heading;
	void (*run)(void);
} sections[] = {
	{"ref", "weakref.ref", tour_ref},
	{"callback", "weakref.ref with a callback", tour_callback},
	{"finalize", "weakref.finalize", tour_finalize},
	{"atexit", "weakref.finalize: atexit", tour_atexit},
	{"uncollected", "weakref.finalize: its object among the arguments", tour_uncollected},
	{"method", "weakref.finalize: a bound method of its object", tour_method},
	{"proxy", "weakref.proxy", tour_proxy},
	{"dictionary", "weakref.WeakValueDictionary", tour_dictionary},
};
enum { SECTIONS = sizeof sections / sizeof sections[0] };

static const struct section *find(const char *name)
{
	for (size_t i = 0; i < SECTIONS; i++)
		if (strcmp(sections[i].name, name) == 0)
			return &sections[i];
	return NULL;
}

static void run(const struct section *section)
{
	printf("%d. %s\n\n", (int)(section - sections) + 1, section->heading);
	section->run();
}

static int usage(void)
{
	fprintf(stderr, "usage: weakref_tour [SECTION...]\nsections:");
	for (size_t i = 0; i < SECTIONS; i++)
		fprintf(stderr, " %s", sections[i].name);
	fputc('\n', stderr);
	return 2;
}

int main(int argc, char **argv)
{
	/* Line by line, so that the debugging output on stderr comes at its place. */
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	done(gc_init(), "gc_init");
	if (argc == 3 && strcmp(argv[1], "--atexit") == 0 && strlen(argv[2]) == 1 && strchr("01", argv[2][0]) != NULL) {
		tour_atexit_program(argv[2][0] == '1');
		return 0;
	}
	for (int i = 1; i < argc; i++)
		if (find(argv[i]) == NULL)
			return usage();
	for (int i = 1; i < argc; i++) {
		run(find(argv[i]));
		puts(i + 1 < argc ? "\n" : "");
	}
	for (size_t i = 0; argc == 1 && i < SECTIONS; i++) {
		run(&sections[i]);
		puts(i + 1 < SECTIONS ? "\n" : "");
	}
	return 0;
}

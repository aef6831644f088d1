/* SPDX-License-Identifier: MIT */
/*
 * pictures: sample PNG files, drawn here, for those who have no folder of pictures at hand.
 */
#ifndef PICTURES_H
#define PICTURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pictures {
	/* malloc'ed; NULL where there is none. */
	char *folder;
	/* Made by mkdtemp: pictures_remove deletes it. */
	bool temporary;
	/* Files with the numbers 1 … count are there, or as many of them as were drawn before an end. */
	size_t count;
};

/*
 * Draws `count` pictures into a folder, which is made where it is missing; with NULL into a fresh one below $TMPDIR (or
 * /tmp). The same seed gives the same pictures. Returns 0; -1 where that failed, which was reported, or where a signal
 * asked to stop. In both cases pictures_remove is to be called.
 */
int pictures_render(struct pictures *pictures, const char *folder, size_t count, uint64_t seed);
/* Deletes the pictures and their folder if it was a temporary one; reports what could not be deleted. */
void pictures_remove(struct pictures *pictures);

#endif

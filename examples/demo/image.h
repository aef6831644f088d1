/* SPDX-License-Identifier: MIT */
/*
 * image: a decoded PNG file as an object of the collected heap.
 *
 * One object holds everything: figures, path, pixels. It has no pointers, so its type is a leaf: a mebibyte of pixels costs the
 * collector nothing to look at, and no word of a picture is ever mistaken for a pointer.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_REASON 160

struct image {
	uint32_t width, height;
	/* A sum over a sample of the pixels, taken when they were decoded. */
	uint32_t check;
	uint32_t path_length;
	/* Of the pixels: 4 bytes each, RGBA, row by row without gaps. */
	size_t bytes;
	/* The path with its NUL, then from image_pixels on the pixels. */
	char path[];
};

enum image_result {
	IMAGE_OK = 0,
	/* The file is not a picture that can be shown, now or later. */
	IMAGE_BAD,
	/* The heap has no room now; it may have later. */
	IMAGE_NO_MEMORY,
};

/*
 * Decodes a file. A picture that would need more than max_bytes decoded is refused before anything is allocated for it.
 * Returns IMAGE_OK and the image; or what is wrong, with the reason in words. Whatever the result, the file is closed and
 * libpng's memory is freed.
 */
enum image_result image_load(const char *path, size_t max_bytes, struct image **image, char reason[IMAGE_REASON]);

/* Whether the image is the one of this path and its pixels are what was decoded. Reads some hundred bytes. */
bool image_is_intact(const struct image *image, const char *path);

#endif

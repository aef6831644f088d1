/* SPDX-License-Identifier: MIT */
/*
 * image: the type, and decoding with libpng's simplified interface, which does its own setjmp inside and frees what it had
 * when a file turns out bad half way.
 *
 * While libpng fills the pixels, it holds nothing but a pointer into the image in memory that the collector does not look
 * at; the image is kept alive by the variable in decode().
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weakref/object.h"

/* The distance between two bytes of the sample: a prime, so that all columns and channels have their turn. */
#define SAMPLE_STEP 4093

static int image_repr(void *obj, char *buf, size_t size)
{
	const struct image *image = obj;

	return snprintf(buf, size, "<image %u x %u '%s'>", image->width, image->height, image->path);
}

static const gc_type image_type = {
	.name = "image",
	.size = sizeof(struct image),
	.flags = WEAKREF_TYPE_LEAF,
	.repr = image_repr,
};

/* Where the pixels stand: behind the path, at an offset that is good for any element. */
static size_t pixels_at(size_t path_length)
{
	return (path_length + 1 + 15) / 16 * 16;
}

static const unsigned char *image_pixels(const struct image *image)
{
	return (const unsigned char *)image->path + pixels_at(image->path_length);
}

static uint32_t sample_sum(const struct image *image)
{
	const unsigned char *pixels = image_pixels(image);
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < image->bytes; i += SAMPLE_STEP)
		sum = (sum ^ pixels[i]) * 16777619u;
	return sum;
}

bool image_is_intact(const struct image *image, const char *path)
{
	return strcmp(image->path, path) == 0 && image->check == sample_sum(image);
}

/* Opens a regular file; NULL with the reason. Non-blocking, because a FIFO called x.png would wait for a writer. */
static FILE *open_regular(const char *path, char reason[IMAGE_REASON])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;
	FILE *file;

	if (fd < 0) {
		snprintf(reason, IMAGE_REASON, "cannot be opened: %s", strerror(errno));
		return NULL;
	}
	if (fstat(fd, &status) != 0)
		snprintf(reason, IMAGE_REASON, "cannot be read: %s", strerror(errno));
	else if (!S_ISREG(status.st_mode))
		snprintf(reason, IMAGE_REASON, "not a regular file");
	else if (status.st_size == 0)
		snprintf(reason, IMAGE_REASON, "empty file");
	else if ((file = fdopen(fd, "rb")) == NULL)
		snprintf(reason, IMAGE_REASON, "cannot be read: %s", strerror(errno));
	else
		return file;
	close(fd);
	return NULL;
}

/* The image's object, all but the pixels filled in. NULL with errno set. */
static struct image *image_new(const char *path, const png_image *png)
{
	size_t length = strlen(path), bytes = PNG_IMAGE_SIZE(*png);
	struct image *image = gc_new_extra(&image_type, pixels_at(length) + bytes);

	if (image == NULL)
		return NULL;
	image->width = png->width;
	image->height = png->height;
	image->bytes = bytes;
	image->path_length = (uint32_t)length;
	memcpy(image->path, path, length + 1);
	return image;
}

/* Decodes an open file, whose header libpng has read. */
static enum image_result decode(const char *path, png_image *png, size_t max_bytes, struct image **out, char reason[IMAGE_REASON])
{
	struct image *image;

	/* Divided, not multiplied: the product of two numbers from a file may not fit. */
	if (png->width > max_bytes / 4 / png->height) {
		snprintf(reason, IMAGE_REASON, "%u x %u pixels need more than the %zu MiB allowed for a picture", png->width,
			 png->height, max_bytes >> 20);
		return IMAGE_BAD;
	}
	png->format = PNG_FORMAT_RGBA;
	image = image_new(path, png);
	if (image == NULL) {
		snprintf(reason, IMAGE_REASON, "no room for %zu KiB on the heap: %s", (size_t)PNG_IMAGE_SIZE(*png) >> 10,
			 strerror(errno));
		return IMAGE_NO_MEMORY;
	}
	if (!png_image_finish_read(png, NULL, image->path + pixels_at(image->path_length), 0, NULL)) {
		snprintf(reason, IMAGE_REASON, "damaged PNG file: %s", png->message);
		return IMAGE_BAD;
	}
	image->check = sample_sum(image);
	*out = image;
	return IMAGE_OK;
}

enum image_result image_load(const char *path, size_t max_bytes, struct image **image, char reason[IMAGE_REASON])
{
	png_image png = {.version = PNG_IMAGE_VERSION};
	enum image_result result = IMAGE_BAD;
	FILE *file = open_regular(path, reason);

	if (file == NULL)
		return IMAGE_BAD;
	if (png_image_begin_read_from_stdio(&png, file))
		result = decode(path, &png, max_bytes, image, reason);
	else
		snprintf(reason, IMAGE_REASON, "not a PNG file that can be read: %s", png.message);
	png_image_free(&png);
	fclose(file);
	return result;
}

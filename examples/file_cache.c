/* SPDX-License-Identifier: MIT */
/*
 * file_cache: a cache of files as a program would have one: read through a loader, bounded by what the files weigh, told how to behave by a
 * string of the user's, and asked at the end what it did.
 *
 *     file_cache <PATHS       reads a path from each line, and writes the file's lines and bytes, as wc -lc; a file that is in the
 *                             cache is not read again
 *
 * The environment variable FILE_CACHE may set the cache's options (weakref/cache_builder.h, weakref_cache_builder_spec), say
 * FILE_CACHE=maximumWeight=65536,expireAfterWrite=10s; recordStats is set anyway.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <weakref/cache.h>
#include <weakref/gc.h>
#include <weakref/object.h>

struct file {
	size_t size;
	char content[];
};

/* Without pointers: the collector does not look into it. */
static const gc_type file_type = {.name = "file", .size = sizeof(struct file), .flags = WEAKREF_TYPE_LEAF};

/* ---- what the cache calls ---- */

/* 0, or a negative error. */
static int read_file(FILE *stream, struct file **out)
{
	struct stat status;

	if (fstat(fileno(stream), &status) != 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	struct file *file = gc_new_extra(&file_type, (size_t)status.st_size);
	if (file == NULL)
		return -errno;
	file->size = fread(file->content, 1, (size_t)status.st_size, stream);
	if (ferror(stream) != 0)
		return -EIO;
	*out = file;
	return 0;
}

static int load(const void *path, void **value, void *user)
{
	FILE *stream = fopen(path, "rb");
	struct file *file = NULL;

	(void)user;
	if (stream == NULL)
		return -errno;
	int error = read_file(stream, &file);
	fclose(stream);
	*value = file;
	return error;
}

static int64_t weigh(const void *path, void *value, void *user)
{
	(void)path;
	(void)user;
	return (int64_t)((const struct file *)value)->size;
}

static int file_went(const void *path, void *value, enum weakref_cause cause, void *user)
{
	size_t *evicted = user;

	(void)path;
	(void)value;
	*evicted += cause == WEAKREF_CAUSE_SIZE || cause == WEAKREF_CAUSE_EXPIRED;
	return 0;
}

/* ---- making it ---- */

static weakref_cache *cache_new(const char *spec, size_t *evicted)
{
	const weakref_cache_loader loader = {.load = load};
	weakref_cache_builder *builder = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	weakref_cache *cache = NULL;

	weakref_cache_builder_spec(builder, spec);
	if (strstr(spec, "recordStats") == NULL)
		weakref_cache_builder_record_stats(builder);
	if (strstr(spec, "maximumWeight") != NULL)
		weakref_cache_builder_weigher(builder, weigh, NULL);
	weakref_cache_builder_loader(builder, &loader);
	weakref_cache_builder_removal_listener(builder, file_went, evicted);
	/* What was refused is missing: one look for all of these calls. */
	if (*weakref_cache_builder_error(builder) == 0)
		cache = weakref_cache_builder_build(builder);
	if (cache == NULL)
		fprintf(stderr, "file_cache: FILE_CACHE: %s\n", weakref_cache_builder_error(builder));
	return cache;
}

/* ---- using it ---- */

static int answer(weakref_cache *cache, const char *path)
{
	const struct file *file;
	void *value;
	size_t lines = 0;
	int error = weakref_cache_get(cache, path, &value);

	if (error < 0) {
		fprintf(stderr, "file_cache: %s: %s\n", path, strerror(-error));
		return 1;
	}
	/* The variable holds it, whatever becomes of the entry. */
	file = value;
	for (size_t i = 0; i < file->size; i++)
		lines += file->content[i] == '\n';
	printf("%zu %zu %s\n", lines, file->size, path);
	return 0;
}

static void report(weakref_cache *cache, size_t evicted)
{
	weakref_cache_stats stats;

	weakref_cache_cleanup(cache);
	weakref_cache_get_stats(cache, &stats);
	fprintf(stderr, "file_cache: %zu files, %llu requests, hit rate %.2f, %llu loads of %.0f us, %zu evicted\n", weakref_cache_len(cache),
		(unsigned long long)weakref_cache_stats_requests(&stats), weakref_cache_stats_hit_rate(&stats),
		(unsigned long long)weakref_cache_stats_loads(&stats), weakref_cache_stats_load_penalty(&stats) / 1000, evicted);
}

int main(void)
{
	const char *spec = getenv("FILE_CACHE");
	size_t evicted = 0, size = 0;
	char *path = NULL;
	int status = 0;

	int error = gc_init();
	if (error < 0) {
		fprintf(stderr, "file_cache: %s\n", weakref_strerror(error));
		return 2;
	}
	weakref_cache *cache = cache_new(spec != NULL ? spec : "maximumWeight=16777216", &evicted);
	if (cache == NULL)
		return 2;
	for (ssize_t n; (n = getline(&path, &size, stdin)) >= 0;) {
		if (n > 0 && path[n - 1] == '\n')
			path[n - 1] = 0;
		status |= answer(cache, path);
	}
	free(path);
	report(cache, evicted);
	return status;
}

/* SPDX-License-Identifier: MIT */
/*
 * files: walks a folder with fts(3), which copes with loops of hard links, long paths and unreadable folders.
 *
 * A file is taken by its name ("….png" in any case); whether it is a picture shows when it is decoded. A folder may be
 * called x.png: it is walked like any other.
 */
#include "files.h"

#include <errno.h>
#include <fts.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "say.h"

static bool is_png_name(const char *name, size_t length)
{
	return length > 4 && strcasecmp(name + length - 4, ".png") == 0;
}

/* Whether a symbolic link leads to a folder. */
static bool leads_to_folder(const FTSENT *entry)
{
	struct stat status;

	return entry->fts_info == FTS_SL && stat(entry->fts_accpath, &status) == 0 && S_ISDIR(status.st_mode);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int files_add(struct files *files, size_t *room, const char *path)
{
	if (files->count == *room) {
		size_t more = *room == 0 ? 64 : *room * 2;
		char **paths = reallocarray(files->paths, more, sizeof *paths);

		if (paths == NULL)
			return -1;
		files->paths = paths;
		*room = more;
	}
	files->paths[files->count] = strdup(path);
	if (files->paths[files->count] == NULL)
		return -1;
	files->count++;
	return 0;
}

/* Takes or reports one entry of the walk. Returns 0 to go on, -1 to give up. */
static int files_visit(struct files *files, size_t *room, const FTSENT *entry)
{
	switch (entry->fts_info) {
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		say_of(entry->fts_path, "%s", strerror(entry->fts_errno));
		if (entry->fts_level == FTS_ROOTLEVEL)
			return -1;
		files->failures++;
		return 0;
	case FTS_F:
	case FTS_DEFAULT:
	case FTS_SL:
	case FTS_SLNONE:
		if (entry->fts_level == FTS_ROOTLEVEL) {
			say_of(entry->fts_path, "%s", strerror(ENOTDIR));
			return -1;
		}
		if (!is_png_name(entry->fts_name, entry->fts_namelen) || leads_to_folder(entry))
			return 0;
		if (files_add(files, room, entry->fts_path) != 0) {
			say_of(entry->fts_path, "%s", strerror(ENOMEM));
			return -1;
		}
		return 0;
	default:
		return 0;
	}
}

/* Without a trailing slash, which would stand twice in every path: fts joins by a slash of its own. */
static char *folder_name(const char *folder)
{
	size_t length = strlen(folder);

	while (length > 1 && folder[length - 1] == '/')
		length--;
	return strndup(folder, length);
}

int files_find(struct files *files, const char *folder)
{
	char *name = folder_name(folder);
	char *roots[] = {name, NULL};
	size_t room = 0;
	FTSENT *entry;
	FTS *walk;
	int status = 0;

	*files = (struct files){0};
	if (*folder == '\0') {
		free(name);
		say("the folder's name is empty");
		return -1;
	}
	/* FTS_NOCHDIR: paths stay valid for whoever opens them later. */
	walk = name == NULL ? NULL : fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
	if (walk == NULL) {
		say_of(folder, "%s", strerror(errno));
		free(name);
		return -1;
	}
	while (status == 0) {
		errno = 0;
		entry = fts_read(walk);
		if (entry == NULL)
			break;
		status = files_visit(files, &room, entry);
	}
	if (status == 0 && errno != 0) {
		say_of(folder, "%s", strerror(errno));
		status = -1;
	} else if (status == 0 && files->count == 0) {
		say_of(folder, "no PNG file in this folder or below it");
		status = -1;
	}
	fts_close(walk);
	free(name);
	if (status != 0)
		files_free(files);
	return status;
}

void files_free(struct files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->paths[i]);
	free(files->paths);
	*files = (struct files){0};
}

/* SPDX-License-Identifier: MIT */
/*
 * files: the list of PNG files below a folder.
 */
#ifndef FILES_H
#define FILES_H

#include <stddef.h>

struct files {
	/* Sorted by folder and name, so that the same folder gives the same trace. malloc'ed, as each path is. */
	char **paths;
	size_t count;
	/* Folders below the first that could not be read; each was reported. */
	size_t failures;
};

/*
 * Walks a folder and those below it; a symbolic link to a file counts, one to a folder is not followed. What could not be
 * read below the folder is reported and left out. Returns 0; -1 where the folder itself could not be read, holds no PNG
 * file, or memory ran out: that was reported as well, and the list is empty.
 */
int files_find(struct files *files, const char *folder);
void files_free(struct files *files);

#endif

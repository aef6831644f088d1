/* SPDX-License-Identifier: MIT */
/*
 * say: what the user is told on stderr: messages, and a progress bar when stderr is a terminal.
 *
 * One process writes there, the parent; the replaying children send what they have to say through their pipe. So a message
 * never lands in the middle of the bar: it wipes the bar first, and the next step draws it again.
 */
#ifndef SAY_H
#define SAY_H

#include <stddef.h>

/* Prints "imagecache: MESSAGE". */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints "imagecache: PATH: MESSAGE"; control characters of the path are shown as '?', so that no name can drive the terminal. */
void say_of(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Draws the bar: what is being done, how far it is, and a few words. Does nothing where stderr is no terminal. */
void say_progress(const char *what, size_t done, size_t total, const char *words);
/* Wipes the bar. */
void say_progress_end(void);

#endif

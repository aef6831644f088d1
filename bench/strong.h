/* SPDX-License-Identifier: MIT */
/*
 * strong: a dictionary by string which is the library's table (src/table*.c, compiled a second time) but for weakness: its slots lie in
 * memory that libgc scans, no collection clears them, and values are loaded plainly. It shows what weakness costs a hit.
 *
 * The objects that have this table must not meet those of the library, whose symbols are the same: a program that links both links
 * the library as a shared one, which hides its own.
 */
#ifndef STRONG_H
#define STRONG_H

void *strong_new(void);
/* 0 or a negative error. The value is the payload of an object of the library. */
int strong_set(void *table, const char *key, void *value);
void *strong_get(const void *table, const char *key);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * rawthread: threads that the collector does not know.
 */
#ifndef TESTS_RAWTHREAD_H
#define TESTS_RAWTHREAD_H

/* Runs fn(arg) on a thread made by the C library's own pthread_create, and joins it. fn's result; 1 where there was no thread. */
int rawthread_run(int (*fn)(void *arg), void *arg);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * stop: an interrupt from the keyboard, a hang-up or a termination request becomes a flag, so that main can remove the
 * pictures it made and end the child that replays, and then die of that very signal, as a shell expects.
 */
#ifndef STOP_H
#define STOP_H

/* Starts catching SIGINT, SIGTERM and SIGHUP (not one that the parent process left ignored, as nohup does). */
void stop_catch(void);
/* For a child: the signals do again what they do by default. */
void stop_default(void);
/* The signal that came, or 0. */
int stop_requested(void);
/* Ends the process by the signal that came; returns where none did. */
void stop_now(void);

#endif

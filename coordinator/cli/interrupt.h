/* Ctrl-C: the first one asks the program to come to an end by itself, the second one ends it. */
#pragma once

#include <stdbool.h>

/* Catches SIGINT, SIGTERM and SIGHUP, and ignores SIGPIPE. Call it first. */
void interrupt_setup(void);

bool interrupt_pending(void);

/* Waits, but not past an interrupt. Returns interrupt_pending(). */
bool interrupt_wait(int wait_ms);

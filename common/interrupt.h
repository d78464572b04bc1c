/* Ending a system call of a library that blocks for too long: a signal whose handler does nothing, without
 * SA_RESTART, makes it return EINTR. For connect(2) inside libmosquitto, which waits for the kernel's two
 * minutes. */
#pragma once

#include "common/cleanup.h"

#include <signal.h>
#include <stdbool.h>
#include <time.h>

#define INTERRUPT_SIGNAL SIGURG /* ignored by default, so a stray one does no harm */

/* Installs the handler; once, before a thread relies on it. That thread must not block INTERRUPT_SIGNAL. */
void interrupt_init(void);

/* While the timer runs, a blocking call of the calling thread ends after timeout_ms, and each second after
 * it. To be ended with timer_delete(). false if there is no timer to be had. */
bool interrupt_timer_start(int timeout_ms, timer_t *ret_timer) MUST_CHECK;

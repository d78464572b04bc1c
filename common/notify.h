/* Telling a service manager how we are: the sd_notify protocol (a datagram to $NOTIFY_SOCKET), without its
 * library. Where no manager listens nothing happens. */
#pragma once

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1" */
void notify_manager(const char *state);

/* How often the manager wants to hear WATCHDOG=1, halved to be in time; -1 if it does not ($WATCHDOG_USEC,
 * sd_watchdog_enabled(3)). */
int64_t notify_watchdog_ms(void);

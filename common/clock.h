/* The two clocks: one that only goes forward, for waiting, and the calendar, for records and expiry. */
#pragma once

#include <stdint.h>

int64_t clock_monotonic_ms(void); /* CLOCK_BOOTTIME: sleep of the machine counts */
int64_t clock_unix_ms(void);      /* CLOCK_REALTIME */

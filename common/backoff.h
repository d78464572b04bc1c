/* Exponential back-off with full jitter: the n-th wait is uniform in [0, min(max, min * 2^n)], so that a
 * thousand devices that lost the same server do not come back in step. The random source is getrandom(2). */
#pragma once

#include <stdint.h>

typedef struct Backoff {
    uint64_t min_ms; /* > 0 */
    uint64_t max_ms; /* >= min_ms */
    unsigned tries;  /* since the last success */
} Backoff;

/* The next wait in milliseconds; counts the try. */
uint64_t backoff_next_ms(Backoff *backoff);

/* After a success: the next wait is short again. */
void backoff_reset(Backoff *backoff);

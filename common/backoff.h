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

/* The same on top of least_ms, which the server has asked for (Retry-After). It has asked everybody else for
 * the same, so the random part is as wide as that pause at least; but not wider than max_ms. */
uint64_t backoff_next_after_ms(Backoff *backoff, uint64_t least_ms);

/* After a success: the next wait is short again. */
void backoff_reset(Backoff *backoff);

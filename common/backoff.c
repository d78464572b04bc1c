#include "common/backoff.h"

#include <sys/random.h>

static uint64_t random_below(uint64_t bound)
{
    uint64_t value = 0;

    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        return bound / 2; /* no entropy yet at boot: a middling wait */
    return value % bound; /* the bias below 2^64 is nothing for a wait */
}

uint64_t backoff_next_ms(Backoff *backoff)
{
    return backoff_next_after_ms(backoff, 0);
}

uint64_t backoff_next_after_ms(Backoff *backoff, uint64_t least_ms)
{
    uint64_t ceiling = backoff->min_ms;

    for (unsigned i = 0; i < backoff->tries && ceiling < backoff->max_ms; i++)
        ceiling *= 2;
    if (ceiling < least_ms)
        ceiling = least_ms;
    if (ceiling > backoff->max_ms)
        ceiling = backoff->max_ms;
    if (backoff->tries < 64)
        backoff->tries++;
    return least_ms + random_below(ceiling + 1);
}

void backoff_reset(Backoff *backoff)
{
    backoff->tries = 0;
}

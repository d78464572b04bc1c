/* Bounds how often a stranger can make us write something: a few at once, then one in a while. What is left
 * out is counted. Any thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Throttle {
    unsigned burst;   /* this many at once */
    int64_t every_ms; /* and one more each such time */
    pthread_mutex_t mutex;
    int64_t credit_ms; /* spent, every_ms each; at most burst of them are saved up */
    int64_t last_ms;
    uint64_t left_out;
} Throttle;

#define THROTTLE(burst_, every_ms_)                                                                          \
    {                                                                                                        \
        .burst = (burst_), .every_ms = (every_ms_), .mutex = PTHREAD_MUTEX_INITIALIZER,                      \
        .credit_ms = (int64_t)(burst_) * (every_ms_)                                                         \
    }

/* For the lines that anybody who finds the port can bring about. */
#define THROTTLE_STRANGERS THROTTLE(20, 10000)

/* Whether one more may pass. If so, *ret_left_out is how many were not let through since the last one. */
bool throttle_pass(Throttle *throttle, int64_t monotonic_ms, uint64_t *ret_left_out);

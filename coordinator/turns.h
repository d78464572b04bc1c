/* A lock that serves in the order of arrival.
 *
 * With a plain mutex the thread that lets go and wants it again at once nearly always wins over the one that
 * waits, for that has to wake up first. So while the broker's messages are worked off one after another, each
 * with an fsync, a question over REST would wait for many of them, and not for the one under way. */
#pragma once

#include "common/cleanup.h"

#include <pthread.h>
#include <stdint.h>

typedef struct Turns {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t next, serving; /* numbers of those who come and of who has it */
} Turns;

int turns_init(Turns *turns) MUST_CHECK; /* 0 or a negative errno */
void turns_deinit(Turns *turns);         /* nobody has it or waits */
void turns_take(Turns *turns);
void turns_leave(Turns *turns);

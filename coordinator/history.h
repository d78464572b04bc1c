/* How long requests that have ended are known: by age, and by count of all clients together; for some clients
 * by rules of their own. What ended in the last day is known whatever these say. */
#pragma once

#include "common/config.h"

#define HISTORY_AGE_MAX_MS ((uint64_t)36500 * 86400000)
#define HISTORY_COUNT_MAX 1000000000

typedef struct HistoryConfig {
    uint64_t age_ms; /* older ones are forgotten; 0: none for its age */
    uint64_t count;  /* so many are kept, the last ones of all clients; 0: all */
    /* "<pattern>=<value>", whose items are the caller's: the first that matches a client's name counts. A
     * count is each client's own there, and 0 keeps all of it. */
    ConfigList ages, counts;
} HistoryConfig;

/* 0, or the number of mistakes in the rules, each told by config_mistake(). */
int history_check(const HistoryConfig *config) MUST_CHECK;

/* How long stored files are kept: by age, and for each client by count and bytes. The oldest go first; their
 * records stay, so that an upload that is repeated does not look new, until RETENTION_RECORD_S after.
 *
 * The stamps of the files are the calendar's, which may have been wrong, so that nobody can tell which are
 * the oldest: a client with a file that came more than RETENTION_TRUST_MS from now is left alone; and after
 * the calendar has moved by more than that against the running time, no sweep is made for as long.
 *
 * Works on a thread of its own, for walking a large store takes its time. */
#pragma once

#include "common/audit.h"
#include "common/config.h"
#include "receiver/archive.h"

#define RETENTION_AGE_MAX_MS ((uint64_t)36500 * 86400000)

/* Of what was removed, in whatever way: longer than an agent knows an upload's id (30 days, or a day after
 * its request expires, which is after a week unless somebody says otherwise). */
#define RETENTION_RECORD_S ((int64_t)60 * 86400)

#define RETENTION_TRUST_MS ((int64_t)3600000)

typedef struct RetentionConfig {
    uint64_t age_ms, count, bytes; /* of clients that have no rule of their own; 0: no limit */
    const ConfigList *ages, *counts,
        *sizes;   /* "<pattern>=<value>": the first that matches a client's name counts */
    Audit *audit; /* each removal is written there before it happens; may be NULL */
    int64_t (*unix_ms)(void), (*now_ms)(void); /* calendar and monotonic */
    int first_s;                               /* until the first sweep, if there are rules */
} RetentionConfig;

typedef struct Retention Retention;

/* 0, or the number of mistakes in the rules, each told by config_mistake(). */
int retention_check(const RetentionConfig *config);

/* Copies config, whose pointers stay the caller's. store and archive are borrowed. Sweeps after first_s, and
 * then every ten minutes; clients without any rule once a day, for the records. 0 or a negative errno. */
int retention_new(const RetentionConfig *config, Store *store, Archive *archive,
                  Retention **ret_retention) MUST_CHECK;
Retention *retention_free(Retention *retention); /* ends a sweep in its middle; returns NULL */

/* One sweep through the whole store. What fails is logged, and tried again by the next one. */
void retention_sweep(Retention *retention);

/* Figures about this process, and the page of them that Prometheus reads (text exposition format 0.0.4).
 *
 * What counts starts zeroed and may be counted by any thread. A page is written by one thread. Times are
 * counted in milliseconds and shown in seconds. */
#pragma once

#include "common/cleanup.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8" /* of media */

typedef atomic_uint_fast64_t Counter;

static inline void counter_add(Counter *counter, uint64_t count)
{
    (void)atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static inline uint64_t counter_get(Counter *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Counters by one label, whose values need not be known before. Once there are LABEL_VALUES_MAX of them,
 * further ones are counted as "other". */
#define LABEL_VALUES_MAX 96
#define LABEL_SIZE 40 /* a longer one is cut */

typedef struct LabelCounter {
    pthread_mutex_t mutex;
    size_t used;
    struct {
        char label[LABEL_SIZE];
        uint64_t count;
    } items[LABEL_VALUES_MAX + 1];
} LabelCounter;

#define LABEL_COUNTER                                                                                        \
    {                                                                                                        \
        .mutex = PTHREAD_MUTEX_INITIALIZER                                                                   \
    }

void label_counter_add(LabelCounter *counter, const char *label);

/* How long things took: from a tenth of a second to a day. */
#define HISTOGRAM_BOUNDS 14

typedef struct Histogram {
    Counter buckets[HISTOGRAM_BOUNDS + 1]; /* the last one: longer than every bound */
    Counter sum_ms;
} Histogram;

void histogram_observe(Histogram *histogram, int64_t took_ms);

/* --- the page --- */

typedef struct MetricsPage {
    FILE *stream;
    char *text;
    size_t size;
} MetricsPage;

/* 0 or -ENOMEM. */
int metrics_begin(MetricsPage *page) MUST_CHECK;

/* The text, or NULL when out of memory. The caller frees. Also to be called when the page is not wanted any
 * more. */
char *metrics_end(MetricsPage *page) MUST_CHECK;

/* A family's head; its samples follow. type is "counter" or "gauge". Names, help and label names are
 * constants of ours: [a-z_], and help without a backslash or a line end. */
void metrics_family(MetricsPage *page, const char *type, const char *name, const char *help);

/* label NULL: none. value is escaped. */
void metrics_sample(MetricsPage *page, const char *name, const char *label, const char *value,
                    uint64_t number);

/* A family of one sample without a label. */
void metrics_counter(MetricsPage *page, const char *name, const char *help, uint64_t number);
void metrics_gauge(MetricsPage *page, const char *name, const char *help, uint64_t number);

/* Whole families. */
void metrics_labels(MetricsPage *page, const char *name, const char *help, const char *label,
                    LabelCounter *counter);
void metrics_histogram(MetricsPage *page, const char *name, const char *help, Histogram *histogram);
void metrics_build(MetricsPage *page); /* beckon_build_info */
void metrics_certificates(MetricsPage *page, int64_t server_expires_unix_s,
                          int64_t mqtt_expires_unix_s); /* 0: not known, and left out */

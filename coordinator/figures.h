/* What this coordinator counts for GET /metrics. There is one coordinator in a process, and so one set of
 * figures; any thread counts. */
#pragma once

#include "common/metrics.h"
#include "protocol/message.h"
#include "protocol/topic.h"

#include <stdbool.h>

#define FIGURES_STATES (UPLOAD_EXPIRED + 1)
#define FIGURES_TOPICS (TOPIC_RECEIPT + 1)

typedef struct Figures {
    Counter ended[FIGURES_STATES]; /* requests that came into this final state */
    Histogram duration;            /* from being asked for to completed */
    Counter commands[FIGURES_TOPICS];
    LabelCounter refusals; /* of any request of the REST API, by reason */
    LabelCounter failures; /* requests that came to be rejected or failed, by reason */
} Figures;

extern Figures figures;

/* A request came to be rejected or failed. The reason is mostly a device's word: one that neither agent nor
 * receiver has, as far as is known here, is counted as "other", so no device makes up labels. */
void figures_count_failure(const char *reason);

/* What is not counted but looked up. */
typedef struct FiguresNow {
    size_t clients_online, clients_offline;
    size_t open[FIGURES_STATES]; /* requests that are not final */
    size_t batches_active, receipts_asked, events_readers;
    bool broker_connected;
    int64_t server_expires_unix_s, mqtt_expires_unix_s; /* own certificates; 0: not known */
} FiguresNow;

/* The whole page. The caller frees; NULL when out of memory. */
char *figures_page(const FiguresNow *now);

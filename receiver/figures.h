/* What this receiver counts for GET /metrics. There is one receiver in a process, and so one set of figures;
 * any thread counts. */
#pragma once

#include "common/metrics.h"

#include <stdbool.h>

typedef enum UploadResult {
    UPLOAD_RESULT_COMPLETED,
    UPLOAD_RESULT_REPEATED, /* it was complete before, and is the same */
    UPLOAD_RESULT_PARTIAL,  /* the body ended well, and more is to come */
    UPLOAD_RESULT_REFUSED,
    UPLOAD_RESULT_FENCED, /* a newer request, a delete or a cancel has taken the upload away */
    UPLOAD_RESULT_BROKEN, /* the connection broke */
} UploadResult;
#define UPLOAD_RESULT_COUNT (UPLOAD_RESULT_BROKEN + 1)

typedef struct Figures {
    Counter uploads[UPLOAD_RESULT_COUNT]; /* requests with a body, by their end */
    Counter upload_bytes, upload_retries;
    Histogram upload_duration; /* of those that completed one */
    LabelCounter refusals;     /* of any request, by reason */
} Figures;

extern Figures figures;

/* What is not counted but looked up. */
typedef struct FiguresNow {
    unsigned uploads_active;
    uint64_t free_bytes, floor_bytes;
    size_t receipts_waiting, removals_waiting;
    bool broker_connected;
    int64_t server_expires_unix_s, mqtt_expires_unix_s; /* own certificates; 0: not known */
} FiguresNow;

/* The whole page. The caller frees; NULL when out of memory. */
char *figures_page(const FiguresNow *now);

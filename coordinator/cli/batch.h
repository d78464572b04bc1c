/* One batch as the coordinator tells of it. */
#pragma once

#include "common/cleanup.h"
#include "protocol/ident.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define BATCH_COUNTS_SIZE 128

typedef struct Batch {
    char id[UPLOAD_ID_SIZE];
    char state[16]; /* printable: asking, waiting, done, stopped or cancelled */
    uint64_t matched;
    uint64_t unasked, queued, running, completed, failed;
} Batch;

/* 0, or -1 if object is not what GET /batches/<id> answers. */
int batch_parse(const cJSON *object, Batch *ret_batch) MUST_CHECK;

/* Nothing will happen any more, but late receipts. */
bool batch_is_over(const Batch *batch);

/* "12 of 30 completed, 3 running, 15 queued, 2 failed". Returns out. */
char *batch_counts(const Batch *batch, char out[static BATCH_COUNTS_SIZE]);

/* All that is known, a line a fact. */
void batch_print(const Batch *batch, const cJSON *object, FILE *stream);

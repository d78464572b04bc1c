/* One file asked for of many clients: so many of them a second, in the order of their names, until all are
 * asked or too many have failed. Part of control.h, and called as it is.
 *
 * Whom it asks is settled when it is made, and on disk before that is answered. A client is taken from those
 * still to be asked in the transaction that makes its request; its command is published after that, and
 * again like any other. So nobody is asked twice or forgotten, whenever the coordinator dies.
 *
 * A batch is seen by its maker and by administrators who see every device. */
#pragma once

#include "coordinator/control.h"
#include "coordinator/store_batches.h"

#include <cjson/cJSON.h>

#define BATCH_CLIENTS_MAX CLIENTS_MAX
#define BATCH_RAMP 50       /* clients a second, if it does not say */
#define BATCH_RAMP_MAX 1000 /* of all batches together, too */
#define BATCHES_ASKING_MAX 64
#define BATCHES_ASKING_USER_MAX 32 /* of one user */

typedef struct NewBatch {
    NewRequest each;       /* what everybody is asked for; it names no client */
    const cJSON *patterns; /* a list of valid client patterns, of which one must match; NULL: any name does */
    const cJSON *labels;   /* an object of strings, which the client must have all; NULL: needs none */
    uint64_t ramp, max_failures;
    uint8_t fingerprint[SHA256_SIZE]; /* of all that was asked: what a repeat with the same key must have */
} NewBatch;

/* Of the clients that grant sees. A known idempotency key of the same user gives the batch made with it. Of
 * these clients one at least must have room for another open request; the part of one that has none when its
 * turn comes is rejected. */
int batch_create(Control *control, const Grant *grant, const NewBatch *wanted, Batch *ret_batch,
                 Problem *problem) MUST_CHECK;

int batch_get(Control *control, const Grant *grant, const char *id, Batch *ret_batch,
              Problem *problem) MUST_CHECK;

/* Newest first. after: the last one of the page before; NULL: from the newest. */
int batch_list(Control *control, const Grant *grant, const char *after, Batch *rows, size_t max,
               size_t *ret_count, Problem *problem) MUST_CHECK;

/* Nobody else is asked, and what is not final is cancelled: the requests by and by, a restart in between does
 * not matter. Of a batch that is over only the cancelled is no problem. */
int batch_cancel(Control *control, const Grant *grant, const char *id, Batch *ret_batch,
                 Problem *problem) MUST_CHECK;

/* Tells one reader of the events of this batch as it is now: see events_tell_one(). */
void batch_tell(Control *control, const Grant *grant, const char *id, const HttpSource *reader);

/* Whether a user may know of a batch of this maker. */
bool batch_is_seen(const Grant *grant, const char *maker);

/* Nothing of it will happen any more, but late receipts. */
bool batch_is_over(const Batch *batch);

/* "asking", "waiting", "done", "stopped" or "cancelled". */
const char *batch_state_name(const Batch *batch);

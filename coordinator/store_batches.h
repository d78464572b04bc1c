/* Batches in the store: one file asked for of many clients. Rules and errors as in store.h. */
#pragma once

#include "coordinator/store.h"

typedef enum BatchEnd {
    BATCH_GOES_ON,
    BATCH_STOPPED,   /* after too many failures: nobody else is asked */
    BATCH_CANCELLED, /* the same, and what was asked is cancelled */
} BatchEnd;

/* Clients, by how far their part has come. */
typedef struct BatchCounts {
    uint64_t unasked;
    uint64_t queued;
    uint64_t running; /* accepted ones too */
    uint64_t completed;
    uint64_t failed; /* all other ends */
} BatchCounts;

typedef struct Batch {
    int64_t seq; /* order of making, from 1; set by the store */
    char id[UPLOAD_ID_SIZE];
    char maker[USER_NAME_SIZE]; /* "": who shows the shared token */
    char path[FILE_PATH_MAX + 1];
    char receiver[RECEIVER_NAME_SIZE];
    uint64_t max_size_bytes, rate_bytes_per_s; /* 0: not given */
    uint64_t life_ms;                          /* of each request, from when it is made */
    int64_t created_ms;
    uint64_t ramp;         /* clients asked a second */
    uint64_t max_failures; /* 0: any number */
    uint64_t matched;      /* clients */
    BatchCounts counts;
    BatchEnd end;
    char traceparent[TRACEPARENT_SIZE]; /* the trace that all its requests belong to */
    char idempotency_key[IDEMPOTENCY_KEY_SIZE];
    uint8_t fingerprint[SHA256_SIZE]; /* of what was asked */
} Batch;

typedef struct BatchPart {
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
} BatchPart;

/* The batch and whom it is to ask, all or nothing. Sets batch->seq. */
int store_add_batch(Store *store, Batch *batch, const char *const *clients, size_t count) MUST_CHECK;

/* 0 or STORE_E_ABSENT. */
int store_get_batch(Store *store, const char *id, Batch *ret_batch) MUST_CHECK;
int store_find_idempotent_batch(Store *store, const char *key, Batch *ret_batch) MUST_CHECK;

/* Newest first, at most max. maker NULL: everybody's. before_seq 0: from the newest. */
int store_list_batches(Store *store, const char *maker, int64_t before_seq, Batch *rows, size_t max,
                       size_t *ret_count) MUST_CHECK;

/* Every batch that has clients to ask, or requests to cancel. Ends as store_each_client() does. */
int store_each_busy_batch(Store *store, int (*each)(void *userdata, const Batch *batch),
                          void *userdata) MUST_CHECK;

/* The first max clients that are still to be asked; the parts' ids are left alone. */
int store_next_in_batch(Store *store, const Batch *batch, BatchPart *parts, size_t max,
                        size_t *ret_count) MUST_CHECK;

/* These clients are asked: one request each, like request but for client and id, instead of the place in the
 * line. All or nothing. parts are the next of the batch, in their order. */
int store_ask_batch(Store *store, const Batch *batch, Request *request, const BatchPart *parts,
                    size_t count) MUST_CHECK;

/* Nobody else is asked. */
int store_end_batch(Store *store, const Batch *batch, BatchEnd end) MUST_CHECK;

/* Notes for at most max open requests of the batch that cancelling is asked for, and tells which. All or
 * nothing. */
int store_cancel_batch(Store *store, const Batch *batch, int64_t now_ms, BatchPart *parts, size_t max,
                       size_t *ret_count) MUST_CHECK;

/* The uploads in progress: who may write to which part.
 *
 * An upload is the pair (client, id). A transfer is one connection's hold on it. A newer transfer, a delete
 * or a cancel fences the older one: its connection is cut, and because the cut may take effect late, a
 * generation number is checked under the lock before each write and before the commit. The newer one waits
 * for a write that has begun; a commit that has begun is awaited, and then counts.
 *
 * An upload whose connection broke keeps its part, idle, with its durable offset, until it is taken up,
 * deleted, too old, or its client needs the room: of the uploads of one client the oldest idle one makes
 * place.
 *
 * Any thread may call; the functions may block on the disk and on another transfer's write, except where it
 * is said. */
#pragma once

#include "common/cleanup.h"
#include "receiver/archive.h"
#include "receiver/spool.h"

#include <stdbool.h>
#include <stdint.h>

#define TRANSFER_CLAIMS_MAX 4

typedef struct Uploads Uploads;
typedef struct Transfer Transfer;

typedef struct UploadsConfig {
    unsigned open_max;             /* transfers at a time */
    unsigned per_client_max;       /* uploads of one client, idle ones included */
    int64_t (*now_ms)(void);       /* monotonic */
    void (*cut)(void *connection); /* ends a connection at once; called under the lock, must not call back */
} UploadsConfig;

/* spool and archive are borrowed. */
int uploads_new(const UploadsConfig *config, Spool *spool, Archive *archive,
                Uploads **ret_uploads) MUST_CHECK;
Uploads *uploads_free(Uploads *uploads); /* no transfer may be left; returns NULL */

enum {
    UPLOADS_E_FENCED = 1,  /* a newer transfer, a delete or a cancel has taken the upload away */
    UPLOADS_E_BUSY,        /* open_max transfers are at work */
    UPLOADS_E_CLIENT_BUSY, /* per_client_max uploads of this client are at work */
    UPLOADS_E_FULL,        /* no space; the part is kept */
    UPLOADS_E_COMPLETE,    /* it is complete and stays */
    UPLOADS_E_ABSENT,
    UPLOADS_E_LENGTH,   /* not as long as was said; not committed */
    UPLOADS_E_DIGEST,   /* not what was said; the part is set aside */
    UPLOADS_E_CONFLICT, /* complete already, with another content */
    UPLOADS_E_SPOILED,  /* the disk failed; the part is set aside */
};

typedef struct TransferStart {
    const char *client, *id;
    const char *path; /* on the device, for the receipt */
    bool has_length;
    uint64_t length;  /* of the whole upload */
    void *connection; /* for cut(), until transfer_end() */
} TransferStart;

/* Begins an upload anew, fencing an older transfer of it. If it is complete already, the transfer only reads
 * and compares. 0, UPLOADS_E_FENCED, _BUSY, _CLIENT_BUSY, _FULL, or a negative errno. */
int transfer_begin(Uploads *uploads, const TransferStart *start, Transfer **ret_transfer) MUST_CHECK;

/* 0, UPLOADS_E_FENCED, _FULL, _SPOILED. */
int transfer_write(Transfer *transfer, const void *data, size_t size) MUST_CHECK;
uint64_t transfer_received(const Transfer *transfer);

/* At the body's clean end. claims: digests that the sender gave, each of which must be the content's. 0: the
 * upload is complete, now or before, and *ret_stored says what it is; or UPLOADS_E_FENCED, _LENGTH, _DIGEST,
 * _CONFLICT, _FULL, _SPOILED, or a negative errno. */
typedef struct TransferClaims {
    size_t count;
    uint8_t sha256[TRANSFER_CLAIMS_MAX][SHA256_SIZE];
} TransferClaims;
int transfer_finish(Transfer *transfer, const TransferClaims *claims, Stored *ret_stored) MUST_CHECK;

/* The connection is done with; what it left of an incomplete upload is made durable and kept. Frees; NULL is
 * fine; returns NULL. */
Transfer *transfer_end(Transfer *transfer);

/* What is known of an upload. Waits for a commit in progress. 0, UPLOADS_E_ABSENT, or a negative errno. */
typedef struct UploadStatusNow {
    bool complete;
    bool deleted;
    uint64_t offset; /* durable */
    bool has_length;
    uint64_t length;
    uint8_t sha256[SHA256_SIZE]; /* when complete */
} UploadStatusNow;
int uploads_status(Uploads *uploads, const char *client, const char *id,
                   UploadStatusNow *ret_status) MUST_CHECK;

/* Drops an incomplete upload and its part. 0, UPLOADS_E_ABSENT, UPLOADS_E_COMPLETE, UPLOADS_E_FENCED or a
 * negative errno. */
int uploads_delete(Uploads *uploads, const char *client, const char *id) MUST_CHECK;

/* The same without waiting for anything but the removal of an idle part; a commit that has begun goes on.
 * Returns whether there was something to cancel. */
bool uploads_cancel(Uploads *uploads, const char *client, const char *id);

/* Removes what has been idle since before monotonic_ms. */
void uploads_expire(Uploads *uploads, int64_t before_monotonic_ms);

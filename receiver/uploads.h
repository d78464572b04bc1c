/* The uploads in progress: who may write to which part.
 *
 * An upload is the pair (client, id). A transfer is one connection's hold on it. A newer transfer, a delete
 * or a cancel fences the older one: its connection is cut, and because the cut may take effect late, a
 * generation number is checked under the lock before each write and before the commit. The newer one waits
 * for a write that has begun; a commit that has begun is awaited, and then counts. Attempts make the order of
 * transfers certain: a lower one than the highest seen is refused, also after a restart.
 *
 * An upload whose connection broke keeps its part, idle, with its durable offset, until it is taken up,
 * deleted, too old, or its client needs the room: of the uploads of one client the oldest idle one makes
 * place. Parts of an earlier process are taken over when they are first asked for.
 *
 * Any thread may call; the functions may block on the disk and on another transfer's write, except where it
 * is said. */
#pragma once

#include "common/cleanup.h"
#include "receiver/archive.h"
#include "receiver/spool.h"

#include <stdbool.h>
#include <stdint.h>

#define TRANSFER_CLAIMS_MAX 2 /* a header and a trailer */

typedef struct Uploads Uploads;
typedef struct Transfer Transfer;

typedef struct UploadsConfig {
    unsigned open_max;             /* transfers at a time; as many idle parts stay open */
    unsigned per_client_max;       /* uploads of one client, idle ones included */
    uint64_t client_bytes_max;     /* of one client's incomplete uploads; 0: no limit */
    int64_t (*now_ms)(void);       /* monotonic */
    void (*cut)(void *connection); /* ends a connection at once; called under the lock, must not call back */
} UploadsConfig;

/* spool and archive are borrowed. Takes note of what earlier processes left in the spool. 0 or a negative
 * errno. */
int uploads_new(const UploadsConfig *config, Spool *spool, Archive *archive,
                Uploads **ret_uploads) MUST_CHECK;
Uploads *uploads_free(Uploads *uploads); /* no transfer may be left; returns NULL */

/* Lets no transfer begin any more, cuts those that do not commit just now, and waits until all have ended,
 * their parts durable. Whether they have within timeout_ms. */
bool uploads_stop(Uploads *uploads, int64_t timeout_ms) MUST_CHECK;

enum {
    UPLOADS_E_FENCED = 1,  /* a newer transfer, a delete or a cancel has taken the upload away */
    UPLOADS_E_BUSY,        /* open_max transfers are at work */
    UPLOADS_E_CLIENT_BUSY, /* this client has per_client_max uploads or client_bytes_max bytes under way */
    UPLOADS_E_FULL,        /* no space; the part is kept */
    UPLOADS_E_AGAIN,    /* the receiver is about to end, or the work was broken off for a more urgent one */
    UPLOADS_E_COMPLETE, /* it is complete and stays */
    UPLOADS_E_ABSENT,
    UPLOADS_E_DELETED,    /* and not yet begun anew */
    UPLOADS_E_OFFSET,     /* the upload stands at another offset */
    UPLOADS_E_INCOMPLETE, /* no failure: the body ended well, and more is to come */
    UPLOADS_E_LENGTH,     /* not as long as was said; not committed */
    UPLOADS_E_UNPROVEN,   /* nobody has said its digest, which is needed; not committed */
    UPLOADS_E_DIGEST,     /* not what was said; the part is set aside */
    UPLOADS_E_CONFLICT,   /* complete already, with another content */
    UPLOADS_E_SPOILED,    /* the disk failed; the part is set aside */
};

typedef struct TransferStart {
    const char *client, *id;
    const char *path;        /* on the device, for the receipt; what an upload began with stays */
    const char *traceparent; /* the same; "": none */
    bool has_length;
    uint64_t length;  /* of the whole upload */
    uint64_t attempt; /* 0: the sender counts none */
    bool check_body;  /* the body will have a digest of its own */
    void *connection; /* for cut(), until transfer_end() */
} TransferStart;

/* Begins an upload anew, fencing an older transfer of it. If it is complete already, the transfer only reads
 * and compares. 0, UPLOADS_E_FENCED, _BUSY, _CLIENT_BUSY, _FULL, _AGAIN, or a negative errno. */
int transfer_begin(Uploads *uploads, const TransferStart *start, Transfer **ret_transfer) MUST_CHECK;

/* Goes on with an upload at offset, fencing an older transfer of it. As above; and UPLOADS_E_ABSENT,
 * _DELETED, _LENGTH (not the one that is known, or less than what is there), _SPOILED, or _OFFSET: then
 * *ret_offset is the true one, durable. */
int transfer_resume(Uploads *uploads, const TransferStart *start, uint64_t offset, Transfer **ret_transfer,
                    uint64_t *ret_offset) MUST_CHECK;

/* 0, UPLOADS_E_FENCED, _FULL, _CLIENT_BUSY, _LENGTH, _SPOILED. */
int transfer_write(Transfer *transfer, const void *data, size_t size) MUST_CHECK;
uint64_t transfer_offset(const Transfer *transfer);   /* in the whole upload */
uint64_t transfer_received(const Transfer *transfer); /* of this body */
bool transfer_is_repeat(const Transfer *transfer);    /* of an upload that was complete before */
bool transfer_is_fenced(Transfer *transfer);          /* by now */
bool transfer_checks_body(
    const Transfer *transfer); /* whether the digest of this body alone is known at its end */

/* What the part has is of no use to anybody: transfer_end() removes it. */
void transfer_discard(Transfer *transfer);

/* Whether a body that came to its clean end completes its upload. marked: Upload-Complete: ?1; offset: the
 * end of what is there now. Nothing else completes an upload, and least of all a connection that breaks at
 * offset = length. */
typedef enum Completion { COMPLETION_NOT_YET, COMPLETION_NOW, COMPLETION_WRONG_LENGTH } Completion;
Completion completion_of(bool marked, bool has_length, uint64_t length, uint64_t offset);

/* Digests that the sender gave: of the whole upload, which count when it is complete, and of this body. */
typedef struct TransferClaims {
    bool marked; /* this body is said to be the last one */
    bool needed; /* without one of the whole it is not complete */
    size_t whole_count, body_count;
    uint8_t whole[TRANSFER_CLAIMS_MAX][SHA256_SIZE];
    uint8_t body[TRANSFER_CLAIMS_MAX][SHA256_SIZE];
} TransferClaims;

/* At the body's clean end. 0: the upload is complete, now or before, and *ret_stored says what it is.
 * UPLOADS_E_INCOMPLETE: it stands, durably, at transfer_offset(). _COMPLETE, _CONFLICT: it was complete
 * before, as *ret_stored says, and the body is a piece of it, or of something else. Or UPLOADS_E_FENCED,
 * _LENGTH, _UNPROVEN, _DIGEST, _FULL, _AGAIN, _SPOILED, or a negative errno. */
int transfer_finish(Transfer *transfer, const TransferClaims *claims, Stored *ret_stored) MUST_CHECK;

/* The connection is done with; what it left of an incomplete upload is made durable and kept. Frees; NULL is
 * fine; returns NULL. */
Transfer *transfer_end(Transfer *transfer);

/* What is known of an upload. Waits for a commit in progress; makes durable what a running transfer has
 * brought. 0, UPLOADS_E_ABSENT, _DELETED, _FULL, _AGAIN, or a negative errno. */
typedef struct UploadStatusNow {
    bool complete;
    uint64_t offset; /* durable */
    bool has_length;
    uint64_t length;
    uint8_t sha256[SHA256_SIZE]; /* when complete */
} UploadStatusNow;
int uploads_status(Uploads *uploads, const char *client, const char *id,
                   UploadStatusNow *ret_status) MUST_CHECK;

/* Drops an incomplete upload and its part, for a request with this attempt (0: none). 0, UPLOADS_E_ABSENT,
 * _DELETED, _COMPLETE, _FENCED or a negative errno. */
int uploads_delete(Uploads *uploads, const char *client, const char *id, uint64_t attempt) MUST_CHECK;

unsigned uploads_open_count(Uploads *uploads); /* transfers now */

/* The same without waiting for anything but the removal of an idle part; a commit that has begun goes on.
 * Returns whether there was something to cancel. */
bool uploads_cancel(Uploads *uploads, const char *client, const char *id);

/* Removes what has been idle since before monotonic_ms. */
void uploads_expire(Uploads *uploads, int64_t before_monotonic_ms);

/* What uploads.c and transfer.c share; nobody else includes it. */
#pragma once

#include "receiver/uploads.h"

#include <pthread.h>
#include <sys/queue.h>

/* Guarded by the table's lock, but for what part points to: that belongs to whoever has set busy. */
typedef struct Upload {
    TAILQ_ENTRY(Upload) link; /* in the order of use, the longest idle first */
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    uint64_t generation; /* grows with each fencing */
    uint64_t attempt;    /* the highest seen */
    unsigned users;      /* threads that hold a pointer to this */
    Transfer *holder;    /* the transfer that may write, if its generation is still right */
    bool busy;           /* somebody works on part, without the lock */
    bool committing;     /* and it is a commit: not to be fenced */
    bool hurry;          /* somebody waits who does not need what is in part: stop reading it */
    bool begun;          /* there is something to go on with, or soon */
    bool deleted;        /* to be remembered */
    Part *part;          /* NULL: nothing, or the upload is complete */
    uint64_t size_bytes; /* of the part */
    bool has_length;
    uint64_t length;
    int64_t idle_since_ms;
} Upload;

typedef TAILQ_HEAD(UploadList, Upload) UploadList;

struct Transfer {
    Uploads *uploads;
    Upload *upload;
    uint64_t generation;
    void *connection;
    uint64_t begin_offset; /* where the body begins */
    uint64_t received;
    bool has_length;
    uint64_t length;
    bool discard;
    Digest *body_digest; /* NULL: not asked for, or that of the whole */
    Stored *known;       /* the upload is complete already: the body is only hashed, by: */
    Digest *digest;
};

struct Uploads {
    UploadsConfig config;
    Spool *spool;
    Archive *archive;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* some upload is no longer busy, or a transfer has ended */
    unsigned open;          /* transfers */
    bool stopping;
    UploadList list;
};

void uploads_lock(Uploads *uploads);
void uploads_unlock(Uploads *uploads);

/* Under the lock: */

Upload *uploads_find(Uploads *uploads, const char *client, const char *id);
Upload *uploads_find_or_add(Uploads *uploads, const char *client, const char *id); /* NULL: out of memory */

/* One user less; nothing stays of an upload of which there is nothing to remember. */
void uploads_release(Uploads *uploads, Upload *upload);

/* Takes the upload away from whoever has it, and waits until its part is left alone. drop: what is in the
 * part is not wanted. The caller is one of its users. Returns the new generation, or 0 if somebody newer came
 * meanwhile. */
uint64_t uploads_fence(Uploads *uploads, Upload *upload, bool drop);

/* From here to uploads_let_go() the part is the caller's alone, also without the lock. uploads_set_busy():
 * nobody is at it; uploads_seize() waits for that. */
void uploads_set_busy(Upload *upload);
void uploads_seize(Uploads *uploads, Upload *upload);

/* The reverse: writes down what became of the part. If the upload was deleted meanwhile and nobody holds it,
 * the part is buried first, for which the lock is let go. */
void uploads_let_go(Uploads *uploads, Upload *upload);

/* Whether one more upload of size bytes fits for this client. The oldest idle ones that have to make place go
 * to *evicted; the caller hands them to uploads_remove_all() without the lock. but: not counted; may be NULL.
 */
bool uploads_make_room(Uploads *uploads, const char *client, const Upload *but, uint64_t size,
                       UploadList *evicted);
/* Whether the client is over its quota of bytes. */
bool uploads_is_over_quota(const Uploads *uploads, const char *client);

/* Without the lock: */

void uploads_remove_all(UploadList *evicted, const char *why);

/* A SPOOL_E as an UPLOADS_E; others stay as they are. */
int uploads_spool_error(int r);

/* part_open() for the upload's part, which the caller is busy with; an unreadable one is set aside. 0,
 * UPLOADS_E_FULL, _AGAIN, or _SPOILED: then the upload stands at 0, and may be opened again. */
int uploads_open_part(Uploads *uploads, Upload *upload);

/* part_sync() in the same way. */
int uploads_sync_part(Upload *upload);

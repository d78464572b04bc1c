#include "receiver/uploads.h"

#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

/* Guarded by the table's lock, but for what part points to: that belongs to whoever has set busy. */
typedef struct Upload {
    TAILQ_ENTRY(Upload) link; /* in the order of use, the longest idle first */
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    uint64_t generation; /* grows with each fencing */
    unsigned users;      /* threads that hold a pointer to this */
    Transfer *holder;    /* the transfer that may write, if its generation is still right */
    bool busy;           /* somebody works on part, without the lock */
    bool committing;     /* and it is a commit: not to be fenced */
    bool begun;          /* and not complete; without a part it stands at offset 0 */
    bool deleted;
    Part *part;
    uint64_t durable_offset;
    bool has_length;
    uint64_t length;
    int64_t idle_since_ms;
} Upload;

typedef TAILQ_HEAD(UploadList, Upload) UploadList;

struct Uploads {
    UploadsConfig config;
    Spool *spool;
    Archive *archive;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* some upload is no longer busy */
    unsigned open;          /* transfers */
    UploadList list;
};

struct Transfer {
    Uploads *uploads;
    Upload *upload;
    uint64_t generation;
    void *connection;
    char *path;
    bool has_length;
    uint64_t length;
    uint64_t received;
    Stored *known; /* the upload is complete already: body is only hashed, by: */
    Digest *digest;
};

/* The table; all of this under the lock */

static void lock(Uploads *uploads)
{
    (void)pthread_mutex_lock(
        &uploads->lock); /* can't fail: never destroyed while in use, never taken twice */
}

static void unlock(Uploads *uploads)
{
    (void)pthread_mutex_unlock(&uploads->lock);
}

static Upload *find(Uploads *uploads, const char *client, const char *id)
{
    Upload *upload;

    TAILQ_FOREACH(upload, &uploads->list, link)
    if (strcmp(upload->id, id) == 0 && strcmp(upload->client, client) == 0)
        return upload;
    return NULL;
}

static Upload *find_or_add(Uploads *uploads, const char *client, const char *id)
{
    Upload *upload = find(uploads, client, id);

    if (upload)
        return upload;
    upload = calloc(1, sizeof(*upload));
    if (!upload)
        return NULL;
    (void)snprintf(upload->client, sizeof(upload->client), "%s", client);
    (void)snprintf(upload->id, sizeof(upload->id), "%s", id);
    TAILQ_INSERT_TAIL(&uploads->list, upload, link);
    return upload;
}

/* One user less; nothing stays of an upload of which there is nothing to remember. */
static void release(Uploads *uploads, Upload *upload)
{
    upload->users--;
    upload->idle_since_ms = uploads->config.now_ms();
    TAILQ_REMOVE(&uploads->list, upload, link);
    if (upload->users > 0 || upload->begun || upload->deleted)
        TAILQ_INSERT_TAIL(&uploads->list, upload, link);
    else
        free(upload);
}

static void done_with_part(Uploads *uploads, Upload *upload)
{
    upload->busy = upload->committing = false;
    (void)pthread_cond_broadcast(&uploads->changed);
}

static bool is_idle(const Upload *upload)
{
    return upload->users == 0 && !upload->busy;
}

/* Takes an idle upload out of the table; its part is the caller's to remove, after unlock(). */
static Part *evict(Uploads *uploads, Upload *upload)
{
    Part *part = upload->part;

    TAILQ_REMOVE(&uploads->list, upload, link);
    free(upload);
    return part;
}

/* Whether one more upload of the client fits; if an idle one had to make place, *ret_evicted is its part. */
static bool make_room(Uploads *uploads, const char *client, Part **ret_evicted)
{
    Upload *upload, *oldest_idle = NULL;
    unsigned count = 0;

    TAILQ_FOREACH(upload, &uploads->list, link)
    {
        if (strcmp(upload->client, client) != 0)
            continue;
        count++;
        if (!oldest_idle && is_idle(upload))
            oldest_idle = upload;
    }
    if (count < uploads->config.per_client_max)
        return true;
    if (!oldest_idle)
        return false;
    *ret_evicted = evict(uploads, oldest_idle);
    return true;
}

/* Takes the upload away from whoever has it, and waits until its part is left alone. The caller is one of its
 * users. Returns the new generation, or 0 if somebody newer came meanwhile. */
static uint64_t fence(Uploads *uploads, Upload *upload)
{
    while (upload->committing)
        (void)pthread_cond_wait(&uploads->changed, &uploads->lock);
    uint64_t mine = ++upload->generation;
    if (upload->holder)
        uploads->config.cut(upload->holder->connection);
    upload->holder = NULL;
    while (upload->busy && upload->generation == mine)
        (void)pthread_cond_wait(&uploads->changed, &uploads->lock);
    return upload->generation == mine ? mine : 0;
}

/* Life */

int uploads_new(const UploadsConfig *config, Spool *spool, Archive *archive, Uploads **ret_uploads)
{
    Uploads *uploads = calloc(1, sizeof(*uploads));

    if (!uploads)
        return -ENOMEM;
    uploads->config = *config;
    uploads->spool = spool;
    uploads->archive = archive;
    (void)pthread_mutex_init(&uploads->lock, NULL); /* can't fail on Linux, nor can the next */
    (void)pthread_cond_init(&uploads->changed, NULL);
    TAILQ_INIT(&uploads->list);
    *ret_uploads = uploads;
    return 0;
}

Uploads *uploads_free(Uploads *uploads)
{
    Upload *upload;

    if (!uploads)
        return NULL;
    while ((upload = TAILQ_FIRST(&uploads->list)) != NULL)
        (void)part_close(evict(uploads, upload));
    (void)pthread_cond_destroy(&uploads->changed);
    (void)pthread_mutex_destroy(&uploads->lock);
    free(uploads);
    return NULL;
}

/* Transfers */

static Transfer *transfer_free(Transfer *transfer)
{
    if (!transfer)
        return NULL;
    (void)digest_free(transfer->digest);
    free(transfer->known);
    free(transfer->path);
    free(transfer);
    return NULL;
}

/* Under the lock. Finds a place for the transfer and fences the older one. */
static int enter(Uploads *uploads, const TransferStart *start, Transfer *transfer, Part **ret_evicted)
{
    Upload *upload = find(uploads, start->client, start->id);

    if (uploads->open >= uploads->config.open_max && !(upload && upload->holder))
        return UPLOADS_E_BUSY;
    if (!upload && !make_room(uploads, start->client, ret_evicted))
        return UPLOADS_E_CLIENT_BUSY;
    upload = find_or_add(uploads, start->client, start->id);
    if (!upload)
        return -ENOMEM;
    upload->users++;
    uint64_t mine = fence(uploads, upload);
    if (mine == 0) {
        release(uploads, upload);
        return UPLOADS_E_FENCED;
    }
    transfer->upload = upload;
    transfer->generation = mine;
    upload->holder = transfer;
    upload->busy = true;
    upload->begun = true; /* as far as we know; prepare() looks */
    upload->deleted = false;
    upload->durable_offset = 0;
    upload->has_length = start->has_length;
    upload->length = start->length;
    uploads->open++;
    return 0;
}

/* The holder's, without the lock. Looks whether the upload is complete, and makes a new part if it isn't. */
static int prepare(Uploads *uploads, const TransferStart *start, Transfer *transfer, Part **ret_part)
{
    Stored *known CLEANUP(free_ptr) = malloc(sizeof(*known));

    if (!known)
        return -ENOMEM;
    int r = archive_find(uploads->archive, start->client, start->id, known);
    if (r < 0)
        return r;
    if (r == 0) {
        transfer->known = TAKE_PTR(known);
        return digest_new(&transfer->digest);
    }
    r = spool_create(uploads->spool, start->client, start->id, start->has_length ? start->length : 0,
                     ret_part);
    return r == SPOOL_E_FULL ? UPLOADS_E_FULL : r;
}

int transfer_begin(Uploads *uploads, const TransferStart *start, Transfer **ret_transfer)
{
    Transfer *transfer = calloc(1, sizeof(*transfer));
    Part *evicted = NULL, *old = NULL, *part = NULL;

    if (!transfer)
        return -ENOMEM;
    *transfer = (Transfer){.uploads = uploads,
                           .connection = start->connection,
                           .has_length = start->has_length,
                           .length = start->length,
                           .path = strdup(start->path)};
    if (!transfer->path) {
        (void)transfer_free(transfer);
        return -ENOMEM;
    }
    lock(uploads);
    int r = enter(uploads, start, transfer, &evicted);
    if (r == 0)
        old = TAKE_PTR(transfer->upload->part);
    unlock(uploads);
    (void)part_remove(evicted);
    if (r != 0) {
        (void)transfer_free(transfer);
        return r;
    }
    (void)part_remove(old);
    r = prepare(uploads, start, transfer, &part);
    lock(uploads);
    transfer->upload->part = part;
    transfer->upload->begun = part != NULL;
    done_with_part(uploads, transfer->upload);
    unlock(uploads);
    if (r != 0) {
        (void)transfer_end(transfer);
        return r;
    }
    *ret_transfer = transfer;
    return 0;
}

/* Whether the transfer still has its upload. If so its part is the caller's alone, until let_go(). */
static bool grasp(Transfer *transfer, bool for_commit, Part **ret_part)
{
    Uploads *uploads = transfer->uploads;
    Upload *upload = transfer->upload;

    lock(uploads);
    bool mine = upload->generation == transfer->generation;
    if (mine) {
        upload->busy = true;
        upload->committing = for_commit;
        *ret_part = upload->part;
    }
    unlock(uploads);
    return mine;
}

/* part: what is left of it, NULL for nothing. */
static void let_go(Transfer *transfer, Part *part)
{
    lock(transfer->uploads);
    transfer->upload->part = part;
    done_with_part(transfer->uploads, transfer->upload);
    unlock(transfer->uploads);
}

static int write_part(Transfer *transfer, const void *data, size_t size)
{
    const Upload *upload = transfer->upload;
    Part *part = NULL;

    if (!grasp(transfer, false, &part))
        return UPLOADS_E_FENCED;
    int r = part ? part_append(part, data, size) : -EIO;
    if (r < 0) {
        log_at(LOG_LEVEL_ERROR, upload->client, upload->id, "writing the part failed; it is set aside: %s",
               strerror(-r));
        part = part_set_aside(part);
    }
    let_go(transfer, part);
    return r < 0 ? UPLOADS_E_SPOILED : r == SPOOL_E_FULL ? UPLOADS_E_FULL : 0;
}

int transfer_write(Transfer *transfer, const void *data, size_t size)
{
    if (transfer->has_length && size > transfer->length - transfer->received)
        return UPLOADS_E_LENGTH; /* and not a byte of the surplus is stored */
    int r = transfer->known ? digest_update(transfer->digest, data, size) : write_part(transfer, data, size);

    if (r == 0)
        transfer->received += size;
    return r < 0 ? UPLOADS_E_SPOILED : r;
}

uint64_t transfer_received(const Transfer *transfer)
{
    return transfer->received;
}

static bool claims_hold(const TransferClaims *claims, const uint8_t sha256[static SHA256_SIZE])
{
    for (size_t i = 0; i < claims->count; i++)
        if (memcmp(claims->sha256[i], sha256, SHA256_SIZE) != 0)
            return false;
    return true;
}

/* The same file again gets the same answer. */
static int finish_repeat(Transfer *transfer, const TransferClaims *claims, Stored *ret_stored)
{
    uint8_t sha256[SHA256_SIZE];

    if (digest_final(transfer->digest, sha256) < 0)
        return -EIO;
    if (!claims_hold(claims, sha256))
        return UPLOADS_E_DIGEST;
    if (memcmp(sha256, transfer->known->receipt.sha256, SHA256_SIZE) != 0)
        return UPLOADS_E_CONFLICT;
    *ret_stored = *transfer->known;
    return 0;
}

/* The part is set to NULL unless it is worth keeping. */
static int commit(Transfer *transfer, const TransferClaims *claims, Part **part, Stored *ret_stored)
{
    const Upload *upload = transfer->upload;
    uint8_t sha256[SHA256_SIZE];
    int r = part_digest(*part, sha256);

    if (r == 0 && !claims_hold(claims, sha256)) {
        *part = part_set_aside(*part);
        return UPLOADS_E_DIGEST;
    }
    if (r == 0)
        r = archive_commit(transfer->uploads->archive, *part, upload->client, upload->id, transfer->path,
                           sha256, ret_stored);
    if (r == 0) {
        *part = part_close(*part);
        return 0;
    }
    if (r == ARCHIVE_E_FULL)
        return UPLOADS_E_FULL;
    *part = part_set_aside(*part);
    if (r < 0)
        log_at(LOG_LEVEL_ERROR, upload->client, upload->id, "can't be stored: %s; the part is set aside",
               strerror(-r));
    return UPLOADS_E_SPOILED;
}

int transfer_finish(Transfer *transfer, const TransferClaims *claims, Stored *ret_stored)
{
    Part *part = NULL;

    if (transfer->has_length && transfer->received != transfer->length)
        return UPLOADS_E_LENGTH;
    if (transfer->known)
        return finish_repeat(transfer, claims, ret_stored);
    if (!grasp(transfer, true, &part))
        return UPLOADS_E_FENCED;
    int r = part ? commit(transfer, claims, &part, ret_stored) : UPLOADS_E_SPOILED;
    lock(transfer->uploads);
    transfer->upload->part = part;
    transfer->upload->begun = r != 0;
    if (r == 0 && transfer->upload->holder == transfer)
        transfer->upload->holder = NULL; /* its answer is on the way: a newer transfer need not cut it */
    done_with_part(transfer->uploads, transfer->upload);
    unlock(transfer->uploads);
    return r;
}

/* What is left of a part that nobody sends to any more: durable, or nothing. */
static Part *settle(Part *part)
{
    if (!part)
        return NULL;
    if (part_offset(part) == 0)
        return part_remove(part);
    return part_sync(part) < 0 ? part_set_aside(part) : part;
}

Transfer *transfer_end(Transfer *transfer)
{
    if (!transfer)
        return NULL;
    Uploads *uploads = transfer->uploads;
    Upload *upload = transfer->upload;
    Part *part = NULL, *cancelled = NULL;
    bool mine = grasp(transfer, false, &part);

    if (mine)
        part = settle(part);
    lock(uploads);
    if (mine) {
        upload->part = part;
        upload->durable_offset = part ? part_offset(part) : 0;
        done_with_part(uploads, upload);
    }
    if (upload->holder == transfer)
        upload->holder = NULL;
    if (upload->deleted && !upload->busy && !upload->holder)
        cancelled = TAKE_PTR(upload->part);
    uploads->open--;
    release(uploads, upload);
    unlock(uploads);
    (void)part_remove(cancelled);
    return transfer_free(transfer);
}

/* Others who ask and interfere */

int uploads_status(Uploads *uploads, const char *client, const char *id, UploadStatusNow *ret_status)
{
    UploadStatusNow status = {0};
    bool incomplete = false;

    lock(uploads);
    Upload *upload = find(uploads, client, id);
    if (upload) {
        upload->users++;
        while (upload->committing)
            (void)pthread_cond_wait(&uploads->changed, &uploads->lock);
        incomplete = upload->begun && !upload->deleted;
        status.deleted = upload->deleted;
        status.offset = upload->durable_offset;
        status.has_length = upload->has_length;
        status.length = upload->length;
        release(uploads, upload);
    }
    unlock(uploads);
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));
    int r = stored ? archive_find(uploads->archive, client, id, stored) : -ENOMEM;
    if (r < 0)
        return r;
    if (r == 0) {
        status = (UploadStatusNow){.complete = true, .offset = stored->receipt.size_bytes};
        memcpy(status.sha256, stored->receipt.sha256, SHA256_SIZE);
    } else if (!incomplete && !status.deleted) {
        return UPLOADS_E_ABSENT;
    }
    *ret_status = status;
    return 0;
}

/* 0 if it is not complete. */
static int check_incomplete(Uploads *uploads, const char *client, const char *id)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));
    int r = stored ? archive_find(uploads->archive, client, id, stored) : -ENOMEM;

    return r == 0 ? UPLOADS_E_COMPLETE : r == ARCHIVE_E_ABSENT ? 0 : r;
}

int uploads_delete(Uploads *uploads, const char *client, const char *id)
{
    Part *part = NULL;
    int r = UPLOADS_E_FENCED;

    lock(uploads);
    Upload *upload = find(uploads, client, id);
    if (upload) {
        upload->users++;
        if (fence(uploads, upload) > 0) {
            part = TAKE_PTR(upload->part);
            r = upload->begun ? 0 : UPLOADS_E_ABSENT;
            upload->deleted = upload->begun;
            upload->begun = false;
        }
        release(uploads, upload);
    } else {
        r = UPLOADS_E_ABSENT;
    }
    unlock(uploads);
    (void)part_remove(part);
    if (r != UPLOADS_E_ABSENT)
        return r;
    r = check_incomplete(uploads, client, id);
    return r == 0 ? UPLOADS_E_ABSENT : r;
}

bool uploads_cancel(Uploads *uploads, const char *client, const char *id)
{
    Part *part = NULL;
    bool found = false;

    lock(uploads);
    Upload *upload = find(uploads, client, id);
    if (upload && !upload->committing && upload->begun) {
        found = true;
        upload->generation++;
        upload->deleted = true;
        if (upload->holder)
            uploads->config.cut(upload->holder->connection);
        else if (!upload->busy)
            part = TAKE_PTR(upload->part);
    }
    unlock(uploads);
    (void)part_remove(part);
    return found;
}

void uploads_expire(Uploads *uploads, int64_t before_monotonic_ms)
{
    bool found;

    do { /* one at a time: removing a large file takes long, and not under the lock */
        Part *part = NULL;
        Upload *upload;
        lock(uploads);
        TAILQ_FOREACH(upload, &uploads->list, link)
        if (is_idle(upload) && upload->idle_since_ms < before_monotonic_ms)
            break;
        found = upload != NULL;
        if (found)
            part = evict(uploads, upload);
        unlock(uploads);
        (void)part_remove(part);
    } while (found);
}

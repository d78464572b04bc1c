#include "receiver/uploads_internal.h"

#include "common/log.h"
#include "common/planted.h"

#include <errno.h>
#include <string.h>

#define QUOTA_EVERY ((uint64_t)1024 * 1024) /* bytes between two looks at the client's quota */
#define READ_SIZE ((size_t)64 * 1024)

Completion completion_of(bool marked, bool has_length, uint64_t length, uint64_t offset)
{
    if (has_length && offset > length)
        return COMPLETION_WRONG_LENGTH;
    if (has_length && offset == length)
        return COMPLETION_NOW; /* whatever the mark says: some clients never set it */
    if (marked)
        return has_length ? COMPLETION_WRONG_LENGTH : COMPLETION_NOW;
    return COMPLETION_NOT_YET;
}

/* Beginning */

static Transfer *transfer_free(Transfer *transfer)
{
    if (!transfer)
        return NULL;
    (void)digest_free(transfer->digest);
    (void)digest_free(transfer->body_digest);
    free(transfer->known);
    free(transfer);
    return NULL;
}

static int check_entry(const Uploads *uploads, const TransferStart *start, const Upload *upload, bool resume)
{
    if (uploads->stopping)
        return UPLOADS_E_AGAIN;
    if (upload && start->attempt > 0 && start->attempt < upload->attempt)
        return UPLOADS_E_FENCED;
    return resume && upload && upload->deleted ? UPLOADS_E_DELETED : 0;
}

/* Under the lock. Whether there is a place for one more transfer. */
static int check_room(Uploads *uploads, const TransferStart *start, const Upload *upload, bool resume,
                      UploadList *evicted)
{
    uint64_t size = start->has_length ? start->length : resume && upload ? upload->size_bytes : 0;

    if (uploads->open >= uploads->config.open_max && !(upload && upload->holder))
        return UPLOADS_E_BUSY;
    if (resume && !(upload && upload->begun))
        return 0; /* there is nothing to go on with, but perhaps something to compare with */
    return uploads_make_room(uploads, start->client, upload, size, evicted) ? 0 : UPLOADS_E_CLIENT_BUSY;
}

/* Under the lock. Finds a place for the transfer and fences the older one. */
static int enter(Uploads *uploads, const TransferStart *start, bool resume, Transfer *transfer,
                 UploadList *evicted)
{
    Upload *upload = uploads_find(uploads, start->client, start->id);
    int r = check_entry(uploads, start, upload, resume);

    if (r == 0)
        r = check_room(uploads, start, upload, resume, evicted);
    if (r != 0)
        return r;
    upload = uploads_find_or_add(uploads, start->client, start->id);
    if (!upload)
        return -ENOMEM;
    upload->users++;
    uint64_t mine = uploads_fence(uploads, upload, !resume);
    r = mine == 0 ? UPLOADS_E_FENCED : check_entry(uploads, start, upload, resume); /* it may have waited */
    if (r != 0) {
        uploads_release(uploads, upload);
        return r;
    }
    transfer->upload = upload;
    transfer->generation = mine;
    upload->holder = transfer;
    uploads_set_busy(upload);
    if (!resume) {
        upload->begun = true; /* as far as we know; prepare() looks */
        upload->deleted = false;
    }
    if (start->attempt > upload->attempt)
        upload->attempt = start->attempt;
    uploads->open++;
    return 0;
}

/* Hashes the first bytes of a complete upload, as if the transfer had brought them. */
static int hash_known(Transfer *transfer, Archive *archive, uint64_t size)
{
    char *buffer CLEANUP(free_ptr) = malloc(READ_SIZE);
    int fd CLEANUP(close_fd) = -1;
    int r = !buffer ? -ENOMEM : size > 0 ? archive_open(archive, transfer->known, &fd) : 0;

    while (r == 0 && size > 0) {
        ssize_t got = read(fd, buffer, size < READ_SIZE ? (size_t)size : READ_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        r = digest_update(transfer->digest, buffer, (size_t)got);
        size -= (uint64_t)got;
    }
    return r;
}

/* The upload is complete: its part, if a crash has left one, goes. */
static int prepare_repeat(Transfer *transfer, uint64_t offset, uint64_t *ret_offset)
{
    Upload *upload = transfer->upload;

    upload->part = part_remove(upload->part);
    if (offset > transfer->known->receipt.size_bytes) {
        *ret_offset = transfer->known->receipt.size_bytes;
        return UPLOADS_E_OFFSET;
    }
    if (offset > 0 && transfer->known->removed_unix_s != 0)
        return UPLOADS_E_DELETED; /* what came before can't be compared any more */
    int r = digest_new(&transfer->digest);
    return r < 0 ? r : hash_known(transfer, transfer->uploads->archive, offset);
}

static int prepare_begin(Transfer *transfer, const TransferStart *start)
{
    PartRecord *record CLEANUP(free_ptr) = calloc(1, sizeof(*record));
    Upload *upload = transfer->upload;

    if (!record)
        return -ENOMEM;
    (void)snprintf(record->client, sizeof(record->client), "%s", start->client);
    (void)snprintf(record->id, sizeof(record->id), "%s", start->id);
    (void)snprintf(record->path, sizeof(record->path), "%s", start->path);
    (void)snprintf(record->traceparent, sizeof(record->traceparent), "%s", start->traceparent);
    record->has_length = start->has_length;
    record->length = start->length;
    record->attempt = upload->attempt;
    int r = upload->part ? part_restart(upload->part, record)
                         : spool_create(transfer->uploads->spool, record, &upload->part);
    return uploads_spool_error(r);
}

static int prepare_resume(Transfer *transfer, const TransferStart *start, uint64_t offset,
                          uint64_t *ret_offset)
{
    Upload *upload = transfer->upload;

    if (!upload->part)
        return UPLOADS_E_ABSENT;
    int r = uploads_open_part(transfer->uploads, upload);
    if (r == UPLOADS_E_SPOILED) /* it begins at 0 again */
        r = uploads_open_part(transfer->uploads, upload);
    if (r != 0)
        return r;
    const PartRecord *record = part_record(upload->part);
    uint64_t at = part_offset(upload->part);
    /* First: the length that a body seems to have hangs on where it begins. */
    if (at != offset && !PLANTED("offset-from-client")) {
        r = uploads_sync_part(upload);
        *ret_offset = at;
        return r == 0 ? UPLOADS_E_OFFSET : r;
    }
    if (start->has_length && (start->length < at || (record->has_length && record->length != start->length)))
        return UPLOADS_E_LENGTH;
    uint64_t end = record->has_length ? record->length : start->has_length ? start->length : at;
    if (!spool_has_room(transfer->uploads->spool, end - at))
        return UPLOADS_E_FULL;
    r = part_note(upload->part, start->attempt, start->has_length, start->length);
    return uploads_spool_error(r);
}

/* The holder's, without the lock. */
static int prepare(Transfer *transfer, const TransferStart *start, bool resume, uint64_t offset,
                   uint64_t *ret_offset)
{
    Stored *known CLEANUP(free_ptr) = malloc(sizeof(*known));
    int r = known ? archive_find(transfer->uploads->archive, start->client, start->id, known) : -ENOMEM;

    if (r < 0)
        return r;
    if (r == 0)
        transfer->known = TAKE_PTR(known);
    r = transfer->known ? prepare_repeat(transfer, offset, ret_offset)
        : resume        ? prepare_resume(transfer, start, offset, ret_offset)
                        : prepare_begin(transfer, start);
    if (r != 0)
        return r;
    const PartRecord *record = transfer->upload->part ? part_record(transfer->upload->part) : NULL;
    transfer->has_length = record ? record->has_length : start->has_length;
    transfer->length = record ? record->length : start->length;
    transfer->begin_offset = offset;
    return start->check_body && offset > 0 ? digest_new(&transfer->body_digest) : 0;
}

static int start_transfer(Uploads *uploads, const TransferStart *start, bool resume, uint64_t offset,
                          Transfer **ret_transfer, uint64_t *ret_offset)
{
    Transfer *transfer = calloc(1, sizeof(*transfer));
    UploadList evicted = TAILQ_HEAD_INITIALIZER(evicted);

    if (!transfer)
        return -ENOMEM;
    transfer->uploads = uploads;
    transfer->connection = start->connection;
    uploads_lock(uploads);
    int r = enter(uploads, start, resume, transfer, &evicted);
    uploads_unlock(uploads);
    uploads_remove_all(&evicted, "its client needs the room for another");
    if (r != 0) {
        (void)transfer_free(transfer);
        return r;
    }
    Upload *upload = transfer->upload;
    r = prepare(transfer, start, resume, offset, ret_offset);
    uploads_lock(uploads);
    upload->deleted |=
        r != 0 && upload->part && part_record(upload->part)->deleted; /* it was not begun anew */
    uploads_let_go(uploads, upload);
    uploads_unlock(uploads);
    if (r != 0) {
        (void)transfer_end(transfer);
        return r;
    }
    *ret_transfer = transfer;
    return 0;
}

int transfer_begin(Uploads *uploads, const TransferStart *start, Transfer **ret_transfer)
{
    return start_transfer(uploads, start, false, 0, ret_transfer, NULL);
}

int transfer_resume(Uploads *uploads, const TransferStart *start, uint64_t offset, Transfer **ret_transfer,
                    uint64_t *ret_offset)
{
    return start_transfer(uploads, start, true, offset, ret_transfer, ret_offset);
}

/* The body */

/* Whether the transfer still has its upload. If so its part is the caller's alone, until let_go(). */
static bool grasp(Transfer *transfer, bool for_commit)
{
    Uploads *uploads = transfer->uploads;
    Upload *upload = transfer->upload;

    uploads_lock(uploads);
    while (upload->generation == transfer->generation && upload->busy)
        (void)pthread_cond_wait(&uploads->changed, &uploads->lock);
    bool mine = upload->generation == transfer->generation || PLANTED("fence-by-flag");
    if (mine) {
        uploads_set_busy(upload);
        upload->committing = for_commit;
    }
    uploads_unlock(uploads);
    return mine;
}

static void let_go(Transfer *transfer)
{
    uploads_lock(transfer->uploads);
    uploads_let_go(transfer->uploads, transfer->upload);
    uploads_unlock(transfer->uploads);
}

static bool is_over_quota(const Transfer *transfer, size_t size)
{
    Uploads *uploads = transfer->uploads;

    if (transfer->received / QUOTA_EVERY == (transfer->received + size) / QUOTA_EVERY)
        return false;
    uploads_lock(uploads);
    bool over = uploads_is_over_quota(uploads, transfer->upload->client);
    uploads_unlock(uploads);
    return over;
}

static int write_part(Transfer *transfer, const void *data, size_t size)
{
    Upload *upload = transfer->upload;

    if (!grasp(transfer, false))
        return UPLOADS_E_FENCED;
    int r = upload->part ? part_append(upload->part, data, size) : -EIO;
    if (r < 0) {
        log_at(LOG_LEVEL_ERROR, upload->client, upload->id, "writing the part failed; it is set aside: %s",
               strerror(-r));
        if (upload->part)
            part_set_aside(upload->part);
    }
    let_go(transfer);
    return r < 0 ? UPLOADS_E_SPOILED : uploads_spool_error(r);
}

int transfer_write(Transfer *transfer, const void *data, size_t size)
{
    if (transfer->has_length && size > transfer->length - transfer_offset(transfer))
        return UPLOADS_E_LENGTH; /* and not a byte of the surplus is stored */
    if (is_over_quota(transfer, size))
        return UPLOADS_E_CLIENT_BUSY;
    int r = transfer->body_digest ? digest_update(transfer->body_digest, data, size) : 0;
    if (r == 0)
        r = transfer->known ? digest_update(transfer->digest, data, size) : write_part(transfer, data, size);
    if (r == 0)
        transfer->received += size;
    return r < 0 ? UPLOADS_E_SPOILED : r;
}

uint64_t transfer_offset(const Transfer *transfer)
{
    return transfer->begin_offset + transfer->received;
}

uint64_t transfer_received(const Transfer *transfer)
{
    return transfer->received;
}

bool transfer_is_repeat(const Transfer *transfer)
{
    return transfer->known;
}

bool transfer_is_fenced(Transfer *transfer)
{
    uploads_lock(transfer->uploads);
    bool fenced = transfer->upload->generation != transfer->generation;
    uploads_unlock(transfer->uploads);
    return fenced;
}

bool transfer_checks_body(const Transfer *transfer)
{
    return transfer->body_digest || transfer->begin_offset == 0;
}

void transfer_discard(Transfer *transfer)
{
    transfer->discard = true;
}

/* Its end */

static bool claims_hold(const uint8_t claims[][SHA256_SIZE], size_t count,
                        const uint8_t sha256[static SHA256_SIZE])
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(claims[i], sha256, SHA256_SIZE) != 0)
            return false;
    return true;
}

/* whole: the digest of all there is now. */
static int check_body(Transfer *transfer, const TransferClaims *claims,
                      const uint8_t whole[static SHA256_SIZE])
{
    uint8_t sha256[SHA256_SIZE];

    if (claims->body_count == 0)
        return 0;
    memcpy(sha256, whole, SHA256_SIZE);
    if (transfer->body_digest && digest_final(transfer->body_digest, sha256) < 0)
        return -EIO;
    return claims_hold(claims->body, claims->body_count, sha256) ? 0 : UPLOADS_E_DIGEST;
}

/* The same file again gets the same answer. */
static int finish_repeat(Transfer *transfer, const TransferClaims *claims, Completion completion,
                         Stored *ret_stored)
{
    uint8_t sha256[SHA256_SIZE];
    int r = digest_final(transfer->digest, sha256);

    *ret_stored = *transfer->known;
    if (r == 0)
        r = check_body(transfer, claims, sha256);
    if (r != 0)
        return r;
    if (completion == COMPLETION_NOT_YET && transfer_offset(transfer) != ret_stored->receipt.size_bytes)
        return UPLOADS_E_COMPLETE; /* a piece out of its middle tells nothing of the whole */
    if (!claims_hold(claims->whole, claims->whole_count, sha256))
        return UPLOADS_E_DIGEST; /* first: bytes spoilt on the way are no other content */
    return memcmp(sha256, ret_stored->receipt.sha256, SHA256_SIZE) == 0 ? 0 : UPLOADS_E_CONFLICT;
}

/* upload->part is NULL after success, and begins at 0 after what can't be mended. */
static int commit(Transfer *transfer, const TransferClaims *claims, const uint8_t sha256[static SHA256_SIZE],
                  Stored *ret_stored)
{
    Upload *upload = transfer->upload;

    if (!claims_hold(claims->whole, claims->whole_count, sha256)) {
        part_set_aside(upload->part);
        return UPLOADS_E_DIGEST;
    }
    int r = archive_commit(transfer->uploads->archive, upload->part, upload->client, upload->id,
                           part_record(upload->part)->path, sha256, ret_stored);
    if (r == 0) {
        upload->part = part_remove(upload->part);
        return 0;
    }
    if (r == ARCHIVE_E_FULL)
        return UPLOADS_E_FULL;
    if (r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EAGAIN) {
        log_at(LOG_LEVEL_WARN, upload->client, upload->id, "can't be stored just now: %s; the part is kept",
               strerror(-r));
        return UPLOADS_E_AGAIN;
    }
    if (r < 0) /* what the disk did is told where it happened */
        log_at(LOG_LEVEL_ERROR, upload->client, upload->id, "can't be stored: %s; the part is set aside",
               strerror(-r));
    part_set_aside(upload->part);
    return UPLOADS_E_SPOILED;
}

/* Busy with the part. */
static int finish_part(Transfer *transfer, const TransferClaims *claims, Completion completion,
                       Stored *ret_stored)
{
    Upload *upload = transfer->upload;
    uint8_t sha256[SHA256_SIZE];

    if (!upload->part || !part_is_open(upload->part))
        return UPLOADS_E_SPOILED;
    int r = part_digest(upload->part, sha256);
    if (r == 0)
        r = check_body(transfer, claims, sha256);
    if (r == UPLOADS_E_DIGEST)
        part_set_aside(upload->part);
    if (r != 0)
        return r;
    if (completion == COMPLETION_NOW)
        return commit(transfer, claims, sha256, ret_stored);
    r = uploads_sync_part(upload);
    return r == 0 ? UPLOADS_E_INCOMPLETE : r;
}

int transfer_finish(Transfer *transfer, const TransferClaims *claims, Stored *ret_stored)
{
    Completion completion =
        completion_of(claims->marked, transfer->has_length, transfer->length, transfer_offset(transfer));

    if (completion == COMPLETION_WRONG_LENGTH)
        return UPLOADS_E_LENGTH;
    if (completion == COMPLETION_NOW && claims->needed && claims->whole_count == 0)
        return UPLOADS_E_UNPROVEN;
    if (transfer->known)
        return finish_repeat(transfer, claims, completion, ret_stored);
    if (!grasp(transfer, completion == COMPLETION_NOW))
        return UPLOADS_E_FENCED;
    int r = finish_part(transfer, claims, completion, ret_stored);
    uploads_lock(transfer->uploads);
    if ((r == 0 || r == UPLOADS_E_INCOMPLETE) && transfer->upload->holder == transfer)
        transfer->upload->holder = NULL; /* its answer is on the way: a newer transfer need not cut it */
    uploads_let_go(transfer->uploads, transfer->upload);
    uploads_unlock(transfer->uploads);
    return r;
}

/* What is left of a part that nobody sends to any more: durable, or nothing. */
static void settle(Transfer *transfer)
{
    Upload *upload = transfer->upload;

    if (transfer->discard)
        upload->part = part_remove(upload->part);
    else if (upload->part && part_is_open(upload->part))
        (void)uploads_sync_part(upload); /* logged; the upload then stands where it says */
}

Transfer *transfer_end(Transfer *transfer)
{
    if (!transfer)
        return NULL;
    Uploads *uploads = transfer->uploads;
    Upload *upload = transfer->upload;
    bool mine = grasp(transfer, false);

    if (mine)
        settle(transfer);
    uploads_lock(uploads);
    if (upload->holder == transfer)
        upload->holder = NULL;
    bool bury =
        !mine && upload->deleted && !upload->busy && !upload->holder; /* a cancel has left that to us */
    if (bury)
        uploads_set_busy(upload);
    if (mine || bury)
        uploads_let_go(uploads, upload);
    uploads_release(uploads, upload);
    uploads->open--;
    (void)pthread_cond_broadcast(&uploads->changed);
    uploads_unlock(uploads);
    return transfer_free(transfer);
}

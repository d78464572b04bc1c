#include "receiver/archive.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/planted.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define RECOVER_BATCH 64

struct Archive {
    pthread_mutex_t removing;
    Store *store;
    Outbox *outbox;
    const SigningKey *key;
    const char *issuer;
    atomic_bool unclean; /* something in the store may not be durable, and nobody can find out */
};

int archive_new(Store *store, Outbox *outbox, const SigningKey *key, const char *issuer,
                Archive **ret_archive)
{
    Archive *archive = malloc(sizeof(*archive));

    if (!archive)
        return -ENOMEM;
    *archive = (Archive){.store = store, .outbox = outbox, .key = key, .issuer = issuer};
    atomic_init(&archive->unclean, false);
    (void)pthread_mutex_init(&archive->removing, NULL); /* can't fail on Linux */
    *ret_archive = archive;
    return 0;
}

Archive *archive_free(Archive *archive)
{
    if (archive)
        (void)pthread_mutex_destroy(&archive->removing);
    free(archive);
    return NULL;
}

int archive_find(Archive *archive, const char *client, const char *id, Stored *ret_stored)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    if (!stored)
        return -ENOMEM;
    int r = store_find(archive->store, client, id, stored);
    if (r == STORE_E_ABSENT)
        return ARCHIVE_E_ABSENT;
    /* In this order: the mark is set before the content can appear, and taken off only after it is durable.
     */
    int pending = r < 0 ? r : outbox_is_pending(archive->outbox, client, id);
    if (pending < 0)
        return pending;
    if (pending > 0)
        return ARCHIVE_E_ABSENT;
    *ret_stored = *stored;
    return 0;
}

static int remove_one(Archive *archive, Stored *stored, ArchiveApprove *approve, void *userdata)
{
    const char *client = stored->receipt.client, *id = stored->receipt.upload;

    int r = 0;
    if (stored->removed_unix_s == 0) {
        r = outbox_is_waiting(archive->outbox, OUTBOX_RECEIPT, client, id);
        if (r != 0)
            return r < 0 ? r : ARCHIVE_E_UNDELIVERED;
        r = approve(userdata, stored);
        if (r != 0)
            return r;
    }
    bool noted = outbox_note_removal(archive->outbox, client, id) == 0;
    r = store_remove(archive->store, stored, clock_unix_ms() / 1000);
    if (r == 0 && !noted) { /* on a full disk, where there is room now */
        int failure = outbox_note_removal(archive->outbox, client, id);
        if (failure < 0)
            log_at(LOG_LEVEL_WARN, client, id, "that it is removed can't be noted, and will not be told: %s",
                   strerror(-failure));
    }
    return r;
}

/* archive_removal_message() may have met the lock, whatever came of the removal. */
static void end_removing(Archive *archive)
{
    (void)pthread_mutex_unlock(&archive->removing);
    outbox_announce(archive->outbox);
}

int archive_remove(Archive *archive, const char *client, const char *id, ArchiveApprove *approve,
                   void *userdata)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    if (!stored)
        return -ENOMEM;
    (void)pthread_mutex_lock(&archive->removing);
    int r = archive_find(archive, client, id, stored);
    if (r == 0)
        r = remove_one(archive, stored, approve, userdata);
    end_removing(archive);
    return r;
}

static int forget_one(Archive *archive, Stored *stored)
{
    const char *client = stored->receipt.client, *id = stored->receipt.upload;

    if (stored->removed_unix_s == 0)
        return ARCHIVE_E_ABSENT;
    int waiting = outbox_is_waiting(archive->outbox, OUTBOX_REMOVED, client, id);
    if (waiting == 0)
        waiting = outbox_is_waiting(archive->outbox, OUTBOX_RECEIPT, client, id);
    if (waiting != 0)
        return waiting < 0 ? waiting : ARCHIVE_E_UNDELIVERED;
    int r = store_remove(archive->store, stored, stored->removed_unix_s); /* it may have been broken off */
    return r == 0 ? store_forget(archive->store, client, id) : r;
}

int archive_forget(Archive *archive, const char *client, const char *id)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    if (!stored)
        return -ENOMEM;
    (void)pthread_mutex_lock(&archive->removing);
    int r = archive_find(archive, client, id, stored);
    if (r == 0)
        r = forget_one(archive, stored);
    end_removing(archive);
    return r;
}

static int format_removal(Archive *archive, const Stored *stored, char **ret_message)
{
    Removal removal = {.removed_unix_s = stored->removed_unix_s};
    char *token CLEANUP(free_ptr) = NULL;

    memcpy(removal.client, stored->receipt.client, sizeof(removal.client));
    memcpy(removal.upload, stored->receipt.upload, sizeof(removal.upload));
    (void)snprintf(removal.issuer, sizeof(removal.issuer), "%s", archive->issuer);
    int r = removal_sign(archive->key, &removal, &token);
    if (r < 0)
        return r;
    *ret_message = removal_message_format(&removal, stored->traceparent, token);
    return *ret_message ? 0 : -ENOMEM;
}

/* Under the lock: nobody else removes it, or notes that he will. */
static int finish_removal(Archive *archive, const OutboxKey *key, Stored *stored)
{
    int r = archive_find(archive, key->client, key->id, stored);

    if (r == ARCHIVE_E_ABSENT || (r == 0 && stored->removed_unix_s == 0)) {
        r = outbox_delivered(archive->outbox, OUTBOX_REMOVED, key);
        return r < 0 ? r : ARCHIVE_E_ABSENT;
    }
    return r == 0 ? store_remove(archive->store, stored, stored->removed_unix_s) : r;
}

int archive_removal_message(Archive *archive, const OutboxKey *key, char **ret_message)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    if (!stored)
        return -ENOMEM;
    if (pthread_mutex_trylock(&archive->removing) != 0)
        return -EAGAIN;
    int r = finish_removal(archive, key, stored);
    (void)pthread_mutex_unlock(&archive->removing);
    return r == 0 ? format_removal(archive, stored, ret_message) : r;
}

int archive_open(Archive *archive, const Stored *stored, int *ret_fd)
{
    return store_open(archive->store, stored, ret_fd);
}

char *archive_receipt_message(const Stored *stored)
{
    char *place CLEANUP(free_ptr) = store_place(stored);

    return place ? receipt_message_format(&stored->receipt, place, stored->traceparent,
                                          stored->receipt.issued_unix_s * 1000, stored->token)
                 : NULL;
}

static void fill_receipt(const Archive *archive, const char *client, const char *id, const char *path,
                         Receipt *receipt)
{
    (void)snprintf(receipt->client, sizeof(receipt->client), "%s", client);
    (void)snprintf(receipt->upload, sizeof(receipt->upload), "%s", id);
    (void)snprintf(receipt->path, sizeof(receipt->path), "%s", path);
    (void)snprintf(receipt->issuer, sizeof(receipt->issuer), "%s", archive->issuer);
    receipt->issued_unix_s = clock_unix_ms() / 1000;
}

static int sign(const Archive *archive, Stored *stored)
{
    char *token CLEANUP(free_ptr) = NULL;
    int r = receipt_sign(archive->key, &stored->receipt, &token);

    if (r < 0)
        return r;
    if (snprintf(stored->token, sizeof(stored->token), "%s", token) >= (int)sizeof(stored->token))
        return -EMSGSIZE;
    return 0;
}

int archive_check_path(Archive *archive, const char *client, const char *id, const char *path)
{
    Stored *trial CLEANUP(free_ptr) = calloc(1, sizeof(*trial));

    if (!trial)
        return -ENOMEM;
    if (strlen(path) >= sizeof(trial->receipt.path))
        return ARCHIVE_E_PATH;
    fill_receipt(archive, client, id, path, &trial->receipt);
    trial->receipt.size_bytes = (uint64_t)1 << 53; /* as many digits as there can be */
    traceparent_new(trial->traceparent);
    safe_name(path, id, trial->name);
    int r = sign(archive, trial);
    if (r < 0)
        return r == -EMSGSIZE || r == -EINVAL ? ARCHIVE_E_PATH : r;
    char *message CLEANUP(free_ptr) = archive_receipt_message(trial);
    if (!message)
        return -ENOMEM;
    return strlen(message) <= MESSAGE_MAX ? 0 : ARCHIVE_E_PATH;
}

/* The disk let us down: nothing that it says of this part counts any more. */
static int spoiled(const char *client, const char *id, const char *what, int r)
{
    log_at(LOG_LEVEL_ERROR, client, id, "%s: %s; the part is set aside", what, strerror(-r));
    return ARCHIVE_E_SPOILED;
}

/* After store_put() has failed with r: what became of the part. */
static int after_failed_put(Archive *archive, const char *client, const char *id, int r)
{
    if (r == -EUCLEAN) { /* the mark stays: whatever is in the store is not complete */
        atomic_store(&archive->unclean, true);
        return spoiled(client, id, "storing failed, and undoing it too; the next start settles it", r);
    }
    if (outbox_withdraw(archive->outbox, client, id) < 0)
        log_at(LOG_LEVEL_WARN, client, id, "a mark in .outbox can't be removed; the next start does it");
    if (r == -ENOSPC || r == -EDQUOT)
        return ARCHIVE_E_FULL;
    bool untouched = r == -EEXIST || r == -ENOMEM || r == -EMFILE || r == -ENFILE;
    return untouched ? r : spoiled(client, id, "storing failed", r);
}

static int prepare(Archive *archive, const char *client, const char *id, const Stored *stored)
{
    char *message CLEANUP(free_ptr) = archive_receipt_message(stored);
    int r = message ? outbox_prepare(archive->outbox, client, id, message) : -ENOMEM;

    return r == -ENOSPC || r == -EDQUOT ? ARCHIVE_E_FULL : r;
}

static int commit_part(Archive *archive, Part *part, const char *client, const char *id, const char *path,
                       const uint8_t sha256[static SHA256_SIZE], Stored *stored)
{
    int r = PLANTED("receipt-before-fsync") ? 0 : part_sync_data(part);
    if (r < 0)
        return spoiled(client, id, "syncing the part failed", r);
    fill_receipt(archive, client, id, path, &stored->receipt);
    stored->receipt.size_bytes = part_offset(part);
    memcpy(stored->receipt.sha256, sha256, SHA256_SIZE);
    memcpy(stored->traceparent, part_record(part)->traceparent, sizeof(stored->traceparent));
    safe_name(path, id, stored->name);
    r = sign(archive, stored);
    if (r == 0)
        r = prepare(archive, client, id, stored);
    if (r != 0)
        return r;
    r = store_put(archive->store, stored, part);
    if (r < 0)
        return after_failed_put(archive, client, id, r);
    r = outbox_release(archive->outbox, client, id);
    if (r < 0) /* durable, but marked: the next start or attempt finishes it */
        return spoiled(client, id, "the end of the commit can't be marked", r);
    return 0;
}

/* One commit that was broken off. The metadata is what counts; the pending entry may be of another attempt.
 */
static int recover_one(Archive *archive, const OutboxKey *key)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    if (!stored)
        return -ENOMEM;
    int r = store_find(archive->store, key->client, key->id, stored);
    TRACED(r == 0 ? stored->traceparent : "");
    if (r == STORE_E_ABSENT) {
        (void)store_forget(archive->store, key->client, key->id);
        log_at(LOG_LEVEL_INFO, key->client, key->id, "a commit that was broken off is undone");
        return outbox_withdraw(archive->outbox, key->client, key->id);
    }
    if (r < 0)
        return r;
    r = store_sync(archive->store, stored);
    if (r < 0) {
        atomic_store(&archive->unclean, true);
        return r;
    }
    char *message CLEANUP(free_ptr) = archive_receipt_message(stored);
    if (!message)
        return -ENOMEM;
    r = outbox_prepare(archive->outbox, key->client, key->id, message);
    if (r == 0)
        r = outbox_release(archive->outbox, key->client, key->id);
    if (r == 0)
        log_at(LOG_LEVEL_INFO, key->client, key->id, "a commit that was broken off is finished");
    return r;
}

/* A mark is taken off by what set it, or here, but never by another attempt's failure: it may stand before
 * content that is not durable, or whose receipt nobody has. 0 and *ret_stored if an earlier commit is whole
 * now, and its content the same; ARCHIVE_E_ABSENT if there is none; -EAGAIN if that can't be said now. */
static int settle_earlier(Archive *archive, const char *client, const char *id,
                          const uint8_t sha256[static SHA256_SIZE], Stored *ret_stored)
{
    int pending = outbox_is_pending(archive->outbox, client, id);
    OutboxKey key;

    if (pending <= 0)
        return pending < 0 ? pending : ARCHIVE_E_ABSENT;
    if (atomic_load(&archive->unclean))
        return -EAGAIN; /* after a sync that failed another one of this process says nothing */
    (void)snprintf(key.client, sizeof(key.client), "%s", client);
    (void)snprintf(key.id, sizeof(key.id), "%s", id);
    int r = recover_one(archive, &key);
    if (r == 0)
        r = archive_find(archive, client, id, ret_stored);
    if (r == -ENOSPC || r == -EDQUOT)
        return ARCHIVE_E_FULL;
    if (r < 0) {
        log_at(LOG_LEVEL_ERROR, client, id, "an earlier commit that was broken off can't be settled: %s",
               strerror(-r));
        return -EAGAIN;
    }
    return r == 0 && memcmp(ret_stored->receipt.sha256, sha256, SHA256_SIZE) != 0 ? -EEXIST : r;
}

int archive_commit(Archive *archive, Part *part, const char *client, const char *id, const char *path,
                   const uint8_t sha256[static SHA256_SIZE], Stored *ret_stored)
{
    Stored *stored CLEANUP(free_ptr) = calloc(1, sizeof(*stored));

    if (!stored)
        return -ENOMEM;
    int r = settle_earlier(archive, client, id, sha256, stored);
    if (r == ARCHIVE_E_ABSENT)
        r = commit_part(archive, part, client, id, path, sha256, stored);
    if (r == 0)
        *ret_stored = *stored;
    return r;
}

typedef struct Unsettled {
    OutboxKey keys[RECOVER_BATCH];
    size_t count;
} Unsettled;

static bool is_unsettled(const OutboxKey *key, void *userdata)
{
    const Unsettled *unsettled = userdata;

    for (size_t i = 0; i < unsettled->count; i++)
        if (strcmp(unsettled->keys[i].client, key->client) == 0 &&
            strcmp(unsettled->keys[i].id, key->id) == 0)
            return true;
    return false;
}

int archive_recover(Archive *archive)
{
    Unsettled *unsettled CLEANUP(free_ptr) = calloc(1, sizeof(*unsettled));
    OutboxKey key;
    int found;

    if (!unsettled)
        return -ENOMEM;
    while ((found = outbox_list(archive->outbox, OUTBOX_PENDING, is_unsettled, unsettled, &key, 1)) > 0) {
        int r = recover_one(archive, &key);
        if (r == 0)
            continue;
        log_at(LOG_LEVEL_ERROR, key.client, key.id,
               "a commit that was broken off can't be settled and stays incomplete: %s", strerror(-r));
        if (unsettled->count == RECOVER_BATCH)
            return r;
        unsettled->keys[unsettled->count++] = key;
    }
    return found;
}

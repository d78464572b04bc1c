#include "receiver/uploads_internal.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* The table; all of this under the lock */

void uploads_lock(Uploads *uploads)
{
    (void)pthread_mutex_lock(
        &uploads->lock); /* can't fail: never destroyed while in use, never taken twice */
}

void uploads_unlock(Uploads *uploads)
{
    (void)pthread_mutex_unlock(&uploads->lock);
}

static void wait_for_change(Uploads *uploads)
{
    (void)pthread_cond_wait(&uploads->changed, &uploads->lock);
}

Upload *uploads_find(Uploads *uploads, const char *client, const char *id)
{
    Upload *upload;

    TAILQ_FOREACH(upload, &uploads->list, link)
    if (strcmp(upload->id, id) == 0 && strcmp(upload->client, client) == 0)
        return upload;
    return NULL;
}

Upload *uploads_find_or_add(Uploads *uploads, const char *client, const char *id)
{
    Upload *upload = uploads_find(uploads, client, id);

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

static bool is_idle(const Upload *upload)
{
    return upload->users == 0 && !upload->busy;
}

/* So many idle parts stay open, for a fast resumption. */
static void shut_oldest(Uploads *uploads)
{
    Upload *upload, *oldest = NULL;
    unsigned count = 0;

    TAILQ_FOREACH(upload, &uploads->list, link)
    {
        if (!is_idle(upload) || !upload->part || !part_is_open(upload->part))
            continue;
        count++;
        if (!oldest)
            oldest = upload;
    }
    if (count > uploads->config.open_max)
        part_shut(oldest->part); /* it is synced, as all idle ones */
}

void uploads_release(Uploads *uploads, Upload *upload)
{
    upload->users--;
    upload->idle_since_ms = uploads->config.now_ms();
    TAILQ_REMOVE(&uploads->list, upload, link);
    if (upload->users > 0 || upload->part)
        TAILQ_INSERT_TAIL(&uploads->list, upload, link);
    else
        free(upload);
    shut_oldest(uploads);
}

void uploads_set_busy(Upload *upload)
{
    upload->busy = true;
    upload->hurry = false; /* whoever was in a hurry has it now, or has given up */
}

void uploads_seize(Uploads *uploads, Upload *upload)
{
    while (upload->busy)
        wait_for_change(uploads);
    uploads_set_busy(upload);
}

/* What the table says of the part. */
static void note_part(Upload *upload)
{
    const PartRecord *record = upload->part ? part_record(upload->part) : NULL;

    upload->begun = record && !upload->deleted;
    upload->size_bytes = record ? part_offset(upload->part) : 0;
    upload->has_length = record && record->has_length;
    upload->length = record ? record->length : 0;
    if (record && record->attempt > upload->attempt)
        upload->attempt = record->attempt;
}

void uploads_let_go(Uploads *uploads, Upload *upload)
{
    note_part(upload);
    while (upload->part && upload->deleted && !upload->holder && !part_record(upload->part)->deleted) {
        uint64_t attempt = upload->attempt;
        uploads_unlock(uploads);
        part_bury(upload->part, attempt);
        uploads_lock(uploads);
        note_part(upload);
    }
    upload->busy = upload->committing = false;
    (void)pthread_cond_broadcast(&uploads->changed);
}

uint64_t uploads_fence(Uploads *uploads, Upload *upload, bool drop)
{
    while (upload->committing)
        wait_for_change(uploads);
    uint64_t mine = ++upload->generation;
    if (upload->holder)
        uploads->config.cut(upload->holder->connection);
    upload->holder = NULL;
    upload->hurry |= drop;
    while (upload->busy && upload->generation == mine)
        wait_for_change(uploads);
    return upload->generation == mine ? mine : 0;
}

/* Room for a client's uploads */

/* What an upload takes, or will. */
static uint64_t claim_bytes(const Upload *upload)
{
    return upload->holder && upload->has_length && upload->length > upload->size_bytes ? upload->length
                                                                                       : upload->size_bytes;
}

typedef struct Usage {
    unsigned count, idle_count;
    uint64_t bytes, idle_bytes;
    Upload *oldest_idle; /* a mere memory of a deletion before one with bytes */
} Usage;

static Usage usage_of(const Uploads *uploads, const char *client, const Upload *but)
{
    Usage usage = {0};
    Upload *upload;

    TAILQ_FOREACH(upload, &uploads->list, link)
    {
        if (upload == but || strcmp(upload->client, client) != 0)
            continue;
        usage.count++;
        usage.bytes += claim_bytes(upload);
        if (!is_idle(upload))
            continue;
        usage.idle_count++;
        usage.idle_bytes += claim_bytes(upload);
        if (!usage.oldest_idle || (upload->deleted && !usage.oldest_idle->deleted))
            usage.oldest_idle = upload;
    }
    return usage;
}

bool uploads_make_room(Uploads *uploads, const char *client, const Upload *but, uint64_t size,
                       UploadList *evicted)
{
    uint64_t bytes_max = uploads->config.client_bytes_max ? uploads->config.client_bytes_max : UINT64_MAX;
    unsigned count_max = uploads->config.per_client_max;
    Usage usage = usage_of(uploads, client, but);

    if (usage.count - usage.idle_count >= count_max || size > bytes_max ||
        usage.bytes - usage.idle_bytes > bytes_max - size)
        return false; /* not even without the idle ones */
    while (usage.count >= count_max || usage.bytes > bytes_max - size) {
        TAILQ_REMOVE(&uploads->list, usage.oldest_idle, link);
        TAILQ_INSERT_TAIL(evicted, usage.oldest_idle, link);
        usage = usage_of(uploads, client, but);
    }
    return true;
}

bool uploads_is_over_quota(const Uploads *uploads, const char *client)
{
    return uploads->config.client_bytes_max &&
           usage_of(uploads, client, NULL).bytes > uploads->config.client_bytes_max;
}

void uploads_remove_all(UploadList *evicted, const char *why)
{
    Upload *upload;

    while ((upload = TAILQ_FIRST(evicted)) != NULL) {
        TAILQ_REMOVE(evicted, upload, link);
        TRACED(upload->part ? part_record(upload->part)->traceparent : "");
        if (!upload->deleted)
            log_at(LOG_LEVEL_INFO, upload->client, upload->id, "incomplete, and removed: %s", why);
        (void)part_remove(upload->part);
        free(upload);
    }
}

/* Parts; without the lock, busy */

typedef struct Wanted {
    Uploads *uploads;
    const Upload *upload;
} Wanted;

static bool is_still_wanted(void *userdata)
{
    const Wanted *wanted = userdata;

    uploads_lock(wanted->uploads);
    bool still = !wanted->upload->hurry && !wanted->upload->deleted && !wanted->uploads->stopping;
    uploads_unlock(wanted->uploads);
    return still;
}

static int spoil(Upload *upload, const char *what, int r)
{
    log_at(LOG_LEVEL_ERROR, upload->client, upload->id, "%s; the part is set aside: %s", what, strerror(-r));
    part_set_aside(upload->part);
    return UPLOADS_E_SPOILED;
}

int uploads_spool_error(int r)
{
    return r == SPOOL_E_FULL ? UPLOADS_E_FULL : r > 0 ? UPLOADS_E_AGAIN : r;
}

int uploads_open_part(Uploads *uploads, Upload *upload)
{
    Wanted wanted = {.uploads = uploads, .upload = upload};
    bool was_open = part_is_open(upload->part);
    int r = part_open(upload->part, is_still_wanted, &wanted);

    if (r < 0)
        return spoil(upload, "what an earlier connection left can't be read", r);
    if (r == 0 && !was_open)
        log_at(LOG_LEVEL_DEBUG, upload->client, upload->id, "taken up again");
    return uploads_spool_error(r);
}

int uploads_sync_part(Upload *upload)
{
    int r = part_sync(upload->part);

    if (r < 0)
        return spoil(upload, "the part can't be made durable", r);
    if (r > 0)
        part_shut(upload->part); /* the next one to open it sees how far it is durable */
    return uploads_spool_error(r);
}

/* Life */

static void insert_by_age(Uploads *uploads, Upload *upload)
{
    Upload *later;

    TAILQ_FOREACH(later, &uploads->list, link)
    if (later->idle_since_ms > upload->idle_since_ms) {
        TAILQ_INSERT_BEFORE(later, upload, link);
        return;
    }
    TAILQ_INSERT_TAIL(&uploads->list, upload, link);
}

/* What archive_find() says: 0 if the upload is complete, ARCHIVE_E_ABSENT, or a negative errno. */
static int look_up(Uploads *uploads, const char *client, const char *id)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));

    return stored ? archive_find(uploads->archive, client, id, stored) : -ENOMEM;
}

static void take_part(Part *part, int64_t age_ms, void *userdata)
{
    Uploads *uploads = userdata;
    const PartRecord *record = part_record(part);

    if (look_up(uploads, record->client, record->id) == 0) { /* removing failed after the commit, or a crash
                                                                came first */
        (void)part_remove(part);
        return;
    }
    Upload *upload = uploads_find_or_add(uploads, record->client, record->id);
    if (!upload || (upload->part && part_is_newer(upload->part, part))) {
        (void)(upload ? part_remove(part)
                      : part_free(part)); /* out of memory: the next start finds it again */
        return;
    }
    (void)part_remove(upload->part);
    TAILQ_REMOVE(&uploads->list, upload, link);
    upload->part = part;
    upload->deleted = record->deleted;
    upload->idle_since_ms = uploads->config.now_ms() - age_ms;
    note_part(upload);
    insert_by_age(uploads, upload);
}

static void init_lock(Uploads *uploads)
{
    pthread_condattr_t monotonic;

    (void)pthread_mutex_init(&uploads->lock, NULL); /* these can't fail on Linux */
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&uploads->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
}

int uploads_new(const UploadsConfig *config, Spool *spool, Archive *archive, Uploads **ret_uploads)
{
    Uploads *uploads = calloc(1, sizeof(*uploads));

    if (!uploads)
        return -ENOMEM;
    uploads->config = *config;
    uploads->spool = spool;
    uploads->archive = archive;
    init_lock(uploads);
    TAILQ_INIT(&uploads->list);
    int r = spool_scan(spool, take_part, uploads);
    if (r < 0) {
        (void)uploads_free(uploads);
        return r;
    }
    *ret_uploads = uploads;
    return 0;
}

Uploads *uploads_free(Uploads *uploads)
{
    Upload *upload;

    if (!uploads)
        return NULL;
    while ((upload = TAILQ_FIRST(&uploads->list)) != NULL) {
        TAILQ_REMOVE(&uploads->list, upload, link);
        (void)part_free(upload->part);
        free(upload);
    }
    (void)pthread_cond_destroy(&uploads->changed);
    (void)pthread_mutex_destroy(&uploads->lock);
    free(uploads);
    return NULL;
}

static bool is_at_work(const Uploads *uploads)
{
    const Upload *upload;

    TAILQ_FOREACH(upload, &uploads->list, link)
    if (upload->busy)
        return true;
    return uploads->open > 0;
}

bool uploads_stop(Uploads *uploads, int64_t timeout_ms)
{
    int64_t until_ms = clock_monotonic_ms() + timeout_ms;
    struct timespec until;
    Upload *upload;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)((timeout_ms + 999) / 1000);
    uploads_lock(uploads);
    uploads->stopping = true;
    TAILQ_FOREACH(upload, &uploads->list, link)
    if (upload->holder && !upload->committing)
        uploads->config.cut(upload->holder->connection);
    while (is_at_work(uploads) && clock_monotonic_ms() < until_ms)
        (void)pthread_cond_timedwait(&uploads->changed, &uploads->lock, &until); /* early is harmless */
    bool ended = !is_at_work(uploads);
    uploads_unlock(uploads);
    return ended;
}

/* Others who ask and interfere */

/* Takes the lock until leave(). The upload, with one user more, or NULL. */
static Upload *enter(Uploads *uploads, const char *client, const char *id)
{
    uploads_lock(uploads);
    Upload *upload = uploads_find(uploads, client, id);
    if (upload)
        upload->users++;
    return upload;
}

static void leave(Uploads *uploads, Upload *upload)
{
    if (upload)
        uploads_release(uploads, upload);
    uploads_unlock(uploads);
}

/* The offset of an incomplete upload, after making durable what is there. Under the lock; the caller is a
 * user. */
static int status_of_part(Uploads *uploads, Upload *upload, UploadStatusNow *status)
{
    int r = 0;

    uploads_seize(uploads, upload);
    if (upload->part && !upload->deleted) {
        uploads_unlock(uploads);
        r = uploads_open_part(uploads, upload);
        if (r == 0)
            r = uploads_sync_part(upload);
        if (r == UPLOADS_E_SPOILED)
            r = 0; /* it stands at 0 now */
        uploads_lock(uploads);
    }
    uploads_let_go(uploads, upload);
    if (r == 0 && !upload->part)
        r = UPLOADS_E_ABSENT;
    if (upload->deleted)
        r = UPLOADS_E_DELETED;
    *status = (UploadStatusNow){
        .offset = upload->size_bytes, .has_length = upload->has_length, .length = upload->length};
    return r;
}

int uploads_status(Uploads *uploads, const char *client, const char *id, UploadStatusNow *ret_status)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));
    UploadStatusNow status = {0};

    if (!stored)
        return -ENOMEM;
    Upload *upload = enter(uploads, client, id);
    int r = upload ? status_of_part(uploads, upload, &status) : UPLOADS_E_ABSENT;
    leave(uploads, upload);
    int found = archive_find(uploads->archive, client, id, stored);
    if (found < 0)
        return found;
    if (found == 0) {
        status = (UploadStatusNow){.complete = true, .offset = stored->receipt.size_bytes};
        memcpy(status.sha256, stored->receipt.sha256, SHA256_SIZE);
        r = 0;
    }
    if (r == 0)
        *ret_status = status;
    return r;
}

/* Under the lock; the caller is a user. */
static int delete_part(Uploads *uploads, Upload *upload, uint64_t attempt)
{
    if (attempt > 0 && attempt < upload->attempt)
        return UPLOADS_E_FENCED;
    if (uploads_fence(uploads, upload, true) == 0)
        return UPLOADS_E_FENCED;
    if (upload->deleted)
        return UPLOADS_E_DELETED;
    if (!upload->part)
        return UPLOADS_E_ABSENT;
    if (attempt > upload->attempt)
        upload->attempt = attempt;
    uploads_set_busy(upload);
    upload->deleted = true;
    uploads_let_go(uploads, upload);
    return 0;
}

/* Asked before, because a part may be left over of what is complete; and after, because a commit may have
 * been awaited. */
int uploads_delete(Uploads *uploads, const char *client, const char *id, uint64_t attempt)
{
    int found = look_up(uploads, client, id);

    if (found == ARCHIVE_E_ABSENT) {
        Upload *upload = enter(uploads, client, id);
        int r = upload ? delete_part(uploads, upload, attempt) : UPLOADS_E_ABSENT;
        leave(uploads, upload);
        if (r != UPLOADS_E_ABSENT)
            return r;
        found = look_up(uploads, client, id);
    }
    return found < 0 ? found : found == 0 ? UPLOADS_E_COMPLETE : UPLOADS_E_ABSENT;
}

bool uploads_cancel(Uploads *uploads, const char *client, const char *id)
{
    uploads_lock(uploads);
    Upload *upload = uploads_find(uploads, client, id);
    bool found = upload && !upload->committing && upload->begun && !upload->deleted;
    if (found) {
        upload->users++;
        upload->generation++;
        upload->deleted = true;
        if (upload->holder)
            uploads->config.cut(upload->holder->connection);
        if (!upload->busy && !upload->holder) {
            uploads_set_busy(upload);
            uploads_let_go(uploads, upload);
        }
        uploads_release(uploads, upload);
    }
    uploads_unlock(uploads);
    return found;
}

unsigned uploads_open_count(Uploads *uploads)
{
    uploads_lock(uploads);
    unsigned count = uploads->open;
    uploads_unlock(uploads);
    return count;
}

void uploads_expire(Uploads *uploads, int64_t before_monotonic_ms)
{
    UploadList old = TAILQ_HEAD_INITIALIZER(old);
    Upload *upload, *next;

    uploads_lock(uploads);
    for (upload = TAILQ_FIRST(&uploads->list); upload; upload = next) {
        next = TAILQ_NEXT(upload, link);
        if (!is_idle(upload) || upload->idle_since_ms >= before_monotonic_ms)
            continue;
        TAILQ_REMOVE(&uploads->list, upload, link);
        TAILQ_INSERT_TAIL(&old, upload, link);
    }
    uploads_unlock(uploads);
    uploads_remove_all(&old, "nobody went on with it for too long");
}

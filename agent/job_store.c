#include "agent/job_store.h"

#include "common/files.h"
#include "common/log.h"
#include "common/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define RECORD_MAX 65536
#define RECORD_SUFFIX ".json"
#define RECORD_NAME_SIZE (UPLOAD_ID_SIZE + sizeof(RECORD_SUFFIX))
#define KEEP_MS (30LL * 24 * 3600 * 1000)        /* without an expiry: from the last change on */
#define KEEP_EXPIRED_MS (1LL * 24 * 3600 * 1000) /* with one: from then on */

struct JobStore {
    int lock_fd;
    int folder_fd;
};

int job_store_open(const char *state_dir, JobStore **ret_store)
{
    JobStore *store = calloc(1, sizeof(*store));
    int r = -ENOMEM;

    if (!store)
        return r;
    store->folder_fd = -1;
    r = folder_open(state_dir, 0700, &store->lock_fd);
    if (r < 0)
        store->lock_fd = -1;
    else if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0)
        r = -errno;
    else
        r = folder_open_at(store->lock_fd, "jobs", 0700, &store->folder_fd);
    if (r < 0) {
        job_store_close(store);
        return r;
    }
    *ret_store = store;
    return 0;
}

JobStore *job_store_close(JobStore *store)
{
    if (!store)
        return NULL;
    close_fd(&store->folder_fd);
    close_fd(&store->lock_fd);
    free(store);
    return NULL;
}

static void record_name(const char *id, char out[static RECORD_NAME_SIZE])
{
    (void)snprintf(out, RECORD_NAME_SIZE, "%s" RECORD_SUFFIX, id);
}

/* The id of a record's name; false for other files. */
static bool record_id(const char *name, char out[static UPLOAD_ID_SIZE])
{
    size_t length = strlen(name), suffix = strlen(RECORD_SUFFIX);

    if (length <= suffix || length - suffix > UPLOAD_ID_MAX ||
        strcmp(name + length - suffix, RECORD_SUFFIX) != 0)
        return false;
    memcpy(out, name, length - suffix);
    out[length - suffix] = '\0';
    return upload_id_is_valid(out);
}

int job_store_save(JobStore *store, const Job *job)
{
    char name[RECORD_NAME_SIZE];
    char *text CLEANUP(free_secret) = job_format(job);

    if (!text)
        return -ENOMEM;
    record_name(job->id, name);
    return file_replace_at(store->folder_fd, name, text, strlen(text), 0600);
}

int job_store_load(JobStore *store, const char *id, Job **ret_job)
{
    char name[RECORD_NAME_SIZE];
    char *text CLEANUP(free_secret) = NULL;
    size_t size = 0;

    record_name(id, name);
    int r = file_read_at(store->folder_fd, name, RECORD_MAX, &text, &size);
    if (r < 0)
        return r;
    Job *job = job_parse(id, text, size);
    if (!job) /* once more: a failed allocation looks like a damaged record */
        job = job_parse(id, text, size);
    if (!job)
        return -EBADMSG;
    *ret_job = job;
    return 0;
}

/* Out of the way, but kept for a look at it. */
static void set_aside(JobStore *store, const char *id, int error)
{
    char name[RECORD_NAME_SIZE], aside[RECORD_NAME_SIZE + 8];

    record_name(id, name);
    (void)snprintf(aside, sizeof(aside), "%s.bad", name);
    log_at(LOG_LEVEL_ERROR, NULL, id, "the record of this job is damaged (%s); set aside as %s",
           strerror(-error), aside);
    (void)renameat(store->folder_fd, name, store->folder_fd, aside);
}

static DIR *open_folder(JobStore *store)
{
    int fd = openat(store->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (!folder)
        close_fd(&fd);
    return folder;
}

int job_store_each(JobStore *store, void (*found)(Job *job, void *userdata), void *userdata)
{
    DIR *folder = open_folder(store);
    char id[UPLOAD_ID_SIZE];
    int failed = 0;

    if (!folder)
        return -errno;
    for (struct dirent *entry; (entry = readdir(folder));) {
        Job *job = NULL;
        if (!record_id(entry->d_name, id))
            continue;
        int r = job_store_load(store, id, &job);
        if (r == -EBADMSG || r == -EFBIG || r == -EINVAL || r == -EISDIR)
            set_aside(store, id, r);
        else if (r < 0)
            failed = r;
        else
            found(job, userdata);
    }
    (void)closedir(folder);
    return failed;
}

/* A job that may be forgotten, and since when (or, if that is to come, when). */
typedef struct Forgettable {
    int64_t until_unix_ms;
    int64_t issued_unix_s; /* of its ticket; 0: it had none */
    char id[UPLOAD_ID_SIZE];
} Forgettable;

typedef struct ForgetList {
    Forgettable *items;
    size_t count, capacity;
} ForgetList;

static void collect(Job *job, void *userdata)
{
    ForgetList *list = userdata;

    if (job_is_final(job) && job->reported && list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        Forgettable *items = reallocarray(list->items, capacity, sizeof(*items));
        if (items) {
            list->items = items;
            list->capacity = capacity;
        }
    }
    if (job_is_final(job) && job->reported && list->count < list->capacity) {
        Forgettable *item = &list->items[list->count++];
        item->until_unix_ms = job->expires_unix_s ? (int64_t)job->expires_unix_s * 1000 + KEEP_EXPIRED_MS
                                                  : job->at_unix_ms + KEEP_MS;
        item->issued_unix_s = job->issued_unix_s;
        memcpy(item->id, job->id, sizeof(item->id));
    }
    job_free(job);
}

static int compare_until(const void *a, const void *b)
{
    int64_t x = ((const Forgettable *)a)->until_unix_ms, y = ((const Forgettable *)b)->until_unix_ms;

    return x < y ? -1 : x > y;
}

/* Leaves in the list what is to be removed. Returns when the last ticket of those was issued that may still
 * be good. */
static int64_t choose(ForgetList *list, size_t max, int64_t now_unix_ms, int64_t seen_unix_s)
{
    size_t chosen = 0;
    int64_t last_issued = 0;

    for (size_t i = 0; i < list->count; i++) {
        const Forgettable *item = &list->items[i];
        bool is_over = item->until_unix_ms <= (item->issued_unix_s ? seen_unix_s * 1000 : now_unix_ms);
        if (!is_over && list->count - i <= max)
            continue;
        if (!is_over && item->issued_unix_s > last_issued)
            last_issued = item->issued_unix_s;
        list->items[chosen++] = *item;
    }
    list->count = chosen;
    return last_issued;
}

void job_store_forget(JobStore *store, size_t max, int64_t now_unix_ms, Tickets *tickets)
{
    ForgetList list = {0};
    char name[RECORD_NAME_SIZE];

    int r = job_store_each(store, collect, &list);
    if (r < 0)
        log_warn("can't look for old jobs: %s", strerror(-r));
    if (list.count > 0)
        qsort(list.items, list.count, sizeof(*list.items), compare_until);
    int64_t last_issued = choose(&list, max, now_unix_ms, tickets_seen_unix_s(tickets));
    r = list.count > 0 ? tickets_forget(tickets, last_issued) : 0;
    if (r < 0)
        log_warn("can't forget old jobs: %s", strerror(-r));
    for (size_t i = 0; r == 0 && i < list.count; i++) {
        record_name(list.items[i].id, name);
        (void)unlinkat(store->folder_fd, name, 0); /* what stays is tried again the next time */
    }
    free(list.items);
}

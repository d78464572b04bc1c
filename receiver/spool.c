#include "receiver/spool_internal.h"

#include "common/clock.h"
#include "common/files.h"
#include "common/log.h"
#include "common/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static const char *const kind_names[] = {
    [FILE_PART] = "part", [FILE_JOURNAL] = "journal", [FILE_NEW_JOURNAL] = "new", [FILE_ASIDE] = "aside"};

/* A name taken apart. */
typedef struct FileName {
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    uint64_t number;
    FileKind kind;
} FileName;

void spool_file_name(const PartRecord *record, uint64_t number, FileKind kind,
                     char out[static PART_NAME_SIZE])
{
    (void)snprintf(out, PART_NAME_SIZE, "%s.%s.%" PRIu64 ".%s", record->client, record->id, number,
                   kind_names[kind]);
}

static bool parse_kind(const char *text, FileKind *ret_kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++)
        if (strcmp(text, kind_names[i]) == 0) {
            *ret_kind = (FileKind)i;
            return true;
        }
    return false;
}

/* false for a file that is not ours. */
static bool parse_name(const char *text, FileName *name)
{
    char copy[PART_NAME_SIZE];

    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
        return false;
    char *dots[3];
    for (size_t i = 0; i < ARRAY_SIZE(dots); i++) { /* from the end: a client id may have dots */
        dots[i] = strrchr(copy, '.');
        if (!dots[i])
            return false;
        *dots[i] = '\0';
    }
    if (!parse_kind(dots[0] + 1, &name->kind) || !text_to_u64(dots[1] + 1, &name->number) ||
        !upload_id_is_valid(dots[2] + 1) || !client_id_is_valid(copy))
        return false;
    memcpy(name->client, copy, strlen(copy) + 1); /* valid ids fit */
    memcpy(name->id, dots[2] + 1, strlen(dots[2] + 1) + 1);
    return true;
}

/* Calls visit for each file of ours; stops when it returns false. 0 or a negative errno. */
typedef bool (*FileVisit)(const Spool *spool, const char *text, const FileName *name, void *userdata);
static int each_file(const Spool *spool, FileVisit visit, void *userdata)
{
    int fd =
        openat(spool->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a place of its own in the listing */
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    FileName name;
    bool more = true;

    if (!folder) {
        int r = -errno;
        close_fd(&fd);
        return r;
    }
    while (more && (entry = readdir(folder)) != NULL)
        if (parse_name(entry->d_name, &name))
            more = visit(spool, entry->d_name, &name, userdata);
    (void)closedir(folder);
    return 0;
}

int spool_new(int root_fd, uint64_t floor_bytes, Spool **ret_spool)
{
    Spool *spool CLEANUP(free_ptr) = calloc(1, sizeof(*spool));

    if (!spool)
        return -ENOMEM;
    spool->floor_bytes = floor_bytes;
    int r = folder_open_at(root_fd, ".incoming", 0700, &spool->fd);
    if (r < 0)
        return r;
    *ret_spool = TAKE_PTR(spool);
    return 0;
}

Spool *spool_free(Spool *spool)
{
    if (spool)
        close_fd(&spool->fd);
    free(spool);
    return NULL;
}

/* What earlier processes left */

typedef struct Scan {
    Spool *spool;
    void (*take)(Part *part, int64_t age_ms, void *userdata);
    void *userdata;
} Scan;

static bool raise_number(const Spool *spool, const char *text, const FileName *name, void *userdata)
{
    Scan *scan = userdata;

    (void)spool;
    (void)text;
    if (name->number >= atomic_load(&scan->spool->next_number))
        atomic_store(&scan->spool->next_number, name->number + 1);
    return true;
}

static bool exists(const Spool *spool, const FileName *name, FileKind kind, uint64_t number)
{
    PartRecord *record CLEANUP(free_ptr) = calloc(1, sizeof(*record));
    char text[PART_NAME_SIZE];

    if (!record)
        return true; /* then nothing is removed */
    memcpy(record->client, name->client, sizeof(record->client));
    memcpy(record->id, name->id, sizeof(record->id));
    spool_file_name(record, number, kind, text);
    return faccessat(spool->fd, text, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int read_record(const Spool *spool, const char *text, const FileName *name, PartRecord *record)
{
    char *journal CLEANUP(free_ptr) = NULL;
    size_t size = 0;
    int r = file_read_at(spool->fd, text, JOURNAL_MAX, &journal, &size);

    if (r == 0)
        r = journal_parse(journal, size, record, NULL, NULL);
    if (r == 0 && (strcmp(record->client, name->client) != 0 || strcmp(record->id, name->id) != 0))
        r = -EBADMSG;
    return r;
}

/* The part of a journal, and when it was last touched. */
static Part *found_part(Spool *spool, const PartRecord *record, uint64_t number, int64_t *ret_age_ms)
{
    Part *part = part_new(spool, record);
    char text[PART_NAME_SIZE];
    struct stat info;

    if (!part)
        return NULL;
    part->number = number;
    spool_file_name(record, number, FILE_PART, text);
    bool there = fstatat(spool->fd, text, &info, AT_SYMLINK_NOFOLLOW) == 0;
    part->offset = there ? (uint64_t)info.st_size : 0;
    spool_file_name(record, number, FILE_JOURNAL, text);
    if (!there && fstatat(spool->fd, text, &info, AT_SYMLINK_NOFOLLOW) < 0)
        info.st_mtim.tv_sec = (time_t)(clock_unix_ms() / 1000);
    int64_t age_ms = clock_unix_ms() - (int64_t)info.st_mtim.tv_sec * 1000;
    *ret_age_ms = age_ms > 0 ? age_ms : 0;
    return part;
}

/* A journal that can't be read now is left alone: its upload starts over under another number, and the next
 * start sees that this one is older. */
static bool take_journal(const Spool *spool, const char *text, const FileName *name, void *userdata)
{
    Scan *scan = userdata;
    PartRecord *record CLEANUP(free_ptr) = calloc(1, sizeof(*record));
    Part *part = NULL;
    int64_t age_ms = 0;

    if (name->kind != FILE_JOURNAL)
        return true;
    int r = record ? read_record(spool, text, name, record) : -ENOMEM;
    if (r == -EBADMSG || r == -EFBIG) {
        log_at(LOG_LEVEL_WARN, name->client, name->id,
               "a part is removed: .incoming/%s is damaged; the upload starts over", text);
        (void)unlinkat(spool->fd, text, 0); /* remains the part, which then is an orphan */
        return true;
    }
    if (r == 0)
        part = found_part(scan->spool, record, name->number, &age_ms);
    if (part)
        scan->take(part, age_ms, scan->userdata);
    else
        log_at(LOG_LEVEL_ERROR, name->client, name->id, ".incoming/%s can't be read: %s", text,
               strerror(r < 0 ? -r : ENOMEM));
    return true;
}

static bool remove_orphan(const Spool *spool, const char *text, const FileName *name, void *userdata)
{
    (void)userdata;
    bool orphan = name->kind == FILE_PART && !exists(spool, name, FILE_JOURNAL, name->number);
    if ((orphan || name->kind == FILE_NEW_JOURNAL) && unlinkat(spool->fd, text, 0) < 0)
        log_warn(".incoming/%s: can't be removed: %s", text, strerror(errno));
    return true;
}

int spool_scan(Spool *spool, void (*take)(Part *part, int64_t age_ms, void *userdata), void *userdata)
{
    Scan scan = {.spool = spool, .take = take, .userdata = userdata};
    int r = each_file(spool, raise_number, &scan);

    if (r == 0)
        r = each_file(spool, take_journal, &scan);
    return r == 0 ? each_file(spool, remove_orphan, NULL) : r;
}

/* Asides, and room */

typedef struct Asides {
    const char *client; /* NULL: of all */
    int64_t before_ms;  /* only older ones */
    size_t count;
    uint64_t size_bytes; /* of them all */
    char oldest[PART_NAME_SIZE];
    struct timespec oldest_time;
} Asides;

static bool is_older(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static bool count_aside(const Spool *spool, const char *text, const FileName *name, void *userdata)
{
    Asides *asides = userdata;
    struct stat info;

    if (name->kind != FILE_ASIDE || (asides->client && strcmp(name->client, asides->client) != 0) ||
        fstatat(spool->fd, text, &info, AT_SYMLINK_NOFOLLOW) < 0 ||
        (int64_t)info.st_mtim.tv_sec * 1000 >= asides->before_ms)
        return true;
    asides->size_bytes += (uint64_t)info.st_blocks * 512;
    if (asides->count++ == 0 || is_older(&info.st_mtim, &asides->oldest_time)) {
        (void)snprintf(asides->oldest, sizeof(asides->oldest), "%s", text);
        asides->oldest_time = info.st_mtim;
    }
    return true;
}

/* Removes the oldest while there are more than max that the filter fits. */
static void trim_asides(const Spool *spool, const char *client, int64_t before_ms, size_t max)
{
    Asides asides;

    do {
        asides = (Asides){.client = client, .before_ms = before_ms};
        if (each_file(spool, count_aside, &asides) < 0 || asides.count <= max)
            return;
    } while (unlinkat(spool->fd, asides.oldest, 0) == 0); /* if not: tried again the next time */
}

/* A client that sends nothing but wrong digests must not fill the disk with them. */
void spool_bound_asides(const Spool *spool, const char *client)
{
    trim_asides(spool, client, INT64_MAX, SPOOL_ASIDES_MAX);
}

void spool_sweep_asides(Spool *spool, int64_t before_unix_ms)
{
    trim_asides(spool, NULL, before_unix_ms, 0);
}

/* Whether a file of size bytes would fit without those set aside. */
static bool fits(const Spool *spool, uint64_t size, const Asides *without)
{
    struct statvfs info;

    if (fstatvfs(spool->fd, &info) < 0)
        return true; /* writing will tell */
    uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize + without->size_bytes;
    return has_free_inode(&info, without->count) && free_bytes >= spool->floor_bytes &&
           size <= free_bytes - spool->floor_bytes;
}

bool spool_has_room(Spool *spool, uint64_t size)
{
    static const Asides none = {.count = 0};

    while (!fits(spool, size, &none)) {
        Asides asides = {.before_ms = INT64_MAX};
        if (each_file(spool, count_aside, &asides) < 0 || asides.count == 0 || !fits(spool, size, &asides))
            return false; /* not even without them */
        log_warn("the disk is nearly full: .incoming/%s is removed before its time", asides.oldest);
        if (unlinkat(spool->fd, asides.oldest, 0) < 0)
            return false;
    }
    return true;
}

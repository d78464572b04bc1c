#include "receiver/spool_internal.h"

#include "common/clock.h"
#include "common/files.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FLUSH_EVERY ((uint64_t)8 * 1024 * 1024) /* bytes between two hints to start writing to the disk */
#define MARK_EVERY ((uint64_t)1024 * 1024)      /* bytes that a crash of the receiver may cost, */
#define MARK_EVERY_MS 5000                      /* or this much time on a slow link */
#define REWRITE_ABOVE (JOURNAL_MAX / 4)
#define READ_SIZE ((size_t)256 * 1024)
#define FILE_MODE 0640

static bool is_full(int r)
{
    return r == -ENOSPC || r == -EDQUOT || r == -EFBIG;
}

/* Only what the disk says of the bytes themselves speaks against them; the rest passes by itself, or when a
 * person mends it (descriptors, memory, a file system mounted read-only), and becomes a SPOOL_E. */
static int sort_error(int r)
{
    if (r >= 0 || r == -EIO || r == -EBADMSG || r == -EUCLEAN)
        return r;
    return is_full(r) ? SPOOL_E_FULL : SPOOL_E_SCARCE;
}

static void file_name(const Part *part, FileKind kind, char out[static PART_NAME_SIZE])
{
    spool_file_name(&part->record, part->number, kind, out);
}

static void remove_file(const Part *part, FileKind kind)
{
    char name[PART_NAME_SIZE];

    file_name(part, kind, name);
    if (unlinkat(part->spool->fd, name, 0) < 0 && errno != ENOENT)
        log_at(LOG_LEVEL_WARN, part->record.client, part->record.id, ".incoming/%s can't be removed: %s",
               name, strerror(errno));
}

/* Making and opening */

Part *part_new(Spool *spool, const PartRecord *record)
{
    Part *part = calloc(1, sizeof(*part));

    if (!part)
        return NULL;
    part->spool = spool;
    part->record = *record;
    part->fd = part->journal_fd = -1;
    part->number = atomic_fetch_add(&spool->next_number, 1);
    return part;
}

bool part_is_newer(const Part *part, const Part *than)
{
    return part->number > than->number;
}

bool part_is_open(const Part *part)
{
    return part->fd >= 0;
}

void part_shut(Part *part)
{
    close_fd(&part->fd);
    close_fd(&part->journal_fd);
    part->fd = part->journal_fd = -1;
    part->digest = digest_free(part->digest);
}

static int open_file(const Part *part, FileKind kind, int flags)
{
    char name[PART_NAME_SIZE];

    file_name(part, kind, name);
    int fd = openat(part->spool->fd, name, flags | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    return fd < 0 ? -errno : fd;
}

/* New files, not yet durable: nothing has been stated about them. */
static int create_files(Part *part)
{
    char *head CLEANUP(free_ptr) = journal_head_format(&part->record, NULL);
    int journal_fd CLEANUP(close_fd) = -1, fd CLEANUP(close_fd) = -1;
    Digest *digest = NULL;

    if (!head || digest_new(&digest) < 0)
        return -ENOMEM;
    journal_fd = open_file(part, FILE_JOURNAL, O_WRONLY | O_CREAT | O_EXCL | O_APPEND);
    int r = journal_fd < 0 ? journal_fd : write_all(journal_fd, head, strlen(head));
    if (r == 0) {
        fd = open_file(part, FILE_PART, O_RDWR | O_CREAT | O_EXCL);
        r = fd < 0 ? fd : 0;
    }
    if (r < 0) {
        (void)digest_free(digest);
        return r;
    }
    part->fd = TAKE_FD(fd);
    part->journal_fd = TAKE_FD(journal_fd);
    part->digest = digest;
    part->offset = part->flushed = part->marked = part->synced = 0;
    part->marked_ms = clock_monotonic_ms();
    part->journal_size = strlen(head);
    part->journal_dirty = part->folder_dirty = true;
    part->failed = false;
    return 0;
}

int spool_create(Spool *spool, const PartRecord *record, Part **ret_part)
{
    if (!spool_has_room(spool, record->has_length ? record->length : 0))
        return SPOOL_E_FULL;
    Part *part = part_new(spool, record);
    if (!part)
        return -ENOMEM;
    part->record.deleted = false;
    int r = create_files(part);
    if (r < 0) {
        (void)part_remove(part);
        return sort_error(r);
    }
    *ret_part = part;
    return 0;
}

int part_restart(Part *part, const PartRecord *record)
{
    char old_journal[PART_NAME_SIZE];

    file_name(part, FILE_JOURNAL, old_journal);
    part_shut(part);
    remove_file(part, FILE_PART);
    part->offset = 0;
    if (!spool_has_room(part->spool, record->has_length ? record->length : 0))
        return SPOOL_E_FULL;
    uint64_t old_number = part->number;
    PartRecord old_record = part->record;
    part->record = *record;
    part->record.deleted = false;
    part->number = atomic_fetch_add(&part->spool->next_number, 1);
    int r = create_files(part);
    if (r < 0) {
        remove_file(part, FILE_JOURNAL);
        remove_file(part, FILE_PART);
        part->number = old_number;
        part->record = old_record;
        return sort_error(r);
    }
    (void)unlinkat(part->spool->fd, old_journal, 0); /* left over, the higher number counts */
    return 0;
}

/* Taking over what is there */

typedef struct Reading {
    int fd;
    char *buffer;
    Digest *digest;
    uint64_t offset;
    bool (*go_on)(void *userdata);
    void *userdata;
} Reading;

static void reading_deinit(Reading *reading)
{
    free(reading->buffer);
    (void)digest_free(reading->digest);
}

/* Hashes up to offset. 0, -ENODATA if the file is shorter, SPOOL_E_STOPPED, or a negative errno. */
static int read_to(Reading *reading, uint64_t offset)
{
    while (reading->offset < offset) {
        uint64_t left = offset - reading->offset;
        if (reading->go_on && !reading->go_on(reading->userdata))
            return SPOOL_E_STOPPED;
        ssize_t got = pread(reading->fd, reading->buffer, left < READ_SIZE ? (size_t)left : READ_SIZE,
                            (off_t)reading->offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ENODATA;
        int r = digest_update(reading->digest, reading->buffer, (size_t)got);
        if (r < 0)
            return r;
        reading->offset += (uint64_t)got;
    }
    return 0;
}

/* 0 if the digest of all that was read is that of the mark, -ENODATA if it is not. */
static int check_mark(const Reading *reading, const Mark *mark)
{
    uint8_t sha256[SHA256_SIZE];
    Digest *copy = NULL;
    int r = digest_copy(reading->digest, &copy);

    if (r == 0)
        r = digest_final(copy, sha256);
    (void)digest_free(copy);
    return r == 0 && memcmp(sha256, mark->sha256, SHA256_SIZE) != 0 ? -ENODATA : r;
}

/* The last mark that is right, with the digest up to it. 0, SPOOL_E_STOPPED or a negative errno. */
static int find_last_mark(Reading *reading, const Mark *marks, size_t count, Mark *ret_last,
                          Digest **ret_digest)
{
    Digest *good = NULL;
    Mark last = {0};
    int r = digest_copy(reading->digest, &good);

    for (size_t i = 0; r == 0 && i < count; i++) {
        Digest *next = NULL;
        r = read_to(reading, marks[i].offset);
        if (r == 0)
            r = check_mark(reading, &marks[i]);
        if (r == 0)
            r = digest_copy(reading->digest, &next);
        if (r != 0)
            break;
        (void)digest_free(good);
        good = next;
        last = marks[i];
    }
    if (r != 0 && r != -ENODATA) {
        (void)digest_free(good);
        return r;
    }
    *ret_last = last;
    *ret_digest = good;
    return 0;
}

static int read_marks(const Part *part, Mark **ret_marks, size_t *ret_count)
{
    PartRecord *record CLEANUP(free_ptr) = malloc(sizeof(*record)); /* known already */
    char *journal CLEANUP(free_ptr) = NULL;
    char name[PART_NAME_SIZE];
    size_t size = 0;

    file_name(part, FILE_JOURNAL, name);
    int r = file_read_at(part->spool->fd, name, JOURNAL_MAX, &journal, &size);
    if (r == 0)
        r = record ? journal_parse(journal, size, record, ret_marks, ret_count) : -ENOMEM;
    return r == -ENOENT || r == -EBADMSG ? 0 : r; /* no marks: nothing of the bytes is known */
}

/* A new journal in the place of the old one, durable, with nothing but what counts. On failure the old one
 * stays, and goes on; -EIO: which of the two it is is not known. */
static int rewrite_journal(Part *part, const Mark *mark)
{
    char *head CLEANUP(free_ptr) = journal_head_format(&part->record, mark->offset > 0 ? mark : NULL);
    char old_name[PART_NAME_SIZE], new_name[PART_NAME_SIZE];

    if (!head)
        return -ENOMEM;
    file_name(part, FILE_JOURNAL, old_name);
    file_name(part, FILE_NEW_JOURNAL, new_name);
    int fd CLEANUP(close_fd) = open_file(part, FILE_NEW_JOURNAL, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
    int r = fd < 0 ? fd : write_all(fd, head, strlen(head));
    if (r == 0 && (fsync(fd) < 0 || renameat(part->spool->fd, new_name, part->spool->fd, old_name) < 0))
        r = -errno;
    if (r < 0) {
        (void)unlinkat(part->spool->fd, new_name, 0); /* left over, the next start removes it */
        return r;
    }
    close_fd(&part->journal_fd);
    part->journal_fd = TAKE_FD(fd);
    part->journal_size = strlen(head);
    part->journal_dirty = false;
    if (folder_sync(part->spool->fd) < 0)
        return -EIO;
    part->folder_dirty = false;
    return 0;
}

/* fd and digest are there, and hold what mark says. */
static int settle_at(Part *part, const Mark *mark)
{
    part->offset = part->flushed = part->marked = part->synced = mark->offset;
    part->marked_ms = clock_monotonic_ms();
    if (ftruncate(part->fd, (off_t)mark->offset) < 0 || lseek(part->fd, (off_t)mark->offset, SEEK_SET) < 0 ||
        fsync(part->fd) < 0)
        return -EIO;
    return rewrite_journal(part, mark);
}

static int take_over(Part *part, int fd, bool (*go_on)(void *userdata), void *userdata)
{
    Reading reading CLEANUP(reading_deinit) = {
        .fd = fd, .buffer = malloc(READ_SIZE), .go_on = go_on, .userdata = userdata};
    Mark *marks CLEANUP(free_ptr) = NULL;
    Mark last = {0};
    size_t count = 0;

    if (!reading.buffer || digest_new(&reading.digest) < 0)
        return -ENOMEM;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint */
    int r = read_marks(part, &marks, &count);
    if (r == 0)
        r = find_last_mark(&reading, marks, count, &last, &part->digest);
    return r == 0 ? settle_at(part, &last) : r;
}

int part_open(Part *part, bool (*go_on)(void *userdata), void *userdata)
{
    if (part_is_open(part))
        return 0;
    int fd = open_file(part, FILE_PART, O_RDWR | O_CREAT);
    if (fd < 0)
        return sort_error(fd);
    part->failed = false;
    part->fd = fd;
    int r = take_over(part, fd, go_on, userdata);
    if (r != 0)
        part_shut(part);
    return sort_error(r);
}

/* Writing */

/* One or more lines at the journal's end, whole or not at all. */
static int append_journal(Part *part, const char *lines)
{
    if (!lines)
        return -ENOMEM;
    int r = write_all(part->journal_fd, lines, strlen(lines));
    if (r < 0) {
        if (ftruncate(part->journal_fd, (off_t)part->journal_size) < 0)
            part->failed = true; /* what follows would hang on a torn line and not count */
        return r;
    }
    part->journal_size += strlen(lines);
    part->journal_dirty = true;
    return 0;
}

static int add_mark(Part *part)
{
    Mark mark = {.offset = part->offset};
    int r = part_digest(part, mark.sha256);

    if (r == 0 && part->journal_size > REWRITE_ABOVE) {
        r = part_sync_data(part); /* the only mark left must be a durable one */
        if (r == 0)
            r = rewrite_journal(part, &mark);
    } else if (r == 0) {
        char *line CLEANUP(free_ptr) = journal_mark_format(&mark);
        r = append_journal(part, line);
    }
    if (r == 0)
        part->marked = part->offset;
    part->marked_ms = clock_monotonic_ms();
    return r;
}

/* Lets the disk begin while the upload goes on, so that the fsync at the end finds little to do and dirty
 * pages stay few. */
static void flush_early(Part *part)
{
    if (part->offset - part->flushed < FLUSH_EVERY)
        return;
    (void)sync_file_range(part->fd, (off_t)part->flushed, (off_t)(part->offset - part->flushed),
                          SYNC_FILE_RANGE_WRITE); /* a hint: errors are kept by the kernel for fsync() */
    part->flushed = part->offset;
}

static int write_bytes(Part *part, const char *at, size_t size)
{
    while (size > 0) {
        ssize_t written = write(part->fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        int r = digest_update(part->digest, at, (size_t)written);
        if (r < 0)
            return r;
        at += written;
        size -= (size_t)written;
        part->offset += (uint64_t)written;
    }
    return 0;
}

int part_append(Part *part, const void *data, size_t size)
{
    if (part->failed)
        return -EIO;
    int r = sort_error(write_bytes(part, data, size));
    if (r != 0)
        return r;
    flush_early(part);
    if (part->offset - part->marked < MARK_EVERY && clock_monotonic_ms() - part->marked_ms < MARK_EVERY_MS)
        return 0;
    r = sort_error(add_mark(part));
    if (r == SPOOL_E_SCARCE)
        r = 0; /* the next one will do */
    return r == 0 && !spool_has_room(part->spool, 0) ? SPOOL_E_FULL : r;
}

uint64_t part_offset(const Part *part)
{
    return part->offset;
}

const PartRecord *part_record(const Part *part)
{
    return &part->record;
}

int part_note(Part *part, uint64_t attempt, bool has_length, uint64_t length)
{
    PartRecord *record = &part->record;
    uint64_t old_attempt = record->attempt;
    bool new_length = has_length && !record->has_length;

    if (attempt <= old_attempt && !new_length)
        return 0;
    if (attempt > old_attempt)
        record->attempt = attempt;
    if (new_length) {
        record->has_length = true;
        record->length = length;
    }
    char *line CLEANUP(free_ptr) = journal_change_format(record);
    int r = append_journal(part, line);
    if (r < 0) {
        record->attempt = old_attempt;
        record->has_length &= !new_length;
    }
    return sort_error(r);
}

int part_sync_data(Part *part)
{
    if (part->failed)
        return -EIO; /* asking again would be told that all is well */
    if (fsync(part->fd) == 0)
        return 0;
    part->failed = true;
    return -EIO; /* whatever the reason: which bytes were lost is not known */
}

static int sync_journal(Part *part)
{
    if (part->marked != part->offset) {
        int r = add_mark(part);
        if (r < 0)
            return r;
    }
    if (part->journal_dirty && fsync(part->journal_fd) < 0)
        return -EIO;
    part->journal_dirty = false;
    if (part->folder_dirty && folder_sync(part->spool->fd) < 0)
        return -EIO;
    part->folder_dirty = false;
    return 0;
}

int part_sync(Part *part)
{
    if (part->failed)
        return -EIO;
    int r = part->synced == part->offset && !part->folder_dirty ? 0 : part_sync_data(part);
    if (r == 0)
        r = sort_error(sync_journal(part));
    part->failed |= r < 0;
    if (r == 0)
        part->synced = part->offset;
    return r;
}

int part_digest(const Part *part, uint8_t out[static SHA256_SIZE])
{
    Digest *copy = NULL;
    int r = digest_copy(part->digest, &copy);

    if (r == 0)
        r = digest_final(copy, out);
    (void)digest_free(copy);
    return r;
}

/* Moving, and ends */

int part_move(Part *part, int to_dir, const char *name)
{
    char from[PART_NAME_SIZE];

    file_name(part, FILE_PART, from);
    return file_rename_new(part->spool->fd, from, to_dir, name);
}

static int move_aside(const Part *part, int from_dir, const char *from)
{
    char aside[PART_NAME_SIZE];

    file_name(part, FILE_ASIDE, aside);
    if (renameat(from_dir, from, part->spool->fd, aside) < 0)
        return -errno;
    spool_bound_asides(part->spool, part->record.client);
    return 0;
}

int part_take_back(Part *part, int from_dir, const char *name)
{
    return move_aside(part, from_dir, name);
}

void part_set_aside(Part *part)
{
    char name[PART_NAME_SIZE];
    char old_journal[PART_NAME_SIZE];

    file_name(part, FILE_PART, name);
    file_name(part, FILE_JOURNAL, old_journal);
    part_shut(part);
    if (move_aside(part, part->spool->fd, name) < 0)
        (void)unlinkat(part->spool->fd, name, 0); /* without its journal the next start removes it */
    part->number = atomic_fetch_add(&part->spool->next_number, 1);
    part->offset = part->synced = 0;
    if (create_files(part) < 0)
        log_at(LOG_LEVEL_WARN, part->record.client, part->record.id,
               "the upload can't be begun anew in .incoming");
    part_shut(part);
    (void)unlinkat(part->spool->fd, old_journal, 0); /* left over, the higher number counts */
}

void part_bury(Part *part, uint64_t attempt)
{
    part_shut(part);
    part->record.deleted = true;
    if (attempt > part->record.attempt)
        part->record.attempt = attempt;
    int r = rewrite_journal(part, &(Mark){0});
    if (r < 0)
        log_at(LOG_LEVEL_WARN, part->record.client, part->record.id,
               "the deletion will be forgotten at a restart: %s", strerror(-r));
    part_shut(part);
    remove_file(part, FILE_PART);
    part->offset = part->synced = 0;
}

Part *part_free(Part *part)
{
    if (part)
        part_shut(part);
    free(part);
    return NULL;
}

Part *part_remove(Part *part)
{
    if (!part)
        return NULL;
    remove_file(part, FILE_PART);
    remove_file(part, FILE_JOURNAL);
    return part_free(part);
}

#include "receiver/spool.h"

#include "common/files.h"
#include "common/log.h"
#include "protocol/ident.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define PART_NAME_SIZE (CLIENT_ID_SIZE + UPLOAD_ID_SIZE + 32)
#define FLUSH_EVERY ((uint64_t)8 * 1024 * 1024) /* bytes between two hints to start writing to the disk */

struct Spool {
    int fd;
    atomic_uint_fast64_t next_number;
};

struct Part {
    const Spool *spool;
    char client[CLIENT_ID_SIZE];
    char id[UPLOAD_ID_SIZE];
    uint64_t number;
    int fd;
    Digest *digest;
    uint64_t offset;
    uint64_t flushed; /* up to here the kernel was asked to write */
    bool sync_failed;
};

static void part_name(const Part *part, const char *kind, char out[static PART_NAME_SIZE])
{
    (void)snprintf(out, PART_NAME_SIZE, "%s.%s.%" PRIu64 ".%s", part->client, part->id, part->number, kind);
}

/* Whether name ends in kind, and if so where the client's part of it ends. */
static bool name_is(const char *name, const char *kind, size_t *ret_client_length)
{
    const char *last = strrchr(name, '.');

    if (!last || strcmp(last + 1, kind) != 0)
        return false;
    const char *number = memrchr(name, '.', (size_t)(last - name));
    const char *id = number ? memrchr(name, '.', (size_t)(number - name)) : NULL;
    if (!id)
        return false;
    *ret_client_length = (size_t)(id - name);
    return true;
}

/* Calls visit for each file of the kind; stops when it returns false. */
static void each_file(const Spool *spool, const char *kind,
                      bool (*visit)(const Spool *spool, const char *name, size_t client_length,
                                    void *userdata),
                      void *userdata)
{
    int fd =
        openat(spool->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a place of its own in the listing */
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    size_t client_length = 0;
    bool more = true;

    if (!folder) {
        close_fd(&fd);
        return;
    }
    while (more && (entry = readdir(folder)) != NULL)
        if (name_is(entry->d_name, kind, &client_length))
            more = visit(spool, entry->d_name, client_length, userdata);
    (void)closedir(folder);
}

static bool remove_file(const Spool *spool, const char *name, size_t client_length, void *userdata)
{
    (void)client_length;
    (void)userdata;
    if (unlinkat(spool->fd, name, 0) < 0)
        log_warn(".incoming/%s: can't be removed: %s", name, strerror(errno));
    return true;
}

int spool_new(int root_fd, Spool **ret_spool)
{
    Spool *spool CLEANUP(free_ptr) = calloc(1, sizeof(*spool));

    if (!spool)
        return -ENOMEM;
    int r = folder_open_at(root_fd, ".incoming", 0700, &spool->fd);
    if (r < 0)
        return r;
    each_file(spool, "part", remove_file, NULL);
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

static bool remove_if_old(const Spool *spool, const char *name, size_t client_length, void *userdata)
{
    const int64_t *before_ms = userdata;
    struct stat info;

    (void)client_length;
    if (fstatat(spool->fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        (int64_t)info.st_mtim.tv_sec * 1000 < *before_ms)
        (void)unlinkat(spool->fd, name, 0); /* tried again at the next sweep */
    return true;
}

void spool_sweep_asides(Spool *spool, int64_t before_unix_ms)
{
    each_file(spool, "aside", remove_if_old, &before_unix_ms);
}

static bool fits(const Spool *spool, uint64_t size)
{
    struct statvfs info;

    return fstatvfs(spool->fd, &info) < 0 || size <= (uint64_t)info.f_bavail * info.f_frsize;
}

int spool_create(Spool *spool, const char *client, const char *id, uint64_t expected_size, Part **ret_part)
{
    char name[PART_NAME_SIZE];

    if (!fits(spool, expected_size))
        return SPOOL_E_FULL;
    Part *part = calloc(1, sizeof(*part));
    if (!part)
        return -ENOMEM;
    part->fd = -1;
    part->spool = spool;
    (void)snprintf(part->client, sizeof(part->client), "%s", client);
    (void)snprintf(part->id, sizeof(part->id), "%s", id);
    part->number = atomic_fetch_add(&spool->next_number, 1);
    part_name(part, "part", name);
    int r = digest_new(&part->digest);
    if (r == 0) {
        part->fd = openat(spool->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
        r = part->fd < 0 ? -errno : 0;
    }
    if (r != 0) {
        (void)part_close(part);
        return r == -ENOSPC || r == -EDQUOT ? SPOOL_E_FULL : r;
    }
    *ret_part = part;
    return 0;
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

int part_append(Part *part, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        ssize_t written = write(part->fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? SPOOL_E_FULL : -errno;
        int r = digest_update(part->digest, at, (size_t)written);
        if (r < 0)
            return r;
        at += written;
        size -= (size_t)written;
        part->offset += (uint64_t)written;
    }
    flush_early(part);
    return 0;
}

uint64_t part_offset(const Part *part)
{
    return part->offset;
}

int part_sync(Part *part)
{
    if (part->sync_failed)
        return -EIO; /* asking again would be told that all is well */
    if (fsync(part->fd) == 0)
        return 0;
    part->sync_failed = true;
    return -errno;
}

int part_digest(Part *part, uint8_t out[static SHA256_SIZE])
{
    return digest_final(part->digest, out);
}

int part_move(Part *part, int to_dir, const char *name)
{
    char from[PART_NAME_SIZE];

    part_name(part, "part", from);
    return file_rename_new(part->spool->fd, from, to_dir, name);
}

typedef struct ClientAsides {
    const char *client;
    size_t count;
    char oldest[PART_NAME_SIZE];
    struct timespec oldest_time;
} ClientAsides;

static bool count_aside(const Spool *spool, const char *name, size_t client_length, void *userdata)
{
    ClientAsides *asides = userdata;
    struct stat info;

    if (client_length != strlen(asides->client) || strncmp(name, asides->client, client_length) != 0 ||
        strlen(name) >= PART_NAME_SIZE || fstatat(spool->fd, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        return true;
    asides->count++;
    if (!*asides->oldest || info.st_mtim.tv_sec < asides->oldest_time.tv_sec ||
        (info.st_mtim.tv_sec == asides->oldest_time.tv_sec &&
         info.st_mtim.tv_nsec < asides->oldest_time.tv_nsec)) {
        memcpy(asides->oldest, name, strlen(name) + 1);
        asides->oldest_time = info.st_mtim;
    }
    return true;
}

/* A client that sends nothing but wrong digests must not fill the disk with them. */
static void bound_asides(const Spool *spool, const char *client)
{
    ClientAsides asides = {.client = client};

    each_file(spool, "aside", count_aside, &asides);
    if (asides.count > SPOOL_ASIDES_MAX)
        (void)unlinkat(spool->fd, asides.oldest, 0); /* the next one tries again */
}

static int move_aside(const Part *part, int from_dir, const char *from)
{
    char aside[PART_NAME_SIZE];

    part_name(part, "aside", aside);
    if (renameat(from_dir, from, part->spool->fd, aside) < 0)
        return -errno;
    bound_asides(part->spool, part->client);
    return 0;
}

int part_take_back(Part *part, int from_dir, const char *name)
{
    return move_aside(part, from_dir, name);
}

Part *part_close(Part *part)
{
    if (!part)
        return NULL;
    close_fd(&part->fd);
    (void)digest_free(part->digest);
    free(part);
    return NULL;
}

Part *part_remove(Part *part)
{
    char name[PART_NAME_SIZE];

    if (!part)
        return NULL;
    part_name(part, "part", name);
    if (unlinkat(part->spool->fd, name, 0) < 0 && errno != ENOENT)
        log_at(LOG_LEVEL_WARN, part->client, part->id, "the part can't be removed: %s", strerror(errno));
    return part_close(part);
}

Part *part_set_aside(Part *part)
{
    char name[PART_NAME_SIZE];

    if (!part)
        return NULL;
    part_name(part, "part", name);
    if (move_aside(part, part->spool->fd, name) < 0)
        (void)unlinkat(part->spool->fd, name,
                       0); /* if even that fails it stays a .part: the next start removes it */
    return part_close(part);
}

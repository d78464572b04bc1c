#include "common/files.h"

#include "common/planted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

int write_all(int fd, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        ssize_t written = write(fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        at += written;
        size -= (size_t)written;
    }
    return 0;
}

int file_read_at(int dir_fd, const char *name, size_t max, char **ret_data, size_t *ret_size)
{
    int fd CLEANUP(close_fd) = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    size_t size = 0;

    if (fd < 0 || fstat(fd, &info) < 0)
        return -errno;
    if (!S_ISREG(info.st_mode))
        return S_ISDIR(info.st_mode) ? -EISDIR : -EINVAL;
    if ((uint64_t)info.st_size > max)
        return -EFBIG;
    size_t capacity = (size_t)info.st_size + 1; /* one more than expected shows a file that grew */
    char *data CLEANUP(free_ptr) = malloc(capacity + 1);
    if (!data)
        return -ENOMEM;
    while (size < capacity) {
        ssize_t got = read(fd, data + size, capacity - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        size += (size_t)got;
    }
    if (size > (size_t)info.st_size)
        return -EAGAIN; /* it changes under our eyes */
    data[size] = '\0';
    *ret_data = TAKE_PTR(data);
    *ret_size = size;
    return 0;
}

int file_read(const char *path, size_t max, char **ret_data, size_t *ret_size)
{
    return file_read_at(AT_FDCWD, path, max, ret_data, ret_size);
}

static int write_and_sync(int fd, const void *data, size_t size)
{
    int r = write_all(fd, data, size);

    if (r == 0 && !PLANTED("accepted-before-sync") && fsync(fd) < 0)
        r = -errno;
    return r;
}

int file_replace_at(int dir_fd, const char *name, const void *data, size_t size, mode_t mode)
{
    char temporary[300];

    if (snprintf(temporary, sizeof(temporary), "%s.tmp", name) >= (int)sizeof(temporary))
        return -ENAMETOOLONG;
    int fd CLEANUP(close_fd) =
        openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -errno;
    int r = write_and_sync(fd, data, size);
    if (r == 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlinkat(dir_fd, temporary, 0); /* the first failure is the one to report */
        return r;
    }
    return folder_sync(dir_fd);
}

int file_rename_new(int from_dir, const char *from, int to_dir, const char *to)
{
    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (linkat(from_dir, from, to_dir, to, 0) < 0)
        return -errno;
    if (unlinkat(from_dir, from, 0) == 0)
        return 0;
    int r = -errno;
    (void)unlinkat(to_dir, to, 0); /* nothing has happened, or both names are there */
    return r;
}

bool has_free_inode(const struct statvfs *info, size_t freed)
{
    return info->f_files == 0 || info->f_favail > 0 || freed > 0;
}

int folder_sync(int dir_fd)
{
    if (PLANTED("no-folder-fsync") || PLANTED("accepted-before-sync"))
        return 0;
    return fsync(dir_fd) < 0 ? -errno : 0;
}

static int open_folder(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int folder_open_at(int dir_fd, const char *name, mode_t mode, int *ret_fd)
{
    int fd CLEANUP(close_fd) = open_folder(dir_fd, name);

    if (fd == -ENOENT) {
        if (mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
            return -errno;
        fd = open_folder(dir_fd, name);
        int parent CLEANUP(close_fd) = fd < 0 ? -1 : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && (parent < 0 || fsync(parent) < 0))
            return -errno;
    }
    if (fd < 0)
        return fd;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int folder_open(const char *path, mode_t mode, int *ret_fd)
{
    int at CLEANUP(close_fd) = -1;
    char *copy CLEANUP(free_ptr) = strdup(path);

    if (!copy)
        return -ENOMEM;
    at = open_folder(AT_FDCWD, *path == '/' ? "/" : ".");
    if (at < 0)
        return at;
    char *rest = NULL;
    for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
        int next = -1;
        int r = folder_open_at(at, name, mode, &next);
        if (r < 0)
            return r;
        close_fd(&at);
        at = next;
    }
    *ret_fd = TAKE_FD(at);
    return 0;
}

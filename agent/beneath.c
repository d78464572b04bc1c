#include "agent/beneath.h"

#include "protocol/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TRIES_MAX 100 /* openat2(2): a rename anywhere may end a lookup with ".." in a link in EAGAIN */
#define SELF_LINK_SIZE 32

static int find_at_once(int folder_fd, const char *path, unsigned flags, int *ret_fd)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = -1;

    if (!(flags & BENEATH_LINKS))
        how.resolve |= RESOLVE_NO_SYMLINKS;
    if (flags & BENEATH_ONE_MOUNT)
        how.resolve |= RESOLVE_NO_XDEV;
    for (int i = 0; i < TRIES_MAX; i++) {
        fd = syscall(SYS_openat2, folder_fd, *path ? path : ".", &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    if (fd < 0)
        return -errno;
    *ret_fd = (int)fd;
    return 0;
}

static int step(int at_fd, const char *name, int *ret_fd)
{
    struct stat info;
    int fd CLEANUP(close_fd) = -1;

    if (strcmp(name, "..") == 0)
        return -EXDEV;
    fd = openat(at_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0)
        return -errno;
    if (S_ISLNK(info.st_mode))
        return -ELOOP;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int walk(int folder_fd, const char *path, int *ret_fd)
{
    char names[FILE_PATH_MAX + 1], *rest = NULL;
    int at CLEANUP(close_fd) = -1;

    if (strlen(path) >= sizeof(names))
        return -ENAMETOOLONG;
    memcpy(names, path, strlen(path) + 1);
    int r = step(folder_fd, ".", &at);
    for (char *name = strtok_r(names, "/", &rest); r == 0 && name; name = strtok_r(NULL, "/", &rest)) {
        int next = -1;
        r = step(at, name, &next);
        if (r == 0) {
            close_fd(&at);
            at = next;
        }
    }
    if (r == 0)
        *ret_fd = TAKE_FD(at);
    return r;
}

int beneath_find(int folder_fd, const char *path, unsigned flags, int *ret_fd)
{
    int r = find_at_once(folder_fd, path, flags, ret_fd);

    if (r != -ENOSYS && r != -EPERM) /* EPERM: an older container's answer to system calls it does not know */
        return r;
    return flags & BENEATH_ONE_MOUNT ? -ENOSYS : walk(folder_fd, path, ret_fd);
}

static bool is_same_file(int a_fd, int b_fd)
{
    struct stat a, b;

    return fstat(a_fd, &a) == 0 && fstat(b_fd, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino &&
           S_ISREG(a.st_mode) && S_ISREG(b.st_mode);
}

static void self_link(int fd, char out[static SELF_LINK_SIZE])
{
    (void)snprintf(out, SELF_LINK_SIZE, "/proc/self/fd/%d", fd);
}

/* By the descriptor's own link, and not by the path once more: that could be a device by now, which must not
 * even be opened. */
int beneath_open(int path_fd, int *ret_fd)
{
    char self[SELF_LINK_SIZE];

    self_link(path_fd, self);
    int fd CLEANUP(close_fd) = open(self, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? -ENOTCONN : -errno;
    if (!is_same_file(path_fd, fd))
        return -ESTALE;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int beneath_where(int path_fd, char ret_path[static FILE_PATH_MAX + 1])
{
    static const char deleted[] = " (deleted)";
    char self[SELF_LINK_SIZE];

    self_link(path_fd, self);
    ssize_t length = readlink(self, ret_path, FILE_PATH_MAX + 1);
    if (length < 0)
        return errno == ENOENT || errno == ENOTDIR ? -ENOTCONN : -errno;
    if (length > FILE_PATH_MAX)
        return -ENAMETOOLONG;
    ret_path[length] = '\0';
    bool is_gone =
        (size_t)length >= strlen(deleted) && strcmp(ret_path + length - strlen(deleted), deleted) == 0;
    return is_gone ? -ENOENT : 0;
}

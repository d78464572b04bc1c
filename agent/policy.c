#include "agent/policy.h"

#include "common/text.h"
#include "protocol/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

static int refuse_path(Problem *problem)
{
    return problem_set(problem, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED",
                       "The device's owner does not allow this path; [files] allow in agent.conf lists what "
                       "may be asked for.");
}

/* Removes empty and "." components of an absolute path, in place: what is written never overtakes what is
 * read, because each component has a '/' before it. false if there is a "..". */
static bool normalize(char *path)
{
    char *end = path, *rest = NULL;

    for (char *name = strtok_r(path, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
        size_t length = strlen(name);
        if (strcmp(name, "..") == 0)
            return false;
        if (strcmp(name, ".") == 0)
            continue;
        *end++ = '/';
        memmove(end, name, length);
        end += length;
    }
    if (end == path)
        *end++ = '/';
    *end = '\0';
    return true;
}

static char *absolute_path(const Policy *policy, const char *path)
{
    if (path[0] == '/')
        return text_format("%s", path);
    return policy->base ? text_format("/%s/%s", policy->base, path) : NULL;
}

/* What follows folder in path, without a leading '/' ("" for the folder itself); NULL if path is not below
 * it. */
static const char *below(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    while (length > 0 && folder[length - 1] == '/')
        length--;
    if (strncmp(path, folder, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return path + length;
    return path[length] == '/' ? path + length + 1 : NULL;
}

static bool is_kernel_path(const char *path)
{
    static const char *const folders[] = {"/proc", "/sys", "/dev"};

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (below(path, folders[i]))
            return true;
    return false;
}

/* The same by what is mounted there, wherever that is. */
static bool is_kernel_file_system(int fd)
{
    struct statfs info;

    return fstatfs(fd, &info) < 0 || info.f_type == PROC_SUPER_MAGIC || info.f_type == SYSFS_MAGIC;
}

static int open_beneath(const char *folder, const char *rest)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
    int folder_fd CLEANUP(close_fd) = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    long fd = 0;

    if (folder_fd < 0)
        return -errno;
    fd = syscall(SYS_openat2, folder_fd, *rest ? rest : ".", &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

static int explain_open(int error, Problem *problem)
{
    switch (error) {
    case -ENOENT:
    case -ENOTDIR:
        return problem_set(problem, ERROR_NOT_FOUND, "FILE_NOT_FOUND",
                           "There is no such file on the device; check the path.");
    case -ELOOP:
    case -EXDEV:
        return problem_set(problem, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED",
                           "The path goes through a symbolic link; ask for the file by its real path.");
    case -EACCES:
    case -EPERM:
        return problem_set(problem, ERROR_PERMISSION_DENIED, "FILE_NOT_READABLE",
                           "The agent's user may not read this file; give it the right on the device.");
    case -ENAMETOOLONG:
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "PATH_TOO_LONG",
                           "The path is too long for the device.");
    case -ENOSYS:
        return problem_set(problem, ERROR_FAILED_PRECONDITION, "KERNEL_TOO_OLD",
                           "The device's kernel has no openat2 (Linux 5.6); paths can't be checked safely, "
                           "so nothing is sent.");
    default:
        return problem_set(problem, ERROR_INTERNAL, "OPEN_FAILED", "The file can't be opened: %s.",
                           strerror(-error));
    }
}

/* Opens the very file behind path_fd, whatever its path names by now. */
static int reopen(int path_fd)
{
    char self[40];

    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", path_fd);
    int fd = open(self, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static uint64_t smaller_limit(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

int policy_check_size(const Policy *policy, uint64_t size_bytes, uint64_t max_size_bytes, Problem *problem)
{
    uint64_t limit = smaller_limit(policy->max_size_bytes, max_size_bytes);

    if (limit == 0 || size_bytes <= limit)
        return 0;
    return problem_set(problem, ERROR_FAILED_PRECONDITION, "FILE_TOO_LARGE",
                       "The file has %llu bytes, the limit is %llu; raise max_size if it is really wanted.",
                       (unsigned long long)size_bytes, (unsigned long long)limit);
}

static int open_checked(const Policy *policy, int path_fd, uint64_t max_size_bytes, AllowedFile *ret_file,
                        Problem *problem)
{
    struct stat info;
    AllowedFile file;

    if (fstat(path_fd, &info) < 0)
        return explain_open(-errno, problem);
    if (is_kernel_file_system(path_fd))
        return refuse_path(problem);
    if (!S_ISREG(info.st_mode))
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE",
                           "This is not a regular file; folders, devices and pipes can't be asked for.");
    if (policy_check_size(policy, (uint64_t)info.st_size, max_size_bytes, problem) < 0)
        return -1;
    file.fd = reopen(path_fd);
    int r = file.fd < 0 ? file.fd : snapshot_take(file.fd, &file.snapshot);
    if (r < 0) {
        close_fd(&file.fd);
        return explain_open(r, problem);
    }
    *ret_file = file;
    return 0;
}

int policy_open(const Policy *policy, const char *path, uint64_t max_size_bytes, AllowedFile *ret_file,
                Problem *problem)
{
    char *absolute CLEANUP(free_ptr) = absolute_path(policy, path);
    int path_fd CLEANUP(close_fd) = -ENOENT;

    if (!absolute || !normalize(absolute) || is_kernel_path(absolute))
        return refuse_path(problem);
    if (strlen(absolute) > FILE_PATH_MAX)
        return explain_open(-ENAMETOOLONG, problem);
    bool listed = false;
    for (size_t i = 0; i < policy->allow->count && path_fd < 0; i++) {
        const char *rest = below(absolute, policy->allow->items[i]);
        if (!rest)
            continue;
        listed = true;
        path_fd = open_beneath(policy->allow->items[i], rest);
    }
    if (!listed)
        return refuse_path(problem);
    if (path_fd < 0)
        return explain_open(path_fd, problem);
    return open_checked(policy, path_fd, max_size_bytes, ret_file, problem);
}

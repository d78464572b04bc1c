#include "agent/policy.h"

#include "agent/beneath.h"
#include "agent/path.h"
#include "common/text.h"
#include "protocol/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static int refuse(Problem *problem, const char *why)
{
    return problem_set(problem, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED", "%s", why);
}

static int refuse_unlisted(const Policy *policy, Problem *problem)
{
    return refuse(problem,
                  policy->allow.count == 0
                      ? "Nothing may leave this device: [files] allow in its agent.conf lists no folder."
                      : "The path is below no folder of [files] allow in the device's agent.conf; its "
                        "owner decides what is added there.");
}

static int refuse_denied(Problem *problem)
{
    return refuse(problem, "A pattern of [files] deny in the device's agent.conf matches this path.");
}

static int refuse_kernel(Problem *problem)
{
    return refuse(problem,
                  "What the kernel shows as files (/proc, /sys, /dev) is never sent, whatever [files] "
                  "allow lists.");
}

static int refuse_link(const Policy *policy, Problem *problem)
{
    return refuse(problem, policy->follow_symlinks
                               ? "A symbolic link on the way leads round in a circle, or into /proc."
                               : "A symbolic link is on the way: ask for the file by its real path, or the "
                                 "device's owner sets [files] follow_symlinks in agent.conf.");
}

static int refuse_leaving(const Policy *policy, Problem *problem)
{
    return refuse(problem,
                  policy->one_file_system
                      ? "On the way is another file system ([files] one_file_system in agent.conf "
                        "forbids it), or a symbolic link that leaves the allowed folder."
                      : "A symbolic link on the way leaves the allowed folder; only relative ones that "
                        "stay below it are followed.");
}

static int refuse_error(const Policy *policy, int error, Problem *problem)
{
    switch (error) {
    case -ENOENT:
    case -ENOTDIR:
        return problem_set(problem, ERROR_NOT_FOUND, "FILE_NOT_FOUND",
                           "There is no such file on the device; check the path.");
    case -ELOOP:
        return refuse_link(policy, problem);
    case -EXDEV:
        return refuse_leaving(policy, problem);
    case -EACCES:
    case -EPERM:
        return problem_set(problem, ERROR_PERMISSION_DENIED, "FILE_NOT_READABLE",
                           "The agent's user may not read this file; give it the right on the device.");
    case -ENAMETOOLONG:
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "PATH_TOO_LONG",
                           "The path is too long for the device.");
    case -EAGAIN:
    case -ESTALE:
        return problem_set(problem, ERROR_UNAVAILABLE, "FILE_MOVING",
                           "Folders on the way to the file are renamed all the time just now.");
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
        return problem_set(problem, ERROR_UNAVAILABLE, "OUT_OF_MEMORY",
                           "The device is short of memory or of open files just now: %s.", strerror(-error));
    case -ENOSYS:
        return problem_set(
            problem, ERROR_FAILED_PRECONDITION, "KERNEL_TOO_OLD",
            "[files] one_file_system takes a kernel with openat2 (Linux 5.6), which this device "
            "lacks; so nothing is sent.");
    case -ENOTCONN:
        return problem_set(
            problem, ERROR_FAILED_PRECONDITION, "NO_PROC",
            "/proc is not mounted on the device, and without it no file can be opened safely.");
    default:
        return problem_set(problem, ERROR_INTERNAL, "OPEN_FAILED", "The file can't be opened: %s.",
                           strerror(-error));
    }
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

/* deny goes before allow: below whichever folder the name is seen. */
static bool is_denied(const Policy *policy, const char *path)
{
    for (size_t i = 0; i < policy->allow.count; i++) {
        const char *below = path_below(path, policy->allow.items[i]);
        for (size_t k = 0; below && k < policy->deny.count; k++)
            if (path_matches(path, below, policy->deny.items[k]))
                return true;
    }
    return false;
}

static bool is_listed(const Policy *policy, const char *path)
{
    for (size_t i = 0; i < policy->allow.count; i++)
        if (path_below(path, policy->allow.items[i]))
            return true;
    return false;
}

/* What the text of a normalized path tells. */
static int judge_path(const Policy *policy, const char *path, Problem *problem)
{
    if (path_is_kernels(path))
        return refuse_kernel(problem);
    if (!is_listed(policy, path))
        return refuse_unlisted(policy, problem);
    return is_denied(policy, path) ? refuse_denied(problem) : 0;
}

/* The allowed folder itself is reached without any link: who may put one in its place would else choose what
 * is allowed. */
static int find_below(const Policy *policy, const char *folder, const char *rest, int *ret_fd)
{
    unsigned flags =
        (policy->follow_symlinks ? BENEATH_LINKS : 0) | (policy->one_file_system ? BENEATH_ONE_MOUNT : 0);
    int folder_fd CLEANUP(close_fd) = -1;
    int root_fd CLEANUP(close_fd) = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (root_fd < 0)
        return -errno;
    int r = beneath_find(root_fd, folder + 1, 0, &folder_fd);
    return r < 0 ? r : beneath_find(folder_fd, rest, flags, ret_fd);
}

/* One allowed folder may be below another, and the file reachable from one of them only. */
static int find(const Policy *policy, const char *path, int *ret_fd)
{
    int r = -ENOENT;

    for (size_t i = 0; r < 0 && i < policy->allow.count; i++) {
        const char *rest = path_below(path, policy->allow.items[i]);
        if (rest)
            r = find_below(policy, policy->allow.items[i], rest, ret_fd);
    }
    return r;
}

/* Where links have led is judged like what was asked for. */
static int judge_target(const Policy *policy, int path_fd, Problem *problem)
{
    char path[FILE_PATH_MAX + 1];

    if (!policy->follow_symlinks)
        return 0;
    int r = beneath_where(path_fd, path);
    return r < 0 ? refuse_error(policy, r, problem) : judge_path(policy, path, problem);
}

/* File systems that show the kernel's state, wherever they are mounted. */
static bool is_kernel_file_system(int fd)
{
    static const unsigned kinds[] = {PROC_SUPER_MAGIC,   SYSFS_MAGIC,         DEBUGFS_MAGIC,
                                     TRACEFS_MAGIC,      SECURITYFS_MAGIC,    SELINUX_MAGIC,
                                     CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC,
                                     PSTOREFS_MAGIC,     EFIVARFS_MAGIC,      BPF_FS_MAGIC};
    struct statfs info;

    if (fstatfs(fd, &info) < 0)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if ((unsigned)info.f_type == kinds[i])
            return true;
    return false;
}

static bool is_owner(const Policy *policy, uid_t user)
{
    for (size_t i = 0; i < policy->owner.count; i++)
        if (policy->owner_ids[i] == user)
            return true;
    return policy->owner.count == 0;
}

/* Who allows /etc/beckon does not mean to give this device's identity away. */
static bool is_own_key(const Policy *policy, const struct stat *info)
{
    for (size_t i = 0; i < ARRAY_SIZE(policy->own_keys); i++) {
        struct stat key;
        if (policy->own_keys[i] && stat(policy->own_keys[i], &key) == 0 && key.st_dev == info->st_dev &&
            key.st_ino == info->st_ino)
            return true;
    }
    return false;
}

static int judge_file(const Policy *policy, int path_fd, Problem *problem)
{
    struct stat info;

    if (fstat(path_fd, &info) < 0)
        return refuse_error(policy, -errno, problem);
    if (is_kernel_file_system(path_fd))
        return refuse_kernel(problem);
    if (!S_ISREG(info.st_mode))
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE",
                           "This is not a regular file; folders, devices and pipes can't be asked for.");
    if (is_own_key(policy, &info))
        return refuse(problem, "This is the agent's own private key, which never leaves the device.");
    if (!is_owner(policy, info.st_uid))
        return problem_set(problem, ERROR_PERMISSION_DENIED, "OWNER_NOT_ALLOWED",
                           "The file belongs to user %u, whom [files] owner in agent.conf does not list.",
                           (unsigned)info.st_uid);
    if (policy->single_link && info.st_nlink > 1)
        return problem_set(
            problem, ERROR_PERMISSION_DENIED, "HARD_LINKED",
            "The file has %llu names (hard links), and [files] single_link in agent.conf allows "
            "one.",
            (unsigned long long)info.st_nlink);
    return 0;
}

static int open_judged(const Policy *policy, int path_fd, uint64_t max_size_bytes, AllowedFile *ret_file,
                       Problem *problem)
{
    AllowedFile file = {.fd = -1};
    int fd CLEANUP(close_fd) = -1;

    int r = beneath_open(path_fd, &fd);
    if (r == 0)
        r = snapshot_take(fd, &file.snapshot);
    if (r < 0)
        return refuse_error(policy, r, problem);
    if (policy_check_size(policy, file.snapshot.size_bytes, max_size_bytes, problem) < 0)
        return -1;
    file.fd = TAKE_FD(fd);
    *ret_file = file;
    return 0;
}

int policy_path(const Policy *policy, const char *path, char **ret_absolute, Problem *problem)
{
    bool is_absolute = path[0] == '/';

    if (!is_absolute && !policy->base)
        return refuse_unlisted(policy, problem);
    char *absolute CLEANUP(free_ptr) =
        is_absolute ? text_format("%s", path) : text_format("%s/%s", policy->base, path);
    if (!absolute)
        return refuse_error(policy, -ENOMEM, problem);
    if (!path_normalize(absolute))
        return refuse(problem, "The path has '..' in it; ask for the file by its plain path.");
    if (strlen(absolute) > FILE_PATH_MAX)
        return refuse_error(policy, -ENAMETOOLONG, problem);
    if (judge_path(policy, absolute, problem) < 0)
        return -1;
    *ret_absolute = TAKE_PTR(absolute);
    return 0;
}

int policy_open_path(const Policy *policy, const char *absolute, uint64_t max_size_bytes,
                     AllowedFile *ret_file, Problem *problem)
{
    int path_fd CLEANUP(close_fd) = -1;

    int r = find(policy, absolute, &path_fd);
    if (r < 0)
        return refuse_error(policy, r, problem);
    if (judge_target(policy, path_fd, problem) < 0 || judge_file(policy, path_fd, problem) < 0)
        return -1;
    return open_judged(policy, path_fd, max_size_bytes, ret_file, problem);
}

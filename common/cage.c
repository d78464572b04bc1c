#include "common/cage.h"

#include "common/landlock.h"
#include "common/log.h"
#include "common/syscall_filter.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define ABI_WITH_RENAMES 2 /* from folder to folder, which the receiver does to complete an upload */

/* /etc as a whole, because resolv.conf is replaced whenever a network changes. What in it only root may read
 * stays so: the daemons have users of their own. */
static const char *const readable[] = {
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/connman",
    "/dev/urandom",
    "/sys/devices/system/cpu",
};

/* What no daemon of ours ever needs, and who breaks into one wants first. */
static const char refused[] =
    "execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp "
    "unshare setns mount umount umount2 pivot_root chroot open_tree move_mount fsopen fsmount mount_setattr "
    "open_by_handle_at mknod mknodat bpf perf_event_open userfaultfd io_uring_setup io_uring_enter "
    "io_uring_register add_key request_key keyctl init_module finit_module delete_module kexec_load "
    "kexec_file_load reboot swapon swapoff syslog acct quotactl personality settimeofday clock_settime "
    "clock_settime64 clock_adjtime clock_adjtime64 adjtimex sethostname setdomainname iopl ioperm setuid "
    "setgid setreuid setregid setresuid setresgid setgroups setuid32 setgid32 setreuid32 setregid32 "
    "setresuid32 setresgid32 setgroups32 capset";
static const SyscallRule refused_if[] = {
    {"clone", SYSCALL_ARG_IS, 0, CLONE_THREAD, 0},
    {"socket", SYSCALL_ARG_IS, 0, SYSCALL_INT, AF_PACKET},
    {"socket", SYSCALL_ARG_IS, 0, SYSCALL_INT, AF_VSOCK},
    {"socket", SYSCALL_ARG_IS, 0, SYSCALL_INT, AF_ALG},
};

const char *cage_lack(void)
{
    if (!CAGE_IS_BUILT_IN)
        return "this build has sanitizers, which need what a sandbox forbids";
    if (landlock_abi() < ABI_WITH_RENAMES)
        return "the kernel has no Landlock (Linux 5.19 or later), or it is switched off here";
    return syscall_filter_check() < 0 ? "the kernel has no seccomp filters" : NULL;
}

int cage_check(const char *section, bool required)
{
    const char *lack = cage_lack();

    if (!lack)
        return 0;
    if (required) {
        config_mistake(
            section, "require_sandbox",
            "[%s] require_sandbox: there is no sandbox: %s; run it where there is one, or set it to false",
            section, lack);
        return 1;
    }
    log_warn("without a whole sandbox: %s", lack);
    return 0;
}

/* The folder that path is in; of one in the root, path itself. The caller frees. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash > path ? strndup(path, (size_t)(slash - path)) : strdup(slash ? path : ".");
}

/* The file may be replaced, and may be a symbolic link to elsewhere. */
static int allow_replaced_file(int ruleset, const char *path)
{
    char *folder CLEANUP(free_ptr) = folder_of(path);
    char *target CLEANUP(free_ptr) = realpath(path, NULL);
    char *target_folder CLEANUP(free_ptr) = target ? folder_of(target) : NULL;

    if (!folder)
        return -ENOMEM;
    int r = landlock_allow_reading(ruleset, folder);
    return r == 0 && target_folder ? landlock_allow_reading(ruleset, target_folder) : r;
}

static int allow_folder(int ruleset, const char *path)
{
    struct stat info;
    char *folder CLEANUP(free_ptr) =
        stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? strdup(path) : folder_of(path);

    return folder ? landlock_allow_all(ruleset, folder) : -ENOMEM;
}

static int allow_key(int ruleset, const ConfigKey *key, const void *config)
{
    const void *member = (const char *)config + key->offset;
    int r = 0;

    if (key->type == CONFIG_FILE && *(char *const *)member)
        r = allow_replaced_file(ruleset, *(char *const *)member);
    if (key->type == CONFIG_FOLDER && *(char *const *)member)
        r = allow_folder(ruleset, *(char *const *)member);
    if (key->type == CONFIG_FILES) {
        const ConfigList *files = member;
        for (size_t i = 0; r == 0 && i < files->count; i++)
            r = allow_replaced_file(ruleset, files->items[i]);
    }
    return r;
}

static int enter_landlock(const ConfigKey *keys, size_t key_count, const void *config)
{
    int ruleset CLEANUP(close_fd) = -1;
    int r = landlock_begin(LANDLOCK_FILES, &ruleset);

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(readable); i++)
        r = landlock_allow_reading(ruleset, readable[i]);
    for (size_t i = 0; r == 0 && i < key_count; i++)
        r = allow_key(ruleset, &keys[i], config);
    return r == 0 ? landlock_enter(ruleset) : r;
}

int cage_enter(const ConfigKey *keys, size_t key_count, const void *config)
{
    int r = 0;

    if (CAGE_IS_BUILT_IN && landlock_abi() >= ABI_WITH_RENAMES)
        r = enter_landlock(keys, key_count, config);
    if (r == 0 && CAGE_IS_BUILT_IN && syscall_filter_check() == 0)
        r = syscall_filter_refuse(refused, refused_if, ARRAY_SIZE(refused_if));
    if (r < 0)
        log_error("the sandbox can't be made: %s", strerror(-r));
    return r;
}

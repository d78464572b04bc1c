#include "common/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* What Debian 12's header does not know yet. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14) /* ABI 3 */
#endif
#define ACCESS_NET_BIND_TCP (1ULL << 0)        /* ABI 4 */
#define ACCESS_NET_CONNECT_TCP (1ULL << 1)     /* ABI 4 */
#define RULE_NET_PORT 2                        /* ABI 4 */
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0) /* ABI 6 */
#define SCOPE_SIGNAL (1ULL << 1)               /* ABI 6 */

/* The kernel's struct landlock_ruleset_attr as of ABI 6; an older kernel takes it as long as the members it
 * does not know are 0. */
typedef struct Ruleset {
    uint64_t access_fs, access_net, scoped;
} Ruleset;

typedef struct PortRule {
    uint64_t allowed, port;
} PortRule;

#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITING_ABI_1                                                                                        \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |        \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |              \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |           \
     LANDLOCK_ACCESS_FS_MAKE_SYM)
#define OF_A_FILE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return abi > 0 ? (int)abi : 0;
}

static uint64_t writing(void)
{
    int abi = landlock_abi();

    return WRITING_ABI_1 | (abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) |
           (abi >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
}

int landlock_begin(unsigned scope, int *ret_ruleset)
{
    int abi = landlock_abi();
    Ruleset ruleset = {.access_fs = LANDLOCK_ACCESS_FS_EXECUTE | READING | writing()};

    if (abi == 0)
        return -EOPNOTSUPP;
    if (abi >= 4 && (scope & LANDLOCK_PORTS))
        ruleset.access_net = ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP;
    if (abi >= 6 && (scope & LANDLOCK_OTHERS))
        ruleset.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0U); /* CLOEXEC by itself */
    if (fd < 0)
        return -errno;
    *ret_ruleset = fd;
    return 0;
}

static int allow(int ruleset, const char *path, uint64_t access)
{
    int fd CLEANUP(close_fd) = open(path, O_PATH | O_CLOEXEC);
    struct stat info;

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
    if (fstat(fd, &info) < 0)
        return -errno;
    struct landlock_path_beneath_attr rule = {
        .allowed_access = S_ISDIR(info.st_mode) ? access : access & OF_A_FILE, .parent_fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0U) < 0 ? -errno : 0;
}

int landlock_allow_reading(int ruleset, const char *path)
{
    return allow(ruleset, path, READING);
}

int landlock_allow_all(int ruleset, const char *folder)
{
    return allow(ruleset, folder, READING | writing());
}

int landlock_allow_port(int ruleset, uint16_t tcp_port)
{
    const PortRule rule = {.allowed = ACCESS_NET_CONNECT_TCP, .port = tcp_port};

    if (landlock_abi() < 4)
        return 0;
    return syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0U) < 0 ? -errno : 0;
}

int landlock_enter(int ruleset)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0U) < 0)
        return -errno;
    return 0;
}

#include "agent/upload_cage.h"

#include "agent/http_put.h"
#include "common/cage.h"
#include "common/landlock.h"
#include "common/syscall_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define DNS_PORT 53
#define NAMESPACES                                                                                           \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |            \
     CLONE_NEWNET)

/* Beside the credentials. The libraries are those that nsswitch.conf names. */
static const char *const readable[] = {
    "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",   "/etc/host.conf",   "/etc/gai.conf",
    "/etc/services",    "/lib",       "/etc/ssl/openssl.cnf", "/etc/ld.so.cache", "/lib64",
    "/usr/lib",         "/usr/lib64",
};

/* Of 64- and 32-bit machines, and with some margin for other C libraries. */
static const char allowed[] =
    "read readv write writev pread64 lseek _llseek close fstat fstat64 poll ppoll ppoll_time64 select "
    "_newselect pselect6 pselect6_time64 getsockopt setsockopt getsockname getpeername shutdown send recv "
    "recvfrom brk munmap mremap mmap mmap2 mprotect madvise futex futex_time64 set_robust_list rseq "
    "membarrier getrandom sched_yield sched_getaffinity clock_gettime clock_gettime64 clock_getres "
    "clock_getres_time64 clock_nanosleep clock_nanosleep_time64 nanosleep gettimeofday time getpid getppid "
    "gettid getuid geteuid getgid getegid getuid32 geteuid32 getgid32 getegid32 sysinfo uname rt_sigaction "
    "rt_sigprocmask rt_sigreturn sigreturn sigaltstack restart_syscall set_tls cacheflush exit exit_group "
    /* only until the connection is made */
    "open openat readlink readlinkat access faccessat stat stat64 lstat lstat64 newfstatat fstatat64 statx "
    "getdents64 connect bind recvmsg recvmmsg recvmmsg_time64 dup pipe pipe2 eventfd2 fork wait4 waitpid "
    "seccomp";
static const SyscallRule allowed_if[] = {
    {"fcntl", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_GETFL},
    {"fcntl", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_SETFL},
    {"fcntl", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_GETFD},
    {"fcntl", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_SETFD},
    {"fcntl64", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_GETFL},
    {"fcntl64", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_SETFL},
    {"fcntl64", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_GETFD},
    {"fcntl64", SYSCALL_ARG_IS, 1, SYSCALL_INT, F_SETFD},
    {"ioctl", SYSCALL_ARG_IS, 1, SYSCALL_INT, FIONREAD},
    {"ioctl", SYSCALL_ARG_IS, 1, SYSCALL_INT, FIONBIO},
    {"sendto", SYSCALL_ARG_IS, 3, MSG_FASTOPEN, 0}, /* which connects past Landlock */
    {"sendmsg", SYSCALL_ARG_IS, 2, MSG_FASTOPEN, 0},
    {"sendmmsg", SYSCALL_ARG_IS, 3, MSG_FASTOPEN, 0},
    {"socket", SYSCALL_ARG_IS, 0, SYSCALL_INT, AF_INET},
    {"socket", SYSCALL_ARG_IS, 0, SYSCALL_INT, AF_INET6},
    {"socket", SYSCALL_ARG_IS, 0, SYSCALL_INT, AF_NETLINK}, /* getaddrinfo() asks which addresses there are */
    {"socketpair", SYSCALL_ARG_IS, 0, SYSCALL_INT, AF_UNIX},
    {"clone", SYSCALL_ARG_IS, 0, NAMESPACES, 0},
    {"prctl", SYSCALL_ARG_IS, 0, SYSCALL_INT, PR_SET_PDEATHSIG},
    {"prctl", SYSCALL_ARG_IS, 0, SYSCALL_INT, PR_SET_NAME},
    {"prctl", SYSCALL_ARG_IS, 0, SYSCALL_INT, PR_SET_NO_NEW_PRIVS}, /* by the second filter */
};

static const char refused_connected[] =
    "open openat readlink readlinkat access faccessat stat stat64 lstat lstat64 getdents64 socket socketpair "
    "connect bind sendmsg sendmmsg recvmsg recvmmsg recvmmsg_time64 dup pipe pipe2 eventfd2 clone fork wait4 "
    "waitpid seccomp prctl uname";
static const SyscallRule refused_connected_if[] = {
    {"sendto", SYSCALL_ARG_IS_NOT, 4, 0, 0}, /* to an address of its own */
    {"mmap", SYSCALL_ARG_IS, 2, PROT_EXEC, PROT_EXEC},
    {"mmap2", SYSCALL_ARG_IS, 2, PROT_EXEC, PROT_EXEC},
    {"mprotect", SYSCALL_ARG_IS, 2, PROT_EXEC, PROT_EXEC},
    {"newfstatat", SYSCALL_ARG_IS, 3, AT_EMPTY_PATH, 0}, /* with it: fstat() */
    {"fstatat64", SYSCALL_ARG_IS, 3, AT_EMPTY_PATH, 0},
    {"statx", SYSCALL_ARG_IS, 2, AT_EMPTY_PATH, 0},
};

/* Standard error is the agent's log, into which a worker in strange hands would write what it likes. */
static int silence(void)
{
    int fd CLEANUP(close_fd) = open("/dev/null", O_WRONLY | O_CLOEXEC);

    return fd < 0 || dup2(fd, STDERR_FILENO) < 0 ? -errno : 0;
}

static int enter_landlock(const UploadJob *job)
{
    const char *const credentials[] = {job->ca_file, job->cert_file, job->key_file};
    int ruleset CLEANUP(close_fd) = -1;
    int r = landlock_begin(LANDLOCK_PORTS | LANDLOCK_OTHERS, &ruleset);

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(readable); i++)
        r = landlock_allow_reading(ruleset, readable[i]);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(credentials); i++)
        r = landlock_allow_reading(ruleset, credentials[i]);
    if (r == 0)
        r = landlock_allow_port(ruleset, http_put_port(job->url, job->proxy));
    if (r == 0)
        r = landlock_allow_port(ruleset, DNS_PORT); /* for answers that are too long for UDP */
    return r == 0 ? landlock_enter(ruleset) : r;
}

int upload_cage_enter(const UploadJob *job)
{
    if (!CAGE_IS_BUILT_IN)
        return -EOPNOTSUPP;
    int silenced = silence();
    int files = enter_landlock(job);
    int calls = syscall_filter_allow_only(allowed, allowed_if, ARRAY_SIZE(allowed_if));
    return silenced < 0 ? silenced : files < 0 ? files : calls;
}

int upload_cage_close(void)
{
    static bool closed; /* the process has one cage */

    if (!CAGE_IS_BUILT_IN)
        return -EOPNOTSUPP;
    if (closed)
        return 0;
    closed = true;
    return syscall_filter_refuse(refused_connected, refused_connected_if, ARRAY_SIZE(refused_connected_if));
}

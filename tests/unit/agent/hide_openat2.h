/* From now on, for this process and its children, the kernel answers openat2(2) as one that lacks it (ENOSYS)
 * or as an old container's seccomp filter (EPERM). */
#pragma once

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static inline int hide_openat2(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
        return -errno;
    return 0;
}

/* Runs the tests here, and before that in a child that has no openat2 and sets *is_old_kernel. The exit code
 * for both. */
static inline int run_on_both_kernels(int (*run)(void), bool *is_old_kernel)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        *is_old_kernel = true;
        _exit(hide_openat2(ENOSYS) < 0 ? 99 : run());
    }
    bool is_good = waitpid(child, &status, 0) == child && status == 0;
    return run() + (is_good ? 0 : 1);
}

#include "agent/probe.h"

#include "agent/path.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FD STDIN_FILENO
#define CHILD_END_FD STDOUT_FILENO

static struct Stuck {
    pid_t pid; /* 0: a free place */
    char mount[FILE_PATH_MAX + 1];
} stuck[PROBES_MAX];

void probe_mount_of(const char *path, char out[static FILE_PATH_MAX + 1])
{
    char buf[2 * FILE_PATH_MAX];
    struct mntent entry;
    FILE *table = setmntent("/proc/self/mounts", "re");

    out[0] = '\0';
    while (table && getmntent_r(table, &entry, buf, sizeof(buf)))
        if (path_below(path, entry.mnt_dir) && strlen(entry.mnt_dir) >= strlen(out))
            (void)snprintf(out, FILE_PATH_MAX + 1, "%s", entry.mnt_dir);
    if (table)
        (void)endmntent(table);
}

/* 0 and a place for another child, or why there must be none. */
static int find_place(const char *mount, struct Stuck **ret_place)
{
    int r = -EAGAIN;

    for (size_t i = 0; i < PROBES_MAX; i++) {
        if (stuck[i].pid != 0 && waitpid(stuck[i].pid, NULL, WNOHANG) != 0)
            stuck[i].pid = 0;
        if (stuck[i].pid != 0 && strcmp(stuck[i].mount, mount) == 0)
            return PROBE_E_SILENT;
        if (stuck[i].pid == 0) {
            *ret_place = &stuck[i];
            r = 0;
        }
    }
    return r;
}

/* A child that never ends must not hold on to our locks and connections. */
static void close_others(void)
{
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0)
        return;
    for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) /* Linux before 5.9 */
        (void)close(fd);
}

static _Noreturn void serve(pid_t parent, int fd, int end_fd, void (*touch)(int fd, void *userdata),
                            void *userdata)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dup2(end_fd, CHILD_END_FD) < 0 || (fd >= 0 && dup2(fd, CHILD_FD) < 0))
        _exit(1);
    close_others();
    touch(fd >= 0 ? CHILD_FD : -1, userdata);
    _exit(0);
}

/* Until nobody holds the other end any more. */
static bool has_ended(int end_fd, int patience_ms)
{
    struct pollfd polled = {.fd = end_fd, .events = POLLIN};
    int64_t until_ms = clock_monotonic_ms() + patience_ms;
    int r = 0;

    do {
        int64_t left_ms = until_ms - clock_monotonic_ms();
        r = poll(&polled, 1, left_ms > 0 ? (int)left_ms : 0);
    } while (r < 0 && errno == EINTR);
    return r > 0;
}

static int await(pid_t child, int end_fd, int patience_ms, struct Stuck *place, const char *mount)
{
    int status = 0;

    if (has_ended(end_fd, patience_ms)) {
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENOMEM;
    }
    place->pid = child;
    (void)snprintf(place->mount, sizeof(place->mount), "%s", mount);
    return PROBE_E_SILENT;
}

int probe(const char *mount, int fd, int patience_ms, void (*touch)(int fd, void *userdata), void *userdata)
{
    struct Stuck *place = NULL;
    int ends[2] = {-1, -1};
    pid_t parent = getpid();

    int r = find_place(mount, &place);
    if (r != 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0)
        serve(parent, fd, ends[1], touch, userdata);
    r = child < 0 ? -errno : 0;
    close_fd(&ends[1]);
    if (r == 0)
        r = await(child, ends[0], patience_ms, place, mount);
    close_fd(&ends[0]);
    return r;
}

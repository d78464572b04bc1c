#include "agent/probe.h"

#include "common/clock.h"
#include "protocol/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FD STDIN_FILENO
#define CHILD_END_FD STDOUT_FILENO

static struct Stuck {
    pid_t pid; /* 0: a free place */
    char folder[FILE_PATH_MAX + 1];
} stuck[PROBES_MAX];

static size_t folder_length(const char *path)
{
    const char *end = strrchr(path, '/');

    return end ? (size_t)(end - path) : 0;
}

static bool is_in(const char *path, const char *folder)
{
    size_t length = folder_length(path);

    return strlen(folder) == length && strncmp(path, folder, length) == 0;
}

/* NULL if path must not be touched. */
static struct Stuck *free_place(const char *path)
{
    struct Stuck *place = NULL;

    for (size_t i = 0; i < PROBES_MAX; i++) {
        if (stuck[i].pid != 0 && waitpid(stuck[i].pid, NULL, WNOHANG) != 0)
            stuck[i].pid = 0;
        if (stuck[i].pid == 0)
            place = &stuck[i];
        else if (is_in(path, stuck[i].folder))
            return NULL;
    }
    return place;
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

static int await(pid_t child, int end_fd, int patience_ms, struct Stuck *place, const char *path)
{
    int status = 0;

    if (has_ended(end_fd, patience_ms)) {
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENOMEM;
    }
    place->pid = child;
    (void)snprintf(place->folder, sizeof(place->folder), "%.*s", (int)folder_length(path), path);
    return PROBE_E_SILENT;
}

int probe(const char *path, int fd, int patience_ms, void (*touch)(int fd, void *userdata), void *userdata)
{
    struct Stuck *place = free_place(path);
    int ends[2] = {-1, -1};
    pid_t parent = getpid();

    if (!place)
        return PROBE_E_SILENT;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0)
        serve(parent, fd, ends[1], touch, userdata);
    int r = child < 0 ? -errno : 0;
    close_fd(&ends[1]);
    if (r == 0)
        r = await(child, ends[0], patience_ms, place, path);
    close_fd(&ends[0]);
    return r;
}

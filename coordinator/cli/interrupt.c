#include "coordinator/cli/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

/* The classic self-pipe: a signal that comes just before poll() is not missed. */
static int pipe_fds[2] = {-1, -1};
static volatile sig_atomic_t pending;

static void on_signal(int number)
{
    int saved = errno;
    (void)number;
    pending = 1;
    ssize_t written = write(pipe_fds[1], "", 1);
    (void)written; /* a full pipe wakes as well */
    errno = saved;
}

void interrupt_setup(void)
{
    /* SA_RESETHAND: who presses twice means it. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return; /* the default action of the signals is good enough */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

bool interrupt_pending(void)
{
    return pending;
}

bool interrupt_wait(int wait_ms)
{
    struct pollfd wake = {.fd = pipe_fds[0], .events = POLLIN};

    if (!pending)
        (void)poll(&wake, 1, wait_ms); /* EINTR is an interrupt too */
    return pending;
}

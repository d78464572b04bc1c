#include "common/loop.h"

#include "common/clock.h"
#include "common/notify.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/signalfd.h>

struct LoopSource {
    Loop *loop;
    LoopSource *next;
    bool removed; /* freed once no callback can be running on it */
    int fd;       /* -1: a timer */
    short events;
    void (*ready)(void *userdata, short revents);
    void (*due)(void *userdata);
    int64_t due_ms; /* on the monotonic clock; -1: not set */
    void *userdata;
};

struct Loop {
    LoopSource *sources;
    size_t source_count;
    struct pollfd *polled; /* source_count and the signals, in the order of sources */
    LoopSource **waiting;  /* beside polled */
    size_t polled_capacity;
    sigset_t signals;
    int signal_fd;
    bool quit;
    void (*reload)(void *userdata);
    void *reload_userdata;
    void (*child)(void *userdata);
    void *child_userdata;
    LoopSource *watchdog; /* NULL: no manager asks for it */
    bool (*is_alive)(void *userdata);
    void *alive_userdata;
};

static int watch_signals(Loop *loop)
{
    int r = pthread_sigmask(SIG_BLOCK, &loop->signals, NULL);
    if (r != 0)
        return -r;
    int fd = signalfd(loop->signal_fd, &loop->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    loop->signal_fd = fd;
    return 0;
}

/* What ends or reloads a daemon. */
static sigset_t own_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    return signals;
}

void loop_block_signals(void)
{
    sigset_t signals = own_signals();

    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL); /* can't fail for these */
}

int loop_new(Loop **ret_loop)
{
    Loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    loop->signal_fd = -1;
    loop->signals = own_signals();
    int r = signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -errno : watch_signals(loop);
    if (r < 0) {
        loop_free(loop);
        return r;
    }
    *ret_loop = loop;
    return 0;
}

static void free_removed(Loop *loop)
{
    for (LoopSource **at = &loop->sources; *at;) {
        LoopSource *source = *at;
        if (!source->removed) {
            at = &source->next;
            continue;
        }
        *at = source->next;
        loop->source_count--;
        free(source);
    }
}

Loop *loop_free(Loop *loop)
{
    if (!loop)
        return NULL;
    for (LoopSource *source = loop->sources; source; source = source->next)
        source->removed = true;
    free_removed(loop);
    close_fd(&loop->signal_fd);
    free(loop->polled);
    free(loop->waiting);
    free(loop);
    return NULL;
}

static int add(Loop *loop, LoopSource model, LoopSource **ret_source)
{
    LoopSource *source = malloc(sizeof(*source));

    if (!source)
        return -ENOMEM;
    *source = model;
    source->loop = loop;
    source->next = loop->sources;
    loop->sources = source;
    loop->source_count++;
    *ret_source = source;
    return 0;
}

int loop_add_fd(Loop *loop, int fd, short events, void (*ready)(void *userdata, short revents),
                void *userdata, LoopSource **ret_source)
{
    return add(loop,
               (LoopSource){.fd = fd, .events = events, .ready = ready, .due_ms = -1, .userdata = userdata},
               ret_source);
}

int loop_add_timer(Loop *loop, void (*due)(void *userdata), void *userdata, LoopSource **ret_source)
{
    return add(loop, (LoopSource){.fd = -1, .due = due, .due_ms = -1, .userdata = userdata}, ret_source);
}

void loop_timer_set(LoopSource *timer, int64_t delay_ms)
{
    timer->due_ms = delay_ms < 0 ? -1 : clock_monotonic_ms() + delay_ms;
}

LoopSource *loop_remove(LoopSource *source)
{
    if (source)
        source->removed = true;
    return NULL;
}

void loop_on_reload(Loop *loop, void (*reload)(void *userdata), void *userdata)
{
    loop->reload = reload;
    loop->reload_userdata = userdata;
}

int loop_on_child(Loop *loop, void (*child)(void *userdata), void *userdata)
{
    loop->child = child;
    loop->child_userdata = userdata;
    if (signal(SIGCHLD, SIG_DFL) ==
        SIG_ERR) /* whoever started us may have it ignored: then children vanish unseen */
        return -errno;
    sigaddset(&loop->signals, SIGCHLD);
    return watch_signals(loop);
}

static void handle_signals(Loop *loop)
{
    struct signalfd_siginfo info;

    while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM)
            loop->quit = true;
        else if (info.ssi_signo == SIGHUP && loop->reload)
            loop->reload(loop->reload_userdata);
        else if (info.ssi_signo == SIGCHLD && loop->child)
            loop->child(loop->child_userdata);
    }
}

/* Room for all sources and the signals. */
static int reserve(Loop *loop)
{
    size_t wanted = loop->source_count + 1;

    if (wanted <= loop->polled_capacity)
        return 0;
    struct pollfd *polled = reallocarray(loop->polled, wanted, sizeof(*polled));
    if (polled)
        loop->polled = polled;
    LoopSource **waiting = reallocarray(loop->waiting, wanted, sizeof(LoopSource *));
    if (waiting)
        loop->waiting = waiting;
    if (!polled || !waiting)
        return -ENOMEM;
    loop->polled_capacity = wanted;
    return 0;
}

/* Fills polled and waiting; returns their number and the wait until the next timer. */
static size_t prepare(Loop *loop, int *ret_timeout_ms)
{
    size_t count = 0;
    int64_t now = clock_monotonic_ms(), wait = -1;

    for (LoopSource *source = loop->sources; source; source = source->next) {
        if (source->fd >= 0) {
            loop->waiting[count] = source;
            loop->polled[count++] = (struct pollfd){.fd = source->fd, .events = source->events};
        } else if (source->due_ms >= 0) {
            int64_t left = source->due_ms > now ? source->due_ms - now : 0;
            wait = wait < 0 || left < wait ? left : wait;
        }
    }
    loop->polled[count] = (struct pollfd){.fd = loop->signal_fd, .events = POLLIN};
    *ret_timeout_ms = wait > INT_MAX ? INT_MAX : (int)wait;
    return count;
}

static void run_timers(Loop *loop)
{
    int64_t now = clock_monotonic_ms();

    for (LoopSource *source = loop->sources; source; source = source->next)
        if (!source->removed && source->fd < 0 && source->due_ms >= 0 && source->due_ms <= now) {
            source->due_ms = -1;
            source->due(source->userdata);
        }
}

void loop_on_watchdog(Loop *loop, bool (*is_alive)(void *userdata), void *userdata)
{
    loop->is_alive = is_alive;
    loop->alive_userdata = userdata;
}

static void feed_watchdog(void *userdata)
{
    Loop *loop = userdata;

    if (!loop->is_alive || loop->is_alive(loop->alive_userdata))
        notify_manager("WATCHDOG=1");
    loop_timer_set(loop->watchdog, notify_watchdog_ms());
}

static int run(Loop *loop)
{
    while (!loop->quit) {
        int timeout_ms = -1;

        free_removed(loop);
        int r = reserve(loop);
        if (r < 0)
            return r;
        size_t count = prepare(loop, &timeout_ms);
        if (poll(loop->polled, count + 1, timeout_ms) < 0 && errno != EINTR)
            return -errno;
        for (size_t i = 0; i < count; i++)
            if (loop->polled[i].revents && !loop->waiting[i]->removed)
                loop->waiting[i]->ready(loop->waiting[i]->userdata, loop->polled[i].revents);
        if (loop->polled[count].revents)
            handle_signals(loop);
        run_timers(loop);
    }
    return 0;
}

int loop_run(Loop *loop)
{
    int r = notify_watchdog_ms() < 0 ? 0 : loop_add_timer(loop, feed_watchdog, loop, &loop->watchdog);

    if (r < 0)
        return r;
    notify_manager("READY=1");
    if (loop->watchdog)
        feed_watchdog(loop);
    r = run(loop);
    notify_manager("STOPPING=1");
    loop->watchdog = loop_remove(loop->watchdog);
    return r;
}

void loop_quit(Loop *loop)
{
    loop->quit = true;
}

#include "common/http_idle.h"

#include "common/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define ROUND_MAX_MS 5000

struct IdleWatch {
    int64_t timeout_ms, head_timeout_ms;
    IdleLimits limits;
    void (*round)(void *userdata);
    void *userdata;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t stop_wanted;
    bool stop;
    IdleConnection *first;
};

/* Milliseconds since a byte moved in either direction, as the kernel saw it. */
static int64_t kernel_idle_ms(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return 0;
    return info.tcpi_last_data_recv < info.tcpi_last_data_sent ? info.tcpi_last_data_recv
                                                               : info.tcpi_last_data_sent;
}

static bool is_idle(const IdleWatch *watch, const IdleConnection *connection, int64_t now_ms)
{
    int64_t quiet_ms = now_ms - atomic_load(&connection->since_ms);

    if (atomic_load(&connection->busy))
        return false;
    if (!atomic_load(&connection->begun))
        return quiet_ms >= watch->head_timeout_ms;
    return quiet_ms >= watch->timeout_ms && kernel_idle_ms(connection->fd) >= watch->timeout_ms;
}

/* Whether the body that is coming in does so too slowly. A window that a handler worked in says nothing of
 * the peer. */
static bool is_slow(const IdleWatch *watch, IdleConnection *connection, int64_t now_ms)
{
    int64_t since_ms = atomic_load(&connection->body_since_ms);
    uint64_t bytes = atomic_load(&connection->body_bytes);
    const IdleLimits *limits = &watch->limits;

    if (since_ms == 0)
        return false;
    if (limits->body_deadline_ms > 0 && now_ms - since_ms >= (int64_t)limits->body_deadline_ms)
        return true;
    if (connection->window_since_ms < since_ms || bytes < connection->window_bytes ||
        atomic_load(&connection->busy)) {
        connection->window_since_ms = now_ms;
        connection->window_bytes = bytes;
        return false;
    }
    int64_t took_ms = now_ms - connection->window_since_ms;
    if (took_ms < (int64_t)limits->body_window_ms)
        return false;
    bool slow = (bytes - connection->window_bytes) * 1000 < limits->body_rate_min * (uint64_t)took_ms;
    connection->window_since_ms = now_ms;
    connection->window_bytes = bytes;
    return slow;
}

static void *watch_run(void *userdata)
{
    IdleWatch *watch = userdata;
    int64_t pause_ms = watch->head_timeout_ms / 4 > ROUND_MAX_MS ? ROUND_MAX_MS : watch->head_timeout_ms / 4;

    (void)pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)(pause_ms / 1000);
        until.tv_nsec += (long)(pause_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        (void)pthread_cond_timedwait(&watch->stop_wanted, &watch->lock, &until); /* early is harmless */
        watch->round(watch->userdata);
        int64_t now_ms = clock_monotonic_ms();
        for (IdleConnection *connection = watch->first; connection; connection = connection->next)
            if (is_idle(watch, connection, now_ms) || is_slow(watch, connection, now_ms))
                (void)shutdown(connection->fd, SHUT_RDWR); /* wakes its thread, which then closes */
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return NULL;
}

int idle_watch_new(const IdleLimits *limits, void (*round)(void *userdata), void *userdata,
                   IdleWatch **ret_watch)
{
    IdleWatch *watch CLEANUP(free_ptr) = calloc(1, sizeof(*watch));
    pthread_condattr_t monotonic;
    pthread_attr_t small;

    if (!watch)
        return -ENOMEM;
    watch->limits = *limits;
    watch->round = round;
    watch->userdata = userdata;
    watch->timeout_ms = (int64_t)limits->timeout_s * 1000;
    watch->head_timeout_ms = (int64_t)limits->head_timeout_s * 1000;
    if (watch->head_timeout_ms == 0 || watch->head_timeout_ms > watch->timeout_ms)
        watch->head_timeout_ms = watch->timeout_ms;
    (void)pthread_mutex_init(&watch->lock, NULL); /* these can't fail on Linux */
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&watch->stop_wanted, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_attr_init(&small);
    (void)pthread_attr_setstacksize(&small, (size_t)256 * 1024);
    int r = pthread_create(&watch->thread, &small, watch_run, watch);
    (void)pthread_attr_destroy(&small);
    if (r != 0)
        return -r;
    *ret_watch = TAKE_PTR(watch);
    return 0;
}

IdleWatch *idle_watch_free(IdleWatch *watch)
{
    if (!watch)
        return NULL;
    (void)pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    (void)pthread_cond_signal(&watch->stop_wanted);
    (void)pthread_mutex_unlock(&watch->lock);
    (void)pthread_join(watch->thread, NULL);
    (void)pthread_cond_destroy(&watch->stop_wanted);
    (void)pthread_mutex_destroy(&watch->lock);
    free(watch);
    return NULL;
}

void idle_watch_add(IdleWatch *watch, IdleConnection *connection, int fd)
{
    connection->fd = fd;
    atomic_store(&connection->since_ms, clock_monotonic_ms());
    (void)pthread_mutex_lock(&watch->lock);
    connection->previous = NULL;
    connection->next = watch->first;
    if (watch->first)
        watch->first->previous = connection;
    watch->first = connection;
    (void)pthread_mutex_unlock(&watch->lock);
}

void idle_watch_remove(IdleWatch *watch, IdleConnection *connection)
{
    (void)pthread_mutex_lock(&watch->lock);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        watch->first = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    (void)pthread_mutex_unlock(&watch->lock);
}

void idle_request_end(IdleConnection *connection)
{
    atomic_store(&connection->since_ms, clock_monotonic_ms());
    atomic_store(&connection->begun, false);
}

void idle_connection_busy(IdleConnection *connection)
{
    atomic_store(&connection->begun, true);
    atomic_store(&connection->busy, true);
}

void idle_connection_rest(IdleConnection *connection)
{
    atomic_store(&connection->since_ms, clock_monotonic_ms());
    atomic_store(&connection->busy, false);
}

void idle_body_begin(IdleConnection *connection)
{
    atomic_store(&connection->body_bytes, 0);
    atomic_store(&connection->body_since_ms, clock_monotonic_ms());
}

void idle_body_bytes(IdleConnection *connection, uint64_t size)
{
    (void)atomic_fetch_add(&connection->body_bytes, size);
}

void idle_body_end(IdleConnection *connection)
{
    atomic_store(&connection->body_since_ms, 0);
}

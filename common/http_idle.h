/* Ends connections on which nothing moves. Part of http_server; nobody else includes it.
 *
 * Why not the library's own timeout: libmicrohttpd 0.9.75 waits in whole seconds and so spins through the
 * last one of every idle connection, and it counts the time that a handler spends in a long fsync as idleness
 * of the peer. Here the kernel is asked when bytes last moved (TCP_INFO), which covers the TLS handshake too.
 */
#pragma once

#include "common/cleanup.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct IdleWatch IdleWatch;

typedef struct IdleConnection {
    int fd;
    atomic_bool busy;             /* a handler is at work: never idle */
    atomic_bool begun;            /* a request has been seen; until then the whole time since accept counts */
    atomic_int_fast64_t since_ms; /* the last sign of life that we know of ourselves */
    struct IdleConnection *next, *previous;
} IdleConnection;

/* Starts the thread that looks. 0 or a negative errno. */
int idle_watch_new(unsigned timeout_s, IdleWatch **ret_watch) MUST_CHECK;
IdleWatch *idle_watch_free(IdleWatch *watch); /* ends the thread; returns NULL */

/* Any thread. connection stays the caller's, and its fd open, until idle_watch_remove() has returned. */
void idle_watch_add(IdleWatch *watch, IdleConnection *connection, int fd);
void idle_watch_remove(IdleWatch *watch, IdleConnection *connection);

/* Around the work of a handler. */
void idle_connection_busy(IdleConnection *connection);
void idle_connection_rest(IdleConnection *connection);

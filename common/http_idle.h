/* Ends connections on which nothing moves, and those whose bodies come too slowly. Part of http_server;
 * nobody else includes it.
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

typedef struct IdleLimits {
    unsigned timeout_s;        /* without a byte in either direction */
    unsigned head_timeout_s;   /* from accept, or the end of a request, to the whole head of the next one */
    uint64_t body_rate_min;    /* bytes a second of a request's body; 0: no limit */
    uint64_t body_window_ms;   /* over which that is measured */
    uint64_t body_deadline_ms; /* for a whole body; 0: no limit */
} IdleLimits;

typedef struct IdleConnection {
    int fd;
    atomic_bool busy;  /* a handler is at work: never idle */
    atomic_bool begun; /* a request's head is in; until then the whole time counts, bytes or none */
    atomic_int_fast64_t since_ms;      /* the last sign of life that we know of ourselves */
    atomic_int_fast64_t body_since_ms; /* 0: no body is coming in */
    atomic_uint_fast64_t body_bytes;   /* of it, so far */
    int64_t window_since_ms;           /* the thread's own: where it began to measure, */
    uint64_t window_bytes;             /* and what had come in by then */
    struct IdleConnection *next, *previous;
} IdleConnection;

/* Starts the thread that looks, every 5 seconds or more often. Each time it calls round too. 0 or a negative
 * errno. */
int idle_watch_new(const IdleLimits *limits, void (*round)(void *userdata), void *userdata,
                   IdleWatch **ret_watch) MUST_CHECK;
IdleWatch *idle_watch_free(IdleWatch *watch); /* ends the thread; returns NULL */

/* Any thread. connection stays the caller's, and its fd open, until idle_watch_remove() has returned. */
void idle_watch_add(IdleWatch *watch, IdleConnection *connection, int fd);
void idle_watch_remove(IdleWatch *watch, IdleConnection *connection);

/* The request is over: from now on the next one is waited for. */
void idle_request_end(IdleConnection *connection);

/* Around the work of a handler. */
void idle_connection_busy(IdleConnection *connection);
void idle_connection_rest(IdleConnection *connection);

/* A body begins, brings size bytes, ends. */
void idle_body_begin(IdleConnection *connection);
void idle_body_bytes(IdleConnection *connection, uint64_t size);
void idle_body_end(IdleConnection *connection);

/* Everything the coordinator knows and decides: one module, one mutex.
 *
 * The REST thread asks, the broker's messages tell, the clock ticks; each call takes the mutex, does its work
 * on the store and on what is kept in memory, publishes what follows, and returns. Nothing in here waits for
 * a peer.
 *
 * Commands go out at least once: whatever is not final is published again when its client comes online, after
 * a reconnect, and after a silence, and the id makes a repeat harmless. A request becomes completed by a
 * valid receipt only. */
#pragma once

#include "common/cleanup.h"
#include "coordinator/events.h"
#include "coordinator/figures.h"
#include "coordinator/history.h"
#include "coordinator/store.h"
#include "protocol/token.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENTS_MAX 100000
#define OPEN_REQUESTS_MAX 100000
#define OPEN_REQUESTS_PER_CLIENT_MAX 1000
#define COMMANDS_PER_CLIENT_MAX 100   /* that a device has or is sent at a time; the others wait here */
#define FOLLOWED_PER_CLIENT_MAX 10000 /* final rows of origin mqtt; the oldest are forgotten */
#define FOLLOWED_MAX 100000           /* the same for all clients together */

typedef struct Control Control;

typedef struct ControlConfig {
    Store *store;                 /* the caller's; nobody else may use it before control_free() */
    const KeyRing *receipt_keys;  /* the caller's */
    const SigningKey *ticket_key; /* the caller's; signs what commands allow */
    Events *events;               /* the caller's; NULL: nobody is told */
    /* Queues a message, never blocks, is called with the mutex held. 0, or a negative errno: it is tried
     * again later. */
    int (*publish)(void *userdata, const char *topic, const void *payload, size_t size);
    void *publish_userdata;
    uint64_t expires_ms; /* life of a request that gives none */
    uint64_t
        republish_ms; /* silence after which a command is published again; doubled while the silence lasts */
    uint64_t offline_after_ms; /* a client of which nothing is heard is offline then, or after three of its
                                  heartbeats if that is later */
    HistoryConfig history;     /* of requests that are final */
    int64_t (*monotonic_ms)(void);
    int64_t (*unix_ms)(void);
} ControlConfig;

/* Loads clients (all offline until the broker says otherwise) and open requests. 0 or a negative errno. */
int control_new(const ControlConfig *config, Control **ret_control) MUST_CHECK;
Control *control_free(Control *control); /* returns NULL */

/* --- from the broker; one thread --- */

void control_on_connection(Control *control, bool connected);

/* A message of any topic. What is not valid, or retained without being presence, is logged and changes
 * nothing. */
void control_on_message(Control *control, const char *topic, const void *payload, size_t size, bool retained);

/* About once a second: who has fallen silent, expiry, and what is to be published again. */
void control_tick(Control *control);

/* --- from REST; any thread. Each within what grant sees: all else looks as if it did not exist. Whether
 * grant has the scope for a call is REST's to ask. 0, or -1 and *problem says why --- */

typedef struct NewRequest {
    const char *client;
    const char *path;
    const char *receiver;        /* NULL: the agent's default */
    const char *idempotency_key; /* NULL: none */
    const char *traceparent;     /* as it came; NULL, or not a valid one: a new trace begins */
    uint64_t expires_ms;         /* from now; 0: the default */
    uint64_t max_size_bytes, rate_bytes_per_s;
    /* Asked when nothing else speaks against the request, before any of it is written or published, with the
     * mutex held: not 0 gives it up, and *problem says why. NULL: nobody is asked. */
    int (*approve)(void *userdata, const char *id, Problem *problem);
    void *approve_userdata;
} NewRequest;

/* Makes a request and publishes its command; a known idempotency key of the same user gives the request made
 * with it. */
int control_create(Control *control, const Grant *grant, const NewRequest *wanted, Request *ret_request,
                   Problem *problem) MUST_CHECK;

/* client NULL: by id alone. If several clients have the id, the one asked for here is meant; without one it
 * is a problem AMBIGUOUS_ID. */
int control_get(Control *control, const Grant *grant, const char *client, const char *id,
                Request *ret_request, Problem *problem) MUST_CHECK;

/* Asks agent and receiver to cancel. Of a final request only the cancelled is no problem. */
int control_cancel(Control *control, const Grant *grant, const char *client, const char *id,
                   Request *ret_request, Problem *problem) MUST_CHECK;

typedef struct PageWanted {
    const char *client;                  /* NULL: all */
    const UploadState *state;            /* NULL: all */
    const char *batch;                   /* NULL: all */
    const char *after_client, *after_id; /* the last row of the page before; NULL: from the newest */
} PageWanted;

/* Asks the receiver to remove the content of a completed request, again until it has; in the name of the
 * grant's user. Of one that is removed already that is no problem. */
int control_remove(Control *control, const Grant *grant, const char *client, const char *id,
                   Request *ret_request, Problem *problem) MUST_CHECK;

/* Newest first. */
int control_list(Control *control, const Grant *grant, const PageWanted *wanted, Request *rows, size_t max,
                 size_t *ret_count, Problem *problem) MUST_CHECK;

/* The first max events of a request, oldest first. */
int control_history(Control *control, const Request *request, RequestEventRow *rows, size_t max,
                    size_t *ret_count, Problem *problem) MUST_CHECK;

/* Calls each for every client, by id, with the mutex held; ends at the first that does not return 0, and
 * returns that. */
int control_each_client(Control *control, const Grant *grant,
                        int (*each)(void *userdata, const Client *client), void *userdata);

/* Calls each for one client. false if it is not known. */
bool control_client(Control *control, const Grant *grant, const char *id,
                    int (*each)(void *userdata, const Client *client), void *userdata);

/* Tells one reader of the events of this request as it is now: see events_tell_one(). */
void control_tell(Control *control, const Grant *grant, const char *id, const HttpSource *reader);

bool control_is_connected(Control *control);

/* Whether the store answers, as store_check() says it: 0 or a negative errno. */
int control_check_store(Control *control) MUST_CHECK;

/* Fills in what control knows of it. Walks through clients and open requests, in memory. */
void control_count(Control *control, FiguresNow *now);

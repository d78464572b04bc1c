/* The REST API: what is asked over HTTP, answered from control.h. Nothing in here blocks on a peer: all
 * requests share the HTTP server's one thread.
 *
 * The bearer token is judged before anything else; a call then sees no more than its grant. Each call of a
 * user is one line in the audit log, written before the answer goes out; if it can't be written, the call is
 * refused. Calls without a good token are written too, but only so many a minute. */
#pragma once

#include "common/audit.h"
#include "common/cleanup.h"
#include "common/http_server.h"
#include "coordinator/access.h"
#include "coordinator/control.h"
#include "protocol/token.h"

#include <stdatomic.h>

typedef struct Rest {
    Control *control;
    Events *events;
    const SigningKey *ticket_key;
    const char *receiver_url; /* https://host:port, no slash at the end */
    Access access;
    Audit *audit;      /* NULL: none is kept */
    bool metrics_open; /* GET /metrics needs no token */
    int64_t server_expires_unix_s;
    const char *mqtt_cert_file;    /* for figures; NULL: none */
    atomic_int_fast64_t turned_ms; /* monotonic; when the main thread was last seen at work. 0: not yet */
} Rest;

/* For http_server_new() with HTTP_ONE_THREAD; the userdata is a Rest that outlives the server. */
extern const HttpHandlers rest_handlers;

/* The REST API: what is asked over HTTP, answered from control.h. Nothing in here blocks on a peer: all
 * requests share the HTTP server's one thread. */
#pragma once

#include "common/cleanup.h"
#include "common/http_server.h"
#include "coordinator/control.h"
#include "coordinator/secret.h"
#include "protocol/token.h"

typedef struct Rest {
    Control *control;
    Events *events;
    const SigningKey *ticket_key;
    const char *receiver_url; /* https://host:port, no slash at the end */
    Secret secret;
} Rest;

/* For http_server_new() with HTTP_ONE_THREAD; the userdata is a Rest that outlives the server. */
extern const HttpHandlers rest_handlers;

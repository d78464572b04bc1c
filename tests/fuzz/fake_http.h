/* A request without a connection, in the place of http_server.c: what handlers ask it is what the target put
 * in, and what they answer is kept. */
#pragma once

#include "common/http_response.h"

#include <stdbool.h>
#include <stddef.h>

#define FAKE_FIELDS_MAX 32

typedef struct FakeFields {
    size_t count;
    struct {
        const char *name, *value;
    } items[FAKE_FIELDS_MAX];
} FakeFields;

struct HttpStream {
    bool asleep;
};

struct HttpRequest {
    const char *method, *path;
    FakeFields headers, trailers, query;
    const char *body; /* NULL: none */
    HttpPeer peer;
    const char *peer_name;

    bool ended; /* the trailers can be read */
    bool aborted;
    HttpResponse *response; /* NULL: not answered */
    HttpStream stream;      /* of the response */
    void *state;
};

/* "name: value"; the texts must live as long as fields. What is not of that form, or too many, is left out.
 */
void fake_field_add(FakeFields *fields, char *line);

/* Sends request through handlers as http_server.c does, and checks that it was answered once or aborted. */
void fake_http_run(HttpRequest *request, const HttpHandlers *handlers, void *userdata);

/* What an answered stream gives now, ended with NUL; NULL when it sleeps or ends. buf has room for
 * HTTP_STREAM_MIN bytes and one. */
const char *fake_stream_read(HttpRequest *request, char *buf);

/* Frees the response. */
void fake_http_deinit(HttpRequest *request);

/* A response while it is put together. Part of http_server; nobody else includes it. */
#pragma once

#include "common/cleanup.h"
#include "common/http_server.h"

#define HTTP_RESPONSE_HEADERS_MAX 24

typedef enum HttpBodyKind { HTTP_BODY_NONE, HTTP_BODY_COPY, HTTP_BODY_STATIC, HTTP_BODY_FILE } HttpBodyKind;

struct HttpResponse {
    unsigned status;
    bool broken; /* out of memory on the way */
    HttpBodyKind kind;
    void *copy;
    const void *data;
    uint64_t size, offset;
    int fd;
    size_t header_count;
    struct {
        char *name, *value;
    } headers[HTTP_RESPONSE_HEADERS_MAX];
};

/* NULL is fine. */
void http_response_free(HttpResponse *response);

/* The same in the library's form; NULL without memory. What it needs of response is taken out of it. */
struct MHD_Response *http_response_make(HttpResponse *response);

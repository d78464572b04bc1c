#include "common/http_response.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <unistd.h>

#define FILE_BLOCK ((size_t)64 * 1024)

HttpResponse *http_response_new(unsigned status)
{
    HttpResponse *response = calloc(1, sizeof(*response));

    if (response) {
        response->status = status;
        response->fd = -1;
    }
    return response;
}

void http_response_free(HttpResponse *response)
{
    if (!response)
        return;
    for (size_t i = 0; i < response->header_count; i++) {
        free(response->headers[i].name);
        free(response->headers[i].value);
    }
    close_fd(&response->fd);
    free(response->copy);
    free(response);
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

void http_response_header(HttpResponse *response, const char *name, const char *value)
{
    if (!response || has_control(value))
        return;
    size_t i = response->header_count;
    if (i == HTTP_RESPONSE_HEADERS_MAX) {
        response->broken = true;
        return;
    }
    response->headers[i].name = strdup(name);
    response->headers[i].value = strdup(value);
    response->header_count++;
    response->broken |= !response->headers[i].name || !response->headers[i].value;
}

void http_response_text(HttpResponse *response, const char *content_type, const char *text)
{
    if (!response)
        return;
    response->kind = HTTP_BODY_COPY;
    response->copy = text ? strdup(text) : NULL;
    response->size = text ? strlen(text) : 0;
    response->broken |= !response->copy;
    http_response_header(response, "Content-Type", content_type);
}

void http_response_data(HttpResponse *response, const char *content_type, const void *data, size_t size)
{
    if (!response)
        return;
    response->kind = HTTP_BODY_STATIC;
    response->data = data;
    response->size = size;
    http_response_header(response, "Content-Type", content_type);
}

void http_response_file(HttpResponse *response, int fd, uint64_t offset, uint64_t size)
{
    if (!response) {
        close_fd(&fd);
        return;
    }
    response->kind = HTTP_BODY_FILE;
    response->fd = fd;
    response->offset = offset;
    response->size = size;
}

/* In the library's form */

typedef struct FileBody {
    int fd;
    uint64_t offset;
} FileBody;

static ssize_t file_body_read(void *userdata, uint64_t position, char *buf, size_t max)
{
    const FileBody *body = userdata;
    ssize_t got;

    do
        got = pread(body->fd, buf, max, (off_t)(body->offset + position));
    while (got < 0 && errno == EINTR);
    return got > 0 ? got
                   : MHD_CONTENT_READER_END_WITH_ERROR; /* shorter than said: never end as if it were whole */
}

static void file_body_free(void *userdata)
{
    FileBody *body = userdata;

    close_fd(&body->fd);
    free(body);
}

static struct MHD_Response *make_file_body(HttpResponse *response)
{
    FileBody *body = malloc(sizeof(*body));

    if (!body)
        return NULL;
    *body = (FileBody){.fd = TAKE_FD(response->fd), .offset = response->offset};
    struct MHD_Response *made =
        MHD_create_response_from_callback(response->size, FILE_BLOCK, file_body_read, body, file_body_free);
    if (!made)
        file_body_free(body);
    return made;
}

static struct MHD_Response *make_body(HttpResponse *response)
{
    struct MHD_Response *made = NULL;

    switch (response->kind) {
    case HTTP_BODY_NONE:
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    case HTTP_BODY_STATIC: /* the library only reads it */
        return MHD_create_response_from_buffer((size_t)response->size, (void *)(uintptr_t)response->data,
                                               MHD_RESPMEM_PERSISTENT);
    case HTTP_BODY_COPY:
        made = MHD_create_response_from_buffer((size_t)response->size, response->copy, MHD_RESPMEM_MUST_FREE);
        if (made)
            response->copy = NULL;
        return made;
    case HTTP_BODY_FILE:
        return make_file_body(response);
    }
    return NULL;
}

struct MHD_Response *http_response_make(HttpResponse *response)
{
    if (!response || response->broken)
        return NULL;
    struct MHD_Response *made = make_body(response);
    for (size_t i = 0; made && i < response->header_count; i++) {
        if (MHD_add_response_header(made, response->headers[i].name, response->headers[i].value) != MHD_YES) {
            MHD_destroy_response(made);
            made = NULL;
        }
    }
    return made;
}

#include "common/http_response.h"

#include <string.h>

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
    if (response->source.free)
        response->source.free(response->source.userdata);
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

void http_response_stream(HttpResponse *response, const char *content_type, const HttpSource *source)
{
    if (!response) {
        source->free(source->userdata);
        return;
    }
    response->kind = HTTP_BODY_STREAM;
    response->source = *source;
    http_response_header(response, "Content-Type", content_type);
}

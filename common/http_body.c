#include "common/http_body.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <sys/socket.h>

#define FILE_BLOCK ((size_t)64 * 1024)
/* The kernel's, of a stream: it would grow to megabytes for a reader that stalls. */
#define STREAM_BUFFER (128 * 1024)

/* A file */

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

/* A stream */

struct HttpStream {
    struct MHD_Connection *connection;
    HttpSource source;
    bool asleep;
};

static ssize_t stream_read(void *userdata, uint64_t position, char *buf, size_t max)
{
    HttpStream *stream = userdata;

    (void)position;
    if (max < HTTP_STREAM_MIN) /* the request's headers have used up the connection's memory */
        return MHD_CONTENT_READER_END_WITH_ERROR;
    ssize_t got = stream->source.read(stream->source.userdata, stream, buf, max);
    return got < 0 ? MHD_CONTENT_READER_END_OF_STREAM : got;
}

static void stream_free(void *userdata)
{
    HttpStream *stream = userdata;

    stream->source.free(stream->source.userdata);
    free(stream);
}

void http_stream_sleep(HttpStream *stream)
{
    stream->asleep = true;
    MHD_suspend_connection(stream->connection);
}

void http_stream_wake(HttpStream *stream)
{
    if (!stream->asleep)
        return;
    stream->asleep = false;
    MHD_resume_connection(stream->connection);
}

static int fd_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

bool http_stream_is_deserted(const HttpStream *stream)
{
    struct pollfd peer = {.fd = fd_of(stream->connection), .events = POLLRDHUP};

    return poll(&peer, 1, 0) > 0 && (peer.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static struct MHD_Response *make_stream_body(HttpResponse *response, struct MHD_Connection *connection)
{
    HttpStream *stream = malloc(sizeof(*stream));

    if (!stream)
        return NULL;
    *stream = (HttpStream){.connection = connection, .source = response->source};
    struct MHD_Response *made = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, HTTP_STREAM_MIN,
                                                                  stream_read, stream, stream_free);
    if (!made) {
        free(stream);
        return NULL;
    }
    response->source.free = NULL; /* taken over */
    (void)setsockopt(fd_of(connection), SOL_SOCKET, SO_SNDBUF, &(int){STREAM_BUFFER}, sizeof(int));
    return made;
}

/* Any */

static struct MHD_Response *make(HttpResponse *response, struct MHD_Connection *connection)
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
    case HTTP_BODY_STREAM:
        return make_stream_body(response, connection);
    }
    return NULL;
}

struct MHD_Response *http_body_make(HttpResponse *response, struct MHD_Connection *connection)
{
    if (!response || response->broken)
        return NULL;
    struct MHD_Response *made = make(response, connection);
    for (size_t i = 0; made && i < response->header_count; i++) {
        if (MHD_add_response_header(made, response->headers[i].name, response->headers[i].value) != MHD_YES) {
            MHD_destroy_response(made);
            made = NULL;
        }
    }
    return made;
}

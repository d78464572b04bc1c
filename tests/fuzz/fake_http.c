#include "fake_http.h"

#include "fuzz.h"

#include <string.h>
#include <strings.h>

void fake_field_add(FakeFields *fields, char *line)
{
    char *colon = strchr(line, ':');

    if (!colon || colon == line || fields->count == FAKE_FIELDS_MAX)
        return;
    *colon++ = '\0';
    colon += strspn(colon, " \t");
    fields->items[fields->count].name = line;
    fields->items[fields->count++].value = colon;
}

static const char *field(const FakeFields *fields, const char *name, bool any_case)
{
    for (size_t i = 0; i < fields->count; i++)
        if ((any_case ? strcasecmp : strcmp)(fields->items[i].name, name) == 0)
            return fields->items[i].value;
    return NULL;
}

void fake_http_run(HttpRequest *request, const HttpHandlers *handlers, void *userdata)
{
    handlers->begin(request, userdata);
    if (!request->response && !request->aborted && request->body && *request->body)
        handlers->body(request, request->body, strlen(request->body), userdata);
    request->ended = true;
    if (!request->response && !request->aborted)
        handlers->end(request, userdata);
    handlers->done(request, request->response != NULL, userdata);
    FUZZ_CHECK(request->response || request->aborted);
    FUZZ_CHECK(!request->state);
}

const char *fake_stream_read(HttpRequest *request, char *buf)
{
    const HttpSource *source = &request->response->source;

    request->stream.asleep = false;
    ssize_t got = source->read(source->userdata, &request->stream, buf, HTTP_STREAM_MIN);
    FUZZ_CHECK(got <= (ssize_t)HTTP_STREAM_MIN && (got == 0) == request->stream.asleep);
    if (got <= 0)
        return NULL;
    buf[got] = '\0';
    return buf;
}

void fake_http_deinit(HttpRequest *request)
{
    http_response_free(request->response);
    request->response = NULL;
}

/* http_server.h */

const char *http_request_method(const HttpRequest *request)
{
    return request->method;
}

const char *http_request_path(const HttpRequest *request)
{
    return request->path;
}

const char *http_request_query(const HttpRequest *request, const char *name)
{
    return field(&request->query, name, false);
}

void http_request_each_query(const HttpRequest *request,
                             bool (*each)(void *userdata, const char *name, const char *value),
                             void *userdata)
{
    const FakeFields *query = &request->query;

    for (size_t i = 0; i < query->count; i++)
        if (!each(userdata, query->items[i].name, query->items[i].value))
            return;
}

const char *http_request_header(const HttpRequest *request, const char *name)
{
    return field(&request->headers, name, true);
}

const char *http_request_trailer(const HttpRequest *request, const char *name)
{
    return request->ended ? field(&request->trailers, name, true) : NULL;
}

bool http_request_has_body(const HttpRequest *request)
{
    return request->body != NULL;
}

const char *http_request_address(const HttpRequest *request)
{
    (void)request;
    return "192.0.2.1";
}

HttpPeer http_request_peer(HttpRequest *request, const char **ret_name)
{
    *ret_name = request->peer_name;
    return request->peer;
}

bool http_request_peer_is_person(const HttpRequest *request)
{
    (void)request;
    return false;
}

void http_request_set_state(HttpRequest *request, void *state)
{
    request->state = state;
}

void *http_request_state(const HttpRequest *request)
{
    return request->state;
}

void http_request_abort(HttpRequest *request)
{
    request->aborted = true;
}

void http_request_cut(HttpRequest *request)
{
    request->aborted = true;
}

void http_respond(HttpRequest *request, HttpResponse *response)
{
    FUZZ_CHECK(!request->response && !request->aborted);
    FUZZ_CHECK(response && !response->broken); /* only out of memory */
    request->response = response;
}

bool http_request_answered(const HttpRequest *request)
{
    return request->response != NULL;
}

void http_stream_sleep(HttpStream *stream)
{
    stream->asleep = true;
}

void http_stream_wake(HttpStream *stream)
{
    stream->asleep = false;
}

bool http_stream_is_deserted(const HttpStream *stream)
{
    (void)stream;
    return false;
}

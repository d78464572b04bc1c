/* GET /events: what happens, as it happens. */
#include "coordinator/batch.h"
#include "coordinator/rest_internal.h"

#include <errno.h>
#include <string.h>

static bool may_see(const void *grant, const Event *event)
{
    return event->client ? grant_sees(grant, event->client)
                         : event->maker && batch_is_seen(grant, event->maker);
}

/* false: it is there and is no id. */
static bool read_id(Call *call, const char *name, char out[static UPLOAD_ID_SIZE])
{
    const char *id = http_request_query(call->request, name);
    if (id && !upload_id_is_valid(id))
        return false;
    (void)snprintf(out, UPLOAD_ID_SIZE, "%s", id ? id : "");
    return true;
}

static void refuse_events(Call *call, int error)
{
    Problem problem;
    if (error == -EINVAL)
        (void)problem_set(&problem, ERROR_INVALID_ARGUMENT, "INVALID_QUERY",
                          "requestId and batchId must be ids as POST /download gives them.");
    else if (error == -EUSERS)
        (void)problem_set(&problem, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_READERS",
                          "You listen %d times already; close a page or a `beckon watch`.",
                          EVENTS_READERS_USER_MAX);
    else
        (void)problem_set(&problem, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_READERS",
                          "Too many others listen already; close a page or a `beckon watch`.");
    call_refuse(call, 0, &problem);
}

void events_get(Call *call)
{
    EventReader reader = {
        .until_unix_ms = call->grant.expires_unix_s * 1000, .may_see = may_see, .free_grant = free};
    HttpSource source;
    Problem problem;
    if (!read_id(call, "requestId", reader.request) || !read_id(call, "batchId", reader.batch)) {
        refuse_events(call, -EINVAL);
        return;
    }
    if (call_audit(call, 200, NULL, &problem) < 0) {
        call_refuse(call, 0, &problem);
        return;
    }
    Grant *grant = malloc(sizeof(*grant));
    if (!grant) {
        http_request_abort(call->request);
        return;
    }
    *grant = call->grant;
    reader.grant = grant; /* events_listen() takes it over */
    reader.user = grant->user;
    const char *last_id = http_request_header(call->request, "Last-Event-ID");
    if (!last_id)
        last_id = http_request_query(call->request, "lastEventId");
    int r = events_listen(call->rest->events, &reader, last_id, &source);
    if (r < 0) {
        refuse_events(call, r);
        return;
    }
    if (reader.request[0]) /* as it is now, so that nothing falls between a look and the first event */
        control_tell(call->rest->control, &call->grant, reader.request, &source);
    else if (reader.batch[0])
        batch_tell(call->rest->control, &call->grant, reader.batch, &source);
    HttpResponse *response = http_response_new(200);
    http_response_header(response, "Cache-Control", "no-store");
    http_response_header(response, "X-Content-Type-Options", "nosniff");
    http_response_stream(response, "text/event-stream", &source);
    http_respond(call->request, response);
}

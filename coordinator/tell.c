/* What has changed, as events for whoever listens: the same JSON as a question would get. */
#include "coordinator/control_internal.h"

#include "common/text.h"
#include "coordinator/rest_json.h"

#include <string.h>

/* Takes json over. reader NULL: whoever listens. */
static void tell(Control *control, const HttpSource *reader, Event event, cJSON *json)
{
    char *text CLEANUP(free_ptr) = json ? cJSON_PrintUnformatted(json) : NULL;
    char *shown CLEANUP(free_ptr) = text ? text_printable_json(text) : NULL;
    cJSON_Delete(json);
    if (!shown)
        return; /* out of memory: the reader sees it when it looks */
    event.json = shown;
    if (reader)
        events_tell_one(reader, &event);
    else
        events_tell(control->config.events, &event);
}

static bool is_heard(const Control *control)
{
    return control->config.events && events_wanted(control->config.events);
}

void tell_client(Control *control, const Client *client)
{
    if (is_heard(control))
        tell(control, NULL, (Event){.kind = EVENT_CLIENT, .client = client->id}, rest_client_json(client));
}

static void tell_request_to(Control *control, const HttpSource *reader, const Request *request)
{
    tell(control, reader,
         (Event){.kind = EVENT_REQUEST,
                 .client = request->client,
                 .request = request->id,
                 .batch = request->batch},
         rest_request_json(request));
}

void tell_request(Control *control, const Request *request)
{
    if (is_heard(control))
        tell_request_to(control, NULL, request);
}

void tell_batch_to(Control *control, const HttpSource *reader, const Batch *batch)
{
    tell(control, reader, (Event){.kind = EVENT_BATCH, .batch = batch->id, .maker = batch->maker},
         rest_batch_json(batch));
}

void tell_batch(Control *control, const Batch *batch)
{
    if (is_heard(control))
        tell_batch_to(control, NULL, batch);
}

void tell_progress(Control *control, const Open *open)
{
    if (!is_heard(control))
        return;
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!request || store_get_request(control->config.store, open->client, open->id, request) != 0)
        return;
    control_overlay_progress(control, request);
    tell_request(control, request);
}

void control_tell(Control *control, const Grant *grant, const char *id, const HttpSource *reader)
{
    Problem unknown;
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    LOCKED(control); /* until it is told, so that nothing newer is told before it */
    if (request && ask_locate(control, grant, NULL, id, request, &unknown) == 0)
        tell_request_to(control, reader, request);
}

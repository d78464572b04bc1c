/* What machines ask: is it alive, is it ready, and how is it doing. */
#include "coordinator/rest_internal.h"

#include "common/clock.h"
#include "common/credentials.h"
#include "common/text.h"
#include "coordinator/figures.h"

#include <errno.h>

#define STUCK_MS 60000 /* the main thread comes round every second */

static void answer_health(Call *call, const char *wrong)
{
    char now[TEXT_TIME_SIZE];
    text_time(clock_unix_ms(), now);
    cJSON *object = cJSON_CreateObject();
    if (object) {
        (void)cJSON_AddStringToObject(object, "status",
                                      wrong ? wrong : "ok"); /* what is missing shows as missing */
        (void)cJSON_AddStringToObject(object, "timestamp", now);
    }
    call_answer(call, wrong ? 503 : 200, object);
}

void health_get(Call *call)
{
    answer_health(call, NULL);
}

/* The main thread comes round. */
void health_get_live(Call *call)
{
    int64_t turned_ms = atomic_load(&call->rest->turned_ms);
    bool alive = turned_ms == 0 || clock_monotonic_ms() - turned_ms < STUCK_MS;
    answer_health(call, alive ? NULL : "the main thread hangs");
}

/* NULL, or what is missing. */
static const char *unready(Control *control)
{
    if (!control_is_connected(control))
        return "not connected to the broker";
    switch (control_check_store(control)) {
    case 0:
        return NULL;
    case -ENOENT:
        return "the database's file is gone";
    case -ENOSPC:
        return "the database's disk is full";
    case -EROFS:
        return "the database's disk is read-only";
    default:
        return "the database can't be used; the log says why";
    }
}

/* Ready to take requests and to pass them on. */
void health_get_ready(Call *call)
{
    answer_health(call, unready(call->rest->control));
}

static char *make_page(const Rest *rest)
{
    FiguresNow now = {.server_expires_unix_s = rest->server_expires_unix_s};
    if (rest->mqtt_cert_file)
        now.mqtt_expires_unix_s = credentials_expiry(rest->mqtt_cert_file);
    if (rest->events)
        now.events_readers = events_reader_count(rest->events);
    control_count(rest->control, &now);
    return figures_page(&now);
}

/* Figures count every device, so that they are for whoever sees every device. Reading them is not worth a
 * line in the audit log, which would be full of it. */
void metrics_get(Call *call)
{
    Problem problem;
    if (!call->rest->metrics_open && !grant_sees_all(&call->grant)) {
        (void)problem_set(&problem, ERROR_PERMISSION_DENIED, "INSUFFICIENT_SCOPE",
                          "Figures count every device, and your token covers only some.");
        call_forbid(call, GRANT_READ, &problem);
        return;
    }
    char *page CLEANUP(free_ptr) = make_page(call->rest);
    HttpResponse *response = page ? http_response_new(200) : NULL;
    http_response_header(response, "Cache-Control", "no-store");
    http_response_header(response, "X-Content-Type-Options", "nosniff");
    http_response_text(response, METRICS_TYPE, page);
    http_respond(call->request, response);
}

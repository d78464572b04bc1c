/* What machines ask: is it alive, is it ready, and how is it doing. */
#include "receiver/api.h"

#include "common/clock.h"
#include "common/credentials.h"
#include "receiver/figures.h"

#include <inttypes.h>
#include <string.h>

#define STUCK_MS 120000 /* the main thread comes round every 30 s */

static bool is_alive(Api *api)
{
    int64_t turned_ms = atomic_load(&api->turned_ms);

    return turned_ms == 0 || clock_monotonic_ms() - turned_ms < STUCK_MS;
}

static bool has_room(Api *api)
{
    uint64_t free_bytes = 0;

    return store_free_bytes(api->store, &free_bytes) == 0 && free_bytes > api->free_space_floor;
}

/* NULL, or what is missing. */
static const char *unready(Api *api)
{
    if (!atomic_load(&api->broker_connected))
        return "not connected to the broker";
    if (!store_is_writable(api->store))
        return "the store is not writable";
    return has_room(api) ? NULL : "the store's disk is full";
}

bool health_answer(Api *api, HttpRequest *request, const char *path)
{
    const char *wrong = NULL;
    char text[80];

    if (strcmp(path, "/readyz") == 0)
        wrong = unready(api);
    else if (strcmp(path, "/livez") == 0)
        wrong = is_alive(api) ? NULL : "the main thread hangs";
    else if (strcmp(path, "/health") != 0)
        return false;
    (void)snprintf(text, sizeof(text), "{\"status\":\"%s\"}\n", wrong ? wrong : "ok");
    HttpResponse *response = http_response_new(wrong ? 503 : 200);
    http_response_header(response, "Cache-Control", "no-store");
    http_response_text(response, "application/json", text);
    http_respond(request, response);
    return true;
}

static FiguresNow look(Api *api)
{
    FiguresNow now = {.uploads_active = uploads_open_count(api->uploads),
                      .floor_bytes = api->free_space_floor,
                      .receipts_waiting = outbox_count(api->outbox, OUTBOX_RECEIPT),
                      .removals_waiting = outbox_count(api->outbox, OUTBOX_REMOVED),
                      .broker_connected = atomic_load(&api->broker_connected),
                      .server_expires_unix_s = api->server_expires_unix_s,
                      .mqtt_expires_unix_s = credentials_expiry(api->mqtt_cert_file)};

    if (store_free_bytes(api->store, &now.free_bytes) < 0)
        now.free_bytes = 0; /* a store that does not answer has no room */
    return now;
}

void metrics_answer(Api *api, HttpRequest *request, const Caller *caller)
{
    Refusal refusal = {0};

    if (!caller->person)
        (void)refuse(&refusal, 403, ERROR_PERMISSION_DENIED, "NOT_ALLOWED",
                     "Figures are for people and services, not for devices.");
    else if (strcmp(http_request_method(request), "GET") != 0)
        (void)refuse(&refusal, 405, ERROR_INVALID_ARGUMENT, "METHOD_NOT_ALLOWED", "This resource takes GET.");
    if (refusal.status) {
        HttpResponse *refused = answer_refusal(&refusal);
        if (refusal.status == 405)
            http_response_header(refused, "Allow", "GET");
        http_respond(request, refused);
        return;
    }
    const FiguresNow now = look(api);
    char *page CLEANUP(free_ptr) = figures_page(&now);
    HttpResponse *response = page ? http_response_new(200) : NULL;
    http_response_header(response, "Cache-Control", "no-store");
    http_response_text(response, METRICS_TYPE, page);
    http_respond(request, response);
}

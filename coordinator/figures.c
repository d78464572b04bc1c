#include "coordinator/figures.h"

#include "coordinator/request_state.h"

Figures figures;

static void write_requests(MetricsPage *page, const FiguresNow *now)
{
    metrics_family(page, "gauge", "beckon_requests", "Requests that are not final, by status.");
    for (UploadState state = UPLOAD_QUEUED; state < FIGURES_STATES; state++)
        if (state != UPLOAD_DONE && !request_is_final(state))
            metrics_sample(page, "beckon_requests", "status", upload_state_name(state), now->open[state]);
    metrics_family(page, "counter", "beckon_requests_total",
                   "Requests that have ended, by status; one whose receipt came late has ended twice.");
    for (UploadState state = UPLOAD_QUEUED; state < FIGURES_STATES; state++)
        if (request_is_final(state))
            metrics_sample(page, "beckon_requests_total", "status", upload_state_name(state),
                           counter_get(&figures.ended[state]));
    metrics_histogram(page, "beckon_request_duration_seconds", "From being asked for to completed.",
                      &figures.duration);
    metrics_gauge(page, "beckon_batches_active",
                  "Batches that have clients still to be asked, or requests to cancel.", now->batches_active);
}

static void write_commands(MetricsPage *page)
{
    static const char *const names[FIGURES_TOPICS] = {[TOPIC_CMD_UPLOAD] = "upload",
                                                      [TOPIC_CMD_CANCEL] = "cancel",
                                                      [TOPIC_CMD_RECEIPT] = "receipt",
                                                      [TOPIC_CMD_REMOVE] = "remove"};

    metrics_family(page, "counter", "beckon_commands_published_total",
                   "Commands that were given to the broker, those that were said again too.");
    for (size_t i = 0; i < FIGURES_TOPICS; i++)
        if (names[i])
            metrics_sample(page, "beckon_commands_published_total", "command", names[i],
                           counter_get(&figures.commands[i]));
}

static void write_now(MetricsPage *page, const FiguresNow *now)
{
    metrics_family(page, "gauge", "beckon_clients", "Devices that were ever seen, by presence.");
    metrics_sample(page, "beckon_clients", "state", "online", now->clients_online);
    metrics_sample(page, "beckon_clients", "state", "offline", now->clients_offline);
    metrics_gauge(page, "beckon_receipts_asked",
                  "Requests that ended without a receipt and for which one is still asked.",
                  now->receipts_asked);
    metrics_gauge(page, "beckon_broker_connected", "Whether the MQTT broker is connected.",
                  now->broker_connected);
    metrics_gauge(page, "beckon_events_readers", "Open streams of GET /events.", now->events_readers);
    metrics_certificates(page, now->server_expires_unix_s, now->mqtt_expires_unix_s);
}

char *figures_page(const FiguresNow *now)
{
    MetricsPage page;

    if (metrics_begin(&page) < 0)
        return NULL;
    metrics_build(&page);
    write_requests(&page, now);
    write_commands(&page);
    write_now(&page, now);
    return metrics_end(&page);
}

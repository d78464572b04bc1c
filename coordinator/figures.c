#include "coordinator/figures.h"

#include "coordinator/request_state.h"

#include <string.h>

Figures figures = {.refusals = LABEL_COUNTER, .failures = LABEL_COUNTER};

/* What a request can end with: reasons of the agent, of the receiver, whose refusals the agent passes on, and
 * of this coordinator. */
static const char *const failure_reasons[] = {
    "ALREADY_EXISTS",
    "AUDIT_FAILED",
    "CANCELLED",
    "CANCELLING",
    "CERTIFICATE_REFUSED",
    "CERTIFICATE_UNTIMELY",
    "CLIENT_MISSING",
    "CONTENT_ENCODING",
    "CONTENT_RANGE",
    "CONTENT_REMOVED",
    "CONTENT_TYPE",
    "DIGEST_INVALID",
    "DIGEST_MISMATCH",
    "DIGEST_MISSING",
    "DIGEST_UNANNOUNCED",
    "EXPIRED",
    "FENCED",
    "FILE_CHANGED",
    "FILE_MOVING",
    "FILE_NOT_FOUND",
    "FILE_NOT_READABLE",
    "FILE_SYSTEM_SILENT",
    "FILE_TOO_LARGE",
    "HARD_LINKED",
    "INTEROP_VERSION",
    "INVALID_COMMAND",
    "KERNEL_TOO_OLD",
    "LENGTH_MISMATCH",
    "METHOD_NOT_ALLOWED",
    "NOT_ALLOWED",
    "NOT_A_DEVICE",
    "NOT_A_REGULAR_FILE",
    "NOT_RECORDED",
    "NO_CERTIFICATE",
    "NO_PROC",
    "NO_SPACE",
    "NO_SUCH_RESOURCE",
    "NUMBER_INVALID",
    "OFFSET_INVALID",
    "OFFSET_MISMATCH",
    "OFFSET_MISSING",
    "OPEN_FAILED",
    "OUT_OF_MEMORY",
    "OWNER_NOT_ALLOWED",
    "PATH_INVALID",
    "PATH_NOT_ALLOWED",
    "PATH_TOO_LONG",
    "QUEUE_FULL",
    "RANGE_UNSATISFIABLE",
    "READ_ERROR",
    "RECEIVER_REFUSED",
    "RECEIVER_UNREACHABLE",
    "REQUEST_MALFORMED",
    "SANDBOX_UNAVAILABLE",
    "STALLED",
    "STORE_FAILED",
    "TICKET_EXPIRED",
    "TICKET_INVALID",
    "TICKET_MISSING",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_REQUESTS",
    "TOO_MANY_UPLOADS",
    "TOO_MANY_UPLOADS_OF_CLIENT",
    "TRY_AGAIN",
    "UNKNOWN_RECEIVER",
    "UPLOAD_COMPLETE",
    "UPLOAD_COMPLETE_INVALID",
    "UPLOAD_DELETED",
    "UPLOAD_NOT_FOUND",
    "WORKER_DIED",
    "WORKER_NOT_STARTED",
    "WRONG_PATH",
};
_Static_assert(ARRAY_SIZE(failure_reasons) < LABEL_VALUES_MAX,
               "each has a counter of its own, and so has \"other\"");

void figures_count_failure(const char *reason)
{
    size_t i = 0;

    while (i < ARRAY_SIZE(failure_reasons) && strcmp(failure_reasons[i], reason) != 0)
        i++;
    label_counter_add(&figures.failures, i < ARRAY_SIZE(failure_reasons) ? reason : "other");
}

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
    metrics_labels(page, "beckon_request_failures_total",
                   "Requests that came to be rejected or failed, by the reason in their error.", "reason",
                   &figures.failures);
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

static void write_refusals(MetricsPage *page)
{
    metrics_labels(page, "beckon_refusals_total",
                   "Requests of the REST API that were refused, by the reason in the answer.", "reason",
                   &figures.refusals);
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
    write_refusals(&page);
    write_now(&page, now);
    return metrics_end(&page);
}

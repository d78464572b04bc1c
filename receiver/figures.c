#include "receiver/figures.h"

Figures figures = {.refusals = LABEL_COUNTER};

static const char *const result_names[UPLOAD_RESULT_COUNT] = {
    [UPLOAD_RESULT_COMPLETED] = "completed", [UPLOAD_RESULT_REPEATED] = "repeated",
    [UPLOAD_RESULT_PARTIAL] = "partial",     [UPLOAD_RESULT_REFUSED] = "refused",
    [UPLOAD_RESULT_FENCED] = "fenced",       [UPLOAD_RESULT_BROKEN] = "broken"};

static void write_uploads(MetricsPage *page)
{
    metrics_family(
        page, "counter", "beckon_uploads_total",
        "PUT, PATCH and POST requests that have ended, by result; completed: the file is stored for good.");
    for (size_t i = 0; i < UPLOAD_RESULT_COUNT; i++)
        metrics_sample(page, "beckon_uploads_total", "result", result_names[i],
                       counter_get(&figures.uploads[i]));
    metrics_counter(page, "beckon_upload_bytes_total", "Bytes of bodies that came in.",
                    counter_get(&figures.upload_bytes));
    metrics_counter(page, "beckon_upload_retries_total",
                    "Requests that said to be a second or later attempt.",
                    counter_get(&figures.upload_retries));
    metrics_histogram(page, "beckon_upload_duration_seconds",
                      "From the head of the request that completed an upload to its answer.",
                      &figures.upload_duration);
    metrics_labels(page, "beckon_refusals_total", "Requests that were refused, by the reason in the answer.",
                   "reason", &figures.refusals);
}

static void write_now(MetricsPage *page, const FiguresNow *now)
{
    metrics_gauge(page, "beckon_uploads_active", "Requests that bring bytes at this moment.",
                  now->uploads_active);
    metrics_gauge(page, "beckon_store_free_bytes", "Free space of the store's file system.", now->free_bytes);
    metrics_gauge(page, "beckon_store_floor_bytes", "Below so much free space uploads are refused.",
                  now->floor_bytes);
    metrics_gauge(page, "beckon_receipts_waiting", "Receipts that the broker has not acknowledged.",
                  now->receipts_waiting);
    metrics_gauge(page, "beckon_removals_waiting",
                  "Removals of content that the broker has not acknowledged.", now->removals_waiting);
    metrics_gauge(page, "beckon_broker_connected", "Whether the MQTT broker is connected.",
                  now->broker_connected);
    metrics_certificates(page, now->server_expires_unix_s, now->mqtt_expires_unix_s);
}

char *figures_page(const FiguresNow *now)
{
    MetricsPage page;

    if (metrics_begin(&page) < 0)
        return NULL;
    metrics_build(&page);
    write_uploads(&page);
    write_now(&page, now);
    return metrics_end(&page);
}

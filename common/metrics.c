#include "common/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const int64_t bounds_ms[HISTOGRAM_BOUNDS] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 1800000, 3600000, 21600000, 86400000};

/* --- counting --- */

void label_counter_add(LabelCounter *counter, const char *label)
{
    char shown[LABEL_SIZE];
    size_t i = 0;

    (void)snprintf(shown, sizeof(shown), "%s", label);
    (void)pthread_mutex_lock(&counter->mutex);
    while (i < counter->used && strcmp(counter->items[i].label, shown) != 0)
        i++;
    if (i >= LABEL_VALUES_MAX)
        (void)snprintf(shown, sizeof(shown), "other");
    if (i > LABEL_VALUES_MAX)
        i = LABEL_VALUES_MAX;
    if (i == counter->used) {
        memcpy(counter->items[i].label, shown, sizeof(shown));
        counter->used++;
    }
    counter->items[i].count++;
    (void)pthread_mutex_unlock(&counter->mutex);
}

void histogram_observe(Histogram *histogram, int64_t took_ms)
{
    size_t i = 0;

    if (took_ms < 0)
        took_ms = 0; /* a clock was set back */
    while (i < HISTOGRAM_BOUNDS && took_ms > bounds_ms[i])
        i++;
    counter_add(&histogram->buckets[i], 1);
    counter_add(&histogram->sum_ms, (uint64_t)took_ms);
}

/* --- the page --- */

int metrics_begin(MetricsPage *page)
{
    *page = (MetricsPage){0};
    page->stream = open_memstream(&page->text, &page->size);
    return page->stream ? 0 : -ENOMEM;
}

char *metrics_end(MetricsPage *page)
{
    int failed = ferror(page->stream);

    if (fclose(page->stream) == 0 && !failed)
        return TAKE_PTR(page->text);
    free(page->text);
    return NULL;
}

void metrics_family(MetricsPage *page, const char *type, const char *name, const char *help)
{
    (void)fprintf(page->stream, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_label(FILE *stream, const char *label, const char *value)
{
    (void)fprintf(stream, "{%s=\"", label);
    for (; *value; value++) {
        if (*value == '\n') {
            (void)fputs("\\n", stream);
            continue;
        }
        if (*value == '\\' || *value == '"')
            (void)fputc('\\', stream);
        (void)fputc(*value, stream);
    }
    (void)fputs("\"}", stream);
}

void metrics_sample(MetricsPage *page, const char *name, const char *label, const char *value,
                    uint64_t number)
{
    (void)fputs(name, page->stream);
    if (label)
        write_label(page->stream, label, value);
    (void)fprintf(page->stream, " %" PRIu64 "\n", number);
}

void metrics_counter(MetricsPage *page, const char *name, const char *help, uint64_t number)
{
    metrics_family(page, "counter", name, help);
    metrics_sample(page, name, NULL, NULL, number);
}

void metrics_gauge(MetricsPage *page, const char *name, const char *help, uint64_t number)
{
    metrics_family(page, "gauge", name, help);
    metrics_sample(page, name, NULL, NULL, number);
}

void metrics_labels(MetricsPage *page, const char *name, const char *help, const char *label,
                    LabelCounter *counter)
{
    metrics_family(page, "counter", name, help);
    (void)pthread_mutex_lock(&counter->mutex);
    for (size_t i = 0; i < counter->used; i++)
        metrics_sample(page, name, label, counter->items[i].label, counter->items[i].count);
    (void)pthread_mutex_unlock(&counter->mutex);
}

/* The buckets are cumulative, and the last is the count, whatever is counted meanwhile. */
void metrics_histogram(MetricsPage *page, const char *name, const char *help, Histogram *histogram)
{
    uint64_t sum_ms = counter_get(&histogram->sum_ms), count = 0;

    metrics_family(page, "histogram", name, help);
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        count += counter_get(&histogram->buckets[i]);
        (void)fprintf(page->stream, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)bounds_ms[i] / 1000,
                      count);
    }
    count += counter_get(&histogram->buckets[HISTOGRAM_BOUNDS]);
    (void)fprintf(page->stream, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    (void)fprintf(page->stream, "%s_sum %" PRIu64 ".%03u\n%s_count %" PRIu64 "\n", name, sum_ms / 1000,
                  (unsigned)(sum_ms % 1000), name, count);
}

void metrics_certificates(MetricsPage *page, int64_t server_expires_unix_s, int64_t mqtt_expires_unix_s)
{
    static const char name[] = "beckon_certificate_expiry_timestamp_seconds";

    metrics_family(page, "gauge", name, "When the daemon's own certificate ends, in Unix seconds.");
    if (server_expires_unix_s > 0)
        metrics_sample(page, name, "certificate", "server", (uint64_t)server_expires_unix_s);
    if (mqtt_expires_unix_s > 0)
        metrics_sample(page, name, "certificate", "mqtt", (uint64_t)mqtt_expires_unix_s);
}

void metrics_build(MetricsPage *page)
{
    metrics_family(page, "gauge", "beckon_build_info", "Constant 1; the label says which version this is.");
    metrics_sample(page, "beckon_build_info", "version", BECKON_VERSION, 1);
}

#include "common/metrics.h"

#include "tests/unit/protocol/cmocka_.h"

#include <string.h>

static char *page_of(void (*fill)(MetricsPage *page))
{
    MetricsPage page;
    assert_int_equal(metrics_begin(&page), 0);
    fill(&page);
    char *text = metrics_end(&page);
    assert_non_null(text);
    return text;
}

static void write_plain(MetricsPage *page)
{
    metrics_counter(page, "a_total", "How many.", UINT64_MAX);
    metrics_family(page, "gauge", "b", "By name.");
    metrics_sample(page, "b", "name", "plain", 1);
    metrics_sample(page, "b", "name", "a\"b\\c\nd", 2);
}

static void a_page_has_help_type_and_escaped_labels(void **state)
{
    char *text CLEANUP(free_ptr) = page_of(write_plain);
    (void)state;
    assert_string_equal(
        text, "# HELP a_total How many.\n# TYPE a_total counter\na_total 18446744073709551615\n"
              "# HELP b By name.\n# TYPE b gauge\nb{name=\"plain\"} 1\nb{name=\"a\\\"b\\\\c\\nd\"} 2\n");
}

static Histogram histogram;

static void write_histogram(MetricsPage *page)
{
    metrics_histogram(page, "took_seconds", "How long.", &histogram);
}

static void a_histogram_is_cumulative_and_in_seconds(void **state)
{
    static const int64_t took_ms[] = {-5, 0, 100, 101, 999, 1000, 86400000, 86400001};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(took_ms); i++)
        histogram_observe(&histogram, took_ms[i]);
    char *text CLEANUP(free_ptr) = page_of(write_histogram);
    static const char *const lines[] = {
        "# TYPE took_seconds histogram\n",       "took_seconds_bucket{le=\"0.1\"} 3\n",
        "took_seconds_bucket{le=\"0.25\"} 4\n",  "took_seconds_bucket{le=\"0.5\"} 4\n",
        "took_seconds_bucket{le=\"1\"} 6\n",     "took_seconds_bucket{le=\"21600\"} 6\n",
        "took_seconds_bucket{le=\"86400\"} 7\n", "took_seconds_bucket{le=\"+Inf\"} 8\n",
        "took_seconds_sum 172802.201\n",         "took_seconds_count 8\n"};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (!strstr(text, lines[i]))
            fail_msg("%s is not in:\n%s", lines[i], text);
}

static LabelCounter reasons = LABEL_COUNTER;

static void write_reasons(MetricsPage *page)
{
    metrics_labels(page, "refusals_total", "Why.", "reason", &reasons);
}

static void labels_that_strangers_could_choose_stay_bounded(void **state)
{
    (void)state;
    label_counter_add(&reasons, "FIRST");
    for (int i = 0; i < 1000; i++) {
        char label[80];
        (void)snprintf(label, sizeof(label), "REASON_%d_%060d", i, 0);
        label_counter_add(&reasons, label);
    }
    label_counter_add(&reasons, "FIRST");
    char *text CLEANUP(free_ptr) = page_of(write_reasons);
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 2 + LABEL_VALUES_MAX + 1);
    assert_non_null(strstr(text, "refusals_total{reason=\"FIRST\"} 2\n"));
    char others[80];
    (void)snprintf(others, sizeof(others), "refusals_total{reason=\"other\"} %d\n", 1001 - LABEL_VALUES_MAX);
    assert_non_null(strstr(text, others));
}

static void *count_much(void *counter)
{
    for (int i = 0; i < 10000; i++) {
        counter_add(counter, 1);
        label_counter_add(&reasons, "THREADS");
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    static Counter counter;
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, &counter), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(counter_get(&counter), 40000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_has_help_type_and_escaped_labels),
        cmocka_unit_test(a_histogram_is_cumulative_and_in_seconds),
        cmocka_unit_test(labels_that_strangers_could_choose_stay_bounded),
        cmocka_unit_test(threads_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "coordinator/cli/doctor.h"

/* The message of the report's last line. */
static const char *last_message(const Report *report)
{
    const cJSON *last = cJSON_GetArrayItem(report->checks, cJSON_GetArraySize(report->checks) - 1);

    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(last, "message"));
}

static void address_is_taken_apart(void **state)
{
    static const struct {
        const char *url, *host; /* NULL: a fault */
        uint16_t port;
    } cases[] = {
        {"https://receiver.example:8443", "receiver.example", 8443},
        {"https://receiver.example:8443/a/path:7", "receiver.example", 8443},
        {"https://receiver.example", "receiver.example", 443},
        {"https://receiver.example/x", "receiver.example", 443},
        {"https://[::1]:8443", "::1", 8443},
        {"https://[2001:db8::1]", "2001:db8::1", 443},
        {"https://", NULL, 0},
        {"https://:8443", NULL, 0},
        {"https://host:", NULL, 0},
        {"https://host:0", NULL, 0},
        {"https://host:65536", NULL, 0},
        {"https://host:8443x", NULL, 0},
        {"http://host:8443", NULL, 0},
        {"", NULL, 0},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Report report = {.json = true};
        Server server = {.what = "receiver", .address_setting = "--url"};
        assert_int_equal(server_set_url(&report, &server, cases[i].url), cases[i].host != NULL);
        if (cases[i].host) {
            assert_string_equal(server.host, cases[i].host);
            assert_int_equal(server.port, cases[i].port);
        }
        assert_int_equal(report.counts[VERDICT_FAULT], cases[i].host ? 0 : 1);
        cJSON_Delete(report.checks);
    }
}

static void what_ends_is_good_then_a_warning_then_a_fault(void **state)
{
    static const struct {
        int days;
        Verdict verdict;
    } cases[] = {{3650, VERDICT_OK},
                 {31, VERDICT_OK},
                 {29, VERDICT_WARNING},
                 {1, VERDICT_WARNING},
                 {-1, VERDICT_FAULT}};
    int64_t now_s = clock_unix_ms() / 1000;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Report report = {.json = true};
        doctor_judge_end(&report, "cert", "it", now_s + cases[i].days * (int64_t)86400, "renew it");
        assert_int_equal(report.counts[cases[i].verdict], 1);
        assert_true((strstr(last_message(&report), "; renew it") != NULL) ==
                    (cases[i].verdict != VERDICT_OK));
        cJSON_Delete(report.checks);
    }
}

static void strangers_text_does_not_reach_the_terminal_as_it_is(void **state)
{
    Report report = {.json = true};
    (void)state;

    report_add(&report, VERDICT_WARNING, "x", "%s", "a\x1b[2Jb\n");
    assert_string_equal(last_message(&report), "a\\x1b[2Jb\\n");
    cJSON_Delete(report.checks);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_is_taken_apart),
        cmocka_unit_test(what_ends_is_good_then_a_warning_then_a_fault),
        cmocka_unit_test(strangers_text_does_not_reach_the_terminal_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

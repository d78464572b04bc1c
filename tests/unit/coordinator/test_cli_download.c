#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/json.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/download.h"

#define SHA "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void only_completed_is_done(void **state)
{
    (void)state;
    assert_int_equal(download_exit_code(UPLOAD_COMPLETED), EXIT_DONE);
    assert_int_equal(download_exit_code(UPLOAD_FAILED), EXIT_FAILED);
    assert_int_equal(download_exit_code(UPLOAD_CANCELLED), EXIT_FAILED);
    assert_int_equal(download_exit_code(UPLOAD_EXPIRED), EXIT_FAILED);
    assert_int_equal(download_exit_code(UPLOAD_REJECTED), EXIT_REJECTED);
    assert_int_equal(download_exit_code(UPLOAD_QUEUED), EXIT_TIMED_OUT);
    assert_int_equal(download_exit_code(UPLOAD_ACCEPTED), EXIT_TIMED_OUT);
    assert_int_equal(download_exit_code(UPLOAD_RUNNING), EXIT_TIMED_OUT);
    assert_int_equal(download_exit_code(UPLOAD_DONE), EXIT_TIMED_OUT); /* the device's word is not enough */
}

static void refusals_of_the_server_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(exit_code_of_refusal(401), EXIT_REJECTED);
    assert_int_equal(exit_code_of_refusal(403), EXIT_REJECTED);
    assert_int_equal(exit_code_of_refusal(404), EXIT_FAILED);
    assert_int_equal(exit_code_of_refusal(409), EXIT_FAILED);
    assert_int_equal(exit_code_of_refusal(0), EXIT_FAILED);
}

static int parse(const char *text, Download *download, cJSON **ret_json)
{
    *ret_json = cJSON_Parse(text);
    assert_non_null(*ret_json);
    return download_parse(*ret_json, download);
}

static void row_is_read_whole(void **state)
{
    cJSON *json CLEANUP(json_delete) = NULL;
    Download download;
    (void)state;

    assert_int_equal(parse("{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"fileName\":\"/"
                           "x\",\"status\":\"completed\",\"size\":7,"
                           "\"bytesReceived\":7,\"sha256\":\"" SHA "\",\"error\":null,\"new\":1}",
                           &download, &json),
                     0);
    assert_string_equal(download.id, "r1");
    assert_string_equal(download.client, "dev1");
    assert_true(download.has_size && download.size_bytes == 7 && download.has_sha256 &&
                download_is_final(&download));
    assert_int_equal(download.sha256[0], 0xe3);
    assert_int_equal(download.problem.code, ERROR_NONE);
}

static void row_just_begun_has_no_size_yet(void **state)
{
    cJSON *json CLEANUP(json_delete) = NULL;
    Download download;
    (void)state;

    assert_int_equal(parse("{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"status\":\"queued\",\"size\":null,"
                           "\"sha256\":null}",
                           &download, &json),
                     0);
    assert_false(download.has_size || download.has_sha256 || download_is_final(&download));
}

static void row_that_makes_no_sense_is_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"status\":\"perhaps\"}",
        "{\"requestId\":\"../1\",\"clientId\":\"dev1\",\"status\":\"queued\"}",
        "{\"requestId\":\"r1\",\"clientId\":\"a/b\",\"status\":\"queued\"}",
        "{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"status\":\"completed\",\"size\":-1}",
        "{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"status\":\"completed\",\"size\":\"7\"}",
        "{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"status\":\"completed\",\"sha256\":\"abc\"}",
        "{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"status\":\"completed\",\"sha256\":12}",
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cJSON *json CLEANUP(json_delete) = NULL;
        Download download;
        if (parse(bad[i], &download, &json) == 0)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void problem_is_one_printable_line(void **state)
{
    cJSON *json CLEANUP(json_delete) = NULL;
    Download download;
    char line[256];
    (void)state;

    assert_int_equal(parse("{\"requestId\":\"r1\",\"clientId\":\"dev1\",\"status\":\"rejected\",\"error\":{"
                           "\"code\":\"permission_denied\","
                           "\"reason\":\"PATH_NOT_ALLOWED\",\"message\":\"no\\u001b[2J\\nway\"}}",
                           &download, &json),
                     0);
    assert_string_equal(download_problem(&download, line, sizeof(line)),
                        "no\\x1b[2J\\nway (PATH_NOT_ALLOWED)");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_completed_is_done),
        cmocka_unit_test(refusals_of_the_server_are_told_apart),
        cmocka_unit_test(row_is_read_whole),
        cmocka_unit_test(row_just_begun_has_no_size_yet),
        cmocka_unit_test(row_that_makes_no_sense_is_refused),
        cmocka_unit_test(problem_is_one_printable_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

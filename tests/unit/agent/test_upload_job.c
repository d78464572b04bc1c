#include "agent/upload_job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void job_comes_back_as_it_was_sent(void **state)
{
    UploadJob job = {.url = (char[]){"https://r:1"},
                     .id = (char[]){"t1"},
                     .path = (char[]){"/a b\n\xc3\xa9"},
                     .ca_file = (char[]){"ca"},
                     .cert_file = (char[]){"cert"},
                     .key_file = (char[]){"key"},
                     .size_bytes = 5368709120,
                     .attempt = 3,
                     .resume = 1,
                     .stall_ms = 60000};
    UploadJob again = {0};
    (void)state;

    char *text = upload_job_format(&job);
    assert_non_null(text);
    assert_int_equal(upload_job_parse(text, strlen(text), &again), 0);
    assert_string_equal(again.path, job.path);
    assert_null(again.proxy);
    assert_true(again.size_bytes == job.size_bytes);
    assert_true(again.resume == 1);
    assert_true(again.attempt == 3 && again.stall_ms == 60000 && again.rate_bytes_per_s == 0);
    upload_job_free(&again);
    free(text);
}

static void job_with_a_bad_id_or_a_missing_member_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"url\":\"u\",\"id\":\"../"
        "x\",\"path\":\"p\",\"ca\":\"a\",\"cert\":\"c\",\"key\":\"k\",\"size\":0,\"attempt\":1,\"resume\":0,"
        "\"rate\":0,\"min_rate\":0,\"stall_ms\":1,\"commit_timeout_ms\":1}",
        "{\"url\":\"u\",\"id\":\"x\",\"path\":\"p\",\"ca\":\"a\",\"cert\":\"c\",\"key\":\"k\",\"size\":-1,"
        "\"attempt\":1,\"resume\":0,"
        "\"rate\":0,\"min_rate\":0,\"stall_ms\":1,\"commit_timeout_ms\":1}",
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        UploadJob job = {0};
        assert_int_equal(upload_job_parse(bad[i], strlen(bad[i]), &job), -1);
        assert_null(job.url);
    }
}

static void assert_same_line(const UploadLine *line)
{
    UploadLine again;
    char *text = upload_line_format(line);

    assert_non_null(text);
    size_t length = strlen(text);
    assert_int_equal(text[length - 1], '\n');
    assert_null(memchr(text, '\n', length - 1));
    assert_true(length <= UPLOAD_LINE_MAX);
    assert_int_equal(upload_line_parse(text, length - 1, &again), 0);
    assert_int_equal(again.kind, line->kind);
    assert_int_equal(again.sent_bytes, line->sent_bytes);
    assert_memory_equal(again.sha256, line->sha256, SHA256_SIZE);
    assert_int_equal(again.problem.code, line->problem.code);
    assert_string_equal(again.problem.message, line->problem.message);
    assert_int_equal(again.retry, line->retry);
    assert_int_equal(again.retry_after_ms, line->retry_after_ms);
    free(text);
}

static void lines_come_back_as_they_were_written(void **state)
{
    UploadLine failed = {.kind = UPLOAD_LINE_FAILED, .sent_bytes = 9, .retry = true, .retry_after_ms = 30000};
    (void)state;

    assert_same_line(&(UploadLine){.kind = UPLOAD_LINE_PROGRESS, .sent_bytes = 12345678901});
    assert_same_line(&(UploadLine){.kind = UPLOAD_LINE_DONE, .sent_bytes = 1, .sha256 = {1, 2, 3}});
    (void)problem_set(&failed.problem, ERROR_UNAVAILABLE, "STALLED", "a \"quoted\"\nline");
    assert_same_line(&failed);
}

static void longest_problem_still_fits_a_line(void **state)
{
    UploadLine failed = {.kind = UPLOAD_LINE_FAILED};
    char message[sizeof(failed.problem.message)];
    (void)state;

    memset(message, 1, sizeof(message) - 1); /* escaped to six bytes each */
    message[sizeof(message) - 1] = '\0';
    (void)problem_set(&failed.problem, ERROR_INTERNAL, "R", "%s", message);
    assert_same_line(&failed);
}

#define FAILED "{\"sent\":1,\"error\":{\"code\":\"internal\"},\"retry\":true,\"retry_after_ms\":"

static void half_a_line_is_refused_and_so_is_a_wait_for_ever(void **state)
{
    static const char *const bad[] = {"",
                                      "{\"sent\":1",
                                      "{}",
                                      "{\"sent\":1,\"sha256\":\"00\"}",
                                      "{\"sent\":1,\"error\":{\"code\":\"internal\"}}",
                                      FAILED "9007199254740992}"};
    UploadLine line;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(upload_line_parse(bad[i], strlen(bad[i]), &line), -1);
    assert_int_equal(upload_line_parse(FAILED "86400000}", strlen(FAILED "86400000}"), &line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(job_comes_back_as_it_was_sent),
        cmocka_unit_test(job_with_a_bad_id_or_a_missing_member_is_refused),
        cmocka_unit_test(lines_come_back_as_they_were_written),
        cmocka_unit_test(longest_problem_still_fits_a_line),
        cmocka_unit_test(half_a_line_is_refused_and_so_is_a_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

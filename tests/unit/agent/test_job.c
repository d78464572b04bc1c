#include "agent/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static Job *again(const Job *job)
{
    char *text = job_format(job);

    assert_non_null(text);
    Job *parsed = job_parse(job->id, text, strlen(text));
    free(text);
    assert_non_null(parsed);
    return parsed;
}

static void job_survives_the_disk(void **state)
{
    UploadCommand command = {.path = "/srv/a b",
                             .receiver = "backup",
                             .rate_bytes_per_s = 500,
                             .expires_unix_s = 1795259164,
                             .ticket = "a.b.c"};
    (void)state;

    Job *job = job_new("t1", &command);
    job->state = UPLOAD_FAILED;
    job->has_size = true;
    job->size_bytes = 5368709120;
    job->attempt = 7;
    job->restarted = true;
    job->issued_unix_s = 1795000000;
    job->cancelled_unix_ms = 1795259164123;
    job->has_snapshot = true;
    job->snapshot = (Snapshot){.inode = 2, .size_bytes = 3, .modified = {4, 5}};
    job->reported = true;
    (void)problem_set(&job->problem, ERROR_ABORTED, "FILE_CHANGED", "It changed.");
    Job *parsed = again(job);
    assert_string_equal(parsed->path, "/srv/a b");
    assert_string_equal(parsed->receiver, "backup");
    assert_int_equal(parsed->rate_bytes_per_s, 500);
    assert_int_equal(parsed->expires_unix_s, 1795259164);
    assert_string_equal(parsed->ticket, "a.b.c");
    assert_int_equal(parsed->issued_unix_s, 1795000000);
    assert_int_equal(parsed->state, UPLOAD_FAILED);
    assert_true(parsed->has_size && parsed->size_bytes == job->size_bytes && parsed->reported);
    assert_int_equal(parsed->attempt, 7);
    assert_true(parsed->restarted && parsed->has_snapshot);
    assert_true(snapshot_still_holds(&job->snapshot, &parsed->snapshot));
    assert_string_equal(parsed->problem.reason, "FILE_CHANGED");
    assert_int_equal(parsed->at_unix_ms, job->at_unix_ms);
    assert_int_equal(parsed->cancelled_unix_ms, job->cancelled_unix_ms);
    assert_int_equal(parsed->fd, -1);
    job_free(parsed);
    job_free(job);
}

static void wiped_ticket_is_not_written(void **state)
{
    (void)state;
    Job *job = job_new("t1", &(UploadCommand){.path = "/x", .ticket = "a.b.c"});
    job_wipe_ticket(job);
    char *text = job_format(job);
    assert_null(strstr(text, "a.b.c"));
    free(text);
    job_wipe_ticket(job);
    job_free(job);
}

static void cancel_before_its_command_survives_the_disk(void **state)
{
    (void)state;
    Job *job = job_new("t1", &(UploadCommand){0});
    job->state = UPLOAD_CANCELLED;
    Job *parsed = again(job);
    assert_int_equal(parsed->state, UPLOAD_CANCELLED);
    assert_string_equal(parsed->path, "");
    job_free(parsed);
    job_free(job);
}

static void damaged_record_is_no_job(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"reported\":true}",
        "{\"status\":{\"state\":\"done\"}}",
        "{\"command\":{\"path\":7},\"status\":{\"state\":\"done\"},\"reported\":true}",
        "{\"command\":{\"path\":\"x\"},\"status\":{\"state\":\"completed\"},\"reported\":true}",
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_null(job_parse("t1", bad[i], strlen(bad[i])));
}

static void only_accepted_and_running_are_not_final(void **state)
{
    Job job = {0};
    (void)state;

    for (job.state = UPLOAD_DONE; job.state <= UPLOAD_EXPIRED; job.state++)
        assert_true(job_is_final(&job));
    job.state = UPLOAD_ACCEPTED;
    assert_false(job_is_final(&job));
    job.state = UPLOAD_RUNNING;
    assert_false(job_is_final(&job));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(job_survives_the_disk),
        cmocka_unit_test(wiped_ticket_is_not_written),
        cmocka_unit_test(cancel_before_its_command_survives_the_disk),
        cmocka_unit_test(damaged_record_is_no_job),
        cmocka_unit_test(only_accepted_and_running_are_not_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "common/trace.h"

#include "common/log.h"
#include "tests/unit/protocol/cmocka_.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static void valid_ones_come_out_as_version_00(void **state)
{
    static const char *const cases[][2] = {
        {"00-" TRACE "-" PARENT "-01", "00-" TRACE "-" PARENT "-01"},
        {"00-" TRACE "-" PARENT "-00", "00-" TRACE "-" PARENT "-00"},
        {"00-" TRACE "-" PARENT "-ff",
         "00-" TRACE "-" PARENT "-01"}, /* flags that are not known are dropped */
        {"00-" TRACE "-" PARENT "-02", "00-" TRACE "-" PARENT "-00"},
        {"cc-" TRACE "-" PARENT "-01", "00-" TRACE "-" PARENT "-01"},
        {"cc-" TRACE "-" PARENT "-01-what-may-come", "00-" TRACE "-" PARENT "-01"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[TRACEPARENT_SIZE] = "";
        if (!traceparent_read(cases[i][0], out))
            fail_msg("%s was refused", cases[i][0]);
        assert_string_equal(out, cases[i][1]);
    }
}

static void others_are_refused_and_leave_the_output_alone(void **state)
{
    static const char *const cases[] = {
        "",
        "00",
        "00-" TRACE "-" PARENT,
        "00-" TRACE "-" PARENT "-",
        "00-" TRACE "-" PARENT "-1",
        "00-" TRACE "-" PARENT "-01 ",
        "00-" TRACE "-" PARENT "-01-more", /* not in this version */
        " 00-" TRACE "-" PARENT "-01",
        "ff-" TRACE "-" PARENT "-01",
        "cc-" TRACE "-" PARENT "-01.what",
        "0-" TRACE "-" PARENT "-01x",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01",
        "00-" TRACE "-00F067AA0BA902B7-01",
        "0A-" TRACE "-" PARENT "-01",
        "00-" TRACE "-" PARENT "-0A",
        "00-" TRACE "-" PARENT "-0g",
        "00_" TRACE "-" PARENT "-01",
        "00-" TRACE "_" PARENT "-01",
        "00-" TRACE "-" PARENT "_01",
        "00-4bf92f3577b34da6a3ce929d0e0e473\n-" PARENT "-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7a-01",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[TRACEPARENT_SIZE] = "before";
        if (traceparent_read(cases[i], out))
            fail_msg("%s was taken", cases[i]);
        assert_string_equal(out, "before");
    }
    assert_false(traceparent_read(NULL, (char[TRACEPARENT_SIZE]){0}));
}

static void a_new_one_is_valid_and_nobody_else_s(void **state)
{
    char first[TRACEPARENT_SIZE], second[TRACEPARENT_SIZE], read[TRACEPARENT_SIZE];
    (void)state;
    traceparent_new(first);
    traceparent_new(second);
    assert_true(traceparent_read(first, read));
    assert_string_equal(read, first);
    assert_string_not_equal(first, second);
}

/* What a log line that names an upload says while file stands for standard error. */
static void log_into(FILE *file, char line[static 512])
{
    int before = dup(STDERR_FILENO);
    assert_true(before >= 0);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    log_at(LOG_LEVEL_INFO, "restaurant_1", "upload-1", "done");
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    (void)close(before);
    rewind(file);
    assert_non_null(fgets(line, 512, file));
    rewind(file);
    assert_int_equal(ftruncate(fileno(file), 0), 0);
}

static void json_lines_within_the_scope_have_the_trace(void **state)
{
    FILE *file CLEANUP(close_stream) = tmpfile();
    char line[512];
    (void)state;
    assert_non_null(file);
    assert_int_equal(setvbuf(file, NULL, _IONBF, 0), 0);
    log_setup("test", LOG_LEVEL_INFO, true);
    {
        TRACED("00-" TRACE "-" PARENT "-01");
        log_into(file, line);
        assert_non_null(strstr(line, "\"trace\":\"" TRACE "\""));
        Trace outer = trace_begin("");
        log_into(file, line);
        assert_null(strstr(line, "trace"));
        trace_restore(&outer);
        log_into(file, line);
        assert_non_null(strstr(line, "\"trace\":\"" TRACE "\""));
    }
    log_into(file, line);
    assert_null(strstr(line, "trace"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_ones_come_out_as_version_00),
        cmocka_unit_test(others_are_refused_and_leave_the_output_alone),
        cmocka_unit_test(a_new_one_is_valid_and_nobody_else_s),
        cmocka_unit_test(json_lines_within_the_scope_have_the_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

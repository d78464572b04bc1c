#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "coordinator/cli/progress.h"

#define MB 1000000ULL

static const ProgressState half = {.phase = "uploading",
                                   .done_bytes = 50 * MB,
                                   .has_total = true,
                                   .total_bytes = 100 * MB,
                                   .rate = 10.0 * MB};

static void bar_shows_percent_bytes_rate_and_time_left(void **state)
{
    char line[PROGRESS_LINE_SIZE];
    (void)state;

    (void)progress_render(&half, 79, line);
    assert_string_equal(line,
                        "uploading  50% [==========>          ]  50.0 MB of 100 MB  10.0 MB/s  0:05 left");
}

static void bar_never_exceeds_the_width(void **state)
{
    char line[PROGRESS_LINE_SIZE];
    (void)state;

    for (unsigned width = 0; width < 2 * PROGRESS_LINE_SIZE; width++) {
        (void)progress_render(&half, width, line);
        assert_true(strlen(line) <= width);
        assert_true(strlen(line) < PROGRESS_LINE_SIZE);
    }
}

static void narrow_terminal_keeps_percent_and_bytes(void **state)
{
    char line[PROGRESS_LINE_SIZE];
    (void)state;

    (void)progress_render(&half, 40, line);
    assert_string_equal(line, "uploading  50%  50.0 MB of 100 MB");
}

static void hundred_percent_only_when_all_is_there(void **state)
{
    ProgressState almost = half;
    char line[PROGRESS_LINE_SIZE];
    (void)state;

    almost.done_bytes = almost.total_bytes - 1;
    assert_non_null(strstr(progress_render(&almost, 79, line), " 99% "));
    almost.done_bytes = almost.total_bytes;
    assert_non_null(strstr(progress_render(&almost, 79, line), "100% "));
    assert_null(strstr(line, ">"));
    almost.done_bytes = almost.total_bytes + 5; /* a file that has grown, or a peer that lies */
    assert_non_null(strstr(progress_render(&almost, 79, line), "100% "));
    assert_null(strstr(line, "left"));
}

static void empty_file_and_unknown_size_are_drawn(void **state)
{
    char line[PROGRESS_LINE_SIZE];
    (void)state;

    assert_non_null(
        strstr(progress_render(&(ProgressState){.phase = "uploading", .has_total = true}, 79, line), "100%"));
    assert_string_equal(progress_render(&(ProgressState){.phase = "queued"}, 79, line), "queued     ");
    assert_non_null(strstr(
        progress_render(&(ProgressState){.phase = "uploading", .done_bytes = MB}, 79, line), "1.0 MB"));
}

static void time_left_has_hours_and_an_end(void **state)
{
    ProgressState slow = half;
    char line[PROGRESS_LINE_SIZE];
    (void)state;

    slow.rate = 10e3; /* 50 MB at 10 kB/s: 5000 s */
    assert_non_null(strstr(progress_render(&slow, 100, line), "1:23:20 left"));
    slow.total_bytes = UINT64_MAX;
    assert_non_null(strstr(progress_render(&slow, 100, line), "days left"));
}

static void rate_settles_on_a_steady_stream(void **state)
{
    Rate rate = {0};
    double seen = 0;
    (void)state;

    for (int64_t second = 1; second < 30; second++)
        seen = rate_sample(&rate, (uint64_t)second * MB, second * 1000);
    assert_true(seen > 0.99e6 && seen < 1.01e6);
}

static void rate_ignores_the_silence_between_two_reports(void **state)
{
    Rate rate = {0};
    (void)state;

    (void)rate_sample(&rate, 0, 1000);
    double before = rate_sample(&rate, MB, 2000);
    assert_true(before > 0.99e6 && rate_sample(&rate, MB, 2500) == before);
    assert_true(rate_sample(&rate, MB, 9000) < before / 2); /* but not a stall */
}

static void rate_starts_over_when_bytes_go_back(void **state)
{
    Rate rate = {0};
    (void)state;

    (void)rate_sample(&rate, 5 * MB, 1000);
    assert_true(rate_sample(&rate, 6 * MB, 2000) > 0);
    assert_true(rate_sample(&rate, 0, 3000) == 0);
}

static void plain_output_has_a_line_a_phase_and_few_between(void **state)
{
    int fds[2];
    char text[4096] = "";
    Progress progress;
    (void)state;

    assert_int_equal(pipe(fds), 0);
    progress_init(&progress, fds[1]);
    progress_update(&progress, &(ProgressState){.phase = "queued"}, 1000);
    for (int64_t now = 2000; now < 10000; now += 100)
        progress_update(&progress, &half, now);
    progress_clear(&progress);
    (void)close(fds[1]);
    assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
    (void)close(fds[0]);
    assert_string_equal(text, "beckon: queued\n"
                              "beckon: uploading 50.0 MB of 100 MB\n"
                              "beckon: uploading 50.0 MB of 100 MB\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bar_shows_percent_bytes_rate_and_time_left),
        cmocka_unit_test(bar_never_exceeds_the_width),
        cmocka_unit_test(narrow_terminal_keeps_percent_and_bytes),
        cmocka_unit_test(hundred_percent_only_when_all_is_there),
        cmocka_unit_test(empty_file_and_unknown_size_are_drawn),
        cmocka_unit_test(time_left_has_hours_and_an_end),
        cmocka_unit_test(rate_settles_on_a_steady_stream),
        cmocka_unit_test(rate_ignores_the_silence_between_two_reports),
        cmocka_unit_test(rate_starts_over_when_bytes_go_back),
        cmocka_unit_test(plain_output_has_a_line_a_phase_and_few_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

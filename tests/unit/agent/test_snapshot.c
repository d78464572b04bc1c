#include "agent/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const Snapshot before = {.inode = 2, .size_bytes = 100, .modified = {5, 6}};

static void only_the_same_or_an_appended_file_still_holds(void **state)
{
    static const struct {
        Snapshot now;
        bool holds;
    } cases[] = {
        {{2, 100, {5, 6}}, true},  {{2, 101, {9, 9}}, true},
        {{3, 100, {5, 6}}, true},                             /* mounted again, and numbered anew */
        {{2, 100, {5, 7}}, false}, {{2, 100, {6, 6}}, false}, /* rewritten */
        {{2, 99, {5, 6}}, false},  {{2, 0, {9, 9}}, false},   /* cut */
        {{3, 200, {9, 9}}, false}, {{3, 100, {5, 7}}, false}, /* another file */
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(snapshot_still_holds(&before, &cases[i].now), cases[i].holds);
}

static void text_comes_back_exactly(void **state)
{
    const Snapshot largest = {UINT64_MAX, UINT64_MAX, {INT64_MAX, 999999999}};
    char text[SNAPSHOT_TEXT_SIZE];
    Snapshot again;
    (void)state;

    snapshot_format(&largest, text);
    assert_true(snapshot_parse(text, &again));
    assert_true(again.inode == UINT64_MAX && again.size_bytes == UINT64_MAX);
    assert_true(snapshot_still_holds(&largest, &again));
}

static void damaged_text_is_refused(void **state)
{
    static const char *const bad[] = {"",        "1", "1:2:3", "1:2:3:4:5", "1:2:3:x", "1:2:3:1000000000",
                                      "-1:2:3:4"};
    Snapshot again;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(snapshot_parse(bad[i], &again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_same_or_an_appended_file_still_holds),
        cmocka_unit_test(text_comes_back_exactly),
        cmocka_unit_test(damaged_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

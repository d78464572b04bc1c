#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "receiver/range.h"

static const struct {
    const char *value;
    uint64_t total;
    int result;
    uint64_t offset, size;
} cases[] = {
    {"bytes=0-0", 10, 0, 0, 1},
    {"bytes=0-9", 10, 0, 0, 10},
    {"bytes=2-5", 10, 0, 2, 4},
    {"bytes=2-", 10, 0, 2, 8},
    {"bytes=9-99", 10, 0, 9, 1},
    {"bytes=-3", 10, 0, 7, 3},
    {"bytes=-99", 10, 0, 0, 10},
    {"BYTES=0-", 10, 0, 0, 10},
    {"bytes=5368709119-", UINT64_C(5368709120), 0, UINT64_C(5368709119), 1},
    {"bytes=10-", 10, RANGE_E_UNSATISFIABLE, 0, 0},
    {"bytes=0-", 0, RANGE_E_UNSATISFIABLE, 0, 0},
    {"bytes=-0", 10, RANGE_E_UNSATISFIABLE, 0, 0},
    {"bytes=-1", 0, RANGE_E_UNSATISFIABLE, 0, 0},
    {"bytes=5-4", 10, RANGE_E_NONE, 0, 0},
    {"bytes=0-1,3-4", 10, RANGE_E_NONE, 0, 0},
    {"bytes=-", 10, RANGE_E_NONE, 0, 0},
    {"bytes=", 10, RANGE_E_NONE, 0, 0},
    {"bytes=a-b", 10, RANGE_E_NONE, 0, 0},
    {"bytes=1-2x", 10, RANGE_E_NONE, 0, 0},
    {"bytes=--1", 10, RANGE_E_NONE, 0, 0},
    {"bytes=99999999999999999999999999-", 10, RANGE_E_NONE, 0, 0},
    {"bytes=0-18446744073709551615", 10, 0, 0, 10},
    {"lines=0-1", 10, RANGE_E_NONE, 0, 0},
    {"", 10, RANGE_E_NONE, 0, 0},
};

static void ranges_are_read_as_rfc_9110_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Range range = {0};
        int r = range_parse(cases[i].value, cases[i].total, &range);
        if (r != cases[i].result)
            print_message("%s\n", cases[i].value);
        assert_int_equal(r, cases[i].result);
        assert_int_equal(range.offset, cases[i].offset);
        assert_int_equal(range.size, cases[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_are_read_as_rfc_9110_says)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

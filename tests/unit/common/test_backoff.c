#include "common/backoff.h"
#include "common/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void waits_stay_below_a_ceiling_that_doubles(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        Backoff backoff = {.min_ms = 100, .max_ms = 1000};
        static const uint64_t ceilings[] = {100, 200, 400, 800, 1000, 1000};
        for (size_t i = 0; i < ARRAY_SIZE(ceilings); i++)
            assert_in_range(backoff_next_ms(&backoff), 0, ceilings[i]);
    }
}

static void waits_are_spread_over_the_whole_window(void **state)
{
    unsigned tenths[10] = {0};
    (void)state;

    for (int i = 0; i < 10000; i++) {
        Backoff backoff = {.min_ms = 999, .max_ms = 999};
        tenths[backoff_next_ms(&backoff) / 100]++;
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(tenths[i], 700, 1300); /* 1000 expected; ten standard deviations */
}

static void success_makes_the_next_wait_short(void **state)
{
    Backoff backoff = {.min_ms = 10, .max_ms = 1000000};
    (void)state;

    for (int i = 0; i < 100; i++)
        (void)backoff_next_ms(&backoff);
    backoff_reset(&backoff);
    assert_in_range(backoff_next_ms(&backoff), 0, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_stay_below_a_ceiling_that_doubles),
        cmocka_unit_test(waits_are_spread_over_the_whole_window),
        cmocka_unit_test(success_makes_the_next_wait_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

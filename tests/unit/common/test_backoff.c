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

/* A thousand devices that were told "Retry-After: 30" by a server that sheds load. */
static void waits_after_a_pause_that_all_were_asked_for_are_spread_too(void **state)
{
    unsigned seconds[30] = {0};
    (void)state;

    for (int i = 0; i < 1000; i++) {
        Backoff backoff = {.min_ms = 1000, .max_ms = 300000};
        uint64_t wait_ms = backoff_next_after_ms(&backoff, 30000);
        assert_in_range(wait_ms, 30000, 60000);
        seconds[wait_ms == 60000 ? 29 : (wait_ms - 30000) / 1000]++;
    }
    for (size_t i = 0; i < ARRAY_SIZE(seconds); i++)
        assert_in_range(seconds[i], 1, 75); /* 33 expected; seven standard deviations */
}

static void pause_that_was_asked_for_is_no_reason_to_wait_longer_than_the_window(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        Backoff backoff = {.min_ms = 100, .max_ms = 1000};
        assert_in_range(backoff_next_after_ms(&backoff, 86400000), 86400000, 86401000);
    }
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
        cmocka_unit_test(waits_after_a_pause_that_all_were_asked_for_are_spread_too),
        cmocka_unit_test(pause_that_was_asked_for_is_no_reason_to_wait_longer_than_the_window),
        cmocka_unit_test(success_makes_the_next_wait_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

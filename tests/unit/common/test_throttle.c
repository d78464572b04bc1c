#include "common/throttle.h"

#include "tests/unit/protocol/cmocka_.h"

static void a_few_pass_at_once_and_then_one_in_a_while(void **state)
{
    Throttle throttle = THROTTLE(3, 1000);
    uint64_t left_out = 99;
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(throttle_pass(&throttle, 5000, &left_out));
        assert_int_equal(left_out, 0);
    }
    for (int i = 0; i < 1000; i++)
        assert_false(throttle_pass(&throttle, 5000 + i % 999, &left_out));
    assert_true(throttle_pass(&throttle, 6000, &left_out));
    assert_int_equal(left_out, 1000);
    assert_false(throttle_pass(&throttle, 6999, &left_out));
    assert_true(throttle_pass(&throttle, 7000, &left_out));
    assert_int_equal(left_out, 1);
}

static void a_long_silence_saves_up_no_more_than_the_burst(void **state)
{
    Throttle throttle = THROTTLE(3, 1000);
    uint64_t left_out;
    unsigned passed = 0;
    (void)state;
    assert_true(throttle_pass(&throttle, 1, &left_out));
    for (int i = 0; i < 100; i++)
        passed += throttle_pass(&throttle, 1000000000, &left_out);
    assert_int_equal(passed, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_pass_at_once_and_then_one_in_a_while),
        cmocka_unit_test(a_long_silence_saves_up_no_more_than_the_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

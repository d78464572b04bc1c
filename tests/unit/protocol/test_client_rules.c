#include "protocol/client_rules.h"

#include "cmocka_.h"
#include "common/text.h"

static const ClientRuleKind kind = {"retention.age", "restaurant_* = 30d", text_to_duration, 86400000};

static void the_first_pattern_that_matches_counts(void **state)
{
    char *items[] = {"kiosk-1=0", "kiosk-*=1h", "*-1=2h"};
    const ConfigList rules = {.items = items, .count = ARRAY_SIZE(items)};
    uint64_t value = 7;

    (void)state;
    assert_false(client_rules_find(&kind, &rules, "shop-2", &value));
    assert_int_equal(value, 7);
    assert_true(client_rules_find(&kind, &rules, "kiosk-1", &value));
    assert_int_equal(value, 0);
    assert_true(client_rules_find(&kind, &rules, "kiosk-12", &value));
    assert_int_equal(value, 3600000);
    assert_true(client_rules_find(&kind, &rules, "shop-1", &value));
    assert_int_equal(value, 7200000);
    assert_false(client_rules_find(&kind, &(ConfigList){.count = 0}, "kiosk-1", &value));
}

static void rules_that_say_nothing_or_too_much_are_mistakes(void **state)
{
    char *good[] = {"*=1d", "kiosk-?=0"};
    char *bad[] = {
        "kiosk=soon", "kiosk=",
        "a/b=1h",     "=1h",
        "kiosk",      "kiosk=25h",
        "kiosk=-1",   "a-name-that-is-longer-than-the-name-of-a-client-can-be-at-the-very-most=1h"};

    (void)state;
    assert_int_equal(client_rules_check(&kind, &(ConfigList){.items = good, .count = ARRAY_SIZE(good)}), 0);
    assert_int_equal(client_rules_check(&kind, &(ConfigList){.items = bad, .count = ARRAY_SIZE(bad)}),
                     ARRAY_SIZE(bad));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_pattern_that_matches_counts),
        cmocka_unit_test(rules_that_say_nothing_or_too_much_are_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

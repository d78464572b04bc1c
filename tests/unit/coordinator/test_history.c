#include "common/json.h"
#include "control_fixture.h"
#include "coordinator/batch.h"

#define DAY_MS ((int64_t)86400000)
#define PATH "/srv/file.bin"

static int setup_keeping(void **state, HistoryConfig config)
{
    history_config = config;
    int r = setup(state);
    if (r == 0)
        come_online(*state, "dev1");
    return r;
}

static int setup_days(void **state)
{
    return setup_keeping(state, (HistoryConfig){.age_ms = 10 * (uint64_t)DAY_MS});
}

static int setup_count(void **state)
{
    return setup_keeping(state, (HistoryConfig){.count = 3});
}

#define RULES(items_)                                                                                        \
    {                                                                                                        \
        .items = items_, .count = ARRAY_SIZE(items_)                                                         \
    }

static char *ages[] = {"kiosk-1=0", "kiosk-*=3d"}, *counts[] = {"kiosk-1=0", "kiosk-*=2"},
            *bad_ages[] = {"kiosk=soon", "kiosk=40000d"},
            *bad_counts[] = {"a/b=1", "kiosk=1d", "kiosk=1000000001"};

static int setup_ages(void **state)
{
    return setup_keeping(state, (HistoryConfig){.age_ms = 10 * (uint64_t)DAY_MS, .ages = RULES(ages)});
}

static int setup_counts(void **state)
{
    return setup_keeping(state, (HistoryConfig){.count = 3, .counts = RULES(counts)});
}

static int teardown_keeping(void **state)
{
    history_config = (HistoryConfig){0};
    return teardown(state);
}

/* Ends at once. */
static Request complete_of(Fixture *fixture, const char *client)
{
    come_online(fixture, client);
    Request request = ask(fixture, client, PATH);
    say_receipt(fixture, fixture->key, client, client, request.id, PATH);
    expect_state(fixture, client, request.id, UPLOAD_COMPLETED);
    return request;
}

static Request complete(Fixture *fixture)
{
    return complete_of(fixture, "dev1");
}

static bool is_known(Fixture *fixture, const Request *request)
{
    Problem problem;
    Request found;
    return control_get(fixture->control, everything(), request->client, request->id, &found, &problem) == 0;
}

static void go_on(Fixture *fixture, int64_t ms)
{
    fixture->count = 0; /* room for what is said again */
    now_ms += ms;
    for (int i = 0; i < 20; i++)
        control_tick(fixture->control);
}

static void what_ended_long_ago_is_forgotten_and_what_has_not_ended_is_not(void **state)
{
    Fixture *fixture = *state;
    Problem problem;
    Request old = complete(fixture), open = {0};
    NewRequest lasting = {.client = "dev1", .path = PATH, .expires_ms = 100 * (uint64_t)DAY_MS};
    assert_int_equal(control_create(fixture->control, everything(), &lasting, &open, &problem), 0);
    go_on(fixture, 9 * DAY_MS);
    Request young = complete(fixture);
    assert_true(is_known(fixture, &old));
    go_on(fixture, 2 * DAY_MS);
    assert_false(is_known(fixture, &old));
    assert_true(is_known(fixture, &young));
    assert_true(is_known(fixture, &open));
}

static void only_so_many_are_kept_but_for_those_of_the_last_day(void **state)
{
    Fixture *fixture = *state;
    Request rows[6];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        now_ms += 1000;
        rows[i] = complete(fixture);
    }
    go_on(fixture, DAY_MS / 2);
    assert_true(is_known(fixture, &rows[0]));
    go_on(fixture, DAY_MS);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(is_known(fixture, &rows[i]), i >= 3);
}

static void many_go_little_by_little(void **state)
{
    Fixture *fixture = *state;
    Request rows[5];
    size_t count = 0;
    Problem problem;
    for (int i = 0; i < 500; i++) {
        fixture->count = 0;
        (void)complete(fixture);
    }
    now_ms += 11 * DAY_MS;
    fixture->count = 0;
    control_tick(fixture->control);
    assert_int_equal(
        control_list(fixture->control, everything(), &(PageWanted){0}, rows, 5, &count, &problem), 0);
    assert_int_equal(count, 5);
    control_tick(fixture->control);
    control_tick(fixture->control);
    assert_int_equal(
        control_list(fixture->control, everything(), &(PageWanted){0}, rows, 5, &count, &problem), 0);
    assert_int_equal(count, 0);
}

static void a_batch_goes_after_its_requests(void **state)
{
    Fixture *fixture = *state;
    Batch batch = {0};
    Problem problem;
    Request row = {0};
    size_t count = 0;
    assert_int_equal(
        batch_create(fixture->control, everything(), &(NewBatch){.each.path = PATH}, &batch, &problem), 0);
    pass(fixture, 2);
    assert_int_equal(control_list(fixture->control, everything(), &(PageWanted){.batch = batch.id}, &row, 1,
                                  &count, &problem),
                     0);
    say_receipt(fixture, fixture->key, "dev1", "dev1", row.id, PATH);
    go_on(fixture, 9 * DAY_MS);
    assert_int_equal(batch_get(fixture->control, everything(), batch.id, &batch, &problem), 0);
    assert_int_equal(batch.counts.completed, 1);
    go_on(fixture, 2 * DAY_MS);
    assert_int_equal(batch_get(fixture->control, everything(), batch.id, &batch, &problem), -1);
}

static void by_age_the_first_rule_that_matches_counts(void **state)
{
    Fixture *fixture = *state;
    Request kept = complete_of(fixture, "kiosk-1"), by_rule = complete_of(fixture, "kiosk-2"),
            other = complete_of(fixture, "shop");
    go_on(fixture, 2 * DAY_MS);
    Request young = complete_of(fixture, "kiosk-2");
    go_on(fixture, 2 * DAY_MS);
    assert_false(is_known(fixture, &by_rule));
    assert_true(is_known(fixture, &young));
    assert_true(is_known(fixture, &other));
    go_on(fixture, 7 * DAY_MS);
    assert_false(is_known(fixture, &young));
    assert_false(is_known(fixture, &other));
    go_on(fixture, 1000 * DAY_MS);
    assert_true(is_known(fixture, &kept));
}

static void a_count_by_rule_is_each_clients_own(void **state)
{
    Fixture *fixture = *state;
    static const char *const clients[] = {"kiosk-1", "kiosk-2", "kiosk-3", "shop-1", "shop-2"};
    Request rows[4][ARRAY_SIZE(clients)];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t j = 0; j < ARRAY_SIZE(clients); j++) {
            now_ms += 1000;
            rows[i][j] = complete_of(fixture, clients[j]);
        }
    go_on(fixture, 2 * DAY_MS);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_true(is_known(fixture, &rows[i][0]));
        assert_int_equal(is_known(fixture, &rows[i][1]), i >= 2);
        assert_int_equal(is_known(fixture, &rows[i][2]), i >= 2);
        assert_int_equal(is_known(fixture, &rows[i][3]), i >= 3); /* of all, the last three are kept */
        assert_int_equal(is_known(fixture, &rows[i][4]), i >= 3);
    }
}

static size_t count_known(Fixture *fixture)
{
    static Request rows[1000];
    Problem problem;
    size_t count = 0;
    assert_int_equal(control_list(fixture->control, everything(), &(PageWanted){0}, rows, ARRAY_SIZE(rows),
                                  &count, &problem),
                     0);
    return count;
}

static void many_clients_come_little_by_little(void **state)
{
    Fixture *fixture = *state;
    for (int i = 0; i < 120; i++) {
        char client[CLIENT_ID_SIZE];
        (void)snprintf(client, sizeof(client), "kiosk-%d", 1000 + i);
        fixture->count = 0;
        (void)complete_of(fixture, client);
    }
    for (int i = 0; i < 450; i++) {
        fixture->count = 0;
        (void)complete_of(fixture, "kiosk-0");
    }
    static const size_t left[] = {370, 170, 71, 21, 0}; /* of 570: 200 rows or 50 clients at a time */
    now_ms += 4 * DAY_MS;
    for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
        fixture->count = 0;
        control_tick(fixture->control);
        assert_int_equal(count_known(fixture), left[i]);
    }
}

static void a_batch_goes_after_its_requests_where_rules_take_them(void **state)
{
    Fixture *fixture = *state;
    Batch batch = {0};
    Problem problem;
    Request row = {0};
    size_t count = 0;
    come_online(fixture, "kiosk-2");
    cJSON *patterns CLEANUP(json_delete) = cJSON_Parse("[\"kiosk-*\"]");
    const NewBatch wanted = {.each.path = PATH, .patterns = patterns};
    assert_int_equal(batch_create(fixture->control, everything(), &wanted, &batch, &problem), 0);
    pass(fixture, 2);
    assert_int_equal(control_list(fixture->control, everything(), &(PageWanted){.batch = batch.id}, &row, 1,
                                  &count, &problem),
                     0);
    assert_int_equal(count, 1);
    say_receipt(fixture, fixture->key, "kiosk-2", "kiosk-2", row.id, PATH);
    go_on(fixture, 2 * DAY_MS);
    assert_int_equal(batch_get(fixture->control, everything(), batch.id, &batch, &problem), 0);
    go_on(fixture, 2 * DAY_MS);
    assert_int_equal(batch_get(fixture->control, everything(), batch.id, &batch, &problem), -1);
}

static void rules_that_say_nothing_are_mistakes(void **state)
{
    (void)state;
    assert_int_equal(history_check(&(HistoryConfig){.ages = RULES(ages), .counts = RULES(counts)}), 0);
    assert_int_equal(history_check(&(HistoryConfig){.ages = RULES(bad_ages), .counts = RULES(bad_counts)}),
                     5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_ended_long_ago_is_forgotten_and_what_has_not_ended_is_not,
                                        setup_days, teardown_keeping),
        cmocka_unit_test_setup_teardown(only_so_many_are_kept_but_for_those_of_the_last_day, setup_count,
                                        teardown_keeping),
        cmocka_unit_test_setup_teardown(many_go_little_by_little, setup_days, teardown_keeping),
        cmocka_unit_test_setup_teardown(a_batch_goes_after_its_requests, setup_days, teardown_keeping),
        cmocka_unit_test_setup_teardown(by_age_the_first_rule_that_matches_counts, setup_ages,
                                        teardown_keeping),
        cmocka_unit_test_setup_teardown(a_count_by_rule_is_each_clients_own, setup_counts, teardown_keeping),
        cmocka_unit_test_setup_teardown(many_clients_come_little_by_little, setup_ages, teardown_keeping),
        cmocka_unit_test_setup_teardown(a_batch_goes_after_its_requests_where_rules_take_them, setup_ages,
                                        teardown_keeping),
        cmocka_unit_test(rules_that_say_nothing_are_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

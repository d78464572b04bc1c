#include "control_fixture.h"
#include "coordinator/batch.h"

#define DAY_MS ((int64_t)86400000)
#define PATH "/srv/file.bin"

static int setup_keeping(void **state, uint64_t age_ms, uint64_t count)
{
    history_age_ms = age_ms;
    history_count = count;
    int r = setup(state);
    if (r == 0)
        come_online(*state, "dev1");
    return r;
}

static int setup_days(void **state)
{
    return setup_keeping(state, 10 * (uint64_t)DAY_MS, 0);
}

static int setup_count(void **state)
{
    return setup_keeping(state, 0, 3);
}

static int teardown_keeping(void **state)
{
    history_age_ms = history_count = 0;
    return teardown(state);
}

/* Ends at once. */
static Request complete(Fixture *fixture)
{
    Request request = ask(fixture, "dev1", PATH);
    say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, PATH);
    expect_state(fixture, "dev1", request.id, UPLOAD_COMPLETED);
    return request;
}

static bool is_known(Fixture *fixture, const Request *request)
{
    Problem problem;
    Request found;
    return control_get(fixture->control, everything(), "dev1", request->id, &found, &problem) == 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_ended_long_ago_is_forgotten_and_what_has_not_ended_is_not,
                                        setup_days, teardown_keeping),
        cmocka_unit_test_setup_teardown(only_so_many_are_kept_but_for_those_of_the_last_day, setup_count,
                                        teardown_keeping),
        cmocka_unit_test_setup_teardown(many_go_little_by_little, setup_days, teardown_keeping),
        cmocka_unit_test_setup_teardown(a_batch_goes_after_its_requests, setup_days, teardown_keeping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "coordinator/batch.h"

#include "control_fixture.h"
#include "coordinator/control_internal.h"

#include <inttypes.h>

#define PATH "/srv/file.bin"
#define FAILED                                                                                               \
    "{\"state\":\"failed\",\"path\":\"" PATH "\",\"sent\":0,\"attempt\":1,\"at\":\"2026-11-21T11:06:04Z\","  \
    "\"error\":{\"code\":\"not_found\",\"reason\":\"FILE_NOT_FOUND\",\"message\":\"No such file.\"}}"
#define RUNNING                                                                                              \
    "{\"state\":\"running\",\"path\":\"" PATH "\",\"sent\":3,\"attempt\":1,\"at\":\"2026-11-21T11:06:04Z\"}"

/* dev00, dev01, ... */
static void know(Fixture *fixture, int count)
{
    for (int i = 0; i < count; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "dev%02d", i);
        come_online(fixture, name);
    }
}

static int try(Fixture *fixture, const Grant *grant, const NewBatch *wanted, Batch *ret_batch,
               Problem *problem)
{
    NewBatch asked = *wanted;
    if (!asked.each.path)
        asked.each.path = PATH;
    *problem = (Problem){0};
    return batch_create(fixture->control, grant, &asked, ret_batch, problem);
}

static Batch make(Fixture *fixture, const NewBatch *wanted)
{
    Batch batch = {0};
    Problem problem;
    if (try(fixture, everything(), wanted, &batch, &problem) < 0)
        fail_msg("batch_create: %s", problem.message);
    return batch;
}

static void expect_refused(Fixture *fixture, const Grant *grant, const NewBatch *wanted, const char *reason)
{
    Batch batch;
    Problem problem;
    assert_int_equal(try(fixture, grant, wanted, &batch, &problem), -1);
    assert_string_equal(problem.reason, reason);
}

static Batch look(Fixture *fixture, const Batch *batch)
{
    Batch now = {0};
    Problem problem = {0};
    if (batch_get(fixture->control, everything(), batch->id, &now, &problem) < 0)
        fail_msg("batch_get: %s", problem.message);
    return now;
}

/* "unasked queued running completed failed state" */
static void expect(Fixture *fixture, const Batch *batch, const char *expected)
{
    char seen[128];
    Batch now = look(fixture, batch);
    (void)snprintf(seen, sizeof(seen), "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s",
                   now.counts.unasked, now.counts.queued, now.counts.running, now.counts.completed,
                   now.counts.failed, batch_state_name(&now));
    assert_string_equal(seen, expected);
}

/* The request that the batch has made of this client. */
static Request part_of(Fixture *fixture, const Batch *batch, const char *client)
{
    Request rows[8];
    Problem problem;
    size_t count = 0;
    assert_int_equal(control_list(fixture->control, everything(),
                                  &(PageWanted){.client = client, .batch = batch->id}, rows, 8, &count,
                                  &problem),
                     0);
    if (count != 1)
        fail_msg("%s has %zu requests of the batch, not one", client, count);
    return rows[0];
}

static void restart(Fixture *fixture)
{
    fixture_stop(fixture);
    fixture_start(fixture);
    control_on_connection(fixture->control, true);
}

static void so_many_are_asked_a_second_in_the_order_of_their_names(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 10);
    Batch batch = make(fixture, &(NewBatch){.ramp = 4});
    assert_int_equal(batch.matched, 10);
    expect(fixture, &batch, "10 0 0 0 0 asking");
    assert_int_equal(fixture->count, 0);
    pass(fixture, 1);
    expect(fixture, &batch, "6 4 0 0 0 asking");
    assert_int_equal(fixture->count, 4);
    assert_non_null(strstr(fixture->published[3].topic, "/dev03/"));
    pass(fixture, 1);
    expect(fixture, &batch, "2 8 0 0 0 asking");
    pass(fixture, 1);
    expect(fixture, &batch, "0 10 0 0 0 waiting");
    pass(fixture, 5);
    assert_int_equal(fixture->count, 10);
}

static void a_slow_clock_does_not_ask_more_at_once(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 10);
    Batch batch = make(fixture, &(NewBatch){.ramp = 2});
    now_ms += 60000;
    control_tick(fixture->control);
    expect(fixture, &batch, "8 2 0 0 0 asking");
    now_ms += 250; /* half a client's time */
    control_tick(fixture->control);
    expect(fixture, &batch, "8 2 0 0 0 asking");
    now_ms += 250;
    control_tick(fixture->control);
    expect(fixture, &batch, "7 3 0 0 0 asking");
}

static void a_restart_in_the_middle_asks_everybody_once(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 9);
    Batch batch = make(fixture, &(NewBatch){.ramp = 2});
    for (int i = 0; i < 5; i++) {
        pass(fixture, 1);
        restart(fixture);
    }
    expect(fixture, &batch, "0 9 0 0 0 waiting");
    for (int i = 0; i < 9; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "dev%02d", i);
        (void)part_of(fixture, &batch, name);
    }
}

static void nobody_is_asked_without_a_broker(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 3);
    Batch batch = make(fixture, &(NewBatch){.ramp = 1});
    control_on_connection(fixture->control, false);
    pass(fixture, 10);
    expect(fixture, &batch, "3 0 0 0 0 asking");
    control_on_connection(fixture->control, true);
    pass(fixture, 1);
    expect(fixture, &batch, "2 1 0 0 0 asking");
}

static void counts_follow_what_happens_and_a_receipt_overrides_a_failure(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 3);
    Batch batch = make(fixture, &(NewBatch){0});
    pass(fixture, 1);
    Request first = part_of(fixture, &batch, "dev00"), second = part_of(fixture, &batch, "dev01"),
            third = part_of(fixture, &batch, "dev02");
    say_status(fixture, "dev00", first.id, RUNNING);
    say_status(fixture, "dev01", second.id, FAILED);
    expect(fixture, &batch, "0 1 1 0 1 waiting");
    say_receipt(fixture, fixture->key, "dev00", "dev00", first.id, PATH);
    say_receipt(fixture, fixture->key, "dev02", "dev02", third.id, PATH);
    expect(fixture, &batch, "0 0 0 2 1 done");
    restart(fixture);
    say_receipt(fixture, fixture->key, "dev01", "dev01", second.id, PATH);
    expect(fixture, &batch, "0 0 0 3 0 done");
}

static void too_many_failures_stop_it(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 10);
    Batch batch = make(fixture, &(NewBatch){.ramp = 3, .max_failures = 2});
    pass(fixture, 1);
    say_status(fixture, "dev00", part_of(fixture, &batch, "dev00").id, FAILED);
    pass(fixture, 1);
    expect(fixture, &batch, "4 5 0 0 1 asking");
    say_status(fixture, "dev01", part_of(fixture, &batch, "dev01").id, FAILED);
    pass(fixture, 3);
    expect(fixture, &batch, "4 4 0 0 2 stopped");
    restart(fixture);
    pass(fixture, 3);
    expect(fixture, &batch, "4 4 0 0 2 stopped");
}

static void names_and_labels_choose_among_what_the_user_sees(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    hear(fixture, "beckon/v1/shop_1/presence",
         "{\"online\":true,\"labels\":{\"site\":\"7\",\"kind\":\"pos\"}}");
    hear(fixture, "beckon/v1/shop_2/presence", "{\"online\":true,\"labels\":{\"site\":\"7\"}}");
    hear(fixture, "beckon/v1/shop_3/presence",
         "{\"online\":true,\"labels\":{\"site\":\"70\",\"kind\":\"pos\"}}");
    cJSON *shops = cJSON_Parse("[\"shop_?\",\"nothing\"]"), *site = cJSON_Parse("{\"site\":\"7\"}"),
          *both = cJSON_Parse("{\"site\":\"7\",\"kind\":\"pos\"}"), *none = cJSON_Parse("{\"site\":\"8\"}"),
          *first = cJSON_Parse("[\"*_1\"]");
    assert_int_equal(make(fixture, &(NewBatch){.patterns = shops}).matched, 3);
    assert_int_equal(make(fixture, &(NewBatch){.labels = site}).matched, 2);
    assert_int_equal(make(fixture, &(NewBatch){.labels = both}).matched, 1);
    assert_int_equal(make(fixture, &(NewBatch){.patterns = first, .labels = site}).matched, 1);
    assert_int_equal(make(fixture, &(NewBatch){0}).matched, 5);
    expect_refused(fixture, everything(), &(NewBatch){.labels = none}, "NO_CLIENT_MATCHES");
    Grant ann = only("ann", "shop_[2]"), bob = only("bob", "shop_2");
    Batch batch;
    Problem problem;
    expect_refused(fixture, &ann, &(NewBatch){0}, "NO_CLIENT_MATCHES");
    assert_int_equal(try(fixture, &bob, &(NewBatch){0}, &batch, &problem), 0);
    assert_int_equal(batch.matched, 1);
    cJSON_Delete(shops);
    cJSON_Delete(site);
    cJSON_Delete(both);
    cJSON_Delete(none);
    cJSON_Delete(first);
}

static void its_maker_and_administrators_of_everything_see_it(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    Grant ann = only("ann", "dev*"), bob = only("bob", "*"), chief = only("chief", "*"),
          deputy = only("deputy", "dev*");
    chief.scopes = deputy.scopes = GRANT_ADMIN;
    Batch batch, seen, rows[4];
    Problem problem;
    size_t count = 9;
    assert_int_equal(try(fixture, &ann, &(NewBatch){0}, &batch, &problem), 0);
    assert_int_equal(batch_get(fixture->control, &ann, batch.id, &seen, &problem), 0);
    assert_int_equal(batch_get(fixture->control, &chief, batch.id, &seen, &problem), 0);
    const Grant *const others[] = {&bob, &deputy};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        assert_int_equal(batch_get(fixture->control, others[i], batch.id, &seen, &problem), -1);
        assert_string_equal(problem.reason, "UNKNOWN_BATCH");
        assert_int_equal(batch_cancel(fixture->control, others[i], batch.id, &seen, &problem), -1);
        assert_int_equal(batch_list(fixture->control, others[i], NULL, rows, 4, &count, &problem), 0);
        assert_int_equal(count, 0);
        assert_int_equal(batch_list(fixture->control, others[i], batch.id, rows, 4, &count, &problem), -1);
        assert_string_equal(problem.reason, "INVALID_QUERY");
    }
    assert_int_equal(batch_list(fixture->control, &chief, NULL, rows, 4, &count, &problem), 0);
    assert_int_equal(count, 1);
    assert_int_equal(batch_list(fixture->control, &ann, NULL, rows, 4, &count, &problem), 0);
    assert_int_equal(count, 1);
    assert_int_equal(batch_list(fixture->control, &ann, batch.id, rows, 4, &count, &problem), 0);
    assert_int_equal(count, 0);
}

static void a_key_makes_one_batch_and_means_one_wish(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    NewBatch wanted = {.each.path = PATH, .each.idempotency_key = "key", .fingerprint = {1}};
    Batch batch = make(fixture, &wanted), again = make(fixture, &wanted);
    assert_string_equal(batch.id, again.id);
    pass(fixture, 3);
    assert_int_equal(fixture->count, 2);
    wanted.fingerprint[0] = 2;
    expect_refused(fixture, everything(), &wanted, "IDEMPOTENCY_KEY_REUSED");
    Request request;
    Problem problem;
    assert_int_equal(control_create(fixture->control, everything(),
                                    &(NewRequest){.client = "dev00", .path = PATH, .idempotency_key = "key"},
                                    &request, &problem),
                     -1);
    assert_string_equal(problem.reason, "IDEMPOTENCY_KEY_REUSED");
    assert_int_equal(
        control_create(fixture->control, everything(),
                       &(NewRequest){.client = "dev00", .path = PATH, .idempotency_key = "other"}, &request,
                       &problem),
        0);
    wanted.each.idempotency_key = "other";
    expect_refused(fixture, everything(), &wanted, "IDEMPOTENCY_KEY_REUSED");
}

static void cancelling_ends_the_asking_and_cancels_what_was_asked(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 6);
    Batch batch = make(fixture, &(NewBatch){.ramp = 4}), seen;
    Problem problem;
    pass(fixture, 1);
    Request first = part_of(fixture, &batch, "dev00"), second = part_of(fixture, &batch, "dev01");
    say_receipt(fixture, fixture->key, "dev00", "dev00", first.id, PATH);
    assert_int_equal(batch_cancel(fixture->control, everything(), batch.id, &seen, &problem), 0);
    assert_string_equal(batch_state_name(&seen), "cancelled");
    restart(fixture); /* before any of them has been told */
    pass(fixture, 1);
    expect(fixture, &batch, "2 3 0 1 0 cancelled");
    assert_int_equal(commands(fixture, "cancel", first.id), 0);
    assert_true(commands(fixture, "cancel", second.id) >= 1);
    assert_true(look_up(fixture, "dev03", part_of(fixture, &batch, "dev03").id).cancel_asked);
    say_status(fixture, "dev01", second.id,
               "{\"state\":\"cancelled\",\"path\":\"" PATH
               "\",\"sent\":0,\"attempt\":0,\"at\":\"2026-11-21T11:06:04Z\"}");
    expect(fixture, &batch, "2 2 0 1 1 cancelled");
    assert_int_equal(batch_cancel(fixture->control, everything(), batch.id, &seen, &problem), 0);
}

static void what_is_over_can_not_be_cancelled(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 1);
    Batch batch = make(fixture, &(NewBatch){0}), seen;
    Problem problem;
    pass(fixture, 1);
    Request only_one = part_of(fixture, &batch, "dev00");
    say_receipt(fixture, fixture->key, "dev00", "dev00", only_one.id, PATH);
    assert_int_equal(batch_cancel(fixture->control, everything(), batch.id, &seen, &problem), -1);
    assert_string_equal(problem.reason, "ALREADY_FINAL");
}

static int refuse(void *userdata, const char *id, Problem *problem)
{
    (void)userdata;
    assert_true(upload_id_is_valid(id));
    return problem_set(problem, ERROR_UNAVAILABLE, "AUDIT_FAILED", "no");
}

static void what_is_not_approved_leaves_nothing(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    Batch rows[2];
    Problem problem;
    size_t count = 9;
    expect_refused(fixture, everything(), &(NewBatch){.each.approve = refuse}, "AUDIT_FAILED");
    assert_int_equal(batch_list(fixture->control, everything(), NULL, rows, 2, &count, &problem), 0);
    assert_int_equal(count, 0);
}

static void only_so_many_are_asked_at_a_time(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    Batch batch;
    Problem problem;
    for (int i = 0; i < BATCHES_ASKING_MAX; i++) {
        Grant user = only("", "*");
        (void)snprintf(user.user, sizeof(user.user), "user%d", i);
        assert_int_equal(try(fixture, &user, &(NewBatch){0}, &batch, &problem), 0);
    }
    expect_refused(fixture, everything(), &(NewBatch){0}, "TOO_MANY_BATCHES");
}

static void one_user_leaves_places_for_others(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    Grant ann = only("ann", "*"), bob = only("bob", "*");
    Batch batch;
    Problem problem;
    for (int i = 0; i < BATCHES_ASKING_USER_MAX; i++)
        assert_int_equal(try(fixture, &ann, &(NewBatch){0}, &batch, &problem), 0);
    expect_refused(fixture, &ann, &(NewBatch){0}, "TOO_MANY_BATCHES");
    restart(fixture);
    expect_refused(fixture, &ann, &(NewBatch){0}, "TOO_MANY_BATCHES");
    assert_int_equal(try(fixture, &bob, &(NewBatch){0}, &batch, &problem), 0);
    pass(fixture, 1);
    assert_int_equal(try(fixture, &ann, &(NewBatch){0}, &batch, &problem), 0);
}

static size_t open_of(const Fixture *fixture, const char *client)
{
    size_t first = 0;
    return control_open_range(fixture->control, client, &first);
}

static void batches_do_not_fill_a_client_beyond_its_limit(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    cJSON *first = cJSON_Parse("[\"dev00\"]");
    NewBatch wanted = {.patterns = first};
    for (int i = 0; i < OPEN_REQUESTS_PER_CLIENT_MAX; i++) {
        (void)make(fixture, &wanted);
        pass(fixture, 1);
        fixture->count = 0;
    }
    assert_int_equal(open_of(fixture, "dev00"), OPEN_REQUESTS_PER_CLIENT_MAX);
    expect_refused(fixture, everything(), &wanted, "TOO_MANY_REQUESTS");
    (void)ask(fixture, "dev01", PATH);
    cJSON_Delete(first);
}

static void a_client_that_is_full_fails_its_part_and_holds_up_no_other(void **state)
{
    Fixture *fixture = *state;
    char id[16];
    know(fixture, 2);
    for (int i = 0; i < OPEN_REQUESTS_PER_CLIENT_MAX; i++) {
        (void)snprintf(id, sizeof(id), "own%d", i);
        say_status(fixture, "dev00", id, RUNNING);
    }
    Batch batch = make(fixture, &(NewBatch){0});
    pass(fixture, 1);
    expect(fixture, &batch, "0 1 0 0 1 waiting");
    Request full = part_of(fixture, &batch, "dev00"), other = part_of(fixture, &batch, "dev01");
    assert_int_equal(full.state, UPLOAD_REJECTED);
    assert_string_equal(full.problem.reason, "TOO_MANY_REQUESTS");
    assert_int_equal(commands(fixture, "upload", full.id), 0);
    assert_int_equal(commands(fixture, "upload", other.id), 1);
    assert_int_equal(open_of(fixture, "dev00"), OPEN_REQUESTS_PER_CLIENT_MAX);
}

static void requests_say_their_batch_and_its_life(void **state)
{
    Fixture *fixture = *state;
    know(fixture, 2);
    Batch batch = make(fixture, &(NewBatch){.ramp = 1,
                                            .each.expires_ms = 60000,
                                            .each.path = PATH,
                                            .each.max_size_bytes = 77,
                                            .each.rate_bytes_per_s = 55});
    pass(fixture, 30);
    Request second = part_of(fixture, &batch, "dev01");
    assert_string_equal(second.batch, batch.id);
    assert_int_equal(second.expires_ms - second.created_ms, 60000);
    assert_int_equal(second.max_size_bytes, 77);
    assert_int_equal(second.rate_bytes_per_s, 55);
    assert_string_equal(second.traceparent, batch.traceparent);
    pass(fixture, 120);
    expect(fixture, &batch, "0 0 0 0 2 done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(so_many_are_asked_a_second_in_the_order_of_their_names, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_slow_clock_does_not_ask_more_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_in_the_middle_asks_everybody_once, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_is_asked_without_a_broker, setup, teardown),
        cmocka_unit_test_setup_teardown(counts_follow_what_happens_and_a_receipt_overrides_a_failure, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(too_many_failures_stop_it, setup, teardown),
        cmocka_unit_test_setup_teardown(names_and_labels_choose_among_what_the_user_sees, setup, teardown),
        cmocka_unit_test_setup_teardown(its_maker_and_administrators_of_everything_see_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_makes_one_batch_and_means_one_wish, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelling_ends_the_asking_and_cancels_what_was_asked, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_over_can_not_be_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_approved_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(only_so_many_are_asked_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(one_user_leaves_places_for_others, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_do_not_fill_a_client_beyond_its_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_is_full_fails_its_part_and_holds_up_no_other, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(requests_say_their_batch_and_its_life, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "control_fixture.h"

#define PATH "/srv/file.bin"

/* A completed request. */
static Request complete(Fixture *fixture)
{
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", PATH);
    say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, PATH);
    fixture->count = 0;
    return request;
}

static Request wish(Fixture *fixture, const char *id)
{
    Grant chief = only("chief", "*");
    Request request = {0};
    Problem problem;
    if (control_remove(fixture->control, &chief, NULL, id, &request, &problem) < 0)
        fail_msg("control_remove: %s", problem.message);
    return request;
}

static void say_removed(Fixture *fixture, const SigningKey *key, const char *topic_client, const char *client,
                        const char *id)
{
    Removal removal = {.removed_unix_s = START_UNIX_MS / 1000, .issuer = "receiver"};
    char *token = NULL, topic[256];
    (void)snprintf(removal.client, sizeof(removal.client), "%s", client);
    (void)snprintf(removal.upload, sizeof(removal.upload), "%s", id);
    assert_int_equal(removal_sign(key, &removal, &token), 0);
    char *message = removal_message_format(&removal, "", token);
    (void)snprintf(topic, sizeof(topic), "beckon/v1/%s/removed/%s", topic_client, id);
    hear(fixture, topic, message);
    free(message);
    free(token);
}

static bool is_removed(Fixture *fixture, const char *id)
{
    return look_up(fixture, "dev1", id).removed_ms != 0;
}

static void a_removal_is_said_until_it_is_answered(void **state)
{
    Fixture *fixture = *state;
    Request request = complete(fixture);
    assert_true(wish(fixture, request.id).removal_asked);
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "remove", request.id), 1);
    pass(fixture, 119);
    assert_int_equal(commands(fixture, "remove", request.id), 1);
    pass(fixture, 2);
    assert_int_equal(commands(fixture, "remove", request.id), 2);
    say_removed(fixture, fixture->key, "dev1", "dev1", request.id);
    assert_true(is_removed(fixture, request.id));
    expect_state(fixture, "dev1", request.id, UPLOAD_COMPLETED);
    pass(fixture, 3600);
    assert_int_equal(commands(fixture, "remove", request.id), 2);
    assert_int_equal(wish(fixture, request.id).removed_ms, START_UNIX_MS);
    pass(fixture, 5);
    assert_int_equal(commands(fixture, "remove", request.id), 2);
}

static void the_command_carries_a_short_lived_ticket_for_this_file_and_who_asked(void **state)
{
    Fixture *fixture = *state;
    Request request = complete(fixture);
    char token[TICKET_MAX];
    Problem problem;
    Ticket ticket;
    (void)wish(fixture, request.id);
    pass(fixture, 1);
    const char *payload = fixture->published[0].payload;
    assert_int_equal(upload_command_ticket(payload, strlen(payload), token, &problem), 0);
    assert_int_equal(ticket_verify(fixture->ring, token, fake_unix_ms() / 1000, &ticket), 0);
    assert_int_equal(ticket.scope, TICKET_REMOVE);
    assert_string_equal(ticket.client, "dev1");
    assert_string_equal(ticket.upload, request.id);
    assert_string_equal(ticket.user, "chief");
    assert_true(ticket.expires_unix_s - ticket.issued_unix_s <= 600);
}

static void a_restart_goes_on_asking_in_the_same_name(void **state)
{
    Fixture *fixture = *state;
    Request request = complete(fixture);
    fixture->refuse = -ENOTCONN;
    (void)wish(fixture, request.id);
    pass(fixture, 1);
    fixture->refuse = 0;
    fixture_stop(fixture);
    fixture_start(fixture);
    control_on_connection(fixture->control, true);
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "remove", request.id), 1);
    assert_string_equal(look_up(fixture, "dev1", request.id).remover, "chief");
}

static void only_the_receivers_signature_for_this_upload_counts(void **state)
{
    Fixture *fixture = *state;
    Request request = complete(fixture);
    char topic[256];
    (void)snprintf(topic, sizeof(topic), "beckon/v1/dev1/removed/%s", request.id);
    hear(fixture, topic, "{\"removal\":\"x.y.z\"}");
    hear(fixture, topic, "{}");
    hear(fixture, topic, "");
    say_removed(fixture, fixture->other_key, "dev1", "dev1", request.id);
    say_removed(fixture, fixture->key, "dev1", "dev2", request.id);
    assert_false(is_removed(fixture, request.id));
    say_removed(fixture, fixture->key, "dev1", "dev1", request.id); /* by its own retention */
    assert_true(is_removed(fixture, request.id));
    say_removed(fixture, fixture->key, "dev1", "dev1", "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_removal_is_said_until_it_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(the_command_carries_a_short_lived_ticket_for_this_file_and_who_asked,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_goes_on_asking_in_the_same_name, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_receivers_signature_for_this_upload_counts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "control_fixture.h"
#include "coordinator/control_internal.h"

#define ACCEPTED "{\"state\":\"accepted\",\"path\":\"/srv/x\",\"size\":12}"
#define RUNNING "{\"state\":\"running\",\"path\":\"/srv/x\",\"size\":12,\"sent\":5}"
#define DONE "{\"state\":\"done\",\"path\":\"/srv/x\",\"size\":12,\"sent\":12}"
#define FAILED                                                                                               \
    "{\"state\":\"failed\",\"error\":{\"code\":\"not_found\",\"reason\":\"GONE\",\"message\":\"It is "       \
    "gone.\"}}"
#define REJECTED                                                                                             \
    "{\"state\":\"rejected\",\"error\":{\"code\":\"permission_denied\",\"reason\":\"PATH_NOT_ALLOWED\"}}"
#define QUEUE_FULL                                                                                           \
    "{\"state\":\"rejected\",\"error\":{\"code\":\"resource_exhausted\",\"reason\":\"QUEUE_FULL\"}}"
#define CANCELLED "{\"state\":\"cancelled\"}"

/* --- commands --- */

static int64_t ticket_of(const Fixture *fixture, const Published *published, Ticket *ret_ticket)
{
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));
    Problem problem;

    assert_int_equal(upload_command_parse(published->payload, strlen(published->payload), command, &problem),
                     0);
    assert_int_equal(ticket_verify(fixture->ring, command->ticket, fake_unix_ms() / 1000, ret_ticket), 0);
    assert_string_equal(command->path, ret_ticket->path);
    assert_string_equal(command->receiver, ret_ticket->receiver);
    assert_int_equal(command->expires_unix_s, ret_ticket->expires_unix_s);
    assert_int_equal(command->max_size_bytes, ret_ticket->max_size_bytes);
    assert_int_equal(command->rate_bytes_per_s, ret_ticket->rate_bytes_per_s);
    return ret_ticket->issued_unix_s;
}

static void each_command_carries_a_ticket_of_its_own_for_all_that_it_says(void **state)
{
    Fixture *fixture = *state;
    Ticket ticket;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    int64_t first = ticket_of(fixture, &fixture->published[0], &ticket);

    assert_int_equal(ticket.scope, TICKET_UPLOAD);
    assert_string_equal(ticket.client, "dev1");
    assert_string_equal(ticket.upload, request.id);
    assert_int_equal(ticket.expires_unix_s, (START_UNIX_MS + 1000 + EXPIRES_MS) / 1000);
    pass(fixture, REPUBLISH_MS / 1000);
    assert_int_equal(commands(fixture, "upload", request.id), 2);
    assert_true(ticket_of(fixture, &fixture->published[fixture->count - 1], &ticket) > first);
    assert_int_equal(ticket.expires_unix_s, (START_UNIX_MS + 1000 + EXPIRES_MS) / 1000);
}

/* --- completion --- */

static void done_waits_for_the_receipt(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    assert_int_equal(commands(fixture, "upload", request.id), 1);
    assert_non_null(strstr(fixture->published[0].payload, "\"path\":\"/srv/x\""));

    say_status(fixture, "dev1", request.id, ACCEPTED);
    expect_state(fixture, NULL, request.id, UPLOAD_ACCEPTED);
    say_status(fixture, "dev1", request.id, RUNNING);
    say_status(fixture, "dev1", request.id, DONE);
    expect_state(fixture, NULL, request.id, UPLOAD_RUNNING);
    say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, "/srv/x");

    request = look_up(fixture, NULL, request.id);
    assert_int_equal(request.state, UPLOAD_COMPLETED);
    assert_true(request.has_sha256 && request.sha256[0] == 0xab);
    assert_true(request.size_bytes == 12 && request.sent_bytes == 12);
    assert_true(request.completed_ms == fake_unix_ms() && request.started_ms > 0);
    assert_int_equal(request.problem.code, ERROR_NONE);
    assert_true(strstr(request.stored, "/file") != NULL);
}

static void a_receipt_that_proves_nothing_completes_nothing(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    come_online(fixture, "dev2");
    Request request = ask(fixture, "dev1", "/srv/x");
    char topic[256];

    say_receipt(fixture, fixture->other_key, "dev1", "dev1", request.id, "/srv/x"); /* forged */
    say_receipt(fixture, fixture->key, "dev1", "dev2", request.id, "/srv/x");       /* another client's */
    say_receipt(fixture, fixture->key, "dev1", "dev1", "another-id", "/srv/x");
    (void)snprintf(topic, sizeof(topic), "beckon/v1/dev1/receipt/%s", request.id);
    hear(fixture, topic, "");
    hear(fixture, topic, "{}");
    hear(fixture, topic, "{\"receipt\":\"a.b.c\"}");
    hear(fixture, topic, "{\"path\":\"/srv/x\",\"size\":12,\"sha256\":\"ab\"}");
    expect_state(fixture, NULL, request.id, UPLOAD_QUEUED);
}

static void a_receipt_for_another_clients_equal_id_is_another_upload(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    come_online(fixture, "dev2");
    Request request = ask(fixture, "dev1", "/srv/x");
    say_receipt(fixture, fixture->key, "dev2", "dev2", request.id, "/srv/x");
    expect_state(fixture, NULL, request.id, UPLOAD_QUEUED);
    expect_state(fixture, "dev1", request.id, UPLOAD_QUEUED);
    expect_state(fixture, "dev2", request.id, UPLOAD_COMPLETED);
}

static void a_receipt_for_another_path_fails_the_request(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, "/srv/secret/x");
    request = look_up(fixture, NULL, request.id);
    assert_int_equal(request.state, UPLOAD_FAILED);
    assert_string_equal(request.problem.reason, "WRONG_PATH");
    assert_false(request.has_sha256);
}

static void a_path_is_the_same_if_only_said_otherwise(void **state)
{
    static const struct {
        const char *asked, *received;
        bool same;
    } paths[] = {
        {"/srv/x", "/srv/x", true},     {"/srv//x", "/srv/x", true},
        {"/srv/./x", "/srv/x", true},   {"x", "/srv/x", true},
        {"./x", "/srv/x", true},        {"a/x", "/srv/a/x", true},
        {".//a/./x", "/srv/a/x", true}, {"x", "x", true},
        {"/srv/x", "/srv/X", false},    {"/srv/x", "/srv/x/", false},
        {"/x", "/srv/x", false},        {"x", "/srv/ax", false},
        {"a/x", "/srv/b/x", false},     {".", "/srv", false},
        {"../x", "/srv/x", false},      {"/srv/../x", "/x", false},
        {"srv/x", "/srv/x", true},      {"/srv/x", "srv/x", false},
        {"..x", "/srv/..x", true},      {"/srv/x ", "/srv/x", false},
        {"", "/srv/x", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (follow_path_is(paths[i].asked, paths[i].received) != paths[i].same)
            fail_msg("%s and %s: expected %d", paths[i].asked, paths[i].received, paths[i].same);
}

static void a_receipt_overrides_what_was_believed(void **state)
{
    static const char *const beliefs[] = {FAILED, CANCELLED};
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    for (size_t i = 0; i < ARRAY_SIZE(beliefs); i++) {
        Request request = ask(fixture, "dev1", "/srv/x");
        say_status(fixture, "dev1", request.id, beliefs[i]);
        assert_int_equal(commands(fixture, "receipt", request.id),
                         1); /* asked once, for it may have been lost */
        say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, "/srv/x");
        request = look_up(fixture, NULL, request.id);
        assert_int_equal(request.state, UPLOAD_COMPLETED);
        assert_int_equal(request.problem.code, ERROR_NONE);
    }
}

/* The agent keeps no record of a command that it could not read, so the id is still free for a good one. */
static void a_receipt_overrides_a_rejection(void **state)
{
    Fixture *fixture = *state;
    say_status(fixture, "dev1", "typo", REJECTED);
    say_status(fixture, "dev1", "typo", RUNNING);
    expect_state(fixture, NULL, "typo", UPLOAD_REJECTED);
    say_status(fixture, "dev1", "typo", DONE);
    assert_int_equal(commands(fixture, "receipt", "typo"), 1); /* it may have been lost */
    say_receipt(fixture, fixture->key, "dev1", "dev1", "typo", "/srv/x");
    Request request = look_up(fixture, NULL, "typo");
    assert_int_equal(request.state, UPLOAD_COMPLETED);
    assert_int_equal(request.problem.code, ERROR_NONE);
    assert_string_equal(request.path, "/srv/x");
}

static void an_upload_that_nobody_asked_for_here_is_followed(void **state)
{
    Fixture *fixture = *state;
    say_status(fixture, "dev1", "t1", ACCEPTED);
    Request request = look_up(fixture, NULL, "t1");
    assert_int_equal(request.origin, ORIGIN_MQTT);
    assert_string_equal(request.path, "/srv/x");
    say_receipt(fixture, fixture->key, "dev1", "dev1", "t1", "/srv/x");
    expect_state(fixture, NULL, "t1", UPLOAD_COMPLETED);
    say_receipt(fixture, fixture->key, "dev2", "dev2", "t2", "/srv/y"); /* a plain curl -T */
    expect_state(fixture, NULL, "t2", UPLOAD_COMPLETED);
    say_status(fixture, "dev3", "t3", REJECTED);
    expect_state(fixture, NULL, "t3", UPLOAD_REJECTED);
}

/* --- what is said again --- */

static void a_lost_receipt_is_asked_for_again_and_ever_more_seldom(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    say_status(fixture, "dev1", request.id, RUNNING);
    say_status(fixture, "dev1", request.id, DONE);
    assert_int_equal(commands(fixture, "receipt", request.id), 0);
    pass(fixture, 3);
    assert_int_equal(commands(fixture, "receipt", request.id), 1);
    pass(fixture, 60);
    assert_int_equal(commands(fixture, "receipt", request.id), 4); /* after 3, 9, 21, 45 s */
    say_status(fixture, "dev1", request.id, DONE);                 /* does not make it impatient */
    pass(fixture, 5);
    assert_int_equal(commands(fixture, "receipt", request.id), 4);
}

static void silence_of_a_client_that_is_online_repeats_the_command(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    pass(fixture, 299);
    assert_int_equal(commands(fixture, "upload", request.id), 1);
    pass(fixture, 2);
    assert_int_equal(commands(fixture, "upload", request.id), 2);
    pass(fixture, 301);
    assert_int_equal(commands(fixture, "upload", request.id), 2); /* the silence is doubled */
    pass(fixture, 301);
    assert_int_equal(commands(fixture, "upload", request.id), 3);
    say_status(fixture, "dev1", request.id, ACCEPTED);
    pass(fixture, 301);
    assert_int_equal(commands(fixture, "upload", request.id), 4);
}

static void a_client_that_is_away_gets_its_command_when_it_comes(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    hear(fixture, "beckon/v1/dev1/presence", "{\"online\":false}");
    fixture->refuse = -ENOTCONN;
    control_on_connection(fixture->control, false);
    Request request = ask(fixture, "dev1", "/srv/x");
    fixture->refuse = 0;
    control_on_connection(fixture->control, true);
    pass(fixture, 1000);
    assert_int_equal(fixture->count, 0);
    come_online(fixture, "dev1");
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "upload", request.id), 1);
    come_online(fixture, "dev1"); /* a heartbeat */
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "upload", request.id), 1);
}

static void after_a_reconnect_everything_open_is_said_again(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    fixture->refuse = -ENOTCONN;
    control_on_connection(fixture->control, false);
    pass(fixture, 10);
    fixture->refuse = 0;
    control_on_connection(fixture->control, true);
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "upload", request.id), 2);
}

static void what_a_full_queue_refused_goes_out_later(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    fixture->refuse = -ENOBUFS;
    Request one = ask(fixture, "dev1", "/srv/x"), two = ask(fixture, "dev1", "/srv/y");
    pass(fixture, 2);
    fixture->refuse = 0;
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "upload", one.id), 1);
    assert_int_equal(commands(fixture, "upload", two.id), 1);
}

static void a_restart_loses_nothing(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request queued = ask(fixture, "dev1", "/srv/x"), running = ask(fixture, "dev1", "/srv/y");
    Request completed = ask(fixture, "dev1", "/srv/z");
    say_status(fixture, "dev1", running.id, RUNNING);
    say_receipt(fixture, fixture->key, "dev1", "dev1", completed.id, "/srv/z");
    fixture_stop(fixture);
    fixture_start(fixture);
    control_on_connection(fixture->control, true);
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "upload", queued.id), 0); /* not known to be online */
    come_online(fixture, "dev1");
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "upload", queued.id), 1);
    assert_int_equal(commands(fixture, "upload", running.id), 1);
    assert_int_equal(commands(fixture, "upload", completed.id), 0);
    expect_state(fixture, NULL, completed.id, UPLOAD_COMPLETED);
    say_receipt(fixture, fixture->key, "dev1", "dev1", running.id, "/srv/y");
    expect_state(fixture, NULL, running.id, UPLOAD_COMPLETED);
}

static void a_command_of_others_is_never_repeated(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    say_status(fixture, "dev1", "t1", RUNNING);
    pass(fixture, 301);
    assert_int_equal(commands(fixture, "upload", "t1"), 0);
    assert_int_equal(commands(fixture, "receipt", "t1"), 1); /* but its receipt may have been lost */
}

/* --- a device whose queue is full --- */

static void a_full_device_gets_the_command_again_when_something_has_ended(void **state)
{
    static const struct {
        const char *client, *end;
    } ends[] = {{"dev1", DONE}, {"dev2", FAILED}, {"dev3", CANCELLED}, {"dev4", REJECTED}};
    Fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        const char *dev = ends[i].client;
        come_online(fixture, dev);
        Request taken = ask(fixture, dev, "/srv/x"), held = ask(fixture, dev, "/srv/y");
        say_status(fixture, dev, taken.id, ACCEPTED);
        say_status(fixture, dev, held.id, QUEUE_FULL);
        pass(fixture, 20);
        expect_state(fixture, NULL, held.id, UPLOAD_QUEUED);
        assert_int_equal(commands(fixture, "upload", held.id), 1);
        say_status(fixture, dev, taken.id, ends[i].end);
        assert_int_equal(commands(fixture, "upload", held.id), 2);
        say_receipt(fixture, fixture->key, dev, dev, taken.id, "/srv/x");
        say_status(fixture, dev, held.id, ACCEPTED);
        say_receipt(fixture, fixture->key, dev, dev, held.id, "/srv/y");
        expect_state(fixture, NULL, held.id, UPLOAD_COMPLETED);
    }
}

static void what_a_full_device_holds_back_says_so_once(void **state)
{
    Fixture *fixture = *state;
    RequestEventRow events[8];
    Problem problem;
    size_t count = 0;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    for (int i = 0; i < 3; i++) {
        say_status(fixture, "dev1", request.id, QUEUE_FULL);
        pass(fixture, 61);
    }
    request = look_up(fixture, NULL, request.id);
    assert_int_equal(request.problem.code, ERROR_RESOURCE_EXHAUSTED);
    assert_string_equal(request.problem.reason, "QUEUE_FULL");
    assert_non_null(strstr(request.problem.message, "queue is full"));
    assert_int_equal(control_history(fixture->control, &request, events, 8, &count, &problem), 0);
    assert_int_equal(count, 2);
    assert_string_equal(events[1].event, "put off");
    assert_string_equal(events[1].reason, "QUEUE_FULL");
    assert_int_equal(events[1].state, UPLOAD_QUEUED);

    say_status(fixture, "dev1", request.id, ACCEPTED);
    assert_int_equal(look_up(fixture, NULL, request.id).problem.code, ERROR_NONE);
}

/* Others have filled it, so that nothing of ours ends there. */
static void a_device_that_stays_full_is_asked_once_a_minute(void **state)
{
    Fixture *fixture = *state;
    Request requests[40];
    come_online(fixture, "dev1");
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
        requests[i] = ask(fixture, "dev1", "/srv/x");
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
        say_status(fixture, "dev1", requests[i].id, QUEUE_FULL);
    fixture->count = 0;
    for (int minute = 0; minute < 10; minute++) {
        pass(fixture, 61);
        assert_int_equal(fixture->count, minute + 1);
        say_status(fixture, "dev1", requests[0].id, QUEUE_FULL);
    }
    pass(fixture, 61);
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) { /* there is room now: no more pauses */
        assert_int_equal(commands(fixture, "upload", requests[i].id), i == 0 ? 11 : 1);
        say_status(fixture, "dev1", requests[i].id, ACCEPTED);
    }
}

static void a_device_is_sent_so_many_commands_as_it_takes(void **state)
{
    enum { TAKES = 12 };
    Fixture *fixture = *state;
    static Request requests[150];
    come_online(fixture, "dev1");
    hear(fixture, "beckon/v1/dev1/presence", "{\"online\":false}");
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
        requests[i] = ask(fixture, "dev1", "/srv/x");
    assert_int_equal(fixture->count, COMMANDS_PER_CLIENT_MAX);
    come_online(fixture, "dev1");
    pass(fixture, 1);
    assert_int_equal(fixture->count, 2 * COMMANDS_PER_CLIENT_MAX); /* the first may be lost */
    for (size_t i = 0; i < COMMANDS_PER_CLIENT_MAX; i++)
        say_status(fixture, "dev1", requests[i].id, i < TAKES ? ACCEPTED : QUEUE_FULL);
    fixture->count = 0;
    pass(fixture, 50);
    assert_int_equal(fixture->count, 0);
    for (size_t i = 0; i + TAKES < ARRAY_SIZE(requests); i++) {
        say_status(fixture, "dev1", requests[i].id, RUNNING);
        say_receipt(fixture, fixture->key, "dev1", "dev1", requests[i].id, "/srv/x");
        assert_int_equal(fixture->count, i + 1);
        assert_int_equal(commands(fixture, "upload", requests[i + TAKES].id), 1);
        say_status(fixture, "dev1", requests[i + TAKES].id, ACCEPTED);
    }
}

/* It has lost its records, and is full again. The file may be on its way all the same. */
static void a_full_queue_ends_nothing_that_was_begun(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    say_status(fixture, "dev1", request.id, RUNNING);
    say_status(fixture, "dev1", request.id, QUEUE_FULL);
    expect_state(fixture, NULL, request.id, UPLOAD_RUNNING);
    pass(fixture, 301);
    assert_int_equal(commands(fixture, "upload", request.id), 2);
}

static void a_command_of_others_may_be_rejected_by_a_full_device(void **state)
{
    Fixture *fixture = *state;
    say_status(fixture, "dev1", "t1", QUEUE_FULL);
    expect_state(fixture, NULL, "t1", UPLOAD_REJECTED);
    assert_int_equal(fixture->count, 0);
}

/* --- ends --- */

static void what_is_not_done_in_time_expires_and_may_still_complete(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    say_status(fixture, "dev1", request.id, DONE);
    now_ms += EXPIRES_MS;
    fixture->count = 0;
    pass(fixture, 1);
    request = look_up(fixture, NULL, request.id);
    assert_int_equal(request.state, UPLOAD_EXPIRED);
    assert_string_equal(request.problem.reason, "EXPIRED");
    assert_int_equal(commands(fixture, "receipt", request.id), 1);
    pass(fixture, 119);
    assert_int_equal(fixture->count, 1);
    say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, "/srv/x");
    expect_state(fixture, NULL, request.id, UPLOAD_COMPLETED);
}

/* The question or its answer may be lost, and the file is there. */
static void after_a_bad_end_the_receipt_is_asked_for_six_times_in_an_hour(void **state)
{
    static const char *const ends[] = {FAILED, CANCELLED};
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        Request request = ask(fixture, "dev1", "/srv/x");
        say_status(fixture, "dev1", request.id, ends[i]);
        assert_int_equal(commands(fixture, "receipt", request.id), 1);
        pass(fixture, 120);
        assert_int_equal(commands(fixture, "receipt", request.id), 2);
        pass(fixture, 3600);
        assert_int_equal(commands(fixture, "receipt", request.id), 6);
        pass(fixture, 10000);
        assert_int_equal(commands(fixture, "receipt", request.id), 6);
    }
}

static void a_receipt_ends_the_questions(void **state)
{
    static const struct {
        const char *path;
        UploadState state;
    } answers[] = {{"/srv/x", UPLOAD_COMPLETED}, {"/srv/another", UPLOAD_FAILED}};
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        Request request = ask(fixture, "dev1", "/srv/x");
        say_status(fixture, "dev1", request.id, FAILED);
        pass(fixture, 120);
        say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, answers[i].path);
        expect_state(fixture, NULL, request.id, answers[i].state);
        pass(fixture, 5000);
        assert_int_equal(commands(fixture, "receipt", request.id), 2);
    }
}

static void a_question_without_a_broker_waits_for_it(void **state)
{
    Fixture *fixture = *state;
    fixture->refuse = -ENOBUFS;
    say_status(fixture, "dev1", "t1", FAILED);
    pass(fixture, 5000);
    fixture->refuse = 0;
    pass(fixture, 1);
    assert_int_equal(commands(fixture, "receipt", "t1"), 1);
    pass(fixture, 120);
    assert_int_equal(commands(fixture, "receipt", "t1"), 2);
}

static void a_thousand_requests_do_not_expire_at_once(void **state)
{
    Fixture *fixture = *state;
    size_t left = 0;
    PageWanted wanted = {.state = &(UploadState){UPLOAD_QUEUED}};
    Request *rows = calloc(120, sizeof(*rows));
    Problem problem;
    come_online(fixture, "dev1");
    fixture->refuse = -ENOBUFS;
    for (int i = 0; i < 120; i++)
        (void)ask(fixture, "dev1", "/srv/x");
    now_ms += EXPIRES_MS;
    for (size_t ticks = 1; ticks <= 3; ticks++) {
        pass(fixture, 1);
        assert_int_equal(control_list(fixture->control, everything(), &wanted, rows, 120, &left, &problem),
                         0);
        assert_int_equal(left, ticks < 3 ? 120 - 50 * ticks : 0);
    }
    free(rows);
}

static void a_cancel_is_asked_and_the_agent_decides(void **state)
{
    Fixture *fixture = *state;
    Problem problem;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x"), cancelled;
    assert_int_equal(control_cancel(fixture->control, everything(), NULL, request.id, &cancelled, &problem),
                     0);
    assert_true(cancelled.cancel_asked);
    assert_int_equal(cancelled.state, UPLOAD_QUEUED);
    assert_int_equal(commands(fixture, "cancel", request.id), 1);

    fixture->count = 0; /* both were lost: the cancel is said before the command */
    pass(fixture, 301);
    assert_int_equal(fixture->count, 2);
    assert_non_null(strstr(fixture->published[0].topic, "/cmd/cancel/"));
    assert_non_null(strstr(fixture->published[1].topic, "/cmd/upload/"));

    say_status(fixture, "dev1", request.id, CANCELLED);
    expect_state(fixture, NULL, request.id, UPLOAD_CANCELLED);
    assert_int_equal(control_cancel(fixture->control, everything(), NULL, request.id, &cancelled, &problem),
                     0);
    say_receipt(fixture, fixture->key, "dev1", "dev1", request.id, "/srv/x");
    assert_int_equal(control_cancel(fixture->control, everything(), NULL, request.id, &cancelled, &problem),
                     -1);
    assert_string_equal(problem.reason, "ALREADY_FINAL");
}

/* One that says every second how far it is, and so gives no reason to repeat its command. */
static void talk(Fixture *fixture, const char *id, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        say_status(fixture, "dev1", id, RUNNING);
        pass(fixture, 1);
    }
}

static void a_cancel_that_was_lost_is_said_again_to_an_agent_that_goes_on(void **state)
{
    Fixture *fixture = *state;
    Problem problem;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x"), cancelled;
    talk(fixture, request.id, 1);
    control_on_connection(fixture->control, false);
    fixture->refuse = -ENOTCONN;
    assert_int_equal(control_cancel(fixture->control, everything(), NULL, request.id, &cancelled, &problem),
                     0);
    fixture->refuse = 0;
    control_on_connection(fixture->control, true);
    talk(fixture, request.id, 2);
    assert_int_equal(commands(fixture, "cancel", request.id), 1);

    fixture->count = 0; /* the agent was killed before it had read it, and has begun anew */
    come_online(fixture, "dev1");
    talk(fixture, request.id, 310);
    assert_int_equal(commands(fixture, "cancel", request.id), 1);

    fixture->refuse = -ENOBUFS;
    Request other = ask(fixture, "dev1", "/srv/y");
    assert_int_equal(control_cancel(fixture->control, everything(), NULL, other.id, &cancelled, &problem), 0);
    fixture->refuse = 0;
    talk(fixture, other.id, 2);
    assert_int_equal(commands(fixture, "cancel", other.id), 1);
}

static void an_agents_word_does_not_leave_a_final_state(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x");
    say_status(fixture, "dev1", request.id, FAILED);
    say_status(fixture, "dev1", request.id, RUNNING);
    request = look_up(fixture, NULL, request.id);
    assert_int_equal(request.state, UPLOAD_FAILED);
    assert_string_equal(request.problem.reason, "GONE");
    assert_int_equal(request.problem.code, ERROR_NOT_FOUND);
}

/* --- bounds and strangers --- */

static void progress_is_not_worth_a_write(void **state)
{
    Fixture *fixture = *state;
    come_online(fixture, "dev1");
    Request request = ask(fixture, "dev1", "/srv/x"), written;
    say_status(fixture, "dev1", request.id, "{\"state\":\"running\",\"size\":12,\"sent\":1}");
    say_status(fixture, "dev1", request.id, "{\"state\":\"running\",\"size\":12,\"sent\":9}");
    assert_int_equal(look_up(fixture, NULL, request.id).sent_bytes, 9);
    assert_int_equal(store_get_request(fixture->store, "dev1", request.id, &written), 0);
    assert_int_equal(written.sent_bytes, 1);
    say_status(fixture, "dev1", request.id, FAILED); /* says nothing of progress */
    assert_int_equal(look_up(fixture, NULL, request.id).size_bytes, 12);
    assert_int_equal(look_up(fixture, NULL, request.id).sent_bytes, 9);
}

static bool sees_all(const void *grant, const Event *event)
{
    (void)grant;
    (void)event;
    return true;
}

static void free_nothing(void *grant)
{
    (void)grant;
}

/* How many requests are told of in what the reader gets now, which must end with one that has sent so much.
 */
static size_t told(HttpSource *source, int sent)
{
    static char text[HTTP_STREAM_MIN + 1];
    char last[32];
    ssize_t size = source->read(source->userdata, NULL, text, HTTP_STREAM_MIN);
    assert_true(size > 0);
    text[size] = '\0';
    size_t found = 0;
    const char *end = text;
    for (const char *at = text; (at = strstr(at, "event: request")); at++, found++)
        end = at;
    (void)snprintf(last, sizeof(last), "\"bytesReceived\":%d,", sent);
    if (!strstr(end, last))
        fail_msg("the last that is told has not %s: %s", last, end);
    return found;
}

static void listen_to(Fixture *fixture, HttpSource *ret_source)
{
    const EventReader reader = {.user = "", .may_see = sees_all, .free_grant = free_nothing};
    fixture_stop(fixture);
    assert_int_equal(events_new(START_UNIX_MS, &fixture->events), 0);
    fixture_start(fixture);
    assert_int_equal(events_listen(fixture->events, &reader, NULL, ret_source), 0);
}

static void listen_no_more(Fixture *fixture, HttpSource *source)
{
    source->free(source->userdata);
    fixture_stop(fixture);
    fixture->events = events_free(fixture->events);
    fixture_start(fixture);
}

/* A line that is too large to be told makes everybody load anew, each time. */
static void the_worst_that_a_status_may_say_can_still_be_told(void **state)
{
    Fixture *fixture = *state;
    HttpSource source;
    char path[FILE_PATH_MAX + 1] = "", reason[64] = "", message[512] = "", status[MESSAGE_MAX];
    listen_to(fixture, &source);
    while (strlen(path) + 2 <= FILE_PATH_MAX)
        (void)strcat(path, "\xc2\x80"); /* of two bytes each, which become six; and so does DEL */
    memset(reason, '\x7f', 39);
    memset(message, '\x7f', sizeof(message) - 1);
    (void)snprintf(status, sizeof(status),
                   "{\"state\":\"running\",\"path\":\"%s\",\"error\":{\"code\":\"aborted\",\"reason\":\"%s\","
                   "\"message\":\"%s\"}}",
                   path, reason, message);
    say_status(fixture, "dev1", "t1", status);
    assert_int_equal(told(&source, 0), 1);
    listen_no_more(fixture, &source);
}

static void progress_is_told_about_once_a_second_however_often_it_is_said(void **state)
{
    Fixture *fixture = *state;
    HttpSource source;
    listen_to(fixture, &source);
    say_status(fixture, "dev1", "t1", ACCEPTED);
    for (int i = 1; i <= 5000; i++) {
        char status[64];
        now_ms += i % 5 == 0;
        (void)snprintf(status, sizeof(status), "{\"state\":\"running\",\"size\":9000,\"sent\":%d}", i);
        say_status(fixture, "dev1", "t1", status);
    }
    assert_in_range(told(&source, 5000), 3, 5);
    now_ms += 1000;
    say_status(fixture, "dev1", "t1", "{\"state\":\"running\",\"size\":9000,\"sent\":5001}");
    assert_int_equal(told(&source, 5001), 1);
    listen_no_more(fixture, &source);
}

static void messages_that_are_not_valid_change_nothing(void **state)
{
    static const char *const payloads[] = {"",
                                           "x",
                                           "[]",
                                           "{}",
                                           "{\"state\":\"completed\"}",
                                           "{\"state\":\"queued\"}",
                                           "{\"state\":\"running\",\"sent\":-1}",
                                           "{\"online\":\"yes\"}"};
    static const char *const topics[] = {"beckon/v1/dev1/status/t9",    "beckon/v1/dev1/receipt/t9",
                                         "beckon/v1/dev9/presence",     "beckon/v1/operator/status/t9",
                                         "beckon/v1/../status/t9",      "other",
                                         "beckon/v1/dev1/cmd/upload/t9"};
    Fixture *fixture = *state;
    Request request;
    Problem problem;
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++)
        for (size_t j = 0; j < ARRAY_SIZE(payloads); j++)
            hear(fixture, topics[i], payloads[j]);
    hear(fixture, "beckon/v1/operator/status/t9", RUNNING);
    assert_int_equal(control_get(fixture->control, everything(), NULL, "t9", &request, &problem), -1);
    assert_int_equal(problem.code, ERROR_NOT_FOUND);
    assert_int_equal(control_create(fixture->control, everything(),
                                    &(NewRequest){.client = "dev9", .path = "/x"}, &request, &problem),
                     -1);
    assert_string_equal(problem.reason, "UNKNOWN_CLIENT");
}

static void hear_retained(Fixture *fixture, const char *topic, const char *payload)
{
    control_on_message(fixture->control, topic, payload, strlen(payload), true);
}

/* Whatever was retained comes again with each connect. */
static void what_is_retained_but_presence_changes_nothing(void **state)
{
    Fixture *fixture = *state;
    char *receipt = receipt_text(fixture->key, "dev1", "t1", "/srv/x");
    Request request;
    Problem problem;
    hear_retained(fixture, "beckon/v1/dev1/status/t1", RUNNING);
    hear_retained(fixture, "beckon/v1/dev1/status/t1", FAILED);
    hear_retained(fixture, "beckon/v1/dev1/receipt/t1", receipt);
    pass(fixture, 10);
    assert_int_equal(control_get(fixture->control, everything(), NULL, "t1", &request, &problem), -1);
    assert_int_equal(fixture->count, 0);
    hear(fixture, "beckon/v1/dev1/receipt/t1", receipt);
    expect_state(fixture, NULL, "t1", UPLOAD_COMPLETED);
    free(receipt);
}

static void one_client_can_not_fill_the_memory(void **state)
{
    Fixture *fixture = *state;
    char id[16];
    Request request;
    Problem problem;
    come_online(fixture, "dev1");
    for (int i = 0; i < OPEN_REQUESTS_PER_CLIENT_MAX + 5; i++) {
        (void)snprintf(id, sizeof(id), "t%d", i);
        say_status(fixture, "dev1", id, ACCEPTED);
    }
    assert_int_equal(control_get(fixture->control, everything(), NULL, id, &request, &problem), -1);
    assert_int_equal(control_create(fixture->control, everything(),
                                    &(NewRequest){.client = "dev1", .path = "/x"}, &request, &problem),
                     -1);
    assert_int_equal(problem.code, ERROR_RESOURCE_EXHAUSTED);
    come_online(fixture, "dev2");
    (void)ask(fixture, "dev2", "/x");
}

static void one_client_can_not_fill_the_memory_with_failures(void **state)
{
    Fixture *fixture = *state;
    char id[16];
    fixture->refuse = -ENOBUFS;
    for (int i = 0; i < OPEN_REQUESTS_PER_CLIENT_MAX + 5; i++) {
        (void)snprintf(id, sizeof(id), "t%d", i);
        say_status(fixture, "dev1", id, FAILED);
    }
    fixture->refuse = 0;
    say_status(fixture, "dev1", "one-more", FAILED);
    assert_int_equal(commands(fixture, "receipt", "one-more"), 1); /* but not again */
    assert_int_equal(fixture->control->doubts.count, OPEN_REQUESTS_PER_CLIENT_MAX);
    say_status(fixture, "dev2", "t1", FAILED);
    assert_int_equal(fixture->control->doubts.count, OPEN_REQUESTS_PER_CLIENT_MAX + 1);
}

static void a_restart_does_not_forget_the_questions_for_a_receipt(void **state)
{
    Fixture *fixture = *state;
    say_status(fixture, "dev1", "old", FAILED);
    now_ms += (int64_t)25 * 3600 * 1000;
    say_status(fixture, "dev1", "failed", FAILED);
    say_status(fixture, "dev1", "cancelled", CANCELLED);
    say_status(fixture, "dev1", "rejected", REJECTED);
    fixture_stop(fixture);
    now_ms += 3600 * 1000; /* it was away */
    fixture_start(fixture);
    control_on_connection(fixture->control, true);
    control_tick(fixture->control);
    assert_int_equal(commands(fixture, "receipt", "failed"), 1);
    assert_int_equal(commands(fixture, "receipt", "cancelled"), 1);
    assert_int_equal(commands(fixture, "receipt", "old") + commands(fixture, "receipt", "rejected"), 0);
    now_ms += 121 * 1000;
    control_tick(fixture->control);
    assert_int_equal(commands(fixture, "receipt", "failed"), 2);
}

static void a_path_that_is_too_long_is_refused_and_never_cut(void **state)
{
    Fixture *fixture = *state;
    char path[FILE_PATH_MAX + 2];
    Request request;
    Problem problem;
    come_online(fixture, "dev1");
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[FILE_PATH_MAX + 1] = '\0';
    assert_int_equal(control_create(fixture->control, everything(),
                                    &(NewRequest){.client = "dev1", .path = path}, &request, &problem),
                     -1);
    assert_string_equal(problem.reason, "INVALID_PATH");
    path[FILE_PATH_MAX] = '\0';
    assert_string_equal(ask(fixture, "dev1", path).path, path);
}

static void a_key_makes_one_request(void **state)
{
    Fixture *fixture = *state;
    NewRequest wanted = {.client = "dev1", .path = "/srv/x", .idempotency_key = "k"};
    Request one, two;
    Problem problem;
    come_online(fixture, "dev1");
    assert_int_equal(control_create(fixture->control, everything(), &wanted, &one, &problem), 0);
    pass(fixture, 5);
    assert_int_equal(control_create(fixture->control, everything(), &wanted, &two, &problem), 0);
    assert_string_equal(one.id, two.id);
    assert_int_equal(commands(fixture, "upload", one.id), 1);
    wanted.path = "/srv/y";
    assert_int_equal(control_create(fixture->control, everything(), &wanted, &two, &problem), -1);
    assert_string_equal(problem.reason, "IDEMPOTENCY_KEY_REUSED");
}

/* --- two users --- */

static int copy_client(void *userdata, const Client *client)
{
    *(Client *)userdata = *client;
    return 0;
}

/* On "shop_*" and "mill_*"; one row each, and an id that both have. */
static void open_shop_and_mill(Fixture *fixture, Request *shop, Request *mill)
{
    come_online(fixture, "shop_1");
    come_online(fixture, "mill_1");
    *shop = ask(fixture, "shop_1", "/srv/x");
    *mill = ask(fixture, "mill_1", "/srv/x");
    say_status(fixture, "shop_1", "both", "{\"state\":\"accepted\",\"path\":\"/srv/s\"}");
    say_status(fixture, "mill_1", "both", "{\"state\":\"accepted\",\"path\":\"/srv/m\"}");
}

static void expect_same_refusal(const Problem *seen, const char *name, const Problem *expected,
                                const char *expected_name)
{
    char text[sizeof(seen->message)] = "";
    const char *at = strstr(expected->message, expected_name);
    assert_non_null(at);
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - expected->message), expected->message, name,
                   at + strlen(expected_name));
    assert_int_equal(seen->code, expected->code);
    assert_string_equal(seen->reason, expected->reason);
    assert_string_equal(seen->message, text);
}

static void what_is_not_granted_looks_as_if_it_did_not_exist(void **state)
{
    Fixture *fixture = *state;
    Grant grant = only("alice", "shop_*");
    Request shop, mill, row;
    Problem hidden, absent;
    Client client;
    open_shop_and_mill(fixture, &shop, &mill);
    size_t published = fixture->count;

    assert_int_equal(control_get(fixture->control, &grant, NULL, mill.id, &row, &hidden), -1);
    assert_int_equal(control_get(fixture->control, &grant, NULL, "nothing", &row, &absent), -1);
    expect_same_refusal(&hidden, mill.id, &absent, "nothing");
    assert_int_equal(control_get(fixture->control, &grant, "mill_1", mill.id, &row, &hidden), -1);
    expect_same_refusal(&hidden, mill.id, &absent, "nothing");
    assert_int_equal(control_cancel(fixture->control, &grant, NULL, mill.id, &row, &hidden), -1);
    expect_same_refusal(&hidden, mill.id, &absent, "nothing");
    assert_int_equal(control_cancel(fixture->control, &grant, "mill_1", "both", &row, &hidden), -1);
    expect_same_refusal(&hidden, "both", &absent, "nothing");

    NewRequest wanted = {.client = "mill_1", .path = "/srv/x"};
    assert_int_equal(control_create(fixture->control, &grant, &wanted, &row, &hidden), -1);
    wanted.client = "mill_9";
    assert_int_equal(control_create(fixture->control, &grant, &wanted, &row, &absent), -1);
    expect_same_refusal(&hidden, "mill_1", &absent, "mill_9");
    assert_false(control_client(fixture->control, &grant, "mill_1", copy_client, &client));
    assert_true(control_client(fixture->control, &grant, "shop_1", copy_client, &client));
    assert_int_equal(fixture->count, published);
    expect_state(fixture, "mill_1", mill.id, UPLOAD_QUEUED);
}

/* Another's upload with the same id is not even a reason to ask which one is meant. */
static void an_id_of_two_clients_is_one_to_who_sees_one(void **state)
{
    Fixture *fixture = *state;
    Grant grant = only("alice", "shop_*");
    Request shop, mill, row;
    Problem problem;
    open_shop_and_mill(fixture, &shop, &mill);
    assert_int_equal(control_get(fixture->control, everything(), NULL, "both", &row, &problem), -1);
    assert_string_equal(problem.reason, "AMBIGUOUS_ID");
    assert_int_equal(control_get(fixture->control, &grant, NULL, "both", &row, &problem), 0);
    assert_string_equal(row.client, "shop_1");
    grant = only("bob", "mill_?");
    assert_int_equal(control_get(fixture->control, &grant, NULL, "both", &row, &problem), 0);
    assert_string_equal(row.client, "mill_1");
}

static void pages_hold_only_what_is_granted(void **state)
{
    Fixture *fixture = *state;
    Grant grant = only("alice", "shop_*");
    Request shop, mill, rows[8];
    Problem problem;
    size_t count = 0;
    open_shop_and_mill(fixture, &shop, &mill);
    PageWanted wanted = {0};
    assert_int_equal(control_list(fixture->control, &grant, &wanted, rows, 8, &count, &problem), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].id, "both");
    assert_string_equal(rows[1].id, shop.id);
    wanted = (PageWanted){.after_client = "shop_1", .after_id = "both"};
    assert_int_equal(control_list(fixture->control, &grant, &wanted, rows, 8, &count, &problem), 0);
    assert_int_equal(count, 1);
    wanted = (PageWanted){.client = "mill_1"};
    assert_int_equal(control_list(fixture->control, &grant, &wanted, rows, 8, &count, &problem), 0);
    assert_int_equal(count, 0);
    wanted = (PageWanted){.after_client = "mill_1", .after_id = mill.id};
    assert_int_equal(control_list(fixture->control, &grant, &wanted, rows, 8, &count, &problem), -1);
    assert_string_equal(problem.reason, "INVALID_QUERY");
    wanted.after_id = "nothing";
    Problem absent;
    assert_int_equal(control_list(fixture->control, &grant, &wanted, rows, 8, &count, &absent), -1);
    assert_string_equal(problem.message, absent.message);
}

static void a_key_is_its_users_own(void **state)
{
    Fixture *fixture = *state;
    Grant alice = only("alice", "*"), bob = only("bob", "*");
    NewRequest wanted = {.client = "dev1", .path = "/srv/x", .idempotency_key = "k"};
    Request one, two;
    Problem problem;
    come_online(fixture, "dev1");
    assert_int_equal(control_create(fixture->control, &alice, &wanted, &one, &problem), 0);
    wanted.path = "/srv/y";
    assert_int_equal(control_create(fixture->control, &bob, &wanted, &two, &problem), 0);
    assert_string_not_equal(one.id, two.id);
    assert_int_equal(control_create(fixture->control, &bob, &wanted, &one, &problem), 0);
    assert_string_equal(one.id, two.id);
    wanted.idempotency_key = "alice/k"; /* nobody's name ends in a user's */
    assert_int_equal(control_create(fixture->control, everything(), &wanted, &two, &problem), 0);
    assert_string_not_equal(one.id, two.id);
    char *longest = calloc(1, 257);
    wanted.idempotency_key = memset(longest, 'k', 255);
    assert_int_equal(control_create(fixture->control, &alice, &wanted, &one, &problem), 0);
    longest[255] = 'k';
    assert_int_equal(control_create(fixture->control, &alice, &wanted, &one, &problem), -1);
    assert_string_equal(problem.reason, "INVALID_IDEMPOTENCY_KEY");
    free(longest);
}

static int disapprove(void *userdata, const char *id, Problem *problem)
{
    (*(int *)userdata)++;
    assert_true(upload_id_is_valid(id));
    return problem_set(problem, ERROR_UNAVAILABLE, "NOT_NOW", "Not now.");
}

static void what_is_not_approved_does_not_happen(void **state)
{
    Fixture *fixture = *state;
    int asked = 0;
    NewRequest wanted = {
        .client = "dev1", .path = "/srv/x", .approve = disapprove, .approve_userdata = &asked};
    Request request;
    Problem problem;
    assert_int_equal(control_create(fixture->control, everything(), &wanted, &request, &problem), -1);
    assert_int_equal(asked, 0); /* the client is not known: nothing to approve */
    come_online(fixture, "dev1");
    assert_int_equal(control_create(fixture->control, everything(), &wanted, &request, &problem), -1);
    assert_string_equal(problem.reason, "NOT_NOW");
    assert_int_equal(asked, 1);
    assert_int_equal(fixture->count, 0);
    size_t count = 99;
    assert_int_equal(
        control_list(fixture->control, everything(), &(PageWanted){0}, &request, 1, &count, &problem), 0);
    assert_int_equal(count, 0);
}

/* --- presence --- */

static void presence_makes_the_registry(void **state)
{
    Fixture *fixture = *state;
    Client client = {0};
    assert_false(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    hear(fixture, "beckon/v1/dev1/presence",
         "{\"online\":true,\"since\":\"2026-11-21T11:06:04Z\",\"version\":\"0.1.0\",\"labels\":{\"site\":"
         "\"a\"}}");
    assert_true(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    assert_true(client.online && client.heartbeat_ms == fake_unix_ms());
    assert_string_equal(client.labels, "{\"site\":\"a\"}");
    int64_t since_ms = client.connected_ms;
    now_ms += 30000;
    come_online(fixture, "dev1");
    assert_true(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    assert_true(client.heartbeat_ms == fake_unix_ms() && client.connected_ms == since_ms);
    hear(fixture, "beckon/v1/dev1/presence", "{\"online\":false}");
    assert_true(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    assert_false(client.online);
    fixture_stop(fixture);
    fixture_start(fixture);
    assert_true(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    assert_false(client.online);
    assert_true(client.connected_ms == since_ms);
}

static void a_retained_presence_is_no_heartbeat(void **state)
{
    static const char online[] = "{\"online\":true,\"since\":\"2026-11-21T11:06:04Z\"}";
    Fixture *fixture = *state;
    Client client = {0};
    come_online(fixture, "dev1");
    int64_t heard_ms = fake_unix_ms();
    now_ms += 90000;
    control_on_message(fixture->control, "beckon/v1/dev1/presence", online, strlen(online), true);
    assert_true(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    assert_true(client.online && client.heartbeat_ms == heard_ms);
    control_on_message(fixture->control, "beckon/v1/dev1/presence", "", 0, false); /* deleted by hand */
    assert_true(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    assert_false(client.online);
    control_on_message(fixture->control, "beckon/v1/dev7/presence", "", 0, false);
    assert_false(control_client(fixture->control, everything(), "dev7", copy_client, &client));
}

static bool is_online(Fixture *fixture, const char *id)
{
    Client client = {0};
    return control_client(fixture->control, everything(), id, copy_client, &client) && client.online;
}

static void three_heartbeats_without_a_word_are_the_end(void **state)
{
    static const struct {
        const char *presence;
        int64_t bound_s;
    } devices[] = {
        {"{\"online\":true,\"heartbeat\":60}", 180},
        {"{\"online\":true,\"heartbeat\":1}", OFFLINE_AFTER_MS / 1000}, /* a lost packet is not the end */
        {"{\"online\":true}", 300},                                     /* one that does not tell */
    };
    Fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        hear(fixture, "beckon/v1/dev1/presence", devices[i].presence);
        pass(fixture, devices[i].bound_s - 1);
        hear(fixture, "beckon/v1/dev1/presence", devices[i].presence);
        pass(fixture, devices[i].bound_s - 1);
        assert_true(is_online(fixture, "dev1"));
        pass(fixture, 1);
        assert_false(is_online(fixture, "dev1"));
    }
    Request request = ask(fixture, "dev1", "/srv/x");
    pass(fixture, 1000);
    assert_int_equal(commands(fixture, "upload", request.id), 1);
    come_online(fixture, "dev1"); /* it was only slow */
    pass(fixture, 1);
    assert_true(is_online(fixture, "dev1"));
    assert_int_equal(commands(fixture, "upload", request.id), 2);
}

/* Broker and agent died together: the broker kept `online`, and nobody is left to send the will. */
static void a_retained_presence_is_believed_for_a_while(void **state)
{
    static const char online[] = "{\"online\":true,\"heartbeat\":30}";
    Fixture *fixture = *state;
    Client client = {0};
    hear_retained(fixture, "beckon/v1/dev1/presence", online);
    hear_retained(fixture, "beckon/v1/dev2/presence", online);
    assert_true(control_client(fixture->control, everything(), "dev1", copy_client, &client));
    assert_true(client.online && client.heartbeat_ms == 0); /* whenever that was */
    pass(fixture, 60);
    hear(fixture, "beckon/v1/dev2/presence", online);
    pass(fixture, 29);
    assert_true(is_online(fixture, "dev1"));
    pass(fixture, 1);
    assert_false(is_online(fixture, "dev1"));
    assert_true(is_online(fixture, "dev2"));
}

static void without_a_broker_nobody_is_judged(void **state)
{
    Fixture *fixture = *state;
    hear(fixture, "beckon/v1/dev1/presence", "{\"online\":true,\"heartbeat\":30}");
    control_on_connection(fixture->control, false);
    pass(fixture, 1000);
    assert_true(is_online(fixture, "dev1"));
    control_on_connection(fixture->control, true);
    pass(fixture, 89);
    assert_true(is_online(fixture, "dev1"));
    pass(fixture, 1);
    assert_false(is_online(fixture, "dev1"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_command_carries_a_ticket_of_its_own_for_all_that_it_says),
        TEST(done_waits_for_the_receipt),
        TEST(a_receipt_that_proves_nothing_completes_nothing),
        TEST(a_receipt_for_another_clients_equal_id_is_another_upload),
        TEST(a_receipt_for_another_path_fails_the_request),
        cmocka_unit_test(a_path_is_the_same_if_only_said_otherwise),
        TEST(a_receipt_overrides_what_was_believed),
        TEST(a_receipt_overrides_a_rejection),
        TEST(an_upload_that_nobody_asked_for_here_is_followed),
        TEST(a_lost_receipt_is_asked_for_again_and_ever_more_seldom),
        TEST(silence_of_a_client_that_is_online_repeats_the_command),
        TEST(a_client_that_is_away_gets_its_command_when_it_comes),
        TEST(after_a_reconnect_everything_open_is_said_again),
        TEST(what_a_full_queue_refused_goes_out_later),
        TEST(a_restart_loses_nothing),
        TEST(a_command_of_others_is_never_repeated),
        TEST(a_full_device_gets_the_command_again_when_something_has_ended),
        TEST(what_a_full_device_holds_back_says_so_once),
        TEST(a_device_that_stays_full_is_asked_once_a_minute),
        TEST(a_device_is_sent_so_many_commands_as_it_takes),
        TEST(a_full_queue_ends_nothing_that_was_begun),
        TEST(a_command_of_others_may_be_rejected_by_a_full_device),
        TEST(what_is_not_done_in_time_expires_and_may_still_complete),
        TEST(after_a_bad_end_the_receipt_is_asked_for_six_times_in_an_hour),
        TEST(a_receipt_ends_the_questions),
        TEST(a_question_without_a_broker_waits_for_it),
        TEST(a_thousand_requests_do_not_expire_at_once),
        TEST(a_cancel_is_asked_and_the_agent_decides),
        TEST(a_cancel_that_was_lost_is_said_again_to_an_agent_that_goes_on),
        TEST(an_agents_word_does_not_leave_a_final_state),
        TEST(progress_is_not_worth_a_write),
        TEST(the_worst_that_a_status_may_say_can_still_be_told),
        TEST(progress_is_told_about_once_a_second_however_often_it_is_said),
        TEST(messages_that_are_not_valid_change_nothing),
        TEST(what_is_retained_but_presence_changes_nothing),
        TEST(one_client_can_not_fill_the_memory),
        TEST(one_client_can_not_fill_the_memory_with_failures),
        TEST(a_restart_does_not_forget_the_questions_for_a_receipt),
        TEST(a_path_that_is_too_long_is_refused_and_never_cut),
        TEST(a_key_makes_one_request),
        TEST(what_is_not_granted_looks_as_if_it_did_not_exist),
        TEST(an_id_of_two_clients_is_one_to_who_sees_one),
        TEST(pages_hold_only_what_is_granted),
        TEST(a_key_is_its_users_own),
        TEST(what_is_not_approved_does_not_happen),
        TEST(presence_makes_the_registry),
        TEST(a_retained_presence_is_no_heartbeat),
        TEST(three_heartbeats_without_a_word_are_the_end),
        TEST(a_retained_presence_is_believed_for_a_while),
        TEST(without_a_broker_nobody_is_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

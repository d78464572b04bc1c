/* The ring behind GET /events, without a server: the test is the stream. */
#include "../protocol/cmocka_.h"

#include "coordinator/events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct HttpStream {
    unsigned slept, woken;
    bool deserted;
};

bool http_stream_is_deserted(const HttpStream *stream)
{
    return stream->deserted;
}

void http_stream_sleep(HttpStream *stream)
{
    stream->slept++;
}

void http_stream_wake(HttpStream *stream)
{
    stream->woken++;
}

typedef struct Listener {
    HttpSource source;
    HttpStream stream;
    char got[HTTP_STREAM_MIN + 1];
} Listener;

static unsigned grants_freed;

static bool sees_all(const void *grant, const Event *event)
{
    (void)grant;
    (void)event;
    return true;
}

static bool sees_own(const void *grant, const Event *event)
{
    return event->client && strcmp(event->client, grant) == 0;
}

static void count_freed(void *grant)
{
    (void)grant;
    grants_freed++;
}

static int listen_as(Events *events, Listener *listener, EventReader reader, const char *last_id)
{
    reader.may_see = reader.grant ? sees_own : sees_all;
    reader.free_grant = count_freed;
    reader.user = reader.user ? reader.user : "";
    *listener = (Listener){0};
    return events_listen(events, &reader, last_id, &listener->source);
}

/* What the stream gives now; "" when it sleeps, NULL when it ends. */
static const char *take(Listener *listener)
{
    ssize_t got =
        listener->source.read(listener->source.userdata, &listener->stream, listener->got, HTTP_STREAM_MIN);
    if (got < 0)
        return NULL;
    listener->got[got] = '\0';
    return listener->got;
}

static void hang_up(Listener *listener)
{
    listener->source.free(listener->source.userdata);
}

static void tell(Events *events, const char *client, const char *json)
{
    events_tell(events, &(Event){.kind = EVENT_CLIENT, .client = client, .json = json});
}

static int set_up(void **state)
{
    grants_freed = 0;
    return events_new(1000, (Events **)state);
}

static int tear_down(void **state)
{
    (void)events_free(*state);
    return 0;
}

static void a_reader_gets_what_comes_after_it_in_order(void **state)
{
    Events *events = *state;
    Listener listener;

    tell(events, "a", "{\"n\":0}");
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    tell(events, "a", "{\"n\":1}");
    tell(events, "b", "{\"n\":2}");
    assert_string_equal(take(&listener), "retry: 2000\n\nid: 1000-1\n\n"
                                         "id: 1000-2\nevent: client\ndata: {\"n\":1}\n\n"
                                         "id: 1000-3\nevent: client\ndata: {\"n\":2}\n\n");
    hang_up(&listener);
}

static void a_reader_with_nothing_to_read_sleeps_and_is_woken(void **state)
{
    Events *events = *state;
    Listener listener;

    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    assert_non_null(strstr(take(&listener), "retry"));
    assert_string_equal(take(&listener), "");
    assert_int_equal(listener.stream.slept, 1);
    tell(events, "a", "{}");
    assert_int_equal(listener.stream.woken, 1);
    assert_string_equal(take(&listener), "id: 1000-1\nevent: client\ndata: {}\n\n");
    hang_up(&listener);
}

static void nobody_sees_what_the_grant_does_not_show(void **state)
{
    Events *events = *state;
    Listener mine;
    char grant[] = "mine";

    assert_int_equal(listen_as(events, &mine, (EventReader){.grant = grant}, NULL), 0);
    tell(events, "theirs", "{\"secret\":1}");
    events_tell(events, &(Event){.kind = EVENT_BATCH, .batch = "b1", .json = "{\"secret\":2}"});
    tell(events, "mine", "{\"own\":1}");
    assert_null(strstr(take(&mine), "secret"));
    assert_non_null(strstr(mine.got, "own"));
    hang_up(&mine);
    assert_int_equal(grants_freed, 1);
}

static void one_request_or_one_batch_can_be_listened_to(void **state)
{
    Events *events = *state;
    Listener one, batch;

    assert_int_equal(listen_as(events, &one, (EventReader){.request = "r1"}, NULL), 0);
    assert_int_equal(listen_as(events, &batch, (EventReader){.batch = "b1"}, NULL), 0);
    events_tell(
        events,
        &(Event){.kind = EVENT_REQUEST, .client = "a", .request = "r1", .batch = "b1", .json = "{\"n\":1}"});
    events_tell(
        events,
        &(Event){.kind = EVENT_REQUEST, .client = "a", .request = "r2", .batch = "b1", .json = "{\"n\":2}"});
    tell(events, "a", "{\"n\":3}");
    assert_non_null(strstr(take(&one), "\"n\":1"));
    assert_null(strstr(one.got, "\"n\":2"));
    assert_null(strstr(one.got, "\"n\":3"));
    assert_non_null(strstr(take(&batch), "\"n\":1"));
    assert_non_null(strstr(batch.got, "\"n\":2"));
    assert_null(strstr(batch.got, "\"n\":3"));
    hang_up(&one);
    hang_up(&batch);
}

static void who_comes_back_goes_on_where_it_was(void **state)
{
    Events *events = *state;
    Listener listener;

    for (int i = 0; i < 5; i++)
        tell(events, "a", "{}");
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "1000-3"), 0);
    assert_string_equal(take(&listener), "retry: 2000\n\nid: 1000-3\n\n"
                                         "id: 1000-4\nevent: client\ndata: {}\n\n"
                                         "id: 1000-5\nevent: client\ndata: {}\n\n");
    hang_up(&listener);
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "1000-5"), 0);
    assert_string_equal(take(&listener), "retry: 2000\n\nid: 1000-5\n\n");
    hang_up(&listener);
}

static void the_greeting_is_a_place_to_go_on_from(void **state)
{
    Events *events = *state;
    Listener listener;

    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    assert_string_equal(take(&listener), "retry: 2000\n\nid: 1000-0\n\n");
    hang_up(&listener);
    tell(events, "a", "{}");
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "1000-0"), 0);
    assert_string_equal(take(&listener),
                        "retry: 2000\n\nid: 1000-0\n\nid: 1000-1\nevent: client\ndata: {}\n\n");
    hang_up(&listener);
}

static void who_has_missed_what_is_gone_is_told_to_load_anew(void **state)
{
    Events *events = *state;
    static const char *const stale[] = {"999-3",    "1000-1", "1000-99999999", "1000-",
                                        "nonsense", "",       "1000-0x5"};

    for (int i = 0; i < EVENTS_KEPT_MAX + 10; i++)
        tell(events, "a", "{}");
    for (size_t i = 0; i < ARRAY_SIZE(stale); i++) {
        Listener listener;
        assert_int_equal(listen_as(events, &listener, (EventReader){0}, stale[i]), 0);
        assert_string_equal(take(&listener), "retry: 2000\n\nid: 1000-4106\nevent: reset\ndata: {}\n\n");
        hang_up(&listener);
    }
}

static void the_id_of_a_reset_is_a_place_to_go_on_from(void **state)
{
    Events *events = *state;
    Listener listener;

    tell(events, "a", "{}");
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "7-7"), 0);
    assert_non_null(strstr(take(&listener), "id: 1000-1\nevent: reset\n"));
    hang_up(&listener);
    tell(events, "a", "{}");
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "1000-1"), 0);
    assert_string_equal(take(&listener),
                        "retry: 2000\n\nid: 1000-1\n\nid: 1000-2\nevent: client\ndata: {}\n\n");
    hang_up(&listener);
}

static void what_nobody_waits_for_is_not_made_and_leaves_a_gap(void **state)
{
    Events *events = *state;
    Listener listener;

    assert_false(events_wanted(events));
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    assert_true(events_wanted(events));
    tell(events, "a", "{}");
    assert_non_null(strstr(take(&listener), "id: 1000-2\n"));
    events_tick(events, 1000, 0);
    hang_up(&listener);
    events_tick(events, 2000, 0);
    assert_true(events_wanted(events)); /* it may come back */
    tell(events, "a", "{}");
    events_tick(events, 2000 + EVENTS_PATIENCE_MS, 0);
    assert_false(events_wanted(events));
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "1000-3"), 0);
    assert_non_null(strstr(take(&listener), "event: reset"));
    hang_up(&listener);
}

static void who_listens_for_less_than_a_tick_is_waited_for_too(void **state)
{
    Events *events = *state;
    Listener listener;

    events_tick(events, 1000000, 0);
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    assert_non_null(strstr(take(&listener), "id: 1000-0\n"));
    hang_up(&listener);
    assert_true(events_wanted(events));
    tell(events, "a", "{}");
    events_tick(events, 1001000, 0);
    assert_true(events_wanted(events));
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "1000-0"), 0);
    assert_non_null(strstr(take(&listener), "id: 1000-1\nevent: client\n"));
    hang_up(&listener);
}

static void who_falls_behind_the_ring_is_cut_off(void **state)
{
    Events *events = *state;
    Listener slow;

    assert_int_equal(listen_as(events, &slow, (EventReader){0}, NULL), 0);
    assert_non_null(take(&slow));
    for (int i = 0; i < EVENTS_KEPT_MAX + 1; i++)
        tell(events, "a", "{}");
    assert_null(take(&slow));
    hang_up(&slow);
}

static void the_ring_is_bounded_in_bytes_too(void **state)
{
    Events *events = *state;
    static char json[HTTP_STREAM_MIN / 2];
    size_t fits = EVENTS_BYTES_MAX / sizeof(json);
    Listener listener;

    memset(json, 'x', sizeof(json) - 1);
    for (size_t i = 0; i < fits + 5; i++)
        tell(events, "a", json);
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, "1000-1"), 0);
    assert_non_null(strstr(take(&listener), "event: reset"));
    hang_up(&listener);
}

static void for_an_event_that_is_too_large_one_loads_anew(void **state)
{
    Events *events = *state;
    static char json[HTTP_STREAM_MIN + 1];
    Listener listener, other;

    memset(json, 'x', sizeof(json) - 1);
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    assert_int_equal(listen_as(events, &other, (EventReader){.grant = (void *)(uintptr_t) "b"}, NULL), 0);
    tell(events, "a", json);
    tell(events, "a", "{}");
    assert_string_equal(take(&listener), "retry: 2000\n\nid: 1000-0\n\nid: 1000-1\nevent: reset\ndata: {}\n\n"
                                         "id: 1000-2\nevent: client\ndata: {}\n\n");
    assert_string_equal(take(&other), "retry: 2000\n\nid: 1000-0\n\n");
    hang_up(&listener);
    hang_up(&other);
}

static void a_read_gives_whole_events_only(void **state)
{
    Events *events = *state;
    static char json[HTTP_STREAM_MIN / 3];
    Listener listener;

    memset(json, 'x', sizeof(json) - 1);
    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    for (int i = 0; i < 7; i++)
        tell(events, "a", json);
    unsigned seen = 0;
    for (const char *text = take(&listener); text[0]; text = take(&listener)) {
        assert_string_equal(text + strlen(text) - 2, "\n\n");
        for (const char *at = text; (at = strstr(at, "event: ")); at++)
            seen++;
    }
    assert_int_equal(seen, 7);
    hang_up(&listener);
}

static void a_quiet_stream_has_a_heartbeat(void **state)
{
    Events *events = *state;
    Listener listener;

    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    assert_non_null(take(&listener));
    assert_string_equal(take(&listener), "");
    events_tick(events, EVENTS_BEAT_MS, 1000);
    assert_int_equal(listener.stream.woken, 1);
    assert_string_equal(take(&listener), ":\n\n");
    events_tick(events, EVENTS_BEAT_MS + 1000, 2000);
    assert_string_equal(take(&listener), "");
    events_tick(events, 2 * EVENTS_BEAT_MS, 16000);
    assert_string_equal(take(&listener), ":\n\n");
    hang_up(&listener);
}

static void a_stream_ends_with_its_token_and_with_the_server(void **state)
{
    Events *events = *state;
    Listener brief, lasting;

    assert_int_equal(listen_as(events, &brief, (EventReader){.until_unix_ms = 5000}, NULL), 0);
    assert_int_equal(listen_as(events, &lasting, (EventReader){0}, NULL), 0);
    assert_non_null(take(&brief));
    assert_non_null(take(&lasting));
    events_tick(events, 10, 5000);
    assert_null(take(&brief));
    assert_string_equal(take(&lasting), "");
    events_close(events);
    assert_null(take(&lasting));
    hang_up(&brief);
    hang_up(&lasting);
    assert_int_equal(listen_as(events, &lasting, (EventReader){0}, NULL), -EBUSY);
    assert_int_equal(grants_freed, 3);
}

static void a_stream_whose_peer_has_gone_ends(void **state)
{
    Events *events = *state;
    Listener listener;

    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    assert_non_null(take(&listener));
    assert_string_equal(take(&listener), "");
    listener.stream.deserted = true;
    events_tick(events, 10, 1000);
    assert_int_equal(listener.stream.woken, 1);
    assert_null(take(&listener));
    hang_up(&listener);
}

static void what_one_reader_is_told_first_is_its_own(void **state)
{
    Events *events = *state;
    const Event event = {.kind = EVENT_REQUEST, .client = "a", .request = "r1", .json = "{\"n\":0}"};
    Listener one, all, back;

    assert_int_equal(listen_as(events, &all, (EventReader){0}, NULL), 0);
    tell(events, "a", "{}");
    assert_int_equal(listen_as(events, &one, (EventReader){.request = "r1"}, NULL), 0);
    assert_int_equal(listen_as(events, &back, (EventReader){0}, "1000-0"), 0);
    tell(events, "a", "{}");
    events_tell_one(&one.source, &event);
    events_tell_one(&back.source, &event);
    events_tell(events, &(Event){.kind = EVENT_REQUEST, .client = "a", .request = "r1", .json = "{}"});
    assert_string_equal(take(&one), "retry: 2000\n\nid: 1000-1\n\n"
                                    "id: 1000-2\nevent: request\ndata: {\"n\":0}\n\n"
                                    "id: 1000-3\nevent: request\ndata: {}\n\n");
    assert_string_equal(take(&all), "retry: 2000\n\nid: 1000-0\n\n"
                                    "id: 1000-1\nevent: client\ndata: {}\n\n"
                                    "id: 1000-2\nevent: client\ndata: {}\n\n"
                                    "id: 1000-3\nevent: request\ndata: {}\n\n");
    assert_string_equal(take(&back), "retry: 2000\n\nid: 1000-0\n\n"
                                     "id: 1000-1\nevent: client\ndata: {}\n\n"
                                     "id: 1000-2\nevent: client\ndata: {}\n\n"
                                     "id: 1000-2\nevent: request\ndata: {\"n\":0}\n\n"
                                     "id: 1000-3\nevent: request\ndata: {}\n\n");
    hang_up(&one);
    hang_up(&all);
    hang_up(&back);
}

static void one_reader_is_not_told_what_it_may_not_see_or_did_not_ask_for(void **state)
{
    Events *events = *state;
    Listener other, wrong, late;
    const Event event = {
        .kind = EVENT_REQUEST, .client = "a", .request = "r1", .batch = "b1", .json = "{\"n\":0}"};

    assert_int_equal(listen_as(events, &other, (EventReader){.grant = (void *)(uintptr_t) "b"}, NULL), 0);
    assert_int_equal(listen_as(events, &wrong, (EventReader){.request = "r1", .batch = "b2"}, NULL), 0);
    assert_int_equal(listen_as(events, &late, (EventReader){0}, NULL), 0);
    events_tell_one(&other.source, &event);
    events_tell_one(&wrong.source, &event);
    events_tell_one(&late.source, &event); /* and hangs up without having read it */
    assert_string_equal(take(&other), "retry: 2000\n\nid: 1000-0\n\n");
    assert_string_equal(take(&wrong), "retry: 2000\n\nid: 1000-0\n\n");
    hang_up(&other);
    hang_up(&wrong);
    hang_up(&late);
}

static void what_one_reader_is_told_is_whole_too(void **state)
{
    Events *events = *state;
    static char json[HTTP_STREAM_MIN + 1];
    const Event event = {.kind = EVENT_CLIENT, .client = "a", .json = json};
    Listener listener;

    assert_int_equal(listen_as(events, &listener, (EventReader){0}, NULL), 0);
    memset(json, 'x', EVENT_SIZE_MAX - 100);
    tell(events, "a", json);
    events_tell_one(&listener.source, &event);
    assert_non_null(strstr(take(&listener), "id: 1000-1\n"));
    assert_string_equal(listener.got + strlen(listener.got) - 3, "x\n\n");
    assert_int_equal(strlen(take(&listener)), strlen("id: 1000-1\nevent: client\ndata: \n\n") + strlen(json));
    assert_string_equal(take(&listener), "");
    memset(json, 'x', sizeof(json) - 1);
    events_tell_one(&listener.source, &event);
    assert_string_equal(take(&listener), "id: 1000-1\nevent: reset\ndata: {}\n\n");
    hang_up(&listener);
}

static void readers_are_bounded_in_number(void **state)
{
    Events *events = *state;
    static Listener listeners[EVENTS_READERS_MAX];
    const EventReader alice = {.user = "alice"}, bob = {.user = "bob"};
    Listener more;

    for (size_t i = 0; i < EVENTS_READERS_USER_MAX; i++)
        assert_int_equal(listen_as(events, &listeners[i], alice, NULL), 0);
    assert_int_equal(listen_as(events, &more, alice, NULL), -EUSERS);
    for (size_t i = EVENTS_READERS_USER_MAX; i < EVENTS_READERS_MAX; i++)
        assert_int_equal(listen_as(events, &listeners[i], i % 2 ? bob : (EventReader){0}, NULL), 0);
    assert_int_equal(listen_as(events, &more, bob, NULL), -EBUSY);
    hang_up(&listeners[7]);
    assert_int_equal(listen_as(events, &listeners[7], bob, NULL), 0);
    for (size_t i = 0; i < EVENTS_READERS_MAX; i++)
        hang_up(&listeners[i]);
    assert_int_equal(events_reader_count(events), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_reader_gets_what_comes_after_it_in_order),
        TEST(a_reader_with_nothing_to_read_sleeps_and_is_woken),
        TEST(nobody_sees_what_the_grant_does_not_show),
        TEST(one_request_or_one_batch_can_be_listened_to),
        TEST(who_comes_back_goes_on_where_it_was),
        TEST(the_greeting_is_a_place_to_go_on_from),
        TEST(who_has_missed_what_is_gone_is_told_to_load_anew),
        TEST(the_id_of_a_reset_is_a_place_to_go_on_from),
        TEST(what_nobody_waits_for_is_not_made_and_leaves_a_gap),
        TEST(who_listens_for_less_than_a_tick_is_waited_for_too),
        TEST(who_falls_behind_the_ring_is_cut_off),
        TEST(the_ring_is_bounded_in_bytes_too),
        TEST(for_an_event_that_is_too_large_one_loads_anew),
        TEST(a_read_gives_whole_events_only),
        TEST(a_quiet_stream_has_a_heartbeat),
        TEST(a_stream_ends_with_its_token_and_with_the_server),
        TEST(a_stream_whose_peer_has_gone_ends),
        TEST(what_one_reader_is_told_first_is_its_own),
        TEST(one_reader_is_not_told_what_it_may_not_see_or_did_not_ask_for),
        TEST(what_one_reader_is_told_is_whole_too),
        TEST(readers_are_bounded_in_number),
    };

    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}

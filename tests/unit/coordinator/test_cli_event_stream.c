/* Server-sent events, however they are cut into pieces. */
#include "../protocol/cmocka_.h"

#include "coordinator/cli/event_stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BOM "\xef\xbb\xbf"

/* Every event as "<name>=<data>;". */
typedef struct Seen {
    EventStream stream;
    char text[512];
    int answer;
} Seen;

static int on_event(void *userdata, const char *name, const char *data)
{
    Seen *seen = userdata;
    size_t used = strlen(seen->text);

    (void)snprintf(seen->text + used, sizeof(seen->text) - used, "%s=%s;", name, data);
    return seen->answer;
}

static void begin(Seen *seen)
{
    *seen = (Seen){.stream = {.on_event = on_event}};
    seen->stream.userdata = seen;
}

static void feed(Seen *seen, const char *bytes, size_t size)
{
    /* Of its own size, so that a sanitizer sees a step past it. */
    char *piece = malloc(size + !size);
    memcpy(piece, bytes, size);
    assert_int_equal(event_stream_feed(&seen->stream, piece, size), 0);
    free(piece);
}

static const struct {
    const char *text, *events, *id;
} rows[] = {
    {"event: a\ndata: 1\n\n", "a=1;", ""},
    {"event: a\rdata: 1\r\r", "a=1;", ""},
    {"event: a\r\ndata: 1\r\n\r\n", "a=1;", ""},
    {"event: a\ndata: 1\r\rdata: 2\n\r\ndata: 3\r\n\n", "a=1;=2;=3;", ""},
    {"data: 1\r\n\ndata: 2\r\r\n", "=1;=2;", ""},
    {BOM "data: 1\n\n", "=1;", ""},
    {BOM "\ndata: 1\n\n", "=1;", ""},
    {BOM ":\ndata: 1\n\n", "=1;", ""},
    {"data: 1\n\n" BOM "data: 2\n\n", "=1;", ""}, /* only at the start */
    {BOM BOM "data: 1\n\n", "", ""},
    {":\n\n:beat\n\n: data: no\n\ndata: 1\n: between\n\n", "=1;", ""},
    {"data: 1\ndata: 2\ndata:\ndata: 3\n\n", "=1\n2\n\n3;", ""},
    {"data:1\n\ndata:  2\n\ndata\n\n", "=1;= 2;=;", ""},
    {"data: a: b\n\n", "=a: b;", ""},
    {"event: a\n\ndata: 1\n\n", "=1;", ""}, /* a name without data is forgotten */
    {"event: a\nevent: b\ndata: 1\n\n", "b=1;", ""},
    {"dat: 1\nData: 2\nretry: 5\nunknown\n\n", "", ""},
    {"id: 7\ndata: 1\n\ndata: 2\n\n", "=1;=2;", "7"},
    {"id: 7\n\n", "", "7"},
    {"id: 7\ndata: 1\n\nid\ndata: 2\n\n", "=1;=2;", ""},
    {"id: 7\ndata: 1\n\nid: 8\ndata: 2\n", "=1;", "7"}, /* the one that is not whole is to come again */
    {"data: 1\n\ndata: 2", "=1;", ""},
    {"", "", ""},
    {"\n\r\n\r\r\n", "", ""},
};

static void test_one_piece(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        Seen seen;
        begin(&seen);
        feed(&seen, rows[i].text, strlen(rows[i].text));
        assert_string_equal(seen.text, rows[i].events);
        assert_string_equal(seen.stream.id, rows[i].id);
        event_stream_reset(&seen.stream);
    }
}

static void test_a_boundary_anywhere_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t size = strlen(rows[i].text);
        for (size_t first = 0; first <= size; first++)
            for (size_t second = first; second <= size; second++) {
                Seen seen;
                begin(&seen);
                feed(&seen, rows[i].text, first);
                feed(&seen, rows[i].text + first, second - first);
                feed(&seen, rows[i].text + second, size - second);
                assert_string_equal(seen.text, rows[i].events);
                assert_string_equal(seen.stream.id, rows[i].id);
                event_stream_reset(&seen.stream);
            }
    }
}

static void test_a_broken_stream_goes_on_from_the_last_whole_event(void **state)
{
    Seen seen;

    (void)state;
    begin(&seen);
    feed(&seen, "id: 1\ndata: a\n\nid: 2\nevent: e\ndata: lo", 35);
    event_stream_reset(&seen.stream);
    assert_string_equal(seen.stream.id, "1");
    feed(&seen, BOM "data: b\n\n", 12);
    assert_string_equal(seen.text, "=a;=b;");
    assert_string_equal(seen.stream.id, "1");
    feed(&seen, "\r", 1);
    event_stream_reset(&seen.stream);
    feed(&seen, "\ndata: c\n\n", 10);
    assert_string_equal(seen.text, "=a;=b;=c;");
    event_stream_reset(&seen.stream);
}

static int feed_many(Seen *seen, char filler, size_t count)
{
    int r = 0;
    char piece[64];

    memset(piece, filler, sizeof(piece));
    for (; count > 0 && r == 0; count -= count < sizeof(piece) ? count : sizeof(piece))
        r = event_stream_feed(&seen->stream, piece, count < sizeof(piece) ? count : sizeof(piece));
    return r;
}

static void test_a_line_and_an_event_may_be_so_long(void **state)
{
    Seen seen;

    (void)state;
    begin(&seen);
    feed(&seen, ":", 1);
    assert_int_equal(feed_many(&seen, 'x', EVENT_LINE_MAX - 1), 0);
    feed(&seen, "\n:", 2);
    assert_int_equal(feed_many(&seen, 'x', EVENT_LINE_MAX), -EMSGSIZE);
    event_stream_reset(&seen.stream);
    for (unsigned i = 0; i < 2; i++) {
        feed(&seen, "data:", 5);
        assert_int_equal(feed_many(&seen, 'x', EVENT_LINE_MAX / 2), 0);
        if (i == 0)
            feed(&seen, "\n", 1);
    }
    assert_int_equal(event_stream_feed(&seen.stream, "\n", 1), -EMSGSIZE);
    event_stream_reset(&seen.stream);
    assert_string_equal(seen.text, "");
    feed(&seen, "data: 1\n\n", 9);
    assert_string_equal(seen.text, "=1;");
}

static void test_long_names_and_ids_are_no_overflow(void **state)
{
    Seen seen;

    (void)state;
    begin(&seen);
    for (unsigned i = 0; i < 2; i++) {
        feed(&seen, i ? "event:" : "id:", i ? 6 : 3);
        assert_int_equal(feed_many(&seen, 'n', 1000), 0);
        feed(&seen, "\n", 1);
    }
    feed(&seen, "data: 1\n\n", 9);
    assert_int_equal(strlen(seen.text), EVENT_NAME_SIZE - 1 + strlen("=1;"));
    event_stream_reset(&seen.stream);
}

static void test_who_has_enough_ends_it(void **state)
{
    Seen seen;
    static const char text[] = "data: 1\n\ndata: 2\n\n";

    (void)state;
    begin(&seen);
    seen.answer = 5;
    assert_int_equal(event_stream_feed(&seen.stream, text, strlen(text)), 5);
    assert_string_equal(seen.text, "=1;");
    event_stream_reset(&seen.stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_piece),
        cmocka_unit_test(test_a_boundary_anywhere_changes_nothing),
        cmocka_unit_test(test_a_broken_stream_goes_on_from_the_last_whole_event),
        cmocka_unit_test(test_a_line_and_an_event_may_be_so_long),
        cmocka_unit_test(test_long_names_and_ids_are_no_overflow),
        cmocka_unit_test(test_who_has_enough_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

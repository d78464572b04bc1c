#include "receiver_fixture.h"

#include "receiver/courier.h"

#include <errno.h>

typedef struct Broker {
    int answer; /* of publish */
    unsigned count;
    uint64_t tags[512];
    char topic[256];
} Broker;

static int publish(void *link, const char *topic, const void *payload, size_t size, uint64_t tag)
{
    Broker *broker = link;

    assert_true(size > 0 && ((const char *)payload)[0] == '{');
    if (broker->answer == 0) {
        assert_true(broker->count < 512);
        broker->tags[broker->count++] = tag;
        (void)snprintf(broker->topic, sizeof(broker->topic), "%s", topic);
    }
    return broker->answer;
}

static void post(Fixture *fixture, const char *id)
{
    assert_int_equal(outbox_prepare(fixture->outbox, "r1", id, "{}"), 0);
    assert_int_equal(outbox_release(fixture->outbox, "r1", id), 0);
}

static void a_receipt_is_published_once_and_removed_when_acknowledged(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};
    Courier *courier = NULL;

    assert_int_equal(courier_new(fixture->outbox, fixture->archive, publish, &broker, &courier), 0);
    post(fixture, "a");
    courier_pump(courier);
    assert_int_equal(broker.count, 0); /* no broker yet */
    courier_connected(courier);
    courier_pump(courier);
    assert_int_equal(broker.count, 1);
    assert_string_equal(broker.topic, "beckon/v1/r1/receipt/a");
    assert_true(exists(fixture, ".outbox/r1.a.receipt"));
    courier_published(courier, broker.tags[0] + 7);
    assert_true(exists(fixture, ".outbox/r1.a.receipt"));
    courier_published(courier, broker.tags[0]);
    assert_false(exists(fixture, ".outbox/r1.a.receipt"));
    (void)courier_free(courier);
}

static void a_pending_commit_is_not_published(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};
    Courier *courier = NULL;

    assert_int_equal(courier_new(fixture->outbox, fixture->archive, publish, &broker, &courier), 0);
    assert_int_equal(outbox_prepare(fixture->outbox, "r1", "a", "{}"), 0);
    courier_connected(courier);
    assert_int_equal(broker.count, 0);
    (void)courier_free(courier);
}

static void after_a_lost_connection_the_receipt_is_published_again(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};
    Courier *courier = NULL;

    assert_int_equal(courier_new(fixture->outbox, fixture->archive, publish, &broker, &courier), 0);
    post(fixture, "a");
    courier_connected(courier);
    courier_disconnected(courier);
    courier_connected(courier);
    assert_int_equal(broker.count, 2);
    courier_published(courier, broker.tags[0]); /* of the connection before: means nothing any more */
    assert_true(exists(fixture, ".outbox/r1.a.receipt"));
    courier_published(courier, broker.tags[1]);
    assert_false(exists(fixture, ".outbox/r1.a.receipt"));
    (void)courier_free(courier);
}

static void a_full_queue_is_tried_again_later(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {.answer = -ENOBUFS};
    Courier *courier = NULL;

    assert_int_equal(courier_new(fixture->outbox, fixture->archive, publish, &broker, &courier), 0);
    post(fixture, "a");
    courier_connected(courier);
    broker.answer = 0;
    courier_pump(courier);
    assert_int_equal(broker.count, 1);
    (void)courier_free(courier);
}

static void a_long_outbox_goes_out_in_windows(void **state)
{
    Fixture *fixture = *state;
    const unsigned total = COURIER_WINDOW * 2 + 50;
    Broker broker = {0};
    Courier *courier = NULL;
    char id[16];
    OutboxKey key;

    assert_int_equal(courier_new(fixture->outbox, fixture->archive, publish, &broker, &courier), 0);
    for (unsigned i = 0; i < total; i++) {
        (void)snprintf(id, sizeof(id), "u%u", i);
        write_file(fixture, "entry", "{}");
        char name[64];
        (void)snprintf(name, sizeof(name), ".outbox/r1.%s.receipt", id);
        assert_int_equal(renameat(fixture->root_fd, "entry", fixture->root_fd, name), 0);
    }
    courier_connected(courier);
    assert_int_equal(broker.count, COURIER_WINDOW);
    for (unsigned i = 0; i < broker.count; i++)
        courier_published(courier, broker.tags[i]);
    assert_int_equal(broker.count, total);
    assert_int_equal(outbox_list(fixture->outbox, OUTBOX_RECEIPT, NULL, NULL, &key, 1), 0);
    (void)courier_free(courier);
}

static int yes(void *userdata, const Stored *stored)
{
    (void)userdata;
    (void)stored;
    return 0;
}

/* A complete upload whose receipt the broker has. */
static void put(Fixture *fixture, const char *id)
{
    OutboxKey key = {.client = "r1"};

    (void)snprintf(key.id, sizeof(key.id), "%s", id);
    commit_text(fixture, "r1", id, "file", "text");
    assert_int_equal(outbox_delivered(fixture->outbox, OUTBOX_RECEIPT, &key), 0);
}

static void put_and_remove(Fixture *fixture, const char *id)
{
    put(fixture, id);
    assert_int_equal(archive_remove(fixture->archive, "r1", id, yes, NULL), 0);
}

static Courier *connect_courier(Fixture *fixture, Broker *broker)
{
    Courier *courier = NULL;

    assert_int_equal(courier_new(fixture->outbox, fixture->archive, publish, broker, &courier), 0);
    courier_connected(courier);
    return courier;
}

static void a_removal_is_told_until_the_broker_has_it(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};

    put_and_remove(fixture, "a");
    Courier *courier = connect_courier(fixture, &broker);
    assert_int_equal(broker.count, 1);
    assert_string_equal(broker.topic, "beckon/v1/r1/removed/a");
    courier_disconnected(courier);
    courier_connected(courier);
    assert_int_equal(broker.count, 2);
    courier_published(courier, broker.tags[1]);
    assert_false(exists(fixture, ".outbox/r1.a.removed"));
    (void)courier_free(courier);
}

static void a_removal_that_was_given_up_is_not_told(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};

    put(fixture, "a");
    assert_int_equal(outbox_note_removal(fixture->outbox, "r1", "a"), 0);
    assert_int_equal(outbox_note_removal(fixture->outbox, "r1", "never-was"), 0);
    Courier *courier = connect_courier(fixture, &broker);
    assert_int_equal(broker.count, 0);
    assert_false(exists(fixture, ".outbox/r1.a.removed"));
    assert_false(exists(fixture, ".outbox/r1.never-was.removed"));
    (void)courier_free(courier);
}

/* Killed after the record was written and before the content went. */
static void a_removal_that_was_broken_off_is_finished_before_it_is_told(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};

    put_and_remove(fixture, "a");
    assert_int_equal(mkdirat(fixture->root_fd, "r1/a", 0700), 0);
    write_file(fixture, "r1/a/file", "text");
    fixture_restart(fixture);
    Courier *courier = connect_courier(fixture, &broker);
    assert_int_equal(broker.count, 1);
    assert_false(exists(fixture, "r1/a"));
    (void)courier_free(courier);
}

/* Neither is it told over and over, nor does it stop the others. */
static void an_entry_that_is_broken_holds_up_nothing(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};

    put_and_remove(fixture, "b");
    assert_int_equal(mkdirat(fixture->root_fd, ".outbox/r1.a.receipt", 0700), 0); /* can't be read */
    assert_int_equal(mkdirat(fixture->root_fd, ".outbox/r1.c.removed", 0700), 0); /* can't be dropped */
    post(fixture, "d");
    Courier *courier = connect_courier(fixture, &broker);
    assert_int_equal(broker.count, 2);
    courier_retry(courier);
    assert_int_equal(broker.count, 2);
    assert_int_equal(unlinkat(fixture->root_fd, ".outbox/r1.a.receipt", AT_REMOVEDIR), 0);
    post(fixture, "a");
    courier_pump(courier);
    assert_int_equal(broker.count, 2);
    courier_retry(courier);
    assert_int_equal(broker.count, 3);
    (void)courier_free(courier);
}

/* As on a store that can be read only, by now. */
static void an_entry_that_stays_is_told_again_only_after_a_while(void **state)
{
    Fixture *fixture = *state;
    Broker broker = {0};

    put_and_remove(fixture, "a");
    assert_int_equal(unlinkat(fixture->root_fd, ".outbox/r1.a.removed", 0), 0);
    assert_int_equal(mkdirat(fixture->root_fd, ".outbox/r1.a.removed", 0700), 0); /* can't be unlinked */
    Courier *courier = connect_courier(fixture, &broker);
    assert_int_equal(broker.count, 1);
    courier_published(courier, broker.tags[0]);
    courier_pump(courier);
    assert_int_equal(broker.count, 1);
    courier_retry(courier);
    assert_int_equal(broker.count, 2);
    assert_int_equal(unlinkat(fixture->root_fd, ".outbox/r1.a.removed", AT_REMOVEDIR), 0);
    courier_published(courier, broker.tags[1]);
    courier_retry(courier);
    assert_int_equal(broker.count, 2);
    (void)courier_free(courier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_receipt_is_published_once_and_removed_when_acknowledged),
        WITH_STORE(a_pending_commit_is_not_published),
        WITH_STORE(after_a_lost_connection_the_receipt_is_published_again),
        WITH_STORE(a_full_queue_is_tried_again_later),
        WITH_STORE(a_long_outbox_goes_out_in_windows),
        WITH_STORE(a_removal_is_told_until_the_broker_has_it),
        WITH_STORE(a_removal_that_was_given_up_is_not_told),
        WITH_STORE(a_removal_that_was_broken_off_is_finished_before_it_is_told),
        WITH_STORE(an_entry_that_is_broken_holds_up_nothing),
        WITH_STORE(an_entry_that_stays_is_told_again_only_after_a_while),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

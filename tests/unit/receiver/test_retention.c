#include "receiver/retention.h"

#include "common/clock.h"
#include "common/json.h"
#include "receiver_fixture.h"

#include <errno.h>
#include <sys/eventfd.h>

static size_t told; /* by the last sweep */

/* How many removals are in the outbox; none any more. */
static size_t take_removals(Fixture *fixture)
{
    OutboxKey keys[16];
    int count = outbox_list(fixture->outbox, OUTBOX_REMOVED, NULL, NULL, keys, ARRAY_SIZE(keys));

    for (int i = 0; i < count; i++) {
        char *message CLEANUP(free_ptr) = NULL;
        assert_int_equal(archive_removal_message(fixture->archive, &keys[i], &message), 0);
        assert_int_equal(outbox_delivered(fixture->outbox, OUTBOX_REMOVED, &keys[i]), 0);
    }
    assert_true(count >= 0);
    return (size_t)count;
}

static void set_stamp(Fixture *fixture, const char *client, const char *id, const char *member,
                      int64_t unix_s)
{
    char name[200];

    (void)snprintf(name, sizeof(name), "%s/%s.json", client, id);
    char *json CLEANUP(free_ptr) = content(fixture, name);
    cJSON *record CLEANUP(json_delete) = cJSON_Parse(json);
    assert_true(cJSON_ReplaceItemInObject(record, member, cJSON_CreateNumber((double)unix_s)));
    char *changed CLEANUP(free_ptr) = cJSON_Print(record);
    write_file(fixture, name, changed);
}

/* A complete upload of size bytes that came so long ago, its receipt delivered. */
static void put(Fixture *fixture, const char *client, const char *id, size_t size, int64_t age_s)
{
    char text[4096];
    OutboxKey key = {.client = ""};

    memset(text, 'x', size);
    text[size] = '\0';
    commit_text(fixture, client, id, "file", text);
    (void)snprintf(key.client, sizeof(key.client), "%s", client);
    (void)snprintf(key.id, sizeof(key.id), "%s", id);
    assert_int_equal(outbox_delivered(fixture->outbox, OUTBOX_RECEIPT, &key), 0);
    set_stamp(fixture, client, id, "receivedUnix", clock_unix_ms() / 1000 - age_s);
}

#define NEVER_S 86400 /* the tests sweep themselves */

/* With the real clocks if config has none. */
static Retention *start(Fixture *fixture, RetentionConfig config)
{
    static const ConfigList none = {.count = 0};
    Retention *retention = NULL;

    config.ages = config.ages ? config.ages : &none;
    config.counts = config.counts ? config.counts : &none;
    config.sizes = config.sizes ? config.sizes : &none;
    config.unix_ms = config.unix_ms ? config.unix_ms : clock_unix_ms;
    config.now_ms = config.now_ms ? config.now_ms : clock_monotonic_ms;
    config.first_s = NEVER_S;
    assert_int_equal(retention_new(&config, fixture->store, fixture->archive, &retention), 0);
    return retention;
}

static void sweep(Fixture *fixture, RetentionConfig config)
{
    Retention *retention = start(fixture, config);

    retention_sweep(retention);
    (void)retention_free(retention);
    told = take_removals(fixture);
}

static bool is_there(Fixture *fixture, const char *client, const char *id)
{
    char name[200];

    (void)snprintf(name, sizeof(name), "%s/%s/file", client, id);
    assert_int_equal(find_upload(fixture, client, id), 0); /* complete it is, be the content there or not */
    return exists(fixture, name);
}

static void what_is_too_old_goes_and_its_record_stays(void **state)
{
    Fixture *fixture = *state;

    put(fixture, "r1", "old", 5, 3601);
    put(fixture, "r1", "young", 5, 3500);
    sweep(fixture, (RetentionConfig){.age_ms = 3600 * 1000});
    assert_false(is_there(fixture, "r1", "old"));
    assert_true(is_there(fixture, "r1", "young"));
    assert_true(exists(fixture, "r1/old.json"));
    assert_false(exists(fixture, "r1/old"));
    assert_int_equal(told, 1);
    sweep(fixture, (RetentionConfig){.age_ms = 3600 * 1000});
    assert_int_equal(told, 0);
}

static void of_each_client_the_newest_are_kept(void **state)
{
    Fixture *fixture = *state;

    put(fixture, "r1", "c", 5, 30);
    put(fixture, "r1", "a", 5, 50);
    put(fixture, "r1", "b", 5, 40);
    put(fixture, "r2", "a", 5, 500);
    sweep(fixture, (RetentionConfig){.count = 2});
    assert_false(is_there(fixture, "r1", "a"));
    assert_true(is_there(fixture, "r1", "b"));
    assert_true(is_there(fixture, "r1", "c"));
    assert_true(is_there(fixture, "r2", "a"));
    sweep(fixture, (RetentionConfig){.bytes = 5});
    assert_false(is_there(fixture, "r1", "b"));
    assert_true(is_there(fixture, "r1", "c"));
}

static void the_first_rule_that_matches_counts(void **state)
{
    Fixture *fixture = *state;
    char *items[] = {"kiosk-1=0", "kiosk-*=1"};
    const ConfigList counts = {.items = items, .count = 2};

    for (int i = 0; i < 3; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "u%d", i);
        put(fixture, "kiosk-1", id, 5, 10);
        put(fixture, "kiosk-2", id, 5, 10 * (i + 1));
        put(fixture, "shop", id, 5, 10 * (i + 1));
    }
    sweep(fixture, (RetentionConfig){.count = 2, .counts = &counts});
    assert_true(is_there(fixture, "kiosk-1", "u2"));
    assert_true(is_there(fixture, "kiosk-2", "u0"));
    assert_false(is_there(fixture, "kiosk-2", "u1"));
    assert_true(is_there(fixture, "shop", "u1"));
    assert_false(is_there(fixture, "shop", "u2"));
    assert_int_equal(told, 3);
}

static void one_whose_receipt_waits_stays(void **state)
{
    Fixture *fixture = *state;

    put(fixture, "r1", "a", 5, 3601);
    write_file(fixture, ".outbox/r1.a.receipt", "{}");
    sweep(fixture, (RetentionConfig){.age_ms = 3600 * 1000});
    assert_true(is_there(fixture, "r1", "a"));
}

static int yes(void *userdata, const Stored *stored)
{
    (void)userdata;
    (void)stored;
    return 0;
}

static int no(void *userdata, const Stored *stored)
{
    (void)userdata;
    (void)stored;
    return -ENOSPC;
}

static void what_is_not_approved_stays(void **state)
{
    Fixture *fixture = *state;
    eventfd_t woken;

    put(fixture, "r1", "a", 5, 0);
    (void)eventfd_read(outbox_fd(fixture->outbox), &woken); /* of the commit */
    assert_int_equal(archive_remove(fixture->archive, "r1", "a", no, NULL), -ENOSPC);
    assert_true(is_there(fixture, "r1", "a"));
    assert_int_equal(eventfd_read(outbox_fd(fixture->outbox), &woken),
                     0); /* others waited for it to be over */
    assert_int_equal(archive_remove(fixture->archive, "r1", "b", yes, NULL), ARCHIVE_E_ABSENT);
    assert_int_equal(take_removals(fixture), 0);
}

static void a_removal_that_was_broken_off_is_finished_by_the_next(void **state)
{
    Fixture *fixture = *state;
    Stored *stored = calloc(1, sizeof(*stored));

    put(fixture, "r1", "a", 5, 0);
    assert_int_equal(archive_remove(fixture->archive, "r1", "a", yes, NULL), 0);
    assert_int_equal(take_removals(fixture), 1);
    assert_int_equal(archive_find(fixture->archive, "r1", "a", stored), 0);
    int64_t at = stored->removed_unix_s;
    assert_true(at > 0);
    assert_int_equal(mkdirat(fixture->root_fd, "r1/a", 0700), 0); /* as if only the record had been written */
    write_file(fixture, "r1/a/file", "xxxxx");
    fixture_restart(fixture);
    assert_int_equal(archive_remove(fixture->archive, "r1", "a", yes, NULL), 0);
    assert_int_equal(take_removals(fixture), 1); /* who asks again is told again */
    assert_int_equal(archive_find(fixture->archive, "r1", "a", stored), 0);
    assert_int_equal(stored->removed_unix_s, at);
    assert_false(exists(fixture, "r1/a"));
    free(stored);
}

static void a_client_with_a_file_of_the_future_is_left_alone(void **state)
{
    Fixture *fixture = *state;
    const RetentionConfig config = {.age_ms = 3600 * 1000, .count = 1, .bytes = 1};

    put(fixture, "r1", "old", 5, 7200);
    put(fixture, "r1", "new", 5, 0);
    put(fixture, "r1", "future", 5, -3700);
    put(fixture, "r2", "old", 5, 7200);
    sweep(fixture, config);
    assert_true(is_there(fixture, "r1", "old"));
    assert_true(is_there(fixture, "r1", "new"));
    assert_true(is_there(fixture, "r1", "future"));
    assert_false(is_there(fixture, "r2", "old"));
    assert_int_equal(archive_remove(fixture->archive, "r1", "future", yes, NULL), 0);
    sweep(fixture, config);
    assert_false(is_there(fixture, "r1", "old"));
}

static void a_file_that_is_only_a_little_ahead_holds_up_nothing(void **state)
{
    Fixture *fixture = *state;

    put(fixture, "r1", "old", 5, 7200);
    put(fixture, "r1", "ahead", 5, -3000);
    sweep(fixture, (RetentionConfig){.count = 1});
    assert_false(is_there(fixture, "r1", "old"));
    assert_true(is_there(fixture, "r1", "ahead"));
}

#define MINUTE_MS 60000
#define HOUR_MS (60 * MINUTE_MS)
static int64_t running_ms, calendar_ms;

static int64_t running(void)
{
    return running_ms;
}

static int64_t calendar(void)
{
    return calendar_ms;
}

static Retention *start_with_own_clocks(Fixture *fixture, RetentionConfig config)
{
    running_ms = 0;
    calendar_ms = clock_unix_ms();
    config.unix_ms = calendar;
    config.now_ms = running;
    return start(fixture, config);
}

static void sweep_after(Retention *retention, int64_t pass_ms, int64_t jump_ms)
{
    running_ms += pass_ms;
    calendar_ms += pass_ms + jump_ms;
    retention_sweep(retention);
}

static void after_a_jump_of_the_clock_nothing_goes_for_an_hour(void **state)
{
    Fixture *fixture = *state;

    put(fixture, "r1", "young", 5, 0);
    put(fixture, "r1", "old", 5, 7 * 3600);
    Retention *retention = start_with_own_clocks(fixture, (RetentionConfig){.age_ms = 6 * HOUR_MS});
    sweep_after(retention, 10 * MINUTE_MS, 10 * HOUR_MS);
    assert_true(is_there(fixture, "r1", "old"));
    sweep_after(retention, 59 * MINUTE_MS, -10 * HOUR_MS); /* somebody sets it right */
    sweep_after(retention, 59 * MINUTE_MS, 0);
    assert_true(is_there(fixture, "r1", "old"));
    sweep_after(retention, 2 * MINUTE_MS, 0);
    assert_false(is_there(fixture, "r1", "old"));
    assert_true(is_there(fixture, "r1", "young"));
    (void)retention_free(retention);
}

static void a_clock_that_is_set_by_less_than_an_hour_holds_up_nothing(void **state)
{
    Fixture *fixture = *state;

    put(fixture, "r1", "old", 5, 10);
    put(fixture, "r1", "new", 5, 0);
    Retention *retention = start_with_own_clocks(fixture, (RetentionConfig){.count = 1});
    sweep_after(retention, 10 * MINUTE_MS, 50 * MINUTE_MS);
    assert_false(is_there(fixture, "r1", "old"));
    (void)retention_free(retention);
}

#define DAY_S 86400

/* Removed so many days ago, and told. */
static void put_removed(Fixture *fixture, const char *id, int days)
{
    put(fixture, "r1", id, 5, (days + 1) * DAY_S);
    assert_int_equal(archive_remove(fixture->archive, "r1", id, yes, NULL), 0);
    assert_int_equal(take_removals(fixture), 1);
    set_stamp(fixture, "r1", id, "removedUnix", clock_unix_ms() / 1000 - days * DAY_S);
}

static void the_record_of_what_was_removed_goes_after_two_months(void **state)
{
    Fixture *fixture = *state;

    put_removed(fixture, "long-ago", 61);
    put_removed(fixture, "lately", 1);
    put(fixture, "r1", "there", 5, 400 * DAY_S);
    sweep(fixture, (RetentionConfig){.count = 0});
    assert_int_equal(find_upload(fixture, "r1", "long-ago"), ARCHIVE_E_ABSENT);
    assert_false(exists(fixture, "r1/long-ago.json"));
    assert_true(exists(fixture, "r1/lately.json"));
    assert_true(is_there(fixture, "r1", "there"));
    put(fixture, "r1", "long-ago", 7, 0); /* a new one */
    assert_true(is_there(fixture, "r1", "long-ago"));
}

static void the_record_of_a_removal_that_is_not_told_stays(void **state)
{
    Fixture *fixture = *state;

    put_removed(fixture, "a", 61);
    put_removed(fixture, "b", 61);
    assert_int_equal(outbox_note_removal(fixture->outbox, "r1", "a"), 0);
    write_file(fixture, ".outbox/r1.b.receipt", "{}");
    sweep(fixture, (RetentionConfig){.count = 1});
    assert_int_equal(told, 1);
    assert_true(exists(fixture, "r1/a.json"));
    assert_true(exists(fixture, "r1/b.json"));
    assert_int_equal(unlinkat(fixture->root_fd, ".outbox/r1.b.receipt", 0), 0);
    sweep(fixture, (RetentionConfig){.count = 1});
    assert_false(exists(fixture, "r1/a.json"));
    assert_false(exists(fixture, "r1/b.json"));
}

static void content_that_a_removal_left_goes_with_its_record(void **state)
{
    Fixture *fixture = *state;

    put_removed(fixture, "a", 61);
    assert_int_equal(mkdirat(fixture->root_fd, "r1/a", 0700), 0);
    write_file(fixture, "r1/a/file", "xxxxx");
    sweep(fixture, (RetentionConfig){.count = 0});
    assert_false(exists(fixture, "r1/a"));
    assert_false(exists(fixture, "r1/a.json"));
}

static void rules_that_say_nothing_are_mistakes(void **state)
{
    char *good[] = {"*=30d", "kiosk-?=0"}, *bad[] = {"kiosk=soon", "a/b=1d", "=1d", "kiosk"};
    const ConfigList none = {.count = 0}, rules = {.items = good, .count = 2},
                     wrong = {.items = bad, .count = 4};

    (void)state;
    assert_int_equal(retention_check(&(RetentionConfig){.ages = &rules, .counts = &none, .sizes = &none}), 0);
    assert_int_equal(retention_check(&(RetentionConfig){.ages = &wrong, .counts = &none, .sizes = &none}), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(what_is_too_old_goes_and_its_record_stays),
        WITH_STORE(of_each_client_the_newest_are_kept),
        WITH_STORE(the_first_rule_that_matches_counts),
        WITH_STORE(one_whose_receipt_waits_stays),
        WITH_STORE(what_is_not_approved_stays),
        WITH_STORE(a_removal_that_was_broken_off_is_finished_by_the_next),
        WITH_STORE(a_client_with_a_file_of_the_future_is_left_alone),
        WITH_STORE(a_file_that_is_only_a_little_ahead_holds_up_nothing),
        WITH_STORE(after_a_jump_of_the_clock_nothing_goes_for_an_hour),
        WITH_STORE(a_clock_that_is_set_by_less_than_an_hour_holds_up_nothing),
        WITH_STORE(the_record_of_what_was_removed_goes_after_two_months),
        WITH_STORE(the_record_of_a_removal_that_is_not_told_stays),
        WITH_STORE(content_that_a_removal_left_goes_with_its_record),
        cmocka_unit_test(rules_that_say_nothing_are_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

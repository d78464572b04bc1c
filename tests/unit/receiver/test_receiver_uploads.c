#include "receiver_fixture.h"

#include "common/text.h"

#include <pthread.h>

static int64_t now_ms;
static unsigned cuts;
static void *last_cut;

static int64_t test_now(void)
{
    return now_ms;
}

static void test_cut(void *connection)
{
    cuts++;
    last_cut = connection;
}

static Uploads *make_uploads(Fixture *fixture, unsigned open_max, unsigned per_client_max)
{
    const UploadsConfig config = {
        .open_max = open_max, .per_client_max = per_client_max, .now_ms = test_now, .cut = test_cut};
    Uploads *uploads = NULL;

    cuts = 0;
    last_cut = NULL;
    assert_int_equal(uploads_new(&config, fixture->spool, fixture->archive, &uploads), 0);
    return uploads;
}

static int try_begin(Uploads *uploads, const char *client, const char *id, void *connection,
                     Transfer **ret_transfer)
{
    const TransferStart start = {.client = client, .id = id, .path = "/srv/file", .connection = connection};

    return transfer_begin(uploads, &start, ret_transfer);
}

static Transfer *begin(Uploads *uploads, const char *client, const char *id, void *connection)
{
    Transfer *transfer = NULL;

    assert_int_equal(try_begin(uploads, client, id, connection, &transfer), 0);
    return transfer;
}

static int finish(Transfer *transfer)
{
    const TransferClaims none = {.marked = true};
    Stored *stored = calloc(1, sizeof(*stored));
    int r = transfer_finish(transfer, &none, stored);

    free(stored);
    return r;
}

static int put(Uploads *uploads, const char *client, const char *id, const char *text)
{
    Transfer *transfer = begin(uploads, client, id, NULL);

    assert_int_equal(transfer_write(transfer, text, strlen(text)), 0);
    int r = finish(transfer);
    (void)transfer_end(transfer);
    return r;
}

static void a_whole_upload_is_complete_and_gone_from_the_table(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;

    assert_int_equal(uploads_status(uploads, "r1", "a", &status), UPLOADS_E_ABSENT);
    assert_int_equal(put(uploads, "r1", "a", "hello"), 0);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_true(status.complete);
    assert_int_equal(status.offset, 5);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_int_equal(uploads_delete(uploads, "r1", "a", 0), UPLOADS_E_COMPLETE);
    (void)uploads_free(uploads);
}

static void a_repeat_gets_the_same_answer_and_another_content_a_conflict(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);

    assert_int_equal(put(uploads, "r1", "a", "hello"), 0);
    assert_int_equal(put(uploads, "r1", "a", "hello"), 0);
    assert_int_equal(put(uploads, "r1", "a", "other"), UPLOADS_E_CONFLICT);
    char *text = content(fixture, "r1/a/file");
    assert_string_equal(text, "hello");
    free(text);
    assert_int_equal(put(uploads, "r2", "a", "other"), 0);
    (void)uploads_free(uploads);
}

static void a_broken_connection_leaves_a_durable_part(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;
    Transfer *transfer = begin(uploads, "r1", "a", NULL);

    assert_int_equal(transfer_write(transfer, "hello", 5), 0);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_int_equal(status.offset, 5); /* and synced, because it was asked for */
    (void)transfer_end(transfer);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_false(status.complete);
    assert_int_equal(status.offset, 5);
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_int_equal(put(uploads, "r1", "a", "anew"), 0); /* a PUT starts over */
    char *text = content(fixture, "r1/a/file");
    assert_string_equal(text, "anew");
    free(text);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    (void)uploads_free(uploads);
}

static void a_wrong_digest_sets_the_part_aside_and_the_upload_stands_at_zero(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    const TransferClaims wrong = {.marked = true, .whole_count = 1};
    Stored *stored = calloc(1, sizeof(*stored));
    UploadStatusNow status;
    Transfer *transfer = begin(uploads, "r1", "a", NULL);

    assert_int_equal(transfer_write(transfer, "hello", 5), 0);
    assert_int_equal(transfer_finish(transfer, &wrong, stored), UPLOADS_E_DIGEST);
    (void)transfer_end(transfer);
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_true(exists(fixture, ".incoming/r1.a.0.aside"));
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_false(status.complete);
    assert_int_equal(status.offset, 0);
    assert_int_equal(put(uploads, "r1", "a", "hello"), 0);
    (void)uploads_free(uploads);
    free(stored);
}

static void a_length_that_was_said_must_be_met(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    const TransferStart start = {.client = "r1", .id = "a", .path = "x", .has_length = true, .length = 4};
    Transfer *transfer = NULL;

    assert_int_equal(transfer_begin(uploads, &start, &transfer), 0);
    assert_int_equal(transfer_write(transfer, "hell", 4), 0);
    assert_int_equal(transfer_write(transfer, "o", 1), UPLOADS_E_LENGTH);
    (void)transfer_end(transfer);
    assert_int_equal(transfer_begin(uploads, &start, &transfer), 0);
    assert_int_equal(transfer_write(transfer, "hel", 3), 0);
    assert_int_equal(finish(transfer), UPLOADS_E_LENGTH);
    (void)transfer_end(transfer);
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    (void)uploads_free(uploads);
}

static void a_newer_transfer_fences_the_older(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    int older_connection, newer_connection;
    Transfer *older = begin(uploads, "r1", "a", &older_connection);

    assert_int_equal(transfer_write(older, "old", 3), 0);
    Transfer *newer = begin(uploads, "r1", "a", &newer_connection);
    assert_int_equal(cuts, 1);
    assert_ptr_equal(last_cut, &older_connection);
    assert_int_equal(transfer_write(newer, "new", 3), 0);
    assert_int_equal(transfer_write(older, "er", 2), UPLOADS_E_FENCED);
    assert_int_equal(finish(older), UPLOADS_E_FENCED);
    assert_int_equal(finish(newer), 0);
    assert_int_equal(finish(older), UPLOADS_E_FENCED);
    (void)transfer_end(newer);
    (void)transfer_end(older); /* its end may come after the newer one's */
    char *text = content(fixture, "r1/a/file");
    assert_string_equal(text, "new");
    free(text);
    (void)uploads_free(uploads);
}

static void a_delete_fences_and_removes(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;
    Transfer *transfer = begin(uploads, "r1", "a", NULL);

    assert_int_equal(transfer_write(transfer, "old", 3), 0);
    assert_int_equal(uploads_delete(uploads, "r1", "a", 0), 0);
    assert_int_equal(cuts, 1);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_int_equal(transfer_write(transfer, "er", 2), UPLOADS_E_FENCED);
    assert_int_equal(finish(transfer), UPLOADS_E_FENCED);
    (void)transfer_end(transfer);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), UPLOADS_E_DELETED);
    assert_int_equal(uploads_delete(uploads, "r1", "a", 0), UPLOADS_E_DELETED);
    assert_int_equal(put(uploads, "r1", "a", "anew"), 0);
    (void)uploads_free(uploads);
}

static void a_cancel_ends_a_running_and_an_idle_upload_but_no_complete_one(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;
    Transfer *running = begin(uploads, "r1", "a", NULL), *broken = begin(uploads, "r1", "b", NULL);

    assert_int_equal(transfer_write(running, "old", 3), 0);
    assert_int_equal(transfer_write(broken, "old", 3), 0);
    (void)transfer_end(broken);
    assert_true(uploads_cancel(uploads, "r1", "a"));
    assert_int_equal(cuts, 1);
    assert_int_equal(transfer_write(running, "er", 2), UPLOADS_E_FENCED);
    (void)transfer_end(running);
    assert_true(uploads_cancel(uploads, "r1", "b"));
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_false(exists(fixture, ".incoming/r1.b.1.part"));
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), UPLOADS_E_DELETED);
    assert_int_equal(put(uploads, "r1", "c", "whole"), 0);
    assert_false(uploads_cancel(uploads, "r1", "c"));
    assert_false(uploads_cancel(uploads, "r1", "unknown"));
    assert_int_equal(find_upload(fixture, "r1", "c"), 0);
    (void)uploads_free(uploads);
}

static void limits_hold_and_idle_uploads_make_place(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 3, 2);
    Transfer *transfer = NULL;
    UploadStatusNow status;
    Transfer *first = begin(uploads, "r1", "a", NULL), *second = begin(uploads, "r1", "b", NULL);

    assert_int_equal(try_begin(uploads, "r1", "c", NULL, &transfer), UPLOADS_E_CLIENT_BUSY);
    Transfer *third = begin(uploads, "r2", "a", NULL);
    assert_int_equal(try_begin(uploads, "r3", "a", NULL, &transfer), UPLOADS_E_BUSY);
    assert_int_equal(transfer_write(first, "kept", 4), 0);
    (void)transfer_end(first);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    transfer = begin(uploads, "r1", "c", NULL); /* takes the room of the idle one */
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), UPLOADS_E_ABSENT);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    (void)transfer_end(transfer);
    (void)transfer_end(second);
    (void)transfer_end(third);
    (void)uploads_free(uploads);
}

static void what_is_idle_too_long_goes(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;

    now_ms = 1000;
    Transfer *old = begin(uploads, "r1", "old", NULL);
    assert_int_equal(transfer_write(old, "x", 1), 0);
    (void)transfer_end(old);
    now_ms = 2000;
    Transfer *young = begin(uploads, "r1", "young", NULL), *running = begin(uploads, "r1", "running", NULL);
    assert_int_equal(transfer_write(young, "x", 1), 0);
    (void)transfer_end(young);
    uploads_expire(uploads, 1500);
    assert_int_equal(uploads_status(uploads, "r1", "old", &status), UPLOADS_E_ABSENT);
    assert_int_equal(uploads_status(uploads, "r1", "young", &status), 0);
    uploads_expire(uploads, 9000);
    assert_int_equal(uploads_status(uploads, "r1", "young", &status), UPLOADS_E_ABSENT);
    assert_int_equal(transfer_write(running, "x", 1), 0);
    assert_int_equal(finish(running), 0);
    (void)transfer_end(running);
    (void)uploads_free(uploads);
}

/* Resuming */

static int try_resume(Uploads *uploads, const char *id, uint64_t offset, uint64_t attempt,
                      Transfer **ret_transfer, uint64_t *ret_offset)
{
    const TransferStart start = {.client = "r1", .id = id, .path = "ignored", .attempt = attempt};

    return transfer_resume(uploads, &start, offset, ret_transfer, ret_offset);
}

static Transfer *resume(Uploads *uploads, const char *id, uint64_t offset)
{
    Transfer *transfer = NULL;

    assert_int_equal(try_resume(uploads, id, offset, 0, &transfer, NULL), 0);
    return transfer;
}

static int finish_marked(Transfer *transfer, bool marked)
{
    const TransferClaims claims = {.marked = marked};
    Stored *stored = calloc(1, sizeof(*stored));
    int r = transfer_finish(transfer, &claims, stored);

    free(stored);
    return r;
}

/* An upload that was broken off with text in its part. */
static void leave(Uploads *uploads, const char *id, uint64_t length, uint64_t attempt, const char *text)
{
    const TransferStart start = {.client = "r1",
                                 .id = id,
                                 .path = "/srv/file",
                                 .has_length = length > 0,
                                 .length = length,
                                 .attempt = attempt};
    Transfer *transfer = NULL;

    assert_int_equal(transfer_begin(uploads, &start, &transfer), 0);
    assert_int_equal(transfer_write(transfer, text, strlen(text)), 0);
    (void)transfer_end(transfer);
}

static Uploads *restart(Fixture *fixture, Uploads *uploads)
{
    (void)uploads_free(uploads);
    fixture_restart(fixture);
    return make_uploads(fixture, 10, 10);
}

static void completion_happens_when_the_rules_say_so_and_never_else(void **state)
{
    static const struct {
        bool marked, has_length;
        uint64_t length, offset;
        Completion wanted;
    } rules[] = {
        {true, false, 0, 0, COMPLETION_NOW},          {true, false, 0, 7, COMPLETION_NOW},
        {true, true, 7, 7, COMPLETION_NOW},           {true, true, 0, 0, COMPLETION_NOW},
        {false, true, 7, 7, COMPLETION_NOW},          {false, true, 0, 0, COMPLETION_NOW},
        {false, false, 0, 0, COMPLETION_NOT_YET},     {false, false, 0, 7, COMPLETION_NOT_YET},
        {false, true, 7, 6, COMPLETION_NOT_YET},      {false, true, 7, 0, COMPLETION_NOT_YET},
        {true, true, 7, 6, COMPLETION_WRONG_LENGTH},  {true, true, 7, 8, COMPLETION_WRONG_LENGTH},
        {false, true, 7, 8, COMPLETION_WRONG_LENGTH}, {true, true, 7, 0, COMPLETION_WRONG_LENGTH},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        assert_int_equal(
            completion_of(rules[i].marked, rules[i].has_length, rules[i].length, rules[i].offset),
            rules[i].wanted);
}

static void a_resumed_upload_becomes_the_whole(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    uint64_t offset = 99;
    Transfer *transfer = NULL;

    leave(uploads, "a", 0, 0, "hello ");
    assert_int_equal(try_resume(uploads, "a", 5, 0, &transfer, &offset), UPLOADS_E_OFFSET);
    assert_int_equal(offset, 6);
    transfer = resume(uploads, "a", 6);
    assert_int_equal(transfer_write(transfer, "wor", 3), 0);
    assert_int_equal(finish_marked(transfer, false), UPLOADS_E_INCOMPLETE);
    (void)transfer_end(transfer);
    transfer = resume(uploads, "a", 9);
    assert_int_equal(transfer_write(transfer, "ld", 2), 0);
    assert_int_equal(finish_marked(transfer, true), 0);
    (void)transfer_end(transfer);
    char *text = content(fixture, "r1/a/file"); /* the path is the one it began with */
    assert_string_equal(text, "hello world");
    free(text);
    assert_false(exists(fixture, ".incoming/r1.a.0.journal"));
    (void)uploads_free(uploads);
}

static void a_part_of_an_earlier_process_is_gone_on_with(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;

    leave(uploads, "a", 11, 0, "hello ");
    uploads = restart(fixture, uploads);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_int_equal(status.offset, 6);
    assert_true(status.has_length);
    assert_int_equal(status.length, 11);
    Transfer *transfer = resume(uploads, "a", 6);
    assert_int_equal(transfer_write(transfer, "world", 5), 0);
    (void)transfer_end(transfer); /* cut exactly at the end: not complete */
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    uploads = restart(fixture, uploads);
    transfer = resume(uploads, "a", 11);
    assert_int_equal(finish_marked(transfer, true), 0);
    (void)transfer_end(transfer);
    char *text = content(fixture, "r1/a/file");
    assert_string_equal(text, "hello world");
    free(text);
    (void)uploads_free(uploads);
}

static void the_length_completes_without_a_mark(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);

    leave(uploads, "a", 4, 0, "ab");
    Transfer *transfer = resume(uploads, "a", 2);
    assert_int_equal(transfer_write(transfer, "cd", 2), 0);
    assert_int_equal(transfer_write(transfer, "e", 1), UPLOADS_E_LENGTH);
    assert_int_equal(finish_marked(transfer, false), 0);
    (void)transfer_end(transfer);
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
    (void)uploads_free(uploads);
}

static void another_length_than_the_known_one_is_refused(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    TransferStart start = {.client = "r1", .id = "a", .path = "x", .has_length = true, .length = 5};
    Transfer *transfer = NULL;
    uint64_t offset = 0;

    leave(uploads, "a", 4, 0, "ab");
    assert_int_equal(transfer_resume(uploads, &start, 2, &transfer, &offset), UPLOADS_E_LENGTH);
    leave(uploads, "b", 0, 0, "abcdef");
    start.id = "b";
    assert_int_equal(transfer_resume(uploads, &start, 6, &transfer, &offset), UPLOADS_E_LENGTH);
    start.length = 7; /* learnt only now */
    assert_int_equal(transfer_resume(uploads, &start, 6, &transfer, &offset), 0);
    assert_int_equal(transfer_write(transfer, "g", 1), 0);
    assert_int_equal(finish_marked(transfer, false), 0);
    (void)transfer_end(transfer);
    (void)uploads_free(uploads);
}

static void a_lower_attempt_is_fenced_also_after_a_restart(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    TransferStart start = {.client = "r1", .id = "a", .path = "x", .attempt = 2};
    Transfer *transfer = NULL;

    leave(uploads, "a", 0, 3, "ab");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(try_resume(uploads, "a", 2, 2, &transfer, NULL), UPLOADS_E_FENCED);
        assert_int_equal(transfer_begin(uploads, &start, &transfer), UPLOADS_E_FENCED);
        assert_int_equal(uploads_delete(uploads, "r1", "a", 2), UPLOADS_E_FENCED);
        uploads = restart(fixture, uploads);
    }
    assert_int_equal(try_resume(uploads, "a", 2, 7, &transfer, NULL), 0);
    (void)transfer_end(transfer);
    uploads = restart(fixture, uploads);
    assert_int_equal(try_resume(uploads, "a", 2, 6, &transfer, NULL), UPLOADS_E_FENCED);
    assert_int_equal(uploads_delete(uploads, "r1", "a", 8), 0);
    uploads = restart(fixture, uploads);
    start.attempt = 7;
    assert_int_equal(transfer_begin(uploads, &start, &transfer), UPLOADS_E_FENCED);
    start.attempt = 9;
    assert_int_equal(transfer_begin(uploads, &start, &transfer), 0);
    (void)transfer_end(transfer);
    (void)uploads_free(uploads);
}

static void a_deletion_is_remembered_across_a_restart(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;
    Transfer *transfer = NULL;

    leave(uploads, "a", 0, 0, "ab");
    leave(uploads, "b", 0, 0, "ab");
    uploads = restart(fixture, uploads);
    assert_int_equal(uploads_delete(uploads, "r1", "a", 0), 0);
    assert_true(uploads_cancel(uploads, "r1", "b"));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(uploads_status(uploads, "r1", "a", &status), UPLOADS_E_DELETED);
        assert_int_equal(try_resume(uploads, "b", 2, 0, &transfer, NULL), UPLOADS_E_DELETED);
        assert_false(uploads_cancel(uploads, "r1", "b"));
        uploads = restart(fixture, uploads);
    }
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_false(exists(fixture, ".incoming/r1.b.1.part"));
    assert_int_equal(put(uploads, "r1", "a", "anew"), 0);
    uploads = restart(fixture, uploads);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_true(status.complete);
    (void)uploads_free(uploads);
}

static void the_end_of_a_finished_upload_may_be_repeated(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    uint64_t offset = 0;
    Transfer *transfer = NULL;

    assert_int_equal(put(uploads, "r1", "a", "hello world"), 0);
    transfer = resume(uploads, "a", 6);
    assert_int_equal(transfer_write(transfer, "world", 5), 0);
    assert_int_equal(finish_marked(transfer, true), 0);
    (void)transfer_end(transfer);
    transfer = resume(uploads, "a", 11);
    assert_int_equal(finish_marked(transfer, true), 0);
    (void)transfer_end(transfer);
    transfer = resume(uploads, "a", 6);
    assert_int_equal(transfer_write(transfer, "World", 5), 0);
    assert_int_equal(finish_marked(transfer, true), UPLOADS_E_CONFLICT);
    (void)transfer_end(transfer);
    transfer = resume(uploads, "a", 6);
    assert_int_equal(transfer_write(transfer, "wor", 3), 0);
    assert_int_equal(finish_marked(transfer, false), UPLOADS_E_COMPLETE);
    (void)transfer_end(transfer);
    assert_int_equal(try_resume(uploads, "a", 12, 0, &transfer, &offset), UPLOADS_E_OFFSET);
    assert_int_equal(offset, 11);
    assert_int_equal(try_resume(uploads, "unknown", 0, 0, &transfer, &offset), UPLOADS_E_ABSENT);
    (void)uploads_free(uploads);
}

static void a_body_is_checked_by_its_own_digest(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    const TransferStart start = {.client = "r1", .id = "a", .path = "x", .check_body = true};
    TransferClaims claims = {.marked = true, .body_count = 1};
    Stored *stored = calloc(1, sizeof(*stored));
    UploadStatusNow status;
    Transfer *transfer = NULL;
    Digest *digest = NULL;

    for (int good = 1; good >= 0; good--) {
        leave(uploads, "a", 0, 0, "hello ");
        assert_int_equal(transfer_resume(uploads, &start, 6, &transfer, NULL), 0);
        assert_true(transfer_checks_body(transfer));
        assert_int_equal(transfer_write(transfer, "world", 5), 0);
        assert_int_equal(digest_new(&digest), 0);
        assert_int_equal(digest_update(digest, good ? "world" : "hello world", good ? 5 : 11), 0);
        assert_int_equal(digest_final(digest, claims.body[0]), 0);
        (void)digest_free(digest);
        claims.marked = !good; /* the good one first, unmarked */
        assert_int_equal(transfer_finish(transfer, &claims, stored),
                         good ? UPLOADS_E_INCOMPLETE : UPLOADS_E_DIGEST);
        (void)transfer_end(transfer);
    }
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_int_equal(status.offset, 0);
    (void)uploads_free(uploads);
    free(stored);
}

static void an_empty_upload_that_was_begun_stays(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;
    const TransferStart start = {
        .client = "r1", .id = "a", .path = "/srv/file", .has_length = true, .length = 3};
    Transfer *transfer = NULL;

    assert_int_equal(transfer_begin(uploads, &start, &transfer), 0);
    assert_int_equal(finish_marked(transfer, false), UPLOADS_E_INCOMPLETE);
    (void)transfer_end(transfer);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
        assert_int_equal(status.offset, 0);
        assert_int_equal(status.length, 3);
        uploads = restart(fixture, uploads);
    }
    transfer = resume(uploads, "a", 0);
    assert_int_equal(transfer_write(transfer, "abc", 3), 0);
    assert_int_equal(finish_marked(transfer, false), 0);
    (void)transfer_end(transfer);
    (void)uploads_free(uploads);
}

static void bytes_of_a_client_are_limited_and_the_oldest_make_place(void **state)
{
    Fixture *fixture = *state;
    const UploadsConfig config = {
        .open_max = 10, .per_client_max = 10, .client_bytes_max = 10, .now_ms = test_now, .cut = test_cut};
    TransferStart start = {.client = "r1", .id = "c", .path = "x", .has_length = true, .length = 6};
    Uploads *uploads = NULL;
    Transfer *transfer = NULL, *other = NULL;
    UploadStatusNow status;

    assert_int_equal(uploads_new(&config, fixture->spool, fixture->archive, &uploads), 0);
    leave(uploads, "a", 0, 0, "1234");
    leave(uploads, "b", 0, 0, "1234");
    assert_int_equal(transfer_begin(uploads, &start, &transfer), 0);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), UPLOADS_E_ABSENT);
    assert_int_equal(uploads_status(uploads, "r1", "b", &status), 0);
    start.id = "d";
    start.length = 5;
    assert_int_equal(transfer_begin(uploads, &start, &other), UPLOADS_E_CLIENT_BUSY);
    assert_int_equal(uploads_status(uploads, "r1", "b", &status), 0); /* not removed in vain */
    start.client = "r2";
    assert_int_equal(transfer_begin(uploads, &start, &other), 0);
    (void)transfer_end(other);
    (void)transfer_end(transfer);
    (void)uploads_free(uploads);
}

static void a_stopping_receiver_parks_what_is_on_its_way(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    Transfer *transfer = begin(uploads, "r1", "a", NULL), *refused = NULL;
    UploadStatusNow status;

    assert_int_equal(transfer_write(transfer, "hello", 5), 0);
    assert_false(uploads_stop(uploads, 0));
    assert_int_equal(cuts, 1);
    assert_int_equal(try_begin(uploads, "r1", "b", NULL, &refused), UPLOADS_E_AGAIN);
    (void)transfer_end(transfer);
    assert_true(uploads_stop(uploads, 1000));
    uploads = restart(fixture, uploads);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_int_equal(status.offset, 5);
    (void)uploads_free(uploads);
}

/* Many threads send the same upload, delete and cancel it: whatever is complete at the end is one whole
 * content. */
typedef struct Racer {
    Uploads *uploads;
    char letter;
    unsigned completed;
} Racer;

static void *race(void *userdata)
{
    Racer *racer = userdata;
    UploadStatusNow status;
    char piece[100];

    memset(piece, racer->letter, sizeof(piece));
    for (int round = 0; round < 40; round++) {
        Transfer *transfer = NULL;
        int r = try_begin(racer->uploads, "r1", "a", NULL, &transfer);
        for (int i = 0; r == 0 && i < 20; i++)
            r = transfer_write(transfer, piece, sizeof(piece));
        if (r == 0 && finish(transfer) == 0)
            racer->completed++;
        (void)transfer_end(transfer);
        transfer = NULL;
        uint64_t offset = 0;
        r = try_resume(racer->uploads, "a", (uint64_t)(round % 3) * 100, (uint64_t)round % 5, &transfer,
                       &offset);
        if (r == 0)
            assert_true(transfer_write(transfer, piece, sizeof(piece)) >= 0); /* never finished */
        (void)transfer_end(r == 0 ? transfer : NULL);
        if (round % 8 == 3)
            assert_true(uploads_delete(racer->uploads, "r1", "a", 0) >= 0);
        if (round % 8 == 5)
            (void)uploads_cancel(racer->uploads, "r1", "a");
        assert_true(uploads_status(racer->uploads, "r1", "a", &status) >= 0);
    }
    return NULL;
}

static void racing_transfers_leave_one_whole_content(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 100, 100);
    Racer racers[6];
    pthread_t threads[6];

    for (unsigned i = 0; i < 6; i++) {
        racers[i] = (Racer){.uploads = uploads, .letter = (char)('a' + i)};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    if (find_upload(fixture, "r1", "a") == 0) {
        char *text = content(fixture, "r1/a/file");
        assert_int_equal(strlen(text), 2000);
        for (unsigned i = 0; i < 2000; i++)
            assert_int_equal(text[i], text[0]);
        assert_true(racers[text[0] - 'a'].completed > 0);
        free(text);
    }
    (void)uploads_free(uploads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_whole_upload_is_complete_and_gone_from_the_table),
        WITH_STORE(a_repeat_gets_the_same_answer_and_another_content_a_conflict),
        WITH_STORE(a_broken_connection_leaves_a_durable_part),
        WITH_STORE(a_wrong_digest_sets_the_part_aside_and_the_upload_stands_at_zero),
        WITH_STORE(a_length_that_was_said_must_be_met),
        WITH_STORE(a_newer_transfer_fences_the_older),
        WITH_STORE(a_delete_fences_and_removes),
        WITH_STORE(a_cancel_ends_a_running_and_an_idle_upload_but_no_complete_one),
        WITH_STORE(limits_hold_and_idle_uploads_make_place),
        WITH_STORE(what_is_idle_too_long_goes),
        cmocka_unit_test(completion_happens_when_the_rules_say_so_and_never_else),
        WITH_STORE(a_resumed_upload_becomes_the_whole),
        WITH_STORE(a_part_of_an_earlier_process_is_gone_on_with),
        WITH_STORE(the_length_completes_without_a_mark),
        WITH_STORE(another_length_than_the_known_one_is_refused),
        WITH_STORE(a_lower_attempt_is_fenced_also_after_a_restart),
        WITH_STORE(a_deletion_is_remembered_across_a_restart),
        WITH_STORE(the_end_of_a_finished_upload_may_be_repeated),
        WITH_STORE(a_body_is_checked_by_its_own_digest),
        WITH_STORE(an_empty_upload_that_was_begun_stays),
        WITH_STORE(bytes_of_a_client_are_limited_and_the_oldest_make_place),
        WITH_STORE(a_stopping_receiver_parks_what_is_on_its_way),
        WITH_STORE(racing_transfers_leave_one_whole_content),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

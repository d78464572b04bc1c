#include "uploads_fixture.h"

#include <pthread.h>

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
        WITH_STORE(racing_transfers_leave_one_whole_content),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "uploads_fixture.h"

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

/* What removing failed to remove is there again under another name, as if it had stayed. */
static void keep(const Fixture *fixture, const char *name, const char *copy)
{
    assert_int_equal(linkat(fixture->root_fd, name, fixture->root_fd, copy, 0), 0);
}

static void put_back(const Fixture *fixture, const char *copy, const char *name)
{
    assert_int_equal(renameat(fixture->root_fd, copy, fixture->root_fd, name), 0);
}

static void what_is_left_over_of_a_complete_upload_goes_at_the_next_start(void **state)
{
    Fixture *fixture = *state;
    Uploads *uploads = make_uploads(fixture, 10, 10);
    UploadStatusNow status;

    leave(uploads, "a", 0, 0, "hello ");
    leave(uploads, "b", 0, 0, "hello ");
    keep(fixture, ".incoming/r1.a.0.part", "kept.part");
    keep(fixture, ".incoming/r1.a.0.journal", "kept.journal");
    Transfer *transfer = resume(uploads, "a", 6);
    assert_int_equal(finish_marked(transfer, true), 0);
    (void)transfer_end(transfer);
    put_back(fixture, "kept.part", ".incoming/r1.a.0.part");
    put_back(fixture, "kept.journal", ".incoming/r1.a.0.journal");
    assert_int_equal(uploads_delete(uploads, "r1", "a", 0), UPLOADS_E_COMPLETE);
    uploads = restart(fixture, uploads);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_false(exists(fixture, ".incoming/r1.a.0.journal"));
    assert_int_equal(uploads_delete(uploads, "r1", "a", 0), UPLOADS_E_COMPLETE);
    assert_int_equal(uploads_status(uploads, "r1", "a", &status), 0);
    assert_true(status.complete);
    assert_true(exists(fixture, ".incoming/r1.b.1.part"));
    assert_int_equal(uploads_status(uploads, "r1", "b", &status), 0);
    assert_int_equal(status.offset, 6);
    (void)uploads_free(uploads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        WITH_STORE(what_is_left_over_of_a_complete_upload_goes_at_the_next_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

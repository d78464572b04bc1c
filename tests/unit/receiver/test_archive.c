#include "receiver_fixture.h"

#include "common/text.h"

#include <errno.h>

static void a_committed_upload_is_found_with_its_signed_receipt(void **state)
{
    Fixture *fixture = *state;
    Stored *stored = calloc(1, sizeof(*stored));
    Receipt *receipt = calloc(1, sizeof(*receipt));
    char path[96];
    char *paths[] = {path};
    KeyRing *ring = NULL;

    commit_text(fixture, "r1", "a", "/srv/data/hello world", "hello");
    assert_int_equal(archive_find(fixture->archive, "r1", "a", stored), 0);
    assert_string_equal(stored->name, "hello world");
    write_file(fixture, "key.pub", TEST_PUBLIC_KEY);
    (void)snprintf(path, sizeof(path), "%s/key.pub", fixture->path);
    assert_int_equal(key_ring_load(paths, 1, &ring, NULL), 0);
    assert_int_equal(receipt_verify(ring, stored->token, receipt), 0);
    assert_string_equal(receipt->client, "r1");
    assert_string_equal(receipt->upload, "a");
    assert_string_equal(receipt->path, "/srv/data/hello world");
    assert_string_equal(receipt->issuer, "test");
    assert_int_equal(receipt->size_bytes, 5);
    char *text = content(fixture, "r1/a/hello world");
    assert_string_equal(text, "hello");
    free(text);
    assert_true(exists(fixture, ".outbox/r1.a.receipt"));
    (void)key_ring_free(ring);
    free(receipt);
    free(stored);
}

static void equal_ids_of_two_clients_never_meet(void **state)
{
    Fixture *fixture = *state;

    commit_text(fixture, "r1", "a", "x", "of r1");
    assert_int_equal(find_upload(fixture, "r2", "a"), ARCHIVE_E_ABSENT);
    commit_text(fixture, "r2", "a", "x", "of r2");
    char *text = content(fixture, "r1/a/x");
    assert_string_equal(text, "of r1");
    free(text);
}

static void while_a_commit_is_pending_the_upload_is_not_complete(void **state)
{
    Fixture *fixture = *state;

    commit_text(fixture, "r1", "a", "x", "hello");
    assert_int_equal(outbox_prepare(fixture->outbox, "r1", "a", "{}"), 0);
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_int_equal(outbox_release(fixture->outbox, "r1", "a"), 0);
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
}

static void break_off_after_the_rename(Fixture *fixture)
{
    commit_text(fixture, "r1", "a", "x", "hello");
    assert_int_equal(
        renameat(fixture->root_fd, ".outbox/r1.a.receipt", fixture->root_fd, ".outbox/r1.a.pending"), 0);
}

static void a_crash_after_the_rename_is_finished_at_start(void **state)
{
    Fixture *fixture = *state;

    commit_text(fixture, "r1", "a", "x", "hello");
    char *message = content(fixture, ".outbox/r1.a.receipt");
    assert_int_equal(
        renameat(fixture->root_fd, ".outbox/r1.a.receipt", fixture->root_fd, ".outbox/r1.a.pending"), 0);
    fixture_restart(fixture);
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
    char *again = content(fixture, ".outbox/r1.a.receipt");
    assert_string_equal(again, message);
    free(again);
    free(message);
}

static void a_recovery_that_fails_leaves_the_mark_to_the_next(void **state)
{
    Fixture *fixture = *state;

    break_off_after_the_rename(fixture);
    assert_int_equal(mkdirat(fixture->root_fd, ".outbox/r1.a.pending.tmp", 0700), 0); /* nothing is written */
    fixture_restart(fixture);
    assert_true(exists(fixture, ".outbox/r1.a.pending"));
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_int_equal(unlinkat(fixture->root_fd, ".outbox/r1.a.pending.tmp", AT_REMOVEDIR), 0);
    fixture_restart(fixture);
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
    assert_true(exists(fixture, ".outbox/r1.a.receipt"));
}

static int try_commit(Fixture *fixture, const char *text)
{
    Stored *stored = calloc(1, sizeof(*stored));
    uint8_t sha256[SHA256_SIZE];
    Part *part = part_with(fixture, "r1", "a", text);

    assert_non_null(stored);
    assert_int_equal(part_digest(part, sha256), 0);
    int r = archive_commit(fixture->archive, part, "r1", "a", "x", sha256, stored);
    assert_true(r != 0 || memcmp(stored->receipt.sha256, sha256, SHA256_SIZE) == 0);
    (void)part_remove(part);
    free(stored);
    return r;
}

static void a_commit_whose_end_failed_is_settled_by_the_next_of_the_same_content(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(mkdirat(fixture->root_fd, ".outbox/r1.a.receipt", 0700), 0);
    write_file(fixture, ".outbox/r1.a.receipt/in-the-way", "");
    assert_int_equal(try_commit(fixture, "hello"), ARCHIVE_E_SPOILED);
    assert_true(try_commit(fixture, "hello") < 0);
    assert_true(exists(fixture, ".outbox/r1.a.pending"));
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_int_equal(unlinkat(fixture->root_fd, ".outbox/r1.a.receipt/in-the-way", 0), 0);
    assert_int_equal(unlinkat(fixture->root_fd, ".outbox/r1.a.receipt", AT_REMOVEDIR), 0);
    assert_int_equal(try_commit(fixture, "hello"), 0);
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
    assert_false(exists(fixture, ".outbox/r1.a.pending"));
    assert_true(exists(fixture, ".outbox/r1.a.receipt"));
}

static void another_content_settles_a_commit_that_was_broken_off_and_changes_nothing_of_it(void **state)
{
    Fixture *fixture = *state;

    break_off_after_the_rename(fixture);
    assert_int_equal(try_commit(fixture, "another"), -EEXIST);
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
    assert_true(exists(fixture, ".outbox/r1.a.receipt"));
    char *text = content(fixture, "r1/a/x");
    assert_string_equal(text, "hello");
    free(text);
}

static void a_commit_over_a_mark_without_content_begins_anew(void **state)
{
    Fixture *fixture = *state;

    break_off_after_the_rename(fixture);
    assert_int_equal(unlinkat(fixture->root_fd, "r1/a/x", 0), 0);
    assert_int_equal(try_commit(fixture, "another"), 0);
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
    assert_false(exists(fixture, ".outbox/r1.a.pending"));
}

static void a_crash_before_the_rename_is_undone_at_start(void **state)
{
    Fixture *fixture = *state;

    break_off_after_the_rename(fixture);
    assert_int_equal(unlinkat(fixture->root_fd, "r1/a/x", 0), 0);
    fixture_restart(fixture);
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_false(exists(fixture, ".outbox/r1.a.pending"));
    assert_false(exists(fixture, ".outbox/r1.a.receipt"));
    assert_false(exists(fixture, "r1/a.json"));
    commit_text(fixture, "r1", "a", "x", "hello");
    assert_int_equal(find_upload(fixture, "r1", "a"), 0);
}

static void a_crash_after_the_mark_only_is_undone_at_start(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(outbox_prepare(fixture->outbox, "r1", "a", "{}"), 0);
    fixture_restart(fixture);
    assert_false(exists(fixture, ".outbox/r1.a.pending"));
    assert_false(exists(fixture, ".outbox/r1.a.receipt"));
}

static void content_of_another_size_or_none_is_not_complete(void **state)
{
    Fixture *fixture = *state;

    commit_text(fixture, "r1", "a", "x", "hello");
    write_file(fixture, "r1/a/x", "hell");
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_int_equal(unlinkat(fixture->root_fd, "r1/a/x", 0), 0);
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
    assert_int_equal(symlinkat("/etc/hostname", fixture->root_fd, "r1/a/x"), 0);
    assert_int_equal(find_upload(fixture, "r1", "a"), ARCHIVE_E_ABSENT);
}

static void damaged_metadata_is_an_error_and_not_an_answer(void **state)
{
    Fixture *fixture = *state;

    commit_text(fixture, "r1", "a", "x", "hello");
    write_file(fixture, "r1/a.json", "{\"client\":\"r1\"}");
    assert_int_equal(find_upload(fixture, "r1", "a"), -EBADMSG);
}

/* Metadata is made by us, but a disk is a stranger too. */
static void metadata_of_another_upload_or_with_a_path_is_refused(void **state)
{
    Fixture *fixture = *state;

    commit_text(fixture, "r1", "a", "x", "hello");
    commit_text(fixture, "r1", "b", "x", "hello");
    assert_int_equal(renameat(fixture->root_fd, "r1/a.json", fixture->root_fd, "r1/b.json"), 0);
    assert_int_equal(find_upload(fixture, "r1", "b"), -EBADMSG);
}

static void a_file_in_the_way_is_never_replaced(void **state)
{
    Fixture *fixture = *state;
    Stored *stored = calloc(1, sizeof(*stored));
    uint8_t sha256[SHA256_SIZE];

    assert_int_equal(mkdirat(fixture->root_fd, "r1", 0700), 0);
    assert_int_equal(mkdirat(fixture->root_fd, "r1/a", 0700), 0);
    write_file(fixture, "r1/a/x", "precious");
    Part *part = part_with(fixture, "r1", "a", "hello");
    assert_int_equal(part_digest(part, sha256), 0);
    assert_int_equal(archive_commit(fixture->archive, part, "r1", "a", "/srv/x", sha256, stored), -EEXIST);
    char *text = content(fixture, "r1/a/x");
    assert_string_equal(text, "precious");
    free(text);
    assert_false(exists(fixture, "r1/a.json"));
    assert_false(exists(fixture, ".outbox/r1.a.pending"));
    (void)part_remove(part);
    free(stored);
}

static void a_path_that_no_receipt_can_hold_is_known_before(void **state)
{
    Fixture *fixture = *state;
    char path[FILE_PATH_MAX + 2];

    memset(path, 'a', sizeof(path));
    path[FILE_PATH_MAX] = '\0';
    assert_int_equal(archive_check_path(fixture->archive, "r1", "a", path), 0);
    memset(path, '\x01', FILE_PATH_MAX); /* six bytes each in JSON */
    assert_int_equal(archive_check_path(fixture->archive, "r1", "a", path), ARCHIVE_E_PATH);
    path[FILE_PATH_MAX] = 'a';
    path[FILE_PATH_MAX + 1] = '\0';
    assert_int_equal(archive_check_path(fixture->archive, "r1", "a", path), ARCHIVE_E_PATH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_committed_upload_is_found_with_its_signed_receipt),
        WITH_STORE(equal_ids_of_two_clients_never_meet),
        WITH_STORE(while_a_commit_is_pending_the_upload_is_not_complete),
        WITH_STORE(a_crash_after_the_rename_is_finished_at_start),
        WITH_STORE(a_recovery_that_fails_leaves_the_mark_to_the_next),
        WITH_STORE(a_commit_whose_end_failed_is_settled_by_the_next_of_the_same_content),
        WITH_STORE(another_content_settles_a_commit_that_was_broken_off_and_changes_nothing_of_it),
        WITH_STORE(a_commit_over_a_mark_without_content_begins_anew),
        WITH_STORE(a_crash_before_the_rename_is_undone_at_start),
        WITH_STORE(a_crash_after_the_mark_only_is_undone_at_start),
        WITH_STORE(content_of_another_size_or_none_is_not_complete),
        WITH_STORE(damaged_metadata_is_an_error_and_not_an_answer),
        WITH_STORE(metadata_of_another_upload_or_with_a_path_is_refused),
        WITH_STORE(a_file_in_the_way_is_never_replaced),
        WITH_STORE(a_path_that_no_receipt_can_hold_is_known_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

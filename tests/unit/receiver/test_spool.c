#include "receiver_fixture.h"

#include "common/clock.h"
#include "common/text.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

static void a_part_holds_and_hashes_what_is_appended(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "hello ");
    uint8_t sha256[SHA256_SIZE];
    char hex[SHA256_HEX_SIZE];

    assert_int_equal(part_append(part, "world", 5), 0);
    assert_int_equal(part_offset(part), 11);
    assert_int_equal(part_sync(part), 0);
    assert_int_equal(part_digest(part, sha256), 0);
    text_hex(sha256, sizeof(sha256), hex);
    assert_string_equal(hex, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
    char *text = content(fixture, ".incoming/r1.a.0.part");
    assert_string_equal(text, "hello world");
    free(text);
    (void)part_remove(part);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
}

static void a_full_disk_keeps_the_part_and_its_offset_true(void **state)
{
    Fixture *fixture = *state;
    struct rlimit old, small = {.rlim_cur = 8, .rlim_max = RLIM_INFINITY};
    Part *part = part_with(fixture, "r1", "a", "12345");
    uint8_t sha256[SHA256_SIZE];
    char hex[SHA256_HEX_SIZE];

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int r = part_append(part, "6789", 4); /* three bytes fit */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(r, SPOOL_E_FULL);
    assert_int_equal(part_offset(part), 8);
    assert_int_equal(part_digest(part, sha256), 0);
    text_hex(sha256, sizeof(sha256), hex);
    assert_string_equal(hex, "ef797c8118f02dfb649607dd5d3f8c7623048c9c063d532cc95c5ed7a898a64f");
    (void)part_free(part);
}

static void a_file_that_can_not_fit_is_refused_at_once(void **state)
{
    Fixture *fixture = *state;
    PartRecord *record = calloc(1, sizeof(*record));
    Part *part = NULL;

    (void)snprintf(record->client, sizeof(record->client), "r1");
    (void)snprintf(record->id, sizeof(record->id), "a");
    record->has_length = true;
    record->length = (uint64_t)1 << 60;
    assert_int_equal(spool_create(fixture->spool, record, &part), SPOOL_E_FULL);
    assert_null(part);
    free(record);
}

static void below_the_floor_nothing_begins_and_asides_go_first(void **state)
{
    Fixture *fixture = *state;
    Spool *spool = NULL;
    Part *part = part_with(fixture, "r1", "b", "y");

    part_set_aside(part);
    assert_int_equal(spool_new(fixture->root_fd, (uint64_t)1 << 60, &spool), 0);
    assert_false(spool_has_room(spool, 0));
    assert_true(exists(fixture, ".incoming/r1.b.0.aside")); /* in vain it is not removed */
    (void)spool_free(spool);
    assert_true(spool_has_room(fixture->spool, 1));
    (void)part_remove(part);
}

static void parts_of_one_upload_do_not_touch_each_other(void **state)
{
    Fixture *fixture = *state;
    Part *older = part_with(fixture, "r1", "a", "old");
    Part *newer = part_with(fixture, "r1", "a", "new");

    assert_int_equal(part_append(older, "er", 2), 0);
    (void)part_remove(older);
    char *text = content(fixture, ".incoming/r1.a.1.part");
    assert_string_equal(text, "new");
    free(text);
    (void)part_free(newer);
}

static uint64_t durable_size(Fixture *fixture, const char *name)
{
    struct stat info;

    assert_int_equal(fstatat(fixture->root_fd, name, &info, 0), 0);
    return (uint64_t)info.st_size;
}

static void assert_digest(const Part *part, const void *data, size_t size)
{
    uint8_t is[SHA256_SIZE], wanted[SHA256_SIZE];
    Digest *digest = NULL;

    assert_int_equal(digest_new(&digest), 0);
    assert_int_equal(digest_update(digest, data, size), 0);
    assert_int_equal(digest_final(digest, wanted), 0);
    (void)digest_free(digest);
    assert_int_equal(part_digest(part, is), 0);
    assert_memory_equal(is, wanted, SHA256_SIZE);
}

static Part *taken;
static unsigned taken_count;

static void take(Part *part, int64_t age_ms, void *userdata)
{
    (void)userdata;
    assert_true(age_ms >= 0 && age_ms < 3600000);
    (void)part_free(taken);
    taken = part;
    taken_count++;
}

/* As the next process finds it: the one part, or NULL. */
static Part *taken_over(Fixture *fixture)
{
    taken = NULL;
    taken_count = 0;
    fixture_restart(fixture);
    assert_int_equal(spool_scan(fixture->spool, take, NULL), 0);
    return taken;
}

static void a_part_is_taken_over_and_its_digest_goes_on(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "hello ");

    assert_int_equal(part_note(part, 3, true, 11), 0);
    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    part = taken_over(fixture);
    assert_int_equal(taken_count, 1);
    assert_false(part_is_open(part));
    assert_int_equal(part_offset(part), 6);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 6);
    assert_int_equal(part_record(part)->attempt, 3);
    assert_int_equal(part_record(part)->length, 11);
    assert_string_equal(part_record(part)->path, "/srv/file");
    assert_int_equal(part_append(part, "world", 5), 0);
    assert_digest(part, "hello world", 11);
    char *text = content(fixture, ".incoming/r1.a.0.part");
    assert_string_equal(text, "hello world");
    free(text);
    (void)part_remove(part);
    assert_false(exists(fixture, ".incoming/r1.a.0.journal"));
}

static void after_a_crash_all_up_to_the_last_mark_counts(void **state)
{
    Fixture *fixture = *state;
    const size_t size = (size_t)5 * 1024 * 1024 / 2;
    char *data = malloc(size);
    Part *part = part_with(fixture, "r1", "a", "");

    assert_non_null(data);
    for (size_t i = 0; i < size; i++)
        data[i] = (char)(i * 7 + i / 251);
    for (size_t i = 0; i < size; i += 16384)
        assert_int_equal(part_append(part, data + i, size - i < 16384 ? size - i : 16384), 0);
    (void)part_free(part); /* never synced */
    part = taken_over(fixture);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 2 * 1024 * 1024);
    assert_int_equal(durable_size(fixture, ".incoming/r1.a.0.part"), 2 * 1024 * 1024);
    assert_digest(part, data, (size_t)2 * 1024 * 1024);
    assert_int_equal(part_append(part, data + part_offset(part), size - (size_t)part_offset(part)), 0);
    assert_digest(part, data, size);
    (void)part_free(part);
    free(data);
}

static void overwrite(Fixture *fixture, const char *name, off_t at, const char *text)
{
    int fd = openat(fixture->root_fd, name, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, strlen(text), at), (ssize_t)strlen(text));
    (void)close(fd);
}

static void bytes_that_are_not_what_was_written_do_not_count(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "first ");

    assert_int_equal(part_sync(part), 0);
    assert_int_equal(part_append(part, "second", 6), 0);
    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    overwrite(fixture, ".incoming/r1.a.0.part", 8, "x"); /* as zeros after a power cut */
    part = taken_over(fixture);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 6);
    assert_digest(part, "first ", 6);
    (void)part_free(part);
    overwrite(fixture, ".incoming/r1.a.0.part", 0, "x");
    part = taken_over(fixture);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 0);
    (void)part_free(part);
}

static void a_part_shorter_than_its_mark_counts_as_far_as_one_is_right(void **state)
{
    Fixture *fixture = *state;
    char path[128];
    Part *part = part_with(fixture, "r1", "a", "first ");

    assert_int_equal(part_sync(part), 0);
    assert_int_equal(part_append(part, "second", 6), 0);
    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    (void)snprintf(path, sizeof(path), "%s/.incoming/r1.a.0.part", fixture->path);
    assert_int_equal(truncate(path, 10), 0);
    part = taken_over(fixture);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 6);
    (void)part_free(part);
}

static void a_torn_line_of_the_journal_is_passed_over(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "first ");

    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    char *journal = content(fixture, ".incoming/r1.a.0.journal");
    char *torn = text_format("%s{\"offset\":7,\"sha2", journal);
    write_file(fixture, ".incoming/r1.a.0.journal", torn);
    part = taken_over(fixture);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 6);
    assert_int_equal(part_append(part, "second", 6), 0);
    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    part = taken_over(fixture);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 12);
    (void)part_free(part);
    free(torn);
    free(journal);
}

static void what_belongs_to_nothing_is_removed_at_start(void **state)
{
    Fixture *fixture = *state;

    (void)part_free(part_with(fixture, "r1", "a", "x"));
    assert_int_equal(unlinkat(fixture->root_fd, ".incoming/r1.a.0.journal", 0), 0);
    (void)part_free(part_with(fixture, "r1", "damaged", "x"));
    write_file(fixture, ".incoming/r1.damaged.1.journal",
               "{\"client\":\"other\",\"id\":\"damaged\",\"path\":\"x\"}\n");
    (void)part_free(part_with(fixture, "r1", "empty", "x"));
    write_file(fixture, ".incoming/r1.empty.2.journal", "");
    Part *aside = part_with(fixture, "r1", "b", "y");
    part_set_aside(aside);
    (void)part_remove(aside);
    write_file(fixture, ".incoming/unknown", "z");
    assert_null(taken_over(fixture));
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_false(exists(fixture, ".incoming/r1.damaged.1.part"));
    assert_false(exists(fixture, ".incoming/r1.damaged.1.journal"));
    assert_false(exists(fixture, ".incoming/r1.empty.2.part"));
    assert_true(exists(fixture, ".incoming/r1.b.3.aside"));
    assert_true(exists(fixture, ".incoming/unknown"));
    Part *next = part_with(fixture, "r1", "c", "y");
    assert_true(exists(fixture, ".incoming/r1.c.4.part")); /* no number that is there is used again */
    (void)part_free(next);
}

static void a_restarted_part_begins_at_zero_with_files_of_its_own(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "old");
    PartRecord *record = malloc(sizeof(*record));

    *record = *part_record(part);
    record->attempt = 2;
    assert_int_equal(part_restart(part, record), 0);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_false(exists(fixture, ".incoming/r1.a.0.journal"));
    assert_int_equal(part_append(part, "new", 3), 0);
    assert_digest(part, "new", 3);
    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    part = taken_over(fixture);
    assert_int_equal(part_record(part)->attempt, 2);
    assert_int_equal(part_offset(part), 3);
    (void)part_free(part);
    free(record);
}

static void a_buried_part_is_remembered_without_its_bytes(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "old");

    part_bury(part, 5);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    (void)part_free(part);
    part = taken_over(fixture);
    assert_true(part_record(part)->deleted);
    assert_int_equal(part_record(part)->attempt, 5);
    (void)part_free(part);
}

static void a_part_set_aside_begins_at_zero_and_keeps_its_attempt(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "bad");

    assert_int_equal(part_note(part, 4, false, 0), 0);
    part_set_aside(part);
    assert_true(exists(fixture, ".incoming/r1.a.0.aside"));
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_append(part, "good", 4), 0);
    assert_digest(part, "good", 4);
    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    part = taken_over(fixture);
    assert_int_equal(part_record(part)->attempt, 4);
    assert_int_equal(part_offset(part), 4);
    (void)part_free(part);
}

static bool never(void *userdata)
{
    (void)userdata;
    return false;
}

static void taking_over_can_be_broken_off(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "hello");

    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    part = taken_over(fixture);
    assert_int_equal(part_open(part, never, NULL), SPOOL_E_STOPPED);
    assert_false(part_is_open(part));
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 5);
    (void)part_free(part);
}

static void a_long_journal_is_rewritten_and_loses_nothing(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "");
    char *data = malloc(60000);

    memset(data, 'x', 60000);
    for (int i = 0; i < 60000; i++) {
        assert_int_equal(part_append(part, "x", 1), 0);
        if (i % 2 == 0)
            assert_int_equal(part_note(part, (uint64_t)i + 1, false, 0), 0);
        else
            assert_int_equal(part_note(part, (uint64_t)i + 1, i > 10000, 60000), 0);
    }
    assert_int_equal(part_sync(part), 0);
    (void)part_free(part);
    assert_true(durable_size(fixture, ".incoming/r1.a.0.journal") < JOURNAL_MAX);
    part = taken_over(fixture);
    assert_int_equal(part_open(part, NULL, NULL), 0);
    assert_int_equal(part_offset(part), 60000);
    assert_int_equal(part_record(part)->attempt, 60000);
    assert_int_equal(part_record(part)->length, 60000);
    assert_digest(part, data, 60000);
    (void)part_free(part);
    free(data);
}

static void set_aside(Fixture *fixture, const char *client, const char *id, const char *text)
{
    Part *part = part_with(fixture, client, id, text);

    part_set_aside(part);
    (void)part_remove(part);
}

static void old_asides_go(void **state)
{
    Fixture *fixture = *state;
    int64_t now_ms = clock_unix_ms();

    set_aside(fixture, "r1", "b", "y");
    spool_sweep_asides(fixture->spool, now_ms - 3600000);
    assert_true(exists(fixture, ".incoming/r1.b.0.aside"));
    spool_sweep_asides(fixture->spool, now_ms + 3600000);
    assert_false(exists(fixture, ".incoming/r1.b.0.aside"));
}

static void the_asides_of_a_client_are_bounded(void **state)
{
    Fixture *fixture = *state;
    char name[64], id[16];
    unsigned left = 0;

    set_aside(fixture, "r1.x", "other", "stays"); /* not a client "r1" */
    for (int i = 0; i < SPOOL_ASIDES_MAX + 5; i++) {
        (void)snprintf(id, sizeof(id), "u%d", i);
        set_aside(fixture, "r1", id, "y");
    }
    for (int i = 0; i < SPOOL_ASIDES_MAX + 5; i++) {
        (void)snprintf(name, sizeof(name), ".incoming/r1.u%d.%d.aside", i, 2 * i + 2);
        left += exists(fixture, name);
    }
    assert_int_equal(left, SPOOL_ASIDES_MAX);
    assert_true(exists(fixture, ".incoming/r1.x.other.0.aside"));
    assert_true(exists(fixture, name)); /* the newest */
}

static void a_move_never_replaces_a_file(void **state)
{
    Fixture *fixture = *state;
    Part *part = part_with(fixture, "r1", "a", "new");

    write_file(fixture, "taken", "old");
    assert_int_equal(part_move(part, fixture->root_fd, "taken"), -EEXIST);
    assert_int_equal(part_move(part, fixture->root_fd, "free"), 0);
    char *text = content(fixture, "taken");
    assert_string_equal(text, "old");
    free(text);
    assert_int_equal(part_take_back(part, fixture->root_fd, "free"), 0);
    assert_false(exists(fixture, "free"));
    assert_true(exists(fixture, ".incoming/r1.a.0.aside"));
    (void)part_free(part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_part_holds_and_hashes_what_is_appended),
        WITH_STORE(a_full_disk_keeps_the_part_and_its_offset_true),
        WITH_STORE(a_file_that_can_not_fit_is_refused_at_once),
        WITH_STORE(parts_of_one_upload_do_not_touch_each_other),
        WITH_STORE(below_the_floor_nothing_begins_and_asides_go_first),
        WITH_STORE(a_part_is_taken_over_and_its_digest_goes_on),
        WITH_STORE(after_a_crash_all_up_to_the_last_mark_counts),
        WITH_STORE(bytes_that_are_not_what_was_written_do_not_count),
        WITH_STORE(a_part_shorter_than_its_mark_counts_as_far_as_one_is_right),
        WITH_STORE(a_torn_line_of_the_journal_is_passed_over),
        WITH_STORE(what_belongs_to_nothing_is_removed_at_start),
        WITH_STORE(a_restarted_part_begins_at_zero_with_files_of_its_own),
        WITH_STORE(a_buried_part_is_remembered_without_its_bytes),
        WITH_STORE(a_part_set_aside_begins_at_zero_and_keeps_its_attempt),
        WITH_STORE(taking_over_can_be_broken_off),
        WITH_STORE(a_long_journal_is_rewritten_and_loses_nothing),
        WITH_STORE(old_asides_go),
        WITH_STORE(the_asides_of_a_client_are_bounded),
        WITH_STORE(a_move_never_replaces_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

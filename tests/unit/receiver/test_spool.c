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
    (void)part_close(part);
}

static void a_file_that_can_not_fit_is_refused_at_once(void **state)
{
    Fixture *fixture = *state;
    Part *part = NULL;

    assert_int_equal(spool_create(fixture->spool, "r1", "a", (uint64_t)1 << 60, &part), SPOOL_E_FULL);
    assert_null(part);
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
    (void)part_close(newer);
}

static void a_start_removes_parts_and_leaves_asides(void **state)
{
    Fixture *fixture = *state;

    (void)part_close(part_with(fixture, "r1", "a", "x"));
    (void)part_set_aside(part_with(fixture, "r1", "b", "y"));
    write_file(fixture, ".incoming/unknown", "z");
    fixture_restart(fixture);
    assert_false(exists(fixture, ".incoming/r1.a.0.part"));
    assert_true(exists(fixture, ".incoming/r1.b.1.aside"));
    assert_true(exists(fixture, ".incoming/unknown"));
}

static void old_asides_go(void **state)
{
    Fixture *fixture = *state;
    int64_t now_ms = clock_unix_ms();

    (void)part_set_aside(part_with(fixture, "r1", "b", "y"));
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

    (void)part_set_aside(part_with(fixture, "r1.x", "other", "stays")); /* not a client "r1" */
    for (int i = 0; i < SPOOL_ASIDES_MAX + 5; i++) {
        (void)snprintf(id, sizeof(id), "u%d", i);
        (void)part_set_aside(part_with(fixture, "r1", id, "y"));
    }
    for (int i = 0; i < SPOOL_ASIDES_MAX + 5; i++) {
        (void)snprintf(name, sizeof(name), ".incoming/r1.u%d.%d.aside", i, i + 1);
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
    (void)part_close(part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_part_holds_and_hashes_what_is_appended),
        WITH_STORE(a_full_disk_keeps_the_part_and_its_offset_true),
        WITH_STORE(a_file_that_can_not_fit_is_refused_at_once),
        WITH_STORE(parts_of_one_upload_do_not_touch_each_other),
        WITH_STORE(a_start_removes_parts_and_leaves_asides),
        WITH_STORE(old_asides_go),
        WITH_STORE(the_asides_of_a_client_are_bounded),
        WITH_STORE(a_move_never_replaces_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

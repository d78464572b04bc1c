#include "agent/source.h"
#include "common/text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static int make_file(void **state)
{
    char path[] = "/tmp/beckon-test-XXXXXX";
    int fd = mkstemp(path);

    *state = (void *)(intptr_t)fd;
    return fd < 0 || unlink(path) < 0 || write(fd, "0123456789", 10) != 10 ? -1 : 0;
}

static int close_file(void **state)
{
    return close((int)(intptr_t)*state);
}

/* Reads to the end in pieces of 4 bytes; what source_read() said last. */
static int read_all(Source *source, char *out)
{
    size_t got = 1;
    int r = 0;

    while (r == 0 && got > 0) {
        r = source_read(source, out, 4, &got);
        if (r == 0)
            out += got;
    }
    *out = '\0';
    return r;
}

static void whole_file_is_read_and_hashed_once(void **state)
{
    Source source;
    char text[32], hex[SHA256_HEX_SIZE];

    assert_int_equal(source_init(&source, (int)(intptr_t)*state, 10), 0);
    assert_int_equal(read_all(&source, text), 0);
    assert_string_equal(text, "0123456789");
    text_hex(source.sha256, SHA256_SIZE, hex);
    assert_string_equal(hex, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
    source_deinit(&source);
}

static void append_meanwhile_is_not_sent(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(pwrite(fd, "more", 4, 10), 4);
    assert_int_equal(read_all(&source, text), 0);
    assert_string_equal(text, "0123456789");
    source_deinit(&source);
}

/* What "cp other FILE" does to a file that is being read: a prefix of the old and the rest of the new are no
 * file. */
static void overwritten_by_something_longer_has_changed(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];
    size_t got = 0;

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(source_read(&source, text, 4, &got), 0);
    assert_int_equal(pwrite(fd, "ABCDEFGHIJKLMNO", 15, 0), 15);
    assert_int_equal(read_all(&source, text), SOURCE_E_CHANGED);
    source_deinit(&source);
}

static void file_that_had_grown_before_and_rests_is_whole(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];

    assert_int_equal(pwrite(fd, "more", 4, 10), 4);
    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(read_all(&source, text), 0);
    assert_string_equal(text, "0123456789");
    source_deinit(&source);
}

static void truncated_file_has_changed(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(ftruncate(fd, 6), 0);
    assert_int_equal(read_all(&source, text), SOURCE_E_CHANGED);
    source_deinit(&source);
    assert_int_equal(source_init(&source, fd, 10), SOURCE_E_CHANGED);
    source_deinit(&source);
}

static void file_cut_after_the_last_byte_was_read_has_changed(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];
    size_t got = 0;

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(source_read(&source, text, sizeof(text), &got), 0);
    assert_int_equal(got, 10);
    assert_int_equal(ftruncate(fd, 3), 0);
    assert_int_equal(source_read(&source, text, sizeof(text), &got), SOURCE_E_CHANGED);
    source_deinit(&source);
}

static void same_size_with_a_new_time_has_changed(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000}};

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(pwrite(fd, "X", 1, 9), 1);
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(read_all(&source, text), SOURCE_E_CHANGED);
    source_deinit(&source);
}

static void skipped_prefix_counts_in_the_digest(void **state)
{
    Source source;
    char text[32], hex[SHA256_HEX_SIZE];

    assert_int_equal(source_init(&source, (int)(intptr_t)*state, 10), 0);
    assert_int_equal(source_skip(&source, 7), 0);
    assert_int_equal(source.offset_bytes, 7);
    assert_int_equal(read_all(&source, text), 0);
    assert_string_equal(text, "789");
    text_hex(source.sha256, SHA256_SIZE, hex);
    assert_string_equal(hex, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
    source_deinit(&source);
}

static void skip_in_a_truncated_file_has_changed(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(ftruncate(fd, 6), 0);
    assert_int_equal(source_skip(&source, 7), SOURCE_E_CHANGED);
    source_deinit(&source);
}

/* Else a file that always grows and takes long to read would keep the receiver waiting in each attempt. */
static void skip_to_the_end_compares_and_growth_after_it_costs_nothing(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32], hex[SHA256_HEX_SIZE];

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(pwrite(fd, "m", 1, 10), 1);
    assert_int_equal(source_skip(&source, 10), 0);
    assert_int_equal(pwrite(fd, "X", 1, 0), 1); /* would show if it were read again */
    assert_int_equal(pwrite(fd, "ore", 3, 11), 3);
    assert_int_equal(read_all(&source, text), 0);
    assert_string_equal(text, "");
    text_hex(source.sha256, SHA256_SIZE, hex);
    assert_string_equal(hex, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
    source_deinit(&source);
}

static void skip_to_the_end_of_what_was_overwritten_has_changed(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(source_skip(&source, 4), 0);
    assert_int_equal(pwrite(fd, "ABCDEFGHIJKLMNO", 15, 0), 15);
    assert_int_equal(source_skip(&source, 10), SOURCE_E_CHANGED);
    source_deinit(&source);
}

static void file_cut_after_a_skip_to_its_end_has_changed(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];

    assert_int_equal(source_init(&source, fd, 10), 0);
    assert_int_equal(source_skip(&source, 10), 0);
    assert_int_equal(ftruncate(fd, 3), 0);
    assert_int_equal(read_all(&source, text), SOURCE_E_CHANGED);
    source_deinit(&source);
}

static void empty_file_is_whole(void **state)
{
    Source source;
    int fd = (int)(intptr_t)*state;
    char text[32];

    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(source_init(&source, fd, 0), 0);
    assert_int_equal(read_all(&source, text), 0);
    assert_string_equal(text, "");
    source_deinit(&source);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, make_file, close_file)
    const struct CMUnitTest tests[] = {
        TEST(whole_file_is_read_and_hashed_once),
        TEST(append_meanwhile_is_not_sent),
        TEST(overwritten_by_something_longer_has_changed),
        TEST(file_that_had_grown_before_and_rests_is_whole),
        TEST(truncated_file_has_changed),
        TEST(file_cut_after_the_last_byte_was_read_has_changed),
        TEST(same_size_with_a_new_time_has_changed),
        TEST(skipped_prefix_counts_in_the_digest),
        TEST(skip_in_a_truncated_file_has_changed),
        TEST(skip_to_the_end_compares_and_growth_after_it_costs_nothing),
        TEST(skip_to_the_end_of_what_was_overwritten_has_changed),
        TEST(file_cut_after_a_skip_to_its_end_has_changed),
        TEST(empty_file_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/files.h"
#include "common/text.h"
#include "coordinator/cli/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char CONTENT[] = "what the device has sent";
#define CONTENT_SIZE (sizeof(CONTENT) - 1)

static char folder[64];

static int go_into_a_new_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/beckon-output-XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int count_files(void)
{
    DIR *dir = opendir(".");
    int count = 0;

    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' || strncmp(entry->d_name, ".beckon", 7) == 0;
    (void)closedir(dir);
    return count;
}

static int remove_the_folder(void **state)
{
    DIR *dir = opendir(".");
    (void)state;

    for (const struct dirent *entry; (entry = readdir(dir));)
        if (unlink(entry->d_name) < 0)
            (void)rmdir(entry->d_name);
    (void)closedir(dir);
    return chdir("/") == 0 ? rmdir(folder) : -1;
}

static void digest_of(const char *text, uint8_t out[static SHA256_SIZE])
{
    Digest *digest = NULL;
    assert_int_equal(digest_new(&digest), 0);
    assert_int_equal(digest_update(digest, text, strlen(text)), 0);
    assert_int_equal(digest_final(digest, out), 0);
    digest_free(digest);
}

static void assert_file(const char *path, const char *expected)
{
    char *text CLEANUP(free_ptr) = NULL;
    size_t size = 0;
    assert_int_equal(file_read(path, 1000, &text, &size), 0);
    assert_string_equal(text, expected);
}

static void put_file(const char *path, const char *text)
{
    FILE *stream = fopen(path, "we");
    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
}

static void write_content(Output *output)
{
    assert_int_equal(output_write(output, CONTENT, 5), 0);
    assert_int_equal(output_write(output, CONTENT + 5, CONTENT_SIZE - 5), 0);
    assert_int_equal(output_size(output), CONTENT_SIZE);
}

static void file_appears_with_the_commit(void **state)
{
    Output *output = NULL;
    uint8_t digest[SHA256_SIZE];
    (void)state;

    digest_of(CONTENT, digest);
    assert_int_equal(output_open("y", "ignored", &output), 0);
    assert_int_equal(count_files(), 0);
    write_content(output);
    assert_int_equal(access("y", F_OK), -1);
    assert_int_equal(output_commit(output, CONTENT_SIZE, digest), 0);
    output_free(output);
    assert_file("y", CONTENT);
    assert_int_equal(count_files(), 1);
}

static void wrong_content_leaves_the_old_file_and_no_temporary(void **state)
{
    uint8_t right[SHA256_SIZE], wrong[SHA256_SIZE];
    (void)state;

    digest_of(CONTENT, right);
    digest_of("something else", wrong);
    put_file("y", "old");
    for (int i = 0; i < 4; i++) {
        Output *output = NULL;
        assert_int_equal(output_open("y", "", &output), 0);
        write_content(output);
        if (i == 0)
            assert_int_equal(output_commit(output, CONTENT_SIZE, wrong), OUTPUT_E_DIGEST);
        if (i == 1)
            assert_int_equal(output_commit(output, CONTENT_SIZE + 1, right), OUTPUT_E_SIZE);
        if (i == 2)
            assert_int_equal(output_commit(output, CONTENT_SIZE - 1, right), OUTPUT_E_SIZE);
        output_free(output); /* i == 3: given up half way */
        assert_file("y", "old");
        assert_int_equal(count_files(), 1);
    }
}

static void restart_forgets_what_was_written(void **state)
{
    Output *output = NULL;
    uint8_t digest[SHA256_SIZE];
    (void)state;

    digest_of(CONTENT, digest);
    assert_int_equal(output_open("y", "", &output), 0);
    assert_int_equal(output_restart(output), 0);
    assert_int_equal(output_write(output, "a much longer text than the one that is right", 45), 0);
    assert_int_equal(output_restart(output), 0);
    write_content(output);
    assert_int_equal(output_commit(output, CONTENT_SIZE, digest), 0);
    output_free(output);
    assert_file("y", CONTENT);
}

static void empty_file_appears_too(void **state)
{
    Output *output = NULL;
    uint8_t digest[SHA256_SIZE];
    (void)state;

    digest_of("", digest);
    assert_int_equal(output_open("y", "", &output), 0);
    assert_int_equal(output_commit(output, 0, digest), 0);
    output_free(output);
    assert_file("y", "");
}

static void folder_gets_the_basename(void **state)
{
    Output *output = NULL;
    uint8_t digest[SHA256_SIZE];
    (void)state;

    digest_of(CONTENT, digest);
    assert_int_equal(output_open(folder, "a b\nc", &output), 0);
    write_content(output);
    assert_int_equal(output_commit(output, CONTENT_SIZE, digest), 0);
    output_free(output);
    assert_file("a b\nc", CONTENT);
    assert_int_equal(output_open(folder, "", &output), -EINVAL);
    assert_int_equal(output_open(folder, "..", &output), -EINVAL);
}

static void unusable_targets_are_named(void **state)
{
    Output *output = NULL;
    (void)state;

    put_file("file", "x");
    assert_int_equal(mkdir("sub", 0755), 0);
    assert_int_equal(mkdir("sub/name", 0755), 0);
    assert_int_equal(output_open("missing/y", "x", &output), -ENOENT);
    assert_int_equal(output_open("missing/", "x", &output), -ENOENT);
    assert_int_equal(output_open("file/y", "x", &output), -ENOTDIR);
    assert_int_equal(output_open("", "x", &output), -EINVAL);
    assert_int_equal(output_open("sub", "name", &output), -EISDIR);
    assert_null(output);
    assert_int_equal(rmdir("sub/name"), 0);
}

static void link_stays_and_its_file_is_replaced(void **state)
{
    Output *output = NULL;
    uint8_t digest[SHA256_SIZE];
    struct stat status;
    (void)state;

    digest_of(CONTENT, digest);
    put_file("real", "old");
    assert_int_equal(symlink("real", "link"), 0);
    assert_int_equal(output_open("link", "", &output), 0);
    write_content(output);
    assert_int_equal(output_commit(output, CONTENT_SIZE, digest), 0);
    output_free(output);
    assert_file("real", CONTENT);
    assert_int_equal(lstat("link", &status), 0);
    assert_true(S_ISLNK(status.st_mode));
}

static void fifo_is_a_stream_that_can_not_begin_anew(void **state)
{
    Output *output = NULL;
    uint8_t digest[SHA256_SIZE];
    char text[64] = "";
    (void)state;

    digest_of("another", digest);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    int reader = open("fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(output_open("fifo", "", &output), 0);
    assert_true(output_is_stream(output));
    write_content(output);
    assert_int_equal(read(reader, text, sizeof(text)), CONTENT_SIZE);
    assert_int_equal(output_restart(output), -ESPIPE);
    assert_int_equal(output_commit(output, CONTENT_SIZE, digest), OUTPUT_E_DIGEST);
    output_free(output);
    (void)close(reader);
    assert_int_equal(access("fifo", F_OK), 0);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, go_into_a_new_folder, remove_the_folder)
    static const struct CMUnitTest tests[] = {
        IN_FOLDER(file_appears_with_the_commit),
        IN_FOLDER(wrong_content_leaves_the_old_file_and_no_temporary),
        IN_FOLDER(restart_forgets_what_was_written),
        IN_FOLDER(empty_file_appears_too),
        IN_FOLDER(folder_gets_the_basename),
        IN_FOLDER(unusable_targets_are_named),
        IN_FOLDER(link_stays_and_its_file_is_replaced),
        IN_FOLDER(fifo_is_a_stream_that_can_not_begin_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

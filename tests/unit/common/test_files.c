#include "common/files.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cmocka.h>

/* Each test has a folder of its own, open as folder. */
static char path[64];
static int folder;

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/beckon-test-XXXXXX");
    if (!mkdtemp(path))
        return -1;
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"a", "b", "a.tmp"};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        (void)unlinkat(folder, names[i], 0);
    (void)unlinkat(folder, "sub/deep", AT_REMOVEDIR);
    (void)unlinkat(folder, "sub", AT_REMOVEDIR);
    (void)close(folder);
    return rmdir(path);
}

static void assert_content(const char *name, const char *expected)
{
    char *data = NULL;
    size_t size = 0;

    assert_int_equal(file_read_at(folder, name, 100, &data, &size), 0);
    assert_string_equal(data, expected);
    assert_int_equal(size, strlen(expected));
    free(data);
}

static void replace_leaves_the_new_file_and_no_temporary(void **state)
{
    struct stat info;
    (void)state;

    assert_int_equal(file_replace_at(folder, "a", "one", 3, 0600), 0);
    assert_int_equal(file_replace_at(folder, "a", "two!", 4, 0600), 0);
    assert_content("a", "two!");
    assert_int_equal(fstatat(folder, "a.tmp", &info, 0), -1);
    assert_int_equal(fstatat(folder, "a", &info, 0), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void failed_replace_keeps_the_old_file(void **state)
{
    struct stat info;
    (void)state;

    assert_int_equal(file_replace_at(folder, "a", "old", 3, 0600), 0);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write_all(full, "x", 1), -ENOSPC);
    (void)close(full);
    assert_int_equal(symlinkat("/dev/full", folder, "a.tmp"),
                     0); /* the temporary is never written through a link */
    assert_int_equal(file_replace_at(folder, "a", "new", 3, 0600), -ELOOP);
    assert_content("a", "old");
    assert_int_equal(fstatat(folder, "a.tmp", &info, AT_SYMLINK_NOFOLLOW), 0);
}

static void rename_never_replaces(void **state)
{
    (void)state;
    assert_int_equal(file_replace_at(folder, "a", "A", 1, 0600), 0);
    assert_int_equal(file_replace_at(folder, "b", "B", 1, 0600), 0);
    assert_int_equal(file_rename_new(folder, "a", folder, "b"), -EEXIST);
    assert_content("a", "A");
    assert_content("b", "B");
    assert_int_equal(unlinkat(folder, "b", 0), 0);
    assert_int_equal(file_rename_new(folder, "a", folder, "b"), 0);
    assert_content("b", "A");
}

static void read_refuses_what_is_too_large_or_no_file(void **state)
{
    char *data = NULL;
    size_t size = 0;
    (void)state;

    assert_int_equal(file_replace_at(folder, "a", "12345", 5, 0600), 0);
    assert_int_equal(file_read_at(folder, "a", 4, &data, &size), -EFBIG);
    assert_int_equal(file_read_at(folder, ".", 4, &data, &size), -EISDIR);
    assert_int_equal(mkfifoat(folder, "b", 0600), 0);
    assert_int_equal(file_read_at(folder, "b", 4, &data, &size), -EINVAL); /* and does not hang */
    assert_null(data);
}

static void folder_open_makes_what_is_missing(void **state)
{
    char deep[80];
    int fd = -1;
    (void)state;

    (void)snprintf(deep, sizeof(deep), "%s/sub/deep", path);
    assert_int_equal(folder_open(deep, 0700, &fd), 0);
    (void)close(fd);
    assert_int_equal(folder_open(deep, 0700, &fd), 0);
    (void)close(fd);
    assert_int_equal(file_replace_at(folder, "a", "", 0, 0600), 0);
    assert_int_equal(folder_open_at(folder, "a", 0700, &fd), -ENOTDIR);
}

static void a_file_system_without_inodes_is_full_if_it_counts_them(void **state)
{
    (void)state;

    assert_true(has_free_inode(&(struct statvfs){.f_files = 100, .f_favail = 1}, 0));
    assert_false(has_free_inode(&(struct statvfs){.f_files = 100, .f_ffree = 5, .f_favail = 0}, 0));
    assert_true(has_free_inode(&(struct statvfs){.f_files = 100, .f_favail = 0}, 1));
    assert_true(has_free_inode(&(struct statvfs){.f_files = 0, .f_favail = 0}, 0));
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(replace_leaves_the_new_file_and_no_temporary),
        TEST(failed_replace_keeps_the_old_file),
        TEST(rename_never_replaces),
        TEST(read_refuses_what_is_too_large_or_no_file),
        TEST(folder_open_makes_what_is_missing),
        TEST(a_file_system_without_inodes_is_full_if_it_counts_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

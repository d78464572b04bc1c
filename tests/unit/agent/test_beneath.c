#include "agent/beneath.h"
#include "common/text.h"
#include "tests/unit/agent/hide_openat2.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

/* FOLDER/file "content", FOLDER/fifo, FOLDER/link -> file */
static char folder[32];
static int folder_fd;
static bool is_old_kernel;

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/beckon-test-XXXXXX");
    folder_fd = mkdtemp(folder) ? open(folder, O_PATH | O_CLOEXEC) : -1;
    int fd = openat(folder_fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int r = write(fd, "content", 7) == 7 && mkfifoat(folder_fd, "fifo", 0600) == 0 ? 0 : -1;
    close(fd);
    return symlinkat("file", folder_fd, "link") < 0 ? -1 : r;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlinkat(folder_fd, "file", 0);
    (void)unlinkat(folder_fd, "fifo", 0);
    (void)unlinkat(folder_fd, "link", 0);
    close(folder_fd);
    return rmdir(folder);
}

static int found(const char *path, unsigned flags)
{
    int fd = -7;

    int r = beneath_find(folder_fd, path, flags, &fd);
    if (r < 0)
        assert_int_equal(fd, -7);
    return r < 0 ? r : fd;
}

static void nothing_above_the_folder_is_found(void **state)
{
    static const char *const paths[] = {"..", "../x", "./..", "/etc/passwd", "file/.."};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        for (unsigned flags = 0; flags <= BENEATH_LINKS; flags++)
            if (found(paths[i], flags) >= 0)
                fail_msg("%s", paths[i]);
}

static void the_folder_itself_is_found(void **state)
{
    struct stat found_info, info;
    (void)state;

    int fd CLEANUP(close_fd) = found("", 0);
    assert_int_equal(fstat(fd, &found_info), 0);
    assert_int_equal(fstat(folder_fd, &info), 0);
    assert_int_equal(found_info.st_ino, info.st_ino);
}

static void a_link_is_an_error_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(found("link", 0), -ELOOP);
    assert_int_equal(found("link/x", 0), -ELOOP);
    assert_int_equal(found("missing", 0), -ENOENT);
    assert_int_equal(found("file/x", 0), -ENOTDIR);
    int fd CLEANUP(close_fd) = found("link", BENEATH_LINKS);
    assert_int_equal(is_old_kernel ? fd : 0, is_old_kernel ? -ELOOP : 0);
}

static void a_mount_is_seen(void **state)
{
    int root_fd CLEANUP(close_fd) = open("/", O_PATH | O_CLOEXEC);
    int fd CLEANUP(close_fd) = -1;
    (void)state;

    assert_int_equal(beneath_find(root_fd, "proc/version", BENEATH_ONE_MOUNT, &fd),
                     is_old_kernel ? -ENOSYS : -EXDEV);
    assert_int_equal(beneath_find(root_fd, "proc/version", 0, &fd), 0);
}

/* Nobody who waits for a reader of the FIFO sees one. */
static void a_fifo_is_found_and_not_opened(void **state)
{
    (void)state;
    int fd CLEANUP(close_fd) = found("fifo", 0);
    assert_true(fd >= 0);
    assert_int_equal(openat(folder_fd, "fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1);
    assert_int_equal(errno, ENXIO);
}

static void what_was_found_is_opened_though_its_name_is_another_file_now(void **state)
{
    char content[8] = "", where[FILE_PATH_MAX + 1];
    int fd CLEANUP(close_fd) = -1;
    (void)state;

    int path_fd CLEANUP(close_fd) = found("file", 0);
    assert_int_equal(beneath_where(path_fd, where), 0);
    char *expected CLEANUP(free_ptr) = text_format("%s/file", folder);
    assert_string_equal(where, expected);
    assert_int_equal(unlinkat(folder_fd, "file", 0), 0);
    assert_int_equal(mkfifoat(folder_fd, "file", 0600), 0);
    assert_int_equal(beneath_open(path_fd, &fd), 0);
    assert_int_equal(read(fd, content, sizeof(content)), 7);
    assert_string_equal(content, "content");
    assert_int_equal(beneath_where(path_fd, where), -ENOENT);
}

static int run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_above_the_folder_is_found),
        cmocka_unit_test(the_folder_itself_is_found),
        cmocka_unit_test(a_link_is_an_error_of_its_own),
        cmocka_unit_test(a_mount_is_seen),
        cmocka_unit_test(a_fifo_is_found_and_not_opened),
        cmocka_unit_test(what_was_found_is_opened_though_its_name_is_another_file_now),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

int main(void)
{
    return run_on_both_kernels(run, &is_old_kernel);
}

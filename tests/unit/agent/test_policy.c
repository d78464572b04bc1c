#include "agent/policy.h"
#include "common/text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

/* A folder with an allowed and a secret half. */
static char root[] = "/tmp/beckon-test-XXXXXX";
static char *allowed;
static ConfigList allow;
static Policy policy;

static void make_file(const char *name, const char *content)
{
    char *path = text_format("%s/%s", root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
    free(path);
}

static void make_link(const char *target, const char *name)
{
    char *path = text_format("%s/%s", root, name);

    assert_int_equal(symlink(target, path), 0);
    free(path);
}

static void make_folder(const char *name)
{
    char *path = text_format("%s/%s", root, name);

    assert_int_equal(mkdir(path, 0700), 0);
    free(path);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(root))
        return -1;
    make_folder("allowed");
    make_folder("allowed/sub");
    make_folder("allowed2");
    make_file("secret", "secret");
    make_file("allowed2/x", "no");
    make_file("allowed/x", "hello");
    make_file("allowed/sub/\xc3\xa9 \n", "deep");
    make_file("allowed/-dash", "d");
    make_link("../secret", "allowed/out");
    make_link("x", "allowed/inside");
    make_link("..", "allowed/up");
    make_link("/proc/self", "allowed/proc");
    char *fifo = text_format("%s/allowed/fifo", root);
    int r = mkfifo(fifo, 0600);
    free(fifo);
    allowed = text_format("%s/allowed", root);
    allow = (ConfigList){.items = &allowed, .count = 1};
    policy = (Policy){.allow = &allow, .base = allowed, .max_size_bytes = 100};
    return r;
}

static int tear_down(void **state)
{
    static const char *const names[] = {
        "allowed/out",   "allowed/inside",          "allowed/up", "allowed/proc", "allowed/fifo", "allowed/x",
        "allowed/-dash", "allowed/sub/\xc3\xa9 \n", "allowed2/x", "secret"};
    static const char *const folders[] = {"allowed/sub", "allowed2", "allowed"};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char *path = text_format("%s/%s", root, names[i]);
        (void)unlink(path);
        free(path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        char *path = text_format("%s/%s", root, folders[i]);
        (void)rmdir(path);
        free(path);
    }
    free(allowed);
    return rmdir(root);
}

static void assert_opens(const char *path, const char *content)
{
    AllowedFile file = {.fd = -1};
    Problem problem = {0};
    char text[32] = "";

    if (policy_open(&policy, path, 0, &file, &problem) != 0)
        fail_msg("%s: %s %s", path, problem.reason, problem.message);
    assert_int_equal(read(file.fd, text, sizeof(text) - 1), (ssize_t)strlen(content));
    assert_string_equal(text, content);
    assert_int_equal(file.snapshot.size_bytes, strlen(content));
    close(file.fd);
}

static void assert_refused(const char *path, uint64_t max_size, ErrorCode code, const char *reason)
{
    AllowedFile file = {.fd = -7};
    Problem problem = {0};

    if (policy_open(&policy, path, max_size, &file, &problem) == 0)
        fail_msg("%s was opened", path);
    assert_string_equal(problem.reason, reason);
    assert_int_equal(problem.code, code);
    assert_int_equal(file.fd, -7);
}

/* The same with the root in front. */
static void assert_refused_below(const char *name, ErrorCode code, const char *reason)
{
    char *path = text_format("%s/%s", root, name);

    assert_refused(path, 0, code, reason);
    free(path);
}

static void files_below_the_folder_are_opened_by_any_spelling(void **state)
{
    char *path = text_format("/%s//./allowed///x", root);
    (void)state;

    assert_opens(path, "hello");
    free(path);
    assert_opens("x", "hello");
    assert_opens("./x", "hello");
    assert_opens("sub/\xc3\xa9 \n", "deep");
    assert_opens("-dash", "d");
}

static void what_is_outside_is_refused(void **state)
{
    (void)state;
    assert_refused("/etc/passwd", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("../secret", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("sub/../x", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED"); /* ".." anywhere */
    assert_refused_below("secret", ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused_below("allowed/../secret", ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused_below("allowed2/x", ERROR_PERMISSION_DENIED,
                         "PATH_NOT_ALLOWED"); /* a prefix is not a folder */
}

static void symbolic_links_are_not_followed(void **state)
{
    (void)state;
    assert_refused("out", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("inside", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("up/secret", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("proc/environ", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
}

static void only_regular_files_are_opened(void **state)
{
    (void)state;
    assert_refused("fifo", 0, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE"); /* and does not hang */
    assert_refused("sub", 0, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE");
    assert_refused(".", 0, ERROR_INVALID_ARGUMENT, "NOT_A_REGULAR_FILE");
    assert_refused("nothing", 0, ERROR_NOT_FOUND, "FILE_NOT_FOUND");
    assert_refused("x/y", 0, ERROR_NOT_FOUND, "FILE_NOT_FOUND");
}

static void the_smaller_of_both_size_limits_counts(void **state)
{
    (void)state;
    assert_refused("x", 4, ERROR_FAILED_PRECONDITION, "FILE_TOO_LARGE");
    assert_opens("x", "hello");
    policy.max_size_bytes = 4;
    assert_refused("x", 0, ERROR_FAILED_PRECONDITION, "FILE_TOO_LARGE");
    assert_refused("x", 50, ERROR_FAILED_PRECONDITION, "FILE_TOO_LARGE");
    policy.max_size_bytes = 0;
    assert_opens("x", "hello");
    policy.max_size_bytes = 100;
}

static void the_kernels_file_systems_are_closed_even_if_everything_is_allowed(void **state)
{
    char *all = (char[]){"/"};
    ConfigList everything = {.items = &all, .count = 1};
    Policy saved = policy;
    (void)state;

    policy.allow = &everything;
    assert_refused("/proc/self/environ", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("//proc/./version", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/sys/kernel/uevent_seqnum", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/dev/null", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    policy = saved;
}

static void nothing_is_readable_by_default(void **state)
{
    ConfigList nothing = {0};
    Policy saved = policy;
    (void)state;

    policy = (Policy){.allow = &nothing};
    assert_refused("x", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    assert_refused("/etc/hostname", 0, ERROR_PERMISSION_DENIED, "PATH_NOT_ALLOWED");
    policy = saved;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_below_the_folder_are_opened_by_any_spelling),
        cmocka_unit_test(what_is_outside_is_refused),
        cmocka_unit_test(symbolic_links_are_not_followed),
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(the_smaller_of_both_size_limits_counts),
        cmocka_unit_test(the_kernels_file_systems_are_closed_even_if_everything_is_allowed),
        cmocka_unit_test(nothing_is_readable_by_default),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

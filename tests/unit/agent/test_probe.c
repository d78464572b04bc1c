#include "agent/probe.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS 60000
#define SHORT_MS 100

static volatile bool *touched; /* shared with the children */
static int silent[2];          /* a pipe in place of a file system that does not answer */

static int set_up(void **state)
{
    (void)state;
    touched = mmap(NULL, sizeof(*touched), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return touched == MAP_FAILED || pipe2(silent, O_CLOEXEC) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(silent[0]);
    close(silent[1]);
    return munmap((void *)(uintptr_t)touched, sizeof(*touched));
}

static void note(int fd, void *userdata)
{
    (void)fd;
    (void)userdata;
    *touched = true;
}

static void wait_for_answer(int fd, void *userdata)
{
    char byte;
    (void)userdata;

    *touched = true;
    (void)!read(fd, &byte, 1);
}

static void die(int fd, void *userdata)
{
    (void)fd;
    (void)userdata;
    (void)raise(SIGKILL);
}

static int probe_silent(const char *mount, int patience_ms)
{
    *touched = false;
    return probe(mount, silent[0], patience_ms, wait_for_answer, NULL);
}

static int probe_good(const char *mount)
{
    *touched = false;
    return probe(mount, -1, LONG_MS, note, NULL);
}

/* Each of these waits once. */
static void hang(const char *const *mounts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(probe_silent(mounts[i], SHORT_MS), PROBE_E_SILENT);
        for (int64_t end_ms = clock_monotonic_ms() + LONG_MS; !*touched && clock_monotonic_ms() < end_ms;)
            (void)poll(NULL, 0, 5); /* until the child has come so far */
        assert_true(*touched);
    }
}

/* The file system answers those that wait; what follows is as if nothing had been. */
static void answer(const char *mount, size_t count)
{
    int r = PROBE_E_SILENT;

    assert_int_equal(write(silent[1], "12345678", count), (ssize_t)count);
    for (int64_t end_ms = clock_monotonic_ms() + LONG_MS; r != 0 && clock_monotonic_ms() < end_ms;) {
        r = probe_good(mount);
        (void)poll(NULL, 0, 5);
    }
    assert_int_equal(r, 0);
}

static void what_answers_is_touched_in_another_process(void **state)
{
    (void)state;
    assert_int_equal(probe_good("/good"), 0);
    assert_true(*touched);
}

static void what_is_silent_is_not_waited_for_twice(void **state)
{
    (void)state;
    hang((const char *const[]){"/silent"}, 1);
    assert_int_equal(probe_silent("/silent", LONG_MS), PROBE_E_SILENT);
    assert_false(*touched);
    assert_int_equal(probe_good("/good"), 0);
    answer("/silent", 1);
}

static void children_that_wait_are_bounded(void **state)
{
    static const char *const mounts[PROBES_MAX] = {"/a", "/b", "/c", ""};
    (void)state;

    hang(mounts, PROBES_MAX);
    assert_int_equal(probe_good("/good"), -EAGAIN);
    assert_false(*touched);
    answer("/good", PROBES_MAX);
    for (size_t i = 0; i < PROBES_MAX; i++)
        answer(mounts[i], 0);
}

/* Else a lock or a connection would outlive us in a child that never ends. */
static void count_descriptors(int fd, void *userdata)
{
    const int *ends = userdata;

    *touched =
        fd >= 0 && fcntl(fd, F_GETFD) == 0 && fcntl(ends[0], F_GETFD) < 0 && fcntl(ends[1], F_GETFD) < 0;
}

static void a_child_has_no_other_descriptor(void **state)
{
    (void)state;
    assert_int_equal(probe("/", silent[0], LONG_MS, count_descriptors, silent), 0);
    assert_true(*touched);
}

static void a_child_that_was_killed_has_not_answered(void **state)
{
    (void)state;
    assert_int_equal(probe("/", -1, LONG_MS, die, NULL), -ENOMEM);
    assert_int_equal(probe_good("/"), 0);
}

static void a_file_is_on_the_innermost_mount(void **state)
{
    char mount[FILE_PATH_MAX + 1];
    (void)state;

    probe_mount_of("/proc/self/status", mount);
    assert_string_equal(mount, "/proc");
    probe_mount_of("/process", mount);
    assert_string_not_equal(mount, "/proc");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_answers_is_touched_in_another_process),
        TEST(what_is_silent_is_not_waited_for_twice),
        TEST(children_that_wait_are_bounded),
        TEST(a_child_has_no_other_descriptor),
        TEST(a_child_that_was_killed_has_not_answered),
        TEST(a_file_is_on_the_innermost_mount),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "common/cleanup.h"
#include "common/loop.h"
#include "common/notify.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

/* A service manager's socket in the abstract name space. */
static int manager;

static int listen_as_manager(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];
    (void)state;

    (void)snprintf(name, sizeof(name), "@beckon-test-%d", (int)getpid());
    memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    return bind(manager, (struct sockaddr *)&address, size) < 0 || setenv("NOTIFY_SOCKET", name, 1) < 0 ? -1
                                                                                                        : 0;
}

static int leave(void **state)
{
    (void)state;
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    return close(manager);
}

static void assert_heard(const char *expected)
{
    char text[64] = "";
    struct pollfd waiting = {.fd = manager, .events = POLLIN};

    assert_int_equal(poll(&waiting, 1, 5000), 1);
    assert_true(recv(manager, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, expected);
}

static void assert_heard_nothing_more(void)
{
    char byte;
    assert_int_equal(recv(manager, &byte, 1, MSG_DONTWAIT), -1);
}

static void nothing_happens_without_a_manager(void **state)
{
    (void)state;
    (void)unsetenv("NOTIFY_SOCKET");
    notify_manager("READY=1");
    assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
    notify_manager("READY=1");
    assert_int_equal(setenv("NOTIFY_SOCKET", "/no/such/socket", 1), 0);
    notify_manager("READY=1");
    assert_heard_nothing_more();
}

static void watchdog_is_fed_at_half_its_interval_and_only_if_it_is_ours(void **state)
{
    char pid[16];
    (void)state;

    assert_int_equal(notify_watchdog_ms(), -1);
    assert_int_equal(setenv("WATCHDOG_USEC", "20000000", 1), 0);
    assert_int_equal(notify_watchdog_ms(), 10000);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
    assert_int_equal(notify_watchdog_ms(), 10000);
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0);
    assert_int_equal(notify_watchdog_ms(), -1);
    (void)unsetenv("WATCHDOG_PID");
    assert_int_equal(setenv("WATCHDOG_USEC", "soon", 1), 0);
    assert_int_equal(notify_watchdog_ms(), -1);
}

static void quit(void *userdata)
{
    loop_quit(userdata);
}

/* Runs a loop for 100 ms. */
static void run_loop(bool (*is_alive)(void *userdata))
{
    Loop *loop = NULL;
    LoopSource *timer = NULL;

    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(loop_add_timer(loop, quit, loop, &timer), 0);
    loop_timer_set(timer, 100);
    if (is_alive)
        loop_on_watchdog(loop, is_alive, NULL);
    assert_int_equal(loop_run(loop), 0);
    loop_free(loop);
}

static bool is_dead(void *userdata)
{
    (void)userdata;
    return false;
}

static void loop_tells_ready_alive_and_stopping(void **state)
{
    (void)state;
    assert_int_equal(setenv("WATCHDOG_USEC", "120000", 1), 0);
    run_loop(NULL);
    assert_heard("READY=1");
    assert_heard("WATCHDOG=1");
    assert_heard("WATCHDOG=1");
    assert_heard("STOPPING=1");
    assert_heard_nothing_more();
}

static void loop_lets_the_watchdog_starve_when_a_thread_hangs(void **state)
{
    (void)state;
    assert_int_equal(setenv("WATCHDOG_USEC", "40000", 1), 0);
    run_loop(is_dead);
    assert_heard("READY=1");
    assert_heard("STOPPING=1");
    assert_heard_nothing_more();
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, listen_as_manager, leave)
    const struct CMUnitTest tests[] = {
        TEST(nothing_happens_without_a_manager),
        TEST(watchdog_is_fed_at_half_its_interval_and_only_if_it_is_ours),
        TEST(loop_tells_ready_alive_and_stopping),
        TEST(loop_lets_the_watchdog_starve_when_a_thread_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

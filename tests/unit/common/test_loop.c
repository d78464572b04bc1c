#include "common/clock.h"
#include "common/loop.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>

#include <cmocka.h>

typedef struct Seen {
    Loop *loop;
    LoopSource *timer, *pipe;
    int fd, count, reloads;
} Seen;

static void quit_on_third(void *userdata)
{
    Seen *seen = userdata;

    if (++seen->count == 3)
        loop_quit(seen->loop);
    else
        loop_timer_set(seen->timer, 5);
}

static void timer_fires_once_each_time_it_is_set(void **state)
{
    Seen seen = {0};
    (void)state;

    assert_int_equal(loop_new(&seen.loop), 0);
    assert_int_equal(loop_add_timer(seen.loop, quit_on_third, &seen, &seen.timer), 0);
    int64_t start = clock_monotonic_ms();
    loop_timer_set(seen.timer, 5);
    assert_int_equal(loop_run(seen.loop), 0);
    assert_int_equal(seen.count, 3);
    assert_true(clock_monotonic_ms() - start >= 14);
    loop_free(seen.loop);
}

static void take_byte_then_leave(void *userdata, short revents)
{
    Seen *seen = userdata;
    char byte;

    assert_true(revents & POLLIN);
    assert_int_equal(read(seen->fd, &byte, 1), 1);
    seen->count++;
    seen->pipe = loop_remove(seen->pipe);
    loop_timer_set(seen->timer, 30); /* time to be called again, if it wrongly were */
}

static void quit(void *userdata)
{
    loop_quit(((Seen *)userdata)->loop);
}

static void removed_source_is_not_called_again(void **state)
{
    Seen seen = {0};
    int pipes[2];
    (void)state;

    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], "ab", 2), 2);
    seen.fd = pipes[0];
    assert_int_equal(loop_new(&seen.loop), 0);
    assert_int_equal(loop_add_timer(seen.loop, quit, &seen, &seen.timer), 0);
    assert_int_equal(loop_add_fd(seen.loop, pipes[0], POLLIN, take_byte_then_leave, &seen, &seen.pipe), 0);
    assert_int_equal(loop_run(seen.loop), 0);
    assert_int_equal(seen.count, 1);
    loop_free(seen.loop);
    close(pipes[0]);
    close(pipes[1]);
}

static void count_reload_then_terminate(void *userdata)
{
    Seen *seen = userdata;

    seen->reloads++;
    assert_int_equal(kill(getpid(), SIGTERM), 0);
}

static void signals_reload_and_end_the_loop(void **state)
{
    Seen seen = {0};
    (void)state;

    assert_int_equal(loop_new(&seen.loop), 0);
    loop_on_reload(seen.loop, count_reload_then_terminate, &seen);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(loop_run(seen.loop), 0);
    assert_int_equal(seen.reloads, 1);
    loop_free(seen.loop);
}

static void quit_on_child(void *userdata)
{
    loop_quit(userdata);
}

/* Whoever started us may have ignored SIGCHLD; then no child would ever be seen to end. */
static void ignored_sigchld_is_heard_all_the_same(void **state)
{
    Loop *loop = NULL;
    (void)state;

    assert_true(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(loop_on_child(loop, quit_on_child, loop), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    assert_int_equal(loop_run(loop), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timer_fires_once_each_time_it_is_set),
        cmocka_unit_test(removed_source_is_not_called_again),
        cmocka_unit_test(ignored_sigchld_is_heard_all_the_same),
        cmocka_unit_test(signals_reload_and_end_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "common/interrupt.h"

#include <unistd.h>

#ifndef sigev_notify_thread_id /* glibc lacks the name */
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void do_nothing(int number)
{
    (void)number;
}

void interrupt_init(void)
{
    struct sigaction action = {.sa_handler = do_nothing};

    (void)sigaction(INTERRUPT_SIGNAL, &action, NULL); /* can't fail for this signal */
}

bool interrupt_timer_start(int timeout_ms, timer_t *ret_timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = INTERRUPT_SIGNAL};
    struct itimerspec when = {
        .it_value = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L},
        .it_interval = {.tv_sec = 1},
    };

    event.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, ret_timer) < 0)
        return false;
    (void)timer_settime(*ret_timer, 0, &when, NULL);
    return true;
}

#include "coordinator/turns.h"

#include "tests/unit/protocol/cmocka_.h"

#include <sched.h>

static Turns turns;
static int order[4];
static int done; /* entries of order; by who has the lock */

static void *come(void *number)
{
    turns_take(&turns);
    order[done++] = *(int *)number;
    turns_leave(&turns);
    return NULL;
}

static void wait_for_waiting(uint64_t count)
{
    uint64_t waiting = 0;
    while (waiting < count) {
        (void)pthread_mutex_lock(&turns.mutex);
        waiting = turns.next - turns.serving - 1;
        (void)pthread_mutex_unlock(&turns.mutex);
        (void)sched_yield();
    }
}

static void who_comes_back_at_once_waits_for_those_who_came_before(void **state)
{
    (void)state;
    int numbers[] = {1, 2, 3};
    pthread_t threads[3];
    assert_int_equal(turns_init(&turns), 0);
    turns_take(&turns);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come, &numbers[i]), 0);
        wait_for_waiting(i + 1);
    }
    turns_leave(&turns);
    turns_take(&turns);
    order[done++] = 4;
    turns_leave(&turns);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    turns_deinit(&turns);
    for (int i = 0; i < 4; i++)
        assert_int_equal(order[i], i + 1);
}

static int counter;

static void *count_up(void *unused)
{
    for (int i = 0; i < 10000; i++) {
        turns_take(&turns);
        counter++;
        turns_leave(&turns);
    }
    return unused;
}

static void one_at_a_time_has_it(void **state)
{
    (void)state;
    pthread_t threads[4];
    assert_int_equal(turns_init(&turns), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    turns_deinit(&turns);
    assert_int_equal(counter, 40000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_comes_back_at_once_waits_for_those_who_came_before),
        cmocka_unit_test(one_at_a_time_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

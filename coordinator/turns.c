#include "coordinator/turns.h"

int turns_init(Turns *turns)
{
    int r = pthread_mutex_init(&turns->mutex, NULL);

    if (r != 0)
        return -r;
    r = pthread_cond_init(&turns->changed, NULL);
    if (r != 0)
        (void)pthread_mutex_destroy(&turns->mutex);
    turns->next = turns->serving = 0;
    return -r;
}

void turns_deinit(Turns *turns)
{
    (void)pthread_cond_destroy(&turns->changed);
    (void)pthread_mutex_destroy(&turns->mutex);
}

void turns_take(Turns *turns)
{
    (void)pthread_mutex_lock(&turns->mutex);
    uint64_t mine = turns->next++;
    while (turns->serving != mine)
        (void)pthread_cond_wait(&turns->changed, &turns->mutex);
    (void)pthread_mutex_unlock(&turns->mutex);
}

void turns_leave(Turns *turns)
{
    (void)pthread_mutex_lock(&turns->mutex);
    turns->serving++;
    (void)pthread_cond_broadcast(&turns->changed);
    (void)pthread_mutex_unlock(&turns->mutex);
}

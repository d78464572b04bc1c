#include "common/throttle.h"

bool throttle_pass(Throttle *throttle, int64_t monotonic_ms, uint64_t *ret_left_out)
{
    const int64_t full_ms = throttle->every_ms * throttle->burst;
    (void)pthread_mutex_lock(&throttle->mutex);
    if (monotonic_ms > throttle->last_ms) { /* another thread's clock may have been read a little later */
        throttle->credit_ms += monotonic_ms - throttle->last_ms;
        throttle->last_ms = monotonic_ms;
    }
    if (throttle->credit_ms > full_ms)
        throttle->credit_ms = full_ms;
    bool pass = throttle->credit_ms >= throttle->every_ms;
    if (pass) {
        throttle->credit_ms -= throttle->every_ms;
        *ret_left_out = throttle->left_out;
        throttle->left_out = 0;
    } else {
        throttle->left_out++;
    }
    (void)pthread_mutex_unlock(&throttle->mutex);
    return pass;
}

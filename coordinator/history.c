/* What is forgotten: requests that ended long ago, so that the database does not grow for ever. */
#include "coordinator/control_internal.h"

#define LOOK_EVERY_MS ((int64_t)10 * 60 * 1000)
#define PER_TICK 200 /* rows, in a transaction, while REST waits for the mutex */
/* Until then a receipt may come late, and is asked for. */
#define KEPT_MS ((int64_t)24 * 3600 * 1000)

static void look(Control *control)
{
    const ControlConfig *config = &control->config;
    int64_t now_ms = config->unix_ms(), by_age_ms = 0, by_count_ms = 0;
    if (config->history_age_ms > 0)
        by_age_ms = now_ms - (int64_t)config->history_age_ms;
    if (config->history_count > 0 &&
        store_final_since(config->store, config->history_count, &by_count_ms) < 0)
        return;
    int64_t before_ms = by_age_ms > by_count_ms ? by_age_ms : by_count_ms;
    control->history.before_ms = before_ms < now_ms - KEPT_MS ? before_ms : now_ms - KEPT_MS;
}

void history_tick(Control *control)
{
    History *history = &control->history;
    int64_t now_ms = control->config.monotonic_ms();
    if (control->config.history_age_ms == 0 && control->config.history_count == 0)
        return;
    if (now_ms >= history->look_ms) {
        history->look_ms = now_ms + LOOK_EVERY_MS;
        look(control);
    }
    bool more = false;
    if (history->before_ms > 0 &&
        store_forget_before(control->config.store, history->before_ms, PER_TICK, &more) == 0 && !more)
        history->before_ms = 0;
}

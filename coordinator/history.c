/* What is forgotten: requests that ended long ago, so that the database does not grow for ever. */
#include "coordinator/history.h"

#include "common/text.h"
#include "coordinator/control_internal.h"
#include "protocol/client_rules.h"

#define LOOK_EVERY_MS ((int64_t)10 * 60 * 1000)
/* In a transaction, while REST waits for the mutex. */
#define ROWS_PER_TICK 200
#define CLIENTS_PER_TICK 50
/* Until then a receipt may come late, and is asked for. */
#define KEPT_MS ((int64_t)24 * 3600 * 1000)

static const ClientRuleKind age_rules = {"retention.history_age", "restaurant_* = 400d", text_to_duration,
                                         HISTORY_AGE_MAX_MS},
                            count_rules = {"retention.history_count", "kiosk-? = 1000", text_to_u64,
                                           HISTORY_COUNT_MAX};

int history_check(const HistoryConfig *config)
{
    return client_rules_check(&age_rules, &config->ages) + client_rules_check(&count_rules, &config->counts);
}

static bool has_rules(const HistoryConfig *config)
{
    return config->ages.count > 0 || config->counts.count > 0;
}

/* Requests that ended before then are forgotten, for their age or their count. */
static int64_t limit(const Control *control, uint64_t age_ms, int64_t by_count_ms)
{
    int64_t now_ms = control->config.unix_ms();
    int64_t by_age_ms = age_ms > 0 ? now_ms - (int64_t)age_ms : 0;
    int64_t before_ms = by_age_ms > by_count_ms ? by_age_ms : by_count_ms;
    return before_ms < now_ms - KEPT_MS ? before_ms : now_ms - KEPT_MS;
}

static int limit_of_client(void *userdata, const char *client, int64_t *ret_before_ms)
{
    Control *control = userdata;
    const HistoryConfig *config = &control->config.history;
    History *history = &control->history;
    uint64_t age_ms = config->age_ms, count = 0;
    int64_t by_count_ms = history->by_count_ms;
    (void)client_rules_find(&age_rules, &config->ages, client, &age_ms);
    if (client_rules_find(&count_rules, &config->counts, client, &count)) {
        by_count_ms = 0;
        int r = count > 0 ? store_final_since(control->config.store, client, count, &by_count_ms) : 0;
        if (r < 0)
            return r;
    }
    *ret_before_ms = limit(control, age_ms, by_count_ms);
    if (*ret_before_ms > history->before_ms)
        history->before_ms = *ret_before_ms;
    return 0;
}

/* Begins a pass. */
static void look(Control *control)
{
    const HistoryConfig *config = &control->config.history;
    History *history = &control->history;
    int64_t by_count_ms = 0;
    if (config->count > 0 && store_final_since(control->config.store, NULL, config->count, &by_count_ms) < 0)
        return;
    history->by_count_ms = by_count_ms;
    history->before_ms = limit(control, config->age_ms, by_count_ms);
    history->client[0] = '\0';
    history->busy = has_rules(config) || history->before_ms > 0;
}

/* Some of the requests; when none are left, some of the batches, which need no limit of their own: of none
 * is a request left. */
static int forget(Control *control, bool *ret_more)
{
    Store *store = control->config.store;
    History *history = &control->history;
    bool more = false;
    int r = has_rules(&control->config.history)
                ? store_forget_by_client(store, history->client, CLIENTS_PER_TICK, ROWS_PER_TICK,
                                         limit_of_client, control, &more)
                : store_forget_before(store, history->before_ms, ROWS_PER_TICK, &more);
    if (r == 0 && !more)
        r = store_forget_batches(store, history->before_ms, ROWS_PER_TICK, &more);
    if (r == 0)
        *ret_more = more;
    return r;
}

void history_tick(Control *control)
{
    const HistoryConfig *config = &control->config.history;
    History *history = &control->history;
    int64_t now_ms = control->config.monotonic_ms();
    if (config->age_ms == 0 && config->count == 0 && !has_rules(config))
        return;
    if (!history->busy && now_ms >= history->look_ms) {
        history->look_ms = now_ms + LOOK_EVERY_MS;
        look(control);
    }
    bool more = false;
    if (history->busy && forget(control, &more) == 0)
        history->busy = more;
}

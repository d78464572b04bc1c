#include "receiver/retention.h"

#include "common/log.h"
#include "common/text.h"
#include "protocol/client_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#define SWEEP_EVERY_S (10 * 60)
#define FORGET_EVERY_MS ((int64_t)86400000)
#define OLDEST_MAX 1024    /* uploads of one client that are looked at together */
#define USER "(retention)" /* in the audit log; no user's name looks so */

typedef struct Limits {
    uint64_t age_ms, count, bytes; /* 0: none */
} Limits;

typedef struct Old {
    int64_t received_unix_s;
    uint64_t size_bytes;
    char id[UPLOAD_ID_SIZE];
} Old;

/* One client's uploads. */
typedef struct Survey {
    Retention *retention;
    uint64_t count, bytes; /* of all whose content is there */
    int64_t newest_unix_s;
    size_t old_count;
    Old old[OLDEST_MAX]; /* the oldest of them, the very oldest first */
} Survey;

/* Clients that were left alone in this sweep. */
typedef struct Future {
    size_t clients;
    int64_t ahead_ms; /* of the one that is farthest */
    char client[CLIENT_ID_SIZE];
} Future;

struct Retention {
    RetentionConfig config;
    Store *store;
    Archive *archive;
    Survey survey;
    Future future;
    int64_t lead_ms;                     /* of the calendar, before the running time */
    int64_t held_until_ms, forget_at_ms; /* running time */
    bool forgets;                        /* records, in this sweep */
    pthread_t thread;
    bool running;
    int stop_fd; /* an eventfd */
    atomic_bool stopping;
};

/* --- rules --- */

static const ClientRuleKind age_rules = {"retention.age", "restaurant_* = 30d", text_to_duration,
                                         RETENTION_AGE_MAX_MS},
                            count_rules = {"retention.count", "restaurant_* = 100", text_to_u64, 0},
                            size_rules = {"retention.bytes", "restaurant_* = 10G", text_to_size, 0};

int retention_check(const RetentionConfig *config)
{
    return client_rules_check(&age_rules, config->ages) + client_rules_check(&count_rules, config->counts) +
           client_rules_check(&size_rules, config->sizes);
}

static Limits limits_of(const RetentionConfig *config, const char *client)
{
    Limits limits = {.age_ms = config->age_ms, .count = config->count, .bytes = config->bytes};

    (void)client_rules_find(&age_rules, config->ages, client, &limits.age_ms);
    (void)client_rules_find(&count_rules, config->counts, client, &limits.count);
    (void)client_rules_find(&size_rules, config->sizes, client, &limits.bytes);
    return limits;
}

static bool has_rules(const RetentionConfig *config)
{
    return config->age_ms || config->count || config->bytes || config->ages->count || config->counts->count ||
           config->sizes->count;
}

/* --- sweeping --- */

/* Keeps it if it is among the oldest. */
static void note(Survey *survey, const Receipt *receipt)
{
    size_t at = survey->old_count;

    while (at > 0 && survey->old[at - 1].received_unix_s > receipt->issued_unix_s)
        at--;
    if (at == OLDEST_MAX)
        return;
    if (survey->old_count < OLDEST_MAX)
        survey->old_count++;
    memmove(&survey->old[at + 1], &survey->old[at], (survey->old_count - 1 - at) * sizeof(survey->old[0]));
    survey->old[at] = (Old){.received_unix_s = receipt->issued_unix_s, .size_bytes = receipt->size_bytes};
    memcpy(survey->old[at].id, receipt->upload, sizeof(survey->old[at].id));
}

static void forget_if_old(const Retention *retention, const Stored *stored)
{
    const char *client = stored->receipt.client, *id = stored->receipt.upload;

    if (!retention->forgets ||
        retention->config.unix_ms() / 1000 - stored->removed_unix_s <= RETENTION_RECORD_S)
        return;
    int r = archive_forget(retention->archive, client, id);
    if (r < 0)
        log_at(LOG_LEVEL_ERROR, client, id, "its record can't be forgotten: %s", strerror(-r));
}

static int look_at(void *userdata, Stored *stored)
{
    Survey *survey = userdata;

    if (stored->removed_unix_s == 0) {
        survey->count++;
        survey->bytes += stored->receipt.size_bytes;
        if (stored->receipt.issued_unix_s > survey->newest_unix_s)
            survey->newest_unix_s = stored->receipt.issued_unix_s;
        note(survey, &stored->receipt);
    } else {
        forget_if_old(survey->retention, stored);
    }
    return atomic_load(&survey->retention->stopping) ? -ECANCELED : 0;
}

static int approve(void *userdata, const Stored *stored)
{
    const Retention *retention = userdata;
    const AuditEvent event = {.user = USER,
                              .from = "",
                              .what = "remove",
                              .client = stored->receipt.client,
                              .file = stored->receipt.path,
                              .upload = stored->receipt.upload,
                              .status = 200};

    return audit_write(retention->config.audit, &event);
}

static bool is_too_much(const Survey *survey, const Old *old, const Limits *limits, int64_t now_ms)
{
    return (limits->age_ms && now_ms - old->received_unix_s * 1000 > (int64_t)limits->age_ms) ||
           (limits->count && survey->count > limits->count) ||
           (limits->bytes && survey->bytes > limits->bytes);
}

/* Whether it is gone now. One whose receipt the broker has not taken yet stays until the next sweep. */
static bool remove_one(Retention *retention, const char *client, const Old *old)
{
    int r = archive_remove(retention->archive, client, old->id, approve, retention);

    if (r < 0)
        log_at(LOG_LEVEL_ERROR, client, old->id, "can't be removed: %s", strerror(-r));
    if (r != 0)
        return false;
    log_at(LOG_LEVEL_INFO, client, old->id, "removed: it is older, or more, than is kept of this client");
    return true;
}

/* Whether it is less than an hour since the calendar jumped: a clock that is wrong for a moment removes
 * nothing. */
static bool is_held(Retention *retention)
{
    int64_t now_ms = retention->config.now_ms(), lead_ms = retention->config.unix_ms() - now_ms;
    int64_t jump_ms = lead_ms - retention->lead_ms;

    retention->lead_ms = lead_ms;
    if (jump_ms > RETENTION_TRUST_MS || jump_ms < -RETENTION_TRUST_MS) {
        retention->held_until_ms = now_ms + RETENTION_TRUST_MS;
        log_error("the clock has jumped by %" PRId64 " minutes: nothing is removed for an hour; if it is "
                  "wrong now, set it right before that",
                  jump_ms / 60000);
    }
    return now_ms < retention->held_until_ms;
}

/* Then nobody knows which of its files are the oldest. */
static bool is_of_the_future(Retention *retention, const char *client, int64_t ahead_ms)
{
    Future *future = &retention->future;

    if (ahead_ms <= RETENTION_TRUST_MS)
        return false;
    if (future->clients++ == 0 || ahead_ms > future->ahead_ms) {
        future->ahead_ms = ahead_ms;
        (void)snprintf(future->client, sizeof(future->client), "%s", client);
    }
    return true;
}

static void tell_future(const Future *future)
{
    if (future->clients > 0)
        log_at(LOG_LEVEL_ERROR, future->client, NULL,
               "it has a file that came %" PRId64 " minutes from now (other clients with such files: %zu): "
               "a clock was wrong, which are the oldest can't be told, and nothing of these is removed by "
               "itself "
               "until that time has come, or those files are removed with beckon rm",
               future->ahead_ms / 60000, future->clients - 1);
}

/* Returns how many of the oldest were removed. */
static size_t thin_out(Retention *retention, const char *client, const Limits *limits)
{
    Survey *survey = &retention->survey;
    int64_t now_ms = retention->config.unix_ms();
    size_t removed = 0;

    if (is_held(retention) || is_of_the_future(retention, client, survey->newest_unix_s * 1000 - now_ms))
        return 0;
    for (size_t i = 0; i < survey->old_count && !atomic_load(&retention->stopping); i++) {
        const Old *old = &survey->old[i];
        if (!is_too_much(survey, old, limits, now_ms))
            break;
        if (!remove_one(retention, client, old))
            continue;
        survey->count--;
        survey->bytes -= old->size_bytes;
        removed++;
    }
    return removed;
}

static int sweep_client(void *userdata, const char *client)
{
    Retention *retention = userdata;
    Survey *survey = &retention->survey;
    const Limits limits = limits_of(&retention->config, client);
    size_t removed = OLDEST_MAX;

    bool limited = limits.age_ms || limits.count || limits.bytes;
    if (!limited && !retention->forgets)
        return 0;
    while (removed == OLDEST_MAX) { /* else the very next ones are not too much */
        survey->retention = retention;
        survey->count = survey->bytes = survey->old_count = 0;
        survey->newest_unix_s = 0;
        int r = store_each(retention->store, client, look_at, survey);
        if (r < 0 && r != -ECANCELED)
            log_at(LOG_LEVEL_ERROR, client, NULL, "its folder in the store can't be read: %s", strerror(-r));
        removed = r < 0 || !limited ? 0 : thin_out(retention, client, &limits);
    }
    return atomic_load(&retention->stopping) ? -ECANCELED : 0;
}

void retention_sweep(Retention *retention)
{
    int64_t now_ms = retention->config.now_ms();

    if (is_held(retention))
        return;
    retention->future.clients = 0;
    retention->forgets = now_ms >= retention->forget_at_ms;
    if (retention->forgets)
        retention->forget_at_ms = now_ms + FORGET_EVERY_MS;
    int r = store_each_client(retention->store, sweep_client, retention);

    if (r < 0 && r != -ECANCELED)
        log_error("the store can't be swept: %s", strerror(-r));
    tell_future(&retention->future);
}

/* --- the thread --- */

/* false if it is to stop. */
static bool wait_for(const Retention *retention, int seconds)
{
    struct pollfd polled = {.fd = retention->stop_fd, .events = POLLIN};
    int r = 0;

    do
        r = poll(&polled, 1, seconds * 1000);
    while (r < 0 && errno == EINTR);
    return r == 0;
}

static void *run(void *userdata)
{
    Retention *retention = userdata;

    for (int wait_s = has_rules(&retention->config) ? retention->config.first_s : SWEEP_EVERY_S;
         wait_for(retention, wait_s); wait_s = SWEEP_EVERY_S)
        retention_sweep(retention);
    return NULL;
}

int retention_new(const RetentionConfig *config, Store *store, Archive *archive, Retention **ret_retention)
{
    Retention *retention = calloc(1, sizeof(*retention));

    if (!retention)
        return -ENOMEM;
    retention->config = *config;
    retention->store = store;
    retention->archive = archive;
    retention->lead_ms = config->unix_ms() - config->now_ms();
    atomic_init(&retention->stopping, false);
    retention->stop_fd = eventfd(0, EFD_CLOEXEC);
    int r = retention->stop_fd < 0 ? -errno : -pthread_create(&retention->thread, NULL, run, retention);
    retention->running = r == 0;
    if (r < 0) {
        (void)retention_free(retention);
        return r;
    }
    *ret_retention = retention;
    return 0;
}

Retention *retention_free(Retention *retention)
{
    if (!retention)
        return NULL;
    atomic_store(&retention->stopping, true);
    if (retention->running) {
        (void)eventfd_write(retention->stop_fd, 1);
        (void)pthread_join(retention->thread, NULL);
    }
    close_fd(&retention->stop_fd);
    free(retention);
    return NULL;
}

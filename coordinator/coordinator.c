#include "coordinator/coordinator.h"

#include "common/cage.h"
#include "common/clock.h"
#include "common/credentials.h"
#include "common/files.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mqtt_link.h"
#include "common/text.h"
#include "coordinator/rest.h"
#include "protocol/topic.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#define TICK_MS 1000
#define EVENTS_PER_TURN 64 /* then the timers have a turn */

typedef struct Coordinator {
    Loop *loop;
    LoopSource *timer;
    MqttLink *link;
    Store *store;
    KeyRing *receipt_keys, *operator_keys;
    SigningKey *ticket_key;
    Events *events;
    Audit *audit;
    Control *control;
    HttpServer *http;
    Rest rest;
    MqttEvent event; /* too large for the stack */
} Coordinator;

/* --- broker --- */

static int publish(void *userdata, const char *topic, const void *payload, size_t size)
{
    const Coordinator *coordinator = userdata;
    if (!coordinator->link)
        return -ENOTCONN;
    return mqtt_link_publish(coordinator->link, topic, payload, size, false, 0);
}

static void on_event(Coordinator *coordinator, const MqttEvent *event)
{
    switch (event->type) {
    case MQTT_EVENT_CONNECTED:
        control_on_connection(coordinator->control, true);
        break;
    case MQTT_EVENT_DISCONNECTED:
        control_on_connection(coordinator->control, false);
        break;
    case MQTT_EVENT_MESSAGE:
        control_on_message(coordinator->control, event->topic, event->payload, event->payload_size,
                           event->retained);
        break;
    case MQTT_EVENT_PUBLISHED:
        break; /* the device's answer counts, not the broker's */
    }
}

static void on_link_ready(void *userdata, short revents)
{
    Coordinator *coordinator = userdata;
    (void)revents;
    for (int i = 0; i < EVENTS_PER_TURN && mqtt_link_next(coordinator->link, &coordinator->event) == 1; i++)
        on_event(coordinator, &coordinator->event);
}

static int start_link(Coordinator *coordinator, const CoordinatorConfig *config)
{
    char status[TOPIC_SIZE], presence[TOPIC_SIZE], receipt[TOPIC_SIZE], removed[TOPIC_SIZE];
    const char *const subscriptions[] = {
        topic_format(TOPIC_STATUS, "+", "+", status),
        topic_format(TOPIC_PRESENCE, "+", NULL, presence),
        topic_format(TOPIC_RECEIPT, "+", "+", receipt),
        topic_format(TOPIC_REMOVED, "+", "+", removed),
    };
    MqttLinkConfig link = mqtt_config_link(&config->mqtt);

    link.subscriptions = subscriptions;
    link.subscription_count = ARRAY_SIZE(subscriptions);
    int r = mqtt_link_new(&link, &coordinator->link);
    if (r < 0) {
        log_error("can't start the broker link: %s", strerror(-r));
        return r;
    }
    loop_on_watchdog(coordinator->loop, mqtt_link_is_alive, coordinator->link);
    LoopSource *source; /* the loop frees it */
    return loop_add_fd(coordinator->loop, mqtt_link_fd(coordinator->link), POLLIN, on_link_ready, coordinator,
                       &source);
}

/* --- clock --- */

static void on_tick(void *userdata)
{
    Coordinator *coordinator = userdata;
    atomic_store(&coordinator->rest.turned_ms, clock_monotonic_ms());
    control_tick(coordinator->control);
    events_tick(coordinator->events, clock_monotonic_ms(), clock_unix_ms());
    loop_timer_set(coordinator->timer, TICK_MS);
}

static int start_clock(Coordinator *coordinator)
{
    int r = loop_add_timer(coordinator->loop, on_tick, coordinator, &coordinator->timer);
    if (r == 0)
        loop_timer_set(coordinator->timer, TICK_MS);
    return r;
}

/* --- state --- */

static int make_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/'); /* there is one: the path is absolute */
    char *folder CLEANUP(free_ptr) = text_format("%.*s/", slash ? (int)(slash - path) : 0, path);
    if (!folder)
        return -ENOMEM;
    int fd CLEANUP(close_fd) = -1;
    int r = folder_open(folder, 0750, &fd);
    if (r == 0 && setenv("SQLITE_TMPDIR", folder, 0) < 0) /* the cage leaves SQLite no other */
        r = -errno;
    if (r < 0)
        log_error("%s: can't make the database's folder: %s", folder, strerror(-r));
    return r;
}

/* Who signs tickets also says who may ask for them, unless there are keys for that alone. */
static int load_operator_keys(Coordinator *coordinator, const ConfigList *paths)
{
    int r = paths->count > 0 ? key_ring_load(paths->items, paths->count, &coordinator->operator_keys, NULL)
                             : key_ring_of(coordinator->ticket_key, &coordinator->operator_keys);
    coordinator->rest.access.keys = coordinator->operator_keys;
    return r;
}

static int load_keys(Coordinator *coordinator, const CoordinatorConfig *config)
{
    Access *access = &coordinator->rest.access;
    access->has_secret = config->token_file != NULL;
    int r = access->has_secret ? secret_load(config->token_file, &access->secret) : 0;
    if (r == 0)
        r = signing_key_load(config->signing_key, &coordinator->ticket_key);
    if (r == 0)
        r = key_ring_load(config->receiver_keys.items, config->receiver_keys.count,
                          &coordinator->receipt_keys, NULL);
    if (r == 0)
        r = load_operator_keys(coordinator, &config->operator_keys);
    if (r < 0) /* they loaded a moment ago, when the configuration was checked */
        log_error("can't load the keys: %s", strerror(-r));
    return r;
}

static int start_control(Coordinator *coordinator, const CoordinatorConfig *config)
{
    int r = make_folder_of(config->database);
    if (r == 0) /* before there are threads */
        r = cage_enter(coordinator_config_keys, coordinator_config_key_count, config);
    if (r == 0)
        r = events_new(clock_unix_ms(), &coordinator->events);
    if (r == 0)
        r = store_open(config->database, &coordinator->store);
    if (r < 0)
        return r;
    const ControlConfig control = {
        .store = coordinator->store,
        .receipt_keys = coordinator->receipt_keys,
        .events = coordinator->events,
        .ticket_key = coordinator->ticket_key,
        .publish = publish,
        .publish_userdata = coordinator,
        .expires_ms = config->expires_ms,
        .republish_ms = config->republish_ms,
        .offline_after_ms = config->offline_after_ms,
        .history = coordinator_history_config(config),
        .monotonic_ms = clock_monotonic_ms,
        .unix_ms = clock_unix_ms,
    };
    r = control_new(&control, &coordinator->control);
    if (r < 0)
        log_error("can't load clients and requests: %s", strerror(-r));
    return r;
}

static void on_reload(void *userdata)
{
    audit_reopen(userdata);
}

static int start_audit(Coordinator *coordinator, const CoordinatorConfig *config)
{
    if (!config->audit_file)
        return 0;
    int r = audit_open(config->audit_file, "beckon-coordinator", &coordinator->audit);
    if (r < 0)
        log_error("%s: can't open the audit log: %s", config->audit_file, strerror(-r));
    else
        loop_on_reload(coordinator->loop, on_reload, coordinator->audit);
    return r;
}

static int start_rest(Coordinator *coordinator, const CoordinatorConfig *config)
{
    coordinator->rest.control = coordinator->control;
    coordinator->rest.events = coordinator->events;
    coordinator->rest.ticket_key = coordinator->ticket_key;
    coordinator->rest.receiver_url = config->receiver_url;
    coordinator->rest.audit = coordinator->audit;
    coordinator->rest.metrics_open = strcmp(config->metrics, "open") == 0;
    coordinator->rest.server_expires_unix_s = credentials_expiry(config->cert); /* the one that is served */
    coordinator->rest.mqtt_cert_file = config->mqtt.cert;
    const HttpServerConfig http = coordinator_http_config(config);
    return http_server_new(&http, &rest_handlers, &coordinator->rest, &coordinator->http);
}

/* In the order of use: the link exists before REST can ask it to publish. */
static int start(Coordinator *coordinator, const CoordinatorConfig *config)
{
    int r = loop_new(&coordinator->loop);
    if (r == 0)
        r = load_keys(coordinator, config);
    if (r == 0)
        r = start_audit(coordinator, config);
    if (r == 0)
        r = start_control(coordinator, config);
    if (r == 0)
        r = start_link(coordinator, config);
    if (r == 0)
        r = start_clock(coordinator);
    if (r == 0)
        r = start_rest(coordinator, config);
    return r;
}

static void stop(Coordinator *coordinator)
{
    events_close(coordinator->events);
    (void)http_server_free(coordinator->http);
    (void)loop_free(coordinator->loop); /* before the link, whose descriptor it watches */
    (void)mqtt_link_free(coordinator->link);
    (void)control_free(coordinator->control);
    (void)events_free(coordinator->events);
    (void)store_close(coordinator->store);
    (void)audit_close(coordinator->audit);
    (void)key_ring_free(coordinator->receipt_keys);
    (void)key_ring_free(coordinator->operator_keys);
    (void)signing_key_free(coordinator->ticket_key);
}

int coordinator_run(const CoordinatorConfig *config)
{
    Coordinator *coordinator = calloc(1, sizeof(*coordinator));
    if (!coordinator)
        return -ENOMEM;
    int r = start(coordinator, config);
    if (r == 0) {
        log_info("ready: listening on %s port %" PRIu64, config->address, config->port);
        r = loop_run(coordinator->loop);
    }
    stop(coordinator);
    free(coordinator);
    return r;
}

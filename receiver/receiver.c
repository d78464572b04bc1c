#include "receiver/receiver.h"

#include "common/cage.h"
#include "common/clock.h"
#include "common/credentials.h"
#include "common/files.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mqtt_link.h"
#include "protocol/topic.h"
#include "receiver/api.h"
#include "receiver/courier.h"
#include "receiver/removal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>

#define SWEEP_EVERY_MS ((int64_t)10 * 60 * 1000)
#define PUMP_EVERY_MS ((int64_t)30 * 1000) /* should the broker's queue have been full */

struct Receiver {
    const ReceiverConfig *config;
    Loop *loop;
    LoopSource *link_source, *outbox_source, *sweep_timer, *pump_timer;
    int root_fd;
    SigningKey *signing_key;
    KeyRing *coordinator_keys;
    Spool *spool;
    Store *store;
    Outbox *outbox;
    Archive *archive;
    Uploads *uploads;
    Retention *retention;
    RemovalConfig removal;
    Audit *audit;
    Api api;
    HttpServer *server;
    MqttLink *link;
    Courier *courier;
    MqttEvent event;
};

static int failed(const char *what, int r)
{
    log_error("%s: %s", what, strerror(-r));
    return r;
}

/* The store. The lock keeps a second receiver from taking our parts for leftovers. */
static int open_root(Receiver *receiver)
{
    const char *path = receiver->config->store;
    int r = folder_open(path, 0750, &receiver->root_fd);

    if (r < 0)
        return failed(path, r);
    if (flock(receiver->root_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return failed(path, -errno);
    log_error("%s: another receiver is using this store", path);
    return -EBUSY;
}

static int load_keys(Receiver *receiver)
{
    const ConfigList *paths = &receiver->config->coordinator_keys;
    const char *bad = "coordinator_key";
    int r = signing_key_load(receiver->config->signing_key, &receiver->signing_key);

    if (r < 0)
        return failed(receiver->config->signing_key, r);
    r = key_ring_load(paths->items, paths->count, &receiver->coordinator_keys, &bad);
    return r < 0 ? failed(bad, r) : 0;
}

static void on_reload(void *audit)
{
    audit_reopen(audit);
}

static int open_audit(Receiver *receiver)
{
    const char *path = receiver->config->audit_file;
    int r = path ? audit_open(path, "beckon-receiver", &receiver->audit) : 0;

    if (receiver->audit)
        loop_on_reload(receiver->loop, on_reload, receiver->audit);
    return r < 0 ? failed(path, r) : 0;
}

static void cut_connection(void *connection)
{
    http_request_cut(connection);
}

static int open_archive(Receiver *receiver)
{
    int r = outbox_new(receiver->root_fd, &receiver->outbox);

    if (r == 0)
        r = store_new(receiver->root_fd, &receiver->store);
    if (r == 0)
        r = archive_new(receiver->store, receiver->outbox, receiver->signing_key, receiver->config->name,
                        &receiver->archive);
    if (r == 0)
        r = archive_recover(receiver->archive);
    return r < 0 ? failed("the store can't be opened", r) : 0;
}

static int open_uploads(Receiver *receiver)
{
    const UploadsConfig uploads = {.open_max = (unsigned)receiver->config->open_uploads,
                                   .per_client_max = (unsigned)receiver->config->uploads_per_client,
                                   .client_bytes_max = receiver->config->incomplete_per_client,
                                   .now_ms = clock_monotonic_ms,
                                   .cut = cut_connection};
    int r = spool_new(receiver->root_fd, receiver->config->free_space_floor, &receiver->spool);

    if (r == 0)
        r = uploads_new(&uploads, receiver->spool, receiver->archive, &receiver->uploads);
    return r < 0 ? failed("the spool can't be opened", r) : 0;
}

/* A connection needs its socket, its part and journal, and for a moment some folders; idle parts stay open
 * too. */
static void raise_file_limit(const ReceiverConfig *config)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)config->connections * 6 + (rlim_t)config->open_uploads * 2 + 64;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < wanted)
        log_warn("the limit of open files is too low for [limits] connections; raise it to %llu",
                 (unsigned long long)wanted);
}

static TicketRule ticket_rule(const ReceiverConfig *config)
{
    if (config->coordinator_keys.count == 0)
        return TICKETS_IGNORED;
    return config->require_ticket ? TICKETS_REQUIRED : TICKETS_CHECKED;
}

static int serve(Receiver *receiver)
{
    const HttpServerConfig http = receiver_config_http(receiver->config);

    receiver->api.uploads = receiver->uploads;
    receiver->api.archive = receiver->archive;
    receiver->api.store = receiver->store;
    receiver->api.coordinator_keys = receiver->coordinator_keys;
    receiver->api.tickets = ticket_rule(receiver->config);
    receiver->api.ticket_alone = receiver->config->ticket_alone;
    receiver->api.audit = receiver->audit;
    receiver->api.max_size = receiver->config->max_size;
    receiver->api.outbox = receiver->outbox;
    receiver->api.knows_people = receiver->config->people_ca != NULL;
    receiver->api.mqtt_cert_file = receiver->config->mqtt.cert;
    receiver->api.server_expires_unix_s =
        credentials_expiry(receiver->config->cert); /* the one that is served */
    receiver->api.free_space_floor = receiver->config->free_space_floor;
    return http_server_new(&http, &api_handlers, &receiver->api, &receiver->server);
}

/* The broker */

static int publish(void *link, const char *topic, const void *payload, size_t size, uint64_t tag)
{
    return mqtt_link_publish(link, topic, payload, size, false, tag);
}

/* cmd/receipt: the coordinator has not seen it, or not believed it. If the link is down it will ask again. */
static void send_receipt_again(Receiver *receiver, const Topic *about)
{
    Stored *stored CLEANUP(free_ptr) = malloc(sizeof(*stored));
    char topic[TOPIC_SIZE];
    int r = stored ? archive_find(receiver->archive, about->client, about->upload, stored) : -ENOMEM;

    if (r == ARCHIVE_E_ABSENT || (r == 0 && stored->removed_unix_s != 0))
        return; /* there is nothing to say: not complete, or no more, is what no receipt means */
    char *message CLEANUP(free_ptr) = r == 0 ? archive_receipt_message(stored) : NULL;
    if (r == 0 && !message)
        r = -ENOMEM;
    TRACED(r == 0 ? stored->traceparent : "");
    if (r == 0)
        r = mqtt_link_publish(receiver->link,
                              topic_format(TOPIC_RECEIPT, about->client, about->upload, topic), message,
                              strlen(message), false, 0);
    if (r < 0)
        log_at(LOG_LEVEL_WARN, about->client, about->upload, "the receipt can't be sent again: %s",
               strerror(-r));
}

/* cmd/remove, and what is removed by itself */

static int start_retention(Receiver *receiver)
{
    RetentionConfig retention = receiver_config_retention(receiver->config);

    retention.audit = receiver->audit;
    receiver->removal = (RemovalConfig){.archive = receiver->archive,
                                        .coordinator_keys = receiver->coordinator_keys,
                                        .audit = receiver->audit};
    int r = retention_new(&retention, receiver->store, receiver->archive, &receiver->retention);
    return r < 0 ? failed("what removes old files can't be started", r) : 0;
}

static void on_message(Receiver *receiver)
{
    const MqttEvent *event = &receiver->event;
    char traceparent[TRACEPARENT_SIZE];
    Topic topic;

    message_traceparent(event->payload, event->payload_size, traceparent);
    TRACED(*traceparent ? traceparent : event->traceparent);
    if (topic_parse(receiver->event.topic, &topic) != 0) {
        log_warn("a message with the topic %s is ignored", receiver->event.topic);
        return;
    }
    if (topic.kind == TOPIC_CMD_RECEIPT)
        send_receipt_again(receiver, &topic);
    else if (topic.kind == TOPIC_CMD_REMOVE)
        removal_command(&receiver->removal, &topic, event->payload, event->payload_size);
    else if (topic.kind == TOPIC_CMD_CANCEL && uploads_cancel(receiver->uploads, topic.client, topic.upload))
        log_at(LOG_LEVEL_INFO, topic.client, topic.upload, "cancelled while incomplete");
}

static void on_link(void *userdata, short revents)
{
    Receiver *receiver = userdata;

    (void)revents;
    while (mqtt_link_next(receiver->link, &receiver->event) > 0) {
        switch (receiver->event.type) {
        case MQTT_EVENT_CONNECTED:
            atomic_store(&receiver->api.broker_connected, true);
            courier_connected(receiver->courier);
            break;
        case MQTT_EVENT_DISCONNECTED:
            atomic_store(&receiver->api.broker_connected, false);
            courier_disconnected(receiver->courier);
            break;
        case MQTT_EVENT_PUBLISHED:
            courier_published(receiver->courier, receiver->event.tag);
            break;
        case MQTT_EVENT_MESSAGE:
            on_message(receiver);
            break;
        }
    }
}

static void on_outbox(void *userdata, short revents)
{
    Receiver *receiver = userdata;
    eventfd_t count;

    (void)revents;
    (void)eventfd_read(outbox_fd(receiver->outbox), &count); /* only to make it silent again */
    courier_pump(receiver->courier);
}

static void on_pump(void *userdata)
{
    Receiver *receiver = userdata;

    atomic_store(&receiver->api.turned_ms, clock_monotonic_ms());
    courier_retry(receiver->courier);
    loop_timer_set(receiver->pump_timer, PUMP_EVERY_MS);
}

static void on_sweep(void *userdata)
{
    Receiver *receiver = userdata;

    spool_sweep_asides(receiver->spool, clock_unix_ms() - (int64_t)receiver->config->aside_keep_ms);
    uploads_expire(receiver->uploads, clock_monotonic_ms() - (int64_t)receiver->config->incomplete_keep_ms);
    loop_timer_set(receiver->sweep_timer, SWEEP_EVERY_MS);
}

static int connect_broker(Receiver *receiver)
{
    const ReceiverConfig *config = receiver->config;
    char cancel[TOPIC_SIZE], receipt[TOPIC_SIZE], removal[TOPIC_SIZE];
    const char *subscriptions[] = {topic_format(TOPIC_CMD_CANCEL, "+", "+", cancel),
                                   topic_format(TOPIC_CMD_RECEIPT, "+", "+", receipt),
                                   topic_format(TOPIC_CMD_REMOVE, "+", "+", removal)};
    MqttLinkConfig link = mqtt_config_link(&config->mqtt);

    link.subscriptions = subscriptions;
    link.subscription_count = ARRAY_SIZE(subscriptions);
    int r = mqtt_link_new(&link, &receiver->link);

    if (r == 0)
        loop_on_watchdog(receiver->loop, mqtt_link_is_alive, receiver->link);
    if (r == 0)
        r = courier_new(receiver->outbox, receiver->archive, publish, receiver->link, &receiver->courier);
    return r < 0 ? failed("the link to the broker can't be made", r) : 0;
}

static int watch(Receiver *receiver)
{
    int r = loop_add_fd(receiver->loop, mqtt_link_fd(receiver->link), POLLIN, on_link, receiver,
                        &receiver->link_source);

    if (r == 0)
        r = loop_add_fd(receiver->loop, outbox_fd(receiver->outbox), POLLIN, on_outbox, receiver,
                        &receiver->outbox_source);
    if (r == 0)
        r = loop_add_timer(receiver->loop, on_sweep, receiver, &receiver->sweep_timer);
    if (r == 0)
        r = loop_add_timer(receiver->loop, on_pump, receiver, &receiver->pump_timer);
    if (r < 0)
        return failed("the event loop can't be set up", r);
    loop_timer_set(receiver->sweep_timer, 0);
    loop_timer_set(receiver->pump_timer, PUMP_EVERY_MS);
    return 0;
}

int receiver_new(const ReceiverConfig *config, Receiver **ret_receiver)
{
    Receiver *receiver = calloc(1, sizeof(*receiver));

    if (!receiver)
        return failed("the receiver can't start", -ENOMEM);
    receiver->config = config;
    receiver->root_fd = -1;
    raise_file_limit(config);
    int r = loop_new(&receiver->loop); /* first: it blocks the signals for all threads */
    r = r < 0 ? failed("the event loop can't be made", r) : load_keys(receiver);
    if (r == 0)
        r = open_root(receiver);
    if (r == 0)
        r = open_audit(receiver);
    if (r == 0)
        r = cage_enter(receiver_config_keys, receiver_config_key_count, config); /* no threads yet */
    if (r == 0)
        r = open_archive(receiver);
    if (r == 0)
        r = open_uploads(receiver);
    if (r == 0)
        r = connect_broker(receiver);
    if (r == 0)
        r = start_retention(receiver);
    if (r == 0)
        r = watch(receiver);
    if (r == 0)
        r = serve(receiver);
    if (r < 0) {
        (void)receiver_free(receiver);
        return r;
    }
    log_info("ready: %s at %s port %u, store %s", config->name, config->address, (unsigned)config->port,
             config->store);
    *ret_receiver = receiver;
    return 0;
}

/* Listens no more, lets commits come to their end and parks what is on its way. If that takes too long,
 * because a disk hangs, the process ends all the same: on the disk that is a crash, and nothing complete is
 * lost by one. */
static void stop(Receiver *receiver)
{
    int64_t started_ms = clock_monotonic_ms();

    http_server_quiesce(receiver->server);
    if (!uploads_stop(receiver->uploads, (int64_t)receiver->config->stop_timeout_ms)) {
        log_error(
            "uploads were still at work after [receiver] stop_timeout; ending without waiting for them");
        _exit(1);
    }
    log_info("stopped: uploads are parked, in %lld ms", (long long)(clock_monotonic_ms() - started_ms));
}

int receiver_run(Receiver *receiver)
{
    int r = loop_run(receiver->loop);

    stop(receiver);
    return r;
}

Receiver *receiver_free(Receiver *receiver)
{
    if (!receiver)
        return NULL;
    (void)http_server_free(receiver->server);
    (void)retention_free(receiver->retention);
    (void)mqtt_link_free(receiver->link);
    (void)courier_free(receiver->courier);
    (void)uploads_free(receiver->uploads);
    (void)spool_free(receiver->spool);
    (void)archive_free(receiver->archive);
    (void)store_free(receiver->store);
    (void)outbox_free(receiver->outbox);
    (void)key_ring_free(receiver->coordinator_keys);
    (void)signing_key_free(receiver->signing_key);
    (void)audit_close(receiver->audit);
    (void)loop_free(receiver->loop);
    close_fd(&receiver->root_fd);
    free(receiver);
    return NULL;
}

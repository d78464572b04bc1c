#include "common/mqtt_link.h"

#include "common/backoff.h"
#include "common/clock.h"
#include "common/interrupt.h"
#include "common/log.h"
#include "common/mqtt_channel.h"
#include "common/mqtt_link_config.h"
#include "common/mqtt_message.h"
#include "common/mqtt_outgoing.h"
#include "common/news.h"
#include "common/tls.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS 10000 /* TCP; libmosquitto itself would wait for the kernel's two minutes */
#define CONNACK_TIMEOUT_MS 15000 /* TLS handshake, CONNACK and SUBACK; libmosquitto would wait for ever */
#define FLUSH_TIMEOUT_MS 1000    /* for what is queued when the link is freed */
#define SILENT_MAX_MS 300000     /* name resolution may take tens of seconds; beyond this the thread hangs */
#define STABLE_MS 10000    /* a connection that lived so long was a good one: the next wait is short again */
#define RC_REFUSED 0x80    /* and above, in MQTT 5 */
#define ROUND_MAX_MS 30000 /* the thread shows that it lives at least so often */
#define SESSION_EXPIRY_S (30U * 24 * 3600)
#define RC_V5_UNSUPPORTED 132 /* reason code "unsupported protocol version" (MQTT 5 section 3.2.2.2) */
#define RC_V3_UNSUPPORTED 1   /* the same in an MQTT 3.1.1 CONNACK (section 3.2.2.3) */

typedef enum SessionState {
    SESSION_CONNECTING,  /* CONNECT sent, or on its way */
    SESSION_SUBSCRIBING, /* CONNACK is there, SUBACK is not */
    SESSION_UP,
    SESSION_FAILED, /* link->failure says why */
} SessionState;

struct MqttLink {
    MqttLinkConfig config; /* its strings are copies */
    int owner_fd;          /* the owner's end of the events */
    int thread_fd;         /* the thread's end */
    int wake_fd;           /* eventfd: something to send, or to stop */
    pthread_t thread;

    pthread_mutex_t mutex; /* over these five */
    OutgoingList queue;
    unsigned outstanding; /* queued and unacknowledged */
    bool connected, stop;
    int64_t round_ms; /* when the thread came round last */

    /* the thread's own */
    struct mosquitto *mosq;
    OutgoingList inflight; /* waiting for their PUBACK, the oldest first */
    SessionState state;
    bool use_v3;
    Backoff backoff;
    int64_t up_ms;                /* when the session came up */
    char detail[128];             /* what libmosquitto's log says of this session's failure */
    char failure[NEWS_TEXT_SIZE]; /* of this session */
    News news;                    /* an outage is told once for each way in which it shows, not at each try */
};

/* Asked in every round of the thread. */
static bool stopping(MqttLink *link)
{
    pthread_mutex_lock(&link->mutex);
    bool stop = link->stop;
    link->round_ms = clock_monotonic_ms();
    pthread_mutex_unlock(&link->mutex);
    return stop;
}

static bool gives_up(void *userdata)
{
    return stopping(userdata);
}

/* Waits while the owner is behind: the broker then waits too, and nothing is dropped between us. */
static void send_event(MqttLink *link, MqttEventHeader header, const char *topic, const void *payload)
{
    int r = mqtt_channel_send(link->thread_fd, &header, topic, payload, gives_up, link);

    if (r < 0)
        log_error("an MQTT event is lost: %s", strerror(-r));
}

int mqtt_link_next(MqttLink *link, MqttEvent *event)
{
    return mqtt_channel_receive(link->owner_fd, event);
}

int mqtt_link_fd(const MqttLink *link)
{
    return link->owner_fd;
}

/* libmosquitto's detail, if there is one, says more than its return code. */
static void fail(MqttLink *link, const char *what, const char *why)
{
    if (link->state == SESSION_FAILED)
        return; /* the first reason is the cause */
    link->state = SESSION_FAILED;
    if (link->detail[0])
        why = link->detail;
    (void)snprintf(link->failure, sizeof(link->failure), "%s%s%s", what, why ? ": " : "", why ? why : "");
}

/* libmosquitto tells details of TLS failures to its log only: "OpenSSL Error[0]: error:0A000086:SSL
 * routines::certificate verify failed". */
static void on_log(struct mosquitto *mosq, void *userdata, int level, const char *text)
{
    MqttLink *link = userdata;
    const char *reason = strncmp(text, "OpenSSL", 7) == 0 ? strrchr(text, ':') : NULL;
    (void)mosq;

    if ((level == MOSQ_LOG_ERR || level == MOSQ_LOG_WARNING) && !link->detail[0])
        (void)snprintf(link->detail, sizeof(link->detail), "%s%s", reason ? "TLS: " : "",
                       reason ? reason + 1 : text);
}

/* A connection that ends, by libmosquitto's return code and errno. */
static void fail_with(MqttLink *link, int r, int error)
{
    const char *why = r == MOSQ_ERR_ERRNO ? strerror(error) : mosquitto_strerror(r);

    if (r == MOSQ_ERR_KEEPALIVE || (r == MOSQ_ERR_ERRNO && error == EINTR))
        why = "no answer";
    else if (r == MOSQ_ERR_ERRNO && error == EPROTO) /* a reset overtook the alert */
        why = "TLS: the handshake was broken off; does the broker accept our certificate?";
    fail(link, link->state == SESSION_UP ? "the connection to the broker is lost" : "can't connect", why);
}

static void set_up(MqttLink *link)
{
    link->state = SESSION_UP;
    link->up_ms = clock_monotonic_ms();
    news_forget(&link->news);
    pthread_mutex_lock(&link->mutex);
    link->connected = true;
    pthread_mutex_unlock(&link->mutex);
    log_info("connected to the broker %s:%u (MQTT %s)", link->config.host, link->config.port,
             link->use_v3 ? "3.1.1" : "5");
    send_event(link, (MqttEventHeader){.type = MQTT_EVENT_CONNECTED}, "", "");
}

static void on_connect(struct mosquitto *mosq, void *userdata, int rc, int flags,
                       const mosquitto_property *properties)
{
    MqttLink *link = userdata;
    (void)flags;
    (void)properties;

    if (rc == RC_V5_UNSUPPORTED || rc == RC_V3_UNSUPPORTED) {
        link->use_v3 = !link->use_v3;
        fail(link, "the broker speaks another version of MQTT", NULL);
    } else if (rc != 0) {
        fail(link, "the broker refuses us",
             link->use_v3 ? mosquitto_connack_string(rc) : mosquitto_reason_string(rc));
    } else if (link->config.subscription_count == 0) {
        set_up(link);
    } else {
        int r =
            mosquitto_subscribe_multiple(mosq, NULL, (int)link->config.subscription_count,
                                         (char *const *)(uintptr_t)link->config.subscriptions, 1, 0, NULL);
        link->state = SESSION_SUBSCRIBING;
        if (r != MOSQ_ERR_SUCCESS)
            fail(link, "can't subscribe", mosquitto_strerror(r));
    }
}

static void on_subscribe(struct mosquitto *mosq, void *userdata, int mid, int count, const int *granted)
{
    MqttLink *link = userdata;
    (void)mosq;
    (void)mid;

    for (int i = 0; i < count; i++)
        if (granted[i] > 2) { /* 0x80 and above are refusals */
            fail(link, "the broker's ACL refuses the subscription", link->config.subscriptions[i]);
            return;
        }
    if (link->state == SESSION_SUBSCRIBING)
        set_up(link);
}

static void on_disconnect(struct mosquitto *mosq, void *userdata, int rc)
{
    MqttLink *link = userdata;
    (void)mosq;

    /* Some brokers that speak only 3.1.1 just close when they see MQTT 5: try both in turn. */
    if (link->state == SESSION_CONNECTING && rc == MOSQ_ERR_CONN_LOST)
        link->use_v3 = !link->use_v3;
    if (rc != MOSQ_ERR_SUCCESS)
        fail_with(link, rc, errno);
    else
        fail(link, "the broker has ended the connection", NULL);
}

static void on_message(struct mosquitto *mosq, void *userdata, const struct mosquitto_message *message,
                       const mosquitto_property *properties)
{
    MqttLink *link = userdata;
    (void)mosq;

    if (strlen(message->topic) > MQTT_TOPIC_MAX || message->payloadlen < 0 ||
        message->payloadlen > MQTT_PAYLOAD_MAX) {
        log_warn("dropped an MQTT message of %d bytes on %.64s...: at most %d are taken", message->payloadlen,
                 message->topic, MQTT_PAYLOAD_MAX);
        return;
    }
    send_event(link, mqtt_message_header(message, properties), message->topic, message->payload);
}

/* A message is done with; told: its owner need not bring it again. */
static void settle(MqttLink *link, Outgoing *message, bool told)
{
    if (told && message->tag)
        send_event(link, (MqttEventHeader){.type = MQTT_EVENT_PUBLISHED, .tag = message->tag}, "", "");
    pthread_mutex_lock(&link->mutex);
    link->outstanding--;
    pthread_mutex_unlock(&link->mutex);
    free(message);
}

/* reason: MQTT 5 section 3.4.2.1; always 0 with 3.1.1, where a broker can't say that it refuses. */
static void on_publish(struct mosquitto *mosq, void *userdata, int mid, int reason,
                       const mosquitto_property *properties)
{
    MqttLink *link = userdata;
    Outgoing *message = outgoing_take(&link->inflight, mid);
    (void)mosq;
    (void)properties;

    if (!message)
        return;
    if (reason == MQTT_RC_NOT_AUTHORIZED) /* it would be so again at once: the next connection tries anew */
        log_error("the broker's ACL refuses a message on %s", message->topic);
    else if (reason >= RC_REFUSED)
        fail(link, "the broker refuses a message", mosquitto_reason_string(reason));
    settle(link, message, reason < RC_REFUSED);
}

/* The first of what is queued, or NULL. */
static Outgoing *take_queued(MqttLink *link)
{
    pthread_mutex_lock(&link->mutex);
    Outgoing *message = outgoing_take_first(&link->queue);
    pthread_mutex_unlock(&link->mutex);
    return message;
}

/* A message that this broker can never take counts as told: otherwise its owner would bring it again with
 * each connection, and none would live. */
static void send_message(MqttLink *link, Outgoing *message)
{
    int r = mqtt_message_publish(link->mosq, message, link->use_v3);

    if (r == MOSQ_ERR_OVERSIZE_PACKET || r == MOSQ_ERR_PAYLOAD_SIZE || r == MOSQ_ERR_INVAL) {
        log_error("a message of %zu bytes on %s is dropped: %s", message->size, message->topic,
                  mosquitto_strerror(r));
        settle(link, message, true);
    } else if (r != MOSQ_ERR_SUCCESS) {
        fail(link, "can't publish", mosquitto_strerror(r));
        settle(link, message, false);
    } else {
        message->sent_ms = clock_monotonic_ms();
        outgoing_append(&link->inflight, message);
    }
}

static void send_queue(MqttLink *link)
{
    for (Outgoing *message; link->state == SESSION_UP && (message = take_queued(link));)
        send_message(link, message);
}

/* What was not acknowledged is forgotten: the owner publishes anew what still matters. */
static void forget_messages(MqttLink *link)
{
    outgoing_clear(&link->inflight);
    pthread_mutex_lock(&link->mutex);
    outgoing_clear(&link->queue);
    link->outstanding = 0;
    pthread_mutex_unlock(&link->mutex);
}

static int connect_v5(MqttLink *link, int keepalive_s)
{
    mosquitto_property *properties = NULL;

    int r = mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL, SESSION_EXPIRY_S);
    if (r == MOSQ_ERR_SUCCESS)
        r = mosquitto_connect_bind_v5(link->mosq, link->config.host, link->config.port, keepalive_s, NULL,
                                      properties);
    mosquitto_property_free_all(&properties);
    return r;
}

static void connect_to_broker(MqttLink *link)
{
    int keepalive_s = (int)(link->config.keepalive_ms / 1000);
    timer_t timer;
    bool bounded = interrupt_timer_start(CONNECT_TIMEOUT_MS, &timer);

    int r = link->use_v3 ? mosquitto_connect(link->mosq, link->config.host, link->config.port, keepalive_s)
                         : connect_v5(link, keepalive_s);
    int error = errno;
    if (bounded)
        (void)timer_delete(timer);
    if (r != MOSQ_ERR_SUCCESS)
        fail_with(link, r, error);
}

static bool make_handle(MqttLink *link)
{
    const MqttLinkConfig *config = &link->config;

    link->mosq = mosquitto_new(config->client_id, false, link);
    if (!link->mosq) {
        fail(link, "can't connect", strerror(errno));
        return false;
    }
    mosquitto_log_callback_set(link->mosq, on_log);
    mosquitto_connect_v5_callback_set(link->mosq, on_connect);
    mosquitto_disconnect_callback_set(link->mosq, on_disconnect);
    mosquitto_subscribe_callback_set(link->mosq, on_subscribe);
    mosquitto_message_v5_callback_set(link->mosq, on_message);
    mosquitto_publish_v5_callback_set(link->mosq, on_publish);

    int r = mosquitto_int_option(link->mosq, MOSQ_OPT_PROTOCOL_VERSION,
                                 link->use_v3 ? MQTT_PROTOCOL_V311 : MQTT_PROTOCOL_V5);
    if (r == MOSQ_ERR_SUCCESS)
        r = mosquitto_int_option(link->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    if (r == MOSQ_ERR_SUCCESS)
        r = mosquitto_tls_opts_set(link->mosq, 1 /* verify */, "tlsv1.2", TLS12_CIPHERS);
    if (r == MOSQ_ERR_SUCCESS)
        r = mosquitto_tls_set(link->mosq, config->ca_file, NULL, config->cert_file, config->key_file, NULL);
    if (r == MOSQ_ERR_SUCCESS && config->will_topic)
        r = mosquitto_will_set(link->mosq, config->will_topic, (int)strlen(config->will_payload),
                               config->will_payload, 1, true);
    if (r != MOSQ_ERR_SUCCESS)
        fail(link, "can't set up the MQTT client", mosquitto_strerror(r));
    return r == MOSQ_ERR_SUCCESS;
}

static void drain_wake(MqttLink *link)
{
    (void)!read(link->wake_fd, &(uint64_t){0}, sizeof(uint64_t)); /* only clears it */
}

/* One round: wait for the socket or a wake-up, at most wait_ms, and let libmosquitto work. */
static void serve_once(MqttLink *link, int wait_ms)
{
    int fd = mosquitto_socket(link->mosq);
    short events = POLLIN | (mosquitto_want_write(link->mosq) ? POLLOUT : 0);
    struct pollfd polled[] = {{.fd = link->wake_fd, .events = POLLIN}, {.fd = fd, .events = events}};

    if (poll(polled, ARRAY_SIZE(polled), wait_ms) < 0 && errno != EINTR)
        fail(link, "poll", strerror(errno));
    if (polled[0].revents)
        drain_wake(link);
    if (link->state == SESSION_UP)
        send_queue(link);
    int r = polled[1].revents & (POLLIN | POLLERR | POLLHUP) ? mosquitto_loop_read(link->mosq, 1)
                                                             : MOSQ_ERR_SUCCESS;
    if (r == MOSQ_ERR_SUCCESS && mosquitto_want_write(link->mosq))
        r = mosquitto_loop_write(link->mosq, 1);
    if (r == MOSQ_ERR_SUCCESS)
        r = mosquitto_loop_misc(link->mosq);
    if (r != MOSQ_ERR_SUCCESS)
        fail_with(link, r, errno);
}

/* Lets the last messages out and says good-bye, so that the broker keeps the will to itself. */
static void leave(MqttLink *link)
{
    int64_t deadline = clock_monotonic_ms() + FLUSH_TIMEOUT_MS;

    send_queue(link);
    while (link->state == SESSION_UP && link->inflight.first && clock_monotonic_ms() < deadline)
        serve_once(link, 50);
    (void)mosquitto_disconnect(link->mosq); /* queues DISCONNECT and, in most cases, sends it at once */
    while (mosquitto_want_write(link->mosq) && clock_monotonic_ms() < deadline)
        if (mosquitto_loop_write(link->mosq, 1) != MOSQ_ERR_SUCCESS)
            break;
}

/* libmosquitto notices a connection on which nothing comes; this, one without PUBACKs. */
static void check_answers(MqttLink *link, int64_t connect_deadline)
{
    const Outgoing *oldest = link->inflight.first;
    int64_t now = clock_monotonic_ms();

    if (link->state < SESSION_UP && now > connect_deadline)
        fail(link, "the broker does not answer", NULL);
    if (link->state == SESSION_UP && oldest && now - oldest->sent_ms > 2 * (int64_t)link->config.keepalive_ms)
        fail(link, "the broker does not acknowledge what it is sent", NULL);
}

/* Up, only the keepalive needs waking up for: a device may run on a battery. */
static int wait_of(const MqttLink *link)
{
    uint64_t wait_ms = link->state == SESSION_UP ? link->config.keepalive_ms / 8 : 500;

    return wait_ms < ROUND_MAX_MS ? (int)wait_ms : ROUND_MAX_MS;
}

/* One connection, from connect to its end. */
static void run_session(MqttLink *link)
{
    link->state = SESSION_CONNECTING;
    link->detail[0] = '\0';
    if (make_handle(link))
        connect_to_broker(link);
    int64_t deadline = clock_monotonic_ms() + CONNACK_TIMEOUT_MS;
    while (link->state != SESSION_FAILED && !stopping(link)) {
        serve_once(link, wait_of(link));
        check_answers(link, deadline);
    }
    if (link->state == SESSION_UP)
        leave(link);
    mosquitto_destroy(link->mosq);
    link->mosq = NULL;
}

static void announce_end(MqttLink *link)
{
    pthread_mutex_lock(&link->mutex);
    bool was_connected = link->connected;
    link->connected = false;
    pthread_mutex_unlock(&link->mutex);
    forget_messages(link);
    if (was_connected && clock_monotonic_ms() - link->up_ms > STABLE_MS)
        backoff_reset(&link->backoff);
    if (was_connected)
        send_event(link, (MqttEventHeader){.type = MQTT_EVENT_DISCONNECTED}, "", "");
}

static void wait_before_retry(MqttLink *link)
{
    int64_t wait_ms = (int64_t)backoff_next_ms(&link->backoff);

    log_at(news_is_new(&link->news, link->failure) ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, NULL, NULL,
           "broker %s:%u: %s; trying again in %.1f s", link->config.host, link->config.port, link->failure,
           (double)wait_ms / 1000);
    for (int64_t until = clock_monotonic_ms() + wait_ms; !stopping(link) && clock_monotonic_ms() < until;) {
        struct pollfd wake = {.fd = link->wake_fd, .events = POLLIN};
        int64_t left = until - clock_monotonic_ms();
        if (poll(&wake, 1, left < ROUND_MAX_MS ? (int)left + 1 : ROUND_MAX_MS) > 0)
            drain_wake(link);
    }
}

static void *run_link(void *userdata)
{
    MqttLink *link = userdata;
    sigset_t all;

    sigfillset(&all);
    sigdelset(&all, INTERRUPT_SIGNAL); /* ends a connect(2) that takes too long */
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
    while (!stopping(link)) {
        run_session(link);
        announce_end(link);
        if (!stopping(link))
            wait_before_retry(link);
    }
    return NULL;
}

static void init_library(void)
{
    interrupt_init();
    (void)mosquitto_lib_init();
}

static void destroy(MqttLink *link)
{
    outgoing_clear(&link->queue);
    mqtt_link_config_free(&link->config);
    close_fd(&link->owner_fd);
    close_fd(&link->thread_fd);
    close_fd(&link->wake_fd);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}

static int open_descriptors(MqttLink *link)
{
    int r = mqtt_channel_open(&link->owner_fd, &link->thread_fd);

    if (r < 0)
        return r;
    link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return link->wake_fd < 0 ? -errno : 0;
}

int mqtt_link_new(const MqttLinkConfig *config, MqttLink **ret_link)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    MqttLink *link = calloc(1, sizeof(*link));

    if (!link)
        return -ENOMEM;
    link->owner_fd = link->thread_fd = link->wake_fd = -1;
    link->round_ms = clock_monotonic_ms();
    outgoing_init(&link->queue);
    outgoing_init(&link->inflight);
    link->backoff = (Backoff){.min_ms = config->backoff_min_ms, .max_ms = config->backoff_max_ms};
    (void)pthread_mutex_init(&link->mutex, NULL);
    (void)pthread_once(&once, init_library);

    int r = mqtt_link_config_copy(&link->config, config) ? open_descriptors(link) : -ENOMEM;
    if (r == 0)
        r = -pthread_create(&link->thread, NULL, run_link, link);
    if (r < 0) {
        destroy(link);
        return r;
    }
    *ret_link = link;
    return 0;
}

bool mqtt_link_is_alive(void *userdata)
{
    MqttLink *link = userdata;

    pthread_mutex_lock(&link->mutex);
    int64_t round_ms = link->round_ms;
    pthread_mutex_unlock(&link->mutex);
    return clock_monotonic_ms() - round_ms < SILENT_MAX_MS;
}

static void wake(MqttLink *link)
{
    uint64_t one = 1;
    (void)!write(link->wake_fd, &one, sizeof(one)); /* full means it is awake already */
}

MqttLink *mqtt_link_free(MqttLink *link)
{
    if (!link)
        return NULL;
    pthread_mutex_lock(&link->mutex);
    link->stop = true;
    pthread_mutex_unlock(&link->mutex);
    wake(link);
    for (int tenths = 0; tenths < 20; tenths++) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100 * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        if (pthread_timedjoin_np(link->thread, NULL, &until) == 0) {
            destroy(link);
            return NULL;
        }
        if (tenths % 5 == 4)
            (void)pthread_kill(link->thread, INTERRUPT_SIGNAL); /* it may sit in connect(2) */
    }
    /* It hangs in name resolution. The process is about to end; the thread keeps its memory until then. */
    (void)pthread_detach(link->thread);
    return NULL;
}

int mqtt_link_publish(MqttLink *link, const char *topic, const void *payload, size_t size, bool retain,
                      uint64_t tag)
{
    int r = 0;

    if (strlen(topic) > MQTT_TOPIC_MAX || size > MQTT_PAYLOAD_MAX)
        return -EMSGSIZE;
    Outgoing *message = outgoing_new(topic, payload, size, retain, tag);
    if (!message)
        return -ENOMEM;
    pthread_mutex_lock(&link->mutex);
    if (!link->connected) {
        r = -ENOTCONN;
    } else if (link->outstanding >= MQTT_QUEUE_MAX) {
        r = -ENOBUFS;
    } else {
        link->outstanding++;
        outgoing_append(&link->queue, message);
    }
    pthread_mutex_unlock(&link->mutex);
    if (r < 0)
        free(message);
    else
        wake(link);
    return r;
}

/* One connection to the MQTT broker that looks after itself (libmosquitto inside).
 *
 * A thread of its own connects (MQTT 5, falling back to 3.1.1), keeps alive, and reconnects for ever with
 * full-jitter back-off; it is the only one that touches libmosquitto. The owner reads events from
 * mqtt_link_fd() with mqtt_link_next() and is never blocked by the network: not by name resolution, which may
 * take minutes, nor by connect(2) or a handshake. mqtt_link_free() alone waits, for 2 seconds at most.
 *
 * Delivery: libmosquitto acknowledges a message before we have seen it, so QoS 1 means at most once here, in
 * both directions; the product confirms by its own messages. A publish is refused while there is no
 * connection: on MQTT_EVENT_CONNECTED the owner publishes again whatever still matters. */
#pragma once

#include "common/cleanup.h"
#include "common/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MQTT_PAYLOAD_MAX 16384 /* bytes; a larger message is dropped with a log line */
#define MQTT_TOPIC_MAX 255
#define MQTT_QUEUE_MAX 4096 /* messages waiting to be sent */

typedef struct MqttLink MqttLink;

typedef struct MqttLinkConfig {
    const char *host;
    uint16_t port;
    const char *ca_file, *cert_file, *key_file; /* PEM */
    const char *client_id;
    uint64_t keepalive_ms; /* at least 5 s; a dead connection is noticed within two of these */
    uint64_t backoff_min_ms, backoff_max_ms; /* between attempts to connect */
    const char *will_topic, *will_payload;   /* retained, QoS 1; NULL: no will */
    const char *const *subscriptions;        /* topic filters, QoS 1, subscribed at each connect */
    size_t subscription_count;
} MqttLinkConfig;

typedef enum MqttEventType {
    MQTT_EVENT_CONNECTED,    /* and subscribed */
    MQTT_EVENT_DISCONNECTED, /* and already trying again; the log has said why */
    MQTT_EVENT_MESSAGE,
    MQTT_EVENT_PUBLISHED, /* the broker has acknowledged the publish with this tag */
} MqttEventType;

typedef struct MqttEvent {
    MqttEventType type;
    uint64_t tag;
    bool retained;
    char traceparent[TRACEPARENT_SIZE]; /* MQTT 5: its user property, if that is valid; else "" */
    char topic[MQTT_TOPIC_MAX + 1];
    size_t payload_size;
    char payload[MQTT_PAYLOAD_MAX + 1]; /* with a NUL behind it that is not counted */
} MqttEvent;

/* Copies config and starts the thread. 0 or a negative errno. Certificates are loaded at each attempt to
 * connect. */
int mqtt_link_new(const MqttLinkConfig *config, MqttLink **ret_link) MUST_CHECK;

/* Sends what is queued, disconnects cleanly (so that the will stays silent) and ends the thread. Waits for 2
 * seconds at most: a thread that sits in name resolution is left behind, and ends with the process. */
MqttLink *mqtt_link_free(MqttLink *link);

/* Readable when mqtt_link_next() has something. */
int mqtt_link_fd(const MqttLink *link);

/* 1 and *event filled, or 0 when there is nothing (more). One thread. */
int mqtt_link_next(MqttLink *link, MqttEvent *event);

/* Whether the link's thread still comes round, connected or not; for loop_on_watchdog(). Where it does not it
 * hangs, and only a restart of the process helps. Any thread. */
bool mqtt_link_is_alive(void *link);

/* Queues a message, QoS 1; with MQTT 5 this thread's trace goes along as the user property "traceparent". tag
 * comes back in MQTT_EVENT_PUBLISHED; 0: no event wanted. Any thread; never
 * blocks. 0, -ENOTCONN, -ENOBUFS when MQTT_QUEUE_MAX messages wait, or -EMSGSIZE. */
int mqtt_link_publish(MqttLink *link, const char *topic, const void *payload, size_t size, bool retain,
                      uint64_t tag) MUST_CHECK;

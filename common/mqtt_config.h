/* The keys [mqtt] of a daemon: where the broker is and what the daemon shows it. */
#pragma once

#include "common/config.h"
#include "common/mqtt_link.h"

typedef struct MqttConfig {
    char *host;
    char *ca, *cert, *key;
    char *client_id; /* of a service; an agent's is that of its certificate, and no key */
    uint64_t port, keepalive_ms, backoff_min_ms, backoff_max_ms;
} MqttConfig;

#define MQTT_CONFIG_KEY(Config, name_, type_, member_, ...)                                                  \
    {                                                                                                        \
        .section = "mqtt", .name = (name_), .type = (type_), .offset = offsetof(Config, mqtt.member_),       \
        __VA_ARGS__                                                                                          \
    }

/* To be put into a daemon's table, whose struct has a member MqttConfig mqtt. */
#define MQTT_CONFIG_KEYS(Config, default_port, default_backoff_max)                                          \
    MQTT_CONFIG_KEY(Config, "host", CONFIG_STRING, host, .required = true),                                  \
        MQTT_CONFIG_KEY(Config, "port", CONFIG_NUMBER, port, .fallback = (default_port), .min = 1,           \
                        .max = 65535),                                                                       \
        MQTT_CONFIG_KEY(Config, "ca", CONFIG_FILE, ca, .required = true),                                    \
        MQTT_CONFIG_KEY(Config, "cert", CONFIG_FILE, cert, .required = true),                                \
        MQTT_CONFIG_KEY(Config, "key", CONFIG_FILE, key, .required = true),                                  \
        MQTT_CONFIG_KEY(Config, "keepalive", CONFIG_DURATION, keepalive_ms, .fallback = "30s", .min = 5000,  \
                        .max = 3600000),                                                                     \
        MQTT_CONFIG_KEY(Config, "backoff_min", CONFIG_DURATION, backoff_min_ms, .fallback = "1s",            \
                        .min = 100),                                                                         \
        MQTT_CONFIG_KEY(Config, "backoff_max", CONFIG_DURATION, backoff_max_ms,                              \
                        .fallback = (default_backoff_max), .min = 100, .max = 86400000)

/* And a service's client id. */
#define MQTT_CONFIG_CLIENT_ID(Config, default_client_id)                                                     \
    MQTT_CONFIG_KEY(Config, "client_id", CONFIG_STRING, client_id, .fallback = (default_client_id))

/* The rules between the keys, and whether certificates and key load. Returns the number of mistakes, each
 * logged. */
int mqtt_config_check(const MqttConfig *config);

/* What the link needs of it, without will and subscriptions; points into config. */
MqttLinkConfig mqtt_config_link(const MqttConfig *config);

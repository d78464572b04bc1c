#include "common/mqtt_config.h"

#include "common/credentials.h"

int mqtt_config_check(const MqttConfig *config)
{
    int mistakes = credentials_check_pair("mqtt", config->cert, config->key);

    mistakes += credentials_check_authorities("mqtt", "ca", config->ca);
    if (config->backoff_min_ms <= config->backoff_max_ms)
        return mistakes;
    config_mistake("mqtt", "backoff_max", "[mqtt] backoff_max is shorter than backoff_min; swap them");
    return mistakes + 1;
}

MqttLinkConfig mqtt_config_link(const MqttConfig *config)
{
    return (MqttLinkConfig){
        .host = config->host,
        .port = (uint16_t)config->port,
        .ca_file = config->ca,
        .cert_file = config->cert,
        .key_file = config->key,
        .client_id = config->client_id,
        .keepalive_ms = config->keepalive_ms,
        .backoff_min_ms = config->backoff_min_ms,
        .backoff_max_ms = config->backoff_max_ms,
    };
}

#include "common/mqtt_link_config.h"

#include <string.h>

void mqtt_link_config_free(MqttLinkConfig *config)
{
    const char *const strings[] = {config->host,        config->ca_file,   config->cert_file,
                                   config->key_file,    config->client_id, config->will_topic,
                                   config->will_payload};

    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        free((void *)(uintptr_t)strings[i]);
    for (size_t i = 0; config->subscriptions && i < config->subscription_count; i++)
        free((void *)(uintptr_t)config->subscriptions[i]);
    free((void *)(uintptr_t)config->subscriptions);
}

static bool copy_string(const char **target, const char *text)
{
    *target = text ? strdup(text) : NULL;
    return *target || !text;
}

bool mqtt_link_config_copy(MqttLinkConfig *copy, const MqttLinkConfig *config)
{
    const char **subscriptions = calloc(config->subscription_count + 1, sizeof(*subscriptions));
    bool whole = subscriptions;

    *copy = *config;
    copy->keepalive_ms =
        config->keepalive_ms < 5000 ? 5000 : config->keepalive_ms; /* libmosquitto takes no less */
    copy->subscriptions = subscriptions;
    whole &= copy_string(&copy->host, config->host);
    whole &= copy_string(&copy->ca_file, config->ca_file);
    whole &= copy_string(&copy->cert_file, config->cert_file);
    whole &= copy_string(&copy->key_file, config->key_file);
    whole &= copy_string(&copy->client_id, config->client_id);
    whole &= copy_string(&copy->will_topic, config->will_topic);
    whole &= copy_string(&copy->will_payload, config->will_payload);
    for (size_t i = 0; subscriptions && i < config->subscription_count; i++)
        whole &= copy_string(&subscriptions[i], config->subscriptions[i]);
    return whole;
}

/* A copy of a link's configuration with strings of its own. For mqtt_link.c only. */
#pragma once

#include "common/mqtt_link.h"

/* keepalive_ms is raised to what libmosquitto takes. false when out of memory; *copy is then to be freed all
 * the same. */
bool mqtt_link_config_copy(MqttLinkConfig *copy, const MqttLinkConfig *config);

void mqtt_link_config_free(MqttLinkConfig *config);

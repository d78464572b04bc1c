/* libmosquitto's messages and ours: what of them goes over the wire, the trace in a user property (MQTT 5
 * section 3.3.2.3.7) included. For mqtt_link.c only. */
#pragma once

#include "common/mqtt_channel.h"
#include "common/mqtt_outgoing.h"

#include <mosquitto.h>

/* Of a message whose topic and payload are within our limits. */
MqttEventHeader mqtt_message_header(const struct mosquitto_message *message,
                                    const mosquitto_property *properties);

/* QoS 1. MOSQ_ERR_SUCCESS and message->mid set, or another MOSQ_ERR_. */
int mqtt_message_publish(struct mosquitto *mosq, Outgoing *message, bool use_v3) MUST_CHECK;

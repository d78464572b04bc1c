#include "common/mqtt_message.h"

#include <mqtt_protocol.h>
#include <string.h>

#define TRACEPARENT "traceparent"

/* The first valid user property of that name, or "". */
static void read_traceparent(const mosquitto_property *properties, char out[static TRACEPARENT_SIZE])
{
    const mosquitto_property *property = properties;
    bool later = false, found = false;

    out[0] = '\0';
    while (!found && property) {
        char *name CLEANUP(free_ptr) = NULL, *value CLEANUP(free_ptr) = NULL;
        property =
            mosquitto_property_read_string_pair(property, MQTT_PROP_USER_PROPERTY, &name, &value, later);
        found = property && strcmp(name, TRACEPARENT) == 0 && traceparent_read(value, out);
        later = true;
    }
}

MqttEventHeader mqtt_message_header(const struct mosquitto_message *message,
                                    const mosquitto_property *properties)
{
    MqttEventHeader header = {.type = MQTT_EVENT_MESSAGE,
                              .retained = message->retain,
                              .topic_size = (uint16_t)strlen(message->topic),
                              .payload_size = (uint32_t)message->payloadlen};

    read_traceparent(properties, header.traceparent);
    return header;
}

int mqtt_message_publish(struct mosquitto *mosq, Outgoing *message, bool use_v3)
{
    mosquitto_property *properties = NULL;
    int r = MOSQ_ERR_SUCCESS;

    if (!use_v3 && *message->traceparent)
        r = mosquitto_property_add_string_pair(&properties, MQTT_PROP_USER_PROPERTY, TRACEPARENT,
                                               message->traceparent);
    if (r == MOSQ_ERR_SUCCESS)
        r = mosquitto_publish_v5(mosq, &message->mid, message->topic, (int)message->size, message->payload, 1,
                                 message->retain, properties);
    mosquitto_property_free_all(&properties);
    return r;
}

/* The socketpair on which a link's thread hands events to the link's owner. For mqtt_link.c only. */
#pragma once

#include "common/mqtt_link.h"

/* On the socketpair, in one packet: this header, the topic, the payload. */
typedef struct MqttEventHeader {
    uint64_t tag;
    MqttEventType type;
    bool retained;
    char traceparent[TRACEPARENT_SIZE];
    uint16_t topic_size;   /* at most MQTT_TOPIC_MAX */
    uint32_t payload_size; /* at most MQTT_PAYLOAD_MAX */
} MqttEventHeader;

int mqtt_channel_open(int *ret_owner_fd, int *ret_thread_fd) MUST_CHECK;

/* Blocks while the owner is behind, until give_up() says so. 0 (sent, or given up) or a negative errno. */
int mqtt_channel_send(int fd, const MqttEventHeader *header, const char *topic, const void *payload,
                      bool (*give_up)(void *userdata), void *userdata) MUST_CHECK;

/* 1 and *event filled, or 0 when there is nothing. */
int mqtt_channel_receive(int fd, MqttEvent *event);

#include "common/mqtt_channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define ROOM_CHECK_MS 500 /* how often a blocked sender asks whether to give up */

int mqtt_channel_open(int *ret_owner_fd, int *ret_thread_fd)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    *ret_owner_fd = pair[0];
    *ret_thread_fd = pair[1];
    return 0;
}

int mqtt_channel_send(int fd, const MqttEventHeader *header, const char *topic, const void *payload,
                      bool (*give_up)(void *userdata), void *userdata)
{
    struct iovec parts[] = {{(void *)(uintptr_t)header, sizeof(*header)},
                            {(void *)(uintptr_t)topic, header->topic_size},
                            {(void *)(uintptr_t)payload, header->payload_size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};

    while (sendmsg(fd, &message, MSG_NOSIGNAL) < 0) {
        struct pollfd room = {.fd = fd, .events = POLLOUT};
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (give_up(userdata))
            return 0;
        (void)poll(&room, 1, ROOM_CHECK_MS);
    }
    return 0;
}

int mqtt_channel_receive(int fd, MqttEvent *event)
{
    MqttEventHeader header;
    char body[MQTT_TOPIC_MAX + MQTT_PAYLOAD_MAX];
    struct iovec parts[] = {{&header, sizeof(header)}, {body, sizeof(body)}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};

    if (recvmsg(fd, &message, 0) < (ssize_t)sizeof(header))
        return 0;
    event->type = header.type;
    event->tag = header.tag;
    event->retained = header.retained;
    memcpy(event->traceparent, header.traceparent, sizeof(event->traceparent));
    event->payload_size = header.payload_size;
    memcpy(event->topic, body, header.topic_size);
    event->topic[header.topic_size] = '\0';
    memcpy(event->payload, body + header.topic_size, header.payload_size);
    event->payload[header.payload_size] = '\0';
    return 1;
}

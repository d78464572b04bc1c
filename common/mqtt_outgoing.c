#include "common/mqtt_outgoing.h"

#include <stdio.h>
#include <string.h>

Outgoing *outgoing_new(const char *topic, const void *payload, size_t size, bool retain, uint64_t tag)
{
    size_t topic_size = strlen(topic) + 1;
    Outgoing *message = malloc(sizeof(*message) + size + topic_size);

    if (!message)
        return NULL;
    *message = (Outgoing){.tag = tag, .retain = retain, .topic = message->payload + size, .size = size};
    (void)snprintf(message->traceparent, sizeof(message->traceparent), "%s", trace_current());
    memcpy(message->payload, payload, size);
    memcpy(message->payload + size, topic, topic_size);
    return message;
}

void outgoing_init(OutgoingList *list)
{
    list->first = NULL;
    list->end = &list->first;
}

void outgoing_append(OutgoingList *list, Outgoing *message)
{
    message->next = NULL;
    *list->end = message;
    list->end = &message->next;
}

static Outgoing *take_at(OutgoingList *list, Outgoing **at)
{
    Outgoing *message = *at;

    *at = message->next;
    if (!*at)
        list->end = at;
    return message;
}

Outgoing *outgoing_take_first(OutgoingList *list)
{
    return list->first ? take_at(list, &list->first) : NULL;
}

Outgoing *outgoing_take(OutgoingList *list, int mid)
{
    for (Outgoing **at = &list->first; *at; at = &(*at)->next)
        if ((*at)->mid == mid)
            return take_at(list, at);
    return NULL;
}

void outgoing_clear(OutgoingList *list)
{
    for (Outgoing *message; (message = outgoing_take_first(list));)
        free(message);
}

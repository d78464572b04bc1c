/* Messages on their way to the broker, in order. For mqtt_link.c only. */
#pragma once

#include "common/cleanup.h"
#include "common/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Outgoing {
    struct Outgoing *next;
    uint64_t tag;
    int mid;         /* libmosquitto's number for it, once it is sent */
    int64_t sent_ms; /* on the monotonic clock */
    bool retain;
    char traceparent[TRACEPARENT_SIZE]; /* of the thread that made it; "": none */
    const char *topic;                  /* behind the payload */
    size_t size;
    char payload[];
} Outgoing;

typedef struct OutgoingList {
    Outgoing *first, **end;
} OutgoingList;

/* Copies topic and payload. The caller frees with free(). NULL when out of memory. */
Outgoing *outgoing_new(const char *topic, const void *payload, size_t size, bool retain, uint64_t tag);

void outgoing_init(OutgoingList *list);
void outgoing_append(OutgoingList *list, Outgoing *message); /* takes it over */
void outgoing_clear(OutgoingList *list);                     /* frees all */

/* Both hand the message over, or return NULL. */
Outgoing *outgoing_take_first(OutgoingList *list);
Outgoing *outgoing_take(OutgoingList *list, int mid);

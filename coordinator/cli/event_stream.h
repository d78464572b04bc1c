/* Reads a stream of server-sent events (WHATWG HTML, section 9.2.6) as it comes in, in pieces of any size. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

#define EVENT_LINE_MAX 65536 /* bytes; a longer line is an error */
#define EVENT_NAME_SIZE 32
#define EVENT_ID_SIZE 64

typedef struct EventStream {
    char name[EVENT_NAME_SIZE];  /* of the event that is coming in; "" means message */
    char id[EVENT_ID_SIZE];      /* of the last whole event: what to go on from */
    char next_id[EVENT_ID_SIZE]; /* of the event that is coming in */
    char *data, *line;
    size_t data_size, line_size;
    bool begun, after_cr;
    /* Takes a whole event. Not 0 ends the stream, and is returned. */
    int (*on_event)(void *userdata, const char *name, const char *data);
    void *userdata;
} EventStream;

/* What on_event returned, -EMSGSIZE for a line or event that is too long, or -ENOMEM. A zeroed stream with
 * on_event is ready. */
int event_stream_feed(EventStream *stream, const char *bytes, size_t size) MUST_CHECK;

/* Frees, and forgets what was not whole; id stays. */
void event_stream_reset(EventStream *stream);

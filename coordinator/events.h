/* What happens, told to whoever listens: the ring behind GET /events.
 *
 * Events are kept in order in a ring of bounded length and size; a reader has only a place in it. One that
 * falls behind the ring is cut off, so that nobody's slowness costs memory. All functions may be called from
 * any thread. */
#pragma once

#include "common/http_server.h"
#include "protocol/ident.h"

#include <stdbool.h>
#include <stdint.h>

#define EVENTS_KEPT_MAX 4096
#define EVENT_SIZE_MAX (HTTP_STREAM_MIN - 256) /* with the greeting before it, it fits */
#define EVENTS_BYTES_MAX ((size_t)4 * 1024 * 1024)
#define EVENTS_READERS_MAX 128
#define EVENTS_READERS_USER_MAX 64 /* of one user */
#define EVENTS_BEAT_MS 15000
#define EVENTS_PATIENCE_MS 60000

typedef struct Events Events;

typedef enum EventKind { EVENT_CLIENT, EVENT_REQUEST, EVENT_BATCH } EventKind;

typedef struct Event {
    EventKind kind;
    const char *client;  /* whose it is: for the filter; NULL: nobody's */
    const char *request; /* NULL: none */
    const char *batch;   /* NULL: none */
    const char *maker;   /* of a batch: for the filter; NULL: none */
    const char *json;    /* one line */
} Event;

/* Who listens, and to what. */
typedef struct EventReader {
    char request[UPLOAD_ID_SIZE]; /* "": all */
    char batch[UPLOAD_ID_SIZE];   /* "": all */
    int64_t until_unix_ms;        /* the stream ends then; 0: never */
    const char *user;             /* kept, not copied: lives as long as grant; "" is a user too */
    /* Whether this reader may see the event. Called with a lock held: it must not call back. */
    bool (*may_see)(const void *grant, const Event *event);
    void *grant;
    void (*free_grant)(void *grant);
} EventReader;

/* now_unix_ms also makes the ids of this life different from those of the last. 0 or a negative errno. */
int events_new(int64_t now_unix_ms, Events **ret_events) MUST_CHECK;

/* Ends all streams; before http_server_free(), which must be over before events_free(). */
void events_close(Events *events);
Events *events_free(Events *events); /* returns NULL */

/* Whether it is worth the work to make an event of what has just happened: somebody listens, or did so a
 * minute ago and may come back. If not, those who come back have a gap. */
bool events_wanted(Events *events);

/* Keeps and sends it. One that is larger than EVENT_SIZE_MAX becomes a "reset" for those who may see it: they
 * load anew. Out of memory, the readers are cut off, and load anew when they come back. */
void events_tell(Events *events, const Event *event);

/* The same for one reader alone, as events_listen() gave it: in its place among the others' events, but not
 * kept. The last one counts. Before the source is given away. */
void events_tell_one(const HttpSource *source, const Event *event);

/* About once a second: heartbeats, and the end of streams whose token has ended or whose peer has gone. */
void events_tick(Events *events, int64_t now_monotonic_ms, int64_t now_unix_ms);

/* The body of an answer to GET /events. last_id is what the reader has seen, or NULL: it begins with what
 * comes. Takes the wish's grant over, also when it fails. 0, -EBUSY when there are too many readers,
 * -EUSERS when too many of them are this user's, or -ENOMEM. */
int events_listen(Events *events, const EventReader *wish, const char *last_id,
                  HttpSource *ret_source) MUST_CHECK;

size_t events_reader_count(Events *events);

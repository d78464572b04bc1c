#include "coordinator/events.h"

#include "common/text.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define HELLO "retry: 2000\n\n"
#define BEAT ":\n\n"

typedef struct Kept {
    EventKind kind;
    char client[CLIENT_ID_SIZE], request[UPLOAD_ID_SIZE], batch[UPLOAD_ID_SIZE];
    char maker[USER_NAME_SIZE];
    char *text; /* as it is sent */
    size_t size;
} Kept;

typedef struct Reader {
    Events *events;
    EventReader wish;
    HttpStream *stream; /* NULL until it has asked for the first time */
    uint64_t next;      /* number of the event that it is to see next */
    bool begun, reset_due, beat_due, over;
    char *own;       /* an event for it alone, as it is sent; NULL: none */
    uint64_t own_at; /* before the event of that number */
    struct Reader *later, *before;
} Reader;

struct Events {
    pthread_mutex_t mutex;
    int64_t life;
    uint64_t first, end; /* numbers of the oldest that is kept, and of the one to come */
    size_t bytes;
    bool closed, heard;                /* heard: there was a reader since the last tick */
    int64_t now_ms, beat_ms, heard_ms; /* monotonic: the last tick, heartbeat, and tick with a reader */
    Reader *readers;
    size_t reader_count;
    Kept ring[EVENTS_KEPT_MAX]; /* event n is at n % EVENTS_KEPT_MAX */
};

static void unlock(pthread_mutex_t **mutex)
{
    (void)pthread_mutex_unlock(*mutex);
}

/* Until the end of the scope. */
#define LOCKED(events)                                                                                       \
    pthread_mutex_t *locked_ CLEANUP(unlock) = &(events)->mutex;                                             \
    (void)pthread_mutex_lock(locked_)

int events_new(int64_t now_unix_ms, Events **ret_events)
{
    Events *events = calloc(1, sizeof(*events));
    if (!events)
        return -ENOMEM;
    events->life = now_unix_ms;
    events->first = events->end = 1;
    events->heard_ms = -EVENTS_PATIENCE_MS;
    int r = -pthread_mutex_init(&events->mutex, NULL);
    if (r < 0) {
        free(events);
        return r;
    }
    *ret_events = events;
    return 0;
}

static void drop_oldest(Events *events)
{
    Kept *kept = &events->ring[events->first++ % EVENTS_KEPT_MAX];
    events->bytes -= kept->size;
    free(kept->text);
    *kept = (Kept){0};
}

Events *events_free(Events *events)
{
    if (!events)
        return NULL;
    while (events->first < events->end)
        drop_oldest(events);
    (void)pthread_mutex_destroy(&events->mutex);
    free(events);
    return NULL;
}

static void wake_all(Events *events)
{
    for (Reader *reader = events->readers; reader; reader = reader->later)
        if (reader->stream)
            http_stream_wake(reader->stream);
}

void events_close(Events *events)
{
    if (!events)
        return;
    LOCKED(events);
    events->closed = true;
    wake_all(events);
}

size_t events_reader_count(Events *events)
{
    LOCKED(events);
    return events->reader_count;
}

/* --- telling --- */

static const char *kind_name(EventKind kind)
{
    switch (kind) {
    case EVENT_CLIENT:
        return "client";
    case EVENT_REQUEST:
        return "request";
    case EVENT_BATCH:
        break;
    }
    return "batch";
}

static void copy_id(char *out, size_t size, const char *id)
{
    (void)snprintf(out, size, "%s", id ? id : "");
}

static void forget_all(Events *events)
{
    while (events->first < events->end)
        drop_oldest(events);
    events->first = ++events->end; /* a gap: whoever has seen all before it must load anew */
}

bool events_wanted(Events *events)
{
    LOCKED(events);
    bool wanted = events->heard || events->now_ms - events->heard_ms < EVENTS_PATIENCE_MS;
    if (!wanted)
        forget_all(events);
    return wanted;
}

/* As the event of that number is sent; NULL when out of memory. */
static char *event_text(const Events *events, uint64_t number, const char *name, const char *json)
{
    return text_format("id: %" PRId64 "-%" PRIu64 "\nevent: %s\ndata: %s\n\n", events->life, number, name,
                       json);
}

static char *bounded_text(const Events *events, uint64_t number, const Event *event)
{
    char *text = event_text(events, number, kind_name(event->kind), event->json);
    if (text && strlen(text) > EVENT_SIZE_MAX) {
        free(text);
        text = event_text(events, number, "reset", "{}");
    }
    return text;
}

void events_tell(Events *events, const Event *event)
{
    LOCKED(events);
    char *text = bounded_text(events, events->end, event);
    if (!text) {
        forget_all(events);
        return;
    }
    size_t size = strlen(text);
    while (events->end - events->first >= EVENTS_KEPT_MAX ||
           (events->first < events->end && events->bytes + size > EVENTS_BYTES_MAX))
        drop_oldest(events);
    Kept *kept = &events->ring[events->end++ % EVENTS_KEPT_MAX];
    kept->kind = event->kind;
    kept->text = text;
    kept->size = size;
    copy_id(kept->client, sizeof(kept->client), event->client);
    copy_id(kept->request, sizeof(kept->request), event->request);
    copy_id(kept->batch, sizeof(kept->batch), event->batch);
    copy_id(kept->maker, sizeof(kept->maker), event->maker);
    events->bytes += size;
    wake_all(events);
}

void events_tick(Events *events, int64_t now_monotonic_ms, int64_t now_unix_ms)
{
    LOCKED(events);
    events->now_ms = now_monotonic_ms;
    if (events->heard)
        events->heard_ms = now_monotonic_ms;
    events->heard = events->reader_count > 0;
    bool beat = now_monotonic_ms - events->beat_ms >= EVENTS_BEAT_MS;
    if (beat)
        events->beat_ms = now_monotonic_ms;
    for (Reader *reader = events->readers; reader; reader = reader->later) {
        reader->beat_due |= beat;
        reader->over |= (reader->wish.until_unix_ms != 0 && now_unix_ms >= reader->wish.until_unix_ms) ||
                        (reader->stream && http_stream_is_deserted(reader->stream));
        if (reader->stream && (reader->beat_due || reader->over))
            http_stream_wake(reader->stream);
    }
}

/* --- listening --- */

static bool is_wanted(const char *wanted, const char *id)
{
    return !wanted[0] || (id && strcmp(wanted, id) == 0);
}

static bool is_for(const Reader *reader, const Event *event)
{
    const EventReader *wish = &reader->wish;
    return is_wanted(wish->request, event->request) && is_wanted(wish->batch, event->batch) &&
           wish->may_see(wish->grant, event);
}

static Event event_of(const Kept *kept)
{
    return (Event){.kind = kept->kind,
                   .client = kept->client[0] ? kept->client : NULL,
                   .request = kept->request[0] ? kept->request : NULL,
                   .batch = kept->batch[0] ? kept->batch : NULL,
                   .maker = kept->kind == EVENT_BATCH ? kept->maker : NULL};
}

/* Whoever comes back with its number has seen all that was told before it. */
void events_tell_one(const HttpSource *source, const Event *event)
{
    Reader *reader = source->userdata;
    Events *events = reader->events;
    LOCKED(events);
    if (!is_for(reader, event))
        return;
    free(reader->own);
    reader->own = bounded_text(events, events->end - 1, event);
    reader->own_at = events->end;
    reader->over |= !reader->own; /* it comes back, and is told then */
}

/* Without a NUL behind it. */
static size_t append(char *buf, size_t used, const char *text, size_t size)
{
    memcpy(buf + used, text, size);
    return used + size;
}

/* What comes before events: the greeting, with a place to come back to even before the first event; or that
 * there is a gap. */
static size_t begin(Reader *reader, char *buf)
{
    char place[96];
    size_t used = 0;
    if (!reader->begun)
        used = append(buf, used, HELLO, sizeof(HELLO) - 1);
    if (!reader->begun || reader->reset_due) {
        (void)snprintf(place, sizeof(place), "id: %" PRId64 "-%" PRIu64 "\n%s\n", reader->events->life,
                       reader->next - 1, reader->reset_due ? "event: reset\ndata: {}\n" : "");
        used = append(buf, used, place, strlen(place));
    }
    reader->begun = true;
    reader->reset_due = false;
    return used;
}

/* false: there is no room for it. */
static bool append_whole(char *buf, size_t *used, size_t max, const char *text, size_t size)
{
    if (*used + size > max)
        return false;
    *used = append(buf, *used, text, size);
    return true;
}

static bool append_own(Reader *reader, char *buf, size_t *used, size_t max)
{
    if (!append_whole(buf, used, max, reader->own, strlen(reader->own)))
        return false;
    free(reader->own);
    reader->own = NULL;
    return true;
}

static bool append_next(Reader *reader, char *buf, size_t *used, size_t max)
{
    const Kept *kept = &reader->events->ring[reader->next % EVENTS_KEPT_MAX];
    const Event event = event_of(kept);
    if (is_for(reader, &event) && !append_whole(buf, used, max, kept->text, kept->size))
        return false;
    reader->next++;
    return true;
}

/* Whole events only, as many as there is room for. */
static ssize_t read_events(void *userdata, HttpStream *stream, char *buf, size_t max)
{
    Reader *reader = userdata;
    Events *events = reader->events;
    LOCKED(events);
    reader->stream = stream;
    if (events->closed || reader->over || reader->next < events->first)
        return -1;
    size_t used = begin(reader, buf);
    bool room = true;
    while (room && (reader->own || reader->next < events->end))
        room = reader->own && reader->next >= reader->own_at ? append_own(reader, buf, &used, max)
                                                             : append_next(reader, buf, &used, max);
    if (used == 0 && reader->beat_due)
        used = append(buf, used, BEAT, sizeof(BEAT) - 1);
    reader->beat_due = false;
    if (used == 0)
        http_stream_sleep(stream);
    return (ssize_t)used;
}

static void leave(void *userdata)
{
    Reader *reader = userdata;
    Events *events = reader->events;
    {
        LOCKED(events);
        if (reader->before)
            reader->before->later = reader->later;
        else
            events->readers = reader->later;
        if (reader->later)
            reader->later->before = reader->before;
        events->reader_count--;
    }
    reader->wish.free_grant(reader->wish.grant);
    free(reader->own);
    free(reader);
}

/* 0, or why there is no place for one more. */
static int refusal(const Events *events, const char *user)
{
    size_t own = 0;
    if (events->closed || events->reader_count >= EVENTS_READERS_MAX)
        return -EBUSY;
    for (const Reader *reader = events->readers; reader; reader = reader->later)
        own += strcmp(reader->wish.user, user) == 0;
    return own >= EVENTS_READERS_USER_MAX ? -EUSERS : 0;
}

/* Where a reader goes on that has seen last_id; it has a gap if what followed is gone or of another life. */
static void take_place(const Events *events, Reader *reader, const char *last_id)
{
    char expected[32];
    uint64_t number = 0;
    reader->next = events->end;
    if (!last_id)
        return;
    int length = snprintf(expected, sizeof(expected), "%" PRId64 "-", events->life);
    bool known = strncmp(last_id, expected, (size_t)length) == 0 && text_to_u64(last_id + length, &number) &&
                 number + 1 >= events->first && number < events->end;
    if (known)
        reader->next = number + 1;
    else
        reader->reset_due = true;
}

int events_listen(Events *events, const EventReader *wish, const char *last_id, HttpSource *ret_source)
{
    Reader *reader = calloc(1, sizeof(*reader));
    int r = reader ? 0 : -ENOMEM;
    if (r == 0) {
        LOCKED(events);
        r = refusal(events, wish->user);
        if (r == 0) {
            *reader = (Reader){.events = events, .wish = *wish, .later = events->readers};
            take_place(events, reader, last_id);
            if (reader->later)
                reader->later->before = reader;
            events->readers = reader;
            events->reader_count++;
            events->heard = true;
        }
    }
    if (r < 0) {
        wish->free_grant(wish->grant);
        free(reader);
        return r;
    }
    *ret_source = (HttpSource){.read = read_events, .free = leave, .userdata = reader};
    return 0;
}

/* Batches on their way, second by second. */
#include "coordinator/batch.h"
#include "coordinator/control_internal.h"

#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define CANCELS_PER_TICK 200
#define ASKED_PER_TURN 50 /* then REST has its turn: each is written, signed and published */
#define MILLI 1000

/* --- what is in memory --- */

int batch_compare(const void *item, const void *key)
{
    return strcmp(((const Busy *)item)->id, key);
}

Busy *batch_note(Control *control, const char *id)
{
    Busy *busy = sorted_find(&control->batches, id);
    if (busy)
        return busy;
    busy = calloc(1, sizeof(*busy));
    if (!busy)
        return NULL;
    (void)snprintf(busy->id, sizeof(busy->id), "%s", id);
    busy->credited_ms = control->config.monotonic_ms();
    if (sorted_insert(&control->batches, id, busy) == 0)
        return busy;
    free(busy);
    return NULL;
}

void batch_forget(Control *control, const char *id)
{
    if (sorted_find(&control->batches, id))
        free(sorted_take(&control->batches, sorted_position(&control->batches, id)));
}

/* Without memory the readers see it when they look. */
void batch_touch(Control *control, const char *id)
{
    Busy *busy = batch_note(control, id);
    if (busy)
        busy->changed = true;
}

static int load_batch(void *userdata, const Batch *batch)
{
    Busy *busy = batch_note(userdata, batch->id);
    if (!busy)
        return -ENOMEM;
    memcpy(busy->maker, batch->maker, sizeof(busy->maker));
    busy->unasked = batch->end == BATCH_GOES_ON ? batch->counts.unasked : 0;
    return 0;
}

int batch_load(Control *control)
{
    return store_each_busy_batch(control->config.store, load_batch, control);
}

/* --- asking --- */

/* How many may be asked now: what the ramp allows since the last time, never more than it does in a second.
 */
static size_t take_credit(const Control *control, Busy *busy, uint64_t ramp, size_t room)
{
    int64_t now_ms = control->config.monotonic_ms();
    busy->credit += (uint64_t)(now_ms - busy->credited_ms) * ramp;
    busy->credited_ms = now_ms;
    if (busy->credit > ramp * MILLI)
        busy->credit = ramp * MILLI;
    size_t count = (size_t)(busy->credit / MILLI);
    count = count < room ? count : room;
    busy->credit -= count * MILLI;
    return count;
}

static void fill_request(Control *control, const Batch *batch, Request *request)
{
    memset(request, 0, sizeof(*request));
    (void)snprintf(request->batch, sizeof(request->batch), "%s", batch->id);
    (void)snprintf(request->traceparent, sizeof(request->traceparent), "%s", batch->traceparent);
    (void)snprintf(request->path, sizeof(request->path), "%s", batch->path);
    (void)snprintf(request->receiver, sizeof(request->receiver), "%s", batch->receiver);
    request->origin = ORIGIN_REST;
    request->state = UPLOAD_QUEUED;
    request->max_size_bytes = batch->max_size_bytes;
    request->rate_bytes_per_s = batch->rate_bytes_per_s;
    request->created_ms = request->updated_ms = control->config.unix_ms();
    request->expires_ms = request->created_ms + (int64_t)batch->life_ms;
}

static void name_part(Request *request, const BatchPart *part)
{
    memcpy(request->client, part->client, sizeof(request->client));
    memcpy(request->id, part->id, sizeof(request->id));
}

/* They are in memory before they are written, for what is written must be followed. Returns how many are. */
static size_t open_parts(Control *control, Request *request, BatchPart *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        upload_id_new(parts[i].id);
        name_part(request, &parts[i]);
        if (control_add_open(control, request) < 0)
            return i;
    }
    return count;
}

static void refuse_part(Control *control, const BatchPart *part)
{
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!request || store_get_request(control->config.store, part->client, part->id, request) != 0)
        return;
    Problem problem;
    (void)ask_client_full(&problem, part->client);
    if (control_change(control, request, REQUEST_EVENT_REJECTED, &problem) < 0)
        log_at(LOG_LEVEL_WARN, part->client, part->id, "one more than its client should have stays open");
}

static void publish_parts(Control *control, Request *request, const BatchPart *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (control_has_open(control, parts[i].client, OPEN_REQUESTS_PER_CLIENT_MAX + 1)) {
            refuse_part(control, &parts[i]);
            continue;
        }
        name_part(request, &parts[i]);
        command_publish(control, control_open(control, request->client, request->id), request);
        log_at(LOG_LEVEL_INFO, request->client, request->id, "queued: %s", request->path);
        tell_request(control, request);
    }
}

/* The next count clients. What fails is tried again at the next tick. Returns how many were asked. */
static size_t ask(Control *control, Busy *busy, const Batch *batch, size_t count)
{
    BatchPart *parts CLEANUP(free_ptr) = calloc(count, sizeof(*parts));
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!parts || !request || store_next_in_batch(control->config.store, batch, parts, count, &count) < 0)
        return 0;
    fill_request(control, batch, request);
    count = open_parts(control, request, parts, count);
    if (count == 0)
        return 0;
    if (store_ask_batch(control->config.store, batch, request, parts, count) < 0) {
        for (size_t i = 0; i < count; i++)
            control_drop_open(control, parts[i].client, parts[i].id);
        return 0;
    }
    busy->unasked -= count < busy->unasked ? count : busy->unasked;
    busy->changed = true;
    publish_parts(control, request, parts, count);
    return count;
}

static void stop(Control *control, Busy *busy, Batch *batch)
{
    if (store_end_batch(control->config.store, batch, BATCH_STOPPED) < 0)
        return;
    batch->end = BATCH_STOPPED;
    busy->unasked = 0;
    busy->changed = true;
    log_at(LOG_LEVEL_WARN, NULL, batch->id,
           "%" PRIu64 " of the batch have failed: %" PRIu64 " clients are not asked any more",
           batch->counts.failed, batch->counts.unasked);
}

/* --- cancelling --- */

/* Returns whether there may be more. */
static bool cancel_some(Control *control, Busy *busy, const Batch *batch)
{
    size_t count = 0;
    BatchPart *parts CLEANUP(free_ptr) = calloc(CANCELS_PER_TICK, sizeof(*parts));
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!parts || !request ||
        store_cancel_batch(control->config.store, batch, control->config.unix_ms(), parts, CANCELS_PER_TICK,
                           &count) < 0)
        return true;
    busy->unasked = 0;
    fill_request(control, batch, request);
    for (size_t i = 0; i < count; i++) {
        Open *open = control_open(control, parts[i].client, parts[i].id);
        if (open)
            open->cancel_asked = true;
        name_part(request, &parts[i]);
        command_publish_cancel(control, request);
        log_at(LOG_LEVEL_INFO, parts[i].client, parts[i].id, "cancel asked");
        if (open)
            tell_progress(control, open);
    }
    return count == CANCELS_PER_TICK;
}

/* --- the tick --- */

static bool is_failing(const Batch *batch)
{
    return batch->max_failures > 0 && batch->counts.failed >= batch->max_failures;
}

/* One turn of asking: some clients of each batch, at most room in all. Returns how many were asked. */
static size_t ask_some(Control *control, Batch *batch, size_t room)
{
    LOCKED(control);
    size_t asked = 0;
    for (size_t i = 0; i < control->batches.count && asked < room; i++) {
        Busy *busy = control->batches.items[i];
        if (busy->unasked == 0 || store_get_batch(control->config.store, busy->id, batch) != 0 ||
            batch->end != BATCH_GOES_ON || is_failing(batch))
            continue;
        TRACED(batch->traceparent);
        size_t count = take_credit(control, busy, batch->ramp, room - asked);
        if (count > 0)
            asked += ask(control, busy, batch, count);
    }
    return asked;
}

/* false: there is nothing more to be done for it. */
static bool advance(Control *control, Busy *busy, Batch *batch)
{
    TRACED(batch->traceparent);
    if (batch->end == BATCH_CANCELLED)
        return cancel_some(control, busy, batch);
    if (batch->end == BATCH_GOES_ON && batch->counts.unasked > 0 && is_failing(batch))
        stop(control, busy, batch);
    return batch->end == BATCH_GOES_ON && batch->counts.unasked > 0;
}

static void settle(Control *control, Batch *batch)
{
    LOCKED(control);
    for (size_t i = 0; i < control->batches.count;) {
        Busy *busy = control->batches.items[i];
        int r = store_get_batch(control->config.store, busy->id, batch);
        bool more = r < 0 || (r == 0 && advance(control, busy, batch));
        if (busy->changed && store_get_batch(control->config.store, busy->id, batch) == 0)
            tell_batch(control, batch);
        busy->changed = false;
        if (more)
            i++;
        else
            free(sorted_take(&control->batches, i));
    }
}

void batch_tick(Control *control, bool room_at_broker)
{
    Batch *batch CLEANUP(free_ptr) = malloc(sizeof(*batch));
    if (!batch)
        return;
    size_t room = room_at_broker ? BATCH_RAMP_MAX : 0, asked = 1;
    for (; room > 0 && asked > 0; room -= asked)
        asked = ask_some(control, batch, room < ASKED_PER_TURN ? room : ASKED_PER_TURN);
    settle(control, batch);
}

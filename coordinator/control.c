#include "coordinator/control_internal.h"

#include "common/json.h"
#include "common/log.h"
#include "common/text.h"
#include "common/throttle.h"
#include "protocol/topic.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* --- what is in memory --- */

static int compare_known(const void *item, const void *key)
{
    return strcmp(((const Known *)item)->client.id, key);
}

static int compare_open(const void *item, const void *key)
{
    const Open *open = item;
    const RequestKey *wanted = key;
    int order = strcmp(open->client, wanted->client);
    return order != 0 ? order : strcmp(open->id, wanted->id);
}

static void free_known(void *item)
{
    Known *known = item;
    free(known->client.labels);
    free(known);
}

Known *control_known(Control *control, const char *client)
{
    return sorted_find(&control->clients, client);
}

Open *control_open(Control *control, const char *client, const char *id)
{
    return sorted_find(&control->open, &(RequestKey){client, id});
}

size_t control_open_range(const Control *control, const char *client, size_t *ret_first)
{
    size_t first = sorted_position(&control->open, &(RequestKey){client, ""});
    size_t end = first;
    while (end < control->open.count && strcmp(((const Open *)control->open.items[end])->client, client) == 0)
        end++;
    *ret_first = first;
    return end - first;
}

bool control_has_open(const Control *control, const char *client, size_t count)
{
    size_t last = sorted_position(&control->open, &(RequestKey){client, ""}) + count - 1;
    return last < control->open.count &&
           strcmp(((const Open *)control->open.items[last])->client, client) == 0;
}

size_t control_room(const Control *control)
{
    uint64_t taken = control->open.count;
    for (size_t i = 0; i < control->batches.count; i++)
        taken += ((const Busy *)control->batches.items[i])->unasked;
    return taken < OPEN_REQUESTS_MAX ? (size_t)(OPEN_REQUESTS_MAX - taken) : 0;
}

/* Its command is due at once, its receipt is not expected yet. */
int control_add_open(Control *control, const Request *request)
{
    Open *open = calloc(1, sizeof(*open));
    if (!open)
        return -ENOMEM;
    (void)snprintf(open->client, sizeof(open->client), "%s", request->client);
    (void)snprintf(open->id, sizeof(open->id), "%s", request->id);
    (void)snprintf(open->traceparent, sizeof(open->traceparent), "%s", request->traceparent);
    open->origin = request->origin;
    open->state = request->state;
    open->cancel_asked = request->cancel_asked;
    open->has_size = request->has_size;
    open->size_bytes = request->size_bytes;
    open->sent_bytes = request->sent_bytes;
    open->expires_ms = request->expires_ms;
    int r = sorted_insert(&control->open, &(RequestKey){open->client, open->id}, open);
    if (r < 0)
        free(open);
    return r;
}

void control_drop_open(Control *control, const char *client, const char *id)
{
    RequestKey key = {client, id};
    if (sorted_find(&control->open, &key))
        free(sorted_take(&control->open, sorted_position(&control->open, &key)));
}

void control_overlay_progress(Control *control, Request *request)
{
    const Open *open = control_open(control, request->client, request->id);
    if (!open)
        return;
    request->sent_bytes = open->sent_bytes;
    request->has_size = open->has_size;
    request->size_bytes = open->size_bytes;
}

/* --- life --- */

static int load_client(void *userdata, const Client *client)
{
    Control *control = userdata;
    Known *known = calloc(1, sizeof(*known));
    if (!known)
        return -ENOMEM;
    known->client = *client;
    known->client.online = false; /* retained presence says who is, as soon as we are connected */
    known->client.labels = text_format("%s", client->labels);
    known->saved_ms = control->config.unix_ms();
    int r = known->client.labels ? sorted_insert(&control->clients, known->client.id, known) : -ENOMEM;
    if (r < 0)
        free_known(known);
    return r;
}

static int load_request(void *userdata, const Request *request)
{
    int r = control_add_open(userdata, request);
    return r == -ENOBUFS ? 0 : r; /* it is followed after a later start; better than not to start at all */
}

int control_new(const ControlConfig *config, Control **ret_control)
{
    Control *control = calloc(1, sizeof(*control));
    if (!control)
        return -ENOMEM;
    control->config = *config;
    control->clients = (Sorted){.compare = compare_known, .max = CLIENTS_MAX};
    control->open = (Sorted){.compare = compare_open, .max = OPEN_REQUESTS_MAX};
    control->doubts = (Sorted){.compare = command_compare_doubt, .max = OPEN_REQUESTS_MAX};
    control->removals = (Sorted){.compare = command_compare_doubt, .max = OPEN_REQUESTS_MAX};
    control->batches = (Sorted){.compare = batch_compare, .max = OPEN_REQUESTS_MAX};
    int r = turns_init(&control->turns);
    if (r < 0) {
        free(control);
        return r;
    }
    r = store_each_client(config->store, load_client, control);
    if (r == 0)
        r = store_each_open_request(config->store, load_request, control);
    if (r == 0)
        r = command_load_doubts(control);
    if (r == 0)
        r = removal_load(control);
    if (r == 0)
        r = batch_load(control);
    if (r < 0) {
        (void)control_free(control);
        return r;
    }
    log_info("%zu clients and %zu open requests are known", control->clients.count, control->open.count);
    *ret_control = control;
    return 0;
}

Control *control_free(Control *control)
{
    if (!control)
        return NULL;
    sorted_deinit(&control->clients, free_known);
    sorted_deinit(&control->open, free);
    sorted_deinit(&control->doubts, free);
    sorted_deinit(&control->batches, free);
    sorted_deinit(&control->removals, free);
    turns_deinit(&control->turns);
    free(control);
    return NULL;
}

/* --- changes --- */

static void stamp(Control *control, Request *request, UploadState next)
{
    int64_t now_ms = control->config.unix_ms();
    request->updated_ms = now_ms;
    if (request->created_ms == 0) {
        request->created_ms = now_ms;
        request->expires_ms = now_ms + (int64_t)control->config.expires_ms;
    }
    if (request->started_ms == 0 &&
        (next == UPLOAD_ACCEPTED || next == UPLOAD_RUNNING || next == UPLOAD_COMPLETED))
        request->started_ms = now_ms;
    if (next == UPLOAD_COMPLETED)
        request->completed_ms = now_ms;
}

static void count_change(const Request *request, UploadState before)
{
    if (request->state == before || !request_is_final(request->state))
        return;
    counter_add(&figures.ended[request->state], 1);
    if (request->state == UPLOAD_COMPLETED)
        histogram_observe(&figures.duration, request->completed_ms - request->created_ms);
    else if (request->state == UPLOAD_REJECTED || request->state == UPLOAD_FAILED)
        figures_count_failure(request->problem.reason);
}

static void log_change(const Request *request, UploadState before)
{
    if (request->state == before)
        return;
    const Problem *problem = &request->problem;
    if (problem->code == ERROR_NONE)
        log_at(LOG_LEVEL_INFO, request->client, request->id, "%s", upload_state_name(request->state));
    else
        log_at(LOG_LEVEL_INFO, request->client, request->id, "%s: %s: %s", upload_state_name(request->state),
               problem->reason, problem->message);
}

/* After a successful write. Without memory for an entry the request is followed again after the next start.
 */
static void keep_in_step(Control *control, const Request *request)
{
    Open *open = control_open(control, request->client, request->id);
    if (request_is_final(request->state)) {
        control_drop_open(control, request->client, request->id);
    } else if (open) {
        open->state = request->state;
        open->cancel_asked = request->cancel_asked;
    } else if (control_add_open(control, request) < 0) {
        log_at(LOG_LEVEL_ERROR, request->client, request->id, "too many open requests to follow this one");
    }
}

int control_change(Control *control, Request *request, RequestEvent event, const Problem *problem)
{
    TRACED(request->traceparent);
    UploadState before = request->state;
    UploadState next = request_next(before, event);
    stamp(control, request, next);
    request->state = next;
    if (problem)
        request->problem = *problem;
    const char *name = request_event_name(event);
    bool durable = request_must_last(next, event);
    int r = request->seq == 0 ? store_add_request(control->config.store, request, name)
                              : store_update_request(control->config.store, request, name, durable);
    if (r < 0)
        return r;
    keep_in_step(control, request);
    count_change(request, before);
    log_change(request, before);
    tell_request(control, request);
    if (request->batch[0] && request->state != before)
        batch_touch(control, request->batch);
    return 0;
}

/* --- from the broker and the clock --- */

void control_on_connection(Control *control, bool connected)
{
    LOCKED(control);
    control->connected = connected;
    if (!connected)
        return;
    follow_reconnect(control);
    command_wake_all(control);
    removal_wake(control);
}

bool control_is_connected(Control *control)
{
    LOCKED(control);
    return control->connected;
}

int control_check_store(Control *control)
{
    LOCKED(control);
    return store_check(control->config.store, control->config.monotonic_ms());
}

void control_count(Control *control, FiguresNow *now)
{
    LOCKED(control);
    for (size_t i = 0; i < control->clients.count; i++)
        now->clients_online += ((const Known *)control->clients.items[i])->client.online;
    now->clients_offline = control->clients.count - now->clients_online;
    for (size_t i = 0; i < control->open.count; i++)
        now->open[((const Open *)control->open.items[i])->state]++;
    now->batches_active = control->batches.count;
    now->receipts_asked = control->doubts.count;
    now->broker_connected = control->connected;
}

static void on_status(Control *control, const Topic *topic, const void *payload, size_t size)
{
    UploadStatus status;
    if (upload_status_parse(payload, size, &status) < 0) {
        log_at(LOG_LEVEL_WARN, topic->client, topic->upload, "dropped a status that is not valid");
        return;
    }
    LOCKED(control);
    follow_status(control, topic->client, topic->upload, &status);
}

/* An empty message is how a retained one is deleted: a device that was retired. */
static void on_presence(Control *control, const Topic *topic, const void *payload, size_t size, bool retained)
{
    Presence presence CLEANUP(presence_free) = {0};
    if (size > 0 && presence_parse(payload, size, &presence) < 0) {
        log_at(LOG_LEVEL_WARN, topic->client, NULL, "dropped a presence that is not valid");
        return;
    }
    LOCKED(control);
    if (size > 0 || control_known(control, topic->client))
        follow_presence(control, topic->client, &presence, retained);
}

/* "stored" is not signed, so it is shown only if it is a file in this upload's own folder. */
static void read_stored(const Topic *topic, const void *payload, size_t size,
                        char out[static STORED_PATH_SIZE])
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    char folder[CLIENT_ID_SIZE + UPLOAD_ID_SIZE + 1];
    int length = snprintf(folder, sizeof(folder), "%s/%s/", topic->client, topic->upload);
    char stored[STORED_PATH_SIZE] = "";
    if (object && json_get_string(object, "stored", stored, sizeof(stored)) == JSON_OK &&
        strncmp(stored, folder, (size_t)length) == 0 && !strchr(stored + length, '/'))
        (void)snprintf(out, STORED_PATH_SIZE, "%s", stored);
}

/* The signature is checked without the mutex: it reads nothing that changes. */
static void on_receipt(Control *control, const Topic *topic, const void *payload, size_t size)
{
    char token[TICKET_MAX];
    Receipt receipt;
    if (receipt_message_parse(payload, size, token) < 0) {
        log_at(LOG_LEVEL_WARN, topic->client, topic->upload, "dropped a receipt message that is not valid");
        return;
    }
    int r = receipt_verify(control->config.receipt_keys, token, &receipt);
    if (r != 0) {
        log_at(LOG_LEVEL_WARN, topic->client, topic->upload, "dropped a receipt that proves nothing: %s",
               token_error_text(r));
        return;
    }
    if (strcmp(receipt.client, topic->client) != 0 || strcmp(receipt.upload, topic->upload) != 0) {
        log_at(LOG_LEVEL_WARN, topic->client, topic->upload,
               "dropped a receipt that proves nothing: it is for %s/%s", receipt.client, receipt.upload);
        return;
    }
    char stored[STORED_PATH_SIZE] = "", traceparent[TRACEPARENT_SIZE];
    read_stored(topic, payload, size, stored);
    message_traceparent(payload, size, traceparent);
    LOCKED(control);
    follow_receipt(control, &receipt, stored, traceparent);
}

/* As with a receipt. */
static void on_removed(Control *control, const Topic *topic, const void *payload, size_t size)
{
    char token[TICKET_MAX];
    Removal removal;
    int r = TOKEN_E_INVALID;
    if (removal_message_parse(payload, size, token) == 0)
        r = removal_verify(control->config.receipt_keys, token, &removal);
    if (r == 0 && (strcmp(removal.client, topic->client) != 0 || strcmp(removal.upload, topic->upload) != 0))
        r = TOKEN_E_INVALID;
    if (r != 0) {
        log_at(LOG_LEVEL_WARN, topic->client, topic->upload, "dropped a removal that proves nothing: %s",
               token_error_text(r));
        return;
    }
    LOCKED(control);
    removal_follow(control, &removal);
}

/* A device can make the broker retain any number of them, which then come with each connect. */
static void refuse_retained(const Control *control, const Topic *topic)
{
    static Throttle throttle = THROTTLE_STRANGERS;
    uint64_t left_out = 0;
    if (throttle_pass(&throttle, control->config.monotonic_ms(), &left_out))
        log_at(LOG_LEVEL_WARN, topic->client, topic->upload,
               "dropped a message that the broker has retained: only presence may be (%" PRIu64
               " more since the last such line)",
               left_out);
}

void control_on_message(Control *control, const char *topic_text, const void *payload, size_t size,
                        bool retained)
{
    Topic topic;
    if (topic_parse(topic_text, &topic) != 0 || client_id_is_reserved(topic.client)) {
        log_warn("dropped a message on the topic %s: it names no device or upload", topic_text);
        return;
    }
    if (retained && topic.kind != TOPIC_PRESENCE) {
        refuse_retained(control, &topic);
        return;
    }
    switch (topic.kind) {
    case TOPIC_STATUS:
        on_status(control, &topic, payload, size);
        break;
    case TOPIC_PRESENCE:
        on_presence(control, &topic, payload, size, retained);
        break;
    case TOPIC_RECEIPT:
        on_receipt(control, &topic, payload, size);
        break;
    case TOPIC_REMOVED:
        on_removed(control, &topic, payload, size);
        break;
    case TOPIC_CMD_REMOVE:
    case TOPIC_CMD_UPLOAD:
    case TOPIC_CMD_CANCEL:
    case TOPIC_CMD_RECEIPT:
        break; /* we publish these and do not subscribe to them */
    }
}

#define RETRY_MS 60000      /* after a failed write */
#define EXPIRES_PER_TICK 50 /* each is an fsync, while REST waits for the mutex */

/* Not final after its whole life. A receipt that comes late still completes it, so one is asked for. */
static void expire(Control *control, Open *open)
{
    char client[CLIENT_ID_SIZE], id[UPLOAD_ID_SIZE]; /* open may go */
    memcpy(client, open->client, sizeof(client));
    memcpy(id, open->id, sizeof(id));
    open->expires_ms += RETRY_MS;
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    int r = request ? store_get_request(control->config.store, client, id, request) : -ENOMEM;
    if (r == STORE_E_ABSENT)
        control_drop_open(control, client, id);
    if (r != 0)
        return;
    control_overlay_progress(control, request);
    Problem problem;
    (void)problem_set(&problem, ERROR_DEADLINE_EXCEEDED, "EXPIRED",
                      "The request was not finished in time. Is the device online? Ask again.");
    if (control_change(control, request, REQUEST_EVENT_EXPIRED, &problem) == 0)
        command_ask_receipt(control, request);
}

/* Whether the broker takes more. */
static bool tick_requests(Control *control)
{
    LOCKED(control);
    if (control->connected)
        follow_silence(control);
    int64_t now_ms = control->config.unix_ms();
    bool room = control->connected;
    Window window = {0};
    unsigned expired = 0;
    for (size_t i = 0; i < control->open.count;) {
        Open *open = control->open.items[i];
        size_t before = control->open.count;
        if (now_ms < open->expires_ms)
            room = room && command_tick(control, open, &window);
        else if (expired++ < EXPIRES_PER_TICK)
            expire(control, open);
        if (control->open.count == before)
            i++;
    }
    if (room)
        command_tick_doubts(control);
    if (room)
        removal_tick(control);
    return room;
}

void control_tick(Control *control)
{
    bool room = tick_requests(control);
    batch_tick(control, room);
    LOCKED(control);
    history_tick(control);
}

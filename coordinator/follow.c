/* Messages in: what the agents' statuses and presence and the receivers' receipts change. */
#include "coordinator/control_internal.h"

#include "common/log.h"
#include "common/text.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define HEARTBEAT_SAVE_MS                                                                                    \
    ((int64_t)10 * 60 * 1000) /* a heartbeat is written this often, a change at once                         \
                               */
#define LABELS_TEXT_MAX 4096
#define HEARTBEATS_MISSED 3
#define HEARTBEAT_UNSAID_S 100  /* taken for granted of an agent that does not tell */
#define QUEUE_FULL "QUEUE_FULL" /* the agent's reason */
#define PROGRESS_TOLD_MS 500    /* an agent says it once a second; who says it more often is told of less */
#define PROBLEM_TOLD_MS 50      /* of an attempt that has failed: the next word may be minutes away */
#define PRUNE_EVERY 64          /* rows followed between two looks for old ones */

/* --- status --- */

/* An agent that says how it ended need not say again how far it came. */
static void note_progress(Open *open, RequestEvent event, const UploadStatus *status)
{
    if (event == REQUEST_EVENT_RUNNING || event == REQUEST_EVENT_DONE || status->sent_bytes > 0)
        open->sent_bytes = status->sent_bytes;
    if (status->has_size) {
        open->has_size = true;
        open->size_bytes = status->size_bytes;
    }
}

/* An upload that was not asked for here. NULL if there are too many of them, or no memory. */
static Request *follow_new(Control *control, const char *client, const char *id, const char *path)
{
    if (control_has_open(control, client, OPEN_REQUESTS_PER_CLIENT_MAX) || control_room(control) == 0) {
        log_at(LOG_LEVEL_WARN, client, id, "not followed: too many uploads are not finished");
        return NULL;
    }
    Request *request = calloc(1, sizeof(*request));
    if (!request)
        return NULL;
    (void)snprintf(request->client, sizeof(request->client), "%s", client);
    (void)snprintf(request->id, sizeof(request->id), "%s", id);
    (void)snprintf(request->path, sizeof(request->path), "%s", path);
    request->origin = ORIGIN_MQTT;
    request->state = UPLOAD_QUEUED;
    return request;
}

/* The row, or a new one that is not yet written. NULL when there is nothing to be done. The caller frees. */
static Request *row_of(Control *control, const char *client, const char *id, const char *path)
{
    Request *request = malloc(sizeof(*request));
    int r = request ? store_get_request(control->config.store, client, id, request) : -ENOMEM;
    if (r == 0)
        return request;
    free(request);
    return r == STORE_E_ABSENT ? follow_new(control, client, id, path) : NULL;
}

static void prune(Control *control, const Request *request)
{
    if (request->origin == ORIGIN_MQTT && request->seq % PRUNE_EVERY == 0)
        store_prune_followed(control->config.store, request->client, FOLLOWED_PER_CLIENT_MAX, FOLLOWED_MAX);
}

/* After failed and cancelled the file may be there all the same, when the answer to its last byte was lost.
 */
static void after_status(Control *control, const Request *request, RequestEvent event)
{
    Open *open = control_open(control, request->client, request->id);
    if (open)
        command_heard(control, open);
    if (event == REQUEST_EVENT_DONE && open)
        command_expect_receipt(control, open);
    if (request->state == UPLOAD_FAILED || request->state == UPLOAD_CANCELLED)
        command_ask_receipt(control, request);
    command_release(control, request->client);
}

/* Of a request of ours a full queue means: not now. */
static bool is_put_off(const Request *request, RequestEvent event, const UploadStatus *status)
{
    return request->origin == ORIGIN_REST && !request_is_final(request->state) &&
           event == REQUEST_EVENT_REJECTED && strcmp(status->problem.reason, QUEUE_FULL) == 0;
}

static void put_off(Control *control, Request *request)
{
    Open *open = control_open(control, request->client, request->id);
    if (open)
        command_put_off(control, open);
    if (strcmp(request->problem.reason, QUEUE_FULL) == 0)
        return; /* said already */
    Problem problem;
    (void)problem_set(&problem, ERROR_RESOURCE_EXHAUSTED, QUEUE_FULL,
                      "The device's queue is full; the request waits here until there is room.");
    if (control_change(control, request, REQUEST_EVENT_PUT_OFF, &problem) == 0)
        log_at(LOG_LEVEL_INFO, request->client, request->id, "put off: the device's queue is full");
}

static void change_by_status(Control *control, Request *request, RequestEvent event,
                             const UploadStatus *status)
{
    TRACED(request->traceparent);
    bool is_new = request->seq == 0;
    if (is_put_off(request, event, status)) {
        put_off(control, request);
        return;
    }
    if (!is_new && request_next(request->state, event) == request->state) {
        if (event == REQUEST_EVENT_DONE && request->state != UPLOAD_COMPLETED)
            command_ask_receipt(control, request); /* it is there, but believed lost */
        return;
    }
    if (is_new) {
        request->sent_bytes = status->sent_bytes;
        request->has_size = status->has_size;
        request->size_bytes = status->size_bytes;
    }
    control_overlay_progress(control, request);
    bool keeps_problem = status->problem.code == ERROR_NONE && request->state != UPLOAD_QUEUED;
    const Problem *problem = keeps_problem ? NULL : &status->problem;
    if (control_change(control, request, event, problem) < 0)
        return;
    after_status(control, request, event);
    if (is_new)
        prune(control, request);
}

/* Each is a look into the store, and takes the place of another in the ring. */
static void tell_progress_seldom(Control *control, Open *open, const UploadStatus *status)
{
    int64_t now_ms = control->config.monotonic_ms();
    if (now_ms - open->told_ms < (status->problem.code == ERROR_NONE ? PROGRESS_TOLD_MS : PROBLEM_TOLD_MS))
        return;
    open->told_ms = now_ms;
    tell_progress(control, open);
}

void follow_status(Control *control, const char *client, const char *id, const UploadStatus *status)
{
    RequestEvent event;
    if (!request_event_of_status(status->state, &event))
        return; /* upload_status_parse() lets none through */
    Open *open = control_open(control, client, id);
    if (open) {
        command_heard(control, open);
        note_progress(open, event, status);
        if (request_next(open->state, event) == open->state) { /* once a second for each upload: no store */
            if (event == REQUEST_EVENT_DONE) {
                command_expect_receipt(control, open);
                command_release(control, client);
            } else {
                tell_progress_seldom(control, open, status);
            }
            return;
        }
    }
    Request *request CLEANUP(free_ptr) = row_of(control, client, id, status->path);
    if (request)
        change_by_status(control, request, event, status);
}

/* --- receipt --- */

/* Writes path without doubled slashes and "." components: the same file, said shortest. */
static void tidy(const char *path, char out[static FILE_PATH_MAX + 1])
{
    bool relative = path[0] != '/';
    size_t length = 0;
    while (*path) {
        bool at_start = length == 0 || out[length - 1] == '/'; /* of a component */
        bool is_dot = path[0] == '.' && (path[1] == '/' || path[1] == '\0');
        bool is_double = path[0] == '/' && (relative || length > 0);
        if (at_start && (is_dot || is_double))
            path++;
        else
            out[length++] = *path++;
    }
    out[length] = '\0';
}

/* An agent takes a relative path below a folder that only it knows, so that the end must do. */
bool follow_path_is(const char *asked, const char *received)
{
    char wanted[FILE_PATH_MAX + 1], got[FILE_PATH_MAX + 1];
    tidy(asked, wanted);
    tidy(received, got);
    if (strcmp(wanted, got) == 0)
        return true;
    size_t wanted_length = strlen(wanted), got_length = strlen(got);
    if (wanted[0] == '/' || wanted_length == 0 || got_length <= wanted_length)
        return false;
    const char *end = got + got_length - wanted_length;
    return end[-1] == '/' && strcmp(end, wanted) == 0;
}

/* The receiver has a file under this id for good, but another one than was asked for: somebody has altered
 * the command on its way. Nothing can complete the request any more, so it ends here instead of when it
 * expires. */
static void refuse_path(Control *control, Request *request, const Receipt *receipt)
{
    Problem problem;
    (void)problem_set(
        &problem, ERROR_FAILED_PRECONDITION, "WRONG_PATH",
        "The device has uploaded another file under this id: %s. Who else may publish commands?",
        receipt->path);
    log_at(LOG_LEVEL_WARN, request->client, request->id, "the receipt is for %s, but %s was asked for",
           receipt->path, request->path);
    if (!request_is_final(request->state) &&
        control_change(control, request, REQUEST_EVENT_FAILED, &problem) < 0)
        return; /* the question for the receipt is asked again, and leads here again */
    command_end_doubt(control, request->client, request->id);
}

static void complete(Control *control, Request *request, const Receipt *receipt, const char *stored)
{
    bool is_new = request->seq == 0;
    if (request->origin == ORIGIN_MQTT) /* nobody asked us for a path: the receipt knows best */
        (void)snprintf(request->path, sizeof(request->path), "%s", receipt->path);
    request->has_size = true;
    request->size_bytes = request->sent_bytes = receipt->size_bytes;
    request->has_sha256 = true;
    memcpy(request->sha256, receipt->sha256, SHA256_SIZE);
    (void)snprintf(request->uploaded_path, sizeof(request->uploaded_path), "%s", receipt->path);
    (void)snprintf(request->stored, sizeof(request->stored), "%s", stored);
    if (control_change(control, request, REQUEST_EVENT_RECEIPT, &(Problem){.code = ERROR_NONE}) < 0)
        return;
    command_end_doubt(control, request->client, request->id);
    command_release(control, request->client);
    if (is_new)
        prune(control, request);
}

/* Of an upload that was not asked for here the receiver says first whose trace it is. */
void follow_receipt(Control *control, const Receipt *receipt, const char *stored, const char *traceparent)
{
    Request *request CLEANUP(free_ptr) = row_of(control, receipt->client, receipt->upload, receipt->path);
    if (!request)
        return;
    if (!request->traceparent[0])
        (void)snprintf(request->traceparent, sizeof(request->traceparent), "%s", traceparent);
    TRACED(request->traceparent);
    if (request->state == UPLOAD_COMPLETED) {
        if (memcmp(request->sha256, receipt->sha256, SHA256_SIZE) != 0)
            log_at(LOG_LEVEL_WARN, receipt->client, receipt->upload,
                   "ignored a second receipt with another digest; do two receivers have this upload?");
    } else if (request->origin == ORIGIN_REST && !follow_path_is(request->path, receipt->path)) {
        refuse_path(control, request, receipt);
    } else {
        complete(control, request, receipt, stored);
    }
}

/* --- presence --- */

static Known *add_known(Control *control, const char *id)
{
    Known *known = calloc(1, sizeof(*known));
    if (!known)
        return NULL;
    (void)snprintf(known->client.id, sizeof(known->client.id), "%s", id);
    int r = sorted_insert(&control->clients, known->client.id, known);
    if (r == 0)
        return known;
    log_at(LOG_LEVEL_ERROR, id, NULL, "not listed: %s",
           r == -ENOBUFS ? "there are too many clients" : strerror(-r));
    free(known);
    return NULL;
}

/* true if they are others than before. */
static bool take_labels(Client *client, const cJSON *labels)
{
    char *text CLEANUP(free_ptr) = labels ? cJSON_PrintUnformatted(labels) : NULL;
    char *shown CLEANUP(free_ptr) =
        text ? text_printable_json(text) : NULL; /* may be several times as long */
    if (labels && (!shown || strlen(shown) > LABELS_TEXT_MAX)) {
        log_at(LOG_LEVEL_WARN, client->id, NULL, "its labels are longer than %d bytes: left as they were",
               LABELS_TEXT_MAX);
        return false;
    }
    const char *before = client->labels ? client->labels : "{}";
    if (strcmp(before, text ? text : "{}") == 0)
        return false;
    free(client->labels);
    client->labels = TAKE_PTR(text);
    return true;
}

/* true if something but the heartbeat has changed: it came online, perhaps unseen. */
static bool take_online(Client *client, const Presence *presence, int64_t now_ms, bool retained)
{
    int64_t since_ms = presence->since_unix_ms;
    if (since_ms == 0)
        since_ms = client->online ? client->connected_ms : now_ms;
    bool came = !client->online || client->connected_ms != since_ms;
    client->online = true;
    client->connected_ms = since_ms;
    if (!retained) /* that one may be old */
        client->heartbeat_ms = now_ms;
    return came;
}

static bool take_version(Client *client, const char *version)
{
    bool changed = strcmp(client->version, version) != 0;
    (void)snprintf(client->version, sizeof(client->version), "%s", version);
    return changed;
}

static void await_next(const Control *control, Known *known)
{
    known->offline_ms = control->config.monotonic_ms() + known->patience_ms;
}

static void take_heartbeat(const Control *control, Known *known, unsigned heartbeat_s)
{
    uint64_t beats_ms =
        (uint64_t)HEARTBEATS_MISSED * 1000 * (heartbeat_s > 0 ? heartbeat_s : HEARTBEAT_UNSAID_S);
    uint64_t least_ms = control->config.offline_after_ms;
    known->patience_ms = (int64_t)(beats_ms > least_ms ? beats_ms : least_ms);
    await_next(control, known);
}

static void save(Control *control, Known *known)
{
    if (store_put_client(control->config.store, &known->client) == 0)
        known->saved_ms = control->config.unix_ms();
}

void follow_presence(Control *control, const char *id, const Presence *presence, bool retained)
{
    Known *known = control_known(control, id);
    bool is_new = !known;
    if (is_new)
        known = add_known(control, id);
    if (!known)
        return;
    Client *client = &known->client;
    int64_t now_ms = control->config.unix_ms();
    bool was_online = client->online;
    bool came = presence->online && take_online(client, presence, now_ms, retained);
    bool changed = is_new || came || was_online != presence->online;
    if (presence->online) {
        take_heartbeat(control, known, presence->heartbeat_s);
        changed |= take_labels(client, presence->labels);
        changed |= take_version(client, presence->version);
    }
    client->online = presence->online;
    if (changed || now_ms - known->saved_ms >= HEARTBEAT_SAVE_MS)
        save(control, known);
    if (was_online != client->online)
        log_at(LOG_LEVEL_INFO, id, NULL, "%s", client->online ? "online" : "offline");
    if (changed)
        tell_client(control, client);
    if (came)
        command_wake_client(control, id);
}

/* Not worth a write: after a start all are offline, and a thousand that fall silent at once are a thousand
 * fsyncs. */
void follow_silence(Control *control)
{
    int64_t now_ms = control->config.monotonic_ms();
    for (size_t i = 0; i < control->clients.count; i++) {
        Known *known = control->clients.items[i];
        if (!known->client.online || now_ms < known->offline_ms)
            continue;
        known->client.online = false;
        log_at(LOG_LEVEL_INFO, known->client.id, NULL, "offline: nothing was heard for %" PRId64 " s",
               known->patience_ms / 1000);
        tell_client(control, &known->client);
    }
}

void follow_reconnect(Control *control)
{
    for (size_t i = 0; i < control->clients.count; i++)
        await_next(control, control->clients.items[i]);
}

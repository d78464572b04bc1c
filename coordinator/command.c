/* Messages out: commands, and when they are said again. */
#include "coordinator/control_internal.h"

#include "common/log.h"
#include "protocol/topic.h"

#include <errno.h>
#include <string.h>

#define RECEIPT_WAIT_MS 3000 /* the receiver sends a receipt by itself, at once */
#define RECEIPT_WAIT_MAX_MS ((uint64_t)5 * 60 * 1000)
#define DOUBT_WAIT_MS ((uint64_t)2 * 60 * 1000)
#define DOUBT_MS                                                                                             \
    ((int64_t)24 * 3600 * 1000) /* so long ago it may have ended, to be asked about after a start */
#define DOUBT_QUESTIONS 6       /* at once, and after 2, 6, 14, 30 and 62 minutes */
#define FULL_MS 60000           /* then a client whose queue was full is tried with one command more */
#define DOUBLINGS_MAX                                                                                        \
    6 /* of the silence: five minutes become five hours, for the broker queues what we repeat */

int64_t command_doubled(uint64_t base_ms, unsigned times, uint64_t max_ms)
{
    uint64_t wait_ms = base_ms << (times < DOUBLINGS_MAX ? times : DOUBLINGS_MAX);
    return (int64_t)(wait_ms < max_ms ? wait_ms : max_ms);
}

/* The broker takes nothing now: what is due stays due. Another error is not cured by haste. */
bool command_is_busy(int error)
{
    return error == -ENOTCONN || error == -ENOBUFS;
}

/* 0 or a negative errno. */
int command_send(Control *control, TopicKind kind, const char *client, const char *id, const char *payload)
{
    char topic[TOPIC_SIZE];
    (void)topic_format(kind, client, id, topic);
    int r = control->config.publish(control->config.publish_userdata, topic, payload, strlen(payload));
    if (r == 0 && kind < FIGURES_TOPICS)
        counter_add(&figures.commands[kind], 1);
    if (r < 0 && !command_is_busy(r))
        log_at(LOG_LEVEL_ERROR, client, id, "can't publish the command: %s", strerror(-r));
    return r;
}

/* Issued anew each time a command is said, so that a device's idea of the time keeps up. */
static int add_ticket(Control *control, const Request *request, UploadCommand *command)
{
    Ticket *ticket CLEANUP(free_ptr) = calloc(1, sizeof(*ticket));
    char *token CLEANUP(free_secret) = NULL;
    if (!ticket)
        return -ENOMEM;
    ticket->scope = TICKET_UPLOAD;
    (void)snprintf(ticket->client, sizeof(ticket->client), "%s", request->client);
    (void)snprintf(ticket->upload, sizeof(ticket->upload), "%s", request->id);
    (void)snprintf(ticket->path, sizeof(ticket->path), "%s", command->path);
    (void)snprintf(ticket->receiver, sizeof(ticket->receiver), "%s", command->receiver);
    ticket->max_size_bytes = command->max_size_bytes;
    ticket->rate_bytes_per_s = command->rate_bytes_per_s;
    ticket->issued_unix_s = control->config.unix_ms() / 1000;
    ticket->expires_unix_s = (int64_t)command->expires_unix_s;
    int r = ticket_sign(control->config.ticket_key, ticket, &token);
    if (r < 0)
        log_at(LOG_LEVEL_ERROR, request->client, request->id, "can't sign the ticket: %s", strerror(-r));
    else
        (void)snprintf(command->ticket, sizeof(command->ticket), "%s", token);
    return r;
}

static int publish_upload(Control *control, const Request *request)
{
    TRACED(request->traceparent);
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));
    if (!command)
        return -ENOMEM;
    (void)snprintf(command->path, sizeof(command->path), "%s", request->path);
    (void)snprintf(command->receiver, sizeof(command->receiver), "%s", request->receiver);
    (void)snprintf(command->traceparent, sizeof(command->traceparent), "%s", request->traceparent);
    command->expires_unix_s = (uint64_t)(request->expires_ms / 1000);
    command->max_size_bytes = request->max_size_bytes;
    command->rate_bytes_per_s = request->rate_bytes_per_s;
    int r = add_ticket(control, request, command);
    if (r < 0)
        return r;
    char *payload CLEANUP(free_secret) = upload_command_format(command);
    return payload ? command_send(control, TOPIC_CMD_UPLOAD, request->client, request->id, payload) : -ENOMEM;
}

static bool is_online(Control *control, const char *client)
{
    const Known *known = control_known(control, client);
    return known && known->client.online;
}

/* --- a client is sent no more commands than it takes --- */

/* Neither with the device nor on its way there. */
static bool is_held(const Open *open)
{
    return open->origin == ORIGIN_REST && open->state == UPLOAD_QUEUED && !open->out;
}

/* Of our requests: those that the device has said it has, and those whose command is on its way there. One
 * that is done fills no place, and of what others asked for nobody tells us when a device forgets it. */
static void count(const Control *control, const char *client, size_t *ret_taken, size_t *ret_under_way)
{
    size_t first = 0, taken = 0, under_way = 0;
    size_t end = control_open_range(control, client, &first) + first;
    for (size_t i = first; i < end; i++) {
        const Open *open = control->open.items[i];
        if (open->origin != ORIGIN_REST || open->done || is_held(open))
            continue;
        if (open->state == UPLOAD_QUEUED)
            under_way++;
        else
            taken++;
    }
    *ret_taken = taken;
    *ret_under_way = under_way;
}

/* A device does not tell how long its queue is, and others fill it too. So it is what it had when it said
 * that it is full, and one more after a minute, which may turn out to be taken. */
static size_t room_of(Control *control, const char *client)
{
    Known *known = control_known(control, client);
    if (!known)
        return 0;
    size_t taken = 0, under_way = 0, limit = COMMANDS_PER_CLIENT_MAX;
    count(control, client, &taken, &under_way);
    if (known->takes < taken)
        known->takes = taken;
    bool may_grow = known->full_ms == 0 || control->config.monotonic_ms() - known->full_ms >= FULL_MS;
    if (known->full_ms != 0 && known->takes + may_grow < limit)
        limit = known->takes + may_grow;
    return limit > taken + under_way ? limit - taken - under_way : 0;
}

/* Takes a place in the window, if there is one. */
static bool enter(Control *control, const char *client, Window *window)
{
    if (strcmp(window->client, client) != 0) {
        (void)snprintf(window->client, sizeof(window->client), "%s", client);
        window->room = is_online(control, client) ? room_of(control, client) : 0;
    }
    if (window->room == 0)
        return false;
    window->room--;
    return true;
}

void command_put_off(Control *control, Open *open)
{
    Known *known = control_known(control, open->client);
    size_t under_way = 0;
    if (known) {
        known->full_ms = control->config.monotonic_ms();
        count(control, open->client, &known->takes, &under_way);
    }
    open->out = false;
    if (open->state == UPLOAD_QUEUED)
        open->command_due_ms = 0;
}

void command_release(Control *control, const char *client)
{
    Window window = {0};
    size_t first = 0;
    size_t end = control_open_range(control, client, &first) + first;
    for (size_t i = first; i < end; i++)
        if (is_held(control->open.items[i]) && !command_tick(control, control->open.items[i], &window))
            return;
}

/* --- what is said again --- */

void command_heard(Control *control, Open *open)
{
    if (open->cancel_asked)
        return; /* whoever goes on sending has perhaps not heard of it */
    open->commands = 0;
    open->command_due_ms = control->config.monotonic_ms() + (int64_t)control->config.republish_ms;
}

static void said(Control *control, Open *open)
{
    open->out = true;
    open->command_due_ms = control->config.monotonic_ms() +
                           command_doubled(control->config.republish_ms, open->commands++, INT64_MAX);
}

void command_publish(Control *control, Open *open, const Request *request)
{
    if (room_of(control, open->client) > 0 && !command_is_busy(publish_upload(control, request)))
        said(control, open);
}

static int publish_cancel(Control *control, const char *client, const char *id, const char *traceparent)
{
    TRACED(traceparent);
    char *payload CLEANUP(free_ptr) = cancel_command_format(traceparent);
    return payload ? command_send(control, TOPIC_CMD_CANCEL, client, id, payload) : -ENOMEM;
}

void command_publish_cancel(Control *control, const Request *request)
{
    Open *open = control_open(control, request->client, request->id);
    int r = publish_cancel(control, request->client, request->id, request->traceparent);
    if (!open)
        return;
    open->commands = 0;
    open->command_due_ms = 0;
    if (!command_is_busy(r))
        said(control, open);
}

void command_expect_receipt(Control *control, Open *open)
{
    if (open->done)
        return; /* said again by the agent; the questions go on at their own pace */
    open->done = true;
    open->receipts = 0;
    open->receipt_due_ms = control->config.monotonic_ms() + RECEIPT_WAIT_MS;
}

/* The cancel goes first: an agent that never heard of the id then refuses the command instead of starting it.
 */
static int say_commands(Control *control, const Open *open)
{
    int r = 0;
    if (open->cancel_asked)
        r = publish_cancel(control, open->client, open->id, open->traceparent);
    if (r < 0 || open->origin != ORIGIN_REST)
        return r; /* of a command that others gave we don't know all that it said */
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!request)
        return -ENOMEM;
    r = store_get_request(control->config.store, open->client, open->id, request);
    return r == 0 ? publish_upload(control, request) : 0;
}

/* The broker queues commands for a client that is away, so they are not repeated before it comes back. The
 * receiver is asked too: it may know the end of an upload whose agent is gone for good. */
static int say_again(Control *control, Open *open)
{
    int r = 0;
    if (open->state != UPLOAD_QUEUED && !open->done)
        r = command_send(control, TOPIC_CMD_RECEIPT, open->client, open->id, "{}");
    if (r == 0 && is_online(control, open->client))
        r = say_commands(control, open);
    if (!command_is_busy(r))
        said(control, open);
    return r;
}

bool command_tick(Control *control, Open *open, Window *window)
{
    TRACED(open->traceparent);
    int64_t now_ms = control->config.monotonic_ms();
    int r = 0;
    if (open->done && now_ms >= open->receipt_due_ms) {
        r = command_send(control, TOPIC_CMD_RECEIPT, open->client, open->id, "{}");
        if (!command_is_busy(r))
            open->receipt_due_ms =
                now_ms + command_doubled(RECEIPT_WAIT_MS, ++open->receipts, RECEIPT_WAIT_MAX_MS);
    }
    if (!command_is_busy(r) && now_ms >= open->command_due_ms &&
        (!is_held(open) || enter(control, open->client, window)))
        r = say_again(control, open);
    return !command_is_busy(r);
}

/* The next tick publishes them, so that a client that comes and goes all the time costs no more than that. */
void command_wake_client(Control *control, const char *client)
{
    size_t first = 0;
    size_t count = control_open_range(control, client, &first);
    for (size_t i = first; i < first + count; i++) {
        Open *open = control->open.items[i];
        open->commands = 0;
        open->command_due_ms = 0;
    }
}

void command_wake_all(Control *control)
{
    for (size_t i = 0; i < control->open.count; i++) {
        Open *open = control->open.items[i];
        open->command_due_ms = 0;
        open->receipt_due_ms = 0;
    }
}

/* --- doubts --- */

int command_compare_doubt(const void *item, const void *key)
{
    const Doubt *doubt = item;
    const RequestKey *wanted = key;
    int order = strcmp(doubt->client, wanted->client);
    return order != 0 ? order : strcmp(doubt->id, wanted->id);
}

static bool has_room(const Control *control, const char *client)
{
    const Sorted *doubts = &control->doubts;
    size_t last = sorted_position(doubts, &(RequestKey){client, ""}) + OPEN_REQUESTS_PER_CLIENT_MAX - 1;
    return last >= doubts->count || strcmp(((const Doubt *)doubts->items[last])->client, client) != 0;
}

/* NULL if there are too many, or no memory. */
static Doubt *add_doubt(Control *control, const Request *request)
{
    Doubt *doubt = has_room(control, request->client) ? calloc(1, sizeof(*doubt)) : NULL;
    if (!doubt)
        return NULL;
    memcpy(doubt->client, request->client, sizeof(doubt->client));
    memcpy(doubt->id, request->id, sizeof(doubt->id));
    memcpy(doubt->traceparent, request->traceparent, sizeof(doubt->traceparent));
    if (sorted_insert(&control->doubts, &(RequestKey){doubt->client, doubt->id}, doubt) == 0)
        return doubt;
    free(doubt);
    return NULL;
}

/* 0 or a negative errno. */
static int ask(Control *control, Doubt *doubt)
{
    TRACED(doubt->traceparent);
    int r = command_send(control, TOPIC_CMD_RECEIPT, doubt->client, doubt->id, "{}");
    if (!command_is_busy(r))
        doubt->due_ms =
            control->config.monotonic_ms() + command_doubled(DOUBT_WAIT_MS, doubt->asked++, INT64_MAX);
    return r;
}

/* Without room for a doubt it is asked once. */
void command_ask_receipt(Control *control, const Request *request)
{
    Doubt *doubt = sorted_find(&control->doubts, &(RequestKey){request->client, request->id});
    if (!doubt)
        doubt = add_doubt(control, request);
    if (!doubt) {
        TRACED(request->traceparent);
        (void)command_send(control, TOPIC_CMD_RECEIPT, request->client, request->id, "{}");
        return;
    }
    doubt->asked = 0;
    doubt->due_ms = 0;
    (void)ask(control, doubt);
}

/* Without room the later ones are asked, as they come first. */
static int load_doubt(void *userdata, const Request *request)
{
    (void)add_doubt(userdata, request);
    return 0;
}

int command_load_doubts(Control *control)
{
    return store_each_doubtful_request(control->config.store, control->config.unix_ms() - DOUBT_MS,
                                       load_doubt, control);
}

void command_end_doubt(Control *control, const char *client, const char *id)
{
    RequestKey key = {client, id};
    if (sorted_find(&control->doubts, &key))
        free(sorted_take(&control->doubts, sorted_position(&control->doubts, &key)));
}

void command_tick_doubts(Control *control)
{
    int64_t now_ms = control->config.monotonic_ms();
    for (size_t i = 0; i < control->doubts.count;) {
        Doubt *doubt = control->doubts.items[i];
        if (now_ms >= doubt->due_ms && command_is_busy(ask(control, doubt)))
            return;
        if (doubt->asked < DOUBT_QUESTIONS)
            i++;
        else
            free(sorted_take(&control->doubts, i));
    }
}

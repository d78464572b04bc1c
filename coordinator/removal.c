/* Files that are removed at the receiver: the command is said until the receiver has answered. */
#include "coordinator/control_internal.h"

#include "common/log.h"

#include <errno.h>
#include <string.h>

#define TICKET_S 600 /* a command that the broker has kept for longer comes again */
#define WAIT_MS ((uint64_t)2 * 60 * 1000)

/* NULL if there are too many, or no memory: then it is asked for after the next start. */
static Doubt *note(Control *control, const char *client, const char *id)
{
    RequestKey key = {client, id};
    Doubt *removal = sorted_find(&control->removals, &key);
    if (removal)
        return removal;
    removal = calloc(1, sizeof(*removal));
    if (!removal)
        return NULL;
    (void)snprintf(removal->client, sizeof(removal->client), "%s", client);
    (void)snprintf(removal->id, sizeof(removal->id), "%s", id);
    if (sorted_insert(&control->removals, &key, removal) == 0)
        return removal;
    free(removal);
    return NULL;
}

static void forget(Control *control, const char *client, const char *id)
{
    RequestKey key = {client, id};
    if (sorted_find(&control->removals, &key))
        free(sorted_take(&control->removals, sorted_position(&control->removals, &key)));
}

/* 0 or a negative errno. */
static int send_command(Control *control, const Request *request, const char *user)
{
    TRACED(request->traceparent);
    Ticket *ticket CLEANUP(free_ptr) = calloc(1, sizeof(*ticket));
    char *token CLEANUP(free_secret) = NULL;
    if (!ticket)
        return -ENOMEM;
    ticket->scope = TICKET_REMOVE;
    (void)snprintf(ticket->client, sizeof(ticket->client), "%s", request->client);
    (void)snprintf(ticket->upload, sizeof(ticket->upload), "%s", request->id);
    (void)snprintf(ticket->user, sizeof(ticket->user), "%s", user);
    (void)snprintf(ticket->path, sizeof(ticket->path), "%s", request->uploaded_path);
    ticket->issued_unix_s = control->config.unix_ms() / 1000;
    ticket->expires_unix_s = ticket->issued_unix_s + TICKET_S;
    int r = ticket_sign(control->config.ticket_key, ticket, &token);
    if (r < 0) {
        log_at(LOG_LEVEL_ERROR, request->client, request->id, "can't sign the ticket: %s", strerror(-r));
        return r;
    }
    char *payload CLEANUP(free_secret) = remove_command_format(token, request->traceparent);
    return payload ? command_send(control, TOPIC_CMD_REMOVE, request->client, request->id, payload) : -ENOMEM;
}

static void said(const Control *control, Doubt *removal)
{
    removal->due_ms = control->config.monotonic_ms() + command_doubled(WAIT_MS, removal->asked++, INT64_MAX);
}

/* false: the broker takes no more now. */
static bool say_again(Control *control, Doubt *removal)
{
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    int r =
        request ? store_get_request(control->config.store, removal->client, removal->id, request) : -ENOMEM;
    if (r == STORE_E_ABSENT) { /* forgotten meanwhile */
        forget(control, removal->client, removal->id);
        return true;
    }
    if (r == 0)
        r = send_command(control, request, request->remover);
    if (command_is_busy(r))
        return false;
    said(control, removal);
    return true;
}

void removal_tick(Control *control)
{
    int64_t now_ms = control->config.monotonic_ms();
    for (size_t i = 0; i < control->removals.count;) {
        Doubt *removal = control->removals.items[i];
        size_t before = control->removals.count;
        if (now_ms >= removal->due_ms && !say_again(control, removal))
            return;
        if (control->removals.count == before)
            i++;
    }
}

void removal_wake(Control *control)
{
    for (size_t i = 0; i < control->removals.count; i++)
        ((Doubt *)control->removals.items[i])->due_ms = 0;
}

static int load(void *userdata, const Request *request)
{
    (void)note(userdata, request->client, request->id);
    return 0;
}

int removal_load(Control *control)
{
    return store_each_removing_request(control->config.store, load, control);
}

static int write_down(Control *control, Request *request, const char *event)
{
    request->updated_ms = control->config.unix_ms();
    return store_update_request(control->config.store, request, event, true);
}

int control_remove(Control *control, const Grant *grant, const char *client, const char *id,
                   Request *ret_request, Problem *problem)
{
    LOCKED(control);
    if (ask_locate(control, grant, client, id, ret_request, problem) < 0)
        return -1;
    if (ret_request->removed_ms != 0)
        return 0;
    if (!ret_request->removal_asked) {
        ret_request->removal_asked = true;
        (void)snprintf(ret_request->remover, sizeof(ret_request->remover), "%s", grant->user);
        int r = write_down(control, ret_request, "removal asked");
        if (r < 0)
            return ask_store_problem(problem, r);
        log_at(LOG_LEVEL_INFO, ret_request->client, ret_request->id, "removal asked");
        tell_request(control, ret_request);
    }
    Doubt *removal = note(control, ret_request->client, ret_request->id);
    if (removal) {
        removal->asked = 0;
        removal->due_ms = 0; /* the next tick says it */
    }
    return 0;
}

void removal_follow(Control *control, const Removal *removal)
{
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!request || store_get_request(control->config.store, removal->client, removal->upload, request) != 0)
        return; /* asked again, where it was asked for */
    TRACED(request->traceparent);
    if (request->removed_ms == 0 && request->state == UPLOAD_COMPLETED) {
        request->removed_ms = removal->removed_unix_s * 1000;
        if (write_down(control, request, "removed") < 0)
            return;
        log_at(LOG_LEVEL_INFO, request->client, request->id, "removed by the receiver");
        tell_request(control, request);
    }
    forget(control, request->client, request->id);
}

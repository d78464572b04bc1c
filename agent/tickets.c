#include "agent/tickets.h"

#include "common/clock.h"
#include "common/files.h"
#include "common/json.h"
#include "common/log.h"
#include "common/text.h"
#include "protocol/token.h"

#include <errno.h>
#include <string.h>

#define FILE_NAME "tickets.json"
#define FILE_MAX 256

typedef struct Times {
    int64_t seen, forgotten; /* Unix seconds */
} Times;

struct Tickets {
    KeyRing *ring; /* NULL: no keys */
    const char *client, *state_dir;
    Times times, saved;
};

/* Its file */

static bool parse_times(const char *text, size_t size, Times *ret_times)
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(text, size, FILE_MAX);
    uint64_t seen = 0, forgotten = 0;

    if (!object || json_get_u64(object, "seen", &seen) != JSON_OK ||
        json_get_u64(object, "forgotten", &forgotten) != JSON_OK)
        return false;
    *ret_times = (Times){(int64_t)seen, (int64_t)forgotten};
    return true;
}

/* What can't be read may have said anything, so that no ticket of the past is taken. */
static int load(Tickets *tickets, int folder_fd)
{
    char *text CLEANUP(free_ptr) = NULL;
    size_t size = 0;

    int r = file_read_at(folder_fd, FILE_NAME, FILE_MAX, &text, &size);
    if (r == -ENOENT)
        return 0;
    if (r < 0 && r != -EFBIG)
        return r;
    if (r == 0 && parse_times(text, size, &tickets->times)) {
        tickets->saved = tickets->times;
        return 0;
    }
    tickets->times = (Times){.forgotten = clock_unix_ms() / 1000};
    log_error("%s/" FILE_NAME " is damaged: tickets issued before now are not taken any more",
              tickets->state_dir);
    return 0;
}

static int save(const Tickets *tickets, const Times *times)
{
    char *text CLEANUP(free_ptr) = text_format("{\"seen\":%lld,\"forgotten\":%lld}\n", (long long)times->seen,
                                               (long long)times->forgotten);
    int folder CLEANUP(close_fd) = -1;

    if (!text)
        return -ENOMEM;
    int r = folder_open(tickets->state_dir, 0700, &folder);
    return r < 0 ? r : file_replace_at(folder, FILE_NAME, text, strlen(text), 0600);
}

int tickets_new(const ConfigList *keys, const char *client, const char *state_dir, Tickets **ret_tickets)
{
    Tickets *tickets = calloc(1, sizeof(*tickets));
    int folder CLEANUP(close_fd) = -1;

    if (!tickets)
        return -ENOMEM;
    tickets->client = client;
    tickets->state_dir = state_dir;
    int r = keys->count > 0 ? key_ring_load(keys->items, keys->count, &tickets->ring, NULL) : 0;
    if (r == 0)
        r = folder_open(state_dir, 0700, &folder);
    if (r == 0)
        r = load(tickets, folder);
    if (r < 0) {
        tickets_free(tickets);
        return r;
    }
    *ret_tickets = tickets;
    return 0;
}

Tickets *tickets_free(Tickets *tickets)
{
    if (tickets)
        key_ring_free(tickets->ring);
    free(tickets);
    return NULL;
}

bool tickets_are_required(const Tickets *tickets)
{
    return tickets->ring != NULL;
}

/* Commands */

int tickets_refuse_missing(Problem *problem)
{
    return problem_set(problem, ERROR_UNAUTHENTICATED, "TICKET_MISSING",
                       "This device obeys only its coordinator's tickets; ask the coordinator, or publish "
                       "what \"beckon ticket\" prints.");
}

static int refuse_expired(Problem *problem)
{
    return problem_set(problem, ERROR_DEADLINE_EXCEEDED, "TICKET_EXPIRED",
                       "The ticket's time was over when it arrived; ask again.");
}

static int refuse_ticket(Problem *problem, const char *why)
{
    return problem_set(problem, ERROR_PERMISSION_DENIED, "TICKET_INVALID", "The ticket is not taken: %s.",
                       why);
}

static int check(const Tickets *tickets, const char *id, const char *token, Ticket *ret_ticket,
                 Problem *problem)
{
    int r = ticket_verify(tickets->ring, token, tickets_now_unix_s(tickets), ret_ticket);

    if (r < 0)
        return -ENOMEM;
    if (r == TOKEN_E_EXPIRED)
        return refuse_expired(problem);
    if (r > 0)
        return refuse_ticket(problem, token_error_text(r));
    if (ret_ticket->scope != TICKET_UPLOAD)
        return refuse_ticket(problem, "it is not for an upload");
    if (strcmp(ret_ticket->client, tickets->client) != 0)
        return refuse_ticket(problem, "it is for another device");
    if (strcmp(ret_ticket->upload, id) != 0)
        return refuse_ticket(problem, "it is for another upload");
    return ret_ticket->issued_unix_s <= tickets->times.forgotten ? refuse_expired(problem) : 0;
}

static bool is_given_otherwise(uint64_t given, uint64_t signed_value)
{
    return given != 0 && given != signed_value;
}

/* The command may say again what the ticket says, and nothing else. */
static bool matches(const UploadCommand *command, const Ticket *ticket)
{
    return strcmp(command->path, ticket->path) == 0 &&
           !is_given_otherwise(command->expires_unix_s, (uint64_t)ticket->expires_unix_s) &&
           !is_given_otherwise(command->max_size_bytes, ticket->max_size_bytes) &&
           !is_given_otherwise(command->rate_bytes_per_s, ticket->rate_bytes_per_s) &&
           (!*command->receiver || strcmp(command->receiver, ticket->receiver) == 0);
}

/* The path is the same already. */
static void obey(const Ticket *ticket, UploadCommand *command)
{
    command->expires_unix_s = (uint64_t)ticket->expires_unix_s;
    command->max_size_bytes = ticket->max_size_bytes;
    command->rate_bytes_per_s = ticket->rate_bytes_per_s;
    memcpy(command->receiver, ticket->receiver, sizeof(command->receiver));
}

int tickets_admit(Tickets *tickets, const char *id, const void *payload, size_t size,
                  UploadCommand *ret_command, int64_t *ret_issued_unix_s, Problem *problem)
{
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));
    Ticket *ticket CLEANUP(free_ptr) = calloc(1, sizeof(*ticket));

    if (!command || !ticket)
        return -ENOMEM;
    if (tickets->ring) {
        if (upload_command_ticket(payload, size, command->ticket, problem) < 0)
            return -1;
        if (!*command->ticket)
            return tickets_refuse_missing(problem);
        int r = check(tickets, id, command->ticket, ticket, problem);
        if (r < 0)
            return r;
    }
    if (upload_command_parse(payload, size, command, problem) < 0)
        return -1;
    if (tickets->ring) {
        if (!matches(command, ticket))
            return refuse_ticket(problem, "the command says something else than it");
        obey(ticket, command);
        tickets_saw(tickets, ticket->issued_unix_s);
    }
    *ret_command = *command;
    *ret_issued_unix_s = ticket->issued_unix_s;
    return 0;
}

/* Time */

int64_t tickets_now_unix_s(const Tickets *tickets)
{
    int64_t clock = clock_unix_ms() / 1000;

    return clock > tickets->times.seen ? clock : tickets->times.seen;
}

void tickets_saw(Tickets *tickets, int64_t issued_unix_s)
{
    if (issued_unix_s > tickets->times.seen)
        tickets->times.seen = issued_unix_s;
}

int64_t tickets_seen_unix_s(const Tickets *tickets)
{
    return tickets->times.seen;
}

int tickets_forget(Tickets *tickets, int64_t issued_unix_s)
{
    Times times = tickets->times;

    if (issued_unix_s > times.forgotten)
        times.forgotten = issued_unix_s;
    if (times.seen == tickets->saved.seen && times.forgotten == tickets->saved.forgotten)
        return 0;
    int r = save(tickets, &times);
    if (r == 0)
        tickets->times = tickets->saved = times;
    return r;
}

#include "receiver/removal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/throttle.h"
#include "protocol/grant.h"

#include <errno.h>
#include <string.h>

/* What of a ticket allows this removal. 0, or -1 and *problem. */
static int check_ticket(const RemovalConfig *config, const Topic *about, const char *token,
                        Ticket *ret_ticket, Problem *problem)
{
    int r = *token ? ticket_verify(config->coordinator_keys, token, clock_unix_ms() / 1000, ret_ticket)
                   : TOKEN_E_INVALID;

    if (r == TOKEN_E_EXPIRED)
        return problem_set(problem, ERROR_UNAUTHENTICATED, "TICKET_EXPIRED", "The ticket has expired.");
    if (r != 0)
        return problem_set(problem, ERROR_PERMISSION_DENIED, "TICKET_INVALID", "The ticket is not taken: %s.",
                           token_error_text(r));
    if (ret_ticket->scope != TICKET_REMOVE || strcmp(ret_ticket->client, about->client) != 0 ||
        strcmp(ret_ticket->upload, about->upload) != 0)
        return problem_set(problem, ERROR_PERMISSION_DENIED, "TICKET_INVALID",
                           "The ticket is not taken: it is for something else.");
    return 0;
}

typedef struct Asked {
    const RemovalConfig *config;
    const Ticket *ticket;
} Asked;

static int approve(void *userdata, const Stored *stored)
{
    const Asked *asked = userdata;
    const AuditEvent event = {.user = asked->ticket->user[0] ? asked->ticket->user : SHARED_USER,
                              .from = "",
                              .what = "remove",
                              .client = stored->receipt.client,
                              .file = stored->receipt.path,
                              .upload = stored->receipt.upload,
                              .status = 200};

    return audit_write(asked->config->audit, &event);
}

/* Who may publish can bring this about at will, so it is noted only so often. */
static void note_refusal(const RemovalConfig *config, const Topic *about, const Problem *problem)
{
    static Throttle throttle = THROTTLE_STRANGERS; /* main thread only */
    AuditEvent event = {.from = "",
                        .what = "remove",
                        .client = about->client,
                        .upload = about->upload,
                        .status = 403,
                        .reason = problem->reason};

    if (!throttle_pass(&throttle, clock_monotonic_ms(), &event.unwritten))
        return;
    int r = audit_write(config->audit, &event); /* nothing is done, so it may go unwritten */
    log_at(LOG_LEVEL_WARN, about->client, about->upload, "not removed: %s%s", problem->message,
           r < 0 ? " (not in the audit log)" : "");
}

static void obey(const RemovalConfig *config, const Ticket *ticket)
{
    Asked asked = {.config = config, .ticket = ticket};
    int r = archive_remove(config->archive, ticket->client, ticket->upload, approve, &asked);

    if (r == 0)
        log_at(LOG_LEVEL_INFO, ticket->client, ticket->upload, "removed, as the coordinator asked");
    else if (r == ARCHIVE_E_UNDELIVERED)
        log_at(LOG_LEVEL_INFO, ticket->client, ticket->upload,
               "not removed yet: its receipt is still to be sent");
    else if (r < 0)
        log_at(LOG_LEVEL_ERROR, ticket->client, ticket->upload, "can't be removed: %s", strerror(-r));
    /* else it is another receiver's, or incomplete */
}

void removal_command(const RemovalConfig *config, const Topic *about, const void *payload, size_t size)
{
    Ticket *ticket CLEANUP(free_ptr) = malloc(sizeof(*ticket));
    char token[TICKET_MAX] = "";
    Problem problem;

    if (!ticket)
        return; /* asked again later */
    if (upload_command_ticket(payload, size, token, &problem) < 0 ||
        check_ticket(config, about, token, ticket, &problem) < 0)
        note_refusal(config, about, &problem);
    else
        obey(config, ticket);
}

/* What a caller may do with an upload: by its certificate, and by its ticket. */
#include "receiver/api.h"

#include "common/clock.h"
#include "common/http_bearer.h"
#include "common/log.h"

#include <string.h>

/* The token, or NULL. Another scheme is for somebody else, a proxy on the way say. */
static const char *bearer_of(const HttpRequest *request)
{
    return http_bearer(http_request_header(request, "Authorization"));
}

int permit_check_caller(const Api *api, const HttpRequest *request, const Caller *caller, Refusal *refusal)
{
    if (!caller->known)
        return api->ticket_alone && bearer_of(request)
                   ? 0
                   : refuse(refusal, 401, ERROR_UNAUTHENTICATED, "NO_CERTIFICATE",
                            "A client certificate is needed.");
    if (!caller->person)
        return 0;
    log_warn("%s: \"%s\" is no device and can't upload", http_request_address(request), caller->name);
    return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "NOT_A_DEVICE", "Only devices have uploads.");
}

static int refuse_ticket(Refusal *refusal, const char *why)
{
    return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "TICKET_INVALID", "The ticket is not taken: %s.",
                  why);
}

/* The time by which a ticket is judged. To ask how an upload stands, and to drop it, a device may for ever: a
 * cancel may be told long after the ticket's end. */
static int64_t time_of(const HttpRequest *request, const Caller *caller)
{
    const char *method = http_request_method(request);
    bool sends_nothing = strcmp(method, "HEAD") == 0 || strcmp(method, "DELETE") == 0;

    return caller->known && sends_nothing ? 0 : clock_unix_ms() / 1000;
}

static int check_ticket(const Api *api, const HttpRequest *request, const Caller *caller, const char *token,
                        const char *id, Ticket *ret_ticket, Refusal *refusal)
{
    int r = ticket_verify(api->coordinator_keys, token, time_of(request, caller), ret_ticket);

    if (r == TOKEN_E_EXPIRED)
        return refuse(refusal, 401, ERROR_UNAUTHENTICATED, "TICKET_EXPIRED",
                      "The ticket has expired; ask for the file again.");
    if (r < 0)
        return refuse(refusal, 503, ERROR_UNAVAILABLE, "TRY_AGAIN", "The ticket can't be checked now: %s.",
                      strerror(-r));
    if (r > 0)
        return refuse_ticket(refusal, token_error_text(r));
    if (ret_ticket->scope != TICKET_UPLOAD)
        return refuse_ticket(refusal, "it is not for an upload");
    if (caller->known ? strcmp(caller->name, ret_ticket->client) != 0
                      : client_id_is_reserved(ret_ticket->client))
        return refuse_ticket(refusal, "it is for another device");
    if (id && strcmp(ret_ticket->upload, id) != 0)
        return refuse_ticket(refusal, "it is for another upload");
    return 0;
}

static void permit_by_ticket(const Api *api, const Ticket *ticket, Permit *permit)
{
    permit->ticketed = true;
    memcpy(permit->client, ticket->client, sizeof(permit->client));
    memcpy(permit->id, ticket->upload, sizeof(permit->id));
    memcpy(permit->path, ticket->path, sizeof(permit->path));
    permit->max_size = api->max_size;
    if (ticket->max_size_bytes > 0 && (api->max_size == 0 || ticket->max_size_bytes < api->max_size))
        permit->max_size = ticket->max_size_bytes;
}

static void permit_by_certificate(const Api *api, const Caller *caller, const char *id, Permit *permit)
{
    permit->ticketed = false;
    memcpy(permit->client, caller->name, sizeof(permit->client));
    if (id)
        (void)snprintf(permit->id, sizeof(permit->id), "%s", id);
    else
        upload_id_new(permit->id);
    permit->path[0] = '\0';
    permit->max_size = api->max_size;
}

int permit_read(const Api *api, const HttpRequest *request, const Caller *caller, const char *id,
                Permit *ret_permit, Refusal *refusal)
{
    Ticket *ticket CLEANUP(free_ptr) = NULL;
    const char *token = api->tickets == TICKETS_IGNORED ? NULL : bearer_of(request);

    if (permit_check_caller(api, request, caller, refusal) < 0)
        return -1;
    if (!token && api->tickets == TICKETS_REQUIRED)
        return refuse(refusal, 401, ERROR_UNAUTHENTICATED, "TICKET_MISSING",
                      "A ticket of the coordinator is needed, as Authorization: Bearer.");
    if (!token) {
        permit_by_certificate(api, caller, id, ret_permit);
        return 0;
    }
    ticket = malloc(sizeof(*ticket));
    if (!ticket)
        return refuse(refusal, 503, ERROR_UNAVAILABLE, "TRY_AGAIN", "The receiver is out of memory.");
    if (check_ticket(api, request, caller, token, id, ticket, refusal) < 0) {
        log_warn("%s: ticket of %s refused: %s", http_request_address(request),
                 caller->known ? caller->name : "nobody", refusal->problem.message);
        return -1;
    }
    permit_by_ticket(api, ticket, ret_permit);
    return 0;
}

/* GET of a completed upload: by its own device, by the coordinator, or by whoever brings a download ticket.
 */
#include "receiver/api.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/text.h"
#include "common/throttle.h"
#include "protocol/grant.h"
#include "receiver/range.h"

#include <inttypes.h>
#include <string.h>

#define ETAG_SIZE (SHA256_HEX_SIZE + 2)

/* Who asks, and whose upload it is, as far as that is proved. */
typedef struct Asked {
    char user[USER_NAME_SIZE + 3]; /* of a ticket; "CN=..." of a certificate; "": not known */
    char client[CLIENT_ID_SIZE];   /* "": not known */
} Asked;

/* Whose upload is asked for */

static int client_of_ticket(const Api *api, const Caller *caller, const char *token, const char *id,
                            Asked *asked, Refusal *refusal)
{
    Ticket *ticket CLEANUP(free_ptr) = malloc(sizeof(*ticket));

    if (!ticket)
        return refuse(refusal, 500, ERROR_INTERNAL, "OUT_OF_MEMORY", "The receiver is out of memory.");
    int r = ticket_verify(api->coordinator_keys, token, clock_unix_ms() / 1000, ticket);
    if (r == TOKEN_E_EXPIRED)
        return refuse(refusal, 401, ERROR_UNAUTHENTICATED, "TICKET_EXPIRED",
                      "The ticket has expired; ask for a new one.");
    if (r != 0 || ticket->scope != TICKET_DOWNLOAD || strcmp(ticket->upload, id) != 0)
        return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "TICKET_INVALID",
                      "The ticket is not for this download.");
    if (caller->known && !caller->person && strcmp(caller->name, ticket->client) != 0)
        return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "TICKET_INVALID",
                      "The ticket is not for this device.");
    (void)snprintf(asked->user, sizeof(asked->user), "%s", ticket->user[0] ? ticket->user : SHARED_USER);
    (void)snprintf(asked->client, CLIENT_ID_SIZE, "%s", ticket->client);
    return 0;
}

/* The coordinator sees every client's files and says whose it means: ?client=NAME. */
static int client_of_coordinator(const HttpRequest *request, Asked *asked, Refusal *refusal)
{
    const char *client = http_request_query(request, "client");

    if (!client || !client_id_is_valid(client))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "CLIENT_MISSING",
                      "Say whose upload it is: ?client=NAME.");
    (void)snprintf(asked->client, CLIENT_ID_SIZE, "%s", client);
    return 0;
}

static int find_client(const Api *api, const HttpRequest *request, const Caller *caller, const char *id,
                       Asked *asked, Refusal *refusal)
{
    const char *ticket = http_request_query(request, "ticket");

    if (caller->known)
        (void)snprintf(asked->user, sizeof(asked->user), "CN=%s", caller->name);
    if (ticket)
        return client_of_ticket(api, caller, ticket, id, asked, refusal);
    if (!caller->known)
        return refuse(refusal, 401, ERROR_UNAUTHENTICATED, "NO_CERTIFICATE",
                      "A client certificate or a ticket is needed.");
    if (strcmp(caller->name, "coordinator") == 0)
        return client_of_coordinator(request, asked, refusal);
    if (caller->person)
        return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "NOT_ALLOWED",
                      "Ask the coordinator for a ticket.");
    (void)snprintf(asked->client, CLIENT_ID_SIZE, "%s", caller->name);
    return 0;
}

/* What is sent */

/* attachment; filename="plain"; filename*=UTF-8''encoded (RFC 6266, RFC 8187). */
static char *disposition(const char *name)
{
    char *encoded CLEANUP(free_ptr) = text_percent_encode(name, "");
    char *plain CLEANUP(free_ptr) = strdup(name);

    if (!encoded || !plain)
        return NULL;
    for (char *at = plain; *at; at++)
        if (*at < ' ' || *at > '~' || strchr("\"\\%", *at))
            *at = '_';
    return text_format("attachment; filename=\"%s\"; filename*=UTF-8''%s", plain, encoded);
}

static void add_headers(HttpResponse *response, const Stored *stored, const char *etag)
{
    char *attachment CLEANUP(free_ptr) = disposition(stored->name);

    http_response_header(response, "Content-Type", "application/octet-stream");
    http_response_header(response, "Content-Disposition", attachment ? attachment : "attachment");
    http_response_header(response, "X-Content-Type-Options", "nosniff");
    http_response_header(response, "Content-Security-Policy", "sandbox");
    http_response_header(response, "Referrer-Policy", "no-referrer");
    http_response_header(response, "Cache-Control", "private, no-transform");
    http_response_header(response, "Accept-Ranges", "bytes");
    http_response_header(response, "ETag", etag);
    answer_digest(response, stored->receipt.sha256);
}

/* Whether a list of entity tags (If-None-Match) names ours, or any. */
static bool names_etag(const char *list, const char *etag)
{
    return list && (strcmp(list, "*") == 0 || strstr(list, etag));
}

/* The part that is asked for; a Range counts only if If-Range, where given, names what we have. */
static int find_range(const HttpRequest *request, const char *etag, uint64_t total, Range *ret_range)
{
    const char *range = http_request_header(request, "Range");
    const char *condition = http_request_header(request, "If-Range");

    if (!range || (condition && strcmp(condition, etag) != 0))
        return RANGE_E_NONE;
    return range_parse(range, total, ret_range);
}

/* What will be sent of the content. */
typedef struct Plan {
    unsigned status; /* 200; 206 for a range; 304 if the caller has it; 416 with a refusal */
    Range range;
    char etag[ETAG_SIZE + 1];
} Plan;

static void make_plan(const HttpRequest *request, const Stored *stored, Plan *plan, Refusal *refusal)
{
    uint64_t total = stored->receipt.size_bytes;
    char sha256[SHA256_HEX_SIZE];

    text_hex(stored->receipt.sha256, SHA256_SIZE, sha256);
    (void)snprintf(plan->etag, sizeof(plan->etag), "\"%s\"", sha256);
    plan->range = (Range){.offset = 0, .size = total};
    plan->status = 200;
    if (names_etag(http_request_header(request, "If-None-Match"), plan->etag)) {
        plan->status = 304;
        return;
    }
    int r = find_range(request, plan->etag, total, &plan->range);
    if (r == 0)
        plan->status = 206;
    if (r == RANGE_E_UNSATISFIABLE) {
        plan->status = 416;
        (void)refuse(refusal, 416, ERROR_INVALID_ARGUMENT, "RANGE_UNSATISFIABLE",
                     "The range begins behind the end of the file.");
    }
}

static HttpResponse *answer_unsatisfiable(const Refusal *refusal, uint64_t total)
{
    HttpResponse *response = answer_refusal(refusal);
    char range[40];

    (void)snprintf(range, sizeof(range), "bytes */%" PRIu64, total);
    http_response_header(response, "Content-Range", range);
    return response;
}

static HttpResponse *answer_content(const Stored *stored, const Plan *plan, int *fd)
{
    HttpResponse *response = http_response_new(plan->status);
    char field[80];

    add_headers(response, stored, plan->etag);
    if (plan->status == 206) {
        (void)snprintf(field, sizeof(field), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, plan->range.offset,
                       plan->range.offset + plan->range.size - 1, stored->receipt.size_bytes);
        http_response_header(response, "Content-Range", field);
    }
    if (plan->status != 304)
        http_response_file(response, TAKE_FD(*fd), plan->range.offset, plan->range.size);
    return response;
}

static int open_content(const Api *api, const char *client, const char *id, Stored *stored, int *ret_fd,
                        Refusal *refusal)
{
    int r = archive_find(api->archive, client, id, stored);

    if (r == ARCHIVE_E_ABSENT)
        return refuse(refusal, 404, ERROR_NOT_FOUND, "UPLOAD_NOT_FOUND",
                      "There is no such completed upload.");
    if (r == 0 && stored->removed_unix_s != 0)
        return refuse(refusal, 410, ERROR_NOT_FOUND, "CONTENT_REMOVED",
                      "The file was received and verified, and has been removed since; ask the device for "
                      "it again.");
    if (r == 0)
        r = store_open(api->store, stored, ret_fd);
    if (r == 0)
        return 0;
    log_at(LOG_LEVEL_ERROR, client, id, "can't be read for a download: %s", strerror(-r));
    return refuse(refusal, 500, ERROR_INTERNAL, "STORE_FAILED", "The store can't be read.");
}

/* The audit log */

static AuditEvent describe(const HttpRequest *request, const Asked *asked, const char *id)
{
    return (AuditEvent){.user = asked->user,
                        .from = http_request_address(request),
                        .what = "GET",
                        .client = asked->client,
                        .upload = id};
}

/* Before anything is given away. */
static int write_audit(const Api *api, const HttpRequest *request, const Asked *asked, const Stored *stored,
                       unsigned status, Refusal *refusal)
{
    AuditEvent event = describe(request, asked, stored->receipt.upload);

    event.file = stored->receipt.path;
    event.status = status;
    event.reason = refusal->status ? refusal->problem.reason : NULL;
    if (audit_write(api->audit, &event) == 0)
        return 0;
    *refusal = (Refusal){0};
    return refuse(refusal, 503, ERROR_UNAVAILABLE, "AUDIT_FAILED",
                  "The receiver can't write its audit log, so it gives nothing away; its own log says why.");
}

/* Refusals give nothing away, so they may go unwritten: those of strangers do if there are too many. */
static void note_refusal(const Api *api, const HttpRequest *request, const Asked *asked, const char *id,
                         const Refusal *refusal)
{
    static Throttle strangers = THROTTLE_STRANGERS;
    AuditEvent event = describe(request, asked, id);

    event.status = refusal->status;
    event.reason = refusal->problem.reason;
    if (!asked->user[0] && !throttle_pass(&strangers, clock_monotonic_ms(), &event.unwritten))
        return;
    int r = audit_write(api->audit, &event);
    if (refusal->status == 401 || refusal->status == 403)
        log_warn("%s: download of %s refused: %s%s", event.from, id, refusal->problem.message,
                 r < 0 ? " (not in the audit log)" : "");
}

void download_refused(const Api *api, HttpRequest *request, const Caller *caller, const char *id,
                      const Refusal *refusal)
{
    Asked asked = {.user = ""};

    if (caller->known)
        (void)snprintf(asked.user, sizeof(asked.user), "CN=%s", caller->name);
    note_refusal(api, request, &asked, id, refusal);
}

void download_begin(Api *api, HttpRequest *request, const Caller *caller, const char *id)
{
    Stored *stored CLEANUP(free_ptr) = calloc(1, sizeof(*stored));
    Asked asked = {.user = ""};
    Plan plan = {.status = 0};
    Refusal refusal = {0};
    int fd CLEANUP(close_fd) = -1;

    if (!stored) {
        http_request_abort(request);
        return;
    }
    if (find_client(api, request, caller, id, &asked, &refusal) < 0 ||
        open_content(api, asked.client, id, stored, &fd, &refusal) < 0) {
        note_refusal(api, request, &asked, id, &refusal);
        http_respond(request, answer_refusal(&refusal));
        return;
    }
    make_plan(request, stored, &plan, &refusal);
    if (write_audit(api, request, &asked, stored, plan.status, &refusal) < 0)
        http_respond(request, answer_refusal(&refusal));
    else if (plan.status == 416)
        http_respond(request, answer_unsatisfiable(&refusal, stored->receipt.size_bytes));
    else
        http_respond(request, answer_content(stored, &plan, &fd));
}

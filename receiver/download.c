/* GET of a completed upload: by its own device, by the coordinator, or by whoever brings a download ticket.
 */
#include "receiver/api.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/text.h"
#include "receiver/range.h"

#include <inttypes.h>
#include <string.h>

#define ETAG_SIZE (SHA256_HEX_SIZE + 2)

/* Whose upload is asked for */

static int client_of_ticket(const Api *api, const Caller *caller, const char *token, const char *id,
                            char client[static CLIENT_ID_SIZE], Refusal *refusal)
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
    if (caller->known && !client_id_is_reserved(caller->name) && strcmp(caller->name, ticket->client) != 0)
        return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "TICKET_INVALID",
                      "The ticket is not for this device.");
    (void)snprintf(client, CLIENT_ID_SIZE, "%s", ticket->client);
    return 0;
}

/* The coordinator sees every client's files and says whose it means: ?client=NAME. */
static int client_of_coordinator(const HttpRequest *request, char client[static CLIENT_ID_SIZE],
                                 Refusal *refusal)
{
    const char *asked = http_request_query(request, "client");

    if (!asked || !client_id_is_valid(asked))
        return refuse(refusal, 400, ERROR_INVALID_ARGUMENT, "CLIENT_MISSING",
                      "Say whose upload it is: ?client=NAME.");
    (void)snprintf(client, CLIENT_ID_SIZE, "%s", asked);
    return 0;
}

static int find_client(const Api *api, const HttpRequest *request, const Caller *caller, const char *id,
                       char client[static CLIENT_ID_SIZE], Refusal *refusal)
{
    const char *ticket = http_request_query(request, "ticket");

    if (ticket)
        return client_of_ticket(api, caller, ticket, id, client, refusal);
    if (!caller->known)
        return refuse(refusal, 401, ERROR_UNAUTHENTICATED, "NO_CERTIFICATE",
                      "A client certificate or a ticket is needed.");
    if (strcmp(caller->name, "coordinator") == 0)
        return client_of_coordinator(request, client, refusal);
    if (client_id_is_reserved(caller->name))
        return refuse(refusal, 403, ERROR_PERMISSION_DENIED, "NOT_ALLOWED",
                      "Ask the coordinator for a ticket.");
    (void)snprintf(client, CLIENT_ID_SIZE, "%s", caller->name);
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

static HttpResponse *answer_unsatisfiable(uint64_t total)
{
    Refusal refusal = {0};
    char range[40];

    (void)refuse(&refusal, 416, ERROR_INVALID_ARGUMENT, "RANGE_UNSATISFIABLE",
                 "The range begins behind the end of the file.");
    HttpResponse *response = answer_refusal(&refusal);
    (void)snprintf(range, sizeof(range), "bytes */%" PRIu64, total);
    http_response_header(response, "Content-Range", range);
    return response;
}

/* Takes fd. */
static HttpResponse *answer_content(const HttpRequest *request, const Stored *stored, int fd)
{
    uint64_t total = stored->receipt.size_bytes;
    Range range = {.offset = 0, .size = total};
    char sha256[SHA256_HEX_SIZE], etag[ETAG_SIZE + 1], field[80];

    text_hex(stored->receipt.sha256, SHA256_SIZE, sha256);
    (void)snprintf(etag, sizeof(etag), "\"%s\"", sha256);
    bool unchanged = names_etag(http_request_header(request, "If-None-Match"), etag);
    int r = unchanged ? RANGE_E_NONE : find_range(request, etag, total, &range);
    if (r == RANGE_E_UNSATISFIABLE) {
        close_fd(&fd);
        return answer_unsatisfiable(total);
    }
    HttpResponse *response = http_response_new(unchanged ? 304 : r == 0 ? 206 : 200);
    add_headers(response, stored, etag);
    if (r == 0) {
        (void)snprintf(field, sizeof(field), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range.offset,
                       range.offset + range.size - 1, total);
        http_response_header(response, "Content-Range", field);
    }
    if (unchanged)
        close_fd(&fd);
    else
        http_response_file(response, fd, range.offset, range.size);
    return response;
}

static int open_content(const Api *api, const char *client, const char *id, Stored *stored, int *ret_fd,
                        Refusal *refusal)
{
    int r = archive_find(api->archive, client, id, stored);

    if (r == ARCHIVE_E_ABSENT)
        return refuse(refusal, 404, ERROR_NOT_FOUND, "UPLOAD_NOT_FOUND",
                      "There is no such completed upload.");
    if (r == 0)
        r = store_open(api->store, stored, ret_fd);
    if (r == 0)
        return 0;
    log_at(LOG_LEVEL_ERROR, client, id, "can't be read for a download: %s", strerror(-r));
    return refuse(refusal, 500, ERROR_INTERNAL, "STORE_FAILED", "The store can't be read.");
}

void download_begin(Api *api, HttpRequest *request, const Caller *caller, const char *id)
{
    Stored *stored CLEANUP(free_ptr) = calloc(1, sizeof(*stored));
    char client[CLIENT_ID_SIZE];
    Refusal refusal = {0};
    int fd = -1;

    if (!stored)
        http_request_abort(request);
    else if (find_client(api, request, caller, id, client, &refusal) < 0 ||
             open_content(api, client, id, stored, &fd, &refusal) < 0)
        http_respond(request, answer_refusal(&refusal));
    else
        http_respond(request, answer_content(request, stored, fd));
    if (refusal.status == 403)
        log_warn("%s: download of %s refused: %s", http_request_address(request), id,
                 refusal.problem.message);
}

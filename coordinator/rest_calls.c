#include "coordinator/rest_internal.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"
#include "coordinator/request_state.h"
#include "coordinator/rest_json.h"

#include <string.h>

#define PAGE_DEFAULT 100
#define PAGE_MAX 500
#define HISTORY_MAX 32       /* events; a request has about six */
#define KNOWN_SHOWN_MAX 1000 /* clients listed in an error */
#define EXPIRES_MAX_S ((uint64_t)10 * 365 * 86400)
#define DOWNLOAD_TICKET_S 60

/* Takes item over. */
static bool add(cJSON *object, const char *name, cJSON *item)
{
    if (item && cJSON_AddItemToObject(object, name, item))
        return true;
    cJSON_Delete(item);
    return false;
}

/* --- clients --- */

static int append_client(void *userdata, const Client *client)
{
    cJSON *object = rest_client_json(client);
    if (object && cJSON_AddItemToArray(userdata, object))
        return 0;
    cJSON_Delete(object);
    return -1;
}

static void get_clients(Call *call)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    cJSON *clients = object ? cJSON_AddArrayToObject(object, "clients") : NULL;
    bool whole = clients &&
                 control_each_client(call->rest->control, &call->grant, append_client, clients) == 0 &&
                 json_add_u64(object, "count", (uint64_t)cJSON_GetArraySize(clients));
    call_answer(call, 200, whole ? TAKE_PTR(object) : NULL);
}

static int append_name(void *userdata, const Client *client)
{
    cJSON *name = cJSON_CreateString(client->id);
    if (name && cJSON_GetArraySize(userdata) < KNOWN_SHOWN_MAX && cJSON_AddItemToArray(userdata, name))
        return 0;
    cJSON_Delete(name);
    return -1;
}

/* Most mistakes are typing errors: say which names would do, of those that the caller sees. */
static void refuse_unknown_client(Call *call, const Problem *problem)
{
    cJSON *names = cJSON_CreateArray();
    if (names && grant_has(&call->grant, GRANT_READ))
        (void)control_each_client(call->rest->control, &call->grant, append_name,
                                  names); /* as many as there is room for */
    call_refuse_with(call, 404, problem, "knownClients", names);
}

static void get_client(Call *call)
{
    cJSON *found CLEANUP(json_delete) = cJSON_CreateArray();
    call->client = call->id;
    if (found && !control_client(call->rest->control, &call->grant, call->id, append_client, found)) {
        Problem problem;
        (void)problem_set(&problem, ERROR_NOT_FOUND, "UNKNOWN_CLIENT",
                          "No device of this name was ever seen here. Is its agent running, and is this its "
                          "name?");
        refuse_unknown_client(call, &problem);
        return;
    }
    call_answer(call, 200, cJSON_DetachItemFromArray(found, 0));
}

/* --- asking --- */

int call_bad_member(Problem *problem, const char *name, const char *expected)
{
    return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_BODY", "\"%s\" must be %s.", name, expected);
}

static int read_number(const cJSON *object, const char *name, uint64_t max, uint64_t *out, Problem *problem)
{
    int r = json_get_u64(object, name, out);
    if (r == JSON_E_ABSENT || (r == JSON_OK && *out > 0 && *out <= max))
        return 0;
    return call_bad_member(problem, name, "a whole number above 0, or left out");
}

int call_read_wish(const cJSON *object, NewRequest *wanted, Problem *problem)
{
    uint64_t expires_s = 0;
    if (json_get_string_ref(object, "fileName", &wanted->path) != JSON_OK)
        return call_bad_member(problem, "fileName", "the path of a file on the client");
    int r = json_get_string_ref(object, "receiver", &wanted->receiver);
    if (r == JSON_E_TYPE || (r == JSON_OK && !client_id_is_valid(wanted->receiver)))
        return call_bad_member(problem, "receiver", "the name of one of the client's receivers, or left out");
    if (read_number(object, "expires", EXPIRES_MAX_S, &expires_s, problem) < 0 ||
        read_number(object, "maxSize", UINT64_MAX, &wanted->max_size_bytes, problem) < 0 ||
        read_number(object, "rate", UINT64_MAX, &wanted->rate_bytes_per_s, problem) < 0)
        return -1;
    wanted->expires_ms = expires_s * 1000;
    return 0;
}

static int read_wanted(const cJSON *object, NewRequest *wanted, Problem *problem)
{
    if (!object)
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_BODY",
                           "The body must be a JSON object such as "
                           "{\"clientId\":\"restaurant_1\",\"fileName\":\"/the/file\"}.");
    if (json_get_string_ref(object, "clientId", &wanted->client) != JSON_OK ||
        !client_id_is_valid(wanted->client))
        return call_bad_member(problem, "clientId", "the name of a client");
    return call_read_wish(object, wanted, problem);
}

static void answer_created(Call *call, const Request *request)
{
    call->upload = request->id;
    char location[UPLOAD_ID_SIZE + 16];
    (void)snprintf(location, sizeof(location), "/download/%s", request->id);
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    bool whole =
        object &&
        cJSON_AddStringToObject(object, "message",
                                "The device is asked; GET /download/<requestId> tells how it goes.") &&
        cJSON_AddStringToObject(object, "requestId", request->id) &&
        cJSON_AddStringToObject(object, "clientId", request->client) &&
        cJSON_AddStringToObject(object, "fileName", request->path) &&
        cJSON_AddStringToObject(object, "status", upload_state_name(request->state));
    call_answer_with(call, 202, whole ? TAKE_PTR(object) : NULL, "Location", location);
}

/* The device may send the file as soon as it is asked: who wanted it is on record before. */
int call_approve(void *userdata, const char *id, Problem *problem)
{
    Call *call = userdata;
    call->upload = id;
    int r = call_audit(call, 202, NULL, problem);
    call->upload = NULL; /* it does not live longer than this */
    return r;
}

/* 0 after an answer, or -1 and a problem. */
static int create(Call *call, const NewRequest *wanted, Problem *problem)
{
    call->client = wanted->client;
    call->file = wanted->path;
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!request)
        return problem_set(problem, ERROR_UNAVAILABLE, "NO_MEMORY",
                           "The coordinator is out of memory; try again later.");
    if (control_create(call->rest->control, &call->grant, wanted, request, problem) < 0)
        return -1;
    answer_created(call, request);
    return 0;
}

void call_refuse_wish(Call *call, const Problem *problem)
{
    bool is_reused = strcmp(problem->reason, "IDEMPOTENCY_KEY_REUSED") == 0;
    call_refuse(call, is_reused ? 422 : 0,
                problem); /* draft-ietf-httpapi-idempotency-key-header section 2.7 */
}

static void post_download(Call *call)
{
    Problem problem;
    NewRequest wanted = {.traceparent = http_request_header(call->request, "traceparent"),
                         .idempotency_key = http_request_header(call->request, "Idempotency-Key"),
                         .approve = call_approve,
                         .approve_userdata = call};
    cJSON *object CLEANUP(json_delete) = json_parse_object(call->body, call->body_size, call->body_size);
    if (object && batches_are_meant(object)) {
        batches_post(call, object, &wanted);
        return;
    }
    if (read_wanted(object, &wanted, &problem) == 0 && create(call, &wanted, &problem) == 0)
        return;
    if (strcmp(problem.reason, "UNKNOWN_CLIENT") == 0)
        refuse_unknown_client(call, &problem);
    else
        call_refuse_wish(call, &problem);
}

/* --- one request --- */

/* NULL after an answer. The caller frees, after its own answer. */
static Request *find(Call *call)
{
    Problem problem;
    const char *client = http_request_query(call->request, "clientId");
    Request *request = malloc(sizeof(*request));
    if (!request) {
        http_request_abort(call->request);
        return NULL;
    }
    call->client = client && client_id_is_valid(client) ? client : NULL;
    call->upload = call->id;
    if (control_get(call->rest->control, &call->grant, client, call->id, request, &problem) == 0) {
        call->client = request->client;
        call->file = request->path;
        return request;
    }
    free(request);
    call_refuse(call, 0, &problem);
    return NULL;
}

/* How it came to be so: the state after each event. NULL: out of memory, or the store fails. */
static cJSON *history_json(Call *call, const Request *request)
{
    Problem ignored; /* the log has it */
    RequestEventRow rows[HISTORY_MAX];
    size_t count = 0;
    if (control_history(call->rest->control, request, rows, HISTORY_MAX, &count, &ignored) < 0)
        return NULL;
    cJSON *history CLEANUP(json_delete) = cJSON_CreateArray();
    for (size_t i = 0; history && i < count; i++) {
        cJSON *event = rest_event_json(&rows[i]);
        if (!event || !cJSON_AddItemToArray(history, event))
            return NULL;
    }
    return TAKE_PTR(history);
}

static void get_download(Call *call)
{
    Request *request CLEANUP(free_ptr) = find(call);
    if (!request)
        return;
    cJSON *object CLEANUP(json_delete) = rest_request_json(request);
    bool whole = object && add(object, "history", history_json(call, request));
    call_answer(call, 200, whole ? TAKE_PTR(object) : NULL);
}

/* Of what is final nothing is cancelled, and the answer is audited as any other. */
static void delete_download(Call *call)
{
    Problem problem;
    Request *request CLEANUP(free_ptr) = find(call);
    if (!request)
        return;
    if ((!request_is_final(request->state) && call_audit(call, 202, NULL, &problem) < 0) ||
        control_cancel(call->rest->control, &call->grant, request->client, call->id, request, &problem) < 0)
        call_refuse(call, 0, &problem);
    else
        call_answer(call, 202, rest_request_json(request));
}

static void refuse_content(Call *call, const Request *request)
{
    Problem problem;
    (void)problem_set(&problem, ERROR_FAILED_PRECONDITION, "NOT_COMPLETED",
                      "There is no verified file: the request is %s; %s.", upload_state_name(request->state),
                      request_is_final(request->state) ? "see its error, and ask for the file again"
                                                       : "wait until it is completed");
    call_refuse(call, 409, &problem);
}

/* The receiver's address with a ticket for this one file; the ticket, as a secret, is not logged. */
static char *content_url(const Rest *rest, const char *user, const Request *request)
{
    Ticket *ticket CLEANUP(free_ptr) = calloc(1, sizeof(*ticket));
    char *token CLEANUP(free_ptr) = NULL;
    if (!ticket)
        return NULL;
    ticket->scope = TICKET_DOWNLOAD;
    (void)snprintf(ticket->client, sizeof(ticket->client), "%s", request->client);
    (void)snprintf(ticket->upload, sizeof(ticket->upload), "%s", request->id);
    (void)snprintf(ticket->user, sizeof(ticket->user), "%s", user);
    (void)snprintf(ticket->path, sizeof(ticket->path), "%s", request->uploaded_path);
    ticket->issued_unix_s = clock_unix_ms() / 1000;
    ticket->expires_unix_s = ticket->issued_unix_s + DOWNLOAD_TICKET_S;
    if (ticket_sign(rest->ticket_key, ticket, &token) < 0)
        return NULL;
    return text_format("%s/v1/uploads/%s?ticket=%s", rest->receiver_url, request->id, token);
}

static void refuse_removed(Call *call)
{
    Problem problem;
    (void)problem_set(&problem, ERROR_NOT_FOUND, "CONTENT_REMOVED",
                      "The file was received and verified, and has been removed since; ask the device for "
                      "it again.");
    call_refuse(call, 410, &problem);
}

/* Who wanted it is on record before the receiver is asked. */
static void delete_content(Call *call)
{
    Request *request CLEANUP(free_ptr) = find(call);
    if (!request)
        return;
    Problem problem;
    if (request->state != UPLOAD_COMPLETED)
        refuse_content(call, request);
    else if (call_audit(call, 202, NULL, &problem) < 0 ||
             control_remove(call->rest->control, &call->grant, request->client, request->id, request,
                            &problem) < 0)
        call_refuse(call, 0, &problem);
    else
        call_answer(call, 202, rest_request_json(request));
}

static void get_content(Call *call)
{
    Request *request CLEANUP(free_ptr) = find(call);
    if (!request)
        return;
    if (request->state != UPLOAD_COMPLETED) {
        refuse_content(call, request);
        return;
    }
    if (request->removed_ms != 0) {
        refuse_removed(call);
        return;
    }
    Problem problem;
    if (call_audit(call, 302, NULL, &problem) < 0) {
        call_refuse(call, 0, &problem);
        return;
    }
    char *url CLEANUP(free_ptr) = content_url(call->rest, call->grant.user, request);
    HttpResponse *response = url ? http_response_new(302) : NULL;
    http_response_header(response, "Location", url ? url : "");
    http_response_header(response, "Cache-Control", "no-store");
    http_response_header(response, "Referrer-Policy", "no-referrer");
    http_respond(call->request, response);
}

/* --- many requests --- */

typedef struct Page {
    PageWanted wanted;
    UploadState state;
    char after_client[CLIENT_ID_SIZE];
    size_t limit;
} Page;

int call_bad_query(Problem *problem, const char *name, const char *expected)
{
    return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_QUERY", "%s must be %s.", name, expected);
}

/* "<client>/<id>" of the last row of the page before. */
static bool read_cursor(const char *text, Page *page)
{
    size_t length = strcspn(text, "/");
    if (text[length] != '/' || length >= sizeof(page->after_client))
        return false;
    (void)snprintf(page->after_client, sizeof(page->after_client), "%.*s", (int)length, text);
    page->wanted.after_client = page->after_client;
    page->wanted.after_id = text + length + 1;
    return client_id_is_valid(page->after_client) && upload_id_is_valid(page->wanted.after_id);
}

int call_read_limit(Call *call, size_t *ret_limit, Problem *problem)
{
    uint64_t limit = PAGE_DEFAULT;
    const char *text = http_request_query(call->request, "limit");
    if (text && (!text_to_u64(text, &limit) || limit < 1 || limit > PAGE_MAX))
        return call_bad_query(problem, "limit", "a number from 1 to 500");
    *ret_limit = (size_t)limit;
    return 0;
}

static int read_page(Call *call, Page *page, Problem *problem)
{
    if (call_read_limit(call, &page->limit, problem) < 0)
        return -1;
    const char *text = http_request_query(call->request, "cursor");
    if (text && !read_cursor(text, page))
        return call_bad_query(problem, "cursor", "the nextCursor of the page before");
    text = http_request_query(call->request, "status");
    if (text && (!upload_state_from_name(text, &page->state) || page->state == UPLOAD_DONE))
        return call_bad_query(problem, "status",
                              "queued, accepted, running, completed, failed, rejected, cancelled or expired");
    page->wanted.state = text ? &page->state : NULL;
    page->wanted.client = call->client = http_request_query(call->request, "client");
    text = page->wanted.batch = http_request_query(call->request, "batch");
    if (text && !upload_id_is_valid(text)) /* "" would be all that is of no batch */
        return call_bad_query(problem, "batch", "an id as POST /download gives it");
    return 0;
}

/* rows has one more than the page shows if there is a next one. */
static cJSON *page_json(const Request *rows, size_t count, size_t limit)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    cJSON *downloads = object ? cJSON_AddArrayToObject(object, "downloads") : NULL;
    size_t shown = count < limit ? count : limit;
    for (size_t i = 0; downloads && i < shown; i++) {
        cJSON *row = rest_request_json(&rows[i]);
        if (!row || !cJSON_AddItemToArray(downloads, row))
            return NULL;
    }
    char cursor[CLIENT_ID_SIZE + UPLOAD_ID_SIZE] = "";
    if (shown)
        (void)snprintf(cursor, sizeof(cursor), "%s/%s", rows[shown - 1].client, rows[shown - 1].id);
    bool whole = downloads && json_add_u64(object, "count", shown) &&
                 add(object, "nextCursor", count > limit ? cJSON_CreateString(cursor) : cJSON_CreateNull());
    return whole ? TAKE_PTR(object) : NULL;
}

static void get_downloads(Call *call)
{
    Problem problem;
    Page page = {.limit = 0};
    if (read_page(call, &page, &problem) < 0) {
        call_refuse(call, 0, &problem);
        return;
    }
    size_t count = 0;
    Request *rows CLEANUP(free_ptr) = calloc(page.limit + 1, sizeof(*rows));
    if (!rows) {
        http_request_abort(call->request);
        return;
    }
    if (control_list(call->rest->control, &call->grant, &page.wanted, rows, page.limit + 1, &count,
                     &problem) < 0)
        call_refuse(call, 0, &problem);
    else
        call_answer(call, 200, page_json(rows, count, page.limit));
}

const Route rest_routes[] = {
    {"GET", "/", 0, web_get_page, NULL},
    {"GET", "/web/*", 0, web_get_file, NULL},
    {"GET", "/health", 0, health_get, NULL},
    {"GET", "/livez", 0, health_get_live, NULL},
    {"GET", "/readyz", 0, health_get_ready, NULL},
    {"GET", "/metrics", GRANT_READ, metrics_get, NULL},
    {"GET", "/session", 0, session_get, NULL},
    {"POST", "/session", GRANT_READ, session_post, NULL},
    {"DELETE", "/session", 0, session_delete, NULL},
    {"GET", "/events", GRANT_READ, events_get, "requestId, batchId, lastEventId"},
    {"GET", "/clients", GRANT_READ, get_clients, ""},
    {"GET", "/clients/*", GRANT_READ, get_client, NULL},
    {"POST", "/download", GRANT_PULL, post_download, NULL},
    {"GET", "/batches", GRANT_READ, batches_get_all, "limit, cursor"},
    {"GET", "/batches/*", GRANT_READ, batches_get, NULL},
    {"DELETE", "/batches/*", GRANT_PULL, batches_delete, NULL},
    {"GET", "/downloads", GRANT_READ, get_downloads, "client, batch, status, limit, cursor"},
    {"GET", "/download/*", GRANT_READ, get_download, NULL},
    {"DELETE", "/download/*", GRANT_PULL, delete_download, NULL},
    {"GET", "/download/*/content", GRANT_PULL, get_content, NULL},
    {"DELETE", "/download/*/content", GRANT_ADMIN, delete_content, NULL},
};
const size_t rest_route_count = ARRAY_SIZE(rest_routes);

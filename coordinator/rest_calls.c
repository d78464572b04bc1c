#include "coordinator/rest_internal.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/text.h"
#include "coordinator/rest_json.h"

#include <inttypes.h>
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

/* --- health --- */

static void answer_health(Call *call, unsigned status, const char *word)
{
    char now[TEXT_TIME_SIZE];
    text_time(clock_unix_ms(), now);
    cJSON *object = cJSON_CreateObject();
    if (object) {
        (void)cJSON_AddStringToObject(object, "status", word); /* what is missing shows as missing */
        (void)cJSON_AddStringToObject(object, "timestamp", now);
    }
    call_answer(call, status, object);
}

static void get_health(Call *call)
{
    answer_health(call, 200, "ok");
}

/* Ready to pass requests on: the broker is there. */
static void get_ready(Call *call)
{
    bool connected = control_is_connected(call->rest->control);
    answer_health(call, connected ? 200 : 503, connected ? "ok" : "not connected to the broker");
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
    bool whole = clients && control_each_client(call->rest->control, append_client, clients) == 0 &&
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

/* Most mistakes are typing errors: say which names would do. */
static void refuse_unknown_client(Call *call, const Problem *problem)
{
    cJSON *names = cJSON_CreateArray();
    if (names)
        (void)control_each_client(call->rest->control, append_name, names); /* as many as there is room for */
    call_refuse_with(call, 404, problem, "knownClients", names);
}

static void get_client(Call *call)
{
    cJSON *found CLEANUP(json_delete) = cJSON_CreateArray();
    if (found && !control_client(call->rest->control, call->id, append_client, found)) {
        Problem problem;
        (void)problem_set(&problem, ERROR_NOT_FOUND, "UNKNOWN_CLIENT",
                          "No device of this name was ever seen here.");
        refuse_unknown_client(call, &problem);
        return;
    }
    call_answer(call, 200, cJSON_DetachItemFromArray(found, 0));
}

/* --- asking --- */

static int bad_member(Problem *problem, const char *name, const char *expected)
{
    return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_BODY", "\"%s\" must be %s.", name, expected);
}

static int read_limit(const cJSON *object, const char *name, uint64_t max, uint64_t *out, Problem *problem)
{
    int r = json_get_u64(object, name, out);
    if (r == JSON_E_ABSENT || (r == JSON_OK && *out > 0 && *out <= max))
        return 0;
    return bad_member(problem, name, "a whole number above 0, or left out");
}

/* The strings in *wanted live as long as object. */
static int read_wanted(const cJSON *object, NewRequest *wanted, Problem *problem)
{
    uint64_t expires_s = 0;
    if (!object)
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_BODY",
                           "The body must be a JSON object such as "
                           "{\"clientId\":\"restaurant_1\",\"fileName\":\"/the/file\"}.");
    if (json_get_string_ref(object, "clientId", &wanted->client) != JSON_OK ||
        !client_id_is_valid(wanted->client))
        return bad_member(problem, "clientId", "the name of a client");
    if (json_get_string_ref(object, "fileName", &wanted->path) != JSON_OK)
        return bad_member(problem, "fileName", "the path of a file on the client");
    int r = json_get_string_ref(object, "receiver", &wanted->receiver);
    if (r == JSON_E_TYPE || (r == JSON_OK && !client_id_is_valid(wanted->receiver)))
        return bad_member(problem, "receiver", "the name of one of the client's receivers, or left out");
    if (read_limit(object, "expires", EXPIRES_MAX_S, &expires_s, problem) < 0 ||
        read_limit(object, "maxSize", UINT64_MAX, &wanted->max_size_bytes, problem) < 0 ||
        read_limit(object, "rate", UINT64_MAX, &wanted->rate_bytes_per_s, problem) < 0)
        return -1;
    wanted->expires_ms = expires_s * 1000;
    return 0;
}

static void answer_created(Call *call, const Request *request)
{
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

/* 0 after an answer, or -1 and a problem. */
static int create(Call *call, const NewRequest *wanted, Problem *problem)
{
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!request)
        return problem_set(problem, ERROR_UNAVAILABLE, "NO_MEMORY", "The coordinator is out of memory.");
    if (control_create(call->rest->control, wanted, request, problem) < 0)
        return -1;
    answer_created(call, request);
    return 0;
}

static void post_download(Call *call)
{
    Problem problem;
    NewRequest wanted = {.idempotency_key = http_request_header(call->request, "Idempotency-Key")};
    cJSON *object CLEANUP(json_delete) = json_parse_object(call->body, call->body_size, call->body_size);
    if (read_wanted(object, &wanted, &problem) == 0 && create(call, &wanted, &problem) == 0)
        return;
    if (strcmp(problem.reason, "UNKNOWN_CLIENT") == 0)
        refuse_unknown_client(call, &problem);
    else if (strcmp(problem.reason, "IDEMPOTENCY_KEY_REUSED") == 0)
        call_refuse(call, 422, &problem); /* draft-ietf-httpapi-idempotency-key-header section 2.7 */
    else
        call_refuse(call, 0, &problem);
}

/* --- one request --- */

/* NULL after an answer. The caller frees. */
static Request *find(Call *call, int (*verb)(Control *, const char *, const char *, Request *, Problem *))
{
    Problem problem;
    const char *client = http_request_query(call->request, "clientId");
    Request *request = malloc(sizeof(*request));
    if (!request) {
        http_request_abort(call->request);
        return NULL;
    }
    if (verb(call->rest->control, client, call->id, request, &problem) == 0)
        return request;
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
    Request *request CLEANUP(free_ptr) = find(call, control_get);
    if (!request)
        return;
    cJSON *object CLEANUP(json_delete) = rest_request_json(request);
    bool whole = object && add(object, "history", history_json(call, request));
    call_answer(call, 200, whole ? TAKE_PTR(object) : NULL);
}

static void delete_download(Call *call)
{
    Request *request CLEANUP(free_ptr) = find(call, control_cancel);
    if (request)
        call_answer(call, 202, rest_request_json(request));
}

static void refuse_content(Call *call, const Request *request)
{
    Problem problem;
    (void)problem_set(&problem, ERROR_FAILED_PRECONDITION, "NOT_COMPLETED",
                      "There is no verified file yet: the request is %s.", upload_state_name(request->state));
    call_refuse(call, 409, &problem);
}

/* The receiver's address with a ticket for this one file; the ticket, as a secret, is not logged. */
static char *content_url(const Rest *rest, const Request *request)
{
    Ticket *ticket CLEANUP(free_ptr) = calloc(1, sizeof(*ticket));
    char *token CLEANUP(free_ptr) = NULL;
    if (!ticket)
        return NULL;
    ticket->scope = TICKET_DOWNLOAD;
    (void)snprintf(ticket->client, sizeof(ticket->client), "%s", request->client);
    (void)snprintf(ticket->upload, sizeof(ticket->upload), "%s", request->id);
    (void)snprintf(ticket->path, sizeof(ticket->path), "%s", request->uploaded_path);
    ticket->issued_unix_s = clock_unix_ms() / 1000;
    ticket->expires_unix_s = ticket->issued_unix_s + DOWNLOAD_TICKET_S;
    if (ticket_sign(rest->ticket_key, ticket, &token) < 0)
        return NULL;
    return text_format("%s/v1/uploads/%s?ticket=%s", rest->receiver_url, request->id, token);
}

static void get_content(Call *call)
{
    Request *request CLEANUP(free_ptr) = find(call, control_get);
    if (!request)
        return;
    if (request->state != UPLOAD_COMPLETED) {
        refuse_content(call, request);
        return;
    }
    char *url CLEANUP(free_ptr) = content_url(call->rest, request);
    HttpResponse *response = url ? http_response_new(302) : NULL;
    http_response_header(response, "Location", url ? url : "");
    http_response_header(response, "Cache-Control", "no-store");
    http_response_header(response, "Referrer-Policy", "no-referrer");
    http_respond(call->request, response);
}

/* --- many requests --- */

typedef struct Page {
    RequestFilter filter;
    UploadState state;
    size_t limit;
} Page;

static int bad_query(Problem *problem, const char *name, const char *expected)
{
    return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_QUERY", "%s must be %s.", name, expected);
}

static int read_page(Call *call, Page *page, Problem *problem)
{
    uint64_t limit = PAGE_DEFAULT, cursor = 0;
    const char *text = http_request_query(call->request, "limit");
    if (text && (!text_to_u64(text, &limit) || limit < 1 || limit > PAGE_MAX))
        return bad_query(problem, "limit", "a number from 1 to 500");
    text = http_request_query(call->request, "cursor");
    if (text && (!text_to_u64(text, &cursor) || cursor < 1 || cursor > INT64_MAX))
        return bad_query(problem, "cursor", "the nextCursor of the page before");
    text = http_request_query(call->request, "status");
    if (text && (!upload_state_from_name(text, &page->state) || page->state == UPLOAD_DONE))
        return bad_query(problem, "status",
                         "queued, accepted, running, completed, failed, rejected, cancelled or expired");
    page->filter.state = text ? &page->state : NULL;
    page->filter.client = http_request_query(call->request, "client");
    page->filter.before_seq = (int64_t)cursor;
    page->limit = (size_t)limit;
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
    char cursor[24];
    (void)snprintf(cursor, sizeof(cursor), "%" PRId64, shown ? rows[shown - 1].seq : 0);
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
    if (control_list(call->rest->control, &page.filter, rows, page.limit + 1, &count, &problem) < 0)
        call_refuse(call, 0, &problem);
    else
        call_answer(call, 200, page_json(rows, count, page.limit));
}

const Route rest_routes[] = {
    {"GET", "/", true, web_get_page},
    {"GET", "/web/*", true, web_get_file},
    {"GET", "/health", true, get_health},
    {"GET", "/livez", true, get_health},
    {"GET", "/readyz", true, get_ready},
    {"GET", "/events", false, events_get},
    {"GET", "/clients", false, get_clients},
    {"GET", "/clients/*", false, get_client},
    {"POST", "/download", false, post_download},
    {"GET", "/downloads", false, get_downloads},
    {"GET", "/download/*", false, get_download},
    {"DELETE", "/download/*", false, delete_download},
    {"GET", "/download/*/content", false, get_content},
};
const size_t rest_route_count = ARRAY_SIZE(rest_routes);

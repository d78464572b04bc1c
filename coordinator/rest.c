#include "coordinator/rest_internal.h"

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/text.h"
#include "common/throttle.h"
#include "coordinator/figures.h"
#include "coordinator/session.h"

#include <string.h>

#define BODY_MAX 16384
#define BODY_DROP ((size_t)1024 * 1024) /* of a body that is too long, before the connection is dropped */
#define ALLOWED_SIZE 64
#define PROBLEM_TYPE "application/problem+json"

/* --- the audit log --- */

static AuditEvent describe(const Call *call, const char *what, unsigned status, const char *reason)
{
    return (AuditEvent){.user = call->grant.user,
                        .from = http_request_address(call->request),
                        .what = what,
                        .client = call->client,
                        .file = call->file,
                        .upload = call->upload,
                        .status = status,
                        .reason = reason};
}

/* "GET /clients". The query is left out: others' tools may put secrets there. NULL when out of memory. */
static char *what_is_asked(const Call *call)
{
    return text_format("%s %s", http_request_method(call->request), http_request_path(call->request));
}

int call_audit(Call *call, unsigned status, const char *reason, Problem *problem)
{
    if (!call->accountable || (call->audited && !reason))
        return 0;
    char *what CLEANUP(free_ptr) = what_is_asked(call);
    AuditEvent event = describe(call, what, status, reason);
    if (!event.user[0])
        event.user = SHARED_USER;
    if (!what || audit_write(call->rest->audit, &event) < 0)
        return problem_set(problem, ERROR_UNAVAILABLE, "AUDIT_FAILED",
                           "The coordinator can't write its audit log, so it does nothing; its own log says "
                           "why.");
    call->audited = true;
    return 0;
}

/* --- answers --- */

/* text, in JSON, may quote strangers, and curl shows it on terminals. */
static void send_text(Call *call, unsigned status, const char *type, const char *text, const char *name,
                      const char *value)
{
    char *shown CLEANUP(free_ptr) = text ? text_printable_json(text) : NULL;
    HttpResponse *response = shown ? http_response_new(status) : NULL;
    http_response_header(response, "Cache-Control", "no-store");
    http_response_header(response, "X-Content-Type-Options", "nosniff");
    if (name)
        http_response_header(response, name, value);
    http_response_text(response, type, shown);
    http_respond(call->request, response);
}

static void send_problem(Call *call, unsigned status, const Problem *problem, const char *name,
                         const char *value)
{
    label_counter_add(&figures.refusals, problem->reason);
    char *text CLEANUP(free_ptr) = problem_body(problem, status, NULL);
    send_text(call, status, PROBLEM_TYPE, text, name, value);
}

static void send_busy(Call *call, unsigned status, const Problem *problem)
{
    send_problem(call, status, problem, "Retry-After", "10");
}

void call_answer_with(Call *call, unsigned status, cJSON *object, const char *name, const char *value)
{
    cJSON *taken CLEANUP(json_delete) = object;
    Problem problem;
    if (call_audit(call, status, NULL, &problem) < 0) {
        send_busy(call, 503, &problem);
        return;
    }
    char *text CLEANUP(free_ptr) = taken ? cJSON_PrintUnformatted(taken) : NULL;
    send_text(call, status, "application/json", text, name, value);
}

void call_answer(Call *call, unsigned status, cJSON *object)
{
    call_answer_with(call, status, object, NULL, NULL);
}

static unsigned status_of(ErrorCode code)
{
    switch (code) {
    case ERROR_INVALID_ARGUMENT:
        return 400;
    case ERROR_UNAUTHENTICATED:
        return 401;
    case ERROR_PERMISSION_DENIED:
        return 403;
    case ERROR_NOT_FOUND:
        return 404;
    case ERROR_FAILED_PRECONDITION:
    case ERROR_ALREADY_EXISTS:
    case ERROR_ABORTED:
        return 409;
    case ERROR_RESOURCE_EXHAUSTED:
        return 429;
    case ERROR_UNAVAILABLE:
        return 503;
    case ERROR_NONE:
    case ERROR_DEADLINE_EXCEEDED:
    case ERROR_DATA_LOSS:
    case ERROR_CANCELLED:
    case ERROR_INTERNAL:
        break;
    }
    return 500;
}

static void refuse(Call *call, unsigned status, const Problem *problem, const char *name, const char *value)
{
    Problem failed;
    if (call_audit(call, status, problem->reason, &failed) < 0)
        send_busy(call, 503, &failed);
    else
        send_problem(call, status, problem, name, value);
}

void call_refuse(Call *call, unsigned status, const Problem *problem)
{
    unsigned sent = status ? status : status_of(problem->code);
    bool later = sent == 429 || sent == 503;
    refuse(call, sent, problem, later ? "Retry-After" : NULL, "10");
}

void call_refuse_with(Call *call, unsigned status, const Problem *problem, const char *name, cJSON *member)
{
    char *text CLEANUP(free_ptr) = problem_body(problem, status, NULL);
    cJSON *body CLEANUP(json_delete) = text ? cJSON_Parse(text) : NULL;
    Problem failed;
    if (!body || !member || !cJSON_AddItemToObject(body, name, member)) {
        cJSON_Delete(member);
        call_refuse(call, status, problem);
        return;
    }
    if (call_audit(call, status, problem->reason, &failed) < 0) {
        send_busy(call, 503, &failed);
        return;
    }
    label_counter_add(&figures.refusals, problem->reason);
    char *longer CLEANUP(free_ptr) = cJSON_PrintUnformatted(body);
    send_text(call, status, PROBLEM_TYPE, longer, NULL, NULL);
}

/* --- finding the call --- */

/* Whether path is the route's, and what stands for its "*". */
static bool path_matches(const char *route, const char *path, char id[static UPLOAD_ID_SIZE])
{
    const char *star = strchr(route, '*');
    if (!star)
        return strcmp(route, path) == 0;
    size_t before = (size_t)(star - route);
    if (strncmp(route, path, before) != 0)
        return false;
    size_t length = strcspn(path + before, "/");
    if (length == 0 || length >= UPLOAD_ID_SIZE || strcmp(path + before + length, star + 1) != 0)
        return false;
    memcpy(id, path + before, length);
    id[length] = '\0';
    return true;
}

static bool method_matches(const Route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* NULL: there is no such path, or not with this method; allowed then lists those there are. */
static const Route *find_route(Call *call, char allowed[static ALLOWED_SIZE])
{
    const char *path = http_request_path(call->request), *method = http_request_method(call->request);
    allowed[0] = '\0';
    for (size_t i = 0; i < rest_route_count; i++) {
        const Route *route = &rest_routes[i];
        if (!path_matches(route->path, path, call->id))
            continue;
        if (method_matches(route, method))
            return route;
        size_t used = strlen(allowed);
        (void)snprintf(allowed + used, ALLOWED_SIZE - used, "%s%s", used ? ", " : "", route->method);
    }
    return NULL;
}

static void refuse_path(Call *call, const char *allowed)
{
    Problem problem;
    if (allowed[0]) {
        (void)problem_set(&problem, ERROR_INVALID_ARGUMENT, "METHOD_NOT_ALLOWED", "This path takes %s.",
                          allowed);
        refuse(call, 405, &problem, "Allow", allowed);
    } else {
        (void)problem_set(&problem, ERROR_NOT_FOUND, "NO_SUCH_PATH",
                          "The API has no such path; its openapi.yaml lists those there are.");
        call_refuse(call, 404, &problem);
    }
}

/* --- who may --- */

void call_note_stranger(const Call *call, unsigned status, const char *reason)
{
    static Throttle throttle = THROTTLE_STRANGERS;
    uint64_t left_out = 0;
    if (!throttle_pass(&throttle, clock_monotonic_ms(), &left_out))
        return;
    char *what CLEANUP(free_ptr) = what_is_asked(call);
    AuditEvent event = describe(call, what, status, reason);
    event.unwritten = left_out;
    int r = audit_write(call->rest->audit, &event); /* nothing is given away here if that fails */
    log_warn("%s: refused: %s%s%s", event.from, reason,
             left_out ? ", as were others that are not listed" : "", r < 0 ? "; not in the audit log" : "");
}

/* RFC 6750 section 3: no error is named to somebody who brought no token. */
static void refuse_stranger(Call *call, int r)
{
    Problem problem;
    if (r == ACCESS_E_EXPIRED)
        (void)problem_set(&problem, ERROR_UNAUTHENTICATED, "TOKEN_EXPIRED",
                          "The token has expired; ask for a new one.");
    else if (r == ACCESS_E_MISSING)
        (void)problem_set(&problem, ERROR_UNAUTHENTICATED, "INVALID_TOKEN",
                          "Send your token as \"Authorization: Bearer <token>\".");
    else
        (void)problem_set(&problem, ERROR_UNAUTHENTICATED, "INVALID_TOKEN",
                          "The token is not valid here; ask an administrator for a new one.");
    call_note_stranger(call, 401, problem.reason);
    send_problem(call, 401, &problem, "WWW-Authenticate",
                 r == ACCESS_E_MISSING ? "Bearer" : "Bearer error=\"invalid_token\"");
}

/* Sets the call's grant. false after an answer. */
static bool is_known(Call *call)
{
    char *authorization CLEANUP(free_secret) = session_authorization(call->request);
    int r = access_check(&call->rest->access, authorization, clock_unix_ms() / 1000, &call->grant);
    call->accountable = r == 0;
    if (r < 0)
        http_request_abort(call->request);
    else if (r > 0)
        refuse_stranger(call, r);
    return r == 0;
}

void call_forbid(Call *call, unsigned scopes, const Problem *problem)
{
    char challenge[80];
    (void)snprintf(challenge, sizeof(challenge), "Bearer error=\"insufficient_scope\", scope=\"%s\"",
                   grant_scopes_text(scopes));
    refuse(call, 403, problem, "WWW-Authenticate", challenge);
}

static bool is_allowed(Call *call, const Route *route)
{
    Problem problem;
    if (grant_has(&call->grant, route->scopes))
        return true;
    (void)problem_set(&problem, ERROR_PERMISSION_DENIED, "INSUFFICIENT_SCOPE",
                      "Your token lacks the scope \"%s\".", grant_scopes_text(route->scopes));
    call_forbid(call, route->scopes, &problem);
    return false;
}

/* --- its query --- */

typedef struct QueryCheck {
    const char *taken; /* as Route has it */
    bool is_good;
    Problem problem;
} QueryCheck;

static bool is_taken(const char *taken, const char *name)
{
    for (size_t length; *taken; taken += length + strspn(taken + length, ", ")) {
        length = strcspn(taken, ",");
        if (length == strlen(name) && strncmp(taken, name, length) == 0)
            return true;
    }
    return false;
}

static bool check_parameter(void *userdata, const char *name, const char *value)
{
    QueryCheck *check = userdata;
    bool known = is_taken(check->taken, name);
    if (value ? known : !*name) /* "a=1&&b=2" has a name that is empty, without a value */
        return true;
    check->is_good = false;
    if (known)
        (void)call_bad_query(&check->problem, name, "followed by \"=\" and a value");
    else
        (void)problem_set(&check->problem, ERROR_INVALID_ARGUMENT, "INVALID_QUERY",
                          "The query has \"%.64s\", which is not known here; it takes %s.", name,
                          *check->taken ? check->taken : "none");
    return false;
}

/* A filter that does not count gives more than was asked for. false after an answer. */
static bool is_understood(Call *call, const Route *route)
{
    QueryCheck check = {.taken = route->query, .is_good = true};
    if (route->query)
        http_request_each_query(call->request, check_parameter, &check);
    if (!check.is_good)
        call_refuse(call, 0, &check.problem);
    return check.is_good;
}

static bool is_open(const Call *call, const Route *route)
{
    return !route->scopes || (call->rest->metrics_open && route->call == metrics_get);
}

/* The route of a call that may be made, or NULL after an answer. Strangers do not learn what paths there are.
 */
static const Route *admit(Call *call)
{
    char allowed[ALLOWED_SIZE];
    const Route *route = find_route(call, allowed);
    if (route && is_open(call, route))
        return route;
    if (!is_known(call))
        return NULL;
    if (!route) {
        refuse_path(call, allowed);
        return NULL;
    }
    return is_allowed(call, route) && is_understood(call, route) ? route : NULL;
}

/* --- bodies --- */

/* The state of a request whose body is read before its call is made. */
typedef struct Body {
    const Route *route;
    Call call;
    size_t size; /* of all that came, kept or not */
    char data[BODY_MAX];
} Body;

static void refuse_body(Call *call)
{
    Problem problem;
    (void)problem_set(&problem, ERROR_INVALID_ARGUMENT, "BODY_TOO_LARGE",
                      "The body may have at most %d bytes.", BODY_MAX);
    call_refuse(call, 413, &problem);
}

static bool is_too_large(const HttpRequest *request)
{
    const char *length = http_request_header(request, "Content-Length");
    uint64_t size = 0;
    return length && text_to_u64(length, &size) && size > BODY_MAX;
}

static void begin(HttpRequest *request, void *userdata)
{
    Call call = {.rest = userdata, .request = request, .body = ""};
    const Route *route = admit(&call);
    if (!route)
        return;
    if (strcmp(route->method, "POST") != 0 || !http_request_has_body(request)) {
        route->call(&call);
        return;
    }
    if (is_too_large(request)) {
        refuse_body(&call);
        return;
    }
    Body *body = malloc(sizeof(*body));
    if (!body) {
        http_request_abort(request);
        return;
    }
    body->route = route;
    body->call = call;
    body->size = 0;
    http_request_set_state(request, body);
}

static void body_arrived(HttpRequest *request, const void *data, size_t size, void *userdata)
{
    (void)userdata;
    Body *body = http_request_state(request);
    if (!body)
        return;
    if (body->size + size <= sizeof(body->data))
        memcpy(body->data + body->size, data, size);
    body->size += size;
    if (body->size > BODY_DROP)
        http_request_abort(request);
}

static void end(HttpRequest *request, void *userdata)
{
    (void)userdata;
    Body *body = http_request_state(request);
    if (!body)
        return;
    if (body->size > sizeof(body->data)) {
        refuse_body(&body->call);
        return;
    }
    body->call.body = body->data;
    body->call.body_size = body->size;
    body->route->call(&body->call);
}

static void done(HttpRequest *request, bool clean, void *userdata)
{
    (void)clean;
    (void)userdata;
    free(http_request_state(request));
    http_request_set_state(request, NULL);
}

const HttpHandlers rest_handlers = {.begin = begin, .body = body_arrived, .end = end, .done = done};

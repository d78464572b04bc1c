#include "coordinator/rest_internal.h"

#include "common/json.h"
#include "common/log.h"

#include <string.h>
#include <strings.h>

#define BODY_MAX 16384
#define BODY_DROP ((size_t)1024 * 1024) /* of a body that is too long, before the connection is dropped */
#define PROBLEM_TYPE "application/problem+json"

/* --- answers --- */

static void answer_text(Call *call, unsigned status, const char *type, const char *text, const char *name,
                        const char *value)
{
    HttpResponse *response = text ? http_response_new(status) : NULL;
    http_response_header(response, "Cache-Control", "no-store");
    http_response_header(response, "X-Content-Type-Options", "nosniff");
    if (name)
        http_response_header(response, name, value);
    http_response_text(response, type, text);
    http_respond(call->request, response);
}

void call_answer_with(Call *call, unsigned status, cJSON *object, const char *name, const char *value)
{
    cJSON *taken CLEANUP(json_delete) = object;
    char *text CLEANUP(free_ptr) = taken ? cJSON_PrintUnformatted(taken) : NULL;
    answer_text(call, status, "application/json", text, name, value);
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
    char *text CLEANUP(free_ptr) = problem_body(problem, status, NULL);
    answer_text(call, status, PROBLEM_TYPE, text, name, value);
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
    if (!body || !member || !cJSON_AddItemToObject(body, name, member)) {
        cJSON_Delete(member);
        call_refuse(call, status, problem);
        return;
    }
    char *longer CLEANUP(free_ptr) = cJSON_PrintUnformatted(body);
    answer_text(call, status, PROBLEM_TYPE, longer, NULL, NULL);
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

/* NULL after an answer: there is no such path, or not with this method. */
static const Route *find_route(Call *call)
{
    const char *path = http_request_path(call->request), *method = http_request_method(call->request);
    char allowed[64] = "";
    for (size_t i = 0; i < rest_route_count; i++) {
        const Route *route = &rest_routes[i];
        if (!path_matches(route->path, path, call->id))
            continue;
        if (method_matches(route, method))
            return route;
        size_t used = strlen(allowed);
        (void)snprintf(allowed + used, sizeof(allowed) - used, "%s%s", used ? ", " : "", route->method);
    }
    Problem problem;
    if (allowed[0]) {
        (void)problem_set(&problem, ERROR_INVALID_ARGUMENT, "METHOD_NOT_ALLOWED", "This path takes %s.",
                          allowed);
        refuse(call, 405, &problem, "Allow", allowed);
    } else {
        (void)problem_set(&problem, ERROR_NOT_FOUND, "NO_SUCH_PATH", "The API has no such path.");
        call_refuse(call, 404, &problem);
    }
    return NULL;
}

/* The scheme's name is case-insensitive (RFC 9110 section 11.1). */
static bool is_allowed(Call *call)
{
    const char *header = http_request_header(call->request, "Authorization");
    if (header && strncasecmp(header, "Bearer ", 7) == 0) {
        header += 7;
        header += strspn(header, " ");
        if (secret_matches(&call->rest->secret, header))
            return true;
        log_warn("%s: refused: its bearer token is wrong", http_request_address(call->request));
    }
    Problem problem;
    (void)problem_set(&problem, ERROR_UNAUTHENTICATED, "INVALID_TOKEN",
                      "Send the operators' token as \"Authorization: Bearer <token>\".");
    refuse(call, 401, &problem, "WWW-Authenticate", "Bearer");
    return false;
}

/* --- bodies --- */

/* The state of a request whose body is read before its call is made. */
typedef struct Body {
    const Route *route;
    Call call;
    size_t size; /* of all that came, kept or not */
    char data[BODY_MAX];
} Body;

static void begin(HttpRequest *request, void *userdata)
{
    Call call = {.rest = userdata, .request = request, .body = ""};
    const Route *route = find_route(&call);
    if (!route || (!route->open && !is_allowed(&call)))
        return;
    if (strcmp(route->method, "POST") != 0 || !http_request_has_body(request)) {
        route->call(&call);
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
        Problem problem;
        (void)problem_set(&problem, ERROR_INVALID_ARGUMENT, "BODY_TOO_LARGE",
                          "The body may have at most %d bytes.", BODY_MAX);
        call_refuse(&body->call, 413, &problem);
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

#include "receiver/api.h"

#include "common/log.h"
#include "protocol/ident.h"

#include <string.h>

#define UPLOAD_METHODS "PUT, PATCH, HEAD, GET, DELETE, OPTIONS"
#define COLLECTION_METHODS "POST, OPTIONS"

int caller_identify(const Api *api, HttpRequest *request, Caller *ret_caller, Refusal *refusal)
{
    Caller caller = {0};
    const char *name = "";

    switch (http_request_peer(request, &name)) {
    case HTTP_PEER_NONE:
        break;
    case HTTP_PEER_REFUSED:
        log_warn("%s: client certificate refused: %s", http_request_address(request), name);
        return refuse(refusal, 403, ERROR_UNAUTHENTICATED, "CERTIFICATE_REFUSED",
                      "The client certificate is not accepted here; the receiver's log says why.");
    case HTTP_PEER_CROWDED:
        log_warn("%s: refused: %s has as many connections as it may", http_request_address(request), name);
        return refuse(refusal, 429, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_CONNECTIONS",
                      "This client has as many connections as it may; close one first.");
    case HTTP_PEER_UNTIMELY:
        log_warn("%s: client certificate refused for now: %s, if this machine's clock is right",
                 http_request_address(request), name);
        return refuse(refusal, 503, ERROR_UNAVAILABLE, "CERTIFICATE_UNTIMELY",
                      "By the receiver's clock the client certificate has expired or is not valid yet; renew "
                      "it, or set "
                      "the clock.");
    case HTTP_PEER_VERIFIED:
        if (!client_id_is_valid(name)) {
            log_warn("%s: client certificate refused: its CN \"%s\" is not a client id",
                     http_request_address(request), name);
            return refuse(refusal, 403, ERROR_UNAUTHENTICATED, "CERTIFICATE_REFUSED",
                          "The certificate's CN is not a client id.");
        }
        caller.known = true;
        caller.person =
            api->knows_people ? http_request_peer_is_person(request) : client_id_is_reserved(name);
        if (client_id_is_reserved(name) && !caller.person) {
            log_warn("%s: client certificate refused: \"%s\" is no name for a device",
                     http_request_address(request), name);
            return refuse(refusal, 403, ERROR_UNAUTHENTICATED, "CERTIFICATE_REFUSED",
                          "The certificate's CN is reserved, and it is signed by an authority of devices.");
        }
        (void)snprintf(caller.name, sizeof(caller.name), "%s", name);
        break;
    }
    *ret_caller = caller;
    return 0;
}

static void respond_refusal(HttpRequest *request, const Refusal *refusal)
{
    http_respond(request, answer_refusal(refusal));
}

/* The upload resource */

int refuse_absent(Refusal *refusal)
{
    return refuse(refusal, 404, ERROR_NOT_FOUND, "UPLOAD_NOT_FOUND",
                  "There is no such upload; begin it with PUT.");
}

int refuse_deleted(Refusal *refusal)
{
    return refuse(refusal, 410, ERROR_NOT_FOUND, "UPLOAD_DELETED",
                  "The upload was deleted or cancelled; begin it anew with PUT.");
}

/* What was asked about an upload, or for its end, could not be done. */
static int refuse_question(const char *client, const char *id, int r, Refusal *refusal)
{
    switch (r) {
    case UPLOADS_E_ABSENT:
        return refuse_absent(refusal);
    case UPLOADS_E_DELETED:
        return refuse_deleted(refusal);
    case UPLOADS_E_FULL:
        return refuse(refusal, 507, ERROR_RESOURCE_EXHAUSTED, "NO_SPACE",
                      "The receiver has no room to write down how far the upload is.");
    case UPLOADS_E_AGAIN:
        return refuse(refusal, 503, ERROR_UNAVAILABLE, "TRY_AGAIN",
                      "The upload is being changed; ask again.");
    case UPLOADS_E_COMPLETE:
        return refuse(refusal, 409, ERROR_FAILED_PRECONDITION, "UPLOAD_COMPLETE",
                      "The upload is complete; a complete file stays.");
    case UPLOADS_E_FENCED:
        return refuse(refusal, 409, ERROR_ABORTED, "FENCED", "A newer request has taken the upload over.");
    default:
        log_at(LOG_LEVEL_ERROR, client, id, "can't be looked up: %s", strerror(-r));
        return refuse(refusal, 500, ERROR_INTERNAL, "STORE_FAILED", "The store can't be read.");
    }
}

static void answer_status(Api *api, HttpRequest *request, const Permit *permit)
{
    UploadStatusNow status = {0};
    const char *version = NULL;
    Refusal refusal = {0};

    if (interop_version_read(request, &version, &refusal) == 0) {
        int r = uploads_status(api->uploads, permit->client, permit->id, &status);
        if (r != 0 && !(r == UPLOADS_E_ABSENT && permit->ticketed)) /* a ticket names one that is to come */
            (void)refuse_question(permit->client, permit->id, r, &refusal);
    }
    if (refusal.status) {
        respond_refusal(request, &refusal);
        return;
    }
    HttpResponse *response = http_response_new(204);
    answer_number(response, "Upload-Offset", status.offset);
    http_response_header(response, "Upload-Complete", status.complete ? "?1" : "?0");
    if (status.complete || status.has_length)
        answer_number(response, "Upload-Length", status.complete ? status.offset : status.length);
    if (status.complete)
        answer_digest(response, status.sha256);
    answer_limit(response, permit->max_size);
    answer_interop_version(response, version);
    http_response_header(response, "Cache-Control", "no-store");
    http_respond(request, response);
}

static void delete_upload(Api *api, HttpRequest *request, const Permit *permit)
{
    const char *version = NULL;
    uint64_t attempt = 0;
    Refusal refusal = {0};

    if (interop_version_read(request, &version, &refusal) == 0 &&
        attempt_read(request, &attempt, &refusal) == 0) {
        int r = uploads_delete(api->uploads, permit->client, permit->id, attempt);
        if (r != 0)
            (void)refuse_question(permit->client, permit->id, r, &refusal);
    }
    if (refusal.status) {
        respond_refusal(request, &refusal);
        return;
    }
    log_at(LOG_LEVEL_INFO, permit->client, permit->id, "deleted while incomplete");
    HttpResponse *response = http_response_new(204);
    answer_interop_version(response, version);
    http_respond(request, response);
}

static void answer_options(Api *api, HttpRequest *request, const char *allowed)
{
    HttpResponse *response = http_response_new(204);

    answer_limit(response, api->max_size);
    http_response_header(response, "Allow", allowed);
    http_response_header(response, "Accept-Patch", PARTIAL_UPLOAD);
    http_respond(request, response);
}

static void answer_not_allowed(HttpRequest *request, const char *allowed)
{
    Refusal refusal = {0};

    (void)refuse(&refusal, 405, ERROR_INVALID_ARGUMENT, "METHOD_NOT_ALLOWED", "This resource takes %s.",
                 allowed);
    HttpResponse *response = answer_refusal(&refusal);
    http_response_header(response, "Allow", allowed);
    http_respond(request, response);
}

/* Who brings neither certificate nor ticket is told nothing, not even what there is to ask for. */
static int check_stranger(const Api *api, const HttpRequest *request, const Caller *caller, Refusal *refusal)
{
    if (caller->known ||
        (strcmp(http_request_method(request), "GET") == 0 && http_request_query(request, "ticket")))
        return 0;
    return permit_check_caller(api, request, caller, refusal);
}

static void serve_upload(Api *api, HttpRequest *request, const Caller *caller, const char *id)
{
    const char *method = http_request_method(request);
    bool is_options = strcmp(method, "OPTIONS") == 0;
    Permit permit;
    Refusal refusal = {0};

    if (strcmp(method, "GET") == 0)
        download_begin(api, request, caller, id);
    else if (is_options ? permit_check_caller(api, request, caller, &refusal) < 0
                        : permit_read(api, request, caller, id, &permit, &refusal) < 0)
        respond_refusal(request, &refusal);
    else if (is_options)
        answer_options(api, request, UPLOAD_METHODS);
    else if (strcmp(method, "PUT") == 0)
        intake_begin(api, request, INTAKE_PUT, &permit);
    else if (strcmp(method, "PATCH") == 0)
        intake_begin(api, request, INTAKE_PATCH, &permit);
    else if (strcmp(method, "HEAD") == 0)
        answer_status(api, request, &permit);
    else if (strcmp(method, "DELETE") == 0)
        delete_upload(api, request, &permit);
    else
        answer_not_allowed(request, UPLOAD_METHODS);
}

/* /v1/uploads itself: where an upload begins that leaves the choice of its id to us. */
static void serve_collection(Api *api, HttpRequest *request, const Caller *caller)
{
    const char *method = http_request_method(request);
    bool is_post = strcmp(method, "POST") == 0;
    Permit permit;
    Refusal refusal = {0};

    if (is_post ? permit_read(api, request, caller, NULL, &permit, &refusal) < 0
                : permit_check_caller(api, request, caller, &refusal) < 0)
        respond_refusal(request, &refusal);
    else if (is_post)
        intake_begin(api, request, INTAKE_POST, &permit);
    else if (strcmp(method, "OPTIONS") == 0)
        answer_options(api, request, COLLECTION_METHODS);
    else
        answer_not_allowed(request, COLLECTION_METHODS);
}

static void refuse_caller(Api *api, HttpRequest *request, const Caller *caller, const Refusal *refusal)
{
    const char *path = http_request_path(request);

    if (strcmp(http_request_method(request), "GET") == 0 &&
        strncmp(path, UPLOADS_PATH, strlen(UPLOADS_PATH)) == 0)
        download_refused(api, request, caller, path + strlen(UPLOADS_PATH), refusal);
    respond_refusal(request, refusal);
}

static void api_begin(HttpRequest *request, void *userdata)
{
    Api *api = userdata;
    const char *path = http_request_path(request);
    const size_t prefix = strlen(UPLOADS_PATH);
    char traceparent[TRACEPARENT_SIZE] = "";
    Refusal refusal = {0};
    Caller caller = {0};

    (void)traceparent_read(http_request_header(request, "traceparent"), traceparent);
    (void)trace_begin(traceparent); /* of this thread's log until done() */
    if (health_answer(api, request, path))
        return;
    if (caller_identify(api, request, &caller, &refusal) < 0 ||
        check_stranger(api, request, &caller, &refusal) < 0)
        refuse_caller(api, request, &caller, &refusal);
    else if (strcmp(path, "/metrics") == 0)
        metrics_answer(api, request, &caller);
    else if (strncmp(path, UPLOADS_PATH, prefix) == 0 && upload_id_is_valid(path + prefix))
        serve_upload(api, request, &caller, path + prefix);
    else if (strncmp(path, UPLOADS_PATH, prefix - 1) == 0 &&
             (path[prefix - 1] == '\0' || path[prefix] == '\0'))
        serve_collection(api, request, &caller);
    else {
        (void)refuse(&refusal, 404, ERROR_NOT_FOUND, "NO_SUCH_RESOURCE",
                     "Uploads are at " UPLOADS_PATH "<id>; an id has 1 to 64 letters, digits, '-' and '_'.");
        respond_refusal(request, &refusal);
    }
}

static void api_body(HttpRequest *request, const void *data, size_t size, void *userdata)
{
    (void)userdata;
    if (http_request_state(request))
        intake_body(request, data, size);
}

static void api_end(HttpRequest *request, void *userdata)
{
    (void)userdata;
    if (http_request_state(request))
        intake_end(request);
}

static void api_done(HttpRequest *request, bool clean, void *userdata)
{
    (void)clean; /* what is complete was so before the answer went out */
    (void)userdata;
    if (http_request_state(request))
        intake_done(request);
    (void)trace_begin("");
}

const HttpHandlers api_handlers = {.begin = api_begin, .body = api_body, .end = api_end, .done = api_done};

/* Logging in and out of the web page. */
#include "coordinator/rest_internal.h"

#include "common/clock.h"
#include "common/json.h"
#include "coordinator/rest_json.h"
#include "coordinator/session.h"

/* Also where content comes from, so that `beckon doctor` can look there. */
static cJSON *session_json(const Rest *rest, const Grant *grant)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    cJSON *clients = object ? cJSON_AddArrayToObject(object, "clients") : NULL;
    bool whole = clients && cJSON_AddTrueToObject(object, "loggedIn") &&
                 cJSON_AddStringToObject(object, "user", grant->user) &&
                 cJSON_AddStringToObject(object, "scope", grant_scopes_text(grant->scopes)) &&
                 cJSON_AddStringToObject(object, "receiverUrl", rest->receiver_url) &&
                 rest_add_time(object, "expiresAt", grant->expires_unix_s * 1000);
    for (size_t i = 0; whole && i < grant->pattern_count; i++) {
        cJSON *pattern = cJSON_CreateString(grant->patterns[i]);
        whole = pattern && cJSON_AddItemToArray(clients, pattern);
    }
    return whole ? TAKE_PTR(object) : NULL;
}

/* Who one is; not being logged in is no error, for the page asks before it knows. */
void session_get(Call *call)
{
    char *authorization CLEANUP(free_secret) = session_authorization(call->request);
    int r = access_check(&call->rest->access, authorization, clock_unix_ms() / 1000, &call->grant);
    if (r == 0) {
        call_answer(call, 200, session_json(call->rest, &call->grant));
        return;
    }
    if (r < 0) {
        http_request_abort(call->request);
        return;
    }
    if (r == ACCESS_E_WRONG) /* somebody tries; that a session has ended is nothing to be noted */
        call_note_stranger(call, 200, "INVALID_TOKEN");
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    bool whole = object && cJSON_AddFalseToObject(object, "loggedIn") &&
                 (r == ACCESS_E_MISSING ||
                  cJSON_AddStringToObject(object, "reason",
                                          r == ACCESS_E_EXPIRED ? "TOKEN_EXPIRED" : "INVALID_TOKEN"));
    call_answer(call, 200, whole ? TAKE_PTR(object) : NULL);
}

void session_post(Call *call)
{
    const Grant *grant = &call->grant;
    int64_t left_s = grant->expires_unix_s ? grant->expires_unix_s - clock_unix_ms() / 1000 : 0;
    char *authorization CLEANUP(free_secret) = session_authorization(call->request);
    char *cookie CLEANUP(free_secret) = authorization ? session_cookie(authorization, left_s) : NULL;
    Problem problem;
    if (cookie) {
        call_answer_with(call, 200, session_json(call->rest, grant), "Set-Cookie", cookie);
        return;
    }
    (void)problem_set(&problem, ERROR_INVALID_ARGUMENT, "TOKEN_TOO_LONG",
                      "The token is too long for a browser's cookie; ask for one with fewer patterns.");
    call_refuse(call, 400, &problem);
}

/* Who ends a session is on record, if that can be; a full disk keeps nobody logged in. */
void session_delete(Call *call)
{
    char *authorization CLEANUP(free_secret) = session_authorization(call->request);
    Problem ignored;
    call->accountable =
        access_check(&call->rest->access, authorization, clock_unix_ms() / 1000, &call->grant) == 0;
    (void)!call_audit(call, 200, NULL, &ignored);
    call->accountable = false;
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    bool whole = object && cJSON_AddFalseToObject(object, "loggedIn");
    call_answer_with(call, 200, whole ? TAKE_PTR(object) : NULL, "Set-Cookie", session_end);
}

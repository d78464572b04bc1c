/* What REST asks of control.h: each call within the limits of a grant. */
#include "coordinator/control_internal.h"

#include "common/log.h"

#include <errno.h>
#include <string.h>

#define IDEMPOTENCY_KEY_MAX (IDEMPOTENCY_KEY_SIZE - USER_NAME_SIZE - 1)

/* The client, if it is known and grant sees it. */
static const Known *known_to(const Control *control, const Grant *grant, const char *client)
{
    return grant_sees(grant, client) ? sorted_find(&control->clients, client) : NULL;
}

int ask_store_problem(Problem *problem, int error)
{
    if (error == -ENOSPC)
        return problem_set(problem, ERROR_UNAVAILABLE, "NO_SPACE",
                           "The coordinator's disk is full; make room there.");
    return problem_set(problem, ERROR_INTERNAL, "STORE_FAILED",
                       "The coordinator can't use its database; its log says why.");
}

int ask_no_memory(Problem *problem)
{
    return problem_set(problem, ERROR_UNAVAILABLE, "NO_MEMORY",
                       "The coordinator is out of memory; try again later.");
}

int ask_client_full(Problem *problem, const char *client)
{
    return problem_set(problem, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS",
                       "%s has %d requests that are not finished; wait for them or cancel some.", client,
                       OPEN_REQUESTS_PER_CLIENT_MAX);
}

static bool same_wish(const Request *wish, const Request *made)
{
    return strcmp(wish->client, made->client) == 0 && strcmp(wish->path, made->path) == 0 &&
           strcmp(wish->receiver, made->receiver) == 0 && wish->max_size_bytes == made->max_size_bytes &&
           wish->rate_bytes_per_s == made->rate_bytes_per_s &&
           wish->expires_ms - wish->created_ms == made->expires_ms - made->created_ms;
}

void ask_fill_key(const Grant *grant, const NewRequest *wanted, char out[static IDEMPOTENCY_KEY_SIZE])
{
    if (wanted->idempotency_key)
        (void)snprintf(out, IDEMPOTENCY_KEY_SIZE, "%s/%s", grant->user, wanted->idempotency_key);
}

int ask_key_reused(Problem *problem, const char *made)
{
    return problem_set(problem, ERROR_ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED",
                       "This Idempotency-Key has made %s, which asks for something else; use a new key.",
                       made);
}

static void fill_request(Control *control, const Grant *grant, const NewRequest *wanted, Request *request)
{
    memset(request, 0, sizeof(*request));
    upload_id_new(request->id);
    (void)snprintf(request->client, sizeof(request->client), "%s", wanted->client);
    (void)snprintf(request->path, sizeof(request->path), "%s", wanted->path);
    (void)snprintf(request->receiver, sizeof(request->receiver), "%s",
                   wanted->receiver ? wanted->receiver : "");
    if (!traceparent_read(wanted->traceparent, request->traceparent))
        traceparent_new(request->traceparent);
    ask_fill_key(grant, wanted, request->idempotency_key);
    request->origin = ORIGIN_REST;
    request->state = UPLOAD_QUEUED;
    request->max_size_bytes = wanted->max_size_bytes;
    request->rate_bytes_per_s = wanted->rate_bytes_per_s;
    request->created_ms = request->updated_ms = control->config.unix_ms();
    request->expires_ms =
        request->created_ms + (int64_t)(wanted->expires_ms ? wanted->expires_ms : control->config.expires_ms);
}

int ask_check_wish(const NewRequest *wanted, Problem *problem)
{
    if (!file_path_is_valid(wanted->path))
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_PATH",
                           "The path must have 1 to %d bytes of UTF-8, few of them control characters.",
                           FILE_PATH_MAX);
    size_t length = wanted->idempotency_key ? strlen(wanted->idempotency_key) : 1;
    if (length < 1 || length > IDEMPOTENCY_KEY_MAX)
        return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_IDEMPOTENCY_KEY",
                           "The idempotency key must have 1 to %d bytes, or be left out.",
                           IDEMPOTENCY_KEY_MAX);
    return 0;
}

static int check_quota(Control *control, const char *client, Problem *problem)
{
    if (control_has_open(control, client, OPEN_REQUESTS_PER_CLIENT_MAX))
        return ask_client_full(problem, client);
    if (control_room(control) == 0)
        return problem_set(problem, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS",
                           "%d requests are not finished; wait for them or cancel some.", OPEN_REQUESTS_MAX);
    return 0;
}

/* 1: nobody has used the key, go on. 0: *ret_request is what it made. -1: a problem. */
static int find_idempotent(Control *control, const Request *wish, Request *ret_request, Problem *problem)
{
    if (!wish->idempotency_key[0])
        return 1;
    Request *made CLEANUP(free_ptr) = malloc(sizeof(*made));
    Batch *batch CLEANUP(free_ptr) = malloc(sizeof(*batch));
    if (!made || !batch)
        return ask_no_memory(problem);
    int r = store_find_idempotent(control->config.store, wish->idempotency_key, made);
    if (r == STORE_E_ABSENT) {
        r = store_find_idempotent_batch(control->config.store, wish->idempotency_key, batch);
        if (r == 0)
            return ask_key_reused(problem, batch->id);
    }
    if (r == STORE_E_ABSENT)
        return 1;
    if (r < 0)
        return ask_store_problem(problem, r);
    if (!same_wish(wish, made))
        return ask_key_reused(problem, made->id);
    *ret_request = *made;
    control_overlay_progress(control, ret_request);
    return 0;
}

/* It is in memory before it is written, for what is written must be followed. */
static int add_request(Control *control, Request *request, Problem *problem)
{
    TRACED(request->traceparent);
    int r = control_add_open(control, request);
    if (r < 0)
        return ask_no_memory(problem);
    r = store_add_request(control->config.store, request, "asked");
    if (r < 0) {
        control_drop_open(control, request->client, request->id);
        return ask_store_problem(problem, r);
    }
    command_publish(control, control_open(control, request->client, request->id), request);
    log_at(LOG_LEVEL_INFO, request->client, request->id, "queued: %s", request->path);
    tell_request(control, request);
    return 0;
}

int control_create(Control *control, const Grant *grant, const NewRequest *wanted, Request *ret_request,
                   Problem *problem)
{
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!request)
        return ask_no_memory(problem);
    fill_request(control, grant, wanted, request);
    if (ask_check_wish(wanted, problem) < 0)
        return -1;
    LOCKED(control);
    if (!known_to(control, grant, wanted->client))
        return problem_set(problem, ERROR_NOT_FOUND, "UNKNOWN_CLIENT",
                           "No device %s was ever seen here. Is its agent running, and is this its name?",
                           wanted->client);
    int r = find_idempotent(control, request, ret_request, problem);
    if (r <= 0)
        return r;
    if (check_quota(control, wanted->client, problem) < 0 ||
        (wanted->approve && wanted->approve(wanted->approve_userdata, request->id, problem) != 0) ||
        add_request(control, request, problem) < 0)
        return -1;
    *ret_request = *request;
    return 0;
}

int ask_locate(Control *control, const Grant *grant, const char *client, const char *id, Request *ret_request,
               Problem *problem)
{
    int r = STORE_E_ABSENT;
    if (!client)
        r = store_find_request(control->config.store, grant, id, ret_request);
    else if (grant_sees(grant, client))
        r = store_get_request(control->config.store, client, id, ret_request);
    if (r == STORE_E_ABSENT)
        return problem_set(problem, ERROR_NOT_FOUND, "UNKNOWN_REQUEST",
                           "There is no request %s; GET /downloads lists those there are.", id);
    if (r == STORE_E_AMBIGUOUS)
        return problem_set(problem, ERROR_FAILED_PRECONDITION, "AMBIGUOUS_ID",
                           "Several clients have an upload %s; say which with ?clientId=.", id);
    if (r < 0)
        return ask_store_problem(problem, r);
    control_overlay_progress(control, ret_request);
    return 0;
}

int control_get(Control *control, const Grant *grant, const char *client, const char *id,
                Request *ret_request, Problem *problem)
{
    LOCKED(control);
    return ask_locate(control, grant, client, id, ret_request, problem);
}

int control_cancel(Control *control, const Grant *grant, const char *client, const char *id,
                   Request *ret_request, Problem *problem)
{
    LOCKED(control);
    if (ask_locate(control, grant, client, id, ret_request, problem) < 0)
        return -1;
    TRACED(ret_request->traceparent);
    if (ret_request->state == UPLOAD_CANCELLED)
        return 0;
    if (request_is_final(ret_request->state))
        return problem_set(problem, ERROR_FAILED_PRECONDITION, "ALREADY_FINAL",
                           "The request is %s already; there is nothing left to cancel.",
                           upload_state_name(ret_request->state));
    if (!ret_request->cancel_asked) {
        ret_request->cancel_asked = true;
        int r = control_change(control, ret_request, REQUEST_EVENT_CANCEL_ASKED, NULL);
        if (r < 0)
            return ask_store_problem(problem, r);
        log_at(LOG_LEVEL_INFO, ret_request->client, ret_request->id, "cancel asked");
    }
    command_publish_cancel(control, ret_request);
    return 0;
}

/* Where a page begins: rows are named, not numbered, for numbers would tell how many others have. */
static int find_cursor(Control *control, const Grant *grant, const PageWanted *wanted, int64_t *ret_seq,
                       Problem *problem)
{
    Request *last CLEANUP(free_ptr) = calloc(1, sizeof(*last));
    if (!last)
        return ask_no_memory(problem);
    if (!wanted->after_id)
        return 0;
    int r = ask_locate(control, grant, wanted->after_client, wanted->after_id, last, problem);
    if (r == 0)
        *ret_seq = last->seq;
    else if (problem->code == ERROR_NOT_FOUND)
        (void)problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_QUERY",
                          "cursor names nothing that is there; begin with the first page.");
    return r;
}

int control_list(Control *control, const Grant *grant, const PageWanted *wanted, Request *rows, size_t max,
                 size_t *ret_count, Problem *problem)
{
    LOCKED(control);
    size_t count = 0;
    RequestFilter filter = {
        .grant = grant, .client = wanted->client, .state = wanted->state, .batch = wanted->batch};
    if (find_cursor(control, grant, wanted, &filter.before_seq, problem) < 0)
        return -1;
    int r = store_list_requests(control->config.store, &filter, rows, max, &count);
    if (r < 0)
        return ask_store_problem(problem, r);
    for (size_t i = 0; i < count; i++)
        control_overlay_progress(control, &rows[i]);
    *ret_count = count;
    return 0;
}

int control_history(Control *control, const Request *request, RequestEventRow *rows, size_t max,
                    size_t *ret_count, Problem *problem)
{
    LOCKED(control);
    int r = store_list_events(control->config.store, request->seq, rows, max, ret_count);
    return r < 0 ? ask_store_problem(problem, r) : 0;
}

int control_each_client(Control *control, const Grant *grant,
                        int (*each)(void *userdata, const Client *client), void *userdata)
{
    LOCKED(control);
    int r = 0;
    for (size_t i = 0; r == 0 && i < control->clients.count; i++) {
        const Known *known = control->clients.items[i];
        if (grant_sees(grant, known->client.id))
            r = each(userdata, &known->client);
    }
    return r;
}

bool control_client(Control *control, const Grant *grant, const char *id,
                    int (*each)(void *userdata, const Client *client), void *userdata)
{
    LOCKED(control);
    const Known *known = known_to(control, grant, id);
    if (known)
        (void)each(userdata, &known->client);
    return known != NULL;
}

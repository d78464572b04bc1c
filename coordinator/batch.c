/* What REST asks of batches. */
#include "coordinator/batch.h"

#include "common/json.h"
#include "common/log.h"
#include "coordinator/control_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

bool batch_is_seen(const Grant *grant, const char *maker)
{
    return strcmp(grant->user, maker) == 0 || (grant_has(grant, GRANT_ADMIN) && grant_sees_all(grant));
}

bool batch_is_over(const Batch *batch)
{
    bool asks = batch->end == BATCH_GOES_ON && batch->counts.unasked > 0;
    return !asks && batch->counts.queued + batch->counts.running == 0;
}

const char *batch_state_name(const Batch *batch)
{
    if (batch->end == BATCH_CANCELLED)
        return "cancelled";
    if (batch->end == BATCH_STOPPED)
        return "stopped";
    if (batch->counts.unasked > 0)
        return "asking";
    return batch_is_over(batch) ? "done" : "waiting";
}

/* --- whom --- */

static bool has_name(const cJSON *patterns, const char *client)
{
    for (const cJSON *pattern = patterns->child; pattern; pattern = pattern->next)
        if (client_pattern_matches(pattern->valuestring, client))
            return true;
    return false;
}

static bool has_labels(const cJSON *labels, const Client *client)
{
    cJSON *has CLEANUP(json_delete) = client->labels ? cJSON_Parse(client->labels) : NULL;
    for (const cJSON *label = labels->child; label; label = label->next) {
        const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(has, label->string));
        if (!value || strcmp(value, label->valuestring) != 0)
            return false;
    }
    return true;
}

static bool is_wanted(const NewBatch *wanted, const Client *client)
{
    return (!wanted->patterns || has_name(wanted->patterns, client->id)) &&
           (!wanted->labels || has_labels(wanted->labels, client));
}

/* The names, in their order; they live as long as the clients. The caller frees the array. NULL when out of
 * memory. */
static const char **find_clients(const Control *control, const Grant *grant, const NewBatch *wanted,
                                 size_t *ret_count)
{
    const char **names = calloc(control->clients.count + 1, sizeof(*names));
    size_t count = 0;
    for (size_t i = 0; names && i < control->clients.count; i++) {
        const Client *client = &((const Known *)control->clients.items[i])->client;
        if (grant_sees(grant, client->id) && is_wanted(wanted, client))
            names[count++] = client->id;
    }
    *ret_count = count;
    return names;
}

/* --- making --- */

static void fill_batch(Control *control, const Grant *grant, const NewBatch *wanted, Batch *batch)
{
    const NewRequest *each = &wanted->each;
    memset(batch, 0, sizeof(*batch));
    upload_id_new(batch->id);
    (void)snprintf(batch->maker, sizeof(batch->maker), "%s", grant->user);
    (void)snprintf(batch->path, sizeof(batch->path), "%s", each->path);
    (void)snprintf(batch->receiver, sizeof(batch->receiver), "%s", each->receiver ? each->receiver : "");
    if (!traceparent_read(each->traceparent, batch->traceparent))
        traceparent_new(batch->traceparent);
    ask_fill_key(grant, each, batch->idempotency_key);
    batch->max_size_bytes = each->max_size_bytes;
    batch->rate_bytes_per_s = each->rate_bytes_per_s;
    batch->life_ms = each->expires_ms ? each->expires_ms : control->config.expires_ms;
    batch->created_ms = control->config.unix_ms();
    batch->ramp = wanted->ramp ? wanted->ramp : BATCH_RAMP;
    batch->max_failures = wanted->max_failures;
    memcpy(batch->fingerprint, wanted->fingerprint, SHA256_SIZE);
}

/* 1: nobody has used the key, go on. 0: *ret_batch is what it made. -1: a problem. */
static int find_idempotent(Control *control, const Batch *wish, Batch *ret_batch, Problem *problem)
{
    Batch *made CLEANUP(free_ptr) = malloc(sizeof(*made));
    Request *request CLEANUP(free_ptr) = malloc(sizeof(*request));
    if (!wish->idempotency_key[0])
        return 1;
    if (!made || !request)
        return ask_no_memory(problem);
    int r = store_find_idempotent_batch(control->config.store, wish->idempotency_key, made);
    if (r == 0 && memcmp(made->fingerprint, wish->fingerprint, SHA256_SIZE) == 0) {
        *ret_batch = *made;
        return 0;
    }
    if (r == 0)
        return ask_key_reused(problem, made->id);
    if (r == STORE_E_ABSENT)
        r = store_find_idempotent(control->config.store, wish->idempotency_key, request);
    if (r == 0)
        return ask_key_reused(problem, request->id);
    return r == STORE_E_ABSENT ? 1 : ask_store_problem(problem, r);
}

static int check_places(const Control *control, const char *user, Problem *problem)
{
    size_t asking = 0, own = 0;
    for (size_t i = 0; i < control->batches.count; i++) {
        const Busy *busy = control->batches.items[i];
        asking += busy->unasked > 0;
        own += busy->unasked > 0 && strcmp(busy->maker, user) == 0;
    }
    if (own >= BATCHES_ASKING_USER_MAX)
        return problem_set(problem, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_BATCHES",
                           "%d of your batches are still being asked; wait for them or cancel some.",
                           BATCHES_ASKING_USER_MAX);
    if (asking >= BATCHES_ASKING_MAX)
        return problem_set(problem, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_BATCHES",
                           "%d batches are still being asked; wait for them or cancel some.",
                           BATCHES_ASKING_MAX);
    return 0;
}

/* One that has room will do: a device fills its own places if it likes, and must not be able to keep others
 * from being asked. */
static bool has_room(const Control *control, const char *const *clients, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!control_has_open(control, clients[i], OPEN_REQUESTS_PER_CLIENT_MAX))
            return true;
    return false;
}

/* All of it is within the quotas for all clients together before any of it begins, so that none stops
 * halfway. */
static int check_quota(const Control *control, const Batch *batch, const char *const *clients, size_t count,
                       Problem *problem)
{
    size_t room = control_room(control);
    if (check_places(control, batch->maker, problem) < 0)
        return -1;
    if (count > room)
        return problem_set(problem, ERROR_RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS",
                           "%zu clients match, but there is room for %zu more requests until others are "
                           "finished; wait for them or cancel some.",
                           count, room);
    return has_room(control, clients, count) ? 0 : ask_client_full(problem, clients[0]);
}

static int add_batch(Control *control, const NewBatch *wanted, Batch *batch, const char *const *clients,
                     size_t count, Problem *problem)
{
    batch->matched = batch->counts.unasked = count;
    if (wanted->each.approve && wanted->each.approve(wanted->each.approve_userdata, batch->id, problem) != 0)
        return -1;
    Busy *busy = batch_note(control, batch->id);
    if (!busy)
        return ask_no_memory(problem);
    int r = store_add_batch(control->config.store, batch, clients, count);
    if (r < 0) {
        batch_forget(control, batch->id);
        return ask_store_problem(problem, r);
    }
    memcpy(busy->maker, batch->maker, sizeof(busy->maker));
    busy->unasked = count;
    log_at(LOG_LEVEL_INFO, NULL, batch->id, "a batch of %zu clients: %s", count, batch->path);
    return 0;
}

int batch_create(Control *control, const Grant *grant, const NewBatch *wanted, Batch *ret_batch,
                 Problem *problem)
{
    Batch *batch CLEANUP(free_ptr) = malloc(sizeof(*batch));
    if (!batch)
        return ask_no_memory(problem);
    if (ask_check_wish(&wanted->each, problem) < 0)
        return -1;
    fill_batch(control, grant, wanted, batch);
    LOCKED(control);
    int r = find_idempotent(control, batch, ret_batch, problem);
    if (r <= 0)
        return r;
    size_t count = 0;
    const char **clients CLEANUP(free_ptr) = find_clients(control, grant, wanted, &count);
    if (!clients)
        return ask_no_memory(problem);
    if (count == 0)
        return problem_set(problem, ERROR_NOT_FOUND, "NO_CLIENT_MATCHES",
                           "No device that was ever seen here has such a name and such labels.");
    if (check_quota(control, batch, clients, count, problem) < 0 ||
        add_batch(control, wanted, batch, clients, count, problem) < 0)
        return -1;
    *ret_batch = *batch;
    return 0;
}

/* --- the made ones --- */

static int locate(Control *control, const Grant *grant, const char *id, Batch *ret_batch, Problem *problem)
{
    int r = store_get_batch(control->config.store, id, ret_batch);
    if (r < 0)
        return ask_store_problem(problem, r);
    if (r == STORE_E_ABSENT || !batch_is_seen(grant, ret_batch->maker))
        return problem_set(problem, ERROR_NOT_FOUND, "UNKNOWN_BATCH",
                           "There is no batch %s; GET /batches lists those there are.", id);
    return 0;
}

int batch_get(Control *control, const Grant *grant, const char *id, Batch *ret_batch, Problem *problem)
{
    LOCKED(control);
    return locate(control, grant, id, ret_batch, problem);
}

void batch_tell(Control *control, const Grant *grant, const char *id, const HttpSource *reader)
{
    Problem unknown;
    Batch *batch CLEANUP(free_ptr) = malloc(sizeof(*batch));
    LOCKED(control);
    if (batch && locate(control, grant, id, batch, &unknown) == 0)
        tell_batch_to(control, reader, batch);
}

int batch_list(Control *control, const Grant *grant, const char *after, Batch *rows, size_t max,
               size_t *ret_count, Problem *problem)
{
    LOCKED(control);
    Batch *last CLEANUP(free_ptr) = calloc(1, sizeof(*last));
    if (!last)
        return ask_no_memory(problem);
    if (after && locate(control, grant, after, last, problem) < 0)
        return problem->code != ERROR_NOT_FOUND
                   ? -1
                   : problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_QUERY",
                                 "cursor names nothing that is there; begin with the first page.");
    const char *maker = batch_is_seen(grant, "?") ? NULL : grant->user; /* no user's name */
    int r = store_list_batches(control->config.store, maker, last->seq, rows, max, ret_count);
    return r < 0 ? ask_store_problem(problem, r) : 0;
}

int batch_cancel(Control *control, const Grant *grant, const char *id, Batch *ret_batch, Problem *problem)
{
    LOCKED(control);
    if (locate(control, grant, id, ret_batch, problem) < 0)
        return -1;
    if (ret_batch->end == BATCH_CANCELLED)
        return 0;
    if (batch_is_over(ret_batch))
        return problem_set(problem, ERROR_FAILED_PRECONDITION, "ALREADY_FINAL",
                           "The batch is %s already; there is nothing left to cancel.",
                           batch_state_name(ret_batch));
    int r = store_end_batch(control->config.store, ret_batch, BATCH_CANCELLED);
    if (r < 0)
        return ask_store_problem(problem, r);
    ret_batch->end = BATCH_CANCELLED;
    log_at(LOG_LEVEL_INFO, NULL, id, "the batch is cancelled");
    batch_touch(control, id);
    return 0;
}

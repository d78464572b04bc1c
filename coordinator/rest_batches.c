/* Many clients asked for the same file. */
#include "coordinator/batch.h"
#include "coordinator/rest_internal.h"

#include "common/json.h"
#include "common/text.h"
#include "coordinator/rest_json.h"

#include <string.h>

/* --- asking --- */

/* A member that is null is absent. */
static const cJSON *member(const cJSON *object, const char *name)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(found) ? NULL : found;
}

bool batches_are_meant(const cJSON *object)
{
    return member(object, "clients") || member(object, "labels") || member(object, "all");
}

static bool are_patterns(const cJSON *patterns)
{
    if (!cJSON_IsArray(patterns) || !patterns->child || cJSON_GetArraySize(patterns) > GRANT_PATTERNS_MAX)
        return false;
    for (const cJSON *one = patterns->child; one; one = one->next)
        if (!cJSON_IsString(one) || !client_pattern_is_valid(one->valuestring))
            return false;
    return true;
}

static bool are_labels(const cJSON *labels)
{
    if (!cJSON_IsObject(labels) || !labels->child || cJSON_GetArraySize(labels) > LABELS_MAX)
        return false;
    for (const cJSON *one = labels->child; one; one = one->next)
        if (!cJSON_IsString(one))
            return false;
    return true;
}

/* Exactly one of: a name, patterns and labels, all. */
static int read_whom(const cJSON *object, NewBatch *wanted, Problem *problem)
{
    const cJSON *all = member(object, "all");
    wanted->patterns = member(object, "clients");
    wanted->labels = member(object, "labels");
    if (member(object, "clientId"))
        return call_bad_member(problem, "clientId",
                               "left out where \"clients\", \"labels\" or \"all\" say whom");
    if (all && (!cJSON_IsTrue(all) || wanted->patterns || wanted->labels))
        return call_bad_member(problem, "all", "true, without \"clients\" and \"labels\", or left out");
    if (wanted->patterns && !are_patterns(wanted->patterns))
        return call_bad_member(problem, "clients",
                               "a list of 1 to 64 names of clients, such as \"restaurant_*\"");
    if (wanted->labels && !are_labels(wanted->labels))
        return call_bad_member(problem, "labels", "an object of 1 to 32 strings");
    if (!all && !wanted->patterns && !wanted->labels)
        return call_bad_member(problem, "clientId", "the name of a client");
    return 0;
}

static int read_pace(const cJSON *object, NewBatch *wanted, Problem *problem)
{
    int r = json_get_u64(object, "ramp", &wanted->ramp);
    if (r == JSON_E_TYPE || (r == JSON_OK && (wanted->ramp < 1 || wanted->ramp > BATCH_RAMP_MAX)))
        return call_bad_member(problem, "ramp", "a number from 1 to 1000, or left out");
    r = json_get_u64(object, "maxFailures", &wanted->max_failures);
    if (r == JSON_E_TYPE || (r == JSON_OK && wanted->max_failures < 1))
        return call_bad_member(problem, "maxFailures", "a whole number above 0, or left out");
    return 0;
}

static int take_fingerprint(const Call *call, uint8_t out[static SHA256_SIZE], Problem *problem)
{
    Digest *digest = NULL;
    int r = digest_new(&digest);
    if (r == 0)
        r = digest_update(digest, call->body, call->body_size);
    if (r == 0)
        r = digest_final(digest, out);
    (void)digest_free(digest);
    return r == 0 ? 0
                  : problem_set(problem, ERROR_UNAVAILABLE, "NO_MEMORY",
                                "The coordinator is out of memory; try again later.");
}

/* Whom it asks, for the audit log. NULL when out of memory. */
static char *describe(const NewBatch *wanted)
{
    char *names CLEANUP(free_ptr) = wanted->patterns ? cJSON_PrintUnformatted(wanted->patterns) : NULL;
    char *labels CLEANUP(free_ptr) = wanted->labels ? cJSON_PrintUnformatted(wanted->labels) : NULL;
    return text_format("%s%s%s",
                       names    ? names
                       : labels ? ""
                                : "*",
                       names && labels ? " " : "", labels ? labels : "");
}

static void answer_created(Call *call, const Batch *batch)
{
    call->upload = batch->id;
    char location[UPLOAD_ID_SIZE + 16];
    (void)snprintf(location, sizeof(location), "/batches/%s", batch->id);
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    bool whole = object &&
                 cJSON_AddStringToObject(
                     object, "message", "The devices are asked; GET /batches/<batchId> tells how it goes.") &&
                 cJSON_AddStringToObject(object, "batchId", batch->id) &&
                 cJSON_AddStringToObject(object, "fileName", batch->path) &&
                 json_add_u64(object, "matched", batch->matched);
    call_answer_with(call, 202, whole ? TAKE_PTR(object) : NULL, "Location", location);
}

void batches_post(Call *call, const cJSON *object, NewRequest *wish)
{
    Problem problem;
    NewBatch wanted = {.each = *wish};
    Batch *batch CLEANUP(free_ptr) = malloc(sizeof(*batch));
    if (!batch) {
        http_request_abort(call->request);
        return;
    }
    if (read_whom(object, &wanted, &problem) < 0 || call_read_wish(object, &wanted.each, &problem) < 0 ||
        read_pace(object, &wanted, &problem) < 0 ||
        take_fingerprint(call, wanted.fingerprint, &problem) < 0) {
        call_refuse(call, 0, &problem);
        return;
    }
    char *whom CLEANUP(free_ptr) = describe(&wanted);
    call->client = whom;
    call->file = wanted.each.path;
    if (batch_create(call->rest->control, &call->grant, &wanted, batch, &problem) < 0)
        call_refuse_wish(call, &problem);
    else
        answer_created(call, batch);
}

/* --- one batch --- */

/* NULL after an answer. The caller frees, after its own answer. */
static Batch *find(Call *call)
{
    Problem problem;
    Batch *batch = malloc(sizeof(*batch));
    if (!batch) {
        http_request_abort(call->request);
        return NULL;
    }
    call->upload = call->id;
    if (batch_get(call->rest->control, &call->grant, call->id, batch, &problem) == 0) {
        call->file = batch->path;
        return batch;
    }
    free(batch);
    call_refuse(call, 0, &problem);
    return NULL;
}

void batches_get(Call *call)
{
    Batch *batch CLEANUP(free_ptr) = find(call);
    if (batch)
        call_answer(call, 200, rest_batch_json(batch));
}

/* As with one request: what is over is not cancelled, and answered like any other mistake. */
void batches_delete(Call *call)
{
    Problem problem;
    Batch *batch CLEANUP(free_ptr) = find(call);
    if (!batch)
        return;
    if ((!batch_is_over(batch) && call_audit(call, 202, NULL, &problem) < 0) ||
        batch_cancel(call->rest->control, &call->grant, call->id, batch, &problem) < 0)
        call_refuse(call, 0, &problem);
    else
        call_answer(call, 202, rest_batch_json(batch));
}

/* --- many of them --- */

/* rows has one more than the page shows if there is a next one. */
static cJSON *page_json(const Batch *rows, size_t count, size_t limit)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    cJSON *batches = object ? cJSON_AddArrayToObject(object, "batches") : NULL;
    size_t shown = count < limit ? count : limit;
    for (size_t i = 0; batches && i < shown; i++) {
        cJSON *row = rest_batch_json(&rows[i]);
        if (!row || !cJSON_AddItemToArray(batches, row)) {
            cJSON_Delete(row);
            return NULL;
        }
    }
    bool whole = batches && json_add_u64(object, "count", shown) &&
                 (count > limit ? cJSON_AddStringToObject(object, "nextCursor", rows[shown - 1].id)
                                : cJSON_AddNullToObject(object, "nextCursor"));
    return whole ? TAKE_PTR(object) : NULL;
}

void batches_get_all(Call *call)
{
    Problem problem;
    size_t limit = 0, count = 0;
    const char *after = http_request_query(call->request, "cursor");
    if (call_read_limit(call, &limit, &problem) < 0) {
        call_refuse(call, 0, &problem);
        return;
    }
    Batch *rows CLEANUP(free_ptr) = calloc(limit + 1, sizeof(*rows));
    if (!rows) {
        http_request_abort(call->request);
        return;
    }
    if (batch_list(call->rest->control, &call->grant, after, rows, limit + 1, &count, &problem) < 0)
        call_refuse(call, 0, &problem);
    else
        call_answer(call, 200, page_json(rows, count, limit));
}

#include "coordinator/rest_json.h"

#include "coordinator/batch.h"

#include "common/json.h"
#include "common/text.h"

static bool add_text(cJSON *object, const char *name, const char *text)
{
    return (text[0] ? cJSON_AddStringToObject(object, name, text) : cJSON_AddNullToObject(object, name)) !=
           NULL;
}

bool rest_add_time(cJSON *object, const char *name, int64_t unix_ms)
{
    char text[TEXT_TIME_SIZE] = "";
    if (unix_ms != 0)
        text_time(unix_ms, text);
    return add_text(object, name, text);
}

static bool add_bool(cJSON *object, const char *name, bool value)
{
    return cJSON_AddBoolToObject(object, name, value) != NULL;
}

static bool add_size(cJSON *object, const Request *request)
{
    if (request->has_size)
        return json_add_u64(object, "size", request->size_bytes);
    return cJSON_AddNullToObject(object, "size") != NULL;
}

/* 0: not given. */
static bool add_limit(cJSON *object, const char *name, uint64_t limit)
{
    return limit > 0 ? json_add_u64(object, name, limit) : cJSON_AddNullToObject(object, name) != NULL;
}

static bool add_sha256(cJSON *object, const Request *request)
{
    char hex[SHA256_HEX_SIZE] = "";
    if (request->has_sha256)
        text_hex(request->sha256, SHA256_SIZE, hex);
    return add_text(object, "sha256", hex);
}

static bool add_error(cJSON *object, const Problem *problem)
{
    cJSON *error = problem->code == ERROR_NONE ? cJSON_CreateNull() : problem_to_json(problem);
    return error && cJSON_AddItemToObject(object, "error", error);
}

cJSON *rest_request_json(const Request *request)
{
    cJSON *object = cJSON_CreateObject();
    if (object && add_text(object, "requestId", request->id) &&
        add_text(object, "clientId", request->client) && add_text(object, "fileName", request->path) &&
        add_text(object, "status", upload_state_name(request->state)) &&
        add_bool(object, "cancelRequested", request->cancel_asked) &&
        add_limit(object, "maxSize", request->max_size_bytes) &&
        add_limit(object, "rate", request->rate_bytes_per_s) &&
        add_text(object, "receiver", request->receiver) &&
        json_add_u64(object, "bytesReceived", request->sent_bytes) && add_size(object, request) &&
        add_sha256(object, request) && add_text(object, "filePath", request->stored) &&
        rest_add_time(object, "createdAt", request->created_ms) &&
        rest_add_time(object, "startedAt", request->started_ms) &&
        rest_add_time(object, "completedAt", request->completed_ms) &&
        rest_add_time(object, "removedAt", request->removed_ms) &&
        rest_add_time(object, "updatedAt", request->updated_ms) &&
        rest_add_time(object, "expiresAt", request->expires_ms) &&
        add_text(object, "origin", request->origin == ORIGIN_REST ? "rest" : "mqtt") &&
        add_text(object, "batchId", request->batch) &&
        add_text(object, "traceparent", request->traceparent) && add_error(object, &request->problem))
        return object;
    cJSON_Delete(object);
    return NULL;
}

cJSON *rest_event_json(const RequestEventRow *event)
{
    cJSON *object = cJSON_CreateObject();
    if (object && rest_add_time(object, "at", event->at_ms) && add_text(object, "event", event->event) &&
        add_text(object, "status", upload_state_name(event->state)) &&
        add_text(object, "reason", event->reason))
        return object;
    cJSON_Delete(object);
    return NULL;
}

cJSON *rest_client_json(const Client *client)
{
    cJSON *object = cJSON_CreateObject();
    if (object && add_text(object, "id", client->id) && add_bool(object, "online", client->online) &&
        rest_add_time(object, "connectedAt", client->connected_ms) &&
        rest_add_time(object, "lastHeartbeat", client->heartbeat_ms) &&
        add_text(object, "version", client->version) &&
        cJSON_AddRawToObject(object, "labels", client->labels ? client->labels : "{}"))
        return object;
    cJSON_Delete(object);
    return NULL;
}

static bool add_counts(cJSON *object, const BatchCounts *counts)
{
    cJSON *into = cJSON_AddObjectToObject(object, "counts");
    return into && json_add_u64(into, "unasked", counts->unasked) &&
           json_add_u64(into, "queued", counts->queued) && json_add_u64(into, "running", counts->running) &&
           json_add_u64(into, "completed", counts->completed) && json_add_u64(into, "failed", counts->failed);
}

cJSON *rest_batch_json(const Batch *batch)
{
    cJSON *object = cJSON_CreateObject();
    if (object && add_text(object, "batchId", batch->id) && add_text(object, "fileName", batch->path) &&
        rest_add_time(object, "createdAt", batch->created_ms) &&
        add_text(object, "state", batch_state_name(batch)) &&
        json_add_u64(object, "matched", batch->matched) && add_counts(object, &batch->counts) &&
        json_add_u64(object, "ramp", batch->ramp) && add_limit(object, "maxFailures", batch->max_failures) &&
        add_text(object, "createdBy", batch->maker))
        return object;
    cJSON_Delete(object);
    return NULL;
}

#include "agent/upload_job.h"

#include "common/json.h"
#include "common/text.h"

#include <string.h>

/* One table for both directions, so that they can't drift apart. */
static const struct {
    const char *name;
    size_t offset;
    bool optional;
} text_members[] = {
    {"url", offsetof(UploadJob, url), false},        {"id", offsetof(UploadJob, id), false},
    {"path", offsetof(UploadJob, path), false},      {"ca", offsetof(UploadJob, ca_file), false},
    {"cert", offsetof(UploadJob, cert_file), false}, {"key", offsetof(UploadJob, key_file), false},
    {"pin", offsetof(UploadJob, pin), true},         {"proxy", offsetof(UploadJob, proxy), true},
    {"ticket", offsetof(UploadJob, ticket), true},   {"traceparent", offsetof(UploadJob, traceparent), true},
};
static const struct {
    const char *name;
    size_t offset;
} number_members[] = {
    {"size", offsetof(UploadJob, size_bytes)},
    {"attempt", offsetof(UploadJob, attempt)},
    {"resume", offsetof(UploadJob, resume)},
    {"drop", offsetof(UploadJob, drop)},
    {"require_sandbox", offsetof(UploadJob, require_sandbox)},
    {"rate", offsetof(UploadJob, rate_bytes_per_s)},
    {"min_rate", offsetof(UploadJob, min_rate_bytes_per_s)},
    {"stall_ms", offsetof(UploadJob, stall_ms)},
    {"commit_timeout_ms", offsetof(UploadJob, commit_timeout_ms)},
};

static char **text_member(const UploadJob *job, size_t i)
{
    return (char **)((uintptr_t)job + text_members[i].offset);
}

static uint64_t *number_member(const UploadJob *job, size_t i)
{
    return (uint64_t *)((uintptr_t)job + number_members[i].offset);
}

char *upload_job_format(const UploadJob *job)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    bool whole = object;

    for (size_t i = 0; whole && i < ARRAY_SIZE(text_members); i++) {
        const char *text = *text_member(job, i);
        whole = !text || cJSON_AddStringToObject(object, text_members[i].name, text);
    }
    for (size_t i = 0; whole && i < ARRAY_SIZE(number_members); i++)
        whole = json_add_u64(object, number_members[i].name, *number_member(job, i));
    return whole ? cJSON_PrintUnformatted(object) : NULL;
}

int upload_job_parse(const char *text, size_t size, UploadJob *ret_job)
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(text, size, UPLOAD_JOB_MAX);
    UploadJob job = {0};
    bool whole = object;

    for (size_t i = 0; whole && i < ARRAY_SIZE(text_members); i++) {
        const char *value = NULL;
        int r = json_get_string_ref(object, text_members[i].name, &value);
        if (r == JSON_OK)
            *text_member(&job, i) = strdup(value);
        whole = r == JSON_OK ? *text_member(&job, i) != NULL : r == JSON_E_ABSENT && text_members[i].optional;
    }
    for (size_t i = 0; whole && i < ARRAY_SIZE(number_members); i++)
        whole = json_get_u64(object, number_members[i].name, number_member(&job, i)) == JSON_OK;
    if (!whole || !upload_id_is_valid(job.id)) {
        upload_job_free(&job);
        return -1;
    }
    *ret_job = job;
    return 0;
}

void upload_job_free(UploadJob *job)
{
    for (size_t i = 0; i < ARRAY_SIZE(text_members); i++)
        free_secret(text_member(job, i));
    *job = (UploadJob){0};
}

static bool add_failure(cJSON *object, const UploadLine *line)
{
    cJSON *error = problem_to_json(&line->problem);

    return cJSON_AddItemToObject(object, "error", error) &&
           cJSON_AddBoolToObject(object, "retry", line->retry) &&
           json_add_u64(object, "retry_after_ms", line->retry_after_ms);
}

char *upload_line_format(const UploadLine *line)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    char hex[SHA256_HEX_SIZE];
    bool whole = json_add_u64(object, "sent", line->sent_bytes);

    if (line->kind == UPLOAD_LINE_DONE) {
        text_hex(line->sha256, SHA256_SIZE, hex);
        whole = whole && cJSON_AddStringToObject(object, "sha256", hex);
    } else if (line->kind == UPLOAD_LINE_FAILED) {
        whole = whole && add_failure(object, line);
    }
    char *text CLEANUP(free_ptr) = whole ? cJSON_PrintUnformatted(object) : NULL;
    return text ? text_format("%s\n", text) : NULL;
}

int upload_line_parse(const char *text, size_t size, UploadLine *ret_line)
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(text, size, UPLOAD_LINE_MAX);
    UploadLine line = {.kind = UPLOAD_LINE_PROGRESS};
    char hex[SHA256_HEX_SIZE];

    if (json_get_u64(object, "sent", &line.sent_bytes) != JSON_OK)
        return -1;
    if (json_get_string(object, "sha256", hex, sizeof(hex)) == JSON_OK) {
        line.kind = UPLOAD_LINE_DONE;
        if (!text_unhex(hex, line.sha256, SHA256_SIZE))
            return -1;
    }
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(object, "error");
    if (error) {
        line.kind = UPLOAD_LINE_FAILED;
        problem_from_json(error, &line.problem);
        if (json_get_bool(object, "retry", &line.retry) != JSON_OK ||
            json_get_u64(object, "retry_after_ms", &line.retry_after_ms) != JSON_OK ||
            line.retry_after_ms > UPLOAD_RETRY_AFTER_MAX_MS)
            return -1;
    }
    *ret_line = line;
    return 0;
}

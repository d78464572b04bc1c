#include "agent/job.h"

#include "common/clock.h"
#include "common/json.h"

#include <string.h>

bool job_is_final(const Job *job)
{
    return job->state != UPLOAD_ACCEPTED && job->state != UPLOAD_RUNNING;
}

bool job_is_expired(const Job *job, int64_t now_unix_s)
{
    return job->expires_unix_s && now_unix_s >= (int64_t)job->expires_unix_s;
}

Job *job_new(const char *id, const UploadCommand *command)
{
    Job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    job->fd = -1;
    job->path = strdup(command->path);
    if (*command->ticket)
        job->ticket = strdup(command->ticket);
    if (!job->path || (*command->ticket && !job->ticket))
        return job_free(job);
    (void)snprintf(job->id, sizeof(job->id), "%s", id);
    (void)snprintf(job->receiver, sizeof(job->receiver), "%s", command->receiver);
    (void)snprintf(job->traceparent, sizeof(job->traceparent), "%s",
                   *command->traceparent ? command->traceparent : trace_current());
    if (!*job->traceparent)
        traceparent_new(job->traceparent);
    job->max_size_bytes = command->max_size_bytes;
    job->rate_bytes_per_s = command->rate_bytes_per_s;
    job->expires_unix_s = command->expires_unix_s;
    job->state = UPLOAD_ACCEPTED;
    job->at_unix_ms = clock_unix_ms();
    return job;
}

void job_wipe_ticket(Job *job)
{
    free_secret(&job->ticket);
    job->ticket = NULL;
}

void job_close_file(Job *job)
{
    close_fd(&job->fd);
    job->fd = -1;
}

Job *job_free(Job *job)
{
    if (!job)
        return NULL;
    job_close_file(job);
    job_wipe_ticket(job);
    free(job->path);
    free(job);
    return NULL;
}

char *job_status(const Job *job)
{
    UploadStatus *status CLEANUP(free_ptr) = calloc(1, sizeof(*status));

    if (!status)
        return NULL;
    status->state = job->state;
    (void)snprintf(status->path, sizeof(status->path), "%s", job->path);
    status->has_size = job->has_size;
    status->size_bytes = job->size_bytes;
    status->sent_bytes = job->sent_bytes;
    status->has_sha256 = job->has_sha256;
    memcpy(status->sha256, job->sha256, SHA256_SIZE);
    status->attempt = job->attempt;
    status->at_unix_ms = job->at_unix_ms;
    status->problem = job->problem;
    return upload_status_format(status);
}

static char *job_command(const Job *job)
{
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));

    if (!command)
        return NULL;
    if (job->ticket)
        (void)snprintf(command->ticket, sizeof(command->ticket), "%s", job->ticket);
    (void)snprintf(command->path, sizeof(command->path), "%s", job->path);
    (void)snprintf(command->receiver, sizeof(command->receiver), "%s", job->receiver);
    memcpy(command->traceparent, job->traceparent, sizeof(command->traceparent));
    command->max_size_bytes = job->max_size_bytes;
    command->rate_bytes_per_s = job->rate_bytes_per_s;
    command->expires_unix_s = job->expires_unix_s;
    return upload_command_format(command);
}

/* On disk a job is the two messages it consists of, and what the next process must know:
 * {"command":{...},"status":{...},"reported":true,"file":"...","restarted":false,"issued":1795259164,
 * "cancelled":1763735000000}; the command is missing from a cancel that came before its command. */
char *job_format(const Job *job)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    char *command CLEANUP(free_secret) = job_command(job);
    char *status CLEANUP(free_ptr) = job_status(job);

    if (!command || !status || (*job->path && !cJSON_AddRawToObject(object, "command", command)) ||
        !cJSON_AddRawToObject(object, "status", status) ||
        !cJSON_AddBoolToObject(object, "reported", job->reported) ||
        !cJSON_AddBoolToObject(object, "restarted", job->restarted) ||
        (job->issued_unix_s > 0 && !json_add_u64(object, "issued", (uint64_t)job->issued_unix_s)) ||
        (job->cancelled_unix_ms && !json_add_u64(object, "cancelled", (uint64_t)job->cancelled_unix_ms)))
        return NULL;
    if (job->has_snapshot) {
        char file[SNAPSHOT_TEXT_SIZE];
        snapshot_format(&job->snapshot, file);
        if (!cJSON_AddStringToObject(object, "file", file))
            return NULL;
    }
    return cJSON_PrintUnformatted(object);
}

static char *member_text(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return item ? cJSON_PrintUnformatted(item) : NULL;
}

static void take_status(Job *job, const UploadStatus *status)
{
    job->state = status->state;
    job->has_size = status->has_size;
    job->size_bytes = status->size_bytes;
    job->sent_bytes = status->sent_bytes;
    job->has_sha256 = status->has_sha256;
    memcpy(job->sha256, status->sha256, SHA256_SIZE);
    job->attempt = status->attempt;
    job->problem = status->problem;
    job->at_unix_ms = status->at_unix_ms;
}

Job *job_parse(const char *id, const char *text, size_t size)
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(text, size, 4 * MESSAGE_MAX);
    char *command_text CLEANUP(free_secret) = member_text(object, "command");
    char *status_text CLEANUP(free_ptr) = member_text(object, "status");
    UploadCommand *command CLEANUP(upload_command_cleanup) = calloc(1, sizeof(*command));
    UploadStatus *status CLEANUP(free_ptr) = calloc(1, sizeof(*status));
    Problem problem;
    const char *file = NULL;
    uint64_t issued_unix_s = 0;
    bool reported = false;
    uint64_t cancelled_unix_ms = 0;

    if (!status_text || !command || !status ||
        (command_text && upload_command_parse(command_text, strlen(command_text), command, &problem) < 0) ||
        upload_status_parse(status_text, strlen(status_text), status) < 0 ||
        json_get_bool(object, "reported", &reported) != JSON_OK)
        return NULL;
    Job *job = job_new(id, command);
    if (!job)
        return NULL;
    take_status(job, status);
    job->reported = reported;
    /* Not in the records of 0.1.0, or not in every record: */
    (void)json_get_bool(object, "restarted", &job->restarted);
    (void)json_get_u64(object, "issued", &issued_unix_s);
    (void)json_get_u64(object, "cancelled", &cancelled_unix_ms);
    job->issued_unix_s = (int64_t)issued_unix_s;
    job->cancelled_unix_ms = (int64_t)cancelled_unix_ms;
    job->has_snapshot =
        json_get_string_ref(object, "file", &file) == JSON_OK && snapshot_parse(file, &job->snapshot);
    return job;
}

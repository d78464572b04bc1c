#include "protocol/message.h"

#include "common/json.h"
#include "common/text.h"

#include <string.h>
#include <time.h>

static const char *const state_names[] = {
    [UPLOAD_QUEUED] = "queued",     [UPLOAD_ACCEPTED] = "accepted",   [UPLOAD_RUNNING] = "running",
    [UPLOAD_DONE] = "done",         [UPLOAD_COMPLETED] = "completed", [UPLOAD_FAILED] = "failed",
    [UPLOAD_REJECTED] = "rejected", [UPLOAD_CANCELLED] = "cancelled", [UPLOAD_EXPIRED] = "expired",
};

const char *upload_state_name(UploadState state)
{
    return state_names[state];
}

bool upload_state_from_name(const char *name, UploadState *ret_state)
{
    for (size_t i = 0; i < ARRAY_SIZE(state_names); i++) {
        if (strcmp(name, state_names[i]) == 0) {
            *ret_state = (UploadState)i;
            return true;
        }
    }
    return false;
}

/* cmd/upload. Its members are read into a zeroed struct: one that is not given stays zero. */

static int refuse_member(Problem *problem, const char *name, const char *expected)
{
    return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_COMMAND", "\"%s\" must be %s.", name,
                       expected);
}

static int check_single(const cJSON *object, const char *name, Problem *problem)
{
    unsigned count = 0;
    for (const cJSON *item = object->child; item; item = item->next)
        count += strcmp(item->string, name) == 0;
    return count <= 1 ? 0 : refuse_member(problem, name, "given once");
}

static int read_text(const cJSON *object, const char *name, char *out, size_t size, Problem *problem)
{
    int r = json_get_string(object, name, out, size);
    if (r == JSON_E_ABSENT || (r == JSON_OK && out[0] != '\0'))
        return check_single(object, name, problem);
    char expected[64];
    snprintf(expected, sizeof(expected), "a string of 1 to %zu bytes", size - 1);
    return refuse_member(problem, name, expected);
}

static int read_number(const cJSON *object, const char *name, uint64_t *out, Problem *problem)
{
    int r = json_get_u64(object, name, out);
    if (r == JSON_E_ABSENT || (r == JSON_OK && *out > 0))
        return check_single(object, name, problem);
    return refuse_member(problem, name,
                         "a whole number from 1 to 9007199254740992, or left out for no limit");
}

/* It becomes part of a header: nothing else than a JWT has (RFC 7515 section 3.1) may be in it, whether it
 * is checked here or not. */
static int read_ticket(const cJSON *object, char out[static TICKET_MAX], Problem *problem)
{
    static const char token[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    if (read_text(object, "ticket", out, TICKET_MAX, problem) != 0)
        return -1;
    return out[strspn(out, token)] == '\0'
               ? 0
               : refuse_member(problem, "ticket", "a signed ticket, as \"beckon ticket\" prints one");
}

static int refuse_command(Problem *problem)
{
    return problem_set(problem, ERROR_INVALID_ARGUMENT, "INVALID_COMMAND",
                       "The command is not one JSON object in UTF-8 of at most %d bytes; "
                       "send {\"path\":\"/the/file\"}.",
                       MESSAGE_MAX);
}

int upload_command_ticket(const void *payload, size_t size, char ret_ticket[static TICKET_MAX],
                          Problem *problem)
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    ret_ticket[0] = '\0';
    return object ? read_ticket(object, ret_ticket, problem) : refuse_command(problem);
}

/* For members that are left out when they are empty. */
static bool add_text(cJSON *object, const char *name, const char *text)
{
    return text[0] == '\0' || cJSON_AddStringToObject(object, name, text);
}

static int read_traceparent(const cJSON *object, char out[static TRACEPARENT_SIZE], Problem *problem)
{
    const char *text = NULL;
    if (json_get_string_ref(object, "traceparent", &text) == JSON_E_TYPE)
        return refuse_member(problem, "traceparent", "a W3C traceparent, or left out");
    (void)traceparent_read(text, out); /* what is not valid is to be ignored */
    return 0;
}

void message_traceparent(const void *payload, size_t size, char out[static TRACEPARENT_SIZE])
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    Problem ignored;
    out[0] = '\0';
    if (object)
        (void)read_traceparent(object, out, &ignored);
}

char *cancel_command_format(const char *traceparent)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    bool whole = object && add_text(object, "traceparent", traceparent);
    return whole ? cJSON_PrintUnformatted(object) : NULL;
}

int upload_command_parse(const void *payload, size_t size, UploadCommand *ret_command, Problem *problem)
{
    UploadCommand command = {0};
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    if (!object)
        return refuse_command(problem);
    if (read_text(object, "path", command.path, sizeof(command.path), problem) != 0 ||
        read_number(object, "expires", &command.expires_unix_s, problem) != 0 ||
        read_number(object, "max_size", &command.max_size_bytes, problem) != 0 ||
        read_number(object, "rate", &command.rate_bytes_per_s, problem) != 0 ||
        read_text(object, "receiver", command.receiver, sizeof(command.receiver), problem) != 0 ||
        read_ticket(object, command.ticket, problem) != 0 ||
        read_traceparent(object, command.traceparent, problem) != 0)
        return -1;
    if (!file_path_is_valid(command.path))
        return refuse_member(problem, "path", "the name of a file, as in {\"path\":\"/the/file\"}");
    *ret_command = command;
    return 0;
}

void upload_command_free(UploadCommand *command)
{
    if (command)
        explicit_bzero(command->ticket, sizeof(command->ticket));
    free(command);
}

void upload_command_cleanup(UploadCommand **command)
{
    upload_command_free(*command);
}

static bool add_number(cJSON *object, const char *name, uint64_t value)
{
    return value == 0 || json_add_u64(object, name, value);
}

char *upload_command_format(const UploadCommand *command)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    if (!object || !add_text(object, "path", command->path) ||
        !add_number(object, "expires", command->expires_unix_s) ||
        !add_number(object, "max_size", command->max_size_bytes) ||
        !add_number(object, "rate", command->rate_bytes_per_s) ||
        !add_text(object, "receiver", command->receiver) || !add_text(object, "ticket", command->ticket) ||
        !add_text(object, "traceparent", command->traceparent))
        return NULL;
    return cJSON_PrintUnformatted(object);
}

/* Times are RFC 3339 in UTC, "2026-11-21T11:06:04.123Z"; the fraction may be missing. */
static bool time_parse(const char *text, int64_t *ret_unix_ms)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return false;
    int64_t unix_ms = (int64_t)timegm(&tm) * 1000;
    char same[TEXT_TIME_SIZE]; /* strptime() and timegm() forgive much, so it must come out as it went in */
    text_time(unix_ms, same);
    if (strncmp(same, text, (size_t)(rest - text)) != 0 || same[rest - text] != '.')
        return false;
    if (*rest == '.') {
        const char *fraction = ++rest;
        for (int64_t unit = 100; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            unix_ms += (*rest - '0') * unit;
        if (rest == fraction)
            return false;
    }
    if (strcmp(rest, "Z") != 0)
        return false;
    *ret_unix_ms = unix_ms;
    return true;
}

/* A member that is not there is fine and leaves *out alone; one that is wrong is false. */

static bool optional_time(const cJSON *object, const char *name, int64_t *out)
{
    const char *text;
    int r = json_get_string_ref(object, name, &text);
    return r == JSON_E_ABSENT || (r == JSON_OK && time_parse(text, out));
}

static bool optional_text(const cJSON *object, const char *name, char *out, size_t size)
{
    return json_get_string(object, name, out, size) != JSON_E_TYPE;
}

static bool optional_number(const cJSON *object, const char *name, uint64_t *out)
{
    return json_get_u64(object, name, out) != JSON_E_TYPE;
}

static bool optional_unsigned(const cJSON *object, const char *name, unsigned *out)
{
    uint64_t value = *out;
    if (!optional_number(object, name, &value) || value > UINT32_MAX)
        return false;
    *out = (unsigned)value;
    return true;
}

static bool add_time(cJSON *object, const char *name, int64_t unix_ms)
{
    char text[TEXT_TIME_SIZE];
    text_time(unix_ms, text);
    return unix_ms == 0 || cJSON_AddStringToObject(object, name, text);
}

/* status */

/* Only what is an agent's to say. */
static bool get_state(const cJSON *object, UploadState *out)
{
    const char *name;
    return json_get_string_ref(object, "state", &name) == JSON_OK && upload_state_from_name(name, out) &&
           *out != UPLOAD_QUEUED && *out != UPLOAD_COMPLETED && *out != UPLOAD_EXPIRED;
}

static bool get_path(const cJSON *object, char out[static FILE_PATH_MAX + 1])
{
    return optional_text(object, "path", out, FILE_PATH_MAX + 1) && (!out[0] || file_path_is_valid(out));
}

static bool get_size(const cJSON *object, UploadStatus *status)
{
    int r = json_get_u64(object, "size", &status->size_bytes);
    status->has_size = r == JSON_OK;
    return r != JSON_E_TYPE;
}

static bool get_sha256(const cJSON *object, UploadStatus *status)
{
    const char *hex;
    int r = json_get_string_ref(object, "sha256", &hex);
    status->has_sha256 = r == JSON_OK && text_unhex(hex, status->sha256, SHA256_SIZE);
    return r == JSON_E_ABSENT || status->has_sha256;
}

static bool get_error(const cJSON *object, Problem *problem)
{
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(object, "error");
    if (!error || cJSON_IsNull(error))
        return true;
    if (!cJSON_IsObject(error))
        return false;
    problem_from_json(error, problem);
    return true;
}

int upload_status_parse(const void *payload, size_t size, UploadStatus *ret_status)
{
    UploadStatus status = {0};
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    if (!object || !get_state(object, &status.state) || !get_path(object, status.path) ||
        !get_size(object, &status) || !optional_number(object, "sent", &status.sent_bytes) ||
        !get_sha256(object, &status) || !optional_unsigned(object, "attempt", &status.attempt) ||
        !optional_time(object, "at", &status.at_unix_ms) || !get_error(object, &status.problem))
        return -1;
    *ret_status = status;
    return 0;
}

static bool add_sha256(cJSON *object, const uint8_t sha256[static SHA256_SIZE])
{
    char hex[SHA256_HEX_SIZE];
    text_hex(sha256, SHA256_SIZE, hex);
    return cJSON_AddStringToObject(object, "sha256", hex);
}

static bool add_error(cJSON *object, const Problem *problem)
{
    if (problem->code == ERROR_NONE)
        return true;
    cJSON *error = problem_to_json(problem);
    return error && cJSON_AddItemToObject(object, "error", error);
}

char *upload_status_format(const UploadStatus *status)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    if (!object || !cJSON_AddStringToObject(object, "state", upload_state_name(status->state)) ||
        !add_text(object, "path", status->path) ||
        (status->has_size && !json_add_u64(object, "size", status->size_bytes)) ||
        !json_add_u64(object, "sent", status->sent_bytes) ||
        (status->has_sha256 && !add_sha256(object, status->sha256)) ||
        !json_add_u64(object, "attempt", status->attempt) || !add_time(object, "at", status->at_unix_ms) ||
        !add_error(object, &status->problem))
        return NULL;
    return cJSON_PrintUnformatted(object);
}

/* presence */

static bool labels_are_valid(const cJSON *labels)
{
    if (!cJSON_IsObject(labels) || cJSON_GetArraySize(labels) > LABELS_MAX)
        return false;
    const cJSON *label;
    cJSON_ArrayForEach(label, labels) if (!cJSON_IsString(label)) return false;
    return true;
}

int presence_parse(const void *payload, size_t size, Presence *ret_presence)
{
    Presence presence = {0};
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    if (!object || json_get_bool(object, "online", &presence.online) != JSON_OK ||
        !optional_time(object, "since", &presence.since_unix_ms) ||
        !optional_text(object, "version", presence.version, sizeof(presence.version)) ||
        !optional_unsigned(object, "heartbeat", &presence.heartbeat_s) ||
        presence.heartbeat_s > HEARTBEAT_MAX_S || !optional_unsigned(object, "active", &presence.active) ||
        !optional_unsigned(object, "queued", &presence.queued))
        return -1;
    cJSON *labels = cJSON_GetObjectItemCaseSensitive(object, "labels");
    if (labels && !cJSON_IsNull(labels)) {
        if (!labels_are_valid(labels))
            return -1;
        presence.labels = cJSON_DetachItemViaPointer(object, labels);
    }
    *ret_presence = presence;
    return 0;
}

static bool add_labels(cJSON *object, const cJSON *labels)
{
    cJSON *copy = labels ? cJSON_Duplicate(labels, true) : cJSON_CreateObject();
    return copy && cJSON_AddItemToObject(object, "labels", copy);
}

char *presence_format(const Presence *presence)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    if (!object || !cJSON_AddBoolToObject(object, "online", presence->online) ||
        !add_time(object, "since", presence->since_unix_ms) ||
        !add_text(object, "version", presence->version) ||
        (presence->heartbeat_s > 0 && !json_add_u64(object, "heartbeat", presence->heartbeat_s)))
        return NULL;
    if (presence->online &&
        (!json_add_u64(object, "active", presence->active) ||
         !json_add_u64(object, "queued", presence->queued) || !add_labels(object, presence->labels)))
        return NULL;
    return cJSON_PrintUnformatted(object);
}

void presence_free(Presence *presence)
{
    cJSON_Delete(presence->labels);
    presence->labels = NULL;
}

int receipt_message_parse(const void *payload, size_t size, char ret_token[static TICKET_MAX])
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    return object && json_get_string(object, "receipt", ret_token, TICKET_MAX) == JSON_OK ? 0 : -1;
}

char *remove_command_format(const char *ticket, const char *traceparent)
{
    cJSON *object CLEANUP(json_delete) = cJSON_CreateObject();
    bool whole = object && add_text(object, "ticket", ticket) && add_text(object, "traceparent", traceparent);
    return whole ? cJSON_PrintUnformatted(object) : NULL;
}

int removal_message_parse(const void *payload, size_t size, char ret_token[static TICKET_MAX])
{
    cJSON *object CLEANUP(json_delete) = json_parse_object(payload, size, MESSAGE_MAX);
    return object && json_get_string(object, "removal", ret_token, TICKET_MAX) == JSON_OK ? 0 : -1;
}

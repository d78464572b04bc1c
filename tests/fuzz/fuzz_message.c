/* The JSON payloads on MQTT: what is taken says the same after it was written and read again. */
#include "fuzz.h"

#include "common/text.h"
#include "protocol/message.h"

#include <string.h>

static void check_problem(const Problem *problem)
{
    FUZZ_CHECK(memchr(problem->reason, '\0', sizeof(problem->reason)));
    FUZZ_CHECK(memchr(problem->message, '\0', sizeof(problem->message)));
    FUZZ_CHECK(text_is_utf8(problem->message, strlen(problem->message)));
    FUZZ_CHECK(problem->code != ERROR_NONE && *error_code_name(problem->code));
}

static void check_command(const char *text, size_t size)
{
    static UploadCommand command, again;
    Problem problem = {.code = ERROR_NONE};

    memset(&command, 0, sizeof(command));
    if (upload_command_parse(text, size, &command, &problem) < 0) {
        check_problem(&problem);
        FUZZ_CHECK(strcmp(command.path, "") == 0); /* untouched */
        return;
    }
    FUZZ_CHECK(file_path_is_valid(command.path));
    char *written = upload_command_format(&command);
    FUZZ_CHECK(written);
    if (strlen(written) <= MESSAGE_MAX) { /* escapes make it longer than it was */
        FUZZ_CHECK(upload_command_parse(written, strlen(written), &again, &problem) == 0);
        FUZZ_CHECK(strcmp(command.path, again.path) == 0 && strcmp(command.receiver, again.receiver) == 0 &&
                   strcmp(command.ticket, again.ticket) == 0);
        FUZZ_CHECK(command.expires_unix_s == again.expires_unix_s &&
                   command.max_size_bytes == again.max_size_bytes &&
                   command.rate_bytes_per_s == again.rate_bytes_per_s);
    }
    free(written);
}

static bool statuses_agree(const UploadStatus *a, const UploadStatus *b)
{
    return a->state == b->state && strcmp(a->path, b->path) == 0 && a->has_size == b->has_size &&
           a->size_bytes == b->size_bytes && a->sent_bytes == b->sent_bytes &&
           a->has_sha256 == b->has_sha256 && memcmp(a->sha256, b->sha256, SHA256_SIZE) == 0 &&
           a->attempt == b->attempt && a->at_unix_ms == b->at_unix_ms && a->problem.code == b->problem.code &&
           strcmp(a->problem.reason, b->problem.reason) == 0 &&
           strcmp(a->problem.message, b->problem.message) == 0;
}

static void check_status(const char *text, size_t size)
{
    static UploadStatus status, again;

    if (upload_status_parse(text, size, &status) < 0)
        return;
    FUZZ_CHECK(status.state != UPLOAD_QUEUED && status.state != UPLOAD_COMPLETED &&
               status.state != UPLOAD_EXPIRED); /* those are not an agent's to say */
    FUZZ_CHECK(!status.path[0] || file_path_is_valid(status.path));
    if (status.problem.code != ERROR_NONE)
        check_problem(&status.problem);
    char *written = upload_status_format(&status);
    FUZZ_CHECK(written);
    if (strlen(written) <= MESSAGE_MAX) {
        FUZZ_CHECK(upload_status_parse(written, strlen(written), &again) == 0);
        FUZZ_CHECK(statuses_agree(&status, &again));
    }
    free(written);
}

static void check_presence(const char *text, size_t size)
{
    Presence presence = {0}, again = {0};

    if (presence_parse(text, size, &presence) < 0)
        return;
    FUZZ_CHECK(presence.heartbeat_s <= HEARTBEAT_MAX_S && cJSON_GetArraySize(presence.labels) <= LABELS_MAX);
    char *written = presence_format(&presence);
    FUZZ_CHECK(written);
    if (strlen(written) <= MESSAGE_MAX) {
        FUZZ_CHECK(presence_parse(written, strlen(written), &again) == 0);
        FUZZ_CHECK(presence.online == again.online && presence.since_unix_ms == again.since_unix_ms &&
                   presence.heartbeat_s == again.heartbeat_s && strcmp(presence.version, again.version) == 0);
        if (presence.online)
            FUZZ_CHECK(presence.active == again.active && presence.queued == again.queued &&
                       cJSON_GetArraySize(presence.labels) == cJSON_GetArraySize(again.labels));
    }
    free(written);
    presence_free(&presence);
    presence_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    char token[TICKET_MAX];

    check_command(text, size);
    check_status(text, size);
    check_presence(text, size);
    if (receipt_message_parse(text, size, token) == 0)
        FUZZ_CHECK(strlen(token) < TICKET_MAX);
    free(text);
    return 0;
}

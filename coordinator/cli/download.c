#include "coordinator/cli/download.h"

#include "common/json.h"
#include "common/text.h"
#include "coordinator/cli/cli.h"

#include <inttypes.h>
#include <string.h>

static int parse_sha256(const cJSON *object, Download *download)
{
    char hex[SHA256_HEX_SIZE];
    int r = json_get_string(object, "sha256", hex, sizeof(hex));

    if (r == JSON_OK)
        download->has_sha256 = text_unhex(hex, download->sha256, sizeof(download->sha256));
    return r == JSON_E_ABSENT || download->has_sha256 ? 0 : -1;
}

int download_parse(const cJSON *object, Download *ret_download)
{
    Download download = {.object = object};
    char state[32];

    if (json_get_string(object, "requestId", download.id, sizeof(download.id)) != JSON_OK ||
        json_get_string(object, "clientId", download.client, sizeof(download.client)) != JSON_OK ||
        json_get_string(object, "status", state, sizeof(state)) != JSON_OK ||
        !upload_state_from_name(state, &download.state) || !upload_id_is_valid(download.id) ||
        !client_id_is_valid(download.client))
        return -1;
    int size = json_get_u64(object, "size", &download.size_bytes);
    download.has_size = size == JSON_OK;
    if (size == JSON_E_TYPE ||
        json_get_u64(object, "bytesReceived", &download.received_bytes) == JSON_E_TYPE ||
        parse_sha256(object, &download) < 0)
        return -1;
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(object, "error");
    if (cJSON_IsObject(error))
        problem_from_json(error, &download.problem);
    *ret_download = download;
    return 0;
}

bool download_is_final(const Download *download)
{
    return download_exit_code(download->state) != EXIT_TIMED_OUT;
}

int download_exit_code(UploadState state)
{
    switch (state) {
    case UPLOAD_COMPLETED:
        return EXIT_DONE;
    case UPLOAD_FAILED:
    case UPLOAD_CANCELLED:
    case UPLOAD_EXPIRED:
        return EXIT_FAILED;
    case UPLOAD_REJECTED:
        return EXIT_REJECTED;
    case UPLOAD_QUEUED:
    case UPLOAD_ACCEPTED:
    case UPLOAD_RUNNING:
    case UPLOAD_DONE: /* the device's word only: the receipt is still to come */
        return EXIT_TIMED_OUT;
    }
    return EXIT_FAILED;
}

char *download_member(const cJSON *object, const char *name, char *buf, size_t size)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    if (cJSON_IsString(item) && item->valuestring[0])
        return text_printable(item->valuestring, buf, size);
    if (cJSON_IsNumber(item))
        (void)snprintf(buf, size, "%.0f", item->valuedouble);
    else
        (void)snprintf(buf, size, "-");
    return buf;
}

char *download_problem(const Download *download, char *buf, size_t size)
{
    char line[sizeof(download->problem.reason) + sizeof(download->problem.message) + 4] = "";

    if (download->problem.code != ERROR_NONE)
        (void)snprintf(line, sizeof(line), "%s (%s)", download->problem.message, download->problem.reason);
    return text_printable(line, buf, size);
}

static void print_size(const Download *download, FILE *stream)
{
    char size[TEXT_BYTES_SIZE];

    if (download->state == UPLOAD_RUNNING) {
        text_bytes(download->received_bytes, size);
        (void)fprintf(stream, "  received  %" PRIu64 " bytes (%s)\n", download->received_bytes, size);
    }
    if (download->has_size) {
        text_bytes(download->size_bytes, size);
        (void)fprintf(stream, "  size      %" PRIu64 " bytes (%s)\n", download->size_bytes, size);
    }
}

void download_print(const Download *download, FILE *stream)
{
    static const struct {
        const char *label, *member;
    } facts[] = {{"sha256", "sha256"},     {"stored", "filePath"},   {"origin", "origin"},
                 {"created", "createdAt"}, {"started", "startedAt"}, {"completed", "completedAt"},
                 {"removed", "removedAt"}};
    char text[4 * FILE_PATH_MAX + 1];

    (void)fprintf(stream, "%s: %s\n", download->client,
                  download_member(download->object, "fileName", text, sizeof(text)));
    (void)fprintf(stream, "  request   %s\n  status    %s\n", download->id,
                  upload_state_name(download->state));
    print_size(download, stream);
    for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
        if (strcmp(download_member(download->object, facts[i].member, text, sizeof(text)), "-") != 0)
            (void)fprintf(stream, "  %-9s %s\n", facts[i].label, text);
    if (download_problem(download, text, sizeof(text))[0])
        (void)fprintf(stream, "  error     %s\n", text);
}

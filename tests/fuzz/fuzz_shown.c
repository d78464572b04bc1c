/* What a stranger's words become where people see them: a log line, a file's name, a table of `beckon`, JSON.
 */
#include "fuzz.h"

#include "common/json.h"
#include "common/log.h"
#include "common/text.h"
#include "coordinator/cli/download.h"
#include "coordinator/cli/table.h"
#include "receiver/safe_name.h"

#include <string.h>

static void log_text(void *text)
{
    log_setup("fuzz", LOG_LEVEL_INFO, false);
    log_info("%s", (const char *)text);
}

static void log_json(void *text)
{
    log_setup("fuzz", LOG_LEVEL_INFO, true);
    log_info("%s", (const char *)text);
}

static void check_line(char *line)
{
    size_t length = strlen(line);

    FUZZ_CHECK(length > 0 && length <= 4096 && strchr(line, '\n') == line + length - 1);
    FUZZ_CHECK(fuzz_is_printable(line, true));
}

static void check_log(char *text)
{
    char *line = fuzz_stderr_of(log_text, text);
    check_line(line);
    free(line);
    line = fuzz_stderr_of(log_json, text);
    check_line(line);
    cJSON *object = json_parse_object(line, strlen(line), 4096);
    FUZZ_CHECK(object);
    cJSON_Delete(object);
    free(line);
}

static void check_name(const char *text)
{
    char name[SAFE_NAME_SIZE];

    safe_name(text, "fallback", name);
    FUZZ_CHECK(*name && *name != '.' && *name != '-' && strlen(name) < SAFE_NAME_SIZE);
    FUZZ_CHECK(!strpbrk(name, "/\\") && fuzz_is_printable(name, false));
}

static void check_encodings(const char *text, size_t size)
{
    char *encoded = text_percent_encode(text, "/"), *decoded = text_percent_decode(encoded);
    FUZZ_CHECK(encoded && decoded && strcmp(text, decoded) == 0 && fuzz_is_printable(encoded, false));
    free(encoded);
    free(decoded);

    void *data = NULL;
    size_t data_size = 0;
    encoded = text_base64url(text, size);
    FUZZ_CHECK(text_unbase64url(encoded, strlen(encoded), &data, &data_size) == 0);
    FUZZ_CHECK(data_size == size && memcmp(data, text, size) == 0);
    free(encoded);
    free(data);
    if (text_unbase64url(text, size, &data, &data_size) == 0) { /* one value has one spelling */
        encoded = text_base64url(data, data_size);
        FUZZ_CHECK(strlen(encoded) == size && memcmp(encoded, text, size) == 0);
        free(encoded);
        free(data);
    }
}

/* All that `beckon` shows of one request. */
static void check_request(const cJSON *object)
{
    static const char *const titles[] = {"ID", "FILE"};
    char *shown = NULL, id[256], file[512];
    size_t size = 0;
    Download download;
    Table *table = table_new(titles, ARRAY_SIZE(titles));
    FILE *stream = open_memstream(&shown, &size);

    FUZZ_CHECK(stream && table);
    const char *cells[] = {download_member(object, "requestId", id, sizeof(id)),
                           download_member(object, "fileName", file, sizeof(file))};
    FUZZ_CHECK(table_add(table, cells) == 0);
    table_print(table, stream);
    if (download_parse(object, &download) == 0)
        download_print(&download, stream);
    FUZZ_CHECK(fclose(stream) == 0 && fuzz_is_printable(shown, true));
    free(shown);
    table_free(table);
}

/* JSON for people's terminals is the same JSON. */
static void check_json(const cJSON *object)
{
    char *plain = cJSON_PrintUnformatted(object), *shown = text_printable_json(plain);

    FUZZ_CHECK(plain && shown && fuzz_is_printable(shown, false));
    cJSON *again = json_parse_object(shown, strlen(shown), SIZE_MAX);
    FUZZ_CHECK(again);
    char *replain = cJSON_PrintUnformatted(again);
    FUZZ_CHECK(replain && strcmp(plain, replain) == 0);
    cJSON_Delete(again);
    free(replain);
    free(plain);
    free(shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    cJSON *object = json_parse_object(text, size, size);

    check_log(text);
    check_name(text);
    check_encodings(text, strlen(text));
    if (object) {
        check_request(object);
        check_json(object);
    }
    cJSON_Delete(object);
    free(text);
    return 0;
}

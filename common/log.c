#include "common/log.h"

#include "common/clock.h"
#include "common/text.h"
#include "common/trace.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <string.h>

#define LINE_MAX_BYTES 2048

static struct {
    const char *program, *client;
    LogLevel level;
    bool json;
} settings = {.program = "beckon", .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_setup(const char *program, LogLevel level, bool json)
{
    settings.program = program;
    settings.level = level;
    settings.json = json;
}

void log_set_client(const char *client)
{
    settings.client = client;
}

bool log_level_parse(const char *name, LogLevel *ret_level)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (LogLevel)i;
            return true;
        }
    return false;
}

/* "2026-11-21T11:06:04.123Z info beckon-agent: restaurant_1/0198...: message\n" */
static size_t text_line(char *line, size_t size, LogLevel level, const char *client, const char *upload,
                        const char *message)
{
    char at[TEXT_TIME_SIZE];

    text_time(clock_unix_ms(), at);
    int length = snprintf(line, size, "%s %s %s: %s%s%s%s%s\n", at, level_names[level], settings.program,
                          client ? client : "", client && upload ? "/" : "", upload ? upload : "",
                          client || upload ? ": " : "", message);
    if (length < 0)
        return 0;
    if ((size_t)length >= size) {
        line[size - 2] = '\n';
        return size - 1;
    }
    return (size_t)length;
}

static size_t json_line(char *line, size_t size, LogLevel level, const char *client, const char *upload,
                        const char *message)
{
    char at[TEXT_TIME_SIZE], trace[TRACE_ID_SIZE];
    cJSON *object = cJSON_CreateObject();

    text_time(clock_unix_ms(), at);
    (void)cJSON_AddStringToObject(object, "time", at);
    (void)cJSON_AddStringToObject(object, "level", level_names[level]);
    (void)cJSON_AddStringToObject(object, "program", settings.program);
    if (!client && upload)
        client = settings.client;
    if (client)
        (void)cJSON_AddStringToObject(object, "client", client);
    if (upload)
        (void)cJSON_AddStringToObject(object, "upload", upload);
    trace_id(trace_current(), trace);
    if (upload && *trace)
        (void)cJSON_AddStringToObject(object, "trace", trace);
    (void)cJSON_AddStringToObject(object, "message", message);
    bool printed = cJSON_PrintPreallocated(object, line, (int)size - 2, false);
    cJSON_Delete(object);
    if (!printed)
        return 0;
    size_t length = strlen(line);
    line[length++] = '\n';
    return length;
}

void log_at(LogLevel level, const char *client, const char *upload, const char *format, ...)
{
    char raw[LINE_MAX_BYTES / 2], message[LINE_MAX_BYTES], line[2 * LINE_MAX_BYTES];
    va_list args;

    if (level > settings.level)
        return;
    va_start(args, format);
    if (vsnprintf(raw, sizeof(raw), format, args) >= (int)sizeof(raw))
        memcpy(raw + sizeof(raw) - 4, "...", 4); /* not as if it had ended there */
    va_end(args);
    text_printable(raw, message, sizeof(message));
    size_t length =
        (settings.json ? json_line : text_line)(line, sizeof(line), level, client, upload, message);
    if (length > 0)
        (void)!write(STDERR_FILENO, line, length); /* there is nowhere to report a failed log line */
}

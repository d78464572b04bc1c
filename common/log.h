/* Log lines on standard error, as text (default) or one JSON object a line.
 *
 * Each line is one write(2), so that lines of several threads never mix. Control characters, invalid UTF-8
 * and terminal escapes in the arguments are shown escaped: a stranger's file name can't forge a line. Any
 * thread may log. Never pass a secret. Library code logs a failure once, where it is decided; lower down it
 * returns an error. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>

typedef enum LogLevel {
    LOG_LEVEL_ERROR, /* something is lost or refused and a person must look */
    LOG_LEVEL_WARN,  /* goes on, but a person may want to know */
    LOG_LEVEL_INFO,  /* what happened, one line an event */
    LOG_LEVEL_DEBUG,
} LogLevel;

/* Call once, before other threads start. program is kept, not copied. */
void log_setup(const char *program, LogLevel level, bool json);

/* Whose every upload is that a line names without a client; for JSON. Kept, not copied. */
void log_set_client(const char *client);

/* true and *ret_level, or false if name is none of error, warn, info, debug. */
bool log_level_parse(const char *name, LogLevel *ret_level);

/* client and upload may be NULL; they become "client/upload: " (or the one there is) in text and members in
 * JSON. A JSON line that names an upload has the id of this thread's trace (common/trace.h) as "trace". */
void log_at(LogLevel level, const char *client, const char *upload, const char *format, ...)
    PRINTF_LIKE(4, 5);

#define log_error(...) log_at(LOG_LEVEL_ERROR, NULL, NULL, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, NULL, NULL, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, NULL, NULL, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, NULL, NULL, __VA_ARGS__)

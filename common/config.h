/* Configuration of a daemon: an INI file (libinih) laid over defaults, and the environment over the file.
 *
 * A daemon describes its keys in one table; config_load() fills its struct and collects every mistake, each
 * with its file and line, before it gives up. The environment variable of a key is BECKON_<SECTION>_<KEY> in
 * capitals. Lines have at most CONFIG_LINE_MAX bytes; a longer one is a mistake, never cut. */
#pragma once

#include "common/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_LINE_MAX 198

typedef enum ConfigType {
    CONFIG_STRING,   /* char * */
    CONFIG_FILE,     /* char *: a file that must be readable when the config is loaded */
    CONFIG_FOLDER,   /* char *: an absolute path; need not exist */
    CONFIG_ADDRESS,  /* char *: a numeric IPv4 or IPv6 address */
    CONFIG_SIZE,     /* uint64_t bytes, "64K" */
    CONFIG_DURATION, /* uint64_t milliseconds, "30s" */
    CONFIG_NUMBER,   /* uint64_t */
    CONFIG_BOOL,     /* bool: true/false, yes/no, on/off, 1/0 */
    CONFIG_LIST,     /* ConfigList: the key repeated, or one value a continued line; ':' separates in the
                        environment */
    CONFIG_FILES,    /* ConfigList of readable files */
    CONFIG_PAIRS, /* ConfigList of "name=value": a whole section with free key names; the table's name is NULL
                   */
} ConfigType;

typedef struct ConfigList {
    char **items;
    size_t count;
} ConfigList;

typedef struct ConfigKey {
    const char *section;
    const char *name; /* NULL for CONFIG_PAIRS */
    ConfigType type;
    size_t offset;        /* offsetof() the member in the daemon's struct, which starts zeroed */
    const char *fallback; /* the default as it would be written, or NULL */
    bool required;
    uint64_t min, max; /* of a number, size (bytes) or duration (ms); max 0: no limit */
} ConfigKey;

/* Loads file (NULL: defaults and environment only) into target. Each mistake is logged as "FILE:LINE: what;
 * what to do". Returns 0, or the number of mistakes. On mistakes target holds what could be read; free it all
 * the same. */
int config_load(const char *file, const ConfigKey *keys, size_t key_count, void *target) MUST_CHECK;

/* Logs a mistake found by the daemon itself (a rule between keys), in the same form, naming the line that set
 * the key. */
void config_mistake(const char *section, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

/* Writes what counts (file, environment and defaults together) as one JSON object of sections; durations as
 * "30000ms". 0 or a negative errno. */
int config_show(const ConfigKey *keys, size_t key_count, const void *config, FILE *stream) MUST_CHECK;

/* Frees the strings and lists that the table describes. */
void config_free(const ConfigKey *keys, size_t key_count, void *target);
